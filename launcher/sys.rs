//! System calls by hand, and the little that a program without a library must bring itself.
//!
//! # How it works
//!
//! `sys!(NAME, arguments..)` makes the call of that number. The table of numbers says of each call whether it can touch
//! memory of this process. Where it cannot, the call is safe. Where it can, `sys!` is `unsafe`: the block around it
//! proves that the addresses among its arguments are valid for what this call reads and writes. Calls that are made at
//! several places have a safe function below, whose types carry that proof.

use core::arch::asm;
use core::ffi::CStr;
use core::ptr::{from_mut, from_ref, null, null_mut};

/// The numbers of system calls, as constants of type [`Plain`] or [`Memory`].
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_macro_rules, reason = "each architecture has its rules")
)]
pub(crate) mod number {
    use super::{Memory, Plain};

    macro_rules! numbers {
        ($($class:ident { $($name:ident $libc:ident $x86_64:tt $aarch64:tt,)* })*) => {
            $($(row!($class $name $x86_64 $aarch64);)*)*
        };
    }

    #[cfg(target_arch = "x86_64")]
    macro_rules! row {
        (plain $name:ident $x86_64:tt $aarch64:tt) => {
            pub(crate) const $name: Plain = Plain($x86_64);
        };
        (memory $name:ident $x86_64:tt $aarch64:tt) => {
            pub(crate) const $name: Memory = Memory($x86_64);
        };
    }

    #[cfg(target_arch = "aarch64")]
    macro_rules! row {
        ($class:ident $name:ident $x86_64:tt -) => {};
        (plain $name:ident $x86_64:tt $aarch64:tt) => {
            pub(crate) const $name: Plain = Plain($aarch64);
        };
        (memory $name:ident $x86_64:tt $aarch64:tt) => {
            pub(crate) const $name: Memory = Memory($aarch64);
        };
    }

    include!("numbers.rs");
}

/// A system call that takes no address.
#[derive(Clone, Copy)]
pub(crate) struct Plain(pub(crate) usize);

/// A system call that may read or write memory of this process.
#[derive(Clone, Copy)]
pub(crate) struct Memory(pub(crate) usize);

impl Plain {
    /// Makes the call; a negative number is an error.
    #[inline(always)]
    pub(crate) fn call(self, arguments: [usize; 6]) -> isize {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: this call takes no address, so no argument can be a wrong one.
        unsafe { call(self.0, a, b, c, d, e, f) }
    }
}

impl Memory {
    /// Makes the call; a negative number is an error.
    ///
    /// # Safety
    ///
    /// The addresses among the arguments must be valid for what this call reads and writes (`man 2` of it).
    #[inline(always)]
    pub(crate) unsafe fn call(self, arguments: [usize; 6]) -> isize {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: the caller vouches for the arguments.
        unsafe { call(self.0, a, b, c, d, e, f) }
    }
}

/// One system call; a negative number is an error.
///
/// # Safety
///
/// What the arguments point to must be what this call wants.
#[inline(always)]
pub(crate) unsafe fn call(
    number: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the arguments; the kernel changes rax, rcx and r11 alone.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the kernel changes x0 alone.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack));
    }
    result
}

/// Makes a system call; `unsafe` where the table says that it may touch memory.
macro_rules! sys {
    ($number:ident $(, $argument:expr)*) => {
        sys!(@ $number; $($argument as usize,)* 0usize, 0usize, 0usize, 0usize, 0usize, 0usize)
    };
    (@ $number:ident; $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr $(, $rest:expr)*) => {
        $crate::sys::number::$number.call([$a, $b, $c, $d, $e, $f])
    };
}

pub(crate) const EINTR: isize = -4;
pub(crate) const ECHILD: isize = -10;
pub(crate) const EINVAL: isize = -22;
pub(crate) const SIGKILL: usize = 9;
pub(crate) const SIGPIPE: usize = 13;
pub(crate) const SIGTERM: usize = 15;
pub(crate) const SIGCHLD: usize = 17;
pub(crate) const WNOHANG: usize = 1;
pub(crate) const CLOEXEC: usize = 0o2_000_000;
pub(crate) const NONBLOCK: usize = 0o4000;
pub(crate) const AT_FDCWD: isize = -100;

#[repr(C)]
pub(crate) struct PollFd {
    pub(crate) fd: i32,
    pub(crate) events: i16,
    pub(crate) revents: i16,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct TimeSpec {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: i64,
}

#[repr(C)]
pub(crate) struct IoVec {
    pub(crate) base: *mut u8,
    pub(crate) length: usize,
}

#[repr(C)]
pub(crate) struct MessageHeader {
    pub(crate) name: *mut u8,
    pub(crate) name_length: u32,
    pub(crate) vectors: *mut IoVec,
    pub(crate) vector_count: usize,
    pub(crate) control: *mut Control,
    pub(crate) control_length: usize,
    pub(crate) flags: i32,
}

/// The one control message that is taken and sent: descriptors, `length` says how many.
#[repr(C)]
pub(crate) struct Control {
    pub(crate) length: usize,
    pub(crate) level: i32,
    pub(crate) kind: i32,
    pub(crate) descriptors: [i32; MOST_DESCRIPTORS],
}

/// Most descriptors that one message carries.
pub(crate) const MOST_DESCRIPTORS: usize = 4;

/// A message of `vector` on a socket, with `control` beside it.
pub(crate) fn message(
    vector: &mut IoVec,
    control: &mut Control,
    control_length: usize,
) -> MessageHeader {
    MessageHeader {
        name: null_mut(),
        name_length: 0,
        vectors: vector,
        vector_count: 1,
        control,
        control_length,
        flags: 0,
    }
}

impl Control {
    /// The bytes before the descriptors.
    const HEAD: usize = 16;

    pub(crate) const fn empty() -> Self {
        Self { length: 0, level: 0, kind: 0, descriptors: [-1; MOST_DESCRIPTORS] }
    }

    /// One descriptor, to be sent.
    pub(crate) const fn one(descriptor: i32) -> Self {
        const SOL_SOCKET: i32 = 1;
        const SCM_RIGHTS: i32 = 1;
        let mut descriptors = [-1; MOST_DESCRIPTORS];
        descriptors[0] = descriptor;
        Self { length: Self::HEAD + 4, level: SOL_SOCKET, kind: SCM_RIGHTS, descriptors }
    }

    /// How many descriptors came.
    pub(crate) fn count(&self) -> usize {
        if self.level == 1 && self.kind == 1 {
            self.length.saturating_sub(Self::HEAD) / 4
        } else {
            0
        }
    }

    /// The length of a message with one descriptor.
    pub(crate) const ONE: usize = Self::HEAD + 8;
}

/// What a process can change of itself by a number (`prctl`): no option here takes an address.
#[derive(Clone, Copy)]
pub(crate) struct Attribute(usize);

impl Attribute {
    /// The signal that comes when the process above ends.
    pub(crate) const DEATH_SIGNAL: Self = Self(1);
    /// Whether others may look into its memory.
    pub(crate) const DUMPABLE: Self = Self(4);
    /// Takes this capability out of those that can ever be had.
    pub(crate) const DROPPED_CAPABILITY: Self = Self(24);
    /// What root may do without capabilities.
    pub(crate) const SECURE_BITS: Self = Self(28);
    /// Whether processes below that lose their parent come here.
    pub(crate) const CHILD_SUBREAPER: Self = Self(36);
    /// No program that is executed brings privileges.
    pub(crate) const NO_NEW_PRIVILEGES: Self = Self(38);
    /// The capabilities that programs inherit: see `PR_CAP_AMBIENT`.
    pub(crate) const AMBIENT_CAPABILITIES: Self = Self(47);
}

/// Changes an attribute of this process.
pub(crate) fn set_attribute(attribute: Attribute, value: usize) -> isize {
    // SAFETY: `prctl` takes no address with any of these options.
    unsafe { sys!(PRCTL, attribute.0, value) }
}

/// A child that goes on from here with a copy of this process: 0 in the child, its number here. There is one thread
/// and no lock, so the child may run ordinary code.
pub(crate) fn fork() -> isize {
    // SAFETY: with a signal alone as flags the child has its own memory and no address is passed.
    unsafe { sys!(CLONE, SIGCHLD) }
}

/// Waits for a child (-1: any); its number, 0 where `WNOHANG` found none, or an error.
pub(crate) fn wait(child: isize, status: Option<&mut i32>, flags: usize) -> isize {
    let status = status.map_or(null_mut(), from_mut);
    // SAFETY: the status is written to an `i32` that is borrowed for the call, or nowhere.
    unsafe { sys!(WAIT4, child, status, flags) }
}

/// Opens the file at this path, which must end with a NUL; closed when a program is executed.
pub(crate) fn open(path: &[u8], flags: usize) -> isize {
    if path.last() != Some(&0) {
        return EINVAL;
    }
    // SAFETY: the path is borrowed for the call and ends with a NUL.
    unsafe { sys!(OPENAT, AT_FDCWD, path.as_ptr(), CLOEXEC | flags) }
}

/// Reads into `to`; how many bytes.
pub(crate) fn read(file: i32, to: &mut [u8]) -> isize {
    // SAFETY: the kernel writes at most as many bytes as the slice has, which is borrowed for the call.
    unsafe { sys!(READ, file, to.as_mut_ptr(), to.len()) }
}

/// Fills `to`; none at an error or the end.
pub(crate) fn read_exactly(file: i32, mut to: &mut [u8]) -> Option<()> {
    while !to.is_empty() {
        match read(file, to) {
            EINTR => {}
            count if count > 0 => to = to.get_mut(count as usize..)?,
            _ => return None,
        }
    }
    Some(())
}

/// Writes these bytes; how many.
pub(crate) fn write(file: i32, bytes: &[u8]) -> isize {
    // SAFETY: the kernel reads the bytes of the slice, which is borrowed for the call.
    unsafe { sys!(WRITE, file, bytes.as_ptr(), bytes.len()) }
}

/// Waits until something happens at one of these descriptors, or for this time; without a time, until it happens.
///
/// The time is a value: a reference to a constant would cost a page, because it lies beside the program's texts.
pub(crate) fn poll(descriptors: &mut [PollFd], patience: Option<TimeSpec>) -> isize {
    let patience = patience.as_ref().map_or(null(), from_ref);
    // SAFETY: the descriptors are borrowed for the call, the time lives until its end, and there are as many descriptors as it is told. It
    // gets no set of signals.
    unsafe { sys!(PPOLL, descriptors.as_mut_ptr(), descriptors.len(), patience, 0, 8) }
}

/// Lets this time pass.
pub(crate) fn pause(time: TimeSpec) {
    poll(&mut [], Some(time));
}

/// Reads a limit of this process, soft and hard, or sets it.
pub(crate) fn limit(resource: usize, new: Option<[u64; 2]>, old: Option<&mut [u64; 2]>) -> isize {
    let (new, old) = (new.as_ref().map_or(null(), from_ref), old.map_or(null_mut(), from_mut));
    // SAFETY: `struct rlimit64` is two numbers of 64 bits; both live until the end of the call, or are absent.
    unsafe { sys!(PRLIMIT64, 0, resource, new, old) }
}

/// What is done with a set of signals.
pub(crate) const BLOCK: usize = 0;
pub(crate) const SET_MASK: usize = 2;

/// Changes which signals are blocked.
pub(crate) fn block_signals(how: usize, signals: u64) {
    // SAFETY: the set is a number of 64 bits on this stack, as its length of 8 bytes says; the old one is not read.
    unsafe { sys!(SIGPROCMASK, how, &raw const signals, 0, 8) };
}

/// Lets a signal do again what it does to a process that says nothing of it.
pub(crate) fn reset_signal(signal: usize) {
    let default = [0usize; 4];
    // SAFETY: the kernel's `struct sigaction` is four numbers: the default handler, no flags, no set.
    unsafe { sys!(SIGACTION, signal, default.as_ptr(), 0, 8) };
}

/// Receives bytes, and descriptors beside them; how many bytes. The descriptors are closed when a program is executed.
pub(crate) fn receive(socket: i32, bytes: &mut [u8], beside: &mut Control, flags: usize) -> isize {
    const CMSG_CLOEXEC: usize = 0x4000_0000;
    let mut vector = IoVec { base: bytes.as_mut_ptr(), length: bytes.len() };
    let mut header = message(&mut vector, beside, size_of::<Control>());
    // SAFETY: the header names the bytes and the control message, each with its true length; all live on.
    unsafe { sys!(RECVMSG, socket, &raw mut header, CMSG_CLOEXEC | flags) }
}

/// Sends a byte with a descriptor beside it.
pub(crate) fn send_descriptor(socket: i32, mut byte: u8, descriptor: i32) -> isize {
    let mut vector = IoVec { base: &raw mut byte, length: 1 };
    let mut control = Control::one(descriptor);
    let header = message(&mut vector, &mut control, Control::ONE);
    // SAFETY: the header names the byte and the control message, which live on this stack.
    unsafe { sys!(SENDMSG, socket, &raw const header, 0) }
}

/// Connects a socket to an address as the kernel lays it out.
pub(crate) fn connect(socket: isize, address: &[u8]) -> isize {
    // SAFETY: the kernel reads the bytes of the slice, which is borrowed for the call.
    unsafe { sys!(CONNECT, socket, address.as_ptr(), address.len()) }
}

/// Binds a socket to an address as the kernel lays it out.
pub(crate) fn bind(socket: isize, address: &[u8]) -> isize {
    // SAFETY: the kernel reads the bytes of the slice, which is borrowed for the call.
    unsafe { sys!(BIND, socket, address.as_ptr(), address.len()) }
}

/// Ends this process.
pub(crate) fn exit(code: usize) -> ! {
    loop {
        sys!(EXIT_GROUP, code);
    }
}

// The compiler may call these for copies that it does not write out.

/// # Safety
///
/// As `memcpy` of C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller vouches for both ranges.
        unsafe { to.add(at).write_volatile(from.add(at).read()) };
        at += 1;
    }
    to
}

/// # Safety
///
/// As `memset` of C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller vouches for the range.
        unsafe { to.add(at).write_volatile(byte as u8) };
        at += 1;
    }
    to
}

/// # Safety
///
/// As `strlen` of C.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller vouches for a NUL at the end.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// Named by `core`, never called: a panic ends the process.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// The arguments of this program.
pub(crate) struct Arguments {
    count: usize,
    first: *const *const u8,
}

impl Arguments {
    /// # Safety
    ///
    /// `stack` must be the stack as the kernel made it for a new program.
    pub(crate) const unsafe fn at(stack: *const usize) -> Self {
        // SAFETY: the number of arguments stands first, then the pointers to them.
        unsafe { Self { count: *stack, first: stack.add(1).cast() } }
    }

    /// An argument.
    pub(crate) fn text(&self, at: usize) -> Option<&'static CStr> {
        if at >= self.count {
            return None;
        }
        // SAFETY: there are `count` of them, each a C string that lives as long as the process.
        Some(unsafe { CStr::from_ptr((*self.first.add(at)).cast()) })
    }

    /// An argument, without the NUL at its end.
    pub(crate) fn get(&self, at: usize) -> Option<&'static [u8]> {
        self.text(at).map(CStr::to_bytes)
    }

    /// The variables of the environment, each as `NAME=value`.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &'static [u8]> + use<> {
        let mut next = self.first.wrapping_add(self.count + 1);
        core::iter::from_fn(move || {
            // SAFETY: the pointers to the variables follow those to the arguments and a zero, and end with a zero,
            // at which `next` stays.
            let text = unsafe { *next };
            if text.is_null() {
                return None;
            }
            next = next.wrapping_add(1);
            // SAFETY: a variable is a C string that lives as long as the process.
            Some(unsafe { CStr::from_ptr(text.cast()) }.to_bytes())
        })
    }

    /// An argument that is a number; 0 where it is none.
    pub(crate) fn number(&self, at: usize) -> usize {
        let mut number = 0usize;
        for digit in self.get(at).unwrap_or_default() {
            match digit {
                b'0'..=b'9' => {
                    number = number.wrapping_mul(10).wrapping_add(usize::from(digit - b'0'));
                }
                _ => return 0,
            }
        }
        number
    }
}

//! System calls by hand, and the little that a program without a library must bring itself.

use core::arch::asm;
use core::ptr::null_mut;

#[cfg(target_arch = "x86_64")]
pub(crate) mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const SIGACTION: usize = 13;
    pub const SIGPROCMASK: usize = 14;
    pub const GETPID: usize = 39;
    pub const RECVMSG: usize = 47;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const EXECVEAT: usize = 322;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const CHDIR: usize = 80;
    pub const SETPGID: usize = 109;
    pub const SETSID: usize = 112;
    pub const PRCTL: usize = 157;
    pub const GETDENTS64: usize = 217;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const PPOLL: usize = 271;
    pub const SIGNALFD4: usize = 289;
    pub const DUP3: usize = 292;
    pub const PRLIMIT64: usize = 302;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDMSG: usize = 46;
    pub const BIND: usize = 49;
    pub const LISTEN: usize = 50;
    pub const SETSOCKOPT: usize = 54;
    pub const CAPSET: usize = 126;
    pub const SECCOMP: usize = 317;
    pub const LANDLOCK_CREATE: usize = 444;
    pub const LANDLOCK_ADD: usize = 445;
    pub const LANDLOCK_RESTRICT: usize = 446;
    pub const FCNTL: usize = 72;
    pub const PREAD64: usize = 17;
    pub const IOCTL: usize = 16;
    pub const IOPRIO_SET: usize = 251;
    pub const SHMGET: usize = 29;
    pub const SHMAT: usize = 30;
    pub const SHMCTL: usize = 31;
    pub const SENDTO: usize = 44;
    pub const SOCKETPAIR: usize = 53;
    pub const GETPEERNAME: usize = 52;
    pub const GETSOCKOPT: usize = 55;
    pub const TRUNCATE: usize = 76;
    pub const PTRACE: usize = 101;
    pub const SYSLOG: usize = 103;
    pub const GETEUID: usize = 107;
    pub const GETPPID: usize = 110;
    pub const SETGROUPS: usize = 116;
    pub const SETRESUID: usize = 117;
    pub const SETFSUID: usize = 122;
    pub const SETFSGID: usize = 123;
    pub const CAPGET: usize = 125;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const RT_SIGQUEUEINFO: usize = 129;
    pub const GETPRIORITY: usize = 140;
    pub const SETPRIORITY: usize = 141;
    pub const CHROOT: usize = 161;
    pub const MOUNT: usize = 165;
    pub const UMOUNT2: usize = 166;
    pub const REBOOT: usize = 169;
    pub const INIT_MODULE: usize = 175;
    pub const SCHED_SETAFFINITY: usize = 203;
    pub const SCHED_GETAFFINITY: usize = 204;
    pub const CLOCK_GETTIME: usize = 228;
    pub const TGKILL: usize = 234;
    pub const KEXEC_LOAD: usize = 246;
    pub const ADD_KEY: usize = 248;
    pub const KEYCTL: usize = 250;
    pub const INOTIFY_ADD_WATCH: usize = 254;
    pub const MKDIRAT: usize = 258;
    pub const MKNODAT: usize = 259;
    pub const FSTATAT: usize = 262;
    pub const UNLINKAT: usize = 263;
    pub const LINKAT: usize = 265;
    pub const SYMLINKAT: usize = 266;
    pub const READLINKAT: usize = 267;
    pub const FCHMODAT: usize = 268;
    pub const UNSHARE: usize = 272;
    pub const UTIMENSAT: usize = 280;
    pub const PIPE2: usize = 293;
    pub const INOTIFY_INIT1: usize = 294;
    pub const PERF_EVENT_OPEN: usize = 298;
    pub const NAME_TO_HANDLE_AT: usize = 303;
    pub const OPEN_BY_HANDLE_AT: usize = 304;
    pub const SETNS: usize = 308;
    pub const PROCESS_VM_READV: usize = 310;
    pub const RENAMEAT2: usize = 316;
    pub const BPF: usize = 321;
    pub const USERFAULTFD: usize = 323;
    pub const PIDFD_SEND_SIGNAL: usize = 424;
    pub const IO_URING_SETUP: usize = 425;
    pub const OPEN_TREE: usize = 428;
    pub const FSOPEN: usize = 430;
    pub const PIDFD_OPEN: usize = 434;
    pub const CLONE3: usize = 435;
    pub const PIDFD_GETFD: usize = 438;
    pub const CLOSE_RANGE: usize = 436;
    pub const OPEN: usize = 2;
    pub const MKDIR: usize = 83;
    pub const CREAT: usize = 85;
    pub const CHMOD: usize = 90;
    pub const FCHMOD: usize = 91;
    pub const MKNOD: usize = 133;
    pub const OPENAT2: usize = 437;
    pub const FCHMODAT2: usize = 452;
    pub const STATX: usize = 332;
    pub const SETRESGID: usize = 119;
    pub const SETXATTR: usize = 188;
    pub const LSETXATTR: usize = 189;
    pub const GETXATTR: usize = 191;
    pub const LGETXATTR: usize = 192;
    pub const SETXATTRAT: usize = 463;
    pub const GETXATTRAT: usize = 464;
    pub const FILE_SETATTR: usize = 469;
    pub const MOUNT_SETATTR: usize = 442;
    pub const ACCT: usize = 163;
    pub const SETHOSTNAME: usize = 170;
    pub const IOPL: usize = 172;
}

#[cfg(target_arch = "aarch64")]
pub(crate) mod number {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const MMAP: usize = 222;
    pub const SIGACTION: usize = 134;
    pub const SIGPROCMASK: usize = 135;
    pub const GETPID: usize = 172;
    pub const RECVMSG: usize = 212;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const EXECVEAT: usize = 281;
    pub const WAIT4: usize = 260;
    pub const KILL: usize = 129;
    pub const CHDIR: usize = 49;
    pub const SETPGID: usize = 154;
    pub const SETSID: usize = 157;
    pub const PRCTL: usize = 167;
    pub const GETDENTS64: usize = 61;
    pub const EXIT_GROUP: usize = 94;
    pub const OPENAT: usize = 56;
    pub const PPOLL: usize = 73;
    pub const SIGNALFD4: usize = 74;
    pub const DUP3: usize = 24;
    pub const PRLIMIT64: usize = 261;
    pub const SOCKET: usize = 198;
    pub const CONNECT: usize = 203;
    pub const SENDMSG: usize = 211;
    pub const BIND: usize = 200;
    pub const LISTEN: usize = 201;
    pub const SETSOCKOPT: usize = 208;
    pub const CAPSET: usize = 91;
    pub const SECCOMP: usize = 277;
    pub const LANDLOCK_CREATE: usize = 444;
    pub const LANDLOCK_ADD: usize = 445;
    pub const LANDLOCK_RESTRICT: usize = 446;
    pub const FCNTL: usize = 25;
    pub const PREAD64: usize = 67;
    pub const IOCTL: usize = 29;
    pub const IOPRIO_SET: usize = 30;
    pub const SHMGET: usize = 194;
    pub const SHMAT: usize = 196;
    pub const SHMCTL: usize = 195;
    pub const SENDTO: usize = 206;
    pub const SOCKETPAIR: usize = 199;
    pub const GETPEERNAME: usize = 205;
    pub const GETSOCKOPT: usize = 209;
    pub const TRUNCATE: usize = 45;
    pub const PTRACE: usize = 117;
    pub const SYSLOG: usize = 116;
    pub const GETEUID: usize = 175;
    pub const GETPPID: usize = 173;
    pub const SETGROUPS: usize = 159;
    pub const SETRESUID: usize = 147;
    pub const SETFSUID: usize = 151;
    pub const SETFSGID: usize = 152;
    pub const CAPGET: usize = 90;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const RT_SIGQUEUEINFO: usize = 138;
    pub const GETPRIORITY: usize = 141;
    pub const SETPRIORITY: usize = 140;
    pub const CHROOT: usize = 51;
    pub const MOUNT: usize = 40;
    pub const UMOUNT2: usize = 39;
    pub const REBOOT: usize = 142;
    pub const INIT_MODULE: usize = 105;
    pub const SCHED_SETAFFINITY: usize = 122;
    pub const SCHED_GETAFFINITY: usize = 123;
    pub const CLOCK_GETTIME: usize = 113;
    pub const TGKILL: usize = 131;
    pub const KEXEC_LOAD: usize = 104;
    pub const ADD_KEY: usize = 217;
    pub const KEYCTL: usize = 219;
    pub const INOTIFY_ADD_WATCH: usize = 27;
    pub const MKDIRAT: usize = 34;
    pub const MKNODAT: usize = 33;
    pub const FSTATAT: usize = 79;
    pub const UNLINKAT: usize = 35;
    pub const LINKAT: usize = 37;
    pub const SYMLINKAT: usize = 36;
    pub const READLINKAT: usize = 78;
    pub const FCHMODAT: usize = 53;
    pub const UNSHARE: usize = 97;
    pub const UTIMENSAT: usize = 88;
    pub const PIPE2: usize = 59;
    pub const INOTIFY_INIT1: usize = 26;
    pub const PERF_EVENT_OPEN: usize = 241;
    pub const NAME_TO_HANDLE_AT: usize = 264;
    pub const OPEN_BY_HANDLE_AT: usize = 265;
    pub const SETNS: usize = 268;
    pub const PROCESS_VM_READV: usize = 270;
    pub const RENAMEAT2: usize = 276;
    pub const BPF: usize = 280;
    pub const ACCT: usize = 89;
    pub const SETHOSTNAME: usize = 161;
    pub const USERFAULTFD: usize = 282;
    pub const PIDFD_SEND_SIGNAL: usize = 424;
    pub const IO_URING_SETUP: usize = 425;
    pub const OPEN_TREE: usize = 428;
    pub const FSOPEN: usize = 430;
    pub const PIDFD_OPEN: usize = 434;
    pub const CLONE3: usize = 435;
    pub const PIDFD_GETFD: usize = 438;
    pub const CLOSE_RANGE: usize = 436;
    pub const FCHMOD: usize = 52;
    pub const OPENAT2: usize = 437;
    pub const FCHMODAT2: usize = 452;
    pub const STATX: usize = 291;
    pub const SETRESGID: usize = 149;
    pub const SETXATTR: usize = 5;
    pub const LSETXATTR: usize = 6;
    pub const GETXATTR: usize = 8;
    pub const LGETXATTR: usize = 9;
    pub const SETXATTRAT: usize = 463;
    pub const GETXATTRAT: usize = 464;
    pub const FILE_SETATTR: usize = 469;
    pub const MOUNT_SETATTR: usize = 442;
}

/// One system call; a negative number is an error.
///
/// # Safety
///
/// What the arguments point to must be what this call wants.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a system call has six")]
pub(crate) unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
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

macro_rules! sys {
    ($number:ident $(, $argument:expr)*) => {
        sys!(@ $crate::sys::number::$number; $($argument as usize,)* 0usize, 0usize, 0usize, 0usize, 0usize, 0usize)
    };
    (@ $number:expr; $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr $(, $rest:expr)*) => {
        // SAFETY: each use below passes what `man 2` of this call asks for.
        unsafe { $crate::sys::call($number, $a, $b, $c, $d, $e, $f) }
    };
}

pub(crate) const EINTR: isize = -4;
pub(crate) const ECHILD: isize = -10;
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
pub(crate) fn message(vector: &mut IoVec, control: &mut Control, control_length: usize) -> MessageHeader {
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
        if self.level == 1 && self.kind == 1 { self.length.saturating_sub(Self::HEAD) / 4 } else { 0 }
    }

    /// The length of a message with one descriptor.
    pub(crate) const ONE: usize = Self::HEAD + 8;
}

/// Reads exactly so many bytes.
pub(crate) fn read_exactly(file: i32, mut to: *mut u8, mut size: usize) -> Option<()> {
    while size > 0 {
        match sys!(READ, file, to, size) {
            EINTR => {}
            read if read > 0 => {
                // SAFETY: the kernel wrote this many bytes of a region that is `size` long.
                to = unsafe { to.add(read as usize) };
                size -= read as usize;
            }
            _ => return None,
        }
    }
    Some(())
}
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

    /// An argument, without the NUL at its end.
    pub(crate) fn get(&self, at: usize) -> Option<&'static [u8]> {
        if at >= self.count {
            return None;
        }
        // SAFETY: there are `count` of them, each a C string that lives as long as the process.
        unsafe {
            let text = *self.first.add(at);
            Some(core::slice::from_raw_parts(text, strlen(text)))
        }
    }

    /// A variable of the environment, as `NAME=value`, without the NUL at its end.
    pub(crate) fn variable(&self, at: usize) -> Option<&'static [u8]> {
        // SAFETY: the pointers to the variables follow those to the arguments and a zero, and end with a
        // zero; who asks for `at` has been given all before it.
        unsafe {
            let text = *self.first.add(self.count + 1 + at);
            if text.is_null() { None } else { Some(core::slice::from_raw_parts(text, strlen(text))) }
        }
    }

    /// An argument that is a number; 0 where it is none.
    pub(crate) fn number(&self, at: usize) -> usize {
        let mut number = 0usize;
        for digit in self.get(at).unwrap_or_default() {
            match digit {
                b'0'..=b'9' => number = number.wrapping_mul(10).wrapping_add(usize::from(digit - b'0')),
                _ => return 0,
            }
        }
        number
    }
}

//! The launcher and its supervisors: a program of its own, without a standard library, carried inside
//! the binary (`build.rs` compiles it, `src/process.rs` starts it).
//!
//! # How it works
//!
//! The launcher waits for orders on standard input: one byte and four descriptors (control, stdin,
//! stdout, stderr). For each it forks a *supervisor*, which reads what to start from the control socket,
//! becomes the reaper of everything below it, starts the agent in a process group of its own, and then
//! waits for a word of the server or the end of a child. The end of the control socket means that the
//! server is gone: the tree is ended, and the supervisor with it. What left the group by `setsid` or a
//! double fork comes back to the supervisor when its parent dies, so killing direct children until there
//! are none ends every tree.
//!
//! # Why no standard library
//!
//! A forked process pays for every page that it touches first (about 10 µs each where pages are costly).
//! A supervisor forked from the large binary touched 44, this one touches a handful: figures in
//! `docs/performance.md`. The price is that every system call here is by hand and `unsafe`; so this file
//! does nothing but system calls, and whatever can be decided elsewhere is decided in the server.
//!
//! The words on the control socket are described in `src/supervisor.rs`.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};

// === the system calls ===

#[cfg(target_arch = "x86_64")]
mod number {
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
}

#[cfg(target_arch = "aarch64")]
mod number {
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
}

/// One system call; a negative number is an error.
///
/// # Safety
///
/// What the arguments point to must be what this call wants.
#[inline(always)]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the arguments; the kernel changes rax, rcx and r11 alone.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") 0usize, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the kernel changes x0 alone.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") 0usize, options(nostack));
    }
    result
}

macro_rules! sys {
    ($number:ident $(, $argument:expr)*) => {
        sys!(@ number::$number; $($argument as usize,)* 0usize, 0usize, 0usize, 0usize, 0usize)
    };
    (@ $number:expr; $a:expr, $b:expr, $c:expr, $d:expr, $e:expr $(, $rest:expr)*) => {
        // SAFETY: each use below passes what `man 2` of this call asks for.
        unsafe { call($number, $a, $b, $c, $d, $e) }
    };
}

const EINTR: isize = -4;
const ECHILD: isize = -10;
const SIGKILL: usize = 9;
const SIGPIPE: usize = 13;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const WNOHANG: usize = 1;
const CLOEXEC: usize = 0o2_000_000;
const NONBLOCK: usize = 0o4000;
const AT_FDCWD: isize = -100;

/// How long a supervisor goes on killing before it gives up and says how many are left, in rounds of
/// [`ROUND_NANOSECONDS`].
const ROUNDS: u32 = 2000;
const ROUND_NANOSECONDS: i64 = 5_000_000;

/// Longest specification of a process, in bytes; the server refuses longer ones.
const SPEC_LIMIT: usize = 8 * 1024 * 1024;

/// Stack on which the agent's process runs until it executes its program.
const CHILD_STACK: usize = 16 * 1024;

#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

#[repr(C)]
struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
}

#[repr(C)]
struct IoVec {
    base: *mut u8,
    length: usize,
}

#[repr(C)]
struct MessageHeader {
    name: *mut u8,
    name_length: u32,
    vectors: *mut IoVec,
    vector_count: usize,
    control: *mut Control,
    control_length: usize,
    flags: i32,
}

/// The one control message that we take: four descriptors.
#[repr(C)]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    descriptors: [i32; 4],
}

// === the start ===

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call launcher", "ud2");

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x30, #0", "bl launcher", "brk #1");

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}

fn exit(code: usize) -> ! {
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

// === the launcher ===

/// Waits for orders until the server is gone.
#[unsafe(no_mangle)]
extern "C" fn launcher() -> ! {
    // What a terminal sends to its foreground group is for the server, which then ends us.
    sys!(SETSID);
    const SET_NAME: usize = 15;
    sys!(PRCTL, SET_NAME, c"pilothouse-tree".as_ptr());
    loop {
        // Supervisors that have ended are reaped at the next order, or within a second.
        while has_children() && !order_within_a_second() {}
        let Some(descriptors) = next_order() else { exit(0) };
        let [control, stdin, stdout, stderr] = descriptors;
        // SIGCHLD alone as flags: a fork. One thread, no locks: the child may run ordinary code.
        if sys!(CLONE, SIGCHLD) == 0 {
            supervise(control, [stdin, stdout, stderr]);
        }
        for descriptor in descriptors {
            sys!(CLOSE, descriptor);
        }
    }
}

/// Reaps what has ended; whether anything is left.
fn has_children() -> bool {
    loop {
        let pid = sys!(WAIT4, -1isize, 0, WNOHANG);
        if pid <= 0 {
            return pid == 0;
        }
    }
}

fn order_within_a_second() -> bool {
    let mut orders = PollFd { fd: 0, events: 1, revents: 0 };
    let second = TimeSpec { seconds: 1, nanoseconds: 0 };
    sys!(PPOLL, &raw mut orders, 1, &raw const second, 0, 8) != 0
}

/// The descriptors of the next order; none when the server is gone.
fn next_order() -> Option<[i32; 4]> {
    loop {
        let mut byte = 0u8;
        let mut vector = IoVec { base: &raw mut byte, length: 1 };
        let mut control = Control { length: 0, level: 0, kind: 0, descriptors: [-1; 4] };
        let mut header = MessageHeader {
            name: null_mut(),
            name_length: 0,
            vectors: &raw mut vector,
            vector_count: 1,
            control: &raw mut control,
            control_length: size_of::<Control>(),
            flags: 0,
        };
        const CMSG_CLOEXEC: usize = 0x4000_0000;
        match sys!(RECVMSG, 0, &raw mut header, CMSG_CLOEXEC) {
            EINTR => {}
            1 if control.length == size_of::<Control>() && control.level == 1 && control.kind == 1 => {
                return Some(control.descriptors);
            }
            1 => {}
            _ => return None,
        }
    }
}

// === a supervisor ===

/// The life of a supervisor.
fn supervise(control: i32, streams: [i32; 3]) -> ! {
    const SET_CHILD_SUBREAPER: usize = 36;
    sys!(SETSID);
    sys!(PRCTL, SET_CHILD_SUBREAPER, 1);
    let no_core = [0u64; 2];
    sys!(PRLIMIT64, 0, 4, no_core.as_ptr(), 0);
    // Orders are the launcher's.
    sys!(CLOSE, 0);
    let child_set = 1u64 << (SIGCHLD - 1);
    let blocked = child_set | 1u64 << (SIGPIPE - 1);
    sys!(SIGPROCMASK, 0, &raw const blocked, 0, 8);
    let child_ended = sys!(SIGNALFD4, -1isize, &raw const child_set, 8, CLOEXEC | NONBLOCK) as i32;

    let Some(mut start) = read_spec(control, streams) else { exit(1) };
    let agent = spawn(&mut start);
    for stream in streams {
        sys!(CLOSE, stream);
    }
    if start.error != 0 || agent <= 0 {
        let error = if start.error != 0 { start.error } else { agent };
        report(control, b'N', -error as i32);
        exit(0)
    }
    report(control, b'S', agent as i32);
    let status = watch(control, child_ended, agent);
    let left = end_tree(child_ended);
    match status {
        _ if left > 0 => report(control, b'L', left),
        Some(status) if status & 0x7f == 0 => report(control, b'X', status >> 8 & 0xff),
        Some(status) => report(control, b'G', status & 0x7f),
        None => report(control, b'G', SIGKILL as i32),
    }
    exit(0)
}

/// Waits for the agent's end, doing what the server says meanwhile. The agent's wait status; none when
/// it could not be killed in time.
fn watch(control: i32, child_ended: i32, agent: isize) -> Option<i32> {
    let mut killing = 0u32;
    loop {
        if let Some(status) = reap(agent) {
            return Some(status);
        }
        if killing > ROUNDS {
            return None;
        }
        let mut waiting = [
            PollFd { fd: child_ended, events: 1, revents: 0 },
            // Once the end is decided nothing more is heard.
            PollFd { fd: if killing > 0 { -1 } else { control }, events: 1, revents: 0 },
        ];
        poll(&mut waiting, killing > 0);
        drain(child_ended);
        if waiting[1].revents != 0 {
            match hear(control) {
                b'T' => {
                    sys!(KILL, -agent, SIGTERM);
                }
                _ => killing = 1,
            }
        }
        if killing > 0 {
            killing += 1;
            kill_children();
        }
    }
}

/// Reaps whatever has ended; the agent's own status when it is among them.
fn reap(agent: isize) -> Option<i32> {
    let mut found = None;
    loop {
        let mut status = 0i32;
        let pid = sys!(WAIT4, -1isize, &raw mut status, WNOHANG);
        if pid <= 0 {
            return found;
        }
        if pid == agent {
            found = Some(status);
        }
    }
}

/// Kills everything below until nothing is left; how many are left when patience ends.
fn end_tree(child_ended: i32) -> i32 {
    let mut rounds = 0;
    loop {
        match sys!(WAIT4, -1isize, 0, WNOHANG) {
            ECHILD => return 0,
            pid if pid > 0 => continue,
            _ => {}
        }
        let left = kill_children();
        rounds += 1;
        if rounds > ROUNDS {
            return if left > 0 { left } else { 1 };
        }
        poll(&mut [PollFd { fd: child_ended, events: 1, revents: 0 }], true);
        drain(child_ended);
    }
}

fn poll(waiting: &mut [PollFd], bounded: bool) {
    let round = TimeSpec { seconds: 0, nanoseconds: ROUND_NANOSECONDS };
    let patience = if bounded { &raw const round } else { null() };
    sys!(PPOLL, waiting.as_mut_ptr(), waiting.len(), patience, 0, 8);
}

/// Empties the descriptor that tells of ended children.
fn drain(child_ended: i32) {
    let mut unread = MaybeUninit::<[u8; 128]>::uninit();
    while sys!(READ, child_ended, unread.as_mut_ptr(), 128) > 0 {}
}

/// A word of the server; 0 when it is gone.
fn hear(control: i32) -> u8 {
    let mut word = 0u8;
    loop {
        match sys!(READ, control, &raw mut word, 1) {
            EINTR => {}
            1 => return word,
            _ => return 0,
        }
    }
}

/// A server that is gone hears nothing, and that is no reason to stop (SIGPIPE is blocked).
fn report(control: i32, tag: u8, value: i32) {
    let [a, b, c, d] = value.to_le_bytes();
    let bytes = [tag, a, b, c, d];
    sys!(WRITE, control, bytes.as_ptr(), bytes.len());
}

// === children ===

/// SIGKILL to every child; their own children come here when they are gone. How many there were.
fn kill_children() -> i32 {
    let own = sys!(GETPID) as usize;
    let mut path = [0u8; 64];
    let end = text(&mut path, 0, b"/proc/self/task/");
    let end = digits(&mut path, end, own);
    text(&mut path, end, b"/children\0");
    let file = sys!(OPENAT, AT_FDCWD, path.as_ptr(), CLOEXEC);
    if file < 0 {
        return kill_children_by_search(own);
    }
    let (mut killed, mut pid) = (0, 0usize);
    let mut buffer = MaybeUninit::<[u8; 1024]>::uninit();
    loop {
        let size = sys!(READ, file, buffer.as_mut_ptr(), 1024);
        if size <= 0 {
            break;
        }
        for at in 0..size as usize {
            // SAFETY: `at` is below what the kernel has just written.
            match unsafe { buffer.as_ptr().cast::<u8>().add(at).read() } {
                digit @ b'0'..=b'9' => pid = pid * 10 + usize::from(digit - b'0'),
                _ => killed += kill_one(&mut pid),
            }
        }
    }
    killed += kill_one(&mut pid);
    sys!(CLOSE, file);
    killed
}

fn kill_one(pid: &mut usize) -> i32 {
    let found = i32::from(*pid > 1);
    if found == 1 {
        sys!(KILL, *pid, SIGKILL);
    }
    *pid = 0;
    found
}

/// On a kernel without the list of children: everybody whose parent we are.
fn kill_children_by_search(own: usize) -> i32 {
    let folder = sys!(OPENAT, AT_FDCWD, c"/proc".as_ptr(), CLOEXEC | 0o200_000);
    if folder < 0 {
        return 0;
    }
    let mut killed = 0;
    let mut entries = MaybeUninit::<[u8; 4096]>::uninit();
    loop {
        let size = sys!(GETDENTS64, folder, entries.as_mut_ptr(), 4096);
        if size <= 0 {
            break;
        }
        let base = entries.as_ptr().cast::<u8>();
        let mut at = 0usize;
        while at < size as usize {
            // SAFETY: the kernel wrote whole entries: inode, offset, u16 length at 16, type, name at 19.
            let (length, mut pid) = unsafe { (base.add(at + 16).cast::<u16>().read_unaligned(), number_at(base.add(at + 19))) };
            if pid > 1 && parent_of(pid) == own {
                killed += kill_one(&mut pid);
            }
            at += usize::from(length);
        }
    }
    sys!(CLOSE, folder);
    killed
}

/// The number that a C string is; 0 where it is none.
///
/// # Safety
///
/// The pointer must lead to a C string.
unsafe fn number_at(mut from: *const u8) -> usize {
    let mut number = 0usize;
    loop {
        // SAFETY: the string has not ended yet.
        match unsafe { from.read() } {
            0 => return number,
            digit @ b'0'..=b'9' => number = number * 10 + usize::from(digit - b'0'),
            _ => return 0,
        }
        // SAFETY: the string has not ended yet.
        from = unsafe { from.add(1) };
    }
}

/// The parent in `/proc/PID/stat`: "pid (name) state parent", where the name may hold anything.
fn parent_of(pid: usize) -> usize {
    let mut path = [0u8; 64];
    let end = text(&mut path, 0, b"/proc/");
    let end = digits(&mut path, end, pid);
    text(&mut path, end, b"/stat\0");
    let file = sys!(OPENAT, AT_FDCWD, path.as_ptr(), CLOEXEC);
    if file < 0 {
        return 0;
    }
    let mut stat = [0u8; 256];
    let size = sys!(READ, file, stat.as_mut_ptr(), stat.len());
    sys!(CLOSE, file);
    let mut after_name = 0;
    for at in 0..size.max(0) as usize {
        if stat.get(at) == Some(&b')') {
            after_name = at;
        }
    }
    let mut parent = 0usize;
    let mut at = after_name + 4;
    while let Some(digit @ b'0'..=b'9') = stat.get(at) {
        parent = parent * 10 + usize::from(digit - b'0');
        at += 1;
    }
    parent
}

fn text(path: &mut [u8; 64], mut at: usize, words: &[u8]) -> usize {
    for &byte in words {
        if let Some(place) = path.get_mut(at) {
            *place = byte;
        }
        at += 1;
    }
    at
}

fn digits(path: &mut [u8; 64], at: usize, number: usize) -> usize {
    let mut divisor = 1;
    while number / divisor >= 10 {
        divisor *= 10;
    }
    let mut end = at;
    while divisor > 0 {
        end = text(path, end, &[b'0' + (number / divisor % 10) as u8]);
        divisor /= 10;
    }
    end
}

// === starting the agent ===

/// What the agent's process needs until it executes its program. It runs in our memory, on a stack of
/// its own, while we wait.
struct Start {
    cwd: *const u8,
    program: *const u8,
    argv: *const *const u8,
    envp: *const *const u8,
    streams: [i32; 3],
    stack_top: *mut u8,
    error: isize,
}

/// Reads the specification: four numbers (bytes of text, arguments, variables, 0), then the texts,
/// each ended by a NUL: folder, program, arguments, variables.
fn read_spec(control: i32, streams: [i32; 3]) -> Option<Start> {
    let mut head = [0u32; 4];
    read_exactly(control, head.as_mut_ptr().cast(), size_of_val(&head))?;
    let [bytes, arguments, variables, _] = head.map(|number| number as usize);
    if bytes > SPEC_LIMIT || arguments + variables > bytes {
        return None;
    }
    let pointers = (arguments + 2 + variables + 1) * size_of::<usize>();
    let size = (pointers + bytes + 64 + CHILD_STACK).next_multiple_of(4096);
    // Readable, writable; private, anonymous.
    let memory = sys!(MMAP, 0, size, 3, 0x22, -1isize);
    if memory <= 0 {
        return None;
    }
    let memory = memory as *mut u8;
    // SAFETY: all of this lies within the region that was just mapped, pointers first (aligned).
    unsafe {
        let texts = memory.add(pointers);
        read_exactly(control, texts, bytes)?;
        if bytes == 0 || texts.add(bytes - 1).read() != 0 {
            return None;
        }
        let end = texts.add(bytes);
        let (cwd, program) = (texts, next_text(texts, end)?);
        let argv = memory.cast::<*const u8>();
        argv.write(program);
        let mut at = program;
        for index in 1..=arguments {
            at = next_text(at, end)?;
            argv.add(index).write(at);
        }
        let envp = argv.add(arguments + 2);
        for index in 0..variables {
            at = next_text(at, end)?;
            envp.add(index).write(at);
        }
        // The two ends of list are zero already, as all of a fresh mapping is.
        let stack_top = memory.add(size);
        Some(Start { cwd, program, argv, envp, streams, stack_top, error: 0 })
    }
}

/// The text behind this one.
///
/// # Safety
///
/// `at` must lie in a region that ends at `end` with a NUL.
unsafe fn next_text(mut at: *mut u8, end: *mut u8) -> Option<*mut u8> {
    // SAFETY: the region ends with a NUL.
    unsafe {
        while at.read() != 0 {
            at = at.add(1);
        }
        at = at.add(1);
    }
    (at < end).then_some(at)
}

fn read_exactly(file: i32, mut to: *mut u8, mut size: usize) -> Option<()> {
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

/// Starts the agent; its process id. `start.error` says what went wrong in its process.
fn spawn(start: &mut Start) -> isize {
    /// Shares our memory, stops us until it executes its program or ends.
    const CLONE_VM_VFORK: usize = 0x100 | 0x4000;
    let flags = CLONE_VM_VFORK | SIGCHLD;
    let pid: isize;
    let argument: *mut Start = start;
    let stack = start.stack_top;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the child begins on its own stack with an aligned pointer, calls a function that does not
    // return, and we do not run while it uses our memory.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "call {become_agent}",
            "ud2",
            "2:",
            become_agent = sym become_agent,
            inlateout("rax") number::CLONE as isize => pid,
            in("rdi") flags, in("rsi") stack, in("rdx") 0usize, in("r10") 0usize, in("r8") 0usize,
            in("r12") argument,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x0, x20",
            "bl {become_agent}",
            "brk #1",
            "2:",
            become_agent = sym become_agent,
            in("x8") number::CLONE,
            inlateout("x0") flags as isize => pid,
            in("x1") stack, in("x2") 0usize, in("x3") 0usize, in("x4") 0usize,
            in("x20") argument,
            lateout("x30") _,
        );
    }
    pid
}

/// The agent's process, until it executes its program.
extern "C" fn become_agent(start: *mut Start) -> ! {
    // SAFETY: the supervisor waits and does not touch it meanwhile.
    let start = unsafe { &mut *start };
    let mut error = sys!(SETPGID, 0, 0);
    // The streams may stand at each other's places, so they first move above all three.
    let mut moved = [-1isize; 3];
    for (place, stream) in start.streams.iter().enumerate() {
        let above = 64 + place;
        moved[place] = sys!(DUP3, *stream, above, CLOEXEC);
    }
    for (place, stream) in moved.iter().enumerate() {
        if *stream < 0 {
            error = *stream;
        } else {
            error = error.min(sys!(DUP3, *stream, place, 0).min(0));
        }
    }
    // Handlers are none; the mask and an ignored SIGPIPE would be inherited.
    let default = [0usize; 4];
    sys!(SIGACTION, SIGPIPE, default.as_ptr(), 0, 8);
    let nothing = 0u64;
    sys!(SIGPROCMASK, 2, &raw const nothing, 0, 8);
    if error == 0 {
        error = sys!(CHDIR, start.cwd);
    }
    if error == 0 {
        error = sys!(EXECVE, start.program, start.argv, start.envp);
    }
    start.error = error;
    exit(127)
}

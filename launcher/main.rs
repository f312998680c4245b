//! The launcher and its supervisors: a program of its own, without a standard library, carried inside
//! the binary (`crates/sandbox` compiles and starts it).
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
//! With the specification comes the *wall*, a list of records that the agent's process applies to itself
//! before it becomes the agent (`wall.rs`). Where an agent shares the machine's network, its supervisor makes
//! its connections (`connect.rs`). Where the agent gets namespaces of its own, another program
//! makes them and runs this one inside as `enter`, which reads the inner specification from a socket.
//! As `attack` it is the program that tries to break out (`attack.rs`).
//!
//! # Why no standard library
//!
//! A forked process pays for every page that it touches first (about 10 µs each where pages are costly).
//! A supervisor forked from the large binary touched 44, this one touches a handful: figures in
//! `docs/performance.md`. It also runs inside any root, even an empty one. The price is that every system
//! call here is by hand; so this program does nothing but system calls, and whatever can be
//! decided elsewhere is decided in the server. `sys.rs` says which calls are `unsafe`, and why the others are not.
//!
//! The words on the control socket are described in `crates/sandbox/src/supervisor.rs`.

#![expect(unsafe_code, reason = "no library stands below: system calls are made by hand")]
#![no_std]
#![no_main]

use core::arch::global_asm;

#[macro_use]
mod sys;
mod attack;
mod children;
mod connect;
mod enter;
mod launch;
mod start;
mod supervise;
mod wall;

use sys::{Arguments, exit};

// The stack begins with the number of arguments, then their addresses.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call begin",
    "ud2"
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "bl begin",
    "brk #1"
);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}

/// Beside the version of Landlock in the answer to `abi`: supervisors can connect for agents.
const NOTIFIES: usize = 64;

/// Who am I this time.
#[unsafe(no_mangle)]
extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the kernel laid the arguments there.
    let arguments = unsafe { Arguments::at(stack) };
    match arguments.get(1) {
        Some(b"enter") => enter::enter(arguments.number(2) as i32),
        Some(b"serve") => launch::serve(arguments.get(2).unwrap_or_default()),
        Some(b"abi") => exit(wall::version() | if connect::is_possible() { NOTIFIES } else { 0 }),
        Some(b"attack") => attack::attack(&arguments),
        Some(_) => exit(64),
        None => launch::launcher(),
    }
}

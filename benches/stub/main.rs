//! The agent that the benchmark runs: as little as a program can be, so that what is measured is the house.
//!
//! It does what its last argument (the message) says: `one`, `chunks N MS`, `hold MS` or `big BYTES`; with
//! `--stdin` it reads its standard input and tells how long that was. `tools/bench.sh` builds it with the
//! compiler alone.
//!
//! It has no C library: that asks the processor for its features by dozens of `cpuid` instructions, each of
//! which leaves a virtual machine for its host. A program with `printf` alone in it starts in 0.4 ms on such
//! a machine, this one in 0.15 ms.

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use core::ptr;

/// What `one` answers: 40 bytes.
const ANSWER: &[u8; 40] = b"the quick brown fox jumps over the dog.\n";

/// Length of a line of `big`, its line feed included.
const LINE: usize = 1000;

/// What `big` writes at a time.
static BLOCK: [u8; 64 * LINE] = lines();

/// A span or a moment as the kernel takes it.
#[repr(C)]
struct Time {
    seconds: u64,
    nanoseconds: u64,
}

#[cfg(target_arch = "x86_64")]
mod call {
    pub(crate) const READ: usize = 0;
    pub(crate) const WRITE: usize = 1;
    pub(crate) const NANOSLEEP: usize = 35;
    pub(crate) const CLOCK_GETTIME: usize = 228;
    pub(crate) const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod call {
    pub(crate) const READ: usize = 63;
    pub(crate) const WRITE: usize = 64;
    pub(crate) const NANOSLEEP: usize = 101;
    pub(crate) const CLOCK_GETTIME: usize = 113;
    pub(crate) const EXIT_GROUP: usize = 94;
}

const fn lines() -> [u8; 64 * LINE] {
    let mut block = [b'x'; 64 * LINE];
    let mut end = LINE;
    while end <= block.len() {
        block[end - 1] = b'\n';
        end += LINE;
    }
    block
}

// === where the kernel enters ===

/// Passes the stack as it stands, where the kernel has put the arguments.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("mov rdi, rsp", "and rsp, -16", "call {obey}", "ud2", obey = sym obey)
}

/// Passes the stack as it stands, where the kernel has put the arguments.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("mov x0, sp", "bl {obey}", "brk 1", obey = sym obey)
}

extern "C" fn obey(stack: *const usize) -> ! {
    let message = last_argument(stack);
    if message == b"--stdin" {
        measure_input();
        exit(0);
    }
    let mut words = message.split(|&byte| byte == b' ');
    let word = words.next().unwrap_or_default();
    let mut number = || words.next().map_or(0, parse);
    match word {
        b"chunks" => chunks(number(), number()),
        b"hold" => hold(number()),
        b"big" => big(number() as usize),
        _ => say(ANSWER),
    }
    exit(0)
}

fn last_argument(stack: *const usize) -> &'static [u8] {
    // SAFETY: the kernel puts the count at the top of the stack, then that many pointers to strings that
    // end with a NUL and live as long as the process.
    unsafe {
        let count = *stack;
        if count < 2 {
            return b"";
        }
        let argument = *stack.add(count) as *const u8;
        let mut length = 0;
        // Volatile, or the compiler would make a call of `strlen` of it.
        while ptr::read_volatile(argument.add(length)) != 0 {
            length += 1;
        }
        core::slice::from_raw_parts(argument, length)
    }
}

// === what it can do ===

fn chunks(count: u64, pause_ms: u64) {
    for _ in 0..count {
        sleep(pause_ms);
        say_number(now());
    }
}

fn hold(time_ms: u64) {
    say(b"begun\n");
    sleep(time_ms);
    say(b"ended\n");
}

fn big(bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let size = left.min(BLOCK.len());
        say(&BLOCK[..size]);
        left -= size;
    }
}

fn measure_input() {
    let mut buffer = MaybeUninit::<[u8; 64 * 1024]>::uninit();
    let mut total = 0;
    loop {
        match system(
            call::READ,
            0,
            buffer.as_mut_ptr() as usize,
            size_of_val(&buffer),
        ) {
            size if size > 0 => total += size as u64,
            _ => break,
        }
    }
    say_number(total);
}

fn parse(word: &[u8]) -> u64 {
    word.iter().fold(0, |number, digit| {
        number * 10 + u64::from(digit.wrapping_sub(b'0'))
    })
}

/// A number on a line of its own.
fn say_number(mut number: u64) {
    let mut line = *b"                    \n";
    let mut begin = line.len() - 1;
    loop {
        begin -= 1;
        line[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || begin == 0 {
            break;
        }
    }
    say(&line[begin..]);
}

/// All of it; a reader that is gone ends the process.
fn say(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match system(call::WRITE, 1, bytes.as_ptr() as usize, bytes.len()) {
            written if written > 0 => bytes = &bytes[written as usize..],
            _ => exit(1),
        }
    }
}

/// The wall clock in nanoseconds, so that the reader can tell how old a line is.
fn now() -> u64 {
    let mut time = Time {
        seconds: 0,
        nanoseconds: 0,
    };
    system(call::CLOCK_GETTIME, 0, &raw mut time as usize, 0);
    // SAFETY: `time` is a valid value; the kernel has written it behind the compiler's back.
    let time = unsafe { ptr::read_volatile(&raw const time) };
    time.seconds * 1_000_000_000 + time.nanoseconds
}

fn sleep(ms: u64) {
    let time = Time {
        seconds: ms / 1000,
        nanoseconds: ms % 1000 * 1_000_000,
    };
    system(call::NANOSLEEP, &raw const time as usize, 0, 0);
}

fn exit(code: usize) -> ! {
    loop {
        system(call::EXIT_GROUP, code, 0, 0);
    }
}

#[cfg(target_arch = "x86_64")]
fn system(number: usize, first: usize, second: usize, third: usize) -> isize {
    let result;
    // SAFETY: the callers above pass memory of their own with its length.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") first, in("rsi") second,
            in("rdx") third, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[cfg(target_arch = "aarch64")]
fn system(number: usize, first: usize, second: usize, third: usize) -> isize {
    let result;
    // SAFETY: the callers above pass memory of their own with its length.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") first as isize => result, in("x1") second,
            in("x2") third, options(nostack));
    }
    result
}

/// The core library, built to unwind, names it; nobody calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panicked(_: &PanicInfo) -> ! {
    exit(101)
}

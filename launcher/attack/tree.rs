//! Processes that do not want to end, and the hunger for processes, memory and disk.

use super::aim::{O_CREAT, O_EXCL, O_WRONLY, Text, open, pause, wait_for};
use super::{Stop, done, word};
use crate::sys::{
    AT_FDCWD, Attribute, SIGKILL, SIGTERM, exit, fork, read, set_attribute, wait, write,
};
use core::ffi::CStr;

const MIB: usize = 1 << 20;
const SIGHUP: usize = 1;
const IGNORE: usize = 1;

/// How long a survivor lives at most.
const LIFE_MILLISECONDS: i64 = 60_000;

/// Everything that survives the end of an ordinary process.
const SURVIVORS: &[fn(usize) -> !] =
    &[plain, stubborn, daemon, silent_daemon, own_group, chain, reaper];

/// Starts survivors, tells their process ids, and waits.
pub(super) fn survive() -> ! {
    let mut pipe = [0i32; 2];
    // SAFETY: the kernel writes two descriptors, and there are two places.
    if unsafe { sys!(PIPE2, pipe.as_mut_ptr(), 0) } < 0 {
        exit(71);
    }
    for survivor in SURVIVORS {
        if fork() == 0 {
            sys!(CLOSE, pipe[0]);
            survivor(pipe[1] as usize);
        }
    }
    sys!(CLOSE, pipe[1]);
    let mut line = Text::new();
    line.push(b"survivors");
    for _ in SURVIVORS {
        let mut pid = [0u8; 4];
        let patient = (0..10).any(|_| wait_for(pipe[0] as usize, 1, 500).is_ok());
        if !patient || read(pipe[0], &mut pid) != 4 {
            break;
        }
        line.push(b" ");
        line.number(u32::from_ne_bytes(pid) as usize);
    }
    line.say();
    let mut line = Text::new();
    line.push(b"ready");
    line.say();
    pause(LIFE_MILLISECONDS);
    exit(0)
}

/// Tells that this one is up.
fn up(pipe: usize) {
    write(pipe as i32, &(sys!(GETPID) as u32).to_ne_bytes());
    sys!(CLOSE, pipe);
}

fn linger() -> ! {
    pause(LIFE_MILLISECONDS);
    exit(0)
}

fn ignore(signal: usize) {
    let action = [IGNORE, 0, 0, 0];
    // SAFETY: the kernel's `struct sigaction` is four numbers; this one ignores the signal.
    unsafe { sys!(SIGACTION, signal, action.as_ptr(), 0, 8) };
}

/// An ordinary child.
fn plain(pipe: usize) -> ! {
    up(pipe);
    linger()
}

/// As `nohup setsid`: a session of its own, deaf to hangup and the polite end.
fn stubborn(pipe: usize) -> ! {
    sys!(SETSID);
    ignore(SIGHUP);
    ignore(SIGTERM);
    up(pipe);
    linger()
}

/// The parent ends, so nobody's child.
fn orphan() {
    sys!(SETSID);
    if fork() != 0 {
        exit(0)
    }
}

/// A daemon that keeps its streams.
fn daemon(pipe: usize) -> ! {
    orphan();
    up(pipe);
    linger()
}

/// A daemon that has let go of everything.
fn silent_daemon(pipe: usize) -> ! {
    orphan();
    up(pipe);
    for file in 0..1024 {
        sys!(CLOSE, file);
    }
    linger()
}

/// A process group of its own.
fn own_group(pipe: usize) -> ! {
    sys!(SETPGID, 0, 0);
    up(pipe);
    linger()
}

/// Is another process every 20 ms, for half a minute: who looks for it finds it gone.
fn chain(pipe: usize) -> ! {
    sys!(SETSID);
    up(pipe);
    for _ in 0..1500 {
        pause(20);
        if fork() > 0 {
            exit(0)
        }
    }
    exit(0)
}

/// Takes the orphans below it for itself, with an orphan below it.
fn reaper(pipe: usize) -> ! {
    sys!(SETSID);
    set_attribute(Attribute::CHILD_SUBREAPER, 1);
    if fork() == 0 {
        daemon(pipe);
    }
    sys!(CLOSE, pipe);
    linger()
}

/// The last line of a hunger: how far it came and what stopped it.
fn tell(what: &[u8], number: usize, stopped: Option<Stop>) {
    let mut line = Text::new();
    line.push(what);
    line.push(b" ");
    line.number(number);
    line.push(b" ");
    match stopped {
        None => line.push(b"end"),
        Some(stop) => word(&mut line, stop),
    }
    line.say();
}

/// Forks until it may not, or has so many; then ends them all.
pub(super) fn forks(limit: usize) -> ! {
    const MOST: usize = 2000;
    let mut children = [0i32; MOST];
    let (mut count, mut stopped) = (0, None);
    for place in children.iter_mut().take(limit) {
        match done(fork()) {
            Ok(0) => {
                set_attribute(Attribute::DEATH_SIGNAL, SIGKILL);
                linger()
            }
            Ok(pid) => *place = pid as i32,
            Err(stop) => {
                stopped = Some(stop);
                break;
            }
        }
        count += 1;
    }
    tell(b"forks", count, stopped);
    for child in children.iter().take(count) {
        sys!(KILL, *child, SIGKILL);
    }
    for child in children.iter().take(count) {
        wait(*child as isize, None, 0);
    }
    exit(0)
}

/// A mebibyte of memory.
fn mebibyte() -> Result<&'static mut [u8], Stop> {
    // SAFETY: the kernel chooses the place, so no memory in use is replaced.
    let memory = done(unsafe { sys!(MMAP, 0, MIB, 3, 0x22, -1isize) })? as *mut u8;
    // SAFETY: so much was just mapped, is zero, belongs to nothing else and stays mapped.
    Ok(unsafe { core::slice::from_raw_parts_mut(memory, MIB) })
}

/// Takes memory and uses it; says how much it has, before the first and then now and again.
pub(super) fn memory(limit: usize) -> ! {
    const MOST: usize = 4096;
    let limit = limit.min(MOST);
    for taken in 0..limit {
        if taken % 16 == 0 {
            let mut line = Text::new();
            line.push(b"memory ");
            line.number(taken);
            line.say();
        }
        match mebibyte() {
            Ok(memory) => {
                for page in memory.chunks_mut(4096) {
                    // SAFETY: it is a part of the slice. Volatile, because nothing reads it.
                    unsafe { page.as_mut_ptr().write_volatile(1) };
                }
            }
            Err(stop) => {
                tell(b"memory", taken, Some(stop));
                exit(0)
            }
        }
    }
    tell(b"memory", limit, None);
    exit(0)
}

/// Fills a new file, keeps it for some seconds, and removes it.
pub(super) fn disk(limit: usize, path: &CStr, seconds: usize) -> ! {
    const MOST: usize = 1024;
    const SIGXFSZ: usize = 25;
    ignore(SIGXFSZ);
    let limit = limit.min(MOST);
    let file = open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL);
    let (file, memory) = match (file, mebibyte()) {
        (Ok(file), Ok(memory)) => (file, memory),
        (Err(stop), _) | (_, Err(stop)) => {
            tell(b"disk", 0, Some(stop));
            exit(0)
        }
    };
    let (mut written, mut stopped) = (0, None);
    while written < limit && stopped.is_none() {
        match done(write(file as i32, memory)) {
            Ok(MIB) => written += 1,
            Ok(_) => stopped = Some(Stop(28)),
            Err(stop) => stopped = Some(stop),
        }
    }
    tell(b"disk", written, stopped);
    pause(1000 * seconds.min(60) as i64);
    // SAFETY: the path ends with a NUL.
    unsafe { sys!(UNLINKAT, AT_FDCWD, path.as_ptr(), 0) };
    exit(0)
}

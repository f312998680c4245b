//! Processes that do not want to end, and the hunger for processes, memory and disk.

use super::aim::{O_CREAT, O_EXCL, O_WRONLY, Text, open, pause, wait_for};
use super::{Stop, done, word};
use crate::sys::{AT_FDCWD, SIGCHLD, SIGKILL, SIGTERM, exit};

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
    if sys!(PIPE2, pipe.as_mut_ptr(), 0) < 0 {
        exit(71);
    }
    for survivor in SURVIVORS {
        if sys!(CLONE, SIGCHLD) == 0 {
            sys!(CLOSE, pipe[0]);
            survivor(pipe[1] as usize);
        }
    }
    sys!(CLOSE, pipe[1]);
    let mut line = Text::new();
    line.push(b"survivors");
    for _ in SURVIVORS {
        let mut pid = 0i32;
        let patient = (0..10).any(|_| wait_for(pipe[0] as usize, 1, 500).is_ok());
        if !patient || sys!(READ, pipe[0], &raw mut pid, 4) != 4 {
            break;
        }
        line.push(b" ");
        line.number(pid as usize);
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
    let pid = sys!(GETPID) as i32;
    sys!(WRITE, pipe, &raw const pid, 4);
    sys!(CLOSE, pipe);
}

fn linger() -> ! {
    pause(LIFE_MILLISECONDS);
    exit(0)
}

fn ignore(signal: usize) {
    let action = [IGNORE, 0, 0, 0];
    sys!(SIGACTION, signal, action.as_ptr(), 0, 8);
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
    if sys!(CLONE, SIGCHLD) != 0 {
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
        if sys!(CLONE, SIGCHLD) > 0 {
            exit(0)
        }
    }
    exit(0)
}

/// Takes the orphans below it for itself, with an orphan below it.
fn reaper(pipe: usize) -> ! {
    const SET_CHILD_SUBREAPER: usize = 36;
    sys!(SETSID);
    sys!(PRCTL, SET_CHILD_SUBREAPER, 1);
    if sys!(CLONE, SIGCHLD) == 0 {
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
    const SET_DEATH_SIGNAL: usize = 1;
    let mut children = [0i32; MOST];
    let (mut count, mut stopped) = (0, None);
    for place in children.iter_mut().take(limit) {
        match done(sys!(CLONE, SIGCHLD)) {
            Ok(0) => {
                sys!(PRCTL, SET_DEATH_SIGNAL, SIGKILL);
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
        sys!(WAIT4, *child, 0, 0);
    }
    exit(0)
}

/// A mebibyte of memory.
fn mebibyte() -> Result<*mut u8, Stop> {
    done(sys!(MMAP, 0, MIB, 3, 0x22, -1isize)).map(|memory| memory as *mut u8)
}

/// Takes memory and uses it.
pub(super) fn memory(limit: usize) -> ! {
    const MOST: usize = 4096;
    let limit = limit.min(MOST);
    for taken in 0..limit {
        match mebibyte() {
            Ok(memory) => {
                for page in (0..MIB).step_by(4096) {
                    // SAFETY: within what was just mapped.
                    unsafe { memory.add(page).write_volatile(1) };
                }
            }
            Err(stop) => {
                tell(b"memory", taken, Some(stop));
                exit(0)
            }
        }
        if taken % 16 == 15 {
            let mut line = Text::new();
            line.push(b"memory ");
            line.number(taken + 1);
            line.say();
        }
    }
    tell(b"memory", limit, None);
    exit(0)
}

/// Fills a new file, keeps it for some seconds, and removes it.
pub(super) fn disk(limit: usize, path: &'static [u8], seconds: usize) -> ! {
    const MOST: usize = 1024;
    const SIGXFSZ: usize = 25;
    ignore(SIGXFSZ);
    let limit = limit.min(MOST);
    let file = open(AT_FDCWD, path.as_ptr(), O_WRONLY | O_CREAT | O_EXCL);
    let (file, memory) = match (file, mebibyte()) {
        (Ok(file), Ok(memory)) => (file, memory),
        (Err(stop), _) | (_, Err(stop)) => {
            tell(b"disk", 0, Some(stop));
            exit(0)
        }
    };
    let (mut written, mut stopped) = (0, None);
    while written < limit && stopped.is_none() {
        match done(sys!(WRITE, file, memory, MIB)) {
            Ok(MIB) => written += 1,
            Ok(_) => stopped = Some(Stop(28)),
            Err(stop) => stopped = Some(stop),
        }
    }
    tell(b"disk", written, stopped);
    pause(1000 * seconds.min(60) as i64);
    sys!(UNLINKAT, AT_FDCWD, path.as_ptr(), 0);
    exit(0)
}

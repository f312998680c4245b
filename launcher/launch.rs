//! The launcher: forks a supervisor for each order, until the server is gone.

use crate::children::kill_children_but;
use crate::supervise::supervise;
use crate::sys::{
    CLOEXEC, Control, EINTR, IoVec, PollFd, SIGCHLD, TimeSpec, WNOHANG, exit, message,
};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Waits for orders until the server is gone.
pub(crate) fn launcher() -> ! {
    // What a terminal sends to its foreground group is for the server, which then ends us.
    sys!(SETSID);
    // What an agent leaves behind that ends its own supervisor comes here.
    const SET_CHILD_SUBREAPER: usize = 36;
    sys!(PRCTL, SET_CHILD_SUBREAPER, 1);
    const SET_NAME: usize = 15;
    sys!(PRCTL, SET_NAME, c"pilothouse-tree".as_ptr());
    // Whoever started the server may have left something open.
    if sys!(CLOSE_RANGE, 3, u32::MAX, 0) < 0 {
        for descriptor in 3..1024 {
            sys!(CLOSE, descriptor);
        }
    }
    // Supervisors hold environments of agents for a moment; nobody else's business.
    const SET_DUMPABLE: usize = 4;
    sys!(PRCTL, SET_DUMPABLE, 0);
    loop {
        // Supervisors that have ended are reaped at the next order, or within a second.
        while has_children() && !order_within_a_second() {}
        let Some(descriptors) = next_order() else { end() };
        let [control, stdin, stdout, stderr] = descriptors;
        // SIGCHLD alone as flags: a fork. One thread, no locks: the child may run ordinary code.
        match sys!(CLONE, SIGCHLD) {
            0 => supervise(control, [stdin, stdout, stderr]),
            supervisor => SUPERVISORS.insert(supervisor),
        }
        for descriptor in descriptors {
            sys!(CLOSE, descriptor);
        }
    }
}

/// The launcher inside of a container: its orders come over the socket at this path.
pub(crate) fn serve(path: &[u8]) -> ! {
    const AF_UNIX: usize = 1;
    const SOCK_STREAM: usize = 1;
    let mut address = [0u8; 110];
    address[0] = AF_UNIX as u8;
    if path.is_empty() || path.len() > 107 {
        exit(64);
    }
    for (place, byte) in address.iter_mut().skip(2).zip(path) {
        *place = *byte;
    }
    let socket = sys!(SOCKET, AF_UNIX, SOCK_STREAM, 0);
    if socket < 0
        || sys!(CONNECT, socket, address.as_ptr(), path.len() + 3) < 0
        || sys!(DUP3, socket, 0, CLOEXEC) < 0
    {
        exit(1);
    }
    sys!(CLOSE, socket);
    launcher()
}

/// The supervisors that live.
static SUPERVISORS: Set = Set([const { AtomicU64::new(0) }; SET_WORDS]);

/// No process of Linux has a number above 2^22. Only the pages of numbers that are in use are ever touched.
const SET_WORDS: usize = (1 << 22) / 64;

/// Numbers of processes.
struct Set([AtomicU64; SET_WORDS]);

impl Set {
    fn insert(&self, pid: isize) {
        if let Some(word) = self.0.get(pid as usize / 64) {
            word.fetch_or(1 << (pid as usize % 64), Relaxed);
        }
    }

    fn remove(&self, pid: isize) {
        if let Some(word) = self.0.get(pid as usize / 64) {
            word.fetch_and(!(1 << (pid as usize % 64)), Relaxed);
        }
    }

    fn has(&self, pid: usize) -> bool {
        self.0.get(pid / 64).is_some_and(|word| word.load(Relaxed) >> (pid % 64) & 1 == 1)
    }
}

/// Rounds of ending what supervisors have left behind before orders are looked at again.
const ROUNDS: u32 = 20;
const ROUND_NANOSECONDS: i64 = 5_000_000;

/// Reaps what has ended, and ends what supervisors have left behind; whether anything is left.
fn has_children() -> bool {
    for _ in 0..ROUNDS {
        let mut has_reaped = false;
        loop {
            let pid = sys!(WAIT4, -1isize, 0, WNOHANG);
            match pid {
                0 => break,
                ..0 => return false,
                _ => {}
            }
            SUPERVISORS.remove(pid);
            has_reaped = true;
        }
        // Nothing comes here unless a supervisor has ended.
        if !has_reaped || kill_children_but(|pid| SUPERVISORS.has(pid)) == 0 {
            break;
        }
        let round = TimeSpec { seconds: 0, nanoseconds: ROUND_NANOSECONDS };
        sys!(PPOLL, 0, 0, &raw const round, 0, 8);
    }
    true
}

/// Rounds of waiting for supervisors, which end by themselves when the server is gone; half a minute.
const LAST_ROUNDS: u32 = 6_000;

/// Ends what supervisors leave behind until all of them are gone, then ends.
fn end() -> ! {
    for _ in 0..LAST_ROUNDS {
        if !has_children() {
            break;
        }
        kill_children_but(|pid| SUPERVISORS.has(pid));
        let round = TimeSpec { seconds: 0, nanoseconds: ROUND_NANOSECONDS };
        sys!(PPOLL, 0, 0, &raw const round, 0, 8);
    }
    exit(0)
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
        let mut control = Control::empty();
        let mut header = message(&mut vector, &mut control, size_of::<Control>());
        const CMSG_CLOEXEC: usize = 0x4000_0000;
        match sys!(RECVMSG, 0, &raw mut header, CMSG_CLOEXEC) {
            EINTR => {}
            1 if control.count() == 4 => {
                return Some(control.descriptors);
            }
            1 => {}
            _ => return None,
        }
    }
}

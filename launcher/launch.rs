//! The launcher: forks a supervisor for each order, until the server is gone.

use crate::children::kill_children_but;
use crate::supervise::supervise;
use crate::sys::{
    Attribute, CLOEXEC, Control, EINTR, PollFd, TimeSpec, WNOHANG, connect, exit, fork, pause,
    poll, receive, set_attribute, wait,
};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Waits for orders until the server is gone.
pub(crate) fn launcher() -> ! {
    // What a terminal sends to its foreground group is for the server, which then ends us.
    sys!(SETSID);
    // What an agent leaves behind that ends its own supervisor comes here.
    set_attribute(Attribute::CHILD_SUBREAPER, 1);
    const SET_NAME: usize = 15;
    // SAFETY: the kernel reads the name up to its NUL.
    unsafe { sys!(PRCTL, SET_NAME, c"pilothouse-tree".as_ptr()) };
    // Whoever started the server may have left something open.
    if sys!(CLOSE_RANGE, 3, u32::MAX, 0) < 0 {
        for descriptor in 3..1024 {
            sys!(CLOSE, descriptor);
        }
    }
    // Supervisors hold environments of agents for a moment; nobody else's business.
    set_attribute(Attribute::DUMPABLE, 0);
    loop {
        // Supervisors that have ended are reaped at the next order, or within a second.
        while has_children() && !order_within_a_second() {}
        let Some(descriptors) = next_order() else { end() };
        let [control, stdin, stdout, stderr] = descriptors;
        match fork() {
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
    let Some(address) = address.get(..path.len() + 3) else { exit(64) };
    if socket < 0 || connect(socket, address) < 0 || sys!(DUP3, socket, 0, CLOEXEC) < 0 {
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
const ROUND: TimeSpec = TimeSpec { seconds: 0, nanoseconds: 5_000_000 };

/// Reaps what has ended, and ends what supervisors have left behind; whether anything is left.
fn has_children() -> bool {
    for _ in 0..ROUNDS {
        let mut may_be_left = false;
        loop {
            let mut status = 0;
            let pid = wait(-1, Some(&mut status), WNOHANG);
            match pid {
                0 => break,
                ..0 => return false,
                _ => {}
            }
            // A supervisor that ends by itself, with 0, has ended its tree. So what comes here comes from another one.
            may_be_left |= status != 0 || !SUPERVISORS.has(pid as usize);
            SUPERVISORS.remove(pid);
        }
        if !may_be_left || kill_children_but(|pid| SUPERVISORS.has(pid)) == 0 {
            break;
        }
        pause(ROUND);
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
        pause(ROUND);
    }
    exit(0)
}

fn order_within_a_second() -> bool {
    let second = TimeSpec { seconds: 1, nanoseconds: 0 };
    poll(&mut [PollFd { fd: 0, events: 1, revents: 0 }], Some(second)) != 0
}

/// The descriptors of the next order; none when the server is gone.
fn next_order() -> Option<[i32; 4]> {
    loop {
        let mut control = Control::empty();
        match receive(0, &mut [0], &mut control, 0) {
            EINTR => {}
            1 if control.count() == 4 => return Some(control.descriptors),
            1 => {}
            _ => return None,
        }
    }
}

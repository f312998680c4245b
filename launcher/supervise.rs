//! A supervisor: the process above one agent. It starts it, hears the server, and ends the whole tree.

use crate::children::kill_children;
use crate::connect::Connector;
use crate::start::{read_spec, spawn};
use crate::sys::{
    Attribute, BLOCK, CLOEXEC, ECHILD, EINTR, NONBLOCK, PollFd, SIGCHLD, SIGKILL, SIGPIPE, SIGTERM,
    TimeSpec, WNOHANG, block_signals, exit, limit, poll, read, set_attribute, wait, write,
};
use core::mem::MaybeUninit;

/// How long a supervisor goes on killing before it gives up and says how many are left, in rounds of
/// [`ROUND`].
const ROUNDS: u32 = 2000;
const ROUND: TimeSpec = TimeSpec { seconds: 0, nanoseconds: 5_000_000 };

/// The life of a supervisor.
pub(crate) fn supervise(control: i32, streams: [i32; 3]) -> ! {
    sys!(SETSID);
    set_attribute(Attribute::CHILD_SUBREAPER, 1);
    const CORE: usize = 4;
    limit(CORE, Some([0; 2]), None);
    // Orders are the launcher's.
    sys!(CLOSE, 0);
    let child_set = 1u64 << (SIGCHLD - 1);
    block_signals(BLOCK, child_set | 1u64 << (SIGPIPE - 1));
    // SAFETY: the set is a number of 64 bits on this stack, as its length of 8 bytes says.
    let child_ended =
        unsafe { sys!(SIGNALFD4, -1isize, &raw const child_set, 8, CLOEXEC | NONBLOCK) };
    let child_ended = child_ended as i32;

    let Some(mut start) = read_spec(control, streams) else { exit(1) };
    let (agent, mut connector) = Connector::around(&mut start, spawn);
    for descriptor in streams.iter().chain(&start.along) {
        sys!(CLOSE, *descriptor);
    }
    if start.error != 0 || agent <= 0 {
        let error = if start.error != 0 { start.error } else { agent };
        report(control, b'N', (start.stage << 16) as i32 | -error as i32);
        exit(0)
    }
    report_pair(control, b'S', [agent as i32, sys!(GETPID) as i32]);
    let status = watch(control, child_ended, agent, &mut connector);
    let left = end_tree(child_ended);
    match status {
        _ if left > 0 => report(control, b'L', left),
        Some(status) if status & 0x7f == 0 => report(control, b'X', status >> 8 & 0xff),
        Some(status) => report(control, b'G', status & 0x7f),
        None => report(control, b'G', SIGKILL as i32),
    }
    // The launcher looks after what is left.
    exit(usize::from(left > 0))
}

/// Waits for the agent's end, doing what the server says and connecting for the agent meanwhile. The agent's wait status; none when
/// it could not be killed in time.
fn watch(control: i32, child_ended: i32, agent: isize, connector: &mut Connector) -> Option<i32> {
    let mut killing = 0u32;
    loop {
        if let Some(status) = reap(agent) {
            return Some(status);
        }
        if killing > ROUNDS {
            return None;
        }
        // Once the end is decided nothing more is heard.
        let heard = |descriptor| if killing > 0 { -1 } else { descriptor };
        let mut waiting = [
            PollFd { fd: child_ended, events: 1, revents: 0 },
            PollFd { fd: heard(control), events: 1, revents: 0 },
            PollFd { fd: heard(connector.notifications), events: 1, revents: 0 },
        ];
        poll(&mut waiting, (killing > 0).then_some(ROUND));
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
        } else {
            connector.answer(waiting[2].revents, control);
        }
    }
}

/// Reaps whatever has ended; the agent's own status when it is among them.
fn reap(agent: isize) -> Option<i32> {
    let mut found = None;
    loop {
        let mut status = 0i32;
        let pid = wait(-1, Some(&mut status), WNOHANG);
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
        match wait(-1, None, WNOHANG) {
            ECHILD => return 0,
            pid if pid > 0 => continue,
            _ => {}
        }
        let left = kill_children();
        rounds += 1;
        if rounds > ROUNDS {
            return if left > 0 { left } else { 1 };
        }
        poll(&mut [PollFd { fd: child_ended, events: 1, revents: 0 }], Some(ROUND));
        drain(child_ended);
    }
}

/// Empties the descriptor that tells of ended children.
fn drain(child_ended: i32) {
    let mut unread = MaybeUninit::<[u8; 128]>::uninit();
    // SAFETY: the kernel writes at most 128 bytes, and the buffer has as many.
    while unsafe { sys!(READ, child_ended, unread.as_mut_ptr(), 128) } > 0 {}
}

/// A word of the server; 0 when it is gone.
fn hear(control: i32) -> u8 {
    let mut word = [0u8];
    loop {
        match read(control, &mut word) {
            EINTR => {}
            1 => return word[0],
            _ => return 0,
        }
    }
}

/// A server that is gone hears nothing, and that is no reason to stop (SIGPIPE is blocked).
pub(crate) fn report(control: i32, tag: u8, value: i32) {
    report_pair(control, tag, [value, 0]);
}

fn report_pair(control: i32, tag: u8, [first, second]: [i32; 2]) {
    let [a, b, c, d] = first.to_le_bytes();
    let [e, f, g, h] = second.to_le_bytes();
    write(control, &[tag, a, b, c, d, e, f, g, h]);
}

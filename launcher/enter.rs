//! The first program inside of a new root: reads what to become from the line to the server, hands out a
//! listener, puts up the inner wall, and executes the agent.

use crate::start::{Start, read_spec};
use crate::supervise::report;
use crate::sys::{SET_MASK, SIGPIPE, block_signals, exit, reset_signal};
use crate::wall::apply;

/// The highest descriptor that may have come along, standard streams and line included.
const LAST_DESCRIPTOR: i32 = 8;

/// Becomes the agent, or tells over the line why not.
pub(crate) fn enter(line: i32) -> ! {
    const F_SETFD: usize = 2;
    for descriptor in 3..=LAST_DESCRIPTOR {
        // SAFETY: `fcntl` takes no address to set the flags of a descriptor.
        unsafe { sys!(FCNTL, descriptor, F_SETFD, 1) };
    }
    let Some(start) = read_spec(line, [0, 1, 2]) else { exit(1) };
    // A word, so that the server learns who we are from outside.
    report(line, b'E', 0);
    let (stage, error) = become_agent(&start, line);
    report(line, b'N', (stage << 16) as i32 | (-error & 0xffff) as i32);
    exit(127)
}

/// Returns only where it failed: the record, and the error.
fn become_agent(start: &Start, line: i32) -> (u32, isize) {
    let mut error = sys!(SETPGID, 0, 0);
    if error < 0 {
        return (0, error);
    }
    reset_signal(SIGPIPE);
    block_signals(SET_MASK, 0);
    error = start.enter_folder();
    if error < 0 {
        return (0, error);
    }
    match apply(start.wall, line) {
        Err(failed) => (failed.tag, failed.error),
        Ok(()) => (0, start.execute()),
    }
}

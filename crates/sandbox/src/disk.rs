//! Work that waits for the disk.
//!
//! Short work is over in microseconds, less than it takes to hand it to another thread; on a disk that hangs it does
//! not end. So one piece of it at a time is done where it comes up, and what comes up meanwhile goes to a thread that
//! may wait. The runtime has two workers at least.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::{Handle, RuntimeFlavor};

static SHORT_WORK: Gate = Gate(AtomicBool::new(false));

/// Lets one pass at a time.
struct Gate(AtomicBool);

struct Passage<'a>(&'a AtomicBool);

impl Gate {
    fn pass(&self) -> Option<Passage<'_>> {
        let is_taken = self.0.swap(true, Ordering::Acquire);
        (!is_taken).then(|| Passage(&self.0))
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Does short work at once; the work itself where other work is under way.
pub fn at_once<T, W: FnOnce() -> T>(work: W) -> Result<T, W> {
    match SHORT_WORK.pass() {
        Some(_passage) => Ok(work()),
        None => Err(work),
    }
}

/// Does short work, at once or where the other tasks of this worker go on elsewhere meanwhile.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    let work = match at_once(work) {
        Ok(done) => return done,
        Err(work) => work,
    };
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Does work on a thread that may wait.
///
/// # Errors
///
/// When the work panics, or the runtime ends.
pub async fn off_worker<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_one_piece_of_work_lasts_no_other_is_done_at_once() {
        let gate = Gate(AtomicBool::new(false));
        let passage = gate.pass();
        assert!(passage.is_some() && gate.pass().is_none());
        drop(passage);
        assert!(gate.pass().is_some());
    }
}

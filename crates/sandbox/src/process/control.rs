//! The socket of a supervisor: what it is told, and what it reports.

use super::Ended;
use crate::supervisor::{KILL_DEADLINE, Report, Word};
use rustix::process::Pid;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// The control socket of one supervisor. Dropping it ends the whole tree.
pub struct Control {
    pub(super) socket: UnixStream,
    pub(super) partial: [u8; Report::SIZE],
    pub(super) filled: usize,
    /// The agent as it is seen from here, where the supervisor's own child is only what made its namespaces.
    pub(super) inside: Option<Leader>,
    /// To be told that something may be left, until it is known that nothing is.
    pub(super) lost: Option<CancellationToken>,
}
/// A process that is not our child's child alone, and leads its group.
pub(super) struct Leader {
    pub(super) pid: Pid,
    /// Tells whether the number still means this process; none where it had ended before it was looked at.
    pub(super) handle: Option<OwnedFd>,
}
impl Leader {
    /// SIGTERM to its group, unless it is gone.
    fn terminate(&self) {
        let Some(handle) = &self.handle else { return };
        let mut watched = [rustix::event::PollFd::new(handle, rustix::event::PollFlags::IN)];
        let now = rustix::time::Timespec::default();
        if rustix::event::poll(&mut watched, Some(&now)) == Ok(0) {
            let _ = rustix::process::kill_process_group(self.pid, rustix::process::Signal::TERM);
        }
    }
}
impl Drop for Control {
    fn drop(&mut self) {
        if let Some(lost) = &self.lost {
            lost.cancel();
        }
    }
}
impl Control {
    /// The next report; none when the supervisor is gone. Cancel-safe.
    pub(super) async fn report(&mut self) -> io::Result<Option<Report>> {
        while self.filled < Report::SIZE {
            match self.socket.read(&mut self.partial[self.filled..]).await? {
                0 => return Ok(None),
                read => self.filled += read,
            }
        }
        self.filled = 0;
        Ok(self.decoded())
    }

    /// The report that is whole.
    fn decoded(&mut self) -> Option<Report> {
        let report = Report::decode(self.partial);
        if let Some(Report::Exited(_) | Report::Signaled(_)) = report {
            self.lost = None;
        }
        report
    }

    /// SIGKILL to the whole tree; waits until it is gone.
    pub async fn kill(&mut self) {
        self.say(Word::Kill);
        self.wait_for_end().await;
    }

    /// Waits for the end of the tree, as long as a supervisor tries to end it.
    pub(super) async fn wait_for_end(&mut self) {
        let _ = tokio::time::timeout(KILL_DEADLINE, self.ended()).await;
    }

    /// How the agent ended, if that is known by now.
    pub fn try_ended(&mut self) -> Option<Ended> {
        match self.socket.try_read(&mut self.partial[self.filled..]) {
            Ok(size) if size > 0 => self.filled += size,
            // Not yet; or the end of the socket, which `ended` tells.
            Ok(_) | Err(_) => return None,
        }
        if self.filled < Report::SIZE {
            return None;
        }
        self.filled = 0;
        match self.decoded() {
            Some(Report::Exited(code)) => Some(self.exited(code)),
            Some(Report::Signaled(signal)) => Some(Ended::Signal(signal)),
            Some(Report::Survivors(_)) => Some(Ended::Unclear),
            Some(Report::Started(..) | Report::NotStarted(..) | Report::Entered) | None => None,
        }
    }

    /// Waits until the agent and its whole tree are gone. Cancel-safe.
    pub async fn ended(&mut self) -> Ended {
        loop {
            match self.report().await {
                Ok(Some(Report::Exited(code))) => return self.exited(code),
                Ok(Some(Report::Signaled(signal))) => return Ended::Signal(signal),
                Ok(Some(Report::Started(..) | Report::Entered)) => {}
                Ok(Some(Report::Survivors(_) | Report::NotStarted(..)) | None) | Err(_) => {
                    return Ended::Unclear;
                }
            }
        }
    }

    /// What makes the namespaces of an agent tells its end by a signal as shells do.
    pub(super) fn exited(&self, code: i32) -> Ended {
        match code {
            129..=192 if self.inside.is_some() => Ended::Signal(code - 128),
            _ => Ended::Code(code),
        }
    }

    /// Tells the supervisor something. A supervisor that is gone has nothing left to end.
    pub fn say(&self, word: Word) {
        if let (Word::Terminate, Some(leader)) = (word, &self.inside) {
            // What made the namespaces passes no signal on; from here its inhabitants can be reached.
            return leader.terminate();
        }
        let _ = self.socket.try_write(&[word as u8]);
    }
}

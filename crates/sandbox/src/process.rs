//! An agent's process as the server holds it: three pipes, a control socket to its supervisor, and
//! the ladder by which it is ended.

mod control;
mod launcher;
mod line;
pub mod tree;

use crate::supervisor::KILL_DEADLINE;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{Receiver, Sender};

pub use control::Control;
pub use launcher::{Begun, Launcher, Prepared};

/// How much of the last words of a program is told.
const LAST_WORDS: u64 = 2048;

/// How much is read of what a program prints.
const PRINTED: u64 = 256 * 1024;

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there, or may not be run.
    #[error("`{program}` could not be started: {source}")]
    NotStarted {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A part of the sandbox could not be put up; nothing was started.
    #[error("the sandbox of `{program}` could not be made ({part}): {source}")]
    NoSandbox {
        /// What was to be started in it.
        program: String,
        /// Which part.
        part: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The program that makes the namespaces failed; nothing was started.
    #[error("the sandbox could not be made: `{program}` said: {words}")]
    NotEntered {
        /// The program.
        program: String,
        /// Its last words.
        words: String,
    },
    /// A file of the server's own could not be kept from it; nothing was started.
    #[error("{0}")]
    Exposed(#[source] io::Error),
    /// The launcher or the system failed us.
    #[error("could not start a supervisor: {0}")]
    Supervisor(#[from] io::Error),
}

impl Error {
    /// Whether the system did not find the program, or what runs it, or may not run it.
    pub fn is_not_found(&self) -> bool {
        let Self::NotStarted { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
    }

    /// Whether the system does not know how to run the file.
    pub fn is_unknown_format(&self) -> bool {
        let Self::NotStarted { source, .. } = self else { return false };
        source.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error())
    }
}

/// A running agent.
pub struct Process {
    /// Its process id.
    pub pid: i32,
    /// It, and what it starts.
    pub tree: tree::Tree,
    /// Its standard input, until it is closed.
    pub stdin: Option<Input>,
    /// Its standard output.
    pub stdout: Receiver,
    /// Its standard error.
    pub stderr: Receiver,
    /// The word to its supervisor.
    pub control: Control,
    /// A listener on loopback of the agent's own network, where it was made one.
    pub listener: Option<std::net::TcpListener>,
}

/// An agent's standard input. Most agents are given little on it, so it is made ready for waiting only
/// when it is full.
pub enum Input {
    /// It has taken all that was written.
    Quiet(OwnedFd),
    /// It was full once.
    Open(Sender),
    /// It could not be made ready.
    Broken,
}

/// How a process and its tree ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The agent exited with a code; nothing is left.
    Code(i32),
    /// The agent was ended by a signal; nothing is left.
    Signal(i32),
    /// The supervisor vanished or could not end everything.
    Unclear,
}

impl Input {
    /// Writes what the pipe takes now.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when it takes nothing now; anything else means that nobody reads any more.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Self::Quiet(pipe) = self {
            rustix::io::ioctl_fionbio(&*pipe, true)?;
            let written = match rustix::io::write(&*pipe, bytes) {
                Err(rustix::io::Errno::AGAIN) => 0,
                other => other?,
            };
            if written == bytes.len() {
                return Ok(written);
            }
            if let Self::Quiet(pipe) = std::mem::replace(self, Self::Broken) {
                *self = Self::Open(Sender::from_owned_fd_unchecked(pipe)?);
            }
            return if written == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) };
        }
        match self {
            Self::Open(sender) => sender.try_write(bytes),
            Self::Quiet(_) | Self::Broken => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Waits until it may take more.
    pub async fn writable(&self) {
        if let Self::Open(sender) = self {
            // An error shows at the next write.
            let _ = sender.writable().await;
        }
    }
}

/// The near end of a pipe that an agent writes to. Made here, so it need not be asked what it is.
fn receiver(pipe: OwnedFd) -> io::Result<Receiver> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    Receiver::from_owned_fd_unchecked(pipe)
}

impl Process {
    /// What it prints until its end, as far as that is short.
    pub async fn printed(&mut self) -> String {
        let printed = read_all(&mut self.stdout, PRINTED).await;
        String::from_utf8_lossy(&printed).into_owned()
    }

    /// What it wrote to standard error, in a line, once it has ended.
    pub async fn last_words(&mut self) -> String {
        last_words(&mut self.stderr).await
    }
}

/// The beginning of what comes through a pipe.
async fn read_all(pipe: &mut Receiver, most: u64) -> Vec<u8> {
    let mut words = Vec::new();
    let mut pipe = pipe.take(most);
    let read = pipe.read_to_end(&mut words);
    let _ = tokio::time::timeout(KILL_DEADLINE, read).await;
    words
}

/// What a program that has ended wrote last, in a line.
async fn last_words(stderr: &mut Receiver) -> String {
    let words = read_all(stderr, LAST_WORDS).await;
    let words = String::from_utf8_lossy(&words);
    let words = words.trim();
    if words.is_empty() { "nothing".to_owned() } else { words.replace('\n', "; ") }
}

#[cfg(test)]
pub(crate) mod tests;

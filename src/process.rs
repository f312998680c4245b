//! An agent's process as the server holds it: three pipes, a control socket to its supervisor, and
//! the ladder by which it is ended.

use crate::supervisor::{Report, SPEC_LIMIT, Spec, Word, launcher};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};

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
    /// The launcher or the system failed us.
    #[error("could not start a supervisor: {0}")]
    Supervisor(#[from] io::Error),
}

/// Starts supervisors. One for the whole server.
pub struct Launcher {
    orders: Mutex<Option<Arc<UnixStream>>>,
}

/// A running agent.
pub struct Process {
    /// Its process id.
    pub pid: i32,
    /// Its standard input, until it is closed.
    pub stdin: Option<Sender>,
    /// Its standard output.
    pub stdout: Receiver,
    /// Its standard error.
    pub stderr: Receiver,
    /// The word to its supervisor.
    pub control: Control,
}

/// The control socket of one supervisor. Dropping it ends the whole tree.
pub struct Control {
    socket: UnixStream,
    partial: [u8; Report::SIZE],
    filled: usize,
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

impl Launcher {
    /// Starts the launcher.
    ///
    /// # Errors
    ///
    /// When this binary cannot be started again.
    pub fn start() -> io::Result<Self> {
        Ok(Self { orders: Mutex::new(Some(Self::spawn_launcher()?)) })
    }

    fn spawn_launcher() -> io::Result<Arc<UnixStream>> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // `/proc/self/exe` is this very binary, even when another one stands at its path by now.
        Command::new("/proc/self/exe")
            .arg0("pilothouse-launcher")
            .arg(launcher::ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Arc::new(UnixStream::from_std(ours)?))
    }

    fn orders(&self) -> io::Result<Arc<UnixStream>> {
        let mut orders = self.orders.lock().expect("no panic while the launcher's socket is held");
        match &*orders {
            Some(orders) => Ok(orders.clone()),
            None => {
                let fresh = Self::spawn_launcher()?;
                *orders = Some(fresh.clone());
                Ok(fresh)
            }
        }
    }

    /// Starts a process under a supervisor of its own.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`] when the program cannot be run, [`Error::Supervisor`] otherwise.
    pub async fn spawn(&self, spec: &Spec) -> Result<Process, Error> {
        match self.try_spawn(spec).await {
            // The launcher is gone (killed by hand, say): the next one serves as well.
            Err(Error::Supervisor(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.orders.lock().expect("no panic while the launcher's socket is held").take();
                self.try_spawn(spec).await
            }
            other => other,
        }
    }

    async fn try_spawn(&self, spec: &Spec) -> Result<Process, Error> {
        let (stdin_far, stdin) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let (stdout, stdout_far) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let (stderr, stderr_far) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let (control, control_far) = std::os::unix::net::UnixStream::pair()?;
        control.set_nonblocking(true)?;
        let orders = self.orders()?;
        orders
            .async_io(Interest::WRITABLE, || {
                let far = [control_far.as_fd(), stdin_far.as_fd(), stdout_far.as_fd(), stderr_far.as_fd()];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(launcher::DESCRIPTORS))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                ancillary.push(SendAncillaryMessage::ScmRights(&far));
                let sent = rustix::net::sendmsg(&orders, &[IoSlice::new(b"+")], &mut ancillary, SendFlags::NOSIGNAL);
                Ok(sent.map(drop)?)
            })
            .await?;
        drop((control_far, stdin_far, stdout_far, stderr_far));

        let mut socket = UnixStream::from_std(control)?;
        let json = serde_json::to_vec(spec).map_err(io::Error::other)?;
        if json.len() > SPEC_LIMIT {
            return Err(Error::NotStarted {
                program: spec.program.clone(),
                source: io::Error::from_raw_os_error(rustix::io::Errno::TOOBIG.raw_os_error()),
            });
        }
        let mut frame = Vec::with_capacity(4 + json.len());
        frame.extend_from_slice(&u32::try_from(json.len()).expect("SPEC_LIMIT fits").to_le_bytes());
        frame.extend_from_slice(&json);
        socket.write_all(&frame).await?;

        let mut control = Control { socket, partial: [0; Report::SIZE], filled: 0 };
        match control.report().await? {
            Some(Report::Started(pid)) => Ok(Process {
                pid,
                stdin: Some(Sender::from_owned_fd(stdin)?),
                stdout: Receiver::from_owned_fd(stdout)?,
                stderr: Receiver::from_owned_fd(stderr)?,
                control,
            }),
            Some(Report::NotStarted(number)) => {
                Err(Error::NotStarted { program: spec.program.clone(), source: io::Error::from_raw_os_error(number) })
            }
            Some(Report::Exited(_) | Report::Signaled(_) | Report::Survivors(_)) | None => {
                Err(Error::Supervisor(io::Error::other("the supervisor ended before the agent began")))
            }
        }
    }
}

impl Control {
    /// The next report; none when the supervisor is gone. Cancel-safe.
    async fn report(&mut self) -> io::Result<Option<Report>> {
        while self.filled < Report::SIZE {
            match self.socket.read(&mut self.partial[self.filled..]).await? {
                0 => return Ok(None),
                read => self.filled += read,
            }
        }
        self.filled = 0;
        Ok(Report::decode(self.partial))
    }

    /// Waits until the agent and its whole tree are gone. Cancel-safe.
    pub async fn ended(&mut self) -> Ended {
        loop {
            match self.report().await {
                Ok(Some(Report::Exited(code))) => return Ended::Code(code),
                Ok(Some(Report::Signaled(signal))) => return Ended::Signal(signal),
                Ok(Some(Report::Started(_))) => {}
                Ok(Some(Report::Survivors(_) | Report::NotStarted(_)) | None) | Err(_) => return Ended::Unclear,
            }
        }
    }

    /// Tells the supervisor something. A supervisor that is gone has nothing left to end.
    pub fn say(&self, word: Word) {
        let _ = self.socket.try_write(&[word as u8]);
    }
}

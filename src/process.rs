//! An agent's process as the server holds it: three pipes, a control socket to its supervisor, and
//! the ladder by which it is ended.

mod line;
pub mod tree;

use crate::supervisor::{
    Confined, DESCRIPTORS, FIRST_ALONG, KILL_DEADLINE, LAUNCHER_PROGRAM, OWN_PROGRAM, PROGRAM,
    Report, Word,
};
use parking_lot::Mutex;
use rustix::fs::{Gid, MemfdFlags, SealFlags, Uid, memfd_create};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio_util::sync::CancellationToken;

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

/// Starts supervisors: one for the whole server, and one in each container.
#[derive(Clone)]
pub struct Launcher {
    orders: Arc<Mutex<Option<Arc<UnixStream>>>>,
    pid: u32,
    program: Arc<OwnedFd>,
    own: Arc<OwnedFd>,
    /// How many descriptors what it starts may open.
    descriptors: Rlimit,
    /// Cancelled when something that was started elsewhere may be left there; none for the launcher beside
    /// the server, in whose place another one is started.
    lost: Option<CancellationToken>,
}

/// A supervisor that waits to be told what to start.
pub struct Prepared {
    program: Arc<OwnedFd>,
    own: Arc<OwnedFd>,
    control: Control,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// What is known of an agent that has begun.
pub struct Begun {
    pid: i32,
    listener: Option<std::net::TcpListener>,
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

/// The control socket of one supervisor. Dropping it ends the whole tree.
pub struct Control {
    socket: UnixStream,
    partial: [u8; Report::SIZE],
    filled: usize,
    /// The agent as it is seen from here, where the supervisor's own child is only what made its namespaces.
    inside: Option<Leader>,
    /// To be told that something may be left, until it is known that nothing is.
    lost: Option<CancellationToken>,
}

/// A process that is not our child's child alone, and leads its group.
struct Leader {
    pid: Pid,
    /// Tells whether the number still means this process; none where it had ended before it was looked at.
    handle: Option<OwnedFd>,
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
    pub fn start() -> io::Result<Self> {
        let program = program_in_memory()?;
        let descriptors = getrlimit(Resource::Nofile);
        let (pid, orders) = Self::spawn_launcher(&program, descriptors)?;
        Ok(Self {
            descriptors,
            orders: Arc::new(Mutex::new(Some(orders))),
            pid,
            program: Arc::new(program),
            own: Arc::new(File::open("/proc/self/exe")?.into()),
            lost: None,
        })
    }

    /// A launcher that runs elsewhere and takes its orders over this socket. When it is gone it stays gone.
    /// `lost` is cancelled when a process of it was given up without a word that its tree has ended.
    pub fn elsewhere(&self, pid: u32, orders: UnixStream, lost: CancellationToken) -> Self {
        Self {
            orders: Arc::new(Mutex::new(Some(Arc::new(orders)))),
            pid,
            program: self.program.clone(),
            own: self.own.clone(),
            descriptors: self.descriptors,
            lost: Some(lost),
        }
    }

    /// Whether nobody takes orders any more.
    pub fn is_gone(&self) -> bool {
        let orders = self.held();
        let Some(orders) = &*orders else {
            return true;
        };
        // A launcher says nothing, so there is nothing to read but the end.
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        rustix::net::recv(&**orders, &mut [0u8; 1], look) != Err(rustix::io::Errno::AGAIN)
    }

    /// Takes its orders away, at which it ends. What it has started is ended by the control sockets.
    pub fn dismiss(&self) {
        self.held().take();
    }

    fn held(&self) -> parking_lot::MutexGuard<'_, Option<Arc<UnixStream>>> {
        self.orders.lock()
    }

    /// The launcher, and all that comes from it, may open this many descriptors: those that this process
    /// might open before it raised its own limit, which is too high for what counts on a low one.
    fn spawn_launcher(
        program: &OwnedFd,
        descriptors: Rlimit,
    ) -> io::Result<(u32, Arc<UnixStream>)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let launcher = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg0("pilothouse-launcher")
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        prlimit(Some(Pid::from_child(&launcher)), Resource::Nofile, descriptors)?;
        let orders = Arc::new(UnixStream::from_std(ours)?);
        Ok((launcher.id(), orders))
    }

    /// The process id of the launcher that was started first.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn orders(&self) -> io::Result<Arc<UnixStream>> {
        let mut orders = self.held();
        match &*orders {
            Some(orders) => Ok(orders.clone()),
            None if self.lost.is_some() => Err(io::ErrorKind::BrokenPipe.into()),
            None => {
                let (_, fresh) = Self::spawn_launcher(&self.program, self.descriptors)?;
                *orders = Some(fresh.clone());
                Ok(fresh)
            }
        }
    }

    /// Has a supervisor made that waits for what it shall start ([`Confined`]); dropping it unused ends the supervisor.
    pub async fn prepare(&self) -> io::Result<Prepared> {
        match self.try_prepare().await {
            // The launcher is gone (killed by hand, say): the next one serves as well.
            Err(error) if self.lost.is_none() && error.kind() == io::ErrorKind::BrokenPipe => {
                self.dismiss();
                self.try_prepare().await
            }
            other => other,
        }
    }

    /// Starts a process under a supervisor of its own.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`] when the program cannot be run, [`Error::Supervisor`] otherwise.
    pub async fn spawn(&self, confined: &Confined) -> Result<Process, Error> {
        let mut prepared = self.prepare().await?;
        let begun = prepared.begin(confined).await?;
        Ok(prepared.into_process(begun)?)
    }

    async fn try_prepare(&self) -> io::Result<Prepared> {
        let (stdin_far, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdout, stdout_far) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_far) = pipe_with(PipeFlags::CLOEXEC)?;
        let (control, control_far) = std::os::unix::net::UnixStream::pair()?;
        control.set_nonblocking(true)?;
        let orders = self.orders()?;
        orders
            .async_io(Interest::WRITABLE, || {
                let far = [
                    control_far.as_fd(),
                    stdin_far.as_fd(),
                    stdout_far.as_fd(),
                    stderr_far.as_fd(),
                ];
                let mut space =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                ancillary.push(SendAncillaryMessage::ScmRights(&far));
                let sent = rustix::net::sendmsg(
                    &orders,
                    &[IoSlice::new(b"+")],
                    &mut ancillary,
                    SendFlags::NOSIGNAL,
                );
                Ok(sent.map(drop)?)
            })
            .await?;
        Ok(Prepared {
            program: self.program.clone(),
            own: self.own.clone(),
            control: Control {
                socket: UnixStream::from_std(control)?,
                partial: [0; Report::SIZE],
                filled: 0,
                inside: None,
                lost: self.lost.clone(),
            },
            stdin,
            stdout,
            stderr,
        })
    }
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

impl Prepared {
    /// Starts the agent, and waits until it has begun: behind its sandbox, where it has one. After an error, and
    /// after a wait that was given up, the one thing left to do with this is [`Prepared::give_up`].
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`] when the program cannot be run, [`Error::NoSandbox`] and [`Error::NotEntered`] when
    /// its sandbox cannot be put up, [`Error::Supervisor`] otherwise.
    pub async fn begin(&mut self, confined: &Confined) -> Result<Begun, Error> {
        let Self { program, own, control, stdin, stdout, stderr } = self;
        let Confined { spec, sandbox, inner, user } = confined;
        if let Some(user) = *user {
            let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(user)));
            // A pipe is one file with two ends. Programs open theirs again, as `/dev/stderr`.
            for pipe in [&*stdin, &*stdout, &*stderr] {
                rustix::fs::fchown(pipe, user, group).map_err(io::Error::from)?;
            }
        }
        // What the supervisor starts becomes the agent itself, or makes namespaces and has it as a child.
        let relayed = spec.program != LAUNCHER_PROGRAM;
        let mut line = inner.as_ref().map(|_| line::Line::new()).transpose()?;
        let mut along: Vec<BorrowedFd<'_>> = Vec::new();
        if let Some(line) = &line {
            along.extend([program.as_fd(), line.far()]);
        }
        let mut spec = spec.clone();
        let mut inner = inner.clone();
        for spec in
            [Some(&mut spec), inner.as_mut().map(|inner| &mut inner.spec)].into_iter().flatten()
        {
            let file = match spec.program.as_str() {
                OWN_PROGRAM => own.as_fd(),
                LAUNCHER_PROGRAM => program.as_fd(),
                _ => continue,
            };
            spec.program = format!("/proc/self/fd/{}", FIRST_ALONG + along.len());
            along.push(file);
        }
        let named = inner.as_ref().map_or(&spec, |inner| &inner.spec).program.clone();
        let not_started = |part: u32, source| match part {
            0 => Error::NotStarted { program: named.clone(), source },
            part => Error::NoSandbox { program: named.clone(), part: line::part(part), source },
        };
        let bytes = spec.encode(sandbox).map_err(|source| not_started(0, source))?;
        let sent = if along.is_empty() {
            0
        } else {
            line::send_with(&control.socket, &bytes, &along).await?
        };
        control.socket.write_all(&bytes[sent..]).await?;
        let mut pid = match control.report().await? {
            Some(Report::Started(pid)) => pid,
            Some(Report::NotStarted(0, number)) if inner.is_some() => {
                control.lost = None;
                return Err(Error::NotStarted {
                    program: spec.program,
                    source: io::Error::from_raw_os_error(number),
                });
            }
            Some(Report::NotStarted(part, number)) => {
                control.lost = None;
                return Err(not_started(part, io::Error::from_raw_os_error(number)));
            }
            Some(
                Report::Exited(_) | Report::Signaled(_) | Report::Survivors(_) | Report::Entered,
            )
            | None => {
                return Err(Error::Supervisor(io::Error::other(
                    "the supervisor ended before the agent began",
                )));
            }
        };
        let mut listener = None;
        if let (Some(line), Some(inner)) = (&mut line, &inner) {
            match line.enter(inner).await? {
                line::Entered::Yes { leader, handed } => {
                    pid = leader.pid.as_raw_nonzero().get();
                    control.inside = relayed.then_some(leader);
                    listener = handed;
                }
                line::Entered::No(part, number) => {
                    // It ends by itself, and has started nothing.
                    control.lost = None;
                    return Err(not_started(part, io::Error::from_raw_os_error(number)));
                }
                line::Entered::Never => {
                    return Err(Error::NotEntered {
                        program: spec.program.clone(),
                        words: last_words(&mut receiver(stderr.try_clone()?)?).await,
                    });
                }
            }
        }
        Ok(Begun { pid, listener })
    }

    /// The agent that has begun, with its pipes.
    pub fn into_process(self, begun: Begun) -> io::Result<Process> {
        Ok(Process {
            pid: begun.pid,
            tree: tree::Tree::of(begun.pid),
            stdin: Some(Input::Quiet(self.stdin)),
            stdout: receiver(self.stdout)?,
            stderr: receiver(self.stderr)?,
            control: self.control,
            listener: begun.listener,
        })
    }

    /// Ends whatever has begun, however far it is, and waits until it is gone.
    pub async fn give_up(mut self) {
        // A supervisor that still reads what to start hears no word, but it sees the end of the socket.
        let _ = self.control.socket.shutdown().await;
        self.control.wait_for_end().await;
    }
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

/// The launcher as a file that lies in memory alone, so that an upgrade on disk cannot exchange it.
fn program_in_memory() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag that others may demand.
    let file = memfd_create("pilothouse-launcher", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create("pilothouse-launcher", flags))?;
    let mut file = File::from(file);
    file.write_all(PROGRAM)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    // Opened anew for reading: a file that is open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(OwnedFd::from(File::open(path)?))
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
    async fn report(&mut self) -> io::Result<Option<Report>> {
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
    async fn wait_for_end(&mut self) {
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
            Some(Report::Started(_) | Report::NotStarted(..) | Report::Entered) | None => None,
        }
    }

    /// Waits until the agent and its whole tree are gone. Cancel-safe.
    pub async fn ended(&mut self) -> Ended {
        loop {
            match self.report().await {
                Ok(Some(Report::Exited(code))) => return self.exited(code),
                Ok(Some(Report::Signaled(signal))) => return Ended::Signal(signal),
                Ok(Some(Report::Started(_) | Report::Entered)) => {}
                Ok(Some(Report::Survivors(_) | Report::NotStarted(..)) | None) | Err(_) => {
                    return Ended::Unclear;
                }
            }
        }
    }

    /// What makes the namespaces of an agent tells its end by a signal as shells do.
    fn exited(&self, code: i32) -> Ended {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::supervisor::Spec;
    use std::time::Duration;

    pub(crate) fn shell(script: &str) -> Confined {
        Confined::from(Spec {
            program: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![
                ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
                ("WORD".to_owned(), "a=b".to_owned()),
            ],
            cwd: "/usr".to_owned(),
        })
    }

    async fn output(process: &mut Process) -> String {
        let mut text = String::new();
        process.stdout.read_to_string(&mut text).await.unwrap();
        text
    }

    fn is_alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// A process closes its descriptors a moment before it counts as dead.
    async fn is_gone(pid: &str) -> bool {
        let patience = std::time::Instant::now() + Duration::from_secs(5);
        while is_alive(pid) && std::time::Instant::now() < patience {
            tokio::task::yield_now().await;
        }
        !is_alive(pid)
    }

    #[tokio::test]
    async fn an_agent_gets_its_arguments_environment_folder_and_streams() {
        let launcher = Launcher::start().unwrap();
        let mut process =
            launcher.spawn(&shell("read line; echo \"$line $WORD $PWD\"; exit 7")).await.unwrap();
        let written = process.stdin.take().unwrap().try_write(b"hello\n").unwrap();
        assert_eq!(written, 6);
        assert_eq!(output(&mut process).await, "hello a=b /usr\n");
        assert_eq!(process.control.ended().await, Ended::Code(7));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told_with_the_reason_of_the_system() {
        let launcher = Launcher::start().unwrap();
        let mut wanted = shell("");
        wanted.spec.program = "/nowhere/agent".to_owned();
        let error = launcher.spawn(&wanted).await.err().unwrap();
        assert_eq!(
            error.to_string(),
            "`/nowhere/agent` could not be started: No such file or directory (os error 2)"
        );
    }

    #[tokio::test]
    async fn what_left_the_process_group_and_ignores_sigterm_is_gone_before_the_end_is_reported() {
        let launcher = Launcher::start().unwrap();
        let script = "trap '' TERM; setsid sh -c 'setsid sleep 600 & echo $!; exec sleep 600' & exec sleep 600";
        let mut process = launcher.spawn(&shell(script)).await.unwrap();
        let mut pid = [0u8; 32];
        let size = process.stdout.read(&mut pid).await.unwrap();
        let pid = String::from_utf8_lossy(&pid[..size]).into_owned();
        assert!(is_alive(&pid));
        process.control.say(Word::Kill);
        assert_eq!(process.control.ended().await, Ended::Signal(9));
        assert!(!is_alive(&pid));
    }

    #[tokio::test]
    async fn what_an_agent_leaves_behind_when_it_exits_is_ended() {
        let launcher = Launcher::start().unwrap();
        let mut process = launcher
            .spawn(&shell("setsid sleep 600 >/dev/null 2>&1 & echo $!; exit 0"))
            .await
            .unwrap();
        let pid = output(&mut process).await;
        assert_eq!(process.control.ended().await, Ended::Code(0));
        assert!(!is_alive(&pid));
    }

    #[tokio::test]
    async fn the_end_of_the_control_socket_ends_the_tree() {
        let launcher = Launcher::start().unwrap();
        let mut process = launcher.spawn(&shell("setsid sleep 600 & echo $!; wait")).await.unwrap();
        let mut pid = [0u8; 32];
        let size = process.stdout.read(&mut pid).await.unwrap();
        let pid = String::from_utf8_lossy(&pid[..size]).into_owned();
        let Process { control, mut stdout, .. } = process;
        drop(control);
        // The pipe ends when the last of the tree is gone.
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stdout.read_to_end(&mut rest))
            .await
            .unwrap()
            .unwrap();
        assert!(is_gone(&pid).await);
    }

    #[tokio::test]
    async fn supervisors_that_have_ended_are_not_left_as_zombies() {
        let launcher = Launcher::start().unwrap();
        let mut process = launcher.spawn(&shell("exit 0")).await.unwrap();
        let parent = |pid: i32| -> Option<i32> {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
        };
        let mut waiting = launcher.spawn(&shell("read go; exit 0")).await.unwrap();
        let own = parent(parent(waiting.pid).unwrap()).unwrap();
        assert_eq!(process.control.ended().await, Ended::Code(0));
        waiting.stdin = None;
        assert_eq!(waiting.control.ended().await, Ended::Code(0));
        let children =
            || std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        let patience = std::time::Instant::now() + Duration::from_secs(5);
        while !children().is_empty() && std::time::Instant::now() < patience {
            tokio::task::yield_now().await;
        }
        assert_eq!(children(), "");
    }

    #[tokio::test]
    async fn who_ends_its_supervisor_is_told_to_those_who_look_after_where_it_runs() {
        let here = Launcher::start().unwrap();
        let lost = CancellationToken::new();
        let launcher = Launcher { lost: Some(lost.clone()), ..here };
        let mut process = launcher.spawn(&shell("exit 3")).await.unwrap();
        assert_eq!(process.control.ended().await, Ended::Code(3));
        drop(process);
        assert!(!lost.is_cancelled());
        let mut process =
            launcher.spawn(&shell("read go; kill -9 $PPID; exec sleep 600")).await.unwrap();
        // Not before its supervisor has said that it began.
        process.stdin.as_mut().unwrap().try_write(b"\n").unwrap();
        assert_eq!(process.control.ended().await, Ended::Unclear);
        drop(process);
        assert!(lost.is_cancelled());
    }

    #[tokio::test]
    async fn agents_have_the_limit_of_descriptors_that_was_there_before_it_was_raised() {
        let mut launcher = Launcher::start().unwrap();
        launcher.descriptors.current = Some(123);
        // The launcher that comes next is started when this process has raised its own limit.
        launcher.dismiss();
        let mut process = launcher.spawn(&shell("ulimit -Sn")).await.unwrap();
        assert_eq!(output(&mut process).await, "123\n");
        assert_eq!(process.control.ended().await, Ended::Code(0));
    }

    #[tokio::test]
    async fn a_launcher_that_was_killed_is_replaced() {
        let launcher = Launcher::start().unwrap();
        launcher.orders.lock().take();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        drop(theirs);
        *launcher.orders.lock() = Some(Arc::new(UnixStream::from_std(ours).unwrap()));
        let mut process = launcher.spawn(&shell("echo again")).await.unwrap();
        assert_eq!(output(&mut process).await, "again\n");
        assert_eq!(process.control.ended().await, Ended::Code(0));
    }
}

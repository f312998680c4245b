//! The launcher as the server has it: starts supervisors, and has them begin what they are told.

use super::control::Control;
use super::{Error, Input, Process, last_words, line, receiver, tree};
use crate::supervisor::{
    Confined, DESCRIPTORS, FIRST_ALONG, LAUNCHER_PROGRAM, OWN_PROGRAM, PROGRAM, Report,
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
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// Starts supervisors: one for the whole server, and one in each container.
#[derive(Clone)]
pub struct Launcher {
    pub(super) orders: Arc<Mutex<Option<Arc<UnixStream>>>>,
    pub(super) pid: u32,
    pub(super) program: Arc<OwnedFd>,
    pub(super) own: Arc<OwnedFd>,
    /// How many descriptors what it starts may open.
    pub(super) descriptors: Rlimit,
    /// Cancelled when something that was started elsewhere may be left there; none for the launcher beside
    /// the server, in whose place another one is started.
    pub(super) lost: Option<CancellationToken>,
}
/// A supervisor that waits to be told what to start.
pub struct Prepared {
    pub(super) program: Arc<OwnedFd>,
    pub(super) own: Arc<OwnedFd>,
    pub(super) control: Control,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}
/// What is known of an agent that has begun.
pub struct Begun {
    pub(super) pid: i32,
    pub(super) tree: tree::Tree,
    pub(super) listener: Option<std::net::TcpListener>,
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

    pub(super) fn orders(&self) -> io::Result<Arc<UnixStream>> {
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
        let (mut pid, above) = match control.report().await? {
            Some(Report::Started(pid, above)) => (pid, above),
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
        // What runs in namespaces of its own has other numbers there.
        let tree = (inner.is_none() && control.lost.is_none()).then(|| tree::Tree::new(pid, above));
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
        let tree = tree.unwrap_or_else(|| tree::Tree::find(pid));
        Ok(Begun { pid, tree, listener })
    }

    /// The agent that has begun, with its pipes.
    pub fn into_process(self, begun: Begun) -> io::Result<Process> {
        Ok(Process {
            pid: begun.pid,
            tree: begun.tree,
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

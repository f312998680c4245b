//! The process above each agent: it starts the agent, reaps its whole tree, and ends that tree when
//! it is told to, when the agent ends, or when the server is gone.
//!
//! # How it works
//!
//! The server starts one *launcher* ([`launcher`]): this binary again, single-threaded, with an empty
//! environment. For each agent the server makes a control socket and three pipes and hands their far
//! ends to the launcher, which forks. The child is a supervisor. It reads a [`Spec`] from the control
//! socket, becomes the reaper of everything below it, and spawns the agent in a process group of its
//! own. From then on it waits for two things only: a word on the control socket and the end of a
//! child.
//!
//! What children leave the group by `setsid` or a double fork comes back to the supervisor when its
//! parent dies, so killing direct children again and again until there are none ends every tree.
//!
//! # Words on the control socket
//!
//! server → supervisor: the [`Spec`] (length, JSON), then [`Word`]s of one byte; the end of the socket
//! means that the server is gone. supervisor → server: one [`Report`] of five bytes at a time.

pub mod launcher;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The program, an absolute path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// The folder it starts in.
    pub cwd: String,
}

/// A spec above this many bytes is refused: arguments have to fit the kernel's own limit anyway.
pub const SPEC_LIMIT: usize = 8 * 1024 * 1024;

/// What the server may tell a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    /// SIGINT to the agent alone.
    Interrupt = b'I',
    /// SIGTERM to the agent's process group.
    Terminate = b'T',
    /// SIGKILL to the whole tree.
    Kill = b'K',
}

/// What a supervisor tells the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The agent runs under this process id.
    Started(i32),
    /// The agent could not be started; the system's error number.
    NotStarted(i32),
    /// The agent exited by itself with this code, and nothing of its tree is left.
    Exited(i32),
    /// The agent was ended by this signal, and nothing of its tree is left.
    Signaled(i32),
    /// The tree could not be ended within [`KILL_DEADLINE`]; this many processes are left.
    Survivors(i32),
}

/// How long a supervisor goes on killing before it gives up and says so.
pub const KILL_DEADLINE: Duration = Duration::from_secs(10);

impl Report {
    /// The bytes of one report.
    pub const SIZE: usize = 5;

    fn encode(self) -> [u8; Self::SIZE] {
        let (tag, value) = match self {
            Self::Started(v) => (b'S', v),
            Self::NotStarted(v) => (b'N', v),
            Self::Exited(v) => (b'X', v),
            Self::Signaled(v) => (b'G', v),
            Self::Survivors(v) => (b'L', v),
        };
        let [a, b, c, d] = value.to_le_bytes();
        [tag, a, b, c, d]
    }

    /// Reads one report; none for bytes that no supervisor writes.
    pub fn decode(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let [tag, a, b, c, d] = bytes;
        let value = i32::from_le_bytes([a, b, c, d]);
        Some(match tag {
            b'S' => Self::Started(value),
            b'N' => Self::NotStarted(value),
            b'X' => Self::Exited(value),
            b'G' => Self::Signaled(value),
            b'L' => Self::Survivors(value),
            _ => return None,
        })
    }
}

/// The agent's three standard streams, as the supervisor got them.
struct Streams {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// The life of a supervisor, from its fork to its end.
fn supervise(control: UnixStream, streams: Streams) -> io::Result<()> {
    become_reaper();
    let child_ended = signal_on_child_end()?;
    let spec = read_spec(&control)?;
    let agent = match start(&spec, streams) {
        Ok(pid) => pid,
        Err(error) => {
            report(&control, Report::NotStarted(error.raw_os_error().unwrap_or(0)));
            return Ok(());
        }
    };
    drop(spec);
    report(&control, Report::Started(agent.as_raw_nonzero().get()));

    let mut ending = None;
    let status = loop {
        if let Some(status) = reap(agent) {
            break Some(status);
        }
        if ending.is_some_and(|since: Instant| since.elapsed() > KILL_DEADLINE) {
            break None;
        }
        let mut fds = [
            PollFd::new(&control, PollFlags::IN),
            PollFd::new(&child_ended, PollFlags::IN),
        ];
        let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        match poll(&mut fds, ending.is_some().then_some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[1].revents().is_empty() {
            let mut unread = [0u8; 128];
            let _ = rustix::io::read(&child_ended, &mut unread);
        }
        if !fds[0].revents().is_empty() && ending.is_none() {
            match hear(&control) {
                Some(Word::Interrupt) => drop(rustix::process::kill_process(agent, Signal::INT)),
                Some(Word::Terminate) => drop(rustix::process::kill_process_group(agent, Signal::TERM)),
                // A server that is gone cannot say `Kill` any more.
                Some(Word::Kill) | None => ending = Some(Instant::now()),
            }
        }
        if ending.is_some() {
            kill_children();
        }
    };
    let left = end_tree(&child_ended);
    report(&control, match (left, status) {
        (0, Some(status)) => status,
        (0, None) => Report::Signaled(Signal::KILL.as_raw()),
        (left, _) => Report::Survivors(left),
    });
    Ok(())
}

/// Orphans of the tree below come to this process, and no terminal can reach it.
fn become_reaper() {
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let _ = rustix::process::setsid();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, none);
}

/// A descriptor that is readable when a child has ended.
fn signal_on_child_end() -> io::Result<File> {
    #[expect(unsafe_code, reason = "rustix has no signalfd; this process has one thread and no handlers")]
    // SAFETY: the set is initialised by sigemptyset before it is read; the descriptor that signalfd
    // returns is owned by nobody else.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(fd))
    }
}

fn read_spec(mut control: &UnixStream) -> io::Result<Spec> {
    let mut length = [0u8; 4];
    control.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > SPEC_LIMIT {
        return Err(io::Error::other("the spec is too long"));
    }
    let mut bytes = vec![0u8; length];
    control.read_exact(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// Spawns the agent; the supervisor's own descriptors of its streams are closed by this.
fn start(spec: &Spec, streams: Streams) -> io::Result<Pid> {
    // Changing the folder here, not in the child, leaves posix_spawn (no fork) open to the library.
    std::env::set_current_dir(&spec.cwd)?;
    let child = Command::new(&spec.program)
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::from(streams.stdin))
        .stdout(Stdio::from(streams.stdout))
        .stderr(Stdio::from(streams.stderr))
        .process_group(0)
        .spawn()?;
    Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("the system gave no process id"))
}

/// Reaps whatever has ended; the agent's own status when it is among them.
fn reap(agent: Pid) -> Option<Report> {
    let mut found = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == agent {
            let status = std::process::ExitStatus::from_raw(status.as_raw());
            found = status
                .code()
                .map(Report::Exited)
                .or_else(|| status.signal().map(Report::Signaled));
        }
    }
    found
}

/// Kills everything below until nothing is left; how many are left at the deadline.
fn end_tree(child_ended: &File) -> i32 {
    let since = Instant::now();
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Err(_) => return 0,
            Ok(Some(_)) => continue,
            Ok(None) => {}
        }
        let left = kill_children();
        if since.elapsed() > KILL_DEADLINE {
            return left.max(1);
        }
        let mut fds = [PollFd::new(child_ended, PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        let _ = poll(&mut fds, Some(&patience));
        let mut unread = [0u8; 128];
        let _ = rustix::io::read(child_ended, &mut unread);
    }
}

/// SIGKILL to every child; their own children come here when they are gone. How many there were.
fn kill_children() -> i32 {
    let children = children();
    for &child in &children {
        let _ = rustix::process::kill_process(child, Signal::KILL);
    }
    i32::try_from(children.len()).unwrap_or(i32::MAX)
}

/// The direct children of this process.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero();
    let listed = std::fs::read_to_string(format!("/proc/self/task/{own}/children"));
    let pids = match listed {
        Ok(list) => list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        // A kernel without this file: look at everybody's parent.
        Err(_) => children_by_search(own.get()),
    };
    pids.into_iter().filter_map(Pid::from_raw).collect()
}

fn children_by_search(own: i32) -> Vec<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid: &i32| {
            // "pid (name) state parent": the name may hold anything, a parenthesis too.
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
                let rest = stat.rsplit_once(") ").map(|(_, rest)| rest);
                rest.and_then(|rest| rest.split(' ').nth(1)?.parse().ok()) == Some(own)
            })
        })
        .collect()
}

fn hear(mut control: &UnixStream) -> Option<Word> {
    let mut byte = [0u8; 1];
    match control.read(&mut byte) {
        Ok(1) => match byte[0] {
            b'I' => Some(Word::Interrupt),
            b'T' => Some(Word::Terminate),
            _ => Some(Word::Kill),
        },
        _ => None,
    }
}

/// A server that is gone hears nothing, and that is no reason to stop ending the tree.
fn report(mut control: &UnixStream, report: Report) {
    let _ = control.write_all(&report.encode());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_its_encoding() {
        for report in [Report::Started(7), Report::NotStarted(2), Report::Exited(143), Report::Signaled(9), Report::Survivors(1)] {
            assert_eq!(Report::decode(report.encode()), Some(report));
        }
        assert_eq!(Report::decode([0; Report::SIZE]), None);
    }

    #[test]
    fn the_two_ways_to_list_children_agree() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let own = std::process::id().cast_signed();
        assert!(children_by_search(own).contains(&child.id().cast_signed()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

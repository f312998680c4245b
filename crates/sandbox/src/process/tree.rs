//! What runs below an agent: found in `/proc`, and ended where it began within a turn.
//!
//! A CLI that confirms an interrupt may leave something of the turn behind: a command that ignores
//! SIGTERM, a daemon that left its session. The CLI itself stays, and so does what it started before the
//! turn (its MCP servers), so ending the whole tree is not the answer.

use rustix::process::{Pid, Signal};
use rustix::time::ClockId;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Ticks a second in `/proc/PID/stat` (`USER_HZ`, the same on every Linux that Rust runs on).
const TICKS: i64 = 100;

/// Bytes of `/proc/PID/stat` at most: 52 numbers and a name.
const LONGEST_STAT: usize = 2048;

/// Processes of one tree that are found.
const MOST: usize = 65_536;

/// Between two looks at what is left.
const PAUSE: Duration = Duration::from_millis(2);

/// A moment, as processes remember their beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

struct Process {
    parent: i32,
    began: Moment,
    dead: bool,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(ClockId::Boottime);
        Self(now.tv_sec * TICKS + now.tv_nsec / (1_000_000_000 / TICKS))
    }
}

/// An agent and the process above it, which reaps what the agent leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    agent: i32,
    above: i32,
    /// The agent had begun by then; a later process may have its number.
    begun_by: Option<Moment>,
}

impl Tree {
    /// The tree of an agent that was just started, and of the process above it.
    pub fn new(agent: i32, above: i32) -> Self {
        Self { agent, above, begun_by: Some(Moment::now()) }
    }

    /// The same, of an agent of which nobody says what is above it: later its parent may be gone, and it has another
    /// one.
    pub fn find(agent: i32) -> Self {
        let found = read(agent);
        let above = found.as_ref().map_or(0, |agent| agent.parent);
        Self { agent, above, begun_by: found.map(|agent| agent.began) }
    }

    fn is_agent(self, found: &Process) -> bool {
        self.begun_by.is_some_and(|moment| found.began <= moment)
    }

    /// Ends with SIGKILL what began in the tree since a moment, but not the agent. True when nothing of it is
    /// left, false when that took longer than `patience` or the process above the agent is gone.
    pub async fn end_since(self, since: Moment, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            // The whole of /proc is read, which takes its time where many processes run.
            let left = tokio::task::spawn_blocking(move || self.began_since(since)).await;
            let Ok(Some(left)) = left else { return false };
            if left.is_empty() {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            for pid in left.into_iter().filter_map(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What lives in the tree and began at that moment or later, but not the agent; none where the process above
    /// the agent is gone, so that nobody can tell what belongs to the tree.
    fn began_since(self, since: Moment) -> Option<Vec<i32>> {
        let Self { agent, above, .. } = self;
        let all = all();
        match all.get(&agent) {
            None => return Some(Vec::new()),
            Some(found) if !self.is_agent(found) => return Some(Vec::new()),
            Some(found) if found.parent != above => return None,
            Some(_) => {}
        }
        let fresh = all
            .iter()
            .filter(|(pid, process)| **pid != agent && !process.dead && process.began >= since);
        Some(fresh.map(|(&pid, _)| pid).filter(|&pid| is_below(&all, pid, above)).collect())
    }

    /// All processes of the tree; the agent alone where the process above it is gone.
    pub fn processes(self) -> Vec<i32> {
        let Self { agent, above, .. } = self;
        match read(agent).filter(|found| self.is_agent(found)) {
            None => Vec::new(),
            Some(found) if found.parent != above => vec![agent],
            Some(_) => below(above).unwrap_or_else(|_| below_by_search(above)),
        }
    }
}

/// What runs below a process, by the kernel's lists of children.
fn below(top: i32) -> io::Result<Vec<i32>> {
    // Some kernels have no such list.
    std::fs::metadata(format!("/proc/{top}/task/{top}/children"))?;
    let (mut found, mut left) = (Vec::new(), vec![top]);
    while let Some(pid) = left.pop().filter(|_| found.len() < MOST) {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        for thread in threads.flatten() {
            // It has ended where it cannot be read.
            let children = std::fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            let children =
                children.split_whitespace().filter_map(|child| child.parse::<i32>().ok());
            left.extend(children.clone());
            found.extend(children);
        }
    }
    Ok(found)
}

fn below_by_search(top: i32) -> Vec<i32> {
    let all = all();
    all.keys().copied().filter(|&pid| is_below(&all, pid, top)).collect()
}

/// A chain of parents is no longer than the number of processes, whatever it looks like meanwhile.
fn is_below(all: &HashMap<i32, Process>, mut pid: i32, top: i32) -> bool {
    for _ in 0..all.len() {
        match all.get(&pid) {
            Some(process) if process.parent == top => return true,
            Some(process) if process.parent > 1 => pid = process.parent,
            Some(_) | None => return false,
        }
    }
    false
}

/// When a process began, in the ticks of its machine; none when it is gone.
pub fn began(pid: i32) -> Option<i64> {
    read(pid).map(|process| process.began.0)
}

fn all() -> HashMap<i32, Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, read(pid)?))).collect()
}

/// "pid (name) state parent …": the name may hold anything, so the fields count from its end.
fn read(pid: i32) -> Option<Process> {
    // All of it at once: the file has no size by which `read_to_string` would know how much to ask for.
    let mut stat = [0; LONGEST_STAT];
    let size = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    let stat = String::from_utf8_lossy(&stat[..size]);
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some(Process {
        // A process whose first thread has ended lives on in the others.
        dead: matches!(*fields.first()?, "Z" | "X") && fields.get(17)?.parse::<u32>().ok()? <= 1,
        parent: fields.get(1)?.parse().ok()?,
        began: Moment(fields.get(19)?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_began_in_the_turn_is_ended_and_what_was_there_before_stays() {
        let launcher = super::super::Launcher::start().unwrap();
        let script =
            "sleep 600 & read go; setsid sleep 601 & (trap '' TERM; exec sleep 602) & wait";
        let mut process = launcher.spawn(&super::super::tests::shell(script)).await.unwrap();
        while count(&process) < 1 {
            tokio::task::yield_now().await;
        }
        // Two ticks later, so that before and after can be told apart.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let since = Moment::now();
        process.stdin.as_mut().unwrap().try_write(b"\n").unwrap();
        while count(&process) < 3 {
            tokio::task::yield_now().await;
        }
        assert!(process.tree.end_since(since, Duration::from_secs(5)).await);
        assert_eq!(count(&process), 1);
        process.control.say(crate::supervisor::Word::Kill);
        assert_eq!(process.control.ended().await, super::super::Ended::Signal(9));
    }

    #[tokio::test]
    async fn an_agent_whose_supervisor_is_gone_has_nobody_elses_processes_ended() {
        let launcher = super::super::Launcher::start().unwrap();
        let mut other = launcher.spawn(&super::super::tests::shell("read go")).await.unwrap();
        let script = "read go; kill -9 $PPID; exec sleep 600";
        let mut process = launcher.spawn(&super::super::tests::shell(script)).await.unwrap();
        process.stdin.as_mut().unwrap().try_write(b"\n").unwrap();
        assert_eq!(process.control.ended().await, super::super::Ended::Unclear);
        // A process that ends closes its sockets before its children get another parent.
        let Tree { agent, above, .. } = process.tree;
        while read(agent).is_some_and(|agent| agent.parent == above) {
            tokio::task::yield_now().await;
        }
        assert!(!process.tree.end_since(Moment(0), Duration::from_secs(5)).await);
        let agent = Pid::from_raw(agent).unwrap();
        rustix::process::kill_process(agent, Signal::KILL).unwrap();
        other.stdin = None;
        assert!(matches!(other.control.ended().await, super::super::Ended::Code(_)));
    }

    fn count(process: &super::super::Process) -> usize {
        process.tree.began_since(Moment(0)).unwrap().len()
    }
}

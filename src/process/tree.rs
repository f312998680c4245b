//! What runs below an agent: found in `/proc`, and ended where it began within a turn.
//!
//! A CLI that confirms an interrupt may leave something of the turn behind: a command that ignores
//! SIGTERM, a daemon that left its session. The CLI itself stays, and so does what it started before the
//! turn (its MCP servers), so ending the whole tree is not the answer.

use rustix::process::{Pid, Signal};
use rustix::time::ClockId;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// Ticks a second in `/proc/PID/stat` (`USER_HZ`, the same on every Linux that Rust runs on).
const TICKS: i64 = 100;

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

/// Ends with SIGKILL what began below the agent's supervisor since a moment, but not the agent. True
/// when nothing of it is left, false when that took longer than `patience`.
pub async fn end_since(agent: i32, since: Moment, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    loop {
        // The whole of /proc is read, which takes its time where many processes run.
        let left = tokio::task::spawn_blocking(move || began_since(agent, since)).await;
        let Ok(left) = left else { return false };
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

/// What lives below the agent's supervisor and began at that moment or later, but not the agent.
fn began_since(agent: i32, since: Moment) -> Vec<i32> {
    let all = all();
    let Some(supervisor) = all.get(&agent).map(|agent| agent.parent) else {
        return Vec::new();
    };
    let fresh = all
        .iter()
        .filter(|(pid, process)| **pid != agent && !process.dead && process.began >= since);
    fresh.map(|(&pid, _)| pid).filter(|&pid| is_below(&all, pid, supervisor)).collect()
}

/// What runs around an agent: the tree below the process that started it, itself included.
pub fn around(agent: i32) -> Vec<i32> {
    let Some(above) = read(agent).map(|agent| agent.parent) else { return Vec::new() };
    let mut found = below(above).unwrap_or_else(|_| below_by_search(above));
    if !found.contains(&agent) {
        found.push(agent);
    }
    found
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
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some(Process {
        dead: matches!(*fields.first()?, "Z" | "X"),
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
        assert!(end_since(process.pid, since, Duration::from_secs(5)).await);
        assert_eq!(count(&process), 1);
        process.control.say(crate::supervisor::Word::Kill);
        assert_eq!(process.control.ended().await, super::super::Ended::Signal(9));
    }

    fn count(process: &super::super::Process) -> usize {
        began_since(process.pid, Moment(0)).len()
    }
}

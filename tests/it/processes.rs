//! Looking at processes from outside, through `/proc`.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

/// One process, told from a later one with the same number by its start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: i32,
    /// When it started, in ticks since the machine did.
    pub(crate) started: u64,
    /// Its arguments.
    pub(crate) command: String,
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// State, parent and start of a process.
fn stat(pid: i32) -> Option<(char, i32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some((fields[0].chars().next()?, fields[1].parse().ok()?, fields[19].parse().ok()?))
}

fn command(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().chars().take(300).collect()
}

fn process(pid: i32) -> Option<Process> {
    let (state, _, started) = stat(pid)?;
    (state != 'Z').then(|| Process { pid, started, command: command(pid) })
}

/// The processes whose environment holds this text.
pub(crate) fn marked(marker: &str) -> Vec<Process> {
    let holds = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(marker.len()).any(|window| window == marker.as_bytes())
    };
    pids().filter(holds).filter_map(process).collect()
}

/// The processes that have exactly this argument.
pub(crate) fn with_argument(argument: &str) -> Vec<Process> {
    let has = |pid: &i32| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        bytes.split(|&byte| byte == 0).any(|word| word == argument.as_bytes())
    };
    pids().filter(has).filter_map(process).collect()
}

/// Everything below a process.
pub(crate) fn below(root: i32) -> HashSet<Process> {
    let parents: Vec<(i32, i32)> = pids().filter_map(|pid| Some((pid, stat(pid)?.1))).collect();
    let (mut found, mut next) = (HashSet::new(), vec![root]);
    while let Some(parent) = next.pop() {
        for &(pid, _) in parents.iter().filter(|(_, known)| *known == parent) {
            next.push(pid);
            found.extend(process(pid));
        }
    }
    found
}

impl Process {
    /// Whether it still runs.
    pub(crate) fn lives(&self) -> bool {
        process(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// SIGKILL, for what a failed test left behind.
    pub(crate) fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.lives()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The process of this number, if it runs.
pub(crate) fn find(pid: i32) -> Option<Process> {
    process(pid)
}

/// Looks again and again until something is there; panics after `patience`.
pub(crate) fn await_some<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited {patience:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

mod tests {
    use super::*;

    #[test]
    fn a_marked_process_is_found_while_it_lives() {
        let marker = format!("PILOTHOUSE_TEST_MARK={}", uuid::Uuid::new_v4());
        let (name, value) = marker.split_once('=').unwrap();
        let mut child =
            std::process::Command::new("sleep").arg("3600").env(name, value).spawn().unwrap();
        let found = await_some("the process", Duration::from_secs(15), || marked(&marker).pop());
        assert_eq!((found.pid, found.lives()), (child.id().cast_signed(), true));
        assert!(below(std::process::id().cast_signed()).contains(&found));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(marked(&marker), []);
    }
}

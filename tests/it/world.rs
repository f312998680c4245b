//! One server with everything around it: folders, configuration, agent, callers; gone when dropped.

use crate::building::{Builder, Failure, merge};
use crate::processes::{self, Process, await_some};
use crate::reading::text_of;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// The longest that anything but the real CLI takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// The token of the owner.
pub(crate) const OWNER: &str = "token-of-the-owner-0f3a9c71e5b24d86";
/// The token of the caller `bob`.
pub(crate) const BOB: &str = "token-of-bob-7d1c84e02ab95f63";

/// A running server and all that belongs to it.
pub(crate) struct World {
    described: Builder,
    server: Option<Child>,
    address: SocketAddr,
    /// Every process that was ever seen below the server.
    seen: HashSet<Process>,
}

impl World {
    /// Starts the world that is described, and waits until it serves.
    pub(crate) fn of(described: Builder) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut world = Self { described, server: None, address, seen: HashSet::new() };
        world.launch();
        world
    }

    /// The usual world.
    pub(crate) fn start() -> Self {
        Self::describe().start()
    }

    fn launch(&mut self) {
        let file = self.path("state").join("server.json");
        let patience = self.described.patience;
        let said = || fs::read_to_string(self.path("stderr")).unwrap_or_default();
        let before = said().len();
        let mut child = self.described.spawn();
        let pid = child.id();
        let in_memory = self.described.config["store"]["path"] == "memory";
        let url = await_some("the address of a started server", patience, || {
            let word =
                fs::read(&file).ok().and_then(|word| serde_json::from_slice::<Value>(&word).ok());
            let kept =
                word.filter(|word| word["pid"] == pid).map(|word| text_of(&word, "url").to_owned());
            // A server that forgets everything leaves no word; its first lines name the address too.
            match kept.or_else(|| if in_memory { announced(&said()[before..]) } else { None }) {
                Some(url) => Some(url),
                None => {
                    let ended = child.try_wait().unwrap();
                    assert!(
                        ended.is_none(),
                        "the server did not start ({ended:?}); it says:\n{}",
                        said()
                    );
                    None
                }
            }
        });
        let (_, address) = url.split_once("://").unwrap();
        self.address = address.parse().unwrap();
        self.server = Some(child);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long anything may take here.
    pub(crate) fn patience(&self) -> Duration {
        self.described.patience
    }

    /// A path below the world's own folder: `state`, `work`, `cwd`, `audit.jsonl`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.described.path(name)
    }

    /// What the server has written to standard error.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }

    /// The number of the server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().expect("the server runs").id()
    }

    /// The server's resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        let size = line.split_whitespace().nth(1).unwrap();
        size.parse::<u64>().unwrap() * 1024
    }

    /// The agent processes of this world that run now.
    pub(crate) fn agents(&self) -> Vec<Process> {
        processes::marked(&self.described.marker)
    }

    /// Waits until no agent process of this world is left.
    pub(crate) fn await_no_agents(&self) {
        let gone = await_true(self.described.patience, || self.agents().is_empty());
        assert!(gone, "these agent processes do not end: {:#?}", self.agents());
    }

    /// Lets an agent go on that waits for this cue.
    pub(crate) fn cue(&self, name: &str) {
        fs::write(self.path("cues").join(name), "").unwrap();
    }

    // === ending ===

    /// SIGTERM, without waiting for the end.
    pub(crate) fn sigterm(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Stops the server, and starts one that must not start.
    pub(crate) fn fails_to_restart(&mut self) -> Failure {
        self.stop();
        self.described.fails()
    }

    /// SIGKILL, and waits for the end of that one process.
    pub(crate) fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    fn signal(&mut self, signal: Signal) {
        let server = self.server.as_ref().expect("the server runs");
        self.seen.extend(processes::below(server.id().cast_signed()));
        kill_process(Pid::from_child(server), signal).unwrap();
    }

    /// Waits for the server's own end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut server = self.server.take().expect("the server runs");
        let ended = await_end(&mut server, PATIENCE);
        if ended.is_none() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
        ended.unwrap_or_else(|| {
            panic!("waited {PATIENCE:?} for the server to end; it says:\n{}", self.stderr())
        })
    }

    /// Waits until nothing is left of what the server had started.
    pub(crate) fn nothing_is_left(&self) {
        let mut left = Vec::new();
        let gone = await_true(PATIENCE, || {
            left = self.agents();
            left.extend(self.seen.iter().filter(|process| process.lives()).cloned());
            left.is_empty()
        });
        if !gone {
            left.iter().for_each(Process::kill);
            panic!("waited {PATIENCE:?} for these to end: {left:#?}");
        }
    }

    /// Stops in order and waits until nothing is left.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.sigterm();
        let ended = self.ended();
        self.nothing_is_left();
        ended
    }

    /// Adds to the configuration of the next start.
    pub(crate) fn reconfigure(&mut self, more: Value) {
        merge(&mut self.described.config, more);
    }

    /// Adds to the configuration file of the server that runs.
    pub(crate) fn rewrite(&mut self, more: Value) {
        self.reconfigure(more);
        self.described.write_config();
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&mut self) {
        self.signal(Signal::HUP);
    }

    /// A server again, on the same state.
    pub(crate) fn restart(&mut self) {
        if self.server.is_some() {
            self.stop();
        }
        self.launch();
    }
}

/// Looks again and again until it is so; false after `patience`.
pub(crate) fn await_true(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = std::time::Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if std::time::Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The end of a process; none after `patience`.
pub(crate) fn await_end(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let mut ended = None;
    await_true(patience, || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    ended
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test has its own words; here only nothing may be left.
            eprintln!(
                "the server says:\n{}",
                fs::read_to_string(self.path("stderr")).unwrap_or_default()
            );
            if let Some(mut server) = self.server.take() {
                self.seen.extend(processes::below(server.id().cast_signed()));
                let _ = server.kill();
                let _ = server.wait();
            }
            await_true(Duration::from_secs(2), || self.agents().is_empty());
            self.agents().iter().chain(&self.seen).for_each(Process::kill);
            return;
        }
        if self.server.is_some() {
            self.sigterm();
            self.ended();
        }
        self.nothing_is_left();
    }
}

/// The address in the line `serving NAME at URL/`.
fn announced(stderr: &str) -> Option<String> {
    let line = stderr.lines().find(|line| line.contains(": serving "))?;
    Some(line.rsplit_once(" at ")?.1.trim_end_matches('/').to_owned())
}

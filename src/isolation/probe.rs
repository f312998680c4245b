//! The probe: a throw-away session is attacked from inside by a program of ours (`launcher/attack.rs`), and
//! what it could not break is in force.
//!
//! Every target is a canary of our own: a stand-in for the server with a marker in its memory and
//! environment, a second session, files outside of both, listeners on loopback. No packet leaves the
//! machine.

use super::attacks::ATTACKS;
use super::{Around, Backend, Grants, Group, Groups, Network, Surroundings, Walled};
use crate::config::{BackendKind, Bytes, Guarantee, SessionLimits};
use crate::process::{self, Ended, Launcher, Process};
use crate::supervisor::{ATTACK, Confined, LAUNCHER_PROGRAM, Spec, Word};
use crate::workspace::{Folder, Workspaces};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// The longest that one run of the attacking program may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most that it says.
const WORDS: u64 = 256 * 1024;

/// Why an attack may be left out: nothing was given to aim at, or it does not exist here.
const HARMLESS: [&str; 3] = ["argument", "terminal", "architecture"];

/// Children that the fork bomb stops at where nothing stops it.
const BOMB: u64 = 2000;

/// What came of one attack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its name in [`ATTACKS`].
    pub name: String,
    /// What came of it.
    pub result: Try,
}

/// Whether an attack was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Try {
    /// The wall held; with the system's error number where there was one.
    Stopped(String),
    /// It broke through.
    Succeeded,
    /// It could not be tried, and why.
    Skipped(String),
}

/// What is known of one guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was attacked, and it held.
    InForce,
    /// It is kept in this way, which is no wall.
    Watched(&'static str),
    /// It cannot be given, and why.
    Missing(String),
}

/// What was found out about a backend.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Each guarantee.
    pub states: BTreeMap<Guarantee, State>,
    /// Each attack.
    pub outcomes: Vec<Outcome>,
}

/// Why it could not be tried at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The wall could not be put up.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// Something of the system.
    #[error("{0}")]
    System(#[from] io::Error),
    /// Folders could not be made.
    #[error(transparent)]
    Workspace(#[from] crate::workspace::Error),
    /// The program said nothing in time.
    #[error("the attacking program did not come to its end")]
    Silent,
}

impl Findings {
    /// The guarantees that hold.
    pub fn in_force(&self) -> impl Iterator<Item = Guarantee> {
        let held = self.states.iter();
        held.filter(|(_, state)| matches!(state, State::InForce | State::Watched(_)))
            .map(|(guarantee, _)| *guarantee)
    }

    /// Whether this one holds.
    pub fn holds(&self, guarantee: Guarantee) -> bool {
        self.in_force().any(|one| one == guarantee)
    }

    /// All of it, for machines.
    pub fn json(&self, backend: BackendKind) -> Value {
        let states: Map<String, Value> = self
            .states
            .iter()
            .map(|(guarantee, state)| {
                let told = match state {
                    State::InForce => json!({"state": "in force"}),
                    State::Watched(how) => json!({"state": "watched", "how": how}),
                    State::Missing(why) => json!({"state": "missing", "why": why}),
                };
                (guarantee.as_str().to_owned(), told)
            })
            .collect();
        let attacks: Vec<Value> = self
            .outcomes
            .iter()
            .map(|outcome| {
                let (result, word) = match &outcome.result {
                    Try::Stopped(word) => ("stopped", word.as_str()),
                    Try::Succeeded => ("succeeded", ""),
                    Try::Skipped(word) => ("skipped", word.as_str()),
                };
                json!({"name": outcome.name, "result": result, "word": word})
            })
            .collect();
        json!({"backend": backend.as_str(), "guarantees": states, "attacks": attacks})
    }

    /// Why this one does not hold.
    pub fn why_not(&self, guarantee: Guarantee) -> Option<&str> {
        match self.states.get(&guarantee) {
            Some(State::Missing(why)) => Some(why),
            Some(State::InForce | State::Watched(_)) => None,
            None => Some("it was not tried"),
        }
    }
}

/// One backend under attack.
pub(super) struct Probe<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) launcher: &'a Launcher,
    pub(super) workspaces: &'a Workspaces,
    /// Where canary files may be put: the folder of the server's state.
    pub(super) state: &'a Path,
    pub(super) grants: &'a Grants,
    pub(super) groups: Limited<'a>,
    pub(super) limits: &'a SessionLimits,
    pub(super) port: u16,
}

/// Who limits processes and memory.
pub(super) enum Limited<'a> {
    /// Control groups that were delegated to the server.
    Here(&'a Groups),
    /// The container engine.
    ByEngine,
    /// Nobody, and why.
    No(&'a str),
}

/// The canaries; gone when dropped.
struct Canaries {
    marker: String,
    outside: PathBuf,
    sockets: PathBuf,
    tcp: TcpListener,
    /// None where the machine has no IPv6.
    tcp6: Option<TcpListener>,
    udp: UdpSocket,
    udp6: Option<UdpSocket>,
    abstract_name: String,
    _listeners: (UnixListener, UnixListener, UnixDatagram),
}

impl Drop for Canaries {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.outside);
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}

impl Canaries {
    fn new(state: &Path) -> io::Result<Self> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let marker = format!("pilothouse-canary-{id}");
        let outside = state.join(format!("probe-{id}"));
        std::fs::create_dir_all(outside.join("ssh"))?;
        let files = [
            "secret", "append", "unlink", "rename", "truncate", "mode", "tmp", "ssh/id",
        ];
        for name in files {
            std::fs::write(outside.join(name), &marker)?;
        }
        // Paths of sockets are short, and the state folder may lie deep.
        let sockets = std::env::temp_dir().join(format!("pilothouse-{}", &id[..12]));
        std::fs::create_dir(&sockets)?;
        std::fs::write(sockets.join("file"), &marker)?;
        let abstract_name = format!("pilothouse-{id}");
        let address = SocketAddr::from_abstract_name(abstract_name.as_bytes())?;
        let listeners = (
            UnixListener::bind_addr(&address)?,
            UnixListener::bind(sockets.join("stream"))?,
            UnixDatagram::bind(sockets.join("dgram"))?,
        );
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let udp6 = UdpSocket::bind("[::1]:0").ok();
        for socket in udp6.iter().chain([&udp]) {
            socket.set_nonblocking(true)?;
        }
        Ok(Self {
            marker,
            outside,
            sockets,
            tcp: TcpListener::bind("127.0.0.1:0")?,
            tcp6: TcpListener::bind("[::1]:0").ok(),
            udp,
            udp6,
            abstract_name,
            _listeners: listeners,
        })
    }

    /// What every attack is told: what to look for, and which variables it was given.
    fn common(&self) -> Vec<String> {
        vec![format!("marker={}", self.marker), "names=PATH".to_owned()]
    }
}

/// A session that lives as long as the probe.
struct Session<'a> {
    id: String,
    folder: Folder,
    workspaces: &'a Workspaces,
}

impl<'a> Session<'a> {
    fn new(workspaces: &'a Workspaces) -> Result<Self, Failed> {
        let id = uuid::Uuid::now_v7().to_string();
        let folder = workspaces.folder(&id)?;
        Ok(Self {
            id,
            folder,
            workspaces,
        })
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.workspaces.remove(&self.id);
    }
}

impl Probe<'_> {
    /// Attacks the wall with everything that is known.
    pub(super) async fn run(&self) -> Result<Findings, Failed> {
        let canaries = Canaries::new(self.state)?;
        let session = Session::new(self.workspaces)?;
        let mut outcomes = self.attack(&canaries, &session).await?;
        let survivors = self.survivors(&canaries, &session).await?;
        outcomes.push(survivors);
        let mut findings = Findings {
            states: states(&outcomes, self.backend.kind(), self.backend.network()),
            outcomes,
        };
        self.limits(&session, &mut findings).await?;
        Ok(findings)
    }

    /// Runs the list of attacks.
    async fn attack(
        &self,
        canaries: &Canaries,
        session: &Session<'_>,
    ) -> Result<Vec<Outcome>, Failed> {
        if self.backend.kind() == BackendKind::None {
            return self.listed(canaries.common(), session).await;
        }
        self.aimed(canaries, session).await
    }

    /// Runs it with an aim for each of them.
    async fn aimed(
        &self,
        canaries: &Canaries,
        session: &Session<'_>,
    ) -> Result<Vec<Outcome>, Failed> {
        let marker = &canaries.marker;
        let mut args = canaries.common();
        let peer = Session::new(self.workspaces)?;
        let peer_home = PathBuf::from(peer.folder.home_text());
        for name in ["secret", "unlink", "rename"] {
            std::fs::write(peer_home.join(name), marker)?;
        }
        let stand_in = ["victim".to_owned(), marker.clone()];
        let outside = canaries.outside.display().to_string();
        let mut spec = program(stand_in.to_vec(), outside.clone());
        spec.env = vec![("CANARY".to_owned(), marker.clone())];
        let mut victim = self.launcher.spawn(&Confined::from(spec)).await?;
        let address = first_line(&mut victim).await?;
        // Both live as long as their standard input.
        let (mut other, _group) = self.start(stand_in.to_vec(), &peer).await?;
        first_line(&mut other).await?;
        let port = port_of(&canaries.tcp);
        let host_name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let udp = canaries.udp.local_addr()?.port();
        let udp6 = match &canaries.udp6 {
            Some(socket) => socket.local_addr()?.port(),
            None => 0,
        };
        let sockets = canaries.sockets.display();
        args.extend([
            format!("victim={}", victim.pid),
            format!("address={address}"),
            format!("peer_pid={}", other.pid),
            format!("peer_file={}", peer_home.join("secret").display()),
            format!("peer_dir={}", peer_home.display()),
            format!("outside_file={outside}/secret"),
            format!("outside_dir={outside}"),
            format!("ssh={outside}/ssh"),
            "host_file=/etc/hostname".to_owned(),
            format!("host_text={}", host_name.trim()),
            format!("tcp={port}"),
            format!("udp={udp}"),
            format!("udp6={udp6}"),
            format!("tcp6={}", canaries.tcp6.as_ref().map_or(0, port_of)),
            format!("abstract={}", canaries.abstract_name),
            format!("socket={sockets}/stream"),
            format!("dgram={sockets}/dgram"),
            format!("tmp={sockets}/file"),
        ]);
        let mut outcomes = self.listed(args, session).await?;
        // What the attacker cannot know is seen from here.
        let arrived = |socket: &UdpSocket| socket.recv(&mut [0; 64]).is_ok();
        let arrived = [
            ("udp.loopback", arrived(&canaries.udp)),
            ("udp.v6", canaries.udp6.as_ref().is_some_and(arrived)),
        ];
        for outcome in &mut outcomes {
            if arrived
                .iter()
                .any(|(name, arrived)| *arrived && outcome.name == *name)
            {
                outcome.result = Try::Succeeded;
            }
        }
        end(victim).await;
        end(other).await;
        Ok(outcomes)
    }

    async fn listed(
        &self,
        mut args: Vec<String>,
        session: &Session<'_>,
    ) -> Result<Vec<Outcome>, Failed> {
        args.insert(0, "list".to_owned());
        let (process, _group) = self.start(args, session).await?;
        let said = said(process).await?;
        let outcomes: Vec<Outcome> = said.lines().filter_map(Outcome::read).collect();
        if said.lines().any(|line| line == "end") {
            Ok(outcomes)
        } else {
            Err(Failed::Silent)
        }
    }

    /// Starts processes that try to outlive their session, and ends it.
    async fn survivors(
        &self,
        canaries: &Canaries,
        session: &Session<'_>,
    ) -> Result<Outcome, Failed> {
        let args = vec!["survive".to_owned(), canaries.marker.clone()];
        let (mut process, _group) = self.start(args, session).await?;
        process.stdin = None;
        while first_line(&mut process).await? != "ready" {}
        process.control.say(Word::Kill);
        let ended = tokio::time::timeout(PATIENCE, process.control.ended()).await;
        // The end of the pipe is the end of the last one that holds it; one has closed it.
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, process.stdout.read_to_end(&mut rest)).await;
        let all_ended = matches!(ended, Ok(Ended::Code(_) | Ended::Signal(_))) && read.is_ok();
        let left = if all_ended {
            marked(&canaries.marker)
        } else {
            1
        };
        Ok(Outcome {
            name: "tree.survive".to_owned(),
            result: if left == 0 {
                Try::Stopped("-".to_owned())
            } else {
                Try::Succeeded
            },
        })
    }

    /// What the limits are worth.
    async fn limits(&self, session: &Session<'_>, findings: &mut Findings) -> Result<(), Failed> {
        let states = &mut findings.states;
        let disk = match self.limits.disk {
            Some(_) => State::Watched("watchdog"),
            None => State::Missing("`isolation.limits.disk` is not set".to_owned()),
        };
        states.insert(Guarantee::Disk, disk);
        let (pids, memory) = match self.groups {
            Limited::No(why) => (
                State::Missing(why.to_owned()),
                State::Missing(why.to_owned()),
            ),
            Limited::Here(_) | Limited::ByEngine => (
                match self.limits.pids {
                    None => State::Missing("`isolation.limits.pids` is not set".to_owned()),
                    Some(most) if most >= BOMB => State::Missing(format!(
                        "`isolation.limits.pids` is above {BOMB}, which the probe does not try"
                    )),
                    Some(_) => self.bomb(session, findings).await?,
                },
                match self.limits.memory {
                    None => State::Missing("`isolation.limits.memory` is not set".to_owned()),
                    Some(most) => self.hog(session, most.get(), findings).await?,
                },
            ),
        };
        findings.states.insert(Guarantee::Pids, pids);
        findings.states.insert(Guarantee::Memory, memory);
        Ok(())
    }

    async fn bomb(&self, session: &Session<'_>, findings: &mut Findings) -> Result<State, Failed> {
        let args = vec!["forks".to_owned(), BOMB.to_string()];
        let (process, _group) = self.start(args, session).await?;
        let said = said(process).await?;
        let reached = said
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse::<u64>().ok());
        let stopped = reached.is_some_and(|reached| reached < BOMB);
        findings.outcomes.push(Outcome::of("limits.forks", stopped));
        Ok(State::of(stopped, "a fork bomb was not stopped"))
    }

    async fn hog(
        &self,
        session: &Session<'_>,
        most: u64,
        findings: &mut Findings,
    ) -> Result<State, Failed> {
        const MIB: u64 = 1 << 20;
        const TRIED: u64 = 4096;
        let wanted = most / MIB + 64;
        if wanted > TRIED {
            // Taking that much for a trial would hurt a small machine more than it proves.
            return Ok(State::Watched("control group, not tried"));
        }
        let args = vec!["memory".to_owned(), wanted.to_string()];
        let (process, _group) = self.start(args, session).await?;
        let said = said(process).await?;
        let stopped = !said.lines().any(|line| line.ends_with(" end"));
        findings
            .outcomes
            .push(Outcome::of("limits.memory", stopped));
        Ok(State::of(stopped, "memory above the limit was not refused"))
    }

    /// Starts the attacking program behind the wall.
    async fn start(
        &self,
        args: Vec<String>,
        session: &Session<'_>,
    ) -> Result<(Process, Surroundings), Failed> {
        let group = match self.groups {
            Limited::Here(groups) => Some(groups.make()?),
            Limited::ByEngine | Limited::No(_) => None,
        };
        let around = Around {
            folder: &session.folder,
            grants: self.grants,
            group: group.as_ref().map(Group::folder),
            tmp: self.limits.tmp.get(),
            file: self.limits.disk.map(Bytes::get),
            port: self.port,
        };
        let places = self.backend.places(&session.folder);
        let spec = program(args, places.workspace);
        let room = self.backend.room(self.launcher, &around).await?;
        let walled = Walled {
            confined: self.backend.confine(spec, &around),
            held: Surroundings {
                _group: group,
                room,
            },
        };
        let process = walled.start(self.launcher, None).await?;
        Ok((process, walled.held))
    }
}

impl State {
    fn of(held: bool, why_not: &str) -> Self {
        if held {
            Self::InForce
        } else {
            Self::Missing(why_not.to_owned())
        }
    }
}

impl Outcome {
    fn of(name: &str, stopped: bool) -> Self {
        Self {
            name: name.to_owned(),
            result: if stopped {
                Try::Stopped("-".to_owned())
            } else {
                Try::Succeeded
            },
        }
    }

    /// A line of the attacking program: name, result, and a word.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (name, result) = (words.next()?, words.next()?);
        let word = words.next().unwrap_or("-").to_owned();
        Some(Self {
            name: name.to_owned(),
            result: match result {
                "stopped" => Try::Stopped(word),
                "succeeded" => Try::Succeeded,
                "skipped" => Try::Skipped(word),
                _ => return None,
            },
        })
    }
}

/// A guarantee is in force where something was tried on it and nothing succeeded.
fn states(
    outcomes: &[Outcome],
    backend: BackendKind,
    network: Network,
) -> BTreeMap<Guarantee, State> {
    let limits = [Guarantee::Pids, Guarantee::Memory, Guarantee::Disk];
    let mut states = BTreeMap::new();
    for guarantee in Guarantee::ALL {
        if limits.contains(&guarantee) {
            continue;
        }
        let given = matches!(guarantee, Guarantee::Env | Guarantee::KillTree);
        if backend == BackendKind::None && !given {
            states.insert(guarantee, State::Missing("there is no wall".to_owned()));
            continue;
        }
        let tried = ATTACKS
            .iter()
            .filter(|attack| attack.guarantee == Some(guarantee))
            .filter_map(|attack| outcomes.iter().find(|outcome| outcome.name == attack.name));
        let (mut held, mut broken) = (0, Vec::new());
        for outcome in tried {
            match &outcome.result {
                Try::Stopped(_) => held += 1,
                Try::Succeeded => broken.push(outcome.name.as_str()),
                Try::Skipped(why) if HARMLESS.contains(&why.as_str()) => {}
                // What could not be tried may well work.
                Try::Skipped(_) => broken.push(outcome.name.as_str()),
            }
        }
        let state = match (held, broken.is_empty()) {
            (_, false) => State::Missing(format!("attacks succeeded: {}", broken.join(", "))),
            (0, true) => State::Missing("no attack on it could be tried".to_owned()),
            (_, true) => State::InForce,
        };
        states.insert(guarantee, state);
    }
    // In the machine's own network what reaches a port of loopback reaches it anywhere; no packet is sent
    // elsewhere to see it.
    let reached = outcomes
        .iter()
        .any(|outcome| outcome.name == "tcp.loopback" && outcome.result == Try::Succeeded);
    if network == Network::Shared && reached && backend != BackendKind::None {
        let why = "TCP is open: attacks succeeded: tcp.loopback".to_owned();
        states.insert(Guarantee::NetEgress, State::Missing(why));
    }
    states
}

/// The attacking program.
fn program(mut args: Vec<String>, cwd: String) -> Spec {
    args.insert(0, ATTACK.to_owned());
    Spec {
        program: LAUNCHER_PROGRAM.to_owned(),
        args,
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        cwd,
    }
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

async fn first_line(process: &mut Process) -> Result<String, Failed> {
    let mut line = Vec::new();
    let read = async {
        while let Ok(byte) = process.stdout.read_u8().await {
            if byte == b'\n' {
                return Some(());
            }
            line.push(byte);
        }
        None
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Some(())) => Ok(String::from_utf8_lossy(&line).into_owned()),
        Ok(None) | Err(_) => Err(Failed::Silent),
    }
}

/// All that a program says until its end.
async fn said(mut process: Process) -> Result<String, Failed> {
    process.stdin = None;
    let mut said = Vec::new();
    let heard = async {
        let _ = (&mut process.stdout)
            .take(WORDS)
            .read_to_end(&mut said)
            .await;
        process.control.ended().await
    };
    let ended = tokio::time::timeout(PATIENCE, heard).await;
    match ended {
        Ok(_) => Ok(String::from_utf8_lossy(&said).into_owned()),
        Err(_) => Err(Failed::Silent),
    }
}

async fn end(mut process: Process) {
    process.control.say(Word::Kill);
    let _ = tokio::time::timeout(PATIENCE, process.control.ended()).await;
}

/// How many processes have this word among their arguments.
fn marked(marker: &str) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = entries.filter(|entry| {
        let name = entry.file_name();
        let is_process = name
            .to_str()
            .is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        is_process
            && std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
                line.windows(marker.len())
                    .any(|word| word == marker.as_bytes())
            })
    });
    found.count()
}

#[cfg(test)]
mod tests;

//! The probe: a throw-away session is attacked from inside by a program of ours (`launcher/attack.rs`), and
//! what it could not break is in force.
//!
//! Every target is a canary of our own: a stand-in for the server with a marker in its memory and
//! environment, a second session, files outside of both, listeners on loopback. No packet leaves the
//! machine.

use super::canaries::{Canaries, port_of};
use super::findings::{Findings, Outcome, State, Try, states};
use super::users::Identity;
use super::{
    Around, Backend, Exposed, Grants, Group, Groups, INSIDE_PORT, Network, Sandboxed, Surroundings,
    When, prepare, promises,
};
use crate::isolation::{BackendKind, Guarantee, SandboxLimits};
use crate::process::{self, Ended, Launcher, Process};
use crate::supervisor::{ATTACK, Confined, LAUNCHER_PROGRAM, Spec, Word};
use crate::workspace::{Folder, Workspaces};
use std::io;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio_util::sync::CancellationToken;

/// The longest that one run of the attacking program may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest that all of a probe may take, with the sandboxes that it starts.
pub(super) const WHOLE: Duration = Duration::from_secs(120);

/// The most that it says.
const WORDS: u64 = 256 * 1024;

/// Children that the fork bomb stops at where nothing stops it.
const BOMB: u64 = 2000;

/// The attack that ends the victim, which is the last one.
const ENDS_VICTIM: &str = "processes.signal";

/// Aims that are sent only where there is something to aim at, and the attacks that need them.
const OPTIONAL_AIMS: [(&str, &[&str]); 4] = [
    ("tcp6", &["tcp.v6"]),
    ("udp6", &["udp.v6"]),
    ("same6", &["tcp.proxy_port_v6"]),
    ("own_dir", &["own.read", "own.write", "own.replace", "own.folder"]),
];

/// Why it could not be tried at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The sandbox could not be put up.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// Something of the system.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The stand-ins for the server's own files could not be covered.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// Folders could not be made.
    #[error(transparent)]
    Workspace(#[from] crate::workspace::Error),
    /// The program said nothing in time.
    #[error("the attacking program did not come to its end")]
    Silent,
    /// All of it took too long.
    #[error("the attacks did not come to their end within {} s", .0.as_secs())]
    Late(Duration),
    /// Attacks on a process that is gone fail whatever the sandbox is worth.
    #[error("the process that stands for the server ended before the attacks on it did")]
    NoVictim,
    /// The program has closed its standard input.
    #[error("the attacking program took nothing on its standard input: {0}")]
    Unread(#[source] io::Error),
    /// The program could not read what to attack.
    #[error("the attacking program could not read its aims: {0}")]
    NoAims(String),
    /// An attack was left out although its aim was sent.
    #[error("the attacking program did not get the aim of `{0}`")]
    NoAim(String),
    /// What a session must reach it did not.
    #[error("a session does not reach the server's proxy: {0}")]
    NoProxy(String),
}

/// One backend under attack.
pub(super) struct Probe<'a> {
    pub(super) backend: &'a dyn Backend,
    /// Whether the attacks are told what they aim at. Without a sandbox they would succeed.
    pub(super) is_aimed: bool,
    /// Who makes the attacks: root, where some agent is root.
    pub(super) identity: Identity,
    pub(super) launcher: &'a Launcher,
    pub(super) workspaces: &'a Workspaces,
    /// Where canary files may be put: the folder of the server's state.
    pub(super) state: &'a Path,
    pub(super) grants: &'a Grants,
    pub(super) groups: Limited<'a>,
    pub(super) limits: &'a SandboxLimits,
    /// Which attacks are made.
    pub(super) when: When,
    /// The longest that all of it may take: [`WHOLE`].
    pub(super) deadline: Duration,
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

/// A session that lives as long as the probe.
struct Session<'a> {
    id: String,
    folder: Folder,
    workspaces: &'a Workspaces,
    /// The port of the proxy's stand-in.
    port: u16,
    /// What it may read and write beside its folders.
    grants: Grants,
}

impl<'a> Session<'a> {
    /// The session that the attacks are made from.
    async fn new(probe: &Probe<'a>, canaries: &Canaries) -> Result<Self, Failed> {
        let grants = if probe.has_covers() {
            probe.grants.with(&canaries.own()?.1)
        } else {
            probe.grants.clone()
        };
        Self::with(probe, canaries, grants).await
    }

    async fn with(probe: &Probe<'a>, canaries: &Canaries, grants: Grants) -> Result<Self, Failed> {
        let workspaces = probe.workspaces;
        let id = uuid::Uuid::now_v7().to_string();
        let folder = workspaces.folder(&id).await?;
        Ok(Self { id, folder, workspaces, port: port_of(&canaries.proxy.own), grants })
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let _ = self.workspaces.remove_now(&self.id, CancellationToken::new());
    }
}

impl Probe<'_> {
    /// Attacks the sandbox with everything that is known.
    pub(super) async fn run(&self) -> Result<Findings, Failed> {
        let found = tokio::time::timeout(self.deadline, self.find_out()).await;
        found.unwrap_or(Err(Failed::Late(self.deadline)))
    }

    async fn find_out(&self) -> Result<Findings, Failed> {
        let canaries = Canaries::new(self.state)?;
        let session = Session::new(self, &canaries).await?;
        let outcomes = self.attack(&canaries, &session).await?;
        let mut findings = Findings {
            states: states(&outcomes, self.backend.kind(), self.backend.network()),
            outcomes,
        };
        self.limits(&session, &mut findings).await?;
        Ok(findings)
    }

    /// Whether a file can be kept from a session that reaches the folder around it.
    fn has_covers(&self) -> bool {
        self.backend.kind() != BackendKind::Landlock
    }

    /// Makes the attacks from this session, and looks whether another one leaves something behind when it is ended.
    async fn attack(
        &self,
        canaries: &Canaries,
        session: &Session<'_>,
    ) -> Result<Vec<Outcome>, Failed> {
        let peer = Session::with(self, canaries, self.grants.clone()).await?;
        let peer_home = PathBuf::from(peer.folder.home_text());
        plant(&peer_home, &canaries.marker)?;
        // A sandbox takes most of the time, so both are made at once.
        let ((mut attacker, _group), victim, (other, _other_group)) = tokio::try_join!(
            self.start(self.listed(canaries), session),
            self.start_victim(canaries),
            self.start_peer(canaries, &peer),
        )?;
        let aims = match &victim {
            Some(victim) => self.aims(canaries, session, victim, (other.pid, &peer_home))?,
            None => Vec::new(),
        };
        let mut outcomes = attack_with(&mut attacker, &aims).await?;
        // What the attacker cannot know is seen from here.
        let arrived = |socket: &UdpSocket| socket.recv(&mut [0; 64]).is_ok();
        let arrived = [
            ("udp.loopback", arrived(&canaries.udp)),
            ("udp.v6", canaries.udp6.as_ref().is_some_and(arrived)),
        ];
        for outcome in &mut outcomes {
            if arrived.iter().any(|(name, arrived)| *arrived && outcome.name == *name) {
                outcome.result = Try::Succeeded;
            }
        }
        let end_victim = async {
            match victim {
                Some((victim, _)) => check_victim(end(victim).await, &outcomes),
                None => Ok(()),
            }
        };
        let (ended, victim_lived, survivors) =
            tokio::join!(wait_for_end(attacker), end_victim, has_survivors(other));
        ended?;
        victim_lived?;
        let is_clean = !survivors? && marked(&canaries.marker) == 0;
        outcomes.push(Outcome::of("tree.survive", is_clean));
        Ok(outcomes)
    }

    /// The arguments of the attacking program.
    fn listed(&self, canaries: &Canaries) -> Vec<String> {
        let names: Vec<&str> = promises::names(self.when).collect();
        let mut args = vec![
            "list".to_owned(),
            format!("marker={}", canaries.marker),
            "names=PATH".to_owned(),
            format!("only={}", names.join(",")),
        ];
        if self.is_aimed {
            args.push("aims=input".to_owned());
        }
        args
    }

    /// Starts what stands for the server, outside of all sandboxes, and learns where its secret is.
    async fn start_victim(&self, canaries: &Canaries) -> Result<Option<(Process, String)>, Failed> {
        if !self.is_aimed {
            return Ok(None);
        }
        let mut spec = program(stand_in(&canaries.marker), canaries.outside.display().to_string());
        spec.env = vec![("CANARY".to_owned(), canaries.marker.clone())];
        let mut victim = self.launcher.spawn(&Confined::from(spec)).await?;
        let address = first_line(&mut victim).await?;
        Ok(Some((victim, address)))
    }

    /// Starts a process of another session. It lives as long as its standard input.
    async fn start_peer(
        &self,
        canaries: &Canaries,
        peer: &Session<'_>,
    ) -> Result<(Process, Surroundings), Failed> {
        let (mut other, held) = self.start(stand_in(&canaries.marker), peer).await?;
        first_line(&mut other).await?;
        Ok((other, held))
    }

    /// What the attacks aim at: the victim and where its secret is, and a process and the HOME of another session.
    fn aims(
        &self,
        canaries: &Canaries,
        session: &Session<'_>,
        (victim, address): &(Process, String),
        (peer_pid, peer_home): (i32, &Path),
    ) -> Result<Vec<String>, Failed> {
        let outside = canaries.outside.display();
        let port = port_of(&canaries.tcp);
        let host_name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let udp = canaries.udp.local_addr()?.port();
        let sockets = canaries.sockets.display();
        let proxy = match self.backend.network() {
            Network::Own => INSIDE_PORT,
            Network::Shared => session.port,
        };
        let mut aims = vec![
            format!("proxy={proxy}"),
            format!("same={}", session.port),
            format!("victim={}", victim.pid),
            format!("address={address}"),
            format!("peer_pid={peer_pid}"),
            format!("peer_file={}", peer_home.join("secret").display()),
            format!("peer_dir={}", peer_home.display()),
            format!("outside_file={outside}/secret"),
            format!("outside_dir={outside}"),
            format!("ssh={outside}/ssh"),
            "host_file=/etc/hostname".to_owned(),
            format!("host_text={}", host_name.trim()),
            format!("tcp={port}"),
            format!("udp={udp}"),
            format!("abstract={}", canaries.abstract_name),
            format!("socket={sockets}/stream"),
            format!("dgram={sockets}/dgram"),
            format!("tmp={sockets}/file"),
        ];
        if let Some(udp6) = &canaries.udp6 {
            aims.push(format!("udp6={}", udp6.local_addr()?.port()));
        }
        aims.extend(canaries.tcp6.iter().map(|tcp6| format!("tcp6={}", port_of(tcp6))));
        aims.extend(canaries.proxy.v6.iter().map(|v6| format!("same6={}", port_of(v6))));
        if self.has_covers() {
            aims.push(format!("own_dir={}", canaries.own()?.0.display()));
        }
        Ok(aims)
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
            Limited::No(why) => (State::Missing(why.to_owned()), State::Missing(why.to_owned())),
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
                    Some(most) => self.hog(session, most, findings).await?,
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
        let reached = said.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
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
        let stopped = is_memory_refused(&said(process).await?)?;
        findings.outcomes.push(Outcome::of("limits.memory", stopped));
        Ok(State::of(stopped, "memory above the limit was not refused"))
    }

    /// Starts the attacking program behind the sandbox.
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
            grants: &session.grants,
            group: group.as_ref().map(Group::folder),
            tmp: self.limits.tmp,
            shm: self.limits.shm,
            file: self.limits.disk,
            descriptors: self.limits.files,
            port: session.port,
            user: self.identity.user(&session.folder),
        };
        let places = self.backend.places(&session.folder);
        let spec = program(args, places.workspace);
        let room = prepare(self.backend, self.launcher, &around).await?;
        let sandboxed = Sandboxed {
            confined: self.backend.confine(spec, &around),
            held: Surroundings { _group: group, room },
        };
        let process = sandboxed.launcher(self.launcher).spawn(&sandboxed.confined).await?;
        Ok((process, sandboxed.held))
    }
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

/// The arguments of what stands for the server, and of a process of another session.
fn stand_in(marker: &str) -> Vec<String> {
    vec!["victim".to_owned(), marker.to_owned()]
}

/// Makes the files of another session that are attacked.
fn plant(home: &Path, marker: &str) -> io::Result<()> {
    for name in ["secret", "unlink", "rename"] {
        std::fs::write(home.join(name), marker)?;
    }
    // Where the file system has no attributes there is nothing to read.
    let create = rustix::fs::XattrFlags::empty();
    let _ = rustix::fs::setxattr(home.join("secret"), "user.marker", marker.as_bytes(), create);
    Ok(())
}

/// Tells the attacking program its aims. What comes of its attacks.
///
/// An attack without an aim is not made, and what was not made succeeds at nothing. So where aims were sent, the
/// program must have reached the proxy, whose port is one of them, and must leave out no attack for want of an aim.
async fn attack_with(attacker: &mut Process, aims: &[String]) -> Result<Vec<Outcome>, Failed> {
    let mut text = Vec::new();
    for aim in aims {
        text.extend_from_slice(aim.as_bytes());
        text.push(0);
    }
    write(attacker, &text).await?;
    attacker.stdin = None;
    let mut outcomes = Vec::new();
    let mut has_reached_proxy = false;
    let read = async {
        let mut lines = BufReader::new((&mut attacker.stdout).take(WORDS)).lines();
        while let Some(line) = lines.next_line().await? {
            match line.split_once(' ') {
                Some(("proxy", "reached")) => has_reached_proxy = true,
                Some(("proxy", why)) => return Err(Failed::NoProxy(why.to_owned())),
                Some(("aims", why)) => return Err(Failed::NoAims(why.to_owned())),
                _ if line == "end" => return Ok(()),
                _ => outcomes.extend(Outcome::read(&line)),
            }
        }
        Err(Failed::Silent)
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or(Err(Failed::Silent))?;
    if !aims.is_empty() {
        if !has_reached_proxy {
            return Err(Failed::NoAims("it did not try to reach the proxy".to_owned()));
        }
        let lacks_aim =
            |outcome: &&Outcome| outcome.lacks_aim() && is_aim_sent(aims, &outcome.name);
        if let Some(outcome) = outcomes.iter().find(lacks_aim) {
            return Err(Failed::NoAim(outcome.name.clone()));
        }
    }
    Ok(outcomes)
}

/// Whether all aims that this attack needs were sent.
fn is_aim_sent(aims: &[String], attack: &str) -> bool {
    let is_sent =
        |key: &str| aims.iter().any(|aim| aim.split_once('=').is_some_and(|(k, _)| k == key));
    OPTIONAL_AIMS.iter().all(|(key, attacks)| !attacks.contains(&attack) || is_sent(key))
}

/// Writes to a program's standard input.
async fn write(process: &mut Process, mut bytes: &[u8]) -> Result<(), Failed> {
    let closed = || Failed::Unread(io::ErrorKind::BrokenPipe.into());
    let stdin = process.stdin.as_mut().ok_or_else(closed)?;
    let write = async {
        while !bytes.is_empty() {
            match stdin.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stdin.writable().await,
                Err(error) => return Err(Failed::Unread(error)),
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, write).await.unwrap_or(Err(Failed::Silent))
}

/// Has a process of a session start others that try to outlive it, and ends the session. Whether one may have.
async fn has_survivors(mut process: Process) -> Result<bool, Failed> {
    write(&mut process, b"survive\n").await?;
    process.stdin = None;
    while first_line(&mut process).await? != "ready" {}
    process.control.say(Word::Kill);
    let ended = tokio::time::timeout(PATIENCE, process.control.ended()).await;
    // The end of the pipe is the end of the last one that holds it; one has closed it.
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, process.stdout.read_to_end(&mut rest)).await;
    let all_ended =
        matches!(ended, Ok(Ended::Code(_) | Ended::Signal(_))) && matches!(read, Ok(Ok(_)));
    Ok(!all_ended)
}

/// Whether a program that takes memory was kept from taking all of it. It says so before it takes the first.
fn is_memory_refused(said: &str) -> Result<bool, Failed> {
    let mut lines = said.lines().filter(|line| line.starts_with("memory "));
    let last = lines.next_back().ok_or(Failed::Silent)?;
    Ok(!last.ends_with(" end"))
}

/// All that a program says until its end.
async fn said(mut process: Process) -> Result<String, Failed> {
    process.stdin = None;
    let mut said = Vec::new();
    let mut stdout = (&mut process.stdout).take(WORDS);
    let read = tokio::time::timeout(PATIENCE, stdout.read_to_end(&mut said)).await;
    read.map_err(|_| Failed::Silent)??;
    wait_for_end(process).await?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Waits until a program, which says no more, has ended.
async fn wait_for_end(mut process: Process) -> Result<(), Failed> {
    let ended = tokio::time::timeout(PATIENCE, process.control.ended()).await;
    ended.map(drop).map_err(|_| Failed::Silent)
}

/// Kills a process; how it ended, which may have been before.
async fn end(mut process: Process) -> Ended {
    process.control.say(Word::Kill);
    let ended = tokio::time::timeout(PATIENCE, process.control.ended()).await;
    ended.unwrap_or(Ended::Unclear)
}

/// Fails unless the victim lived until it was killed here, or an attack ended it. Its end before that may be reported
/// late, so it is told from how it ended.
fn check_victim(ended: Ended, outcomes: &[Outcome]) -> Result<(), Failed> {
    const SIGKILL: i32 = 9;
    let is_ended_by_attack = outcomes
        .iter()
        .any(|outcome| outcome.name == ENDS_VICTIM && outcome.result == Try::Succeeded);
    let has_lived = ended == Ended::Signal(SIGKILL) || is_ended_by_attack;
    has_lived.then_some(()).ok_or(Failed::NoVictim)
}

/// How many processes have this word as an argument.
fn marked(marker: &str) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = entries.filter(|entry| {
        let name = entry.file_name();
        let is_process = name.to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        is_process
            && std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
                line.split(|byte| *byte == 0).any(|word| word == marker.as_bytes())
            })
    });
    found.count()
}

#[cfg(test)]
mod tests;

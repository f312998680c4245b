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
use crate::config::{BackendKind, Bytes, Guarantee, SessionLimits};
use crate::process::{self, Ended, Launcher, Process};
use crate::supervisor::{ATTACK, Confined, LAUNCHER_PROGRAM, Spec, Word};
use crate::workspace::{Folder, Workspaces};
use std::io;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

/// The longest that one run of the attacking program may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most that it says.
const WORDS: u64 = 256 * 1024;

/// Children that the fork bomb stops at where nothing stops it.
const BOMB: u64 = 2000;

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
    /// What a session must reach it did not.
    #[error("a session does not reach the server's proxy: {0}")]
    NoProxy(String),
}

/// One backend under attack.
pub(super) struct Probe<'a> {
    pub(super) backend: &'a dyn Backend,
    /// Who makes the attacks: root, where some agent is root.
    pub(super) identity: Identity,
    pub(super) launcher: &'a Launcher,
    pub(super) workspaces: &'a Workspaces,
    /// Where canary files may be put: the folder of the server's state.
    pub(super) state: &'a Path,
    pub(super) grants: &'a Grants,
    pub(super) groups: Limited<'a>,
    pub(super) limits: &'a SessionLimits,
    /// Which attacks are made.
    pub(super) when: When,
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
    async fn new(probe: &Probe<'a>, canaries: &Canaries) -> Result<Self, Failed> {
        let workspaces = probe.workspaces;
        let id = uuid::Uuid::now_v7().to_string();
        let folder = workspaces.folder(&id).await?;
        let grants = if probe.has_covers() {
            probe.grants.with(&canaries.own()?.1)
        } else {
            probe.grants.clone()
        };
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
        let canaries = Canaries::new(self.state)?;
        let session = Session::new(self, &canaries).await?;
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

    /// Whether a file can be kept from a session that reaches the folder around it.
    fn has_covers(&self) -> bool {
        self.backend.kind() != BackendKind::Landlock
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
        let peer = Session::new(self, canaries).await?;
        let peer_home = PathBuf::from(peer.folder.home_text());
        for name in ["secret", "unlink", "rename"] {
            std::fs::write(peer_home.join(name), marker)?;
        }
        // Where the file system has no attributes there is nothing to read.
        let create = rustix::fs::XattrFlags::empty();
        let _ = rustix::fs::setxattr(
            peer_home.join("secret"),
            "user.marker",
            marker.as_bytes(),
            create,
        );
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
        let proxy = match self.backend.network() {
            Network::Own => INSIDE_PORT,
            Network::Shared => session.port,
        };
        args.extend(canaries.proxy.v6.iter().map(|v6| format!("same6={}", port_of(v6))));
        if self.has_covers() {
            args.push(format!("own_dir={}", canaries.own()?.0.display()));
        }
        args.extend([
            format!("proxy={proxy}"),
            format!("same={}", session.port),
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
            if arrived.iter().any(|(name, arrived)| *arrived && outcome.name == *name) {
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
        let names: Vec<&str> = promises::names(self.when).collect();
        args.push(format!("only={}", names.join(",")));
        let (process, _group) = self.start(args, session).await?;
        let said = said(process).await?;
        let proxy = said.lines().find_map(|line| line.strip_prefix("proxy "));
        if let Some(why) = proxy.filter(|why| *why != "reached") {
            return Err(Failed::NoProxy(why.to_owned()));
        }
        let outcomes: Vec<Outcome> = said.lines().filter_map(Outcome::read).collect();
        if said.lines().any(|line| line == "end") { Ok(outcomes) } else { Err(Failed::Silent) }
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
        let left = if all_ended { marked(&canaries.marker) } else { 1 };
        Ok(Outcome {
            name: "tree.survive".to_owned(),
            result: if left == 0 { Try::Stopped("-".to_owned()) } else { Try::Succeeded },
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
        let said = said(process).await?;
        let stopped = !said.lines().any(|line| line.ends_with(" end"));
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
            tmp: self.limits.tmp.get(),
            shm: self.limits.shm.get(),
            file: self.limits.disk.map(Bytes::get),
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

/// All that a program says until its end.
async fn said(mut process: Process) -> Result<String, Failed> {
    process.stdin = None;
    let mut said = Vec::new();
    let heard = async {
        let _ = (&mut process.stdout).take(WORDS).read_to_end(&mut said).await;
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
        let is_process = name.to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        is_process
            && std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line.windows(marker.len()).any(|word| word == marker.as_bytes()))
    });
    found.count()
}

#[cfg(test)]
mod tests;

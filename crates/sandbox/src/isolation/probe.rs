//! The probe: a throw-away session is attacked from inside by a program of ours (`launcher/attack.rs`), and
//! what it could not break is in force.
//!
//! Every target is a canary of our own: a stand-in for the server with a marker in its memory and
//! environment, a second session, files outside of both, listeners on loopback. No packet leaves the
//! machine.

mod attacker;

use super::canaries::{Canaries, port_of};
use super::findings::{Findings, Outcome, State, Try, states};
use super::users::Identity;
use super::{
    Around, Backend, Exposed, Grants, Group, Groups, INSIDE_PORT, Network, Sandboxed, Surroundings,
    When, prepare, promises,
};
use crate::isolation::{BackendKind, Guarantee, SandboxLimits};
use crate::process::{self, Launcher, Process};
use crate::supervisor::{ATTACK, Confined, LAUNCHER_PROGRAM, Spec};
use crate::workspace::{Folder, Workspaces};
use attacker::{
    attack_with, check_victim, end, first_line, has_survivors, is_memory_refused, said,
    wait_for_end,
};
use std::io;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The longest that all of a probe may take, with the sandboxes that it starts.
pub(super) const WHOLE: Duration = Duration::from_secs(120);

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
        let folder = workspaces.empty_folder(&id).await?;
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

//! What is put around every agent, and what that is worth: guarantees, each tried out before it is promised.
//!
//! # How it works
//!
//! A [`Backend`] makes of what is to be started something that starts behind a sandbox. At the start of the
//! server each one that could serve is attacked from inside (`probe`); a guarantee is in force where every
//! attack on it failed. [`choose()`] takes the strongest that gives what is required, or says what is missing,
//! why, and which key accepts less. Nothing is ever weaker than that without a word.

mod bubblewrap;
mod canaries;
mod changeable;
mod choose;
mod container;
mod covers;
mod etc;
mod filter;
mod findings;
mod grants;
mod groups;
mod kernel;
mod landlock;
mod none;
mod obstacle;
mod probe;
mod promises;
mod sandbox;
mod settings;
mod trail;
mod users;

pub use changeable::{Changeable, LeftOut, Settled};
pub use choose::{AgentNeeds, Error, Needs, choose};
pub use container::Room;
pub use covers::{At, Cover, Covered, Exposed, OwnFile, cover};
pub use filter::Network;
pub use findings::{Findings, Outcome, State};
pub use grants::Grants;
pub use groups::{Group, Groups};
pub use kernel::Kernel;
pub use obstacle::Obstacle;
pub use promises::{When, promises_json};
pub use sandbox::limit_files;
pub use settings::{
    BackendKind, ContainerSettings, EngineKind, Guarantee, SandboxLimits, SandboxSettings, Uids,
};

use crate::process::{self, Launcher};
use crate::supervisor::{Confined, Spec};
use crate::workspace::{Folder, Workspaces};
use promises::Promise;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use tracing::warn;
use users::Identity;

/// The port of loopback behind which our proxy is, in a network of an agent's own.
pub const INSIDE_PORT: u16 = 8118;

/// Where an agent finds its folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Its workspace.
    pub workspace: String,
    /// Its HOME.
    pub home: String,
    /// Its folder for temporary files.
    pub tmp: String,
    /// Variables that are set for everything there.
    pub env: Vec<(String, String)>,
}

impl Places {
    /// Where they really lie, where no sandbox moves them.
    pub fn real(folder: &Folder) -> Self {
        Self {
            workspace: folder.workspace_text(),
            home: folder.home_text(),
            tmp: folder.home_text(),
            env: Vec::new(),
        }
    }
}

/// What is to be put around one process.
#[derive(Debug)]
pub struct Around<'a> {
    /// Its session's folders.
    pub folder: &'a Folder,
    /// What it may read and write beside them.
    pub grants: &'a Grants,
    /// The folder of its control group.
    pub group: Option<&'a Path>,
    /// Bytes of its `/tmp`.
    pub tmp: u64,
    /// Bytes of its `/dev/shm`.
    pub shm: u64,
    /// Bytes of its largest file.
    pub file: Option<u64>,
    /// Descriptors that each of its processes may open.
    pub descriptors: u64,
    /// The port of our proxy, where it shares the machine's network.
    pub port: u16,
    /// The user that it is to the kernel, where that is not the server's.
    pub user: Option<u32>,
}

/// One way to make a sandbox.
pub trait Backend: Send + Sync {
    /// Its name.
    fn kind(&self) -> BackendKind;
    /// Where an agent behind it finds its folders.
    fn places(&self, folder: &Folder) -> Places;
    /// Whose network it is in.
    fn network(&self) -> Network;
    /// The same process, behind the sandbox.
    fn confine(&self, spec: Spec, around: &Around<'_>) -> Confined;

    /// Who agents with these grants are to the kernel. It is asked once for each agent, at the start of the server.
    fn identify(&self, workspaces: &Workspaces, grants: &Grants) -> Identity;

    /// What a process is started in, where that is not this machine as it is; made where it is missing.
    fn room<'a>(
        &'a self,
        host: &'a Launcher,
        around: &'a Around<'_>,
    ) -> Pending<'a, Result<Option<Room>, process::Error>> {
        let _ = (host, around);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Ends all that was kept for the next process of a session.
    fn clear(&self) -> Pending<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What takes time.
type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The sandbox that was chosen.
#[derive(Clone)]
pub struct Isolation(Arc<SharedIsolation>);

struct SharedIsolation {
    backend: Box<dyn Backend>,
    findings: Findings,
    /// Who the processes of each agent are, by its key.
    identities: BTreeMap<Arc<str>, Identity>,
    groups: Option<Groups>,
    tmp: u64,
    shm: u64,
    file: Option<u64>,
    descriptors: u64,
    port: u16,
}

/// A process that can be started behind its sandbox.
pub struct Sandboxed {
    /// What to start.
    pub confined: Confined,
    /// What is to be kept as long as it lives.
    pub held: Surroundings,
}

/// What is around a running process; given up with it.
#[derive(Default)]
pub struct Surroundings {
    /// Its control group; what is left in it is killed.
    _group: Option<Group>,
    /// Its container, which others of its session may follow it in.
    room: Option<Room>,
}

impl Sandboxed {
    /// What starts it: `host`, or the launcher in its container.
    pub fn launcher<'a>(&'a self, host: &'a Launcher) -> &'a Launcher {
        self.held.room.as_ref().map_or(host, Room::launcher)
    }
}

/// All that there must be before a process of a session can be confined: its folders are its user's, and there is
/// a room for it.
async fn prepare(
    backend: &dyn Backend,
    host: &Launcher,
    around: &Around<'_>,
) -> Result<Option<Room>, process::Error> {
    around.folder.give(around.user).await?;
    backend.room(host, around).await
}

impl Isolation {
    /// The backend.
    pub fn backend(&self) -> BackendKind {
        self.0.backend.kind()
    }

    /// Whether there is a sandbox at all.
    pub fn is_sandboxed(&self) -> bool {
        self.backend() != BackendKind::None
    }

    /// What was found out about it.
    pub fn findings(&self) -> &Findings {
        &self.0.findings
    }

    /// Where an agent finds its folders.
    pub fn places(&self, folder: &Folder) -> Places {
        self.0.backend.places(folder)
    }

    /// The port at which an agent reaches our proxy.
    pub fn proxy_port(&self) -> u16 {
        match self.0.backend.network() {
            Network::Own => INSIDE_PORT,
            Network::Shared => self.0.port,
        }
    }

    /// Who the processes of an agent are to the kernel.
    fn identity(&self, agent: &str) -> &Identity {
        self.0.identities.get(agent).expect("each agent that is served was identified at the start")
    }

    /// A process of an agent behind the sandbox.
    ///
    /// # Errors
    ///
    /// When its control group or its container cannot be made, or something else lies in the place of one of the
    /// server's own files.
    pub async fn confine(
        &self,
        host: &Launcher,
        spec: Spec,
        agent: &str,
        folder: &Folder,
        grants: &Grants,
    ) -> Result<Sandboxed, process::Error> {
        let inner = &self.0;
        let group = inner.groups.as_ref().map(Groups::make).transpose()?;
        if self.is_sandboxed() {
            for cover in &grants.covers {
                cover.check().map_err(|changed| {
                    let path = changed.path.display();
                    warn!("no agent is started where {path} is in reach: {changed}");
                    process::Error::Exposed(io::Error::other(changed))
                })?;
            }
        }
        let user = self.identity(agent).user(folder);
        let around = Around {
            folder,
            grants,
            group: group.as_ref().map(Group::folder),
            tmp: inner.tmp,
            shm: inner.shm,
            file: inner.file,
            descriptors: inner.descriptors,
            port: inner.port,
            user,
        };
        let room = prepare(&*inner.backend, host, &around).await?;
        Ok(Sandboxed {
            confined: inner.backend.confine(spec, &around),
            held: Surroundings { _group: group, room },
        })
    }

    /// What the operator should know: the processes of this agent are root, because the server is.
    pub fn note(&self, agent: &str) -> Option<String> {
        if !self.is_sandboxed() {
            return None;
        }
        let why = self.identity(agent).why_root()?;
        Some(format!(
            "agents are root to the kernel ({why}), so a fault in the kernel or in the sandbox gives them the whole machine; run the \
             server as an ordinary user"
        ))
    }

    /// Whether processes are started beside the server, so that a supervisor can be prepared for them.
    pub fn is_here(&self) -> bool {
        self.backend() != BackendKind::Container
    }

    /// Ends all that is kept for the next process of a session.
    pub async fn clear(&self) {
        self.0.backend.clear().await;
    }

    /// Each guarantee that is not in force behind this sandbox, what it means, and why it is missing.
    pub fn missing(&self) -> impl Iterator<Item = String> {
        let findings = self.findings();
        let missing = promises::PROMISES.iter().filter(|_| self.is_sandboxed());
        missing.filter_map(|promise| {
            let why = findings.why_not(promise.guarantee)?;
            Some(format!(
                "`{}` is not promised; it means that an agent {}: {why}",
                promise.guarantee, promise.summary
            ))
        })
    }

    /// All that was found out, for machines.
    pub fn findings_json(&self) -> Value {
        json!([self.findings().json(self.backend())])
    }

    /// What the sandbox is worth, in a sentence for the start.
    pub fn describe_worth(&self) -> String {
        if !self.is_sandboxed() {
            return "sandbox: none (`isolation.backend: none`): agents can read and change all that this user can, and \
                    reach any network"
                .to_owned();
        }
        let count = self.findings().in_force().count();
        format!("sandbox: {}, {count} guarantees verified", self.backend().as_str())
    }

    /// The guarantees that are in force, and those that are not, for `doctor`.
    pub fn list_guarantees(&self) -> String {
        let names = |held: bool| {
            let all = Guarantee::ALL.into_iter();
            let names =
                all.filter(|one| self.findings().holds(*one) == held).map(Guarantee::as_str);
            names.collect::<Vec<_>>().join(", ")
        };
        match names(false) {
            missing if missing.is_empty() => names(true),
            missing => format!("{}; not promised: {missing}", names(true)),
        }
    }

    /// What is in force, for a task's metadata, `/ready` and the card. Sessions that share a folder see each
    /// other there.
    pub fn describe(&self, shared: bool) -> Value {
        let in_force: Vec<&str> = self
            .findings()
            .in_force()
            .filter(|one| !(shared && *one == Guarantee::PeerSessions))
            .map(Guarantee::as_str)
            .collect();
        json!({"backend": self.backend().as_str(), "guarantees": in_force})
    }
}

#[cfg(test)]
mod tests;

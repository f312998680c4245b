//! What isolation promises, which of it is required, and what agents may reach through the wall.

use super::Bytes;
use super::defaults::{GIB, MIB, section};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// One thing that isolation promises; in force only where the attacks on it were tried and failed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Guarantee {
    /// An agent has the environment that it was given and nothing of the server's.
    #[serde(rename = "env")]
    Env,
    /// It reads nothing but its own folders, the system's programs, and what it was granted.
    #[serde(rename = "fs.read")]
    FsRead,
    /// It changes nothing but its own folders and what it was granted.
    #[serde(rename = "fs.write")]
    FsWrite,
    /// It reaches neither files nor processes of another session.
    #[serde(rename = "peer-sessions")]
    PeerSessions,
    /// It reaches nothing in the server's process, nor powers by which it could.
    #[serde(rename = "server-memory")]
    ServerMemory,
    /// It neither sees nor signals the machine's other processes.
    #[serde(rename = "processes")]
    Processes,
    /// It reaches other machines through the proxy alone.
    #[serde(rename = "net.egress")]
    NetEgress,
    /// It reaches no port of this machine.
    #[serde(rename = "net.loopback")]
    NetLoopback,
    /// It reaches no unix socket of this machine.
    #[serde(rename = "unix-sockets")]
    UnixSockets,
    /// Nothing of it is left when it was ended.
    #[serde(rename = "kill-tree")]
    KillTree,
    /// Its processes are limited in number.
    #[serde(rename = "pids")]
    Pids,
    /// Its memory is limited.
    #[serde(rename = "memory")]
    Memory,
    /// The size of its folders is limited.
    #[serde(rename = "disk")]
    Disk,
}

impl Guarantee {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Env,
        Self::FsRead,
        Self::FsWrite,
        Self::PeerSessions,
        Self::ServerMemory,
        Self::Processes,
        Self::NetEgress,
        Self::NetLoopback,
        Self::UnixSockets,
        Self::KillTree,
        Self::Pids,
        Self::Memory,
        Self::Disk,
    ];

    /// What is required unless the operator says otherwise: all but the limits.
    fn required() -> Vec<Self> {
        let is_limit = |one: &Self| matches!(one, Self::Pids | Self::Memory | Self::Disk);
        Self::ALL.into_iter().filter(|one| !is_limit(one)).collect()
    }

    /// Its word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::FsRead => "fs.read",
            Self::FsWrite => "fs.write",
            Self::PeerSessions => "peer-sessions",
            Self::ServerMemory => "server-memory",
            Self::Processes => "processes",
            Self::NetEgress => "net.egress",
            Self::NetLoopback => "net.loopback",
            Self::UnixSockets => "unix-sockets",
            Self::KillTree => "kill-tree",
            Self::Pids => "pids",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

section! {
    /// The wall around agents.
    #[derive(Debug)]
    pub struct Isolation {
        /// What makes the wall.
        pub backend: BackendKind = BackendKind::Auto,
        /// What must be in force, or the server does not start.
        pub require: Vec<Guarantee> = Guarantee::required(),
        /// Further files and folders that agents may read.
        pub read: Vec<PathBuf>,
        /// Further folders, files and devices that agents may change.
        pub write: Vec<PathBuf>,
        /// Bounds of what one session's processes take.
        pub limits: SessionLimits,
        /// User numbers that agents get where the server is root.
        pub uids: Uids,
        /// The container backend.
        pub container: Container,
    }
}

/// What makes the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// The strongest that gives what is required.
    Auto,
    /// Namespaces of its own, made by `bwrap`.
    Bubblewrap,
    /// Rules of the kernel on the process itself.
    Landlock,
    /// A container of its own.
    Container,
    /// No wall.
    None,
}

impl BackendKind {
    /// Its word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bubblewrap => "bubblewrap",
            Self::Landlock => "landlock",
            Self::Container => "container",
            Self::None => "none",
        }
    }
}

section! {
    /// Bounds of one session.
    #[derive(Debug)]
    pub struct SessionLimits {
        /// Processes and threads, where control groups are delegated to the server.
        pub pids: Option<u64> = Some(1024),
        /// Memory, likewise.
        pub memory: Option<Bytes>,
        /// Cores, likewise.
        pub cpu: Option<f64>,
        /// Descriptors that one process may open, and all of them together may leave in flight.
        pub files: u64 = 8192,
        /// Size of workspace and HOME together, looked at again and again.
        pub disk: Option<Bytes> = Some(Bytes::new(20 * GIB)),
        /// Size of a session's own `/tmp`.
        pub tmp: Bytes = Bytes::new(GIB),
        /// Size of a session's own `/dev/shm`.
        pub shm: Bytes = Bytes::new(256 * MIB),
    }
}

section! {
    /// User numbers of agents: each session has one of its own.
    #[derive(Debug, Copy, Eq)]
    pub struct Uids {
        /// The first one: after the numbers of systemd's containers, before those that some programs take
        /// for negative.
        pub first: u32 = 0x7000_0000,
        /// How many there are; 0 leaves agents root.
        pub count: u32 = 0x0ffe_0000,
    }
}

impl Uids {
    /// The group that all of these users are in.
    pub fn group(self) -> u32 {
        self.first
    }
}

section! {
    /// The container backend.
    #[derive(Debug, Eq)]
    pub struct Container {
        /// `auto`, `docker` or `podman`.
        pub engine: Engine = Engine::Auto,
        /// The image that has the agent's program.
        pub image: Option<String>,
        /// The engine's runtime, where it is not the engine's default.
        pub runtime: Option<String>,
    }
}

/// Which container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The one that is found: podman, then docker.
    Auto,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

section! {
    /// What agents reach through the sandbox.
    #[derive(Debug)]
    pub struct Egress {
        /// Hosts that every agent may reach.
        pub allow: Vec<String>,
        /// Hosts that every session script may reach.
        pub setup: Vec<String>,
        /// Inner networks that names and addresses may lead to all the same.
        pub inner: Vec<String>,
        /// Open connections of one agent process.
        pub connections: usize = 256,
        /// Requests of one agent process that always have a place.
        pub own_requests: usize = 4,
        /// Further requests of all agents together.
        pub requests: usize = 128,
        /// Repositories reached with a credential that stays in the server.
        pub git: Vec<GitCredential>,
    }
}

/// A credential for repositories of one host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitCredential {
    /// The host.
    pub host: String,
    /// The path that all its repositories begin with; empty for all of the host.
    #[serde(default)]
    pub path: String,
    /// The user name that goes with the token.
    #[serde(default = "git_user")]
    pub user: String,
    /// The token.
    pub token: String,
}

fn git_user() -> String {
    "x-access-token".to_owned()
}

impl fmt::Debug for GitCredential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("GitCredential")
            .field("host", &self.host)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What one agent reaches, beside what all do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentEgress {
    /// Hosts that it may reach; what its driver or preset needs when unset.
    pub allow: Option<Vec<String>>,
    /// Hosts that its session script may reach.
    pub setup: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarantee_is_written_as_it_is_configured() {
        for one in Guarantee::ALL {
            assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
        }
    }
}

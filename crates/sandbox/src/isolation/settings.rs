//! What the operator sets for a sandbox, without the form in which it is written down.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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

/// What makes the sandbox.
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
    /// No sandbox.
    None,
}

impl BackendKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Auto, Self::Bubblewrap, Self::Landlock, Self::Container, Self::None];

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

/// Which container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// The one that is found: podman, then docker.
    Auto,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

/// What the operator sets for the sandbox of all agents.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// What makes it.
    pub backend: BackendKind,
    /// What must be in force.
    pub require: Vec<Guarantee>,
    /// Bounds of one session.
    pub limits: SandboxLimits,
    /// User numbers of agents where the server is root.
    pub uids: Uids,
    /// The container backend.
    pub container: ContainerSettings,
    /// The server's folder for what it keeps.
    pub state_dir: PathBuf,
}

/// Bounds of what one session's processes take; sizes in bytes.
#[derive(Debug, Clone, Default)]
pub struct SandboxLimits {
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Memory.
    pub memory: Option<u64>,
    /// Cores.
    pub cpu: Option<f64>,
    /// Descriptors that one process may open.
    pub files: u64,
    /// Workspace and HOME together.
    pub disk: Option<u64>,
    /// Its `/tmp`.
    pub tmp: u64,
    /// Its `/dev/shm`.
    pub shm: u64,
}

/// User numbers of agents: each session has one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uids {
    /// The first one, which is also the number of the group that all of these users are in.
    pub first: u32,
    /// How many there are; 0 leaves agents root.
    pub count: u32,
}

/// The container backend.
#[derive(Debug, Clone)]
pub struct ContainerSettings {
    /// The engine.
    pub engine: EngineKind,
    /// The image that has the agent's program.
    pub image: Option<String>,
    /// The engine's runtime, where it is not the engine's default.
    pub runtime: Option<String>,
    /// Containers at a time.
    pub most: usize,
    /// How long a container is kept with nothing in it.
    pub idle: Duration,
}

#[cfg(test)]
impl Uids {
    /// Numbers that no other users of a machine have.
    pub(crate) const TESTED: Self = Self { first: 0x7000_0000, count: 0x0ffe_0000 };
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

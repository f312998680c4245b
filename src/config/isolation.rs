//! What isolation promises, which of it is required, and what agents may reach through the sandbox.

use super::defaults::{GIB, MIB, seconds, section};
use super::{Age, Bytes, ForgeKind};
use pilothouse_sandbox::isolation::{BackendKind, EngineKind, Guarantee};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What is required unless the operator says otherwise: all but the limits.
fn required() -> Vec<Guarantee> {
    let is_limit =
        |one: &Guarantee| matches!(one, Guarantee::Pids | Guarantee::Memory | Guarantee::Disk);
    Guarantee::ALL.into_iter().filter(|one| !is_limit(one)).collect()
}

section! {
    /// The sandbox around agents.
    #[derive(Debug)]
    pub struct Isolation {
        /// What makes the sandbox.
        pub backend: BackendKind = BackendKind::Auto,
        /// What must be in force, or the server does not start.
        pub require: Vec<Guarantee> = required(),
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

section! {
    /// The container backend.
    #[derive(Debug, Eq)]
    pub struct Container {
        /// `auto`, `docker` or `podman`.
        pub engine: EngineKind = EngineKind::Auto,
        /// The image that has the agent's program.
        pub image: Option<String>,
        /// The engine's runtime, where it is not the engine's default.
        pub runtime: Option<String>,
    }
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
        /// Hosts about which a person is asked where no list permits them.
        pub ask: Vec<String>,
        /// Connections of one agent process that wait for such an answer.
        pub asking: usize = 16,
        /// How long one waits.
        pub ask_wait: Age = seconds(900),
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
    /// What opens pull requests there; none where nothing does.
    #[serde(default)]
    pub forge: Option<ForgeKind>,
    /// The address of its API, where it is not the usual one of this host.
    #[serde(default)]
    pub api: Option<String>,
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
    /// Hosts about which a person is asked.
    pub ask: Vec<String>,
    /// Hosts that its session script may reach.
    pub setup: Vec<String>,
}

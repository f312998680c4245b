//! What an agent is set up with: the declared things compiled into one revision, a folder that its sessions share.
//!
//! # How it works
//!
//! At the start everything that `agents.*.setup` declares is put into a folder of the state folder, in the form of the
//! agent's CLI. The folder is named by the digest of what it holds, so the same set-up is the same folder and a changed
//! one is another. Agents only read it. `home` in it is copied into the HOME of each new session; plugins and the file
//! of MCP servers are used where they lie.
//!
//! # Pitfalls
//!
//! What lies in `home` is the session's own after the copy, so an agent may change it. Settings and permissions are
//! no files for that reason: the server tells them to each process.

mod agent_plugin;
mod compile;
mod foresee;
mod phase;
mod plan;
mod plugins;
mod tree;

pub use phase::{AgentSetup, BuiltSetup, SetupState};
pub use plan::{FETCH, SetupPlan, UnfinishedSetup};

pub(super) use foresee::describe_script;

use super::find;
use crate::config::{self, Config, describe_driver};
use compile::{Compiler, servers_of};
use pilothouse_agents::acp::{AcpSetup, Variables};
use pilothouse_agents::claude::ClaudeSetup;
use pilothouse_agents::setup::{ServerTransport, SetupItem, SetupServer};
use pilothouse_egress::Policy;
use pilothouse_sandbox::isolation::{BackendKind, Changeable, Grants};
use pilothouse_sandbox::workspace::{HomeDefaults, Workspaces};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tree::make_folder;

/// What a HOME begins with, in the folder of a revision.
const HOME: &str = "home";
/// The folder of Claude Code in a HOME.
const CLAUDE: &str = "home/.claude";
/// The MCP servers, in Claude Code's form.
const MCP_FILE: &str = "mcp.json";
/// The revision itself as data.
const REVISION: &str = "revision.json";
/// Begins the name of a folder that is being made.
const UNFINISHED: &str = ".new-";
/// Bytes of instructions at most.
const LONGEST_INSTRUCTIONS: u64 = 1024 * 1024;
/// Variables that every agent has.
const ALWAYS_SET: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LANG"];

/// One compiled set-up of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupRevision {
    /// The digest of all that it holds.
    pub digest: String,
    /// Everything that is declared.
    pub items: Vec<SetupItem>,
    /// MCP servers without which no turn begins.
    pub required: Vec<String>,
    servers: Vec<SetupServer>,
    /// Settings of the CLI.
    settings: Map<String, Value>,
    /// Folders of plugins, below its own.
    plugins: Vec<String>,
    /// The HOME and the workspace in which its script ran, as that knew them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_in: Option<[String; 2]>,
    /// Its folder.
    #[serde(skip)]
    folder: PathBuf,
}

/// The folder with all revisions of an agent.
pub(super) fn folder_of(config: &Config, key: &str) -> PathBuf {
    config.state_dir.join("setups").join(key)
}

/// All folders of revisions, and those that killed servers were making: each an agent, a name and the folder. Reads the
/// disk.
pub fn list_setups(state: &Path) -> Vec<(String, String, PathBuf)> {
    let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let is_made_now = |name: &str| {
        let pid = name.strip_prefix(UNFINISHED);
        pid.is_some_and(|pid| Path::new("/proc").join(pid).exists())
    };
    let text = |name: std::ffi::OsString| name.to_string_lossy().into_owned();
    let agents = list(&state.join("setups"));
    let all = agents.flat_map(|agent| {
        let key = text(agent.file_name());
        list(&agent.path()).map(move |found| (key.clone(), text(found.file_name()), found.path()))
    });
    all.filter(|(_, name, _)| !is_made_now(name)).collect()
}

/// The revision of each agent that was built last: an agent and a name. Reads the disk.
pub fn list_latest_setups(state: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(state.join("setups")).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let agent = name.to_str()?.strip_suffix(".latest")?.to_owned();
        Some((agent, fs::read_to_string(entry.path()).ok()?))
    };
    entries.filter_map(read).collect()
}

/// Compiles what an agent declares and needs no phase of its own. `notes` get what the operator should know.
fn compile(
    config: &Config,
    (key, agent): (&str, &config::Agent),
    notes: &mut Vec<String>,
) -> Result<SetupRevision, String> {
    let parent = folder_of(config, key);
    let unfinished = begin_folder(&config.state_dir, &parent)?;
    let made = (|| {
        let begun = Compiler::begin(&unfinished, &config.sessions.copy, (key, agent), None);
        let mut compiler = begun.map_err(|error| format!("{}: {error}", unfinished.display()))?;
        compiler.add_all()?;
        notes.append(&mut compiler.notes);
        let digest = compiler.digest("")?;
        let revision = compiler.finish(digest)?;
        keep(&unfinished, &parent, revision)
            .map_err(|error| format!("{}: {error}", parent.display()))
    })();
    if made.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    made
}

/// The folder in which a revision is made; it is not there yet, and the one above it is.
fn begin_folder(state: &Path, parent: &Path) -> Result<PathBuf, String> {
    let unfinished = parent.join(format!("{UNFINISHED}{}", std::process::id()));
    // The state folder is the server's alone; what is made here is for agents, too.
    let made = config::make_state_folder(state).and_then(|()| make_folder(parent));
    made.map_err(|error| format!("{}: {error}", unfinished.display()))?;
    Ok(unfinished)
}

/// What the operator should know of a set-up.
fn find_notes(
    config: &Config,
    (key, agent): (&str, &config::Agent),
    policy: &Policy,
) -> Vec<String> {
    let left_out = agent.setup.unkept(agent).map(|field| {
        format!(
            "`agents.{key}.setup.{}` is left out, because {} does not keep it (`setup.lenient`)",
            field.key(),
            describe_driver(agent)
        )
    });
    let mut notes: Vec<String> = left_out.collect();
    if config.isolation.backend != BackendKind::None {
        notes.extend(find_unreachable(&servers_of(agent), key, policy));
    }
    notes
}

/// Gives a finished revision its name; one of the same content may be there.
fn keep(
    unfinished: &Path,
    parent: &Path,
    mut revision: SetupRevision,
) -> io::Result<SetupRevision> {
    revision.folder = parent.join(&revision.digest);
    if revision.folder.is_dir() {
        fs::remove_dir_all(unfinished)?;
    } else {
        fs::rename(unfinished, &revision.folder)?;
    }
    Ok(revision)
}

impl SetupRevision {
    /// Folders of sessions whose HOMEs begin with what it has for them.
    pub(super) fn seed(&self, workspaces: &Workspaces) -> Workspaces {
        seed(workspaces, self.folder.join(HOME))
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of its skills, where it has one.
    pub(super) fn skills(&self) -> Option<PathBuf> {
        Some(self.folder.join(CLAUDE).join("skills")).filter(|folder| folder.is_dir())
    }

    /// The revision of this digest among all of an agent's, if it is still there.
    pub(super) fn read(setups: &Path, digest: &str) -> Option<Self> {
        let folder = setups.join(digest);
        let text = fs::read(folder.join(REVISION)).ok()?;
        let revision: Self = serde_json::from_slice(&text).ok()?;
        Some(Self { folder, ..revision })
    }

    /// For a process of Claude Code, without permissions.
    pub(super) fn for_claude(&self) -> ClaudeSetup {
        let path = |place: &str| self.folder.join(place).to_string_lossy().into_owned();
        ClaudeSetup {
            settings: self.settings.clone(),
            mcp_file: (!self.servers.is_empty()).then(|| path(MCP_FILE)),
            plugins: self.plugins.iter().map(|folder| path(folder)).collect(),
            items: self.items.clone(),
        }
    }

    /// For a process that speaks the Agent Client Protocol.
    pub(super) fn for_acp(&self, env: BTreeMap<String, String>, lenient: bool) -> AcpSetup {
        AcpSetup {
            servers: self.servers.clone(),
            variables: Variables(env),
            items: self.items.clone(),
            lenient,
        }
    }
}

/// Folders of sessions whose HOMEs begin with what a folder holds, where it is there.
fn seed(workspaces: &Workspaces, folder: PathBuf) -> Workspaces {
    let key = "agents.*.setup";
    match folder.is_dir() {
        true => {
            workspaces.with_defaults(HomeDefaults { folder, below: "", keeps_links: true, key })
        }
        false => workspaces.clone(),
    }
}

/// Lets the agent read the programs of the servers that it declares.
pub(super) fn grant_servers(
    agent: &config::Agent,
    grants: &mut Grants,
    path: &str,
    changeable: &Changeable,
) {
    for server in servers_of(agent) {
        if let ServerTransport::Stdio { command, args, .. } = &server.transport {
            if let Some(program) = find(command, path) {
                grants.program(&program, path, changeable);
            }
            grants.arguments(args);
        }
    }
}

/// The servers that the agent's sandbox does not let it reach, with the key that does.
fn find_unreachable(servers: &[SetupServer], key: &str, policy: &Policy) -> Vec<String> {
    let notes = servers.iter().filter_map(|server| {
        let url = match &server.transport {
            ServerTransport::Http { url, .. } | ServerTransport::Sse { url, .. } => url,
            ServerTransport::Stdio { .. } => return None,
        };
        let url = Url::parse(url).ok()?;
        let address = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        (!policy.permits_address(&address)).then(|| {
            format!(
                "the MCP server `{}` is at {address}, which the sandbox does not let `{key}` reach; add `{address}` \
                 to `agents.{key}.egress.allow`",
                server.name
            )
        })
    });
    notes.collect()
}

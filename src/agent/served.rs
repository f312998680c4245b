//! Which agents are served: the default one at the root, and those that the file declares by their names.

use super::environment::CredentialFile;
use super::key::KeyCommand;
use super::resolve::{credential, login_advice};
use super::{Agent, DEFAULT_PATH, Error, find};
use crate::config::{self, Config, Loaded, WorkspaceMode};
use crate::queue::FairQueue;
use crate::repository::{CloneSource, Mirror};
use pilothouse_sandbox::isolation::{
    self, AgentNeeds, BackendKind, Changeable, Exposed, Grants, LeftOut, Needs, OwnFile,
};
use pilothouse_sandbox::workspace::Workspaces;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All agents of the server.
pub struct Agents {
    by_name: BTreeMap<Arc<str>, Arc<Agent>>,
    default: Arc<Agent>,
    changeable: Changeable,
    /// The file that may get other credentials while the server runs.
    pub(super) credentials: Option<CredentialFile>,
    /// What every agent is granted, as the default one gets it.
    common: Grants,
}

/// Makes the folders of each agent; agents that share one folder share its turns too.
pub(super) struct Folders {
    cwd: PathBuf,
    /// The server's own files, from which agents are kept.
    own: Vec<OwnFile>,
    /// The folders that agents may change.
    pub(super) changeable: Changeable,
    turns: HashMap<PathBuf, FairQueue>,
    /// The mirrors of repositories, by their addresses.
    mirrors: HashMap<String, Arc<Mirror>>,
    /// The commands for keys that agents have so far.
    pub(super) key_commands: Vec<Arc<KeyCommand>>,
}

/// What one agent is granted.
#[derive(Default)]
pub(super) struct Granted {
    pub(super) grants: Grants,
    /// What was to be granted and cannot be.
    pub(super) left_out: Vec<LeftOut>,
    /// Files of the server's own that are not there and that the agent could make.
    pub(super) missing: Vec<PathBuf>,
    /// Why a backend that has no covers cannot keep it from the server's own files, if it cannot.
    pub(super) uncovered: Option<String>,
}

impl Agents {
    /// Finds every agent that is to be served.
    pub fn resolve(loaded: &Loaded, cwd: &Path) -> Result<Self, Error> {
        let (config, environment) = (&loaded.config, &loaded.agent_environment);
        let program = std::env::current_exe().ok().filter(|program| program.exists());
        let mut folders = Folders {
            cwd: cwd.to_owned(),
            own: loaded.own_files(cwd, program.as_deref()),
            changeable: find_changeable(config, cwd),
            turns: HashMap::new(),
            mirrors: HashMap::new(),
            key_commands: Vec::new(),
        };
        let default = Arc::new(the_default(config, environment, &mut folders)?);
        let mut by_name = BTreeMap::from([(default.key.clone(), default.clone())]);
        for (key, agent) in &config.agents {
            if agent.serve == Some(true) && **key != *default.key {
                let agent = Agent::named(config, key, environment, &mut folders)?;
                by_name.insert(agent.key.clone(), Arc::new(agent));
            }
        }
        let Folders { changeable, .. } = folders;
        if config.isolation.backend != BackendKind::None {
            for agent in by_name.values() {
                let (root, shared) = (agent.workspaces.root(), agent.workspaces.shared());
                changeable.check_workspace(&agent.key, root, shared.is_some())?;
            }
        }
        let common = configured(config);
        let common = changeable.settle(default.workspaces.shared(), &common).grants;
        let credentials = CredentialFile::of(loaded, &changeable);
        Ok(Self { by_name, default, changeable, credentials, common })
    }

    /// The agent at the root.
    pub fn default_one(&self) -> &Arc<Agent> {
        &self.default
    }

    /// What they need of a sandbox.
    pub fn needs(&self) -> Needs<'_> {
        Needs {
            workspaces: &self.default.workspaces,
            grants: &self.common,
            uncovered: self.iter().find_map(|agent| agent.uncovered.as_deref()),
            agents: self
                .iter()
                .map(|agent| AgentNeeds {
                    key: &agent.key,
                    workspaces: &agent.workspaces,
                    grants: &agent.grants,
                })
                .collect(),
        }
    }

    /// This environment, with a PATH on which no agent could have put a program: what is found on it may be started
    /// outside of a sandbox.
    pub fn trusted(&self, environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut environment = environment.clone();
        if let Some(path) = environment.get_mut("PATH") {
            *path = self.changeable.trusted_path(path);
        }
        environment
    }

    /// An agent by its key in the configuration.
    pub fn get(&self, key: &str) -> Option<&Arc<Agent>> {
        self.by_name.get(key)
    }

    /// Where the sessions of an agent work; those of one that is served no more lie where the default's do.
    pub fn folders_of(&self, key: &str) -> &Workspaces {
        &self.get(key).unwrap_or(&self.default).workspaces
    }

    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.by_name.values()
    }
}

impl Folders {
    /// What an agent is granted of what it wants and of what is configured, and what keeps it from the server's own
    /// files; all of it where there is no sandbox.
    pub(super) fn grant(
        &self,
        config: &Config,
        key: &str,
        workspaces: &Workspaces,
        wanted: Grants,
    ) -> Result<Granted, Exposed> {
        if config.isolation.backend == BackendKind::None {
            return Ok(Granted { grants: wanted, ..Granted::default() });
        }
        let shared = workspaces.shared();
        let settled = self.changeable.settle(shared, &wanted.with(&configured(config)));
        let (mut grants, left_out) = (settled.grants, settled.left_out);
        let covered = isolation::cover(key, shared, &grants, &self.own)?;
        grants.covers = covered.covers;
        let (missing, uncovered) = (covered.missing, covered.obstacle);
        Ok(Granted { grants, left_out, missing, uncovered })
    }

    pub(super) fn of(
        &mut self,
        config: &Config,
        agent: &config::Agent,
    ) -> Result<(Workspaces, Option<FairQueue>), Error> {
        let workspace = config.workspace.of(&agent.workspace);
        let workspaces = Workspaces::new(config.workspaces(&self.cwd, agent, &workspace)?);
        let shared = (workspace.mode == WorkspaceMode::Shared).then(|| {
            self.turns
                .entry(workspace.path.clone())
                .or_insert_with(|| {
                    FairQueue::new(workspace.shared_turns.max(1), 0, &config.auth.priorities)
                })
                .clone()
        });
        Ok((workspaces, shared))
    }

    /// What the sessions of an agent begin as clones of. Agents with the same repository share its mirror.
    pub(super) fn clone_source(
        &mut self,
        config: &Config,
        (key, agent): (&str, &config::Agent),
        environment: &BTreeMap<String, String>,
    ) -> Result<Option<CloneSource>, Error> {
        let workspace = config.workspace.of(&agent.workspace);
        let config::Workspace { mode, repository, push, .. } = workspace;
        let config::Repository { url, reference, share } = repository;
        let Some(url) = url.filter(|_| mode == WorkspaceMode::Repository) else {
            return Ok(None);
        };
        // What the server starts outside of a sandbox no agent could have written.
        let mut environment = environment.clone();
        let path = environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        let path = self.changeable.trusted_path(path);
        let git = find("git", &path);
        environment.insert("PATH".to_owned(), path);
        let mirror = self.mirrors.entry(url);
        let mirror =
            mirror.or_insert_with_key(|url| Arc::new(Mirror::new(config, url, git, &environment)));
        let fail = |what: String| Error::Repository { agent: key.to_owned(), what };
        if let Some(local) = mirror.local() {
            check_repository(local).map_err(fail)?;
            if self.changeable.is_changeable(&local.join("config")) {
                let what = "lies in a folder that agents may change, and the server's git would read its configuration; \
                            name a repository elsewhere";
                return Err(fail(format!("{} {what}", local.display())));
            }
        }
        Ok(Some(CloneSource { mirror: mirror.clone(), reference, share, push }))
    }
}

/// Whether a repository lies in this folder itself.
fn check_repository(folder: &Path) -> Result<(), String> {
    let is_one = |folder: &Path| {
        folder.join(".git").exists()
            || folder.join("objects").is_dir() && folder.join("HEAD").is_file()
    };
    if is_one(folder) {
        return Ok(());
    }
    if !folder.exists() {
        return Err(format!("{} does not exist", folder.display()));
    }
    let above = folder.ancestors().skip(1).find(|above| above.join(".git").exists());
    let advice =
        above.map(|above| format!("; did you mean {}, in which it lies?", above.display()));
    Err(format!("{} is no git repository{}", folder.display(), advice.unwrap_or_default()))
}

/// What every agent is to be granted.
fn configured(config: &Config) -> Grants {
    let config::Isolation { backend, read, write, .. } = &config.isolation;
    if *backend == BackendKind::Container {
        Grants::mounted(read, write)
    } else {
        Grants::configured(read, write)
    }
}

/// The folders that agents may change, or may have changed: an agent that is not served now may have left a link there
/// when it was.
fn find_changeable(config: &Config, cwd: &Path) -> Changeable {
    let mut changeable = Changeable::default();
    for agent in config.agents.values() {
        let workspace = config.workspace.of(&agent.workspace);
        let path = cwd.join(&workspace.path);
        match workspace.mode {
            WorkspaceMode::Shared => changeable.add_shared(&path),
            WorkspaceMode::Session | WorkspaceMode::Copy | WorkspaceMode::Repository => {
                changeable.add_sessions(&path, "`workspace.path`");
            }
        }
    }
    changeable.add_sessions(&config.state_dir.join("sessions"), "`state_dir`");
    changeable.add_granted(&config.isolation.write);
    changeable
}

/// The agent that the configuration selects; `auto` takes Claude Code where it is found and
/// can reach a model, else the demo agent, and the notes say which and why.
fn the_default(
    config: &Config,
    environment: &BTreeMap<String, String>,
    folders: &mut Folders,
) -> Result<Agent, Error> {
    if config.agent != "auto" {
        return Agent::named(config, &config.agent, environment, folders);
    }
    let path = environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let claude = config.agents.get("claude");
    let program = claude.and_then(|agent| agent.program.as_deref()).unwrap_or("claude");
    let contained = config.isolation.backend == BackendKind::Container;
    let found = if contained {
        // It is the image's, and nobody else's to look for.
        Some(PathBuf::from(program))
    } else {
        find(program, path)
    };
    let credential = claude.and_then(|agent| match agent.key_command.is_empty() {
        true => credential(agent, environment),
        false => Some("agents.claude.key_command"),
    });
    let how = "in the environment or in .env";
    let reason = match (&found, &credential) {
        (Some(program), Some(credential)) => {
            let mut agent = Agent::named(config, "claude", environment, folders)?;
            let place = if contained { " in the image" } else { "" };
            let program = program.display();
            agent.reason = Some(format!(
                "Claude Code, because {program}{place} is found and {credential} is set"
            ));
            return Ok(agent);
        }
        (Some(_), None) => format!(
            "no key for Claude Code is set: set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN {how}{}",
            if contained { "" } else { login_advice(environment) }
        ),
        (None, Some(credential)) => {
            format!("{credential} is set, but `{program}` is not on PATH: install Claude Code")
        }
        (None, None) => format!(
            "`{program}` is not on PATH: install Claude Code, and set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN {how}"
        ),
    };
    let mut agent = Agent::named(config, "demo", environment, folders)?;
    agent.reason =
        Some(format!("the demo agent, because {reason}; or name another agent by --agent"));
    Ok(agent)
}

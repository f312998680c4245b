//! Which agents are served: the default one at the root, and those that the file declares by their names.

use super::{Agent, DEFAULT_PATH, Error, credential, find, login_advice};
use crate::config::{self, BackendKind, Config, Loaded, OwnFile, Workspace, WorkspaceMode};
use crate::isolation::{self, Covered, Exposed, Grants, Needs};
use crate::queue::FairQueue;
use crate::workspace::Workspaces;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All agents of the server.
pub struct Agents {
    by_name: BTreeMap<Arc<str>, Arc<Agent>>,
    default: Arc<Agent>,
}

/// Makes the folders of each agent; agents that share one folder share its turns too.
pub(super) struct Folders {
    cwd: PathBuf,
    /// The server's own files, from which agents are kept.
    own: Vec<OwnFile>,
    turns: HashMap<PathBuf, FairQueue>,
}

impl Agents {
    /// Finds every agent that is to be served.
    ///
    /// # Errors
    ///
    /// When one of them does not exist, its program is not found, or its folders cannot be used.
    pub fn resolve(loaded: &Loaded, cwd: &Path) -> Result<Self, Error> {
        let (config, environment) = (&loaded.config, &loaded.agent_environment);
        let program = std::env::current_exe().ok().filter(|program| program.exists());
        let mut folders = Folders {
            cwd: cwd.to_owned(),
            own: loaded.own_files(cwd, program.as_deref()),
            turns: HashMap::new(),
        };
        let default = Arc::new(the_default(config, environment, &mut folders)?);
        let mut by_name = BTreeMap::from([(default.key.clone(), default.clone())]);
        for (key, agent) in &config.agents {
            if agent.serve == Some(true) && **key != *default.key {
                let agent = Agent::named(config, key, environment, &mut folders)?;
                by_name.insert(agent.key.clone(), Arc::new(agent));
            }
        }
        Ok(Self { by_name, default })
    }

    /// The agent at the root.
    pub fn default_one(&self) -> &Arc<Agent> {
        &self.default
    }

    /// What a sandbox for all of them must do.
    pub fn needs(&self) -> Needs<'_> {
        Needs {
            uncovered: self.iter().find_map(|agent| agent.uncovered.as_deref()),
            agents: self.iter().map(|agent| (agent.workspaces.shared(), &agent.grants)).collect(),
        }
    }

    /// An agent by its key in the configuration.
    pub fn get(&self, key: &str) -> Option<&Arc<Agent>> {
        self.by_name.get(key)
    }

    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.by_name.values()
    }
}

impl Folders {
    /// What keeps an agent from the server's own files; nothing where there is no sandbox.
    pub(super) fn cover(
        &self,
        config: &Config,
        key: &str,
        workspaces: &Workspaces,
        grants: &Grants,
    ) -> Result<Covered, Exposed> {
        let wanted = &config.isolation;
        if wanted.backend == BackendKind::None {
            return Ok(Covered::default());
        }
        let all = grants.with(&Grants::configured(&wanted.read, &wanted.write));
        isolation::cover(key, workspaces.shared(), &all, &self.own)
    }

    pub(super) fn of(
        &mut self,
        config: &Config,
        agent: &config::Agent,
    ) -> Result<(Workspaces, Option<FairQueue>), Error> {
        let workspace = Workspace {
            mode: agent.workspace.mode.unwrap_or(config.workspace.mode),
            path: agent.workspace.path.clone().unwrap_or_else(|| config.workspace.path.clone()),
            shared_turns: agent.workspace.shared_turns.unwrap_or(config.workspace.shared_turns),
        };
        let workspaces = Workspaces::new(config, &self.cwd, agent, &workspace)?;
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
}

/// The agent that the configuration selects; `auto` takes Claude Code where it is found and
/// can reach a model, else the demo agent, and the notes say which and why.
///
/// # Errors
///
/// When the named agent does not exist or its program is not found.
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
    let credential = claude.and_then(|agent| credential(agent, environment));
    let reason = match (&found, &credential) {
        (Some(program), Some(credential)) => {
            let mut agent = Agent::named(config, "claude", environment, folders)?;
            agent.notes.insert(
                0,
                format!(
                    "agent: Claude Code ({}{}), because {}{credential} is set",
                    program.display(),
                    if contained { " in the image" } else { "" },
                    if contained { "" } else { "it is installed and " },
                ),
            );
            return Ok(agent);
        }
        (Some(_), None) if contained => {
            "no credential is set. Set ANTHROPIC_API_KEY (in the environment or in .env) to serve Claude Code"
                .to_owned()
        }
        (Some(_), None) => format!(
            "Claude Code is installed, but no credential is set.{} Set ANTHROPIC_API_KEY (in the environment \
             or in .env) to serve Claude Code",
            login_advice(environment)
        ),
        (None, Some(credential)) => {
            format!(
                "{credential} is set, but `{program}` is not on PATH. Install Claude Code to serve it"
            )
        }
        (None, None) => format!(
            "`{program}` is not on PATH and no credential is set. Install Claude Code and set ANTHROPIC_API_KEY \
             to serve it"
        ),
    };
    let mut agent = Agent::named(config, "demo", environment, folders)?;
    agent.notes.insert(
        0,
        format!("agent: the demo agent, because {reason}; or name another with --agent"),
    );
    Ok(agent)
}

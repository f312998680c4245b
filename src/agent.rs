//! One configured agent, resolved: its program found, its environment chosen, its driver made.

mod credentials;
mod driver;
mod environment;
mod key;
mod offers;
mod policy;
mod reach;
mod resolve;
mod served;
mod setup;
mod shims;
mod spec;
mod stderr_log;

pub use driver::LaunchChoice;
pub use environment::AgentEnvironment;
pub use offers::{KnownInventory, Offers, describe_cli, is_tested};
pub use reach::Reach;
pub use resolve::find;
pub use served::Agents;
pub use setup::{
    AgentSetup, BuiltSetup, FETCH, SetupPlan, SetupRevision, SetupState, UnfinishedSetup,
    list_latest_setups, list_setups,
};

use crate::config::{self, AskPolicy, Config, DriverKind};
use crate::queue::FairQueue;
use crate::repository::CloneSource;
use crate::skills;
use parking_lot::RwLock;
use pilothouse_a2a::card::AgentSkill;
use pilothouse_agents::acp::preset::{Preset, preset};
use pilothouse_agents::{Refusal, Turn};
use pilothouse_sandbox::isolation::{BackendKind, Exposed, Grants, Isolation, Obstacle, Places};
use pilothouse_sandbox::workspace::{self, Workspaces};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
pub(crate) use stderr_log::SessionStderr;
use stderr_log::StderrLog;

/// The hidden command by which this binary is the demo agent.
pub const DEMO_COMMAND: &str = "demo-agent";

/// Variables any of which lets Claude Code reach a model.
const CREDENTIALS: [&str; 6] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
];

/// PATH of an agent whose server has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An agent that can be run.
pub struct Agent {
    /// Its key in `agents`.
    pub key: Arc<str>,
    /// The name on its card.
    pub name: String,
    /// What is answered when it asks to use a tool.
    pub asks: AskPolicy,
    /// As it is configured.
    pub config: config::Agent,
    /// Its rules for asks, which may be read again.
    policy: RwLock<Arc<config::Agent>>,
    /// The skills that were found in folders (`skills_from`).
    pub found: skills::FoundSkills,
    /// What its CLI says that it offers.
    pub offers: Offers,
    /// What it is set up with.
    pub setup: AgentSetup,
    /// Where its sessions work.
    pub workspaces: Workspaces,
    /// What these begin as clones of, where they do.
    pub clone_source: Option<CloneSource>,
    /// Turns at a time, where all its sessions share one folder.
    pub shared_turns: Option<FairQueue>,
    /// Why `agent: auto` chose it.
    pub reason: Option<String>,
    /// What the operator may want to know, for the start.
    pub notes: Vec<String>,
    /// What it must be able to read in order to run.
    pub grants: Grants,
    /// Files of the server's own that are not there and that it could make.
    pub missing: Vec<PathBuf>,
    /// The part of its program that agents may change, if they may change any.
    pub changeable_part: Option<PathBuf>,
    /// The folders by which its shared project is known, where the project is trusted.
    projects: Vec<PathBuf>,
    /// Why a backend that has no covers cannot keep it from the server's own files, if it cannot.
    uncovered: Option<String>,
    /// What it is given of the operator's environment.
    given: RwLock<Arc<AgentEnvironment>>,
    /// What its CLI wrote to standard error, where that is for the operator.
    pub(crate) stderr_log: Option<StderrLog>,
    /// How long its first turn waits for its MCP servers (`timeouts.mcp`).
    server_wait: Duration,
    program: PathBuf,
    args: Vec<String>,
    /// Who it is to git.
    identity: Vec<(String, String)>,
    path: String,
    /// Whether its program is that of an image, not of this machine.
    contained: bool,
    /// Whether it runs in a sandbox.
    is_sandboxed: bool,
    /// How long one turn may take, and the end of what it leaves behind.
    times: (Duration, Duration),
}

/// Why an agent cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such agent.
    #[error("no agent named `{0}` in `agents`")]
    Unknown(String),
    /// The program is not there.
    #[error(
        "agent `{agent}`: program `{program}` not found on PATH; install it, or set `agents.{agent}.program`"
    )]
    ProgramNotFound {
        /// The agent.
        agent: String,
        /// The program.
        program: String,
    },
    /// The path leads to no program.
    #[error(
        "agent `{agent}`: `{program}` is not a program that can be executed; correct `agents.{agent}.program`"
    )]
    NotExecutable {
        /// The agent.
        agent: String,
        /// The program.
        program: String,
    },
    /// A command agent without a program.
    #[error("agent `{0}`: a command driver needs `agents.{0}.program` (or AGENT_CMD)")]
    NoProgram(String),
    /// What it may reach.
    #[error("agent `{0}`: {1}")]
    Reach(String, String),
    /// The command for its key.
    #[error("agent `{agent}`: `agents.{agent}.key_command`: {what}")]
    KeyCommand {
        /// The agent.
        agent: String,
        /// Why it is not run.
        what: String,
    },
    /// A command for keys in the agent's own settings.
    #[error(
        "agent `{agent}`: {place} sets `apiKeyHelper`, which would run in the sandbox without its credentials, and a key \
         from there reaches no model; take it out and set `agents.{agent}.key_command: [PROGRAM, ARGUMENT]`, which the \
         server runs outside"
    )]
    KeyHelper {
        /// The agent.
        agent: String,
        /// Where it is set.
        place: String,
    },
    /// What it is to be set up with.
    #[error("agent `{agent}`: `agents.{agent}.setup`: {what}")]
    Setup {
        /// The agent.
        agent: String,
        /// Why it cannot be.
        what: String,
    },
    /// It would do anything without being asked, and nothing stands around it.
    #[error(
        "agent `{agent}`: it is configured to run anything without asking, and its sandbox lacks {missing}; \
         choose a sandbox that gives them (`isolation.backend: auto`), or let it ask (`permission_mode`, `mode` or `args` of `agents.{agent}`)"
    )]
    Bypass {
        /// The agent.
        agent: String,
        /// The guarantees.
        missing: String,
    },
    /// It would reach the server's own files.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// Its folders.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// The repository that its sessions begin as clones of.
    #[error("agent `{agent}`: `workspace.repository.url`: {what}")]
    Repository {
        /// The agent.
        agent: String,
        /// Why it cannot be used.
        what: String,
    },
}

impl Agent {
    /// The text on its card.
    pub fn describe(&self) -> String {
        self.config.description.clone().unwrap_or_else(|| match self.config.driver {
            DriverKind::Claude => {
                "Claude Code: reads, writes and runs code in a workspace of its own".to_owned()
            }
            DriverKind::Demo => {
                "a demonstration agent: shows what a session looks like, without a model".to_owned()
            }
            DriverKind::Acp if self.known().is_some() => {
                let title = self.known().map_or("", |known| known.title);
                format!("{title}: reads, writes and runs code in a workspace of its own")
            }
            DriverKind::Acp | DriverKind::Command => {
                let program = self.program.file_name().unwrap_or_default().to_string_lossy();
                format!("{program}, run as an agent")
            }
        })
    }

    /// What its card says it can do, where the configuration lists no skills.
    pub fn default_skill(&self) -> AgentSkill {
        let (id, name, tags): (_, _, &[&str]) = match self.config.driver {
            DriverKind::Claude | DriverKind::Acp => {
                ("code", "Software development", &["code", "files", "shell"])
            }
            DriverKind::Demo => ("demo", "Demonstration", &["demo"]),
            DriverKind::Command => ("run", "Run the agent", &["command"]),
        };
        AgentSkill {
            id: id.to_owned(),
            name: name.to_owned(),
            description: self.describe(),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            ..AgentSkill::default()
        }
    }

    /// Whether a turn can be given to this agent at all.
    pub fn check(&self, turn: &Turn) -> Result<(), Refusal> {
        self.driver().check(turn)
    }

    /// Whether images are given to it as they are; other files lie in its workspace. An agent that
    /// speaks the protocol tells it too late, so only of the known ones it is known.
    pub fn takes_images(&self) -> bool {
        self.config.driver == DriverKind::Claude || self.known().is_some()
    }

    /// The agent behind its preset.
    fn known(&self) -> Option<&'static Preset> {
        self.config.preset.as_deref().and_then(preset)
    }

    /// Whether the CLI states its whole answer at the end of a turn.
    pub fn is_conversational(&self) -> bool {
        self.config.driver == DriverKind::Claude
    }

    /// Whether something is to be done in the folder of a new session before the agent starts.
    pub fn needs_setup(&self) -> bool {
        self.workspaces.script().is_some()
            || self.clone_source.is_some()
            || self.config.setup.post_create
    }

    /// The projects that its CLI is to trust, as a process with these paths knows them.
    pub fn trusted_projects(&self, places: &Places) -> Vec<String> {
        if self.projects.is_empty() {
            return Vec::new();
        }
        let real = self.projects.iter().map(|path| path.to_string_lossy().into_owned());
        [places.workspace.clone()].into_iter().chain(real).collect()
    }

    /// The program, for the start and for `doctor`.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether its program is that of an image, not of this machine.
    pub fn is_contained(&self) -> bool {
        self.contained
    }

    /// What keeps its program or its session script from being run though it lies there.
    pub fn find_obstacle(&self, program: &Path, config: &Config) -> Option<Obstacle> {
        if self.contained {
            let image = config.isolation.container.image.as_deref().unwrap_or_default();
            return Some(Obstacle::of_image(image, program));
        }
        if !program.is_absolute() {
            return None;
        }
        let everything = Grants { read: [(PathBuf::from("/"), "")].into(), ..Grants::default() };
        let is_sandboxed = config.isolation.backend != BackendKind::None;
        let (grants, part) = match is_sandboxed {
            true => (&self.grants, self.changeable_part.as_deref()),
            false => (&everything, None),
        };
        grants.find_obstacle(program, &self.path, part)
    }

    /// What isolation is in force for it.
    pub fn isolation(&self, isolation: &Isolation) -> Value {
        let mut described = isolation.describe(self.workspaces.shared().is_some());
        if !self.config.secrets_inside.is_empty() {
            described["secretsInside"] = json!(self.config.secrets_inside);
        }
        described
    }

    /// Whether it is configured to do anything without being asked.
    pub fn bypasses(&self) -> bool {
        let mode =
            (self.config.driver == DriverKind::Claude).then_some(&self.config.permission_mode);
        // `npx -y` installs a package without asking, which says nothing of the agent in it.
        let is_npx = self.program.file_name().is_some_and(|name| name == "npx");
        let args = self.args.iter().filter(|word| !(is_npx && *word == "-y"));
        let words = args.chain(mode).chain(&self.config.mode);
        words.into_iter().any(|word| config::asks_nobody(word))
    }

    /// Whether it may be served with this wall.
    pub fn check_sandbox(&self, isolation: &Isolation) -> Result<(), Error> {
        use pilothouse_sandbox::isolation::Guarantee as G;
        const WHOLE: [G; 9] = [
            G::Env,
            G::FsRead,
            G::FsWrite,
            G::PeerSessions,
            G::ServerMemory,
            G::NetEgress,
            G::NetLoopback,
            G::UnixSockets,
            G::KillTree,
        ];
        let missing: Vec<&str> = WHOLE
            .into_iter()
            .filter(|one| !isolation.findings().holds(*one))
            .map(G::as_str)
            .collect();
        if self.bypasses() && !missing.is_empty() {
            return Err(Error::Bypass { agent: self.key.to_string(), missing: missing.join(", ") });
        }
        Ok(())
    }

    /// What the operator should know of it behind this wall.
    pub fn sandbox_note(&self, isolation: &Isolation) -> Option<String> {
        if !isolation.is_sandboxed() {
            return None;
        }
        let key = &self.key;
        let policy = &self.latest_env().reach.policy;
        match self.config.driver {
            DriverKind::Acp
                if self.config.preset.as_deref() == Some("codex") && self.config.mode.is_none() =>
            {
                Some(format!(
                    "Codex's own sandbox cannot be made inside of ours, so its commands fail or are asked for one by \
                     one; `agents.{key}.mode: agent-full-access` turns it off, and ours stays"
                ))
            }
            DriverKind::Command | DriverKind::Acp
                if policy.allow.is_empty() && policy.ask.is_empty() && policy.routes.is_empty() =>
            {
                Some(format!(
                    "`{key}` reaches nothing on the network; name the hosts that it needs in `agents.{key}.egress.allow`"
                ))
            }
            DriverKind::Claude | DriverKind::Acp | DriverKind::Command | DriverKind::Demo => None,
        }
    }
}

//! The configuration: one plain tree, every bound with its name, each value with its origin.
//!
//! Values come from defaults ← file ← environment ← `.env` ← flags (`config::load`); this file is
//! the tree itself. What a key means, its unit and its reason stand in `pilothouse.example.yaml`.

mod aliases;
mod caller_may;
mod card;
mod dashboard;
mod defaults;
mod derive;
mod dollars;
mod dotenv;
mod environment;
mod error;
mod flags;
mod forerunner;
pub(crate) mod guess;
mod isolation;
mod keys;
mod layers;
mod node;
mod notifications;
mod oidc;
mod origin;
mod own;
mod paths;
mod publish;
mod reload;
mod renamed;
mod repository;
mod sandbox;
mod secrets;
mod setup;
mod streams;
mod telemetry;
mod tls;
mod tokens;
mod tree;
mod trust;
mod units;
mod validate;
mod yaml;

pub mod load;

pub use caller_may::{CallerMay, WISHES};
pub use card::{Binding, Card, CardShape, Provider, Signing};
pub use dashboard::Dashboard;
pub use dollars::Dollars;
pub use environment::held_back;
pub use error::Error;
pub use isolation::{
    AgentEgress, Container, Egress, GitCredential, Isolation, SessionLimits, Uids,
};
pub use keys::keys_of;
pub use load::{Environment, Flags, Loaded, load, load_named, load_trusted};
pub use notifications::{
    NotificationTarget, Notifications, NotifyOn, PLACES, TargetKind, fill_places, fill_template,
};
pub use oidc::{JwtAlgorithm, Oidc, is_issuer_url};
pub use origin::Origin;
pub use own::{Record, make_state_folder};
pub use publish::{ForgeKind, WorkspacePush};
pub use reload::ConfigSource;
pub use repository::{Git, Repository, RepositorySource};
pub use secrets::{MASK, find_secrets, masked};
pub use setup::{
    DeclaredServer, DeclaredSource, Permissions, ServerType, Setup, SetupField, SourceKind,
    describe_driver, in_marketplace, in_source,
};
pub use streams::{AnswerForm, FileForm, PushEvents, Streams};
pub use telemetry::{Conventions, Exporter, Sampler, Telemetry};
pub use tls::Tls;
pub use tokens::{CallerToken, TokenScope};
pub use trust::asks_nobody;
pub use units::{Age, Bytes};
pub use validate::{ANYBODY, OWNER, network};

use defaults::{DAY, GIB, KIB, MIB, built_in_agents, seconds, section};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Every key with its default, its unit and its reason (`pilothouse config example`).
pub const EXAMPLE: &str = include_str!("../pilothouse.example.yaml");

section! {
    /// Everything that can be set.
    #[derive(Debug)]
    pub struct Config {
        /// Where the server listens and what it calls itself.
        pub server: Server,
        /// Who may call.
        pub auth: Auth,
        /// Where the store, the token and the session homes live.
        pub state_dir: PathBuf = "~/.local/state/pilothouse".into(),
        /// The event log.
        pub store: Store,
        /// Sessions and their sweep.
        pub sessions: Sessions,
        /// Where sessions work.
        pub workspace: Workspace,
        /// Who agents are to git.
        pub git: Git,
        /// The agent cards.
        pub card: Card,
        /// How events reach clients.
        pub streams: Streams,
        /// Push notifications.
        pub push: Push,
        /// What the operator is told of.
        pub notifications: Notifications,
        /// Questions that people answer.
        pub asks: Asks,
        /// Agent processes.
        pub processes: Processes,
        /// The wall around agents.
        pub isolation: Isolation,
        /// What agents reach through it.
        pub egress: Egress,
        /// Sizes and rates.
        pub limits: Limits,
        /// Ceilings of cost and tokens.
        pub budgets: Budgets,
        /// Times.
        pub timeouts: Timeouts,
        /// The audit log: `stderr`, `off`, a file, or `auto` (standard error, or where that is a terminal a file of
        /// the state folder).
        pub audit: String = "auto".to_owned(),
        /// Who may read `GET /metrics`.
        pub metrics: Exposure = Exposure::Token,
        /// The dashboard at `/ui/`.
        pub ui: Dashboard = Dashboard::On,
        /// Traces of tasks.
        pub telemetry: Telemetry,
        /// What people see.
        pub log: Log,
        /// Older dialects.
        pub compat: Compat,
        /// The `.env` file.
        pub env_file: EnvFile,
        /// The agent that serves: a name in `agents`, or `auto`.
        pub agent: String = "auto".to_owned(),
        /// The agents by name.
        pub agents: BTreeMap<String, Agent> = built_in_agents(),
    }
}

section! {
    /// Where the server listens.
    #[derive(Debug)]
    pub struct Server {
        /// Address to listen on.
        pub host: String = "127.0.0.1".to_owned(),
        /// Port to listen on; 0 takes a free one.
        pub port: u16 = 2222,
        /// The address that clients use, when it is not the one listened on.
        pub public_url: Option<String>,
        /// Host header values accepted beside the loopback names and the address listened on.
        pub allowed_hosts: Vec<String>,
        /// Origins of web pages that may call; none by default.
        pub allowed_origins: Vec<String>,
        /// Whether the reflection service of gRPC is served, to anybody.
        pub grpc_reflection: bool,
        /// Networks of proxies whose `Forwarded` and `X-Forwarded-*` headers are believed.
        pub trusted_proxies: Vec<String>,
        /// Certificates; plain HTTP without them.
        pub tls: Tls,
    }
}

section! {
    /// Push notifications.
    #[derive(Debug)]
    pub struct Push {
        /// Whether they are offered at all.
        pub enabled: bool = true,
        /// Which events are posted.
        pub events: PushEvents = PushEvents::Finished,
        /// Networks inside of the operator's own that may be posted to, and where plain http will do.
        pub allow: Vec<String>,
        /// For one attempt, from the name's resolution to the end of the answer.
        pub timeout: Age = seconds(15),
        /// From a failed attempt to the next; doubled each time.
        pub backoff: Age = seconds(1),
        /// The longest time between two attempts.
        pub backoff_max: Age = seconds(300),
        /// How long an event is tried before its config is given up.
        pub give_up: Age = seconds(DAY),
        /// Configs of one task.
        pub per_task: usize = 16,
        /// Configs that have events to deliver, or may have.
        pub pending: usize = 10_000,
        /// Bytes of these configs; of one caller half as many.
        pub bytes: Bytes = Bytes::new(4 * MIB),
        /// Posts at a time.
        pub concurrent: usize = 32,
    }
}

section! {
    /// Who may call.
    pub struct Auth {
        /// The bearer token; made at random and kept in the state directory when unset.
        pub token: Option<String>,
        /// Further callers by name, each with a token of its own; a caller sees its own tasks alone.
        pub tokens: BTreeMap<String, CallerToken>,
        /// By caller: whose turns come before all those of callers with a lower number; 0 when unset.
        pub priorities: BTreeMap<String, u8>,
        /// Tokens that an identity provider signs.
        pub oidc: Oidc,
        /// Whether a token is asked for at all.
        pub required: bool = true,
        /// Accepts `required: false` on an address that is not loopback.
        pub insecure: bool = false,
    }
}

section! {
    /// The event log.
    #[derive(Debug)]
    pub struct Store {
        /// The database file (relative to `state_dir`), or `memory`.
        pub path: PathBuf = "pilothouse.db".into(),
        /// Whether a copy is kept before a newer version changes the schema.
        pub copy_before_upgrade: bool = true,
        /// Which finished tasks are kept.
        pub retention: Retention,
    }
}

section! {
    /// What is kept, by age and by size; whichever comes first.
    #[derive(Debug)]
    pub struct Retention {
        /// Nothing older than this is kept.
        pub age: Age = seconds(30 * DAY),
        /// Not more than this many are kept.
        pub count: u64 = 100_000,
        /// Not more than this many bytes are kept.
        pub size: Bytes = Bytes::new(10 * GIB),
    }
}

section! {
    /// Sessions.
    #[derive(Debug)]
    pub struct Sessions {
        /// Which idle sessions are kept; a swept session loses its folder.
        pub retention: Retention = Retention {
            age: seconds(30 * DAY),
            count: 1000,
            size: Bytes::new(20 * GIB),
        },
        /// Between two looks for tasks and sessions that are not kept.
        pub sweep_every: Age = seconds(300),
        /// What may be copied into a new session.
        pub copy: CopyLimits,
        /// A script that runs once in a new session's workspace.
        pub init: Option<PathBuf>,
    }
}

section! {
    /// What may be copied at once: a workspace for a fork, or the defaults for a HOME.
    #[derive(Debug)]
    pub struct CopyLimits {
        /// Files and folders.
        pub entries: u64 = 200_000,
        /// Bytes of all files, without their holes.
        pub size: Bytes = Bytes::new(10 * GIB),
        /// Folders within folders.
        pub depth: usize = 128,
    }
}

section! {
    /// Where sessions work.
    #[derive(Debug)]
    pub struct Workspace {
        /// A folder for each session, or one folder for all, and what it begins with.
        pub mode: WorkspaceMode = WorkspaceMode::Session,
        /// The folder: root of the sessions' folders, or the shared folder itself.
        pub path: PathBuf = "./workspace".into(),
        /// Turns at a time in a shared folder.
        pub shared_turns: usize = 1,
        /// `copy`: the folder that each new session begins as a copy of.
        pub template: Option<PathBuf>,
        /// `repository`: what each session has a clone of.
        pub repository: Repository,
        /// `repository`: how the server pushes what sessions have done.
        pub push: WorkspacePush,
    }
}

/// Whether sessions share a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkspaceMode {
    /// Each session has a folder of its own.
    Session,
    /// All sessions work in the named folder and see each other's files.
    Shared,
    /// Each session has a folder of its own, which begins as a copy of a template.
    Copy,
    /// Each session has a clone of a repository of its own.
    Repository,
}

section! {
    /// Agent processes.
    #[derive(Debug)]
    pub struct Processes {
        /// Live agent processes at most.
        pub max: usize = 64,
        /// Processes that may be starting at a time; 0 for twice the cores, which `load` fills in.
        pub starting: usize = 0,
        /// How long an idle process is kept.
        pub idle: Age = seconds(600),
        /// Tasks that may wait for a process or for their session's turn.
        pub queue: usize = 1000,
    }
}

section! {
    /// Sizes and rates.
    #[derive(Debug)]
    pub struct Limits {
        /// Largest request body.
        pub body: Bytes = Bytes::new(16 * MIB),
        /// Bodies of more than 64 KiB that are in memory at a time, together; of one caller half of it.
        pub bodies: Bytes = Bytes::new(16 * MIB),
        /// Parts of one message.
        pub parts: usize = 1000,
        /// Items of any other list of a request, and members of any object in it outside of free-form data.
        pub items: usize = 1000,
        /// All metadata of one request together.
        pub metadata: Bytes = Bytes::new(256 * KIB),
        /// All data parts of one message together.
        pub data: Bytes = Bytes::new(4 * MIB),
        /// Largest text of one prompt.
        pub prompt: Bytes = Bytes::new(10 * MIB),
        /// Largest text file that stands in the prompt; a larger one lies in the workspace.
        pub file_in_prompt: Bytes = Bytes::new(16 * KIB),
        /// Prompts of turns that wait or run, together.
        pub prompts: Bytes = Bytes::new(16 * MIB),
        /// What is kept of a line of an agent; the longest texts in a longer one are cut.
        pub line: Bytes = Bytes::new(4 * MIB),
        /// Longest line that an agent may write.
        pub longest_line: Bytes = Bytes::new(128 * MIB),
        /// Values in one line of an agent.
        pub line_values: usize = 20_000,
        /// Long lines that are in memory at a time, those of all agents together.
        pub lines: Bytes = Bytes::new(8 * MIB),
        /// Largest mirror of a repository.
        pub repository: Bytes = Bytes::new(10 * GIB),
        /// Sessions whose folders are measured at a time; of one caller half of them.
        pub disk_checks: usize = 4,
        /// Turns that wait for the fetch of one repository at a time.
        pub fetches: usize = 8,
        /// Bundles of clones that are made at a time, and as many looks for unsaved work in clones.
        pub gits: usize = 4,
        /// Further tries of a turn that an overloaded model API refused before anything was done.
        pub retries: u32 = 3,
        /// What happens to messages while the account at the model API is at its limit.
        pub at_account_limit: AtAccountLimit = AtAccountLimit::Refuse,
        /// Largest answer of one turn.
        pub answer: Bytes = Bytes::new(GIB),
        /// Events of one turn that are stored beside its answer.
        pub turn_events: Bytes = Bytes::new(64 * MIB),
        /// Files that the tools of one turn produce.
        pub tool_files: Bytes = Bytes::new(16 * MIB),
        /// Largest patch of a turn.
        pub patch: Bytes = Bytes::new(4 * MIB),
        /// Changed files of one turn that are listed.
        pub changes: usize = 1000,
        /// Largest file that is kept with the turn that changed it; larger ones have an address.
        pub result_file: Bytes = Bytes::new(MIB),
        /// All such files of one turn.
        pub result_files: Bytes = Bytes::new(8 * MIB),
        /// All files of a workspace without a repository of which patches tell, together.
        pub snapshot: Bytes = Bytes::new(128 * MIB),
        /// Largest file of which a patch tells.
        pub snapshot_file: Bytes = Bytes::new(8 * MIB),
        /// Entries of a workspace that are looked at for changes; of more of them, git finds the changes.
        pub result_entries: u64 = 10_000,
        /// Answers that wait for an agent to read them, before it is not heard any further.
        pub outbox: Bytes = Bytes::new(256 * KIB),
        /// Last words of standard error that are kept.
        pub stderr: Bytes = Bytes::new(64 * KIB),
        /// Largest event on the wire.
        pub event: Bytes = Bytes::new(400_000),
        /// Largest response; of a larger task the beginning of its artifacts, an address of the whole, and
        /// the newest messages; of a larger page fewer tasks.
        pub response: Bytes = Bytes::new(4 * MIB),
        /// Answers that are made or not yet read, together; of one caller at most half of it.
        pub responses: Bytes = Bytes::new(16 * MIB),
        /// Requests that may wait for room among them; of one caller half as many.
        pub responses_waiting: usize = 1000,
        /// Largest answer that also stands in the task's history.
        pub inline_answer: Bytes = Bytes::new(64 * KIB),
        /// Open connections.
        pub connections: usize = 1024,
        /// Of these, places kept for health and known callers.
        pub connections_kept: usize = 64,
        /// Open connections of one address; trusted proxies are not counted.
        pub connections_per_address: usize = 768,
        /// Open connections on which one caller's token was seen first.
        pub connections_per_caller: usize = 512,
        /// Requests under way at a time.
        pub requests: usize = 1024,
        /// Requests a minute and caller; 0 for no limit. Cancel and reads are never refused by it.
        pub rate: u32 = 600,
        /// Tasks of one caller that may wait; 0 for no limit of its own.
        pub queue_per_caller: usize = 500,
        /// Turns of one caller that may run at a time; 0 for no limit.
        pub turns_per_caller: usize = 0,
        /// Wrong tokens a minute and address that are answered 401; further ones are answered 429.
        pub wrong_tokens: u32 = 30,
        /// Tries that wait at a time after a wrong token, where a token can be guessed.
        pub wrong_tokens_waiting: usize = 16,
        /// Tokens in the store, the revoked and expired ones included.
        pub tokens: usize = 1000,
        /// Callers and addresses remembered by the rate limits.
        pub rate_keys: usize = 10_000,
        /// HTTP/2 streams of one connection.
        pub http2_streams: u32 = 128,
        /// HTTP/2 requests at a time of a connection before a valid token was seen on it.
        pub http2_streams_unknown: usize = 16,
        /// Bytes of answers that one connection may leave unread before its further requests wait.
        pub unread: Bytes = Bytes::new(MIB),
        /// HTTP/2 streams of one connection that were reset and are not yet gone; more ends it.
        pub http2_resets: usize = 64,
        /// Connections that read the store side by side.
        pub store_readers: usize = 4,
    }
}

/// What happens to messages while an account at a model API is at its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AtAccountLimit {
    /// They are refused, with the time from which on they are accepted.
    Refuse,
    /// Their turns wait.
    Wait,
}

/// Ceilings of what turns may use; without one nothing is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// One task, over all of its turns.
    pub task: Budget,
    /// One session, over all of its tasks.
    pub session: Budget,
    /// One caller on one day (UTC).
    pub caller: Budget,
    /// All callers together on one day (UTC).
    pub day: Budget,
}

/// A ceiling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// US dollars, as the CLI states or estimates them.
    pub cost_usd: Option<Dollars>,
    /// Tokens: input, output, read from and written to caches.
    pub tokens: Option<u64>,
}

section! {
    /// Times.
    #[derive(Debug)]
    pub struct Timeouts {
        /// One turn of an agent; waiting for an answer is not counted.
        pub turn: Age = seconds(3600),
        /// The start of a process, up to its first moment in the sandbox.
        pub start: Age = seconds(120),
        /// The session script.
        pub init: Age = seconds(600),
        /// The set-up phase of an agent: its sources and its script.
        pub setup: Age = seconds(900),
        /// Fetching a repository into its mirror.
        pub fetch: Age = seconds(600),
        /// Making the clone of a new session from the mirror.
        pub checkout: Age = seconds(600),
        /// Pushing a session's branch, and each request to what opens pull requests.
        pub publish: Age = seconds(120),
        /// How long the first turn of a process waits for the agent's MCP servers.
        pub mcp: Age = seconds(30),
        /// A command that prints a key.
        pub key_command: Age = seconds(30),
        /// From a refusal of an overloaded model API to the next try; doubled each time.
        pub retry: Age = seconds(5),
        /// The longest time between two tries.
        pub retry_max: Age = seconds(60),
        /// From an interrupt to its confirmation, before the process is ended.
        pub interrupt: Age = seconds(5),
        /// From SIGTERM to SIGKILL.
        pub terminate: Age = seconds(5),
        /// From a signal to the server's end, running turns included.
        pub shutdown: Age = seconds(20),
        /// What git takes at the end of a turn that changed files.
        pub results: Age = seconds(30),
        /// From a drain to the server's end, whatever runs by then.
        pub drain: Age = seconds(3600),
        /// For a request's headers.
        pub header: Age = seconds(10),
        /// How long a connection without a request is kept.
        pub idle: Age = seconds(120),
        /// How long a client may take nothing of its answer.
        pub write: Age = seconds(120),
        /// For an agent's long line, once it has begun.
        pub line: Age = seconds(30),
        /// For a request's body.
        pub body: Age = seconds(60),
        /// How long a request waits for room for its answer.
        pub response: Age = seconds(30),
        /// The longest wait of a try after wrong tokens, where a token can be guessed.
        pub wrong_token: Age = seconds(5),
        /// Between comments on a silent stream.
        pub keep_alive: Age = seconds(15),
        /// Between status updates of a silent turn.
        pub heartbeat: Age = seconds(110),
        /// How long a model may say nothing while no tool runs.
        pub silence: Age = seconds(1200),
    }
}

section! {
    /// What people see.
    #[derive(Debug)]
    pub struct Log {
        /// `error`, `warn`, `info`, `debug`, `trace`, or a filter.
        pub level: String = "info".to_owned(),
        /// `pretty` or `json`.
        pub format: LogFormat = LogFormat::Pretty,
        /// The live console on standard output.
        pub console: bool = true,
        /// JSONL file of every line that an agent wrote.
        pub path: Option<PathBuf>,
        /// Size at which that file is renamed and a new one is begun.
        pub max_size: Bytes = Bytes::new(256 * MIB),
        /// Renamed files that are kept.
        pub keep: u32 = 3,
        /// Entries of the audit log that wait for a reader of standard error or of a pipe.
        pub audit_queue: usize = 4096,
        /// Colour: `auto`, `always`, `never`.
        pub color: Color = Color::Auto,
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Pretty,
    /// A JSON object a line.
    Json,
}

/// Who may read what the server tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Exposure {
    /// Callers with a token.
    Token,
    /// Whoever reaches the port.
    Public,
    /// Nobody; nothing is counted.
    Off,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` or `FORCE_COLOR` says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

section! {
    /// Other versions of the protocol.
    #[derive(Debug)]
    pub struct Compat {
        /// The dialect v0.3.
        pub v03: V03,
        /// Whether what is known of version 1.1 is served: generations of tasks.
        pub v11: bool = false,
        /// How long a request waits for a later generation.
        pub v11_wait: Age = seconds(25),
    }
}

section! {
    /// The dialect v0.3.
    #[derive(Debug)]
    pub struct V03 {
        /// What `configuration.blocking` means when it is left out.
        pub blocking_default: bool = true,
        /// Whether cards give the address of gRPC as a URL.
        pub grpc_urls: bool = false,
    }
}

section! {
    /// The `.env` file.
    #[derive(Debug)]
    pub struct EnvFile {
        /// The file.
        pub path: PathBuf = ".env".into(),
        /// Whether it overrides the environment.
        #[serde(rename = "override")]
        pub overrides: bool = true,
    }
}

/// One configured agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// Its driver.
    pub driver: DriverKind,
    /// Whether it is reached by its name; when unset, if the file declares it.
    pub serve: Option<bool>,
    /// The name on its card; the key in `agents` when unset.
    pub name: Option<String>,
    /// The text on its card.
    pub description: Option<String>,
    /// The version on its card.
    pub version: Option<String>,
    /// What it can do, as its card says it.
    pub skills: Vec<Skill>,
    /// Folders whose `*/SKILL.md` files are skills of its card too.
    pub skills_from: Vec<PathBuf>,
    /// `claude`: who says which skills its card has beside those of `skills`.
    pub skills_source: SkillsSource,
    /// `claude`: its commands and skills that callers may run by their names.
    pub commands: Vec<String>,
    /// Protocol extensions that its card declares.
    pub extensions: Vec<Extension>,
    /// The address of its documentation, for its card.
    pub documentation_url: Option<String>,
    /// The address of its picture, for its card.
    pub icon_url: Option<String>,
    /// Whether its prompt ends with who calls and what came beside the message.
    pub message_context: bool,
    /// Media types that it reads, as its card says it.
    pub input_modes: Vec<String>,
    /// Media types that it writes, as its card says it.
    pub output_modes: Vec<String>,
    /// Whether an answer without a task is possible.
    pub replies: Replies,
    /// Where its sessions work, where that differs from `workspace`.
    pub workspace: AgentWorkspace,
    /// Its session script, where that differs from `sessions.init`.
    pub init: Option<PathBuf>,
    /// The program; the driver's own when unset.
    pub program: Option<String>,
    /// Arguments, before what the driver adds.
    pub args: Vec<String>,
    /// `acp`: a known agent, from which program, arguments, environment and sign-in follow.
    pub preset: Option<String>,
    /// `acp`: how it signs in when it asks to.
    pub auth_method: Option<String>,
    /// `acp`: the mode that its sessions are put into.
    pub mode: Option<String>,
    /// `command`: where the message goes.
    pub input: Input,
    /// `command`: what stands between the arguments and the message.
    pub terminator: Option<String>,
    /// `command`: what the program prints.
    pub format: Format,
    /// Its environment.
    pub env: Env,
    /// Variables with credentials that it has inside of its sandbox, because what uses them takes no other way.
    pub secrets_inside: Vec<String>,
    /// A command that prints the key of its model, run outside of the sandbox: program and arguments.
    pub key_command: Vec<String>,
    /// After so long the command is run again.
    pub key_max_age: Age,
    /// What it reaches, beside what every agent does.
    pub egress: AgentEgress,
    /// What is answered when it asks to use a tool.
    pub asks: AskPolicy,
    /// The same for single tools and callers; the first that fits decides.
    pub ask_rules: Vec<AskRule>,
    /// Processes that are started ahead for new sessions.
    pub warm: usize,
    /// `claude`: the CLI's permission mode.
    pub permission_mode: String,
    /// `claude`: whether what a shared project's own settings allow counts.
    pub trust_project: bool,
    /// `claude`, `acp`: the model.
    pub model: Option<String>,
    /// `claude`: tools that it is not given.
    pub disallowed_tools: Option<Vec<String>>,
    /// `claude`: how often the CLI repeats a failed call of the model API.
    pub max_retries: u32,
    /// `claude`: whether it may work in the background.
    pub background: Background,
    /// `claude`: how long commands that the model left in the background are waited for.
    pub background_grace: Age,
    /// `claude`: what is done with them then.
    pub background_end: BackgroundEnd,
    /// `claude`: its MCP servers.
    pub mcp: Mcp,
    /// Its ceilings, where they differ from `budgets`.
    pub budgets: Budgets,
    /// What it is set up with.
    pub setup: Setup,
    /// Whether a turn that changed files ends with their list and a patch.
    pub patch: PatchMode,
    /// Patterns of files that are artifacts of the turn that changed them.
    pub results: Vec<String>,
    /// What a caller may choose per message.
    pub caller_may: CallerMay,
    /// `claude`: a folder that seeds each session's own `.claude`.
    pub defaults_dir: Option<PathBuf>,
}

/// The MCP servers of an agent; what they are stands in the agent's own settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mcp {
    /// Servers without which no turn begins.
    pub required: Vec<String>,
}

/// A skill on the card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Skill {
    /// Its id, unique on the card.
    pub id: String,
    /// Its name.
    pub name: String,
    /// One sentence on it.
    pub description: String,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Prompts to try.
    #[serde(default)]
    pub examples: Vec<String>,
    /// Whether it stands on the extended card alone, which known callers see.
    #[serde(default)]
    pub extended: bool,
}

/// A protocol extension on the card (specification 4.6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Its name.
    pub uri: String,
    /// One sentence on how it is used.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether a client that does not ask for it is refused.
    #[serde(default)]
    pub required: bool,
}

/// Whether an agent may work in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Background {
    /// It may, and its task waits for what that brings.
    Wait,
    /// The tool call that starts something waits for its end.
    Off,
}

/// What is done with commands that still run in the background when a turn is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackgroundEnd {
    /// They go on, as long as the session's process lives.
    Keep,
    /// They are ended.
    Kill,
}

/// Who says which skills an agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SkillsSource {
    /// The CLI itself, asked after the start.
    Cli,
    /// The files that lie in its folders of skills.
    Files,
}

/// Whether a turn that changed files ends with a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PatchMode {
    /// With the artifacts `changes` and `patch`.
    Auto,
    /// Without.
    Off,
}

/// What a message is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Replies {
    /// Always a task.
    Task,
    /// A bare message where the agent's first word is one; the task is withheld until then.
    Message,
}

/// Where the sessions of one agent work, as far as it differs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentWorkspace {
    /// See `workspace.mode`.
    pub mode: Option<WorkspaceMode>,
    /// See `workspace.path`.
    pub path: Option<PathBuf>,
    /// See `workspace.shared_turns`.
    pub shared_turns: Option<usize>,
    /// See `workspace.template`.
    pub template: Option<PathBuf>,
    /// See `workspace.repository`.
    pub repository: Repository,
    /// See `workspace.push`; all of it.
    pub push: Option<WorkspacePush>,
}

/// Which driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// Claude Code, native and long-lived.
    Claude,
    /// Any agent that speaks the Agent Client Protocol.
    Acp,
    /// Any program.
    Command,
    /// The built-in demonstration, started through the command driver.
    Demo,
}

/// Where a command's message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// The last argument.
    Argument,
    /// Standard input.
    Stdin,
}

/// What a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The answer as it is.
    Text,
    /// Event lines (docs/events.md).
    Events,
}

/// What is answered when an agent asks to use a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AskPolicy {
    /// The caller is asked, and the task waits.
    Ask,
    /// The tool may run.
    Allow,
    /// It may not, and the agent is told how the operator can change that.
    Deny,
}

/// What is answered to asks of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskRule {
    /// The tool, or `Tool(pattern)`; `*` stands for anything.
    pub tool: String,
    /// Only for this caller.
    #[serde(default)]
    pub caller: Option<String>,
    /// What is answered.
    pub policy: AskPolicy,
}

section! {
    /// Questions that people answer.
    #[derive(Debug)]
    pub struct Asks {
        /// How long the process that asked waits for the answer; then it ends, and the ask stays.
        pub park: Age = seconds(600),
        /// How long asks may stop the clock of one turn (`timeouts.turn`), all of them together.
        pub pause: Age = seconds(4 * 3600),
        /// How long an ask stays open.
        pub timeout: Age = seconds(DAY),
        /// What happens then.
        pub then: AskTimeout = AskTimeout::Deny,
        /// How long a claim of an ask holds, at most and where nothing is said.
        pub claim: Age = seconds(300),
        /// How long an ask may be deferred, at most and where nothing is said.
        pub defer: Age = seconds(7 * DAY),
        /// Standing permissions of one caller with one agent.
        pub grants: usize = 64,
        /// How often one may be used, at most and where nothing is said.
        pub grant_uses: u64 = 10_000,
        /// How long one holds, at most and where nothing is said.
        pub grant_ttl: Age = seconds(30 * DAY),
        /// How often what an ask proposes may be used.
        pub pattern_uses: u64 = 20,
        /// How long what an ask proposes holds.
        pub pattern_ttl: Age = seconds(3600),
        /// How many asks are kept after their end.
        pub kept: u64 = 10_000,
        /// What they may take in the store.
        pub kept_bytes: Bytes = Bytes::new(64 * MIB),
        /// Which words answer a permission.
        pub words: AskWords = AskWords::Exact,
        /// Whether a message without `taskId` answers the only task of its context that waits for its caller.
        pub by_context: bool = true,
        /// Open asks of one turn, before its agent is not heard any further.
        pub per_turn: usize = 32,
        /// Open asks of one session, whichever of its tasks ask.
        pub per_session: usize = 256,
        /// What the open asks of one session take in memory.
        pub bytes: Bytes = Bytes::new(6 * MIB),
        /// What all open asks take in memory.
        pub total: Bytes = Bytes::new(24 * MIB),
        /// What an agent may say while a question is shown, before it is not heard any further.
        pub held: Bytes = Bytes::new(256 * KIB),
    }
}

/// What happens to an ask that nobody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AskTimeout {
    /// It is denied, and the agent goes on.
    Deny,
    /// Its task is canceled.
    Cancel,
}

/// Which plain words answer a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AskWords {
    /// `allow`, `yes`, `deny`, `no` and `deny: reason`.
    Exact,
    /// Also what people write instead.
    Common,
}

/// An agent's environment; it starts empty.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Env {
    /// Names passed on from the server's environment and `.env`; a trailing `*` matches a prefix.
    pub pass: Vec<String>,
    /// Groups of names that belong together: `anthropic`, `openai`, `proxy`, ...
    pub presets: Vec<String>,
    /// Values set as they stand here.
    pub set: BTreeMap<String, String>,
}

impl LogFormat {
    /// The word that the key takes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        }
    }
}

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

mod plugins;
mod tree;

use super::{Error, find};
use crate::config::{self, Config, DriverKind, SetupField, describe_driver, in_marketplace};
use crate::plain_file;
use crate::skills::{front_name, skill_folders};
use pilothouse_agents::acp::preset::preset;
use pilothouse_agents::acp::{AcpSetup, Variables};
use pilothouse_agents::claude::{ClaudeSetup, mcp_file};
use pilothouse_agents::setup::{ServerTransport, SetupItem, SetupKind, SetupServer, variables};
use pilothouse_egress::Policy;
use pilothouse_sandbox::isolation::{BackendKind, Changeable, Grants};
use pilothouse_sandbox::workspace::{HomeDefaults, Workspaces};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tree::{RevisionTree, make_folder};

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
    /// Its folder.
    #[serde(skip)]
    folder: PathBuf,
}

/// A revision in the making.
struct Compiler<'a> {
    key: &'a str,
    agent: &'a config::Agent,
    tree: RevisionTree,
    items: Vec<SetupItem>,
}

/// The folder with all revisions of an agent.
pub(super) fn folder_of(config: &Config, key: &str) -> PathBuf {
    config.state_dir.join("setups").join(key)
}

/// The folders of revisions that are not among these, each an agent with a digest; with what killed servers were
/// making.
pub fn find_unused_setups(state: &Path, in_use: &HashSet<(String, String)>) -> Vec<PathBuf> {
    let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let is_made_now = |name: &str| {
        let pid = name.strip_prefix(UNFINISHED);
        pid.is_some_and(|pid| Path::new("/proc").join(pid).exists())
    };
    let mut unused = Vec::new();
    for agent in list(&state.join("setups")) {
        for revision in list(&agent.path()) {
            let name = revision.file_name().to_string_lossy().into_owned();
            let used = (agent.file_name().to_string_lossy().into_owned(), name);
            if !in_use.contains(&used) && !is_made_now(&used.1) {
                unused.push(revision.path());
            }
        }
    }
    unused
}

/// Compiles what an agent declares, if it declares anything. `env` is what it is passed; `notes` get what the operator
/// should know.
pub(super) fn compile(
    config: &Config,
    key: &str,
    agent: &config::Agent,
    env: &BTreeMap<String, String>,
    policy: &Policy,
    notes: &mut Vec<String>,
) -> Result<Option<SetupRevision>, Error> {
    let setup = &agent.setup;
    if setup.is_empty() {
        return Ok(None);
    }
    let failed = |what: String| Error::Setup { agent: key.to_owned(), what };
    let unkept: Vec<SetupField> = setup.unkept(agent).collect();
    notes.extend(unkept.iter().map(|field| {
        format!(
            "`agents.{key}.setup.{}` is left out, because {} does not keep it (`setup.lenient`)",
            field.key(),
            describe_driver(agent)
        )
    }));
    let is_kept = |field: SetupField| setup.has(field) && !unkept.contains(&field);
    let parent = folder_of(config, key);
    let unfinished = parent.join(format!("{UNFINISHED}{}", std::process::id()));
    // The state folder is the server's alone; what is made here is for agents, too.
    let begun = DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&config.state_dir)
        .and_then(|()| make_folder(&parent))
        .and_then(|()| RevisionTree::begin(&unfinished, &config.sessions.copy));
    let tree = begun.map_err(|error| failed(format!("{}: {error}", unfinished.display())))?;
    let mut compiler = Compiler { key, agent, tree, items: Vec::new() };
    let made = (|| {
        if agent.driver == DriverKind::Claude {
            compiler.add_defaults()?;
        }
        if is_kept(SetupField::Instructions) {
            compiler.add_instructions()?;
        }
        if is_kept(SetupField::Skills) {
            compiler.add_skills()?;
        }
        if is_kept(SetupField::Subagents) {
            compiler.add_files(&setup.subagents, "agents", SetupKind::Subagent)?;
        }
        if is_kept(SetupField::Commands) {
            compiler.add_files(&setup.commands, "commands", SetupKind::Command)?;
        }
        let plugins = match is_kept(SetupField::Plugins) {
            true => compiler.add_plugins()?,
            false => Vec::new(),
        };
        let servers = match is_kept(SetupField::Mcp) {
            true => compiler.add_servers(env)?,
            false => Vec::new(),
        };
        compiler.finish(servers, plugins)
    })();
    let revision = made.and_then(|revision| {
        keep(&unfinished, &parent, revision)
            .map_err(|error| format!("{}: {error}", parent.display()))
    });
    if revision.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    let revision = revision.map_err(failed)?;
    if config.isolation.backend != BackendKind::None {
        notes.extend(revision.unreachable(key, policy));
    }
    Ok(Some(revision))
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

impl Compiler<'_> {
    fn declare(&mut self, kind: SetupKind, name: &str, alias: Option<String>) {
        let alias = alias.filter(|alias| alias != name);
        self.items.push(SetupItem { kind, name: name.to_owned(), alias });
    }

    /// What `defaults_dir` holds lies in the same folder as what is declared.
    fn add_defaults(&mut self) -> Result<(), String> {
        let Some(folder) = &self.agent.defaults_dir else { return Ok(()) };
        let copied = self.tree.copy(folder, CLAUDE);
        copied.map_err(|error| format!("`agents.{}.defaults_dir`: {error}", self.key))
    }

    fn add_instructions(&mut self) -> Result<(), String> {
        let setup = &self.agent.setup;
        let text = match (&setup.instructions, &setup.instructions_file) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(file)) => read_text(file)
                .map_err(|error| format!("`instructions_file`: {}: {error}", file.display()))?,
            (None, None) => return Ok(()),
        };
        let known = self.agent.preset.as_deref().and_then(preset);
        let place = match known.and_then(|known| known.instructions) {
            Some(file) => format!("{HOME}/{file}"),
            None => format!("{CLAUDE}/CLAUDE.md"),
        };
        let name = place.rsplit('/').next().unwrap_or_default().to_owned();
        self.refuse_second(&place, "instructions", &name)?;
        self.tree.write(&place, &text).map_err(|error| error.to_string())?;
        self.declare(SetupKind::Instructions, &name, None);
        Ok(())
    }

    fn add_skills(&mut self) -> Result<(), String> {
        for folder in &self.agent.setup.skills {
            let skills = skill_folders(folder)
                .map_err(|error| format!("`skills`: {}: {error}", folder.display()))?;
            if skills.is_empty() {
                return Err(format!("`skills`: {} holds no SKILL.md", folder.display()));
            }
            for skill in skills {
                let name = name_of(&skill)?;
                let alias = front_name(&skill.join("SKILL.md"));
                self.add(&skill, &format!("{CLAUDE}/skills/{name}"), "skills", &name)?;
                self.declare(SetupKind::Skill, &name, alias);
            }
        }
        Ok(())
    }

    /// Markdown files, and folders of them; each of them is one declared thing.
    fn add_files(&mut self, paths: &[PathBuf], place: &str, kind: SetupKind) -> Result<(), String> {
        let field = if kind == SetupKind::Command { "commands" } else { "subagents" };
        for path in paths {
            let mut files = match path.is_dir() {
                false => vec![path.clone()],
                true => {
                    let entries = fs::read_dir(path)
                        .map_err(|error| format!("`{field}`: {}: {error}", path.display()))?;
                    entries
                        .flatten()
                        .map(|entry| entry.path())
                        .filter(|path| !is_hidden(path))
                        .collect()
                }
            };
            files.sort();
            let is_text = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "md");
            if !files.iter().any(is_text) {
                return Err(format!(
                    "`{field}`: {} is no Markdown file (`.md`) and no folder of them",
                    path.display()
                ));
            }
            for file in files {
                let name = name_of(&file)?;
                self.add(&file, &format!("{CLAUDE}/{place}/{name}"), field, &name)?;
                if let Some(stem) = name.strip_suffix(".md") {
                    let alias = front_name(&file).filter(|_| kind == SetupKind::Subagent);
                    self.declare(kind, stem, alias);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, from: &Path, place: &str, field: &str, name: &str) -> Result<(), String> {
        self.refuse_second(place, field, name)?;
        self.tree
            .copy(from, place)
            .map_err(|error| format!("`{field}`: {}: {error}", from.display()))
    }

    /// Two sources must not give the same file: which of them counts would be chance.
    fn refuse_second(&self, place: &str, field: &str, name: &str) -> Result<(), String> {
        if !self.tree.has(place) {
            return Ok(());
        }
        Err(format!(
            "`{field}`: there is a `{name}` already, from another source or from `defaults_dir`; rename or remove one"
        ))
    }

    fn add_plugins(&mut self) -> Result<Vec<String>, String> {
        let setup = &self.agent.setup;
        let mut folders = Vec::new();
        for plugin in &setup.plugins {
            let found = match in_marketplace(plugin) {
                Some((name, marketplace)) => match setup.marketplaces.get(marketplace) {
                    Some(folder) => plugins::in_marketplace(folder, name),
                    None => Err(format!("no marketplace `{marketplace}` is declared")),
                },
                None => plugins::in_folder(Path::new(plugin)),
            };
            let found = found.map_err(|why| format!("`plugins`: `{plugin}`: {why}"))?;
            folders.push(found.deliver(&mut self.tree).map_err(|why| format!("`plugins`: {why}"))?);
            self.declare(SetupKind::Plugin, &found.name, None);
        }
        Ok(folders)
    }

    fn add_servers(&mut self, env: &BTreeMap<String, String>) -> Result<Vec<SetupServer>, String> {
        let mut servers = Vec::new();
        for (name, declared) in &self.agent.setup.mcp {
            let names = declared.texts().flat_map(|text| variables(text));
            for (variable, default) in names {
                let is_there = env.contains_key(variable) || ALWAYS_SET.contains(&variable);
                if !is_there && default.is_none() {
                    return Err(format!(
                        "`mcp.{name}` refers to the variable {variable}, which the agent does not have; set it in the \
                         server's environment and add it to `agents.{}.env.pass`",
                        self.key
                    ));
                }
            }
            let transport = match (&declared.command, &declared.url, declared.kind) {
                (Some(command), _, _) => ServerTransport::Stdio {
                    command: command.clone(),
                    args: declared.args.clone(),
                    env: declared.env.clone(),
                },
                (None, url, kind) => {
                    let (url, headers) =
                        (url.clone().unwrap_or_default(), declared.headers.clone());
                    match kind {
                        config::ServerType::Http => ServerTransport::Http { url, headers },
                        config::ServerType::Sse => ServerTransport::Sse { url, headers },
                    }
                }
            };
            servers.push(SetupServer { name: name.clone(), transport });
            self.declare(SetupKind::McpServer, name, None);
        }
        if self.agent.driver == DriverKind::Claude && !servers.is_empty() {
            let text = mcp_file(&servers).to_string();
            self.tree.write(MCP_FILE, text.as_bytes()).map_err(|error| error.to_string())?;
        }
        Ok(servers)
    }

    /// The revision, with its digest.
    fn finish(
        &mut self,
        servers: Vec<SetupServer>,
        plugins: Vec<String>,
    ) -> Result<SetupRevision, String> {
        let setup = &self.agent.setup;
        let required = setup.mcp.iter().filter(|(_, server)| server.required);
        let mut revision = SetupRevision {
            digest: String::new(),
            items: std::mem::take(&mut self.items),
            required: required.map(|(name, _)| name.clone()).collect(),
            servers,
            settings: setup.settings.clone(),
            plugins,
            folder: PathBuf::new(),
        };
        let as_text = |revision: &SetupRevision| {
            serde_json::to_string(revision).map_err(|error| error.to_string())
        };
        let words = json!([as_text(&revision)?, setup.permissions]).to_string();
        revision.digest = self.tree.digest(&words);
        let text = as_text(&revision)?;
        self.tree.write(REVISION, text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(revision)
    }
}

impl SetupRevision {
    /// Lets new HOMEs begin with what it has for them.
    pub(super) fn seed(&self, workspaces: &mut Workspaces) {
        let folder = self.folder.join(HOME);
        if folder.is_dir() {
            workspaces.set_defaults(HomeDefaults { folder, below: "", key: "agents.*.setup" });
        }
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

    /// Lets the agent read the programs of its servers.
    pub(super) fn grant(&self, grants: &mut Grants, path: &str, changeable: &Changeable) {
        for server in &self.servers {
            if let ServerTransport::Stdio { command, args, .. } = &server.transport {
                if let Some(program) = find(command, path) {
                    grants.program(&program, path, changeable);
                }
                grants.arguments(args);
            }
        }
    }

    /// The servers that the agent's sandbox does not let it reach, with the key that does.
    fn unreachable(&self, key: &str, policy: &Policy) -> Vec<String> {
        let notes = self.servers.iter().filter_map(|server| {
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
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The last part of a path, as the name of a declared thing.
fn name_of(path: &Path) -> Result<String, String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| name.len() <= 128 && !name.chars().any(char::is_control));
    name.map(ToOwned::to_owned)
        .ok_or_else(|| format!("{} has a name that is not plain text", path.display()))
}

/// A text file of the operator's.
fn read_text(path: &Path) -> io::Result<Vec<u8>> {
    plain_file::read(path, LONGEST_INSTRUCTIONS)
}

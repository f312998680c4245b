//! The declared things of a set-up, put into the folder of a revision in the form of the agent's CLI.

use super::plugins;
use super::tree::RevisionTree;
use super::{ALWAYS_SET, CLAUDE, HOME, LONGEST_INSTRUCTIONS, MCP_FILE, REVISION, SetupRevision};
use crate::config::{self, CopyLimits, DriverKind, SetupField, in_marketplace, in_source};
use crate::plain_file;
use crate::skills::{front_name, skill_folders};
use pilothouse_agents::acp::preset::preset;
use pilothouse_agents::claude::mcp_file;
use pilothouse_agents::setup::{ServerTransport, SetupItem, SetupKind, SetupServer, variables};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A revision in the making.
pub(super) struct Compiler<'a> {
    key: &'a str,
    agent: &'a config::Agent,
    tree: RevisionTree,
    items: Vec<SetupItem>,
    servers: Vec<SetupServer>,
    plugins: Vec<String>,
    /// The folder with what was fetched; what leads into it is left out before.
    sources: Option<&'a Path>,
    /// What the operator should know of it.
    pub(super) notes: Vec<String>,
}

/// The servers that an agent declares, in the form that drivers know.
pub(super) fn servers_of(agent: &config::Agent) -> Vec<SetupServer> {
    let servers = agent.setup.mcp.iter().map(|(name, declared)| {
        let url = declared.url.clone().unwrap_or_default();
        let headers = declared.headers.clone();
        let transport = match (&declared.command, declared.kind) {
            (Some(command), _) => ServerTransport::Stdio {
                command: command.clone(),
                args: declared.args.clone(),
                env: declared.env.clone(),
            },
            (None, config::ServerType::Http) => ServerTransport::Http { url, headers },
            (None, config::ServerType::Sse) => ServerTransport::Sse { url, headers },
        };
        SetupServer { name: name.clone(), transport }
    });
    servers.collect()
}

/// Whether the agent has each variable that its servers refer to.
pub(super) fn check_variables(
    key: &str,
    agent: &config::Agent,
    env: &BTreeMap<String, String>,
) -> Result<(), String> {
    for (name, declared) in &agent.setup.mcp {
        for (variable, default) in declared.texts().flat_map(|text| variables(text)) {
            let is_there = env.contains_key(variable) || ALWAYS_SET.contains(&variable);
            if !is_there && default.is_none() {
                return Err(format!(
                    "`mcp.{name}` refers to the variable {variable}, which the agent does not have; set it in the \
                     server's environment and add it to `agents.{key}.env.pass`"
                ));
            }
        }
    }
    Ok(())
}

impl<'a> Compiler<'a> {
    /// Begins with an empty folder.
    pub(super) fn begin(
        folder: &Path,
        limits: &CopyLimits,
        (key, agent): (&'a str, &'a config::Agent),
        sources: Option<&'a Path>,
    ) -> io::Result<Self> {
        let tree = RevisionTree::begin(folder, limits)?;
        let (items, servers, plugins, notes) = Default::default();
        Ok(Self { key, agent, tree, items, servers, plugins, sources, notes })
    }

    /// The folder in the making.
    pub(super) fn tree(&mut self) -> &mut RevisionTree {
        &mut self.tree
    }

    /// Puts everything there that the driver keeps.
    pub(super) fn add_all(&mut self) -> Result<(), String> {
        let setup = &self.agent.setup;
        let unkept: Vec<SetupField> = setup.unkept(self.agent).collect();
        let is_kept = |field: SetupField| setup.has(field) && !unkept.contains(&field);
        if self.agent.driver == DriverKind::Claude {
            self.add_defaults()?;
        }
        if is_kept(SetupField::Instructions) {
            self.add_instructions()?;
        }
        if is_kept(SetupField::Skills) {
            self.add_skills()?;
        }
        if is_kept(SetupField::Subagents) {
            self.add_files(&setup.subagents, "agents", SetupKind::Subagent)?;
        }
        if is_kept(SetupField::Commands) {
            self.add_files(&setup.commands, "commands", SetupKind::Command)?;
        }
        if is_kept(SetupField::Plugins) {
            self.add_plugins()?;
        }
        if is_kept(SetupField::Mcp) {
            self.add_servers()?;
        }
        Ok(())
    }

    /// The path on this machine of what a key names; none for a part of a source that is not there yet.
    pub(super) fn find(&self, path: &Path) -> Result<Option<PathBuf>, String> {
        let Some((name, inside)) = in_source(path) else { return Ok(Some(path.to_owned())) };
        let Some(sources) = self.sources else { return Ok(None) };
        let real = |path: &Path| fs::canonicalize(path);
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let root = real(sources).map_err(failed)?.join(name);
        let found = real(&root.join(inside)).map_err(failed)?;
        match found.starts_with(&root) {
            true => Ok(Some(found)),
            false => Err(format!("{} leads out of its source", path.display())),
        }
    }

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
            (None, Some(file)) => {
                let failed =
                    |why: String| format!("`instructions_file`: {}: {why}", file.display());
                let Some(file) = self.find(file).map_err(failed)? else { return Ok(()) };
                read_text(&file).map_err(|error| failed(error.to_string()))?
            }
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
        let known = self.agent.preset.as_deref().and_then(preset);
        let place = match known.and_then(|known| known.skills) {
            Some(folder) => format!("{HOME}/{folder}"),
            None => format!("{CLAUDE}/skills"),
        };
        for folder in &self.agent.setup.skills {
            let found = self.find(folder).map_err(|why| format!("`skills`: {why}"))?;
            let Some(found) = found else { continue };
            let skills = skill_folders(&found)
                .map_err(|error| format!("`skills`: {}: {error}", folder.display()))?;
            if skills.is_empty() {
                return Err(format!("`skills`: {} holds no SKILL.md", folder.display()));
            }
            for skill in skills {
                let name = name_of(&skill)?;
                let alias = front_name(&skill.join("SKILL.md"));
                self.add(&skill, &format!("{place}/{name}"), "skills", &name)?;
                self.declare(SetupKind::Skill, &name, alias);
            }
        }
        Ok(())
    }

    /// Markdown files, and folders of them; each of them is one declared thing.
    fn add_files(&mut self, paths: &[PathBuf], place: &str, kind: SetupKind) -> Result<(), String> {
        let field = if kind == SetupKind::Command { "commands" } else { "subagents" };
        for named in paths {
            let found = self.find(named).map_err(|why| format!("`{field}`: {why}"))?;
            let Some(path) = &found else { continue };
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

    fn add_plugins(&mut self) -> Result<(), String> {
        let setup = &self.agent.setup;
        for plugin in &setup.plugins {
            let failed = |why: String| format!("`plugins`: `{plugin}`: {why}");
            let (folder, name) = match in_marketplace(plugin) {
                Some((name, marketplace)) => match setup.marketplaces.get(marketplace) {
                    Some(folder) => (folder.clone(), Some(name)),
                    None => {
                        return Err(failed(format!("no marketplace `{marketplace}` is declared")));
                    }
                },
                None => (PathBuf::from(plugin), None),
            };
            let Some(folder) = self.find(&folder).map_err(failed)? else { continue };
            let found = match name {
                Some(name) => plugins::in_marketplace(&folder, name),
                None => plugins::in_folder(&folder),
            };
            let found = found.map_err(failed)?;
            if !found.left_out.is_empty() {
                self.notes.push(format!(
                    "the plugin `{}` of `{}` has fields that Agent Plugins do not know, which are left out: {}",
                    found.name,
                    self.key,
                    found.left_out.join(", ")
                ));
            }
            let delivered = found.deliver(&mut self.tree);
            self.plugins.push(delivered.map_err(|why| format!("`plugins`: {why}"))?);
            self.declare(SetupKind::Plugin, &found.name, None);
        }
        Ok(())
    }

    fn add_servers(&mut self) -> Result<(), String> {
        self.servers = servers_of(self.agent);
        for name in self.agent.setup.mcp.keys() {
            self.declare(SetupKind::McpServer, name, None);
        }
        if self.agent.driver == DriverKind::Claude && !self.servers.is_empty() {
            let text = mcp_file(&self.servers).to_string();
            self.tree.write(MCP_FILE, text.as_bytes()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The digest of what it holds, and of these words.
    pub(super) fn digest(&self, words: &str) -> Result<String, String> {
        let text = as_text(&self.revision(String::new()))?;
        Ok(self.tree.digest(&json!([text, self.agent.setup.permissions, words]).to_string()))
    }

    /// The revision of this digest, written down.
    pub(super) fn finish(&mut self, digest: String) -> Result<SetupRevision, String> {
        let revision = self.revision(digest);
        let text = as_text(&revision)?;
        self.tree.write(REVISION, text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(revision)
    }

    fn revision(&self, digest: String) -> SetupRevision {
        let setup = &self.agent.setup;
        let required = setup.mcp.iter().filter(|(_, server)| server.required);
        SetupRevision {
            digest,
            items: self.items.clone(),
            required: required.map(|(name, _)| name.clone()).collect(),
            servers: self.servers.clone(),
            settings: setup.settings.clone(),
            plugins: self.plugins.clone(),
            built_in: None,
            folder: PathBuf::new(),
        }
    }
}

fn as_text(revision: &SetupRevision) -> Result<String, String> {
    serde_json::to_string(revision).map_err(|error| error.to_string())
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

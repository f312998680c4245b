//! What an agent is set up with (`agents.*.setup`): each declared thing, and which drivers keep it.

mod server;
mod source;

pub use server::{DeclaredServer, ServerType};
pub use source::{DeclaredSource, SourceKind, in_source};

use super::defaults::section;
use super::{Agent, DriverKind};
use pilothouse_agents::acp::preset::preset;
use pilothouse_agents::claude::REFUSED_SETTINGS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes of settings and permissions at most: they are one argument of the CLI, and the kernel takes none above
/// 128 KiB.
const MOST_SETTINGS: usize = 64 * 1024;

section! {
    /// What an agent is set up with.
    #[derive(Debug)]
    pub struct Setup {
        /// Words for the model in every session.
        pub instructions: Option<String>,
        /// The same, from a file.
        pub instructions_file: Option<PathBuf>,
        /// Folders with a `SKILL.md`, and folders of such folders.
        pub skills: Vec<PathBuf>,
        /// Markdown files of subagents, and folders of them.
        pub subagents: Vec<PathBuf>,
        /// Markdown files of commands, and folders of them.
        pub commands: Vec<PathBuf>,
        /// MCP servers by name.
        pub mcp: BTreeMap<String, DeclaredServer>,
        /// Marketplaces by name, from which plugins are taken.
        pub marketplaces: BTreeMap<String, PathBuf>,
        /// Plugins: a folder, or a name of a marketplace (`NAME@MARKETPLACE`).
        pub plugins: Vec<String>,
        /// Settings of the CLI, passed on as they stand.
        pub settings: Map<String, Value>,
        /// Which tool calls the CLI allows, asks about and denies.
        pub permissions: Permissions,
        /// What is fetched once for all sessions, by names that paths lead into (`source:NAME/PATH`).
        pub sources: BTreeMap<String, DeclaredSource>,
        /// A script that runs once for all sessions; what it leaves in HOME is in the HOME of each.
        pub script: Option<PathBuf>,
        /// Files and folders that the script reads; a change of them has it run again.
        pub files: Vec<PathBuf>,
        /// Names of variables of the server's environment that only the script is given.
        pub secrets: Vec<String>,
        /// Whether the `postCreateCommand` of a workspace's `devcontainer.json` runs once in a new session.
        pub post_create: bool = false,
        /// Whether what the agent's driver cannot keep is left out with a warning; the start refuses it otherwise.
        pub lenient: bool = false,
    }
}

/// Rules of the CLI for tool calls, in its own form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Permissions {
    /// What runs without a question.
    pub allow: Vec<String>,
    /// What is asked about.
    pub ask: Vec<String>,
    /// What does not run.
    pub deny: Vec<String>,
}

/// A field of the set-up, as far as drivers keep it or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupField {
    /// `instructions`, `instructions_file`.
    Instructions,
    /// `skills`.
    Skills,
    /// `subagents`.
    Subagents,
    /// `commands`.
    Commands,
    /// `mcp`.
    Mcp,
    /// `required` of a server of `mcp`.
    RequiredMcp,
    /// `marketplaces`, `plugins`.
    Plugins,
    /// `settings`.
    Settings,
    /// `permissions`.
    Permissions,
    /// `script`, `files`, `secrets`.
    Script,
}

impl SetupField {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 10] = [
        Self::Instructions,
        Self::Skills,
        Self::Subagents,
        Self::Commands,
        Self::Mcp,
        Self::RequiredMcp,
        Self::Plugins,
        Self::Settings,
        Self::Permissions,
        Self::Script,
    ];

    /// Its name below `setup`.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Skills => "skills",
            Self::Subagents => "subagents",
            Self::Commands => "commands",
            Self::Mcp => "mcp",
            Self::RequiredMcp => "mcp.*.required",
            Self::Plugins => "plugins",
            Self::Settings => "settings",
            Self::Permissions => "permissions",
            Self::Script => "script",
        }
    }

    /// Whether a driver, with this preset, keeps it.
    pub fn is_kept_by(self, driver: DriverKind, with: Option<&str>) -> bool {
        match (driver, self) {
            (DriverKind::Claude, _) | (DriverKind::Acp, Self::Mcp) => true,
            (DriverKind::Acp | DriverKind::Command, Self::Script) => true,
            (DriverKind::Acp, Self::Instructions) => {
                with.and_then(preset).is_some_and(|known| known.instructions.is_some())
            }
            (DriverKind::Acp, Self::Skills) => {
                with.and_then(preset).is_some_and(|known| known.skills.is_some())
            }
            (DriverKind::Acp | DriverKind::Command | DriverKind::Demo, _) => false,
        }
    }

    /// Whether the agent would do more than was asked if it were left out.
    const fn restricts(self) -> bool {
        matches!(self, Self::Permissions | Self::RequiredMcp)
    }
}

impl Setup {
    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        let Self { lenient, post_create, .. } = *self;
        *self == Self { lenient, post_create, ..Self::default() }
    }

    /// Whether this field says anything.
    pub fn has(&self, field: SetupField) -> bool {
        match field {
            SetupField::Instructions => {
                self.instructions.is_some() || self.instructions_file.is_some()
            }
            SetupField::Skills => !self.skills.is_empty(),
            SetupField::Subagents => !self.subagents.is_empty(),
            SetupField::Commands => !self.commands.is_empty(),
            SetupField::Mcp => !self.mcp.is_empty(),
            SetupField::RequiredMcp => self.mcp.values().any(|server| server.required),
            SetupField::Plugins => !self.plugins.is_empty() || !self.marketplaces.is_empty(),
            SetupField::Settings => !self.settings.is_empty(),
            SetupField::Permissions => self.permissions != Permissions::default(),
            SetupField::Script => self.script.is_some(),
        }
    }

    /// Its paths, with the keys that name them.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = (&'static str, Option<&mut PathBuf>)> {
        let named = [
            ("setup.instructions_file", self.instructions_file.as_mut()),
            ("setup.script", self.script.as_mut()),
        ];
        let skills = self.skills.iter_mut().map(|path| ("setup.skills", Some(path)));
        let subagents = self.subagents.iter_mut().map(|path| ("setup.subagents", Some(path)));
        let commands = self.commands.iter_mut().map(|path| ("setup.commands", Some(path)));
        let files = self.files.iter_mut().map(|path| ("setup.files", Some(path)));
        let marketplaces = self.marketplaces.values_mut();
        let marketplaces = marketplaces.map(|path| ("setup.marketplaces", Some(path)));
        let lists = skills.chain(subagents).chain(commands).chain(files).chain(marketplaces);
        let is_here = |path: &Option<&mut PathBuf>| {
            path.as_ref().is_none_or(|path| in_source(path).is_none())
        };
        named.into_iter().chain(lists).filter(move |(_, path)| is_here(path))
    }

    /// Makes the folders of plugins absolute in this way.
    pub(super) fn make_plugins_absolute<E>(
        &mut self,
        absolute: impl Fn(&mut PathBuf) -> Result<(), E>,
    ) -> Result<(), E> {
        for plugin in self.plugins.iter_mut().filter(|plugin| in_marketplace(plugin).is_none()) {
            let mut path = PathBuf::from(&*plugin);
            if in_source(&path).is_some() {
                continue;
            }
            absolute(&mut path)?;
            *plugin = path.to_string_lossy().into_owned();
        }
        Ok(())
    }

    /// All paths that it names, those into sources included.
    fn all_paths(&self) -> impl Iterator<Item = PathBuf> {
        let plugins = self.plugins.iter().filter(|plugin| in_marketplace(plugin).is_none());
        let paths = self.instructions_file.iter().chain(&self.script).chain(&self.files);
        let paths = paths.chain(&self.skills).chain(&self.subagents).chain(&self.commands);
        paths.chain(self.marketplaces.values()).cloned().chain(plugins.map(PathBuf::from))
    }

    /// The files and folders of this machine that it is compiled from.
    pub(super) fn sources(&self) -> impl Iterator<Item = PathBuf> {
        self.all_paths().filter(|path| in_source(path).is_none())
    }

    /// Whether something of it is made once, in a phase of its own, before sessions begin.
    pub fn has_phase(&self) -> bool {
        self.script.is_some() || !self.sources.is_empty()
    }

    /// The fields that say something and that this agent's driver does not keep.
    pub fn unkept(&self, agent: &Agent) -> impl Iterator<Item = SetupField> {
        let (driver, preset) = (agent.driver, agent.preset.as_deref());
        SetupField::ALL
            .into_iter()
            .filter(move |field| self.has(*field) && !field.is_kept_by(driver, preset))
    }

    /// What is wrong with it, a sentence each.
    pub(super) fn problems(&self, name: &str, agent: &Agent) -> Vec<String> {
        let key = format!("agents.{name}.setup");
        let mut found = Vec::new();
        for field in self.unkept(agent).filter(|field| !self.lenient || field.restricts()) {
            let way = match field.restricts() {
                true => {
                    "take it out; it is never left out silently, because the agent would do more than was asked"
                }
                false => "take it out, or set `setup.lenient: true` to leave it out with a warning",
            };
            found.push(format!(
                "`{key}.{}` is declared, and {} does not keep it; {way} (docs/setup.md has a table)",
                field.key(),
                describe_driver(agent)
            ));
        }
        if self.instructions.is_some() && self.instructions_file.is_some() {
            found.push(format!(
                "`{key}.instructions` and `{key}.instructions_file` are both set; set one of them"
            ));
        }
        found.extend(self.phase_problems().into_iter().map(|text| format!("`{key}.{text}")));
        for (name, server) in &self.mcp {
            let problems = server.problems(name);
            found.extend(problems.into_iter().map(|text| format!("`{key}.mcp.{name}`{text}")));
        }
        for (name, why) in REFUSED_SETTINGS {
            if self.settings.contains_key(*name) {
                found.push(format!("`{key}.settings` holds `{name}`, which is refused: {why}"));
            }
        }
        let settings =
            [Value::Object(self.settings.clone()), super::tree::to_json(&self.permissions)];
        let size: usize = settings.iter().map(|value| value.to_string().len()).sum();
        if size > MOST_SETTINGS {
            found.push(format!(
                "`{key}.settings` and `{key}.permissions` take {size} bytes, more than {MOST_SETTINGS}: the CLI is given \
                 them as an argument; shorten them"
            ));
        }
        let gives_settings =
            agent.args.iter().any(|arg| arg == "--settings" || arg.starts_with("--settings="));
        if gives_settings && (self.has(SetupField::Settings) || self.has(SetupField::Permissions)) {
            found.push(format!(
                "`agents.{name}.args` has `--settings`, which would take the place of `{key}.settings` and \
                 `{key}.permissions`; move its settings there"
            ));
        }
        for plugin in &self.plugins {
            if let Some((plugin_name, marketplace)) = in_marketplace(plugin)
                && !self.marketplaces.contains_key(marketplace)
            {
                found.push(format!(
                    "`{key}.plugins` names `{plugin_name}` of the marketplace `{marketplace}`, which is not among \
                     `{key}.marketplaces`"
                ));
            }
        }
        found
    }
}

impl Setup {
    /// What is wrong with what is made once, each to be read after the key of the set-up.
    fn phase_problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, source) in &self.sources {
            let problems = source.problems(name).into_iter();
            found.extend(problems.map(|text| format!("sources.{name}`{text}")));
        }
        for path in self.all_paths() {
            let fault = source::find_fault(&path, self.sources.keys());
            found.extend(fault.map(|fault| format!("`: `{}` {fault}", path.display())));
        }
        let needs_script = [("files", self.files.is_empty()), ("secrets", self.secrets.is_empty())];
        for (field, _) in needs_script.into_iter().filter(|(_, is_empty)| !is_empty) {
            if self.script.is_none() {
                found.push(format!("{field}` is for `script`, which is not set"));
            }
        }
        for name in &self.secrets {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_plain) {
                found.push(format!("secrets` holds `{name}`, which is no name of a variable"));
            }
        }
        found
    }
}

/// The name and the marketplace of a plugin; none where it is a folder.
pub fn in_marketplace(plugin: &str) -> Option<(&str, &str)> {
    let is_path = plugin.contains('/')
        || plugin.starts_with(['.', '~'])
        || in_source(Path::new(plugin)).is_some();
    plugin.split_once('@').filter(|_| !is_path)
}

/// The driver and its preset, for people.
pub fn describe_driver(agent: &Agent) -> String {
    let driver = match agent.driver {
        DriverKind::Claude => "claude",
        DriverKind::Acp => "acp",
        DriverKind::Command => "command",
        DriverKind::Demo => "demo",
    };
    match &agent.preset {
        Some(preset) => format!("the driver `{driver}` with the preset `{preset}`"),
        None => format!("the driver `{driver}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(agent: Agent, setup: Value) -> Vec<String> {
        let setup: Setup = serde_json::from_value(setup).unwrap();
        setup.problems("one", &agent)
    }

    fn acp(preset: Option<&str>) -> Agent {
        Agent { preset: preset.map(ToOwned::to_owned), ..Agent::of(DriverKind::Acp) }
    }

    #[test]
    fn the_table_of_the_documentation_says_what_each_driver_keeps() {
        let page = include_str!("../../docs/setup.md");
        let columns = [
            (DriverKind::Claude, None),
            (DriverKind::Acp, Some("codex")),
            (DriverKind::Acp, Some("gemini")),
            (DriverKind::Acp, Some("opencode")),
            (DriverKind::Acp, Some("qwen")),
            (DriverKind::Acp, Some("copilot")),
            (DriverKind::Acp, Some("claude-acp")),
            (DriverKind::Acp, None),
            (DriverKind::Command, None),
        ];
        for field in SetupField::ALL {
            let kept = columns.map(|(driver, preset)| field.is_kept_by(driver, preset));
            let words = kept.map(|kept| if kept { "yes" } else { "no" }).join(" | ");
            let row = format!("| `{}` | {words} |", field.key());
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn a_field_that_a_driver_does_not_keep_is_refused_by_name_or_left_out_where_that_is_harmless() {
        let skills = json!({"subagents": ["/s"]});
        let found = problems(acp(Some("codex")), skills.clone());
        let [problem] = &found[..] else { panic!("{found:?}") };
        assert!(
            problem.contains("`agents.one.setup.subagents`") && problem.contains("preset `codex`"),
            "{problem}"
        );
        let mut lenient = skills;
        lenient["lenient"] = json!(true);
        assert_eq!(problems(acp(Some("codex")), lenient), Vec::<String>::new());
        for stays in [
            json!({"lenient": true, "permissions": {"deny": ["Bash"]}}),
            json!({"lenient": true, "mcp": {"a": {"command": "x", "required": true}}}),
        ] {
            let found = problems(acp(None), stays);
            assert!(found.len() == 1 && found[0].contains("more than was asked"), "{found:?}");
        }
        assert_eq!(problems(acp(None), json!({"mcp": {"a": {"command": "x"}}})).len(), 0);
        assert_eq!(problems(Agent::of(DriverKind::Command), json!({"instructions": "x"})).len(), 1);
    }

    #[test]
    fn what_cannot_work_is_named_with_its_key() {
        for (setup, words) in [
            (json!({"instructions": "a", "instructions_file": "/b"}), "set one of them"),
            (json!({"mcp": {"a": {}}}), "mcp.a` needs either"),
            (json!({"mcp": {"a": {"command": "x", "url": "http://b"}}}), "needs either"),
            (json!({"mcp": {"a": {"url": "ftp://b"}}}), "http or https"),
            (json!({"mcp": {"a b": {"command": "x"}}}), "letters, digits"),
            (json!({"mcp": {"a": {"command": "x", "headers": {"H": "v"}}}}), "belong to `url`"),
            (json!({"mcp": {"a": {"command": "x", "env": {"API_TOKEN": "v"}}}}), "credential"),
            (
                json!({"mcp": {"a": {"url": "http://b", "headers": {"Authorization": "v"}}}}),
                "credential",
            ),
            (
                json!({"settings": {"permissions": {"defaultMode": "bypassPermissions"}}}),
                "holds `permissions`",
            ),
            (json!({"settings": {"x": "y".repeat(MOST_SETTINGS)}}), "shorten them"),
            (json!({"plugins": ["a@b"]}), "not among `agents.one.setup.marketplaces`"),
        ] {
            let found = problems(Agent::of(DriverKind::Claude), setup.clone());
            assert!(found.len() == 1 && found[0].contains(words), "{setup}: {found:?}");
        }
        let args = vec!["--settings={}".to_owned()];
        let agent = Agent { args, ..Agent::of(DriverKind::Claude) };
        assert_eq!(problems(agent, json!({"permissions": {"deny": ["Bash"]}})).len(), 1);
        let fine = json!({"mcp": {"a": {"command": "x", "env": {"API_TOKEN": "${T}", "MODE": "v"}}},
            "plugins": ["a@b", "./c@d"], "marketplaces": {"b": "/m"}});
        assert_eq!(problems(Agent::of(DriverKind::Claude), fine), Vec::<String>::new());
    }
}

//! What an agent is set up with (`agents.*.setup`): each declared thing, and which drivers keep it.

use super::defaults::section;
use super::secrets::looks_like_credential;
use super::{Agent, DriverKind};
use pilothouse_agents::acp::preset::preset;
use pilothouse_agents::claude::REFUSED_SETTINGS;
use pilothouse_agents::setup::variables;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Characters of a name at most.
const LONGEST_NAME: usize = 64;

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
        /// Whether what the agent's driver cannot keep is left out with a warning; the start refuses it otherwise.
        pub lenient: bool = false,
    }
}

/// An MCP server that is declared for an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeclaredServer {
    /// A program that speaks over its standard input and output.
    pub command: Option<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its variables; `${NAME}` stands for a variable of the agent's environment.
    pub env: BTreeMap<String, String>,
    /// The address of a server that is there already.
    pub url: Option<String>,
    /// How that is spoken to.
    #[serde(rename = "type")]
    pub kind: ServerType,
    /// Headers of each request; `${NAME}` stands for a variable of the agent's environment.
    pub headers: BTreeMap<String, String>,
    /// Whether no turn begins without it.
    pub required: bool,
}

/// How an MCP server at an address is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerType {
    /// Streamable HTTP.
    #[default]
    Http,
    /// HTTP with server-sent events, the older form.
    Sse,
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
}

impl SetupField {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 9] = [
        Self::Instructions,
        Self::Skills,
        Self::Subagents,
        Self::Commands,
        Self::Mcp,
        Self::RequiredMcp,
        Self::Plugins,
        Self::Settings,
        Self::Permissions,
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
        }
    }

    /// Whether a driver, with this preset, keeps it.
    pub fn is_kept_by(self, driver: DriverKind, with: Option<&str>) -> bool {
        match (driver, self) {
            (DriverKind::Claude, _) | (DriverKind::Acp, Self::Mcp) => true,
            (DriverKind::Acp, Self::Instructions) => {
                with.and_then(preset).is_some_and(|known| known.instructions.is_some())
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
        *self == Self { lenient: self.lenient, ..Self::default() }
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
        }
    }

    /// Its paths, with the keys that name them.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = (&'static str, Option<&mut PathBuf>)> {
        let file = self.instructions_file.as_mut();
        let named = [("setup.instructions_file", file)].into_iter();
        let skills = self.skills.iter_mut().map(|path| ("setup.skills", Some(path)));
        let subagents = self.subagents.iter_mut().map(|path| ("setup.subagents", Some(path)));
        let commands = self.commands.iter_mut().map(|path| ("setup.commands", Some(path)));
        let marketplaces = self.marketplaces.values_mut();
        let marketplaces = marketplaces.map(|path| ("setup.marketplaces", Some(path)));
        named.chain(skills).chain(subagents).chain(commands).chain(marketplaces)
    }

    /// Makes the folders of plugins absolute in this way.
    pub(super) fn make_plugins_absolute<E>(
        &mut self,
        absolute: impl Fn(&mut PathBuf) -> Result<(), E>,
    ) -> Result<(), E> {
        let folders = self.plugins.iter_mut().filter(|plugin| in_marketplace(plugin).is_none());
        for plugin in folders {
            let mut path = PathBuf::from(&*plugin);
            absolute(&mut path)?;
            *plugin = path.to_string_lossy().into_owned();
        }
        Ok(())
    }

    /// The files and folders that it is compiled from.
    pub(super) fn sources(&self) -> impl Iterator<Item = PathBuf> {
        let plugins = self.plugins.iter().filter(|plugin| in_marketplace(plugin).is_none());
        let paths = self.instructions_file.iter().chain(&self.skills).chain(&self.subagents);
        let paths = paths.chain(&self.commands).chain(self.marketplaces.values()).cloned();
        paths.chain(plugins.map(PathBuf::from))
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

impl DeclaredServer {
    /// What is wrong with it, each to be read after its key.
    fn problems(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
            found.push(format!(
                " has a name that not every CLI takes: use up to {LONGEST_NAME} letters, digits, `-` and `_`"
            ));
        }
        match (&self.command, &self.url) {
            (Some(_), None) if !self.headers.is_empty() => {
                found
                    .push(" has `headers`, which belong to `url`; a program gets `env`".to_owned());
            }
            (None, Some(_)) if !self.env.is_empty() || !self.args.is_empty() => {
                found.push(
                    " has `env` or `args`, which belong to `command`; use `headers`".to_owned(),
                );
            }
            (None, Some(url)) => {
                let is_address =
                    |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
                if !Url::parse(url).is_ok_and(is_address) {
                    found.push(".url is no address of http or https".to_owned());
                }
            }
            (Some(_), None) => {}
            (None, None) | (Some(_), Some(_)) => {
                found.push(" needs either `command` or `url`".to_owned());
            }
        }
        for (name, value) in self.env.iter().chain(&self.headers) {
            let is_secret =
                looks_like_credential(name) || name.eq_ignore_ascii_case("authorization");
            if is_secret && !value.is_empty() && variables(value).next().is_none() {
                found.push(format!(
                    " holds the value of `{name}`, which looks like a credential; write `${{NAME}}`, and pass the \
                     variable NAME to the agent by its `env.pass`"
                ));
            }
        }
        found
    }

    /// All texts in which variables may stand.
    pub fn texts(&self) -> impl Iterator<Item = &String> {
        let words = self.command.iter().chain(&self.args).chain(&self.url);
        words.chain(self.env.values()).chain(self.headers.values())
    }
}

/// The name and the marketplace of a plugin; none where it is a folder.
pub fn in_marketplace(plugin: &str) -> Option<(&str, &str)> {
    let is_path = plugin.contains('/') || plugin.starts_with(['.', '~']);
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
            (DriverKind::Acp, Some("qwen")),
            (DriverKind::Command, None),
        ];
        for field in SetupField::ALL {
            let kept = columns.map(|(driver, preset)| field.is_kept_by(driver, preset));
            let words = kept.map(|kept| if kept { "yes" } else { "no" }).join(" | ");
            let row = format!("| `{}` | {words} |", field.key());
            assert!(page.contains(&row), "{row}");
        }
        assert!(SetupField::Instructions.is_kept_by(DriverKind::Acp, Some("gemini")));
    }

    #[test]
    fn a_field_that_a_driver_does_not_keep_is_refused_by_name_or_left_out_where_that_is_harmless() {
        let skills = json!({"skills": ["/s"]});
        let found = problems(acp(Some("codex")), skills.clone());
        let [problem] = &found[..] else { panic!("{found:?}") };
        assert!(
            problem.contains("`agents.one.setup.skills`") && problem.contains("preset `codex`"),
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

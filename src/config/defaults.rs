//! What holds when nobody says otherwise; the reasons stand in `pilothouse.example.yaml`.

use super::{
    Age, Agent, AgentWorkspace, AskPolicy, Background, BackgroundEnd, DriverKind, Env, Format,
    Input, PatchMode, Replies, SkillsSource,
};
use pilothouse_agents::acp::preset::preset;
use std::collections::BTreeMap;

/// The agents that are there without a file.
pub(super) const BUILT_IN: [(&str, DriverKind); 2] =
    [("claude", DriverKind::Claude), ("demo", DriverKind::Demo)];

/// The agents that are there without a file, by name.
pub(super) fn built_in_agents() -> BTreeMap<String, Agent> {
    BUILT_IN.map(|(name, driver)| (name.to_owned(), Agent::of(driver))).into()
}

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const DAY: u64 = 86_400;

/// An age of constant, positive seconds.
pub(super) const fn seconds(seconds: u64) -> Age {
    Age::from_secs(seconds).expect("a default is more than nothing and less than a century")
}

/// A section of the configuration: each key with its type and its default (that of its type where none is said).
macro_rules! section {
    ($(#[$of_section:meta])* pub struct $name:ident {
        $($(#[$of_key:meta])* pub $key:ident: $type:ty $(= $default:expr)?,)*
    }) => {
        $(#[$of_section])*
        #[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$of_key])* pub $key: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: section!(@default $($default)?),)* }
            }
        }
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}
pub(super) use section;

fn modes(modes: &[&str]) -> Vec<String> {
    modes.iter().map(|&mode| mode.to_owned()).collect()
}

/// The groups of variables that a preset's agent needs beside those of every agent.
fn environment_of(preset: &str) -> &'static [&'static str] {
    match preset {
        "codex" | "qwen" => &["openai"],
        "gemini" => &["gemini"],
        "opencode" => &["opencode", "anthropic", "openai", "gemini"],
        "copilot" => &["copilot"],
        "claude-acp" => &["anthropic", "bedrock", "vertex", "foundry"],
        _ => &[],
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self::of(DriverKind::Command)
    }
}

impl Agent {
    /// An agent that is declared before more is said about it: what follows from its preset, every
    /// part of which another key may change.
    pub(super) fn as_declared(declared: &Self) -> Self {
        let known = declared.preset.as_deref().and_then(preset);
        let Some(known) = known else {
            // Its key is its name: there may be several of one driver.
            return Self { name: None, ..Self::of(declared.driver) };
        };
        let groups = environment_of(known.name).iter().copied();
        let mut agent = Self::of(DriverKind::Acp);
        agent.program = Some(known.program.to_owned());
        agent.args = known.args.iter().map(|&arg| arg.to_owned()).collect();
        agent.auth_method = known.auth_method.map(ToOwned::to_owned);
        agent.env.presets.extend(groups.map(|group| group.to_owned()));
        agent
    }

    /// An agent of this driver before anything is said about it.
    pub fn of(driver: DriverKind) -> Self {
        let presets: &[&str] = match driver {
            DriverKind::Claude => &["anthropic", "bedrock", "vertex", "foundry", "proxy", "ca"],
            DriverKind::Command | DriverKind::Acp => &["proxy", "ca"],
            DriverKind::Demo => &[],
        };
        Self {
            driver,
            serve: None,
            name: (driver == DriverKind::Claude).then(|| "claude-code".to_owned()),
            description: None,
            version: None,
            skills: Vec::new(),
            skills_from: Vec::new(),
            skills_source: SkillsSource::Cli,
            commands: Vec::new(),
            extensions: Vec::new(),
            message_context: false,
            documentation_url: None,
            icon_url: None,
            // Files lie in the agent's workspace, so it takes every kind. The common ones are named for
            // clients that look for the very word.
            input_modes: modes(&[
                "text/plain",
                "application/json",
                "image/png",
                "image/jpeg",
                "*/*",
            ]),
            output_modes: modes(&["text/plain", "application/json"]),
            replies: Replies::Task,
            workspace: AgentWorkspace::default(),
            init: None,
            program: None,
            args: Vec::new(),
            preset: None,
            auth_method: None,
            mode: None,
            input: Input::Argument,
            terminator: None,
            format: Format::Text,
            env: Env {
                presets: presets.iter().map(|&name| name.to_owned()).collect(),
                ..Env::default()
            },
            key_command: Vec::new(),
            key_max_age: seconds(300),
            egress: super::AgentEgress::default(),
            asks: AskPolicy::Ask,
            ask_rules: Vec::new(),
            warm: 0,
            permission_mode: "acceptEdits".to_owned(),
            trust_project: false,
            model: None,
            disallowed_tools: None,
            max_retries: 3,
            background: Background::Wait,
            background_grace: seconds(10),
            background_end: BackgroundEnd::Keep,
            mcp: super::Mcp::default(),
            budgets: super::Budgets::default(),
            setup: super::Setup::default(),
            defaults_dir: None,
            patch: PatchMode::Auto,
            results: Vec::new(),
            caller_may: super::CallerMay::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::{leaves, to_json};
    use crate::config::{Config, EXAMPLE};
    use std::collections::BTreeSet;

    /// The dotted keys of the example, those that stand commented out included.
    fn keys_of_the_example() -> BTreeSet<String> {
        let mut path: Vec<(usize, String)> = Vec::new();
        let mut keys = BTreeSet::new();
        for line in EXAMPLE.lines() {
            let indent = line.len() - line.trim_start().len();
            let statement = line.trim_start().trim_start_matches("# ");
            let Some((key, _)) = statement.split_once(':') else {
                continue;
            };
            let is_comment = line.trim_start().starts_with('#');
            if !key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
                continue;
            }
            path.retain(|(depth, _)| *depth < indent);
            let dotted =
                path.iter().map(|(_, key)| key.as_str()).chain([key]).collect::<Vec<_>>().join(".");
            if is_comment {
                keys.insert(format!("# {dotted}"));
            } else {
                keys.insert(dotted);
                path.push((indent, key.to_owned()));
            }
        }
        keys
    }

    #[test]
    fn the_example_file_is_the_defaults() {
        let example: Config = serde_saphyr::from_str(EXAMPLE).unwrap();
        assert_eq!(example, Config::default());
    }

    #[test]
    fn the_example_file_leaves_no_key_out() {
        let example = keys_of_the_example();
        let missing: Vec<_> = leaves(&to_json(&Config::default()))
            .into_iter()
            .map(|path| path.join("."))
            .filter(|key| !key.starts_with("agents.demo."))
            .filter(|key| !example.contains(key) && !example.contains(&format!("# {key}")))
            .collect();
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn a_key_that_has_a_default_is_not_commented_out() {
        let defaults = to_json(&Config::default());
        let example = keys_of_the_example();
        for path in leaves(&defaults) {
            let value = path.iter().fold(&defaults, |value, name| &value[name.as_str()]);
            let commented = example.contains(&format!("# {}", path.join(".")));
            assert!(!commented || value.is_null(), "{}", path.join("."));
        }
    }

    #[test]
    fn the_limits_in_the_documentation_are_the_defaults() {
        let defaults = to_json(&Config::default());
        let page = include_str!("../../docs/operations.md");
        let (_, section) = page.split_once("\n## Limits\n").unwrap();
        let rows = section.lines().take_while(|line| !line.starts_with("## "));
        let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let mut count = 0;
        for (key, rest) in rows {
            let value = key.split('.').fold(&defaults, |value, name| &value[name]);
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            assert_eq!(rest.split(" | ").next(), Some(value.as_str()), "{key}");
            count += 1;
        }
        assert!(count >= 20, "{count} rows");
    }

    #[test]
    fn the_demonstration_differs_from_any_command_in_nothing_but_its_environment() {
        let demo = Agent::of(DriverKind::Demo);
        let command = Agent { driver: DriverKind::Demo, env: Env::default(), ..Agent::default() };
        assert_eq!(demo, command);
    }
}

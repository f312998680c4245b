//! What the operator declares, in Claude Code's own form; and how far each of it has come, by the CLI's own word.

use super::Claude;
use crate::event::Problem;
use crate::setup::{ServerTransport, SetupEvidence, SetupItem, SetupKind, SetupLevel, SetupServer};
use crate::{Event, Step};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Settings that the server sets itself, that loosen what the operator asked for, or that have a key of their own.
pub const REFUSED_SETTINGS: &[(&str, &str)] = &[
    ("permissions", "use `permissions` of the set-up, and `permission_mode` of the agent"),
    ("env", "use `env` of the agent"),
    ("apiKeyHelper", "use `key_command` of the agent"),
    ("model", "use `model` of the agent"),
    (
        "sandbox",
        "the sandbox is the server's, and the CLI's own would allow commands without asking",
    ),
    ("disableAllHooks", "hooks that a plugin brings would not run"),
    ("skipDangerousModePermissionPrompt", "nobody is asked less than `permission_mode` says"),
    ("skipAutoPermissionPrompt", "nobody is asked less than `permission_mode` says"),
    ("enableAllProjectMcpServers", "the server sets it"),
    ("useAutoModeDuringPlan", "the server sets it"),
    ("extraKnownMarketplaces", "use `marketplaces` of the set-up"),
    ("enabledPlugins", "use `plugins` of the set-up"),
];

/// What one process of Claude Code is set up with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaudeSetup {
    /// Its settings, beside those that the driver lives by.
    pub settings: Map<String, Value>,
    /// The file with its MCP servers ([`mcp_file`]).
    pub mcp_file: Option<String>,
    /// Folders of plugins.
    pub plugins: Vec<String>,
    /// Everything that is declared.
    pub items: Vec<SetupItem>,
}

impl ClaudeSetup {
    /// The same for a process that only says what it offers: it starts nothing.
    pub(super) fn for_inquiry(&self) -> Self {
        let settings = Map::from_iter([("disableAllHooks".to_owned(), true.into())]);
        Self { settings, mcp_file: None, ..self.clone() }
    }

    /// The settings of a process, these ones of the driver's own included.
    pub(super) fn settings(&self, own: &str) -> String {
        let mut settings = self.settings.clone();
        settings.extend(serde_json::from_str::<Map<String, Value>>(own).unwrap_or_default());
        Value::Object(settings).to_string()
    }

    /// The options by which the CLI loads the plugins.
    pub(super) fn plugin_args(&self) -> impl Iterator<Item = String> {
        self.plugins.iter().flat_map(|folder| ["--plugin-dir".to_owned(), folder.clone()])
    }

    /// The options by which the CLI starts the MCP servers.
    pub(super) fn mcp_args(&self) -> impl Iterator<Item = String> {
        self.mcp_file.iter().flat_map(|file| ["--mcp-config".to_owned(), file.clone()])
    }
}

/// The MCP servers as a file of Claude Code's.
#[must_use]
pub fn mcp_file(servers: &[SetupServer]) -> Value {
    let entry = |server: &SetupServer| match &server.transport {
        ServerTransport::Stdio { command, args, env } => {
            json!({"command": command, "args": args, "env": env})
        }
        ServerTransport::Http { url, headers } => {
            json!({"type": "http", "url": url, "headers": headers})
        }
        ServerTransport::Sse { url, headers } => {
            json!({"type": "sse", "url": url, "headers": headers})
        }
    };
    let servers: Map<String, Value> =
        servers.iter().map(|server| (server.name.clone(), entry(server))).collect();
    json!({ "mcpServers": servers })
}

/// What `init` says of all that is loaded.
#[derive(Debug, Default, Deserialize)]
struct LoadedLine {
    #[serde(default)]
    tools: Vec<String>,
    #[serde(default)]
    slash_commands: Vec<String>,
    #[serde(default)]
    agents: Vec<String>,
    #[serde(default)]
    skills: Vec<String>,
    #[serde(default)]
    plugins: Vec<LoadedPlugin>,
    #[serde(default)]
    mcp_servers: Vec<LoadedServer>,
}

#[derive(Debug, Deserialize)]
struct LoadedPlugin {
    name: String,
}

#[derive(Debug, Deserialize)]
struct LoadedServer {
    name: String,
    status: String,
}

impl LoadedLine {
    fn level(&self, item: &SetupItem) -> SetupLevel {
        let is_it = |name: &String| *name == item.name || Some(name) == item.alias.as_ref();
        let is_loaded = match item.kind {
            // The CLI does not report the files that it has read.
            SetupKind::Instructions => false,
            SetupKind::Skill => self.skills.iter().chain(&self.slash_commands).any(is_it),
            SetupKind::Subagent => self.agents.iter().any(is_it),
            SetupKind::Command => self.slash_commands.iter().any(is_it),
            SetupKind::Plugin => self.plugins.iter().any(|plugin| is_it(&plugin.name)),
            SetupKind::McpServer => {
                let prefix = format!("mcp__{}__", item.name);
                let mut servers = self.mcp_servers.iter().filter(|server| is_it(&server.name));
                if !servers.any(|server| server.status == "connected") {
                    return SetupLevel::Delivered;
                }
                if !self.tools.iter().any(|tool| tool.starts_with(&prefix)) {
                    return SetupLevel::Connected;
                }
                true
            }
        };
        if is_loaded { SetupLevel::Loaded } else { SetupLevel::Delivered }
    }

    /// Why a thing is not there, where that is a problem which nothing else tells.
    fn problem(&self, evidence: &SetupEvidence) -> Option<Step> {
        let SetupEvidence { item, level } = evidence;
        let is_told = match item.kind {
            SetupKind::Instructions => true,
            // What it is while it is known to the CLI is told with the servers.
            SetupKind::McpServer => self.mcp_servers.iter().any(|server| server.name == item.name),
            SetupKind::Skill | SetupKind::Subagent | SetupKind::Command | SetupKind::Plugin => {
                false
            }
        };
        if is_told || *level >= SetupLevel::Connected {
            return None;
        }
        let what = item.kind.as_str();
        let text = format!(
            "the {what} `{}` of the agent's set-up was delivered, but Claude Code does not report that it has it",
            item.name
        );
        Some(Step::Say(Event::Problem(Problem {
            kind: "setup",
            subject: format!("{what} {}", item.name),
            state: level.as_str().to_owned(),
            detail: None,
            text,
            is_solved: false,
        })))
    }
}

impl Claude {
    /// What is declared, at the level that this `init` shows.
    pub(super) fn hear_setup(&self, line: &[u8]) -> Vec<Step> {
        let items = &self.options.setup.items;
        if items.is_empty() {
            return Vec::new();
        }
        let loaded: LoadedLine = serde_json::from_slice(line).unwrap_or_default();
        let evidence = items.iter().map(|item| {
            let level = loaded.level(item);
            SetupEvidence { item: item.clone(), level }
        });
        let evidence: Vec<_> = evidence.collect();
        let problems: Vec<_> =
            evidence.iter().filter_map(|evidence| loaded.problem(evidence)).collect();
        [Step::Say(Event::Setup(evidence))].into_iter().chain(problems).collect()
    }
}

/// The switches of the CLI's own metrics, events and spans; with what was said, where that is wanted. Where they go is said
/// by the variables of the standard, beside these.
pub fn telemetry_switches(has_content: bool) -> Vec<(String, String)> {
    let content = if has_content { "1" } else { "0" };
    let switches = [
        ("CLAUDE_CODE_ENABLE_TELEMETRY", "1"),
        // Spans are a beta of the CLI.
        ("CLAUDE_CODE_ENHANCED_TELEMETRY_BETA", "1"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
        // Back ends that are asked for sums want those since the start of the process.
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative"),
        // A process that is killed takes with it what it has not sent.
        ("OTEL_METRIC_EXPORT_INTERVAL", "10000"),
        ("OTEL_LOGS_EXPORT_INTERVAL", "1000"),
        ("OTEL_TRACES_EXPORT_INTERVAL", "1000"),
        ("OTEL_METRICS_INCLUDE_SESSION_ID", "false"),
        ("OTEL_METRICS_INCLUDE_ACCOUNT_UUID", "false"),
        ("OTEL_LOG_USER_PROMPTS", content),
        ("OTEL_LOG_ASSISTANT_RESPONSES", content),
        ("OTEL_LOG_TOOL_DETAILS", content),
        ("OTEL_LOG_TOOL_CONTENT", content),
        ("OTEL_LOG_RAW_API_BODIES", "0"),
    ];
    switches.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[cfg(test)]
mod tests {
    use super::super::ClaudeOptions;
    use super::*;
    use crate::{Driver, Turn};

    fn item(kind: SetupKind, name: &str) -> SetupItem {
        SetupItem { kind, name: name.to_owned(), alias: None }
    }

    /// Levels and problems of these things by this `init`.
    fn told(items: Vec<SetupItem>, init: &Value) -> (Vec<SetupLevel>, Vec<String>) {
        let setup = ClaudeSetup { items, ..ClaudeSetup::default() };
        let mut driver = Claude::new(ClaudeOptions { setup, ..ClaudeOptions::default() });
        driver.begin(&Turn { text: "x".to_owned(), ..Turn::default() });
        let (mut levels, mut problems) = (Vec::new(), Vec::new());
        for step in driver.line(init.to_string().as_bytes()) {
            match step {
                Step::Say(Event::Setup(told)) => {
                    levels = told.into_iter().map(|evidence| evidence.level).collect();
                }
                Step::Say(Event::Problem(problem)) => problems.push(problem.subject),
                _ => {}
            }
        }
        (levels, problems)
    }

    #[test]
    fn what_init_lists_is_loaded_and_what_it_does_not_list_is_a_problem() {
        let items = vec![
            item(SetupKind::Instructions, "CLAUDE.md"),
            SetupItem { alias: Some("Greet".to_owned()), ..item(SetupKind::Skill, "greet") },
            item(SetupKind::Skill, "lost"),
            item(SetupKind::McpServer, "bank"),
            item(SetupKind::McpServer, "quiet"),
            item(SetupKind::McpServer, "broken"),
            item(SetupKind::McpServer, "unknown"),
            item(SetupKind::Plugin, "tools"),
        ];
        let init = json!({
            "type": "system", "subtype": "init", "skills": ["Greet"], "tools": ["mcp__bank__echo"],
            "plugins": [{"name": "tools", "path": "/p"}],
            "mcp_servers": [{"name": "bank", "status": "connected"},
                {"name": "quiet", "status": "connected"}, {"name": "broken", "status": "failed"}],
        });
        let (levels, problems) = told(items, &init);
        use SetupLevel::{Connected, Delivered, Loaded};
        assert_eq!(
            levels,
            [Delivered, Loaded, Delivered, Loaded, Connected, Delivered, Delivered, Loaded]
        );
        assert_eq!(problems, ["skill lost", "MCP server unknown"]);
    }

    #[test]
    fn declared_settings_stand_beside_those_of_the_driver_which_win() {
        let declared = json!({"a": 1, "useAutoModeDuringPlan": true});
        let Value::Object(settings) = declared else { panic!() };
        let setup = ClaudeSetup { settings, ..ClaudeSetup::default() };
        let told: Value =
            serde_json::from_str(&setup.settings(r#"{"useAutoModeDuringPlan":false}"#)).unwrap();
        assert_eq!(told, json!({"a": 1, "useAutoModeDuringPlan": false}));
    }
}

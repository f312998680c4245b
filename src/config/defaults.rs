//! What holds when nobody says otherwise; the reasons stand in `pilothouse.example.yaml`.

use super::{
    Age, Agent, AgentWorkspace, AskPolicy, Auth, Bytes, Card, CardShape, Color, Config, CopyLimits,
    DriverKind, Env, EnvFile, Format, Input, Limits, Log, LogFormat, Processes, Push, Replies,
    Retention, Server, Sessions, Signing, Store, Timeouts, V03, Workspace, WorkspaceMode,
};
use pilothouse_agents::acp::preset::preset;
use std::collections::BTreeMap;

/// The agents that are there without a file.
pub(super) const BUILT_IN: [(&str, DriverKind); 2] =
    [("claude", DriverKind::Claude), ("demo", DriverKind::Demo)];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY: u64 = 86_400;

/// An age of constant, positive seconds.
const fn seconds(seconds: u64) -> Age {
    Age::from_secs(seconds).expect("a default is more than nothing and less than a century")
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            auth: Auth::default(),
            state_dir: "~/.local/state/pilothouse".into(),
            store: Store::default(),
            sessions: Sessions::default(),
            workspace: Workspace::default(),
            card: Card::default(),
            push: Push::default(),
            asks: super::Asks::default(),
            processes: Processes::default(),
            isolation: super::Isolation::default(),
            egress: super::Egress::default(),
            limits: Limits::default(),
            budgets: super::Budgets::default(),
            timeouts: Timeouts::default(),
            audit: "stderr".to_owned(),
            log: Log::default(),
            compat: super::Compat::default(),
            env_file: EnvFile::default(),
            agent: "auto".to_owned(),
            agents: BUILT_IN
                .into_iter()
                .map(|(name, driver)| (name.to_owned(), Agent::of(driver)))
                .collect(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 2222,
            public_url: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for super::Asks {
    fn default() -> Self {
        Self {
            park: seconds(600),
            pause: seconds(4 * 3600),
            timeout: seconds(DAY),
            then: super::AskTimeout::Deny,
            per_turn: 32,
            per_session: 256,
            bytes: Bytes::new(6 * MIB),
            total: Bytes::new(24 * MIB),
            held: Bytes::new(256 * KIB),
        }
    }
}

impl Default for Card {
    fn default() -> Self {
        Self { default: CardShape::Hybrid, max_age: seconds(60), signing: Signing::default() }
    }
}

impl Default for Push {
    fn default() -> Self {
        Self {
            enabled: true,
            allow: Vec::new(),
            timeout: seconds(15),
            backoff: seconds(1),
            backoff_max: seconds(300),
            give_up: seconds(DAY),
            per_task: 16,
            pending: 10_000,
            concurrent: 32,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            token: None,
            tokens: BTreeMap::new(),
            priorities: BTreeMap::new(),
            required: true,
            insecure: false,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: "pilothouse.db".into(),
            retention: Retention {
                age: seconds(30 * DAY),
                count: 100_000,
                size: Bytes::new(10 * GIB),
            },
        }
    }
}

impl Default for Retention {
    /// A partly written `retention` takes these; `load` lays it over the section's own instead.
    fn default() -> Self {
        Store::default().retention
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            retention: Retention {
                age: seconds(30 * DAY),
                count: 1000,
                size: Bytes::new(20 * GIB),
            },
            sweep_every: seconds(300),
            copy: CopyLimits::default(),
            init: None,
        }
    }
}

impl Default for CopyLimits {
    fn default() -> Self {
        Self { entries: 200_000, size: Bytes::new(10 * GIB), depth: 128 }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self { mode: WorkspaceMode::Session, path: "./workspace".into(), shared_turns: 1 }
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self { max: 64, starting: 0, idle: seconds(600), queue: 1000 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: Bytes::new(16 * MIB),
            bodies: Bytes::new(16 * MIB),
            parts: 1000,
            items: 1000,
            metadata: Bytes::new(256 * KIB),
            data: Bytes::new(4 * MIB),
            prompt: Bytes::new(10 * MIB),
            line: Bytes::new(4 * MIB),
            line_values: 20_000,
            lines: Bytes::new(16 * MIB),
            disk_checks: 4,
            retries: 3,
            answer: Bytes::new(GIB),
            turn_events: Bytes::new(64 * MIB),
            outbox: Bytes::new(256 * KIB),
            stderr: Bytes::new(64 * KIB),
            event: Bytes::new(400_000),
            response: Bytes::new(4 * MIB),
            responses: Bytes::new(32 * MIB),
            responses_waiting: 1000,
            inline_answer: Bytes::new(64 * KIB),
            connections: 1024,
            connections_kept: 64,
            connections_per_address: 768,
            connections_per_caller: 512,
            requests: 2048,
            rate: 600,
            queue_per_caller: 500,
            turns_per_caller: 0,
            wrong_tokens: 30,
            wrong_tokens_waiting: 16,
            rate_keys: 10_000,
            http2_streams: 128,
            http2_streams_unknown: 16,
            unread: Bytes::new(MIB),
            http2_resets: 64,
            store_readers: 4,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            turn: seconds(3600),
            start: seconds(120),
            init: seconds(600),
            retry: seconds(5),
            retry_max: seconds(60),
            interrupt: seconds(5),
            terminate: seconds(5),
            shutdown: seconds(20),
            header: seconds(10),
            idle: seconds(120),
            write: seconds(120),
            line: seconds(30),
            body: seconds(60),
            response: seconds(30),
            wrong_token: seconds(5),
            keep_alive: seconds(15),
            heartbeat: seconds(110),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Pretty,
            console: true,
            path: None,
            max_size: Bytes::new(256 * MIB),
            keep: 3,
            color: Color::Auto,
        }
    }
}

impl Default for V03 {
    fn default() -> Self {
        Self { blocking_default: true, grpc_urls: false }
    }
}

impl Default for EnvFile {
    fn default() -> Self {
        Self { path: ".env".into(), overrides: true }
    }
}

/// The groups of variables that a preset's agent needs beside those of every agent.
fn environment_of(preset: &str) -> &'static [&'static str] {
    match preset {
        "codex" | "qwen" => &["openai"],
        "gemini" => &["gemini"],
        "opencode" => &["opencode", "anthropic", "openai", "gemini"],
        "copilot" => &["copilot"],
        "claude-acp" => &["anthropic", "bedrock", "vertex"],
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
            return Self::of(declared.driver);
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
            DriverKind::Claude => &["anthropic", "bedrock", "vertex", "proxy", "ca"],
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
            extensions: Vec::new(),
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
            egress: super::AgentEgress::default(),
            asks: AskPolicy::Ask,
            ask_rules: Vec::new(),
            warm: 0,
            permission_mode: "acceptEdits".to_owned(),
            model: None,
            disallowed_tools: None,
            max_retries: 3,
            budgets: super::Budgets::default(),
            defaults_dir: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;
    use crate::config::tree::{leaves, to_json};
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
    fn the_demonstration_differs_from_any_command_in_nothing_but_its_environment() {
        let demo = Agent::of(DriverKind::Demo);
        let command = Agent { driver: DriverKind::Demo, env: Env::default(), ..Agent::default() };
        assert_eq!(demo, command);
    }
}

//! The agents as they are set up for the tests: program, environment and settings, all on loopback.

use super::Agent;

/// A command that leaves a line where it runs.
const COMMAND: &str = "bash: echo yes >> ran";

pub(super) const GEMINI: Agent = Agent {
    preset: "gemini",
    program: "gemini",
    process: "gemini --acp",
    env: &[("GEMINI_API_KEY", "{key}"), ("GOOGLE_GEMINI_BASE_URL", "{url}")],
    files: &[(
        ".gemini/settings.json",
        r#"{"privacy": {"usageStatisticsEnabled": false}, "general": {"enableAutoUpdate": false}}"#,
    )],
    unattended: None,
    asks: (None, COMMAND),
};

pub(super) const CODEX: Agent = Agent {
    preset: "codex",
    program: "codex-acp",
    process: "codex-acp",
    env: &[("OPENAI_API_KEY", "{key}")],
    files: &[(
        ".codex/config.toml",
        r#"
model = "fake"
model_provider = "fake"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.fake]
name = "fake"
base_url = "{url}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
"#,
    )],
    unattended: None,
    // It asks for what wants to leave its sandbox.
    asks: (
        Some("read-only"),
        r#"tool exec_command {"cmd": "echo yes >> ran", "sandbox_permissions": "require_escalated", "justification": "to see"}"#,
    ),
};

/// Codex with the provider that it knows, whose address is in the environment.
pub(super) const CODEX_ITSELF: Agent = Agent {
    env: &[("OPENAI_API_KEY", "{key}"), ("OPENAI_BASE_URL", "{url}/v1")],
    files: &[(
        ".codex/config.toml",
        "model = \"fake\"\ncheck_for_update_on_startup = false\n[analytics]\nenabled = false\n",
    )],
    unattended: Some("agent-full-access"),
    ..CODEX
};

pub(super) const OPENCODE: Agent = Agent {
    preset: "opencode",
    program: "opencode",
    process: "opencode acp",
    env: &[("OPENAI_API_KEY", "{key}")],
    files: &[(
        ".config/opencode/opencode.json",
        r#"{
  "model": "fake/fake", "small_model": "fake/fake", "autoupdate": false, "share": "disabled",
  "permission": {"bash": "ask"},
  "provider": {"fake": {
    "npm": "@ai-sdk/openai-compatible", "name": "Fake", "models": {"fake": {"name": "Fake"}},
    "options": {"baseURL": "{url}/v1", "apiKey": "{key}"}
  }}
}"#,
    )],
    unattended: None,
    asks: (None, COMMAND),
};

pub(super) const QWEN: Agent = Agent {
    preset: "qwen",
    program: "qwen",
    process: "qwen --acp",
    env: &[("OPENAI_API_KEY", "{key}"), ("OPENAI_BASE_URL", "{url}/v1"), ("OPENAI_MODEL", "fake")],
    files: &[(
        ".qwen/settings.json",
        r#"{"privacy": {"usageStatisticsEnabled": false}, "general": {"enableAutoUpdate": false}}"#,
    )],
    unattended: None,
    asks: (Some("default"), COMMAND),
};

pub(super) const COPILOT: Agent = Agent {
    preset: "copilot",
    program: "copilot",
    process: "copilot --acp",
    env: &[
        ("COPILOT_PROVIDER_BASE_URL", "{url}/v1"),
        ("COPILOT_PROVIDER_TYPE", "openai"),
        ("COPILOT_PROVIDER_API_KEY", "{key}"),
        ("COPILOT_MODEL", "fake"),
        ("COPILOT_OFFLINE", "true"),
    ],
    files: &[],
    unattended: None,
    asks: (None, COMMAND),
};

pub(super) const CLAUDE: Agent = Agent {
    preset: "claude-acp",
    program: "claude-agent-acp",
    process: "claude-agent-acp",
    env: &[("ANTHROPIC_API_KEY", "{key}"), ("ANTHROPIC_BASE_URL", "{url}")],
    files: &[],
    unattended: None,
    asks: (None, COMMAND),
};

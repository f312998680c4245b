//! Agents that speak the protocol, and what each needs to be started.

/// One known agent.
#[derive(Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name in the configuration.
    pub name: &'static str,
    /// The product's name.
    pub title: &'static str,
    /// The program, to be found on PATH.
    pub program: &'static str,
    /// The arguments that make it speak the protocol.
    pub args: &'static [&'static str],
    /// How it signs in when it asks to, by the id that the agent gives the method.
    pub auth_method: Option<&'static str>,
    /// Variables any of which holds its credential.
    pub credentials: &'static [&'static str],
    /// Variables that it needs to run where nobody sits in front of it.
    pub env: &'static [(&'static str, &'static str)],
    /// The file below HOME from which it reads words for its model, where that was tested.
    pub instructions: Option<&'static str>,
    /// The folder below HOME in which it looks for skills, where that was tested.
    pub skills: Option<&'static str>,
}

/// All known agents.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "codex",
        title: "Codex",
        program: "codex-acp",
        args: &[],
        auth_method: Some("api-key"),
        credentials: &["OPENAI_API_KEY", "CODEX_API_KEY"],
        env: &[],
        instructions: Some(".codex/AGENTS.md"),
        skills: Some(".codex/skills"),
    },
    Preset {
        name: "gemini",
        title: "Gemini CLI",
        program: "gemini",
        args: &["--acp"],
        auth_method: Some("gemini-api-key"),
        credentials: &["GEMINI_API_KEY"],
        // A folder that nobody has trusted by hand would be read-only.
        env: &[("GEMINI_CLI_TRUST_WORKSPACE", "true")],
        instructions: Some(".gemini/GEMINI.md"),
        skills: Some(".gemini/skills"),
    },
    Preset {
        name: "opencode",
        title: "OpenCode",
        program: "opencode",
        args: &["acp"],
        auth_method: None,
        credentials: &["OPENCODE_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"],
        env: &[("OPENCODE_DISABLE_AUTOUPDATE", "true")],
        instructions: Some(".config/opencode/AGENTS.md"),
        skills: Some(".config/opencode/skills"),
    },
    Preset {
        name: "qwen",
        title: "Qwen Code",
        program: "qwen",
        args: &["--acp"],
        auth_method: Some("openai"),
        credentials: &["OPENAI_API_KEY"],
        env: &[],
        instructions: Some(".qwen/QWEN.md"),
        skills: Some(".qwen/skills"),
    },
    Preset {
        name: "copilot",
        title: "GitHub Copilot CLI",
        program: "copilot",
        args: &["--acp"],
        auth_method: None,
        credentials: &["COPILOT_GITHUB_TOKEN", "COPILOT_PROVIDER_API_KEY"],
        env: &[("COPILOT_AUTO_UPDATE", "false")],
        instructions: Some(".copilot/copilot-instructions.md"),
        skills: Some(".copilot/skills"),
    },
    Preset {
        name: "claude-acp",
        title: "Claude Agent",
        program: "claude-agent-acp",
        args: &[],
        auth_method: None,
        credentials: &["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"],
        env: &[
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_TELEMETRY", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
        ],
        instructions: Some(".claude/CLAUDE.md"),
        skills: Some(".claude/skills"),
    },
];

/// The known agent of this name.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        for (at, preset) in PRESETS.iter().enumerate() {
            assert!(preset.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            assert!(PRESETS[at + 1..].iter().all(|other| other.name != preset.name));
        }
    }

    #[test]
    fn an_unknown_name_is_none() {
        assert_eq!(preset("nobody"), None);
    }
}

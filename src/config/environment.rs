//! The environment: read once for the server, and picked from name by name for an agent.

use super::secrets::looks_like_credential;
use super::{Agent, Env};
use std::collections::BTreeMap;
use std::fmt;

/// The variables that the server was started with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Name and value of each that is text.
    pub variables: BTreeMap<String, String>,
    /// Names, as far as readable, of those that are not UTF-8 and left out.
    pub unreadable: Vec<String>,
}

/// Names that belong together, by the name that `env.presets` uses.
const PRESETS: &[(&str, &[&str])] = &[
    (
        "anthropic",
        &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "ANTHROPIC_BASE_URL",
            "ANTHROPIC_CUSTOM_HEADERS",
            "ANTHROPIC_BETAS",
            "ANTHROPIC_MODEL",
            "ANTHROPIC_SMALL_FAST_MODEL",
            "ANTHROPIC_DEFAULT_*",
            "CLAUDE_CODE_SUBAGENT_MODEL",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
            "MAX_THINKING_TOKENS",
            "API_TIMEOUT_MS",
            "DISABLE_TELEMETRY",
            "DISABLE_ERROR_REPORTING",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        ],
    ),
    (
        "bedrock",
        &[
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_SKIP_BEDROCK_AUTH",
            "ANTHROPIC_BEDROCK_BASE_URL",
            "AWS_*",
        ],
    ),
    (
        "vertex",
        &[
            "CLAUDE_CODE_USE_VERTEX",
            "CLAUDE_CODE_SKIP_VERTEX_AUTH",
            "ANTHROPIC_VERTEX_*",
            "CLOUD_ML_REGION",
            "VERTEX_REGION_*",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_CLOUD_PROJECT",
            "GCLOUD_PROJECT",
        ],
    ),
    (
        "foundry",
        &[
            "CLAUDE_CODE_USE_FOUNDRY",
            "CLAUDE_CODE_SKIP_FOUNDRY_AUTH",
            "ANTHROPIC_FOUNDRY_*",
            "AZURE_TENANT_ID",
            "AZURE_CLIENT_*",
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_AUTHORITY_HOST",
        ],
    ),
    (
        "openai",
        &[
            "OPENAI_API_KEY",
            "CODEX_API_KEY",
            "OPENAI_BASE_URL",
            "OPENAI_ORGANIZATION",
            "OPENAI_ORG_ID",
            "OPENAI_PROJECT",
            "OPENAI_MODEL",
        ],
    ),
    (
        "gemini",
        &[
            "GEMINI_API_KEY",
            "GOOGLE_API_KEY",
            "GEMINI_MODEL",
            "GOOGLE_GENAI_USE_VERTEXAI",
            "GOOGLE_CLOUD_LOCATION",
            "GOOGLE_GEMINI_BASE_URL",
        ],
    ),
    (
        "opencode",
        &["OPENCODE_API_KEY", "OPENCODE_CONFIG", "OPENCODE_CONFIG_CONTENT", "OPENCODE_PERMISSION"],
    ),
    (
        "copilot",
        &["COPILOT_GITHUB_TOKEN", "COPILOT_MODEL", "COPILOT_OFFLINE", "COPILOT_PROVIDER_*"],
    ),
    (
        "proxy",
        &[
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "no_proxy",
        ],
    ),
    (
        "ca",
        &[
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "NODE_EXTRA_CA_CERTS",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
        ],
    ),
];

/// The names of a preset (a trailing `*` matches a prefix); `None` for a preset that is not known.
pub(super) fn preset(name: &str) -> Option<&'static [&'static str]> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, names)| *names)
}

/// The names of all presets.
pub(super) fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// Names of credentials in the environment that the agent was not given, for the hint beside a
/// failed sign-in. The server's own are not among them.
pub fn held_back(
    environment: &BTreeMap<String, String>,
    passed: &BTreeMap<String, String>,
) -> Vec<String> {
    environment
        .keys()
        .filter(|name| looks_like_credential(name) && !passed.contains_key(*name))
        .filter(|name| *name != "API_TOKEN" && !name.starts_with("PILOTHOUSE_"))
        .cloned()
        .collect()
}

impl Environment {
    /// The process's own variables; called once, at the start. Nothing else reads them.
    pub fn of_process() -> Self {
        let mut environment = Self::default();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => {
                    environment.variables.insert(name, value);
                }
                (Ok(name), Err(_)) => environment.unreadable.push(name),
                (Err(name), _) => environment.unreadable.push(name.to_string_lossy().into_owned()),
            }
        }
        environment.unreadable.sort();
        environment
    }

    /// The value of a variable; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { variables, unreadable: Vec::new() }
    }
}

/// Names alone: the values may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Env {
    /// The variables that are chosen for an agent: those of `presets` and `pass` as far as they are
    /// set, and `set` above them all. What every agent has (`PATH`, `HOME`) is not decided here.
    pub fn select(&self, environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let presets = self.presets.iter().filter_map(|name| preset(name)).flatten().copied();
        let patterns: Vec<&str> = presets.chain(self.pass.iter().map(String::as_str)).collect();
        environment
            .iter()
            .filter(|(name, _)| patterns.iter().any(|pattern| matches(pattern, name)))
            .chain(&self.set)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

impl Agent {
    /// The variables that are chosen for it, with the credentials that it has inside of its sandbox.
    pub fn select_env(&self, environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut env = self.env.select(environment);
        let inside = self.secrets_inside.iter();
        let inside = inside.filter_map(|name| Some((name.clone(), environment.get(name)?.clone())));
        env.extend(inside);
        env
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DriverKind;

    fn names(map: &BTreeMap<String, String>) -> Vec<&str> {
        map.keys().map(String::as_str).collect()
    }

    fn of(list: &[&str]) -> BTreeMap<String, String> {
        list.iter().map(|&name| (name.to_owned(), "x".to_owned())).collect()
    }

    #[test]
    fn an_agent_gets_what_its_presets_name_and_nothing_else() {
        let environment =
            of(&["PATH", "LC_ALL", "HOME", "ANTHROPIC_API_KEY", "AWS_REGION", "GH_TOKEN"]);
        let claude = Agent::of(DriverKind::Claude).env;
        assert_eq!(names(&claude.select(&environment)), ["ANTHROPIC_API_KEY", "AWS_REGION"]);
        assert!(Agent::of(DriverKind::Demo).env.select(&environment).is_empty());
    }

    #[test]
    fn what_is_set_wins_over_what_is_passed() {
        let env = Env {
            pass: vec!["GH_*".to_owned()],
            set: [("GH_HOST".to_owned(), "mine".to_owned())].into(),
            ..Env::default()
        };
        let selected = env.select(&of(&["GH_HOST", "GH_TOKEN"]));
        assert_eq!(names(&selected), ["GH_HOST", "GH_TOKEN"]);
        assert_eq!(selected["GH_HOST"], "mine");
    }

    #[test]
    fn credentials_that_were_not_passed_are_named_except_the_servers_own() {
        let environment =
            of(&["GH_TOKEN", "API_TOKEN", "PILOTHOUSE_TOKEN", "ANTHROPIC_API_KEY", "EDITOR"]);
        assert_eq!(held_back(&environment, &of(&["ANTHROPIC_API_KEY"])), ["GH_TOKEN"]);
    }

    #[test]
    fn every_default_preset_exists() {
        let drivers = [DriverKind::Claude, DriverKind::Acp, DriverKind::Command, DriverKind::Demo];
        for driver in drivers {
            assert!(Agent::of(driver).env.presets.iter().all(|name| preset(name).is_some()));
        }
    }

    #[test]
    fn every_known_agent_gets_its_credential() {
        for known in pilothouse_agents::acp::preset::PRESETS {
            let agent = Agent::as_declared(&Agent {
                preset: Some(known.name.to_owned()),
                ..Agent::of(DriverKind::Acp)
            });
            let selected = agent.env.select(&of(known.credentials));
            assert_eq!(selected.len(), known.credentials.len(), "{}", known.name);
        }
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", Environment::from([("KEY", "secret")])), r#"{"KEY"}"#);
    }
}

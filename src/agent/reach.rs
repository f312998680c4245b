//! What an agent's sessions reach through the wall, and which of its keys stay outside.

use super::key::KeyCommand;
use crate::config::{self, Config, DriverKind};
use pilothouse_egress::{
    ChangingKey, GitRoute, HostRule, Policy, ProviderKind, Route, Tool, take_keys_beside,
};
use pilothouse_sandbox::isolation::BackendKind;
use reqwest::Url;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Variables of a proxy of the operator's; inside there is ours.
const PROXY: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// Behind a wall: what an agent's environment holds, and where it may go.
#[derive(Clone)]
pub struct Reach {
    /// Its environment without the keys that stay outside.
    pub env: Vec<(String, String)>,
    /// For its turns.
    pub policy: Arc<Policy>,
    /// For its session script.
    pub setup: Arc<Policy>,
    /// The command that prints its key.
    pub key: Option<Arc<KeyCommand>>,
}

impl Reach {
    /// What the configuration says of this agent, and what its driver or preset needs.
    pub fn of(
        config: &Config,
        key: &str,
        agent: &config::Agent,
        env: &BTreeMap<String, String>,
        key_command: Option<Arc<KeyCommand>>,
    ) -> Result<Self, String> {
        let mut kept = env.clone();
        kept.retain(|name, _| !PROXY.contains(&name.to_ascii_lowercase().as_str()));
        let preset = agent.preset.as_deref();
        let (kinds, tool): (&[ProviderKind], Tool) = match (agent.driver, preset) {
            (DriverKind::Claude, _) | (_, Some("claude-acp")) => {
                match is_on(env, "CLAUDE_CODE_USE_FOUNDRY") {
                    true => (&[ProviderKind::Foundry, ProviderKind::Anthropic], Tool::Variables),
                    false => (&[ProviderKind::Anthropic], Tool::Variables),
                }
            }
            (_, Some("codex")) => {
                let tool = Tool::codex(&mut kept).map_err(|error| error.to_string())?;
                (&[ProviderKind::OpenAi], tool)
            }
            (_, Some("gemini")) => (&[ProviderKind::Gemini], Tool::Variables),
            (_, Some("qwen")) => (&[ProviderKind::OpenAi], Tool::Variables),
            (_, Some("copilot")) => (&[ProviderKind::Copilot], Tool::Variables),
            (_, Some("opencode")) => {
                let tool = Tool::opencode(&mut kept).map_err(|error| error.to_string())?;
                let all = &[
                    ProviderKind::Anthropic,
                    ProviderKind::OpenAi,
                    ProviderKind::Gemini,
                    ProviderKind::OpenCode,
                ];
                (all, tool)
            }
            _ => (&[], Tool::Variables),
        };
        let changing = match (&key_command, kinds.first()) {
            (None, _) => None,
            (Some(_), None) => {
                return Err(format!(
                    "`agents.{key}.key_command` gives the key of a model that the server reaches for the agent, and this \
                     agent has none; pass it a key by `agents.{key}.env`"
                ));
            }
            (Some(_), _) if config.isolation.backend == BackendKind::None => {
                return Err(format!(
                    "`agents.{key}.key_command` needs a sandbox (`isolation.backend: auto`), because without one the agent \
                     reaches its model by itself"
                ));
            }
            (Some(command), Some(kind)) => {
                let name = format!("agents.{key}.key_command");
                Some((*kind, ChangingKey::new(command.clone(), name, agent.key_max_age.get())))
            }
        };
        let models =
            take_keys_beside(&mut kept, kinds, changing).map_err(|error| error.to_string())?;
        let has_no_model = models.is_empty();
        let forges = take_forges(&mut kept, agent)?;
        let own = match &agent.egress.allow {
            Some(hosts) => hosts.clone(),
            None => usual(agent.driver, preset, env, has_no_model),
        };
        let rules = |lists: [&[String]; 2], key: &str| -> Result<Vec<HostRule>, String> {
            let texts = lists.into_iter().flatten();
            texts.map(|text| text.parse().map_err(|error| format!("`{key}`: {error}"))).collect()
        };
        let git = || -> Result<Vec<Route>, String> {
            let entries = config.egress.git.iter();
            entries
                .map(|entry| {
                    GitRoute::new(&entry.host, &entry.path, Some(&entry.user), &entry.token)
                        .map(Route::Git)
                        .map_err(|error| error.to_string())
                })
                .collect()
        };
        let [allow_key, ask_key, setup_key] =
            ["allow", "ask", "setup"].map(|name| format!("agents.{key}.egress.{name}"));
        let policy = Policy {
            allow: rules([&config.egress.allow, &own], &allow_key)?,
            routes: models.into_iter().chain(forges).chain(git()?).collect(),
            tool,
            ask: rules([&config.egress.ask, &agent.egress.ask], &ask_key)?,
            key: allow_key,
        };
        let setup = Policy {
            allow: rules([&config.egress.setup, &agent.egress.setup], &setup_key)?,
            routes: take_forges(&mut env.clone(), agent)?.into_iter().chain(git()?).collect(),
            key: setup_key,
            ..Policy::default()
        };
        Ok(Self {
            env: kept.into_iter().collect(),
            policy: Arc::new(policy),
            setup: Arc::new(setup),
            key: key_command,
        })
    }
}

impl Reach {
    /// What the operator should know of a token of GitHub that stays outside.
    pub fn note_of_forge(&self, config: &Config, key: &str) -> Option<String> {
        let is_outside = config.isolation.backend != BackendKind::None
            && self.policy.has_route_to(ProviderKind::GitHub);
        is_outside.then(|| {
            format!(
                "`{key}` reaches the API of GitHub with your token, which stays outside of its sandbox: by the address in \
                 GITHUB_API_URL, which `gh` does not look at. For `gh`, have the token inside: `agents.{key}.secrets_inside: \
                 [GH_TOKEN]`"
            )
        })
    }
}

/// The route to the API of GitHub, where the agent has a token of it that is not to be inside.
fn take_forges(
    env: &mut BTreeMap<String, String>,
    agent: &config::Agent,
) -> Result<Vec<Route>, String> {
    if agent.secrets_inside.iter().any(|name| matches!(&**name, "GH_TOKEN" | "GITHUB_TOKEN")) {
        return Ok(Vec::new());
    }
    take_keys_beside(env, &[ProviderKind::GitHub], None).map_err(|error| error.to_string())
}

/// Whether a switch of the environment says yes.
fn is_on(env: &BTreeMap<String, String>, name: &str) -> bool {
    env.get(name).is_some_and(|value| matches!(value.trim(), "1" | "true"))
}

/// The hosts that an agent needs where nobody said otherwise: those of its model, unless a route leads there.
fn usual(
    driver: DriverKind,
    preset: Option<&str>,
    env: &BTreeMap<String, String>,
    no_route: bool,
) -> Vec<String> {
    let set = |name: &str| env.get(name).is_some_and(|value| !value.is_empty());
    let base = |name: &str| {
        let url = Url::parse(env.get(name)?).ok()?;
        let host = url.host_str()?.to_owned();
        Some(match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        })
    };
    let texts = |hosts: &[&str]| hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>();
    let mut hosts = match (driver, preset) {
        (DriverKind::Claude, _) | (_, Some("claude-acp")) if no_route => {
            texts(&["api.anthropic.com"])
        }
        (_, Some("codex" | "qwen")) if no_route => texts(&["api.openai.com"]),
        (_, Some("gemini")) if no_route => texts(&["generativelanguage.googleapis.com"]),
        (_, Some("copilot")) if no_route => {
            texts(&["api.github.com", "api.githubcopilot.com", "*.githubcopilot.com"])
        }
        _ => Vec::new(),
    };
    if set("CLAUDE_CODE_USE_BEDROCK") {
        hosts.push("*.amazonaws.com".to_owned());
        hosts.extend(base("ANTHROPIC_BEDROCK_BASE_URL"));
    }
    if is_on(env, "CLAUDE_CODE_USE_FOUNDRY") && no_route {
        let resource = env.get("ANTHROPIC_FOUNDRY_RESOURCE");
        hosts.extend(resource.map(|name| format!("{name}.services.ai.azure.com")));
        hosts.extend(base("ANTHROPIC_FOUNDRY_BASE_URL"));
        hosts.push("login.microsoftonline.com".to_owned());
    }
    if set("CLAUDE_CODE_USE_VERTEX") || set("GOOGLE_GENAI_USE_VERTEXAI") {
        hosts.push("*.googleapis.com".to_owned());
        hosts.extend(base("ANTHROPIC_VERTEX_BASE_URL"));
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(agent: &config::Agent, env: &[(&str, &str)]) -> Reach {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Reach::of(&Config::default(), "it", agent, &env.collect(), None).unwrap()
    }

    #[test]
    fn claudes_key_stays_outside_and_its_api_is_reached_by_a_route_alone() {
        let agent = config::Agent::of(DriverKind::Claude);
        let reach = reach(
            &agent,
            &[("ANTHROPIC_API_KEY", "sk-real"), ("HTTPS_PROXY", "http://p:1"), ("X", "y")],
        );
        assert_eq!(reach.env, [("X".to_owned(), "y".to_owned())]);
        assert_eq!((reach.policy.routes.len(), reach.policy.allow.len()), (1, 0));
    }

    #[test]
    fn a_command_reaches_nothing_and_keeps_what_it_was_given() {
        let agent = config::Agent::of(DriverKind::Command);
        let reach = reach(&agent, &[("TOKEN", "t")]);
        assert_eq!(reach.env, [("TOKEN".to_owned(), "t".to_owned())]);
        assert!(reach.policy.allow.is_empty() && reach.policy.routes.is_empty());
    }

    #[test]
    fn a_wrong_host_is_told_with_its_key() {
        let mut agent = config::Agent::of(DriverKind::Command);
        agent.egress.allow = Some(vec!["http://x/".to_owned()]);
        let error =
            Reach::of(&Config::default(), "bot", &agent, &BTreeMap::new(), None).err().unwrap();
        assert!(error.starts_with("`agents.bot.egress.allow`: `http://x/`"), "{error}");
    }
}

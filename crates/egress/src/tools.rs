//! CLIs that do not take the address of a model from a variable of its own, but from a configuration in
//! a variable.

use super::provider::Provider;
use super::route::ModelRoute;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// The variable of Codex's ACP adapter: JSON that is laid over its configuration.
const CODEX: &str = "CODEX_CONFIG";

/// OpenCode's variable: JSON that is laid over its configuration files.
const OPENCODE: &str = "OPENCODE_CONFIG_CONTENT";

/// How a CLI learns its routes. It may hold secrets of the operator, and its `Debug` output shows none.
#[derive(Clone, Default, PartialEq)]
pub enum Tool {
    /// By the variables of the routes alone.
    #[default]
    Variables,
    /// Codex: by its configuration too, which it prefers to `OPENAI_BASE_URL`.
    Codex(Map<String, Value>),
    /// OpenCode: by its configuration too; for some providers it knows no variable.
    OpenCode(Map<String, Value>),
}

impl Tool {
    /// Codex, with the operator's configuration from `CODEX_CONFIG`. The variable leaves the environment and comes
    /// back with the session's variables.
    ///
    /// # Errors
    ///
    /// When the variable is not a JSON object.
    pub fn codex(env: &mut BTreeMap<String, String>) -> Result<Self, BadConfiguration> {
        take(env, CODEX).map(Self::Codex)
    }

    /// OpenCode, with the operator's configuration from `OPENCODE_CONFIG_CONTENT`, likewise.
    ///
    /// # Errors
    ///
    /// When the variable is not a JSON object.
    pub fn opencode(env: &mut BTreeMap<String, String>) -> Result<Self, BadConfiguration> {
        take(env, OPENCODE).map(Self::OpenCode)
    }

    /// The variable that tells it these routes; `address` is of a route.
    pub(super) fn variable<'a>(
        &self,
        routes: impl Iterator<Item = &'a ModelRoute>,
        address: impl Fn(&Provider) -> String,
        token: &str,
    ) -> Option<(String, String)> {
        let providers = routes.map(ModelRoute::provider);
        let (variable, configuration) = match self {
            Self::Variables => return None,
            Self::Codex(own) => {
                let mut whole = own.clone();
                for provider in providers.filter(|provider| provider.name == "openai") {
                    whole.insert("openai_base_url".to_owned(), address(provider).into());
                }
                (CODEX, whole)
            }
            Self::OpenCode(own) => {
                let mut whole = Value::Object(own.clone());
                for provider in providers {
                    let Some((name, path)) = provider.opencode else {
                        continue;
                    };
                    let base = format!("{}{path}", address(provider));
                    let options = json!({"baseURL": base, "apiKey": token});
                    let ours = json!({"provider": {name: {"options": options}}});
                    lay_over(&mut whole, ours);
                }
                let Value::Object(whole) = whole else {
                    return None;
                };
                (OPENCODE, whole)
            }
        };
        let empty = configuration.is_empty();
        let text = Value::Object(configuration).to_string();
        (!empty).then(|| (variable.to_owned(), text))
    }
}

/// A configuration in the environment that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the variable `{0}` is not a JSON object; correct it")]
pub struct BadConfiguration(&'static str);

fn take(
    env: &mut BTreeMap<String, String>,
    variable: &'static str,
) -> Result<Map<String, Value>, BadConfiguration> {
    let Some(text) = env.get(variable).filter(|text| !text.trim().is_empty()) else {
        return Ok(Map::new());
    };
    let read = serde_json::from_str(text).map_err(|_| BadConfiguration(variable))?;
    env.remove(variable);
    Ok(read)
}

/// Objects are merged, everything else is replaced.
fn lay_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                lay_over(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Variables => "Variables",
            Self::Codex(_) => "Codex",
            Self::OpenCode(_) => "OpenCode",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::provider::ProviderKind;
    use super::super::route::{Route, take_keys};
    use super::*;

    fn told(tool: &Tool, keys: &[&str], kinds: &[ProviderKind]) -> Option<(String, Value)> {
        let mut env = keys.iter().map(|key| ((*key).to_owned(), "real".to_owned())).collect();
        let routes = take_keys(&mut env, kinds).unwrap();
        let models = routes.iter().filter_map(|route| match route {
            Route::Model(route) => Some(route),
            Route::Git(_) => None,
        });
        let address = |provider: &Provider| format!("http://here/{}", provider.name);
        let (name, text) = tool.variable(models, address, "TOKEN")?;
        Some((name, serde_json::from_str(&text).unwrap()))
    }

    #[test]
    fn opencode_is_told_every_provider_over_what_the_operator_says() {
        let own =
            r#"{"model": "anthropic/x", "provider": {"anthropic": {"options": {"timeout": 1}}}}"#;
        let mut env = BTreeMap::from([(OPENCODE.to_owned(), own.to_owned())]);
        let tool = Tool::opencode(&mut env).unwrap();
        assert!(env.is_empty());
        let kinds = [ProviderKind::Anthropic, ProviderKind::OpenAi, ProviderKind::Gemini];
        let (name, told) = told(&tool, &["ANTHROPIC_API_KEY", "GEMINI_API_KEY"], &kinds).unwrap();
        assert_eq!(name, OPENCODE);
        let expected = json!({
            "model": "anthropic/x",
            "provider": {
                "anthropic": {"options": {"timeout": 1, "baseURL": "http://here/anthropic/v1", "apiKey": "TOKEN"}},
                "google": {"options": {"baseURL": "http://here/gemini/v1beta", "apiKey": "TOKEN"}},
            },
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn codex_is_told_its_base_url_beside_what_the_operator_says() {
        let mut env = BTreeMap::from([(CODEX.to_owned(), r#"{"model": "x"}"#.to_owned())]);
        let tool = Tool::codex(&mut env).unwrap();
        let (name, told) = told(&tool, &["OPENAI_API_KEY"], &[ProviderKind::OpenAi]).unwrap();
        assert_eq!(name, CODEX);
        assert_eq!(told, json!({"model": "x", "openai_base_url": "http://here/openai"}));
    }

    #[test]
    fn without_a_route_there_is_nothing_to_tell() {
        let tool = Tool::codex(&mut BTreeMap::new()).unwrap();
        assert_eq!(told(&tool, &[], &[ProviderKind::OpenAi]), None);
        assert_eq!(told(&Tool::Variables, &["OPENAI_API_KEY"], &[ProviderKind::OpenAi]), None);
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_named() {
        let mut env = BTreeMap::from([(CODEX.to_owned(), "[1]".to_owned())]);
        let error = Tool::codex(&mut env).unwrap_err().to_string();
        assert_eq!(error, "the variable `CODEX_CONFIG` is not a JSON object; correct it");
    }
}

//! An MCP server that is declared for an agent.

use super::super::secrets::looks_like_credential;
use pilothouse_agents::setup::variables;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Characters of a name at most.
const LONGEST_NAME: usize = 64;

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

impl DeclaredServer {
    /// What is wrong with it, each to be read after its key.
    pub(super) fn problems(&self, name: &str) -> Vec<String> {
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

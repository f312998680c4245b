//! What the operator declares for an agent beside its prompt, and how far each declared thing has come.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One MCP server that the operator declares. Its texts may hold `${NAME}` and `${NAME:-text}`, which stand for
/// variables of the agent's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupServer {
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub transport: ServerTransport,
}

/// How an MCP server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerTransport {
    /// A program beside the agent, over its standard input and output.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables of its environment.
        env: BTreeMap<String, String>,
    },
    /// Streamable HTTP.
    Http {
        /// Its address.
        url: String,
        /// Headers of each request.
        headers: BTreeMap<String, String>,
    },
    /// HTTP with server-sent events, the older form.
    Sse {
        /// Its address.
        url: String,
        /// Headers of each request.
        headers: BTreeMap<String, String>,
    },
}

/// One declared thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupItem {
    /// What it is.
    pub kind: SetupKind,
    /// Its name: that of its file or folder.
    pub name: String,
    /// The name that the file gives itself, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// What a declared thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetupKind {
    /// Words for the model.
    Instructions,
    /// A skill.
    Skill,
    /// A subagent.
    Subagent,
    /// A command.
    Command,
    /// An MCP server.
    McpServer,
    /// A plugin.
    Plugin,
}

impl SetupKind {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Skill => "skill",
            Self::Subagent => "subagent",
            Self::Command => "command",
            Self::McpServer => "MCP server",
            Self::Plugin => "plugin",
        }
    }
}

/// How far a declared thing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetupLevel {
    /// The configuration names it.
    Declared,
    /// It lies where the CLI looks, or the CLI was told of it.
    Delivered,
    /// The CLI is connected with it.
    Connected,
    /// The CLI itself reports that it has it.
    Loaded,
}

impl SetupLevel {
    /// The word for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Delivered => "delivered",
            Self::Connected => "connected",
            Self::Loaded => "loaded",
        }
    }
}

/// One declared thing and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupEvidence {
    /// What is declared.
    pub item: SetupItem,
    /// How far it has come.
    pub level: SetupLevel,
}

/// The names of the variables that a text refers to, and whether each has a text in its place.
pub fn variables(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split("${").skip(1).filter_map(|rest| {
        let (inside, _) = rest.split_once('}')?;
        Some(match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        })
    })
}

/// A text with the values of its variables; a variable that is not there is empty.
pub fn expand(text: &str, value_of: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = text.split("${");
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let Some((inside, after)) = part.split_once('}') else {
            expanded.push_str("${");
            expanded.push_str(part);
            continue;
        };
        let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
        expanded.push_str(&value_of(name).unwrap_or_else(|| default.to_owned()));
        expanded.push_str(after);
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_stands_for_its_value_or_for_the_text_behind_it() {
        let text = "Bearer ${KEY}/${MODE:-fast} ${open";
        let names: Vec<_> = variables(text).collect();
        assert_eq!(names, [("KEY", None), ("MODE", Some("fast"))]);
        let value_of = |name: &str| (name == "KEY").then(|| "k${MODE}".to_owned());
        assert_eq!(expand(text, value_of), "Bearer k${MODE}/fast ${open");
    }
}

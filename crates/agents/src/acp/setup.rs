//! What the operator declares, as the parameters of a session.

use super::{Acp, Agent};
use crate::event::Problem;
use crate::setup::{
    ServerTransport, SetupEvidence, SetupItem, SetupKind, SetupLevel, SetupServer, expand,
};
use crate::{Event, Outcome, Step};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// What the sessions of an agent are set up with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcpSetup {
    /// The MCP servers that the agent is told of.
    pub servers: Vec<SetupServer>,
    /// The variables that their texts refer to.
    pub variables: Variables,
    /// Everything that is declared.
    pub items: Vec<SetupItem>,
    /// Whether a server that the agent cannot take is left out; the turn fails otherwise.
    pub lenient: bool,
}

/// Variables with their values, which may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(pub BTreeMap<String, String>);

/// Names alone: the values may be secret.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Agent {
    /// Whether it can reach a server in this way; every agent starts programs.
    fn takes(&self, transport: &ServerTransport) -> bool {
        match transport {
            ServerTransport::Stdio { .. } => true,
            ServerTransport::Http { .. } => self.mcp_http,
            ServerTransport::Sse { .. } => self.mcp_sse,
        }
    }
}

impl Acp {
    /// The servers for a session that is opened now.
    pub(super) fn mcp_servers(&self, agent: &Agent) -> Result<Vec<Value>, Outcome> {
        let setup = &self.options.setup;
        let (taken, left): (Vec<_>, Vec<_>) =
            setup.servers.iter().partition(|server| agent.takes(&server.transport));
        if let Some(server) = left.first().filter(|_| !setup.lenient) {
            let message = format!(
                "the agent does not offer to reach MCP servers like `{}` (`mcpCapabilities` of its `initialize`)",
                server.name
            );
            let hint = "the operator must take the server out of the agent's `setup.mcp`, or set `setup.lenient: true`";
            return Err(Outcome::Failed { message, hint: Some(hint.to_owned()) });
        }
        Ok(taken.into_iter().map(|server| self.parameter(server)).collect())
    }

    fn parameter(&self, server: &SetupServer) -> Value {
        let variables = &self.options.setup.variables.0;
        let value_of = |name: &str| match name {
            "HOME" => Some(self.setting.home.clone()),
            _ => variables.get(name).cloned(),
        };
        let text = |text: &String| expand(text, value_of);
        let pairs = |pairs: &BTreeMap<String, String>| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| json!({"name": name, "value": text(value)}))
                .collect::<Value>()
        };
        let mut parameter = match &server.transport {
            ServerTransport::Stdio { command, args, env } => {
                let args: Vec<String> = args.iter().map(text).collect();
                json!({"command": text(command), "args": args, "env": pairs(env)})
            }
            ServerTransport::Http { url, headers } => {
                json!({"type": "http", "url": text(url), "headers": pairs(headers)})
            }
            ServerTransport::Sse { url, headers } => {
                json!({"type": "sse", "url": text(url), "headers": pairs(headers)})
            }
        };
        parameter["name"] = json!(server.name);
        parameter
    }

    /// How far each declared thing has come, when the agent has opened a session with all of it.
    pub(super) fn report_setup(&self) -> Vec<Step> {
        let setup = &self.options.setup;
        let Some(agent) = self.agent.as_ref().filter(|_| !setup.items.is_empty()) else {
            return Vec::new();
        };
        let left: Vec<&str> = setup
            .servers
            .iter()
            .filter(|server| !agent.takes(&server.transport))
            .map(|server| server.name.as_str())
            .collect();
        let is_left = |item: &SetupItem| {
            item.kind == SetupKind::McpServer && left.contains(&item.name.as_str())
        };
        let evidence = setup.items.iter().map(|item| SetupEvidence {
            item: item.clone(),
            level: if is_left(item) { SetupLevel::Declared } else { SetupLevel::Delivered },
        });
        let problems = left.iter().map(|name| {
            Step::Say(Event::Problem(Problem {
                kind: "setup",
                subject: format!("{} {name}", SetupKind::McpServer.as_str()),
                state: SetupLevel::Declared.as_str().to_owned(),
                detail: None,
                text: format!(
                    "the MCP server `{name}` is left out: the agent does not offer to reach such servers"
                ),
                is_solved: false,
            }))
        });
        [Step::Say(Event::Setup(evidence.collect()))].into_iter().chain(problems).collect()
    }
}

//! The forerunners' variables under our names.
//!
//! Most set one key. Those that speak of "the agent" wait until it is known which one serves.

use super::defaults::BUILT_IN;
use super::error::Error;
use super::layers::Layers;
use super::load::Flags;
use super::origin::Origin;
use super::{Agent, Config, DriverKind};
use serde_json::json;
use std::collections::BTreeMap;

/// Variables of ours that are no keys of the server.
pub(super) const OURS: [&str; 6] = [
    "PILOTHOUSE_CONFIG",
    "PILOTHOUSE_URL",
    "PILOTHOUSE_TOKEN",
    "PILOTHOUSE_CA",
    "PILOTHOUSE_CLIENT_CERT",
    super::trust::VARIABLE,
];

/// The agent that `AGENT_CMD` defines.
const COMMAND: &str = "command";

/// Model keys that an unknown command may need; the forerunner gave it the whole environment.
const COMMAND_PRESETS: [&str; 7] =
    ["anthropic", "openai", "gemini", "bedrock", "vertex", "proxy", "ca"];

/// Something about the agent that serves, or that needs the values of all layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeferredAlias {
    /// Its name on the card.
    Name(String),
    /// The text on its card.
    Description(String),
    /// `AGENT_CMD` serves unless an agent is named.
    Command,
    /// `AGENT_CMD=claude`, the forerunner's default: Claude Code by its own driver.
    Claude,
    /// The host of the card's address.
    CardHost(String),
    /// The port of the card's address.
    CardPort(String),
}

/// What the text of a variable means where it is set.
type Meaning = fn(&str) -> String;

/// What waits until the agent is known, made of the text of a variable.
type Makes = fn(String) -> DeferredAlias;

/// Variable, key, and meaning. A later line wins over an earlier one.
const SIMPLE: [(&str, &str, Meaning); 12] = [
    ("HOST", "server.host", same),
    ("PORT", "server.port", same),
    ("API_TOKEN", "auth.token", same),
    ("CLAUDE_CODE_WORKSPACE_DIR", "workspace.path", same),
    ("CLAUDE_LOG_PATH", "log.path", same),
    ("CLAUDE_PERMISSION_MODE", "agents.claude.permission_mode", same),
    ("INIT_SESSION", "sessions.init", same),
    ("REQUEST_TIMEOUT_MS", "timeouts.turn", |millis| format!("{}ms", millis.trim())),
    ("CLAUDE_TIMEOUT_SECONDS", "timeouts.turn", same),
    ("RATE_LIMIT_RPM", "limits.rate", same),
    ("MAX_BODY_BYTES", "limits.body", same),
    ("AGENT_PROJECT", "workspace.path", same),
];

fn same(text: &str) -> String {
    text.to_owned()
}

/// Lays the forerunners' variables over what is there.
pub(super) fn lay_over(
    layers: &mut Layers,
    variables: &BTreeMap<String, String>,
    origin: fn(String) -> Origin,
) -> Result<(), Error> {
    let get = |name: &str| {
        let text = variables.get(name).map(String::as_str).filter(|text| !text.is_empty());
        text.map(|text| (text, origin(name.to_owned())))
    };
    for (name, key, meaning) in SIMPLE {
        if let Some((text, origin)) = get(name) {
            layers.set_alias(key, &meaning(text), origin)?;
        }
    }
    if let Some((_, origin)) = get("AGENT_PROJECT") {
        layers.set_alias("workspace.mode", "shared", origin)?;
    }
    if let Some((_, origin)) = get("NO_COLOR") {
        layers.set_text(&["log", "color"], "never", origin)?;
    }
    if let Some((text, origin)) = get("FORCE_COLOR") {
        let color = if matches!(text, "0" | "false") { "never" } else { "always" };
        layers.set_text(&["log", "color"], color, origin)?;
    }
    if let Some((text, origin)) = get("AGENT_CMD") {
        define_command(layers, text, origin)?;
    }
    let waiting: [(&str, Makes); 5] = [
        ("CLAUDE_AGENT_NAME", DeferredAlias::Name),
        ("AGENT_NAME", DeferredAlias::Name),
        ("AGENT_DESCRIPTION", DeferredAlias::Description),
        ("AGENT_CARD_HOST", DeferredAlias::CardHost),
        ("AGENT_CARD_PORT", DeferredAlias::CardPort),
    ];
    for (name, kind) in waiting {
        if let Some((text, origin)) = get(name) {
            layers.waiting.push((origin, kind(text.to_owned())));
        }
    }
    Ok(())
}

/// `AGENT_CMD`: an agent of the command driver whose program and arguments are these words.
fn define_command(layers: &mut Layers, text: &str, origin: Origin) -> Result<(), Error> {
    let fail = |problem: &str| Error::Value {
        origin: origin.clone(),
        key: format!("agents.{COMMAND}"),
        problem: problem.to_owned(),
    };
    let mut words =
        shell_words::split(text).map_err(|_| fail("a quote in it is not closed"))?.into_iter();
    let program = words.next().ok_or_else(|| fail("it names no program"))?;
    if program == "claude" && words.len() == 0 {
        layers.waiting.push((origin, DeferredAlias::Claude));
        return Ok(());
    }
    let mut agent = Agent::of(DriverKind::Command);
    agent.env.presets = COMMAND_PRESETS.map(str::to_owned).into();
    layers.add_agent(COMMAND, &agent);
    layers.set("agents.command.driver", json!("command"), origin.clone());
    layers.set("agents.command.program", program.into(), origin.clone());
    layers.set("agents.command.args", words.collect(), origin.clone());
    layers.waiting.push((origin, DeferredAlias::Command));
    Ok(())
}

/// Applies what waited: everything is laid over, so it is known which agent serves.
pub(super) fn settle(layers: &mut Layers, flags: &Flags) -> Result<(), Error> {
    let mut waiting = std::mem::take(&mut layers.waiting);
    let of_command = |what: &DeferredAlias| match what {
        DeferredAlias::Command => Some(COMMAND),
        DeferredAlias::Claude => Some("claude"),
        DeferredAlias::Name(_)
        | DeferredAlias::Description(_)
        | DeferredAlias::CardHost(_)
        | DeferredAlias::CardPort(_) => None,
    };
    let last = waiting.iter().rev().find_map(|(origin, what)| Some((origin, of_command(what)?)));
    if let Some((origin, agent)) = last
        && layers.origin("agent") == Origin::Default
    {
        layers.set("agent", agent.into(), origin.clone());
    }
    select_only_own(layers);
    waiting.extend(
        flags
            .agent_name
            .clone()
            .map(|name| (Origin::Flag("--agent-name"), DeferredAlias::Name(name))),
    );
    let config = layers.config();
    for (origin, what) in &waiting {
        let (field, text) = match what {
            DeferredAlias::Name(name) => ("name", name),
            DeferredAlias::Description(text) => ("description", text),
            DeferredAlias::Command
            | DeferredAlias::Claude
            | DeferredAlias::CardHost(_)
            | DeferredAlias::CardPort(_) => {
                continue;
            }
        };
        for agent in config.candidates() {
            let key = format!("agents.{agent}.{field}");
            if layers.rank(origin) > layers.rank(&layers.origin(&key)) {
                let path = ["agents", agent, field];
                layers.set_text(&path, text, origin.clone())?;
            }
        }
    }
    // With `auto` it is not known yet which one serves; the demonstration has no use for arguments.
    for agent in config.candidates() {
        let args = &config.agents[agent].args;
        if !flags.agent_args.is_empty() && config.agents[agent].driver != DriverKind::Demo {
            let key = format!("agents.{agent}.args");
            layers.extended.push((key.clone(), json!(args), layers.origin(&key)));
            let args = args.iter().chain(&flags.agent_args).map(String::as_str).collect();
            layers.set(&key, args, Origin::Flag("--"));
        }
    }
    public_url(layers, &config, &waiting)
}

/// `auto` is the only agent that the operator added, if there is exactly one.
fn select_only_own(layers: &mut Layers) {
    let config = layers.config();
    let mut own =
        config.agents.keys().filter(|&name| BUILT_IN.iter().all(|(built_in, _)| built_in != name));
    if let ("auto", Some(name), None) = (config.agent.as_str(), own.next(), own.next()) {
        let origin = Origin::Derived("the only agent that was added".to_owned());
        layers.set("agent", name.as_str().into(), origin);
    }
}

/// The card's address from its host and port, either of which may be missing.
fn public_url(
    layers: &mut Layers,
    config: &Config,
    waiting: &[(Origin, DeferredAlias)],
) -> Result<(), Error> {
    let last = |pick: fn(&DeferredAlias) -> Option<&String>| {
        waiting.iter().rev().find_map(|(origin, what)| Some((origin, pick(what)?)))
    };
    let host =
        last(|what| if let DeferredAlias::CardHost(host) = what { Some(host) } else { None });
    let port =
        last(|what| if let DeferredAlias::CardPort(port) = what { Some(port) } else { None });
    let Some(origin) = host.or(port).map(|(origin, _)| origin.clone()) else {
        return Ok(());
    };
    if layers.rank(&origin) <= layers.rank(&layers.origin("server.public_url")) {
        return Ok(());
    }
    let port = match port {
        Some((origin, text)) => text.trim().parse::<u16>().map_err(|_| Error::Value {
            origin: origin.clone(),
            key: "server.public_url".to_owned(),
            problem: "a port is a whole number from 1 to 65535".to_owned(),
        })?,
        None => config.server.port,
    };
    let listening = match config.server.host.as_str() {
        "0.0.0.0" | "::" | "[::]" => "localhost",
        host => host,
    };
    let host = host.map_or(listening, |(_, text)| text.trim());
    let host = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let url = match port {
        443 => format!("https://{host}/"),
        80 => format!("http://{host}/"),
        port => format!("http://{host}:{port}/"),
    };
    layers.set_alias("server.public_url", &url, origin)
}

#[cfg(test)]
mod tests;

//! `doctor --session`: the set-up of one throw-away session of each agent, in a server of its own on loopback.
//!
//! # How it works
//!
//! A turn that runs a command of the CLI's own needs no model, and begins like any other: the session's folders are
//! made, its script runs, the process starts in its sandbox, MCP servers are waited for, and the CLI says what it has
//! loaded. So what is shown is what a caller would see.

use crate::agent::Agent;
use crate::cli::trial::TrialServer;
use crate::client::failure::{Failure, causes};
use crate::client::report::Report;
use crate::config::{Age, Config, DriverKind, Loaded, SkillsSource};
use pilothouse_a2a::client::{Client, ClientTls};
use pilothouse_a2a::operation::SendMessageRequest;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// A command that Claude Code runs without a model.
const COMMAND: &str = "cost";

/// How long a session may take beyond its script and its servers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tries one session of each agent that can be tried without its model.
pub(super) async fn try_sessions(
    loaded: &Loaded,
    cwd: &Path,
    report: &mut Report,
) -> Result<(), Failure> {
    let server = match TrialServer::start(loaded, cwd, adjust).await {
        Ok(server) => server,
        Err(error) => {
            report.bad_text("session", &causes(Some(&error)), "a server would not start either");
            return Ok(());
        }
    };
    for agent in &server.agents {
        if agent.config.driver != DriverKind::Claude {
            let words = "is not tried: without its model its CLI opens no session";
            report.note("session", format!("`{}` {words}", agent.key));
            continue;
        }
        if let Err(error) = try_session(agent, &server, report).await {
            report.bad_text("session", &format!("`{}`: {}", agent.key, causes(Some(&error))), "");
        }
    }
    server.stop().await;
    Ok(())
}

/// One command of the CLI's own may be run, and not for long.
fn adjust(config: &mut Config) {
    let turn = config.timeouts.init.get() + config.timeouts.mcp.get() + PATIENCE;
    // Its sources, then its script.
    let turn = turn + config.timeouts.setup.get() * 2;
    config.timeouts.turn = Age::from_secs(turn.as_secs()).unwrap_or(config.timeouts.turn);
    for agent in config.agents.values_mut() {
        agent.skills_source = SkillsSource::Files;
        agent.commands = vec![COMMAND.to_owned()];
    }
}

/// One turn, and what its events say of the set-up.
async fn try_session(
    agent: &Agent,
    server: &TrialServer,
    report: &mut Report,
) -> Result<(), pilothouse_a2a::client::ClientError> {
    let key = &agent.key;
    let url = match *agent.key == *server.agents[0].key {
        true => server.url.clone(),
        false => format!("{}agents/{key}/", server.url),
    };
    let client = Client::new(&url, server.token.clone(), &ClientTls::default())?;
    let message = json!({"message": {
        "messageId": uuid::Uuid::new_v4().to_string(), "role": "ROLE_USER",
        "parts": [{"data": {"command": COMMAND}}],
    }});
    let request: SendMessageRequest = serde_json::from_value(message).expect("it is written here");
    let mut events = client.stream(&request).await?;
    let mut last = Value::Null;
    while let Some(event) = events.next().await {
        let (_, event) = event?;
        let event = serde_json::to_value(&event).unwrap_or_default();
        let status = &event["statusUpdate"];
        if !status.is_object() {
            continue;
        }
        describe(status, key, report);
        last = status.clone();
    }
    conclude(&last, key, report);
    Ok(())
}

fn words(status: &Value) -> String {
    let parts = status["status"]["message"]["parts"].as_array().into_iter().flatten();
    let texts: Vec<&str> = parts.filter_map(|part| part["text"].as_str()).collect();
    texts.join("\n")
}

/// What one status says, where it is about the set-up.
fn describe(status: &Value, agent: &str, report: &mut Report) {
    let parts = status["status"]["message"]["parts"].as_array().into_iter().flatten();
    for data in parts.map(|part| &part["data"]).filter(|data| data.is_object()) {
        let subject = data["subject"].as_str().unwrap_or_default();
        let text = words(status);
        match data["kind"].as_str().unwrap_or_default() {
            "init-session" => {
                report.good("session", format!("`{agent}`: the session script has run"));
            }
            // A call of the CLI's own that is refused may well be harmless.
            "egress-refused" => report.note("session", format!("`{agent}`: {text}")),
            "mcp-server" if data["state"] != "connected" => {
                let fix = format!(
                    "correct the server `{subject}` (`agents.{agent}.setup.mcp.{subject}`, or where it is configured)"
                );
                report.bad("session", format!("`{agent}`: {text}"), fix);
            }
            "setup" => {
                let fix = format!("correct `agents.{agent}.setup`: {subject}");
                report.bad("session", format!("`{agent}`: {text}"), fix);
            }
            "hook" => report.note("session", format!("`{agent}`: {text}")),
            _ => {}
        }
    }
}

/// How the turn ended, and how far each declared thing has come.
fn conclude(last: &Value, agent: &str, report: &mut Report) {
    let state = last["status"]["state"].as_str().unwrap_or_default();
    if state != "TASK_STATE_COMPLETED" {
        report.bad_text("session", &format!("`{agent}`: {}", words(last)), "");
        return;
    }
    let setup = &last["metadata"]["setup"];
    let declared = setup["declared"].as_array().into_iter().flatten();
    let field = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let declared = declared.map(|item| {
        format!("{} {} {}", field(item, "kind"), field(item, "name"), field(item, "level"))
    });
    let declared: Vec<String> = declared.collect();
    let words = match setup["revision"].as_str() {
        Some(revision) => {
            format!("`{agent}` begins a session with set-up {revision}: {}", declared.join(", "))
        }
        None => format!("`{agent}` begins a session; it declares no set-up"),
    };
    report.good("session", words);
}

//! `pilothouse doctor`: find what is wrong before a user does, one line each, the fix beside it.

mod machine;
mod online;
mod session;

use crate::agent::{Agent, Agents, describe_cli, is_tested};
use crate::app::{describe_certificate, find_notes};
use crate::client::exit;
use crate::client::failure::{Failure, causes};
use crate::client::report::Report;
use crate::client::tasks::print_json;
use crate::client::terminal::Screen;
use crate::config::{self, Config, DriverKind, Environment, Loaded, SetupField, held_back, load};
use crate::descriptors;
use crate::limited;
use clap::Args;
use machine::{clock, folder, last_inventory, port, store, tree};
use pilothouse_egress::Network;
use pilothouse_sandbox::isolation::{Kernel, When, choose, promises_json};
use pilothouse_sandbox::process::Launcher;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a process may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// A port of loopback that no program is given by the system.
const UNUSED_PORT: u16 = 1;

/// How to tell it.
#[derive(Debug, Clone, Args)]
pub(super) struct DoctorArgs {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// Ask the agent's model once, through the sandbox; this costs a few tokens
    #[arg(long)]
    online: bool,
    /// Configuration file (./pilothouse.yaml)
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// Folder of the store, the token and the sessions' homes
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Set up a throw-away session of each agent, and show what of its set-up arrives
    #[arg(long)]
    session: bool,
    /// Use files of the working folder although they weaken the sandbox or the access check
    #[arg(long)]
    trust_folder: bool,
}

/// Checks everything; 1 when there are problems.
pub(super) async fn run(
    args: DoctorArgs,
    environment: &Environment,
    cwd: &Path,
    screen: Screen,
) -> Result<u8, Failure> {
    let mut report = Report::default();
    let mut findings = Value::Null;
    let flags = config::Flags {
        config: args.config,
        state_dir: args.state_dir,
        trust_folder: args.trust_folder,
        ..Default::default()
    };
    match load(&flags, environment, cwd) {
        Ok(loaded) => {
            findings = examine(&loaded, cwd, &mut report).await?;
            if args.session && loaded.check_folder(cwd).is_ok() {
                Box::pin(session::try_sessions(&loaded, cwd, &mut report)).await?;
            }
            if args.online && report.is_good() {
                Box::pin(online::ask_model(&loaded, cwd, &mut report)).await?;
            }
        }
        Err(error) => {
            report.bad_text("configuration", &causes(Some(&error)), check_again(&flags, &error));
        }
    }
    clock(&mut report, Path::new("/proc/self/exe"), "the program");
    let mut out = io::stdout();
    if args.json {
        print_json(
            &mut out,
            &json!({
                "ok": report.is_good(),
                "checks": report.json(),
                "isolation": findings,
                "guarantees": promises_json(),
            }),
        )?;
    } else {
        write!(out, "{}", report.lines(screen.styled, screen.width))?;
    }
    Ok(if report.is_good() { 0 } else { exit::FAILED })
}

/// The command that checks a corrected configuration; each error says itself what to correct.
fn check_again(flags: &config::Flags, error: &config::Error) -> String {
    if matches!(error, config::Error::Unreadable { .. }) {
        return String::new();
    }
    let file = flags.config.as_ref().map(|file| file.display().to_string());
    let file = file.map(|file| format!(" --config {}", shell_words::quote(&file)));
    format!("then check it: `pilothouse config check{}`", file.unwrap_or_default())
}

/// Everything that a configuration allows to be looked at.
async fn examine(loaded: &Loaded, cwd: &Path, report: &mut Report) -> Result<Value, Failure> {
    let config = &loaded.config;
    report.good("configuration", "loads; `pilothouse config show` tells each value and its origin");
    for note in &loaded.notes {
        report.note("configuration", note);
    }
    let launcher = Launcher::start();
    if let Err(error) = loaded.check_folder(cwd) {
        // Nothing that such a file names is started.
        report.bad_text("working folder", &error.to_string(), "");
        return Ok(Value::Null);
    }
    let agents = Agents::resolve(loaded, cwd);
    match &agents {
        Ok(agents) => {
            let agent = agents.default_one();
            report.good("agent", format!("{} ({})", agent.name, chosen(agent, config)));
            if let Some(reason) = &agent.reason {
                report.note("agent", reason);
            }
            for note in &agent.notes {
                report.note("agent", note);
            }
            program(agent, config, report);
            credential(agent, &loaded.agent_environment, report);
            for limit in limited::read(&config.state_dir) {
                report.note("account", limit.words());
            }
            match Network::of(&loaded.agent_environment) {
                Ok(network) => {
                    for note in find_notes(config, agents, &network, cwd) {
                        report.note("note", note);
                    }
                }
                Err(error) => report.bad("network", error.to_string(), ""),
            }
            for other in agents.iter().filter(|other| other.key != agent.key) {
                let program = other.program().display();
                report
                    .good("agent", format!("{} at /agents/{} ({program})", other.name, other.key));
                for note in &other.notes {
                    report.note("agent", note);
                }
            }
            for agent in agents.iter() {
                set_up(agent, report);
                skills(agent, config, report);
            }
        }
        Err(error) => report.bad("agent", error.to_string(), ""),
    }
    folder("state folder", &config.state_dir, "state_dir", report);
    folder("workspace", &cwd.join(&config.workspace.path), "workspace.path", report);
    for why in config.find_unwritable() {
        report.bad("log", why, "");
    }
    store(config, report);
    match describe_certificate(config) {
        Ok(told) => told.into_iter().for_each(|told| report.good("certificate", told)),
        Err(error) => report.bad("certificate", error.to_string(), ""),
    }
    descriptors(config, report);
    port(config, report).await?;
    let mut findings = Value::Null;
    match launcher {
        Ok(launcher) => {
            if let Ok(agents) = &agents {
                let environment = &loaded.agent_environment;
                findings = isolation(config, &launcher, agents, environment, report).await;
            }
            tree(&launcher, report).await;
        }
        Err(error) => report.bad(
            "launcher",
            format!("does not start: {error}"),
            "let this binary be executed",
        ),
    }
    Ok(findings)
}

/// How many descriptors the server may open.
fn descriptors(config: &Config, report: &mut Report) {
    let most = descriptors::hard_limit();
    match descriptors::fit(&mut config.clone(), most) {
        None => report.good("descriptors", format!("up to {most}, enough for the bounds")),
        Some(lowered) => report.note("descriptors", lowered),
    }
}

// === the agent ===

fn chosen(agent: &Agent, config: &Config) -> String {
    let driver = match agent.config.driver {
        DriverKind::Claude => "driver claude",
        DriverKind::Acp => "driver acp",
        DriverKind::Command => "driver command",
        DriverKind::Demo => "the built-in demo",
    };
    match config.agent.as_str() {
        "auto" => format!("{driver}, chosen by `agent: auto`"),
        named => format!("{driver}, named by `agent: {named}`"),
    }
}

/// The program, and the version that it told at the last start of a server. It is not started here: that would be outside
/// of the sandbox.
fn program(agent: &Agent, config: &Config, report: &mut Report) {
    let path = agent.program().display();
    if agent.config.driver == DriverKind::Demo {
        return report.good("program", format!("this one, {}", env!("CARGO_PKG_VERSION")));
    }
    let known = last_inventory(config, &agent.key).map(|known| known.inventory);
    let known = known.filter(|inventory| inventory.version.is_some());
    let version = match &known {
        Some(inventory) => describe_cli(inventory),
        None => "not started before its first turn".to_owned(),
    };
    let words = match agent.is_contained() {
        true => format!("{path} of the image, {version}"),
        false => format!("{path}, {version}"),
    };
    let is_unknown = known.is_some_and(|cli| !cli.version.as_deref().is_some_and(is_tested));
    match is_unknown || agent.is_contained() {
        true => report.note("program", words),
        false => report.good("program", words),
    }
}

/// What an agent is set up with, and what its driver could keep.
fn set_up(agent: &Agent, report: &mut Report) {
    let Some(setup) = agent.current_setup() else { return };
    let items = setup.items.iter().map(|item| format!("{} {}", item.kind.as_str(), item.name));
    let items: Vec<String> = items.collect();
    let (driver, preset) = (agent.config.driver, agent.config.preset.as_deref());
    let kept = SetupField::ALL.into_iter().filter(|field| field.is_kept_by(driver, preset));
    let kept: Vec<&str> = kept.map(SetupField::key).collect();
    report.good(
        "set-up",
        format!(
            "`{}` has revision {}: {}; its driver keeps {}",
            agent.key,
            setup.digest,
            items.join(", "),
            kept.join(", ")
        ),
    );
}

/// What an agent's card says beside the configuration, and where that differs from its files.
fn skills(agent: &Agent, config: &Config, report: &mut Report) {
    if agent.asks_its_cli() {
        match last_inventory(config, &agent.key) {
            Some(known) => {
                let asked = known.asked;
                agent.offers.restore(known);
                let count = agent.offered_skills().len();
                let words = format!("{count} of `{}`, listed by the CLI at {asked}", agent.key);
                report.good("skills", words);
            }
            None => report.note(
                "skills",
                format!(
                    "`{}` was not asked yet which it has; a start of the server does",
                    agent.key
                ),
            ),
        }
    }
    for note in agent.offer_notes() {
        report.note("skills", note);
    }
}

/// Names of the agent's credentials, and on which side of the sandbox they are; never a value.
fn credential(agent: &Agent, environment: &BTreeMap<String, String>, report: &mut Report) {
    let given = agent.config.select_env(environment);
    let given: BTreeMap<String, String> =
        given.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut names = held_back(&given, &BTreeMap::new());
    names.extend(given.keys().filter(|name| name.starts_with("CLAUDE_CODE_USE_")).cloned());
    if let Some(program) = agent.config.key_command.first() {
        return report.good("credential", format!("printed by {program} (key_command)"));
    }
    let latest = agent.latest_env();
    let (inside, outside): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| {
        let kept = latest.reach.env.iter().find(|(kept, _)| kept == name);
        kept.is_some_and(|(_, value)| given.get(name) == Some(value))
    });
    if !outside.is_empty() {
        let words = "stays outside of the sandbox; the proxy adds it to requests to the model";
        report.good("credential", format!("{} {words}", outside.join(", ")));
    }
    if !inside.is_empty() {
        report.good("credential", format!("{} is given to the agent", inside.join(", ")));
    }
    if !(inside.is_empty() && outside.is_empty()) {
        return;
    }
    match agent.config.driver {
        DriverKind::Demo => report.good("credential", "none needed"),
        DriverKind::Claude => report.bad(
            "credential",
            "none is set for Claude Code",
            "set ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN (`claude setup-token` prints it), in the environment or in .env",
        ),
        DriverKind::Acp | DriverKind::Command => report.note(
            "credential",
            "none is set; if the agent needs one, name it in its `env.pass`",
        ),
    }
}

/// The sandbox, attacked here and now.
async fn isolation(
    config: &Config,
    launcher: &Launcher,
    agents: &Agents,
    environment: &BTreeMap<String, String>,
    report: &mut Report,
) -> Value {
    // No agent is started here, and the attacks have a stand-in for the proxy.
    let (needs, environment) = (agents.needs(), agents.trusted(environment));
    let kernel = Kernel::ask(launcher).await;
    let chosen = choose(
        &config.sandbox(),
        launcher,
        kernel,
        &needs,
        &environment,
        UNUSED_PORT,
        When::Doctor,
    )
    .await;
    match chosen {
        Ok(isolation) => {
            let worth = isolation.describe_worth();
            if isolation.is_sandboxed() {
                let names = isolation.list_guarantees();
                report.good("isolation", format!("{worth}: {names}"));
            } else {
                report.note("isolation", worth);
            }
            for missing in isolation.missing() {
                report.note("isolation", missing);
            }
            for agent in agents.iter() {
                if let Err(error) = agent.check_sandbox(&isolation) {
                    report.bad("isolation", error.to_string(), "");
                }
                if let Some(note) = isolation.note(&agent.key) {
                    report.note("isolation", note);
                }
            }
            isolation.findings_json()
        }
        Err(error) => {
            let words = error.to_string();
            let mut lines = words.lines();
            report.bad("isolation", lines.next().unwrap_or_default(), "");
            for line in lines {
                report.note("isolation", line.trim());
            }
            error.findings_json()
        }
    }
}

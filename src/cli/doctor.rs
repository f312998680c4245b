//! `pilothouse doctor`: find what is wrong before a user does, one line each, the fix beside it.

use super::failure::{Failure, causes};
use super::healthcheck::answered;
use super::local::{address, configured};
use super::report::Report;
use super::tasks::print_json;
use super::terminal::Screen;
use super::exit;
use crate::agent::Agent;
use crate::config::{Config, DriverKind, Environment, Loaded, held_back, load};
use crate::process::{Ended, Launcher, Process};
use crate::supervisor::{Spec, Word};
use clap::Args;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt;

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much a program may say about its version.
const WORDS: u64 = 4096;
/// Clocks of file systems and machines differ by less.
const SLACK: Duration = Duration::from_secs(24 * 60 * 60);
/// What isolation will promise, and does not yet.
const WANTED: [&str; 4] = ["fs.read", "fs.write", "net.egress", "key outside of the wall"];

/// How to tell it.
#[derive(Debug, Clone, Args)]
pub(super) struct DoctorArgs {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// Configuration file (./pilothouse.yaml)
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// Folder of the store, the token and the sessions' homes
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Checks everything; 1 when there are problems.
///
/// # Errors
/// When the findings cannot be printed.
pub(super) async fn run(args: DoctorArgs, environment: &Environment, cwd: &Path, screen: Screen) -> Result<u8, Failure> {
    let mut report = Report::default();
    let flags = crate::config::Flags { config: args.config, state_dir: args.state_dir, ..Default::default() };
    match load(&flags, environment, cwd) {
        Ok(loaded) => examine(&loaded, cwd, &mut report).await?,
        Err(error) => report.bad("configuration", causes(Some(&error)), "correct it; `pilothouse config check` tells more"),
    }
    clock(&mut report, Path::new("/proc/self/exe"), "the program");
    let mut out = io::stdout();
    if args.json {
        print_json(&mut out, &json!({"ok": report.is_good(), "checks": report.json()}))?;
    } else {
        write!(out, "{}", report.lines(screen.styled))?;
    }
    Ok(if report.is_good() { 0 } else { exit::FAILED })
}

/// Everything that a configuration allows to be looked at.
async fn examine(loaded: &Loaded, cwd: &Path, report: &mut Report) -> Result<(), Failure> {
    let config = &loaded.config;
    report.good("configuration", "loads; `pilothouse config show` tells each value and its origin");
    for note in &loaded.notes {
        report.note("configuration", note);
    }
    let launcher = Launcher::start();
    let agent = Agent::resolve(config, &loaded.agent_environment);
    match &agent {
        Ok(agent) => {
            report.good("agent", format!("{} ({})", agent.name, chosen(agent, config)));
            for note in &agent.notes {
                report.note("agent", note.trim_start_matches("agent: "));
            }
            match &launcher {
                Ok(launcher) => program(agent, launcher, &loaded.agent_environment, cwd, report).await,
                Err(error) => report.bad("program", format!("not started: {error}"), "see `launcher`"),
            }
            credential(agent, &loaded.agent_environment, report);
        }
        Err(error) => report.bad("agent", error.to_string(), ""),
    }
    folder("state folder", &config.state_dir, "state_dir", report);
    folder("workspace", &cwd.join(&config.workspace.path), "workspace.path", report);
    store(config, report);
    port(config, report).await?;
    if let Ok(agent) = &agent {
        isolation(&agent.isolation(), report);
    }
    match launcher {
        Ok(launcher) => tree(&launcher, report).await,
        Err(error) => report.bad("launcher", format!("does not start: {error}"), "let this binary be executed"),
    }
    Ok(())
}

// === the agent ===

fn chosen(agent: &Agent, config: &Config) -> String {
    let driver = match agent.config.driver {
        DriverKind::Claude => "driver claude",
        DriverKind::Command => "driver command",
        DriverKind::Demo => "the built-in demo",
    };
    match config.agent.as_str() {
        "auto" => format!("{driver}, chosen by `agent: auto`"),
        named => format!("{driver}, named by `agent: {named}`"),
    }
}

/// The CLI and its version.
async fn program(
    agent: &Agent,
    launcher: &Launcher,
    environment: &BTreeMap<String, String>,
    cwd: &Path,
    report: &mut Report,
) {
    let path = agent.program().display().to_string();
    if agent.config.driver == DriverKind::Demo {
        return report.good("program", format!("this one, {}", env!("CARGO_PKG_VERSION")));
    }
    let passed = ["PATH", "HOME", "LANG"];
    let env = passed.iter().filter_map(|&name| Some((name.to_owned(), environment.get(name)?.clone())));
    let spec = Spec {
        program: path.clone(),
        args: vec!["--version".to_owned()],
        env: env.collect(),
        cwd: cwd.display().to_string(),
    };
    match said(launcher, &spec).await {
        Ok(version) if version.is_empty() => report.good("program", format!("{path} (tells no version)")),
        Ok(version) => report.good("program", format!("{path}, {version}")),
        Err(cause) => report.bad("program", format!("{path} --version: {cause}"), "install it anew, or set its `program`"),
    }
}

/// The first line that a program prints, within [`PATIENCE`]; its whole tree is ended then.
async fn said(launcher: &Launcher, spec: &Spec) -> Result<String, String> {
    let mut process = launcher.spawn(spec).await.map_err(|error| error.to_string())?;
    process.stdin = None;
    let mut text = Vec::new();
    let listen = async {
        let mut out = (&mut process.stdout).take(WORDS);
        let _ = out.read_to_end(&mut text).await;
        process.control.ended().await
    };
    let ended = tokio::time::timeout(PATIENCE, listen).await;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    match ended {
        Ok(Ended::Code(0)) => Ok(line),
        Ok(Ended::Code(code)) if (126..=127).contains(&code) => Err(format!("exit code {code}")),
        // A program that knows no `--version` is there all the same.
        Ok(Ended::Code(_)) => Ok(String::new()),
        Ok(Ended::Signal(signal)) => Err(format!("ended by signal {signal}")),
        Ok(Ended::Unclear) => Err("ended in an unclear way".to_owned()),
        Err(_) => {
            end(process).await;
            Err(format!("no answer within {} s", PATIENCE.as_secs()))
        }
    }
}

/// Names of credentials that reach the agent; never a value.
fn credential(agent: &Agent, environment: &BTreeMap<String, String>, report: &mut Report) {
    let given = agent.config.env.select(environment);
    let given: BTreeMap<String, String> = given.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut names = held_back(&given, &BTreeMap::new());
    names.extend(given.keys().filter(|name| name.starts_with("CLAUDE_CODE_USE_")).cloned());
    match (agent.config.driver, names.is_empty()) {
        (DriverKind::Demo, _) => report.good("credential", "none needed"),
        (_, false) => report.good("credential", format!("{} is given to the agent", names.join(", "))),
        (DriverKind::Claude, true) => {
            report.bad("credential", "none reaches the agent", "set ANTHROPIC_API_KEY in the environment or in .env");
        }
        (DriverKind::Command, true) => {
            report.note("credential", "none reaches the agent; where it needs one, name it in its `env.pass`");
        }
    }
}

fn isolation(told: &Value, report: &mut Report) {
    let in_force: Vec<&str> = told
        .get("guarantees")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let backend = told.get("backend").and_then(Value::as_str).unwrap_or("none");
    report.good("isolation", format!("in force: {} (backend {backend})", in_force.join(", ")));
    let missing: Vec<&str> = WANTED.into_iter().filter(|name| !in_force.contains(name)).collect();
    if !missing.is_empty() {
        let run = "run the server in a container or under a user of its own";
        report.note("isolation", format!("not in force yet: {}; {run}", missing.join(", ")));
    }
}

// === the machine ===

/// Whether a folder can be written, or made.
fn folder(name: &str, path: &Path, key: &str, report: &mut Report) {
    let shown = path.display();
    let fix = format!("make it writable for this user, or set another `{key}`");
    if path.is_dir() {
        let probe = path.join(format!(".doctor-{}", std::process::id()));
        match std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)) {
            Ok(()) => report.good(name, format!("{shown} can be written")),
            Err(error) => report.bad(name, format!("{shown}: {error}"), fix),
        }
        return;
    }
    let above = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let allowed = above.is_dir()
        && rustix::fs::access(above, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
    if allowed {
        report.good(name, format!("{shown} will be made"));
    } else {
        report.bad(name, format!("{shown} cannot be made: {} cannot be written", above.display()), fix);
    }
}

/// Whether the store can be opened, or who holds it. Nothing is written: an unclean end must still be
/// seen by the next server.
fn store(config: &Config, report: &mut Report) {
    if config.store.path == Path::new("memory") {
        return report.note("store", "in memory: everything is forgotten at the end (`store.path`)");
    }
    if let Some(holder) = holder(&config.state_dir.join("lock")) {
        return report.good("store", format!("held by a running server ({holder})"));
    }
    let file = config.state_dir.join(&config.store.path);
    if !file.exists() {
        return report.good("store", format!("{} will be made", file.display()));
    }
    let opened = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|store| store.query_row("SELECT count(*) FROM tasks", [], |row| row.get::<_, i64>(0)));
    match opened {
        Ok(tasks) => report.good("store", format!("{} opens ({tasks} tasks)", file.display())),
        Err(error) => report.bad(
            "store",
            format!("{}: {error}", file.display()),
            "move the file away, or name another `store.path`",
        ),
    }
    clock(report, &file, "the store");
}

/// What the server that holds the lock wrote about itself.
fn holder(lock: &Path) -> Option<String> {
    let file = std::fs::File::open(lock).ok()?;
    match file.try_lock_shared() {
        Err(std::fs::TryLockError::WouldBlock) => {
            Some(std::fs::read_to_string(lock).unwrap_or_default().trim().to_owned())
        }
        Ok(()) | Err(std::fs::TryLockError::Error(_)) => None,
    }
}

/// Whether the port is free, or who answers there.
async fn port(config: &Config, report: &mut Report) -> Result<(), Failure> {
    let url = configured(config);
    let host = config.server.host.trim_matches(['[', ']']);
    let bound = match tokio::net::TcpListener::bind((host, config.server.port)).await {
        Ok(_) => {
            let running = address(config);
            if running == url {
                report.good("port", format!("{host}:{} is free", config.server.port));
            } else {
                report.good("port", format!("{host}:{} is free; a server of this state folder runs at {running}", config.server.port));
            }
            return Ok(());
        }
        Err(error) => error,
    };
    if bound.kind() != io::ErrorKind::AddrInUse {
        report.bad("port", format!("{host}:{}: {bound}", config.server.port), "set `server.host` and `server.port` to what this machine has");
        return Ok(());
    }
    let version = match answered(&url).await? {
        Ok((200, body)) => serde_json::from_slice::<Value>(&body).ok().and_then(|told| told.get("version")?.as_str().map(ToOwned::to_owned)),
        Ok(_) | Err(_) => None,
    };
    match version {
        Some(version) => report.good("port", format!("pilothouse {version} answers at {url}")),
        None => report.bad("port", format!("another program listens at {url}"), "stop it, or choose another port with --port"),
    }
    Ok(())
}

/// Whether a process can be started, and is gone with all it started.
async fn tree(launcher: &Launcher, report: &mut Report) {
    let spec = Spec {
        program: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), "sleep 60 & echo $!; sleep 60".to_owned()],
        env: vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())],
        cwd: "/".to_owned(),
    };
    let fix = "give the server its own PID namespace (a container), or report this";
    let mut process = match launcher.spawn(&spec).await {
        Ok(process) => process,
        Err(error) => return report.bad("launcher", error.to_string(), "let `/bin/sh` be executed"),
    };
    let mut pid = [0; 16];
    let heard = tokio::time::timeout(PATIENCE, process.stdout.read(&mut pid)).await;
    let child = heard.ok().and_then(Result::ok).and_then(|size| std::str::from_utf8(&pid[..size]).ok()?.trim().parse().ok());
    let ended = end(process).await;
    let left = child.and_then(rustix::process::Pid::from_raw).is_some_and(|child| rustix::process::test_kill_process(child).is_ok());
    match (ended, child) {
        (true, Some(_)) if !left => report.good("launcher", "starts a process and ends its whole tree"),
        (true, None) => report.bad("launcher", "the process said nothing", fix),
        _ => report.bad("launcher", "a process survived its end", fix),
    }
}

/// Ends a process and all it started; whether nothing is left.
async fn end(mut process: Process) -> bool {
    process.control.say(Word::Kill);
    let ended = tokio::time::timeout(PATIENCE, process.control.ended()).await;
    matches!(ended, Ok(Ended::Code(_) | Ended::Signal(_)))
}

/// A clock that stands before something that already happened is wrong; certificates and retention
/// would go by it.
fn clock(report: &mut Report, file: &Path, what: &str) {
    let Ok(made) = std::fs::metadata(file).and_then(|file| file.modified()) else { return };
    match made.duration_since(SystemTime::now()) {
        Ok(ahead) if ahead > SLACK => {
            let hours = ahead.as_secs() / 3600;
            report.bad("clock", format!("{hours} h behind the time of {what}"), "set the clock of this machine");
        }
        Ok(_) | Err(_) => report.good("clock", format!("after {what} was written")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(check: impl FnOnce(&mut Report)) -> String {
        let mut report = Report::default();
        check(&mut report);
        report.lines(false)
    }

    #[test]
    fn a_folder_that_is_not_there_yet_will_be_made() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("a/b");
        assert!(lines(|report| folder("workspace", &inside, "workspace.path", report)).contains("will be made"));
        assert!(!inside.exists());
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(lines(|report| folder("workspace", &file.join("x"), "workspace.path", report)).starts_with('✗'));
    }

    #[test]
    fn a_store_that_is_held_names_its_holder() {
        let root = tempfile::tempdir().unwrap();
        let lock = root.path().join("lock");
        std::fs::write(&lock, "process 7 on 127.0.0.1:2222").unwrap();
        assert_eq!(holder(&lock), None);
        let file = std::fs::File::open(&lock).unwrap();
        file.lock().unwrap();
        assert_eq!(holder(&lock).as_deref(), Some("process 7 on 127.0.0.1:2222"));
    }

    #[test]
    fn a_clock_before_what_has_happened_is_wrong() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(lines(|report| clock(report, file.path(), "it")).starts_with('✓'));
        file.as_file().set_modified(SystemTime::now() + 3 * SLACK).unwrap();
        insta::assert_snapshot!(lines(|report| clock(report, file.path(), "it")).replace("71 h", "72 h"), @r"✗ clock  72 h behind the time of it → set the clock of this machine");
    }

    #[test]
    fn what_is_not_in_force_is_said() {
        let told = json!({"backend": "none", "guarantees": ["env", "kill-tree"]});
        insta::assert_snapshot!(lines(|report| isolation(&told, report)), @r"
✓ isolation  in force: env, kill-tree (backend none)
• isolation  not in force yet: fs.read, fs.write, net.egress, key outside of the wall; run the server in a container or under a user of its own
");
    }

    #[test]
    fn a_credential_is_named_and_not_shown() {
        let environment = BTreeMap::from([("ANTHROPIC_API_KEY".to_owned(), "secret-value".to_owned())]);
        let config = Config { agent: "demo".to_owned(), ..Config::default() };
        let mut agent = Agent::resolve(&config, &environment).unwrap();
        agent.config = crate::config::Agent::of(DriverKind::Claude);
        let text = lines(|report| credential(&agent, &environment, report));
        assert!(text.contains("ANTHROPIC_API_KEY") && !text.contains("secret-value"));
    }
}

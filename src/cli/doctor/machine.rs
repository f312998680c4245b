//! What `doctor` looks at beside the agent: folders, store, port, processes, clock.

use super::PATIENCE;
use crate::agent::KnownInventory;
use crate::cli::healthcheck::answered;
use crate::client::failure::Failure;
use crate::client::local::listener::find_owner;
use crate::client::local::{address, configured, running, tls_of_running};
use crate::client::report::Report;
use crate::config::Config;
use pilothouse_sandbox::process::{Ended, Launcher, Process};
use pilothouse_sandbox::supervisor::{ATTACK, LAUNCHER_PROGRAM, Spec, Word};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt;

/// Clocks of file systems and machines differ by less.
const SLACK: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a folder can be written, or made.
pub(super) fn folder(name: &str, path: &Path, key: &str, report: &mut Report) {
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
        && rustix::fs::access(above, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
            .is_ok();
    if allowed {
        report.good(name, format!("{shown} will be made"));
    } else {
        report.bad(
            name,
            format!("{shown} cannot be made: {} cannot be written", above.display()),
            fix,
        );
    }
}

/// Whether the store can be opened, or who holds it. Nothing is written: an unclean end must still be
/// seen by the next server.
pub(super) fn store(config: &Config, report: &mut Report) {
    if config.store.path == Path::new("memory") {
        return report
            .note("store", "in memory: everything is forgotten at the end (`store.path`)");
    }
    if let Some(holder) = holder(&config.state_dir.join("lock")) {
        return report.good("store", format!("held by a running server ({holder})"));
    }
    let file = config.state_dir.join(&config.store.path);
    if !file.exists() {
        return report.good("store", format!("{} will be made", file.display()));
    }
    let opened =
        Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|store| {
            store.query_row("SELECT count(*) FROM tasks", [], |row| row.get::<_, i64>(0))
        });
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

/// What an agent's CLI said last that it offers, as a server of this configuration stored it.
pub(super) fn last_inventory(config: &Config, agent: &str) -> Option<KnownInventory> {
    let file = config.state_dir.join(&config.store.path);
    let store = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let query = "SELECT value FROM meta WHERE name = 'inventory:' || ?1";
    let text: String = store.query_row(query, [agent], |row| row.get(0)).ok()?;
    serde_json::from_str(&text).ok()
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
pub(super) async fn port(config: &Config, report: &mut Report) -> Result<(), Failure> {
    let url = configured(config);
    let host = config.server.host.trim_matches(['[', ']']);
    let bound = match tokio::net::TcpListener::bind((host, config.server.port)).await {
        Ok(_) => {
            let running = address(config);
            if running == url {
                report.good("port", format!("{host}:{} is free", config.server.port));
            } else {
                report.good(
                    "port",
                    format!(
                        "{host}:{} is free; a server of this state folder runs at {running}",
                        config.server.port
                    ),
                );
            }
            return Ok(());
        }
        Err(error) => error,
    };
    if bound.kind() != io::ErrorKind::AddrInUse {
        report.bad(
            "port",
            format!("{host}:{}: {bound}", config.server.port),
            "set `server.host` and `server.port` to what this machine has",
        );
        return Ok(());
    }
    let version = match answered(&url, &tls_of_running(config)).await? {
        Ok((200, body)) => serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|told| told.get("version")?.as_str().map(ToOwned::to_owned)),
        Ok(_) | Err(_) => None,
    };
    let is_of_folder = running(config).as_deref() == Some(&*url);
    let owner = find_owner(config.server.port).map(|user| format!(" of user {user}"));
    let owner = owner.unwrap_or_default();
    let fix = "stop it, or choose another port with --port";
    match version {
        Some(version) if is_of_folder => report.good(
            "port",
            format!("the server of this state folder, pilothouse {version}, answers at {url}"),
        ),
        Some(version) => report.bad(
            "port",
            format!("pilothouse {version}{owner}, with another state folder, answers at {url}"),
            fix,
        ),
        None => report.bad("port", format!("another program{owner} listens at {url}"), fix),
    }
    Ok(())
}

/// Whether a process can be started, and is gone with all it started: daemons and what left its group.
pub(super) async fn tree(launcher: &Launcher, report: &mut Report) {
    let spec = Spec {
        program: LAUNCHER_PROGRAM.to_owned(),
        args: [ATTACK, "survive"].map(ToOwned::to_owned).to_vec(),
        env: Vec::new(),
        cwd: "/".to_owned(),
    };
    let fix = "give the server its own PID namespace (a container), or report this";
    let mut process = match launcher.spawn(&spec.into()).await {
        Ok(process) => process,
        Err(error) => {
            return report.bad("launcher", error.to_string(), "let this program be executed");
        }
    };
    // Their numbers in a line, and then that all of them are there.
    let mut said = Vec::new();
    let hear = async {
        while !said.ends_with(b"ready\n") {
            match process.stdout.read_u8().await {
                Ok(byte) => said.push(byte),
                Err(_) => break,
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, hear).await;
    let said = String::from_utf8_lossy(&said).into_owned();
    let pids: Vec<_> = said
        .split_whitespace()
        .filter_map(|word| rustix::process::Pid::from_raw(word.parse().ok()?))
        .collect();
    let ended = end(process).await;
    let lives = |pid: &rustix::process::Pid| rustix::process::test_kill_process(*pid).is_ok();
    match (ended, pids.is_empty()) {
        (true, false) if !pids.iter().any(lives) => {
            report.good("launcher", "starts a process and ends its whole tree");
        }
        (true, true) => report.bad("launcher", "the process said nothing", fix),
        _ => report.bad("launcher", "a process survived its end", fix),
    }
}

/// Ends a process and all it started; whether nothing is left.
pub(super) async fn end(mut process: Process) -> bool {
    process.control.say(Word::Kill);
    let ended = tokio::time::timeout(PATIENCE, process.control.ended()).await;
    matches!(ended, Ok(Ended::Code(_) | Ended::Signal(_)))
}

/// A clock that stands before something that already happened is wrong; certificates and retention
/// would go by it.
pub(super) fn clock(report: &mut Report, file: &Path, what: &str) {
    let Ok(made) = std::fs::metadata(file).and_then(|file| file.modified()) else {
        return;
    };
    match made.duration_since(SystemTime::now()) {
        Ok(ahead) if ahead > SLACK => {
            let hours = ahead.as_secs() / 3600;
            report.bad(
                "clock",
                format!("{hours} h behind the time of {what}"),
                "set the clock of this machine",
            );
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
        report.lines(false, None)
    }

    #[test]
    fn a_folder_that_is_not_there_yet_will_be_made() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("a/b");
        assert!(
            lines(|report| folder("workspace", &inside, "workspace.path", report))
                .contains("will be made")
        );
        assert!(!inside.exists());
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(
            lines(|report| folder("workspace", &file.join("x"), "workspace.path", report))
                .starts_with('✗')
        );
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
}

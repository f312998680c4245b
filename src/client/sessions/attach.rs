//! `pilothouse sessions attach`: the agent's own terminal on a session's conversation, on the server's
//! machine.
//!
//! # How it works
//!
//! The server answers with one line, the program with its arguments, environment and folder, and leaves
//! the answer open: as long as it is, the session is ours and its other messages wait. So the connection
//! is kept until the program has ended, and closed after it.

use crate::client::exit;
use crate::client::failure::Failure;
use crate::client::local::{Server, escape};
use crate::client::names::find_session;
use crate::client::terminal::clean_line;
use reqwest::Response;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use tokio::signal::unix::{SignalKind, signal};

/// The longest first line of an answer, in bytes: environments are not larger.
const MAX_LINE: usize = 1 << 20;

/// What is to be run.
#[derive(Deserialize)]
struct AttachedProgram {
    program: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    /// All of it: nothing of our own is passed on.
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: PathBuf,
}

/// Runs the agent's program in the session; its exit code.
pub(super) async fn run(id: &str, term: Option<&str>, server: &Server) -> Result<u8, Failure> {
    if !server.is_ours() {
        return Err(Failure::usage(
            "a session is attached to on the machine where its server runs, by the user who runs it, at its loopback \
             address (`--state-dir` where it has its own)",
        ));
    }
    let (server, session) = &find_session(server, id).await?;
    let id = session.get("id").and_then(Value::as_str).unwrap_or(id);
    let path = format!("/api/v1/sessions/{}/attach", escape(id));
    let mut response = server.open(&path, &json!({"term": term})).await?;
    let place = first_line(&mut response, server).await?;
    let place: AttachedProgram = serde_json::from_slice(&place)
        .map_err(|_| Failure::new(exit::UNAVAILABLE, format!("{} is no pilothouse", server.url)))?;
    // From here on these are the program's: it shares our terminal, and we leave after it.
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::new(exit::UNAVAILABLE, format!("cannot listen for signals: {error}"))
        })
    };
    let mut typed = (listen(SignalKind::interrupt())?, listen(SignalKind::quit())?);
    let mut sent = (listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    eprintln!(
        "pilothouse: this terminal is outside of the sandbox, with your rights; where the agent's program asks whether you \
         trust its folder, think of what the agent may have put there"
    );
    let child = start(&place)?;
    let pid = Pid::from_child(&child);
    let mut ended = tokio::task::spawn_blocking(move || wait(child));
    let mut held = true;
    let status = loop {
        tokio::select! {
            status = &mut ended => break status,
            more = response.chunk(), if held => held = matches!(more, Ok(Some(_))),
            // A terminal sends these to the program itself.
            _ = typed.0.recv() => {}
            _ = typed.1.recv() => {}
            _ = sent.0.recv() => pass_on(pid, Signal::TERM),
            _ = sent.1.recv() => pass_on(pid, Signal::HUP),
        }
    };
    if !held {
        eprintln!(
            "pilothouse: the server went away meanwhile, and with it the hold on the session"
        );
    }
    match status {
        Ok(Ok(status)) => Ok(code(status)),
        Ok(Err(error)) => {
            Err(Failure::new(exit::UNAVAILABLE, format!("cannot wait for the agent: {error}")))
        }
        Err(error) => {
            Err(Failure::new(exit::UNAVAILABLE, format!("cannot wait for the agent: {error}")))
        }
    }
}

/// The first line that is not empty; what follows keeps the answer open.
async fn first_line(response: &mut Response, server: &Server) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| server.unreachable(&error))?;
        let Some(chunk) = chunk else {
            return Ok(line);
        };
        line.extend_from_slice(&chunk);
        if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
        if line.len() > MAX_LINE {
            return Err(Failure::new(exit::UNAVAILABLE, "the server's answer is too long"));
        }
    }
}

fn start(place: &AttachedProgram) -> Result<Child, Failure> {
    Command::new(&place.program)
        .args(&place.args)
        .env_clear()
        .envs(&place.env)
        .current_dir(&place.cwd)
        .spawn()
        .map_err(|error| {
            let (program, cwd) =
                (place.program.display().to_string(), place.cwd.display().to_string());
            let message = format!(
                "cannot start {} in {}: {error}; attach as the user that the server runs as",
                clean_line(&program),
                clean_line(&cwd)
            );
            Failure::new(exit::UNAVAILABLE, message)
        })
}

fn wait(mut child: Child) -> std::io::Result<ExitStatus> {
    child.wait()
}

/// The program may be gone already.
fn pass_on(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}

/// The program's own code; 128 and the number of the signal that ended it.
fn code(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(exit::FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_the_programs_own() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }
}

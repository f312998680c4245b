//! An agent that speaks as Claude Code does (`stream-json`) and runs each prompt as a script of the shell.

use crate::{process, usage};
use serde_json::{Value, json};
use std::io::{self, BufRead, Write};

/// The argument by which the driver for Claude Code is known.
pub(crate) const FORMAT: &str = "stream-json";

/// Answers prompts until standard input ends.
pub(crate) fn play() -> io::Result<u8> {
    for line in io::stdin().lock().lines() {
        let line: Value = serde_json::from_str(&line?)
            .map_err(|_| usage("the client writes a line that is no JSON"))?;
        match line["type"].as_str() {
            Some("control_request") => respond(&line)?,
            Some("user") => run(&line["message"]["content"])?,
            _ => {}
        }
    }
    Ok(0)
}

fn respond(request: &Value) -> io::Result<()> {
    let id = &request["request_id"];
    let response = json!({"subtype": "success", "request_id": id, "response": {}});
    write(&json!({"type": "control_response", "response": response}))
}

/// Runs the first text of a prompt.
fn run(content: &Value) -> io::Result<()> {
    let first =
        content.as_array().and_then(|parts| parts.iter().find_map(|part| part["text"].as_str()));
    let script = content.as_str().or(first).unwrap_or_default();
    write(
        &json!({"type": "system", "subtype": "init", "session_id": "the-session", "model": "none"}),
    )?;
    let said = process::run_script(script)?;
    let result = json!({"type": "result", "subtype": "success", "is_error": false, "result": said});
    write(&result)
}

fn write(message: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}

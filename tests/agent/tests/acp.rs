//! The agent as one of the Agent Client Protocol, spoken to line by line.
#![expect(clippy::unwrap_used, reason = "a test ends where its world is not as it should be")]

use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Writes these lines and closes the input.
fn spoken(mode: &str, lines: &[Value]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fake-agent"))
        .args(["--acp", mode])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in lines {
        writeln!(input, "{line}").unwrap();
    }
    drop(input);
    child.wait_with_output().unwrap()
}

/// What it wrote.
fn heard(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn prompt(text: &str) -> Value {
    let prompt = json!([{"type": "text", "text": text}]);
    json!({"id": 3, "method": "session/prompt", "params": {"prompt": prompt}})
}

#[test]
fn a_prompt_is_echoed_and_ended() {
    let output = spoken("well", &[prompt("hi")]);
    let lines = heard(&output);
    let update = &lines[0]["params"]["update"];
    assert_eq!(update["content"]["text"], "echo: hi");
    assert_eq!(lines[1]["result"]["stopReason"], "end_turn");
    assert_eq!(lines[1]["id"], 3);
}

#[test]
fn a_cancel_ends_a_waiting_prompt() {
    let cancel = json!({"method": "session/cancel", "params": {}});
    let lines = heard(&spoken("well", &[prompt("wait"), cancel]));
    assert_eq!(lines[1]["result"]["stopReason"], "cancelled");
}

#[test]
fn the_answer_to_an_ask_is_told() {
    let chosen = json!({"outcome": {"outcome": "selected", "optionId": "this-once"}});
    let answer = json!({"id": "asked", "result": chosen});
    let lines = heard(&spoken("asks", &[prompt("go"), answer]));
    assert_eq!(lines[0]["method"], "session/request_permission");
    assert_eq!(lines[1]["params"]["update"]["content"]["text"], "chosen: this-once");
}

#[test]
fn a_mode_that_is_not_there_is_a_mistake_of_the_caller() {
    let output = spoken("nicely", &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--acp"));
}

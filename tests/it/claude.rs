//! The real Claude Code against a scripted model: what it does in turns, and how they end.

mod answering;
mod asks;
mod attached;
mod background;
mod conversations;
mod credentials;
mod endings;
mod files;
mod hooks;
mod limits;
mod networks;
mod phases;
mod plans;
mod processes;
mod repositories;
mod servers;
mod setup;
mod skills;
mod telemetry;
mod walls;
mod warm;

use crate::building::Builder;
use crate::processes::Process;
use crate::reading::{answer, artifact, message, state, text_of};
use crate::world::{OWNER, World};
use fake_model::Model;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// The longest that the real CLI takes, on two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// The real program; a test without it has failed.
fn program() -> String {
    std::env::var("PILOTHOUSE_TEST_CLAUDE").unwrap_or_else(|_| {
        panic!(
            "PILOTHOUSE_TEST_CLAUDE is not set: it names the Claude Code to test with; \
             run `make test`, which installs it, or `make test-fast`, which leaves these tests out"
        )
    })
}

/// A world whose agent is Claude Code, talking to this model with this key.
fn with_key(model: &Model, key: &str) -> Builder {
    let builder = World::describe();
    let marker = builder.marker().split_once('=').unwrap().1.to_owned();
    builder
        .config(json!({
            "agent": "claude",
            "timeouts": {"interrupt": "5s", "terminate": "5s"},
            "agents": {"fake": null, "claude": {
                "program": program(),
                // A process that nobody here counts on; `skills` and `offers` ask it.
                "skills_source": "files",
                "env": {"set": {"PILOTHOUSE_TEST_WORLD": marker}},
            }},
        }))
        .env("ANTHROPIC_BASE_URL", &model.url)
        .env("ANTHROPIC_API_KEY", key)
        .patience(PATIENCE)
}

/// A world whose agent is Claude Code, talking to this model.
fn claude(model: &Model) -> Builder {
    with_key(model, "sk-ant-dummy")
}

/// The same, allowed to run commands.
fn with_bash(model: &Model) -> Builder {
    claude(model).config(json!({"agents": {"claude": {"args": ["--allowedTools", "Bash"]}}}))
}

/// The CLI's own processes, without what they started.
fn clis(world: &World) -> Vec<Process> {
    let mut found = world.agents();
    found.retain(|process| process.command.contains("--input-format stream-json"));
    found
}

/// The folder of the session of a context.
fn workspace(world: &World, context: &str) -> PathBuf {
    let path = format!("/api/v1/sessions/{context}");
    let session = world.get(&path, &[("Authorization", &format!("Bearer {OWNER}"))]).json();
    PathBuf::from(text_of(&session, "workspace"))
}

#[test]
fn a_text_is_answered() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = world.say("say hello from the model");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "hello from the model"));
}

#[test]
fn usage_cost_model_and_session_stand_in_the_metadata() {
    let model = Model::start();
    let world = claude(&model).start();
    let metadata = world.say("say hello")["metadata"].clone();
    assert!(
        metadata["usage"]["outputTokens"].is_u64() && metadata["costUsd"].is_number(),
        "{metadata}"
    );
    assert!(!text_of(&metadata, "model").is_empty(), "{metadata}");
    assert!(uuid::Uuid::parse_str(text_of(&metadata, "sessionId")).is_ok(), "{metadata}");
}

#[test]
fn text_arrives_as_the_model_writes_it() {
    let model = Model::start();
    let world = claude(&model).start();
    let mut events = world.stream("SendStreamingMessage", message("cue go"));
    events.until("the first words", |event| {
        event.kind() == "artifactUpdate" && event.words().starts_with("waiting")
    });
    model.release("go");
    let rest = events.rest();
    assert_eq!(rest.last().unwrap().state(), Some("COMPLETED"));
    assert_eq!(answer(&world.task(rest[0].task_id())), "waiting released");
}

#[test]
fn a_tool_turn_shows_the_call_its_result_and_the_answer() {
    let model = Model::start();
    let world = with_bash(&model).start();
    let events = world.stream("SendStreamingMessage", message("bash: echo tool-$((40+2))")).rest();
    let data = |kind: &str| {
        events
            .iter()
            .filter_map(crate::http::Event::data)
            .find(|data| data["kind"] == kind)
            .unwrap()
    };
    assert_eq!(
        (&data("tool-call")["name"], &data("tool-call")["input"]["command"]),
        (&json!("Bash"), &json!("echo tool-$((40+2))"))
    );
    assert!(
        data("tool-result")["output"].to_string().contains("tool-42"),
        "{}",
        data("tool-result")
    );
    let task = world.task(events[0].task_id());
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "done: tool-42"));
}

#[test]
fn an_answer_after_a_tool_call_is_the_final_one_and_once_in_the_history() {
    let model = Model::start();
    let world = with_bash(&model).start();
    let task = world.say("bash: echo x\nsay the end");
    assert_eq!(artifact(&task, "answer"), task["artifacts"].as_array().unwrap().last().unwrap());
    let texts: Vec<String> = task["history"].as_array().unwrap()[1..]
        .iter()
        .map(|message| crate::reading::parts_text(&message["parts"]))
        .collect();
    assert_eq!(texts, [answer(&task)]);
    assert!(answer(&task).ends_with("the end"), "{}", answer(&task));
}

#[test]
fn a_message_that_begins_with_a_dash_is_ordinary_text() {
    let model = Model::start();
    let world = claude(&model).start();
    assert_eq!(answer(&world.say("--version")), "ok: --version");
}

#[test]
fn a_message_of_many_lines_and_scripts_arrives_whole() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = world.say("日本語 \"quoted\"\n\u{1F600} \\n second line");
    assert_eq!(answer(&task), "ok: 日本語 \"quoted\"\n\u{1F600} \\n second line");
}

#[test]
fn thinking_is_shown_as_status_and_not_as_answer() {
    let model = Model::start();
    let world = claude(&model).start();
    let events = world.stream("SendStreamingMessage", message("think about it")).rest();
    assert_eq!(crate::reading::streamed_answer(&events), "thought");
}

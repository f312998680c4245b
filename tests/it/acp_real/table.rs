//! The table of all agents that have a preset: what works with which version, and how long it takes.
//! `make test-agents` prints it; docs/agents.md carries one.

use super::setups::{CLAUDE, CODEX, COPILOT, GEMINI, OPENCODE, QWEN};
use super::{Agent, PATIENCE, answer, completed, tools};
use crate::reading::{message_in, state};
use crate::world::World;
use fake_model::{Event, Model};
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

const COLUMNS: [&str; 9] = [
    "agent",
    "version",
    "text",
    "permission",
    "cancel",
    "second turn",
    "resume",
    "first answer",
    "warm turn",
];
/// What stands where something does not work; the test has said why.
const FAILED: &str = "FAILED";

/// One row after the other, because they are measured.
#[test]
fn every_preset_does_what_the_table_says() {
    let rows = [&CODEX, &GEMINI, &OPENCODE, &QWEN, &COPILOT, &CLAUDE].map(row);
    let mut lines = vec![COLUMNS.map(ToOwned::to_owned), COLUMNS.map(|_| "---".to_owned())];
    lines.extend(rows.clone());
    for line in lines {
        println!("| {} |", line.join(" | "));
    }
    assert!(!rows.iter().flatten().any(|cell| cell == FAILED), "something failed");
}

#[test]
fn every_preset_is_set_up_as_it_is_declared() {
    let all = [&CODEX, &GEMINI, &OPENCODE, &QWEN, &COPILOT, &CLAUDE];
    let failed = all.map(|agent| {
        let set_up = attempt(|| super::is_set_up_as_it_is_declared(agent));
        set_up.is_none().then_some(agent.preset)
    });
    assert_eq!(failed, [None; 6]);
}

fn row(agent: &Agent) -> [String; 9] {
    let (text, first, second, warm) = attempt(|| turns(agent)).map_or_else(
        || (FAILED.to_owned(), "-".to_owned(), FAILED.to_owned(), "-".to_owned()),
        |(first, warm, same)| {
            let second = if same { "same process" } else { "new process" };
            ("yes".to_owned(), seconds(first), second.to_owned(), seconds(warm))
        },
    );
    let permission = attempt(|| {
        super::asks_and_runs_the_tool_once_it_is_allowed(agent);
        super::asks_and_does_not_run_a_tool_that_is_denied(agent);
        "allowed, denied".to_owned()
    });
    let cancel = attempt(|| format!("{} ms", cancel(agent).as_millis()));
    let resume = attempt(|| {
        super::goes_on_with_its_conversation_after_a_restart_of_the_server(agent);
        if agent.preset == GEMINI.preset { "from the next minute on" } else { "yes" }.to_owned()
    });
    let cell = |cell: Option<String>| cell.unwrap_or_else(|| FAILED.to_owned());
    [
        agent.preset.to_owned(),
        version(agent),
        text,
        cell(permission),
        cell(cancel),
        second,
        cell(resume),
        first,
        warm,
    ]
}

/// What fails says why by its panic.
fn attempt<T>(what: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(what)).ok()
}

/// The version that was installed: `NAME@VERSION`, first of what stands in its stamp.
fn version(agent: &Agent) -> String {
    let stamp = tools().join(format!("agents-{}/stamp", agent.preset));
    let stamp = std::fs::read_to_string(stamp).unwrap_or_default();
    let first = stamp.split_whitespace().next().unwrap_or_default();
    first.rsplit('@').next().unwrap_or_default().to_owned()
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// From the message to the first words of its answer.
fn first_words(world: &World, text: &str) -> Duration {
    let began = Instant::now();
    let mut events = world.stream("SendStreamingMessage", message_in("timed", text));
    events.until("the first words", |event| event.kind() == "artifactUpdate");
    let took = began.elapsed();
    assert_eq!(events.rest().last().unwrap().state(), Some("COMPLETED"));
    took
}

/// First words of a new session, the median of five further turns, and whether those were answered by
/// the same process.
fn turns(agent: &Agent) -> (Duration, Duration, bool) {
    let model = Model::start();
    let world = agent.with(&model).start();
    let first = first_words(&world, "say hello");
    let process = agent.process(&world);
    let mut warm = [1, 2, 3, 4, 5].map(|n| first_words(&world, &format!("say again {n}")));
    warm.sort();
    let same = !process.is_empty() && agent.process(&world) == process;
    assert!(completed(&world.send(message_in("timed", "history"))).contains("hello"));
    (first, warm[2], same)
}

/// From the cancel to its confirmation.
fn cancel(agent: &Agent) -> Duration {
    let model = Model::start();
    let world = agent.with(&model).start();
    let id = world.begin_with(message_in("kept", "cue never"));
    assert!(model.wait(Event::Cue, 1, PATIENCE));
    world.await_task(&id, "the first words", |task| answer(task).contains("waiting"));
    let began = Instant::now();
    let task = world.rpc("CancelTask", json!({"id": id}));
    let took = began.elapsed();
    assert_eq!(state(&task), "CANCELED");
    assert_eq!(completed(&world.send(message_in("kept", "say still here"))), "still here");
    took
}

//! Work that goes on when the model has ended its own turn: subagents, and commands in the background.

use super::{PATIENCE, claude, clis, with_bash, workspace};
use crate::building::Builder;
use crate::processes::{await_some, with_argument};
use crate::reading::{answer, message, message_in, state, text_of, words};
use crate::world::{OWNER, World};
use fake_model::Model;
use serde_json::{Value, json};
use std::fs;

/// A task says this while nothing is left but work in the background.
const WAITS: &str = "waiting for work in the background";

/// A step that starts a subagent with this script.
fn agent(script: &str) -> String {
    let input =
        json!({"description": "look", "prompt": script, "subagent_type": "general-purpose"});
    format!("tool Agent {input}")
}

/// A command that runs until this file is in the session's folder.
fn until(file: &str) -> String {
    format!("while [ ! -e {file} ]; do sleep 0.05; done; echo finished")
}

/// A step that starts such a command in the background.
fn server(file: &str) -> String {
    format!("tool Bash {}", json!({"command": until(file), "run_in_background": true}))
}

fn with_server(model: &Model, more: Value) -> Builder {
    let claude = json!({"background_grace": "50ms"});
    with_bash(model).config(json!({"agents": {"claude": claude}})).config(more)
}

/// The task of a message that has come as far as its work in the background.
fn begin(world: &World, context: &str, script: &str) -> String {
    let id = world.begin_with(message_in(context, script));
    world.await_task(&id, WAITS, |task| words(task).starts_with(WAITS));
    id
}

fn end(world: &World, id: &str) -> Value {
    world.await_state(id, &["COMPLETED", "FAILED", "CANCELED"])
}

fn open_asks(world: &World) -> Vec<Value> {
    let reply = world.get("/api/v1/asks", &[("Authorization", &format!("Bearer {OWNER}"))]);
    reply.json()["asks"].as_array().unwrap().clone()
}

fn allow(world: &World, ask: &Value) {
    let path = format!("/api/v1/asks/{}", text_of(ask, "askId"));
    let headers =
        [("Authorization", &*format!("Bearer {OWNER}")), ("Content-Type", "application/json")];
    let reply = world.post(&path, &headers, br#"{"decision": "allow"}"#);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn the_report_of_a_subagent_ends_the_answer_and_its_usage_is_in_the_sums() {
    let model = Model::start();
    let world = claude(&model).start();
    let script = format!("{}\nsay I sent an agent", agent("cue report"));
    let mut events = world.stream("SendStreamingMessage", message(&script));
    let before =
        events.until("the end of the model's own turn", |event| event.words().starts_with(WAITS));
    assert_eq!(before.last().unwrap().data().unwrap()["tasks"], json!(["look"]));
    model.release("report");
    let rest = events.rest();
    let data = |state: &str| {
        let all = before.iter().chain(&rest).filter_map(crate::http::Event::data);
        all.into_iter().find(|data| data["kind"] == "background" && data["state"] == state).cloned()
    };
    assert_eq!(data("started").unwrap()["type"], "agent");
    assert_eq!(data("completed").unwrap()["report"], "waiting released");
    let task = world.task(rest[0].task_id());
    let told = "I sent an agent\n\nreported: waiting released";
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", told));
    // Two calls of the model before the subagent has reported, and one after.
    assert_eq!(task["metadata"]["turns"], 3, "{task:#}");
    let usage = &task["metadata"]["usage"];
    let input: u64 = ["inputTokens", "cacheReadTokens", "cacheWriteTokens"]
        .iter()
        .filter_map(|name| usage[name].as_u64())
        .sum();
    let asked = model.requests().into_iter().map(|request| request.body.len() as u64 / 4);
    assert_eq!(input, asked.sum::<u64>(), "{usage}");
}

#[test]
fn what_subagents_ask_later_is_asked_for_the_task_and_several_asks_are_open_together() {
    let model = Model::start();
    let world = with_bash(&model).config(json!({"asks": {"park": "1ms"}})).start();
    let outside = ["one", "two"].map(|name| world.path(name));
    let agents = outside.clone().map(|file| {
        agent(&format!("bash: {}\nwrite {} x\nsay it is written", until("go"), file.display()))
    });
    let id = begin(&world, "c", &format!("both: {}\nsay I sent two", agents.join(" ;; ")));
    fs::write(workspace(&world, "c").join("go"), "").unwrap();
    let asks = await_some("two open asks", PATIENCE, || {
        Some(open_asks(&world)).filter(|asks| asks.len() == 2)
    });
    world.await_state(&id, &["INPUT_REQUIRED"]);
    for ask in &asks {
        assert_eq!(ask["taskId"], id);
        allow(&world, ask);
    }
    let task = end(&world, &id);
    assert!(answer(&task).contains("reported: it is written"), "{task:#}");
    assert!(outside.iter().all(|file| file.exists()));
}

#[test]
fn a_command_that_the_cli_moves_to_the_background_is_waited_for_and_reported() {
    let model = Model::start();
    let claude = json!({"env": {"set": {"BASH_DEFAULT_TIMEOUT_MS": "200"}}});
    let world = with_bash(&model).config(json!({"agents": {"claude": claude}})).start();
    let id = begin(&world, "c", &format!("bash: {}\nsay I run it", until("go")));
    fs::write(workspace(&world, "c").join("go"), "").unwrap();
    let task = end(&world, &id);
    assert_eq!(state(&task), "COMPLETED");
    assert!(answer(&task).starts_with("I run it\n\nreported: Background command"), "{task:#}");
}

#[test]
fn a_server_that_the_model_starts_is_kept_beside_an_idle_process_that_is_not_ended() {
    let model = Model::start();
    let world = with_server(&model, json!({"processes": {"idle": "300ms"}})).start();
    let script = format!("{}\nsay it is up", server("down"));
    let task = world.send(message_in("kept", &script));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "it is up"));
    assert_eq!(words(&task), format!("background: still running: {}", until("down")));
    // Another session begins to idle later, and its process is ended.
    world.send(message_in("idle", "say hello"));
    await_some("the end of the idle process", PATIENCE, || (clis(&world).len() == 1).then_some(()));
    let task = world.send(message_in("kept", "history"));
    assert!(answer(&task).starts_with("turns=2"), "{task:#}");
    // When the server has ended the process is idle like any other, and the conversation goes on.
    fs::write(workspace(&world, "kept").join("down"), "").unwrap();
    await_some("the end of its process", PATIENCE, || clis(&world).is_empty().then_some(()));
    let task = world.send(message_in("kept", "say next"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "next"));
}

#[test]
fn a_server_that_the_model_starts_is_ended_where_the_operator_wants_that() {
    let model = Model::start();
    let more = json!({"agents": {"claude": {"background_end": "kill"}}});
    let world = with_server(&model, more).start();
    let file = world.path("never").display().to_string();
    let task = world.say(&format!("{}\nsay it is up", server(&file)));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "it is up"));
    assert_eq!(words(&task), "");
    await_some("the end of the server", PATIENCE, || {
        with_argument(&until(&file)).is_empty().then_some(())
    });
}

#[test]
fn a_cancel_ends_the_subagents_that_a_task_waits_for() {
    let model = Model::start();
    let world = claude(&model).start();
    let id = begin(&world, "c", &format!("{}\nsay I sent an agent", agent("cue never")));
    world.rpc("CancelTask", json!({"id": id}));
    assert_eq!(state(&end(&world, &id)), "CANCELED");
    let task = world.send(message_in("c", "say next"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "next"));
}

#[test]
fn a_turn_that_waits_for_subagents_too_long_fails() {
    let model = Model::start();
    let world = claude(&model).config(json!({"timeouts": {"turn": "6s"}})).start();
    let task = world.say(&format!("{}\nsay I sent an agent", agent("cue never")));
    assert!(state(&task) == "FAILED" && words(&task).contains("timeouts.turn"), "{task:#}");
}

#[test]
fn where_nothing_may_run_in_the_background_the_call_waits_for_its_subagent() {
    let model = Model::start();
    let world = claude(&model).config(json!({"agents": {"claude": {"background": "off"}}})).start();
    let script = format!("{}\nsay it came back", agent("say the report"));
    let events = world.stream("SendStreamingMessage", message(&script)).rest();
    let data = || events.iter().filter_map(crate::http::Event::data);
    assert!(data().all(|data| data["kind"] != "background" || data["foreground"] == true));
    let result = data().find(|data| data["kind"] == "tool-result").unwrap();
    assert!(result["output"].to_string().contains("the report"), "{result}");
    assert_eq!(answer(&world.task(events[0].task_id())), "it came back");
}

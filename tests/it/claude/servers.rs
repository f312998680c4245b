//! The MCP servers of the real CLI: a turn waits for them, their problems stand in the task, and what they ask is
//! asked.

use super::claude;
use crate::building::{Builder, fake_agent};
use crate::reading::{answer, artifact, message, message_with, state, words};
use fake_model::Model;
use serde_json::{Value, json};

/// A world whose Claude Code has these MCP servers: name and mode.
fn with_servers(model: &Model, servers: &[(&str, &str)]) -> Builder {
    let builder = claude(model);
    let cues = builder.path("cues");
    let servers = servers.iter().map(|&(name, mode)| {
        let server = json!({
            "command": fake_agent(), "args": ["--mcp", mode], "env": {"FAKE_AGENT_CUES": cues},
        });
        (name.to_owned(), server)
    });
    let servers: serde_json::Map<String, Value> = servers.collect();
    let config = json!({"mcpServers": servers}).to_string();
    builder.config(json!({"agents": {"claude": {
        "args": ["--mcp-config", config, "--allowedTools", "mcp__bank"],
    }}}))
}

/// What a task asks, as data.
fn data(task: &Value) -> &Value {
    assert_eq!(state(task), "INPUT_REQUIRED", "{task:#}");
    let parts = task["status"]["message"]["parts"].as_array().unwrap();
    parts.iter().find_map(|part| part.get("data")).unwrap()
}

/// The answer to a task as data.
fn reply(task: &Value, said: Value) -> Value {
    let mut params = message_with(json!([{"data": said}]));
    params["message"]["taskId"] = task["id"].clone();
    params
}

#[test]
fn the_first_turn_waits_for_a_server_that_is_late_and_says_for_which() {
    let model = Model::start();
    let world = with_servers(&model, &[("bank", "late")]).start();
    let mut events = world.stream("SendStreamingMessage", message("rawtool mcp__bank__echo {}"));
    let seen = events.until("the wait", |event| event.words().contains("waiting for MCP servers"));
    let wait = seen.last().unwrap().data().unwrap();
    assert_eq!((&wait["kind"], &wait["servers"]), (&json!("mcp-wait"), &json!(["bank"])));
    world.cue("mcp");
    let rest = events.rest();
    let task = world.task(rest[0].task_id());
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "done: echoed"), "{task:#}");
    assert_eq!(task["metadata"]["problems"], Value::Null, "{task:#}");
}

#[test]
fn a_server_that_could_not_be_connected_is_a_status_and_stands_in_the_metadata_of_each_task() {
    let model = Model::start();
    let world = with_servers(&model, &[("bank", "well"), ("broken", "dies")]).start();
    let events = world.stream("SendStreamingMessage", message("rawtool mcp__bank__echo {}")).rest();
    let told = events
        .iter()
        .filter_map(crate::http::Event::data)
        .find(|data| data["kind"] == "mcp-server");
    let told = told.unwrap();
    assert_eq!((&told["subject"], &told["state"]), (&json!("broken"), &json!("failed")), "{told}");
    let first = world.task(events[0].task_id());
    assert_eq!((state(&first), answer(&first).as_str()), ("COMPLETED", "done: echoed"));
    let context = first["contextId"].as_str().unwrap();
    let second = world.send(crate::reading::message_in(context, "say more"));
    for task in [&first, &second] {
        let problems = task["metadata"]["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 1, "{task:#}");
        assert_eq!(
            (&problems[0]["subject"], &problems[0]["state"]),
            (&json!("broken"), &json!("failed"))
        );
        assert!(problems[0]["detail"].is_string(), "{task:#}");
    }
}

#[test]
fn a_required_server_that_is_missing_fails_the_task_before_the_model_is_asked() {
    let model = Model::start();
    let required = json!({"agents": {"claude": {"mcp": {"required": ["bank", "absent"]}}}});
    let world = with_servers(&model, &[("bank", "dies")]).config(required).start();
    let task = world.say("say hello");
    assert_eq!(state(&task), "FAILED", "{task:#}");
    let told = words(&task);
    for part in ["`bank` could not be connected", "`absent` is not configured", "mcp.required"] {
        assert!(told.contains(part), "{part} is missing in: {told}");
    }
    assert_eq!(model.requests().len(), 0);
}

#[test]
fn a_form_of_a_server_is_an_ask_whose_answer_is_checked_against_its_schema() {
    let model = Model::start();
    let world = with_servers(&model, &[("bank", "well")]).start();
    let task = world.say("rawtool mcp__bank__elicit {}");
    let ask = data(&task);
    assert_eq!((&ask["kind"], &ask["input"]["mcpServer"]), (&json!("question"), &json!("bank")));
    assert!(words(&task).contains("- account: string, required"), "{}", words(&task));
    for (wrong, field) in [
        (json!({"answers": {"amount": 3}}), "answers.account"),
        (json!({"answers": {"account": "a1", "amount": 0}}), "answers.amount"),
        (json!({"answers": {"account": "too long"}}), "answers.account"),
        (json!({"answers": {"account": "a1", "colour": "red"}}), "answers.colour"),
    ] {
        let error = world.error("SendMessage", reply(&task, wrong));
        assert_eq!(error["code"], -32602, "{error}");
        assert_eq!(error["data"][1]["fieldViolations"][0]["field"], field, "{error}");
    }
    // In plain words, too: `pilothouse answer` sends them so.
    let mut words = message(r#"{"account": "a1", "amount": "3"}"#);
    words["message"]["taskId"] = task["id"].clone();
    let task = world.send(words);
    let told = artifact(&task, "answer").to_string();
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    assert!(told.contains("accept") && told.contains("a1") && told.contains("3"), "{told}");
}

#[test]
fn an_address_that_a_server_wants_opened_is_shown_and_accepted_or_declined() {
    let model = Model::start();
    let world = with_servers(&model, &[("bank", "well")]).start();
    for (said, action) in
        [(json!({"answer": "accept"}), "accept"), (json!({"decision": "deny"}), "decline")]
    {
        let task = world.say("rawtool mcp__bank__visit {}");
        assert_eq!(data(&task)["input"]["url"], "https://example.com/sign");
        assert!(words(&task).contains("https://example.com/sign"), "{}", words(&task));
        let task = world.send(reply(&task, said));
        let told = artifact(&task, "answer").to_string();
        assert!(told.contains(action), "{told}");
    }
}

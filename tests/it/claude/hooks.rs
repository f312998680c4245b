//! Hooks of the agent's settings: what they refuse, stop and ask reads as such, and those that fail are told.

use super::with_bash;
use crate::building::Builder;
use crate::reading::{answer, message, state, words};
use fake_model::Model;
use serde_json::{Value, json};

/// A world whose Claude Code has hooks: event, tools, and a command of the shell.
fn with_hooks(model: &Model, hooks: &[(&str, &str, &str)]) -> Builder {
    let builder = with_bash(model);
    let mut settings = json!({"hooks": {}});
    for (event, matcher, command) in hooks {
        let hook = json!({"matcher": matcher, "hooks": [{"type": "command", "command": command}]});
        settings["hooks"][event] = json!([hook]);
    }
    let defaults = builder.cwd().join("defaults");
    std::fs::create_dir(&defaults).unwrap();
    std::fs::write(defaults.join("settings.json"), settings.to_string()).unwrap();
    builder.config(json!({"agents": {"claude": {"defaults_dir": "defaults"}}}))
}

/// A command that prints this.
fn prints(value: &Value) -> String {
    format!("echo '{value}'")
}

#[test]
fn a_message_that_a_hook_refuses_is_rejected_with_the_reason_and_the_next_one_is_answered() {
    let model = Model::start();
    let hook = "grep -q forbidden && { echo not in this house >&2; exit 2; }; exit 0";
    let world = with_hooks(&model, &[("UserPromptSubmit", "", hook)]).start();
    let task = world.say("say forbidden");
    assert_eq!(state(&task), "REJECTED", "{task:#}");
    assert!(words(&task).contains("not in this house"), "{}", words(&task));
    let context = task["contextId"].as_str().unwrap();
    let task = world.send(crate::reading::message_in(context, "say allowed"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "allowed"));
}

#[test]
fn a_turn_that_a_hook_stops_has_failed_with_its_words() {
    let model = Model::start();
    let stop = prints(&json!({"continue": false, "stopReason": "enough for today"}));
    for (event, tools, script) in
        [("Stop", "", "say one"), ("PostToolUse", "Bash", "bash: echo one\nsay two")]
    {
        let world = with_hooks(&model, &[(event, tools, &stop)]).start();
        let task = world.say(script);
        assert_eq!(state(&task), "FAILED", "{task:#}");
        assert!(words(&task).contains("enough for today"), "{}", words(&task));
    }
}

#[test]
fn the_reason_of_a_hook_that_asks_stands_in_the_ask() {
    let model = Model::start();
    let asks = prints(&json!({"hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": "ask",
        "permissionDecisionReason": "touches production",
    }}));
    let world = with_hooks(&model, &[("PreToolUse", "Bash", &asks)]).start();
    let task = world.say("bash: echo one");
    assert_eq!(state(&task), "INPUT_REQUIRED", "{task:#}");
    assert!(words(&task).contains("a hook asks: touches production"), "{}", words(&task));
}

#[test]
fn a_hook_that_fails_is_a_status_and_stands_in_the_metadata_of_a_task_that_goes_on() {
    let model = Model::start();
    let fails = "echo the linter is missing >&2; exit 1";
    let world = with_hooks(&model, &[("PreToolUse", "Bash", fails)]).start();
    let events = world.stream("SendStreamingMessage", message("bash: echo one")).rest();
    let told =
        events.iter().filter_map(crate::http::Event::data).find(|data| data["kind"] == "hook");
    assert_eq!(told.unwrap()["state"], "failed");
    let task = world.task(events[0].task_id());
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "done: one"));
    let problem = &task["metadata"]["problems"][0];
    assert_eq!(
        (&problem["kind"], &problem["subject"]),
        (&json!("hook"), &json!("PreToolUse:Bash"))
    );
    assert_eq!(problem["detail"], "the linter is missing");
}

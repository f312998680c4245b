//! Plan mode of the real CLI: looking is asked about, and a plan is approved with or without what follows.

use super::{claude, workspace};
use crate::reading::{message_with, state, words};
use fake_model::Model;
use serde_json::{Value, json};

const PLAN: &str = r#"rawtool ExitPlanMode {"plan":"write a file"}"#;

#[test]
fn a_command_in_plan_mode_is_asked_about_and_an_approved_plan_may_write_at_once() {
    let model = Model::start();
    let plans = json!({"agents": {"claude": {"permission_mode": "plan"}}});
    let world = claude(&model).config(plans).start();
    let look = world.say(&format!(
        "bash: curl -s http://127.0.0.1:9/\n{PLAN}\nwrite note.txt some words\nsay done"
    ));
    let tool = |task: &Value| {
        assert_eq!(state(task), "INPUT_REQUIRED", "{task:#}");
        let parts = task["status"]["message"]["parts"].as_array().unwrap();
        parts.iter().find_map(|part| part.get("data")).unwrap()["tool"].clone()
    };
    assert_eq!(tool(&look), "Bash");
    let reply = |said: Value| {
        let mut params = message_with(json!([{"data": said}]));
        params["message"]["taskId"] = look["id"].clone();
        world.send(params)
    };
    let plan = reply(json!({"decision": "deny", "reason": "not now"}));
    assert_eq!(tool(&plan), "ExitPlanMode");
    assert!(words(&plan).contains("the plan is empty"), "{}", words(&plan));
    let done = reply(json!({"optionId": "accept-edits"}));
    assert_eq!(state(&done), "COMPLETED", "{done:#}");
    let context = done["contextId"].as_str().unwrap();
    let note = workspace(&world, context).join("note.txt");
    assert_eq!(std::fs::read_to_string(note).unwrap().trim(), "some words");
}

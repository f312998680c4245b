//! Tools that need a permission, and who gives it.

use super::{claude, workspace};
use crate::http::Event;
use crate::reading::{answer, message, message_in, state};
use fake_model::Model;
use serde_json::{Value, json};

/// A command that no permission mode but the widest allows by itself; nothing listens there.
const COMMAND: &str = "bash: curl -s http://127.0.0.1:9/";

fn permission(events: &[Event]) -> &Value {
    let found = events.iter().filter_map(Event::data).find(|data| data["kind"] == "permission");
    found.unwrap_or_else(|| panic!("nobody was asked: {events:#?}"))
}

/// A world whose operator denies what is not allowed.
fn denying(model: &Model) -> crate::building::Builder {
    claude(model).config(json!({"agents": {"claude": {"asks": "deny"}}}))
}

#[test]
fn a_tool_that_is_not_allowed_is_denied_and_the_task_says_so() {
    let model = Model::start();
    let world = denying(&model).start();
    let events = world.stream("SendStreamingMessage", message(COMMAND)).rest();
    let asked = permission(&events);
    assert_eq!(
        (&asked["tool"], &asked["decision"], &asked["by"]),
        (&json!("Bash"), &json!("denied"), &json!("policy"))
    );
    assert_eq!(state(&world.task(events[0].task_id())), "COMPLETED");
}

#[test]
fn the_agent_is_told_how_the_operator_can_allow_it() {
    let model = Model::start();
    let world = denying(&model).start();
    // The model repeats the last result of a tool.
    let told = answer(&world.say(COMMAND));
    assert!(told.contains("agents.claude.asks"), "{told}");
}

#[test]
fn the_policy_allow_lets_the_tool_run() {
    let model = Model::start();
    let world = claude(&model).config(json!({"agents": {"claude": {"asks": "allow"}}})).start();
    let events = world
        .stream("SendStreamingMessage", message(&format!("{COMMAND} || echo ran-$((1+1))")))
        .rest();
    assert_eq!(permission(&events)["decision"], "allowed");
    let task = world.task(events[0].task_id());
    assert!(answer(&task).contains("ran-2"), "{}", answer(&task));
}

#[test]
fn a_file_in_the_workspace_is_written_without_asking() {
    let model = Model::start();
    let world = claude(&model).start();
    world.send(message_in("files", "say hello"));
    let file = workspace(&world, "files").join("note.txt");
    let task = world.send(message_in("files", &format!("write {} some words", file.display())));
    assert_eq!(state(&task), "COMPLETED");
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "some words");
}

#[test]
fn a_file_outside_of_the_workspace_is_not_written() {
    let model = Model::start();
    let world = denying(&model).start();
    let file = world.path("outside.txt");
    let events = world
        .stream("SendStreamingMessage", message(&format!("write {} x", file.display())))
        .rest();
    assert_eq!(permission(&events)["decision"], "denied");
    assert!(!file.exists());
}

#[test]
fn a_question_that_nobody_can_answer_does_not_keep_the_task() {
    let model = Model::start();
    let world = denying(&model).start();
    let events =
        world.stream("SendStreamingMessage", message("ask Which colour? | red | green")).rest();
    assert_eq!(events.last().unwrap().state(), Some("COMPLETED"));
    let told = events.iter().map(Event::words).collect::<Vec<_>>().join("\n");
    assert!(told.contains("Which colour?"), "{told}");
}

#[test]
fn a_server_that_the_session_script_adds_is_started_without_a_prompt() {
    let model = Model::start();
    let script =
        "#!/bin/sh\nclaude mcp add --scope project probe -- /bin/sh -c 'touch mcp-was-started'\n";
    let world = claude(&model).file(".init-session.sh", 0o755, script).start();
    let task = world.send(message_in("tools", "say hello"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "hello"));
    let folder = workspace(&world, "tools");
    assert!(folder.join(".mcp.json").exists());
    crate::processes::await_some("the start of the server", super::PATIENCE, || {
        folder.join("mcp-was-started").exists().then_some(())
    });
}

#[test]
fn what_a_shared_project_allows_counts_where_the_operator_trusts_it() {
    for (trusts, wall) in [(false, "none"), (true, "none"), (true, "bubblewrap")] {
        let model = Model::start();
        let builder = match wall {
            "none" => claude(&model),
            _ => super::walls::behind(&model, wall),
        };
        let settings = builder.cwd().join("project/.claude");
        std::fs::create_dir_all(&settings).unwrap();
        let allow = json!({"permissions": {"allow": ["Bash(curl:*)"]}});
        std::fs::write(settings.join("settings.json"), allow.to_string()).unwrap();
        let world = builder
            .config(json!({
                "workspace": {"mode": "shared", "path": "project"},
                "agents": {"claude": {"trust_project": trusts}},
            }))
            .start();
        let expected = if trusts { "COMPLETED" } else { "INPUT_REQUIRED" };
        assert_eq!(state(&world.say(COMMAND)), expected, "{trusts} {wall}");
        assert_eq!(world.stderr().contains("has not been trusted"), !trusts, "{}", world.stderr());
    }
}

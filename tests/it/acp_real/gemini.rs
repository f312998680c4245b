//! Gemini CLI: what it does beside the rest.

use super::{Agent, PATIENCE, asks, completed, decide, workspace};
use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{message_in, state, words};
use fake_model::Model;
use serde_json::json;
use std::path::Path;

const GEMINI: Agent = Agent {
    preset: "gemini",
    program: "gemini",
    process: "gemini --acp",
    world: |agent, model, key| {
        let builder: Builder = agent.bare();
        builder
            .env("GEMINI_API_KEY", key)
            .env("GOOGLE_GEMINI_BASE_URL", &model.url)
    },
};

super::of!(GEMINI);

/// A command that leaves a line where it runs.
const COMMAND: &str = "bash: echo yes >> ran";

#[test]
fn a_tool_makes_the_task_wait_and_runs_once_it_is_allowed() {
    let model = Model::start();
    let world = GEMINI.with(&model).start();
    let task = asks(&world, "c", &format!("{COMMAND}\nsay the end"));
    assert!(words(&task).contains("echo yes >> ran"), "{}", words(&task));
    let ran = workspace(&world, "c").join("ran");
    assert!(!ran.exists());
    let told = completed(&decide(&world, &task, "allow"));
    assert!(told.ends_with("the end"), "{told}");
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "yes\n");
}

#[test]
fn a_denied_tool_does_not_run() {
    let model = Model::start();
    let world = GEMINI.with(&model).start();
    let task = asks(&world, "c", COMMAND);
    let task = decide(&world, &task, "deny");
    assert_ne!(state(&task), "INPUT_REQUIRED", "{task:#}");
    assert!(!workspace(&world, "c").join("ran").exists());
}

#[test]
fn a_cancel_while_it_asks_ends_the_turn_and_nothing_runs() {
    let model = Model::start();
    let world = GEMINI.with(&model).start();
    let task = asks(&world, "c", COMMAND);
    let process = GEMINI.process(&world);
    let task = world.rpc("CancelTask", json!({"id": task["id"]}));
    assert_eq!(state(&task), "CANCELED");
    assert_eq!(
        completed(&world.send(message_in("c", "say after"))),
        "after"
    );
    assert_eq!(GEMINI.process(&world), process);
    assert!(!workspace(&world, "c").join("ran").exists());
}

#[test]
fn the_operator_s_policy_answers_without_a_person() {
    let model = Model::start();
    for (policy, runs) in [("allow", true), ("deny", false)] {
        let asks = json!({"agents": {"gemini": {"asks": policy}}});
        let world = GEMINI.with(&model).config(asks).start();
        let task = world.send(message_in("c", COMMAND));
        assert_ne!(state(&task), "INPUT_REQUIRED", "{task:#}");
        assert_eq!(
            workspace(&world, "c").join("ran").exists(),
            runs,
            "{policy}"
        );
    }
}

#[test]
fn a_side_question_of_the_cli_is_answered_in_its_shape() {
    let model = Model::start();
    // The model `auto` asks a small one first which of them is to answer.
    let world = GEMINI
        .with(&model)
        .config(json!({"agents": {"gemini": {"model": "auto"}}}))
        .start();
    assert_eq!(completed(&world.say("say hello")), "hello");
    let asked = await_some("the requests", PATIENCE, || {
        let seen = model.requests();
        (seen.len() > 1).then_some(seen)
    });
    assert!(
        asked[0].tools == 0 && asked[0].reply.contains('{'),
        "{asked:#?}"
    );
}

#[test]
fn after_a_restart_of_the_server_the_conversation_goes_on() {
    let model = Model::start();
    let mut world = GEMINI.with(&model).start();
    world.send(message_in("kept", "say remember the ship"));
    world.stop();
    a_half_hour_apart(&world.path("state"));
    world.restart();
    let told = completed(&world.send(message_in("kept", "history")));
    assert!(told.contains("remember the ship"), "{told}");
}

/// Names the CLI's transcripts after another minute. In the minute in which a conversation began it
/// cannot be loaded: the new process begins a transcript of the same name. Nobody waits for the next
/// minute here.
fn a_half_hour_apart(folder: &Path) {
    let mut found = Vec::new();
    super::files(folder, &mut found);
    found.retain(|file| file.parent().unwrap().ends_with("chats"));
    assert!(
        !found.is_empty(),
        "there are transcripts below the state folder"
    );
    for file in found {
        // session-2030-01-31T23-59-0123abcd.jsonl
        let mut words: Vec<String> = file
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .split('-')
            .map(ToOwned::to_owned)
            .collect();
        let minute: u32 = words[4].parse().unwrap();
        words[4] = format!("{:02}", (minute + 30) % 60);
        std::fs::rename(&file, file.with_file_name(words.join("-"))).unwrap();
    }
}

//! A context is a conversation of the CLI's own: warm, cold, after a restart, and apart from others.

use super::claude;
use crate::processes::await_some;
use crate::reading::{answer, message_in, state, text_of};
use crate::world::{BOB, OWNER, World};
use fake_model::Model;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// How many turns the model was shown, and the first of them.
fn history(task: &Value) -> String {
    let told = answer(task);
    assert_eq!(state(task), "COMPLETED", "{task}");
    told.rsplit_once(" items=").unwrap_or_else(|| panic!("no history: {told}")).0.to_owned()
}

fn session(task: &Value) -> &str {
    text_of(&task["metadata"], "sessionId")
}

fn transcripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            transcripts(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "jsonl") {
            found.push(path);
        }
    }
}

#[test]
fn a_second_turn_goes_on_in_the_warm_process() {
    let model = Model::start();
    let world = claude(&model).start();
    world.send(message_in("warm", "remember the ship"));
    let first = super::clis(&world);
    let task = world.send(message_in("warm", "history"));
    assert_eq!(history(&task), "turns=2 first=\"remember the ship\"");
    assert_eq!((first.len(), super::clis(&world)), (1, first));
}

#[test]
fn after_a_restart_the_conversation_is_resumed() {
    let model = Model::start();
    let mut world = claude(&model).start();
    let before = world.send(message_in("kept", "remember the ship"));
    world.restart();
    let after = world.send(message_in("kept", "history"));
    assert_eq!(history(&after), "turns=2 first=\"remember the ship\"");
    assert_eq!(session(&after), session(&before));
}

#[test]
fn after_kill_9_the_conversation_is_resumed() {
    let model = Model::start();
    let mut world = claude(&model).start();
    world.send(message_in("kept", "remember the ship"));
    world.kill9();
    world.nothing_is_left();
    world.restart();
    assert_eq!(
        history(&world.send(message_in("kept", "history"))),
        "turns=2 first=\"remember the ship\""
    );
}

#[test]
fn a_conversation_is_resumed_although_the_server_was_killed_in_its_first_turn() {
    let model = Model::start();
    let mut world = claude(&model).start();
    let mut events = world.stream("SendStreamingMessage", message_in("kept", "cue never"));
    events.until("the first words", |event| event.words().starts_with("waiting"));
    // The CLI writes its transcript a moment later.
    await_some("the transcript", world.patience(), || {
        let mut found = Vec::new();
        transcripts(&world.path("state"), &mut found);
        let holds =
            |file: &PathBuf| std::fs::read_to_string(file).is_ok_and(|t| t.contains("cue never"));
        found.iter().any(holds).then_some(())
    });
    world.kill9();
    world.nothing_is_left();
    world.restart();
    let after = world.send(message_in("kept", "history"));
    assert!(history(&after).ends_with("first=\"cue never\""), "{}", answer(&after));
}

#[test]
fn where_the_transcript_is_gone_a_new_conversation_begins_and_the_task_says_so() {
    let model = Model::start();
    let mut world = claude(&model).start();
    let before = world.send(message_in("lost", "remember the ship"));
    world.stop();
    let mut found = Vec::new();
    transcripts(&world.path("state"), &mut found);
    assert!(!found.is_empty(), "there are transcripts below the state folder");
    found.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    world.restart();
    let events = world.stream("SendStreamingMessage", message_in("lost", "history")).rest();
    let told = events
        .iter()
        .filter_map(crate::http::Event::data)
        .any(|data| data["kind"] == "conversation-lost");
    assert!(told, "{events:#?}");
    let after = world.task(events[0].task_id());
    assert_eq!(history(&after), "turns=1 first=\"history\"");
    assert_ne!(session(&after), session(&before));
}

#[test]
fn two_sessions_at_once_do_not_see_each_others_conversation() {
    let model = Model::start();
    let world = claude(&model).start();
    let both = |texts: [&str; 2]| {
        let ids = [0, 1].map(|n| world.begin_with(message_in(["left", "right"][n], texts[n])));
        ids.map(|id| world.await_state(&id, &["COMPLETED", "FAILED"]))
    };
    let first = both(["remember alpha", "remember beta"]);
    assert_ne!(session(&first[0]), session(&first[1]));
    let second = both(["history", "history"]);
    assert_eq!(
        second.each_ref().map(history),
        ["turns=2 first=\"remember alpha\"", "turns=2 first=\"remember beta\""]
    );
}

fn send_as(world: &World, token: &str, text: &str) -> Value {
    world.rpc_as(token, "SendMessage", message_in("same", text))["task"].take()
}

#[test]
fn two_callers_with_the_same_context_have_conversations_of_their_own() {
    let model = Model::start();
    let world = claude(&model).start();
    send_as(&world, OWNER, "remember alpha");
    send_as(&world, BOB, "remember beta");
    assert_eq!(history(&send_as(&world, OWNER, "history")), "turns=2 first=\"remember alpha\"");
    assert_eq!(history(&send_as(&world, BOB, "history")), "turns=2 first=\"remember beta\"");
}

#[test]
fn after_a_cancel_the_conversation_goes_on_in_the_same_process() {
    let model = Model::start();
    let world = claude(&model).start();
    let id = world.begin_with(message_in("kept", "cue never"));
    assert!(model.wait(fake_model::Event::Cue, 1, super::PATIENCE));
    let process = super::clis(&world);
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    let task = world.send(message_in("kept", "say still here"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "still here"));
    assert_eq!((process.len(), super::clis(&world)), (1, process));
}

#[test]
fn messages_of_one_context_are_answered_in_order() {
    let model = Model::start();
    let world = claude(&model).start();
    let ids =
        ["say one", "say two", "history"].map(|text| world.begin_with(message_in("line", text)));
    let tasks = ids.map(|id| world.await_state(&id, &["COMPLETED", "FAILED"]));
    assert_eq!([answer(&tasks[0]), answer(&tasks[1])], ["one", "two"]);
    assert_eq!(history(&tasks[2]), "turns=3 first=\"say one\"");
}

#[test]
fn nothing_is_written_to_the_home_of_the_server() {
    let model = Model::start();
    let world = claude(&model).start();
    world.say("say hello");
    let names: Vec<_> = std::fs::read_dir(world.path("home"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [""; 0]);
}

//! Following up: a message that interrupts a running turn, and a new context that begins as a copy.

use crate::reading::{answer, at_once, message, message_in, message_to, state, text_of, words};
use crate::world::World;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

fn steered(task: &str, text: &str) -> Value {
    let mut params = message_to(task, text);
    params["message"]["metadata"] = json!({"mode": "steer"});
    params
}

fn forked(context: &str, text: &str) -> Value {
    let mut params = message(text);
    params["message"]["metadata"] = json!({"fork": {"contextId": context}});
    params
}

#[test]
fn a_message_that_steers_interrupts_the_turn_and_is_the_next_one() {
    let world = World::start();
    let id = world.begin_waiting("cue never; say one", "never");
    let task = world.send(steered(&id, "say two"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "two"));
}

#[test]
fn a_stream_of_a_steered_task_goes_on_to_its_real_end() {
    let world = World::start();
    let mut events = world.stream("SendStreamingMessage", message("cue never; say one"));
    let first = events.until("the cue", |event| event.words() == "waiting never");
    let id = first.last().unwrap().task_id().to_owned();
    world.send(at_once(steered(&id, "say two")));
    let rest = events.rest();
    let states: Vec<_> = rest.iter().filter_map(|event| event.state()).collect();
    assert_eq!(states.last(), Some(&"COMPLETED"));
    assert!(!states.contains(&"CANCELED"), "{states:?}");
}

#[test]
fn a_fork_begins_with_a_copy_of_the_files_and_leaves_the_first_alone() {
    let world = World::start();
    world.send(message_in("first", "write note.txt kept"));
    let fork = world.send(forked("first", "read note.txt"));
    assert_eq!(answer(&fork), "kept");
    let context = text_of(&fork, "contextId");
    assert_ne!(context, "first");
    world.send(message_in(context, "write note.txt changed"));
    let task = world.send(message_in("first", "read note.txt"));
    assert_eq!(answer(&task), "kept");
}

#[test]
fn a_fork_copies_holes_as_holes_and_two_names_of_a_file_as_two_names() {
    let world = World::start();
    let folder = PathBuf::from(answer(&world.send(message_in("first", "pwd"))));
    File::create(folder.join("sparse")).unwrap().set_len(1 << 30).unwrap();
    fs::write(folder.join("one"), "text").unwrap();
    fs::hard_link(folder.join("one"), folder.join("two")).unwrap();
    let fork = PathBuf::from(answer(&world.send(forked("first", "pwd"))));
    assert_ne!(fork, folder);
    let found = |name: &str| fs::metadata(fork.join(name)).unwrap();
    assert_eq!(found("sparse").len(), 1 << 30);
    assert!(found("sparse").blocks() < 2048, "{} blocks", found("sparse").blocks());
    assert_eq!(found("one").ino(), found("two").ino());
    assert_ne!(found("one").ino(), fs::metadata(folder.join("one")).unwrap().ino());
}

#[test]
fn a_fork_replaces_what_the_session_script_has_made_anew() {
    let script = "#!/bin/sh\nmkdir made\necho anew > made/note.txt\nln -s made link\n";
    let world = World::describe().file(".init-session.sh", 0o755, script).start();
    world.send(message_in("first", "write made/note.txt kept"));
    assert_eq!(answer(&world.send(forked("first", "read link/note.txt"))), "kept");
}

#[test]
fn a_fork_of_more_than_may_be_copied_fails_and_names_the_key() {
    let world = World::describe().config(json!({"sessions": {"copy": {"entries": 3}}})).start();
    let folder = PathBuf::from(answer(&world.send(message_in("first", "pwd"))));
    (0..4).for_each(|n| fs::write(folder.join(n.to_string()), "").unwrap());
    let fork = world.send(forked("first", "say x"));
    assert_eq!(state(&fork), "FAILED");
    assert!(words(&fork).contains("sessions.copy.entries"), "{}", words(&fork));
    // Nothing of the copy is left: neither under the session's name nor under another one.
    let left = || fs::read_dir(world.path("work")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(left().collect::<Vec<_>>(), std::slice::from_ref(&folder));
    let next = world.send(message_in(text_of(&fork, "contextId"), "pwd"));
    let next = PathBuf::from(answer(&next));
    assert_ne!(next, folder);
    assert_eq!(fs::read_dir(next).unwrap().count(), 0);
}

#[test]
fn a_fork_of_a_context_that_is_not_there_is_refused() {
    let world = World::start();
    let error = world.error("SendMessage", forked("nowhere", "say x"));
    assert_eq!(error["code"], -32602);
}

#[test]
fn a_fork_into_a_context_that_is_in_use_is_refused() {
    let world = World::start();
    world.send(message_in("first", "say x"));
    let mut params = forked("first", "say y");
    params["message"]["contextId"] = json!("first");
    assert_eq!(world.error("SendMessage", params)["code"], -32602);
}

//! Erasure: nothing is left of a caller or a context in the state folder and the folders of sessions.

use crate::cli_asks::{pilothouse, url};
use crate::reading::{at_once, message, message_in, text_of};
use crate::webhook::Webhook;
use crate::world::{BOB, OWNER, World};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const MARKER: &str = "zanzibar-7f3e9a51";

/// The files below a folder that have the marker in their name or content.
fn marked(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            marked(&path, found);
        } else if let Ok(bytes) = fs::read(&path)
            && bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes())
        {
            found.push(path);
        }
    }
}

fn found(world: &World) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["state", "work"] {
        marked(&world.path(folder), &mut found);
    }
    let log = world.path("agents.jsonl");
    if fs::read_to_string(&log).is_ok_and(|log| log.contains(MARKER)) {
        found.push(log);
    }
    found
}

fn erase(world: &World, what: &Value) -> Value {
    let headers = [("Authorization", format!("Bearer {OWNER}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let reply = world.post("/api/v1/erase", &headers, what.to_string().as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[test]
fn nothing_is_left_of_an_erased_caller_and_others_keep_all_of_theirs() {
    let described = World::describe();
    let log = described.path("agents.jsonl");
    let hook = Webhook::start();
    let config = json!({"log": {"path": log}, "push": {"allow": ["127.0.0.0/8"]}});
    let world = described.config(config).start();
    let kept = world.send(message_in("mine", "write mine.txt kept; say kept"));
    for script in ["write note.txt", "artifact one", "say", "ask"] {
        world.rpc_as(BOB, "SendMessage", message(&format!("{script} {MARKER}")));
    }
    let repeated = message(&format!("say {MARKER}"));
    let first = world.rpc_as(BOB, "SendMessage", repeated.clone());
    let running =
        world.rpc_as(BOB, "SendMessage", at_once(message(&format!("status {MARKER}; wait never"))));
    let id = text_of(&running["task"], "id").to_owned();
    let hook = json!({"taskId": id, "id": MARKER, "url": hook.url(&format!("/{MARKER}"))});
    world.rpc_as(BOB, "CreateTaskPushNotificationConfig", hook);
    assert!(!found(&world).is_empty());
    let erased = erase(&world, &json!({"caller": "bob"}));
    assert_eq!((&erased["tasks"], &erased["left"]), (&json!(6), &json!([])), "{erased}");
    assert_eq!(found(&world), Vec::<PathBuf>::new());
    assert_eq!(world.rpc_as(BOB, "ListTasks", json!({}))["totalSize"], 0);
    // Neither the task nor the message is remembered.
    let old = text_of(&first["task"], "id");
    assert_eq!(world.error_as(BOB, "GetTask", json!({"id": old}))["code"], -32001);
    let anew = world.rpc_as(BOB, "SendMessage", repeated);
    assert_ne!(text_of(&anew["task"], "id"), old);
    erase(&world, &json!({"caller": "bob"}));
    // It can be said again.
    let again = erase(&world, &json!({"caller": "bob"}));
    assert_eq!(
        (&again["tasks"], &again["sessions"], &again["left"]),
        (&json!(0), &json!(0), &json!([]))
    );
    let audit = fs::read_to_string(world.path("audit.jsonl")).unwrap();
    assert!(
        audit.contains(r#""action":"Erase","subject":"bob""#) && !audit.contains(MARKER),
        "{audit}"
    );
    assert_eq!(world.task(text_of(&kept, "id"))["status"], kept["status"]);
    let read = world.send(message_in("mine", "read mine.txt"));
    assert_eq!(crate::reading::answer(&read), "kept");
}

#[test]
fn a_context_is_erased_by_the_command_line_when_it_is_meant() {
    let world = World::start();
    world.send(message_in("secret-talk", &format!("say {MARKER}")));
    world.send(message_in("other-talk", "say x"));
    let address = url(world.address());
    let asked = pilothouse(&address, &["erase", "--context", "secret-talk"]);
    assert_eq!(asked.code, Some(2), "{}", asked.err);
    assert!(!found(&world).is_empty());
    let done = pilothouse(&address, &["erase", "--context", "secret-talk", "--yes"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.starts_with("erased: 1 tasks, 1 sessions\nnot reached: "), "{}", done.out);
    assert_eq!(found(&world), Vec::<PathBuf>::new());
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 1);
}

//! Callers do not see each other: neither tasks nor sessions.

use crate::reading::{answer, message_in, message_to, text_of};
use crate::world::{BOB, OWNER, World};
use serde_json::json;

#[test]
fn a_foreign_task_is_not_found_by_any_operation() {
    let world = World::start();
    let id = text_of(&world.say("ask which?"), "id").to_owned();
    for method in ["GetTask", "CancelTask", "SubscribeToTask"] {
        assert_eq!(world.error_as(BOB, method, json!({"id": id}))["code"], -32001, "{method}");
    }
    assert_eq!(world.error_as(BOB, "SendMessage", message_to(&id, "say mine"))["code"], -32001);
}

#[test]
fn a_foreign_task_reads_just_as_one_that_never_was() {
    let world = World::start();
    let foreign = text_of(&world.say("say x"), "id").to_owned();
    let nowhere = uuid::Uuid::now_v7().to_string();
    let [foreign, nowhere] = [foreign, nowhere].map(|id| {
        let error = world.error_as(BOB, "GetTask", json!({"id": id}));
        error.to_string().replace(&id, "ID")
    });
    assert_eq!(foreign, nowhere);
}

#[test]
fn the_same_context_of_two_callers_is_two_sessions() {
    let world = World::start();
    world.send(message_in("shared-name", "write note.txt mine"));
    let mut bobs = world.rpc_as(BOB, "SendMessage", message_in("shared-name", "read note.txt"));
    let told = answer(&bobs["task"].take());
    assert!(told.starts_with("read failed"), "{told}");
}

#[test]
fn a_foreign_answer_is_not_read_at_its_address() {
    let world = World::start();
    let path = format!("/api/v1/tasks/{}/answer", text_of(&world.say("say secret"), "id"));
    let status =
        |token: &str| world.get(&path, &[("Authorization", &format!("Bearer {token}"))]).status;
    assert_eq!((status(OWNER), status(BOB)), (200, 404));
}

#[test]
fn foreign_sessions_are_not_listed() {
    let world = World::start();
    world.say("say x");
    let count = |token: &str| {
        let reply = world.get("/api/v1/sessions", &[("Authorization", &format!("Bearer {token}"))]);
        reply.json()["sessions"].as_array().unwrap().len()
    };
    assert_eq!((count(OWNER), count(BOB)), (1, 0));
}

#[test]
fn a_v0_1_id_of_one_caller_is_nothing_to_another() {
    let world = World::start();
    let params = |text: &str| json!({"id": "my-id", "message": {"role": "user", "parts": [{"type": "text", "text": text}]}});
    world.rpc_as(OWNER, "tasks/send", params("say owner"));
    assert_eq!(world.error_as(BOB, "tasks/get", json!({"id": "my-id"}))["code"], -32001);
    let bobs = world.rpc_as(BOB, "tasks/send", params("say bob"));
    assert_eq!(crate::reading::parts_text(&bobs["artifacts"][0]["parts"]), "bob");
}

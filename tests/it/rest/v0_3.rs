//! HTTP+JSON of v0.3 below `/v1`, in both of its spellings.

use super::{ok, with_an_inner_skill};
use crate::reading::text_of;
use crate::world::World;
use serde_json::{Value, json};

/// A message in the JSON types of v0.3.
fn kinded(text: &str) -> Value {
    let id = uuid::Uuid::new_v4().to_string();
    json!({"message": {"kind": "message", "messageId": id, "role": "user", "parts": [{"kind": "text", "text": text}]}})
}

/// The same in the protobuf JSON of v0.3.
fn proto(text: &str) -> Value {
    let id = uuid::Uuid::new_v4().to_string();
    json!({"request": {"messageId": id, "role": "ROLE_USER", "content": [{"text": text}]}, "configuration": {"blocking": true}})
}

#[test]
fn a_v0_3_message_is_answered_in_the_spelling_that_it_came_in() {
    let world = World::start();
    let task = &world.rest_post("/v1/message:send", &kinded("say hello"))["task"];
    assert_eq!((&task["kind"], &task["status"]["state"]), (&json!("task"), &json!("completed")));
    let task = &world.rest_post("/v1/message:send", &proto("say hello"))["task"];
    assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED");
    assert_eq!(task["history"][0]["content"][0]["text"], "say hello");
}

#[test]
fn a_v0_3_stream_has_its_spelling_in_every_event() {
    let world = World::start();
    let stream = |body: Value| {
        world.rest_stream("POST", "/v1/message:stream", &[], &body.to_string()).rest()
    };
    let events = stream(kinded("say hello"));
    assert_eq!(events[0].result["task"]["kind"], "task");
    let last = &events.last().unwrap().result["statusUpdate"];
    assert_eq!((&last["status"]["state"], &last["final"]), (&json!("completed"), &json!(true)));
    let events = stream(proto("say hello"));
    let last = &events.last().unwrap().result["statusUpdate"];
    assert_eq!(
        (&last["status"]["state"], &last["final"]),
        (&json!("TASK_STATE_COMPLETED"), &json!(true))
    );
}

#[test]
fn a_v0_3_client_reads_subscribes_and_cancels() {
    let world = World::start();
    let id = world.begin_waiting("cue never", "never");
    let task = world.rest_get(&format!("/v1/tasks/{id}"));
    assert_eq!(task["status"]["state"], "TASK_STATE_WORKING");
    let path = format!("/v1/tasks/{id}:subscribe");
    let mut streams = ["GET", "POST"].map(|verb| world.rest_stream(verb, &path, &[], ""));
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap().task_id(), id);
    }
    let task = ok(world.rest("POST", &format!("/v1/tasks/{id}:cancel"), &[], ""));
    assert_eq!(task["status"]["state"], "TASK_STATE_CANCELLED");
    for stream in streams {
        assert_eq!(stream.rest().last().unwrap().result["statusUpdate"]["final"], true);
    }
}

#[test]
fn a_v0_3_client_hears_errors_by_code_and_by_name() {
    let world = World::start();
    let reply = world.rest("GET", "/v1/tasks/none", &[], "");
    let body = reply.json();
    assert_eq!(
        (reply.status, &body["code"], &body["error"]),
        (404, &json!(-32001), &json!("TaskNotFoundError"))
    );
}

#[test]
fn a_v0_3_client_finds_its_card() {
    let world = with_an_inner_skill();
    let card = world.rest_get("/v1/card");
    assert!(text_of(&card, "protocolVersion").starts_with("0.3"), "{card}");
}

#[test]
fn a_v0_3_client_keeps_push_notification_configs_in_both_spellings() {
    let world = World::describe().config(json!({"push": {"allow": ["127.0.0.1"]}})).start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    let configs = format!("/v1/tasks/{id}/pushNotificationConfigs");
    let url = "http://127.0.0.1:1/hook";
    let kinded = json!({"taskId": id, "pushNotificationConfig": {"id": "one", "url": url}});
    let made = world.rest_post(&configs, &kinded);
    assert_eq!(made["pushNotificationConfig"]["url"], url, "{made}");
    let proto = json!({"parent": format!("tasks/{id}"), "configId": "two",
        "config": {"pushNotificationConfig": {"url": url}}});
    let made = world.rest_post(&configs, &proto);
    assert_eq!(made["name"], format!("tasks/{id}/pushNotificationConfigs/two"), "{made}");
    for name in ["one", "two"] {
        ok(world.rest("GET", &format!("{configs}/{name}"), &[], ""));
        let removed = world.rest("DELETE", &format!("{configs}/{name}"), &[], "");
        assert!([200, 204].contains(&removed.status), "{}", removed.text());
    }
}

#[test]
fn a_v0_3_client_that_may_not_call_hears_it_in_its_own_form() {
    let world = World::start();
    let reply = world.get("/v1/tasks/none", &[]);
    let body = reply.json();
    assert_eq!((reply.status, &body["code"]), (401, &json!(-32050)), "{body}");
    assert!(body["message"].is_string(), "{body}");
}

//! The dialect v0.3, as its clients speak it.

use crate::reading::text_of;
use crate::world::World;
use serde_json::{Value, json};

fn message(text: &str) -> Value {
    let id = uuid::Uuid::new_v4().to_string();
    json!({"message": {"kind": "message", "messageId": id, "role": "user", "parts": [{"kind": "text", "text": text}]}})
}

fn blocking(text: &str, blocking: bool) -> Value {
    let mut params = message(text);
    params["configuration"] = json!({"blocking": blocking});
    params
}

/// The answer of a v0.3 task.
fn answer(task: &Value) -> String {
    let made = task["artifacts"].as_array().into_iter().flatten();
    made.filter(|made| made["name"] == "answer")
        .map(|made| crate::reading::parts_text(&made["parts"]))
        .collect()
}

fn state(task: &Value) -> &str {
    text_of(&task["status"], "state")
}

#[test]
fn a_message_is_answered_with_a_bare_task() {
    let world = World::start();
    let task = world.rpc("message/send", message("say hello"));
    assert_eq!(
        (text_of(&task, "kind"), state(&task), answer(&task).as_str()),
        ("task", "completed", "hello")
    );
}

#[test]
fn left_out_blocking_means_wait_and_the_operator_can_change_that() {
    let world =
        World::describe().config(json!({"compat": {"v03": {"blocking_default": false}}})).start();
    let task = world.rpc("message/send", message("cue go; say x"));
    assert!(["submitted", "working"].contains(&state(&task)), "{task}");
    world.cue("go");
}

#[test]
fn blocking_false_returns_at_once() {
    let world = World::start();
    let task = world.rpc("message/send", blocking("cue go; say done", false));
    assert!(["submitted", "working"].contains(&state(&task)), "{task}");
    world.cue("go");
    world.await_task(text_of(&task, "id"), "the end", |task| {
        task["status"]["state"] == "TASK_STATE_COMPLETED"
    });
}

#[test]
fn blocking_true_waits() {
    let world = World::start();
    assert_eq!(state(&world.rpc("message/send", blocking("say x", true))), "completed");
}

#[test]
fn a_stream_ends_with_final_true_and_says_it_nowhere_else() {
    let world = World::start();
    let events = world.stream("message/stream", message("say a; status remark; say b")).rest();
    let kinds: Vec<&str> = events.iter().map(|event| text_of(&event.result, "kind")).collect();
    assert_eq!((kinds[0], *kinds.last().unwrap()), ("task", "status-update"));
    let finals: Vec<bool> =
        events.iter().filter_map(|event| event.result["final"].as_bool()).collect();
    let (last, before) = finals.split_last().unwrap();
    assert!(*last && before.iter().all(|is_final| !is_final), "{finals:?}");
    assert_eq!(state(&events.last().unwrap().result), "completed");
}

#[test]
fn the_answer_streams_as_artifact_updates() {
    let world = World::describe().config(json!({"streams": {"answers": "pieces"}})).start();
    let events = world.stream("message/stream", message("say a; status remark; say b")).rest();
    let pieces = events.iter().filter(|event| event.result["kind"] == "artifact-update");
    let text: String = pieces
        .map(|event| crate::reading::parts_text(&event.result["artifact"]["parts"]))
        .collect();
    assert_eq!(text, "ab");
}

#[test]
fn a_task_is_read() {
    let world = World::start();
    let sent = world.rpc("message/send", message("say hello"));
    let read = world.rpc("tasks/get", json!({"id": sent["id"]}));
    assert_eq!(read, sent);
}

#[test]
fn the_history_length_is_obeyed() {
    let world = World::start();
    let id = world.rpc("message/send", message("say hello"))["id"].clone();
    let task = world.rpc("tasks/get", json!({"id": id, "historyLength": 1}));
    assert_eq!(task["history"].as_array().unwrap().len(), 1);
}

#[test]
fn a_task_is_canceled() {
    let world = World::start();
    let id = world.rpc("message/send", blocking("hang", false))["id"].clone();
    let task = world.rpc("tasks/cancel", json!({"id": id}));
    assert_eq!((text_of(&task, "kind"), state(&task)), ("task", "canceled"));
}

#[test]
fn a_resubscriber_gets_the_task_first_and_then_the_rest() {
    let world = World::start();
    let id = text_of(&world.rpc("message/send", blocking("say a; cue go; say b", false)), "id")
        .to_owned();
    world.await_words(&id, "waiting go");
    let mut events = world.stream("tasks/resubscribe", json!({"id": id}));
    let first = events.next().unwrap();
    assert_eq!((text_of(&first.result, "kind"), answer(&first.result).as_str()), ("task", "a"));
    world.cue("go");
    let rest = events.rest();
    assert_eq!(
        (&rest.last().unwrap().result["final"], state(&rest.last().unwrap().result)),
        (&json!(true), "completed")
    );
}

#[test]
fn last_event_id_resumes_here_too() {
    let world = World::start();
    let full = world
        .stream("message/stream", message("say a; status pause; say b; status pause; say c"))
        .rest();
    let id = text_of(&full[0].result, "id");
    let place = full.len() / 2;
    let after = full[place].id.unwrap().to_string();
    let resumed = world
        .stream_with("tasks/resubscribe", json!({"id": id}), &[("Last-Event-ID", &after)])
        .rest();
    assert_eq!(&resumed[1..], &full[place + 1..]);
}

#[test]
fn a_question_ends_the_stream_with_final_true_and_can_be_answered() {
    let world = World::start();
    let events = world.stream("message/stream", message("ask which?")).rest();
    let last = &events.last().unwrap().result;
    assert_eq!((state(last), &last["final"]), ("input-required", &json!(true)));
    let mut params = message("say green");
    params["message"]["taskId"] = last["taskId"].clone();
    let task = world.rpc("message/send", params);
    assert_eq!((&task["id"], state(&task)), (&last["taskId"], "completed"));
}

#[test]
fn a_context_goes_on() {
    let world = World::start();
    let first = world.rpc("message/send", message("count"));
    let mut params = message("count");
    params["message"]["contextId"] = first["contextId"].clone();
    assert_eq!(answer(&world.rpc("message/send", params)), "2");
}

#[test]
fn an_error_is_plain_and_has_the_code_of_the_dialect() {
    let world = World::start();
    let error = world.error("tasks/get", json!({"id": "nowhere"}));
    assert_eq!(error["code"], -32001);
    assert!(!error["data"].is_array(), "{error}");
}

#[test]
fn push_notifications_where_there_are_none_are_refused_by_their_own_error() {
    let world = World::describe().config(json!({"push": {"enabled": false}})).start();
    let id = world.rpc("message/send", message("say x"))["id"].clone();
    let params = json!({"taskId": id, "pushNotificationConfig": {"url": "http://127.0.0.1:9/"}});
    assert_eq!(world.error("tasks/pushNotificationConfig/set", params)["code"], -32003);
}

#[test]
fn the_curl_line_of_the_first_forerunner_streams_an_answer() {
    let world = World::describe().args(["--no-auth"]).start();
    let body = r#"{
    "jsonrpc": "2.0",
    "id": 1,
    "method": "message/stream",
    "params": {
      "message": {
        "messageId": "1",
        "contextId": "ctx-1",
        "role": "user",
        "parts": [{"kind": "text", "text": "Which skills have you loaded?"}]
      }
    }
  }"#;
    let reply = world.post("/", &[], body.as_bytes());
    let text = reply.text();
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert!(text.contains("echo: Which skills") && text.contains("\"final\":true"), "{text}");
}

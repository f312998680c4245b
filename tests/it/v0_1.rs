//! The dialect v0.1, the oldest: ids made by the client.

use crate::processes::await_some;
use crate::reading::{parts_text, text_of};
use crate::world::{OWNER, PATIENCE, World};
use serde_json::{Value, json};

fn send(id: &str, text: &str) -> Value {
    json!({"id": id, "message": {"role": "user", "parts": [{"type": "text", "text": text}]}})
}

fn send_in(id: &str, session: &str, text: &str) -> Value {
    let mut params = send(id, text);
    params["sessionId"] = json!(session);
    params
}

fn state(task: &Value) -> &str {
    text_of(&task["status"], "state")
}

fn answer(task: &Value) -> String {
    let made = task["artifacts"].as_array().into_iter().flatten();
    made.filter(|made| made["name"] == "answer").map(|made| parts_text(&made["parts"])).collect()
}

#[test]
fn a_task_keeps_the_clients_id_and_session() {
    let world = World::start();
    let task = world.rpc("tasks/send", send_in("my-id", "my-session", "say hello"));
    assert_eq!((text_of(&task, "id"), text_of(&task, "sessionId")), ("my-id", "my-session"));
    assert_eq!((state(&task), answer(&task).as_str()), ("completed", "hello"));
}

#[test]
fn the_answer_is_in_the_form_of_the_dialect() {
    let world = World::start();
    let task = world.rpc("tasks/send", send("my-id", "say hello"));
    assert!(task.get("kind").is_none() && task.get("contextId").is_none(), "{task}");
    assert_eq!(task["artifacts"][0]["parts"], json!([{"type": "text", "text": "hello"}]));
    assert_eq!(task["artifacts"][0]["index"], 0);
}

#[test]
fn a_task_is_read_by_the_clients_id() {
    let world = World::start();
    let sent = world.rpc("tasks/send", send("my-id", "say hello"));
    assert_eq!(world.rpc("tasks/get", json!({"id": "my-id"})), sent);
}

#[test]
fn a_stream_ends_with_final_true() {
    let world = World::describe().config(json!({"streams": {"answers": "pieces"}})).start();
    let events =
        world.stream("tasks/sendSubscribe", send("my-id", "say a; status remark; say b")).rest();
    assert!(events.iter().all(|event| event.result["id"] == "my-id"), "{events:#?}");
    let finals: Vec<bool> =
        events.iter().filter_map(|event| event.result["final"].as_bool()).collect();
    let (last, before) = finals.split_last().unwrap();
    assert!(*last && before.iter().all(|is_final| !is_final), "{finals:?}");
    let text: String =
        events.iter().map(|event| parts_text(&event.result["artifact"]["parts"])).collect();
    assert_eq!(text, "ab");
}

#[test]
fn pieces_of_an_artifact_are_marked_on_the_artifact() {
    let world = World::describe().config(json!({"streams": {"answers": "pieces"}})).start();
    let events =
        world.stream("tasks/sendSubscribe", send("my-id", "say a; status remark; say b")).rest();
    let appends: Vec<_> =
        events.iter().filter_map(|event| event.result["artifact"]["append"].as_bool()).collect();
    assert_eq!(appends, [false, true]);
}

#[test]
fn a_second_send_to_a_finished_id_opens_a_new_task_in_the_same_session() {
    let world = World::start();
    world.rpc("tasks/send", send_in("my-id", "my-session", "count"));
    let second = world.rpc("tasks/send", send("my-id", "count"));
    assert_eq!(
        (text_of(&second, "id"), text_of(&second, "sessionId"), answer(&second).as_str()),
        ("my-id", "my-session", "2")
    );
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 2);
}

#[test]
fn the_id_means_the_newest_of_its_tasks() {
    let world = World::start();
    world.rpc("tasks/send", send("my-id", "say old"));
    world.rpc("tasks/send", send("my-id", "say new"));
    assert_eq!(answer(&world.rpc("tasks/get", json!({"id": "my-id"}))), "new");
}

#[test]
fn a_send_to_a_working_id_is_its_next_turn() {
    let world = World::start();
    let _stream = world.stream("tasks/sendSubscribe", send("my-id", "cue go; say one"));
    let more = std::thread::scope(|scope| {
        let more = scope.spawn(|| world.rpc("tasks/send", send("my-id", "say more")));
        await_some("the second message in the history", PATIENCE, || {
            let tasks = world.rpc("ListTasks", json!({}));
            let history = tasks["tasks"][0]["history"].as_array()?.len();
            (history == 2).then_some(())
        });
        world.cue("go");
        more.join().unwrap()
    });
    assert_eq!((text_of(&more["status"], "state"), text_of(&more, "id")), ("completed", "my-id"));
}

#[test]
fn a_send_to_an_id_that_asks_continues_its_task() {
    let world = World::start();
    let asked = world.rpc("tasks/send", send("my-id", "ask which?"));
    assert_eq!(state(&asked), "input-required");
    assert_eq!(state(&world.rpc("tasks/send", send("my-id", "say green"))), "completed");
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 1);
}

#[test]
fn a_task_is_canceled_by_the_clients_id() {
    let world = World::start();
    let mut events = world.stream("tasks/sendSubscribe", send("my-id", "hang"));
    events.until("the work", |event| event.result["status"]["state"] == "working");
    assert_eq!(state(&world.rpc("tasks/cancel", json!({"id": "my-id"}))), "canceled");
    assert_eq!(state(&events.rest().last().unwrap().result), "canceled");
}

#[test]
fn a_stream_is_taken_up_again_by_the_clients_id() {
    let world = World::start();
    let mut events = world.stream("tasks/sendSubscribe", send("my-id", "cue go; say done"));
    events.until("the cue", |event| {
        parts_text(&event.result["status"]["message"]["parts"]) == "waiting go"
    });
    drop(events);
    let events = world.stream("tasks/resubscribe", json!({"id": "my-id"}));
    world.cue("go");
    let events = events.rest();
    assert!(events.iter().all(|event| event.result["id"] == "my-id"), "{events:#?}");
    assert_eq!(events.last().unwrap().result["final"], true);
}

#[test]
fn the_same_task_is_read_in_v1_0_under_the_servers_id() {
    let world = World::start();
    world.rpc("tasks/send", send("my-id", "say hello"));
    let task = world.rpc("ListTasks", json!({"includeArtifacts": true}))["tasks"][0].take();
    assert_ne!(task["id"], "my-id");
    assert_eq!(crate::reading::answer(&task), "hello");
}

#[test]
fn an_unknown_id_is_not_found() {
    let world = World::start();
    assert_eq!(world.error("tasks/get", json!({"id": "nowhere"}))["code"], -32001);
}

#[test]
fn the_curl_line_of_the_second_forerunner_is_answered() {
    let world = World::start();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/send","params":{"message":{"role":"user","parts":[{"type":"text","text":"ping"}]}}}"#;
    let reply = world
        .post("/a2a", &[("Authorization", &format!("Bearer {OWNER}"))], body.as_bytes())
        .json();
    assert_eq!(state(&reply["result"]), "completed");
    assert_eq!(answer(&reply["result"]), "echo: ping");
}

#[test]
fn both_doors_with_and_without_a_slash_understand_every_dialect() {
    let world = World::start();
    for path in ["/", "/a2a", "/a2a/"] {
        for (method, params) in [
            ("tasks/send", send(path, "say x")),
            (
                "message/send",
                json!({"message": {"messageId": "1", "role": "user", "parts": [{"kind": "text", "text": "say x"}]}}),
            ),
            ("SendMessage", crate::reading::message("say x")),
        ] {
            let body =
                json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
            let reply = world
                .post(path, &[("Authorization", &format!("Bearer {OWNER}"))], body.as_bytes())
                .json();
            assert!(reply.get("result").is_some(), "{method} at {path}: {reply}");
        }
    }
}

#[test]
fn an_artifact_keeps_its_number_in_a_stream_that_is_taken_up_again() {
    let world = World::start();
    let script = "say a; artifact notes x; cue go; say b";
    let mut events = world.stream("tasks/sendSubscribe", send("my-id", script));
    events.until("the cue", |event| {
        parts_text(&event.result["status"]["message"]["parts"]) == "waiting go"
    });
    let again = world.stream("tasks/resubscribe", json!({"id": "my-id"}));
    world.cue("go");
    for stream in [events.rest(), again.rest()] {
        let mut names = std::collections::BTreeMap::new();
        let known = stream.iter().flat_map(|event| {
            let whole = event.result["artifacts"].as_array().into_iter().flatten();
            whole.chain(event.result.get("artifact"))
        });
        for artifact in known {
            let name = text_of(artifact, "name").rsplit('-').next().unwrap();
            let number = names.entry(name).or_insert(&artifact["index"]);
            assert_eq!(*number, &artifact["index"], "{stream:#?}");
        }
    }
}

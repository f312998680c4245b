//! Version 1.1 as far as it is written (`compat.v11`): generations of tasks and events, answers that wait for the next one,
//! messages for one of them.

use crate::http::Event;
use crate::reading::{message, message_to, states, text_of};
use crate::webhook::Webhook;
use crate::world::{OWNER, World};
use serde_json::{Value, json};
use std::thread;

fn world() -> World {
    World::describe().config(json!({"compat": {"v11": true}})).start()
}

/// The generations of these events.
fn generations(events: &[Event]) -> Vec<i64> {
    let inner = |event: &Event| event.result[event.kind()]["generation"].as_i64();
    events.iter().map(|event| inner(event).unwrap_or_else(|| panic!("{event:?}"))).collect()
}

#[test]
fn a_generation_grows_by_one_with_each_event_and_is_that_of_the_task() {
    let world = world();
    let events = world.stream("SendStreamingMessage", message("say a; status b; say c")).rest();
    let count = i64::try_from(events.len()).unwrap();
    assert_eq!(generations(&events), (1..=count).collect::<Vec<_>>());
    let id = events[0].task_id();
    assert_eq!(world.task(id)["generation"], count);
    assert_eq!(world.rpc("ListTasks", json!({}))["tasks"][0]["generation"], count);
    // Who resumes counts on.
    let again = world.resume(id, events[1].id.unwrap());
    assert_eq!(generations(&again), (2..=count).collect::<Vec<_>>());
    // v0.3 has no word for it.
    assert_eq!(world.rpc("tasks/get", json!({"id": id})).get("generation"), None);
}

#[test]
fn a_message_of_the_caller_is_no_change_by_itself() {
    let world = world();
    let asked = world.say("ask which?");
    let id = text_of(&asked, "id");
    let events = world.stream("SendStreamingMessage", message_to(id, "say green")).rest();
    let first = generations(&events)[0];
    assert_eq!(
        generations(&events),
        (first..first + i64::try_from(events.len()).unwrap()).collect::<Vec<_>>()
    );
    // It begins with the task as it goes on.
    assert_eq!(states(&events), ["WORKING", "COMPLETED"]);
    assert_eq!(world.task(id)["generation"], *generations(&events).last().unwrap());
}

#[test]
fn an_answer_waits_for_the_next_generation_or_for_a_while() {
    let world = world();
    let id = world.begin_waiting("cue go; say done", "go");
    let known = world.task(&id)["generation"].clone();
    let current: Value = thread::scope(|scope| {
        let waiting =
            scope.spawn(|| world.rpc("GetTask", json!({"id": id, "currentGeneration": known})));
        world.cue("go");
        waiting.join().unwrap()
    });
    assert!(current["generation"].as_i64() > known.as_i64(), "{current:#}");
    // A task that is over, or is further already, is answered at once; so is one whose time is over.
    let bearer = format!("Bearer {OWNER}");
    world.await_state(&id, &["COMPLETED"]);
    for current in ["1", "100"] {
        let path = format!("/tasks/{id}?currentGeneration={current}");
        let reply = world.get(&path, &[("Authorization", &bearer)]).json();
        assert_eq!(reply["status"]["state"], "TASK_STATE_COMPLETED", "{reply:#}");
    }
    let short =
        World::describe().config(json!({"compat": {"v11": true, "v11_wait": "1s"}})).start();
    let id = short.begin_waiting("cue go", "go");
    let task = short.rpc("GetTask", json!({"id": id, "currentGeneration": 100}));
    assert_eq!(task["status"]["state"], "TASK_STATE_WORKING");
    short.cue("go");
}

#[test]
fn a_message_for_another_generation_is_refused_and_changes_nothing() {
    let world = world();
    let asked = world.say("ask which?");
    let (id, generation) = (text_of(&asked, "id"), asked["generation"].as_i64().unwrap());
    let send = |wanted: i64| {
        let mut params = message_to(id, "say green");
        params["configuration"] = json!({"ifGenerationMatch": wanted});
        params
    };
    let error = world.error("SendMessage", send(generation - 1));
    assert_eq!(error["code"], -32010, "{error:#}");
    let info = &error["data"][0];
    assert_eq!(info["reason"], "TASK_GENERATION_MISMATCH");
    let (expected, current) = ((generation - 1).to_string(), generation.to_string());
    assert_eq!(
        info["metadata"],
        json!({"taskId": id, "expectedGeneration": expected, "currentGeneration": current})
    );
    assert_eq!(world.task(id)["generation"], generation);
    let bearer = format!("Bearer {OWNER}");
    let headers = [("Content-Type", "application/json"), ("Authorization", &*bearer)];
    let body = send(generation + 1).to_string();
    assert_eq!(world.ask("POST", "/message:send", &headers, body.as_bytes()).whole().status, 409);
    let done = world.send(send(generation));
    assert_eq!(done["status"]["state"], "TASK_STATE_COMPLETED");
    // A message that makes a task has nothing to match.
    let mut new = message("say new");
    new["configuration"] = json!({"ifGenerationMatch": 99});
    assert_eq!(world.send(new)["status"]["state"], "TASK_STATE_COMPLETED");
}

#[test]
fn a_webhook_is_told_the_generation_of_each_event_also_of_those_behind_some_it_is_not_told() {
    let push = json!({"allow": ["127.0.0.1"]});
    let config = json!({"compat": {"v11": true}, "push": push});
    let (world, hook) = (World::describe().config(config).start(), Webhook::start());
    let asked = world.say("status a; say b; ask which?");
    let id = text_of(&asked, "id");
    let before = asked["generation"].as_i64().unwrap();
    // The webhook comes with the answer, and is told what comes after it.
    let mut params = message_to(id, "status c; say d");
    params["configuration"] = json!({"taskPushNotificationConfig": {"url": hook.url("/")}});
    let done = world.send(params);
    let last = &done["generation"];
    let requests = hook.await_until("the end", |requests| {
        requests.last().is_some_and(|last| last.said() == "COMPLETED")
    });
    let generation = |body: &Value| {
        let inner = body.as_object().unwrap().values().next().unwrap();
        inner["generation"].as_i64().unwrap_or_else(|| panic!("{body:#}"))
    };
    let told: Vec<_> = requests.iter().map(|request| generation(&request.body)).collect();
    assert_eq!(told.last().copied(), last.as_i64(), "{told:?}");
    assert!(told[0] > before && told.is_sorted_by(|one, next| one < next), "{before} {told:?}");
}

#[test]
fn without_the_key_no_generation_is_sent_and_none_is_read() {
    let world = World::start();
    let events = world.stream("SendStreamingMessage", message("say a; status b; say c")).rest();
    assert!(events.iter().all(|event| !event.result.to_string().contains("generation")));
    let id = events[0].task_id();
    let task = world.rpc("GetTask", json!({"id": id, "currentGeneration": 1000}));
    assert_eq!(task.get("generation"), None);
    let asked = world.say("ask which?");
    let mut params = message_to(text_of(&asked, "id"), "say green");
    params["configuration"] = json!({"ifGenerationMatch": 99});
    assert_eq!(world.send(params)["status"]["state"], "TASK_STATE_COMPLETED");
}

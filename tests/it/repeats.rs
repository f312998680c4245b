//! Sends that are repeated: the same message while it is worked on, and `Idempotency-Key`.

use crate::bindings::{BINDINGS, Binding};
use crate::reading::{answer, at_once, message, message_in, message_to, state, states, text_of};
use crate::world::{BOB, OWNER, World};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};
use std::thread;

/// How many tasks the owner has.
fn tasks(world: &World) -> i64 {
    world.rpc("ListTasks", json!({}))["totalSize"].as_i64().unwrap()
}

/// Sends under a key over JSON-RPC.
fn keyed(world: &World, key: &str, params: &Value) -> Value {
    let door = world.through(Binding::JsonRpc);
    let door = door.header("idempotency-key", key);
    door.well(Operation::SendMessage, params)["task"].take()
}

// === the same message ===

#[test]
fn a_message_that_is_sent_again_while_it_is_worked_on_is_its_task() {
    let world = World::start();
    let params = at_once(message("cue go; say x"));
    let first = world.begin_with(params.clone());
    world.await_words(&first, "waiting go");
    for binding in BINDINGS {
        let again = world.through(binding).well(Operation::SendMessage, &params);
        assert_eq!(again["task"]["id"], json!(first), "{binding:?}");
    }
    assert_eq!(tasks(&world), 1);
    world.cue("go");
}

#[test]
fn one_that_waits_for_its_turn_is_its_task_too() {
    let world = World::start();
    world.begin_with(message_in("line", "cue go"));
    let params = at_once(message_in("line", "count"));
    let second = world.begin_with(params.clone());
    assert_eq!(world.begin_with(params), second);
    world.cue("go");
    let task = world.await_state(&second, &["COMPLETED"]);
    assert_eq!(answer(&task), "1");
}

#[test]
fn many_at_once_are_one_task() {
    let world = World::start();
    let params = at_once(message("count; cue go"));
    let ids: Vec<String> = thread::scope(|scope| {
        let send = |_| scope.spawn(|| world.begin_with(params.clone()));
        let sends: Vec<_> = (0..8).map(send).collect();
        sends.into_iter().map(|send| send.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(tasks(&world), 1);
    world.cue("go");
}

#[test]
fn one_that_waits_and_one_that_streams_get_the_same_end() {
    let world = World::start();
    let params = message("say a; cue go; say b");
    thread::scope(|scope| {
        let mut stream =
            world.through(Binding::Rest).stream(Operation::SendStreamingMessage, &params);
        let id = stream.next().unwrap().task_id().to_owned();
        world.await_words(&id, "waiting go");
        let waits = scope.spawn(|| world.send(params.clone()));
        let mut again =
            world.through(Binding::Grpc).stream(Operation::SendStreamingMessage, &params);
        // A repeated stream tells it from the beginning.
        assert_eq!(again.next().unwrap().state(), Some("SUBMITTED"));
        world.cue("go");
        let task = waits.join().unwrap();
        assert_eq!((text_of(&task, "id"), answer(&task).as_str()), (id.as_str(), "ab"));
        for stream in [stream, again] {
            assert_eq!(states(&stream.rest()).last(), Some(&"COMPLETED"));
        }
    });
    assert_eq!(tasks(&world), 1);
}

#[test]
fn how_the_answer_is_wanted_makes_no_difference() {
    let world = World::start();
    let params = message("cue go; say x");
    let first = world.begin_with(params.clone());
    let mut stream = world.stream("SendStreamingMessage", params);
    assert_eq!(stream.next().unwrap().task_id(), first);
    world.cue("go");
}

#[test]
fn after_its_end_the_same_message_is_a_new_task() {
    let world = World::start();
    let params = message("say x");
    let first = world.send(params.clone());
    let second = world.send(params);
    assert_ne!(first["id"], second["id"]);
    assert_eq!(state(&second), "COMPLETED");
}

#[test]
fn another_text_under_the_same_id_is_another_task() {
    let world = World::start();
    let params = at_once(message("cue go; say x"));
    let mut other = params.clone();
    other["message"]["parts"][0]["text"] = json!("cue go; say y");
    let (first, second) = (world.begin_with(params), world.begin_with(other));
    assert_ne!(first, second);
    world.cue("go");
    let said = [first, second].map(|id| answer(&world.await_state(&id, &["COMPLETED"])));
    assert_eq!(said, ["x", "y"]);
}

#[test]
fn the_same_message_of_another_caller_is_another_task() {
    let world = World::start();
    let params = at_once(message("cue go; say x"));
    let ours = world.begin_with(params.clone());
    let theirs = world.rpc_as(BOB, "SendMessage", params);
    assert_ne!(theirs["task"]["id"], json!(ours));
    world.cue("go");
}

#[test]
fn an_answer_that_is_sent_twice_is_one_turn() {
    let world = World::start();
    let id = text_of(&world.say("ask which?"), "id").to_owned();
    let params = at_once(message_to(&id, "cue go; count"));
    world.send(params.clone());
    world.send(params);
    world.cue("go");
    let task = world.await_state(&id, &["COMPLETED"]);
    assert_eq!(answer(&task), "1");
    let history = task["history"].as_array().unwrap().iter();
    let users = history.filter(|message| message["role"] == "ROLE_USER");
    assert_eq!(users.count(), 2, "{task:#}");
}

#[test]
fn a_message_that_was_refused_may_come_again() {
    let world = World::describe().config(json!({"processes": {"max": 1, "queue": 0}})).start();
    let first = world.begin_waiting("cue go", "go");
    let params = message("say x");
    let error = world.error("SendMessage", params.clone());
    assert_eq!(error["code"], -32052, "{error}");
    world.cue("go");
    world.await_state(&first, &["COMPLETED"]);
    assert_eq!(answer(&world.send(params)), "x");
}

// === Idempotency-Key ===

#[test]
fn a_key_finds_its_task_when_that_is_over() {
    let world = World::start();
    let params = message("count");
    let first = keyed(&world, "key-1", &params);
    for binding in BINDINGS {
        let door = world.through(binding).header("idempotency-key", "key-1");
        let again = door.well(Operation::SendMessage, &params);
        let task = &again["task"];
        assert_eq!((&task["id"], answer(task).as_str()), (&first["id"], "1"), "{binding:?}");
    }
    assert_eq!(tasks(&world), 1);
}

#[test]
fn a_key_finds_its_task_whatever_the_messages_id() {
    let world = World::start();
    let first = keyed(&world, "key-1", &message("say x"));
    let again = keyed(&world, "key-1", &message("say x"));
    assert_eq!(first["id"], again["id"]);
}

#[test]
fn a_key_finds_its_task_however_its_agent_was_named() {
    let world = World::start();
    let params = message("say x");
    let mut by_tenant = params.clone();
    by_tenant["tenant"] = json!("fake");
    let first = keyed(&world, "key-1", &params);
    assert_eq!(keyed(&world, "key-1", &by_tenant)["id"], first["id"]);
    let door = world.through(Binding::Grpc).agent("fake");
    let door = door.header("idempotency-key", "key-1");
    let again = door.well(Operation::SendMessage, &params);
    assert_eq!(again["task"]["id"], first["id"]);
}

#[test]
fn a_key_finds_its_task_however_the_answer_is_wanted() {
    let world = World::start();
    let params = message("say x");
    let first = keyed(&world, "key-1", &params);
    let mut other = at_once(params);
    other["configuration"]["historyLength"] = json!(0);
    assert_eq!(keyed(&world, "key-1", &other)["id"], first["id"]);
}

#[test]
fn a_key_is_known_in_older_dialects_too() {
    let world = World::start();
    let send = |method: &str, message: Value| {
        let params = json!({"id": "mine", "message": message});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let authorization = format!("Bearer {OWNER}");
        let headers = [("authorization", authorization.as_str()), ("idempotency-key", method)];
        let reply = world.post("/", &headers, body.to_string().as_bytes());
        answer(&reply.json()["result"])
    };
    let v0_3 = || {
        let id = uuid::Uuid::new_v4().to_string();
        json!({"kind": "message", "messageId": id, "role": "user", "parts": [{"kind": "text", "text": "count"}]})
    };
    let v0_1 = || json!({"role": "user", "parts": [{"type": "text", "text": "count"}]});
    let said = [send("message/send", v0_3()), send("message/send", v0_3())];
    assert_eq!(said, ["1", "1"]);
    let said = [send("tasks/send", v0_1()), send("tasks/send", v0_1())];
    assert_eq!(said, ["1", "1"]);
}

#[test]
fn a_key_finds_its_task_after_kill_9() {
    let mut world = World::start();
    let params = message("say x");
    let first = keyed(&world, "key-1", &params);
    world.kill9();
    world.restart();
    assert_eq!(keyed(&world, "key-1", &params), first);
}

#[test]
fn a_task_that_failed_is_found_by_its_key_too() {
    let mut world = World::start();
    let params = at_once(message("cue never"));
    let first = keyed(&world, "key-1", &params);
    world.kill9();
    world.restart();
    let again = keyed(&world, "key-1", &params);
    assert_eq!((&again["id"], state(&again)), (&first["id"], "FAILED"));
}

#[test]
fn a_stream_under_a_key_tells_the_whole_story_again() {
    let world = World::start();
    let params = message("say a; status pause; say b");
    let door = world.through(Binding::Rest).header("idempotency-key", "key-1");
    let stream = || door.stream(Operation::SendStreamingMessage, &params).rest();
    let first = stream();
    assert_eq!(stream(), first);
}

#[test]
fn a_key_that_was_used_for_another_message_is_refused() {
    let world = World::start();
    keyed(&world, "key-1", &message("say x"));
    for binding in BINDINGS {
        let door = world.through(binding).header("idempotency-key", "key-1");
        let told = door.error(Operation::SendMessage, &message("say y"));
        assert_eq!(told.kind, ErrorKind::InvalidParams, "{binding:?}");
        assert!(told.message.contains("Idempotency-Key"), "{told:?}");
    }
    assert_eq!(tasks(&world), 1);
}

#[test]
fn a_key_that_is_in_use_for_another_message_is_refused() {
    let world = World::start();
    keyed(&world, "key-1", &at_once(message("cue go")));
    let door = world.through(Binding::JsonRpc);
    let door = door.header("idempotency-key", "key-1");
    let told = door.error(Operation::SendMessage, &at_once(message("say y")));
    assert_eq!(told.kind, ErrorKind::InvalidParams);
    world.cue("go");
}

#[test]
fn of_two_messages_under_one_key_at_once_one_is_refused() {
    let world = World::start();
    let door = world.through(Binding::JsonRpc);
    let door = door.header("idempotency-key", "key-1");
    let outcomes: Vec<bool> = thread::scope(|scope| {
        let send = |n: i32| {
            let door = door.clone();
            scope.spawn(move || {
                let params = message(&format!("say {n}"));
                door.call(Operation::SendMessage, &params).is_ok()
            })
        };
        let sends: Vec<_> = (0..4).map(send).collect();
        sends.into_iter().map(|send| send.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|taken| **taken).count(), 1);
    assert_eq!(tasks(&world), 1);
}

#[test]
fn many_at_once_under_one_key_are_one_task() {
    let world = World::start();
    let params = message("count");
    let answers: Vec<String> = thread::scope(|scope| {
        let send = |_| scope.spawn(|| answer(&keyed(&world, "key-1", &params)));
        let sends: Vec<_> = (0..8).map(send).collect();
        sends.into_iter().map(|send| send.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer == "1"), "{answers:?}");
    assert_eq!(tasks(&world), 1);
}

#[test]
fn the_same_key_of_another_caller_is_another_task() {
    let world = World::start();
    let ours = keyed(&world, "key-1", &message("say mine"));
    let door = world.through(Binding::JsonRpc).token(BOB);
    let door = door.header("idempotency-key", "key-1");
    let theirs = door.well(Operation::SendMessage, &message("say his"));
    assert_ne!(theirs["task"]["id"], ours["id"]);
    assert_eq!(answer(&theirs["task"]), "his");
}

#[test]
fn a_message_that_failed_at_the_door_uses_up_no_key() {
    let world = World::start();
    let door = world.through(Binding::JsonRpc);
    let door = door.header("idempotency-key", "key-1");
    let told = door.error(Operation::SendMessage, &message_to("none", "say x"));
    assert_eq!(told.kind, ErrorKind::TaskNotFound);
    assert_eq!(answer(&keyed(&world, "key-1", &message("say y"))), "y");
}

#[test]
fn two_keys_are_two_tasks_of_one_message() {
    let world = World::start();
    let params = at_once(message("cue go"));
    let [one, two] = ["key-1", "key-2"].map(|key| keyed(&world, key, &params));
    assert_ne!(one["id"], two["id"]);
    world.cue("go");
}

#[test]
fn an_answer_under_a_key_is_one_turn_even_when_it_is_over() {
    let world = World::start();
    let id = text_of(&world.say("ask which?"), "id").to_owned();
    let params = message_to(&id, "count");
    let first = keyed(&world, "key-1", &params);
    let again = keyed(&world, "key-1", &params);
    assert_eq!((state(&first), &first), ("COMPLETED", &again));
}

#[test]
fn odd_keys_are_refused() {
    let world = World::start();
    let long = "k".repeat(300);
    for key in [long.as_str(), "", "a\tb", "gr\u{fc}n"] {
        let door = world.through(Binding::Rest);
        let door = door.header("idempotency-key", key);
        let told = door.error(Operation::SendMessage, &message("say x"));
        assert_eq!(told.kind, ErrorKind::InvalidParams, "{key:?}");
        assert!(told.message.contains("Idempotency-Key"), "{told:?}");
    }
    assert_eq!(tasks(&world), 0);
}

//! The same over JSON-RPC, HTTP+JSON and gRPC: results, errors, and the events of a stream.

mod errors;

use crate::bindings::{BINDINGS, Binding, Door, Told};
use crate::http::Event;
use crate::reading::{answer, at_once, message, message_to, state, states, text_of, words};
use crate::world::World;
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};

/// A script with something of everything that a task may hold.
const RICH: &str = "status thinking; tool Bash {\"command\":\"ls\"}; result two files; say Grüße; \
                    artifact notes all of it; data numbers {\"one\":1,\"half\":0.5}; usage 3 4 0.25";

/// The same error over every binding.
fn told_everywhere(world: &World, operation: Operation, params: &Value) -> ErrorKind {
    told_by(operation, params, |binding| world.through(binding))
}

fn told_by(operation: Operation, params: &Value, door: impl Fn(Binding) -> Door) -> ErrorKind {
    let told: Vec<Told> =
        BINDINGS.iter().map(|binding| door(*binding).error(operation, params)).collect();
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:#?}");
    told[0].kind
}

/// A value in which every number is a double: protobuf has no others.
fn as_doubles(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64().unwrap()),
        Value::Array(values) => values.iter().map(as_doubles).collect(),
        Value::Object(members) => {
            let members = members.iter();
            let members = members.map(|(name, value)| (name.clone(), as_doubles(value)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

/// The results of an operation by binding, comparable.
fn results(world: &World, operation: Operation, params: &Value) -> Vec<Value> {
    BINDINGS
        .iter()
        .map(|binding| as_doubles(&world.through(*binding).well(operation, params)))
        .collect()
}

fn assert_all_equal<T: PartialEq + std::fmt::Debug>(found: &[T]) {
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:#?}");
}

#[test]
fn a_message_is_answered_alike() {
    let world = World::start();
    for binding in BINDINGS {
        let reply = world.through(binding).well(Operation::SendMessage, &message(RICH));
        let task = &reply["task"];
        assert_eq!((state(task), answer(task).as_str()), ("COMPLETED", "Grüße"), "{binding:?}");
    }
}

#[test]
fn a_task_reads_alike() {
    let world = World::start();
    let id = text_of(&world.say(RICH), "id").to_owned();
    assert_all_equal(&results(&world, Operation::GetTask, &json!({"id": id})));
}

#[test]
fn a_history_is_cut_alike() {
    let world = World::start();
    let id = text_of(&world.say("ask which?"), "id").to_owned();
    world.send(message_to(&id, "say green"));
    for length in [0, 1, 2] {
        let params = json!({"id": id, "historyLength": length});
        let found = results(&world, Operation::GetTask, &params);
        assert_all_equal(&found);
        let history = found[0]["history"].as_array().map_or(0, Vec::len);
        assert_eq!(history, length);
    }
}

#[test]
fn a_list_reads_alike() {
    let world = World::start();
    let tasks: Vec<Value> = (0..3).map(|n| world.say(&format!("say {n}"))).collect();
    let context = text_of(&tasks[1], "contextId");
    for params in [
        json!({}),
        json!({"pageSize": 2, "includeArtifacts": true}),
        json!({"contextId": context}),
        json!({"status": "TASK_STATE_COMPLETED", "historyLength": 0}),
        json!({"status": "TASK_STATE_FAILED"}),
    ] {
        assert_all_equal(&results(&world, Operation::ListTasks, &params));
    }
}

#[test]
fn a_page_of_one_binding_is_continued_over_another() {
    let world = World::start();
    (0..3).for_each(|n| drop(world.say(&format!("say {n}"))));
    let list = |binding: Binding, token: &str| {
        let params = json!({"pageSize": 1, "pageToken": token});
        world.through(binding).well(Operation::ListTasks, &params)
    };
    let (mut token, mut seen) = (String::new(), Vec::new());
    for binding in BINDINGS {
        let page = list(binding, &token);
        token = text_of(&page, "nextPageToken").to_owned();
        seen.push(text_of(&page["tasks"][0], "id").to_owned());
    }
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), token.as_str()), (3, ""));
}

#[test]
fn a_running_task_is_canceled_alike() {
    let world = World::start();
    for binding in BINDINGS {
        let id = world.begin_waiting("cue never", "never");
        let task = world.through(binding).well(Operation::CancelTask, &json!({"id": id}));
        assert_eq!(state(&task), "CANCELED", "{binding:?}");
    }
}

#[test]
fn a_send_that_does_not_wait_returns_alike() {
    let world = World::start();
    for binding in BINDINGS {
        let reply =
            world.through(binding).well(Operation::SendMessage, &at_once(message("cue go; say x")));
        assert_ne!(state(&reply["task"]), "COMPLETED", "{binding:?}");
    }
    world.cue("go");
}

#[test]
fn a_question_is_answered_over_another_binding_than_it_was_asked() {
    let world = World::start();
    let others = [Binding::Rest, Binding::Grpc, Binding::JsonRpc];
    for (asks, answers) in BINDINGS.into_iter().zip(others) {
        let asked = world.through(asks).well(Operation::SendMessage, &message("ask which?"));
        let asked = &asked["task"];
        assert_eq!((state(asked), words(asked).as_str()), ("INPUT_REQUIRED", "which?"));
        let params = message_to(text_of(asked, "id"), "say green");
        let done = world.through(answers).well(Operation::SendMessage, &params);
        assert_eq!((&done["task"]["id"], answer(&done["task"]).as_str()), (&asked["id"], "green"));
    }
}

#[test]
fn a_message_to_a_working_task_is_its_next_turn() {
    let world = World::start();
    for binding in BINDINGS {
        let cue = format!("{binding:?}");
        let id = world.begin_waiting(&format!("cue {cue}; say one"), &cue);
        let params = at_once(message_to(&id, "say two"));
        let reply = world.through(binding).well(Operation::SendMessage, &params);
        assert_eq!(state(&reply["task"]), "WORKING", "{binding:?}");
        world.cue(&cue);
        let task = world.await_state(&id, &["COMPLETED"]);
        assert_eq!(answer(&task), "two", "{binding:?}");
    }
}

#[test]
fn all_that_a_message_holds_is_kept_alike() {
    let world = World::start();
    let part = |member: &str, value: Value| json!({member: value, "metadata": {"of": member}});
    let mut file = part("raw", json!("aGVsbG8="));
    file["filename"] = json!("hello.txt");
    file["mediaType"] = json!("text/plain");
    let parts = json!([
        part("text", json!("say x")),
        file,
        part("data", json!({"deep": [1, -2.5, true, null, {"text": "ü"}], "empty": {}})),
        part("url", json!("https://files.example.com/a.txt")),
    ]);
    for binding in BINDINGS {
        let message = json!({
            "messageId": format!("of-{binding:?}"),
            "contextId": format!("context-{binding:?}"),
            "role": "ROLE_USER",
            "parts": parts,
            "metadata": {"number": 3, "list": ["a", {"b": null}]},
            "extensions": ["https://extensions.example.com/one"],
            "referenceTaskIds": ["some-task"],
        });
        let params = json!({"message": message});
        let reply = world.through(binding).well(Operation::SendMessage, &params);
        let mut kept = reply["task"]["history"][0].clone();
        assert_eq!(kept["taskId"], reply["task"]["id"]);
        kept.as_object_mut().unwrap().remove("taskId");
        assert_eq!(as_doubles(&kept), as_doubles(&message), "{binding:?}");
    }
}

#[test]
fn a_sent_stream_has_the_same_shape() {
    let world = World::start();
    let shapes: Vec<Vec<String>> = BINDINGS
        .iter()
        .map(|binding| {
            let stream =
                world.through(*binding).stream(Operation::SendStreamingMessage, &message(RICH));
            let events = stream.rest();
            assert_eq!(states(&events), ["SUBMITTED", "WORKING", "COMPLETED"], "{binding:?}");
            let shape = |event: &Event| format!("{} {}", event.kind(), event.words());
            events.iter().map(shape).collect()
        })
        .collect();
    assert_all_equal(&shapes);
}

#[test]
fn subscribers_see_the_same_events_in_the_same_order() {
    let world = World::start();
    let id = world.begin_waiting(&format!("cue go; {RICH}"), "go");
    let mut streams: Vec<_> = BINDINGS
        .iter()
        .map(|binding| {
            world.through(*binding).stream(Operation::SubscribeToTask, &json!({"id": id}))
        })
        .collect();
    let mut seen: Vec<Vec<Event>> =
        streams.iter_mut().map(|stream| vec![stream.next().unwrap()]).collect();
    world.cue("go");
    for (seen, stream) in seen.iter_mut().zip(streams) {
        seen.extend(stream.rest());
    }
    let seen: Vec<Vec<Value>> = seen
        .iter()
        .map(|events| events.iter().map(|event| as_doubles(&event.result)).collect())
        .collect();
    assert!(seen[0].len() > 4, "{seen:#?}");
    assert_all_equal(&seen);
}

#[test]
fn a_stream_of_the_sender_ends_alike_where_the_task_asks() {
    let world = World::start();
    for binding in BINDINGS {
        let stream = world
            .through(binding)
            .stream(Operation::SendStreamingMessage, &message("say x; ask which?"));
        assert_eq!(states(&stream.rest()).last(), Some(&"INPUT_REQUIRED"), "{binding:?}");
    }
}

#[test]
fn a_subscriber_stays_alike_across_a_question() {
    let world = World::start();
    for binding in BINDINGS {
        let id = text_of(&world.say("ask which?"), "id").to_owned();
        let mut stream =
            world.through(binding).stream(Operation::SubscribeToTask, &json!({"id": id}));
        assert_eq!(stream.next().unwrap().state(), Some("INPUT_REQUIRED"));
        world.send(message_to(&id, "say done"));
        let rest = stream.rest();
        assert_eq!(states(&rest).last(), Some(&"COMPLETED"), "{binding:?}");
    }
}

#[test]
fn a_client_that_goes_away_leaves_its_task_alone() {
    let world = World::start();
    for binding in BINDINGS {
        let cue = format!("{binding:?}");
        let script = format!("cue {cue}; say done");
        let mut stream =
            world.through(binding).stream(Operation::SendStreamingMessage, &message(&script));
        let id = stream.next().unwrap().task_id().to_owned();
        drop(stream);
        world.cue(&cue);
        assert_eq!(answer(&world.await_state(&id, &["COMPLETED"])), "done");
    }
}

//! Bare messages: an agent whose first word is a reply needs no task; all others get theirs whole.

mod silence;

use crate::bindings::BINDINGS;
use crate::processes::await_some;
use crate::reading::{
    answer, at_once, fields, message, message_in, message_to, parts_text, state, states,
    streamed_answer, text_of, words,
};
use crate::world::World;
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};

/// A world whose agent may answer without a task.
fn world() -> World {
    World::describe().agent(json!({"replies": "message"})).start()
}

fn listed(world: &World) -> Value {
    world.rpc("ListTasks", json!({}))
}

/// Waits until an agent runs.
fn await_agent(world: &World) {
    await_some("the agent", world.patience(), || (!world.agents().is_empty()).then_some(()));
}

fn assert_nothing_is_listed(world: &World) {
    let list = listed(world);
    assert_eq!((&list["tasks"], &list["totalSize"]), (&json!([]), &json!(0)));
}

#[test]
fn a_reply_is_the_message_itself_over_every_binding() {
    let world = world();
    for binding in BINDINGS {
        let params = message("reply hello there");
        let answered = world.through(binding).well(Operation::SendMessage, &params);
        assert_eq!(fields(&answered), ["message"], "{binding:?}");
        let message = &answered["message"];
        assert_eq!(
            (text_of(message, "role"), parts_text(&message["parts"]).as_str()),
            ("ROLE_AGENT", "hello there")
        );
        assert!(!text_of(message, "messageId").is_empty());
        assert!(message.get("taskId").is_none(), "{message}");
    }
    assert_nothing_is_listed(&world);
}

#[test]
fn a_stream_of_a_reply_is_that_one_message() {
    let world = world();
    for binding in BINDINGS {
        let params = message("reply hello there");
        let events = world.through(binding).stream(Operation::SendStreamingMessage, &params).rest();
        assert_eq!(events.len(), 1, "{events:#?}");
        let said = &events[0].result["message"];
        assert_eq!(parts_text(&said["parts"]), "hello there", "{binding:?}");
    }
    assert_nothing_is_listed(&world);
}

#[test]
fn older_dialects_get_the_bare_message_too() {
    let world = world();
    let params = json!({"message": {"kind": "message", "messageId": "1", "role": "user",
        "parts": [{"kind": "text", "text": "reply hello there"}]}});
    let answered = world.rpc("message/send", params);
    assert_eq!(
        (text_of(&answered, "kind"), parts_text(&answered["parts"]).as_str()),
        ("message", "hello there")
    );
    assert_nothing_is_listed(&world);
}

/// Params of v0.3 with this text.
fn v0_3(text: &str) -> Value {
    let id = uuid::Uuid::new_v4().to_string();
    json!({"message": {"kind": "message", "messageId": id, "role": "user",
        "parts": [{"kind": "text", "text": text}]}})
}

/// Waits for the end of the v0.3 task that answers.
fn assert_is_a_task_to_stay(world: &World, answered: &Value) {
    assert_eq!(answered["kind"], "task", "{answered}");
    let task = world.await_state(text_of(answered, "id"), &["COMPLETED"]);
    assert_eq!(answer(&task), "hello there");
}

#[test]
fn a_v0_3_client_that_does_not_wait_gets_a_task_that_stays() {
    let world = world();
    let mut params = v0_3("wait go; reply hello there");
    params["configuration"] = json!({"blocking": false});
    let answered = world.rpc("message/send", params);
    world.cue("go");
    assert_is_a_task_to_stay(&world, &answered);
}

#[test]
fn where_v0_3_does_not_wait_by_default_its_task_stays_too() {
    let world = World::describe()
        .agent(json!({"replies": "message"}))
        .config(json!({"compat": {"v03": {"blocking_default": false}}}))
        .start();
    let answered = world.rpc("message/send", v0_3("wait go; reply hello there"));
    world.cue("go");
    assert_is_a_task_to_stay(&world, &answered);
}

#[test]
fn a_v0_1_client_gets_a_task_because_it_knows_nothing_else() {
    let world = world();
    let part = json!([{"type": "text", "text": "reply hello there"}]);
    let params = json!({"id": "mine", "message": {"role": "user", "parts": part}});
    let task = world.rpc("tasks/send", params);
    assert_eq!((&task["id"], &task["status"]["state"]), (&json!("mine"), &json!("completed")));
    let again = world.rpc("tasks/get", json!({"id": "mine"}));
    assert_eq!(again["id"], "mine");
}

#[test]
fn a_v0_1_stream_of_a_reply_is_one_of_a_task() {
    let world = world();
    let part = json!([{"type": "text", "text": "reply hello there"}]);
    let params = json!({"id": "mine", "message": {"role": "user", "parts": part}});
    let events = world.stream("tasks/sendSubscribe", params).rest();
    let last = &events.last().expect("a stream has an end").result;
    assert_eq!((&last["id"], &last["final"]), (&json!("mine"), &json!(true)));
}

#[test]
fn a_reply_to_a_task_that_asked_is_its_answer() {
    let world = world();
    for binding in BINDINGS {
        let asked = world.rpc("SendMessage", message("ask which?"));
        let id = text_of(&asked["task"], "id");
        let params = message_to(id, "reply hello there");
        let answered = world.through(binding).well(Operation::SendMessage, &params);
        let task = &answered["task"];
        assert_eq!(
            (state(task), answer(task).as_str()),
            ("COMPLETED", "hello there"),
            "{binding:?}"
        );
    }
}

#[test]
fn a_turn_that_takes_too_long_without_a_word_is_a_failed_task() {
    let world = World::describe()
        .agent(json!({"replies": "message"}))
        .config(json!({"timeouts": {"turn": "200ms"}}))
        .start();
    for binding in BINDINGS {
        let params = message("wait never");
        let answered = world.through(binding).well(Operation::SendMessage, &params);
        assert_eq!(state(&answered["task"]), "FAILED", "{binding:?}");
    }
}

#[test]
fn a_silent_agent_may_still_reply_after_a_while() {
    let world = World::describe()
        .agent(json!({"replies": "message"}))
        .config(json!({"timeouts": {"heartbeat": "50ms", "keep_alive": "50ms"}}))
        .start();
    std::thread::scope(|scope| {
        let send = scope.spawn(|| world.rpc("SendMessage", message("wait go; reply hello there")));
        await_agent(&world);
        // Long enough for many heartbeats: another agent starts, works and ends meanwhile.
        (0..5).for_each(|n| drop(world.rpc("SendMessage", message(&format!("say {n}")))));
        world.cue("go");
        let answered = send.join().unwrap();
        let said = answered.get("message").map(|said| parts_text(&said["parts"]));
        let said = said.unwrap_or_else(|| answer(&answered["task"]));
        assert_eq!(said, "hello there");
    });
}

#[test]
fn a_reply_that_is_too_long_for_an_event_is_a_task() {
    let world = world();
    let params = message(&format!("reply {}", "x".repeat(50_000)));
    let events = world.stream("SendStreamingMessage", params).rest();
    assert_eq!(events.len(), 1);
    let narrow = World::describe()
        .agent(json!({"replies": "message"}))
        .config(json!({"limits": {"event": "64KiB"}}))
        .start();
    let params = message(&format!("reply {}", "x".repeat(100_000)));
    let events = narrow.stream("SendStreamingMessage", params).rest();
    assert!(
        events.iter().all(|event| event.result.to_string().len() < 66_000),
        "an event is larger than `limits.event`"
    );
    assert_eq!(streamed_answer(&events).len(), 100_000);
}

#[test]
fn the_reply_names_the_context_and_the_conversation_goes_on_there() {
    let world = world();
    let first = world.rpc("SendMessage", message("write note.txt kept; reply x"));
    // It wrote before it replied: that is a task.
    assert_eq!(fields(&first), ["task"]);
    let context = text_of(&first["task"], "contextId");
    let second = world.rpc("SendMessage", message_in(context, "reply y"));
    assert_eq!(second["message"]["contextId"], json!(context));
    let third = world.rpc("SendMessage", message_in(context, "read note.txt"));
    assert_eq!(answer(&third["task"]), "kept");
}

#[test]
fn another_first_word_makes_it_a_task_with_nothing_lost() {
    let world = world();
    let params = message("say a; status b; say c");
    for binding in BINDINGS {
        let events = world.through(binding).stream(Operation::SendStreamingMessage, &params).rest();
        assert_eq!(events[0].kind(), "task", "{binding:?}");
        assert_eq!(states(&events), ["SUBMITTED", "WORKING", "COMPLETED"]);
        assert_eq!(streamed_answer(&events), "ac");
        assert!(events.iter().any(|event| event.words() == "b"));
        let task = world.through(binding).well(Operation::SendMessage, &params);
        assert_eq!(answer(&task["task"]), "ac");
    }
}

#[test]
fn a_stream_begins_with_the_first_word_and_not_with_the_end() {
    let world = world();
    for binding in BINDINGS {
        let cue = format!("{binding:?}");
        let params = message(&format!("say early; cue {cue}; say late"));
        let mut stream = world.through(binding).stream(Operation::SendStreamingMessage, &params);
        assert_eq!(stream.next().unwrap().state(), Some("SUBMITTED"));
        world.cue(&cue);
        assert_eq!(states(&stream.rest()).last(), Some(&"COMPLETED"));
    }
}

#[test]
fn who_does_not_wait_gets_a_task_at_once() {
    let world = world();
    let params = at_once(message("reply hello there"));
    for binding in BINDINGS {
        let answered = world.through(binding).well(Operation::SendMessage, &params);
        let id = text_of(&answered["task"], "id").to_owned();
        let task = world.await_state(&id, &["COMPLETED"]);
        assert_eq!(answer(&task), "hello there", "{binding:?}");
    }
}

#[test]
fn an_agent_that_fails_without_a_word_is_a_failed_task() {
    let world = world();
    for binding in BINDINGS {
        let answered =
            world.through(binding).well(Operation::SendMessage, &message("err so sad; exit 3"));
        let task = &answered["task"];
        assert_eq!(state(task), "FAILED");
        assert!(words(task).contains("so sad"), "{}", words(task));
    }
    assert_eq!(listed(&world)["totalSize"], 3);
}

#[test]
fn an_agent_that_ends_without_a_word_is_a_task() {
    let world = world();
    let answered = world.rpc("SendMessage", message("exit 0"));
    assert_eq!(state(&answered["task"]), "COMPLETED");
}

#[test]
fn an_agent_that_asks_first_is_a_task_that_waits() {
    let world = world();
    for binding in BINDINGS {
        let answered = world.through(binding).well(Operation::SendMessage, &message("ask which?"));
        assert_eq!(state(&answered["task"]), "INPUT_REQUIRED", "{binding:?}");
    }
}

#[test]
fn an_agent_that_cannot_be_started_is_a_failed_task() {
    let world = World::describe()
        .agent(json!({"replies": "message"}))
        .config(json!({"sessions": {"init": "./fails.sh"}}))
        .file("fails.sh", 0o755, "#!/bin/sh\nexit 3\n")
        .start();
    let answered = world.rpc("SendMessage", message("say x"));
    assert_eq!(state(&answered["task"]), "FAILED");
}

#[test]
fn where_replies_are_tasks_the_reply_is_the_answer() {
    let world = World::start();
    for binding in BINDINGS {
        let params = message("reply hello there");
        let answered = world.through(binding).well(Operation::SendMessage, &params);
        assert_eq!(fields(&answered), ["task"], "{binding:?}");
        let task = &answered["task"];
        assert_eq!((state(task), answer(task).as_str()), ("COMPLETED", "hello there"));
    }
}

#[test]
fn a_reply_that_comes_late_is_the_answer_of_its_task() {
    let world = world();
    let params = message("status thinking; reply hello there");
    let answered = world.rpc("SendMessage", params);
    let task = &answered["task"];
    assert_eq!((state(task), answer(task).as_str()), ("COMPLETED", "hello there"));
}

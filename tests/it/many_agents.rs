//! Two agents in one server: each with its own address, card, folder, policy and tasks.

mod names;
mod own;

use crate::bindings::{BINDINGS, Binding};
use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{
    answer, at_once, message, message_in, message_to, state, states, streamed_answer, text_of,
};
use crate::world::World;
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};

/// A world with a second agent, `other`, that plays scripts too.
pub(crate) fn two() -> Builder {
    two_with(json!({}))
}

/// The same, with more about the second one.
fn two_with(more: Value) -> Builder {
    let world = World::describe();
    let mut other = world.config["agents"]["fake"].clone();
    other["name"] = json!("the other one");
    world.config(json!({"agents": {"other": other}})).config(json!({"agents": {"other": more}}))
}

/// Sends to the second agent.
fn say(world: &World, script: &str) -> Value {
    sent(world, Binding::JsonRpc, &message(script))
}

fn sent(world: &World, binding: Binding, params: &Value) -> Value {
    world.through(binding).agent("other").well(Operation::SendMessage, params)["task"].take()
}

fn with_tenant(mut params: Value, tenant: &str) -> Value {
    params["tenant"] = json!(tenant);
    params
}

#[test]
fn both_are_reached_by_path_over_every_binding() {
    let world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    for binding in BINDINGS {
        let answers = ["fake", "other"].map(|name| {
            let door = world.through(binding).agent(name);
            answer(&door.well(Operation::SendMessage, &message("env WHO"))["task"])
        });
        assert_eq!(answers, ["unset", "other"], "{binding:?}");
    }
}

#[test]
fn both_are_reached_by_tenant_over_every_binding() {
    let world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    for binding in BINDINGS {
        let answers = ["fake", "other"].map(|name| {
            let params = with_tenant(message("env WHO"), name);
            let reply = world.through(binding).well(Operation::SendMessage, &params);
            answer(&reply["task"])
        });
        assert_eq!(answers, ["unset", "other"], "{binding:?}");
    }
}

#[test]
fn without_a_name_the_default_one_answers() {
    let world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    assert_eq!(answer(&world.say("env WHO")), "unset");
}

#[test]
fn a_stream_comes_from_the_agent_that_was_named() {
    let world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    for binding in BINDINGS {
        let door = world.through(binding).agent("other");
        let events = door.stream(Operation::SendStreamingMessage, &message("env WHO")).rest();
        assert_eq!(
            (streamed_answer(&events).as_str(), states(&events).last()),
            ("other", Some(&"COMPLETED"))
        );
    }
}

#[test]
fn a_task_of_one_is_not_found_at_the_other() {
    let world = two().start();
    let id = text_of(&say(&world, "ask which?"), "id").to_owned();
    for binding in BINDINGS {
        let root = world.through(binding);
        let named = root.clone().agent("fake");
        for door in [root, named] {
            for operation in [Operation::GetTask, Operation::CancelTask, Operation::SubscribeToTask]
            {
                let told = door.error(operation, &json!({"id": id}));
                assert_eq!(told.kind, ErrorKind::TaskNotFound, "{binding:?}");
            }
            let told = door.error(Operation::SendMessage, &message_to(&id, "say x"));
            assert_eq!(told.kind, ErrorKind::TaskNotFound, "{binding:?}");
        }
        let door = world.through(binding).agent("other");
        let task = door.well(Operation::GetTask, &json!({"id": id}));
        assert_eq!(state(&task), "INPUT_REQUIRED");
    }
}

#[test]
fn a_tenant_is_asked_for_with_every_operation_about_its_tasks() {
    let world = two().start();
    let id = text_of(&say(&world, "say x"), "id").to_owned();
    for binding in BINDINGS {
        let door = world.through(binding);
        let params = with_tenant(json!({"id": id}), "other");
        assert_eq!(door.well(Operation::GetTask, &params)["id"], json!(id));
        let list = door.well(Operation::ListTasks, &with_tenant(json!({}), "other"));
        assert_eq!(list["totalSize"], 1, "{binding:?}");
    }
}

#[test]
fn each_lists_its_own_tasks() {
    let world = two().start();
    world.say("say a");
    say(&world, "say b");
    say(&world, "say c");
    for binding in BINDINGS {
        let counts = ["fake", "other"].map(|name| {
            let door = world.through(binding).agent(name);
            door.well(Operation::ListTasks, &json!({}))["totalSize"].clone()
        });
        assert_eq!(counts, [1, 2], "{binding:?}");
    }
}

#[test]
fn one_context_with_two_agents_is_two_sessions() {
    let world = two().start();
    let params = |script: &str| message_in("shared", script);
    let ours = world.send(params("write note.txt mine"));
    let theirs = sent(&world, Binding::JsonRpc, &params("read note.txt"));
    assert_eq!(ours["contextId"], theirs["contextId"]);
    assert!(answer(&theirs).starts_with("read failed"), "{theirs}");
}

#[test]
fn a_message_id_may_be_the_same_for_two_agents() {
    let world = two().start();
    let params = at_once(message("cue go; say x"));
    let ours = world.send(params.clone());
    let theirs = sent(&world, Binding::JsonRpc, &params);
    assert_ne!(ours["id"], theirs["id"]);
    world.cue("go");
}

// === starting again ===

#[test]
fn both_keep_their_tasks_over_a_restart() {
    let mut world = two().start();
    let ours = world.say("say a");
    let theirs = say(&world, "say b");
    world.restart();
    let get = |name: &str, task: &Value| {
        let door = world.through(Binding::JsonRpc).agent(name);
        door.well(Operation::GetTask, &json!({"id": task["id"]}))
    };
    assert_eq!(get("fake", &ours), ours);
    assert_eq!(get("other", &theirs), theirs);
}

#[test]
fn a_waiting_task_of_the_second_agent_runs_after_kill_9() {
    let mut world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    let door = world.through(Binding::JsonRpc).agent("other");
    let begin = |script: &str| {
        let params = at_once(message_in("line", script));
        let reply = door.well(Operation::SendMessage, &params);
        text_of(&reply["task"], "id").to_owned()
    };
    begin("cue never");
    let second = begin("env WHO");
    world.kill9();
    world.restart();
    let door = world.through(Binding::JsonRpc).agent("other");
    let task = await_some("its end", world.patience(), || {
        let task = door.well(Operation::GetTask, &json!({"id": second}));
        (state(&task) == "COMPLETED").then_some(task)
    });
    assert_eq!(answer(&task), "other");
}

#[test]
fn an_agent_that_is_gone_does_not_keep_the_others_from_starting() {
    let mut world = two().start();
    let door = world.through(Binding::JsonRpc).agent("other");
    let begin = |script: &str| {
        let params = at_once(message_in("line", script));
        let reply = door.well(Operation::SendMessage, &params);
        text_of(&reply["task"], "id").to_owned()
    };
    let (first, second) = (begin("cue never"), begin("say second"));
    world.kill9();
    world.reconfigure(json!({"agents": {"other": {"serve": false}}}));
    world.restart();
    assert_eq!(state(&world.say("say x")), "COMPLETED");
    // Once it is served again, both of its tasks have come to an end.
    world.reconfigure(json!({"agents": {"other": {"serve": true}}}));
    world.restart();
    let door = world.through(Binding::JsonRpc).agent("other");
    for id in [first, second] {
        await_some("its end", world.patience(), || {
            let task = door.well(Operation::GetTask, &json!({"id": id}));
            ["COMPLETED", "FAILED"].contains(&state(&task)).then_some(())
        });
    }
}

//! Cancelling: the task ends, and so does everything that its agent started.

use crate::processes::{await_some, find};
use crate::reading::{message_in, state, states, text_of, words};
use crate::world::{PATIENCE, World};
use serde_json::json;

#[test]
fn a_hanging_task_is_canceled_and_its_process_gone() {
    let world = World::start();
    let id = world.begin_waiting("cue go; hang", "go");
    world.cue("go");
    let task = world.rpc("CancelTask", json!({"id": id}));
    assert_eq!(state(&task), "CANCELED");
    assert_eq!(world.agents(), []);
}

#[test]
fn a_second_cancel_answers_the_same() {
    let world = World::start();
    let id = world.begin("hang");
    world.await_state(&id, &["WORKING"]);
    let first = world.rpc("CancelTask", json!({"id": id}));
    assert_eq!(world.rpc("CancelTask", json!({"id": id})), first);
}

#[test]
fn many_cancels_at_once_all_find_the_task_canceled() {
    let world = World::start();
    let id = world.begin("hang");
    let states = std::thread::scope(|scope| {
        let cancel = || state(&world.rpc("CancelTask", json!({"id": id}))).to_owned();
        let cancels: Vec<_> = (0..5).map(|_| scope.spawn(cancel)).collect();
        cancels.into_iter().map(|cancel| cancel.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(states, ["CANCELED"; 5]);
}

#[test]
fn a_finished_task_cannot_be_canceled() {
    let world = World::start();
    let id = world.say("say done")["id"].clone();
    let error = world.error("CancelTask", json!({"id": id}));
    assert_eq!(error["code"], -32002);
    assert_eq!(error["data"][0]["reason"], "TASK_NOT_CANCELABLE");
}

#[test]
fn a_stream_ends_with_the_cancel() {
    let world = World::start();
    let id = world.begin("hang");
    let events = world.subscribe(&id);
    world.rpc("CancelTask", json!({"id": id}));
    assert_eq!(states(&events.rest()).last(), Some(&"CANCELED"));
}

#[test]
fn an_agent_that_ignores_sigterm_is_killed() {
    let world = World::start();
    let id = world.begin_waiting("ignore TERM; cue go; hang", "go");
    world.cue("go");
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    assert_eq!(world.agents(), []);
}

#[test]
fn a_process_that_left_the_agents_session_is_gone_with_the_cancel() {
    let world = World::start();
    let id = world.begin_waiting("fork; cue go; hang", "go");
    let pid = crate::reading::answer(&world.task(&id));
    let left = find(pid.trim().trim_start_matches("pid ").parse().unwrap()).unwrap();
    assert!(left.lives());
    world.cue("go");
    world.rpc("CancelTask", json!({"id": id}));
    assert!(!left.lives(), "{left:?}");
}

#[test]
fn a_task_that_waits_for_its_turn_is_canceled_and_never_runs() {
    let world = World::start();
    let first = world.begin_waiting("cue go; write first.txt x", "go");
    let context = text_of(&world.task(&first), "contextId").to_owned();
    let second = world.begin_with(message_in(&context, "write second.txt x"));
    let task = world.rpc("CancelTask", json!({"id": second}));
    assert_eq!(state(&task), "CANCELED");
    world.cue("go");
    world.await_state(&first, &["COMPLETED"]);
    let third = world.send(message_in(&context, "read second.txt"));
    assert!(crate::reading::answer(&third).starts_with("read failed"), "{third}");
}

#[test]
fn after_a_cancel_the_context_goes_on() {
    let world = World::start();
    let id = world.begin("count; hang");
    let task = world.await_task(&id, "the count", |task| crate::reading::answer(task) == "1");
    world.rpc("CancelTask", json!({"id": id}));
    let next = world.send(message_in(text_of(&task, "contextId"), "count"));
    assert_eq!(crate::reading::answer(&next), "2");
}

#[test]
fn what_was_said_before_the_cancel_is_kept() {
    let world = World::start();
    let id = world.begin_waiting("say half of it; cue never", "never");
    let task = world.rpc("CancelTask", json!({"id": id}));
    assert_eq!((state(&task), crate::reading::answer(&task).as_str()), ("CANCELED", "half of it"));
}

#[test]
fn a_task_that_asks_can_be_canceled() {
    let world = World::start();
    let task = world.say("ask which one?");
    assert_eq!(state(&task), "INPUT_REQUIRED");
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": task["id"]}))), "CANCELED");
}

#[test]
fn a_caller_who_waits_for_the_answer_hears_of_the_cancel() {
    let world = World::start();
    let task = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| world.say("hang"));
        let id = await_some("the task", PATIENCE, || {
            let tasks = world.rpc("ListTasks", json!({}));
            tasks["tasks"][0]["id"].as_str().map(ToOwned::to_owned)
        });
        world.rpc("CancelTask", json!({"id": id}));
        waiting.join().unwrap()
    });
    assert_eq!(state(&task), "CANCELED");
}

#[test]
fn a_turn_that_takes_too_long_fails_and_says_how_to_allow_more() {
    let world = World::describe().config(json!({"timeouts": {"turn": "300ms"}})).start();
    let task = world.say("hang");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("timeouts.turn"), "{}", words(&task));
    world.await_no_agents();
}

//! Callers that compete for places: who comes next, and how much one of them may have.

use crate::building::Builder;
use crate::reading::{answer, at_once, message, message_in, state, text_of};
use crate::world::{BOB, OWNER, World, await_true};
use serde_json::{Value, json};

fn one_process() -> Builder {
    World::describe().config(json!({"processes": {"max": 1}}))
}

/// Begins a task of bob.
fn begin_bobs(world: &World, script: &str) -> String {
    let task = world.rpc_as(BOB, "SendMessage", at_once(message(script)));
    text_of(&task["task"], "id").to_owned()
}

/// Waits until a task of bob is completed.
fn await_bobs(world: &World, id: &str) {
    let mut last = Value::Null;
    let done = await_true(world.patience(), || {
        last = world.rpc_as(BOB, "GetTask", json!({"id": id}));
        state(&last) == "COMPLETED"
    });
    assert!(done, "bob's task is {last:#}");
}

/// Ends turns of the owner, one by one, which all wait for a cue; bob's task runs after the second at the
/// latest.
fn assert_bob_waits_for_one_turn(world: &World) {
    let cues = ["a", "b", "c", "d"];
    world.begin_waiting("cue a", "a");
    let others: Vec<_> = cues[1..].iter().map(|cue| world.begin(&format!("cue {cue}"))).collect();
    let bobs = begin_bobs(world, "say b");
    world.cue("a");
    world.cue("b");
    await_bobs(world, &bobs);
    assert_eq!(state(&world.task(&others[2])), "SUBMITTED");
    world.cue("c");
    world.cue("d");
    others.iter().for_each(|id| drop(world.await_state(id, &["COMPLETED"])));
}

#[test]
fn a_caller_with_one_task_waits_for_at_most_one_turn_of_another() {
    assert_bob_waits_for_one_turn(&one_process().start());
}

#[test]
fn a_shared_folder_is_given_to_callers_in_turn() {
    let shared = json!({"workspace": {"mode": "shared"}});
    assert_bob_waits_for_one_turn(&World::describe().config(shared).start());
}

#[test]
fn a_session_with_many_turns_gives_its_process_to_another_caller() {
    let world = one_process().agent(well()).start();
    let first = world.begin_with(message_in("long", "wait"));
    world.await_task(&first, "its first word", |task| answer(task) == "waiting");
    let second = world.begin_with(message_in("long", "wait"));
    let bobs = begin_bobs(&world, "hello");
    world.rpc("CancelTask", json!({"id": first}));
    await_bobs(&world, &bobs);
    world.rpc("CancelTask", json!({"id": second}));
}

/// A fake agent whose process lives as long as its session.
fn well() -> Value {
    json!({"driver": "acp", "args": ["--acp", "well"], "format": null})
}

#[test]
fn a_warm_process_whose_turn_waits_for_the_folder_gives_way() {
    let world = World::describe();
    let mut own = world.config["agents"]["fake"].clone();
    own["workspace"] = json!({"mode": "session", "path": world.path("own")});
    let world = world
        .config(json!({
            "agents": {"own": own},
            "processes": {"max": 2},
            "workspace": {"mode": "shared"},
        }))
        .agent(well())
        .start();
    world.send(message_in("warm", "hello"));
    let holds_folder = world.begin_with(message_in("other", "wait"));
    world.await_task(&holds_folder, "its first word", |task| answer(task) == "waiting");
    let waits = world.begin_with(message_in("warm", "again"));
    assert_eq!(state(&world.task(&waits)), "SUBMITTED");
    let mut to_own = message("say own");
    to_own["tenant"] = json!("own");
    assert_eq!(answer(&world.send(to_own)), "own");
    world.rpc("CancelTask", json!({"id": holds_folder}));
    assert_eq!(answer(&world.await_state(&waits, &["COMPLETED"])), "echo: again");
}

#[test]
fn one_caller_does_not_fill_the_queue_of_all() {
    let world = one_process().config(json!({"limits": {"queue_per_caller": 1}})).start();
    world.begin_waiting("cue go", "go");
    let second = world.begin("say two");
    let reply = world.call(OWNER, "SendMessage", &message("say three"));
    assert_eq!(reply.status, 429);
    assert!(text_of(&reply.json()["error"], "message").contains("limits.queue_per_caller"));
    let bobs = begin_bobs(&world, "say b");
    world.cue("go");
    await_bobs(&world, &bobs);
    world.await_state(&second, &["COMPLETED"]);
}

#[test]
fn a_caller_has_no_more_turns_at_a_time_than_it_may() {
    let world = World::describe().config(json!({"limits": {"turns_per_caller": 1}})).start();
    let first = world.begin_waiting("cue go", "go");
    let second = world.begin("say two");
    assert_eq!(state(&world.task(&second)), "SUBMITTED");
    let bobs = begin_bobs(&world, "say b");
    await_bobs(&world, &bobs);
    assert_eq!(state(&world.task(&second)), "SUBMITTED");
    world.cue("go");
    world.await_state(&first, &["COMPLETED"]);
    assert_eq!(answer(&world.await_state(&second, &["COMPLETED"])), "two");
}

#[test]
fn a_turn_that_waits_for_those_of_its_caller_can_be_canceled() {
    let world = World::describe().config(json!({"limits": {"turns_per_caller": 1}})).start();
    world.begin_waiting("cue go", "go");
    let second = world.begin("say two");
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": second}))), "CANCELED");
    let third = world.begin("say three");
    world.cue("go");
    assert_eq!(answer(&world.await_state(&third, &["COMPLETED"])), "three");
}

#[test]
fn a_caller_of_higher_priority_comes_first() {
    let world = one_process().config(json!({"auth": {"priorities": {"bob": 1}}})).start();
    world.begin_waiting("cue a", "a");
    let second = world.begin("cue b");
    let bobs = [begin_bobs(&world, "say one"), begin_bobs(&world, "say two")];
    world.cue("a");
    bobs.iter().for_each(|id| await_bobs(&world, id));
    world.cue("b");
    world.await_state(&second, &["COMPLETED"]);
}

#[test]
fn a_waiting_task_is_told_its_number_in_the_round_of_callers() {
    let world = one_process().start();
    world.begin_waiting("cue go", "go");
    let told = |reply: Value| {
        let text = crate::reading::words(&reply["task"]);
        text.rsplit_once("number ").unwrap().1.to_owned()
    };
    let params = |n| at_once(message(&format!("say {n}")));
    for n in 1..=3 {
        assert_eq!(told(world.rpc("SendMessage", params(n))), format!("{n} in the queue"));
    }
    assert_eq!(told(world.rpc_as(BOB, "SendMessage", params(4))), "2 in the queue");
    world.cue("go");
}

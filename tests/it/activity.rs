//! What a session does now, as `/api/v1/sessions` says it.

use crate::reading::{message_in, message_to, state, text_of};
use crate::world::{OWNER, World, await_true};
use serde_json::{Value, json};

/// What the session of this context does now.
pub(crate) fn activity(world: &World, context: &str) -> Value {
    let authorization = format!("Bearer {OWNER}");
    let path = format!("/api/v1/sessions/{context}");
    let reply = world.get(&path, &[("Authorization", &authorization)]);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["activity"].clone()
}

/// Waits until the session of this context is in this state, and for this; what it says then.
pub(crate) fn await_activity(world: &World, context: &str, wanted: [&str; 2]) -> Value {
    let mut seen = Value::Null;
    let is_there = await_true(world.patience(), || {
        seen = activity(world, context);
        let words = [&seen["state"], &seen["waitsFor"]].map(|word| word.as_str().unwrap_or(""));
        words == wanted
    });
    assert!(is_there, "{wanted:?}: {seen}");
    seen
}

/// A task in this context that has said that it waits for its cue `go`.
fn begin(world: &World, context: &str, script: &str) -> String {
    let task = world.begin_with(message_in(context, script));
    world.await_words(&task, "waiting go");
    task
}

#[test]
fn a_session_says_which_task_it_runs_since_when_and_that_it_is_idle_afterwards() {
    let world = World::start();
    let task = begin(&world, "one", "cue go");
    let running = await_activity(&world, "one", ["running", ""]);
    assert_eq!(running["taskId"], json!(task));
    assert_eq!(activity(&world, "one")["since"], running["since"]);
    world.cue("go");
    let idle = await_activity(&world, "one", ["idle", ""]);
    assert_eq!(idle["taskId"], Value::Null);
    assert!(text_of(&idle, "since") > text_of(&running, "since"), "{idle}");
}

/// The session of this context.
fn session(world: &World, context: &str) -> Value {
    let authorization = format!("Bearer {OWNER}");
    let path = format!("/api/v1/sessions/{context}");
    world.get(&path, &[("Authorization", &authorization)]).json()
}

/// A session that has begun a turn at this moment and ended it after `cue`, and is idle.
fn await_idle_since_its_end(world: &World, begun: &str) {
    let idle = await_activity(world, "one", ["idle", ""]);
    let session = session(world, "one");
    assert!(text_of(&idle, "since") > begun, "{idle} is not after {begun}");
    assert_eq!((&session["used"], &session["activity"]), (&idle["since"], &idle));
}

#[test]
fn a_session_is_idle_since_the_end_of_its_last_turn_and_stays_so_over_a_restart() {
    let mut world = World::start();
    begin(&world, "one", "cue go");
    let begun = text_of(&await_activity(&world, "one", ["running", ""]), "since").to_owned();
    world.cue("go");
    await_idle_since_its_end(&world, &begun);
    world.restart();
    await_idle_since_its_end(&world, &begun);
}

#[test]
fn an_idle_session_whose_process_is_kept_is_live() {
    let agent = json!({"driver": "acp", "args": ["--acp", "well"], "format": null});
    let world = World::describe().agent(agent).start();
    world.send(message_in("one", "say x"));
    let begun = text_of(&session(&world, "one"), "created").to_owned();
    await_idle_since_its_end(&world, &begun);
    assert_eq!(session(&world, "one")["live"], json!(true));
}

#[test]
fn a_session_is_live_while_a_process_of_its_agent_is_there() {
    let config = json!({"processes": {"max": 1}});
    let world = World::describe().config(config).start();
    begin(&world, "first", "cue go");
    let waits = world.begin_with(message_in("second", "ask Which colour?"));
    await_activity(&world, "second", ["waiting", "process"]);
    let live = |context| session(&world, context)["live"].clone();
    assert_eq!((live("first"), live("second")), (json!(true), json!(false)));
    world.cue("go");
    world.await_state(&waits, &["INPUT_REQUIRED"]);
    await_activity(&world, "first", ["idle", ""]);
    await_activity(&world, "second", ["waiting", "answer"]);
    assert!(await_true(world.patience(), || live("second") == json!(false)));
    assert_eq!(live("first"), json!(false));
}

/// A session whose agent asks waits for an answer, until that comes.
fn waits_for_an_answer(world: &World, answer: &str) {
    let task = world.begin_with(message_in("one", "ask Which colour? | red | this-once"));
    world.await_state(&task, &["INPUT_REQUIRED"]);
    let waits = await_activity(world, "one", ["waiting", "answer"]);
    assert_eq!(waits["taskId"], json!(task));
    let authorization = format!("Bearer {OWNER}");
    let list = world.get("/api/v1/sessions", &[("Authorization", &authorization)]).json();
    assert_eq!(list["sessions"][0]["activity"], waits);
    world.send(message_to(&task, answer));
    await_activity(world, "one", ["idle", ""]);
}

#[test]
fn a_session_waits_for_an_answer_while_its_process_asks() {
    let agent = json!({"driver": "acp", "args": ["--acp", "asks"], "format": null, "asks": "ask"});
    waits_for_an_answer(&World::describe().agent(agent).start(), "allow");
}

#[test]
fn a_session_waits_for_an_answer_though_its_process_has_ended() {
    waits_for_an_answer(&World::start(), "red");
}

#[test]
fn a_session_that_waits_for_a_place_says_which() {
    let process = World::describe().config(json!({"processes": {"max": 1}})).start();
    let caller = World::describe().config(json!({"limits": {"turns_per_caller": 1}})).start();
    let folder = World::describe().config(json!({"workspace": {"mode": "shared"}})).start();
    for (world, reason) in
        [(process, "process"), (caller, "turnsOfCaller"), (folder, "sharedFolder")]
    {
        begin(&world, "first", "cue go");
        let task = world.begin_with(message_in("second", "say x"));
        let waits = await_activity(&world, "second", ["waiting", reason]);
        assert_eq!(waits["taskId"], json!(task));
        world.cue("go");
        world.await_state(&task, &["COMPLETED"]);
    }
}

#[test]
fn a_session_whose_script_runs_is_starting() {
    let world =
        World::describe().file(".init-session.sh", 0o755, "#!/bin/sh\nsleep 3600\n").start();
    let task = world.begin_with(message_in("one", "say x"));
    let starting = await_activity(&world, "one", ["starting", ""]);
    assert_eq!(starting["taskId"], json!(task));
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": task}))), "CANCELED");
}

#[test]
fn a_session_whose_agent_does_not_end_is_ending() {
    let config = json!({"timeouts": {"terminate": "1h"}});
    let world = World::describe().config(config).start();
    let task = begin(&world, "one", "ignore TERM; cue go; exit 0");
    std::thread::scope(|scope| {
        let cancel = scope.spawn(|| world.rpc("CancelTask", json!({"id": task})));
        await_activity(&world, "one", ["ending", ""]);
        world.cue("go");
        cancel.join().unwrap();
    });
    await_activity(&world, "one", ["idle", ""]);
}

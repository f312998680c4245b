//! Waits that hear: a start, a script or an end that hangs does not keep a cancel, a deadline or a stop.

use crate::building::{Builder, merge};
use crate::processes::{await_some, below, with_argument};
use crate::reading::{answer, at_once, message, message_in, state, words};
use crate::world::{OWNER, PATIENCE, World};
use serde_json::json;

/// A sandbox program that hangs while the file `hangs` is there. Its hanging child is a process of its own,
/// so that ending the one that was started is not enough.
fn hanging_sandbox() -> Builder {
    let builder = World::describe();
    let real = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join("bwrap"))
        .find(|program| program.is_file())
        .expect("these tests need bubblewrap");
    let (hangs, mark) = (builder.path("hangs"), mark(&builder));
    let script = format!(
        "#!/bin/sh\n[ -e {} ] && {{ /bin/sh -c '/bin/sleep 600; : {mark}' & wait; }}\nexec {} \"$@\"\n",
        hangs.display(),
        real.display()
    );
    let path = format!("{}:/usr/bin:/bin", builder.cwd().display());
    let cues = builder.path("cues");
    builder
        .file("bwrap", 0o755, &script)
        .env("PATH", &path)
        .config(json!({"isolation": {"backend": "bubblewrap", "require": [], "read": [cues]}}))
}

/// What the hanging process has among its arguments.
fn mark(builder: &Builder) -> String {
    builder.marker().rsplit('=').next().unwrap().to_owned()
}

/// A world in which the next start hangs, and the word by which the hanging process is found.
fn hanging(builder: Builder) -> (World, String) {
    let word = format!("/bin/sleep 600; : {}", mark(&builder));
    let world = builder.start();
    std::fs::write(world.path("hangs"), "").unwrap();
    (world, word)
}

/// Begins a task whose process hangs before it is in its sandbox.
fn begin_hanging(world: &World, word: &str) -> String {
    let before = with_argument(word).len();
    let id = world.begin("say never");
    await_some("the sandbox that hangs", PATIENCE, || {
        (with_argument(word).len() > before).then_some(())
    });
    id
}

#[test]
fn a_start_that_hangs_is_canceled_at_once_and_leaves_no_process() {
    let (world, word) = hanging(hanging_sandbox());
    let id = begin_hanging(&world, &word);
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    assert_eq!(with_argument(&word), []);
}

#[test]
fn a_start_that_hangs_is_ended_by_the_deadline_of_the_turn() {
    let (world, word) = hanging(hanging_sandbox().config(json!({"timeouts": {"turn": "300ms"}})));
    let task = world.say("say never");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("timeouts.turn"), "{}", words(&task));
    assert_eq!(with_argument(&word), []);
}

#[test]
fn a_start_that_hangs_is_ended_by_its_own_deadline_which_is_named() {
    let (world, word) = hanging(hanging_sandbox().config(json!({"timeouts": {"start": "300ms"}})));
    let task = world.say("say never");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("timeouts.start"), "{}", words(&task));
    assert_eq!(with_argument(&word), []);
}

#[test]
fn a_start_that_hangs_gives_its_place_to_the_next_one() {
    let (world, word) = hanging(hanging_sandbox().config(json!({"processes": {"starting": 1}})));
    let id = begin_hanging(&world, &word);
    let next = world.begin("say served");
    std::fs::remove_file(world.path("hangs")).unwrap();
    assert_eq!(state(&world.task(&next)), "WORKING");
    world.rpc("CancelTask", json!({"id": id}));
    assert_eq!(answer(&world.await_state(&next, &["COMPLETED"])), "served");
}

#[test]
fn a_turn_that_waits_for_a_place_among_the_starting_ones_is_canceled_at_once() {
    let (world, word) = hanging(hanging_sandbox().config(json!({"processes": {"starting": 1}})));
    begin_hanging(&world, &word);
    let next = world.begin("say never");
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": next}))), "CANCELED");
}

#[test]
fn the_server_stops_although_a_start_hangs_and_leaves_no_process() {
    let (mut world, word) = hanging(hanging_sandbox());
    begin_hanging(&world, &word);
    let server = world.pid().cast_signed();
    assert!(below(server).iter().any(|process| process.command.contains(&word)));
    assert!(world.stop().success());
    assert_eq!(with_argument(&word), []);
}

#[test]
fn a_process_that_hangs_before_it_is_ready_keeps_nobody_from_starting() {
    // An agent of the protocol is ready when its session is open; this one never answers.
    let builder = World::describe();
    let mut hangs = builder.config["agents"]["fake"].clone();
    merge(
        &mut hangs,
        json!({"driver": "acp", "args": ["--acp", "hangs-in-initialize"], "format": null}),
    );
    let config = json!({"processes": {"starting": 1}, "timeouts": {"start": "200ms"}, "agents": {"hangs": hangs}});
    let world = builder.config(config).start();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": at_once(message("wait"))});
    let token = format!("Bearer {OWNER}");
    let sent =
        world.post("/agents/hangs/", &[("Authorization", &token)], call.to_string().as_bytes());
    assert_eq!(sent.status, 200, "{}", sent.text());
    await_some("the process that hangs", PATIENCE, || world.agents().pop());
    assert_eq!(answer(&world.say("say served")), "served");
}

#[test]
fn a_session_script_that_hangs_is_canceled_at_once_and_leaves_no_process() {
    let builder = World::describe();
    let word = format!("sleep 600; : {}", mark(&builder));
    let script = format!("#!/bin/sh\ntrap '' TERM\nsetsid sh -c '{word}' &\nwait\n");
    let world = builder.file(".init-session.sh", 0o755, &script).start();
    let id = world.begin("say never");
    await_some("the script", PATIENCE, || with_argument(&word).pop());
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    assert_eq!(with_argument(&word), []);
}

#[test]
fn a_session_script_that_hangs_is_ended_by_the_deadline_of_the_turn() {
    let script = "#!/bin/sh\nsleep 600\n";
    let builder = World::describe().file(".init-session.sh", 0o755, script);
    let world = builder.config(json!({"timeouts": {"turn": "300ms"}})).start();
    let task = world.say("say never");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("timeouts.turn"), "{}", words(&task));
    world.await_no_agents();
}

#[test]
fn a_waiting_turn_is_canceled_while_the_process_of_the_one_before_is_ended() {
    // The first agent does not end by itself, so the server waits for `timeouts.terminate`.
    let world = World::describe().config(json!({"timeouts": {"terminate": "1h"}})).start();
    let script = "ignore TERM; state completed; cue go; hang";
    let first = world.begin_with(message_in("one", script));
    world.await_state(&first, &["COMPLETED"]);
    let second = world.begin_with(message_in("one", "say never"));
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": second}))), "CANCELED");
    for process in world.agents() {
        process.kill();
    }
}

#[test]
fn a_waiting_turn_is_canceled_while_the_running_one_does_not_heed_its_own_cancel() {
    let world = World::describe().config(json!({"timeouts": {"terminate": "1h"}})).start();
    let first = world.begin_with(message_in("one", "ignore TERM; cue go; hang"));
    world.await_words(&first, "waiting go");
    world.cue("go");
    let second = world.begin_with(message_in("one", "say never"));
    std::thread::scope(|scope| {
        let canceling = scope.spawn(|| world.rpc("CancelTask", json!({"id": first})));
        assert_eq!(state(&world.rpc("CancelTask", json!({"id": second}))), "CANCELED");
        world.agents().iter().for_each(crate::processes::Process::kill);
        assert_eq!(state(&canceling.join().unwrap()), "CANCELED");
    });
}

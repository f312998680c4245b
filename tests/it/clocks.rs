//! A wall clock that is moved while the server runs: no turn, no ask and no rate takes notice.
//!
//! A small library in front of the C library moves the wall clock of the server alone.

use crate::building::Builder;
use crate::reading::{answer, message, message_to, state, text_of};
use crate::world::{OWNER, World};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

const HOUR: i64 = 3600;

/// A world whose server reads the wall clock through the library.
fn movable(world: Builder) -> Builder {
    let library = world.path("clocks.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clocks.c");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.unwrap().success());
    let file = world.path("clock");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    world.env("LD_PRELOAD", &text(&library)).env("TEST_CLOCK_FILE", &text(&file))
}

/// Moves the wall clock, and sees that the server reads it so.
fn move_clock(world: &World, seconds: i64) {
    fs::write(world.path("clock"), seconds.to_string()).unwrap();
    let task = world.say("say x");
    let at: jiff::Timestamp = text_of(&task["status"], "timestamp").parse().unwrap();
    let moved = at.as_second() - jiff::Timestamp::now().as_second();
    assert!((moved - seconds).abs() < 60, "the clock is moved by {moved} s instead of {seconds} s");
}

/// An agent that asks for a permission, and says what was chosen.
fn asking(timeout: &str) -> World {
    movable(World::describe())
        .config(json!({"asks": {"timeout": timeout}}))
        .config(json!({"agents": {"asking": {
            "driver": "acp", "program": crate::building::fake_agent(), "args": ["--acp", "asks"],
        }}}))
        .start()
}

/// Begins a task that asks.
fn begin_asking(world: &World) -> String {
    let mut params = message("ask");
    params["tenant"] = json!("asking");
    let task = world.send(params);
    assert_eq!(state(&task), "INPUT_REQUIRED", "{task:#}");
    text_of(&task, "id").to_owned()
}

#[test]
fn a_turn_goes_on_when_the_wall_clock_is_moved() {
    let world = movable(World::describe()).config(json!({"timeouts": {"turn": "10m"}})).start();
    let id = world.begin_waiting("cue go; say done", "go");
    [HOUR, -HOUR].into_iter().for_each(|seconds| move_clock(&world, seconds));
    world.cue("go");
    assert_eq!(answer(&world.await_state(&id, &["COMPLETED"])), "done");
}

#[test]
fn a_rate_stays_used_up_when_the_wall_clock_is_moved() {
    let world = movable(World::describe()).config(json!({"limits": {"rate": 3}})).start();
    [HOUR, -HOUR, HOUR].into_iter().for_each(|seconds| move_clock(&world, seconds));
    assert_eq!(world.call(OWNER, "SendMessage", &message("say more")).status, 429);
}

#[test]
fn an_ask_stays_open_when_the_wall_clock_is_moved_forward() {
    let world = asking("10m");
    let first = begin_asking(&world);
    move_clock(&world, HOUR);
    // A further ask makes the server look at all deadlines.
    begin_asking(&world);
    let mut allow = message_to(&first, "allow");
    allow["tenant"] = json!("asking");
    let task = world.send(allow);
    assert!(answer(&task).contains("this-once"), "{task:#}");
}

#[test]
fn an_ask_ends_in_time_when_the_wall_clock_is_moved_back() {
    let world = asking("2s");
    let id = begin_asking(&world);
    fs::write(world.path("clock"), (-HOUR).to_string()).unwrap();
    let mut get = json!({"id": id});
    get["tenant"] = json!("asking");
    let ended = crate::world::await_true(world.patience(), || {
        answer(&world.rpc("GetTask", get.clone())).contains("not-now")
    });
    assert!(ended, "{:#}", world.rpc("GetTask", get));
}

//! Descriptors: what fits in them, and who may open how many.

use crate::building::Builder;
use crate::http::connect;
use crate::reading::answer;
use crate::world::{PATIENCE, World};
use serde_json::json;

/// A world that is started behind this command of the shell.
fn behind(command: &str) -> Builder {
    World::describe().through(["sh", "-c", &format!("{command}; exec \"$@\""), "sh"])
}

#[test]
fn bounds_that_do_not_fit_in_the_descriptors_are_lowered_and_said() {
    let world = behind("ulimit -n 512").start();
    let lowered = "`limits.connections` 1024 to 128, `limits.connections_per_caller` 512 to 64, `processes.max` 64 to 6";
    assert!(world.stderr().contains(lowered), "{}", world.stderr());
    assert_eq!(world.readiness()["processes"]["max"], 6);
    let silent: Vec<_> = (0..200).map(|_| connect(world.address(), PATIENCE)).collect();
    assert_eq!(answer(&world.say("say well")), "well");
    assert!(!world.stderr().contains("could not be accepted"), "{}", world.stderr());
    drop(silent);
}

#[test]
fn the_server_may_open_all_descriptors_and_its_agents_as_many_as_before() {
    let world = behind("ulimit -Sn 300")
        .agent(json!({"program": "/bin/sh", "args": ["-c", "ulimit -Sn"], "format": "text"}))
        .start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{files}");
    assert_ne!(words[3], "300");
    assert_eq!(answer(&world.say("x")).trim(), "300");
}

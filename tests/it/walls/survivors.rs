//! Trees that make it hard to end them: nothing of one is left, however it ends.
//!
//! Each ending is tried on [`TREES`] sessions at once behind each wall, which is 200 trees in all.

use super::{WALLS, Wall, Walls};
use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{message, state, words};
use crate::world::World;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Sessions of one ending and wall.
const TREES: usize = 20;
/// The same in containers, which an engine makes one after the other.
const CONTAINED: usize = 5;
const ENDINGS: usize = 5;
const _: () = assert!(TREES * ENDINGS * Walls::HERE.len() >= 200, "as many as were promised");

/// Processes of one tree: the agent and what it has started.
const PROCESSES: usize = 5;

/// A child, one with `nohup` in a session of its own, a daemon by a double fork, and one that is deaf to
/// SIGTERM. Each says that it is there, then the tree says that it is whole.
const TREE: &str = r#"
    sh -c ': > up.child; exec sleep 3600' &
    nohup setsid sh -c ': > up.session; exec sleep 3600' >/dev/null 2>&1 &
    (setsid sh -c "sh -c ': > up.daemon; exec sleep 3600' & exit 0" >/dev/null 2>&1 &)
    sh -c 'trap "" TERM INT HUP; : > up.deaf; exec sleep 3600' &
    until [ -e up.child ] && [ -e up.session ] && [ -e up.daemon ] && [ -e up.deaf ]; do sleep 0.01; done
    : > whole
"#;

fn described(builder: Builder) -> Builder {
    builder.config(json!({"limits": {"rate": 0}, "processes": {"max": 64}}))
}

/// Trees that are whole.
fn whole(world: &World) -> usize {
    count(&world.path("work"), "whole")
}

fn count(folder: &Path, name: &str) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count(&entry.path(), name),
            _ => usize::from(entry.file_name() == name),
        })
        .sum()
}

const fn trees(wall: Wall) -> usize {
    match wall {
        Wall::Bubblewrap | Wall::Landlock => TREES,
        Wall::Container => CONTAINED,
    }
}

/// Trees of turns that hang, all of them whole: their tasks.
fn grown(wall: Wall, more: Value) -> (World, Vec<String>) {
    let world = described(wall.shell()).config(more).patience(Duration::from_secs(30)).start();
    let script = format!("{TREE} exec sleep 3600");
    let trees = trees(wall);
    let ids = (0..trees).map(|_| world.begin(&script)).collect();
    await_some("all trees", world.patience(), || (whole(&world) == trees).then_some(()));
    // What only made the others is on its way out for a moment.
    await_some("nothing but the trees", world.patience(), || {
        (world.agents().len() == trees * PROCESSES).then_some(())
    });
    (world, ids)
}

#[test]
fn nothing_survives_a_cancel() {
    for wall in WALLS {
        let (world, ids) = grown(wall, json!({}));
        let caller = &world;
        std::thread::scope(|scope| {
            for id in &ids {
                scope.spawn(move || caller.rpc("CancelTask", json!({"id": id})));
            }
        });
        assert_eq!(world.agents(), [], "{wall:?}");
        for id in &ids {
            assert_eq!(state(&world.task(id)), "CANCELED", "{wall:?}");
        }
    }
}

#[test]
fn nothing_survives_a_turn_that_takes_too_long() {
    // Side by side: a machine with much to do needs the time to grow all trees.
    std::thread::scope(|scope| {
        for wall in WALLS {
            scope.spawn(move || {
                let (world, ids) = grown(wall, json!({"timeouts": {"turn": "14s"}}));
                for id in &ids {
                    let task = world.await_state(id, &["FAILED"]);
                    let words = words(&task);
                    assert!(words.contains("timeouts.turn"), "{wall:?}: {words}");
                }
                assert_eq!(world.agents(), [], "{wall:?}");
            });
        }
    });
}

#[test]
fn nothing_survives_the_end_of_a_kept_process_that_was_idle() {
    for wall in WALLS {
        // It grows its tree before it becomes an agent that lives on between turns.
        let script = format!("{TREE} exec \"$0\" --acp well");
        let builder = described(wall.described());
        let program = builder.config["agents"]["fake"]["program"].clone();
        let agent = json!({
            "driver": "acp", "program": "/bin/bash", "args": ["-c", script, program], "format": null,
        });
        let idle = json!({"processes": {"idle": "3s"}});
        let world = builder.agent(agent).config(idle).start();
        std::thread::scope(|scope| {
            for _ in 0..trees(wall) {
                scope.spawn(|| assert_eq!(state(&world.send(message("hello"))), "COMPLETED"));
            }
        });
        assert_eq!(whole(&world), trees(wall), "{wall:?}");
        assert!(world.agents().len() >= PROCESSES, "no process was kept, {wall:?}");
        world.await_no_agents();
    }
}

#[test]
fn nothing_survives_sigterm_of_the_server() {
    for wall in WALLS {
        let (mut world, _) = grown(wall, json!({}));
        assert_eq!(world.stop().code(), Some(0), "{wall:?}");
        assert_eq!(world.agents(), [], "{wall:?}");
    }
}

#[test]
fn nothing_survives_sigkill_of_the_server() {
    for wall in WALLS {
        let (mut world, _) = grown(wall, json!({}));
        world.kill9();
        // Nobody is left who could say when it is over.
        world.nothing_is_left();
        assert_eq!(world.agents(), [], "{wall:?}");
    }
}

#[test]
fn nothing_survives_a_supervisor_that_was_killed_just_before_the_server() {
    // Without a sandbox an agent can kill its own supervisor.
    let bash = json!({"program": "/bin/bash", "args": ["-c"], "format": "text"});
    let mut world = World::describe().agent(bash).start();
    world.begin(&format!("{TREE} kill -9 $PPID; exec sleep 3600"));
    await_some("the tree", world.patience(), || (whole(&world) == 1).then_some(()));
    world.kill9();
    world.nothing_is_left();
}

//! Processes that are started ahead for new sessions.

use super::{claude, clis, workspace};
use crate::processes::await_some;
use crate::reading::{answer, message_in};
use crate::world::World;
use fake_model::Model;
use serde_json::json;

fn warmed(model: &Model, processes: usize) -> World {
    let world = claude(model)
        .config(json!({"agents": {"claude": {"warm": 1}}, "processes": {"max": processes}}))
        .start();
    await_one(&world);
    world
}

fn await_one(world: &World) {
    await_some("a process ahead", world.patience(), || (!clis(world).is_empty()).then_some(()));
}

#[test]
fn a_new_session_gets_the_process_that_was_started_ahead() {
    let model = Model::start();
    let world = warmed(&model, 64);
    let ahead = clis(&world)[0].pid;
    assert_eq!(answer(&world.send(message_in("one", "say hello"))), "hello");
    let works_in = std::fs::read_link(format!("/proc/{ahead}/cwd")).unwrap();
    assert_eq!(works_in, workspace(&world, "one"));
    await_some("another process ahead", world.patience(), || {
        (clis(&world).len() == 2).then_some(())
    });
    assert_eq!(answer(&world.send(message_in("one", "say again"))), "again");
}

#[test]
fn it_gives_up_its_place_when_somebody_needs_it() {
    let model = Model::start();
    let world = warmed(&model, 1);
    assert_eq!(answer(&world.send(message_in("one", "say hello"))), "hello");
    assert_eq!(answer(&world.send(message_in("two", "say there"))), "there");
}

#[test]
fn nothing_of_it_is_left_after_a_stop() {
    let model = Model::start();
    let mut world = warmed(&model, 64);
    world.stop();
    let folders = |place: &str| std::fs::read_dir(world.path(place)).unwrap().count();
    assert_eq!((folders("work"), folders("state/sessions")), (0, 0));
}

#[test]
fn a_server_that_was_killed_removes_what_it_had_started_ahead() {
    let model = Model::start();
    let mut world = warmed(&model, 64);
    let before: Vec<_> =
        std::fs::read_dir(world.path("work")).unwrap().map(|entry| entry.unwrap().path()).collect();
    await_some("word of it", world.patience(), || {
        world.path("state/warm.json").exists().then_some(())
    });
    world.kill9();
    world.restart();
    await_some("the end of its folder", world.patience(), || {
        before.iter().all(|folder| !folder.exists()).then_some(())
    });
}

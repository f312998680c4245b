//! The process that asked is gone when the answer comes: parked, dead, or the server began anew.

use super::{asks, claude, clis, completed, data, decide, leaving, open_asks, ran, say, step, two};
use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{answer, message_in, state, text_of};
use crate::world::World;
use fake_model::Model;
use serde_json::{Value, json};

/// A world that does not keep a process waiting for people.
fn parking(model: &Model) -> Builder {
    claude(model).config(json!({"asks": {"park": "100ms"}}))
}

/// Waits until no CLI is left.
fn gone(world: &World) {
    await_some("the end of the process that asked", super::PATIENCE, || {
        clis(world).is_empty().then_some(())
    });
}

#[test]
fn a_parked_ask_stays_when_its_process_is_gone() {
    let model = Model::start();
    let world = parking(&model).start();
    let task = asks(&world, "c", &step("x"));
    gone(&world);
    let now = world.task(text_of(&task, "id"));
    assert_eq!(
        (state(&now), &data(&now)["askId"]),
        ("INPUT_REQUIRED", &data(&task)["askId"])
    );
    assert_eq!(open_asks(&world).len(), 1);
}

#[test]
fn probe() {
    let model = Model::start();
    let mut world = claude(&model).start();
    let task = asks(
        &world,
        "c",
        &format!("both: {} ;; {}\nsay the end", step("one"), step("two")),
    );
    world.kill9();
    world.nothing_is_left();
    world.restart();
    let task = say(&world, &task, "allow");
    eprintln!(
        "PROBE {task:#} {:?} {:#?} {:#?}",
        ran(&world, "c"),
        model.requests(),
        open_asks(&world)
    );
    panic!()
}

#[test]
fn probe2() {
    let model = Model::start();
    let world = parking(&model).start();
    let task = asks(
        &world,
        "c",
        &format!("both: {} ;; {}\nsay the end", step("one"), step("two")),
    );
    gone(&world);
    let task = say(&world, &task, "allow");
    eprintln!(
        "PROBE {task:#} {:?} {:#?} {:#?}",
        ran(&world, "c"),
        model.requests(),
        open_asks(&world)
    );
    panic!()
}

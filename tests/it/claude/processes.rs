//! The CLI's process lives between turns, within bounds.

use super::{claude, clis, program};
use crate::processes::await_some;
use crate::reading::{answer, message_in, state};
use fake_model::Model;
use serde_json::json;

#[test]
fn an_idle_process_ends_after_its_time_and_the_conversation_goes_on() {
    let model = Model::start();
    let world = claude(&model).config(json!({"processes": {"idle": "100ms"}})).start();
    world.send(message_in("kept", "remember the ship"));
    await_some("the end of the idle process", super::PATIENCE, || {
        world.agents().is_empty().then_some(())
    });
    let task = world.send(message_in("kept", "history"));
    assert!(answer(&task).starts_with("turns=2"), "{}", answer(&task));
}

#[test]
fn at_the_bound_the_idle_process_gives_way_and_resumes_later() {
    let model = Model::start();
    let world = claude(&model).config(json!({"processes": {"max": 1}})).start();
    world.send(message_in("one", "remember alpha"));
    assert_eq!(answer(&world.send(message_in("two", "say hello"))), "hello");
    assert_eq!(clis(&world).len(), 1);
    let task = world.send(message_in("one", "history"));
    assert!(answer(&task).starts_with("turns=2 first=\"remember alpha\""), "{}", answer(&task));
}

#[test]
fn an_idle_process_that_is_killed_is_replaced() {
    let model = Model::start();
    let world = claude(&model).start();
    world.send(message_in("kept", "remember the ship"));
    clis(&world)[0].kill();
    let live = || world.readiness()["processes"]["live"].clone();
    await_some("the notice of its end", super::PATIENCE, || (live() == 0).then_some(()));
    let task = world.send(message_in("kept", "history"));
    assert_eq!(state(&task), "COMPLETED");
    assert!(answer(&task).starts_with("turns=2"), "{}", answer(&task));
}

#[test]
fn a_message_that_comes_just_as_the_idle_process_dies_is_answered() {
    let model = Model::start();
    let world = claude(&model).start();
    world.send(message_in("kept", "remember the ship"));
    for _ in 0..3 {
        clis(&world)[0].kill();
        let task = world.send(message_in("kept", "say back"));
        let told = (state(&task), answer(&task));
        assert_eq!(told, ("COMPLETED", "back".to_owned()), "{task:#}");
    }
}

#[test]
fn while_one_process_starts_no_other_does() {
    let model = Model::start();
    let builder = claude(&model);
    let folder = builder.path("cues");
    let script = format!(
        "#!/bin/sh\ntouch {0}/started-$$\nwhile [ ! -e {0}/go ]; do sleep 0.01; done\nexec {1} \"$@\"\n",
        folder.display(),
        program()
    );
    let wrapper = builder.cwd().join("slow-claude");
    let world = builder
        .file("slow-claude", 0o755, &script)
        .config(json!({"processes": {"starting": 1}, "agents": {"claude": {"program": wrapper}}}))
        .start();
    let started = || {
        let names = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("started-")).count()
    };
    let ids = [0, 1, 2].map(|n| world.begin(&format!("say {n}")));
    await_some("the first start", super::PATIENCE, || (started() > 0).then_some(()));
    // Time enough for a second start that nothing holds back; it is never too short for this test to pass.
    (0..200).for_each(|_| drop(world.task(&ids[0])));
    let seen = started();
    world.cue("go");
    let answers = ids.map(|id| answer(&world.await_state(&id, &["COMPLETED", "FAILED"])));
    assert_eq!((seen, answers), (1, ["0", "1", "2"].map(ToOwned::to_owned)));
}

#[test]
fn several_sessions_start_at_once_and_all_answer() {
    let model = Model::start();
    let world = claude(&model).start();
    let ids = [0, 1, 2, 3].map(|n| world.begin(&format!("say {n}")));
    let answers = ids.map(|id| answer(&world.await_state(&id, &["COMPLETED", "FAILED"])));
    assert_eq!(answers, ["0", "1", "2", "3"].map(ToOwned::to_owned));
}

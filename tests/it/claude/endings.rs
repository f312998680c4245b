//! Turns that are canceled or fail: what is left, and what the caller is told.

use super::{claude, with_bash, with_key};
use crate::processes::{await_some, with_argument};
use crate::reading::{answer, message, message_in, state, words};
use crate::world::{OWNER, World};
use fake_model::Model;
use serde_json::json;
use std::time::{Duration, Instant};

/// A number of seconds that no other process on this machine sleeps.
fn unique_sleep() -> String {
    let random = uuid::Uuid::new_v4().as_u128() % 1_000_000_000;
    format!("3600.{random:09}")
}

/// A step of the model that sleeps. The CLI refuses a command that begins with `sleep`; the turn would
/// go on at once.
fn sleeping_step(seconds: &str) -> String {
    format!("bash: cat /dev/null; sleep {seconds}")
}

/// Begins a command that sleeps, and waits until it does.
fn begin_sleeping(world: &World, seconds: &str) -> String {
    let id = world.begin_with(message_in("sleepy", &sleeping_step(seconds)));
    await_some("the sleeping command", super::PATIENCE, || with_argument(seconds).pop());
    id
}

#[test]
fn a_model_that_says_nothing_is_told_of_and_fails_the_turn_after_a_while() {
    let model = Model::start();
    let world =
        claude(&model).config(json!({"timeouts": {"silence": "3s", "heartbeat": "200ms"}})).start();
    let events = world.stream("SendStreamingMessage", message("hang 600")).rest();
    let silence = |event: &crate::http::Event| {
        event.words().starts_with("no word from the model for")
            && event.data().is_some_and(|data| data["kind"] == "silence")
    };
    assert!(events.iter().any(silence), "{events:#?}");
    let task = world.task(events[0].task_id());
    assert!(state(&task) == "FAILED" && words(&task).contains("timeouts.silence"), "{task:#}");
}

#[test]
fn a_cancel_in_the_middle_of_text_ends_the_turn() {
    let model = Model::start();
    let world = claude(&model).start();
    let id = world.begin("cue never");
    assert!(model.wait(fake_model::Event::Cue, 1, super::PATIENCE));
    world.await_task(&id, "the first words", |task| answer(task).starts_with("waiting"));
    let task = world.rpc("CancelTask", json!({"id": id}));
    assert_eq!((state(&task), answer(&task).trim()), ("CANCELED", "waiting"));
}

#[test]
fn a_cancel_in_the_middle_of_a_command_ends_the_command() {
    let model = Model::start();
    let world = with_bash(&model).start();
    let seconds = unique_sleep();
    let id = begin_sleeping(&world, &seconds);
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    assert_eq!(with_argument(&seconds), []);
}

#[test]
fn a_command_that_left_its_session_is_ended_with_the_cancel() {
    let model = Model::start();
    let world = with_bash(&model).start();
    let (left, own) = (unique_sleep(), unique_sleep());
    let id = world.begin(&format!("bash: setsid sleep {left} & sleep {own}"));
    for seconds in [&left, &own] {
        await_some("the sleeping command", super::PATIENCE, || with_argument(seconds).pop());
    }
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    assert_eq!([with_argument(&own), with_argument(&left)], [vec![], vec![]]);
}

#[test]
fn a_daemon_of_the_canceled_turn_is_ended_too() {
    let model = Model::start();
    let world = with_bash(&model).start();
    let (daemon, own) = (unique_sleep(), unique_sleep());
    let script = format!("bash: (setsid sleep {daemon} </dev/null >/dev/null 2>&1 &); sleep {own}");
    let id = world.begin(&script);
    for seconds in [&daemon, &own] {
        await_some("the sleeping command", super::PATIENCE, || with_argument(seconds).pop());
    }
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    assert_eq!([with_argument(&own), with_argument(&daemon)], [vec![], vec![]]);
}

#[test]
fn a_command_that_ignores_sigterm_is_ended_with_the_cancel() {
    let model = Model::start();
    let world = with_bash(&model).start();
    let own = unique_sleep();
    let id = world
        .begin(&format!("bash: trap '' TERM INT HUP; cat /dev/null; sleep {own}; sleep {own}"));
    await_some("the sleeping command", super::PATIENCE, || with_argument(&own).pop());
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    assert_eq!(with_argument(&own), []);
}

#[test]
fn after_a_canceled_command_the_conversation_goes_on() {
    let model = Model::start();
    let world = with_bash(&model).start();
    let id = begin_sleeping(&world, &unique_sleep());
    world.rpc("CancelTask", json!({"id": id}));
    let task = world.send(message_in("sleepy", "say awake"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "awake"));
}

#[test]
fn sigkill_of_the_server_ends_the_cli_and_its_command() {
    let model = Model::start();
    let mut world = with_bash(&model).start();
    let seconds = unique_sleep();
    begin_sleeping(&world, &seconds);
    world.kill9();
    world.nothing_is_left();
    assert_eq!(with_argument(&seconds), []);
}

#[test]
fn sigterm_of_the_server_ends_the_cli_and_its_command() {
    let model = Model::start();
    let mut world = with_bash(&model).start();
    let seconds = unique_sleep();
    begin_sleeping(&world, &seconds);
    assert_eq!(world.stop().code(), Some(0));
    assert_eq!(with_argument(&seconds), []);
}

#[test]
fn a_rejected_key_fails_the_task_with_a_hint_in_time() {
    let model = Model::start();
    let world = with_key(&model, "sk-ant-bad").start();
    let began = Instant::now();
    let task = world.say("say hello");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("ANTHROPIC_API_KEY"), "{}", words(&task));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn an_overloaded_model_fails_the_task_with_a_hint_in_time() {
    let model = Model::start();
    let world = claude(&model)
        .config(json!({"agents": {"claude": {"max_retries": 1}}, "limits": {"retries": 0}}))
        .start();
    let began = Instant::now();
    let task = world.say("error 529");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("overloaded"), "{}", words(&task));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn a_turn_that_the_cli_gave_up_before_it_began_is_given_again() {
    let model = Model::start();
    let world = claude(&model)
        .config(json!({
            "agents": {"claude": {"max_retries": 0}},
            "limits": {"retries": 2},
            "timeouts": {"retry": "100ms"},
        }))
        .start();
    let before = model.requests().len();
    let task = world.say("error 529");
    assert_eq!(state(&task), "FAILED");
    assert_eq!(model.requests().len() - before, 3);
}

#[test]
fn a_turn_over_its_ceiling_of_tokens_is_interrupted_and_the_context_closed() {
    let model = Model::start();
    let world = with_bash(&model).config(json!({"budgets": {"session": {"tokens": 1}}})).start();
    let task = world.send(message_in("costly", &sleeping_step(&unique_sleep())));
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("budgets.session.tokens"), "{}", words(&task));
    let next = world.call(OWNER, "SendMessage", &message_in("costly", "say more"));
    assert_eq!(next.status, 429);
}

#[test]
fn a_model_that_recovers_is_asked_again() {
    let model = Model::start();
    let world = claude(&model).start();
    // The step fails once; then it is used up, and the model goes on.
    let task = world.say("error 529 1");
    assert_eq!(state(&task), "COMPLETED", "{}", words(&task));
}

#[test]
fn a_model_out_of_reach_fails_the_task_with_a_hint_and_later_the_context_goes_on() {
    let model = Model::start();
    let port = model.port;
    let world = claude(&model).config(json!({"agents": {"claude": {"max_retries": 0}}})).start();
    world.send(message_in("kept", "say hello"));
    drop(model);
    let task = world.send(message_in("kept", "remember the ship"));
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("cannot reach the model API"), "{}", words(&task));
    let _model = await_some("the port of the model", super::PATIENCE, || Model::bind(port).ok());
    let task = world.send(message_in("kept", "say better"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "better"), "{}", words(&task));
}

#[test]
fn a_turn_that_takes_too_long_fails_and_its_command_is_gone() {
    let model = Model::start();
    let world = with_bash(&model).config(json!({"timeouts": {"turn": "8s"}})).start();
    let seconds = unique_sleep();
    let id = begin_sleeping(&world, &seconds);
    let task = world.await_state(&id, &["FAILED", "COMPLETED", "CANCELED"]);
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("timeouts.turn"), "{}", words(&task));
    await_some("the end of the command", super::PATIENCE, || {
        with_argument(&seconds).is_empty().then_some(())
    });
}

#[test]
fn a_cli_that_is_killed_fails_the_task_and_the_next_turn_starts_it_again() {
    let model = Model::start();
    let world = claude(&model).start();
    let id = world.begin_with(message_in("kept", "cue never"));
    assert!(model.wait(fake_model::Event::Cue, 1, super::PATIENCE));
    super::clis(&world)[0].kill();
    let task = world.await_state(&id, &["FAILED", "COMPLETED", "CANCELED"]);
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("SIGKILL"), "{}", words(&task));
    let task = world.send(message_in("kept", "say back"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "back"));
}

//! Who decides instead of a person: rules, times, and the end of the task.

use super::{asks, claude, data, leaving, open_asks, ran, step};
use crate::building::Builder;
use crate::reading::{answer, message_in, state, text_of, words};
use crate::world::{BOB, World};
use fake_model::Model;
use serde_json::{Value, json};

fn rules(model: &Model, rules: Value) -> Builder {
    claude(model).config(json!({"agents": {"claude": {"ask_rules": rules}}}))
}

fn timing(model: &Model, asks: Value) -> World {
    claude(model).config(json!({"asks": asks})).start()
}

#[test]
fn the_first_rule_that_fits_the_command_decides() {
    let model = Model::start();
    let world = rules(
        &model,
        json!([
            {"tool": "Bash(*forbidden*)", "policy": "deny"},
            {"tool": "Bash(curl *)", "policy": "allow"},
        ]),
    )
    .start();
    for (word, lines) in [("forbidden", vec![]), ("fine", vec!["fine".to_owned()])] {
        let task = world.send(message_in("c", &step(word)));
        assert_eq!((state(&task), ran(&world, "c")), ("COMPLETED", lines));
    }
}

#[test]
fn a_tool_without_a_rule_is_asked() {
    let model = Model::start();
    let world = rules(&model, json!([{"tool": "Bash", "policy": "allow"}])).start();
    let file = world.path("outside.txt");
    let task = asks(&world, "c", &format!("write {} x", file.display()));
    assert_eq!(data(&task)["tool"], "Write");
}

#[test]
fn a_rule_for_one_caller_does_not_concern_another() {
    let model = Model::start();
    let deny = json!([{"tool": "*", "caller": "bob", "policy": "deny"}]);
    let world = rules(&model, deny).start();
    asks(&world, "c", &step("x"));
    let sent = world.rpc_as(BOB, "SendMessage", message_in("c", &step("x")));
    let task = &sent["task"];
    assert_eq!(state(task), "COMPLETED", "{task:#}");
    assert!(answer(task).contains("ask_rules"), "{}", answer(task));
}

#[test]
fn an_ask_that_nobody_answers_in_time_is_denied_and_the_model_hears_it() {
    let model = Model::start();
    let world = timing(&model, json!({"timeout": "1s", "then": "deny"}));
    let id = text_of(&asks(&world, "c", &step("x")), "id").to_owned();
    let task = world.await_state(&id, &["COMPLETED", "FAILED", "CANCELED"]);
    assert_eq!(state(&task), "COMPLETED");
    assert!(answer(&task).contains("nobody answered within 1s"), "{task:#}");
    assert_eq!((ran(&world, "c"), open_asks(&world)), (vec![], vec![]));
}

#[test]
fn a_parked_ask_that_nobody_answers_in_time_is_denied_and_the_model_hears_it() {
    let model = Model::start();
    let world = timing(&model, json!({"park": "100ms", "timeout": "3s", "then": "deny"}));
    let id = text_of(&asks(&world, "c", &step("x")), "id").to_owned();
    let task = world.await_state(&id, &["COMPLETED", "FAILED", "CANCELED"]);
    assert_eq!(state(&task), "COMPLETED");
    assert!(answer(&task).contains("nobody answered within 3s"), "{task:#}");
}

#[test]
fn an_ask_that_nobody_answers_in_time_cancels_its_task_where_that_is_wanted() {
    let model = Model::start();
    let world = timing(&model, json!({"timeout": "1s", "then": "cancel"}));
    let id = text_of(&asks(&world, "c", &step("x")), "id").to_owned();
    let task = world.await_state(&id, &["COMPLETED", "FAILED", "CANCELED"]);
    assert_eq!(state(&task), "CANCELED");
    assert!(words(&task).contains("nobody answered within 1s"), "{task:#}");
    let next = world.send(message_in("c", "say more"));
    assert_eq!((state(&next), answer(&next).as_str()), ("COMPLETED", "more"));
    assert_eq!((ran(&world, "c"), open_asks(&world)), (vec![], vec![]));
}

#[test]
fn the_time_of_an_ask_goes_on_while_the_server_is_away() {
    let model = Model::start();
    let mut world = timing(&model, json!({"timeout": "1s", "then": "cancel"}));
    let id = text_of(&asks(&world, "c", &step("x")), "id").to_owned();
    world.restart();
    let task = world.await_state(&id, &["COMPLETED", "FAILED", "CANCELED"]);
    assert_eq!(state(&task), "CANCELED");
}

#[test]
fn waiting_for_a_person_is_not_working_time() {
    let model = Model::start();
    // The answer is its timeout, which comes when a turn that worked would have been ended.
    let world = claude(&model)
        .config(json!({"timeouts": {"turn": "20s"}, "asks": {"timeout": "21s"}}))
        .start();
    let id = text_of(&asks(&world, "c", &step("x")), "id").to_owned();
    let task = world.await_state(&id, &["COMPLETED", "FAILED"]);
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
}

#[test]
fn canceling_voids_the_ask_and_the_context_goes_on() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("x"));
    let canceled = world.rpc("CancelTask", json!({"id": task["id"]}));
    assert_eq!(state(&canceled), "CANCELED");
    assert_eq!(open_asks(&world), [Value::Null; 0]);
    let next = world.send(message_in("c", "say more"));
    assert_eq!((state(&next), answer(&next).as_str()), ("COMPLETED", "more"));
    assert_eq!(ran(&world, "c"), [""; 0]);
}

#[test]
fn a_message_of_the_context_waits_for_the_answer_and_does_not_give_it() {
    let model = Model::start();
    // With `asks.by_context` the message would be the answer.
    let world = claude(&model).config(json!({"asks": {"by_context": false}})).start();
    let task = asks(&world, "c", &step("x"));
    let next = world.begin_with(message_in("c", "say allow"));
    assert_eq!(state(&world.task(&next)), "SUBMITTED");
    assert_eq!(state(&world.task(text_of(&task, "id"))), "INPUT_REQUIRED");
    assert_eq!(data(&task)["input"]["command"], leaving("x"));
    super::completed(&super::say(&world, &task, "allow"));
    world.await_state(&next, &["COMPLETED"]);
}

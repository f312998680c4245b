//! The process that asked is gone when the answer comes: parked, dead, or the server began anew.

use super::together::{both, two};
use super::{
    QUESTION, asks, claude, clis, completed, data, decide, leaving, open_asks, ran, say, step,
};
use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{answer, message_in, state, text_of};
use crate::world::World;
use fake_model::Model;
use serde_json::{Value, json};

/// How the process that asked goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// A person takes too long (`asks.park`).
    Parked,
    /// Somebody ends it.
    Dead,
    /// The server stops in order and starts again.
    Restarted,
    /// The server is killed and starts again.
    Killed,
}

use Way::{Dead, Killed, Parked, Restarted};

impl Way {
    fn describe(self, model: &Model) -> Builder {
        match self {
            Parked => parking(model),
            Dead | Restarted | Killed => claude(model),
        }
    }

    fn go(self, world: &mut World) {
        match self {
            Parked => {}
            Dead => clis(world).iter().for_each(crate::processes::Process::kill),
            Restarted => world.restart(),
            Killed => {
                world.kill9();
                world.nothing_is_left();
                world.restart();
            }
        }
        gone(world);
    }
}

/// A world that does not keep a process waiting for people.
fn parking(model: &Model) -> Builder {
    claude(model).config(json!({"asks": {"park": "500ms"}}))
}

/// Waits until no CLI is left.
fn gone(world: &World) {
    await_some("the end of the process that asked", super::PATIENCE, || {
        let ready = world.readiness();
        (ready["processes"]["live"] == 0 && clis(world).is_empty()).then_some(())
    });
}

/// What a task asked in a context that had a turn before, with the asking process gone.
fn asked_and_gone(world: &mut World, script: &str, way: Way) -> Value {
    completed(&world.send(message_in("c", "say hello")));
    let task = asks(world, "c", script);
    way.go(world);
    task
}

/// The ask is there as before, the process that asked is not.
fn stays(way: Way) {
    let model = Model::start();
    let mut world = way.describe(&model).start();
    let task = asked_and_gone(&mut world, &step("x"), way);
    let now = world.task(text_of(&task, "id"));
    assert_eq!((state(&now), &data(&now)["askId"]), ("INPUT_REQUIRED", &data(&task)["askId"]));
    let open = open_asks(&world);
    assert_eq!(open.len(), 1, "{open:#?}");
    assert_eq!(open[0]["input"]["command"], leaving("x"));
}

/// What is allowed then runs once, and the turn goes on to its end.
fn runs_once(way: Way) {
    let model = Model::start();
    let mut world = way.describe(&model).start();
    let script = format!("{}\nsay the end", step("x"));
    let task = asked_and_gone(&mut world, &script, way);
    let task = say(&world, &task, "allow");
    assert!(answer(completed(&task)).ends_with("the end"), "{task:#}");
    assert_eq!(ran(&world, "c"), ["x"]);
    assert_eq!(open_asks(&world), [Value::Null; 0]);
}

/// What is denied then does not run, and the model hears why.
fn is_denied(way: Way) {
    let model = Model::start();
    let mut world = way.describe(&model).start();
    let task = asked_and_gone(&mut world, &step("x"), way);
    let told = answer(completed(&say(&world, &task, "deny: not on a friday")));
    assert!(told.contains("not on a friday"), "{told}");
    assert_eq!(ran(&world, "c"), [""; 0]);
}

/// Two calls of one message, both of which were asked: each is answered by its own ask.
fn two_are_answered(way: Way) {
    let model = Model::start();
    let mut world = way.describe(&model).start();
    completed(&world.send(message_in("c", "say hello")));
    let script = format!("{}\nsay the end", two(&world));
    let task = asks(&world, "c", &script);
    both(&world);
    way.go(&mut world);
    assert_eq!(open_asks(&world).len(), 2);
    let second = say(&world, &task, "allow");
    assert_eq!(state(&second), "INPUT_REQUIRED", "{second:#}");
    assert!(text_of(&data(&second)["input"], "file_path").ends_with("two"));
    let open = open_asks(&world);
    assert_eq!(open.len(), 1, "one is left: {open:#?}");
    assert_eq!(open[0]["askId"], data(&second)["askId"]);
    let task = say(&world, &second, "allow");
    assert!(answer(completed(&task)).ends_with("the end"), "{task:#}");
    assert_eq!(open_asks(&world), [Value::Null; 0]);
}

#[test]
fn an_ask_stays_when_its_process_is_parked() {
    stays(Parked);
}

#[test]
fn an_ask_stays_when_its_process_dies() {
    stays(Dead);
}

#[test]
fn an_ask_stays_across_a_restart() {
    stays(Restarted);
}

#[test]
fn an_ask_stays_across_kill_9() {
    stays(Killed);
}

#[test]
fn what_is_allowed_after_its_process_was_parked_runs_once() {
    runs_once(Parked);
}

#[test]
fn what_is_allowed_after_its_process_died_runs_once() {
    runs_once(Dead);
}

#[test]
fn what_is_allowed_after_a_restart_runs_once() {
    runs_once(Restarted);
}

#[test]
fn what_is_allowed_after_kill_9_runs_once() {
    runs_once(Killed);
}

#[test]
fn what_is_denied_after_its_process_was_parked_does_not_run_and_the_model_hears_why() {
    is_denied(Parked);
}

#[test]
fn what_is_denied_after_a_restart_does_not_run_and_the_model_hears_why() {
    is_denied(Restarted);
}

#[test]
fn what_is_denied_after_kill_9_does_not_run_and_the_model_hears_why() {
    is_denied(Killed);
}

#[test]
fn two_asks_of_a_parked_process_are_answered_one_after_the_other() {
    two_are_answered(Parked);
}

#[test]
fn two_asks_from_before_a_restart_are_answered_one_after_the_other() {
    two_are_answered(Restarted);
}

#[test]
fn two_asks_from_before_kill_9_are_answered_one_after_the_other() {
    two_are_answered(Killed);
}

#[test]
fn a_parked_question_is_answered_in_words() {
    let model = Model::start();
    let mut world = parking(&model).start();
    let task = asked_and_gone(&mut world, QUESTION, Parked);
    let told = answer(completed(&say(&world, &task, "green")));
    assert!(told.contains("Which colour?") && told.contains("Green"), "{told}");
}

#[test]
fn a_question_from_before_kill_9_is_answered_in_words() {
    let model = Model::start();
    let mut world = claude(&model).start();
    let task = asked_and_gone(&mut world, QUESTION, Killed);
    let told = answer(completed(&say(&world, &task, "green")));
    assert!(told.contains("Which colour?") && told.contains("Green"), "{told}");
}

#[test]
fn a_parked_call_that_is_allowed_with_another_input_runs_with_that_one() {
    let model = Model::start();
    let mut world = parking(&model).start();
    let task = asked_and_gone(&mut world, &step("asked"), Parked);
    let input = json!({"command": "echo changed >> ran", "description": "another"});
    let task = decide(&world, &task, json!({"decision": "allow", "input": input}));
    completed(&task);
    assert_eq!(ran(&world, "c"), ["changed"]);
}

#[test]
fn what_is_allowed_for_the_session_after_a_park_is_not_asked_again() {
    let model = Model::start();
    let mut world = parking(&model).start();
    let script = format!("{}\n{}", step("one"), step("two"));
    let task = asked_and_gone(&mut world, &script, Parked);
    completed(&decide(&world, &task, json!({"decision": "allow_session"})));
    assert_eq!(ran(&world, "c"), ["one", "two"]);
}

#[test]
fn a_grant_of_one_call_does_not_let_another_pass() {
    let model = Model::start();
    let mut world = parking(&model).start();
    let script = format!("{}\n{}", step("one"), step("two"));
    let task = asked_and_gone(&mut world, &script, Parked);
    let second = say(&world, &task, "allow");
    assert_eq!(state(&second), "INPUT_REQUIRED", "{second:#}");
    assert_eq!(data(&second)["input"]["command"], leaving("two"));
    assert_eq!(ran(&world, "c"), ["one"]);
}

#[test]
fn a_parked_process_does_not_go_on_by_itself() {
    let model = Model::start();
    let world = parking(&model).start();
    asks(&world, "c", &format!("{}\nsay the end", step("x")));
    gone(&world);
    let replies: Vec<_> = model.requests().into_iter().map(|seen| seen.reply).collect();
    assert_eq!(replies, ["call Bash"]);
}

#[test]
fn a_server_that_stops_does_not_let_the_process_go_on_by_itself() {
    let model = Model::start();
    let mut world = claude(&model).start();
    asks(&world, "c", &format!("{}\nsay the end", step("x")));
    world.restart();
    let replies: Vec<_> = model.requests().into_iter().map(|seen| seen.reply).collect();
    assert_eq!(replies, ["call Bash"]);
}

#[test]
fn the_first_turn_of_a_conversation_is_remembered_across_kill_9() {
    let model = Model::start();
    let mut world = claude(&model).start();
    let task = asks(&world, "c", &format!("{}\nhistory", step("x")));
    Killed.go(&mut world);
    let told = answer(completed(&say(&world, &task, "allow")));
    assert!(told.contains("first=\"bash: curl"), "{told}");
}

#[test]
fn a_parked_task_is_canceled_and_its_context_goes_on() {
    let model = Model::start();
    let mut world = parking(&model).start();
    let task = asked_and_gone(&mut world, &step("x"), Parked);
    let canceled = world.rpc("CancelTask", json!({"id": task["id"]}));
    assert_eq!(state(&canceled), "CANCELED");
    assert_eq!(open_asks(&world), [Value::Null; 0]);
    completed(&world.send(message_in("c", "say more")));
    assert_eq!(ran(&world, "c"), [""; 0]);
}

#[test]
fn another_message_of_the_context_runs_while_an_ask_is_parked() {
    let model = Model::start();
    // With `asks.by_context` the message would be the answer.
    let mut world = parking(&model).config(json!({"asks": {"by_context": false}})).start();
    let task = asked_and_gone(&mut world, &step("x"), Parked);
    completed(&world.send(message_in("c", "say more")));
    assert_eq!(state(&world.task(text_of(&task, "id"))), "INPUT_REQUIRED");
    completed(&say(&world, &task, "allow"));
    assert_eq!(ran(&world, "c"), ["x"]);
}

#[test]
fn an_ask_is_answered_after_two_parks_and_a_restart() {
    let model = Model::start();
    let mut world = parking(&model).start();
    let script = format!("{}\n{}\nsay the end", step("one"), step("two"));
    let task = asked_and_gone(&mut world, &script, Parked);
    let second = say(&world, &task, "allow");
    gone(&world);
    world.restart();
    let task = say(&world, &second, "allow");
    assert!(answer(completed(&task)).ends_with("the end"), "{task:#}");
    assert_eq!(ran(&world, "c"), ["one", "two"]);
}

#[test]
fn asks_that_were_left_are_void_when_the_task_is_over() {
    let model = Model::start();
    let world = parking(&model).start();
    let task = asks(&world, "c", &two(&world));
    gone(&world);
    // The model does not make the other call again when it hears of this.
    completed(&say(&world, &task, "deny: no"));
    assert_eq!(open_asks(&world), [Value::Null; 0]);
}

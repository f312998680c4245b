//! Tasks that ask, and the answer that lets them go on.

use crate::reading::{
    answer, message, message_in, message_to, parts_text, state, states, text_of, words,
};
use crate::world::World;
use serde_json::json;

#[test]
fn an_ask_makes_the_task_wait_with_the_question() {
    let world = World::start();
    let task = world.say("say so far; ask Which colour? | red | green");
    assert_eq!((state(&task), words(&task).as_str()), ("INPUT_REQUIRED", "Which colour?"));
    let data = task["status"]["message"]["parts"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|part| part.get("data"));
    assert_eq!(data.unwrap()["options"], json!(["red", "green"]));
}

#[test]
fn a_message_to_the_task_continues_it() {
    let world = World::start();
    let asked = world.say("ask which?");
    let task = world.send(message_to(text_of(&asked, "id"), "say green it is"));
    assert_eq!(
        (&task["id"], state(&task), answer(&task).as_str()),
        (&asked["id"], "COMPLETED", "green it is")
    );
}

#[test]
fn the_history_holds_both_messages_of_the_caller_in_order() {
    let world = World::start();
    let asked = world.say("ask which?");
    let task = world.send(message_to(text_of(&asked, "id"), "say green"));
    let history = task["history"].as_array().unwrap();
    let users: Vec<String> = history
        .iter()
        .filter(|message| message["role"] == "ROLE_USER")
        .map(|message| parts_text(&message["parts"]))
        .collect();
    assert_eq!(users, ["ask which?", "say green"]);
}

#[test]
fn a_stream_of_the_sender_ends_with_the_question() {
    let world = World::start();
    let events = world.stream("SendStreamingMessage", message("say x; ask which?")).rest();
    assert_eq!(states(&events), ["SUBMITTED", "WORKING", "INPUT_REQUIRED"]);
}

#[test]
fn a_subscriber_stays_across_the_question_and_its_answer() {
    let world = World::start();
    let id = world.begin_waiting("cue go; ask which?", "go");
    let mut events = world.subscribe(&id);
    world.cue("go");
    events.until("the question", |event| event.state() == Some("INPUT_REQUIRED"));
    world.send(message_to(&id, "say done"));
    let rest = events.rest();
    assert_eq!(states(&rest).last(), Some(&"COMPLETED"));
    assert_eq!(crate::reading::streamed_answer(&rest), "done");
}

#[test]
fn a_task_that_asks_can_be_subscribed_to_and_stays_open() {
    let world = World::start();
    let id = text_of(&world.say("ask which?"), "id").to_owned();
    let mut events = world.subscribe(&id);
    assert_eq!(events.next().unwrap().state(), Some("INPUT_REQUIRED"));
    world.send(message_to(&id, "say done"));
    assert_eq!(states(&events.rest()).last(), Some(&"COMPLETED"));
}

#[test]
fn a_stream_that_continues_a_task_begins_with_the_task() {
    let world = World::start();
    let id = text_of(&world.say("ask which?"), "id").to_owned();
    let events = world.stream("SendStreamingMessage", message_to(&id, "say done")).rest();
    assert_eq!((events[0].kind(), states(&events).last()), ("task", Some(&"COMPLETED")));
}

#[test]
fn a_task_may_ask_again() {
    let world = World::start();
    let id = text_of(&world.say("ask first?"), "id").to_owned();
    let second = world.send(message_to(&id, "ask second?"));
    assert_eq!((state(&second), words(&second).as_str()), ("INPUT_REQUIRED", "second?"));
    assert_eq!(state(&world.send(message_to(&id, "say done"))), "COMPLETED");
}

#[test]
fn a_message_to_a_working_task_is_its_next_turn() {
    let world = World::start();
    let id = world.begin_waiting("cue go; say one", "go");
    let mut more = message_to(&id, "say two");
    more["configuration"] = json!({"returnImmediately": true});
    assert_eq!(state(&world.send(more)), "WORKING");
    world.cue("go");
    let task = world.await_state(&id, &["COMPLETED"]);
    assert_eq!(answer(&task), "two");
    let said: Vec<_> = task["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| text_of(&message["parts"][0], "text"))
        .collect();
    assert_eq!(said, ["cue go; say one", "say two", "one", "two"]);
}

#[test]
fn a_turn_that_fails_ends_the_task_whatever_was_to_come() {
    let world = World::start();
    let id = world.begin_waiting("cue go; state failed no", "go");
    let mut more = message_to(&id, "say two");
    more["configuration"] = json!({"returnImmediately": true});
    world.send(more);
    world.cue("go");
    world.await_state(&id, &["FAILED"]);
}

#[test]
fn a_message_to_a_finished_task_is_refused_with_advice() {
    let world = World::start();
    let id = text_of(&world.say("say done"), "id").to_owned();
    let error = world.error("SendMessage", message_to(&id, "say more"));
    assert_eq!(error["code"], -32004);
    assert!(text_of(&error, "message").contains("contextId"), "{error}");
}

#[test]
fn a_context_that_is_not_the_tasks_is_refused() {
    let world = World::start();
    let id = text_of(&world.say("ask which?"), "id").to_owned();
    let mut params = message_to(&id, "say done");
    params["message"]["contextId"] = json!("another");
    let error = world.error("SendMessage", params);
    assert_eq!(error["code"], -32602);
    assert_eq!(error["data"][1]["fieldViolations"][0]["field"], "message.contextId");
}

#[test]
fn two_answers_at_once_are_taken_one_after_the_other() {
    let world = World::start();
    let id = text_of(&world.say("ask which?"), "id").to_owned();
    std::thread::scope(|scope| {
        let send = |text: &'static str| scope.spawn(|| world.send(message_to(&id, text)));
        for reply in [send("say one"), send("say two")] {
            assert_eq!(state(&reply.join().unwrap()), "COMPLETED");
        }
    });
    let task = world.task(&id);
    let history = task["history"].as_array().unwrap();
    let users = history.iter().filter(|message| message["role"] == "ROLE_USER");
    assert_eq!(users.count(), 3);
}

#[test]
fn where_the_operator_wants_it_another_message_of_the_context_answers_no_question() {
    let world = World::describe().config(json!({"asks": {"by_context": false}})).start();
    let asked = world.say("ask which?");
    let other = world.send(message_in(text_of(&asked, "contextId"), "say something else"));
    assert_eq!(state(&other), "COMPLETED");
    assert_eq!(state(&world.task(text_of(&asked, "id"))), "INPUT_REQUIRED");
}

#[test]
fn credentials_that_are_missing_make_the_task_auth_required() {
    let world = World::start();
    let task = world.say("state auth-required sign in first");
    assert_eq!((state(&task), words(&task).as_str()), ("AUTH_REQUIRED", "sign in first"));
}

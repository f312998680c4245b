//! Two calls in one message of the model, and what is asked about each.

use super::{asks, claude, completed, data, decide, open_asks, ran, say, step};
use crate::http::{Event, Events};
use crate::reading::{answer, state, text_of};
use crate::world::World;
use fake_model::Model;
use serde_json::{Value, json};

/// Two calls in one message, both of which ask, whatever else the CLI does at the same time.
pub(super) fn two(world: &World) -> String {
    let [one, two] = ["one", "two"].map(|name| world.path(name));
    std::fs::write(&one, "first words").unwrap();
    std::fs::write(&two, "second words").unwrap();
    format!("both: read {} ;; read {}", one.display(), two.display())
}

#[test]
fn two_calls_in_one_message_are_asked_and_answered_one_after_the_other() {
    let model = Model::start();
    let world = claude(&model).start();
    let script = format!("both: {} ;; {}\nsay the end", step("one"), step("two"));
    let first = asks(&world, "c", &script);
    let second = say(&world, &first, "allow");
    assert_eq!(state(&second), "INPUT_REQUIRED", "{second:#}");
    let task = say(&world, &second, "allow");
    assert!(answer(completed(&task)).ends_with("the end"));
    let mut lines = ran(&world, "c");
    lines.sort();
    assert_eq!(lines, ["one", "two"]);
}

#[test]
fn two_asks_that_are_open_at_once_are_both_listed() {
    let model = Model::start();
    let world = claude(&model).start();
    asks(&world, "c", &two(&world));
    let listed = both(&world);
    let files = listed.each_ref().map(|ask| text_of(&ask["input"], "file_path"));
    assert!(files[0].ends_with("one") && files[1].ends_with("two"), "{files:?}");
}

/// The two asks when both are open.
pub(super) fn both(world: &World) -> [Value; 2] {
    let mut found = Vec::new();
    crate::world::await_true(std::time::Duration::from_secs(15), || {
        found = open_asks(world);
        found.len() == 2
    });
    found.try_into().unwrap_or_else(|found| panic!("two asks are open: {found:#?}"))
}

#[test]
fn two_open_asks_are_answered_in_order() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &two(&world));
    let [first, second] = both(&world);
    assert_eq!(data(&task)["askId"], first["askId"]);
    let events = world.subscribe(text_of(&task, "id"));
    let task = say(&world, &task, "allow");
    assert_eq!((state(&task), &data(&task)["askId"]), ("INPUT_REQUIRED", &second["askId"]));
    completed(&say(&world, &task, "allow"));
    each_is_heard_once(events, ["first words", "second words"]);
}

/// The results of the two calls, in whatever order they came to their ends.
fn each_is_heard_once(events: Events, words: [&str; 2]) {
    let results: Vec<String> = events
        .rest()
        .iter()
        .filter_map(Event::data)
        .filter(|data| data["kind"] == "tool-result")
        .map(|data| data["output"].to_string())
        .collect();
    for heard in words {
        let found = results.iter().filter(|result| result.contains(heard));
        assert_eq!(found.count(), 1, "{heard}: {results:#?}");
    }
}

#[test]
fn two_open_asks_are_answered_out_of_order_by_their_ids() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &two(&world));
    let [first, second] = both(&world);
    let events = world.subscribe(text_of(&task, "id"));
    let denied = json!({"askId": second["askId"], "decision": "deny", "reason": "not that one"});
    let task = decide(&world, &task, denied);
    assert_eq!((state(&task), &data(&task)["askId"]), ("INPUT_REQUIRED", &first["askId"]));
    assert_eq!(open_asks(&world).len(), 1);
    let allowed = json!({"askId": first["askId"], "decision": "allow"});
    completed(&decide(&world, &task, allowed));
    each_is_heard_once(events, ["first words", "not that one"]);
}

#[test]
fn two_subagents_at_once_are_answered_apart() {
    let model = Model::start();
    let world = claude(&model).start();
    let call = |word: &str| {
        let input = json!({
            "description": word, "prompt": step(word), "subagent_type": "general-purpose", "run_in_background": false,
        });
        format!("tool Agent {input}")
    };
    let script = format!("both: {} ;; {}", call("one"), call("two"));
    let task = asks(&world, "c", &script);
    both(&world).iter().for_each(|ask| {
        let word = text_of(&ask["input"], "command").contains("echo one");
        let decision = if word { "allow" } else { "deny" };
        decide(&world, &task, json!({"askId": ask["askId"], "decision": decision}));
    });
    world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    assert_eq!(ran(&world, "c"), ["one"]);
}

#[test]
fn canceling_voids_both_asks() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &two(&world));
    both(&world);
    world.rpc("CancelTask", json!({"id": task["id"]}));
    assert_eq!(open_asks(&world), [Value::Null; 0]);
}

#[test]
fn what_is_allowed_for_the_session_answers_the_open_ask_of_the_same_tool_too() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &two(&world));
    both(&world);
    completed(&decide(&world, &task, json!({"decision": "allow_session"})));
    assert_eq!(open_asks(&world), [Value::Null; 0]);
}

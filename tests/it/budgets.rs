//! Ceilings from outside: what is refused, what is interrupted, what a restart remembers.

use crate::reading::{answer, message, message_in, state, text_of};
use crate::world::{BOB, OWNER, World};
use serde_json::{Value, json};

fn with(budgets: Value) -> World {
    World::describe().config(json!({"budgets": budgets})).start()
}

fn words(task: &Value) -> &str {
    text_of(&task["status"]["message"]["parts"][0], "text")
}

#[test]
fn a_turn_that_would_start_at_its_ceiling_is_refused_with_its_name() {
    let world = with(json!({"caller": {"cost_usd": 0.5}}));
    world.say("say a; usage 1 1 0.5");
    let reply = world.call(OWNER, "SendMessage", &message("say b"));
    assert_eq!(reply.status, 429);
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&seconds), "{seconds}");
    let error = &reply.json()["error"];
    assert!(
        text_of(error, "message").starts_with(
            "the ceiling `budgets.caller.cost_usd` is reached: this caller has used $0.50 of $0.50 today"
        ),
        "{error}"
    );
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 1);
    let bob = world.call(BOB, "SendMessage", &message("say c"));
    assert_eq!(bob.status, 200);
}

#[test]
fn a_first_message_that_is_refused_at_a_ceiling_makes_no_folders() {
    let world = with(json!({"caller": {"tokens": 10}}));
    let folders = || {
        ["work", "state/sessions"]
            .map(|place| std::fs::read_dir(world.path(place)).unwrap().count())
    };
    world.say("say a; usage 10 0");
    let before = folders();
    for message in [message("say b"), message_in("new", "say b")] {
        assert_eq!(world.call(OWNER, "SendMessage", &message).status, 429);
    }
    assert_eq!(folders(), before);
}

#[test]
fn a_running_turn_is_interrupted_at_its_ceiling() {
    let world = with(json!({"task": {"tokens": 100}}));
    let task = world.say("say a; usage 60 39; usage 60 40; hang");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("`budgets.task.tokens`"), "{task}");
    world.await_no_agents();
    assert_eq!(answer(&world.say("say b")), "b");
}

#[test]
fn turns_side_by_side_are_counted_together() {
    let world = with(json!({"day": {"tokens": 100}}));
    let first = world.begin_waiting("usage 60 0; cue never", "never");
    let second = world.say("usage 40 0; hang");
    assert_eq!(state(&second), "FAILED");
    let first = world.await_state(&first, &["FAILED"]);
    assert!(words(&first).contains("`budgets.day.tokens`"), "{first}");
}

#[test]
fn a_context_at_its_ceiling_is_closed_and_another_is_open() {
    let world = with(json!({"session": {"tokens": 10}}));
    let send = |context: &str| {
        let message = message_in(context, "usage 10 0; say a");
        world.call(OWNER, "SendMessage", &message).status
    };
    assert_eq!([send("a"), send("a"), send("b")], [200, 429, 200]);
}

#[test]
fn a_claim_of_one_agent_leaves_the_day_to_other_callers() {
    let world = with(json!({
        "caller": {"tokens": 100, "cost_usd": 1},
        "day": {"tokens": 1000, "cost_usd": 10},
    }));
    let task = world.say("usage 1000000000000000000 0 1000000000; hang");
    assert!(words(&task).contains("`budgets.caller.cost_usd`"), "{task}");
    let bob = world.rpc_as(BOB, "SendMessage", message("say b"));
    assert_eq!(answer(&bob["task"]), "b");
}

#[test]
fn a_day_that_one_claim_could_use_up_is_said_at_the_start() {
    let world = with(json!({"day": {"tokens": 1000}}));
    assert!(world.stderr().contains("set `budgets.caller.tokens`"), "{}", world.stderr());
    let world = with(json!({"caller": {"tokens": 100}, "day": {"tokens": 1000}}));
    assert!(!world.stderr().contains("budgets.caller.tokens"), "{}", world.stderr());
}

#[test]
fn a_restart_remembers_what_was_used() {
    let mut world = with(json!({"day": {"tokens": 10}}));
    world.say("usage 10 0; say a");
    world.restart();
    let reply = world.call(OWNER, "SendMessage", &message("say b"));
    assert_eq!(reply.status, 429);
}

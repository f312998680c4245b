//! A context is a session: its messages go in order, and contexts go side by side.

use crate::activity::await_activity;
use crate::reading::{answer, message, message_in, state, text_of};
use crate::world::World;
use serde_json::json;

#[test]
fn messages_of_one_context_run_in_the_order_of_arrival() {
    let world = World::start();
    let first = world.begin_with(message_in("line", "cue go; count"));
    world.await_words(&first, "waiting go");
    let others: Vec<String> =
        (0..4).map(|_| world.begin_with(message_in("line", "count"))).collect();
    for id in &others {
        assert_eq!(state(&world.task(id)), "SUBMITTED");
    }
    world.cue("go");
    let ids = std::iter::once(&first).chain(&others);
    let sums: Vec<String> = ids.map(|id| answer(&world.await_state(id, &["COMPLETED"]))).collect();
    assert_eq!(sums, ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_context_never_has_two_agents_at_a_time() {
    let world = World::start();
    let context = uuid::Uuid::new_v4().to_string();
    let first = world.begin_with(message_in(&context, "cue go"));
    world.await_words(&first, "waiting go");
    let second = world.begin_with(message_in(&context, "say x"));
    world.say("say another context is done meanwhile");
    assert_eq!(crate::processes::marked(&format!("A2A_CONTEXT_ID={context}")).len(), 1);
    assert_eq!(state(&world.task(&second)), "SUBMITTED");
    world.cue("go");
}

#[test]
fn contexts_run_side_by_side() {
    let world = World::start();
    let ids: Vec<String> = (0..3).map(|_| world.begin("cue go; say done")).collect();
    ids.iter().for_each(|id| drop(world.await_words(id, "waiting go")));
    assert_eq!(world.agents().len(), 3);
    world.cue("go");
    ids.iter().for_each(|id| drop(world.await_state(id, &["COMPLETED"])));
}

#[test]
fn a_message_without_a_context_begins_a_new_one() {
    let world = World::start();
    let [one, two] = [world.say("count"), world.say("count")];
    assert_ne!(one["contextId"], two["contextId"]);
    assert_eq!((answer(&one), answer(&two)), ("1".to_owned(), "1".to_owned()));
}

#[test]
fn a_context_that_the_client_names_is_kept() {
    let world = World::start();
    let task = world.send(message_in("my own name, with spaces", "say x"));
    assert_eq!(task["contextId"], "my own name, with spaces");
}

#[test]
fn a_context_made_by_the_server_goes_on_under_its_id() {
    let world = World::start();
    let context = text_of(&world.say("count"), "contextId").to_owned();
    assert_eq!(answer(&world.send(message_in(&context, "count"))), "2");
}

#[test]
fn a_context_that_looks_like_a_path_is_refused() {
    let world = World::start();
    for context in ["../../etc", "a/../b", ".."] {
        let error = world.error("SendMessage", message_in(context, "say x"));
        assert_eq!(error["code"], -32602, "{context}");
    }
}

#[test]
fn the_name_of_a_context_is_never_the_name_of_a_folder() {
    let world = World::start();
    world.send(message_in("/tmp/pilothouse-name", "write note.txt x"));
    let folders: Vec<String> = std::fs::read_dir(world.path("work"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    assert!(uuid::Uuid::parse_str(&folders[0]).is_ok(), "{folders:?}");
}

#[test]
fn a_burst_of_contexts_is_all_answered() {
    let world = World::start();
    let answers = std::thread::scope(|scope| {
        let sends: Vec<_> = (0..20)
            .map(|n| {
                scope.spawn({
                    let world = &world;
                    move || answer(&world.say(&format!("say {n}")))
                })
            })
            .collect();
        sends.into_iter().map(|send| send.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(answers, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_burst_to_one_context_loses_nothing_and_counts_each_once() {
    let world = World::start();
    let mut sums = std::thread::scope(|scope| {
        let sends: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| answer(&world.send(message_in("one", "count")))))
            .collect();
        sends
            .into_iter()
            .map(|send| send.join().unwrap().parse::<u32>().unwrap())
            .collect::<Vec<_>>()
    });
    sums.sort_unstable();
    assert_eq!(sums, (1..=10).collect::<Vec<_>>());
}

#[test]
fn the_sessions_of_a_caller_are_listed_with_context_and_workspace() {
    let world = World::start();
    world.send(message_in("seen", "say x"));
    await_activity(&world, "seen", ["idle", ""]);
    let authorization = format!("Bearer {}", crate::world::OWNER);
    let reply = world.get("/api/v1/sessions", &[("Authorization", &authorization)]).json();
    let session = &reply["sessions"][0];
    assert_eq!((&session["contextId"], &session["live"]), (&json!("seen"), &json!(false)));
    let workspace = text_of(session, "workspace");
    assert!(std::path::Path::new(workspace).is_dir(), "{workspace}");
}

#[test]
fn a_second_message_may_come_before_the_first_is_answered() {
    let world = World::start();
    let mut first = world.stream("SendStreamingMessage", {
        let mut params = message("cue go; say one");
        params["message"]["contextId"] = json!("line");
        params
    });
    first.until("the cue", |event| event.words() == "waiting go");
    let second = world.begin_with(message_in("line", "say two"));
    world.cue("go");
    first.rest();
    assert_eq!(answer(&world.await_state(&second, &["COMPLETED"])), "two");
}

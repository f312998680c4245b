//! Ids as people type them: the beginning or the end of one, `last`, or none for the only open ask.

use crate::cli_asks::{pilothouse, url};
use crate::many_agents::two;
use crate::reading::{at_once, message, message_in, text_of};
use crate::world::World;
use serde_json::Value;

/// The JSON that a command prints.
fn json_of(address: &str, words: &[&str]) -> Value {
    let said = pilothouse(address, &[words, &["--json"]].concat());
    assert_eq!(said.code, Some(0), "{words:?}: {}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

fn end_of(id: &str) -> &str {
    &id[id.len() - 8..]
}

#[test]
fn the_end_of_an_id_or_last_names_a_task_a_session_and_a_context_of_any_agent() {
    let world = two().start();
    let address = url(world.address());
    let sent = pilothouse(&address, &["send", "say green", "--agent", "other"]);
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    let listed = json_of(&address, &["tasks", "list"]);
    assert_eq!(text_of(&listed[0], "agent"), "other");
    let (task, context) = (text_of(&listed[0], "id"), text_of(&listed[0], "contextId"));
    for id in [task, end_of(task), "last"] {
        assert_eq!(text_of(&json_of(&address, &["tasks", "get", id]), "id"), task, "{id}");
        let watched = pilothouse(&address, &["tasks", "watch", id]);
        assert_eq!((watched.code, &*watched.out), (Some(0), "green\n"), "{id}: {}", watched.err);
    }
    for id in [context, end_of(context), "last"] {
        let session = json_of(&address, &["sessions", "show", id]);
        assert_eq!(text_of(&session, "contextId"), context, "{id}");
        let sent = pilothouse(&address, &["send", "-c", id, "say again"]);
        assert!(sent.err.contains(&format!("context {context} ")), "{id}: {}", sent.err);
    }
    assert_eq!(
        json_of(&address, &["tasks", "list", "--context", "last"]).as_array().unwrap().len(),
        4
    );
}

#[test]
fn a_context_that_no_session_has_begins_under_the_name_that_was_given() {
    let world = World::start();
    let address = url(world.address());
    world.send(message_in("maintenance", "say x"));
    for (option, name) in [("-c", "main"), ("--new-context", "beef")] {
        let sent = pilothouse(&address, &["send", option, name, "say new"]);
        assert!(sent.err.contains(&format!("context {name} ")), "{}", sent.err);
    }
    let sent = pilothouse(&address, &["send", "-c", "cafe", "say new"]);
    assert!(sent.err.contains("no conversation begins or ends with `cafe`"), "{}", sent.err);
}

#[test]
fn an_ambiguous_id_lists_the_tasks_that_it_may_mean() {
    let world = World::start();
    let address = url(world.address());
    let tasks = [(); 2].map(|()| {
        let sent = world.send(message("say x"));
        text_of(&sent, "id").to_owned()
    });
    // Both ids begin with the same time.
    let begin = &tasks[0][..4];
    let said = pilothouse(&address, &["tasks", "get", begin]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains(&format!("`{begin}` may be one of 2 tasks")), "{}", said.err);
    assert!(tasks.iter().all(|task| said.err.contains(task)), "{}", said.err);
}

#[test]
fn the_only_open_ask_is_answered_without_an_id_and_of_several_each_by_its_own() {
    let world = two().start();
    let address = url(world.address());
    let none = pilothouse(&address, &["answer", "red"]);
    assert_eq!((none.code, &*none.err), (Some(2), "pilothouse: nothing waits for an answer\n"));
    pilothouse(&address, &["send", "ask Which colour?", "--agent", "other"]);
    let only = pilothouse(&address, &["answer", "say green"]);
    assert_eq!((only.code, &*only.out), (Some(0), "green\n"), "{}", only.err);

    for agent in ["fake", "other"] {
        pilothouse(&address, &["send", "ask Which colour?", "--agent", agent]);
    }
    let several = pilothouse(&address, &["deny"]);
    assert_eq!(several.code, Some(2));
    assert!(several.err.contains("2 asks are open; name one of them:"), "{}", several.err);
    let asks = json_of(&address, &["tasks", "asks"]);
    let forgotten = pilothouse(&address, &["answer", end_of(text_of(&asks[0], "askId"))]);
    assert!(
        forgotten.err.contains("is an open ask; what is the answer to it?"),
        "{}",
        forgotten.err
    );
    for (ask, name) in asks.as_array().unwrap().iter().zip(["askId", "taskId"]) {
        let said = pilothouse(&address, &["answer", end_of(text_of(ask, name)), "say blue"]);
        assert_eq!((said.code, &*said.out), (Some(0), "blue\n"), "{name}: {}", said.err);
    }
}

#[test]
fn a_task_that_waits_is_cancelled_by_the_end_of_its_id() {
    let world = World::start();
    let address = url(world.address());
    let task = world.send(at_once(message("ask Which?")));
    let said = pilothouse(&address, &["tasks", "cancel", end_of(text_of(&task, "id"))]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with("canceled"), "{}", said.out);
}

//! `ListTasks`: pages, filters, order.

use crate::reading::{answer, message_in, text_of};
use crate::world::{BOB, World};
use serde_json::{Value, json};

fn ids(page: &Value) -> Vec<String> {
    page["tasks"].as_array().unwrap().iter().map(|task| text_of(task, "id").to_owned()).collect()
}

fn said(world: &World, count: usize) -> Vec<String> {
    (0..count).map(|n| text_of(&world.say(&format!("say {n}")), "id").to_owned()).collect()
}

#[test]
fn the_newest_status_comes_first() {
    let world = World::start();
    let mut made = said(&world, 3);
    made.reverse();
    assert_eq!(ids(&world.rpc("ListTasks", json!({}))), made);
}

#[test]
fn pages_hold_every_task_once() {
    let world = World::start();
    let mut made = said(&world, 5);
    made.reverse();
    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = world.rpc("ListTasks", json!({"pageSize": 2, "pageToken": token}));
        seen.extend(ids(&page));
        token = text_of(&page, "nextPageToken").to_owned();
        pages += 1;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((seen, pages), (made, 3));
}

#[test]
fn the_token_of_the_next_page_is_always_there() {
    let world = World::start();
    let page = world.rpc("ListTasks", json!({}));
    assert_eq!(page, json!({"tasks": [], "nextPageToken": "", "pageSize": 50, "totalSize": 0}));
}

#[test]
fn a_page_tells_its_size_and_how_many_there_are() {
    let world = World::start();
    said(&world, 3);
    let page = world.rpc("ListTasks", json!({"pageSize": 2}));
    assert_eq!((&page["pageSize"], &page["totalSize"]), (&json!(2), &json!(3)));
}

#[test]
fn a_last_page_that_is_full_has_no_next() {
    let world = World::start();
    said(&world, 2);
    assert_eq!(world.rpc("ListTasks", json!({"pageSize": 2}))["nextPageToken"], "");
}

#[test]
fn a_context_is_a_filter() {
    let world = World::start();
    said(&world, 1);
    let wanted = world.send(message_in("wanted", "say x"));
    assert_eq!(
        ids(&world.rpc("ListTasks", json!({"contextId": "wanted"}))),
        [text_of(&wanted, "id")]
    );
}

#[test]
fn a_state_is_a_filter() {
    let world = World::start();
    said(&world, 1);
    let failed = world.say("exit 3");
    assert_eq!(
        ids(&world.rpc("ListTasks", json!({"status": "TASK_STATE_FAILED"}))),
        [text_of(&failed, "id")]
    );
}

#[test]
fn the_time_of_the_status_is_a_filter() {
    let world = World::start();
    let old = world.say("say old");
    let new = crate::processes::await_some("a later millisecond", crate::world::PATIENCE, || {
        let new = world.say("say new");
        (new["status"]["timestamp"] != old["status"]["timestamp"]).then_some(new)
    });
    let listed =
        ids(&world.rpc("ListTasks", json!({"statusTimestampAfter": new["status"]["timestamp"]})));
    assert!(!listed.contains(&text_of(&old, "id").to_owned()), "{listed:?}");
}

#[test]
fn artifacts_are_left_out_unless_asked_for() {
    let world = World::start();
    world.say("say words");
    let without = world.rpc("ListTasks", json!({}));
    let with = world.rpc("ListTasks", json!({"includeArtifacts": true}));
    assert_eq!(
        (answer(&without["tasks"][0]).as_str(), answer(&with["tasks"][0]).as_str()),
        ("", "words")
    );
}

#[test]
fn the_tasks_of_another_caller_are_not_listed() {
    let world = World::start();
    said(&world, 2);
    assert_eq!(world.rpc_as(BOB, "ListTasks", json!({}))["totalSize"], 0);
}

#[test]
fn a_page_size_outside_of_1_to_100_is_refused() {
    let world = World::start();
    for size in [0, -1, 101] {
        assert_eq!(world.error("ListTasks", json!({"pageSize": size}))["code"], -32602);
    }
}

#[test]
fn a_page_token_of_nobody_is_refused() {
    let world = World::start();
    assert_eq!(world.error("ListTasks", json!({"pageToken": "../../etc"}))["code"], -32602);
}

#[test]
fn a_list_since_a_time_has_what_has_moved_since_then_without_a_change_of_state() {
    let world = World::start();
    let id = world.begin_waiting("cue go; cue end", "go");
    world.cue("go");
    let moved = world.await_words(&id, "waiting end");
    let since = json!({"statusTimestampAfter": moved["status"]["timestamp"]});
    assert_eq!(world.rpc("ListTasks", since)["totalSize"], 1);
    world.cue("end");
}

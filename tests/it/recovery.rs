//! Starting again: after an end in order and after `kill -9`.

use crate::reading::{answer, at_once, message, message_in, message_to, state, text_of, words};
use crate::world::{OWNER, World};
use serde_json::json;

#[test]
fn finished_tasks_are_read_after_a_restart_as_before() {
    let mut world = World::start();
    let task = world.say("say a; status b; artifact n c; usage 1 2 0.5; say d");
    world.restart();
    assert_eq!(world.task(text_of(&task, "id")), task);
}

#[test]
fn acknowledged_tasks_are_there_after_kill_9() {
    let mut world = World::start();
    let tasks: Vec<_> = (0..5).map(|n| world.say(&format!("say {n}"))).collect();
    world.kill9();
    world.restart();
    for task in &tasks {
        assert_eq!(world.task(text_of(task, "id")), *task);
    }
}

#[test]
fn a_running_task_has_failed_after_kill_9_and_says_why() {
    let mut world = World::start();
    let id = world.begin_waiting("say half; cue never", "never");
    world.kill9();
    world.nothing_is_left();
    world.restart();
    let task = world.task(&id);
    assert_eq!((state(&task), answer(&task).as_str()), ("FAILED", "half"));
    assert!(words(&task).contains("server ended"), "{}", words(&task));
}

#[test]
fn the_session_of_a_task_that_was_cut_off_counts_as_used_until_then() {
    let mut world = World::start();
    world.send(message_in("first", "say a"));
    let cut_off = world.begin_with(message_in("first", "cue never"));
    world.await_words(&cut_off, "waiting never");
    world.send(message_in("second", "say b"));
    world.kill9();
    world.restart();
    let listed =
        world.get("/api/v1/sessions", &[("Authorization", &format!("Bearer {OWNER}"))]).json();
    let contexts = listed["sessions"].as_array().unwrap().iter();
    let contexts: Vec<_> = contexts.map(|session| text_of(session, "contextId")).collect();
    assert_eq!(contexts, ["first", "second"]);
}

#[test]
fn a_waiting_task_runs_after_kill_9() {
    let mut world = World::start();
    let first = world.begin_with(message_in("line", "cue never"));
    world.await_words(&first, "waiting never");
    let second = world.begin_with(message_in("line", "say second"));
    assert_eq!(state(&world.task(&second)), "SUBMITTED");
    world.kill9();
    world.restart();
    assert_eq!(answer(&world.await_state(&second, &["COMPLETED"])), "second");
    assert_eq!(state(&world.task(&first)), "FAILED");
}

#[test]
fn waiting_tasks_of_one_context_run_in_their_old_order() {
    let mut world = World::start();
    let first = world.begin_with(message_in("line", "cue never"));
    world.await_words(&first, "waiting never");
    let ids: Vec<String> = (0..4).map(|_| world.begin_with(message_in("line", "count"))).collect();
    world.kill9();
    world.restart();
    let sums: Vec<String> =
        ids.iter().map(|id| answer(&world.await_state(id, &["COMPLETED"]))).collect();
    assert_eq!(sums, ["1", "2", "3", "4"]);
}

#[test]
fn each_message_of_a_waiting_task_runs_after_kill_9() {
    let mut world = World::start();
    let first = world.begin_with(message_in("line", "cue never"));
    world.await_words(&first, "waiting never");
    let waiting = world.begin_with(message_in("line", "count"));
    for _ in 0..2 {
        let task = world.send(at_once(message_to(&waiting, "count")));
        assert_eq!(state(&task), "SUBMITTED");
    }
    world.kill9();
    world.restart();
    assert_eq!(answer(&world.await_state(&waiting, &["COMPLETED", "FAILED"])), "3");
}

#[test]
fn a_message_that_is_sent_again_after_kill_9_is_the_task_that_waited() {
    let mut world = World::start();
    let first = world.begin_with(message_in("line", "cue never"));
    world.await_words(&first, "waiting never");
    let sent = message_in("line", "cue go; say once");
    let waiting = world.begin_with(sent.clone());
    world.kill9();
    world.restart();
    assert_eq!(world.begin_with(sent), waiting);
    world.cue("go");
    assert_eq!(answer(&world.await_state(&waiting, &["COMPLETED", "FAILED"])), "once");
}

#[test]
fn a_fork_that_waits_is_a_fork_after_kill_9() {
    let mut world = World::describe().config(json!({"processes": {"max": 1}})).start();
    world.send(message_in("kept", "write note.txt kept"));
    let first = world.begin_with(message_in("line", "cue never"));
    world.await_words(&first, "waiting never");
    let mut fork = message("read note.txt");
    fork["message"]["metadata"] = json!({"fork": {"contextId": "kept"}});
    let waiting = world.begin_with(fork);
    assert_eq!(state(&world.task(&waiting)), "SUBMITTED");
    world.kill9();
    world.restart();
    let task = world.await_state(&waiting, &["COMPLETED", "FAILED"]);
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "kept"));
}

#[test]
fn a_waiting_task_runs_after_a_restart_in_order_too() {
    let mut world = World::start();
    let first = world.begin_with(message_in("line", "cue never"));
    world.await_words(&first, "waiting never");
    let second = world.begin_with(message_in("line", "say second"));
    world.restart();
    let task = world.await_state(&second, &["COMPLETED", "FAILED"]);
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "second"));
}

#[test]
fn a_task_that_asks_still_asks_after_kill_9_and_is_continued() {
    let mut world = World::start();
    let asked = world.say("ask which?");
    world.kill9();
    world.restart();
    let id = text_of(&asked, "id");
    assert_eq!(world.task(id), asked);
    let task = world.send(message_to(id, "say green"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "green"));
}

#[test]
fn a_session_keeps_its_workspace_over_a_restart() {
    let mut world = World::start();
    world.send(message_in("kept", "count"));
    world.kill9();
    world.restart();
    assert_eq!(answer(&world.send(message_in("kept", "count"))), "2");
}

#[test]
fn a_v0_1_id_is_known_after_a_restart() {
    let mut world = World::start();
    let params = json!({"id": "my-id", "message": {"role": "user", "parts": [{"type": "text", "text": "say x"}]}});
    let sent = world.rpc("tasks/send", params);
    world.restart();
    assert_eq!(world.rpc("tasks/get", json!({"id": "my-id"})), sent);
}

#[test]
fn no_event_number_is_used_twice_after_kill_9() {
    let mut world = World::start();
    let id = world.begin_waiting("say half; cue never", "never");
    let mut events = world.subscribe(&id);
    let seen = events.next().unwrap().id.unwrap();
    drop(events);
    world.kill9();
    world.restart();
    let later = world.resume(&id, seen);
    assert_eq!(later.last().unwrap().state(), Some("FAILED"));
    assert!(later[1..].iter().all(|event| event.id.unwrap() > seen), "{later:#?}");
}

#[test]
fn streamed_text_survives_kill_9() {
    let mut world = World::start();
    let mut events =
        world.stream("SendStreamingMessage", message("repeat 100 0 line {i}; cue never"));
    let seen = events.until("the cue", |event| event.words() == "waiting never");
    drop(events);
    world.kill9();
    world.restart();
    let told = crate::reading::streamed_answer(&seen);
    assert_eq!(answer(&world.task(seen[0].task_id())), told);
}

#[test]
fn a_second_server_on_the_same_state_is_refused_and_the_holder_named() {
    let world = World::start();
    let state = world.path("state").to_str().unwrap().to_owned();
    let failure = World::describe().config(json!({"state_dir": state})).fails();
    assert_eq!(failure.code, Some(69));
    assert!(failure.stderr.contains(&world.pid().to_string()), "{}", failure.stderr);
    assert_eq!(answer(&world.say("say still here")), "still here");
}

#[test]
fn a_list_begun_before_a_restart_goes_on_after_it() {
    let mut world = World::start();
    (0..4).for_each(|n| drop(world.say(&format!("say {n}"))));
    let first = world.rpc("ListTasks", json!({"pageSize": 2}));
    world.restart();
    let second =
        world.rpc("ListTasks", json!({"pageSize": 2, "pageToken": first["nextPageToken"]}));
    let ids: std::collections::BTreeSet<&str> = [&first, &second]
        .into_iter()
        .flat_map(|page| page["tasks"].as_array().unwrap())
        .map(|task| text_of(task, "id"))
        .collect();
    assert_eq!(ids.len(), 4);
}

//! Bounds on processes and queues, and what happens at them.

use crate::building::Builder;
use crate::http::Event;
use crate::processes::await_some;
use crate::reading::{answer, message, message_in, state, text_of, words};
use crate::world::{BOB, OWNER, PATIENCE, World, await_true};
use serde_json::json;

fn one_process() -> World {
    World::describe().config(json!({"processes": {"max": 1}})).start()
}

#[test]
fn at_the_bound_of_processes_another_context_waits_and_then_runs() {
    let world = one_process();
    let first = world.begin_waiting("cue go; say one", "go");
    let second = world.begin("say two");
    assert_eq!(state(&world.task(&second)), "SUBMITTED");
    assert_eq!(world.agents().len(), 1);
    world.cue("go");
    assert_eq!(answer(&world.await_state(&second, &["COMPLETED"])), "two");
    assert_eq!(state(&world.task(&first)), "COMPLETED");
}

#[test]
fn many_contexts_share_one_place_and_all_run() {
    let world = one_process();
    let ids: Vec<String> = (0..8).map(|n| world.begin(&format!("say {n}"))).collect();
    let answers: Vec<String> =
        ids.iter().map(|id| answer(&world.await_state(id, &["COMPLETED"]))).collect();
    assert_eq!(answers, (0..8).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_canceled_waiting_task_gives_its_place_to_the_next() {
    let world = one_process();
    world.begin_waiting("cue go", "go");
    let [second, third] = ["say two", "say three"].map(|script| world.begin(script));
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": second}))), "CANCELED");
    world.cue("go");
    assert_eq!(answer(&world.await_state(&third, &["COMPLETED"])), "three");
}

#[test]
fn a_full_queue_is_429_and_says_when_to_try_again() {
    let world = World::describe().config(json!({"processes": {"max": 1, "queue": 2}})).start();
    world.begin_waiting("cue go", "go");
    let waiting = [world.begin("say a"), world.begin("say b")];
    let reply = world.call(OWNER, "SendMessage", &message("say c"));
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert!(text_of(&reply.json()["error"], "message").contains("processes.queue"));
    world.cue("go");
    waiting.iter().for_each(|id| drop(world.await_state(id, &["COMPLETED"])));
    assert_eq!(answer(&world.say("say again")), "again");
}

#[test]
fn the_queue_of_one_context_is_bounded_too() {
    let world = World::describe().config(json!({"processes": {"queue": 1}})).start();
    let first = world.begin_with(message_in("line", "cue go"));
    world.await_words(&first, "waiting go");
    let second = world.begin_with(message_in("line", "say two"));
    assert_eq!(world.call(OWNER, "SendMessage", &message_in("line", "say three")).status, 429);
    world.cue("go");
    world.await_state(&second, &["COMPLETED"]);
}

#[test]
fn a_task_refused_at_a_full_queue_leaves_no_trace() {
    let world = World::describe().config(json!({"processes": {"max": 1, "queue": 0}})).start();
    world.begin_waiting("cue go", "go");
    assert_eq!(world.call(OWNER, "SendMessage", &message("say x")).status, 429);
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 1);
    world.cue("go");
}

#[test]
fn reading_goes_on_while_all_places_are_taken() {
    let world = one_process();
    let done = text_of(&world.say("say done"), "id").to_owned();
    world.begin_waiting("cue go", "go");
    assert_eq!(state(&world.task(&done)), "COMPLETED");
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 2);
    world.cue("go");
}

#[test]
fn every_call_that_changes_something_counts_against_the_rate_and_reading_does_not() {
    let world = World::describe().config(json!({"limits": {"rate": 2}})).start();
    let token = format!("Bearer {OWNER}");
    let post = |path: &str| world.post(path, &[("Authorization", &token)], b"{}").status;
    let changes = ["/api/v1/asks/none", "/api/v1/sessions/none/attach"];
    for path in changes {
        assert_eq!(post(path), 404, "{path}");
    }
    for path in changes {
        assert_eq!(post(path), 429, "{path}");
    }
    assert_eq!(world.call(OWNER, "SendMessage", &message("say x")).status, 429);
    for change in ["CreateTaskPushNotificationConfig", "DeleteTaskPushNotificationConfig"] {
        let hook = json!({"taskId": "none", "id": "none", "url": "https://example.com/"});
        assert_eq!(world.call(OWNER, change, &hook).status, 429, "{change}");
    }
    for path in ["/api/v1/asks", "/api/v1/sessions"] {
        assert_eq!(world.get(path, &[("Authorization", &token)]).status, 200, "{path}");
    }
}

#[test]
fn ready_tells_the_processes_and_who_waits() {
    let world = one_process();
    world.begin_waiting("cue go", "go");
    let second = world.begin("say x");
    let ready = world.readiness();
    assert_eq!(
        (&ready["processes"], &ready["waiting"]),
        (&json!({"live": 1, "max": 1}), &json!(1))
    );
    world.cue("go");
    world.await_state(&second, &["COMPLETED"]);
    await_some("the place", PATIENCE, || {
        (world.readiness()["processes"]["live"] == 0).then_some(())
    });
}

#[test]
fn connections_above_the_bound_are_served_one_after_the_other() {
    let world = World::describe()
        .config(json!({"limits": {"connections": 2, "connections_per_caller": 2}}))
        .start();
    let answers = std::thread::scope(|scope| {
        let sends: Vec<_> = (0..6).map(|_| scope.spawn(|| answer(&world.say("say x")))).collect();
        sends.into_iter().map(|send| send.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(answers, ["x"; 6]);
}

#[test]
fn old_tasks_are_told_by_the_memory_store_to_nobody_after_a_restart() {
    let mut world = World::describe().config(json!({"store": {"path": "memory"}})).start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    world.restart();
    assert_eq!(world.error("GetTask", json!({"id": id}))["code"], -32001);
}

#[test]
fn a_store_in_memory_writes_neither_database_nor_token() {
    let world = World::describe()
        .config(json!({"store": {"path": "memory"}, "auth": {"token": null, "tokens": null}}))
        .start();
    let told = world.stderr();
    let token =
        told.lines().find_map(|line| line.trim().strip_prefix("TOKEN=")).unwrap().to_owned();
    let mut task = world.rpc_as(&token, "SendMessage", message("say x"));
    assert_eq!(answer(&task["task"].take()), "x");
    let mut names: Vec<String> = std::fs::read_dir(world.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("db") || name.contains("token"))
        .collect();
    names.sort();
    assert_eq!(names, [""; 0]);
}

// === long lines of agents ===

/// A world whose agent is this shell script, which writes events.
fn writes(script: &str) -> Builder {
    World::describe().agent(json!({"program": "/bin/sh", "args": ["-c", script, "sh"]}))
}

/// The beginning of an event whose text has 200 kB.
const LONG: &str = r#"printf '{"type":"text","text":"'; head -c 200000 /dev/zero | tr '\0' x"#;

#[test]
fn a_line_of_too_many_values_fails_the_turn_and_names_the_key() {
    let script = r#"printf '{"type":"tool","id":"1","name":"x","input":['; yes '{},' | head -n 150000 | tr -d '\n'; printf '0]}\n'"#;
    let task = writes(script).start().say("go");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("`limits.line_values`"), "{}", words(&task));
}

#[test]
fn a_text_longer_than_is_kept_of_a_line_is_cut_and_says_so() {
    let script = format!("{LONG}; echo '\"}}'; {}", r#"echo '{"type":"text","text":" end"}'"#);
    let world = writes(&script).config(json!({"limits": {"line": "64KiB"}})).start();
    let events = world.stream("SendStreamingMessage", message("go")).rest();
    let is_cut = |event: &Event| event.data().is_some_and(|data| data["kind"] == "cut");
    let told = events.iter().find(|event| is_cut(event)).unwrap().words();
    assert!(told.contains("`limits.line`"), "{told}");
    let task = world.task(events[0].task_id());
    let answer = answer(&task);
    assert_eq!(state(&task), "COMPLETED");
    let (kept, end) = answer.split_at(answer.len() - 60);
    assert!(kept.len() < 32 * 1024 && kept.starts_with("xxx"), "{}", kept.len());
    assert!(end.ends_with("`limits.line` bounds what is kept of a line] end"), "{end}");
}

#[test]
fn a_file_longer_than_is_kept_of_a_line_is_left_out_and_says_so() {
    let script = r#"printf '{"type":"artifact","name":"film","raw":"'; head -c 200000 /dev/zero | tr '\0' A; echo '"}'"#;
    let world = writes(script).config(json!({"limits": {"line": "64KiB"}})).start();
    let events = world.stream("SendStreamingMessage", message("go")).rest();
    let told: Vec<String> = events.iter().map(Event::words).collect();
    let left_out =
        "the artifact film is larger than what is kept of a line (`limits.line`) and is left out";
    assert!(told.iter().any(|told| told == left_out), "{told:?}");
    assert_eq!(events.last().unwrap().state(), Some("COMPLETED"));
}

#[test]
fn a_line_above_the_longest_fails_the_turn_and_names_the_key() {
    let script = format!("{LONG}; echo '\"}}'");
    let limits = json!({"limits": {"line": "64KiB", "longest_line": "128KiB"}});
    let task = writes(&script).config(limits).start().say("go");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("`limits.longest_line`"), "{}", words(&task));
}

#[test]
fn a_long_line_that_does_not_end_fails_the_turn_and_names_the_key() {
    let world =
        writes(&format!("{LONG}; sleep 60")).config(json!({"timeouts": {"line": "300ms"}})).start();
    let task = world.say("go");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("`timeouts.line`"), "{}", words(&task));
}

/// A world whose agents write a long line, and end it when there is a cue of their prompt's name; a cue tells
/// that they began, and that all of it is read up to its end. `short` writes a short line.
fn writes_long_lines(lines: &str) -> World {
    let end = r#"; while [ ! -e "$FAKE_AGENT_CUES/$1" ]; do sleep 0.01; done; echo '"}'"#;
    let script = format!(
        r#"case $1 in short) echo '{{"type":"text","text":"short"}}';; *) touch "$FAKE_AGENT_CUES/$1-began"; {LONG}; touch "$FAKE_AGENT_CUES/$1-wrote"{end};; esac"#
    );
    writes(&script).config(json!({"limits": {"line": "300KiB", "lines": lines}})).start()
}

fn has_cue(world: &World, cue: &str) -> bool {
    world.path("cues").join(cue).exists()
}

#[test]
fn an_agent_with_a_long_line_waits_for_the_place_of_another_and_short_lines_wait_for_none() {
    let world = writes_long_lines("300KiB");
    let has = |cue: &str| has_cue(&world, cue);
    let first = world.begin("first");
    // All of it is read, so the place is taken.
    assert!(await_true(world.patience(), || has("first-wrote")));
    let second = world.begin("second");
    assert!(await_true(world.patience(), || has("second-began")));
    assert_eq!(answer(&world.say("short")), "short");
    assert!(!has("second-wrote"));
    world.cue("second");
    world.cue("first");
    world.await_state(&first, &["COMPLETED"]);
    world.await_state(&second, &["COMPLETED"]);
}

#[test]
fn a_caller_whose_agents_write_long_lines_leaves_room_for_those_of_another() {
    let world = writes_long_lines("600KiB");
    let first = world.begin("first");
    assert!(await_true(world.patience(), || has_cue(&world, "first-wrote")));
    let second = world.begin("second");
    assert!(await_true(world.patience(), || has_cue(&world, "second-began")));
    // The second line of the owner waits, although there is room: it is another caller's.
    world.cue("bobs");
    let task = world.rpc_as(BOB, "SendMessage", message("bobs"));
    assert_eq!(state(&task["task"]), "COMPLETED", "{task:#}");
    assert!(!has_cue(&world, "second-wrote"));
    world.cue("second");
    world.cue("first");
    world.await_state(&first, &["COMPLETED"]);
    world.await_state(&second, &["COMPLETED"]);
}

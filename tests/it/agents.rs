//! What agents write and how they end, however odd.

use crate::reading::{answer, message, state, words};
use crate::world::{OWNER, World};
use serde_json::{Value, json};
use std::io::Read;
use std::time::{Duration, Instant};

fn argument(more: Value) -> World {
    World::describe().agent(more).start()
}

// === what they write ===

#[test]
fn bytes_that_are_not_utf_8_come_as_replacement_characters() {
    let world = argument(json!({"format": "text", "args": []}));
    let task = world.say("invalid; say after");
    assert_eq!(answer(&task), "caf\u{fffd} \u{fffd}\u{fffd}\nafter\n");
}

#[test]
fn a_nul_of_the_agent_comes_back() {
    let world = argument(json!({"format": "text", "args": []}));
    assert_eq!(answer(&world.say("nul")), "a\u{0}b\n");
}

#[test]
fn a_character_that_two_writes_cut_in_two_comes_back_whole() {
    let script = r"printf '\303'; sleep 0.05; printf '\251\n'";
    let world = argument(json!({"program": "/bin/sh", "args": ["-c", script], "format": "text"}));
    assert_eq!(answer(&world.say("x")), "é\n");
}

#[test]
fn a_line_above_the_limit_fails_the_task_and_says_which_limit() {
    let world = World::describe().config(json!({"limits": {"line": "64KiB"}})).start();
    let task = world.say("say before; bigline 100000; hang");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("limits.line"), "{}", words(&task));
    world.await_no_agents();
}

#[test]
fn an_answer_above_the_limit_fails_the_task_and_says_which_limit() {
    let world =
        World::describe().config(json!({"limits": {"answer": "1MiB", "line": "1MiB"}})).start();
    let task = world.say("flood 3000000; hang");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("limits.answer"), "{}", words(&task));
}

#[test]
fn events_above_the_limit_of_a_turn_fail_the_task_and_are_stored_no_further() {
    let script = r#"trap '' TERM; line=$(head -c 4000 /dev/zero | tr '\0' x)
        while :; do echo "{\"type\":\"status\",\"text\":\"$line\"}"; done"#;
    let world = World::describe()
        .config(json!({"limits": {"turn_events": "1MiB"}}))
        .agent(json!({"program": "/bin/sh", "args": ["-c", script]}))
        .start();
    let task = world.say("flood");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("limits.turn_events"), "{}", words(&task));
    world.await_no_agents();
    let files = ["pilothouse.db", "pilothouse.db-wal"];
    let sizes = files.map(|name| std::fs::metadata(world.path("state").join(name)).unwrap().len());
    assert!(sizes.iter().sum::<u64>() < 8 << 20, "{sizes:?}");
}

#[test]
fn the_text_of_an_answer_is_not_counted_among_the_events_of_a_turn() {
    let world = World::describe().config(json!({"limits": {"turn_events": "256KiB"}})).start();
    assert_eq!(state(&world.say("flood 3000000")), "COMPLETED");
}

#[test]
fn lines_that_are_no_events_do_no_harm() {
    let world = World::start();
    let task = world.say("line plain words; line [1,2]; line {\"type\":\"unheard-of\"}; line {\"type\":5}; invalid; say done");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "done"));
}

#[test]
fn output_of_100_megabytes_streams_whole() {
    const BYTES: usize = 100_000_000;
    let world = World::describe()
        .config(json!({"log": {"console": false}}))
        .agent(json!({"format": "text", "args": []}))
        .patience(Duration::from_secs(60))
        .start();
    let began = Instant::now();
    let mut events = world.stream("SendStreamingMessage", message(&format!("flood {BYTES}")));
    let (mut bytes, mut last, mut id) = (0, None, String::new());
    while let Some(event) = events.next() {
        bytes += if event.kind() == "artifactUpdate" { event.words().len() } else { 0 };
        event.task_id().clone_into(&mut id);
        last = event.state().map(ToOwned::to_owned).or(last);
    }
    assert_eq!((bytes, last.as_deref()), (BYTES, Some("COMPLETED")));
    let authorization = format!("Bearer {OWNER}");
    let mut whole = world.ask(
        "GET",
        &format!("/api/v1/tasks/{id}/answer"),
        &[("Authorization", &authorization)],
        b"",
    );
    let mut counted = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match whole.body.read(&mut buffer).unwrap() {
            0 => break,
            size => counted += size,
        }
    }
    assert_eq!(counted, BYTES);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn a_task_too_large_for_a_response_says_where_the_rest_is() {
    let world = World::describe().config(json!({"limits": {"response": "1MiB"}})).start();
    let task = world.say("flood 3000000");
    assert!(task.to_string().len() < 2_000_000, "{} bytes", task.to_string().len());
    let parts = crate::reading::artifact(&task, "answer")["parts"].as_array().unwrap();
    let url = parts.iter().find_map(|part| part["url"].as_str()).unwrap();
    let reply = world.get(url, &[("Authorization", &format!("Bearer {OWNER}"))]);
    assert_eq!((reply.status, reply.body.len()), (200, 3_000_000));
}

#[test]
fn a_late_subscriber_of_a_huge_answer_gets_all_of_it() {
    let world = World::start();
    let id = world.begin_waiting("flood 3000000; cue go", "go");
    let events = world.subscribe(&id);
    world.cue("go");
    let events = events.rest();
    assert_eq!(events[0].kind(), "task");
    assert_eq!(crate::reading::streamed_answer(&events).len(), 3_000_000);
}

// === how they end ===

#[test]
fn an_agent_that_exits_at_once_fails_the_task_with_its_code_and_last_words() {
    let world = World::start();
    let task = world.say("err something is missing; exit 3");
    assert_eq!(state(&task), "FAILED");
    let words = words(&task);
    assert!(words.contains("code 3") && words.contains("something is missing"), "{words}");
}

#[test]
fn an_agent_ended_by_a_signal_fails_the_task_with_the_signals_name() {
    let world = World::start();
    for (number, name) in [(9, "SIGKILL"), (15, "SIGTERM"), (6, "SIGABRT")] {
        let task = world.say(&format!("signal {number}; hang"));
        assert_eq!(state(&task), "FAILED");
        assert!(words(&task).contains(name), "{}", words(&task));
    }
}

#[test]
fn what_a_failing_agent_said_is_kept() {
    let task = World::start().say("say half of it; exit 1");
    assert_eq!((state(&task), answer(&task).as_str()), ("FAILED", "half of it"));
}

#[test]
fn a_flood_of_errors_keeps_its_last_words() {
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo 'error line number' $i >&2; i=$((i+1)); done; exit 5";
    let world = argument(json!({"program": "/bin/sh", "args": ["-c", script], "format": "text"}));
    let task = world.say("x");
    assert_eq!(state(&task), "FAILED");
    let words = words(&task);
    assert!(words.contains("number 19999") && words.len() < 70_000, "{} bytes", words.len());
}

#[test]
fn a_program_that_vanishes_fails_the_task_and_names_it() {
    let builder = World::describe();
    let program = builder.path("vanishing");
    crate::building::copy_program("/bin/true".as_ref(), &program);
    let world = builder.agent(json!({"program": program})).start();
    std::fs::remove_file(world.path("vanishing")).unwrap();
    let task = world.say("x");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("vanishing"), "{}", words(&task));
}

#[test]
fn a_child_that_keeps_the_output_open_does_not_keep_the_task() {
    let world = World::start();
    let task = world.say("fork hold; say done");
    assert_eq!(state(&task), "COMPLETED");
    world.await_no_agents();
}

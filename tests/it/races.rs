//! Things that happen at the same time, and readers that are slow.

use crate::http::Event;
use crate::processes::{await_some, find};
use crate::reading::{
    answer, at_once, message, message_in, message_to, state, states, streamed_answer, text_of,
};
use crate::world::{OWNER, PATIENCE, World};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_cancel_and_the_end_of_the_task_agree_on_who_was_first() {
    let world = World::start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let id = world.begin("say x");
                    let reply = world.call(OWNER, "CancelTask", &json!({"id": id})).json();
                    let end = world.task(&id);
                    match reply.get("result") {
                        Some(task) => {
                            assert_eq!((state(task), state(&end)), ("CANCELED", "CANCELED"));
                        }
                        None => assert_eq!(
                            (&reply["error"]["code"], state(&end)),
                            (&json!(-32002), "COMPLETED")
                        ),
                    }
                }
            });
        }
    });
}

#[test]
fn a_subscriber_at_the_very_end_gets_the_end_or_is_told_that_it_is_over() {
    let world = World::start();
    for _ in 0..30 {
        let id = world.begin("say x");
        let body =
            json!({"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": id}})
                .to_string();
        let reply =
            world.post("/", &[("Authorization", &format!("Bearer {OWNER}"))], body.as_bytes());
        if reply.header("content-type") == Some("text/event-stream") {
            assert!(reply.text().contains("TASK_STATE_COMPLETED"), "{}", reply.text());
        } else {
            assert_eq!(reply.json()["error"]["code"], -32004);
        }
    }
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up() {
    // Each look at the task reads megabytes of its answer.
    let world = World::describe().patience(Duration::from_secs(60)).start();
    let mut stuck = world.stream("SendStreamingMessage", message("flood 20000000"));
    let id = stuck.next().unwrap().task_id().to_owned();
    world.await_state(&id, &["COMPLETED"]);
    assert_eq!(answer(&world.say("say others are served")), "others are served");
    let mut events = vec![];
    while let Some(event) = stuck.next() {
        events.push(event);
    }
    assert_eq!(streamed_answer(&events).len(), 20_000_000);
}

#[test]
fn a_server_with_a_reader_that_does_not_read_still_ends() {
    let times = json!({"timeouts": {"shutdown": "2s"}});
    let mut world = World::describe().patience(Duration::from_secs(60)).config(times).start();
    let mut stuck = world.stream("SendStreamingMessage", message("flood 20000000"));
    let id = stuck.next().unwrap().task_id().to_owned();
    world.await_state(&id, &["COMPLETED"]);
    world.sigterm();
    world.ended();
}

#[test]
fn many_leave_in_the_middle_and_the_task_goes_on() {
    let world = World::start();
    let id = world.begin_waiting("repeat 100 0 {i}; cue go; repeat 100 0 {i}", "go");
    for _ in 0..20 {
        let mut events = world.subscribe(&id);
        events.next();
    }
    world.cue("go");
    let task = world.await_state(&id, &["COMPLETED", "FAILED", "CANCELED"]);
    assert_eq!((state(&task), answer(&task).lines().count()), ("COMPLETED", 200));
}

#[test]
fn a_cancel_and_an_answer_to_a_question_agree_on_who_was_first() {
    let world = World::start();
    for _ in 0..10 {
        let id = text_of(&world.say("ask which?"), "id").to_owned();
        let (cancel, answered) = std::thread::scope(|scope| {
            let cancel = scope.spawn(|| world.call(OWNER, "CancelTask", &json!({"id": id})).json());
            let answered =
                scope.spawn(|| world.call(OWNER, "SendMessage", &message_to(&id, "say x")).json());
            (cancel.join().unwrap(), answered.join().unwrap())
        });
        let end = world.task(&id);
        let canceled = cancel.get("result").is_some();
        assert_eq!(
            state(&end),
            if canceled { "CANCELED" } else { "COMPLETED" },
            "{cancel} {answered}"
        );
    }
}

#[test]
fn many_new_messages_of_one_new_context_make_one_session() {
    let world = World::start();
    let tasks: Vec<Value> = std::thread::scope(|scope| {
        let sends: Vec<_> =
            (0..8).map(|_| scope.spawn(|| world.send(message_in("fresh", "pwd")))).collect();
        sends.into_iter().map(|send| send.join().unwrap()).collect()
    });
    let folders: std::collections::BTreeSet<String> = tasks.iter().map(answer).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
}

#[test]
fn kill_9_in_the_middle_of_a_flood_keeps_a_beginning_of_it() {
    let mut world = World::start();
    let mut events = world.stream("SendStreamingMessage", message("repeat 1000000 0 line {i}"));
    let seen = events.until("some text", |event| event.words().contains("line 500\n"));
    drop(events);
    world.kill9();
    world.nothing_is_left();
    world.restart();
    let task = world.task(seen[0].task_id());
    let kept = answer(&task);
    assert_eq!(state(&task), "FAILED");
    assert!(
        kept.starts_with(&streamed_answer(&seen)),
        "{} bytes were seen, {} kept",
        streamed_answer(&seen).len(),
        kept.len()
    );
    let numbers: Vec<usize> =
        kept.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] + 1 == pair[1] || pair[1] < pair[0]),
        "a line is missing"
    );
}

#[test]
fn an_event_number_before_the_first_replays_everything() {
    let world = World::start();
    let full = world.stream("SendStreamingMessage", message("say a; status b; say c")).rest();
    let replayed = world.resume(full[0].task_id(), 0);
    assert_eq!(replayed, full);
}

#[test]
fn an_event_number_from_the_future_shows_the_task_as_it_is() {
    let world = World::start();
    let id = text_of(&world.say("say a"), "id").to_owned();
    let events = world.resume(&id, u64::MAX);
    assert_eq!((states(&events), streamed_answer(&events).as_str()), (vec!["COMPLETED"], "a"));
}

#[test]
fn a_subscriber_after_a_restart_sees_the_continuation() {
    let mut world = World::start();
    let id = text_of(&world.say("ask which?"), "id").to_owned();
    world.restart();
    let events = world.subscribe(&id);
    world.send(message_to(&id, "say green"));
    let events: Vec<Event> = events.rest();
    assert_eq!(
        (states(&events), streamed_answer(&events).as_str()),
        (vec!["INPUT_REQUIRED", "WORKING", "COMPLETED"], "green")
    );
}

#[test]
fn a_whole_queue_is_canceled_one_by_one() {
    let world = World::start();
    let first = world.begin_with(message_in("line", "cue never"));
    let ids: Vec<String> = (0..20).map(|_| world.begin_with(message_in("line", "count"))).collect();
    for id in ids.iter().rev().chain([&first]) {
        assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    }
    assert_eq!(answer(&world.send(message_in("line", "count"))), "1");
}

#[test]
fn waiting_for_a_place_does_not_count_as_the_turns_time() {
    let world = World::describe()
        .config(json!({"processes": {"max": 1}, "timeouts": {"turn": "1s"}}))
        .start();
    let first = world.begin("hang");
    let second = world.begin("say in time");
    let tasks = [
        world.await_state(&first, &["FAILED"]),
        world.await_state(&second, &["COMPLETED", "FAILED"]),
    ];
    assert_eq!(answer(&tasks[1]), "in time");
}

#[test]
fn a_task_that_asks_holds_no_place() {
    let world = World::describe().config(json!({"processes": {"max": 1}})).start();
    let asked = world.say("ask which?");
    assert_eq!(answer(&world.say("say meanwhile")), "meanwhile");
    assert_eq!(answer(&world.send(message_to(text_of(&asked, "id"), "say green"))), "green");
}

#[test]
fn sigterm_while_a_session_script_runs_leaves_nothing() {
    let script = "#!/bin/sh\nsetsid sleep 3600 &\ntrap '' TERM\nsleep 3600\n";
    let mut world = World::describe().file(".init-session.sh", 0o755, script).start();
    let id = world.begin("say x");
    world.await_task(&id, "the script", |task| {
        crate::reading::words(task).contains(".init-session.sh")
    });
    await_some("the script", PATIENCE, || (world.agents().len() >= 2).then_some(()));
    assert_eq!(world.stop().code(), Some(0));
}

#[test]
fn sigkill_while_a_session_script_runs_leaves_nothing() {
    let script = "#!/bin/sh\nsetsid sleep 3600 &\ntrap '' TERM\nsleep 3600\n";
    let mut world = World::describe().file(".init-session.sh", 0o755, script).start();
    world.begin("say x");
    await_some("the script", PATIENCE, || (world.agents().len() >= 2).then_some(()));
    world.kill9();
    world.nothing_is_left();
}

#[test]
fn sigkill_of_the_launcher_is_survived_or_told() {
    let world = World::start();
    assert_eq!(answer(&world.say("say before")), "before");
    let launcher = crate::processes::below(world.pid().cast_signed()).into_iter().next().unwrap();
    launcher.kill();
    await_some("its end", PATIENCE, || {
        find(launcher.pid).is_none_or(|now| now != launcher).then_some(())
    });
    let task = world.await_state(
        text_of(&world.send(at_once(message("say after"))), "id"),
        &["COMPLETED", "FAILED"],
    );
    let told = crate::reading::words(&task);
    assert!(state(&task) == "COMPLETED" || told.contains("launcher"), "{told}");
}

#[test]
fn a_task_that_is_canceled_as_soon_as_it_is_listed_stays_canceled() {
    let world = World::start();
    let canceled = std::thread::scope(|scope| {
        let sends: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| (0..15).for_each(|_| drop(world.say("say x")))))
            .collect();
        let mut canceled = Vec::new();
        while !sends.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let tasks = world.rpc("ListTasks", json!({"pageSize": 5}));
            for task in tasks["tasks"].as_array().unwrap() {
                let params = json!({"id": task["id"]});
                let reply = world.call(OWNER, "CancelTask", &params).json();
                if reply.get("result").is_some() {
                    canceled.push(text_of(task, "id").to_owned());
                }
            }
        }
        canceled
    });
    for id in canceled {
        assert_eq!(state(&world.task(&id)), "CANCELED", "{id}");
        let events = world.resume(&id, 0);
        assert_eq!(states(&events).last(), Some(&"CANCELED"), "{events:#?}");
    }
}

#[test]
fn of_an_answer_and_the_expiry_of_its_ask_one_wins() {
    let world = World::describe().config(json!({"asks": {"timeout": "60ms"}})).start();
    for tenths in 0..12 {
        let task = world.say("ask which?");
        let id = text_of(&task, "id").to_owned();
        // Before, at and after the deadline: whoever is late, the end is as the answer was told.
        std::thread::sleep(Duration::from_millis(6 * tenths));
        let reply = world.call(OWNER, "SendMessage", &message_to(&id, "say it")).json();
        let end = world.await_state(&id, &["COMPLETED", "CANCELED"]);
        match reply.get("result") {
            Some(_) => assert_eq!((state(&end), answer(&end).as_str()), ("COMPLETED", "it")),
            None => assert_eq!(state(&end), "CANCELED", "{reply}"),
        }
    }
}

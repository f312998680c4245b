//! Before the first word: what is shown of a task that may not become one, and what becomes of it.

use super::{assert_nothing_is_listed, await_agent, listed, world};
use crate::bindings::{BINDINGS, Binding};
use crate::http::connect;
use crate::processes::await_some;
use crate::reading::{answer, message, message_in, parts_text, state};
use crate::world::{OWNER, World};
use pilothouse_a2a::operation::Operation;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;

/// A blocking send whose answer nobody reads yet.
fn post(world: &World, script: &str) -> TcpStream {
    let params = message(script);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params});
    let (address, body) = (world.address(), body.to_string());
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {OWNER}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut socket = connect(address, world.patience());
    socket.write_all((head + &body).as_bytes()).unwrap();
    socket
}

#[test]
fn a_task_without_a_first_word_is_not_listed() {
    let world = world();
    std::thread::scope(|scope| {
        let silent = scope.spawn(|| world.rpc("SendMessage", message("wait go; say done")));
        await_agent(&world);
        assert_nothing_is_listed(&world);
        world.cue("go");
        assert_eq!(answer(&silent.join().unwrap()["task"]), "done");
    });
    assert_eq!(listed(&world)["totalSize"], 1);
}

#[test]
fn a_client_that_goes_away_before_the_first_word_loses_nothing_but_its_answer() {
    let world = world();
    let socket = post(&world, "wait go; say done");
    await_agent(&world);
    drop(socket);
    world.cue("go");
    let task = await_some("the task", world.patience(), || {
        let list = world.rpc("ListTasks", json!({"includeArtifacts": true}));
        let task = list["tasks"].get(0)?.clone();
        (state(&task) == "COMPLETED").then_some(task)
    });
    assert_eq!(answer(&task), "done");
}

#[test]
fn a_repeated_send_is_answered_with_the_message_too() {
    let world = world();
    let params = message("wait go; reply once");
    std::thread::scope(|scope| {
        let send = |binding: Binding| {
            let (world, params) = (&world, &params);
            scope.spawn(move || world.through(binding).well(Operation::SendMessage, params))
        };
        let first = send(Binding::JsonRpc);
        await_agent(&world);
        let again = [send(Binding::Rest), send(Binding::Grpc)];
        world.cue("go");
        let said = first.join().unwrap()["message"].take();
        assert_eq!(parts_text(&said["parts"]), "once");
        for send in again {
            let said = send.join().unwrap()["message"].take();
            assert_eq!(parts_text(&said["parts"]), "once");
        }
    });
    assert_nothing_is_listed(&world);
}

#[test]
fn a_reply_under_a_key_is_answered_again() {
    let world = world();
    for binding in BINDINGS {
        let door = world.through(binding).header("idempotency-key", "key-1");
        let answered = door.well(Operation::SendMessage, &message("reply hello there"));
        assert_eq!(parts_text(&answered["message"]["parts"]), "hello there", "{binding:?}");
    }
}

#[test]
fn a_server_that_is_killed_before_the_first_word_keeps_a_failed_task() {
    let mut world = world();
    let _socket = post(&world, "wait never");
    await_agent(&world);
    world.kill9();
    world.nothing_is_left();
    world.restart();
    let list = listed(&world);
    assert_eq!(list["totalSize"], 1);
    assert_eq!(state(&list["tasks"][0]), "FAILED");
}

#[test]
fn a_stop_before_the_first_word_is_told_to_who_waits() {
    let mut world = world();
    let mut socket = post(&world, "wait never");
    await_agent(&world);
    world.stop();
    let mut answered = String::new();
    socket.read_to_string(&mut answered).unwrap();
    assert!(answered.contains("TASK_STATE_FAILED"), "{answered}");
    world.restart();
    assert_eq!(listed(&world)["totalSize"], 1);
}

#[test]
fn many_replies_at_once_each_reach_who_asked() {
    let world = world();
    std::thread::scope(|scope| {
        let sends: Vec<_> = (0..30)
            .map(|n| {
                let door = world.through(BINDINGS[n % 3]);
                scope.spawn(move || {
                    let params = message(&format!("reply {n}"));
                    parts_text(&door.well(Operation::SendMessage, &params)["message"]["parts"])
                })
            })
            .collect();
        for (n, send) in sends.into_iter().enumerate() {
            assert_eq!(send.join().unwrap(), n.to_string());
        }
    });
    assert_nothing_is_listed(&world);
}

#[test]
fn replies_of_one_context_come_one_after_the_other() {
    let world = world();
    std::thread::scope(|scope| {
        let first =
            scope.spawn(|| world.rpc("SendMessage", message_in("line", "wait go; reply one")));
        await_agent(&world);
        let second = scope.spawn(|| world.rpc("SendMessage", message_in("line", "reply two")));
        world.cue("go");
        let said = [first, second].map(|send| {
            let answered = send.join().unwrap();
            parts_text(&answered["message"]["parts"])
        });
        assert_eq!(said, ["one", "two"]);
    });
}

#[test]
fn replies_leave_nothing_behind_for_the_next_start() {
    let mut world = world();
    for binding in BINDINGS {
        world.through(binding).well(Operation::SendMessage, &message("reply x"));
    }
    world.kill9();
    world.restart();
    assert_nothing_is_listed(&world);
}

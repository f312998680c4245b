//! Callers who ask for much and read nothing: their answers stay within one budget of memory, and others are
//! answered beside them.

use crate::bindings::BINDINGS;
use crate::http::{begin_body, connect_narrow};
use crate::processes::await_some;
use crate::reading::{message, state, text_of};
use crate::sizes::peak;
use crate::world::{BOB, OWNER, World, await_true};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream as Socket;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};

/// Connections of HTTP/2 whose client takes no byte of any body.
struct Unread {
    runtime: Runtime,
    _connections: Vec<http2::SendRequest<Empty<Bytes>>>,
    /// The answers whose heads have come.
    answers: Vec<Response<Incoming>>,
}

impl Unread {
    /// Asks for a path so many times on each of so many connections, and waits until so many heads have come.
    fn get(world: &World, path: &str, counts: (usize, usize, usize)) -> Self {
        Self::get_within(world, path, counts, 0)
    }

    /// The same; so many bytes of each body are taken.
    fn get_within(
        world: &World,
        path: &str,
        (connections, each, heads): (usize, usize, usize),
        window: u32,
    ) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (connections, answers) = runtime.block_on(async {
            let mut open = Vec::new();
            let asks = FuturesUnordered::new();
            for _ in 0..connections {
                let socket = TcpStream::connect(world.address()).await.unwrap();
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(window)
                    .handshake(TokioIo::new(socket))
                    .await
                    .unwrap();
                tokio::spawn(connection);
                for _ in 0..each {
                    let request = Request::get(format!("http://{}{path}", world.address()))
                        .header("authorization", format!("Bearer {OWNER}"))
                        .body(Empty::<Bytes>::new())
                        .unwrap();
                    asks.push(sender.clone().send_request(request));
                }
                open.push(sender);
            }
            let come = asks.take(heads).map(Result::unwrap).collect::<Vec<_>>();
            let come = tokio::time::timeout(world.patience(), come).await;
            (open, come.expect("not all heads have come"))
        });
        Self { runtime, _connections: connections, answers }
    }

    fn count(&self, status: u16) -> usize {
        self.answers.iter().filter(|answer| answer.status() == status).count()
    }

    fn heads_of(&self, status: u16) -> impl Iterator<Item = &HeaderMap> {
        let refused = self.answers.iter().filter(move |answer| answer.status() == status);
        refused.map(Response::headers)
    }

    /// Closes all connections.
    fn leave(self) {
        drop(self.answers);
        self.runtime.shutdown_background();
    }
}

/// A world in which one caller has room for one of its largest answers.
fn narrow(more: Value) -> World {
    let limits = json!({"limits": {
        "response": "128KiB", "responses": "256KiB", "event": "65KiB", "inline_answer": "1KiB",
    }});
    World::describe().config(limits).config(more).start()
}

/// A task whose answer fills a response.
fn large_task(world: &World) -> String {
    text_of(&world.say("flood 600000 1000"), "id").to_owned()
}

fn get_task(world: &World, token: &str, id: &str) -> u16 {
    world.call(token, "GetTask", &json!({"id": id})).status
}

/// Requests of HTTP/1.1, all written at once, on a connection that holds next to nothing.
fn pipeline(world: &World, path: &str, count: usize) -> Socket {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {OWNER}\r\n\r\n",
        world.address()
    );
    let mut socket = connect_narrow(world.address(), world.patience());
    socket.write_all(request.repeat(count).as_bytes()).unwrap();
    socket
}

#[test]
fn unread_answers_of_one_caller_take_half_of_the_room_and_come_back_when_it_hangs_up() {
    let world = narrow(json!({"timeouts": {"response": "200ms"}}));
    let id = large_task(&world);
    let asked = text_of(
        &world.call(BOB, "SendMessage", &message("say bob")).json()["result"]["task"],
        "id",
    )
    .to_owned();
    let unread = Unread::get(&world, &format!("/tasks/{id}"), (1, 10, 10));
    assert_eq!((unread.count(200), unread.count(503)), (1, 9));
    assert!(unread.heads_of(503).all(|head| head.contains_key("retry-after")));
    assert_eq!(get_task(&world, BOB, &asked), 200);
    unread.leave();
    assert!(await_true(world.patience(), || get_task(&world, OWNER, &id) == 200));
}

#[test]
fn without_room_every_binding_refuses_to_read_and_shortens_the_answer_to_what_was_done() {
    let world = narrow(json!({"timeouts": {"response": "200ms"}}));
    let id = large_task(&world);
    let waiting = BINDINGS.map(|_| world.begin_waiting("cue never", "never"));
    let unread = Unread::get(&world, &format!("/tasks/{id}"), (1, 1, 1));
    for (binding, waiting) in BINDINGS.into_iter().zip(&waiting) {
        let door = world.through(binding);
        for (operation, params) in [
            (Operation::GetTask, json!({"id": id})),
            (Operation::ListTasks, json!({"includeArtifacts": true})),
            (Operation::SubscribeToTask, json!({"id": waiting})),
        ] {
            let refused = door.error(operation, &params);
            assert_eq!(refused.kind, ErrorKind::Unavailable);
            assert!(refused.message.contains("`limits.responses`"), "{operation:?}: {refused:?}");
        }
        let sent = door.well(Operation::SendMessage, &message("flood 600000 1000"));
        let canceled = door.well(Operation::CancelTask, &json!({"id": waiting}));
        for (task, state_now) in [(&sent["task"], "COMPLETED"), (&canceled, "CANCELED")] {
            assert_eq!(state(task), state_now, "{task:#}");
            assert!(task.get("artifacts").is_none());
            let why = text_of(&task["metadata"], "pilothouse.shortened");
            assert!(why.contains("`limits.responses`"), "{why}");
        }
    }
    for path in ["/api/v1/sessions", "/api/v1/asks"] {
        let refused = world.get(path, &[("Authorization", &format!("Bearer {OWNER}"))]);
        assert_eq!(refused.status, 503, "{path}");
        assert!(refused.header("retry-after").is_some());
    }
    unread.leave();
}

#[test]
fn hundreds_of_lists_that_nobody_reads_stay_within_100_mib() {
    // So many wait; all others are refused, and what is under way then is all that there will be.
    const WAITING: usize = 4;
    let world = World::describe()
        .config(json!({"log": {"console": false}, "limits": {"responses_waiting": 2 * WAITING}}))
        .start();
    for _ in 0..4 {
        world.say("flood 5000000 60000");
    }
    let path = "/tasks?pageSize=100&includeArtifacts=true";
    let unread = Unread::get(&world, path, (150, 4, 600 - WAITING));
    // One caller has half of `limits.responses`.
    assert_eq!(unread.count(200), 2);
    assert_eq!(unread.count(503), 600 - WAITING - 2);
    assert!(peak(&world) < 100 << 20, "{} MiB", peak(&world) >> 20);
    assert_eq!(world.call(BOB, "ListTasks", &json!({})).status, 200);
    unread.leave();
}

#[test]
fn who_hangs_up_while_a_pipelined_request_waits_for_room_leaves_the_queue() {
    let world = narrow(json!({}));
    let id = large_task(&world);
    let path = format!("/tasks/{id}");
    let unread = Unread::get(&world, &path, (1, 1, 1));
    let waits = pipeline(&world, &path, 3);
    drop(waits);
    await_some("the caller who left", world.patience(), || {
        let log = std::fs::read_to_string(world.path("audit.jsonl")).unwrap_or_default();
        log.lines().any(|line| line.contains("CALLER_LEFT")).then_some(())
    });
    unread.leave();
}

#[test]
fn pipelined_answers_that_nobody_reads_leave_room_for_others_and_do_not_delay_a_stop() {
    let mut world = narrow(json!({"timeouts": {"shutdown": "8s"}}));
    let id = large_task(&world);
    let path = format!("/tasks/{id}");
    let stuck: Vec<_> = (0..8).map(|_| pipeline(&world, &path, 16)).collect();
    let asked = world.call(BOB, "SendMessage", &message("say bob")).json();
    assert_eq!(get_task(&world, BOB, text_of(&asked["result"]["task"], "id")), 200);
    world.sigterm();
    let ended = world.ended();
    assert!(ended.success(), "{ended:?}: {}", world.stderr());
    drop(stuck);
}

#[test]
fn reads_whose_bodies_do_not_come_keep_nobody_from_reading() {
    let world = narrow(json!({"timeouts": {"response": "200ms"}}));
    let id = large_task(&world);
    let slow: Vec<_> = (0..4)
        .map(|_| begin_body(world.address(), OWNER, "GET /api/v1/sessions", world.patience()))
        .collect();
    assert_eq!(get_task(&world, OWNER, &id), 200);
    assert_eq!(world.call(BOB, "ListTasks", &json!({})).status, 200);
    drop(slow);
}

#[test]
fn a_stream_that_is_not_read_keeps_no_other_answer_from_being_made() {
    let world = narrow(json!({
        "limits": {"responses": "1MiB", "store_readers": 1}, "timeouts": {"response": "200ms"},
    }));
    let id = large_task(&world);
    let waiting = world.begin_waiting("cue never", "never");
    let unread = Unread::get(&world, &format!("/tasks/{waiting}:subscribe"), (1, 2, 2));
    assert_eq!(unread.count(200), 2);
    assert_eq!(get_task(&world, OWNER, &id), 200);
    assert_eq!(world.call(BOB, "ListTasks", &json!({})).status, 200);
    unread.leave();
}

#[test]
fn events_that_are_not_read_take_room_though_they_are_not_read_from_the_store() {
    let world = narrow(json!({"timeouts": {"response": "2s"}}));
    let id = large_task(&world);
    let waiting = world.begin_waiting("cue go; flood 6000 6000", "go");
    // The task itself fits in what is taken, the event after it does not.
    let path = format!("/tasks/{waiting}:subscribe");
    let unread = Unread::get_within(&world, &path, (1, 40, 40), 3000);
    assert_eq!((unread.count(200), get_task(&world, OWNER, &id)), (40, 200));
    world.cue("go");
    assert!(await_true(world.patience(), || get_task(&world, OWNER, &id) == 503));
    let asked = world.call(BOB, "SendMessage", &message("say bob")).json();
    assert_eq!(get_task(&world, BOB, text_of(&asked["result"]["task"], "id")), 200);
    unread.leave();
    assert!(await_true(world.patience(), || get_task(&world, OWNER, &id) == 200));
}

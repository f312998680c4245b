//! Connections: who waits in vain ends, who has no token gives way, and nobody else notices.

use crate::http::{Reply, connect, connect_from, read_head};
use crate::processes::await_some;
use crate::reading::{answer, states};
use crate::world::{BOB, OWNER, World, await_true};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream as Socket};
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};

const KEEP_ALIVE: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Another address of this machine than that of all other requests.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[test]
fn a_head_in_any_two_pieces_is_that_of_a_request_over_http_1() {
    let world = World::describe().start();
    let token =
        format!("Host: localhost\r\nAuthorization: Bearer {OWNER}\r\nConnection: close\r\n\r\n");
    for (begin, status) in
        [("GET /tasks", 200), ("POST /tasks", 405), ("PRI /tasks", 405), ("P /tasks", 405)]
    {
        let head = format!("{begin} HTTP/1.1\r\n{token}");
        for at in [1, 2, 3, 4, 5, 24, head.len()] {
            let mut socket = connect(world.address(), world.patience());
            socket.set_nodelay(true).unwrap();
            let (first, rest) = head.split_at(at);
            socket.write_all(first.as_bytes()).unwrap();
            // The server has read the first piece by then.
            assert_eq!(world.get("/health", &[]).status, 200);
            socket.write_all(rest.as_bytes()).unwrap();
            let reply = read_head(socket).unwrap();
            assert_eq!(reply.status, status, "{begin} after {at} bytes");
        }
    }
}

/// A world with this one of the timeouts so short that a test can wait for it.
fn short(key: &str) -> World {
    World::describe().config(json!({"timeouts": {key: "300ms"}})).start()
}

/// A refusal is the JSON of every other one, worth another try, and names the key.
fn assert_refusal(refused: &Reply, key: &str) {
    let error = refused.json()["error"].take();
    assert_eq!((refused.status, error["code"].as_u64()), (503, Some(503)), "{error}");
    assert_eq!(
        (&error["status"], &error["details"][0]["reason"]),
        (&json!("UNAVAILABLE"), &json!("UNAVAILABLE"))
    );
    assert_eq!(error["details"][1]["retryDelay"], "1s");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(error["message"].as_str().unwrap().contains(key), "{error}");
}

/// Waits for the server to close.
fn ends(mut socket: &Socket) {
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap_or_else(|error| panic!("it is still open: {error}"));
}

fn runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A client over HTTP/2 that has no room for any answer.
async fn reads_nothing(world: &World) -> http2::SendRequest<Empty<Bytes>> {
    let socket = TcpStream::connect(world.address()).await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// A subscription to a task, over a connection from this address.
fn subscribe_from(world: &World, source: Ipv4Addr, id: &str) -> Socket {
    try_subscribe_from(world, source, id).expect("it is refused")
}

/// The same; none where it is refused.
fn try_subscribe_from(world: &World, source: Ipv4Addr, id: &str) -> Option<Socket> {
    let mut socket = connect_from(source, world.address(), world.patience());
    let head = format!(
        "GET /tasks/{id}:subscribe HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OWNER}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).unwrap();
    (&status == b"HTTP/1.1 200").then_some(socket)
}

/// The status that a connection of its own is answered with; none where it is refused.
fn health_from(world: &World, source: Ipv4Addr) -> Option<u16> {
    let mut socket = connect_from(source, world.address(), world.patience());
    socket
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    Some(read_head(socket).ok()?.status)
}

// === deadlines ===

#[test]
fn a_connection_without_a_whole_first_request_ends() {
    let world = short("header");
    let half = &PREFACE[..16];
    for bytes in [&b""[..], b"G", half, PREFACE, b"POST / HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut socket = connect(world.address(), world.patience());
        socket.write_all(bytes).unwrap();
        ends(&socket);
    }
}

#[test]
fn half_a_head_after_a_whole_request_ends_its_connection() {
    let world = short("header");
    let mut socket = connect(world.address(), world.patience());
    socket.write_all(KEEP_ALIVE).unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    socket.write_all(b"GET /hea").unwrap();
    ends(&socket);
}

#[test]
fn a_connection_of_http_1_without_a_request_ends() {
    let world = short("idle");
    assert!(world.raw(KEEP_ALIVE).starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_connection_of_http_2_without_a_request_ends() {
    let world = World::describe()
        // Pings go on meanwhile, and are no requests.
        .config(json!({"timeouts": {"idle": "300ms", "keep_alive": "50ms"}}))
        .start();
    runtime().block_on(async {
        let socket = TcpStream::connect(world.address()).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get(format!("http://{}/health", world.address()));
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
        let ended = tokio::time::timeout(world.patience(), connection).await;
        ended.expect("it is still open").unwrap().unwrap();
    });
}

#[test]
fn a_silent_stream_and_a_call_that_waits_are_not_idle() {
    let world = short("idle");
    let id = world.begin_waiting("cue go; say done", "go");
    let stream = world.subscribe(&id);
    let call = std::thread::scope(|scope| {
        let call = scope.spawn(|| answer(&world.say("cue go; say done")));
        // Each of them takes as long as an idle connection is kept.
        (0..3).for_each(|_| drop(world.raw(KEEP_ALIVE)));
        world.cue("go");
        call.join().unwrap()
    });
    assert_eq!(call, "done");
    assert_eq!(states(&stream.rest()).last(), Some(&"COMPLETED"));
}

#[test]
fn a_reader_that_takes_nothing_any_more_ends() {
    const BOUND: usize = 4;
    let world = World::describe()
        .config(json!({
            "timeouts": {"write": "300ms"},
            "limits": {"connections_per_address": BOUND, "response": "64MiB"},
        }))
        .start();
    let id = world.begin_waiting("cue go; flood 8000000 60000", "go");
    let stuck: Vec<_> = (0..BOUND).map(|_| subscribe_from(&world, OTHER, &id)).collect();
    assert_eq!(health_from(&world, OTHER), None);
    world.cue("go");
    // They are known callers, so their places are free only when their connections have ended.
    await_some("a place", world.patience(), || health_from(&world, OTHER));
    drop(stuck);
}

// === places ===

#[test]
fn connections_that_say_nothing_give_way() {
    let world = World::describe().config(json!({"limits": {"connections": 16}})).start();
    let id = world.begin_waiting("cue go; say done", "go");
    let stream = world.subscribe(&id);
    let silent: Vec<_> = (0..24).map(|_| connect(world.address(), world.patience())).collect();
    assert_eq!(world.get("/health", &[]).status, 200);
    assert_eq!(answer(&world.say("say well")), "well");
    ends(&silent[0]);
    world.cue("go");
    assert_eq!(states(&stream.rest()).last(), Some(&"COMPLETED"));
}

#[test]
fn places_are_kept_for_health_and_known_callers() {
    // Ten are kept: five for callers, five for health alone.
    let world = World::describe()
        .config(json!({"limits": {"connections": 40, "connections_per_caller": 40}}))
        .start();
    let id = world.begin_waiting("cue go", "go");
    let card = || world.get("/.well-known/agent-card.json", &[]);
    let list = || world.call(BOB, "ListTasks", &json!({}));
    let mut streams: Vec<_> = (0..30).map(|_| world.subscribe(&id)).collect();
    let refused = card();
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("limits.connections"), "{}", refused.text());
    assert_eq!(list().status, 200);
    // The connection of the call may still be there for a moment.
    streams.extend((0..4).map(|_| world.subscribe(&id)));
    let last = await_some("the last place", world.patience(), || {
        let headers = [("Authorization", format!("Bearer {OWNER}"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = world.ask("GET", &format!("/tasks/{id}:subscribe"), &headers, b"");
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(list().status, 503);
    assert_eq!(world.get("/health", &[]).status, 200);
    assert_eq!(world.get("/ready", &[]).status, 200);
    drop((streams, last));
    assert!(await_true(world.patience(), || list().status == 200));
    assert!(await_true(world.patience(), || card().status == 200));
    world.cue("go");
}

#[test]
fn one_address_has_only_so_many_connections() {
    let world = World::describe().config(json!({"limits": {"connections_per_address": 4}})).start();
    let id = world.begin_waiting("cue go", "go");
    let streams = [OTHER; 4].map(|source| subscribe_from(&world, source, &id));
    assert_eq!(health_from(&world, OTHER), None);
    assert_eq!(health_from(&world, Ipv4Addr::LOCALHOST), Some(200));
    assert!(world.stderr().contains("limits.connections_per_address"), "{}", world.stderr());
    drop(streams);
    world.cue("go");
}

#[test]
fn one_caller_has_only_so_many_connections_from_however_many_addresses() {
    let world = World::describe().config(json!({"limits": {"connections_per_caller": 4}})).start();
    let id = world.begin_waiting("cue go", "go");
    let addresses = [2, 3, 4, 5].map(|last| Ipv4Addr::new(127, 0, 0, last));
    // The connection that began the task may still be there for a moment.
    let streams = addresses.map(|source| {
        await_some("a place", world.patience(), || try_subscribe_from(&world, source, &id))
    });
    let refused = world.call(OWNER, "ListTasks", &json!({}));
    assert_refusal(&refused, "limits.connections_per_caller");
    assert!(world.stderr().contains("`owner` holds all of its places"), "{}", world.stderr());
    assert_eq!(world.call(BOB, "ListTasks", &json!({})).status, 200);
    drop(streams);
    let list = || world.call(OWNER, "ListTasks", &json!({})).status;
    assert!(await_true(world.patience(), || list() == 200));
    world.cue("go");
}

#[test]
fn a_trusted_proxy_has_as_many_connections_as_there_are() {
    let world = World::describe()
        .config(json!({
            "limits": {"connections_per_address": 4},
            "server": {"trusted_proxies": [OTHER]},
        }))
        .start();
    let id = world.begin_waiting("cue go", "go");
    let streams = [OTHER; 5].map(|source| subscribe_from(&world, source, &id));
    assert_eq!(health_from(&world, OTHER), Some(200));
    drop(streams);
    world.cue("go");
}

#[test]
fn a_stranger_who_reads_no_answer_holds_little_memory() {
    const REQUESTS: usize = 200;
    let world = World::start();
    world.get("/openapi.json", &[]);
    let before = world.resident();
    runtime().block_on(async {
        let sender = reads_nothing(&world).await;
        let asks = (0..REQUESTS).map(|_| {
            let request = Request::get(format!("http://{}/openapi.json", world.address()));
            let mut sender = sender.clone();
            async move {
                sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
            }
        });
        let answers = tokio::time::timeout(world.patience(), join_all(asks)).await.unwrap();
        let served = answers.iter().filter(|answer| answer.status() == 200).count();
        let refused = answers.iter().filter(|answer| answer.status() == 429).count();
        assert_eq!((served, refused), (16, REQUESTS - 16));
        let grown = world.resident().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes more");
        drop(sender);
    });
}

#[test]
fn requests_under_way_are_bounded_and_health_is_still_told() {
    let world = World::describe().config(json!({"limits": {"requests": 16}})).start();
    let id = world.begin_waiting("cue go", "go");
    // One caller has half of them.
    let streams: Vec<_> = (0..8).map(|_| subscribe_from(&world, OTHER, &id)).collect();
    let refused = world.call(OWNER, "ListTasks", &json!({}));
    assert_refusal(&refused, "limits.requests");
    assert_eq!(world.call(BOB, "ListTasks", &json!({})).status, 200);
    assert_eq!(health_from(&world, OTHER), Some(200));
    drop(streams);
    assert!(
        await_true(world.patience(), || world.call(OWNER, "ListTasks", &json!({})).status == 200)
    );
    world.cue("go");
}

#[test]
fn strangers_who_read_nothing_keep_no_caller_of_http_2_out() {
    // Strangers have four places.
    let world = World::describe().config(json!({"limits": {"requests": 16}})).start();
    runtime().block_on(async {
        let ask = |path: &str| Request::get(format!("http://{}{path}", world.address()));
        let empty = Empty::<Bytes>::new;
        let mut stranger = reads_nothing(&world).await;
        let mut unread = Vec::new();
        for _ in 0..4 {
            let answer = stranger.send_request(ask("/openapi.json").body(empty()).unwrap());
            unread.push(answer.await.unwrap());
        }
        let mut other = reads_nothing(&world).await;
        let refused = other.send_request(ask("/openapi.json").body(empty()).unwrap()).await;
        assert_eq!(refused.unwrap().status(), 503);
        let mut caller = reads_nothing(&world).await;
        let request = ask("/tasks").header("authorization", format!("Bearer {OWNER}"));
        let answer = caller.send_request(request.body(empty()).unwrap());
        let answer = tokio::time::timeout(world.patience(), answer).await.unwrap();
        assert_eq!(answer.unwrap().status(), 200);
        drop(unread);
    });
}

//! Crowds: many callers, strangers or agents that do the same at once, each as much as the defaults let it.
//!
//! `make soak` runs the full numbers on a release build (`PILOTHOUSE_CROWD` of 1); `make test` a part of them.

use super::{MOST, assert_small};
use crate::building::{Builder, fake_agent};
use crate::chaos::{number, program};
use crate::floods::{ACP, ACP_ASKS, ACP_TOOLS, CLAUDE, scripted};
use crate::http::{connect, connect_from, connect_narrow};
use crate::processes::await_some;
use crate::reading::{answer, message_in, text_of};
use crate::sizes::peak;
use crate::world::{BOB, OWNER, World};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::convert::Infallible;
use std::fs;
use std::future;
use std::io;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream as Socket};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{self, Runtime};

/// Connections of strangers: more than `limits.connections`.
const STRANGERS: usize = 1152;

/// Connections of callers.
const CALLERS: usize = 64;

/// Agents that run at a time.
const AGENTS: usize = 64;

/// Requests on each connection.
const REQUESTS: usize = 256;

/// The part of a crowd that comes.
fn part(of: usize) -> usize {
    let divisor = number("PILOTHOUSE_CROWD", 16);
    of / usize::try_from(divisor).unwrap()
}

fn quiet() -> Builder {
    program(World::describe().config(json!({"log": {"console": false}})))
}

/// Says what it took, and that it was little.
fn held(world: &World, what: &str) {
    println!("{what}: at most {} MiB", peak(world) >> 20);
    assert_small(world, what);
    assert_eq!(world.get("/health", &[]).status, 200);
}

/// An address of this machine: no one of them may have all connections.
fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(number % 8).unwrap() + 1)
}

/// Connections of strangers, each from one of some addresses of this machine, that send this and wait.
fn strangers(world: &World, bytes: &[u8]) -> Vec<Socket> {
    (0..part(STRANGERS))
        .filter_map(|number| {
            let mut socket = connect_from(source(number), world.address(), world.patience());
            // Who was closed to make room notices here.
            socket.write_all(bytes).ok().map(|()| socket)
        })
        .collect()
}

/// The request line and the headers of a caller, without the empty line at their end.
fn head(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OWNER}\r\n")
}

/// Tasks with artifacts that fill a response together.
fn with_large_tasks(world: &World) -> Vec<String> {
    (0..8)
        .map(|number| {
            let task = world.send(message_in(&number.to_string(), "flood 500000"));
            text_of(&task, "id").to_owned()
        })
        .collect()
}

#[test]
fn connections_that_say_nothing_or_little() {
    for (what, bytes) in [
        ("silent connections", &b""[..]),
        ("half prefaces", b"PRI * HTTP/2.0\r\n\r\nSM\r\n"),
        ("prefaces", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    ] {
        let world = quiet().start();
        let all = strangers(&world, bytes);
        held(&world, what);
        drop(all);
    }
}

#[test]
fn heads_that_do_not_end() {
    let world = quiet().start();
    let half = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(15_000));
    let all = strangers(&world, half.as_bytes());
    held(&world, "half heads");
    drop(all);
}

#[test]
fn bodies_that_do_not_end() {
    for (what, all, sent, headers) in [
        ("half bodies of 3 kB", STRANGERS, 3_000, 15_000),
        ("half bodies of 60 kB", STRANGERS, 60_000, 0),
        ("half bodies of 60 kB with heads of 15 kB", STRANGERS, 60_000, 15_000),
        ("half bodies of 1 MB", CALLERS * 4, 1_000_000, 0),
        ("half bodies of 15 MB", CALLERS, 15_000_000, 0),
    ] {
        let world = quiet().start();
        let address = world.address();
        let sockets: Vec<Socket> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..8)
                .map(|sender| {
                    let token = [OWNER, BOB][sender % 2];
                    let mut head = format!(
                        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
                         Content-Type: application/json\r\nX: {}\r\nContent-Length: {}\r\n\r\n",
                        "x".repeat(headers),
                        sent + 1_000
                    )
                    .into_bytes();
                    head.resize(head.len() + sent, b' ');
                    scope.spawn(move || {
                        let mut sockets = Vec::new();
                        for _ in 0..part(all).div_ceil(8) {
                            let mut socket =
                                connect_from(source(sender), address, Duration::from_secs(1));
                            socket.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
                            // The server reads no more of it than it has room for.
                            let _ = socket.write_all(&head);
                            sockets.push(socket);
                        }
                        sockets
                    })
                })
                .collect();
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
        });
        held(&world, what);
        drop(sockets);
    }
}

#[test]
fn texts_as_long_as_they_may_be() {
    let stdin = json!({"input": "stdin", "args": ["--events", "--stdin"]});
    let world = quiet().agent(stdin).start();
    let text = "x".repeat(9_000_000);
    std::thread::scope(|scope| {
        for sender in 0..part(CALLERS).max(8) {
            let (world, text) = (&world, &text);
            scope.spawn(move || {
                let params = message_in(&sender.to_string(), &format!("exit 0;{text}"));
                world.call(OWNER, "SendMessage", &params)
            });
        }
    });
    held(&world, "texts of 9 MB");
}

/// A request over HTTP/2.
type Asked = Request<BoxBody<Bytes, Infallible>>;

/// What the clients of a crowd over HTTP/2 do with the answers.
#[derive(Clone, Copy, PartialEq)]
enum Reading {
    /// Their windows are closed, so no answer can be sent to them.
    Nothing,
    /// They read them.
    All,
    /// They reset each request once all of its connection have left, and ask again, so often.
    Resets(usize),
}

/// Connections over HTTP/2, each with so many requests at once; the number of the connection tells which.
fn over_http2(
    world: &World,
    connections: usize,
    requests: usize,
    ask: impl Fn(usize) -> Asked,
    reading: Reading,
    what: &str,
) {
    let window = if reading == Reading::Nothing { 0 } else { 65_535 };
    let rounds = if let Reading::Resets(rounds) = reading { rounds } else { 1 };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut senders, mut kept) = (Vec::new(), Vec::new());
        for number in 0..connections {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((source(number), 0).into()).unwrap();
            let socket = socket.connect(world.address()).await.unwrap();
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(window)
                .handshake(TokioIo::new(socket))
                .await
                .unwrap();
            tokio::spawn(connection);
            senders.push(sender);
        }
        for _ in 0..rounds {
            for (number, sender) in senders.iter_mut().enumerate() {
                for _ in 0..requests {
                    // A connection that is not served any more takes no more requests.
                    let ready = tokio::time::timeout(Duration::from_millis(50), sender.ready());
                    if !matches!(ready.await, Ok(Ok(()))) {
                        break;
                    }
                    let answer = sender.send_request(ask(number));
                    kept.push(tokio::spawn(async move { answer.await?.collect().await }));
                }
            }
            if let Reading::Resets(_) = reading {
                // Lets them leave.
                tokio::task::yield_now().await;
                kept.drain(..).for_each(|answer| answer.abort());
            }
        }
        let some = async {
            for answer in &mut kept {
                let _ = answer.await;
            }
        };
        // Whoever waits for room is not answered as long as nobody reads.
        let _ = tokio::time::timeout(Duration::from_secs(10), some).await;
        let peak = peak(world);
        println!("{what}: at most {} MiB", peak >> 20);
        assert!(peak < MOST, "{} MiB after {what}", peak >> 20);
        drop(senders);
    });
    drop(runtime);
    held(world, what);
}

/// A read of this, with this token.
fn read(world: &World, path: &str, token: Option<&str>) -> Asked {
    let mut request = Request::get(format!("http://{}{path}", world.address()));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Empty::new().boxed()).unwrap()
}

/// Lists of all tasks with all that they hold.
const LISTS: &str = "/tasks?pageSize=100&includeArtifacts=true";

#[test]
fn answers_over_http_2_that_nobody_reads() {
    let world = quiet().start();
    with_large_tasks(&world);
    let ask = |_| read(&world, LISTS, Some(OWNER));
    let connections = part(CALLERS * 4);
    over_http2(&world, connections, REQUESTS, ask, Reading::Nothing, "unread lists over HTTP/2");
}

#[test]
fn answers_over_http_2_that_no_caller_of_three_reads() {
    const CAROL: &str = "token-of-carol-5d1c77e0a3b84f29";
    let tokens = json!({"auth": {"tokens": {"bob": BOB, "carol": CAROL}}});
    let world = quiet().config(tokens).start();
    with_large_tasks(&world);
    let ask = |number| read(&world, LISTS, Some([OWNER, BOB, CAROL][number % 3]));
    let (connections, what) = (part(CALLERS * 4), "unread lists of three callers over HTTP/2");
    over_http2(&world, connections, REQUESTS, ask, Reading::Nothing, what);
}

#[test]
fn files_and_archives_over_http_2_that_nobody_reads() {
    let world = quiet().start();
    let folder = answer(&world.send(message_in("s", "pwd")));
    let large = fs::File::create(Path::new(&folder).join("large")).unwrap();
    large.set_len(64 << 20).unwrap();
    let paths = ["files/large", "archive", "files", "diff"];
    let ask = |number| {
        let path = format!("/api/v1/sessions/s/{}", paths[number % paths.len()]);
        read(&world, &path, Some(OWNER))
    };
    let (connections, what) = (part(CALLERS * 4), "unread files over HTTP/2");
    over_http2(&world, connections, REQUESTS, ask, Reading::Nothing, what);
}

#[test]
fn documents_over_http_2_that_no_stranger_reads() {
    let world = quiet().start();
    let ask = |_| read(&world, "/openapi.json", None);
    let what = "unread documents over HTTP/2";
    over_http2(&world, part(1024), REQUESTS, ask, Reading::Nothing, what);
}

#[test]
fn small_reads_over_http_2_of_many_connections() {
    let world = quiet().start();
    world.send(message_in("1", "hello"));
    let ask = |number| read(&world, "/tasks?pageSize=1", Some([OWNER, BOB][number % 2]));
    over_http2(&world, part(1024), 8, ask, Reading::All, "small reads over HTTP/2");
}

#[test]
fn reads_over_http_2_that_are_reset() {
    let world = quiet().start();
    with_large_tasks(&world);
    let ask = |number| read(&world, LISTS, Some([OWNER, BOB][number % 2]));
    let what = "resets over HTTP/2";
    over_http2(&world, part(800), 40, ask, Reading::Resets(4), what);
    let ask = |_| read(&world, "/openapi.json", None);
    let what = "resets of strangers over HTTP/2";
    over_http2(&world, part(800), 40, ask, Reading::Resets(4), what);
}

#[test]
fn messages_of_grpc_that_do_not_end() {
    let world = quiet().start();
    let ask = |number: usize| {
        let begin = [&[0, 0, 0x3f, 0, 0][..], &[b'x'; 60_000]].concat();
        let frames = stream::once(future::ready(Ok(Frame::data(Bytes::from(begin)))));
        Request::post(format!("http://{}/lf.a2a.v1.A2AService/SendMessage", world.address()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {}", [OWNER, BOB][number % 2]))
            .body(BodyExt::boxed(StreamBody::new(frames.chain(stream::pending()))))
            .unwrap()
    };
    let what = "messages of gRPC that do not end";
    over_http2(&world, part(1024), 8, ask, Reading::All, what);
}

#[test]
fn answers_over_http_1_that_nobody_reads() {
    let world = quiet().start();
    with_large_tasks(&world);
    let list = head("GET /tasks?pageSize=100&includeArtifacts=true") + "\r\n";
    let asks = list.repeat(REQUESTS);
    let sockets: Vec<Socket> = (0..part(CALLERS * 4))
        .map(|_| {
            let mut socket = connect_narrow(world.address(), Duration::from_secs(1));
            socket.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            let _ = socket.write_all(asks.as_bytes());
            socket
        })
        .collect();
    // Others are served meanwhile, and each of theirs may take as long as those before it.
    (0..8).for_each(|_| drop(world.call(BOB, "ListTasks", &json!({"includeArtifacts": true}))));
    held(&world, "unread lists over HTTP/1.1");
    drop(sockets);
    await_some("an end of what nobody waits for", world.patience(), || {
        let sockets = fs::read_dir(format!("/proc/{}/fd", world.pid())).unwrap().count();
        (sockets < 64).then_some(())
    });
}

#[test]
fn lists_whose_callers_hang_up() {
    let world = quiet().start();
    with_large_tasks(&world);
    let list = head("GET /tasks?pageSize=100&includeArtifacts=true") + "\r\n";
    for _ in 0..part(4096) {
        let mut socket = connect(world.address(), world.patience());
        socket.write_all(list.as_bytes()).unwrap();
        socket.shutdown(Shutdown::Both).unwrap();
    }
    held(&world, "hang-ups of lists");
}

#[test]
fn streams_that_nobody_reads() {
    let world = quiet().patience(Duration::from_secs(60)).start();
    let id = world.begin_waiting(&format!("cue go; flood {} 60000", part(60_000_000)), "go");
    let path = format!("/tasks/{id}:subscribe");
    let line = head(&format!("GET {path}")) + "\r\n";
    let sockets: Vec<Socket> = (0..part(CALLERS * 4))
        .map(|_| {
            let mut socket = connect(world.address(), world.patience());
            socket.write_all(line.as_bytes()).unwrap();
            socket
        })
        .collect();
    world.cue("go");
    world.await_state(&id, &["COMPLETED", "FAILED"]);
    held(&world, "unread streams");
    drop(sockets);
}

/// The server's agent is this shell script, whose output has this format.
fn shell(script: &str, format: &str) -> Builder {
    program(scripted("command", &format!("#!/bin/sh\n{script}\n")).agent(json!({"format": format})))
}

/// Agents that all do this at once, some time.
fn crowd(builder: Builder, what: &str) {
    let agents = part(AGENTS);
    let world = builder
        .patience(Duration::from_secs(60))
        .config(json!({
            "log": {"console": false},
            "processes": {"max": agents},
            "timeouts": {"turn": if agents < AGENTS { "1s" } else { "8s" }, "interrupt": "200ms"},
        }))
        .start();
    let tasks: Vec<String> = (0..agents)
        .map(|number| {
            let mut params = message_in(&number.to_string(), "go");
            params["configuration"] = json!({"returnImmediately": true});
            text_of(&world.rpc("SendMessage", params)["task"], "id").to_owned()
        })
        .collect();
    for id in &tasks {
        world.await_state(id, &["INPUT_REQUIRED", "FAILED", "COMPLETED"]);
    }
    held(&world, what);
    for id in &tasks {
        world.call(OWNER, "CancelTask", &json!({"id": id}));
    }
    world.await_no_agents();
}

#[test]
fn agents_that_ask_for_permission_without_end() {
    crowd(program(scripted("claude", CLAUDE)), "floods of Claude's questions");
    let acp = format!("{ACP}{ACP_ASKS}");
    crowd(program(scripted("acp", &acp)), "floods of questions of the Agent Client Protocol");
}

#[test]
fn agents_that_call_tools_without_end() {
    let calls = format!("{ACP}{ACP_TOOLS}");
    crowd(program(scripted("acp", &calls)), "tool calls of the Agent Client Protocol");
    let long = ACP_TOOLS.replace("\"ls\"", &format!("\"{}\"", "x".repeat(3_000)));
    let calls = format!("{ACP}{long}");
    crowd(program(scripted("acp", &calls)), "tool calls with long titles");
}

#[test]
fn agents_that_read_no_answer() {
    let acp = format!("{ACP}{ACP_ASKS}");
    let denied = scripted("acp", &acp).agent(json!({"asks": "deny"}));
    crowd(program(denied), "answers that no agent reads");
    let denied = scripted("claude", CLAUDE).agent(json!({"asks": "deny"}));
    crowd(program(denied), "answers that no Claude Code reads");
}

#[test]
fn agents_that_say_much() {
    crowd(shell(r#"yes '{"type":"status","text":"hm"}'"#, "events"), "floods of events");
    crowd(shell("exec cat /dev/zero", "events"), "lines that do not end");
    crowd(shell("exec yes", "text"), "floods of text");
    let script =
        r#"printf '{"type":"ask","text":"'; head -c 4000000 /dev/zero | tr '\0' x; echo '"}'"#;
    crowd(shell(script, "events"), "large questions");
}

#[test]
fn agents_whose_lines_are_long() {
    let script = r"head -c 3900000 /dev/zero | tr '\0' x; exec sleep 60";
    crowd(shell(script, "events"), "half lines");
    let script = r#"while :; do printf '{"type":"tool","id":"1","name":"x","input":{"a":['
yes '{"a":1},' | head -n 9900 | tr -d '\n'; echo '0]}}'; done"#;
    crowd(shell(script, "events"), "lines of many values");
}

/// What the server does to which connections of agents lead.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Far {
    /// It sends without end.
    Sends,
    /// It answers a request without end, in JSON.
    Answers,
    /// It neither reads nor answers.
    Silent,
}

impl Far {
    /// Its port, while the runtime lives.
    fn start(self, runtime: &Runtime) -> u16 {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        set_socket_recv_buffer_size(&socket, 1).unwrap();
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        rustix::net::bind(&socket, &any).unwrap();
        rustix::net::listen(&socket, 4096).unwrap();
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut kept = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                if self == Self::Silent {
                    kept.push(socket);
                    continue;
                }
                tokio::spawn(async move {
                    // Below what the kernel has for all sockets together.
                    let mut left = 4;
                    if self == Self::Answers {
                        let mut head = [0; 4096];
                        while socket.read(&mut head).await? == head.len() {}
                        let answer =
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"x\":\"";
                        socket.write_all(answer.as_bytes()).await?;
                        left = 256;
                    }
                    for _ in 0..left {
                        socket.write_all(&[b'x'; 16 * 1024]).await?;
                    }
                    future::pending::<io::Result<()>>().await
                });
            }
        });
        port
    }
}

/// Agents that all do this with as many connections to the proxy as each may have.
fn at_the_proxy(kind: &str, far: Far, connections: usize) {
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let port = far.start(&runtime);
    let agents = part(AGENTS);
    let builder = World::describe();
    let cues = builder.path("cues");
    let url = format!("http://127.0.0.1:{port}");
    let set = json!({"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "none"});
    let world = program(builder)
        .patience(Duration::from_secs(120))
        .agent(json!({"driver": "claude", "skills_source": "files", "args": null, "format": null, "env": {"set": set}}))
        .config(json!({
            "log": {"console": false},
            "isolation": {"backend": "bubblewrap", "read": [cues]},
            "egress": {"allow": [format!("localhost:{port}")], "inner": ["127.0.0.0/8", "::1/128"]},
            "processes": {"max": agents},
            "timeouts": {"turn": "5m"},
        }))
        .start();
    let program = fake_agent();
    let script =
        format!("{program} 'connect {kind} {connections} localhost:{port}; write ready x; cue go'");
    for number in 0..agents {
        let mut params = message_in(&number.to_string(), &script);
        params["configuration"] = json!({"returnImmediately": true});
        world.rpc("SendMessage", params);
    }
    await_some("the connections of all agents", world.patience(), || {
        let folders = fs::read_dir(world.path("work")).unwrap().flatten();
        let ready = folders.filter(|folder| folder.path().join("ready").exists()).count();
        (ready == agents).then_some(())
    });
    held(&world, &format!("{kind} at the proxy"));
}

/// More than `egress.connections`.
const MOST_CONNECTIONS: usize = 300;

#[test]
fn requests_to_the_proxy_that_do_not_end() {
    for kind in ["silent", "half-heads", "heads", "many-headers", "pipelines", "refusals"] {
        at_the_proxy(kind, Far::Silent, MOST_CONNECTIONS);
    }
}

#[test]
fn tunnels_that_nobody_reads() {
    at_the_proxy("tunnels", Far::Sends, 64);
    at_the_proxy("early-bytes", Far::Silent, 64);
}

#[test]
fn answers_through_the_proxy_that_no_agent_reads() {
    at_the_proxy("answers", Far::Answers, MOST_CONNECTIONS);
    at_the_proxy("pages", Far::Answers, MOST_CONNECTIONS);
}

#[test]
fn uploads_through_the_proxy_that_nobody_reads() {
    at_the_proxy("uploads", Far::Silent, MOST_CONNECTIONS);
    at_the_proxy("forwards", Far::Silent, MOST_CONNECTIONS);
}

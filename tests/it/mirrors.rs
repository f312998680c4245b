//! What a repository that does not answer, and a clone that holds git up, cost the others.

use crate::activity::await_activity;
use crate::building::fake_agent;
use crate::processes::await_some;
use crate::reading::{answer, message, message_in, state};
use crate::repositories::repository;
use crate::world::{OWNER, World, await_true};
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A host that takes connections and never answers; its thread ends with the test.
struct HangingHost {
    url: String,
    taken: Arc<AtomicUsize>,
    /// Connections that came while an earlier one was open.
    overlaps: Arc<AtomicUsize>,
}

impl HangingHost {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/shop.git", listener.local_addr().unwrap());
        let host = Self { url, taken: Arc::default(), overlaps: Arc::default() };
        let (taken, overlaps) = (host.taken.clone(), host.overlaps.clone());
        std::thread::spawn(move || {
            let mut open: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming().flatten() {
                open.retain_mut(is_open);
                overlaps.fetch_add(open.len(), Ordering::SeqCst);
                stream.set_nonblocking(true).unwrap();
                open.push(stream);
                taken.fetch_add(1, Ordering::SeqCst);
            }
        });
        host
    }
}

/// Whether the other end of a connection is still there.
fn is_open(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn a_repository_that_does_not_answer_keeps_no_other_agent_waiting_and_has_one_git_at_a_time() {
    let host = HangingHost::start();
    let world = World::describe()
        .config(json!({
            "processes": {"max": 1},
            "limits": {"fetches": 1},
            "workspace": {"mode": "repository", "repository": {"url": host.url}},
            "agents": {"plain": {
                "driver": "command", "program": fake_agent(), "serve": true, "workspace": {"mode": "session"},
            }},
        }))
        .start();
    let awaits = |count| {
        let taken = || host.taken.load(Ordering::SeqCst) == count;
        assert!(await_true(world.patience(), taken), "{} connections", world.stderr());
    };
    let first = world.begin_with(message_in("one", "say x"));
    awaits(1);
    // The only place among the processes is free.
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("say done")});
    let authorization = format!("Bearer {OWNER}");
    let headers = [("Authorization", authorization.as_str())];
    let plain = world.post("/agents/plain/", &headers, call.to_string().as_bytes()).json();
    assert_eq!(state(&plain["result"]["task"]), "COMPLETED", "{plain}");
    let second = world.begin_with(message_in("two", "say x"));
    await_activity(&world, "two", ["waiting", "repository"]);
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": first}))), "CANCELED");
    awaits(2);
    assert_eq!(host.overlaps.load(Ordering::SeqCst), 0);
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": second}))), "CANCELED");
}

#[test]
fn bundles_are_bounded_and_a_clone_that_holds_git_up_holds_up_no_stop() {
    let described = World::describe()
        .agent(json!({"program": "/bin/bash", "args": ["-c"], "format": "text"}))
        .config(json!({"limits": {"gits": 1}, "timeouts": {"checkout": "1h"}}));
    let shop = repository(&described, "shop");
    let repository = json!({"workspace": {"mode": "repository", "repository": {"url": shop}}});
    let mut world = described.config(repository).start();
    for (context, then) in [("held", "rm .git/config; mkfifo .git/config"), ("other", "true")] {
        let script = format!("echo x > x; git add x; git commit -qm x; {then}");
        world.send(message_in(context, &script));
    }
    let authorization = format!("Bearer {OWNER}");
    let bundle = |context: &str| {
        let path = format!("/api/v1/sessions/{context}/bundle");
        world.post(&path, &[("Authorization", &authorization)], b"")
    };
    assert_eq!(bundle("other").status, 200);
    std::thread::scope(|scope| {
        // The only place may be that of the other one for a moment.
        let held = scope.spawn(|| {
            let mut replies = std::iter::repeat_with(|| bundle("held"));
            replies.find(|reply| reply.status != 503).unwrap()
        });
        let mut last = bundle("other");
        assert!(await_true(world.patience(), || {
            last = bundle("other");
            last.status == 503
        }));
        assert!(last.text().contains("`limits.gits`"), "{}", last.text());
        assert!(last.header("retry-after").is_some());
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(world.pid().cast_signed()).unwrap(),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let reply = held.join().unwrap();
        assert!(reply.text().contains("the server stops"), "{}", reply.text());
    });
    assert!(world.ended().success());
}

#[test]
fn a_message_goes_on_with_the_session_that_retention_looks_at() {
    let described = World::describe()
        .agent(json!({"program": "/bin/bash", "args": ["-c"], "format": "text"}))
        .config(json!({"timeouts": {"checkout": "1h"}}));
    let shop = repository(&described, "shop");
    let repository = json!({"workspace": {"mode": "repository", "repository": {"url": shop}}});
    let mut world = described.config(repository).start();
    let place = answer(&world.send(message_in("one", "rm .git/config; mkfifo .git/config; pwd")));
    world.reconfigure(json!({"sessions": {"sweep_every": "50ms", "retention": {"count": 0}}}));
    world.restart();
    // It can be opened once git waits for it, and git waits as long as it is open.
    let config = Path::new(place.trim()).join(".git/config");
    let held = await_some("the look of the sweep", world.patience(), || {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        OpenOptions::new().write(true).custom_flags(nonblocking).open(&config).ok()
    });
    assert_eq!(answer(&world.send(message_in("one", "pwd"))), place);
    drop(held);
}

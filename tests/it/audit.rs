//! What is written down of requests, and what the server tells of itself.

use crate::floods::{ACP, ACP_ASKS, scripted, stays_small};
use crate::processes::await_some;
use crate::reading::{message, text_of};
use crate::trace::send_in;
use crate::world::{BOB, OWNER, PATIENCE, World, await_true};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn wrong_token(world: &World, authorization: &str) {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}).to_string();
    world.post("/", &[("Authorization", authorization)], body.as_bytes());
}

// === the audit log ===

/// The entries of requests, when there are so many.
fn entries(world: &World, count: usize) -> Vec<Value> {
    entries_of(world, &["request"], count)
}

/// The entries of these kinds, when there are so many.
fn entries_of(world: &World, kinds: &[&str], count: usize) -> Vec<Value> {
    await_some("the audit log", PATIENCE, || {
        let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap_or_default();
        let lines: Vec<Value> =
            text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
        let is_wanted = |line: &Value| kinds.contains(&text_of(line, "kind"));
        let lines: Vec<Value> = lines.into_iter().filter(is_wanted).collect();
        (lines.len() >= count).then_some(lines)
    })
}

/// What a stranger is answered in some seconds; none where it waits, and then the stranger leaves.
fn ask_as_stranger(world: &World) -> Option<String> {
    let mut socket = TcpStream::connect(world.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    socket
        .write_all(b"GET /tasks/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).ok().map(|_| reply)
}

#[test]
fn who_leaves_while_nobody_reads_the_log_keeps_the_place_of_the_request() {
    let described = World::describe();
    let pipe = described.path("audit.pipe");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    // A quarter of the places is for strangers.
    let world = described.config(json!({"audit": pipe, "limits": {"requests": 8}})).start();
    let is_full = (0..10_000).any(|_| ask_as_stranger(&world).is_none());
    assert!(is_full);
    assert_eq!(ask_as_stranger(&world), None);
    let refused = ask_as_stranger(&world).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    // Its reader comes at last.
    let reader = std::fs::File::open(&pipe).unwrap();
    std::thread::spawn(move || std::io::copy(&mut { reader }, &mut std::io::sink()));
    await_some("a place", PATIENCE, || {
        ask_as_stranger(&world).filter(|reply| reply.starts_with("HTTP/1.1 401"))
    });
}

#[test]
fn what_an_agent_causes_while_nobody_reads_the_log_is_bounded_and_the_server_says_what_was_lost() {
    let asks = ACP_ASKS.replace("exec seq", "{ seq").replace("1000000000", "3000");
    let end = r#"echo '{"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}'; } & exec cat >/dev/null"#;
    let described = scripted("acp", &format!("{ACP}{}; {end}\n", asks.trim_end()));
    let pipe = described.path("audit.pipe");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let world = described
        .agent(json!({"asks": "allow"}))
        .config(json!({"audit": pipe, "log": {"audit_queue": 16}}))
        .start();
    let says = |what: &str| {
        let is_said = await_true(PATIENCE, || world.stderr().contains(what));
        assert!(is_said, "{what}: {}", world.stderr());
    };
    let text = std::thread::scope(|scope| {
        let begun = scope.spawn(|| world.begin("go"));
        says("nobody reads the audit log");
        stays_small(&world);
        let (written, read) = std::sync::mpsc::channel();
        let reader = std::fs::File::open(&pipe).unwrap();
        std::thread::spawn(move || {
            let lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
            let _ = lines.map_while(Result::ok).try_for_each(|line| written.send(line));
        });
        world.await_state(&begun.join().unwrap(), &["COMPLETED"]);
        says("are in no audit log");
        read.try_iter().collect::<Vec<_>>()
    });
    let decided = text.iter().filter(|line| line.contains(r#""kind":"answered""#)).count();
    assert!((1..3000).contains(&decided), "{decided} entries");
}

#[test]
fn readiness_says_that_the_audit_log_cannot_be_written() {
    let world = World::describe().config(json!({"audit": "/dev/full"})).start();
    world.say("say x");
    await_some("the failure", PATIENCE, || {
        Some(world.readiness()["audit"].clone()).filter(|audit| audit == "failed")
    });
    assert_eq!(World::start().readiness()["audit"], "ok");
}

#[test]
fn an_audit_log_that_was_renamed_is_begun_anew() {
    let world = World::start();
    world.say("say x");
    entries(&world, 1);
    let (path, old) = (world.path("audit.jsonl"), world.path("audit.jsonl.1"));
    std::fs::rename(&path, &old).unwrap();
    let before = std::fs::read_to_string(&old).unwrap();
    world.rpc("ListTasks", json!({}));
    assert_eq!(text_of(&entries(&world, 1)[0], "action"), "ListTasks");
    assert_eq!(std::fs::read_to_string(&old).unwrap(), before);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_served_request_is_written_down() {
    let world = World::start();
    let task = world.say("say x");
    let entry = &entries(&world, 1)[0];
    assert_eq!(
        (text_of(entry, "caller"), text_of(entry, "action"), text_of(entry, "outcome")),
        ("owner", "SendMessage", "ok")
    );
    assert_eq!(
        (&entry["task"], &entry["context"], &entry["status"]),
        (&task["id"], &task["contextId"], &json!(200))
    );
}

#[test]
fn a_refused_request_is_written_down() {
    let world = World::start();
    wrong_token(&world, "Bearer wrong");
    let entry = &entries(&world, 1)[0];
    assert_eq!((&entry["status"], text_of(entry, "outcome")), (&json!(401), "UNAUTHENTICATED"));
    assert!(entry.get("caller").is_none(), "{entry}");
}

#[test]
fn an_error_is_written_down_with_its_reason() {
    let world = World::start();
    world.error("GetTask", json!({"id": "nowhere"}));
    let entry = &entries(&world, 1)[0];
    assert_eq!((text_of(entry, "outcome"), text_of(entry, "task")), ("TASK_NOT_FOUND", "nowhere"));
}

#[test]
fn neither_prompt_nor_answer_nor_token_is_written_down() {
    let world = World::start();
    world.say("say unmistakable words");
    wrong_token(&world, "Bearer wrong-but-secret");
    entries(&world, 2);
    let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    for secret in ["unmistakable", OWNER, "wrong-but-secret"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn the_audit_log_is_readable_for_its_owner_alone() {
    let world = World::start();
    world.say("say x");
    entries(&world, 1);
    let mode = std::fs::metadata(world.path("audit.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_request_for_a_stream_is_written_down_with_its_task() {
    let world = World::start();
    let events = world.stream("SendStreamingMessage", message("say x")).rest();
    assert_eq!(text_of(&entries(&world, 1)[0], "task"), events[0].task_id());
}

/// A task that asks, and its ask.
fn asked(world: &World) -> (Value, Value) {
    let task = world.say("ask Which colour? | red | green");
    let auth = format!("Bearer {OWNER}");
    let asks = world.get("/api/v1/asks", &[("Authorization", &auth)]).json();
    (task, asks["asks"][0].clone())
}

fn answer_ask(world: &World, id: &str, body: &str) -> u16 {
    let auth = format!("Bearer {OWNER}");
    world.post(&format!("/api/v1/asks/{id}"), &[("Authorization", &auth)], body.as_bytes()).status
}

#[test]
fn an_answer_is_written_down_with_its_task_its_ask_and_the_decision() {
    let world = World::start();
    let (task, ask) = asked(&world);
    assert_eq!(answer_ask(&world, text_of(&ask, "askId"), r#"{"answer": "say secret"}"#), 200);
    let entry = &entries(&world, 3)[2];
    assert_eq!((text_of(entry, "action"), text_of(entry, "outcome")), ("AnswerAsk", "ok"));
    assert_eq!(
        (&entry["task"], &entry["context"], &entry["ask"], &entry["decision"]),
        (&task["id"], &task["contextId"], &ask["askId"], &json!("answer"))
    );
    assert!(!entry.to_string().contains("secret"), "{entry}");
}

#[test]
fn a_message_that_denies_is_written_down_with_its_ask_and_the_decision() {
    let world = World::start();
    let (task, ask) = asked(&world);
    let mut params = message("x");
    params["message"]["taskId"] = task["id"].clone();
    params["message"]["parts"] = json!([{"data": {"askId": ask["askId"], "decision": "deny"}}]);
    world.rpc("SendMessage", params);
    let entry = &entries(&world, 3)[2];
    assert_eq!((text_of(entry, "action"), text_of(entry, "outcome")), ("SendMessage", "ok"));
    assert_eq!((&entry["ask"], &entry["decision"]), (&ask["askId"], &json!("deny")));
}

#[test]
fn a_refused_answer_is_written_down_with_its_reason_and_the_ask_that_was_meant() {
    let world = World::start();
    let (task, ask) = asked(&world);
    assert_eq!(answer_ask(&world, text_of(&ask, "askId"), "{}"), 400);
    assert_eq!(answer_ask(&world, "unknown", "{}"), 404);
    let entries = entries(&world, 4);
    assert_eq!(text_of(&entries[2], "outcome"), "INVALID_PARAMS");
    assert_eq!((&entries[2]["task"], &entries[2]["ask"]), (&task["id"], &ask["askId"]));
    assert_eq!(
        (text_of(&entries[3], "outcome"), text_of(&entries[3], "ask")),
        ("TASK_NOT_FOUND", "unknown")
    );
    assert!(entries[2..].iter().all(|entry| entry.get("decision").is_none()), "{entries:?}");
}

#[test]
fn an_accepted_message_is_written_down_with_the_trace_of_its_caller() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let world = World::start();
    send_in(&world, TRACE, message("say x"));
    assert_eq!(entries_of(&world, &["accepted"], 1)[0]["trace"], TRACE);
    world.say("say y");
    assert_eq!(entries_of(&world, &["accepted"], 2)[1].get("trace"), None);
}

#[test]
fn what_happens_to_a_task_is_written_down_without_its_words() {
    let world = World::describe().config(json!({"asks": {"timeout": "100ms"}})).start();
    world.rpc_as(BOB, "SendMessage", message("usage 30 12 0.5; say secret words"));
    world.rpc_as(BOB, "SendMessage", message("ask secret question?"));
    let kinds = ["accepted", "asked", "answered", "ended"];
    let entries = entries_of(&world, &kinds, 6);
    let found: Vec<_> = entries.iter().map(|entry| text_of(entry, "kind")).collect();
    assert_eq!(found, ["accepted", "ended", "accepted", "asked", "ended", "answered"]);
    let [accepted, ended, _, asked, waits, expired] = &entries[..] else { panic!("{entries:?}") };
    for entry in &entries {
        assert_eq!((text_of(entry, "caller"), text_of(entry, "agent")), ("bob", "fake"));
    }
    assert_eq!((text_of(accepted, "by"), text_of(accepted, "token")), ("bob", "auth.tokens.bob"));
    assert_eq!((text_of(accepted, "peer"), &accepted["task"]), ("127.0.0.1", &ended["task"]));
    assert_eq!(
        (text_of(ended, "state"), &ended["costUsd"], &ended["tokens"]),
        ("TASK_STATE_COMPLETED", &json!(0.5), &json!(42))
    );
    assert!(ended["durationMs"].is_u64(), "{ended}");
    assert_eq!(text_of(waits, "state"), "TASK_STATE_INPUT_REQUIRED");
    assert_eq!((&asked["ask"], text_of(expired, "by")), (&expired["ask"], "timeout"));
    assert_eq!(text_of(expired, "decision"), "cancel");
    let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn an_entry_names_the_token_and_an_admin_who_answers_for_another() {
    let world = World::start();
    let asked = world.rpc_as(BOB, "SendMessage", message("ask which?"));
    let mut answer = message("that");
    answer["message"]["taskId"] = asked["task"]["id"].clone();
    world.rpc("SendMessage", answer);
    let answered = &entries_of(&world, &["answered"], 1)[0];
    assert_eq!(
        (text_of(answered, "caller"), text_of(answered, "by"), text_of(answered, "token")),
        ("bob", "owner", "auth.token")
    );
    let request = &entries(&world, 2)[1];
    assert_eq!((text_of(request, "caller"), text_of(request, "owner")), ("owner", "bob"));
    assert_eq!(text_of(request, "token"), "auth.token");
}

// === health ===

#[test]
fn health_is_public_and_says_ok() {
    let world = World::start();
    let reply = world.get("/health", &[]);
    assert_eq!((reply.status, text_of(&reply.json(), "status")), (200, "ok"));
}

#[test]
fn ready_is_public_and_holds_no_secret() {
    let world = World::start();
    let reply = world.get("/ready", &[]);
    assert_eq!((reply.status, text_of(&reply.json(), "status")), (200, "ready"));
    assert!(!reply.text().contains(OWNER));
}

#[test]
fn ready_tells_callers_alone_what_is_served_and_how_it_is_isolated() {
    let world = World::start();
    let stranger = world.get("/ready", &[]).json();
    let said: Vec<_> = stranger.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(said, ["status", "store", "stopping"]);
    let known = world.readiness();
    assert_eq!(
        (&known["agents"], &known["isolation"]["backend"]),
        (&json!(["fake"]), &json!("none"))
    );
    let guessed = world.get("/ready", &[("Authorization", "Bearer guess")]);
    assert_eq!(guessed.status, 401);
}

#[test]
fn what_is_public_is_for_our_own_hosts_alone() {
    let world = World::start();
    for path in ["/", "/health", "/ready", "/openapi.json", "/.well-known/agent-card.json"] {
        assert_eq!(world.get(path, &[]).status, 200, "{path}");
        for host in ["evil.example", "192.0.2.1"] {
            assert_eq!(world.get(path, &[("Host", host)]).status, 403, "{path} at {host}");
        }
    }
}

#[test]
fn an_unknown_path_is_404_and_a_wrong_method_405() {
    let world = World::start();
    let replies = [world.get("/nowhere", &[]), world.ask("DELETE", "/", &[], b"").whole()];
    let told = replies.map(|reply| {
        let error = reply.json()["error"].take();
        (reply.status, error["code"].clone(), error["details"][0]["reason"].clone())
    });
    let wanted = [(404, "NOT_FOUND"), (405, "METHOD_NOT_ALLOWED")];
    assert_eq!(told, wanted.map(|(status, reason)| (status, json!(status), json!(reason))));
}

#[test]
fn no_secret_stands_in_what_the_server_prints() {
    let world = World::start();
    world.say("say x");
    let printed = world.stderr() + &std::fs::read_to_string(world.path("stdout")).unwrap();
    assert!(!printed.contains(OWNER) && !printed.contains(BOB), "{printed}");
}

//! Who gets in, how often, and what is written down of it.

use crate::http::connect;
use crate::processes::await_some;
use crate::reading::{message, text_of};
use crate::world::{BOB, OWNER, PATIENCE, World};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn body() -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}})
        .to_string()
        .into_bytes()
}

fn with(world: &World, headers: &[(&str, &str)]) -> crate::http::Reply {
    world.post("/", headers, &body())
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

// === tokens ===

#[test]
fn without_a_token_nobody_gets_in_and_is_told_the_scheme() {
    let world = World::start();
    let reply = with(&world, &[]);
    assert_eq!(reply.status, 401);
    assert!(
        reply
            .header("www-authenticate")
            .unwrap()
            .starts_with("Bearer")
    );
    assert_eq!(
        reply.json()["error"]["data"][0]["reason"],
        "UNAUTHENTICATED"
    );
}

#[test]
fn a_wrong_token_gets_nobody_in() {
    let world = World::start();
    let reply = with(&world, &[("Authorization", "Bearer wrong")]);
    assert_eq!(
        (reply.status, reply.header("www-authenticate").is_some()),
        (401, true)
    );
}

#[test]
fn part_of_a_token_is_no_token() {
    let world = World::start();
    for token in [&OWNER[..OWNER.len() - 1], "", " ", &format!("{OWNER}x")] {
        assert_eq!(
            with(&world, &[("Authorization", &bearer(token))]).status,
            401,
            "{token:?}"
        );
    }
}

#[test]
fn the_scheme_may_stand_in_any_case() {
    let world = World::start();
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        assert_eq!(
            with(&world, &[("Authorization", &format!("{scheme} {OWNER}"))]).status,
            200
        );
    }
}

#[test]
fn another_scheme_is_refused() {
    let world = World::start();
    assert_eq!(
        with(&world, &[("Authorization", &format!("Basic {OWNER}"))]).status,
        401
    );
}

#[test]
fn a_refused_request_starts_nothing() {
    let world = World::start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("write note.txt x")});
    assert_eq!(
        world.post("/", &[], body.to_string().as_bytes()).status,
        401
    );
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 0);
}

#[test]
fn too_many_wrong_tokens_lock_the_address_out() {
    let world = World::new()
        .config(json!({"limits": {"wrong_tokens": 3}}))
        .start();
    let statuses: Vec<u16> = (0..4)
        .map(|_| with(&world, &[("Authorization", "Bearer wrong")]).status)
        .collect();
    assert_eq!(statuses, [401, 401, 401, 429]);
    let reply = with(&world, &[("Authorization", &bearer(OWNER))]);
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
}

#[test]
fn a_token_is_made_and_kept_readable_for_its_owner_alone() {
    let mut world = World::new()
        .config(json!({"auth": {"token": null, "tokens": null}}))
        .start();
    let file = world.path("state").join("token");
    let token = std::fs::read_to_string(&file).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, token.trim().len() >= 32), (0o600, true));
    assert_eq!(
        with(&world, &[("Authorization", &bearer(token.trim()))]).status,
        200
    );
    world.restart();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
    assert_eq!(
        with(&world, &[("Authorization", &bearer(token.trim()))]).status,
        200
    );
}

#[test]
fn the_state_folder_keeps_others_out_of_the_database() {
    let world = World::start();
    world.say("say secret");
    for name in ["pilothouse.db", "pilothouse.db-wal"] {
        let path = world.path("state").join(name);
        let file = std::fs::metadata(&path).unwrap().permissions().mode();
        let folder = std::fs::metadata(world.path("state"))
            .unwrap()
            .permissions()
            .mode();
        assert!(
            file & 0o077 == 0 || folder & 0o077 == 0,
            "{name}: {file:o} in a folder of {folder:o}"
        );
    }
}

#[test]
fn without_authentication_everybody_on_this_machine_gets_in() {
    let world = World::new().args(["--no-auth"]).start();
    assert_eq!(with(&world, &[]).status, 200);
}

#[test]
fn no_authentication_on_an_open_address_is_refused_at_the_start() {
    let failure = World::new()
        .args(["--no-auth", "--host", "0.0.0.0"])
        .fails();
    assert_eq!(failure.code, Some(78));
    assert!(failure.stderr.contains("--insecure"), "{}", failure.stderr);
}

#[test]
fn no_authentication_on_an_open_address_is_served_when_it_is_meant() {
    let world = World::new()
        .args(["--no-auth", "--insecure", "--host", "0.0.0.0"])
        .start();
    assert_eq!(with(&world, &[]).status, 200);
}

// === web pages ===

#[test]
fn a_host_that_is_not_ours_is_refused() {
    let world = World::start();
    for host in [
        "evil.example",
        "evil.example:2222",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
    ] {
        let reply = with(&world, &[("Host", host), ("Authorization", &bearer(OWNER))]);
        assert_eq!(reply.status, 403, "{host}");
    }
}

#[test]
fn a_host_that_is_not_ours_does_not_get_the_card_either() {
    let world = World::start();
    assert_eq!(
        world
            .get("/.well-known/agent-card.json", &[("Host", "evil.example")])
            .status,
        403
    );
}

#[test]
fn the_names_of_this_machine_and_listed_ones_are_ours() {
    let world = World::new()
        .config(json!({"server": {"allowed_hosts": ["agents.example"]}}))
        .start();
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "[::1]:2222",
        "agents.example",
    ] {
        assert_eq!(
            with(&world, &[("Host", host), ("Authorization", &bearer(OWNER))]).status,
            200,
            "{host}"
        );
    }
}

#[test]
fn a_web_page_may_not_call() {
    let world = World::new().args(["--no-auth"]).start();
    for origin in ["https://evil.example", "null", "http://localhost:3000"] {
        assert_eq!(with(&world, &[("Origin", origin)]).status, 403, "{origin}");
    }
}

#[test]
fn a_listed_web_page_may_call() {
    let world = World::new()
        .config(json!({"server": {"allowed_origins": ["https://console.example"]}}))
        .start();
    assert_eq!(
        with(
            &world,
            &[
                ("Origin", "https://console.example"),
                ("Authorization", &bearer(OWNER))
            ]
        )
        .status,
        200
    );
}

#[test]
fn a_form_of_a_web_page_is_no_call() {
    let world = World::new().args(["--no-auth"]).start();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let reply = world
            .ask("POST", "/", &[("Content-Type", kind)], &body())
            .whole();
        let refused = reply.status >= 400 || reply.json().get("error").is_some();
        assert!(refused, "{kind}: {}", reply.text());
    }
}

// === how often, how much ===

#[test]
fn too_many_messages_are_refused_while_reading_and_canceling_go_on() {
    let world = World::new().config(json!({"limits": {"rate": 2}})).start();
    let id = world.begin("hang");
    world.say("say second");
    let reply = world.call(OWNER, "SendMessage", &message("say third"));
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(
        reply.json()["error"]["data"][0]["reason"],
        "RESOURCE_EXHAUSTED"
    );
    for _ in 0..5 {
        world.task(&id);
    }
    world.rpc("CancelTask", json!({"id": id}));
}

#[test]
fn one_callers_rate_does_not_use_up_anothers() {
    let world = World::new().config(json!({"limits": {"rate": 1}})).start();
    world.say("say mine");
    assert_eq!(
        world
            .call(OWNER, "SendMessage", &message("say more"))
            .status,
        429
    );
    world.rpc_as(BOB, "SendMessage", message("say bobs"));
}

#[test]
fn a_body_above_the_limit_is_413() {
    let world = World::new()
        .config(json!({"limits": {"body": "64KiB", "prompt": "32KiB"}}))
        .start();
    let reply = world.call(OWNER, "SendMessage", &message(&"x".repeat(100_000)));
    assert_eq!(reply.status, 413);
    assert!(text_of(&reply.json()["error"], "message").contains("limits.body"));
}

#[test]
fn a_body_above_the_limit_that_does_not_say_so_is_413() {
    let world = World::new()
        .config(json!({"limits": {"body": "64KiB", "prompt": "32KiB"}}))
        .start();
    let chunk = "x".repeat(0x1000);
    let mut request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {OWNER}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        world.address()
    );
    (0..17).for_each(|_| request.push_str(&format!("1000\r\n{chunk}\r\n")));
    let mut socket = connect(world.address(), PATIENCE);
    socket.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
}

#[test]
fn a_prompt_above_the_limit_is_refused_with_the_limits_name() {
    let world = World::new()
        .config(json!({"limits": {"prompt": "1KiB"}}))
        .start();
    let error = world.error("SendMessage", message(&"x".repeat(2000)));
    assert_eq!(error["code"], -32602);
    assert!(
        text_of(&error, "message").contains("limits.prompt"),
        "{error}"
    );
}

#[test]
fn headers_that_do_not_come_close_the_connection() {
    let world = World::new()
        .config(json!({"timeouts": {"header": "200ms"}}))
        .start();
    let mut socket = connect(world.address(), PATIENCE);
    socket
        .write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\n")
        .unwrap();
    let mut rest = Vec::new();
    // Whatever it says, it is the end; without a limit this read would wait for its own timeout.
    socket.read_to_end(&mut rest).unwrap();
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let world = World::new()
        .config(json!({"timeouts": {"body": "200ms"}}))
        .start();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OWNER}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let mut socket = connect(world.address(), PATIENCE);
    socket.write_all(head.as_bytes()).unwrap();
    let mut said = [0; 512];
    let size = socket.read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..size]);
    assert!(said.contains("timeouts.body") || size == 0, "{said}");
}

#[test]
fn slow_connections_do_not_keep_others_out() {
    let world = World::start();
    let open: Vec<_> = (0..50)
        .map(|_| connect(world.address(), Duration::from_secs(5)))
        .collect();
    assert_eq!(crate::reading::answer(&world.say("say x")), "x");
    drop(open);
}

#[test]
fn what_is_not_http_is_no_trouble() {
    let world = World::start();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        world.raw(bytes);
    }
    assert_eq!(world.get("/health", &[]).status, 200);
}

// === the audit log ===

fn entries(world: &World, count: usize) -> Vec<Value> {
    await_some("the audit log", PATIENCE, || {
        let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap_or_default();
        let lines: Vec<Value> = text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok())
            .collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn a_served_request_is_written_down() {
    let world = World::start();
    let task = world.say("say x");
    let entry = &entries(&world, 1)[0];
    assert_eq!(
        (
            text_of(entry, "caller"),
            text_of(entry, "action"),
            text_of(entry, "outcome")
        ),
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
    with(&world, &[("Authorization", "Bearer wrong")]);
    let entry = &entries(&world, 1)[0];
    assert_eq!(
        (&entry["status"], text_of(entry, "outcome")),
        (&json!(401), "UNAUTHENTICATED")
    );
    assert!(entry.get("caller").is_none(), "{entry}");
}

#[test]
fn an_error_is_written_down_with_its_reason() {
    let world = World::start();
    world.error("GetTask", json!({"id": "nowhere"}));
    assert_eq!(text_of(&entries(&world, 1)[0], "outcome"), "TASK_NOT_FOUND");
}

#[test]
fn neither_prompt_nor_answer_nor_token_is_written_down() {
    let world = World::start();
    world.say("say unmistakable words");
    with(&world, &[("Authorization", "Bearer wrong-but-secret")]);
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
    let mode = std::fs::metadata(world.path("audit.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_request_for_a_stream_is_written_down_with_its_task() {
    let world = World::start();
    let events = world
        .stream("SendStreamingMessage", message("say x"))
        .rest();
    assert_eq!(text_of(&entries(&world, 1)[0], "task"), events[0].task_id());
}

// === health ===

#[test]
fn health_is_public_and_says_ok() {
    let world = World::start();
    let reply = world.get("/health", &[]);
    assert_eq!(
        (reply.status, text_of(&reply.json(), "status")),
        (200, "ok")
    );
}

#[test]
fn ready_is_public_and_holds_no_secret() {
    let world = World::start();
    let reply = world.get("/ready", &[]);
    assert_eq!(
        (reply.status, text_of(&reply.json(), "status")),
        (200, "ready")
    );
    assert!(!reply.text().contains(OWNER));
}

#[test]
fn an_unknown_path_is_404_and_a_wrong_method_405() {
    let world = World::start();
    assert_eq!(world.get("/nowhere", &[]).status, 404);
    assert_eq!(world.ask("DELETE", "/", &[], b"").whole().status, 405);
}

#[test]
fn no_secret_stands_in_what_the_server_prints() {
    let world = World::start();
    world.say("say x");
    let printed = world.stderr() + &std::fs::read_to_string(world.path("stdout")).unwrap();
    assert!(
        !printed.contains(OWNER) && !printed.contains(BOB),
        "{printed}"
    );
}

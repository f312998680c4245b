//! How often and how much a caller may send, and how slowly.

use crate::http::connect;
use crate::reading::{message, text_of};
use crate::world::{BOB, OWNER, PATIENCE, World, await_true};
use serde_json::json;
use std::io::{Read, Write};
use std::time::Duration;

#[test]
fn too_many_messages_are_refused_while_reading_and_canceling_go_on() {
    let world = World::describe().config(json!({"limits": {"rate": 2}})).start();
    let id = world.begin("hang");
    world.say("say second");
    let reply = world.call(OWNER, "SendMessage", &message("say third"));
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(reply.json()["error"]["data"][0]["reason"], "RESOURCE_EXHAUSTED");
    for _ in 0..5 {
        world.task(&id);
    }
    world.rpc("CancelTask", json!({"id": id}));
}

#[test]
fn one_callers_rate_does_not_use_up_anothers() {
    let world = World::describe().config(json!({"limits": {"rate": 1}})).start();
    world.say("say mine");
    assert_eq!(world.call(OWNER, "SendMessage", &message("say more")).status, 429);
    world.rpc_as(BOB, "SendMessage", message("say bobs"));
}

#[test]
fn a_body_above_the_limit_is_413() {
    let world =
        World::describe().config(json!({"limits": {"body": "64KiB", "prompt": "32KiB"}})).start();
    let reply = world.call(OWNER, "SendMessage", &message(&"x".repeat(100_000)));
    assert_eq!(reply.status, 413);
    assert!(text_of(&reply.json()["error"], "message").contains("limits.body"));
}

#[test]
fn a_body_above_the_limit_that_does_not_say_so_is_413() {
    let world =
        World::describe().config(json!({"limits": {"body": "64KiB", "prompt": "32KiB"}})).start();
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
    let world = World::describe().config(json!({"limits": {"prompt": "1KiB"}})).start();
    let error = world.error("SendMessage", message(&"x".repeat(2000)));
    assert_eq!(error["code"], -32602);
    assert!(text_of(&error, "message").contains("limits.prompt"), "{error}");
}

#[test]
fn headers_that_do_not_come_close_the_connection() {
    let world = World::describe().config(json!({"timeouts": {"header": "200ms"}})).start();
    let mut socket = connect(world.address(), PATIENCE);
    socket.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let mut rest = Vec::new();
    // Whatever it says, it is the end; without a limit this read would wait for its own timeout.
    socket.read_to_end(&mut rest).unwrap();
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let world = World::describe().config(json!({"timeouts": {"body": "200ms"}})).start();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OWNER}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let mut socket = connect(world.address(), PATIENCE);
    socket.write_all(head.as_bytes()).unwrap();
    let mut said = [0; 512];
    let size = socket.read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..size]);
    let is_timeout = said.starts_with("HTTP/1.1 408");
    assert!(is_timeout && said.contains("timeouts.body") || size == 0, "{said}");
}

#[test]
fn slow_connections_do_not_keep_others_out() {
    let world = World::start();
    let open: Vec<_> = (0..50).map(|_| connect(world.address(), Duration::from_secs(5))).collect();
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

#[test]
fn prompts_of_turns_that_wait_or_run_have_a_bound_for_each_caller_and_give_their_room_back() {
    let world = World::describe()
        .config(json!({"limits": {"prompt": "16KiB", "prompts": "64KiB"}, "processes": {"max": 1}}))
        .start();
    let long = |script: &str| {
        let mut params = message(script);
        params["message"]["metadata"] = json!({"padding": "x".repeat(20_000)});
        params["configuration"] = json!({"returnImmediately": true});
        params
    };
    let first = world.rpc("SendMessage", long("hang"))["task"]["id"].clone();
    let refused = world.call(OWNER, "SendMessage", &long("say second"));
    assert_eq!(refused.status, 429);
    assert!(text_of(&refused.json()["error"], "message").contains("`limits.prompts`"));
    // A part takes memory, however little it holds.
    let parts = vec![json!({"text": ""}); 500];
    let mut many = message("say many");
    many["message"]["parts"].as_array_mut().unwrap().extend(parts);
    assert_eq!(world.call(OWNER, "SendMessage", &many).status, 429);
    // Others have their own half, and short messages are not counted.
    world.rpc_as(BOB, "SendMessage", long("say bobs"));
    world.begin("say short");
    world.rpc("CancelTask", json!({"id": first}));
    let is_accepted = || world.call(OWNER, "SendMessage", &long("say second")).status == 200;
    assert!(await_true(PATIENCE, is_accepted));
}

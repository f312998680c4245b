//! The server's memory under callers who send and ask for the largest that they may: it stays below 100 MiB.
//!
//! The sizes are what the defaults allow; the same bodies took gigabytes when they became trees.

mod crowds;

use crate::h2c::{self, framed};
use crate::http::{Reply, connect, read_head};
use crate::reading::{message, text_of};
use crate::sizes::peak;
use crate::world::{OWNER, World};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as Socket;

/// The most memory that the server may ever take.
const MOST: u64 = 100 << 20;

/// More than `limits.data`: what it is made of as a tree is many times larger.
const BODY: usize = 4_500_000;

/// Bytes of a message that is taken: what it is made of as a tree is fifty times larger.
const LARGE: usize = 200_000;

/// Callers at a time.
const CALLERS: usize = 8;

fn quiet() -> World {
    World::describe().config(json!({"log": {"console": false}})).start()
}

fn send_raw(world: &World, body: &[u8]) -> Reply {
    world.post("/", &[("Authorization", &format!("Bearer {OWNER}"))], body)
}

/// The body of a `SendMessage` whose message has these members beside its parts.
fn body_with(parts: &str, members: &str) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{{"message":{{"messageId":"m","role":"ROLE_USER","parts":{parts}{members}}}}}}}"#
    )
    .into_bytes()
}

/// So many bytes of this item, as a list of JSON.
fn list_of(item: &str) -> String {
    let items = BODY / (item.len() + 1);
    let mut list = String::with_capacity(BODY);
    list.push('[');
    for _ in 1..items {
        list.push_str(item);
        list.push(',');
    }
    list.push_str(item);
    list.push(']');
    list
}

/// All callers at once; what each is told.
fn all_at_once(callers: usize, send: impl Fn(usize) -> String + Sync) -> Vec<String> {
    std::thread::scope(|scope| {
        let send = &send;
        let sends: Vec<_> = (0..callers).map(|caller| scope.spawn(move || send(caller))).collect();
        sends.into_iter().map(|send| send.join().unwrap()).collect()
    })
}

fn assert_small(world: &World, after: &str) {
    let peak = peak(world);
    assert!(peak < MOST, "{} MiB after {after}", peak >> 20);
}

#[test]
fn bodies_of_millions_of_values_are_refused_within_100_mib() {
    let world = quiet();
    let text = r#"[{"text":"say x"}]"#;
    for (what, key, body) in [
        (
            "metadata",
            "limits.metadata",
            body_with(text, &format!(r#","metadata":{{"a":{}}}"#, list_of("{}"))),
        ),
        ("data", "limits.data", body_with(&format!(r#"[{{"data":{}}}]"#, list_of("0.0625")), "")),
        ("parts", "limits.parts", body_with(&list_of(r#"{"text":""}"#), "")),
        (
            "ids",
            "limits.items",
            body_with(text, &format!(r#","referenceTaskIds":{}"#, list_of(r#""""#))),
        ),
        (
            "extensions",
            "limits.items",
            body_with(text, &format!(r#","extensions":{}"#, list_of(r#""""#))),
        ),
    ] {
        let callers = if what == "metadata" { 4 } else { 1 };
        let told = all_at_once(callers, |_| {
            let reply = send_raw(&world, &body);
            assert_eq!(reply.status, 200, "{what}");
            text_of(&reply.json()["error"], "message").to_owned()
        });
        assert!(told.iter().all(|told| told.contains(key)), "{told:?}");
        assert_small(&world, what);
    }
    assert_eq!(crate::reading::answer(&world.say("say alive")), "alive");
}

#[test]
fn a_protobuf_message_of_millions_of_parts_is_refused_within_100_mib() {
    let world = quiet();
    // Field 5 of the message, empty: two bytes each.
    let parts = [0x2a, 0].repeat(BODY / 2);
    let mut length = parts.len();
    let mut request = vec![0x12];
    while length > 0x7f {
        request.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    request.push(length as u8);
    request.extend(parts);
    let request = framed(&request);
    let authorization = format!("Bearer {OWNER}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    let told = all_at_once(2, |_| {
        let path = "/lf.a2a.v1.A2AService/SendMessage";
        let answer = h2c::ask(world.address(), path, &headers, request.clone(), world.patience());
        answer.whole().1.message
    });
    assert!(told.iter().all(|told| told.contains("limits.parts")), "{told:?}");
    assert_small(&world, "parts in protobuf");
}

#[test]
fn large_messages_that_are_taken_and_read_again_stay_within_100_mib() {
    let stdin = json!({"input": "stdin", "args": ["--events", "--stdin"]});
    let world = World::describe().config(json!({"log": {"console": false}})).agent(stdin).start();
    let data = format!(r#"[{{"text":"exit 0;"}},{{"data":[{}0]}}]"#, "0,".repeat(LARGE / 2));
    all_at_once(CALLERS, |caller| {
        let reply = send_raw(&world, &body_with(&data, &format!(r#","contextId":"{caller}""#)));
        let json = reply.json();
        text_of(&json["result"]["task"], "id").to_owned()
    })
    .iter()
    .for_each(|id| drop(world.await_state(id, &["COMPLETED", "FAILED"])));
    assert_small(&world, "8 large messages");
    let (mut seen, mut pages, mut token) = (0, 0, String::new());
    loop {
        let params = json!({"pageToken": token, "includeArtifacts": true});
        let page = world.call(OWNER, "ListTasks", &params);
        assert!(page.body.len() <= 4 << 20, "{} bytes", page.body.len());
        let page = page.json();
        seen += page["result"]["tasks"].as_array().unwrap().len();
        pages += 1;
        token = text_of(&page["result"], "nextPageToken").to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, CALLERS);
    assert!(pages > 1, "{pages} pages");
    all_at_once(CALLERS, |_| world.rpc("ListTasks", json!({}))["totalSize"].to_string());
    assert_small(&world, "reading them");
}

#[test]
fn a_page_ends_where_its_response_is_full_and_its_token_leads_on() {
    let world = World::describe()
        .config(
            json!({"limits": {"response": "100KiB", "event": "64KiB", "inline_answer": "1KiB"}}),
        )
        .start();
    let ids: Vec<String> = (0..5)
        .map(|number| {
            let mut params = message(&format!("say {number}"));
            let data = json!({"data": "x".repeat(30_000)});
            params["message"]["parts"].as_array_mut().unwrap().push(data);
            text_of(&world.rpc("SendMessage", params)["task"], "id").to_owned()
        })
        .collect();
    let (mut seen, mut token): (Vec<String>, _) = (Vec::new(), Value::from(""));
    while seen.len() < ids.len() {
        let page = world.rpc("ListTasks", json!({"pageToken": token, "pageSize": 5}));
        let tasks = page["tasks"].as_array().unwrap();
        assert!(page.to_string().len() <= 100 << 10);
        assert!((1..5).contains(&tasks.len()), "{} tasks", tasks.len());
        assert_eq!(page["totalSize"], 5);
        seen.extend(tasks.iter().map(|task| text_of(task, "id").to_owned()));
        token = page["nextPageToken"].clone();
    }
    assert_eq!(token, "");
    assert_eq!(seen, ids.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn of_a_history_that_is_too_large_the_newest_messages_are_shown() {
    let world = World::describe()
        .config(
            json!({"limits": {"response": "100KiB", "event": "64KiB", "inline_answer": "1KiB"}}),
        )
        .start();
    let id = world.begin_waiting("cue go", "go");
    for number in 0..6 {
        let mut params = message(&format!("say {number}"));
        params["message"]["taskId"] = id.as_str().into();
        let data = json!({"data": "x".repeat(30_000)});
        params["message"]["parts"].as_array_mut().unwrap().push(data);
        params["configuration"] = json!({"returnImmediately": true});
        world.rpc("SendMessage", params);
    }
    let task = world.task(&id);
    assert!(task.to_string().len() <= 100 << 10);
    let history = task["history"].as_array().unwrap();
    assert!((1..6).contains(&history.len()), "{} messages", history.len());
    let newest = &history.last().unwrap()["parts"][0]["text"];
    assert_eq!(newest, "say 5");
    world.cue("go");
    world.await_state(&id, &["COMPLETED"]);
}

#[test]
fn a_large_body_is_asked_for_when_there_is_a_place_for_it() {
    let bodies = json!({"limits": {"body": "200KiB", "prompt": "200KiB", "bodies": "200KiB"}});
    let world = World::describe().config(bodies).start();
    let params = message(&format!("say large; {}", " ".repeat(150_000)));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params});
    let body = body.to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OWNER}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let asks = |mut socket: &Socket| {
        let mut line = [0; 25];
        socket.read_exact(&mut line).map(|()| assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n"))
    };
    let begin = || {
        let mut socket = connect(world.address(), world.patience());
        socket.write_all(head.as_bytes()).unwrap();
        socket
    };
    let mut first = begin();
    asks(&first).unwrap();
    let mut second = begin();
    for _ in 0..10 {
        assert_eq!(crate::reading::answer(&world.say("say small")), "small");
    }
    second.set_nonblocking(true).unwrap();
    assert_eq!(asks(&second).unwrap_err().kind(), ErrorKind::WouldBlock);
    second.set_nonblocking(false).unwrap();
    first.write_all(body.as_bytes()).unwrap();
    asks(&second).unwrap();
    second.write_all(body.as_bytes()).unwrap();
    for socket in [first, second] {
        assert_eq!(read_head(socket).unwrap().status, 200);
    }
}

#[test]
fn large_bodies_wait_for_each_other_and_small_ones_for_nobody() {
    let world = World::describe()
        .config(json!({
            "limits": {"body": "200KiB", "prompt": "200KiB", "bodies": "200KiB"},
            "timeouts": {"body": "500ms"},
        }))
        .start();
    // More than a small body, and then nothing: its place is taken until its time is over.
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OWNER}\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n"
    );
    let mut stuck = connect(world.address(), world.patience());
    stuck.write_all(head.as_bytes()).unwrap();
    stuck.write_all(&[b' '; 100_000]).unwrap();
    assert_eq!(crate::reading::answer(&world.say("say small")), "small");
    let large = message(&format!("say large; {}", " ".repeat(100_000)));
    // Either it waited for as long as it may, or the other one's time was over before.
    let reply = world.call(OWNER, "SendMessage", &large);
    if reply.status == 503 {
        assert!(text_of(&reply.json()["error"], "message").contains("limits.bodies"));
        assert!(reply.header("retry-after").is_some());
    }
    let mut told = [0; 512];
    let size = stuck.read(&mut told).unwrap();
    assert!(String::from_utf8_lossy(&told[..size]).contains("timeouts.body"));
    assert_eq!(world.call(OWNER, "SendMessage", &large).status, 200);
}

//! Clients that go away in the middle of a request: what was begun comes to its end all the same.

use crate::bindings::Binding;
use crate::h2c;
use crate::http::{begin_body, connect};
use crate::processes::await_some;
use crate::reading::{answer, message, message_to, state, text_of};
use crate::world::{OWNER, World};
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

/// How many clients leave, each a little later than the one before.
const CLIENTS: u32 = 60;
/// How much later.
const LATER: Duration = Duration::from_micros(70);

/// Posts a body and closes the connection after so long, whatever has come by then.
fn post_and_leave(world: &World, path: &str, further: &str, body: &Value, stay: Duration) {
    let (address, body) = (world.address(), body.to_string());
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {OWNER}\r\n{further}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = connect(address, world.patience());
    socket.write_all((head + &body).as_bytes()).unwrap();
    // Not to wait for anything: so that each leaves at another moment.
    sleep(stay);
}

/// Sends `count` under many keys, leaving sooner or later while it is taken; then again under each,
/// waiting for the answer: there is one task for each key, and it has come to its end.
fn leave_and_come_back(leave: impl Fn(&World, u32, &Value)) {
    let world = World::start();
    let sent: Vec<Value> = (0..CLIENTS).map(|_| message("count")).collect();
    for (n, params) in (0..).zip(&sent) {
        leave(&world, n, params);
    }
    for (n, params) in sent.iter().enumerate() {
        let door = world.through(Binding::JsonRpc);
        let door = door.header("idempotency-key", &format!("key-{n}"));
        let task = door.well(Operation::SendMessage, params)["task"].take();
        assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "1"), "{task:#}");
    }
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], CLIENTS);
}

#[test]
fn who_leaves_while_a_message_is_taken_finds_its_one_task_again() {
    leave_and_come_back(|world, n, params| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params});
        let key = format!("Idempotency-Key: key-{n}\r\n");
        post_and_leave(world, "/", &key, &body, n * LATER);
    });
}

#[test]
fn who_leaves_over_http_2_while_a_message_is_taken_finds_its_one_task_again() {
    leave_and_come_back(|world, n, params| {
        let authorization = format!("Bearer {OWNER}");
        let key = format!("key-{n}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
            ("idempotency-key", key.as_str()),
        ];
        let body = params.to_string().into_bytes();
        let stay = Duration::from_millis(1) + n * LATER;
        h2c::ask_and_leave(world.address(), "/message:send", &headers, body, stay);
    });
}

#[test]
fn who_leaves_a_stream_while_its_message_is_taken_leaves_no_task_without_an_end() {
    let world = World::start();
    for n in 0..CLIENTS {
        post_and_leave(&world, "/message:stream", "", &message("say x"), n * LATER);
    }
    // What came before this has been taken, or never will be.
    world.say("say y");
    await_some("the end of all tasks", world.patience(), || {
        let count = |params: Value| world.rpc("ListTasks", params)["totalSize"].clone();
        let ended = count(json!({"status": "TASK_STATE_COMPLETED"}));
        (ended == count(json!({}))).then_some(())
    });
}

#[test]
fn an_answer_whose_sender_leaves_is_taken_whole_or_not_at_all() {
    let world = World::start();
    let asked: Vec<String> =
        (0..CLIENTS).map(|_| text_of(&world.say("ask which?"), "id").to_owned()).collect();
    for (n, id) in (0..).zip(&asked) {
        let params = message_to(id, "say green");
        post_and_leave(&world, "/message:send", "", &params, n * LATER);
    }
    for id in asked {
        let task = world.await_state(&id, &["COMPLETED", "INPUT_REQUIRED"]);
        if state(&task) == "INPUT_REQUIRED" {
            let task = world.send(message_to(&id, "say green"));
            assert_eq!(answer(&task), "green");
        }
    }
}

#[test]
fn a_cancel_whose_sender_leaves_is_carried_out_or_can_be_asked_for_again() {
    let world = World::start();
    for n in 0..10 {
        let id = world.begin_waiting("cue never", "never");
        let path = format!("/tasks/{id}:cancel");
        post_and_leave(&world, &path, "", &json!({}), n * 4 * LATER);
        let task = world.rpc("CancelTask", json!({"id": id}));
        assert_eq!(state(&task), "CANCELED");
    }
    world.await_no_agents();
}

#[test]
fn reads_go_on_after_many_callers_hung_up_in_the_middle_of_one() {
    let world = World::start();
    for _ in 0..20 {
        world.say("say x");
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}});
    std::thread::scope(|scope| {
        for thread in 0..24u32 {
            let (world, body) = (&world, &body);
            scope.spawn(move || {
                for n in 0..100u32 {
                    let micros = 500 + u64::from((thread * 611 + n * 1_937) % 19_500);
                    let stay = Duration::from_micros(micros);
                    post_and_leave(world, "/", "", body, stay);
                }
            });
        }
    });
    // As many as there are readers, and more, so that none of them may be lost.
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 20));
        }
    });
}

#[test]
fn a_cancel_of_a_question_whose_sender_leaves_is_shown_as_it_is_stored() {
    let world = World::start();
    let asked: Vec<String> =
        (0..CLIENTS).map(|_| text_of(&world.say("ask which?"), "id").to_owned()).collect();
    for (n, id) in (0..).zip(&asked) {
        let path = format!("/tasks/{id}:cancel");
        post_and_leave(&world, &path, "", &json!({}), LATER * 3 + 3 * n * LATER);
    }
    for id in &asked {
        world.rpc("CancelTask", json!({"id": id}));
        assert_eq!(state(&world.task(id)), "CANCELED");
    }
    let stored = stored_states(&world);
    assert!(stored.iter().all(|state| *state == CANCELED), "{stored:?}");
    assert!(!world.stderr().contains("UNIQUE"), "{}", world.stderr());
}

/// `TASK_STATE_CANCELED` as the store has it.
const CANCELED: i64 = 5;

/// The state of each task as the database has it.
fn stored_states(world: &World) -> Vec<i64> {
    let file = world.path("state").join("pilothouse.db");
    let database = rusqlite::Connection::open(file).unwrap();
    let mut states = database.prepare("SELECT state FROM tasks").unwrap();
    let states = states.query_map([], |row| row.get(0)).unwrap();
    states.map(Result::unwrap).collect()
}

#[test]
fn a_task_whose_sender_left_is_in_the_audit_log_once() {
    let world = World::start();
    for n in 0..20 {
        post_and_leave(&world, "/message:send", "", &message("cue later"), 30 * n * LATER);
    }
    let listed = await_some("every task", world.patience(), || {
        let tasks = world.rpc("ListTasks", json!({}))["tasks"].take();
        // The first callers left before a task could be made of what they sent.
        (tasks.as_array().is_some_and(|tasks| tasks.len() >= 10)).then_some(tasks)
    });
    await_some("the audit log", world.patience(), || {
        let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<Value> = lines.filter(|line| line["action"] == "SendMessage").collect();
        let noted = |task: &Value| {
            let mut of_task = lines.iter().filter(|line| line["task"] == task["id"]);
            let first = of_task.next()?;
            assert!(of_task.next().is_none(), "{task} is there twice");
            assert_eq!(
                (text_of(first, "caller"), text_of(first, "outcome")),
                ("owner", "CALLER_LEFT")
            );
            Some(())
        };
        listed.as_array().unwrap().iter().map(noted).collect::<Option<Vec<()>>>()
    });
    world.cue("later");
}

/// The outcomes and states in the audit log, when there are so many.
fn noted(world: &World, count: usize) -> Vec<(String, u64)> {
    await_some("the audit log", world.patience(), || {
        let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<_> = lines
            .filter(|line| line["kind"] == "request")
            .map(|line| (text_of(&line, "outcome").to_owned(), line["status"].as_u64().unwrap()))
            .collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn who_leaves_in_the_middle_of_a_body_is_noted_as_gone() {
    let world = World::start();
    let requests = ["POST /", "POST /message:send", "GET /api/v1/sessions", "POST /api/v1/asks/a"];
    for request in requests {
        let mut socket = begin_body(world.address(), OWNER, request, world.patience());
        socket.write_all(b"half").unwrap();
    }
    assert_eq!(noted(&world, 4), vec![("CALLER_LEFT".to_owned(), 499); 4]);
}

#[test]
fn who_closes_with_the_last_byte_of_a_request_is_in_the_audit_log_once() {
    let world = World::start();
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}});
    let requests = [
        ("POST /", list),
        ("POST /message:send", json!({"message": {}})),
        ("GET /tasks", Value::Null),
        ("GET /api/v1/sessions", Value::Null),
        ("POST /api/v1/asks/a", json!({})),
    ];
    for _ in 0..20 {
        for (line, body) in &requests {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let head = format!(
                "{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {OWNER}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                world.address(),
                body.len()
            );
            let mut socket = connect(world.address(), world.patience());
            socket.write_all((head + &body).as_bytes()).unwrap();
        }
    }
    let count = 20 * requests.len();
    noted(&world, count);
    // One that comes after them shows that none of them is there twice.
    world.error("GetTask", json!({"id": "nowhere"}));
    let all = noted(&world, count + 1);
    assert_eq!(all.len(), count + 1);
    let fits = |(outcome, status): &&(String, u64)| (outcome == "CALLER_LEFT") == (*status == 499);
    assert_eq!(all.iter().filter(fits).count(), all.len(), "{all:?}");
}

#[test]
fn a_malformed_body_is_noted_as_such() {
    let world = World::start();
    let head = format!(
        "POST /message:send HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OWNER}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"
    );
    let mut socket = connect(world.address(), world.patience());
    socket.write_all(head.as_bytes()).unwrap();
    assert_eq!(noted(&world, 1), [("INVALID_REQUEST".to_owned(), 400)]);
}

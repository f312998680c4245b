//! Callers and agents that try something, or are merely odd.

use crate::reading::{answer, artifact_text, message, message_in, state, text_of, words};
use crate::world::{BOB, OWNER, World};
use serde_json::json;

fn send_raw(world: &World, headers: &[(&str, &str)], body: &str) -> crate::http::Reply {
    let authorization = format!("Bearer {OWNER}");
    let mut all = vec![("Authorization", authorization.as_str())];
    all.extend(headers);
    world.ask("POST", "/", &all, body.as_bytes()).whole()
}

#[test]
fn an_artifact_called_answer_does_not_replace_the_answer() {
    let world = World::start();
    let task = world.say("say real; artifact answer other; say -words");
    let texts: Vec<&str> = task["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|made| text_of(made, "artifactId"))
        .collect();
    let own = format!("{}-answer", text_of(&task, "id"));
    let place = texts.iter().position(|id| *id == own).unwrap();
    assert_eq!(crate::reading::parts_text(&task["artifacts"][place]["parts"]), "real-words");
}

#[test]
fn control_characters_of_agent_and_caller_do_not_reach_the_console() {
    let world = World::start();
    world.say("say \u{1b}[2J\u{1b}]0;owned\u{7}; status \u{1b}[31mred; tool \u{1b}[1m {}; message \u{9b}31m");
    world.error("\u{1b}[2Jmethod", json!({}));
    let task = world.say("exit 3; \u{1b}[2J");
    assert_eq!(state(&task), "FAILED");
    let printed = std::fs::read_to_string(world.path("stdout")).unwrap() + &world.stderr();
    assert!(!printed.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{printed:?}");
}

#[test]
fn line_separators_of_every_kind_pass_through_a_stream() {
    let world =
        World::describe().agent(json!({"input": "stdin", "args": ["--events", "--stdin"]})).start();
    let text = "a\rb\u{2028}c\u{2029}d\u{85}e\u{c}f";
    let events = world.stream("SendStreamingMessage", message(&format!("say {text}"))).rest();
    assert_eq!(crate::reading::streamed_answer(&events), text);
}

#[test]
fn an_agent_that_removes_its_own_workspace_finds_a_new_one_next_time() {
    let script = r#"case "$1" in remove) rm -rf "$PWD";; *) echo "in $PWD";; esac"#;
    let world = World::describe()
        .agent(json!({"program": "/bin/sh", "args": ["-c", script, "sh"], "format": "text"}))
        .start();
    world.send(message_in("gone", "remove"));
    let task = world.send(message_in("gone", "look"));
    assert!(answer(&task).starts_with("in "), "{task}");
}

#[test]
fn an_agent_that_closes_its_output_and_goes_on_is_waited_for() {
    let script = "echo words; exec >&- 2>&-; while [ ! -e \"$FAKE_AGENT_CUES/go\" ]; do sleep 0.01; done; exit 4";
    let world = World::describe()
        .agent(json!({"program": "/bin/sh", "args": ["-c", script], "format": "text"}))
        .start();
    let id = world.begin("x");
    world.await_task(&id, "its words", |task| answer(task) == "words\n");
    assert_eq!(state(&world.task(&id)), "WORKING");
    world.cue("go");
    let task = world.await_state(&id, &["COMPLETED", "FAILED"]);
    assert!(words(&task).contains("code 4"), "{}", words(&task));
}

#[test]
fn an_agent_that_has_closed_its_output_can_be_canceled() {
    let script = "exec >&- 2>&-; sleep 3600";
    let world = World::describe()
        .agent(json!({"program": "/bin/sh", "args": ["-c", script], "format": "text"}))
        .start();
    let id = world.begin("x");
    world.await_state(&id, &["WORKING"]);
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
}

#[test]
fn a_stream_of_errors_without_end_does_not_block_the_agent() {
    let script = "head -c 20000000 /dev/zero | tr '\\0' e >&2; echo done";
    let world = World::describe()
        .agent(json!({"program": "/bin/sh", "args": ["-c", script], "format": "text"}))
        .start();
    assert_eq!(answer(&world.say("x")), "done\n");
}

#[test]
fn folders_with_spaces_and_quotes_are_worked_in() {
    let builder = World::describe();
    let work = builder.path("my work's \"folder\" ünd $HOME");
    let world = builder
        .file("set up's.sh", 0o644, "echo \"$PWD\" > where.txt\n")
        .args(["--init-session", "set up's.sh"])
        .config(json!({"workspace": {"path": work}}))
        .start();
    let told = |script: &str| answer(&world.send(message_in("one", script)));
    assert_eq!(told("read where.txt"), told("pwd"));
}

#[test]
fn an_error_before_the_first_event_is_json_and_no_stream() {
    let world = World::start();
    let calls = [
        ("SendStreamingMessage", json!({})),
        ("message/stream", json!({})),
        ("SubscribeToTask", json!({"id": "nowhere"})),
    ];
    for (method, params) in calls {
        let body =
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let reply = send_raw(&world, &[("Content-Type", "application/json")], &body);
        assert_eq!(reply.header("content-type"), Some("application/json"), "{method}");
        assert!(reply.json()["error"]["code"].is_i64(), "{method}");
    }
}

#[test]
fn content_types_of_json_are_taken_and_others_are_not() {
    let world = World::start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}).to_string();
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/a2a+json",
    ] {
        let reply = send_raw(&world, &[("Content-Type", kind)], &body).json();
        assert!(reply.get("result").is_some(), "{kind}: {reply}");
    }
    assert_eq!(
        send_raw(&world, &[("Content-Type", "text/plain")], &body).json()["error"]["code"],
        -32005
    );
    assert_eq!(send_raw(&world, &[], &body).json()["error"]["code"], -32005);
}

#[test]
fn ids_of_requests_come_back_as_they_were_spelled() {
    let world = World::start();
    for id in ["7", "-1", "1.50", "12345678901234567890123", "\"\"", "\"ünï\"", "null"] {
        let body =
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ListTasks\",\"params\":{{}}}}");
        let reply = send_raw(&world, &[("Content-Type", "application/json")], &body).text();
        assert!(reply.contains(&format!("\"id\":{id},")), "{id}: {reply}");
    }
}

#[test]
fn two_requests_on_one_connection_are_both_answered() {
    let world = World::start();
    let one = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let two = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8(world.raw(format!("{one}{two}").as_bytes())).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
}

#[test]
fn a_state_that_is_none_is_refused_as_a_filter() {
    let world = World::start();
    assert_eq!(world.error("ListTasks", json!({"status": "TASK_STATE_HAPPY"}))["code"], -32602);
}

#[test]
fn a_client_made_id_is_no_id_of_v1_0() {
    let world = World::start();
    let params = json!({"id": "my-id", "message": {"role": "user", "parts": [{"type": "text", "text": "say x"}]}});
    world.rpc("tasks/send", params);
    assert_eq!(world.error("GetTask", json!({"id": "my-id"}))["code"], -32001);
}

#[test]
fn a_foreign_session_is_not_found() {
    let world = World::start();
    world.send(message_in("mine", "say x"));
    let status = |token: &str| {
        world.get("/api/v1/sessions/mine", &[("Authorization", &format!("Bearer {token}"))]).status
    };
    assert_eq!((status(OWNER), status(BOB)), (200, 404));
}

#[test]
fn artifacts_of_one_name_are_one_artifact_in_its_newest_form() {
    let world = World::start();
    let task = world.say("artifact notes old; artifact notes new; say done");
    assert_eq!(
        (task["artifacts"].as_array().unwrap().len(), artifact_text(&task, "notes").as_str()),
        (2, "new")
    );
}

#[test]
fn a_method_of_v1_0_under_an_older_version_is_refused() {
    let world = World::start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}).to_string();
    let reply =
        send_raw(&world, &[("Content-Type", "application/json"), ("A2A-Version", "0.3")], &body);
    assert_eq!(reply.json()["error"]["code"], -32009);
}

#[test]
fn a_huge_number_in_place_of_a_length_is_refused() {
    let world = World::start();
    for length in ["18446744073709551616", "-1", "1, 2"] {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OWNER}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        let answer = String::from_utf8_lossy(&world.raw(head.as_bytes())).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{length}: {answer}");
    }
    assert_eq!(answer(&world.say("say well")), "well");
}

#[test]
fn a_length_and_chunks_at_once_do_not_smuggle_a_request() {
    let world = World::start();
    let hidden = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n{hidden}"
    );
    let answer = String::from_utf8_lossy(&world.raw(head.as_bytes())).into_owned();
    assert!(answer.matches("HTTP/1.1").count() <= 1, "{answer}");
}

#[test]
fn an_agent_that_ends_its_own_supervisor_leaves_no_process_behind() {
    let shell = json!({"program": "/bin/sh", "args": ["-c"], "format": "text"});
    let world = World::describe().agent(shell).start();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
                  (setsid sleep 3600 >&- 2>&- &); done; kill -9 $PPID; sleep 3600";
    let task = world.say(script);
    assert_eq!(state(&task), "FAILED", "{task:#}");
    world.await_no_agents();
    assert_eq!(answer(&world.say("echo well")), "well\n");
}

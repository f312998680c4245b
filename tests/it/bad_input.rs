//! What callers and agents may get wrong: each is answered, nothing breaks.

use crate::reading::{answer, message, message_with, state, text_of, words};
use crate::world::{OWNER, World};
use serde_json::{Value, json};
use std::io::Read;
use std::time::{Duration, Instant};

fn post(world: &World, body: &[u8]) -> Value {
    let reply = world.post("/", &[("Authorization", &format!("Bearer {OWNER}"))], body);
    let envelope = reply.json();
    // Whatever came, the server is well afterwards.
    assert_eq!(world.get("/health", &[]).status, 200);
    envelope
}

fn code(envelope: &Value) -> i64 {
    envelope["error"]["code"]
        .as_i64()
        .unwrap_or_else(|| panic!("no error in {envelope}"))
}

fn wrong(params: Value) -> Value {
    World::start().error("SendMessage", params)
}

fn field_of(error: &Value) -> &str {
    text_of(&error["data"][1]["fieldViolations"][0], "field")
}

// === envelopes ===

#[test]
fn malformed_json_is_a_parse_error() {
    let world = World::start();
    for body in [
        &b"{\"jsonrpc\": "[..],
        b"",
        b"hello",
        b"{'a': 1}",
        b"\xff\xfe",
    ] {
        assert_eq!(code(&post(&world, body)), -32700, "{body:?}");
    }
}

#[test]
fn a_batch_is_refused() {
    let world = World::start();
    let body =
        json!([{"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}]).to_string();
    assert_eq!(code(&post(&world, body.as_bytes())), -32600);
}

#[test]
fn an_envelope_of_another_kind_is_refused() {
    let world = World::start();
    for body in [
        json!({}),
        json!(1),
        json!({"id": 1, "method": "ListTasks"}),
        json!({"jsonrpc": "1.0", "id": 1, "method": "ListTasks"}),
        json!({"jsonrpc": "2.0", "id": 1}),
        json!({"jsonrpc": "2.0", "id": {"a": 1}, "method": "ListTasks"}),
        json!({"jsonrpc": "2.0", "id": 1, "method": 5}),
    ] {
        assert_eq!(
            code(&post(&world, body.to_string().as_bytes())),
            -32600,
            "{body}"
        );
    }
}

#[test]
fn an_unknown_method_is_not_found_and_its_id_is_echoed() {
    let world = World::start();
    let envelope = post(
        &world,
        br#"{"jsonrpc":"2.0","id":"x-7","method":"message/fly","params":{}}"#,
    );
    assert_eq!((code(&envelope), &envelope["id"]), (-32601, &json!("x-7")));
}

#[test]
fn params_of_a_wrong_type_are_refused() {
    let world = World::start();
    for params in [json!([1]), json!("text"), json!(5)] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params})
            .to_string();
        assert_eq!(code(&post(&world, body.as_bytes())), -32602, "{params}");
    }
}

#[test]
fn missing_params_are_refused() {
    let world = World::start();
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"SendMessage"}"#;
    assert_eq!(code(&post(&world, body)), -32602);
}

// === messages ===

#[test]
fn a_field_of_a_wrong_type_is_named() {
    let error =
        wrong(json!({"message": {"messageId": "1", "role": "ROLE_USER", "parts": "hello"}}));
    assert_eq!(error["code"], -32602);
    assert!(text_of(&error, "message").contains("parts"), "{error}");
}

#[test]
fn a_missing_field_is_named() {
    for missing in ["messageId", "role", "parts"] {
        let mut params = message("say x");
        params["message"].as_object_mut().unwrap().remove(missing);
        let error = wrong(params);
        assert_eq!(error["code"], -32602, "{missing}");
        assert!(
            text_of(&error, "message").contains(missing),
            "{missing}: {error}"
        );
    }
}

#[test]
fn empty_parts_are_refused() {
    let error = wrong(message_with(json!([])));
    assert_eq!(
        (&error["code"], field_of(&error)),
        (&json!(-32602), "message.parts")
    );
}

#[test]
fn a_part_without_content_is_refused() {
    assert_eq!(wrong(message_with(json!([{}])))["code"], -32602);
}

#[test]
fn a_part_with_two_contents_is_refused() {
    assert_eq!(
        wrong(message_with(json!([{"text": "say x", "data": {}}])))["code"],
        -32602
    );
}

#[test]
fn an_empty_text_is_refused() {
    for text in ["", "  \n\t "] {
        assert_eq!(wrong(message(text))["code"], -32602, "{text:?}");
    }
}

#[test]
fn a_file_that_no_agent_reads_is_refused_by_its_type() {
    let error = wrong(message_with(
        json!([{"raw": "/////w==", "mediaType": "application/zip"}]),
    ));
    assert_eq!(error["code"], -32005);
}

#[test]
fn base64_that_is_none_is_refused() {
    assert_eq!(
        wrong(message_with(
            json!([{"raw": "!!!", "mediaType": "text/plain"}])
        ))["code"],
        -32602
    );
}

#[test]
fn a_message_of_an_agent_is_refused() {
    let mut params = message("say x");
    params["message"]["role"] = json!("ROLE_AGENT");
    let error = wrong(params);
    assert_eq!(
        (&error["code"], field_of(&error)),
        (&json!(-32602), "message.role")
    );
}

#[test]
fn a_negative_history_length_is_refused() {
    let world = World::start();
    let id = world.say("say x")["id"].clone();
    assert_eq!(
        world.error("GetTask", json!({"id": id, "historyLength": -1}))["code"],
        -32602
    );
}

#[test]
fn an_unknown_task_is_not_found() {
    let world = World::start();
    for id in [
        "nowhere",
        "../../etc/passwd",
        "' or 1=1 --",
        "0191a0b0-0000-7000-8000-000000000000",
    ] {
        for method in ["GetTask", "CancelTask", "SubscribeToTask"] {
            let error = world.error(method, json!({"id": id}));
            assert_eq!(error["code"], -32001, "{method} {id}");
        }
    }
}

#[test]
fn an_empty_id_is_refused() {
    assert_eq!(
        World::start().error("GetTask", json!({"id": ""}))["code"],
        -32602
    );
}

#[test]
fn a_message_to_an_unknown_task_is_not_found() {
    assert_eq!(
        wrong(crate::reading::message_to("nowhere", "say x"))["code"],
        -32001
    );
}

#[test]
fn a_context_that_is_too_long_or_holds_control_characters_is_refused() {
    for context in ["x".repeat(257), "a\nb".to_owned(), "a\u{0}b".to_owned()] {
        assert_eq!(
            wrong(crate::reading::message_in(&context, "say x"))["code"],
            -32602,
            "{context:?}"
        );
    }
}

#[test]
fn deep_json_is_refused() {
    let world = World::start();
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for levels in [200, 100_000] {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"SendMessage\",\"params\":{{\"message\":{{\"messageId\":\"1\",\
             \"role\":\"ROLE_USER\",\"parts\":[{{\"data\":{}}}]}}}}}}",
            deep(levels)
        );
        let code = code(&post(&world, body.as_bytes()));
        assert!([-32602, -32700].contains(&code), "{levels} levels: {code}");
    }
}

#[test]
fn a_request_for_push_notifications_is_refused_before_anything_runs() {
    let world = World::start();
    let mut params = message("write note.txt x");
    params["configuration"] = json!({"taskPushNotificationConfig": {"url": "http://127.0.0.1:9/"}});
    assert_eq!(world.error("SendMessage", params)["code"], -32003);
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 0);
}

// === prompts ===

fn argument(more: Value) -> World {
    World::new().agent(more).start()
}

#[test]
fn a_prompt_like_an_option_is_refused_with_advice() {
    let error = wrong(message("--version"));
    assert_eq!(error["code"], -32602);
    let told = text_of(&error, "message");
    assert!(
        told.contains("input: stdin") && told.contains("terminator"),
        "{told}"
    );
}

#[test]
fn a_prompt_like_an_option_works_over_standard_input() {
    let world = argument(json!({"input": "stdin", "args": ["--events", "--stdin"]}));
    assert_eq!(answer(&world.say("--version")), "echo: --version");
}

#[test]
fn a_prompt_like_an_option_works_behind_a_terminator() {
    let world = argument(json!({"terminator": "--"}));
    assert_eq!(answer(&world.say("--version")), "echo: --version");
}

#[test]
fn a_prompt_longer_than_an_argument_is_refused_with_advice() {
    let error = wrong(message(&format!("bytes;{}", "x".repeat(140_000))));
    assert_eq!(error["code"], -32602);
    assert!(
        text_of(&error, "message").contains("input: stdin"),
        "{error}"
    );
}

#[test]
fn a_prompt_just_short_enough_for_an_argument_arrives_whole() {
    let world = World::start();
    let text = format!("bytes;{}", "#".repeat(120_000));
    assert!(answer(&world.say(&text)).starts_with("120006"));
}

#[test]
fn a_prompt_of_megabytes_arrives_whole_over_standard_input() {
    let world = argument(json!({"input": "stdin", "args": ["--events", "--stdin"]}));
    let text = format!("bytes;exit 0;{}", "x".repeat(5_000_000));
    assert_eq!(answer(&world.say(&text)), "5000013");
}

#[test]
fn an_agent_that_does_not_read_a_long_prompt_is_no_trouble() {
    let world = argument(
        json!({"program": "/bin/sh", "args": ["-c", "echo done"], "input": "stdin", "format": "text"}),
    );
    let task = world.say(&"x".repeat(2_000_000));
    assert_eq!(
        (state(&task), answer(&task).as_str()),
        ("COMPLETED", "done\n")
    );
}

#[test]
fn a_nul_in_an_argument_is_refused_with_advice() {
    let error = wrong(message("say a\u{0}b"));
    assert_eq!(error["code"], -32602);
    assert!(
        text_of(&error, "message").contains("input: stdin"),
        "{error}"
    );
}

#[test]
fn a_nul_over_standard_input_arrives() {
    let world = argument(json!({"input": "stdin", "args": ["--events", "--stdin"]}));
    assert_eq!(answer(&world.say("say a\u{0}b")), "a\u{0}b");
}

#[test]
fn text_of_every_script_arrives_and_comes_back() {
    let world = World::start();
    let text = "日本語 עברית 👩‍👩‍👧 \u{202e}é\u{301} \"'\\`$(x)";
    assert_eq!(answer(&world.say(&format!("echo {text}"))), text);
}

// === what agents write ===

#[test]
fn bytes_that_are_not_utf_8_come_as_replacement_characters() {
    let world = argument(json!({"format": "text", "args": []}));
    let task = world.say("invalid; say after");
    assert_eq!(answer(&task), "caf\u{fffd} \u{fffd}\u{fffd}\nafter\n");
}

#[test]
fn a_nul_of_the_agent_comes_back() {
    let world = argument(json!({"format": "text", "args": []}));
    assert_eq!(answer(&world.say("nul")), "a\u{0}b\n");
}

#[test]
fn a_character_that_two_writes_cut_in_two_comes_back_whole() {
    let script = r"printf '\303'; sleep 0.05; printf '\251\n'";
    let world = argument(json!({"program": "/bin/sh", "args": ["-c", script], "format": "text"}));
    assert_eq!(answer(&world.say("x")), "é\n");
}

#[test]
fn a_line_above_the_limit_fails_the_task_and_says_which_limit() {
    let world = World::new()
        .config(json!({"limits": {"line": "64KiB"}}))
        .start();
    let task = world.say("say before; bigline 100000; hang");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("limits.line"), "{}", words(&task));
    world.await_no_agents();
}

#[test]
fn an_answer_above_the_limit_fails_the_task_and_says_which_limit() {
    let world = World::new()
        .config(json!({"limits": {"answer": "1MiB", "line": "1MiB"}}))
        .start();
    let task = world.say("flood 3000000; hang");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("limits.answer"), "{}", words(&task));
}

#[test]
fn lines_that_are_no_events_do_no_harm() {
    let world = World::start();
    let task = world.say("line plain words; line [1,2]; line {\"type\":\"unheard-of\"}; line {\"type\":5}; invalid; say done");
    assert_eq!(
        (state(&task), answer(&task).as_str()),
        ("COMPLETED", "done")
    );
}

#[test]
fn output_of_100_megabytes_streams_whole() {
    const BYTES: usize = 100_000_000;
    let world = World::new()
        .config(json!({"log": {"console": false}}))
        .agent(json!({"format": "text", "args": []}))
        .patience(Duration::from_secs(60))
        .start();
    let began = Instant::now();
    let mut events = world.stream("SendStreamingMessage", message(&format!("flood {BYTES}")));
    let (mut bytes, mut last, mut id) = (0, None, String::new());
    while let Some(event) = events.next() {
        bytes += if event.kind() == "artifactUpdate" {
            event.words().len()
        } else {
            0
        };
        event.task_id().clone_into(&mut id);
        last = event.state().map(ToOwned::to_owned).or(last);
    }
    assert_eq!((bytes, last.as_deref()), (BYTES, Some("COMPLETED")));
    let authorization = format!("Bearer {OWNER}");
    let mut whole = world.ask(
        "GET",
        &format!("/api/v1/tasks/{id}/answer"),
        &[("Authorization", &authorization)],
        b"",
    );
    let mut counted = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match whole.body.read(&mut buffer).unwrap() {
            0 => break,
            size => counted += size,
        }
    }
    assert_eq!(counted, BYTES);
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_task_too_large_for_a_response_says_where_the_rest_is() {
    let world = World::new()
        .config(json!({"limits": {"response": "1MiB"}}))
        .start();
    let task = world.say("flood 3000000");
    assert!(
        task.to_string().len() < 2_000_000,
        "{} bytes",
        task.to_string().len()
    );
    let parts = crate::reading::artifact(&task, "answer")["parts"]
        .as_array()
        .unwrap();
    let url = parts.iter().find_map(|part| part["url"].as_str()).unwrap();
    let reply = world.get(url, &[("Authorization", &format!("Bearer {OWNER}"))]);
    assert_eq!((reply.status, reply.body.len()), (200, 3_000_000));
}

#[test]
fn a_late_subscriber_of_a_huge_answer_gets_all_of_it() {
    let world = World::start();
    let id = world.begin_waiting("flood 3000000; cue go", "go");
    let events = world.subscribe(&id);
    world.cue("go");
    let events = events.rest();
    assert_eq!(events[0].kind(), "task");
    assert_eq!(crate::reading::streamed_answer(&events).len(), 3_000_000);
}

// === how agents end ===

#[test]
fn an_agent_that_exits_at_once_fails_the_task_with_its_code_and_last_words() {
    let world = World::start();
    let task = world.say("err something is missing; exit 3");
    assert_eq!(state(&task), "FAILED");
    let words = words(&task);
    assert!(
        words.contains("code 3") && words.contains("something is missing"),
        "{words}"
    );
}

#[test]
fn an_agent_ended_by_a_signal_fails_the_task_with_the_signals_name() {
    let world = World::start();
    for (number, name) in [(9, "SIGKILL"), (15, "SIGTERM"), (6, "SIGABRT")] {
        let task = world.say(&format!("signal {number}; hang"));
        assert_eq!(state(&task), "FAILED");
        assert!(words(&task).contains(name), "{}", words(&task));
    }
}

#[test]
fn what_a_failing_agent_said_is_kept() {
    let task = World::start().say("say half of it; exit 1");
    assert_eq!(
        (state(&task), answer(&task).as_str()),
        ("FAILED", "half of it")
    );
}

#[test]
fn a_flood_of_errors_keeps_its_last_words() {
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo 'error line number' $i >&2; i=$((i+1)); done; exit 5";
    let world = argument(json!({"program": "/bin/sh", "args": ["-c", script], "format": "text"}));
    let task = world.say("x");
    assert_eq!(state(&task), "FAILED");
    let words = words(&task);
    assert!(
        words.contains("number 19999") && words.len() < 70_000,
        "{} bytes",
        words.len()
    );
}

#[test]
fn a_program_that_vanishes_fails_the_task_and_names_it() {
    let builder = World::new();
    let program = builder.path("vanishing");
    std::fs::copy("/bin/true", &program).unwrap();
    let world = builder.agent(json!({"program": program})).start();
    std::fs::remove_file(world.path("vanishing")).unwrap();
    let task = world.say("x");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("vanishing"), "{}", words(&task));
}

#[test]
fn a_child_that_keeps_the_output_open_does_not_keep_the_task() {
    let world = World::start();
    let task = world.say("fork hold; say done");
    assert_eq!(state(&task), "COMPLETED");
    world.await_no_agents();
}

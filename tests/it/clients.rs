//! What A2A clients of the field need, as raw requests: how streams end and stay open, in which form answers come, what
//! browsers ask, and answers that name no task.

use crate::http::Event;
use crate::reading::{
    answer, artifact_text, message, message_in, message_to, state, streamed_answer, text_of,
};
use crate::world::{OWNER, World};
use serde_json::{Value, json};
use std::io::{BufRead, Read};

fn bearer() -> String {
    format!("Bearer {OWNER}")
}

/// The updates of the artifact that is the answer: text, `append`, `lastChunk`.
fn updates(events: &[Event]) -> Vec<(String, bool, bool)> {
    let updates = events.iter().map(|event| (event, &event.result["artifactUpdate"]));
    let of_answer = updates.filter(|(_, update)| {
        update["artifact"]["artifactId"].as_str().is_some_and(|id| id.ends_with("-answer"))
    });
    of_answer
        .map(|(event, update)| {
            (event.words(), update["append"] == true, update["lastChunk"] == true)
        })
        .collect()
}

/// A message that asks for a form of its answer.
fn message_for(form: &str, text: &str) -> Value {
    let mut params = message(text);
    params["message"]["metadata"] = json!({"answers": form});
    params
}

/// A script that says two pieces, the second one after the reader has seen the first.
const TWO: &str = "say one; wait go; say two; wait end";

/// The events of [`TWO`], up to the end.
fn two_pieces(world: &World, params: Value) -> Vec<Event> {
    let mut events = world.stream("SendStreamingMessage", params);
    let mut seen = events.until("the task", |event| event.kind() == "task");
    world.cue("go");
    world.cue("end");
    seen.extend(events.rest());
    seen
}

// === how streams end ===

#[test]
fn the_last_update_of_a_streamed_answer_has_the_whole_in_the_place_of_the_pieces() {
    let world = World::start();
    let mut events = world.stream("SendStreamingMessage", message(TWO));
    let mut seen = events.until("a piece", |event| event.words() == "one");
    world.cue("go");
    seen.extend(events.until("a piece", |event| event.words() == "two"));
    world.cue("end");
    seen.extend(events.rest());
    let expected = [("one", false, false), ("two", true, false), ("onetwo", false, true)];
    assert_eq!(
        updates(&seen),
        expected.map(|(text, append, last)| (text.to_owned(), append, last))
    );
    assert_eq!(streamed_answer(&seen), "onetwo");
}

#[test]
fn an_answer_in_one_piece_is_one_update_that_is_the_last() {
    let world = World::start();
    let seen = world.stream("SendStreamingMessage", message("say hello")).rest();
    assert_eq!(streamed_answer(&seen), "hello");
    let last: Vec<_> = updates(&seen).into_iter().filter(|(.., last)| *last).collect();
    assert_eq!(last, [("hello".to_owned(), false, true)]);
}

#[test]
fn a_caller_may_ask_for_the_whole_alone_or_for_pieces_alone() {
    let world = World::start();
    let whole = two_pieces(&world, message_for("whole", TWO));
    assert_eq!(updates(&whole), [("onetwo".to_owned(), false, true)]);
    let pieces = updates(&two_pieces(&world, message_for("pieces", TWO)));
    let text: String = pieces.iter().map(|(text, ..)| text.as_str()).collect();
    assert_eq!(text, "onetwo");
    assert_eq!(pieces.iter().filter(|(.., last)| *last).count(), 1, "{pieces:?}");
    assert!(pieces.last().unwrap().2, "{pieces:?}");
    let refused = world.error("SendStreamingMessage", message_for("half", TWO));
    assert!(text_of(&refused, "message").contains("metadata.answers"), "{refused}");
}

#[test]
fn the_operator_chooses_the_form_of_answers() {
    let world = World::describe().config(json!({"streams": {"answers": "whole"}})).start();
    assert_eq!(updates(&two_pieces(&world, message(TWO))), [("onetwo".to_owned(), false, true)]);
}

#[test]
fn an_answer_that_is_too_large_for_an_event_keeps_its_pieces_or_says_where_it_is() {
    let world = World::start();
    let text = "flood 1000000 20000; wait go";
    let cued = |form| {
        let mut events = world.stream("SendStreamingMessage", message_for(form, text));
        let mut seen = events.until("the task", |event| event.kind() == "task");
        world.cue("go");
        seen.extend(events.rest());
        seen
    };
    let closed = cued("closed");
    assert_eq!(streamed_answer(&closed).len(), 1_000_000);
    assert!(updates(&closed).last().unwrap().2);
    let whole = cued("whole");
    let parts = whole
        .iter()
        .filter_map(|event| event.result["artifactUpdate"]["artifact"]["parts"].as_array())
        .next_back()
        .unwrap();
    let url = text_of(parts.last().unwrap(), "url");
    let headers = [("Authorization", &*bearer())];
    assert_eq!(world.get(url, &headers).text().len(), 1_000_000);
}

#[test]
fn every_dialect_and_binding_hears_which_piece_is_the_last() {
    let world = World::start();
    let id = uuid::Uuid::new_v4().to_string();
    let older = json!({"message": {"kind": "message", "messageId": id, "role": "user", "parts": [{"kind": "text", "text": "say a; status b; say c"}]}});
    let seen = world.stream("message/stream", older).rest();
    let last = seen.iter().rfind(|event| event.result["kind"] == "artifact-update").unwrap();
    assert_eq!(
        (&last.result["lastChunk"], &last.result["append"]),
        (&json!(true), &json!(false)),
        "{last:?}"
    );
    assert_eq!(text_of(&last.result["artifact"]["parts"][0], "text"), "ac");
    let headers = [("Content-Type", "application/json"), ("Authorization", &*bearer())];
    let body = message("say a; status b; say c").to_string();
    let reply = world.ask("POST", "/message:stream", &headers, body.as_bytes()).whole().text();
    let last = reply.lines().rfind(|line| line.contains("artifactUpdate")).unwrap();
    let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(last["artifactUpdate"]["lastChunk"], true, "{last}");
}

// === how streams stay open ===

#[test]
fn a_comment_on_a_silent_stream_is_no_end_of_an_event() {
    let world = World::describe().config(json!({"timeouts": {"keep_alive": "50ms"}})).start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": message("cue go")});
    let headers = [("Content-Type", "application/json"), ("Authorization", &*bearer())];
    let mut answer = world.ask("POST", "/", &headers, body.to_string().as_bytes());
    let (mut comments, mut lines) = (0, Vec::new());
    while comments < 3 {
        let mut line = String::new();
        assert!(answer.body.read_line(&mut line).unwrap() > 0, "the stream ended");
        comments += u32::from(line.starts_with(':'));
        lines.push(line);
    }
    world.cue("go");
    // A reader that takes a blank line behind a comment for an event without data ends there.
    let behind = lines.windows(2).filter(|two| two[0].starts_with(':') && two[1] == "\n");
    assert_eq!(behind.count(), 0, "{lines:?}");
}

#[test]
fn no_character_of_an_answer_ends_a_line_of_its_stream() {
    let world = World::start();
    let said = "a\u{2028}b\u{2029}c\u{85}d\u{e9}\u{201c}";
    let body = json!({"jsonrpc": "2.0", "id": "x\u{2028}y", "method": "SendStreamingMessage", "params": message(&format!("say {said}"))});
    let headers = [("Content-Type", "application/json"), ("Authorization", &*bearer())];
    let reply = world.ask("POST", "/", &headers, body.to_string().as_bytes()).whole().text();
    for end in ['\u{2028}', '\u{2029}', '\u{85}'] {
        assert!(!reply.contains(end), "{end:?}");
    }
    assert!(reply.contains("\\u2028b\\u2029c\\u0085d\u{e9}\u{201c}"), "{reply}");
    let line = reply.lines().rfind(|line| line.contains("artifactUpdate")).unwrap();
    let envelope: Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
    let part = &envelope["result"]["artifactUpdate"]["artifact"]["parts"][0];
    assert_eq!((text_of(part, "text"), text_of(&envelope, "id")), (said, "x\u{2028}y"));
}

// === pieces ===

#[test]
fn small_pieces_are_gathered_and_nothing_is_lost() {
    let count = |gather: u64| {
        let world = World::describe().config(json!({"streams": {"gather_ms": gather}})).start();
        let script: Vec<_> = (0..200).map(|_| "say x").collect();
        let seen = world.stream("SendStreamingMessage", message(&script.join(";"))).rest();
        assert_eq!(streamed_answer(&seen), "x".repeat(200));
        updates(&seen).len()
    };
    let gathered = count(60_000);
    assert!(gathered <= 2, "{gathered} updates");
}

#[test]
fn the_end_of_a_line_is_shown_at_once() {
    let world = World::describe().config(json!({"streams": {"gather_ms": 60_000}})).start();
    let script = r#"say a; wait b; line {"type":"text","text":"b\n"}; wait c; say c"#;
    let mut events = world.stream("SendStreamingMessage", message(script));
    events.until("the first piece", |event| event.words() == "a");
    world.cue("b");
    events.until("the line", |event| event.words() == "b\n");
    world.cue("c");
    events.rest();
}

// === v0.3 ===

#[test]
fn an_error_of_a_stream_in_0_3_is_an_event_for_clients_that_read_events() {
    let world = World::start();
    let id = uuid::Uuid::new_v4().to_string();
    let params = json!({"message": {"kind": "message", "messageId": id, "taskId": "none", "role": "user", "parts": [{"kind": "text", "text": "x"}]}});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "message/stream", "params": params});
    let ask = |accept: &str| {
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", &*bearer()),
            ("Accept", accept),
        ];
        world.ask("POST", "/", &headers, body.to_string().as_bytes()).whole()
    };
    let reply = ask("text/event-stream");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let text = reply.text();
    let envelope: Value =
        serde_json::from_str(text.trim().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&envelope["error"]["code"], &envelope["id"]), (&json!(-32001), &json!(7)));
    assert_eq!(ask("application/json").json(), envelope);
}

#[test]
fn version_0_3_reads_snake_case_at_every_depth_over_json_rpc_and_http_json() {
    let world = World::describe().config(json!({"push": {"allow": ["127.0.0.1"]}})).start();
    let begin = |context: &str| {
        let id = uuid::Uuid::new_v4().to_string();
        json!({
            "message": {"kind": "message", "message_id": id, "context_id": context, "role": "user", "parts": [
                {"kind": "text", "text": "read .a2a/note.bin; say x"},
                {"kind": "file", "file": {"mime_type": "text/plain", "name": "n.txt", "bytes": "aGk="}},
            ]},
            "configuration": {
                "blocking": true,
                "accepted_output_modes": ["text/plain"],
                "history_length": 0,
                "push_notification_config": {"id": "hook", "url": "http://127.0.0.1:9/"},
            },
        })
    };
    let task = world.rpc("message/send", begin("over-rpc"));
    assert_eq!(text_of(&task, "contextId"), "over-rpc");
    assert!(task["history"].as_array().is_none_or(Vec::is_empty), "{task:#}");
    let id = text_of(&task, "id");
    let got = world.rpc(
        "tasks/pushNotificationConfig/get",
        json!({"id": id, "push_notification_config_id": "hook"}),
    );
    assert_eq!(text_of(&got["pushNotificationConfig"], "url"), "http://127.0.0.1:9/");
    let set = json!({"task_id": id, "push_notification_config": {"id": "other", "url": "http://127.0.0.1:9/b"}});
    assert_eq!(text_of(&world.rpc("tasks/pushNotificationConfig/set", set), "taskId"), id);
    let short = world.rpc("tasks/get", json!({"id": id, "history_length": 0}));
    assert!(short["history"].as_array().is_none_or(Vec::is_empty), "{short:#}");
    let headers = [("Authorization", &*bearer())];
    let reply = world.post("/v1/message:send", &headers, begin("over-http").to_string().as_bytes());
    let task = reply.json()["task"].take();
    assert_eq!(text_of(&task, "contextId"), "over-http", "{task:#}");
    assert!(task["history"].as_array().is_none_or(Vec::is_empty), "{task:#}");
}

// === answers that name no task ===

const ASK: &str = "ask Which colour? | red | green";

#[test]
fn a_message_without_a_task_answers_the_only_one_that_waits_in_its_context() {
    let world = World::start();
    let task = world.send(message_in("one", ASK));
    assert_eq!(state(&task), "INPUT_REQUIRED");
    let answered = world.send(message_in("one", "say green"));
    assert_eq!((&answered["id"], state(&answered)), (&task["id"], "COMPLETED"));
    assert_eq!(answer(&answered), "green");
    // Nothing waits any more, so this is a task of its own.
    let next = world.send(message_in("one", "say next"));
    assert_ne!(next["id"], task["id"]);
}

#[test]
fn a_message_to_another_context_answers_nothing() {
    let world = World::start();
    let task = world.send(message_in("one", ASK));
    let other = world.send(message_in("two", "say green"));
    assert_ne!(other["id"], task["id"]);
    assert_eq!(state(&world.task(text_of(&task, "id"))), "INPUT_REQUIRED");
}

#[test]
fn where_several_tasks_of_a_context_wait_the_error_names_them() {
    let world = World::describe().config(json!({"asks": {"by_context": false}})).start();
    let tasks = [0, 1].map(|_| world.send(message_in("one", ASK)));
    assert_ne!(tasks[0]["id"], tasks[1]["id"], "the strict reading begins a new task");
    let mut world = world;
    world.reconfigure(json!({"asks": {"by_context": true}}));
    world.restart();
    let refused = world.error("SendMessage", message_in("one", "say green"));
    for task in &tasks {
        assert!(text_of(&refused, "message").contains(text_of(task, "id")), "{refused}");
    }
    let first = text_of(&tasks[0], "id");
    assert_eq!(state(&world.send(message_to(first, "say red"))), "COMPLETED");
    assert_eq!(state(&world.send(message_in("one", "say green"))), "COMPLETED");
}

// === browsers ===

const PAGE: &str = "https://console.example";

fn with_page() -> World {
    World::describe().config(json!({"server": {"allowed_origins": [PAGE]}})).start()
}

#[test]
fn a_browser_is_told_that_a_listed_page_may_call() {
    let world = with_page();
    let asked = [
        ("Origin", PAGE),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type,a2a-version"),
    ];
    for path in ["/", "/message:stream", "/.well-known/agent-card.json", "/agents/fake/"] {
        let reply = world.ask("OPTIONS", path, &asked, b"").whole();
        assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE), "{path}");
        let headers = reply.header("access-control-allow-headers").unwrap_or_default();
        assert!(
            ["authorization", "content-type", "a2a-version", "last-event-id"]
                .iter()
                .all(|name| headers.contains(name)),
            "{headers}"
        );
        assert!(reply.header("access-control-allow-methods").unwrap().contains("POST"));
    }
    let strange = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")];
    let reply = world.ask("OPTIONS", "/", &strange, b"").whole();
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[test]
fn answers_and_streams_may_be_read_by_a_listed_page_alone() {
    let world = with_page();
    let headers =
        [("Content-Type", "application/json"), ("Authorization", &*bearer()), ("Origin", PAGE)];
    for path in ["/message:send", "/message:stream"] {
        let body = message("say x").to_string();
        let reply = world.ask("POST", path, &headers, body.as_bytes()).whole();
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some(PAGE)));
        let vary = reply.header("vary").unwrap_or_default().to_lowercase();
        assert!(vary.contains("origin"), "{vary}");
    }
    let strange = [
        ("Content-Type", "application/json"),
        ("Authorization", &*bearer()),
        ("Origin", "https://evil.example"),
    ];
    let refused = world.ask("POST", "/message:send", &strange, b"{}").whole();
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None));
}

// === compressed bodies ===

#[test]
fn a_body_may_come_compressed_with_gzip_and_in_no_other_way() {
    let world = World::start();
    let body = message("say packed").to_string();
    let packed = gzip(body.as_bytes());
    let send = |encoding: &str, body: &[u8]| {
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", &*bearer()),
            ("Content-Encoding", encoding),
        ];
        world.ask("POST", "/message:send", &headers, body).whole()
    };
    let reply = send("gzip", &packed);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(artifact_text(&reply.json()["task"], "answer"), "packed");
    let refused = send("br", &packed);
    assert_eq!((refused.status, refused.header("accept-encoding")), (415, Some("gzip")));
    assert_eq!(send("gzip", body.as_bytes()).status, 400);
}

#[test]
fn what_is_unpacked_from_a_body_is_bounded_as_a_body_is() {
    let world =
        World::describe().config(json!({"limits": {"body": "64KiB", "prompt": "32KiB"}})).start();
    let body = message(&"x".repeat(10_000_000)).to_string();
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", &*bearer()),
        ("Content-Encoding", "gzip"),
    ];
    let reply = world.ask("POST", "/message:send", &headers, &gzip(body.as_bytes())).whole();
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(reply.text().contains("limits.body"), "{}", reply.text());
}

#[test]
fn a_large_answer_comes_compressed_to_those_who_take_it() {
    let world = World::start();
    let id = text_of(&world.say("flood 200000 1000"), "id").to_owned();
    let get = |encodings: &str| {
        let headers = [("Authorization", &*bearer()), ("Accept-Encoding", encodings)];
        world.ask("GET", &format!("/tasks/{id}"), &headers, b"").whole()
    };
    let plain = get("identity");
    assert_eq!(
        (plain.header("content-encoding"), plain.header("vary")),
        (None, Some("Accept-Encoding"))
    );
    let packed = get("gzip, deflate");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < plain.body.len() / 10, "{} bytes", packed.body.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&unpacked).unwrap(), plain.json());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

// === what reaches the agent ===

#[test]
fn a_program_is_told_who_calls_and_what_came_beside_the_words() {
    let world = World::start();
    let mut params = message("env A2A_MESSAGE");
    params["message"]["metadata"] = json!({"ticket": 7});
    params["message"]["extensions"] = json!(["urn:example:one"]);
    params["message"]["referenceTaskIds"] = json!(["task-1"]);
    params["configuration"] = json!({"acceptedOutputModes": ["text/plain"]});
    let told: Value = serde_json::from_str(&answer(&world.send(params))).unwrap();
    let expected = json!({
        "caller": "owner",
        "extensions": ["urn:example:one"],
        "referenceTaskIds": ["task-1"],
        "acceptedOutputModes": ["text/plain"],
        "metadata": {"ticket": 7},
    });
    assert_eq!(told, expected);
    assert_eq!(answer(&world.say("env A2A_MESSAGE")), r#"{"caller":"owner"}"#);
}

#[test]
fn an_agent_may_be_told_in_its_prompt_what_came_beside_the_words() {
    let world = World::describe().agent(json!({"message_context": true})).start();
    let mut params = message("x");
    params["message"]["metadata"] = json!({"ticket": 7});
    let said = answer(&world.send(params));
    assert!(said.contains(r#""metadata":{"ticket":7}"#), "{said}");
}

#[test]
fn a_caller_that_takes_nothing_that_the_agent_gives_is_refused() {
    let world = World::start();
    let with = |modes: Value| {
        let mut params = message("say x");
        params["configuration"] = json!({"acceptedOutputModes": modes});
        params
    };
    assert_eq!(world.error("SendMessage", with(json!(["image/png"])))["code"], -32005);
    for modes in [json!([]), json!(["text"]), json!(["image/png", "text/*"]), json!(["*/*"])] {
        assert_eq!(state(&world.send(with(modes.clone()))), "COMPLETED", "{modes}");
    }
}

#[test]
fn files_come_by_data_urls_and_addresses_with_their_names_and_large_texts_lie_in_the_workspace() {
    let world = World::start();
    let said = |part: Value| {
        answer(&world.send(crate::reading::message_with(json!([{"text": "see"}, part]))))
    };
    let data =
        said(json!({"url": "data:application/octet-stream;base64,/w==", "filename": "b.bin"}));
    assert!(data.contains("Attached file: .a2a/") && data.contains("/b.bin"), "{data}");
    assert!(said(json!({"url": "data:text/plain,hello%20there"})).contains("hello there"));
    let named = json!({"url": "https://example.com/x", "filename": "x.pdf", "mediaType": "application/pdf"});
    assert!(said(named).contains("x.pdf, application/pdf: https://example.com/x"));
    let small = said(json!({"raw": "aGk=", "filename": "small.txt"}));
    assert!(small.contains("small.txt:"), "{small}");
    // 24 KiB of text in base64.
    let large = said(json!({"raw": "YWFh".repeat(8192), "filename": "large.txt"}));
    assert!(large.contains("/large.txt") && !large.contains("aaaa"), "{large}");
    let broken = crate::reading::message_with(json!([{"url": "data:;base64,%"}]));
    assert_eq!(world.error("SendMessage", broken)["code"], -32602);
}

// === kagent's extensions ===

const APPROVALS: &str = "https://kagent.dev/extensions/hitl/v1";
const USAGE: &str = "https://kagent.dev/extensions/usage/v1";

#[test]
fn a_client_of_kagent_reads_what_is_asked_and_answers_in_the_words_of_its_extension() {
    let world = World::start();
    let both = format!("{APPROVALS}, {USAGE}");
    let send = |params: &Value| {
        let headers = [("Authorization", &*bearer()), ("A2A-Extensions", &*both)];
        let reply = world.post("/message:send", &headers, params.to_string().as_bytes());
        assert_eq!(reply.header("a2a-extensions"), Some(&*both));
        reply.json()["task"].take()
    };
    let task = send(&message(ASK));
    let asked = &task["status"]["message"];
    assert_eq!(asked["extensions"], json!([APPROVALS]));
    let request = &asked["metadata"][APPROVALS];
    assert_eq!(text_of(request, "type"), "ask_user_request");
    let question =
        json!([{"question": "Which colour?", "choices": ["red", "green"], "multiple": false}]);
    assert_eq!(request["questions"], question);
    let mut answered = message_to(text_of(&task, "id"), "answered");
    let response = json!({"type": "ask_user_response", "id": request["id"], "answers": [{"answer": ["say green; usage 10 5"]}]});
    answered["message"]["metadata"] = json!({APPROVALS: response});
    let task = send(&answered);
    assert_eq!((state(&task), answer(&task)), ("COMPLETED", "green".to_owned()));
    let used = &task["metadata"][USAGE];
    assert_eq!(
        (&used["inputTokens"], &used["outputTokens"], &used["totalTokens"]),
        (&json!(10), &json!(5), &json!(15))
    );
    let plain = world.task(text_of(&task, "id"));
    assert!(plain["metadata"].get(USAGE).is_none(), "{plain:#}");
}

#[test]
fn a_stream_of_a_client_of_kagent_has_what_is_asked_too_and_that_of_others_has_not() {
    let world = World::start();
    let asked = |headers: &[(&str, &str)]| {
        let events = world.stream_with("SendStreamingMessage", message(ASK), headers).rest();
        events.last().unwrap().result["statusUpdate"]["status"]["message"]["metadata"][APPROVALS]
            .clone()
    };
    assert_eq!(text_of(&asked(&[("A2A-Extensions", APPROVALS)]), "type"), "ask_user_request");
    assert_eq!(asked(&[]), Value::Null);
}

// === requests of frameworks, as their source writes them ===

/// The A2A Inspector: v0.3 in a stream, each message with the context alone.
#[test]
fn the_inspector_answers_a_question_though_it_names_no_task() {
    let world = World::start();
    let send = |text: &str| {
        let id = uuid::Uuid::new_v4().to_string();
        let message = json!({
            "kind": "message", "messageId": id, "contextId": "inspected", "role": "user", "metadata": {},
            "parts": [{"kind": "text", "text": text}],
        });
        let configuration = json!({"acceptedOutputModes": ["text/plain", "video/mp4"]});
        let params = json!({"message": message, "configuration": configuration});
        let seen = world.stream("message/stream", params).rest();
        let last = seen.into_iter().next_back().unwrap().result;
        assert_eq!(last["final"], true, "{last}");
        last
    };
    let asked = send(ASK);
    assert_eq!(asked["status"]["state"], "input-required");
    let done = send("say green");
    assert_eq!(
        (&done["status"]["state"], &done["taskId"]),
        (&json!("completed"), &asked["taskId"])
    );
}

/// Ark: v0.3 by the oldest card, blocking, with the charset beside the content type and no version.
#[test]
fn ark_finds_the_agent_by_its_oldest_card_and_reads_the_answer_as_the_last_text_artifact() {
    let world = World::start();
    let card = world.get("/.well-known/agent.json", &[]).json();
    assert!(text_of(&card, "url").ends_with('/') && card["skills"].is_array(), "{card:#}");
    let id = uuid::Uuid::new_v4().to_string();
    let params = json!({
        "message": {"kind": "message", "messageId": id, "role": "user", "parts": [{"kind": "text", "text": "data d {}; say a; status b; say c"}]},
        "configuration": {"blocking": true, "historyLength": 100},
    });
    let body = json!({"jsonrpc": "2.0", "id": "1", "method": "message/send", "params": params});
    let headers =
        [("Content-Type", "application/json; charset=utf-8"), ("Authorization", &*bearer())];
    let reply = world.ask("POST", "/", &headers, body.to_string().as_bytes()).whole();
    let task = reply.json()["result"].take();
    assert_eq!(text_of(&task["status"], "state"), "completed", "{task:#}");
    let texts = task["artifacts"].as_array().unwrap().iter();
    let mut texts = texts.filter(|artifact| artifact["parts"][0]["kind"] == "text");
    assert_eq!(text_of(&texts.next_back().unwrap()["parts"][0], "text"), "ac");
    let agents = task["history"].as_array().unwrap().iter().filter(|said| said["role"] == "agent");
    assert_eq!(agents.count(), 1);
}

/// Ark of the other generation: v0.3 by the newer card, the answer as what the agent says in the history, further messages by
/// the context alone.
#[test]
fn ark_reads_the_answer_in_the_history_too_and_goes_on_by_the_context() {
    let world = World::start();
    let card = world.get("/.well-known/agent-card.json", &[]).json();
    assert!(card["skills"].is_array() && card["defaultInputModes"].is_array(), "{card:#}");
    let said = |text: &str, context: Option<&str>| {
        let id = uuid::Uuid::new_v4().to_string();
        let mut message = json!({"kind": "message", "messageId": id, "role": "user", "parts": [{"kind": "text", "text": text}]});
        if let Some(context) = context {
            message["contextId"] = json!(context);
        }
        let history = json!({"https://ark.mckinsey.com/extensions/history/v1": [{"role": "user", "content": "before"}]});
        let params =
            json!({"message": message, "configuration": {"blocking": true}, "metadata": history});
        let body = json!({"jsonrpc": "2.0", "id": id, "method": "message/send", "params": params});
        let headers = [("Content-Type", "application/json"), ("Authorization", &*bearer())];
        let reply = world.ask("POST", "/", &headers, body.to_string().as_bytes()).whole();
        let task = reply.json()["result"].take();
        assert_eq!(text_of(&task["status"], "state"), "completed", "{task:#}");
        let history = task["history"].as_array().unwrap().iter();
        let agents = history.filter(|said| said["role"] == "agent");
        let texts: Vec<_> =
            agents.map(|said| text_of(&said["parts"][0], "text").to_owned()).collect();
        (texts, text_of(&task, "contextId").to_owned())
    };
    let (first, context) = said("count", None);
    let (second, same) = said("count", Some(&context));
    assert_eq!((first, second, same), (vec!["1".to_owned()], vec!["2".to_owned()], context));
}

#[test]
fn what_ends_readers_of_json_does_not_reach_them_and_numbers_keep_their_digits() {
    let world = World::start();
    let line = r#"line {"type":"artifact","name":"odd","data":{"half":"a\ud83d","nul":"\u0000","large":9007199254740993}}"#;
    let task = world.say(line);
    let text = crate::reading::artifact(&task, "odd")["parts"][0]["data"].to_string();
    assert_eq!(text, r#"{"half":"a�","nul":"\u0000","large":9007199254740993}"#);
}

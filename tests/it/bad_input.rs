//! Requests that cannot be served: each is answered by its error, and nothing breaks.

use crate::reading::{message, message_with, text_of};
use crate::world::{OWNER, World};
use serde_json::{Value, json};

fn post(world: &World, body: &[u8]) -> Value {
    let reply = world.post("/", &[("Authorization", &format!("Bearer {OWNER}"))], body);
    let envelope = reply.json();
    // Whatever came, the server is well afterwards.
    assert_eq!(world.get("/health", &[]).status, 200);
    envelope
}

fn code(envelope: &Value) -> i64 {
    envelope["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error in {envelope}"))
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
    for body in [&b"{\"jsonrpc\": "[..], b"", b"hello", b"{'a': 1}", b"\xff\xfe"] {
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
        assert_eq!(code(&post(&world, body.to_string().as_bytes())), -32600, "{body}");
    }
}

#[test]
fn an_unknown_method_is_not_found_and_its_id_is_echoed() {
    let world = World::start();
    let envelope =
        post(&world, br#"{"jsonrpc":"2.0","id":"x-7","method":"message/fly","params":{}}"#);
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
        assert!(text_of(&error, "message").contains(missing), "{missing}: {error}");
    }
}

#[test]
fn empty_parts_are_refused() {
    let error = wrong(message_with(json!([])));
    assert_eq!((&error["code"], field_of(&error)), (&json!(-32602), "message.parts"));
}

#[test]
fn a_part_without_content_is_refused() {
    assert_eq!(wrong(message_with(json!([{}])))["code"], -32602);
}

#[test]
fn a_part_with_two_contents_is_refused() {
    assert_eq!(wrong(message_with(json!([{"text": "say x", "data": {}}])))["code"], -32602);
}

#[test]
fn an_empty_text_is_refused() {
    for text in ["", "  \n\t "] {
        assert_eq!(wrong(message(text))["code"], -32602, "{text:?}");
    }
}

#[test]
fn base64_that_is_none_is_refused() {
    assert_eq!(
        wrong(message_with(json!([{"raw": "!!!", "mediaType": "text/plain"}])))["code"],
        -32602
    );
}

#[test]
fn a_message_of_an_agent_is_refused() {
    let mut params = message("say x");
    params["message"]["role"] = json!("ROLE_AGENT");
    let error = wrong(params);
    assert_eq!((&error["code"], field_of(&error)), (&json!(-32602), "message.role"));
}

#[test]
fn a_negative_history_length_is_refused() {
    let world = World::start();
    let id = world.say("say x")["id"].clone();
    assert_eq!(world.error("GetTask", json!({"id": id, "historyLength": -1}))["code"], -32602);
}

#[test]
fn an_unknown_task_is_not_found() {
    let world = World::start();
    for id in ["nowhere", "../../etc/passwd", "' or 1=1 --", "0191a0b0-0000-7000-8000-000000000000"]
    {
        for method in ["GetTask", "CancelTask", "SubscribeToTask"] {
            let error = world.error(method, json!({"id": id}));
            assert_eq!(error["code"], -32001, "{method} {id}");
        }
    }
}

#[test]
fn an_empty_id_is_refused() {
    assert_eq!(World::start().error("GetTask", json!({"id": ""}))["code"], -32602);
}

#[test]
fn a_message_to_an_unknown_task_is_not_found() {
    assert_eq!(wrong(crate::reading::message_to("nowhere", "say x"))["code"], -32001);
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
fn a_request_for_push_notifications_where_there_are_none_is_refused_before_anything_runs() {
    let world = World::describe().config(json!({"push": {"enabled": false}})).start();
    let mut params = message("write note.txt x");
    params["configuration"] = json!({"taskPushNotificationConfig": {"url": "http://127.0.0.1:9/"}});
    assert_eq!(world.error("SendMessage", params)["code"], -32003);
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 0);
}

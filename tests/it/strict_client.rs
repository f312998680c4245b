//! A client of v0.3 that takes the specification at its word: every field that the schema requires, in
//! the kinds that it names.

use crate::http::Event;
use crate::reading::text_of;
use crate::world::{OWNER, World};
use serde_json::{Value, json};

fn message(text: &str) -> Value {
    let id = uuid::Uuid::new_v4().to_string();
    json!({"message": {"kind": "message", "messageId": id, "role": "user", "parts": [{"kind": "text", "text": text}]}})
}

/// Every object of v0.3 has what the schema requires, in the kinds that it names.
fn inspect(value: &Value) {
    match text_of(value, "kind") {
        "task" => {
            assert!(!text_of(value, "id").is_empty() && !text_of(value, "contextId").is_empty());
            inspect_status(&value["status"]);
            value["artifacts"].as_array().into_iter().flatten().for_each(inspect_artifact);
            value["history"].as_array().into_iter().flatten().for_each(inspect);
        }
        "message" => {
            assert!(!text_of(value, "messageId").is_empty());
            assert!(["user", "agent"].contains(&text_of(value, "role")));
            inspect_parts(&value["parts"]);
        }
        "status-update" => {
            assert!(value["final"].is_boolean(), "{value}");
            assert!(
                !text_of(value, "taskId").is_empty() && !text_of(value, "contextId").is_empty()
            );
            inspect_status(&value["status"]);
        }
        "artifact-update" => {
            assert!(
                !text_of(value, "taskId").is_empty() && !text_of(value, "contextId").is_empty()
            );
            inspect_artifact(&value["artifact"]);
        }
        other => panic!("no kind of v0.3: {other}"),
    }
}

fn inspect_status(status: &Value) {
    let known = [
        "submitted",
        "working",
        "input-required",
        "completed",
        "canceled",
        "failed",
        "rejected",
        "auth-required",
    ];
    assert!(known.contains(&text_of(status, "state")), "{status}");
    let timestamp = text_of(status, "timestamp");
    assert!(timestamp.len() >= 20 && timestamp.ends_with('Z'), "{timestamp}");
    if let Some(message) = status.get("message") {
        inspect(message);
    }
}

fn inspect_artifact(artifact: &Value) {
    assert!(!text_of(artifact, "artifactId").is_empty(), "{artifact}");
    inspect_parts(&artifact["parts"]);
}

fn inspect_parts(parts: &Value) {
    let parts = parts.as_array().unwrap();
    assert!(!parts.is_empty(), "parts are never empty");
    for part in parts {
        match text_of(part, "kind") {
            "text" => assert!(part["text"].is_string(), "{part}"),
            "data" => assert!(part["data"].is_object(), "{part}"),
            "file" => assert!(
                part["file"]["bytes"].is_string() || part["file"]["uri"].is_string(),
                "{part}"
            ),
            other => panic!("no kind of part: {other}"),
        }
    }
}

#[test]
fn a_strict_client_accepts_every_event_of_a_busy_turn() {
    let world = World::start();
    let script = "status s; think t; tool Bash {\"command\":\"ls\"}; result r; plan [1]; say a; artifact n x; \
                  data d [1,2]; file f.txt words; message m; usage 1 2 0.5; say b";
    let events = world.stream("message/stream", message(script)).rest();
    events.iter().for_each(|Event { result, .. }| inspect(result));
    inspect(&world.rpc("tasks/get", json!({"id": events[0].result["id"]})));
}

#[test]
fn a_strict_client_accepts_the_end_of_every_kind() {
    let world = World::start();
    for script in
        ["exit 3", "state rejected no", "ask which?", "state auth-required sign in", "signal 9"]
    {
        inspect(&world.rpc("message/send", message(script)));
    }
}

#[test]
fn a_strict_client_accepts_the_card() {
    let world = World::start();
    for version in [None, Some("0.3"), Some("0.3.0")] {
        let headers: Vec<_> = version.iter().map(|version| ("A2A-Version", *version)).collect();
        let card = world.get("/.well-known/agent-card.json", &headers).json();
        for field in ["name", "description", "version", "protocolVersion", "preferredTransport"] {
            assert!(!text_of(&card, field).is_empty(), "{field} in {card}");
        }
        assert!(text_of(&card, "url").starts_with("http://127.0.0.1:"), "{card}");
        assert!(
            card["capabilities"].is_object()
                && card["defaultInputModes"].is_array()
                && card["defaultOutputModes"].is_array()
        );
        let skills = card["skills"].as_array().unwrap();
        assert!(!skills.is_empty(), "{card}");
        for skill in skills {
            assert!(
                skill["tags"].is_array()
                    && !text_of(skill, "id").is_empty()
                    && !text_of(skill, "description").is_empty()
            );
        }
    }
}

#[test]
fn a_client_finds_the_server_by_the_address_on_its_card() {
    let world = World::start();
    let card = world.get("/.well-known/agent-card.json", &[]).json();
    let url = text_of(&card, "url").trim_start_matches("http://");
    let (address, path) = url.split_once('/').unwrap();
    assert_eq!(address, world.address().to_string());
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": message("say found")}).to_string();
    let reply = world.post(
        &format!("/{path}"),
        &[("Authorization", &format!("Bearer {OWNER}"))],
        body.as_bytes(),
    );
    assert_eq!(
        crate::reading::parts_text(&reply.json()["result"]["artifacts"][0]["parts"]),
        "found"
    );
}

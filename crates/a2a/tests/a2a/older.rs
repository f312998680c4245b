//! A reader of v0.3's JSON that knows nothing of the one under test: what our answers say to a client,
//! in the words of v1.0.

use pilothouse_a2a::StreamResponse;
use serde_json::{Map, Value, json};

/// What an object of v0.3 means, in either of its spellings, with or without its name around it.
pub(crate) fn event(text: &str) -> StreamResponse {
    let object: Value = serde_json::from_str(text).unwrap();
    let (name, object) = match object["kind"].as_str() {
        Some(kind) => (kind.to_owned(), object),
        None => {
            let members = object.as_object().unwrap();
            assert_eq!(members.len(), 1, "{text}");
            let (name, inner) = members.iter().next().unwrap();
            (name.clone(), inner.clone())
        }
    };
    let v1 = match name.as_str() {
        "task" => json!({"task": task(object)}),
        "message" => json!({"message": message(object)}),
        "statusUpdate" | "status-update" => json!({"statusUpdate": update(object)}),
        "artifactUpdate" | "artifact-update" => json!({"artifactUpdate": update(object)}),
        other => panic!("no event is called {other}"),
    };
    serde_json::from_value(v1).unwrap()
}

fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(mut members) => {
            members.remove("kind");
            members
        }
        other => panic!("not an object: {other}"),
    }
}

fn change(members: &mut Map<String, Value>, name: &str, meaning: impl FnOnce(Value) -> Value) {
    if let Some(value) = members.get_mut(name) {
        *value = meaning(value.take());
    }
}

fn each(list: Value, meaning: fn(Value) -> Value) -> Value {
    match list {
        Value::Array(items) => items.into_iter().map(meaning).collect(),
        other => panic!("not a list: {other}"),
    }
}

fn task(object: Value) -> Value {
    let mut task = members(object);
    change(&mut task, "status", status);
    change(&mut task, "history", |list| each(list, message));
    change(&mut task, "artifacts", |list| each(list, artifact));
    Value::Object(task)
}

fn update(object: Value) -> Value {
    let mut update = members(object);
    change(&mut update, "status", status);
    change(&mut update, "artifact", artifact);
    Value::Object(update)
}

fn status(object: Value) -> Value {
    let mut status = members(object);
    change(&mut status, "message", message);
    change(&mut status, "state", |state| match state.as_str().unwrap() {
        "unknown" => "TASK_STATE_UNSPECIFIED".into(),
        "TASK_STATE_CANCELLED" => "TASK_STATE_CANCELED".into(),
        name if name.starts_with("TASK_STATE_") => name.into(),
        name => format!("TASK_STATE_{}", name.replace('-', "_").to_uppercase()).into(),
    });
    Value::Object(status)
}

fn message(object: Value) -> Value {
    let mut message = members(object);
    change(&mut message, "role", |role| match role.as_str().unwrap() {
        "user" => "ROLE_USER".into(),
        "agent" => "ROLE_AGENT".into(),
        name => name.into(),
    });
    let parts = message.remove("content").or_else(|| message.remove("parts")).unwrap();
    message.insert("parts".into(), each(parts, part));
    Value::Object(message)
}

fn artifact(object: Value) -> Value {
    let mut artifact = members(object);
    change(&mut artifact, "parts", |list| each(list, part));
    Value::Object(artifact)
}

fn part(object: Value) -> Value {
    let is_proto = object["kind"].is_null();
    let mut part = members(object);
    let metadata = part.get_mut("metadata").and_then(Value::as_object_mut);
    let wrapped = metadata.and_then(|metadata| {
        let mark = metadata.shift_remove("data_part_compat")?;
        Some((mark, metadata.is_empty()))
    });
    if let Some((_, true)) = wrapped {
        part.remove("metadata");
    }
    change(&mut part, "data", |data| if is_proto { data["data"].clone() } else { data });
    if wrapped.is_some() {
        change(&mut part, "data", |data| data["value"].clone());
    }
    if let Some(file) = part.remove("file") {
        for (name, value) in members(file) {
            let name = match name.as_str() {
                "bytes" | "fileWithBytes" => "raw",
                "uri" | "fileWithUri" => "url",
                "name" => "filename",
                "mimeType" => "mediaType",
                other => panic!("a file has no {other}"),
            };
            part.insert(name.into(), value);
        }
    }
    Value::Object(part)
}

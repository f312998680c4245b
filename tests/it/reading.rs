//! Reading what the server answers: states, texts, kinds of events.

use crate::http::Event;
use serde_json::{Value, json};

/// Params of a v1.0 send with this text.
pub(crate) fn message(text: &str) -> Value {
    message_with(json!([{"text": text}]))
}

/// Params of a v1.0 send with these parts.
pub(crate) fn message_with(parts: Value) -> Value {
    let id = uuid::Uuid::new_v4().to_string();
    json!({"message": {"messageId": id, "role": "ROLE_USER", "parts": parts}})
}

/// Params of a v1.0 send with this text in a context.
pub(crate) fn message_in(context: &str, text: &str) -> Value {
    let mut params = message(text);
    params["message"]["contextId"] = json!(context);
    params
}

/// Params of a v1.0 send with this text to a task.
pub(crate) fn message_to(task: &str, text: &str) -> Value {
    let mut params = message(text);
    params["message"]["taskId"] = json!(task);
    params
}

/// The same params, not waiting for the end.
pub(crate) fn at_once(mut params: Value) -> Value {
    params["configuration"]["returnImmediately"] = json!(true);
    params
}

/// The state of a v1.0 task, without its prefix.
pub(crate) fn state(task: &Value) -> &str {
    let state = task["status"]["state"].as_str().unwrap_or_else(|| panic!("no state in {task}"));
    state.strip_prefix("TASK_STATE_").unwrap_or(state)
}

/// A field that is a string.
pub(crate) fn text_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}"))
}

/// The text of a task's status message; empty where there is none.
pub(crate) fn words(task: &Value) -> String {
    parts_text(&task["status"]["message"]["parts"])
}

/// All text of parts.
pub(crate) fn parts_text(parts: &Value) -> String {
    parts.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect()
}

/// The text of a task's artifact of this name.
pub(crate) fn artifact_text(task: &Value, name: &str) -> String {
    parts_text(&artifact(task, name)["parts"])
}

/// A task's artifact of this name.
pub(crate) fn artifact<'a>(task: &'a Value, name: &str) -> &'a Value {
    let artifacts =
        task["artifacts"].as_array().unwrap_or_else(|| panic!("no artifacts in {task}"));
    let found = artifacts.iter().find(|artifact| artifact["name"] == name);
    found.unwrap_or_else(|| panic!("no artifact `{name}` in {task}"))
}

/// The answer of a task; empty where it gave none.
pub(crate) fn answer(task: &Value) -> String {
    let artifacts = task["artifacts"].as_array().into_iter().flatten();
    let found = artifacts.into_iter().find(|artifact| artifact["name"] == "answer");
    found.map(|artifact| parts_text(&artifact["parts"])).unwrap_or_default()
}

/// The names of an object's fields, in order.
pub(crate) fn fields(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

impl Event {
    /// `task`, `statusUpdate` or `artifactUpdate`.
    pub(crate) fn kind(&self) -> &str {
        fields(&self.result).first().copied().unwrap_or("nothing")
    }

    /// The task that is in it; panics for another kind.
    pub(crate) fn task(&self) -> &Value {
        assert_eq!(self.kind(), "task", "{self:?}");
        &self.result["task"]
    }

    /// Its state without the prefix, for a task or a status update.
    pub(crate) fn state(&self) -> Option<&str> {
        let state = self.result[self.kind()]["status"]["state"].as_str()?;
        Some(state.strip_prefix("TASK_STATE_").unwrap_or(state))
    }

    /// The text of its status message or of its artifact.
    pub(crate) fn words(&self) -> String {
        let inner = &self.result[self.kind()];
        match self.kind() {
            "artifactUpdate" => parts_text(&inner["artifact"]["parts"]),
            _ => words(inner),
        }
    }

    /// The data part of its status message.
    pub(crate) fn data(&self) -> Option<&Value> {
        let parts = self.result[self.kind()]["status"]["message"]["parts"].as_array()?;
        parts.iter().find_map(|part| part.get("data"))
    }

    /// The id of its task.
    pub(crate) fn task_id(&self) -> &str {
        let inner = &self.result[self.kind()];
        inner["id"]
            .as_str()
            .or_else(|| inner["taskId"].as_str())
            .unwrap_or_else(|| panic!("no task in {self:?}"))
    }
}

/// The answer as a reader of the stream puts it together.
pub(crate) fn streamed_answer(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        if event.kind() == "task" {
            text = answer(event.task());
        }
        let update = &event.result["artifactUpdate"];
        let id = update["artifact"]["artifactId"].as_str().unwrap_or_default();
        if id.ends_with("-answer") {
            if update["append"] != true {
                text.clear();
            }
            text.push_str(&event.words());
        }
    }
    text
}

/// The states that a stream shows, repetitions left out.
pub(crate) fn states(events: &[Event]) -> Vec<&str> {
    let mut states: Vec<&str> = events.iter().filter_map(Event::state).collect();
    states.dedup();
    states
}

//! The frames of a live stream.

use crate::store::{Event, Kind};
use pilothouse_a2a::error::{Error, status_object};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::sse;
use serde_json::{Value, json};

/// Frames that are sent together.
#[derive(Default)]
pub(super) struct Frames(Vec<u8>);

impl Frames {
    /// Adds a frame with the cursor that its reader has with it.
    pub(super) fn add(&mut self, name: &str, cursor: Option<&str>, data: &Value) {
        self.begin(name, cursor);
        self.0.extend_from_slice(&sse::frame(None, data.to_string()));
    }

    /// Adds rows that are new or have changed, and the ids of those that are gone.
    pub(super) fn add_rows(
        &mut self,
        name: &str,
        cursor: Option<&str>,
        rows: Vec<Value>,
        gone: Vec<Value>,
    ) {
        if !rows.is_empty() || !gone.is_empty() {
            self.add(name, cursor, &json!({"rows": rows, "gone": gone}));
        }
    }

    /// Adds an event of a task, as it is stored.
    pub(super) fn add_event(&mut self, task: &TaskId, event: &Event) {
        self.begin("task", None);
        let body = String::from_utf8_lossy(&event.body);
        let body = match event.kind {
            Kind::Message => format!("{{\"message\":{body}}}"),
            Kind::Task | Kind::Status | Kind::Artifact => body.into_owned(),
        };
        let data = format!("{{\"task\":{},\"seq\":{},\"event\":{body}}}", json!(task), event.seq);
        self.0.extend_from_slice(&sse::frame(None, data));
    }

    /// Adds that the events of a task cannot be told any further.
    pub(super) fn add_broken(&mut self, task: &TaskId, error: &Error) {
        let mut data = status_object(error);
        data["task"] = json!(task);
        self.add("broken", None, &data);
    }

    /// Adds a comment, and a cursor for itself.
    pub(super) fn add_keep_alive(&mut self, cursor: Option<String>) {
        self.0.extend_from_slice(sse::KEEP_ALIVE);
        if let Some(cursor) = cursor {
            self.0.extend_from_slice(format!("id: {cursor}\n\n").as_bytes());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn begin(&mut self, name: &str, cursor: Option<&str>) {
        self.0.extend_from_slice(format!("event: {name}\n").as_bytes());
        if let Some(cursor) = cursor {
            self.0.extend_from_slice(format!("id: {cursor}\n").as_bytes());
        }
    }
}

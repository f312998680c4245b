//! Records of a task that its session makes itself.

use crate::task::{Record, TaskLog};
use pilothouse_a2a::event::TaskStatusUpdateEvent;
use pilothouse_a2a::message::{Message, Part, PartContent, Role};
use pilothouse_a2a::task::{TaskState, TaskStatus};
use pilothouse_a2a::time::Timestamp;
use serde_json::{Map, Value, json};

/// A status record of a task, stamped now.
pub(super) fn status(
    log: &TaskLog,
    state: TaskState,
    message: Option<Message>,
    metadata: Option<Map<String, Value>>,
) -> Record {
    let status = TaskStatus { state, message, timestamp: Some(Timestamp::now()) };
    let mut update = TaskStatusUpdateEvent::new(log.id.clone(), log.context_id.clone(), status);
    update.metadata = metadata.map(Into::into);
    Record::Status(update)
}

/// The same, with words for people.
pub(super) fn status_with_words(log: &TaskLog, state: TaskState, words: &str) -> Record {
    let message = Message::new(Role::Agent, vec![Part::text(words)]);
    status(log, state, Some(message), None)
}

/// The bytes of a file in base64.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let part: Part = serde_json::from_value(json!({"raw": text})).ok()?;
    match part.content {
        PartContent::Raw(bytes) => Some(bytes),
        PartContent::Text(_) | PartContent::Url(_) | PartContent::Data(_) => None,
    }
}

//! Records of a task that its session makes itself.

use crate::task::{Record, TaskLog};
use pilothouse_a2a::event::TaskStatusUpdateEvent;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::{TaskState, TaskStatus};
use pilothouse_a2a::time::Timestamp;
use serde_json::{Map, Value};

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

/// A record that ends a task as canceled.
pub(super) fn canceled(log: &TaskLog, words: &str) -> Record {
    let message = Message::new(Role::Agent, vec![Part::text(words)]);
    status(log, TaskState::Canceled, Some(message), None)
}

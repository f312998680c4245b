//! A task as a reader sees it: its events folded, its answer last.

use super::Snapshot;
use crate::store::{Error, Kind, Store};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::id::{ArtifactId, MessageId, TaskId};
use pilothouse_a2a::message::{Message, Part, PartContent};
use pilothouse_a2a::task::{Task, TaskState};

/// The name of the artifact that is the answer.
pub const ANSWER: &str = "answer";

/// What one read of the store brings while folding.
const READ_BYTES: usize = 256 * 1024;

/// The id of a task's answer artifact.
pub fn answer_id(task: &TaskId) -> ArtifactId {
    ArtifactId::new(format!("{task}-{ANSWER}"))
}

/// A completed turn's answer as a message of the history, where another turn's will take its place.
pub(super) fn answer_message(task: &Task, seq: u64) -> Option<Message> {
    let id = answer_id(&task.id);
    let answer = task.artifacts.iter().find(|artifact| artifact.artifact_id == id)?;
    let text = answer.parts.first().and_then(Part::as_text)?;
    let mut message = Message::agent_text(text);
    message.message_id = MessageId::new(format!("{id}-{seq}"));
    message.task_id = Some(task.id.clone());
    message.context_id = Some(task.context_id.clone());
    Some(message)
}

/// Folds a task's events up to `seq`; artifacts beyond `limit` bytes are left out.
pub(super) async fn fold(store: &Store, n: i64, seq: u64, limit: usize) -> Result<Snapshot, Error> {
    let mut folded: Option<Task> = None;
    let (mut after, mut size, mut truncated) = (0, 0, false);
    while after < seq {
        let events = store.events(n, after, seq, READ_BYTES).await?;
        let Some(last) = events.last() else { break };
        after = last.seq;
        for event in events {
            if event.kind == Kind::Artifact {
                size += event.body.len();
                if size > limit {
                    truncated = true;
                    continue;
                }
            }
            match (&mut folded, event.kind) {
                (Some(task), Kind::Message) => {
                    if let Ok(message) = serde_json::from_slice::<Message>(&event.body) {
                        task.history.push(message);
                    }
                }
                (slot, _) => match (slot, serde_json::from_slice::<StreamResponse>(&event.body)) {
                    (slot, Ok(StreamResponse::Task(task))) => *slot = Some(task),
                    (Some(task), Ok(response)) => task.apply(&response),
                    (None, _) | (_, Err(_)) => {}
                },
            }
        }
    }
    let task = folded.ok_or(Error::Closed)?;
    Ok(Snapshot { task, seq: after, truncated })
}

impl Snapshot {
    /// The task in the order that readers are promised: the answer is the last artifact, and once the
    /// task is completed its text (up to `inline` bytes) is the agent's one message in the history.
    pub fn present(mut self, inline: usize) -> Self {
        let task = &mut self.task;
        let id = answer_id(&task.id);
        if let Some(place) = task.artifacts.iter().position(|artifact| artifact.artifact_id == id) {
            let answer = task.artifacts.remove(place);
            if task.status.state == TaskState::Completed {
                let text = match answer.parts.first().map(|part| &part.content) {
                    Some(PartContent::Text(text)) if text.len() <= inline && !self.truncated => {
                        text.clone()
                    }
                    _ => format!(
                        "The answer is too long for the history; it is the artifact `{id}`."
                    ),
                };
                let mut message = Message::agent_text(text);
                message.message_id = MessageId::new(id.as_str());
                message.task_id = Some(task.id.clone());
                message.context_id = Some(task.context_id.clone());
                task.history.push(message);
            }
            task.artifacts.push(answer);
        }
        if self.truncated {
            task.artifacts.iter_mut().filter(|artifact| artifact.artifact_id == id).for_each(
                |artifact| {
                    artifact.description = Some(
                        "the beginning of a longer answer; `whole` says where the rest is"
                            .to_owned(),
                    );
                    let whole = format!("/api/v1/tasks/{}/answer", task.id);
                    artifact.parts.push(Part {
                        content: PartContent::Url(whole),
                        filename: Some("answer.txt".to_owned()),
                        media_type: Some("text/plain; charset=utf-8".to_owned()),
                        metadata: None,
                    });
                },
            );
        }
        self
    }
}

//! The work: a task, its state, its artifacts, and how an event changes it.

use crate::event::{StreamResponse, TaskArtifactUpdateEvent};
use crate::id::{ArtifactId, ContextId, TaskId};
use crate::message::{Message, Part};
use crate::time::Timestamp;
use crate::{Metadata, lenient};
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// Where a task stands in its life (specification 4.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskState {
    /// Not said; in a filter it means any.
    #[default]
    Unspecified,
    /// Accepted, not begun.
    Submitted,
    /// Under way.
    Working,
    /// Done (terminal).
    Completed,
    /// Ended by a failure (terminal).
    Failed,
    /// Ended by request (terminal).
    Canceled,
    /// Waits for words from the client (interrupted).
    InputRequired,
    /// Declined by the agent (terminal).
    Rejected,
    /// Waits for credentials, given out of band (interrupted).
    AuthRequired,
}

/// The state of a task and since when (specification 4.1.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskStatus {
    /// Where the task stands.
    pub state: TaskState,
    /// What the agent says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// When this status was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

/// Something that a task produced (specification 4.1.7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Unique within the task.
    #[serde(alias = "artifact_id")]
    pub artifact_id: ArtifactId,
    /// A name for people.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A sentence for people.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The content.
    #[serde(default, deserialize_with = "lenient::nullable")]
    pub parts: Vec<Part>,
    /// Free-form data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// URIs of the extensions that shaped this artifact.
    #[serde(
        default,
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub extensions: Vec<String>,
}

/// One piece of work that an agent was asked for (specification 4.1.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Made by the server.
    pub id: TaskId,
    /// The conversation; empty only in tasks of agents that name none.
    #[cfg_attr(feature = "schema", schemars(required))]
    #[serde(
        alias = "context_id",
        default = "no_context",
        deserialize_with = "context_or_none",
        skip_serializing_if = "is_no_context"
    )]
    pub context_id: ContextId,
    /// Where the task stands.
    pub status: TaskStatus,
    /// What the task produced so far.
    #[serde(
        default,
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub artifacts: Vec<Artifact>,
    /// The messages of both sides, oldest first.
    #[serde(
        default,
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub history: Vec<Message>,
    /// Free-form data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The number of changes so far (version 1.1); absent where the server does not count them.
    #[serde(default, deserialize_with = "lenient::int", skip_serializing_if = "Option::is_none")]
    pub generation: Option<i32>,
}

impl TaskState {
    /// Every state, in the order of its number on the wire.
    pub const ALL: [Self; 9] = [
        Self::Unspecified,
        Self::Submitted,
        Self::Working,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::InputRequired,
        Self::Rejected,
        Self::AuthRequired,
    ];

    /// Nothing follows this state.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Rejected)
    }

    /// The task waits for somebody.
    pub fn is_interrupted(self) -> bool {
        matches!(self, Self::InputRequired | Self::AuthRequired)
    }

    /// The name on the wire (`TASK_STATE_WORKING`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "TASK_STATE_UNSPECIFIED",
            Self::Submitted => "TASK_STATE_SUBMITTED",
            Self::Working => "TASK_STATE_WORKING",
            Self::Completed => "TASK_STATE_COMPLETED",
            Self::Failed => "TASK_STATE_FAILED",
            Self::Canceled => "TASK_STATE_CANCELED",
            Self::InputRequired => "TASK_STATE_INPUT_REQUIRED",
            Self::Rejected => "TASK_STATE_REJECTED",
            Self::AuthRequired => "TASK_STATE_AUTH_REQUIRED",
        }
    }

    /// The state as people write it (`input-required`).
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Submitted => "submitted",
            Self::Working => "working",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::InputRequired => "input-required",
            Self::Rejected => "rejected",
            Self::AuthRequired => "auth-required",
        }
    }

    /// The state of that name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl TaskStatus {
    /// A status of now, without words.
    pub fn now(state: TaskState) -> Self {
        Self { state, message: None, timestamp: Some(Timestamp::now()) }
    }
}

impl Artifact {
    /// An artifact with a name and its content.
    pub fn new(id: ArtifactId, name: impl Into<String>, parts: Vec<Part>) -> Self {
        Self {
            artifact_id: id,
            name: Some(name.into()),
            description: None,
            parts,
            metadata: None,
            extensions: Vec::new(),
        }
    }
}

impl Task {
    /// A task without content.
    pub fn new(id: TaskId, context_id: ContextId, status: TaskStatus) -> Self {
        Self {
            id,
            context_id,
            status,
            artifacts: Vec::new(),
            history: Vec::new(),
            metadata: None,
            generation: None,
        }
    }

    /// Folds an event of this task into it: the task after the event.
    ///
    /// A status replaces the status and adds its metadata; an artifact is appended to or replaced
    /// as the event says; a whole task replaces everything; a message changes nothing.
    pub fn apply(&mut self, event: &StreamResponse) {
        match event {
            StreamResponse::Task(task) => self.clone_from(task),
            StreamResponse::Message(_) => {}
            StreamResponse::StatusUpdate(update) => {
                self.status.clone_from(&update.status);
                merge(&mut self.metadata, update.metadata.as_ref());
            }
            StreamResponse::ArtifactUpdate(update) => self.apply_artifact(update),
        }
    }

    fn apply_artifact(&mut self, update: &TaskArtifactUpdateEvent) {
        let id = &update.artifact.artifact_id;
        match self.artifacts.iter_mut().find(|artifact| artifact.artifact_id == *id) {
            Some(artifact) => artifact.apply(update),
            None => self.artifacts.push(update.artifact.clone()),
        }
    }

    /// Keeps at most the newest `length` messages; without a limit all of them (specification
    /// 3.2.4).
    pub fn trim_history(&mut self, length: Option<i32>) {
        if let Some(length) = length {
            let keep = usize::try_from(length).unwrap_or(0);
            let surplus = self.history.len().saturating_sub(keep);
            self.history.drain(..surplus);
        }
    }
}

impl Artifact {
    /// Folds an update of this artifact into it: appended or replaced, as the update says.
    pub fn apply(&mut self, update: &TaskArtifactUpdateEvent) {
        if update.append {
            self.append(&update.artifact);
        } else {
            self.clone_from(&update.artifact);
        }
    }

    fn append(&mut self, chunk: &Self) {
        for part in &chunk.parts {
            let rest = match self.parts.last_mut() {
                Some(last) => last.absorb(part.clone()),
                None => Some(part.clone()),
            };
            self.parts.extend(rest);
        }
        if chunk.name.is_some() {
            self.name.clone_from(&chunk.name);
        }
        if chunk.description.is_some() {
            self.description.clone_from(&chunk.description);
        }
        merge(&mut self.metadata, chunk.metadata.as_ref());
        for extension in &chunk.extensions {
            if !self.extensions.contains(extension) {
                self.extensions.push(extension.clone());
            }
        }
    }
}

/// Adds members; a new value wins over an old one of the same name.
fn merge(into: &mut Option<Metadata>, from: Option<&Metadata>) {
    if let Some(from) = from {
        into.get_or_insert_default().extend(from);
    }
}

impl Serialize for TaskState {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for TaskState {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        lenient::name_or_number(
            from,
            "a task state (TASK_STATE_WORKING, ...)",
            Self::from_name,
            |number| Self::ALL.get(usize::try_from(number).ok()?).copied(),
        )
    }
}

fn no_context() -> ContextId {
    ContextId::new("")
}

fn is_no_context(id: &ContextId) -> bool {
    id.as_str().is_empty()
}

fn context_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<ContextId, D::Error> {
    Ok(lenient::text(from)?.unwrap_or_else(no_context))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TaskStatusUpdateEvent;
    use serde_json::json;

    fn task() -> Task {
        Task::new(TaskId::new("t"), ContextId::new("c"), TaskStatus::now(TaskState::Working))
    }

    fn chunk(append: bool, part: Part) -> StreamResponse {
        let artifact = Artifact::new(ArtifactId::new("a"), "answer", vec![part]);
        StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
            append,
            ..TaskArtifactUpdateEvent::new(TaskId::new("t"), ContextId::new("c"), artifact)
        })
    }

    #[test]
    fn appended_text_joins_the_text_before_it() {
        let mut task = task();
        task.apply(&chunk(false, Part::text("hel")));
        task.apply(&chunk(true, Part::text("lo")));
        assert_eq!(task.artifacts[0].parts, [Part::text("hello")]);
    }

    #[test]
    fn appended_data_stays_a_part_of_its_own() {
        let mut task = task();
        task.apply(&chunk(true, Part::text("a")));
        task.apply(&chunk(true, Part::data(json!({"b": 1}))));
        task.apply(&chunk(true, Part::text("c")));
        assert_eq!(task.artifacts[0].parts.len(), 3);
    }

    #[test]
    fn an_artifact_that_is_not_appended_replaces_the_old_one() {
        let mut task = task();
        task.apply(&chunk(false, Part::text("old")));
        task.apply(&chunk(false, Part::text("new")));
        assert_eq!(task.artifacts.len(), 1);
        assert_eq!(task.artifacts[0].parts, [Part::text("new")]);
    }

    #[test]
    fn a_status_brings_its_metadata_into_the_task() {
        let mut task = task();
        task.metadata = json!({"kept": 1, "changed": 1}).as_object().cloned().map(Into::into);
        task.apply(&StreamResponse::StatusUpdate(TaskStatusUpdateEvent {
            metadata: json!({"changed": 2}).as_object().cloned().map(Into::into),
            ..TaskStatusUpdateEvent::new(
                TaskId::new("t"),
                ContextId::new("c"),
                TaskStatus::now(TaskState::Completed),
            )
        }));
        assert_eq!(task.status.state, TaskState::Completed);
        assert_eq!(task.metadata.unwrap().text(), r#"{"kept":1,"changed":2}"#);
    }

    #[test]
    fn history_keeps_the_newest() {
        let mut task = task();
        task.history = ["1", "2", "3"].map(Message::user_text).into();
        task.trim_history(None);
        assert_eq!(task.history.len(), 3);
        task.trim_history(Some(2));
        assert_eq!(task.history[0].text_content(), "2");
        task.trim_history(Some(0));
        assert!(task.history.is_empty());
    }
}

//! What a stream carries: a task, a message, or a change of a task.

use crate::id::{ContextId, TaskId};
use crate::message::Message;
use crate::task::{Artifact, Task, TaskStatus};
use crate::{Metadata, lenient};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

/// One event of a stream, tagged by its member name (specification 3.2.3).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum StreamResponse {
    /// The task as it stands; the first event of a stream.
    Task(Task),
    /// The whole answer of an agent that made no task.
    Message(Message),
    /// The task changed its status.
    StatusUpdate(TaskStatusUpdateEvent),
    /// The task produced something.
    ArtifactUpdate(TaskArtifactUpdateEvent),
}

/// A task changed its status (specification 4.2.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskStatusUpdateEvent {
    /// Which task.
    #[serde(alias = "task_id")]
    pub task_id: TaskId,
    /// Its conversation.
    #[serde(alias = "context_id")]
    pub context_id: ContextId,
    /// The new status.
    pub status: TaskStatus,
    /// Free-form data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The number of changes up to this one (version 1.1); absent where the server does not count them.
    #[serde(default, deserialize_with = "lenient::int", skip_serializing_if = "Option::is_none")]
    pub generation: Option<i32>,
}

/// A task produced an artifact or more of one (specification 4.2.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskArtifactUpdateEvent {
    /// Which task.
    #[serde(alias = "task_id")]
    pub task_id: TaskId,
    /// Its conversation.
    #[serde(alias = "context_id")]
    pub context_id: ContextId,
    /// The artifact, or the part of it that is new.
    pub artifact: Artifact,
    /// The parts continue the artifact of that id; otherwise they replace it.
    #[serde(
        default,
        deserialize_with = "lenient::flag_or_false",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub append: bool,
    /// Nothing will be appended any more.
    #[serde(
        alias = "last_chunk",
        default,
        deserialize_with = "lenient::flag_or_false",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub last_chunk: bool,
    /// Free-form data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The number of changes up to this one (version 1.1); absent where the server does not count them.
    #[serde(default, deserialize_with = "lenient::int", skip_serializing_if = "Option::is_none")]
    pub generation: Option<i32>,
}

impl StreamResponse {
    /// Nothing may follow: a message, or a task that has come to its end.
    pub fn ends_stream(&self) -> bool {
        match self {
            Self::Task(task) => task.status.state.is_terminal(),
            Self::Message(_) => true,
            Self::StatusUpdate(update) => update.status.state.is_terminal(),
            Self::ArtifactUpdate(_) => false,
        }
    }

    /// The status that the event brings, if it brings one.
    pub fn status(&self) -> Option<&TaskStatus> {
        match self {
            Self::Task(task) => Some(&task.status),
            Self::StatusUpdate(update) => Some(&update.status),
            Self::Message(_) | Self::ArtifactUpdate(_) => None,
        }
    }

    /// The task that the event speaks of.
    pub fn task_id(&self) -> Option<&TaskId> {
        match self {
            Self::Task(task) => Some(&task.id),
            Self::Message(message) => message.task_id.as_ref(),
            Self::StatusUpdate(update) => Some(&update.task_id),
            Self::ArtifactUpdate(update) => Some(&update.task_id),
        }
    }
}

impl TaskStatusUpdateEvent {
    /// A change of status without metadata.
    pub fn new(task_id: TaskId, context_id: ContextId, status: TaskStatus) -> Self {
        Self { task_id, context_id, status, metadata: None, generation: None }
    }
}

impl TaskArtifactUpdateEvent {
    /// A whole artifact, to be replaced or appended to later.
    pub fn new(task_id: TaskId, context_id: ContextId, artifact: Artifact) -> Self {
        Self {
            task_id,
            context_id,
            artifact,
            append: false,
            last_chunk: false,
            metadata: None,
            generation: None,
        }
    }
}

impl<'de> Deserialize<'de> for StreamResponse {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            #[serde(default)]
            task: Option<Task>,
            #[serde(default)]
            message: Option<Message>,
            #[serde(default, alias = "status_update")]
            status_update: Option<TaskStatusUpdateEvent>,
            #[serde(default, alias = "artifact_update")]
            artifact_update: Option<TaskArtifactUpdateEvent>,
        }

        let wire = Wire::deserialize(from)?;
        match (wire.task, wire.message, wire.status_update, wire.artifact_update) {
            (Some(task), None, None, None) => Ok(Self::Task(task)),
            (None, Some(message), None, None) => Ok(Self::Message(message)),
            (None, None, Some(update), None) => Ok(Self::StatusUpdate(update)),
            (None, None, None, Some(update)) => Ok(Self::ArtifactUpdate(update)),
            _ => Err(D::Error::custom(
                "an event has exactly one of task, message, statusUpdate or artifactUpdate",
            )),
        }
    }
}

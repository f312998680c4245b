//! What is spoken about: tasks, messages, artifacts, and the events that change them, by their
//! older numbers.

use super::part::Part;
use crate as model;
use crate::pb::known::{self, Struct, Timestamp};
use crate::pb::{Under, Wire, Wrong, given, list, lists, role, role_number, said, state};

/// The answer to a message is an event too: the numbers of its two forms are the same.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Event {
    #[prost(oneof = "Payload", tags = "1, 2, 3, 4")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Payload {
    #[prost(message, tag = "1")]
    Task(Task),
    #[prost(message, tag = "2")]
    Message(Message),
    #[prost(message, tag = "3")]
    StatusUpdate(StatusUpdate),
    #[prost(message, tag = "4")]
    ArtifactUpdate(ArtifactUpdate),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Task {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    context_id: String,
    #[prost(message, optional, tag = "3")]
    status: Option<Status>,
    #[prost(message, repeated, tag = "4")]
    artifacts: Vec<Artifact>,
    #[prost(message, repeated, tag = "5")]
    history: Vec<Message>,
    #[prost(message, optional, tag = "6")]
    metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    state: i32,
    #[prost(message, optional, tag = "2")]
    message: Option<Message>,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Message {
    #[prost(string, tag = "1")]
    message_id: String,
    #[prost(string, tag = "2")]
    context_id: String,
    #[prost(string, tag = "3")]
    task_id: String,
    #[prost(int32, tag = "4")]
    role: i32,
    #[prost(message, repeated, tag = "5")]
    content: Vec<Part>,
    #[prost(message, optional, tag = "6")]
    metadata: Option<Struct>,
    #[prost(string, repeated, tag = "7")]
    extensions: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Artifact {
    #[prost(string, tag = "1")]
    artifact_id: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    description: String,
    #[prost(message, repeated, tag = "5")]
    parts: Vec<Part>,
    #[prost(message, optional, tag = "6")]
    metadata: Option<Struct>,
    #[prost(string, repeated, tag = "7")]
    extensions: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusUpdate {
    #[prost(string, tag = "1")]
    task_id: String,
    #[prost(string, tag = "2")]
    context_id: String,
    #[prost(message, optional, tag = "3")]
    status: Option<Status>,
    #[prost(bool, tag = "4")]
    r#final: bool,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ArtifactUpdate {
    #[prost(string, tag = "1")]
    task_id: String,
    #[prost(string, tag = "2")]
    context_id: String,
    #[prost(message, optional, tag = "3")]
    artifact: Option<Artifact>,
    #[prost(bool, tag = "4")]
    append: bool,
    #[prost(bool, tag = "5")]
    last_chunk: bool,
    #[prost(message, optional, tag = "6")]
    metadata: Option<Struct>,
}

impl Event {
    pub(super) fn task(task: &model::Task) -> Self {
        let payload = Some(Payload::Task(Task::of(task)));
        Self { payload }
    }

    pub(super) fn message(message: &model::Message) -> Self {
        let payload = Some(Payload::Message(Message::of(message)));
        Self { payload }
    }
}

impl Wire for Event {
    type Model = model::StreamResponse;

    fn of(model: &Self::Model) -> Self {
        let payload = match model {
            model::StreamResponse::Task(task) => return Self::task(task),
            model::StreamResponse::Message(message) => return Self::message(message),
            model::StreamResponse::StatusUpdate(update) => {
                Payload::StatusUpdate(StatusUpdate::of(update))
            }
            model::StreamResponse::ArtifactUpdate(update) => {
                Payload::ArtifactUpdate(ArtifactUpdate::of(update))
            }
        };
        Self { payload: Some(payload) }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        const NONE: &str = "an event has one of task, message, statusUpdate or artifactUpdate";
        Ok(match self.payload.ok_or_else(|| Wrong::new("", NONE))? {
            Payload::Task(task) => model::StreamResponse::Task(task.read().under("task")?),
            Payload::Message(message) => {
                model::StreamResponse::Message(message.read().under("message")?)
            }
            Payload::StatusUpdate(update) => {
                model::StreamResponse::StatusUpdate(update.read().under("statusUpdate")?)
            }
            Payload::ArtifactUpdate(update) => {
                model::StreamResponse::ArtifactUpdate(update.read().under("artifactUpdate")?)
            }
        })
    }
}

impl Wire for Task {
    type Model = model::Task;

    fn of(model: &Self::Model) -> Self {
        Self {
            id: model.id.to_string(),
            context_id: model.context_id.to_string(),
            status: Some(Status::of(&model.status)),
            artifacts: lists(&model.artifacts),
            history: lists(&model.history),
            metadata: known::members(model.metadata.as_ref()),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let status = self.status.ok_or_else(|| Wrong::required("status"))?;
        Ok(model::Task {
            id: self.id.into(),
            context_id: self.context_id.into(),
            status: status.read().under("status")?,
            artifacts: list("artifacts", self.artifacts)?,
            history: list("history", self.history)?,
            metadata: known::metadata(self.metadata)?,
        })
    }
}

impl Wire for Status {
    type Model = model::TaskStatus;

    fn of(model: &Self::Model) -> Self {
        Self {
            state: model.state as i32,
            message: model.message.as_ref().map(Message::of),
            timestamp: model.timestamp.map(Timestamp::of),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let message = self.message.map(Message::read).transpose();
        Ok(model::TaskStatus {
            state: state(self.state).unwrap_or_default(),
            message: message.under("message")?,
            timestamp: self.timestamp.map(Timestamp::read),
        })
    }
}

impl Wire for Message {
    type Model = model::Message;

    fn of(model: &Self::Model) -> Self {
        Self {
            message_id: model.message_id.to_string(),
            context_id: said(model.context_id.as_ref()),
            task_id: said(model.task_id.as_ref()),
            role: role_number(model.role),
            content: lists(&model.parts),
            metadata: known::members(model.metadata.as_ref()),
            extensions: model.extensions.clone(),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::Message {
            message_id: self.message_id.into(),
            context_id: given(self.context_id),
            task_id: given(self.task_id),
            role: role(self.role)?,
            parts: list("content", self.content)?,
            metadata: known::metadata(self.metadata)?,
            extensions: self.extensions,
            reference_task_ids: Vec::new(),
        })
    }
}

impl Wire for Artifact {
    type Model = model::Artifact;

    fn of(model: &Self::Model) -> Self {
        Self {
            artifact_id: model.artifact_id.to_string(),
            name: said(model.name.as_ref()),
            description: said(model.description.as_ref()),
            parts: lists(&model.parts),
            metadata: known::members(model.metadata.as_ref()),
            extensions: model.extensions.clone(),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::Artifact {
            artifact_id: self.artifact_id.into(),
            name: given(self.name),
            description: given(self.description),
            parts: list("parts", self.parts)?,
            metadata: known::metadata(self.metadata)?,
            extensions: self.extensions,
        })
    }
}

impl Wire for StatusUpdate {
    type Model = model::TaskStatusUpdateEvent;

    fn of(model: &Self::Model) -> Self {
        let state = model.status.state;
        Self {
            task_id: model.task_id.to_string(),
            context_id: model.context_id.to_string(),
            status: Some(Status::of(&model.status)),
            r#final: state.is_terminal() || state.is_interrupted(),
            metadata: known::members(model.metadata.as_ref()),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let status = self.status.ok_or_else(|| Wrong::required("status"))?;
        Ok(model::TaskStatusUpdateEvent {
            task_id: self.task_id.into(),
            context_id: self.context_id.into(),
            status: status.read().under("status")?,
            metadata: known::metadata(self.metadata)?,
        })
    }
}

impl Wire for ArtifactUpdate {
    type Model = model::TaskArtifactUpdateEvent;

    fn of(model: &Self::Model) -> Self {
        Self {
            task_id: model.task_id.to_string(),
            context_id: model.context_id.to_string(),
            artifact: Some(Artifact::of(&model.artifact)),
            append: model.append,
            last_chunk: model.last_chunk,
            metadata: known::members(model.metadata.as_ref()),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let artifact = self.artifact.ok_or_else(|| Wrong::required("artifact"))?;
        Ok(model::TaskArtifactUpdateEvent {
            task_id: self.task_id.into(),
            context_id: self.context_id.into(),
            artifact: artifact.read().under("artifact")?,
            append: self.append,
            last_chunk: self.last_chunk,
            metadata: known::metadata(self.metadata)?,
        })
    }
}

//! The model as protobuf JSON of `a2a.v1`, written without a copy in between.
//!
//! # Pitfalls
//! Clients of this form refuse members that their protobuf file does not have, so nothing is added:
//! `referenceTaskIds`, and names and types of what is no file, have no place here.

use crate::Metadata;
use crate::dialect::json;
use crate::dialect::v0_3::is_final;
use crate::dialect::v0_3::read::WRAPPED;
use crate::dialect::v0_3::write::{Wrapped, bare_push_config};
use crate::event::{StreamResponse, TaskArtifactUpdateEvent, TaskStatusUpdateEvent};
use crate::message::{Base64, Message, Part, PartContent};
use crate::operation::{Operation, Reply};
use crate::push::TaskPushNotificationConfig;
use crate::rest::sends;
use crate::task::{Artifact, Task, TaskState, TaskStatus};
use crate::time::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

/// A frame of a stream, and what `message:send` answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum EventOut<'a> {
    Task(TaskOut<'a>),
    Message(MessageOut<'a>),
    StatusUpdate(StatusUpdateOut<'a>),
    ArtifactUpdate(ArtifactUpdateOut<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskOut<'a> {
    id: &'a str,
    context_id: &'a str,
    status: StatusOut<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    artifacts: Vec<ArtifactOut<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<MessageOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
}

#[derive(Serialize)]
struct StatusOut<'a> {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageOut<'a> {
    message_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<&'a str>,
    role: &'static str,
    content: Vec<PartOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    extensions: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactOut<'a> {
    artifact_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parts: Vec<PartOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    extensions: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusUpdateOut<'a> {
    task_id: &'a str,
    context_id: &'a str,
    status: StatusOut<'a>,
    r#final: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactUpdateOut<'a> {
    task_id: &'a str,
    context_id: &'a str,
    artifact: ArtifactOut<'a>,
    append: bool,
    last_chunk: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
}

struct PartOut<'a>(&'a Part);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file_with_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_with_bytes: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// What a `DataPart` is: an object that holds the object.
#[derive(Serialize)]
struct DataOut<T> {
    data: T,
}

/// The body of an answer that is no card.
pub(in crate::rest) fn reply(operation: Operation, reply: &Reply) -> String {
    match reply {
        Reply::Task(known) if sends(operation) => json(&EventOut::Task(task(known))),
        Reply::Task(known) => json(&task(known)),
        Reply::Message(known) => json(&EventOut::Message(message(known))),
        Reply::Tasks(page) => {
            let tasks: Vec<_> = page.tasks.iter().map(task).collect();
            json(&json!({
                "tasks": tasks,
                "nextPageToken": page.next_page_token,
                "pageSize": page.page_size,
                "totalSize": page.total_size,
            }))
        }
        Reply::PushConfig(config) => json(&push_config(config)),
        Reply::PushConfigs(page) => {
            let configs: Vec<Value> = page.configs.iter().map(push_config).collect();
            let mut body = json!({"configs": configs});
            if let Some(token) = &page.next_page_token {
                body["nextPageToken"] = json!(token);
            }
            json(&body)
        }
        Reply::Card(_) | Reply::Empty => "{}".to_owned(),
    }
}

/// The data of one frame of a stream.
pub(in crate::rest) fn event(event: &StreamResponse) -> String {
    json(&match event {
        StreamResponse::Task(known) => EventOut::Task(task(known)),
        StreamResponse::Message(known) => EventOut::Message(message(known)),
        StreamResponse::StatusUpdate(update) => EventOut::StatusUpdate(status_update(update)),
        StreamResponse::ArtifactUpdate(update) => EventOut::ArtifactUpdate(artifact_update(update)),
    })
}

fn push_config(config: &TaskPushNotificationConfig) -> Value {
    let task = config.task_id.as_ref().map_or("", |id| id.as_str());
    let id = config.id.as_deref().unwrap_or_default();
    json!({
        "name": format!("tasks/{task}/pushNotificationConfigs/{id}"),
        "pushNotificationConfig": bare_push_config(config),
    })
}

fn task(task: &Task) -> TaskOut<'_> {
    TaskOut {
        id: task.id.as_str(),
        context_id: task.context_id.as_str(),
        status: status(&task.status),
        artifacts: task.artifacts.iter().map(artifact).collect(),
        history: task.history.iter().map(message).collect(),
        metadata: task.metadata.as_ref(),
    }
}

fn status(status: &TaskStatus) -> StatusOut<'_> {
    StatusOut {
        state: match status.state {
            TaskState::Canceled => "TASK_STATE_CANCELLED",
            state => state.name(),
        },
        message: status.message.as_ref().map(message),
        timestamp: status.timestamp,
    }
}

fn message(message: &Message) -> MessageOut<'_> {
    MessageOut {
        message_id: message.message_id.as_str(),
        context_id: message.context_id.as_ref().map(|id| id.as_str()),
        task_id: message.task_id.as_ref().map(|id| id.as_str()),
        role: message.role.name(),
        content: message.parts.iter().map(PartOut).collect(),
        metadata: message.metadata.as_ref(),
        extensions: &message.extensions,
    }
}

fn artifact(artifact: &Artifact) -> ArtifactOut<'_> {
    ArtifactOut {
        artifact_id: artifact.artifact_id.as_str(),
        name: artifact.name.as_deref(),
        description: artifact.description.as_deref(),
        parts: artifact.parts.iter().map(PartOut).collect(),
        metadata: artifact.metadata.as_ref(),
        extensions: &artifact.extensions,
    }
}

fn status_update(update: &TaskStatusUpdateEvent) -> StatusUpdateOut<'_> {
    StatusUpdateOut {
        task_id: update.task_id.as_str(),
        context_id: update.context_id.as_str(),
        status: status(&update.status),
        r#final: is_final(update.status.state),
        metadata: update.metadata.as_ref(),
    }
}

fn artifact_update(update: &TaskArtifactUpdateEvent) -> ArtifactUpdateOut<'_> {
    ArtifactUpdateOut {
        task_id: update.task_id.as_str(),
        context_id: update.context_id.as_str(),
        artifact: artifact(&update.artifact),
        append: update.append,
        last_chunk: update.last_chunk,
        metadata: update.metadata.as_ref(),
    }
}

impl Serialize for PartOut<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(part) = *self;
        let file = |uri, bytes| FileOut {
            file_with_uri: uri,
            file_with_bytes: bytes,
            mime_type: part.media_type.as_deref(),
            name: part.filename.as_deref(),
        };
        let mut map = to.serialize_map(None)?;
        match &part.content {
            PartContent::Text(text) => map.serialize_entry("text", text)?,
            PartContent::Raw(bytes) => {
                map.serialize_entry("file", &file(None, Some(Base64(bytes))))?;
            }
            PartContent::Url(url) => map.serialize_entry("file", &file(Some(url), None))?,
            PartContent::Data(data) if data.is_object() => {
                map.serialize_entry("data", &DataOut { data })?;
            }
            PartContent::Data(data) => {
                // A `Struct` is an object.
                let mut metadata = part.metadata.clone().unwrap_or_default();
                metadata.insert(WRAPPED, true);
                map.serialize_entry("data", &DataOut { data: Wrapped { value: data } })?;
                map.serialize_entry("metadata", &metadata)?;
                return map.end();
            }
        }
        if let Some(metadata) = &part.metadata {
            map.serialize_entry("metadata", metadata)?;
        }
        map.end()
    }
}

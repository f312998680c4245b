//! The model as objects of v0.3, written without a copy in between; v0.1 borrows the parts.

use super::read::WRAPPED;
use super::{is_final, state_name};
use crate::event::{TaskArtifactUpdateEvent, TaskStatusUpdateEvent};
use crate::id::TaskId;
use crate::message::{Base64, Message, Part, PartContent, Role};
use crate::operation::ListTasksResponse;
use crate::push::TaskPushNotificationConfig;
use crate::task::{Artifact, Task, TaskStatus};
use crate::time::Timestamp;
use crate::{Json, Metadata};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskOut<'a> {
    kind: &'static str,
    id: &'a str,
    context_id: &'a str,
    status: StatusOut<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "artifacts")]
    artifacts: &'a [Artifact],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "messages")]
    history: &'a [Message],
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
pub(super) struct MessageOut<'a> {
    kind: &'static str,
    message_id: &'a str,
    role: &'static str,
    #[serde(serialize_with = "parts")]
    parts: &'a [Part],
    #[serde(skip_serializing_if = "Option::is_none")]
    context_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    extensions: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reference_task_ids: &'a [TaskId],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactOut<'a> {
    artifact_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(serialize_with = "parts")]
    parts: &'a [Part],
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    extensions: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusUpdateOut<'a> {
    kind: &'static str,
    task_id: &'a str,
    context_id: &'a str,
    status: StatusOut<'a>,
    r#final: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ArtifactUpdateOut<'a> {
    kind: &'static str,
    task_id: &'a str,
    context_id: &'a str,
    artifact: ArtifactOut<'a>,
    append: bool,
    last_chunk: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageOut<'a> {
    tasks: Vec<TaskOut<'a>>,
    next_page_token: &'a str,
    page_size: i32,
    total_size: i32,
}

/// A value that is no object, as one.
#[derive(Serialize)]
pub(crate) struct Wrapped<'a> {
    pub(crate) value: &'a Json,
}

/// A part under the tag of its dialect (`kind` or `type`).
pub(in crate::dialect) struct PartOut<'a> {
    pub(in crate::dialect) tag: &'static str,
    pub(in crate::dialect) part: &'a Part,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
}

pub(super) fn task(task: &Task) -> TaskOut<'_> {
    TaskOut {
        kind: "task",
        id: task.id.as_str(),
        context_id: task.context_id.as_str(),
        status: status(&task.status),
        artifacts: &task.artifacts,
        history: &task.history,
        metadata: task.metadata.as_ref(),
    }
}

pub(super) fn message(message: &Message) -> MessageOut<'_> {
    MessageOut {
        kind: "message",
        message_id: message.message_id.as_str(),
        role: role_name(message.role),
        parts: &message.parts,
        context_id: message.context_id.as_ref().map(|id| id.as_str()),
        task_id: message.task_id.as_ref().map(|id| id.as_str()),
        metadata: message.metadata.as_ref(),
        extensions: &message.extensions,
        reference_task_ids: &message.reference_task_ids,
    }
}

pub(super) fn status_update(update: &TaskStatusUpdateEvent) -> StatusUpdateOut<'_> {
    StatusUpdateOut {
        kind: "status-update",
        task_id: update.task_id.as_str(),
        context_id: update.context_id.as_str(),
        status: status(&update.status),
        r#final: is_final(update.status.state),
        metadata: update.metadata.as_ref(),
    }
}

pub(super) fn artifact_update(update: &TaskArtifactUpdateEvent) -> ArtifactUpdateOut<'_> {
    ArtifactUpdateOut {
        kind: "artifact-update",
        task_id: update.task_id.as_str(),
        context_id: update.context_id.as_str(),
        artifact: artifact(&update.artifact),
        append: update.append,
        last_chunk: update.last_chunk,
        metadata: update.metadata.as_ref(),
    }
}

pub(super) fn page(page: &ListTasksResponse) -> PageOut<'_> {
    PageOut {
        tasks: page.tasks.iter().map(task).collect(),
        next_page_token: &page.next_page_token,
        page_size: page.page_size,
        total_size: page.total_size,
    }
}

pub(super) fn push_config(config: &TaskPushNotificationConfig) -> Value {
    json!({
        "taskId": config.task_id,
        "pushNotificationConfig": bare_push_config(config),
    })
}

/// The config without its task, as v0.1 has it too.
pub(crate) fn bare_push_config(config: &TaskPushNotificationConfig) -> Value {
    let mut view = Map::new();
    view.extend(config.id.as_ref().map(|id| ("id".into(), json!(id))));
    view.insert("url".into(), json!(config.url));
    view.extend(config.token.as_ref().map(|token| ("token".into(), json!(token))));
    if let Some(known) = &config.authentication {
        let mut authentication = json!({"schemes": [known.scheme]});
        if let Some(credentials) = &known.credentials {
            authentication["credentials"] = json!(credentials);
        }
        view.insert("authentication".into(), authentication);
    }
    Value::Object(view)
}

/// The old name of a role.
pub(in crate::dialect) fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Agent => "agent",
    }
}

fn status(status: &TaskStatus) -> StatusOut<'_> {
    StatusOut {
        state: state_name(status.state),
        message: status.message.as_ref().map(message),
        timestamp: status.timestamp,
    }
}

fn artifact(artifact: &Artifact) -> ArtifactOut<'_> {
    ArtifactOut {
        artifact_id: artifact.artifact_id.as_str(),
        name: artifact.name.as_deref(),
        description: artifact.description.as_deref(),
        parts: &artifact.parts,
        metadata: artifact.metadata.as_ref(),
        extensions: &artifact.extensions,
    }
}

fn parts<S: Serializer>(parts: &&[Part], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(parts.iter().map(|part| PartOut { tag: "kind", part }))
}

fn messages<S: Serializer>(messages: &&[Message], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(messages.iter().map(message))
}

fn artifacts<S: Serializer>(artifacts: &&[Artifact], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(artifacts.iter().map(artifact))
}

impl Serialize for PartOut<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { tag, part } = *self;
        let file = || FileOut {
            name: part.filename.as_deref(),
            mime_type: part.media_type.as_deref(),
            bytes: None,
            uri: None,
        };
        let mut map = to.serialize_map(None)?;
        match &part.content {
            PartContent::Text(text) => {
                map.serialize_entry(tag, "text")?;
                map.serialize_entry("text", text)?;
            }
            PartContent::Raw(bytes) => {
                map.serialize_entry(tag, "file")?;
                map.serialize_entry("file", &FileOut { bytes: Some(Base64(bytes)), ..file() })?;
            }
            PartContent::Url(url) => {
                map.serialize_entry(tag, "file")?;
                map.serialize_entry("file", &FileOut { uri: Some(url), ..file() })?;
            }
            PartContent::Data(data) if data.is_object() => {
                map.serialize_entry(tag, "data")?;
                map.serialize_entry("data", data)?;
            }
            PartContent::Data(data) => {
                // Older dialects have objects only.
                let mut metadata = part.metadata.clone().unwrap_or_default();
                metadata.insert(WRAPPED, true);
                map.serialize_entry(tag, "data")?;
                map.serialize_entry("data", &Wrapped { value: data })?;
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

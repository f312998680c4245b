//! Protobuf JSON of `a2a.v1` into the model; what was written by the JSON types in places is
//! understood too.

use crate::dialect::v0_3::read::unwrapped;
use crate::dialect::{read, v0_3};
use crate::error::Error;
use crate::event::{StreamResponse, TaskArtifactUpdateEvent, TaskStatusUpdateEvent};
use crate::id::{ArtifactId, ContextId, MessageId, TaskId};
use crate::message::{Message, Part, PartContent, Role};
use crate::task::{Artifact, Task, TaskState, TaskStatus};
use crate::time::Timestamp;
use crate::{Json, Metadata, lenient};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageIn {
    #[serde(alias = "message_id", default, deserialize_with = "lenient::text")]
    pub(super) message_id: Option<MessageId>,
    #[serde(alias = "context_id", default, deserialize_with = "lenient::text")]
    context_id: Option<ContextId>,
    #[serde(alias = "task_id", default, deserialize_with = "lenient::text")]
    task_id: Option<TaskId>,
    #[serde(deserialize_with = "role")]
    role: Role,
    #[serde(alias = "parts", default, deserialize_with = "lenient::nullable")]
    content: Vec<PartIn>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "lenient::nullable")]
    extensions: Vec<String>,
    /// No field of `a2a.v1`, but what would be lost otherwise.
    #[serde(alias = "reference_task_ids", default, deserialize_with = "lenient::nullable")]
    reference_task_ids: Vec<TaskId>,
}

struct PartIn(Part);

#[derive(Default, Deserialize)]
#[serde(default)]
struct PartMembers {
    kind: Option<String>,
    text: Option<String>,
    file: Option<FileIn>,
    data: Option<Json>,
    metadata: Option<Metadata>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileIn {
    #[serde(alias = "file_with_uri", alias = "uri", deserialize_with = "lenient::text")]
    file_with_uri: Option<String>,
    #[serde(alias = "file_with_bytes", alias = "bytes", deserialize_with = "lenient::bytes")]
    file_with_bytes: Option<Vec<u8>>,
    #[serde(alias = "mime_type", deserialize_with = "lenient::text")]
    mime_type: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventIn {
    #[serde(default)]
    task: Option<TaskIn>,
    #[serde(alias = "msg", default)]
    message: Option<MessageIn>,
    #[serde(alias = "status_update", default)]
    status_update: Option<UpdateIn>,
    #[serde(alias = "artifact_update", default)]
    artifact_update: Option<UpdateIn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskIn {
    id: TaskId,
    #[serde(alias = "context_id", default, deserialize_with = "lenient::text")]
    context_id: Option<ContextId>,
    status: StatusIn,
    #[serde(default, deserialize_with = "lenient::nullable")]
    artifacts: Vec<ArtifactIn>,
    #[serde(default, deserialize_with = "lenient::nullable")]
    history: Vec<MessageIn>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// Either update of a task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateIn {
    #[serde(alias = "task_id")]
    task_id: TaskId,
    #[serde(alias = "context_id", default, deserialize_with = "lenient::text")]
    context_id: Option<ContextId>,
    #[serde(default)]
    status: Option<StatusIn>,
    #[serde(default)]
    artifact: Option<ArtifactIn>,
    #[serde(default, deserialize_with = "lenient::flag_or_false")]
    append: bool,
    #[serde(alias = "last_chunk", default, deserialize_with = "lenient::flag_or_false")]
    last_chunk: bool,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct StatusIn {
    #[serde(default, deserialize_with = "state")]
    state: TaskState,
    #[serde(alias = "update", default)]
    message: Option<MessageIn>,
    #[serde(default)]
    timestamp: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactIn {
    #[serde(alias = "artifact_id")]
    artifact_id: ArtifactId,
    #[serde(default, deserialize_with = "lenient::text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    description: Option<String>,
    #[serde(default, deserialize_with = "lenient::nullable")]
    parts: Vec<PartIn>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "lenient::nullable")]
    extensions: Vec<String>,
}

/// Reads the data of one frame of a stream, or what `message:send` answers.
pub(in crate::rest) fn event(text: Option<&RawValue>) -> Result<StreamResponse, Error> {
    let event: EventIn = read(text)?;
    let one = "must have exactly one of task, message, statusUpdate or artifactUpdate";
    match (event.task, event.message, event.status_update, event.artifact_update) {
        (Some(task), None, None, None) => Ok(StreamResponse::Task(task.task())),
        (None, Some(message), None, None) => Ok(StreamResponse::Message(message.message())),
        (None, None, Some(update), None) => update.status(),
        (None, None, None, Some(update)) => update.artifact(),
        _ => Err(Error::invalid("", one)),
    }
}

impl MessageIn {
    pub(super) fn message(self) -> Message {
        Message {
            message_id: self.message_id.unwrap_or_else(MessageId::random),
            context_id: self.context_id,
            task_id: self.task_id,
            role: self.role,
            parts: parts(self.content),
            metadata: self.metadata,
            extensions: self.extensions,
            reference_task_ids: self.reference_task_ids,
        }
    }
}

impl TaskIn {
    fn task(self) -> Task {
        Task {
            id: self.id,
            context_id: context(self.context_id),
            status: self.status.status(),
            artifacts: self.artifacts.into_iter().map(ArtifactIn::artifact).collect(),
            history: self.history.into_iter().map(MessageIn::message).collect(),
            metadata: self.metadata,
        }
    }
}

impl UpdateIn {
    fn status(self) -> Result<StreamResponse, Error> {
        let status = self.status;
        let status = status.ok_or_else(|| Error::invalid("statusUpdate.status", "is required"))?;
        Ok(StreamResponse::StatusUpdate(TaskStatusUpdateEvent {
            task_id: self.task_id,
            context_id: context(self.context_id),
            status: status.status(),
            metadata: self.metadata,
        }))
    }

    fn artifact(self) -> Result<StreamResponse, Error> {
        let given = self.artifact;
        let given =
            given.ok_or_else(|| Error::invalid("artifactUpdate.artifact", "is required"))?;
        Ok(StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
            task_id: self.task_id,
            context_id: context(self.context_id),
            artifact: given.artifact(),
            append: self.append,
            last_chunk: self.last_chunk,
            metadata: self.metadata,
        }))
    }
}

impl StatusIn {
    fn status(self) -> TaskStatus {
        TaskStatus {
            state: self.state,
            message: self.message.map(MessageIn::message),
            timestamp: self.timestamp,
        }
    }
}

impl ArtifactIn {
    fn artifact(self) -> Artifact {
        Artifact {
            artifact_id: self.artifact_id,
            name: self.name,
            description: self.description,
            parts: parts(self.parts),
            metadata: self.metadata,
            extensions: self.extensions,
        }
    }
}

impl<'de> Deserialize<'de> for PartIn {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let members = PartMembers::deserialize(from)?;
        members.part().map(Self).map_err(D::Error::custom)
    }
}

impl PartMembers {
    fn part(self) -> Result<Part, &'static str> {
        let Self { kind, text, file, data, metadata } = self;
        match (text, file, data) {
            (Some(text), None, None) => Ok(Part { metadata, ..Part::text(text) }),
            (None, Some(file), None) => Ok(Part { metadata, ..file.part()? }),
            (None, None, Some(data)) if kind.is_some() => Ok(unwrapped(data, metadata)),
            (None, None, Some(data)) => Ok(unwrapped(inner(data), metadata)),
            (None, None, None) => Err("a part needs one of text, file or data"),
            _ => Err("a part has only one of text, file or data"),
        }
    }
}

impl FileIn {
    fn part(self) -> Result<Part, &'static str> {
        let content = match (self.file_with_bytes, self.file_with_uri) {
            (Some(bytes), None) => PartContent::Raw(bytes),
            (None, Some(uri)) => PartContent::Url(uri),
            (None, None) => return Err("a file needs one of fileWithBytes or fileWithUri"),
            (Some(_), Some(_)) => {
                return Err("a file has only one of fileWithBytes or fileWithUri");
            }
        };
        Ok(Part { content, metadata: None, filename: self.name, media_type: self.mime_type })
    }
}

/// What a `DataPart` wraps: `{"data": ..}` and nothing else.
fn inner(data: Json) -> Json {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapper {
        #[serde(deserialize_with = "lenient::present")]
        data: Option<Json>,
    }

    let wrapper = serde_json::from_str::<Wrapper>(data.text());
    wrapper.ok().and_then(|wrapper| wrapper.data).unwrap_or(data)
}

fn parts(given: Vec<PartIn>) -> Vec<Part> {
    given.into_iter().map(|PartIn(part)| part).collect()
}

fn context(given: Option<ContextId>) -> ContextId {
    given.unwrap_or_else(|| ContextId::new(""))
}

/// A state by its name in `a2a.v1`, or by that of v1.0: they differ in one letter of one.
pub(in crate::rest) fn state_named(name: &str) -> Option<TaskState> {
    match name {
        "TASK_STATE_CANCELLED" => Some(TaskState::Canceled),
        name => TaskState::from_name(name),
    }
}

fn state<'de, D: Deserializer<'de>>(from: D) -> Result<TaskState, D::Error> {
    lenient::name_or_number(
        from,
        "a task state (TASK_STATE_WORKING, ...)",
        |name| state_named(name).or_else(|| v0_3::state_named(name)),
        |number| TaskState::ALL.get(usize::try_from(number).ok()?).copied(),
    )
}

fn role<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
    let by_name = |name: &str| match name {
        "user" => Some(Role::User),
        "agent" => Some(Role::Agent),
        name => Role::from_name(name),
    };
    let by_number = |number| match number {
        1 => Some(Role::User),
        2 => Some(Role::Agent),
        _ => None,
    };
    lenient::name_or_number(from, "a role (ROLE_USER or ROLE_AGENT)", by_name, by_number)
}

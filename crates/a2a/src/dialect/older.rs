//! The model as objects of the older dialects, written without a copy in between.
//!
//! # Pitfalls
//! Readers of [`Spelling::Proto`] refuse members that their protobuf file does not have, so nothing is
//! added there: `referenceTaskIds`, and names and types of what is no file, have no place.

use super::json;
use super::v0_3::read::WRAPPED;
use super::v0_3::{is_final, state_name};
use crate::Json;
use crate::event::{StreamResponse, TaskArtifactUpdateEvent, TaskStatusUpdateEvent};
use crate::message::{Base64, Message, Part, PartContent, Role};
use crate::operation::ListTasksResponse;
use crate::push::TaskPushNotificationConfig;
use crate::task::{Artifact, Task, TaskState, TaskStatus};
use crate::time::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json as value};
use std::borrow::Cow;

/// How the objects of an older dialect are spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// v0.1: parts tagged by `type`, messages without ids.
    Type,
    /// v0.3 by its JSON types: everything tagged by `kind`.
    Kind,
    /// v0.3 as protobuf JSON of `a2a.v1`.
    Proto,
}

/// An object of the model in a spelling.
pub(crate) struct Out<'a, T: ?Sized>(pub(crate) Spelling, pub(crate) &'a T);

/// The one object under its name.
struct Tagged<'a, T>(&'static str, Out<'a, T>);

#[derive(Serialize)]
pub(super) struct StatusOut<'a> {
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Out<'a, Message>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<Timestamp>,
}

/// An event as one object; with its name around it where the binding wants that.
pub(crate) fn event(spelling: Spelling, event: &StreamResponse, named: bool) -> String {
    fn told<'a, T>(name: &'static str, object: Out<'a, T>, named: bool) -> String
    where
        Out<'a, T>: Serialize,
    {
        if named { json(&Tagged(name, object)) } else { json(&object) }
    }
    match event {
        StreamResponse::Task(task) => told("task", Out(spelling, task), named),
        StreamResponse::Message(message) => told("message", Out(spelling, message), named),
        StreamResponse::StatusUpdate(update) => told("statusUpdate", Out(spelling, update), named),
        StreamResponse::ArtifactUpdate(update) => {
            told("artifactUpdate", Out(spelling, update), named)
        }
    }
}

/// A task under its name, as `message:send` answers it.
pub(crate) fn named_task(spelling: Spelling, task: &Task) -> String {
    json(&Tagged("task", Out(spelling, task)))
}

/// A message under its name.
pub(crate) fn named_message(spelling: Spelling, message: &Message) -> String {
    json(&Tagged("message", Out(spelling, message)))
}

pub(super) fn status(spelling: Spelling, status: &TaskStatus) -> StatusOut<'_> {
    StatusOut {
        state: state(spelling, status.state),
        message: status.message.as_ref().map(|message| Out(spelling, message)),
        timestamp: status.timestamp,
    }
}

fn state(spelling: Spelling, state: TaskState) -> &'static str {
    match (spelling, state) {
        (Spelling::Proto, TaskState::Canceled) => "TASK_STATE_CANCELLED",
        (Spelling::Proto, state) => state.name(),
        // v0.1 does not have the two later ones and gets their nearest.
        (Spelling::Type, TaskState::Rejected) => state_name(TaskState::Failed),
        (Spelling::Type, TaskState::AuthRequired) => state_name(TaskState::InputRequired),
        (Spelling::Type | Spelling::Kind, state) => state_name(state),
    }
}

fn role(spelling: Spelling, role: Role) -> &'static str {
    match (spelling, role) {
        (Spelling::Proto, role) => role.name(),
        (Spelling::Type | Spelling::Kind, Role::User) => "user",
        (Spelling::Type | Spelling::Kind, Role::Agent) => "agent",
    }
}

/// A push notification config without its task.
pub(crate) fn push_config(config: &TaskPushNotificationConfig) -> Value {
    let mut view = Map::new();
    view.extend(config.id.as_ref().map(|id| ("id".into(), value!(id))));
    view.insert("url".into(), value!(config.url));
    view.extend(config.token.as_ref().map(|token| ("token".into(), value!(token))));
    if let Some(known) = &config.authentication {
        let mut authentication = value!({"schemes": [known.scheme]});
        if let Some(credentials) = &known.credentials {
            authentication["credentials"] = value!(credentials);
        }
        view.insert("authentication".into(), authentication);
    }
    Value::Object(view)
}

// === objects ===

/// The members of an object while they are written.
struct Object<M> {
    spelling: Spelling,
    map: M,
}

/// A list of objects.
pub(crate) struct List<'a, T>(pub(crate) Spelling, pub(crate) &'a [T]);

impl<T> List<'_, T> {
    pub(super) fn is_empty(&self) -> bool {
        self.1.is_empty()
    }
}

impl<M: SerializeMap> Object<M> {
    fn begin<S: Serializer<SerializeMap = M, Ok = M::Ok, Error = M::Error>>(
        to: S,
        spelling: Spelling,
        kind: &str,
    ) -> Result<Self, M::Error> {
        let mut map = to.serialize_map(None)?;
        if spelling == Spelling::Kind && !kind.is_empty() {
            map.serialize_entry("kind", kind)?;
        }
        Ok(Self { spelling, map })
    }

    fn put(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), M::Error> {
        self.map.serialize_entry(name, value)
    }

    /// A member that is left out when it is absent.
    fn perhaps(&mut self, name: &str, value: Option<&impl Serialize>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.put(name, value))
    }

    /// A list of texts that is left out when it is empty.
    fn texts(&mut self, name: &str, texts: &[impl Serialize]) -> Result<(), M::Error> {
        if texts.is_empty() { Ok(()) } else { self.put(name, texts) }
    }

    /// A list of objects that is left out when it is empty.
    fn objects<'a, T>(&mut self, name: &str, items: &'a [T]) -> Result<(), M::Error>
    where
        Out<'a, T>: Serialize,
    {
        if items.is_empty() { Ok(()) } else { self.put(name, &List(self.spelling, items)) }
    }
}

/// What each object has, in order, and its `kind` if it has one.
macro_rules! objects {
    ($($model:ty as $kind:literal: |$known:ident, $object:ident| $write:block)*) => {$(
        impl Serialize for Out<'_, $model> {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let Self(spelling, $known) = *self;
                let mut $object = Object::begin(to, spelling, $kind)?;
                $write
                $object.map.end()
            }
        }
    )*};
}

objects! {
    Task as "task": |task, out| {
        out.put("id", &task.id)?;
        out.put("contextId", &task.context_id)?;
        out.put("status", &status(out.spelling, &task.status))?;
        out.objects("artifacts", &task.artifacts)?;
        out.objects("history", &task.history)?;
        out.perhaps("metadata", task.metadata.as_ref())?;
    }
    Message as "message": |message, out| {
        let has_ids = out.spelling != Spelling::Type;
        if has_ids {
            out.put("messageId", &message.message_id)?;
            out.perhaps("contextId", message.context_id.as_ref())?;
            out.perhaps("taskId", message.task_id.as_ref())?;
        }
        out.put("role", role(out.spelling, message.role))?;
        let parts = if out.spelling == Spelling::Proto { "content" } else { "parts" };
        out.put(parts, &List(out.spelling, &message.parts))?;
        out.perhaps("metadata", message.metadata.as_ref())?;
        if has_ids {
            out.texts("extensions", &message.extensions)?;
        }
        if out.spelling == Spelling::Kind {
            out.texts("referenceTaskIds", &message.reference_task_ids)?;
        }
    }
    Artifact as "": |artifact, out| {
        out.put("artifactId", &artifact.artifact_id)?;
        out.perhaps("name", artifact.name.as_ref())?;
        out.perhaps("description", artifact.description.as_ref())?;
        out.put("parts", &List(out.spelling, &artifact.parts))?;
        out.perhaps("metadata", artifact.metadata.as_ref())?;
        out.texts("extensions", &artifact.extensions)?;
    }
    TaskStatusUpdateEvent as "status-update": |update, out| {
        out.put("taskId", &update.task_id)?;
        out.put("contextId", &update.context_id)?;
        out.put("status", &status(out.spelling, &update.status))?;
        out.put("final", &is_final(update.status.state))?;
        out.perhaps("metadata", update.metadata.as_ref())?;
    }
    TaskArtifactUpdateEvent as "artifact-update": |update, out| {
        out.put("taskId", &update.task_id)?;
        out.put("contextId", &update.context_id)?;
        out.put("artifact", &Out(out.spelling, &update.artifact))?;
        out.put("append", &update.append)?;
        out.put("lastChunk", &update.last_chunk)?;
        out.perhaps("metadata", update.metadata.as_ref())?;
    }
    ListTasksResponse as "": |page, out| {
        out.put("tasks", &List(out.spelling, &page.tasks))?;
        out.put("nextPageToken", &page.next_page_token)?;
        out.put("pageSize", &page.page_size)?;
        out.put("totalSize", &page.total_size)?;
    }
}

impl<'a, T> Serialize for List<'a, T>
where
    Out<'a, T>: Serialize,
{
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.1.iter().map(|item| Out(self.0, item)))
    }
}

impl<'a, T> Serialize for Tagged<'a, T>
where
    Out<'a, T>: Serialize,
{
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map([(self.0, &self.1)])
    }
}

// === parts ===

/// A file, whose content has another name in each spelling.
struct File<'a>(Spelling, &'a Part);

/// An object, or what is none in one.
struct Data<'a>(Spelling, &'a Json);

impl Serialize for Out<'_, Part> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(spelling, part) = *self;
        let kind = match &part.content {
            PartContent::Text(_) => "text",
            PartContent::Raw(_) | PartContent::Url(_) => "file",
            PartContent::Data(_) => "data",
        };
        let mut map = to.serialize_map(None)?;
        match spelling {
            Spelling::Type => map.serialize_entry("type", kind)?,
            Spelling::Kind => map.serialize_entry("kind", kind)?,
            Spelling::Proto => {}
        }
        let mut metadata = Cow::Borrowed(&part.metadata);
        match &part.content {
            PartContent::Text(text) => map.serialize_entry(kind, text)?,
            PartContent::Raw(_) | PartContent::Url(_) => {
                map.serialize_entry(kind, &File(spelling, part))?;
            }
            PartContent::Data(data) => {
                map.serialize_entry(kind, &Data(spelling, data))?;
                if !data.is_object() {
                    metadata.to_mut().get_or_insert_default().insert(WRAPPED, true);
                }
            }
        }
        if let Some(metadata) = &*metadata {
            map.serialize_entry("metadata", metadata)?;
        }
        map.end()
    }
}

impl Serialize for File<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(spelling, part) = *self;
        let proto = spelling == Spelling::Proto;
        let mut out = Object::begin(to, spelling, "")?;
        out.perhaps("name", part.filename.as_ref())?;
        out.perhaps("mimeType", part.media_type.as_ref())?;
        match &part.content {
            PartContent::Raw(bytes) => {
                out.put(if proto { "fileWithBytes" } else { "bytes" }, &Base64(bytes))?;
            }
            PartContent::Url(url) => out.put(if proto { "fileWithUri" } else { "uri" }, url)?,
            PartContent::Text(_) | PartContent::Data(_) => {}
        }
        out.map.end()
    }
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match *self {
            // What a `DataPart` is: an object that holds the object.
            Self(Spelling::Proto, data) => to.collect_map([("data", Data(Spelling::Kind, data))]),
            Self(_, data) if data.is_object() => data.serialize(to),
            // Older dialects have objects only.
            Self(_, data) => to.collect_map([("value", data)]),
        }
    }
}

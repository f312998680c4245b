//! Protobuf JSON of `a2a.v1` into the model; what was written by the JSON types in places is
//! understood too.

use crate::dialect::v0_3::read::unwrapped;
use crate::id::{ContextId, MessageId, TaskId};
use crate::message::{Message, Part, PartContent, Role};
use crate::task::TaskState;
use crate::{Json, Metadata, lenient};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

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

/// A state by its name in `a2a.v1`, or by that of v1.0: they differ in one letter of one.
pub(in crate::rest) fn state_named(name: &str) -> Option<TaskState> {
    match name {
        "TASK_STATE_CANCELLED" => Some(TaskState::Canceled),
        name => TaskState::from_name(name),
    }
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

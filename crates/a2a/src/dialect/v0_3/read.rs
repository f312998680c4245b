//! Objects of v0.3 into the model; v0.1 borrows the parts, which differ in their tag alone.

use crate::error::Error;
use crate::id::{ContextId, MessageId, TaskId};
use crate::message::{Message, Part, PartContent, Role};
use crate::push::{AuthenticationInfo, TaskPushNotificationConfig};
use crate::{Json, Metadata, lenient};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

/// Marks a `data` that was no object and was wrapped as `{"value": ..}`; the word is the SDKs'.
pub(crate) const WRAPPED: &str = "data_part_compat";

/// A message of an older dialect: by its JSON types, or as protobuf JSON of `a2a.v1`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageIn<const PROTO: bool> {
    #[serde(alias = "message_id", default, deserialize_with = "lenient::text")]
    message_id: Option<MessageId>,
    #[serde(alias = "context_id", default, deserialize_with = "lenient::text")]
    context_id: Option<ContextId>,
    #[serde(alias = "task_id", default, deserialize_with = "lenient::text")]
    task_id: Option<TaskId>,
    #[serde(deserialize_with = "role::<PROTO, _>")]
    role: Role,
    #[serde(alias = "content", default, deserialize_with = "lenient::nullable")]
    parts: Vec<PartIn<PROTO>>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "lenient::nullable")]
    extensions: Vec<String>,
    /// No field of `a2a.v1`, but what would be lost otherwise.
    #[serde(alias = "reference_task_ids", default, deserialize_with = "lenient::nullable")]
    reference_task_ids: Vec<TaskId>,
}

/// A part, tagged by `kind` (v0.3) or `type` (v0.1), or by its members alone.
struct PartIn<const PROTO: bool>(Part);

#[derive(Deserialize)]
pub(crate) struct PushConfigIn {
    #[serde(default, deserialize_with = "lenient::text")]
    id: Option<String>,
    url: String,
    #[serde(default, deserialize_with = "lenient::text")]
    token: Option<String>,
    #[serde(default)]
    authentication: Option<AuthenticationIn>,
}

#[derive(Deserialize)]
struct AuthenticationIn {
    #[serde(default, deserialize_with = "lenient::nullable")]
    schemes: Vec<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    credentials: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartMembers {
    kind: Option<String>,
    r#type: Option<String>,
    text: Option<String>,
    file: Option<FileIn>,
    #[serde(deserialize_with = "lenient::present")]
    data: Option<Json>,
    metadata: Option<Metadata>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileIn {
    #[serde(
        alias = "fileWithBytes",
        alias = "file_with_bytes",
        deserialize_with = "lenient::bytes"
    )]
    bytes: Option<Vec<u8>>,
    #[serde(alias = "fileWithUri", alias = "file_with_uri", deserialize_with = "lenient::text")]
    uri: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    name: Option<String>,
    #[serde(alias = "mime_type", deserialize_with = "lenient::text")]
    mime_type: Option<String>,
}

impl<const PROTO: bool> MessageIn<PROTO> {
    /// The message of a request, which needs an id.
    pub(crate) fn message(self) -> Result<Message, Error> {
        match self.message_id {
            Some(_) => Ok(self.message_or_random()),
            None => Err(Error::invalid("message.messageId", "is required")),
        }
    }

    /// The message, with a new id where it has none.
    pub(in crate::dialect) fn message_or_random(self) -> Message {
        Message {
            message_id: self.message_id.unwrap_or_else(MessageId::random),
            context_id: self.context_id,
            task_id: self.task_id,
            role: self.role,
            parts: self.parts.into_iter().map(|PartIn(part)| part).collect(),
            metadata: self.metadata,
            extensions: self.extensions,
            reference_task_ids: self.reference_task_ids,
        }
    }
}

impl PushConfigIn {
    pub(crate) fn config(self, task_id: Option<TaskId>) -> TaskPushNotificationConfig {
        TaskPushNotificationConfig {
            tenant: None,
            id: self.id,
            task_id,
            url: self.url,
            token: self.token,
            // One header can carry one scheme; the first is the sender's preference.
            authentication: self.authentication.and_then(|given| {
                let credentials = given.credentials;
                let scheme = given.schemes.into_iter().next()?;
                Some(AuthenticationInfo { scheme, credentials })
            }),
        }
    }
}

impl<'de, const PROTO: bool> Deserialize<'de> for PartIn<PROTO> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let members = PartMembers::deserialize(from)?;
        let part = if PROTO { members.proto_part() } else { members.part() };
        part.map(Self).map_err(D::Error::custom)
    }
}

impl PartMembers {
    fn part(self) -> Result<Part, String> {
        let Self { kind, r#type, text, file, data, metadata } = self;
        let kind = kind.or(r#type).unwrap_or_else(|| {
            // Nothing said: the member that is there says it.
            let kind = if file.is_some() { "file" } else { "data" };
            if text.is_some() { "text".into() } else { kind.into() }
        });
        match kind.as_str() {
            "text" => {
                let text = text.ok_or("a text part needs `text`")?;
                Ok(Part { metadata, ..Part::text(text) })
            }
            "file" => file.ok_or("a file part needs `file`")?.part("bytes or uri", metadata),
            "data" => Ok(unwrapped(data.ok_or("a part needs text, file or data")?, metadata)),
            other => Err(format!("unknown kind of part `{other}`")),
        }
    }

    /// A part of `a2a.v1`, in which null is absent and a `kind` tells of the JSON types.
    fn proto_part(self) -> Result<Part, String> {
        let Self { kind, text, file, data, metadata, .. } = self;
        match (text, file, data.filter(|data| !data.is_null())) {
            (Some(text), None, None) => Ok(Part { metadata, ..Part::text(text) }),
            (None, Some(file), None) => file.part("fileWithBytes or fileWithUri", metadata),
            (None, None, Some(data)) if kind.is_some() => Ok(unwrapped(data, metadata)),
            (None, None, Some(data)) => Ok(unwrapped(inner(data), metadata)),
            (None, None, None) => Err("a part needs one of text, file or data".to_owned()),
            _ => Err("a part has only one of text, file or data".to_owned()),
        }
    }
}

impl FileIn {
    fn part(self, names: &str, metadata: Option<Metadata>) -> Result<Part, String> {
        let content = match (self.bytes, self.uri) {
            (Some(bytes), None) => PartContent::Raw(bytes),
            (None, Some(uri)) => PartContent::Url(uri),
            (None, None) => return Err(format!("a file needs one of {names}")),
            (Some(_), Some(_)) => return Err(format!("a file has only one of {names}")),
        };
        Ok(Part { content, metadata, filename: self.name, media_type: self.mime_type })
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

pub(crate) fn unwrapped(data: Json, mut metadata: Option<Metadata>) -> Part {
    let marked = metadata.as_mut().and_then(|members| members.remove(WRAPPED));
    metadata = metadata.filter(|members| marked.is_none() || !members.is_empty());
    let data = if marked == Some(Value::Bool(true)) && data.is_object() {
        data.member("value").unwrap_or_else(|| Value::Null.into())
    } else {
        data
    };
    Part { metadata, ..Part::of(PartContent::Data(data)) }
}

fn role<'de, const PROTO: bool, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
    let by_name = |name: &str| match name {
        "user" => Some(Role::User),
        "agent" => Some(Role::Agent),
        name if PROTO => Role::from_name(name),
        _ => None,
    };
    let by_number = |number| match number {
        1 if PROTO => Some(Role::User),
        2 if PROTO => Some(Role::Agent),
        _ => None,
    };
    let expected =
        if PROTO { "a role (ROLE_USER or ROLE_AGENT)" } else { "a role (user or agent)" };
    lenient::name_or_number(from, expected, by_name, by_number)
}

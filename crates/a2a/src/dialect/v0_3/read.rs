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

/// A part, tagged by `kind` (v0.3) or `type` (v0.1), or by its members alone.
pub(in crate::dialect) struct PartIn(pub(in crate::dialect) Part);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::dialect) struct MessageIn {
    #[serde(default, deserialize_with = "lenient::text")]
    pub(in crate::dialect) message_id: Option<MessageId>,
    #[serde(default, deserialize_with = "lenient::text")]
    context_id: Option<ContextId>,
    #[serde(default, deserialize_with = "lenient::text")]
    task_id: Option<TaskId>,
    #[serde(deserialize_with = "role")]
    role: Role,
    parts: Vec<PartIn>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "lenient::nullable")]
    extensions: Vec<String>,
    #[serde(default, deserialize_with = "lenient::nullable")]
    reference_task_ids: Vec<TaskId>,
}

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
    #[serde(deserialize_with = "lenient::bytes")]
    bytes: Option<Vec<u8>>,
    uri: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    name: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    mime_type: Option<String>,
}

impl MessageIn {
    /// The message; `at` is its path in the request.
    pub(in crate::dialect) fn message(self, at: &str) -> Result<Message, Error> {
        match self.message_id {
            Some(_) => Ok(self.message_or_random()),
            None => Err(Error::invalid(format!("{at}.messageId"), "is required")),
        }
    }

    /// The message, with a new id where it has none.
    pub(in crate::dialect) fn message_or_random(self) -> Message {
        Message {
            message_id: self.message_id.unwrap_or_else(MessageId::random),
            context_id: self.context_id,
            task_id: self.task_id,
            role: self.role,
            parts: parts(self.parts),
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

impl<'de> Deserialize<'de> for PartIn {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        PartMembers::deserialize(from)?.part().map(Self).map_err(D::Error::custom)
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
            "file" => Ok(Part { metadata, ..file.ok_or("a file part needs `file`")?.part()? }),
            "data" => Ok(unwrapped(data.ok_or("a part needs text, file or data")?, metadata)),
            other => Err(format!("unknown kind of part `{other}`")),
        }
    }
}

impl FileIn {
    fn part(self) -> Result<Part, &'static str> {
        let content = match (self.bytes, self.uri) {
            (Some(bytes), None) => PartContent::Raw(bytes),
            (None, Some(uri)) => PartContent::Url(uri),
            (None, None) => return Err("a file needs one of bytes or uri"),
            (Some(_), Some(_)) => return Err("a file has only one of bytes or uri"),
        };
        Ok(Part { content, metadata: None, filename: self.name, media_type: self.mime_type })
    }
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

fn parts(given: Vec<PartIn>) -> Vec<Part> {
    given.into_iter().map(|PartIn(part)| part).collect()
}

fn role<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
    let by_name = |name: &str| match name {
        "user" => Some(Role::User),
        "agent" => Some(Role::Agent),
        _ => None,
    };
    lenient::name_or_number(from, "a role (user or agent)", by_name, |_| None)
}

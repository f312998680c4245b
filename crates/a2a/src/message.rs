//! What is said: a message, and the parts that messages and artifacts are made of.

use crate::id::{ContextId, MessageId, TaskId};
use crate::{Json, Metadata, lenient};
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserializer};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks (specification 4.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The client.
    User,
    /// The agent.
    Agent,
}

/// One turn of speech between client and agent (specification 4.1.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Made by whoever wrote the message.
    #[serde(alias = "message_id")]
    pub message_id: MessageId,
    /// The conversation that the message belongs to.
    #[serde(
        alias = "context_id",
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub context_id: Option<ContextId>,
    /// The task that the message belongs to.
    #[serde(
        alias = "task_id",
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub task_id: Option<TaskId>,
    /// Who speaks.
    pub role: Role,
    /// The content; a request with none is refused.
    #[cfg_attr(feature = "schema", schemars(length(min = 1), required))]
    #[serde(default, deserialize_with = "lenient::nullable")]
    pub parts: Vec<Part>,
    /// Free-form data, keyed by extension URIs where those are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// URIs of the extensions that shaped this message.
    #[serde(
        default,
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub extensions: Vec<String>,
    /// Tasks that the message refers to for context.
    #[serde(
        alias = "reference_task_ids",
        default,
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub reference_task_ids: Vec<TaskId>,
}

/// A piece of content (specification 4.1.6).
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The content itself, in exactly one form.
    pub content: PartContent,
    /// Free-form data about the part.
    pub metadata: Option<Metadata>,
    /// A name for the content as a file.
    pub filename: Option<String>,
    /// The media type of the content (`text/plain`).
    pub media_type: Option<String>,
}

/// The content of a part: exactly one of four forms.
#[derive(Clone, Debug, PartialEq)]
pub enum PartContent {
    /// Plain text.
    Text(String),
    /// Bytes; base64 on JSON wires.
    Raw(Vec<u8>),
    /// Where the content lies.
    Url(String),
    /// Any JSON value, `null` included.
    Data(Json),
}

impl Role {
    /// The name on the wire (`ROLE_USER`).
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "ROLE_USER",
            Self::Agent => "ROLE_AGENT",
        }
    }

    /// The role of that name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Agent].into_iter().find(|role| role.name() == name)
    }
}

impl Message {
    /// A new message of the agent with one text part.
    pub fn agent_text(text: impl Into<String>) -> Self {
        Self::new(Role::Agent, vec![Part::text(text)])
    }

    /// A new message of the client with one text part.
    pub fn user_text(text: impl Into<String>) -> Self {
        Self::new(Role::User, vec![Part::text(text)])
    }

    /// A new message with an id of its own, in no context yet.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self {
            message_id: MessageId::random(),
            context_id: None,
            task_id: None,
            role,
            parts,
            metadata: None,
            extensions: Vec::new(),
            reference_task_ids: Vec::new(),
        }
    }

    /// The text parts, one below the other.
    pub fn text_content(&self) -> String {
        let texts: Vec<&str> = self.parts.iter().filter_map(Part::as_text).collect();
        texts.join("\n")
    }
}

impl Part {
    /// A part with text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(PartContent::Text(text.into()))
    }

    /// A part with a JSON value.
    pub fn data(data: impl Into<Value>) -> Self {
        Self::of(PartContent::Data(Json::from(data.into())))
    }

    /// A part with the bytes of a file.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(PartContent::Raw(bytes.into()))
    }

    /// A part whose content lies elsewhere.
    pub fn url(url: impl Into<String>) -> Self {
        Self::of(PartContent::Url(url.into()))
    }

    /// A part with this content and nothing else.
    pub fn of(content: PartContent) -> Self {
        Self { content, metadata: None, filename: None, media_type: None }
    }

    /// The same part under a file name.
    #[must_use]
    pub fn named(mut self, filename: impl Into<String>) -> Self {
        self.filename = Some(filename.into());
        self
    }

    /// The same part with a media type.
    #[must_use]
    pub fn typed(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    /// The text of a text part.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            PartContent::Text(text) => Some(text),
            PartContent::Raw(_) | PartContent::Url(_) | PartContent::Data(_) => None,
        }
    }

    /// Takes the text of `next` to the end of this part, when both are text and nothing else.
    pub(crate) fn absorb(&mut self, next: Self) -> Option<Self> {
        let alike = self.metadata.is_none()
            && next.metadata.is_none()
            && self.filename == next.filename
            && self.media_type == next.media_type;
        match (&mut self.content, next) {
            (PartContent::Text(text), Self { content: PartContent::Text(more), .. }) if alike => {
                text.push_str(&more);
                None
            }
            (_, next) => Some(next),
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        lenient::name_or_number(
            from,
            "a role (ROLE_USER or ROLE_AGENT)",
            Self::from_name,
            |number| match number {
                1 => Some(Self::User),
                2 => Some(Self::Agent),
                _ => None,
            },
        )
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        match &self.content {
            PartContent::Text(text) => map.serialize_entry("text", text)?,
            PartContent::Raw(bytes) => map.serialize_entry("raw", &Base64(bytes))?,
            PartContent::Url(url) => map.serialize_entry("url", url)?,
            PartContent::Data(data) => map.serialize_entry("data", data)?,
        }
        if let Some(metadata) = &self.metadata {
            map.serialize_entry("metadata", metadata)?;
        }
        if let Some(filename) = &self.filename {
            map.serialize_entry("filename", filename)?;
        }
        if let Some(media_type) = &self.media_type {
            map.serialize_entry("mediaType", media_type)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            text: Option<String>,
            #[serde(default, deserialize_with = "lenient::bytes")]
            raw: Option<Vec<u8>>,
            #[serde(default)]
            url: Option<String>,
            #[serde(default, deserialize_with = "lenient::present")]
            data: Option<Json>,
            #[serde(default)]
            metadata: Option<Metadata>,
            #[serde(default, deserialize_with = "lenient::text")]
            filename: Option<String>,
            #[serde(
                rename = "mediaType",
                alias = "media_type",
                default,
                deserialize_with = "lenient::text"
            )]
            media_type: Option<String>,
        }

        let Wire { text, raw, url, data, metadata, filename, media_type } =
            Wire::deserialize(from)?;
        let content = content(text, raw, url, data).map_err(de::Error::custom)?;
        Ok(Self { content, metadata, filename, media_type })
    }
}

/// Exactly one of the four; a `data` of null beside another one is a sender that spells out its
/// absent fields, not a second content.
fn content(
    text: Option<String>,
    raw: Option<Vec<u8>>,
    url: Option<String>,
    data: Option<Json>,
) -> Result<PartContent, &'static str> {
    let others = text.is_some() || raw.is_some() || url.is_some();
    let data = data.filter(|value| !(others && value.is_null()));
    match (text, raw, url, data) {
        (Some(text), None, None, None) => Ok(PartContent::Text(text)),
        (None, Some(raw), None, None) => Ok(PartContent::Raw(raw)),
        (None, None, Some(url), None) => Ok(PartContent::Url(url)),
        (None, None, None, Some(data)) => Ok(PartContent::Data(data)),
        (None, None, None, None) => Err("a part needs one of text, raw, url or data"),
        _ => Err("a part has only one of text, raw, url or data"),
    }
}

/// Bytes that are written as padded standard base64, without a string in between.
pub(crate) struct Base64<'a>(pub(crate) &'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

//! The dialects of the protocol: which one a method name speaks, and the way into the v1.0 model
//! and out of it.

use crate::error::{Error, shortened};
use crate::event::StreamResponse;
use crate::id::ArtifactId;
use crate::operation::{Call, OPERATIONS, Operation, Reply};
use older::Spelling;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub(crate) mod older;
mod v0_1;
pub(crate) mod v0_3;
pub(crate) mod v1_0;

/// A version of the protocol as it is spoken on JSON wires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// 0.1, the oldest: `tasks/send`, ids made by the client.
    V0_1,
    /// 0.2 and 0.3: `message/send`, objects tagged by `kind`.
    V0_3,
    /// 1.0, the model itself.
    V1_0,
}

/// What a JSON-RPC method name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The operation.
    pub operation: Operation,
    /// The dialect to answer in.
    pub dialect: Dialect,
    /// v0.1 has a method of the same name: the task tells which one is meant.
    pub shared: bool,
}

/// A request in terms of the model, with what only its dialect knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The operation and its request; checked.
    pub call: Call,
    /// v0.1: the task's id as the client made it.
    pub client_task_id: Option<String>,
    /// v0.3: `configuration.blocking` as given, none when left out.
    pub blocking: Option<bool>,
}

/// Writes the events of one stream, for dialects whose events depend on those before them.
#[derive(Clone, Debug)]
pub struct Encoder {
    dialect: Dialect,
    alias: Option<String>,
    /// Artifacts in the order of their birth: v0.1 tells them apart by number.
    artifacts: Vec<ArtifactId>,
}

/// What a JSON-RPC method name means, in any dialect.
pub fn method(name: &str) -> Option<Method> {
    if let Some(names) = OPERATIONS.iter().find(|names| names.method == name) {
        return Some(Method { operation: names.operation, dialect: Dialect::V1_0, shared: false });
    }
    if let Some(operation) = v0_3::operation(name) {
        let shared = v0_1::operation(name).is_some();
        return Some(Method { operation, dialect: Dialect::V0_3, shared });
    }
    let operation = v0_1::operation(name)?;
    Some(Method { operation, dialect: Dialect::V0_1, shared: false })
}

impl Dialect {
    /// `Major.Minor`, as in `A2A-Version`.
    pub fn version(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1",
            Self::V0_3 => "0.3",
            Self::V1_0 => "1.0",
        }
    }

    /// The dialect of that `Major.Minor`; a patch number is ignored, 0.2 is spoken like 0.3.
    pub fn from_version(version: &str) -> Option<Self> {
        let mut numbers = version.trim().split('.');
        match (numbers.next()?, numbers.next().unwrap_or("0")) {
            ("1", "0") => Some(Self::V1_0),
            ("0", "2" | "3") => Some(Self::V0_3),
            ("0", "1") => Some(Self::V0_1),
            _ => None,
        }
    }

    /// Reads the params of a request and checks them.
    ///
    /// # Errors
    /// `InvalidParams` naming the fields that are wrong; `MethodNotFound` for an operation that the
    /// dialect does not have.
    pub fn decode(self, operation: Operation, params: Option<&RawValue>) -> Result<Decoded, Error> {
        match self {
            Self::V1_0 => v1_0::decode(operation, params),
            Self::V0_3 => v0_3::decode(operation, params),
            Self::V0_1 => v0_1::decode(operation, params),
        }
    }

    /// Writes the result of an operation; `alias` is the task's id as a v0.1 client made it.
    pub fn encode_reply(self, operation: Operation, reply: &Reply, alias: Option<&str>) -> String {
        match self {
            Self::V1_0 => v1_0::encode_reply(operation, reply),
            Self::V0_3 => v0_3::encode_reply(reply),
            Self::V0_1 => v0_1::encode_reply(reply, alias),
        }
    }

    /// Writes an event; none when the dialect has no word for it. `alias` is the task's id as a
    /// v0.1 client made it.
    ///
    /// The result is the same for every reader of v1.0 and v0.3. Events of v0.1 number their
    /// artifacts, which one event alone cannot know: see [`Encoder`].
    pub fn encode_event(self, event: &StreamResponse, alias: Option<&str>) -> Option<String> {
        match self {
            Self::V1_0 => Some(json(event)),
            Self::V0_3 => Some(older::event(Spelling::Kind, event, false)),
            Self::V0_1 => Some(v0_1::encode_event(event, alias, 0)),
        }
    }
}

impl Encoder {
    /// An encoder for one stream.
    pub fn new(dialect: Dialect, alias: Option<String>) -> Self {
        Self { dialect, alias, artifacts: Vec::new() }
    }

    /// Writes the next event of the stream; none when the dialect has no word for it.
    pub fn encode(&mut self, event: &StreamResponse) -> Option<String> {
        if self.dialect != Dialect::V0_1 {
            return self.dialect.encode_event(event, None);
        }
        let mut index = 0;
        match event {
            StreamResponse::Task(task) => {
                self.artifacts.clear();
                self.artifacts.extend(task.artifacts.iter().map(|known| known.artifact_id.clone()));
            }
            StreamResponse::ArtifactUpdate(update) => {
                index = self.index(&update.artifact.artifact_id);
            }
            StreamResponse::Message(_) | StreamResponse::StatusUpdate(_) => {}
        }
        Some(v0_1::encode_event(event, self.alias.as_deref(), index))
    }

    fn index(&mut self, id: &ArtifactId) -> usize {
        self.artifacts.iter().position(|known| known == id).unwrap_or_else(|| {
            self.artifacts.push(id.clone());
            self.artifacts.len() - 1
        })
    }
}

/// Reads params, absent ones as an empty object.
pub(crate) fn read<T: DeserializeOwned>(params: Option<&RawValue>) -> Result<T, Error> {
    let text = params.map_or("{}", RawValue::get);
    if !text.starts_with('{') {
        return Err(Error::invalid("params", "must be an object"));
    }
    // The path of an error costs time, so it is only looked for when there is one.
    serde_json::from_str(text).map_err(|_| explain::<T>(text))
}

fn explain<T: DeserializeOwned>(text: &str) -> Error {
    let mut from = serde_json::Deserializer::from_str(text);
    let cause = match serde_path_to_error::deserialize::<_, T>(&mut from) {
        Err(cause) => cause,
        Ok(_) => return Error::invalid("params", "could not be read"),
    };
    let (mut field, mut told) = (cause.path().to_string(), cause.inner().to_string());
    if field == "." {
        field.clear();
    }
    if let Some(end) = told.rfind(" at line ") {
        told.truncate(end);
    }
    let missing = told.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    if let Some(name) = missing {
        let separator = if field.is_empty() { "" } else { "." };
        return Error::invalid(shortened(format!("{field}{separator}{name}")), "is required");
    }
    Error::invalid(shortened(field), shortened(told))
}

/// Refuses what is wrong with a call, in the names that its dialect has for the fields.
pub(crate) fn check(call: &Call, names: &[(&str, &str)]) -> Result<(), Error> {
    call.check().map_err(|error| renamed(error, names))
}

/// The error in the names that a dialect has for the fields.
pub(crate) fn renamed(error: Error, names: &[(&str, &str)]) -> Error {
    if names.is_empty() {
        return error;
    }
    Error::invalid_fields(
        error
            .violations
            .into_iter()
            .map(|mut violation| {
                let name = names.iter().find_map(|(ours, theirs)| {
                    violation.field.strip_prefix(ours).map(|rest| format!("{theirs}{rest}"))
                });
                violation.field = name.unwrap_or(violation.field);
                violation
            })
            .collect(),
    )
}

pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("the model has string keys and no failing serializers")
}

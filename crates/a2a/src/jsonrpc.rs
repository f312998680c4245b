//! The JSON-RPC 2.0 envelope, for servers and clients (specification 9).
//!
//! Params and results stay raw here: what they mean is the dialect's business. An encoded event can
//! be shared by all its readers, since each only puts its own [`prefix`] and [`SUFFIX`] around it.

use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, error_object};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What follows the result.
pub const SUFFIX: &[u8] = b"}";

/// The id of a request, echoed in its response just as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Id {
    /// None, or none that could be read.
    #[default]
    Null,
    /// A number in the spelling of its sender (`1.0` stays `1.0`).
    Number(Box<str>),
    /// A string.
    String(Box<str>),
}

/// A request whose params are not read yet.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// To be echoed.
    pub id: Id,
    /// Which operation, in which dialect: see [`crate::dialect::method`].
    pub method: Cow<'a, str>,
    /// What the operation asks for.
    pub params: Option<&'a RawValue>,
}

/// A response whose result is not read yet.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// The id of its request.
    pub id: Id,
    /// The result, or why there is none.
    pub outcome: Result<&'a RawValue, RpcError>,
}

/// The error of a response.
#[derive(Clone, Debug, PartialEq, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// See the table in [`crate::error::ERRORS`].
    pub code: i32,
    /// What went wrong, for people.
    #[serde(default)]
    pub message: String,
    /// Whatever else the server tells.
    #[serde(default)]
    pub data: Option<Value>,
}

/// The members of both envelopes.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// A JSON string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a request.
///
/// # Errors
/// `Parse` for what is not JSON, `InvalidRequest` for what is not a single JSON-RPC 2.0 request,
/// `InvalidParams` for params that are no object; with the id to answer to where one could be read.
pub fn parse(body: &[u8]) -> Result<Request<'_>, (Id, Error)> {
    let wire = envelope(body).map_err(|error| (Id::Null, error))?;
    let id = id(wire.id).map_err(|error| (Id::Null, error))?;
    match request(&wire) {
        Ok((method, params)) => Ok(Request { id, method, params }),
        Err(error) => Err((id, error)),
    }
}

/// Reads a response.
///
/// # Errors
/// `InvalidAgentResponse` for what is not a JSON-RPC response.
pub fn parse_response(body: &[u8]) -> Result<Response<'_>, Error> {
    let foreign = |error: Error| {
        Error::new(ErrorKind::InvalidAgentResponse, format!("not a response: {}", error.message))
    };
    let wire = envelope(body).map_err(foreign)?;
    let id = id(wire.id).map_err(foreign)?;
    let outcome = match (wire.error, wire.result) {
        (Some(error), _) => Err(serde_json::from_str(error.get()).map_err(|cause| {
            Error::new(ErrorKind::InvalidAgentResponse, format!("not an error object: {cause}"))
        })?),
        (None, Some(result)) => Ok(result),
        // `null` and absent look alike here, and `null` is the result of a deletion in v0.3.
        (None, None) => Ok(RawValue::NULL),
    };
    Ok(Response { id, outcome })
}

/// Writes a request.
///
/// # Errors
/// `Internal` when the params cannot be written as JSON.
pub fn request_body(id: &Id, method: &str, params: &impl Serialize) -> Result<Vec<u8>, Error> {
    #[derive(Serialize)]
    struct Body<'a, P> {
        jsonrpc: &'static str,
        id: &'a Id,
        method: &'a str,
        params: &'a P,
    }
    serde_json::to_vec(&Body { jsonrpc: "2.0", id, method, params }).map_err(|cause| {
        Error::new(ErrorKind::Internal, format!("could not write params: {cause}"))
    })
}

/// Writes a response with a result that is JSON already.
pub fn result(id: &Id, result_json: impl AsRef<[u8]>) -> Vec<u8> {
    let result_json = result_json.as_ref();
    let mut body = prefix(id);
    body.reserve_exact(result_json.len() + SUFFIX.len());
    body.extend_from_slice(result_json);
    body.extend_from_slice(SUFFIX);
    body
}

/// What precedes the result; [`SUFFIX`] follows it.
pub fn prefix(id: &Id) -> Vec<u8> {
    let mut head = Vec::with_capacity(96);
    open(&mut head, id);
    head.extend_from_slice(b",\"result\":");
    head
}

/// Writes a response with an error.
pub fn failure(id: &Id, error: &Error, dialect: Dialect) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    open(&mut body, id);
    body.extend_from_slice(b",\"error\":");
    body.extend_from_slice(error_object(error, dialect).to_string().as_bytes());
    body.extend_from_slice(SUFFIX);
    body
}

fn open(body: &mut Vec<u8>, id: &Id) {
    body.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    match id {
        Id::Null => body.extend_from_slice(b"null"),
        Id::Number(spelling) => body.extend_from_slice(spelling.as_bytes()),
        Id::String(text) => {
            serde_json::to_writer(body, &**text).expect("a string is written into memory");
        }
    }
}

fn envelope(body: &[u8]) -> Result<Wire<'_>, Error> {
    let text = std::str::from_utf8(body).map_err(|cause| {
        let place = cause.valid_up_to();
        Error::new(ErrorKind::Parse, format!("the body is not UTF-8 at byte {place}"))
    })?;
    match text.trim_ascii_start().bytes().next() {
        None => return Err(Error::new(ErrorKind::Parse, "the body is empty")),
        // A struct could be read from an array too; a batch must not look like a request.
        Some(b'[') => return Err(batch(text)),
        Some(_) => {}
    }
    serde_json::from_str(text).map_err(|cause| match cause.classify() {
        Category::Data => Error::new(
            ErrorKind::InvalidRequest,
            format!("the body is not a JSON-RPC object: {cause}"),
        ),
        Category::Io | Category::Syntax | Category::Eof => not_json(&cause),
    })
}

fn batch(text: &str) -> Error {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Error::new(
            ErrorKind::InvalidRequest,
            "batches are not supported; send one request at a time",
        ),
        Err(cause) => not_json(&cause),
    }
}

fn not_json(cause: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Parse, format!("the body is not JSON: {cause}"))
}

/// Bytes of a request's id, which stands before every event of a stream.
const ID_BYTES: usize = 1024;

fn id(raw: Option<&RawValue>) -> Result<Id, Error> {
    let Some(raw) = raw else {
        return Ok(Id::Null);
    };
    if raw.get().len() > ID_BYTES {
        return Err(invalid(format!("`id` is longer than {ID_BYTES} bytes")));
    }
    match raw.get().bytes().next() {
        Some(b'"') => Ok(Id::String(string("id", raw)?.into())),
        Some(b'-' | b'0'..=b'9') => Ok(Id::Number(raw.get().into())),
        _ => Err(invalid("`id` must be a string, a number or null")),
    }
}

fn request<'a>(wire: &Wire<'a>) -> Result<(Cow<'a, str>, Option<&'a RawValue>), Error> {
    match wire.jsonrpc.map(|raw| string("jsonrpc", raw)) {
        Some(Ok(version)) if version == "2.0" => {}
        Some(_) => return Err(invalid("`jsonrpc` must be \"2.0\"")),
        None => return Err(invalid("`jsonrpc` is missing; it must be \"2.0\"")),
    }
    let method = wire.method.ok_or_else(|| invalid("`method` is missing"))?;
    let method = string("method", method)?;
    if wire.params.is_some_and(|params| !params.get().starts_with('{')) {
        return Err(Error::invalid("params", "must be an object"));
    }
    Ok((method, wire.params))
}

fn string<'a>(name: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, Error> {
    serde_json::from_str(raw.get())
        .map(|BorrowedText(text)| text)
        .map_err(|_| invalid(format!("`{name}` must be a string")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidRequest, message)
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self::Number(number.to_string().into())
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Number(spelling) => RawValue::from_string(spelling.to_string())
                .map_err(serde::ser::Error::custom)?
                .serialize(to),
            Self::String(text) => to.serialize_str(text),
        }
    }
}

//! What can go wrong between client and agent: one table from each kind to every wire.

use crate::dialect::Dialect;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The domain of our reasons in `google.rpc.ErrorInfo` (specification 9.5).
pub(crate) const DOMAIN: &str = "a2a-protocol.org";

/// An operation was refused or failed, told so that the caller can act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What went wrong, for programs.
    pub kind: ErrorKind,
    /// What went wrong, for people: lower case, no full stop.
    pub message: String,
    /// Which fields of the request are wrong.
    pub violations: Vec<FieldViolation>,
    /// Further facts by name (`taskId`).
    pub metadata: BTreeMap<String, String>,
    /// When it is worth trying again, in seconds from now.
    pub retry_after: Option<u64>,
}

/// One field of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field (`message.parts[0].raw`).
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// What went wrong: the errors of the specification (3.3.2, 9.5) and of every server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such task, or none that the caller may see.
    TaskNotFound,
    /// The task has come to its end already.
    TaskNotCancelable,
    /// The agent sends no push notifications.
    PushNotificationNotSupported,
    /// The agent cannot do that, or not in this state.
    UnsupportedOperation,
    /// The agent cannot read or write that media type.
    ContentTypeNotSupported,
    /// The agent answered what nobody understands.
    InvalidAgentResponse,
    /// There is no extended card.
    ExtendedAgentCardNotConfigured,
    /// The client must declare an extension that the agent requires.
    ExtensionSupportRequired,
    /// The agent does not speak that version.
    VersionNotSupported,
    /// The task has changed since the client looked at it (version 1.1).
    TaskGenerationMismatch,
    /// Not JSON.
    Parse,
    /// Not a request.
    InvalidRequest,
    /// No such operation.
    MethodNotFound,
    /// The request does not fit the operation.
    InvalidParams,
    /// Our own fault.
    Internal,
    /// The caller did not say who they are, or not credibly.
    Unauthenticated,
    /// The caller may not do that.
    PermissionDenied,
    /// The caller asks for too much at a time.
    ResourceExhausted,
    /// Not now, for a while.
    Unavailable,
    /// The request is larger than the limit.
    TooLarge,
    /// The request did not come in time.
    TooSlow,
    /// Nothing of that name, beside tasks.
    NotFound,
    /// The path is served by other methods of HTTP.
    MethodNotAllowed,
    /// The session is lent to somebody else, or at work.
    SessionInUse,
    /// The ask was answered by somebody else, or cannot be answered any more.
    AskNotOpen,
}

/// One kind of error on every wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codes {
    /// The kind.
    pub kind: ErrorKind,
    /// `error.code` in JSON-RPC.
    pub json_rpc: i32,
    /// The HTTP status in the REST binding (in JSON-RPC only for what happens before the envelope).
    pub http: u16,
    /// The gRPC status by name; also `error.status` in the REST binding.
    pub grpc: &'static str,
    /// The gRPC status by number.
    pub grpc_number: i32,
    /// `reason` in `google.rpc.ErrorInfo`.
    pub reason: &'static str,
}

macro_rules! codes {
    ($($kind:ident $json_rpc:literal $http:literal $grpc:ident $grpc_number:literal $reason:ident,)*) => {
        /// The one table of errors, by specification 1.0.1 (5.4, 9.5, 10.6, 11.6). The codes from
        /// -32050 down are ours: the specification keeps -32001 to -32099 for A2A and has none for
        /// what every server needs.
        pub const ERRORS: [Codes; 25] = [$(Codes {
            kind: ErrorKind::$kind,
            json_rpc: $json_rpc,
            http: $http,
            grpc: stringify!($grpc),
            grpc_number: $grpc_number,
            reason: stringify!($reason),
        },)*];
    };
}

// In the order of the enum: `ErrorKind::codes` counts on it, and a test holds it to that.
codes! {
    TaskNotFound                   -32001 404 NOT_FOUND            5 TASK_NOT_FOUND,
    TaskNotCancelable              -32002 400 FAILED_PRECONDITION  9 TASK_NOT_CANCELABLE,
    PushNotificationNotSupported   -32003 400 FAILED_PRECONDITION  9 PUSH_NOTIFICATION_NOT_SUPPORTED,
    UnsupportedOperation           -32004 400 FAILED_PRECONDITION  9 UNSUPPORTED_OPERATION,
    ContentTypeNotSupported        -32005 400 INVALID_ARGUMENT     3 CONTENT_TYPE_NOT_SUPPORTED,
    InvalidAgentResponse           -32006 500 INTERNAL            13 INVALID_AGENT_RESPONSE,
    ExtendedAgentCardNotConfigured -32007 400 FAILED_PRECONDITION  9 EXTENDED_AGENT_CARD_NOT_CONFIGURED,
    ExtensionSupportRequired       -32008 400 FAILED_PRECONDITION  9 EXTENSION_SUPPORT_REQUIRED,
    VersionNotSupported            -32009 400 FAILED_PRECONDITION  9 VERSION_NOT_SUPPORTED,
    TaskGenerationMismatch         -32010 409 ABORTED             10 TASK_GENERATION_MISMATCH,
    Parse                          -32700 400 INVALID_ARGUMENT     3 PARSE_ERROR,
    InvalidRequest                 -32600 400 INVALID_ARGUMENT     3 INVALID_REQUEST,
    MethodNotFound                 -32601 404 UNIMPLEMENTED       12 METHOD_NOT_FOUND,
    InvalidParams                  -32602 400 INVALID_ARGUMENT     3 INVALID_PARAMS,
    Internal                       -32603 500 INTERNAL            13 INTERNAL_ERROR,
    Unauthenticated                -32050 401 UNAUTHENTICATED     16 UNAUTHENTICATED,
    PermissionDenied               -32051 403 PERMISSION_DENIED    7 PERMISSION_DENIED,
    ResourceExhausted              -32052 429 RESOURCE_EXHAUSTED   8 RESOURCE_EXHAUSTED,
    Unavailable                    -32053 503 UNAVAILABLE         14 UNAVAILABLE,
    TooLarge                       -32054 413 RESOURCE_EXHAUSTED   8 REQUEST_TOO_LARGE,
    TooSlow                        -32055 408 DEADLINE_EXCEEDED    4 REQUEST_TIMEOUT,
    NotFound                       -32056 404 NOT_FOUND            5 NOT_FOUND,
    MethodNotAllowed               -32057 405 UNIMPLEMENTED       12 METHOD_NOT_ALLOWED,
    SessionInUse                   -32058 409 FAILED_PRECONDITION  9 SESSION_IN_USE,
    AskNotOpen                     -32059 409 FAILED_PRECONDITION  9 ASK_NOT_OPEN,
}

impl ErrorKind {
    /// This kind on every wire.
    pub fn codes(self) -> &'static Codes {
        &ERRORS[self as usize]
    }

    /// The kind of a JSON-RPC code.
    pub fn from_json_rpc(code: i32) -> Option<Self> {
        ERRORS.iter().find(|codes| codes.json_rpc == code).map(|codes| codes.kind)
    }
}

impl Error {
    /// An error with a sentence for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            violations: Vec::new(),
            metadata: BTreeMap::new(),
            retry_after: None,
        }
    }

    /// No such task, or none that the caller may see: both look the same.
    pub fn task_not_found(id: &str) -> Self {
        let id = shortened(id.to_owned());
        Self::new(ErrorKind::TaskNotFound, format!("task `{id}` not found")).with("taskId", id)
    }

    /// A field of the request is wrong.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldViolation {
            field: field.into(),
            description: description.into(),
        }])
    }

    pub(crate) fn invalid_fields(violations: Vec<FieldViolation>) -> Self {
        let each = |violation: &FieldViolation| {
            if violation.field.is_empty() {
                violation.description.clone()
            } else {
                format!("`{}`: {}", violation.field, violation.description)
            }
        };
        let message = violations.iter().map(each).collect::<Vec<_>>().join("; ");
        Self { violations, ..Self::new(ErrorKind::InvalidParams, message) }
    }

    /// The same error, naming a field that is wrong.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (name.into(), description.into());
        self.violations.push(FieldViolation { field, description });
        self
    }

    /// The same error with a further fact.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// The same error, worth another try after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// What a caller sent is told back to them, but not megabytes of it.
pub(crate) fn shortened(mut text: String) -> String {
    const KEPT: usize = 240;
    if text.len() > KEPT {
        text.truncate(text.floor_char_boundary(KEPT));
        text.push_str("...");
    }
    text
}

/// The `error` member of a JSON-RPC response. In v1.0 its `data` is an array of typed details
/// (specification 9.5); older dialects get one plain object, or none when there is nothing to add.
pub fn error_object(error: &Error, dialect: Dialect) -> Value {
    let mut object = Map::new();
    object.insert("code".into(), error.kind.codes().json_rpc.into());
    object.insert("message".into(), error.message.as_str().into());
    let data = match dialect {
        Dialect::V1_0 => Some(Value::Array(details(error))),
        Dialect::V0_3 | Dialect::V0_1 => plain(error),
    };
    object.extend(data.map(|data| ("data".into(), data)));
    Value::Object(object)
}

/// The body of an error in the REST binding: `{"error": {code, status, message, details}}`
/// (specification 11.6).
pub fn status_object(error: &Error) -> Value {
    let codes = error.kind.codes();
    json!({"error": {
        "code": codes.http,
        "status": codes.grpc,
        "message": error.message,
        "details": details(error),
    }})
}

/// The error as `google.rpc` details: always an `ErrorInfo`, then what else is known.
pub fn details(error: &Error) -> Vec<Value> {
    let mut info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.kind.codes().reason,
        "domain": DOMAIN,
    });
    if !error.metadata.is_empty() {
        info["metadata"] = json!(error.metadata);
    }
    let mut details = vec![info];
    if !error.violations.is_empty() {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": violations(error),
        }));
    }
    if let Some(seconds) = error.retry_after {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{seconds}s"),
        }));
    }
    details
}

fn plain(error: &Error) -> Option<Value> {
    let mut data = Map::new();
    data.extend(error.metadata.iter().map(|(key, value)| (key.clone(), json!(value))));
    if !error.violations.is_empty() {
        data.insert("fieldViolations".into(), violations(error));
    }
    if let Some(seconds) = error.retry_after {
        data.insert("retryAfter".into(), seconds.into());
    }
    (!data.is_empty()).then_some(Value::Object(data))
}

fn violations(error: &Error) -> Value {
    let each = |violation: &FieldViolation| json!({"field": violation.field, "description": violation.description});
    error.violations.iter().map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_enum() {
        for (place, codes) in ERRORS.iter().enumerate() {
            assert_eq!(codes.kind as usize, place);
            assert_eq!(ErrorKind::from_json_rpc(codes.json_rpc), Some(codes.kind));
        }
    }
}

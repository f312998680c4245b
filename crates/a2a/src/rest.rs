//! The HTTP+JSON binding without its I/O: where a path leads, what path, query and body ask for
//! together, and the bodies that go back.
//!
//! # How it works
//! A path gives a [`Route`]; the route reads query and body into one JSON object and hands it to its
//! dialect, so that both bindings check alike. v1.0 lives at the root, also below a tenant; v0.3
//! lives below `/v1`.
//!
//! v0.3 is spoken in two spellings, see [`Form`]. A request shows its own by its members where it has
//! a body that differs; all others are answered in [`Form::Proto`], which every SDK of v0.3 reads.
//! [`Request::told`] says which case it was: a server that remembers in which form a task was made
//! can do better for those who read it later.

use crate::card;
use crate::dialect::older::{self, List, Out, Spelling};
use crate::dialect::{Decoded, Dialect, json};
use crate::error::{Error, ErrorKind, error_object, status_object};
use crate::event::StreamResponse;
use crate::operation::{Operation, Reply};
use crate::push::TaskPushNotificationConfig;
use serde_json::{Value, json};

pub(crate) mod body;
mod decode;
mod proto;
mod query;
mod route;

#[cfg(feature = "grpc")]
pub(crate) use query::camel;
pub use route::{NoRoute, RESERVED, Route, route, unescaped};

/// How the objects of a dialect are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// v1.0: the model itself.
    Model,
    /// v0.3 by its JSON types: `kind`, `parts`, `working`.
    Kind,
    /// v0.3 as protobuf JSON of `a2a.v1`: `content`, `ROLE_USER`, `TASK_STATE_WORKING`.
    Proto,
}

/// A request in terms of the model, with the form to answer in.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is asked for; checked.
    pub decoded: Decoded,
    /// The form of the answer.
    pub form: Form,
    /// The request itself shows its form; otherwise `form` is the default of its dialect.
    pub told: bool,
}

impl Form {
    /// The form of a dialect where nothing else tells.
    pub fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::V1_0 => Self::Model,
            Dialect::V0_3 | Dialect::V0_1 => Self::Proto,
        }
    }

    fn spelling(self) -> Option<Spelling> {
        match self {
            Self::Model => None,
            Self::Kind => Some(Spelling::Kind),
            Self::Proto => Some(Spelling::Proto),
        }
    }
}

/// The body of an answer.
///
/// In v1.0 it is what JSON-RPC has as `result`; v0.3 names what `message:send` answers
/// (`{"task": ..}` or `{"message": ..}`) in both of its forms.
pub fn encode_reply(form: Form, operation: Operation, reply: &Reply) -> String {
    let Some(spelling) = form.spelling() else {
        return Dialect::V1_0.encode_reply(operation, reply, None);
    };
    match reply {
        Reply::Task(task) if sends(operation) => older::named_task(spelling, task),
        Reply::Message(message) => older::named_message(spelling, message),
        Reply::Card(known) => v0_3_card(known),
        Reply::Empty => "{}".to_owned(),
        Reply::Task(task) => json(&Out(spelling, task)),
        Reply::Tasks(page) if form == Form::Kind => json(&List(spelling, &page.tasks)),
        Reply::Tasks(page) => json(&Out(spelling, page)),
        Reply::PushConfig(_) | Reply::PushConfigs(_) if form == Form::Kind => {
            Dialect::V0_3.encode_reply(operation, reply, None)
        }
        Reply::PushConfig(config) => named_config(config).to_string(),
        Reply::PushConfigs(page) => {
            let configs: Vec<Value> = page.configs.iter().map(named_config).collect();
            let mut body = json!({"configs": configs});
            if let Some(token) = &page.next_page_token {
                body["nextPageToken"] = json!(token);
            }
            body.to_string()
        }
    }
}

/// A config under its resource name, as `a2a.v1` has it.
fn named_config(config: &TaskPushNotificationConfig) -> Value {
    let task = config.task_id.as_ref().map_or("", |id| id.as_str());
    let id = config.id.as_deref().unwrap_or_default();
    json!({
        "name": format!("tasks/{task}/pushNotificationConfigs/{id}"),
        "pushNotificationConfig": older::push_config(config),
    })
}

/// The data of one frame of a stream, tagged by member name in every form.
pub fn encode_event(form: Form, event: &StreamResponse) -> String {
    form.spelling().map_or_else(|| json(event), |spelling| older::event(spelling, event, true))
}

/// The body of an error.
///
/// v1.0 has `{"error": {code, status, message, details}}` (specification 11.6). v0.3 leaves it open;
/// its clients look for the JSON-RPC `code` with `message` and `data`, or for the name of the error
/// in `error`, and get both.
pub fn error_body(form: Form, error: &Error) -> String {
    let body = match form {
        Form::Model => status_object(error),
        Form::Kind | Form::Proto => {
            let mut body = error_object(error, Dialect::V0_3);
            body["error"] = old_name(error.kind).into();
            body
        }
    };
    body.to_string()
}

/// The card of v0.3 with both spellings of each security scheme: clients of either form read it.
fn v0_3_card(known: &card::AgentCard) -> String {
    let mut view = card::v0_3(known);
    if let Some(schemes) = card::hybrid(known).get("securitySchemes") {
        view["securitySchemes"] = schemes.clone();
    }
    view.to_string()
}

fn sends(operation: Operation) -> bool {
    matches!(operation, Operation::SendMessage | Operation::SendStreamingMessage)
}

/// What v0.3 calls an error (specification 0.3, 8.2); those it has no word for keep ours.
fn old_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::TaskNotFound => "TaskNotFoundError",
        ErrorKind::TaskNotCancelable => "TaskNotCancelableError",
        ErrorKind::PushNotificationNotSupported => "PushNotificationNotSupportedError",
        ErrorKind::UnsupportedOperation
        | ErrorKind::AskNotOpen
        | ErrorKind::TaskGenerationMismatch
        | ErrorKind::ExtensionSupportRequired
        | ErrorKind::VersionNotSupported => "UnsupportedOperationError",
        ErrorKind::ContentTypeNotSupported => "ContentTypeNotSupportedError",
        ErrorKind::InvalidAgentResponse => "InvalidAgentResponseError",
        ErrorKind::ExtendedAgentCardNotConfigured => "AuthenticatedExtendedCardNotConfiguredError",
        ErrorKind::Parse => "JSONParseError",
        ErrorKind::InvalidRequest
        | ErrorKind::TooLarge
        | ErrorKind::TooSlow
        | ErrorKind::SessionInUse => "InvalidRequestError",
        ErrorKind::MethodNotFound | ErrorKind::NotFound | ErrorKind::MethodNotAllowed => {
            "MethodNotFoundError"
        }
        ErrorKind::InvalidParams => "InvalidParamsError",
        ErrorKind::Internal => "InternalError",
        ErrorKind::Unauthenticated => "UnauthenticatedError",
        ErrorKind::PermissionDenied => "PermissionDeniedError",
        ErrorKind::ResourceExhausted => "ResourceExhaustedError",
        ErrorKind::Unavailable => "UnavailableError",
    }
}

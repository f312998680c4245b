//! The gRPC wire: protobuf messages of v1.0 and v0.3, into the model and out of it.
//!
//! # How it works
//! `v1_0` and `v0_3` hold the messages of their package, by hand: a field number is a fact, and two
//! dozen short structs are less to carry than a code generator. What both packages number alike
//! (the parts of a card, `google.protobuf`) stands once. Each message is made from the model and
//! read into it; a reading that fails says which field was wrong, by its name in JSON.
//!
//! # What cannot be said
//! On every protobuf wire: an empty string and an absent one are the same; numbers are doubles, so
//! integers beyond 2^53 lose their last digits and `1.0` comes back as `1`; NaN and infinity are
//! refused, because JSON has neither. Readers accept a hundred nested messages, which are thirty
//! nested objects: deeper ones are refused when they come and go out as their JSON text. A state
//! that is not known is unspecified in an answer and refused in a filter; a security scheme that is
//! not known is left out of the card.
//!
//! Of v0.3 also: tenants, `referenceTaskIds`, the metadata of a cancellation, names and types of
//! parts that are no files, `historyLength: 0` and `blocking: false` (both read as left out), a
//! second authentication scheme, interfaces' versions in a card, and lists of tasks as a whole. A
//! data part that is no object travels as `{"value": ..}` with a mark in its metadata, as in JSON.
//! Members that v0.3 lacks but that do no harm (a device code flow) are written all the same.

use crate::bounds::Bounds;
use crate::dialect::{Decoded, Dialect, Method};
use crate::error::{Error, ErrorKind, shortened};
use crate::event::StreamResponse;
use crate::message::Role;
use crate::operation::{Call, OPERATIONS, Operation, Reply};
use crate::task::TaskState;
use prost::Message;
use std::fmt;

mod bounds;
mod card;
mod known;
mod security;
mod status;
mod v0_3;
mod v1_0;

pub use status::status_details;

/// What is wrong with a message and where; the path grows while the error climbs.
#[derive(Debug)]
struct Wrong {
    field: String,
    description: String,
}

/// Says where in the outer message the inner one stands.
trait Under {
    fn under(self, outer: impl fmt::Display) -> Self;
}

/// A message and what it means in the model.
trait Wire: Message + Default {
    type Model;

    fn of(model: &Self::Model) -> Self;

    fn read(self) -> Result<Self::Model, Wrong>;
}

/// What a gRPC path means, e.g. `/lf.a2a.v1.A2AService/SendMessage`; none for other services.
///
/// `GetAgentCard` of v0.3 is its authenticated card, so it is [`Operation::GetExtendedAgentCard`].
pub fn method(path: &str) -> Option<Method> {
    let known = OPERATIONS.iter().find(|names| names.grpc == path);
    let (operation, dialect) = match known {
        Some(names) => (names.operation, Dialect::V1_0),
        None => (v0_3::operation(path)?, Dialect::V0_3),
    };
    Some(Method { operation, dialect, shared: false })
}

/// Reads the message of a request and checks it as [`Dialect::decode`] does.
///
/// # Errors
/// `InvalidParams` naming the fields that are wrong, or saying that the bytes are no such message;
/// `MethodNotFound` for an operation that the dialect does not have (v0.1 has none at all).
pub fn decode(dialect: Dialect, operation: Operation, body: &[u8]) -> Result<Decoded, Error> {
    match dialect {
        Dialect::V1_0 => v1_0::decode(operation, body),
        Dialect::V0_3 => v0_3::decode(operation, body),
        Dialect::V0_1 => Err(not_here(operation)),
    }
}

/// Counts what the message of a request holds before it is read. What is no such message is for
/// [`decode`] to refuse.
///
/// # Errors
/// `InvalidParams` naming the member and the bound.
pub fn check_bounds(
    bounds: &Bounds,
    dialect: Dialect,
    operation: Operation,
    body: &[u8],
) -> Result<(), Error> {
    match bounds::check(*bounds, dialect, operation, body) {
        Err(bounds::Stop::Refused(error)) => Err(error),
        Err(bounds::Stop::Unreadable) | Ok(()) => Ok(()),
    }
}

/// Writes the result of an operation; nothing where the dialect has no message for it. v0.1, which
/// never had a gRPC binding, is answered as v0.3.
pub fn encode_reply(dialect: Dialect, operation: Operation, reply: &Reply) -> Vec<u8> {
    match dialect {
        Dialect::V1_0 => v1_0::encode_reply(operation, reply),
        Dialect::V0_3 | Dialect::V0_1 => v0_3::encode_reply(operation, reply),
    }
}

/// Writes an event of a stream; the same bytes for every reader of the dialect.
pub fn encode_event(dialect: Dialect, event: &StreamResponse) -> Vec<u8> {
    match dialect {
        Dialect::V1_0 => v1_0::encode_event(event),
        Dialect::V0_3 | Dialect::V0_1 => v0_3::encode_event(event),
    }
}

/// Writes the message of a request, as a client does; nothing where the dialect has no such
/// operation. In v0.3 a message without `returnImmediately` says `blocking`, which there is not the
/// default.
pub fn encode_call(dialect: Dialect, call: &Call) -> Vec<u8> {
    match dialect {
        Dialect::V1_0 => v1_0::encode_call(call),
        Dialect::V0_3 | Dialect::V0_1 => v0_3::encode_call(call),
    }
}

/// Reads the result of an operation, as a client does. For an operation that streams it reads a
/// first event that is a task or a message.
///
/// # Errors
/// `InvalidAgentResponse` naming the field that is wrong; `MethodNotFound` for an operation that
/// the dialect does not have.
pub fn decode_reply(dialect: Dialect, operation: Operation, body: &[u8]) -> Result<Reply, Error> {
    let reply = match dialect {
        Dialect::V1_0 => v1_0::decode_reply(operation, body),
        Dialect::V0_3 if operation != Operation::ListTasks => v0_3::decode_reply(operation, body),
        Dialect::V0_3 | Dialect::V0_1 => return Err(not_here(operation)),
    };
    reply.map_err(Wrong::answer)
}

/// Reads an event of a stream, as a client does.
///
/// # Errors
/// `InvalidAgentResponse` naming the field that is wrong; `MethodNotFound` for v0.1.
pub fn decode_event(dialect: Dialect, body: &[u8]) -> Result<StreamResponse, Error> {
    let event = match dialect {
        Dialect::V1_0 => v1_0::decode_event(body),
        Dialect::V0_3 => v0_3::decode_event(body),
        Dialect::V0_1 => return Err(not_here(Operation::SubscribeToTask)),
    };
    event.map_err(Wrong::answer)
}

impl Wrong {
    fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }

    fn required(field: &str) -> Self {
        Self::new(field, "is required")
    }

    /// The caller's mistake.
    fn request(self) -> Error {
        Error::invalid(shortened(self.field), shortened(self.description))
    }

    /// The agent's mistake.
    fn answer(self) -> Error {
        Error { kind: ErrorKind::InvalidAgentResponse, ..self.request() }
    }
}

/// The dialect has no such operation.
fn not_here(operation: Operation) -> Error {
    let name = operation.method();
    Error::new(ErrorKind::MethodNotFound, format!("this version of A2A has no {name} over gRPC"))
}

/// Reads protobuf. The reader names the structs that it was in when it failed; those are ours and
/// tell a caller nothing, so only the reason is passed on.
fn parse<M: Message + Default>(body: &[u8]) -> Result<M, Wrong> {
    M::decode(body).map_err(|cause| {
        let told = cause.to_string();
        let names = |segment: &&str| segment.contains('.') && !segment.contains(' ');
        let reason: Vec<&str> = told.split(": ").skip(1).skip_while(names).collect();
        let reason = reason.join(": ");
        Wrong::new("", format!("not a readable protobuf message: {reason}"))
    })
}

fn read<W: Wire>(body: &[u8]) -> Result<W::Model, Wrong> {
    parse::<W>(body)?.read()
}

fn write<W: Wire>(model: &W::Model) -> Vec<u8> {
    W::of(model).encode_to_vec()
}

/// Each of a list, as it is written.
fn lists<W: Wire>(models: &[W::Model]) -> Vec<W> {
    models.iter().map(W::of).collect()
}

/// Each of the list in the field `name`, as it is read.
fn list<W: Wire>(name: &str, wires: Vec<W>) -> Result<Vec<W::Model>, Wrong> {
    let wires = wires.into_iter().enumerate();
    wires.map(|(place, wire)| wire.read().under(format_args!("{name}[{place}]"))).collect()
}

/// A text that is absent when it is empty.
fn given<T: From<String>>(text: String) -> Option<T> {
    (!text.is_empty()).then(|| T::from(text))
}

/// A text that is empty when it is absent.
fn said(text: Option<&impl ToString>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

fn texts(ids: &[impl ToString]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// A state by its number, the same in both packages.
fn state(number: i32) -> Option<TaskState> {
    let place = usize::try_from(number).ok()?;
    TaskState::ALL.get(place).copied()
}

fn role_number(role: Role) -> i32 {
    match role {
        Role::User => 1,
        Role::Agent => 2,
    }
}

fn role(number: i32) -> Result<Role, Wrong> {
    match number {
        0 => Err(Wrong::required("role")),
        1 => Ok(Role::User),
        2 => Ok(Role::Agent),
        _ => {
            Err(Wrong::new("role", format!("{number} is no role; 1 is ROLE_USER, 2 is ROLE_AGENT")))
        }
    }
}

/// What an event means as the answer to a message.
fn sent(event: StreamResponse) -> Result<Reply, Wrong> {
    match event {
        StreamResponse::Task(task) => Ok(Reply::Task(task)),
        StreamResponse::Message(message) => Ok(Reply::Message(message)),
        StreamResponse::StatusUpdate(_) | StreamResponse::ArtifactUpdate(_) => {
            Err(Wrong::new("", "an answer has exactly one of task or message"))
        }
    }
}

impl<T> Under for Result<T, Wrong> {
    fn under(self, outer: impl fmt::Display) -> Self {
        self.map_err(|Wrong { field, description }| Wrong {
            field: if field.is_empty() { outer.to_string() } else { format!("{outer}.{field}") },
            description,
        })
    }
}

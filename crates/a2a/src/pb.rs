//! The gRPC wire: protobuf messages of v1.0 and v0.3, into the model and out of it.
//!
//! # How it works
//! `tables` has the field numbers of both packages, by hand: a number is a fact, and a table of them
//! is less to carry than a code generator. `wire` makes of a row how the member is written and read,
//! without structs beside the model. What v0.3 has in another form stands in `v0_3`. A reading that
//! fails says which field was wrong, by its name in JSON.
//!
//! [`encode_call`], [`decode_reply`] and [`decode_event`] are what a client needs: the same tables,
//! read the other way. The tests speak to the server with them.
//!
//! # What cannot be said
//! On every protobuf wire: an empty string and an absent one are the same; numbers are doubles, so
//! integers beyond 2^53 lose their last digits and `1.0` comes back as `1`; NaN and infinity are
//! refused, because JSON has neither. Readers accept a hundred nested messages, which are thirty
//! nested objects: deeper ones are refused when they come and go out as their JSON text. A state
//! that is not known is unspecified in an answer and refused in a filter.
//!
//! Of v0.3 also: tenants, `referenceTaskIds`, the metadata of a cancellation, names and types of
//! parts that are no files, `historyLength: 0` and `blocking: false` (both read as left out), a
//! second authentication scheme, interfaces' versions in a card, and lists of tasks as a whole. A
//! data part that is no object travels as `{"value": ..}` with a mark in its metadata, as in JSON.
//! Members that v0.3 lacks but that do no harm (a device code flow) are written all the same.

use crate::bounds::Bounds;
use crate::dialect::{self, Decoded, Dialect, Method};
use crate::error::{Error, ErrorKind, shortened};
use crate::event::StreamResponse;
use crate::operation::{Call, OPERATIONS, Operation, Reply, of_request, read_call};
use std::fmt;
use tables::{SENT_MESSAGE, SENT_TASK};
use v0_3::NewConfig;
use wire::{Fields, Item};

mod bounds;
mod known;
mod part;
mod status;
mod tables;
mod v0_3;
mod wire;

pub use status::status_details;

/// The messages and services of both versions, as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("../proto/a2a.binpb");

/// Bytes of a small message, which most are: room that need not grow.
const FEW: usize = 256;

/// What is wrong with a message and where; the path grows while the error climbs.
#[derive(Debug)]
struct Wrong {
    /// None where the bytes are no message at all.
    field: Option<String>,
    description: String,
}

/// Says where in the outer message the inner one stands.
trait Under {
    fn under(self, outer: impl fmt::Display) -> Self;
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
    let old = dialect != Dialect::V1_0;
    if !has(dialect, operation) {
        return Err(not_here(operation));
    }
    let names = names(dialect, operation);
    let call = call(dialect, operation, body).map_err(|wrong| refusal(wrong, names))?;
    dialect::check(&call, names)?;
    if !old {
        dialect::v1_0::check(&call)?;
    }
    let sends = matches!(call, Call::SendMessage(_) | Call::SendStreamingMessage(_));
    let blocking = if old && sends {
        v0_3::blocking(body).map_err(|wrong| refusal(wrong, names))?
    } else {
        None
    };
    Ok(Decoded { call, client_task_id: None, blocking })
}

/// The fields of a request that have another name in this dialect than in v1.0.
fn names(dialect: Dialect, operation: Operation) -> &'static [(&'static str, &'static str)] {
    if dialect == Dialect::V1_0 { &[] } else { v0_3::names(operation) }
}

fn refusal(wrong: Wrong, names: &[(&str, &str)]) -> Error {
    dialect::renamed(wrong.request(), names)
}

fn call(dialect: Dialect, operation: Operation, body: &[u8]) -> Result<Call, Wrong> {
    if dialect != Dialect::V1_0 && operation == Operation::CreateTaskPushNotificationConfig {
        let config = read::<NewConfig>(dialect, body)?.try_into()?;
        return Ok(Call::CreateTaskPushNotificationConfig(config));
    }
    Ok(read_call!(operation, read(dialect, body)?))
}

/// Counts what the message of a request holds before it is read. An operation that the dialect does not
/// have is for [`decode`] to refuse.
///
/// # Errors
/// `InvalidParams` naming the member and the bound, or saying that the bytes are no such message.
pub fn check_bounds(
    bounds: &Bounds,
    dialect: Dialect,
    operation: Operation,
    body: &[u8],
) -> Result<(), Error> {
    if !has(dialect, operation) {
        return Ok(());
    }
    bounds::check(*bounds, dialect, operation, body).map_err(|stop| match stop {
        bounds::Stop::Refused(error) => error,
        bounds::Stop::Unreadable(wrong) => refusal(wrong, names(dialect, operation)),
    })
}

/// Writes the result of an operation; nothing where the dialect has no message for it. v0.1, which
/// never had a gRPC binding, is answered as v0.3.
pub fn encode_reply(dialect: Dialect, operation: Operation, reply: &Reply) -> Vec<u8> {
    let mut out = Vec::with_capacity(FEW);
    match reply {
        Reply::Task(task) if operation == Operation::SendMessage || operation.streams() => {
            wire::nest(task, dialect, SENT_TASK, &mut out);
        }
        Reply::Task(task) => task.put(dialect, &mut out),
        Reply::Message(message) => {
            wire::nest(message, dialect, SENT_MESSAGE, &mut out);
        }
        Reply::Tasks(page) if dialect == Dialect::V1_0 => page.put(dialect, &mut out),
        Reply::PushConfig(config) => config.put(dialect, &mut out),
        Reply::PushConfigs(page) => page.put(dialect, &mut out),
        Reply::Card(card) if dialect == Dialect::V1_0 => card.put(dialect, &mut out),
        Reply::Card(card) => v0_3::put_card(card, &mut out),
        Reply::Tasks(_) | Reply::Empty => {}
    }
    out
}

/// Writes an event of a stream; the same bytes for every reader of the dialect.
pub fn encode_event(dialect: Dialect, event: &StreamResponse) -> Vec<u8> {
    write(dialect, event)
}

/// Writes the message of a request, as a client does; nothing where the dialect has no such
/// operation. In v0.3 a message without `returnImmediately` says `blocking`, which there is not the
/// default.
pub fn encode_call(dialect: Dialect, call: &Call) -> Vec<u8> {
    let old = dialect != Dialect::V1_0;
    match call {
        Call::SendMessage(asked) | Call::SendStreamingMessage(asked) if old => {
            let mut asked = asked.clone();
            asked.configuration.get_or_insert_default();
            write(dialect, &asked)
        }
        Call::ListTasks(_) if old => Vec::new(),
        Call::CreateTaskPushNotificationConfig(config) if old => {
            write(dialect, &NewConfig::from(config))
        }
        call => of_request!(call, asked => write(dialect, asked)),
    }
}

/// Reads the result of an operation, as a client does. For an operation that streams it reads a
/// first event that is a task or a message.
///
/// # Errors
/// `InvalidAgentResponse` naming the field that is wrong; `MethodNotFound` for an operation that
/// the dialect does not have.
pub fn decode_reply(dialect: Dialect, operation: Operation, body: &[u8]) -> Result<Reply, Error> {
    if !has(dialect, operation) {
        return Err(not_here(operation));
    }
    let reply = match operation {
        Operation::SendMessage | Operation::SendStreamingMessage | Operation::SubscribeToTask => {
            read(dialect, body).and_then(|event| match event {
                StreamResponse::Task(task) => Ok(Reply::Task(task)),
                StreamResponse::Message(message) => Ok(Reply::Message(message)),
                StreamResponse::StatusUpdate(_) | StreamResponse::ArtifactUpdate(_) => {
                    Err(Wrong::new("", "an answer has exactly one of task or message"))
                }
            })
        }
        Operation::GetTask | Operation::CancelTask => read(dialect, body).map(Reply::Task),
        Operation::ListTasks => read(dialect, body).map(Reply::Tasks),
        Operation::CreateTaskPushNotificationConfig | Operation::GetTaskPushNotificationConfig => {
            read(dialect, body).map(Reply::PushConfig)
        }
        Operation::ListTaskPushNotificationConfigs => read(dialect, body).map(Reply::PushConfigs),
        Operation::DeleteTaskPushNotificationConfig => {
            Fields::of(body, dialect).map(|_| Reply::Empty)
        }
        Operation::GetExtendedAgentCard => match dialect {
            Dialect::V1_0 => read(dialect, body),
            Dialect::V0_3 | Dialect::V0_1 => v0_3::take_card(body),
        }
        .map(|card| Reply::Card(Box::new(card))),
    };
    reply.map_err(Wrong::answer)
}

/// Reads an event of a stream, as a client does.
///
/// # Errors
/// `InvalidAgentResponse` naming the field that is wrong; `MethodNotFound` for v0.1.
pub fn decode_event(dialect: Dialect, body: &[u8]) -> Result<StreamResponse, Error> {
    if !has(dialect, Operation::SubscribeToTask) {
        return Err(not_here(Operation::SubscribeToTask));
    }
    read(dialect, body).map_err(Wrong::answer)
}

impl Wrong {
    fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: Some(field.into()), description: description.into() }
    }

    fn required(field: &str) -> Self {
        Self::new(field, "is required")
    }

    /// The caller's mistake.
    fn request(self) -> Error {
        Error::invalid(shortened(self.field.unwrap_or_default()), shortened(self.description))
    }

    /// The agent's mistake.
    fn answer(self) -> Error {
        Error { kind: ErrorKind::InvalidAgentResponse, ..self.request() }
    }
}

fn unreadable(reason: impl fmt::Display) -> Wrong {
    Wrong { field: None, description: format!("not a readable protobuf message: {reason}") }
}

/// Whether the dialect has the operation.
fn has(dialect: Dialect, operation: Operation) -> bool {
    match dialect {
        Dialect::V1_0 => true,
        Dialect::V0_3 => operation != Operation::ListTasks,
        Dialect::V0_1 => false,
    }
}

fn not_here(operation: Operation) -> Error {
    let name = operation.method();
    Error::new(ErrorKind::MethodNotFound, format!("this version of A2A has no {name} over gRPC"))
}

fn read<T: Item>(dialect: Dialect, body: &[u8]) -> Result<T, Wrong> {
    T::take(body, dialect)
}

fn write(dialect: Dialect, item: &impl Item) -> Vec<u8> {
    let mut out = Vec::with_capacity(FEW);
    item.put(dialect, &mut out);
    out
}

impl<T> Under for Result<T, Wrong> {
    fn under(self, outer: impl fmt::Display) -> Self {
        self.map_err(|Wrong { field, description }| Wrong {
            field: field.map(|inner| match inner.as_str() {
                "" => outer.to_string(),
                inner => format!("{outer}.{inner}"),
            }),
            description,
        })
    }
}

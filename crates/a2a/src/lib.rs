//! The Agent2Agent protocol as types: one v1.0 model inside, older dialects as views at the edge.
//!
//! What goes out is strict (camelCase, required arrays even when empty, `Z` timestamps with
//! milliseconds), what comes in is read leniently (`null` is absent, either case, enums by name or
//! number, numbers as strings, any base64). Without the feature `client` there is no I/O here; with
//! the feature `schema` the types have JSON schemas.

pub mod bounds;
pub mod card;
#[cfg(feature = "client")]
pub mod client;
pub mod dialect;
pub mod error;
pub mod event;
pub mod id;
pub mod json;
pub mod jsonrpc;
mod lenient;
pub mod message;
pub mod operation;
#[cfg(feature = "grpc")]
pub mod pb;
pub mod push;
pub mod rest;
#[cfg(feature = "schema")]
mod schema;
pub mod sse;
pub mod task;
pub mod time;

pub use bounds::Bounds;
pub use card::AgentCard;
pub use dialect::{Decoded, Dialect, Method};
pub use error::{Error, ErrorKind, FieldViolation};
pub use event::{StreamResponse, TaskArtifactUpdateEvent, TaskStatusUpdateEvent};
pub use id::{ArtifactId, ContextId, MessageId, TaskId};
pub use json::{Json, Metadata};
pub use message::{Message, Part, PartContent, Role};
pub use operation::{Call, Operation, Reply};
pub use push::TaskPushNotificationConfig;
pub use task::{Artifact, Task, TaskState, TaskStatus};
pub use time::Timestamp;

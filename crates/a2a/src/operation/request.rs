//! What each operation asks for and what it answers, as v1.0 writes it.

use crate::id::{ContextId, TaskId};
use crate::message::Message;
use crate::push::TaskPushNotificationConfig;
use crate::task::{Task, TaskState};
use crate::time::Timestamp;
use crate::{Metadata, lenient};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

/// Something is said to the agent (specification 3.2.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SendMessageRequest {
    /// The tenant, where a server has several.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What is said.
    pub message: Message,
    /// How the answer is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<SendMessageConfiguration>,
    /// Free-form data about the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// How the answer to a message is wanted (specification 3.2.2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SendMessageConfiguration {
    /// Media types that the client can use.
    #[serde(
        alias = "accepted_output_modes",
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub accepted_output_modes: Vec<String>,
    /// Where the events of the task shall be posted to.
    #[serde(alias = "task_push_notification_config", skip_serializing_if = "Option::is_none")]
    pub task_push_notification_config: Option<TaskPushNotificationConfig>,
    /// At most so many messages of the history; all of them when absent.
    #[cfg_attr(feature = "schema", schemars(range(min = 0)))]
    #[serde(
        alias = "history_length",
        deserialize_with = "lenient::int",
        skip_serializing_if = "Option::is_none"
    )]
    pub history_length: Option<i32>,
    /// Answer as soon as there is a task.
    #[serde(
        alias = "return_immediately",
        deserialize_with = "lenient::flag_or_false",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub return_immediately: bool,
    /// Only where the task is at this generation (version 1.1).
    #[serde(
        alias = "if_generation_match",
        deserialize_with = "lenient::int",
        skip_serializing_if = "Option::is_none"
    )]
    pub if_generation_match: Option<i32>,
}

/// Reads a task (specification 3.1.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetTaskRequest {
    /// The tenant, where a server has several.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which task.
    pub id: TaskId,
    /// At most so many messages of the history; all of them when absent.
    #[serde(
        alias = "history_length",
        default,
        deserialize_with = "lenient::int",
        skip_serializing_if = "Option::is_none"
    )]
    pub history_length: Option<i32>,
    /// The generation that the client has: the answer waits for a later one (version 1.1).
    #[serde(
        alias = "current_generation",
        default,
        deserialize_with = "lenient::int",
        skip_serializing_if = "Option::is_none"
    )]
    pub current_generation: Option<i32>,
}

/// Reads a page of tasks, latest status first (specification 3.1.4).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListTasksRequest {
    /// The tenant, where a server has several.
    #[serde(deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only tasks of this conversation.
    #[serde(
        alias = "context_id",
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub context_id: Option<ContextId>,
    /// Only tasks in this state; any when unspecified.
    #[serde(deserialize_with = "lenient::nullable", skip_serializing_if = "is_any")]
    pub status: TaskState,
    /// Tasks a page, 1 to 100; 50 when absent.
    #[serde(
        alias = "page_size",
        deserialize_with = "lenient::int",
        skip_serializing_if = "Option::is_none"
    )]
    pub page_size: Option<i32>,
    /// Where the page before this one ended.
    #[serde(
        alias = "page_token",
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub page_token: Option<String>,
    /// At most so many messages of each history; all of them when absent.
    #[serde(
        alias = "history_length",
        deserialize_with = "lenient::int",
        skip_serializing_if = "Option::is_none"
    )]
    pub history_length: Option<i32>,
    /// Only tasks whose status is of this time or later.
    #[serde(alias = "status_timestamp_after", skip_serializing_if = "Option::is_none")]
    pub status_timestamp_after: Option<Timestamp>,
    /// Artifacts are wanted too.
    #[serde(
        alias = "include_artifacts",
        deserialize_with = "lenient::flag_or_false",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub include_artifacts: bool,
}

/// A page of tasks (specification 3.1.4); every member is always there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ListTasksResponse {
    /// The tasks.
    #[serde(deserialize_with = "lenient::nullable")]
    pub tasks: Vec<Task>,
    /// Leads to the next page; empty on the last one.
    #[serde(alias = "next_page_token", deserialize_with = "lenient::nullable")]
    pub next_page_token: String,
    /// How many tasks a page may have.
    #[serde(alias = "page_size", deserialize_with = "lenient::int_or_zero")]
    pub page_size: i32,
    /// How many tasks there are on all pages.
    #[serde(alias = "total_size", deserialize_with = "lenient::int_or_zero")]
    pub total_size: i32,
}

/// Ends a task before its end (specification 3.1.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CancelTaskRequest {
    /// The tenant, where a server has several.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which task.
    pub id: TaskId,
    /// Free-form data about the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// Watches a task that runs already (specification 3.1.6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SubscribeToTaskRequest {
    /// The tenant, where a server has several.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which task.
    pub id: TaskId,
}

/// Reads one push notification config (specification 3.1.8).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetTaskPushNotificationConfigRequest {
    /// The tenant, where a server has several.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which task.
    #[serde(alias = "task_id")]
    pub task_id: TaskId,
    /// Which of its configs; empty only from older dialects, where it means the first one.
    pub id: String,
}

/// Reads the push notification configs of a task (specification 3.1.9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTaskPushNotificationConfigsRequest {
    /// The tenant, where a server has several.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which task.
    #[serde(alias = "task_id")]
    pub task_id: TaskId,
    /// Configs a page.
    #[serde(
        alias = "page_size",
        default,
        deserialize_with = "lenient::int",
        skip_serializing_if = "Option::is_none"
    )]
    pub page_size: Option<i32>,
    /// Where the page before this one ended.
    #[serde(
        alias = "page_token",
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub page_token: Option<String>,
}

/// The push notification configs of a task (specification 3.1.9).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ListTaskPushNotificationConfigsResponse {
    /// The configs.
    #[serde(deserialize_with = "lenient::nullable")]
    pub configs: Vec<TaskPushNotificationConfig>,
    /// Leads to the next page; absent on the last one.
    #[serde(
        alias = "next_page_token",
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_page_token: Option<String>,
}

/// Removes a push notification config (specification 3.1.10).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteTaskPushNotificationConfigRequest {
    /// The tenant, where a server has several.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which task.
    #[serde(alias = "task_id")]
    pub task_id: TaskId,
    /// Which of its configs.
    pub id: String,
}

/// Reads the card that only known callers see (specification 3.1.11).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GetExtendedAgentCardRequest {
    /// The tenant, where a server has several.
    #[serde(deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// What `SendMessage` answers (specification 3.2.3), as a client reads it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename_all = "camelCase"))]
pub enum SendMessageResponse {
    /// The task that the message started or continued.
    Task(Task),
    /// The answer of an agent that made no task.
    Message(Message),
}

impl<'de> Deserialize<'de> for SendMessageResponse {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            task: Option<Task>,
            #[serde(default)]
            message: Option<Message>,
        }

        match Wire::deserialize(from)? {
            Wire { task: Some(task), message: None } => Ok(Self::Task(task)),
            Wire { task: None, message: Some(message) } => Ok(Self::Message(message)),
            _ => Err(D::Error::custom("an answer has exactly one of task or message")),
        }
    }
}

fn is_any(state: &TaskState) -> bool {
    *state == TaskState::Unspecified
}

//! Where a task's events are sent when nobody is connected: push notification configs.

use crate::id::TaskId;
use crate::lenient;
use serde::{Deserialize, Serialize};

/// A webhook for the events of a task (specification 4.3.1).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskPushNotificationConfig {
    /// The tenant, where a server has several.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Names the config within its task; the server makes one when it is absent.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which task; absent when the config arrives inside of a message.
    #[serde(
        alias = "task_id",
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub task_id: Option<TaskId>,
    /// Where the events are posted to.
    pub url: String,
    /// A word that the receiver knows the sender by.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How the sender authenticates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationInfo>,
}

/// The `Authorization` header of a notification (specification 4.3.2).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuthenticationInfo {
    /// An HTTP authentication scheme (`Bearer`).
    pub scheme: String,
    /// What follows the scheme.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

impl std::fmt::Debug for TaskPushNotificationConfig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither does the token, nor what a URL may hold.
        out.debug_struct("TaskPushNotificationConfig")
            .field("id", &self.id)
            .field("task_id", &self.task_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AuthenticationInfo {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Credentials never reach a log.
        out.debug_struct("AuthenticationInfo").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

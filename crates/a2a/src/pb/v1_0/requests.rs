//! The messages that ask, and the lists that answer.

use super::objects::{Message, Task};
use crate::operation as model;
use crate::pb::known::{Struct, Timestamp};
use crate::pb::{Under, Wire, Wrong, given, known, list, lists, said, state};
use crate::push::{AuthenticationInfo, TaskPushNotificationConfig};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SendMessageRequest {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(message, optional, tag = "2")]
    message: Option<Message>,
    #[prost(message, optional, tag = "3")]
    configuration: Option<Configuration>,
    #[prost(message, optional, tag = "4")]
    metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Configuration {
    #[prost(string, repeated, tag = "1")]
    accepted_output_modes: Vec<String>,
    #[prost(message, optional, tag = "2")]
    push: Option<PushConfig>,
    #[prost(int32, optional, tag = "3")]
    history_length: Option<i32>,
    #[prost(bool, tag = "4")]
    return_immediately: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PushConfig {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(string, tag = "3")]
    task_id: String,
    #[prost(string, tag = "4")]
    url: String,
    #[prost(string, tag = "5")]
    token: String,
    #[prost(message, optional, tag = "6")]
    authentication: Option<Authentication>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Authentication {
    #[prost(string, tag = "1")]
    scheme: String,
    #[prost(string, tag = "2")]
    credentials: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetTaskRequest {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(int32, optional, tag = "3")]
    history_length: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SubscribeRequest {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListTasksRequest {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    context_id: String,
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(int32, optional, tag = "4")]
    page_size: Option<i32>,
    #[prost(string, tag = "5")]
    page_token: String,
    #[prost(int32, optional, tag = "6")]
    history_length: Option<i32>,
    #[prost(message, optional, tag = "7")]
    status_timestamp_after: Option<Timestamp>,
    #[prost(bool, optional, tag = "8")]
    include_artifacts: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListTasksResponse {
    #[prost(message, repeated, tag = "1")]
    tasks: Vec<Task>,
    #[prost(string, tag = "2")]
    next_page_token: String,
    #[prost(int32, tag = "3")]
    page_size: i32,
    #[prost(int32, tag = "4")]
    total_size: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CancelTaskRequest {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetPushConfigRequest {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    task_id: String,
    #[prost(string, tag = "3")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeletePushConfigRequest {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    task_id: String,
    #[prost(string, tag = "3")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListPushConfigsRequest {
    #[prost(string, tag = "1")]
    task_id: String,
    #[prost(int32, tag = "2")]
    page_size: i32,
    #[prost(string, tag = "3")]
    page_token: String,
    #[prost(string, tag = "4")]
    tenant: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListPushConfigsResponse {
    #[prost(message, repeated, tag = "1")]
    configs: Vec<PushConfig>,
    #[prost(string, tag = "2")]
    next_page_token: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CardRequest {
    #[prost(string, tag = "1")]
    tenant: String,
}

impl Wire for SendMessageRequest {
    type Model = model::SendMessageRequest;

    fn of(model: &Self::Model) -> Self {
        Self {
            tenant: said(model.tenant.as_ref()),
            message: Some(Message::of(&model.message)),
            configuration: model.configuration.as_ref().map(Configuration::of),
            metadata: known::members(model.metadata.as_ref()),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let message = self.message.ok_or_else(|| Wrong::required("message"))?;
        let configuration = self.configuration.map(Configuration::read).transpose();
        Ok(model::SendMessageRequest {
            tenant: given(self.tenant),
            message: message.read().under("message")?,
            configuration: configuration.under("configuration")?,
            metadata: known::metadata(self.metadata)?,
        })
    }
}

impl Wire for Configuration {
    type Model = model::SendMessageConfiguration;

    fn of(model: &Self::Model) -> Self {
        let push = model.task_push_notification_config.as_ref();
        Self {
            accepted_output_modes: model.accepted_output_modes.clone(),
            push: push.map(PushConfig::of),
            history_length: model.history_length,
            return_immediately: model.return_immediately,
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let push = self.push.map(PushConfig::read).transpose();
        Ok(model::SendMessageConfiguration {
            accepted_output_modes: self.accepted_output_modes,
            task_push_notification_config: push.under("taskPushNotificationConfig")?,
            history_length: self.history_length,
            return_immediately: self.return_immediately,
        })
    }
}

impl Wire for PushConfig {
    type Model = TaskPushNotificationConfig;

    fn of(model: &Self::Model) -> Self {
        let authentication = model.authentication.as_ref();
        Self {
            tenant: said(model.tenant.as_ref()),
            id: said(model.id.as_ref()),
            task_id: said(model.task_id.as_ref()),
            url: model.url.clone(),
            token: said(model.token.as_ref()),
            authentication: authentication.map(|known| Authentication {
                scheme: known.scheme.clone(),
                credentials: said(known.credentials.as_ref()),
            }),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(TaskPushNotificationConfig {
            tenant: given(self.tenant),
            id: given(self.id),
            task_id: given(self.task_id),
            url: self.url,
            token: given(self.token),
            authentication: self.authentication.map(|known| AuthenticationInfo {
                scheme: known.scheme,
                credentials: given(known.credentials),
            }),
        })
    }
}

impl Wire for GetTaskRequest {
    type Model = model::GetTaskRequest;

    fn of(model: &Self::Model) -> Self {
        Self {
            tenant: said(model.tenant.as_ref()),
            id: model.id.to_string(),
            history_length: model.history_length,
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::GetTaskRequest {
            tenant: given(self.tenant),
            id: self.id.into(),
            history_length: self.history_length,
        })
    }
}

impl Wire for ListTasksRequest {
    type Model = model::ListTasksRequest;

    fn of(model: &Self::Model) -> Self {
        Self {
            tenant: said(model.tenant.as_ref()),
            context_id: said(model.context_id.as_ref()),
            status: model.status as i32,
            page_size: model.page_size,
            page_token: said(model.page_token.as_ref()),
            history_length: model.history_length,
            status_timestamp_after: model.status_timestamp_after.map(Timestamp::of),
            include_artifacts: model.include_artifacts.then_some(true),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let status = state(self.status)
            .ok_or_else(|| Wrong::new("status", format!("{} is no task state", self.status)))?;
        Ok(model::ListTasksRequest {
            tenant: given(self.tenant),
            context_id: given(self.context_id),
            status,
            page_size: self.page_size,
            page_token: given(self.page_token),
            history_length: self.history_length,
            status_timestamp_after: self.status_timestamp_after.map(Timestamp::read),
            include_artifacts: self.include_artifacts.unwrap_or_default(),
        })
    }
}

impl Wire for ListTasksResponse {
    type Model = model::ListTasksResponse;

    fn of(model: &Self::Model) -> Self {
        Self {
            tasks: lists(&model.tasks),
            next_page_token: model.next_page_token.clone(),
            page_size: model.page_size,
            total_size: model.total_size,
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::ListTasksResponse {
            tasks: list("tasks", self.tasks)?,
            next_page_token: self.next_page_token,
            page_size: self.page_size,
            total_size: self.total_size,
        })
    }
}

impl Wire for CancelTaskRequest {
    type Model = model::CancelTaskRequest;

    fn of(model: &Self::Model) -> Self {
        Self {
            tenant: said(model.tenant.as_ref()),
            id: model.id.to_string(),
            metadata: known::members(model.metadata.as_ref()),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::CancelTaskRequest {
            tenant: given(self.tenant),
            id: self.id.into(),
            metadata: known::metadata(self.metadata)?,
        })
    }
}

impl Wire for ListPushConfigsRequest {
    type Model = model::ListTaskPushNotificationConfigsRequest;

    fn of(model: &Self::Model) -> Self {
        Self {
            task_id: model.task_id.to_string(),
            page_size: model.page_size.unwrap_or_default(),
            page_token: said(model.page_token.as_ref()),
            tenant: said(model.tenant.as_ref()),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::ListTaskPushNotificationConfigsRequest {
            tenant: given(self.tenant),
            task_id: self.task_id.into(),
            page_size: (self.page_size != 0).then_some(self.page_size),
            page_token: given(self.page_token),
        })
    }
}

impl Wire for ListPushConfigsResponse {
    type Model = model::ListTaskPushNotificationConfigsResponse;

    fn of(model: &Self::Model) -> Self {
        Self {
            configs: lists(&model.configs),
            next_page_token: said(model.next_page_token.as_ref()),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::ListTaskPushNotificationConfigsResponse {
            configs: list("configs", self.configs)?,
            next_page_token: given(self.next_page_token),
        })
    }
}

/// Requests of a tenant and ids.
macro_rules! ids {
    ($($wire:ident $model:ident { $($field:ident),* })*) => {$(
        impl Wire for $wire {
            type Model = model::$model;

            fn of(model: &Self::Model) -> Self {
                Self {
                    tenant: said(model.tenant.as_ref()),
                    $($field: model.$field.to_string(),)*
                }
            }

            fn read(self) -> Result<Self::Model, Wrong> {
                Ok(model::$model {
                    tenant: given(self.tenant),
                    $($field: self.$field.into(),)*
                })
            }
        }
    )*};
}

ids! {
    SubscribeRequest SubscribeToTaskRequest { id }
    GetPushConfigRequest GetTaskPushNotificationConfigRequest { task_id, id }
    DeletePushConfigRequest DeleteTaskPushNotificationConfigRequest { task_id, id }
    CardRequest GetExtendedAgentCardRequest {}
}

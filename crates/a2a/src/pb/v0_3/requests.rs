//! The messages that ask for or about a task, which is called by its resource name.

use super::configs::Config;
use super::objects::Message;
use crate::id::TaskId;
use crate::operation as model;
use crate::pb::known::{self, Struct};
use crate::pb::{Under, Wire, Wrong};

/// Before a task's id in its resource name.
pub(super) const TASKS: &str = "tasks/";

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SendMessageRequest {
    #[prost(message, optional, tag = "1")]
    message: Option<Message>,
    #[prost(message, optional, tag = "2")]
    configuration: Option<Configuration>,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Configuration {
    #[prost(string, repeated, tag = "1")]
    accepted_output_modes: Vec<String>,
    #[prost(message, optional, tag = "2")]
    push: Option<Config>,
    #[prost(int32, tag = "3")]
    history_length: i32,
    #[prost(bool, tag = "4")]
    blocking: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetTaskRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    history_length: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CancelRequest {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SubscribeRequest {
    #[prost(string, tag = "1")]
    name: String,
}

pub(super) fn task_name(id: &TaskId) -> String {
    format!("{TASKS}{id}")
}

/// The id in `tasks/{id}`.
pub(super) fn task_id(field: &str, name: &str) -> Result<TaskId, Wrong> {
    let id = name.strip_prefix(TASKS).filter(|id| !id.is_empty());
    id.map(TaskId::from).ok_or_else(|| Wrong::new(field, "must be `tasks/{id}`"))
}

impl SendMessageRequest {
    pub(super) fn blocking(&self) -> Option<bool> {
        let wishes = self.configuration.as_ref();
        wishes.map(|wishes| wishes.blocking)
    }
}

impl Wire for SendMessageRequest {
    type Model = model::SendMessageRequest;

    fn of(model: &Self::Model) -> Self {
        // To wait is the default of the model and has to be asked for here.
        let wishes = model.configuration.clone().unwrap_or_default();
        Self {
            message: Some(Message::of(&model.message)),
            configuration: Some(Configuration::of(&wishes)),
            metadata: known::members(model.metadata.as_ref()),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let message = self.message.ok_or_else(|| Wrong::required("message"))?;
        let configuration = self.configuration.map(Configuration::read).transpose();
        Ok(model::SendMessageRequest {
            tenant: None,
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
            push: push.map(Config::of),
            history_length: model.history_length.unwrap_or_default(),
            blocking: !model.return_immediately,
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let push = self.push.map(Config::read).transpose();
        Ok(model::SendMessageConfiguration {
            accepted_output_modes: self.accepted_output_modes,
            task_push_notification_config: push.under("pushNotification")?,
            history_length: number(self.history_length),
            return_immediately: false,
        })
    }
}

/// A number that is absent when it is zero.
pub(super) fn number(given: i32) -> Option<i32> {
    (given != 0).then_some(given)
}

impl Wire for GetTaskRequest {
    type Model = model::GetTaskRequest;

    fn of(model: &Self::Model) -> Self {
        Self {
            name: task_name(&model.id),
            history_length: model.history_length.unwrap_or_default(),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::GetTaskRequest {
            tenant: None,
            id: task_id("name", &self.name)?,
            history_length: number(self.history_length),
        })
    }
}

impl Wire for CancelRequest {
    type Model = model::CancelTaskRequest;

    fn of(model: &Self::Model) -> Self {
        let name = task_name(&model.id);
        Self { name }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::CancelTaskRequest {
            tenant: None,
            id: task_id("name", &self.name)?,
            metadata: None,
        })
    }
}

impl Wire for SubscribeRequest {
    type Model = model::SubscribeToTaskRequest;

    fn of(model: &Self::Model) -> Self {
        let name = task_name(&model.id);
        Self { name }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let id = task_id("name", &self.name)?;
        Ok(model::SubscribeToTaskRequest { tenant: None, id })
    }
}

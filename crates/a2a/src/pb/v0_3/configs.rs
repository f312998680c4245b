//! Push notification configs, called by names below their task's.

use super::requests::{TASKS, number, task_id, task_name};
use crate::id::TaskId;
use crate::operation as model;
use crate::pb::{Under, Wire, Wrong, given, list, lists, said};
use crate::push::{AuthenticationInfo, TaskPushNotificationConfig};

/// Between a task's id and a config's; also the end of a name that means all configs of a task.
const CONFIGS: &str = "/pushNotificationConfigs";

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Config {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    url: String,
    #[prost(string, tag = "3")]
    token: String,
    #[prost(message, optional, tag = "4")]
    authentication: Option<Authentication>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Authentication {
    #[prost(string, repeated, tag = "1")]
    schemes: Vec<String>,
    #[prost(string, tag = "2")]
    credentials: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConfigNamed {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    config: Option<Config>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CreateConfigRequest {
    #[prost(string, tag = "1")]
    parent: String,
    #[prost(string, tag = "2")]
    config_id: String,
    #[prost(message, optional, tag = "3")]
    config: Option<ConfigNamed>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetConfigRequest {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeleteRequest {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListConfigsRequest {
    #[prost(string, tag = "1")]
    parent: String,
    #[prost(int32, tag = "2")]
    page_size: i32,
    #[prost(string, tag = "3")]
    page_token: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListConfigsResponse {
    #[prost(message, repeated, tag = "1")]
    configs: Vec<ConfigNamed>,
    #[prost(string, tag = "2")]
    next_page_token: String,
}

fn config_name(task_id: &str, id: &str) -> String {
    format!("{TASKS}{task_id}{CONFIGS}/{id}")
}

/// The ids in `tasks/{id}/pushNotificationConfigs/{configId}`; the second may be missing.
fn config_ids(field: &str, name: &str) -> Result<(TaskId, String), Wrong> {
    match name.split_once(CONFIGS) {
        Some((task, rest)) => {
            let config = rest.strip_prefix('/').unwrap_or(rest);
            Ok((task_id(field, task)?, config.to_owned()))
        }
        None => Ok((task_id(field, name)?, String::new())),
    }
}

impl Wire for Config {
    type Model = TaskPushNotificationConfig;

    fn of(model: &Self::Model) -> Self {
        let authentication = model.authentication.as_ref();
        Self {
            id: said(model.id.as_ref()),
            url: model.url.clone(),
            token: said(model.token.as_ref()),
            authentication: authentication.map(|known| Authentication {
                schemes: vec![known.scheme.clone()],
                credentials: said(known.credentials.as_ref()),
            }),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(TaskPushNotificationConfig {
            tenant: None,
            id: given(self.id),
            task_id: None,
            url: self.url,
            token: given(self.token),
            // One header can carry one scheme; the first is the sender's preference.
            authentication: self.authentication.and_then(|known| {
                Some(AuthenticationInfo {
                    scheme: known.schemes.into_iter().next()?,
                    credentials: given(known.credentials),
                })
            }),
        })
    }
}

impl Wire for ConfigNamed {
    type Model = TaskPushNotificationConfig;

    fn of(model: &Self::Model) -> Self {
        let task = said(model.task_id.as_ref());
        Self { name: config_name(&task, &said(model.id.as_ref())), config: Some(Config::of(model)) }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let config = self.config.ok_or_else(|| Wrong::required("pushNotificationConfig"))?;
        let config = config.read().under("pushNotificationConfig")?;
        let (task_id, id) = config_ids("name", &self.name)?;
        Ok(TaskPushNotificationConfig {
            task_id: Some(task_id),
            id: config.id.or(given(id)),
            ..config
        })
    }
}

impl Wire for CreateConfigRequest {
    type Model = TaskPushNotificationConfig;

    fn of(model: &Self::Model) -> Self {
        let task = said(model.task_id.as_ref());
        Self {
            parent: format!("{TASKS}{task}"),
            config_id: said(model.id.as_ref()),
            config: Some(ConfigNamed::of(model)),
        }
    }

    /// The config's id stands in up to three places; the name of the config inside is not needed.
    fn read(self) -> Result<Self::Model, Wrong> {
        let required = || Wrong::required("config.pushNotificationConfig");
        let config = self.config.and_then(|named| named.config);
        let config = config.ok_or_else(required)?.read();
        let config = config.under("config.pushNotificationConfig")?;
        let (task_id, _) = config_ids("parent", &self.parent)?;
        Ok(TaskPushNotificationConfig {
            task_id: Some(task_id),
            id: config.id.or(given(self.config_id)),
            ..config
        })
    }
}

impl Wire for GetConfigRequest {
    type Model = model::GetTaskPushNotificationConfigRequest;

    fn of(model: &Self::Model) -> Self {
        let name = config_name(model.task_id.as_str(), &model.id);
        Self { name }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let (task_id, id) = config_ids("name", &self.name)?;
        Ok(model::GetTaskPushNotificationConfigRequest { tenant: None, task_id, id })
    }
}

impl Wire for DeleteRequest {
    type Model = model::DeleteTaskPushNotificationConfigRequest;

    fn of(model: &Self::Model) -> Self {
        let name = config_name(model.task_id.as_str(), &model.id);
        Self { name }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let (task_id, id) = config_ids("name", &self.name)?;
        Ok(model::DeleteTaskPushNotificationConfigRequest { tenant: None, task_id, id })
    }
}

impl Wire for ListConfigsRequest {
    type Model = model::ListTaskPushNotificationConfigsRequest;

    fn of(model: &Self::Model) -> Self {
        Self {
            parent: task_name(&model.task_id),
            page_size: model.page_size.unwrap_or_default(),
            page_token: said(model.page_token.as_ref()),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let (task_id, _) = config_ids("parent", &self.parent)?;
        Ok(model::ListTaskPushNotificationConfigsRequest {
            tenant: None,
            task_id,
            page_size: number(self.page_size),
            page_token: given(self.page_token),
        })
    }
}

impl Wire for ListConfigsResponse {
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

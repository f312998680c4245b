//! Version 0.3 (and 0.2, which is spoken alike): requests into the model, the model as objects
//! tagged by `kind`.

use super::older::{self, Out, Spelling};
use super::{Decoded, check, json};
use crate::card;
use crate::error::{Error, ErrorKind};
use crate::id::TaskId;
use crate::operation::{
    Call, CancelTaskRequest, DeleteTaskPushNotificationConfigRequest, GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest, GetTaskRequest, ListTaskPushNotificationConfigsRequest,
    Operation, Reply, SendMessageConfiguration, SendMessageRequest, SubscribeToTaskRequest,
};
use crate::push::TaskPushNotificationConfig;
use crate::rest::body::Members;
use crate::task::TaskState;
use crate::{Metadata, lenient};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub(crate) mod read;

use read::{MessageIn, PushConfigIn};

/// Method names of v0.3; the four in the middle that v0.1 shares are listed there too.
pub(super) fn operation(method: &str) -> Option<Operation> {
    Some(match method {
        "message/send" => Operation::SendMessage,
        "message/stream" => Operation::SendStreamingMessage,
        "tasks/get" => Operation::GetTask,
        "tasks/list" => Operation::ListTasks,
        "tasks/cancel" => Operation::CancelTask,
        "tasks/resubscribe" => Operation::SubscribeToTask,
        "tasks/pushNotificationConfig/set" => Operation::CreateTaskPushNotificationConfig,
        "tasks/pushNotificationConfig/get" => Operation::GetTaskPushNotificationConfig,
        "tasks/pushNotificationConfig/list" => Operation::ListTaskPushNotificationConfigs,
        "tasks/pushNotificationConfig/delete" => Operation::DeleteTaskPushNotificationConfig,
        "agent/getAuthenticatedExtendedCard" => Operation::GetExtendedAgentCard,
        _ => return None,
    })
}

/// The fields that have another name here than in v1.0.
const SEND_NAMES: &[(&str, &str)] =
    &[("configuration.taskPushNotificationConfig", "configuration.pushNotificationConfig")];
const PUSH_NAMES: &[(&str, &str)] = &[
    ("url", "pushNotificationConfig.url"),
    ("authentication", "pushNotificationConfig.authentication"),
];
const PUSH_ID_NAMES: &[(&str, &str)] = &[("taskId", "id"), ("id", "pushNotificationConfigId")];

/// The same in `a2a.v1`.
pub(crate) const PROTO_SEND_NAMES: &[(&str, &str)] = &[
    ("message.parts", "message.content"),
    ("configuration.taskPushNotificationConfig", "configuration.pushNotification"),
];
pub(crate) const PROTO_CREATE_NAMES: &[(&str, &str)] = &[
    ("url", "config.pushNotificationConfig.url"),
    ("authentication", "config.pushNotificationConfig.authentication"),
];

#[derive(Deserialize)]
struct SendIn {
    message: MessageIn<false>,
    #[serde(default)]
    configuration: Option<ConfigurationIn>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConfigurationIn {
    #[serde(alias = "accepted_output_modes", deserialize_with = "lenient::nullable")]
    accepted_output_modes: Vec<String>,
    #[serde(alias = "history_length", deserialize_with = "lenient::int")]
    history_length: Option<i32>,
    #[serde(alias = "push_notification_config")]
    push_notification_config: Option<PushConfigIn>,
    #[serde(deserialize_with = "lenient::flag")]
    blocking: Option<bool>,
}

/// What every method on one task takes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskIn {
    pub(super) id: TaskId,
    #[serde(alias = "history_length", default, deserialize_with = "lenient::int")]
    pub(super) history_length: Option<i32>,
    #[serde(default)]
    pub(super) metadata: Option<Metadata>,
    #[serde(
        alias = "push_notification_config_id",
        default,
        deserialize_with = "lenient::nullable"
    )]
    push_notification_config_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PushIn {
    #[serde(alias = "task_id")]
    task_id: TaskId,
    #[serde(alias = "push_notification_config")]
    push_notification_config: PushConfigIn,
}

pub(super) fn decode(operation: Operation, params: Option<&RawValue>) -> Result<Decoded, Error> {
    let mut blocking = None;
    let mut names: &[(&str, &str)] = &[];
    let call = match operation {
        Operation::SendMessage | Operation::SendStreamingMessage => {
            let given: SendIn = super::read(params)?;
            blocking = given.configuration.as_ref().and_then(|wishes| wishes.blocking);
            names = SEND_NAMES;
            Call::of_message(operation, given.request(blocking)?)
        }
        Operation::ListTasks => list(params)?,
        Operation::CreateTaskPushNotificationConfig => {
            names = PUSH_NAMES;
            let PushIn { task_id, push_notification_config } = super::read(params)?;
            Call::CreateTaskPushNotificationConfig(push_notification_config.config(Some(task_id)))
        }
        Operation::GetExtendedAgentCard => {
            Call::GetExtendedAgentCard(GetExtendedAgentCardRequest::default())
        }
        Operation::GetTaskPushNotificationConfig
        | Operation::ListTaskPushNotificationConfigs
        | Operation::DeleteTaskPushNotificationConfig => {
            names = PUSH_ID_NAMES;
            super::read::<TaskIn>(params)?.call(operation)?
        }
        Operation::GetTask | Operation::CancelTask | Operation::SubscribeToTask => {
            super::read::<TaskIn>(params)?.call(operation)?
        }
    };
    check(&call, names)?;
    Ok(Decoded { call, client_task_id: None, blocking })
}

impl SendIn {
    fn request(self, blocking: Option<bool>) -> Result<SendMessageRequest, Error> {
        Ok(SendMessageRequest {
            tenant: None,
            message: self.message.message()?,
            configuration: self.configuration.map(|wishes| SendMessageConfiguration {
                accepted_output_modes: wishes.accepted_output_modes,
                task_push_notification_config: wishes
                    .push_notification_config
                    .map(|config| config.config(None)),
                history_length: wishes.history_length,
                return_immediately: blocking == Some(false),
                if_generation_match: None,
            }),
            metadata: self.metadata,
        })
    }
}

impl TaskIn {
    /// The call of an operation that takes one task.
    pub(super) fn call(self, operation: Operation) -> Result<Call, Error> {
        let Self { id, history_length, metadata, push_notification_config_id } = self;
        Ok(match operation {
            Operation::GetTask => Call::GetTask(GetTaskRequest {
                tenant: None,
                id,
                history_length,
                current_generation: None,
            }),
            Operation::CancelTask => {
                Call::CancelTask(CancelTaskRequest { tenant: None, id, metadata })
            }
            Operation::SubscribeToTask => {
                Call::SubscribeToTask(SubscribeToTaskRequest { tenant: None, id })
            }
            Operation::GetTaskPushNotificationConfig => {
                Call::GetTaskPushNotificationConfig(GetTaskPushNotificationConfigRequest {
                    tenant: None,
                    task_id: id,
                    id: push_notification_config_id,
                })
            }
            Operation::ListTaskPushNotificationConfigs => {
                Call::ListTaskPushNotificationConfigs(ListTaskPushNotificationConfigsRequest {
                    tenant: None,
                    task_id: id,
                    page_size: None,
                    page_token: None,
                })
            }
            Operation::DeleteTaskPushNotificationConfig => {
                Call::DeleteTaskPushNotificationConfig(DeleteTaskPushNotificationConfigRequest {
                    tenant: None,
                    task_id: id,
                    id: push_notification_config_id,
                })
            }
            Operation::SendMessage
            | Operation::SendStreamingMessage
            | Operation::ListTasks
            | Operation::CreateTaskPushNotificationConfig
            | Operation::GetExtendedAgentCard => return Err(not_here(operation)),
        })
    }
}

/// The dialect has no such operation.
pub(super) fn not_here(operation: Operation) -> Error {
    let name = operation.method();
    Error::new(ErrorKind::MethodNotFound, format!("this version of A2A has no {name}"))
}

/// `tasks/list` has no place in JSON-RPC v0.3; where it is asked for, its filters are ours, with
/// the state in its old name.
fn list(params: Option<&RawValue>) -> Result<Call, Error> {
    let mut members = Members::read(params)?;
    let status = members.given("status").and_then(|status| serde_json::from_str(status.get()).ok());
    if let Some(state) = status.and_then(|name: String| state_named(&name)) {
        members.remove("status");
        members.add("status", state.name());
    }
    Ok(Call::ListTasks(super::read(Some(&members.object()?))?))
}

pub(super) fn encode_reply(reply: &Reply) -> String {
    match reply {
        Reply::Task(task) => json(&Out(Spelling::Kind, task)),
        Reply::Message(message) => json(&Out(Spelling::Kind, message)),
        Reply::Tasks(page) => json(&Out(Spelling::Kind, page)),
        Reply::PushConfig(config) => push_config(config).to_string(),
        Reply::PushConfigs(page) => {
            page.configs.iter().map(push_config).collect::<Value>().to_string()
        }
        Reply::Card(known) => card::v0_3(known).to_string(),
        Reply::Empty => "null".to_owned(),
    }
}

fn push_config(config: &TaskPushNotificationConfig) -> Value {
    json!({
        "taskId": config.task_id,
        "pushNotificationConfig": older::push_config(config),
    })
}

/// A state by its old name.
pub(crate) fn state_named(name: &str) -> Option<TaskState> {
    TaskState::ALL.into_iter().find(|state| state_name(*state) == name)
}

/// The old name of a state.
pub(super) fn state_name(state: TaskState) -> &'static str {
    if state == TaskState::Unspecified { "unknown" } else { state.word() }
}

/// Streams of older dialects end with a status that says so; at a question, too.
pub(crate) fn is_final(state: TaskState) -> bool {
    state.is_terminal() || state.is_interrupted()
}

//! Version 0.1, the oldest: ids made by the client, untagged events, artifacts told apart by
//! number.

use super::older::{self, List, Out, Spelling, StatusOut, status};
use super::v0_3::read::{MessageIn, PushConfigIn};
use super::v0_3::{TaskIn, is_final, not_here, state_name};
use super::{Decoded, check, json, read};
use crate::card;
use crate::error::Error;
use crate::event::StreamResponse;
use crate::id::{ContextId, TaskId};
use crate::message::{Message, Part};
use crate::operation::{Call, Operation, Reply, SendMessageConfiguration, SendMessageRequest};
use crate::task::{Artifact, Task, TaskState};
use crate::{Metadata, lenient};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The fields that have another name here than in v1.0.
const SEND_NAMES: &[(&str, &str)] = &[
    ("configuration.historyLength", "historyLength"),
    ("configuration.taskPushNotificationConfig", "pushNotification"),
];
const PUSH_NAMES: &[(&str, &str)] = &[
    ("taskId", "id"),
    ("url", "pushNotificationConfig.url"),
    ("authentication", "pushNotificationConfig.authentication"),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendIn {
    /// Made here for the clients in the field that leave it out.
    #[serde(default = "TaskId::random")]
    id: TaskId,
    #[serde(default, deserialize_with = "lenient::text")]
    session_id: Option<ContextId>,
    message: MessageIn<false>,
    #[serde(default, deserialize_with = "lenient::nullable")]
    accepted_output_modes: Vec<String>,
    #[serde(default)]
    push_notification: Option<PushConfigIn>,
    #[serde(default, deserialize_with = "lenient::int")]
    history_length: Option<i32>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PushIn {
    id: TaskId,
    push_notification_config: PushConfigIn,
}

/// A task, and with `final` also a status update: its readers take from it what they know.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskOut<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    session_id: &'a str,
    status: StatusOut<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    artifacts: Vec<ArtifactOut<'a>>,
    #[serde(skip_serializing_if = "List::is_empty")]
    history: List<'a, Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#final: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactOut<'a> {
    /// The id where there is no name: nothing else names it here.
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parts: List<'a, Part>,
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    append: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_chunk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
}

#[derive(Serialize)]
struct ArtifactUpdateOut<'a> {
    id: &'a str,
    artifact: ArtifactOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
}

/// Method names of v0.1.
pub(super) fn operation(method: &str) -> Option<Operation> {
    Some(match method {
        "tasks/send" => Operation::SendMessage,
        "tasks/sendSubscribe" => Operation::SendStreamingMessage,
        "tasks/get" => Operation::GetTask,
        "tasks/cancel" => Operation::CancelTask,
        "tasks/resubscribe" => Operation::SubscribeToTask,
        "tasks/pushNotification/set" => Operation::CreateTaskPushNotificationConfig,
        "tasks/pushNotification/get" => Operation::GetTaskPushNotificationConfig,
        _ => return None,
    })
}

pub(super) fn decode(operation: Operation, params: Option<&RawValue>) -> Result<Decoded, Error> {
    let (id, call, names) = match operation {
        Operation::SendMessage | Operation::SendStreamingMessage => {
            let given: SendIn = read(params)?;
            (given.id.clone(), Call::of_message(operation, given.request()), SEND_NAMES)
        }
        Operation::GetTask
        | Operation::CancelTask
        | Operation::SubscribeToTask
        | Operation::GetTaskPushNotificationConfig => {
            let given: TaskIn = read(params)?;
            (given.id.clone(), given.call(operation)?, PUSH_NAMES)
        }
        Operation::CreateTaskPushNotificationConfig => {
            let PushIn { id, push_notification_config } = read(params)?;
            let config = push_notification_config.config(Some(id.clone()));
            (id, Call::CreateTaskPushNotificationConfig(config), PUSH_NAMES)
        }
        Operation::ListTasks
        | Operation::ListTaskPushNotificationConfigs
        | Operation::DeleteTaskPushNotificationConfig
        | Operation::GetExtendedAgentCard => return Err(not_here(operation)),
    };
    if id.as_str().is_empty() {
        return Err(Error::invalid("id", "must not be empty"));
    }
    check(&call, names)?;
    Ok(Decoded { call, client_task_id: Some(id.as_str().to_owned()), blocking: None })
}

impl SendIn {
    /// The request; which of our tasks the client's id means is for the service to know.
    fn request(self) -> SendMessageRequest {
        let mut message = self.message.message_or_random();
        message.context_id = self.session_id.or(message.context_id);
        message.task_id = None;
        SendMessageRequest {
            tenant: None,
            message,
            configuration: Some(SendMessageConfiguration {
                accepted_output_modes: self.accepted_output_modes,
                task_push_notification_config: self
                    .push_notification
                    .map(|config| config.config(None)),
                history_length: self.history_length,
                return_immediately: false,
                if_generation_match: None,
            }),
            metadata: self.metadata,
        }
    }
}

pub(super) fn encode_reply(reply: &Reply, alias: Option<&str>) -> String {
    match reply {
        Reply::Task(known) => json(&task(known, alias, None)),
        Reply::Message(message) => json(&answer(message, alias, None)),
        Reply::Tasks(page) => {
            json(&page.tasks.iter().map(|known| task(known, None, None)).collect::<Vec<_>>())
        }
        Reply::PushConfig(config) => push_config(config, alias).to_string(),
        Reply::PushConfigs(page) => page
            .configs
            .iter()
            .map(|config| push_config(config, alias))
            .collect::<Value>()
            .to_string(),
        Reply::Card(known) => card::legacy(known).to_string(),
        Reply::Empty => "null".to_owned(),
    }
}

/// Writes an event; `index` is the number of the artifact in an artifact update.
pub(super) fn encode_event(event: &StreamResponse, alias: Option<&str>, index: usize) -> String {
    match event {
        StreamResponse::Task(known) => {
            let ends = is_final(known.status.state);
            json(&TaskOut { history: List(Spelling::Type, &[]), ..task(known, alias, Some(ends)) })
        }
        StreamResponse::Message(message) => json(&answer(message, alias, Some(true))),
        StreamResponse::StatusUpdate(update) => json(&TaskOut {
            id: alias.unwrap_or(update.task_id.as_str()),
            session_id: "",
            status: status(Spelling::Type, &update.status),
            artifacts: Vec::new(),
            history: List(Spelling::Type, &[]),
            r#final: Some(is_final(update.status.state)),
            metadata: update.metadata.as_ref(),
        }),
        StreamResponse::ArtifactUpdate(update) => json(&ArtifactUpdateOut {
            id: alias.unwrap_or(update.task_id.as_str()),
            artifact: ArtifactOut {
                append: Some(update.append),
                last_chunk: Some(update.last_chunk),
                ..artifact(index, &update.artifact)
            },
            metadata: update.metadata.as_ref(),
        }),
    }
}

fn task<'a>(task: &'a Task, alias: Option<&'a str>, r#final: Option<bool>) -> TaskOut<'a> {
    let numbered = task.artifacts.iter().enumerate();
    TaskOut {
        id: alias.unwrap_or(task.id.as_str()),
        session_id: task.context_id.as_str(),
        status: status(Spelling::Type, &task.status),
        artifacts: numbered.map(|(index, known)| artifact(index, known)).collect(),
        history: List(Spelling::Type, &task.history),
        r#final,
        metadata: task.metadata.as_ref(),
    }
}

/// An answer without a task, as a task that is done: the dialect has nothing else.
fn answer<'a>(answer: &'a Message, alias: Option<&'a str>, r#final: Option<bool>) -> TaskOut<'a> {
    let own_id = || answer.task_id.as_ref().map_or(answer.message_id.as_str(), |id| id.as_str());
    TaskOut {
        id: alias.unwrap_or_else(own_id),
        session_id: answer.context_id.as_ref().map_or("", |id| id.as_str()),
        status: StatusOut {
            state: state_name(TaskState::Completed),
            message: Some(Out(Spelling::Type, answer)),
            timestamp: None,
        },
        artifacts: Vec::new(),
        history: List(Spelling::Type, &[]),
        r#final,
        metadata: None,
    }
}

fn artifact(index: usize, artifact: &Artifact) -> ArtifactOut<'_> {
    ArtifactOut {
        name: artifact.name.as_deref().unwrap_or(artifact.artifact_id.as_str()),
        description: artifact.description.as_deref(),
        parts: List(Spelling::Type, &artifact.parts),
        index,
        append: None,
        last_chunk: None,
        metadata: artifact.metadata.as_ref(),
    }
}

fn push_config(config: &crate::TaskPushNotificationConfig, alias: Option<&str>) -> Value {
    let own_id = config.task_id.as_ref().map(|id| id.as_str());
    json!({
        "id": alias.or(own_id),
        "pushNotificationConfig": older::push_config(config),
    })
}

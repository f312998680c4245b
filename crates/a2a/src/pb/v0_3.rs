//! `a2a.v1`, the package of v0.3, where tasks and configs are called by resource names.

use super::card::OldCard;
use super::known::Empty;
use super::{Wire, Wrong, not_here, read, write};
use crate::dialect::Decoded;
use crate::error::{Error, FieldViolation};
use crate::event::StreamResponse;
use crate::operation::{Call, GetExtendedAgentCardRequest, Operation, Reply};
use prost::Message as _;

mod configs;
mod objects;
mod part;
mod requests;

use configs::{
    ConfigNamed, CreateConfigRequest, DeleteRequest, GetConfigRequest, ListConfigsRequest,
    ListConfigsResponse,
};
use objects::{Event, Task};
use requests::{CancelRequest, GetTaskRequest, SendMessageRequest, SubscribeRequest};

/// The fields that have another name here than in v1.0.
const SEND_NAMES: &[(&str, &str)] = &[
    ("message.parts", "message.content"),
    ("configuration.taskPushNotificationConfig", "configuration.pushNotification"),
];
const CREATE_NAMES: &[(&str, &str)] = &[
    ("url", "config.pushNotificationConfig.url"),
    ("authentication", "config.pushNotificationConfig.authentication"),
];
const RESOURCE_NAMES: &[(&str, &str)] = &[("id", "name")];

/// The operation of a path in this package.
pub(super) fn operation(path: &str) -> Option<Operation> {
    Some(match path.strip_prefix("/a2a.v1.A2AService/")? {
        "SendMessage" => Operation::SendMessage,
        "SendStreamingMessage" => Operation::SendStreamingMessage,
        "GetTask" => Operation::GetTask,
        "CancelTask" => Operation::CancelTask,
        "TaskSubscription" => Operation::SubscribeToTask,
        "CreateTaskPushNotificationConfig" => Operation::CreateTaskPushNotificationConfig,
        "GetTaskPushNotificationConfig" => Operation::GetTaskPushNotificationConfig,
        "ListTaskPushNotificationConfig" => Operation::ListTaskPushNotificationConfigs,
        "DeleteTaskPushNotificationConfig" => Operation::DeleteTaskPushNotificationConfig,
        "GetAgentCard" => Operation::GetExtendedAgentCard,
        _ => return None,
    })
}

pub(super) fn decode(operation: Operation, body: &[u8]) -> Result<Decoded, Error> {
    if operation == Operation::ListTasks {
        return Err(not_here(operation));
    }
    let (call, blocking) = call(operation, body).map_err(Wrong::request)?;
    let names = match operation {
        Operation::SendMessage | Operation::SendStreamingMessage => SEND_NAMES,
        Operation::CreateTaskPushNotificationConfig => CREATE_NAMES,
        _ => RESOURCE_NAMES,
    };
    let mut violations = call.violations();
    for violation in &mut violations {
        rename(violation, names);
    }
    Error::unless_valid(violations)?;
    Ok(Decoded { call, client_task_id: None, blocking })
}

fn rename(violation: &mut FieldViolation, names: &[(&str, &str)]) {
    for (ours, theirs) in names {
        if let Some(rest) = violation.field.strip_prefix(ours) {
            violation.field = format!("{theirs}{rest}");
            return;
        }
    }
}

/// The call, and `configuration.blocking` where there is a configuration: left out, it is false there.
fn call(operation: Operation, body: &[u8]) -> Result<(Call, Option<bool>), Wrong> {
    let call = match operation {
        Operation::SendMessage | Operation::SendStreamingMessage => {
            let asked: SendMessageRequest = super::parse(body)?;
            let blocking = asked.blocking();
            let asked = asked.read()?;
            let call = if operation == Operation::SendMessage {
                Call::SendMessage(asked)
            } else {
                Call::SendStreamingMessage(asked)
            };
            return Ok((call, blocking));
        }
        Operation::GetTask => Call::GetTask(read::<GetTaskRequest>(body)?),
        Operation::CancelTask => Call::CancelTask(read::<CancelRequest>(body)?),
        Operation::SubscribeToTask => Call::SubscribeToTask(read::<SubscribeRequest>(body)?),
        Operation::CreateTaskPushNotificationConfig => {
            Call::CreateTaskPushNotificationConfig(read::<CreateConfigRequest>(body)?)
        }
        Operation::GetTaskPushNotificationConfig => {
            Call::GetTaskPushNotificationConfig(read::<GetConfigRequest>(body)?)
        }
        Operation::ListTaskPushNotificationConfigs => {
            Call::ListTaskPushNotificationConfigs(read::<ListConfigsRequest>(body)?)
        }
        Operation::DeleteTaskPushNotificationConfig => {
            Call::DeleteTaskPushNotificationConfig(read::<DeleteRequest>(body)?)
        }
        Operation::GetExtendedAgentCard => {
            super::parse::<Empty>(body)?;
            Call::GetExtendedAgentCard(GetExtendedAgentCardRequest::default())
        }
        Operation::ListTasks => return Err(Wrong::new("", "there are no lists of tasks here")),
    };
    Ok((call, None))
}

pub(super) fn encode_call(call: &Call) -> Vec<u8> {
    match call {
        Call::SendMessage(asked) | Call::SendStreamingMessage(asked) => {
            write::<SendMessageRequest>(asked)
        }
        Call::GetTask(asked) => write::<GetTaskRequest>(asked),
        Call::CancelTask(asked) => write::<CancelRequest>(asked),
        Call::SubscribeToTask(asked) => write::<SubscribeRequest>(asked),
        Call::CreateTaskPushNotificationConfig(config) => write::<CreateConfigRequest>(config),
        Call::GetTaskPushNotificationConfig(asked) => write::<GetConfigRequest>(asked),
        Call::ListTaskPushNotificationConfigs(asked) => write::<ListConfigsRequest>(asked),
        Call::DeleteTaskPushNotificationConfig(asked) => write::<DeleteRequest>(asked),
        Call::GetExtendedAgentCard(_) | Call::ListTasks(_) => Empty {}.encode_to_vec(),
    }
}

pub(super) fn encode_reply(operation: Operation, reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Task(task) if operation == Operation::SendMessage || operation.streams() => {
            Event::task(task).encode_to_vec()
        }
        Reply::Task(task) => write::<Task>(task),
        Reply::Message(message) => Event::message(message).encode_to_vec(),
        Reply::PushConfig(config) => write::<ConfigNamed>(config),
        Reply::PushConfigs(page) => write::<ListConfigsResponse>(page),
        Reply::Card(card) => write::<OldCard>(card),
        Reply::Empty | Reply::Tasks(_) => Empty {}.encode_to_vec(),
    }
}

pub(super) fn decode_reply(operation: Operation, body: &[u8]) -> Result<Reply, Wrong> {
    Ok(match operation {
        Operation::SendMessage | Operation::SendStreamingMessage | Operation::SubscribeToTask => {
            super::sent(decode_event(body)?)?
        }
        Operation::GetTask | Operation::CancelTask => Reply::Task(read::<Task>(body)?),
        Operation::CreateTaskPushNotificationConfig | Operation::GetTaskPushNotificationConfig => {
            Reply::PushConfig(read::<ConfigNamed>(body)?)
        }
        Operation::ListTaskPushNotificationConfigs => {
            Reply::PushConfigs(read::<ListConfigsResponse>(body)?)
        }
        Operation::DeleteTaskPushNotificationConfig => {
            super::parse::<Empty>(body)?;
            Reply::Empty
        }
        Operation::GetExtendedAgentCard => Reply::Card(Box::new(read::<OldCard>(body)?)),
        Operation::ListTasks => return Err(Wrong::new("", "there are no lists of tasks here")),
    })
}

pub(super) fn encode_event(event: &StreamResponse) -> Vec<u8> {
    write::<Event>(event)
}

pub(super) fn decode_event(body: &[u8]) -> Result<StreamResponse, Wrong> {
    read::<Event>(body)
}

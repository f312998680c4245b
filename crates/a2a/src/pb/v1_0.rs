//! `lf.a2a.v1`, the package of v1.0.

use super::card::Card;
use super::known::Empty;
use super::{Wrong, read, write};
use crate::dialect::Decoded;
use crate::error::Error;
use crate::event::StreamResponse;
use crate::operation::{Call, Operation, Reply};
use prost::Message as _;

mod objects;
mod requests;

use objects::{Event, Task};
use requests::{
    CancelTaskRequest, CardRequest, DeletePushConfigRequest, GetPushConfigRequest, GetTaskRequest,
    ListPushConfigsRequest, ListPushConfigsResponse, ListTasksRequest, ListTasksResponse,
    PushConfig, SendMessageRequest, SubscribeRequest,
};

pub(super) fn decode(operation: Operation, body: &[u8]) -> Result<Decoded, Error> {
    let call = call(operation, body).map_err(Wrong::request)?;
    call.check()?;
    if let Call::GetTaskPushNotificationConfig(request) = &call
        && request.id.is_empty()
    {
        return Err(Error::invalid("id", "must not be empty"));
    }
    Ok(Decoded { call, client_task_id: None, blocking: None })
}

fn call(operation: Operation, body: &[u8]) -> Result<Call, Wrong> {
    Ok(match operation {
        Operation::SendMessage => Call::SendMessage(read::<SendMessageRequest>(body)?),
        Operation::SendStreamingMessage => {
            Call::SendStreamingMessage(read::<SendMessageRequest>(body)?)
        }
        Operation::GetTask => Call::GetTask(read::<GetTaskRequest>(body)?),
        Operation::ListTasks => Call::ListTasks(read::<ListTasksRequest>(body)?),
        Operation::CancelTask => Call::CancelTask(read::<CancelTaskRequest>(body)?),
        Operation::SubscribeToTask => Call::SubscribeToTask(read::<SubscribeRequest>(body)?),
        Operation::CreateTaskPushNotificationConfig => {
            Call::CreateTaskPushNotificationConfig(read::<PushConfig>(body)?)
        }
        Operation::GetTaskPushNotificationConfig => {
            Call::GetTaskPushNotificationConfig(read::<GetPushConfigRequest>(body)?)
        }
        Operation::ListTaskPushNotificationConfigs => {
            Call::ListTaskPushNotificationConfigs(read::<ListPushConfigsRequest>(body)?)
        }
        Operation::DeleteTaskPushNotificationConfig => {
            Call::DeleteTaskPushNotificationConfig(read::<DeletePushConfigRequest>(body)?)
        }
        Operation::GetExtendedAgentCard => Call::GetExtendedAgentCard(read::<CardRequest>(body)?),
    })
}

pub(super) fn encode_call(call: &Call) -> Vec<u8> {
    match call {
        Call::SendMessage(asked) | Call::SendStreamingMessage(asked) => {
            write::<SendMessageRequest>(asked)
        }
        Call::GetTask(asked) => write::<GetTaskRequest>(asked),
        Call::ListTasks(asked) => write::<ListTasksRequest>(asked),
        Call::CancelTask(asked) => write::<CancelTaskRequest>(asked),
        Call::SubscribeToTask(asked) => write::<SubscribeRequest>(asked),
        Call::CreateTaskPushNotificationConfig(config) => write::<PushConfig>(config),
        Call::GetTaskPushNotificationConfig(asked) => write::<GetPushConfigRequest>(asked),
        Call::ListTaskPushNotificationConfigs(asked) => write::<ListPushConfigsRequest>(asked),
        Call::DeleteTaskPushNotificationConfig(asked) => write::<DeletePushConfigRequest>(asked),
        Call::GetExtendedAgentCard(asked) => write::<CardRequest>(asked),
    }
}

pub(super) fn encode_reply(operation: Operation, reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Task(task) if operation == Operation::SendMessage || operation.streams() => {
            Event::task(task).encode_to_vec()
        }
        Reply::Task(task) => write::<Task>(task),
        Reply::Message(message) => Event::message(message).encode_to_vec(),
        Reply::Tasks(page) => write::<ListTasksResponse>(page),
        Reply::PushConfig(config) => write::<PushConfig>(config),
        Reply::PushConfigs(page) => write::<ListPushConfigsResponse>(page),
        Reply::Card(card) => write::<Card>(card),
        Reply::Empty => Empty {}.encode_to_vec(),
    }
}

pub(super) fn decode_reply(operation: Operation, body: &[u8]) -> Result<Reply, Wrong> {
    Ok(match operation {
        Operation::SendMessage | Operation::SendStreamingMessage | Operation::SubscribeToTask => {
            super::sent(decode_event(body)?)?
        }
        Operation::GetTask | Operation::CancelTask => Reply::Task(read::<Task>(body)?),
        Operation::ListTasks => Reply::Tasks(read::<ListTasksResponse>(body)?),
        Operation::CreateTaskPushNotificationConfig | Operation::GetTaskPushNotificationConfig => {
            Reply::PushConfig(read::<PushConfig>(body)?)
        }
        Operation::ListTaskPushNotificationConfigs => {
            Reply::PushConfigs(read::<ListPushConfigsResponse>(body)?)
        }
        Operation::DeleteTaskPushNotificationConfig => {
            super::parse::<Empty>(body)?;
            Reply::Empty
        }
        Operation::GetExtendedAgentCard => Reply::Card(Box::new(read::<Card>(body)?)),
    })
}

pub(super) fn encode_event(event: &StreamResponse) -> Vec<u8> {
    write::<Event>(event)
}

pub(super) fn decode_event(body: &[u8]) -> Result<StreamResponse, Wrong> {
    read::<Event>(body)
}

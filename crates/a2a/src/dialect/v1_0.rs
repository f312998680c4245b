//! Version 1.0: the model as it is.

use super::{Decoded, json, read};
use crate::error::Error;
use crate::message::Message;
use crate::operation::{Call, Operation, Reply, read_call};
use crate::task::Task;
use serde::Serialize;
use serde_json::value::RawValue;

/// What `SendMessage` answers, tagged by member name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Sent<'a> {
    Task(&'a Task),
    Message(&'a Message),
}

pub(super) fn decode(operation: Operation, params: Option<&RawValue>) -> Result<Decoded, Error> {
    let call = read_call!(operation, read(params)?);
    call.check()?;
    check(&call)?;
    Ok(Decoded { call, client_task_id: None, blocking: None })
}

/// Refuses what only older dialects may leave out: the id of the config that is asked for.
pub(crate) fn check(call: &Call) -> Result<(), Error> {
    if let Call::GetTaskPushNotificationConfig(request) = call
        && request.id.is_empty()
    {
        return Err(Error::invalid("id", "must not be empty"));
    }
    Ok(())
}

pub(super) fn encode_reply(operation: Operation, reply: &Reply) -> String {
    let sent = matches!(operation, Operation::SendMessage | Operation::SendStreamingMessage);
    match reply {
        Reply::Task(task) if sent => json(&Sent::Task(task)),
        Reply::Task(task) => json(task),
        Reply::Message(message) => json(&Sent::Message(message)),
        Reply::Tasks(page) => json(page),
        Reply::PushConfig(config) => json(config),
        Reply::PushConfigs(page) => json(page),
        Reply::Card(card) => json(card),
        Reply::Empty => "{}".to_owned(),
    }
}

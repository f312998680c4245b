//! The two requests that `a2a.v1` spells differently: a message, and a new push notification config.

use crate::dialect::v0_3::read::{MessageIn, PushConfigIn};
use crate::dialect::v0_3::{PROTO_CREATE_NAMES, PROTO_SEND_NAMES};
use crate::dialect::{Decoded, check, read};
use crate::error::Error;
use crate::id::TaskId;
use crate::operation::{Call, Operation, SendMessageConfiguration, SendMessageRequest};
use crate::rest::{Form, body::Members};
use crate::{Metadata, lenient};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The fields that have another name here than in v1.0.
const BARE_NAMES: &[(&str, &str)] = &[
    ("url", "pushNotificationConfig.url"),
    ("authentication", "pushNotificationConfig.authentication"),
];

#[derive(Deserialize)]
struct SendIn {
    /// The name in the protobuf file, where `message` is the one in its JSON.
    #[serde(default)]
    request: Option<MessageIn<true>>,
    #[serde(default)]
    message: Option<MessageIn<true>>,
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
    #[serde(
        alias = "push_notification",
        alias = "pushNotificationConfig",
        alias = "push_notification_config"
    )]
    push_notification: Option<PushConfigIn>,
    #[serde(alias = "history_length", deserialize_with = "lenient::int")]
    history_length: Option<i32>,
    #[serde(deserialize_with = "lenient::flag")]
    blocking: Option<bool>,
}

/// `CreateTaskPushNotificationConfigRequest`; the config may also stand there without it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateIn {
    #[serde(default)]
    config: Option<TaskConfigIn>,
    #[serde(alias = "config_id", default, deserialize_with = "lenient::text")]
    config_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TaskConfigIn {
    #[serde(alias = "task_id", deserialize_with = "lenient::text")]
    task_id: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    name: Option<String>,
    #[serde(alias = "push_notification_config")]
    push_notification_config: Option<PushConfigIn>,
}

/// Reads the body of `message:send` or `message:stream`.
pub(in crate::rest) fn send(
    operation: Operation,
    body: Option<&RawValue>,
) -> Result<Decoded, Error> {
    let given: SendIn = read(body)?;
    let message = match (given.request, given.message) {
        (Some(message), None) | (None, Some(message)) => message,
        (None, None) => return Err(Error::invalid("message", "is required")),
        (Some(_), Some(_)) => return Err(Error::invalid("request", "is given beside `message`")),
    };
    let message = message.message()?;
    // Protobuf does not write `false`: who gives a configuration without it means false.
    let blocking = given.configuration.as_ref().map(|wishes| wishes.blocking.unwrap_or(false));
    let request = SendMessageRequest {
        tenant: None,
        message,
        configuration: given.configuration.map(|wishes| SendMessageConfiguration {
            accepted_output_modes: wishes.accepted_output_modes,
            task_push_notification_config: wishes
                .push_notification
                .map(|config| config.config(None)),
            // Protobuf cannot tell 0 from absent here, and calls it unlimited.
            history_length: wishes.history_length.filter(|length| *length != 0),
            return_immediately: blocking == Some(false),
            if_generation_match: None,
        }),
        metadata: given.metadata,
    };
    decoded(Call::of_message(operation, request), blocking, PROTO_SEND_NAMES)
}

/// Reads the body of a new push notification config for the task of that id, in either spelling and
/// with or without the request around it; says which spelling it was, where that can be seen.
pub(in crate::rest) fn create(
    id: &str,
    body: Option<&RawValue>,
) -> Result<(Decoded, Option<Form>), Error> {
    let mut members = Members::read(body)?;
    let kind = ["taskId", "task_id", "url"];
    let proto = ["parent", "name", "configId", "config_id"];
    let has = |names: &[&str]| names.iter().any(|name| members.given(name).is_some());
    let mut told = if has(&kind) { Some(Form::Kind) } else { has(&proto).then_some(Form::Proto) };
    members.take(&["taskId", "task_id"], id)?;
    members.take(&["parent"], &format!("tasks/{id}"))?;
    let object = members.object()?;
    let given: CreateIn = read(Some(&object))?;

    let (at, names) = match given.config {
        Some(_) => ("config.", PROTO_CREATE_NAMES),
        None => ("", BARE_NAMES),
    };
    let (config, push) = match given.config {
        Some(mut config) => {
            let push = config.push_notification_config.take();
            (config, push)
        }
        None => bare(&object, members.given("url").is_some())?,
    };
    told = told.or(match (&config.task_id, &config.name) {
        (Some(_), _) => Some(Form::Kind),
        (None, Some(_)) => Some(Form::Proto),
        (None, None) => None,
    });
    if config.task_id.as_deref().is_some_and(|said| said != id) {
        return Err(Error::invalid(format!("{at}taskId"), "contradicts the path"));
    }
    // The last segment names a config that the server has yet to make; clients write anything there.
    let other = |name: &str| resource_task(name).is_none_or(|task| task != id);
    if config.name.as_deref().is_some_and(other) {
        return Err(Error::invalid(format!("{at}name"), "contradicts the path"));
    }
    let push =
        push.ok_or_else(|| Error::invalid(format!("{at}pushNotificationConfig"), "is required"))?;
    let mut push = push.config(Some(TaskId::from(id)));
    push.id = push.id.or(given.config_id);
    let call = Call::CreateTaskPushNotificationConfig(push);
    decoded(call, None, names).map(|decoded| (decoded, told))
}

/// A config without the request around it, or even without its task.
fn bare(object: &RawValue, has_url: bool) -> Result<(TaskConfigIn, Option<PushConfigIn>), Error> {
    if has_url {
        return Ok((TaskConfigIn::default(), Some(read(Some(object))?)));
    }
    let mut config: TaskConfigIn = read(Some(object))?;
    let push = config.push_notification_config.take();
    Ok((config, push))
}

/// The task in `tasks/{id}/..`.
fn resource_task(name: &str) -> Option<&str> {
    name.strip_prefix("tasks/")?.split('/').next()
}

fn decoded(call: Call, blocking: Option<bool>, names: &[(&str, &str)]) -> Result<Decoded, Error> {
    check(&call, names)?;
    Ok(Decoded { call, client_task_id: None, blocking })
}

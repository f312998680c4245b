//! The query of a GET: the parameters that an operation knows, as members of its request.

use super::body::Members;
use super::route::unescaped;
use crate::dialect::v0_3;
use crate::error::Error;
use crate::operation::Operation;
use crate::task::TaskState;
use std::borrow::Cow;

/// How the value of a parameter is read.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Number,
    Flag,
    State,
    Time,
}

type Parameters = &'static [(&'static str, Shape)];

const TENANT: Parameters = &[("tenant", Shape::Text)];
const TASK: Parameters = &[
    ("tenant", Shape::Text),
    ("historyLength", Shape::Number),
    ("currentGeneration", Shape::Number),
];
const TASKS: Parameters = &[
    ("tenant", Shape::Text),
    ("contextId", Shape::Text),
    ("status", Shape::State),
    ("pageSize", Shape::Number),
    ("pageToken", Shape::Text),
    ("historyLength", Shape::Number),
    ("statusTimestampAfter", Shape::Time),
    ("includeArtifacts", Shape::Flag),
];
const CONFIGS: Parameters =
    &[("tenant", Shape::Text), ("pageSize", Shape::Number), ("pageToken", Shape::Text)];

/// Adds what the query says to the members of a request; an empty value is an absent one.
///
/// # Errors
/// `InvalidParams` naming a parameter that is given twice or cannot be read.
pub(super) fn read(
    operation: Operation,
    query: Option<&str>,
    members: &mut Members<'_>,
) -> Result<(), Error> {
    let known = known(operation);
    let mut seen: Vec<&str> = Vec::new();
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = spaced(name) else { continue };
        let canonical = camel(&name);
        let Some((canonical, shape)) = known.iter().find(|(known, _)| *known == canonical) else {
            continue;
        };
        if seen.contains(canonical) {
            return Err(Error::invalid(name, "is given more than once"));
        }
        seen.push(canonical);
        let Some(value) = spaced(value) else {
            return Err(Error::invalid(name, "is not percent-encoded UTF-8"));
        };
        if value.is_empty() {
            continue;
        }
        match json(*shape, &value) {
            Ok(json) => members.add(canonical, json),
            Err(expected) => return Err(Error::invalid(name, format!("must be {expected}"))),
        }
    }
    Ok(())
}

fn known(operation: Operation) -> Parameters {
    match operation {
        Operation::GetTask => TASK,
        Operation::ListTasks => TASKS,
        Operation::ListTaskPushNotificationConfigs => CONFIGS,
        Operation::GetTaskPushNotificationConfig
        | Operation::DeleteTaskPushNotificationConfig
        | Operation::GetExtendedAgentCard
        | Operation::SubscribeToTask => TENANT,
        // Their requests are bodies.
        Operation::SendMessage
        | Operation::SendStreamingMessage
        | Operation::CancelTask
        | Operation::CreateTaskPushNotificationConfig => &[],
    }
}

/// The value as JSON, or what it should have been.
fn json(shape: Shape, value: &str) -> Result<serde_json::Value, &'static str> {
    match shape {
        Shape::Text => Ok(value.into()),
        Shape::Number => value.parse::<i32>().map(Into::into).map_err(|_| "a 32-bit integer"),
        Shape::Flag => match value {
            "true" | "1" => Ok(true.into()),
            "false" | "0" => Ok(false.into()),
            _ => Err("true or false"),
        },
        Shape::State => state(value)
            .map(|state| state.name().into())
            .ok_or("a task state (working, TASK_STATE_WORKING or its number)"),
        // A plus sign that was not escaped has become a space.
        Shape::Time if value.contains('T') => Ok(value.replace(' ', "+").into()),
        Shape::Time => Ok(value.into()),
    }
}

fn state(value: &str) -> Option<TaskState> {
    if let Ok(number) = value.parse::<usize>() {
        return TaskState::ALL.get(number).copied();
    }
    match value {
        // In one state `a2a.v1` differs from v1.0 in one letter.
        "TASK_STATE_CANCELLED" => Some(TaskState::Canceled),
        name => TaskState::from_name(name).or_else(|| v0_3::state_named(name)),
    }
}

/// A parameter without its escapes, in which a plus sign is a space.
fn spaced(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return unescaped(text);
    }
    let text = text.replace('+', " ");
    unescaped(&text).map(|text| Cow::Owned(text.into_owned()))
}

/// `page_size` as `pageSize`.
pub(crate) fn camel(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    for (place, word) in name.split('_').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if place > 0 => out.push(first.to_ascii_uppercase()),
            Some(first) => out.push(first),
            None => {}
        }
        out.push_str(letters.as_str());
    }
    Cow::Owned(out)
}

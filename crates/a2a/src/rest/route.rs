//! A method and a path: which operation they mean, and of what.

use crate::dialect::Dialect;
use crate::operation::Operation;
use std::borrow::Cow;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The operation.
    pub operation: Operation,
    /// v1.0 at the root, v0.3 below `/v1`.
    pub dialect: Dialect,
    /// The segment in front of a v1.0 path.
    pub tenant: Option<String>,
    /// The task.
    pub id: Option<String>,
    /// The push notification config of the task.
    pub config_id: Option<String>,
}

/// Why a method and a path lead nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// There is no such path.
    NotFound,
    /// The path exists, with these methods.
    Method(Vec<&'static str>),
}

/// First segments of a path that are never a tenant, so no agent can have such a name: the server has
/// addresses of its own there.
pub const RESERVED: [&str; 14] = [
    "v1",
    "a2a",
    "agents",
    "ui",
    "api",
    "tasks",
    "health",
    "ready",
    "metrics",
    "message",
    "card",
    "extendedAgentCard",
    ".well-known",
    "openapi.json",
];

/// What a path names, and what each method does there.
struct Endpoint {
    methods: &'static [(&'static str, Operation)],
    id: Option<String>,
    config_id: Option<String>,
}

const SEND: &[(&str, Operation)] = &[("POST", Operation::SendMessage)];
const STREAM: &[(&str, Operation)] = &[("POST", Operation::SendStreamingMessage)];
const TASKS: &[(&str, Operation)] = &[("GET", Operation::ListTasks)];
const TASK: &[(&str, Operation)] = &[("GET", Operation::GetTask)];
const CANCEL: &[(&str, Operation)] = &[("POST", Operation::CancelTask)];
// The text of the specification says POST, its protobuf annotation GET.
const SUBSCRIBE: &[(&str, Operation)] =
    &[("GET", Operation::SubscribeToTask), ("POST", Operation::SubscribeToTask)];
const CONFIGS: &[(&str, Operation)] = &[
    ("GET", Operation::ListTaskPushNotificationConfigs),
    ("POST", Operation::CreateTaskPushNotificationConfig),
];
const CONFIG: &[(&str, Operation)] = &[
    ("GET", Operation::GetTaskPushNotificationConfig),
    ("DELETE", Operation::DeleteTaskPushNotificationConfig),
];
const CARD: &[(&str, Operation)] = &[("GET", Operation::GetExtendedAgentCard)];

/// Where a request goes; `path` is raw, without the query.
///
/// Each segment is decoded once, so `%2F` never splits and `%3A` is as good as the colon of a verb.
/// One slash at the end is tolerated.
///
/// # Errors
/// [`NoRoute`] when no operation is reached by this path, or none by this method.
pub fn route(method: &str, path: &str) -> Result<Route, NoRoute> {
    let segments = segments(path).ok_or(NoRoute::NotFound)?;
    let names: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let (dialect, tenant, place) = locate(&names).ok_or(NoRoute::NotFound)?;
    let operation = place.methods.iter().find(|(name, _)| *name == method);
    let Some((_, operation)) = operation else {
        let methods = place.methods.iter().map(|(name, _)| *name);
        return Err(NoRoute::Method(methods.collect()));
    };
    Ok(Route {
        operation: *operation,
        dialect,
        tenant: tenant.map(str::to_owned),
        id: place.id,
        config_id: place.config_id,
    })
}

fn locate<'a>(names: &[&'a str]) -> Option<(Dialect, Option<&'a str>, Endpoint)> {
    // Where v0.2 has it.
    if let ["agent", "authenticatedExtendedCard"] = names {
        return Some((Dialect::V0_3, None, place(&["card"], "card")?));
    }
    if let ["v1", rest @ ..] = names {
        return Some((Dialect::V0_3, None, place(rest, "card")?));
    }
    if let Some(place) = place(names, "extendedAgentCard") {
        return Some((Dialect::V1_0, None, place));
    }
    let (tenant, rest) = names.split_first()?;
    let reserved = RESERVED.contains(tenant) || tenant.starts_with("message:");
    let place = place(rest, "extendedAgentCard").filter(|_| !reserved)?;
    Some((Dialect::V1_0, Some(tenant), place))
}

fn place(names: &[&str], card: &str) -> Option<Endpoint> {
    let at = |methods, id: Option<&str>, config: Option<&str>| Endpoint {
        methods,
        id: id.map(str::to_owned),
        config_id: config.map(str::to_owned),
    };
    Some(match names {
        ["message:send"] => at(SEND, None, None),
        ["message:stream"] => at(STREAM, None, None),
        ["tasks"] => at(TASKS, None, None),
        ["tasks", name] => match name.rsplit_once(':') {
            Some(("", "cancel" | "subscribe")) => return None,
            Some((id, "cancel")) => at(CANCEL, Some(id), None),
            Some((id, "subscribe")) => at(SUBSCRIBE, Some(id), None),
            _ => at(TASK, Some(name), None),
        },
        ["tasks", id, "pushNotificationConfigs"] => at(CONFIGS, Some(id), None),
        ["tasks", id, "pushNotificationConfigs", config] => at(CONFIG, Some(id), Some(config)),
        [name] if *name == card => at(CARD, None, None),
        _ => return None,
    })
}

/// The segments of a path, decoded; none when one of them is empty or not UTF-8.
fn segments(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let each = |segment| unescaped(segment).filter(|name| !name.is_empty());
    path.split('/').map(each).collect()
}

/// Text without its percent escapes; none when one is broken or the result is not UTF-8.
pub fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

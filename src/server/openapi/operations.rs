//! The operations of A2A in both versions, by their table.

use super::{BINDING, content, refer};
use crate::config::Config;
use pilothouse_a2a::operation::{Names, OPERATIONS, Operation};
use serde_json::{Map, Value, json};

/// What the binding may refuse with.
const REFUSALS: [u16; 10] = [400, 401, 403, 404, 408, 413, 415, 429, 500, 503];

/// What the table of operations does not say.
struct Described {
    summary: &'static str,
    parameters: &'static [&'static str],
    /// The schema of the body, and whether there must be one.
    body: Option<(&'static str, bool)>,
    answer: &'static str,
}

/// The paths of every operation.
pub(super) fn paths(config: &Config) -> Map<String, Value> {
    let mut paths = Paths { config, paths: Map::new() };
    for names in &OPERATIONS {
        paths.v1_0(names, names.verb, names.method);
        if names.operation == Operation::SubscribeToTask {
            paths.v1_0(names, "GET", "SubscribeToTaskByGet");
        }
    }
    for names in &OPERATIONS {
        paths.v0_3(names, names.verb, "");
        if names.operation == Operation::SubscribeToTask {
            paths.v0_3(names, "GET", "ByGet");
        }
    }
    paths.paths
}

struct Paths<'a> {
    config: &'a Config,
    paths: Map<String, Value>,
}

impl Paths<'_> {
    fn add(&mut self, path: &str, verb: &str, operation: Value) {
        let place = self.paths.entry(path).or_insert_with(|| Value::Object(Map::new()));
        place[verb.to_ascii_lowercase()] = operation;
    }

    fn v1_0(&mut self, names: &Names, verb: &str, id: &str) {
        let Described { summary, parameters, body, answer } = describe(names.operation);
        let body = body.filter(|_| verb != "GET");
        let sends = names.operation == Operation::SendMessage
            || names.operation == Operation::SendStreamingMessage;
        let fits = |status: &u16| match status {
            404 => {
                !matches!(names.operation, Operation::ListTasks | Operation::GetExtendedAgentCard)
            }
            408 | 413 | 415 => body.is_some(),
            // Wrong tokens are counted too.
            429 => sends || self.config.auth.required,
            _ => true,
        };
        let answer = if names.operation.streams() {
            json!({"text/event-stream": {"schema": refer("schemas", "EventStream")}})
        } else {
            content(BINDING, &refer("schemas", answer))
        };
        let mut responses = json!({"200": {"description": summary, "content": answer}});
        for status in REFUSALS.into_iter().filter(fits) {
            responses[status.to_string()] = refer("responses", &format!("Error{status}"));
        }
        let parameters = path_parameters(names.route)
            .chain(parameters.iter().copied())
            .chain(["Version", "Extensions"])
            .map(|name| refer("parameters", name));
        let mut operation = json!({
            "operationId": id,
            "tags": ["A2A"],
            "summary": summary,
            "parameters": parameters.collect::<Vec<_>>(),
            "responses": responses,
        });
        if let Some(description) = self.configured(names.operation) {
            operation["description"] = description.into();
        }
        if let Some((schema, required)) = body {
            let content = content(BINDING, &refer("schemas", schema));
            operation["requestBody"] = json!({"required": required, "content": content});
        }
        self.add(names.route, verb, operation);
    }

    /// What depends on the configuration.
    fn configured(&self, operation: Operation) -> Option<String> {
        let (limits, push) = (&self.config.limits, &self.config.push);
        Some(match operation {
            Operation::SendMessage | Operation::SendStreamingMessage => {
                let rate = match limits.rate {
                    0 => String::new(),
                    rate => format!(" At most {rate} messages a minute and caller."),
                };
                format!(
                    "A repeated `messageId` with the same content is the same task while that is submitted or working.{rate}"
                )
            }
            Operation::CreateTaskPushNotificationConfig
            | Operation::GetTaskPushNotificationConfig
            | Operation::ListTaskPushNotificationConfigs
            | Operation::DeleteTaskPushNotificationConfig
                if !push.enabled =>
            {
                "Turned off here (`push.enabled`): refused with `PUSH_NOTIFICATION_NOT_SUPPORTED`."
                    .to_owned()
            }
            Operation::CreateTaskPushNotificationConfig => {
                format!("At most {} configs a task.", push.per_task)
            }
            _ => return None,
        })
    }

    fn v0_3(&mut self, names: &Names, verb: &str, suffix: &str) {
        let path = match names.operation {
            Operation::GetExtendedAgentCard => "/v1/card".to_owned(),
            _ => format!("/v1{}", names.route),
        };
        let answer = if names.operation.streams() {
            json!({"text/event-stream": {"schema": {"type": "string"}}})
        } else {
            content(BINDING, &json!({"description": "In the spelling of v0.3."}))
        };
        let parameters = path_parameters(names.route).map(|name| refer("parameters", name));
        let refused = refer("responses", "LegacyError");
        let mut operation = json!({
            "operationId": format!("{}{suffix}V03", names.method),
            "tags": ["A2A v0.3"],
            "deprecated": true,
            "summary": format!("{} for clients of v0.3", names.method),
            "description": "Protobuf JSON (`content`, `ROLE_USER`) and the JSON types (`kind`, `parts`) are both read; the \
                answer is in the one that the request shows, else in protobuf JSON.",
            "parameters": parameters.collect::<Vec<_>>(),
            "responses": {
                "200": {"description": "The answer.", "content": answer},
                "4XX": refused,
                "5XX": refused,
            },
        });
        if verb == "POST" {
            let required = describe(names.operation).body.is_some_and(|(_, required)| required);
            operation["requestBody"] = json!({"required": required, "content": content(BINDING, &json!({"type": "object"}))});
        }
        self.add(&path, verb, operation);
    }
}

/// The parameters that stand in a path.
fn path_parameters(route: &str) -> impl Iterator<Item = &'static str> {
    [("{id}", "TaskId"), ("{configId}", "ConfigId")]
        .into_iter()
        .filter(move |(place, _)| route.contains(place))
        .map(|(_, name)| name)
}

fn describe(operation: Operation) -> Described {
    let (summary, parameters, body, answer): (_, &'static [_], _, _) = match operation {
        Operation::SendMessage => (
            "Say something and wait for the answer",
            &["IdempotencyKey"],
            Some(("SendMessageRequest", true)),
            "SendMessageResponse",
        ),
        Operation::SendStreamingMessage => (
            "Say something and watch what happens",
            &["IdempotencyKey"],
            Some(("SendMessageRequest", true)),
            "StreamResponse",
        ),
        Operation::GetTask => ("A task as it stands", &["Tenant", "HistoryLength"], None, "Task"),
        Operation::ListTasks => (
            "A page of the caller's tasks, latest status first",
            &[
                "Tenant",
                "ContextId",
                "Status",
                "PageSize",
                "PageToken",
                "HistoryLength",
                "StatusTimestampAfter",
                "IncludeArtifacts",
            ],
            None,
            "ListTasksResponse",
        ),
        Operation::CancelTask => {
            ("End a task before its end", &[], Some(("CancelTaskRequest", false)), "Task")
        }
        Operation::SubscribeToTask => (
            "Watch a task that runs already",
            &["Tenant", "LastEventId"],
            Some(("SubscribeToTaskRequest", false)),
            "StreamResponse",
        ),
        Operation::CreateTaskPushNotificationConfig => (
            "Have a task's events posted somewhere",
            &[],
            Some(("TaskPushNotificationConfigInput", true)),
            "TaskPushNotificationConfig",
        ),
        Operation::GetTaskPushNotificationConfig => {
            ("One webhook of a task", &["Tenant"], None, "TaskPushNotificationConfig")
        }
        Operation::ListTaskPushNotificationConfigs => (
            "The webhooks of a task",
            &["Tenant", "ConfigPageSize", "PageToken"],
            None,
            "ListTaskPushNotificationConfigsResponse",
        ),
        Operation::DeleteTaskPushNotificationConfig => {
            ("Remove a webhook", &["Tenant"], None, "Empty")
        }
        Operation::GetExtendedAgentCard => {
            ("The card that known callers see", &["Tenant"], None, "AgentCard")
        }
    };
    Described { summary, parameters, body, answer }
}

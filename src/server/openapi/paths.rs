//! What is served where: the operations of both versions by their table, and our own doors.

use super::schema::of;
use super::{BINDING, JSON, content};
use crate::config::Config;
use pilothouse_a2a::operation::{Names, OPERATIONS, Operation};
use serde_json::{Map, Value, json};

/// What the binding may refuse with.
pub(super) const BINDING_ERRORS: &[u16] = &[400, 401, 403, 404, 408, 413, 415, 429, 500, 503];
/// What our own doors may refuse with.
pub(super) const OWN_ERRORS: &[u16] = &[400, 401, 403, 404, 429, 500];
/// What JSON-RPC answers with a status of its own.
pub(super) const RPC_ERRORS: &[u16] = &[401, 403, 408, 413, 429, 503];

/// The status of callers that are not known, which need a server that asks.
const UNKNOWN: u16 = 401;

/// What the table of operations does not say.
struct Told {
    summary: &'static str,
    parameters: &'static [&'static str],
    /// The schema of the body, and whether there must be one.
    body: Option<(&'static str, bool)>,
    answer: &'static str,
}

/// Every path.
pub(super) fn all(config: &Config) -> Value {
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
    paths.json_rpc();
    paths.cards();
    paths.server();
    Value::Object(paths.paths)
}

/// Those of these statuses that can be answered.
pub(super) fn known(statuses: &[u16], config: &Config) -> impl Iterator<Item = u16> {
    let asks = config.auth.required;
    let statuses = statuses.iter().copied();
    statuses.filter(move |status| asks || *status != UNKNOWN)
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
        let told = told(names.operation);
        let body = told.body.filter(|_| verb != "GET");
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
        let statuses = known(BINDING_ERRORS, self.config).filter(fits);
        let mut responses = refusals("Error", statuses);
        let answer = if names.operation.streams() {
            json!({"text/event-stream": {"schema": of("EventStream")}})
        } else {
            content(BINDING, &of(told.answer))
        };
        responses
            .insert(0, ("200".to_owned(), json!({"description": told.summary, "content": answer})));
        let own: Vec<&str> = told.parameters.to_vec();
        let parameters = path_parameters(names.route)
            .chain(own)
            .chain(["Version", "Extensions"])
            .map(|name| json!({"$ref": format!("#/components/parameters/{name}")}));
        let mut operation = json!({
            "operationId": id,
            "tags": ["A2A"],
            "summary": told.summary,
            "parameters": parameters.collect::<Vec<_>>(),
            "responses": responses.into_iter().collect::<Map<_, _>>(),
        });
        if let Some(description) = self.described(names.operation) {
            operation["description"] = description.into();
        }
        if let Some((schema, required)) = body {
            operation["requestBody"] =
                json!({"required": required, "content": content(BINDING, &of(schema))});
        }
        self.add(names.route, verb, operation);
    }

    /// What depends on the configuration.
    fn described(&self, operation: Operation) -> Option<String> {
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
        let parameters = path_parameters(names.route)
            .map(|name| json!({"$ref": format!("#/components/parameters/{name}")}));
        let refused = json!({"$ref": "#/components/responses/LegacyError"});
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
            let required = told(names.operation).body.is_some_and(|(_, required)| required);
            operation["requestBody"] = json!({"required": required, "content": content(BINDING, &json!({"type": "object"}))});
        }
        self.add(&path, verb, operation);
    }

    fn json_rpc(&mut self) {
        let mut responses = refusals("JsonRpcError", known(RPC_ERRORS, self.config));
        let answer = json!({"description": "The answer or an error; a stream of answers for operations that stream.", "content": {
            "application/json": {"schema": of("JsonRpcResponse")},
            "text/event-stream": {"schema": {
                "type": "string",
                "contentMediaType": "text/event-stream",
                "description": "Server-sent events; each `data` is a JsonRpcResponse around a StreamResponse.",
            }},
        }});
        responses.insert(0, ("200".to_owned(), answer));
        let operation = json!({
            "operationId": "CallJsonRpc",
            "tags": ["JSON-RPC"],
            "summary": "Call an operation by JSON-RPC",
            "description": "The same at `/a2a`. Errors of an operation come with the status 200.",
            "parameters": references(&["Version", "Extensions", "IdempotencyKey", "LastEventId"]),
            "requestBody": {"required": true, "content": content(JSON, &of("JsonRpcRequest"))},
            "responses": responses.into_iter().collect::<Map<_, _>>(),
        });
        self.add("/", "POST", operation);
    }

    fn cards(&mut self) {
        let either = json!({"anyOf": [of("AgentCard"), of("LegacyAgentCard")]});
        for (path, id, summary, schema) in [
            ("/.well-known/agent-card.json", "GetAgentCard", "What the agent is", either),
            (
                "/.well-known/agent.json",
                "GetLegacyAgentCard",
                "The same, where the oldest clients look",
                of("LegacyAgentCard"),
            ),
            (
                "/.well-known/jwks.json",
                "GetSigningKeys",
                "The keys that cards are signed with, where they are signed",
                of("JsonWebKeySet"),
            ),
        ] {
            let mut operation = own(id, "Cards", summary);
            let parameters: &[&str] = match id {
                "GetAgentCard" => &["CardVersion"],
                _ => &[],
            };
            operation["parameters"] = references(parameters);
            let answer = json!({"description": summary, "content": content(JSON, &schema)});
            let mut responses = vec![
                ("200".to_owned(), answer),
                ("304".to_owned(), json!({"description": "The client has it (`If-None-Match`)."})),
            ];
            responses.extend(refusals("OwnError", [403, 404]));
            operation["responses"] = responses.into_iter().collect::<Map<_, _>>().into();
            operation["security"] = json!([]);
            self.add(path, "GET", operation);
        }
    }

    fn server(&mut self) {
        let json = |description: &str, schema: &str| json!({"description": description, "content": content(JSON, &of(schema))});
        let mut health = own("GetHealth", "Server", "Whether the process answers");
        health["security"] = json!([]);
        let mut responses = vec![("200".to_owned(), json("It does.", "Health"))];
        responses.extend(refusals("OwnError", [403]));
        health["responses"] = responses.into_iter().collect::<Map<_, _>>().into();
        self.add("/health", "GET", health);

        let mut ready = own("GetReadiness", "Server", "Whether the server can take messages");
        ready["security"] = json!([]);
        let mut responses = vec![
            ("200".to_owned(), json("It can.", "Readiness")),
            ("503".to_owned(), json("It cannot.", "Readiness")),
        ];
        responses.extend(refusals("OwnError", [401, 403, 429]));
        ready["responses"] = responses.into_iter().collect::<Map<_, _>>().into();
        self.add("/ready", "GET", ready);

        let text = json!({"description": "The whole text, whatever its length.", "content": {"text/plain": {"schema": {"type": "string"}}}});
        for (path, id, summary, parameters, answer) in [
            (
                "/api/v1/sessions",
                "ListSessions",
                "The caller's sessions, last used first",
                &[][..],
                json("At most 500.", "Sessions"),
            ),
            (
                "/api/v1/asks",
                "ListAsks",
                "What agents ask the caller, oldest first",
                &["PageSize", "PageToken"],
                json("A page of open asks.", "Asks"),
            ),
            (
                "/api/v1/sessions/{id}",
                "GetSession",
                "One of the caller's sessions",
                &["SessionId"],
                json("The session.", "Session"),
            ),
            (
                "/api/v1/tasks/{id}/answer",
                "GetTaskAnswer",
                "The whole answer of a task",
                &["TaskId"],
                text,
            ),
        ] {
            let mut operation = own(id, "Server", summary);
            operation["parameters"] = references(parameters);
            let fits = |status: &u16| match status {
                400 => parameters.contains(&"PageToken"),
                404 => path.contains('{'),
                429 => self.config.auth.required,
                _ => true,
            };
            let mut responses = vec![("200".to_owned(), answer)];
            let statuses = known(OWN_ERRORS, self.config).filter(fits);
            responses.extend(refusals("OwnError", statuses));
            operation["responses"] = responses.into_iter().collect::<Map<_, _>>().into();
            self.add(path, "GET", operation);
        }
    }
}

fn own(id: &str, tag: &str, summary: &str) -> Value {
    json!({"operationId": id, "tags": [tag], "summary": summary})
}

fn references(parameters: &[&str]) -> Value {
    let each = |name: &&str| json!({"$ref": format!("#/components/parameters/{name}")});
    parameters.iter().map(each).collect()
}

fn refusals(prefix: &str, statuses: impl IntoIterator<Item = u16>) -> Vec<(String, Value)> {
    let each = |status: u16| {
        let response = json!({"$ref": format!("#/components/responses/{prefix}{status}")});
        (status.to_string(), response)
    };
    statuses.into_iter().map(each).collect()
}

/// The parameters that stand in a path.
fn path_parameters(route: &str) -> impl Iterator<Item = &'static str> {
    [("{id}", "TaskId"), ("{configId}", "ConfigId")]
        .into_iter()
        .filter(move |(place, _)| route.contains(place))
        .map(|(_, name)| name)
}

fn told(operation: Operation) -> Told {
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
    Told { summary, parameters, body, answer }
}

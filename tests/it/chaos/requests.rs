//! Any operation over any binding as bytes, and the tasks that an answer names.

use super::Ledger;
use super::dice::Dice;
use super::hang_up::{Manner, hang_up};
use crate::bindings::rest_of;
use crate::h2c::framed;
use crate::world::{BOB, OWNER};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::operation::{OPERATIONS, Operation};
use pilothouse_a2a::pb;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::cell::Cell;
use std::net::SocketAddr;

/// What the agent that plays scripts is told to do.
const SCRIPTS: [&str; 20] = [
    "say x",
    "say x; artifact n c; status y",
    "repeat 20 1 line {i}",
    "flood 200000 4096; say end",
    "flood 3000000 65536",
    "bigline 300000",
    "hang",
    "ignore TERM; hang",
    "fork; say x",
    "fork hold; say x",
    "crash",
    "exit 3",
    "signal 9",
    "invalid; nul; say x",
    "line {\"type\":\"text\"}; line {\"type\":7}; line [",
    "write deep/er/file content; read deep/er/file",
    "ask which? | red | green",
    "ask which? | red | green",
    "ask what?",
    "state auth-required sign in",
];

/// What the shell is told to do; the first kills the process above it.
const COMMANDS: [&str; 7] = [
    "kill -9 $PPID; sleep 3600",
    "i=0; while [ $i -lt 100 ]; do mkdir -p d$i/a/b; echo x >d$i/f; i=$((i+1)); done; echo filled",
    "mkdir -p locked/in; chmod 000 locked; echo locked",
    "for i in 1 2 3 4 5; do (setsid sleep 3600 &); done; echo forked",
    "for i in 1 2 3; do (trap '' TERM; sleep 3600) & done; wait",
    "exec >&- 2>&-; sleep 3600",
    "head -c 300000 /dev/zero; exit 5",
];

/// The path of the shell.
const SHELL: &str = "/agents/shell";

/// How an answer is to be read.
#[derive(Debug, Clone, Copy)]
enum Wire {
    Http,
    Grpc(Dialect, Operation),
    /// Its tasks are nobody's business: they may be erased.
    Unread,
}

/// One request.
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    /// Whether it sends a message.
    pub(super) sends: bool,
    wire: Wire,
}

/// The requests of one caller.
pub(super) struct Requests {
    name: String,
    count: Cell<u64>,
    commands: &'static [&'static str],
}

impl Requests {
    /// The caller's name stands in the ids that it makes.
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), count: Cell::new(0), commands: &COMMANDS }
    }

    /// No agent kills the process above it.
    pub(super) fn sparing_parents(mut self) -> Self {
        self.commands = &COMMANDS[1..];
        self
    }

    /// An agent's path, and what it is told.
    fn prompt(&self, dice: &mut Dice) -> (&'static str, &'static str) {
        if dice.one_in(5) { (SHELL, *dice.pick(self.commands)) } else { ("", *dice.pick(&SCRIPTS)) }
    }

    /// Any request.
    pub(super) fn next(&self, address: SocketAddr, ledger: &Ledger, dice: &mut Dice) -> Request {
        match dice.below(15) {
            0 => return plain(dice),
            1 => return answer_at_its_address(address, dice),
            2 | 3 => return self.beside(ledger, dice),
            4 => return self.of_another_caller(dice),
            _ => {}
        }
        // Sends are what everything else is about.
        let operation = match dice.below(3) {
            0 => *dice.pick(&[Operation::SendMessage, Operation::SendStreamingMessage]),
            _ => dice.pick(&OPERATIONS).operation,
        };
        let id = {
            let recent = ledger.recent.lock();
            if recent.is_empty() || dice.one_in(20) {
                "nowhere".to_owned()
            } else {
                dice.pick(&recent).clone()
            }
        };
        let request = match dice.below(6) {
            0 => self.v0_3(operation, &id, ledger, dice),
            1 => self.v0_1(operation, &id, dice),
            2 => self.rest(operation, &id, ledger, dice),
            3 => self.grpc(operation, &id, ledger, dice),
            _ => self.json_rpc(operation, &id, ledger, dice),
        };
        Request { sends: is_send(operation), ..request }
    }

    /// A request below `/api/v1`: of sessions and their files, of results, tokens, grants, links, usage and the server itself. A
    /// server that is drained does nothing more, so that is left out.
    fn beside(&self, ledger: &Ledger, dice: &mut Dice) -> Request {
        let session = format!("/api/v1/sessions/line-{}-{}", self.name, dice.below(2));
        let task = ledger.recent.lock().last().cloned().unwrap_or_default();
        let get = |path: String| http("GET", &path, "");
        match dice.below(17) {
            0 => get(session),
            1 => get(format!("{session}/files")),
            2 => get(format!("{session}/files/deep/er/file")),
            3 => get(format!("{session}/archive")),
            4 => get(format!("{session}/diff")),
            5 => http("POST", &format!("{session}/bundle"), ""),
            6 => http("POST", &format!("{session}/remove"), ""),
            7 => get(format!("/api/v1/tasks/{task}/answer")),
            8 => get(format!("/api/v1/tasks/{task}/results/turn.patch")),
            9 => get("/api/v1/grants".to_owned()),
            10 => http("DELETE", "/api/v1/grants/nothing", ""),
            11 => get("/api/v1/tokens".to_owned()),
            12 => http("POST", "/api/v1/tokens", r#"{"caller": "ann", "scopes": ["read"]}"#),
            13 => get("/api/v1/usage?caller=*".to_owned()),
            14 => get("/metrics".to_owned()),
            15 => http("POST", "/api/v1/links", r#"{"token": "x"}"#),
            _ => http("POST", "/api/v1/reload", ""),
        }
    }

    /// A task of another caller, or the erasure of all that is kept of that caller.
    fn of_another_caller(&self, dice: &mut Dice) -> Request {
        let request = if dice.one_in(4) {
            http("POST", "/api/v1/erase", r#"{"caller": "bob"}"#)
        } else {
            let (agent, text) = self.prompt(dice);
            let message = json!({
                "messageId": format!("m-{}", self.number()), "role": "ROLE_USER", "parts": [{"text": text}],
            });
            let params = json!({"message": message});
            let body =
                json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params});
            http_as(BOB, "POST", &format!("{agent}/"), &body.to_string())
        };
        Request { wire: Wire::Unread, ..request }
    }

    fn number(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("{}-{}", self.name, self.count.get())
    }

    // === the bindings ===

    fn json_rpc(&self, of: Operation, id: &str, ledger: &Ledger, dice: &mut Dice) -> Request {
        let (agent, params) = self.params(of, id, ledger, dice);
        envelope(agent, of.method(), &params)
    }

    fn rest(&self, of: Operation, id: &str, ledger: &Ledger, dice: &mut Dice) -> Request {
        let (agent, params) = self.params(of, id, ledger, dice);
        let (verb, path, body) = rest_of(of, &params);
        http(verb, &format!("{agent}{path}"), &body)
    }

    fn grpc(&self, of: Operation, id: &str, ledger: &Ledger, dice: &mut Dice) -> Request {
        let (agent, params) = self.params(of, id, ledger, dice);
        let raw = to_raw_value(&params).unwrap();
        let decoded = Dialect::V1_0.decode(of, Some(&raw)).unwrap();
        let old = match of {
            Operation::SendMessage => Some("SendMessage"),
            Operation::SendStreamingMessage => Some("SendStreamingMessage"),
            Operation::GetTask => Some("GetTask"),
            Operation::CancelTask => Some("CancelTask"),
            Operation::SubscribeToTask => Some("TaskSubscription"),
            _ => None,
        };
        let (dialect, path) = match old.filter(|_| dice.one_in(2)) {
            Some(name) => (Dialect::V0_3, format!("/a2a.v1.A2AService/{name}")),
            None => (Dialect::V1_0, of.names().grpc.to_owned()),
        };
        let message = pb::encode_call(dialect, &decoded.call);
        let bytes = http_2(&format!("{agent}{path}"), &framed(&message));
        Request { bytes, sends: false, wire: Wire::Grpc(dialect, of) }
    }

    /// Params of v1.0, and the path of the agent they are for.
    fn params(
        &self,
        operation: Operation,
        id: &str,
        ledger: &Ledger,
        dice: &mut Dice,
    ) -> (&'static str, Value) {
        let config = dice.pick(&["one", "two"]);
        let params = match operation {
            Operation::SendMessage | Operation::SendStreamingMessage => {
                let number = self.number();
                let (agent, text) = self.prompt(dice);
                let mut params = json!({"message": {
                    "messageId": format!("m-{number}"), "role": "ROLE_USER", "parts": [{"text": text}],
                }});
                if dice.one_in(5) && id != "nowhere" {
                    ledger.continued.lock().insert(id.to_owned());
                    params["message"]["taskId"] = json!(id);
                    return ("", params);
                }
                params["message"]["contextId"] = json!(self.context(dice));
                if operation == Operation::SendMessage && dice.one_in(2) {
                    params["configuration"]["returnImmediately"] = json!(true);
                }
                return (agent, params);
            }
            Operation::ListTasks => json!({"pageSize": 1 + dice.below(100)}),
            Operation::GetTask | Operation::CancelTask | Operation::SubscribeToTask => {
                json!({"id": id})
            }
            Operation::CreateTaskPushNotificationConfig => {
                json!({"taskId": id, "id": config, "url": "http://127.0.0.1:1/"})
            }
            Operation::GetTaskPushNotificationConfig
            | Operation::DeleteTaskPushNotificationConfig => json!({"taskId": id, "id": config}),
            Operation::ListTaskPushNotificationConfigs => json!({"taskId": id}),
            Operation::GetExtendedAgentCard => json!({}),
        };
        (if dice.one_in(5) { SHELL } else { "" }, params)
    }

    fn v0_3(&self, of: Operation, id: &str, ledger: &Ledger, dice: &mut Dice) -> Request {
        let config = dice.pick(&["one", "two"]);
        let (method, params) = match of {
            Operation::SendMessage | Operation::SendStreamingMessage => {
                let number = self.number();
                let (agent, text) = self.prompt(dice);
                let mut message = json!({
                    "kind": "message", "messageId": format!("m-{number}"), "role": "user",
                    "parts": [{"kind": "text", "text": text}],
                });
                let continues = dice.one_in(5) && id != "nowhere";
                if continues {
                    ledger.continued.lock().insert(id.to_owned());
                    message["taskId"] = json!(id);
                } else {
                    message["contextId"] = json!(self.context(dice));
                }
                let method =
                    if of == Operation::SendMessage { "message/send" } else { "message/stream" };
                let blocking = json!({"blocking": dice.one_in(2)});
                let params = json!({"message": message, "configuration": blocking});
                return envelope(if continues { "" } else { agent }, method, &params);
            }
            Operation::GetTask | Operation::ListTasks | Operation::GetExtendedAgentCard => {
                ("tasks/get", json!({"id": id}))
            }
            Operation::CancelTask => ("tasks/cancel", json!({"id": id})),
            Operation::SubscribeToTask => ("tasks/resubscribe", json!({"id": id})),
            Operation::CreateTaskPushNotificationConfig => {
                let config = json!({"id": config, "url": "http://127.0.0.1:1/"});
                let params = json!({"taskId": id, "pushNotificationConfig": config});
                ("tasks/pushNotificationConfig/set", params)
            }
            Operation::GetTaskPushNotificationConfig => {
                ("tasks/pushNotificationConfig/get", json!({"id": id}))
            }
            Operation::ListTaskPushNotificationConfigs => {
                ("tasks/pushNotificationConfig/list", json!({"id": id}))
            }
            Operation::DeleteTaskPushNotificationConfig => {
                let params = json!({"id": id, "pushNotificationConfigId": config});
                ("tasks/pushNotificationConfig/delete", params)
            }
        };
        envelope("", method, &params)
    }

    fn v0_1(&self, of: Operation, id: &str, dice: &mut Dice) -> Request {
        let (method, params) = match of {
            Operation::SendMessage | Operation::SendStreamingMessage => {
                let (agent, text) = self.prompt(dice);
                let method =
                    if of == Operation::SendMessage { "tasks/send" } else { "tasks/sendSubscribe" };
                let params = json!({
                    "id": format!("t-{}", self.number()), "sessionId": self.context(dice),
                    "message": {"role": "user", "parts": [{"type": "text", "text": text}]},
                });
                return envelope(agent, method, &params);
            }
            Operation::CancelTask => ("tasks/cancel", json!({"id": id})),
            Operation::SubscribeToTask => ("tasks/resubscribe", json!({"id": id})),
            Operation::CreateTaskPushNotificationConfig => {
                let config = json!({"url": "http://127.0.0.1:1/"});
                let params = json!({"id": id, "pushNotificationConfig": config});
                ("tasks/pushNotification/set", params)
            }
            Operation::GetTaskPushNotificationConfig => {
                ("tasks/pushNotification/get", json!({"id": id}))
            }
            _ => ("tasks/get", json!({"id": id})),
        };
        envelope("", method, &params)
    }

    /// A context of its own mostly, now and then one that several tasks share.
    fn context(&self, dice: &mut Dice) -> String {
        if dice.one_in(4) {
            format!("line-{}-{}", self.name, dice.below(2))
        } else {
            format!("c-{}", self.number())
        }
    }
}

fn is_send(operation: Operation) -> bool {
    matches!(operation, Operation::SendMessage | Operation::SendStreamingMessage)
}

/// A request that is no operation of the protocol.
fn plain(dice: &mut Dice) -> Request {
    let path = dice.pick(&[
        "/.well-known/agent-card.json",
        "/openapi.json",
        "/health",
        "/ready",
        "/api/v1/sessions",
        "/api/v1/asks",
        "/agents/shell/.well-known/agent-card.json",
    ]);
    http("GET", path, "")
}

/// An answer to an open ask, where one is open.
fn answer_at_its_address(address: SocketAddr, dice: &mut Dice) -> Request {
    let list = http("GET", "/api/v1/asks", "");
    let came = hang_up(address, &list, &Manner::of_a_friend());
    let asks = body_of(&came).map_or(Value::Null, |mut body| body["asks"].take());
    let asks = asks.as_array().filter(|asks| !asks.is_empty());
    let id = asks.and_then(|asks| dice.pick(asks)["askId"].as_str()).unwrap_or("nowhere");
    let ask = format!("/api/v1/asks/{id}");
    match dice.below(6) {
        0 => http("GET", &ask, ""),
        1 => http("POST", &ask, r#"{"decision": "claim"}"#),
        2 => http("POST", &ask, r#"{"decision": "defer"}"#),
        _ => http("POST", &ask, r#"{"answer": "say green"}"#),
    }
}

fn envelope(agent: &str, method: &str, params: &Value) -> Request {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    http("POST", &format!("{agent}/"), &body.to_string())
}

fn http(verb: &str, path: &str, body: &str) -> Request {
    http_as(OWNER, verb, path, body)
}

fn http_as(token: &str, verb: &str, path: &str, body: &str) -> Request {
    let length = body.len();
    let bytes = format!(
        "{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    Request { bytes: bytes.into_bytes(), sends: false, wire: Wire::Http }
}

/// A gRPC call on a connection of its own: preface, settings, headers as literals, one frame of data.
fn http_2(path: &str, body: &[u8]) -> Vec<u8> {
    let authorization = format!("Bearer {OWNER}");
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "127.0.0.1"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("authorization", &authorization),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            assert!(text.len() < 127);
            block.extend(text.as_bytes());
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    for (kind, flags, stream, payload) in [(4, 0, 0, &[][..]), (1, 4, 1, &block), (0, 1, 1, body)] {
        bytes.extend(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
        bytes.extend([kind, flags, 0, 0, 0, stream]);
        bytes.extend(payload);
    }
    bytes
}

// === answers ===

impl Request {
    /// The ids of the tasks that an answer names, as far as it came.
    pub(super) fn tasks_in(&self, answer: &[u8]) -> Vec<String> {
        let mut ids = Vec::new();
        match self.wire {
            Wire::Http => {
                body_of(answer).iter().for_each(|body| find_tasks(body, &mut ids));
                let text = String::from_utf8_lossy(answer);
                let events = text.lines().filter_map(|line| line.strip_prefix("data:"));
                let events = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
                events.for_each(|event| find_tasks(&event, &mut ids));
            }
            Wire::Unread => {}
            Wire::Grpc(dialect, operation) => {
                let mut data = &*data_of(answer);
                while let Some(head) = data.first_chunk::<5>() {
                    let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                    let Some(message) = data.get(5..5 + size) else { break };
                    data = &data[5 + size..];
                    let value = if operation.streams() {
                        let event = pb::decode_event(dialect, message).unwrap();
                        serde_json::to_value(event).unwrap()
                    } else {
                        let reply = pb::decode_reply(dialect, operation, message).unwrap();
                        let json = Dialect::V1_0.encode_reply(operation, &reply, None);
                        serde_json::from_str(&json).unwrap()
                    };
                    find_tasks(&value, &mut ids);
                }
            }
        }
        ids
    }
}

/// The JSON of a whole answer.
fn body_of(answer: &[u8]) -> Option<Value> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    serde_json::from_slice(&answer[head + 4..]).ok()
}

/// The data of the frames of HTTP/2 that came whole.
fn data_of(mut answer: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(head) = answer.first_chunk::<9>() {
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(payload) = answer.get(9..9 + size) else { break };
        if head[3] == 0 {
            data.extend_from_slice(payload);
        }
        answer = &answer[9 + size..];
    }
    data
}

/// An object with an id and a status is a task.
fn find_tasks(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if value["status"]["state"].is_string()
                && let Some(id) = object.get("id").and_then(Value::as_str)
            {
                ids.push(id.to_owned());
            }
            object.values().for_each(|value| find_tasks(value, ids));
        }
        Value::Array(items) => items.iter().for_each(|item| find_tasks(item, ids)),
        _ => {}
    }
}

//! One call over any of the three bindings of v1.0: what is asked and what is answered is JSON of v1.0.

use crate::h2c::{self, framed};
use crate::http::{self, Event, Events};
use crate::world::{OWNER, World};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{ERRORS, ErrorKind};
use pilothouse_a2a::operation::Operation;
use pilothouse_a2a::pb;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// A binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    JsonRpc,
    Rest,
    Grpc,
}

/// All of them.
pub(crate) const BINDINGS: [Binding; 3] = [Binding::JsonRpc, Binding::Rest, Binding::Grpc];

/// A world seen through one binding.
#[derive(Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    patience: Duration,
    binding: Binding,
    prefix: String,
    headers: Vec<(String, String)>,
}

/// An error as its binding tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// The kind, which every code of the binding agrees on.
    pub(crate) kind: ErrorKind,
    /// What it says.
    pub(crate) message: String,
}

/// The events of a stream over any binding.
pub(crate) enum Watched {
    Sse(Box<Events>),
    Grpc(Box<h2c::Answer>),
}

impl World {
    /// The world as the owner sees it through this binding.
    pub(crate) fn through(&self, binding: Binding) -> Door {
        let door = Door {
            address: self.address(),
            patience: self.patience(),
            binding,
            prefix: String::new(),
            headers: Vec::new(),
        };
        door.token(OWNER)
    }
}

impl Door {
    /// Another caller.
    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Another agent, by its path.
    pub(crate) fn agent(mut self, name: &str) -> Self {
        self.prefix = format!("/agents/{name}");
        self
    }

    /// A further header, or another value of one.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The result of an operation that does not stream.
    pub(crate) fn call(&self, operation: Operation, params: &Value) -> Result<Value, Told> {
        let Err(mut reply) = self.ask(operation, params) else {
            panic!("{operation:?} is a stream");
        };
        reply.take()
    }

    /// The same where it must work.
    pub(crate) fn well(&self, operation: Operation, params: &Value) -> Value {
        let reply = self.call(operation, params);
        let binding = self.binding;
        reply.unwrap_or_else(|told| panic!("{binding:?} answered {params} with {told:?}"))
    }

    /// The error of an operation, whether it streams or not.
    pub(crate) fn error(&self, operation: Operation, params: &Value) -> Told {
        match self.ask(operation, params) {
            Err(mut reply) => reply.take().unwrap_err(),
            Ok(mut stream) => {
                panic!("{:?} streams {:?}", self.binding, stream.next());
            }
        }
    }

    /// The events of an operation that streams.
    pub(crate) fn stream(&self, operation: Operation, params: &Value) -> Watched {
        match self.ask(operation, params) {
            Ok(stream) => stream,
            Err(mut reply) => panic!("{:?} does not stream: {:?}", self.binding, reply.take()),
        }
    }

    fn ask(&self, operation: Operation, params: &Value) -> Result<Watched, Replied> {
        match self.binding {
            Binding::JsonRpc => {
                let method = operation.method();
                let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
                let path = format!("{}/", self.prefix);
                self.http("POST", &path, &body.to_string(), json_rpc)
            }
            Binding::Rest => {
                let (verb, path, body) = rest_of(operation, params);
                let path = format!("{}{path}", self.prefix);
                self.http(verb, &path, &body, rest)
            }
            Binding::Grpc => self.grpc(operation, params),
        }
    }

    fn http(
        &self,
        verb: &str,
        path: &str,
        body: &str,
        read: fn(u16, Value) -> Result<Value, Told>,
    ) -> Result<Watched, Replied> {
        let mut headers: Vec<(&str, &str)> = Vec::new();
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        headers.extend(pairs(&self.headers));
        let answer = http::ask(self.address, verb, path, &headers, body.as_bytes(), self.patience);
        let kind = answer.header("content-type").unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            let events = Events::of(answer, self.patience);
            return Ok(Watched::Sse(Box::new(events)));
        }
        let reply = answer.whole();
        Err(Replied(Some(read(reply.status, reply.json()))))
    }

    fn grpc(&self, operation: Operation, params: &Value) -> Result<Watched, Replied> {
        let raw = to_raw_value(params).unwrap();
        let decoded = Dialect::V1_0.decode(operation, Some(&raw)).unwrap();
        let message = pb::encode_call(Dialect::V1_0, &decoded.call);
        let path = format!("{}{}", self.prefix, operation.names().grpc);
        let mut headers = vec![("content-type", "application/grpc"), ("te", "trailers")];
        headers.extend(pairs(&self.headers));
        let body = framed(&message);
        let answer = h2c::ask(self.address, &path, &headers, body, self.patience);
        assert_eq!(answer.http, 200);
        // An answer without a message is an error: it has its status in front.
        let refused = answer.headers.contains_key("grpc-status");
        if operation.streams() && !refused {
            return Ok(Watched::Grpc(Box::new(answer)));
        }
        let (messages, status) = answer.whole();
        let reply = match (status.code, messages.as_slice()) {
            (0, [message]) => {
                let reply = pb::decode_reply(Dialect::V1_0, operation, message).unwrap();
                let json = Dialect::V1_0.encode_reply(operation, &reply, None);
                Ok(serde_json::from_str(&json).unwrap())
            }
            (0, messages) => panic!("{} messages answer {params}", messages.len()),
            _ => Err(grpc_error(&status)),
        };
        Err(Replied(Some(reply)))
    }
}

/// What was answered, when it was no stream.
struct Replied(Option<Result<Value, Told>>);

impl Replied {
    fn take(&mut self) -> Result<Value, Told> {
        self.0.take().unwrap()
    }
}

fn pairs(headers: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

// === errors, each by the codes of its binding ===

fn kind_of(reason: &str) -> ErrorKind {
    let known = ERRORS.iter().find(|codes| codes.reason == reason);
    known.unwrap_or_else(|| panic!("no error has the reason {reason}")).kind
}

fn json_rpc(_: u16, mut envelope: Value) -> Result<Value, Told> {
    let error = &envelope["error"];
    if error.is_null() {
        return Ok(envelope["result"].take());
    }
    let kind = kind_of(error["data"][0]["reason"].as_str().unwrap());
    assert_eq!(error["code"], kind.codes().json_rpc, "{error}");
    Err(Told { kind, message: error["message"].as_str().unwrap().to_owned() })
}

fn rest(status: u16, body: Value) -> Result<Value, Told> {
    if status == 200 {
        return Ok(body);
    }
    let error = &body["error"];
    let kind = kind_of(error["details"][0]["reason"].as_str().unwrap());
    let codes = kind.codes();
    assert_eq!(
        (status, &error["code"], &error["status"]),
        (codes.http, &json!(codes.http), &json!(codes.grpc)),
        "{body}"
    );
    Err(Told { kind, message: error["message"].as_str().unwrap().to_owned() })
}

/// The error of a gRPC status.
pub(crate) fn grpc_error(status: &h2c::Status) -> Told {
    let (reason, domain) = status.reason().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    let kind = kind_of(&reason);
    assert_eq!(
        (status.code, domain.as_str()),
        (kind.codes().grpc_number, "a2a-protocol.org"),
        "{status:?}"
    );
    Told { kind, message: status.message.clone() }
}

impl Watched {
    /// The next event; none at the end.
    pub(crate) fn next(&mut self) -> Option<Event> {
        match self {
            Self::Sse(events) => events.next(),
            Self::Grpc(answer) => answer.next().map(|message| {
                let event = pb::decode_event(Dialect::V1_0, &message).unwrap();
                let result = serde_json::to_value(&event).unwrap();
                Event { id: None, result }
            }),
        }
    }

    /// All that still comes; over gRPC it has to end well.
    pub(crate) fn rest(mut self) -> Vec<Event> {
        let mut seen = Vec::new();
        while let Some(event) = self.next() {
            seen.push(event);
        }
        if let Self::Grpc(answer) = self {
            assert_eq!(answer.status().code, 0);
        }
        seen
    }
}

/// Verb, path with query, and body of an operation in the HTTP+JSON binding.
pub(crate) fn rest_of(operation: Operation, params: &Value) -> (&'static str, String, String) {
    let names = operation.names();
    let mut left = params.as_object().cloned().unwrap_or_default();
    let about_config = names.route.contains("/pushNotificationConfigs");
    let mut path = names.route.to_owned();
    if path.contains("{configId}") {
        let id = left.remove("id").unwrap();
        path = path.replace("{configId}", id.as_str().unwrap());
    }
    if path.contains("{id}") {
        let name = if about_config { "taskId" } else { "id" };
        let id = left.remove(name).unwrap();
        path = path.replace("{id}", id.as_str().unwrap());
    }
    if names.verb == "POST" {
        let body = if left.is_empty() { String::new() } else { Value::Object(left).to_string() };
        return (names.verb, path, body);
    }
    let pairs: Vec<String> = left
        .iter()
        .map(|(name, value)| {
            let value = value.as_str().map_or(value.to_string(), ToOwned::to_owned);
            format!("{name}={}", value.replace('+', "%2B"))
        })
        .collect();
    if !pairs.is_empty() {
        path = format!("{path}?{}", pairs.join("&"));
    }
    (names.verb, path, String::new())
}

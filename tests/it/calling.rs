//! Calling the server of a world: any request, JSON-RPC, and sending in v1.0.

use crate::http::{self, Answer, Event, Events, Reply};
use crate::reading::{at_once, message, state, text_of, words};
use crate::world::{OWNER, World, await_true};
use serde_json::{Value, json};
use std::io::{Read, Write};

impl World {
    /// A request of any kind, without credentials.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        http::ask(self.address(), method, path, headers, body, self.patience())
    }

    /// A `GET` without credentials.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.ask("GET", path, headers, b"").whole()
    }

    /// What `/ready` tells the owner.
    pub(crate) fn readiness(&self) -> Value {
        self.get("/ready", &[("Authorization", &format!("Bearer {OWNER}"))]).json()
    }

    /// A `POST` of JSON with exactly these further headers.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(headers);
        self.ask("POST", path, &all, body).whole()
    }

    /// Bytes as they are; answers whatever comes until the server closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = http::connect(self.address(), self.patience());
        socket.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        socket
            .read_to_end(&mut answer)
            .unwrap_or_else(|error| panic!("waited for the server to close: {error}"));
        answer
    }

    /// The whole answer to a call.
    pub(crate) fn call(&self, token: &str, method: &str, params: &Value) -> Reply {
        let body =
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        self.post("/", &[("Authorization", &format!("Bearer {token}"))], body.as_bytes())
    }

    /// The result of a call by the owner.
    pub(crate) fn rpc(&self, method: &str, params: Value) -> Value {
        self.rpc_as(OWNER, method, params)
    }

    /// The result of a call.
    pub(crate) fn rpc_as(&self, token: &str, method: &str, params: Value) -> Value {
        let mut envelope = self.call(token, method, &params).json();
        assert!(envelope.get("error").is_none(), "{method} {params} was answered {envelope}");
        assert_eq!((&envelope["jsonrpc"], &envelope["id"]), (&json!("2.0"), &json!(1)));
        envelope["result"].take()
    }

    /// The error that answers a call by the owner.
    pub(crate) fn error(&self, method: &str, params: Value) -> Value {
        self.error_as(OWNER, method, params)
    }

    /// The error that answers a call.
    pub(crate) fn error_as(&self, token: &str, method: &str, params: Value) -> Value {
        let mut envelope = self.call(token, method, &params).json();
        assert!(envelope.get("result").is_none(), "{method} {params} was answered {envelope}");
        envelope["error"].take()
    }

    /// The events that answer a call by the owner.
    pub(crate) fn stream(&self, method: &str, params: Value) -> Events {
        self.stream_with(method, params, &[])
    }

    /// The same with further headers (`Last-Event-ID`).
    pub(crate) fn stream_with(
        &self,
        method: &str,
        params: Value,
        headers: &[(&str, &str)],
    ) -> Events {
        let authorization = format!("Bearer {OWNER}");
        let mut all =
            vec![("Content-Type", "application/json"), ("Authorization", authorization.as_str())];
        all.extend(headers);
        let body =
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let answer = self.ask("POST", "/", &all, body.as_bytes());
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        if !kind.starts_with("text/event-stream") {
            panic!("{method} is no stream but {}", answer.whole().text());
        }
        Events::of(answer, self.patience())
    }

    // === sending in v1.0 ===

    /// Sends and waits for the task's end.
    pub(crate) fn send(&self, params: Value) -> Value {
        self.rpc("SendMessage", params)["task"].take()
    }

    /// Sends a script and waits for the task's end.
    pub(crate) fn say(&self, script: &str) -> Value {
        self.send(message(script))
    }

    /// Sends a script and does not wait: the task's id.
    pub(crate) fn begin(&self, script: &str) -> String {
        self.begin_with(message(script))
    }

    /// Sends and does not wait: the task's id.
    pub(crate) fn begin_with(&self, params: Value) -> String {
        text_of(&self.send(at_once(params)), "id").to_owned()
    }

    /// A task as it stands.
    pub(crate) fn task(&self, id: &str) -> Value {
        self.rpc("GetTask", json!({"id": id}))
    }

    /// Waits until a task is in one of these states.
    pub(crate) fn await_state(&self, id: &str, states: &[&str]) -> Value {
        self.await_task(id, &states.join(" or "), |task| states.contains(&state(task)))
    }

    /// Waits until the status of a running task says these words.
    pub(crate) fn await_words(&self, id: &str, wanted: &str) -> Value {
        self.await_task(id, wanted, |task| words(task) == wanted)
    }

    /// Waits until a task fits.
    pub(crate) fn await_task(&self, id: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = await_true(self.patience(), || {
            last = self.task(id);
            fits(&last)
        });
        assert!(found, "waited {:?} for {what}; the task is {last:#}", self.patience());
        last
    }

    /// Begins a script that waits for a cue, and waits until it does.
    pub(crate) fn begin_waiting(&self, script: &str, cue: &str) -> String {
        let id = self.begin(script);
        self.await_words(&id, &format!("waiting {cue}"));
        id
    }

    /// The stream of a task from now on.
    pub(crate) fn subscribe(&self, id: &str) -> Events {
        self.stream("SubscribeToTask", json!({"id": id}))
    }

    /// The stream of a task after an event.
    pub(crate) fn resume(&self, id: &str, after: u64) -> Vec<Event> {
        let headers = [("Last-Event-ID", after.to_string())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        self.stream_with("SubscribeToTask", json!({"id": id}), &headers).rest()
    }
}

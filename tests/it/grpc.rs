//! gRPC: both services over HTTP/2 with prior knowledge, their statuses, and the health service.

mod health;
mod reflection;
mod refusals;
mod v0_3;

use crate::bindings::grpc_error;
use crate::h2c::{self, Answer, Status, framed};
use crate::reading::{answer, message, state};
use crate::world::{OWNER, World};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::{OPERATIONS, Operation};
use pilothouse_a2a::pb;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

const V1: &str = "/lf.a2a.v1.A2AService";
const V0_3: &str = "/a2a.v1.A2AService";

impl World {
    /// A call by the owner with this body, whatever it is.
    fn grpc(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let authorization = format!("Bearer {OWNER}");
        let mut all = vec![("authorization", authorization.as_str()), ("te", "trailers")];
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            all.push(("content-type", "application/grpc"));
        }
        all.extend(headers);
        h2c::ask(self.address(), path, &all, body, self.patience())
    }

    /// How a call by the owner ends that gets no message.
    fn grpc_status(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Status {
        let answer = self.grpc(path, headers, body);
        assert_eq!(answer.http, 200);
        let (messages, status) = answer.whole();
        assert!(messages.is_empty(), "{status:?}");
        status
    }

    /// The one message that answers a call that ends well.
    fn grpc_message(&self, path: &str, body: Vec<u8>) -> Vec<u8> {
        let (mut messages, status) = self.grpc(path, &[], body).whole();
        assert_eq!((status.code, messages.len()), (0, 1), "{path}: {status:?}");
        messages.remove(0)
    }

    /// A call in a dialect, its answer in the words of v1.0.
    fn grpc_reply(
        &self,
        dialect: Dialect,
        path: &str,
        operation: Operation,
        params: &Value,
    ) -> Value {
        let reply = self.grpc_message(path, encoded(dialect, operation, params));
        let reply = pb::decode_reply(dialect, operation, &reply).unwrap();
        let json = Dialect::V1_0.encode_reply(operation, &reply, None);
        serde_json::from_str(&json).unwrap()
    }
}

/// A request in its frame, from params of v1.0.
fn encoded(dialect: Dialect, operation: Operation, params: &Value) -> Vec<u8> {
    let params = to_raw_value(params).unwrap();
    let decoded = Dialect::V1_0.decode(operation, Some(&params)).unwrap();
    framed(&pb::encode_call(dialect, &decoded.call))
}

fn sent(text: &str) -> Vec<u8> {
    encoded(Dialect::V1_0, Operation::SendMessage, &message(text))
}

/// The events of a stream, in the words of v1.0.
fn events(dialect: Dialect, answer: Answer) -> Vec<Value> {
    let (messages, status) = answer.whole();
    assert_eq!(status.code, 0, "{status:?}");
    let event = |message: &Vec<u8>| {
        let event = pb::decode_event(dialect, message).unwrap();
        serde_json::to_value(event).unwrap()
    };
    messages.iter().map(event).collect()
}

fn last_state(events: &[Value]) -> &str {
    state(&events.last().unwrap()["statusUpdate"])
}

/// A field of a protobuf message: its number and a text.
fn text_field(number: u8, text: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, u8::try_from(text.len()).unwrap()];
    field.extend(text);
    field
}

// === the service of v1.0 ===

#[test]
fn every_operation_has_a_method() {
    let world = World::start();
    for names in &OPERATIONS {
        let answer = world.grpc(names.grpc, &[], framed(&[]));
        let code = answer.status().code;
        assert_ne!(code, 12, "{}", names.grpc);
    }
}

#[test]
fn a_stream_ends_with_its_status_in_the_trailers() {
    let world = World::start();
    let params = message("say hello");
    let body = encoded(Dialect::V1_0, Operation::SendStreamingMessage, &params);
    let answer = world.grpc(&format!("{V1}/SendStreamingMessage"), &[], body);
    assert!(!answer.headers.contains_key("grpc-status"));
    assert_eq!(answer.headers["content-type"], "application/grpc");
    let events = events(Dialect::V1_0, answer);
    assert_eq!((state(&events[0]["task"]), last_state(&events)), ("SUBMITTED", "COMPLETED"));
}

#[test]
fn a_stream_comes_while_the_agent_still_works() {
    let world = World::start();
    let params = message("say early; cue go; say late");
    let body = encoded(Dialect::V1_0, Operation::SendStreamingMessage, &params);
    let mut answer = world.grpc(&format!("{V1}/SendStreamingMessage"), &[], body);
    loop {
        let message = answer.next().expect("the stream ended before the text");
        let event = pb::decode_event(Dialect::V1_0, &message).unwrap();
        let event = serde_json::to_value(event).unwrap();
        if event["artifactUpdate"]["artifact"]["parts"][0]["text"] == "early" {
            break;
        }
    }
    world.cue("go");
    assert_eq!(last_state(&events(Dialect::V1_0, answer)), "COMPLETED");
}

#[test]
fn an_error_has_its_reason_and_its_fields_in_the_details() {
    let world = World::start();
    let body = encoded(Dialect::V1_0, Operation::ListTasks, &json!({"pageToken": "junk"}));
    let status = world.grpc_status(&format!("{V1}/ListTasks"), &[], body);
    assert_eq!(grpc_error(&status).kind, ErrorKind::InvalidParams);
    let details = String::from_utf8_lossy(&status.details).into_owned();
    assert!(
        details.contains("google.rpc.BadRequest") && details.contains("pageToken"),
        "{details}"
    );
}

#[test]
fn a_message_of_an_error_survives_in_any_alphabet() {
    let world = World::start();
    let id = "größe-\u{4e2d}-%-x";
    let body = encoded(Dialect::V1_0, Operation::GetTask, &json!({"id": id}));
    let status = world.grpc_status(&format!("{V1}/GetTask"), &[], body);
    assert_eq!(status.message, format!("task `{id}` not found"));
}

#[test]
fn the_tenant_names_the_agent() {
    let world = World::start();
    let call = |tenant: &str| {
        let params = json!({"tenant": tenant});
        let body = encoded(Dialect::V1_0, Operation::ListTasks, &params);
        world.grpc(&format!("{V1}/ListTasks"), &[], body).status()
    };
    assert_eq!(call("fake").code, 0);
    assert_eq!(grpc_error(&call("nobody")).kind, ErrorKind::InvalidParams);
}

#[test]
fn the_service_is_below_the_address_of_the_agent_too() {
    let world = World::start();
    let message = world.grpc_message(&format!("/agents/fake{V1}/SendMessage"), sent("say hello"));
    let reply = pb::decode_reply(Dialect::V1_0, Operation::SendMessage, &message).unwrap();
    let json = Dialect::V1_0.encode_reply(Operation::SendMessage, &reply, None);
    let task: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(answer(&task["task"]), "hello");
}

#[test]
fn a_version_in_the_metadata_is_heeded() {
    let world = World::start();
    let path = format!("{V1}/SendMessage");
    let status = |version: &str| {
        let headers = [("a2a-version", version)];
        world.grpc(&path, &headers, sent("say x")).status()
    };
    assert_eq!(grpc_error(&status("99.0")).kind, ErrorKind::VersionNotSupported);
    assert_eq!([status("1.0").code, status("1.0.4").code], [0, 0]);
}

//! gRPC: both services over HTTP/2 with prior knowledge, their statuses, and the health service.

use crate::bindings::grpc_error;
use crate::h2c::{self, Answer, Status, framed};
use crate::reading::{answer, message, message_to, state, text_of};
use crate::world::{OWNER, World, await_true};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::{OPERATIONS, Operation};
use pilothouse_a2a::pb;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

const V1: &str = "/lf.a2a.v1.A2AService";
const V0_3: &str = "/a2a.v1.A2AService";
const HEALTH: &str = "/grpc.health.v1.Health";
/// Not `SERVING`, of the standard health service.
const SERVING: &[u8] = &[0x08, 0x01];
const NOT_SERVING: &[u8] = &[0x08, 0x02];

impl World {
    /// A call by the owner with this body, whatever it is.
    fn grpc(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let authorization = format!("Bearer {OWNER}");
        let mut all = vec![
            ("authorization", authorization.as_str()),
            ("te", "trailers"),
        ];
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
    assert_eq!(
        (state(&events[0]["task"]), last_state(&events)),
        ("SUBMITTED", "COMPLETED")
    );
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
    let body = encoded(
        Dialect::V1_0,
        Operation::ListTasks,
        &json!({"pageToken": "junk"}),
    );
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
    assert_eq!(
        grpc_error(&status("99.0")).kind,
        ErrorKind::VersionNotSupported
    );
    assert_eq!([status("1.0").code, status("1.0.4").code], [0, 0]);
}

// === what is refused ===

#[test]
fn without_a_token_nothing_is_told() {
    let world = World::start();
    for token in ["", "Bearer wrong"] {
        let headers = [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", token),
        ];
        let path = format!("{V1}/SendMessage");
        let answer = h2c::ask(
            world.address(),
            &path,
            &headers,
            sent("say x"),
            world.patience(),
        );
        assert_eq!(
            grpc_error(&answer.status()).kind,
            ErrorKind::Unauthenticated
        );
    }
}

#[test]
fn a_method_that_is_none_is_unimplemented() {
    let world = World::start();
    for path in [
        format!("{V1}/Nothing"),
        format!("{V0_3}/ListTasks"),
        "/some.other.Service/Method".to_owned(),
    ] {
        let status = world.grpc(&path, &[], framed(&[])).status();
        assert_eq!(status.code, 12, "{path}: {status:?}");
    }
}

#[test]
fn another_content_type_is_refused() {
    let world = World::start();
    for kind in ["application/json", "text/plain"] {
        let headers = [("content-type", kind)];
        let answer = world.grpc(&format!("{V1}/SendMessage"), &headers, sent("say x"));
        assert_eq!(answer.http, 415, "{kind}");
    }
}

#[test]
fn the_content_type_may_name_the_encoding() {
    let world = World::start();
    let headers = [("content-type", "application/grpc+proto")];
    let answer = world.grpc(&format!("{V1}/SendMessage"), &headers, sent("say x"));
    assert_eq!(answer.status().code, 0);
}

#[test]
fn a_compressed_message_is_refused_with_what_is_taken() {
    let world = World::start();
    let mut body = sent("say x");
    body[0] = 1;
    let headers = [("grpc-encoding", "gzip")];
    let answer = world.grpc(&format!("{V1}/SendMessage"), &headers, body);
    assert_eq!(answer.headers["grpc-accept-encoding"], "identity");
    assert_eq!(answer.status().code, 12);
}

#[test]
fn a_message_that_is_marked_compressed_without_an_encoding_is_refused() {
    let world = World::start();
    let mut body = sent("say x");
    body[0] = 1;
    let status = world.grpc_status(&format!("{V1}/SendMessage"), &[], body);
    assert!([3, 12, 13].contains(&status.code), "{status:?}");
}

#[test]
fn a_truncated_message_is_an_invalid_argument() {
    let world = World::start();
    let whole = sent("say x");
    let truncated = framed(&whole[5..whole.len() - 3]);
    let status = world.grpc_status(&format!("{V1}/SendMessage"), &[], truncated);
    assert_eq!(grpc_error(&status).kind, ErrorKind::InvalidParams);
    assert!(status.message.contains("protobuf"), "{status:?}");
}

#[test]
fn a_truncated_frame_is_refused_and_nothing_runs() {
    let world = World::start();
    let whole = sent("say x");
    for size in [0, 3, 5, whole.len() - 1] {
        let body = whole[..size].to_vec();
        let status = world.grpc_status(&format!("{V1}/SendMessage"), &[], body);
        assert!([3, 13].contains(&status.code), "{size}: {status:?}");
    }
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 0);
}

#[test]
fn a_value_that_its_enum_does_not_have_is_refused_by_its_field() {
    let world = World::start();
    // SendMessageRequest.message (2) with a role (4) that is none.
    let mut inner = text_field(1, b"some-id");
    inner.extend([4 << 3, 99]);
    let status = world.grpc_status(
        &format!("{V1}/SendMessage"),
        &[],
        framed(&text_field(2, &inner)),
    );
    assert_eq!(grpc_error(&status).kind, ErrorKind::InvalidParams);
    assert!(status.message.contains("message.role"), "{status:?}");
}

#[test]
fn an_id_that_is_not_utf_8_is_refused() {
    let world = World::start();
    let body = framed(&text_field(2, b"\xff\xfe"));
    let status = world.grpc_status(&format!("{V1}/GetTask"), &[], body);
    assert_eq!(grpc_error(&status).kind, ErrorKind::InvalidParams);
}

#[test]
fn a_body_above_the_limit_is_refused() {
    let world = World::describe()
        .config(json!({"limits": {"body": "16KiB"}}))
        .start();
    let long = message(&"x".repeat(20_000));
    let body = encoded(Dialect::V1_0, Operation::SendMessage, &long);
    let status = world.grpc_status(&format!("{V1}/SendMessage"), &[], body);
    assert_eq!(grpc_error(&status).kind, ErrorKind::TooLarge);
}

#[test]
fn a_long_message_and_a_long_answer_pass() {
    let world = World::start();
    let long = format!("say {}", "x".repeat(100_000));
    let message = world.grpc_message(&format!("{V1}/SendMessage"), sent(&long));
    let reply = pb::decode_reply(Dialect::V1_0, Operation::SendMessage, &message).unwrap();
    let json = Dialect::V1_0.encode_reply(Operation::SendMessage, &reply, None);
    let task: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(answer(&task["task"]).len(), 100_000);
}

#[test]
fn an_answer_of_five_megabytes_passes() {
    let world = World::start();
    let id = text_of(&world.say("flood 5000000 100000"), "id").to_owned();
    let params = json!({"id": id});
    let task = world.grpc_reply(
        Dialect::V1_0,
        &format!("{V1}/GetTask"),
        Operation::GetTask,
        &params,
    );
    assert_eq!(answer(&task).len(), 5_000_000);
}

#[test]
fn a_get_at_the_address_of_a_method_is_no_call() {
    let world = World::start();
    let status = world.get(&format!("{V1}/GetTask"), &[]).status;
    assert!([405, 415].contains(&status), "{status}");
}

// === the service of v0.3 ===

#[test]
fn a_v0_3_client_sends_and_reads() {
    let world = World::start();
    let reply = world.grpc_reply(
        Dialect::V0_3,
        &format!("{V0_3}/SendMessage"),
        Operation::SendMessage,
        &message("say hello"),
    );
    let task = &reply["task"];
    assert_eq!((state(task), answer(task).as_str()), ("COMPLETED", "hello"));
    let again = world.grpc_reply(
        Dialect::V0_3,
        &format!("{V0_3}/GetTask"),
        Operation::GetTask,
        &json!({"id": task["id"]}),
    );
    assert_eq!(again["id"], task["id"]);
}

#[test]
fn a_v0_3_client_streams_and_subscribes() {
    let world = World::start();
    let body = encoded(
        Dialect::V0_3,
        Operation::SendStreamingMessage,
        &message("say hello"),
    );
    let answer = world.grpc(&format!("{V0_3}/SendStreamingMessage"), &[], body);
    let streamed = events(Dialect::V0_3, answer);
    assert_eq!(last_state(&streamed), "COMPLETED");

    let id = world.begin_waiting("cue go; say hello", "go");
    let body = encoded(
        Dialect::V0_3,
        Operation::SubscribeToTask,
        &json!({"id": id}),
    );
    let mut answer = world.grpc(&format!("{V0_3}/TaskSubscription"), &[], body);
    let first = pb::decode_event(Dialect::V0_3, &answer.next().unwrap()).unwrap();
    assert_eq!(
        serde_json::to_value(first).unwrap()["task"]["id"],
        json!(id)
    );
    world.cue("go");
    assert_eq!(last_state(&events(Dialect::V0_3, answer)), "COMPLETED");
}

#[test]
fn a_v0_3_client_cancels() {
    let world = World::start();
    let id = world.begin_waiting("cue never", "never");
    let task = world.grpc_reply(
        Dialect::V0_3,
        &format!("{V0_3}/CancelTask"),
        Operation::CancelTask,
        &json!({"id": id}),
    );
    assert_eq!(state(&task), "CANCELED");
}

#[test]
fn a_v0_3_client_hears_of_a_task_that_is_not_there() {
    let world = World::start();
    let body = encoded(Dialect::V0_3, Operation::GetTask, &json!({"id": "none"}));
    let status = world.grpc_status(&format!("{V0_3}/GetTask"), &[], body);
    assert_eq!(status.code, 5, "{status:?}");
}

#[test]
fn a_v0_3_client_keeps_push_notification_configs() {
    let world = World::describe()
        .config(json!({"push": {"allow": ["127.0.0.1"]}}))
        .start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    let call = |method: &str, operation, params| {
        world.grpc_reply(
            Dialect::V0_3,
            &format!("{V0_3}/{method}"),
            operation,
            &params,
        )
    };
    let config = json!({"taskId": id, "id": "mine", "url": "http://127.0.0.1:1/hook"});
    call(
        "CreateTaskPushNotificationConfig",
        Operation::CreateTaskPushNotificationConfig,
        config,
    );
    let named = json!({"taskId": id, "id": "mine"});
    let found = call(
        "GetTaskPushNotificationConfig",
        Operation::GetTaskPushNotificationConfig,
        named.clone(),
    );
    assert_eq!(text_of(&found, "url"), "http://127.0.0.1:1/hook");
    let list = call(
        "ListTaskPushNotificationConfig",
        Operation::ListTaskPushNotificationConfigs,
        json!({"taskId": id}),
    );
    assert_eq!(list["configs"].as_array().unwrap().len(), 1);
    call(
        "DeleteTaskPushNotificationConfig",
        Operation::DeleteTaskPushNotificationConfig,
        named,
    );
}

#[test]
fn both_services_share_one_connection_and_one_store() {
    let world = World::start();
    let message = world.grpc_message(&format!("{V1}/SendMessage"), sent("ask which?"));
    let reply = pb::decode_reply(Dialect::V1_0, Operation::SendMessage, &message).unwrap();
    let json = Dialect::V1_0.encode_reply(Operation::SendMessage, &reply, None);
    let asked: Value = serde_json::from_str(&json).unwrap();
    let params = message_to(text_of(&asked["task"], "id"), "say green");
    let done = world.grpc_reply(
        Dialect::V0_3,
        &format!("{V0_3}/SendMessage"),
        Operation::SendMessage,
        &params,
    );
    assert_eq!(answer(&done["task"]), "green");
}

// === the health service ===

fn checked(service: &str) -> Vec<u8> {
    framed(&text_field(1, service.as_bytes()))
}

#[test]
fn the_server_and_both_services_are_serving() {
    let world = World::start();
    for service in ["", &V1[1..], &V0_3[1..]] {
        let answer = world.grpc_message(&format!("{HEALTH}/Check"), checked(service));
        assert_eq!(answer, SERVING, "{service}");
    }
}

#[test]
fn health_needs_no_token() {
    let world = World::start();
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let path = format!("{HEALTH}/Check");
    let answer = h2c::ask(
        world.address(),
        &path,
        &headers,
        checked(""),
        world.patience(),
    );
    assert_eq!(answer.whole().0, [SERVING]);
}

#[test]
fn a_service_that_nobody_knows_is_not_found() {
    let world = World::start();
    let status = world.grpc_status(
        &format!("{HEALTH}/Check"),
        &[],
        checked("some.other.Service"),
    );
    assert_eq!(status.code, 5);
}

#[test]
fn a_watcher_hears_that_the_server_stops() {
    let mut world = World::start();
    let mut answer = world.grpc(&format!("{HEALTH}/Watch"), &[], checked(&V1[1..]));
    assert_eq!(answer.next().as_deref(), Some(SERVING));
    world.sigterm();
    assert_eq!(answer.next().as_deref(), Some(NOT_SERVING));
    drop(answer);
    world.ended();
}

#[test]
fn a_watcher_does_not_hold_up_the_stop() {
    let mut world = World::describe()
        .config(json!({"timeouts": {"shutdown": "10m"}}))
        .start();
    let mut answer = world.grpc(&format!("{HEALTH}/Watch"), &[], checked(""));
    assert_eq!(answer.next().as_deref(), Some(SERVING));
    world.sigterm();
    // Its pings are answered while it is read.
    while answer.next().is_some() {}
    world.ended();
}

#[test]
fn a_stop_ends_a_stream_with_its_last_event() {
    let mut world = World::start();
    let body = encoded(
        Dialect::V1_0,
        Operation::SendStreamingMessage,
        &message("say x; cue never"),
    );
    let mut answer = world.grpc(&format!("{V1}/SendStreamingMessage"), &[], body);
    let mut seen = Vec::new();
    let waiting = await_true(world.patience(), || {
        let message = answer.next().unwrap();
        let event = pb::decode_event(Dialect::V1_0, &message).unwrap();
        seen.push(serde_json::to_value(event).unwrap());
        crate::reading::words(&seen.last().unwrap()["statusUpdate"]) == "waiting never"
    });
    assert!(waiting, "{seen:#?}");
    world.sigterm();
    let rest = events(Dialect::V1_0, answer);
    assert_eq!(last_state(&rest), "FAILED");
    world.ended();
}

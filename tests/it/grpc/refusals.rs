//! gRPC: what is refused, and by which status.

use super::{V0_3, V1, encoded, sent, text_field};
use crate::bindings::grpc_error;
use crate::h2c::{self, framed};
use crate::reading::{answer, message, text_of};
use crate::world::{OWNER, World};
use flate2::Compression;
use flate2::write::GzEncoder;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::Operation;
use pilothouse_a2a::pb;
use serde_json::{Value, json};
use std::io::Write;

#[test]
fn without_a_token_nothing_is_told() {
    let world = World::start();
    for token in ["", "Bearer wrong"] {
        let headers =
            [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", token)];
        let path = format!("{V1}/SendMessage");
        let answer = h2c::ask(world.address(), &path, &headers, sent("say x"), world.patience());
        assert_eq!(grpc_error(&answer.status()).kind, ErrorKind::Unauthenticated);
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
    for kind in ["application/json", "text/plain", "application/grpc-web+proto"] {
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
    let headers = [("grpc-encoding", "snappy")];
    let answer = world.grpc(&format!("{V1}/SendMessage"), &headers, body);
    assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip");
    assert_eq!(answer.status().code, 12);
}

#[test]
fn a_message_that_is_compressed_with_gzip_is_read() {
    let world = World::start();
    let whole = sent("say packed");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&whole[5..]).unwrap();
    let mut body = framed(&encoder.finish().unwrap());
    body[0] = 1;
    let headers = [("grpc-encoding", "gzip")];
    let (messages, status) = world.grpc(&format!("{V1}/SendMessage"), &headers, body).whole();
    assert_eq!((status.code, messages.len()), (0, 1), "{status:?}");
    let broken = framed(b"no gzip");
    let broken = [&[1], &broken[1..]].concat();
    assert_eq!(world.grpc_status(&format!("{V1}/SendMessage"), &headers, broken).code, 3);
}

#[test]
fn a_call_ends_when_its_time_is_over_and_its_task_goes_on() {
    let world = World::start();
    let headers = [("grpc-timeout", "100m")];
    let status = world.grpc_status(&format!("{V1}/SendMessage"), &headers, sent("cue go; say x"));
    assert_eq!(status.code, 4, "{status:?}");
    let body = encoded(Dialect::V1_0, Operation::SendStreamingMessage, &message("cue go; say x"));
    let answer = world.grpc(&format!("{V1}/SendStreamingMessage"), &headers, body);
    let (messages, status) = answer.whole();
    assert_eq!(status.code, 4, "{status:?}");
    assert!(!messages.is_empty());
    world.cue("go");
    let tasks = world.rpc("ListTasks", json!({}));
    for task in tasks["tasks"].as_array().unwrap() {
        world.await_state(task["id"].as_str().unwrap(), &["COMPLETED"]);
    }
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
fn two_messages_in_one_request_are_refused_and_nothing_runs() {
    let world = World::start();
    let body = [sent("say x"), sent("say y")].concat();
    let status = world.grpc_status(&format!("{V1}/SendMessage"), &[], body);
    assert!([3, 12, 13].contains(&status.code), "{status:?}");
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 0);
}

#[test]
fn many_calls_at_once_share_one_connection() {
    let world = World::start();
    let authorization = format!("Bearer {OWNER}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let bodies = (0..30).map(|n| sent(&format!("say {n}"))).collect();
    let path = format!("{V1}/SendMessage");
    let codes = h2c::ask_at_once(world.address(), &path, &headers, bodies, world.patience());
    assert_eq!(codes, [0; 30]);
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 30);
}

#[test]
fn a_value_that_its_enum_does_not_have_is_refused_by_its_field() {
    let world = World::start();
    // SendMessageRequest.message (2) with a role (4) that is none.
    let mut inner = text_field(1, b"some-id");
    inner.extend([4 << 3, 99]);
    let status =
        world.grpc_status(&format!("{V1}/SendMessage"), &[], framed(&text_field(2, &inner)));
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
    let world = World::describe().config(json!({"limits": {"body": "16KiB"}})).start();
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
fn pages_of_a_list_fit_in_what_clients_of_grpc_take_and_hold_every_task_once() {
    let world = World::start();
    let mut ids: Vec<_> =
        (0..4).map(|_| text_of(&world.say("flood 1500000 100000"), "id").to_owned()).collect();
    let (mut listed, mut token, mut pages) = (Vec::new(), String::new(), 0);
    while pages == 0 || !token.is_empty() {
        pages += 1;
        assert!(pages <= 4, "{listed:?}");
        let params = json!({"includeArtifacts": true, "pageToken": token});
        let body = encoded(Dialect::V1_0, Operation::ListTasks, &params);
        let message = world.grpc_message(&format!("{V1}/ListTasks"), body);
        assert!(message.len() <= 4 * 1024 * 1024, "{}", message.len());
        let reply = pb::decode_reply(Dialect::V1_0, Operation::ListTasks, &message).unwrap();
        let json = Dialect::V1_0.encode_reply(Operation::ListTasks, &reply, None);
        let page: Value = serde_json::from_str(&json).unwrap();
        let tasks = page["tasks"].as_array().unwrap();
        assert!(tasks.iter().all(|task| answer(task).len() == 1_500_000));
        listed.extend(tasks.iter().map(|task| text_of(task, "id").to_owned()));
        token = text_of(&page, "nextPageToken").to_owned();
    }
    assert_eq!(pages, 2);
    ids.sort();
    listed.sort();
    assert_eq!(listed, ids);
}

#[test]
fn an_answer_of_five_megabytes_passes() {
    let world = World::describe().config(json!({"limits": {"response": "8MiB"}})).start();
    let id = text_of(&world.say("flood 5000000 100000"), "id").to_owned();
    let params = json!({"id": id});
    let task =
        world.grpc_reply(Dialect::V1_0, &format!("{V1}/GetTask"), Operation::GetTask, &params);
    assert_eq!(answer(&task).len(), 5_000_000);
}

#[test]
fn a_get_at_the_address_of_a_method_is_no_call() {
    let world = World::start();
    let status = world.get(&format!("{V1}/GetTask"), &[]).status;
    assert!([405, 415].contains(&status), "{status}");
}

//! The JSON-RPC envelope and the errors inside of it.

use crate::value;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{ERRORS, Error, ErrorKind, error_object, status_object};
use pilothouse_a2a::jsonrpc::{self, Id};
use serde_json::json;

fn error() -> Error {
    Error::invalid("message.parts", "must not be empty").with("taskId", "t-1").retry_after(30)
}

#[test]
fn the_table_of_errors() {
    let row = |codes: &pilothouse_a2a::error::Codes| {
        let kind = format!("{:?}", codes.kind);
        let (number, name) = (codes.grpc_number, codes.grpc);
        format!(
            "{kind:<31} {:>6} {} {number:>2} {name:<19} {}",
            codes.json_rpc, codes.http, codes.reason
        )
    };
    insta::assert_snapshot!(ERRORS.iter().map(row).collect::<Vec<_>>().join("\n"));
}

#[test]
fn an_error_of_v1_0_has_typed_details() {
    insta::assert_json_snapshot!(error_object(&error(), Dialect::V1_0));
}

#[test]
fn an_error_of_older_dialects_is_plain() {
    let plain = error_object(&error(), Dialect::V0_3);
    assert_eq!(plain, error_object(&error(), Dialect::V0_1));
    insta::assert_json_snapshot!(plain);
    let bare = error_object(&Error::new(ErrorKind::Internal, "incident 7"), Dialect::V0_3);
    assert_eq!(bare, json!({"code": -32603, "message": "incident 7"}));
}

#[test]
fn an_error_of_the_rest_binding_has_a_status() {
    insta::assert_json_snapshot!(status_object(&Error::task_not_found("t-1")));
}

#[test]
fn an_id_is_echoed_in_its_own_spelling() {
    for id in
        ["null", "1", "-7", "1.0", "1e3", "98765432109876543210", "\"\"", "\"a\\nb\"", "\"ü\""]
    {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"GetTask"}}"#);
        let request = jsonrpc::parse(body.as_bytes()).unwrap();
        let told = String::from_utf8(jsonrpc::result(&request.id, "{}")).unwrap();
        assert_eq!(told, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
        let sent = jsonrpc::request_body(&request.id, "GetTask", &json!({})).unwrap();
        let told = String::from_utf8(sent).unwrap();
        assert_eq!(
            told,
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"GetTask","params":{{}}}}"#)
        );
    }
}

#[test]
fn a_result_between_prefix_and_suffix_is_a_response() {
    let id = Id::from("x");
    let mut body = jsonrpc::prefix(&id);
    body.extend_from_slice(b"{\"task\":1}");
    body.extend_from_slice(jsonrpc::SUFFIX);
    assert_eq!(body, jsonrpc::result(&id, "{\"task\":1}"));
    let response = jsonrpc::parse_response(&body).unwrap();
    assert_eq!((response.id, response.outcome.unwrap().get()), (id, "{\"task\":1}"));
}

#[test]
fn a_failure_is_read_as_it_was_written() {
    let body = jsonrpc::failure(&Id::from(7), &error(), Dialect::V1_0);
    let response = jsonrpc::parse_response(&body).unwrap();
    let told = response.outcome.unwrap_err();
    assert_eq!(told.code, -32602);
    assert_eq!(told.message, error().message);
    assert_eq!(told.data.unwrap()[1]["fieldViolations"][0]["field"], "message.parts");
}

#[test]
fn params_stay_raw() {
    let body = br#" {"params": {"a": [1, 2]}, "method": "tasks\/get", "id": 1, "jsonrpc": "2.0", "x": 0} "#;
    let request = jsonrpc::parse(body).unwrap();
    assert_eq!(request.method, "tasks/get");
    assert_eq!(request.params.unwrap().get(), r#"{"a": [1, 2]}"#);
}

#[test]
fn what_is_no_request_is_refused_with_its_reason() {
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{}1"#, "[".repeat(1 << 20));
    let bodies: [(&[u8], Id, ErrorKind); 17] = [
        (b"", Id::Null, ErrorKind::Parse),
        (b"   ", Id::Null, ErrorKind::Parse),
        (b"{", Id::Null, ErrorKind::Parse),
        (b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": ", Id::Null, ErrorKind::Parse),
        (b"{\"a\": \xff}", Id::Null, ErrorKind::Parse),
        (b"{} {}", Id::Null, ErrorKind::Parse),
        (deep.as_bytes(), Id::Null, ErrorKind::Parse),
        (b"[]", Id::Null, ErrorKind::InvalidRequest),
        (b"[{\"jsonrpc\":\"2.0\"}]", Id::Null, ErrorKind::InvalidRequest),
        (b"[{", Id::Null, ErrorKind::Parse),
        (b"\"hello\"", Id::Null, ErrorKind::InvalidRequest),
        (b"{\"id\": 5, \"method\": \"m\"}", Id::from(5), ErrorKind::InvalidRequest),
        (b"{\"jsonrpc\": \"1.0\", \"id\": 5}", Id::from(5), ErrorKind::InvalidRequest),
        (b"{\"jsonrpc\": \"2.0\", \"id\": \"a\"}", Id::from("a"), ErrorKind::InvalidRequest),
        (
            b"{\"jsonrpc\": \"2.0\", \"id\": {\"bad\": 1}, \"method\": \"m\"}",
            Id::Null,
            ErrorKind::InvalidRequest,
        ),
        (
            b"{\"jsonrpc\": \"2.0\", \"id\": 5, \"method\": 1}",
            Id::from(5),
            ErrorKind::InvalidRequest,
        ),
        (
            b"{\"jsonrpc\": \"2.0\", \"id\": 5, \"method\": \"m\", \"params\": [1]}",
            Id::from(5),
            ErrorKind::InvalidParams,
        ),
    ];
    for (body, id, kind) in bodies {
        let start = String::from_utf8_lossy(&body[..body.len().min(60)]);
        let (told, error) = jsonrpc::parse(body).unwrap_err();
        assert_eq!((told, error.kind), (id, kind), "{start}");
    }
}

#[test]
fn a_depth_bomb_in_params_is_refused_without_a_stack() {
    let bomb = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{{"metadata":{{"a":{bomb}}},"message":{{}}}}}}"#
    );
    let request = jsonrpc::parse(body.as_bytes()).unwrap();
    let method = pilothouse_a2a::dialect::method(&request.method).unwrap();
    let error = method.dialect.decode(method.operation, request.params).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParams);
}

#[test]
fn a_null_result_is_a_result() {
    let response = jsonrpc::parse_response(br#"{"jsonrpc":"2.0","id":1,"result":null}"#).unwrap();
    assert_eq!(value(response.outcome.unwrap().get()), json!(null));
}

//! What path, query and body of an HTTP+JSON request ask for together.

use crate::value;
use pilothouse_a2a::operation::{Call, Operation};
use pilothouse_a2a::rest::{Form, Request, route};
use pilothouse_a2a::{Error, ErrorKind, TaskPushNotificationConfig, TaskState};
use serde_json::{Value, json};

const SEND: &str =
    r#"{"message": {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "hi"}]}}"#;

pub(crate) fn get(path: &str) -> Result<Request, Error> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    route("GET", path).unwrap().decode(Some(query), b"")
}

pub(crate) fn post(path: &str, body: &Value) -> Result<Request, Error> {
    route("POST", path).unwrap().decode(None, body.to_string().as_bytes())
}

pub(crate) fn call(request: Result<Request, Error>) -> Call {
    request.unwrap().decoded.call
}

/// The field that is wrong.
pub(crate) fn wrong(request: Result<Request, Error>) -> String {
    let error = request.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParams, "{error}");
    error.violations[0].field.clone()
}

pub(crate) fn config(request: Result<Request, Error>) -> TaskPushNotificationConfig {
    match call(request) {
        Call::CreateTaskPushNotificationConfig(config) => config,
        other => panic!("not a config: {other:?}"),
    }
}

#[test]
fn a_message_of_v1_0_is_its_body() {
    let request = post("/message:send", &value(SEND)).unwrap();
    assert_eq!((request.form, request.told), (Form::Model, true));
    assert_eq!(request.decoded.call.operation(), Operation::SendMessage);
    let request = post("/message:stream", &value(SEND)).unwrap();
    assert_eq!(request.decoded.call.operation(), Operation::SendStreamingMessage);
}

#[test]
fn the_tenant_of_the_path_is_part_of_the_request() {
    let Call::SendMessage(request) = call(post("/acme/message:send", &value(SEND))) else {
        panic!()
    };
    assert_eq!(request.tenant.as_deref(), Some("acme"));
    let Call::ListTasks(request) = call(get("/acme/tasks")) else { panic!() };
    assert_eq!(request.tenant.as_deref(), Some("acme"));
    let Call::GetExtendedAgentCard(request) = call(get("/acme/extendedAgentCard")) else {
        panic!()
    };
    assert_eq!(request.tenant.as_deref(), Some("acme"));
}

#[test]
fn a_body_may_repeat_the_path_and_not_contradict_it() {
    let cancel = |body| post("/acme/tasks/t-1:cancel", &body);
    for body in [json!({"id": "t-1", "tenant": "acme"}), json!({"id": null}), json!({"taskId": ""})]
    {
        let Call::CancelTask(request) = call(cancel(body)) else { panic!() };
        assert_eq!(request.id, "t-1");
    }
    assert_eq!(wrong(cancel(json!({"id": "t-2"}))), "id");
    assert_eq!(wrong(cancel(json!({"task_id": "t-2"}))), "task_id");
    assert_eq!(wrong(cancel(json!({"id": 1}))), "id");
    assert_eq!(wrong(cancel(json!({"tenant": "other"}))), "tenant");
    let configs = "/tasks/t-1/pushNotificationConfigs";
    let body = json!({"taskId": "t-2", "url": "https://example.com"});
    assert_eq!(wrong(post(configs, &body)), "taskId");
    assert_eq!(wrong(get("/acme/tasks/t-1?tenant=other")), "tenant");
}

#[test]
fn the_rest_of_a_cancel_is_read() {
    let body = json!({"metadata": {"why": "late"}});
    let Call::CancelTask(request) = call(post("/tasks/t-1:cancel", &body)) else { panic!() };
    assert_eq!(request.metadata.unwrap().text(), r#"{"why":"late"}"#);
}

#[test]
fn no_body_is_an_empty_one_where_nothing_is_required() {
    for path in [
        "/tasks/t-1:cancel",
        "/tasks/t-1:subscribe",
        "/v1/tasks/t-1:cancel",
        "/v1/tasks/t-1:subscribe",
    ] {
        for body in ["", "  \n", "{}"] {
            let request = route("POST", path).unwrap().decode(None, body.as_bytes());
            assert!(request.is_ok(), "{path} {body:?}");
        }
    }
}

#[test]
fn a_message_needs_a_body() {
    for path in ["/message:send", "/acme/message:stream", "/v1/message:send"] {
        assert_eq!(wrong(route("POST", path).unwrap().decode(None, b"")), "message");
    }
}

#[test]
fn a_body_that_is_not_json_is_no_request() {
    for path in [
        "/message:send",
        "/v1/message:send",
        "/tasks/t-1:cancel",
        "/v1/tasks/t-1/pushNotificationConfigs",
    ] {
        for body in [&b"{"[..], b"{} {}", b"hello", b"{\"a\": \"\xff\"}"] {
            let error = route("POST", path).unwrap().decode(None, body).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Parse, "{path}");
        }
        for body in ["[]", "7", "null", "\"x\""] {
            let error = route("POST", path).unwrap().decode(None, body.as_bytes()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidParams, "{path} {body}");
        }
    }
}

#[test]
fn a_part_with_two_contents_is_refused_in_every_form() {
    let mut body = value(SEND);
    body["message"]["parts"][0]["raw"] = "aGk=".into();
    assert!(wrong(post("/message:send", &body)).starts_with("message.parts[0]"));
    let body = json!({"message": {"messageId": "m", "role": "ROLE_USER",
        "content": [{"text": "hi", "data": {"data": {}}}]}});
    assert!(wrong(post("/v1/message:send", &body)).starts_with("message.content[0]"));
    let file = json!({"fileWithUri": "https://example.com", "fileWithBytes": "aGk="});
    let body =
        json!({"message": {"messageId": "m", "role": "ROLE_USER", "content": [{"file": file}]}});
    assert!(wrong(post("/v1/message:send", &body)).starts_with("message.content[0]"));
}

#[test]
fn a_member_that_is_there_twice_is_refused_like_in_json_rpc() {
    let twice = SEND.replacen('{', r#"{"configuration": {}, "configuration": {}, "#, 1);
    for path in ["/message:send", "/acme/message:send", "/v1/message:send"] {
        let error = route("POST", path).unwrap().decode(None, twice.as_bytes()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{path}");
    }
}

#[test]
fn the_query_of_a_list_is_read_in_either_case() {
    let camel = "/tasks?contextId=c&status=working&pageSize=7&pageToken=p%26q&historyLength=0\
        &statusTimestampAfter=2026-01-02T03:04:05%2B01:00&includeArtifacts=true&A2A-Version=1.0";
    let snake = "/tasks?context_id=c&status=2&page_size=7&page_token=p%26q&history_length=0\
        &status_timestamp_after=2026-01-02T03:04:05+01:00&include_artifacts=1&x=1&x=2";
    let Call::ListTasks(request) = call(get(camel)) else { panic!() };
    assert_eq!(request.context_id.as_ref().unwrap(), &"c");
    assert_eq!(request.status, TaskState::Working);
    assert_eq!((request.page_size, request.history_length), (Some(7), Some(0)));
    assert_eq!(request.page_token.as_deref(), Some("p&q"));
    assert!(request.include_artifacts);
    let after = request.status_timestamp_after.unwrap().to_string();
    assert_eq!(after, "2026-01-02T02:04:05.000Z");
    assert_eq!(call(get(snake)), Call::ListTasks(request));
}

#[test]
fn a_state_is_filtered_by_any_of_its_names() {
    for name in ["canceled", "TASK_STATE_CANCELED", "TASK_STATE_CANCELLED", "5"] {
        for path in ["/tasks", "/v1/tasks"] {
            let Call::ListTasks(request) = call(get(&format!("{path}?status={name}"))) else {
                panic!()
            };
            assert_eq!(request.status, TaskState::Canceled, "{path} {name}");
        }
    }
}

#[test]
fn a_wrong_parameter_is_named_as_it_was_sent() {
    for (query, field) in [
        ("page_size=ten", "page_size"),
        ("pageSize=0", "pageSize"),
        ("status=busy", "status"),
        ("status=99", "status"),
        ("includeArtifacts=yes", "includeArtifacts"),
        ("historyLength=-1", "historyLength"),
        ("statusTimestampAfter=today", "statusTimestampAfter"),
        ("contextId=%ff", "contextId"),
        ("pageSize=1&page_size=1", "page_size"),
        ("status=&status=", "status"),
    ] {
        assert_eq!(wrong(get(&format!("/tasks?{query}"))), field, "{query}");
    }
    assert_eq!(wrong(get("/v1/tasks/t-1?historyLength=x")), "historyLength");
}

#[test]
fn an_empty_parameter_is_an_absent_one() {
    let Call::GetTask(request) = call(get("/tasks/t-1?historyLength=&a2a-version=")) else {
        panic!()
    };
    assert_eq!(request.history_length, None);
    let Call::GetTask(request) = call(get("/v1/tasks/t-1?history_length=3")) else { panic!() };
    assert_eq!((request.id.as_str(), request.history_length), ("t-1", Some(3)));
}

#[test]
fn a_config_is_named_by_task_and_id() {
    for at in ["", "/v1"] {
        let path = format!("{at}/tasks/t-1/pushNotificationConfigs");
        let one = format!("{path}/c-1");
        let Call::GetTaskPushNotificationConfig(request) = call(get(&one)) else { panic!() };
        assert_eq!((request.task_id.as_str(), request.id.as_str()), ("t-1", "c-1"));
        let request = route("DELETE", &one).unwrap().decode(None, b"");
        let Call::DeleteTaskPushNotificationConfig(request) = call(request) else { panic!() };
        assert_eq!((request.task_id.as_str(), request.id.as_str()), ("t-1", "c-1"));
        let Call::ListTaskPushNotificationConfigs(request) = call(get(&path)) else { panic!() };
        assert_eq!(request.task_id, "t-1");
    }
}

#[test]
fn a_config_of_v1_0_is_flat() {
    let body =
        json!({"id": "c-1", "url": "https://example.com", "authentication": {"scheme": "Bearer"}});
    let config = config(post("/acme/tasks/t-1/pushNotificationConfigs", &body));
    assert_eq!(config.task_id.unwrap(), "t-1");
    assert_eq!((config.id.as_deref(), config.tenant.as_deref()), (Some("c-1"), Some("acme")));
}

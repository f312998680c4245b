//! The two spellings of v0.3 over HTTP: the JSON types of its specification, and its protobuf.

use crate::rest_decode::{config, get, post, wrong};
use pilothouse_a2a::operation::Call;
use pilothouse_a2a::rest::Form;
use pilothouse_a2a::{PartContent, Role};
use serde_json::{Value, json};

/// A message in the words of v0.3's protobuf, as an SDK writes it.
fn proto_message() -> Value {
    json!({
        "messageId": "m-1",
        "contextId": "c-1",
        "role": "ROLE_USER",
        "content": [
            {"text": "hi", "metadata": {"a": 1}},
            {"file": {"fileWithBytes": "aGk=", "mimeType": "text/plain", "name": "a.txt"}},
            {"file": {"fileWithUri": "https://example.com/a"}},
            {"data": {"data": {"k": 1}}},
        ],
        "extensions": ["https://example.com/e"],
    })
}

#[test]
fn both_spellings_of_v0_3_say_the_same() {
    let kind = json!({
        "message": {
            "kind": "message",
            "messageId": "m-1",
            "contextId": "c-1",
            "role": "user",
            "parts": [
                {"kind": "text", "text": "hi", "metadata": {"a": 1}},
                {"kind": "file", "file": {"bytes": "aGk=", "mimeType": "text/plain", "name": "a.txt"}},
                {"kind": "file", "file": {"uri": "https://example.com/a"}},
                {"kind": "data", "data": {"k": 1}},
            ],
            "extensions": ["https://example.com/e"],
        },
        "configuration": {"blocking": false, "historyLength": 2,
            "pushNotificationConfig": {"url": "https://example.com"}},
    });
    let configuration = json!({"blocking": false, "historyLength": 2,
        "pushNotification": {"url": "https://example.com"}});
    let kind = post("/v1/message:send", &kind).unwrap();
    assert_eq!((kind.form, kind.told), (Form::Kind, true));
    assert_eq!(kind.decoded.blocking, Some(false));
    for member in ["message", "request"] {
        let body = json!({member: proto_message(), "configuration": configuration});
        let proto = post("/v1/message:send", &body).unwrap();
        assert_eq!((proto.form, proto.told), (Form::Proto, true));
        assert_eq!(proto.decoded, kind.decoded);
    }
}

#[test]
fn protobuf_names_are_read_in_either_case_with_numbers_and_nulls() {
    let body = json!({
        "message": {"message_id": "m-1", "context_id": "", "task_id": "t-1", "role": 1, "metadata": null,
            "content": [{"text": null, "file": {"file_with_uri": "", "file_with_bytes": "aGk", "mime_type": ""}}]},
        "configuration": {"accepted_output_modes": ["text/plain"], "history_length": 0,
            "push_notification": null, "blocking": null},
        "unknown": 1,
    });
    let request = post("/v1/message:stream", &body).unwrap();
    assert_eq!(request.decoded.blocking, Some(false));
    let Call::SendStreamingMessage(request) = request.decoded.call else { panic!() };
    assert_eq!((request.message.context_id, request.message.role), (None, Role::User));
    assert_eq!(request.message.task_id.unwrap(), "t-1");
    assert_eq!(request.message.parts[0].content, PartContent::Raw(b"hi".to_vec()));
    assert_eq!(request.message.parts[0].media_type, None);
    let configuration = request.configuration.unwrap();
    assert_eq!(configuration.history_length, None);
    assert!(configuration.return_immediately);
}

#[test]
fn what_is_missing_in_protobuf_is_named() {
    let send = |change: fn(&mut Value)| {
        let mut message = proto_message();
        change(&mut message);
        wrong(post("/v1/message:send", &json!({"message": message})))
    };
    assert_eq!(send(|message| message["messageId"] = "".into()), "message.messageId");
    assert_eq!(send(|message| message["content"] = json!([])), "message.content");
    assert_eq!(send(|message| message["content"] = json!([{}])), "message.content[0]");
    assert_eq!(send(|message| message["role"] = "ROLE_UNSPECIFIED".into()), "message.role");
    assert_eq!(
        send(|message| drop(message.as_object_mut().unwrap().remove("role"))),
        "message.role"
    );
    let body = json!({"message": proto_message(), "request": proto_message()});
    assert_eq!(wrong(post("/v1/message:send", &body)), "request");
}

#[test]
fn what_has_the_body_of_neither_spelling_is_refused_by_the_json_types() {
    let body = json!({"message": {"messageId": "m-1", "role": "user"}});
    assert_eq!(wrong(post("/v1/message:send", &body)), "message.parts");
    assert_eq!(wrong(post("/v1/message:send", &json!({"message": 7}))), "message");
}

#[test]
fn a_config_of_v0_3_is_read_with_and_without_what_is_around_it() {
    let bare = json!({"id": "c-1", "url": "https://example.com", "token": "",
        "authentication": {"schemes": ["Bearer"], "credentials": "x"}});
    let name = "tasks/t-1/pushNotificationConfigs/c-1";
    let full = json!({"name": name, "pushNotificationConfig": bare});
    let bodies = [
        (bare.clone(), Form::Kind, true),
        (json!({"taskId": "t-1", "pushNotificationConfig": bare}), Form::Kind, true),
        (json!({"config": {"taskId": "t-1", "pushNotificationConfig": bare}}), Form::Kind, true),
        (json!({"pushNotificationConfig": bare}), Form::Proto, false),
        (full.clone(), Form::Proto, true),
        (json!({"parent": "tasks/t-1", "configId": "c-1", "config": full}), Form::Proto, true),
        (
            json!({"parent": "tasks/t-1", "config_id": "c-1", "config": {"name": name,
                "push_notification_config": bare}}),
            Form::Proto,
            true,
        ),
    ];
    let expected = config(post(
        "/tasks/t-1/pushNotificationConfigs",
        &json!({"id": "c-1",
        "url": "https://example.com", "authentication": {"scheme": "Bearer", "credentials": "x"}}),
    ));
    for (body, form, told) in bodies {
        let request = post("/v1/tasks/t-1/pushNotificationConfigs", &body).unwrap();
        assert_eq!((request.form, request.told), (form, told), "{body}");
        assert_eq!(config(Ok(request)), expected, "{body}");
    }
}

#[test]
fn the_id_of_a_config_may_stand_beside_it() {
    let body = json!({"parent": "tasks/t-1", "configId": "c-1", "config":
        {"name": "tasks/t-1/pushNotificationConfigs/None", "pushNotificationConfig": {"url": "https://example.com"}}});
    let config = config(post("/v1/tasks/t-1/pushNotificationConfigs", &body));
    assert_eq!(config.id.as_deref(), Some("c-1"));
}

#[test]
fn a_resource_name_may_not_contradict_the_path() {
    let configs = "/v1/tasks/t-1/pushNotificationConfigs";
    let push = json!({"url": "https://example.com"});
    let body = json!({"parent": "tasks/t-2", "config": {"pushNotificationConfig": push}});
    assert_eq!(wrong(post(configs, &body)), "parent");
    let body = json!({"config": {"name": "tasks/t-2/pushNotificationConfigs/c", "pushNotificationConfig": push}});
    assert_eq!(wrong(post(configs, &body)), "config.name");
    let body = json!({"config": {"taskId": "t-2", "pushNotificationConfig": push}});
    assert_eq!(wrong(post(configs, &body)), "config.taskId");
    assert_eq!(wrong(post(configs, &json!({"config": {}}))), "config.pushNotificationConfig");
    let body = json!({"config": {"pushNotificationConfig": {"url": ""}}});
    assert_eq!(wrong(post(configs, &body)), "config.pushNotificationConfig.url");
    assert_eq!(wrong(post("/v1/tasks/t-1:cancel", &json!({"name": "tasks/t-2"}))), "name");
    assert!(post("/v1/tasks/t-1:cancel", &json!({"name": "tasks/t-1"})).is_ok());
}

#[test]
fn a_request_that_shows_no_form_says_so() {
    for request in [
        get("/v1/tasks/t-1"),
        get("/v1/card"),
        post("/v1/tasks/t-1:cancel", &json!({"name": "tasks/t-1"})),
    ] {
        let request = request.unwrap();
        assert_eq!((request.form, request.told), (Form::Proto, false));
    }
    let request = post("/v1/tasks/t-1:cancel", &json!({"id": "t-1"})).unwrap();
    assert_eq!((request.form, request.told), (Form::Kind, true));
    assert!(get("/tasks/t-1").unwrap().told);
}

//! Requests that are refused, and the field that the refusal names.

use crate::decode;
use pilothouse_a2a::ErrorKind;
use serde_json::{Value, json};

/// The fields that a refusal names.
fn fields(method: &str, params: &Value) -> Vec<String> {
    let error = decode(method, params).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParams, "{error}");
    error.violations.into_iter().map(|violation| violation.field).collect()
}

fn v1(message: Value) -> Value {
    json!({ "message": message })
}

#[test]
fn v1_0_names_the_field_that_is_wrong() {
    let part = json!({"text": "x"});
    for (params, field) in [
        (json!({}), "message"),
        (v1(json!({"messageId": "m", "parts": [part]})), "message.role"),
        (v1(json!({"role": "ROLE_USER", "parts": [part]})), "message.messageId"),
        (v1(json!({"messageId": "m", "role": "user", "parts": [part]})), "message.role"),
        (v1(json!({"messageId": "", "role": 1, "parts": [part]})), "message.messageId"),
        (v1(json!({"messageId": "m", "role": 1})), "message.parts"),
        (v1(json!({"messageId": "m", "role": 1, "parts": []})), "message.parts"),
        (v1(json!({"messageId": "m", "role": 1, "parts": [part, {}]})), "message.parts[1]"),
        (
            v1(json!({"messageId": "m", "role": 1, "parts": [{"text": "a", "url": "b"}]})),
            "message.parts[0]",
        ),
        (
            v1(json!({"messageId": "m", "role": 1, "parts": [{"raw": "***"}]})),
            "message.parts[0].raw",
        ),
        (
            v1(json!({"messageId": "m", "role": 1, "parts": [part], "metadata": []})),
            "message.metadata",
        ),
        (
            json!({"message": {"messageId": "m", "role": 1, "parts": [part]},
                   "configuration": {"historyLength": -1}}),
            "configuration.historyLength",
        ),
        (
            json!({"message": {"messageId": "m", "role": 1, "parts": [part]},
                   "configuration": {"taskPushNotificationConfig": {"url": ""}}}),
            "configuration.taskPushNotificationConfig.url",
        ),
    ] {
        assert_eq!(fields("SendMessage", &params), [field], "{params}");
    }
}

#[test]
fn v0_3_names_the_field_that_is_wrong() {
    let part = json!({"kind": "text", "text": "x"});
    for (params, field) in [
        (json!({}), "message"),
        (v1(json!({"role": "user", "parts": [part]})), "message.messageId"),
        (v1(json!({"messageId": "", "role": "user", "parts": [part]})), "message.messageId"),
        (v1(json!({"messageId": "m", "parts": [part]})), "message.role"),
        (v1(json!({"messageId": "m", "role": "robot", "parts": [part]})), "message.role"),
        (v1(json!({"messageId": "m", "role": "user"})), "message.parts"),
        (v1(json!({"messageId": "m", "role": "user", "parts": []})), "message.parts"),
        (v1(json!({"messageId": "m", "role": "user", "parts": "x"})), "message.parts"),
        (
            v1(json!({"messageId": "m", "role": "user", "parts": [{"kind": "song"}]})),
            "message.parts[0]",
        ),
        (
            v1(json!({"messageId": "m", "role": "user", "parts": [{"kind": "file", "file": {}}]})),
            "message.parts[0]",
        ),
        (
            json!({"message": {"messageId": "m", "role": "user", "parts": [part]},
                   "configuration": {"historyLength": -1}}),
            "configuration.historyLength",
        ),
        (
            json!({"message": {"messageId": "m", "role": "user", "parts": [part]},
                   "configuration": {"pushNotificationConfig": {"url": ""}}}),
            "configuration.pushNotificationConfig.url",
        ),
    ] {
        assert_eq!(fields("message/send", &params), [field], "{params}");
    }
}

#[test]
fn v0_1_names_the_field_that_is_wrong() {
    let message = json!({"role": "user", "parts": [{"type": "text", "text": "x"}]});
    for (params, field) in [
        (json!({"id": "", "message": message}), "id"),
        (json!({"id": "a"}), "message"),
        (json!({"id": "a", "message": {"role": "user", "parts": []}}), "message.parts"),
        (json!({"id": "a", "message": message, "historyLength": -1}), "historyLength"),
    ] {
        assert_eq!(fields("tasks/send", &params), [field], "{params}");
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (method, params, field) in [
        ("GetTask", json!({"id": "t", "historyLength": -1}), "historyLength"),
        ("tasks/get", json!({"id": "t", "historyLength": -1}), "historyLength"),
        ("GetTask", json!({"id": ""}), "id"),
        ("CancelTask", json!({}), "id"),
        ("ListTasks", json!({"pageSize": 0}), "pageSize"),
        ("ListTasks", json!({"pageSize": 101}), "pageSize"),
        ("ListTasks", json!({"pageSize": -5}), "pageSize"),
        ("ListTasks", json!({"historyLength": -5}), "historyLength"),
        ("ListTasks", json!({"status": "TASK_STATE_BUSY"}), "status"),
        ("ListTasks", json!({"statusTimestampAfter": "yesterday"}), "statusTimestampAfter"),
        ("GetTaskPushNotificationConfig", json!({"taskId": "t", "id": ""}), "id"),
        ("CreateTaskPushNotificationConfig", json!({"url": "u"}), "taskId"),
        ("tasks/pushNotificationConfig/delete", json!({"id": "t"}), "pushNotificationConfigId"),
    ] {
        assert_eq!(fields(method, &params), [field], "{method} {params}");
    }
}

#[test]
fn all_wrong_fields_are_named_at_once() {
    let params = json!({
        "message": {"messageId": "", "role": 1, "parts": []},
        "configuration": {"historyLength": -1},
    });
    assert_eq!(
        fields("SendMessage", &params),
        ["message.messageId", "message.parts", "configuration.historyLength"]
    );
    let told = decode("SendMessage", &params).unwrap_err().to_string();
    insta::assert_snapshot!(told, @"`message.messageId`: must not be empty; `message.parts`: must not be empty; `configuration.historyLength`: must not be negative");
}

#[test]
fn values_too_deep_to_be_read_again_are_refused() {
    let nested = |levels: usize| -> Value {
        serde_json::from_str(&format!("{}{}", "[".repeat(levels), "]".repeat(levels))).unwrap()
    };
    let params =
        |levels| v1(json!({"messageId": "m", "role": 1, "parts": [{"data": nested(levels)}]}));
    decode("SendMessage", &params(100)).unwrap();
    assert_eq!(fields("SendMessage", &params(101)), ["message.parts[0].data"]);
}

#[test]
fn operations_without_required_fields_need_no_params() {
    for name in ["ListTasks", "GetExtendedAgentCard", "agent/getAuthenticatedExtendedCard"] {
        let method = pilothouse_a2a::dialect::method(name).unwrap();
        method.dialect.decode(method.operation, None).unwrap();
    }
}

#[test]
fn what_a_dialect_does_not_have_is_no_method() {
    use pilothouse_a2a::{Dialect, Operation};
    let error = Dialect::V0_1.decode(Operation::ListTasks, None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::MethodNotFound);
}

#[test]
fn a_refusal_tells_back_only_the_beginning_of_what_was_sent() {
    let params = v1(json!({"messageId": "m", "role": "ü".repeat(1 << 20), "parts": []}));
    assert!(decode("SendMessage", &params).unwrap_err().message.len() < 1000);
    let error = pilothouse_a2a::Error::task_not_found(&"t".repeat(1 << 20));
    assert!(error.message.len() < 1000 && error.metadata["taskId"].len() < 1000);
}

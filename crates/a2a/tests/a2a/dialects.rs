//! The older dialects as views of the model, both ways.

use crate::{decode, decode_as, fixture, value};
use pilothouse_a2a::dialect::{Dialect, Encoder, method};
use pilothouse_a2a::operation::{
    ListTaskPushNotificationConfigsResponse, ListTasksResponse, OPERATIONS,
};
use pilothouse_a2a::{
    Call, Message, Operation, Reply, StreamResponse, Task, TaskPushNotificationConfig, TaskState,
    TaskStatus, TaskStatusUpdateEvent,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const ALIAS: Option<&str> = Some("my-own-id");

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

/// One event in every dialect: the model's fixture, then the fixtures of 0.3 and 0.1.
fn events() -> Vec<(StreamResponse, &'static str, Option<&'static str>)> {
    vec![
        (StreamResponse::Message(read(fixture!("v1_0/message"))), fixture!("v0_3/message"), None),
        (StreamResponse::Task(read(fixture!("v1_0/task"))), fixture!("v0_3/task"), None),
        (
            StreamResponse::StatusUpdate(read(fixture!("v1_0/status_update"))),
            fixture!("v0_3/status_update"),
            Some(fixture!("v0_1/status_update")),
        ),
        (
            StreamResponse::ArtifactUpdate(read(fixture!("v1_0/artifact_update"))),
            fixture!("v0_3/artifact_update"),
            Some(fixture!("v0_1/artifact_update")),
        ),
    ]
}

#[test]
fn every_event_is_written_in_every_dialect() {
    for (event, v0_3, v0_1) in events() {
        let written = Dialect::V0_3.encode_event(&event, None).unwrap();
        assert_eq!(value(&written), value(v0_3));
        if let Some(v0_1) = v0_1 {
            let written = Dialect::V0_1.encode_event(&event, ALIAS).unwrap();
            assert_eq!(value(&written), value(v0_1));
        }
    }
}

#[test]
fn a_task_is_an_answer_in_every_dialect() {
    let reply = Reply::Task(read(fixture!("v1_0/task")));
    let told = |dialect: Dialect, operation| value(&dialect.encode_reply(operation, &reply, ALIAS));
    assert_eq!(told(Dialect::V1_0, Operation::GetTask), value(fixture!("v1_0/task")));
    assert_eq!(
        told(Dialect::V1_0, Operation::SendMessage),
        json!({"task": value(fixture!("v1_0/task"))})
    );
    assert_eq!(told(Dialect::V0_3, Operation::SendMessage), value(fixture!("v0_3/task")));
    assert_eq!(told(Dialect::V0_1, Operation::SendMessage), value(fixture!("v0_1/task")));
}

#[test]
fn a_message_is_an_answer_in_every_dialect() {
    let mut message = Message::agent_text("hi");
    message.message_id = "m".into();
    let reply = Reply::Message(message);
    let told = |dialect: Dialect| dialect.encode_reply(Operation::SendMessage, &reply, ALIAS);
    insta::assert_snapshot!(told(Dialect::V1_0), @r#"{"message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"hi"}]}}"#);
    insta::assert_snapshot!(told(Dialect::V0_3), @r#"{"kind":"message","messageId":"m","role":"agent","parts":[{"kind":"text","text":"hi"}]}"#);
    insta::assert_snapshot!(told(Dialect::V0_1), @r#"{"id":"my-own-id","status":{"state":"completed","message":{"role":"agent","parts":[{"type":"text","text":"hi"}]}}}"#);
}

#[test]
fn push_configs_are_nested_in_older_dialects() {
    let config: TaskPushNotificationConfig = read(fixture!("v1_0/push_config"));
    let one = Reply::PushConfig(config.clone());
    let all = Reply::PushConfigs(ListTaskPushNotificationConfigsResponse {
        configs: vec![config],
        next_page_token: None,
    });
    let operation = Operation::CreateTaskPushNotificationConfig;
    let told = |dialect: Dialect, reply| value(&dialect.encode_reply(operation, reply, ALIAS));
    assert_eq!(told(Dialect::V1_0, &one), value(fixture!("v1_0/push_config")));
    assert_eq!(told(Dialect::V0_3, &one), value(fixture!("v0_3/push_config")));
    assert_eq!(told(Dialect::V0_1, &one), value(fixture!("v0_1/push_config")));
    assert_eq!(
        told(Dialect::V1_0, &all),
        json!({"configs": [value(fixture!("v1_0/push_config"))]})
    );
    assert_eq!(told(Dialect::V0_3, &all), json!([value(fixture!("v0_3/push_config"))]));
}

#[test]
fn a_deletion_answers_with_an_object_in_v1_and_null_before() {
    let operation = Operation::DeleteTaskPushNotificationConfig;
    assert_eq!(Dialect::V1_0.encode_reply(operation, &Reply::Empty, None), "{}");
    assert_eq!(Dialect::V0_3.encode_reply(operation, &Reply::Empty, None), "null");
}

#[test]
fn a_page_of_v0_3_has_tasks_of_v0_3() {
    let page: ListTasksResponse = read(fixture!("v1_0/list_response"));
    let told = Dialect::V0_3.encode_reply(Operation::ListTasks, &Reply::Tasks(page), None);
    insta::assert_snapshot!(told, @r#"{"tasks":[{"kind":"task","id":"t-1","contextId":"c-1","status":{"state":"submitted"}}],"nextPageToken":"","pageSize":50,"totalSize":1}"#);
}

#[test]
fn older_streams_are_final_at_the_end_and_at_a_question() {
    for state in TaskState::ALL {
        let event = StreamResponse::StatusUpdate(TaskStatusUpdateEvent::new(
            "t".into(),
            "c".into(),
            TaskStatus { state, message: None, timestamp: None },
        ));
        let expected = json!(state.is_terminal() || state.is_interrupted());
        for dialect in [Dialect::V0_3, Dialect::V0_1] {
            let told = value(&dialect.encode_event(&event, None).unwrap());
            assert_eq!(told["final"], expected, "{state:?} in {dialect:?}");
        }
    }
}

#[test]
fn a_v0_1_stream_begins_with_a_status_that_carries_the_task() {
    let event = StreamResponse::Task(read(fixture!("v1_0/task")));
    let told = value(&Dialect::V0_1.encode_event(&event, ALIAS).unwrap());
    let mut expected = value(fixture!("v0_1/task"));
    expected.as_object_mut().unwrap().remove("history");
    expected["final"] = json!(true);
    assert_eq!(told, expected);
}

#[test]
fn a_v0_1_stream_numbers_artifacts_in_the_order_of_their_birth() {
    let mut encoder = Encoder::new(Dialect::V0_1, None);
    let mut task: Task = read(fixture!("v1_0/task"));
    task.artifacts.truncate(1);
    encoder.encode(&StreamResponse::Task(task)).unwrap();
    let mut index = |id: &str| -> Value {
        let mut update = value(fixture!("v1_0/artifact_update"));
        update["artifact"]["artifactId"] = json!(id);
        let event = StreamResponse::ArtifactUpdate(serde_json::from_value(update).unwrap());
        value(&encoder.encode(&event).unwrap())["artifact"]["index"].clone()
    };
    assert_eq!([index("new"), index("a-1"), index("new")], [json!(1), json!(0), json!(1)]);
}

#[test]
fn the_same_request_is_read_from_every_dialect() {
    let v1 = decode("SendMessage", &value(fixture!("v1_0/send"))).unwrap();
    let v0_3 = decode("message/send", &value(fixture!("v0_3/send"))).unwrap();
    let v0_1 = decode("tasks/send", &value(fixture!("v0_1/send"))).unwrap();
    assert_eq!(v0_3.blocking, Some(false));
    assert_eq!(v0_1.client_task_id.as_deref(), ALIAS);

    let Call::SendMessage(mut v1) = v1.call else { panic!() };
    let Call::SendMessage(v0_3) = v0_3.call else { panic!() };
    let Call::SendMessage(v0_1) = v0_1.call else { panic!() };
    v1.tenant = None;
    assert_eq!(v0_3, v1);

    // The oldest has no ids for messages and no choice about waiting.
    v1.message.message_id = v0_1.message.message_id.clone();
    v1.message.context_id = Some("c-1".into());
    v1.configuration.as_mut().unwrap().return_immediately = false;
    assert_eq!(v0_1, v1);
}

#[test]
fn blocking_left_out_is_told_apart_from_given() {
    let mut params = value(fixture!("v0_3/send"));
    params["configuration"].as_object_mut().unwrap().remove("blocking");
    assert_eq!(decode("message/send", &params).unwrap().blocking, None);
    params["configuration"]["blocking"] = json!(true);
    assert_eq!(decode("message/send", &params).unwrap().blocking, Some(true));
    params.as_object_mut().unwrap().remove("configuration");
    assert_eq!(decode("message/stream", &params).unwrap().blocking, None);
}

#[test]
fn parts_of_older_dialects_are_known_by_either_tag_or_by_their_members() {
    for part in [
        json!({"kind": "text", "text": "x"}),
        json!({"type": "text", "text": "x"}),
        json!({"text": "x", "file": null}),
    ] {
        let message = json!({"messageId": "m", "role": "user", "parts": [part]});
        let read = decode("message/send", &json!({"message": message})).unwrap();
        let Call::SendMessage(request) = read.call else { panic!() };
        assert_eq!(request.message.text_content(), "x");
    }
}

#[test]
fn every_method_name_has_one_meaning() {
    let names = OPERATIONS.iter().map(|names| names.method).chain([
        "message/send",
        "message/stream",
        "tasks/get",
        "tasks/list",
        "tasks/cancel",
        "tasks/resubscribe",
        "tasks/pushNotificationConfig/set",
        "tasks/pushNotificationConfig/get",
        "tasks/pushNotificationConfig/list",
        "tasks/pushNotificationConfig/delete",
        "agent/getAuthenticatedExtendedCard",
        "tasks/send",
        "tasks/sendSubscribe",
        "tasks/pushNotification/set",
        "tasks/pushNotification/get",
    ]);
    let table: Vec<String> = names
        .map(|name| {
            let known = method(name).unwrap();
            let shared = if known.shared { " (shared with 0.1)" } else { "" };
            let version = known.dialect.version();
            format!("{name}: {:?} in {version}{shared}", known.operation)
        })
        .collect();
    insta::assert_snapshot!(table.join("\n"));
    assert_eq!(method("tasks/unknown"), None);
    assert_eq!(method("sendmessage"), None);
}

#[test]
fn methods_on_one_task_are_read_in_both_older_dialects() {
    let params = json!({"id": "t-1", "historyLength": "2", "metadata": {"a": 1}});
    for name in ["tasks/get", "tasks/cancel", "tasks/resubscribe"] {
        let shared = method(name).unwrap();
        let v0_3 = decode(name, &params).unwrap();
        let v0_1 = decode_as(Dialect::V0_1, shared, &params).unwrap();
        assert_eq!(v0_3.call, v0_1.call);
        assert_eq!(v0_3.client_task_id, None);
        assert_eq!(v0_1.client_task_id.as_deref(), Some("t-1"));
    }
}

#[test]
fn push_methods_of_older_dialects_are_read() {
    let told = |name: &str, params: Value| decode(name, &params).unwrap().call;
    let expected: TaskPushNotificationConfig = read(fixture!("v1_0/push_config"));
    assert_eq!(
        told("tasks/pushNotificationConfig/set", value(fixture!("v0_3/push_config"))),
        Call::CreateTaskPushNotificationConfig(expected)
    );
    let Call::GetTaskPushNotificationConfig(first) =
        told("tasks/pushNotificationConfig/get", json!({"id": "t-1"}))
    else {
        panic!()
    };
    assert_eq!((first.task_id.as_str(), first.id.as_str()), ("t-1", ""));
    let Call::DeleteTaskPushNotificationConfig(gone) = told(
        "tasks/pushNotificationConfig/delete",
        json!({"id": "t-1", "pushNotificationConfigId": "hook"}),
    ) else {
        panic!()
    };
    assert_eq!((gone.task_id.as_str(), gone.id.as_str()), ("t-1", "hook"));
}

#[test]
fn versions_are_read_without_their_patch() {
    for (text, dialect) in [
        ("1.0", Some(Dialect::V1_0)),
        ("1.0.1", Some(Dialect::V1_0)),
        ("1", Some(Dialect::V1_0)),
        ("0.3", Some(Dialect::V0_3)),
        ("0.3.0", Some(Dialect::V0_3)),
        ("0.2.6", Some(Dialect::V0_3)),
        ("0.1", Some(Dialect::V0_1)),
        ("1.1", None),
        ("99.0", None),
        ("", None),
    ] {
        assert_eq!(Dialect::from_version(text), dialect, "{text}");
    }
}

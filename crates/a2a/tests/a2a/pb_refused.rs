//! What comes over the gRPC wire and is refused: named where it can be named, never a crash.

use crate::fixture;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::operation::{Call, Operation, Reply};
use pilothouse_a2a::pb;
use pilothouse_a2a::{Message, PartContent, StreamResponse, Task, TaskState, TaskStatus};
use serde_json::{Value, json};

const BOTH: [Dialect; 2] = [Dialect::V1_0, Dialect::V0_3];

/// A field of wire type 2, whatever its meaning.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut length = content.len();
    let mut bytes = vec![number << 3 | 2];
    while length > 0x7f {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(content);
    bytes
}

fn refused(dialect: Dialect, operation: Operation, body: &[u8]) -> Error {
    let error = pb::decode(dialect, operation, body).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParams, "{error}");
    error
}

#[test]
fn an_empty_request_names_what_it_lacks() {
    for dialect in BOTH {
        for operation in [Operation::SendMessage, Operation::SendStreamingMessage] {
            assert_eq!(refused(dialect, operation, b"").message, "`message`: is required");
        }
    }
    for (operation, field) in [
        (Operation::GetTask, "id"),
        (Operation::CancelTask, "id"),
        (Operation::SubscribeToTask, "id"),
        (Operation::CreateTaskPushNotificationConfig, "taskId"),
        (Operation::ListTaskPushNotificationConfigs, "taskId"),
        (Operation::DeleteTaskPushNotificationConfig, "taskId"),
    ] {
        let error = refused(Dialect::V1_0, operation, b"");
        assert_eq!(error.violations[0].field, field);
        assert_eq!(error.violations[0].description, "must not be empty");
    }
    pb::decode(Dialect::V1_0, Operation::ListTasks, b"").unwrap();
    pb::decode(Dialect::V1_0, Operation::GetExtendedAgentCard, b"").unwrap();
    pb::decode(Dialect::V0_3, Operation::GetExtendedAgentCard, b"").unwrap();
}

#[test]
fn the_same_mistake_is_told_alike_in_json_and_protobuf() {
    let call = |request: Value| Call::SendMessage(serde_json::from_value(request).unwrap());
    let call = call(json!({
        "message": {"messageId": "", "role": 1, "parts": []},
        "configuration": {"historyLength": -1, "taskPushNotificationConfig": {"url": ""}},
    }));
    let told = |dialect| {
        let error = refused(dialect, Operation::SendMessage, &pb::encode_call(dialect, &call));
        let fields = error.violations.into_iter().map(|violation| violation.field);
        fields.collect::<Vec<_>>()
    };
    let by_json: Vec<String> = match call.check() {
        Err(error) => error.violations.into_iter().map(|wrong| wrong.field).collect(),
        Ok(()) => panic!("not refused"),
    };
    assert_eq!(told(Dialect::V1_0), by_json);
    assert_eq!(
        told(Dialect::V0_3),
        [
            "message.messageId",
            "message.content",
            "configuration.historyLength",
            "configuration.pushNotification.url",
        ]
    );
}

#[test]
fn unknown_roles_and_filters_are_refused_by_name() {
    let text = field(1, b"hi");
    let of_role = |role: &[u8]| [field(1, b"m"), role.to_vec(), field(5, &text)].concat();
    for (role, told) in [
        (&[0x20, 7][..], "`message.role`: 7 is no role; 1 is ROLE_USER, 2 is ROLE_AGENT"),
        (&[][..], "`message.role`: is required"),
    ] {
        let (message, old) = (field(2, &of_role(role)), field(1, &of_role(role)));
        assert_eq!(refused(Dialect::V1_0, Operation::SendMessage, &message).message, told);
        assert_eq!(refused(Dialect::V0_3, Operation::SendMessage, &old).message, told);
    }
    let error = refused(Dialect::V1_0, Operation::ListTasks, &[0x18, 99]);
    assert_eq!(error.message, "`status`: 99 is no task state");
}

#[test]
fn a_part_without_content_is_refused_by_its_place() {
    let message = [field(1, b"m"), vec![0x20, 1], field(5, &field(1, b"hi")), field(5, b"")];
    let request = field(2, &message.concat());
    let error = refused(Dialect::V1_0, Operation::SendMessage, &request);
    assert_eq!(error.violations[0].field, "message.parts[1]");
}

#[test]
fn an_unknown_state_of_a_task_is_unspecified() {
    let task = [field(1, b"t"), field(3, &[0x08, 77])].concat();
    let reply = pb::decode_reply(Dialect::V1_0, Operation::GetTask, &task).unwrap();
    let status = TaskStatus { state: TaskState::Unspecified, message: None, timestamp: None };
    assert_eq!(reply, Reply::Task(Task::new("t".into(), "".into(), status)));
}

#[test]
fn unknown_fields_are_skipped() {
    let request = [field(2, b"t"), field(15, b"from the future"), vec![0x70, 1]].concat();
    pb::decode(Dialect::V1_0, Operation::GetTask, &request).unwrap();
}

#[test]
fn a_message_that_comes_in_pieces_is_put_together() {
    let ids = [field(1, b"first"), field(1, b"m"), vec![0x20, 1]].concat();
    let request = [field(2, &ids), field(2, &field(5, &field(1, b"hi")))].concat();
    let decoded = pb::decode(Dialect::V1_0, Operation::SendMessage, &request).unwrap();
    let Call::SendMessage(asked) = decoded.call else {
        panic!("another call");
    };
    // Of a text that comes twice the last one counts.
    assert_eq!(asked.message.message_id, "m");
    assert_eq!(asked.message.parts[0].as_text(), Some("hi"));
}

#[test]
fn a_group_in_the_place_of_a_text_is_refused() {
    let error = refused(Dialect::V1_0, Operation::GetTask, &[0x13, 0x14]);
    insta::assert_snapshot!(error, @"not a readable protobuf message: invalid wire type: StartGroup (expected LengthDelimited)");
}

#[test]
fn truncated_bytes_are_refused_in_a_clear_sentence() {
    let call = Call::SendMessage(serde_json::from_str(fixture!("v1_0/send")).unwrap());
    for dialect in BOTH {
        let whole = pb::encode_call(dialect, &call);
        let error = refused(dialect, Operation::SendMessage, &whole[..whole.len() - 1]);
        let told = &error.message;
        assert!(told.starts_with("not a readable protobuf message: "), "{told}");
    }
    let error = refused(Dialect::V1_0, Operation::GetTask, &field(2, b"\xff"));
    insta::assert_snapshot!(error, @"not a readable protobuf message: invalid string value: data is not UTF-8 encoded");
    let error = refused(Dialect::V1_0, Operation::GetTask, b"\x10\x01");
    insta::assert_snapshot!(error, @"not a readable protobuf message: invalid wire type: Varint (expected LengthDelimited)");
    let error = pb::decode_event(Dialect::V1_0, b"\x0a").unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidAgentResponse);
}

#[test]
fn an_answer_without_content_is_the_agents_mistake() {
    for dialect in BOTH {
        for operation in [Operation::SendMessage, Operation::GetTask] {
            let error = pb::decode_reply(dialect, operation, b"").unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidAgentResponse);
        }
    }
}

#[test]
fn a_value_that_is_nested_without_end_is_refused() {
    let mut value = Vec::new();
    for _ in 0..20_000 {
        value = field(6, &field(1, &value));
    }
    let part = field(5, &field(4, &value));
    let message = [field(1, b"m"), vec![0x20, 1], part].concat();
    let error = refused(Dialect::V1_0, Operation::SendMessage, &field(2, &message));
    assert_eq!(error.violations[0].description, "is nested more than 30 objects deep");
    assert!(error.violations[0].field.starts_with("message.parts[0].data."));
}

#[test]
fn resource_names_are_taken_apart() {
    let get = Operation::GetTaskPushNotificationConfig;
    for (name, task, id) in [
        ("tasks/t/pushNotificationConfigs/p", "t", "p"),
        ("tasks/t/pushNotificationConfigs/", "t", ""),
        ("tasks/t/pushNotificationConfigs", "t", ""),
        ("tasks/t", "t", ""),
    ] {
        let decoded = pb::decode(Dialect::V0_3, get, &field(1, name.as_bytes())).unwrap();
        let Call::GetTaskPushNotificationConfig(asked) = decoded.call else {
            panic!("another call");
        };
        assert_eq!((asked.task_id.as_str(), asked.id.as_str()), (task, id));
    }
    for name in ["", "t", "tasks/", "/tasks/t", "tasks//pushNotificationConfigs/p"] {
        for operation in [get, Operation::DeleteTaskPushNotificationConfig] {
            let error = refused(Dialect::V0_3, operation, &field(1, name.as_bytes()));
            assert_eq!(error.violations[0].field, "name");
        }
    }
    for operation in [Operation::GetTask, Operation::CancelTask, Operation::SubscribeToTask] {
        let error = refused(Dialect::V0_3, operation, &field(1, b"t"));
        assert_eq!(error.message, "`name`: must be `tasks/{id}`");
    }
    let nameless = field(1, b"tasks/t/pushNotificationConfigs/");
    let error = refused(Dialect::V0_3, Operation::DeleteTaskPushNotificationConfig, &nameless);
    assert_eq!(error.message, "`name`: must not be empty");
}

#[test]
fn operations_that_a_dialect_lacks_are_not_found() {
    let kind = |dialect, operation| pb::decode(dialect, operation, b"").unwrap_err().kind;
    assert_eq!(kind(Dialect::V0_3, Operation::ListTasks), ErrorKind::MethodNotFound);
    assert_eq!(kind(Dialect::V0_1, Operation::SendMessage), ErrorKind::MethodNotFound);
    let reply = pb::decode_reply(Dialect::V0_3, Operation::ListTasks, b"").unwrap_err();
    assert_eq!(reply.kind, ErrorKind::MethodNotFound);
}

#[test]
fn a_push_config_is_read_wherever_its_id_stands() {
    let config = field(2, b"https://example.com/hook");
    let named = field(3, &field(2, &config));
    let request = [field(1, b"tasks/t"), field(2, b"p"), named].concat();
    let create = Operation::CreateTaskPushNotificationConfig;
    let decoded = pb::decode(Dialect::V0_3, create, &request).unwrap();
    let Call::CreateTaskPushNotificationConfig(config) = decoded.call else {
        panic!("another call");
    };
    assert_eq!(config.task_id.unwrap(), "t");
    assert_eq!(config.id.unwrap(), "p");
    let error = refused(Dialect::V0_3, create, &field(1, b"tasks/t"));
    assert_eq!(error.violations[0].field, "config.pushNotificationConfig");
}

#[test]
fn a_file_of_v0_3_is_read_as_base64_and_as_it_is() {
    for (given, meant) in [(&b"AP8="[..], &b"\0\xff"[..]), (b"\0\xff", b"\0\xff"), (b"", b"")] {
        let part = field(2, &field(2, given));
        let message = [field(1, b"m"), vec![0x20, 1], field(5, &part)].concat();
        let event = pb::decode_event(Dialect::V0_3, &field(2, &message)).unwrap();
        let StreamResponse::Message(Message { parts, .. }) = event else {
            panic!("not a message");
        };
        assert_eq!(parts[0].content, PartContent::Raw(meant.into()));
    }
}

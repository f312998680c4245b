//! The gRPC wire: whatever protobuf can say survives it, whatever it cannot is refused or named.

use crate::pb_given::{call, event, push_config, task};
use crate::{fixture, value};
use pilothouse_a2a::card::{self, AgentCard, OAuthFlows, SecurityScheme};
use pilothouse_a2a::dialect::{Dialect, v0_3};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::operation::{
    Call, ListTaskPushNotificationConfigsResponse, ListTasksResponse, OPERATIONS, Operation, Reply,
};
use pilothouse_a2a::pb;
use pilothouse_a2a::{
    Message, Part, PartContent, Role, StreamResponse, Task, TaskPushNotificationConfig, TaskState,
    TaskStatus,
};
use proptest::prelude::*;
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

fn message(parts: Vec<Part>) -> Message {
    Message {
        message_id: "m".into(),
        ..Message::new(Role::User, parts)
    }
}

fn of_parts(parts: Vec<Part>) -> StreamResponse {
    StreamResponse::Message(message(parts))
}

fn there_and_back(dialect: Dialect, event: &StreamResponse) -> StreamResponse {
    pb::decode_event(dialect, &pb::encode_event(dialect, event)).unwrap()
}

fn card() -> AgentCard {
    serde_json::from_str(fixture!("v1_0/card")).unwrap()
}

fn card_there_and_back(dialect: Dialect, card: AgentCard) -> AgentCard {
    let operation = Operation::GetExtendedAgentCard;
    let bytes = pb::encode_reply(dialect, operation, &Reply::Card(Box::new(card)));
    match pb::decode_reply(dialect, operation, &bytes).unwrap() {
        Reply::Card(card) => *card,
        other => panic!("not a card: {other:?}"),
    }
}

/// What the protobuf of v0.3 can say of a message: only files have names and types there, and
/// nothing refers to other tasks.
fn strip(message: &mut Message) {
    message.reference_task_ids.clear();
    strip_parts(&mut message.parts);
}

fn strip_parts(parts: &mut [Part]) {
    for part in parts {
        if matches!(part.content, PartContent::Text(_) | PartContent::Data(_)) {
            (part.filename, part.media_type) = (None, None);
        }
    }
}

fn strip_task(task: &mut Task) {
    task.status.message.iter_mut().for_each(strip);
    task.history.iter_mut().for_each(strip);
    let artifacts = task.artifacts.iter_mut();
    artifacts.for_each(|artifact| strip_parts(&mut artifact.parts));
}

fn as_v0_3_knows_it(mut event: StreamResponse) -> StreamResponse {
    match &mut event {
        StreamResponse::Task(task) => strip_task(task),
        StreamResponse::Message(message) => strip(message),
        StreamResponse::StatusUpdate(update) => update.status.message.iter_mut().for_each(strip),
        StreamResponse::ArtifactUpdate(update) => strip_parts(&mut update.artifact.parts),
    }
    event
}

fn call_as_v0_3_knows_it(mut call: Call) -> Call {
    let some = |length: Option<i32>| length.filter(|length| *length != 0);
    match &mut call {
        Call::SendMessage(asked) | Call::SendStreamingMessage(asked) => {
            asked.tenant = None;
            strip(&mut asked.message);
            let wishes = asked.configuration.get_or_insert_default();
            wishes.return_immediately = false;
            wishes.history_length = some(wishes.history_length);
            if let Some(config) = &mut wishes.task_push_notification_config {
                config.tenant = None;
            }
        }
        Call::GetTask(asked) => {
            asked.tenant = None;
            asked.history_length = some(asked.history_length);
        }
        Call::CancelTask(asked) => (asked.tenant, asked.metadata) = (None, None),
        Call::SubscribeToTask(asked) => asked.tenant = None,
        Call::CreateTaskPushNotificationConfig(config) => config.tenant = None,
        _ => {}
    }
    call
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn v1_0_keeps_every_event(event in event()) {
        prop_assert_eq!(there_and_back(Dialect::V1_0, &event), event);
    }

    #[test]
    fn v0_3_keeps_all_of_an_event_that_it_has_words_for(event in event()) {
        prop_assert_eq!(there_and_back(Dialect::V0_3, &event), as_v0_3_knows_it(event));
    }

    #[test]
    fn json_is_the_same_before_and_after_protobuf(event in event()) {
        let before = Dialect::V1_0.encode_event(&event, None).unwrap();
        let read: StreamResponse = serde_json::from_str(&before).unwrap();
        let after = there_and_back(Dialect::V1_0, &read);
        prop_assert_eq!(Dialect::V1_0.encode_event(&after, None).unwrap(), before);
    }

    #[test]
    fn json_of_v0_3_is_the_same_before_and_after_protobuf(event in event()) {
        let event = as_v0_3_knows_it(event);
        let before = Dialect::V0_3.encode_event(&event, None).unwrap();
        let after = there_and_back(Dialect::V0_3, &v0_3::decode_event(&before).unwrap());
        prop_assert_eq!(Dialect::V0_3.encode_event(&after, None).unwrap(), before);
    }

    #[test]
    fn v1_0_keeps_every_request(call in call()) {
        let bytes = pb::encode_call(Dialect::V1_0, &call);
        let decoded = pb::decode(Dialect::V1_0, call.operation(), &bytes).unwrap();
        prop_assert_eq!(decoded.call, call);
    }

    #[test]
    fn v0_3_keeps_all_of_a_request_that_it_has_words_for(call in call()) {
        let (operation, bytes) = (call.operation(), pb::encode_call(Dialect::V0_3, &call));
        match pb::decode(Dialect::V0_3, operation, &bytes) {
            Ok(decoded) => prop_assert_eq!(decoded.call, call_as_v0_3_knows_it(call)),
            Err(error) => {
                prop_assert_eq!(error.kind, ErrorKind::MethodNotFound);
                prop_assert_eq!(operation, Operation::ListTasks);
            }
        }
    }

    #[test]
    fn a_task_survives_as_every_answer_that_it_can_be(task in task()) {
        for operation in [Operation::SendMessage, Operation::GetTask, Operation::CancelTask] {
            let reply = Reply::Task(task.clone());
            let bytes = pb::encode_reply(Dialect::V1_0, operation, &reply);
            prop_assert_eq!(pb::decode_reply(Dialect::V1_0, operation, &bytes).unwrap(), reply);
        }
        let page = Reply::Tasks(ListTasksResponse {
            tasks: vec![task],
            next_page_token: "next".into(),
            page_size: 1,
            total_size: 2,
        });
        let bytes = pb::encode_reply(Dialect::V1_0, Operation::ListTasks, &page);
        prop_assert_eq!(pb::decode_reply(Dialect::V1_0, Operation::ListTasks, &bytes).unwrap(), page);
    }

    #[test]
    fn push_configs_survive_as_answers(config in push_config()) {
        let config = TaskPushNotificationConfig { tenant: None, ..config };
        let one = (Operation::GetTaskPushNotificationConfig, Reply::PushConfig(config.clone()));
        let page = ListTaskPushNotificationConfigsResponse {
            configs: vec![config],
            next_page_token: Some("next".into()),
        };
        let all = (Operation::ListTaskPushNotificationConfigs, Reply::PushConfigs(page));
        for (operation, reply) in [one, all] {
            for dialect in BOTH {
                let bytes = pb::encode_reply(dialect, operation, &reply);
                prop_assert_eq!(&pb::decode_reply(dialect, operation, &bytes).unwrap(), &reply);
            }
        }
    }

    #[test]
    fn random_bytes_are_read_or_refused_and_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for dialect in BOTH {
            for names in &OPERATIONS {
                if let Ok(decoded) = pb::decode(dialect, names.operation, &body) {
                    prop_assert_eq!(decoded.call.operation(), names.operation);
                }
                let _ = pb::decode_reply(dialect, names.operation, &body);
            }
            let _ = pb::decode_event(dialect, &body);
        }
    }

    #[test]
    fn a_message_with_one_byte_changed_is_read_or_refused(event in event(), place: prop::sample::Index, byte: u8) {
        for dialect in BOTH {
            let mut bytes = pb::encode_event(dialect, &event);
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let _ = pb::decode_event(dialect, &bytes);
        }
    }
}

#[test]
fn every_path_has_one_meaning() {
    for names in &OPERATIONS {
        let method = pb::method(names.grpc).unwrap();
        assert_eq!(
            (method.operation, method.dialect),
            (names.operation, Dialect::V1_0)
        );
        assert!(!method.shared);
    }
    for (path, operation) in [
        ("SendMessage", Operation::SendMessage),
        ("SendStreamingMessage", Operation::SendStreamingMessage),
        ("GetTask", Operation::GetTask),
        ("CancelTask", Operation::CancelTask),
        ("TaskSubscription", Operation::SubscribeToTask),
        (
            "CreateTaskPushNotificationConfig",
            Operation::CreateTaskPushNotificationConfig,
        ),
        (
            "GetTaskPushNotificationConfig",
            Operation::GetTaskPushNotificationConfig,
        ),
        (
            "ListTaskPushNotificationConfig",
            Operation::ListTaskPushNotificationConfigs,
        ),
        (
            "DeleteTaskPushNotificationConfig",
            Operation::DeleteTaskPushNotificationConfig,
        ),
        ("GetAgentCard", Operation::GetExtendedAgentCard),
    ] {
        let method = pb::method(&format!("/a2a.v1.A2AService/{path}")).unwrap();
        assert_eq!(
            (method.operation, method.dialect),
            (operation, Dialect::V0_3)
        );
    }
    for path in [
        "",
        "/",
        "SendMessage",
        "/a2a.v1.A2AService/ListTasks",
        "/a2a.v1.A2AService/",
    ] {
        assert_eq!(pb::method(path), None, "{path}");
    }
}

#[test]
fn an_empty_request_names_what_it_lacks() {
    for dialect in BOTH {
        for operation in [Operation::SendMessage, Operation::SendStreamingMessage] {
            assert_eq!(
                refused(dialect, operation, b"").message,
                "`message`: is required"
            );
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
        let error = refused(
            dialect,
            Operation::SendMessage,
            &pb::encode_call(dialect, &call),
        );
        let fields = error
            .violations
            .into_iter()
            .map(|violation| violation.field);
        fields.collect::<Vec<_>>()
    };
    let by_json: Vec<String> = match call.check() {
        Err(error) => error
            .violations
            .into_iter()
            .map(|wrong| wrong.field)
            .collect(),
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
        (
            &[0x20, 7][..],
            "`message.role`: 7 is no role; 1 is ROLE_USER, 2 is ROLE_AGENT",
        ),
        (&[][..], "`message.role`: is required"),
    ] {
        let (message, old) = (field(2, &of_role(role)), field(1, &of_role(role)));
        assert_eq!(
            refused(Dialect::V1_0, Operation::SendMessage, &message).message,
            told
        );
        assert_eq!(
            refused(Dialect::V0_3, Operation::SendMessage, &old).message,
            told
        );
    }
    let error = refused(Dialect::V1_0, Operation::ListTasks, &[0x18, 99]);
    assert_eq!(error.message, "`status`: 99 is no task state");
}

#[test]
fn a_part_without_content_is_refused_by_its_place() {
    let message = [
        field(1, b"m"),
        vec![0x20, 1],
        field(5, &field(1, b"hi")),
        field(5, b""),
    ];
    let request = field(2, &message.concat());
    let error = refused(Dialect::V1_0, Operation::SendMessage, &request);
    assert_eq!(error.violations[0].field, "message.parts[1]");
}

#[test]
fn an_unknown_state_of_a_task_is_unspecified() {
    let task = [field(1, b"t"), field(3, &[0x08, 77])].concat();
    let reply = pb::decode_reply(Dialect::V1_0, Operation::GetTask, &task).unwrap();
    let status = TaskStatus {
        state: TaskState::Unspecified,
        message: None,
        timestamp: None,
    };
    assert_eq!(reply, Reply::Task(Task::new("t".into(), "".into(), status)));
}

#[test]
fn unknown_fields_are_skipped() {
    let request = [field(2, b"t"), field(15, b"from the future"), vec![0x70, 1]].concat();
    pb::decode(Dialect::V1_0, Operation::GetTask, &request).unwrap();
}

#[test]
fn truncated_bytes_are_refused_in_a_clear_sentence() {
    let call = Call::SendMessage(serde_json::from_str(fixture!("v1_0/send")).unwrap());
    for dialect in BOTH {
        let whole = pb::encode_call(dialect, &call);
        let error = refused(dialect, Operation::SendMessage, &whole[..whole.len() - 1]);
        let told = &error.message;
        assert!(
            told.starts_with("not a readable protobuf message: "),
            "{told}"
        );
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
    assert_eq!(
        error.message,
        "not a readable protobuf message: recursion limit reached"
    );
}

#[test]
fn a_value_too_deep_for_protobuf_goes_out_as_its_json() {
    let deep = |levels| (0..levels).fold(json!("end"), |inner, _| json!({"a": inner}));
    let lists = |levels| (0..levels).fold(json!("end"), |inner, _| json!([inner]));
    for dialect in BOTH {
        for fits in [deep(29), lists(42)] {
            let event = of_parts(vec![Part::data(json!({"in": fits}))]);
            assert_eq!(there_and_back(dialect, &event), event);
        }
        for (deepest, turned) in [(deep(100), 70), (lists(100), 55)] {
            let part = Part {
                metadata: Some([("in".to_owned(), deepest)].into_iter().collect()),
                ..Part::text("")
            };
            let StreamResponse::Message(back) = there_and_back(dialect, &of_parts(vec![part]))
            else {
                panic!("not a message");
            };
            let mut inner = &back.parts[0].metadata.as_ref().unwrap()["in"];
            while let Some(next) = inner.get("a").or_else(|| inner.get(0)) {
                inner = next;
            }
            let rest = value_depth(&value(inner.as_str().unwrap()));
            assert!(rest >= turned, "{rest}");
        }
    }
}

fn value_depth(value: &Value) -> usize {
    match value.get("a").or_else(|| value.get(0)) {
        Some(inner) => 1 + value_depth(inner),
        None => 0,
    }
}

#[test]
fn a_null_is_content_and_members_keep_their_order() {
    let data = json!({"z": 1, "a": null, "m": {"y": 1.5, "b": []}});
    for dialect in BOTH {
        let event = of_parts(vec![
            Part::data(Value::Null),
            Part::data(data.clone()),
            Part::data("s"),
        ]);
        let StreamResponse::Message(back) = there_and_back(dialect, &event) else {
            panic!("not a message");
        };
        assert_eq!(back.parts[0].content, PartContent::Data(Value::Null));
        let PartContent::Data(told) = &back.parts[1].content else {
            panic!("not data");
        };
        assert_eq!(told.to_string(), data.to_string());
        assert_eq!(back.parts[2], Part::data("s"));
    }
}

#[test]
fn numbers_lose_what_doubles_lose_and_nothing_else() {
    let data = json!([1.0, 9_007_199_254_740_993_i64, 0.1]);
    let event = there_and_back(Dialect::V1_0, &of_parts(vec![Part::data(data)]));
    let back = Part::data(json!([1, 9_007_199_254_740_992_i64, 0.1]));
    assert_eq!(event, of_parts(vec![back]));
}

#[test]
fn presence_is_kept_where_the_wire_has_it() {
    let get = |length| {
        let request = json!({"id": "t", "historyLength": length});
        Call::GetTask(serde_json::from_value(request).unwrap())
    };
    for (dialect, kept) in [(Dialect::V1_0, Some(0)), (Dialect::V0_3, None)] {
        let bytes = pb::encode_call(dialect, &get(Some(0)));
        let decoded = pb::decode(dialect, Operation::GetTask, &bytes).unwrap();
        assert_eq!(decoded.call, get(kept));
    }
}

#[test]
fn blocking_is_known_in_v0_3_only_when_it_is_true() {
    let send = |wishes: Value| {
        let request = json!({
            "message": {"messageId": "m", "role": 1, "parts": [{"text": "hi"}]},
            "configuration": wishes,
        });
        Call::SendMessage(serde_json::from_value(request).unwrap())
    };
    for (wishes, blocking) in [
        (json!({}), Some(true)),
        (json!(null), Some(true)),
        (json!({"returnImmediately": true}), None),
    ] {
        let bytes = pb::encode_call(Dialect::V0_3, &send(wishes));
        let decoded = pb::decode(Dialect::V0_3, Operation::SendMessage, &bytes).unwrap();
        assert_eq!(decoded.blocking, blocking);
    }
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
    for name in [
        "",
        "t",
        "tasks/",
        "/tasks/t",
        "tasks//pushNotificationConfigs/p",
    ] {
        for operation in [get, Operation::DeleteTaskPushNotificationConfig] {
            let error = refused(Dialect::V0_3, operation, &field(1, name.as_bytes()));
            assert_eq!(error.violations[0].field, "name");
        }
    }
    for operation in [
        Operation::GetTask,
        Operation::CancelTask,
        Operation::SubscribeToTask,
    ] {
        let error = refused(Dialect::V0_3, operation, &field(1, b"t"));
        assert_eq!(error.message, "`name`: must be `tasks/{id}`");
    }
    let nameless = field(1, b"tasks/t/pushNotificationConfigs/");
    let error = refused(
        Dialect::V0_3,
        Operation::DeleteTaskPushNotificationConfig,
        &nameless,
    );
    assert_eq!(error.message, "`name`: must not be empty");
}

#[test]
fn operations_that_a_dialect_lacks_are_not_found() {
    let kind = |dialect, operation| pb::decode(dialect, operation, b"").unwrap_err().kind;
    assert_eq!(
        kind(Dialect::V0_3, Operation::ListTasks),
        ErrorKind::MethodNotFound
    );
    assert_eq!(
        kind(Dialect::V0_1, Operation::SendMessage),
        ErrorKind::MethodNotFound
    );
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
fn the_card_of_v1_0_survives() {
    assert_eq!(card_there_and_back(Dialect::V1_0, card()), card());
    let empty = AgentCard::default();
    assert_eq!(card_there_and_back(Dialect::V1_0, empty.clone()), empty);
}

#[test]
fn every_security_scheme_survives() {
    let given = json!({
        "a": {"apiKeySecurityScheme": {"location": "query", "name": "key"}},
        "b": {"oauth2SecurityScheme": {"flows": {"clientCredentials": {"tokenUrl": "t", "refreshUrl": "r", "scopes": {"s": "d"}}}}},
        "c": {"oauth2SecurityScheme": {"flows": {"implicit": {"authorizationUrl": "a", "scopes": {}}}}},
        "d": {"oauth2SecurityScheme": {"flows": {"password": {"tokenUrl": "t", "scopes": {}}}}},
        "e": {"oauth2SecurityScheme": {"flows": {"deviceCode": {"deviceAuthorizationUrl": "d", "tokenUrl": "t", "scopes": {}}}}},
        "f": {"mtlsSecurityScheme": {"description": "m"}},
    });
    let card = AgentCard {
        security_schemes: serde_json::from_value(given).unwrap(),
        ..AgentCard::default()
    };
    assert_eq!(card_there_and_back(Dialect::V1_0, card.clone()), card);
}

#[test]
fn the_card_of_v0_3_says_what_its_json_says() {
    let mut back = card_there_and_back(Dialect::V0_3, card());
    assert_eq!(back.supported_interfaces[0].protocol_binding, card::JSONRPC);
    assert!(back.signatures.is_empty());
    for interface in &mut back.supported_interfaces {
        assert_eq!(interface.protocol_version, "0.3");
    }
    // v0.3 has no `pkceRequired`; what is written beyond it disturbs nobody.
    let Some(SecurityScheme::OAuth2(scheme)) = back.security_schemes.get("code") else {
        panic!("no such scheme");
    };
    assert!(matches!(scheme.flows, OAuthFlows::AuthorizationCode(_)));
    assert_eq!(card::v0_3(&back), card::v0_3(&card()));
}

#[test]
fn a_card_without_an_old_interface_is_still_a_card() {
    let back = card_there_and_back(Dialect::V0_3, AgentCard::default());
    assert!(back.supported_interfaces.is_empty());
}

//! The gRPC wire: whatever protobuf can say survives it, whatever it cannot is refused or named.

use crate::pb_given::{call, event, push_config, task};
use crate::{fixture, older, value};
use pilothouse_a2a::card::{self, AgentCard, OAuthFlows, SecurityScheme};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::{
    Call, ListTaskPushNotificationConfigsResponse, ListTasksResponse, OPERATIONS, Operation, Reply,
};
use pilothouse_a2a::pb;
use pilothouse_a2a::{
    Message, Part, PartContent, Role, StreamResponse, Task, TaskPushNotificationConfig,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const BOTH: [Dialect; 2] = [Dialect::V1_0, Dialect::V0_3];

fn message(parts: Vec<Part>) -> Message {
    Message { message_id: "m".into(), ..Message::new(Role::User, parts) }
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
    task.generation = None;
    task.status.message.iter_mut().for_each(strip);
    task.history.iter_mut().for_each(strip);
    let artifacts = task.artifacts.iter_mut();
    artifacts.for_each(|artifact| strip_parts(&mut artifact.parts));
}

fn as_v0_3_knows_it(mut event: StreamResponse) -> StreamResponse {
    match &mut event {
        StreamResponse::Task(task) => strip_task(task),
        StreamResponse::Message(message) => strip(message),
        StreamResponse::StatusUpdate(update) => {
            update.generation = None;
            update.status.message.iter_mut().for_each(strip);
        }
        StreamResponse::ArtifactUpdate(update) => {
            update.generation = None;
            strip_parts(&mut update.artifact.parts);
        }
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
            wishes.if_generation_match = None;
            wishes.history_length = some(wishes.history_length);
            if let Some(config) = &mut wishes.task_push_notification_config {
                config.tenant = None;
            }
        }
        Call::GetTask(asked) => {
            asked.tenant = None;
            asked.history_length = some(asked.history_length);
            asked.current_generation = None;
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
        let after = there_and_back(Dialect::V0_3, &older::event(&before));
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
        assert_eq!((method.operation, method.dialect), (names.operation, Dialect::V1_0));
        assert!(!method.shared);
    }
    for (path, operation) in [
        ("SendMessage", Operation::SendMessage),
        ("SendStreamingMessage", Operation::SendStreamingMessage),
        ("GetTask", Operation::GetTask),
        ("CancelTask", Operation::CancelTask),
        ("TaskSubscription", Operation::SubscribeToTask),
        ("CreateTaskPushNotificationConfig", Operation::CreateTaskPushNotificationConfig),
        ("GetTaskPushNotificationConfig", Operation::GetTaskPushNotificationConfig),
        ("ListTaskPushNotificationConfig", Operation::ListTaskPushNotificationConfigs),
        ("DeleteTaskPushNotificationConfig", Operation::DeleteTaskPushNotificationConfig),
        ("GetAgentCard", Operation::GetExtendedAgentCard),
    ] {
        let method = pb::method(&format!("/a2a.v1.A2AService/{path}")).unwrap();
        assert_eq!((method.operation, method.dialect), (operation, Dialect::V0_3));
    }
    for path in ["", "/", "SendMessage", "/a2a.v1.A2AService/ListTasks", "/a2a.v1.A2AService/"] {
        assert_eq!(pb::method(path), None, "{path}");
    }
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
            let inner = back.parts[0].metadata.as_ref().unwrap().get("in").unwrap();
            let mut inner = &inner;
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
        let event =
            of_parts(vec![Part::data(Value::Null), Part::data(data.clone()), Part::data("s")]);
        let StreamResponse::Message(back) = there_and_back(dialect, &event) else {
            panic!("not a message");
        };
        assert_eq!(back.parts[0], Part::data(Value::Null));
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
fn blocking_left_out_of_a_v0_3_configuration_is_false() {
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
        (json!({"returnImmediately": true}), Some(false)),
    ] {
        let bytes = pb::encode_call(Dialect::V0_3, &send(wishes));
        let decoded = pb::decode(Dialect::V0_3, Operation::SendMessage, &bytes).unwrap();
        assert_eq!(decoded.blocking, blocking);
    }
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

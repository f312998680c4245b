//! Whatever the model can say survives the HTTP+JSON binding, in each of its forms.

use crate::older;
use pilothouse_a2a::operation::{Call, Operation, SendMessageRequest};
use pilothouse_a2a::rest::{Form, encode_event, encode_reply, route};
use pilothouse_a2a::{
    Artifact, ArtifactId, Message, Metadata, Part, PartContent, Reply, Role, StreamResponse, Task,
    TaskArtifactUpdateEvent, TaskState, TaskStatus, TaskStatusUpdateEvent, Timestamp,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

fn data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|number: f64| Value::from(number)),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("data|value|.{0,6}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn metadata() -> impl Strategy<Value = Option<Metadata>> {
    option::of(btree_map("[a-z]{1,6}", data(), 1..3).prop_map(|all| all.into_iter().collect()))
}

fn word() -> impl Strategy<Value = String> {
    "[^\\p{C}]{1,10}"
}

/// Parts as v0.3 knows them: only files have names and types.
fn part() -> impl Strategy<Value = Part> {
    let file = prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(PartContent::Raw),
        word().prop_map(PartContent::Url),
    ];
    let file = (file, option::of(word()), option::of(word()));
    let part = prop_oneof![
        ".{0,40}".prop_map(Part::text),
        data().prop_map(Part::data),
        file.prop_map(|(content, filename, media_type)| Part {
            content,
            metadata: None,
            filename,
            media_type,
        }),
    ];
    (part, metadata()).prop_map(|(part, metadata)| Part { metadata, ..part })
}

/// Messages as both forms of v0.3 know them: without references to other tasks.
fn message() -> impl Strategy<Value = Message> {
    let ids = (word(), option::of(word()), option::of(word()));
    let lists = (vec(part(), 1..4), vec(word(), 0..2));
    (ids, any::<bool>(), lists, metadata()).prop_map(
        |((id, context, task), user, (parts, extensions), metadata)| Message {
            message_id: id.into(),
            context_id: context.map(Into::into),
            task_id: task.map(Into::into),
            metadata,
            extensions,
            ..Message::new(if user { Role::User } else { Role::Agent }, parts)
        },
    )
}

fn status() -> impl Strategy<Value = TaskStatus> {
    let state = (0..TaskState::ALL.len()).prop_map(|place| TaskState::ALL[place]);
    let time = option::of((0..4_102_444_800_000_i64).prop_map(Timestamp::from_millisecond));
    (state, option::of(message()), time).prop_map(|(state, message, timestamp)| TaskStatus {
        state,
        message,
        timestamp,
    })
}

fn artifact() -> impl Strategy<Value = Artifact> {
    let names = (word(), option::of(word()), option::of(word()));
    (names, vec(part(), 0..4), metadata(), vec(word(), 0..2)).prop_map(
        |((id, name, description), parts, metadata, extensions)| Artifact {
            artifact_id: ArtifactId::from(id),
            name,
            description,
            parts,
            metadata,
            extensions,
        },
    )
}

fn event() -> impl Strategy<Value = StreamResponse> {
    let update = || (word(), word(), metadata());
    let lists = (vec(artifact(), 0..3), vec(message(), 0..3));
    prop_oneof![
        message().prop_map(StreamResponse::Message),
        (update(), status(), lists).prop_map(
            |((task, context, metadata), status, (artifacts, history))| {
                StreamResponse::Task(Task {
                    artifacts,
                    history,
                    metadata,
                    ..Task::new(task.into(), context.into(), status)
                })
            }
        ),
        (update(), status()).prop_map(|((task, context, metadata), status)| {
            let update = TaskStatusUpdateEvent::new(task.into(), context.into(), status);
            StreamResponse::StatusUpdate(TaskStatusUpdateEvent { metadata, ..update })
        }),
        (update(), artifact(), any::<(bool, bool)>()).prop_map(
            |((task, context, metadata), artifact, (append, last_chunk))| {
                StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
                    append,
                    last_chunk,
                    metadata,
                    ..TaskArtifactUpdateEvent::new(task.into(), context.into(), artifact)
                })
            }
        ),
    ]
}

/// The message of a frame as a client of that form would send it.
fn sent(form: Form, message: &Message) -> Call {
    let frame = encode_event(form, &StreamResponse::Message(message.clone()));
    let path = if form == Form::Model { "/message:send" } else { "/v1/message:send" };
    let request = route("POST", path).unwrap().decode(None, frame.as_bytes()).unwrap();
    assert_eq!(request.form, form);
    request.decoded.call
}

/// What a client reads from a frame.
fn told(form: Form, text: &str) -> StreamResponse {
    if form == Form::Model { serde_json::from_str(text).unwrap() } else { older::event(text) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn an_event_goes_through_each_form_and_loses_nothing(event in event()) {
        for form in [Form::Model, Form::Kind, Form::Proto] {
            prop_assert_eq!(&told(form, &encode_event(form, &event)), &event);
        }
    }

    #[test]
    fn a_message_goes_out_and_comes_in_by_each_form(message in message()) {
        let request = SendMessageRequest {
            tenant: None,
            message: message.clone(),
            configuration: None,
            metadata: None,
        };
        for form in [Form::Model, Form::Kind, Form::Proto] {
            prop_assert_eq!(sent(form, &message), Call::SendMessage(request.clone()));
        }
    }

    #[test]
    fn a_body_below_a_tenant_is_the_body_with_the_tenant(message in message(), tenant in "t[a-z]{1,8}x") {
        let body = json!({"message": message, "metadata": {"a": [1]}});
        let found = route("POST", &format!("/{tenant}/message:send")).unwrap();
        let request = found.decode(None, body.to_string().as_bytes()).unwrap();
        let Call::SendMessage(request) = request.decoded.call else { panic!() };
        prop_assert_eq!(request.tenant, Some(tenant));
        prop_assert_eq!(request.message, message);
    }

    #[test]
    fn what_is_sent_fits_in_one_line_of_a_stream(event in event()) {
        for form in [Form::Model, Form::Kind, Form::Proto] {
            prop_assert!(!encode_event(form, &event).contains('\n'));
            if let StreamResponse::Task(task) = &event {
                let reply = encode_reply(form, Operation::SendMessage, &Reply::Task(task.clone()));
                prop_assert_eq!(&told(form, &reply), &event);
            }
        }
    }
}

//! Whatever the model can say survives the wire.

use crate::older;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::operation::OPERATIONS;
use pilothouse_a2a::{
    Artifact, ArtifactId, Call, Message, Metadata, Operation, Part, PartContent, Reply, Role,
    StreamResponse, Task, TaskArtifactUpdateEvent, TaskState, TaskStatus, TaskStatusUpdateEvent,
    Timestamp,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json as value};

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|number: f64| Value::from(number)),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(".{0,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn metadata() -> impl Strategy<Value = Option<Metadata>> {
    // Older dialects drop metadata that is there but empty in one case; see `data_part_compat`.
    option::of(btree_map("[a-z]{1,6}", json(), 1..3).prop_map(|all| all.into_iter().collect()))
}

fn word() -> impl Strategy<Value = String> {
    "[^\\p{C}]{1,10}"
}

fn part() -> impl Strategy<Value = Part> {
    let content = prop_oneof![
        ".{0,40}".prop_map(PartContent::Text),
        vec(any::<u8>(), 0..40).prop_map(PartContent::Raw),
        word().prop_map(PartContent::Url),
        json().prop_map(|value| PartContent::Data(value.into())),
    ];
    (content, metadata(), option::of(word()), option::of(word())).prop_map(
        |(content, metadata, filename, media_type)| Part {
            content,
            metadata,
            filename,
            media_type,
        },
    )
}

/// A part as v0.1 writes it, and what it means.
fn v0_1_part() -> impl Strategy<Value = (Value, Part)> {
    let data = btree_map("[a-z]{1,6}", json(), 0..3)
        .prop_map(|members| Value::Object(members.into_iter().collect()));
    let content = prop_oneof![
        ".{0,40}".prop_map(PartContent::Text),
        vec(any::<u8>(), 1..40).prop_map(PartContent::Raw),
        word().prop_map(PartContent::Url),
        data.prop_map(|value| PartContent::Data(value.into())),
    ];
    (content, word(), word()).prop_map(|(content, name, kind)| {
        let is_file = matches!(content, PartContent::Raw(_) | PartContent::Url(_));
        let file = |member: &str, value: Value| {
            value!({"type": "file", "file": {member: value, "name": name, "mimeType": kind}})
        };
        let told = match &content {
            PartContent::Text(text) => value!({"type": "text", "text": text}),
            PartContent::Data(data) => value!({"type": "data", "data": data}),
            PartContent::Url(url) => file("uri", url.as_str().into()),
            PartContent::Raw(bytes) => {
                let v1 = serde_json::to_value(Part::raw(bytes.clone())).unwrap();
                file("bytes", v1["raw"].clone())
            }
        };
        let part = Part {
            content,
            metadata: None,
            filename: is_file.then(|| name.clone()),
            media_type: is_file.then(|| kind.clone()),
        };
        (told, part)
    })
}

fn message() -> impl Strategy<Value = Message> {
    let ids = (word(), option::of(word()), option::of(word()));
    let lists = (vec(part(), 1..4), vec(word(), 0..2), vec(word(), 0..2));
    (ids, any::<bool>(), lists, metadata()).prop_map(
        |((id, context, task), user, (parts, extensions, references), metadata)| Message {
            message_id: id.into(),
            context_id: context.map(Into::into),
            task_id: task.map(Into::into),
            role: if user { Role::User } else { Role::Agent },
            parts,
            metadata,
            extensions,
            reference_task_ids: references.into_iter().map(Into::into).collect(),
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

fn task() -> impl Strategy<Value = Task> {
    (word(), word(), status(), vec(artifact(), 0..3), vec(message(), 0..3), metadata()).prop_map(
        |(id, context, status, artifacts, history, metadata)| Task {
            id: id.into(),
            context_id: context.into(),
            status,
            artifacts,
            history,
            metadata,
            generation: Some(7),
        },
    )
}

fn event() -> impl Strategy<Value = StreamResponse> {
    let update = || (word(), word(), metadata());
    prop_oneof![
        task().prop_map(StreamResponse::Task),
        message().prop_map(StreamResponse::Message),
        (update(), status()).prop_map(|((task, context, metadata), status)| {
            StreamResponse::StatusUpdate(TaskStatusUpdateEvent {
                task_id: task.into(),
                context_id: context.into(),
                status,
                metadata,
                generation: Some(8),
            })
        }),
        (update(), artifact(), any::<bool>(), any::<bool>()).prop_map(
            |((task, context, metadata), artifact, append, last_chunk)| {
                StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
                    task_id: task.into(),
                    context_id: context.into(),
                    artifact,
                    append,
                    last_chunk,
                    metadata,
                    generation: Some(9),
                })
            }
        ),
    ]
}

/// What v0.3 can say of an event: only files have names and types there.
fn as_v0_3_knows_it(mut event: StreamResponse) -> StreamResponse {
    fn strip(parts: &mut [Part]) {
        for part in parts {
            if matches!(part.content, PartContent::Text(_) | PartContent::Data(_)) {
                (part.filename, part.media_type) = (None, None);
            }
        }
    }
    fn strip_status(status: &mut TaskStatus) {
        if let Some(message) = &mut status.message {
            strip(&mut message.parts);
        }
    }
    match &mut event {
        StreamResponse::Message(message) => strip(&mut message.parts),
        StreamResponse::StatusUpdate(update) => {
            update.generation = None;
            strip_status(&mut update.status);
        }
        StreamResponse::ArtifactUpdate(update) => {
            update.generation = None;
            strip(&mut update.artifact.parts);
        }
        StreamResponse::Task(task) => {
            task.generation = None;
            strip_status(&mut task.status);
            task.artifacts.iter_mut().for_each(|artifact| strip(&mut artifact.parts));
            task.history.iter_mut().for_each(|message| strip(&mut message.parts));
        }
    }
    event
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn v1_0_keeps_everything(event in event()) {
        let text = Dialect::V1_0.encode_event(&event, None).unwrap();
        prop_assert_eq!(serde_json::from_str::<StreamResponse>(&text).unwrap(), event);
    }

    #[test]
    fn v0_3_keeps_all_that_it_has_words_for(event in event()) {
        let text = Dialect::V0_3.encode_event(&event, None).unwrap();
        prop_assert_eq!(older::event(&text), as_v0_3_knows_it(event));
    }

    #[test]
    fn v0_1_is_always_one_json_object_under_the_clients_id(event in event()) {
        let text = Dialect::V0_1.encode_event(&event, Some("mine")).unwrap();
        let told: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&told["id"], "mine");
    }

    #[test]
    fn what_a_v0_1_client_says_is_kept(parts in vec(v0_1_part(), 1..4), id in "[a-z0-9-]{1,12}", context in "[a-z0-9-]{1,12}") {
        let (told, expected): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let params = value!({"id": id, "sessionId": context, "message": {"role": "user", "parts": told}});
        let params = RawValue::from_string(params.to_string()).unwrap();
        let decoded = Dialect::V0_1.decode(Operation::SendMessage, Some(&params)).unwrap();
        let Call::SendMessage(request) = decoded.call else { panic!() };
        prop_assert_eq!(request.message.parts, expected);
        prop_assert_eq!(request.message.context_id.map(|id| id.to_string()), Some(context));
        prop_assert_eq!(decoded.client_task_id.unwrap(), id);
    }

    #[test]
    fn a_reply_has_no_line_feed(task in task()) {
        for dialect in [Dialect::V1_0, Dialect::V0_3, Dialect::V0_1] {
            let reply = Reply::Task(task.clone());
            let text = dialect.encode_reply(Operation::SendMessage, &reply, None);
            prop_assert!(!text.contains('\n'));
        }
    }

    #[test]
    fn any_params_are_read_or_refused(
        params in btree_map("id|message|metadata|configuration|taskId|url|status", json(), 0..5),
    ) {
        let params = Value::Object(params.into_iter().collect()).to_string();
        let params = RawValue::from_string(params).unwrap();
        for dialect in [Dialect::V1_0, Dialect::V0_3, Dialect::V0_1] {
            for names in &OPERATIONS {
                if let Ok(decoded) = dialect.decode(names.operation, Some(&params)) {
                    prop_assert_eq!(decoded.call.operation(), names.operation);
                }
            }
        }
    }

    #[test]
    fn garbage_is_refused_and_never_panics(text in "\\PC{0,80}") {
        let _ = serde_json::from_str::<StreamResponse>(&text);
        let _ = pilothouse_a2a::jsonrpc::parse(text.as_bytes());
        let _ = pilothouse_a2a::jsonrpc::parse_response(text.as_bytes());
    }
}

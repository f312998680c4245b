//! Whatever protobuf can say, made at random: numbers that are doubles, texts that are not empty.

use pilothouse_a2a::operation::{
    Call, CancelTaskRequest, GetTaskRequest, ListTasksRequest, SendMessageConfiguration,
    SendMessageRequest, SubscribeToTaskRequest,
};
use pilothouse_a2a::push::AuthenticationInfo;
use pilothouse_a2a::{
    Artifact, Message, Metadata, Part, PartContent, Role, StreamResponse, Task,
    TaskArtifactUpdateEvent, TaskPushNotificationConfig, TaskState, TaskStatus,
    TaskStatusUpdateEvent, Timestamp,
};
use proptest::collection::{hash_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..1 << 53).prop_map(Value::from),
        // A half is added, so that it never is an integer.
        (-1_000_000..1_000_000).prop_map(|whole| Value::from(f64::from(whole) + 0.5)),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let members = hash_map(".{0,6}", inner.clone(), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Never empty: v0.3 drops metadata that is empty beside a wrapped value.
pub(crate) fn metadata() -> impl Strategy<Value = Option<Metadata>> {
    option::of(hash_map("[a-z]{1,6}", json(), 1..3).prop_map(|all| all.into_iter().collect()))
}

fn word() -> impl Strategy<Value = String> {
    "[^\\p{C}]{1,10}"
}

/// An id that may stand in a resource name.
fn id() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9-]{1,12}"
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

pub(crate) fn message() -> impl Strategy<Value = Message> {
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

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    option::of((-62_000_000_000_000..200_000_000_000_000_i64).prop_map(Timestamp::from_millisecond))
}

fn state() -> impl Strategy<Value = TaskState> {
    (0..TaskState::ALL.len()).prop_map(|place| TaskState::ALL[place])
}

fn status() -> impl Strategy<Value = TaskStatus> {
    (state(), option::of(message()), time()).prop_map(|(state, message, timestamp)| TaskStatus {
        state,
        message,
        timestamp,
    })
}

fn artifact() -> impl Strategy<Value = Artifact> {
    let names = (word(), option::of(word()), option::of(word()));
    (names, vec(part(), 0..4), metadata(), vec(word(), 0..2)).prop_map(
        |((id, name, description), parts, metadata, extensions)| Artifact {
            artifact_id: id.into(),
            name,
            description,
            parts,
            metadata,
            extensions,
        },
    )
}

pub(crate) fn task() -> impl Strategy<Value = Task> {
    let lists = (vec(artifact(), 0..3), vec(message(), 0..3));
    (word(), ".{0,4}", status(), lists, metadata()).prop_map(
        |(id, context, status, (artifacts, history), metadata)| Task {
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

pub(crate) fn event() -> impl Strategy<Value = StreamResponse> {
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

pub(crate) fn push_config() -> impl Strategy<Value = TaskPushNotificationConfig> {
    let authentication = (word(), option::of(word()))
        .prop_map(|(scheme, credentials)| AuthenticationInfo { scheme, credentials });
    let ids = (option::of(word()), option::of(id()), id());
    (ids, word(), option::of(word()), option::of(authentication)).prop_map(
        |((tenant, id, task), url, token, authentication)| TaskPushNotificationConfig {
            tenant,
            id,
            task_id: Some(task.into()),
            url,
            token,
            authentication,
        },
    )
}

fn configuration() -> impl Strategy<Value = SendMessageConfiguration> {
    let config =
        push_config().prop_map(|config| TaskPushNotificationConfig { task_id: None, ..config });
    (vec(word(), 0..3), option::of(config), option::of(0..i32::MAX), any::<bool>()).prop_map(
        |(modes, config, history_length, return_immediately)| SendMessageConfiguration {
            accepted_output_modes: modes,
            task_push_notification_config: config,
            history_length,
            return_immediately,
            if_generation_match: Some(10),
        },
    )
}

/// Requests of the operations that carry more than ids.
pub(crate) fn call() -> impl Strategy<Value = Call> {
    let tenant = || option::of(word());
    let length = || option::of(0..i32::MAX);
    let send = (tenant(), message(), option::of(configuration()), metadata());
    let list = (
        (tenant(), option::of(word()), state(), option::of(1..=100)),
        (option::of(word()), length(), time(), any::<bool>()),
    );
    prop_oneof![
        send.prop_map(|(tenant, message, configuration, metadata)| {
            Call::SendMessage(SendMessageRequest { tenant, message, configuration, metadata })
        }),
        (tenant(), id(), length()).prop_map(|(tenant, id, history_length)| {
            let id = id.into();
            Call::GetTask(GetTaskRequest {
                tenant,
                id,
                history_length,
                current_generation: Some(11),
            })
        }),
        (tenant(), id(), metadata()).prop_map(|(tenant, id, metadata)| {
            let id = id.into();
            Call::CancelTask(CancelTaskRequest { tenant, id, metadata })
        }),
        (tenant(), id()).prop_map(|(tenant, id)| {
            let id = id.into();
            Call::SubscribeToTask(SubscribeToTaskRequest { tenant, id })
        }),
        push_config().prop_map(Call::CreateTaskPushNotificationConfig),
        list.prop_map(
            |((tenant, context, status, page_size), (token, length, after, artifacts))| {
                Call::ListTasks(ListTasksRequest {
                    tenant,
                    context_id: context.map(Into::into),
                    status,
                    page_size,
                    page_token: token,
                    history_length: length,
                    status_timestamp_after: after,
                    include_artifacts: artifacts,
                })
            }
        ),
    ]
}

//! The v1.0 model: strict out, lenient in.

use crate::{fixture, value};
use pilothouse_a2a::card::AgentCard;
use pilothouse_a2a::operation::{ListTasksRequest, ListTasksResponse, SendMessageRequest};
use pilothouse_a2a::push::TaskPushNotificationConfig;
use pilothouse_a2a::{
    Message, Part, PartContent, Role, StreamResponse, Task, TaskArtifactUpdateEvent, TaskState,
    TaskStatusUpdateEvent,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

fn stays_itself<T: Serialize + DeserializeOwned>(text: &str) {
    let object: T = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), value(text));
}

#[test]
fn every_object_is_written_as_it_was_read() {
    stays_itself::<Message>(fixture!("v1_0/message"));
    stays_itself::<Task>(fixture!("v1_0/task"));
    stays_itself::<TaskStatusUpdateEvent>(fixture!("v1_0/status_update"));
    stays_itself::<TaskArtifactUpdateEvent>(fixture!("v1_0/artifact_update"));
    stays_itself::<TaskPushNotificationConfig>(fixture!("v1_0/push_config"));
    stays_itself::<SendMessageRequest>(fixture!("v1_0/send"));
    stays_itself::<ListTasksRequest>(fixture!("v1_0/list"));
    stays_itself::<ListTasksResponse>(fixture!("v1_0/list_response"));
    stays_itself::<AgentCard>(fixture!("v1_0/card"));
}

#[test]
fn events_are_tagged_by_their_member_name() {
    for (member, text) in [
        ("task", fixture!("v1_0/task")),
        ("message", fixture!("v1_0/message")),
        ("statusUpdate", fixture!("v1_0/status_update")),
        ("artifactUpdate", fixture!("v1_0/artifact_update")),
    ] {
        stays_itself::<StreamResponse>(&json!({ member: value(text) }).to_string());
    }
}

#[test]
fn required_members_are_written_even_when_empty() {
    let mut message = Message::new(Role::Agent, vec![]);
    message.message_id = "m".into();
    insta::assert_snapshot!(
        serde_json::to_string(&message).unwrap(),
        @r#"{"messageId":"m","role":"ROLE_AGENT","parts":[]}"#
    );
    insta::assert_snapshot!(
        serde_json::to_string(&ListTasksResponse::default()).unwrap(),
        @r#"{"tasks":[],"nextPageToken":"","pageSize":0,"totalSize":0}"#
    );
    insta::assert_snapshot!(
        serde_json::to_string(&AgentCard::default()).unwrap(),
        @r#"{"name":"","description":"","supportedInterfaces":[],"version":"","capabilities":{},"defaultInputModes":[],"defaultOutputModes":[],"skills":[]}"#
    );
}

#[test]
fn every_spelling_of_a_part_is_read() {
    let bytes = PartContent::Raw(vec![0xfb, 0xff, 0x3e]);
    for (given, content) in [
        (json!({"text": ""}), PartContent::Text(String::new())),
        (
            json!({"text": "x", "raw": null, "url": null, "data": null}),
            PartContent::Text("x".into()),
        ),
        (json!({"raw": "+/8+"}), bytes.clone()),
        (json!({"raw": "-_8-"}), bytes),
        (json!({"raw": "aGk="}), PartContent::Raw(b"hi".into())),
        (json!({"raw": "aGk"}), PartContent::Raw(b"hi".into())),
        (json!({"raw": ""}), PartContent::Raw(vec![])),
        (json!({"url": "u", "unknown": 1}), PartContent::Url("u".into())),
        (json!({"data": null}), PartContent::Data(json!(null).into())),
        (json!({"data": null, "text": null}), PartContent::Data(json!(null).into())),
        (json!({"data": "s"}), PartContent::Data(json!("s").into())),
    ] {
        let part: Part = serde_json::from_value(given.clone()).unwrap();
        assert_eq!(part.content, content, "{given}");
    }
}

#[test]
fn members_are_read_in_either_case_and_null_is_absent() {
    let camel: Message = serde_json::from_str(fixture!("v1_0/message")).unwrap();
    let snake = fixture!("v1_0/message")
        .replace("messageId", "message_id")
        .replace("contextId", "context_id")
        .replace("taskId", "task_id")
        .replace("mediaType", "media_type")
        .replace("referenceTaskIds", "reference_task_ids");
    assert_eq!(serde_json::from_str::<Message>(&snake).unwrap(), camel);

    let bare = json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]});
    let spelled_out = json!({
        "messageId": "m", "contextId": null, "taskId": "", "role": 1,
        "parts": [{"text": "x", "metadata": null, "filename": null, "mediaType": ""}],
        "metadata": null, "extensions": null, "referenceTaskIds": null, "fromTheFuture": {},
    });
    let bare: Message = serde_json::from_value(bare).unwrap();
    assert_eq!(serde_json::from_value::<Message>(spelled_out).unwrap(), bare);
}

#[test]
fn numbers_and_flags_are_read_from_words() {
    for given in [json!(10), json!("10"), json!(10.0), json!("1e1")] {
        let request: ListTasksRequest =
            serde_json::from_value(json!({"pageSize": given, "includeArtifacts": "true"})).unwrap();
        assert_eq!(request.page_size, Some(10), "{given}");
        assert!(request.include_artifacts);
    }
    for given in [json!(1.5), json!("ten"), json!(3_000_000_000_u64), json!([1])] {
        serde_json::from_value::<ListTasksRequest>(json!({"pageSize": given})).unwrap_err();
    }
}

#[test]
fn states_are_read_by_name_or_number() {
    for (number, state) in TaskState::ALL.into_iter().enumerate() {
        assert_eq!(serde_json::from_value::<TaskState>(json!(number)).unwrap(), state);
        assert_eq!(serde_json::from_value::<TaskState>(json!(state.name())).unwrap(), state);
        assert_eq!(serde_json::to_value(state).unwrap(), json!(state.name()));
    }
    for wrong in [json!(9), json!(-1), json!("working"), json!("TASK_STATE_"), json!(null)] {
        serde_json::from_value::<TaskState>(wrong).unwrap_err();
    }
}

#[test]
fn a_task_of_a_server_that_omits_what_is_empty_is_read() {
    let task: Task = serde_json::from_value(json!({
        "id": "t", "status": {"state": 2}, "artifacts": [{"artifactId": "a"}], "history": null,
    }))
    .unwrap();
    assert_eq!(task.context_id, "");
    assert!(task.artifacts[0].parts.is_empty());
}

#[test]
fn credentials_are_not_printed() {
    let config: TaskPushNotificationConfig =
        serde_json::from_str(fixture!("v1_0/push_config")).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
}

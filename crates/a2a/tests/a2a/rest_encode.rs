//! The bodies that the HTTP+JSON binding answers with.

use crate::{fixture, value};
use pilothouse_a2a::operation::{ListTaskPushNotificationConfigsResponse, ListTasksResponse};
use pilothouse_a2a::rest::{Form, encode_event, encode_reply, error_body};
use pilothouse_a2a::{
    AgentCard, Error, ErrorKind, Message, Operation, Part, Reply, StreamResponse, Task,
    TaskPushNotificationConfig, TaskState, TaskStatus, TaskStatusUpdateEvent,
};
use serde_json::{Value, json};

fn task(state: TaskState) -> Task {
    let status = TaskStatus { state, message: None, timestamp: None };
    Task::new("t-1".into(), "c-1".into(), status)
}

fn message(part: Part) -> Message {
    Message { message_id: "m-1".into(), ..Message::new(pilothouse_a2a::Role::Agent, vec![part]) }
}

fn reply(form: Form, operation: Operation, reply: &Reply) -> Value {
    value(&encode_reply(form, operation, reply))
}

fn event(form: Form, event: &StreamResponse) -> Value {
    value(&encode_event(form, event))
}

#[test]
fn what_a_message_brought_is_named_by_its_member() {
    for operation in [Operation::SendMessage, Operation::SendStreamingMessage] {
        for form in [Form::Model, Form::Kind, Form::Proto] {
            let told = reply(form, operation, &Reply::Task(task(TaskState::Working)));
            assert_eq!(told["task"]["id"], "t-1");
            let told = reply(form, operation, &Reply::Message(message(Part::text("hi"))));
            assert_eq!(told["message"]["messageId"], "m-1");
        }
    }
}

#[test]
fn a_task_is_itself_where_nothing_else_can_come() {
    for (form, state) in [
        (Form::Model, "TASK_STATE_CANCELED"),
        (Form::Kind, "canceled"),
        (Form::Proto, "TASK_STATE_CANCELLED"),
    ] {
        let told = reply(form, Operation::CancelTask, &Reply::Task(task(TaskState::Canceled)));
        assert_eq!(told["id"], "t-1");
        assert_eq!(told["status"]["state"], state);
    }
}

#[test]
fn each_kind_of_part_has_its_words_in_protobuf() {
    let part = |part| {
        let told = event(Form::Proto, &StreamResponse::Message(message(part)));
        assert_eq!(told["message"]["role"], "ROLE_AGENT");
        told["message"]["content"][0].clone()
    };
    assert_eq!(part(Part::text("hi")), json!({"text": "hi"}));
    let file = part(Part::raw(*b"hi").named("a.txt").typed("text/plain"));
    assert_eq!(
        file,
        json!({"file": {"fileWithBytes": "aGk=", "mimeType": "text/plain", "name": "a.txt"}})
    );
    let file = part(Part::url("https://example.com"));
    assert_eq!(file, json!({"file": {"fileWithUri": "https://example.com"}}));
    assert_eq!(part(Part::data(json!({"k": 1}))), json!({"data": {"data": {"k": 1}}}));
    let marked = json!({"data": {"data": {"value": [1]}}, "metadata": {"data_part_compat": true}});
    assert_eq!(part(Part::data(json!([1]))), marked);
}

#[test]
fn protobuf_has_no_member_that_its_readers_do_not_know() {
    let mut known = message(Part::text("hi").typed("text/markdown"));
    known.reference_task_ids = vec!["t-0".into()];
    let told = event(Form::Proto, &StreamResponse::Message(known));
    let expected = json!({"messageId": "m-1", "role": "ROLE_AGENT", "content": [{"text": "hi"}]});
    assert_eq!(told["message"], expected);
}

#[test]
fn frames_of_v0_3_are_tagged_in_both_forms() {
    let status = task(TaskState::Completed).status;
    let update = TaskStatusUpdateEvent::new("t-1".into(), "c-1".into(), status);
    let update = StreamResponse::StatusUpdate(update);
    let told = event(Form::Kind, &update);
    assert_eq!(told["statusUpdate"]["kind"], "status-update");
    assert_eq!(told["statusUpdate"]["final"], true);
    let told = event(Form::Proto, &update);
    let expected = json!({"taskId": "t-1", "contextId": "c-1", "status": {"state": "TASK_STATE_COMPLETED"}, "final": true});
    assert_eq!(told["statusUpdate"], expected);
}

#[test]
fn configs_are_named_like_resources_in_protobuf() {
    let config: TaskPushNotificationConfig =
        serde_json::from_value(json!({"id": "c-1", "taskId": "t-1",
        "url": "https://example.com", "authentication": {"scheme": "Bearer"}}))
        .unwrap();
    let one = reply(
        Form::Proto,
        Operation::GetTaskPushNotificationConfig,
        &Reply::PushConfig(config.clone()),
    );
    assert_eq!(
        one,
        json!({
            "name": "tasks/t-1/pushNotificationConfigs/c-1",
            "pushNotificationConfig": {"id": "c-1", "url": "https://example.com", "authentication": {"schemes": ["Bearer"]}},
        })
    );
    let page = ListTaskPushNotificationConfigsResponse {
        configs: vec![config],
        next_page_token: Some("next".into()),
    };
    let page = Reply::PushConfigs(page);
    let all = reply(Form::Proto, Operation::ListTaskPushNotificationConfigs, &page);
    assert_eq!(all, json!({"configs": [one], "nextPageToken": "next"}));
    let all = reply(Form::Kind, Operation::ListTaskPushNotificationConfigs, &page);
    assert_eq!(all[0]["taskId"], "t-1");
}

#[test]
fn a_page_of_tasks_is_an_array_for_the_json_types_of_v0_3() {
    let page = ListTasksResponse { tasks: vec![task(TaskState::Working); 2], ..Default::default() };
    let page = Reply::Tasks(page);
    let told = reply(Form::Kind, Operation::ListTasks, &page);
    assert_eq!(told[1]["kind"], "task");
    let told = reply(Form::Proto, Operation::ListTasks, &page);
    assert_eq!(told["tasks"][1]["status"]["state"], "TASK_STATE_WORKING");
    assert_eq!(told["nextPageToken"], "");
}

#[test]
fn nothing_to_say_is_an_empty_object() {
    for form in [Form::Model, Form::Kind, Form::Proto] {
        let operation = Operation::DeleteTaskPushNotificationConfig;
        assert_eq!(encode_reply(form, operation, &Reply::Empty), "{}");
    }
}

#[test]
fn the_extended_card_of_v0_3_is_read_by_both_kinds_of_clients() {
    let card: AgentCard = serde_json::from_str(fixture!("v1_0/card")).unwrap();
    let card = Reply::Card(Box::new(card));
    for form in [Form::Kind, Form::Proto] {
        let told = reply(form, Operation::GetExtendedAgentCard, &card);
        assert_eq!(told["protocolVersion"], "0.3.0");
        let schemes = told["securitySchemes"].as_object().unwrap();
        assert!(!schemes.is_empty());
        for scheme in schemes.values() {
            assert!(scheme["type"].is_string());
            let members = scheme.as_object().unwrap();
            assert!(members.keys().any(|name| name.ends_with("SecurityScheme")));
        }
    }
}

#[test]
fn an_error_of_v1_0_has_a_status() {
    let told = value(&error_body(Form::Model, &Error::task_not_found("t-1")));
    assert_eq!(told["error"]["status"], "NOT_FOUND");
}

#[test]
fn an_error_of_v0_3_has_a_code_and_a_name() {
    for form in [Form::Kind, Form::Proto] {
        let told = value(&error_body(form, &Error::task_not_found("t-1")));
        assert_eq!(
            told,
            json!({"code": -32001, "message": "task `t-1` not found",
            "data": {"taskId": "t-1"}, "error": "TaskNotFoundError"})
        );
        let told = value(&error_body(form, &Error::new(ErrorKind::Internal, "oh")));
        assert_eq!(told, json!({"code": -32603, "message": "oh", "error": "InternalError"}));
    }
}

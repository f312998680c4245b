//! What a request may not say although it can be spelled.

use super::{Call, SendMessageConfiguration, SendMessageRequest};
use crate::error::FieldViolation;
use crate::message::PartContent;
use crate::push::TaskPushNotificationConfig;
use crate::{Message, Metadata, Part};

/// How deep a free value may be nested. An answer wraps it a few levels deeper, and common readers
/// stop at 128.
const MAX_DEPTH: usize = 100;

/// The largest page of `ListTasks` (specification 3.1.4).
const MAX_PAGE: i32 = 100;

const EMPTY: &str = "must not be empty";
const NEGATIVE: &str = "must not be negative";
const TOO_DEEP: &str = "is nested more than 100 levels deep";

/// Gathers what is wrong, so that the caller hears of all of it at once.
#[derive(Default)]
struct Check(Vec<FieldViolation>);

pub(super) fn call(call: &Call) -> Vec<FieldViolation> {
    let mut check = Check::default();
    match call {
        Call::SendMessage(request) | Call::SendStreamingMessage(request) => check.send(request),
        Call::GetTask(request) => {
            check.filled("id", request.id.as_str());
            check.natural("historyLength", request.history_length);
        }
        Call::ListTasks(request) => {
            let page = request.page_size.unwrap_or(1);
            check.hold((1..=MAX_PAGE).contains(&page), "pageSize", "must be 1 to 100");
            check.natural("historyLength", request.history_length);
        }
        Call::CancelTask(request) => {
            check.filled("id", request.id.as_str());
            check.metadata("metadata", request.metadata.as_ref());
        }
        Call::SubscribeToTask(request) => check.filled("id", request.id.as_str()),
        Call::CreateTaskPushNotificationConfig(config) => {
            check.filled("taskId", config.task_id.as_ref().map_or("", |id| id.as_str()));
            check.config("", config);
        }
        Call::GetTaskPushNotificationConfig(request) => {
            check.filled("taskId", request.task_id.as_str());
        }
        Call::ListTaskPushNotificationConfigs(request) => {
            check.filled("taskId", request.task_id.as_str());
            check.natural("pageSize", request.page_size);
        }
        Call::DeleteTaskPushNotificationConfig(request) => {
            check.filled("taskId", request.task_id.as_str());
            check.filled("id", &request.id);
        }
        Call::GetExtendedAgentCard(_) => {}
    }
    check.0
}

impl Check {
    fn send(&mut self, request: &SendMessageRequest) {
        self.message(&request.message);
        self.metadata("metadata", request.metadata.as_ref());
        if let Some(configuration) = &request.configuration {
            self.configuration(configuration);
        }
    }

    fn message(&mut self, message: &Message) {
        self.filled("message.messageId", message.message_id.as_str());
        self.hold(!message.parts.is_empty(), "message.parts", EMPTY);
        self.metadata("message.metadata", message.metadata.as_ref());
        for (place, part) in message.parts.iter().enumerate() {
            self.part(place, part);
        }
    }

    fn part(&mut self, place: usize, part: &Part) {
        if let PartContent::Data(data) = &part.content {
            self.hold(
                data.depth() <= MAX_DEPTH,
                format_args!("message.parts[{place}].data"),
                TOO_DEEP,
            );
        }
        if part.metadata.is_some() {
            let field = format!("message.parts[{place}].metadata");
            self.metadata(&field, part.metadata.as_ref());
        }
    }

    fn configuration(&mut self, configuration: &SendMessageConfiguration) {
        self.natural("configuration.historyLength", configuration.history_length);
        if let Some(config) = &configuration.task_push_notification_config {
            self.config("configuration.taskPushNotificationConfig.", config);
        }
    }

    fn config(&mut self, at: &str, config: &TaskPushNotificationConfig) {
        self.hold(!config.url.is_empty(), format_args!("{at}url"), EMPTY);
        if let Some(authentication) = &config.authentication {
            self.hold(
                !authentication.scheme.is_empty(),
                format_args!("{at}authentication.scheme"),
                EMPTY,
            );
        }
    }

    fn filled(&mut self, field: &str, value: &str) {
        self.hold(!value.is_empty(), field, EMPTY);
    }

    fn natural(&mut self, field: &str, value: Option<i32>) {
        self.hold(value.is_none_or(|number| number >= 0), field, NEGATIVE);
    }

    fn metadata(&mut self, field: &str, metadata: Option<&Metadata>) {
        let shallow = metadata.is_none_or(|metadata| metadata.as_json().depth() <= MAX_DEPTH);
        self.hold(shallow, field, TOO_DEEP);
    }

    fn hold(&mut self, holds: bool, field: impl ToString, otherwise: &str) {
        if !holds {
            let (field, description) = (field.to_string(), otherwise.to_owned());
            self.0.push(FieldViolation { field, description });
        }
    }
}

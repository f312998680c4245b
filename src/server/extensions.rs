//! Extensions of the protocol that the server itself speaks with clients that activate them: kagent's approvals and
//! usage. What they add stands in messages and metadata beside our own, and only in what such a client is sent.

use super::Doors;
use super::call::{Named, asked_extensions};
use crate::asks::{APPROVALS, render_approval_request};
use crate::config::WISHES;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use pilothouse_a2a::Metadata;
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::message::PartContent;
use pilothouse_a2a::operation::Reply;
use pilothouse_a2a::task::{Task, TaskState, TaskStatus};
use serde_json::{Value, json};

/// The extension by which kagent's clients read how many tokens a task has used.
const USAGE: &str = "https://kagent.dev/extensions/usage/v1";

/// The extensions, each with one sentence for cards.
pub(super) const SERVED: [(&str, &str); 3] = [
    (APPROVALS, "asks for approvals and answers, as kagent's clients read and give them"),
    (USAGE, "tokens that a task has used, as kagent's clients read them"),
    (
        WISHES,
        "what a message chooses for its turn, as metadata under this name: model, effort, ref, budget and others",
    ),
];

/// Which of them a client has activated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Activated {
    approvals: bool,
    usage: bool,
}

impl Activated {
    /// Those that the head of a request names.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let has = |uri: &str| asked_extensions(headers).any(|asked| asked == uri);
        Self { approvals: has(APPROVALS), usage: has(USAGE) }
    }

    fn is_any(self) -> bool {
        self.approvals || self.usage
    }

    /// Adds what they say to an answer.
    pub(super) fn extend_reply(self, reply: &mut Reply) {
        if !self.is_any() {
            return;
        }
        match reply {
            Reply::Task(task) => self.extend_task(task),
            Reply::Tasks(page) => page.tasks.iter_mut().for_each(|task| self.extend_task(task)),
            Reply::Message(_)
            | Reply::PushConfig(_)
            | Reply::PushConfigs(_)
            | Reply::Card(_)
            | Reply::Empty => {}
        }
    }

    /// The same for an event as it is stored; none where nothing is added.
    pub(super) fn extend_event(self, body: &[u8]) -> Option<Vec<u8>> {
        if !self.is_any() || body.starts_with(b"{\"artifactUpdate\"") {
            return None;
        }
        let mut event = serde_json::from_slice::<StreamResponse>(body).ok()?;
        match &mut event {
            StreamResponse::Task(task) => self.extend_task(task),
            StreamResponse::StatusUpdate(update) => {
                self.extend(&mut update.status, &mut update.metadata);
            }
            StreamResponse::Message(_) | StreamResponse::ArtifactUpdate(_) => return None,
        }
        serde_json::to_vec(&event).ok()
    }

    fn extend_task(self, task: &mut Task) {
        self.extend(&mut task.status, &mut task.metadata);
    }

    fn extend(self, status: &mut TaskStatus, metadata: &mut Option<Metadata>) {
        if self.approvals && status.state == TaskState::InputRequired {
            add_request(status);
        }
        if self.usage
            && let Some(metadata) = metadata
            && let Some(used) = read_usage(metadata)
        {
            metadata.insert(USAGE, used);
        }
    }
}

impl Doors {
    /// The same response, naming the extensions in force: asked for, and declared by the agent.
    pub(super) fn with_extensions(&self, mut response: Response, parts: &Parts) -> Response {
        let Some(agent) = self.agent_at(parts.extensions.get::<Named>()) else {
            return response;
        };
        let declared = |uri: &&str| {
            agent.config.extensions.iter().any(|one| one.uri == *uri)
                || SERVED.iter().any(|(served, _)| served == uri)
        };
        let active: Vec<_> = asked_extensions(&parts.headers).filter(declared).collect();
        if let Ok(active) = HeaderValue::from_str(&active.join(", "))
            && !active.is_empty()
        {
            response.headers_mut().insert("a2a-extensions", active);
        }
        response
    }
}

/// Adds what a status asks to its message, in the words of the extension.
fn add_request(status: &mut TaskStatus) {
    let Some(message) = &mut status.message else { return };
    let ask = message.parts.iter().find_map(|part| match &part.content {
        PartContent::Data(data) if data.member("askId").is_some() => Some(data.to_value()),
        _ => None,
    });
    let hint = message.text_content();
    if let Some(request) = ask.and_then(|ask| render_approval_request(&ask, &hint)) {
        message.metadata.get_or_insert_default().insert(APPROVALS, request);
        message.extensions.push(APPROVALS.to_owned());
    }
}

/// The tokens of our own metadata in the words of the extension: there cached ones are a part of the input.
fn read_usage(metadata: &Metadata) -> Option<Value> {
    let ours = metadata.get("usage")?;
    let count = |name: &str| ours.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (cached, output) = (count("cacheReadTokens"), count("outputTokens"));
    let input = count("inputTokens") + cached + count("cacheWriteTokens");
    let mut used = json!({
        "inputTokens": input,
        "outputTokens": output,
        "reasoningTokens": 0,
        "cachedInputTokens": cached,
        "totalTokens": input + output,
    });
    if let Some(model) = metadata.get("model") {
        let mut of_model = used.clone();
        of_model["model"] = model;
        used["models"] = json!([of_model]);
    }
    Some(used)
}

//! `/api/v1/tasks/{id}/events`: the log of a task in pages, from either end, and one event whole.

use super::super::{Doors, json_response};
use super::{Answered, any_task, carry_out, entry_of, failed, not_there, store_failed};
use crate::service::Client;
use crate::store::{Event, EventPage, Kind};
use crate::task::{TaskLog, measure, shorten_text, shorten_value};
use axum::extract::{Path, Request, State};
use axum::http::{Extensions, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Events of a page where its reader does not say how many, and at most.
const COUNT: usize = 200;
const MOST: usize = 1000;

/// Bytes of a page of short events.
const SHORT_PAGE: usize = 96 * 1024;

/// A text of a short event that is longer is cut, and so is an event that is still longer than that.
const SHORT_TEXT: usize = 2 * 1024;
const SHORT_EVENT: usize = 16 * 1024;

/// Which events are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EventQuery {
    after: u64,
    before: Option<u64>,
    count: usize,
    is_tail: bool,
    is_whole: bool,
}

impl EventQuery {
    /// Reads a query.
    fn read(query: &str) -> Result<Self, Error> {
        let mut asked =
            Self { after: 0, before: None, count: COUNT, is_tail: false, is_whole: false };
        let mut has_after = false;
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let number =
                || value.parse::<u64>().map_err(|_| Error::invalid(name, "must be a number"));
            match name {
                "after" => (asked.after, has_after) = (number()?, true),
                "before" => asked.before = Some(number()?),
                "limit" => {
                    let count = value.parse().ok().filter(|count| (1..=MOST).contains(count));
                    asked.count = count
                        .ok_or_else(|| Error::invalid(name, format!("must be 1 to {MOST}")))?;
                }
                "tail" => asked.is_tail = matches!(value, "1" | "true"),
                "bodies" => match value {
                    "whole" => asked.is_whole = true,
                    "short" => asked.is_whole = false,
                    _ => return Err(Error::invalid(name, "must be short or whole")),
                },
                _ => {}
            }
        }
        asked.is_tail |= asked.before.is_some() && !has_after;
        Ok(asked)
    }
}

/// `GET /api/v1/tasks/{id}/events`: a page of a task's events.
pub(in super::super) async fn list(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let most = doors.config.limits.response.as_usize();
    let action = ("ListTaskEvents", most);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let asked = EventQuery::read(request.uri().query().unwrap_or_default());
        let asked = asked.map_err(|error| Box::new(failed(&error)))?;
        let log = find(&doors, client, id, request.extensions()).await?;
        let head = log.head();
        let page = EventPage {
            n: log.n,
            after: asked.after.min(head),
            upto: asked.before.map_or(head, |before| before.saturating_sub(1).min(head)),
            is_tail: asked.is_tail,
            count: asked.count,
            bytes: if asked.is_whole { most } else { most.min(SHORT_PAGE) },
            read: most,
        };
        let events =
            doors.store.event_page(page, move |event| render(&event, asked.is_whole)).await;
        let events = events.map_err(store_failed)?;
        if let [event] = events.as_slice() {
            check_size(event, &doors)?;
        }
        let events = events.join(",");
        let first = u64::from(head > 0);
        let body =
            format!(r#"{{"events":[{events}],"first":{first},"last":{head},"total":{head}}}"#);
        Ok(json_response(StatusCode::OK, body))
    })
    .await
}

/// `GET /api/v1/tasks/{id}/events/{seq}`: one event, whole.
pub(in super::super) async fn read(
    State(doors): State<Arc<Doors>>,
    Path((id, seq)): Path<(String, String)>,
    request: Request,
) -> Response {
    let most = doors.config.limits.response.as_usize();
    let action = ("GetTaskEvent", most);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let log = find(&doors, client, id, request.extensions()).await?;
        let none = || Box::new(not_there(&format!("the task has no event `{seq}`")));
        let number = seq.parse::<u64>().ok().filter(|seq| (1..=log.head()).contains(seq));
        let number = number.ok_or_else(none)?;
        let events =
            doors.store.events(log.n, number - 1, number, 1).await.map_err(store_failed)?;
        answer(events.first().map(|event| render(event, true)).ok_or_else(none)?, &doors)
    })
    .await
}

fn answer(body: String, doors: &Doors) -> Answered {
    check_size(&body, doors)?;
    Ok(json_response(StatusCode::OK, body))
}

/// Refuses an event that is larger than an answer may be.
fn check_size(event: &str, doors: &Doors) -> Result<(), Box<Response>> {
    let most = doors.config.limits.response;
    if event.len() <= most.as_usize() {
        return Ok(());
    }
    let words = format!(
        "the event is larger than {most}; read its artifact, or the export of the task; the server's operator can raise \
         `limits.response`"
    );
    Err(Box::new(failed(&Error::new(ErrorKind::UnsupportedOperation, words))))
}

/// The task of this id that the caller is shown.
pub(super) async fn find(
    doors: &Arc<Doors>,
    client: Client,
    id: String,
    extensions: &Extensions,
) -> Result<Arc<TaskLog>, Box<Response>> {
    let (entry, id) = (entry_of(extensions), TaskId::new(id));
    entry.set_task_id(&id);
    let found = any_task(doors, client, &id).await;
    let shown = found.and_then(|log| match log.is_withheld() {
        true => Err(Error::task_not_found(id.as_str())),
        false => Ok(log),
    });
    let log = shown.map_err(|error| Box::new(failed(&error)))?;
    entry.set_task(&log);
    Ok(log)
}

/// The word for a kind of event.
pub(super) fn word_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Task => "task",
        Kind::Status => "status",
        Kind::Artifact => "artifact",
        Kind::Message => "message",
    }
}

/// What of an event tells its time.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timed {
    status_update: Option<TimedPart>,
    task: Option<TimedPart>,
}

#[derive(Deserialize)]
struct TimedPart {
    status: TimedStatus,
}

#[derive(Deserialize)]
struct TimedStatus {
    timestamp: Option<Timestamp>,
}

/// When an event happened, where it says so.
pub(super) fn time_of(event: &Event) -> Option<Timestamp> {
    if !matches!(event.kind, Kind::Task | Kind::Status) {
        return None;
    }
    let timed: Timed = serde_json::from_slice(&event.body).ok()?;
    timed.status_update.or(timed.task)?.status.timestamp
}

/// An event as a stream would have it: a message that a caller has added is one too.
fn wrapped(event: &Event, body: &str) -> String {
    match event.kind {
        Kind::Message => format!(r#"{{"message":{body}}}"#),
        Kind::Task | Kind::Status | Kind::Artifact => body.to_owned(),
    }
}

/// An event of a page.
fn render(event: &Event, is_whole: bool) -> String {
    let body = String::from_utf8_lossy(&event.body);
    let short = (!is_whole).then(|| shorten(&body)).flatten();
    let mut entry =
        json!({"seq": event.seq, "kind": word_of(event.kind), "bytes": event.body.len()});
    if let Some(time) = time_of(event) {
        entry["time"] = json!(time);
    }
    if short.is_some() {
        entry["cut"] = json!(true);
    }
    let mut text = entry.to_string();
    text.pop();
    let body = short.as_deref().unwrap_or(&body);
    format!(r#"{text},"event":{}}}"#, wrapped(event, body))
}

/// The beginning of an event whose texts are long; none where it is short.
fn shorten(body: &str) -> Option<String> {
    if body.len() <= SHORT_TEXT {
        return None;
    }
    let mut value: Value = serde_json::from_str(body).ok()?;
    let mut is_cut = false;
    cut_texts(&mut value, &mut is_cut);
    if measure(&value) > SHORT_EVENT {
        is_cut = true;
        value = match shorten_value(value, SHORT_EVENT) {
            // Many small values: nothing is left of its form.
            Value::String(text) => json!({"text": text}),
            value => value,
        };
    }
    is_cut.then(|| value.to_string())
}

fn cut_texts(value: &mut Value, is_cut: &mut bool) {
    match value {
        Value::String(text) if text.len() > SHORT_TEXT => {
            *is_cut = true;
            *text = shorten_text(std::mem::take(text), SHORT_TEXT);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, is_cut)),
        Value::Object(members) => members.values_mut().for_each(|item| cut_texts(item, is_cut)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, body: &Value) -> Event {
        Event { seq: 7, kind, body: body.to_string().into() }
    }

    #[test]
    fn a_query_asks_for_the_first_events_or_the_last_or_those_before_one() {
        let asked = |query| EventQuery::read(query).unwrap();
        let usual =
            EventQuery { after: 0, before: None, count: COUNT, is_tail: false, is_whole: false };
        assert_eq!(asked(""), usual);
        assert_eq!(asked("tail=1&limit=5"), EventQuery { is_tail: true, count: 5, ..usual });
        assert_eq!(asked("before=9"), EventQuery { is_tail: true, before: Some(9), ..usual });
        assert_eq!(asked("after=1&before=9"), EventQuery { after: 1, before: Some(9), ..usual });
        assert_eq!(asked("bodies=whole"), EventQuery { is_whole: true, ..usual });
        for wrong in ["limit=0", "limit=1001", "after=x", "bodies=x"] {
            assert!(EventQuery::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_long_text_of_a_short_event_is_cut_and_says_so() {
        let long = json!({"artifactUpdate": {"artifact": {"parts": [{"text": "x".repeat(9000)}]}}});
        let entry: Value =
            serde_json::from_str(&render(&event(Kind::Artifact, &long), false)).unwrap();
        let text =
            entry["event"]["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str().unwrap();
        assert!(text.len() < 2200 && text.ends_with("more bytes are left out)"), "{text}");
        assert_eq!((&entry["cut"], &entry["kind"]), (&json!(true), &json!("artifact")));
        let whole: Value =
            serde_json::from_str(&render(&event(Kind::Artifact, &long), true)).unwrap();
        assert_eq!((&whole["event"], &whole["cut"]), (&long, &Value::Null));
    }

    #[test]
    fn a_message_of_a_caller_is_an_event_of_its_own_kind_and_a_status_tells_its_time() {
        let message = json!({"messageId": "m", "parts": []});
        let entry: Value =
            serde_json::from_str(&render(&event(Kind::Message, &message), false)).unwrap();
        assert_eq!(entry["event"], json!({"message": message}));
        let status = json!({"statusUpdate": {"status": {"timestamp": "2026-01-01T00:00:00.000Z"}}});
        let entry: Value =
            serde_json::from_str(&render(&event(Kind::Status, &status), false)).unwrap();
        assert_eq!(entry["time"], "2026-01-01T00:00:00.000Z");
    }
}

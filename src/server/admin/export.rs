//! `/api/v1/tasks/{id}/export`: all that was said and done in a task as one file, in which secrets are masked.

mod transcript;

use super::super::Doors;
use super::events::find;
use super::files::attachment;
use super::{carry_out, failed};
use crate::task::{CATCH_UP_BYTES, TaskLog};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use pilothouse_a2a::error::Error;
use std::io;
use std::sync::Arc;
use transcript::{ExportForm, Transcript};

/// A page of a transcript loads nothing and runs nothing, wherever it is opened.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// `GET /api/v1/tasks/{id}/export`: the transcript of a task, as far as it has come.
pub(in super::super) async fn read(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let most = doors.config.limits.event.as_usize() + CATCH_UP_BYTES;
    let action = ("ExportTask", most);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let query = request.uri().query().unwrap_or_default();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let form = pairs.find(|(name, _)| *name == "form").map_or("markdown", |(_, form)| form);
        let form = ExportForm::parse(form).ok_or_else(|| {
            Box::new(failed(&Error::invalid("form", "must be jsonl, markdown or html")))
        })?;
        let caller = client.caller.name.clone();
        let log = find(&doors, client, id, request.extensions()).await?;
        let transcript = Transcript::new(form, doors.reloading.secrets(&doors.config), &log.id);
        let name = format!("task-{}.{}", log.id, form.ending());
        let body = write(doors, caller, log, transcript);
        let mut response = attachment(StatusCode::OK, body, form.media_type(), name.as_bytes());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        Ok(response)
    })
    .await
}

/// The transcript as the log is read. Where that fails the body breaks off, so that nobody takes the beginning for the whole.
fn write(doors: Arc<Doors>, caller: Arc<str>, log: Arc<TaskLog>, transcript: Transcript) -> Body {
    let upto = log.head();
    let most = CATCH_UP_BYTES + doors.config.limits.event.as_usize();
    Body::from_stream(try_unfold(
        (transcript, 0, false),
        move |(mut transcript, after, is_over)| {
            let (doors, caller, log) = (doors.clone(), caller.clone(), log.clone());
            async move {
                if is_over {
                    return Ok(None);
                }
                let room = doors.answers.reserve_piece(&caller, most).await;
                let room = room.map_err(|error| {
                    tracing::warn!(task.id = %log.id, "a transcript broke off: {}", error.message);
                    io::Error::other(error.message)
                })?;
                let events = doors.store.events(log.n, after, upto, CATCH_UP_BYTES).await;
                let events = events.map_err(|error| {
                tracing::error!(task.id = %log.id, %error, "a transcript broke off: the store could not be read");
                io::Error::other("the store could not be read")
            })?;
                if events.is_empty() && after < upto {
                    return Err(io::Error::other("the task was removed meanwhile"));
                }
                events.iter().for_each(|event| transcript.add(event));
                let last = events.last().map_or(upto, |event| event.seq);
                let is_over = last >= upto;
                if is_over {
                    transcript.end();
                }
                let bytes = room.hold(transcript.take());
                Ok::<_, io::Error>(Some((bytes, (transcript, last, is_over))))
            }
        },
    ))
}

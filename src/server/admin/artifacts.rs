//! `/api/v1/tasks/{id}/artifacts/{artifact}` and `/answer`: what a task has made, however large, as it is read from the
//! log.

use super::super::Doors;
use super::files::attachment;
use super::{any_task, carry_out, entry_of, failed, not_there, store_failed};
use crate::store::{self, Event, Kind, Store};
use crate::task::pieces::PieceNumbers;
use crate::task::{CATCH_UP_BYTES, TaskLog, answer_id, is_last_piece};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use pilothouse_a2a::error::Error;
use pilothouse_a2a::event::{StreamResponse, TaskArtifactUpdateEvent};
use pilothouse_a2a::id::{ArtifactId, TaskId};
use pilothouse_a2a::message::{Part, PartContent};
use std::sync::Arc;

/// `GET /api/v1/tasks/{id}/answer`: the whole answer as text, however long.
pub(in super::super) async fn answer(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let most = doors.config.limits.event.as_usize() + CATCH_UP_BYTES;
    let action = ("GetAnswer", most);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let (caller, id) = (client.caller.name.clone(), TaskId::new(id));
        let entry = entry_of(request.extensions());
        entry.set_task_id(&id);
        let log = any_task(&doors, client, &id).await;
        let log = log.map_err(|error| Box::new(failed(&error)))?;
        entry.set_task(&log);
        let artifact = answer_id(&log.id);
        let found = find_artifact(&doors.store, &log, &artifact).await.map_err(store_failed)?;
        let after = found.map_or(0, |found| found.after);
        let content = Content { artifact, after, upto: log.head(), part: None };
        let mut response = Response::new(read_content(doors, caller, log, content));
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    })
    .await
}

/// `GET /api/v1/tasks/{id}/artifacts/{artifact}`: all that an artifact holds; with `event` and `part` the content of a part
/// of one update, or of the file of which it is the last part.
pub(in super::super) async fn read(
    State(doors): State<Arc<Doors>>,
    Path((id, artifact)): Path<(String, String)>,
    request: Request,
) -> Response {
    let most = doors.config.limits.event.as_usize() + CATCH_UP_BYTES;
    let action = ("GetArtifact", most);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let place = PartPlace::read(request.uri().query().unwrap_or_default());
        let place = place.map_err(|error| Box::new(failed(&error)))?;
        let (caller, id) = (client.caller.name.clone(), TaskId::new(id));
        let (entry, artifact) = (entry_of(request.extensions()), ArtifactId::new(artifact));
        entry.set_task_id(&id);
        let log = any_task(&doors, client, &id).await;
        let log = log.map_err(|error| Box::new(failed(&error)))?;
        entry.set_task(&log);
        let store = &doors.store;
        let found = match place {
            Some(place) => find_part(store, &log, &artifact, place).await,
            None => find_artifact(store, &log, &artifact).await,
        };
        let found = found.map_err(store_failed)?.ok_or_else(|| {
            Box::new(not_there(&format!(
                "the task has no artifact `{artifact}` with content there"
            )))
        })?;
        let content = Content { artifact, after: found.after, upto: found.upto, part: found.part };
        let body = read_content(doors, caller, log, content);
        Ok(attachment(StatusCode::OK, body, found.kind, found.name.as_bytes()))
    })
    .await
}

/// A part of one update of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartPlace {
    event: u64,
    part: usize,
}

impl PartPlace {
    /// The place that a query names, if it names one.
    fn read(query: &str) -> Result<Option<Self>, Error> {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
        };
        let wrong = |name| Error::invalid(name, "is no number of an address of this server");
        let Some(event) = value("event") else { return Ok(None) };
        let event = event.parse().map_err(|_| wrong("event"))?;
        let part = value("part").unwrap_or("0").parse().map_err(|_| wrong("part"))?;
        Ok(Some(Self { event, part }))
    }
}

/// Where the content of an artifact lies, and what it is.
struct FoundArtifact {
    after: u64,
    upto: u64,
    part: Option<usize>,
    kind: &'static str,
    name: String,
}

impl FoundArtifact {
    /// What is known by one of its parts.
    fn of(update: &TaskArtifactUpdateEvent, part: Option<&Part>) -> Self {
        let kind = match part.map(|part| &part.content) {
            Some(PartContent::Text(_)) => "text/plain; charset=utf-8",
            Some(PartContent::Data(_)) => "application/json",
            // An agent chooses the type of its file: no browser is to believe it here.
            Some(PartContent::Raw(_) | PartContent::Url(_)) | None => "application/octet-stream",
        };
        let name = part.and_then(|part| part.filename.clone());
        let name = name.or_else(|| update.artifact.name.clone()).unwrap_or_default();
        Self { after: 0, upto: 0, part: None, kind, name }
    }
}

/// The artifact as it stands; a replacing update makes everything before it void.
async fn find_artifact(
    store: &Store,
    log: &TaskLog,
    wanted: &ArtifactId,
) -> Result<Option<FoundArtifact>, store::Error> {
    let (upto, mut after, mut found) = (log.head(), 0, None);
    while after < upto {
        let events = store.events(log.n, after, upto, CATCH_UP_BYTES).await?;
        let Some(last) = events.last() else { break };
        after = last.seq;
        for event in &events {
            if found.is_some() && is_more_of_an_artifact(event) {
                continue;
            }
            let Some(update) = update_of(event, wanted) else { continue };
            if !update.append || found.is_none() {
                let known = FoundArtifact::of(&update, update.artifact.parts.first());
                found = Some(FoundArtifact { after: event.seq - 1, upto, ..known });
            }
        }
    }
    Ok(found)
}

/// A part of one update; where it is the last one of a file, the file.
async fn find_part(
    store: &Store,
    log: &TaskLog,
    wanted: &ArtifactId,
    PartPlace { event, part }: PartPlace,
) -> Result<Option<FoundArtifact>, store::Error> {
    let upto = event.min(log.head());
    let Some(after) = event.checked_sub(1).filter(|after| *after < upto) else { return Ok(None) };
    let events = store.events(log.n, after, upto, CATCH_UP_BYTES).await?;
    let Some(update) = events.first().and_then(|event| update_of(event, wanted)) else {
        return Ok(None);
    };
    let Some(content) = update.artifact.parts.get(part) else { return Ok(None) };
    let found = FoundArtifact { upto, ..FoundArtifact::of(&update, Some(content)) };
    Ok(Some(match PieceNumbers::of(content) {
        // The parts of a file are recorded one after the other.
        Some(numbers) => FoundArtifact { after: upto.saturating_sub(numbers.pieces), ..found },
        None => FoundArtifact { after, part: Some(part), ..found },
    }))
}

/// The update of this artifact that an event is.
fn update_of(event: &Event, wanted: &ArtifactId) -> Option<TaskArtifactUpdateEvent> {
    if !names_artifact(event, wanted) {
        return None;
    }
    match serde_json::from_slice::<StreamResponse>(&event.body).ok()? {
        StreamResponse::ArtifactUpdate(update) => {
            (update.artifact.artifact_id == *wanted).then_some(update)
        }
        StreamResponse::Task(_) | StreamResponse::Message(_) | StreamResponse::StatusUpdate(_) => {
            None
        }
    }
}

/// Whether an event is an update of this artifact. It is known by its beginning, so that the files of others are not
/// decoded: within a string of the JSON the mark would have its quotes escaped.
fn names_artifact(event: &Event, wanted: &ArtifactId) -> bool {
    const MARK: &[u8] = b"\"artifact\":{\"artifactId\":";
    if event.kind != Kind::Artifact {
        return false;
    }
    let mark = event.body.windows(MARK.len()).position(|window| window == MARK);
    let id = mark.and_then(|at| event.body.get(at + MARK.len()..));
    let wanted = serde_json::to_vec(wanted).unwrap_or_default();
    id.is_some_and(|id| id.starts_with(&wanted))
}

/// Whether an update only adds to an artifact, by its end.
fn is_more_of_an_artifact(event: &Event) -> bool {
    is_last_piece(event) || event.body.ends_with(b"\"append\":true}}")
}

/// What of an artifact is read.
struct Content {
    artifact: ArtifactId,
    after: u64,
    upto: u64,
    /// Of the one update that is read, this part alone.
    part: Option<usize>,
}

/// The content as it is read from the store. Where that fails, or where there is no room in time, the body breaks off,
/// so that no reader takes the beginning for the whole.
fn read_content(doors: Arc<Doors>, caller: Arc<str>, log: Arc<TaskLog>, content: Content) -> Body {
    let most = CATCH_UP_BYTES + doors.config.limits.event.as_usize();
    let (begin, content) = (content.after, Arc::new(content));
    Body::from_stream(try_unfold((log, begin), move |(log, after)| {
        let (doors, caller, content) = (doors.clone(), caller.clone(), content.clone());
        async move {
            let room = doors.answers.reserve_piece(&caller, most).await;
            let room = room.map_err(|error| {
                tracing::warn!(task.id = %log.id, "an artifact broke off: {}", error.message);
                std::io::Error::other(error.message)
            })?;
            let events = doors.store.events(log.n, after, content.upto, CATCH_UP_BYTES).await;
            let events = events.map_err(|error| {
                tracing::error!(task.id = %log.id, %error, "an artifact broke off: the store could not be read");
                std::io::Error::other("the store could not be read")
            })?;
            let Some(last) = events.last().map(|event| event.seq) else { return Ok(None) };
            let mut bytes = Vec::new();
            for update in events.iter().filter_map(|event| update_of(event, &content.artifact)) {
                let parts = update.artifact.parts.into_iter().enumerate();
                for (_, part) in parts.filter(|(at, _)| content.part.is_none_or(|part| part == *at))
                {
                    match part.content {
                        PartContent::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                        PartContent::Raw(raw) => bytes.extend_from_slice(&raw),
                        PartContent::Data(data) => bytes.extend_from_slice(data.text().as_bytes()),
                        PartContent::Url(url) => bytes.extend_from_slice(url.as_bytes()),
                    }
                }
            }
            Ok::<_, std::io::Error>(Some((room.hold(bytes), (log, last))))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::id::ContextId;
    use pilothouse_a2a::task::Artifact;

    #[test]
    fn an_update_is_found_by_its_artifact_whatever_its_context_is_called() {
        let event = |id: &str, append, last| {
            let artifact = Artifact::new(ArtifactId::new(id), "", vec![Part::text("text")]);
            let context = ContextId::new("\"artifact\":{\"artifactId\":\"a\"");
            let mut update = TaskArtifactUpdateEvent::new(TaskId::new("t"), context, artifact);
            (update.append, update.last_chunk) = (append, last);
            let body = serde_json::to_vec(&StreamResponse::ArtifactUpdate(update)).unwrap();
            Event { seq: 1, kind: Kind::Artifact, body: body.into() }
        };
        for id in ["a", "a\"b", "ab"] {
            for wanted in ["a", "a\"b", "ab"] {
                let update = update_of(&event(id, false, false), &ArtifactId::new(wanted));
                assert_eq!(update.is_some(), id == wanted, "{id} {wanted}");
            }
        }
        for (append, last) in [(false, false), (true, false), (false, true), (true, true)] {
            assert_eq!(is_more_of_an_artifact(&event("a", append, last)), append);
        }
    }

    #[test]
    fn a_place_is_an_event_and_a_part_of_it_or_is_refused() {
        assert_eq!(PartPlace::read("").unwrap(), None);
        assert_eq!(
            PartPlace::read("event=7&part=1").unwrap(),
            Some(PartPlace { event: 7, part: 1 })
        );
        assert_eq!(PartPlace::read("event=7").unwrap(), Some(PartPlace { event: 7, part: 0 }));
        for wrong in ["event=", "event=-1", "event=x", "event=1&part=x"] {
            assert!(PartPlace::read(wrong).is_err(), "{wrong}");
        }
    }
}

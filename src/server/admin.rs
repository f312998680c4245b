//! What A2A has no operation for: health, sessions, the whole of a long answer.

pub(super) mod asks;
pub(super) mod attach;

use super::{Doors, authority, denial, json_response, peer, with_advice};
use crate::service::Client;
use crate::store::{Durability, Event, Kind, SessionRow, Write};
use crate::task::{TaskLog, answer_id};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use pilothouse_a2a::error::{Error, ErrorKind, status_object};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::id::TaskId;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sessions of one list at most.
const SESSIONS: u32 = 500;

/// Bytes of events that one read brings while an answer is sent.
const READ_BYTES: usize = 256 * 1024;

/// `GET /`: for a person with a browser.
pub(super) async fn welcome(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let name = doors.agent_of(&request).map_or("nobody", |agent| &*agent.name);
    let text = format!(
        "{name}: an A2A agent, served by pilothouse {}.\nIts card is at /.well-known/agent-card.json; send messages by \
         POST to this address.\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut response = Response::new(Body::from(text));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// `GET /health`: the process answers.
pub(super) async fn health() -> Response {
    json_response(
        StatusCode::OK,
        json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}).to_string(),
    )
}

/// `GET /ready`: the store is written, the agent is there; no secrets.
pub(super) async fn ready(State(doors): State<Arc<Doors>>) -> Response {
    let house = doors.service.sessions().house();
    let store = store_writes(&doors).await;
    let stopping = doors.stop.is_cancelled();
    let default = house.agents.default_one();
    let agents: Vec<_> = house.agents.iter().map(|agent| &*agent.key).collect();
    let (live, most) = doors.service.sessions().processes();
    let body = json!({
        "status": if store && !stopping { "ready" } else { "not ready" },
        "store": if store { "ok" } else { "failed" },
        "stopping": stopping,
        "agent": {"name": default.name, "driver": default.config.driver},
        "agents": agents,
        "isolation": default.isolation(&house.isolation),
        "processes": {"live": live, "max": most},
        "waiting": doors.service.sessions().waiting(),
    });
    let status = if store && !stopping { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(status, body.to_string())
}

/// Whether the store can be written; asked of it at most once a second, whoever asks.
async fn store_writes(doors: &Doors) -> bool {
    let known = *doors.store_probed.lock();
    if let Some((at, outcome)) = known
        && at.elapsed() < Duration::from_secs(1)
    {
        return outcome;
    }
    let store = &doors.service.sessions().house().store;
    let outcome = store.commit(vec![Write::Probe], Durability::Written).await.is_ok();
    *doors.store_probed.lock() = Some((Instant::now(), outcome));
    outcome
}

/// `GET /api/v1/sessions`: the caller's sessions, last used first.
pub(super) async fn sessions(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let client = match admitted(&doors, &request) {
        Ok(client) => client,
        Err(response) => return *response,
    };
    let house = doors.service.sessions().house();
    match house.store.sessions(&client.scope(), SESSIONS).await {
        Ok(rows) => {
            let rows: Vec<_> = rows.iter().map(|row| shown(&doors, row)).collect();
            json_response(StatusCode::OK, json!({"sessions": rows}).to_string())
        }
        Err(error) => failed(&Error::new(ErrorKind::Internal, error.to_string())),
    }
}

/// `GET /api/v1/sessions/{id}`: one of them, by its id or its context.
pub(super) async fn session(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let client = match admitted(&doors, &request) {
        Ok(client) => client,
        Err(response) => return *response,
    };
    let house = doors.service.sessions().house();
    match house.store.sessions(&client.scope(), SESSIONS).await {
        Ok(rows) => match rows.iter().find(|row| *row.id == *id || row.context_id.as_str() == id) {
            Some(row) => json_response(StatusCode::OK, shown(&doors, row).to_string()),
            None => not_there(&format!("no session `{id}`")),
        },
        Err(error) => failed(&Error::new(ErrorKind::Internal, error.to_string())),
    }
}

fn shown(doors: &Doors, row: &SessionRow) -> Value {
    let sessions = doors.service.sessions();
    json!({
        "id": &*row.id,
        "contextId": row.context_id,
        "agent": &*row.scope.agent,
        "conversation": row.conversation,
        "live": sessions.is_live(&row.id),
        "created": row.created,
        "used": row.used,
        "workspace": sessions.house().folders_of(&row.scope.agent).shown(&row.id),
    })
}

/// `GET /api/v1/tasks/{id}/answer`: the whole answer as text, however long.
pub(super) async fn answer(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let client = match admitted(&doors, &request) {
        Ok(client) => client,
        Err(response) => return *response,
    };
    let log = match any_task(&doors, client, &TaskId::new(id)).await {
        Ok(log) => log,
        Err(error) => return failed(&error),
    };
    let store = doors.service.sessions().house().store.clone();
    let (head, wanted) = (log.head(), answer_id(&log.id));
    // A replacing update makes everything before it void: begin at the last one.
    let mut begin = 0;
    let mut after = 0;
    while after < head {
        match store.events(log.n, after, head, READ_BYTES).await {
            Ok(events) if !events.is_empty() => {
                for event in &events {
                    if piece(event, &wanted).is_some_and(|(_, append)| !append) {
                        begin = event.seq - 1;
                    }
                    after = event.seq;
                }
            }
            Ok(_) => break,
            Err(error) => return failed(&Error::new(ErrorKind::Internal, error.to_string())),
        }
    }
    let body = Body::from_stream(unfold((log, begin), move |(log, after)| {
        let (store, wanted) = (store.clone(), wanted.clone());
        async move {
            let events = store.events(log.n, after, head, READ_BYTES).await.ok()?;
            let last = events.last()?.seq;
            let text: String = events
                .iter()
                .filter_map(|event| piece(event, &wanted))
                .map(|(text, _)| text)
                .collect();
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), (log, last)))
        }
    }));
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A task of this caller: with the agent that the path names, else with any.
async fn any_task(doors: &Doors, client: Client, id: &TaskId) -> Result<Arc<TaskLog>, Error> {
    let mut found = doors.service.find(&client, id, true).await;
    for agent in doors.service.sessions().house().agents.iter() {
        if found.is_ok() {
            break;
        }
        let client = Client { caller: client.caller.clone(), agent: agent.clone() };
        found = doors.service.find(&client, id, true).await;
    }
    found.map(|(log, _)| log)
}

/// The text that an event adds to the answer, and whether it appends.
fn piece(event: &Event, answer: &pilothouse_a2a::id::ArtifactId) -> Option<(String, bool)> {
    if event.kind != Kind::Artifact {
        return None;
    }
    match serde_json::from_slice::<StreamResponse>(&event.body).ok()? {
        StreamResponse::ArtifactUpdate(update) if update.artifact.artifact_id == *answer => {
            let text = update.artifact.parts.iter().filter_map(|part| part.as_text()).collect();
            Some((text, update.append))
        }
        _ => None,
    }
}

fn admitted(doors: &Doors, request: &Request) -> Result<Client, Box<Response>> {
    let authority = authority(request);
    let admitted = doors.access.admit(request.headers(), authority.as_deref(), peer(request));
    match (admitted, doors.agent_of(request)) {
        (Ok(caller), Some(agent)) => Ok(Client { caller, agent: agent.clone() }),
        (Ok(_), None) => Err(Box::new(not_there("no such agent"))),
        (Err(denied), _) => {
            let (status, error) = denial(&denied);
            Err(Box::new(with_advice(
                json_response(status, status_object(&error).to_string()),
                &error,
            )))
        }
    }
}

/// A path that no door has.
pub(super) async fn not_found(request: Request) -> Response {
    not_there(&format!(
        "nothing at {}; the card is at /.well-known/agent-card.json",
        request.uri().path()
    ))
}

/// A door that does not open that way.
pub(super) async fn method_not_allowed(request: Request) -> Response {
    wrong_method(&request, "")
}

/// The same, naming the methods that are served there.
pub(super) fn wrong_method(request: &Request, allowed: &str) -> Response {
    let message = format!("{} is not served at {}", request.method(), request.uri().path());
    let error = Error::new(ErrorKind::InvalidRequest, message);
    let mut response =
        json_response(StatusCode::METHOD_NOT_ALLOWED, status_object(&error).to_string());
    if let Ok(allowed) = HeaderValue::from_str(allowed)
        && !allowed.is_empty()
    {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

fn not_there(message: &str) -> Response {
    let body =
        json!({"error": {"code": 404, "status": "NOT_FOUND", "message": message, "details": []}});
    json_response(StatusCode::NOT_FOUND, body.to_string())
}

fn failed(error: &Error) -> Response {
    let status =
        StatusCode::from_u16(error.kind.codes().http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with_advice(json_response(status, status_object(error).to_string()), error)
}

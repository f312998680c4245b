//! What A2A has no operation for: health, sessions, the whole of a long answer.

pub(super) mod artifacts;
pub(super) mod asks;
pub(super) mod attach;
pub(super) mod bundle;
pub(super) mod erase;
pub(super) mod events;
pub(super) mod export;
pub(super) mod files;
pub(super) mod grants;
pub(super) mod links;
pub(super) mod metrics;
pub(super) mod operate;
mod page;
pub(super) mod publish;
pub(super) mod removal;
pub(super) mod results;
pub(super) mod rows;
pub(super) mod saved;
pub(super) mod system;
pub(super) mod tokens;
pub(super) mod trace;
pub(super) mod usage;

use super::answers::Room;
use super::call::Named;
use super::door::AuditEntry;
use super::{Doors, arrival, json_response, refusal, refuse_host, under_way, with_advice};
use crate::access::{Caller, Denied, Grant};
use crate::config::TokenScope;
use crate::service::Client;
use crate::store::{self, Durability, SessionPlace, SessionRow, Write};
use crate::task::TaskLog;
use axum::body::{Body, HttpBody};
use axum::extract::{Path, Request, State};
use axum::http::{Extensions, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use page::{PageQuery, no_token, render_page};
use pilothouse_a2a::error::{Error, ErrorKind, status_object};
use pilothouse_a2a::id::TaskId;
use rows::render_sessions;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the store may take to show that it works.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// `GET /`: for a person with a browser.
pub(super) async fn welcome(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    if let Some(refused) = refuse_host(&doors, &request) {
        return refused;
    }
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
pub(super) async fn health(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    if let Some(refused) = refuse_host(&doors, &request) {
        return refused;
    }
    json_response(
        StatusCode::OK,
        json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}).to_string(),
    )
}

/// `GET /ready`: the store is written; for callers with a token, what is served and how isolated. No secrets.
pub(super) async fn ready(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let is_known = match doors.access.admit(request.headers(), &arrival(&request)).await {
        Ok(_) => true,
        Err(Denied::NoToken) => false,
        Err(denied) => return refusal(denied),
    };
    let store = store_works(&doors).await;
    let stopping = doors.stop.is_cancelled() || doors.draining.is_cancelled();
    let default = doors.agents.default_one();
    let agents: Vec<_> = doors.agents.iter().map(|agent| &*agent.key).collect();
    let (live, most) = doors.service.sessions().processes();
    let mut body = json!({
        "status": if store && !stopping { "ready" } else { "not ready" },
        "store": if store { "ok" } else { "failed" },
        "stopping": stopping,
    });
    let issuer = doors.access.oidc().map(|oidc| oidc.problem());
    if let Some(problem) = &issuer {
        body["oidc"] = json!(if problem.is_none() { "ok" } else { "failed" });
    }
    if is_known {
        if let Some(problem) = issuer.flatten() {
            body["oidcProblem"] = json!(problem);
        }
        body["agent"] = json!({"name": default.name, "driver": default.config.driver});
        body["agents"] = json!(agents);
        body["isolation"] = json!(default.isolation(&doors.isolation));
        body["audit"] = json!(if doors.telemetry.audit().fails() { "failed" } else { "ok" });
        body["processes"] = json!({"live": live, "max": most});
        body["accountLimits"] = json!(doors.service.limits());
        let skills = doors.agents.iter();
        let skills =
            skills.filter_map(|agent| Some((agent.key.to_string(), agent.describe_offers()?)));
        body["skills"] = skills.collect::<serde_json::Map<_, _>>().into();
        body["waiting"] = json!(doors.service.sessions().waiting());
    }
    let status = if store && !stopping { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(status, body.to_string())
}

/// Whether the store can be written and read; asked of it at most once a second, whoever asks.
async fn store_works(doors: &Doors) -> bool {
    // One probe at a time: who comes meanwhile gets its outcome.
    let mut known = doors.store_probed.lock().await;
    if let Some((at, outcome)) = *known
        && at.elapsed() < Duration::from_secs(1)
    {
        return outcome;
    }
    let store = &doors.store;
    let probe = async {
        store.commit(vec![Write::Probe], Durability::Written).await?;
        store.probe_read().await
    };
    let outcome = matches!(tokio::time::timeout(PROBE_PATIENCE, probe).await, Ok(Ok(())));
    *known = Some((Instant::now(), outcome));
    outcome
}

/// What a call below `/api/v1` comes to; what is refused is a response too.
pub(super) type Answered = Result<Response, Box<Response>>;

/// A call below `/api/v1`: admitted, counted where it changes something, carried out on a task of its own, and in the audit log.
/// One that reads begins when there is room for an answer of at most so many bytes.
pub(super) async fn carry_out<F>(
    doors: &Arc<Doors>,
    mut request: Request,
    (action, most): (&str, usize),
    work: impl FnOnce(Arc<Doors>, Client, Request<Bytes>) -> F + Send,
) -> Response
where
    F: Future<Output = Answered> + Send + 'static,
{
    let (entry, admitted) = AuditEntry::begin(
        doors,
        request.headers(),
        arrival(&request),
        (under_way(&request), "API"),
    )
    .await;
    entry.set_action(action);
    let answered = match (admitted, doors.agent_of(&request).cloned()) {
        (Ok(caller), Some(agent)) => match check_scope(&caller, &request, action) {
            Ok(()) => {
                request.extensions_mut().insert(entry.clone());
                let grant = caller.grant.clone();
                let client = Client { caller, agent, source: entry.source() };
                let performed = perform(doors, client, &entry, (request, most), work).await;
                let answered = performed.unwrap_or_else(|error| Err(Box::new(failed(&error))));
                answered.map(|response| end_with(grant, response))
            }
            Err(denied) => Err(Box::new(failed(&denied.into()))),
        },
        (Ok(_), None) => Err(Box::new(not_there("no such agent"))),
        (Err(error), _) => Err(Box::new(failed(&error))),
    };
    let (response, outcome) = match answered {
        Ok(response) => (response, "ok"),
        Err(response) => {
            let reason = response.extensions().get::<Reason>().map(|Reason(reason)| *reason);
            (*response, reason.unwrap_or(ErrorKind::Internal.codes().reason))
        }
    };
    entry.write(outcome, response.status()).await;
    response
}

/// Refuses a call that the caller's token does not allow. What an action needs beside the usual stands here.
fn check_scope(caller: &Caller, request: &Request, action: &str) -> Result<(), Denied> {
    if let Some(Named(agent)) = request.extensions().get::<Named>() {
        caller.require_agent(agent)?;
    }
    match action {
        // Who answers has to see what is asked.
        "ListAsks" | "GetAsk" => {
            let may_read = caller.require(TokenScope::Read);
            may_read.or_else(|denied| caller.require(TokenScope::Answer).map_err(|_| denied))
        }
        "AnswerAsk" | "RevokeGrant" => caller.require(TokenScope::Answer),
        "BundleSession" | "Live" => caller.require(TokenScope::Read),
        "ListTokens" | "CreateToken" | "RevokeToken" | "Reload" | "Drain" | "Erase" => {
            caller.require(TokenScope::Admin)
        }
        _ if request.method().is_safe() => caller.require(TokenScope::Read),
        _ => caller.require(TokenScope::Send),
    }
}

/// Refuses the agent that a request means, where the caller's token is not for it.
fn check_agent(client: &Client) -> Result<(), Box<Response>> {
    let checked = client.caller.require_agent(&client.agent.key);
    checked.map_err(|denied| Box::new(failed(&denied.into())))
}

/// The response, whose body breaks off where the caller's token ends before all of it was taken.
pub(super) fn end_with(grant: Arc<Grant>, mut response: Response) -> Response {
    response.extensions_mut().insert(grant);
    response
}

/// Why a response is a refusal, for the audit log.
#[derive(Clone, Copy)]
struct Reason(&'static str);

/// The audit entry of a request that is carried out.
pub(super) fn entry_of(extensions: &Extensions) -> &AuditEntry {
    extensions.get().expect("`carry_out` puts it there")
}

/// The response with its room, unless it is a stream: that reserves room as it goes.
async fn hold(response: Response, room: Room) -> Response {
    if response.body().size_hint().exact().is_none() {
        return response;
    }
    let (parts, body) = response.into_parts();
    // It is in memory, so this neither waits nor fails.
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Response::from_parts(parts, Body::from(room.hold(bytes)))
}

/// Runs the work on a task of its own, when the whole body is there: a caller who is slow to send it keeps
/// no operation open, and takes no room for an answer. The room belongs to that task, so it lasts as long
/// as what it is for.
async fn perform<F>(
    doors: &Arc<Doors>,
    client: Client,
    entry: &AuditEntry,
    (request, most): (Request, usize),
    work: impl FnOnce(Arc<Doors>, Client, Request<Bytes>) -> F + Send,
) -> Result<Answered, Error>
where
    F: Future<Output = Answered> + Send + 'static,
{
    let caller = client.caller.name.clone();
    let reads = request.method().is_safe();
    if !reads {
        doors.count_request(&client.caller)?;
    }
    let (parts, body) = request.into_parts();
    let body = doors.read_body(&caller, &parts.headers, body, entry).await?.bytes;
    let room = match reads {
        true => doors.answers.reserve(&caller, most).await?,
        false => Room::default(),
    };
    // The token may have ended during these waits.
    client.caller.grant.check()?;
    let work = work(doors.clone(), client, Request::from_parts(parts, body));
    doors.run(entry, async move { Ok(hold(work.await?, room).await) }).await
}

/// What a failing store is answered as.
pub(super) fn store_failed(error: store::Error) -> Box<Response> {
    Box::new(failed(&error.incident()))
}

/// `GET /api/v1/sessions`: the caller's sessions, last used first, a page of them (`pageSize`, `pageToken`).
pub(super) async fn sessions(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let most = doors.config.limits.response.as_usize();
    let action = ("ListSessions", most);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let refused = |error: Error| Box::new(failed(&error));
        check_agent(&client)?;
        let query = PageQuery::read(request.uri().query().unwrap_or_default());
        let PageQuery { size, token } = query.map_err(refused)?;
        let from = token.map(|token| SessionPlace::parse(token).ok_or_else(no_token));
        let from = from.transpose().map_err(refused)?;
        let store = &doors.store;
        let page = store
            .sessions(&client.caller.listed, &client.agent.key, from, size)
            .await
            .map_err(store_failed)?;
        let shown = render_sessions(&doors, &page.rows).await.map_err(store_failed)?;
        let places = page.rows.iter().map(|row| SessionPlace::of(row).to_string());
        let sessions = shown.into_iter().zip(places);
        let bounds = (size, page.total, most);
        let body = render_page("sessions", sessions, page.has_more, bounds);
        Ok(json_response(StatusCode::OK, body))
    })
    .await
}

/// `GET /api/v1/sessions/{id}`: one of them, by its id or its context.
pub(super) async fn session(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let most = doors.config.limits.response.as_usize();
    carry_out(
        &doors,
        request,
        ("GetSession", most),
        async move |doors, client, request: Request<Bytes>| {
            let row = find_session(&doors, &client, &id, request.extensions()).await?;
            let shown = render_sessions(&doors, &[row]).await.map_err(store_failed)?;
            let session = shown.first().map(Value::to_string).unwrap_or_default();
            Ok(json_response(StatusCode::OK, session))
        },
    )
    .await
}

/// The caller's own session of this id or context.
async fn find_own_session(
    doors: &Doors,
    client: &Client,
    id: &str,
    extensions: &Extensions,
) -> Result<SessionRow, Box<Response>> {
    check_agent(client)?;
    let found = doors.store.session_named(&client.scope(), id).await.map_err(store_failed)?;
    let row = found.ok_or_else(|| Box::new(not_there(&format!("no session `{id}`"))))?;
    entry_of(extensions).set_context(&row.context_id);
    Ok(row)
}

/// The session of this id or context: one of the caller's, or for an admin of anybody's.
async fn find_session(
    doors: &Doors,
    client: &Client,
    id: &str,
    extensions: &Extensions,
) -> Result<SessionRow, Box<Response>> {
    check_agent(client)?;
    let store = &doors.store;
    let mut found = store.session_named(&client.scope(), id).await.map_err(store_failed)?;
    if found.is_none() && client.caller.is_admin() {
        let of_anybody = store.session_of_anybody(&client.agent.key, id).await;
        found = of_anybody.map_err(store_failed)?;
    }
    let row = found.ok_or_else(|| Box::new(not_there(&format!("no session `{id}`"))))?;
    let entry = entry_of(extensions);
    entry.set_context(&row.context_id);
    entry.set_owner(&row.scope.caller);
    Ok(row)
}

/// A task of this caller: with the agent that the path names, else with any.
pub(super) async fn any_task(
    doors: &Doors,
    client: Client,
    id: &TaskId,
) -> Result<Arc<TaskLog>, Error> {
    let mut found = Err(Error::task_not_found(id.as_str()));
    if client.caller.grant.serves(&client.agent.key) {
        found = doors.service.find(&client, id, true).await;
    }
    for agent in doors.agents.iter().filter(|agent| client.caller.grant.serves(&agent.key)) {
        if found.is_ok() {
            break;
        }
        let client = Client { agent: agent.clone(), ..client.clone() };
        found = doors.service.find(&client, id, true).await;
    }
    found.map(|(log, _)| log)
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
    let mut response = failed(&Error::new(ErrorKind::MethodNotAllowed, message));
    if let Ok(allowed) = HeaderValue::from_str(allowed)
        && !allowed.is_empty()
    {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

fn not_there(message: &str) -> Response {
    failed(&Error::new(ErrorKind::NotFound, message))
}

/// An error as a response, whose reason goes to the audit log.
pub(super) fn failed(error: &Error) -> Response {
    let codes = error.kind.codes();
    let status = StatusCode::from_u16(codes.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, status_object(error).to_string());
    response.extensions_mut().insert(Reason(codes.reason));
    with_advice(response, error)
}

//! `/api/v1/asks`: what agents have asked, and the answers.

use super::super::call::Named;
use super::super::door::AuditEntry;
use super::super::{Doors, json_response};
use super::page::{PageQuery, no_token, render_page};
use super::{Answered, carry_out, entry_of, failed};
use crate::asks::render;
use crate::clock;
use crate::config::Age;
use crate::service::Client;
use crate::store::{AskRow, AskState};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::Metadata;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::time::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The asks that a list shows where no state is asked for: those that wait for an answer now.
const WAITING: &[AskState] = &[AskState::Open, AskState::Claimed];

/// Which asks are listed.
enum Wanted {
    /// Those that can be answered and stand so, oldest first.
    Open(&'static [AskState]),
    /// Those that have ended, of one state or of all, newest first.
    Ended(Option<AskState>),
}

impl Wanted {
    /// Reads `state`.
    fn read(query: &str) -> Result<Self, Error> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut states = pairs.filter(|(name, _)| *name == "state").map(|(_, word)| word);
        let Some(word) = states.next() else { return Ok(Self::Open(WAITING)) };
        Ok(match (word, AskState::parse(word)) {
            ("ended", _) => Self::Ended(None),
            (_, Some(AskState::Open)) => Self::Open(&[AskState::Open]),
            (_, Some(AskState::Claimed)) => Self::Open(&[AskState::Claimed]),
            (_, Some(AskState::Deferred)) => Self::Open(&[AskState::Deferred]),
            (_, Some(state)) => Self::Ended(Some(state)),
            (_, None) => {
                let words = AskState::ALL.map(AskState::word).join(", ");
                return Err(Error::invalid("state", format!("must be one of {words}, ended")));
            }
        })
    }
}

/// `GET /api/v1/asks`: the caller's asks of all agents, or of the one that the path names: those that wait for an
/// answer, or those that stand as `state` says, a page of them (`pageSize`, `pageToken`).
pub(in super::super) async fn list(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let most = doors.config.limits.response.as_usize();
    carry_out(
        &doors,
        request,
        ("ListAsks", most),
        async move |doors, client, request: Request<_>| {
            let refused = |error: Error| Box::new(failed(&error));
            let query = request.uri().query().unwrap_or_default();
            let wanted = Wanted::read(query).map_err(refused)?;
            let PageQuery { size, token } = PageQuery::read(query).map_err(refused)?;
            if token.is_some_and(|token| uuid::Uuid::parse_str(token).is_err()) {
                return Err(refused(no_token()));
            }
            let named = request.extensions().get::<Named>().is_some();
            let now = clock::now();
            let body = match wanted {
                Wanted::Open(states) => {
                    let clients = if named { vec![client] } else { every_agent(&doors, &client) };
                    let page = doors.service.asks(&clients, states, token, size);
                    let asks = page.rows.iter().map(|row| (render(row, now), row.id.to_string()));
                    let bounds = (size, page.total as u64, most);
                    render_page("asks", asks, page.next.is_some(), bounds)
                }
                Wanted::Ended(state) => {
                    let agent = named.then_some(&client.agent.key);
                    let page = doors.service.ended_asks(&client, agent, state, (token, size));
                    let page = page.await.map_err(refused)?;
                    let asks = page.rows.iter().map(|row| (render(row, now), row.id.to_string()));
                    render_page("asks", asks, page.has_more, (size, page.total, most))
                }
            };
            Ok(json_response(StatusCode::OK, body))
        },
    )
    .await
}

/// `GET /api/v1/asks/{id}`: an ask of the caller, also after its end.
pub(in super::super) async fn show(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let most = doors.config.limits.response.as_usize();
    carry_out(
        &doors,
        request,
        ("GetAsk", most),
        async move |doors, client, request: Request<Bytes>| {
            let entry = entry_of(request.extensions());
            entry.set_ask(&id);
            let found = doors.service.ask(&client.caller, &id).await;
            let row = found.map_err(|error| Box::new(failed(&error)))?;
            note(entry, &row);
            Ok(json_response(StatusCode::OK, render(&row, clock::now()).to_string()))
        },
    )
    .await
}

/// `POST /api/v1/asks/{id}`: answers one, with what a data part of a message would hold; or claims or defers it.
pub(in super::super) async fn answer(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    carry_out(
        &doors,
        request,
        ("AnswerAsk", 0),
        async move |doors, client, request: Request<Bytes>| {
            let refused = |error: Error| Box::new(failed(&error));
            let entry = entry_of(request.extensions());
            entry.set_ask(&id);
            let given = serde_json::from_slice::<Metadata>(request.body());
            let given = given.map_err(|_| {
                refused(Error::new(ErrorKind::Parse, "the answer is no JSON object"))
            })?;
            let row = doors.service.ask(&client.caller, &id).await.map_err(refused)?;
            note(entry, &row);
            let agent = doors.agents.get(&row.scope.agent).cloned();
            let client = Client { agent: agent.unwrap_or(client.agent), ..client };
            carry_out_action(&doors, &client, &row, (given, entry)).await
        },
    )
    .await
}

/// What is asked for is done: an answer, a claim or a deferral; the ask as it stands then.
async fn carry_out_action(
    doors: &Doors,
    client: &Client,
    row: &Arc<AskRow>,
    (given, entry): (Metadata, &AuditEntry),
) -> Answered {
    let refused = |error: Error| Box::new(failed(&error));
    let bounds = &doors.config.asks;
    let decision = given.get("decision");
    let (state, most, key) = match decision.as_ref().and_then(Value::as_str) {
        Some("claim") => (AskState::Claimed, bounds.claim, "asks.claim"),
        Some("defer") => (AskState::Deferred, bounds.defer, "asks.defer"),
        _ => {
            let accepted = doors.service.answer_ask(client, row, given).await.map_err(refused)?;
            if let Some(answered) = &accepted.answered {
                entry.set_decision(answered);
            }
            let row = doors.service.ask(&client.caller, &row.id).await.map_err(refused)?;
            let ask = render(&row, clock::now());
            let log = &accepted.log;
            let body = json!({"taskId": log.id, "state": log.state(), "ask": ask});
            return Ok(json_response(StatusCode::OK, body.to_string()));
        }
    };
    let length = length_of(&given, (most, key)).map_err(refused)?;
    let marked = doors.service.mark_ask(client, row, (state, length)).await.map_err(refused)?;
    let ask = render(&marked, clock::now());
    let body = json!({"taskId": row.task, "state": "TASK_STATE_INPUT_REQUIRED", "ask": ask});
    Ok(json_response(StatusCode::OK, body.to_string()))
}

/// For how long an ask is claimed or deferred: `for` (`2h`) or `until` (a time), else as long as it may be.
fn length_of(given: &Metadata, (most, key): (Age, &str)) -> Result<Duration, Error> {
    let word = |name: &str| given.get(name).and_then(|value| value.as_str().map(str::to_owned));
    let length = match (word("for"), word("until")) {
        (Some(length), _) => {
            let length = length.parse::<Age>().map_err(|error| Error::invalid("for", error))?;
            length.get()
        }
        (None, Some(until)) => {
            let until = Timestamp::parse(&until);
            let until =
                until.ok_or_else(|| Error::invalid("until", "must be a time of RFC 3339"))?;
            let left = until.as_millisecond().saturating_sub(clock::now().as_millisecond());
            let left = u64::try_from(left).ok().filter(|left| *left > 0);
            let left = left.ok_or_else(|| Error::invalid("until", "is over already"))?;
            Duration::from_millis(left)
        }
        (None, None) => most.get(),
    };
    if length > most.get() {
        let what = format!("is longer than {most}; the server's operator can raise `{key}`");
        return Err(Error::invalid("for", what));
    }
    Ok(length)
}

/// Notes in the audit log which ask it is.
fn note(entry: &AuditEntry, row: &AskRow) {
    entry.set_ask(&row.id);
    entry.set_owner(&row.scope.caller);
    entry.set_task_id(&row.task);
    entry.set_context(&row.context_id);
}

/// The same caller with each agent.
pub(in super::super) fn every_agent(doors: &Doors, client: &Client) -> Vec<Client> {
    let agents = doors.agents.iter();
    let agents = agents.filter(|agent| client.caller.grant.serves(&agent.key));
    agents.map(|agent| Client { agent: agent.clone(), ..client.clone() }).collect()
}

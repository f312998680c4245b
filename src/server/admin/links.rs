//! `/answer` and `/api/v1/links`: a link in a notification answers exactly one ask, once, for a limited time.
//!
//! # How it works
//!
//! The secret stands behind the `#` of the link, which a browser does not send: neither a log nor a proxy sees it. The
//! page sends it in the body of a request. To look at the ask does not use the link, because programs look at links too.

use super::super::door::AuditEntry;
use super::super::{Doors, arrival, json_response, refuse_host, under_way};
use super::failed;
use crate::access::{Arrival, digest};
use crate::asks;
use crate::service::Client;
use crate::store::{self, Conflict, Durability, LinkRow, Write};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use pilothouse_a2a::Metadata;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::time::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// What the page may load and send.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// `GET /answer`: the page behind every link.
pub(in super::super) async fn page(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    serve(&doors, &request, "text/html; charset=utf-8", include_str!("links.html"))
}

/// `GET /answer.js`: what the page does.
pub(in super::super) async fn script(
    State(doors): State<Arc<Doors>>,
    request: Request,
) -> Response {
    serve(&doors, &request, "text/javascript; charset=utf-8", include_str!("links.js"))
}

fn serve(doors: &Doors, request: &Request, kind: &'static str, text: &'static str) -> Response {
    if let Some(refused) = refuse_host(doors, request) {
        return refused;
    }
    let mut response = Response::new(Body::from(text));
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `POST /api/v1/links`: what the ask of a link asks.
pub(in super::super) async fn show(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    carry_out_by_link(&doors, request, "ShowLink").await
}

/// `POST /api/v1/links/answer`: answers it, with what a data part of a message would hold.
pub(in super::super) async fn answer(
    State(doors): State<Arc<Doors>>,
    request: Request,
) -> Response {
    carry_out_by_link(&doors, request, "AnswerByLink").await
}

async fn carry_out_by_link(doors: &Arc<Doors>, request: Request, action: &str) -> Response {
    let arrival = arrival(&request);
    let entry = AuditEntry::new(doors, request.headers(), &arrival, (under_way(&request), "API"));
    entry.set_action(action);
    let outcome = open_link(doors, &entry, &arrival, request, action == "AnswerByLink").await;
    let (response, reason) = match outcome {
        Ok(response) => (response, "ok"),
        Err(error) => (failed(&error), error.kind.codes().reason),
    };
    entry.write(reason, response.status()).await;
    response
}

async fn open_link(
    doors: &Arc<Doors>,
    entry: &AuditEntry,
    arrival: &Arrival,
    request: Request,
    answers: bool,
) -> Result<Response, Error> {
    doors.access.check_host(arrival)?;
    let (parts, body) = request.into_parts();
    let nobody = Arc::from("link");
    let body = doors.read_body(&nobody, &parts.headers, body, entry).await?.bytes;
    let given = serde_json::from_slice::<Metadata>(&body);
    let mut given =
        given.map_err(|_| Error::new(ErrorKind::Parse, "the request is no JSON object"))?;
    let secret = given.remove("token");
    let hash = digest(secret.as_ref().and_then(Value::as_str).unwrap_or_default());
    let link = doors.store.link(&hash).await.map_err(store::Error::incident)?;
    let Some(link) = link.filter(is_open) else {
        doors.access.count_wrong_link(arrival)?;
        return Err(not_open());
    };
    let caller = doors.access.link_holder(&link.scope, arrival);
    entry.set_caller(&caller);
    entry.set_ask(&link.ask);
    let agent = doors.agents.get(&link.scope.agent).ok_or_else(not_open)?.clone();
    let client = Client { caller, agent, source: entry.source() };
    let ask = doors.service.ask(&client.caller, &link.ask).await.map_err(|_| not_open())?;
    if !ask.state.is_open() {
        return Err(not_open());
    }
    entry.set_task_id(&ask.task);
    entry.set_context(&ask.context_id);
    if !answers {
        let body = json!({
            "agent": &*link.scope.agent,
            "caller": &*link.scope.caller,
            "kind": ask.ask["kind"],
            "words": asks::words(&ask.ask),
            "deadline": ask.deadline,
        });
        return Ok(json_response(StatusCode::OK, body.to_string()));
    }
    let (doors_of_answer, entry_of_answer) = (doors.clone(), entry.clone());
    let operation = async move {
        let used = vec![Write::LinkUsed { hash, at: Timestamp::now() }];
        match doors_of_answer.store.commit(used, Durability::Synced).await {
            Ok(()) => {}
            Err(store::Error::Refused(Conflict::Gone)) => return Err(not_open()),
            Err(error) => return Err(error.incident()),
        }
        let accepted = doors_of_answer.service.answer_ask(&client, &ask, given).await?;
        if let Some(answered) = &accepted.answered {
            entry_of_answer.set_decision(answered);
        }
        let body = json!({"taskId": accepted.log.id, "state": accepted.log.state()});
        Ok(json_response(StatusCode::OK, body.to_string()))
    };
    doors.run(entry, operation).await?
}

fn is_open(link: &LinkRow) -> bool {
    link.used.is_none() && link.expires > Timestamp::now()
}

fn not_open() -> Error {
    let words =
        "this link answers nothing: it was used, its time is over, or its ask is not open any more";
    Error::new(ErrorKind::NotFound, words)
}

//! `/api/v1/asks`: what agents have asked, and the answers.

use super::super::call::Named;
use super::super::{Doors, json_response};
use super::page::{PageQuery, no_token, render_page};
use super::{carry_out, entry_of, failed};
use crate::service::Client;
use crate::store::AskRow;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::Metadata;
use pilothouse_a2a::error::{Error, ErrorKind};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /api/v1/asks`: the caller's open asks of all agents, or of the one that the path names, oldest first, a page
/// of them (`pageSize`, `pageToken`).
pub(in super::super) async fn list(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let most = doors.config.limits.response.as_usize();
    carry_out(
        &doors,
        request,
        ("ListAsks", most),
        async move |doors, client, request: Request<_>| {
            let query = PageQuery::read(request.uri().query().unwrap_or_default());
            let PageQuery { size, token } = query.map_err(|error| Box::new(failed(&error)))?;
            if token.is_some_and(|token| uuid::Uuid::parse_str(token).is_err()) {
                return Err(Box::new(failed(&no_token())));
            }
            let clients = match request.extensions().get::<Named>() {
                Some(_) => vec![client],
                None => every_agent(&doors, &client),
            };
            let page = doors.service.asks(&clients, token, size);
            let asks = page.rows.iter().map(|row| (shown(row), row.id.to_string()));
            let bounds = (size, page.total as u64, most);
            let body = render_page("asks", asks, page.next.is_some(), bounds);
            Ok(json_response(StatusCode::OK, body))
        },
    )
    .await
}

/// `POST /api/v1/asks/{id}`: answers one, with what a data part of a message would hold.
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
            let clients = every_agent(&doors, &client);
            let own = |client| Some((client, doors.service.own_ask(client, &id)?));
            let client = match clients.iter().find_map(own) {
                Some((client, row)) => {
                    entry.set_owner(&row.scope.caller);
                    entry.set_task_id(&row.task);
                    entry.set_context(&row.context_id);
                    client
                }
                None => &client,
            };
            let accepted = doors.service.answer_ask(client, &id, given).await.map_err(refused)?;
            if let Some(answered) = &accepted.answered {
                entry.set_decision(answered);
            }
            let body = json!({"taskId": accepted.log.id, "state": accepted.log.state()});
            Ok(json_response(StatusCode::OK, body.to_string()))
        },
    )
    .await
}

/// The same caller with each agent.
fn every_agent(doors: &Doors, client: &Client) -> Vec<Client> {
    let agents = doors.agents.iter();
    let agents = agents.filter(|agent| client.caller.grant.serves(&agent.key));
    let each = |agent: &Arc<_>| Client { caller: client.caller.clone(), agent: Arc::clone(agent) };
    agents.map(each).collect()
}

fn shown(row: &AskRow) -> Value {
    let mut ask = row.ask.clone();
    ask["askId"] = (*row.id).into();
    ask["taskId"] = json!(row.task);
    ask["contextId"] = json!(row.context_id);
    ask["agent"] = (*row.scope.agent).into();
    ask["caller"] = (*row.scope.caller).into();
    ask["created"] = json!(row.created);
    ask["deadline"] = json!(row.deadline);
    ask
}

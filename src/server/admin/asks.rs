//! `/api/v1/asks`: what agents have asked, and the answers.

use super::super::{Doors, json_response};
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

/// Asks of a page where the caller does not say how many, and at most.
const PAGE: usize = 50;
const MOST: usize = 100;

/// `GET /api/v1/asks`: the caller's open asks, oldest first, a page of them (`pageSize`, `pageToken`).
pub(in super::super) async fn list(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let most = doors.config.limits.response.as_usize();
    carry_out(&doors, request, ("ListAsks", most), async move |doors, client, request: Request<_>| {
        let page = read_page(request.uri().query().unwrap_or_default());
        let (size, after) = page.map_err(|error| Box::new(failed(&error)))?;
        let page = doors.service.asks(&every_agent(&doors, &client), after, size);
        // A page ends where the response would grow too large; its token leads to the rest.
        let (mut asks, mut last, mut next) = (String::new(), None, page.next);
        for row in &page.rows {
            let ask = shown(row).to_string();
            if last.is_some() && asks.len() + ask.len() > most {
                next = last;
                break;
            }
            if last.is_some() {
                asks.push(',');
            }
            asks.push_str(&ask);
            last = Some(row.id.clone());
        }
        let (next, total) = (json!(next.as_deref().unwrap_or_default()), page.total);
        let body = format!(
            r#"{{"asks":[{asks}],"nextPageToken":{next},"pageSize":{size},"totalSize":{total}}}"#
        );
        Ok(json_response(StatusCode::OK, body))
    })
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

/// The size of a page, and the ask after which it begins.
fn read_page(query: &str) -> Result<(usize, Option<&str>), Error> {
    let (mut size, mut after) = (PAGE, None);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "pageSize" | "page_size" => {
                let given = value.parse().ok().filter(|given| (1..=MOST).contains(given));
                size = given.ok_or_else(|| Error::invalid("pageSize", "must be 1 to 100"))?;
            }
            "pageToken" | "page_token" if !value.is_empty() => {
                if uuid::Uuid::parse_str(value).is_err() {
                    let what = "must be the `nextPageToken` of the page before";
                    return Err(Error::invalid("pageToken", what));
                }
                after = Some(value);
            }
            _ => {}
        }
    }
    Ok((size, after))
}

/// The same caller with each agent.
fn every_agent(doors: &Doors, client: &Client) -> Vec<Client> {
    let agents = doors.service.sessions().house().agents.iter();
    let each = |agent: &Arc<_>| Client { caller: client.caller.clone(), agent: Arc::clone(agent) };
    agents.map(each).collect()
}

fn shown(row: &AskRow) -> Value {
    let mut ask = row.ask.clone();
    ask["askId"] = (*row.id).into();
    ask["taskId"] = json!(row.task);
    ask["contextId"] = json!(row.context_id);
    ask["agent"] = (*row.scope.agent).into();
    ask["created"] = json!(row.created);
    ask["deadline"] = json!(row.deadline);
    ask
}

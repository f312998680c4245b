//! `/api/v1/tokens`: tokens that are made and revoked while the server runs. The store has their hashes; the token itself
//! stands in the answer that makes it, and nowhere else.

use super::super::{Doors, json_response};
use super::page::{PageQuery, no_token, render_page};
use super::{carry_out, entry_of, failed, store_failed};
use crate::access::new_secret;
use crate::config::TokenScope;
use crate::store::{Conflict, Durability, Error as StoreError, TokenRow, Write};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest name of a caller, in bytes.
const LONGEST_NAME: usize = 64;

/// Characters of an id.
const ID_DIGITS: usize = 12;

/// What a new token is to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    caller: String,
    scopes: Option<Vec<TokenScope>>,
    #[serde(default)]
    agents: Vec<String>,
    expires: Option<Timestamp>,
}

/// `GET /api/v1/tokens`: those of the store, oldest first, the revoked and expired ones included; a page of them.
pub(in super::super) async fn list(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let most = doors.config.limits.response.as_usize();
    carry_out(
        &doors,
        request,
        ("ListTokens", most),
        async move |doors, _, request: Request<Bytes>| {
            let query = PageQuery::read(request.uri().query().unwrap_or_default());
            let PageQuery { size, token } = query.map_err(|error| Box::new(failed(&error)))?;
            let rows = doors.store.tokens().await.map_err(store_failed)?;
            let begin = match token {
                None => 0,
                Some(token) => {
                    let found = rows.iter().position(|row| *row.id == *token);
                    1 + found.ok_or_else(|| Box::new(failed(&no_token())))?
                }
            };
            let (now, rest) = (Timestamp::now(), &rows[begin..]);
            let page = rest.iter().take(size).map(|row| (show(row, now), row.id.to_string()));
            let bounds = (size, rows.len() as u64, most);
            let body = render_page("tokens", page, rest.len() > size, bounds);
            Ok(json_response(StatusCode::OK, body))
        },
    )
    .await
}

/// `POST /api/v1/tokens`: makes one.
pub(in super::super) async fn create(
    State(doors): State<Arc<Doors>>,
    request: Request,
) -> Response {
    carry_out(&doors, request, ("CreateToken", 0), async move |doors, _, request| {
        let created = create_token(&doors, &request).await;
        created.map_err(|error| Box::new(failed(&error)))
    })
    .await
}

async fn create_token(doors: &Doors, request: &Request<Bytes>) -> Result<Response, Error> {
    let wanted = serde_json::from_slice::<TokenRequest>(request.body());
    let wanted =
        wanted.map_err(|error| Error::new(ErrorKind::Parse, format!("no new token: {error}")))?;
    let now = Timestamp::now();
    let TokenRequest { caller, scopes, agents, expires } = wanted;
    let is_name =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '/' | ':');
    if !(1..=LONGEST_NAME).contains(&caller.len()) || !caller.chars().all(is_name) {
        let what = "must be 1 to 64 letters, digits, or characters of `-_.@/:`";
        return Err(Error::invalid("caller", what));
    }
    if let Some(agent) = agents.iter().find(|agent| doors.agents.get(agent).is_none()) {
        return Err(Error::invalid("agents", format!("no agent `{agent}` is served here")));
    }
    if expires.is_some_and(|expires| expires <= now) {
        return Err(Error::invalid("expires", "must be in the future"));
    }
    let mut scopes = scopes.unwrap_or_else(|| TokenScope::USUAL.to_vec());
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(Error::invalid("scopes", "must name some of send, read, answer, admin"));
    }
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Internal, format!("the system gives no random numbers: {error}"))
    };
    let (id, secret, hash) = new_secret(ID_DIGITS).map_err(failed)?;
    let (id, caller) = (Arc::from(id), Arc::from(caller));
    let row = TokenRow { id, hash, caller, scopes, agents, created: now, expires, revoked: None };
    entry_of(request.extensions()).set_subject(&row.id);
    let most = doors.config.limits.tokens;
    let write = vec![Write::Token(Box::new(row.clone()), most)];
    match doors.store.commit(write, Durability::Synced).await {
        Ok(()) => {}
        Err(StoreError::Refused(Conflict::Full)) => {
            let words = format!(
                "there are {most} tokens that are in force already; revoke one; the server's operator can raise `limits.tokens`"
            );
            return Err(Error::new(ErrorKind::ResourceExhausted, words));
        }
        Err(error) => return Err(error.incident()),
    }
    doors.access.add_token(&row);
    let mut shown = show(&row, now);
    shown["token"] = secret.into();
    Ok(json_response(StatusCode::OK, shown.to_string()))
}

/// `DELETE /api/v1/tokens/{id}`: revokes one. It is in force at once, on all that its holder has open.
pub(in super::super) async fn revoke(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    carry_out(
        &doors,
        request,
        ("RevokeToken", 0),
        async move |doors, _, request: Request<Bytes>| {
            entry_of(request.extensions()).set_subject(&id);
            // In force first: what is revoked must not come in while it is stored, nor where it cannot be stored.
            doors.access.revoke_token(&id);
            let write = vec![Write::TokenRevoked { id: Arc::from(&*id), at: Timestamp::now() }];
            match doors.store.commit(write, Durability::Synced).await {
                Ok(()) => {}
                Err(StoreError::Refused(Conflict::Gone)) => {
                    let rows = doors.store.tokens().await.map_err(store_failed)?;
                    // To revoke it twice is to revoke it.
                    if !rows.iter().any(|row| *row.id == *id) {
                        let words = format!(
                            "no token `{id}`; those of the configuration are removed there (`pilothouse reload`)"
                        );
                        return Err(Box::new(failed(&Error::new(ErrorKind::NotFound, words))));
                    }
                }
                Err(error) => return Err(store_failed(error)),
            }
            Ok(json_response(StatusCode::OK, json!({"id": id, "state": "revoked"}).to_string()))
        },
    )
    .await
}

fn show(row: &TokenRow, now: Timestamp) -> Value {
    let state = match (row.revoked, row.expires) {
        (Some(_), _) => "revoked",
        (None, Some(expires)) if expires <= now => "expired",
        (None, _) => "active",
    };
    json!({
        "id": &*row.id,
        "caller": &*row.caller,
        "scopes": row.scopes,
        "agents": row.agents,
        "state": state,
        "created": row.created,
        "expires": row.expires,
        "revoked": row.revoked,
    })
}

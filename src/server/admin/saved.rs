//! `POST /api/v1/sessions/{id}/saved`: a caller has what a session has committed in a repository of its own.

use super::super::{Doors, json_response};
use super::bundle::refuse;
use super::{carry_out, failed, find_own_session};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// What is saved.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedCommit {
    /// The whole name of a commit of the session's clone, with all that it follows.
    commit: String,
}

/// Remembers that a commit is saved, so that the session need not be kept for it.
pub(in super::super) async fn save(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let action = ("SaveSession", 0);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let refused = |kind, words: String| Box::new(failed(&Error::new(kind, words)));
        let SavedCommit { commit } = serde_json::from_slice(request.body()).map_err(|error| {
            refused(ErrorKind::Parse, format!("the body is no JSON object with `commit`: {error}"))
        })?;
        let row = find_own_session(&doors, &client, &id, request.extensions()).await?;
        let noted = doors.service.sessions().note_saved(&client.agent, &row, &commit).await;
        noted.map_err(|why| Box::new(failed(&refuse(&why))))?;
        let body = json!({"id": &*row.id, "contextId": row.context_id, "commit": commit});
        Ok(json_response(StatusCode::OK, body.to_string()))
    })
    .await
}

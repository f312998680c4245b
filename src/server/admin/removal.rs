//! `POST /api/v1/sessions/{id}/remove`: the end of a session, when its caller wants it.

use super::super::Doors;
use super::{carry_out, failed, find_own_session, store_failed};
use crate::service::NotRemoved;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// How it is to be removed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RemovalWish {
    /// Whether work that is nowhere else may be lost.
    force: bool,
}

/// Removes the session and its folders; its tasks stay.
pub(in super::super) async fn remove(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let action = ("RemoveSession", 0);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let refused = |error: Error| Box::new(failed(&error));
        let wish: RemovalWish = match &request.body()[..] {
            [] => RemovalWish::default(),
            body => serde_json::from_slice(body).map_err(|error| {
                let words = format!("the body is no JSON object with `force`: {error}");
                refused(Error::new(ErrorKind::Parse, words))
            })?,
        };
        let row = find_own_session(&doors, &client, &id, request.extensions()).await?;
        let removed = doors.service.sessions().remove(&row, &client.agent, wish.force).await;
        match removed {
            Ok(()) => {
                let body = json!({"id": &*row.id, "contextId": row.context_id});
                Ok(super::json_response(StatusCode::OK, body.to_string()))
            }
            Err(NotRemoved::Store(error)) => Err(store_failed(error)),
            Err(error @ NotRemoved::Folders(_)) => {
                Err(refused(Error::new(ErrorKind::Internal, error.to_string())))
            }
            Err(error @ (NotRemoved::Unfinished | NotRemoved::Busy | NotRemoved::Unsaved(_))) => {
                Err(refused(Error::new(ErrorKind::SessionInUse, error.to_string())))
            }
        }
    })
    .await
}

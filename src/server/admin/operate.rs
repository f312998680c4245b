//! What an admin does with the server itself: it reads its configuration again, or accepts no more messages and ends.

use super::super::{Doors, json_response};
use super::{carry_out, failed};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use pilothouse_a2a::error::{Error, ErrorKind};
use serde_json::json;
use std::sync::Arc;

/// `POST /api/v1/reload`: reads the configuration again.
pub(in super::super) async fn reload(
    State(doors): State<Arc<Doors>>,
    request: Request,
) -> Response {
    carry_out(&doors, request, ("Reload", 0), async move |doors, _, _| {
        let reloaded = doors.reload().await.map_err(|error| {
            let words = format!("the configuration in force stays: {error}");
            Box::new(failed(&Error::new(ErrorKind::InvalidRequest, words)))
        })?;
        tracing::info!("{reloaded}");
        let body = json!({"changed": reloaded.applied, "needsRestart": reloaded.waiting});
        Ok(json_response(StatusCode::OK, body.to_string()))
    })
    .await
}

/// `POST /api/v1/drain`: no message is accepted any more, and the server ends when no turn runs.
pub(in super::super) async fn drain(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    carry_out(&doors, request, ("Drain", 0), async move |doors, _, _| {
        doors.draining.cancel();
        let sessions = doors.service.sessions();
        let (running, waiting) = (sessions.running().0, sessions.waiting());
        tracing::info!(
            running,
            waiting,
            "no message is accepted any more; the server ends when no turn runs"
        );
        let body = json!({"state": "draining", "running": running, "waiting": waiting});
        Ok(json_response(StatusCode::OK, body.to_string()))
    })
    .await
}

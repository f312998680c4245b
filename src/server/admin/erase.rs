//! `POST /api/v1/erase`: removes for good what is kept of a caller or of a context.

use super::super::{Doors, json_response};
use super::{carry_out, entry_of, failed};
use crate::config::WorkspaceMode;
use crate::store::Erasure;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::ContextId;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// What an erasure cannot reach, whatever the configuration.
const NOT_REACHED: [&str; 3] = [
    "backups and copies of the state folder",
    "the audit log, which has names and ids and no content",
    "what was sent away: answers, webhooks, the journal, the console",
];

/// What is to be erased.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EraseRequest {
    caller: Option<String>,
    context: Option<ContextId>,
}

/// Removes everything that is kept of a caller, of a context, or of a caller's context.
pub(in super::super) async fn erase(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    carry_out(&doors, request, ("Erase", 0), async move |doors, _, request| {
        let erased = carry_out_erasure(&doors, &request).await;
        erased.map_err(|error| Box::new(failed(&error)))
    })
    .await
}

async fn carry_out_erasure(doors: &Doors, request: &Request<Bytes>) -> Result<Response, Error> {
    let wanted = serde_json::from_slice::<EraseRequest>(request.body());
    let EraseRequest { caller, context } =
        wanted.map_err(|error| Error::new(ErrorKind::Parse, format!("no erasure: {error}")))?;
    let entry = entry_of(request.extensions());
    match (&caller, &context) {
        (None, None) => {
            return Err(Error::invalid("caller", "name a `caller`, a `context`, or both"));
        }
        (Some(caller), _) => entry.set_subject(caller),
        (None, Some(_)) => {}
    }
    if let Some(context) = &context {
        entry.set_context(context);
    }
    if let (Some(caller), None) = (&caller, &context) {
        doors.access.revoke_caller(caller);
    }
    let what = Erasure { caller: caller.map(Arc::from), context };
    let erased = doors.service.erase(&what).await?;
    let mut not_reached: Vec<_> = NOT_REACHED.map(ToOwned::to_owned).into();
    if doors.config.workspace.mode == WorkspaceMode::Shared {
        let folder = doors.config.workspace.path.display();
        not_reached.push(format!("the shared folder {folder}, in which all callers work"));
    }
    tracing::info!(tasks = erased.tasks, sessions = erased.sessions, "an erasure was carried out");
    let body = json!({
        "tasks": erased.tasks,
        "sessions": erased.sessions,
        "left": erased.left,
        "notReached": not_reached,
    });
    Ok(json_response(StatusCode::OK, body.to_string()))
}

//! `/api/v1/tasks/{id}/results/{name}` and `/api/v1/sessions/{id}/diff`: what turns have left, as long as their tasks
//! are kept, whatever has become of the workspace.

use super::super::Doors;
use super::files::{attachment, read_address};
use super::{
    Answered, any_task, carry_out, entry_of, failed, find_session, not_there, store_failed,
};
use crate::store::{BASE_PATCH, TURN_PATCH};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::TaskId;
use std::sync::Arc;

/// `GET /api/v1/tasks/{id}/results/{name}`: a patch or a file that an artifact of the task has the address of.
pub(in super::super) async fn read(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let most = most(&doors);
    let action = ("GetTaskResult", most);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let (id, name) = read_address(&request).map_err(|error| Box::new(failed(&error)))?;
        let name = String::from_utf8_lossy(&name).into_owned();
        let (entry, id) = (entry_of(request.extensions()), TaskId::new(id));
        entry.set_task_id(&id);
        let log = any_task(&doors, client, &id).await;
        let log = log.map_err(|error| Box::new(failed(&error)))?;
        entry.set_task(&log);
        let found = doors.store.result(log.n, &name).await.map_err(store_failed)?;
        answer(found, &name, &format!("the task has no result `{name}`"))
    })
    .await
}

/// `GET /api/v1/sessions/{id}/diff`: the patch of the last turn that changed files: against the session's beginning,
/// or with `from=turn` against that of the turn.
pub(in super::super) async fn diff(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let most = most(&doors);
    let action = ("GetSessionDiff", most);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let query = request.uri().query().unwrap_or_default();
        let from = query.split('&').find_map(|pair| pair.strip_prefix("from="));
        let name = match from {
            None | Some("base") => BASE_PATCH,
            Some("turn") => TURN_PATCH,
            Some(_) => {
                return Err(Box::new(failed(&Error::invalid("from", "must be `base` or `turn`"))));
            }
        };
        let session = find_session(&doors, &client, &id, request.extensions()).await?;
        let found = doors.store.session_result(&session.id, name).await.map_err(store_failed)?;
        answer(found, name, "no turn of the session has left a patch")
    })
    .await
}

/// The largest result.
fn most(doors: &Doors) -> usize {
    let limits = &doors.config.limits;
    limits.patch.as_usize().max(limits.result_file.as_usize())
}

fn answer(found: Option<Option<Vec<u8>>>, name: &str, missing: &str) -> Answered {
    match found {
        Some(Some(body)) => {
            let kind = match name {
                BASE_PATCH | TURN_PATCH => "text/x-diff",
                _ => "application/octet-stream",
            };
            Ok(attachment(StatusCode::OK, Body::from(body), kind, name.as_bytes()))
        }
        Some(None) => {
            let words = "the patch is larger than is kept; fetch the files, or have the server's operator raise `limits.patch`";
            Err(Box::new(failed(&Error::new(ErrorKind::UnsupportedOperation, words))))
        }
        None => Err(Box::new(not_there(missing))),
    }
}

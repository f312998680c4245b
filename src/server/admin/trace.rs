//! `/api/v1/tasks/{id}/trace`: where the time of a task went, as spans, without a collector.

use super::super::{Doors, json_response};
use super::{any_task, carry_out, entry_of, failed, store_failed};
use crate::telemetry::trace::{Trace, TracedTask};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::TaskId;
use std::sync::Arc;

/// `GET /api/v1/tasks/{id}/trace`: the spans of a task.
pub(in super::super) async fn read(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let most = doors.config.limits.response.as_usize();
    let action = ("GetTaskTrace", most);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let (entry, id) = (entry_of(request.extensions()), TaskId::new(id));
        entry.set_task_id(&id);
        let log = any_task(&doors, client, &id).await;
        let log = log.map_err(|error| Box::new(failed(&error)))?;
        entry.set_task(&log);
        let trace = Trace::read(&doors.store, &TracedTask::from(&*log), log.head(), None).await;
        let body = trace.map_err(store_failed)?.to_json(doors.config.telemetry.conventions);
        let body = body.to_string();
        if body.len() > most {
            let words = format!(
                "the trace of the task is larger than {}; the server's operator can raise `limits.response`",
                doors.config.limits.response
            );
            return Err(Box::new(failed(&Error::new(ErrorKind::UnsupportedOperation, words))));
        }
        Ok(json_response(StatusCode::OK, body))
    })
    .await
}

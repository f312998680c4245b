//! `/api/v1/grants`: what a caller has allowed beyond one call.

use super::super::{Doors, json_response};
use super::page::render_page;
use super::{carry_out, entry_of, failed};
use crate::asks::render_grant;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::error::Error;
use std::sync::Arc;

/// `GET /api/v1/grants`: all grants of the caller that can still be used; `asks.grants` bounds them.
pub(in super::super) async fn list(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let most = doors.config.limits.response.as_usize();
    carry_out(&doors, request, ("ListGrants", most), async move |doors, client, _| {
        let grants = doors.service.grants(&client).await;
        let grants = grants.map_err(|error: Error| Box::new(failed(&error)))?;
        let count = grants.len();
        let shown = grants.iter().map(|grant| (render_grant(grant), String::new()));
        let body = render_page("grants", shown, false, (count, count as u64, most));
        Ok(json_response(StatusCode::OK, body))
    })
    .await
}

/// `DELETE /api/v1/grants/{id}`: revokes one.
pub(in super::super) async fn revoke(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    carry_out(
        &doors,
        request,
        ("RevokeGrant", 0),
        async move |doors, client, request: Request<Bytes>| {
            entry_of(request.extensions()).set_ask(&id);
            let revoked = doors.service.revoke_grant(&client, &id).await;
            let grant = revoked.map_err(|error| Box::new(failed(&error)))?;
            Ok(json_response(StatusCode::OK, render_grant(&grant).to_string()))
        },
    )
    .await
}

//! `POST /api/v1/sessions/{id}/bundle`: the commits of a session's branch, for a git that fetches from it.

use super::super::Doors;
use super::{carry_out, failed, find_own_session};
use crate::service::{Bundle, NoBundle};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use pilothouse_a2a::error::{Error, ErrorKind};
use std::sync::Arc;

/// Seconds after which a bundle that found no place is worth another try.
const RETRY_SECONDS: u64 = 5;

/// Answers with the bundle. Where git fails in the middle the body breaks off, so that nobody takes a part for the
/// whole.
pub(in super::super) async fn bundle(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let action = ("BundleSession", 0);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let row = find_own_session(&doors, &client, &id, request.extensions()).await?;
        let made = doors.service.sessions().make_bundle(&client.agent, &row).await;
        let bundle = made.map_err(|why| Box::new(failed(&refuse(&why))))?;
        let mut response = Response::new(body_of(bundle));
        let kind = HeaderValue::from_static("application/x-git-bundle");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    })
    .await
}

pub(super) fn refuse(why: &NoBundle) -> Error {
    match why {
        NoBundle::Busy => {
            Error::new(ErrorKind::Unavailable, why.to_string()).retry_after(RETRY_SECONDS)
        }
        NoBundle::Failed(_) => Error::new(ErrorKind::UnsupportedOperation, why.to_string()),
    }
}

fn body_of(bundle: Bundle) -> Body {
    Body::from_stream(try_unfold(bundle, async |mut bundle| {
        let piece = bundle.next().await.map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(piece.map(|piece| (piece, bundle)))
    }))
}

//! Web pages of other origins that may call (`server.allowed_origins`): what a browser asks before and after a call.

use super::Doors;
use axum::http::{HeaderName, HeaderValue, Method, header};
use std::sync::Arc;
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Headers of requests that a page may set.
const REQUEST: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ACCEPT,
    HeaderName::from_static("a2a-version"),
    HeaderName::from_static("a2a-extensions"),
    HeaderName::from_static("x-a2a-extensions"),
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
];

/// Headers of answers that a page may read.
const ANSWER: [HeaderName; 4] = [
    HeaderName::from_static("a2a-extensions"),
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    header::ETAG,
];

/// How long a browser may keep the answer to its question.
const MAX_AGE: Duration = Duration::from_secs(600);

/// What answers browsers, by the origins of the configuration in force. A page of another origin is told nothing here,
/// and `Access::admit` refuses its calls.
pub(super) fn build_layer(doors: &Arc<Doors>) -> CorsLayer {
    let doors = doors.clone();
    let is_allowed = move |origin: &HeaderValue, _: &axum::http::request::Parts| {
        origin.to_str().is_ok_and(|origin| doors.access.allows_origin(origin))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(REQUEST)
        .expose_headers(ANSWER)
        .max_age(MAX_AGE)
}

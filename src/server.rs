//! The doors: one port, HTTP/1.1 and HTTP/2. Decode, call [`Service`], encode; no decisions.

mod admin;
mod call;
mod card;
mod door;
mod grpc;
mod jsonrpc;
mod listen;
mod openapi;
mod rest;
mod stream;

pub use card::Cards;
pub use listen::serve;

use crate::access::{Access, Denied, Forwarded};
use crate::config::Config;
use crate::service::Service;
use crate::signing::JWKS_PATH;
use crate::telemetry::Telemetry;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use parking_lot::Mutex;
use pilothouse_a2a::error::{Error, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};

/// What every door needs.
pub struct Doors {
    /// The configuration.
    pub config: Arc<Config>,
    /// The guard.
    pub access: Access,
    /// What stands on the cards.
    pub cards: Cards,
    /// The operations.
    pub service: Service,
    /// Console and audit.
    pub telemetry: Telemetry,
    /// Ends streams when the server stops.
    pub stop: CancellationToken,
    /// The operations that were begun, to be awaited at the end.
    pub operations: TaskTracker,
    /// The port that is listened on.
    pub port: u16,
    /// When the store was last probed, and whether it could be written.
    pub store_probed: Mutex<Option<(Instant, bool)>>,
}

/// Who asks and by which address, attached to each request.
#[derive(Debug, Clone)]
struct Seen(Forwarded);

/// All doors.
pub fn router(doors: Arc<Doors>) -> Router {
    Router::new()
        .route("/", post(jsonrpc::call).get(admin::welcome))
        .route("/a2a", post(jsonrpc::call))
        .route("/a2a/", post(jsonrpc::call))
        .route("/.well-known/agent-card.json", get(card::agent_card))
        .route("/.well-known/agent.json", get(card::legacy_card))
        .route(JWKS_PATH, get(card::jwks))
        .route("/openapi.json", get(openapi::document))
        .route("/health", get(admin::health))
        .route("/ready", get(admin::ready))
        .route("/api/v1/sessions", get(admin::sessions))
        .route("/api/v1/sessions/{id}", get(admin::session))
        .route("/api/v1/tasks/{id}/answer", get(admin::answer))
        .route("/api/v1/sessions/{id}/attach", post(admin::attach::attach))
        .route("/api/v1/asks", get(admin::asks::list))
        .route("/api/v1/asks/{id}", post(admin::asks::answer))
        .route("/lf.a2a.v1.A2AService/{method}", any(grpc::call))
        .route("/a2a.v1.A2AService/{method}", any(grpc::call))
        .route_service("/grpc.health.v1.Health/{method}", health(&doors))
        .fallback(rest::call)
        .method_not_allowed_fallback(admin::method_not_allowed)
        .with_state(doors)
}

/// The standard health service: serving, until the server stops.
fn health(doors: &Doors) -> HealthServer<impl Health> {
    let (mut reporter, server) = tonic_health::server::health_reporter();
    let names = grpc::SERVICES.iter().copied().chain([""]);
    for name in names.clone() {
        // Nobody else has the lock that this takes, so it is done at once, before anybody can ask.
        let set = reporter.set_service_status(name, ServingStatus::Serving);
        set.now_or_never().expect("nobody asks before the start");
    }
    let stop = doors.stop.clone();
    doors.operations.spawn(async move {
        stop.cancelled().await;
        for name in names {
            reporter.set_service_status(name, ServingStatus::NotServing).await;
            // Ends the streams of those who watch.
            let _ = reporter.clear_service_status(name).await;
        }
    });
    server
}

// === what doors share ===

impl Doors {
    /// A request's body, within `limits.body` and `timeouts.body`.
    async fn read_body(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Error> {
        let limit = self.config.limits.body.as_usize();
        let too_large = || {
            Error::new(
                ErrorKind::TooLarge,
                format!("the body is larger than {limit} bytes (`limits.body`)"),
            )
        };
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let reading = tokio::time::timeout(
            self.config.timeouts.body.get(),
            Limited::new(body, limit).collect(),
        );
        match reading.await {
            Err(_) => Err(Error::new(
                ErrorKind::InvalidRequest,
                "the body did not come in time (`timeouts.body`)",
            )),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Error::new(ErrorKind::InvalidRequest, "the body broke off")),
            Ok(Ok(body)) => Ok(body.to_bytes()),
        }
    }

    /// The address that clients use, as far as this request tells.
    fn base_url(&self, request: &Request) -> String {
        if let Some(url) = &self.config.server.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host =
            named.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str));
        card::address(&seen(request), host, self.port)
    }
}

fn seen(request: &Request) -> Forwarded {
    let seen = request.extensions().get::<Seen>();
    seen.map_or_else(|| Forwarded::direct([0, 0, 0, 0].into()), |seen| seen.0.clone())
}

fn peer(request: &Request) -> IpAddr {
    seen(request).client
}

fn authority(request: &Request) -> Option<String> {
    request.uri().authority().map(ToString::to_string)
}

/// A refusal at the door as the error of every binding.
fn denial(denied: &Denied) -> (StatusCode, Error) {
    let (status, kind) = match denied {
        Denied::NoToken | Denied::WrongToken => {
            (StatusCode::UNAUTHORIZED, ErrorKind::Unauthenticated)
        }
        Denied::Host(_) | Denied::Origin(_) => (StatusCode::FORBIDDEN, ErrorKind::PermissionDenied),
        Denied::Locked(_) => (StatusCode::TOO_MANY_REQUESTS, ErrorKind::ResourceExhausted),
    };
    let mut error = Error::new(kind, denied.to_string());
    if let Denied::Locked(seconds) = denied {
        error = error.retry_after(*seconds);
    }
    (status, error)
}

/// Headers that belong to a refusal.
fn with_advice(mut response: Response, error: &Error) -> Response {
    let headers = response.headers_mut();
    if error.kind == ErrorKind::Unauthenticated {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"pilothouse\""),
        );
    }
    if let Some(seconds) = error.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Whether the content type says JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(body.into())
        .expect("constant headers are valid")
}

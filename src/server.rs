//! The doors: one port, HTTP/1.1 and HTTP/2. Decode, call [`Service`], encode; no decisions.
//!
//! The accept loop is our own, because connections are counted, Nagle's algorithm is switched off
//! (44 ms of delay otherwise, with a delayed acknowledgement), headers have a deadline, and a stop must
//! end streams that would otherwise keep it waiting for ever.

mod admin;
mod card;
mod jsonrpc;
mod stream;

use crate::access::{Access, Denied};
use crate::config::Config;
use crate::service::Service;
use crate::telemetry::{Entry, Telemetry};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use pilothouse_a2a::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

/// What every door needs.
pub struct Doors {
    /// The configuration.
    pub config: Arc<Config>,
    /// The guard.
    pub access: Access,
    /// The operations.
    pub service: Service,
    /// Console and audit.
    pub telemetry: Telemetry,
    /// Ends streams when the server stops.
    pub stop: CancellationToken,
    /// The port that is listened on.
    pub port: u16,
    /// When the store was last probed, and whether it could be written.
    pub store_probed: Mutex<Option<(Instant, bool)>>,
}

/// The address of the other side, attached to each request.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

/// All doors.
pub fn router(doors: Arc<Doors>) -> Router {
    Router::new()
        .route("/", post(jsonrpc::call).get(admin::welcome))
        .route("/a2a", post(jsonrpc::call))
        .route("/a2a/", post(jsonrpc::call))
        .route("/.well-known/agent-card.json", get(card::agent_card))
        .route("/.well-known/agent.json", get(card::legacy_card))
        .route("/health", get(admin::health))
        .route("/ready", get(admin::ready))
        .route("/api/v1/sessions", get(admin::sessions))
        .route("/api/v1/sessions/{id}", get(admin::session))
        .route("/api/v1/tasks/{id}/answer", get(admin::answer))
        .fallback(admin::not_found)
        .method_not_allowed_fallback(admin::wrong_method)
        .with_state(doors)
}

/// Accepts connections until `stop`, then lets the open ones finish within `patience`.
pub async fn serve(
    listener: TcpListener,
    doors: Arc<Doors>,
    stop: CancellationToken,
    patience: Duration,
) {
    let app = router(doors.clone());
    let connections = Arc::new(Semaphore::new(doors.config.limits.connections));
    let tracker = TaskTracker::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(doors.config.timeouts.header.get())
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(doors.config.limits.http2_streams)
        .keep_alive_interval(doors.config.timeouts.keep_alive.get());
    let builder = Arc::new(builder);
    loop {
        let permit = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            permit = connections.clone().acquire_owned() => permit.expect("the connections are never closed"),
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, say: waiting a moment is all that helps.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        let (app, builder, stop) = (app.clone(), builder.clone(), stop.clone());
        tracker.spawn(async move {
            let service = hyper::service::service_fn(
                move |mut request: hyper::Request<hyper::body::Incoming>| {
                    request.extensions_mut().insert(Peer(peer));
                    let mut app = app.clone();
                    async move { app.call(request.map(Body::new)).await }
                },
            );
            let connection = builder.serve_connection(TokioIo::new(socket), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
            drop(permit);
        });
    }
    drop(listener);
    tracker.close();
    let _ = tokio::time::timeout(patience, tracker.wait()).await;
}

// === what doors share ===

impl Doors {
    /// The address that clients use, as far as this request tells.
    fn base_url(&self, request: &Request) -> String {
        if let Some(url) = &self.config.server.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let named = request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let host = named.or_else(|| {
            request
                .uri()
                .authority()
                .map(axum::http::uri::Authority::as_str)
        });
        match host {
            Some(host) if !host.is_empty() => format!("http://{host}"),
            _ => format!("http://127.0.0.1:{}", self.port),
        }
    }
}

fn peer(request: &Request) -> IpAddr {
    request
        .extensions()
        .get::<Peer>()
        .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip())
}

fn authority(request: &Request) -> Option<String> {
    request.uri().authority().map(ToString::to_string)
}

/// A refusal at the door as the error of every binding.
fn denial(denied: &Denied) -> (StatusCode, Error) {
    use pilothouse_a2a::error::ErrorKind;
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
    if error.kind == pilothouse_a2a::error::ErrorKind::Unauthenticated {
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

fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    Response::builder()
        .status(status)
        .header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )
        .body(body.into())
        .expect("constant headers are valid")
}

/// Notes a refused or answered request.
async fn note(doors: &Doors, entry: Entry) {
    doors.telemetry.audit().note(&entry).await;
}

//! The doors: one port, HTTP/1.1 and HTTP/2. Decode, call [`Service`], encode; no decisions.

mod admin;
mod answers;
mod call;
mod card;
mod cors;
mod dashboard;
mod door;
mod extensions;
mod grpc;
mod jsonrpc;
mod listen;
mod openapi;
mod packed;
mod reflection;
mod reload;
mod rest;
mod stream;
mod tls;
mod word;

pub use answers::Answers;
pub use card::Cards;
pub use listen::serve;
pub use openapi::Document;
pub use reload::{Reloading, SetLogFilter};
pub use tls::{ServerTls, TlsError};

use self::listen::UnderWay;
use crate::access::{Access, Arrival, Denied, Forwarded};
use crate::agent::Agents;
use crate::config::{self, Config};
use crate::queue::{FairQueue, Place};
use crate::service::Service;
use crate::signing::JWKS_PATH;
use crate::store::Store;
use crate::telemetry::Telemetry;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, delete, get, post};
use bytes::Bytes;
use door::AuditEntry;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use parking_lot::RwLock;
use pilothouse_a2a::Bounds;
use pilothouse_a2a::error::{Error, ErrorKind, status_object};
use pilothouse_sandbox::isolation::Isolation;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};

/// A body up to this size never waits for others.
const SMALL_BODY: usize = 4 * 1024;

/// A body up to this size does not wait for large ones.
const MIDDLE_BODY: usize = 64 * 1024;

/// Seconds after which a large body is worth another try.
const BODIES_RETRY_SECONDS: u64 = 5;

/// Seconds after which a body that came too slowly is worth another try.
const SLOW_RETRY_SECONDS: u64 = 1;

/// What every door needs.
pub struct Doors {
    /// Places for large bodies.
    pub bodies: Bodies,
    /// Room for answers.
    pub answers: Answers,
    /// The OpenAPI document, made when it is first asked for.
    pub openapi: OnceLock<Document>,
    /// The configuration.
    pub config: Arc<Config>,
    /// The guard.
    pub access: Access,
    /// What stands on the cards.
    pub cards: RwLock<Arc<Cards>>,
    /// The certificates; none where plain HTTP is spoken.
    pub tls: Option<ServerTls>,
    /// How the configuration is read again.
    pub reloading: Reloading,
    /// The agents that are served.
    pub agents: Arc<Agents>,
    /// The operations.
    pub service: Arc<Service>,
    /// For what no operation reads.
    pub store: Store,
    /// The sandbox, which the cards describe.
    pub isolation: Isolation,
    /// Console and audit.
    pub telemetry: Telemetry,
    /// No message is accepted any more; the server stops when no turn runs.
    pub draining: CancellationToken,
    /// Ends streams when the server stops.
    pub stop: CancellationToken,
    /// The operations that were begun, to be awaited at the end.
    pub operations: TaskTracker,
    /// The address that is listened on.
    pub address: SocketAddr,
    /// Places for live streams, made when one is first asked for.
    pub live: OnceLock<FairQueue>,
    /// When the store was last probed, and whether it could be written.
    pub store_probed: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

/// All doors.
pub fn router(doors: Arc<Doors>) -> Router {
    let router = Router::new()
        .route("/", post(jsonrpc::call).get(admin::welcome))
        .route("/a2a", post(jsonrpc::call))
        .route("/a2a/", post(jsonrpc::call))
        .route("/.well-known/agent-card.json", get(card::agent_card))
        .route("/.well-known/agent.json", get(card::legacy_card))
        .route(JWKS_PATH, get(card::jwks))
        // Clients add the path of a card to the address of JSON-RPC.
        .route("/a2a/.well-known/agent-card.json", get(card::agent_card))
        .route("/a2a/.well-known/agent.json", get(card::legacy_card))
        .route("/openapi.json", get(openapi::document))
        .route("/health", get(admin::health))
        .route("/ready", get(admin::ready))
        .route("/metrics", get(admin::metrics::metrics))
        .route("/api/v1/sessions", get(admin::sessions))
        .route("/api/v1/sessions/{id}", get(admin::session))
        .route("/api/v1/sessions/{id}/files", get(admin::files::list))
        .route("/api/v1/sessions/{id}/files/{*path}", get(admin::files::read))
        .route("/api/v1/sessions/{id}/archive", get(admin::files::archive))
        .route("/api/v1/sessions/{id}/diff", get(admin::results::diff))
        .route("/api/v1/tasks/{id}/results/{*name}", get(admin::results::read))
        .route("/api/v1/tasks/{id}/answer", get(admin::artifacts::answer))
        .route("/api/v1/tasks/{id}/artifacts/{artifact}", get(admin::artifacts::read))
        .route("/api/v1/tasks/{id}/events", get(admin::events::list))
        .route("/api/v1/tasks/{id}/events/{seq}", get(admin::events::read))
        .route("/api/v1/tasks/{id}/export", get(admin::export::read))
        .route("/api/v1/tasks/{id}/trace", get(admin::trace::read))
        .route("/api/v1/sessions/{id}/attach", post(admin::attach::attach))
        .route("/api/v1/sessions/{id}/bundle", post(admin::bundle::bundle))
        .route("/api/v1/sessions/{id}/saved", post(admin::saved::save))
        .route("/api/v1/sessions/{id}/push", post(admin::publish::push))
        .route("/api/v1/sessions/{id}/remove", post(admin::removal::remove))
        .route("/api/v1/system", get(admin::system::read))
        .route("/api/v1/live", post(dashboard::live))
        .route("/api/v1/asks", get(admin::asks::list))
        .route("/ui", get(dashboard::page))
        .route("/ui/", get(dashboard::page))
        .route("/ui/{*path}", get(dashboard::page))
        .route("/answer", get(admin::links::page))
        .route("/answer.js", get(admin::links::script))
        .route("/api/v1/links", post(admin::links::show))
        .route("/api/v1/links/answer", post(admin::links::answer))
        .route("/api/v1/asks/{id}", get(admin::asks::show).post(admin::asks::answer))
        .route("/api/v1/grants", get(admin::grants::list))
        .route("/api/v1/grants/{id}", delete(admin::grants::revoke))
        .route("/api/v1/erase", post(admin::erase::erase))
        .route("/api/v1/drain", post(admin::operate::drain))
        .route("/api/v1/usage", get(admin::usage::usage))
        .route("/api/v1/reload", post(admin::operate::reload))
        .route("/api/v1/tokens", get(admin::tokens::list).post(admin::tokens::create))
        .route("/api/v1/tokens/{id}", delete(admin::tokens::revoke))
        .route("/lf.a2a.v1.A2AService/{method}", any(grpc::call))
        .route("/a2a.v1.A2AService/{method}", any(grpc::call))
        .route_service("/grpc.health.v1.Health/{method}", health(&doors))
        .fallback(rest::call)
        .method_not_allowed_fallback(admin::method_not_allowed);
    let router = match doors.config.server.grpc_reflection {
        true => reflection::add(router),
        false => router,
    };
    router.layer(cors::build_layer(&doors)).with_state(doors)
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

/// A request's body, and its place among the large ones.
struct RequestBody {
    bytes: Bytes,
    /// Held until what was made of the body is stored.
    place: Option<Place>,
}

/// Bytes that may be taken by bodies at a time: by large ones, and half as many again by those of some KiB, which
/// do not wait behind large ones. Callers take turns for both.
pub struct Bodies {
    large: FairQueue,
    middle: FairQueue,
}

impl Bodies {
    /// Places for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let places = |bytes: usize| FairQueue::new(bytes, bytes.div_ceil(2), &BTreeMap::new());
        Self { large: places(bytes.max(1)), middle: places((bytes / 2).max(1)) }
    }

    /// Waits for a place of this size.
    async fn take(&self, caller: &Arc<str>, bytes: usize) -> Place {
        let places = if bytes > MIDDLE_BODY { &self.large } else { &self.middle };
        places.request_many(caller, bytes).place().await
    }
}

fn too_late() -> Error {
    let message = "the body came too slowly: a whole body has `timeouts.body`, and no piece of a large one may take longer \
                   than `timeouts.header`; send it faster; the server's operator can raise these keys";
    Error::new(ErrorKind::TooSlow, message).retry_after(SLOW_RETRY_SECONDS)
}

fn too_many() -> Error {
    let message = "other large requests are being read; try again later; the server's operator can raise `limits.bodies`";
    Error::new(ErrorKind::Unavailable, message).retry_after(BODIES_RETRY_SECONDS)
}

fn too_large(limit: config::Bytes) -> Error {
    let message = format!(
        "the body is larger than {limit}; send less; the server's operator can raise `limits.body`"
    );
    Error::new(ErrorKind::TooLarge, message)
}

/// Whether a body cannot be read because of how it is sent. All else ends it because its sender has left.
fn is_malformed(error: &axum::Error) -> bool {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let mut causes = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| {
        matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
    })
}

impl Doors {
    /// What stands on the cards now.
    fn cards(&self) -> Arc<Cards> {
        self.cards.read().clone()
    }

    /// The body of a caller's request, within `limits.body`, `limits.bodies` and `timeouts.body`.
    async fn read_body(
        &self,
        caller: &Arc<str>,
        headers: &HeaderMap,
        body: Body,
        entry: &AuditEntry,
    ) -> Result<RequestBody, Error> {
        let (most, limit) = (self.config.limits.body, self.config.limits.body.as_usize());
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_large(most));
        }
        let announced = announced.and_then(|length| usize::try_from(length).ok());
        let patience = self.config.timeouts.body.get();
        let packed = packed::is_packed(headers)?;
        let (mut body, mut bytes, mut place) = (body, Vec::new(), None);
        // Nothing of a large body is read while it waits for its place, so that it stays in the socket.
        if let Some(most) = announced.filter(|most| *most > SMALL_BODY) {
            place = Some(self.reserve_body(caller, most, &mut bytes).await?);
        }
        let mut deadline = tokio::time::Instant::now() + patience;
        let (stop, mut is_stopping) = (self.stop.cancelled(), false);
        tokio::pin!(stop);
        loop {
            // What takes a place that others wait for keeps coming.
            let stalled = tokio::time::Instant::now() + self.config.timeouts.header.get();
            let until = if place.is_some() { deadline.min(stalled) } else { deadline };
            let frame = tokio::select! {
                biased;
                frame = tokio::time::timeout_at(until, body.frame()) => frame,
                () = &mut stop, if !is_stopping => {
                    // A body that is on its way may still come, but the server does not wait for it to the last.
                    is_stopping = true;
                    let patience = self.config.timeouts.shutdown.get() / 4;
                    deadline = deadline.min(tokio::time::Instant::now() + patience);
                    continue;
                }
            };
            let Some(frame) = frame.map_err(|_| too_late())? else { break };
            let broken = |cause: axum::Error| {
                if is_malformed(&cause) {
                    return Error::new(ErrorKind::InvalidRequest, "the body is malformed");
                }
                entry.set_left();
                Error::new(ErrorKind::InvalidRequest, "the body broke off")
            };
            let Ok(chunk) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            let size = bytes.len() + chunk.len();
            if size > limit {
                return Err(too_large(most));
            }
            // Small bodies never wait behind large ones. A large one waits once, for all that it may
            // become: two that each waited for their second half would wait for each other.
            if size > SMALL_BODY && place.is_none() {
                place = Some(self.reserve_body(caller, limit, &mut bytes).await?);
                // Its time to come begins when it may.
                deadline = tokio::time::Instant::now() + patience;
            }
            bytes.extend_from_slice(&chunk);
        }
        let body = RequestBody { bytes: Bytes::from(bytes), place };
        match packed && headers.contains_key(header::CONTENT_ENCODING) {
            true => self.unpack(caller, body).await,
            false => Ok(body),
        }
    }

    /// The place of a body that may become as large as this, when there is one.
    async fn reserve_body(
        &self,
        caller: &Arc<str>,
        most: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<Place, Error> {
        let patience = self.config.timeouts.body.get();
        let place = tokio::select! {
            place = tokio::time::timeout(patience, self.bodies.take(caller, most)) => place.ok(),
            () = self.stop.cancelled() => None,
        };
        let place = place.ok_or_else(too_many)?;
        bytes.reserve_exact(most - bytes.len());
        Ok(place)
    }

    /// What a request may hold.
    fn bounds(&self) -> Bounds {
        let limits = &self.config.limits;
        Bounds {
            parts: limits.parts,
            items: limits.items,
            metadata: limits.metadata.as_usize(),
            data: limits.data.as_usize(),
        }
    }

    /// The address that clients use, as far as this request tells.
    fn base_url(&self, request: &Request) -> String {
        if let Some(url) = &self.config.server.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let Arrival { forwarded, host, .. } = arrival(request);
        card::address(&forwarded, &host, self.address.port())
    }
}

/// How a request came here, as its connection noted it.
fn arrival<B>(request: &Request<B>) -> Arrival {
    request.extensions().get().cloned().unwrap_or_else(|| {
        let nowhere = IpAddr::from([0, 0, 0, 0]);
        let forwarded = Forwarded::direct(nowhere, "http");
        Arrival { forwarded, local: nowhere, host: String::new(), wanted: None }
    })
}

/// The request's place among those under way.
fn under_way<B>(request: &Request<B>) -> Option<UnderWay> {
    request.extensions().get::<Option<UnderWay>>().cloned().flatten()
}

fn peer<B>(request: &Request<B>) -> IpAddr {
    arrival(request).forwarded.client
}

/// The refusal of a request for what is public, where it names a host that is not served here.
fn refuse_host(doors: &Doors, request: &Request) -> Option<Response> {
    let denied = doors.access.check_host(&arrival(request)).err()?;
    Some(refusal(denied))
}

/// A refusal at the door as a response.
fn refusal(denied: Denied) -> Response {
    let error = Error::from(denied);
    let status = StatusCode::from_u16(error.kind.codes().http).unwrap_or(StatusCode::FORBIDDEN);
    with_advice(json_response(status, status_object(&error).to_string()), &error)
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
    if error.kind == ErrorKind::ContentTypeNotSupported {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(packed::GZIP));
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

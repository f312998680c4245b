//! The accept loop, and what a connection may take. The loop is our own, because connections are counted
//! ([`connections`]), Nagle's algorithm is switched off (44 ms of delay otherwise, with a delayed
//! acknowledgement), every wait for a client has a deadline, and a stop must end streams that would
//! otherwise keep it waiting for ever.

mod connections;
mod requests;
mod socket;
mod transport;

use super::{Doors, admin, call, refusal, router};
use crate::access::Grant;
use crate::backoff::Backoff;
use crate::config::Config;
use axum::Router;
use axum::body::Body;
use axum::http::{Version, header};
use axum::response::Response;
pub(super) use connections::Production;
use connections::{
    AddressFull, Arriving, Bounds, Connection, Connections, Overdue, Place, Recognition,
};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use pilothouse_a2a::error::{Error, ErrorKind};
pub(super) use requests::UnderWay;
use requests::{Class, Requests};
use socket::Socket;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;
use transport::Transport;

/// Bytes of the head of a request, which strangers may send and leave unfinished. A body is read in pieces
/// of this size as well.
const HEAD_BYTES: usize = 16 * 1024;

/// Bytes of a response that HTTP/2 holds for one stream beside the piece that is being sent.
const STREAM_BUFFER: usize = 16 * 1024;

/// Bytes of a body that HTTP/2 takes before its request reads them; hyper would take a megabyte, also of bodies that
/// wait for `limits.bodies`.
const STREAM_WINDOW: u32 = 16 * 1024;

/// The same of all bodies of a connection: far more than of one, so that a body that waits stops no other.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Between two tries to accept a connection, at first and at most.
const ACCEPT_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Seconds after which what was refused here is worth another try.
const RETRY_SECONDS: u64 = 1;

/// What is served without a token on every connection.
const HEALTH: [&str; 4] =
    ["/health", "/ready", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];

/// What all connections share.
struct Listener {
    doors: Arc<Doors>,
    app: Router,
    builder: auto::Builder<TokioExecutor>,
    connections: Arc<Connections>,
    requests: Arc<Requests>,
    stop: CancellationToken,
}

/// Accepts connections until `stop`, then lets the open ones finish within `patience`.
pub async fn serve(
    listener: TcpListener,
    doors: Arc<Doors>,
    stop: CancellationToken,
    patience: Duration,
) {
    let tracker = TaskTracker::new();
    let shared = Arc::new(Listener {
        app: router(doors.clone()),
        builder: builder(&doors.config),
        connections: Connections::new(bounds(&doors.config)),
        requests: Requests::new(doors.config.limits.requests),
        doors,
        stop,
    });
    let mut backoff = Backoff::new(ACCEPT_AGAIN.0, ACCEPT_AGAIN.1);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, say: waiting a moment is all that helps.
                let pause = backoff.pause();
                tracing::warn!(%error, ?pause, "a connection could not be accepted; it is tried again");
                tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => continue,
                }
            }
        };
        backoff.reset();
        let is_proxy = shared.doors.access.is_proxy(peer.ip());
        let entered = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            entered = shared.connections.enter(peer.ip(), is_proxy) => entered,
        };
        match entered {
            Ok(place) => drop(tracker.spawn(shared.clone().attend(socket, peer, place))),
            Err(AddressFull) => shared.connections.warn_of_refusal(peer.ip()),
        }
    }
    drop(listener);
    tracker.close();
    let _ = tokio::time::timeout(patience, tracker.wait()).await;
}

fn bounds(config: &Config) -> Bounds {
    let (limits, timeouts) = (&config.limits, &config.timeouts);
    // However few there are, most serve everybody.
    let kept = limits.connections_kept.min(limits.connections / 4);
    if kept < limits.connections_kept {
        tracing::warn!(
            "{kept} connections are kept for known callers and health: `limits.connections_kept` is {}, more than a \
             quarter of `limits.connections` ({})",
            limits.connections_kept,
            limits.connections
        );
    }
    Bounds {
        all: limits.connections,
        kept,
        per_address: limits.connections_per_address,
        per_caller: limits.connections_per_caller,
        streams: limits.http2_streams_unknown,
        unread: limits.unread.get(),
        head: timeouts.header.get(),
        idle: timeouts.idle.get(),
        write: timeouts.write.get(),
        write_at_stop: timeouts.shutdown.get() / 4,
    }
}

fn builder(config: &Config) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Hyper's own deadline begins with the answer before, so it would end idle connections too.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.limits.http2_streams)
        .max_pending_accept_reset_streams(config.limits.http2_resets)
        .max_local_error_reset_streams(config.limits.http2_resets)
        .max_header_list_size(HEAD_BYTES as u32)
        .max_send_buf_size(STREAM_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(config.timeouts.keep_alive.get())
        .keep_alive_timeout(config.timeouts.write.get());
    builder
}

impl Listener {
    /// Serves a connection until its client, a deadline, or another connection ends it.
    async fn attend(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, place: Place) {
        let _ = socket.set_nodelay(true);
        let local = socket.local_addr().map_or([0, 0, 0, 0].into(), |local| local.ip());
        let connection = place.connection().clone();
        let socket = Arc::new(socket);
        let Some(transport) = self.clone().open(&socket, &connection).await else { return };
        let service = hyper::service::service_fn(|request| {
            let (socket, connection) = (socket.clone(), connection.clone());
            let arriving = connection.read_request();
            let is_http2 = request.version() == Version::HTTP_2;
            let answer = self.clone().answer(request, (peer.ip(), local), socket, connection);
            begin(answer, is_http2, arriving)
        });
        let socket = Socket::new(transport, socket.clone(), connection.clone(), self.clone());
        let served = self.builder.serve_connection(TokioIo::new(socket), service);
        tokio::pin!(served);
        // Dropped before the connection, whose requests would find room otherwise.
        let _left = connection.clone().leaves();
        let is_stopping = tokio::select! {
            _ = served.as_mut() => return,
            () = self.stop.cancelled() => true,
            () = connection.evicted() => return,
            overdue = connection.overdue() => match overdue {
                Overdue::Idle => false,
                Overdue::Head | Overdue::Stuck => return,
            },
        };
        // What is under way is finished, and HTTP/2 clients are told not to begin anything more.
        served.as_mut().graceful_shutdown();
        connection.note_closing(is_stopping);
        tokio::select! {
            _ = served => {}
            () = connection.evicted() => {}
            _ = connection.overdue() => {}
        }
    }

    /// The bytes of a connection; none where it ended before hands were shaken.
    async fn open(
        self: Arc<Self>,
        socket: &Arc<TcpStream>,
        connection: &Arc<Connection>,
    ) -> Option<Transport> {
        let Some(tls) = &self.doors.tls else { return Some(Transport::plain(socket.clone())) };
        let opened = Box::pin(Transport::shake_hands(tls, socket.clone()));
        let opened = tokio::select! {
            opened = opened => opened,
            () = self.stop.cancelled() => return None,
            () = connection.evicted() => return None,
            _ = connection.overdue() => return None,
        };
        opened.inspect_err(|error| tracing::debug!(%error, "no TLS with a client")).ok()
    }

    /// Serves a request.
    async fn answer(
        self: Arc<Self>,
        mut request: hyper::Request<Incoming>,
        (peer, local): (IpAddr, IpAddr),
        socket: Arc<TcpStream>,
        connection: Arc<Connection>,
    ) -> Result<hyper::Response<connections::ServedBody>, HungUp> {
        let is_http2 = request.version() == Version::HTTP_2;
        let mut served = connection.arrive(is_http2);
        let access = &self.doors.access;
        let scheme = if self.doors.tls.is_some() { "https" } else { "http" };
        let came = (peer, local, scheme);
        let arrival = access.arrive(came, request.uri(), request.headers());
        let recognition = if connection.is_known() {
            Recognition::Known
        } else {
            let arrival = arrival.as_ref().ok();
            let caller = arrival.and_then(|arrival| access.recognize(request.headers(), arrival));
            caller.map_or(Recognition::Stranger, |caller| {
                let recognition = self.connections.recognize(&connection, &caller.name);
                if recognition == Recognition::CallerFull {
                    self.connections.warn_of_caller(peer, &caller.name);
                }
                recognition
            })
        };
        let is_health = HEALTH.contains(&request.uri().path());
        let class = match connection.caller() {
            _ if is_health => Class::Health,
            Some(caller) => Class::Caller(caller.clone()),
            None => Class::Strangers,
        };
        let place = self.requests.enter(class);
        // Over HTTP/1.1 a connection has one request at a time, and health is always told.
        let mut response = if place.is_none() && (is_http2 || !is_health) {
            self.connections.warn_of_requests(peer);
            refuse(
                is_http2,
                ErrorKind::Unavailable,
                "too many requests are under way, of this caller or of all together; read the answers that are open; the server's \
                 operator can raise `limits.requests`, of which one caller has half",
            )
        } else if recognition == Recognition::CallerFull && !is_health {
            refuse(
                is_http2,
                ErrorKind::Unavailable,
                "this caller has too many connections; close some; the server's operator can raise \
                 `limits.connections_per_caller`",
            )
        } else if !is_health
            && (recognition == Recognition::Full
                || recognition == Recognition::Stranger && self.connections.are_taken())
        {
            refuse(
                is_http2,
                ErrorKind::Unavailable,
                "known callers hold all connections; try again later; the server's operator can raise \
                 `limits.connections`",
            )
        } else if let Some(production) = served.begin().await {
            match arrival {
                Ok(arrival) => {
                    request.extensions_mut().insert(arrival);
                    request.extensions_mut().insert(production);
                    request.extensions_mut().insert(place.clone());
                    let request_is_served = name_agent(&self.doors, &mut request);
                    let request = request.map(Body::new);
                    match request_is_served {
                        true => tokio::select! {
                            biased;
                            Ok(response) = self.app.clone().call(request) => response,
                            () = hang_up(&socket) => return Err(HungUp),
                        },
                        false => admin::not_found(request).await,
                    }
                }
                Err(denied) => refusal(denied),
            }
        } else {
            refuse(
                is_http2,
                ErrorKind::ResourceExhausted,
                "too many requests at a time on a connection without a valid token (`limits.http2_streams_unknown`); \
                 send them one after another, or with a valid token",
            )
        };
        let grant = response.extensions_mut().remove::<Arc<Grant>>();
        Ok(response.map(|body| served.answer(body, grant, place)))
    }
}

/// The same future, over HTTP/1.1 begun at once. Hyper drops the future of a request without polling it there where the
/// client's end of the connection came together with the request; that request would be in no audit log.
fn begin<F: Future>(
    future: F,
    is_http2: bool,
    arriving: Arriving,
) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(future);
    let mut first = match is_http2 {
        // Each request has a task of its own, and a panic ends that alone.
        true => Poll::Pending,
        false => future.as_mut().poll(&mut Context::from_waker(Waker::noop())),
    };
    let mut arriving = Some(arriving);
    poll_fn(move |context| {
        drop(arriving.take());
        match std::mem::replace(&mut first, Poll::Pending) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => future.as_mut().poll(context),
        }
    })
}

/// Waits until a client has closed its side. Hyper does not look for that while bytes of a further request
/// of HTTP/1.1 are there. Urgent data is not asked for, so no byte that came ends this.
async fn hang_up(socket: &TcpStream) {
    let _ = socket.ready(Interest::PRIORITY).await;
}

/// A refusal that costs little memory, however long its client leaves it unread. Over HTTP/2 it has no body: a
/// stream would be open until its client takes it.
fn refuse(is_http2: bool, kind: ErrorKind, message: &'static str) -> Response {
    let mut response = admin::failed(&Error::new(kind, message).retry_after(RETRY_SECONDS));
    if is_http2 {
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    response
}

/// The client has left before its request was answered.
#[derive(Debug, thiserror::Error)]
#[error("the client has closed its side of the connection")]
struct HungUp;

/// Takes `/agents/NAME` off a path, so that every door is there for each agent; false for an unknown one.
fn name_agent<B>(doors: &Doors, request: &mut hyper::Request<B>) -> bool {
    let Some(rest) = request.uri().path().strip_prefix("/agents/") else {
        return true;
    };
    let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let agents = &doors.agents;
    let Some(agent) = agents.get(name) else {
        return false;
    };
    let path = if path.is_empty() { "/" } else { path };
    let path = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = path.parse().ok();
    let Ok(uri) = axum::http::Uri::from_parts(parts) else {
        return false;
    };
    let key = agent.key.clone();
    *request.uri_mut() = uri;
    request.extensions_mut().insert(call::Named(key));
    true
}

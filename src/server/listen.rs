//! The accept loop, and what a connection may take. The loop is our own, because connections are counted
//! ([`connections`]), Nagle's algorithm is switched off (44 ms of delay otherwise, with a delayed
//! acknowledgement), every wait for a client has a deadline, and a stop must end streams that would
//! otherwise keep it waiting for ever.

mod connections;
mod requests;

use super::{Doors, admin, call, refusal, router};
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
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

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

/// Bytes of HTTP/2 that are read at a time of a connection whose requests may be refused.
const LITTLE: usize = 512;

/// How the preface of HTTP/2 begins; no method of HTTP/1.1 begins so.
const PREFACE: &[u8] = b"PRI ";

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
        let service = hyper::service::service_fn(|request| {
            let (socket, connection) = (socket.clone(), connection.clone());
            let arriving = connection.read_request();
            let is_http2 = request.version() == Version::HTTP_2;
            let answer = self.clone().answer(request, (peer.ip(), local), socket, connection);
            begin(answer, is_http2, arriving)
        });
        let socket = Socket {
            socket: socket.clone(),
            connection: connection.clone(),
            listener: self.clone(),
            preface: Some(0),
            was_looked_at: false,
            has_yielded: false,
            pause: None,
        };
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

    /// Serves a request.
    async fn answer(
        self: Arc<Self>,
        mut request: hyper::Request<Incoming>,
        (peer, local): (IpAddr, IpAddr),
        socket: Arc<TcpStream>,
        connection: Arc<Connection>,
    ) -> Result<hyper::Response<connections::Answer>, HungUp> {
        let is_http2 = request.version() == Version::HTTP_2;
        let mut served = connection.arrive(is_http2);
        let access = &self.doors.access;
        let arrival = access.arrive(peer, local, request.uri(), request.headers());
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
        let response = if place.is_none() && (is_http2 || !is_health) {
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
                Err(denied) => refusal(&denied),
            }
        } else {
            refuse(
                is_http2,
                ErrorKind::ResourceExhausted,
                "too many requests at a time on a connection without a valid token (`limits.http2_streams_unknown`); \
                 send them one after another, or with a valid token",
            )
        };
        Ok(response.map(|body| served.answer(body, place)))
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

/// A socket that tells its connection of bytes that come.
struct Socket {
    socket: Arc<TcpStream>,
    connection: Arc<Connection>,
    listener: Arc<Listener>,
    /// How much of the preface of HTTP/2 has come; none where HTTP/1.1 is spoken.
    preface: Option<usize>,
    /// Whether the first bytes were looked at.
    was_looked_at: bool,
    /// Whether others had their turn before the next few bytes are read.
    has_yielded: bool,
    /// Not read before this.
    pause: Option<Pin<Box<OwnedNotified>>>,
}

impl Socket {
    /// Waits until a request that comes may find a place. A connection with a request is read in any case: its
    /// client may have to say that it has room for more of the answer.
    fn poll_unpaused(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.preface != Some(PREFACE.len()) || !self.connection.has_no_request() {
                break;
            }
            // A stranger may be a caller whose token has not come yet.
            let Some(caller) = self.connection.caller() else { break };
            if !self.listener.requests.are_full(&Class::Caller(caller.clone())) {
                break;
            }
            let Some(pause) = &mut self.pause else {
                // A place that is left between this and the next look wakes it too.
                let mut pause = Box::pin(self.listener.requests.place_left());
                pause.as_mut().enable();
                self.pause = Some(pause);
                continue;
            };
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        self.pause = None;
        Poll::Ready(())
    }

    /// Whether HTTP/1.1 is spoken, as far as the first bytes tell, which are left where they are.
    fn poll_is_http1(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut first = [0; PREFACE.len()];
        let mut first = ReadBuf::new(&mut first);
        let come = ready!(self.socket.poll_peek(context, &mut first))?;
        self.was_looked_at = true;
        Poll::Ready(Ok(come > 0 && !PREFACE.starts_with(first.filled())))
    }

    /// Whether little of HTTP/2 is read at a time: before a token was seen, and as long as what comes next would be
    /// refused. The tables of a connection grow with the requests that one reading brings, and stay.
    fn reads_little(&self) -> bool {
        self.preface.is_some()
            && self.connection.caller().is_none_or(|caller| {
                self.listener.requests.are_full(&Class::Caller(caller.clone()))
            })
    }

    /// Reads little, after all others had their turn, so that what came before is refused and gone.
    fn poll_read_little(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Hyper may ask several times in one turn of the connection.
        let others_first = self.connection.has_arriving() || {
            self.has_yielded = !self.has_yielded && self.preface == Some(PREFACE.len());
            self.has_yielded
        };
        if others_first {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut little = [0; LITTLE];
        let most = buffer.remaining().min(LITTLE);
        loop {
            ready!(self.socket.poll_read_ready(context))?;
            match self.socket.try_read(&mut little[..most]) {
                Ok(size) => {
                    buffer.put_slice(&little[..size]);
                    self.note_begin(&little[..size])?;
                    match size {
                        0 => self.note_end(),
                        _ => self.connection.note_read(),
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(self.fail(error))),
            }
        }
    }

    /// Compares the first bytes with the preface of HTTP/2; an error where that finds no places.
    fn note_begin(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            match self.preface {
                Some(come) if come < PREFACE.len() => {
                    self.preface = (*byte == PREFACE[come]).then_some(come + 1);
                    if self.preface == Some(PREFACE.len()) {
                        return self.widen();
                    }
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Notes that the client sends no more. Over HTTP/1.1 it may still read.
    fn note_end(&self) {
        if self.preface.is_some() {
            self.connection.note_left();
        }
    }

    /// Notes that the connection is broken.
    fn fail(&self, error: io::Error) -> io::Error {
        self.connection.note_left();
        error
    }

    fn widen(&self) -> io::Result<()> {
        let connections = &self.listener.connections;
        if connections.widen(&self.connection, Instant::now()) {
            return Ok(());
        }
        if let Ok(peer) = self.socket.peer_addr() {
            connections.warn_of_http2(peer.ip());
        }
        Err(io::ErrorKind::QuotaExceeded.into())
    }

    /// Writes when the socket can take something.
    fn poll_writing(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome.map_err(|error| self.fail(error))),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.was_looked_at && ready!(this.poll_is_http1(context))? {
            // For hyper this is the end of what could be a preface. Where it has read the first bytes by themselves, it
            // makes its buffer twice as large to read the others.
            this.preface = None;
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_unpaused(context));
        if this.reads_little() {
            return this.poll_read_little(context, buffer);
        }
        loop {
            ready!(this.socket.poll_read_ready(context))?;
            match this.socket.try_read_buf(buffer) {
                Ok(0) => {
                    this.note_end();
                    return Poll::Ready(Ok(()));
                }
                Ok(_) => {
                    this.connection.note_read();
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(this.fail(error))),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |socket| socket.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Write)?))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |socket| socket.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

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

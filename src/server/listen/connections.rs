//! The open connections: how many there may be, which one gives way to a new one, and when one is overdue.
//!
//! # How it works
//!
//! A connection on which a valid token was seen is *known*; every other one is a *stranger*. At a bound
//! the oldest stranger gives way to the new connection, so that connections without a token never keep
//! a known caller out; one caller holds a share of the places at most. Once known connections hold all places but those that are kept
//! ([`Bounds::kept`]), strangers are served health alone; half of the kept places are left to health.
//!
//! A connection over HTTP/2 takes more memory than one over HTTP/1.1, so it takes [`HTTP2_PLACES`].
//!
//! Every connection has deadlines: for the head of a request, for the time without a request, and for
//! an answer that its client does not take. [`Connection::overdue`] looks at all of them.

use super::requests::UnderWay;
use crate::access::origin;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// As much of a body is handed to the connection at a time: what its client has not taken stays here,
/// where it is counted. What was handed over is in memory besides, for each request.
const PIECE: usize = 16 * 1024;

/// Places that a connection over HTTP/2 takes. The tables of its streams grow with `limits.http2_streams` and do not
/// shrink: about 150 KiB with 128 streams, while the whole of a connection over HTTP/1.1 is below 40 KiB.
const HTTP2_PLACES: usize = 4;

/// The least time between two warnings that connections find no place.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// So long a new connection may take to show a token before it can be evicted for one of another address.
const GRACE: Duration = Duration::from_millis(250);

/// What the configuration allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Places of open connections, as in the three bounds below.
    pub(super) all: usize,
    /// Those of them that are kept for health and known callers, half of them for health alone.
    pub(super) kept: usize,
    /// Those that one address may have.
    pub(super) per_address: usize,
    /// Those that one known caller may have.
    pub(super) per_caller: usize,
    /// Requests of a connection that are served at a time, however much is unread and whoever calls; of a
    /// known caller, requests whose answers are being made.
    pub(super) streams: usize,
    /// Bytes of answers that a client may leave unread before its further requests wait.
    pub(super) unread: u64,
    /// From the first byte of a request, or from the start of a connection, to the end of a head.
    pub(super) head: Duration,
    /// Without a request.
    pub(super) idle: Duration,
    /// Without a byte of an answer that was taken.
    pub(super) write: Duration,
    /// The same while the server stops.
    pub(super) write_at_stop: Duration,
}

/// All open connections.
pub(super) struct Connections {
    bounds: Bounds,
    open: Mutex<Open>,
    /// Wakes the connection that waits for a place.
    left: Notify,
}

impl Bounds {
    /// The places of a connection over HTTP/2. Small bounds still admit one.
    fn of_http2(&self) -> usize {
        HTTP2_PLACES.min(self.all / 2).min(self.per_address).min(self.per_caller).max(1)
    }
}

#[derive(Default)]
struct Open {
    /// Places that are taken, and those of them that strangers have.
    count: usize,
    of_strangers: usize,
    next: u64,
    by_origin: HashMap<IpAddr, usize>,
    by_caller: HashMap<Arc<str>, usize>,
    /// By number, so the oldest is the first.
    strangers: BTreeMap<u64, Arc<Connection>>,
    strangers_by_origin: BTreeSet<(IpAddr, u64)>,
    warned: Option<Instant>,
}

/// One open connection.
pub(super) struct Connection {
    number: u64,
    origin: IpAddr,
    /// Whether many clients share its address.
    is_shared: bool,
    /// How many places it has. Set under the lock of the connections alone.
    places: AtomicUsize,
    began: Instant,
    bounds: Bounds,
    /// Whose valid token was seen first. Set under the lock of the connections alone.
    caller: OnceLock<Arc<str>>,
    evicted: Notify,
    activity: Mutex<Activity>,
    /// Wakes requests that wait until more of the answers was read.
    room: Notify,
}

/// What happens on a connection.
struct Activity {
    /// Requests whose answers are not over.
    requests: usize,
    /// Requests that were read and whose answers were not asked for yet.
    arriving: usize,
    /// Requests that are served; the others wait for room.
    served: usize,
    /// Served requests whose answer is being made.
    producing: usize,
    /// Bytes of answers that wait here for the client.
    unread: u64,
    /// Since when a head is expected; none while nothing of it has come.
    head_since: Option<Instant>,
    /// The end of the last request.
    idle_since: Instant,
    /// Answers of which a piece waits for the client, and since when.
    stuck: BTreeMap<u64, Instant>,
    next: u64,
    /// HTTP/2 connections exchange pings, so bytes alone do not announce a request.
    is_http2: bool,
    /// The server stops.
    is_stopping: bool,
    /// Its client has left, so no further request begins.
    is_left: bool,
}

/// A place among the connections; dropping it makes room.
pub(super) struct Place {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head of a request did not come in time.
    Head,
    /// There was no request for a while.
    Idle,
    /// The client does not take its answer.
    Stuck,
}

/// Notes that the client of a connection has left, when this is dropped.
pub(super) struct Leaving(Arc<Connection>);

/// A request whose answer was not asked for yet; its answer is once this is dropped.
pub(super) struct Arriving(Arc<Connection>);

/// A request that is served; dropping it ends it.
pub(super) struct Served {
    connection: Arc<Connection>,
    number: u64,
    production: Option<Arc<Production>>,
    unread: u64,
}

/// The making of an answer, from the request until the answer is there, or until its caller waits for
/// an agent.
pub(in super::super) struct Production {
    connection: Arc<Connection>,
    is_over: AtomicBool,
}

impl Production {
    /// Lets another request of its connection begin.
    pub(in super::super) fn end(&self) {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            self.connection.activity.lock().producing -= 1;
            self.connection.room.notify_waiters();
        }
    }
}

impl Drop for Production {
    fn drop(&mut self) {
        self.end();
    }
}

/// A connection was refused: known callers hold all places of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AddressFull;

/// What a connection with a valid token is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recognition {
    /// A known caller's.
    Known,
    /// A stranger's: it was evicted.
    Stranger,
    /// Known callers hold too many places already.
    Full,
    /// Its caller has as many connections as one may have.
    CallerFull,
}

enum Entry {
    Place(Place),
    AddressFull,
    /// Until the oldest stranger may be evicted, or, where there is none, until a place is free.
    Wait(Option<Instant>),
}

impl Connections {
    /// No connections yet.
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, open: Mutex::default(), left: Notify::new() })
    }

    /// A place for a connection of this address, as soon as there is one. `is_shared` says that many
    /// clients share the address.
    pub(super) async fn enter(
        self: &Arc<Self>,
        peer: IpAddr,
        is_shared: bool,
    ) -> Result<Place, AddressFull> {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            let wait = match self.try_enter(peer, is_shared, Instant::now()) {
                Entry::Place(place) => return Ok(place),
                Entry::AddressFull => return Err(AddressFull),
                Entry::Wait(wait) => wait,
            };
            match wait {
                // Its grace is over then, if it is still there.
                Some(until) => drop(tokio::time::timeout_at(until, left).await),
                None => {
                    let why = "waits, because known callers hold all places";
                    self.warn(peer, why, "limits.connections");
                    left.await;
                }
            }
        }
    }

    fn try_enter(self: &Arc<Self>, peer: IpAddr, is_shared: bool, now: Instant) -> Entry {
        let (bounds, origin) = (self.bounds, origin(peer));
        let mut open = self.open.lock();
        if !is_shared && open.of_origin(origin) >= bounds.per_address && !open.evict_from(origin) {
            return Entry::AddressFull;
        }
        if open.count >= bounds.all {
            match open.evict_oldest(now) {
                Evicted::Yes => {}
                Evicted::NotBefore(until) => return Entry::Wait(until),
            }
        }
        let connection = Arc::new(Connection {
            number: open.next,
            origin,
            is_shared,
            places: AtomicUsize::new(0),
            began: now,
            bounds,
            caller: OnceLock::new(),
            evicted: Notify::new(),
            activity: Mutex::new(Activity {
                requests: 0,
                arriving: 0,
                served: 0,
                producing: 0,
                unread: 0,
                head_since: Some(now),
                idle_since: now,
                stuck: BTreeMap::new(),
                next: 0,
                is_http2: false,
                is_stopping: false,
                is_left: false,
            }),
            room: Notify::new(),
        });
        open.next += 1;
        open.take(&connection, 1);
        open.strangers.insert(connection.number, connection.clone());
        open.strangers_by_origin.insert((origin, connection.number));
        Entry::Place(Place { connections: self.clone(), connection })
    }

    /// Gives a connection the places of HTTP/2, before its first request; false where there are too few, or where it
    /// is itself the next to give way.
    pub(super) fn widen(&self, connection: &Connection, now: Instant) -> bool {
        let Bounds { all, per_address, .. } = self.bounds;
        let more = self.bounds.of_http2() - 1;
        let mut open = self.open.lock();
        while open.strangers.contains_key(&connection.number) {
            let of_origin = open.of_origin(connection.origin);
            let has_left = if !connection.is_shared && of_origin + more > per_address {
                open.evict_from(connection.origin)
            } else if open.count + more > all {
                matches!(open.evict_oldest(now), Evicted::Yes)
            } else {
                open.take(connection, more);
                return true;
            };
            if !has_left {
                return false;
            }
        }
        false
    }

    /// Notes that this caller's valid token was seen on a connection.
    pub(super) fn recognize(&self, connection: &Connection, caller: &Arc<str>) -> Recognition {
        let Bounds { all, kept, per_caller, .. } = self.bounds;
        let mut open = self.open.lock();
        if connection.is_known() {
            return Recognition::Known;
        }
        let places = connection.places();
        if open.by_caller.get(caller).copied().unwrap_or(0) + places > per_caller {
            return Recognition::CallerFull;
        }
        if open.known() + places > all - kept / 2 {
            return Recognition::Full;
        }
        if !open.forget_stranger(connection) {
            return Recognition::Stranger;
        }
        *open.by_caller.entry(caller.clone()).or_default() += places;
        let _ = connection.caller.set(caller.clone());
        Recognition::Known
    }

    /// Whether known callers hold all places that are not kept.
    pub(super) fn are_taken(&self) -> bool {
        self.open.lock().known() >= self.bounds.all - self.bounds.kept
    }

    /// Warns that a connection was refused, once a minute.
    pub(super) fn warn_of_refusal(&self, peer: IpAddr) {
        let why = "was refused, because known callers hold all places";
        self.warn(peer, why, "limits.connections_per_address");
    }

    /// Warns that a connection over HTTP/2 was closed, once a minute.
    pub(super) fn warn_of_http2(&self, peer: IpAddr) {
        let why = "was closed: over HTTP/2 it takes more places than there are";
        self.warn(peer, why, "limits.connections");
    }

    /// Warns that a connection was refused because its caller has too many, once a minute.
    pub(super) fn warn_of_caller(&self, peer: IpAddr, caller: &str) {
        let why = format!("was refused, because the caller `{caller}` holds all of its places");
        self.warn(peer, &why, "limits.connections_per_caller");
    }

    /// Warns that a request was refused because too many are under way, once a minute.
    pub(super) fn warn_of_requests(&self, peer: IpAddr) {
        self.warn(
            peer,
            "has a request that was refused, because too many are under way",
            "limits.requests",
        );
    }

    fn warn(&self, peer: IpAddr, why: &str, key: &'static str) {
        let mut open = self.open.lock();
        if open.warned.is_none_or(|warned| warned.elapsed() >= BETWEEN_WARNINGS) {
            open.warned = Some(Instant::now());
            tracing::warn!(
                "a connection from {peer} {why}; raise `{key}` (this is said once a minute)"
            );
        }
    }
}

/// Whether a stranger was evicted.
enum Evicted {
    Yes,
    /// Until this moment the oldest may stay; none where there is no stranger.
    NotBefore(Option<Instant>),
}

impl Open {
    fn known(&self) -> usize {
        self.count - self.of_strangers
    }

    fn of_origin(&self, origin: IpAddr) -> usize {
        self.by_origin.get(&origin).copied().unwrap_or(0)
    }

    /// Gives a stranger so many places more.
    fn take(&mut self, stranger: &Connection, more: usize) {
        stranger.places.fetch_add(more, Ordering::Relaxed);
        self.count += more;
        self.of_strangers += more;
        *self.by_origin.entry(stranger.origin).or_default() += more;
    }

    /// Evicts the oldest stranger of this origin; false where there is none.
    fn evict_from(&mut self, origin: IpAddr) -> bool {
        let oldest = self.strangers_by_origin.range((origin, 0)..=(origin, u64::MAX)).next();
        let Some(oldest) = oldest.and_then(|(_, number)| self.strangers.get(number)).cloned()
        else {
            return false;
        };
        self.evict(&oldest);
        true
    }

    /// Evicts the oldest stranger once its grace is over.
    fn evict_oldest(&mut self, now: Instant) -> Evicted {
        let Some((_, oldest)) = self.strangers.first_key_value() else {
            return Evicted::NotBefore(None);
        };
        if oldest.began + GRACE > now {
            return Evicted::NotBefore(Some(oldest.began + GRACE));
        }
        let oldest = oldest.clone();
        self.evict(&oldest);
        Evicted::Yes
    }

    fn evict(&mut self, stranger: &Connection) {
        self.forget_stranger(stranger);
        self.release(stranger);
        stranger.evicted.notify_one();
    }

    /// Counts a connection no longer among the strangers; false where it was none.
    fn forget_stranger(&mut self, connection: &Connection) -> bool {
        self.strangers_by_origin.remove(&(connection.origin, connection.number));
        let was_stranger = self.strangers.remove(&connection.number).is_some();
        if was_stranger {
            self.of_strangers -= connection.places();
        }
        was_stranger
    }

    fn release(&mut self, connection: &Connection) {
        self.count -= connection.places();
        subtract(&mut self.by_origin, &connection.origin, connection.places());
    }
}

/// Takes so much off a count, and an empty count out of the map.
fn subtract<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K, less: usize) {
    if let Some(count) = counts.get_mut(key) {
        *count -= less;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Place {
    /// The connection that has this place.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connection = &self.connection;
        let mut open = self.connections.open.lock();
        let was_stranger = open.forget_stranger(connection);
        if let Some(caller) = connection.caller() {
            subtract(&mut open.by_caller, caller, connection.places());
        }
        // An evicted connection gave its places back when it was evicted.
        if was_stranger || connection.is_known() {
            open.release(connection);
            drop(open);
            self.connections.left.notify_waiters();
        }
    }
}

impl Connection {
    fn places(&self) -> usize {
        self.places.load(Ordering::Relaxed)
    }

    /// Whose valid token was seen on it.
    pub(super) fn caller(&self) -> Option<&Arc<str>> {
        self.caller.get()
    }

    /// Whether a valid token was seen on it.
    pub(super) fn is_known(&self) -> bool {
        self.caller.get().is_some()
    }

    /// When it has to give way to another.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Notes that bytes have come.
    pub(super) fn note_read(&self) {
        let mut activity = self.activity.lock();
        if activity.requests == 0 && !activity.is_http2 && activity.head_since.is_none() {
            activity.head_since = Some(Instant::now());
        }
    }

    /// Notes that its client has left: requests that wait do not begin any more.
    pub(super) fn note_left(&self) {
        self.activity.lock().is_left = true;
        self.room.notify_waiters();
    }

    /// Notes that its client has left when the connection is no longer served.
    pub(super) fn leaves(self: Arc<Self>) -> Leaving {
        Leaving(self)
    }

    /// Whether it has no request under way.
    pub(super) fn has_no_request(&self) -> bool {
        self.activity.lock().requests == 0
    }

    /// Notes that it was told to end; from now on it may be idle once more, then it is overdue. While the
    /// server stops, a client that takes nothing of its answers is waited for less long.
    pub(super) fn note_closing(&self, is_stopping: bool) {
        let mut activity = self.activity.lock();
        activity.idle_since = Instant::now();
        activity.is_stopping = is_stopping;
    }

    /// Whether requests were read whose answers were not asked for yet.
    pub(super) fn has_arriving(&self) -> bool {
        self.activity.lock().arriving > 0
    }

    /// Notes that a request was read.
    pub(super) fn read_request(self: &Arc<Self>) -> Arriving {
        self.activity.lock().arriving += 1;
        Arriving(self.clone())
    }

    /// Notes that the head of a request has come.
    pub(super) fn arrive(self: &Arc<Self>, is_http2: bool) -> Served {
        let mut activity = self.activity.lock();
        activity.requests += 1;
        activity.next += 1;
        activity.head_since = None;
        activity.is_http2 = is_http2;
        let number = activity.next;
        Served { connection: self.clone(), number, production: None, unread: 0 }
    }

    /// When it has to end because of a deadline.
    pub(super) async fn overdue(&self) -> Overdue {
        loop {
            match self.look_at(Instant::now()) {
                Ok(overdue) => return overdue,
                Err(next) => tokio::time::sleep_until(next).await,
            }
        }
    }

    /// What is overdue at this moment, or when to look again.
    fn look_at(&self, now: Instant) -> Result<Overdue, Instant> {
        let Bounds { head, idle, mut write, write_at_stop, .. } = self.bounds;
        let activity = self.activity.lock();
        if activity.is_stopping {
            write = write.min(write_at_stop);
        }
        // What begins after this moment is due after the shortest of the three at the earliest.
        let mut next = now + head.min(idle).min(write);
        let mut is_due = |since: Option<Instant>, limit: Duration| {
            let Some(due) = since.map(|since| since + limit) else { return false };
            if due > now {
                next = next.min(due);
            }
            due <= now
        };
        if is_due(activity.head_since, head) {
            return Ok(Overdue::Head);
        }
        if is_due(activity.stuck.values().min().copied(), write) {
            return Ok(Overdue::Stuck);
        }
        if is_due((activity.requests == 0).then_some(activity.idle_since), idle) {
            return Ok(Overdue::Idle);
        }
        Err(next)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.note_left();
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.activity.lock().arriving -= 1;
    }
}

impl Served {
    /// Waits until this request may be served; none where it must be refused.
    pub(super) async fn begin(&mut self) -> Option<Arc<Production>> {
        loop {
            let connection = self.connection.clone();
            let room = connection.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let Bounds { streams, unread, .. } = connection.bounds;
                let mut activity = connection.activity.lock();
                if activity.is_left {
                    return None;
                }
                let is_known = connection.is_known();
                let is_roomy = activity.producing < streams && activity.unread <= unread;
                if activity.served < streams || (is_known && is_roomy) {
                    activity.served += 1;
                    activity.producing += 1;
                    let connection = connection.clone();
                    let production = Production { connection, is_over: AtomicBool::new(false) };
                    self.production = Some(Arc::new(production));
                    return self.production.clone();
                }
                if !is_known {
                    return None;
                }
            }
            room.await;
        }
    }

    /// The body of the answer; the request ends with it.
    pub(super) fn answer(mut self, body: axum::body::Body, place: Option<UnderWay>) -> Answer {
        let size = body.size_hint().lower();
        let mut activity = self.connection.activity.lock();
        activity.unread += size;
        activity.stuck.insert(self.number, Instant::now());
        drop(activity);
        self.unread = size;
        if let Some(production) = &self.production {
            production.end();
        }
        Answer { served: self, body, rest: Bytes::new(), _place: place }
    }

    /// Notes that the client took all that was handed out.
    fn note_taken(&self) {
        self.connection.activity.lock().stuck.remove(&self.number);
    }

    /// Notes that so much is here, which was not announced where the answer is a stream.
    fn note_made(&mut self, size: usize) {
        let more = (size as u64).saturating_sub(self.unread);
        self.unread += more;
        self.connection.activity.lock().unread += more;
    }

    /// Notes that a piece was handed out.
    fn note_handed(&mut self, size: usize) {
        let size = self.unread.min(size as u64);
        self.unread -= size;
        let mut activity = self.connection.activity.lock();
        activity.unread -= size;
        activity.stuck.insert(self.number, Instant::now());
        drop(activity);
        self.connection.room.notify_waiters();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let mut activity = self.connection.activity.lock();
        activity.requests -= 1;
        activity.served -= usize::from(self.production.is_some());
        activity.unread -= self.unread;
        activity.stuck.remove(&self.number);
        activity.idle_since = Instant::now();
        drop(activity);
        self.connection.room.notify_waiters();
    }
}

/// The body of an answer, handed out in pieces as the client takes them.
pub(super) struct Answer {
    served: Served,
    body: axum::body::Body,
    rest: Bytes,
    _place: Option<UnderWay>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.served.note_taken();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        this.served.note_made(data.len());
                        this.rest = data;
                    }
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        this.served.note_handed(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests;

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

mod deadlines;
mod served;

use crate::access::origin;
pub(super) use deadlines::{Arriving, Overdue};
use parking_lot::Mutex;
pub(in super::super) use served::Production;
pub(super) use served::{ServedBody, Served};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

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
}

#[cfg(test)]
mod tests;

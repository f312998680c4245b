//! A connection of a session: whose it is.
//!
//! A connection belongs to one pass. At the listener of a session's own it does so from the start; at the
//! shared one from the first request that carries a valid token, and it has to carry one soon.

use super::places::Place;
use super::provider::Slot;
use super::upstream::{Answer, json_error, text};
use super::{Core, Live, git, model};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Weak};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, SetOnce};
use tokio_util::sync::CancellationToken;

/// As many connections may belong to nobody yet.
const LOBBY: usize = 256;

/// The answer to a request that is not done.
pub(super) type Turned = Box<Answer>;

/// A connection, from its side of the session.
pub(super) struct Door {
    pub(super) core: Arc<Core>,
    /// The port that was connected to: requests may name it.
    port: u16,
    /// Whether who connects still has to say who it is.
    shared: bool,
    bound: SetOnce<Bound>,
    /// Its place, from its first byte or its credential to the end of its request.
    place: Mutex<Option<Place>>,
    /// Ends a connection that belongs to nobody.
    evicted: CancellationToken,
}

/// Whose connection it is, and its permit among theirs.
struct Bound {
    live: Arc<Live>,
    _permit: OwnedSemaphorePermit,
}

/// Connections to the shared listener that belong to nobody yet.
#[derive(Default)]
pub(super) struct Lobby(Mutex<Vec<Weak<Door>>>);

impl Door {
    /// A connection to a session's own listener.
    pub(super) fn own(
        core: Arc<Core>,
        port: u16,
        live: Arc<Live>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let bound = SetOnce::new_with(Some(Bound { live, _permit: permit }));
        Self { bound, shared: false, ..Self::shared(core, port) }
    }

    /// A connection to the shared listener.
    pub(super) fn shared(core: Arc<Core>, port: u16) -> Self {
        Self {
            core,
            port,
            shared: true,
            bound: SetOnce::new(),
            place: Mutex::default(),
            evicted: CancellationToken::new(),
        }
    }

    /// Whether it belongs to nobody yet.
    fn is_unbound(&self) -> bool {
        self.bound.get().is_none()
    }

    /// When it has to end: its pass has ended, or it belongs to nobody and others come.
    pub(super) async fn disowned(&self) {
        let ended = async { self.bound.wait().await.live.end.cancelled().await };
        tokio::select! {
            () = ended => {}
            () = self.evicted.cancelled() => {}
        }
    }

    /// Waits until a request comes and there is a place for it. Until then the connection holds no bytes.
    /// False when no byte came in time. At the shared listener nobody knows yet whose place it would be, so there
    /// may be few such connections instead.
    pub(super) async fn await_place(&self, socket: &TcpStream) -> bool {
        let Some(bound) = self.bound.get() else {
            return true;
        };
        let first = tokio::time::timeout(self.core.times.head, socket.readable());
        if !matches!(first.await, Ok(Ok(()))) {
            return false;
        }
        let place = bound.live.places.acquire().await;
        *self.place.lock() = Some(place);
        true
    }

    /// Its place, for who ends with the last bytes of the request.
    pub(super) fn take_place(&self) -> Option<Place> {
        self.place.lock().take()
    }

    /// Makes the connection this pass's, if it is nobody else's.
    fn bind(&self, live: Arc<Live>) -> Result<Arc<Live>, Turned> {
        if let Some(bound) = self.bound.get() {
            return if Arc::ptr_eq(&bound.live, &live) {
                Ok(live)
            } else {
                let line = "this connection belongs to another session; open one of your own";
                Err(Box::new(text(StatusCode::FORBIDDEN, line)))
            };
        }
        let busy = |line| Box::new(text(StatusCode::SERVICE_UNAVAILABLE, line));
        let permit = live.connections.clone().try_acquire_owned().map_err(|_| {
            busy(
                "this session has as many connections open as `egress.connections` permits; close some and try again",
            )
        })?;
        let place = live.places.try_acquire().ok_or_else(|| {
            busy(
                "there is no place for a further request of this session now; try again, or the server's operator can raise `egress.own_requests` or `egress.requests`",
            )
        })?;
        *self.place.lock() = Some(place);
        // There is one request at a time.
        let _ = self.bound.set(Bound { live: live.clone(), _permit: permit });
        Ok(live)
    }

    /// Whose request to the proxy this is.
    pub(super) fn proxy_user(&self, headers: &HeaderMap) -> Result<Arc<Live>, Turned> {
        if !self.shared
            && let Some(bound) = self.bound.get()
        {
            return Ok(bound.live.clone());
        }
        let token = basic(headers, &PROXY_AUTHORIZATION);
        match token.and_then(|token| self.core.find(&token)) {
            Some(live) => self.bind(live),
            None => {
                let line = "the credential of this session is missing or no longer valid; use the proxy as HTTPS_PROXY gives it";
                let mut answer = text(StatusCode::PROXY_AUTHENTICATION_REQUIRED, line);
                let realm = HeaderValue::from_static("Basic realm=\"pilothouse\"");
                answer.headers_mut().insert(PROXY_AUTHENTICATE, realm);
                Err(Box::new(answer))
            }
        }
    }

    /// Whose request to a model this is, and where the token stood.
    pub(super) fn model_user(
        &self,
        request: &Request<Incoming>,
    ) -> Result<(Arc<Live>, Slot), Turned> {
        let presented = model::presented(request);
        let found = presented.into_iter().find_map(|(slot, key)| {
            let live = self.core.find(&key)?;
            let own = self.shared
                || self.bound.get().is_some_and(|bound| Arc::ptr_eq(&bound.live, &live));
            own.then_some((live, slot))
        });
        match found {
            Some((live, slot)) => Ok((self.bind(live)?, slot)),
            None => {
                let message = "the key of this session is missing or no longer valid";
                Err(Box::new(json_error(StatusCode::UNAUTHORIZED, message)))
            }
        }
    }

    /// Whose request for a repository this is.
    pub(super) fn git_user(&self, headers: &HeaderMap) -> Result<Arc<Live>, Turned> {
        if !self.shared
            && let Some(bound) = self.bound.get()
        {
            return Ok(bound.live.clone());
        }
        let token = basic(headers, &AUTHORIZATION);
        match token.and_then(|token| self.core.find(&token)) {
            Some(live) => self.bind(live),
            None => Err(Box::new(git::unauthenticated())),
        }
    }

    /// Whether a URI names the place that was connected to.
    pub(super) fn is_here(&self, uri: &Uri) -> bool {
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let local = match bare.parse() {
            Ok(IpAddr::V4(address)) => address == Ipv4Addr::LOCALHOST,
            Ok(IpAddr::V6(address)) => address == Ipv6Addr::LOCALHOST,
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        local && uri.port_u16() == Some(self.port)
    }
}

impl Lobby {
    /// Takes one in. Where there are too many, the one that has been silent longest has to go: whoever
    /// means it says so at once.
    pub(super) fn enter(&self, door: &Arc<Door>) {
        let mut waiting = self.0.lock();
        waiting.retain(|door| door.upgrade().is_some_and(|door| door.is_unbound()));
        if waiting.len() >= LOBBY
            && let Some(oldest) = waiting.remove(0).upgrade()
        {
            oldest.evicted.cancel();
        }
        waiting.push(Arc::downgrade(door));
    }
}

/// The password of `Basic`; the user's name says nothing.
fn basic(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    let (scheme, pair) = text.split_once(' ')?;
    let pair = scheme.eq_ignore_ascii_case("basic").then_some(pair)?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(pair.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, token)| token.to_owned())
}

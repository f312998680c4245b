//! A connection of a session: whose it is.
//!
//! A connection belongs to one pass. At the listener of a session's own it does so from the start; at the
//! shared one from the first request that carries a valid token, and it has to carry one soon.

use super::provider::Slot;
use super::upstream::{Answer, json_error, text};
use super::{Core, Live, git, model};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Weak};
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
    /// Whether a request has come.
    asked: SetOnce<()>,
    /// Ends a connection that belongs to nobody.
    evicted: CancellationToken,
}

/// Whose connection it is, and its place among theirs.
struct Bound {
    live: Arc<Live>,
    _place: OwnedSemaphorePermit,
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
        place: OwnedSemaphorePermit,
    ) -> Self {
        let bound = Bound { live, _place: place };
        Self {
            core,
            port,
            shared: false,
            bound: SetOnce::new_with(Some(bound)),
            asked: SetOnce::new(),
            evicted: CancellationToken::new(),
        }
    }

    /// A connection to the shared listener.
    pub(super) fn shared(core: Arc<Core>, port: u16) -> Self {
        Self {
            core,
            port,
            shared: true,
            bound: SetOnce::new(),
            asked: SetOnce::new(),
            evicted: CancellationToken::new(),
        }
    }

    /// Whether it belongs to nobody yet.
    fn is_unbound(&self) -> bool {
        self.bound.get().is_none()
    }

    /// Notes that a request has come.
    pub(super) fn note_request(&self) {
        // Only the first one counts.
        let _ = self.asked.set(());
    }

    /// When it has to end: its pass has ended, no request came in time, or it belongs to nobody and others
    /// come.
    pub(super) async fn disowned(&self) {
        let first = async {
            if self.shared {
                self.bound.wait().await;
            } else {
                self.asked.wait().await;
            }
        };
        let ended = async { self.bound.wait().await.live.end.cancelled().await };
        let silent = async {
            if tokio::time::timeout(self.core.times.first, first).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = ended => {}
            () = silent => {}
            () = self.evicted.cancelled() => {}
        }
    }

    /// Makes the connection this pass's, if it is nobody else's.
    fn bind(&self, live: Arc<Live>) -> Result<Arc<Live>, Turned> {
        if let Some(bound) = self.bound.get() {
            return if Arc::ptr_eq(&bound.live, &live) {
                Ok(live)
            } else {
                let line = "this connection belongs to another session; open one of your own";
                Err(closing(text(StatusCode::FORBIDDEN, line)))
            };
        }
        let Ok(place) = live.places.clone().try_acquire_owned() else {
            let line = "this session has too many connections open; close some and try again";
            return Err(closing(text(StatusCode::SERVICE_UNAVAILABLE, line)));
        };
        let bound = Bound { live: live.clone(), _place: place };
        // Requests of one connection come one after the other.
        let _ = self.bound.set(bound);
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
                Err(closing(answer))
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
                Err(closing(json_error(StatusCode::UNAUTHORIZED, message)))
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
            None => Err(closing(git::unauthenticated())),
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

/// The last answer of a connection.
pub(super) fn closing(mut answer: Answer) -> Turned {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    Box::new(answer)
}

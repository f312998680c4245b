//! A connection of a session, and its credential.
//!
//! A connection has one credential. At a session's own listener it has it from the start; at the shared listener
//! its request has to carry a valid token soon.

use super::permits::RequestPermit;
use super::provider::Slot;
use super::upstream::{ProxyResponse, json_error, text};
use super::{Core, CredentialState, git, model};
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

/// Most connections without a credential.
const MOST_UNBOUND: usize = 256;

/// The response to a request that is refused.
pub(super) type Refused = Box<ProxyResponse>;

/// A connection, from its side of the session.
pub(super) struct Connection {
    pub(super) core: Arc<Core>,
    /// The port that was connected to: requests may name it.
    port: u16,
    /// Whether it came by the shared listener, so that its request has to carry a token.
    shared: bool,
    bound: SetOnce<Bound>,
    /// From its first byte, or from its credential, to the end of its request.
    permit: Mutex<Option<RequestPermit>>,
    /// Ends a connection without a credential.
    evicted: CancellationToken,
}

/// The credential of a connection, and its permit among the connections of that credential.
struct Bound {
    live: Arc<CredentialState>,
    _permit: OwnedSemaphorePermit,
}

/// Connections to the shared listener that have no credential yet.
#[derive(Default)]
pub(super) struct UnboundConnections(Mutex<Vec<Weak<Connection>>>);

impl Connection {
    /// A connection to a session's own listener.
    pub(super) fn own(
        core: Arc<Core>,
        port: u16,
        live: Arc<CredentialState>,
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
            permit: Mutex::default(),
            evicted: CancellationToken::new(),
        }
    }

    /// Whether it has no credential yet.
    fn is_unbound(&self) -> bool {
        self.bound.get().is_none()
    }

    /// Waits until it has to end: its credential has ended, or it has none and others come.
    pub(super) async fn wait_for_end(&self) {
        let ended = async { self.bound.wait().await.live.end.cancelled().await };
        tokio::select! {
            () = ended => {}
            () = self.evicted.cancelled() => {}
        }
    }

    /// Waits until a request comes and there is a permit for it. Until then the connection holds no bytes.
    /// False when no byte came in time. At the shared listener the session is not known yet, so the number of
    /// such connections has a bound of its own instead.
    pub(super) async fn wait_for_permit(&self, socket: &TcpStream) -> bool {
        let Some(bound) = self.bound.get() else {
            return true;
        };
        let first = tokio::time::timeout(self.core.times.head, socket.readable());
        if !matches!(first.await, Ok(Ok(()))) {
            return false;
        }
        let permit = bound.live.places.acquire().await;
        *self.permit.lock() = Some(permit);
        true
    }

    /// Waits for a place for its request again.
    pub(super) async fn acquire_permit(&self, live: &CredentialState) {
        let permit = live.places.acquire().await;
        *self.permit.lock() = Some(permit);
    }

    /// Its permit, for the owner of the last bytes of the request.
    pub(super) fn take_permit(&self) -> Option<RequestPermit> {
        self.permit.lock().take()
    }

    /// Gives the connection this credential, if it has no other.
    fn bind(&self, live: Arc<CredentialState>) -> Result<Arc<CredentialState>, Refused> {
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
        let request = live.places.try_acquire().ok_or_else(|| {
            busy(
                "there is no place for a further request of this session now; try again, or the server's operator can raise `egress.own_requests` or `egress.requests`",
            )
        })?;
        *self.permit.lock() = Some(request);
        // There is one request at a time.
        let _ = self.bound.set(Bound { live: live.clone(), _permit: permit });
        Ok(live)
    }

    /// The credential of a request to the proxy.
    pub(super) fn proxy_user(&self, headers: &HeaderMap) -> Result<Arc<CredentialState>, Refused> {
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

    /// The credential of a request to a model, and where the token stood.
    pub(super) fn model_user(
        &self,
        request: &Request<Incoming>,
    ) -> Result<(Arc<CredentialState>, Slot), Refused> {
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

    /// The credential of a request to a repository.
    pub(super) fn git_user(&self, headers: &HeaderMap) -> Result<Arc<CredentialState>, Refused> {
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

    /// Whether a URI names the address of the proxy itself.
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

impl UnboundConnections {
    /// Adds a connection. Where there are too many, the oldest ends: a session presents its token at once.
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        let mut waiting = self.0.lock();
        waiting.retain(|connection| {
            connection.upgrade().is_some_and(|connection| connection.is_unbound())
        });
        if waiting.len() >= MOST_UNBOUND
            && let Some(oldest) = waiting.remove(0).upgrade()
        {
            oldest.evicted.cancel();
        }
        waiting.push(Arc::downgrade(connection));
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

//! One connection of a session: who it is, and what is done with each of its requests.
//!
//! A connection belongs to one pass. At the listener of a session's own it does so from the start; at the
//! shared one from the first request that carries a valid token, and it has to carry one soon.

use super::git::{self, GitRoute};
use super::policy::{Target, Unreadable};
use super::reach::Unreached;
use super::refusal::Refusal;
use super::route::{ModelRoute, Route, Slot};
use super::upstream::{Answer, Body, json_error, strip, text};
use super::{Core, Live, model, tunnel};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, Weak};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, SetOnce};
use tokio_util::sync::CancellationToken;

/// Longest head of a request.
const HEAD: usize = 64 * 1024;

/// A connection, from its side of the session.
pub(super) struct Door {
    core: Arc<Core>,
    /// The port that was connected to: requests may name it.
    port: u16,
    /// Whether who connects still has to say who it is.
    shared: bool,
    bound: SetOnce<Bound>,
    /// Ends a connection that belongs to nobody.
    pub(super) evicted: CancellationToken,
}

/// Whose connection it is, and its place among theirs.
struct Bound {
    live: Arc<Live>,
    _place: OwnedSemaphorePermit,
}

/// What a connection is used for after its last request.
enum Next {
    Tunnel(OnUpgrade, TcpStream),
    /// A client that tunnels even to where it is: what comes through the tunnel are requests to us.
    Here(OnUpgrade),
}

type Slate = Arc<Mutex<Option<Next>>>;

impl Door {
    /// A connection to a session's own listener.
    pub(super) fn own(
        core: Arc<Core>,
        port: u16,
        live: Arc<Live>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let bound = Bound {
            live,
            _place: place,
        };
        Self {
            core,
            port,
            shared: false,
            bound: SetOnce::new_with(Some(bound)),
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
            evicted: CancellationToken::new(),
        }
    }

    /// Whether it belongs to nobody yet.
    pub(super) fn is_unbound(&self) -> bool {
        self.bound.get().is_none()
    }

    /// Serves until either side ends it, or whoever it belongs to is gone.
    pub(super) async fn attend(self: Arc<Self>, socket: TcpStream) {
        let _ = socket.set_nodelay(true);
        let served = serve(self.clone(), TokioIo::new(socket));
        tokio::select! {
            () = served => {}
            () = self.disowned() => {}
        }
    }

    /// When there is nobody whose connection it is: the pass has ended, or nobody has shown one in time.
    async fn disowned(&self) {
        let bound = tokio::select! {
            bound = tokio::time::timeout(self.core.times.bind, self.bound.wait()) => bound,
            () = self.evicted.cancelled() => return,
        };
        if let Ok(bound) = bound {
            bound.live.end.cancelled().await;
        }
    }

    /// Makes the connection this pass's, if it is nobody else's.
    fn bind(&self, live: Arc<Live>) -> Result<Arc<Live>, Answer> {
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
        let bound = Bound {
            live: live.clone(),
            _place: place,
        };
        // Requests of one connection come one after the other.
        let _ = self.bound.set(bound);
        Ok(live)
    }

    /// Whose request to the proxy this is.
    fn proxy_user(&self, headers: &HeaderMap) -> Result<Arc<Live>, Answer> {
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
    fn model_user(&self, request: &Request<Incoming>) -> Result<(Arc<Live>, Slot), Answer> {
        let presented = model::presented(request);
        let found = presented.into_iter().find_map(|(slot, key)| {
            let live = self.core.find(&key)?;
            let own = self.shared
                || self
                    .bound
                    .get()
                    .is_some_and(|bound| Arc::ptr_eq(&bound.live, &live));
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
    fn git_user(&self, headers: &HeaderMap) -> Result<Arc<Live>, Answer> {
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

    async fn answer(&self, slate: &Slate, request: Request<Incoming>) -> Answer {
        let answered = if request.method() == Method::CONNECT {
            self.connect(slate, request).await
        } else if request.uri().scheme().is_some() && !self.is_here(request.uri()) {
            self.forward(request).await
        } else {
            self.route(request).await
        };
        answered.unwrap_or_else(|refused| refused)
    }

    /// `CONNECT host:port`
    async fn connect(&self, slate: &Slate, request: Request<Incoming>) -> Result<Answer, Answer> {
        let live = self.proxy_user(request.headers())?;
        let authority = request
            .uri()
            .authority()
            .map_or("", |authority| authority.as_str());
        let next = if self.is_here(request.uri()) {
            Next::Here(hyper::upgrade::on(request))
        } else {
            let target = Target::parse(authority, None);
            let target = permitted(&live, authority, target)?;
            let far = self.core.reach(&target).await;
            let far = far.map_err(|why| unreached(&live, &target, &why))?;
            Next::Tunnel(hyper::upgrade::on(request), far)
        };
        *slate.lock().expect("nothing panics with the slate") = Some(next);
        Ok(Response::new(empty()))
    }

    /// `GET http://host/path`
    async fn forward(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let live = self.proxy_user(request.headers())?;
        let uri = request.uri().clone();
        if uri.scheme_str() != Some("http") {
            let line = "only http is forwarded; anything else is tunnelled with CONNECT";
            return Err(text(StatusCode::BAD_REQUEST, line));
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let target = permitted(&live, authority, Target::parse(authority, Some(80)))?;
        let far = self.core.reach(&target).await;
        let far = far.map_err(|why| unreached(&live, &target, &why))?;
        let failed = |error: hyper::Error| {
            text(
                StatusCode::BAD_GATEWAY,
                &format!("{target} could not be asked: {error}"),
            )
        };
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(far)).await;
        let (mut sender, connection) = shaken.map_err(failed)?;
        let end = live.end.clone();
        self.core.tasks.spawn(async move {
            tokio::select! {
                _ = connection => {}
                () = end.cancelled() => {}
            }
        });
        let (mut parts, body) = request.into_parts();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path.parse().unwrap_or_default();
        strip(&mut parts.headers);
        // What the rules were asked about is what the server there is asked for.
        let host = HeaderValue::try_from(authority).expect("an authority fits into a header");
        parts.headers.insert(HOST, host);
        parts.version = hyper::Version::HTTP_11;
        let asked = sender.send_request(Request::from_parts(parts, body));
        let answered = tokio::time::timeout(self.core.times.idle, asked).await;
        let line = format!("{target} does not answer");
        let mut answer = answered
            .map_err(|_| text(StatusCode::GATEWAY_TIMEOUT, &line))?
            .map_err(failed)?;
        strip(answer.headers_mut());
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    /// A request to the proxy itself.
    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let path = request.uri().path().to_owned();
        let upstream = &self.core.upstream;
        if let Some((name, rest)) = under(&path, "/model/") {
            let (live, slot) = self.model_user(&request)?;
            let Some(route) = models(&live).find(|route| route.provider().name == name) else {
                let message = "this session has no such route to a model";
                return Err(json_error(StatusCode::NOT_FOUND, message));
            };
            let counted = &live.counted;
            return Ok(model::forward(upstream, route, rest, slot, request, counted).await);
        }
        if let Some((host, rest)) = under(&path, "/git/") {
            let live = self.git_user(request.headers())?;
            let routes = repositories(&live);
            let answered = git::forward(upstream, routes, host, rest, request).await;
            return answered.map_err(|refusal| refused(&live, &refusal));
        }
        let line = "this is the way out of a session: a proxy for HTTP and HTTPS";
        Err(text(StatusCode::NOT_FOUND, line))
    }

    /// Whether a URI names the place that was connected to.
    fn is_here(&self, uri: &Uri) -> bool {
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

/// Requests, and what comes after the last of them.
async fn serve(door: Arc<Door>, socket: TokioIo<TcpStream>) {
    let Some(next) = requests(&door, socket).await else {
        return;
    };
    let (upgrade, far) = match next {
        Next::Tunnel(upgrade, far) => (upgrade, Some(far)),
        Next::Here(upgrade) => (upgrade, None),
    };
    let Ok(upgraded) = upgrade.await else {
        return;
    };
    match far {
        Some(far) => {
            let near: Result<_, Upgraded> = upgraded.downcast::<TokioIo<TcpStream>>();
            if let Ok(near) = near {
                let idle = door.core.times.idle;
                let _ = tunnel::carry(near.io.into_inner(), far, near.read_buf, idle).await;
            }
        }
        // A tunnel within the tunnel has nothing to say.
        None => drop(requests(&door, upgraded).await),
    }
}

async fn requests<I>(door: &Arc<Door>, io: I) -> Option<Next>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let slate = Slate::default();
    let service = service_fn(|request| {
        let (door, slate) = (door.clone(), slate.clone());
        async move { Ok::<_, Infallible>(door.answer(&slate, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.core.times.head)
        .max_buf_size(HEAD)
        .serve_connection(io, service)
        .with_upgrades();
    let _ = Box::pin(connection).await;
    slate.lock().expect("nothing panics with the slate").take()
}

/// The destination, if the session's rules permit it.
fn permitted(
    live: &Live,
    text: &str,
    target: Result<Target, Unreadable>,
) -> Result<Target, Answer> {
    let target = target.map_err(|what| refused(live, &Refusal::unreadable(text, &what)))?;
    if live.policy.permits(&target) {
        Ok(target)
    } else {
        let key = &live.policy.key;
        Err(refused(live, &Refusal::not_allowed(&target, key)))
    }
}

fn refused(live: &Live, refusal: &Refusal) -> Answer {
    live.refusals.note(refusal);
    text(StatusCode::FORBIDDEN, &refusal.advice)
}

fn unreached(live: &Live, target: &Target, why: &Unreached) -> Answer {
    let status = match why {
        Unreached::Inner => return refused(live, &Refusal::inner(target)),
        Unreached::Unresolved | Unreached::Failed(_) => StatusCode::BAD_GATEWAY,
        Unreached::Late(_) => StatusCode::GATEWAY_TIMEOUT,
    };
    text(status, &format!("{target} could not be reached: {why}"))
}

/// The name after a prefix, and the rest after it.
fn under<'a>(path: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let rest = path.strip_prefix(prefix)?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

fn models(live: &Live) -> impl Iterator<Item = &ModelRoute> {
    live.policy.routes.iter().filter_map(|route| match route {
        Route::Model(route) => Some(route),
        Route::Git(_) => None,
    })
}

fn repositories(live: &Live) -> impl Iterator<Item = &GitRoute> {
    live.policy.routes.iter().filter_map(|route| match route {
        Route::Git(route) => Some(route),
        Route::Model(_) => None,
    })
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
fn closing(mut answer: Answer) -> Answer {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}

fn empty() -> Body {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Connections to the shared listener that belong to nobody yet.
#[derive(Default)]
pub(super) struct Lobby(Mutex<Vec<Weak<Door>>>);

/// As many may be there.
const LOBBY: usize = 256;

impl Lobby {
    /// Takes one in. Where there are too many, the one that has been silent longest has to go: whoever
    /// means it says so at once.
    pub(super) fn enter(&self, door: &Arc<Door>) {
        let mut waiting = self.0.lock().expect("nothing panics with the lobby");
        waiting.retain(|door| door.upgrade().is_some_and(|door| door.is_unbound()));
        if waiting.len() >= LOBBY
            && let Some(oldest) = waiting.remove(0).upgrade()
        {
            oldest.evicted.cancel();
        }
        waiting.push(Arc::downgrade(door));
    }
}

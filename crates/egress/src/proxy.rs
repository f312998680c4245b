//! The request of a connection, and what is done with it.

use super::connection::{Connection, Refused};
use super::git::{self, GitRoute};
use super::policy::{Host, Target, Unreadable};
use super::question::HostAnswer;
use super::reach::Unreached;
use super::refusal::Refusal;
use super::route::{ModelRoute, Route};
use super::upstream::{Body, ProxyResponse, check_answer, has_stray_body, json_error, strip, text};
use super::{BUFFER, CredentialState, model, telemetry, tunnel};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpStream;

/// What a connection is used for after its request.
enum AfterRequest {
    Tunnel(OnUpgrade, TcpStream),
    /// A client that tunnels even to where it is: what comes through the tunnel is a request to us.
    RequestToProxy(OnUpgrade),
}

type Upgrade = Arc<Mutex<Option<AfterRequest>>>;

impl Connection {
    /// Serves until either side ends it, or whoever it belongs to is gone.
    pub(super) async fn attend(self: Arc<Self>, socket: TcpStream) {
        let _ = socket.set_nodelay(true);
        tokio::select! {
            () = serve(&self, socket) => {}
            () = self.wait_for_end() => {}
        }
    }

    async fn answer(&self, upgrade: &Upgrade, request: Request<Incoming>) -> ProxyResponse {
        if has_stray_body(&request) {
            let line = format!("a {} request has no body; send it without", request.method());
            return text(StatusCode::BAD_REQUEST, &line);
        }
        let answered = if request.method() == Method::CONNECT {
            self.connect(upgrade, request).await
        } else if request.uri().scheme().is_some() && !self.is_here(request.uri()) {
            self.forward(request).await
        } else {
            self.route(request).await
        };
        answered.unwrap_or_else(|refused| *refused)
    }

    /// `CONNECT host:port`
    async fn connect(
        &self,
        upgrade: &Upgrade,
        request: Request<Incoming>,
    ) -> Result<ProxyResponse, Refused> {
        let live = self.proxy_user(request.headers())?;
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        let next = if self.is_here(request.uri()) {
            AfterRequest::RequestToProxy(hyper::upgrade::on(request))
        } else {
            let target = Target::parse(authority, None);
            let target = self.check_permitted(&live, authority, target).await?;
            let far = self.core.reach(&live.policy, &target).await;
            let far = far.map_err(|why| explain_unreached(&live, &target, &why))?;
            AfterRequest::Tunnel(hyper::upgrade::on(request), far)
        };
        *upgrade.lock() = Some(next);
        Ok(Response::new(empty()))
    }

    /// `GET http://host/path`
    async fn forward(&self, request: Request<Incoming>) -> Result<ProxyResponse, Refused> {
        let live = self.proxy_user(request.headers())?;
        let uri = request.uri().clone();
        if uri.scheme_str() != Some("http") {
            let line = "only http is forwarded; anything else is tunnelled with CONNECT";
            return Err(Box::new(text(StatusCode::BAD_REQUEST, line)));
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let target = Target::parse(authority, Some(80));
        let target = self.check_permitted(&live, authority, target).await?;
        let far = self.core.reach_for_request(&live.policy, &target).await;
        let far = far.map_err(|why| explain_unreached(&live, &target, &why))?;
        let failed = |error: hyper::Error| {
            let line = format!("{target} could not be asked: {error}");
            Box::new(text(StatusCode::BAD_GATEWAY, &line))
        };
        let mut client = hyper::client::conn::http1::Builder::new();
        let shaken = client.max_buf_size(BUFFER).handshake(TokioIo::new(far.stream)).await;
        let (mut sender, connection) = shaken.map_err(failed)?;
        let end = live.end.clone();
        self.core.tasks.spawn(async move {
            tokio::select! {
                _ = connection => {}
                () = end.cancelled() => {}
            }
        });
        let (mut parts, body) = request.into_parts();
        strip(&mut parts.headers);
        match &far.proxy {
            None => {
                let path = uri.path_and_query().map_or("/", |path| path.as_str());
                parts.uri = path.parse().unwrap_or_default();
            }
            Some(proxy) => {
                let value = proxy.authorization();
                parts.headers.extend(value.map(|value| (PROXY_AUTHORIZATION, value)));
            }
        }
        // What the rules were asked about is what the server there is asked for.
        let host = HeaderValue::try_from(authority).expect("an authority fits into a header");
        parts.headers.insert(HOST, host);
        parts.version = Version::HTTP_11;
        let asked = sender.send_request(Request::from_parts(parts, body));
        let answered = tokio::time::timeout(self.core.times.idle, asked).await;
        let line = format!("{target} does not answer");
        let mut answer = answered
            .map_err(|_| Box::new(text(StatusCode::GATEWAY_TIMEOUT, &line)))?
            .map_err(failed)?;
        check_answer(answer.status()).map_err(|what| {
            let line = format!("{target} could not be asked: {what}");
            Box::new(text(StatusCode::BAD_GATEWAY, &line))
        })?;
        strip(answer.headers_mut());
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    /// The destination, if the session's rules permit it, or a person does who is asked.
    async fn check_permitted(
        &self,
        live: &Arc<CredentialState>,
        text: &str,
        target: Result<Target, Unreadable>,
    ) -> Result<Target, Refused> {
        let target = target.map_err(|what| refuse(live, &Refusal::unreadable(text, &what)))?;
        if live.policy.permits(&target) {
            return Ok(target);
        }
        if live.policy.asks_about(&target) {
            // No answer would open an inner network. A name is not resolved before a person allows it.
            if let Host::Address(address) = target.host
                && !self.core.may_reach(address.to_canonical())
            {
                return Err(refuse(live, &Refusal::inner(&target)));
            }
            // A request that waits for a person leaves its place to others, to the session's model above all.
            drop(self.take_permit());
            let answer = live.questions.ask(&target).await;
            self.acquire_permit(live).await;
            match answer {
                HostAnswer::Allow => return Ok(target),
                HostAnswer::Deny(reason) => {
                    return Err(refuse(live, &Refusal::denied(&target, &reason)));
                }
                HostAnswer::None => {}
            }
        }
        let key = &live.policy.key;
        Err(refuse(live, &Refusal::not_allowed(&target, key)))
    }

    /// A request to the proxy itself.
    async fn route(&self, request: Request<Incoming>) -> Result<ProxyResponse, Refused> {
        let path = request.uri().path().to_owned();
        if let Some((name, rest)) = under(&path, "/model/") {
            let (live, slot) = self.model_user(&request)?;
            let Some(route) = models(&live).find(|route| route.provider().name == name) else {
                let message = "this session has no such route to a model";
                return Err(Box::new(json_error(StatusCode::NOT_FOUND, message)));
            };
            let (upstream, counted) = (&live.upstream, &live.counted);
            let watch = self.core.watch.get().map(|watch| &**watch);
            let way = (rest, slot);
            return Ok(model::forward(upstream, watch, route, way, request, counted).await);
        }
        if let Some((host, rest)) = under(&path, "/git/") {
            let live = self.git_user(request.headers())?;
            let routes = repositories(&live);
            let routes = (routes, live.pushes.get());
            let answered = git::forward(&live.upstream, routes, host, rest, request).await;
            return answered.map_err(|refusal| refuse(&live, &refusal));
        }
        if let Some((signal, "")) = under(&path, "/otlp/v1/") {
            let (live, _) = self.model_user(&request)?;
            let Some(receiver) = live.telemetry.get() else {
                let line = "the telemetry of this session goes nowhere";
                return Err(Box::new(text(StatusCode::NOT_FOUND, line)));
            };
            let patience = self.core.times.head;
            return Ok(telemetry::receive(&**receiver, signal, request, patience).await);
        }
        let line = "this is the way out of a session: a proxy for HTTP and HTTPS";
        Err(Box::new(text(StatusCode::NOT_FOUND, line)))
    }
}

/// A request, and what comes after it.
async fn serve(connection: &Arc<Connection>, socket: TcpStream) {
    if !connection.wait_for_permit(&socket).await {
        return;
    }
    // In boxes: a connection that waits takes little memory, and so does a tunnel.
    let Some((near, early, far)) = Box::pin(requests(connection, socket)).await else {
        return;
    };
    let early = (early, connection.take_permit());
    let _ = Box::pin(tunnel::carry(&near, &far, early, connection.core.times.idle)).await;
}

/// Answers the request; returns both sides of the tunnel that it has asked for, and the bytes that came for it
/// already.
async fn requests(
    connection: &Arc<Connection>,
    socket: TcpStream,
) -> Option<(TcpStream, Bytes, TcpStream)> {
    match request(connection, TokioIo::new(socket)).await? {
        AfterRequest::Tunnel(upgrade, far) => {
            let near = upgrade.await.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
            Some((near.io.into_inner(), near.read_buf, far))
        }
        // A tunnel within the tunnel has nothing to say.
        AfterRequest::RequestToProxy(upgrade) => {
            request(connection, upgrade.await.ok()?).await;
            None
        }
    }
}

/// Answers one request; what comes after it. On loopback a connection costs less than what it holds while it
/// waits for a further request.
async fn request<I>(connection: &Arc<Connection>, io: I) -> Option<AfterRequest>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let upgrade = Upgrade::default();
    let service = service_fn(|request| {
        let (connection, upgrade) = (connection.clone(), upgrade.clone());
        async move { Ok::<_, Infallible>(connection.answer(&upgrade, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(connection.core.times.head)
        .keep_alive(false)
        .max_buf_size(BUFFER)
        .serve_connection(io, service)
        .with_upgrades();
    let _ = connection.await;
    upgrade.lock().take()
}

fn refuse(live: &CredentialState, refusal: &Refusal) -> Refused {
    live.refusals.note(refusal);
    Box::new(text(StatusCode::FORBIDDEN, &refusal.advice))
}

fn explain_unreached(live: &CredentialState, target: &Target, why: &Unreached) -> Refused {
    let status = match why {
        Unreached::Inner => return refuse(live, &Refusal::inner(target)),
        Unreached::Unresolved | Unreached::Failed(_) | Unreached::Proxy(_) => {
            StatusCode::BAD_GATEWAY
        }
        Unreached::Late(_) => StatusCode::GATEWAY_TIMEOUT,
    };
    let line = format!("{target} could not be reached: {why}");
    Box::new(text(status, &line))
}

/// The name after a prefix, and the rest after it.
fn under<'a>(path: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let rest = path.strip_prefix(prefix)?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

fn models(live: &CredentialState) -> impl Iterator<Item = &ModelRoute> {
    live.policy.routes.iter().filter_map(|route| match route {
        Route::Model(route) => Some(route),
        Route::Git(_) => None,
    })
}

fn repositories(live: &CredentialState) -> impl Iterator<Item = &GitRoute> {
    live.policy.routes.iter().filter_map(|route| match route {
        Route::Git(route) => Some(route),
        Route::Model(_) => None,
    })
}

/// A body of no bytes.
pub(super) fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

//! What requests through a route have in common: the client that sends them, which headers stay behind,
//! and that no path leaves the upstream's own.

use super::BUFFER;
use super::network::{Connector, Network};
use super::no_answer::NoAnswer;
use crate::guard::{Lookup, System};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use reqwest::Url;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tower_http::timeout::TimeoutBody;
use tower_service::Service;

/// Idle connections that a session keeps to one upstream, and for how long. More than a few requests at a time are
/// rare.
const KEPT: (usize, Duration) = (2, Duration::from_secs(30));

/// UpstreamNames of upstreams that are looked up at a time; each takes a thread.
pub const LOOKUPS: usize = 16;

/// A session can make an upstream fail as often as it likes.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(10);

/// Headers that are between two neighbours alone (RFC 9110, 7.6.1), beside those that `connection` names.
const BETWEEN_NEIGHBOURS: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A body on its way to a session.
pub(super) type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// What a session is answered.
pub(super) type ProxyResponse = Response<Body>;

/// The connections of one session to its upstreams; they end with it. No request of another session goes over
/// them: an upstream, or a gateway before it, that loses count of requests gives the next request the answer to
/// an earlier one.
pub(super) struct Upstream {
    connect: Duration,
    idle: Duration,
    plain: OnceLock<Result<UpstreamClient, String>>,
    secure: OnceLock<Result<UpstreamClient, String>>,
    common: Arc<SharedUpstreams>,
}

/// Its connections hold little, however fast one side is and however slow the other.
type UpstreamClient = Client<Patient, Body>;

/// Connects, but not for longer than this.
#[derive(Clone)]
struct Patient {
    connector: HttpsConnector<Connector>,
    patience: Duration,
}

/// Resolves the names of upstreams, so many at a time: they hold up neither what agents ask for nor the disk.
#[derive(Clone)]
pub(super) struct UpstreamNames(System);

impl Default for UpstreamNames {
    fn default() -> Self {
        Self(System::new(LOOKUPS))
    }
}

impl Service<Name> for UpstreamNames {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.0.lookup(name.as_str());
        Box::pin(async move {
            let found: Vec<_> =
                found.await?.into_iter().map(|address| (address, 0).into()).collect();
            Ok(found.into_iter())
        })
    }
}

/// What the ways of all sessions to their upstreams have in common: never a connection.
pub(super) struct SharedUpstreams {
    network: Arc<Network>,
    /// With the system's certificates, which take time and memory.
    tls: OnceLock<Result<ClientConfig, String>>,
    names: UpstreamNames,
    complained: Mutex<Option<Instant>>,
}

impl Upstream {
    pub(super) fn new(connect: Duration, idle: Duration, common: Arc<SharedUpstreams>) -> Self {
        Self { connect, idle, plain: OnceLock::new(), secure: OnceLock::new(), common }
    }

    /// Tells the operator, but not as often as sessions can make it happen.
    pub(super) fn complain(&self, line: &str) {
        let mut last = self.common.complained.lock();
        if last.is_none_or(|last| last.elapsed() >= BETWEEN_COMPLAINTS) {
            *last = Some(Instant::now());
            tracing::warn!("{line} (said once in {BETWEEN_COMPLAINTS:?})");
        }
    }

    /// Sends a request on as it comes; the answer comes as it is sent. Redirects are answers like others.
    ///
    /// # Errors
    ///
    /// Why there is no answer, without the URL.
    pub(super) async fn send(
        &self,
        url: Url,
        method: Method,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<ProxyResponse, NoAnswer> {
        let client = self.client(url.scheme() == "https")?;
        strip(&mut headers);
        for name in [HOST, EXPECT] {
            headers.remove(name);
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().map_err(|_| "its URL is none for HTTP")?;
        if url.scheme() == "http" {
            let host = url.host_str().unwrap_or_default();
            let port = url.port_or_known_default().unwrap_or(80);
            let proxy = self.common.network.proxy("http", host, port);
            if let Some(value) = proxy.and_then(|proxy| proxy.authorization()) {
                headers.insert(PROXY_AUTHORIZATION, value);
            }
        }
        *request.headers_mut() = headers;
        let answered = tokio::time::timeout(self.idle, client.request(request)).await;
        let answered = answered.map_err(|_| format!("no answer within {:?}", self.idle))?;
        let mut answer = answered.map_err(|error| NoAnswer::of(&error))?;
        check_answer(answer.status())?;
        strip(answer.headers_mut());
        Ok(answer.map(|body| TimeoutBody::new(self.idle, body).boxed_unsync()))
    }

    /// Made when it is first needed.
    fn client(&self, secure: bool) -> Result<UpstreamClient, String> {
        let kept = if secure { &self.secure } else { &self.plain };
        let made = kept.get_or_init(|| {
            let mut tcp = HttpConnector::new_with_resolver(self.common.names.clone());
            tcp.enforce_http(false);
            tcp.set_nodelay(true);
            let network = self.common.network.clone();
            let builder = HttpsConnectorBuilder::new();
            let builder = if secure {
                builder.with_tls_config(self.common.tls()?).https_only()
            } else {
                let none = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
                builder.with_tls_config(none.with_no_client_auth()).https_or_http()
            };
            // One request a connection: with HTTP/2 a session that does not read could hold up the others.
            let connector = builder.enable_http1().wrap_connector(Connector { tcp, network });
            let client = Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_max_idle_per_host(KEPT.0)
                .pool_idle_timeout(KEPT.1)
                .http1_max_buf_size(BUFFER)
                .build(Patient { connector, patience: self.connect });
            Ok(client)
        });
        made.clone()
    }
}

impl Service<Uri> for Patient {
    type Response = <HttpsConnector<Connector> as Service<Uri>>::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, patience) = (self.connector.call(uri), self.patience);
        Box::pin(async move {
            let connected = tokio::time::timeout(patience, connecting).await;
            connected.map_err(|_| format!("no connection within {patience:?}"))?
        })
    }
}

impl SharedUpstreams {
    pub(super) fn new(network: Arc<Network>) -> Self {
        let (names, complained) = (UpstreamNames::default(), Mutex::default());
        Self { network, tls: OnceLock::new(), names, complained }
    }

    /// How TLS is spoken, with the certificates that this network trusts; read when they are first needed.
    fn tls(&self) -> Result<ClientConfig, String> {
        let made = self.tls.get_or_init(|| {
            let roots = self.network.roots();
            if roots.is_empty() {
                let what = "https cannot be spoken without CA certificates; the server's operator must install them";
                return Err(what.to_owned());
            }
            Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
        });
        made.clone()
    }
}

/// Refuses an answer after which the connection would no longer speak HTTP: no upgrade is ever asked for.
pub(super) fn check_answer(status: StatusCode) -> Result<(), &'static str> {
    match status {
        StatusCode::SWITCHING_PROTOCOLS => Err("it switched protocols without being asked to"),
        _ => Ok(()),
    }
}

/// Whether a request has a body although its method gives a body no meaning (RFC 9110, 9.3). A server may ignore
/// it, and take its bytes for the next request.
pub(super) fn has_stray_body(request: &Request<Incoming>) -> bool {
    let takes_none = matches!(
        *request.method(),
        Method::GET
            | Method::HEAD
            | Method::DELETE
            | Method::OPTIONS
            | Method::TRACE
            | Method::CONNECT
    );
    takes_none && !request.body().is_end_stream()
}

/// Takes out what is between two neighbours alone.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in BETWEEN_NEIGHBOURS.iter().chain(&named) {
        // Its length belongs to the body, whatever somebody calls it.
        if *name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
}

/// The URL below a base; none where the path would lead out of it.
pub(super) fn below(base: &Url, path: &str, query: Option<&str>) -> Option<Url> {
    let trimmed = base.path().trim_end_matches('/');
    if !path.is_empty() && (!path.starts_with('/') || !stays_below(path)) {
        return None;
    }
    let mut url = base.clone();
    url.set_path(&format!("{trimmed}{path}"));
    url.set_query(query);
    let inside = url.path().strip_prefix(trimmed)?;
    (inside.is_empty() || inside.starts_with('/')).then_some(url)
}

/// Whether a path has no step upwards, however often its slashes and dots are encoded.
fn stays_below(path: &str) -> bool {
    let mut text = path.to_owned();
    for _ in 0..4 {
        let upwards = text
            .split(['/', '\\'])
            .any(|segment| matches!(segment.split(';').next(), Some("." | "..")));
        if upwards || text.bytes().any(|byte| byte < b' ') {
            return false;
        }
        match decoded(&text) {
            Some(once) if once == text => return true,
            Some(once) => text = once,
            None => return false,
        }
    }
    false
}

/// Percent-decoding, once; none where that is not text.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte == b'%'
            && let [high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// One line for people and programs that show it.
pub(super) fn text(status: StatusCode, line: &str) -> ProxyResponse {
    with_type(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// An error in a shape that the clients of all providers show.
pub(super) fn json_error(status: StatusCode, message: &str) -> ProxyResponse {
    let (kind, word) = match status.as_u16() {
        401 => ("authentication_error", "UNAUTHENTICATED"),
        403 => ("permission_error", "PERMISSION_DENIED"),
        404 => ("not_found_error", "NOT_FOUND"),
        400..=499 => ("invalid_request_error", "INVALID_ARGUMENT"),
        _ => ("api_error", "UNAVAILABLE"),
    };
    let error = serde_json::json!({
        "type": "error",
        "error": {"type": kind, "message": message, "code": status.as_u16(), "status": word},
    });
    with_type(status, "application/json", error.to_string())
}

fn with_type(status: StatusCode, kind: &'static str, body: String) -> ProxyResponse {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_for_https_takes_the_configuration_of_tls() {
        let (patience, common) =
            (Duration::from_secs(1), Arc::new(SharedUpstreams::new(Arc::default())));
        let upstream = Upstream::new(patience, patience, common);
        assert!(upstream.client(true).is_ok());
    }

    #[test]
    fn paths_are_appended_to_the_base() {
        let base = Url::parse("https://gateway.test/team/v1").unwrap();
        let url = |path, query| below(&base, path, query).map(|url| url.to_string());
        assert_eq!(
            url("/messages", Some("beta=true")).unwrap(),
            "https://gateway.test/team/v1/messages?beta=true"
        );
        assert_eq!(
            url("/models/a%2Fb:generate", None).unwrap(),
            "https://gateway.test/team/v1/models/a%2Fb:generate"
        );
        assert_eq!(url("", None).unwrap(), "https://gateway.test/team/v1");
        let base = Url::parse("https://gateway.test").unwrap();
        assert_eq!(below(&base, "//evil.test/x", None).unwrap().host_str(), Some("gateway.test"));
    }

    #[test]
    fn no_path_leads_out_of_the_base() {
        let base = Url::parse("https://gateway.test/team/v1").unwrap();
        for path in [
            "/../admin",
            "/..",
            "/a/../../admin",
            "/%2e%2e/admin",
            "/.%2E/admin",
            "/..%2fadmin",
            "/..%5cadmin",
            "/..\\admin",
            "/%252e%252e/admin",
            "/%25252e%25252e/admin",
            "/..;x/admin",
            "/./a",
            "x",
            "/a%00",
            "/%ff",
        ] {
            assert_eq!(below(&base, path, None), None, "{path}");
        }
    }

    #[test]
    fn what_is_between_neighbours_stays_between_them() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine, content-length"),
            ("x-mine", "1"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "websocket"),
            ("content-length", "3"),
            ("x-other", "2"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "x-other"]);
    }
}

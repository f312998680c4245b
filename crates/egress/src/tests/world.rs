//! What the tests need around an egress: names, upstreams, and clients that say exactly what they mean.

use super::super::*;
use crate::guard::LookupResult;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Nothing here takes longer.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// Names and their addresses.
pub(super) struct Names(BTreeMap<&'static str, Vec<IpAddr>>);

pub(super) use std::net::IpAddr;

impl Lookup for Names {
    fn lookup(&self, name: &str) -> LookupResult {
        let found = self.0.get(name).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)) })
    }
}

pub(super) struct World {
    pub(super) egress: Egress,
    /// The shared listener.
    pub(super) port: u16,
    pub(super) stop: CancellationToken,
    pub(super) tracker: TaskTracker,
}

pub(super) const TIMES: Times = Times {
    connect: Duration::from_secs(5),
    idle: Duration::from_secs(60),
    head: Duration::from_secs(10),
};

impl World {
    /// `here.test` is 127.0.0.1, the one inner address that may be reached.
    pub(super) async fn start() -> Self {
        Self::start_with(8, TIMES).await
    }

    pub(super) async fn start_with(connections: usize, times: Times) -> Self {
        Self::start_in(Network::default(), connections, times).await
    }

    /// With what this network has.
    pub(super) async fn start_in(network: Network, connections: usize, times: Times) -> Self {
        let names = [
            ("here.test", vec!["127.0.0.1"]),
            ("sub.here.test", vec!["127.0.0.1"]),
            ("inner.test", vec!["10.0.0.1"]),
            ("metadata.test", vec!["169.254.169.254"]),
            ("mixed.test", vec!["127.0.0.1", "10.0.0.1"]),
            ("mapped.test", vec!["::ffff:10.0.0.1"]),
            ("other-loopback.test", vec!["127.0.0.2"]),
        ];
        let parsed =
            |addresses: &Vec<&str>| addresses.iter().map(|one| one.parse().unwrap()).collect();
        let names = names.iter().map(|(name, all)| (*name, parsed(all))).collect();
        let inner = vec!["127.0.0.1/32".parse().unwrap()];
        let bounds = EgressBounds {
            connections,
            own_requests: 2,
            requests: 8,
            asking: 4,
            ask_wait: Duration::from_secs(60),
        };
        let egress = Egress::new(inner, bounds, Arc::new(Names(names)), network, times);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let port = egress.listen(&tracker, stop.clone()).await.unwrap();
        Self { egress, port, stop, tracker }
    }

    pub(super) fn credential(&self, allow: &[&str]) -> EgressCredential {
        self.credential_with(allow, Vec::new())
    }

    pub(super) fn credential_with(&self, allow: &[&str], routes: Vec<Route>) -> EgressCredential {
        self.egress.issue_credential(Arc::new(Policy {
            allow: allow.iter().map(|rule| rule.parse().unwrap()).collect(),
            routes,
            ask: Vec::new(),
            tool: Tool::Variables,
            key: "agents.a.egress.allow".to_owned(),
        }))
    }

    /// A server that says back what it hears, and a session that may reach it alone.
    pub(super) async fn credential_for_echo(&self) -> (String, EgressCredential) {
        let target = format!("here.test:{}", echo().await);
        let session = self.credential(&[&target]);
        (target, session)
    }

    /// A listener of this session alone.
    pub(super) async fn own(&self, session: &EgressCredential) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        session.serve(listener);
        port
    }
}

/// `Basic`, as a proxy or git is told it.
pub(super) fn basic(token: &str) -> String {
    let pair = base64::prelude::BASE64_STANDARD.encode(format!("session:{token}"));
    format!("Basic {pair}")
}

/// Opens a tunnel; the status, the text of a refusal, and the socket.
pub(super) async fn tunnel(
    port: u16,
    target: &str,
    token: Option<&str>,
) -> (u16, String, TcpStream) {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let credential = token
        .map_or_else(String::new, |token| format!("Proxy-Authorization: {}\r\n", basic(token)));
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credential}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let head = head(&mut socket).await;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.to_ascii_lowercase();
    let length = length
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    if status != 200 {
        socket.read_exact(&mut body).await.unwrap();
    }
    (status, String::from_utf8(body).unwrap().trim().to_owned(), socket)
}

/// The head of an answer, and no byte more.
pub(super) async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(LONG, socket.read_u8()).await.unwrap();
        head.push(byte.unwrap_or_else(|error| panic!("{error} after {head:?}")));
    }
    String::from_utf8(head).unwrap()
}

/// One request on a connection of its own.
pub(super) async fn ask(
    port: u16,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> (u16, HeaderMap, Bytes) {
    let answer = begin(port, method, uri, headers, body).await;
    let (parts, body) = answer.into_parts();
    let body = tokio::time::timeout(LONG, body.collect()).await.unwrap();
    (parts.status.as_u16(), parts.headers, body.unwrap().to_bytes())
}

/// The same, whose body is not read yet.
pub(super) async fn begin(
    port: u16,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response<Incoming> {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = shaken.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let asked = tokio::time::timeout(LONG, sender.send_request(request)).await;
    asked.unwrap().unwrap()
}

/// What an upstream was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) type Sent = Response<BoxBody<Bytes, io::Error>>;

/// A server that notes what it is asked and answers as the test says.
pub(super) struct Fake {
    pub(super) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(super) async fn start(answer: impl Fn(&Asked) -> Sent + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, notes) = (Arc::new(answer), asked.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, notes) = (answer.clone(), notes.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, notes) = (answer.clone(), notes.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let asked = Asked {
                            method: parts.method.to_string(),
                            uri: parts.uri.to_string(),
                            headers: parts.headers,
                            body: body.collect().await.unwrap().to_bytes(),
                        };
                        notes.lock().push(asked.clone());
                        // Some answers run a program.
                        let sent = tokio::task::spawn_blocking(move || answer(&asked)).await;
                        Ok::<_, Infallible>(sent.unwrap())
                    }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { port, asked }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}

/// An answer in one piece.
pub(super) fn full(status: u16, kind: &str, body: impl Into<Bytes>) -> Sent {
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(Full::new(body.into()).map_err(|never| match never {}).boxed())
        .unwrap()
}

/// A server on a port of loopback that does this with each connection.
pub(super) async fn serve<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket));
        }
    });
    port
}

/// A server that says back what it hears.
pub(super) async fn echo() -> u16 {
    serve(|mut socket| async move {
        let (mut reads, mut writes) = socket.split();
        let _ = tokio::io::copy(&mut reads, &mut writes).await;
    })
    .await
}

/// A URL on loopback at which nothing listens.
pub(super) fn closed_url() -> String {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    format!("http://{}", free.local_addr().unwrap())
}

/// Says something and hears it back.
pub(super) async fn echoes(socket: &mut TcpStream) {
    socket.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    socket.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
}

/// Waits for the other side to end.
pub(super) async fn ends(socket: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(LONG, socket.read_to_end(&mut rest)).await;
    let _ = read.expect("the connection ends");
}

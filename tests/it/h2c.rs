//! A gRPC client over HTTP/2 with prior knowledge: messages as bytes, statuses as they came.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// An answer whose messages are read as they come.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) http: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    runtime: Runtime,
    body: Incoming,
    buffer: Vec<u8>,
    trailers: HeaderMap,
    patience: Duration,
    /// Kept, so that the client does not close the connection.
    _sender: http2::SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// `grpc-status`.
    pub(crate) code: i32,
    /// `grpc-message`, without its escapes.
    pub(crate) message: String,
    /// `grpc-status-details-bin`, a `google.rpc.Status`.
    pub(crate) details: Vec<u8>,
}

/// A message in its frame: not compressed.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

/// Posts a body and waits for the head of the answer.
pub(crate) fn ask(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
    patience: Duration,
) -> Answer {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (response, sender, connection) = runtime.block_on(async {
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = request(address, path, headers, body);
        let response = timeout(patience, sender.send_request(request)).await;
        let response =
            response.unwrap_or_else(|_| panic!("no answer to {path} within {patience:?}")).unwrap();
        (response, sender, connection)
    });
    let (head, body) = response.into_parts();
    Answer {
        http: head.status.as_u16(),
        headers: head.headers,
        runtime,
        body,
        buffer: Vec::new(),
        trailers: HeaderMap::new(),
        patience,
        _sender: sender,
        connection,
    }
}

/// Posts many bodies at once over one connection: the statuses of the answers, in their order.
pub(crate) fn ask_at_once(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    bodies: Vec<Vec<u8>>,
    patience: Duration,
) -> Vec<i32> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = TcpStream::connect(address).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let asks = bodies.into_iter().map(|body| {
            let mut sender = sender.clone();
            let request = request(address, path, headers, body);
            async move {
                let response = sender.send_request(request).await.unwrap();
                let body = response.into_body().collect().await.unwrap();
                let status = &body.trailers().unwrap()["grpc-status"];
                status.to_str().unwrap().parse().unwrap()
            }
        });
        let all = futures_util::future::join_all(asks);
        timeout(patience, all).await.unwrap()
    })
}

/// Posts a body and closes the connection after so long, whatever has come by then.
pub(crate) fn ask_and_leave(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
    stay: Duration,
) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let _ = timeout(stay, sender.send_request(request(address, path, headers, body))).await;
    });
}

fn request(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Request<Full<Bytes>> {
    let mut request = Request::post(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from(body))).unwrap()
}

impl Answer {
    /// The next message; none at the end.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<5>() {
                assert_eq!(head[0], 0, "a message is compressed");
                let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.buffer.len() >= 5 + size {
                    let rest = self.buffer.split_off(5 + size);
                    let message = std::mem::replace(&mut self.buffer, rest);
                    return Some(message[5..].to_vec());
                }
            }
            let patience = self.patience;
            let frame = async { timeout(patience, self.body.frame()).await };
            let frame = self.runtime.block_on(frame);
            match frame.unwrap_or_else(|_| panic!("waited {patience:?} for a message")) {
                None => {
                    assert!(self.buffer.is_empty(), "the answer broke off");
                    return None;
                }
                Some(frame) => match frame.unwrap().into_data() {
                    Ok(data) => self.buffer.extend(data),
                    Err(frame) => self.trailers.extend(frame.into_trailers().unwrap()),
                },
            }
        }
    }

    /// Waits until the server has closed the connection; pings are answered meanwhile.
    pub(crate) fn await_close(self) {
        let closed = self.runtime.block_on(async { timeout(self.patience, self.connection).await });
        closed.expect("the server keeps the connection open").unwrap().unwrap();
    }

    /// All that still comes, and the status at the end.
    pub(crate) fn whole(mut self) -> (Vec<Vec<u8>>, Status) {
        let mut messages = Vec::new();
        while let Some(message) = self.next() {
            messages.push(message);
        }
        (messages, self.status())
    }

    /// The status at the end of the answer; an answer without a message has it in its headers.
    pub(crate) fn status(mut self) -> Status {
        while self.next().is_some() {}
        let found = |name: &str| {
            let value = self.trailers.get(name).or_else(|| self.headers.get(name));
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let code = found("grpc-status").unwrap_or_else(|| {
            let (http, headers) = (self.http, &self.headers);
            panic!("no grpc-status but HTTP {http} {headers:?}")
        });
        let details = found("grpc-status-details-bin").unwrap_or_default();
        Status {
            code: code.parse().unwrap(),
            message: unescaped(&found("grpc-message").unwrap_or_default()),
            details: STANDARD_NO_PAD.decode(details.trim_end_matches('=')).unwrap(),
        }
    }
}

impl Status {
    /// Reason and domain of its `google.rpc.ErrorInfo`.
    pub(crate) fn reason(&self) -> Option<(String, String)> {
        let details = fields(&self.details).filter(|(number, _)| *number == 3);
        let mut infos = details.filter_map(|(_, any)| {
            let kind = field(any, 1)?;
            kind.ends_with(b"google.rpc.ErrorInfo").then(|| field(any, 2))?
        });
        let info = infos.next()?;
        let text = |number| String::from_utf8(field(info, number)?.to_vec()).ok();
        Some((text(1)?, text(2)?))
    }
}

/// Text without percent escapes.
fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(out).unwrap()
}

/// The first field of this number that has a length.
fn field(message: &[u8], number: u64) -> Option<&[u8]> {
    let mut found = fields(message).filter(|(known, _)| *known == number);
    found.next().map(|(_, value)| value)
}

/// The fields of a protobuf message that have a length; numbers are skipped.
fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            let key = varint(&mut message)?;
            if key & 7 == 0 {
                varint(&mut message)?;
                continue;
            }
            assert_eq!(key & 7, 2, "a field of another kind");
            let size = usize::try_from(varint(&mut message)?).unwrap();
            let (value, rest) = message.split_at(size);
            message = rest;
            return Some((key >> 3, value));
        }
    })
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

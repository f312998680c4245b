//! A blocking HTTP client over a plain socket: one request a connection, every wait bounded.

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, bind, socket};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

/// A whole response.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The headers as they came.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// A response whose body is still to be read.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers as they came.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub(crate) body: BufReader<Body>,
}

/// The bytes of a body, whatever frames them.
pub(crate) struct Body {
    socket: BufReader<TcpStream>,
    framing: Framing,
}

enum Framing {
    Length(usize),
    Chunk(usize),
    UntilClose,
    Over,
}

/// Sends a request and reads the head of its answer.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    patience: Duration,
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let has = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    if !has("host") {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    if !has("content-length") && (!body.is_empty() || method == "POST") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Connection: close\r\n\r\n");
    let mut socket = connect(address, patience);
    socket.write_all(head.as_bytes()).unwrap();
    // A server that refuses early may close before it has read a large body.
    let _ = socket.write_all(body);
    read_head(socket)
        .unwrap_or_else(|error| panic!("no answer to {method} {path} within {patience:?}: {error}"))
}

/// A connection with this much patience for each read.
pub(crate) fn connect(address: SocketAddr, patience: Duration) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, patience).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.set_write_timeout(Some(patience)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// A connection that holds no more than the kernel must let it, so that who sends much has to wait.
pub(crate) fn connect_narrow(address: SocketAddr, patience: Duration) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_socket_recv_buffer_size(&socket, 1).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

/// A connection from this address of the machine.
pub(crate) fn connect_from(source: Ipv4Addr, address: SocketAddr, patience: Duration) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(source, 0)).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

/// A request whose nine bytes of body do not come; the server has begun to read them.
pub(crate) fn begin_body(
    address: SocketAddr,
    token: &str,
    request: &str,
    patience: Duration,
) -> TcpStream {
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    );
    let mut socket = connect(address, patience);
    socket.write_all(head.as_bytes()).unwrap();
    let mut told = [0; 25];
    socket.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket
}

/// The head of the answer that comes over a connection.
pub(crate) fn read_head(socket: TcpStream) -> std::io::Result<Answer> {
    let mut socket = BufReader::new(socket);
    let mut line = String::new();
    socket.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status =
        status.ok_or_else(|| std::io::Error::other(format!("no status line but {line:?}")))?;
    let mut headers: Vec<(String, String)> = Vec::new();
    loop {
        let mut line = String::new();
        socket.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => break,
        }
    }
    let header = |name: &str| {
        headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    };
    let framing = match (header("transfer-encoding"), header("content-length")) {
        (Some("chunked"), _) => Framing::Chunk(0),
        (_, Some(length)) => Framing::Length(length.parse().unwrap()),
        _ => Framing::UntilClose,
    };
    Ok(Answer {
        status,
        headers,
        body: BufReader::with_capacity(64 * 1024, Body { socket, framing }),
    })
}

impl Answer {
    /// Reads the rest.
    pub(crate) fn whole(mut self) -> Reply {
        let mut body = Vec::new();
        self.body.read_to_end(&mut body).unwrap();
        Reply { status: self.status, headers: self.headers, body }
    }

    /// A header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Reply {
    /// A header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match &mut self.framing {
                Framing::Over => return Ok(0),
                Framing::UntilClose => return self.socket.read(out),
                Framing::Length(0) => self.framing = Framing::Over,
                Framing::Length(left) => {
                    let most = out.len().min(*left);
                    let size = self.socket.read(&mut out[..most])?;
                    *left -= size;
                    return if size == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(size) };
                }
                Framing::Chunk(0) => {
                    let mut line = String::new();
                    self.socket.read_line(&mut line)?;
                    if line.trim().is_empty() {
                        self.socket.read_line(&mut line)?;
                    }
                    let size = line.trim().split(';').next().unwrap_or_default();
                    let size = usize::from_str_radix(size, 16).map_err(|_| {
                        std::io::Error::new(ErrorKind::UnexpectedEof, "the body broke off")
                    })?;
                    self.framing = if size == 0 { Framing::Over } else { Framing::Chunk(size) };
                }
                Framing::Chunk(left) => {
                    let most = out.len().min(*left);
                    let size = self.socket.read(&mut out[..most])?;
                    *left -= size;
                    return if size == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(size) };
                }
            }
        }
    }
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Its `id:`.
    pub(crate) id: Option<u64>,
    /// The `result` of its envelope; without an envelope all of it.
    pub(crate) result: Value,
}

/// The events of a stream, read as they come.
pub(crate) struct Events {
    body: BufReader<Body>,
    patience: Duration,
}

impl Events {
    /// The stream in this body.
    pub(crate) fn of(answer: Answer, patience: Duration) -> Self {
        Self { body: answer.body, patience }
    }

    /// The next event; none at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let until = Instant::now() + self.patience;
        let (mut id, mut data) = (None, String::new());
        loop {
            let mut line = String::new();
            let read = self.body.read_line(&mut line);
            let size = read
                .unwrap_or_else(|error| panic!("waited {:?} for an event: {error}", self.patience));
            assert!(
                Instant::now() < until,
                "waited {:?} for an event, only comments came",
                self.patience
            );
            if size == 0 {
                assert!(data.is_empty(), "the stream ended within an event: {data}");
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            match line.split_once(':') {
                Some(("id", value)) => id = value.trim().parse().ok(),
                Some(("data", value)) => data.push_str(value.trim_start()),
                None if line.is_empty() && !data.is_empty() => {
                    let mut envelope: Value = serde_json::from_str(&data).unwrap();
                    assert!(envelope.get("error").is_none(), "the stream says {envelope}");
                    let bare = envelope.get("jsonrpc").is_none();
                    let result = if bare { envelope } else { envelope["result"].take() };
                    return Some(Event { id, result });
                }
                _ => {}
            }
        }
    }

    /// The events up to the first that fits, which is the last of them.
    pub(crate) fn until(&mut self, what: &str, fits: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut seen = Vec::new();
        loop {
            let Some(event) = self.next() else {
                panic!("the stream ended before {what}: {seen:#?}")
            };
            seen.push(event);
            if fits(seen.last().unwrap()) {
                return seen;
            }
        }
    }

    /// All that still comes.
    pub(crate) fn rest(mut self) -> Vec<Event> {
        let mut seen = Vec::new();
        while let Some(event) = self.next() {
            seen.push(event);
        }
        seen
    }
}

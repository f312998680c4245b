//! As much of HTTP/1.1 as a model API needs: requests with bodies in, JSON and chunked streams out.

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// The largest body taken in, in bytes.
const BODY: usize = 64 << 20;
/// The largest head taken in, in bytes.
const HEAD: u64 = 64 << 10;

/// A request, read to its end.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// The method, in capitals.
    pub(crate) method: String,
    /// The path, without the query.
    pub(crate) path: String,
    /// The query, undecoded; empty where there is none.
    pub(crate) query: String,
    /// The credential: `x-api-key` or `x-goog-api-key`, else `authorization` without its scheme.
    pub(crate) key: String,
    /// Whether the client wants the connection closed afterwards.
    pub(crate) close: bool,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// What came next on a connection.
#[derive(Debug)]
pub(crate) enum Next {
    /// A request.
    Request(Request),
    /// A body above the limit; the connection cannot go on.
    TooLarge,
    /// The client has closed.
    End,
}

/// How a body is delimited.
enum Length {
    Bytes(usize),
    Chunked,
}

/// Reads the next request. Malformed input is an error: the connection ends.
pub(crate) fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Next> {
    let mut head = reader.by_ref().take(HEAD);
    let first = line(&mut head)?;
    if first.is_empty() {
        return Ok(Next::End);
    }
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0")) =
        (words.next(), words.next(), words.next())
    else {
        return Err(malformed("request line"));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        close: first.ends_with("1.0"),
        ..Request::default()
    };
    let (mut length, mut expects) = (Length::Bytes(0), false);
    loop {
        let field = line(&mut head)?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':').ok_or_else(|| malformed("header"))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                length = Length::Bytes(value.parse().map_err(|_| malformed("content-length"))?);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                length = Length::Chunked;
            }
            "connection" => request.close |= value.eq_ignore_ascii_case("close"),
            "expect" => expects = true,
            "x-api-key" | "x-goog-api-key" => request.key = value.to_owned(),
            "authorization" if request.key.is_empty() => {
                request.key = value.rsplit(' ').next().unwrap_or_default().to_owned();
            }
            _ => {}
        }
    }
    if matches!(length, Length::Bytes(size) if size > BODY) {
        return Ok(Next::TooLarge);
    }
    if expects {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    match length {
        Length::Bytes(size) => {
            request.body = vec![0; size];
            reader.read_exact(&mut request.body)?;
        }
        Length::Chunked => {
            if !chunks(reader, &mut request.body)? {
                return Ok(Next::TooLarge);
            }
        }
    }
    Ok(Next::Request(request))
}

/// Reads a chunked body; false where it grows above the limit.
fn chunks(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let head = line(&mut reader.by_ref().take(HEAD))?;
        let size = head.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| malformed("chunk size"))?;
        if size == 0 {
            while !line(&mut reader.by_ref().take(HEAD))?.is_empty() {}
            return Ok(true);
        }
        if size > BODY - body.len() {
            return Ok(false);
        }
        let from = body.len();
        body.resize(from + size, 0);
        reader.read_exact(&mut body[from..])?;
        line(&mut reader.by_ref().take(HEAD))?;
    }
}

/// One line without its end; empty at the end of the input.
fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.is_empty() && !line.ends_with('\n') {
        return Err(malformed("line"));
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the client sent a malformed {what}"))
}

/// Answers with JSON; to `HEAD` with its headers alone. `extra` is whole header lines.
pub(crate) fn json(
    stream: &mut TcpStream,
    request: &Request,
    status: u16,
    extra: &str,
    value: &Value,
) -> io::Result<()> {
    let body = value.to_string();
    let length = body.len();
    let connection = if request.close { "close" } else { "keep-alive" };
    let mut answer = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: {connection}\r\n{extra}\r\n",
        reason(status)
    );
    if request.method != "HEAD" {
        answer.push_str(&body);
    }
    stream.write_all(answer.as_bytes())
}

/// Begins a stream of server-sent events.
pub(crate) fn begin_events(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
          transfer-encoding: chunked\r\n\r\n",
    )
}

/// Sends one event as one chunk; its name is the payload's `type`, where it has one, and a payload
/// that is a string is sent as it is. What reads `\ud83d` in a text becomes that escape: half of a pair.
pub(crate) fn event(stream: &mut TcpStream, payload: &Value) -> io::Result<()> {
    let name = payload["type"].as_str();
    let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
    let frame = match payload.as_str() {
        Some(text) => format!("data: {text}\n\n"),
        None => {
            format!("{name}data: {}\n\n", payload.to_string().replace(r"\\ud83d", r"\ud83d"))
        }
    };
    stream.write_all(format!("{:x}\r\n{frame}\r\n", frame.len()).as_bytes())
}

/// Ends a stream of server-sent events; the connection stays open.
pub(crate) fn end_events(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"0\r\n\r\n")
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        529 => "Overloaded",
        _ => "Error",
    }
}

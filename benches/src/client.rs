//! A caller: HTTP/1.1 by hand on one blocking connection, answers whole or as a stream of events.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What one read from the socket brings at most.
const READ_BYTES: usize = 32 * 1024;

/// The longest that a caller waits for the next byte.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes message ids that are used once.
static MESSAGES: AtomicU64 = AtomicU64::new(1);

/// One connection, kept alive between calls.
pub(crate) struct Client {
    socket: TcpStream,
    head: String,
    buffer: Box<[u8]>,
    /// The part of the buffer that holds bytes not yet read.
    start: usize,
    end: usize,
    /// Bytes that came over the wire, headers and framing included.
    pub(crate) received: u64,
}

/// A whole answer.
pub(crate) struct Reply {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// How a body is framed.
enum Framing {
    Length(usize),
    Chunked,
}

/// Events of a stream, as they come.
pub(crate) struct Events<'a> {
    client: &'a mut Client,
    pending: Vec<u8>,
    /// Events that were given out end here.
    taken: usize,
    /// Bytes of `pending` that hold no end of an event.
    searched: usize,
    /// Bytes left of the chunk that is being read.
    chunk: usize,
    over: bool,
}

/// A call of `SendMessage` or `SendStreamingMessage` with this text, in a context or a new one.
pub(crate) fn message(method: &str, text: &str, context: Option<&str>) -> String {
    let id = MESSAGES.fetch_add(1, Ordering::Relaxed);
    let context =
        context.map_or_else(String::new, |context| format!(r#""contextId":"{context}","#));
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"message":{{{context}"messageId":"m{id}","role":"ROLE_USER","parts":[{{"text":"{text}"}}]}}}}}}"#
    )
}

impl Client {
    /// Connects; `token` goes with each request.
    pub(crate) fn connect(address: SocketAddr, token: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let head = format!(
            "HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nA2A-Version: 1.0\r\n"
        );
        Ok(Self { socket, head, buffer: vec![0; READ_BYTES].into(), start: 0, end: 0, received: 0 })
    }

    /// `GET`, the whole answer.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Reply> {
        let request = format!("GET {path} {}\r\n", self.head);
        self.socket.write_all(request.as_bytes())?;
        self.reply()
    }

    /// A JSON-RPC call, the whole answer.
    pub(crate) fn call(&mut self, body: &str) -> io::Result<Reply> {
        self.post(body)?;
        self.reply()
    }

    /// A call that has to end as a completed task.
    pub(crate) fn complete(&mut self, body: &str) -> io::Result<Reply> {
        let reply = self.call(body)?;
        if find(&reply.body, b"TASK_STATE_COMPLETED").is_none() {
            return Err(unexpected("a completed task", reply.status, &reply.body));
        }
        Ok(reply)
    }

    /// A JSON-RPC call whose answer is a stream.
    pub(crate) fn stream(&mut self, body: &str) -> io::Result<Events<'_>> {
        self.post(body)?;
        match self.response_head()? {
            (200, Framing::Chunked) => Ok(Events {
                client: self,
                pending: Vec::new(),
                taken: 0,
                searched: 0,
                chunk: 0,
                over: false,
            }),
            (status, framing) => {
                let body = self.body(framing)?;
                Err(unexpected("a stream", status, &body))
            }
        }
    }

    fn post(&mut self, body: &str) -> io::Result<()> {
        let mut request = format!(
            "POST / {}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.head,
            body.len()
        );
        // One write, so that a small request is one segment.
        request.push_str(body);
        self.socket.write_all(request.as_bytes())
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let (status, framing) = self.response_head()?;
        Ok(Reply { status, body: self.body(framing)? })
    }

    fn response_head(&mut self) -> io::Result<(u16, Framing)> {
        let mut lines = Vec::new();
        loop {
            match self.line()? {
                line if line.is_empty() => break,
                line => lines.push(line),
            }
        }
        let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("the server's answer is no HTTP"))?;
        let mut framing = Framing::Length(0);
        for line in &lines[1..] {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                framing = Framing::Length(value.trim().parse().map_err(io::Error::other)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Framing::Chunked;
            }
        }
        Ok((status, framing))
    }

    fn body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        match framing {
            Framing::Length(length) => self.read_into(&mut body, length)?,
            Framing::Chunked => loop {
                let size = self.chunk_size()?;
                self.read_into(&mut body, size)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            },
        }
        Ok(body)
    }

    fn chunk_size(&mut self) -> io::Result<usize> {
        let line = self.line()?;
        usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)
    }

    fn read_into(&mut self, body: &mut Vec<u8>, mut left: usize) -> io::Result<()> {
        while left > 0 {
            let bytes = self.available()?;
            let size = bytes.len().min(left);
            body.extend_from_slice(&bytes[..size]);
            self.start += size;
            left -= size;
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            let bytes = self.available()?;
            if let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
                line.extend_from_slice(&bytes[..end]);
                self.start += end + 1;
                break;
            }
            line.extend_from_slice(bytes);
            self.start = self.end;
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(io::Error::other)
    }

    /// What has come and was not read yet; waits until there is something.
    fn available(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = self.socket.read(&mut self.buffer)?;
            if self.end == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received += self.end as u64;
        }
        Ok(&self.buffer[self.start..self.end])
    }
}

impl Events<'_> {
    /// The data of the next event; none at the stream's end.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if let Some(end) = self.end_of_event() {
                let begin = std::mem::replace(&mut self.taken, end + 2);
                self.searched = self.taken;
                let event = begin..end;
                if let Some(data) = find(&self.pending[event.clone()], b"data: ") {
                    return Ok(Some(&self.pending[begin + data + 6..end]));
                }
                // A comment that keeps the connection alive.
                continue;
            }
            if self.over {
                return Ok(None);
            }
            self.pending.drain(..self.taken);
            self.searched -= self.taken;
            self.taken = 0;
            self.more()?;
        }
    }

    /// Reads to the end; how many characters of the answer came.
    pub(crate) fn rest(&mut self) -> io::Result<u64> {
        let mut characters = 0;
        while let Some(event) = self.next()? {
            characters += answer_characters(event);
        }
        Ok(characters)
    }

    fn end_of_event(&mut self) -> Option<usize> {
        while let Some(found) = self.pending[self.searched..].iter().position(|&byte| byte == b'\n')
        {
            let place = self.searched + found;
            match self.pending.get(place + 1) {
                Some(b'\n') => return Some(place),
                Some(_) => self.searched = place + 1,
                None => {
                    self.searched = place;
                    return None;
                }
            }
        }
        self.searched = self.pending.len();
        None
    }

    /// What has come of the current chunk, or of the next one.
    fn more(&mut self) -> io::Result<()> {
        if self.chunk == 0 {
            self.chunk = self.client.chunk_size()?;
            if self.chunk == 0 {
                self.client.line()?;
                self.over = true;
                return Ok(());
            }
        }
        let bytes = self.client.available()?;
        let size = bytes.len().min(self.chunk);
        self.pending.extend_from_slice(&bytes[..size]);
        self.client.start += size;
        self.chunk -= size;
        if self.chunk == 0 {
            self.client.line()?;
        }
        Ok(())
    }
}

/// The text that an event adds to the answer, as it stands in the JSON; none in other events.
pub(crate) fn answer_text(event: &[u8]) -> Option<&[u8]> {
    find(&event[..event.len().min(200)], b"\"artifactUpdate\"")?;
    let text = &event[find(event, b"\"text\":\"")? + 8..];
    let mut escaped = false;
    let end = text.iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some(&text[..end])
}

/// How many characters of the answer an event brings; the stub writes no others than line feeds escaped.
fn answer_characters(event: &[u8]) -> u64 {
    answer_text(event)
        .map_or(0, |text| (text.len() - text.iter().filter(|&&byte| byte == b'\\').count()) as u64)
}

/// Where something stands in bytes.
pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The string value of the first field of this name.
pub(crate) fn string_field(bytes: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next().map(str::to_owned)
}

fn unexpected(wanted: &str, status: u16, body: &[u8]) -> io::Error {
    let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    io::Error::other(format!("{wanted} was expected; the server answered {status}: {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_answer_ends_at_its_own_quote() {
        let event = br#"{"result":{"artifactUpdate":{"artifact":{"parts":[{"text":"a\"b\n"}]}}}}"#;
        assert_eq!(answer_text(event), Some(&br#"a\"b\n"#[..]));
        assert_eq!(answer_characters(event), 4);
    }

    #[test]
    fn an_event_that_is_no_artifact_adds_nothing() {
        assert_eq!(answer_text(br#"{"result":{"statusUpdate":{"text":"no"}}}"#), None);
    }

    #[test]
    fn each_message_has_an_id_of_its_own() {
        assert_ne!(message("SendMessage", "one", None), message("SendMessage", "one", None));
    }
}

//! Server-sent events: frames out, and a bounded decoder for what comes in (WHATWG HTML 9.2).
//!
//! # Pitfalls
//! The readers of popular clients split lines where Unicode does (U+0085, U+2028, U+2029) and not only where the
//! standard does, so none of these characters goes out as it is. All data that goes out is JSON, where they are
//! found in texts alone and have escapes.

use memchr::memchr2_iter;

/// Ends a frame.
pub const END: &[u8] = b"\n\n";

/// A comment that keeps a silent connection open. No blank line follows it: clients of Python's `a2a-sdk` before 1.0
/// take that for the end of an event without data, once an event before it had an id.
pub const KEEP_ALIVE: &[u8] = b":\n";

/// One event as it was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The last `id` that the stream named, with this event or before it.
    pub id: Option<String>,
    /// The type; `message` when absent.
    pub event: Option<String>,
    /// The data, its lines joined by line feeds.
    pub data: String,
}

/// Writes one event; `id` lets the reader resume after it. The data is JSON; each line of it gets a `data:`
/// line of its own.
pub fn frame(id: Option<u64>, json: impl AsRef<[u8]>) -> Vec<u8> {
    let json = json.as_ref();
    let mut out = Vec::with_capacity(json.len() + 40);
    begin(&mut out, id);
    for (place, line) in json.split(|byte| *byte == b'\n').enumerate() {
        if place > 0 {
            out.extend_from_slice(b"\ndata: ");
        }
        push_json(&mut out, line);
    }
    out.extend_from_slice(END);
    out
}

/// Adds JSON to the data of an event, without a character that a reader could take for the end of a line.
pub fn push_json(out: &mut Vec<u8>, json: &[u8]) {
    let mut done = 0;
    for at in memchr2_iter(0xc2, 0xe2, json) {
        let (escape, size): (&[u8], _) = match json[at..] {
            [0xc2, 0x85, ..] => (b"\\u0085", 2),
            [0xe2, 0x80, 0xa8, ..] => (b"\\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (b"\\u2029", 3),
            _ => continue,
        };
        out.extend_from_slice(&json[done..at]);
        out.extend_from_slice(escape);
        done = at + size;
    }
    out.extend_from_slice(&json[done..]);
}

/// Writes the beginning of an event, up to its data; the data (one line) and [`END`] follow.
pub fn begin(out: &mut Vec<u8>, id: Option<u64>) {
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.to_string().as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
}

/// An event is larger than the reader allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {limit} bytes; the server must send smaller ones")]
pub struct TooLarge {
    /// The limit in bytes.
    pub limit: usize,
}

/// Turns bytes into events, however they are cut.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// Bytes not read yet, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// Bytes of the buffer known to hold no end of line.
    searched: usize,
    at_start: bool,
    after_return: bool,
    data: String,
    has_data: bool,
    event: Option<String>,
    id: Option<String>,
}

impl Decoder {
    /// A decoder that refuses events of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            at_start: true,
            after_return: false,
            data: String::new(),
            has_data: false,
            event: None,
            id: None,
        }
    }

    /// Takes the next bytes of the stream; ask [`Decoder::next_event`] for what they complete.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete event, or none until more bytes come. What follows the last blank line of
    /// a stream that ends is no event.
    ///
    /// # Errors
    /// When an event, complete or not, is larger than the limit; the stream is of no use then.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLarge> {
        while let Some((from, to)) = self.next_line() {
            let line = String::from_utf8_lossy(&self.buffer[from..to]).into_owned();
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line);
                self.bound(self.data.len())?;
            }
        }
        self.bound(self.data.len() + self.buffer.len() - self.start)?;
        Ok(None)
    }

    /// Where the next line lies in the buffer, without its end.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        if self.at_start && self.buffer.len() - self.start >= 3 {
            if self.buffer[self.start..].starts_with("\u{feff}".as_bytes()) {
                self.start += 3;
            }
            self.at_start = false;
        }
        // The line feed of a CRLF whose return came in an earlier chunk.
        if self.after_return && self.start < self.buffer.len() {
            if self.buffer[self.start] == b'\n' {
                self.start += 1;
            }
            self.after_return = false;
        }
        self.searched = self.searched.max(self.start);
        let rest = &self.buffer[self.searched..];
        let Some(length) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.searched = self.buffer.len();
            return None;
        };
        let (from, to) = (self.start, self.searched + length);
        self.at_start = false;
        self.after_return = self.buffer[to] == b'\r';
        self.start = to + 1;
        self.searched = self.start;
        Some((from, to))
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "event" => self.event = Some(value.to_owned()),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // Comments have an empty name; others are for readers other than us.
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Event> {
        let event = self.event.take();
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let id = self.id.clone().filter(|id| !id.is_empty());
        Some(Event { id, event, data: std::mem::take(&mut self.data) })
    }

    fn bound(&self, size: usize) -> Result<(), TooLarge> {
        if size > self.limit { Err(TooLarge { limit: self.limit }) } else { Ok(()) }
    }
}

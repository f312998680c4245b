//! Tokens, counted in what a model answers, without touching a byte of it.
//!
//! A [`Meter`] looks at the body as it passes: at the events of a stream, or at a JSON answer. It holds no more of
//! them than the one object that says what was used, so that it takes no memory to speak of, however long they are.
//! What a stream says several times is what it says last.

use super::refusal_of_model::ModelRefusal;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use parking_lot::Mutex;
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Longest object of usage that is looked at.
const LONGEST: usize = 8 * 1024;

/// Longest key that has a meaning here.
const LONGEST_KEY: usize = "usageMetadata".len();

/// What the lines of an event stream begin with that carry JSON.
const DATA: &[u8] = b"data:";

/// What the answers that passed said of their cost, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Input, without what came from a cache or went into it.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input that was read from a cache.
    pub cache_read: u64,
    /// Input that was written to a cache.
    pub cache_write: u64,
    /// Requests that the upstream answered, whatever it said.
    pub requests: u64,
    /// Why the last request was refused, if it was.
    pub refusal: Option<ModelRefusal>,
}

impl Counted {
    /// Tokens of all kinds.
    pub fn sum(&self) -> u64 {
        let kinds = [self.input, self.output, self.cache_read, self.cache_write];
        kinds.into_iter().fold(0, u64::saturating_add)
    }
}

/// A body that is looked at while it passes.
pub(super) struct Meter<B> {
    body: B,
    watch: Watch,
    finder: UsageFinder,
    said: AnswerUsage,
    total: Arc<Mutex<Counted>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Nothing,
    /// So many bytes of this line are what a line of JSON begins with.
    Events(usize),
    /// A line that carries JSON.
    Event,
    /// A line that carries none.
    OtherLine,
    Answer,
}

/// Finds the objects in a JSON document that say what was used.
///
/// They are members of the document, or of its `message` or `response`; a document may be an array of such ones.
/// Anywhere else a model can be made to say whatever one likes.
#[derive(Default)]
struct UsageFinder {
    /// Objects and arrays that are open.
    depth: usize,
    /// How many of them, from the outermost, lead to a place where usage may stand.
    leading: usize,
    /// Whether the document is an array: it is the outermost of them.
    is_array: bool,
    text: Position,
    /// The last string, as far as it can be a key.
    key: Vec<u8>,
    /// The object of usage that has begun, and the depth where it ends.
    found: Option<(Vec<u8>, usize)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Outside,
    Inside,
    Escape,
}

/// What one answer has said so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct AnswerUsage {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
}

impl UsageFinder {
    /// Looks at the next byte; an object of usage, with its key, when this is its last byte.
    fn next(&mut self, byte: u8) -> Option<(Vec<u8>, &[u8])> {
        if let Some((bytes, _)) = &mut self.found {
            // Only numbers count in it. A parser would refuse all of it for a broken text.
            let is_plain = byte.is_ascii() && byte != b'\\' && self.text != Position::Escape;
            bytes.push(if is_plain { byte } else { b'?' });
            if bytes.len() > LONGEST {
                self.found = None;
            }
        }
        match (self.text, byte) {
            (Position::Escape, _) => self.text = Position::Inside,
            (Position::Inside, b'\\') => self.text = Position::Escape,
            (Position::Inside, b'"') => self.text = Position::Outside,
            (Position::Inside, _) if self.found.is_some() || self.key.len() > LONGEST_KEY => {}
            (Position::Inside, _) => self.key.push(byte),
            (Position::Outside, b'"') => {
                self.text = Position::Inside;
                if self.found.is_none() {
                    self.key.clear();
                }
            }
            (Position::Outside, b'{' | b'[') => self.open(byte),
            (Position::Outside, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                self.leading = self.leading.min(self.depth);
                let ends = |(_, depth): &mut (Vec<u8>, usize)| *depth == self.depth;
                let (bytes, _) = self.found.take_if(ends)?;
                return Some((bytes, &self.key));
            }
            (Position::Outside, b',') if self.found.is_none() => self.key.clear(),
            (Position::Outside, _) => {}
        }
        None
    }

    fn open(&mut self, byte: u8) {
        let leads = self.leading == self.depth && self.found.is_none();
        let below = self.depth - usize::from(self.is_array && self.depth > 0);
        match (byte, below, self.key.as_slice()) {
            (b'[', 0, _) if self.depth == 0 => {
                self.is_array = true;
                self.leading = 1;
            }
            (b'{', 0, _) if leads => self.leading += 1,
            (b'{', 1, b"message" | b"response") if leads => self.leading += 1,
            (b'{', 1 | 2, b"usage" | b"usageMetadata") if leads => {
                self.found = Some((vec![byte], self.depth));
            }
            _ => {}
        }
        if self.found.is_none() {
            self.key.clear();
        }
        self.depth += 1;
    }
}

impl<B> Meter<B> {
    /// Looks at a body by what its headers say it is.
    pub(super) fn new(body: B, headers: &HeaderMap, total: Arc<Mutex<Counted>>) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let kind = text(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
        let watch = match text(CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => Watch::Nothing,
            _ if kind.starts_with("text/event-stream") => Watch::Events(0),
            _ if kind.starts_with("application/json") => Watch::Answer,
            _ => Watch::Nothing,
        };
        total.lock().requests += 1;
        Self { body, watch, finder: UsageFinder::default(), said: AnswerUsage::default(), total }
    }

    fn see(&mut self, bytes: &[u8]) {
        if self.watch == Watch::Nothing {
            return;
        }
        for &byte in bytes {
            match self.watch {
                Watch::Nothing => {}
                Watch::Answer => self.hear(byte),
                Watch::Events(_) | Watch::Event | Watch::OtherLine if byte == b'\n' => {
                    self.finder = UsageFinder::default();
                    self.watch = Watch::Events(0);
                }
                Watch::Event => self.hear(byte),
                Watch::OtherLine => {}
                Watch::Events(known) if DATA[known] != byte => self.watch = Watch::OtherLine,
                Watch::Events(known) if known + 1 == DATA.len() => self.watch = Watch::Event,
                Watch::Events(known) => self.watch = Watch::Events(known + 1),
            }
        }
    }

    fn hear(&mut self, byte: u8) {
        if let Some((object, key)) = self.finder.next(byte)
            && let Ok(usage) = serde_json::from_slice(&object)
        {
            let before = self.said;
            match key {
                b"usage" => self.said.usage(&usage),
                _ => self.said.metadata(&usage),
            }
            self.count(before);
        }
    }

    /// Puts what is said now into the sum, in place of what the same answer said before.
    fn count(&self, before: AnswerUsage) {
        let now = self.said;
        let mut total = self.total.lock();
        let put = |sum: &mut u64, before: u64, now: u64| {
            *sum = sum.saturating_sub(before).saturating_add(now);
        };
        put(&mut total.input, before.input, now.input);
        put(&mut total.output, before.output, now.output);
        put(&mut total.cache_read, before.cache_read, now.cache_read);
        put(&mut total.cache_write, before.cache_write, now.cache_write);
    }
}

impl AnswerUsage {
    /// Anthropic, and both of OpenAI's APIs: there cached input is counted as input too.
    fn usage(&mut self, usage: &Value) {
        let number = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64);
        let either = |one: &str, other: &str| number(one).or_else(|| number(other));
        let cached =
            either("/input_tokens_details/cached_tokens", "/prompt_tokens_details/cached_tokens");
        if let Some(input) = either("/input_tokens", "/prompt_tokens") {
            self.input = input.saturating_sub(cached.unwrap_or(0));
        }
        if let Some(output) = either("/output_tokens", "/completion_tokens") {
            self.output = output;
        }
        if let Some(read) = cached.or_else(|| number("/cache_read_input_tokens")) {
            self.cache_read = read;
        }
        if let Some(write) = number("/cache_creation_input_tokens") {
            self.cache_write = write;
        }
    }

    /// Gemini: cached input is counted as input, thoughts are not counted as output.
    fn metadata(&mut self, usage: &Value) {
        if !usage.is_object() {
            return;
        }
        let number = |name: &str| usage[name].as_u64().unwrap_or(0);
        let cached = number("cachedContentTokenCount");
        let input = number("promptTokenCount").saturating_sub(cached);
        self.input = input.saturating_add(number("toolUsePromptTokenCount"));
        self.output = number("candidatesTokenCount").saturating_add(number("thoughtsTokenCount"));
        self.cache_read = cached;
    }
}

impl<B> Body for Meter<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            self.see(bytes);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full, StreamBody};
    use hyper::header::HeaderValue;

    const EVENTS: &str = "text/event-stream; charset=utf-8";
    const JSON: &str = "application/json";

    /// What is counted when a body passes in pieces of this size; it must come out as it went in.
    async fn counted(kind: &'static str, body: &str, piece: usize) -> Counted {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let total = Arc::new(Mutex::new(Counted::default()));
        let pieces: Vec<_> = body
            .as_bytes()
            .chunks(piece)
            .map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let stream = StreamBody::new(futures_util::stream::iter(pieces));
        let meter = Meter::new(stream, &headers, total.clone());
        let passed = meter.collect().await.unwrap().to_bytes();
        assert_eq!(passed, body.as_bytes());
        *total.lock()
    }

    fn sum(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Counted {
        Counted { input, output, cache_read, cache_write, requests: 1, refusal: None }
    }

    #[tokio::test]
    async fn anthropic_streams_are_counted_whatever_the_pieces() {
        let body = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":3,\"cache_read_input_tokens\":7,\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"my usage\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":20}}\n\nevent: message_delta\r\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":42}}\r\n\r\n";
        for piece in [1, 7, 64, 100_000] {
            assert_eq!(counted(EVENTS, body, piece).await, sum(10, 42, 7, 3));
        }
    }

    #[tokio::test]
    async fn an_anthropic_answer_in_one_piece_is_counted() {
        let body = r#"{"type":"message","usage":{"input_tokens":5,"output_tokens":6}}"#;
        assert_eq!(counted(JSON, body, 9).await, sum(5, 6, 0, 0));
    }

    #[tokio::test]
    async fn openai_responses_are_counted() {
        let body = "data: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":100,\"input_tokens_details\":{\"cached_tokens\":60},\"output_tokens\":9,\"total_tokens\":109}}}\n\n";
        assert_eq!(counted(EVENTS, body, 50).await, sum(40, 9, 60, 0));
        let body = r#"{"usage":{"input_tokens":7,"output_tokens":8}}"#;
        assert_eq!(counted(JSON, body, 50).await, sum(7, 8, 0, 0));
    }

    #[tokio::test]
    async fn openai_chats_are_counted() {
        let body = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":1}}}\n\ndata: [DONE]\n\n";
        assert_eq!(counted(EVENTS, body, 50).await, sum(10, 2, 1, 0));
    }

    #[tokio::test]
    async fn of_gemini_the_last_word_counts() {
        let body = "data: {\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":1}}\n\ndata: {\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":4,\"thoughtsTokenCount\":2,\"cachedContentTokenCount\":5}}\n\n";
        assert_eq!(counted(EVENTS, body, 50).await, sum(4, 6, 5, 0));
        let body = r#"[{"usageMetadata":{"promptTokenCount":3}},{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}]"#;
        assert_eq!(counted(JSON, body, 50).await, sum(3, 2, 0, 0));
    }

    #[tokio::test]
    async fn answers_of_any_length_are_counted_and_nothing_of_them_is_held() {
        let long = "x".repeat(4 * 1024 * 1024);
        let body = format!(r#"{{"text":"{long}","usage":{{"input_tokens":1}}}}"#);
        assert_eq!(counted(JSON, &body, 8192).await, sum(1, 0, 0, 0));
        let events = format!("data: {body}\n\ndata: {{\"usage\":{{\"output_tokens\":2}}}}\n\n");
        assert_eq!(counted(EVENTS, &events, 8192).await, sum(1, 2, 0, 0));
        let usage = format!(r#"{{"usage":{{"text":"{long}","input_tokens":1}}}}"#);
        assert_eq!(counted(JSON, &usage, 8192).await, sum(0, 0, 0, 0));
    }

    #[tokio::test]
    async fn usage_beside_a_broken_text_is_counted() {
        for text in [r#""\ud83d""#, r#""\"}\\""#, "\"é\""] {
            let body = format!(r#"{{"usage":{{"note":{text},"input_tokens":5}}}}"#);
            assert_eq!(counted(JSON, &body, 3).await, sum(5, 0, 0, 0), "{text}");
        }
    }

    #[tokio::test]
    async fn what_a_model_was_made_to_say_is_no_usage() {
        let said = r#"{"usage":{"input_tokens":9},"usageMetadata":{"promptTokenCount":9}}"#;
        let quoted = serde_json::to_string(said).unwrap();
        for place in [
            format!(r#""content":[{said}]"#),
            format!(r#""content":[{{"input":{said}}}]"#),
            format!(r#""content":{said}"#),
            format!(r#""message":[{said}]"#),
            format!(r#""message":{{"content":{said},"response":{said}}}"#),
            format!(r#""text":{quoted}"#),
            r#""list":["usage",{"input_tokens":9}]"#.to_owned(),
            r#""name":"usage","other":{"input_tokens":9}"#.to_owned(),
        ] {
            for body in [
                format!(r#"{{{place},"usage":{{"input_tokens":2,"other":[{said}]}}}}"#),
                format!(
                    r#"[{{{place}}},{{"usage":{{"input_tokens":2,"x":{{"y":"}}"}}}},{place}}}]"#
                ),
            ] {
                assert_eq!(counted(JSON, &body, 3).await, sum(2, 0, 0, 0), "{body}");
            }
        }
        let last = r#"{"usage":{"input_tokens":1},"message":{"usage":{"input_tokens":3}}}"#;
        assert_eq!(counted(JSON, last, 5).await, sum(3, 0, 0, 0));
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_counts_as_far_as_it_came() {
        let total = Arc::new(Mutex::new(Counted::default()));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
        let body = Full::new(Bytes::from_static(b"data: {\"usage\":{\"output_tokens\":2}}\n\nda"));
        let mut meter = Meter::new(body, &headers, total.clone());
        let _ = meter.frame().await;
        drop(meter);
        assert_eq!(*total.lock(), sum(0, 2, 0, 0));
    }
}

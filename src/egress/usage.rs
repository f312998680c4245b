//! Tokens, counted in what a model answers, without touching a byte of it.
//!
//! A [`Meter`] looks at the body as it passes: at the lines of an event stream, or at the whole of a JSON
//! answer. Lines and answers that are too long to be held are passed on uncounted. What a stream says
//! several times is what it says last.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use parking_lot::Mutex;
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Longest line of an event stream, and longest JSON answer, that is looked at.
const HELD: usize = 1024 * 1024;

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
    held: Vec<u8>,
    /// The rest of this line (or of the answer) is not looked at.
    skip: bool,
    said: Said,
    total: Arc<Mutex<Counted>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Nothing,
    Events,
    Answer,
}

/// What one answer has said so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Said {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
}

impl<B> Meter<B> {
    /// Looks at a body by what its headers say it is.
    pub(super) fn new(body: B, headers: &HeaderMap, total: Arc<Mutex<Counted>>) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let kind = text(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
        let watch = match text(CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => Watch::Nothing,
            _ if kind.starts_with("text/event-stream") => Watch::Events,
            _ if kind.starts_with("application/json") => Watch::Answer,
            _ => Watch::Nothing,
        };
        total.lock().requests += 1;
        Self { body, watch, held: Vec::new(), skip: false, said: Said::default(), total }
    }

    fn see(&mut self, bytes: &[u8]) {
        match self.watch {
            Watch::Nothing => {}
            Watch::Answer => self.hold(bytes),
            Watch::Events => {
                let mut pieces = bytes.split(|&byte| byte == b'\n').peekable();
                while let Some(piece) = pieces.next() {
                    self.hold(piece);
                    if pieces.peek().is_some() {
                        self.line();
                    }
                }
            }
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.skip || self.held.len() + bytes.len() > HELD {
            self.skip = true;
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }

    /// A line of an event stream is whole.
    fn line(&mut self) {
        let held = std::mem::take(&mut self.held);
        if !std::mem::take(&mut self.skip)
            && let Some(data) = held.strip_prefix(b"data:")
            && mentions_usage(data)
        {
            self.hear(data);
        }
    }

    fn end(&mut self) {
        match self.watch {
            Watch::Nothing => {}
            Watch::Events => self.line(),
            Watch::Answer => {
                let held = std::mem::take(&mut self.held);
                if !self.skip {
                    self.hear(&held);
                }
            }
        }
        self.watch = Watch::Nothing;
    }

    /// Puts what is said now into the sum, in place of what the same answer said before.
    fn hear(&mut self, json: &[u8]) {
        let Ok(value) = serde_json::from_slice(json) else {
            return;
        };
        let before = self.said;
        self.said.hear(&value);
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

impl Said {
    fn hear(&mut self, value: &Value) {
        // Gemini's answer without `alt=sse` is an array of what would be events.
        if let Value::Array(events) = value {
            events.iter().for_each(|event| self.hear(event));
            return;
        }
        // Anthropic's first event has it in its message, the Responses API in its response.
        let places = [value, &value["message"], &value["response"]];
        for place in places {
            self.usage(&place["usage"]);
            self.metadata(&place["usageMetadata"]);
        }
    }

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
        match &frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    self.see(bytes);
                }
            }
            Some(Err(_)) | None => self.end(),
        }
        // Who knows the length stops asking when it is reached.
        if self.body.is_end_stream() {
            self.end();
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

impl<B> Drop for Meter<B> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Most lines are text that is being written; only few are worth reading as JSON.
fn mentions_usage(data: &[u8]) -> bool {
    data.windows(5).any(|window| window == b"usage")
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
        Counted { input, output, cache_read, cache_write, requests: 1 }
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
    async fn what_is_too_long_passes_uncounted_and_the_next_line_counts() {
        let long = "x".repeat(HELD);
        let body = format!(
            "data: {{\"usage\":{{\"input_tokens\":1}},\"text\":\"{long}\"}}\n\ndata: {{\"usage\":{{\"input_tokens\":2}}}}\n\n"
        );
        assert_eq!(counted(EVENTS, &body, 8192).await, sum(2, 0, 0, 0));
        let body = format!(r#"{{"usage":{{"input_tokens":1}},"text":"{long}"}}"#);
        assert_eq!(counted(JSON, &body, 8192).await, sum(0, 0, 0, 0));
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

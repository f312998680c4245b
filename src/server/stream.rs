//! A task's events as server-sent events. A v1.0 event goes out as it stands in the log: encoded once,
//! shared by all its readers, with each reader's own envelope around it.

use super::Doors;
use crate::service::{Stream, stopped_before_it_began};
use crate::store::{Error as StoreError, Event};
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use pilothouse_a2a::dialect::{Dialect, Encoder};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::jsonrpc::{self, Id, SUFFIX};
use pilothouse_a2a::sse;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// When a stream ends, beside at its task's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Only then.
    WhenOver,
    /// Also when the task asks for something (specification 3.1.2).
    WhenItAsks,
}

struct Writer {
    stream: Stream,
    id: Id,
    prefix: Vec<u8>,
    encoder: Option<Encoder>,
    dialect: Dialect,
    ends: Ends,
    over: bool,
    stop: CancellationToken,
    patience: Duration,
}

/// The response around a stream's body.
pub(super) fn response(body: Body) -> Response {
    Response::builder()
        .header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        )
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
        .header("x-accel-buffering", HeaderValue::from_static("no"))
        .body(body)
        .expect("constant headers are valid")
}

/// The body of a stream in the caller's dialect.
pub(super) fn body(
    doors: &Arc<Doors>,
    stream: Stream,
    id: &Id,
    dialect: Dialect,
    alias: Option<String>,
    ends: Ends,
) -> Body {
    let encoder = (dialect != Dialect::V1_0).then(|| Encoder::new(dialect, alias));
    let writer = Writer {
        stream,
        id: id.clone(),
        prefix: jsonrpc::prefix(id),
        encoder,
        dialect,
        ends,
        over: false,
        stop: doors.stop.clone(),
        patience: doors.config.timeouts.keep_alive.get(),
    };
    Body::from_stream(unfold(writer, |mut writer| async move {
        let chunk = writer.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), writer))
    }))
}

impl Writer {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if let Some((seq, body)) = self.stream.first.take() {
            let mut out = Vec::with_capacity(body.len() + 128);
            self.frame(&mut out, seq, &body);
            return Some(Bytes::from(out));
        }
        loop {
            let log = self.stream.cursor.shared_log();
            let stop = self.stop.clone();
            let next = tokio::select! {
                biased;
                next = self.stream.cursor.next() => next,
                () = tokio::time::sleep(self.patience) => return Some(Bytes::from_static(sse::KEEP_ALIVE)),
                // A turn that runs is ended and says so; one that does not run says nothing more.
                () = stopped_before_it_began(&stop, &log) => return None,
            };
            match next {
                Ok(Some(events)) => {
                    let out = self.frames(&events);
                    if !out.is_empty() {
                        return Some(Bytes::from(out));
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(self.broken(&error)),
            }
        }
    }

    fn frames(&mut self, events: &[Event]) -> Vec<u8> {
        let size: usize = events
            .iter()
            .map(|event| event.body.len() + self.prefix.len() + 32)
            .sum();
        let mut out = Vec::with_capacity(size);
        for event in events {
            self.frame(&mut out, event.seq, &event.body);
            if self.asks(&event.body) {
                self.over = true;
                break;
            }
        }
        out
    }

    fn frame(&mut self, out: &mut Vec<u8>, seq: u64, body: &Bytes) {
        let Some(encoder) = &mut self.encoder else {
            sse::begin(out, Some(seq));
            out.extend_from_slice(&self.prefix);
            out.extend_from_slice(body);
            out.extend_from_slice(SUFFIX);
            out.extend_from_slice(sse::END);
            return;
        };
        let encoded = serde_json::from_slice::<StreamResponse>(body)
            .ok()
            .and_then(|event| encoder.encode(&event));
        if let Some(encoded) = encoded {
            sse::begin(out, Some(seq));
            out.extend_from_slice(&self.prefix);
            out.extend_from_slice(encoded.as_bytes());
            out.extend_from_slice(SUFFIX);
            out.extend_from_slice(sse::END);
        }
    }

    /// Whether this event says that the task asks, and the stream ends there.
    fn asks(&self, body: &Bytes) -> bool {
        if self.ends == Ends::WhenOver || !body.starts_with(b"{\"statusUpdate\"") {
            return false;
        }
        match serde_json::from_slice::<StreamResponse>(body) {
            Ok(StreamResponse::StatusUpdate(update)) => {
                let state = update.status.state;
                // A v1.0 stream stays open for credentials that come out of band (specification 7.6.1).
                match self.dialect {
                    Dialect::V1_0 => state == pilothouse_a2a::task::TaskState::InputRequired,
                    Dialect::V0_3 | Dialect::V0_1 => state.is_interrupted(),
                }
            }
            _ => false,
        }
    }

    /// An error after the first event is a last frame with the envelope of an error.
    fn broken(&mut self, error: &StoreError) -> Bytes {
        self.over = true;
        tracing::error!(%error, "a stream could not be continued");
        let error = Error::new(
            ErrorKind::Internal,
            "the server could not read on; subscribe again with Last-Event-ID",
        );
        Bytes::from(sse::frame(
            None,
            jsonrpc::failure(&self.id, &error, self.dialect),
        ))
    }
}

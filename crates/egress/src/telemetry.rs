//! What the exporters of a session's CLI send by OTLP: a receiver of the server's takes it, and nothing is passed on from
//! here. So the collector and its credentials stay outside of the session.

use super::upstream::{ProxyResponse, text};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use std::time::Duration;

/// What a message tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelemetrySignal {
    /// Spans.
    Traces,
    /// Sums of what was used.
    Metrics,
    /// Events.
    Logs,
}

/// Whoever takes the messages of one process.
pub trait TelemetryReceiver: Send + Sync {
    /// Bytes of a message at most.
    fn largest(&self) -> usize;

    /// Takes a message. One that has no place is left out: a CLI that was told of it would send it again.
    fn receive(&self, signal: TelemetrySignal, message: Bytes);
}

impl TelemetrySignal {
    /// Its name in the paths of OTLP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Traces, Self::Metrics, Self::Logs].into_iter().find(|signal| signal.name() == name)
    }
}

/// The variables of the standard that lead an exporter here.
pub(super) fn variables(here: &str, token: &str) -> Vec<(String, String)> {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{here}/otlp")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none".to_owned()),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("x-api-key={token}")),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Reads one message, within this time.
pub(super) async fn receive<B>(
    receiver: &dyn TelemetryReceiver,
    name: &str,
    request: Request<B>,
    patience: Duration,
) -> ProxyResponse
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let Some(signal) = TelemetrySignal::of(name).filter(|_| request.method() == Method::POST)
    else {
        return text(StatusCode::NOT_FOUND, "POST to /otlp/v1/traces, metrics or logs");
    };
    let is_packed = request.headers().get(CONTENT_ENCODING).is_some_and(|how| how != "identity");
    let kind = request.headers().get(CONTENT_TYPE);
    if is_packed || kind.is_none_or(|kind| kind != "application/x-protobuf") {
        let line = "telemetry is taken as application/x-protobuf, without compression";
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, line);
    }
    let body = Limited::new(request.into_body(), receiver.largest()).collect();
    match tokio::time::timeout(patience, body).await {
        Ok(Ok(body)) => {
            receiver.receive(signal, body.to_bytes());
            let mut answer = text(StatusCode::OK, "");
            // An empty message of the protocol: all was taken.
            *answer.body_mut() = super::proxy::empty();
            let kind = HeaderValue::from_static("application/x-protobuf");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        Ok(Err(_)) => text(StatusCode::PAYLOAD_TOO_LARGE, "this message is too large, or was cut"),
        Err(_) => text(StatusCode::REQUEST_TIMEOUT, "the message did not come in time"),
    }
}

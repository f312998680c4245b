//! A collector of OpenTelemetry on loopback: it keeps what it is sent, and can be slow, hostile or gone.

use crate::processes::await_some;
use crate::world::PATIENCE;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue as Any, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It takes what it is sent.
    Takes,
    /// It reads, and never answers.
    Silent,
    /// It answers without end, and sends the sender to another address.
    Hostile,
}

/// A collector; its threads end with the test.
pub(crate) struct Collector {
    address: SocketAddr,
    shared: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    heads: Vec<String>,
    requests: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
}

impl Received {
    fn keep(&mut self, head: String, message: &[u8]) {
        let path = head.split(' ').nth(1).unwrap();
        if path.contains("metrics") {
            self.metrics.push(ExportMetricsServiceRequest::decode(message).unwrap());
        } else if path.contains("logs") {
            self.logs.push(ExportLogsServiceRequest::decode(message).unwrap());
        } else {
            self.requests.push(ExportTraceServiceRequest::decode(message).unwrap());
        }
        self.heads.push(head);
    }
}

/// Takes one call of gRPC.
async fn take_call(shared: &Mutex<Received>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let (frame, message) = body.split_at(5);
    assert_eq!(frame[1..], u32::try_from(message.len()).unwrap().to_be_bytes());
    let head = format!("{} {}\r\n{:?}", parts.method, parts.uri.path(), parts.headers);
    shared.lock().unwrap().keep(head, message);
    let trailers = HeaderMap::from_iter([(
        HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    // An empty message: all was taken.
    let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
    let answer = Response::builder().header("content-type", "application/grpc");
    answer.body(Body::new(body)).unwrap()
}

impl Collector {
    /// One that speaks gRPC.
    pub(crate) fn start_grpc() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Received::default()));
        let all = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let take = move |request: Request| {
                    let shared = all.clone();
                    async move { take_call(&shared, request).await }
                };
                axum::serve(listener, Router::new().fallback(take)).await.unwrap();
            });
        });
        Self { address, shared }
    }

    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Received::default()));
        let all = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = all.clone();
                std::thread::spawn(move || while serve(&stream, manner, &shared).is_some() {});
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests have come.
    pub(crate) fn count(&self) -> usize {
        self.shared.lock().unwrap().heads.len()
    }

    /// The heads of the requests.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.lock().unwrap().heads.clone()
    }

    /// All that has come, as text.
    pub(crate) fn text(&self) -> String {
        let received = self.shared.lock().unwrap();
        format!("{:?}\n{:?}\n{:?}", received.requests, received.metrics, received.logs)
    }

    /// The attributes of the service.
    pub(crate) fn service(&self, name: &str) -> Option<String> {
        let received = self.shared.lock().unwrap();
        let resource = received.requests.first()?.resource_spans.first()?.resource.as_ref()?;
        find(&resource.attributes, name)
    }

    /// The resource and the metric of this name, when it is there: the last one that came.
    pub(crate) fn await_metric(&self, name: &str) -> (Vec<KeyValue>, Metric) {
        await_some("metrics at the collector", PATIENCE, || {
            let received = self.shared.lock().unwrap();
            let of = received.metrics.iter().flat_map(|request| &request.resource_metrics);
            let mut found = of.filter_map(|of| {
                let mut metrics = of.scope_metrics.iter().flat_map(|scope| &scope.metrics);
                let metric = metrics.rfind(|metric| metric.name == name)?;
                Some((of.resource.clone().unwrap_or_default().attributes, metric.clone()))
            });
            found.next_back()
        })
    }

    /// The first event of this name, when it is there.
    pub(crate) fn await_event(&self, name: &str) -> LogRecord {
        await_some("events at the collector", PATIENCE, || {
            let received = self.shared.lock().unwrap();
            let of = received.logs.iter().flat_map(|request| &request.resource_logs);
            let mut records = of.flat_map(|of| &of.scope_logs).flat_map(|scope| &scope.log_records);
            records.find(|record| record.event_name == name).cloned()
        })
    }

    /// The spans, when these are there.
    pub(crate) fn await_spans(&self, names: &[&str]) -> Vec<Span> {
        await_some("spans at the collector", PATIENCE, || {
            let received = self.shared.lock().unwrap();
            let of = received.requests.iter().flat_map(|request| &request.resource_spans);
            let spans = of.flat_map(|resource| &resource.scope_spans);
            let spans: Vec<Span> = spans.flat_map(|scope| scope.spans.clone()).collect();
            let has = |name: &&&str| spans.iter().any(|span| span.name == ***name);
            (names.iter().filter(has).count() == names.len()).then_some(spans)
        })
    }
}

/// An attribute, as text.
pub(crate) fn find(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref() {
        Some(Any { value: Some(AnyValue::StringValue(text)), .. }) => Some(text.clone()),
        Some(Any { value: Some(AnyValue::IntValue(number)), .. }) => Some(number.to_string()),
        Some(Any { value: Some(AnyValue::DoubleValue(number)), .. }) => Some(number.to_string()),
        _ => None,
    }
}

/// The only span of this name.
pub(crate) fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name} in {spans:#?}"));
    assert!(found.next().is_none(), "several spans {name} in {spans:#?}");
    span
}

/// Serves one request; none when the connection is at its end.
fn serve(stream: &TcpStream, manner: Manner, shared: &Mutex<Received>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    shared.lock().unwrap().keep(head, &body);
    let mut stream = stream;
    match manner {
        Manner::Takes => {
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).ok()
        }
        Manner::Silent => {
            // Until the sender gives up.
            let _ = stream.read(&mut [0]);
            None
        }
        Manner::Hostile => {
            let answer = "HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nRetry-After: 9999999\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(answer.as_bytes()).ok()?;
            let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            while stream.write_all(chunk.as_bytes()).is_ok() {}
            None
        }
    }
}

//! Spans on their way to the operator's collector, by OTLP over HTTP.
//!
//! # How it works
//!
//! What ends (a turn, a request) puts a job of a few words into a bounded queue and goes on. One task takes the jobs,
//! derives the spans of a turn from the store ([`TurnExports`]), and sends them. A collector that is slow or gone fills the
//! queue; what has no place in it is left out and counted. Nothing waits for it but the stop of the server, for
//! `telemetry.flush`.

use super::Entry;
use super::trace::{
    Content, Span, SpanAttribute, SpanEvent, SpanKind, TracedTask, TurnExports, trace_of_task,
};
use crate::config::{Conventions, Exporter, Sampler, Telemetry as Settings};
use crate::store::{SpanId, Store, TraceContext, TraceNote};
use bytes::Bytes;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId as OtelSpanId, SpanKind as OtelSpanKind, Status, TraceFlags,
    TraceId as OtelTraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value as OtelValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    Compression, ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    SamplingDecision, ShouldSample, SpanData, SpanEvents, SpanExporter as _, SpanLinks,
};
use pilothouse_a2a::dialect;
use pilothouse_a2a::time::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde_json::Value;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Jobs that are taken out of the queue at a time, and spans of one request to the collector.
const GROUP: (usize, usize) = (64, 512);

/// Bytes of the collector's answer that are read: it says nothing that we need.
const ANSWER_BYTES: usize = 64 * 1024;

/// Spans so far.
#[derive(Debug, Clone, Default)]
pub(super) struct SpanCounts {
    /// Those that a collector has taken.
    pub(super) sent: Counter,
    /// Those that were left out, and jobs whose spans nobody counted.
    pub(super) dropped: Counter,
}

/// The way to the collector.
pub(super) struct Otlp {
    jobs: mpsc::Sender<Job>,
    stop: CancellationToken,
    tasks: TaskTracker,
    counts: SpanCounts,
}

/// What has ended.
enum Job {
    /// A turn, up to this event of its task and this moment.
    Turn(TracedTask, (u64, Timestamp)),
    /// A request.
    Request(Box<EndedRequest>),
}

/// A request of a caller, as its span tells it.
struct EndedRequest {
    context: TraceContext,
    method: &'static str,
    task: Option<(String, Option<i64>)>,
    conversation: Option<String>,
    began: Timestamp,
    took: Duration,
    outcome: &'static str,
    status: u16,
}

/// Who takes the jobs.
struct Sender {
    store: Store,
    exporter: SpanExporter,
    scope: InstrumentationScope,
    sampler: Sampler,
    conventions: Conventions,
    content: Option<Content>,
    turns: TurnExports,
    counts: SpanCounts,
    /// Whether the last request to the collector failed.
    fails: AtomicBool,
}

impl Otlp {
    /// Begins to send spans.
    ///
    /// # Errors
    ///
    /// Where the operator's variables name no collector that can be used.
    pub(super) fn start(
        settings: &Settings,
        exporter: Exporter,
        store: Store,
        counts: SpanCounts,
    ) -> Result<Self, ExporterBuildError> {
        let content = exporter.content.then(|| Content {
            most: settings.content.as_usize(),
            secrets: exporter.secrets.clone().into(),
        });
        let sender = Sender {
            store,
            sampler: exporter.sampler,
            conventions: settings.conventions,
            content,
            turns: TurnExports::default(),
            counts: counts.clone(),
            fails: AtomicBool::new(false),
            scope: InstrumentationScope::builder("pilothouse")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            exporter: build(exporter)?,
        };
        let (jobs, waiting) = mpsc::channel(settings.queue.max(1));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(sender.run(waiting, stop.clone()));
        tasks.close();
        Ok(Self { jobs, stop, tasks, counts })
    }

    /// A turn of a task has ended.
    pub(super) fn turn_ended(&self, task: TracedTask, upto: u64) {
        self.put(Job::Turn(task, (upto, Timestamp::now())));
    }

    /// A request was answered.
    pub(super) fn request_ended(&self, entry: &Entry) {
        let method = dialect::method(&entry.action).map(|method| method.operation.method());
        let (Some(context), Some(method)) = (entry.trace, method) else { return };
        let request = EndedRequest {
            context,
            method,
            task: entry.task.clone().map(|task| (task, entry.task_number)),
            conversation: entry.context.clone(),
            began: entry.time,
            took: Duration::from_secs_f64(entry.duration_ms.max(0.0) / 1e3),
            outcome: entry.outcome,
            status: entry.status,
        };
        self.put(Job::Request(Box::new(request)));
    }

    fn put(&self, job: Job) {
        if self.jobs.try_send(job).is_err() {
            self.counts.dropped.inc();
        }
    }

    /// Sends what waits, within this time.
    pub(super) async fn close(&self, patience: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "spans of the last turns were not sent within {patience:?} (`telemetry.flush`)"
            );
        }
    }
}

fn build(settings: Exporter) -> Result<SpanExporter, ExporterBuildError> {
    let Exporter { endpoint, headers, timeout, gzip, service, resource, .. } = settings;
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")))
        .build();
    let http = http.map_err(|_| {
        ExporterBuildError::InternalFailure("no HTTP client could be made".to_owned())
    })?;
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector(http))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(timeout)
        .with_headers(headers);
    if gzip {
        builder = builder.with_compression(Compression::Gzip);
    }
    let mut exporter = builder.build()?;
    let named = resource.into_iter().map(|(name, value)| KeyValue::new(name, value));
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "pilothouse"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("telemetry.sdk.language", "rust"))
        .with_attribute(KeyValue::new("telemetry.sdk.name", "opentelemetry"))
        .with_attributes(named)
        .with_attributes(service.map(|service| KeyValue::new("service.name", service)))
        .build();
    exporter.set_resource(&resource);
    Ok(exporter)
}

/// The collector over HTTP: it sends nobody elsewhere, and its answers are bounded.
#[derive(Debug)]
struct Collector(reqwest::Client);

impl HttpClient for Collector {
    fn send_bytes<'life, 'future>(
        &'life self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            let mut answer = self.0.execute(request.try_into()?).await?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > ANSWER_BYTES {
                    // What it says beyond that changes nothing.
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            let mut response = Response::new(Bytes::from(body));
            *response.status_mut() = answer.status();
            if let Some(after) = answer.headers().get("retry-after") {
                response.headers_mut().insert("retry-after", after.clone());
            }
            Ok(response)
        })
    }
}

impl Sender {
    /// Takes jobs until the server stops, and then those that wait.
    async fn run(mut self, mut waiting: mpsc::Receiver<Job>, stop: CancellationToken) {
        let mut group = Vec::with_capacity(GROUP.0);
        loop {
            tokio::select! {
                biased;
                count = waiting.recv_many(&mut group, GROUP.0) => {
                    if count == 0 {
                        return;
                    }
                }
                () = stop.cancelled(), if !waiting.is_closed() => waiting.close(),
            }
            let mut spans = Vec::new();
            for job in group.drain(..) {
                spans.extend(self.derive(job).await);
                while spans.len() >= GROUP.1 {
                    let rest = spans.split_off(GROUP.1);
                    self.send(std::mem::replace(&mut spans, rest)).await;
                }
            }
            if !spans.is_empty() {
                self.send(spans).await;
            }
        }
    }

    async fn send(&self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        let outcome = self.exporter.export(spans).await;
        let had_failed = self.fails.swap(outcome.is_err(), Ordering::Relaxed);
        let counted = if outcome.is_ok() { &self.counts.sent } else { &self.counts.dropped };
        counted.inc_by(count);
        if let Err(error) = outcome
            && !had_failed
        {
            tracing::warn!(%error, "spans could not be sent to OTEL_EXPORTER_OTLP_ENDPOINT (said once, until they can)");
        }
    }

    async fn derive(&mut self, job: Job) -> Vec<SpanData> {
        match job {
            Job::Turn(task, upto) => {
                let turns = self.turns.take(&self.store, &task, upto, self.content.as_ref()).await;
                let Ok(turns) = turns else {
                    self.counts.dropped.inc();
                    return Vec::new();
                };
                self.counts.dropped.inc_by(turns.left_out);
                let spans = turns.spans.into_iter();
                // The request's own span comes from where it was answered.
                let spans = spans.filter(|span| span.kind != SpanKind::Request);
                spans.filter(|span| self.samples(span)).map(|span| self.convert(span)).collect()
            }
            Job::Request(request) => {
                let span = self.request_span(*request).await;
                if self.samples(&span) { vec![self.convert(span)] } else { Vec::new() }
            }
        }
    }

    /// The span of a request. One without a trace of its caller's belongs to that of its task.
    async fn request_span(&self, request: EndedRequest) -> Span {
        let EndedRequest { context, method, task, conversation, began, took, outcome, status } =
            request;
        let parent = match (context.parent, &task) {
            (None, Some((_, Some(n)))) => {
                let notes = self.store.trace_notes(*n, (0, 1)).await.unwrap_or_default();
                notes.into_iter().flatten().find_map(|row| match row.note {
                    TraceNote::Message(first) => first.parent.map(|parent| (parent, false)),
                    TraceNote::Parked | TraceNote::Resumed | TraceNote::Calls { .. } => None,
                })
            }
            (parent, _) => parent.map(|parent| (parent, true)),
        };
        let trace = match (parent, &task) {
            (Some((parent, _)), _) => parent.trace,
            (None, Some((task, _))) => trace_of_task(task),
            (None, None) => trace_of_task(&context.span.to_string()),
        };
        let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        let ended = Timestamp::from_millisecond(began.as_millisecond().saturating_add(took));
        let mut attributes: Vec<(SpanAttribute, Value)> = vec![
            (SpanAttribute::Method, method.into()),
            (SpanAttribute::SpanKind, "CHAIN".into()),
            (SpanAttribute::RequestOutcome, outcome.into()),
        ];
        let known = [
            (SpanAttribute::Task, task.map(|(task, _)| task)),
            (SpanAttribute::Conversation, conversation.clone()),
            (SpanAttribute::Session, conversation),
        ];
        attributes
            .extend(known.into_iter().filter_map(|(name, value)| Some((name, value?.into()))));
        // A refusal is the caller's; only a fault of the server is an error of its span.
        let error = (status >= 500).then(|| outcome.to_owned());
        attributes
            .extend(error.as_ref().map(|error| (SpanAttribute::ErrorType, error.as_str().into())));
        Span {
            trace,
            id: context.span,
            parent: parent.filter(|(_, is_its_own)| *is_its_own).map(|(parent, _)| parent.span),
            has_remote_parent: parent.is_some_and(|(_, is_its_own)| is_its_own),
            sampled: parent.is_none_or(|(parent, _)| parent.sampled),
            name: method.to_owned(),
            kind: SpanKind::Request,
            began,
            ended: Some(ended),
            error,
            attributes,
            events: Vec::new(),
            continues: None,
            turn: 0,
        }
    }

    /// Whether the collector gets it: by the operator's sampler, and where that says so by the caller's.
    fn samples(&self, span: &Span) -> bool {
        let Sampler { ratio, follows_parent } = self.sampler;
        if follows_parent && !span.sampled {
            return false;
        }
        let trace = OtelTraceId::from_bytes(span.trace.0);
        let sampler = opentelemetry_sdk::trace::Sampler::TraceIdRatioBased(ratio);
        let kind = OtelSpanKind::Internal;
        let result = sampler.should_sample(None, trace, "", &kind, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    fn convert(&self, span: Span) -> SpanData {
        let context = |trace: crate::store::TraceId, id: SpanId| {
            SpanContext::new(
                OtelTraceId::from_bytes(trace.0),
                OtelSpanId::from_bytes(id.0),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            )
        };
        let mut events = SpanEvents::default();
        events.events = span.events.iter().map(|event| self.convert_event(event)).collect();
        let mut links = SpanLinks::default();
        let continued = span.continues.map(|(trace, id)| Link::with_context(context(trace, id)));
        links.links.extend(continued);
        SpanData {
            span_context: context(span.trace, span.id),
            parent_span_id: span
                .parent
                .map_or(OtelSpanId::INVALID, |parent| OtelSpanId::from_bytes(parent.0)),
            parent_span_is_remote: span.has_remote_parent,
            span_kind: match span.kind {
                SpanKind::Request => OtelSpanKind::Server,
                SpanKind::ModelCall => OtelSpanKind::Client,
                SpanKind::Work | SpanKind::Wait => OtelSpanKind::Internal,
            },
            name: span.name.into(),
            start_time: system_time(span.began),
            end_time: system_time(span.ended.unwrap_or(span.began)),
            attributes: self.convert_attributes(&span.attributes),
            dropped_attributes_count: 0,
            events,
            links,
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn convert_event(&self, event: &SpanEvent) -> Event {
        let attributes = self.convert_attributes(&event.attributes);
        Event::new(event.name, system_time(event.at), attributes, 0)
    }

    fn convert_attributes(&self, attributes: &[(SpanAttribute, Value)]) -> Vec<KeyValue> {
        let each = attributes.iter();
        each.map(|(name, value)| KeyValue::new(name.name(self.conventions), convert_value(value)))
            .collect()
    }
}

fn convert_value(value: &Value) -> OtelValue {
    match value {
        Value::Bool(value) => OtelValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => OtelValue::I64(whole),
            (None, float) => OtelValue::F64(float.unwrap_or_default()),
        },
        Value::String(text) => OtelValue::String(text.clone().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            OtelValue::String(value.to_string().into())
        }
    }
}

fn system_time(at: Timestamp) -> SystemTime {
    let milliseconds = Duration::from_millis(at.as_millisecond().unsigned_abs());
    SystemTime::UNIX_EPOCH + milliseconds
}

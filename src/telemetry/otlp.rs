//! What is on its way to the operator's collector, by OTLP over HTTP or gRPC: spans, and Claude Code's own telemetry.
//!
//! # How it works
//!
//! What ends (a turn, a request) puts a job of a few words into a bounded queue and goes on. One task takes the jobs,
//! derives the spans of a turn from the store ([`TurnExports`]), labels what a CLI sent ([`super::native`]), and sends
//! them. A collector that is slow or gone fills the
//! queue; what has no place in it is left out and counted. Nothing waits for it but the stop of the server, for
//! `telemetry.flush`.

mod collector;
mod convert;
mod points;

use super::Entry;
use super::native::{Labels, NativeMessage, NativeReceiver};
use super::trace::{
    Content, Span, SpanAttribute, SpanKind, TracedTask, TurnExports, trace_of_task,
};
use crate::config::{
    ClaudeTelemetry, Conventions, Exporter, OtlpTarget, Sampler, Telemetry as Settings,
};
use crate::store::{Store, TraceContext, TraceId, TraceNote};
use collector::Collector;
use convert::convert;
use opentelemetry::trace::{SpanKind as OtelSpanKind, TraceId as OtelTraceId};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    Compression, ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SamplingDecision, ShouldSample, SpanData, SpanExporter as _};
use pilothouse_a2a::dialect;
use pilothouse_a2a::time::Timestamp;
use pilothouse_egress::TelemetrySignal;
use prometheus_client::metrics::counter::Counter;
use prost::Message as _;
use serde_json::Value;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Jobs that are taken out of the queue at a time, and spans of one request to the collector.
const GROUP: (usize, usize) = (64, 512);

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
    /// What is sent of the work of Claude Code.
    claude: ClaudeTelemetry,
    /// Whether what was said is sent.
    has_content: bool,
    /// Bytes of the CLIs' own telemetry that may wait.
    room: (Arc<Semaphore>, usize),
    /// Between two messages with the metrics, where a collector takes these.
    pub(super) metric_interval: Option<Duration>,
    stop: CancellationToken,
    tasks: TaskTracker,
    counts: SpanCounts,
}

/// What has ended.
enum Job {
    /// A turn, up to this event of its task and this moment.
    Turn {
        task: TracedTask,
        upto: (u64, Timestamp),
        /// Whether its CLI tells of its own work.
        is_native: bool,
    },
    /// A request.
    Request(Box<EndedRequest>),
    /// What a CLI says of itself.
    Native(NativeMessage),
    /// The metrics as Prometheus reads them.
    Metrics(String),
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
    exporter: Option<SpanExporter>,
    /// Who takes spans, metrics and events.
    targets: [Option<(Collector, OtlpTarget)>; 3],
    labels: Labels,
    /// Who this server is, and since when it counts.
    service: (Vec<(String, String)>, Timestamp),
    /// Whether spans are left out of turns of which the CLI tells them itself.
    leaves_out: bool,
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
        (settings, secrets): (&Settings, Arc<[String]>),
        exporter: Exporter,
        store: Store,
        counts: SpanCounts,
    ) -> Result<Self, ExporterBuildError> {
        let content = exporter
            .content
            .then(|| Content { most: settings.content.as_usize(), secrets: secrets.clone() });
        let has_content = exporter.content;
        let claude = settings.claude.unwrap_or(exporter.claude);
        let metric_interval = exporter.metrics.as_ref().map(|_| exporter.metric_interval);
        let service = service(exporter.service, &exporter.resource);
        let attributes =
            service.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        let resource = Resource::builder_empty().with_attributes(attributes).build();
        let mut known: Vec<Collector> = Vec::new();
        let targets = [exporter.traces, exporter.metrics, exporter.logs].map(|target| {
            let target = target?;
            // They share connections, and certificates in memory, where they can.
            let collector = known.iter().find(|known| known.suits(&target)).cloned();
            let collector = collector.or_else(|| Collector::new(&target).ok())?;
            known.push(collector.clone());
            Some((collector, target))
        });
        let traces = targets[0].clone();
        let traces = traces.map(|target| build(target, &resource)).transpose()?;
        let sender = Sender {
            store,
            targets,
            service: (service, Timestamp::now()),
            labels: Labels {
                conventions: settings.conventions,
                content: content.clone(),
                secrets,
                resource: exporter.resource,
            },
            leaves_out: claude == ClaudeTelemetry::Native,
            sampler: exporter.sampler,
            conventions: settings.conventions,
            content,
            turns: TurnExports::default(),
            counts: counts.clone(),
            fails: AtomicBool::new(false),
            scope: InstrumentationScope::builder("pilothouse")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            exporter: traces,
        };
        let (jobs, waiting) = mpsc::channel(settings.queue.max(1));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(sender.run(waiting, stop.clone()));
        tasks.close();
        let most = settings.claude_bytes.as_usize().clamp(4, Semaphore::MAX_PERMITS);
        let room = (Arc::new(Semaphore::new(most)), most / 4);
        Ok(Self { jobs, claude, has_content, room, metric_interval, stop, tasks, counts })
    }

    /// Who takes what a process of Claude Code says of itself, where that is wanted.
    pub(super) fn native(&self, agent: &str) -> Option<Arc<NativeReceiver>> {
        if self.claude == ClaudeTelemetry::Derived {
            return None;
        }
        let (jobs, dropped) = (self.jobs.clone(), self.counts.dropped.clone());
        let put = move |message: Option<NativeMessage>| {
            let sent = message.map(|message| jobs.try_send(Job::Native(message)));
            if !matches!(sent, Some(Ok(()))) {
                dropped.inc();
            }
        };
        let receiver = NativeReceiver::new(agent, self.has_content, self.room.clone(), put);
        Some(Arc::new(receiver))
    }

    /// A turn of a task has ended.
    pub(super) fn turn_ended(&self, task: TracedTask, upto: u64, is_native: bool) {
        self.put(Job::Turn { task, upto: (upto, Timestamp::now()), is_native });
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

    /// Sends the metrics, in the text for Prometheus.
    pub(super) fn send_metrics(&self, text: String) {
        self.put(Job::Metrics(text));
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

/// Who sends spans to this target.
fn build(
    (collector, target): (Collector, OtlpTarget),
    resource: &Resource,
) -> Result<SpanExporter, ExporterBuildError> {
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(target.endpoint)
        .with_timeout(target.timeout)
        .with_headers(target.headers);
    if target.gzip {
        builder = builder.with_compression(Compression::Gzip);
    }
    let mut exporter = builder.build()?;
    exporter.set_resource(resource);
    Ok(exporter)
}

/// Who this server is.
fn service(name: Option<String>, more: &[(String, String)]) -> Vec<(String, String)> {
    let mut service = more.to_vec();
    let own = [
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "opentelemetry"),
    ];
    service.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    if name.is_some() || !service.iter().any(|(known, _)| known == "service.name") {
        service.retain(|(known, _)| known != "service.name");
        let name = name.unwrap_or_else(|| "pilothouse".to_owned());
        service.push(("service.name".to_owned(), name));
    }
    service
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
        let Some(exporter) = &self.exporter else { return };
        self.note(count, exporter.export(spans).await);
    }

    /// Labels what a CLI says of itself, and sends it.
    async fn pass_on(&self, message: NativeMessage) {
        let target = &self.targets[match message.signal {
            TelemetrySignal::Traces => 0,
            TelemetrySignal::Metrics => 1,
            TelemetrySignal::Logs => 2,
        }];
        let Some((collector, target)) = target else { return };
        let sampler = |trace, sampled| self.samples_trace(trace, sampled);
        match message.label(&self.labels, sampler) {
            Some((_, 0)) => {}
            Some((bytes, count)) => self.note(count, collector.post(target, bytes).await),
            // Not in the form of the protocol.
            None => drop(self.counts.dropped.inc()),
        }
    }

    async fn send_metrics(&self, text: &str) {
        let Some((collector, target)) = &self.targets[1] else { return };
        let nanoseconds =
            |at: Timestamp| at.as_millisecond().unsigned_abs().saturating_mul(1_000_000);
        let (resource, start) = &self.service;
        let times = (nanoseconds(*start), nanoseconds(Timestamp::now()));
        let (message, _) = points::message(text, resource, times);
        self.note(0, collector.post(target, message.encode_to_vec()).await);
    }

    /// Counts what has left, or was left out.
    fn note<E: Display>(&self, count: u64, outcome: Result<(), E>) {
        let had_failed = self.fails.swap(outcome.is_err(), Ordering::Relaxed);
        let counted = if outcome.is_ok() { &self.counts.sent } else { &self.counts.dropped };
        counted.inc_by(count);
        if let Err(error) = outcome
            && !had_failed
        {
            tracing::warn!(%error, "telemetry could not be sent to OTEL_EXPORTER_OTLP_ENDPOINT (said once, until it can)");
        }
    }

    async fn derive(&mut self, job: Job) -> Vec<SpanData> {
        match job {
            Job::Turn { task, upto, is_native } => {
                let turns = self.turns.take(&self.store, &task, upto, self.content.as_ref()).await;
                let Ok(turns) = turns else {
                    self.counts.dropped.inc();
                    return Vec::new();
                };
                self.counts.dropped.inc_by(turns.left_out);
                let spans = turns.spans.into_iter();
                // The request's own span comes from where it was answered.
                let spans = spans.filter(|span| span.kind != SpanKind::Request);
                let is_native = self.leaves_out && is_native;
                let spans = spans.filter(|span| !is_native || !span.is_of_the_cli());
                spans
                    .filter(|span| self.samples(span))
                    .map(|span| convert(span, self.conventions, &self.scope))
                    .collect()
            }
            Job::Request(request) => {
                let span = self.request_span(*request).await;
                if self.samples(&span) {
                    vec![convert(span, self.conventions, &self.scope)]
                } else {
                    Vec::new()
                }
            }
            Job::Native(message) => {
                self.pass_on(message).await;
                Vec::new()
            }
            Job::Metrics(text) => {
                self.send_metrics(&text).await;
                Vec::new()
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
        self.samples_trace(span.trace, span.sampled)
    }

    fn samples_trace(&self, trace: TraceId, sampled: bool) -> bool {
        let Sampler { ratio, follows_parent } = self.sampler;
        if follows_parent && !sampled {
            return false;
        }
        let trace = OtelTraceId::from_bytes(trace.0);
        let sampler = opentelemetry_sdk::trace::Sampler::TraceIdRatioBased(ratio);
        let kind = OtelSpanKind::Internal;
        let result = sampler.should_sample(None, trace, "", &kind, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }
}

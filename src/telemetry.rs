//! What people see of the server: the live console, the log of raw agent lines, the audit log.

pub mod audit;
pub mod console;
mod happening;
pub mod metrics;
mod native;
mod notice;
mod otlp;
mod raw;
pub mod trace;

pub use audit::{Audit, Entry, Unsent};
pub use console::{Console, TurnEnd};
pub use metrics::Metrics;
pub use native::NativeReceiver;
pub use notice::Notice;
pub use raw::Raw;

use crate::access::Caller;
use crate::asks::{self, Answered};
use crate::config::{ClaudeTelemetry, Config, Exporter, Exposure};
use crate::store::{self, AskRow, Scope, SpanId, Store, TraceContext, TraceParent};
use crate::task::TaskLog;
use axum::http::HeaderMap;
use happening::Happening;
use metrics::Readings;
use otlp::{Otlp, SpanCounts};
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::AskKind;
use pilothouse_agents::event::Event;
use pilothouse_agents::is_unshowable;
use pilothouse_egress::Refusal;
use pilothouse_sandbox::isolation::BackendKind;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use trace::TracedTask;

/// Everything that watches; clones share it.
#[derive(Clone)]
pub struct Telemetry(Arc<SharedTelemetry>);

struct SharedTelemetry {
    console: Console,
    raw: Raw,
    audit: Audit,
    metrics: Option<Metrics>,
    /// The way to the operator's collector, where there is one.
    otlp: OnceLock<Otlp>,
    spans: SpanCounts,
    /// What is masked in lines of agents and in what was said.
    secrets: Arc<[String]>,
    /// Entries of the audit log that wait for their place in its queue.
    unsent: TaskTracker,
    /// How many of them there may be (`log.audit_queue`).
    most_unsent: usize,
    /// How many were lost since one was noted, because too many wait.
    lost: AtomicU64,
    /// What the operator may be told of; none where nobody is.
    notices: Option<mpsc::Sender<Notice>>,
}

impl Telemetry {
    /// Opens what the configuration asks for. These secrets are masked in lines of agents.
    pub fn new(
        config: &Config,
        (store, secrets): (&Store, &[String]),
        notices: Option<mpsc::Sender<Notice>>,
    ) -> io::Result<Self> {
        let console =
            if config.log.console { Console::stdout(config.log.color) } else { Console::off() };
        let raw = Raw::open(&config.log, secrets)?;
        let audit = Audit::open(config)?;
        let spans = SpanCounts::default();
        let metrics =
            (config.metrics != Exposure::Off).then(|| Metrics::new(&spans, store.commits()));
        let unsent = TaskTracker::new();
        Ok(Self(Arc::new(SharedTelemetry {
            console,
            raw,
            audit,
            metrics,
            otlp: OnceLock::new(),
            spans,
            secrets: secrets.into(),
            unsent,
            notices,
            most_unsent: config.log.audit_queue,
            lost: AtomicU64::new(0),
        })))
    }

    /// The log of raw agent lines.
    pub fn raw(&self) -> &Raw {
        &self.0.raw
    }

    /// The audit log.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// Opens the files of the logs anew, which somebody may have renamed.
    pub fn reopen(&self) {
        for (name, opened) in [("log.path", self.raw().reopen()), ("audit", self.audit().reopen())]
        {
            if let Err(error) = opened {
                tracing::error!(%error, "the file of `{name}` cannot be opened again; lines go to the old one");
            }
        }
    }

    /// What is counted; none where `metrics` is off.
    pub fn metrics(&self) -> Option<&Metrics> {
        self.0.metrics.as_ref()
    }

    /// Notes what became of a request, or says what is left to be waited for.
    pub fn note_request(&self, entry: &Entry) -> Result<(), Unsent> {
        if let Some(metrics) = self.metrics() {
            metrics.request(entry.outcome);
        }
        if let Some(otlp) = self.0.otlp.get() {
            otlp.request_ended(entry);
        }
        self.0.audit.note(entry)?;
        self.tell_lost();
        Ok(())
    }

    /// Begins to send to the operator's collector, where these variables name one. What cannot be done is told.
    pub fn export(
        &self,
        config: &Config,
        variables: &BTreeMap<String, String>,
        store: Store,
    ) -> Option<String> {
        let (exporter, told) = Exporter::read(variables);
        let settings = (&config.telemetry, self.0.secrets.clone());
        let told = told.or_else(|| note_claude(config, exporter.is_some()));
        let Some(exporter) = exporter else { return told };
        match Otlp::start(settings, exporter, store, self.0.spans.clone()) {
            Ok(otlp) => {
                let _ = self.0.otlp.set(otlp);
                told
            }
            // An address may hold a password, so it is not shown.
            Err(_) => Some(
                "spans are not sent: OTEL_EXPORTER_OTLP_ENDPOINT is no valid address".to_owned(),
            ),
        }
    }

    /// Who takes what a process of Claude Code says of itself, where that goes to the operator's collector.
    pub fn receive_native(&self, agent: &str) -> Option<Arc<NativeReceiver>> {
        self.0.otlp.get()?.native(agent)
    }

    /// How often the metrics go to the operator's collector; none where they do not.
    pub fn metric_interval(&self) -> Option<Duration> {
        self.metrics().and(self.0.otlp.get()?.metric_interval)
    }

    /// Sends the metrics as they are now to the operator's collector.
    pub fn send_metrics(&self, moment: Readings) {
        if let (Some(metrics), Some(otlp)) = (self.metrics(), self.0.otlp.get()) {
            otlp.send_metrics(metrics.render(moment));
        }
    }

    /// Sends the spans that wait, within this time.
    pub async fn flush_spans(&self, patience: Duration) {
        if let Some(otlp) = self.0.otlp.get() {
            otlp.close(patience).await;
        }
    }

    /// Where a request with these headers stands in a trace; none where its caller names none.
    pub fn begin_trace(&self, headers: &HeaderMap) -> Option<TraceContext> {
        let header = headers.get("traceparent");
        let parent = header.and_then(|value| TraceParent::parse(value.to_str().ok()?));
        if parent.is_none() && self.0.otlp.get().is_none() {
            return None;
        }
        // A random id; where there is no randomness the request has no span of its own.
        let mut span = [0; 8];
        getrandom::fill(&mut span).ok()?;
        Some(TraceContext { parent, span: SpanId(span) })
    }

    /// The console.
    pub fn console(&self) -> &Console {
        &self.0.console
    }

    /// A turn begins.
    pub fn turn_begins(&self, log: &TaskLog, agent: &str, prompt: &str) {
        self.0.console.begin_turn(&log.id, agent, &log.scope.caller, prompt);
        if let Some(metrics) = self.metrics() {
            metrics.turn_begins(log);
        }
        tracing::debug!(task.id = %log.id, context.id = %log.context_id, agent.name = agent, "a turn of task {} begins", log.id);
    }

    /// The agent said something.
    pub fn agent_says(&self, log: &TaskLog, event: &Event) {
        self.0.console.agent(&log.id, event);
        if let Some(metrics) = self.metrics() {
            metrics.agent_says(log, event);
        }
    }

    /// A person has to answer.
    pub fn asks(&self, log: &TaskLog, row: &AskRow) {
        let (words, command) = match row.ask.get("tool").and_then(Value::as_str) {
            Some(tool) => (console::call(tool, &row.ask["input"]), "approve"),
            None => (asks::words(&row.ask), "answer"),
        };
        let command = format!("{command} {}", row.short);
        self.0.console.ask(&log.id, &log.scope.caller, &words, &command);
        if let Some(metrics) = self.metrics() {
            metrics.ask(log, "asked");
        }
        self.note(&Happening::asked(log, row));
        self.tell(|| Some(Notice::asked(log, row)));
    }

    /// A message of a caller is stored.
    pub fn accepted(&self, log: &TaskLog, caller: &Caller) {
        self.note(&Happening::accepted(log, caller));
    }

    /// An ask is decided: by a caller, or because its time is over.
    pub fn answered(&self, log: &TaskLog, answered: &Answered, caller: Option<&Caller>) {
        let name = caller.map_or(&*log.scope.caller, |caller| &caller.name);
        self.0.console.answer(&log.id, name, answered.decision);
        if let Some(metrics) = self.metrics() {
            metrics.ask(log, answered.decision);
        }
        self.note(&Happening::answered(log, answered, caller));
    }

    /// The operator's rules decide about what an agent asks for.
    pub fn decided(&self, log: &TaskLog, kind: &AskKind, is_allowed: bool) {
        self.note(&Happening::decided(log, kind, is_allowed));
    }

    /// Tells the operator of something, where anybody is to be told.
    fn tell(&self, notice: impl FnOnce() -> Option<Notice>) {
        if let Some(notices) = &self.0.notices
            && let Some(notice) = notice()
            && notices.try_send(notice).is_err()
        {
            tracing::warn!(
                "a notification was left out: too many are on their way (`notifications.pending`)"
            );
        }
    }

    /// Notes what happened. Nobody waits for a full queue here, so the entry itself does.
    fn note(&self, happening: &Happening<'_>) {
        if let Err(unsent) = self.0.audit.note(happening) {
            // What agents cause does not wait for its reader without bound.
            if self.0.unsent.len() >= self.0.most_unsent {
                if self.0.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(
                        "nobody reads the audit log: entries of what happens to tasks are lost; read it, name a file by \
                         `audit`, or raise `log.audit_queue`"
                    );
                }
                return;
            }
            self.0.unsent.spawn(unsent.send());
        } else {
            self.tell_lost();
        }
    }

    /// Says how many entries were lost since this was said.
    fn tell_lost(&self) {
        if self.0.lost.load(Ordering::Relaxed) > 0 {
            let lost = self.0.lost.swap(0, Ordering::Relaxed);
            tracing::error!(
                lost,
                "{lost} entries of what happens to tasks are in no audit log: nobody read it"
            );
        }
    }

    /// A post to a webhook was taken, was not taken, or was given up.
    pub fn pushed(&self, outcome: &'static str) {
        if let Some(metrics) = self.metrics() {
            metrics.push(outcome);
        }
    }

    /// A set-up was built, or could not be.
    pub fn setup_built(&self, agent: &str, is_built: bool) {
        if let Some(metrics) = self.metrics() {
            metrics.build(agent, if is_built { "ok" } else { "error" });
        }
    }

    /// A turn is over.
    pub fn turn_ends(&self, log: &TaskLog, end: TurnEnd<'_>) {
        let duration_ms = end.took.as_millis();
        if let Some(metrics) = self.metrics() {
            metrics.turn_ends(log, &end);
        }
        if let Some(otlp) = self.0.otlp.get() {
            otlp.turn_ended(TracedTask::from(log), log.head(), end.is_native);
        }
        self.note(&Happening::ended(log, &end));
        self.tell(|| Notice::ended(log, &end));
        self.0.console.end_turn(&log.id, end);
        tracing::debug!(task.id = %log.id, context.id = %log.context_id, duration_ms, state = log.state().name(), "a turn of task {} ended", log.id);
    }

    /// Something of a task could not be stored.
    pub fn store_failed(&self, log: &TaskLog, error: &store::Error) {
        tracing::error!(task.id = %log.id, context.id = %log.context_id, %error, "events of task {} could not be stored", log.id);
    }

    /// A request of an agent did not get through its wall.
    #[must_use = "the entry is noted when it is sent"]
    pub fn egress_refused(
        &self,
        log: Option<&TaskLog>,
        scope: &Scope,
        refusal: &Refusal,
    ) -> Result<(), Unsent> {
        let Refusal { host, port, reason, .. } = refusal;
        if let Some(log) = log {
            self.0.console.refuse(&log.id, &format!("{host}:{port}"), &refusal.advice);
        }
        if let Some(metrics) = self.metrics() {
            metrics.refuse(&scope.agent, reason.word());
        }
        let entry = Entry {
            time: Timestamp::now(),
            kind: "egress",
            caller: Some(scope.caller.to_string()),
            token: None,
            owner: None,
            peer: format!("agent {}", scope.agent),
            action: format!("egress {host}:{port}"),
            subject: None,
            task: log.map(|log| log.id.to_string()),
            context: log.map(|log| log.context_id.to_string()),
            ask: None,
            decision: None,
            setup: None,
            trace: None,
            task_number: None,
            outcome: reason.word(),
            status: 403,
            duration_ms: 0.0,
        };
        self.0.audit.note(&entry)
    }

    /// Writes out what waits.
    pub async fn close(&self) {
        self.tell_lost();
        self.0.unsent.close();
        self.0.unsent.wait().await;
        self.0.audit.close().await;
        self.0.console.close();
    }
}

/// What is to be said where Claude Code's own telemetry is asked for and cannot be sent.
fn note_claude(config: &Config, has_collector: bool) -> Option<String> {
    if config.telemetry.claude.is_none_or(|asked| asked == ClaudeTelemetry::Derived) {
        return None;
    }
    let why = match (has_collector, config.isolation.backend) {
        (false, _) => "OTEL_EXPORTER_OTLP_ENDPOINT names no collector",
        (true, BackendKind::None) => {
            "without a sandbox it does not pass through the server; give the CLI its variables by `agents.*.env`"
        }
        (true, _) => return None,
    };
    Some(format!("`telemetry.claude`: Claude Code's own telemetry is not sent: {why}"))
}

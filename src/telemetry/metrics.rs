//! What is counted, for Prometheus: turns, tokens, cost, tools, asks, refusals. Ids, prompts and names that callers or
//! agents choose are never labels, so the number of series is bounded by the configuration.
//!
//! Names of the OpenTelemetry conventions for generative AI stand where there are any (`gen_ai_...`).

use super::TurnEnd;
use super::otlp::SpanCounts;
use crate::task::TaskLog;
use parking_lot::Mutex;
use pilothouse_a2a::id::TaskId;
use pilothouse_agents::event::{Event, Usage};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// The media type of what is rendered.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The counters, and the registry that renders them.
pub struct Metrics {
    registry: Registry,
    turns: Family<TurnLabels, Counter>,
    durations: Histograms<OperationLabels>,
    first_words: Histograms<AgentLabels>,
    waits: Histograms<AgentLabels>,
    tokens: Histograms<TokenLabels>,
    cost: Family<AgentLabels, Counter<f64, AtomicU64>>,
    tools: Family<ResultLabels, Counter>,
    asks: Family<AskLabels, Counter>,
    requests: Family<OutcomeLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    pushes: Family<OutcomeLabels, Counter>,
    builds: Family<ResultLabels, Counter>,
    now: Gauges,
    /// Turns whose agents have not said a word yet, and when they began.
    silent: Mutex<HashMap<TaskId, Instant>>,
}

/// What is looked up when the metrics are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Readings {
    /// Live processes of agents.
    pub processes: usize,
    /// How many there may be.
    pub processes_max: usize,
    /// Turns that wait for a place.
    pub waiting: usize,
    /// Sessions that are held in memory.
    pub sessions: usize,
    /// Those of which a turn runs or is on its way.
    pub sessions_busy: usize,
    /// Streams that are open.
    pub streams: usize,
    /// Guarantees of the sandbox that hold.
    pub guarantees: usize,
    /// Asks that can be answered.
    pub asks_open: usize,
    /// Since how many seconds the oldest of them waits.
    pub asks_open_seconds: i64,
    /// Bytes of the store's file.
    pub store_bytes: u64,
    /// Whether the store works.
    pub store_works: bool,
    /// Whether the last entry of the audit log was written.
    pub audit_works: bool,
}

#[derive(Default)]
struct Gauges {
    processes: Gauge,
    processes_max: Gauge,
    waiting: Gauge,
    sessions: Gauge,
    sessions_busy: Gauge,
    streams: Gauge,
    guarantees: Gauge,
    asks_open: Gauge,
    asks_open_seconds: Gauge,
    store_bytes: Gauge,
    store_works: Gauge,
    audit_works: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentLabels {
    agent: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TurnLabels {
    agent: String,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_agent_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_agent_name: String,
    gen_ai_token_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    agent: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AskLabels {
    agent: String,
    event: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    agent: String,
    reason: &'static str,
}

/// The convention's name of a turn.
const INVOKE_AGENT: &str = "invoke_agent";

/// From 10 ms to 3 h.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 21))
}

/// As the convention has them: powers of 4.
fn counts() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 4.0, 14))
}

impl Metrics {
    /// All of them, at zero.
    pub(super) fn new(spans: &SpanCounts, commits: Histogram) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            turns: Family::default(),
            durations: Family::new_with_constructor(seconds),
            first_words: Family::new_with_constructor(seconds),
            waits: Family::new_with_constructor(seconds),
            tokens: Family::new_with_constructor(counts),
            cost: Family::default(),
            tools: Family::default(),
            asks: Family::default(),
            requests: Family::default(),
            refusals: Family::default(),
            pushes: Family::default(),
            builds: Family::default(),
            now: Gauges::default(),
            silent: Mutex::default(),
        };
        metrics.registered(spans, commits)
    }

    fn registered(mut self, spans: &SpanCounts, commits: Histogram) -> Self {
        let all = &mut self.registry;
        let name = "gen_ai_client_operation_duration";
        let help = "How long turns took, with what they waited for people";
        all.register_with_unit(name, help, Unit::Seconds, self.durations.clone());
        let help = "Tokens of turns";
        all.register("gen_ai_client_token_usage", help, self.tokens.clone());
        let all = all.sub_registry_with_prefix("pilothouse");
        all.register("turns", "Turns that ended, by their tasks' state", self.turns.clone());
        let help = "From the begin of a turn to the agent's first word";
        all.register_with_unit("first_word", help, Unit::Seconds, self.first_words.clone());
        let help = "How long turns waited for people";
        all.register_with_unit("waited_for_people", help, Unit::Seconds, self.waits.clone());
        let help = "Cost of turns in US dollars, as the agents state it";
        all.register("cost_usd", help, self.cost.clone());
        all.register("tool_calls", "Tools that answered", self.tools.clone());
        all.register("asks", "Questions to people: asked, and how answered", self.asks.clone());
        let help = "Requests by their outcome, as in the audit log";
        all.register("requests", help, self.requests.clone());
        let help = "Requests of agents that the proxy refused";
        all.register("egress_refusals", help, self.refusals.clone());
        let help = "Posts to webhooks, by what came of them";
        all.register("pushes", help, self.pushes.clone());
        all.register("setup_builds", "Set-ups that were built", self.builds.clone());
        let help =
            "How long batches of the store took, from their order to their place on the disk";
        all.register_with_unit("store_commit", help, Unit::Seconds, commits);
        let help = "Spans that a collector has taken";
        all.register("spans_sent", help, spans.sent.clone());
        let help = "Spans that were not sent, and turns and requests whose spans had no place in the queue";
        all.register("spans_dropped", help, spans.dropped.clone());
        let now = &self.now;
        let gauges = [
            ("processes", "Live processes of agents", &now.processes),
            ("processes_max", "How many processes there may be", &now.processes_max),
            ("turns_waiting", "Turns that wait for a place", &now.waiting),
            ("sessions", "Sessions that are held in memory", &now.sessions),
            ("sessions_busy", "Those of which a turn runs or is on its way", &now.sessions_busy),
            ("streams", "Open streams", &now.streams),
            ("sandbox_guarantees", "Guarantees of the sandbox that hold", &now.guarantees),
            ("asks_open", "Questions that wait for people", &now.asks_open),
            (
                "asks_open_age_seconds",
                "Since when the oldest of them waits",
                &now.asks_open_seconds,
            ),
            ("store_bytes", "Bytes of the store's file", &now.store_bytes),
            ("store_works", "Whether the store can be written and read", &now.store_works),
            (
                "audit_works",
                "Whether the last entry of the audit log was written",
                &now.audit_works,
            ),
        ];
        for (name, help, gauge) in gauges {
            all.register(name, help, gauge.clone());
        }
        self
    }

    /// The text that Prometheus reads.
    pub fn render(&self, moment: Readings) -> String {
        let now = &self.now;
        now.processes.set(whole(moment.processes));
        now.processes_max.set(whole(moment.processes_max));
        now.waiting.set(whole(moment.waiting));
        now.sessions.set(whole(moment.sessions));
        now.sessions_busy.set(whole(moment.sessions_busy));
        now.streams.set(whole(moment.streams));
        now.guarantees.set(whole(moment.guarantees));
        now.asks_open.set(whole(moment.asks_open));
        now.asks_open_seconds.set(moment.asks_open_seconds);
        now.store_bytes.set(i64::try_from(moment.store_bytes).unwrap_or(i64::MAX));
        now.store_works.set(moment.store_works.into());
        now.audit_works.set(moment.audit_works.into());
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes what is written");
        text
    }

    pub(super) fn turn_begins(&self, log: &TaskLog) {
        self.silent.lock().insert(log.id.clone(), Instant::now());
    }

    pub(super) fn agent_says(&self, log: &TaskLog, event: &Event) {
        let agent = || log.scope.agent.to_string();
        match event {
            Event::Text(_) | Event::Message(_) => {
                if let Some(began) = self.silent.lock().remove(&log.id) {
                    let first_word = began.elapsed().as_secs_f64();
                    self.first_words
                        .get_or_create(&AgentLabels { agent: agent() })
                        .observe(first_word);
                }
            }
            Event::ToolResult { is_error, .. } => {
                let outcome = if *is_error { "error" } else { "ok" };
                self.tools.get_or_create(&ResultLabels { agent: agent(), outcome }).inc();
            }
            _ => {}
        }
    }

    pub(super) fn ask(&self, log: &TaskLog, event: &'static str) {
        self.asks.get_or_create(&AskLabels { agent: log.scope.agent.to_string(), event }).inc();
    }

    pub(super) fn request(&self, outcome: &'static str) {
        self.requests.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(super) fn push(&self, outcome: &'static str) {
        self.pushes.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(super) fn build(&self, agent: &str, outcome: &'static str) {
        self.builds.get_or_create(&ResultLabels { agent: agent.to_owned(), outcome }).inc();
    }

    pub(super) fn refuse(&self, agent: &str, reason: &'static str) {
        self.refusals.get_or_create(&RefusalLabels { agent: agent.to_owned(), reason }).inc();
    }

    pub(super) fn turn_ends(&self, log: &TaskLog, end: &TurnEnd<'_>) {
        self.silent.lock().remove(&log.id);
        let agent = log.scope.agent.to_string();
        let outcome = end.state.word();
        let reason = end.failure.unwrap_or("");
        self.turns.get_or_create(&TurnLabels { agent: agent.clone(), outcome, reason }).inc();
        let labels = OperationLabels {
            gen_ai_operation_name: INVOKE_AGENT,
            gen_ai_agent_name: agent.clone(),
        };
        self.durations.get_or_create(&labels).observe(end.took.as_secs_f64());
        let labels = AgentLabels { agent };
        if !end.waited.is_zero() {
            self.waits.get_or_create(&labels).observe(end.waited.as_secs_f64());
        }
        if let Some(usage) = end.usage {
            self.use_up(labels, usage);
        }
    }

    fn use_up(&self, labels: AgentLabels, usage: &Usage) {
        let tokens = [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read_tokens),
            ("cache_write", usage.cache_write_tokens),
        ];
        for (gen_ai_token_type, count) in tokens {
            if let Some(count) = count {
                let labels = TokenLabels {
                    gen_ai_operation_name: INVOKE_AGENT,
                    gen_ai_agent_name: labels.agent.clone(),
                    gen_ai_token_type,
                };
                self.tokens.get_or_create(&labels).observe(count as f64);
            }
        }
        if let Some(cost) = usage.cost_usd.filter(|cost| cost.is_finite() && *cost >= 0.0) {
            self.cost.get_or_create(&labels).inc_by(cost);
        }
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

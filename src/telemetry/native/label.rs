//! From what a CLI says of itself to what leaves: labelled with the turn that it belongs to, and without all that is not
//! in the lists of this file. It reads no clock and no store.

#[cfg(test)]
mod tests;

use super::NativeTurn;
use crate::config::{Conventions, MASK};
use crate::store::TraceId;
use crate::telemetry::trace::{Content, SpanAttribute, cut};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::sync::Arc;

/// What the names of its spans, events and metrics begin with.
const PREFIX: &str = "claude_code.";

/// Stands for values of labels beyond those that a process may have.
const OTHER: &str = "_OTHER";

/// Longest name.
const LONGEST_NAME: usize = 64;

/// Longest text of an attribute that holds nothing of what was said.
const LONGEST_WORD: usize = 128;

/// Attributes of the process that are kept.
const OF_PROCESS: &[&str] =
    &["service.name", "service.version", "os.type", "os.version", "host.arch"];

/// Attributes that have few values, and may be labels of metrics.
const WORDS: &[&str] = &[
    "agent.name",
    "app.entrypoint",
    "app.version",
    "cache_creation_tokens",
    "cache_read_tokens",
    "decision",
    "effort",
    "fast_mode",
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.system",
    "language",
    "model",
    "query_source",
    "source",
    "speed",
    "start_type",
    "terminal.type",
    "tool",
    "tool_name",
    "type",
];

/// Further attributes of spans and events: numbers, times, ids of its own.
const FACTS: &[&str] = &[
    "attempt",
    "attempt_count",
    "cost_usd",
    "decision_source",
    "decision_type",
    "duration_ms",
    "event.name",
    "event.sequence",
    "event.timestamp",
    "gen_ai.response.id",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "hook_event",
    "input_tokens",
    "interaction.duration_ms",
    "interaction.sequence",
    "num_hooks",
    "output_tokens",
    "parent_tool_use_id",
    "prompt.id",
    "prompt_length",
    "request_id",
    "response.has_tool_call",
    "response_length",
    "span.type",
    "status_code",
    "stop_reason",
    "success",
    "tool.name",
    "tool_input_size_bytes",
    "tool_result_size_bytes",
    "tool_use_id",
    "total_duration_ms",
    "ttft_ms",
    "user_prompt_length",
];

/// Attributes that tell of accounts and machines: they never leave.
const NEVER: &[&str] = &["user.", "organization.", "host.", "process.", "session.", "enduser."];

/// What is the same for all that leaves.
pub(in crate::telemetry) struct Labels {
    pub(in crate::telemetry) conventions: Conventions,
    /// How much of what was said leaves; none where nobody asks for it.
    pub(in crate::telemetry) content: Option<Content>,
    /// What is masked wherever it stands.
    pub(in crate::telemetry) secrets: Arc<[String]>,
    /// What the operator says of this service.
    pub(in crate::telemetry) resource: Vec<(String, String)>,
}

/// The process that said it.
pub(super) struct NativeProcess<'a> {
    pub(super) agent: &'a str,
    pub(super) instance: &'a str,
    pub(super) turns: &'a [NativeTurn],
    /// Whether a label of a metric may have this value.
    pub(super) admits: &'a dyn Fn(&str, &str) -> bool,
    /// Whether a trace leaves.
    pub(super) samples: &'a dyn Fn(TraceId, bool) -> bool,
}

impl NativeProcess<'_> {
    /// The turn at this time: the last one that had begun, or the first one for what came before it.
    fn turn_at(&self, nanoseconds: u64) -> Option<&NativeTurn> {
        let begun = self.turns.iter().rfind(|turn| turn.began <= nanoseconds);
        begun.or(self.turns.first())
    }
}

impl Labels {
    /// Spans under the traces of their turns.
    pub(super) fn traces(
        &self,
        process: &NativeProcess<'_>,
        bytes: &[u8],
    ) -> Option<(Vec<u8>, u64)> {
        let mut message = ExportTraceServiceRequest::decode(bytes).ok()?;
        let mut count = 0;
        for of_resource in &mut message.resource_spans {
            self.label_resource(process, &mut of_resource.resource);
            of_resource.schema_url.clear();
            for of_scope in &mut of_resource.scope_spans {
                reset_scope(&mut of_scope.scope);
                of_scope.schema_url.clear();
                of_scope.spans.retain_mut(|span| self.label_span(process, span));
                count += of_scope.spans.len() as u64;
            }
        }
        Some((message.encode_to_vec(), count))
    }

    fn label_span(&self, process: &NativeProcess<'_>, span: &mut Span) -> bool {
        let Some(turn) = process.turn_at(span.start_time_unix_nano) else { return false };
        if !is_known(&span.name) || !(process.samples)(turn.trace, turn.sampled) {
            return false;
        }
        span.trace_id = turn.trace.0.to_vec();
        span.trace_state.clear();
        if span.parent_span_id.iter().all(|byte| *byte == 0) {
            span.parent_span_id = turn.request.0.to_vec();
        }
        self.label_attributes(process, turn, &mut span.attributes);
        span.events.retain_mut(|event| {
            self.keep(&mut event.attributes, &[WORDS, FACTS]);
            is_known(&event.name)
        });
        span.links.clear();
        if let Some(status) = &mut span.status {
            status.message.clear();
        }
        true
    }

    /// Events, with the turns that they belong to.
    pub(super) fn logs(&self, process: &NativeProcess<'_>, bytes: &[u8]) -> Option<(Vec<u8>, u64)> {
        let mut message = ExportLogsServiceRequest::decode(bytes).ok()?;
        let mut count = 0;
        for of_resource in &mut message.resource_logs {
            self.label_resource(process, &mut of_resource.resource);
            of_resource.schema_url.clear();
            for of_scope in &mut of_resource.scope_logs {
                reset_scope(&mut of_scope.scope);
                of_scope.schema_url.clear();
                of_scope.log_records.retain_mut(|record| self.label_record(process, record));
                count += of_scope.log_records.len() as u64;
            }
        }
        Some((message.encode_to_vec(), count))
    }

    fn label_record(&self, process: &NativeProcess<'_>, record: &mut LogRecord) -> bool {
        let at = record.time_unix_nano.max(record.observed_time_unix_nano);
        let Some(turn) = process.turn_at(at) else { return false };
        let name = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
            Some(Value::StringValue(name)) => name.clone(),
            _ => record.event_name.clone(),
        };
        if !is_known(&name) {
            return false;
        }
        record.event_name.clone_from(&name);
        record.body = Some(AnyValue { value: Some(Value::StringValue(name)) });
        if !record.trace_id.is_empty() {
            record.trace_id = turn.trace.0.to_vec();
        }
        record.severity_text.truncate(record.severity_text.floor_char_boundary(16));
        self.label_attributes(process, turn, &mut record.attributes);
        true
    }

    /// Sums of a process, which are of no turn: ids are never labels.
    pub(super) fn metrics(
        &self,
        process: &NativeProcess<'_>,
        bytes: &[u8],
    ) -> Option<(Vec<u8>, u64)> {
        let mut message = ExportMetricsServiceRequest::decode(bytes).ok()?;
        let mut count = 0;
        for of_resource in &mut message.resource_metrics {
            self.label_resource(process, &mut of_resource.resource);
            of_resource.schema_url.clear();
            for of_scope in &mut of_resource.scope_metrics {
                reset_scope(&mut of_scope.scope);
                of_scope.schema_url.clear();
                of_scope.metrics.retain_mut(|metric| {
                    count += self.keep_points(process, metric);
                    is_known(&metric.name)
                });
            }
        }
        Some((message.encode_to_vec(), count))
    }

    /// Leaves words alone with the points of a metric; how many points there are.
    fn keep_points(&self, process: &NativeProcess<'_>, metric: &mut Metric) -> u64 {
        metric.description.clear();
        metric.metadata.clear();
        if !is_known(&metric.name) {
            return 0;
        }
        let mut count = 0;
        let mut keep = |attributes: &mut Vec<KeyValue>| {
            self.keep(attributes, &[WORDS]);
            for KeyValue { key, value, .. } in attributes {
                if let Some(Value::StringValue(text)) =
                    value.as_mut().and_then(|value| value.value.as_mut())
                    && !(process.admits)(key, text)
                {
                    OTHER.clone_into(text);
                }
            }
            count += 1;
        };
        match &mut metric.data {
            Some(metric::Data::Gauge(of)) => of.data_points.iter_mut().for_each(|point| {
                point.exemplars.clear();
                keep(&mut point.attributes);
            }),
            Some(metric::Data::Sum(of)) => of.data_points.iter_mut().for_each(|point| {
                point.exemplars.clear();
                keep(&mut point.attributes);
            }),
            Some(metric::Data::Histogram(of)) => of.data_points.iter_mut().for_each(|point| {
                point.exemplars.clear();
                keep(&mut point.attributes);
            }),
            // It has none of these.
            Some(metric::Data::ExponentialHistogram(_) | metric::Data::Summary(_)) | None => {
                metric.data = None;
            }
        }
        count
    }

    fn label_resource(&self, process: &NativeProcess<'_>, resource: &mut Option<Resource>) {
        let resource = resource.get_or_insert_default();
        self.keep(&mut resource.attributes, &[OF_PROCESS]);
        let agent = SpanAttribute::Agent.name(self.conventions);
        let own = [("service.instance.id", process.instance), (agent, process.agent)];
        let named = self.resource.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in named.chain(own) {
            set(&mut resource.attributes, name, value);
        }
    }

    fn label_attributes(
        &self,
        process: &NativeProcess<'_>,
        turn: &NativeTurn,
        attributes: &mut Vec<KeyValue>,
    ) {
        self.keep(attributes, &[WORDS, FACTS]);
        for (attribute, value) in [
            (SpanAttribute::Agent, process.agent),
            (SpanAttribute::Task, turn.task.as_str()),
            (SpanAttribute::Conversation, turn.context.as_str()),
            (SpanAttribute::Session, turn.context.as_str()),
        ] {
            set(attributes, attribute.name(self.conventions), value);
        }
    }

    /// Leaves those of the lists; where what was said is wanted, all of spans and events but what tells of accounts.
    fn keep(&self, attributes: &mut Vec<KeyValue>, lists: &[&[&str]]) {
        // Of processes and metrics nothing was said.
        let content = self.content.as_ref().filter(|_| lists.contains(&FACTS));
        attributes.retain_mut(|attribute| {
            let key = attribute.key.as_str();
            let is_listed = lists.iter().any(|list| list.contains(&key));
            let is_never = NEVER.iter().any(|never| key.starts_with(never));
            if !is_listed && (content.is_none() || is_never || key.len() > LONGEST_NAME) {
                return false;
            }
            match attribute.value.as_mut().and_then(|value| value.value.as_mut()) {
                Some(Value::StringValue(text)) => match content {
                    Some(content) => *text = cut(text, content),
                    None => self.bound(text),
                },
                Some(Value::BoolValue(_) | Value::IntValue(_) | Value::DoubleValue(_)) => {}
                _ => return false,
            }
            true
        });
    }

    fn bound(&self, text: &mut String) {
        for secret in self.secrets.iter() {
            if text.contains(&**secret) {
                *text = text.replace(&**secret, MASK);
            }
        }
        text.truncate(text.floor_char_boundary(LONGEST_WORD));
    }
}

/// Whether this may be the name of a span, an event or a metric of the CLI.
fn is_known(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.');
    name.len() <= LONGEST_NAME && name.starts_with(PREFIX) && name.bytes().all(is_plain)
}

/// Whoever speaks by this way is the CLI.
fn reset_scope(scope: &mut Option<InstrumentationScope>) {
    let name = "com.anthropic.claude_code".to_owned();
    *scope = Some(InstrumentationScope { name, ..InstrumentationScope::default() });
}

fn set(attributes: &mut Vec<KeyValue>, key: &str, value: &str) {
    attributes.retain(|attribute| attribute.key != key);
    attributes.push(KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    });
}

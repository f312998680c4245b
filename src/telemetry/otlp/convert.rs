//! Spans as the official exporter takes them.

use crate::config::Conventions;
use crate::store::{SpanId, TraceId};
use crate::telemetry::trace::{Span, SpanAttribute, SpanEvent, SpanKind};
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId as OtelSpanId, SpanKind as OtelSpanKind, Status, TraceFlags,
    TraceId as OtelTraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value as OtelValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use pilothouse_a2a::time::Timestamp;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// A span as the exporter of OpenTelemetry takes it.
pub(super) fn convert(
    span: Span,
    conventions: Conventions,
    scope: &InstrumentationScope,
) -> SpanData {
    let context = |trace: TraceId, id: SpanId| {
        SpanContext::new(
            OtelTraceId::from_bytes(trace.0),
            OtelSpanId::from_bytes(id.0),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        )
    };
    let mut events = SpanEvents::default();
    events.events = span.events.iter().map(|event| convert_event(event, conventions)).collect();
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
        attributes: convert_attributes(&span.attributes, conventions),
        dropped_attributes_count: 0,
        events,
        links,
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn convert_event(event: &SpanEvent, conventions: Conventions) -> Event {
    let attributes = convert_attributes(&event.attributes, conventions);
    Event::new(event.name, system_time(event.at), attributes, 0)
}

fn convert_attributes(
    attributes: &[(SpanAttribute, Value)],
    conventions: Conventions,
) -> Vec<KeyValue> {
    let each = attributes.iter();
    each.map(|(name, value)| KeyValue::new(name.name(conventions), convert_value(value))).collect()
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

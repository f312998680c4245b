//! What happens in a segment of the agent's work: tools, steps of its beginning, calls of models.

use super::Derivation;
use super::text::{bound_name, cut};
use crate::store::{SpanId, TraceId};
use crate::telemetry::trace::{SpanAttribute, SpanEvent, SpanKind};
use pilothouse_a2a::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// What the data of a status says, as far as spans show it.
#[derive(Deserialize)]
pub(super) struct StatusData {
    kind: String,
    id: Option<String>,
    name: Option<String>,
    #[serde(rename = "isError")]
    is_error: Option<bool>,
    reason: Option<String>,
    input: Option<Value>,
    output: Option<Value>,
}

impl Derivation {
    pub(super) fn add_data(&mut self, (seq, at): (u64, Timestamp), data: StatusData) {
        let Some(turn) = &self.turn else { return };
        let (place, step) = (turn.at, turn.step);
        match data.kind.as_str() {
            "tool-call" => self.begin_tool((seq, at), data),
            "tool-result" => self.end_tool(at, &data),
            "init-session" => self.end_step(place, (step, at), "session_script"),
            "checkout" => self.end_step(place, (step, at), "checkout"),
            "egress-refused" => {
                let reason = data.reason.unwrap_or_default();
                let attributes = vec![(SpanAttribute::EgressReason, json!(reason))];
                let event = SpanEvent { at, name: "egress.refused", attributes };
                self.spans[place].events.push(event);
            }
            "retry" => self.note(place, at, "model.overloaded"),
            "limit" => self.note(place, at, "account.limit"),
            "conversation-lost" => self.note(place, at, "conversation.lost"),
            "silence" => self.note(place, at, "model.silent"),
            _ => {}
        }
    }

    fn note(&mut self, place: usize, at: Timestamp, name: &'static str) {
        self.spans[place].events.push(SpanEvent { at, name, attributes: Vec::new() });
    }

    fn end_step(&mut self, place: usize, (began, at): (Timestamp, Timestamp), name: &'static str) {
        self.add_step(place, began, at, name);
        if let Some(turn) = &mut self.turn {
            turn.step = at;
        }
    }

    fn begin_tool(&mut self, (seq, at): (u64, Timestamp), data: StatusData) {
        let Some(turn) = &self.turn else { return };
        let (trace, parent) = (self.spans[turn.at].trace, self.spans[turn.at].id);
        let tool = bound_name(data.name.as_deref().unwrap_or("tool"));
        let mut span = self.span("tool", seq, (trace, Some(parent)), SpanKind::Work);
        (span.name, span.began) = (format!("execute_tool {tool}"), at);
        span.set(SpanAttribute::Operation, "execute_tool");
        span.set(SpanAttribute::SpanKind, "TOOL");
        span.set(SpanAttribute::Tool, tool);
        let call = data.id.unwrap_or_default();
        span.set(SpanAttribute::ToolCall, bound_name(&call));
        if let (Some(content), Some(input)) = (&self.content, data.input) {
            span.set(SpanAttribute::ToolArguments, cut(&input.to_string(), content));
        }
        let place = self.spans.len();
        self.push(span);
        if let Some(turn) = self.turn.as_mut().filter(|_| place < self.spans.len()) {
            turn.tools.insert(call, place);
        }
    }

    fn end_tool(&mut self, at: Timestamp, data: &StatusData) {
        let Some(turn) = &mut self.turn else { return };
        let Some(place) = turn.tools.remove(data.id.as_deref().unwrap_or_default()) else { return };
        let span = &mut self.spans[place];
        span.ended = Some(at);
        if data.is_error == Some(true) {
            span.fail("_OTHER");
        }
        if let (Some(content), Some(output)) = (&self.content, &data.output) {
            let output = output.as_str().map_or_else(|| output.to_string(), ToOwned::to_owned);
            span.set(SpanAttribute::ToolResult, cut(&output, content));
        }
    }

    /// The calls of models that began before a turn ended.
    pub(super) fn add_calls(&mut self, (trace, parent): (TraceId, SpanId), ended: Timestamp) {
        let until = ended.as_millisecond();
        let calls = std::mem::take(&mut self.calls).into_iter();
        let (now, later): (Vec<_>, Vec<_>) = calls.partition(|call| call.began_ms <= until);
        self.calls = later;
        for (at, call) in now.into_iter().enumerate() {
            let number = format!("{}.{at}", self.ended);
            let mut span = self.span("chat", number, (trace, Some(parent)), SpanKind::ModelCall);
            let model = call.model.as_deref().map(bound_name);
            span.name = model.map_or_else(|| "chat".to_owned(), |model| format!("chat {model}"));
            span.began = Timestamp::from_millisecond(call.began_ms);
            span.ended = Some(Timestamp::from_millisecond(call.ended_ms.max(call.began_ms)));
            span.set(SpanAttribute::Operation, "chat");
            span.set(SpanAttribute::SpanKind, "LLM");
            // The one driver that tells of single calls is that of Claude Code.
            span.set(SpanAttribute::Provider, "anthropic");
            if let Some(model) = model {
                span.set(SpanAttribute::RequestModel, model);
                span.set(SpanAttribute::ResponseModel, model);
            }
            let usage = [
                call.input_tokens,
                call.output_tokens,
                call.cache_read_tokens,
                call.cache_write_tokens,
            ];
            span.set_tokens(usage);
            self.push(span);
        }
    }
}

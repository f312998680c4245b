//! The trace of a task: what its events tell, as spans. Derived when somebody wants it, so that a turn costs nothing for it.
//!
//! # How it works
//!
//! A task's events have their times, and are stored before anybody sees them. [`Trace::read`] reads them (not the pieces
//! of answers), the task's asks and its notes, and makes spans of them: the request, each segment of the agent's work,
//! each tool, each wait. Ids of spans are made of the task and the place of what they measure, so whoever derives them
//! again, also after a restart, gets the same.

mod derive;
mod export;
pub mod names;

pub use names::SpanAttribute;

use crate::config::Conventions;
use crate::store::{Error, EventsPart, Kind, Scope, SpanId, Store, TraceId};
use crate::task::TaskLog;
use derive::{Derivation, Finished, derive};
pub(super) use derive::{cut, trace_of_task};
pub(super) use export::TurnExports;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::time::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Spans of one task at most; those of further turns are left out.
const MOST_SPANS: usize = 10_000;

/// Notes and asks of one task that are read, at most.
pub(super) const MOST_ROWS: u32 = 10_000;

/// What one read of the store brings.
const READ_BYTES: usize = 256 * 1024;

/// An event that is larger than this has no data that a span shows.
const LARGEST_EVENT: usize = 1 << 20;

/// The spans of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The trace of its first message.
    pub id: TraceId,
    /// Its spans, in the order of their beginnings.
    pub spans: Vec<Span>,
    /// Whether there are more.
    pub truncated: bool,
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace that it belongs to: that of the message whose turn it is.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// Whether that is a span of the caller's.
    pub has_remote_parent: bool,
    /// Whether the caller records the trace; true where it said nothing.
    pub sampled: bool,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: SpanKind,
    /// Since when.
    pub began: Timestamp,
    /// Until when; none where it goes on.
    pub ended: Option<Timestamp>,
    /// The code of its failure.
    pub error: Option<String>,
    /// What is said of it.
    pub attributes: Vec<(SpanAttribute, Value)>,
    /// What happened in it.
    pub events: Vec<SpanEvent>,
    /// The span that it continues.
    pub continues: Option<(TraceId, SpanId)>,
    /// The number of the turn with whose end it is exported.
    pub turn: usize,
}

/// What a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request of a caller.
    Request,
    /// Work of the agent.
    Work,
    /// A call of a model.
    ModelCall,
    /// A wait: for a person, for a place, for a process.
    Wait,
}

/// Something that happened at one moment of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub name: &'static str,
    /// More of it.
    pub attributes: Vec<(SpanAttribute, Value)>,
}

/// How much of what people and agents said stands in spans.
#[derive(Clone)]
pub struct Content {
    /// Bytes of one attribute, at most.
    pub most: usize,
    /// What is masked in it.
    pub secrets: Arc<[String]>,
}

/// A task, as far as its spans tell of it.
#[derive(Debug, Clone)]
pub struct TracedTask {
    n: i64,
    id: TaskId,
    scope: Scope,
    context_id: ContextId,
}

impl From<&TaskLog> for TracedTask {
    fn from(log: &TaskLog) -> Self {
        Self {
            n: log.n,
            id: log.id.clone(),
            scope: log.scope.clone(),
            context_id: log.context_id.clone(),
        }
    }
}

impl Trace {
    /// The trace of a task up to an event, with what was said as far as that is wanted.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn read(
        store: &Store,
        task: &TracedTask,
        upto: u64,
        content: Option<&Content>,
    ) -> Result<Self, Error> {
        let mut derivation = derive(task, content.cloned());
        derivation.hear_notes(store.trace_notes(task.n, (0, MOST_ROWS)).await?);
        let mut after = 0;
        while after < upto && derivation.len() < MOST_SPANS {
            after = read_part(store, task, &mut derivation, (after, upto)).await?;
        }
        let asks = store.asks_of_task(task.n, MOST_ROWS).await?;
        let end = Timestamp::from_millisecond(i64::MAX);
        let Finished { id, spans, left_out, .. } = derivation.finish(&asks, end);
        Ok(Self { id, spans, truncated: after < upto || left_out > 0 })
    }

    /// The trace as callers read it.
    pub fn to_json(&self, conventions: Conventions) -> Value {
        let spans: Vec<_> = self.spans.iter().map(|span| span.to_json(conventions)).collect();
        json!({"traceId": self.id, "spans": spans, "truncated": self.truncated})
    }
}

/// Takes in the next events up to one of them; the last one that was taken in.
async fn read_part(
    store: &Store,
    task: &TracedTask,
    derivation: &mut Derivation,
    (after, upto): (u64, u64),
) -> Result<u64, Error> {
    let events = store
        .events_in_part(EventsPart {
            n: task.n,
            after,
            upto,
            bytes: READ_BYTES,
            without: (!derivation.has_content()).then_some(Kind::Artifact),
            largest: LARGEST_EVENT,
        })
        .await?;
    events.iter().for_each(|event| derivation.add(event));
    Ok(events.last().map_or(upto, |event| event.seq))
}

impl Span {
    fn to_json(&self, conventions: Conventions) -> Value {
        let events: Vec<_> = self.events.iter().map(|event| event.to_json(conventions)).collect();
        let mut json = json!({
            "traceId": self.trace,
            "spanId": self.id,
            "name": self.name,
            "kind": self.kind.word(),
            "start": self.began,
            "attributes": attributes(&self.attributes, conventions),
        });
        let more = [
            ("parentSpanId", self.parent.map(|parent| json!(parent))),
            ("end", self.ended.map(|ended| json!(ended))),
            ("error", self.error.as_ref().map(|error| json!(error))),
            ("events", (!events.is_empty()).then(|| json!(events))),
            (
                "links",
                self.continues.map(|(trace, span)| json!([{"traceId": trace, "spanId": span}])),
            ),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                json[name] = value;
            }
        }
        json
    }
}

impl SpanEvent {
    fn to_json(&self, conventions: Conventions) -> Value {
        let attributes = attributes(&self.attributes, conventions);
        json!({"time": self.at, "name": self.name, "attributes": attributes})
    }
}

impl SpanKind {
    /// The word of the API.
    const fn word(self) -> &'static str {
        match self {
            Self::Request => "server",
            Self::ModelCall => "client",
            Self::Work | Self::Wait => "internal",
        }
    }
}

fn attributes(of: &[(SpanAttribute, Value)], conventions: Conventions) -> Map<String, Value> {
    let named =
        |(name, value): &(SpanAttribute, Value)| (name.name(conventions).to_owned(), value.clone());
    of.iter().map(named).collect()
}

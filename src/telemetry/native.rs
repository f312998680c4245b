//! What Claude Code says of itself, on its way to the operator's collector: its own metrics, events and spans.
//!
//! # How it works
//!
//! The exporters of a process send to the way out of its session, which hands the messages to a [`NativeReceiver`]. They
//! wait with the spans of turns, within `telemetry.claude_bytes`. Before one leaves it is labelled: each span and each
//! event by the turn in which it began, which is found by its time, so that a process that serves many tasks tells each
//! of them apart. All ids of traces are replaced by the one of that turn. An agent may send whatever it likes, so what
//! leaves is a closed list of names ([`label`]).

mod label;

pub(super) use label::Labels;

use super::trace::{MOST_ROWS, trace_of_task};
use crate::store::{Error, SpanId, Store, TraceId, TraceNote};
use crate::task::TaskLog;
use bytes::Bytes;
use parking_lot::Mutex;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::time::Timestamp;
use pilothouse_egress::{TelemetryReceiver, TelemetrySignal};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns of a process that are known: what belongs to an earlier one comes within seconds of its end.
const MOST_TURNS: usize = 64;

/// Messages of a process that wait, so that one which sends without end leaves place to others.
const MOST_WAITING: usize = 16;

/// Values of labels of a process's metrics: an agent that makes new ones without end makes no series without end.
const MOST_WORDS: usize = 256;

/// Takes what one process sends.
pub struct NativeReceiver {
    source: Arc<NativeSource>,
    has_content: bool,
    places: Arc<Semaphore>,
    room: Arc<Semaphore>,
    largest: usize,
    /// Takes a message, or hears that one had no place.
    put: Box<dyn Fn(Option<NativeMessage>) + Send + Sync>,
}

/// A process, as far as what it sends is labelled.
struct NativeSource {
    agent: String,
    /// Tells the sums of this process from those of others.
    instance: String,
    turns: Mutex<VecDeque<NativeTurn>>,
    /// Names and values of labels that are known.
    words: Mutex<HashSet<(String, String)>>,
}

/// A turn of the process, as far as its telemetry is labelled.
#[derive(Debug, Clone)]
pub(super) struct NativeTurn {
    /// Since when, in nanoseconds since 1970-01-01 UTC.
    began: u64,
    trace: TraceId,
    /// The span of its request.
    request: SpanId,
    sampled: bool,
    task: TaskId,
    context: ContextId,
}

/// One message, with its place among those that wait.
pub(super) struct NativeMessage {
    pub(super) signal: TelemetrySignal,
    body: Bytes,
    source: Arc<NativeSource>,
    _places: [OwnedSemaphorePermit; 2],
}

impl NativeReceiver {
    /// For a process of an agent; messages have this room, of which one may have so much.
    pub(super) fn new(
        agent: &str,
        has_content: bool,
        (room, largest): (Arc<Semaphore>, usize),
        put: impl Fn(Option<NativeMessage>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Arc::new(NativeSource {
                agent: agent.to_owned(),
                instance: uuid::Uuid::new_v4().to_string(),
                turns: Mutex::default(),
                words: Mutex::default(),
            }),
            has_content,
            places: Arc::new(Semaphore::new(MOST_WAITING)),
            room,
            largest,
            put: Box::new(put),
        }
    }

    /// Whether the CLI is to say what was said, too.
    pub fn has_content(&self) -> bool {
        self.has_content
    }

    /// The process serves this task from now on.
    ///
    /// # Errors
    ///
    /// When the store fails; then what it sends is that of the turn before.
    pub async fn begin_turn(&self, store: &Store, log: &TaskLog) -> Result<(), Error> {
        let now = Timestamp::now();
        let notes = store.trace_notes(log.n, (0, MOST_ROWS)).await?;
        let contexts = notes.into_iter().flatten().filter_map(|row| match row.note {
            TraceNote::Message(context) => Some(context),
            TraceNote::Parked | TraceNote::Resumed | TraceNote::Calls { .. } => None,
        });
        // That of a message which waits for a later turn is none of this one; its trace is mostly the same.
        let contexts: Vec<_> = contexts.collect();
        let Some(request) = contexts.last() else { return Ok(()) };
        let parent = request.parent.or_else(|| contexts.first().and_then(|first| first.parent));
        let turn = NativeTurn {
            began: now.as_millisecond().unsigned_abs().saturating_mul(1_000_000),
            trace: parent.map_or_else(|| trace_of_task(log.id.as_str()), |parent| parent.trace),
            request: request.span,
            sampled: parent.is_none_or(|parent| parent.sampled),
            task: log.id.clone(),
            context: log.context_id.clone(),
        };
        let mut turns = self.source.turns.lock();
        if turns.len() >= MOST_TURNS {
            turns.pop_front();
        }
        turns.push_back(turn);
        Ok(())
    }
}

impl TelemetryReceiver for NativeReceiver {
    fn largest(&self) -> usize {
        self.largest
    }

    fn receive(&self, signal: TelemetrySignal, body: Bytes) {
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let place = self.places.clone().try_acquire_owned().ok();
        let room = self.room.clone().try_acquire_many_owned(size).ok();
        (self.put)(place.zip(room).map(|(place, room)| NativeMessage {
            signal,
            body,
            source: self.source.clone(),
            _places: [place, room],
        }));
    }
}

impl NativeSource {
    /// Whether a label of a metric may have this value: one that is known, or one more.
    fn admits(&self, name: &str, value: &str) -> bool {
        let mut words = self.words.lock();
        let word = (name.to_owned(), value.to_owned());
        words.contains(&word) || words.len() < MOST_WORDS && words.insert(word)
    }
}

impl NativeMessage {
    /// The message as it leaves, and how many spans, events or points are in it; none where it cannot be read.
    /// `samples` says which traces leave.
    pub(super) fn label(
        &self,
        labels: &Labels,
        samples: impl Fn(TraceId, bool) -> bool,
    ) -> Option<(Vec<u8>, u64)> {
        let source = &*self.source;
        let turns: Vec<_> = source.turns.lock().iter().cloned().collect();
        let process = label::NativeProcess {
            agent: &source.agent,
            instance: &source.instance,
            turns: &turns,
            admits: &|name, value| source.admits(name, value),
            samples: &samples,
        };
        match self.signal {
            TelemetrySignal::Traces => labels.traces(&process, &self.body),
            TelemetrySignal::Metrics => labels.metrics(&process, &self.body),
            TelemetrySignal::Logs => labels.logs(&process, &self.body),
        }
    }
}

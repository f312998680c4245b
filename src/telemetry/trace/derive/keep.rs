//! What a derivation keeps between the turns of its task, and how much of it.

use super::{Derivation, OpenTurn};
use crate::store::{TraceNote, TraceRow};
use crate::telemetry::trace::{MOST_SPANS, Span};

/// Segments of turns before the last one that are kept for asks which are answered later.
const MOST_KEPT: usize = 1000;

impl Derivation {
    /// How many spans there are.
    pub(in crate::telemetry::trace) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Notes of the task that were heard.
    pub(in crate::telemetry::trace) fn notes(&self) -> u32 {
        self.notes
    }

    /// Spans that were left out since this was asked.
    pub(in crate::telemetry::trace) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// Whether it takes in what was said.
    pub(in crate::telemetry::trace) fn has_content(&self) -> bool {
        self.content.is_some()
    }

    /// Turns that have ended.
    pub(in crate::telemetry::trace) fn ended(&self) -> usize {
        self.ended
    }

    /// Whether the task is over.
    pub(in crate::telemetry::trace) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes in the next notes, in their order.
    pub(in crate::telemetry::trace) fn hear_notes(&mut self, notes: Vec<Option<TraceRow>>) {
        let is_first = self.messages.is_empty() && self.notes == 0;
        self.notes = self.notes.saturating_add(u32::try_from(notes.len()).unwrap_or(u32::MAX));
        for TraceRow { n, at, note } in notes.into_iter().flatten() {
            match note {
                TraceNote::Message(context) => self.messages.push_back((at, context)),
                TraceNote::Parked | TraceNote::Resumed => {
                    self.breaks.push_back(TraceRow { n, at, note });
                }
                TraceNote::Calls { calls } => self.calls.extend(calls),
            }
        }
        let first = self.messages.front().and_then(|(_, context)| context.parent);
        if let Some(parent) = first.filter(|_| is_first) {
            self.id = parent.trace;
        }
    }

    /// Forgets the spans of the turns before this one, but for the segments to which later asks belong.
    pub(in crate::telemetry::trace) fn forget_before(&mut self, turn: usize) {
        let is_old = |span: &Span| span.turn < turn;
        let old = self.spans.iter().filter(|span| is_old(span) && span.is_segment()).count();
        let mut surplus = old.saturating_sub(MOST_KEPT);
        let mut places = vec![None; self.spans.len()];
        let mut kept = Vec::new();
        for (at, mut span) in std::mem::take(&mut self.spans).into_iter().enumerate() {
            if is_old(&span) && self.request != Some(at) && span.ended.is_some() {
                if !span.is_segment() {
                    continue;
                }
                if surplus > 0 {
                    surplus -= 1;
                    continue;
                }
                (span.attributes, span.events) = (Vec::new(), Vec::new());
            }
            places[at] = Some(kept.len());
            kept.push(span);
        }
        self.spans = kept;
        let place = |at: usize| places.get(at).copied().flatten();
        self.request = self.request.and_then(place);
        self.turn = self.turn.take().and_then(|turn| {
            let tools = turn.tools.into_iter();
            let tools = tools.filter_map(|(id, at)| Some((id, place(at)?))).collect();
            Some(OpenTurn { at: place(turn.at)?, tools, ..turn })
        });
    }

    /// Adds a span of a turn. Where there are too many, it is left out and counted.
    pub(in crate::telemetry::trace) fn push(&mut self, span: Span) {
        if self.spans.len() < MOST_SPANS {
            self.spans.push(span);
        } else {
            self.left_out += 1;
        }
    }
}

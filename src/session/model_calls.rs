//! The calls of models within a turn, by what the agent says that it has used: for the turn's trace.
//!
//! Claude Code tells its sum after the beginning and after the end of each message of the model. A sum with more input
//! is a further call; it began when the model was given what it answers: the prompt, or the result of a tool.

use crate::store::{ModelCall, TraceNote, TraceRow, Write};
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::event::{Event, Usage};

/// Calls of one turn that are kept; further ones are in the sums of the turn alone.
const MOST: usize = 500;

/// The calls so far.
#[derive(Debug)]
pub(super) struct ModelCalls {
    /// Since when the model has what it answers next.
    given: Timestamp,
    calls: Vec<ModelCall>,
    /// Input, output, read from and written to a cache: the last sum.
    spent: [u64; 4],
}

impl ModelCalls {
    /// None yet in a turn whose agent is given its prompt now.
    pub(super) fn new(given: Timestamp) -> Self {
        Self { given, calls: Vec::new(), spent: [0; 4] }
    }

    /// Hears what the agent says.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::ToolResult { .. } => self.given = Timestamp::now(),
            Event::ToolCall { .. } => self.end_call(Timestamp::now()),
            // The result of the turn corrects the sums, and says what it cost.
            Event::Usage(usage) if usage.cost_usd.is_none() => self.add(usage, Timestamp::now()),
            _ => {}
        }
    }

    fn end_call(&mut self, at: Timestamp) {
        if let Some(call) = self.calls.last_mut() {
            call.ended_ms = at.as_millisecond();
        }
    }

    fn add(&mut self, usage: &Usage, at: Timestamp) {
        let sum = [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
        ];
        let sum = sum.map(Option::unwrap_or_default);
        let mut more = [0; 4];
        for ((more, sum), spent) in more.iter_mut().zip(sum).zip(&mut self.spent) {
            *more = sum.saturating_sub(*spent);
            *spent = sum.max(*spent);
        }
        let [input, output, read, written] = more;
        if input + read + written > 0 && self.calls.len() < MOST {
            self.calls.push(ModelCall {
                began_ms: self.given.as_millisecond(),
                ended_ms: at.as_millisecond(),
                model: usage.model.clone(),
                input_tokens: Some(input),
                output_tokens: Some(output),
                cache_read_tokens: Some(read),
                cache_write_tokens: Some(written),
            });
            // What comes before the next result answers the same.
            self.given = at;
        } else if let Some(call) = self.calls.last_mut() {
            let known = call.output_tokens.unwrap_or(0);
            call.output_tokens = Some(known.saturating_add(output));
            call.ended_ms = at.as_millisecond();
        }
    }

    /// What is kept of them with the end of the turn.
    pub(super) fn into_note(self, n: i64) -> Option<Write> {
        let note = TraceNote::Calls { calls: self.calls };
        let is_empty = note == TraceNote::Calls { calls: Vec::new() };
        (!is_empty).then(|| Write::Trace(Box::new(TraceRow { n, at: Timestamp::now(), note })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, output: u64) -> Usage {
        Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
    }

    #[test]
    fn a_sum_with_more_input_is_a_further_call_and_more_output_belongs_to_the_last() {
        let at = Timestamp::from_millisecond;
        let mut calls = ModelCalls::new(at(1000));
        calls.add(&usage(10, 1), at(1500));
        calls.add(&usage(10, 7), at(2000));
        calls.end_call(at(2001));
        calls.given = at(5000);
        calls.add(&usage(30, 8), at(5200));
        calls.add(&usage(30, 20), at(6000));
        let told = calls.calls.iter();
        let told: Vec<_> = told
            .map(|call| (call.began_ms, call.ended_ms, call.input_tokens, call.output_tokens))
            .collect();
        assert_eq!(told, [(1000, 2001, Some(10), Some(7)), (5000, 6000, Some(20), Some(13))]);
    }

    #[test]
    fn the_sum_of_the_whole_turn_is_no_call_and_a_turn_without_calls_leaves_no_note() {
        let mut calls = ModelCalls::new(Timestamp::now());
        let whole = Usage { cost_usd: Some(0.5), ..usage(10, 5) };
        calls.hear(&Event::Usage(whole));
        assert!(calls.into_note(1).is_none());
    }
}

//! What a `result` says of its turn, also where its fields contradict each other.
//!
//! The first row that fits decides; docs/claude.md has the same table for people.
//!
//! | what the CLI says | the turn |
//! |---|---|
//! | an error, and the turn was interrupted | canceled |
//! | an error, in words of an unknown conversation | goes on in a new conversation |
//! | `is_error`, or a `subtype` that begins with `error` | failed |
//! | a `terminal_reason` that is an error, or leaves work undone | failed |
//! | an answer that is nothing but an error of the model API | failed |
//! | anything else | completed |
//!
//! No error is dropped: what the words of the end do not hold becomes a status.

use super::wire::{Message, TurnResult};
use super::{Claude, failure};
use crate::exit::bounded;
use crate::lines::is_shortened;
use crate::{Event, Outcome, Step};
use serde_json::{Value, json};

/// What is told of errors at a time, in bytes.
const WORDS: usize = 4 * 1024;

/// What a turn ends with that the CLI counts as an error, and what leaves a call or an answer unfinished.
const FAILURES: &[&str] = &[
    "aborted_streaming",
    "aborted_tools",
    "api_error",
    "blocking_limit",
    "budget_exhausted",
    "image_error",
    "malformed_tool_use_exhausted",
    "max_turns",
    "model_error",
    "prompt_too_long",
    "rapid_refill_breaker",
    "structured_output_retry_exhausted",
    "tool_deferred",
    "tool_deferred_unavailable",
    "turn_setup_failed",
];

impl Claude {
    /// How the turn has ended, and errors that its end does not tell.
    pub(super) fn judge(&mut self, result: &mut TurnResult) -> (Outcome, Vec<Step>) {
        let api_error = self.turn.api_error.take();
        let text = result.result.as_deref().map(str::trim).filter(|text| !text.is_empty());
        if text.is_some() && text == api_error.as_deref().map(str::trim) {
            result.is_error = Some(true);
        }
        let mut steps = Vec::new();
        let outcome = match has_failed(result) {
            true if self.turn.interrupted => return (Outcome::Canceled, Vec::new()),
            true => {
                // An answer of a turn that failed all the same, which nobody has heard yet.
                if let Some(text) =
                    text.filter(|_| result.is_error == Some(false) && !self.turn.said)
                {
                    steps.push(Step::Say(Event::Text(text.to_owned())));
                }
                failure::of_result(result)
            }
            // An empty result (of a compaction, say) must not replace what was said, nor must one that was cut.
            false => {
                let said = |text: &&String| !text.is_empty() && !is_shortened(text);
                Outcome::Completed { answer: result.result.as_ref().filter(said).cloned() }
            }
        };
        let told = match &outcome {
            Outcome::Failed { message, .. } => message.as_str(),
            Outcome::ConversationLost => return (outcome, steps),
            _ => result.result.as_deref().unwrap_or_default(),
        };
        let errors = result.errors.iter().flatten().map(|error| match error {
            Value::String(words) => words.clone(),
            error => error.to_string(),
        });
        let untold: Vec<String> = api_error
            .into_iter()
            .chain(errors)
            .filter(|words| !words.trim().is_empty() && !told.contains(words.trim()))
            .collect();
        if !untold.is_empty() {
            steps.push(report(&untold.join("\n")));
        }
        (outcome, steps)
    }

    /// Keeps an error of the model API. The result says it again as a rule; where another one follows first, this
    /// one is told.
    pub(super) fn keep_api_error(&mut self, message: &Message<'_>) -> Vec<Step> {
        let words = bounded(message.words(), WORDS);
        if words.trim().is_empty() || self.turn.api_error.as_ref() == Some(&words) {
            return Vec::new();
        }
        let before = self.turn.api_error.replace(words);
        before.map(|words| report(&words)).into_iter().collect()
    }
}

fn has_failed(result: &TurnResult) -> bool {
    result.is_error == Some(true)
        || result.subtype.as_deref().is_some_and(|subtype| subtype.starts_with("error"))
        || result.terminal_reason.as_deref().is_some_and(|reason| FAILURES.contains(&reason))
}

/// Words of an error as a status.
fn report(words: &str) -> Step {
    let words = bounded(words.to_owned(), WORDS);
    let data = json!({ "kind": "agent-error", "text": words });
    Step::Say(Event::Status { text: format!("Claude Code reports: {words}"), data: Some(data) })
}

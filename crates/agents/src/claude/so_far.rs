//! What a turn of Claude Code has used while it runs, message by message; its result corrects it.

use super::Claude;
use super::background::add;
use super::wire::Tokens;
use crate::{Event, LONGEST_ID, Step, Usage};
use std::collections::BTreeMap;

/// Messages that are told apart; before them they are one sum.
const REMEMBERED: usize = 256;

/// What the messages of one turn have used, those of sub-agents included.
#[derive(Debug, Default)]
pub(super) struct SoFar {
    messages: BTreeMap<String, Sum>,
    earlier: Sum,
}

/// Input, output, read from a cache, written to a cache.
type Sum = [u64; 4];

impl SoFar {
    /// A message tells what it has used so far, each number growing; whether that is more than before.
    fn hear(&mut self, message: &str, tokens: Tokens) -> bool {
        if message.len() > LONGEST_ID {
            return false;
        }
        if self.messages.len() >= REMEMBERED && !self.messages.contains_key(message) {
            self.earlier = self.sum();
            self.messages.clear();
        }
        let told = [
            tokens.input_tokens,
            tokens.output_tokens,
            tokens.cache_read_input_tokens,
            tokens.cache_creation_input_tokens,
        ];
        let known = self.messages.entry(message.to_owned()).or_default();
        let mut more = false;
        for (known, told) in known.iter_mut().zip(told) {
            let told = told.unwrap_or(0);
            more |= told > *known;
            *known = told.max(*known);
        }
        more
    }

    fn sum(&self) -> Sum {
        let mut sum = self.earlier;
        for message in self.messages.values() {
            for (sum, one) in sum.iter_mut().zip(message) {
                *sum = sum.saturating_add(*one);
            }
        }
        sum
    }
}

impl Claude {
    /// A message of the turn tells what it has used.
    pub(super) fn used(&mut self, message: Option<&str>, tokens: Option<Tokens>) -> Vec<Step> {
        let (Some(message), Some(tokens)) = (message, tokens) else {
            return Vec::new();
        };
        if !self.turn.so_far.hear(message, tokens) {
            return Vec::new();
        }
        let [input, output, cache_read, cache_write] = self.turn.so_far.sum();
        let so_far = Usage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            cache_read_tokens: Some(cache_read),
            cache_write_tokens: Some(cache_write),
            model: self.model.clone(),
            ..Usage::default()
        };
        vec![Step::Say(Event::Usage(add(self.turn.spent.clone(), so_far)))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(tokens: u64) -> Tokens {
        Tokens { output_tokens: Some(tokens), ..Tokens::default() }
    }

    #[test]
    fn a_message_that_tells_again_replaces_what_it_told() {
        let mut so_far = SoFar::default();
        let more = [("a", 1), ("a", 7), ("a", 7), ("b", 2), ("a", 3)]
            .map(|(message, tokens)| so_far.hear(message, output(tokens)));
        assert_eq!(more, [true, true, false, true, false]);
        assert_eq!(so_far.sum(), [0, 9, 0, 0]);
    }

    #[test]
    fn a_long_turn_is_summed_up_and_not_remembered() {
        let mut so_far = SoFar::default();
        for n in 0..1000 {
            so_far.hear(&n.to_string(), output(1));
        }
        assert!(so_far.messages.len() <= REMEMBERED);
        assert_eq!(so_far.sum(), [0, 1000, 0, 0]);
    }
}

//! What a turn has used: agents tell it in three places, and some count from the session's start.

use super::wire::Prompted;
use super::{Acp, Agent};
use crate::Usage;
use serde_json::Value;

/// Agents whose tokens count from the start of the session.
const CUMULATIVE: &[&str] = &["Copilot"];

/// Tokens, as far as they are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
}

/// What the session has used so far, where the agent tells sums.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// US dollars now, and at the end of the last turn; unknown where it was not heard.
    cost: Option<f64>,
    cost_before: Option<f64>,
    tokens_before: Tokens,
}

impl Tokens {
    /// Reads the spellings that are in use.
    pub(super) fn read(value: &Value) -> Self {
        let any =
            |names: &[&str]| names.iter().find_map(|&name| value.get(name).and_then(Value::as_u64));
        Self {
            input: any(&["inputTokens", "input_tokens"]),
            output: any(&["outputTokens", "output_tokens"]),
            cache_read: any(&["cachedReadTokens", "cachedInputTokens"]),
            cache_write: any(&["cachedWriteTokens", "cacheWriteInputTokens"]),
        }
    }

    fn with(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        let both = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(join(a, b)),
            (a, b) => a.or(b),
        };
        Self {
            input: both(self.input, other.input),
            output: both(self.output, other.output),
            cache_read: both(self.cache_read, other.cache_read),
            cache_write: both(self.cache_write, other.cache_write),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        *self = self.with(other, u64::saturating_add);
    }

    fn is_known(self) -> bool {
        self.input.is_some() || self.output.is_some()
    }
}

impl Totals {
    /// A session begins; one that goes on has a past that is not known.
    pub(super) fn restart(&mut self, goes_on: bool) {
        *self = Self { cost_before: (!goes_on).then_some(0.0), ..Self::default() };
    }

    /// The session's cost so far.
    pub(super) fn hear(&mut self, cost: Option<&Value>) {
        let Some(cost) = cost.filter(|cost| cost["currency"] == "USD") else {
            return;
        };
        self.cost = cost["amount"].as_f64().or(self.cost);
    }

    /// The turn's own part of the cost, to a billionth of a dollar.
    fn own_cost(&mut self) -> Option<f64> {
        let now = self.cost?;
        let before = self.cost_before.replace(now)?;
        let own = if now < before { now } else { now - before };
        Some((own * 1e9).round() / 1e9)
    }
}

impl Acp {
    /// What the turn has used, at its end; none where the agent tells nothing.
    pub(super) fn used(&mut self, prompted: &Prompted, heard: Tokens) -> Option<Usage> {
        let quota = prompted.meta.as_ref().map(|meta| &meta["quota"]);
        let told = prompted.usage.as_ref().map(Tokens::read);
        let mut tokens = told
            .filter(|tokens| tokens.is_known())
            .or_else(|| quota.map(|quota| Tokens::read(&quota["token_count"])))
            .filter(|tokens| tokens.is_known())
            .unwrap_or(heard);
        let counts_on = |agent: &Agent| CUMULATIVE.contains(&agent.name.as_str());
        if self.agent.as_ref().is_some_and(counts_on) && tokens.is_known() {
            let before = std::mem::replace(&mut self.totals.tokens_before, tokens);
            tokens = tokens.with(before, u64::saturating_sub);
        }
        let model = quota
            .and_then(|quota| match quota["model_usage"].as_array()?.as_slice() {
                [only] => only["model"].as_str(),
                _ => None,
            })
            .map(ToOwned::to_owned)
            .or_else(|| self.session.as_ref()?.model.clone());
        let cost_usd = self.totals.own_cost();
        (tokens.is_known() || cost_usd.is_some()).then_some(Usage {
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cache_read_tokens: tokens.cache_read,
            cache_write_tokens: tokens.cache_write,
            cost_usd,
            model,
            turns: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cost_that_counts_from_the_start_is_told_by_turn() {
        let mut totals = Totals::default();
        totals.restart(false);
        let mut turn = |amount: f64| {
            totals.hear(Some(&json!({ "amount": amount, "currency": "USD" })));
            totals.own_cost()
        };
        assert_eq!((turn(0.1), turn(0.3)), (Some(0.1), Some(0.2)));
    }

    #[test]
    fn the_first_cost_of_a_session_that_goes_on_is_not_a_turns() {
        let mut totals = Totals::default();
        totals.restart(true);
        totals.hear(Some(&json!({ "amount": 5.0, "currency": "USD" })));
        assert_eq!(totals.own_cost(), None);
        totals.hear(Some(&json!({ "amount": 5.5, "currency": "USD" })));
        assert_eq!(totals.own_cost(), Some(0.5));
    }

    #[test]
    fn tokens_are_read_in_both_spellings() {
        let camel = Tokens::read(&json!({ "inputTokens": 1, "outputTokens": 2 }));
        let snake = Tokens::read(&json!({ "input_tokens": 1, "output_tokens": 2 }));
        assert_eq!(camel, snake);
    }
}

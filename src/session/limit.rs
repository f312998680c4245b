//! What a turn learns of its account's limit at the model API: from the CLI, or from what the proxy saw.

use crate::limited::AccountLimit;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::{Limit, Outcome};
use pilothouse_egress::ModelRefusal;
use serde_json::{Value, json};
use std::time::Duration;

/// Why another try of a turn is of no use.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LimitReached {
    /// Which limit, in words.
    kind: Option<String>,
    /// When it is lifted, where that is known.
    until: Option<Timestamp>,
    /// Whether it is the account's, and not the server's load.
    is_account: bool,
}

impl LimitReached {
    /// What the CLI has told and the proxy has seen; none where another try may help.
    pub(super) fn learn(
        told: Option<Limit>,
        seen: Option<ModelRefusal>,
        longest: Duration,
    ) -> Option<Self> {
        let seconds = |seconds: i64| Timestamp::from_millisecond(seconds.saturating_mul(1000));
        if let Some(limit) = told {
            let until = limit.resets_at.map(seconds);
            return Some(Self { kind: Some(limit.kind), until, is_account: true });
        }
        let seen = seen?;
        let is_long = seen.retry_after.is_some_and(|wait| wait > longest);
        if !is_long && !seen.is_final && seen.resets_at.is_none() {
            return None;
        }
        let after = |wait: Duration| {
            let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_millisecond(Timestamp::now().as_millisecond().saturating_add(wait))
        };
        let until = seen.resets_at.map(seconds).or_else(|| seen.retry_after.map(after));
        Some(Self { kind: None, until, is_account: seen.status == 429 })
    }

    /// What is noted of the account of this agent.
    pub(super) fn of_account(&self, agent: &str) -> Option<AccountLimit> {
        let until = self.until.filter(|_| self.is_account)?;
        let limit = AccountLimit { agent: agent.to_owned(), limit: self.kind.clone(), until };
        limit.seconds_left().is_some().then_some(limit)
    }

    /// The failure with the time in words, and as data.
    pub(super) fn explain(&self, outcome: Outcome, agent: &str) -> (Outcome, Option<Value>) {
        let Outcome::Failed { message, hint } = outcome else {
            return (outcome, None);
        };
        let Some(until) = self.until else {
            return (Outcome::Failed { message, hint }, None);
        };
        let limit = AccountLimit { agent: agent.to_owned(), limit: self.kind.clone(), until };
        let data = json!({
            "kind": "limit",
            "limit": self.kind,
            "until": until,
            "retryAfterSeconds": limit.seconds_left(),
        });
        let what = match self.is_account {
            true => limit.words(),
            false => format!("the model API takes no requests until {until}"),
        };
        (
            Outcome::Failed { message, hint: Some(format!("{what}; send the message again then")) },
            Some(data),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    fn seen(retry_after: Option<u64>, is_final: bool) -> Option<LimitReached> {
        let retry_after = retry_after.map(Duration::from_secs);
        let refusal = ModelRefusal { status: 429, retry_after, is_final, resets_at: None };
        LimitReached::learn(None, Some(refusal), LONGEST)
    }

    #[test]
    fn tries_end_where_the_wait_is_too_long_or_asking_again_does_not_help() {
        assert_eq!(seen(None, false), None);
        assert_eq!(seen(Some(60), false), None);
        assert!(seen(Some(61), false).unwrap().of_account("a").is_some());
        assert!(seen(Some(7), true).unwrap().of_account("a").is_some());
        assert_eq!(seen(None, true).unwrap().of_account("a"), None);
    }

    #[test]
    fn a_failure_carries_the_time_in_words_and_as_data() {
        let told = Limit { kind: "five hour".to_owned(), resets_at: Some(4_000_000_000) };
        let reached = LimitReached::learn(Some(told), None, LONGEST).unwrap();
        let failed = Outcome::Failed { message: "429".to_owned(), hint: None };
        let (outcome, data) = reached.explain(failed, "a");
        let Outcome::Failed { hint, .. } = outcome else { panic!("{outcome:?}") };
        let hint = hint.unwrap();
        assert!(hint.starts_with("the five hour limit of the account that `a` uses"), "{hint}");
        assert!(hint.contains("2096-10-02T07:06:40"), "{hint}");
        assert_eq!(data.unwrap()["until"], "2096-10-02T07:06:40.000Z");
    }

    #[test]
    fn an_overloaded_server_is_no_limit_of_the_account() {
        let retry_after = Some(Duration::from_secs(600));
        let refusal = ModelRefusal { status: 529, retry_after, ..ModelRefusal::default() };
        let reached = LimitReached::learn(None, Some(refusal), LONGEST).unwrap();
        assert_eq!(reached.of_account("a"), None);
    }
}

//! What a turn learns of its account's limit at the model API: from the CLI, or from what the proxy saw.

use crate::limited::{self, AccountLimit, LONGEST};
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::{Limit, Outcome};
use pilothouse_egress::ModelRefusal;
use serde_json::{Value, json};
use std::time::Duration;

/// The longest time for which other sessions hear of a limit that only the CLI has told of. Nothing confirms it, and
/// a subscription's shortest limit lasts five hours.
const LONGEST_TOLD: Duration = Duration::from_secs(6 * 3600);

/// Why another try of a turn is of no use.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LimitReached {
    /// Which limit, in words.
    kind: Option<String>,
    /// When it is lifted, where that is known.
    until: Option<Timestamp>,
    /// Whether it is the account's, and not the server's load.
    is_account: bool,
    /// Until when other sessions of the account hear of it.
    shared_until: Option<Timestamp>,
}

impl LimitReached {
    /// What the CLI has told and the proxy has seen; none where another try may help. Where the proxy carries the
    /// models, only what it has seen counts for other sessions: a session can make its CLI say anything.
    pub(super) fn learn(
        told: Option<Limit>,
        seen: Option<ModelRefusal>,
        is_carried: bool,
        longest: Duration,
    ) -> Option<Self> {
        let at = |seconds: i64| {
            Timestamp::from_millisecond(seconds.saturating_mul(1000)).min(limited::after(LONGEST))
        };
        let seen_until = seen.and_then(|seen| {
            let after = || seen.retry_after.map(|wait| limited::after(wait.min(LONGEST)));
            seen.resets_at.map(at).or_else(after)
        });
        let is_limit = seen.is_some_and(|seen| seen.status == 429);
        let account_until = seen_until.filter(|_| is_limit);
        if let Some(limit) = told {
            let until = limit.resets_at.map(at);
            let shared_until = match is_carried {
                true => account_until,
                false => until.map(|until| until.min(limited::after(LONGEST_TOLD))),
            };
            let (kind, until) = (Some(limit.kind), account_until.or(until));
            return Some(Self { kind, until, is_account: true, shared_until });
        }
        let seen = seen?;
        let is_long = seen.retry_after.is_some_and(|wait| wait > longest);
        let is_reached = is_long || seen.is_final || seen.resets_at.is_some();
        is_reached.then_some(Self {
            kind: None,
            until: seen_until,
            is_account: is_limit,
            shared_until: account_until,
        })
    }

    /// What is noted of the account of this agent.
    pub(super) fn of_account(&self, agent: &str) -> Option<AccountLimit> {
        let until = self.shared_until?;
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

    const MAX: Duration = Duration::from_secs(60);

    fn seen(retry_after: Option<u64>, is_final: bool) -> Option<LimitReached> {
        let retry_after = retry_after.map(Duration::from_secs);
        let refusal = ModelRefusal { status: 429, retry_after, is_final, resets_at: None };
        LimitReached::learn(None, Some(refusal), true, MAX)
    }

    #[test]
    fn tries_end_where_the_wait_is_too_long_or_asking_again_does_not_help() {
        assert_eq!(seen(None, false), None);
        assert_eq!(seen(Some(60), false), None);
        assert!(seen(Some(61), false).unwrap().of_account("a").is_some());
        assert!(seen(Some(7), true).unwrap().of_account("a").is_some());
        assert_eq!(seen(None, true).unwrap().of_account("a"), None);
    }

    fn told(days: u64) -> Option<Limit> {
        let until = limited::after(Duration::from_secs(days * 24 * 3600));
        let resets_at = Some(until.as_millisecond() / 1000);
        Some(Limit { kind: "five hour".to_owned(), resets_at })
    }

    #[test]
    fn a_failure_carries_the_time_in_words_and_as_data() {
        let reached = LimitReached::learn(told(2), None, false, MAX).unwrap();
        let failed = Outcome::Failed { message: "429".to_owned(), hint: None };
        let (outcome, data) = reached.explain(failed, "a");
        let Outcome::Failed { hint, .. } = outcome else { panic!("{outcome:?}") };
        let hint = hint.unwrap();
        assert!(hint.starts_with("the five hour limit of the account that `a` uses"), "{hint}");
        let until = reached.until.unwrap().to_string();
        assert!(hint.contains(&until), "{hint}");
        assert_eq!(data.unwrap()["until"], until);
    }

    #[test]
    fn other_sessions_hear_only_what_the_proxy_has_seen_and_else_of_a_few_hours() {
        let shared = |told, seen, is_carried| {
            let reached = LimitReached::learn(told, seen, is_carried, MAX).unwrap();
            reached.of_account("a").and_then(|limit| limit.seconds_left())
        };
        let refusal = |status| {
            let retry_after = Some(Duration::from_secs(100));
            Some(ModelRefusal { status, retry_after, ..ModelRefusal::default() })
        };
        assert_eq!(shared(told(2), None, true), None);
        assert_eq!(shared(told(2), refusal(529), true), None);
        assert!((90..=100).contains(&shared(told(2), refusal(429), true).unwrap()));
        assert!((21_500..=21_600).contains(&shared(told(2), None, false).unwrap()));
    }

    #[test]
    fn a_time_that_is_too_far_away_is_cut() {
        let until = LimitReached::learn(told(900), None, false, MAX).unwrap().until.unwrap();
        assert!(until <= limited::after(LONGEST));
    }

    #[test]
    fn an_overloaded_server_is_no_limit_of_the_account() {
        let retry_after = Some(Duration::from_secs(600));
        let refusal = ModelRefusal { status: 529, retry_after, ..ModelRefusal::default() };
        let reached = LimitReached::learn(None, Some(refusal), true, MAX).unwrap();
        assert_eq!(reached.of_account("a"), None);
    }
}

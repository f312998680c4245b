//! What the final status of a turn says about it.

use super::failure::FailureCode;
use crate::config::WISHES;
use pilothouse_agents::Usage;
use pilothouse_agents::setup::SetupEvidence;
use pilothouse_egress::Counted;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Declared things whose level stands with a task.
const MOST_LEVELS: usize = 64;

/// TurnFacts about the turn that belong into the task's metadata.
#[derive(Debug, Clone, Default)]
pub(super) struct TurnFacts {
    /// The CLI's own conversation id.
    pub(super) conversation: Option<String>,
    /// What isolation is in force.
    pub(super) isolation: Value,
    /// What its answers cost, as the proxy saw it.
    pub(super) at_proxy: Option<Counted>,
    /// The revision of its agent's set-up, if it has one.
    pub(super) setup: Option<String>,
    /// Why it failed.
    pub(super) failure: Option<FailureCode>,
    /// After which time the process was there that was started for it.
    pub(super) started: Option<Duration>,
    /// What its message has chosen.
    pub(super) chosen: Option<Value>,
    /// What still runs in its background.
    pub(super) background: Vec<String>,
}

impl TurnFacts {
    /// The metadata, with what the agent says that it used, how long it took, how many of its messages are unknown, and
    /// how far each declared thing has come.
    pub(super) fn metadata(
        &self,
        (usage, took): (Option<&Usage>, Duration),
        unknown: u64,
        declared: &[SetupEvidence],
    ) -> Map<String, Value> {
        let mut metadata = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            metadata.extend(value.map(|value| (name.to_owned(), value)));
        };
        set(
            "usageAtProxy",
            self.at_proxy.map(|counted| {
                json!({
                    "inputTokens": counted.input,
                    "outputTokens": counted.output,
                    "cacheReadTokens": counted.cache_read,
                    "cacheWriteTokens": counted.cache_write,
                    "requests": counted.requests,
                })
            }),
        );
        if let Some(usage) = usage {
            let tokens = [
                ("inputTokens", usage.input_tokens),
                ("outputTokens", usage.output_tokens),
                ("cacheReadTokens", usage.cache_read_tokens),
                ("cacheWriteTokens", usage.cache_write_tokens),
            ];
            let known = tokens
                .into_iter()
                .filter_map(|(name, count)| Some((name.to_owned(), count?.into())));
            set("usage", Some(Value::Object(known.collect())));
            set("costUsd", usage.cost_usd.map(Value::from));
            set("model", usage.model.clone().map(Value::from));
            set("turns", usage.turns.map(Value::from));
        }
        let milliseconds =
            |time: Duration| Value::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        set("durationMs", Some(milliseconds(took)));
        set("startMs", self.started.map(milliseconds));
        set("failure", self.failure.map(|failure| failure.word().into()));
        set("sessionId", self.conversation.clone().map(Value::from));
        set("isolation", Some(self.isolation.clone()));
        set("setup", self.setup.as_deref().map(|revision| describe_setup(revision, declared)));
        set(WISHES, self.chosen.clone());
        set("unknownMessages", (unknown > 0).then(|| unknown.into()));
        metadata
    }
}

/// The revision of a set-up, and how far each declared thing has come: the first ones where there are many.
fn describe_setup(revision: &str, evidence: &[SetupEvidence]) -> Value {
    let levels = evidence.iter().take(MOST_LEVELS).map(|SetupEvidence { item, level }| {
        json!({"kind": item.kind, "name": item.name, "level": level})
    });
    let left_out = evidence.len().saturating_sub(MOST_LEVELS);
    let mut told = json!({"revision": revision, "declared": levels.collect::<Value>()});
    if left_out > 0 {
        told["leftOut"] = left_out.into();
    }
    told
}

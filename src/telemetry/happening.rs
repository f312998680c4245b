//! What happens to a task, for the audit log: it is accepted, it asks, it is answered, a turn of it ends. No prompts, no
//! answers, no inputs of tools.

use super::TurnEnd;
use crate::access::Caller;
use crate::asks::Answered;
use crate::store::{AskRow, TraceId};
use crate::task::TaskLog;
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::{AskKind, Usage};
use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;

/// An entry of the audit log that is no request.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Happening<'a> {
    time: Timestamp,
    kind: &'static str,
    /// Whose task it is.
    caller: &'a str,
    agent: &'a str,
    task: &'a str,
    context: &'a str,
    /// Who did it: a caller, or `policy` or `timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    /// The trace of that caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<TraceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<&'a str>,
    /// The tool that a permission is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    /// Of a turn: `ok`, or the code of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// The state in which a turn leaves its task.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// How much of that a person was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
}

impl<'a> Happening<'a> {
    fn of(log: &'a TaskLog, kind: &'static str) -> Self {
        Self {
            time: Timestamp::now(),
            kind,
            caller: &log.scope.caller,
            agent: &log.scope.agent,
            task: log.id.as_str(),
            context: log.context_id.as_str(),
            by: None,
            token: None,
            peer: None,
            trace: None,
            ask: None,
            tool: None,
            deadline: None,
            decision: None,
            outcome: None,
            state: None,
            duration_ms: None,
            waited_ms: None,
            cost_usd: None,
            tokens: None,
        }
    }

    /// The same, and the caller who did it.
    fn by(mut self, caller: &'a Caller) -> Self {
        self.by = Some(&caller.name);
        self.token = Some(&caller.grant.id);
        self.peer = caller.peer;
        self.trace = caller.trace.and_then(|context| context.parent).map(|parent| parent.trace);
        self
    }

    /// A message of a caller is stored.
    pub(super) fn accepted(log: &'a TaskLog, caller: &'a Caller) -> Self {
        Self::of(log, "accepted").by(caller)
    }

    /// A person has to answer.
    pub(super) fn asked(log: &'a TaskLog, row: &'a AskRow) -> Self {
        let tool = row.ask.get("tool").and_then(Value::as_str);
        let deadline = Some(row.deadline);
        Self { ask: Some(&row.id), tool, deadline, ..Self::of(log, "asked") }
    }

    /// An ask is decided: by a caller, or because its time is over.
    pub(super) fn answered(
        log: &'a TaskLog,
        answered: &'a Answered,
        caller: Option<&'a Caller>,
    ) -> Self {
        let (ask, decision) = (Some(&*answered.ask), Some(answered.decision));
        let entry = Self { ask, decision, ..Self::of(log, "answered") };
        match caller {
            Some(caller) => entry.by(caller),
            None => Self { by: Some("timeout"), ..entry },
        }
    }

    /// The operator's rules decide about a call of a tool.
    pub(super) fn decided(log: &'a TaskLog, kind: &'a AskKind, is_allowed: bool) -> Self {
        let tool = match kind {
            AskKind::Permission { tool, .. } => Some(tool.as_str()),
            AskKind::Question { .. } => None,
        };
        let decision = Some(if is_allowed { "allow" } else { "deny" });
        let by = Some("policy");
        Self { tool, decision, by, ..Self::of(log, "answered") }
    }

    /// A turn is over.
    pub(super) fn ended(log: &'a TaskLog, end: &TurnEnd<'_>) -> Self {
        let milliseconds =
            |time: std::time::Duration| Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        // A task that goes on with its next turn has the state of that.
        let state = match end.state {
            TaskState::Submitted | TaskState::Working => TaskState::Completed,
            state => state,
        };
        Self {
            outcome: Some(end.failure.unwrap_or("ok")),
            state: Some(state.name()),
            duration_ms: milliseconds(end.took),
            waited_ms: milliseconds(end.waited),
            cost_usd: end.usage.and_then(|usage| usage.cost_usd),
            tokens: end.usage.and_then(sum),
            ..Self::of(log, "ended")
        }
    }
}

/// All tokens of a turn, where any are known.
fn sum(usage: &Usage) -> Option<u64> {
    let known = [
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
    ];
    let known = known.into_iter().flatten();
    known.reduce(u64::saturating_add)
}

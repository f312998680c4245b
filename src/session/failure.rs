//! Why a turn has failed, as one word of a short list (docs/api.md): in the metadata of its task and in the audit log.

use super::ending::Cause;
use pilothouse_agents::Outcome;

/// The codes of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureCode {
    /// The agent says that it failed, or ended without a result.
    Agent,
    /// No process of the agent could be started, or its session not be prepared.
    Start,
    /// A bound was reached, or something of the turn could not be stored.
    Fault,
    /// A ceiling of `budgets` is reached.
    Budget,
    /// The turn took longer than `timeouts.turn`.
    Timeout,
    /// The model said nothing for `timeouts.silence`.
    Silence,
    /// The server stopped, or was killed.
    ServerStopped,
    /// The account at the model API is at its limit.
    AccountLimit,
    /// The agent does not know the conversation any more.
    ConversationLost,
}

impl FailureCode {
    /// Every code.
    #[cfg(test)]
    pub(super) const ALL: [Self; 9] = [
        Self::Agent,
        Self::Start,
        Self::Fault,
        Self::Budget,
        Self::Timeout,
        Self::Silence,
        Self::ServerStopped,
        Self::AccountLimit,
        Self::ConversationLost,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "AGENT_FAILED",
            Self::Start => "START_FAILED",
            Self::Fault => "TURN_FAULT",
            Self::Budget => "BUDGET_EXCEEDED",
            Self::Timeout => "TIMED_OUT",
            Self::Silence => "MODEL_SILENT",
            Self::ServerStopped => "SERVER_STOPPED",
            Self::AccountLimit => "ACCOUNT_LIMIT",
            Self::ConversationLost => "CONVERSATION_LOST",
        }
    }

    /// Why a turn fails that is ended for this.
    pub(super) fn of_cause(cause: &Cause) -> Option<Self> {
        match cause {
            Cause::Steered | Cause::Canceled => None,
            Cause::Exceeded(_) => Some(Self::Budget),
            Cause::TimedOut => Some(Self::Timeout),
            Cause::Silent => Some(Self::Silence),
            Cause::ServerStops => Some(Self::ServerStopped),
            Cause::Fault(..) => Some(Self::Fault),
        }
    }

    /// The same for a turn whose agent was not reached.
    pub(super) fn of_start(cause: &Cause) -> Option<Self> {
        match cause {
            Cause::Fault(..) => Some(Self::Start),
            cause => Self::of_cause(cause),
        }
    }

    /// Why a turn has failed: `known` says it where the server ended it.
    pub(super) fn of(outcome: &Outcome, known: Option<Self>) -> Option<Self> {
        match outcome {
            Outcome::Failed { .. } => Some(known.unwrap_or(Self::Agent)),
            Outcome::ConversationLost => Some(Self::ConversationLost),
            Outcome::Completed { .. }
            | Outcome::Replied { .. }
            | Outcome::InputRequired { .. }
            | Outcome::AuthRequired { .. }
            | Outcome::Rejected { .. }
            | Outcome::Canceled => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_api_has_every_code() {
        let page = include_str!("../../docs/api.md");
        let (_, section) = page.split_once("\n## Why a turn failed\n").unwrap();
        let rows = section.lines().take_while(|line| !line.starts_with("## "));
        let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let described: Vec<_> = rows.map(|(code, _)| code).collect();
        assert_eq!(described, FailureCode::ALL.map(FailureCode::word));
    }
}

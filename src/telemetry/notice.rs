//! What the operator may be told of at once: an agent asks, a turn has failed or is completed.

use super::TurnEnd;
use crate::asks;
use crate::config::NotifyOn;
use crate::store::{AskRow, Scope};
use crate::task::TaskLog;
use pilothouse_a2a::task::TaskState;
use std::sync::Arc;

/// Characters of the words of an agent that a notification repeats.
const WORDS: usize = 1000;

/// Something that the operator may be told of.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What happened.
    pub event: NotifyOn,
    /// Whose task it is.
    pub scope: Scope,
    /// The task.
    pub task: String,
    /// Its context.
    pub context: String,
    /// What is asked.
    pub ask: Option<Arc<AskRow>>,
    /// In a few words.
    pub title: String,
    /// In the agent's words.
    pub text: String,
}

impl Notice {
    /// A person has to answer.
    pub(super) fn asked(log: &TaskLog, row: &AskRow) -> Self {
        let title = format!("{} asks {}", log.scope.agent, log.scope.caller);
        let ask = Some(Arc::new(row.clone()));
        Self { ask, ..Self::of(log, NotifyOn::Ask, title, &asks::words(&row.ask)) }
    }

    /// A turn is over; none where there is nothing to tell.
    pub(super) fn ended(log: &TaskLog, end: &TurnEnd<'_>) -> Option<Self> {
        let (event, word) = match end.state {
            TaskState::Completed => (NotifyOn::Completion, "completed"),
            TaskState::Failed => (NotifyOn::Failure, "failed"),
            TaskState::Rejected => (NotifyOn::Failure, "rejected"),
            _ => return None,
        };
        let title = format!("{} {word} a task of {}", log.scope.agent, log.scope.caller);
        Some(Self::of(log, event, title, end.words))
    }

    fn of(log: &TaskLog, event: NotifyOn, title: String, text: &str) -> Self {
        Self {
            event,
            scope: log.scope.clone(),
            task: log.id.to_string(),
            context: log.context_id.to_string(),
            ask: None,
            title,
            text: text.chars().take(WORDS).collect(),
        }
    }
}

//! What a message wants of the turn that it becomes, beside its words.

use crate::agent::LaunchChoice;
use crate::config::Budget;
use serde_json::Value;

/// Wishes that are permitted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wishes {
    /// How the CLI is started.
    pub choice: LaunchChoice,
    /// The branch, tag or commit at which a new session begins.
    pub reference: Option<String>,
    /// What its task may use, where that is less than the configured ceilings.
    pub budget: Budget,
    /// Patterns of further files that are artifacts of the turn.
    pub results: Vec<String>,
    /// Whether a completed turn ends with a push.
    pub push: Option<bool>,
    /// The same as it was said, for the answer.
    pub chosen: Value,
}

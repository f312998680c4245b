//! What a person has allowed beyond one call, as the store keeps it.

use super::{AskAct, Scope};
use pilothouse_a2a::id::ContextId;
use pilothouse_a2a::time::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// A standing permission. It is used by a conditional write, so never more often than it says and never after its end.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantRow {
    /// The id of the ask by whose answer it was given.
    pub id: Arc<str>,
    /// The short id of that ask.
    pub short: Arc<str>,
    /// Whose it is, and for which agent.
    pub scope: Scope,
    /// The context whose session may use it; none for each session of the caller with the agent.
    pub context_id: Option<ContextId>,
    /// What it covers.
    pub pattern: Value,
    /// The same for people, as it was shown.
    pub words: String,
    /// Who gave it.
    pub act: Arc<AskAct>,
    /// Since when.
    pub created: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How often it may be used in all.
    pub uses: u64,
    /// How often it may still be used.
    pub left: u64,
}

/// A change of a standing permission.
#[derive(Debug)]
pub enum GrantWrite {
    /// A new one, where its caller has fewer than so many with the agent. Refused where there are more
    /// ([`Conflict::GrantsFull`](super::Conflict::GrantsFull)).
    New(Arc<GrantRow>, usize),
    /// It is used once. Refused where it cannot be used any more ([`Conflict::Spent`](super::Conflict::Spent)).
    Used {
        /// Its id.
        id: Arc<str>,
        /// When.
        at: Timestamp,
    },
    /// It is revoked.
    Revoked {
        /// Its id.
        id: Arc<str>,
    },
}

//! What was used, and on whose account.

use std::sync::Arc;

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Cost in millionths of a US dollar.
    pub cost: u64,
    /// Tokens of all kinds.
    pub tokens: u64,
}

impl Used {
    /// The sum, or the largest number.
    pub fn plus(self, other: Self) -> Self {
        Self {
            cost: self.cost.saturating_add(other.cost),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    /// The difference, or nothing.
    pub fn minus(self, other: Self) -> Self {
        Self {
            cost: self.cost.saturating_sub(other.cost),
            tokens: self.tokens.saturating_sub(other.tokens),
        }
    }
}

/// Whose usage is summed up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// A task's, by its number; it goes with its task.
    Task(i64),
    /// A session's, by its id; it goes with its session.
    Session(Arc<str>),
    /// A caller's on a day (since 1970-01-01 UTC).
    Caller(Arc<str>, i64),
    /// Everybody's on a day (since 1970-01-01 UTC).
    Day(i64),
}

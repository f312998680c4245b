//! What turns used, as reports tell it.

use super::Used;

/// What turns used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many turns; 0 where they are not counted.
    pub turns: u64,
    /// What they used.
    pub used: Used,
}

/// What was used on a day, by an agent, a caller or a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageOf {
    /// The day since 1970-01-01 UTC, the name, or the session's id.
    pub name: String,
    /// What was used.
    pub usage: Usage,
}

/// What was used over some days. Sessions are over their whole life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageReport {
    /// By day.
    pub days: Vec<UsageOf>,
    /// By agent, the most expensive first.
    pub agents: Vec<UsageOf>,
    /// By caller, the most expensive first.
    pub callers: Vec<UsageOf>,
    /// By session, the most expensive first.
    pub sessions: Vec<UsageOf>,
}

//! What turns leave beside their answers.

use pilothouse_a2a::time::Timestamp;
use std::sync::Arc;

/// The name of the patch against the turn's beginning.
pub const TURN_PATCH: &str = "turn.patch";
/// The name of the patch against the session's beginning.
pub const BASE_PATCH: &str = "base.patch";

/// Something that a turn has left beside its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultRow {
    /// The number of its task.
    pub n: i64,
    /// What it is, in its task.
    pub name: String,
    /// The session.
    pub session: Arc<str>,
    /// When the turn ended.
    pub at: Timestamp,
    /// What is in it; none where that is larger than is kept.
    pub body: Option<Vec<u8>>,
}

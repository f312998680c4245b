//! Links that answer an ask.

use super::Scope;
use pilothouse_a2a::time::Timestamp;
use std::sync::Arc;

/// A link that answers one ask, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// The ask.
    pub ask: Arc<str>,
    /// Whose task asks.
    pub scope: Scope,
    /// When it answers no more.
    pub expires: Timestamp,
    /// When it was used.
    pub used: Option<Timestamp>,
}

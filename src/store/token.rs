//! Tokens in the store.

use crate::config::TokenScope;
use pilothouse_a2a::time::Timestamp;
use std::sync::Arc;

/// A token that was made while the server ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Names it in lists; never the token itself.
    pub id: Arc<str>,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Whose it is.
    pub caller: Arc<str>,
    /// What it allows.
    pub scopes: Vec<TokenScope>,
    /// The agents that it may be used with; empty for all.
    pub agents: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

//! What a session's workspace is a checkout of.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// When a session was last used, and what goes with it.
#[derive(Debug, Clone)]
pub struct SessionUse {
    /// Its id.
    pub id: Arc<str>,
    /// Its agent's name in the configuration.
    pub agent: String,
    /// When it was last used, in milliseconds.
    pub used_ms: i64,
    /// What its workspace is a checkout of, where it is one.
    pub checkout: Option<Checkout>,
}

/// A session's checkout of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkout {
    /// A name of the repository, for people.
    pub repository: String,
    /// The commit that the session began at.
    pub base: String,
    /// The branch that this was, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_branch: Option<String>,
    /// The session's own branch.
    pub branch: String,
}

impl Checkout {
    /// As the store keeps it.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("texts alone")
    }

    /// What the store has kept.
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

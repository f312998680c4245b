//! Lists of sessions in pages.

use super::SessionRow;
use std::sync::Arc;

/// A page of a list of sessions.
#[derive(Debug)]
pub struct SessionPage {
    /// The rows, last used first.
    pub rows: Vec<SessionRow>,
    /// Whether further ones follow.
    pub has_more: bool,
    /// How many there are in all.
    pub total: u64,
}

/// Where a session stands in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPlace {
    /// When it was last used, in milliseconds.
    pub used_ms: i64,
    /// Its id.
    pub id: Arc<str>,
}

impl SessionPlace {
    /// The place of this session.
    pub fn of(row: &SessionRow) -> Self {
        Self { used_ms: row.used.as_millisecond(), id: row.id.clone() }
    }

    /// Reads one as it is displayed.
    pub fn parse(text: &str) -> Option<Self> {
        let (used_ms, id) = text.split_once('.')?;
        uuid::Uuid::parse_str(id).ok()?;
        Some(Self { used_ms: used_ms.parse().ok()?, id: id.into() })
    }
}

impl std::fmt::Display for SessionPlace {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.used_ms, self.id)
    }
}

//! Sessions as retention sees them, and what their workspaces are checkouts of.

use super::Sqlite;
use crate::store::{Checkout, Error, SessionUse};
use rusqlite::Row;

impl Sqlite {
    /// All sessions and when they were last used (in milliseconds), last used first.
    pub(crate) async fn sessions_by_use(&self) -> Result<Vec<SessionUse>, Error> {
        let query = "SELECT id, agent, used_ms, checkout FROM sessions ORDER BY used_ms DESC";
        let row = |row: &Row<'_>| {
            let id = row.get::<_, String>(0)?.into();
            Ok(SessionUse {
                id,
                agent: row.get(1)?,
                used_ms: row.get(2)?,
                checkout: checkout(row)?,
            })
        };
        self.all(query, (), row).await
    }
}

/// What a session's row says of its checkout.
pub(super) fn checkout(row: &Row<'_>) -> Result<Option<Checkout>, rusqlite::Error> {
    Ok(row.get::<_, Option<String>>("checkout")?.and_then(|text| Checkout::parse(&text)))
}

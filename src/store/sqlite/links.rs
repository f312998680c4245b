//! Links on SQLite: as hashes, used once.

use super::Sqlite;
use super::read::scope;
use crate::store::{Error, LinkRow};
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

/// Adds a link; those whose time is over go.
pub(super) fn put(connection: &Connection, row: &LinkRow) -> Result<usize, rusqlite::Error> {
    let now = Timestamp::now().as_millisecond();
    connection.prepare_cached("DELETE FROM links WHERE expires_ms <= ?1")?.execute([now])?;
    connection
        .prepare_cached(
            "INSERT INTO links (hash, ask, caller, agent, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            &row.hash[..],
            &*row.ask,
            &*row.scope.caller,
            &*row.scope.agent,
            row.expires.as_millisecond(),
        ])
}

/// Uses a link, where it is there, was not used, and its time is not over.
pub(super) fn use_once(
    connection: &Connection,
    hash: &[u8; 32],
    at: Timestamp,
) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached(
            "UPDATE links SET used_ms = ?2 WHERE hash = ?1 AND used_ms IS NULL AND expires_ms > ?2",
        )?
        .execute(params![&hash[..], at.as_millisecond()])
}

impl Sqlite {
    /// The link of this hash.
    pub(crate) async fn link(&self, hash: &[u8; 32]) -> Result<Option<LinkRow>, Error> {
        self.first("SELECT * FROM links WHERE hash = ?1", (hash.to_vec(),), link_row).await
    }
}

fn link_row(row: &Row<'_>) -> Result<LinkRow, rusqlite::Error> {
    Ok(LinkRow {
        hash: row.get("hash")?,
        ask: Arc::from(row.get::<_, String>("ask")?),
        scope: scope(row)?,
        expires: Timestamp::from_millisecond(row.get("expires_ms")?),
        used: row.get::<_, Option<i64>>("used_ms")?.map(Timestamp::from_millisecond),
    })
}

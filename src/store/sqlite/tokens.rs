//! Tokens on SQLite: as hashes, with what they allow.

use super::Sqlite;
use crate::store::{Error, TokenRow};
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

/// Adds a token. Where the table is full, tokens that are revoked or expired make room, the oldest first. Nothing
/// is changed where there is no room.
pub(super) fn put(
    connection: &Connection,
    row: &TokenRow,
    most: usize,
) -> Result<usize, rusqlite::Error> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let created = row.created.as_millisecond();
    connection
        .prepare_cached(
            "DELETE FROM tokens WHERE id IN (
               SELECT id FROM tokens WHERE revoked_ms IS NOT NULL OR expires_ms <= ?1
               ORDER BY created_ms, id LIMIT max(0, (SELECT count(*) FROM tokens) + 1 - ?2))",
        )?
        .execute(params![created, most])?;
    let scopes: Vec<&str> = row.scopes.iter().map(|scope| scope.name()).collect();
    connection
        .prepare_cached(
            "INSERT INTO tokens (id, hash, caller, scopes, agents, created_ms, expires_ms, revoked_ms)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL WHERE (SELECT count(*) FROM tokens) < ?8",
        )?
        .execute(params![
            &*row.id,
            &row.hash[..],
            &*row.caller,
            scopes.join(" "),
            serde_json::json!(row.agents).to_string(),
            created,
            row.expires.map(Timestamp::as_millisecond),
            most,
        ])
}

/// Revokes a token that is not revoked yet.
pub(super) fn revoke(
    connection: &Connection,
    id: &str,
    at: Timestamp,
) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached("UPDATE tokens SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL")?
        .execute(params![id, at.as_millisecond()])
}

impl Sqlite {
    /// All tokens, in the order of their making, the revoked and expired ones included.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenRow>, Error> {
        self.all("SELECT * FROM tokens ORDER BY created_ms, id", (), token_row).await
    }
}

fn token_row(row: &Row<'_>) -> Result<TokenRow, rusqlite::Error> {
    let time = |name: &str| {
        let found: Option<i64> = row.get(name)?;
        Ok::<_, rusqlite::Error>(found.map(Timestamp::from_millisecond))
    };
    let scopes: String = row.get("scopes")?;
    Ok(TokenRow {
        id: Arc::from(row.get::<_, String>("id")?),
        hash: row.get("hash")?,
        caller: Arc::from(row.get::<_, String>("caller")?),
        // A word that this version does not know allows nothing.
        scopes: scopes.split(' ').filter_map(|word| word.parse().ok()).collect(),
        agents: serde_json::from_str(&row.get::<_, String>("agents")?).map_err(|error| {
            // An unreadable list must not become the empty one, which means every agent.
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
        })?,
        created: Timestamp::from_millisecond(row.get("created_ms")?),
        expires: time("expires_ms")?,
        revoked: time("revoked_ms")?,
    })
}

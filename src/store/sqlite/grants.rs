//! Standing permissions on SQLite.

use super::Sqlite;
use super::asks::act_text;
use super::read::scope;
use crate::store::{CallerFilter, Error, GrantRow, GrantWrite, Scope};
use pilothouse_a2a::id::ContextId;
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

/// What can still be used at a time.
const USABLE: &str = "left > 0 AND until_ms > ?1";

pub(super) fn apply(connection: &Connection, write: &GrantWrite) -> Result<usize, rusqlite::Error> {
    match write {
        GrantWrite::New(row, most) => put(connection, row, *most),
        GrantWrite::Used { id, at } => use_once(connection, id, *at),
        GrantWrite::Revoked { id } => revoke(connection, id),
    }
}

/// Stores one, where its caller has fewer than so many with the agent.
fn put(connection: &Connection, row: &GrantRow, most: usize) -> Result<usize, rusqlite::Error> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let now = row.created.as_millisecond();
    connection
        .prepare_cached(
            "DELETE FROM grants WHERE caller = ?1 AND agent = ?2 AND (left <= 0 OR until_ms <= ?3)",
        )?
        .execute(params![&*row.scope.caller, &*row.scope.agent, now])?;
    connection
        .prepare_cached(
            "INSERT INTO grants (id, short, caller, agent, context_id, pattern, words, act, created_ms, until_ms, uses, left)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12
             WHERE (SELECT count(*) FROM grants WHERE caller = ?3 AND agent = ?4) < ?13",
        )?
        .execute(params![
            &*row.id,
            &*row.short,
            &*row.scope.caller,
            &*row.scope.agent,
            row.context_id.as_ref().map(ContextId::as_str),
            row.pattern.to_string(),
            row.words,
            act_text(&row.act),
            now,
            row.until.as_millisecond(),
            number(row.uses),
            number(row.left),
            i64::try_from(most).unwrap_or(i64::MAX),
        ])
}

fn use_once(connection: &Connection, id: &str, at: Timestamp) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached(&format!("UPDATE grants SET left = left - 1 WHERE id = ?2 AND {USABLE}"))?
        .execute(params![at.as_millisecond(), id])
}

fn revoke(connection: &Connection, id: &str) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached("DELETE FROM grants WHERE id = ?1")?.execute(params![id])
}

/// A session is gone, and with it what may be done in it.
pub(super) fn session_gone(connection: &Connection, id: &str) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached(
            "DELETE FROM grants WHERE (caller, agent, context_id) = (SELECT caller, agent, context_id FROM sessions WHERE id = ?1)",
        )?
        .execute(params![id])
}

/// Removes those that cannot be used any more.
pub(super) fn sweep(connection: &Connection, at: Timestamp) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached("DELETE FROM grants WHERE left <= 0 OR until_ms <= ?1")?
        .execute(params![at.as_millisecond()])
}

impl Sqlite {
    /// What a session of this context may use at this time, the oldest first.
    pub(crate) async fn grants_in(
        &self,
        scope: &Scope,
        context: &ContextId,
        at: Timestamp,
    ) -> Result<Vec<GrantRow>, Error> {
        let query = format!(
            "SELECT * FROM grants WHERE {USABLE} AND caller = ?2 AND agent = ?3
             AND (context_id IS NULL OR context_id = ?4) ORDER BY id"
        );
        let wanted = (
            at.as_millisecond(),
            scope.caller.clone(),
            scope.agent.clone(),
            context.as_str().to_owned(),
        );
        self.all(query, wanted, grant_row).await
    }

    /// All that a caller has granted and that can be used at this time, the oldest first.
    pub(crate) async fn grants_of(
        &self,
        callers: &CallerFilter,
        at: Timestamp,
    ) -> Result<Vec<GrantRow>, Error> {
        let caller = match callers {
            CallerFilter::One(caller) => Some(caller.clone()),
            CallerFilter::All => None,
        };
        let query = format!(
            "SELECT * FROM grants WHERE {USABLE} AND (?2 IS NULL OR caller = ?2) ORDER BY id"
        );
        self.all(query, (at.as_millisecond(), caller), grant_row).await
    }
}

fn grant_row(row: &Row<'_>) -> Result<GrantRow, rusqlite::Error> {
    let text = |name: &str| row.get::<_, String>(name);
    let time = |name: &str| Ok::<_, rusqlite::Error>(Timestamp::from_millisecond(row.get(name)?));
    let count = |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, i64>(name)?.cast_unsigned());
    let broken = |error: serde_json::Error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error))
    };
    Ok(GrantRow {
        id: Arc::from(text("id")?),
        short: Arc::from(text("short")?),
        scope: scope(row)?,
        context_id: row.get::<_, Option<String>>("context_id")?.map(ContextId::new),
        pattern: serde_json::from_str(&text("pattern")?).map_err(broken)?,
        words: text("words")?,
        act: Arc::new(serde_json::from_str(&text("act")?).map_err(broken)?),
        created: time("created_ms")?,
        until: time("until_ms")?,
        uses: count("uses")?,
        left: count("left")?,
    })
}

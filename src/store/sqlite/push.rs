//! Push notification configs on SQLite: what is written of them and how they are read.

use super::Sqlite;
use super::read::scope;
use crate::store::{Error, PushRow, PushState, Scope};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

const COLUMNS: &str = "push.key, push.n, tasks.id AS task, push.id, push.caller, push.agent, push.dialect, push.alias,
     push.config, push.sent, push.failing_ms, push.created_ms, push.state, push.reason, push.token";

/// A config, new or in the place of the one with its id; nothing where its task is gone by now.
pub(super) fn put(connection: &Connection, row: &PushRow) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO push (n, id, caller, agent, dialect, alias, config, sent, failing_ms, created_ms, state, reason,
             token)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13 WHERE EXISTS (SELECT 1 FROM tasks WHERE n = ?1)
             ON CONFLICT (n, id) DO UPDATE SET dialect = ?5, alias = ?6, config = ?7, sent = ?8, failing_ms = ?9,
             created_ms = ?10, state = ?11, reason = ?12, token = ?13",
        )?
        .execute(params![
            row.n,
            &*row.id,
            &*row.scope.caller,
            &*row.scope.agent,
            row.dialect.version(),
            row.alias.as_deref(),
            &*row.config,
            row.sent.cast_signed(),
            row.failing.map(Timestamp::as_millisecond),
            row.created.as_millisecond(),
            row.state.number(),
            row.state.reason(),
            row.token.as_deref(),
        ])
}

/// An event was taken.
pub(super) fn sent(
    connection: &Connection,
    n: i64,
    id: &str,
    seq: u64,
) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached("UPDATE push SET sent = ?3, failing_ms = NULL WHERE n = ?1 AND id = ?2")?
        .execute(params![n, id, seq.cast_signed()])
}

/// An event was not taken.
pub(super) fn failing(
    connection: &Connection,
    n: i64,
    id: &str,
    since: Timestamp,
) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached("UPDATE push SET failing_ms = ?3 WHERE n = ?1 AND id = ?2")?
        .execute(params![n, id, since.as_millisecond()])
}

/// There is nothing more to deliver; nothing changes where that is known already.
pub(super) fn ended(
    connection: &Connection,
    n: i64,
    id: &str,
    state: &PushState,
) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached(
            "UPDATE push SET state = ?3, reason = ?4 WHERE n = ?1 AND id = ?2 AND state = 0",
        )?
        .execute(params![n, id, state.number(), state.reason()])
}

/// A config is removed.
pub(super) fn gone(connection: &Connection, n: i64, id: &str) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached("DELETE FROM push WHERE n = ?1 AND id = ?2")?.execute(params![n, id])
}

/// A task is removed, and its configs with it.
pub(super) fn task_gone(connection: &Connection, n: i64) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached("DELETE FROM push WHERE n = ?1")?.execute(params![n])
}

impl Sqlite {
    /// A config of a task of this scope.
    pub(crate) async fn push_config(
        &self,
        scope: &Scope,
        n: i64,
        id: &str,
    ) -> Result<Option<PushRow>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM push JOIN tasks USING (n)
             WHERE push.n = ?1 AND push.id = ?2 AND push.caller = ?3 AND push.agent = ?4"
        );
        let values = (n, id.to_owned(), scope.caller.clone(), scope.agent.clone());
        self.first(query, values, push_row).await
    }

    /// At most `size` configs of a task of this scope, in the order of their creation, after the one with
    /// the key `after`.
    pub(crate) async fn push_configs(
        &self,
        scope: &Scope,
        n: i64,
        after: i64,
        size: u32,
    ) -> Result<Vec<PushRow>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM push JOIN tasks USING (n)
             WHERE push.n = ?1 AND push.key > ?2 AND push.caller = ?3 AND push.agent = ?4
             ORDER BY push.key LIMIT ?5"
        );
        let values = (n, after, scope.caller.clone(), scope.agent.clone(), size);
        self.all(query, values, push_row).await
    }

    /// How many configs a task has.
    pub(crate) async fn push_count(&self, n: i64) -> Result<usize, Error> {
        let count = |row: &Row<'_>| row.get::<_, i64>(0);
        let count = self.first("SELECT count(*) FROM push WHERE n = ?1", (n,), count).await?;
        Ok(usize::try_from(count.unwrap_or(0)).unwrap_or(usize::MAX))
    }

    /// Configs that are not at their end, of all callers, after the one with the key `after`. For the start alone.
    pub(crate) async fn push_active(&self, after: i64, size: u32) -> Result<Vec<PushRow>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM push JOIN tasks USING (n)
             WHERE push.state = 0 AND push.key > ?1 ORDER BY push.key LIMIT ?2"
        );
        self.all(query, (after, size), push_row).await
    }
}

impl PushState {
    fn number(&self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Done => 1,
            Self::GivenUp(_) => 2,
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Active | Self::Done => None,
            Self::GivenUp(reason) => Some(reason),
        }
    }
}

fn push_row(row: &Row<'_>) -> Result<PushRow, rusqlite::Error> {
    let dialect: String = row.get("dialect")?;
    Ok(PushRow {
        key: row.get("key")?,
        n: row.get("n")?,
        task: TaskId::new(row.get::<_, String>("task")?),
        id: Arc::from(row.get::<_, String>("id")?),
        scope: scope(row)?,
        dialect: Dialect::from_version(&dialect).unwrap_or(Dialect::V1_0),
        alias: row.get::<_, Option<String>>("alias")?.map(Arc::from),
        config: Arc::from(row.get::<_, String>("config")?),
        token: row.get::<_, Option<String>>("token")?.map(Arc::from),
        sent: row.get::<_, i64>("sent")?.cast_unsigned(),
        failing: row.get::<_, Option<i64>>("failing_ms")?.map(Timestamp::from_millisecond),
        created: Timestamp::from_millisecond(row.get("created_ms")?),
        state: match row.get::<_, i64>("state")? {
            0 => PushState::Active,
            1 => PushState::Done,
            _ => PushState::GivenUp(row.get::<_, Option<String>>("reason")?.unwrap_or_default()),
        },
    })
}

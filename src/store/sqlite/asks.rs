//! Asks on SQLite: those that can be answered, and those that have ended.

use super::read::scope;
use super::{Sqlite, grants};
use crate::store::{AskAct, AskPage, AskRow, AskState, CallerFilter, Error, Stored};
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

pub(super) fn put(connection: &Connection, row: &AskRow) -> Result<usize, rusqlite::Error> {
    let ask = row.ask.to_string();
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO asks (id, short, n, task, caller, agent, context_id, ask, ends_turn, created_ms,
             deadline_ms, state, until_ms, ended_ms, act, size)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            &*row.id,
            &*row.short,
            row.n,
            row.task.as_str(),
            &*row.scope.caller,
            &*row.scope.agent,
            row.context_id.as_str(),
            ask,
            row.ends_turn,
            row.created.as_millisecond(),
            row.deadline.as_millisecond(),
            row.state as i64,
            row.until.map(Timestamp::as_millisecond),
            row.ended.map(Timestamp::as_millisecond),
            row.act.as_deref().map(act_text),
            i64::try_from(ask.len()).unwrap_or(i64::MAX),
        ])
}

/// A person has claimed or deferred it.
pub(super) fn mark(connection: &Connection, row: &AskRow) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached(
            "UPDATE asks SET state = ?2, until_ms = ?3, deadline_ms = ?4, act = ?5 WHERE id = ?1 AND state <= 2",
        )?
        .execute(params![
            &*row.id,
            row.state as i64,
            row.until.map(Timestamp::as_millisecond),
            row.deadline.as_millisecond(),
            row.act.as_deref().map(act_text),
        ])
}

/// It cannot be answered any more.
pub(super) fn end(
    connection: &Connection,
    id: &str,
    state: AskState,
    at: Timestamp,
    act: Option<&AskAct>,
) -> Result<usize, rusqlite::Error> {
    let act = act.map(act_text);
    let size = act.as_deref().map_or(0, str::len);
    connection
        .prepare_cached(
            "UPDATE asks SET state = ?2, ended_ms = ?3, act = ?4, size = size + ?5, until_ms = NULL
             WHERE id = ?1 AND state <= 2",
        )?
        .execute(params![
            id,
            state as i64,
            at.as_millisecond(),
            act,
            i64::try_from(size).unwrap_or(i64::MAX)
        ])
}

/// What was decided about it is used.
pub(super) fn spend(connection: &Connection, id: &str) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached("UPDATE asks SET spent = 1 WHERE id = ?1 AND spent = 0 AND state > 2")?
        .execute(params![id])
}

/// Its task is over.
pub(super) fn task_ended(
    connection: &Connection,
    n: i64,
    task: TaskState,
    at: Timestamp,
) -> Result<usize, rusqlite::Error> {
    let state = match task {
        TaskState::Failed | TaskState::Rejected => AskState::Failed,
        _ => AskState::Withdrawn,
    };
    connection
        .prepare_cached(
            "UPDATE asks SET state = ?2, ended_ms = ?3, until_ms = NULL WHERE n = ?1 AND state <= 2",
        )?
        .execute(params![n, state as i64, at.as_millisecond()])
}

pub(super) fn task_gone(connection: &Connection, n: i64) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached("DELETE FROM asks WHERE n = ?1")?.execute(params![n])
}

/// Removes ended asks beyond a number and beyond a size, the oldest first; and grants that cannot be used any more.
pub(super) fn sweep(
    connection: &Connection,
    count: u64,
    bytes: u64,
) -> Result<usize, rusqlite::Error> {
    grants::sweep(connection, Timestamp::now())?;
    let most = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "DELETE FROM asks WHERE id IN (
               SELECT id FROM (
                 SELECT id, row_number() OVER newest AS place, sum(size) OVER newest AS size FROM asks WHERE state > 2
                 WINDOW newest AS (ORDER BY id DESC)
               ) WHERE place > ?1 OR size > ?2
             )",
        )?
        .execute(params![most(count), most(bytes)])
}

impl Sqlite {
    /// All asks that can be answered, of tasks that still wait for an answer.
    pub(crate) async fn asks(&self) -> Result<Vec<AskRow>, Error> {
        let query = "SELECT asks.* FROM asks JOIN tasks ON tasks.n = asks.n
             WHERE asks.state <= 2 AND tasks.state = ?1 ORDER BY asks.id";
        self.all(query, (TaskState::InputRequired as i64,), ask_row).await
    }

    /// An ask by its id or its short id; of several with the same short id, the newest.
    pub(crate) async fn ask(&self, name: &str) -> Result<Option<AskRow>, Error> {
        let query = "SELECT * FROM asks WHERE id = ?1 OR short = ?1 ORDER BY id DESC LIMIT 1";
        self.first(query, (name.to_owned(),), ask_row).await
    }

    /// A page of the ended asks of one caller or of all, newest first: of one agent or of all, of one state or of all.
    pub(crate) async fn ended_asks(
        &self,
        caller: &CallerFilter,
        agents: Vec<String>,
        state: Option<AskState>,
        before: Option<String>,
        size: usize,
    ) -> Result<AskPage, Error> {
        let caller = match caller {
            CallerFilter::One(caller) => Some(caller.clone()),
            CallerFilter::All => None,
        };
        self.read(move |connection| {
            let state = state.map(|state| state as i64);
            let agents = (!agents.is_empty()).then(|| serde_json::json!(agents).to_string());
            let wanted = "FROM asks WHERE state > 2 AND (?1 IS NULL OR caller = ?1) AND (?2 IS NULL OR agent IN (SELECT value FROM json_each(?2))) AND (?3 IS NULL OR state = ?3)";
            let total: i64 = connection
                .prepare_cached(&format!("SELECT count(*) {wanted}"))?
                .query_row(params![caller.as_deref(), agents, state], |row| row.get(0))?;
            let mut statement = connection.prepare_cached(&format!(
                "SELECT * {wanted} AND (?4 IS NULL OR id < ?4) ORDER BY id DESC LIMIT ?5"
            ))?;
            let limit = i64::try_from(size + 1).unwrap_or(i64::MAX);
            let rows = statement
                .query_map(params![caller.as_deref(), agents, state, before, limit], ask_row)?;
            let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
            let has_more = rows.len() > size;
            rows.truncate(size);
            Ok(AskPage { rows, has_more, total: total.cast_unsigned() })
        })
        .await
    }
}

pub(super) fn act_text(act: &AskAct) -> String {
    serde_json::to_string(act).expect("an act has no maps with other keys than strings")
}

pub(super) fn ask_row(row: &Row<'_>) -> Result<AskRow, rusqlite::Error> {
    let text = |name: &str| row.get::<_, String>(name);
    let time = |name: &str| {
        Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(Timestamp::from_millisecond))
    };
    let act = row.get::<_, Option<String>>("act")?;
    Ok(AskRow {
        id: Arc::from(text("id")?),
        short: Arc::from(text("short")?),
        n: row.get("n")?,
        task: TaskId::new(text("task")?),
        scope: scope(row)?,
        context_id: ContextId::new(text("context_id")?),
        ask: serde_json::from_str(&text("ask")?).unwrap_or_default(),
        ends_turn: row.get("ends_turn")?,
        created: Timestamp::from_millisecond(row.get("created_ms")?),
        deadline: Timestamp::from_millisecond(row.get("deadline_ms")?),
        state: AskState::of(row.get("state")?),
        until: time("until_ms")?,
        ended: time("ended_ms")?,
        act: act.and_then(|act| serde_json::from_str(&act).ok()).map(Arc::new),
        stored: Stored::read(),
    })
}

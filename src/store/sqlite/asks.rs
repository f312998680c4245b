//! Open asks on SQLite.

use super::Sqlite;
use crate::store::{AskRow, Error, Scope};
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

pub(super) fn put(connection: &Connection, row: &AskRow) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO asks (id, n, task, caller, agent, context_id, ask, ends_turn, created_ms, deadline_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            &*row.id,
            row.n,
            row.task.as_str(),
            &*row.scope.caller,
            &*row.scope.agent,
            row.context_id.as_str(),
            row.ask.to_string(),
            row.ends_turn,
            row.created.as_millisecond(),
            row.deadline.as_millisecond(),
        ])
}

pub(super) fn gone(connection: &Connection, id: &str) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached("DELETE FROM asks WHERE id = ?1")?.execute(params![id])
}

pub(super) fn task_gone(connection: &Connection, n: i64) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached("DELETE FROM asks WHERE n = ?1")?.execute(params![n])
}

impl Sqlite {
    /// All open asks of tasks that still wait for one.
    pub(crate) async fn asks(&self) -> Result<Vec<AskRow>, Error> {
        let query = "SELECT asks.* FROM asks JOIN tasks ON tasks.n = asks.n WHERE tasks.state = ?1 ORDER BY asks.id";
        self.all(query, (TaskState::InputRequired as i64,), ask_row).await
    }
}

fn ask_row(row: &Row<'_>) -> Result<AskRow, rusqlite::Error> {
    let text = |name: &str| row.get::<_, String>(name);
    let time = |name: &str| Ok::<_, rusqlite::Error>(Timestamp::from_millisecond(row.get(name)?));
    Ok(AskRow {
        id: Arc::from(text("id")?),
        n: row.get("n")?,
        task: TaskId::new(text("task")?),
        scope: Scope { caller: Arc::from(text("caller")?), agent: Arc::from(text("agent")?) },
        context_id: ContextId::new(text("context_id")?),
        ask: serde_json::from_str(&text("ask")?).unwrap_or_default(),
        ends_turn: row.get("ends_turn")?,
        created: time("created_ms")?,
        deadline: time("deadline_ms")?,
    })
}

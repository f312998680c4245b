//! What spans of tasks need beside their events, on SQLite.

use super::Sqlite;
use super::asks::ask_row;
use crate::store::{AskRow, Error, TraceRow};
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, Row, params};

pub(super) fn put(connection: &Connection, row: &TraceRow) -> Result<usize, rusqlite::Error> {
    let note = serde_json::to_string(&row.note).expect("a note has no maps");
    connection
        .prepare_cached("INSERT INTO trace (n, at_ms, note) VALUES (?1, ?2, ?3)")?
        .execute(params![row.n, row.at.as_millisecond(), note])
}

pub(super) fn task_gone(connection: &Connection, n: i64) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached("DELETE FROM trace WHERE n = ?1")?.execute(params![n])
}

impl Sqlite {
    /// The notes of a task in their order behind the first ones, at most so many; none for one of a later version.
    pub(crate) async fn trace_notes(
        &self,
        n: i64,
        (behind, most): (u32, u32),
    ) -> Result<Vec<Option<TraceRow>>, Error> {
        let query = "SELECT * FROM trace WHERE n = ?1 ORDER BY rowid LIMIT ?2 OFFSET ?3";
        self.all(query, (n, most, behind), trace_row).await
    }

    /// The asks of a task in their order, at most so many, whether or not they can be answered.
    pub(crate) async fn asks_of_task(&self, n: i64, most: u32) -> Result<Vec<AskRow>, Error> {
        let query = "SELECT * FROM asks WHERE n = ?1 ORDER BY created_ms, id LIMIT ?2";
        self.all(query, (n, most), ask_row).await
    }
}

/// None for a note of a later version.
fn trace_row(row: &Row<'_>) -> Result<Option<TraceRow>, rusqlite::Error> {
    let note: String = row.get("note")?;
    let (n, at) = (row.get("n")?, Timestamp::from_millisecond(row.get("at_ms")?));
    Ok(serde_json::from_str(&note).ok().map(|note| TraceRow { n, at, note }))
}

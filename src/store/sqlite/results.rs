//! What turns have left beside their answers, on SQLite.

use super::Sqlite;
use crate::store::{Error, ResultRow};
use rusqlite::{Connection, params};

/// Puts a result into the place of the one of this name; its bytes count as those of its task.
pub(super) fn put(connection: &Connection, row: &ResultRow) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached(
            "UPDATE tasks SET bytes = max(bytes + ?3 - coalesce(
             (SELECT length(body) FROM results WHERE n = ?1 AND name = ?2), 0), 0) WHERE n = ?1",
        )?
        .execute(params![row.n, row.name, row.body.as_ref().map_or(0, Vec::len).cast_signed()])?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO results (n, name, session, at_ms, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![row.n, row.name, &*row.session, row.at.as_millisecond(), row.body])
}

pub(super) fn task_gone(connection: &Connection, n: i64) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached("DELETE FROM results WHERE n = ?1")?.execute(params![n])
}

impl Sqlite {
    /// A result of a task.
    pub(crate) async fn result(
        &self,
        n: i64,
        name: &str,
    ) -> Result<Option<Option<Vec<u8>>>, Error> {
        let query = "SELECT body FROM results WHERE n = ?1 AND name = ?2";
        self.first(query, (n, name.to_owned()), |row| row.get(0)).await
    }

    /// The newest result of this name of a session's tasks.
    pub(crate) async fn session_result(
        &self,
        session: &str,
        name: &str,
    ) -> Result<Option<Option<Vec<u8>>>, Error> {
        let query =
            "SELECT body FROM results WHERE session = ?1 AND name = ?2 ORDER BY at_ms DESC LIMIT 1";
        self.first(query, (session.to_owned(), name.to_owned()), |row| row.get(0)).await
    }
}

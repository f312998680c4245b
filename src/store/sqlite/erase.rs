//! Erasure on SQLite: what is kept of a caller or a context, and the end of what is deleted.

use super::Sqlite;
use super::copy::backup_of;
use super::migrations::copy_of;
use super::read::scope;
use crate::store::{Durability, ErasedTask, Erasure, Error, Write};
use pilothouse_a2a::id::TaskId;
use rusqlite::{Connection, Row};
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

/// What a query finds of an erasure.
const WHOSE: &str = "(?1 IS NULL OR caller = ?1) AND (?2 IS NULL OR context_id = ?2)";

/// Removes what is kept of a caller beside its tasks and sessions.
pub(super) fn caller_gone(connection: &Connection, caller: &str) -> Result<usize, rusqlite::Error> {
    for query in [
        "DELETE FROM usage WHERE kind = 2 AND name = ?1",
        "DELETE FROM usage_by_agent WHERE caller = ?1",
        "DELETE FROM task_counts WHERE caller = ?1",
        "DELETE FROM keys WHERE caller = ?1",
        "DELETE FROM links WHERE caller = ?1",
        "DELETE FROM grants WHERE caller = ?1",
    ] {
        connection.execute(query, [caller])?;
    }
    connection.execute("DELETE FROM tokens WHERE caller = ?1", [caller])
}

/// Empties the log of the database into it: what is deleted there is overwritten (`secure_delete`). The copy that an
/// upgrade has kept goes, and what a backup that was killed has left.
pub(super) fn scrub(connection: &Connection) -> Result<(), Error> {
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: i64 = connection.query_row(checkpoint, [], |row| row.get(0))?;
    if busy != 0 {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        let words = "readers keep the log of the database; erase again".to_owned();
        return Err(rusqlite::Error::SqliteFailure(code, Some(words)).into());
    }
    let Some(path) = connection.path().filter(|path| !path.is_empty()) else { return Ok(()) };
    for copy in [copy_of(Path::new(path)), backup_of(Path::new(path))] {
        match fs::remove_file(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = copy.display().to_string();
                return Err(Error::Unusable { path, reason: error.to_string() });
            }
            _ => {}
        }
    }
    Ok(())
}

impl Sqlite {
    /// The tasks of an erasure.
    pub(crate) async fn erased_tasks(&self, what: &Erasure) -> Result<Vec<ErasedTask>, Error> {
        let query =
            format!("SELECT n, id, caller, agent, session FROM tasks WHERE {WHOSE} ORDER BY n");
        let row = |row: &Row<'_>| {
            Ok(ErasedTask {
                n: row.get("n")?,
                id: TaskId::new(row.get::<_, String>("id")?),
                scope: scope(row)?,
                session: Arc::from(row.get::<_, String>("session")?),
            })
        };
        self.all(query, whose(what), row).await
    }

    /// The sessions of an erasure, each with its agent.
    pub(crate) async fn erased_sessions(
        &self,
        what: &Erasure,
    ) -> Result<Vec<(Arc<str>, String)>, Error> {
        let query = format!("SELECT id, agent FROM sessions WHERE {WHOSE}");
        let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?.into(), row.get(1)?));
        self.all(query, whose(what), row).await
    }

    /// Leaves nothing of what was deleted.
    pub(crate) async fn scrub(&self) -> Result<(), Error> {
        self.commit(vec![Write::Scrub], Durability::Synced).await
    }
}

fn whose(what: &Erasure) -> (Option<String>, Option<String>) {
    let caller = what.caller.as_ref().map(ToString::to_string);
    (caller, what.context.as_ref().map(ToString::to_string))
}

//! Before a database is used: its folder is locked, a connection is set up, the start is noted.

use super::{CACHE_KIB, Error};
use crate::config::make_state_folder;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes the folder of a store and locks it: one server at a time. The lock goes away with the process.
pub(in crate::store) fn lock(folder: &Path, holder: &str) -> Result<File, Error> {
    let unusable = |path: &Path, error: &std::io::Error| Error::Unusable {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    make_state_folder(folder).map_err(|error| unusable(folder, &error))?;
    let path = folder.join("lock");
    let unusable = |error: std::io::Error| unusable(&path, &error);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let path = folder.display().to_string();
            return Err(Error::Held { path, holder: holder.trim().to_owned() });
        }
        Err(std::fs::TryLockError::Error(error)) => return Err(unusable(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(holder.as_bytes()))
        .map_err(unusable)?;
    Ok(file)
}

pub(super) fn prepare(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // What is deleted is overwritten: an erasure would have nothing else to tell.
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.set_prepared_statement_cache_capacity(32);
    // Otherwise a statement with `LIMIT ?` is planned anew at each execution.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Notes that a server runs. Whether the last one ended in order.
pub(super) fn begin_running(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let end: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE name = 'end'", [], |row| row.get(0))
        .optional()?;
    connection
        .execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('end', 'running')", [])?;
    Ok(end.is_none_or(|end| end == "clean"))
}

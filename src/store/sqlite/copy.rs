//! A copy of the database at one moment, also while a server writes to it.

use super::migrations::MIGRATIONS;
use super::prepare;
use crate::config::Config;
use crate::store::Error;
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A copy that only its holder can read: it has no name any more.
#[derive(Debug)]
pub struct StoreCopy {
    /// The copy, to be read from its beginning.
    pub file: File,
    /// The number of its schema.
    pub schema: i64,
    /// The id and the agent of each session.
    pub sessions: Vec<(String, String)>,
}

/// Where a copy of a database lies while it is made.
pub(super) fn backup_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".backup.new");
    name.into()
}

impl StoreCopy {
    /// Copies the store that the configuration names. What was acknowledged before is in it, and of a batch all or nothing.
    ///
    /// # Errors
    ///
    /// When there is none, or no room for the copy.
    pub fn take(config: &Config) -> Result<Self, Error> {
        let database = config.state_dir.join(&config.store.path);
        let unusable = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| Error::Unusable { path, reason: error.to_string() }
        };
        fs::metadata(&database).map_err(unusable(&database))?;
        // Without `CREATE`: what is not there is no store of ours.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&database, flags)?;
        prepare(&connection)?;
        let copy = backup_of(&database);
        let options = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .clone();
        let file = options.open(&copy).map_err(unusable(&copy))?;
        let is_free = file.try_lock().map_err(|_| io::Error::other("another backup is being made"));
        // One that was killed has left what it had.
        is_free.and_then(|()| file.set_len(0)).map_err(unusable(&copy))?;
        let copied = connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()]);
        match fs::remove_file(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unusable(&copy)(error));
            }
            _ => copied?,
        };
        let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        // A store of an older schema may not have them; a backup of it is one all the same.
        let sessions = list_sessions(&connection).unwrap_or_default();
        Ok(Self { file, schema, sessions })
    }
}

fn list_sessions(connection: &Connection) -> Result<Vec<(String, String)>, rusqlite::Error> {
    let mut query = connection.prepare("SELECT id, agent FROM sessions")?;
    query.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Whether a copy of a database is whole, and of a schema that this version knows.
///
/// # Errors
///
/// When it is not.
pub fn check_copy(database: &Path) -> Result<(), Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).expect("a handful");
    if found > known {
        return Err(Error::Newer { found, known });
    }
    let told: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    match told == "ok" {
        true => Ok(()),
        false => Err(Error::Unusable { path: database.display().to_string(), reason: told }),
    }
}

//! The schema of the database: brought up to date at the start, after a copy of the database is put aside.
//!
//! All steps are one transaction, so a database has the schema of the version before or that of this one, wherever
//! the server is killed. The copy is that of the last upgrade alone.

use crate::store::Error;
use rusqlite::{Connection, OptionalExtension};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The steps by number; the database remembers the last one in `user_version`. One that was published is not changed.
pub(super) const MIGRATIONS: [&str; 20] = [
    include_str!("../../../migrations/sqlite/0001_event_log.sql"),
    include_str!("../../../migrations/sqlite/0002_push.sql"),
    include_str!("../../../migrations/sqlite/0003_keys.sql"),
    include_str!("../../../migrations/sqlite/0004_asks.sql"),
    include_str!("../../../migrations/sqlite/0005_usage.sql"),
    include_str!("../../../migrations/sqlite/0006_unfinished.sql"),
    include_str!("../../../migrations/sqlite/0007_beside_artifacts.sql"),
    include_str!("../../../migrations/sqlite/0008_lists.sql"),
    include_str!("../../../migrations/sqlite/0009_fewer_pages.sql"),
    include_str!("../../../migrations/sqlite/0010_counts_and_conditions.sql"),
    include_str!("../../../migrations/sqlite/0011_print.sql"),
    include_str!("../../../migrations/sqlite/0012_tokens.sql"),
    include_str!("../../../migrations/sqlite/0013_usage_by_agent.sql"),
    include_str!("../../../migrations/sqlite/0014_links.sql"),
    include_str!("../../../migrations/sqlite/0015_ask_history.sql"),
    include_str!("../../../migrations/sqlite/0016_checkout.sql"),
    include_str!("../../../migrations/sqlite/0017_results.sql"),
    include_str!("../../../migrations/sqlite/0018_setup.sql"),
    include_str!("../../../migrations/sqlite/0024_push_token.sql"),
    include_str!("../../../migrations/sqlite/0023_trace.sql"),
];

/// A database file, and where its copy goes.
pub(super) struct DatabaseFile<'a> {
    /// Its path.
    pub(super) path: &'a Path,
    /// It, open for reading. Closing a descriptor of its own would drop the locks that SQLite holds on it.
    pub(super) open: &'a File,
    /// Whether a copy is kept (`store.copy_before_upgrade`).
    pub(super) copies: bool,
}

/// What an upgrade did.
#[derive(Debug, Clone)]
pub(super) struct Upgrade {
    from: i64,
    to: i64,
    copy: Option<PathBuf>,
}

impl std::fmt::Display for Upgrade {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the store was upgraded from schema {} to {}", self.from, self.to)?;
        match &self.copy {
            Some(copy) => write!(out, "; {} is a copy from before", copy.display()),
            None => write!(out, "; no copy from before was kept (`store.copy_before_upgrade`)"),
        }
    }
}

/// Where the copy of a database lies.
pub(super) fn copy_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".before-upgrade");
    name.into()
}

/// Brings the schema up to date. A store in memory has no file, a new one nothing to be copied.
pub(super) fn migrate(
    connection: &Connection,
    file: Option<&DatabaseFile<'_>>,
) -> Result<Option<Upgrade>, Error> {
    let found = version(connection)?;
    let known = i64::try_from(MIGRATIONS.len()).expect("a handful");
    if found > known {
        return Err(Error::Newer { found, known });
    }
    if found == known {
        return Ok(None);
    }
    let has_tasks = found > 0;
    let file = file.filter(|file| has_tasks && file.copies);
    let copy = file.map(|file| put_copy_aside(connection, file)).transpose()?;
    let upgraded = apply(connection, usize::try_from(found).unwrap_or(0), known);
    upgraded.map_err(|source| Error::Upgrade { found, known, source: source.into() })?;
    Ok(has_tasks.then_some(Upgrade { from: found, to: known, copy }))
}

/// The number of the last step. Step 10 was published twice: before, its indexes had lists as their conditions, which
/// no query of this version can use.
fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found != 10 {
        return Ok(found);
    }
    let list = "SELECT 1 FROM sqlite_master WHERE name = 'tasks_unfinished' AND sql LIKE '% IN (%'";
    let is_earlier = connection.query_row(list, [], |_| Ok(())).optional()?.is_some();
    Ok(if is_earlier { 9 } else { found })
}

fn apply(connection: &Connection, found: usize, known: i64) -> Result<(), rusqlite::Error> {
    let transaction = connection.unchecked_transaction()?;
    for step in MIGRATIONS.iter().skip(found) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()
}

/// Copies the database beside itself, in the place of the copy of the upgrade before.
fn put_copy_aside(connection: &Connection, file: &DatabaseFile<'_>) -> Result<PathBuf, Error> {
    let copy = copy_of(file.path);
    let new = copy.with_extension("before-upgrade.new");
    let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let size: i64 = connection.query_row(size, [], |row| row.get(0))?;
    let copied = empty_log(connection).and_then(|()| write_copy(file, &new, &copy));
    match copied {
        Ok(()) => Ok(copy),
        Err(error) => {
            let _ = fs::remove_file(&new);
            Err(Error::NoCopy { path: copy.display().to_string(), size, source: error.into() })
        }
    }
}

/// Moves all that stands in the write-ahead log into the database file. Nobody writes meanwhile: it is locked for us.
fn empty_log(connection: &Connection) -> io::Result<()> {
    let busy: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(io::Error::other)?;
    let busy = (busy != 0).then(|| io::Error::other("another program reads the database"));
    busy.map_or(Ok(()), Err)
}

fn write_copy(file: &DatabaseFile<'_>, new: &Path, copy: &Path) -> io::Result<()> {
    let options = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).clone();
    let mut out = options.open(new)?;
    let mut database = file.open;
    database.rewind()?;
    io::copy(&mut database, &mut out)?;
    out.sync_all()?;
    fs::rename(new, copy)?;
    copy.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// The steps as they were published, by the first bytes of their SHA-256.
    const PUBLISHED: [&str; 20] = [
        "70404807ebdb",
        "37f03ef44770",
        "78fe47050e1b",
        "9f4293062c2b",
        "2a256658a4ec",
        "e73f72634032",
        "0265dc649613",
        "c4495285cfbd",
        "c1adcc800dbb",
        "9a4402432270",
        "d6df083631d1",
        "77fb1eaa546b",
        "32c8d16f35a8",
        "a96a29aae562",
        "acdc1d8ea707",
        "4c1125bf0e09",
        "84a0f8f7f9d1",
        "fd2c04c62935",
        "3c8e09fcdb14",
        "78b25a7f42c3",
    ];

    #[test]
    fn a_step_that_was_published_is_not_changed() {
        let sums = MIGRATIONS.map(|step| hex(&Sha256::digest(step)[..6]));
        assert_eq!(sums, PUBLISHED, "a change of the schema is a step of its own");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

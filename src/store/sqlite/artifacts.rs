//! Artifacts of a task by the beginnings and ends of their updates: what of a large task is not shown is named all the
//! same.

use super::Sqlite;
use super::key;
use super::read::ReadTransaction;
use crate::store::Error;
use rusqlite::{Connection, params};

/// Bytes of the beginning of an update.
const HEAD: i64 = 2048;

/// Bytes of its end.
const TAIL: i64 = 8192;

/// The newest updates, at most.
const MOST: usize = 1024;

/// Bytes of all of these together, after which no older one is read.
const MOST_BYTES: i64 = 32 << 20;

/// The beginning and the end of an update of an artifact, each a part of its JSON.
#[derive(Debug, Clone)]
pub struct ArtifactEnds {
    /// Its beginning.
    pub head: Vec<u8>,
    /// Its end.
    pub tail: Vec<u8>,
}

/// Events of a task between two places.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// The task's number.
    pub n: i64,
    /// Those after this one ...
    pub after: u64,
    /// ... up to this one.
    pub upto: u64,
}

impl Sqlite {
    /// The newest updates of artifacts among these events, oldest first.
    pub(crate) async fn artifact_ends(&self, span: Span) -> Result<Vec<ArtifactEnds>, Error> {
        self.read(move |connection| read_ends(connection, span)).await
    }
}

/// How many events of a span change the task: all but messages of the caller.
fn count_changes(connection: &Connection, span: Span) -> Result<u64, rusqlite::Error> {
    let (from, upto) = (key(span.n, span.after) + 1, key(span.n, span.upto));
    let query = "SELECT count(*) FROM events WHERE key BETWEEN ?1 AND ?2 AND kind != 3";
    let count: i64 =
        connection.prepare_cached(query)?.query_row(params![from, upto], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

impl Sqlite {
    /// How many of these events change their task.
    pub(crate) async fn count_changes(&self, span: Span) -> Result<u64, Error> {
        self.read(move |connection| count_changes(connection, span)).await
    }
}

impl ReadTransaction<'_> {
    /// How many of these events change their task.
    pub fn count_changes(&self, span: Span) -> Result<u64, Error> {
        Ok(count_changes(self.0, span)?)
    }

    /// The same in these reads.
    pub fn artifact_ends(&self, span: Span) -> Result<Vec<ArtifactEnds>, Error> {
        Ok(read_ends(self.0, span)?)
    }
}

fn read_ends(connection: &Connection, span: Span) -> Result<Vec<ArtifactEnds>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT length(body), substr(body, 1, ?3), substr(body, -?4) FROM events
         WHERE key BETWEEN ?1 AND ?2 AND kind = 2 ORDER BY key DESC",
    )?;
    let (from, upto) = (key(span.n, span.after) + 1, key(span.n, span.upto));
    let mut rows = statement.query(params![from, upto, HEAD, TAIL])?;
    let (mut found, mut size) = (Vec::new(), 0);
    while found.len() < MOST && size < MOST_BYTES {
        let Some(row) = rows.next()? else { break };
        size += row.get::<_, i64>(0)?;
        found.push(ArtifactEnds { head: row.get(1)?, tail: row.get(2)? });
    }
    found.reverse();
    Ok(found)
}

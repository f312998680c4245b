//! What a list shows of a session beside its row: how it began, and how its newest task stands.

use super::read::{state_of, within};
use super::{Sqlite, key};
use crate::store::{Error, SessionRow};
use bytes::Bytes;
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

/// A first event that is larger is not read for a title.
const FIRST_BYTES: i64 = 64 * 1024;

/// The newest events of a task among which its newest status is looked for.
const NEWEST: i64 = 64;

/// How a session began, and how it stands.
#[derive(Debug, Default)]
pub struct SessionHead {
    /// The newest task, its state, and since when it has that.
    pub task: Option<(TaskId, TaskState, Timestamp)>,
    /// The first event of the first task.
    pub first: Option<Bytes>,
    /// The newest status of the newest task, where it is among its newest events.
    pub status: Option<Bytes>,
}

impl Sqlite {
    /// The heads of these sessions, in their order. What each takes does not grow with its tasks.
    pub(crate) async fn session_heads(
        &self,
        rows: &[SessionRow],
    ) -> Result<Vec<SessionHead>, Error> {
        let wanted = rows.iter().map(|row| within::<String>(&row.scope, row.context_id.as_str()));
        let wanted: Vec<_> = wanted.collect();
        self.read(move |connection| {
            wanted
                .iter()
                .map(|(caller, agent, context)| {
                    head(connection, (&**caller, &**agent, context.as_str()))
                })
                .collect()
        })
        .await
    }
}

fn head(
    connection: &Connection,
    (caller, agent, context): (&str, &str, &str),
) -> Result<SessionHead, rusqlite::Error> {
    let theirs = params![caller, agent, context];
    let mut newest = connection.prepare_cached(
        "SELECT n, id, state, status_ms FROM tasks WHERE caller = ?1 AND agent = ?2 AND context_id = ?3 ORDER BY n DESC LIMIT 1",
    )?;
    let newest = newest.query_row(theirs, |row| {
        let task = TaskId::new(row.get::<_, String>(1)?);
        let at = Timestamp::from_millisecond(row.get(3)?);
        Ok((row.get::<_, i64>(0)?, (task, state_of(row.get(2)?), at)))
    });
    let Some((n, task)) = newest.optional()? else { return Ok(SessionHead::default()) };
    let mut first = connection.prepare_cached(
        "SELECT body FROM events WHERE length(body) <= ?4 AND key =
             (SELECT (n << 32) | 1 FROM tasks WHERE caller = ?1 AND agent = ?2 AND context_id = ?3 ORDER BY n LIMIT 1)",
    )?;
    let first = first
        .query_row(params![caller, agent, context, FIRST_BYTES], |row| row.get::<_, Vec<u8>>(0));
    let mut status = connection.prepare_cached(
        "SELECT body FROM
             (SELECT key, kind, body FROM events WHERE key BETWEEN ?1 AND ?2 ORDER BY key DESC LIMIT ?3)
         WHERE kind = 1 ORDER BY key DESC LIMIT 1",
    )?;
    let span = params![key(n, 0), key(n, u64::from(u32::MAX)), NEWEST];
    let status = status.query_row(span, |row| row.get::<_, Vec<u8>>(0));
    Ok(SessionHead {
        task: Some(task),
        first: first.optional()?.map(Bytes::from),
        status: status.optional()?.map(Bytes::from),
    })
}

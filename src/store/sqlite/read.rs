//! What is read from the store: always beside the writer, and for callers always within a scope.

use super::sessions::checkout;
use super::{Sqlite, key};
use crate::store::{
    CallerFilter, Error, Event, Kind, Scope, SessionPage, SessionPlace, SessionRow, TaskRow,
};
use bytes::Bytes;
use parking_lot::Mutex;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Row, Rows, params};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connections that read, each with a permit that stands for it.
pub(super) struct Readers {
    pool: Pool,
    permits: Arc<Semaphore>,
}

enum Pool {
    /// Connections of their own, beside the writer's.
    Own(Mutex<Vec<Connection>>),
    /// The writer's connection: a database in memory has no other.
    Writers(Arc<Mutex<Connection>>),
}

/// A reading connection that is lent out, together with its permit. Both go back when it is dropped, and
/// nowhere else: whoever asked may be gone by then, and the query may panic.
struct Lent {
    connection: Option<Connection>,
    readers: Arc<Readers>,
    /// Released after the connection is back.
    _permit: OwnedSemaphorePermit,
}

impl Readers {
    /// Readers on connections of their own.
    pub(super) fn own(connections: Vec<Connection>) -> Self {
        let permits = Arc::new(Semaphore::new(connections.len()));
        Self { pool: Pool::Own(Mutex::new(connections)), permits }
    }

    /// One reader, on the writer's connection.
    pub(super) fn on_writers(connection: Arc<Mutex<Connection>>) -> Self {
        Self { pool: Pool::Writers(connection), permits: Arc::new(Semaphore::new(1)) }
    }
}

impl Lent {
    /// `None` where the permit stands for no connection, which a lent one that went back rules out.
    fn run<T>(
        self,
        query: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Option<Result<T, rusqlite::Error>> {
        match &self.readers.pool {
            Pool::Own(_) => self.connection.as_ref().map(query),
            Pool::Writers(shared) => Some(query(&shared.lock())),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Pool::Own(free), Some(connection)) = (&self.readers.pool, self.connection.take()) {
            free.lock().push(connection);
        }
    }
}

impl Sqlite {
    /// Runs a query on a reading connection, off the async threads. Dropping this future gives up the
    /// answer; connection and permit stay with the query until its end.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let readers = self.readers.clone();
        let permit = readers.permits.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let connection = match &readers.pool {
            Pool::Own(free) => free.lock().pop(),
            Pool::Writers(_) => None,
        };
        let lent = Lent { connection, readers, _permit: permit };
        let outcome = tokio::task::spawn_blocking(move || lent.run(query)).await;
        Ok(outcome.ok().flatten().ok_or(Error::Closed)??)
    }

    /// Keeps readers and the writer of a store in memory from their connection until the answer is dropped.
    #[cfg(test)]
    pub(crate) async fn keep_busy(&self) -> std::sync::mpsc::Sender<()> {
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let store = self.clone();
        tokio::spawn(async move {
            let wait = move |_: &Connection| {
                let _ = begun.send(());
                let _ = ended.recv();
                Ok(())
            };
            let _ = store.read(wait).await;
        });
        let _ = begins.await;
        end
    }

    /// The first row of a query.
    pub(super) async fn first<T: Send + 'static>(
        &self,
        query: impl AsRef<str> + Send + 'static,
        values: impl Params + Send + 'static,
        row: fn(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Option<T>, Error> {
        self.read(move |connection| {
            connection.prepare_cached(query.as_ref())?.query_row(values, row).optional()
        })
        .await
    }

    /// All rows of a query.
    pub(super) async fn all<T: Send + 'static>(
        &self,
        query: impl AsRef<str> + Send + 'static,
        values: impl Params + Send + 'static,
        row: fn(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<T>, Error> {
        self.read(move |connection| {
            connection.prepare_cached(query.as_ref())?.query_map(values, row)?.collect()
        })
        .await
    }

    /// Whether the store can be read: what the last [`Write::Probe`](super::Write) left.
    pub(crate) async fn probe_read(&self) -> Result<(), Error> {
        self.first("SELECT value FROM meta WHERE name = 'probe'", (), |_| Ok(())).await?;
        Ok(())
    }

    /// What an agent's CLI said last that it offers, as JSON.
    pub(crate) async fn inventory(&self, agent: &str) -> Result<Option<String>, Error> {
        let query = "SELECT value FROM meta WHERE name = 'inventory:' || ?1";
        self.first(query, (agent.to_owned(),), |row| row.get(0)).await
    }

    /// A task of this scope, by its id.
    pub(crate) async fn task(&self, scope: &Scope, id: &TaskId) -> Result<Option<TaskRow>, Error> {
        let query = "SELECT * FROM tasks WHERE caller = ?1 AND agent = ?2 AND id = ?3";
        self.first(query, within::<String>(scope, id.as_str()), task_row).await
    }

    /// What was sent under an `Idempotency-Key`, as its print, and the task.
    pub(crate) async fn task_by_key(
        &self,
        scope: &Scope,
        key: &str,
    ) -> Result<Option<([u8; 32], TaskRow)>, Error> {
        let query = "SELECT tasks.*, keys.print AS sent FROM keys JOIN tasks ON tasks.n = keys.n
             WHERE keys.caller = ?1 AND keys.agent = ?2 AND keys.key = ?3";
        self.first(query, within::<String>(scope, key), |row| {
            Ok((row.get("sent")?, task_row(row)?))
        })
        .await
    }

    /// The newest task of this scope that a v0.1 client named so.
    pub(crate) async fn task_by_alias(
        &self,
        scope: &Scope,
        alias: &str,
    ) -> Result<Option<TaskRow>, Error> {
        let query = "SELECT * FROM tasks WHERE caller = ?1 AND agent = ?2 AND alias = ?3 ORDER BY n DESC LIMIT 1";
        self.first(query, within::<String>(scope, alias), task_row).await
    }

    /// Events of a task after `after` up to `upto`, until they make `bytes`; at least one if there is one.
    ///
    /// The row has been read in a scope before, so the number is proof enough.
    pub(crate) async fn events(
        &self,
        n: i64,
        after: u64,
        upto: u64,
        bytes: usize,
    ) -> Result<Vec<Event>, Error> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT key, kind, body FROM events WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
            )?;
            events_of(statement.query(params![key(n, after) + 1, key(n, upto)])?, bytes)
        })
        .await
    }

    /// The same for a reader who shows a part of them.
    pub(crate) async fn events_in_part(&self, part: EventsPart) -> Result<Vec<Event>, Error> {
        self.read(move |connection| events_in_part(connection, &part)).await
    }

    /// Several reads that belong together: of one moment, on one thread.
    pub(crate) async fn read_together<T: Send + 'static>(
        &self,
        reads: impl FnOnce(&ReadTransaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let reads = move |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            Ok(reads(&ReadTransaction(&transaction)))
        };
        self.read(reads).await?
    }

    /// Tasks that were submitted or working when the last server ended, oldest first. For the start alone.
    pub(crate) async fn unfinished(&self) -> Result<Vec<TaskRow>, Error> {
        self.all(format!(
            "SELECT * FROM tasks INDEXED BY tasks_unfinished WHERE {UNFINISHED} AND state IN (1, 2) ORDER BY n"
        ), (), task_row).await
    }

    /// The session of a context.
    pub(crate) async fn session(
        &self,
        scope: &Scope,
        context: &ContextId,
    ) -> Result<Option<SessionRow>, Error> {
        let query = "SELECT * FROM sessions WHERE caller = ?1 AND agent = ?2 AND context_id = ?3";
        self.first(query, within::<String>(scope, context.as_str()), session_row).await
    }

    /// This scope's session of this id or this context.
    pub(crate) async fn session_named(
        &self,
        scope: &Scope,
        name: &str,
    ) -> Result<Option<SessionRow>, Error> {
        let query = "SELECT * FROM sessions
             WHERE caller = ?1 AND agent = ?2 AND (id = ?3 OR context_id = ?3)
             ORDER BY id = ?3 DESC LIMIT 1";
        self.first(query, within::<String>(scope, name), session_row).await
    }

    /// A page of these callers' sessions with an agent, last used first: those behind a place, or the first ones.
    pub(crate) async fn sessions(
        &self,
        callers: &CallerFilter,
        agent: &str,
        from: Option<SessionPlace>,
        size: usize,
    ) -> Result<SessionPage, Error> {
        let (callers, agent) = (callers.clone(), agent.to_owned());
        self.read(move |connection| {
            // Two queries, so that one caller's sessions are found by their index.
            let (is_theirs, caller) = match &callers {
                CallerFilter::One(caller) => ("caller = ?1", &**caller),
                CallerFilter::All => ("?1 = ''", ""),
            };
            let total: i64 = connection
                .prepare_cached(&format!(
                    "SELECT count(*) FROM sessions WHERE {is_theirs} AND agent = ?2"
                ))?
                .query_row(params![caller, agent], |row| row.get(0))?;
            let from = from.unwrap_or(SessionPlace { used_ms: i64::MAX, id: "".into() });
            let mut statement = connection.prepare_cached(&format!(
                "SELECT * FROM sessions
                 WHERE {is_theirs} AND agent = ?2 AND (used_ms, id) < (?3, ?4)
                 ORDER BY used_ms DESC, id DESC LIMIT ?5"
            ))?;
            let limit = i64::try_from(size + 1).unwrap_or(i64::MAX);
            let wanted = params![caller, agent, from.used_ms, from.id, limit];
            let rows = statement.query_map(wanted, session_row)?;
            let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
            let has_more = rows.len() > size;
            rows.truncate(size);
            Ok(SessionPage { rows, has_more, total: total.cast_unsigned() })
        })
        .await
    }

    /// Finished tasks that retention has come for.
    pub(crate) async fn old_tasks(&self, limits: Limits) -> Result<Vec<i64>, Error> {
        self.read(move |connection| {
            let (mut gone, mut count, mut size) = (Vec::new(), 0, 0);
            // Submitted, working and asking tasks are nobody's past.
            let mut statement = connection.prepare(&format!(
                "SELECT n, status_ms, bytes FROM tasks NOT INDEXED WHERE {FINISHED} ORDER BY n DESC"
            ))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (n, at, bytes): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                count += 1;
                size += bytes.cast_unsigned();
                if at < limits.oldest_ms || count > limits.count || size > limits.size {
                    gone.push(n);
                }
            }
            Ok(gone)
        })
        .await
    }

    /// Whether a task of a session's context waits, works or asks. Not looked up by the task's own session: a
    /// session that is made anew goes on with tasks of the one before it.
    pub(crate) async fn has_unfinished(&self, session: &Arc<str>) -> Result<bool, Error> {
        let query = "SELECT 1 FROM sessions AS s JOIN tasks AS t INDEXED BY tasks_unfinished
             ON t.caller = s.caller AND t.agent = s.agent AND t.context_id = s.context_id
             WHERE s.id = ?1 AND (t.state <= 2 OR t.state = 6 OR t.state = 8) LIMIT 1";
        Ok(self.first(query, (session.clone(),), |_| Ok(())).await?.is_some())
    }
}

/// States of tasks that are not finished: submitted, working, asking. Indexes know them by these words.
pub(super) const UNFINISHED: &str = "(state <= 2 OR state = 6 OR state = 8)";

/// All other states.
pub(super) const FINISHED: &str = "(state > 2 AND state != 6 AND state != 8)";

/// Events of one task, and what of them is wanted.
#[derive(Debug, Clone, Copy)]
pub struct EventsPart {
    /// The task's number.
    pub n: i64,
    /// Those after this one ...
    pub after: u64,
    /// ... up to this one,
    pub upto: u64,
    /// until they make so many bytes; at least one if there is one.
    pub bytes: usize,
    /// Without this kind of them,
    pub without: Option<Kind>,
    /// and without the body of one that is larger than this.
    pub largest: usize,
}

/// Reads of one moment, see [`Sqlite::read_together`].
pub struct ReadTransaction<'a>(pub(super) &'a Connection);

impl ReadTransaction<'_> {
    /// Events of a task, see [`Sqlite::events_in_part`].
    pub fn events_in_part(&self, part: &EventsPart) -> Result<Vec<Event>, Error> {
        Ok(events_in_part(self.0, part)?)
    }
}

/// Without artifacts the first events are looked at, and an index leads past the artifacts behind them, however
/// many there are.
fn events_in_part(
    connection: &Connection,
    part: &EventsPart,
) -> Result<Vec<Event>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(match part.without {
        Some(Kind::Artifact) => {
            "SELECT key, kind, CASE WHEN length(body) <= ?4 THEN body ELSE x'' END FROM events
             WHERE key BETWEEN ?1 AND min(?2, (?2 & ~4294967295) + 256) AND kind != 2 AND kind IS NOT ?3
             UNION ALL
             SELECT key, kind, CASE WHEN length(body) <= ?4 THEN body ELSE x'' END
             FROM events INDEXED BY events_beside_artifacts
             WHERE key BETWEEN ?1 AND ?2 AND kind != 2 AND key & 4294967295 > 256 ORDER BY key"
        }
        Some(Kind::Task | Kind::Status | Kind::Message) | None => {
            "SELECT key, kind, CASE WHEN length(body) <= ?4 THEN body ELSE x'' END FROM events
             WHERE key BETWEEN ?1 AND ?2 AND kind IS NOT ?3 ORDER BY key"
        }
    })?;
    let rows = statement.query(params![
        key(part.n, part.after) + 1,
        key(part.n, part.upto),
        part.without.map(|kind| kind as i64),
        i64::try_from(part.largest).unwrap_or(i64::MAX),
    ])?;
    events_of(rows, part.bytes)
}

/// The numbers of a retention, made absolute.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Older than this goes.
    pub oldest_ms: i64,
    /// More than this many go.
    pub count: u64,
    /// More than this many bytes go.
    pub size: u64,
}

/// The values of a query that begins with a scope.
pub(super) fn within<V>(scope: &Scope, value: impl Into<V>) -> (Arc<str>, Arc<str>, V) {
    (scope.caller.clone(), scope.agent.clone(), value.into())
}

/// Events until they make `bytes`.
fn events_of(mut rows: Rows<'_>, bytes: usize) -> Result<Vec<Event>, rusqlite::Error> {
    let (mut found, mut size) = (Vec::new(), 0);
    while size < bytes || found.is_empty() {
        let Some(row) = rows.next()? else { break };
        let event = event_row(row)?;
        size += event.body.len();
        found.push(event);
    }
    Ok(found)
}

pub(super) fn task_row(row: &Row<'_>) -> Result<TaskRow, rusqlite::Error> {
    Ok(TaskRow {
        n: row.get("n")?,
        id: TaskId::new(row.get::<_, String>("id")?),
        scope: scope(row)?,
        context_id: ContextId::new(row.get::<_, String>("context_id")?),
        session: Arc::from(row.get::<_, String>("session")?),
        alias: row.get::<_, Option<String>>("alias")?.map(Arc::from),
        state: state_of(row.get("state")?),
        status_at: Timestamp::from_millisecond(row.get("status_ms")?),
        created: Timestamp::from_millisecond(row.get("created_ms")?),
        head: row.get::<_, i64>("head")?.cast_unsigned(),
        print: row.get("print")?,
    })
}

pub(super) fn scope(row: &Row<'_>) -> Result<Scope, rusqlite::Error> {
    Ok(Scope {
        caller: Arc::from(row.get::<_, String>("caller")?),
        agent: Arc::from(row.get::<_, String>("agent")?),
    })
}

pub(super) fn event_row(row: &Row<'_>) -> Result<Event, rusqlite::Error> {
    let kind = match row.get::<_, i64>(1)? {
        0 => Kind::Task,
        1 => Kind::Status,
        2 => Kind::Artifact,
        _ => Kind::Message,
    };
    let seq = row.get::<_, i64>(0)?.cast_unsigned() & 0xffff_ffff;
    Ok(Event { seq, kind, body: Bytes::from(row.get::<_, Vec<u8>>(2)?) })
}

pub(super) fn session_row(row: &Row<'_>) -> Result<SessionRow, rusqlite::Error> {
    Ok(SessionRow {
        id: Arc::from(row.get::<_, String>("id")?),
        scope: scope(row)?,
        context_id: ContextId::new(row.get::<_, String>("context_id")?),
        conversation: row.get("conversation")?,
        ready: row.get("ready")?,
        checkout: checkout(row)?,
        setup: row.get("setup")?,
        created: Timestamp::from_millisecond(row.get("created_ms")?),
        used: Timestamp::from_millisecond(row.get("used_ms")?),
    })
}

pub(super) fn state_of(number: i64) -> TaskState {
    let known = usize::try_from(number).ok().and_then(|number| TaskState::ALL.get(number).copied());
    known.unwrap_or(TaskState::Unspecified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Write};

    #[tokio::test]
    async fn a_query_that_panics_keeps_no_connection() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        let store = Sqlite::in_folder(
            folder.path(),
            &file,
            super::super::lock(folder.path(), "a test").unwrap(),
            2,
            true,
        )
        .unwrap();
        for _ in 0..10 {
            let broken: Result<(), _> = store.read(|_| panic!("on purpose")).await;
            assert!(matches!(broken, Err(Error::Closed)));
        }
        store.probe_read().await.unwrap();
    }

    fn row(id: &str, context: &str) -> SessionRow {
        let now = Timestamp::now();
        SessionRow {
            id: id.into(),
            scope: Scope { caller: Arc::from("owner"), agent: Arc::from("fake") },
            context_id: ContextId::new(context),
            conversation: None,
            ready: true,
            checkout: None,
            setup: None,
            created: now,
            used: now,
        }
    }

    async fn put(store: &Sqlite, row: &SessionRow) {
        let write = Write::Session(Box::new(row.clone()));
        store.commit(vec![write], Durability::Written).await.unwrap();
    }

    #[tokio::test]
    async fn a_session_that_is_stored_again_keeps_what_it_has_learned_and_another_takes_its_place()
    {
        let store = Sqlite::in_memory(1).unwrap();
        let first = row("one", "c");
        put(&store, &first).await;
        let used = Write::SessionUsed {
            id: first.id.clone(),
            conversation: Some("talk".to_owned()),
            ready: true,
            checkout: None,
            setup: Some("a".to_owned()),
            at: first.used,
        };
        store.commit(vec![used], Durability::Written).await.unwrap();
        put(&store, &first).await;
        let found = store.session(&first.scope, &first.context_id).await.unwrap().unwrap();
        assert_eq!(found.conversation.as_deref(), Some("talk"));
        assert_eq!(found.setup.as_deref(), Some("a"));
        put(&store, &row("two", "c")).await;
        let found = store.session(&first.scope, &first.context_id).await.unwrap().unwrap();
        assert_eq!((&*found.id, found.conversation), ("two", None));
    }

    #[tokio::test]
    async fn a_session_is_found_by_its_id_and_by_its_context_and_by_its_caller_alone() {
        let store = Sqlite::in_memory(1).unwrap();
        put(&store, &row("one", "c")).await;
        put(&store, &row("two", "d")).await;
        let scope = row("one", "c").scope;
        for (name, id) in [("one", Some("one")), ("d", Some("two")), ("other", None)] {
            let found = store.session_named(&scope, name).await.unwrap();
            assert_eq!(found.map(|row| row.id), id.map(Arc::from), "{name}");
        }
        let other = Scope { caller: Arc::from("bob"), ..scope };
        assert!(store.session_named(&other, "one").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_reader_without_artifacts_gets_each_other_event_once_and_in_order() {
        let store = Sqlite::in_memory(1).unwrap();
        let kinds = |seq: u64| match seq % 5 {
            0 => Kind::Status,
            1 => Kind::Message,
            _ => Kind::Artifact,
        };
        for n in [1, 2] {
            let event =
                |seq| Event { seq, kind: kinds(seq), body: Bytes::from_static(b"12345678") };
            let writes = (1..=600).map(|seq| Write::Event { n, event: event(seq) }).collect();
            store.commit(writes, Durability::Written).await.unwrap();
        }
        for (after, upto) in [(0, 600), (0, 100), (100, 256), (255, 257), (256, 600), (400, 450)] {
            let wanted: Vec<u64> =
                (after + 1..=upto).filter(|&seq| kinds(seq) != Kind::Artifact).collect();
            let (mut found, mut from) = (Vec::new(), after);
            loop {
                let without = Some(Kind::Artifact);
                let part = EventsPart { n: 1, after: from, upto, bytes: 100, without, largest: 8 };
                let events = store.events_in_part(part).await.unwrap();
                assert!(events.iter().all(|event| event.kind == kinds(event.seq)));
                let Some(last) = events.last() else { break };
                from = last.seq;
                found.extend(events.iter().map(|event| event.seq));
            }
            assert_eq!(found, wanted, "after {after} up to {upto}");
        }
    }
}

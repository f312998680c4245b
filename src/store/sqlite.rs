//! The store on SQLite: the writer thread, the readers, the queries.

use super::{
    Durability, Error, Event, Filter, Kind, Page, Place, Scope, SessionRow, TaskRow, Write,
};
use bytes::Bytes;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Migrations by number; the database remembers the last one in `user_version`.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/sqlite/0001_event_log.sql")];

/// Batches that may wait for the writer; a full queue holds back whoever writes.
const QUEUE: usize = 4096;

/// Batches in one transaction at most, so that nobody's answer waits for a crowd.
const GROUP: usize = 512;

/// Page cache of the writer and of each reader, in KiB.
const CACHE_KIB: i64 = 2048;

/// How far a sequence number jumps for a task that an unclean end cut off: a power cut may have taken
/// numbers that somebody has already seen.
pub const JUMP: u64 = 1000;

struct Job {
    writes: Vec<Write>,
    durability: Durability,
    done: oneshot::Sender<Result<(), Error>>,
}

/// A handle to the store; clones share it.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    readers: Arc<Readers>,
    next_n: Arc<AtomicI64>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
    clean: bool,
    _lock: Option<Arc<File>>,
}

struct Readers {
    free: Mutex<Vec<Connection>>,
    permits: Semaphore,
    shared: Option<Arc<Mutex<Connection>>>,
}

// === opening ===

impl Store {
    /// Opens (or makes) the database in a folder of our own.
    pub(super) fn in_folder(
        folder: &Path,
        file: &Path,
        holder: &str,
        readers: usize,
    ) -> Result<Self, Error> {
        let unusable = |path: &Path, error: &dyn std::fmt::Display| Error::Unusable {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        std::fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
        let lock = take_lock(folder, holder)?;
        // The file is ours alone from its first byte.
        let handle = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(file)
            .map_err(|error| unusable(file, &error))?;
        let fresh = handle.metadata().is_ok_and(|metadata| metadata.len() == 0);
        let open = || {
            let connection = Connection::open(file)?;
            if fresh {
                // A new database is synced once, below, not after each step of its making.
                connection.pragma_update(None, "synchronous", "OFF")?;
            }
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
            connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
            Ok(connection)
        };
        let connection = open().map_err(|error: rusqlite::Error| unusable(file, &error))?;
        let clean = migrate(&connection)?;
        if fresh {
            // SQLite drops the log of a database file that is empty after a power cut.
            let synced = handle
                .sync_all()
                .and_then(|()| File::open(folder)?.sync_all());
            synced.map_err(|error| unusable(file, &error))?;
        }
        prepare(&connection)?;
        let connections = (0..readers.max(1))
            .map(|_| {
                let reader = Connection::open(file)?;
                prepare(&reader)?;
                reader.pragma_update(None, "query_only", true)?;
                Ok(reader)
            })
            .collect::<Result<Vec<_>, rusqlite::Error>>()?;
        let readers = Readers {
            permits: Semaphore::new(connections.len()),
            free: Mutex::new(connections),
            shared: None,
        };
        Self::start(connection, None, readers, clean, Some(Arc::new(lock)))
    }

    /// A store that is gone with the process.
    pub(super) fn in_memory(_readers: usize) -> Result<Self, Error> {
        let connection = Connection::open_in_memory()?;
        prepare(&connection)?;
        migrate(&connection)?;
        let shared = Arc::new(Mutex::new(connection));
        let readers = Readers {
            permits: Semaphore::new(1),
            free: Mutex::new(Vec::new()),
            shared: Some(shared.clone()),
        };
        let idle = Connection::open_in_memory()?;
        Self::start(idle, Some(shared), readers, true, None)
    }

    fn start(
        connection: Connection,
        shared: Option<Arc<Mutex<Connection>>>,
        readers: Readers,
        clean: bool,
        lock: Option<Arc<File>>,
    ) -> Result<Self, Error> {
        let next_n = connection
            .query_row("SELECT coalesce(max(n), 0) + 1 FROM tasks", [], |row| {
                row.get(0)
            })
            .unwrap_or(1);
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || match shared {
                None => write_until_closed(connection, waiting),
                Some(shared) => write_shared(&shared, waiting),
            })
            .map_err(|error| Error::Unusable {
                path: "a thread".to_owned(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            jobs,
            readers: Arc::new(readers),
            next_n: Arc::new(AtomicI64::new(next_n)),
            writer: Arc::new(Mutex::new(Some(writer))),
            clean,
            _lock: lock,
        })
    }

    /// Whether the last server on this store ended in order.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Marks the end as an orderly one and stops the writer. Writes still under way are carried out.
    pub async fn close(&self) {
        if let Err(error) = self.commit(vec![Write::CleanEnd], Durability::Synced).await {
            tracing::warn!(%error, "the store could not note its orderly end");
        }
        let writer = self
            .writer
            .lock()
            .expect("nobody panics with the writer's handle")
            .take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

/// One server on a store at a time; the lock goes away with the process.
fn take_lock(folder: &Path, holder: &str) -> Result<File, Error> {
    let path = folder.join("lock");
    let unusable = |error: std::io::Error| Error::Unusable {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
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
            return Err(Error::Held {
                path,
                holder: holder.trim().to_owned(),
            });
        }
        Err(std::fs::TryLockError::Error(error)) => return Err(unusable(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(holder.as_bytes()))
        .map_err(unusable)?;
    Ok(file)
}

fn prepare(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Brings the schema up to date, and notes that a server runs. Whether the last one ended in order.
fn migrate(connection: &Connection) -> Result<bool, Error> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).expect("a handful");
    if found > known {
        return Err(Error::Newer { found, known });
    }
    for (number, sql) in (1..)
        .zip(MIGRATIONS)
        .skip(usize::try_from(found).unwrap_or(0))
    {
        connection.execute_batch(&format!(
            "BEGIN; {sql} PRAGMA user_version = {number}; COMMIT;"
        ))?;
    }
    let end: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE name = 'end'", [], |row| {
            row.get(0)
        })
        .optional()?;
    connection.execute(
        "INSERT OR REPLACE INTO meta (name, value) VALUES ('end', 'running')",
        [],
    )?;
    Ok(end.is_none_or(|end| end == "clean"))
}

// === writing ===

impl Store {
    /// A number for a new task.
    pub fn new_task_number(&self) -> i64 {
        self.next_n.fetch_add(1, Ordering::Relaxed)
    }

    /// Applies a batch whole; returns when it is as safe as asked.
    ///
    /// # Errors
    ///
    /// When the database fails (a full disk, say); then nothing of the batch is stored.
    pub async fn commit(&self, writes: Vec<Write>, durability: Durability) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.jobs
            .send(Job {
                writes,
                durability,
                done,
            })
            .await
            .map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

fn write_until_closed(mut connection: Connection, mut waiting: mpsc::Receiver<Job>) {
    let mut synced = false;
    let mut group = Vec::with_capacity(GROUP);
    while waiting.blocking_recv_many(&mut group, GROUP) > 0 {
        if write_group(&mut connection, &mut group, &mut synced) {
            return;
        }
    }
}

fn write_shared(connection: &Mutex<Connection>, mut waiting: mpsc::Receiver<Job>) {
    let mut synced = false;
    let mut group = Vec::with_capacity(GROUP);
    while waiting.blocking_recv_many(&mut group, GROUP) > 0 {
        let mut connection = connection.lock().expect("a query does not panic");
        if write_group(&mut connection, &mut group, &mut synced) {
            return;
        }
    }
}

/// Writes a group and answers everyone in it; true when it was the last one.
fn write_group(connection: &mut Connection, group: &mut Vec<Job>, synced: &mut bool) -> bool {
    let last = group
        .iter()
        .flat_map(|job| &job.writes)
        .any(|write| matches!(write, Write::CleanEnd));
    let wanted = group.iter().any(|job| job.durability == Durability::Synced);
    if wanted != *synced {
        let level = if wanted { "FULL" } else { "NORMAL" };
        if connection.pragma_update(None, "synchronous", level).is_ok() {
            *synced = wanted;
        }
    }
    let outcome = apply(connection, group);
    match outcome {
        Ok(()) => group.drain(..).for_each(|job| drop(job.done.send(Ok(())))),
        // One batch must not take the others with it: each gets a transaction of its own.
        Err(_) if group.len() > 1 => {
            for job in group.drain(..) {
                let outcome = apply(connection, std::slice::from_ref(&job));
                let _ = job.done.send(outcome.map_err(Error::from));
            }
        }
        Err(error) => {
            let error = Error::from(error);
            group
                .drain(..)
                .for_each(|job| drop(job.done.send(Err(error.clone()))));
        }
    }
    last
}

fn apply(connection: &mut Connection, group: &[Job]) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    for write in group.iter().flat_map(|job| &job.writes) {
        write.apply(&transaction)?;
    }
    transaction.commit()
}

fn key(n: i64, seq: u64) -> i64 {
    (n << 32) | i64::try_from(seq & 0xffff_ffff).expect("32 bits")
}

impl Write {
    fn apply(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        match self {
            Self::Task(row) => connection
                .prepare_cached(
                    "INSERT INTO tasks (n, id, caller, agent, context_id, session, alias, state, status_ms,
                     created_ms, head, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0)",
                )?
                .execute(params![
                    row.n,
                    row.id.as_str(),
                    &*row.scope.caller,
                    &*row.scope.agent,
                    row.context_id.as_str(),
                    &*row.session,
                    row.alias.as_deref(),
                    row.state as i64,
                    row.status_at.as_millisecond(),
                    row.created.as_millisecond(),
                    row.head.cast_signed(),
                ])?,
            Self::Event { n, event } => connection
                .prepare_cached("INSERT INTO events (key, kind, body) VALUES (?1, ?2, ?3)")?
                .execute(params![key(*n, event.seq), event.kind as i64, &event.body[..]])?,
            Self::Head { n, seq, bytes } => connection
                .prepare_cached("UPDATE tasks SET head = ?2, bytes = bytes + ?3 WHERE n = ?1")?
                .execute(params![n, seq.cast_signed(), bytes.cast_signed()])?,
            Self::State { n, state, at } => connection
                .prepare_cached("UPDATE tasks SET state = ?2, status_ms = ?3 WHERE n = ?1")?
                .execute(params![n, *state as i64, at.as_millisecond()])?,
            Self::Session(row) => connection
                .prepare_cached(
                    "INSERT INTO sessions (id, caller, agent, context_id, conversation, ready, created_ms, used_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    &*row.id,
                    &*row.scope.caller,
                    &*row.scope.agent,
                    row.context_id.as_str(),
                    row.conversation,
                    row.ready,
                    row.created.as_millisecond(),
                    row.used.as_millisecond(),
                ])?,
            Self::SessionUsed { id, conversation, ready, at } => connection
                .prepare_cached("UPDATE sessions SET conversation = ?2, ready = ?3, used_ms = ?4 WHERE id = ?1")?
                .execute(params![&**id, conversation, ready, at.as_millisecond()])?,
            Self::SessionGone { id } => {
                connection.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute(params![&**id])?
            }
            Self::TaskGone { n } => {
                connection
                    .prepare_cached("DELETE FROM events WHERE key BETWEEN ?1 AND ?2")?
                    .execute(params![key(*n, 0), key(*n, u64::MAX)])?;
                connection.prepare_cached("DELETE FROM tasks WHERE n = ?1")?.execute(params![n])?
            }
            Self::Probe => connection.execute(
                "INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', CAST(unixepoch() AS TEXT))",
                [],
            )?,
            Self::CleanEnd => connection.execute("UPDATE meta SET value = 'clean' WHERE name = 'end'", [])?,
        };
        Ok(())
    }
}

// === reading ===

impl Store {
    /// Runs a query on a reading connection, off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let readers = self.readers.clone();
        let _permit = self
            .readers
            .permits
            .acquire()
            .await
            .map_err(|_| Error::Closed)?;
        let outcome = tokio::task::spawn_blocking(move || match &readers.shared {
            Some(shared) => query(&shared.lock().expect("a query does not panic")),
            None => {
                let mut free = readers.free.lock().expect("a pop does not panic");
                let connection = free.pop().expect("a permit stands for a connection");
                drop(free);
                let outcome = query(&connection);
                readers
                    .free
                    .lock()
                    .expect("a push does not panic")
                    .push(connection);
                outcome
            }
        })
        .await;
        Ok(outcome.map_err(|_| Error::Closed)??)
    }

    /// A task of this scope, by its id.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn task(&self, scope: &Scope, id: &TaskId) -> Result<Option<TaskRow>, Error> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT * FROM tasks WHERE id = ?1 AND caller = ?2 AND agent = ?3")?
                .query_row(
                    params![id.as_str(), &*scope.caller, &*scope.agent],
                    task_row,
                )
                .optional()
        })
        .await
    }

    /// The newest task of this scope that a v0.1 client named so.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn task_by_alias(
        &self,
        scope: &Scope,
        alias: &str,
    ) -> Result<Option<TaskRow>, Error> {
        let (scope, alias) = (scope.clone(), alias.to_owned());
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT * FROM tasks WHERE caller = ?1 AND agent = ?2 AND alias = ?3 ORDER BY n DESC LIMIT 1",
                )?
                .query_row(params![&*scope.caller, &*scope.agent, alias], task_row)
                .optional()
        })
        .await
    }

    /// Events of a task after `after` up to `upto`, until they make `bytes`; at least one if there is one.
    ///
    /// The row has been read in a scope before, so the number is proof enough.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn events(
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
            let mut rows = statement.query(params![key(n, after) + 1, key(n, upto)])?;
            let (mut found, mut size) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let event = event_row(row)?;
                size += event.body.len();
                found.push(event);
                if size >= bytes {
                    break;
                }
            }
            Ok(found)
        })
        .await
    }

    /// A page of this scope's tasks, newest status first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list(
        &self,
        scope: &Scope,
        filter: Filter,
        from: Option<Place>,
        size: u32,
    ) -> Result<Page, Error> {
        let scope = scope.clone();
        self.read(move |connection| {
            let wanted = "caller = ?1 AND agent = ?2 AND (?3 IS NULL OR context_id = ?3)
                 AND (?4 IS NULL OR state = ?4) AND status_ms >= ?5";
            let context = filter.context_id.as_ref().map(ContextId::as_str);
            let state = filter.state.map(|state| state as i64);
            let since = filter.since.map_or(0, Timestamp::as_millisecond);
            let total: i64 = connection
                .prepare_cached(&format!("SELECT count(*) FROM tasks WHERE {wanted}"))?
                .query_row(
                    params![&*scope.caller, &*scope.agent, context, state, since],
                    |row| row.get(0),
                )?;
            let from = from.unwrap_or(Place {
                status_ms: i64::MAX,
                n: i64::MAX,
            });
            let mut statement = connection.prepare_cached(&format!(
                "SELECT * FROM tasks WHERE {wanted} AND (status_ms, n) < (?6, ?7)
                 ORDER BY status_ms DESC, n DESC LIMIT ?8"
            ))?;
            let mut rows = statement
                .query_map(
                    params![
                        &*scope.caller,
                        &*scope.agent,
                        context,
                        state,
                        since,
                        from.status_ms,
                        from.n,
                        size + 1
                    ],
                    task_row,
                )?
                .collect::<Result<Vec<_>, _>>()?;
            let more = rows.len() > size as usize;
            rows.truncate(size as usize);
            let next = rows.last().filter(|_| more).map(|row| Place {
                status_ms: row.status_at.as_millisecond(),
                n: row.n,
            });
            Ok(Page {
                rows,
                next,
                total: total.cast_unsigned(),
            })
        })
        .await
    }

    /// Tasks that were submitted or working when the last server ended, oldest first. For the start alone.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn unfinished(&self) -> Result<Vec<TaskRow>, Error> {
        self.read(|connection| {
            connection
                .prepare("SELECT * FROM tasks WHERE state IN (1, 2) ORDER BY n")?
                .query_map([], task_row)?
                .collect()
        })
        .await
    }

    /// The session of a context.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn session(
        &self,
        scope: &Scope,
        context: &ContextId,
    ) -> Result<Option<SessionRow>, Error> {
        let (scope, context) = (scope.clone(), context.clone());
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT * FROM sessions WHERE caller = ?1 AND agent = ?2 AND context_id = ?3",
                )?
                .query_row(
                    params![&*scope.caller, &*scope.agent, context.as_str()],
                    session_row,
                )
                .optional()
        })
        .await
    }

    /// This scope's sessions, last used first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn sessions(&self, scope: &Scope, size: u32) -> Result<Vec<SessionRow>, Error> {
        let scope = scope.clone();
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT * FROM sessions WHERE caller = ?1 AND agent = ?2 ORDER BY used_ms DESC LIMIT ?3",
                )?
                .query_map(params![&*scope.caller, &*scope.agent, size], session_row)?
                .collect()
        })
        .await
    }

    /// Finished tasks that retention has come for.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn old_tasks(&self, limits: Limits) -> Result<Vec<i64>, Error> {
        self.read(move |connection| {
            let (mut gone, mut count, mut size) = (Vec::new(), 0, 0);
            // Submitted, working and asking tasks are nobody's past.
            let mut statement = connection
                .prepare("SELECT n, status_ms, bytes FROM tasks WHERE state NOT IN (1, 2, 6, 8) ORDER BY n DESC")?;
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

    /// All sessions and when they were last used (in milliseconds), last used first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn sessions_by_use(&self) -> Result<Vec<(Arc<str>, i64)>, Error> {
        self.read(|connection| {
            connection
                .prepare("SELECT id, used_ms FROM sessions ORDER BY used_ms DESC")?
                .query_map([], |row| {
                    Ok((Arc::from(row.get::<_, String>(0)?), row.get(1)?))
                })?
                .collect()
        })
        .await
    }

    /// Removes tasks with their events, and sessions.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn sweep(&self, tasks: &[i64], sessions: &[Arc<str>]) -> Result<(), Error> {
        for some in tasks.chunks(64) {
            let writes = some.iter().map(|&n| Write::TaskGone { n }).collect();
            self.commit(writes, Durability::Written).await?;
        }
        let writes = sessions
            .iter()
            .map(|id| Write::SessionGone { id: id.clone() })
            .collect();
        self.commit(writes, Durability::Written).await
    }
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

fn task_row(row: &Row<'_>) -> Result<TaskRow, rusqlite::Error> {
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
    })
}

fn scope(row: &Row<'_>) -> Result<Scope, rusqlite::Error> {
    Ok(Scope {
        caller: Arc::from(row.get::<_, String>("caller")?),
        agent: Arc::from(row.get::<_, String>("agent")?),
    })
}

fn event_row(row: &Row<'_>) -> Result<Event, rusqlite::Error> {
    let kind = match row.get::<_, i64>(1)? {
        0 => Kind::Task,
        1 => Kind::Status,
        2 => Kind::Artifact,
        _ => Kind::Message,
    };
    let seq = row.get::<_, i64>(0)?.cast_unsigned() & 0xffff_ffff;
    Ok(Event {
        seq,
        kind,
        body: Bytes::from(row.get::<_, Vec<u8>>(2)?),
    })
}

fn session_row(row: &Row<'_>) -> Result<SessionRow, rusqlite::Error> {
    Ok(SessionRow {
        id: Arc::from(row.get::<_, String>("id")?),
        scope: scope(row)?,
        context_id: ContextId::new(row.get::<_, String>("context_id")?),
        conversation: row.get("conversation")?,
        ready: row.get("ready")?,
        created: Timestamp::from_millisecond(row.get("created_ms")?),
        used: Timestamp::from_millisecond(row.get("used_ms")?),
    })
}

fn state_of(number: i64) -> TaskState {
    let known = usize::try_from(number)
        .ok()
        .and_then(|number| TaskState::ALL.get(number).copied());
    known.unwrap_or(TaskState::Unspecified)
}

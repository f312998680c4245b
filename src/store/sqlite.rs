//! The store on SQLite: opening, the writer thread, what a write does to the tables.

mod anybody;
mod artifacts;
mod asks;
mod copy;
mod counts;
mod erase;
mod event_pages;
mod grants;
mod links;
mod list;
mod migrations;
mod opening;
mod push;
mod read;
mod results;
mod session_heads;
mod sessions;
mod setups;
mod tokens;
mod trace;
mod usage;

pub use artifacts::{ArtifactEnds, Span};
pub use copy::{StoreCopy, check_copy};
use counts::Counts;
pub use event_pages::EventPage;
use migrations::{DatabaseFile, Upgrade};
pub(super) use opening::lock;
use opening::{begin_running, prepare};
use read::Readers;
pub use read::{EventsPart, Limits, ReadTransaction};
pub use session_heads::SessionHead;

use super::{Checkout, Conflict, Durability, Error, GrantWrite, Scope, Write};
use parking_lot::Mutex;
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, params};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Batches that may wait for the writer; a full queue holds back whoever writes.
const QUEUE: usize = 4096;

/// Batches in one transaction at most, so that nobody's answer waits for a crowd.
const GROUP: usize = 512;

/// Page cache of the writer and of each reader, in KiB.
const CACHE_KIB: i64 = 2048;

/// A session was used; what is not said of its checkout stays.
const USE_SESSION: &str = "UPDATE sessions SET conversation = ?2, ready = ?3, used_ms = ?4, \
                           checkout = COALESCE(?5, checkout), setup = ?6 WHERE id = ?1";

/// How far a sequence number jumps for a task that an unclean end cut off: a power cut may have taken
/// numbers that somebody has already seen.
pub const JUMP: u64 = 1000;

struct Job {
    writes: Vec<Write>,
    durability: Durability,
    done: Done,
}

/// What follows a batch, told what came of it: on the writer's thread, so it is short and never waits.
type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

impl Job {
    fn scrubs(&self) -> bool {
        self.writes.iter().any(|write| matches!(write, Write::Scrub))
    }

    /// Says what came of the batch. A panic of what follows it ends neither the writer nor other batches.
    fn answer(self, outcome: Result<(), Error>) {
        let done = std::panic::AssertUnwindSafe(move || (self.done)(outcome));
        if std::panic::catch_unwind(done).is_err() {
            tracing::error!(
                "what follows a write of the store panicked; the batch itself is decided"
            );
        }
    }
}

/// A handle to the store; clones share it.
#[derive(Clone)]
pub(crate) struct Sqlite {
    jobs: mpsc::Sender<Job>,
    readers: Arc<Readers>,
    next_n: Arc<AtomicI64>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
    clean: bool,
    upgrade: Option<Upgrade>,
    /// The lock file; and the database file, because closing any descriptor of it would drop the locks that
    /// SQLite holds on it (POSIX), and another program that closes it would then remove the log from under us.
    _held: Option<Arc<(File, File)>>,
}

// === opening ===

impl Sqlite {
    /// Opens (or makes) the database in a folder of our own, which is locked for us.
    pub(super) fn in_folder(
        folder: &Path,
        file: &Path,
        lock: File,
        readers: usize,
        copies: bool,
    ) -> Result<Self, Error> {
        let unusable = |path: &Path, error: &dyn std::fmt::Display| Error::Unusable {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        // The file is ours alone from its first byte.
        let handle = OpenOptions::new()
            .create(true)
            .read(true)
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
        let database = DatabaseFile { path: file, open: &handle, copies };
        let upgrade = migrations::migrate(&connection, Some(&database))?;
        let clean = begin_running(&connection)?;
        if fresh {
            // SQLite drops the log of a database file that is empty after a power cut.
            let synced = handle.sync_all().and_then(|()| File::open(folder)?.sync_all());
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
        let held = Some(Arc::new((lock, handle)));
        let store = Self::start(connection, None, Readers::own(connections), clean, held)?;
        Ok(Self { upgrade, ..store })
    }

    /// A store that is gone with the process.
    pub(super) fn in_memory(_readers: usize) -> Result<Self, Error> {
        let connection = Connection::open_in_memory()?;
        prepare(&connection)?;
        migrations::migrate(&connection, None)?;
        begin_running(&connection)?;
        let shared = Arc::new(Mutex::new(connection));
        let readers = Readers::on_writers(shared.clone());
        let idle = Connection::open_in_memory()?;
        Self::start(idle, Some(shared), readers, true, None)
    }

    fn start(
        connection: Connection,
        shared: Option<Arc<Mutex<Connection>>>,
        readers: Readers,
        clean: bool,
        held: Option<Arc<(File, File)>>,
    ) -> Result<Self, Error> {
        let next_n = connection
            .query_row("SELECT coalesce(max(n), 0) + 1 FROM tasks", [], |row| row.get(0))
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
            upgrade: None,
            _held: held,
        })
    }

    /// Whether the last server on this store ended in order.
    pub(crate) fn was_clean(&self) -> bool {
        self.clean
    }

    /// What the operator should know of the opening.
    pub(crate) fn note(&self) -> Option<String> {
        self.upgrade.as_ref().map(ToString::to_string)
    }

    /// Marks the end as an orderly one and stops the writer. Writes still under way are carried out.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.commit(vec![Write::CleanEnd], Durability::Synced).await {
            tracing::warn!(%error, "the store could not note its orderly end");
        }
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

// === writing ===

impl Sqlite {
    /// A number for a new task.
    pub(crate) fn new_task_number(&self) -> i64 {
        self.next_n.fetch_add(1, Ordering::Relaxed)
    }

    /// Applies a batch whole; returns when it is as safe as asked.
    ///
    /// # Errors
    ///
    /// When the database fails (a full disk, say); then nothing of the batch is stored.
    pub(crate) async fn commit(
        &self,
        writes: Vec<Write>,
        durability: Durability,
    ) -> Result<(), Error> {
        self.commit_then(writes, durability, |outcome| outcome).await?
    }

    /// The same, and what follows it. Once the batch is on its way, `then` is called with what came of it,
    /// whether anybody still waits for this future or not: on the writer's thread, in the order of the
    /// batches, before the next one of the same caller can be on its way. It is short and does not wait.
    ///
    /// # Errors
    ///
    /// When the store is closed; then `then` is not called.
    pub(crate) async fn commit_then<T: Send + 'static>(
        &self,
        writes: Vec<Write>,
        durability: Durability,
        then: impl FnOnce(Result<(), Error>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (told, answer) = oneshot::channel();
        let done = Box::new(move |outcome| drop(told.send(then(outcome))));
        let job = Job { writes, durability, done };
        self.jobs.send(job).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)
    }
}

impl Sqlite {
    /// Removes tasks with their events.
    pub(crate) async fn remove_tasks(&self, tasks: &[i64]) -> Result<(), Error> {
        for some in tasks.chunks(64) {
            let writes = some.iter().map(|&n| Write::TaskGone { n }).collect();
            self.commit(writes, Durability::Written).await?;
        }
        Ok(())
    }

    /// Removes a session.
    pub(crate) async fn remove_session(&self, id: &Arc<str>) -> Result<(), Error> {
        self.commit(vec![Write::SessionGone { id: id.clone() }], Durability::Written).await
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
        let mut connection = connection.lock();
        if write_group(&mut connection, &mut group, &mut synced) {
            return;
        }
    }
}

/// Writes a group and answers everyone in it; true when it was the last one.
fn write_group(connection: &mut Connection, group: &mut Vec<Job>, synced: &mut bool) -> bool {
    let last =
        group.iter().flat_map(|job| &job.writes).any(|write| matches!(write, Write::CleanEnd));
    let wanted = group.iter().any(|job| job.durability == Durability::Synced);
    if wanted != *synced {
        let level = if wanted { "FULL" } else { "NORMAL" };
        if connection.pragma_update(None, "synchronous", level).is_ok() {
            *synced = wanted;
        }
    }
    let outcome = apply(connection, group);
    match outcome {
        Ok(()) => {
            let scrubbed = scrub_after(connection, group);
            for job in group.drain(..) {
                let outcome = if job.scrubs() { scrubbed.clone() } else { Ok(()) };
                job.answer(outcome);
            }
        }
        // One batch must not take the others with it: each gets a transaction of its own.
        Err(_) if group.len() > 1 => {
            for job in group.drain(..) {
                let alone = std::slice::from_ref(&job);
                let outcome = apply(connection, alone);
                let outcome = outcome.and_then(|()| scrub_after(connection, alone));
                job.answer(outcome);
            }
        }
        Err(error) => {
            group.drain(..).for_each(|job| job.answer(Err(error.clone())));
        }
    }
    last
}

/// Leaves nothing of what was deleted, where one of these batches asks for that.
fn scrub_after(connection: &Connection, group: &[Job]) -> Result<(), Error> {
    match group.iter().any(Job::scrubs) {
        true => erase::scrub(connection),
        false => Ok(()),
    }
}

fn apply(connection: &Connection, group: &[Job]) -> Result<(), Error> {
    // As `Connection::transaction`, whose statements SQLite parses each time.
    connection.prepare_cached("BEGIN")?.execute([])?;
    let applied = apply_all(connection, group);
    let ended = match &applied {
        Ok(()) => connection.prepare_cached("COMMIT")?.execute([]),
        Err(_) => Ok(0),
    };
    // After some errors SQLite has taken it back itself.
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    applied?;
    ended?;
    Ok(())
}

fn apply_all(connection: &Connection, group: &[Job]) -> Result<(), Error> {
    let mut counts = Counts::default();
    for write in group.iter().flat_map(|job| &job.writes) {
        write.apply(connection, &mut counts)?;
    }
    Ok(counts.store(connection)?)
}

fn key(n: i64, seq: u64) -> i64 {
    (n << 32) | i64::try_from(seq & 0xffff_ffff).expect("32 bits")
}

impl Write {
    /// What it means where nothing is changed by it; none where that may be.
    fn refusal(&self) -> Option<Conflict> {
        match self {
            Self::Head { .. } => Some(Conflict::Moved),
            Self::AskTaken { .. } | Self::AskMarked(_) => Some(Conflict::Taken),
            Self::AskSpent { .. } | Self::Grant(GrantWrite::Used { .. }) => Some(Conflict::Spent),
            Self::Grant(GrantWrite::New(..)) => Some(Conflict::GrantsFull),
            Self::Key { .. } => Some(Conflict::Exists),
            Self::Token(..) => Some(Conflict::Full),
            Self::TokenRevoked { .. } | Self::LinkUsed { .. } => Some(Conflict::Gone),
            _ => None,
        }
    }

    /// What follows of it: counts of tasks, and the end of a task's asks.
    fn apply_beside(&self, connection: &Connection, counts: &mut Counts) -> Result<(), Error> {
        match self {
            Self::Task(row, _) => counts.made(&row.scope, row.state as i64),
            Self::Head { n, status: Some((state, at)), .. } => {
                counts.moves(connection, *n, Some(*state as i64))?;
                if state.is_terminal() {
                    asks::task_ended(connection, *n, *state, *at)?;
                }
            }
            Self::TaskGone { n } => counts.moves(connection, *n, None)?,
            _ => {}
        }
        Ok(())
    }

    fn apply(&self, connection: &Connection, counts: &mut Counts) -> Result<(), Error> {
        self.apply_beside(connection, counts)?;
        let changed = match self {
            Self::Task(row, bytes) => connection
                .prepare_cached(
                    "INSERT INTO tasks (n, id, caller, agent, context_id, session, alias, state, status_ms,
                     created_ms, head, bytes, print) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
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
                    bytes.cast_signed(),
                    row.print.as_ref().map(|print| &print[..]),
                ])?,
            Self::Event { n, event } => connection
                .prepare_cached("INSERT INTO events (key, kind, body) VALUES (?1, ?2, ?3)")?
                .execute(params![key(*n, event.seq), event.kind as i64, &event.body[..]])?,
            Self::Head { n, expected, seq, bytes, status: None } => connection
                .prepare_cached(
                    "UPDATE tasks SET head = ?2, bytes = bytes + ?3
                     WHERE n = ?1 AND head = ?4 AND (state <= 2 OR state = 6 OR state = 8)",
                )?
                .execute(params![
                    n,
                    seq.cast_signed(),
                    bytes.cast_signed(),
                    expected.cast_signed()
                ])?,
            Self::Head { n, expected, seq, bytes, status: Some((state, at)) } => connection
                .prepare_cached(
                    "UPDATE tasks SET head = ?2, bytes = bytes + ?3, state = ?5, status_ms = ?6
                     WHERE n = ?1 AND head = ?4 AND (state <= 2 OR state = 6 OR state = 8)",
                )?
                .execute(params![
                    n,
                    seq.cast_signed(),
                    bytes.cast_signed(),
                    expected.cast_signed(),
                    *state as i64,
                    at.as_millisecond()
                ])?,
            Self::Session(row) => connection
                .prepare_cached(
                    // One that is stored may know more by now; one of this context that is being removed gives way.
                    "INSERT INTO sessions (id, caller, agent, context_id, conversation, ready, created_ms, used_ms, setup)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (id) DO NOTHING
                     ON CONFLICT (caller, agent, context_id) DO UPDATE SET
                       id = excluded.id, conversation = excluded.conversation, ready = excluded.ready,
                       created_ms = excluded.created_ms, used_ms = excluded.used_ms, checkout = NULL,
                       setup = excluded.setup",
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
                    row.setup,
                ])?,
            Self::SessionUsed { id, conversation, ready, checkout, setup, at } => connection
                .prepare_cached(USE_SESSION)?
                .execute(params![&**id, conversation, ready, at.as_millisecond(), checkout.as_ref().map(Checkout::json), setup])?,
            Self::SessionInUse { id, at } => connection
                .prepare_cached("UPDATE sessions SET used_ms = ?2 WHERE id = ?1")?
                .execute(params![&**id, at.as_millisecond()])?,
            Self::SessionGone { id } => {
                usage::session_gone(connection, id)?;
                grants::session_gone(connection, id)?;
                connection.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute(params![&**id])?
            }
            Self::Push(row) => push::put(connection, row)?,
            Self::PushSent { n, id, seq } => push::sent(connection, *n, id, *seq)?,
            Self::PushFailing { n, id, since } => push::failing(connection, *n, id, *since)?,
            Self::PushEnded { n, id, state } => push::ended(connection, *n, id, state)?,
            Self::PushGone { n, id } => push::gone(connection, *n, id)?,
            Self::Ask(row) => asks::put(connection, row)?,
            Self::Result(row) => results::put(connection, row)?,
            Self::Trace(row) => trace::put(connection, row)?,
            Self::AskMarked(row) => asks::mark(connection, row)?,
            Self::AskTaken { id, state, act } => {
                let at = act.as_ref().map_or_else(Timestamp::now, |act| act.at);
                asks::end(connection, id, *state, at, act.as_deref())?
            },
            Self::AskGone { id, state, act } => asks::end(connection, id, *state, Timestamp::now(), act.as_deref())?,
            Self::AskSpent { id } => asks::spend(connection, id)?,
            Self::Grant(write) => grants::apply(connection, write)?,
            Self::AsksSwept { count, bytes } => asks::sweep(connection, *count, *bytes)?,
            Self::Key { scope, key, print, n } => put_key(connection, scope, key, print, *n)?,
            Self::Token(row, most) => tokens::put(connection, row, *most)?,
            Self::TokenRevoked { id, at } => tokens::revoke(connection, id, *at)?,
            Self::Link(row) => links::put(connection, row)?,
            Self::LinkUsed { hash, at } => links::use_once(connection, hash, *at)?,
            Self::CallerGone { caller } => erase::caller_gone(connection, caller)?,
            Self::Scrub => 0,
            Self::Usage { n, session, caller, day, used } => {
                usage::add(connection, *n, session, caller, *day, *used)?
            }
            Self::TaskGone { n } => task_gone(connection, *n)?,
            Self::Inventory { agent, text } => connection
                .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES ('inventory:' || ?1, ?2)")?
                .execute(params![&**agent, text])?,
            Self::Probe => connection.execute(
                "INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', CAST(unixepoch() AS TEXT))",
                [],
            )?,
            Self::CleanEnd => connection.execute("UPDATE meta SET value = 'clean' WHERE name = 'end'", [])?,
        };
        let refusal = self.refusal().filter(|_| changed == 0);
        refusal.map_or(Ok(()), |refusal| Err(Error::Refused(refusal)))
    }
}

/// Removes a task, with all that goes with it.
fn task_gone(connection: &Connection, n: i64) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached("DELETE FROM keys WHERE n = ?1")?.execute([n])?;
    asks::task_gone(connection, n)?;
    push::task_gone(connection, n)?;
    usage::task_gone(connection, n)?;
    results::task_gone(connection, n)?;
    trace::task_gone(connection, n)?;
    connection
        .prepare_cached("DELETE FROM events WHERE key BETWEEN ?1 AND ?2")?
        .execute(params![key(n, 0), key(n, u64::MAX)])?;
    connection.prepare_cached("DELETE FROM tasks WHERE n = ?1")?.execute([n])
}

/// Stores a send's key, where it is not in use.
fn put_key(
    connection: &Connection,
    scope: &Scope,
    key: &str,
    print: &[u8; 32],
    n: i64,
) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO keys (caller, agent, key, print, n) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![&*scope.caller, &*scope.agent, key, &print[..], n])
}

#[cfg(test)]
mod tests;

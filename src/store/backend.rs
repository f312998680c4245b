//! Which database a store is. There is one today; whoever holds a [`Store`] does not know.

use super::sqlite::{
    ArtifactEnds, EventPage, EventsPart, Limits, ReadTransaction, SessionHead, Span, Sqlite,
};
use super::{
    Account, AskPage, AskRow, AskState, CallerFilter, Durability, ErasedTask, Erasure, Error,
    Event, GrantRow, LinkRow, PushRow, Scope, SessionPage, SessionPlace, SessionRow, SessionUse,
    TaskRow, TokenRow, TraceRow, UsageReport, Used, Write,
};
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::time::Timestamp;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A handle to the store; clones share it.
#[derive(Clone)]
pub struct Store(Backend, Histogram);

#[derive(Clone)]
enum Backend {
    Sqlite(Sqlite),
}

/// Times of batches, from 0.1 ms to 26 s.
fn commits() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 4.0, 10))
}

/// The same of the database that this store is.
macro_rules! delegate {
    ($store:ident.$name:ident($($given:expr),*).await) => {
        match &$store.0 {
            Backend::Sqlite(sqlite) => sqlite.$name($($given),*).await,
        }
    };
    ($store:ident.$name:ident($($given:expr),*)) => {
        match &$store.0 {
            Backend::Sqlite(sqlite) => sqlite.$name($($given),*),
        }
    };
}

impl Store {
    /// Opens (or makes) the database in a folder of our own, which is locked for us.
    pub(super) fn in_folder(
        folder: &Path,
        file: &Path,
        lock: File,
        readers: usize,
        copies: bool,
    ) -> Result<Self, Error> {
        let sqlite = Sqlite::in_folder(folder, file, lock, readers, copies)?;
        Ok(Self(Backend::Sqlite(sqlite), commits()))
    }

    /// A store that is gone with the process.
    pub(super) fn in_memory(readers: usize) -> Result<Self, Error> {
        Ok(Self(Backend::Sqlite(Sqlite::in_memory(readers)?), commits()))
    }

    /// Keeps readers and the writer of a store in memory from their connection until the answer is dropped.
    #[cfg(test)]
    pub(crate) async fn keep_busy(&self) -> std::sync::mpsc::Sender<()> {
        delegate!(self.keep_busy().await)
    }

    /// How long batches took, in seconds, from their order to their place in the store.
    pub fn commits(&self) -> Histogram {
        self.1.clone()
    }

    /// Whether the last server on this store ended in order.
    pub fn was_clean(&self) -> bool {
        delegate!(self.was_clean())
    }

    /// What the operator should know of the opening.
    pub fn note(&self) -> Option<String> {
        delegate!(self.note())
    }

    /// Marks the end as an orderly one and stops the writer. Writes still under way are carried out.
    pub async fn close(&self) {
        delegate!(self.close().await);
    }

    /// A number for a new task.
    pub fn new_task_number(&self) -> i64 {
        delegate!(self.new_task_number())
    }

    /// What an agent's CLI said last that it offers, as JSON.
    pub async fn inventory(&self, agent: &str) -> Result<Option<String>, Error> {
        delegate!(self.inventory(agent).await)
    }

    /// Applies a batch whole; returns when it is as safe as asked.
    pub async fn commit(&self, writes: Vec<Write>, durability: Durability) -> Result<(), Error> {
        self.commit_then(writes, durability, |outcome| outcome).await?
    }

    /// The same, and what follows it. Once the batch is on its way, `then` is called with what came of it,
    /// whether anybody still waits for this future or not: on the writer's thread, in the order of the
    /// batches, before the next one of the same caller can be on its way. It is short and does not wait.
    pub async fn commit_then<T: Send + 'static>(
        &self,
        writes: Vec<Write>,
        durability: Durability,
        then: impl FnOnce(Result<(), Error>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (commits, begun) = (self.1.clone(), Instant::now());
        let then = move |outcome| {
            commits.observe(begun.elapsed().as_secs_f64());
            then(outcome)
        };
        delegate!(self.commit_then(writes, durability, then).await)
    }

    /// Removes tasks with their events.
    pub async fn remove_tasks(&self, tasks: &[i64]) -> Result<(), Error> {
        delegate!(self.remove_tasks(tasks).await)
    }

    /// Removes a session.
    pub async fn remove_session(&self, id: &Arc<str>) -> Result<(), Error> {
        delegate!(self.remove_session(id).await)
    }

    /// All open asks of tasks that still wait for one.
    pub async fn asks(&self) -> Result<Vec<AskRow>, Error> {
        delegate!(self.asks().await)
    }

    /// An ask by its id or its short id, whosever it is; of several with the same short id, the newest.
    pub async fn ask(&self, name: &str) -> Result<Option<AskRow>, Error> {
        delegate!(self.ask(name).await)
    }

    /// A page of the ended asks of one caller or of all, newest first: of these agents (all, where none is
    /// named), of one state or of all.
    pub async fn ended_asks(
        &self,
        caller: &CallerFilter,
        agents: Vec<String>,
        state: Option<AskState>,
        before: Option<String>,
        size: usize,
    ) -> Result<AskPage, Error> {
        delegate!(self.ended_asks(caller, agents, state, before, size).await)
    }

    /// What a session of this context may use at this time, the oldest first.
    pub async fn grants_in(
        &self,
        scope: &Scope,
        context: &ContextId,
        at: Timestamp,
    ) -> Result<Vec<GrantRow>, Error> {
        delegate!(self.grants_in(scope, context, at).await)
    }

    /// All that these callers have granted and that can be used at this time, the oldest first.
    pub async fn grants_of(
        &self,
        callers: &CallerFilter,
        at: Timestamp,
    ) -> Result<Vec<GrantRow>, Error> {
        delegate!(self.grants_of(callers, at).await)
    }

    /// A config of a task of this scope.
    pub async fn push_config(
        &self,
        scope: &Scope,
        n: i64,
        id: &str,
    ) -> Result<Option<PushRow>, Error> {
        delegate!(self.push_config(scope, n, id).await)
    }

    /// At most `size` configs of a task of this scope, in the order of their creation, after the one with
    /// the key `after`.
    pub async fn push_configs(
        &self,
        scope: &Scope,
        n: i64,
        after: i64,
        size: u32,
    ) -> Result<Vec<PushRow>, Error> {
        delegate!(self.push_configs(scope, n, after, size).await)
    }

    /// How many configs a task has.
    pub async fn push_count(&self, n: i64) -> Result<usize, Error> {
        delegate!(self.push_count(n).await)
    }

    /// Configs that are not at their end, of all callers, after the one with the key `after`. For the start alone.
    pub async fn push_active(&self, after: i64, size: u32) -> Result<Vec<PushRow>, Error> {
        delegate!(self.push_active(after, size).await)
    }

    /// Whether the store can be read: what the last [`Write::Probe`](super::Write) left.
    pub async fn probe_read(&self) -> Result<(), Error> {
        delegate!(self.probe_read().await)
    }

    /// A task of this scope, by its id.
    pub async fn task(&self, scope: &Scope, id: &TaskId) -> Result<Option<TaskRow>, Error> {
        delegate!(self.task(scope, id).await)
    }

    /// What was sent under an `Idempotency-Key`, as its print, and the task.
    pub async fn task_by_key(
        &self,
        scope: &Scope,
        key: &str,
    ) -> Result<Option<([u8; 32], TaskRow)>, Error> {
        delegate!(self.task_by_key(scope, key).await)
    }

    /// The newest task of this scope that a v0.1 client named so.
    pub async fn task_by_alias(
        &self,
        scope: &Scope,
        alias: &str,
    ) -> Result<Option<TaskRow>, Error> {
        delegate!(self.task_by_alias(scope, alias).await)
    }

    /// Events of a task after `after` up to `upto`, until they make `bytes`; at least one if there is one.
    ///
    /// The row has been read in a scope before, so the number is proof enough.
    pub async fn events(
        &self,
        n: i64,
        after: u64,
        upto: u64,
        bytes: usize,
    ) -> Result<Vec<Event>, Error> {
        delegate!(self.events(n, after, upto, bytes).await)
    }

    /// The same for a reader who shows a part of them.
    pub async fn events_in_part(&self, part: EventsPart) -> Result<Vec<Event>, Error> {
        delegate!(self.events_in_part(part).await)
    }

    /// The events of a page as text, in their order, each rendered as soon as it is read.
    pub async fn event_page(
        &self,
        page: EventPage,
        render: impl FnMut(Event) -> String + Send + 'static,
    ) -> Result<Vec<String>, Error> {
        delegate!(self.event_page(page, render).await)
    }

    /// Several reads that belong together: of one moment, on one thread.
    pub async fn read_together<T: Send + 'static>(
        &self,
        reads: impl FnOnce(&ReadTransaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        delegate!(self.read_together(reads).await)
    }

    /// Tasks that were submitted or working when the last server ended, oldest first. For the start alone.
    pub async fn unfinished(&self) -> Result<Vec<TaskRow>, Error> {
        delegate!(self.unfinished().await)
    }

    /// The session of a context.
    pub async fn session(
        &self,
        scope: &Scope,
        context: &ContextId,
    ) -> Result<Option<SessionRow>, Error> {
        delegate!(self.session(scope, context).await)
    }

    /// This scope's session of this id or this context.
    pub async fn session_named(
        &self,
        scope: &Scope,
        name: &str,
    ) -> Result<Option<SessionRow>, Error> {
        delegate!(self.session_named(scope, name).await)
    }

    /// A page of these callers' sessions with an agent, last used first: those behind a place, or the first ones.
    pub async fn sessions(
        &self,
        callers: &CallerFilter,
        agent: &str,
        from: Option<SessionPlace>,
        size: usize,
    ) -> Result<SessionPage, Error> {
        delegate!(self.sessions(callers, agent, from, size).await)
    }

    /// How these sessions began, and how they stand.
    pub async fn session_heads(&self, rows: &[SessionRow]) -> Result<Vec<SessionHead>, Error> {
        delegate!(self.session_heads(rows).await)
    }

    /// Finished tasks that retention has come for.
    pub async fn old_tasks(&self, limits: Limits) -> Result<Vec<i64>, Error> {
        delegate!(self.old_tasks(limits).await)
    }

    /// Whether a task of a session's context waits, works or asks. Not looked up by the task's own session: a
    /// session that is made anew goes on with tasks of the one before it.
    pub async fn has_unfinished(&self, session: &Arc<str>) -> Result<bool, Error> {
        delegate!(self.has_unfinished(session).await)
    }

    /// All sessions and when they were last used (in milliseconds), last used first.
    pub async fn sessions_by_use(&self) -> Result<Vec<SessionUse>, Error> {
        delegate!(self.sessions_by_use().await)
    }

    /// The revisions of set-ups that sessions have, each with its agent.
    pub async fn setups_in_use(&self) -> Result<Vec<(String, String)>, Error> {
        delegate!(self.setups_in_use().await)
    }

    /// What a turn of a task has left under this name; without its bytes where it was larger than is kept.
    pub async fn result(&self, n: i64, name: &str) -> Result<Option<Option<Vec<u8>>>, Error> {
        delegate!(self.result(n, name).await)
    }

    /// How many of these events change their task.
    pub async fn count_changes(&self, span: Span) -> Result<u64, Error> {
        delegate!(self.count_changes(span).await)
    }

    /// The beginnings and ends of the newest updates of artifacts among these events, oldest first.
    pub async fn artifact_ends(&self, span: Span) -> Result<Vec<ArtifactEnds>, Error> {
        delegate!(self.artifact_ends(span).await)
    }

    /// The newest of what turns of a session have left under this name.
    pub async fn session_result(
        &self,
        session: &str,
        name: &str,
    ) -> Result<Option<Option<Vec<u8>>>, Error> {
        delegate!(self.session_result(session, name).await)
    }

    /// What the spans of a task need beside its events, in its order, at most so many.
    pub async fn trace_notes(
        &self,
        n: i64,
        (behind, most): (u32, u32),
    ) -> Result<Vec<Option<TraceRow>>, Error> {
        delegate!(self.trace_notes(n, (behind, most)).await)
    }

    /// The asks of a task in their order, at most so many, whether or not they can be answered.
    pub async fn asks_of_task(&self, n: i64, most: u32) -> Result<Vec<AskRow>, Error> {
        delegate!(self.asks_of_task(n, most).await)
    }

    /// The link whose secret has this hash.
    pub async fn link(&self, hash: &[u8; 32]) -> Result<Option<LinkRow>, Error> {
        delegate!(self.link(hash).await)
    }

    /// The tasks of an erasure.
    pub async fn erased_tasks(&self, what: &Erasure) -> Result<Vec<ErasedTask>, Error> {
        delegate!(self.erased_tasks(what).await)
    }

    /// The sessions of an erasure, each with its agent.
    pub async fn erased_sessions(&self, what: &Erasure) -> Result<Vec<(Arc<str>, String)>, Error> {
        delegate!(self.erased_sessions(what).await)
    }

    /// Leaves nothing of what was deleted, also not in the copy that an upgrade has kept.
    pub async fn scrub(&self) -> Result<(), Error> {
        delegate!(self.scrub().await)
    }

    /// All tokens, in the order of their making, the revoked and expired ones included.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, Error> {
        delegate!(self.tokens().await)
    }

    /// A task with this agent, whoever its caller is.
    pub async fn task_of_anybody(
        &self,
        agent: &str,
        id: &TaskId,
    ) -> Result<Option<TaskRow>, Error> {
        delegate!(self.task_of_anybody(agent, id).await)
    }

    /// The session of this id or this context with this agent, whoever its caller is. Of several callers with this
    /// context the one who used it last.
    pub async fn session_of_anybody(
        &self,
        agent: &str,
        name: &str,
    ) -> Result<Option<SessionRow>, Error> {
        delegate!(self.session_of_anybody(agent, name).await)
    }

    /// What these callers used from one day to another, both included.
    pub async fn usage_report(
        &self,
        callers: &CallerFilter,
        from: i64,
        to: i64,
    ) -> Result<UsageReport, Error> {
        delegate!(self.usage_report(callers, from, to).await)
    }

    /// What was used of each of these accounts, in their order.
    pub async fn usage(&self, accounts: Vec<Account>) -> Result<Vec<Used>, Error> {
        delegate!(self.usage(accounts).await)
    }
}

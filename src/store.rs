//! The store: every task's events and every session, on disk before anyone sees them.
//!
//! # How it works
//!
//! One writer thread owns the writing connection. It takes whatever waits in its queue, applies all of
//! it in one transaction and answers everyone at once (group commit): the time of one write is the
//! window in which the next group gathers, and there is no timer. A group in which somebody asked for
//! [`Durability::Synced`] is synced to disk; others are left to the write-ahead log, which survives the
//! end of this process but not a power cut.
//!
//! Reads run on connections of their own and never wait for the writer. Every read that answers a
//! caller takes a [`Scope`]; what is outside of it does not exist.

mod ask;
mod backend;
mod checkout;
mod erasure;
mod error;
mod grant;
#[cfg(test)]
mod laws;
mod link;
mod report;
mod result;
mod session_page;
mod sqlite;
mod token;
mod trace;
mod usage;

use crate::config::Config;
use bytes::Bytes;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

pub use ask::{AnswerSource, AskAct, AskPage, AskRow, AskState};
pub use backend::Store;
pub use checkout::{Checkout, SessionUse};
pub use erasure::{ErasedTask, Erasure};
pub use error::{Conflict, Error, FaultKind};
pub use grant::{GrantRow, GrantWrite};
pub use link::LinkRow;
pub use report::{Usage, UsageOf, UsageReport};
pub use result::{BASE_PATCH, ResultRow, TURN_PATCH};
pub use session_page::{SessionPage, SessionPlace};
pub use sqlite::{
    ArtifactEnds, EventPage, EventsPart, JUMP, Limits, ReadTransaction, SessionHead, Span,
    StoreCopy, check_copy,
};
pub use token::TokenRow;
pub use trace::{ModelCall, SpanId, TraceContext, TraceId, TraceNote, TraceParent, TraceRow};
pub use usage::{Account, Used};

/// What a caller may see: the tasks and sessions that are its own, of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The caller's name.
    pub caller: Arc<str>,
    /// The agent's name in the configuration.
    pub agent: Arc<str>,
}

/// Whose tasks or sessions are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerFilter {
    /// Those of one caller.
    One(Arc<str>),
    /// Those of all callers.
    All,
}

/// How safe a write must be before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// In the write-ahead log: survives `kill -9` of the server.
    Written,
    /// On the disk: survives a power cut.
    Synced,
}

/// What kind of event a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The task as it was accepted.
    Task = 0,
    /// A status update.
    Status = 1,
    /// An artifact update.
    Artifact = 2,
    /// A message of the caller to a task that was already there; for the history only.
    Message = 3,
}

/// One stored event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its place in the task's log.
    pub seq: u64,
    /// What it holds.
    pub kind: Kind,
    /// A2A v1.0 JSON of a `StreamResponse` (of a `Message` for [`Kind::Message`]).
    pub body: Bytes,
}

/// A task's row: all that is known without reading its events.
#[derive(Debug, Clone)]
pub struct TaskRow {
    /// Our own short number.
    pub n: i64,
    /// The id.
    pub id: TaskId,
    /// Whose it is.
    pub scope: Scope,
    /// Its context.
    pub context_id: ContextId,
    /// The session's id.
    pub session: Arc<str>,
    /// The id that a v0.1 client made.
    pub alias: Option<Arc<str>>,
    /// Its state.
    pub state: TaskState,
    /// When it got this state.
    pub status_at: Timestamp,
    /// When it was accepted.
    pub created: Timestamp,
    /// The last sequence number.
    pub head: u64,
    /// SHA-256 of the send that made it, where that had no `Idempotency-Key`.
    pub print: Option<[u8; 32]>,
}

/// A session's row.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Our own id; names its folders.
    pub id: Arc<str>,
    /// Whose it is.
    pub scope: Scope,
    /// Its context.
    pub context_id: ContextId,
    /// The CLI's own id of the conversation.
    pub conversation: Option<String>,
    /// Whether its folder is set up and its script has run.
    pub ready: bool,
    /// What its workspace is a checkout of, where it is one.
    pub checkout: Option<Checkout>,
    /// The revision of its agent's set-up that it began with.
    pub setup: Option<String>,
    /// When it began.
    pub created: Timestamp,
    /// When it was last used.
    pub used: Timestamp,
}

/// A push notification config's row.
#[derive(Clone)]
pub struct PushRow {
    /// Its place among all of them, in the order of their creation; the store gives it.
    pub key: i64,
    /// The task's number.
    pub n: i64,
    /// The task.
    pub task: TaskId,
    /// Names it within its task.
    pub id: Arc<str>,
    /// Whose it is.
    pub scope: Scope,
    /// The dialect of its registration.
    pub dialect: Dialect,
    /// The task's id as a v0.1 client made it.
    pub alias: Option<Arc<str>>,
    /// A2A v1.0 JSON of the config, secrets included.
    pub config: Arc<str>,
    /// The mark of the token that registered it; none where an earlier version has.
    pub token: Option<Arc<str>>,
    /// Sequence number of the last event that was delivered.
    pub sent: u64,
    /// When the event after it was first tried, if it was not taken.
    pub failing: Option<Timestamp>,
    /// When it was created.
    pub created: Timestamp,
    /// How it stands.
    pub state: PushState,
}

/// How a push notification config stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushState {
    /// There are events to deliver, or there may be.
    Active,
    /// Its task is over and all of it is delivered.
    Done,
    /// Nothing more is delivered, for this reason.
    GivenUp(String),
}

impl std::fmt::Debug for PushRow {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The config holds a caller's secrets, and its address may.
        out.debug_struct("PushRow")
            .field("n", &self.n)
            .field("id", &self.id)
            .field("sent", &self.sent)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// One change; a batch of them is applied whole or not at all.
#[derive(Debug)]
pub enum Write {
    /// A new task, and the bytes of its first events, which come in the same batch.
    Task(Box<TaskRow>, u64),
    /// An event at the end of a task's log.
    Event {
        /// The task's number.
        n: i64,
        /// The event.
        event: Event,
    },
    /// A new session.
    Session(Box<SessionRow>),
    /// A session was used, or learned something.
    SessionUsed {
        /// Its id.
        id: Arc<str>,
        /// The CLI's conversation.
        conversation: Option<String>,
        /// Whether its folder is ready.
        ready: bool,
        /// What its workspace is a checkout of; without it the store keeps what it knows.
        checkout: Option<Checkout>,
        /// The revision of its agent's set-up that it has.
        setup: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// A session was in use, of which nothing else is known here.
    SessionInUse {
        /// Its id.
        id: Arc<str>,
        /// When.
        at: Timestamp,
    },
    /// A session that is no more.
    SessionGone {
        /// Its id.
        id: Arc<str>,
    },
    /// The end of a task's log after a batch of events. Refused where the task has ended or has another head by
    /// now ([`Conflict::Moved`]).
    Head {
        /// The task's number.
        n: i64,
        /// The last sequence number on which the batch was decided.
        expected: u64,
        /// The last sequence number.
        seq: u64,
        /// Bytes that the batch added.
        bytes: u64,
        /// The newest status of the batch: its state, and since when.
        status: Option<(TaskState, Timestamp)>,
    },
    /// A push notification config, new or in the place of the one with its id.
    Push(Box<PushRow>),
    /// A push notification config's event was taken.
    PushSent {
        /// The task's number.
        n: i64,
        /// The config.
        id: Arc<str>,
        /// The event's sequence number.
        seq: u64,
    },
    /// A push notification config's next event was not taken.
    PushFailing {
        /// The task's number.
        n: i64,
        /// The config.
        id: Arc<str>,
        /// When the event was first tried.
        since: Timestamp,
    },
    /// A push notification config is at its end.
    PushEnded {
        /// The task's number.
        n: i64,
        /// The config.
        id: Arc<str>,
        /// How it ended.
        state: PushState,
    },
    /// A push notification config that is removed.
    PushGone {
        /// The task's number.
        n: i64,
        /// The config.
        id: Arc<str>,
    },
    /// A new ask.
    Ask(Arc<AskRow>),
    /// What a turn has left, in the place of what had its name in the task.
    Result(Box<ResultRow>),
    /// What the spans of a task need beside its events.
    Trace(Box<TraceRow>),
    /// An ask that a person has claimed or deferred. Refused where it cannot be answered ([`Conflict::Taken`]).
    AskMarked(Arc<AskRow>),
    /// An ask that has an answer, or whose time is over. Refused where it cannot be answered ([`Conflict::Taken`]).
    AskTaken {
        /// Its id.
        id: Arc<str>,
        /// How it stands now.
        state: AskState,
        /// Who answered what; none where its task is canceled because its time is over.
        act: Option<Arc<AskAct>>,
    },
    /// An ask that is withdrawn or void, or that a grant answers, if it can still be answered.
    AskGone {
        /// Its id.
        id: Arc<str>,
        /// How it stands now.
        state: AskState,
        /// Who has answered it, if anybody has.
        act: Option<Arc<AskAct>>,
    },
    /// What was decided about an ask whose process is gone is used, by the process that asked again. Refused where it was
    /// used before ([`Conflict::Spent`]).
    AskSpent {
        /// Its id.
        id: Arc<str>,
    },
    /// A change of a standing permission.
    Grant(GrantWrite),
    /// Ended asks beyond a number, and beyond so many bytes, are removed; the newest are kept.
    AsksSwept {
        /// How many are kept.
        count: u64,
        /// How many bytes of them are kept.
        bytes: u64,
    },
    /// A send's `Idempotency-Key`. Refused where it is in use ([`Conflict::Exists`]).
    Key {
        /// Whose it is.
        scope: Scope,
        /// The key.
        key: String,
        /// SHA-256 of what was sent.
        print: [u8; 32],
        /// The number of the task that it made or continued.
        n: i64,
    },
    /// A new token, and how many there may be. Refused where there is no room ([`Conflict::Full`]).
    Token(Box<TokenRow>, usize),
    /// A token that is revoked. Refused where it is not there, or is revoked already ([`Conflict::Gone`]).
    TokenRevoked {
        /// Its id.
        id: Arc<str>,
        /// When.
        at: Timestamp,
    },
    /// What a turn used on a day; it is added to four accounts.
    Usage {
        /// The task's number.
        n: i64,
        /// The session's id.
        session: Arc<str>,
        /// The caller's name.
        caller: Arc<str>,
        /// The day, since 1970-01-01 UTC.
        day: i64,
        /// How much of it counts for the task, its session, its caller's day, everybody's day.
        used: [Used; 4],
    },
    /// A task that is swept, with all its events.
    TaskGone {
        /// The task's number.
        n: i64,
    },
    /// What an agent's CLI says that it offers, in place of what it said before.
    Inventory {
        /// The agent.
        agent: Arc<str>,
        /// As JSON.
        text: String,
    },
    /// A new link.
    Link(Box<LinkRow>),
    /// A link is used. Refused where it is not there, was used, or its time is over ([`Conflict::Gone`]).
    LinkUsed {
        /// SHA-256 of its secret.
        hash: [u8; 32],
        /// When.
        at: Timestamp,
    },
    /// What is kept of a caller beside its tasks and sessions is removed.
    CallerGone {
        /// The caller.
        caller: Arc<str>,
    },
    /// Nothing is left of what was deleted before.
    Scrub,
    /// Nothing new, but a write all the same: whether the store can be written.
    Probe,
    /// The server ends in order; nothing is written after this.
    CleanEnd,
}

/// What a list of tasks is filtered by.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this context.
    pub context_id: Option<ContextId>,
    /// Only this state.
    pub state: Option<TaskState>,
    /// Only with a status at or after this time.
    pub since: Option<Timestamp>,
}

/// A place in a list of tasks: the last one seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its status time in milliseconds.
    pub status_ms: i64,
    /// Its number.
    pub n: i64,
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The rows, newest status first.
    pub rows: Vec<TaskRow>,
    /// Where the next page begins.
    pub next: Option<Place>,
    /// How many there are in all.
    pub total: u64,
}

/// A store that is gone with the process, without a configuration.
#[cfg(test)]
pub(crate) fn in_memory() -> Store {
    Store::in_memory(1).expect("a database in memory can be opened")
}

/// The store that the configuration names, before it is opened. No other server opens it meanwhile.
pub struct Claim(Option<File>);

impl Claim {
    /// Claims it; `holder` is what another server is told.
    ///
    /// # Errors
    ///
    /// When another server has it, or its folder cannot be used.
    pub fn new(config: &Config, holder: &str) -> Result<Self, Error> {
        let is_in_memory = config.store.path == Path::new("memory");
        let lock = (!is_in_memory).then(|| sqlite::lock(&config.state_dir, holder));
        lock.transpose().map(Self)
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// When the database cannot be used.
    pub fn open(self, config: &Config) -> Result<Store, Error> {
        let readers = config.limits.store_readers;
        match self.0 {
            None => Store::in_memory(readers),
            Some(lock) => {
                let file = config.state_dir.join(&config.store.path);
                let copies = config.store.copy_before_upgrade;
                Store::in_folder(&config.state_dir, &file, lock, readers, copies)
            }
        }
    }
}

/// Claims the store that the configuration names, and opens it.
#[cfg(test)]
pub(crate) fn open(config: &Config, holder: &str) -> Result<Store, Error> {
    Claim::new(config, holder)?.open(config)
}

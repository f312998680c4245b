//! Sessions: (caller, agent, `contextId`) made real. One actor per session owns process, driver and
//! workspace; this file is the way to it.
//!
//! # How it works
//!
//! [`Sessions::admit`] reserves a place: it finds or makes the session's actor and says whether the
//! turn can start now (then the task is stored `WORKING` in the same transaction in which it is
//! accepted) or has to wait. [`registry::Admission::submit`] hands the turn over. An actor without a process,
//! without work and without a reservation leaves; the map never holds a session that does nothing.
//!
//! # The words between the parts
//!
//! All of them are in this file, with these channels:
//!
//! - Orders ([`Order`]), unbounded: a cancel never waits behind turns, and the turns in it are bounded where they are
//!   admitted (`processes.queue`, `limits.queue_per_caller`).
//! - An answer for each order that needs one, each sent once: whether there was something to cancel, what came of
//!   an answer ([`Delivery`]), how a terminal is started. Dropped, it says that the actor has failed.
//! - What a session does now ([`Activity`]): the newest value counts, and whoever looks does not make the actor wait.

mod activity;
mod actor;
mod begin;
mod bounded;
mod bundle;
mod conversation;
mod disk;
mod end_guard;
mod ending;
mod facts;
mod failure;
mod inbox;
mod inquiry;
mod limit;
mod live;
mod long_line;
mod model_calls;
mod outbox;
mod pipe;
mod places;
mod pool;
mod publish;
mod questions;
mod records;
mod registry;
mod removal;
mod resources;
mod results;
mod running;
mod schema;
mod silence;
mod start;
mod terminal;
mod translate;
mod tries;
mod turn_clock;
mod unsaved;
mod waiting;
mod wishes;

pub use activity::Activity;
pub use bundle::{Bundle, NoBundle};
use end_guard::EndGuard;
pub use failure::FailureCode;
pub use live::Removal;
pub use publish::{NotPublished, Publication, PushAbout, PushWish};
pub use registry::{Admission, NotAdmitted, Sessions};
pub use removal::NotRemoved;
pub use schema::Schema;
pub use unsaved::{KeptSession, KeptSessions};
pub use waiting::WaitingTurn;
pub use wishes::Wishes;

use crate::agent::Agents;
use crate::asks::{Asks, Decision, RememberedDecision};
use crate::budget::Budgets;
use crate::config::Config;
use crate::limited::LimitedAccounts;
use crate::queue::Place;
pub use crate::repository::NotRequested;
use crate::store::{Scope, SessionRow, Store};
use crate::task::{TaskLog, Tasks};
use crate::telemetry::Telemetry;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_agents::Turn as Prompt;
use pilothouse_egress::Egress;
use pilothouse_sandbox::isolation::Isolation;
use pilothouse_sandbox::process::Launcher;
use pilothouse_sandbox::supervisor::Spec;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What sessions need of the rest of the server.
pub struct SessionDeps {
    /// The configuration.
    pub config: Arc<Config>,
    /// The store.
    pub store: Store,
    /// The task logs.
    pub tasks: Tasks,
    /// The open asks.
    pub asks: Asks,
    /// Ceilings, and what running turns have used.
    pub budgets: Budgets,
    /// Starts processes.
    pub launcher: Launcher,
    /// The sandbox around them.
    pub isolation: Isolation,
    /// Accounts at a model API that are at their limit.
    pub limited: LimitedAccounts,
    /// Their way out.
    pub egress: Egress,
    /// The agents that are served.
    pub agents: Arc<Agents>,
    /// Console, raw log.
    pub telemetry: Telemetry,
    /// Every actor, to be awaited at the end.
    pub actors: TaskTracker,
    /// Begins the end.
    pub stop: CancellationToken,
}

/// A turn on its way to an agent.
pub struct Turn {
    /// The task's log.
    pub log: Arc<TaskLog>,
    /// What the agent is told.
    pub prompt: Prompt,
    /// Files for its workspace.
    pub files: Vec<File>,
    /// Where it comes from, where that is not a message alone.
    pub origin: Origin,
    /// The places that it has from the start.
    pub places: TurnPlaces,
    /// Ends the task where this is dropped before its end.
    guard: EndGuard,
}

/// Where a turn comes from, where that is not a message alone.
#[derive(Default)]
pub struct Origin {
    /// What was decided about an ask of the task while its process was gone.
    pub remembered: Option<RememberedDecision>,
    /// The session that this turn's new one begins as a copy of.
    pub fork: Option<Fork>,
    /// The prompt's place among those in memory, until the end of the turn.
    pub prompt: Option<Arc<Place>>,
    /// What its message wants beside its words.
    pub wishes: Option<Arc<Wishes>>,
}

/// The places that a turn has from the start; it waits for the others.
#[derive(Default)]
pub struct TurnPlaces {
    /// Among the turns that wait; none where `WORKING` is stored already.
    pub waiting: Option<WaitingTurn>,
    /// Among the running turns of its caller, where one was free at once.
    pub turn: Option<Place>,
    /// Among the live processes, where one was free at once.
    pub process: Option<Place>,
}

/// A file of the caller's on its way into the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// A name without folders.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What an actor may be told.
pub(crate) enum Order {
    /// Do this, after what you have.
    Turn(Box<Turn>),
    /// Cancel a task of yours; answered when it is over, with whether it was still there to cancel.
    Cancel(TaskId, oneshot::Sender<bool>),
    /// An ask of yours is answered; told what came of that.
    Answer(TaskId, Box<Answer>),
    /// Do not wait any longer for the answers to what this task asks; they begin its next turn.
    Park(TaskId),
    /// Interrupt this task's turn; the next one of it goes on from there.
    Steer(TaskId),
    /// Lend the conversation to a person at a terminal, when no turn runs.
    Attach(Attach),
    /// Look whether you are still needed.
    Nudge,
    /// Give up the process, where there is no turn.
    Leave,
}

/// A channel of tokio makes room for 32 orders at once, for each session.
const _: () = assert!(size_of::<Order>() <= 32);

/// An answer on its way to the process that asked.
pub(crate) struct Answer {
    /// The ask.
    ask: Arc<str>,
    /// What was decided.
    decision: Decision,
    /// Told what came of it.
    done: oneshot::Sender<Delivery>,
}

/// What an actor without a turn is to do.
enum IdleOrder {
    /// The next turn.
    Turn(Box<Turn>),
    /// Lend the conversation to a person.
    Attach(Attach),
    /// Give up the process.
    Evict,
    /// Look whether you are still needed.
    Nudge,
    /// The server stops.
    Stop,
}

/// What others want of the running turn.
enum Interruption {
    /// A caller cancels it; the inbox knows who is to be told.
    Cancel,
    /// An ask of it is answered.
    Answer(Box<Answer>),
    /// Whoever is asked wants to be asked later.
    Park,
    /// The caller has something to say at once.
    Steer,
    /// The server stops.
    Stop,
}

/// What came of an answer on its way to the process that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The agent was told.
    Told,
    /// The agent had withdrawn its ask, or its turn is being ended; there is nothing to be told.
    Withdrawn,
    /// No process is there that could be told.
    Gone,
}

/// A person who wants to go on with a conversation at a terminal.
pub struct Attach {
    /// Told how to start the CLI, or why not.
    pub ready: oneshot::Sender<Result<Spec, String>>,
    /// Resolves when the person has left.
    pub left: oneshot::Receiver<()>,
}

/// A session that a new one begins as a copy of.
#[derive(Debug, Clone)]
pub struct Fork {
    /// Its id, which names its folders.
    pub session: Arc<str>,
    /// The CLI's conversation.
    pub conversation: Option<String>,
}

/// Whose session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The caller and the agent.
    pub scope: Scope,
    /// The context.
    pub context_id: ContextId,
}

impl SessionKey {
    /// The key of a stored session.
    pub fn of(row: &SessionRow) -> Self {
        Self { scope: row.scope.clone(), context_id: row.context_id.clone() }
    }
}

//! The operations, once, on v1.0 types. It knows no transport and no dialect.

mod answer;
mod beside;
mod erase;
mod expiry;
mod follow;
mod generation;
mod grants;
mod list;
mod message;
mod recover;
mod repeat;
mod review;
mod schema;
mod scope;
mod send;
mod wishes;

pub use crate::session::{
    Bundle, NoBundle, NotPublished, NotRemoved, NotRequested, Publication, PushAbout, PushWish,
};
pub use erase::Erased;
pub use follow::{Stream, stopped_before_it_began};
pub use send::{Accepted, Beside};
pub use wishes::describe_wishes;

use crate::access::Caller;
use crate::agent::{Agent, Agents};
use crate::asks::Asks;
use crate::budget::Budgets;
use crate::changes::Changes;
use crate::config::Config;
use crate::limited::{AccountLimit, LimitedAccounts};
use crate::push::Push;
use crate::queue::FairQueue;
use crate::session::{SessionDeps, Sessions};
use crate::store::{
    self, AnswerSource, AskRow, Scope, SessionRow, Store, TraceNote, TraceRow, Write,
};
use crate::task::{Extent, Snapshot, TaskLog, Tasks};
use crate::telemetry::Telemetry;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::operation::{CancelTaskRequest, GetTaskRequest};
use pilothouse_a2a::task::{Task, TaskState};
use pilothouse_a2a::time::Timestamp;
use repeat::Repeats;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Seconds after which a full queue is worth another try.
const RETRY_SECONDS: u64 = 5;

/// The operations.
pub struct Service {
    config: Arc<Config>,
    agents: Arc<Agents>,
    store: Store,
    tasks: Tasks,
    asks: Asks,
    budgets: Budgets,
    limited: LimitedAccounts,
    /// Bytes of the prompts of turns that wait or run.
    prompts: FairQueue,
    sessions: Sessions,
    push: Push,
    repeats: Repeats,
    telemetry: Telemetry,
    stop: CancellationToken,
    /// No message is accepted any more.
    draining: CancellationToken,
}

/// Who calls which agent.
#[derive(Clone)]
pub struct Client {
    /// Who.
    pub caller: Caller,
    /// Which agent.
    pub agent: Arc<Agent>,
    /// From where.
    pub source: AnswerSource,
}

impl Client {
    /// Under which trace a message of a task came, where that is to be kept.
    fn note_trace(&self, n: i64, at: Timestamp) -> Option<Write> {
        let note = TraceNote::Message(self.caller.trace?);
        Some(Write::Trace(Box::new(TraceRow { n, at, note })))
    }

    /// The same for a message that comes now.
    fn note_trace_now(&self, n: i64) -> Option<Write> {
        self.note_trace(n, Timestamp::now())
    }

    /// What this client may see.
    pub fn scope(&self) -> Scope {
        self.caller.scope(&self.agent.key)
    }
}

impl Service {
    /// The operations over sessions that share these parts.
    pub fn new(deps: SessionDeps, push: Push, draining: CancellationToken) -> Self {
        let bytes = deps.config.limits.prompts.as_usize().max(1);
        Self {
            config: deps.config.clone(),
            agents: deps.agents.clone(),
            store: deps.store.clone(),
            tasks: deps.tasks.clone(),
            asks: deps.asks.clone(),
            budgets: deps.budgets.clone(),
            limited: deps.limited.clone(),
            prompts: FairQueue::new(bytes, bytes.div_ceil(2), &BTreeMap::new()),
            telemetry: deps.telemetry.clone(),
            stop: deps.stop.clone(),
            draining,
            sessions: Sessions::new(deps),
            push,
            repeats: Repeats::default(),
        }
    }

    /// Takes the ceilings and the rules for asks of a configuration that was read again.
    pub fn reload(&self, config: &Config) {
        self.budgets.reload(config);
        for agent in self.agents.iter() {
            if let Some(config) = config.agents.get(&*agent.key) {
                agent.set_policy(config);
            }
        }
    }

    /// Push notifications.
    pub fn push(&self) -> &Push {
        &self.push
    }

    /// How many asks can be answered, and since when the oldest of them.
    pub fn open_asks(&self) -> (usize, Option<Timestamp>) {
        self.asks.open_since()
    }

    /// What changes in the lists of sessions and asks.
    pub fn changes(&self) -> Changes {
        self.asks.changes()
    }

    /// How many asks of a session are open.
    pub fn count_asks(&self, row: &SessionRow) -> usize {
        self.asks.count_of(&row.scope, &row.context_id)
    }

    /// An ask that can be answered and that a request of this caller lists.
    pub fn listed_ask(&self, caller: &Caller, id: &str) -> Option<Arc<AskRow>> {
        self.asks.get(id).filter(|row| row.stored.holds() && caller.lists(&row.scope))
    }

    /// Accounts at a model API that are at their limit.
    pub fn limits(&self) -> Vec<AccountLimit> {
        self.limited.all()
    }

    /// The limit of this agent's account, while it is reached.
    pub fn limit_of(&self, agent: &Agent) -> Option<AccountLimit> {
        let limit = self.limited.of(agent.account())?;
        Some(AccountLimit { agent: agent.key.to_string(), ..limit })
    }

    /// The sessions behind.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// A task as it stands.
    pub async fn show(&self, log: &Arc<TaskLog>, history: Option<i32>) -> Result<Task, Error> {
        let limits = &self.config.limits;
        let extent =
            Extent { messages: messages(history), ..Extent::of(limits.response.as_usize()) };
        let extent = extent.with_rest();
        let snapshot = log.snapshot(&self.store, extent).await.map_err(store::Error::incident)?;
        let generation = self.generation(log, snapshot.seq).await?;
        let task = present(snapshot, limits.inline_answer.as_usize(), history);
        Ok(Task { generation, ..task })
    }

    // === reading ===

    /// A task of this caller by its id, or by the id that a v0.1 client of its made; the flag tells. An admin finds those
    /// of all callers by their id.
    ///
    /// # Errors
    ///
    /// `TaskNotFound`, also for a task of somebody else.
    pub async fn find(
        &self,
        client: &Client,
        id: &TaskId,
        legacy: bool,
    ) -> Result<(Arc<TaskLog>, bool), Error> {
        let scope = client.scope();
        if let Some(log) = self.tasks.find(&scope, id).await.map_err(store::Error::incident)? {
            return Ok((log, false));
        }
        if legacy
            && let Some(log) =
                self.tasks.find_alias(&scope, id.as_str()).await.map_err(store::Error::incident)?
        {
            return Ok((log, true));
        }
        if client.caller.is_admin() {
            let found = self.tasks.find_of_anybody(&client.agent.key, id).await;
            if let Some(log) = found.map_err(store::Error::incident)? {
                return Ok((log, false));
            }
        }
        Err(Error::task_not_found(id.as_str()))
    }

    /// `GetTask` (specification 3.1.3).
    pub async fn get(
        &self,
        client: &Client,
        log: &Arc<TaskLog>,
        request: &GetTaskRequest,
    ) -> Result<Task, Error> {
        let mut task = self.show(log, request.history_length).await?;
        name_caller(&mut task, &log.scope.caller, &client.caller);
        Ok(task)
    }

    /// `CancelTask` (specification 3.1.5), up to showing the task; one that is canceled already stays so.
    ///
    /// # Errors
    ///
    /// `TaskNotCancelable` when the task is over.
    pub async fn cancel(
        &self,
        log: &Arc<TaskLog>,
        _request: &CancelTaskRequest,
    ) -> Result<(), Error> {
        if log.state() != TaskState::Canceled {
            if !log.state().is_terminal() {
                self.sessions.cancel(log).await.map_err(store::Error::incident)?;
                self.asks.forget(log.n);
            }
            if log.state() != TaskState::Canceled {
                return Err(self.not_cancelable(log));
            }
        }
        Ok(())
    }

    /// What a cancel of a task that is over is answered.
    pub fn not_cancelable(&self, log: &TaskLog) -> Error {
        let state = log.state();
        Error::new(
            ErrorKind::TaskNotCancelable,
            format!("task `{}` is over ({}) and cannot be canceled", log.id, state.word()),
        )
        .with("taskId", log.id.as_str())
        .with("state", state.name())
    }
}

/// The newest messages that are shown where `historyLength` says how many.
fn messages(history: Option<i32>) -> usize {
    history.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(0))
}

/// Names the caller of a task in its metadata, where its reader is another one or lists those of others.
fn name_caller(task: &mut Task, owner: &Arc<str>, reader: &Caller) {
    if *owner != reader.name || !reader.lists_own() {
        task.metadata.get_or_insert_default().insert("pilothouse.caller", &**owner);
    }
}

/// The task as its reader gets it.
fn present(snapshot: Snapshot, inline: usize, history: Option<i32>) -> Task {
    let mut task = snapshot.present(inline).task;
    task.trim_history(history);
    task
}

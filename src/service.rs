//! The operations, once, on v1.0 types. It knows no transport and no dialect.

mod answer;
mod follow;
mod list;
mod message;
mod recover;
mod repeat;
mod send;

pub use follow::{Stream, stopped_before_it_began};
pub use send::{Accepted, Beside};

use crate::access::Caller;
use crate::agent::Agent;
use crate::push::Push;
use crate::session::Sessions;
use crate::store::{self, Scope};
use crate::task::{Extent, Snapshot, TaskLog};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::operation::{CancelTaskRequest, GetTaskRequest};
use pilothouse_a2a::task::{Task, TaskState};
use repeat::Repeats;
use std::sync::Arc;

/// Seconds after which a full queue is worth another try.
const RETRY_SECONDS: u64 = 5;

/// The operations.
#[derive(Clone)]
pub struct Service {
    sessions: Sessions,
    push: Push,
    repeats: Repeats,
}

/// Who calls which agent.
#[derive(Clone)]
pub struct Client {
    /// Who.
    pub caller: Caller,
    /// Which agent.
    pub agent: Arc<Agent>,
}

impl Client {
    /// What this client may see.
    pub fn scope(&self) -> Scope {
        self.caller.scope(&self.agent.key)
    }
}

impl Service {
    /// The operations over these sessions.
    pub fn new(sessions: Sessions, push: Push) -> Self {
        Self { sessions, push, repeats: Repeats::default() }
    }

    /// Push notifications.
    pub fn push(&self) -> &Push {
        &self.push
    }

    /// The sessions behind.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    fn store(&self) -> &store::Store {
        &self.sessions.house().store
    }

    /// A task as it stands.
    pub async fn show(&self, log: &Arc<TaskLog>, history: Option<i32>) -> Result<Task, Error> {
        let limits = &self.sessions.house().config.limits;
        let extent =
            Extent { messages: messages(history), ..Extent::of(limits.response.as_usize()) };
        let snapshot = log.snapshot(self.store(), extent).await.map_err(store::Error::incident)?;
        Ok(present(snapshot, limits.inline_answer.as_usize(), history))
    }

    // === reading ===

    /// A task of this caller by its id, or by the id that a v0.1 client of its made; the flag tells.
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
        let house = self.sessions.house();
        let scope = client.scope();
        if let Some(log) = house.tasks.find(&scope, id).await.map_err(store::Error::incident)? {
            return Ok((log, false));
        }
        if legacy
            && let Some(log) =
                house.tasks.find_alias(&scope, id.as_str()).await.map_err(store::Error::incident)?
        {
            return Ok((log, true));
        }
        Err(Error::task_not_found(id.as_str()))
    }

    /// `GetTask` (specification 3.1.3).
    pub async fn get(&self, log: &Arc<TaskLog>, request: &GetTaskRequest) -> Result<Task, Error> {
        self.show(log, request.history_length).await
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
                self.sessions.house().asks.forget(log.n);
            }
            if log.state() != TaskState::Canceled {
                return Err(self.not_cancelable(log));
            }
        }
        Ok(())
    }

    /// What a cancel of a task that is over is answered.
    pub fn not_cancelable(&self, log: &TaskLog) -> Error {
        let state = log.state().name();
        Error::new(
            ErrorKind::TaskNotCancelable,
            format!("task `{}` is over ({state}) and cannot be canceled", log.id),
        )
        .with("taskId", log.id.as_str())
        .with("state", state)
    }
}

/// The newest messages that are shown where `historyLength` says how many.
fn messages(history: Option<i32>) -> usize {
    history.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(0))
}

/// The task as its reader gets it.
fn present(snapshot: Snapshot, inline: usize, history: Option<i32>) -> Task {
    let mut task = snapshot.present(inline).task;
    task.trim_history(history);
    task
}

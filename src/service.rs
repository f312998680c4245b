//! The operations, once, on v1.0 types. It knows no transport and no dialect.

mod answer;
mod follow;
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
use crate::store::{self, Filter, Place, Scope};
use crate::task::{self, Extent, Snapshot, TaskLog};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::operation::{
    CancelTaskRequest, GetTaskRequest, ListTasksRequest, ListTasksResponse,
};
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
        let limit = self.sessions.house().config.limits.response.as_usize();
        Ok(self.show_within(log, history, Extent::of(limit)).await?.0)
    }

    /// The task as far as it fits, and whether artifacts of it were left out.
    async fn show_within(
        &self,
        log: &Arc<TaskLog>,
        history: Option<i32>,
        extent: Extent,
    ) -> Result<(Task, bool), Error> {
        let messages = history.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(0));
        let extent = Extent { messages, ..extent };
        let snapshot = log.snapshot(self.store(), extent).await.map_err(store::Error::incident)?;
        let inline = self.sessions.house().config.limits.inline_answer.as_usize();
        let Snapshot { mut task, truncated, .. } = snapshot.present(inline);
        task.trim_history(history);
        Ok((task, truncated))
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

    /// `ListTasks` (specification 3.1.4).
    pub async fn list(
        &self,
        client: &Client,
        request: ListTasksRequest,
    ) -> Result<ListTasksResponse, Error> {
        let house = self.sessions.house();
        let scope = client.scope();
        let page_size = request.page_size.unwrap_or(50);
        let from = match request.page_token.as_deref() {
            None | Some("") => None,
            Some(token) => Some(place_of(token).ok_or_else(|| {
                Error::invalid("pageToken", "not a token of this server; begin without one")
            })?),
        };
        let filter = Filter {
            context_id: request.context_id,
            state: (request.status != TaskState::Unspecified).then_some(request.status),
            since: request.status_timestamp_after,
        };
        let filter_state = filter.state;
        let size = u32::try_from(page_size).unwrap_or(50);
        let page =
            self.store().list(&scope, filter, from, size).await.map_err(store::Error::incident)?;
        let (mut tasks, mut total) = (Vec::with_capacity(page.rows.len()), page.total);
        let limits = &house.config.limits;
        let most = limits.response.as_usize();
        let mut extent = Extent::of(most);
        if !request.include_artifacts {
            // The answer's text may stand in the history, where one is shown.
            let has_history = request.history_length != Some(0);
            extent.artifacts = if has_history { limits.inline_answer.as_usize() } else { 0 };
        }
        let (mut size, mut last, mut next) = (0, None, page.next);
        for row in &page.rows {
            let Some(log) =
                house.tasks.find(&scope, &row.id).await.map_err(store::Error::incident)?
            else {
                continue;
            };
            if log.is_withheld() {
                total = total.saturating_sub(1);
                continue;
            }
            // What does not fit in the rest of this page is not read to its end.
            let rest = most.saturating_sub(size);
            let is_narrow = request.include_artifacts && rest < extent.artifacts;
            let within = Extent { artifacts: extent.artifacts.min(rest), ..extent };
            let (mut task, truncated) =
                self.show_within(&log, request.history_length, within).await?;
            let place = Place { status_ms: row.status_at.as_millisecond(), n: row.n };
            // It has moved on since the store was asked.
            if filter_state.is_some_and(|state| task.status.state != state) {
                total = total.saturating_sub(1);
                last = Some(place);
                continue;
            }
            if !request.include_artifacts {
                task.artifacts.clear();
            }
            size += task::weigh(&task);
            // A page ends where the response would grow too large; its token leads to the rest.
            if (size > most || (is_narrow && truncated)) && last.is_some() {
                next = last;
                break;
            }
            tasks.push(task);
            last = Some(place);
        }
        tasks.sort_by_key(|task| std::cmp::Reverse(task.status.timestamp));
        Ok(ListTasksResponse {
            tasks,
            next_page_token: next.map(token_of).unwrap_or_default(),
            page_size,
            total_size: i32::try_from(total).unwrap_or(i32::MAX),
        })
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

// === errors ===

fn token_of(place: Place) -> String {
    format!("{:x}.{:x}", place.status_ms, place.n)
}

fn place_of(token: &str) -> Option<Place> {
    let (at, n) = token.split_once('.')?;
    Some(Place {
        status_ms: i64::from_str_radix(at, 16).ok()?,
        n: i64::from_str_radix(n, 16).ok()?,
    })
}

//! The end of a task whose turn could not end it: the store failed when the end came, the session's actor is
//! gone, or no turn came after an answer.

use super::SessionDeps;
use super::failure::FailureCode;
use super::records::status;
use crate::backoff::Backoff;
use crate::store::Durability;
use crate::task::TaskLog;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::TaskState;
use serde_json::Map;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Between two tries to store the end of a task, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is said of a task that the server's stop ended before its turn reached an agent.
const STOPPED: &str = "the server stopped while this task was running\nsend the message again in the same context to continue";

/// Ends a task as failed when it is dropped, unless it was disarmed.
pub struct EndGuard {
    deps: Arc<SessionDeps>,
    log: Arc<TaskLog>,
    armed: bool,
}

impl EndGuard {
    /// For a turn of this task.
    pub(super) fn new(deps: Arc<SessionDeps>, log: Arc<TaskLog>) -> Self {
        Self { deps, log, armed: true }
    }

    /// The turn has come to an end of its own.
    pub fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let state = self.log.state();
        if !self.armed || state.is_terminal() {
            return;
        }
        let words = if self.deps.stop.is_cancelled() {
            // What waits while the server stops, for its turn or for a person, is taken up by the next start.
            if state == TaskState::Submitted || state.is_interrupted() {
                return;
            }
            STOPPED
        } else {
            tracing::error!(task.id = %self.log.id, "the turn of task {} was dropped", self.log.id);
            "the server failed while this task was running or waiting; send the message again"
        };
        // Without a runtime the process is at its end, and the next start ends the task.
        if let Ok(runtime) = Handle::try_current() {
            let end = end_failed(self.deps.clone(), self.log.clone(), words);
            self.deps.actors.spawn_on(end, &runtime);
        }
    }
}

/// Ends a task as failed. It is tried until it is stored, or the next start finds the task and ends it.
pub(super) async fn end_failed(deps: Arc<SessionDeps>, log: Arc<TaskLog>, words: &'static str) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        let failure = ("failure".to_owned(), FailureCode::ServerStopped.word().into());
        let message = Message::new(Role::Agent, vec![Part::text(words)]);
        let metadata = Map::from_iter([failure]);
        let record = status(&log, TaskState::Failed, Some(message), Some(metadata));
        if log.record(&deps.store, vec![record], Durability::Synced).await.is_ok() {
            deps.asks.forget(log.n);
            return;
        }
        tokio::select! {
            biased;
            () = deps.stop.cancelled() => return,
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }
}

//! The end of a task whose turn could not end it: the store failed when the end came, or the session's actor
//! is gone.

use super::House;
use super::translate::status;
use crate::backoff::Backoff;
use crate::store::Durability;
use crate::task::TaskLog;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::TaskState;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries to store the end of a task, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Ends a task as failed when it is dropped, unless it was disarmed.
pub(crate) struct Ending {
    house: Arc<House>,
    log: Arc<TaskLog>,
    armed: bool,
}

impl Ending {
    /// For a turn of this task.
    pub(super) fn new(house: Arc<House>, log: Arc<TaskLog>) -> Self {
        Self { house, log, armed: true }
    }

    /// The turn has come to an end of its own.
    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // What waits while the server stops is taken up by the next start.
        if self.armed && !self.house.stop.is_cancelled() && !self.log.state().is_terminal() {
            tracing::error!(task.id = %self.log.id, "the turn of task {} was dropped", self.log.id);
            let words =
                "the server failed while this task was running or waiting; send the message again";
            self.house.actors.spawn(end_failed(self.house.clone(), self.log.clone(), words));
        }
    }
}

/// Ends a task as failed. It is tried until it is stored, or the next start finds the task and ends it.
pub(super) async fn end_failed(house: Arc<House>, log: Arc<TaskLog>, words: &'static str) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        let message = Message::new(Role::Agent, vec![Part::text(words)]);
        let record = status(&log, TaskState::Failed, Some(message), None);
        if log.record(&house.store, vec![record], Durability::Synced).await.is_ok() {
            return;
        }
        tokio::select! {
            biased;
            () = house.stop.cancelled() => return,
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }
}

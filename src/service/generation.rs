//! Generations of tasks (version 1.1, `compat.v11`): told with each task, waited for, and asked of a message.

use super::Service;
use crate::store::{self, Write};
use crate::task::{Record, TaskLog};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::task::TaskState;
use std::sync::Arc;

impl Service {
    /// The generation of a task at a sequence number, where it is told.
    pub(super) async fn generation(&self, log: &TaskLog, seq: u64) -> Result<Option<i32>, Error> {
        if !self.config.compat.v11 {
            return Ok(None);
        }
        log.generation(&self.store, seq).await.map(Some).map_err(store::Error::incident)
    }

    /// Waits until a task is further than the generation that its reader knows, is over, or for as long as a request may.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn await_generation(&self, log: &Arc<TaskLog>, known: i32) -> Result<(), Error> {
        let wait = async {
            loop {
                let seq = log.head();
                let generation = log.generation(&self.store, seq).await;
                if generation.map_err(store::Error::incident)? > known || log.state().is_terminal()
                {
                    return Ok(());
                }
                log.await_event_after(seq).await;
            }
        };
        tokio::select! {
            biased;
            waited = wait => waited,
            () = tokio::time::sleep(self.config.compat.v11_wait.get()) => Ok(()),
            () = self.stop.cancelled() => Ok(()),
        }
    }

    /// Refuses a message for a task that is at another generation than this.
    ///
    /// # Errors
    ///
    /// `TaskGenerationMismatch`.
    pub(super) async fn check_generation(
        &self,
        log: &TaskLog,
        expected: Option<i32>,
    ) -> Result<(), Error> {
        let Some(expected) = expected else { return Ok(()) };
        let found = log.generation(&self.store, log.head()).await;
        match found.map_err(store::Error::incident)? {
            found if found == expected => Ok(()),
            found => Err(mismatch(log, expected, found)),
        }
    }

    /// Takes a further message of a task, together with `also`. False where the task is over.
    ///
    /// # Errors
    ///
    /// `TaskGenerationMismatch` where the task has moved on from the generation that is expected; when the store fails.
    pub(super) async fn take_message(
        &self,
        log: &Arc<TaskLog>,
        (also, expected): (Vec<Write>, Option<i32>),
        records: impl FnOnce(TaskState) -> Vec<Record> + Send,
    ) -> Result<bool, Error> {
        let taken = log.take_message(&self.store, (also, expected), records).await;
        self.check_taken(log, taken.map_err(store::Error::incident)?, expected).await
    }

    /// Whether a message was taken. What was not is refused where its task is not over.
    ///
    /// # Errors
    ///
    /// As [`Self::take_message`].
    pub(super) async fn check_taken(
        &self,
        log: &TaskLog,
        taken: bool,
        expected: Option<i32>,
    ) -> Result<bool, Error> {
        if !taken && !log.state().is_terminal() {
            self.check_generation(log, expected).await?;
        }
        Ok(taken)
    }
}

fn mismatch(log: &TaskLog, wanted: i32, found: i32) -> Error {
    let words = format!(
        "task `{}` has changed since you looked: it is at generation {found}, not {wanted}; read it with GetTask",
        log.id
    );
    Error::new(ErrorKind::TaskGenerationMismatch, words)
        .with("taskId", log.id.as_str())
        .with("expectedGeneration", wanted.to_string())
        .with("currentGeneration", found.to_string())
}

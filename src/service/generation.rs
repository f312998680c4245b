//! Generations of tasks (version 1.1, `compat.v11`): told with each task, waited for, and asked of a message.

use super::Service;
use crate::store::{self, Write};
use crate::task::{Record, TaskLog};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::task::TaskState;
use std::sync::Arc;

/// Where a message expects its task to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    generation: i32,
    /// The last event at that generation.
    pub(super) seq: u64,
}

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
        wanted: Option<i32>,
    ) -> Result<Option<Expected>, Error> {
        let Some(generation) = wanted else { return Ok(None) };
        let seq = log.head();
        let found = log.generation(&self.store, seq).await.map_err(store::Error::incident)?;
        match found == generation {
            true => Ok(Some(Expected { generation, seq })),
            false => Err(mismatch(log, generation, found)),
        }
    }

    /// Takes a further message of a task, together with `also`. False where the task is over.
    ///
    /// # Errors
    ///
    /// `TaskGenerationMismatch` where the task has moved on from what is expected; when the store fails.
    pub(super) async fn take_message(
        &self,
        log: &Arc<TaskLog>,
        (also, expected): (Vec<Write>, Option<Expected>),
        records: impl FnOnce(TaskState) -> Vec<Record> + Send,
    ) -> Result<bool, Error> {
        let at = expected.map(|expected| expected.seq);
        let taken = log.take_message(&self.store, (also, at), records).await;
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
        expected: Option<Expected>,
    ) -> Result<bool, Error> {
        let Some(Expected { generation, .. }) = expected else { return Ok(taken) };
        if taken || log.state().is_terminal() {
            return Ok(taken);
        }
        let found = log.generation(&self.store, log.head()).await;
        Err(mismatch(log, generation, found.map_err(store::Error::incident)?))
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

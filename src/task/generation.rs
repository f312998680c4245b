//! The generation of a task (version 1.1): how many changes it has seen. Each event but a message of the caller is one.

use super::{Batch, Record, TaskLog};
use crate::store::{Durability, Error, ReadTransaction, Span, Store, TaskRow, Write};
use std::sync::Arc;

/// A generation as it is told; none is larger than a log can be.
pub fn render_generation(changes: u64) -> i32 {
    i32::try_from(changes).unwrap_or(i32::MAX)
}

/// The generation of a row's task at a sequence number.
///
/// # Errors
///
/// When the store fails.
pub fn read_generation(reads: &ReadTransaction<'_>, row: &TaskRow, seq: u64) -> Result<i32, Error> {
    reads.count_changes(Span { n: row.n, after: 0, upto: seq }).map(render_generation)
}

impl TaskLog {
    /// The generation at a sequence number.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn generation(&self, store: &Store, seq: u64) -> Result<i32, Error> {
        let span = Span { n: self.n, after: 0, upto: seq };
        store.count_changes(span).await.map(render_generation)
    }

    /// Records this together with `also`, at this sequence number alone where there is one. False when the task is over, or not at this number.
    pub async fn record_at(
        self: &Arc<Self>,
        store: &Store,
        (also, at): (Vec<Write>, Option<u64>),
        records: Vec<Record>,
        durability: Durability,
    ) -> Result<bool, Error> {
        if records.is_empty() && also.is_empty() {
            return Ok(true);
        }
        let writing = self.writing.clone().lock_owned().await;
        if self.state().is_terminal() || at.is_some_and(|at| at != self.head()) {
            return Ok(false);
        }
        self.write(store, writing, Batch { new: None, also, records, durability, turns: 0 })
            .await?;
        Ok(true)
    }

    /// Waits until the log is further than this.
    pub async fn await_event_after(&self, seq: u64) {
        let mut head = self.head.subscribe();
        // The sender lies in the log itself.
        let _ended = head.wait_for(|head| *head > seq).await;
    }
}

//! The generation of a task (version 1.1): how many changes it has seen. Each event but a message of the caller is one.

use super::TaskLog;
use crate::store::{Error, ReadTransaction, Span, Store, TaskRow};

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

    /// Waits until the log is further than this.
    pub async fn await_event_after(&self, seq: u64) {
        let mut head = self.head.subscribe();
        // The sender lies in the log itself.
        let _ended = head.wait_for(|head| *head > seq).await;
    }
}

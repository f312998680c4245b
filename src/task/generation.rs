//! The generation of a task (version 1.1): how many changes it has seen. Each event but a message of the caller is one.

use super::{Batch, End, Record, TaskLog};
use crate::store::{Durability, Error, Event, Kind, ReadTransaction, Span, Store, TaskRow, Write};
use bytes::Bytes;
use std::sync::Arc;

/// A generation as it is told; none is larger than a log can be.
pub fn render_generation(changes: u64) -> i32 {
    i32::try_from(changes).unwrap_or(i32::MAX)
}

/// An event as it is told, with its generation at the beginning of its one inner object.
pub fn insert_generation(body: &Bytes, changes: u64) -> Bytes {
    let Some(place) = body.iter().skip(1).position(|byte| *byte == b'{').map(|at| at + 2) else {
        return body.clone();
    };
    let member = format!("\"generation\":{},", render_generation(changes));
    [&body[..place], member.as_bytes(), &body[place..]].concat().into()
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
    /// The generation at a sequence number. Only the events between it and the last place that was counted are read.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn generation(&self, store: &Store, seq: u64) -> Result<i32, Error> {
        let (at, before) = self.end().counted;
        if seq == at {
            return Ok(render_generation(before));
        }
        let span = Span { n: self.n, after: at.min(seq), upto: at.max(seq) };
        let between = store.count_changes(span).await?;
        if seq < at {
            return Ok(render_generation(before.saturating_sub(between)));
        }
        let changes = before + between;
        let mut end = self.end();
        if end.counted.0 < seq && seq <= end.seq {
            end.counted = (seq, changes);
        }
        Ok(render_generation(changes))
    }

    /// Makes the next sequence number jump, so that none is used twice after an unclean end.
    pub fn jump(&self, by: u64) {
        self.end().seq += by;
    }

    /// Whether the task is at the generation that is expected, where one is.
    pub(super) async fn is_at_generation(
        &self,
        store: &Store,
        expected: Option<i32>,
    ) -> Result<bool, Error> {
        match expected {
            Some(expected) => Ok(self.generation(store, self.head()).await? == expected),
            None => Ok(true),
        }
    }

    /// Records this together with `also`, at this generation alone where there is one. False when the task is over, or
    /// not at it.
    pub async fn record_at(
        self: &Arc<Self>,
        store: &Store,
        (also, expected): (Vec<Write>, Option<i32>),
        records: Vec<Record>,
        durability: Durability,
    ) -> Result<bool, Error> {
        if records.is_empty() && also.is_empty() {
            return Ok(true);
        }
        let writing = self.writing.clone().lock_owned().await;
        if self.state().is_terminal() || !self.is_at_generation(store, expected).await? {
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

impl End {
    /// Counts the changes among events that are shown next, where those before them are counted.
    pub(super) fn count_changes<'a>(&mut self, shown: impl Iterator<Item = &'a Event>) {
        let (at, mut changes) = self.counted;
        if at != self.seq {
            return;
        }
        let mut last = at;
        for event in shown {
            changes += u64::from(event.kind != Kind::Message);
            last = event.seq;
        }
        self.counted = (last, changes);
    }
}

//! The open asks in memory: by their ids, those whose answers are being stored, and how much they take.

use super::{Asks, short};
use crate::changes::{Change, Changes};
use crate::store::{AskRow, Scope};
use pilothouse_a2a::id::ContextId;
use pilothouse_agents::memory_of;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What an ask takes in memory beside what it asks.
const ROW_BYTES: usize = 512;

/// The open asks, and how much they are.
pub(super) struct OpenAsks {
    // In the order of their ids, which is that of their creation.
    pub(super) rows: BTreeMap<Arc<str>, Arc<AskRow>>,
    /// The ids of these short ones.
    pub(super) short: HashMap<Arc<str>, Arc<str>>,
    /// Those whose answers are being stored, and whether the ask is void meanwhile.
    pub(super) answering: HashMap<Arc<str>, bool>,
    pub(super) sessions: HashMap<(Scope, ContextId), Amount>,
    pub(super) all: Amount,
    /// Where each change of them is noted.
    pub(super) changes: Changes,
}

/// How many asks, and what they take in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

/// An ask that is being answered: nobody else can answer it meanwhile. Dropped without a word it is open again.
pub struct Answering {
    asks: Asks,
    row: Arc<AskRow>,
    is_settled: bool,
}

impl Answering {
    /// One that was just removed from the open ones.
    pub(super) fn new(asks: &Asks, row: Arc<AskRow>) -> Self {
        Self { asks: asks.clone(), row, is_settled: false }
    }

    /// The ask.
    pub fn row(&self) -> &Arc<AskRow> {
        &self.row
    }

    /// The answer is stored, or the task is over.
    pub fn settle(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut open = self.asks.open();
        open.answering.remove(&self.row.short);
        let is_void = open.answering.remove(&self.row.id).unwrap_or(true);
        if !self.is_settled && !is_void {
            open.insert(self.row.clone());
        }
        drop(open);
        self.asks.0.settled.notify_waiters();
        self.asks.0.changed.notify_one();
    }
}

impl OpenAsks {
    /// None yet.
    pub(super) fn new(changes: Changes) -> Self {
        Self {
            rows: BTreeMap::new(),
            short: HashMap::new(),
            answering: HashMap::new(),
            sessions: HashMap::new(),
            all: Amount::default(),
            changes,
        }
    }

    /// A short id that no open ask has.
    pub(super) fn new_short(&self, id: &str) -> Arc<str> {
        let mut all = short::short_ids(id);
        let free = all.find(|short| !self.short.contains_key(&**short));
        free.map_or_else(|| Arc::from(id), Arc::from)
    }

    pub(super) fn insert(&mut self, row: Arc<AskRow>) {
        self.remove(&row.id);
        self.short.insert(row.short.clone(), row.id.clone());
        let more = Amount::of(&row);
        self.all.add(more);
        self.sessions.entry(session(&row)).or_default().add(more);
        self.note(&row);
        self.rows.insert(row.id.clone(), row);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Arc<AskRow>> {
        let row = self.rows.remove(id)?;
        self.short.remove(&row.short);
        let less = Amount::of(&row);
        self.all.subtract(less);
        if let Entry::Occupied(mut of_session) = self.sessions.entry(session(&row)) {
            of_session.get_mut().subtract(less);
            if of_session.get().count == 0 {
                of_session.remove();
            }
        }
        self.note(&row);
        Some(row)
    }

    /// Whoever reads what has changed waits for the lock of this.
    fn note(&self, row: &AskRow) {
        self.changes.note(Change::Ask(row.id.clone(), row.scope.clone()));
        self.changes.note(Change::Session(row.scope.clone(), row.context_id.clone()));
    }
}

impl Amount {
    pub(super) fn of(row: &AskRow) -> Self {
        Self { count: 1, bytes: ROW_BYTES + memory_of(&row.ask) }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.count += more.count;
        self.bytes = self.bytes.saturating_add(more.bytes);
    }

    pub(super) fn subtract(&mut self, less: Self) {
        self.count -= less.count;
        self.bytes -= less.bytes;
    }
}

pub(super) fn session(row: &AskRow) -> (Scope, ContextId) {
    (row.scope.clone(), row.context_id.clone())
}

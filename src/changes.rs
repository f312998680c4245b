//! What has changed lately in lists of sessions and asks, so that whoever shows such a list reads again only what is new.
//!
//! # How it works
//!
//! Each change has a version. Of one thing the last change alone is remembered, so a session that changes a hundred times
//! while nobody looks is read once. So many things are remembered (`streams.live_changes`); a reader who is further
//! behind reads the list.

use crate::store::Scope;
use parking_lot::Mutex;
use pilothouse_a2a::id::ContextId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::watch;

/// A thing that has changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// The session of a context: it is new, does something else, or asks.
    Session(Scope, ContextId),
    /// The session of this id is removed.
    SessionGone(Arc<str>),
    /// An ask of this id: it is new, was claimed or deferred, or can be answered no more.
    Ask(Arc<str>, Scope),
}

/// Changes since a version.
#[derive(Debug, PartialEq, Eq)]
pub struct Since {
    /// The version up to which these are all.
    pub version: u64,
    /// What has changed, in the order of the last change, each with its version.
    pub changes: Vec<(u64, Change)>,
    /// Whether further ones follow.
    pub has_more: bool,
}

impl Since {
    /// Leaves the changes from this one on for later; there is one before it.
    pub fn cut(&mut self, from: usize) {
        self.changes.truncate(from);
        self.has_more = true;
        self.version = self.changes.last().map_or(0, |(version, _)| *version);
    }
}

/// The latest changes; clones share them.
#[derive(Clone)]
pub struct Changes(Arc<SharedChanges>);

struct SharedChanges {
    /// Tells the versions of this process from those of another one.
    life: String,
    most: usize,
    journal: Mutex<Journal>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct Journal {
    version: u64,
    /// What changed up to this version may be forgotten.
    forgotten: u64,
    versions: HashMap<Change, u64>,
    order: BTreeMap<u64, Change>,
}

impl Changes {
    /// None yet; so many are remembered.
    pub fn new(most: usize) -> Self {
        let life = uuid::Uuid::new_v4().simple().to_string();
        let (journal, version) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(SharedChanges { life, most: most.max(1), journal, version }))
    }

    /// Notes a change. It is short and does not wait.
    pub fn note(&self, change: Change) {
        let mut journal = self.0.journal.lock();
        journal.version += 1;
        let version = journal.version;
        if let Some(before) = journal.versions.insert(change.clone(), version) {
            journal.order.remove(&before);
        }
        journal.order.insert(version, change);
        if journal.order.len() > self.0.most
            && let Some((oldest, change)) = journal.order.pop_first()
        {
            journal.versions.remove(&change);
            journal.forgotten = oldest;
        }
        drop(journal);
        // Not `send`, which fails where nobody looks; a later version may have been told already.
        self.0.version.send_if_modified(|told| {
            let is_newer = version > *told;
            *told = version.max(*told);
            is_newer
        });
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.0.journal.lock().version
    }

    /// Tells of newer versions.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// What has changed after a version, the first so many; none where some of it may be forgotten.
    pub fn since(&self, version: u64, most: usize) -> Option<Since> {
        let journal = self.0.journal.lock();
        if version < journal.forgotten || version > journal.version {
            return None;
        }
        let mut later = journal.order.range(version + 1..);
        let found: Vec<_> = later.by_ref().take(most).collect();
        let has_more = later.next().is_some();
        let last = found.last().map(|(version, _)| **version);
        let version = last.filter(|_| has_more).unwrap_or(journal.version);
        let changes =
            found.into_iter().map(|(version, change)| (*version, change.clone())).collect();
        Some(Since { version, changes, has_more })
    }

    /// A version as a reader keeps it over a lost connection.
    pub fn cursor(&self, version: u64) -> String {
        format!("{}.{version}", self.0.life)
    }

    /// The version of a cursor; none where another process gave it.
    pub fn read_cursor(&self, cursor: &str) -> Option<u64> {
        let (life, version) = cursor.split_once('.')?;
        (life == self.0.life).then(|| version.parse().ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(id: &str) -> Change {
        Change::SessionGone(id.into())
    }

    fn since(changes: &Changes, version: u64) -> Option<Vec<Change>> {
        let since = changes.since(version, 10)?;
        Some(since.changes.into_iter().map(|(_, change)| change).collect())
    }

    #[test]
    fn of_one_thing_the_last_change_alone_is_told_and_in_its_order() {
        let changes = Changes::new(10);
        ["a", "b", "a"].into_iter().for_each(|id| changes.note(gone(id)));
        assert_eq!(since(&changes, 0), Some(vec![gone("b"), gone("a")]));
        assert_eq!(since(&changes, 2), Some(vec![gone("a")]));
        assert_eq!(since(&changes, 3), Some(vec![]));
    }

    #[test]
    fn who_is_behind_what_is_remembered_or_ahead_of_it_is_told_nothing() {
        let changes = Changes::new(2);
        ["a", "b", "c"].into_iter().for_each(|id| changes.note(gone(id)));
        assert_eq!(since(&changes, 0), None);
        assert_eq!(since(&changes, 1), Some(vec![gone("b"), gone("c")]));
        assert_eq!(since(&changes, 4), None);
    }

    #[test]
    fn a_part_of_the_changes_leads_to_the_rest() {
        let changes = Changes::new(10);
        ["a", "b", "c"].into_iter().for_each(|id| changes.note(gone(id)));
        let first = changes.since(0, 2).unwrap();
        assert_eq!((first.version, first.has_more), (2, true));
        let rest = changes.since(first.version, 2).unwrap();
        assert_eq!(rest, Since { version: 3, changes: vec![(3, gone("c"))], has_more: false });
    }

    #[test]
    fn changes_that_are_left_for_later_come_then() {
        let changes = Changes::new(10);
        ["a", "b", "a", "c"].into_iter().for_each(|id| changes.note(gone(id)));
        let mut first = changes.since(0, 10).unwrap();
        first.cut(1);
        assert_eq!(first, Since { version: 2, changes: vec![(2, gone("b"))], has_more: true });
        assert_eq!(since(&changes, first.version), Some(vec![gone("a"), gone("c")]));
    }

    #[test]
    fn a_cursor_holds_for_the_process_that_gave_it() {
        let (one, other) = (Changes::new(10), Changes::new(10));
        assert_eq!(one.read_cursor(&one.cursor(7)), Some(7));
        assert_eq!(other.read_cursor(&one.cursor(7)), None);
        assert_eq!(one.read_cursor("x"), None);
    }
}

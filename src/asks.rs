//! Questions of agents that a person has to answer: which are open, until when, and who decides instead.
//!
//! # How it works
//!
//! A tool permission or a question that no policy answers becomes a row of the store, written together
//! with the status that asks it; the task is `INPUT_REQUIRED`. This registry holds the open ones, so that
//! each is answered once, whoever comes first: [`Asks::begin_answer`] is the one way to it. The process that asked
//! may be gone by then (`asks.park`, a stop, a crash); the row is what is left, and what the conversation
//! is resumed with. After its end the row alone tells who answered what.

mod context;
mod decision;
mod diff;
mod grant;
mod kagent;
mod open;
mod pattern;
mod policy;
mod short;
mod view;

pub use context::refuse_several;
pub use decision::{Answered, Decision, check_size, explain_refusal, named, read as decide};
pub use grant::{GrantOffer, add_proposal, covers, render_grant};
pub use kagent::{APPROVALS, render_request as render_approval_request};
pub use open::Answering;
pub use policy::{TOO_LONG, denial, explain, is_cut, policy};
pub use view::{OURS, data, describe_end, host_data, next_step, render, same, whole_words, words};

use crate::changes::Changes;
use crate::clock;
use crate::config::{self, Bytes, Config};
use crate::store::{self, AskRow, AskState, Scope, Store};
use open::{Amount, OpenAsks, session};
use parking_lot::Mutex;
use pilothouse_a2a::id::ContextId;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::Answer;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The longest wait before the time is looked at again: timers do not count what the machine is suspended.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The open asks; clones share them.
#[derive(Clone)]
pub struct Asks(Arc<SharedAsks>);

struct SharedAsks {
    bounds: config::Asks,
    open: Mutex<OpenAsks>,
    changed: Notify,
    /// An answer was stored, or could not be.
    settled: Notify,
}

/// There is no room for a further ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Those that are open leave no room.
    #[error("the agent asks more than may be open at a time ({most})")]
    Open {
        /// The key of the bound.
        key: &'static str,
        /// The bound, with its unit.
        most: String,
    },
    /// This one alone is larger than the bound.
    #[error("the agent asks with {size} of text and data, more than {most}")]
    Alone {
        /// The key of the bound.
        key: &'static str,
        /// What it takes.
        size: Bytes,
        /// The bound.
        most: Bytes,
    },
}

impl Full {
    /// The key of the bound.
    fn key(&self) -> &'static str {
        match self {
            Self::Open { key, .. } | Self::Alone { key, .. } => key,
        }
    }

    /// Who can do what about it.
    pub fn hint(&self) -> String {
        let raise = format!("the server's operator can raise `{}`", self.key());
        match self {
            Self::Open { .. } => format!("answer the open asks or cancel their tasks; {raise}"),
            Self::Alone { .. } => raise,
        }
    }
}

/// A part of a caller's open asks.
#[derive(Debug)]
pub struct Page {
    /// The asks, oldest first.
    pub rows: Vec<Arc<AskRow>>,
    /// The id after which the next page begins; none when this is the last.
    pub next: Option<Arc<str>>,
    /// How many there are on all pages.
    pub total: usize,
}

/// An ask that was answered while its process was gone: it answers that one call once, when the agent asks again.
#[derive(Debug, Clone, PartialEq)]
pub struct RememberedDecision {
    /// The ask that the person has answered.
    pub id: Arc<str>,
    /// What was asked.
    pub ask: Value,
    /// What was decided.
    pub answer: Answer,
}

impl Asks {
    /// None yet.
    pub fn new(config: &Config) -> Self {
        let bounds = config.asks.clone();
        let (changed, settled) = (Notify::new(), Notify::new());
        let open = Mutex::new(OpenAsks::new(Changes::new(config.streams.live_changes)));
        Self(Arc::new(SharedAsks { bounds, open, changed, settled }))
    }

    /// Where changes of asks, and of the sessions that ask, are noted.
    pub fn changes(&self) -> Changes {
        self.open().changes.clone()
    }

    /// How many of a context are open.
    pub fn count_of(&self, scope: &Scope, context_id: &ContextId) -> usize {
        let key = (scope.clone(), context_id.clone());
        self.open().sessions.get(&key).map_or(0, |amount| amount.count)
    }

    /// Those that the store holds.
    pub async fn load(store: &Store, config: &Config) -> Result<Self, store::Error> {
        let asks = Self::new(config);
        let rows = store.asks().await?;
        for mut row in rows {
            if row.short.is_empty() {
                // Of a version without short ids.
                row.short = asks.open().new_short(&row.id);
            }
            asks.restore(Arc::new(row));
        }
        Ok(asks)
    }

    /// The oldest open ask of a context.
    pub fn first_of(&self, scope: &Scope, context_id: &ContextId) -> Option<Arc<AskRow>> {
        let open = self.open();
        open.sessions.get(&(scope.clone(), context_id.clone()))?;
        let is_theirs = |row: &&Arc<AskRow>| row.scope == *scope && row.context_id == *context_id;
        open.rows.values().find(is_theirs).cloned()
    }

    /// Notes an ask that is about to be stored, and gives it its short id.
    pub fn add(&self, mut row: AskRow) -> Result<Arc<AskRow>, Full> {
        let row = {
            let mut open = self.open();
            let bounds = &self.0.bounds;
            let more = Amount::of(&row);
            let session = open.sessions.get(&session(&row)).copied().unwrap_or_default();
            if session.count >= bounds.per_session {
                let most = format!("{} asks of a session", bounds.per_session);
                return Err(Full::Open { key: "asks.per_session", most });
            }
            for (key, taken, most, whose) in [
                ("asks.bytes", session.bytes, bounds.bytes, "a session"),
                ("asks.total", open.all.bytes, bounds.total, "all sessions"),
            ] {
                if more.bytes > most.as_usize() {
                    let size = Bytes::new(more.bytes as u64);
                    return Err(Full::Alone { key, size, most });
                }
                if taken.saturating_add(more.bytes) > most.as_usize() {
                    return Err(Full::Open { key, most: format!("{most} of {whose}") });
                }
            }
            row.short = open.new_short(&row.id);
            let row = Arc::new(row);
            open.insert(row.clone());
            row
        };
        self.0.changed.notify_one();
        Ok(row)
    }

    /// Tells those who list asks that the store holds this one, so that it is listed.
    pub fn note_shown(&self, row: &AskRow) {
        self.open().note(row);
    }

    /// Notes that an ask was claimed or deferred; false where it is not open, because an answer to it is being stored, say.
    pub fn update(&self, row: Arc<AskRow>) -> bool {
        let mut open = self.open();
        let is_open = open.rows.contains_key(&row.id);
        if is_open {
            open.insert(row);
        }
        drop(open);
        self.0.changed.notify_one();
        is_open
    }

    /// Notes an ask that is stored, or was open before.
    pub fn restore(&self, row: Arc<AskRow>) {
        self.open().insert(row);
        self.0.changed.notify_one();
    }

    /// The ask of this id (the short one too), or a task's first one.
    pub fn find(&self, n: i64, id: Option<&str>) -> Option<Arc<AskRow>> {
        match id {
            Some(id) => self.get(id).filter(|row| row.n == n),
            None => self.open().rows.values().find(|row| row.n == n).cloned(),
        }
    }

    /// The ask of this id (the short one too), whosever it is.
    pub fn get(&self, id: &str) -> Option<Arc<AskRow>> {
        let open = self.open();
        let id = open.short.get(id).map_or(id, |id| id);
        open.rows.get(id).cloned()
    }

    /// Keeps an ask for an answer; none where it is not open or somebody else was quicker.
    pub fn begin_answer(&self, id: &str) -> Option<Answering> {
        let mut open = self.open();
        let row = open.remove(id)?;
        let names = [row.id.clone(), row.short.clone()];
        open.answering.extend(names.map(|name| (name, (row.n, false))));
        drop(open);
        Some(Answering::new(self, row))
    }

    /// Waits while an answer to this ask is being stored.
    pub async fn await_answer(&self, id: &str) {
        loop {
            let settled = self.0.settled.notified();
            if !self.open().answering.contains_key(id) {
                return;
            }
            settled.await;
        }
    }

    /// The ask is void. None when it is not open, because an answer to it is being stored, say.
    pub fn remove(&self, id: &str) -> Option<Arc<AskRow>> {
        let mut open = self.open();
        if let Some((_, is_void)) = open.answering.get_mut(id) {
            *is_void = true;
        }
        open.remove(id)
    }

    /// All asks of a task are void, those too whose answers are being stored; the ones that were open.
    pub fn forget(&self, n: i64) -> Vec<Arc<AskRow>> {
        let mut open = self.open();
        for (of, is_void) in open.answering.values_mut() {
            *is_void |= *of == n;
        }
        let gone: Vec<_> = open.rows.values().filter(|row| row.n == n).cloned().collect();
        for row in &gone {
            open.remove(&row.id);
        }
        gone
    }

    /// The open asks that are listed and stand so, oldest first: those after an id, up to a number, and up to so many
    /// bytes where that is more than one.
    pub fn page(
        &self,
        is_listed: impl Fn(&Scope) -> bool,
        states: &[AskState],
        after: Option<&str>,
        (most, bytes): (usize, usize),
    ) -> Page {
        let (open, now) = (self.open(), clock::now());
        let mut page = Page { rows: Vec::new(), next: None, total: 0 };
        let mut size = 0usize;
        let is_wanted = |row: &&Arc<AskRow>| {
            row.stored.holds() && is_listed(&row.scope) && states.contains(&row.state_at(now))
        };
        for row in open.rows.values().filter(is_wanted) {
            page.total += 1;
            if page.next.is_some() || after.is_some_and(|after| *row.id <= *after) {
                continue;
            }
            size = size.saturating_add(Amount::of(row).bytes);
            match page.rows.last() {
                Some(last) if page.rows.len() >= most || size > bytes => {
                    page.next = Some(last.id.clone());
                }
                Some(_) | None => page.rows.push(row.clone()),
            }
        }
        page
    }

    /// How many there are, and since when the oldest of them.
    pub fn open_since(&self) -> (usize, Option<Timestamp>) {
        let open = self.open();
        (open.rows.len(), open.rows.values().map(|row| row.created).min())
    }

    /// Waits for asks whose time is over.
    pub async fn expired(&self) -> Vec<Arc<AskRow>> {
        loop {
            let now = clock::now();
            let (due, next) = {
                let open = self.open();
                let rows = open.rows.values();
                let due: Vec<_> = rows.filter(|row| row.deadline <= now).cloned().collect();
                (due, open.rows.values().map(|row| row.deadline).min())
            };
            if !due.is_empty() {
                return due;
            }
            let changed = self.0.changed.notified();
            match next {
                Some(next) => {
                    let left = next.as_millisecond() - now.as_millisecond();
                    let left = Duration::from_millis(left.max(1).unsigned_abs());
                    let _ = tokio::time::timeout(left.min(LOOK_AGAIN), changed).await;
                }
                None => changed.await,
            }
        }
    }

    fn open(&self) -> parking_lot::MutexGuard<'_, OpenAsks> {
        self.0.open.lock()
    }
}

/// Until when an ask that is made now may be answered.
pub fn deadline(now: Timestamp, config: &Config) -> Timestamp {
    clock::after(now, config.asks.timeout.get())
}

#[cfg(test)]
mod tests;

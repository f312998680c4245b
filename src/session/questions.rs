//! The questions of one turn that a person has to answer: asked, shown, answered or withdrawn. Nothing is done here:
//! whoever holds [`Questions`] carries out the commands that they give back.
//!
//! # How it works
//!
//! The first open question is the task's status. It is shown after everything that was said before it; what the
//! agent says later is held back, so that the question stays the status until it is answered.

use crate::asks::{self, Decision};
use crate::clock;
use crate::config::{self, Config};
use crate::store::{AskAct, AskRow, AskState, Stored, Write};
use crate::task::{Record, TaskLog};
use pilothouse_a2a::task::TaskState;
use pilothouse_agents::Answer;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Records that are stored at a time, and those that are held back while a question is shown. A record of a
/// line of some bytes takes more than a kilobyte until it is stored, so the agent has to wait for the store.
const RECORDS: usize = 128;

/// An ask of the agent that waits for a person.
struct Question {
    /// The driver's id of it.
    ask: String,
    row: Arc<AskRow>,
}

/// The questions of one turn.
#[derive(Default)]
pub(super) struct Questions {
    /// The open ones, oldest first.
    open: Vec<Question>,
    /// Since when a person is asked without a pause.
    since: Option<Instant>,
    /// Asks that are not stored yet.
    fresh: Vec<Arc<AskRow>>,
    /// Asks that are not open any more, how they stand, and who has answered them.
    gone: Vec<(Arc<str>, AskState, Option<Arc<AskAct>>)>,
    /// Whether the first question is to be shown: after everything that was said so far.
    is_due: bool,
    /// What was said while a question is shown.
    held: Vec<Record>,
    /// Bytes of output that these came from.
    held_bytes: usize,
}

/// What is to be done for a question.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    /// The driver is given this answer to its ask.
    Tell(String, Answer),
    /// The ask cannot be answered by a person any more.
    Close(Arc<str>),
}

impl Questions {
    /// Whether a person is asked.
    pub(super) fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// When a person was waited for long enough; none while nobody is asked.
    pub(super) fn park_at(&self, patience: Duration) -> Option<Instant> {
        self.since.map(|since| since + patience)
    }

    /// Whether what the agent says next has room beside `gathered` records.
    pub(super) fn have_room(&self, bounds: &config::Asks, gathered: usize) -> bool {
        self.open.len() < bounds.per_turn
            && self.held.len() + gathered < RECORDS
            && self.held_bytes <= bounds.held.as_usize()
    }

    /// The agent has said so many bytes.
    pub(super) fn count_output(&mut self, bytes: usize) {
        if self.are_open() {
            self.held_bytes += bytes;
        }
    }

    /// A person has to answer this ask of the driver.
    pub(super) fn add(&mut self, ask: String, row: Arc<AskRow>, now: Instant) {
        self.fresh.push(row.clone());
        self.open.push(Question { ask, row });
        if self.open.len() == 1 {
            self.since = Some(now);
            self.is_due = true;
        }
    }

    /// A person has answered; none where this is not open.
    pub(super) fn answer(&mut self, id: &str, decision: &Decision) -> Option<Command> {
        let place = self.open.iter().position(|question| *question.row.id == *id)?;
        let Question { ask, row } = self.open.remove(place);
        // It may have been answered before it was stored.
        self.note_end(&row, AskState::Withdrawn, None);
        self.show_next();
        Some(Command::Tell(ask, decision.answer()))
    }

    /// What is open, oldest first.
    pub(super) fn rows(&self) -> Vec<Arc<AskRow>> {
        self.open.iter().map(|question| question.row.clone()).collect()
    }

    /// A grant answers this; nothing where it is not open any more.
    pub(super) fn allow(&mut self, id: &str, act: Arc<AskAct>) -> Vec<Command> {
        let place = self.open.iter().position(|question| *question.row.id == *id);
        let Some(place) = place else { return Vec::new() };
        let Question { ask, row } = self.open.remove(place);
        self.note_end(&row, AskState::Answered, Some(act));
        self.show_next();
        vec![Command::Close(row.id.clone()), Command::Tell(ask, Answer::Allow { input: None })]
    }

    /// The agent does not want to know any more.
    pub(super) fn withdraw(&mut self, ask: &str) -> Option<Command> {
        let place = self.open.iter().position(|question| question.ask == *ask)?;
        let Question { row, .. } = self.open.remove(place);
        if place == 0 {
            self.show_next();
        }
        Some(self.close(&row))
    }

    /// An answer to this is on its way to another process. False where it is not open, because it was withdrawn.
    pub(super) fn forget(&mut self, id: &str) -> bool {
        let open = self.open.len();
        self.open.retain(|question| *question.row.id != *id);
        self.open.len() < open
    }

    /// The turn is over, and with it everything that was asked in it.
    pub(super) fn close_all(&mut self) -> Vec<Command> {
        self.since = None;
        let open = std::mem::take(&mut self.open);
        open.iter().map(|question| self.close(&question.row)).collect()
    }

    fn close(&mut self, row: &AskRow) -> Command {
        self.note_end(row, AskState::Withdrawn, None);
        Command::Close(row.id.clone())
    }

    fn note_end(&mut self, row: &AskRow, state: AskState, act: Option<Arc<AskAct>>) {
        self.fresh.retain(|fresh| fresh.id != row.id);
        self.gone.push((row.id.clone(), state, act));
    }

    /// The first question, where one is open, is shown again: the task's status has changed.
    pub(super) fn show_next(&mut self) {
        self.is_due = self.are_open();
        if !self.is_due {
            self.since = None;
        }
    }

    /// What is stored now of what was said, and the question that is shown after it.
    pub(super) fn release(&mut self, said: Vec<Record>) -> (Vec<Record>, Option<Arc<AskRow>>) {
        let mut records = std::mem::take(&mut self.held);
        records.extend(said);
        let is_due = std::mem::take(&mut self.is_due);
        let first = self.open.first().map(|question| question.row.clone());
        let shown = first.filter(|_| is_due);
        if shown.is_none() && self.are_open() {
            // Another ask is stored at once; what is said beside it waits.
            self.held = std::mem::take(&mut records);
        }
        if self.held.is_empty() {
            self.held_bytes = 0;
        }
        (records, shown)
    }

    /// What is stored of the questions themselves: the new ones, and those that are not open any more.
    pub(super) fn changes(&mut self) -> (Vec<Arc<AskRow>>, Vec<Write>) {
        let fresh = std::mem::take(&mut self.fresh);
        let rows = fresh.iter().cloned().map(Write::Ask);
        let gone = self.gone.drain(..);
        let gone = gone.map(|(id, state, act)| Write::AskGone { id, state, act });
        let writes = rows.chain(gone).collect();
        (fresh, writes)
    }

    /// The process is not waited for any longer. What was held back is shown, and the question stays the task's
    /// status all the while.
    pub(super) fn park(&mut self, said: Vec<Record>) {
        self.held.extend(said);
        if self.held.is_empty() || !self.are_open() {
            return;
        }
        for record in &mut self.held {
            if let Record::Status(update) = record {
                update.status.state = TaskState::InputRequired;
            }
        }
        self.is_due = true;
    }
}

/// An ask of this task that is made now.
pub(super) fn ask_row(log: &TaskLog, ask: Value, ends_turn: bool, config: &Config) -> AskRow {
    let now = clock::now();
    AskRow {
        id: Arc::from(uuid::Uuid::now_v7().to_string()),
        // It gets one when it is noted.
        short: Arc::from(""),
        n: log.n,
        task: log.id.clone(),
        scope: log.scope.clone(),
        context_id: log.context_id.clone(),
        ask,
        ends_turn,
        created: now,
        deadline: asks::deadline(now, config),
        state: AskState::Open,
        until: None,
        ended: None,
        act: None,
        stored: Stored::default(),
    }
}

#[cfg(test)]
mod tests;

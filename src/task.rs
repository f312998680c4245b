//! A task's event log. The writer appends and moves the head; a subscriber is a cursor.
//!
//! # How it works
//!
//! The store holds every event; a [`TaskLog`] is the live end of it: the head, the state, the newest
//! events and, while the task is small, the task itself, folded. [`TaskLog::record`] writes to the
//! store first and appends under the lock afterwards, so a snapshot and the cursor that follows it
//! come from one lock and nothing falls between. A cursor takes what it has not seen from the newest
//! events or, when it is late, from the store; it can be slow, but it cannot lose.
//!
//! A log lives as long as somebody holds it: the actor during a turn, a subscriber. [`Tasks`] only
//! knows the way back to it, so finished tasks cost no memory.

mod anybody;
mod forget;
mod generation;
mod named;
pub mod pieces;
mod shorten;
mod view;
mod waiting;
mod whole;

pub use generation::{insert_generation, read_generation, render_generation};
pub use shorten::{measure, shorten_text, shorten_value};
pub use view::{ANSWER, Extent, answer_id, weigh};
pub use waiting::Waiting;
pub use whole::{is_last, is_last_piece, is_of_answer};

use crate::store::{
    Durability, Error, Event, EventsPart, Kind, ReadTransaction, Scope, Store, TaskRow, Write,
};
use bytes::Bytes;
use parking_lot::Mutex;
use pilothouse_a2a::event::{StreamResponse, TaskArtifactUpdateEvent, TaskStatusUpdateEvent};
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::{Task, TaskState};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// Bytes of newest events that a log keeps at hand; a cursor that is later reads the store.
const RECENT_BYTES: usize = 8 * 1024;

/// A folded task is kept at hand while its events are not larger than this.
const FOLDED_BYTES: usize = 16 * 1024;

/// What one read of the store brings to a late cursor, beside the event that is over it.
pub const CATCH_UP_BYTES: usize = 64 * 1024;

/// Locks for cold reads; more of them only makes two tasks wait for each other less often.
const STRIPES: usize = 64;

/// All task logs that somebody holds.
#[derive(Clone)]
pub struct Tasks {
    store: Store,
    live: Arc<Mutex<HashMap<TaskId, Weak<TaskLog>>>>,
    /// One cold read of a task at a time, so that it has one log; tasks share a lock by their ids' hash.
    loading: Arc<[tokio::sync::Mutex<()>; STRIPES]>,
}

/// The live end of one task's event log.
pub struct TaskLog {
    /// Our own short number of the task.
    pub n: i64,
    /// The task.
    pub id: TaskId,
    /// Whose it is.
    pub scope: Scope,
    /// Its context.
    pub context_id: ContextId,
    /// Its session's id.
    pub session: Arc<str>,
    /// The id that a v0.1 client made.
    pub alias: Option<Arc<str>>,
    end: Mutex<End>,
    head: watch::Sender<u64>,
    /// Held from the decision to write until what was written is shown.
    writing: Arc<tokio::sync::Mutex<()>>,
    tasks: Weak<Mutex<HashMap<TaskId, Weak<TaskLog>>>>,
}

struct End {
    /// The last sequence number.
    seq: u64,
    /// The one that the store has; it is smaller after an unclean end.
    stored: u64,
    /// A place in the log, and how many changes there are up to it.
    counted: (u64, u64),
    state: TaskState,
    folded: Option<Task>,
    folded_bytes: usize,
    first_bytes: usize,
    recent: VecDeque<Event>,
    recent_bytes: usize,
    /// Turns of this task that were taken and have not begun.
    turns: usize,
    /// Nobody is shown the task before its agent has said something (`replies: message`).
    withheld: bool,
    /// The agent answered without a task: there is none any more.
    replied: Option<Message>,
    /// Why the last write failed, until one succeeds.
    broken: Option<Error>,
}

/// Something to be recorded in a log.
#[derive(Debug)]
pub enum Record {
    /// A new status.
    Status(TaskStatusUpdateEvent),
    /// A piece of an artifact.
    Artifact(TaskArtifactUpdateEvent),
    /// A further message of the caller.
    Message(Message),
}

/// What is stored and shown together.
struct Batch {
    /// The row of a task that begins with this batch, and the bytes of its first event.
    new: Option<(Box<TaskRow>, usize)>,
    /// Stored beside the records.
    also: Vec<Write>,
    records: Vec<Record>,
    durability: Durability,
    /// Turns of the task that come with it.
    turns: usize,
}

/// The right to write to a log.
type Writing = tokio::sync::OwnedMutexGuard<()>;

/// A place in a log, and the way onward.
pub struct Cursor {
    log: Arc<TaskLog>,
    store: Store,
    seq: u64,
    head: watch::Receiver<u64>,
}

/// What comes next for a cursor.
pub enum Ahead {
    /// Events that were at hand.
    Events(Vec<Event>),
    /// Events that have to be read from the store.
    Stored,
    /// Nothing: the log has ended.
    End,
}

/// A task as it stands, and what was left out of it.
#[derive(Debug)]
pub struct Snapshot {
    /// The task.
    pub task: Task,
    /// The sequence number up to which it is folded.
    pub seq: u64,
    /// Whether its answer is longer than what stands here.
    pub truncated: bool,
}

/// A task in a list.
pub enum Listed {
    /// As everybody is shown it: somebody holds its log.
    Held(Snapshot),
    /// As the store has it.
    Stored(Snapshot),
    /// Nobody is shown it yet.
    Withheld,
}

// === Tasks ===

impl Tasks {
    /// The logs of a store.
    pub fn new(store: Store) -> Self {
        let loading = Arc::new(std::array::from_fn(|_| tokio::sync::Mutex::default()));
        Self { store, live: Arc::default(), loading }
    }

    /// Accepts a task: stores it with its session (where that is new) and its first records. `withheld`
    /// says that nobody is shown it before its agent's first word.
    ///
    /// # Errors
    ///
    /// When the store fails; then there is no task.
    pub async fn accept(
        &self,
        row: TaskRow,
        task: Task,
        also: Vec<Write>,
        records: Vec<Record>,
        withheld: bool,
    ) -> Result<Arc<TaskLog>, Error> {
        let log = Arc::new(self.log(&row, None));
        let response = StreamResponse::Task(task);
        let body = encode(&response);
        let mut writes = also;
        let first = Event { seq: 1, kind: Kind::Task, body };
        let size = first.body.len();
        writes.push(Write::Event { n: log.n, event: first.clone() });
        {
            let mut end = log.end();
            (end.seq, end.counted) = (1, (1, 1));
            end.withheld = withheld;
            end.turns = 1;
            (end.folded_bytes, end.first_bytes) = (size, size);
            end.folded = match (response, size <= FOLDED_BYTES) {
                (StreamResponse::Task(task), true) => Some(task),
                _ => None,
            };
            end.push_recent(first);
        }
        self.live().insert(log.id.clone(), Arc::downgrade(&log));
        let writing = log.writing.clone().lock_owned().await;
        let new = Some((Box::new(row), size));
        let batch = Batch { new, also: writes, records, durability: Durability::Synced, turns: 0 };
        if let Err(error) = log.write(&self.store, writing, batch).await {
            self.live().remove(&log.id);
            return Err(error);
        }
        Ok(log)
    }

    /// A task of this scope. One that is not there and one that is somebody else's are the same.
    pub async fn find(&self, scope: &Scope, id: &TaskId) -> Result<Option<Arc<TaskLog>>, Error> {
        if let Some(log) = self.held(id) {
            return Ok((log.scope == *scope).then_some(log));
        }
        let _one_at_a_time = self.lock_loading(id).await;
        if let Some(log) = self.held(id) {
            return Ok((log.scope == *scope).then_some(log));
        }
        let Some(row) = self.store.task(scope, id).await? else {
            return Ok(None);
        };
        Ok(Some(self.hold(&row)))
    }

    /// The newest task that a v0.1 client of this scope named so.
    pub async fn find_alias(
        &self,
        scope: &Scope,
        alias: &str,
    ) -> Result<Option<Arc<TaskLog>>, Error> {
        match self.store.task_by_alias(scope, alias).await? {
            Some(row) => self.find(scope, &row.id).await,
            None => Ok(None),
        }
    }

    /// The task of a row that was read for a list, as it stands.
    pub fn list(
        &self,
        reads: &ReadTransaction<'_>,
        row: &TaskRow,
        extent: Extent,
    ) -> Result<Listed, Error> {
        let Some(log) = self.held(&row.id) else {
            return Ok(Listed::Stored(view::fold_row(reads, row, row.head, extent)?));
        };
        let seq = {
            let end = log.end();
            if end.withheld {
                return Ok(Listed::Withheld);
            }
            if let Some(task) = &end.folded {
                let (task, seq) = (task.clone(), end.seq);
                return Ok(Listed::Held(Snapshot { task, seq, truncated: false }));
            }
            // What is stored and not yet shown to others is not shown here either.
            end.seq.min(row.head)
        };
        Ok(Listed::Held(view::fold_row(reads, row, seq, extent)?))
    }

    /// The log of a row that was just read.
    pub fn hold(&self, row: &TaskRow) -> Arc<TaskLog> {
        let log = Arc::new(self.log(row, Some(row.head)));
        self.live().insert(log.id.clone(), Arc::downgrade(&log));
        log
    }

    /// Whether any task of this session that is not over is held by somebody.
    pub fn holds_session(&self, session: &str) -> bool {
        let logs: Vec<_> = self.live().values().filter_map(Weak::upgrade).collect();
        logs.iter().any(|log| &*log.session == session && !log.state().is_terminal())
    }

    fn held(&self, id: &TaskId) -> Option<Arc<TaskLog>> {
        self.live().get(id).and_then(Weak::upgrade)
    }

    fn live(&self) -> parking_lot::MutexGuard<'_, HashMap<TaskId, Weak<TaskLog>>> {
        self.live.lock()
    }

    fn log(&self, row: &TaskRow, head: Option<u64>) -> TaskLog {
        let seq = head.unwrap_or(0);
        TaskLog {
            n: row.n,
            id: row.id.clone(),
            scope: row.scope.clone(),
            context_id: row.context_id.clone(),
            session: row.session.clone(),
            alias: row.alias.clone(),
            end: Mutex::new(End {
                seq,
                stored: seq,
                counted: (0, 0),
                state: row.state,
                folded: None,
                folded_bytes: usize::MAX,
                first_bytes: 0,
                recent: VecDeque::new(),
                recent_bytes: 0,
                turns: 0,
                withheld: false,
                replied: None,
                broken: None,
            }),
            head: watch::Sender::new(seq),
            writing: Arc::default(),
            tasks: Arc::downgrade(&self.live),
        }
    }
}

// === TaskLog ===

impl TaskLog {
    /// The state as it stands.
    pub fn state(&self) -> TaskState {
        self.end().state
    }

    /// Bytes of the task as it was accepted, where that is known here.
    pub fn first_bytes(&self) -> usize {
        self.end().first_bytes
    }

    /// The last sequence number.
    pub fn head(&self) -> u64 {
        self.end().seq
    }

    /// Stores records and shows them, in this order. False when the task is over: nothing follows that.
    ///
    /// # Errors
    ///
    /// When the store fails; then nothing is shown.
    pub async fn record(
        self: &Arc<Self>,
        store: &Store,
        records: Vec<Record>,
        durability: Durability,
    ) -> Result<bool, Error> {
        self.record_with(store, Vec::new(), records, durability).await
    }

    /// The same together with `also`.
    ///
    /// # Errors
    ///
    /// When the store fails; then nothing is shown.
    pub async fn record_with(
        self: &Arc<Self>,
        store: &Store,
        also: Vec<Write>,
        records: Vec<Record>,
        durability: Durability,
    ) -> Result<bool, Error> {
        self.record_at(store, (also, None), records, durability).await
    }

    /// A turn of this task is on its way.
    pub fn turn_comes(&self) {
        self.end().turns += 1;
    }

    /// Takes a further message of the caller: `records` makes of the state what is recorded now, together
    /// with `also`, and its turn comes after those before it. False when the task is over, or not at this generation.
    pub async fn take_message(
        self: &Arc<Self>,
        store: &Store,
        (also, expected): (Vec<Write>, Option<i32>),
        records: impl FnOnce(TaskState) -> Vec<Record> + Send,
    ) -> Result<bool, Error> {
        let writing = self.writing.clone().lock_owned().await;
        let state = self.state();
        if state.is_terminal() || !self.is_at_generation(store, expected).await? {
            return Ok(false);
        }
        let records = records(state);
        let batch = Batch { new: None, also, records, durability: Durability::Synced, turns: 1 };
        self.write(store, writing, batch).await?;
        Ok(true)
    }

    /// A turn that was taken begins.
    pub fn turn_begins(&self) {
        let mut end = self.end();
        end.turns = end.turns.saturating_sub(1);
    }

    /// Records the end of a turn, together with `also`. Where the caller has said more meanwhile, a turn that was completed is
    /// not yet the end of the task.
    pub async fn record_end(
        self: &Arc<Self>,
        store: &Store,
        also: Vec<Write>,
        mut records: Vec<Record>,
    ) -> Result<bool, Error> {
        let writing = self.writing.clone().lock_owned().await;
        if self.state().is_terminal() {
            return Ok(false);
        }
        let mut goes_on = false;
        if self.end().turns > 0
            && let Some(Record::Status(last)) = records.last_mut()
            && last.status.state == TaskState::Completed
        {
            last.status.state = TaskState::Working;
            goes_on = true;
        }
        let batch = Batch { new: None, also, records, durability: Durability::Synced, turns: 0 };
        let writing = self.write(store, writing, batch).await?;
        if goes_on {
            // The end is stored, so this error is not one of the end: the caller would store it again.
            if let Err(error) = self.keep_answer(store, writing).await {
                tracing::warn!(task.id = %self.id, %error, "the answer of a turn could not be kept in the history");
            }
        }
        Ok(true)
    }

    /// Puts the answer of a turn into the history: the next turn's takes its place.
    async fn keep_answer(self: &Arc<Self>, store: &Store, writing: Writing) -> Result<(), Error> {
        let snapshot = self.snapshot(store, Extent::of(FOLDED_BYTES)).await?;
        if let Some(answer) = view::answer_message(&snapshot.task, snapshot.seq) {
            let records = vec![Record::Message(answer)];
            let durability = Durability::Written;
            let batch = Batch { new: None, also: Vec::new(), records, durability, turns: 0 };
            self.write(store, writing, batch).await?;
        }
        Ok(())
    }

    /// Whether the task waits for its agent's first word before anybody is shown it.
    pub fn is_withheld(&self) -> bool {
        self.end().withheld
    }

    /// Shows the task to everybody, where it was withheld.
    pub fn reveal(&self) {
        let was = std::mem::replace(&mut self.end().withheld, false);
        if was {
            self.head.send_modify(|_| {});
        }
    }

    /// The agent's answer needs no task: the task is removed, and whoever waits gets the message.
    pub async fn reply(
        self: &Arc<Self>,
        store: &Store,
        text: &str,
        mut also: Vec<Write>,
    ) -> Result<(), Error> {
        let writing = self.writing.clone().lock_owned().await;
        let mut message = Message::new(Role::Agent, vec![Part::text(text)]);
        message.context_id = Some(self.context_id.clone());
        let log = self.clone();
        also.push(Write::TaskGone { n: self.n });
        let show = move |outcome: Result<(), Error>| {
            outcome?;
            let mut end = log.end();
            end.replied = Some(message);
            end.state = TaskState::Completed;
            drop(end);
            log.head.send_modify(|_| {});
            drop(writing);
            Ok(())
        };
        store.commit_then(also, Durability::Synced, show).await?
    }

    /// Waits for the agent's first word where the task is withheld: a message, if that is all there is.
    pub async fn first_word(&self) -> Result<Option<Message>, Error> {
        let mut head = self.head.subscribe();
        loop {
            {
                let end = self.end();
                if end.replied.is_some() {
                    return Ok(end.replied.clone());
                }
                if !end.withheld || end.state.is_terminal() || end.state.is_interrupted() {
                    return Ok(None);
                }
                if let Some(error) = &end.broken {
                    return Err(error.clone());
                }
            }
            if head.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }

    /// Stores a batch and shows it. What was begun is finished: from the moment at which the batch is on its
    /// way, the store's writer shows it when it is stored, and `writing` is held until then, whether or not
    /// this future is still there.
    async fn write(
        self: &Arc<Self>,
        store: &Store,
        writing: Writing,
        batch: Batch,
    ) -> Result<Writing, Error> {
        let Batch { new, also: mut writes, records, mut durability, turns } = batch;
        let (mut seq, expected) = {
            let end = self.end();
            (end.seq, end.stored)
        };
        let mut shown = Vec::with_capacity(records.len());
        let (mut status, mut bytes) = (None, 0);
        for record in records {
            seq += 1;
            let (kind, body, response) = match record {
                Record::Status(update) => {
                    if let Some(at) = update.status.timestamp {
                        let before = status.map_or_else(|| self.state(), |(state, _)| state);
                        if before != update.status.state {
                            durability = Durability::Synced;
                        }
                        status = Some((update.status.state, at));
                    }
                    let response = StreamResponse::StatusUpdate(update);
                    (Kind::Status, encode(&response), Ok(response))
                }
                Record::Artifact(update) => {
                    let response = StreamResponse::ArtifactUpdate(update);
                    (Kind::Artifact, encode(&response), Ok(response))
                }
                Record::Message(message) => {
                    let body = serde_json::to_vec(&message)
                        .expect("a message has no maps with other keys");
                    (Kind::Message, Bytes::from(body), Err(message))
                }
            };
            bytes += body.len() as u64;
            let event = Event { seq, kind, body };
            writes.push(Write::Event { n: self.n, event: event.clone() });
            shown.push((event, response));
        }
        // Lists go by the time of the newest status, whether or not it is of another state.
        writes.push(match new {
            Some((mut row, first)) => {
                row.head = seq;
                (row.state, row.status_at) = status.unwrap_or((row.state, row.status_at));
                Write::Task(row, bytes + first as u64)
            }
            None => Write::Head { n: self.n, expected, seq, bytes, status },
        });
        let asks = writes.iter().filter_map(|write| match write {
            Write::Ask(row) => Some(row.clone()),
            _ => None,
        });
        let asks: Vec<_> = asks.collect();
        let log = self.clone();
        let show = move |outcome: Result<(), Error>| {
            if let Err(error) = outcome {
                log.end().broken = Some(error.clone());
                log.head.send_modify(|_| {});
                return Err(error);
            }
            let mut end = log.end();
            end.count_changes(shown.iter().map(|(event, _)| event));
            for (event, response) in shown {
                end.show(event, response);
            }
            (end.seq, end.stored) = (seq, seq);
            asks.iter().for_each(|row| row.stored.note());
            end.turns += turns;
            end.broken = None;
            drop(end);
            log.head.send_replace(seq);
            Ok(writing)
        };
        store.commit_then(writes, durability, show).await?
    }

    /// Whether the task is at hand and small.
    pub fn is_at_hand(&self) -> bool {
        self.end().folded.is_some()
    }

    /// The task as it stands, as far as it fits.
    pub async fn snapshot(&self, store: &Store, extent: Extent) -> Result<Snapshot, Error> {
        let seq = {
            let end = self.end();
            if let Some(task) = &end.folded {
                return Ok(Snapshot { task: task.clone(), seq: end.seq, truncated: false });
            }
            end.seq
        };
        view::fold(store, self, seq, extent).await
    }

    /// The task as it stood at a sequence number.
    pub async fn snapshot_at(
        &self,
        store: &Store,
        seq: u64,
        extent: Extent,
    ) -> Result<Snapshot, Error> {
        let head = self.end().seq;
        view::fold(store, self, seq.min(head), extent).await
    }

    /// A cursor that continues after `seq`.
    pub fn follow(self: &Arc<Self>, store: &Store, seq: u64) -> Cursor {
        Cursor { log: self.clone(), store: store.clone(), seq, head: self.head.subscribe() }
    }

    /// Waits until the task needs nobody's patience any more: it is over, or it asks.
    pub async fn settled(&self) -> Result<TaskState, Error> {
        let mut head = self.head.subscribe();
        loop {
            {
                let end = self.end();
                if end.state.is_terminal() || end.state.is_interrupted() {
                    return Ok(end.state);
                }
                if let Some(error) = &end.broken {
                    return Err(error.clone());
                }
            }
            if head.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }

    fn end(&self) -> parking_lot::MutexGuard<'_, End> {
        self.end.lock()
    }
}

impl Drop for TaskLog {
    fn drop(&mut self) {
        if let Some(tasks) = self.tasks.upgrade() {
            let mut tasks = tasks.lock();
            if tasks.get(&self.id).is_some_and(|log| log.strong_count() == 0) {
                tasks.remove(&self.id);
            }
        }
    }
}

impl End {
    fn show(&mut self, event: Event, response: Result<StreamResponse, Message>) {
        self.folded_bytes = self.folded_bytes.saturating_add(event.body.len());
        if self.folded_bytes > FOLDED_BYTES {
            self.folded = None;
        }
        if let Ok(StreamResponse::StatusUpdate(update)) = &response {
            self.state = update.status.state;
        }
        if let Some(task) = &mut self.folded {
            match response {
                Ok(response) => task.apply(&response),
                Err(message) => task.history.push(message),
            }
        }
        self.push_recent(event);
    }

    fn push_recent(&mut self, event: Event) {
        self.recent_bytes += event.body.len();
        self.recent.push_back(event);
        // One that is too large alone is read from the store too.
        while self.recent_bytes > RECENT_BYTES {
            match self.recent.pop_front() {
                Some(old) => self.recent_bytes -= old.body.len(),
                None => self.recent_bytes = 0,
            }
        }
    }
}

// === Cursor ===

impl Cursor {
    /// The log that it follows.
    pub fn shared_log(&self) -> Arc<TaskLog> {
        self.log.clone()
    }

    /// The next events for a client, at least one; none when the log has ended. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Vec<Event>>, Error> {
        loop {
            match self.look().await? {
                Ahead::Events(events) => return Ok(Some(events)),
                Ahead::Stored => {
                    if let Some(found) = self.read().await? {
                        return Ok(Some(found));
                    }
                }
                Ahead::End => return Ok(None),
            }
        }
    }

    /// Waits for what comes next; it reads nothing from the store. Cancel-safe.
    pub async fn look(&mut self) -> Result<Ahead, Error> {
        loop {
            self.head.borrow_and_update();
            let (head, over) = {
                let end = self.log.end();
                if end.recent.front().is_some_and(|oldest| oldest.seq <= self.seq + 1)
                    || end.seq == self.seq
                {
                    let fresh: Vec<_> =
                        end.recent.iter().filter(|event| event.seq > self.seq).cloned().collect();
                    self.seq = fresh.last().map_or(self.seq, |event| event.seq);
                    if let Some(fresh) = shown(fresh) {
                        return Ok(Ahead::Events(fresh));
                    }
                }
                if let Some(error) = &end.broken {
                    return Err(error.clone());
                }
                (end.seq, end.state.is_terminal())
            };
            if head > self.seq {
                return Ok(Ahead::Stored);
            } else if over || self.head.changed().await.is_err() {
                return Ok(Ahead::End);
            }
        }
    }

    /// Reads the next events from the store; none where no client is shown what comes next. Cancel-safe.
    pub async fn read(&mut self) -> Result<Option<Vec<Event>>, Error> {
        let head = self.log.head();
        // Messages are for the history, and may be large.
        let part = EventsPart {
            n: self.log.n,
            after: self.seq,
            upto: head,
            bytes: CATCH_UP_BYTES,
            without: Some(Kind::Message),
            largest: usize::MAX,
        };
        let found = self.store.events_in_part(part).await?;
        self.seq = found.last().map_or(head, |event| event.seq);
        Ok(shown(found))
    }
}

/// What of these events a client is shown; none if nothing.
fn shown(mut events: Vec<Event>) -> Option<Vec<Event>> {
    events.retain(|event| event.kind != Kind::Message);
    (!events.is_empty()).then_some(events)
}

fn encode(response: &StreamResponse) -> Bytes {
    let body = serde_json::to_vec(response);
    let body = body.expect("an event has no maps with other keys than strings");
    // Without the room that it grew into: a log keeps its newest events.
    Bytes::from(body.into_boxed_slice())
}

#[cfg(test)]
mod tests;

//! Questions of agents that a person has to answer: which are open, until when, and who decides instead.
//!
//! # How it works
//!
//! A tool permission or a question that no policy answers becomes a row of the store, written together
//! with the status that asks it; the task is `INPUT_REQUIRED`. This registry holds the open ones, so that
//! each is answered once, whoever comes first: [`Asks::take`] is the one way to it. The process that asked
//! may be gone by then (`asks.park`, a stop, a crash); the row is what is left, and what the conversation
//! is resumed with.

mod context;
mod decision;
mod kagent;
mod policy;

pub use context::refuse_several;
pub use decision::{Answered, Decision, check_size, explain_refusal, named, read as decide};
pub use kagent::{APPROVALS, render_request as render_approval_request};
pub use policy::{TOO_LONG, denial, is_cut, policy};

use crate::clock;
use crate::config::{self, Bytes, Config};
use crate::store::{self, AskRow, Scope, Store};
use parking_lot::Mutex;
use pilothouse_a2a::id::ContextId;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::{Answer, AskKind, memory_of};
use serde_json::{Value, json};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Characters of one field of a tool's input in the words for people; the data part has it all.
const SHOWN: usize = 4000;

/// What an ask takes in memory beside what it asks.
const ROW_BYTES: usize = 512;

/// The longest wait before the time is looked at again: timers do not count what the machine is suspended.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The open asks; clones share them.
#[derive(Clone)]
pub struct Asks(Arc<SharedAsks>);

struct SharedAsks {
    bounds: config::Asks,
    open: Mutex<OpenAsks>,
    changed: Notify,
}

/// The open asks, and how much they are.
#[derive(Default)]
struct OpenAsks {
    // In the order of their ids, which is that of their creation.
    rows: BTreeMap<Arc<str>, Arc<AskRow>>,
    sessions: HashMap<(Scope, ContextId), Amount>,
    all: Amount,
}

/// How many asks, and what they take in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    count: usize,
    bytes: usize,
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

/// An ask that was answered while its process was gone: it passes once, when the agent asks again.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// What was asked.
    pub ask: Value,
    /// What was decided.
    pub answer: Answer,
    /// Whether it holds for the session.
    pub session: bool,
}

impl Asks {
    /// None yet.
    pub fn new(config: &Config) -> Self {
        let bounds = config.asks.clone();
        Self(Arc::new(SharedAsks { bounds, open: Mutex::default(), changed: Notify::new() }))
    }

    /// Those that the store holds.
    pub async fn load(store: &Store, config: &Config) -> Result<Self, store::Error> {
        let asks = Self::new(config);
        let rows = store.asks().await?;
        rows.into_iter().for_each(|row| asks.restore(Arc::new(row)));
        Ok(asks)
    }

    /// The oldest open ask of a context.
    pub fn first_of(&self, scope: &Scope, context_id: &ContextId) -> Option<Arc<AskRow>> {
        let open = self.open();
        open.sessions.get(&(scope.clone(), context_id.clone()))?;
        let is_theirs = |row: &&Arc<AskRow>| row.scope == *scope && row.context_id == *context_id;
        open.rows.values().find(is_theirs).cloned()
    }

    /// Notes an ask that is about to be stored.
    pub fn add(&self, row: Arc<AskRow>) -> Result<(), Full> {
        {
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
            open.insert(row);
        }
        self.0.changed.notify_one();
        Ok(())
    }

    /// Notes an ask that is stored, or was open before.
    pub fn restore(&self, row: Arc<AskRow>) {
        self.open().insert(row);
        self.0.changed.notify_one();
    }

    /// The ask of this id, or a task's first one.
    pub fn find(&self, n: i64, id: Option<&str>) -> Option<Arc<AskRow>> {
        let open = self.open();
        let mut of_task = open.rows.values().filter(|row| row.n == n);
        of_task.find(|row| id.is_none_or(|id| *row.id == *id)).cloned()
    }

    /// The ask of this id, whosever it is.
    pub fn get(&self, id: &str) -> Option<Arc<AskRow>> {
        self.open().rows.get(id).cloned()
    }

    /// Takes an ask for whoever answers it; none when somebody else was quicker.
    pub fn take(&self, id: &str) -> Option<Arc<AskRow>> {
        self.open().remove(id)
    }

    /// All asks of a task are void.
    pub fn forget(&self, n: i64) -> Vec<Arc<AskRow>> {
        let mut open = self.open();
        let gone: Vec<_> = open.rows.values().filter(|row| row.n == n).cloned().collect();
        for row in &gone {
            open.remove(&row.id);
        }
        gone
    }

    /// The open asks that are listed, oldest first: those after an id, up to a number, and up to so many bytes
    /// where that is more than one.
    pub fn page(
        &self,
        is_listed: impl Fn(&Scope) -> bool,
        after: Option<&str>,
        most: usize,
        bytes: usize,
    ) -> Page {
        let open = self.open();
        let mut page = Page { rows: Vec::new(), next: None, total: 0 };
        let mut size = 0usize;
        for row in open.rows.values().filter(|row| is_listed(&row.scope)) {
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

impl OpenAsks {
    fn insert(&mut self, row: Arc<AskRow>) {
        self.remove(&row.id);
        let more = Amount::of(&row);
        self.all.add(more);
        self.sessions.entry(session(&row)).or_default().add(more);
        self.rows.insert(row.id.clone(), row);
    }

    fn remove(&mut self, id: &str) -> Option<Arc<AskRow>> {
        let row = self.rows.remove(id)?;
        let less = Amount::of(&row);
        self.all.subtract(less);
        if let Entry::Occupied(mut of_session) = self.sessions.entry(session(&row)) {
            of_session.get_mut().subtract(less);
            if of_session.get().count == 0 {
                of_session.remove();
            }
        }
        Some(row)
    }
}

impl Amount {
    fn of(row: &AskRow) -> Self {
        Self { count: 1, bytes: ROW_BYTES + memory_of(&row.ask) }
    }

    fn add(&mut self, more: Self) {
        self.count += more.count;
        self.bytes = self.bytes.saturating_add(more.bytes);
    }

    fn subtract(&mut self, less: Self) {
        self.count -= less.count;
        self.bytes -= less.bytes;
    }
}

fn session(row: &AskRow) -> (Scope, ContextId) {
    (row.scope.clone(), row.context_id.clone())
}

/// Until when an ask that is made now may be answered.
pub fn deadline(now: Timestamp, config: &Config) -> Timestamp {
    let open = config.asks.timeout.get().as_millis();
    let open = i64::try_from(open).unwrap_or(i64::MAX / 2);
    Timestamp::from_millisecond(now.as_millisecond().saturating_add(open))
}

/// An ask as data: what is stored, shown to callers, and compared when the agent asks again.
pub fn data(kind: AskKind) -> Value {
    match kind {
        AskKind::Permission { tool, input, description } => {
            let mut ask = json!({"kind": "permission", "tool": tool, "input": input});
            if let Some(description) = description {
                ask["title"] = description.into();
            }
            ask["options"] = json!([
                {"id": "allow", "name": "Allow once"},
                {"id": "allow_session", "name": "Allow this tool for the session"},
                {"id": "deny", "name": "Deny"},
            ]);
            ask
        }
        AskKind::Question { text, options, input } => {
            let options: Vec<_> =
                options.iter().map(|option| json!({"id": option, "name": option})).collect();
            json!({"kind": "question", "text": text, "input": input, "options": options})
        }
    }
}

/// Whether two asks ask for the same; the number that an agent gives to each call is not part of it.
pub fn same(one: &Value, other: &Value) -> bool {
    let input = |ask: &Value| {
        let mut input = ask.get("input").cloned();
        if let Some(Value::Object(input)) = &mut input {
            input.remove("toolCallId");
        }
        input
    };
    let plain = ["kind", "tool", "text"].iter().all(|field| one.get(field) == other.get(field));
    plain && input(one) == input(other)
}

/// An ask in words for people.
pub fn words(ask: &Value) -> String {
    let text = |field: &str| ask.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("kind") == "question" {
        let mut words = text("text").to_owned();
        for option in ask.get("options").and_then(Value::as_array).into_iter().flatten() {
            let name = option.get("name").and_then(Value::as_str);
            words.push_str("\n- ");
            words.push_str(name.or(option.as_str()).unwrap_or_default());
        }
        return words;
    }
    let mut words = format!("May {} be used?", text("tool"));
    if !text("title").is_empty() {
        words.push('\n');
        words.push_str(text("title"));
    }
    match ask.get("input") {
        Some(Value::Object(input)) => {
            let shown = |name: &&String| !matches!(name.as_str(), "options" | "toolCallId");
            for (name, value) in input.iter().filter(|(name, _)| shown(name)) {
                let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                let shown: String = value.chars().take(SHOWN).collect();
                let more = if shown.len() < value.len() { " ..." } else { "" };
                words.push_str(&format!("\n{name}: {shown}{more}"));
            }
        }
        Some(Value::Null) | None => {}
        Some(other) => words.push_str(&format!("\n{other}")),
    }
    words.push_str("\nAnswer `allow`, or `deny: why`.");
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::id::TaskId;

    fn row(context: &str, text: &str) -> Arc<AskRow> {
        let now = Timestamp::now();
        Arc::new(AskRow {
            id: Arc::from(uuid::Uuid::now_v7().to_string()),
            n: 1,
            task: TaskId::new("task"),
            scope: Scope { caller: Arc::from("owner"), agent: Arc::from("fake") },
            context_id: ContextId::new(context),
            ask: json!({"kind": "question", "text": text}),
            ends_turn: true,
            created: now,
            deadline: now,
        })
    }

    fn bounded(change: impl FnOnce(&mut config::Asks)) -> Asks {
        let mut config = Config::default();
        change(&mut config.asks);
        Asks::new(&config)
    }

    #[test]
    fn a_session_has_so_many_open_asks_and_another_one_its_own() {
        let asks = bounded(|bounds| bounds.per_session = 2);
        let first = row("one", "a");
        asks.add(first.clone()).unwrap();
        asks.add(row("one", "b")).unwrap();
        let full = asks.add(row("one", "c")).unwrap_err();
        assert_eq!(full.key(), "asks.per_session");
        asks.add(row("two", "d")).unwrap();
        asks.take(&first.id).unwrap();
        asks.add(row("one", "e")).unwrap();
    }

    #[test]
    fn the_open_asks_of_a_session_and_of_all_have_so_many_bytes() {
        let large = "x".repeat(3000);
        let asks = bounded(|bounds| {
            bounds.bytes = Bytes::new(5000);
            bounds.total = Bytes::new(9000);
        });
        asks.add(row("one", &large)).unwrap();
        assert_eq!(asks.add(row("one", &large)).unwrap_err().key(), "asks.bytes");
        asks.add(row("two", &large)).unwrap();
        assert_eq!(asks.add(row("three", &large)).unwrap_err().key(), "asks.total");
    }

    #[test]
    fn an_ask_that_is_too_large_alone_is_told_with_its_size_and_not_to_answer_others() {
        let asks = bounded(|bounds| bounds.bytes = Bytes::new(2048));
        let full = asks.add(row("one", &"x".repeat(3000))).unwrap_err();
        assert!(matches!(&full, Full::Alone { key: "asks.bytes", size, .. } if size.get() > 3000));
        assert!(full.to_string().ends_with("more than 2KiB"), "{full}");
        assert_eq!(full.hint(), "the server's operator can raise `asks.bytes`");
    }

    #[test]
    fn what_is_taken_and_forgotten_is_counted_no_more() {
        let asks = bounded(|_| ());
        let (one, two) = (row("one", "a"), row("one", "b"));
        for row in [&one, &two, &one] {
            asks.add(row.clone()).unwrap();
        }
        assert_eq!(asks.open().all.count, 2);
        asks.take(&one.id).unwrap();
        assert!(asks.take(&one.id).is_none());
        assert_eq!(asks.forget(two.n), [two]);
        let open = asks.open();
        assert_eq!((open.all, open.sessions.len()), (Amount::default(), 0));
    }

    #[test]
    fn pages_are_bounded_in_number_and_bytes_and_none_is_empty() {
        let asks = bounded(|_| ());
        let rows = ["a", "b", "c", "d"].map(|text| row("one", &text.repeat(1000)));
        rows.iter().for_each(|row| asks.add(row.clone()).unwrap());
        let scopes = [rows[0].scope.clone()];
        let walk = |most, bytes| {
            let (mut after, mut sizes, mut seen) = (None, Vec::new(), Vec::new());
            loop {
                let page = asks.page(|scope| scopes.contains(scope), after.as_deref(), most, bytes);
                assert_eq!(page.total, 4);
                sizes.push(page.rows.len());
                seen.extend(page.rows);
                after = page.next;
                if after.is_none() {
                    assert_eq!(seen, rows);
                    return sizes;
                }
            }
        };
        assert_eq!(walk(3, usize::MAX), [3, 1]);
        assert_eq!(walk(4, usize::MAX), [4]);
        assert_eq!(walk(4, 1), [1, 1, 1, 1]);
    }
}

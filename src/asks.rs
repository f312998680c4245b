//! Questions of agents that a person has to answer: which are open, until when, and who decides instead.
//!
//! # How it works
//!
//! A tool permission or a question that no policy answers becomes a row of the store, written together
//! with the status that asks it; the task is `INPUT_REQUIRED`. This registry holds the open ones, so that
//! each is answered once, whoever comes first: [`Asks::take`] is the one way to it. The process that asked
//! may be gone by then (`asks.park`, a stop, a crash); the row is what is left, and what the conversation
//! is resumed with.

mod decision;
mod policy;

pub use decision::{Decision, named, read as decide};
pub use policy::policy;

use crate::clock;
use crate::config::Config;
use crate::store::{self, AskRow, Scope, Store};
use parking_lot::Mutex;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::{Answer, AskKind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Characters of one field of a tool's input in the words for people; the data part has it all.
const SHOWN: usize = 4000;

/// The open asks; clones share them.
#[derive(Clone, Default)]
pub struct Asks(Arc<Inner>);

#[derive(Default)]
struct Inner {
    // In the order of their ids, which is that of their creation.
    open: Mutex<BTreeMap<Arc<str>, AskRow>>,
    changed: Notify,
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
    /// Those that the store holds.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn load(store: &Store) -> Result<Self, store::Error> {
        let asks = Self::default();
        let rows = store.asks().await?;
        asks.open().extend(rows.into_iter().map(|row| (row.id.clone(), row)));
        Ok(asks)
    }

    /// Notes an ask that was stored.
    pub fn add(&self, row: AskRow) {
        self.open().insert(row.id.clone(), row);
        self.0.changed.notify_one();
    }

    /// The ask of this id, or a task's first one.
    pub fn find(&self, n: i64, id: Option<&str>) -> Option<AskRow> {
        let open = self.open();
        let mut of_task = open.values().filter(|row| row.n == n);
        of_task.find(|row| id.is_none_or(|id| *row.id == *id)).cloned()
    }

    /// Takes an ask for whoever answers it; none when somebody else was quicker.
    pub fn take(&self, id: &str) -> Option<AskRow> {
        self.open().remove(id)
    }

    /// All asks of a task are void.
    pub fn forget(&self, n: i64) -> Vec<AskRow> {
        let mut open = self.open();
        let gone: Vec<_> = open.values().filter(|row| row.n == n).cloned().collect();
        for row in &gone {
            open.remove(&row.id);
        }
        gone
    }

    /// A caller's open asks of an agent, oldest first.
    pub fn list(&self, scope: &Scope) -> Vec<AskRow> {
        let open = self.open();
        open.values().filter(|row| row.scope == *scope).cloned().collect()
    }

    /// Waits for asks whose time is over.
    pub async fn expired(&self) -> Vec<AskRow> {
        loop {
            let now = clock::now();
            let (due, next) = {
                let open = self.open();
                let due: Vec<_> =
                    open.values().filter(|row| row.deadline <= now).cloned().collect();
                (due, open.values().map(|row| row.deadline).min())
            };
            if !due.is_empty() {
                return due;
            }
            let changed = self.0.changed.notified();
            match next {
                Some(next) => {
                    let left = next.as_millisecond() - now.as_millisecond();
                    let left = std::time::Duration::from_millis(left.max(1).unsigned_abs());
                    let _ = tokio::time::timeout(left, changed).await;
                }
                None => changed.await,
            }
        }
    }

    fn open(&self) -> parking_lot::MutexGuard<'_, BTreeMap<Arc<str>, AskRow>> {
        self.0.open.lock()
    }
}

/// Until when an ask that is made now may be answered.
pub fn deadline(now: Timestamp, config: &Config) -> Timestamp {
    let open = config.asks.timeout.get().as_millis();
    let open = i64::try_from(open).unwrap_or(i64::MAX / 2);
    Timestamp::from_millisecond(now.as_millisecond().saturating_add(open))
}

/// An ask as data: what is stored, shown to callers, and compared when the agent asks again.
pub fn data(kind: &AskKind) -> Value {
    match kind {
        AskKind::Permission { tool, input, description } => {
            let mut ask = json!({"kind": "permission", "tool": tool, "input": input});
            if let Some(description) = description {
                ask["title"] = description.as_str().into();
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

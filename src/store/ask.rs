//! An ask as the store keeps it: also after its end, with who answered it.

use super::Scope;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An ask that a person has to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AskRow {
    /// Its id.
    pub id: Arc<str>,
    /// A short id, for people. No two asks that can be answered have the same.
    pub short: Arc<str>,
    /// The number of its task.
    pub n: i64,
    /// Its task.
    pub task: TaskId,
    /// Whose it is.
    pub scope: Scope,
    /// Its context.
    pub context_id: ContextId,
    /// What is asked: `kind`, `tool`, `input`, `text`, `options`, `folder`, `why`.
    pub ask: Value,
    /// Whether it ended its turn, so that the next message is the answer as it is.
    pub ends_turn: bool,
    /// Since when.
    pub created: Timestamp,
    /// Until when it can be answered.
    pub deadline: Timestamp,
    /// How it stands.
    pub state: AskState,
    /// Until when it is claimed or deferred.
    pub until: Option<Timestamp>,
    /// Since when it cannot be answered any more.
    pub ended: Option<Timestamp>,
    /// Who claimed, deferred or answered it.
    pub act: Option<Arc<AskAct>>,
    /// Whether the store holds it.
    pub stored: Stored,
}

/// Whether the store holds an ask; copies share it. Nobody is shown an ask that a crash could still lose.
#[derive(Debug, Clone, Default)]
pub struct Stored(Arc<AtomicBool>);

impl Stored {
    /// That of an ask which was read.
    pub fn read() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// The store holds it from now on.
    pub fn note(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the store holds it.
    pub fn holds(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// It says nothing of what an ask is.
impl PartialEq for Stored {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How an ask stands. The store knows the numbers; those up to [`AskState::Deferred`] can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskState {
    /// It waits for an answer.
    Open = 0,
    /// The same, and a person has said that an answer comes.
    Claimed = 1,
    /// The same, and a person wants to be asked later.
    Deferred = 2,
    /// A person has answered.
    Answered = 3,
    /// Nobody answered in time.
    Expired = 4,
    /// The agent does not want to know any more, or its task is over.
    Withdrawn = 5,
    /// Its task failed.
    Failed = 6,
}

/// What a person has done about an ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskAct {
    /// The caller.
    pub by: Arc<str>,
    /// From where.
    #[serde(flatten)]
    pub source: AnswerSource,
    /// When.
    pub at: Timestamp,
    /// What was decided; empty for a claim or a deferral.
    #[serde(flatten)]
    pub what: serde_json::Map<String, Value>,
}

/// From where an answer came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerSource {
    /// The binding: `JSONRPC`, `HTTP+JSON`, `GRPC` or `API`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Arc<str>>,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Arc<str>>,
    /// What the client says that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Arc<str>>,
}

impl AskState {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Claimed,
        Self::Deferred,
        Self::Answered,
        Self::Expired,
        Self::Withdrawn,
        Self::Failed,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Claimed => "claimed",
            Self::Deferred => "deferred",
            Self::Answered => "answered",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Failed => "failed",
        }
    }

    /// Whether an ask that stands so can be answered.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Claimed | Self::Deferred)
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// The state of a number.
    pub(super) fn of(number: i64) -> Self {
        let state = usize::try_from(number).ok().and_then(|number| Self::ALL.get(number).copied());
        state.unwrap_or(Self::Withdrawn)
    }
}

impl AskRow {
    /// How it stands at this time: a claim and a deferral end by themselves.
    pub fn state_at(&self, now: Timestamp) -> AskState {
        let is_over = self.until.is_some_and(|until| until <= now);
        match self.state {
            AskState::Claimed | AskState::Deferred if is_over => AskState::Open,
            state => state,
        }
    }
}

/// A part of a caller's asks.
#[derive(Debug, Default)]
pub struct AskPage {
    /// The rows, newest first.
    pub rows: Vec<AskRow>,
    /// Whether further ones follow.
    pub has_more: bool,
    /// How many there are on all pages.
    pub total: u64,
}

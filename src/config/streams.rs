//! The keys of how a task's events reach clients and webhooks.

use super::Bytes;
use super::defaults::{KIB, section};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

section! {
    /// Streams of events.
    #[derive(Debug)]
    pub struct Streams {
        /// How a stream ends an artifact that came in pieces.
        pub answers: AnswerForm = AnswerForm::Closed,
        /// Milliseconds for which small pieces of an answer are gathered; 0 for not at all.
        pub gather_ms: u64 = 30,
        /// Longest line of a stream of server-sent events.
        pub line: Bytes = Bytes::new(64 * KIB),
        /// How streams show files that are larger than one line or event.
        pub files: FileForm = FileForm::Address,
        /// Live streams of pages at a time; of one caller half of them.
        pub live: usize = 256,
        /// Tasks that one live stream follows.
        pub live_tasks: usize = 16,
        /// Sessions that a live stream begins with, last used first.
        pub live_rows: usize = 1000,
        /// Bytes of rows of sessions that a live stream sends a second, when it has begun; asks and tasks do not wait.
        pub live_rate: Bytes = Bytes::new(5 * KIB),
        /// Changes of lists that are remembered for live streams that come back.
        pub live_changes: usize = 2048,
    }
}

/// The form in which a stream has an artifact that its agent writes in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnswerForm {
    /// The pieces alone.
    Pieces,
    /// The pieces, and the whole in their place at the end.
    Closed,
    /// The whole at the end alone.
    Whole,
}

/// The form in which a stream has a file that is larger than one line or event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileForm {
    /// The address of the file.
    Address,
    /// Numbered parts of the file.
    Pieces,
}

/// Which events webhooks are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PushEvents {
    /// Changes of the state, and artifacts that are finished.
    Finished,
    /// Every event.
    All,
}

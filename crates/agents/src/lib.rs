//! How Pilothouse talks to each coding-agent CLI.
//!
//! A [`Driver`] is the dialect of one CLI. It is pure: lines of the agent go in, [`Step`]s come
//! out; it has no clock, no files, no process. The house spawns what [`Driver::launch`] describes,
//! writes what [`Step::Write`] says and tells the driver what it hears, so a driver is tested by
//! replaying a recorded run.
//!
//! # How it works
//!
//! A *conversation* is the CLI's own memory of a session; a *turn* is one prompt. A driver whose
//! [`Launch::life`] is [`Life::Session`] keeps its process between turns; with [`Life::Turn`] a
//! process is started for each turn (and a new driver value with it).
//!
//! The order of calls: `launch` → (`begin` → `line`* / `chunk`* → a [`Step::End`]) per turn →
//! `exit` once. `interrupt` may come between `begin` and its `End`; `answer` after a [`Step::Ask`];
//! `woke` after a [`Step::Wake`].

pub mod acp;
pub mod claude;
pub mod command;
pub mod event;
mod exit;
pub mod form;
pub mod inventory;
pub mod lines;
mod network;
mod reading;
pub mod setup;

pub use event::{Event, Problem, Usage};
pub use inventory::{Inquiry, Inventory};

use serde_json::Value;
use std::time::Duration;

/// Longest id of an agent's that is remembered, in bytes: of a request, a message, a tool call.
const LONGEST_ID: usize = 256;

/// Whether terminals and editors do anything else with a character than show it: control characters, separators of
/// lines and paragraphs, and marks that change the direction of text.
#[must_use]
pub fn is_unshowable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What a value takes in memory, about: many small pieces take much more than their JSON.
#[must_use]
pub fn memory_of(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(memory_of).sum(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| 64 + name.len() + memory_of(member)).sum()
        }
    };
    size_of::<Value>() + inside
}

/// What a driver is told before it describes a process.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// The workspace folder as the agent sees it; absolute.
    pub workspace: String,
    /// The agent's own HOME; absolute.
    pub home: String,
    /// The CLI's conversation to resume, if this session already has one.
    pub resume: Option<String>,
    /// Whether the conversation to resume goes on as a new one, and stays as it is itself.
    pub fork: bool,
    /// An id for a new conversation (a lower-case UUID), used where the CLI lets the host choose.
    pub new_conversation: String,
}

/// One prompt, as the driver gets it.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// The text of the message: its text parts joined by blank lines, data parts as JSON.
    pub text: String,
    /// A command of the CLI's own that is to be run, without its slash; the text is what it is told.
    pub command: Option<String>,
    /// Images that the CLI may take in: `(media type, base64)`.
    pub images: Vec<(String, String)>,
    /// `A2A_TASK_ID`.
    pub task_id: String,
    /// `A2A_CONTEXT_ID`.
    pub context_id: String,
    /// `A2A_MESSAGE_ID`.
    pub message_id: String,
    /// A JSON schema that the answer is to fit; the text says so.
    pub schema: Option<Value>,
    /// `A2A_MESSAGE`: who calls, and what came beside the words, as JSON.
    pub beside: String,
}

/// The process that a driver wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// A program: an absolute path, or a name to be found on PATH.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables on top of what the house gives every agent.
    pub env: Vec<(String, String)>,
    /// How long the process is meant to live.
    pub life: Life,
    /// How its output is to be cut.
    pub output: Output,
}

/// How long a process is meant to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// One process for one turn.
    Turn,
    /// One process for many turns of a session.
    Session,
}

/// How a process's standard output reaches the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Cut into lines: [`Driver::line`].
    Lines,
    /// As the bytes come: [`Driver::chunk`].
    Bytes,
}

/// What a driver wants done, or has understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The agent said something.
    Say(Event),
    /// The agent asks; it waits until [`Driver::answer`] (or the ask is withdrawn).
    Ask(Ask),
    /// A pending ask is no longer wanted.
    Withdraw(String),
    /// The process is up and has understood its first words; frees a start permit.
    Ready,
    /// The CLI's own id of this conversation, to be kept for a resume.
    Conversation(String),
    /// Write these bytes to the agent's standard input.
    Write(Vec<u8>),
    /// Close the agent's standard input.
    CloseInput,
    /// Call [`Driver::woke`] with this timer after this time, unless the turn ended before. A later step with the same
    /// timer replaces it; those with others stay.
    Wake(Timer, Duration),
    /// The account at the model API is at its limit.
    Limited(Limit),
    /// The account at the model API is within its limits.
    WithinLimits,
    /// The turn is over.
    End(Outcome),
}

/// What a driver waits for. Each has a deadline of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Servers that a prompt is held back for.
    Servers,
    /// Hooks that run.
    Hooks,
    /// Work in the background after an answer.
    Background,
    /// The answers of an agent that begins.
    Handshake,
    /// The end of an old conversation that is said again.
    Replay,
}

/// A limit of the account at the model API that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Which one, in words: `five hour`.
    pub kind: String,
    /// When it is lifted, in seconds since 1970.
    pub resets_at: Option<i64>,
}

/// A question of the agent that a person or a policy must answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The driver's own id of this ask, unique within the process.
    pub id: String,
    /// What is asked.
    pub kind: AskKind,
}

/// What an [`Ask`] is about.
#[derive(Debug, Clone, PartialEq)]
pub enum AskKind {
    /// May this tool run with this input?
    Permission {
        /// The tool's name as the CLI has it.
        tool: String,
        /// Its input.
        input: Value,
        /// Where in `input` the tool's own arguments are.
        form: InputForm,
        /// The CLI's one-line description, if it gave one.
        description: Option<String>,
    },
    /// A question with options, as the CLI put it.
    Question {
        /// The question as text.
        text: String,
        /// What may be chosen; empty for free text.
        options: Vec<String>,
        /// The CLI's own form of it.
        input: Value,
    },
}

/// Where the tool's own arguments are in the input of a permission request. The driver says it: what a model writes into the
/// input does not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputForm {
    /// The input is the arguments.
    Plain,
    /// The input is a tool call of the Agent Client Protocol: `rawInput` has the arguments, `locations` and `content` have
    /// files.
    Acp,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The tool may run; `input` replaces its input where given.
    Allow {
        /// A changed input, or none to let it run as asked. To a question: the words of the answer
        /// (a string, or a list of options), or `{"answers": {question: words}}` for several; the
        /// driver puts them into the CLI's own form.
        input: Option<Value>,
    },
    /// The tool may not run; the agent is told why.
    Deny {
        /// The reason, in words for the agent.
        message: String,
    },
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The agent did what it could. `answer` is the CLI's own result text where it names one.
    Completed {
        /// The whole answer as the CLI itself states it at the end, if it does.
        answer: Option<String>,
    },
    /// The agent answers with a bare message; no task is needed for it.
    Replied {
        /// The message.
        text: String,
    },
    /// The agent wants words from the caller; the next message of the task continues it.
    InputRequired {
        /// The question.
        question: String,
        /// The question as data (options, a form), if there is more than text.
        data: Option<Value>,
    },
    /// The agent needs credentials that the caller must provide out of band.
    AuthRequired {
        /// What is needed.
        message: String,
    },
    /// The agent refuses this work.
    Rejected {
        /// Why.
        message: String,
    },
    /// The interrupt was confirmed.
    Canceled,
    /// The agent failed; the task carries its last words.
    Failed {
        /// What happened, in the agent's words where it had any.
        message: String,
        /// What somebody can do about it.
        hint: Option<String>,
    },
    /// The CLI does not know the conversation that was to be resumed: start a new one.
    ConversationLost,
}

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, if it exited by itself.
    pub code: Option<i32>,
    /// The signal, if it was ended by one.
    pub signal: Option<i32>,
    /// The last words on standard error (bounded, valid UTF-8).
    pub stderr: String,
}

/// Why a turn cannot be given to this agent. The caller can act on it; nothing ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Refusal {
    /// The turn has neither text nor an image that the agent can read.
    pub(crate) fn nothing_to_read() -> Self {
        let advice = "add a text part";
        Self(format!("the message holds no text and no image that the agent can read; {advice}"))
    }
}

/// The dialect of one CLI.
pub trait Driver: Send {
    /// Describes the process. `turn` is given where the process is started for a turn; a driver of
    /// [`Life::Session`] ignores it. A [`Refusal`] says what the caller or the operator must change.
    fn launch(&mut self, setting: &Setting, turn: &Turn) -> Result<Launch, Refusal>;

    /// Checks a turn without starting anything; called before a task is accepted.
    fn check(&self, turn: &Turn) -> Result<(), Refusal>;

    /// A turn begins: the process is up.
    fn begin(&mut self, turn: &Turn) -> Vec<Step>;

    /// A line of standard output, without its newline ([`Output::Lines`]).
    fn line(&mut self, line: &[u8]) -> Vec<Step>;

    /// Some bytes of standard output ([`Output::Bytes`]).
    fn chunk(&mut self, _bytes: &[u8]) -> Vec<Step> {
        Vec::new()
    }

    /// An answer to an ask.
    fn answer(&mut self, ask: &str, answer: &Answer) -> Vec<Step>;

    /// The time of a [`Step::Wake`] with this timer has come.
    fn woke(&mut self, _timer: Timer) -> Vec<Step> {
        Vec::new()
    }

    /// The turn is to be interrupted. No steps means that this CLI cannot: the house ends the process.
    fn interrupt(&mut self) -> Vec<Step>;

    /// The process has ended and its output is read to the end. Ends an open turn.
    fn exit(&mut self, exit: &Exit) -> Vec<Step>;

    /// Whether the turn that has just failed may be given again as it was: an overloaded model API (429,
    /// 529) refused it, and the agent had neither said nor done anything.
    fn may_repeat(&self) -> bool {
        false
    }

    /// Where the CLI keeps the transcript of a conversation, relative to HOME; one path component
    /// may be `*`. None where it keeps none, or where it cannot be checked.
    fn transcript(&self, _conversation: &str) -> Option<String> {
        None
    }

    /// What goes on in the background of the process, between its turns as well: one line for each.
    fn background(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether hooks of the CLI's settings run that it waits for.
    fn runs_hooks(&self) -> bool {
        false
    }

    /// First words for a process that is started before there is a turn for it, so that it gets ready.
    fn ahead(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// A process that answers this without a model; for what the CLI offers its first words are [`Driver::ahead`]. None
    /// where the CLI cannot say it.
    fn launch_inquiry(&mut self, _setting: &Setting, _inquiry: Inquiry) -> Option<Launch> {
        None
    }

    /// What the CLI says in this line that it offers, or why it does not; none where the line is about something else.
    fn read_inventory(&self, _line: &[u8]) -> Option<Result<Inventory, String>> {
        None
    }

    /// What the CLI lacks of what this driver uses, by its own help, a sentence each; none where that does not tell.
    fn read_help(&self, _help: &str) -> Option<Vec<String>> {
        None
    }

    /// The CLI's own terminal on the conversation to resume, for a person; none where it has none.
    fn terminal(&self, _setting: &Setting) -> Option<Launch> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_count_as_what_they_take_in_memory() {
        assert!(memory_of(&serde_json::json!(vec![1; 1000])) >= 1000 * size_of::<Value>());
    }
}

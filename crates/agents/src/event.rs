//! All that any agent may say: the one vocabulary that every driver translates its CLI into.

use crate::setup::SetupEvidence;
use serde_json::Value;

/// Something an agent said during a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A piece of the answer, as it comes.
    Text(String),
    /// A piece of the agent's thinking.
    Thought(String),
    /// A short line on what the agent is doing now ("reading 3 files").
    Status {
        /// The line for people.
        text: String,
        /// More of it, as data.
        data: Option<Value>,
    },
    /// A tool was called.
    ToolCall {
        /// The CLI's id of this call.
        id: String,
        /// The tool's name.
        name: String,
        /// Its input.
        input: Value,
    },
    /// A tool answered.
    ToolResult {
        /// The id of the call.
        id: String,
        /// What it printed or returned, as text (bounded by the driver).
        content: String,
        /// Whether it failed or was denied.
        is_error: bool,
    },
    /// A file that a tool produced beside its text: a picture, say.
    ToolFile {
        /// The id of the call.
        id: String,
        /// The bytes in base64 (standard alphabet).
        base64: String,
        /// Its media type.
        media_type: Option<String>,
    },
    /// A plan or to-do list.
    Plan(Value),
    /// An artifact beside the answer: a file, a link, or data.
    Artifact(Artifact),
    /// A whole message to the caller, kept in the task's history apart from the answer.
    Message(String),
    /// What the turn has used so far; a later one replaces an earlier one.
    Usage(Usage),
    /// Something of the agent's set-up does not work, or works again; kept with the task.
    Problem(Problem),
    /// How far each thing has come that the operator declares for the agent; a later one replaces an earlier one.
    Setup(Vec<SetupEvidence>),
    /// What this version of the driver does not know; counted, never shown to a caller.
    Raw(Value),
}

/// Something of an agent's set-up that does not work: an MCP server, a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is: `mcp-server`, `hook`, `setup`.
    pub kind: &'static str,
    /// Which one.
    pub subject: String,
    /// Its state, in the CLI's word.
    pub state: String,
    /// Why, in the CLI's words.
    pub detail: Option<String>,
    /// The line for people.
    pub text: String,
    /// Whether it works again.
    pub is_solved: bool,
}

/// An artifact that an agent hands over.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// The agent's own id for it; chunks of one artifact share it.
    pub id: Option<String>,
    /// Its name (`answer` is taken by the answer itself).
    pub name: Option<String>,
    /// One line on what it is.
    pub description: Option<String>,
    /// What it holds.
    pub content: Content,
    /// Whether it continues an artifact with the same id.
    pub append: bool,
    /// Whether nothing more of it follows.
    pub last: bool,
}

/// What an artifact holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// A file by value, base64 (standard alphabet).
    Raw {
        /// The bytes in base64.
        base64: String,
        /// Its name.
        filename: Option<String>,
        /// Its media type.
        media_type: Option<String>,
    },
    /// A file by address.
    Url {
        /// Where it is.
        url: String,
        /// Its name.
        filename: Option<String>,
        /// Its media type.
        media_type: Option<String>,
    },
    /// JSON.
    Data(Value),
}

/// What a turn has used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Input tokens, without cached ones.
    pub input_tokens: Option<u64>,
    /// Output tokens.
    pub output_tokens: Option<u64>,
    /// Input tokens read from a cache.
    pub cache_read_tokens: Option<u64>,
    /// Input tokens written to a cache.
    pub cache_write_tokens: Option<u64>,
    /// Cost of this turn in US dollars, as the CLI states or estimates it.
    pub cost_usd: Option<f64>,
    /// The model that answered.
    pub model: Option<String>,
    /// Model turns within this one turn of ours.
    pub turns: Option<u64>,
}

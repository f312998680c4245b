//! Claude Code, native and long-lived: one process serves many turns of a session.
//!
//! # How it works
//!
//! Prompts go in on stdin as lines of `stream-json`, events come out the same way; permissions and
//! questions are control requests that wait for our answer. A turn ends with a `result` line, judged
//! by its `is_error`. Every turn begins with a `system/init`, by which what is left of an
//! interrupted turn is told from the next one.
//!
//! # Pitfalls
//!
//! - Messages sent while the CLI is busy are merged into one turn: the house sends one at a time.
//! - The CLI can begin a turn by itself (a schedule, work in the background that ended). Our message
//!   carries a `uuid`, and while the CLI reports it as queued, what it says is not our turn's. Which of
//!   these turns belong to ours: see `background`.
//! - A text that begins with `/` is a command of the CLI; any character before the slash makes it text.
//!   `--disable-slash-commands` is not a guard: it takes skills, commands and plugins from the model too.
//! - `total_cost_usd` counts from the start of the process.

mod ask;
mod background;
mod elicitation;
mod failure;
mod hear;
mod hooks;
mod inventory;
mod limits;
mod mcp;
mod message;
mod plan;
mod prompt;
mod result;
mod setup;
mod so_far;
mod trust;
mod verdict;
mod wire;

use crate::{
    Answer, Driver, Event, Exit, Inquiry, Inventory, LONGEST_ID, Launch, Life, Outcome, Output,
    Refusal, Setting, Step, Timer, Turn, Usage,
};
use ask::Pending;
pub use background::BackgroundEnd;
use background::{Background, HeldResult};
pub use inventory::TESTED_VERSIONS;
pub use plan::PERMISSION_MODES;
pub use prompt::IMAGE_TYPES;
use prompt::{content, has_images, message_uuid, respond, write};
use serde_json::{Value, json};
pub use setup::{ClaudeSetup, REFUSED_SETTINGS, mcp_file, telemetry_switches};
use so_far::SoFar;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;
pub use trust::{STATE_FILE, forget_keys, skip_setup, trust_projects};

/// Tools by which the CLI would begin a turn by itself; not offered to the model by default.
///
/// `Cron*` and `ScheduleWakeup` set a time at which it goes on, `Monitor` lets a condition wake it:
/// words that no task is waiting for, and work that nobody asked for.
pub const SELF_WAKING_TOOLS: &[&str] =
    &["CronCreate", "CronDelete", "CronList", "ScheduleWakeup", "Monitor"];

/// Refused tool calls that are remembered in one turn.
const REFUSED: usize = 256;

/// Arguments that the driver lives by; an operator who sets them too would break it.
const RESERVED: &[&str] = &[
    "--input-format",
    "--output-format",
    "--permission-prompt-tool",
    "--session-id",
    "--resume",
    "-r",
    "--continue",
    "-c",
    "--fork-session",
];

/// The id of the request by which a process gets ready before its first turn.
const AHEAD: &str = "ahead";

/// Servers that the session's script added to the project need no prompt of their own. What plan mode does not allow
/// is asked about: without this it is refused, because the check of `auto` does not run here.
const SETTINGS: &str = r#"{"enableAllProjectMcpServers":true,"useAutoModeDuringPlan":false}"#;

/// How Claude Code is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaudeOptions {
    /// The program: an absolute path, or a name to be found on PATH.
    pub program: String,
    /// Further arguments, appended to ours (what stood after `--` on our command line).
    pub args: Vec<String>,
    /// `--permission-mode`: `default`, `acceptEdits`, `plan`, `dontAsk` or `bypassPermissions`.
    pub permission_mode: String,
    /// How often the CLI may repeat a failed call of the model API.
    pub max_retries: u32,
    /// Tools that the CLI must not offer to the model.
    pub disallowed_tools: Vec<String>,
    /// Whether text comes in pieces as the model writes it; in whole blocks otherwise.
    pub partial_messages: bool,
    /// `--model`.
    pub model: Option<String>,
    /// `--effort`.
    pub effort: Option<String>,
    /// `--append-system-prompt`: words for the model after the CLI's own prompt.
    pub system_prompt: Option<String>,
    /// How long the first prompt of a process waits for the CLI's MCP servers; zero does not ask for them.
    pub server_wait: Duration,
    /// MCP servers without which no turn begins.
    pub required_servers: Vec<String>,
    /// What the operator declares for it.
    pub setup: ClaudeSetup,
    /// Whether to tell the CLI that it is confined (`IS_SANDBOX=1`), so that it accepts
    /// `bypassPermissions` as root.
    pub sandboxed: bool,
    /// Whether subagents and commands may run in the background; where not, each is waited for by the
    /// tool call that starts it.
    pub background: bool,
    /// How long commands that the model started in the background are waited for when it has ended.
    pub background_grace: Duration,
    /// What is done with them then.
    pub background_end: BackgroundEnd,
    /// How long the CLI may take to report what has ended in the background, and to stop what it is told to.
    pub background_patience: Duration,
    /// How long one command may run where none runs in the background.
    pub command_timeout: Duration,
}

impl Default for ClaudeOptions {
    fn default() -> Self {
        Self {
            program: "claude".to_owned(),
            args: Vec::new(),
            permission_mode: "acceptEdits".to_owned(),
            max_retries: 3,
            disallowed_tools: SELF_WAKING_TOOLS.iter().map(|&tool| tool.to_owned()).collect(),
            partial_messages: true,
            model: None,
            effort: None,
            system_prompt: None,
            server_wait: Duration::ZERO,
            required_servers: Vec::new(),
            setup: ClaudeSetup::default(),
            sandboxed: false,
            background: true,
            background_grace: Duration::from_secs(10),
            background_end: BackgroundEnd::Keep,
            background_patience: Duration::from_secs(5),
            command_timeout: Duration::from_secs(600),
        }
    }
}

/// The driver of one Claude Code process.
#[derive(Debug)]
pub struct Claude {
    options: ClaudeOptions,
    phase: Phase,
    turn: TurnState,
    /// Asks that wait for an answer, by the CLI's request id.
    pending: BTreeMap<String, Pending>,
    servers: mcp::Servers,
    conversation: Option<String>,
    model: Option<String>,
    ready: bool,
    /// Whether the last turn was interrupted: words of it may still come.
    after_interrupt: bool,
    /// Whether the CLI said before the first turn that it does not know the conversation.
    lost: bool,
    /// Whether the last turn was refused by an overloaded model API before anything came of it.
    refused: bool,
    /// The process's cost in US dollars up to the last result.
    total_cost: f64,
    background: Background,
    /// What turns that the CLI began between ours have used.
    between: Usage,
    /// Whether the CLI says which messages of ours begin a turn.
    names_messages: bool,
    unknown: u64,
    requests: u64,
}

/// Whose words the CLI is saying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No turn of ours is open.
    Idle,
    /// A turn is open, but what comes before its `init` belongs to an earlier turn or to one that the CLI began by
    /// itself.
    AwaitInit,
    /// A turn is open, but the CLI is still busy with one that it began by itself.
    AwaitStart,
    /// The open turn's.
    Open,
}

/// What is remembered within one turn.
#[derive(Debug, Default)]
struct TurnState {
    /// The id that our message carries.
    uuid: String,
    /// Whether the CLI has shown that it works on this turn.
    begun: bool,
    interrupted: bool,
    /// The model's message that is being read.
    message: Option<String>,
    /// Whether text or thoughts of that message came in pieces, so that its blocks repeat them.
    streamed: bool,
    /// Whether text was said, and whether the next text belongs to a new message.
    said: bool,
    fresh: bool,
    /// Whether anything came of the turn: words, thoughts, a tool call, an ask.
    acted: bool,
    hooks: hooks::Hooks,
    /// What it has used up to its last result.
    spent: Usage,
    /// What its messages have used since.
    so_far: SoFar,
    /// Whether anything ran in the background.
    has_background: bool,
    /// What it has come to so far, where work in the background is waited for.
    held: Option<HeldResult>,
    /// What the model API answered when the CLI last had to try again.
    api_status: Option<u64>,
    /// An error of the model API that the CLI has told, and that is not told here yet.
    api_error: Option<String>,
    /// Tool calls whose refusal is known already.
    refused: BTreeSet<String>,
}

impl TurnState {
    /// The model begins to speak again after a result.
    fn begin_reply(&mut self) {
        (self.message, self.streamed, self.fresh) = (None, false, true);
    }

    /// Remembers that this tool call was refused.
    fn refuse(&mut self, tool_use: String) {
        if tool_use.len() <= LONGEST_ID {
            self.refused.insert(tool_use);
        }
        if self.refused.len() > REFUSED {
            self.refused.pop_first();
        }
    }
}

impl Claude {
    /// A driver for one process.
    #[must_use]
    pub fn new(options: ClaudeOptions) -> Self {
        Self {
            options,
            phase: Phase::Idle,
            turn: TurnState::default(),
            pending: BTreeMap::new(),
            servers: mcp::Servers::default(),
            conversation: None,
            model: None,
            ready: false,
            after_interrupt: false,
            lost: false,
            refused: false,
            total_cost: 0.0,
            background: Background::default(),
            between: Usage::default(),
            names_messages: false,
            unknown: 0,
            requests: 0,
        }
    }

    /// How many messages of types unknown to this version have come so far.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Ends the open turn. Its asks are withdrawn, and declined, because the CLI waits for an answer to each.
    fn end(&mut self, outcome: Outcome) -> Vec<Step> {
        self.phase = Phase::Idle;
        self.take_back_prompt();
        let turn = mem::take(&mut self.turn);
        self.after_interrupt = turn.interrupted;
        let failed = matches!(outcome, Outcome::Failed { .. });
        self.refused = failed && !turn.acted && matches!(turn.api_status, Some(429 | 529));
        let asks = mem::take(&mut self.pending);
        let declined = Answer::Deny { message: "the turn has ended".to_owned() };
        let close = |(id, pending): (String, Pending)| {
            let answer = respond(&id, &pending.response(&declined));
            [Step::Withdraw(id), answer]
        };
        asks.into_iter().flat_map(close).chain([Step::End(outcome)]).collect()
    }

    fn interrupt_request(&mut self) -> Step {
        self.control_request("interrupt", &json!({ "subtype": "interrupt" }))
    }

    fn control_request(&mut self, name: &str, request: &Value) -> Step {
        self.requests += 1;
        write(&json!({
            "type": "control_request",
            "request_id": format!("{name}-{}", self.requests),
            "request": request,
        }))
    }
}

impl Claude {
    /// What the CLI's environment holds beside what every agent has.
    fn env(&self, setting: &Setting) -> Vec<(String, String)> {
        let options = &self.options;
        let retries = options.max_retries.to_string();
        let config = format!("{}/.claude", setting.home.trim_end_matches('/'));
        let mut env: Vec<(String, String)> = [
            ("CLAUDE_CONFIG_DIR", config.as_str()),
            ("CLAUDE_CODE_MAX_RETRIES", &retries),
            ("CLAUDE_CODE_DISABLE_CRON", "1"),
            // By which it is known when nothing of a turn goes on in the background.
            ("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_TELEMETRY", "1"),
            ("DISABLE_ERROR_REPORTING", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        if !options.server_wait.is_zero() {
            // What has not connected by then has failed, instead of coming in the middle of a turn.
            env.push(("MCP_TIMEOUT".to_owned(), options.server_wait.as_millis().to_string()));
        }
        if options.sandboxed {
            env.push(("IS_SANDBOX".to_owned(), "1".to_owned()));
        }
        if !options.background {
            // A command that takes longer would be ended, where it would have been moved to the background.
            let longest = options.command_timeout.as_millis().to_string();
            env.extend(
                [
                    ("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1"),
                    ("BASH_DEFAULT_TIMEOUT_MS", &longest),
                    ("BASH_MAX_TIMEOUT_MS", &longest),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
        }
        env
    }
}

impl Driver for Claude {
    fn launch(&mut self, setting: &Setting, _turn: &Turn) -> Result<Launch, Refusal> {
        // What is remembered is a process's: a further one begins anew.
        *self = Self { unknown: self.unknown, ..Self::new(self.options.clone()) };
        let options = &self.options;
        let reserved = |arg: &&String| {
            RESERVED.contains(&arg.split_once('=').map_or(arg.as_str(), |(name, _)| name))
        };
        if let Some(arg) = options.args.iter().find(reserved) {
            return Err(Refusal(format!(
                "`{arg}` is set by the claude driver; remove it from the agent's arguments"
            )));
        }
        let mut args: Vec<String> =
            ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
                .map(ToOwned::to_owned)
                .to_vec();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
        if options.partial_messages {
            add(&["--include-partial-messages"]);
        }
        add(&["--permission-prompt-tool", "stdio", "--permission-mode", &options.permission_mode]);
        // Without these a hook that fails, takes long or ends a turn says nothing.
        add(&["--include-hook-events"]);
        if !options.disallowed_tools.is_empty() {
            add(&["--disallowedTools", &options.disallowed_tools.join(",")]);
        }
        add(&["--settings", &options.setup.settings(SETTINGS)]);
        if let Some(model) = &options.model {
            add(&["--model", model]);
        }
        if let Some(effort) = &options.effort {
            add(&["--effort", effort]);
        }
        if let Some(prompt) = &options.system_prompt {
            add(&["--append-system-prompt", prompt]);
        }
        match &setting.resume {
            Some(conversation) if setting.fork => add(&[
                "--resume",
                conversation,
                "--fork-session",
                "--session-id",
                &setting.new_conversation,
            ]),
            Some(conversation) => add(&["--resume", conversation]),
            None => add(&["--session-id", &setting.new_conversation]),
        }
        args.extend(options.setup.plugin_args());
        args.extend(options.setup.mcp_args());
        args.extend(options.args.iter().cloned());

        let env = self.env(setting);
        Ok(Launch {
            program: options.program.clone(),
            args,
            env,
            life: Life::Session,
            output: Output::Lines,
        })
    }

    fn check(&self, turn: &Turn) -> Result<(), Refusal> {
        if turn.text.trim().is_empty() && !has_images(turn) && turn.command.is_none() {
            return Err(Refusal::nothing_to_read());
        }
        Ok(())
    }

    fn begin(&mut self, turn: &Turn) -> Vec<Step> {
        // Lines of a turn that the CLI began by itself may not have been read yet.
        let is_after_interrupt = mem::take(&mut self.after_interrupt);
        self.phase = match is_after_interrupt || self.names_messages {
            true => Phase::AwaitInit,
            false => Phase::Open,
        };
        self.requests += 1;
        self.turn = TurnState {
            uuid: message_uuid(turn, (self.requests, &self.conversation)),
            has_background: self.background.is_running(),
            ..TurnState::default()
        };
        self.background.begin_turn();
        if self.lost {
            return self.end(Outcome::ConversationLost);
        }
        // What was asked between two turns is asked in this one.
        let asks = self.pending.iter().map(|(id, pending)| Step::Ask(pending.ask(id)));
        let mut steps: Vec<_> = asks.collect();
        let prompt = write(&json!({
            "type": "user",
            "message": { "role": "user", "content": content(turn) },
            "parent_tool_use_id": null,
            "session_id": "",
            "uuid": self.turn.uuid,
        }));
        steps.extend(self.send_prompt(prompt));
        steps
    }

    fn line(&mut self, line: &[u8]) -> Vec<Step> {
        let steps = self.hear(line);
        self.turn.acted |= steps.iter().any(is_act);
        steps
    }

    fn answer(&mut self, ask: &str, answer: &Answer) -> Vec<Step> {
        let Some(pending) = self.pending.remove(ask) else {
            return Vec::new();
        };
        let response = pending.response(answer);
        if let (Answer::Deny { .. }, Pending::Tool(pending)) = (answer, pending) {
            self.turn.refuse(pending.tool_use_id);
        }
        vec![respond(ask, &response)]
    }

    fn woke(&mut self, timer: Timer) -> Vec<Step> {
        match timer {
            Timer::Servers => self.wait_for_servers(),
            Timer::Hooks => self.report_slow_hooks(),
            Timer::Background => self.grace_ends(),
            Timer::Handshake | Timer::Replay => Vec::new(),
        }
    }

    fn interrupt(&mut self) -> Vec<Step> {
        if self.phase == Phase::Idle {
            return Vec::new();
        }
        // One that acts without a prompt is not left as it is.
        if !self.turn.acted && self.take_back_prompt() {
            return self.end(Outcome::Canceled);
        }
        self.turn.interrupted = true;
        self.give_up_held();
        vec![self.interrupt_request()]
    }

    fn exit(&mut self, exit: &Exit) -> Vec<Step> {
        if self.phase == Phase::Idle {
            return Vec::new();
        }
        let outcome = match failure::of_exit(&self.options.program, exit, self.turn.api_status) {
            Outcome::Failed { .. } if self.turn.interrupted => Outcome::Canceled,
            Outcome::Failed { message, hint } => match self.turn.api_error.take() {
                Some(words) => {
                    Outcome::Failed { message: format!("{message}; it had said: {words}"), hint }
                }
                None => Outcome::Failed { message, hint },
            },
            outcome => outcome,
        };
        let mut steps = self.end(outcome);
        steps.retain(|step| !matches!(step, Step::Write(_)));
        steps
    }

    fn ahead(&mut self) -> Vec<u8> {
        // It loads its settings, plugins and servers for this, and answers before any model is called.
        let request = json!({
            "type": "control_request",
            "request_id": AHEAD,
            "request": {"subtype": "initialize"},
        });
        format!("{request}\n").into_bytes()
    }

    fn launch_inquiry(&mut self, setting: &Setting, inquiry: Inquiry) -> Option<Launch> {
        self.inquire(setting, inquiry)
    }

    fn read_inventory(&self, line: &[u8]) -> Option<Result<Inventory, String>> {
        inventory::read(line, AHEAD)
    }

    fn read_help(&self, help: &str) -> Option<Vec<String>> {
        inventory::missing_options(help)
    }

    fn terminal(&self, setting: &Setting) -> Option<Launch> {
        let options = &self.options;
        let mut args = vec!["--resume".to_owned(), setting.resume.clone()?];
        args.extend(["--permission-mode".to_owned(), options.permission_mode.clone()]);
        if let Some(model) = &options.model {
            args.extend(["--model".to_owned(), model.clone()]);
        }
        if !options.setup.settings.is_empty() {
            let settings = Value::Object(options.setup.settings.clone());
            args.extend(["--settings".to_owned(), settings.to_string()]);
        }
        args.extend(options.setup.plugin_args().chain(options.setup.mcp_args()));
        args.extend(options.args.iter().cloned());
        Some(Launch {
            program: options.program.clone(),
            args,
            env: self.env(setting),
            life: Life::Session,
            output: Output::Bytes,
        })
    }

    fn may_repeat(&self) -> bool {
        self.refused
    }

    fn background(&self) -> Vec<String> {
        self.background.running()
    }

    fn runs_hooks(&self) -> bool {
        self.turn.hooks.are_running()
    }

    fn transcript(&self, conversation: &str) -> Option<String> {
        let is_id = !conversation.is_empty()
            && conversation.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_id.then(|| format!(".claude/projects/*/{conversation}.jsonl"))
    }
}

/// Whether a step shows that the agent has begun to answer or to work.
fn is_act(step: &Step) -> bool {
    match step {
        Step::Say(event) => !matches!(
            event,
            Event::Status { .. }
                | Event::Problem(_)
                | Event::Setup(_)
                | Event::Usage(_)
                | Event::Raw(_)
        ),
        Step::Ask(_) => true,
        Step::Withdraw(_)
        | Step::Ready
        | Step::Conversation(_)
        | Step::Write(_)
        | Step::CloseInput
        | Step::Wake(..)
        | Step::Limited(_)
        | Step::WithinLimits
        | Step::End(_) => false,
    }
}

#[cfg(test)]
mod tests;

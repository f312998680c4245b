//! Any agent that speaks the Agent Client Protocol (protocol version 1): JSON-RPC, an object a line.
//!
//! # How it works
//!
//! One process serves many turns of a session. With the first turn it is shaken hands with:
//! `initialize`, `authenticate` where the agent asks for it, `session/new` (or `session/resume`, or
//! `session/load`, by what it offers;
//! `session/fork` where the conversation is to stay as it is), then mode and model where they are configured. What is still
//! to be done follows from what has succeeded (`Acp::advance`), so a turn that failed on the way
//! leaves the next one to go on from there. A turn is one `session/prompt`; its response ends it.
//!
//! The messages are types of our own. The official schema crate was looked at: 1.9 MB of source
//! for two versions of the protocol, with `schemars`, `serde_with`, `strum` and `derive_more`
//! below it and enums that a kind of update from next year does not fit into; read here are some
//! thirty fields, and what is unknown stays whole as [`crate::Event::Raw`].
//!
//! # Pitfalls
//!
//! - Every agent runs a text that begins with `/` as a command of its own, and some trim it first,
//!   so that a space or newline before it does not help. A zero-width space does, with all of them.
//! - The protocol has no place for the reason of a refusal and none for a changed input: a denied
//!   tool is refused without words, and a tool whose input was changed does not run.
//! - Some agents report a failure of the model API as text and end the turn as if all were well:
//!   Codex tells it beside the text, Copilot does not.
//! - Gemini answers `session/load` before it has repeated the history, which would run into the
//!   answer: the prompt waits until the agent is silent.
//! - `cost` counts from the start of the session, in one agent so do the tokens.

mod ask;
mod failure;
mod handshake;
mod hear;
pub mod preset;
mod prompt;
mod session;
mod setup;
mod tool;
mod usage;
mod wire;

use crate::{
    Answer, Driver, Exit, Launch, Life, Outcome, Output, Refusal, Setting, Step, Timer, Turn,
};
use ask::PendingAsk;
use handshake::{Call, Login};
use serde_json::{Value, json};
use session::Session;
pub use setup::{AcpSetup, Variables};
use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;
use usage::Totals;

/// How long an agent may take until its session is open; starting one is all computing, and many
/// may start at a time.
const HANDSHAKE: Duration = Duration::from_secs(180);

/// How long an agent must be silent after `session/load` before it gets the prompt.
const SILENCE: Duration = Duration::from_millis(200);

/// How an agent is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcpOptions {
    /// The program: an absolute path, or a name to be found on PATH.
    pub program: String,
    /// Its arguments, those that make it speak the protocol included.
    pub args: Vec<String>,
    /// Variables on top of what the house gives every agent.
    pub env: Vec<(String, String)>,
    /// How to sign in when the agent asks for it: the id that it gives the method.
    pub auth_method: Option<String>,
    /// The mode that a session is put into, by id or name.
    pub mode: Option<String>,
    /// The model that a session is put to, by id or name.
    pub model: Option<String>,
    /// Variables any of which holds the credential; named in the advice when there is none.
    pub credentials: Vec<String>,
    /// What the operator declares for it.
    pub setup: AcpSetup,
}

/// The driver of one agent process.
#[derive(Debug)]
pub struct Acp {
    options: AcpOptions,
    setting: Setting,
    /// The request of ours that waits for its response; one at a time.
    awaiting: Option<(u64, Call)>,
    requests: u64,
    /// What `initialize` told.
    agent: Option<Agent>,
    login: Login,
    session: Option<Session>,
    /// A session was loaded and its history may still come; whether some came lately.
    settling: Option<bool>,
    ready: bool,
    turn: Option<TurnState>,
    /// Asks that wait for an answer, by our id.
    pending: BTreeMap<String, PendingAsk>,
    asks: u64,
    totals: Totals,
    unknown: u64,
}

/// What an agent said of itself.
#[derive(Debug, Default)]
struct Agent {
    name: String,
    loads: bool,
    resumes: bool,
    forks: bool,
    images: bool,
    mcp_http: bool,
    mcp_sse: bool,
    auth_methods: Vec<String>,
}

/// What is remembered within one turn.
#[derive(Debug, Default)]
struct TurnState {
    prompt: Turn,
    /// Whether the agent has the prompt.
    sent: bool,
    interrupted: bool,
    /// The message that is being said, where the agent numbers them.
    message: Option<String>,
    /// Whether text was said, and whether it ended with a line.
    said: bool,
    line_ended: bool,
    /// Whether the agent reported a failure of its own beside the text.
    broken: bool,
    /// The last words that belong to none of its messages, where it numbers them.
    notice: String,
    tools: tool::Tools,
    tokens: usage::Tokens,
}

impl Acp {
    /// A driver for one process.
    #[must_use]
    pub fn new(options: AcpOptions) -> Self {
        Self {
            options,
            setting: Setting::default(),
            awaiting: None,
            requests: 0,
            agent: None,
            login: Login::Unasked,
            session: None,
            settling: None,
            ready: false,
            turn: None,
            pending: BTreeMap::new(),
            asks: 0,
            totals: Totals::default(),
            unknown: 0,
        }
    }

    /// How many lines that this version does not know have come so far.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    fn call(&mut self, call: Call, params: &Value) -> Step {
        self.requests += 1;
        self.awaiting = Some((self.requests, call));
        wire::request(self.requests, call.method(), params)
    }

    /// Ends the open turn; its asks are no longer wanted.
    fn end(&mut self, outcome: Outcome) -> Vec<Step> {
        let Some(turn) = self.turn.take() else {
            return Vec::new();
        };
        let calls = turn.tools.untold().into_iter().map(Step::Say);
        let asks = mem::take(&mut self.pending);
        calls.chain(asks.into_keys().map(Step::Withdraw)).chain([Step::End(outcome)]).collect()
    }
}

impl Driver for Acp {
    fn launch(&mut self, setting: &Setting, _turn: &Turn) -> Result<Launch, Refusal> {
        // What is remembered is a process's: a further one begins anew.
        *self = Self {
            unknown: self.unknown,
            setting: setting.clone(),
            ..Self::new(self.options.clone())
        };
        Ok(Launch {
            program: self.options.program.clone(),
            args: self.options.args.clone(),
            env: self.options.env.clone(),
            life: Life::Session,
            output: Output::Lines,
        })
    }

    fn check(&self, turn: &Turn) -> Result<(), Refusal> {
        if turn.text.trim().is_empty() && turn.images.is_empty() {
            return Err(Refusal::nothing_to_read());
        }
        Ok(())
    }

    fn ahead(&mut self) -> Vec<u8> {
        // What comes after `initialize` depends on its answer, which is read when there is a turn.
        match self.next().map(|(call, params)| self.call(call, &params)) {
            Ok(Step::Write(bytes)) => bytes,
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    fn begin(&mut self, turn: &Turn) -> Vec<Step> {
        self.turn = Some(TurnState { prompt: turn.clone(), ..TurnState::default() });
        let mut steps = match self.session {
            Some(_) => self.report_setup(),
            None => Vec::new(),
        };
        steps.extend(self.advance());
        if self.settling.is_some() {
            steps.push(Step::Wake(Timer::Replay, SILENCE));
        } else if self.session.is_none() {
            steps.push(Step::Wake(Timer::Handshake, HANDSHAKE));
        }
        steps
    }

    fn line(&mut self, line: &[u8]) -> Vec<Step> {
        self.hear(line)
    }

    fn answer(&mut self, ask: &str, answer: &Answer) -> Vec<Step> {
        let Some(pending) = self.pending.remove(ask) else {
            return Vec::new();
        };
        pending.answered(answer)
    }

    fn woke(&mut self, timer: Timer) -> Vec<Step> {
        match (timer, self.settling) {
            (Timer::Replay, Some(true)) => {
                self.settling = Some(false);
                return vec![Step::Wake(Timer::Replay, SILENCE)];
            }
            (Timer::Replay, Some(false)) => {
                self.settling = None;
                return self.advance();
            }
            (Timer::Handshake, None) if self.session.is_none() => {}
            _ => return Vec::new(),
        }
        let awaited = self.awaiting.map_or("initialize", |(_, call)| call.method());
        let outcome = failure::silent(&self.options, awaited, HANDSHAKE);
        self.end(outcome)
    }

    /// Before the agent has the prompt there is nothing that it could interrupt: the house ends it.
    fn interrupt(&mut self) -> Vec<Step> {
        let (Some(session), Some(turn)) = (&self.session, &mut self.turn) else {
            return Vec::new();
        };
        if !turn.sent {
            return Vec::new();
        }
        turn.interrupted = true;
        let cancel = wire::notify("session/cancel", &json!({ "sessionId": session.id }));
        let asks = mem::take(&mut self.pending);
        let answers =
            asks.into_iter().flat_map(|(id, pending)| [pending.canceled(), Step::Withdraw(id)]);
        [cancel].into_iter().chain(answers).collect()
    }

    fn exit(&mut self, exit: &Exit) -> Vec<Step> {
        let Some(turn) = &self.turn else {
            return Vec::new();
        };
        let outcome = if turn.interrupted {
            Outcome::Canceled
        } else {
            let awaited = self.awaiting.map(|(_, call)| call);
            failure::of_exit(&self.options, exit, awaited)
        };
        self.end(outcome)
    }
}

#[cfg(test)]
mod tests;

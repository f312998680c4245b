//! Any program as an agent: the message goes in as an argument or on stdin, stdout is the answer.
//!
//! # How it works
//!
//! A process is started for each turn, with `A2A_TASK_ID`, `A2A_CONTEXT_ID`, `A2A_MESSAGE_ID` and `A2A_MESSAGE` in
//! its environment. With [`Format::Text`] its standard output streams as the answer; with
//! [`Format::Events`] each line is an event of the language described in [`events`]. Standard error
//! is kept for failures. Cancelling ends the process: a plain program knows no interrupt.

pub mod events;

use crate::lines::Utf8Stream;
use crate::{
    Answer, Driver, Event, Exit, Launch, Life, Outcome, Output, Refusal, Setting, Step, Turn,
};
use events::Heard;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::mem;

/// The longest message in bytes that Linux takes as one argument: 128 KiB with the closing NUL
/// (`MAX_ARG_STRLEN`).
pub const MAX_ARGUMENT: usize = 128 * 1024 - 1;

/// How a program is run as an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOptions {
    /// The program: an absolute path, or a name to be found on PATH.
    pub program: String,
    /// Its arguments, before the message.
    pub args: Vec<String>,
    /// How it gets the message.
    pub input: Input,
    /// An argument that stands before the message and ends the options, mostly `--`.
    pub terminator: Option<String>,
    /// What it writes on its standard output.
    pub format: Format,
    /// Variables for it, on top of what the house gives every agent.
    pub env: Vec<(String, String)>,
}

/// How a program gets the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// As its last argument.
    #[default]
    Argument,
    /// On its standard input, which is closed after it.
    Stdin,
}

/// What a program writes on its standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The answer, as text.
    #[default]
    Text,
    /// One JSON object a line: see [`events`].
    Events,
}

/// The driver of a plain program; a value serves one turn.
#[derive(Debug)]
pub struct Command {
    options: CommandOptions,
    state: CommandState,
    text: Utf8Stream,
    /// Whether a piece of the answer has been given.
    answered: bool,
    interrupted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommandState {
    /// No turn yet, or the turn is over.
    Idle,
    /// A turn is open.
    Open,
}

impl Command {
    /// A driver for one turn of this program.
    #[must_use]
    pub fn new(options: CommandOptions) -> Self {
        Self {
            options,
            state: CommandState::Idle,
            text: Utf8Stream::default(),
            answered: false,
            interrupted: false,
        }
    }

    fn end(&mut self, outcome: Outcome) -> Step {
        self.state = CommandState::Idle;
        Step::End(outcome)
    }

    fn say(&mut self, event: Event) -> Step {
        self.answered |= matches!(event, Event::Text(_));
        Step::Say(event)
    }

    /// The end of a turn that the program declared itself. Its text is the answer, unless it has
    /// already streamed one: then it is a remark beside it.
    fn declared_end(&mut self, outcome: Outcome) -> Vec<Step> {
        match outcome {
            Outcome::Completed { answer: Some(text) } if self.answered => {
                let remark = self.say(Event::Status { text, data: None });
                vec![remark, self.end(Outcome::Completed { answer: None })]
            }
            outcome => vec![self.end(outcome)],
        }
    }
}

impl Driver for Command {
    fn launch(&mut self, _setting: &Setting, turn: &Turn) -> Result<Launch, Refusal> {
        self.check(turn)?;
        let mut args = self.options.args.clone();
        if self.options.input == Input::Argument {
            args.extend(self.options.terminator.clone());
            args.push(turn.text.clone());
        }
        let ids = [
            ("A2A_TASK_ID", &turn.task_id),
            ("A2A_CONTEXT_ID", &turn.context_id),
            ("A2A_MESSAGE_ID", &turn.message_id),
            ("A2A_MESSAGE", &turn.beside),
        ];
        let mut env = self.options.env.clone();
        env.extend(ids.map(|(name, id)| (name.to_owned(), id.clone())));
        let output = match self.options.format {
            Format::Text => Output::Bytes,
            Format::Events => Output::Lines,
        };
        Ok(Launch { program: self.options.program.clone(), args, env, life: Life::Turn, output })
    }

    fn check(&self, turn: &Turn) -> Result<(), Refusal> {
        if [&turn.task_id, &turn.context_id, &turn.message_id].iter().any(|id| id.contains('\0')) {
            return Err(Refusal(
                "an id of the message holds a NUL character; send it without".to_owned(),
            ));
        }
        if self.options.input == Input::Stdin {
            return Ok(());
        }
        let advice = "the server's operator can set `input: stdin` for this agent";
        if turn.text.contains('\0') {
            return Err(Refusal(format!(
                "the message holds a NUL character, which cannot be passed as an argument; leave it out, or {advice}"
            )));
        }
        if turn.text.len() > MAX_ARGUMENT {
            return Err(Refusal(format!(
                "the message has {} bytes, but an argument may have {MAX_ARGUMENT}; shorten it, or {advice}",
                turn.text.len()
            )));
        }
        if turn.text.starts_with('-') && self.options.terminator.is_none() {
            return Err(Refusal(format!(
                "the message begins with `-` and the program could take it for an option; put another character before it, or {advice}, or `terminator: --` if the program knows it"
            )));
        }
        Ok(())
    }

    fn begin(&mut self, turn: &Turn) -> Vec<Step> {
        self.state = CommandState::Open;
        let message = match self.options.input {
            Input::Argument => None,
            Input::Stdin => Some(Step::Write(turn.text.clone().into_bytes())),
        };
        [Some(Step::Ready), message, Some(Step::CloseInput)].into_iter().flatten().collect()
    }

    fn line(&mut self, line: &[u8]) -> Vec<Step> {
        if line.trim_ascii().is_empty() {
            return Vec::new();
        }
        match (events::hear(line), self.state) {
            (Heard::Event(event), CommandState::Open) => vec![self.say(event)],
            (Heard::Nothing, CommandState::Open) => Vec::new(),
            (Heard::End(outcome), CommandState::Open) => self.declared_end(outcome),
            // After the end nothing belongs to the turn any more.
            (_, CommandState::Idle) => {
                vec![Step::Say(Event::Raw(Value::String(
                    String::from_utf8_lossy(line).into_owned(),
                )))]
            }
        }
    }

    fn chunk(&mut self, bytes: &[u8]) -> Vec<Step> {
        match self.text.push(bytes) {
            text if text.is_empty() => Vec::new(),
            text => vec![self.say(Event::Text(text))],
        }
    }

    fn answer(&mut self, _ask: &str, _answer: &Answer) -> Vec<Step> {
        Vec::new()
    }

    fn interrupt(&mut self) -> Vec<Step> {
        self.interrupted = true;
        Vec::new()
    }

    fn exit(&mut self, exit: &Exit) -> Vec<Step> {
        if mem::replace(&mut self.state, CommandState::Idle) == CommandState::Idle {
            return Vec::new();
        }
        let mut steps = Vec::new();
        if let Some(rest) = self.text.finish() {
            steps.push(self.say(Event::Text(rest)));
        }
        let outcome = match exit.code {
            Some(0) => Outcome::Completed { answer: None },
            _ if self.interrupted => Outcome::Canceled,
            _ => {
                Outcome::Failed { message: exit.describe(&self.options.program), hint: exit.hint() }
            }
        };
        steps.push(self.end(outcome));
        steps
    }
}

#[cfg(test)]
mod tests;

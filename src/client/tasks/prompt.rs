//! A person decides there and then: what a task asks is answered by one key at the terminal.
//!
//! # How it works
//!
//! While the terminal waits for a key or a line, it sends no signals: Ctrl-C, Ctrl-D and Ctrl-Z leave the ask
//! open, and the task goes on to wait. What was typed before the question appeared is thrown away, so that no
//! key decides about something that was not seen.

use super::answer::{PersonAnswer, ToolInput, answer_request, describe_decision, input};
use super::ask::Ask;
use crate::client::failure::Failure;
use crate::client::follow::json_safe;
use crate::client::send::OutgoingMessage;
use pilothouse_a2a::task::Task;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use serde_json::Value;
use std::io::{self, Stdin, Write};

/// Ctrl-C, Ctrl-D and Ctrl-Z as a terminal tells them.
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_Z: u8 = 26;

/// What can be decided about a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecisionKey {
    Once,
    Pattern,
    Session,
    Always,
    No,
    Edit,
    View,
}

impl DecisionKey {
    const ALL: [Self; 7] =
        [Self::Once, Self::Pattern, Self::Session, Self::Always, Self::No, Self::Edit, Self::View];

    fn byte(self) -> u8 {
        match self {
            Self::Once => b'y',
            Self::Pattern => b's',
            Self::Session => b'a',
            Self::Always => b'w',
            Self::No => b'n',
            Self::Edit => b'e',
            Self::View => b'v',
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Once => "[y] once",
            Self::Pattern => "[s] for this pattern",
            Self::Session => "[a] this session",
            Self::Always => "[w] always",
            Self::No => "[n] no",
            Self::Edit => "[e] edit",
            Self::View => "[v] view",
        }
    }

    fn is_offered(self, ask: &Ask) -> bool {
        match self {
            Self::Once => ask.offers("allow"),
            Self::Pattern => ask.proposal().is_some(),
            Self::Session => ask.offers("allow_session"),
            Self::Always => ask.is_host() && ask.offers("allow_always"),
            Self::No => ask.offers("deny"),
            // A host has nothing that could be another.
            Self::Edit => ask.offers("allow") && !ask.is_host(),
            Self::View => !ask.is_host(),
        }
    }
}

/// Asks the person at the terminal what a task asks; the message that answers, none where it is left open.
pub(in crate::client) fn ask_person(
    task: &Task,
    ask: &Ask,
) -> Result<Option<OutgoingMessage>, Failure> {
    let said = if ask.is_permission() { decide(ask)? } else { read_answers(ask)? };
    let Some(said) = said else {
        return Ok(None);
    };
    let request = answer_request(ask, &said, &task.id, None).map_err(Failure::usage)?;
    Ok(Some(OutgoingMessage { request, decided: describe_decision(ask, &said, None) }))
}

/// A decision about a permission, by one key.
fn decide(ask: &Ask) -> io::Result<Option<PersonAnswer>> {
    let offered = DecisionKey::ALL.into_iter().filter(|key| key.is_offered(ask));
    let offered: Vec<DecisionKey> = offered.collect();
    let labels: Vec<&str> = offered.iter().map(|key| key.label()).collect();
    let prompt = format!("{}, Ctrl-D leaves it waiting: ", labels.join(" "));
    let bytes: Vec<u8> = offered.iter().map(|key| key.byte()).collect();
    loop {
        let pressed = read_key(&prompt, &bytes)?;
        let key = offered.iter().find(|key| Some(key.byte()) == pressed);
        let allow = |session, input| Ok(Some(PersonAnswer::Allow { session, input }));
        match key {
            Some(DecisionKey::Once) => return allow(false, None),
            Some(DecisionKey::Session) => return allow(true, None),
            Some(DecisionKey::Always) => {
                return Ok(Some(PersonAnswer::Words(vec!["allow_always".to_owned()])));
            }
            Some(DecisionKey::Pattern) => {
                let proposal = ask.proposal().cloned().map(|proposal| proposal.confirm(ask));
                if let Some(pattern) = proposal.transpose()?.flatten() {
                    return Ok(Some(PersonAnswer::AllowPattern(Some(pattern))));
                }
            }
            Some(DecisionKey::No) => {
                let reason = read_line("why not (Enter gives no reason): ")?;
                let reason = reason.map(|reason| Some(reason).filter(|text| !text.is_empty()));
                return Ok(reason.map(PersonAnswer::Deny));
            }
            Some(DecisionKey::Edit) => match read_input(ask.input())? {
                None => return Ok(None),
                Some(Ok(input)) => return allow(false, Some(input)),
                Some(Err(error)) => eprintln!("{error}"),
            },
            Some(DecisionKey::View) => {
                let text = serde_json::to_string_pretty(ask.input()).unwrap_or_default();
                eprintln!("{}", json_safe(&text));
            }
            None => return Ok(None),
        }
    }
}

/// Another input of the tool: a new command where it has one, else all of it as JSON.
fn read_input(old: &Value) -> io::Result<Option<Result<ToolInput, String>>> {
    if old.get("command").is_some_and(Value::is_string) {
        let command = read_line("run this instead: ")?;
        return Ok(command.map(|command| {
            let mut new = old.clone();
            new["command"] = command.into();
            input(&new.to_string())
        }));
    }
    Ok(read_line("the whole input as JSON: ")?.map(|text| input(&text)))
}

/// The answer to each question.
fn read_answers(ask: &Ask) -> io::Result<Option<PersonAnswer>> {
    let count = ask.questions().max(1);
    let mut texts = Vec::new();
    for number in 1..=count {
        let which =
            if count > 1 { format!("answer {number} of {count}") } else { "answer".to_owned() };
        loop {
            match read_line(&format!("{which} (Ctrl-D leaves it waiting): "))? {
                None => return Ok(None),
                Some(text) if text.is_empty() => {}
                Some(text) => {
                    texts.push(text);
                    break;
                }
            }
        }
    }
    Ok(Some(PersonAnswer::Words(texts)))
}

// === the terminal ===

/// A terminal in another mode; the old one comes back.
struct Mode {
    terminal: Stdin,
    before: Termios,
}

impl Mode {
    /// Throws away what was typed before.
    fn set(change: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let terminal = io::stdin();
        let before = tcgetattr(&terminal)?;
        let mut wanted = before.clone();
        wanted.local_modes.remove(LocalModes::ISIG);
        change(&mut wanted);
        tcsetattr(&terminal, OptionalActions::Flush, &wanted)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        // A terminal that is gone has no mode.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

fn show(prompt: &str) -> io::Result<()> {
    let mut errors = io::stderr();
    errors.write_all(prompt.as_bytes())?;
    errors.flush()
}

/// What a pressed key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyPress {
    Offered(u8),
    Leave,
    Nothing,
}

impl KeyPress {
    fn of(byte: u8, offered: &[u8]) -> Self {
        match byte.to_ascii_lowercase() {
            CTRL_C | CTRL_D | CTRL_Z => Self::Leave,
            key if offered.contains(&key) => Self::Offered(key),
            _ => Self::Nothing,
        }
    }
}

/// One of the offered keys, without Enter; none where it was left.
pub(super) fn read_key(prompt: &str, offered: &[u8]) -> io::Result<Option<u8>> {
    let mode = Mode::set(|mode| {
        mode.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
    })?;
    show(prompt)?;
    loop {
        let mut byte = [CTRL_D];
        // Of a terminal that is gone nothing is read, which leaves.
        let _ = rustix::io::retry_on_intr(|| rustix::io::read(&mode.terminal, &mut byte[..]))?;
        match KeyPress::of(byte[0], offered) {
            KeyPress::Nothing => {}
            KeyPress::Leave => {
                eprintln!();
                return Ok(None);
            }
            KeyPress::Offered(key) => {
                eprintln!("{}", char::from(key));
                return Ok(Some(key));
            }
        }
    }
}

/// A line without its end; none where it was left by Ctrl-C, Ctrl-D or Ctrl-Z.
pub(in crate::client) fn read_line(prompt: &str) -> io::Result<Option<String>> {
    let mode = Mode::set(|mode| {
        // Without signals these end the line.
        mode.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        mode.special_codes[SpecialCodeIndex::VEOL2] = CTRL_Z;
    })?;
    show(prompt)?;
    // A terminal gives a line at a time, of 4096 bytes at most.
    let mut line = [0; 4096];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(&mode.terminal, &mut line[..]))?;
    match &line[..count] {
        [text @ .., b'\n'] => Ok(Some(String::from_utf8_lossy(text).trim().to_owned())),
        _ => {
            eprintln!();
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_offered_decides_nothing() {
        let press = |byte| KeyPress::of(byte, b"yn");
        assert_eq!(press(b'Y'), KeyPress::Offered(b'y'));
        assert_eq!((press(b's'), press(b'\n')), (KeyPress::Nothing, KeyPress::Nothing));
        assert_eq!(press(CTRL_C), KeyPress::Leave);
    }
}

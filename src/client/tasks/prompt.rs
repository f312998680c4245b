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
    Session,
    No,
    Edit,
    View,
    Leave,
}

impl DecisionKey {
    fn of(byte: u8, offered: &[Self]) -> Option<Self> {
        let key = match byte.to_ascii_lowercase() {
            b'y' => Self::Once,
            b's' => Self::Session,
            b'n' => Self::No,
            b'e' => Self::Edit,
            b'v' => Self::View,
            CTRL_C | CTRL_D | CTRL_Z => return Some(Self::Leave),
            _ => return None,
        };
        offered.contains(&key).then_some(key)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Once => "[y] once",
            Self::Session => "[s] for the session",
            Self::No => "[n] no",
            Self::Edit => "[e] edit",
            Self::View => "[v] view",
            Self::Leave => "",
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
    let offers = |key: &DecisionKey| match key {
        DecisionKey::Once | DecisionKey::Edit => ask.offers("allow"),
        DecisionKey::Session => ask.offers("allow_session"),
        DecisionKey::No => ask.offers("deny"),
        DecisionKey::View => true,
        DecisionKey::Leave => false,
    };
    let keys = [
        DecisionKey::Once,
        DecisionKey::Session,
        DecisionKey::No,
        DecisionKey::Edit,
        DecisionKey::View,
    ];
    let offered: Vec<DecisionKey> = keys.into_iter().filter(offers).collect();
    let labels: Vec<&str> = offered.iter().map(|key| key.label()).collect();
    loop {
        let key = read_key(&format!("{}, Ctrl-D leaves it waiting: ", labels.join(" ")), &offered)?;
        let allow = |session, input| Ok(Some(PersonAnswer::Allow { session, input }));
        match key {
            DecisionKey::Once => return allow(false, None),
            DecisionKey::Session => return allow(true, None),
            DecisionKey::No => {
                let reason = read_line("why not (Enter gives no reason): ")?;
                let reason = reason.map(|reason| Some(reason).filter(|text| !text.is_empty()));
                return Ok(reason.map(PersonAnswer::Deny));
            }
            DecisionKey::Edit => match read_input(ask.input())? {
                None => return Ok(None),
                Some(Ok(input)) => return allow(false, Some(input)),
                Some(Err(error)) => eprintln!("{error}"),
            },
            DecisionKey::View => {
                let text = serde_json::to_string_pretty(ask.input()).unwrap_or_default();
                eprintln!("{}", json_safe(&text));
            }
            DecisionKey::Leave => return Ok(None),
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

/// One of the offered keys, without Enter.
fn read_key(prompt: &str, offered: &[DecisionKey]) -> io::Result<DecisionKey> {
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
        if let Some(key) = DecisionKey::of(byte[0], offered) {
            eprintln!(
                "{}",
                if key == DecisionKey::Leave {
                    String::new()
                } else {
                    char::from(byte[0]).to_string()
                }
            );
            return Ok(key);
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
        let offered = [DecisionKey::Once, DecisionKey::No];
        assert_eq!(DecisionKey::of(b'Y', &offered), Some(DecisionKey::Once));
        assert_eq!(DecisionKey::of(b's', &offered), None);
        assert_eq!(DecisionKey::of(b'\n', &offered), None);
        assert_eq!(DecisionKey::of(CTRL_C, &offered), Some(DecisionKey::Leave));
    }
}

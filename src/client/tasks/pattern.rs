//! A permission for more than one call: what an ask proposes, in words, and what a person makes of it before it is given.

use super::ask::{Ask, barred, visible};
use super::prompt::{read_key, read_line};
use crate::client::terminal::clean_line;
use crate::config::Age;
use clap::Args;
use serde_json::{Value, json};
use std::io;

/// What stands in the words of a proposal behind the calls that it covers.
const PLACE: &str = ", in this session, ";

/// What a person changes of a proposal.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct PatternChanges {
    /// With `--pattern`: how often at most
    #[arg(long, value_name = "N", requires = "pattern", value_parser = clap::value_parser!(u64).range(1..))]
    uses: Option<u64>,
    /// With `--pattern`: for how long, like `30m`
    #[arg(long = "for", value_name = "TIME", requires = "pattern")]
    ttl: Option<Age>,
}

/// Further calls that an ask proposes to allow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Proposal {
    /// The calls, for people.
    calls: String,
    /// As the server reads it.
    pattern: Value,
    uses: u64,
    ttl: String,
    /// Whether it is not as the ask proposes any more.
    is_changed: bool,
}

impl PatternChanges {
    /// Whether a person has said what is to be allowed.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Proposal {
    /// The proposal of an ask as the server tells it.
    pub(super) fn of_data(data: &Value) -> Option<Self> {
        let proposal = data.get("proposal")?;
        let words = proposal.get("words")?.as_str()?;
        Some(Self {
            calls: words.rsplit_once(PLACE).map_or(words, |(calls, _)| calls).to_owned(),
            pattern: proposal.get("pattern")?.clone(),
            uses: proposal.get("uses")?.as_u64()?,
            ttl: proposal.get("ttl")?.as_str()?.to_owned(),
            is_changed: false,
        })
    }

    /// What it allows, in words.
    pub(super) fn describe(&self) -> String {
        let Self { calls, uses, ttl, .. } = self;
        let times = if *uses == 1 { "once".to_owned() } else { format!("at most {uses} times") };
        clean_line(&visible(&format!("{calls}{PLACE}{times}, for {ttl}")))
    }

    /// The answer that gives it, as the server reads it.
    pub(super) fn decision(&self) -> Value {
        if !self.is_changed {
            return json!({"decision": "allow_pattern"});
        }
        let mut pattern = self.pattern.clone();
        pattern["uses"] = self.uses.into();
        pattern["ttl"] = self.ttl.as_str().into();
        json!({"decision": "allow", "pattern": pattern})
    }

    /// The same with other bounds.
    pub(super) fn change(&mut self, changes: &PatternChanges) {
        self.uses = changes.uses.unwrap_or(self.uses);
        self.ttl = changes.ttl.map_or_else(|| self.ttl.clone(), |ttl| ttl.to_string());
        self.is_changed |= !changes.is_empty();
    }

    /// The same for commands that begin with other words; those of the command that is asked for begin so.
    pub(super) fn begin_with(&mut self, words: &str, ask: &Ask) -> Result<(), String> {
        let old = self.words().ok_or_else(|| {
            format!(
                "only the exact call can be allowed here ({}): words fit a shell command of several words without \
                 operators like `;`, `&&` or `>`; `--pattern` without words allows the exact call again",
                self.describe()
            )
        })?;
        let new = shell_words::split(words).map_err(|error| format!("`{words}`: {error}"))?;
        let command = ask.input().pointer("/rawInput/command").or(ask.input().get("command"));
        let command =
            command.and_then(Value::as_str).and_then(|text| shell_words::split(text).ok());
        if new.is_empty() || !command.is_some_and(|command| command.starts_with(&new)) {
            return Err(format!("the command that is asked for does not begin with `{words}`"));
        }
        let quoted = |words: &[String]| format!("`{}`", shell_words::join(words));
        self.calls = self.calls.replacen(&quoted(&old), &quoted(&new), 1);
        self.pattern["words"] = json!(new);
        self.is_changed = true;
        Ok(())
    }

    /// The first words of the commands that it covers, where it covers commands by their words.
    fn words(&self) -> Option<Vec<String>> {
        let words = self.pattern.get("words")?.as_array()?;
        words.iter().map(|word| word.as_str().map(ToOwned::to_owned)).collect()
    }

    /// Shows it and lets the person at the terminal change it; none where it is not given.
    pub(super) fn confirm(mut self, ask: &Ask) -> io::Result<Option<Self>> {
        loop {
            eprint!("this allows:\n{}", barred(&[self.describe()], None));
            match read_key("[y] allow this [e] change it, Ctrl-D goes back: ", b"ye")? {
                Some(b'y') => return Ok(Some(self)),
                Some(_) => {
                    if self.edit(ask)?.is_none() {
                        return Ok(None);
                    }
                }
                None => return Ok(None),
            }
        }
    }

    /// Asks for each of its members; an empty line keeps it. None where the person leaves.
    fn edit(&mut self, ask: &Ask) -> io::Result<Option<()>> {
        if let Some(old) = self.words() {
            let old = shell_words::join(&old);
            let prompt = format!("commands that begin with (Enter keeps `{}`): ", clean_line(&old));
            let set = |text: &str| self.begin_with(text, ask);
            if read_member(&prompt, set)?.is_none() {
                return Ok(None);
            }
        }
        let prompt = format!("how often at most (Enter keeps {}): ", self.uses);
        let set = |text: &str| {
            let uses = text.parse().ok().filter(|uses| *uses > 0);
            let uses = Some(uses.ok_or("that is no number above 0")?);
            self.change(&PatternChanges { uses, ttl: None });
            Ok(())
        };
        if read_member(&prompt, set)?.is_none() {
            return Ok(None);
        }
        let prompt = format!("for how long (Enter keeps {}): ", clean_line(&self.ttl));
        let set = |text: &str| {
            let ttl = Some(text.parse::<Age>()?);
            self.change(&PatternChanges { uses: None, ttl });
            Ok(())
        };
        read_member(&prompt, set)
    }
}

/// Reads a member until it is one; an empty line changes nothing. None where the person leaves.
fn read_member(
    prompt: &str,
    mut set: impl FnMut(&str) -> Result<(), String>,
) -> io::Result<Option<()>> {
    loop {
        match read_line(prompt)? {
            None => return Ok(None),
            Some(text) if text.is_empty() => return Ok(Some(())),
            Some(text) => match set(&text) {
                Ok(()) => return Ok(Some(())),
                Err(error) => eprintln!("{}", clean_line(&error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> (Ask, Proposal) {
        let data = json!({
            "askId": "a", "kind": "permission", "tool": "Bash", "input": {"command": "npm install left-pad"},
            "proposal": {
                "pattern": {"tool": "Bash", "words": ["npm", "install", "left-pad"]}, "uses": 20, "ttl": "1h",
                "words": "Bash commands that begin with `npm install left-pad`, in this session, at most 20 times, for 1h",
            },
        });
        (Ask::of_data(&data), Proposal::of_data(&data).unwrap())
    }

    #[test]
    fn a_proposal_that_is_not_changed_is_given_as_the_ask_has_it() {
        let (_, proposal) = asked();
        assert_eq!(proposal.decision(), json!({"decision": "allow_pattern"}));
        let words = "Bash commands that begin with `npm install left-pad`, in this session, at most 20 times, for 1h";
        assert_eq!(proposal.describe(), words);
    }

    #[test]
    fn a_changed_proposal_says_in_words_what_is_sent() {
        let (ask, mut proposal) = asked();
        proposal.begin_with("npm install", &ask).unwrap();
        proposal.change(&PatternChanges { uses: Some(1), ttl: "30m".parse().ok() });
        let words = "Bash commands that begin with `npm install`, in this session, once, for 30m";
        assert_eq!(proposal.describe(), words);
        let pattern = json!({"tool": "Bash", "words": ["npm", "install"], "uses": 1, "ttl": "30m"});
        assert_eq!(proposal.decision(), json!({"decision": "allow", "pattern": pattern}));
    }

    #[test]
    fn a_call_that_can_only_be_allowed_exactly_says_why_and_which_option_takes_it() {
        let (ask, mut proposal) = asked();
        proposal.pattern = json!({"tool": "Bash", "arguments": {"command": "ls; pwd"}});
        let told = proposal.begin_with("ls", &ask).unwrap_err();
        assert!(told.contains("only the exact call") && told.contains("`--pattern`"), "{told}");
    }

    #[test]
    fn words_with_which_the_command_does_not_begin_are_refused() {
        let (ask, mut proposal) = asked();
        let before = proposal.clone();
        for words in ["npm run", "npm install left", "", "\"npm", "npm install left-pad -g"] {
            assert!(proposal.begin_with(words, &ask).is_err(), "{words}");
        }
        assert_eq!(proposal, before);
    }
}

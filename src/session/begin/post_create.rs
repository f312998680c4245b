//! `postCreateCommand` of the `devcontainer.json` in a workspace, where the operator wants it to be run
//! (`agents.*.setup.post_create`).
//!
//! The file is the repository's, or the agent's: it is read like every file of a workspace, and what it says runs inside of
//! the session's sandbox.

use super::super::ending::{Cause, fault_with};
use super::super::start::DoorWords;
use super::Begin;
use super::setup::SetupStep;
use pilothouse_sandbox::isolation::Places;
use pilothouse_sandbox::workspace::{Folder, InitFailed};
use serde_json::{Value, json};

/// Where it lies, in the order in which it is looked for.
const PLACES: [&str; 2] = [".devcontainer/devcontainer.json", ".devcontainer.json"];

/// Bytes of such a file.
const LONGEST: usize = 256 * 1024;

impl Begin<'_> {
    /// Runs it, visible in the task.
    pub(super) async fn run_post_create(&mut self, folder: &Folder) -> Result<(), Cause> {
        let (deps, agent) = (self.session.deps.clone(), self.session.agent.clone());
        if !agent.config.setup.post_create {
            return Ok(());
        }
        let Ok(files) = agent.workspaces.files(&self.session.row.id).await else { return Ok(()) };
        let mut found = None;
        for place in PLACES {
            if let Ok(file) = files.read(place.as_bytes().to_vec()).await {
                found = file.piece(0, LONGEST).await.ok().map(|text| (place, text));
                break;
            }
        }
        let Some((place, text)) = found else { return Ok(()) };
        let hint = "whoever keeps the repository must correct it, or the operator unset `agents.*.setup.post_create`";
        let line = command_of(&String::from_utf8_lossy(&text));
        let line = line.map_err(|why| fault_with(&format!("{place} {why}"), hint))?;
        let Some(line) = line else { return Ok(()) };
        self.turn.translator.status(&format!("running postCreateCommand of {place}"), None);
        self.show().await;
        let (session, context) = (self.session.row.id.clone(), self.session.key.context_id.clone());
        let given = agent.latest_env();
        let name = format!("postCreateCommand of {place}");
        let step = SetupStep {
            name: &name,
            policy: &given.reach.setup,
            spec: |places: &Places, door: DoorWords| {
                agent.shell_spec(&given, line, places, door, (&session, context.as_str()))
            },
            patience: deps.config.timeouts.init.get(),
            key: "timeouts.init",
        };
        let ended = self.run_setup(folder, step).await?;
        let output = ended.map_err(|InitFailed { reason, output, .. }| {
            fault_with(&format!("{name} {reason}: {output}"), hint)
        })?;
        let data = json!({"kind": "post-create", "output": output});
        self.turn.translator.status(&format!("{name} has run"), Some(data));
        self.show().await;
        Ok(())
    }
}

/// The command of such a file, as a line of the shell; none where it has none. Of several, each has to succeed.
fn command_of(text: &str) -> Result<Option<String>, String> {
    let file: Value = serde_json::from_str(&without_comments(text))
        .map_err(|error| format!("is no JSON: {error}"))?;
    let refused =
        || "has a postCreateCommand that is no string, list of strings, or object of these";
    let one = |command: &Value| match command {
        Value::String(line) => Some(line.clone()),
        Value::Array(words) => {
            let words: Option<Vec<String>> =
                words.iter().map(|word| word.as_str().map(quote)).collect();
            words.map(|words| words.join(" "))
        }
        _ => None,
    };
    match &file["postCreateCommand"] {
        Value::Null => Ok(None),
        Value::Object(several) => {
            let lines: Option<Vec<String>> = several
                .values()
                .map(|command| one(command).map(|line| format!("({line}\n)")))
                .collect();
            let lines = lines.ok_or_else(refused)?;
            Ok((!lines.is_empty()).then(|| lines.join(" && ")))
        }
        command => one(command).map(Some).ok_or_else(|| refused().to_owned()),
    }
}

/// A word as the shell reads it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The same JSON without comments, and without commas before the end of a list or an object.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => string_end(rest),
            '/' if rest.starts_with("//") => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest[2..].find("*/").map_or("", |at| &rest[at + 4..]);
                continue;
            }
            ']' | '}' => {
                let kept = plain.trim_end().strip_suffix(',').map(str::len);
                plain.truncate(kept.unwrap_or(plain.len()));
                1
            }
            other => other.len_utf8(),
        };
        plain.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    plain
}

/// Behind the string that this text begins with.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_line_a_list_of_words_or_several_of_these() {
        let file = |command: &str| {
            format!(
                "{{\n// of ours\n\"image\": \"a//b\", /* x */\n\"postCreateCommand\": {command},\n}}"
            )
        };
        for (command, line) in [
            (r#""npm ci && true""#, "npm ci && true"),
            (r#"["echo", "it's", "a \"b\"",]"#, r#"'echo' 'it'\''s' 'a "b"'"#),
            (r#"{"a": "one", "b": ["two"]}"#, "(one\n) && ('two'\n)"),
        ] {
            assert_eq!(command_of(&file(command)), Ok(Some(line.to_owned())), "{command}");
        }
        assert_eq!(command_of("{}"), Ok(None));
        assert!(command_of(&file("1")).unwrap_err().contains("no string"));
        assert!(command_of("{\"a\": /* never").unwrap_err().contains("is no JSON"));
    }
}

//! The input of a tool as lines: a command, a file, a change as a change, and every other field by name.

use super::visible;
use crate::client::sessions::count_commits;
use crate::client::terminal::clean_line;
use serde_json::{Map, Value};

/// Unchanged lines that are shown before and after a change.
const CONTEXT: usize = 3;

/// Fields that say where.
const PLACES: [&str; 4] = ["file_path", "notebook_path", "path", "url"];
/// Fields that hold the whole text of a file to be written.
const TEXTS: [&str; 3] = ["content", "file_text", "new_source"];
/// Fields that hold a text and what takes its place.
const CHANGES: [(&str, &str); 3] =
    [("old_string", "new_string"), ("oldText", "newText"), ("old_str", "new_str")];

/// Takes what says how much is pushed to where out of the input of a push; the commits stay, without a name before them.
pub(super) fn take_push(input: &mut Value) -> Option<String> {
    let fields = input.as_object_mut()?;
    let branch = fields.remove("branch")?;
    let count = fields.remove("count")?;
    let repository = fields.remove("repository");
    let repository = repository.as_ref().and_then(Value::as_str).unwrap_or("its repository");
    if let Some(commits) = fields.remove("commits") {
        fields.insert("command".to_owned(), commits);
    }
    let words = format!("{} to {} of {repository}", count_commits(&count), branch.as_str()?);
    Some(clean_line(&visible(&words)))
}

/// All that an input says: what would happen first, then the rest by name.
pub(super) fn lines(input: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    match input {
        Value::Null => {}
        Value::String(text) => lines.push(text.clone()),
        Value::Object(fields) => object(fields.clone(), &mut lines),
        other => lines.push(other.to_string()),
    }
    lines
}

/// What an agent that speaks ACP tells of a call. Where there is more, it is the input of a tool that has such fields.
const WRAPPING: [&str; 7] =
    ["toolCallId", "rawInput", "title", "kind", "content", "locations", "options"];

fn object(mut fields: Map<String, Value>, lines: &mut Vec<String>) {
    // An agent that speaks ACP wraps the tool's own input, and repeats what is shown elsewhere.
    let is_wrapped = fields.keys().all(|name| WRAPPING.contains(&name.as_str()));
    if is_wrapped && fields.contains_key("toolCallId") && fields.contains_key("rawInput") {
        for said in ["toolCallId", "options", "title", "kind"] {
            fields.remove(said);
        }
        let has_content = fields.get("content").is_some_and(|content| !is_empty(content));
        if has_content || fields.get("rawInput").is_some_and(|input| !is_empty(input)) {
            fields.remove("locations");
        }
        lines.extend(self::lines(&fields.remove("rawInput").unwrap_or_default()));
    }
    match fields.remove("command") {
        Some(Value::String(command)) => lines.push(command),
        Some(Value::Array(words)) => {
            let words: Vec<String> = words.iter().map(plain).collect();
            lines.push(shell_words::join(words));
        }
        Some(other) => lines.push(format!("command: {other}")),
        None => {}
    }
    for name in PLACES {
        match fields.remove(name) {
            Some(Value::String(place)) => lines.push(place),
            Some(other) => field(name, &other, lines),
            None => {}
        }
    }
    change(&mut fields, lines);
    if let Some(Value::Array(edits)) = fields.remove("edits") {
        for edit in edits {
            match edit {
                Value::Object(edit) => object(edit, lines),
                other => lines.push(other.to_string()),
            }
        }
    }
    for name in TEXTS {
        match fields.remove(name) {
            Some(Value::String(text)) => lines.extend(text.lines().map(|line| format!("+ {line}"))),
            Some(Value::Array(pieces)) => pieces.iter().for_each(|piece| content(piece, lines)),
            Some(other) => field(name, &other, lines),
            None => {}
        }
    }
    for (name, value) in &fields {
        field(name, value, lines);
    }
}

/// A text and what takes its place, taken out of the fields.
fn change(fields: &mut Map<String, Value>, lines: &mut Vec<String>) {
    for (old, new) in CHANGES {
        if !fields.get(new).is_some_and(Value::is_string) {
            continue;
        }
        let mut text = |name| fields.remove(name).map(|text| plain(&text)).unwrap_or_default();
        let (old, new) = (text(old), text(new));
        lines.extend(diff(&old, &new));
    }
}

/// A piece of content as ACP has it.
fn content(piece: &Value, lines: &mut Vec<String>) {
    match (piece, piece.pointer("/content/text").and_then(Value::as_str)) {
        (_, Some(text)) => lines.push(text.to_owned()),
        (Value::Object(fields), None) => {
            let mut fields = fields.clone();
            fields.remove("type");
            object(fields, lines);
        }
        (other, None) => lines.push(other.to_string()),
    }
}

fn field(name: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        empty if is_empty(empty) => {}
        Value::String(text) if text.contains('\n') => {
            lines.push(format!("{name}:"));
            lines.extend(text.lines().map(|line| format!("  {line}")));
        }
        other => lines.push(format!("{name}: {}", plain(other))),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// What goes and what comes, between the lines that stay. A line that differs at its end alone differs.
fn diff(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let before = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let ends = old[before..].iter().rev().zip(new[before..].iter().rev());
    let after = ends.take_while(|(old, new)| old == new).count();
    let (gone, come) = (&old[before..old.len() - after], &new[before..new.len() - after]);
    let stays = |line: &&str| format!("  {line}");
    // An empty text is no line that goes.
    let is_text = |lines: &[&str], whole: &[&str]| !(lines == [""] && whole.len() == 1);
    let mut lines: Vec<String> =
        old[before.saturating_sub(CONTEXT)..before].iter().map(stays).collect();
    if is_text(gone, &old) {
        lines.extend(gone.iter().map(|line| format!("- {line}")));
    }
    if is_text(come, &new) {
        lines.extend(come.iter().map(|line| format!("+ {line}")));
    }
    let rest = &old[old.len() - after..];
    lines.extend(rest.iter().take(CONTEXT).map(stays));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(input: Value) -> String {
        lines(&input).join("\n")
    }

    #[test]
    fn a_command_comes_first_and_no_field_is_left_out() {
        let input = json!({"description": "List", "command": "ls -l", "dangerouslyDisableSandbox": true, "env": {}});
        insta::assert_snapshot!(shown(input), @r"
ls -l
description: List
dangerouslyDisableSandbox: true
");
        assert_eq!(shown(json!({"command": ["sh", "-c", "a b"]})), "sh -c 'a b'");
    }

    #[test]
    fn an_edit_is_shown_as_what_goes_and_what_comes() {
        let input = json!({"file_path": "/w/a.rs", "old_string": "one\ntwo\nthree", "new_string": "one\n2\nthree", "replace_all": false});
        insta::assert_snapshot!(shown(input), @r"
/w/a.rs
  one
- two
+ 2
  three
replace_all: false
");
        let edits = json!({"file_path": "b", "edits": [{"old_string": "x", "new_string": "y"}, {"old_string": "", "new_string": "z"}]});
        assert_eq!(shown(edits), "b\n- x\n+ y\n+ z");
    }

    #[test]
    fn a_new_file_is_shown_whole() {
        assert_eq!(shown(json!({"content": "a\nb\n", "file_path": "f"})), "f\n+ a\n+ b");
    }

    #[test]
    fn what_an_acp_agent_wraps_is_unwrapped() {
        let input = json!({
            "title": "Edit f", "kind": "edit", "toolCallId": "1", "options": [{}], "rawInput": {"reason": "why"},
            "content": [{"type": "diff", "path": "f", "oldText": "a", "newText": "b"}, {"type": "content", "content": {"type": "text", "text": "words"}}],
            "locations": [{"path": "f"}],
        });
        assert_eq!(shown(input), "reason: why\nf\n- a\n+ b\nwords");
    }
}

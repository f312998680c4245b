//! What an edit changes, in lines, where a tool's input says that.

use serde_json::Value;

/// Bytes of a diff that are shown.
const MOST: usize = 16 * 1024;

/// Lines around a change that are shown.
const AROUND: usize = 3;

/// What a tool with this input would change: of `old_string` and `new_string` (alone or in a list `edits`), of `content` for a
/// whole file, or of the diffs of the Agent Client Protocol.
pub(super) fn of_input(input: Option<&Value>) -> Option<String> {
    let input = input?;
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let path = text(input, "file_path").or_else(|| text(input, "path"));
    let mut changes = Vec::new();
    let edits = input.get("edits").and_then(Value::as_array);
    for edit in edits.into_iter().flatten().chain([input]) {
        if let (Some(old), Some(new)) = (text(edit, "old_string"), text(edit, "new_string")) {
            changes.push((path.clone()?, old, new));
        }
    }
    let parts = input.get("content").and_then(Value::as_array);
    for part in parts.into_iter().flatten().filter(|part| part["type"] == "diff") {
        let old = text(part, "oldText").unwrap_or_default();
        changes.push((text(part, "path")?, old, text(part, "newText")?));
    }
    if changes.is_empty() {
        changes.push((path?, String::new(), text(input, "content")?));
    }
    let mut shown = String::new();
    let mut last = None;
    for (path, old, new) in &changes {
        if last != Some(path) {
            shown.push_str(&format!("--- {path}\n+++ {path}\n"));
            last = Some(path);
        }
        write_change(&mut shown, old, new);
    }
    if shown.len() > MOST {
        let kept = shown.floor_char_boundary(MOST);
        let left_out = shown.len() - kept;
        shown.truncate(kept);
        shown.push_str(&format!("\n... ({left_out} more bytes; `input` has them all)\n"));
    }
    Some(shown)
}

/// The lines that differ, with some of those around them.
fn write_change(shown: &mut String, old: &str, new: &str) {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = old[same..].iter().rev().zip(new[same..].iter().rev());
    let same_after = rest.take_while(|(old, new)| old == new).count();
    let mut write = |mark: char, lines: &[&str]| {
        for line in lines {
            shown.push_str(&format!("{mark}{line}\n"));
        }
    };
    write(' ', &old[same.saturating_sub(AROUND)..same]);
    write('-', &old[same..old.len() - same_after]);
    write('+', &new[same..new.len() - same_after]);
    let after = old.len() - same_after;
    write(' ', &old[after..old.len().min(after + AROUND)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_edit_is_shown_as_the_lines_that_differ_and_some_around_them() {
        let input = json!({"file_path": "/w/a.rs", "old_string": "a\nb\nc\nd\ne\nf", "new_string": "a\nb\nc\nd\nE\nf"});
        assert_eq!(
            of_input(Some(&input)).unwrap(),
            "--- /w/a.rs\n+++ /w/a.rs\n b\n c\n d\n-e\n+E\n f\n"
        );
    }

    #[test]
    fn several_edits_of_a_file_and_the_diffs_of_acp_are_shown() {
        let edit = |old: &str, new: &str| json!({"old_string": old, "new_string": new});
        let input = json!({"file_path": "a", "edits": [edit("x", "y"), edit("p", "q")]});
        assert_eq!(of_input(Some(&input)).unwrap(), "--- a\n+++ a\n-x\n+y\n-p\n+q\n");
        let part = json!({"type": "diff", "path": "b", "oldText": null, "newText": "new"});
        let input = json!({"content": [{"type": "text"}, part]});
        assert_eq!(of_input(Some(&input)).unwrap(), "--- b\n+++ b\n+new\n");
    }

    #[test]
    fn a_command_has_no_diff_and_a_long_one_says_how_much_is_left_out() {
        assert_eq!(of_input(Some(&json!({"command": "ls"}))), None);
        assert_eq!(of_input(None), None);
        let input = json!({"file_path": "a", "content": "x\n".repeat(MOST)});
        let shown = of_input(Some(&input)).unwrap();
        assert!(shown.len() < MOST + 100 && shown.contains("more bytes"), "{}", shown.len());
    }
}

//! Short lines for people about what an agent says. What is larger than one event may be is cut, and says how much is
//! missing. The raw log has the whole line, as far as it was kept.

pub(super) use crate::task::{measure as size, shorten_text as text, shorten_value as value};
use serde_json::Value;

/// Longest preview of a value in a status line.
pub(super) const PREVIEW: usize = 160;

/// A value in one short line: the one string of an object that says most, else its JSON.
fn preview(value: &Value) -> String {
    let telling = [
        "command",
        "file_path",
        "path",
        "pattern",
        "url",
        "query",
        "prompt",
        "description",
        "title",
    ];
    let found = telling.iter().find_map(|name| value.get(name).and_then(Value::as_str));
    let only = || {
        let mut members = value.as_object()?.values();
        members.next().filter(|_| members.next().is_none())?.as_str()
    };
    let found = found.or_else(only);
    found.map_or_else(|| one_line(&value.to_string()), one_line)
}

/// The call of a tool in one short line.
pub(super) fn call(tool: &str, input: &Value) -> String {
    if input.is_null() || input.as_object().is_some_and(serde_json::Map::is_empty) {
        return tool.to_owned();
    }
    format!("{tool}: {}", preview(input))
}

/// A text in one short line.
pub(super) fn one_line(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= PREVIEW {
        return line;
    }
    format!("{}…", &line[..line.floor_char_boundary(PREVIEW)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tool_without_input_is_its_name_alone() {
        assert_eq!(call("ExitPlanMode", &json!({})), "ExitPlanMode");
        assert_eq!(call("ExitPlanMode", &Value::Null), "ExitPlanMode");
        assert_eq!(call("Bash", &json!({"command": "ls"})), "Bash: ls");
        assert_eq!(call("Count", &json!({"what": "words"})), "Count: words");
        assert_eq!(call("Add", &json!({"a": "1", "b": "2"})), r#"Add: {"a":"1","b":"2"}"#);
    }
}

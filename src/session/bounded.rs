//! What is larger than one event may be is cut, and says how much is missing. The raw log has the whole line, as far as it was kept.

use serde::Serialize;
use serde_json::Value;

/// Longest preview of a value in a status line.
pub(super) const PREVIEW: usize = 160;

/// The text, or its beginning and how many bytes are left out.
pub(super) fn text(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let kept = text.floor_char_boundary(limit);
    format!("{} … ({} more bytes are left out)", &text[..kept], text.len() - kept)
}

/// The value, with its long texts cut until its JSON fits.
pub(super) fn value(mut value: Value, limit: usize) -> Value {
    let mut longest = limit / 4;
    while size(&value) > limit {
        if longest < 16 {
            // Many small pieces make a large whole: nothing of it is more telling than the rest.
            return Value::String(text(value.to_string(), limit / 8));
        }
        cut_texts(&mut value, longest);
        longest /= 4;
    }
    value
}

/// Bytes of something as JSON.
pub(super) fn size(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("counting does not fail");
    count.0
}

fn cut_texts(value: &mut Value, longest: usize) {
    match value {
        Value::String(string) => *string = text(std::mem::take(string), longest),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, longest)),
        Value::Object(members) => members.values_mut().for_each(|item| cut_texts(item, longest)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

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

    #[test]
    fn a_long_text_inside_is_cut_and_the_rest_stays() {
        let cut = value(
            json!({"name": "Write", "input": {"path": "a", "content": "é".repeat(50_000)}}),
            10_000,
        );
        assert!(size(&cut) <= 10_000);
        assert_eq!(cut["input"]["path"], "a");
        assert!(cut["input"]["content"].as_str().unwrap().ends_with("more bytes are left out)"));
    }

    #[test]
    fn a_large_whole_of_small_pieces_becomes_the_beginning_of_its_text() {
        let cut = value(json!(vec![1; 100_000]), 10_000);
        assert!(size(&cut) <= 10_000);
        assert!(cut.is_string());
    }
}

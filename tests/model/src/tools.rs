//! The tools of real clients: what each calls its shell, and the input that its schema wants.

use serde_json::{Map, Value, json};

/// What the shell is called.
const SHELL: &[&str] = &["Bash", "bash", "run_shell_command", "exec_command", "shell_command"];
/// What writes a file.
const WRITE: &[&str] = &["Write", "write", "write_file", "create"];
/// What reads a file.
const READ: &[&str] = &["Read", "read", "read_file", "view"];

/// What a field that holds the same is called elsewhere.
const FIELDS: &[(&str, &[&str])] = &[
    ("command", &["command", "cmd"]),
    ("file_path", &["file_path", "filePath", "path", "absolute_path"]),
    ("content", &["content", "file_text"]),
    ("description", &["description"]),
];

/// The client's own tool for the word of a step (`bash`, `write`, `read`), by name; none where it
/// offers none.
pub(crate) fn named<'a>(tools: &'a Map<String, Value>, word: &str) -> Option<&'a str> {
    let names = match word {
        "bash" => SHELL,
        "write" => WRITE,
        "read" => READ,
        _ => return None,
    };
    let found = names.iter().find_map(|&name| tools.get_key_value(name));
    found.map(|(name, _)| name.as_str())
}

/// An input as the schema of a tool wants it: fields by its names, and something in every field that
/// it requires beside them. An unknown schema gets the input as it is.
pub(crate) fn fitted(schema: &Value, input: Value) -> Value {
    let (Some(properties), Value::Object(input)) = (schema["properties"].as_object(), &input)
    else {
        return input;
    };
    let mut fitted = Map::new();
    for (name, value) in input {
        let names = FIELDS.iter().find(|(known, _)| known == name);
        let name = names.and_then(|(_, names)| {
            let mut names = names.iter();
            names.find(|name| properties.contains_key(**name))
        });
        if let Some(&name) = name {
            fitted.insert(name.to_owned(), value.clone());
        }
    }
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        let empty = || match properties.get(name).and_then(|shape| shape["type"].as_str()) {
            Some("boolean") => json!(false),
            Some("number" | "integer") => json!(0),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!("fake"),
        };
        fitted.entry(name).or_insert_with(empty);
    }
    Value::Object(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_takes_the_field_names_of_the_schema() {
        let schema = json!({"properties": {"cmd": {"type": "string"}}});
        let input = json!({"command": "ls", "description": "run a command"});
        assert_eq!(fitted(&schema, input), json!({"cmd": "ls"}));
    }

    #[test]
    fn what_the_schema_requires_beside_is_there() {
        let schema = json!({"required": ["path", "wait"], "properties": {
            "path": {"type": "string"}, "wait": {"type": "boolean"}}});
        let input = json!({"file_path": "a.txt"});
        assert_eq!(fitted(&schema, input), json!({"path": "a.txt", "wait": false}));
    }

    #[test]
    fn a_tool_without_a_schema_gets_the_input_as_it_is() {
        let input = json!({"command": "ls"});
        assert_eq!(fitted(&json!({}), input.clone()), input);
    }
}

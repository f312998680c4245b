//! The values of a configuration as a JSON tree with dotted keys.

use super::Config;
use super::yaml::wanted;
use serde_json::{Map, Value, json};

/// Characters of a wrong value that an error repeats.
const SHOWN: usize = 64;

/// The paths of all values that hold no further keys.
pub(super) fn leaves(tree: &Value) -> Vec<Vec<String>> {
    fn visit(value: &Value, path: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) {
        match value {
            Value::Object(object) if !object.is_empty() => {
                for (name, value) in object {
                    path.push(name.clone());
                    visit(value, path, leaves);
                    path.pop();
                }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => {
                leaves.push(path.clone());
            }
        }
    }
    let mut found = Vec::new();
    visit(tree, &mut Vec::new(), &mut found);
    found
}

/// The variable that sets a dotted key.
pub(super) fn variable_of(key: &str) -> String {
    let plain =
        key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    "PILOTHOUSE_".chars().chain(plain).collect()
}

pub(super) fn to_json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("a configuration has text keys and UTF-8 paths")
}

pub(super) fn child<'a>(node: &'a mut Value, name: &str) -> &'a mut Value {
    if !node.is_object() {
        *node = Value::Object(Map::new());
    }
    &mut node[name]
}

/// A variable's text as the value that its key takes: as text, number, truth or list.
pub(super) fn value_of(path: &[&str], text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    let mut candidates = vec![Value::from(text)];
    candidates.extend(trimmed.parse::<i64>().ok().map(Value::from));
    candidates.extend(match trimmed.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(Value::from(true)),
        "false" | "no" | "off" | "0" => Some(Value::from(false)),
        _ => None,
    });
    if trimmed.starts_with('[') {
        candidates.extend(serde_json::from_str::<Value>(trimmed).ok());
    } else {
        candidates
            .push(trimmed.split(',').map(str::trim).filter(|item| !item.is_empty()).collect());
    }
    let mut problem = String::new();
    for candidate in candidates {
        let nested =
            path.iter().rev().fold(candidate.clone(), |value, name| json!({ *name: value }));
        match serde_json::from_value::<Config>(nested) {
            Ok(_) => return Ok(candidate),
            // What was read as a number says best why a number is wrong; a list is a last attempt.
            Err(error) if problem.is_empty() || candidate.is_number() => {
                problem = explain(&error.to_string(), trimmed);
            }
            Err(_) => {}
        }
    }
    Err(problem)
}

/// What a key wants instead, in plain words. The text of the variable is repeated for numbers and truths
/// alone, because that of others may be a secret.
fn explain(problem: &str, text: &str) -> String {
    let is_of_type = problem.starts_with("invalid type") || problem.starts_with("invalid value");
    match problem.rsplit_once("expected ").filter(|_| is_of_type) {
        Some((_, "a sequence")) => "it wants a list: `a,b`, or as JSON `[\"a\", \"b\"]`".to_owned(),
        Some((_, expected @ ("a boolean" | "u16" | "u32" | "u64" | "usize"))) => {
            let shown: String = text.chars().take(SHOWN).collect();
            format!("it wants {}, not `{shown}`", wanted(expected))
        }
        Some((_, expected)) => format!("it wants {}", wanted(expected)),
        None => problem.to_owned(),
    }
}

//! The keys of a configuration, as `config show` lists them.

use serde_json::Value;

/// Each key that holds no further keys, with its value.
pub fn keys_of(config: &Value) -> Vec<(String, &Value)> {
    let mut rows = Vec::new();
    flatten(config, String::new(), &mut rows);
    rows
}

fn flatten<'a>(value: &'a Value, key: String, rows: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(value, key, rows);
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            rows.push((key, value));
        }
    }
}

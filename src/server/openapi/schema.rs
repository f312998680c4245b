//! The words of JSON Schema that the objects are written in: closed where the server answers, open where it
//! reads, since unknown members of a request are skipped.

use serde_json::{Map, Value, json};

/// Takes a schema with its name.
pub(super) type Add<'a> = dyn FnMut(&str, Value) + 'a;

/// Who writes an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The client: further members do no harm.
    Asks,
    /// The server: there are no further members.
    Answers,
}
/// Adds a member to an object.
pub(super) trait With {
    /// The same object with one more member; its name ends in `!` when it is required.
    fn with(self, name: &str, schema: Value) -> Value;
}

impl Side {
    pub(super) fn name(self, answer: &'static str, request: &'static str) -> &'static str {
        match self {
            Self::Answers => answer,
            Self::Asks => request,
        }
    }
}

/// A reference to a schema.
pub(super) fn of(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object; the members whose name ends in `!` are required.
pub(super) fn object<const N: usize>(
    side: Side,
    description: &str,
    members: [(&str, Value); N],
) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema) in members {
        let bare = name.trim_end_matches('!');
        if bare != name {
            required.push(bare);
        }
        properties.insert(bare.to_owned(), schema);
    }
    let mut object = json!({"type": "object", "description": description});
    if !properties.is_empty() {
        object["properties"] = Value::Object(properties);
    }
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    if side == Side::Answers {
        object["additionalProperties"] = json!(false);
    }
    object
}

/// The same with exactly one of its members.
pub(super) fn one_of<const N: usize>(
    side: Side,
    description: &str,
    members: [(&str, Value); N],
) -> Value {
    let names = members.each_ref().map(|(name, _)| *name);
    let mut object = object(side, description, members);
    object["oneOf"] = names.map(|name| json!({"required": [name]})).into();
    object
}

pub(super) fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

pub(super) fn flag(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

/// A number of something, never negative.
pub(super) fn count(description: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "description": description})
}

pub(super) fn time(description: &str) -> Value {
    json!({"type": "string", "format": "date-time", "description": description})
}

/// A list of strings.
pub(super) fn texts(description: &str) -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": description})
}

pub(super) fn list(name: &str) -> Value {
    json!({"type": "array", "items": of(name)})
}

/// Members of any name and kind.
pub(super) fn free(description: &str) -> Value {
    json!({"type": "object", "description": description})
}

impl With for Value {
    fn with(mut self, name: &str, schema: Value) -> Value {
        let bare = name.trim_end_matches('!');
        self["properties"][bare] = schema;
        if bare != name {
            match self["required"].as_array_mut() {
                Some(required) => required.push(bare.into()),
                None => self["required"] = json!([bare]),
            }
        }
        self
    }
}

//! JSON that is carried and not looked into: its text, never a tree.
//!
//! # How it works
//! A tree of JSON takes up to sixty times the memory of its text. What a client says in `metadata` and
//! in data parts is stored and handed on, so [`Json`] keeps the text: compact, with numbers and escapes
//! in the spelling that a tree would give them. A member that is looked at is read alone.
//!
//! # Pitfalls
//! A name that an object has twice stays there twice; readers take the last one, as they do in a tree.

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess,
};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// A JSON value as its text; cheap to clone.
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

/// Free-form data that travels with an object (`google.protobuf.Struct`): a JSON object as its text;
/// member order is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Metadata(Json);

impl Json {
    /// Takes a text that is JSON by its making.
    pub(crate) fn from_text(text: Vec<u8>) -> Result<Self, serde_json::Error> {
        let text = String::from_utf8(text).map_err(serde_json::Error::custom)?;
        Ok(Self(Arc::from(RawValue::from_string(text)?)))
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.text().starts_with('{')
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.text() == "null"
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<String> {
        serde_json::from_str(self.text()).ok()
    }

    /// The whole as a tree. It may be many times larger than the text: ask [`Json::count`] before.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    /// One member of an object as a tree.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.member(name).map(|member| member.to_value())
    }

    /// One member of an object.
    pub fn member(&self, name: &str) -> Option<Self> {
        let mut from = serde_json::Deserializer::from_str(self.text());
        self.is_object().then(|| from.deserialize_map(MemberVisitor(name)).ok()).flatten()?
    }

    /// How many values it consists of, itself included.
    pub fn count(&self) -> usize {
        count_values(self.text().as_bytes())
    }

    /// How many lists and objects stand in each other.
    pub fn depth(&self) -> usize {
        let (mut depth, mut deepest) = (0_usize, 0);
        for byte in structure(self.text().as_bytes()) {
            match byte {
                b'[' | b'{' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        deepest
    }
}

impl Metadata {
    /// The object `{"value": ..}`.
    #[cfg(feature = "grpc")]
    pub(crate) fn wrapping(value: &Json) -> Self {
        let text = format!("{{\"value\":{value}}}").into_bytes();
        Self(Json::from_text(text).expect("a value in an object is JSON"))
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.0.text()
    }

    /// The same as a value.
    pub fn as_json(&self) -> &Json {
        &self.0
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.text() == "{}"
    }

    /// One member as a tree.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.0.get(name)
    }

    /// All members as a tree.
    pub fn to_map(&self) -> Map<String, Value> {
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    /// Adds members; a new value wins over an old one of the same name.
    pub fn extend(&mut self, more: &Self) {
        if self.is_empty() {
            self.clone_from(more);
        } else if !more.is_empty() {
            let mut members = self.to_map();
            members.extend(more.to_map());
            *self = members.into();
        }
    }

    /// Adds a member, or replaces the one of that name.
    pub fn insert(&mut self, name: &str, value: impl Into<Value>) {
        let mut members = self.to_map();
        members.insert(name.to_owned(), value.into());
        *self = members.into();
    }

    /// Removes a member.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.get(name)?;
        let mut members = self.to_map();
        let removed = members.shift_remove(name);
        *self = members.into();
        removed
    }
}

/// How many values a JSON text consists of, the whole included: an upper bound, for text that may be none.
#[must_use]
pub fn count_values(text: &[u8]) -> usize {
    1 + structure(text).filter(|byte| matches!(byte, b',' | b'[' | b'{')).count()
}

/// The bytes of a JSON text that stand outside of its strings.
fn structure(text: &[u8]) -> impl Iterator<Item = u8> {
    let (mut quoted, mut escaped) = (false, false);
    text.iter().copied().filter(move |byte| {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            return false;
        }
        quoted = *byte == b'"';
        !quoted
    })
}

// === from and into trees ===

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        let text = serde_json::to_vec(&value).expect("a tree of JSON has string keys");
        Self::from_text(text).expect("what a tree is written as is JSON")
    }
}

impl From<Map<String, Value>> for Metadata {
    fn from(members: Map<String, Value>) -> Self {
        Self(Json::from(Value::Object(members)))
    }
}

impl FromIterator<(String, Value)> for Metadata {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(members: T) -> Self {
        Map::from_iter(members).into()
    }
}

impl TryFrom<Json> for Metadata {
    type Error = &'static str;

    fn try_from(value: Json) -> Result<Self, Self::Error> {
        if value.is_object() { Ok(Self(value)) } else { Err("must be an object") }
    }
}

impl From<Metadata> for Json {
    fn from(metadata: Metadata) -> Self {
        metadata.0
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Map::new().into()
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

// === the wire ===

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut text = Vec::new();
        Copy(&mut text).deserialize(from)?;
        Self::from_text(text).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> de::Visitor<'de> for Object {
            type Value = Metadata;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Metadata, A::Error> {
                let mut text = Vec::new();
                de::Visitor::visit_map(Copy(&mut text), map)?;
                Json::from_text(text).map(Metadata).map_err(de::Error::custom)
            }
        }

        from.deserialize_map(Object)
    }
}

/// Reads a value and writes it as compact JSON.
struct Copy<'a>(&'a mut Vec<u8>);

impl Copy<'_> {
    fn write<E: de::Error>(self, value: impl Serialize) -> Result<(), E> {
        serde_json::to_writer(self.0, &value).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Copy<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Copy<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.write(())
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.write(())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.write(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.write(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.write(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.write(value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.write(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut separator = b'[';
        loop {
            let begin = self.0.len();
            self.0.push(separator);
            if items.next_element_seed(Copy(self.0))?.is_none() {
                self.0.truncate(begin);
                break;
            }
            separator = b',';
        }
        if separator == b'[' {
            self.0.push(separator);
        }
        self.0.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut separator = b'{';
        loop {
            let begin = self.0.len();
            self.0.push(separator);
            if members.next_key_seed(Copy(self.0))?.is_none() {
                self.0.truncate(begin);
                break;
            }
            self.0.push(b':');
            members.next_value_seed(Copy(self.0))?;
            separator = b',';
        }
        if separator == b'{' {
            self.0.push(separator);
        }
        self.0.push(b'}');
        Ok(())
    }
}

/// Finds one member of an object; of several with one name the last.
struct MemberVisitor<'a>(&'a str);

impl<'de> de::Visitor<'de> for MemberVisitor<'_> {
    type Value = Option<Json>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_wanted) = members.next_key_seed(Named(self.0))? {
            if is_wanted {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a name is this one.
struct Named<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl de::Visitor<'_> for Named<'_> {
    type Value = bool;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn text_is_as_compact_as_a_tree_writes_it() {
        for text in [
            "null",
            "[ ]",
            "{ }",
            "{\n \"a\\u0020b\" : [ 1.0 , 1e1,-0, \"\\u00e4\\/\\n\" ], \"\": {\"x\": [[], {}]} }",
            "18446744073709551615",
        ] {
            let tree: Value = serde_json::from_str(text).unwrap();
            assert_eq!(read(text).text(), tree.to_string());
            assert_eq!(Json::from(tree.clone()), read(text));
            assert_eq!(read(text).to_value(), tree);
            let of_tree: Json = serde_json::from_value(tree).unwrap();
            assert_eq!(of_tree, read(text));
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "1e999", "\"\\ud800\"", "[1,]"] {
            assert!(serde_json::from_str::<Json>(text).is_err(), "{text}");
        }
        let endless = "[".repeat(100_000);
        assert!(serde_json::from_str::<Json>(&endless).is_err());
        assert!(serde_json::from_str::<Metadata>("[]").is_err());
    }

    #[test]
    fn one_member_is_read_and_of_two_with_one_name_the_last() {
        let object = read(r#"{"a": 1, "b": {"c": "d"}, "a": 2}"#);
        assert_eq!(object.get("b"), Some(json!({"c": "d"})));
        assert_eq!(object.get("a"), Some(json!(2)));
        assert_eq!(object.get("c"), None);
        assert_eq!(read("[1]").get("a"), None);
    }

    #[test]
    fn members_are_added_replaced_and_removed() {
        let mut metadata = Metadata::default();
        metadata.insert("a", 1);
        metadata.insert("b", 2);
        metadata.extend(&json!({"a": 3, "c": 4}).as_object().cloned().unwrap().into());
        assert_eq!(metadata.text(), r#"{"a":3,"b":2,"c":4}"#);
        assert_eq!(metadata.remove("b"), Some(json!(2)));
        assert_eq!(metadata.remove("b"), None);
        assert_eq!(metadata.text(), r#"{"a":3,"c":4}"#);
    }

    #[test]
    fn values_and_levels_are_counted_outside_of_strings() {
        assert_eq!((read("1").count(), read("1").depth()), (1, 0));
        assert_eq!(read(r#"{"a[,": "\"[,", "b": [1, 2]}"#).depth(), 2);
        assert!(read("[1,2,3]").count() >= 4);
        assert_eq!(read("\"[,\"").count(), 1);
    }
}

//! What a request may hold, counted over its bytes before anything is made of them: a million empty
//! parts are two megabytes on the wire and some hundred in memory.

use crate::error::{Error, ErrorKind};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The bounds of a request; each is named in errors by its key in the server's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Parts of a message.
    pub parts: usize,
    /// Items of any other list, members of any object outside of free-form data, and other fields of any
    /// protobuf message.
    pub items: usize,
    /// Bytes of all metadata of a request together.
    pub metadata: usize,
    /// Bytes of all data parts of a request together.
    pub data: usize,
}

/// What was counted so far.
#[derive(Debug)]
pub(crate) struct Count {
    bounds: Bounds,
    metadata: usize,
    data: usize,
    refused: Option<Error>,
}

impl Bounds {
    /// Counts what a JSON object holds, in whatever dialect.
    ///
    /// # Errors
    /// `InvalidParams` naming the member and the bound; `Parse` where the walk cannot reach the end: the
    /// decoders skip members that they do not know, and would then find what was not counted behind them.
    pub fn check_json(&self, text: &str) -> Result<(), Error> {
        let mut count = Count::new(*self);
        let mut from = serde_json::Deserializer::from_str(text);
        let walked = Walk { count: &mut count, name: "" }.deserialize(&mut from);
        match (count.refused, walked) {
            (Some(refused), _) => Err(refused),
            (None, Err(cause)) => {
                Err(Error::new(ErrorKind::Parse, format!("the body is not JSON: {cause}")))
            }
            (None, Ok(())) => Ok(()),
        }
    }
}

impl Count {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, metadata: 0, data: 0, refused: None }
    }

    /// One of so many parts is there.
    #[cfg(feature = "grpc")]
    pub(crate) fn part(&mut self, name: &str, number: usize) -> Result<(), Error> {
        self.hold(name, number, self.bounds.parts, "parts", "parts")
    }

    /// One of so many items of a list is there.
    #[cfg(feature = "grpc")]
    pub(crate) fn item(&mut self, name: &str, number: usize) -> Result<(), Error> {
        self.hold(name, number, self.bounds.items, "items", "items")
    }

    /// One of so many fields of a protobuf message, outside of lists, is there.
    #[cfg(feature = "grpc")]
    pub(crate) fn field(&mut self, name: &str, number: usize) -> Result<(), Error> {
        self.hold(name, number, self.bounds.items, "fields", "items")
    }

    pub(crate) fn metadata(&mut self, bytes: usize) -> Result<(), Error> {
        self.metadata = self.metadata.saturating_add(bytes);
        self.hold("metadata", self.metadata, self.bounds.metadata, "bytes together", "metadata")
    }

    pub(crate) fn data(&mut self, bytes: usize) -> Result<(), Error> {
        self.data = self.data.saturating_add(bytes);
        self.hold("data", self.data, self.bounds.data, "bytes together", "data")
    }

    fn hold(
        &self,
        name: &str,
        number: usize,
        most: usize,
        unit: &str,
        key: &str,
    ) -> Result<(), Error> {
        if number <= most {
            return Ok(());
        }
        let what =
            format!("more than {most} {unit}; the server's operator can raise `limits.{key}`");
        Err(Error::invalid(name, what))
    }
}

/// Walks through what is not free-form and counts.
struct Walk<'a> {
    count: &'a mut Count,
    /// The member that the value stands in.
    name: &'a str,
}

impl Walk<'_> {
    fn check<E: de::Error>(&mut self, outcome: Result<(), Error>) -> Result<(), E> {
        outcome.map_err(|error| {
            self.count.refused = Some(error);
            E::custom("out of bounds")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, from: D) -> Result<(), D::Error> {
        let is_metadata = self.name == "metadata";
        if !is_metadata && self.name != "data" {
            return from.deserialize_any(self);
        }
        let size = <&RawValue as de::Deserialize>::deserialize(from)?.get().len();
        let outcome = if is_metadata { self.count.metadata(size) } else { self.count.data(size) };
        self.check(outcome)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let bounds = self.count.bounds;
        let is_parts = matches!(self.name, "parts" | "content");
        let (most, unit) = if is_parts { (bounds.parts, "parts") } else { (bounds.items, "items") };
        let mut number = 0;
        // The items of a list stand in no member of their own.
        while items.next_element_seed(Walk { count: self.count, name: "" })?.is_some() {
            number += 1;
            let outcome = self.count.hold(self.name, number, most, unit, unit);
            self.check(outcome)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(name) = members.next_key::<String>()? {
            number += 1;
            let outcome =
                self.count.hold(self.name, number, self.count.bounds.items, "members", "items");
            self.check(outcome)?;
            members.next_value_seed(Walk { count: self.count, name: &name })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Bounds = Bounds { parts: 2, items: 3, metadata: 20, data: 20 };

    fn refusal(text: &str) -> Option<String> {
        FEW.check_json(text).err().map(|error| error.message)
    }

    #[test]
    fn what_is_within_its_bounds_passes() {
        for text in [
            r#"{"message": {"parts": [{"text": "a"}, {"data": [1, 2, 3, 4]}], "x": 1}}"#,
            r#"{"message": {"content": [{"data": {"data": [1,2]}}]}, "metadata": {"a": 1}}"#,
        ] {
            assert_eq!(refusal(text), None, "{text}");
        }
    }

    #[test]
    fn each_bound_is_named_with_its_key() {
        for (text, member, key) in [
            (r#"{"message": {"parts": [{}, {}, {}]}}"#, "parts", "limits.parts"),
            (r#"{"message": {"content": [{}, {}, {}]}}"#, "content", "limits.parts"),
            (r#"{"m": {"extensions": ["", "", "", ""]}}"#, "extensions", "limits.items"),
            (r#"{"m": {"a": 1, "b": 1, "c": 1, "d": 1}}"#, "m", "limits.items"),
            (r#"{"metadata": {"a": "0123456789abcdef"}}"#, "metadata", "limits.metadata"),
            (
                r#"{"m": {"metadata": {"a": "01234"}}, "metadata": {"a": "01234"}}"#,
                "metadata",
                "limits.metadata",
            ),
            (r#"{"m": {"parts": [{"data": "0123456789abcdefghijk"}]}}"#, "data", "limits.data"),
        ] {
            let told = refusal(text).expect(text);
            assert!(told.starts_with(&format!("`{member}`: more than ")), "{told}");
            assert!(told.ends_with(&format!("can raise `{key}`")), "{told}");
        }
    }

    #[test]
    fn what_the_walk_cannot_read_hides_nothing_behind_it() {
        let bounds = Bounds { parts: 1, items: 10, metadata: 100, data: 100 };
        for hidden in ["1e999", r#""\ud800""#, &format!("{}{}", "[".repeat(200), "]".repeat(200))] {
            let body = format!(r#"{{"x":{hidden},"message":{{"parts":[{{}},{{}},{{}}]}}}}"#);
            assert!(bounds.check_json(&body).is_err(), "{hidden}");
        }
        assert!(bounds.check_json("no JSON").is_err());
    }
}

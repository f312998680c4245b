//! The messages of `google.protobuf` that A2A uses: free values and points in time.
//!
//! A map is written as the list of entries that it is on the wire, so members keep their order. Free
//! values are read and written as text, so that a tree of them, many times larger, never exists.
//! What is nested too deeply for readers of protobuf is written as its JSON text: one odd value
//! is better than a stream that ends there.

use super::wire::{Each, Field, Fields, Held, Item, close, nest_bytes, open, text};
use super::{Under, Wrong, unreadable};
use crate::dialect::Dialect;
use crate::time::Timestamp;
use crate::{Json, Metadata};
use prost::encoding;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::Number;
use serde_json::value::RawValue;
use std::fmt;

/// How many messages a free value may consist of from top to bottom. Readers accept a hundred, this
/// one too, and a part of a message of a task of a page stands up to seven deep.
const MAX_NESTED: usize = 90;
/// An object costs its own message, the entry and the value; an array its own and the value.
const OBJECT: usize = 3;
const ARRAY: usize = 2;

/// `google.protobuf.Struct`.
impl Item for Metadata {
    fn put(&self, _: Dialect, out: &mut Vec<u8>) {
        serde_json::Deserializer::from_str(self.text())
            .deserialize_map(Members { out, nested: MAX_NESTED })
            .expect("metadata is an object");
    }

    fn take(content: &[u8], _: Dialect) -> Result<Self, Wrong> {
        let mut text = Vec::new();
        read_members(content, &mut text, MAX_NESTED)?;
        json(text)?.try_into().map_err(|wrong| Wrong::new("", wrong))
    }

    fn guess(&self) -> usize {
        self.text().len()
    }
}

/// `google.protobuf.Value`.
impl Item for Json {
    fn put(&self, _: Dialect, out: &mut Vec<u8>) {
        Write { out, nested: MAX_NESTED }
            .deserialize(&mut serde_json::Deserializer::from_str(self.text()))
            .expect("a value is JSON");
    }

    fn take(content: &[u8], _: Dialect) -> Result<Self, Wrong> {
        let mut text = Vec::new();
        read_value(content, &mut text, MAX_NESTED)?;
        json(text)
    }

    fn guess(&self) -> usize {
        self.text().len()
    }
}

/// `google.protobuf.Timestamp`: seconds and nanoseconds.
impl Item for Timestamp {
    fn put(&self, dialect: Dialect, out: &mut Vec<u8>) {
        let milliseconds = self.as_millisecond();
        let seconds = milliseconds.div_euclid(1_000);
        if seconds != 0 {
            encoding::int64::encode(1, &seconds, out);
        }
        i32::try_from(milliseconds.rem_euclid(1_000) * 1_000_000)
            .expect("less than a second in nanoseconds fits 32 bits")
            .write(dialect, 2, out);
    }

    fn take(content: &[u8], dialect: Dialect) -> Result<Self, Wrong> {
        let fields = Fields::of(content, dialect)?;
        let seconds = fields.varint(1)?.unwrap_or_default() as i64;
        let rest = i64::from(i32::read(&fields, 2, "nanos")?).div_euclid(1_000_000);
        Ok(Self::from_millisecond(seconds.saturating_mul(1_000).saturating_add(rest)))
    }
}

fn json(text: Vec<u8>) -> Result<Json, Wrong> {
    Json::from_text(text).map_err(|cause| Wrong::new("", cause.to_string()))
}

// === from the wire into JSON ===

/// What a value is: the last of its fields.
enum WireValue<'a> {
    Null,
    Number(f64),
    String(&'a str),
    Bool(bool),
    Struct(&'a [u8]),
    List(&'a [u8]),
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), Wrong> {
    serde_json::to_writer(out, text).map_err(|cause| Wrong::new("", cause.to_string()))
}

/// Takes off what a list or an object costs of the depth that is left.
fn inside(nested: usize, cost: usize) -> Result<usize, Wrong> {
    nested.checked_sub(cost).ok_or_else(|| Wrong::new("", "is nested more than 30 objects deep"))
}

fn read_value(bytes: &[u8], out: &mut Vec<u8>, nested: usize) -> Result<(), Wrong> {
    let mut kind = WireValue::Null;
    for field in Each(bytes) {
        kind = match field? {
            (1, Held::Varint(_)) => WireValue::Null,
            (2, Held::Double(number)) => WireValue::Number(number),
            (3, Held::Bytes(bytes)) => WireValue::String(text(bytes)?),
            (4, Held::Varint(flag)) => WireValue::Bool(flag != 0),
            (5, Held::Bytes(members)) => WireValue::Struct(members),
            (6, Held::Bytes(items)) => WireValue::List(items),
            (1..=6, _) => return Err(unreadable("invalid wire type")),
            _ => continue,
        };
    }
    match kind {
        WireValue::Null => out.extend_from_slice(b"null"),
        WireValue::Bool(flag) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
        WireValue::Number(number) => {
            let number = whole(number)
                .or_else(|| Number::from_f64(number))
                .ok_or_else(|| Wrong::new("", "must not be NaN or infinite"))?;
            out.extend_from_slice(number.to_string().as_bytes());
        }
        WireValue::String(text) => write_text(text, out)?,
        WireValue::Struct(members) => read_members(members, out, nested)?,
        WireValue::List(items) => read_items(items, out, nested)?,
    }
    Ok(())
}

fn read_members(bytes: &[u8], out: &mut Vec<u8>, nested: usize) -> Result<(), Wrong> {
    let nested = inside(nested, OBJECT)?;
    let mut separator = b'{';
    for field in Each(bytes) {
        let (1, Held::Bytes(entry)) = field? else { continue };
        let (mut key, mut value) = ("", None);
        for field in Each(entry) {
            match field? {
                (1, Held::Bytes(bytes)) => key = text(bytes)?,
                (2, Held::Bytes(bytes)) => value = Some(bytes),
                _ => {}
            }
        }
        out.push(separator);
        separator = b',';
        write_text(key, out)?;
        out.push(b':');
        read_value(value.unwrap_or_default(), out, nested).under(key)?;
    }
    if separator == b'{' {
        out.push(separator);
    }
    out.push(b'}');
    Ok(())
}

fn read_items(bytes: &[u8], out: &mut Vec<u8>, nested: usize) -> Result<(), Wrong> {
    let nested = inside(nested, ARRAY)?;
    out.push(b'[');
    let mut place = 0_usize;
    for field in Each(bytes) {
        let (1, Held::Bytes(item)) = field? else { continue };
        if place > 0 {
            out.push(b',');
        }
        read_value(item, out, nested).under(place)?;
        place += 1;
    }
    out.push(b']');
    Ok(())
}

// === from JSON onto the wire ===

/// Writes a value as the fields of a `Value`.
struct Write<'a> {
    out: &'a mut Vec<u8>,
    nested: usize,
}

/// Writes an object as the fields of a `Struct`.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    nested: usize,
}

/// Writes a list as the fields of a `ListValue`.
struct Items<'a> {
    out: &'a mut Vec<u8>,
    nested: usize,
}

/// Writes a name as the first field of an entry; an empty one is left out.
struct Key<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Write<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        if self.nested >= OBJECT {
            return from.deserialize_any(self);
        }
        // At the last level that readers take, what is deeper goes out as its text.
        let raw = <&RawValue>::deserialize(from)?.get();
        let mut from = serde_json::Deserializer::from_str(raw);
        match raw.as_bytes().first() {
            Some(b'[') if self.nested >= ARRAY => {
                from.deserialize_any(self).map_err(D::Error::custom)
            }
            Some(b'[' | b'{') => self.visit_str(raw),
            _ => from.deserialize_any(self).map_err(D::Error::custom),
        }
    }
}

impl<'de> Visitor<'de> for Write<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        encoding::int32::encode(1, &0, self.out);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        encoding::bool::encode(4, &value, self.out);
        Ok(())
    }

    // Without arbitrary precision every number of JSON is also a double.
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        encoding::double::encode(2, &(value as f64), self.out);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        encoding::double::encode(2, &(value as f64), self.out);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        encoding::double::encode(2, &value, self.out);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        nest_bytes(3, value.as_bytes(), self.out);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        let begin = open(6, 0, self.out);
        Items { out: self.out, nested: self.nested }.visit_seq(items)?;
        close(begin, 0, self.out);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        let begin = open(5, 0, self.out);
        Members { out: self.out, nested: self.nested }.visit_map(members)?;
        close(begin, 0, self.out);
        Ok(())
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let nested = self.nested - ARRAY;
        loop {
            let before = self.out.len();
            let begin = open(1, 0, self.out);
            if items.next_element_seed(Write { out: self.out, nested })?.is_none() {
                self.out.truncate(before);
                return Ok(());
            }
            close(begin, 0, self.out);
        }
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let nested = self.nested - OBJECT;
        loop {
            let before = self.out.len();
            let entry = open(1, 0, self.out);
            if members.next_key_seed(Key(self.out))?.is_none() {
                self.out.truncate(before);
                return Ok(());
            }
            let value = open(2, 0, self.out);
            members.next_value_seed(Write { out: self.out, nested })?;
            close(value, 0, self.out);
            close(entry, 0, self.out);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<(), E> {
        if !name.is_empty() {
            nest_bytes(1, name.as_bytes(), self.0);
        }
        Ok(())
    }
}

/// The integer that a double is, when it is one and fits 64 bits.
fn whole(number: f64) -> Option<Number> {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    let negative_zero = number == 0.0 && number.is_sign_negative();
    if number.fract() != 0.0 || negative_zero {
        None
    } else if (-TWO_TO_63..TWO_TO_63).contains(&number) {
        Some(Number::from(number as i64))
    } else if (TWO_TO_63..2.0 * TWO_TO_63).contains(&number) {
        Some(Number::from(number as u64))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(item: impl Item) -> Vec<u8> {
        let mut out = Vec::new();
        item.put(Dialect::V1_0, &mut out);
        out
    }

    fn members(bytes: &[u8]) -> Result<Metadata, Wrong> {
        Metadata::take(bytes, Dialect::V1_0)
    }

    fn there_and_back(value: serde_json::Value) -> Json {
        Json::take(&written(Json::from(value)), Dialect::V1_0).expect("our own value")
    }

    #[test]
    fn members_keep_their_order() {
        let value = json!({"z": 1, "a": {"y": [], "b": {}}, "m": null, "": "", "s": "\"ä\n"});
        assert_eq!(there_and_back(value.clone()).text(), value.to_string());
    }

    #[test]
    fn whole_numbers_come_back_as_integers() {
        for (given, back) in [
            (json!(1.0), "1"),
            (json!(-3), "-3"),
            (json!(0.5), "0.5"),
            (json!(-0.0), "-0.0"),
            (json!(9_007_199_254_740_993_i64), "9007199254740992"),
            (json!(1_u64 << 63), "9223372036854775808"),
            (json!(i64::MIN), "-9223372036854775808"),
            (json!(1e300), "1e+300"),
        ] {
            assert_eq!(there_and_back(given).text(), back);
        }
    }

    /// The entry `a` of a struct with this value.
    fn entry(value: &[u8]) -> Vec<u8> {
        let mut entry = Vec::new();
        encoding::bytes::encode(1, &b"a".to_vec(), &mut entry);
        encoding::bytes::encode(2, &value.to_vec(), &mut entry);
        let mut out = Vec::new();
        encoding::bytes::encode(1, &entry, &mut out);
        out
    }

    #[test]
    fn a_number_that_json_lacks_is_refused_by_its_place() {
        let (mut number, mut items, mut value) = (Vec::new(), Vec::new(), Vec::new());
        encoding::double::encode(2, &f64::NAN, &mut number);
        encoding::bytes::encode(1, &written(Json::from(json!(1))), &mut items);
        encoding::bytes::encode(1, &number, &mut items);
        encoding::bytes::encode(6, &items, &mut value);
        let wrong = members(&entry(&value)).expect_err("NaN");
        assert_eq!(wrong.field.as_deref(), Some("a.1"));
    }

    #[test]
    fn of_two_members_with_one_name_the_last_counts() {
        let field = |number: i32| entry(&written(Json::from(json!(number))));
        let read = members(&[field(1), field(2)].concat()).expect("plain");
        assert_eq!(read.get("a"), Some(json!(2)));
    }

    #[test]
    fn broken_bytes_in_a_value_are_refused() {
        let whole = entry(&written(Json::from(json!({"b": [1, "two"]}))));
        for length in 1..whole.len() {
            assert!(members(&whole[..length]).is_err(), "{length}");
        }
        assert!(members(&entry(&[0x1a, 1, 0xff])).is_err());
    }

    #[test]
    fn moments_before_1970_keep_their_milliseconds() {
        for milliseconds in [-1, -1_000, -1_001, 0, 1_763_632_800_123] {
            let bytes = written(Timestamp::from_millisecond(milliseconds));
            let back = Timestamp::take(&bytes, Dialect::V1_0).expect("our own time");
            assert_eq!(back.as_millisecond(), milliseconds);
            let nanos = Fields::of(&bytes, Dialect::V1_0).and_then(|fields| fields.varint(2));
            assert!(nanos.expect("our own bytes").unwrap_or_default() < 1_000_000_000);
        }
    }

    #[test]
    fn a_moment_out_of_range_is_the_nearest_that_is_not() {
        let mut far = Vec::new();
        encoding::int64::encode(1, &i64::MAX, &mut far);
        encoding::int32::encode(2, &i32::MIN, &mut far);
        let read = Timestamp::take(&far, Dialect::V1_0).expect("a time");
        assert!(read > Timestamp::now());
    }
}

//! The messages of `google.protobuf` that A2A uses: free values, points in time, nothing at all.
//!
//! A map is written as the list of entries that it is on the wire, so members keep their order.
//! What is nested too deeply for readers of protobuf is written as its JSON text: one odd value
//! is better than a stream that ends there.

use super::{Under, Wrong};
use crate::Metadata;
use crate::time::Timestamp as Time;
use serde_json::{Number, Value as Json};

/// How many messages a free value may consist of from top to bottom. Readers accept a hundred, this
/// one too, and a part of a message of a task of a page stands up to seven deep.
const MAX_NESTED: usize = 90;
/// An object costs its own message, the entry and the value; an array its own and the value.
const OBJECT: usize = 3;
const ARRAY: usize = 2;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Struct {
    #[prost(message, repeated, tag = "1")]
    fields: Vec<Field>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Field {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

#[derive(Clone, PartialEq, prost::Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// A message without members.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Empty {}

/// Metadata as it is written.
pub(super) fn members(metadata: Option<&Metadata>) -> Option<Struct> {
    metadata.map(Struct::of)
}

/// Metadata as it is read from the field of that name.
pub(super) fn metadata(given: Option<Struct>) -> Result<Option<Metadata>, Wrong> {
    given.map(Struct::read).transpose().under("metadata")
}

impl Struct {
    pub(super) fn of(members: &Metadata) -> Self {
        Self::within(members, MAX_NESTED)
    }

    fn within(members: &Metadata, nested: usize) -> Self {
        let field = |(key, value): (&String, &Json)| Field {
            key: key.clone(),
            value: Some(Value::within(value, nested - OBJECT)),
        };
        Self { fields: members.iter().map(field).collect() }
    }

    pub(super) fn read(self) -> Result<Metadata, Wrong> {
        let mut members = Metadata::with_capacity(self.fields.len());
        for Field { key, value } in self.fields {
            let value = match value {
                Some(value) => value.read().under(&key)?,
                None => Json::Null,
            };
            members.insert(key, value);
        }
        Ok(members)
    }
}

impl Value {
    pub(super) fn of(value: &Json) -> Self {
        Self::within(value, MAX_NESTED)
    }

    fn within(value: &Json, nested: usize) -> Self {
        let kind = match value {
            Json::Null => Kind::Null(0),
            Json::Bool(flag) => Kind::Bool(*flag),
            // Without arbitrary precision every number of JSON is also a double.
            Json::Number(number) => Kind::Number(number.as_f64().unwrap_or_default()),
            Json::String(text) => Kind::String(text.clone()),
            Json::Array(items) if nested >= ARRAY => {
                let items = items.iter().map(|item| Self::within(item, nested - ARRAY));
                Kind::List(List { values: items.collect() })
            }
            Json::Object(members) if nested >= OBJECT => {
                Kind::Struct(Struct::within(members, nested))
            }
            Json::Array(_) | Json::Object(_) => Kind::String(value.to_string()),
        };
        Self { kind: Some(kind) }
    }

    pub(super) fn read(self) -> Result<Json, Wrong> {
        Ok(match self.kind {
            None | Some(Kind::Null(_)) => Json::Null,
            Some(Kind::Number(number)) => Json::Number(
                whole(number)
                    .or_else(|| Number::from_f64(number))
                    .ok_or_else(|| Wrong::new("", "must not be NaN or infinite"))?,
            ),
            Some(Kind::String(text)) => Json::String(text),
            Some(Kind::Bool(flag)) => Json::Bool(flag),
            Some(Kind::Struct(members)) => Json::Object(members.read()?),
            Some(Kind::List(list)) => {
                let items = list.values.into_iter().enumerate();
                let read = |(place, item): (usize, Self)| item.read().under(place);
                Json::Array(items.map(read).collect::<Result<_, _>>()?)
            }
        })
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

impl Timestamp {
    pub(super) fn of(time: Time) -> Self {
        let milliseconds = time.as_millisecond();
        Self {
            seconds: milliseconds.div_euclid(1_000),
            nanos: i32::try_from(milliseconds.rem_euclid(1_000) * 1_000_000)
                .expect("less than a second in nanoseconds fits 32 bits"),
        }
    }

    pub(super) fn read(self) -> Time {
        let rest = i64::from(self.nanos).div_euclid(1_000_000);
        Time::from_millisecond(self.seconds.saturating_mul(1_000).saturating_add(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use serde_json::json;

    fn there_and_back(value: &Json) -> Json {
        let bytes = Value::of(value).encode_to_vec();
        Value::decode(&*bytes).expect("our own bytes").read().expect("our own value")
    }

    #[test]
    fn members_keep_their_order() {
        let value = json!({"z": 1, "a": {"y": [], "b": {}}, "m": null, "": ""});
        assert_eq!(there_and_back(&value).to_string(), value.to_string());
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
            assert_eq!(there_and_back(&given).to_string(), back);
        }
    }

    #[test]
    fn a_number_that_json_lacks_is_refused_by_its_place() {
        let inner = Value {
            kind: Some(Kind::List(List {
                values: vec![Value::of(&json!(1)), Value { kind: Some(Kind::Number(f64::NAN)) }],
            })),
        };
        let fields = vec![Field { key: "a".into(), value: Some(inner) }];
        let wrong = Struct { fields }.read().expect_err("NaN");
        assert_eq!(wrong.field, "a.1");
    }

    #[test]
    fn of_two_members_with_one_name_the_last_counts() {
        let field = |number: i32| Field { key: "a".into(), value: Some(Value::of(&json!(number))) };
        let members = Struct { fields: vec![field(1), field(2)] }.read().expect("plain");
        assert_eq!(Json::Object(members), json!({"a": 2}));
    }

    #[test]
    fn moments_before_1970_keep_their_milliseconds() {
        for milliseconds in [-1, -1_000, -1_001, 0, 1_763_632_800_123] {
            let time = Time::from_millisecond(milliseconds);
            assert_eq!(Timestamp::of(time).read(), time);
            assert!(Timestamp::of(time).nanos >= 0);
        }
    }

    #[test]
    fn a_moment_out_of_range_is_the_nearest_that_is_not() {
        let far = Timestamp { seconds: i64::MAX, nanos: i32::MIN };
        assert!(far.read() > Time::now());
    }
}

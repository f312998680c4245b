//! How a field is read from a sender who is less strict than we are.
//!
//! Each function is a `deserialize_with`; the field also says `default`, so that absent and `null`
//! are the same thing.

use crate::Json;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, Unexpected, Visitor};
use std::fmt;

/// Base64 as it may arrive: padded or not, trailing bits forgiven.
const ANY_PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// `null` is the default value.
pub(crate) fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// `null` and the empty string are absent (an unset string has no other spelling in protobuf).
pub(crate) fn text<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: From<String>,
{
    let given = Option::<String>::deserialize(from)?;
    Ok(given.filter(|text| !text.is_empty()).map(T::from))
}

/// Present even when `null`: the one place where JSON's null is a value.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(from).map(Some)
}

/// A 32-bit integer, as a number (also `1e1`) or as a string.
pub(crate) fn int<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i32>, D::Error> {
    struct Int;

    impl<'de> Visitor<'de> for Int {
        type Value = Option<i32>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a 32-bit integer")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
            i32::try_from(value)
                .map(Some)
                .map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
        }

        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
            i32::try_from(value)
                .map(Some)
                .map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
        }

        fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
            let whole = value as i32;
            if f64::from(whole) == value {
                Ok(Some(whole))
            } else {
                Err(E::invalid_value(Unexpected::Float(value), &self))
            }
        }

        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
            if let Ok(whole) = value.parse() {
                return Ok(Some(whole));
            }
            match value.parse::<f64>() {
                Ok(number) => self.visit_f64(number),
                Err(_) => Err(E::invalid_value(Unexpected::Str(value), &self)),
            }
        }
    }

    from.deserialize_any(Int)
}

/// A 32-bit integer that is zero when absent.
pub(crate) fn int_or_zero<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    Ok(int(from)?.unwrap_or_default())
}

/// A flag, as a boolean or as the word for one (query parameters are words).
pub(crate) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    struct Flag;

    impl<'de> Visitor<'de> for Flag {
        type Value = Option<bool>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a boolean")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
            Ok(Some(value))
        }

        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
            match value {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                other => Err(E::invalid_value(Unexpected::Str(other), &self)),
            }
        }
    }

    from.deserialize_any(Flag)
}

/// A flag that is false when absent.
pub(crate) fn flag_or_false<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(flag(from)?.unwrap_or_default())
}

/// Bytes from base64, standard or URL alphabet, padded or not.
pub(crate) fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
    /// Decodes the text where it stands, without a copy of it.
    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Option<Vec<u8>>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a string")
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
            from.deserialize_str(self)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
            engine
                .decode(text.trim_ascii())
                .map(Some)
                .map_err(|cause| E::custom(format_args!("not base64: {cause}")))
        }
    }

    from.deserialize_option(Bytes)
}

/// An enum by its name or its number.
pub(crate) fn name_or_number<'de, D, T>(
    from: D,
    expected: &'static str,
    by_name: fn(&str) -> Option<T>,
    by_number: fn(u64) -> Option<T>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct Name<T> {
        expected: &'static str,
        by_name: fn(&str) -> Option<T>,
        by_number: fn(u64) -> Option<T>,
    }

    impl<T> Visitor<'_> for Name<T> {
        type Value = T;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str(self.expected)
        }

        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<T, E> {
            (self.by_name)(value).ok_or_else(|| E::invalid_value(Unexpected::Str(value), &self))
        }

        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<T, E> {
            (self.by_number)(value)
                .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
        }
    }

    from.deserialize_any(Name { expected, by_name, by_number })
}

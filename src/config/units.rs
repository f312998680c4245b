//! Ages and sizes as people write them: `10m`, `1h30m`, `1500ms`; `16MiB`, `1GB`.
//!
//! Both read a plain number too (seconds, bytes), print the shortest exact form, and refuse what
//! they cannot hold, so that a value that exists is a value that can be used.

use serde::de::{self, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

/// A length of time: more than nothing, at most a hundred years.
///
/// Written as whole numbers with units `ms`, `s`, `m`, `h`, `d`, `w` (`1h30m`), or as a plain
/// number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age(Duration);

/// A number of bytes.
///
/// Written as a whole number with a unit `B`, `kB`, `MB`, `GB`, `TB` (1000) or `KiB`, `MiB`,
/// `GiB`, `TiB` (1024; `Ki`, `Mi`, `Gi`, `Ti` as well), or as a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

const AGE_UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Far beyond any use, and near enough that adding it to a clock cannot overflow.
const LONGEST_MS: u64 = 36_525 * 86_400_000;

const BYTE_UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
];

impl Age {
    /// The age of so many whole seconds; `None` for 0 and for more than a hundred years.
    pub const fn from_secs(seconds: u64) -> Option<Self> {
        match seconds.checked_mul(1000) {
            Some(millis) => Self::from_millis(millis),
            None => None,
        }
    }

    /// The age of so many milliseconds; `None` for 0 and for more than a hundred years.
    pub const fn from_millis(millis: u64) -> Option<Self> {
        if millis == 0 || millis > LONGEST_MS {
            None
        } else {
            Some(Self(Duration::from_millis(millis)))
        }
    }

    /// The time as the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Bytes {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; the largest length where it does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "an age like 90s, 10m, 1h30m or 30d, or a number of seconds";
        let trimmed = text.trim();
        let refuse = || format!("`{trimmed}` is not {wanted}");
        let mut rest = trimmed;
        let mut total: u64 = 0;
        if let Ok(seconds) = trimmed.parse::<u64>() {
            total = seconds.saturating_mul(1000);
            rest = "";
        } else if trimmed.is_empty() {
            return Err(format!("nothing stands where {wanted} is wanted"));
        }
        let mut last = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = rest.split_at(digits);
            let letters =
                after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
            let (unit, after) = after.split_at(letters);
            let number: u64 = number.parse().map_err(|_| refuse())?;
            let (_, millis) = AGE_UNITS
                .into_iter()
                .find(|(name, millis)| *name == unit && *millis < last)
                .ok_or_else(refuse)?;
            total = total.saturating_add(number.saturating_mul(millis));
            last = millis;
            rest = after.trim_start();
        }
        match total {
            0 => Err("must be longer than 0, like 90s or 10m".to_owned()),
            _ => Self::from_millis(total)
                .ok_or_else(|| format!("`{trimmed}` is longer than a hundred years")),
        }
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(LONGEST_MS);
        // A time with a fraction of a second is clearer as milliseconds than as `1s500ms`.
        let units: &[_] = if rest % 1000 == 0 { &AGE_UNITS[1..5] } else { &AGE_UNITS[5..] };
        for (name, millis) in units {
            if rest >= *millis {
                write!(f, "{}{name}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let refuse =
            || format!("`{trimmed}` is not a size like 64KiB, 16MiB or 1GB, or a number of bytes");
        let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let unit = unit.trim_start();
        let factor = if unit.is_empty() || unit.eq_ignore_ascii_case("b") {
            1
        } else {
            BYTE_UNITS
                .into_iter()
                .find(|(name, _)| {
                    name.eq_ignore_ascii_case(unit)
                        || name.strip_suffix("iB").is_some_and(|n| {
                            unit.strip_suffix(['i', 'I']).is_some_and(|u| n.eq_ignore_ascii_case(u))
                        })
                })
                .map(|(_, factor)| factor)
                .ok_or_else(refuse)?
        };
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or_else(|| format!("`{trimmed}` is more bytes than can be counted"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BYTE_UNITS
            .into_iter()
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor))
        {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Reads `T` from a text or from a plain number that counts its base unit.
pub(super) struct TextOrNumber<T>(&'static str, PhantomData<T>);

impl<T> TextOrNumber<T> {
    /// A reader that says what it wants.
    pub(super) fn new(wanted: &'static str) -> Self {
        Self(wanted, PhantomData)
    }
}

impl<T: FromStr<Err = String>> Visitor<'_> for TextOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

/// A type that is written as text, and read from text or a number: what it wants, the types and the pattern of its
/// schema, and a sentence about it.
macro_rules! as_text {
    ($type:ident, $wanted:literal, $types:tt, $pattern:literal, $about:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any($crate::config::units::TextOrNumber::new($wanted))
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": $types, "pattern": $pattern, "description": $about })
            }
        }
    };
}
pub(super) use as_text;

as_text!(
    Age,
    "an age like 90s, 10m, 1h30m or 30d, or a number of seconds",
    ["string", "integer"],
    "^\\s*([0-9]+|([0-9]+(ms|s|m|h|d|w)\\s*)+)\\s*$",
    "A length of time: 1500ms, 90s, 10m, 1h30m, 30d, 2w; a plain number is seconds. Not 0."
);
as_text!(
    Bytes,
    "a size like 64KiB, 16MiB or 1GB, or a number of bytes",
    ["string", "integer"],
    "^\\s*[0-9]+\\s*([kKmMgGtT]?[bB]|[kKmMgGtT][iI][bB]?)?\\s*$",
    "A size: 64KiB, 16MiB (1024), 400kB, 1GB (1000); a plain number is bytes."
);

#[cfg(test)]
mod tests {
    use super::*;

    fn age(text: &str) -> String {
        text.parse::<Age>().map_or_else(|e| e, |age| age.to_string())
    }

    fn bytes(text: &str) -> String {
        text.parse::<Bytes>().map_or_else(|e| e, |bytes| bytes.to_string())
    }

    #[test]
    fn an_age_prints_its_shortest_exact_form() {
        let read: Vec<_> =
            ["10m", "30d", "1500ms", "1h30m", "3600", "90", "2w", "1h 5s", "36s"].map(age).into();
        assert_eq!(read, ["10m", "30d", "1500ms", "1h30m", "1h", "1m30s", "14d", "1h5s", "36s"]);
    }

    #[test]
    fn an_age_of_nothing_and_a_word_are_refused() {
        assert_eq!(age("0"), "must be longer than 0, like 90s or 10m");
        assert_eq!(age("0ms"), age("0"));
        for bad in ["off", "m", "10 x", "-1", "1.5h", "10m10m", "1s1h", ""] {
            assert!(bad.parse::<Age>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_age_that_would_overflow_a_clock_is_refused() {
        assert_eq!(age("99999999w"), "`99999999w` is longer than a hundred years");
        assert_eq!(
            age(&u64::MAX.to_string()),
            format!("`{}` is longer than a hundred years", u64::MAX)
        );
        assert!(
            std::time::Instant::now().checked_add("36525d".parse::<Age>().unwrap().get()).is_some()
        );
    }

    #[test]
    fn a_size_prints_its_largest_exact_unit() {
        let read: Vec<_> = ["16MiB", "1GB", "1048576", "400KB", "64 kib", "8Gi", "7", "0", "12B"]
            .map(bytes)
            .into();
        assert_eq!(read, ["16MiB", "1GB", "1MiB", "400kB", "64KiB", "8GiB", "7", "0", "12"]);
    }

    #[test]
    fn a_size_that_is_no_number_or_too_large_is_refused() {
        for bad in ["lots", "-1", "1.5GiB", "1XB", "", "99999999999TiB"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn both_are_read_from_json_texts_and_numbers() {
        assert_eq!(
            serde_json::from_str::<Age>("90").unwrap(),
            serde_json::from_str::<Age>("\"1m30s\"").unwrap()
        );
        assert_eq!(
            serde_json::from_str::<Bytes>("1024").unwrap(),
            serde_json::from_str::<Bytes>("\"1KiB\"").unwrap()
        );
        assert!(serde_json::from_str::<Age>("-1").is_err());
    }
}

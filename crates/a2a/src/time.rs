//! A point in time as the protocol writes it: UTC, milliseconds, `Z` (specification 5.6.1).

use jiff::civil::DateTime;
use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;

/// A point in time in whole milliseconds; reads any RFC 3339 offset, writes `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

/// Always three digits of a second.
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

impl Timestamp {
    /// The present by the system's clock.
    pub fn now() -> Self {
        Self::from_millisecond(jiff::Timestamp::now().as_millisecond())
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn as_millisecond(self) -> i64 {
        self.0.as_millisecond()
    }

    /// From milliseconds since 1970-01-01 UTC; what lies outside of the years -9999 to 9999 is
    /// moved to the nearest that does not.
    pub fn from_millisecond(milliseconds: i64) -> Self {
        let nearest = if milliseconds < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        Self(jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(nearest))
    }

    /// Reads RFC 3339 with any offset; without one it is taken as UTC. Finer parts than a
    /// millisecond are cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let exact = match text.parse::<jiff::Timestamp>() {
            Ok(exact) => exact,
            // Some SDKs write naive local-less times; they mean UTC.
            Err(_) => {
                let naive: DateTime = text.parse().ok()?;
                TimeZone::UTC.to_timestamp(naive).ok()?
            }
        };
        Some(Self::from_millisecond(exact.as_millisecond()))
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(exact: jiff::Timestamp) -> Self {
        Self::from_millisecond(exact.as_millisecond())
    }
}

impl From<Timestamp> for jiff::Timestamp {
    fn from(time: Timestamp) -> Self {
        time.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        PRINTER.print_timestamp(&self.0, StdFmtWrite(out)).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a timestamp like 2026-01-31T12:00:00.000Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        from.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_moment_is_read_and_written_as_one() {
        for text in [
            "2026-11-20T10:00:00.123Z",
            "2026-11-20T10:00:00.123456789Z",
            "2026-11-20T12:00:00.123+02:00",
            "2026-11-20T10:00:00.123",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), "2026-11-20T10:00:00.123Z");
        }
    }

    #[test]
    fn whole_seconds_keep_their_three_digits() {
        assert_eq!(Timestamp::from_millisecond(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_out_of_range_is_the_nearest_that_is_not() {
        assert!(Timestamp::from_millisecond(i64::MAX) > Timestamp::now());
        assert!(Timestamp::from_millisecond(i64::MIN) < Timestamp::now());
    }
}

//! Amounts of US dollars as people write them: `2`, `2.50`, `$0.05`; exact to a millionth.

use super::units::as_text;
use std::fmt;
use std::str::FromStr;

/// Millionths in a dollar.
const MICROS: u64 = 1_000_000;

/// A thousand million dollars in millionths; sums of such amounts stay far from any overflow.
const MOST: u64 = 1_000_000_000 * MICROS;

/// An amount of US dollars, from nothing to a thousand million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dollars(u64);

impl Dollars {
    /// So many millionths of a dollar; what is more than a thousand million dollars is cut off.
    pub const fn from_micros(micros: u64) -> Self {
        Self(if micros > MOST { MOST } else { micros })
    }

    /// The nearest amount to a CLI's number; none for what is no amount.
    pub fn nearest(dollars: f64) -> Option<Self> {
        if !dollars.is_finite() || dollars < 0.0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and saturates at the other end"
        )]
        let micros = (dollars * 1e6).round() as u64;
        Some(Self::from_micros(micros))
    }

    /// The amount in millionths of a dollar.
    pub const fn micros(self) -> u64 {
        self.0
    }
}

impl FromStr for Dollars {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let refuse = || {
            format!(
                "`{trimmed}` is not an amount of US dollars like 5 or 2.50, from 0.000001 to 1000000000"
            )
        };
        let number = trimmed.strip_prefix('$').unwrap_or(trimmed).trim_start();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 6 {
            return Err(refuse());
        }
        let whole: u64 = whole.parse().map_err(|_| refuse())?;
        let part: u64 = format!("{part:0<6}").parse().map_err(|_| refuse())?;
        let micros = whole.checked_mul(MICROS).and_then(|micros| micros.checked_add(part));
        match micros {
            Some(micros) if micros <= MOST => Ok(Self(micros)),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Dollars {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / MICROS, self.0 % MICROS);
        if part == 0 {
            return write!(out, "{whole}");
        }
        let part = format!("{part:06}");
        let part = part.trim_end_matches('0');
        // Cents have two digits.
        write!(out, "{whole}.{part:0<2}")
    }
}

as_text!(
    Dollars,
    "an amount of US dollars like 5 or 2.50",
    ["string", "number"],
    "^\\s*\\$?\\s*[0-9]+(\\.[0-9]{1,6})?\\s*$",
    "US dollars: 5, 2.50; exact to a millionth. Not 0."
);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        text.parse::<Dollars>().map_or_else(|error| error, |dollars| dollars.to_string())
    }

    #[test]
    fn an_amount_prints_its_cents_and_no_more_than_it_has() {
        let all = ["5", "2.5", "$ 2.50", "0.000001", "1.230", "0"].map(read);
        assert_eq!(all, ["5", "2.50", "2.50", "0.000001", "1.23", "0"]);
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for bad in [
            "",
            "-1",
            "1e3",
            "2,50",
            ".5",
            "5.",
            "NaN",
            "inf",
            "0.0000001",
            "1000000001",
            "99999999999999999999",
        ] {
            assert!(bad.parse::<Dollars>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_and_texts_are_read_alike() {
        for json in ["2.5", "\"2.50\"", "\"$2.5\""] {
            assert_eq!(
                serde_json::from_str::<Dollars>(json).unwrap(),
                Dollars::from_micros(2_500_000)
            );
        }
        assert!(serde_json::from_str::<Dollars>("-2.5").is_err());
    }

    #[test]
    fn a_number_of_a_cli_that_is_no_amount_is_refused() {
        for (number, micros) in [
            (0.1 + 0.2, Some(300_000)),
            (1e300, Some(MOST)),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(Dollars::nearest(number).map(Dollars::micros), micros, "{number}");
        }
    }
}

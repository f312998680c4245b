//! Broken text in a line of JSON: what no parser accepts becomes U+FFFD, and the rest stays as it is.
//!
//! Two things break a text that a program cuts at a number of units. In JavaScript a cut leaves half of a
//! surrogate pair, which JSON writes as `\ud83d`; in C it leaves a part of a character's bytes. A parser refuses
//! the whole line for either.

use memchr::{memchr, memmem};
use std::borrow::Cow;

/// The escape of U+FFFD, as long as that of any other unit.
const REPLACEMENT: &[u8] = br"\ufffd";

/// Bytes of an escape `\uXXXX`.
const UNIT: usize = REPLACEMENT.len();

/// An escape in a string of JSON.
pub(super) struct Escape {
    /// Its bytes; both halves of a surrogate pair are one escape.
    pub(super) length: usize,
    /// Whether it is half of a surrogate pair without the other.
    is_half: bool,
}

impl Escape {
    /// Reads the escape that these bytes begin with.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let (length, is_half) = match code_unit(bytes) {
            None => (bytes.len().min(2), false),
            Some(0xD800..=0xDBFF) => match code_unit(&bytes[UNIT..]) {
                Some(0xDC00..=0xDFFF) => (2 * UNIT, false),
                _ => (UNIT, true),
            },
            Some(0xDC00..=0xDFFF) => (UNIT, true),
            Some(_) => (UNIT, false),
        };
        Self { length, is_half }
    }
}

/// The unit of UTF-16 that these bytes begin with as an escape.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(br"\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, &digit| {
        Some(unit << 4 | u16::try_from(char::from(digit).to_digit(16)?).ok()?)
    })
}

/// The line with U+FFFD in place of halves of surrogate pairs and of bytes that are no UTF-8; the same line where
/// there are none.
pub(super) fn mend(line: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let mut line = match std::str::from_utf8(&line) {
        Ok(_) => line,
        Err(_) => Cow::Owned(String::from_utf8_lossy(&line).into_owned().into_bytes()),
    };
    let is_surrogate = |at: usize| matches!(line.get(at + 2), Some(b'd' | b'D'));
    if !memmem::find_iter(&line, br"\u").any(is_surrogate) {
        return line;
    }
    let mut at = 0;
    while let Some(found) = memchr(b'\\', &line[at..]) {
        let begin = at + found;
        let escape = Escape::read(&line[begin..]);
        at = begin + escape.length;
        if escape.is_half {
            line.to_mut()[begin..at].copy_from_slice(REPLACEMENT);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mended(line: &[u8]) -> String {
        String::from_utf8(mend(Cow::Borrowed(line)).into_owned()).unwrap()
    }

    #[test]
    fn a_half_surrogate_becomes_a_replacement_and_a_pair_stays() {
        for (line, expected) in [
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\uDE00b""#, r#""\ufffdb""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00\ude00""#, r#""\ufffd\ud83d\ude00\ufffd""#),
            (r#""\ud83d\n\ude00""#, r#""\ufffd\n\ufffd""#),
            // A backslash that is escaped begins no escape.
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud8""#, r#""\ud8""#),
        ] {
            assert_eq!(mended(line.as_bytes()), expected);
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_become_a_replacement() {
        assert_eq!(mended(b"\"a\xf0\x9f\x98\""), "\"a\u{fffd}\"");
    }

    #[test]
    fn a_line_without_a_fault_is_not_copied() {
        for line in [r#"{"text":"a\ud83d\ude00\n"}"#, r#"{"text":"é😀"}"#, ""] {
            assert!(matches!(mend(Cow::Borrowed(line.as_bytes())), Cow::Borrowed(_)), "{line}");
        }
    }

    proptest! {
        #[test]
        fn every_string_of_utf_16_units_can_be_read(units in proptest::collection::vec(
            prop_oneof![0xD7F0_u16..0xE010, any::<u16>()], 0..40,
        )) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let line = mended(format!("\"{escaped}\"").as_bytes());
            let text: String = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(text, String::from_utf16_lossy(&units));
        }

        #[test]
        fn what_can_be_read_stays_as_it_is(text in any::<String>()) {
            let line = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(mended(line.as_bytes()), line);
        }
    }
}

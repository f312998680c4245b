//! A line of JSON that is longer than what is held of a line: its longest strings are cut while it is read.
//!
//! # How it works
//!
//! What stands outside of strings is kept; of a string above a bound its beginning is kept, and [`LEFT_OUT`] after
//! it. The bound begins at a quarter of the limit. Where what is kept reaches the limit all the same, the bound is
//! lowered, and what was kept goes through once more. So the line stays JSON, it never takes more than the limit,
//! and what comes of it does not depend on the pieces in which it came.

use super::mend::Escape;
use memchr::{memchr, memchr2};
use std::mem;

/// What stands at the end of a text that was cut.
pub const LEFT_OUT: &str = " … [the rest is left out: `limits.line` bounds what is kept of a line]";

/// What a string may be longer than its bound before it is cut: more than what replaces the rest, so that a cut
/// makes it shorter, and more than an escape, so that none is cut in two.
const SLACK: usize = 128;

/// The bound of strings below which the line is given up: it consists of many short pieces.
const SHORTEST: usize = 256;

/// Whether the end of this text was left out.
#[must_use]
pub fn is_shortened(text: &str) -> bool {
    text.ends_with(LEFT_OUT)
}

/// A line that is being shortened.
#[derive(Debug)]
pub(super) struct Shortener {
    /// Bytes that are kept of the line.
    limit: usize,
    /// Bytes that are kept of a string.
    longest: usize,
    kept: Vec<u8>,
    /// The string that has begun and has not ended.
    string: Option<OpenString>,
}

#[derive(Debug)]
struct OpenString {
    /// Where its content begins in what is kept.
    start: usize,
    /// Whether the next byte belongs to an escape.
    is_escaped: bool,
    /// Whether its end is left out.
    is_cut: bool,
}

/// The line does not fit, however short its strings are cut.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DoesNotFit;

impl Shortener {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, longest: limit / 4, kept: Vec::new(), string: None }
    }

    /// Takes the next bytes of the line.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), DoesNotFit> {
        while !bytes.is_empty() {
            bytes = match &mut self.string {
                None => self.push_outside(bytes),
                Some(string) if string.is_cut => self.skip(bytes),
                Some(_) => self.push_inside(bytes),
            };
            if self.kept.len() > self.limit {
                self.lower()?;
            }
        }
        Ok(())
    }

    /// What is kept of the line.
    pub(super) fn finish(self) -> Vec<u8> {
        self.kept
    }

    /// Bytes that are taken before the limit is passed.
    fn room(&self) -> usize {
        self.limit + 1 - self.kept.len()
    }

    /// Keeps what stands before the next string; gives the rest.
    fn push_outside<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let quote = memchr(b'"', bytes).map_or(bytes.len(), |quote| quote + 1);
        let (piece, rest) = bytes.split_at(quote.min(self.room()));
        self.kept.extend_from_slice(piece);
        if piece.ends_with(b"\"") {
            self.string =
                Some(OpenString { start: self.kept.len(), is_escaped: false, is_cut: false });
        }
        rest
    }

    /// Keeps a piece of a string, up to its end at most; gives the rest.
    fn push_inside<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (room, kept) = (self.room(), self.kept.len());
        let Some(string) = &mut self.string else { return bytes };
        // One more than it may have, so that it is cut.
        let most = self.longest + SLACK + 1 - (kept - string.start);
        let (piece, ends) = string.take(&bytes[..bytes.len().min(most).min(room)]);
        let rest = &bytes[piece.len()..];
        self.kept.extend_from_slice(piece);
        if ends {
            self.string = None;
        } else if self.kept.len() - string.start > self.longest + SLACK {
            let kept = whole(&self.kept[string.start..], self.longest);
            self.kept.truncate(string.start + kept);
            string.is_cut = true;
        }
        rest
    }

    /// Passes over a string up to its end; gives the rest.
    fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(string) = &mut self.string else { return bytes };
        let (piece, ends) = string.take(bytes);
        if ends {
            self.string = None;
            self.kept.extend_from_slice(LEFT_OUT.as_bytes());
            self.kept.push(b'"');
        }
        &bytes[piece.len()..]
    }

    /// Cuts strings shorter, and begins anew with what was kept.
    fn lower(&mut self) -> Result<(), DoesNotFit> {
        self.longest /= 4;
        if self.longest < SHORTEST {
            return Err(DoesNotFit);
        }
        let kept = mem::take(&mut self.kept);
        let open = self.string.take();
        // Where that reaches the limit again, the bound is lowered within this call.
        self.push(&kept)?;
        if let (Some(string), Some(open)) = (&mut self.string, open) {
            string.is_escaped = open.is_escaped;
            string.is_cut |= open.is_cut;
        }
        Ok(())
    }
}

impl OpenString {
    /// The bytes that belong to it, with the quote that ends it; and whether it ends there.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], bool) {
        let mut at = 0;
        if mem::take(&mut self.is_escaped) && !bytes.is_empty() {
            at = 1;
        }
        while let Some(found) = memchr2(b'"', b'\\', &bytes[at..]) {
            let mark = at + found;
            if bytes[mark] == b'"' {
                return (&bytes[..=mark], true);
            }
            at = mark + 2;
            if at > bytes.len() {
                self.is_escaped = true;
                break;
            }
        }
        (bytes, false)
    }
}

/// How many of the first bytes of a string are whole characters and whole escapes, of so many.
fn whole(string: &[u8], most: usize) -> usize {
    let mut at = 0;
    while let Some(found) = memchr(b'\\', &string[at..most]) {
        let begin = at + found;
        at = begin + Escape::read(&string[begin..]).length;
        if at >= most {
            return if at == most { most } else { begin };
        }
    }
    // The first byte of a character is none that continues one.
    let is_first = |&end: &usize| string.get(end).is_none_or(|byte| byte & 0xC0 != 0x80);
    (at..=most).rev().find(is_first).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn shorten(limit: usize, line: &str, piece: usize) -> Result<String, DoesNotFit> {
        let mut shortener = Shortener::new(limit);
        for piece in line.as_bytes().chunks(piece) {
            shortener.push(piece)?;
        }
        Ok(String::from_utf8(shortener.finish()).unwrap())
    }

    /// Whether a value is the other one, but that texts in it may be cut.
    fn is_shortened_form(short: &Value, long: &Value) -> bool {
        match (short, long) {
            (Value::String(short), Value::String(long)) => {
                short == long
                    || short.strip_suffix(LEFT_OUT).is_some_and(|begin| long.starts_with(begin))
            }
            (Value::Array(short), Value::Array(long)) => {
                short.len() == long.len()
                    && short.iter().zip(long).all(|(short, long)| is_shortened_form(short, long))
            }
            (Value::Object(short), Value::Object(long)) => {
                let pairs = || short.values().zip(long.values());
                short.keys().eq(long.keys())
                    && pairs().all(|(short, long)| is_shortened_form(short, long))
            }
            _ => short == long,
        }
    }

    #[test]
    fn only_the_longest_strings_are_cut() {
        let value = json!({
            "type": "user", "file": "x".repeat(100_000), "text": "y".repeat(1000), "n": [1, 2.5],
            "again": "z".repeat(100_000), "last": "w".repeat(1000),
        });
        let line = shorten(8192, &value.to_string(), 64 * 1024).unwrap();
        let short: Value = serde_json::from_str(&line).unwrap();
        assert!(line.len() <= 8192 && is_shortened_form(&short, &value), "{line}");
        for kept in ["text", "last", "n"] {
            assert_eq!(short[kept], value[kept]);
        }
        assert!(is_shortened(short["file"].as_str().unwrap()));
    }

    #[test]
    fn the_more_long_strings_there_are_the_shorter_they_become() {
        let value = json!(vec!["x".repeat(10_000); 100]);
        let line = shorten(64 * 1024, &value.to_string(), 64 * 1024).unwrap();
        let short: Value = serde_json::from_str(&line).unwrap();
        assert!(line.len() <= 64 * 1024 && is_shortened_form(&short, &value));
    }

    #[test]
    fn a_line_of_many_short_pieces_does_not_fit() {
        let value = json!(vec!["short"; 10_000]);
        assert_eq!(shorten(8192, &value.to_string(), 100), Err(DoesNotFit));
        assert_eq!(shorten(8192, &"x".repeat(10_000), 100), Err(DoesNotFit));
    }

    fn text() -> impl Strategy<Value = String> {
        let unit = prop_oneof![
            Just("a".to_owned()),
            Just("\\".to_owned()),
            Just("\"".to_owned()),
            Just("\n".to_owned()),
            Just("é😀".to_owned()),
            any::<char>().prop_map(|char| char.to_string()),
        ];
        (proptest::collection::vec(unit, 1..40), 0_usize..60)
            .prop_map(|(units, times)| units.concat().repeat(times))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_kept_is_the_line_with_texts_cut_whatever_pieces_it_comes_in(
            texts in proptest::collection::vec((text(), any::<i64>()), 1..6),
            piece in 1_usize..5000,
            escapes in any::<bool>(),
        ) {
            let value: Value = texts
                .iter()
                .enumerate()
                .map(|(n, (text, number))| (format!("k{n}"), json!([text, number, {"t": text}])))
                .collect();
            let mut line = value.to_string();
            if escapes {
                // As JavaScript may write it: pairs of surrogates as two escapes.
                line = line.encode_utf16().map(|unit| match u8::try_from(unit) {
                    Ok(ascii) if ascii.is_ascii() => char::from(ascii).to_string(),
                    _ => format!("\\u{unit:04x}"),
                }).collect();
            }
            let limit = 6000;
            let short = shorten(limit, &line, piece);
            prop_assert_eq!(&short, &shorten(limit, &line, usize::MAX));
            if let Ok(short) = short {
                prop_assert!(short.len() <= limit);
                let read: Value = serde_json::from_str(&short).unwrap();
                prop_assert!(is_shortened_form(&read, &value));
            }
        }
    }
}

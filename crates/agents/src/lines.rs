//! Bytes to lines and to text: what a pipe gives in pieces becomes whole lines, or valid UTF-8.
//!
//! # How it works
//!
//! A line that lies whole in one chunk is borrowed from it; only a line that is split over chunks
//! is copied, and its buffer leaves with it. An idle cutter therefore holds no memory.

use std::borrow::Cow;
use std::io::BufRead;
use std::mem;

/// A line was longer than the limit; the rest of it is skipped up to its newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a line of the agent is longer than {limit} bytes; raise `limits.line` or let the agent write shorter lines"
)]
pub struct LineTooLong {
    /// The limit in bytes.
    pub limit: usize,
}

/// Cuts a byte stream into lines.
#[derive(Debug)]
pub struct LineCutter {
    limit: usize,
    /// The beginning of a line whose newline has not come yet.
    partial: Vec<u8>,
    /// Whether the rest of a line that was too long is being passed over.
    skipping: bool,
}

impl LineCutter {
    /// A cutter that refuses lines above `limit_bytes` (the newline not counted).
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit: limit_bytes, partial: Vec::new(), skipping: false }
    }

    /// Takes the next bytes and gives the lines that they complete.
    pub fn push<'a>(&'a mut self, bytes: &'a [u8]) -> Lines<'a> {
        Lines { cutter: self, rest: bytes }
    }

    /// Bytes of the line that has begun and has not ended.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.partial.len()
    }

    /// The stream has ended: its unterminated last line, if there is one.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        self.skipping = false;
        let mut line = mem::take(&mut self.partial);
        line.truncate(without_return(&line).len());
        (!line.is_empty()).then_some(line)
    }

    /// Takes a piece without a newline; false where it makes the line too long.
    fn fits(&self, piece: &[u8]) -> bool {
        self.partial.len() + piece.len() <= self.limit
    }

    fn too_long(&mut self) -> LineTooLong {
        self.partial = Vec::new();
        LineTooLong { limit: self.limit }
    }
}

/// The lines that a [`LineCutter::push`] completed, without `\n` and `\r\n`. Lines not taken when it
/// is dropped are passed over.
#[derive(Debug)]
#[must_use = "lines that are not taken are lost"]
pub struct Lines<'a> {
    cutter: &'a mut LineCutter,
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Cow<'a, [u8]>, LineTooLong>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            // `skip_until` on a slice is the standard library's fast search for one byte.
            let mut after = self.rest;
            let taken = after.skip_until(b'\n').expect("a slice can always be read");
            let piece = &self.rest[..taken];
            self.rest = after;
            let Some(end) = piece.strip_suffix(b"\n") else {
                if self.cutter.skipping {
                    return None;
                }
                if self.cutter.fits(piece) {
                    self.cutter.partial.extend_from_slice(piece);
                    return None;
                }
                self.cutter.skipping = true;
                return Some(Err(self.cutter.too_long()));
            };
            if mem::take(&mut self.cutter.skipping) {
                continue;
            }
            if !self.cutter.fits(end) {
                return Some(Err(self.cutter.too_long()));
            }
            if self.cutter.partial.is_empty() {
                return Some(Ok(Cow::Borrowed(without_return(end))));
            }
            let mut line = mem::take(&mut self.cutter.partial);
            line.extend_from_slice(end);
            line.truncate(without_return(&line).len());
            return Some(Ok(Cow::Owned(line)));
        }
        None
    }
}

impl<'a> Lines<'a> {
    /// Stops here: the bytes that are not cut yet, to be pushed again later.
    #[must_use = "these bytes are not passed over"]
    pub fn leave(mut self) -> &'a [u8] {
        mem::take(&mut self.rest)
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Turns byte chunks into valid UTF-8 text: a character that is split over chunks comes whole, a
/// byte that belongs to none becomes U+FFFD.
#[derive(Debug, Default)]
pub struct Utf8Stream {
    /// The first bytes (at most three) of a character whose rest has not come yet.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Takes the next bytes and gives the text that is certain so far.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let joined;
        let bytes = if self.pending.is_empty() {
            bytes
        } else {
            self.pending.extend_from_slice(bytes);
            joined = mem::take(&mut self.pending);
            &joined
        };
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && is_incomplete(invalid) {
                self.pending = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }

    /// The stream has ended: a replacement for a character that stayed incomplete.
    pub fn finish(&mut self) -> Option<String> {
        let pending = mem::take(&mut self.pending);
        (!pending.is_empty()).then(|| char::REPLACEMENT_CHARACTER.to_string())
    }
}

/// Whether further bytes could make these a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(limit: usize, chunks: &[&[u8]]) -> Vec<Result<Vec<u8>, LineTooLong>> {
        let mut cutter = LineCutter::new(limit);
        let mut lines = Vec::new();
        for chunk in chunks {
            lines.extend(cutter.push(chunk).map(|line| line.map(Cow::into_owned)));
        }
        lines.extend(cutter.finish().map(Ok));
        lines
    }

    fn split<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    #[test]
    fn a_line_in_one_chunk_is_borrowed() {
        let mut cutter = LineCutter::new(10);
        let line = cutter.push(b"abc\r\n").next().unwrap().unwrap();
        assert!(matches!(line, Cow::Borrowed(b"abc")));
    }

    #[test]
    fn the_unterminated_rest_comes_at_the_end() {
        assert_eq!(cut(10, &[b"a\n\nb"]), [Ok(b"a".to_vec()), Ok(Vec::new()), Ok(b"b".to_vec())]);
    }

    #[test]
    fn a_line_above_the_limit_is_one_error_and_the_next_line_is_whole() {
        let lines = cut(4, &[b"12", b"345", b"6789\nok\n"]);
        assert_eq!(lines, [Err(LineTooLong { limit: 4 }), Ok(b"ok".to_vec())]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes() {
        assert_eq!(cut(4, &[b"1234\n"]), [Ok(b"1234".to_vec())]);
    }

    #[test]
    fn an_idle_cutter_keeps_no_buffer() {
        let mut cutter = LineCutter::new(1 << 20);
        cutter.push(&[b'x'; 5000]).for_each(drop);
        cutter.push(b"\n").for_each(drop);
        assert_eq!(cutter.partial.capacity(), 0);
    }

    #[test]
    fn lines_not_taken_do_not_leak_into_the_next() {
        let mut cutter = LineCutter::new(10);
        drop(cutter.push(b"a\nb\nc"));
        assert_eq!(cutter.push(b"d\n").next().unwrap().unwrap().as_ref(), b"cd");
    }

    #[test]
    fn lines_that_are_left_can_be_pushed_again() {
        let mut cutter = LineCutter::new(10);
        let mut lines = cutter.push(b"a\nb\nc");
        assert_eq!(lines.next().unwrap().unwrap().as_ref(), b"a");
        let rest = lines.leave().to_vec();
        let lines: Vec<_> = cutter.push(&rest).map(|line| line.unwrap().into_owned()).collect();
        assert_eq!((lines, cutter.finish()), (vec![b"b".to_vec()], Some(b"c".to_vec())));
    }

    #[test]
    fn a_character_split_over_chunks_comes_whole() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(&"é€".as_bytes()[..3]), "é");
        assert_eq!(stream.push(&"é€".as_bytes()[3..]), "€");
        assert_eq!(stream.finish(), None);
    }

    #[test]
    fn an_incomplete_end_becomes_a_replacement() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(b"a\xe2\x82"), "a");
        assert_eq!(stream.finish().as_deref(), Some("\u{fffd}"));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
            limit in 0_usize..40,
        ) {
            prop_assert_eq!(cut(limit, &split(&bytes, &cuts)), cut(limit, &[&bytes]));
        }

        #[test]
        fn any_chunking_gives_the_same_text(
            bytes in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..100),
            ],
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
        ) {
            let mut stream = Utf8Stream::default();
            let mut text: String = split(&bytes, &cuts).iter().map(|chunk| stream.push(chunk)).collect();
            text.extend(stream.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}

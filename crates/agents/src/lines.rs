//! Bytes to lines and to text: what a pipe gives in pieces becomes whole lines of JSON, or valid UTF-8.
//!
//! # How it works
//!
//! A line that lies whole in one chunk is borrowed from it; only a line that is split over chunks
//! is copied, and its buffer leaves with it. An idle cutter therefore holds no memory. A line above
//! [`LineBounds::kept`] is shortened while it comes, so it takes no more memory than that. Broken text in
//! a line is mended here, for every driver.

mod mend;
mod shorten;

use shorten::Shortener;
pub use shorten::{LEFT_OUT, is_shortened};
use std::borrow::Cow;
use std::io::BufRead;
use std::mem;

/// How long lines may be, without their newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineBounds {
    /// Bytes that are kept of a line: the longest texts of a longer one are cut.
    pub kept: usize,
    /// Bytes of a line as it comes.
    pub longest: usize,
}

/// A line was too long; the rest of it is skipped up to its newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineTooLong {
    /// It was longer than [`LineBounds::longest`].
    #[error("the agent wrote a line longer than {0} bytes")]
    Whole(usize),
    /// It was longer than [`LineBounds::kept`], and no text in it is long enough to be cut.
    #[error("the agent wrote a line longer than {0} bytes that consists of many short texts")]
    Shortened(usize),
}

impl LineTooLong {
    /// The key of the configuration that bounds it.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Whole(_) => "limits.longest_line",
            Self::Shortened(_) => "limits.line",
        }
    }
}

/// Whether a text in this JSON of a line may have been mended.
pub(crate) fn may_be_mended(json: &str) -> bool {
    [r"\ufffd", "\u{fffd}"].iter().any(|sign| json.contains(sign))
}

/// Cuts a byte stream into lines of JSON.
#[derive(Debug)]
pub struct LineCutter {
    bounds: LineBounds,
    begun: BegunLine,
    /// Bytes of the line that has begun, with those that are not kept.
    begun_bytes: usize,
}

/// The line whose newline has not come yet.
#[derive(Debug)]
enum BegunLine {
    /// All of it is kept.
    Whole(Vec<u8>),
    /// Its longest texts are cut.
    Shortened(Shortener),
    /// It was too long.
    Skipped,
}

impl LineCutter {
    /// A cutter with these bounds.
    #[must_use]
    pub fn new(bounds: LineBounds) -> Self {
        Self { bounds, begun: BegunLine::Whole(Vec::new()), begun_bytes: 0 }
    }

    /// Takes the next bytes and gives the lines that they complete.
    pub fn push<'a>(&'a mut self, bytes: &'a [u8]) -> Lines<'a> {
        Lines { cutter: self, rest: bytes }
    }

    /// Bytes of the line that has begun and has not ended, as they came.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.begun_bytes
    }

    /// The stream has ended: its unterminated last line, if there is one.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let line = self.take().filter(|line| !line.is_empty())?;
        Some(mend::mend(Cow::Owned(line)).into_owned())
    }

    /// Adds a piece to the line that has begun.
    fn add(&mut self, piece: &[u8]) -> Result<(), LineTooLong> {
        let LineBounds { kept: limit, longest } = self.bounds;
        if matches!(self.begun, BegunLine::Skipped) {
            return Ok(());
        }
        self.begun_bytes += piece.len();
        if self.begun_bytes > longest.max(limit) {
            self.begun = BegunLine::Skipped;
            return Err(LineTooLong::Whole(longest.max(limit)));
        }
        let fits = match &mut self.begun {
            BegunLine::Whole(line) if line.len() + piece.len() <= limit => {
                line.extend_from_slice(piece);
                Ok(())
            }
            BegunLine::Whole(line) => {
                let mut shortener = Shortener::new(limit);
                let fits = shortener.push(line).and_then(|()| shortener.push(piece));
                self.begun = BegunLine::Shortened(shortener);
                fits
            }
            BegunLine::Shortened(shortener) => shortener.push(piece),
            BegunLine::Skipped => Ok(()),
        };
        fits.map_err(|shorten::DoesNotFit| {
            self.begun = BegunLine::Skipped;
            LineTooLong::Shortened(limit)
        })
    }

    /// The line that has begun, and no other one begins; none where it was too long.
    fn take(&mut self) -> Option<Vec<u8>> {
        self.begun_bytes = 0;
        let mut line = match mem::replace(&mut self.begun, BegunLine::Whole(Vec::new())) {
            BegunLine::Whole(line) => line,
            BegunLine::Shortened(shortener) => shortener.finish(),
            BegunLine::Skipped => return None,
        };
        line.truncate(without_return(&line).len());
        Some(line)
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
                return self.cutter.add(piece).err().map(Err);
            };
            if self.cutter.begun_bytes == 0 && end.len() <= self.cutter.bounds.kept {
                return Some(Ok(mend::mend(Cow::Borrowed(without_return(end)))));
            }
            let added = self.cutter.add(end);
            let line = self.cutter.take();
            match (added, line) {
                (Err(too_long), _) => return Some(Err(too_long)),
                (Ok(()), Some(line)) => return Some(Ok(mend::mend(Cow::Owned(line)))),
                // The rest of a line that was too long.
                (Ok(()), None) => {}
            }
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

    /// A cutter that keeps all of a line, up to a limit.
    fn cutter(limit: usize) -> LineCutter {
        LineCutter::new(LineBounds { kept: limit, longest: limit })
    }

    fn cut(limit: usize, chunks: &[&[u8]]) -> Vec<Result<Vec<u8>, LineTooLong>> {
        let mut cutter = cutter(limit);
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
        let mut cutter = cutter(10);
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
        assert_eq!(lines, [Err(LineTooLong::Whole(4)), Ok(b"ok".to_vec())]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes() {
        assert_eq!(cut(4, &[b"1234\n"]), [Ok(b"1234".to_vec())]);
    }

    #[test]
    fn a_line_above_what_is_kept_is_shortened_and_the_next_line_is_whole() {
        let bounds = LineBounds { kept: 2000, longest: 100_000 };
        let mut cutter = LineCutter::new(bounds);
        let long = format!(r#"{{"type":"x","data":"{}"}}"#, "x".repeat(50_000));
        let stream = format!("{long}\r\n\"next\"\n");
        let lines: Vec<_> = stream
            .as_bytes()
            .chunks(1000)
            .flat_map(|chunk| {
                cutter.push(chunk).map(|line| line.map(Cow::into_owned)).collect::<Vec<_>>()
            })
            .collect();
        let [Ok(short), Ok(next)] = lines.as_slice() else { panic!("{lines:?}") };
        let value: serde_json::Value = serde_json::from_slice(short).unwrap();
        assert!(short.len() <= bounds.kept && is_shortened(value["data"].as_str().unwrap()));
        assert_eq!((&value["type"], next.as_slice()), (&"x".into(), &br#""next""#[..]));
    }

    #[test]
    fn a_line_that_cannot_be_shortened_names_the_key_that_bounds_it() {
        let mut cutter = LineCutter::new(LineBounds { kept: 1000, longest: 5000 });
        let mut too_long = |line: String| cutter.push(line.as_bytes()).next().unwrap().unwrap_err();
        assert_eq!(too_long("1,".repeat(2000) + "\n").key(), "limits.line");
        assert_eq!(too_long(format!("\"{}\"\n", "x".repeat(6000))).key(), "limits.longest_line");
    }

    #[test]
    fn broken_text_is_mended_in_every_line() {
        let mut cutter = cutter(100);
        let mut lines = cutter.push(b"\"\\ud83d\"\n\"\\ud83d\"");
        assert_eq!(lines.next().unwrap().unwrap().as_ref(), br#""\ufffd""#);
        drop(lines);
        assert_eq!(cutter.finish().unwrap(), br#""\ufffd""#);
    }

    #[test]
    fn an_idle_cutter_keeps_no_buffer() {
        let mut cutter = cutter(1 << 20);
        cutter.push(&[b'x'; 5000]).for_each(drop);
        cutter.push(b"\n").for_each(drop);
        assert!(
            matches!(&cutter.begun, BegunLine::Whole(line) if line.capacity() == 0),
            "{cutter:?}"
        );
    }

    #[test]
    fn lines_not_taken_do_not_leak_into_the_next() {
        let mut cutter = cutter(10);
        drop(cutter.push(b"a\nb\nc"));
        assert_eq!(cutter.push(b"d\n").next().unwrap().unwrap().as_ref(), b"cd");
    }

    #[test]
    fn lines_that_are_left_can_be_pushed_again() {
        let mut cutter = cutter(10);
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

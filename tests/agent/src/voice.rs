//! How the agent speaks: plain text, or one event a line.

use serde_json::{Value, json};
use std::io::{self, BufWriter, Stdout, Write};

/// The output of the agent, in the mode it was started in.
#[derive(Debug)]
pub(crate) struct Voice {
    events: bool,
    out: BufWriter<Stdout>,
}

impl Voice {
    /// Speaks in events, or in text.
    pub(crate) fn new(events: bool) -> Self {
        Self {
            events,
            // Larger than a pipe, so that a flood costs few calls.
            out: BufWriter::with_capacity(128 << 10, io::stdout()),
        }
    }

    /// A piece of the answer: a line in text, exactly this in events.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        if self.events {
            self.line(json!({"type": "text", "text": text}).to_string().as_bytes())
        } else {
            self.line(text.as_bytes())
        }
    }

    /// A line of the answer in both modes.
    pub(crate) fn text_line(&mut self, text: &str) -> io::Result<()> {
        if self.events { self.text(&format!("{text}\n")) } else { self.text(text) }
    }

    /// An event; in text a line on standard error, with the statement that asked for it.
    pub(crate) fn event(&mut self, event: &Value, statement: &str) -> io::Result<()> {
        if self.events {
            self.line(event.to_string().as_bytes())
        } else {
            writeln!(io::stderr(), "{statement}")
        }
    }

    /// A line as it is.
    pub(crate) fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.write_all(b"\n")
    }

    /// One line of `x`, as it is, without holding it in memory.
    pub(crate) fn big_line(&mut self, bytes: u64) -> io::Result<()> {
        io::copy(&mut io::Read::take(io::repeat(b'x'), bytes), &mut self.out)?;
        self.out.write_all(b"\n")
    }

    /// What was said is on its way.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Whether it speaks in events.
    pub(crate) fn speaks_events(&self) -> bool {
        self.events
    }
}

/// Base64 in the standard alphabet, padded.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let sextet = bits >> (18 - 6 * i) & 63;
            out.push(match i <= three.len() {
                true => char::from(ALPHABET[sextet as usize]),
                false => '=',
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_padded() {
        let encoded = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}

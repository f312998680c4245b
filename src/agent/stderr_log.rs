//! What an agent's CLI writes to its standard error, for the server's log: each line once.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// Different lines of one agent that are logged until the server's end.
const MOST_LINES: usize = 256;

/// Bytes of one line that are logged.
const LONGEST_LINE: usize = 1024;

/// The lines of one agent that were logged; clones are not made, all of its sessions share it.
#[derive(Debug, Default)]
pub(crate) struct StderrLog(Mutex<HashSet<u64>>);

impl StderrLog {
    /// Logs the whole lines in `waiting`, which keeps what has no end yet.
    pub(crate) fn hear(&self, agent: &str, waiting: &mut Vec<u8>) {
        let mut begin = 0;
        while let Some(length) = waiting[begin..].iter().position(|&byte| byte == b'\n') {
            self.log(agent, &waiting[begin..begin + length]);
            begin += length + 1;
        }
        waiting.drain(..begin);
        if waiting.len() > LONGEST_LINE {
            self.log(agent, waiting);
            waiting.clear();
        }
    }

    /// Logs a line, if it is a new one.
    pub(crate) fn log(&self, agent: &str, line: &[u8]) {
        if let Some(line) = self.note(line) {
            tracing::warn!(agent = %agent, "standard error of `{agent}`: {line}");
        }
    }

    /// A line as it is logged; none where it is empty, was logged, or too many were.
    fn note(&self, line: &[u8]) -> Option<String> {
        let line = String::from_utf8_lossy(line);
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        let mut line: String = line.trim().chars().map(shown).collect();
        if line.is_empty() {
            return None;
        }
        line.truncate(line.floor_char_boundary(LONGEST_LINE));
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let mut known = self.0.lock();
        (known.len() < MOST_LINES && known.insert(hasher.finish())).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_without_control_characters_and_their_number_is_bounded() {
        let log = StderrLog::default();
        assert_eq!(log.note(b"a\x1b[1mb\n").as_deref(), Some("a [1mb"));
        assert_eq!(log.note(b"a\x1b[1mb"), None);
        assert_eq!(log.note(b" \n"), None);
        for n in 0..2 * MOST_LINES {
            log.note(n.to_string().as_bytes());
        }
        assert_eq!(log.0.lock().len(), MOST_LINES);
    }

    #[test]
    fn a_line_that_has_no_end_yet_waits_for_it_up_to_a_bound() {
        let (log, mut waiting) = (StderrLog::default(), b"one\ntw".to_vec());
        log.hear("a", &mut waiting);
        assert_eq!(waiting, b"tw");
        waiting.resize(LONGEST_LINE + 1, b'x');
        log.hear("a", &mut waiting);
        assert_eq!((waiting.len(), log.0.lock().len()), (0, 2));
    }
}

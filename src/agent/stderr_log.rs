//! What an agent's CLI writes to its standard error, for the server's log: each line once.

use parking_lot::Mutex;
use pilothouse_agents::is_unshowable;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};

/// Lines of one agent that are remembered, so that they are not logged again.
const REMEMBERED: usize = 4096;

/// Lines of one session that are logged.
const MOST_LINES: usize = 256;

/// Bytes of one line that are logged.
const LONGEST_LINE: usize = 1024;

/// The lines of one agent that were logged last; all of its sessions share it.
#[derive(Debug, Default)]
pub(crate) struct StderrLog(Mutex<KnownLines>);

/// Hashes of lines, and their order.
#[derive(Debug, Default)]
struct KnownLines {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

/// The standard error of one session.
#[derive(Debug, Default)]
pub(crate) struct SessionStderr {
    /// What waits for the end of its line.
    waiting: Vec<u8>,
    /// How many of its lines were logged.
    logged: usize,
}

impl StderrLog {
    /// Whether a line was not logged yet; it counts as logged from now on.
    fn learn(&self, line: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let hash = hasher.finish();
        let mut lines = self.0.lock();
        if !lines.known.insert(hash) {
            return false;
        }
        lines.order.push_back(hash);
        if lines.order.len() > REMEMBERED
            && let Some(oldest) = lines.order.pop_front()
        {
            lines.known.remove(&oldest);
        }
        true
    }
}

impl SessionStderr {
    /// Logs the whole lines of what was read; at the end of the pipe also what has no end.
    pub(crate) fn hear(&mut self, log: &StderrLog, read: Option<&[u8]>, agent: &str) {
        let mut bytes = std::mem::take(&mut self.waiting);
        bytes.extend_from_slice(read.unwrap_or_default());
        let mut rest = &*bytes;
        while let Some(length) = rest.iter().position(|&byte| byte == b'\n') {
            self.log(log, &rest[..length], agent);
            rest = &rest[length + 1..];
        }
        match read {
            Some(_) if rest.len() <= LONGEST_LINE => self.waiting = rest.to_vec(),
            Some(_) | None => self.log(log, rest, agent),
        }
    }

    fn log(&mut self, log: &StderrLog, line: &[u8], agent: &str) {
        if let Some(line) = self.note(log, line) {
            tracing::warn!(agent = %agent, "standard error of `{agent}`: {line}");
            if self.logged == MOST_LINES {
                tracing::warn!(
                    agent = %agent,
                    "this session of `{agent}` has written {MOST_LINES} lines to its standard error; further ones are not logged"
                );
            }
        }
    }

    /// A line as it is logged; none where it is empty, was logged, or the session has had too many.
    fn note(&mut self, log: &StderrLog, line: &[u8]) -> Option<String> {
        if self.logged >= MOST_LINES {
            return None;
        }
        let line = String::from_utf8_lossy(line);
        let shown = |c: char| if is_unshowable(c) { ' ' } else { c };
        let mut line: String = line.trim().chars().map(shown).collect();
        line.truncate(line.floor_char_boundary(LONGEST_LINE));
        if line.is_empty() || !log.learn(&line) {
            return None;
        }
        self.logged += 1;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_without_control_characters_whichever_session_writes_it() {
        let (log, mut one, mut other) =
            (StderrLog::default(), SessionStderr::default(), SessionStderr::default());
        assert_eq!(one.note(&log, b"a\x1b[1mb\n").as_deref(), Some("a [1mb"));
        assert_eq!(one.note(&log, b"a\x1b[1mb"), None);
        assert_eq!(other.note(&log, b"a\x1b[1mb"), None);
        assert_eq!(one.note(&log, b" \n"), None);
    }

    #[test]
    fn a_session_that_writes_many_lines_does_not_take_those_of_others() {
        let (log, mut loud, mut other) =
            (StderrLog::default(), SessionStderr::default(), SessionStderr::default());
        let lines = 2 * REMEMBERED;
        let logged = (0..lines).filter(|n| loud.note(&log, n.to_string().as_bytes()).is_some());
        assert_eq!(logged.count(), MOST_LINES);
        assert_eq!(other.note(&log, b"one").as_deref(), Some("one"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let log = StderrLog::default();
        for n in 0..2 * REMEMBERED {
            log.learn(&n.to_string());
        }
        let lines = log.0.lock();
        assert_eq!((lines.known.len(), lines.order.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn a_line_that_has_no_end_yet_waits_for_it_up_to_a_bound() {
        let (log, mut session) = (StderrLog::default(), SessionStderr::default());
        session.hear(&log, Some(b"one\ntw"), "a");
        assert_eq!((&*session.waiting, session.logged), (&b"tw"[..], 1));
        session.hear(&log, Some(&[b'x'; LONGEST_LINE]), "a");
        assert_eq!((session.waiting.len(), session.logged), (0, 2));
        session.hear(&log, Some(b"the end"), "a");
        session.hear(&log, None, "a");
        assert_eq!((session.waiting.len(), session.logged), (0, 3));
    }
}

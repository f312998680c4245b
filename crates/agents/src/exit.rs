//! The end of a process in words: what happened, its last words, and what somebody can do.

use crate::Exit;
use crate::lines::is_shortened;

/// How much of standard error a failure carries, in bytes.
const LAST_WORDS: usize = 2 * 1024;

impl Exit {
    /// One sentence on how `program` ended, with its last words.
    pub(crate) fn describe(&self, program: &str) -> String {
        let how = match (self.code, self.signal) {
            (Some(code), _) => format!("`{program}` exited with code {code}"),
            (None, Some(signal)) => format!("`{program}` was ended by {}", signal_name(signal)),
            (None, None) => format!("`{program}` ended in an unknown way"),
        };
        match self.last_words() {
            "" => how,
            words => format!("{how}: {words}"),
        }
    }

    /// What can be done about an end of this kind, whatever the program.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match (self.code, self.signal) {
            (Some(126), _) => {
                "the program is not executable; check its permissions and its first line"
            }
            (Some(127), _) => {
                "a command was not found; check that the program and its interpreter are installed"
            }
            (Some(137), _) | (None, Some(9)) => {
                "it was killed, by the kernel when memory ran out or by somebody; check the memory limit"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// The end of standard error, from a line's beginning where there is one.
    pub fn last_words(&self) -> &str {
        let words = self.stderr.trim();
        if words.len() <= LAST_WORDS {
            return words;
        }
        let tail = &words[words.ceil_char_boundary(words.len() - LAST_WORDS)..];
        tail.split_once('\n').map_or(tail, |(_, lines)| lines)
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// Cuts text to `limit` bytes at a character and says how much is left out.
pub(crate) fn bounded(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let cut = text.floor_char_boundary(limit);
        let (left_out, is_cut) = (text.len() - cut, is_shortened(&text));
        text.truncate(cut);
        let least = if is_cut { "at least " } else { "" };
        text.push_str(&format!("\n[{least}{left_out} more bytes left out]"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: Option<i32>, signal: Option<i32>, stderr: &str) -> Exit {
        Exit { code, signal, stderr: stderr.to_owned() }
    }

    #[test]
    fn a_failure_names_the_code_and_the_last_words() {
        assert_eq!(
            exit(Some(3), None, "no key\n").describe("bot"),
            "`bot` exited with code 3: no key"
        );
    }

    #[test]
    fn a_signal_is_named() {
        assert_eq!(exit(None, Some(9), "").describe("bot"), "`bot` was ended by SIGKILL");
    }

    #[test]
    fn last_words_are_whole_lines_of_a_bounded_length() {
        let exit = exit(Some(1), None, &"a line of ten\n".repeat(1000));
        assert!(exit.last_words().len() <= LAST_WORDS);
        assert!(exit.last_words().starts_with("a line"));
    }

    #[test]
    fn bounded_text_says_how_much_is_left_out() {
        assert_eq!(bounded("ééé".to_owned(), 3), "é\n[4 more bytes left out]");
    }
}

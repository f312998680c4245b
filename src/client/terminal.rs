//! The terminal at the other end: how wide it is, what it may show, and what must never reach it.

use super::link;
use super::outcome::seconds;
use crate::config::Environment;
use anstyle::{AnsiColor, Style};
use std::io::{self, IsTerminal, Write};
use std::time::Instant;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Beside what matters.
pub(super) const DIM: Style = Style::new().dimmed();
/// As it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// Waits for somebody.
pub(super) const WAITS: Style = AnsiColor::Yellow.on_default();

/// Columns of a terminal that does not tell.
const WIDTH: usize = 80;
const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// What standard output and standard error can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Standard output is a terminal.
    pub(crate) terminal: bool,
    /// Standard output is styled.
    pub(crate) styled: bool,
    /// Standard error is a terminal that can redraw a line.
    pub(crate) lively: bool,
    /// Standard error is styled.
    pub(crate) styled_errors: bool,
    /// Columns; none where lines may have any length.
    pub(crate) width: Option<usize>,
    /// Standard error shows links.
    pub(crate) links: bool,
    /// A person can be asked: standard input is a terminal, and so is standard error.
    pub(crate) asks: bool,
}

impl Screen {
    /// What this process was given; `NO_COLOR` and `FORCE_COLOR` say otherwise.
    pub(crate) fn of_process(environment: &Environment) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let (terminal, errors) = (out.is_terminal(), err.is_terminal());
        let capable = environment.get("TERM").is_none_or(|term| term != "dumb");
        let refused = environment.get("NO_COLOR").is_some();
        let forced = environment.get("FORCE_COLOR").is_some_and(|value| value != "0");
        let styled = |terminal: bool| !refused && (forced || (terminal && capable));
        let columns = || {
            let told = environment.get("COLUMNS").and_then(|columns| columns.parse().ok());
            let size = rustix::termios::tcgetwinsize(&out)
                .or_else(|_| rustix::termios::tcgetwinsize(&err));
            let asked = size.ok().map(|size| usize::from(size.ws_col));
            asked.or(told).filter(|&columns| columns > 0).unwrap_or(WIDTH).max(20)
        };
        Self {
            terminal,
            styled: styled(terminal),
            lively: errors && capable,
            styled_errors: styled(errors),
            width: terminal.then(columns),
            links: errors && capable && link::are_shown(environment),
            asks: errors && capable && io::stdin().is_terminal(),
        }
    }
}

/// Text in a style, where styles are shown.
pub(super) fn styled(text: &str, style: Style, on: bool) -> String {
    if on { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

// === what must not reach a terminal ===

/// Takes escape sequences and control characters out of text that comes in pieces. Tabs and line feeds
/// stay.
#[derive(Debug, Default)]
pub(super) struct Filter(Sequence);

/// Where in an escape sequence the text stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// In a control sequence, until its final byte.
    Control,
    /// In a string (a title, a link), until its terminator or the end of the line.
    String,
    /// In a string, after ESC.
    StringEnd,
}

impl Filter {
    /// The next piece without what a terminal would obey.
    pub(super) fn push(&mut self, text: &str) -> String {
        text.chars().filter(|&character| self.keeps(character)).collect()
    }

    fn keeps(&mut self, character: char) -> bool {
        if character == '\n' {
            self.0 = Sequence::None;
            return true;
        }
        let (next, keep) = match (self.0, character) {
            (Sequence::StringEnd, '\\') | (Sequence::String, '\u{7}' | '\u{9c}') => {
                (Sequence::None, false)
            }
            (Sequence::String, '\u{1b}') => (Sequence::StringEnd, false),
            (Sequence::String | Sequence::StringEnd, _) => (Sequence::String, false),
            (_, '\u{1b}') => (Sequence::Begun, false),
            (_, '\u{9b}') | (Sequence::Begun, '[') => (Sequence::Control, false),
            (_, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}')
            | (Sequence::Begun, ']' | 'P' | 'X' | '^' | '_') => (Sequence::String, false),
            (Sequence::Begun, ' '..='/') => (Sequence::Begun, false),
            (Sequence::Begun, '0'..='~') => (Sequence::None, false),
            (Sequence::Control, ' '..='?') => (Sequence::Control, false),
            (Sequence::Control, '@'..='~') => (Sequence::None, false),
            (Sequence::None | Sequence::Begun | Sequence::Control, other) => {
                (Sequence::None, shows(other))
            }
        };
        self.0 = next;
        keep
    }
}

/// Neither a control character, nor one without width that hides, nor one that turns the direction of what follows.
pub(super) fn shows(character: char) -> bool {
    character == '\t'
        || !(character.is_control()
            || matches!(character, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// Text that may stand on a terminal, with its lines.
pub(super) fn clean(text: &str) -> String {
    Filter::default().push(text)
}

/// Text that may stand on one line of a terminal.
pub(super) fn clean_line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

// === widths ===

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The beginning of a text that fits, with `…` where something is missing.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut taken = 0;
    for character in text.chars() {
        taken += character.width().unwrap_or_default();
        if taken + 1 > most {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

/// A text with spaces up to a width.
pub(super) fn padded(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

// === one line that moves ===

/// A line on standard error that says what happens now; gone before anything else is printed.
#[derive(Debug)]
pub(super) struct Spinner {
    on: bool,
    styled: bool,
    width: usize,
    frame: usize,
    drawn: bool,
    began: Instant,
}

impl Spinner {
    /// A spinner; a still one where standard error is no terminal.
    pub(super) fn new(screen: &Screen) -> Self {
        let width = screen.width.unwrap_or(WIDTH);
        Self {
            on: screen.lively,
            styled: screen.styled_errors,
            width,
            frame: 0,
            drawn: false,
            began: Instant::now(),
        }
    }

    /// Draws the next frame; `doing` must be clean. A terminal that is gone is no reason to stop.
    pub(super) fn draw(&mut self, doing: &str) {
        if !self.on {
            return;
        }
        let frame = FRAMES[self.frame % FRAMES.len()];
        self.frame += 1;
        self.drawn = true;
        let doing = format!("{} · {doing}", seconds(self.began.elapsed()));
        let text = styled(&cut(&doing, self.width.saturating_sub(3)), DIM, self.styled);
        let _ = write!(io::stderr(), "\r\u{1b}[K{frame} {text}");
        let _ = io::stderr().flush();
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
            let _ = io::stderr().flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_control_characters_are_taken_out_in_pieces_of_any_size() {
        let evil = "a\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}b\u{1b}]8;;http://x\u{1b}\\c\u{9b}2Jd\r\n\te\u{202e}f\u{8}";
        for size in 1..6 {
            let mut filter = Filter::default();
            let characters: Vec<char> = evil.chars().collect();
            let pieces =
                characters.chunks(size).map(|piece| filter.push(&piece.iter().collect::<String>()));
            assert_eq!(pieces.collect::<String>(), "ared bcd\n\tef");
        }
    }

    #[test]
    fn a_string_without_an_end_swallows_its_line_only() {
        assert_eq!(clean("a\u{1b}]0;never ends\nnext"), "a\nnext");
    }

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(clean_line("a\u{200b}b\u{feff}"), "ab");
        assert_eq!(clean_line(" a\n\u{1b}[2Jb\t c "), "a b c");
    }

    #[test]
    fn a_cut_text_fits_also_with_wide_characters() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "long…");
        assert_eq!(cut("日本語日本", 5), "日本…");
        assert_eq!(width(&cut("日本語日本", 6)), 5);
    }
}

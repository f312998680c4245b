//! Markdown on a terminal while it arrives: a line is styled and printed as soon as it is whole.
//!
//! # How it works
//!
//! A line is styled by itself: the marks it begins with (heading, item, quote), then what stands in it.
//! Only the rows of a table wait for each other, because their columns are aligned. Nothing that was
//! printed is ever redrawn, so nothing flickers, and the size of the pieces makes no difference.
//!
//! # Pitfalls
//!
//! Emphasis that continues on the next line, and a link that is defined on another line, stay as they
//! are written.

use super::table::align;
use super::terminal::{DIM, clean, styled};
use anstyle::{AnsiColor, Style};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use textwrap::core::display_width;

/// Lines longer than this are hard to read.
const WIDEST: usize = 100;
/// Columns of a rule.
const RULE: usize = 40;
const CODE: Style = AnsiColor::Cyan.on_default();
const HEADING: Style = Style::new().bold();

/// Prints Markdown as it arrives.
#[derive(Debug)]
pub(super) struct Printer {
    width: usize,
    /// The beginning of a line.
    held: String,
    fence: Option<Fence>,
    /// The rows of an open table, each with its line feed.
    rows: String,
    /// Something stands above.
    begun: bool,
    /// A blank line stands between what was printed and what follows.
    gap: bool,
}

/// An open block of fenced code.
#[derive(Debug)]
struct Fence {
    mark: char,
    length: usize,
    indent: usize,
}

impl Printer {
    /// A printer for lines of so many columns.
    pub(super) fn new(width: usize) -> Self {
        Self {
            width: width.min(WIDEST),
            held: String::new(),
            fence: None,
            rows: String::new(),
            begun: false,
            gap: false,
        }
    }

    /// Takes a piece of text without control characters; what can be printed now.
    pub(super) fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let mut out = String::new();
        let whole = self.held.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.held.split_off(whole);
        for line in std::mem::replace(&mut self.held, rest).lines() {
            self.print(&mut out, line);
        }
        out
    }

    /// The end of the text: what was held back.
    pub(super) fn finish(&mut self) -> String {
        let mut out = self.push("\n");
        self.print_table(&mut out);
        *self = Self::new(self.width);
        out
    }

    /// The line that is not printed yet, for somebody who waits.
    pub(super) fn tail(&self) -> &str {
        self.held.trim_end()
    }

    fn print(&mut self, out: &mut String, line: &str) {
        if let Some(fence) = &self.fence {
            if fence.is_closed_by(line) {
                self.fence = None;
            } else {
                print_code(out, fence.content(line));
            }
            return;
        }
        if line.trim_start().starts_with('|') {
            self.rows.push_str(line);
            self.rows.push('\n');
            return;
        }
        self.print_table(out);
        if line.trim().is_empty() {
            self.gap = true;
            return;
        }
        self.separate(out);
        self.fence = Fence::opened_by(line);
        if self.fence.is_none() {
            print_line(out, line, self.width);
        }
    }

    fn print_table(&mut self, out: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        self.separate(out);
        let rows = std::mem::take(&mut self.rows);
        match read_table(&rows).split_first() {
            Some((head, body)) => {
                let head: Vec<&str> = head.iter().map(String::as_str).collect();
                let text = align(&head, body, None);
                let (head, body) = text.split_once('\n').unwrap_or((&text, ""));
                out.push_str(&styled(head, HEADING, true));
                out.push('\n');
                out.push_str(body);
            }
            None => rows.lines().for_each(|row| print_line(out, row, self.width)),
        }
    }

    /// A blank line where one was written, but none above everything.
    fn separate(&mut self, out: &mut String) {
        if std::mem::take(&mut self.gap) && self.begun {
            out.push('\n');
        }
        self.begun = true;
    }
}

impl Fence {
    /// The fence that a line opens.
    fn opened_by(line: &str) -> Option<Self> {
        let rest = line.trim_start_matches(' ');
        let mark = rest.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
        let length = rest.chars().take_while(|&character| character == mark).count();
        let opens = length >= 3 && !rest[length..].contains('`');
        opens.then_some(Self { mark, length, indent: line.len() - rest.len() })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let rest = line.trim_start_matches(' ');
        let marks = rest.chars().take_while(|&character| character == self.mark).count();
        line.len() - rest.len() <= self.indent + 3
            && marks >= self.length
            && rest[marks..].trim().is_empty()
    }

    /// A line without the indentation of the fence.
    fn content<'a>(&self, line: &'a str) -> &'a str {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        &line[spaces.min(self.indent)..]
    }
}

fn print_code(out: &mut String, line: &str) {
    let line = clean(line);
    if !line.is_empty() {
        out.push_str("  ");
        out.push_str(&styled(&line, CODE, true));
    }
    out.push('\n');
}

/// Prints a line behind its marks, wrapped to so many columns.
fn print_line(out: &mut String, line: &str, width: usize) {
    let rest = line.trim_start();
    let mut outer = line[..line.len() - rest.len()].to_owned();
    let mut rest = rest.trim_end();
    while let Some(quoted) = rest.strip_prefix('>') {
        outer.push_str(&styled("│ ", DIM, true));
        rest = quoted.trim_start();
    }
    if is_rule(rest) {
        out.push_str(&format!("{outer}{}\n", styled(&"─".repeat(RULE.min(width)), DIM, true)));
        return;
    }
    let (mark, style, rest) = split_mark(rest);
    let first = format!("{outer}{mark}");
    let further = format!("{outer}{}", " ".repeat(display_width(&mark)));
    let options = textwrap::Options::new(width)
        .initial_indent(&first)
        .subsequent_indent(&further)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .break_words(false);
    out.push_str(&textwrap::fill(&style_text(rest, style), options));
    out.push('\n');
}

fn is_rule(line: &str) -> bool {
    ['-', '*', '_']
        .iter()
        .any(|mark| line.matches(*mark).count() >= 3 && line.trim_matches([*mark, ' ']).is_empty())
}

/// What a line begins with, as it is shown; the style of the line; and the rest of it.
fn split_mark(line: &str) -> (String, Style, &str) {
    let plain = Style::new();
    let heading = line.trim_start_matches('#');
    if matches!(line.len() - heading.len(), 1..=6) && heading.starts_with(' ') {
        return (String::new(), HEADING, heading.trim_end_matches('#').trim());
    }
    if let Some(item) = ["- ", "* ", "+ "].iter().find_map(|mark| line.strip_prefix(mark)) {
        let item = item.trim_start();
        let boxes = [("[ ] ", "• ☐ "), ("[x] ", "• ☑ "), ("[X] ", "• ☑ "), ("", "• ")];
        let found = boxes.iter().find_map(|(mark, shown)| Some((*shown, item.strip_prefix(mark)?)));
        let (mark, item) = found.unwrap_or(("• ", item));
        return (mark.to_owned(), plain, item);
    }
    let digits = line.len() - line.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    match line[digits..].strip_prefix(". ").or_else(|| line[digits..].strip_prefix(") ")) {
        Some(item) if digits > 0 => (format!("{}. ", &line[..digits]), plain, item.trim_start()),
        Some(_) | None => (String::new(), plain, line),
    }
}

/// The text of a line with the styles of what stands in it.
fn style_text(text: &str, style: Style) -> String {
    let mut runs: Vec<(Style, String)> = Vec::new();
    let mut styles = vec![style];
    let mut links = Vec::new();
    // A character reference may have made a control character again.
    let add = |runs: &mut Vec<(Style, String)>, style: Style, text: &str| match runs.last_mut() {
        Some((last, run)) if *last == style => run.push_str(&clean(text)),
        Some(_) | None => runs.push((style, clean(text))),
    };
    for event in Parser::new_ext(text, Options::ENABLE_STRIKETHROUGH) {
        let style = styles.last().copied().unwrap_or_default();
        match event {
            Event::Text(text) => add(&mut runs, style, &text),
            Event::Code(text) => add(&mut runs, CODE, &text),
            Event::Html(text) | Event::InlineHtml(text) => add(&mut runs, DIM, &text),
            Event::Start(Tag::Emphasis) => styles.push(style.italic()),
            Event::Start(Tag::Strong) => styles.push(style.bold()),
            Event::Start(Tag::Strikethrough) => styles.push(style.strikethrough()),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                links.push((dest_url, runs.len()));
                styles.push(style.underline());
            }
            Event::End(TagEnd::Link | TagEnd::Image) => {
                styles.pop();
                let style = styles.last().copied().unwrap_or_default();
                if let Some((url, from)) = links.pop() {
                    let text: String = runs.iter().skip(from).map(|(_, text)| &**text).collect();
                    if text != *url && url.strip_prefix("mailto:") != Some(&text) {
                        add(&mut runs, style, " ");
                        add(&mut runs, DIM, &format!("({url})"));
                    }
                }
            }
            Event::End(TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough) => {
                styles.pop();
            }
            _ => {}
        }
    }
    if runs.is_empty() {
        // A definition of a link, which is no text to the parser.
        runs.push((style, clean(text)));
    }
    runs.iter().map(|(style, text)| styled(text, *style, *style != Style::new())).collect()
}

/// The cells of a table by rows, its head first; none where the rows are no table.
fn read_table(rows: &str) -> Vec<Vec<String>> {
    let mut table: Vec<Vec<String>> = Vec::new();
    for event in Parser::new_ext(rows, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::TableHead | Tag::TableRow) => table.push(Vec::new()),
            Event::Start(Tag::TableCell) => {
                table.last_mut().into_iter().for_each(|row| row.push(String::new()));
            }
            Event::Text(text) | Event::Code(text) => {
                let cell = table.last_mut().and_then(|row| row.last_mut());
                cell.into_iter().for_each(|cell| cell.push_str(&text));
            }
            _ => {}
        }
    }
    table
}

#[cfg(test)]
mod tests;

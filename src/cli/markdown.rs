//! Markdown on a terminal while it arrives. A block is printed once, when nothing can change it any more.
//!
//! # How it works
//!
//! Text is held until its block is over: a paragraph by a blank line or by what begins after it, a
//! heading by its line, a list by each next item. Fenced code goes out line by line. Nothing that was
//! printed is ever redrawn, so nothing flickers, and the size of the pieces makes no difference.
//!
//! # Pitfalls
//!
//! A line may still become something else until it is whole, so only whole lines are looked at. A
//! reference to a link that is defined in another block stays as it is written.

mod render;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};
use std::ops::Range;

/// Lines longer than this are hard to read.
const WIDEST: usize = 100;

/// Prints Markdown as it arrives.
#[derive(Debug)]
pub(super) struct Printer {
    width: usize,
    /// What is not printed yet; begins at the beginning of a line.
    held: String,
    fence: Option<Fence>,
    /// Something stands above: a blank line goes between.
    begun: bool,
    /// Items of the list that `held` begins with are printed already.
    list: Option<List>,
}

/// An open block of fenced code.
#[derive(Debug)]
struct Fence {
    mark: char,
    length: usize,
    indent: usize,
}

/// A list that is under way, with the number of its next item.
#[derive(Debug, Clone, Copy)]
struct List(Option<u64>);

/// A block of the outermost level.
#[derive(Debug)]
struct Block {
    kind: Kind,
    range: Range<usize>,
}

#[derive(Debug)]
enum Kind {
    /// Over at a blank line.
    Text,
    /// Over with its line.
    Line,
    /// Fenced code.
    Fence,
    /// A list: its first number, and where its items begin.
    List(Option<u64>, Vec<usize>),
    /// Over when something else begins.
    Other,
}

impl Printer {
    /// A printer for lines of so many columns.
    pub(super) fn new(width: usize) -> Self {
        Self {
            width: width.min(WIDEST),
            held: String::new(),
            fence: None,
            begun: false,
            list: None,
        }
    }

    /// Takes a piece of text without control characters; what can be printed now.
    pub(super) fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let mut out = String::new();
        if text.contains('\n') {
            self.advance(&mut out, false);
        }
        out
    }

    /// The end of the text: what was held back.
    pub(super) fn finish(&mut self) -> String {
        if !self.held.is_empty() && !self.held.ends_with('\n') {
            self.held.push('\n');
        }
        let mut out = String::new();
        self.advance(&mut out, true);
        *self = Self::new(self.width);
        out
    }

    /// The last words of what is held back, for somebody who waits.
    pub(super) fn tail(&self) -> &str {
        self.held.trim_end().rsplit('\n').next().unwrap_or_default()
    }

    fn advance(&mut self, out: &mut String, last: bool) {
        loop {
            if self.fence.is_some() && !self.code(out) {
                return;
            }
            if !self.blocks(out, last) {
                return;
            }
        }
    }

    /// Prints whole lines of an open fence. Whether it was closed.
    fn code(&mut self, out: &mut String) -> bool {
        let Some(fence) = &self.fence else {
            return true;
        };
        let mut at = 0;
        let mut closed = false;
        while let Some(length) = self.held[at..].find('\n') {
            let line = &self.held[at..at + length];
            at += length + 1;
            if fence.is_closed_by(line) {
                closed = true;
                break;
            }
            render::code_line(out, fence.content(line));
        }
        self.held.drain(..at);
        if closed {
            self.fence = None;
        }
        closed
    }

    /// Prints the blocks that are over. Whether an open fence is to be gone on with.
    fn blocks(&mut self, out: &mut String, last: bool) -> bool {
        let whole = self.held.rfind('\n').map_or(0, |at| at + 1);
        let blocks = blocks(&self.held[..whole]);
        let count = blocks.len();
        for (number, block) in blocks.into_iter().enumerate() {
            let over = last || number + 1 < count || self.is_over(&block, whole);
            let begins = line_start(&self.held, block.range.start);
            match block.kind {
                Kind::Fence => {
                    let opening =
                        self.held[begins..].find('\n').map_or(whole, |length| begins + length);
                    let Some(fence) = Fence::opened_by(&self.held[begins..opening]) else {
                        self.print(out, block.range, None);
                        continue;
                    };
                    // What stands before is printed; the lines from here on are code.
                    self.separate(out);
                    self.fence = Some(fence);
                    self.held.drain(..(opening + 1).min(self.held.len()));
                    return true;
                }
                Kind::List(start, items) => {
                    let begun = self.list.take();
                    let first = begun.map_or(start, |List(number)| number);
                    let end = if over {
                        block.range.end
                    } else {
                        line_start(&self.held, *items.last().unwrap_or(&begins))
                    };
                    let printed = if over { items.len() } else { items.len().saturating_sub(1) };
                    if printed > 0 {
                        if begun.is_none() {
                            self.separate(out);
                        }
                        out.push_str(&render::block(&self.held[begins..end], first, self.width));
                    }
                    if !over {
                        let number = first.map(|first| first + printed as u64);
                        self.list = (begun.is_some() || printed > 0).then_some(List(number));
                        self.held.drain(..end);
                        return false;
                    }
                }
                Kind::Text | Kind::Line | Kind::Other if over => self.print(out, block.range, None),
                Kind::Text | Kind::Line | Kind::Other => {
                    self.held.drain(..begins);
                    return false;
                }
            }
        }
        self.held.drain(..whole);
        false
    }

    /// Prints one block that is over.
    fn print(&mut self, out: &mut String, range: Range<usize>, number: Option<u64>) {
        self.separate(out);
        let begins = line_start(&self.held, range.start);
        out.push_str(&render::block(&self.held[begins..range.end], number, self.width));
    }

    /// A blank line between this block and the one above.
    fn separate(&mut self, out: &mut String) {
        self.list = None;
        if std::mem::replace(&mut self.begun, true) {
            out.push('\n');
        }
    }

    /// Whether nothing that follows can change the last block.
    fn is_over(&self, block: &Block, whole: usize) -> bool {
        match block.kind {
            Kind::Line => true,
            Kind::Text => {
                self.held[..whole].lines().next_back().is_some_and(|line| line.trim().is_empty())
            }
            Kind::Fence | Kind::List(..) | Kind::Other => false,
        }
    }
}

impl Fence {
    /// The fence that a line opens.
    fn opened_by(line: &str) -> Option<Self> {
        let rest = line.trim_start_matches(' ');
        let mark = rest.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
        let length = rest.chars().take_while(|&character| character == mark).count();
        (length >= 3).then_some(Self { mark, length, indent: line.len() - rest.len() })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let rest = line.trim_start_matches(' ');
        let marks = rest.chars().take_while(|&character| character == self.mark).count();
        line.len() - rest.len() <= 3 && marks >= self.length && rest[marks..].trim().is_empty()
    }

    /// A line without the indentation of the fence.
    fn content<'a>(&self, line: &'a str) -> &'a str {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        &line[spaces.min(self.indent)..]
    }
}

/// What Markdown is understood here.
fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS
}

/// The blocks of the outermost level.
fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut depth = 0;
    for (event, range) in Parser::new_ext(text, options()).into_offset_iter() {
        match event {
            Event::Start(tag) => {
                match (depth, &tag) {
                    (0, tag) => found.push(Block { kind: kind(tag, &text[range.clone()]), range }),
                    (1, Tag::Item) => {
                        if let Some(Block { kind: Kind::List(_, items), .. }) = found.last_mut() {
                            items.push(range.start);
                        }
                    }
                    _ => {}
                }
                depth += 1;
            }
            Event::End(_) => depth -= 1,
            _ if depth == 0 => found.push(Block { kind: Kind::Line, range }),
            _ => {}
        }
    }
    found
}

fn kind(tag: &Tag<'_>, source: &str) -> Kind {
    match tag {
        Tag::Heading { .. } if source.starts_with('#') => Kind::Line,
        Tag::Paragraph | Tag::Heading { .. } | Tag::Table(_) | Tag::BlockQuote(_) => Kind::Text,
        Tag::CodeBlock(CodeBlockKind::Fenced(_)) => Kind::Fence,
        Tag::List(start) => Kind::List(*start, Vec::new()),
        _ => Kind::Other,
    }
}

/// Where the line of a place begins.
fn line_start(text: &str, place: usize) -> usize {
    text[..place].rfind('\n').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests;

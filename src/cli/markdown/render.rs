//! One block of Markdown as lines for a terminal: wrapped, indented, styled.

use super::super::terminal::{DIM, clean, cut, padded, styled, width};
use anstyle::{AnsiColor, Style};
use pulldown_cmark::{Alignment, CodeBlockKind, Event, Parser, Tag, TagEnd};

const CODE: Style = AnsiColor::Cyan.on_default();
const HEADING: Style = Style::new().bold();
const RULE: usize = 40;
const NARROWEST: usize = 20;

/// Renders a block; `number` is that of the first item where a list goes on.
pub(super) fn block(source: &str, number: Option<u64>, width: usize) -> String {
    let mut page = Page { number, width, styles: vec![Style::new()], ..Page::default() };
    page.containers.push(Container::default());
    for event in Parser::new_ext(source, super::options()) {
        page.take(event);
    }
    page.flush();
    page.out
}

/// A line of code.
pub(super) fn code_line(out: &mut String, line: &str) {
    let line = clean(line);
    if !line.is_empty() {
        out.push_str("  ");
        out.push_str(&styled(&line, CODE, true));
    }
    out.push('\n');
}

/// A run of text in one style.
type Run = (Style, String);

/// What is being laid out.
#[derive(Default)]
struct Page {
    out: String,
    width: usize,
    number: Option<u64>,
    containers: Vec<Container>,
    /// The numbers of the open lists.
    lists: Vec<Option<u64>>,
    styles: Vec<Style>,
    /// The open paragraph; a line feed is a hard break.
    runs: Vec<Run>,
    /// The addresses of open links, and where their text began.
    links: Vec<(String, usize)>,
    code: Option<String>,
    table: Option<Table>,
}

/// What stands around a block: the marks at the beginning of its lines.
#[derive(Default)]
struct Container {
    first: Option<String>,
    rest: String,
    style: Style,
    blocks: usize,
}

#[derive(Default)]
struct Table {
    alignments: Vec<Alignment>,
    rows: Vec<Vec<String>>,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.text(&text, self.style()),
            },
            Event::Code(text) => self.text(&text, CODE),
            Event::Html(text) | Event::InlineHtml(text) => self.text(&text, DIM),
            Event::SoftBreak => self.text(" ", self.style()),
            Event::HardBreak => self.text("\n", self.style()),
            Event::Rule => {
                self.open_block(true);
                self.line(&[(DIM, "─".repeat(RULE.min(self.room())))]);
            }
            Event::TaskListMarker(done) => self.text(if done { "☑ " } else { "☐ " }, self.style()),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { .. } => self.styles.push(HEADING),
            Tag::BlockQuote(_) => {
                self.flush();
                self.open_block(true);
                self.containers.push(Container {
                    rest: "│ ".to_owned(),
                    style: DIM,
                    ..Container::default()
                });
            }
            Tag::CodeBlock(kind) => {
                self.flush();
                debug_assert!(matches!(kind, CodeBlockKind::Indented | CodeBlockKind::Fenced(_)));
                self.code = Some(String::new());
            }
            Tag::List(start) => {
                self.flush();
                self.open_block(false);
                let number = if self.lists.is_empty() { self.number.or(start) } else { start };
                self.lists.push(start.and(number));
            }
            Tag::Item => {
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    Some(None) | None => "• ".to_owned(),
                };
                let rest = " ".repeat(width(&mark));
                self.containers.push(Container { first: Some(mark), rest, ..Container::default() });
            }
            Tag::Table(alignments) => {
                self.flush();
                self.table = Some(Table { alignments, rows: Vec::new() });
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Tag::Emphasis => self.styles.push(self.style().italic()),
            Tag::Strong => self.styles.push(self.style().bold()),
            Tag::Strikethrough => self.styles.push(self.style().strikethrough()),
            Tag::Link { dest_url, .. } => {
                self.links.push((dest_url.to_string(), self.runs.len()));
                self.styles.push(self.style().underline());
            }
            Tag::Image { dest_url, .. } => {
                self.links.push((dest_url.to_string(), self.runs.len()));
                self.text("image: ", DIM);
                self.styles.push(self.style());
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.flush(),
            TagEnd::Heading(_) => {
                self.flush();
                self.styles.pop();
            }
            TagEnd::BlockQuote(_) => {
                self.flush();
                self.containers.pop();
            }
            TagEnd::Item => {
                self.flush();
                if self.containers.last().is_some_and(|item| item.first.is_some()) {
                    self.line(&[]);
                }
                self.containers.pop();
            }
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::CodeBlock => self.code_block(),
            TagEnd::TableCell => {
                let cell: String =
                    std::mem::take(&mut self.runs).into_iter().map(|(_, text)| text).collect();
                if let Some(row) = self.table.as_mut().and_then(|table| table.rows.last_mut()) {
                    row.push(cell);
                }
            }
            TagEnd::Table => self.lay_table(),
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => {
                self.styles.pop();
            }
            TagEnd::Link | TagEnd::Image => {
                self.styles.pop();
                if let Some((url, from)) = self.links.pop() {
                    let text: String = self.runs[from.min(self.runs.len())..]
                        .iter()
                        .map(|(_, text)| text.as_str())
                        .collect();
                    if text != url && url.strip_prefix("mailto:") != Some(&text) {
                        self.text(&format!(" ({url})"), DIM);
                    }
                }
            }
            _ => {}
        }
    }

    fn style(&self) -> Style {
        self.styles.last().copied().unwrap_or_default()
    }

    /// Text of the open paragraph. A character reference may have made a control character again.
    fn text(&mut self, text: &str, style: Style) {
        self.runs.push((style, clean(text)));
    }

    // === laying out ===

    /// A block begins; a blank line stands between it and the one above where both are of one kind.
    fn open_block(&mut self, spaced: bool) {
        let Some(container) = self.containers.last_mut() else {
            return;
        };
        container.blocks += 1;
        if container.blocks > 1 && spaced {
            self.line(&[]);
        }
    }

    /// Columns that are left beside the marks.
    fn room(&self) -> usize {
        let marks: usize = self.containers.iter().map(|container| width(&container.rest)).sum();
        self.width.saturating_sub(marks).max(NARROWEST)
    }

    /// Prints the open paragraph.
    fn flush(&mut self) {
        let runs = std::mem::take(&mut self.runs);
        if runs.iter().all(|(_, text)| text.trim().is_empty()) {
            return;
        }
        self.open_block(true);
        for line in wrapped(&runs, self.room()) {
            self.line(&line);
        }
    }

    fn code_block(&mut self) {
        let Some(code) = self.code.take() else { return };
        self.open_block(true);
        for line in clean(&code).lines() {
            self.line(&[(Style::new(), "  ".to_owned()), (CODE, line.to_owned())]);
        }
    }

    fn lay_table(&mut self) {
        let Some(Table { alignments, rows }) = self.table.take() else {
            return;
        };
        self.open_block(true);
        let mut widths = vec![0; alignments.len()];
        for row in &rows {
            for (most, cell) in widths.iter_mut().zip(row) {
                *most = width(cell).max(*most);
            }
        }
        let gaps = 3 * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > self.room() {
            match widths.iter_mut().max() {
                Some(widest) if *widest > 6 => *widest -= 1,
                _ => break,
            }
        }
        for (number, row) in rows.iter().enumerate() {
            let mut line = Vec::new();
            for (column, cell) in row.iter().enumerate() {
                if column > 0 {
                    line.push((DIM, " │ ".to_owned()));
                }
                let (wide, alignment) = (widths[column], alignments[column]);
                let text = aligned(&cut(cell, wide), wide, alignment);
                line.push((if number == 0 { HEADING } else { Style::new() }, text));
            }
            self.line(&line);
            if number == 0 {
                let bars: Vec<String> = widths.iter().map(|&wide| "─".repeat(wide)).collect();
                self.line(&[(DIM, bars.join("─┼─"))]);
            }
        }
    }

    /// One line behind the marks of what it stands in.
    fn line(&mut self, runs: &[Run]) {
        let mut line: Vec<Run> = Vec::new();
        for container in &mut self.containers {
            let mark = container.first.take().unwrap_or_else(|| container.rest.clone());
            join(&mut line, container.style, &mark);
        }
        for (style, text) in runs {
            join(&mut line, *style, text);
        }
        // Nothing invisible at the end of a line.
        while let Some((_, last)) = line.last_mut() {
            last.truncate(last.trim_end().len());
            if !last.is_empty() {
                break;
            }
            line.pop();
        }
        for (style, text) in line {
            self.out.push_str(&styled(&text, style, style != Style::new()));
        }
        self.out.push('\n');
    }
}

fn aligned(text: &str, wide: usize, alignment: Alignment) -> String {
    let missing = wide.saturating_sub(width(text));
    match alignment {
        Alignment::None | Alignment::Left => padded(text, wide),
        Alignment::Right => format!("{}{text}", " ".repeat(missing)),
        Alignment::Center => padded(&format!("{}{text}", " ".repeat(missing / 2)), wide),
    }
}

/// Adds text to the end of a line, to the last run where that has the same style.
fn join(line: &mut Vec<Run>, style: Style, text: &str) {
    match line.last_mut() {
        Some((last, run)) if *last == style => run.push_str(text),
        _ if text.is_empty() => {}
        _ => line.push((style, text.to_owned())),
    }
}

/// Lines that fit, broken between words; a word that fits nowhere stands alone.
fn wrapped(runs: &[Run], room: usize) -> Vec<Vec<Run>> {
    let mut lines = vec![Vec::new()];
    let (mut taken, mut word, mut wide) = (0, Vec::new(), 0);
    let mut gap: Option<Style> = None;
    let mut place =
        |word: &mut Vec<Run>, wide: &mut usize, gap: &mut Option<Style>, broken: bool| {
            if !word.is_empty() {
                let space = usize::from(gap.is_some() && taken > 0);
                if taken > 0 && taken + space + *wide > room {
                    lines.push(Vec::new());
                    taken = 0;
                }
                let line = lines.last_mut().expect("begins with one line and loses none");
                if let Some(style) = gap.take().filter(|_| taken > 0) {
                    // A space between two words of one style belongs to both.
                    let inside =
                        line.last().is_some_and(|(last, _)| *last == style) && word[0].0 == style;
                    join(line, if inside { style } else { Style::new() }, " ");
                }
                taken += space + std::mem::take(wide);
                for (style, text) in word.drain(..) {
                    join(line, style, &text);
                }
            }
            if broken {
                lines.push(Vec::new());
                taken = 0;
                *gap = None;
            }
        };
    for (style, text) in runs {
        for character in text.chars() {
            if character == '\n' {
                place(&mut word, &mut wide, &mut gap, true);
            } else if character == ' ' || character == '\t' {
                place(&mut word, &mut wide, &mut gap, false);
                gap = Some(*style);
            } else {
                let mut buffer = [0; 4];
                let character: &str = character.encode_utf8(&mut buffer);
                wide += width(character);
                join(&mut word, *style, character);
            }
        }
    }
    place(&mut word, &mut wide, &mut gap, false);
    while lines.len() > 1 && lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

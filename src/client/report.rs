//! What was checked and what was found: one line each, the fix beside it.

use super::terminal::{BAD, DIM, GOOD, WAITS, clean, clean_line, padded, styled, width};
use serde_json::{Value, json};

/// Columns that a detail has at least.
const NARROWEST: usize = 30;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// As it should be.
    Good,
    /// Wrong.
    Bad,
    /// Worth knowing; nothing is wrong.
    Note,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    finding: Finding,
    name: String,
    detail: String,
    fix: Option<String>,
}

/// All that was checked, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report(Vec<Check>);

impl Report {
    /// Something is as it should be.
    pub(crate) fn good(&mut self, name: &str, detail: impl AsRef<str>) {
        self.add(Finding::Good, name, detail.as_ref(), None);
    }

    /// Something is wrong, and this is what to do.
    pub(crate) fn bad(&mut self, name: &str, detail: impl AsRef<str>, fix: impl AsRef<str>) {
        self.add(Finding::Bad, name, detail.as_ref(), Some(fix.as_ref()));
    }

    /// Something is wrong, in a text of our own that keeps its lines: one marks a place by its column.
    pub(crate) fn bad_text(&mut self, name: &str, text: &str, fix: impl AsRef<str>) {
        self.bad(name, "", fix);
        if let Some(check) = self.0.last_mut() {
            check.detail = clean(text).trim_end().to_owned();
        }
    }

    /// Something is worth knowing.
    pub(crate) fn note(&mut self, name: &str, detail: impl AsRef<str>) {
        self.add(Finding::Note, name, detail.as_ref(), None);
    }

    fn add(&mut self, finding: Finding, name: &str, detail: &str, fix: Option<&str>) {
        let fix = fix.filter(|fix| !fix.is_empty()).map(clean_line);
        self.0.push(Check {
            finding,
            name: clean_line(name),
            detail: clean_line(&on_one_line(detail)),
            fix,
        });
    }

    /// Nothing is wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.0.iter().all(|check| check.finding != Finding::Bad)
    }

    /// The lines, readable without colour; in rows of whole words where a terminal has so many columns.
    pub(crate) fn lines(&self, on: bool, columns: Option<usize>) -> String {
        let wide = self.0.iter().map(|check| width(&check.name)).max().unwrap_or(0);
        let mut out = String::new();
        for Check { finding, name, detail, fix } in &self.0 {
            let (mark, style) = match finding {
                Finding::Good => ("✓", GOOD),
                Finding::Bad => ("✗", BAD),
                Finding::Note => ("•", WAITS),
            };
            // Further lines stand below the first.
            let below = format!("\n{:1$}", "", wide + 4);
            let room = columns.map(|columns| columns.saturating_sub(wide + 4).max(NARROWEST));
            let lines: Vec<String> = match detail.lines().count() {
                0 | 1 => wrap(detail, room),
                _ => detail.lines().map(|line| line.trim_end().to_owned()).collect(),
            };
            out.push_str(&format!("{} {}  ", styled(mark, style, on), padded(name, wide)));
            out.push_str(&lines.join(&below));
            if let Some(fix) = fix {
                let fix = format!("→ {fix}");
                let last = lines.last().map_or(0, |line| width(line));
                let is_beside = room.is_none_or(|room| last + 1 + width(&fix) <= room);
                let gap = if lines.len() > 1 || !is_beside { &*below } else { " " };
                let rows = wrap(&fix, room).into_iter().map(|row| styled(&row, DIM, on));
                out.push_str(&format!("{gap}{}", rows.collect::<Vec<_>>().join(&below)));
            }
            out.push('\n');
        }
        out
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let each = |Check { finding, name, detail, fix }: &Check| {
            let finding = match finding {
                Finding::Good => "ok",
                Finding::Bad => "problem",
                Finding::Note => "note",
            };
            json!({"name": name, "status": finding, "detail": detail, "fix": fix})
        };
        self.0.iter().map(each).collect()
    }
}

/// A line in rows of whole words.
fn wrap(text: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room else { return vec![text.trim_end().to_owned()] };
    let options = textwrap::Options::new(room)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::wrap(text, options).into_iter().map(|row| row.into_owned()).collect()
}

/// A text of several lines with a separator between each two.
fn on_one_line(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match out.chars().last() {
            None => {}
            Some(':' | ';' | ',') => out.push(' '),
            Some(_) => out.push_str("; "),
        }
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_its_fix_beside_it() {
        let mut report = Report::default();
        report.good("store", "opens");
        report.note("isolation", "no sandbox yet");
        assert!(report.is_good());
        report.bad("port", "2222 is taken\nby a server", "choose another with --port");
        assert!(!report.is_good());
        report.bad_text("file", "no such key\n --> f:1:3\n  |\n1 | a: b\n  |   ^\n", "correct it");
        insta::assert_snapshot!(report.lines(false, None), @r"
✓ store      opens
• isolation  no sandbox yet
✗ port       2222 is taken; by a server → choose another with --port
✗ file       no such key
              --> f:1:3
               |
             1 | a: b
               |   ^
             → correct it
");
        assert_eq!(report.json()[2]["status"], "problem");
        let mut report = Report::default();
        report.bad(
            "port",
            "2222 is taken by another server of this user",
            "choose another one with `--port`",
        );
        insta::assert_snapshot!(report.lines(false, Some(40)), @r"
✗ port  2222 is taken by another server
        of this user
        → choose another one with
        `--port`
");
    }
}

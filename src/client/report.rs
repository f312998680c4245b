//! What was checked and what was found: one line each, the fix beside it.

use super::terminal::{BAD, DIM, GOOD, WAITS, clean, clean_line, padded, styled, width};
use serde_json::{Value, json};

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

    /// The lines, readable without colour.
    pub(crate) fn lines(&self, on: bool) -> String {
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
            let lines: Vec<&str> = detail.lines().map(str::trim_end).collect();
            out.push_str(&format!("{} {}  ", styled(mark, style, on), padded(name, wide)));
            out.push_str(&lines.join(&below));
            if let Some(fix) = fix {
                let gap = if lines.len() > 1 { &*below } else { " " };
                out.push_str(&format!("{gap}{}", styled(&format!("→ {fix}"), DIM, on)));
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
        insta::assert_snapshot!(report.lines(false), @r"
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
    }
}

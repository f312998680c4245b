//! The `.env` file: `NAME=value` lines, read as they stand.
//!
//! Nothing is expanded in a value: a `$` in a password or a key must arrive as it was written.
//! (dotenvy replaces `$name` by the process's own variables and tells no line numbers.) Quotes
//! `'`, `"` and `` ` `` may span lines; `\n`, `\r`, `\t`, `\"` and `\\` mean something between
//! double quotes only. A `#` begins a comment at the start of a line and after a blank.

use super::error::{Error, FilePosition};
use super::secrets::{MASK, masked_line};
use std::collections::BTreeMap;
use std::path::Path;

/// Reads the text of a `.env` file; a doubled name takes the last value.
///
/// # Errors
/// A line that is no `NAME=value` and a quote that is not closed, with file and line; the value is
/// never part of the error.
pub(super) fn parse(text: &str, path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let fail = |problem: &str, column: usize| {
            let shown = if line.contains('=') { masked_name(line) } else { masked_line(MASK) };
            Err(Box::new(FilePosition {
                path: path.to_owned(),
                line: index + 1,
                column,
                problem: problem.to_owned(),
                source_line: shown,
                length: 1,
            })
            .into())
        };
        let statement = line.trim_start();
        if statement.is_empty() || statement.starts_with('#') {
            continue;
        }
        let statement = statement.strip_prefix("export ").unwrap_or(statement);
        let Some((name, value)) = statement.split_once('=') else {
            return fail("a line of this file is `NAME=value`, a comment, or empty", 1);
        };
        let name = name.trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(is_name)
        {
            return fail("what stands before `=` is not the name of a variable", 1);
        }
        let value = value.trim_start();
        let value = match value.chars().next().filter(|c| matches!(c, '\'' | '"' | '`')) {
            None => unquoted(value).to_owned(),
            Some(quote) => {
                let mut body = value[1..].to_owned();
                let end = loop {
                    if let Some(end) = closing(&body, quote) {
                        break end;
                    }
                    let Some((_, next)) = lines.next() else {
                        return fail(
                            &format!("the quote {quote} of `{name}` is not closed"),
                            line.chars().count() - value.chars().count() + 1,
                        );
                    };
                    body.push('\n');
                    body.push_str(next);
                };
                if !unquoted(&format!(" {}", &body[end + 1..])).is_empty() {
                    return fail(
                        &format!("something stands behind the closing quote of `{name}`"),
                        1,
                    );
                }
                if quote == '"' { unescaped(&body[..end]) } else { body[..end].to_owned() }
            }
        };
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

/// The line up to its `=`; what follows may be secret whatever its name is.
fn masked_name(line: &str) -> String {
    line.split_once('=').map_or_else(|| MASK.to_owned(), |(name, _)| format!("{name}={MASK}"))
}

/// A value without quotes: up to a comment, without blanks around it.
fn unquoted(value: &str) -> &str {
    let comment = value
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|&at| at == 0 || value[..at].ends_with([' ', '\t']));
    value[..comment.unwrap_or(value.len())].trim()
}

/// Where the quote closes; behind a backslash it does not where backslashes mean something.
fn closing(body: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    body.char_indices().find_map(|(at, c)| {
        let closes = c == quote && !escaped;
        escaped = quote == '"' && c == '\\' && !escaped;
        closes.then_some(at)
    })
}

fn unescaped(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => out.push(c),
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(c @ ('"' | '\\')) => out.push(c),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text, Path::new(".env")).unwrap().into_iter().collect()
    }

    fn one(text: &str) -> String {
        read(text).pop().unwrap().1
    }

    fn error(text: &str) -> String {
        parse(text, Path::new(".env")).unwrap_err().to_string()
    }

    #[test]
    fn comments_blanks_export_and_crlf_are_understood() {
        let text = "# first\r\n\r\nexport A = 1 # one\r\n  B=\r\nC=x#y\r\n";
        assert_eq!(
            read(text),
            [("A", "1"), ("B", ""), ("C", "x#y")].map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn a_dollar_sign_stays_a_dollar_sign() {
        assert_eq!(one("A=pa$HOME${X}"), "pa$HOME${X}");
        assert_eq!(one("A=\"pa$HOME\""), "pa$HOME");
    }

    #[test]
    fn quotes_keep_blanks_hashes_and_lines() {
        assert_eq!(one("A=' x # y '  # z"), " x # y ");
        assert_eq!(one("A=\"a\\nb\\\"c\\\\\""), "a\nb\"c\\");
        assert_eq!(one("A='a\\nb'"), "a\\nb");
        assert_eq!(read("A=\"-- BEGIN\nx\n-- END\"\nB=2").len(), 2);
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        assert_eq!(read("A=1\nA=2"), [("A".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn a_broken_line_is_named_without_its_value() {
        assert_snapshot!(error("A=1\nsecret words\n"), @r"
a line of this file is `NAME=value`, a comment, or empty
 --> .env:2:1
  |
2 | ***
  | ^
");
        assert_snapshot!(error("A=1\nMY KEY=sk-secret\n"), @r"
what stands before `=` is not the name of a variable
 --> .env:2:1
  |
2 | MY KEY=***
  | ^
");
    }

    #[test]
    fn a_quote_that_is_not_closed_is_named_where_it_opens() {
        assert_snapshot!(error("A=1\nKEY=\"sk-secret\nB=2\n"), @r#"
the quote " of `KEY` is not closed
 --> .env:2:5
  |
2 | KEY=***
  |     ^
"#);
    }

    #[test]
    fn words_behind_a_closing_quote_are_refused() {
        assert_snapshot!(error("KEY='sk' secret\n"), @r"
something stands behind the closing quote of `KEY`
 --> .env:1:1
  |
1 | KEY=***
  | ^
");
    }
}

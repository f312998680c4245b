//! A review of what an agent has changed: comments on lines of files, as one prompt that any agent understands.
//!
//! A data part with the one member `review` is one: `{"review": {"text": "...", "comments": [{"file": "src/a.rs",
//! "side": "new", "lines": [3, 5], "hunk": "...", "text": "..."}]}}`.

use pilothouse_a2a::error::Error;
use pilothouse_a2a::json::Json;
use serde::Deserialize;
use std::fmt::Write;

/// A review as callers send it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Review {
    /// What is said of all of it.
    #[serde(default)]
    text: String,
    #[serde(default)]
    comments: Vec<Comment>,
}

/// What is said of some lines of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Comment {
    file: String,
    #[serde(default)]
    side: Side,
    /// The first and the last line, counted from one; all of the file where there are none.
    lines: Option<(u64, u64)>,
    /// The lines of the patch that it is about.
    #[serde(default)]
    hunk: String,
    text: String,
}

/// Which file's lines are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    /// The one before the change.
    Old,
    /// The one after it.
    #[default]
    New,
}

/// The prompt of a data part that is a review; none where it is anything else.
///
/// # Errors
///
/// Where it is a review that says nothing, or not in the form of one.
pub(super) fn read_review(data: &Json) -> Result<Option<String>, Error> {
    let Some(review) = data.member("review") else {
        return Ok(None);
    };
    // The object, its member, and nothing else.
    if data.count() != review.count() + 1 {
        return Ok(None);
    }
    let wrong = |what: String| Error::invalid("message.parts", format!("the review {what}"));
    let review: Review = serde_json::from_str(review.text())
        .map_err(|error| wrong(format!("is no review: {error}")))?;
    if review.text.trim().is_empty() && review.comments.is_empty() {
        return Err(wrong("says nothing".to_owned()));
    }
    for comment in &review.comments {
        if comment.file.trim().is_empty() || comment.text.trim().is_empty() {
            return Err(wrong("has a comment without a file or without a text".to_owned()));
        }
        if comment.lines.is_some_and(|(first, last)| first == 0 || last < first) {
            return Err(wrong(format!(
                "has a comment on lines of `{}` that are none",
                comment.file
            )));
        }
    }
    Ok(Some(render(&review)))
}

fn render(review: &Review) -> String {
    let mut text = String::from(
        "This is a review of your changes. Address every comment, then say in a few words what you did about each.",
    );
    if !review.text.trim().is_empty() {
        let _ = write!(text, "\n\n{}", review.text.trim());
    }
    for (at, comment) in review.comments.iter().enumerate() {
        let _ = write!(text, "\n\n{}. {}", at + 1, comment.file);
        match comment.lines {
            Some((first, last)) if first == last => {
                let _ = write!(text, ", line {first}");
            }
            Some((first, last)) => {
                let _ = write!(text, ", lines {first} to {last}");
            }
            None => {}
        }
        if comment.side == Side::Old {
            text.push_str(" before the change");
        }
        text.push_str(":\n");
        for line in comment.hunk.lines() {
            let _ = writeln!(text, "    {line}");
        }
        text.push_str(comment.text.trim());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(data: Value) -> Result<Option<String>, Error> {
        read_review(&serde_json::from_value(data).unwrap())
    }

    #[test]
    fn a_review_becomes_one_prompt_that_names_files_and_lines() {
        let data = json!({"review": {"text": "Nearly there.", "comments": [
            {"file": "src/a.rs", "lines": [3, 5], "hunk": "+let x = 1;\n+let y = 2;", "text": "One of them is enough."},
            {"file": "b", "side": "old", "lines": [7, 7], "text": "Why is this gone?"},
            {"file": "c", "text": "Needs a test."},
        ]}});
        insta::assert_snapshot!(read(data).unwrap().unwrap(), @r"
        This is a review of your changes. Address every comment, then say in a few words what you did about each.

        Nearly there.

        1. src/a.rs, lines 3 to 5:
            +let x = 1;
            +let y = 2;
        One of them is enough.

        2. b, line 7 before the change:
        Why is this gone?

        3. c:
        Needs a test.
        ");
    }

    #[test]
    fn what_is_no_review_stays_data_and_a_wrong_one_is_refused() {
        for other in [json!({"x": 1}), json!({"review": {}, "more": 1}), json!([1])] {
            assert_eq!(read(other).unwrap(), None);
        }
        for wrong in [
            json!({"review": {}}),
            json!({"review": "words"}),
            json!({"review": {"comments": [{"file": "", "text": "x"}]}}),
            json!({"review": {"comments": [{"file": "a", "text": " "}]}}),
            json!({"review": {"comments": [{"file": "a", "text": "x", "lines": [0, 1]}]}}),
            json!({"review": {"comments": [{"file": "a", "text": "x", "lines": [5, 1]}]}}),
            json!({"review": {"comments": [{"file": "a", "text": "x", "row": 1}]}}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}

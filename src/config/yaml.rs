//! A YAML file twice: typed as `T`, and as a tree that knows where each key stands.
//!
//! The typed reading says what is wrong; the tree says which keys the file speaks of, where, and
//! how the one that is wrong is called in full.

use super::error::FilePosition;
use super::guess::{nearest, plain_key};
use super::node::{Node, path_at, walk};
use super::secrets::{MASK, looks_like_credential, masked_line};
use serde::de::DeserializeOwned;
use serde_saphyr::{DuplicateKeyPolicy, Error as Yaml, Location};
use std::path::Path;

/// A file as text, with the name that people know it by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// The name.
    pub(super) path: &'a Path,
    /// The text.
    pub(super) text: &'a str,
}

impl<'a> Source<'a> {
    /// The tree of keys. A doubled key counts once here; the typed reading refuses it.
    pub(super) fn tree(self) -> Result<Node, Box<FilePosition>> {
        let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::FirstWins };
        serde_saphyr::from_str_with_options(self.text, options)
            .map_err(|error| self.place(&error, None, &[]))
    }

    /// The typed reading.
    pub(super) fn typed<T: DeserializeOwned>(
        self,
        tree: &Node,
        known: &[String],
    ) -> Result<T, Box<FilePosition>> {
        serde_saphyr::from_str(self.text).map_err(|error| self.place(&error, Some(tree), known))
    }

    fn place(self, error: &Yaml, tree: Option<&Node>, known: &[String]) -> Box<FilePosition> {
        let error = error.without_snippet();
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let innermost = matches!(error, Yaml::SerdeUnknownField { .. });
        let path = tree.and_then(|tree| path_at(tree, location, innermost)).unwrap_or_default();
        let what = match path.as_slice() {
            [] => "the file".to_owned(),
            path => format!("`{}`", path.join(".")),
        };
        let (problem, meant) = match error {
            Yaml::SerdeUnknownField { field, expected, .. } => {
                (unknown_key(&path, field, expected, known), field.as_str())
            }
            Yaml::DuplicateMappingKey { key, .. } => {
                let key = key.as_deref().unwrap_or_default();
                (doubled_key(tree, key, location), key)
            }
            Yaml::SerdeUnknownVariant { variant, expected, .. } => {
                let guess = nearest(variant, expected.iter().copied())
                    .map_or_else(String::new, |guess| format!(" (did you mean `{guess}`?)"));
                let expected = expected.join(", ");
                (format!("{what} is one of {expected}, not `{variant}`{guess}"), variant.as_str())
            }
            Yaml::SerdeMissingField { field, .. } => {
                (format!("`{field}` is missing in {what}"), "")
            }
            Yaml::MultipleDocuments { .. } => {
                ("a second document begins here; a configuration is one".to_owned(), "")
            }
            Yaml::InvalidScalar { ty, .. } => (format!("{what} wants {}", wanted(ty)), ""),
            Yaml::Unexpected { expected, .. } if tree.is_some() => {
                (format!("{what} wants {}", wanted(expected)), "")
            }
            Yaml::SerdeInvalidType { unexpected, expected, .. }
            | Yaml::SerdeInvalidValue { unexpected, expected, .. } => {
                (format!("{what} wants {}: not {unexpected}", wanted(expected)), "")
            }
            Yaml::Message { msg, .. } => (format!("{what}: {msg}"), ""),
            other => {
                let text = other.to_string();
                let text = text.split(" at line ").next().unwrap_or_default();
                (format!("not YAML that can be read: {text}"), "")
            }
        };
        self.at(location, problem, meant.chars().count())
    }

    /// The place with its line, as far as both may be shown.
    fn at(self, location: Location, problem: String, length: usize) -> Box<FilePosition> {
        let line = usize::try_from(location.line()).unwrap_or(1).max(1);
        let column = usize::try_from(location.column()).unwrap_or(1).max(1);
        let raw = self.text.lines().nth(line - 1).unwrap_or_default();
        let (problem, shown) = if is_inside_secret(self.text, line) {
            ("something is wrong in a value that is secret".to_owned(), MASK.to_owned())
        } else {
            let shown = masked_line(raw);
            // Behind a colon a message may quote the value that the line does not show.
            let may_quote = shown != raw && !problem.starts_with("unknown key");
            let problem = if may_quote {
                problem.split(": ").next().unwrap_or_default().to_owned()
            } else {
                problem
            };
            (problem, shown)
        };
        let source_line: String =
            shown.chars().take(200).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let width = source_line.chars().count();
        let column = column.min(width + 1);
        let length = length.clamp(1, (width + 1 - column).max(1));
        Box::new(FilePosition {
            path: self.path.to_owned(),
            line,
            column,
            problem,
            source_line,
            length,
        })
    }
}

/// Whether a line belongs to the block under a key that names a credential.
fn is_inside_secret(text: &str, line: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut limit = lines.get(line - 1).map_or(0, |line| indent(line));
    for above in lines.iter().rev().skip(1).filter(|line| !line.trim().is_empty()) {
        if indent(above) < limit {
            limit = indent(above);
            let key = above.split(':').next().unwrap_or_default().trim().trim_start_matches("- ");
            if looks_like_credential(key.trim_matches(['"', '\''])) {
                return true;
            }
        }
    }
    false
}

fn unknown_key(
    path: &[String],
    field: &str,
    expected: &[&'static str],
    known: &[String],
) -> String {
    let section = path.split_last().map_or(&[][..], |(_, section)| section).join(".");
    let full = |key: &str| {
        if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
    };
    let plain = plain_key(field);
    let elsewhere = || {
        known
            .iter()
            .map(String::as_str)
            .find(|key| key.rsplit('.').next() == Some(&plain))
            .map(str::to_owned)
    };
    let problem = format!("unknown key `{}`", full(field));
    match nearest(&plain, expected.iter().copied()).map(full).or_else(elsewhere) {
        Some(guess) => format!("{problem}: did you mean `{guess}`?"),
        None => format!("{problem}; known here are {}", expected.join(", ")),
    }
}

fn doubled_key(tree: Option<&Node>, key: &str, location: Location) -> String {
    let mut first = None;
    if let Some(tree) = tree {
        walk(tree, &mut Vec::new(), &mut |path, at, _| {
            let before = (at.line(), at.column()) < (location.line(), location.column());
            if before
                && path.last().is_some_and(|last| last == key)
                && (at.column() == location.column() || at.line() == location.line())
            {
                first = Some((path.join("."), at.line()));
            }
        });
    }
    match first {
        Some((path, line)) => {
            format!("key `{path}` stands here a second time, first in line {line}; keep one")
        }
        None => format!("key `{key}` stands here a second time; keep one"),
    }
}

/// What a type is called by people.
pub(super) fn wanted(expected: &str) -> &str {
    match expected {
        "bool" | "boolean" | "a boolean" => "true or false",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "string scalar" | "a string" => "a text",
        "sequence start" | "a sequence" => "a list",
        "mapping start" | "a map" => "keys with values",
        other => other,
    }
}

#[cfg(test)]
mod tests;

//! What git says of two snapshots, as a list of changed files.

use std::collections::HashMap;

/// The mode of an entry that stands for another repository.
const REPOSITORY: &str = "160000";

/// A file that a turn has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Where it is below the workspace.
    pub(super) path: Vec<u8>,
    pub(super) kind: ChangeKind,
    /// Lines that came and went; none where it is not text.
    pub(super) lines: Option<(u64, u64)>,
    /// Whether it is a repository of its own, of which only the commit is known.
    pub(super) is_repository: bool,
}

/// How it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

impl ChangeKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
        }
    }
}

/// Reads `git diff-tree -z --raw` and `--numstat`. What was cut off at their ends is left out.
pub(super) fn read_changes(raw: &[u8], numbers: &[u8]) -> Vec<Change> {
    let lines: HashMap<&[u8], (u64, u64)> = whole(numbers)
        .filter_map(|record| {
            let mut fields = record.splitn(3, |byte| *byte == b'\t');
            let (added, removed, path) = (fields.next()?, fields.next()?, fields.next()?);
            Some((path, (number(added)?, number(removed)?)))
        })
        .collect();
    let mut records = whole(raw);
    let mut changes = Vec::new();
    while let (Some(about), Some(path)) = (records.next(), records.next()) {
        let about = String::from_utf8_lossy(about);
        let fields: Vec<&str> = about.trim_start_matches(':').split(' ').collect();
        let [before, after, _, _, status] = fields[..] else { continue };
        let kind = match status.as_bytes().first() {
            Some(b'A') => ChangeKind::Added,
            Some(b'D') => ChangeKind::Deleted,
            _ => ChangeKind::Modified,
        };
        changes.push(Change {
            path: path.to_vec(),
            kind,
            lines: lines.get(path).copied(),
            is_repository: [before, after].contains(&REPOSITORY),
        });
    }
    changes
}

/// The records that came to their ends.
fn whole(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = bytes.iter().rposition(|byte| *byte == 0).unwrap_or(0);
    bytes[..end].split(|byte| *byte == 0).filter(|record| !record.is_empty())
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Whether a path fits one of these patterns, in which `*` and `?` stand for what is within a name, and `**` for any
/// number of folders.
pub(in crate::session) fn fits(patterns: &[String], path: &[u8]) -> bool {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    patterns.iter().any(|pattern| {
        let pattern: Vec<&[u8]> = pattern.as_bytes().split(|byte| *byte == b'/').collect();
        fits_names(&pattern, &names)
    })
}

fn fits_names(pattern: &[&[u8]], names: &[&[u8]]) -> bool {
    match (pattern, names) {
        ([], []) => true,
        ([b"**", rest @ ..], _) => {
            (0..=names.len()).any(|at| fits_names(rest, &names[at..]))
                && !(rest.is_empty() && names.is_empty())
        }
        ([one, pattern @ ..], [name, names @ ..]) => {
            fits_name(one, name) && fits_names(pattern, names)
        }
        _ => false,
    }
}

fn fits_name(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| fits_name(rest, &name[at..])),
        ([b'?', pattern @ ..], [_, name @ ..]) => fits_name(pattern, name),
        ([one, pattern @ ..], [byte, name @ ..]) => one == byte && fits_name(pattern, name),
        _ => false,
    }
}

/// The media type of a file by the end of its name, where it is well known.
pub(super) fn media_type(path: &[u8]) -> Option<&'static str> {
    let dot = path.iter().rposition(|byte| *byte == b'.')?;
    Some(match path[dot + 1..].to_ascii_lowercase().as_slice() {
        b"md" => "text/markdown",
        b"txt" | b"log" => "text/plain",
        b"csv" => "text/csv",
        b"html" => "text/html",
        b"json" => "application/json",
        b"pdf" => "application/pdf",
        b"png" => "image/png",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"svg" => "image/svg+xml",
        b"webp" => "image/webp",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_with_their_lines_and_names_of_any_bytes() {
        let raw = b":000000 100644 0 1 A\0a\nb\xff\0:100644 000000 1 0 D\0gone\0:100644 100755 1 2 M\0image.png\0\
            :000000 160000 0 3 A\0sub\0:000000 100644 0 1 A\0cut o";
        let numbers = b"3\t0\ta\nb\xff\x000\t7\tgone\x00-\t-\timage.png\x001\t0\tsub\0";
        let change = |path: &[u8], kind, lines, is_repository| Change {
            path: path.to_vec(),
            kind,
            lines,
            is_repository,
        };
        let expected = [
            change(b"a\nb\xff", ChangeKind::Added, Some((3, 0)), false),
            change(b"gone", ChangeKind::Deleted, Some((0, 7)), false),
            change(b"image.png", ChangeKind::Modified, None, false),
            change(b"sub", ChangeKind::Added, Some((1, 0)), true),
        ];
        assert_eq!(read_changes(raw, numbers), expected);
        assert_eq!(read_changes(b"", b""), []);
    }

    #[test]
    fn a_pattern_fits_names_within_folders_and_two_stars_any_folders() {
        let one = |pattern: &str, path: &str| fits(&[pattern.to_owned()], path.as_bytes());
        for (pattern, path) in [
            ("*.md", "a.md"),
            ("*.md", ".md"),
            ("screenshots/**", "screenshots/a/b.png"),
            ("**/*.md", "a.md"),
            ("**/*.md", "x/y/a.md"),
            ("a/**/b", "a/b"),
            ("report-??.txt", "report-01.txt"),
        ] {
            assert!(one(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.md", "x/a.md"),
            ("screenshots/**", "screenshots"),
            ("a/**/b", "a/x"),
            ("?", ""),
            ("*.md", "a.mdx"),
        ] {
            assert!(!one(pattern, path), "{pattern} {path}");
        }
    }
}

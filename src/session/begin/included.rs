//! `.worktreeinclude`: the ignored files of a repository on this machine that a clone of it begins with.
//!
//! # How it works
//!
//! The server copies what the file of the working copy lists into the session's HOME, without git: neither the repository
//! nor the clone is a place where it may run one. The script that makes the clone takes from there what git ignores, so
//! nothing is committed that the repository does not have. Files named `.env` and their like are never copied.

use super::super::results::fits;

/// Where in HOME they wait.
pub(super) const PLACE: &str = ".pilothouse-included";

/// Bytes of a list.
pub(super) const LONGEST: u64 = 64 * 1024;

/// What the lines of such a file stand for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct IncludeList {
    /// Each pattern, and whether what it fits is included. The last one that fits decides.
    lines: Vec<(String, bool)>,
    /// Lines that say more than these patterns can.
    pub(super) unknown: Vec<String>,
    /// Folders that clones have links to already.
    shared: Vec<String>,
}

impl IncludeList {
    /// Reads the lines. They are patterns as in `.gitignore`, without classes (`[a-z]`) and without `\`.
    pub(super) fn parse(text: &str, shared: &[String]) -> Self {
        let mut list = Self { shared: shared.to_vec(), ..Self::default() };
        for line in text.lines().map(str::trim) {
            let pattern = line.strip_prefix('!').unwrap_or(line);
            let path = pattern.trim_matches('/');
            if path.is_empty() || line.starts_with('#') {
                continue;
            }
            if pattern.contains(['[', '\\']) {
                list.unknown.push(line.to_owned());
                continue;
            }
            let is_anchored = pattern.trim_end_matches('/').contains('/');
            let path = if is_anchored { path.to_owned() } else { format!("**/{path}") };
            list.lines.push((path, !line.starts_with('!')));
        }
        list
    }

    /// Whether a file is included, or anything in a folder may be.
    pub(super) fn wants(&self, path: &[u8], is_folder: bool) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name.starts_with(b".env") || self.shared.iter().any(|shared| shared.as_bytes() == path) {
            return false;
        }
        if is_folder && self.lines.iter().any(|(line, is_wanted)| *is_wanted && leads(path, line)) {
            return true;
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let above: Vec<&[u8]> = ends.chain([path.len()]).map(|end| &path[..end]).collect();
        let fitting = self.lines.iter().rev().find(|(line, _)| {
            let line = std::slice::from_ref(line);
            above.iter().any(|path| fits(line, path))
        });
        fitting.is_some_and(|(_, is_wanted)| *is_wanted)
    }
}

/// Whether what fits this pattern may lie below this folder.
fn leads(folder: &[u8], pattern: &str) -> bool {
    let depth = folder.split(|byte| *byte == b'/').count();
    let steps: Vec<&str> = pattern.split('/').take(depth).collect();
    let fixed = steps.iter().position(|step| *step == "**").unwrap_or(steps.len());
    if fixed < steps.len() {
        let above: Vec<&[u8]> = folder.split(|byte| *byte == b'/').take(fixed).collect();
        return fixed == 0 || fits(&[steps[..fixed].join("/")], &above.join(&b'/'));
    }
    steps.len() == depth && fits(&[steps.join("/")], folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_like_gitignore_and_never_names_files_of_secrets() {
        let text = "# local settings\n*.local\n!other.local\n/cache/\nconf/*/own\n[ab].txt\n\n**/deep/x\n.env\n";
        let list = IncludeList::parse(text, &["cache/shared".to_owned()]);
        assert_eq!(list.unknown, ["[ab].txt"]);
        for path in ["a.local", "b/c.local", "cache/a/b", "conf/one/own", "deep/x", "a/deep/x"] {
            assert!(list.wants(path.as_bytes(), false), "{path}");
        }
        for path in ["other.local", "b/cache/a", "conf/own", "a.txt", ".env", "b/.env.local", "x"] {
            assert!(!list.wants(path.as_bytes(), false), "{path}");
        }
        assert!(!list.wants(b"cache/shared", true));
    }

    #[test]
    fn only_folders_are_entered_that_may_have_what_is_listed() {
        let list = IncludeList::parse("/cache/\nconf/*/own\n", &[]);
        for path in ["cache", "cache/a", "conf", "conf/one", "conf/one/own"] {
            assert!(list.wants(path.as_bytes(), true), "{path}");
        }
        for path in ["node_modules", "conf/one/other", "src/cache"] {
            assert!(!list.wants(path.as_bytes(), true), "{path}");
        }
        assert!(IncludeList::parse("*.local", &[]).wants(b"anything", true));
    }
}

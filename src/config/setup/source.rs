//! Where parts of a set-up come from that do not lie on this machine (`agents.*.setup.sources`): each is fetched in the
//! sandbox of the set-up phase, pinned by a ref, a version or a hash.

use super::super::repository::RepositorySource;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path};

/// Begins a path that leads into a source: `source:NAME/PATH`.
const PREFIX: &str = "source:";

/// Characters of a name at most.
const LONGEST_NAME: usize = 64;

/// A source, one of four kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeclaredSource {
    /// A git repository at an address of http or https.
    pub git: Option<String>,
    /// Its branch, tag or whole commit.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// A package with its version: `NAME@1.2.3`.
    pub npm: Option<String>,
    /// The address of a tar archive, compressed or not.
    pub archive: Option<String>,
    /// The address of one file.
    pub url: Option<String>,
    /// What the archive, the file or the package's tarball must hash to.
    pub sha256: Option<String>,
}

/// A source as it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind<'a> {
    /// A git repository: address and ref.
    Git(&'a str, &'a str),
    /// A package with its version.
    Npm(&'a str),
    /// A tar archive.
    Archive(&'a str),
    /// One file.
    Url(&'a str),
}

impl SourceKind<'_> {
    /// The key that chooses it.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Git(..) => "git",
            Self::Npm(_) => "npm",
            Self::Archive(_) => "archive",
            Self::Url(_) => "url",
        }
    }
}

/// The source that a path leads into, and the path below it; none for a path on this machine.
pub fn in_source(path: &Path) -> Option<(&str, &str)> {
    let inside = path.to_str()?.strip_prefix(PREFIX)?;
    Some(inside.split_once('/').unwrap_or((inside, "")))
}

impl DeclaredSource {
    /// Which kind it is; none where it names none or several.
    pub fn kind(&self) -> Option<SourceKind<'_>> {
        match (&self.git, &self.npm, &self.archive, &self.url) {
            (Some(url), None, None, None) => {
                Some(SourceKind::Git(url, self.reference.as_deref().unwrap_or_default()))
            }
            (None, Some(package), None, None) => Some(SourceKind::Npm(package)),
            (None, None, Some(url), None) => Some(SourceKind::Archive(url)),
            (None, None, None, Some(url)) => Some(SourceKind::Url(url)),
            _ => None,
        }
    }

    /// What is wrong with it, each to be read after its key.
    pub(super) fn problems(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
            found.push(format!(
                " has a name that cannot be a folder: use up to {LONGEST_NAME} letters, digits, `-` and `_`"
            ));
        }
        let Some(kind) = self.kind() else {
            found.push(" needs exactly one of `git`, `npm`, `archive` and `url`".to_owned());
            return found;
        };
        match kind {
            SourceKind::Git(url, reference) => {
                match RepositorySource::parse(url) {
                    Ok(RepositorySource::Remote { .. }) => {}
                    Ok(RepositorySource::Local(_)) => found.push(
                        ".git is a path; name a folder of this machine where it is used".to_owned(),
                    ),
                    Err(why) => found.push(format!(".git {why}")),
                }
                if !is_plain_word(reference) {
                    found.push(
                        " needs `ref`: a tag, a branch or a whole commit; a commit never changes"
                            .to_owned(),
                    );
                }
                if self.sha256.is_some() {
                    found.push(
                        " has `sha256`, which a repository has not; pin a commit by `ref`"
                            .to_owned(),
                    );
                }
            }
            SourceKind::Npm(package) => {
                let version = package.rsplit_once('@').filter(|(name, _)| !name.is_empty());
                let is_exact = version.is_some_and(|(name, version)| {
                    is_plain_word(name) && version.starts_with(|c: char| c.is_ascii_digit())
                });
                if !is_exact {
                    found.push(".npm names no version; write `NAME@1.2.3`".to_owned());
                }
            }
            SourceKind::Archive(url) | SourceKind::Url(url) => {
                let is_address = |url: Url| {
                    let has_user = !url.username().is_empty() || url.password().is_some();
                    matches!(url.scheme(), "http" | "https") && url.has_host() && !has_user
                };
                if !Url::parse(url).is_ok_and(is_address) || url.contains(char::is_whitespace) {
                    found.push(format!(
                        ".{} is no address of http or https without a user",
                        kind.key()
                    ));
                }
            }
        }
        if self.reference.is_some() && self.git.is_none() {
            found.push(" has `ref`, which belongs to `git`".to_owned());
        }
        let is_hash =
            |hash: &String| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if self.sha256.as_ref().is_some_and(|hash| !is_hash(hash)) {
            found.push(".sha256 is no hash of 64 hexadecimal digits".to_owned());
        }
        if self.archive.is_some() && self.sha256.is_none() {
            found.push(" needs `sha256`, the hash of the archive".to_owned());
        }
        found
    }
}

/// What is wrong with a path into a source, to be read after its key.
pub(super) fn find_fault<'a>(
    path: &Path,
    mut names: impl Iterator<Item = &'a String>,
) -> Option<String> {
    let (name, inside) = in_source(path)?;
    if !names.any(|declared| declared == name) {
        return Some(format!("names the source `{name}`, which is not among `sources`"));
    }
    let is_below = |part: Component<'_>| matches!(part, Component::Normal(_));
    (!Path::new(inside).components().all(is_below))
        .then(|| format!("leads out of the source `{name}`"))
}

/// Whether a word is no option and has no space in it.
fn is_plain_word(word: &str) -> bool {
    let is_odd =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '~' | '^' | ':' | '\\');
    !word.is_empty() && !word.starts_with('-') && !word.contains(is_odd) && !word.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn problems(source: Value) -> Vec<String> {
        serde_json::from_value::<DeclaredSource>(source).unwrap().problems("one")
    }

    #[test]
    fn a_source_is_of_one_kind_and_pinned() {
        for fine in [
            json!({"git": "https://example.com/a/b", "ref": "v1"}),
            json!({"npm": "@acme/tools@1.2.3"}),
            json!({"archive": "https://example.com/a.tar.gz", "sha256": "0".repeat(64)}),
            json!({"url": "https://example.com/CLAUDE.md"}),
        ] {
            assert_eq!(problems(fine.clone()), Vec::<String>::new(), "{fine}");
        }
        for (wrong, words) in [
            (json!({}), "exactly one"),
            (json!({"git": "https://e.x/a", "ref": "v1", "npm": "a@1"}), "exactly one"),
            (json!({"git": "https://e.x/a"}), "needs `ref`"),
            (json!({"git": "https://e.x/a", "ref": "--upload-pack=x"}), "needs `ref`"),
            (json!({"git": "https://t@e.x/a", "ref": "v1"}), "egress.git"),
            (json!({"git": "/srv/a", "ref": "v1"}), "is a path"),
            (json!({"npm": "tools"}), "names no version"),
            (json!({"npm": "tools@latest"}), "names no version"),
            (json!({"archive": "https://e.x/a.tar"}), "needs `sha256`"),
            (json!({"url": "https://e.x/a", "sha256": "12"}), "64 hexadecimal"),
            (json!({"url": "https://u:p@e.x/a"}), "without a user"),
            (json!({"url": "https://e.x/a", "ref": "v1"}), "belongs to `git`"),
        ] {
            let found = problems(wrong.clone());
            assert!(found.len() == 1 && found[0].contains(words), "{wrong}: {found:?}");
        }
    }

    #[test]
    fn a_path_into_a_source_names_one_that_is_declared_and_stays_below_it() {
        let names = ["ours".to_owned()];
        let fault = |path: &str| find_fault(Path::new(path), names.iter());
        assert_eq!(fault("/srv/skills"), None);
        assert_eq!(fault("source:ours"), None);
        assert_eq!(fault("source:ours/skills/one"), None);
        assert!(fault("source:theirs/skills").unwrap().contains("not among"));
        assert!(fault("source:ours/../x").unwrap().contains("leads out"));
        assert!(fault("source:ours//etc").unwrap().contains("leads out"));
    }
}

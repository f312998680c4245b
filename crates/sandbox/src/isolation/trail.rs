//! The way that a path takes through symbolic links.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Symbolic links that are followed on the way to a file.
const LINKS: usize = 40;

/// The way to a file: all that is passed on it, and the file itself.
pub(super) struct Trail {
    /// The symbolic links on the way, each where it really lies.
    pub(super) links: Vec<PathBuf>,
    /// Every file, folder and link on the way, each where it really lies; the file itself is the last one.
    pub(super) steps: Vec<PathBuf>,
    /// The file where it really lies.
    pub(super) real: PathBuf,
}

impl Trail {
    /// Of an absolute path. What does not exist lies where it would be made.
    pub(super) fn of(path: &Path) -> Self {
        let (mut links, mut steps) = (Vec::new(), Vec::new());
        let mut real = PathBuf::from("/");
        let parts = |path: &Path| -> Vec<OsString> {
            let parts = path.components().rev();
            parts
                .filter_map(|part| match part {
                    Component::Normal(name) => Some(name.to_owned()),
                    Component::ParentDir => Some("..".into()),
                    Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
                })
                .collect()
        };
        let mut left = parts(path);
        while let Some(part) = left.pop() {
            if part == ".." {
                real.pop();
                continue;
            }
            real.push(&part);
            steps.push(real.clone());
            if links.len() < LINKS
                && let Ok(target) = real.read_link()
            {
                links.push(real.clone());
                real.pop();
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                left.extend(parts(&target));
            }
        }
        Self { links, steps, real }
    }
}

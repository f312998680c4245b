//! A look at a workspace by which two states of it are told apart, without reading a file.

use super::{IsShown, Paths, SessionFiles};
use crate::disk;
use rustix::fs::{AtFlags, FileType, statat};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

/// The folder of the caller's own files, which are no work of the agent's.
const CALLERS: &[u8] = b".a2a";

/// Entries that are looked at where the look comes up; a larger workspace is left to a thread that may wait.
const FEW: u64 = 64;

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
pub struct LookBounds {
    /// Entries.
    pub entries: u64,
    /// A file of more bytes than this is large.
    pub large: u64,
}

/// How a workspace was at one time: its files by path, size, times and inode. What lies in folders named `.git` and
/// in `.a2a` does not count, nor do the times of folders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// A sum over all files, in whatever order they were met.
    sum: u64,
    files: u64,
    /// Whether there were more entries than were looked at.
    pub is_cut: bool,
    /// The paths of large files.
    pub large: Vec<Vec<u8>>,
    /// Bytes of all others.
    pub bytes: u64,
    /// Whether it is a git repository or checkout.
    pub has_git: bool,
}

impl Look {
    /// Whether no file was there.
    pub fn is_empty(&self) -> bool {
        self.files == 0 && !self.is_cut
    }
}

impl SessionFiles {
    /// Looks at the workspace.
    pub async fn look(&self, bounds: LookBounds) -> io::Result<Look> {
        let few = LookBounds { entries: bounds.entries.min(FEW), ..bounds };
        match disk::at_once(|| self.look_now(few)) {
            Ok(Ok(look)) if !look.is_cut || few.entries == bounds.entries => return Ok(look),
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => return Err(error),
        }
        let files = self.clone();
        disk::off_worker(move || files.look_now(bounds)).await?
    }

    fn look_now(&self, bounds: LookBounds) -> io::Result<Look> {
        let (mut look, mut entries) = (Look::default(), 0);
        let mut paths = Paths::of(self, IsShown::WithoutGit)?;
        while let Some(kind) = paths.next() {
            if paths.path == CALLERS {
                paths.skip();
                continue;
            }
            entries += 1;
            if entries > bounds.entries {
                look.is_cut = true;
                break;
            }
            let is_kept = matches!(kind, FileType::RegularFile | FileType::Symlink);
            let Some(found) = paths.stat().filter(|_| is_kept) else { continue };
            let mut hasher = DefaultHasher::new();
            paths.path.hash(&mut hasher);
            (found.st_mode, found.st_size, found.st_ino).hash(&mut hasher);
            (found.st_mtime, found.st_mtime_nsec).hash(&mut hasher);
            (found.st_ctime, found.st_ctime_nsec).hash(&mut hasher);
            look.sum = look.sum.wrapping_add(hasher.finish());
            look.files += 1;
            match found.st_size.cast_unsigned() {
                size if kind != FileType::RegularFile || size <= bounds.large => look.bytes += size,
                _ => look.large.push(paths.path.clone()),
            }
        }
        // What was not looked at may have it.
        let has_git = || statat(&*self.root, c".git", AtFlags::SYMLINK_NOFOLLOW).is_ok();
        look.has_git = paths.has_git || (look.is_cut && has_git());
        look.large.sort_unstable();
        Ok(look)
    }
}

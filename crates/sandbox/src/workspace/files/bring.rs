//! Chosen files of the operator's, brought to where the script of a new session takes them from.

use super::super::Folder;
use super::super::inside::{Inside, open_file};
use super::super::tree::{Allowance, copy_file};
use super::{CopyLimits, Deadline, IsShown, Links, Paths, SessionFiles};
use crate::disk::off_worker;
use rustix::fs::FileType;
use std::io;
use std::path::Path;
use tokio_util::sync::CancellationToken;

impl Folder {
    /// Copies regular files below a folder of the operator's, with their paths, into a folder of HOME. `is_wanted` is
    /// asked of each file, and of each folder whether there may be such files in it (`true` says that it is one). No link
    /// is followed or copied. Dropping this ends it.
    ///
    /// # Errors
    ///
    /// When there is more to look at or to copy than these limits, or a file cannot be copied.
    pub async fn bring(
        &self,
        from: &Path,
        place: &'static str,
        limits: CopyLimits,
        is_wanted: impl Fn(&[u8], bool) -> bool + Send + 'static,
    ) -> io::Result<()> {
        let (home, from, stop) = (self.home.clone(), from.to_owned(), CancellationToken::new());
        let _ends = stop.clone().drop_guard();
        off_worker(move || {
            let deadline = Deadline::soon(stop);
            let mut allowance = Allowance::new(limits);
            let to = Inside::open(&home)?.make(place)?;
            let mut paths = Paths::of(&SessionFiles::open(&from, false)?, IsShown::WithoutGit)?;
            while let Some(kind) = paths.next() {
                deadline.check()?;
                allowance.take_entry()?;
                let is_folder = kind == FileType::Directory;
                let is_wanted = is_wanted(&paths.path, is_folder);
                if is_folder && !is_wanted {
                    paths.skip();
                }
                // A name that is no text has no place in the list of such files either.
                let Ok(path) = std::str::from_utf8(&paths.path) else { continue };
                if kind != FileType::RegularFile || !is_wanted {
                    continue;
                }
                let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
                let file = open_file(paths.walk.at()?, &*paths.name, Links::Keep)?;
                let copy = to.make(above)?.create(name)?;
                copy_file(&file, &copy, &mut allowance, &deadline)?;
            }
            Ok(())
        })
        .await?
    }
}

//! The folders of one session.

use super::inside::Inside;
use super::tree;
use super::tree::Deadline;
use crate::disk::off_worker;
use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// One session's folders; both exist.
#[derive(Debug, Clone)]
pub struct Folder {
    pub(super) workspace: PathBuf,
    pub(super) home: PathBuf,
    pub(super) is_new: bool,
    /// All of them were missing, so they are the server's user's.
    pub(super) is_all_new: bool,
    /// Whether the workspace is that of all sessions.
    pub(super) is_shared: bool,
}
impl Folder {
    /// These two, made where they are missing.
    #[cfg(test)]
    pub(crate) fn at(workspace: &Path, home: &Path) -> Self {
        std::fs::create_dir_all(workspace).unwrap();
        std::fs::create_dir_all(home).unwrap();
        let (workspace, home) = (workspace.to_owned(), home.to_owned());
        Self { workspace, home, is_new: true, is_all_new: false, is_shared: false }
    }

    /// The workspace, where it is that of all sessions.
    pub fn shared(&self) -> Option<&Path> {
        self.is_shared.then_some(self.workspace.as_path())
    }

    /// Whether this call has made both folders, and nothing is in them.
    pub fn is_new_and_empty(&self) -> bool {
        self.is_all_new
    }

    /// The session's id, which names its HOME.
    pub fn session(&self) -> Cow<'_, str> {
        self.home.file_name().unwrap_or_default().to_string_lossy()
    }

    /// A number that hardly any two sessions have in common.
    pub fn number(&self) -> u32 {
        let name = self.session();
        let random = uuid::Uuid::parse_str(&name).unwrap_or_default().as_u128();
        // The end of such a name is random.
        u32::try_from(random & u128::from(u32::MAX)).unwrap_or_default()
    }

    /// Gives the session's own folders to a user, `None` to the server's; a shared workspace is left alone. Only
    /// root can do that, for others it does nothing. Dropping this ends it.
    pub async fn give(&self, user: Option<u32>) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let user = user.unwrap_or(0);
        if user == 0 && self.is_all_new {
            return Ok(());
        }
        let own = [Some(&self.home), (!self.is_shared).then_some(&self.workspace)];
        let is_foreign =
            |path: &&PathBuf| std::fs::metadata(path).is_ok_and(|found| found.uid() != user);
        let foreign: Vec<PathBuf> = own.into_iter().flatten().filter(is_foreign).cloned().collect();
        if foreign.is_empty() {
            return Ok(());
        }
        let stop = CancellationToken::new();
        let _ends = stop.clone().drop_guard();
        off_worker(move || {
            let deadline = Deadline::at_stop(stop);
            foreign.iter().try_for_each(|path| tree::give(&tree::open_root(path)?, user, &deadline))
        })
        .await?
    }

    /// Puts files of the caller's, by their names, into the workspace: `.a2a/TASK/NAME`, for the agent to read.
    pub async fn put(&self, task: &str, files: Vec<(String, Vec<u8>)>) -> io::Result<()> {
        let (workspace, place) = (self.workspace.clone(), format!(".a2a/{task}"));
        off_worker(move || {
            let folder = Inside::open(&workspace)?.make(&place)?;
            files.iter().try_for_each(|(name, bytes)| folder.create(name)?.write_all(bytes))
        })
        .await?
    }

    /// Puts a file into a folder of HOME, in the place of whatever has its name.
    pub async fn write_home(&self, place: &str, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let (home, place, name) = (self.home.clone(), place.to_owned(), name.to_owned());
        off_worker(move || Inside::open(&home)?.make(&place)?.create(&name)?.write_all(&bytes))
            .await?
    }

    /// A regular file in a folder of HOME, up to so many bytes.
    pub async fn read_home(&self, place: &str, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let (home, place, name) = (self.home.clone(), place.to_owned(), name.to_owned());
        off_worker(move || {
            let file = Inside::open(&home)?.below(&place)?.file(&name)?;
            let mut bytes = Vec::new();
            file.take(most).read_to_end(&mut bytes)?;
            Ok(bytes)
        })
        .await?
    }

    /// Puts into the place of a file below HOME what `edit` makes of it, where that is another one. A file that is
    /// missing is empty; a longer one than this is left alone.
    pub async fn edit(
        &self,
        (place, name): (&'static str, &'static str),
        longest: u64,
        edit: impl FnOnce(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> io::Result<()> {
        let home = self.home.clone();
        off_worker(move || {
            let folder = Inside::open(&home)?.make(place)?;
            let mut bytes = Vec::new();
            if let Ok(file) = folder.file(name) {
                if file.metadata()?.len() > longest {
                    return Ok(());
                }
                file.take(longest).read_to_end(&mut bytes)?;
            }
            edit(&bytes).map_or(Ok(()), |edited| folder.create(name)?.write_all(&edited))
        })
        .await?
    }

    /// Whether one of the folders was missing and is new: nothing that was set up in it is there.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The workspace, for a command line.
    pub fn workspace_text(&self) -> String {
        self.workspace.to_string_lossy().into_owned()
    }

    /// The HOME, for a command line.
    pub fn home_text(&self) -> String {
        self.home.to_string_lossy().into_owned()
    }

    /// Whether a file is in HOME; one component of the pattern may be `*`.
    pub async fn has(&self, pattern: &str) -> bool {
        let (home, pattern) = (self.home.clone(), pattern.to_owned());
        off_worker(move || is_there(&home, &pattern)).await.unwrap_or(false)
    }
}
fn is_there(home: &Path, pattern: &str) -> bool {
    let Ok(home) = Inside::open(home) else {
        return false;
    };
    match (pattern.split_once("*/"), pattern.rsplit_once('/')) {
        (Some((before, after)), _) => {
            home.below(before).is_ok_and(|place| place.find(after).is_some())
        }
        (None, Some((folder, name))) => {
            home.below(folder).is_ok_and(|folder| folder.file(name).is_ok())
        }
        (None, None) => home.file(pattern).is_ok(),
    }
}

//! The end of a session's folders, and what servers that were killed left of such ends.
//!
//! # How it works
//!
//! A folder that is to be removed gets another name first, in one step: from then on nobody finds half of it under
//! the session's name, and what an interrupted removal leaves is known by its name.

use super::tree::{self, Deadline};
use super::{UNFINISHED, Workspaces};
use crate::disk::off_worker;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Begins the name of a folder that is being removed.
const REMOVED: &str = ".pilothouse-removed-";

/// What an earlier server may have left.
#[derive(Debug, Default)]
pub struct LeftOvers {
    /// Sessions that have a HOME.
    pub sessions: Vec<Arc<str>>,
    /// Folders that were being made.
    pub unfinished: Vec<PathBuf>,
}

/// Removes a folder with all that is in it, however deep, and without following links.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    tree::remove(folder, &Deadline::soon(CancellationToken::new()))
}

impl Workspaces {
    /// Removes a session's folders; a shared workspace stays. Dropping this does not end it, `stop` does.
    pub async fn remove(&self, session: &str, stop: &CancellationToken) -> io::Result<()> {
        let (all, session, stop) = (self.clone(), session.to_owned(), stop.clone());
        off_worker(move || all.remove_now(&session, stop)).await?
    }

    /// The same, where nothing else waits.
    pub fn remove_now(&self, session: &str, stop: CancellationToken) -> io::Result<()> {
        let deadline = Deadline::soon(stop);
        let removed = format!("{REMOVED}{session}");
        // An earlier removal comes to its end first, or the name is not free.
        for parent in self.parents() {
            tree::remove(&parent.join(&removed), &deadline)?;
        }
        // HOME first: without it the session is set up anew, whatever else is there.
        for parent in self.parents() {
            let folder = parent.join(session);
            match std::fs::rename(&folder, parent.join(&removed)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let words = format!("cannot remove {}: {error}", folder.display());
                    return Err(io::Error::new(error.kind(), words));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let ends = self.parents().map(|parent| tree::remove(&parent.join(&removed), &deadline));
        // All are tried, whatever comes of the first.
        ends.fold(Ok(()), io::Result::and)
    }

    /// Removes the folders of a session whose copy was not finished.
    pub(super) fn remove_half_made(&self, session: &str) -> io::Result<()> {
        let parent = &self.shared.settings.root;
        let unfinished = parent.join(format!("{UNFINISHED}{session}"));
        // Under this name each sweep goes on with it.
        match std::fs::rename(unfinished, parent.join(format!("{REMOVED}{session}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.remove_now(session, CancellationToken::new())
    }

    /// What is there before this server has made anything.
    pub fn left_overs(&self) -> LeftOvers {
        let mut left = LeftOvers::default();
        for parent in self.parents() {
            for name in names(parent) {
                if name.strip_prefix(UNFINISHED).is_some_and(is_session) {
                    left.unfinished.push(parent.join(name));
                } else if is_session(&name) && parent == self.shared.settings.homes {
                    // What merely looks like a session in a folder of the user's may be anything.
                    left.sessions.push(Arc::from(name));
                }
            }
        }
        left
    }

    /// Folders whose removal was begun and has not come to its end.
    pub async fn half_removed(&self) -> io::Result<Vec<PathBuf>> {
        let all = self.clone();
        off_worker(move || {
            let is_removed = |name: &String| name.strip_prefix(REMOVED).is_some_and(is_session);
            let found = all
                .parents()
                .flat_map(|parent| names(parent).filter(is_removed).map(|name| parent.join(name)));
            found.collect()
        })
        .await
    }
}

/// Removes such a folder, or goes on with it.
pub async fn remove_left_over(folder: &Path, stop: &CancellationToken) -> io::Result<()> {
    let (folder, deadline) = (folder.to_owned(), Deadline::soon(stop.clone()));
    off_worker(move || tree::remove(&folder, &deadline)).await?
}

fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Whether a name has the form of a session's id.
fn is_session(name: &str) -> bool {
    uuid::Uuid::try_parse(name).is_ok_and(|id| {
        id.get_version() == Some(uuid::Version::SortRand) && id.hyphenated().to_string() == name
    })
}

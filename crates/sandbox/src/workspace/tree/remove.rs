//! The removal of trees.

use super::{CHANGE, Deadline, is_dots, is_gone, open_folder, open_parent};
use rustix::fs::{AtFlags, Dir, FileType, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Folders that were moved to the top of a tree and are emptied next; the others are found by listing it.
const MOVED: usize = 1024;

/// Removes a folder with all that is in it, or a file; that it is not there is no error.
///
/// # Errors
///
/// When something cannot be removed, or it takes too long; then a part of it may be gone.
pub(in crate::workspace) fn remove(path: &Path, deadline: &Deadline) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let explain = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot remove {}: {error}", path.display()))
    };
    match open_parent(parent) {
        Ok(parent) => remove_at(parent.as_fd(), name, deadline).map_err(explain),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(explain(error)),
    }
}

fn remove_at(parent: BorrowedFd<'_>, name: &OsStr, deadline: &Deadline) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    match open_folder(parent, &name, CHANGE) {
        Ok(top) => Removal::new(top, deadline).run()?,
        Err(error) if is_gone(&error) => return Ok(()),
        // A file, or a link to whatever.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Ok(unlinkat(parent, &*name, AtFlags::empty())?);
        }
        // An empty folder of another user can be removed and not be opened.
        Err(error) => {
            return unlinkat(parent, &*name, AtFlags::REMOVEDIR).map_err(|_| error);
        }
    }
    match unlinkat(parent, &*name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A tree that is being removed, from its top.
struct Removal<'a> {
    top: OwnedFd,
    deadline: &'a Deadline,
    /// Folders that were moved to the top and not emptied yet.
    moved: Vec<CString>,
    /// Removed and moved so far.
    done: u64,
    /// Begins the names of moved folders.
    prefix: String,
}

impl<'a> Removal<'a> {
    fn new(top: OwnedFd, deadline: &'a Deadline) -> Self {
        let prefix = uuid::Uuid::new_v4().simple().to_string();
        Self { top, deadline, moved: Vec::new(), done: 0, prefix }
    }

    /// Empties the top, in as many passes as it takes; a pass in which nothing goes is the last.
    fn run(mut self) -> io::Result<()> {
        loop {
            let (before, mut seen, mut failed) = (self.done, false, None);
            let mut entries = Dir::read_from(&self.top)?;
            while let Some(entry) = entries.read() {
                let entry = entry?;
                if is_dots(entry.file_name()) {
                    continue;
                }
                seen = true;
                self.deadline.check()?;
                let mut cleared = self.clear(entry.file_name(), entry.file_type());
                while let Some(name) = self.moved.pop() {
                    cleared = cleared.and(self.empty(&name));
                }
                failed = cleared.err().or(failed);
            }
            if !seen {
                return Ok(());
            }
            if self.done == before {
                return Err(failed.unwrap_or_else(|| io::Error::other("it does not become empty")));
            }
        }
    }

    /// Removes an entry of the top.
    fn clear(&mut self, name: &CStr, kind: FileType) -> io::Result<()> {
        if self.unlink(None, name, kind)? { Ok(()) } else { self.empty(name) }
    }

    /// Removes a folder of the top; folders in it that are not empty come to the top.
    fn empty(&mut self, name: &CStr) -> io::Result<()> {
        let folder = match open_folder(self.top.as_fd(), name, CHANGE) {
            Err(error) if is_gone(&error) => return Ok(()),
            opened => opened?,
        };
        let mut failed = None;
        let mut entries = Dir::new(folder)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let inner = entry.file_name();
            if is_dots(inner) {
                continue;
            }
            self.deadline.check()?;
            let at = entries.fd()?;
            let gone = match self.unlink(Some(at), inner, entry.file_type()) {
                Ok(false) => self.lift(at, inner),
                gone => gone.map(drop),
            };
            failed = gone.err().or(failed);
        }
        match failed {
            Some(error) => Err(error),
            None => self.unlink(None, name, FileType::Directory).map(drop),
        }
    }

    /// Removes a file, a link or an empty folder; false for a folder that is not empty.
    fn unlink(
        &mut self,
        at: Option<BorrowedFd<'_>>,
        name: &CStr,
        kind: FileType,
    ) -> io::Result<bool> {
        let at = at.unwrap_or(self.top.as_fd());
        let is_folder = kind == FileType::Directory;
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let unlinked = match unlinkat(at, name, flags) {
            // The system did not say what it is, or it has become something else.
            Err(Errno::ISDIR) => unlinkat(at, name, AtFlags::REMOVEDIR),
            Err(Errno::NOTDIR) if is_folder => unlinkat(at, name, AtFlags::empty()),
            unlinked => unlinked,
        };
        match unlinked {
            Ok(()) => {
                self.done += 1;
                Ok(true)
            }
            Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves a folder to the top.
    fn lift(&mut self, from: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let lifted = CString::new(format!("{}-{}", self.prefix, self.done))?;
        let mut moved = renameat(from, name, &self.top, &*lifted);
        if moved == Err(Errno::ACCESS) {
            // A folder that moves is itself changed: its `..` is another.
            open_folder(from, name, CHANGE)?;
            moved = renameat(from, name, &self.top, &*lifted);
        }
        match moved {
            Ok(()) => {
                self.done += 1;
                if self.moved.len() < MOVED {
                    self.moved.push(lifted);
                }
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

//! Trees of folders that an agent has made: walked, measured, copied, removed.
//!
//! # How it works
//!
//! An agent decides how deep, how wide and how readable its folders are, and it may still change them. So
//! nothing here recurses, keeps a list of names, or follows a link. A [`Walk`] keeps the first few folders open
//! and goes back up from deeper ones through `..`, where it checks that it has come to the folder that it left.
//! A removal needs no way back at all: it moves each folder that is not empty up to the top of the tree, and
//! empties them there one after the other. What is left to do is written in the file system alone.
//!
//! # Pitfalls
//!
//! A folder without permissions cannot be opened, listed or moved by its owner; [`open_folder`] gives the owner
//! what is needed, on the open folder itself, so that nothing else can take its place meanwhile.

mod copy;
mod measure;
mod owner;
mod remove;
#[cfg(test)]
mod tests;

pub use copy::Allowance;
pub(super) use copy::{Copying, copy_file};
pub(super) use measure::Measurement;
pub use measure::Size;
pub(super) use owner::{give, inherit};
pub(super) use remove::remove;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chmodat, fchmod, fstat, openat, statat,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Folders that a walk keeps open; below them it goes back up through `..`.
const OPEN: usize = 8;

/// Levels that a walk goes down; each costs 32 bytes of memory.
const DEEPEST: usize = 100_000;

/// The longest time of one removal, which the next sweep goes on with, and of one measurement.
const LONGEST: Duration = Duration::from_secs(60);

const READ: Mode = Mode::RUSR.union(Mode::XUSR);
const CHANGE: Mode = READ.union(Mode::WUSR);

/// When work on a tree ends before it is done.
pub(super) struct Deadline {
    stop: CancellationToken,
    at: Option<Instant>,
}

impl Deadline {
    /// At the stop of the server (or whatever `stop` means).
    pub(super) fn at_stop(stop: CancellationToken) -> Self {
        Self { stop, at: None }
    }

    /// The same, or when it has taken too long.
    pub(super) fn soon(stop: CancellationToken) -> Self {
        Self { stop, at: Instant::now().checked_add(LONGEST) }
    }

    pub(super) fn check(&self) -> io::Result<()> {
        if self.stop.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped before it was done"));
        }
        if self.at.is_some_and(|at| Instant::now() > at) {
            let words = format!("not done within {} s", LONGEST.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, words));
        }
        Ok(())
    }
}

// === walking ===

/// Device and inode: what a folder is, whatever its name.
type Id = (u64, u64);

/// Whether links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// Never: the tree is an agent's.
    Keep,
    /// They are: the tree is the operator's.
    Follow,
}

/// A place in a tree that goes down and up, with a bounded number of open folders.
pub(super) struct Walk {
    above: Vec<Level>,
    dir: Box<Dir>,
    id: Id,
    /// Behind the last entry that was read.
    offset: i64,
    links: Links,
}

enum Level {
    Open { dir: Box<Dir>, id: Id },
    Left { id: Id, offset: i64 },
}

impl Walk {
    pub(super) fn new(folder: OwnedFd, links: Links) -> io::Result<Self> {
        let id = id_of(&fstat(&folder)?);
        let dir = Box::new(Dir::new(folder)?);
        Ok(Self { above: Vec::new(), dir, id, offset: 0, links })
    }

    /// The folder that it has come to.
    pub(super) fn at(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.dir.fd()?)
    }

    pub(super) fn depth(&self) -> usize {
        self.above.len()
    }

    /// The next entry of this folder; none at its end, and after an error.
    pub(super) fn read(&mut self) -> Option<io::Result<(CString, FileType)>> {
        loop {
            let entry = match self.dir.read()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            self.offset = entry.offset();
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            let follows = self.links == Links::Follow && entry.file_type() == FileType::Symlink;
            let kind = if entry.file_type() == FileType::Unknown || follows {
                let flags = if follows { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
                match self.at().and_then(|at| Ok(statat(at, name, flags)?)) {
                    Ok(found) => FileType::from_raw_mode(found.st_mode),
                    Err(error) if is_gone(&error) => continue,
                    Err(error) => return Some(Err(error)),
                }
            } else {
                entry.file_type()
            };
            return Some(Ok((name.to_owned(), kind)));
        }
    }

    /// Goes to the folder of this name.
    pub(super) fn down(&mut self, name: &CStr) -> io::Result<()> {
        if self.depth() >= DEEPEST {
            return Err(io::Error::other(format!("folders lie more than {DEEPEST} deep")));
        }
        let folder = match self.links {
            Links::Keep => open_folder(self.at()?, name, READ)?,
            Links::Follow => {
                let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
                openat(self.at()?, name, flags, Mode::empty())?
            }
        };
        let below = Self::new(folder, self.links)?;
        let dir = std::mem::replace(&mut self.dir, below.dir);
        let id = std::mem::replace(&mut self.id, below.id);
        let offset = std::mem::take(&mut self.offset);
        // Behind a link `..` is another folder.
        let keeps = self.depth() < OPEN || self.links == Links::Follow;
        self.above.push(if keeps { Level::Open { dir, id } } else { Level::Left { id, offset } });
        Ok(())
    }

    /// Goes back up; false at the top. After an error it is at the nearest folder above that was still open.
    pub(super) fn up(&mut self) -> io::Result<bool> {
        let Some(level) = self.above.pop() else {
            return Ok(false);
        };
        let (id, offset) = match level {
            Level::Open { dir, id } => {
                self.stand(dir, id, 0);
                return Ok(true);
            }
            Level::Left { id, offset } => (id, offset),
        };
        match self.parent(id, offset) {
            Ok(dir) => {
                self.stand(dir, id, offset);
                Ok(true)
            }
            Err(error) => {
                while let Some(level) = self.above.pop() {
                    if let Level::Open { dir, id } = level {
                        self.stand(dir, id, 0);
                        break;
                    }
                }
                Err(error)
            }
        }
    }

    fn stand(&mut self, dir: Box<Dir>, id: Id, offset: i64) {
        (self.dir, self.id, self.offset) = (dir, id, offset);
    }

    /// The folder above, where it is still the one that was left.
    fn parent(&self, id: Id, offset: i64) -> io::Result<Box<Dir>> {
        let folder = openat(self.at()?, c"..", FOLDER, Mode::empty())?;
        if id_of(&fstat(&folder)?) != id {
            return Err(io::Error::other("folders were moved while they were read"));
        }
        let mut dir = Dir::new(folder)?;
        dir.seek(offset)?;
        Ok(Box::new(dir))
    }
}

/// How a folder is opened whose name an agent may have given to a link.
pub(super) const FOLDER: OFlags =
    OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Opens a folder; where its mode keeps its owner from what is needed, and the owner is this process, the mode is
/// mended.
fn open_folder(at: BorrowedFd<'_>, name: &CStr, needed: Mode) -> io::Result<OwnedFd> {
    let mend = |found: &Stat| {
        let mode = Mode::from_raw_mode(found.st_mode);
        let is_ours = || found.st_uid == rustix::process::geteuid().as_raw();
        (!mode.contains(needed) && is_ours()).then_some(mode | needed)
    };
    match openat(at, name, FOLDER, Mode::empty()) {
        Ok(folder) => {
            if let Some(mode) = mend(&fstat(&folder)?) {
                fchmod(&folder, mode)?;
            }
            Ok(folder)
        }
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let handle = openat(at, name, flags, Mode::empty())?;
            let mode = mend(&fstat(&handle)?).ok_or(Errno::ACCESS)?;
            // A descriptor that only names a folder cannot be given to fchmod; its link in /proc can.
            let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
            chmodat(CWD, link, mode, AtFlags::empty())?;
            Ok(openat(&handle, c".", FOLDER, Mode::empty())?)
        }
        Err(error) => Err(error.into()),
    }
}

/// A folder of this name, to be read.
pub(super) fn open(parent: &Path, name: &str) -> io::Result<OwnedFd> {
    let parent = open_parent(parent)?;
    open_folder(parent.as_fd(), &CString::new(name)?, READ)
}

/// A session's own folder by its path, whose last name no agent can change.
pub(super) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    open_folder(CWD, &CString::new(path.as_os_str().as_encoded_bytes())?, READ)
}

/// A folder by its path, which no agent can change.
pub(super) fn open_parent(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Whether a path still leads to this open folder.
pub(super) fn is_at(folder: &OwnedFd, path: &Path) -> io::Result<bool> {
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(id_of(&found) == id_of(&fstat(folder)?)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn id_of(found: &Stat) -> Id {
    (found.st_dev, found.st_ino)
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

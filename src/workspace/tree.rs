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

use super::inside::{create_file, open_file};
use crate::config::CopyLimits;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat, chmodat, fchmod, fstat, linkat,
    mkdirat, openat, readlinkat, renameat, seek, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Folders that a walk keeps open; below them it goes back up through `..`.
const OPEN: usize = 8;

/// Levels that a walk goes down; each costs 32 bytes of memory.
const DEEPEST: usize = 100_000;

/// Files with several names that are remembered while a tree is measured; further ones count once for each name.
const LINKED_FILES: usize = 65_536;

/// Folders that were moved to the top of a tree and are emptied next; the others are found by listing it.
const MOVED: usize = 1024;

/// The longest time of one removal; the next sweep goes on with the rest.
const REMOVAL: Duration = Duration::from_secs(60);

/// Bytes that are copied between two looks at the deadline.
const CHUNK: u64 = 64 << 20;

/// A byte count of the system is in blocks of this size.
const BLOCK: u64 = 512;

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

    /// At the stop of the server, or after the longest time of one removal.
    pub(super) fn of_removal(stop: CancellationToken) -> Self {
        Self { stop, at: Instant::now().checked_add(REMOVAL) }
    }

    fn check(&self) -> io::Result<()> {
        if self.stop.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped before it was done"));
        }
        if self.at.is_some_and(|at| Instant::now() > at) {
            let words = format!("not done within {} s", REMOVAL.as_secs());
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
struct Walk {
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
    fn new(folder: OwnedFd, links: Links) -> io::Result<Self> {
        let id = id_of(&fstat(&folder)?);
        let dir = Box::new(Dir::new(folder)?);
        Ok(Self { above: Vec::new(), dir, id, offset: 0, links })
    }

    /// The folder that it has come to.
    fn at(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.dir.fd()?)
    }

    fn depth(&self) -> usize {
        self.above.len()
    }

    /// The next entry of this folder; none at its end, and after an error.
    fn read(&mut self) -> Option<io::Result<(CString, FileType)>> {
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
    fn down(&mut self, name: &CStr) -> io::Result<()> {
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
    fn up(&mut self) -> io::Result<bool> {
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

const FOLDER: OFlags =
    OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Opens a folder; where its mode keeps its owner from what is needed, and the owner is this process, the mode is
/// mended.
fn open_folder(at: BorrowedFd<'_>, name: &CStr, needed: Mode) -> io::Result<OwnedFd> {
    let mend = |found: &Stat| {
        let mode = Mode::from_raw_mode(found.st_mode);
        let is_ours = found.st_uid == rustix::process::geteuid().as_raw();
        (is_ours && !mode.contains(needed)).then_some(mode | needed)
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

/// A folder by its path, which no agent can change.
fn open_parent(path: &Path) -> io::Result<OwnedFd> {
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

// === measuring ===

/// What trees take up on the disk.
#[derive(Debug, Default)]
pub struct Size {
    /// Bytes of the blocks of all files and folders; a file with several names counts once.
    pub bytes: u64,
    /// Files and folders.
    pub entries: u64,
    /// Files and folders that could not be read.
    pub unread: u64,
    /// Why the first of them could not.
    pub error: Option<io::Error>,
}

/// Measures one or more trees that belong together.
#[derive(Default)]
pub(super) struct Measure {
    size: Size,
    linked: HashSet<Id>,
}

impl Measure {
    /// Adds a tree.
    ///
    /// # Errors
    ///
    /// When it was stopped before it was done.
    pub(super) fn add(&mut self, folder: OwnedFd, deadline: &Deadline) -> io::Result<()> {
        self.count(&fstat(&folder)?);
        let mut walk = Walk::new(folder, Links::Keep)?;
        loop {
            deadline.check()?;
            let Some(entry) = walk.read() else {
                match walk.up() {
                    Ok(true) => continue,
                    Ok(false) => return Ok(()),
                    Err(error) => {
                        self.miss(error);
                        continue;
                    }
                }
            };
            let looked = entry.and_then(|(name, kind)| {
                self.count(&statat(walk.at()?, &*name, AtFlags::SYMLINK_NOFOLLOW)?);
                if kind == FileType::Directory { walk.down(&name) } else { Ok(()) }
            });
            match looked {
                // An agent at work removes and replaces things.
                Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::NotADirectory => {}
                Err(error) => self.miss(error),
                Ok(()) => {}
            }
        }
    }

    /// The sum.
    pub(super) fn size(self) -> Size {
        self.size
    }

    fn count(&mut self, found: &Stat) {
        let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        if found.st_nlink > 1 && !is_folder {
            let id = id_of(found);
            if self.linked.contains(&id) {
                return;
            }
            if self.linked.len() < LINKED_FILES {
                self.linked.insert(id);
            }
        }
        self.size.entries += 1;
        let blocks = u64::try_from(found.st_blocks).unwrap_or(0);
        self.size.bytes = self.size.bytes.saturating_add(blocks.saturating_mul(BLOCK));
    }

    pub(super) fn miss(&mut self, error: io::Error) {
        self.size.unread += 1;
        self.size.error.get_or_insert(error);
    }
}

// === copying ===

/// What may still be copied.
pub(super) struct Allowance<'a> {
    limits: &'a CopyLimits,
    entries: u64,
    bytes: u64,
}

impl<'a> Allowance<'a> {
    pub(super) fn new(limits: &'a CopyLimits) -> Self {
        Self { limits, entries: limits.entries, bytes: limits.size.get() }
    }

    fn take_entry(&mut self) -> io::Result<()> {
        let left = self.entries.checked_sub(1).ok_or_else(|| {
            let most = self.limits.entries;
            io::Error::other(format!(
                "more than {most} files and folders (`sessions.copy.entries`)"
            ))
        });
        self.entries = left?;
        Ok(())
    }

    fn take_bytes(&mut self, bytes: u64) -> io::Result<()> {
        let left = self.bytes.checked_sub(bytes).ok_or_else(|| {
            let most = self.limits.size;
            io::Error::other(format!("files of more than {most} (`sessions.copy.size`)"))
        });
        self.bytes = left?;
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> io::Result<()> {
        let most = self.limits.depth;
        if depth < most {
            return Ok(());
        }
        Err(io::Error::other(format!("folders more than {most} deep (`sessions.copy.depth`)")))
    }
}

/// A copy of a tree in the making.
pub(super) struct Copying<'a> {
    pub(super) allowance: Allowance<'a>,
    pub(super) links: Links,
    /// A folder beside the copy, made where it is needed: it holds a further name of each file that has several,
    /// so that the next one is a link to it.
    pub(super) beside: Option<PathBuf>,
    pub(super) deadline: Deadline,
}

impl Copying<'_> {
    /// Copies all that is in a folder to another one, which nobody else uses. Holes stay holes, names of one file
    /// stay names of one file; pipes, sockets and devices are left out.
    ///
    /// # Errors
    ///
    /// When something cannot be read or written, or there is too much of it.
    pub(super) fn run(mut self, from: OwnedFd, to: OwnedFd) -> io::Result<()> {
        let mut names = None;
        let copied = self.copy(from, to, &mut names);
        if let (Some(_), Some(beside)) = (names, &self.beside) {
            remove(beside, &self.deadline)?;
        }
        copied
    }

    fn copy(&mut self, from: OwnedFd, to: OwnedFd, names: &mut Option<OwnedFd>) -> io::Result<()> {
        let mut source = Walk::new(from, self.links)?;
        let mut target = Walk::new(to, Links::Keep)?;
        loop {
            self.deadline.check()?;
            let Some(entry) = source.read() else {
                if !source.up()? {
                    return Ok(());
                }
                target.up()?;
                continue;
            };
            let (name, kind) = entry?;
            // A mounted map of Kubernetes keeps its versions in `..data` and `..TIME`, beside links into them.
            if self.links == Links::Follow && name.to_bytes().starts_with(b"..") {
                continue;
            }
            self.allowance.take_entry()?;
            match kind {
                FileType::RegularFile => self.copy_named(&source, &target, &name, names)?,
                FileType::Symlink => {
                    let to = readlinkat(source.at()?, &*name, Vec::new())?;
                    symlinkat(&*to, target.at()?, &*name)?;
                }
                FileType::Directory => {
                    self.allowance.check_depth(source.depth())?;
                    mkdirat(target.at()?, &*name, Mode::RWXU)?;
                    source.down(&name)?;
                    target.down(&name)?;
                }
                // Pipes, sockets and devices do not work as copies.
                _ => {}
            }
        }
    }

    fn copy_named(
        &mut self,
        source: &Walk,
        target: &Walk,
        name: &CStr,
        names: &mut Option<OwnedFd>,
    ) -> io::Result<()> {
        let file = open_file(source.at()?, name, self.links)?;
        let found = file.metadata()?;
        let (Some(beside), true) = (&self.beside, found.nlink() > 1) else {
            return self.copy_contents(&file, target, name);
        };
        let names = match names {
            Some(names) => names,
            None => {
                std::fs::create_dir(beside)?;
                names.insert(open_parent(beside)?)
            }
        };
        let key = format!("{}-{}", found.dev(), found.ino());
        if linkat(&*names, &*key, target.at()?, name, AtFlags::empty()).is_ok() {
            return Ok(());
        }
        let names = names.as_fd().try_clone_to_owned()?;
        self.copy_contents(&file, target, name)?;
        // Where the file system has no such names, each is a file of its own.
        let _ = linkat(target.at()?, name, names, &*key, AtFlags::empty());
        Ok(())
    }

    fn copy_contents(&mut self, file: &File, target: &Walk, name: &CStr) -> io::Result<()> {
        let copy = create_file(target.at()?, name)?;
        copy_file(file, &copy, &mut self.allowance, &self.deadline)
    }
}

/// Copies one file to a new one; holes stay holes.
pub(super) fn copy_file(
    mut from: &File,
    mut to: &File,
    allowance: &mut Allowance<'_>,
    deadline: &Deadline,
) -> io::Result<()> {
    let found = from.metadata()?;
    let size = found.len();
    let mut at = 0;
    while at < size {
        deadline.check()?;
        let data = match seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(error) => return Err(error.into()),
        };
        let hole = seek(from, SeekFrom::Hole(data)).unwrap_or(size);
        let end = hole.min(size).min(data.saturating_add(CHUNK));
        let Some(length) = end.checked_sub(data).filter(|length| *length > 0) else {
            break;
        };
        allowance.take_bytes(length)?;
        from.seek(io::SeekFrom::Start(data))?;
        to.seek(io::SeekFrom::Start(data))?;
        if io::copy(&mut from.take(length), &mut to)? < length {
            // It has become shorter.
            break;
        }
        at = end;
    }
    to.set_len(size)?;
    to.set_permissions(PermissionsExt::from_mode(found.mode() & 0o777))
}

// === removing ===

/// Removes a folder with all that is in it, or a file; that it is not there is no error.
///
/// # Errors
///
/// When something cannot be removed, or it takes too long; then a part of it may be gone.
pub(super) fn remove(path: &Path, deadline: &Deadline) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Bytes;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn never() -> Deadline {
        Deadline::at_stop(CancellationToken::new())
    }

    fn folder(path: &Path) -> OwnedFd {
        fs::create_dir_all(path).unwrap();
        open_parent(path).unwrap()
    }

    /// Makes so many folders within folders.
    fn deepen(path: &Path, levels: usize) {
        let mut at = folder(path);
        for _ in 0..levels {
            mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = openat(&at, c"d", FOLDER, Mode::empty()).unwrap();
        }
        create_file(at.as_fd(), c"bottom").unwrap();
    }

    fn measured(path: &Path) -> Size {
        let mut measure = Measure::default();
        measure.add(open_parent(path).unwrap(), &never()).unwrap();
        measure.size()
    }

    fn copied(from: &Path, to: &Path, limits: &CopyLimits) -> io::Result<()> {
        let copying = Copying {
            allowance: Allowance::new(limits),
            links: Links::Keep,
            beside: Some(to.with_extension("beside")),
            deadline: never(),
        };
        copying.run(open_parent(from).unwrap(), folder(to))
    }

    fn blocks(path: &Path) -> u64 {
        fs::symlink_metadata(path).unwrap().blocks() * BLOCK
    }

    #[test]
    fn a_folder_of_5_000_levels_is_measured_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("deep");
        deepen(&deep, 5_000);
        let size = measured(&deep);
        assert_eq!((size.entries, size.unread), (5_002, 0), "{:?}", size.error);
        remove(&deep, &never()).unwrap();
        assert!(!deep.exists());
    }

    #[test]
    fn a_walk_goes_through_every_folder_of_a_tree_once() {
        let root = tempfile::tempdir().unwrap();
        // Three folders in each, so that many are left and come back to below the folders that stay open.
        let mut level = vec![root.path().to_owned()];
        for _ in 0..3 {
            level = level.iter().flat_map(|at| (0..3).map(|n| at.join(n.to_string()))).collect();
        }
        for at in &level {
            for n in 0..4 {
                fs::create_dir_all(at.join(format!("{n}/x/x/x/x/x/x/x/x/{n}/y"))).unwrap();
            }
        }
        let size = measured(root.path());
        assert_eq!((size.entries, size.unread), (40 + 27 * 4 * 11, 0));
    }

    #[test]
    fn a_removal_follows_no_link() {
        let root = tempfile::tempdir().unwrap();
        let (outside, tree) = (root.path().join("outside"), root.path().join("tree"));
        fs::create_dir_all(outside.join("kept")).unwrap();
        fs::write(outside.join("kept/file"), "canary").unwrap();
        fs::create_dir_all(tree.join("a/b")).unwrap();
        symlink(&outside, tree.join("a/b/link")).unwrap();
        symlink(outside.join("kept"), tree.join("link")).unwrap();
        remove(&tree, &never()).unwrap();
        symlink(&outside, &tree).unwrap();
        remove(&tree, &never()).unwrap();
        assert!(!tree.is_symlink());
        assert_eq!(fs::read_to_string(outside.join("kept/file")).unwrap(), "canary");
    }

    #[test]
    fn a_removal_that_is_stopped_says_so_and_can_go_on() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let error = remove(&tree, &Deadline::of_removal(stop)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(tree.exists());
        remove(&tree, &never()).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn a_size_counts_blocks_and_a_file_with_two_names_once() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("data"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(path("data"), path("again")).unwrap();
        File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
        let size = measured(root.path());
        let expected = blocks(root.path()) + blocks(&path("data")) + blocks(&path("sparse"));
        assert_eq!((size.bytes, size.entries), (expected, 3));
        assert!(size.bytes >= 1 << 20 && size.bytes < 1 << 30, "{size:?}");
    }

    #[test]
    fn a_copy_keeps_links_modes_holes_and_names_of_one_file() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(from.join("a/b/run"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::hard_link(from.join("a/b/run"), from.join("run")).unwrap();
        symlink("/etc/hostname", from.join("name")).unwrap();
        rustix::fs::mknodat(CWD, from.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let mut sparse = File::create(from.join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        sparse.seek(io::SeekFrom::Start(1 << 29)).unwrap();
        io::Write::write_all(&mut sparse, b"in the middle").unwrap();
        copied(&from, &to, &CopyLimits::default()).unwrap();
        assert_eq!(fs::read_link(to.join("name")).unwrap(), Path::new("/etc/hostname"));
        let run = fs::metadata(to.join("a/b/run")).unwrap();
        assert_eq!(run.mode() & 0o777, 0o755);
        assert_eq!(run.ino(), fs::metadata(to.join("run")).unwrap().ino());
        assert!(!to.join("pipe").exists());
        let mut copy = File::open(to.join("sparse")).unwrap();
        let mut words = vec![0; 13];
        copy.seek(io::SeekFrom::Start(1 << 29)).unwrap();
        copy.read_exact(&mut words).unwrap();
        assert_eq!((copy.metadata().unwrap().len(), &*words), (1 << 30, &b"in the middle"[..]));
        assert!(blocks(&to.join("sparse")) < 1 << 20);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_copy_of_too_much_names_the_key() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        fs::create_dir_all(from.join("a/b/c")).unwrap();
        fs::write(from.join("data"), vec![1; 4096]).unwrap();
        let enough = CopyLimits { entries: 4, size: Bytes::new(4096), depth: 3 };
        copied(&from, &root.path().join("whole"), &enough).unwrap();
        let refused = |name: &str, limits: CopyLimits| {
            copied(&from, &root.path().join(name), &limits).unwrap_err().to_string()
        };
        let entries = refused("entries", CopyLimits { entries: 3, ..enough.clone() });
        assert!(entries.contains("sessions.copy.entries"), "{entries}");
        let size = refused("size", CopyLimits { size: Bytes::new(4095), ..enough.clone() });
        assert!(size.contains("sessions.copy.size"), "{size}");
        let depth = refused("depth", CopyLimits { depth: 2, ..enough });
        assert!(depth.contains("sessions.copy.depth"), "{depth}");
    }
}

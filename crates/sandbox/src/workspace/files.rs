//! The files of a session's workspace as the server shows them: listed, read, archived.
//!
//! # How it works
//!
//! The agent may change its workspace meanwhile, and is not trusted. Every file is reached by descriptors, one name
//! after the other, and a name that is a link is an error: no path leaves the workspace. Only regular files are
//! opened; pipes, sockets and devices are looked at by their names alone. A file is read up to the size that it had
//! when it was opened.

mod archive;
mod bring;
mod look;

pub use archive::{Archive, append_folder};
pub use look::{Look, LookBounds};

use super::tree::{self, Deadline, FOLDER, Links, Walk};
use super::{CopyLimits, Workspaces};
use crate::disk::{at_once, off_worker};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Bytes that stand for themselves in the path of an address.
const IN_PATHS: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A path of any bytes as a part of an address.
pub fn encode_path(path: &[u8]) -> String {
    percent_encode(path, IN_PATHS).to_string()
}

/// A longer path is not shown: no program could open the file by it.
const LONGEST_PATH: usize = 4096;

/// The files of one session's workspace.
#[derive(Debug, Clone)]
pub struct SessionFiles {
    root: Arc<OwnedFd>,
}

/// Something in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it is below the workspace; any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file.
    pub bytes: u64,
    /// When it was changed last, in seconds since 1970.
    pub modified: i64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, wherever it leads.
    Link,
    /// A pipe, a socket or a device.
    Special,
}

/// A page of the entries of a workspace, in the order of their paths.
#[derive(Debug)]
pub struct FilePage {
    /// The entries.
    pub entries: Vec<FileEntry>,
    /// Whether further ones follow.
    pub has_more: bool,
    /// How many there are on all pages.
    pub total: u64,
}

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct OpenFile {
    file: Arc<File>,
    /// Its size when it was opened.
    pub bytes: u64,
    /// When it was changed last, in seconds since 1970.
    pub modified: i64,
}

impl Workspaces {
    /// The files of a session's workspace.
    ///
    /// # Errors
    ///
    /// `NotFound` where the workspace is not there, or not there any more.
    pub async fn files(&self, session: &str) -> io::Result<SessionFiles> {
        let (folder, is_own) = (self.shown(session), !self.shared.settings.is_shared);
        if let Ok(opened) = at_once(|| SessionFiles::open(&folder, is_own)) {
            return opened;
        }
        off_worker(move || SessionFiles::open(&folder, is_own)).await?
    }

    /// What may be copied at once.
    pub fn copy_limits(&self) -> CopyLimits {
        self.shared.settings.copy
    }
}

impl SessionFiles {
    /// The files below this folder, which no agent can replace; `is_own` says that it is the session's own.
    pub(super) fn open(folder: &Path, is_own: bool) -> io::Result<Self> {
        let root = match is_own {
            true => tree::open_root(folder)?,
            false => tree::open_parent(folder)?,
        };
        Ok(Self { root: Arc::new(root) })
    }

    /// A page of what is there, without what lies in folders named `.git`: up to `size` entries behind the path
    /// `after`. An error where there are more than `most` entries, or it takes too long. Dropping this ends it.
    pub async fn list(
        &self,
        after: Option<Vec<u8>>,
        size: usize,
        most: u64,
    ) -> io::Result<FilePage> {
        let (files, stop) = (self.clone(), CancellationToken::new());
        let _ends = stop.clone().drop_guard();
        off_worker(move || files.list_now(after.as_deref(), (size, most), &Deadline::soon(stop)))
            .await?
    }

    fn list_now(
        &self,
        after: Option<&[u8]>,
        (size, most): (usize, u64),
        deadline: &Deadline,
    ) -> io::Result<FilePage> {
        let mut paths = Paths::of(self, IsShown::WithoutGit)?;
        let (mut page, mut total) = (BTreeMap::new(), 0);
        while let Some(kind) = paths.next() {
            deadline.check()?;
            total += 1;
            if total > most {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("the workspace has more than {most} entries"),
                ));
            }
            if after.is_some_and(|after| paths.path.as_slice() <= after) {
                continue;
            }
            page.insert(paths.path.clone(), (kind, paths.stat()));
            if page.len() > size + 1 {
                page.pop_last();
            }
        }
        let has_more = page.len() > size;
        let entry = |(path, (kind, found)): (_, (FileType, Option<Stat>))| FileEntry {
            path,
            kind: EntryKind::of(kind),
            bytes: found.map_or(0, |found| file_size(&found)),
            modified: found.map_or(0, |found| found.st_mtime),
        };
        let entries = page.into_iter().take(size).map(entry).collect();
        Ok(FilePage { entries, has_more, total })
    }

    /// Opens the regular file of this path, each name of which is a segment.
    ///
    /// # Errors
    ///
    /// `NotFound`, also where a name in it is a link or no folder; `InvalidInput` where it is no regular file, or
    /// no path.
    pub async fn read(&self, path: Vec<u8>) -> io::Result<OpenFile> {
        let files = self.clone();
        off_worker(move || files.open_file(&path)).await?
    }

    /// The same, where nothing else waits.
    pub fn open_file(&self, path: &[u8]) -> io::Result<OpenFile> {
        let mut names = path.split(|byte| *byte == b'/').peekable();
        let mut folder = openat(&*self.root, c".", FOLDER, Mode::empty())?;
        while let Some(name) = names.next() {
            if name.is_empty() || name == b"." || name == b".." {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "no path of a file"));
            }
            let name = CString::new(name)?;
            if names.peek().is_none() {
                return open_regular(folder.as_fd(), &name);
            }
            folder = match openat(&folder, &*name, FOLDER, Mode::empty()) {
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(io::ErrorKind::NotFound.into()),
                opened => opened?,
            };
        }
        Err(io::ErrorKind::InvalidInput.into())
    }

    /// The size of a regular file; none where there is no file of this path.
    pub async fn size(&self, path: &[u8]) -> Option<u64> {
        self.read(path.to_vec()).await.ok().map(|file| file.bytes)
    }

    /// All of it as a tar archive, as far as `most` entries and bytes.
    pub fn archive(&self, most: CopyLimits) -> io::Result<Archive> {
        Ok(Archive::new(Paths::of(self, IsShown::All)?, most))
    }
}

/// Opens a regular file and nothing else: what the name leads to is looked at before it is opened for reading.
fn open_regular(
    folder: std::os::fd::BorrowedFd<'_>,
    name: &std::ffi::CStr,
) -> io::Result<OpenFile> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = openat(folder, name, flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&handle)?.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => return Err(io::ErrorKind::NotFound.into()),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
    // A descriptor that only names a file can be opened by its link in /proc, and is the same file.
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(openat(CWD, link, flags, Mode::empty())?);
    let found = file.metadata()?;
    Ok(OpenFile { bytes: found.len(), modified: found.mtime(), file: Arc::new(file) })
}

impl OpenFile {
    /// Up to `most` bytes from an offset; fewer at the end of the file, or where it has become shorter.
    pub async fn piece(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let file = self.file.clone();
        off_worker(move || read_piece(&file, at, most)).await?
    }

    /// All of it, up to `most` bytes.
    pub fn read_up_to(&self, most: usize) -> io::Result<Vec<u8>> {
        read_piece(&self.file, 0, most)
    }
}

fn read_piece(file: &File, at: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let mut length = 0;
    while length < most {
        match file.read_at(&mut bytes[length..], at + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

impl EntryKind {
    fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            _ => Self::Special,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Link => "link",
            Self::Special => "special",
        }
    }
}

fn file_size(found: &Stat) -> u64 {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => found.st_size.cast_unsigned(),
        _ => 0,
    }
}

/// What of a workspace a walk shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IsShown {
    All,
    /// Folders named `.git` are left out.
    WithoutGit,
}

/// All entries of a workspace with their paths, in the order of the file system, each folder before what is in it.
/// What cannot be read, or is gone meanwhile, is left out.
struct Paths {
    walk: Walk,
    shows: IsShown,
    /// That of the present entry.
    path: Vec<u8>,
    name: CString,
    /// How long the path of each folder is that the walk is in.
    lengths: Vec<usize>,
    /// Whether the present entry is a folder that the walk goes into next.
    enters: bool,
    /// Whether a `.git` of the workspace itself was met, whatever it is.
    has_git: bool,
}

impl Paths {
    fn of(files: &SessionFiles, shows: IsShown) -> io::Result<Self> {
        let root = openat(&*files.root, c".", FOLDER, Mode::empty())?;
        let walk = Walk::new(root, Links::Keep)?;
        let (path, name, lengths) = (Vec::new(), CString::default(), Vec::new());
        Ok(Self { walk, shows, path, name, lengths, enters: false, has_git: false })
    }

    /// Goes to the next entry; what it is.
    fn next(&mut self) -> Option<FileType> {
        loop {
            if std::mem::take(&mut self.enters) && self.walk.down(&self.name).is_ok() {
                self.path.push(b'/');
                self.lengths.push(self.path.len());
            }
            match self.walk.read() {
                Some(Ok((name, kind))) => {
                    let is_folder = kind == FileType::Directory;
                    if name.to_bytes() == b".git" {
                        self.has_git |= self.walk.depth() == 0;
                        if is_folder && self.shows == IsShown::WithoutGit {
                            continue;
                        }
                    }
                    let length = self.lengths.last().copied().unwrap_or_default();
                    if length + name.to_bytes().len() > LONGEST_PATH {
                        continue;
                    }
                    self.path.truncate(length);
                    self.path.extend_from_slice(name.to_bytes());
                    (self.name, self.enters) = (name, is_folder);
                    return Some(kind);
                }
                Some(Err(_)) | None => {
                    if let Ok(false) = self.walk.up() {
                        return None;
                    }
                    // After an error it is several levels higher.
                    self.lengths.truncate(self.walk.depth());
                }
            }
        }
    }

    /// Does not go into the present entry.
    fn skip(&mut self) {
        self.enters = false;
    }

    /// What the file system says of the present entry, before the walk goes on.
    fn stat(&self) -> Option<Stat> {
        statat(self.walk.at().ok()?, &*self.name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }
}

#[cfg(test)]
mod tests;

//! A workspace as a tar archive, made piece by piece as it is read: no thread waits for a slow reader.

use super::{IsShown, OpenFile, Paths, SessionFiles, open_regular};
use crate::disk::off_worker;
use crate::workspace::CopyLimits;
use rustix::fs::{FileType, Stat, fstat, readlinkat};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bytes of one piece, about.
const PIECE: usize = 64 * 1024;

/// A block of the format; each file is filled up to a whole one, and two empty ones are the end.
const BLOCK: usize = 512;

/// An archive in the making.
pub struct Archive {
    pub(super) paths: Paths,
    limits: CopyLimits,
    entries: u64,
    bytes: u64,
    /// The file that is being written, and how much of it is.
    file: Option<(OpenFile, u64)>,
    is_ended: bool,
    /// Below which name its entries stand, with their owners, where it is a part of a larger archive.
    part: Option<PathBuf>,
}

/// Writes a folder, which no agent can replace, as a part of an archive: its entries below `name`, with their owners, and no
/// end. What is gone or cut off meanwhile is left out or filled up.
///
/// # Errors
///
/// When a file cannot be read, or the archive not be written.
pub fn append_folder(folder: &Path, name: &Path, out: &mut impl Write) -> io::Result<()> {
    let files = SessionFiles::open(folder, false)?;
    let mut header = header_of(&fstat(&files.root)?, true);
    header.set_entry_type(tar::EntryType::Directory);
    let mut blocks = tar::Builder::new(Vec::new());
    blocks.append_data(&mut header, name, io::empty())?;
    out.write_all(&without_end(blocks)?)?;
    let limits = CopyLimits { entries: u64::MAX, size: u64::MAX, depth: usize::MAX };
    let mut part = Archive::new(Paths::of(&files, IsShown::All)?, limits);
    part.part = Some(name.to_owned());
    while let Some(piece) = part.piece()? {
        out.write_all(&piece)?;
    }
    Ok(())
}

/// What was written, without the two blocks that end an archive.
fn without_end(blocks: tar::Builder<Vec<u8>>) -> io::Result<Vec<u8>> {
    let mut blocks = blocks.into_inner()?;
    blocks.truncate(blocks.len() - 2 * BLOCK);
    Ok(blocks)
}

impl Archive {
    pub(super) fn new(paths: Paths, limits: CopyLimits) -> Self {
        Self { paths, limits, entries: 0, bytes: 0, file: None, is_ended: false, part: None }
    }

    /// The next piece, and what the others are made of; none at the end. Where it fails, the archive has no end, so
    /// that no reader takes the beginning for the whole.
    ///
    /// # Errors
    ///
    /// When there is more than may be copied at once, or a file cannot be read.
    pub async fn next(mut self) -> io::Result<Option<(Vec<u8>, Self)>> {
        off_worker(move || Ok(self.piece()?.map(|piece| (piece, self)))).await?
    }

    fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.is_ended {
            return Ok(None);
        }
        let mut piece = Vec::with_capacity(PIECE + 2 * BLOCK);
        while piece.len() < PIECE {
            if self.file.is_some() {
                self.add_contents(&mut piece)?;
            } else if let Some(kind) = self.paths.next() {
                self.add_entry(kind, &mut piece)?;
            } else {
                if self.part.is_none() {
                    piece.resize(piece.len() + 2 * BLOCK, 0);
                }
                self.is_ended = true;
                break;
            }
        }
        Ok(Some(piece))
    }

    pub(super) fn add_contents(&mut self, piece: &mut Vec<u8>) -> io::Result<()> {
        let Some((file, at)) = &mut self.file else { return Ok(()) };
        let wanted = usize::try_from(file.bytes - *at).unwrap_or(PIECE).min(PIECE);
        let mut read = super::read_piece(&file.file, *at, wanted)?;
        // The header has said how long it is: what was cut off meanwhile is empty.
        read.resize(wanted, 0);
        piece.append(&mut read);
        *at += wanted as u64;
        if *at >= file.bytes {
            piece.resize(piece.len().next_multiple_of(BLOCK), 0);
            self.file = None;
        }
        Ok(())
    }

    pub(super) fn add_entry(&mut self, kind: FileType, piece: &mut Vec<u8>) -> io::Result<()> {
        // What is gone meanwhile is left out.
        let Some(found) = self.paths.stat() else { return Ok(()) };
        self.entries += 1;
        if self.entries > self.limits.entries {
            let most = self.limits.entries;
            return Err(io::Error::other(format!(
                "more than {most} files and folders (`sessions.copy.entries`)"
            )));
        }
        let path = Path::new(OsStr::from_bytes(&self.paths.path));
        let path = &self.part.as_ref().map_or_else(|| path.to_owned(), |part| part.join(path));
        let (at, name) = (self.paths.walk.at()?, &self.paths.name);
        let mut header = header_of(&found, self.part.is_some());
        // Each writes whole blocks: a long name is an entry of its own before its file's.
        let mut blocks = tar::Builder::new(Vec::new());
        match kind {
            FileType::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                blocks.append_data(&mut header, path, io::empty())?;
            }
            FileType::Symlink => {
                let Ok(target) = readlinkat(at, &**name, Vec::new()) else { return Ok(()) };
                header.set_entry_type(tar::EntryType::Symlink);
                let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                blocks.append_link(&mut header, path, target)?;
            }
            FileType::RegularFile => {
                let Ok(file) = open_regular(at, name) else { return Ok(()) };
                self.bytes = self.bytes.saturating_add(file.bytes);
                if self.bytes > self.limits.size {
                    let most = self.limits.size;
                    return Err(io::Error::other(format!(
                        "files of more than {most} bytes (`sessions.copy.size`)"
                    )));
                }
                header.set_size(file.bytes);
                blocks.append_data(&mut header, path, io::empty())?;
                self.file = (file.bytes > 0).then_some((file, 0));
            }
            // Pipes, sockets and devices do not work as copies.
            _ => return Ok(()),
        }
        // They end as an archive does, and more follows.
        piece.append(&mut without_end(blocks)?);
        Ok(())
    }
}

fn header_of(found: &Stat, has_owner: bool) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    if has_owner {
        header.set_uid(found.st_uid.into());
        header.set_gid(found.st_gid.into());
    }
    header.set_mode(found.st_mode & 0o777);
    header.set_mtime(u64::try_from(found.st_mtime).unwrap_or_default());
    header.set_size(0);
    header
}

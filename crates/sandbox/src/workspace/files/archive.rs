//! A workspace as a tar archive, made piece by piece as it is read: no thread waits for a slow reader.

use super::{OpenFile, Paths, open_regular};
use crate::disk::off_worker;
use crate::workspace::CopyLimits;
use rustix::fs::{FileType, Stat, readlinkat};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
}

impl Archive {
    pub(super) fn new(paths: Paths, limits: CopyLimits) -> Self {
        Self { paths, limits, entries: 0, bytes: 0, file: None, is_ended: false }
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
                piece.resize(piece.len() + 2 * BLOCK, 0);
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
        let (at, name) = (self.paths.walk.at()?, &self.paths.name);
        let mut header = header_of(&found);
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
        let mut blocks = blocks.into_inner()?;
        // They end as an archive does, and more follows.
        blocks.truncate(blocks.len() - 2 * BLOCK);
        piece.append(&mut blocks);
        Ok(())
    }
}

fn header_of(found: &Stat) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(found.st_mode & 0o777);
    header.set_mtime(u64::try_from(found.st_mtime).unwrap_or_default());
    header.set_size(0);
    header
}

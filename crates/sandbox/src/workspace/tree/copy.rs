//! Copies of trees, within bounds.

use super::super::inside::{create_file, make_free, open_file};
use super::owner::inherit_name;
use super::{Deadline, Links, Walk, open_parent, remove};
use crate::workspace::CopyLimits;
use rustix::fs::{AtFlags, FileType, Mode, SeekFrom, linkat, mkdirat, readlinkat, seek, symlinkat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Bytes that are copied between two looks at the deadline.
const CHUNK: u64 = 64 << 20;

/// What may still be copied.
pub(in crate::workspace) struct Allowance {
    limits: CopyLimits,
    entries: u64,
    bytes: u64,
}

impl Allowance {
    pub(in crate::workspace) fn new(limits: CopyLimits) -> Self {
        Self { limits, entries: limits.entries, bytes: limits.size }
    }

    pub(in crate::workspace) fn take_entry(&mut self) -> io::Result<()> {
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
            io::Error::other(format!("files of more than {most} bytes (`sessions.copy.size`)"))
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
pub(in crate::workspace) struct Copying {
    pub(in crate::workspace) allowance: Allowance,
    pub(in crate::workspace) links: Links,
    /// A folder beside the copy, made where it is needed: it holds a further name of each file that has several,
    /// so that the next one is a link to it.
    pub(in crate::workspace) beside: Option<PathBuf>,
    pub(in crate::workspace) deadline: Deadline,
}

impl Copying {
    /// Copies all that is in a folder to another one, which nobody else uses now; a file of the same name that is
    /// there already is replaced. Holes stay holes, names of one file
    /// stay names of one file; pipes, sockets and devices are left out.
    pub(in crate::workspace) fn run(mut self, from: OwnedFd, to: OwnedFd) -> io::Result<()> {
        let mut names = None;
        let copied = self.copy(from, to, &mut names);
        if let (Some(_), Some(beside)) = (names, &self.beside) {
            let removed = remove(beside, &Deadline::soon(CancellationToken::new()));
            return copied.and(removed);
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
                FileType::RegularFile => {
                    make_free(target.at()?, &*name)?;
                    self.copy_named(&source, &target, &name, names)?;
                }
                FileType::Symlink => {
                    make_free(target.at()?, &*name)?;
                    let to = readlinkat(source.at()?, &*name, Vec::new())?;
                    symlinkat(&*to, target.at()?, &*name)?;
                    inherit_name(target.at()?, &name)?;
                }
                FileType::Directory => {
                    self.allowance.check_depth(source.depth())?;
                    match mkdirat(target.at()?, &*name, Mode::RWXU) {
                        Ok(()) => inherit_name(target.at()?, &name)?,
                        Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
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
                DirBuilder::new().mode(0o700).create(beside)?;
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
pub(in crate::workspace) fn copy_file(
    mut from: &File,
    mut to: &File,
    allowance: &mut Allowance,
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

//! A folder that an agent can change, touched by the server without following a link that the agent made.
//!
//! The server stands outside of the wall: a link from a workspace to a file of the host would have it read or
//! write that file on the agent's behalf. So everything is opened step by step, relative to what is open
//! already, and a step that is a link is an error.

use super::tree::{Allowance, Deadline, Links, copy_file, inherit};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Folders among which the one with a transcript is looked for.
const SEARCHED: usize = 10_000;

/// An open folder.
pub(super) struct Inside(OwnedFd);

impl Inside {
    /// A folder by its path, which no agent can change.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// The folder of this name in it.
    fn folder(&self, name: impl rustix::path::Arg) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(Self(openat(&self.0, name, flags, Mode::empty())?))
    }

    /// The folder at the end of this path.
    pub(super) fn below(&self, path: &str) -> io::Result<Self> {
        let mut at = self.folder(".")?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = at.folder(name)?;
        }
        Ok(at)
    }

    /// The same, made where it is missing.
    pub(super) fn make(&self, path: &str) -> io::Result<Self> {
        let mut at = self.folder(".")?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let is_new = match mkdirat(&at.0, name, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            let below = at.folder(name)?;
            if is_new {
                inherit(at.0.as_fd(), &below.0)?;
            }
            at = below;
        }
        Ok(at)
    }

    /// The folder in it that has this file, and its name.
    pub(super) fn find(&self, file: &str) -> Option<(String, Self)> {
        let entries = Dir::read_from(&self.0).ok()?;
        entries.flatten().take(SEARCHED).find_map(|entry| {
            let name =
                entry.file_name().to_str().ok().filter(|name| !matches!(*name, "." | ".."))?;
            let folder = self.folder(name).ok()?;
            folder.file(file).ok()?;
            Some((name.to_owned(), folder))
        })
    }

    /// A file of this name, to be read; an error where it is anything else.
    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        open_file(self.0.as_fd(), name, Links::Keep)
    }

    /// A new file of this name in the place of whatever had it.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        make_free(self.0.as_fd(), name)?;
        create_file(self.0.as_fd(), name)
    }

    /// Copies one file to another folder.
    pub(super) fn copy_file(
        &self,
        name: &str,
        to: &Self,
        allowance: &mut Allowance,
        deadline: &Deadline,
    ) -> io::Result<()> {
        copy_file(&self.file(name)?, &to.create(name)?, allowance, deadline)
    }
}

/// A file of this name, to be read; an error where it is anything else.
pub(super) fn open_file(
    at: BorrowedFd<'_>,
    name: impl rustix::path::Arg,
    links: Links,
) -> io::Result<File> {
    // Without waiting: it may be a pipe that nobody writes to.
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if links == Links::Keep {
        flags |= OFlags::NOFOLLOW;
    }
    let file = File::from(openat(at, name, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::from(io::ErrorKind::InvalidInput))
    }
}

/// Removes the file or link of this name, if there is one.
pub(super) fn make_free(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> io::Result<()> {
    match unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A new file of this name, where nothing has it.
pub(super) fn create_file(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = File::from(openat(at, name, flags, mode)?);
    inherit(at, &file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::FileType;
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_of_the_agents_is_followed_neither_for_reading_nor_for_writing() {
        let root = tempfile::tempdir().unwrap();
        let (host, work) = (root.path().join("host"), root.path().join("work"));
        fs::create_dir(&host).unwrap();
        fs::create_dir(&work).unwrap();
        fs::write(host.join("secret"), "of the host").unwrap();
        symlink(&host, work.join("folder")).unwrap();
        symlink(host.join("secret"), work.join("file")).unwrap();
        let inside = Inside::open(&work).unwrap();
        assert!(inside.below("folder").is_err());
        assert!(inside.make("folder/deeper").is_err());
        assert!(inside.file("file").is_err());
        inside.create("file").unwrap().write_all(b"mine").unwrap();
        assert_eq!(fs::read_to_string(host.join("secret")).unwrap(), "of the host");
        assert_eq!(fs::read_to_string(work.join("file")).unwrap(), "mine");
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.path().join("pipe"),
            FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        let inside = Inside::open(root.path()).unwrap();
        assert!(inside.file("pipe").is_err());
        let mut text = String::new();
        fs::write(root.path().join("file"), "words").unwrap();
        inside.file("file").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "words");
    }
}

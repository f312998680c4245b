//! A folder that an agent can change, touched by the server without following a link that the agent made.
//!
//! The server stands outside of the wall: a link from a workspace to a file of the host would have it read or
//! write that file on the agent's behalf. So everything is opened step by step, relative to what is open
//! already, and a step that is a link is an error.

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, readlinkat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Folders within folders that are copied; more is surely meant to hurt.
const DEEPEST: usize = 128;

/// An open folder.
pub(super) struct Inside(OwnedFd);

impl Inside {
    /// A folder by its path, which no agent can change.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// The folder of this name in it.
    fn folder(&self, name: &str) -> io::Result<Self> {
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
            match mkdirat(&at.0, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            at = at.folder(name)?;
        }
        Ok(at)
    }

    /// Names and kinds of what is in it.
    fn entries(&self) -> io::Result<Vec<(CString, FileType)>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let found = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(found.st_mode)
                }
                known => known,
            };
            entries.push((name.to_owned(), kind));
        }
        Ok(entries)
    }

    /// The names of the folders in it.
    pub(super) fn folders(&self) -> io::Result<Vec<String>> {
        let folders = self.entries()?.into_iter();
        let folders = folders.filter(|(_, kind)| *kind == FileType::Directory);
        Ok(folders.filter_map(|(name, _)| name.into_string().ok()).collect())
    }

    /// A file of this name, to be read; an error where it is anything else.
    pub(super) fn file(&self, name: impl rustix::path::Arg) -> io::Result<File> {
        // Without waiting: it may be a pipe that nobody writes to.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(openat(&self.0, name, flags, Mode::empty())?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::from(io::ErrorKind::InvalidInput))
        }
    }

    /// A new file of this name in the place of whatever had it.
    pub(super) fn create(&self, name: impl rustix::path::Arg + Copy) -> io::Result<File> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        Ok(File::from(openat(&self.0, name, flags, mode)?))
    }

    /// Copies one file to another folder.
    pub(super) fn copy_file(
        &self,
        name: impl rustix::path::Arg + Copy,
        to: &Self,
    ) -> io::Result<()> {
        let mut from = self.file(name)?;
        let mut copy = to.create(name)?;
        io::copy(&mut from, &mut copy)?;
        let mode = from.metadata()?.mode() & 0o777;
        copy.set_permissions(PermissionsExt::from_mode(mode))
    }

    /// Copies everything to another folder, links as links; `left` bounds how much.
    pub(super) fn copy_to(&self, to: &Self, left: &mut usize) -> io::Result<()> {
        self.copy_level(to, left, DEEPEST)
    }

    fn copy_level(&self, to: &Self, left: &mut usize, deeper: usize) -> io::Result<()> {
        let deeper = deeper
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("folders lie too deep within folders"))?;
        for (name, kind) in self.entries()? {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("more files than may be copied"))?;
            match kind {
                FileType::RegularFile => self.copy_file(name.as_c_str(), to)?,
                FileType::Symlink => {
                    let target = readlinkat(&self.0, name.as_c_str(), Vec::new())?;
                    symlinkat(target.as_c_str(), &to.0, name.as_c_str())?;
                }
                FileType::Directory => {
                    let flags =
                        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                    let open = |at: &Self| openat(&at.0, name.as_c_str(), flags, Mode::empty());
                    match mkdirat(&to.0, name.as_c_str(), Mode::RWXU) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    Self(open(self)?).copy_level(&Self(open(to)?), left, deeper)?;
                }
                // Pipes, sockets and devices are nobody's to copy.
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn a_copy_has_links_as_links_and_modes_as_modes() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/b/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(from.join("a/b/run"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("/etc/hostname", from.join("name")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, from.join("pipe"), FileType::Fifo, Mode::RWXU, 0)
            .unwrap();
        let (inside, target) = (Inside::open(&from).unwrap(), Inside::open(&to).unwrap());
        inside.copy_to(&target, &mut 10).unwrap();
        assert_eq!(fs::read_link(to.join("name")).unwrap(), Path::new("/etc/hostname"));
        assert_eq!(fs::metadata(to.join("a/b/run")).unwrap().mode() & 0o777, 0o755);
        assert!(!to.join("pipe").exists());
        assert!(inside.copy_to(&target, &mut 1).is_err());
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

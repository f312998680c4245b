//! What trees take up on the disk.

use super::{Deadline, Id, Links, Walk, id_of, is_gone};
use rustix::fs::{AtFlags, CWD, FileType, Stat, fstat, statat};
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;

/// Files with several names that are remembered while a tree is measured; further ones count once for each name.
const LINKED_FILES: usize = 65_536;

/// A byte count of the system is in blocks of this size.
pub(super) const BLOCK: u64 = 512;

/// What trees take up on the disk.
#[derive(Debug, Default)]
pub struct Size {
    /// Bytes of the blocks of all files and folders, one for each at least; a file with several names counts once.
    pub bytes: u64,
    /// Files and folders.
    pub entries: u64,
    /// Files and folders that could not be read.
    pub unread: u64,
    /// Why the first of them could not.
    pub error: Option<io::Error>,
    /// Processes whose open files could not be seen.
    pub closed: u64,
}

/// Measures one or more trees that belong together.
#[derive(Default)]
pub(in crate::workspace) struct Measure {
    size: Size,
    /// Files that were counted and may be met again.
    linked: HashSet<Id>,
    /// The file systems of the trees.
    devices: HashSet<u64>,
}

impl Measure {
    /// Adds a tree.
    ///
    /// # Errors
    ///
    /// When it was stopped before it was done.
    pub(in crate::workspace) fn add(
        &mut self,
        folder: OwnedFd,
        deadline: &Deadline,
    ) -> io::Result<()> {
        let top = fstat(&folder)?;
        self.devices.insert(top.st_dev);
        self.count(&top);
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

    /// Adds the files that a process holds open and that have no name any more, where they lie on the file
    /// systems of the trees.
    ///
    /// # Errors
    ///
    /// When it was stopped before it was done.
    pub(in crate::workspace) fn add_open_files(
        &mut self,
        pid: i32,
        deadline: &Deadline,
    ) -> io::Result<()> {
        let files = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.size.closed += 1;
                return Ok(());
            }
            // It has ended.
            Err(_) => return Ok(()),
        };
        for file in files.flatten() {
            deadline.check()?;
            // The link leads to the open file, whatever its name has become.
            let Ok(found) = statat(CWD, file.path(), AtFlags::empty()) else { continue };
            let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
            if is_file && found.st_nlink == 0 && self.devices.contains(&found.st_dev) {
                self.count(&found);
            }
        }
        Ok(())
    }

    /// The sum.
    pub(in crate::workspace) fn size(self) -> Size {
        self.size
    }

    fn count(&mut self, found: &Stat) {
        let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        if found.st_nlink != 1 && !is_folder {
            let id = id_of(found);
            if self.linked.contains(&id) {
                return;
            }
            if self.linked.len() < LINKED_FILES {
                self.linked.insert(id);
            }
        }
        self.size.entries += 1;
        // An empty file takes room as well, in the table of files.
        let blocks = u64::try_from(found.st_blocks).unwrap_or(0).max(1);
        self.size.bytes = self.size.bytes.saturating_add(blocks.saturating_mul(BLOCK));
    }

    pub(in crate::workspace) fn miss(&mut self, error: io::Error) {
        self.size.unread += 1;
        self.size.error.get_or_insert(error);
    }
}

//! What trees take up on the disk.

use super::{Deadline, Id, Links, Walk, id_of, is_gone};
use rustix::fs::{AtFlags, CWD, FileType, Stat, fstat, makedev, statat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Files with several names that are remembered while a tree is measured; further ones count once for each name.
const LINKED_FILES: usize = 65_536;

/// Threads of one process whose open files are looked at.
const THREADS: usize = 65_536;

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
    /// Removed files that a process has mapped and nobody but root can measure; one that is mapped in several
    /// parts counts several times.
    pub mapped: u64,
}

/// Measures one or more trees that belong together.
#[derive(Default)]
pub(in crate::workspace) struct Measurement {
    size: Size,
    /// Files that were counted and may be met again.
    linked: HashSet<Id>,
    /// The file systems of the trees.
    devices: HashSet<u64>,
}

impl Measurement {
    /// Adds a tree.
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

    /// Adds the files that a process holds open or has mapped and that have no name any more, where they lie on the
    /// file systems of the trees.
    pub(in crate::workspace) fn add_open_files(
        &mut self,
        pid: i32,
        deadline: &Deadline,
    ) -> io::Result<()> {
        // It has ended where it cannot be read.
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        let (mut is_closed, mut has_mappings) = (false, false);
        // Each thread may have descriptors of its own. What is mapped is the same for all, but a thread that has
        // ended shows nothing, be it the first.
        for thread in threads.flatten().take(THREADS) {
            deadline.check()?;
            is_closed |= !self.add_descriptors(&thread.path(), deadline)?;
            if !has_mappings && let Some(thread) = thread.file_name().to_str() {
                has_mappings = self.add_mappings(thread, deadline)?;
            }
        }
        self.size.closed += u64::from(is_closed);
        Ok(())
    }

    /// Whether all descriptors of the thread could be seen.
    fn add_descriptors(&mut self, thread: &Path, deadline: &Deadline) -> io::Result<bool> {
        let files = match std::fs::read_dir(thread.join("fd")) {
            Ok(files) => files,
            Err(error) => return Ok(error.kind() != io::ErrorKind::PermissionDenied),
        };
        let mut are_seen = true;
        for file in files.flatten() {
            deadline.check()?;
            // The link leads to the open file, whatever its name has become.
            match statat(CWD, file.path(), AtFlags::empty()) {
                Ok(found) => self.count_removed(&found),
                Err(error) => are_seen &= error != Errno::ACCESS,
            }
        }
        Ok(are_seen)
    }

    /// Whether the thread has mappings.
    fn add_mappings(&mut self, thread: &str, deadline: &Deadline) -> io::Result<bool> {
        let Ok(maps) = File::open(format!("/proc/{thread}/maps")) else { return Ok(false) };
        let (mut maps, mut line, mut has_any) = (BufReader::new(maps), Vec::new(), false);
        loop {
            deadline.check()?;
            line.clear();
            if !matches!(maps.read_until(b'\n', &mut line), Ok(1..)) {
                return Ok(has_any);
            }
            has_any = true;
            let Some((range, device)) = removed_mapping(&line) else { continue };
            match statat(CWD, format!("/proc/{thread}/map_files/{range}"), AtFlags::empty()) {
                Ok(found) => self.count_removed(&found),
                Err(Errno::NOENT) => {}
                // The kernel shows these files to root alone.
                Err(_) => self.size.mapped += u64::from(self.devices.contains(&device)),
            }
        }
    }

    fn count_removed(&mut self, found: &Stat) {
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if is_file && found.st_nlink == 0 && self.devices.contains(&found.st_dev) {
            self.count(found);
        }
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

    /// What took too long is a miss: what was counted so far stays.
    pub(in crate::workspace) fn miss_if_late(&mut self, added: io::Result<()>) -> io::Result<()> {
        match added {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.miss(error);
                Ok(())
            }
            added => added,
        }
    }

    pub(in crate::workspace) fn miss(&mut self, error: io::Error) {
        self.size.unread += 1;
        self.size.error.get_or_insert(error);
    }
}

/// A line of `/proc/PID/maps` on a file that was removed: its range as `map_files` names it, and its file system.
fn removed_mapping(line: &[u8]) -> Option<(String, u64)> {
    let line = line.trim_ascii_end().strip_suffix(b" (deleted)")?;
    let mut fields = line.split(|&byte| byte == b' ').map(|field| std::str::from_utf8(field).ok());
    let (start, end) = fields.next()??.split_once('-')?;
    let (major, minor) = fields.nth(2)??.split_once(':')?;
    let (start, end) = (start.trim_start_matches('0'), end.trim_start_matches('0'));
    let number = |digits| u32::from_str_radix(digits, 16).ok();
    Some((format!("{start}-{end}"), makedev(number(major)?, number(minor)?)))
}

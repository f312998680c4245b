//! Trees as agents make them.

use super::super::inside::create_file;
use super::measure::BLOCK;
use super::*;
use crate::workspace::CopyLimits;
use rustix::fs::mkdirat;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

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
    let mut measure = Measurement::default();
    measure.add(open_parent(path).unwrap(), &never()).unwrap();
    measure.size()
}

fn copied(from: &Path, to: &Path, limits: &CopyLimits) -> io::Result<()> {
    let copying = Copying {
        allowance: Allowance::new(*limits),
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
    let error = remove(&tree, &Deadline::soon(stop)).unwrap_err();
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
    let entries = [root.path(), &path("data"), &path("sparse")];
    let expected: u64 = entries.iter().map(|path| blocks(path).max(512)).sum();
    assert_eq!((size.bytes, size.entries), (expected, 3));
    assert!(size.bytes >= 1 << 20 && size.bytes < 1 << 30, "{size:?}");
}

/// A process that has begun to wait, in a folder; it ends with this.
struct Waiting(std::process::Child);

impl Waiting {
    fn begin(folder: &Path, program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        let command = command.args(arguments).current_dir(folder).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let mut line = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"go\n");
        Self(child)
    }

    /// The size of a folder and of what this process holds, which is looked at twice.
    fn measured(&self, folder: &Path) -> Size {
        let mut measure = Measurement::default();
        measure.add(open_parent(folder).unwrap(), &never()).unwrap();
        let pid = i32::try_from(self.0.id()).unwrap();
        measure.add_open_files(pid, &never()).unwrap();
        measure.add_open_files(pid, &never()).unwrap();
        measure.size()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_size_counts_open_files_without_a_name_once() {
    let root = tempfile::tempdir().unwrap();
    let named = measured(root.path()).bytes;
    let script =
        "exec 7>data 8>&7; rm data; head -c 1048576 /dev/zero >&7; read go; echo $go; read go";
    let waiting = Waiting::begin(root.path(), Path::new("/bin/sh"), &["-c", script]);
    let size = waiting.measured(root.path());
    assert!(size.bytes >= named + (1 << 20), "{size:?}");
    assert!(size.bytes < named + (2 << 20), "{size:?}");
    assert_eq!((size.closed, size.mapped), (0, 0));
}

#[test]
fn a_size_counts_mapped_files_without_a_name_or_says_that_it_cannot() {
    let root = tempfile::tempdir().unwrap();
    let program = root.path().join("cat");
    let named = measured(root.path()).bytes;
    fs::copy("/bin/cat", &program).unwrap();
    let removed = blocks(&program);
    let waiting = Waiting::begin(root.path(), &program, &[]);
    fs::remove_file(&program).unwrap();
    let size = waiting.measured(root.path());
    if size.mapped == 0 {
        assert_eq!(size.bytes, named + removed, "{size:?}");
    } else {
        assert_eq!(size.bytes, named, "{size:?}");
    }
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
    sparse.write_all(b"in the middle").unwrap();
    copied(&from, &to, &CopyLimits { entries: 1000, size: 1 << 20, depth: 128 }).unwrap();
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
    let enough = CopyLimits { entries: 4, size: 4096, depth: 3 };
    copied(&from, &root.path().join("whole"), &enough).unwrap();
    let refused = |name: &str, limits: CopyLimits| {
        copied(&from, &root.path().join(name), &limits).unwrap_err().to_string()
    };
    let entries = refused("entries", CopyLimits { entries: 3, ..enough });
    assert!(entries.contains("sessions.copy.entries"), "{entries}");
    let size = refused("size", CopyLimits { size: 4095, ..enough });
    assert!(size.contains("sessions.copy.size"), "{size}");
    let depth = refused("depth", CopyLimits { depth: 2, ..enough });
    assert!(depth.contains("sessions.copy.depth"), "{depth}");
}

//! The `/etc` of a sandbox: one folder that `bwrap` mounts at once.
//!
//! # How it works
//!
//! `bwrap` reads the list of all mounts after each mount that it makes, so forty mounts take four times as long as
//! twenty. Small files and folders that every user may read are copied instead; what is large, or not readable by
//! everybody, is mounted in an empty place of the folder. [`Etc::update`] compares the copies with the originals by
//! size, mode and time of change before each process starts, so an agent finds what a mount would show it.
//!
//! Running agents see every change at once. So each process of the server (`doctor` runs beside `serve`) has a folder
//! of its own, locked while it is in use, and a copy is made beside the folder and renamed into it when it is whole.

use super::covers::write_readable;
use super::{Grants, grants};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tracing::warn;

/// Where it is.
pub(super) const ETC: &str = "/etc";

/// Begins the names of the folders of processes.
const PREFIX: &str = "etc-";

/// Most files, folders and links of a copy. Comparing more takes longer than a mount.
const MOST_ENTRIES: usize = 16;

/// Most bytes of a copy.
const MOST_BYTES: u64 = 256 * 1024;

/// What is the same on every machine.
const OWN: [(&str, &str); 4] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000:agent:/home/agent:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("group", "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost agent\n::1 localhost\n"),
    ("hostname", "agent\n"),
];

/// The folder. It is removed when this is dropped.
pub(super) struct Etc {
    /// What this process alone writes to.
    own: PathBuf,
    folder: PathBuf,
    /// Where a copy is written before it takes its place.
    fresh: PathBuf,
    updating: Mutex<()>,
    /// Locked for as long as the folder is in use.
    _lock: File,
}

impl Drop for Etc {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.own) {
            warn!(%error, path = %self.own.display(), "a copy of files of /etc is left");
        }
    }
}

impl Etc {
    /// Makes it in this folder of the server's, and removes what processes that were killed have left there.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        make_folder(parent)?;
        // Until the new folder is locked, no other process may take it for a left-over.
        let making = File::open(parent)?;
        making.lock()?;
        remove_left_overs(parent);
        let own = parent.join(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()));
        let (folder, fresh) = (own.join("etc"), own.join("fresh"));
        make_folder(&folder)?;
        let lock = File::open(&own)?;
        lock.lock()?;
        let etc = Self { own, folder, fresh, updating: Mutex::default(), _lock: lock };
        for (name, text) in OWN {
            write_readable(&etc.folder.join(name), text)?;
        }
        Ok(etc)
    }

    /// The folder, to be mounted.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files that are the same on every machine, and where each is mounted.
    pub(super) fn own(&self) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        OWN.iter().map(|(name, _)| (self.folder.join(name), Path::new(ETC).join(name)))
    }

    /// Whether an agent with these grants finds this folder and nothing else below `/etc`.
    pub(super) fn suits(grants: &Grants) -> bool {
        let is_there = |path: &Path| path.starts_with(ETC);
        let granted = grants.read.keys().chain(grants.write.keys()).chain(grants.aliases.keys());
        let links = grants.links.iter().map(|(link, _)| link);
        let all = grants::etc().all(|path| grants.system.contains(&path));
        all && !granted.chain(links).any(|path| is_there(path))
            && !grants.covers.iter().any(|cover| is_there(&cover.place("/")))
    }

    /// Copies what has changed. What is left to be mounted in the folder.
    ///
    /// # Errors
    ///
    /// When something cannot be read or written.
    pub(super) fn update(&self) -> io::Result<Vec<PathBuf>> {
        let _updating = self.updating.lock();
        let mut mounted = Vec::new();
        for path in grants::etc() {
            let place = self.place(&path);
            let Ok(found) = fs::metadata(&path) else {
                remove(&place)?;
                continue;
            };
            match Tree::read(&path)? {
                Some(tree) => {
                    if Tree::read(&place).ok().flatten().as_ref() != Some(&tree) {
                        self.copy(&path, &place, &tree)?;
                    }
                }
                None => {
                    self.make_empty(&place, &found)?;
                    mounted.push(path);
                }
            }
        }
        Ok(mounted)
    }

    /// Where the folder has this path of `/etc`.
    fn place(&self, path: &Path) -> PathBuf {
        self.folder.join(path.strip_prefix(ETC).unwrap_or(path))
    }

    /// Puts a copy in the place of what is there.
    fn copy(&self, path: &Path, place: &Path, tree: &Tree) -> io::Result<()> {
        self.replace(place, |fresh| tree.copy(path, fresh))
    }

    /// Makes the place in which something is mounted.
    fn make_empty(&self, place: &Path, found: &Metadata) -> io::Result<()> {
        let is_made = fs::symlink_metadata(place).is_ok_and(|made| {
            made.is_dir() == found.is_dir() && (made.is_dir() || made.len() == 0)
        });
        if is_made {
            return Ok(());
        }
        let make = |fresh: &Path| {
            if found.is_dir() { make_folder(fresh) } else { write_readable(fresh, "") }
        };
        self.replace(place, make)
    }

    /// Puts what is made outside of the folder in the place of what is there.
    fn replace(&self, place: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        remove(&self.fresh)?;
        make(&self.fresh)?;
        if let Some(above) = place.parent() {
            make_folder(above)?;
        }
        // A file takes the place of a file at once.
        let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        if is_folder(place) || is_folder(&self.fresh) {
            remove(place)?;
        }
        fs::rename(&self.fresh, place)
    }
}

/// Removes the folders of processes that have ended.
fn remove_left_overs(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_named = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if is_named
            && File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok())
            && let Err(error) = remove(&path)
        {
            warn!(%error, path = %path.display(), "a copy of files of /etc is left");
        }
    }
}

/// All that lies at a path and below it, by the paths from there.
#[derive(Debug, PartialEq, Eq)]
struct Tree(BTreeMap<PathBuf, Node>);

#[derive(Debug, PartialEq, Eq)]
enum Node {
    Folder,
    Link(PathBuf),
    File { size: u64, modified: SystemTime, mode: u32 },
}

impl Tree {
    /// What is small and readable by everybody; none for anything else. A link at the path itself is followed.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut nodes = BTreeMap::new();
        let mut left = vec![(PathBuf::new(), fs::metadata(path)?)];
        let mut bytes = 0;
        while let Some((below, found)) = left.pop() {
            let is_open = |bits: u32| found.mode() & bits == bits;
            let node = if found.is_symlink() {
                Node::Link(fs::read_link(path.join(&below))?)
            } else if found.is_dir() && is_open(0o5) {
                for entry in fs::read_dir(path.join(&below))? {
                    let entry = entry?;
                    left.push((below.join(entry.file_name()), entry.metadata()?));
                    if nodes.len() + left.len() >= MOST_ENTRIES {
                        return Ok(None);
                    }
                }
                Node::Folder
            } else if found.is_file() && is_open(0o4) {
                bytes += found.len();
                let mode = found.mode() & 0o755;
                Node::File { size: found.len(), modified: found.modified()?, mode }
            } else {
                return Ok(None);
            };
            if bytes > MOST_BYTES {
                return Ok(None);
            }
            nodes.insert(below, node);
        }
        Ok(Some(Self(nodes)))
    }

    /// Copies all of it from a path to another one, where nothing is.
    fn copy(&self, path: &Path, place: &Path) -> io::Result<()> {
        for (below, node) in &self.0 {
            // Joining nothing would end the path of a file with `/`.
            let is_root = below.as_os_str().is_empty();
            let join = |root: &Path| if is_root { root.to_owned() } else { root.join(below) };
            let (from, to) = (join(path), join(place));
            match node {
                Node::Folder => make_folder(&to)?,
                Node::Link(target) => symlink(target, &to)?,
                Node::File { modified, mode, .. } => {
                    fs::copy(&from, &to)?;
                    fs::set_permissions(&to, Permissions::from_mode(*mode))?;
                    File::open(&to)?.set_modified(*modified)?;
                }
            }
        }
        Ok(())
    }
}

/// Makes a folder that every user may enter, and those above it.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folder(above)?;
    }
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Removes what lies at a path, if anything does.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder `etc` below a root, and what stands for the machine's.
    fn prepared() -> (tempfile::TempDir, Etc, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let etc = Etc::new(&root.path().join("inside")).unwrap();
        let original = root.path().join("original");
        fs::create_dir(&original).unwrap();
        (root, etc, original)
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_copy_is_like_its_original_until_that_changes() {
        let (_root, etc, original) = prepared();
        fs::create_dir(original.join("folder")).unwrap();
        fs::write(original.join("folder/file"), "first").unwrap();
        symlink("/elsewhere", original.join("link")).unwrap();
        let place = etc.folder().join("copy");
        let tree = Tree::read(&original).unwrap().unwrap();
        etc.copy(&original, &place, &tree).unwrap();
        assert_eq!(Tree::read(&place).unwrap().as_ref(), Some(&tree));
        assert_eq!(fs::read_to_string(place.join("folder/file")).unwrap(), "first");
        assert_eq!(fs::read_link(place.join("link")).unwrap(), Path::new("/elsewhere"));

        fs::write(original.join("folder/file"), "second").unwrap();
        let changed = Tree::read(&original).unwrap().unwrap();
        assert_ne!(changed, tree);
        etc.copy(&original, &place, &changed).unwrap();
        assert_eq!(fs::read_to_string(place.join("folder/file")).unwrap(), "second");
    }

    #[test]
    fn what_is_large_or_not_for_every_user_is_not_copied() {
        let (_root, _etc, original) = prepared();
        let file = original.join("file");
        fs::write(&file, "text").unwrap();
        assert!(Tree::read(&original).unwrap().is_some());
        mode(&file, 0o640);
        assert_eq!(Tree::read(&original).unwrap(), None);
        assert_eq!(Tree::read(&file).unwrap(), None);
        mode(&file, 0o644);
        mode(&original, 0o711);
        assert_eq!(Tree::read(&original).unwrap(), None);
        mode(&original, 0o755);
        File::options().write(true).open(&file).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert_eq!(Tree::read(&file).unwrap(), None);
        fs::remove_file(&file).unwrap();
        for number in 0..MOST_ENTRIES {
            fs::write(original.join(number.to_string()), "").unwrap();
        }
        assert_eq!(Tree::read(&original).unwrap(), None);
    }

    #[test]
    fn the_folder_has_every_granted_path_and_nothing_else() {
        let (_root, etc, _) = prepared();
        for round in ["first", "second"] {
            let mounted = etc.update().unwrap();
            for path in grants::etc() {
                let (made, place) = (path.exists(), etc.place(&path));
                assert_eq!(place.exists(), made, "{round}: {}", place.display());
                if made && !mounted.contains(&path) {
                    assert_eq!(Tree::read(&place).unwrap(), Tree::read(&path).unwrap());
                }
            }
        }
        for (file, _) in etc.own() {
            assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o644);
        }
    }

    fn names(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn another_process_changes_nothing_that_agents_of_this_one_see() {
        let (root, etc, _) = prepared();
        let seen = etc.folder().join("seen");
        fs::write(&seen, "by agents").unwrap();
        let parent = root.path().join("inside");
        let other = Etc::new(&parent).unwrap();
        other.update().unwrap();
        assert_ne!(other.folder(), etc.folder());
        assert!(!other.folder().join("seen").exists());
        drop(other);
        assert_eq!(fs::read_to_string(seen).unwrap(), "by agents");
        assert_eq!(names(&parent), [etc.folder().parent().unwrap()]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_by_the_next_one() {
        let root = tempfile::tempdir().unwrap();
        let left = ["etc-1", "etc-2"].map(|name| root.path().join(name));
        make_folder(&left[0].join("etc/ssl")).unwrap();
        fs::write(&left[1], "half of a copy").unwrap();
        let kept = root.path().join("empty-file");
        fs::write(&kept, "").unwrap();
        let etc = Etc::new(root.path()).unwrap();
        assert!(left.iter().all(|path| !path.exists()));
        drop(etc);
        assert_eq!(names(root.path()), [kept]);
    }

    #[test]
    fn a_copy_appears_in_its_place_only_when_it_is_whole() {
        let (_root, etc, original) = prepared();
        fs::write(original.join("a"), "first").unwrap();
        fs::write(original.join("b"), "second").unwrap();
        let tree = Tree::read(&original).unwrap().unwrap();
        fs::remove_file(original.join("b")).unwrap();
        let place = etc.folder().join("copy");
        assert_eq!(etc.copy(&original, &place, &tree).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!place.exists());
        fs::write(original.join("b"), "second").unwrap();
        let tree = Tree::read(&original).unwrap().unwrap();
        etc.copy(&original, &place, &tree).unwrap();
        assert_eq!(Tree::read(&place).unwrap(), Some(tree));
    }

    #[test]
    fn it_suits_agents_with_all_of_the_systems_files_and_nothing_else_below_etc() {
        let configured = |read: &[&str]| {
            let read: Vec<PathBuf> = read.iter().map(PathBuf::from).collect();
            Grants::configured(&read, &[])
        };
        assert!(Etc::suits(&configured(&["/opt"])));
        assert!(!Etc::suits(&configured(&["/etc/hosts"])));
        let mut fewer = configured(&[]);
        fewer.system.remove(Path::new("/etc/services"));
        assert!(!Etc::suits(&fewer));
    }
}

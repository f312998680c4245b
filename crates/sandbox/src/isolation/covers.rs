//! Covers over the server's own files, where they lie in a folder that agents reach.
//!
//! # How it works
//!
//! A backend with mounts puts one over each such file: an empty one over a secret, the file itself read-only over
//! what is none. A mount cannot be renamed, removed or replaced inside. A folder above it could be renamed with it,
//! and another put in its place for the next process; so each folder between the file and the folder that agents
//! may change becomes a mount too, of itself.
//!
//! Only what was there at the start is mounted, and only while it is the same file: agents have had a mount over it
//! ever since, so none of them can have moved it. Before each process the places are looked at; it is not started
//! where a secret has appeared, or where something else lies now.
//!
//! # Pitfalls
//!
//! `bwrap` and the engines take paths, and follow links in them. Whoever can replace what lies at a path chooses
//! what is mounted from there; and `bwrap` makes an empty file on the machine itself where it is to mount one over
//! a link that leads nowhere. So a path that an agent can replace is never given to them.
//!
//! Landlock cannot take a file out of a folder, so `choose` does not take it then. A file that the server writes is
//! renamed and made anew, which no cover survives; and a symbolic link is replaced beside what it leads to. Neither
//! is served.

use super::trail::Trail;
use super::{Grants, LeftOut};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file or folder of the server's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFile {
    /// Where it is; absolute.
    pub path: PathBuf,
    /// What names it: a key in backquotes, or words.
    pub named_by: &'static str,
    /// Whether it may hold a secret, so that agents must not read it.
    pub is_secret: bool,
    /// Whether the server writes there. Such a file comes and goes, so it cannot be covered.
    pub is_written: bool,
}

/// Where agents find something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// Below their workspace.
    Workspace(PathBuf),
    /// At this path.
    Path(PathBuf),
}

impl At {
    /// The path at which agents find it, where this is their workspace.
    pub(super) fn place(&self, workspace: &str) -> PathBuf {
        match self {
            // A path that ends with `/` is not that of a file.
            Self::Workspace(below) if below.as_os_str().is_empty() => PathBuf::from(workspace),
            Self::Workspace(below) => Path::new(workspace).join(below),
            Self::Path(path) => path.clone(),
        }
    }
}

/// What agents find in place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// The folder as it is, which they cannot rename.
    Fixed,
    /// The same, read-only.
    ReadOnly,
    /// Nothing in it.
    Empty,
}

/// One cover. In their order a folder comes before what lies in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cover {
    /// Where agents find the file.
    pub at: At,
    /// What they find.
    pub how: How,
    /// The file as it really lies on this machine.
    pub file: PathBuf,
    /// What was there at the start; nothing where a secret was missing, which then has to stay missing.
    pub known: Option<KnownFile>,
}

/// A file or folder, known again whatever its path.
#[derive(Debug, Clone)]
pub struct KnownFile {
    device: u64,
    inode: u64,
    is_folder: bool,
    /// Held open, so that no other file gets its number.
    _held: Arc<File>,
}

impl KnownFile {
    /// What lies at a path; a link is not followed.
    fn find(path: &Path) -> io::Result<Option<Self>> {
        let held =
            OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path);
        let held = match held {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            held => held?,
        };
        let found = held.metadata()?;
        let (device, inode, is_folder) = (found.dev(), found.ino(), found.is_dir());
        Ok(Some(Self { device, inode, is_folder, _held: Arc::new(held) }))
    }

    fn is(&self, found: &Metadata) -> bool {
        (self.device, self.inode) == (found.dev(), found.ino()) && !found.is_symlink()
    }
}

impl PartialEq for KnownFile {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for KnownFile {}

impl PartialOrd for KnownFile {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KnownFile {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.device, self.inode).cmp(&(other.device, other.inode))
    }
}

/// What is to be done about the server's own files for one agent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// The covers.
    pub covers: std::collections::BTreeSet<Cover>,
    /// Files that are not there and that the agent could make.
    pub missing: Vec<PathBuf>,
    /// Why a backend that has no covers cannot be used, if there is anything to cover.
    pub obstacle: Option<String>,
}

/// A file of the server's own cannot be kept from an agent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Exposed(String);

impl Exposed {
    /// The server writes there.
    fn written(own: &OwnFile, root: &Root, agent: &str) -> Self {
        let OwnFile { named_by, path, .. } = own;
        Self(format!(
            "{named_by} ({}) lies in {}, which agents of `{agent}` {}, and the server writes there; set {named_by} to \
             a place outside of it, or {} to another folder",
            path.display(),
            root.real.display(),
            root.verb(),
            root.key,
        ))
    }

    /// Agents may replace the folder that sessions work in.
    pub(super) fn replaceable(agent: &str, path: &Path, root: &Path, key: &str) -> Self {
        Self(format!(
            "sessions of `{agent}` work in {} (`workspace.path`), which lies in {}, where agents may put a link in its \
             place ({key}); set `workspace.path` to a folder outside of it, or to {1} itself",
            path.display(),
            root.display(),
        ))
    }

    /// Agents may replace a folder that every agent reads.
    pub(super) fn above_system(agent: &str, path: &Path, within: &Path) -> Self {
        Self(format!(
            "sessions of `{agent}` share {} (`workspace.path`), which contains {} or a part of the way to it, and every \
             agent reads that: one of them could put a link in its place; set `workspace.path` to another folder",
            path.display(),
            within.display(),
        ))
    }

    /// The program of an agent lies where agents of others may replace it, and cannot be granted.
    pub fn program(agent: &str, why: &LeftOut) -> Self {
        Self(format!("the program of `{agent}` cannot be run in a sandbox: {why}"))
    }

    /// Nobody can tell what lies there.
    fn unclear(path: &Path, agent: &str, why: &io::Error) -> Self {
        Self(format!(
            "cannot look at {}, which lies where agents of `{agent}` work and is a file of the server's own or a folder \
             above one: {why}; let the server's user look at it, or move it",
            path.display(),
        ))
    }

    /// A symbolic link leads there.
    fn linked(own: &OwnFile, link: &Path, root: &Root, agent: &str) -> Self {
        let OwnFile { named_by, path, .. } = own;
        Self(format!(
            "{named_by} ({}) is reached by the symbolic link {}, which agents of `{agent}` could replace, because it \
             lies in {}; put the file itself there, or name it outside of that folder, or set {} to another folder",
            path.display(),
            link.display(),
            root.real.display(),
            root.key,
        ))
    }
}

/// A folder or file that agents reach.
struct Root {
    real: PathBuf,
    at: At,
    /// What grants it.
    key: &'static str,
    is_writable: bool,
}

impl Root {
    fn verb(&self) -> &'static str {
        if self.is_writable { "may change" } else { "may read" }
    }

    fn at(&self, below: &Path) -> At {
        // A path that ends with `/` is not that of a file.
        let join = |base: &Path| {
            if below.as_os_str().is_empty() { base.to_owned() } else { base.join(below) }
        };
        match &self.at {
            At::Workspace(base) => At::Workspace(join(base)),
            At::Path(base) => At::Path(join(base)),
        }
    }
}

/// Finds what agents with these grants reach of the server's own files.
///
/// # Errors
///
/// When one of them cannot be kept from the agent by any backend.
pub fn cover(
    agent: &str,
    shared: Option<&Path>,
    grants: &Grants,
    own: &[OwnFile],
) -> Result<Covered, Exposed> {
    let workspace =
        shared.map(|path| (path, At::Workspace(PathBuf::new()), "`workspace.path`", true));
    let written = grants.write.iter();
    let written = written.map(|(path, key)| (&**path, At::Path(path.clone()), *key, true));
    let read = grants.read.iter();
    let read = read.map(|(path, key)| (&**path, At::Path(path.clone()), *key, false));
    let roots = workspace.into_iter().chain(written).chain(read);
    let roots = roots.map(|(path, at, key, is_writable)| Root {
        real: Trail::of(path).real,
        at,
        key,
        is_writable,
    });
    let trails: Vec<(&OwnFile, Trail)> =
        own.iter().map(|own| (own, Trail::of(&own.path))).collect();
    let mut covered = Covered::default();
    for root in roots {
        let mut reached = BTreeMap::new();
        for (own, trail) in &trails {
            let link = trail.links.iter().find(|link| link.starts_with(&root.real));
            if let Some(link) = link.filter(|_| root.is_writable) {
                return Err(Exposed::linked(own, link, &root, agent));
            }
            let Ok(below) = trail.real.strip_prefix(&root.real) else { continue };
            if own.is_written {
                return Err(Exposed::written(own, &root, agent));
            }
            if !root.is_writable && !own.is_secret {
                continue;
            }
            let is_missing = KnownFile::find(&trail.real)
                .map_err(|why| Exposed::unclear(&trail.real, agent, &why))?
                .is_none();
            if is_missing && root.is_writable {
                covered.missing.push(own.path.clone());
            }
            if !is_missing && covered.obstacle.is_none() {
                covered.obstacle = Some(format!(
                    "it cannot take a file out of a folder, and {} ({}) lies in {}, which agents of `{agent}` {}; start \
                     the server in another folder (`workspace.path` or AGENT_PROJECT names this one), or move the file, \
                     or use bubblewrap",
                    own.named_by,
                    own.path.display(),
                    root.real.display(),
                    root.verb(),
                ));
            }
            let how = if own.is_secret { How::Empty } else { How::ReadOnly };
            let entry = reached.entry(below.to_owned()).or_insert(how);
            *entry = how.max(*entry);
        }
        for cover in covers_of(&root, &reached) {
            let known = KnownFile::find(&cover.file);
            let known = known.map_err(|why| Exposed::unclear(&cover.file, agent, &why))?;
            // What is missing can be no more than a secret that is put there later.
            if known.is_some() || cover.how == How::Empty {
                covered.covers.insert(Cover { known, ..cover });
            }
        }
    }
    covered.missing.sort();
    covered.missing.dedup();
    Ok(covered)
}

/// The covers in one folder; with those that keep the folders between in their places.
fn covers_of(root: &Root, reached: &BTreeMap<PathBuf, How>) -> Vec<Cover> {
    let cover = |below: &Path, how| Cover {
        at: root.at(below),
        how,
        file: if below.as_os_str().is_empty() { root.real.clone() } else { root.real.join(below) },
        known: None,
    };
    let mut covers = Vec::new();
    for (below, &how) in reached {
        let mut above: Vec<&Path> = below.ancestors().skip(1).collect();
        // From the folder itself down, which needs no cover where it is not a file of the server's own.
        above.reverse();
        let held = above.iter().position(|folder| reached.contains_key(*folder));
        let outermost = held.and_then(|at| reached.get(above[at]));
        if outermost == Some(&How::Empty) {
            // Nothing of it is to be seen.
            continue;
        }
        if root.is_writable && outermost.is_none() {
            let between = above.iter().filter(|folder| !folder.as_os_str().is_empty());
            covers.extend(between.map(|folder| cover(folder, How::Fixed)));
        }
        covers.push(cover(below, how));
    }
    covers
}

impl Cover {
    /// The path at which agents find it, where this is their workspace.
    pub(super) fn place(&self, workspace: &str) -> PathBuf {
        self.at.place(workspace)
    }

    /// Looks whether there is still what was there at the start, or nothing.
    ///
    /// # Errors
    ///
    /// When something else lies there, or nobody can tell.
    pub(super) fn check(&self) -> Result<(), Changed> {
        let what = match self.file.symlink_metadata() {
            Ok(found) if self.known.as_ref().is_some_and(|known| known.is(&found)) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Ok(found) if found.is_symlink() => "has become a symbolic link".to_owned(),
            Ok(_) if self.known.is_none() => "was made".to_owned(),
            Ok(_) => "was replaced".to_owned(),
            Err(error) => format!("cannot be looked at any more ({error})"),
        };
        // A caller reads this, and where it lies on this machine is not the caller's business.
        let name = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Err(Changed { path: self.file.clone(), name, what })
    }
}

/// What lies in the place of a file of the server's own is not what the server found there at its start.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{name}`, a file of the server's own or a folder above one, {what} since the server started, where agents reach \
     it; so no agent is started there until the operator has looked at it and has removed it or restarted the server"
)]
pub(super) struct Changed {
    /// Where it lies.
    pub(super) path: PathBuf,
    name: String,
    what: String,
}

/// Writes a file that agents can read whoever they are, and whatever the server's umask is.
pub(super) fn write_readable(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

/// A file and a folder with nothing in them, which are put over others.
pub(super) struct Blank {
    file: PathBuf,
    folder: PathBuf,
}

impl Blank {
    /// Makes them in this folder.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let blank = Self { file: folder.join("empty-file"), folder: folder.join("empty-folder") };
        write_readable(&blank.file, "")?;
        fs::create_dir_all(&blank.folder)?;
        fs::set_permissions(&blank.folder, Permissions::from_mode(0o755))?;
        Ok(blank)
    }

    /// What is mounted over a file, and whether it may be written; nothing where the file is not the one that was
    /// there at the start.
    pub(super) fn source<'a>(&'a self, cover: &'a Cover) -> Option<(&'a Path, bool)> {
        let known = cover.known.as_ref()?;
        if !cover.file.symlink_metadata().is_ok_and(|found| known.is(&found)) {
            return None;
        }
        Some(match cover.how {
            How::Fixed => (&cover.file, true),
            How::ReadOnly => (&cover.file, false),
            How::Empty if known.is_folder => (&self.folder, false),
            How::Empty => (&self.file, false),
        })
    }
}

#[cfg(test)]
mod tests;

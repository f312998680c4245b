//! Users of their own for agents, where the server is root: an agent that is root to the kernel may change the
//! modes of devices and of `/proc` entries that the whole machine shares, whatever its capabilities are.
//!
//! # How it works
//!
//! Each session has a number of its own, which its folders belong to. An agent stays root where it could not
//! use what it was granted otherwise: a shared workspace of root's, or a file that only its owner may read.
//!
//! Where agents find files by their real paths (Landlock), they must also pass the folders above. The server opens
//! its own folders above sessions to a group that all agents are in, for passing and for nothing else: other users
//! of the machine stay out, and the folders of sessions are their users'. Folders of the operator's stay as they
//! are; where one of them is closed, agents stay root.
//!
//! That is decided once for each agent, when the server starts. Modes of granted files are not looked at again,
//! because agents may change them: an agent that can no longer use a file gets an error, and nothing more.

use super::Grants;
use crate::isolation::Uids;
use crate::workspace::{Folder, Workspaces};
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bits of a mode, for others: what an agent needs of a file that it was granted.
const READ: u32 = 0o4;
const READ_AND_WRITE: u32 = 0o6;
/// What it needs of a folder besides.
const ENTER: u32 = 0o1;

/// Where a folder of the server's lies best that one of these keys places.
const PLACES: [(&str, &str); 2] =
    [("state_dir", "/var/lib/pilothouse"), ("workspace.path", "/var/lib/pilothouse/workspace")];

/// Paths behind closed folders that are told.
const TOLD: usize = 4;

/// Capabilities that the server needs to give users to agents, by their bits.
const NEEDED: [(u32, &str); 8] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (31, "CAP_SETFCAP"),
];

/// Who agents are to the kernel.
#[derive(Debug, Clone)]
pub(super) enum Users {
    /// The server's user, which is an ordinary one.
    Server,
    /// Users of their own, with these numbers.
    Own(Uids),
    /// Root as the server is, and why.
    Root(String),
}

/// Who the processes of an agent are to the kernel, as long as the server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The server's user, which is an ordinary one unless there is no sandbox.
    Server,
    /// A user for each session, with one of these numbers.
    Session(Uids),
    /// The owner of the shared workspace.
    Owner(u32),
    /// Root as the server is, and why.
    Root(String),
}

impl Identity {
    /// The user of a session's processes, where that is not the server's.
    pub(super) fn user(&self, folder: &Folder) -> Option<u32> {
        match self {
            Self::Server | Self::Root(_) => None,
            Self::Session(uids) => Some(uids.first + folder.number() % uids.count),
            Self::Owner(user) => Some(*user),
        }
    }

    /// Why these agents are root, if they are.
    pub(super) fn why_root(&self) -> Option<&str> {
        match self {
            Self::Server | Self::Session(_) | Self::Owner(_) => None,
            Self::Root(why) => Some(why),
        }
    }
}

impl Users {
    /// Those of this server's agents, with the configured numbers where the server is root.
    pub(super) fn find(uids: Uids) -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::Server;
        }
        match Self::check(uids) {
            Ok(()) => Self::Own(uids),
            Err(why) => Self::Root(why),
        }
    }

    /// Whether agents can have users of their own with these numbers.
    fn check(uids: Uids) -> Result<(), String> {
        if uids.count == 0 {
            return Err("`isolation.uids.count` is 0".to_owned());
        }
        let read =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        for map in ["uid_map", "gid_map"] {
            if !contains(&read(map), uids) {
                return Err(format!(
                    "the server's user namespace does not have the numbers of `isolation.uids` ({map}); set some that \
                     it has"
                ));
            }
        }
        match lacking(&read("status")) {
            Some(name) => Err(format!("the server does not have {name}")),
            None => Ok(()),
        }
    }

    /// The group that all agents with users of their own are in.
    pub(super) fn group(&self) -> Option<u32> {
        match self {
            Self::Server | Self::Root(_) => None,
            Self::Own(uids) => Some(uids.first),
        }
    }

    /// Who agents with these grants are where they find files by their real paths. The server's own folders above
    /// sessions let them pass then.
    pub(super) fn identify_by_paths(&self, workspaces: &Workspaces, grants: &Grants) -> Identity {
        let identity = self.identify(workspaces.shared(), grants);
        let (user, group) = match (&identity, self.group()) {
            (Identity::Session(uids), Some(group)) => (uids.first, group),
            (Identity::Owner(user), Some(group)) => (*user, group),
            (
                Identity::Session(_) | Identity::Owner(_) | Identity::Server | Identity::Root(_),
                _,
            ) => {
                return identity;
            }
        };
        let opened = workspaces.let_agents_pass().map_err(|error| error.to_string());
        let [homes, root] = workspaces.above();
        let own = [(homes, Some("state_dir")), (root, Some("workspace.path"))];
        let paths = own.into_iter().chain(grants.needed().map(|path| (path, None)));
        match opened.and_then(|()| passable(user, group, paths)) {
            Ok(()) => identity,
            Err(why) => Identity::Root(why),
        }
    }

    /// Who agents with these grants are.
    pub(super) fn identify(&self, shared: Option<&Path>, grants: &Grants) -> Identity {
        let uids = match self {
            Self::Server => return Identity::Server,
            Self::Root(why) => return Identity::Root(why.clone()),
            Self::Own(uids) => *uids,
        };
        let found = match shared {
            None => Ok((Identity::Session(uids), uids.first)),
            Some(shared) => owner(shared).map(|user| (Identity::Owner(user), user)),
        };
        let usable = found.and_then(|(identity, user)| usable(user, grants).map(|()| identity));
        usable.unwrap_or_else(Identity::Root)
    }
}

/// Who owns a shared workspace; root is nobody whom an agent may be.
fn owner(shared: &Path) -> Result<u32, String> {
    match fs::metadata(shared).map_or(0, |found| found.uid()) {
        0 => Err(format!("the shared workspace {} belongs to root", shared.display())),
        user => Ok(user),
    }
}

/// Whether a user can use what was granted.
fn usable(user: u32, grants: &Grants) -> Result<(), String> {
    let granted = [(&grants.read, READ, "read"), (&grants.write, READ_AND_WRITE, "change")];
    for (paths, needed, verb) in granted {
        for path in paths.keys() {
            let Ok(found) = fs::metadata(path) else { continue };
            // Nobody makes files in a folder of devices, such as `/dev/pts`; these have modes of their own.
            let is_of_devices = found.is_dir() && path.starts_with("/dev");
            let needed = if is_of_devices { READ } else { needed };
            if !lets(&found, user, needed) {
                return Err(format!(
                    "{} is granted, and only root may {verb} it (mode {:o})",
                    path.display(),
                    found.mode() & 0o7777
                ));
            }
        }
    }
    Ok(())
}

/// Whether a user in this group passes all folders above these paths, and these themselves where they are folders. A
/// path may have the key that places it.
fn passable<'a>(
    user: u32,
    group: u32,
    paths: impl Iterator<Item = (&'a Path, Option<&'static str>)>,
) -> Result<(), String> {
    let passes = |found: &Metadata| {
        let mode = match found.uid() == user {
            true => found.mode() >> 6,
            false if found.gid() == group => found.mode() >> 3,
            false => found.mode(),
        };
        !found.is_dir() || mode & ENTER != 0
    };
    let (mut closed, mut behind) = (BTreeMap::new(), BTreeMap::new());
    for (path, key) in paths {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        for above in path.ancestors().chain(real.ancestors()) {
            if let Some(found) = fs::metadata(above).ok().filter(|found| !passes(found)) {
                closed.insert(above.to_owned(), found.mode() & 0o7777);
                behind.entry(path).or_insert(key);
            }
        }
    }
    if closed.is_empty() { Ok(()) } else { Err(tell_closed(&closed, &behind)) }
}

/// Which folders are closed, what lies behind them, and what to do.
fn tell_closed(
    closed: &BTreeMap<PathBuf, u32>,
    behind: &BTreeMap<&Path, Option<&'static str>>,
) -> String {
    let shown = closed.iter().map(|(above, mode)| format!("{} (mode {mode:o})", above.display()));
    let folders: Vec<String> = closed.keys().map(|above| above.display().to_string()).collect();
    let paths = behind.iter().take(TOLD).map(|(path, key)| match key {
        Some(key) => format!("{} (`{key}`)", path.display()),
        None => format!("{} (granted)", path.display()),
    });
    let more = behind.len().checked_sub(TOLD + 1).map(|more| format!("{} more", more + 1));
    let is_closed = |key: &str| behind.values().any(|behind| *behind == Some(key));
    let placed = PLACES.into_iter().filter(|(key, _)| is_closed(key));
    let placed = placed.map(|(key, place)| format!("set `{key}` to {place}"));
    let is_granted = behind.values().any(Option::is_none);
    let moved = is_granted.then(|| "put elsewhere what is granted".to_owned());
    let advice: Vec<String> = placed.chain(moved).collect();
    format!(
        "other users may not enter {}, through which an agent comes to {}: {}, or `chmod o+x {}`",
        shown.collect::<Vec<_>>().join(", "),
        paths.chain(more).collect::<Vec<_>>().join(", "),
        advice.join(", "),
        folders.join(" "),
    )
}

fn lets(found: &Metadata, user: u32, needed: u32) -> bool {
    let needed = if found.is_dir() { needed | ENTER } else { needed };
    let mode = if found.uid() == user { found.mode() >> 6 } else { found.mode() };
    mode & needed == needed
}

/// Whether a map of a user namespace has all of these numbers.
fn contains(map: &str, uids: Uids) -> bool {
    let (first, end) = (u64::from(uids.first), u64::from(uids.first) + u64::from(uids.count));
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(inside), Some(_), Some(length)) => inside <= first && end <= inside + length,
            _ => false,
        }
    })
}

/// The first capability that is needed and missing in a text like `/proc/self/status`.
fn lacking(status: &str) -> Option<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let has = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    NEEDED.iter().find(|(bit, _)| has >> bit & 1 == 0).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const UIDS: Uids = Uids { first: 100_000, count: 1000 };

    #[test]
    fn numbers_must_all_be_in_one_range_of_the_namespace() {
        assert!(contains("         0          0 4294967295\n", UIDS));
        assert!(contains("0 1000 1\n100000 200000 1000\n", UIDS));
        assert!(!contains("0 1000 1\n100000 200000 999\n", UIDS));
        assert!(!contains("0 100000 65536\n", UIDS));
        assert!(!contains("", UIDS));
    }

    #[test]
    fn a_capability_that_is_missing_is_named() {
        assert_eq!(lacking("CapPrm:\t0\nCapEff:\t000001ffffffffff\n"), None);
        assert_eq!(lacking("CapEff:\t000001ffffffff7f\n"), Some("CAP_SETUID"));
        assert_eq!(lacking("CapEff:\t0000000000000000\n"), Some("CAP_CHOWN"));
    }

    #[test]
    fn a_grant_that_only_its_owner_may_use_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("key");
        fs::write(&file, "key").unwrap();
        let grants = |write: bool| {
            let (paths, none) = (BTreeMap::from([(file.clone(), "a key")]), BTreeMap::new());
            let (read, write) = if write { (none, paths) } else { (paths, none) };
            Grants { read, write, ..Grants::default() }
        };
        let user = fs::metadata(&file).unwrap().uid() + 1;
        let usable = |mode, write| {
            fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            usable(user, &grants(write)).is_ok()
        };
        assert!(usable(0o644, false) && usable(0o666, true));
        assert!(!usable(0o640, false) && !usable(0o644, true));
    }

    #[test]
    fn an_agent_keeps_its_user_whatever_becomes_of_its_grants() {
        let root = tempfile::tempdir().unwrap();
        let set_mode = |mode| {
            fs::set_permissions(root.path(), PermissionsExt::from_mode(mode)).unwrap();
        };
        let grants = Grants::configured(&[], &[root.path().to_owned()]);
        let users = Users::Own(UIDS);
        set_mode(0o777);
        let folder = Folder::at(Path::new("/work"), Path::new("/home"));
        let identity = users.identify(None, &grants);
        set_mode(0);
        assert_eq!(identity.user(&folder), Some(UIDS.first + folder.number() % UIDS.count));
        assert!(users.identify(None, &grants).why_root().is_some());
    }
}

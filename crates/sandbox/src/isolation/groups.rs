//! Control groups (v2) of sessions: the limits that the kernel keeps, where this server may make groups.
//!
//! A group that has processes of its own can give no limits to groups below it, so the server moves itself
//! into one below its own first. Where others share its group, or it may not write there, there are no
//! limits, and [`Groups::find`] says why.

use crate::isolation::SandboxLimits;
use parking_lot::Mutex;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The group that the server moves itself into.
const SERVER: &str = "pilothouse-server";

/// What the names of sessions' groups begin with.
const SESSION: &str = "session-";

/// Where the groups of sessions are made.
#[derive(Debug, Clone)]
pub struct Groups(Arc<SharedGroups>);

#[derive(Debug)]
struct SharedGroups {
    root: PathBuf,
    limits: SandboxLimits,
    /// Names of the controllers that can be used.
    controllers: Vec<String>,
    count: AtomicU64,
    /// Groups that could not be removed yet, because the last process was still on its way out.
    left: Mutex<Vec<PathBuf>>,
}

/// One group; all that is left in it is killed when it is dropped.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
    groups: Arc<SharedGroups>,
}

impl Groups {
    /// Finds out whether groups can be made, with this server's own controllers; otherwise why not.
    ///
    /// # Errors
    ///
    /// The cause, for people.
    pub fn find(limits: &SandboxLimits, launcher: u32) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let root = own_group(&mounts, &own).ok_or("control groups v2 are not mounted")?;
        Self::below(root, limits, launcher)
    }

    fn below(root: PathBuf, limits: &SandboxLimits, launcher: u32) -> Result<Self, String> {
        let shown = root.display().to_string();
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
        let known = read("cgroup.controllers");
        let known: Vec<&str> = known.split_whitespace().collect();
        let wanted: Vec<String> = ["pids", "memory", "cpu"]
            .into_iter()
            .filter(|name| known.contains(name))
            .map(ToOwned::to_owned)
            .collect();
        if wanted.is_empty() {
            return Err(format!(
                "the control group {shown} has none of the controllers pids, memory, cpu"
            ));
        }
        let server = root.join(SERVER);
        let delegated = |error: io::Error| {
            format!("the control group {shown} is not delegated to this server ({error})")
        };
        match fs::create_dir(&server) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(delegated(error));
            }
            Ok(()) | Err(_) => {}
        }
        // Where the server sees only its own processes in `/proc` even the launcher is hidden, so it is known by
        // its number.
        let ours = [std::process::id(), launcher].map(|process| process.to_string());
        for process in read("cgroup.procs").lines() {
            if ours.iter().any(|own| own == process) {
                fs::write(server.join("cgroup.procs"), process).map_err(delegated)?;
            }
        }
        let enable: Vec<String> = wanted.iter().map(|name| format!("+{name}")).collect();
        fs::write(root.join("cgroup.subtree_control"), enable.join(" ")).map_err(|error| {
            format!("the control group {shown} cannot give limits ({error}); others may be in it")
        })?;
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            if is_left_over(&entry.file_name().to_string_lossy()) {
                let _ = fs::write(entry.path().join("cgroup.kill"), "1");
                let _ = fs::remove_dir(entry.path());
            }
        }
        Ok(Self(Arc::new(SharedGroups {
            root,
            limits: limits.clone(),
            controllers: wanted,
            count: AtomicU64::new(0),
            left: Mutex::default(),
        })))
    }

    /// A group for one process and all below it.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or a limit cannot be set.
    pub fn make(&self) -> io::Result<Group> {
        let SharedGroups { root, limits, controllers, count, left } = &*self.0;
        left.lock().retain(|folder| fs::remove_dir(folder).is_err_and(still_there));
        let number = count.fetch_add(1, Ordering::Relaxed);
        let group = Group {
            folder: root.join(format!("{SESSION}{}-{number}", std::process::id())),
            groups: self.0.clone(),
        };
        let folder = &group.folder;
        fs::create_dir(folder)?;
        let has = |name: &str| controllers.iter().any(|known| known == name);
        if let (Some(most), true) = (limits.pids, has("pids")) {
            fs::write(folder.join("pids.max"), most.to_string())?;
        }
        if let (Some(most), true) = (limits.memory, has("memory")) {
            fs::write(folder.join("memory.max"), most.to_string())?;
            // One process of a session that is out of memory ends all of it, and swap is no way around.
            fs::write(folder.join("memory.oom.group"), "1")?;
            let _ = fs::write(folder.join("memory.swap.max"), "0");
        }
        if let (Some(cores), true) = (limits.cpu, has("cpu")) {
            const PERIOD: f64 = 100_000.0;
            let quota = (cores.max(0.01) * PERIOD).round();
            fs::write(folder.join("cpu.max"), format!("{quota} {PERIOD}"))?;
        }
        Ok(group)
    }
}

impl Group {
    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("cgroup.kill"), "1");
        if fs::remove_dir(&self.folder).is_err_and(still_there) {
            self.groups.left.lock().push(self.folder.clone());
        }
    }
}

/// Whether a group of this name was made by a server that is gone: its number stands for nobody, or for us.
fn is_left_over(name: &str) -> bool {
    let number = name.strip_prefix(SESSION).and_then(|rest| rest.split('-').next());
    let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) else {
        return false;
    };
    number == std::process::id() || !Path::new(&format!("/proc/{number}")).exists()
}

/// A group that is gone already is nobody's to remove.
fn still_there(error: io::Error) -> bool {
    error.kind() != io::ErrorKind::NotFound
}

/// The folder of this process's group: where v2 is mounted, and the path there.
fn own_group(mounts: &str, own: &str) -> Option<PathBuf> {
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        (after.split(' ').next()? == "cgroup2").then_some(point)
    })?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(Path::new(mount).join(path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_below_the_mount() {
        let mounts = "30 1 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let own = "1:cpu:/x\n0::/system.slice/pilothouse.service\n";
        let found = own_group(mounts, own).unwrap();
        assert_eq!(found, Path::new("/sys/fs/cgroup/unified/system.slice/pilothouse.service"));
        assert_eq!(own_group("", own), None);
    }

    #[test]
    fn a_group_is_left_over_when_its_server_is_gone() {
        let of = |number: u32| is_left_over(&format!("session-{number}-3"));
        assert!(of(std::process::id()) && of(u32::MAX));
        assert!(!of(std::os::unix::process::parent_id()));
        assert!(!is_left_over("pilothouse-server") && !is_left_over("session-x"));
    }

    #[test]
    fn a_group_without_controllers_gives_no_limits_and_says_so() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "hugetlb\n").unwrap();
        let why = Groups::below(root.path().to_owned(), &SandboxLimits::default(), 0).unwrap_err();
        assert!(why.contains("none of the controllers"), "{why}");
    }
}

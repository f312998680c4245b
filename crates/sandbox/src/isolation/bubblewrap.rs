//! Namespaces of its own for each agent process, made by `bwrap`: a root from an allow-list, fixed paths,
//! nobody else's processes, and a network in which nothing is but a door to our proxy.
//!
//! # How it works
//!
//! The supervisor starts `bwrap`, which makes the namespaces and executes our own program inside (as
//! `enter`). That one makes a listener on the new network's loopback and hands it out to the server: a
//! socket stays in the network that it was made in, so the server answers there without a helper that
//! copies bytes and without a socket in the file system. Then it puts up the inner sandbox and becomes the
//! agent.
//!
//! Where the server is root, agents are other users (`users`). `bwrap` needs root to reach folders that only root
//! may enter, so the supervisor's child makes the user namespace, in which root and the agent's user are all that
//! there are, and our program becomes that user before it becomes the agent. Where an agent has to stay root,
//! devices and `/proc` are read-only, so that it cannot change the modes of what the whole machine shares. Nothing
//! secret stands in the arguments of `bwrap`: the environment goes over the line.

use super::covers::Blank;
use super::etc::{self, Etc};
use super::filter::{Connecting, Network, filter};
use super::grants::is_system;
use super::sandbox::{Place, Rules, Sandbox};
use super::users::{Identity, Users};
use super::{Around, Backend, Grants, INSIDE_PORT, Places};
use crate::isolation::{BackendKind, Uids};
use crate::supervisor::{Confined, ENTER, FIRST_ALONG, Inner, OWN_PROGRAM, Spec};
use crate::workspace::{Folder, Workspaces};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tracing::warn;

/// Where an agent finds its workspace: Claude names its transcripts by it, so it never changes.
pub(super) const WORKSPACE: &str = "/workspace";
/// Where it finds its HOME.
pub(super) const HOME: &str = "/home/agent";
/// Its user and group, whoever runs the server.
const USER: u32 = 1000;
/// What of `/dev` is the machine's own.
const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Folders that there are inside, so that none of them can be an alias.
const INSIDE: [&str; 10] =
    ["/", "/dev", "/etc", "/home", HOME, "/proc", "/run", "/tmp", "/var", WORKSPACE];

/// What is around every session.
pub(super) struct Bubblewrap {
    program: PathBuf,
    etc: Etc,
    blank: Blank,
    landlock: u32,
    users: Users,
}

impl Bubblewrap {
    /// With this `bwrap`; `folder` takes a few files that every session reads.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub(super) fn new(
        program: PathBuf,
        folder: &Path,
        landlock: u32,
        uids: Uids,
    ) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let etc = Etc::new(folder)?;
        let users = Users::find(uids);
        let blank = Blank::new(folder)?;
        Ok(Self { program, etc, blank, landlock, users })
    }

    /// What is mounted in our folder for `/etc`; none where these grants ask for another `/etc`, file by file.
    fn etc_mounts(&self, grants: &Grants) -> Option<Vec<PathBuf>> {
        if !Etc::suits(grants) {
            return None;
        }
        let updated = self.etc.update();
        updated.inspect_err(|error| warn!(%error, "/etc of agents is mounted file by file")).ok()
    }

    fn arguments(&self, around: &Around<'_>) -> Vec<String> {
        let mut args = Arguments::default();
        for flag in [
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-net",
            "--unshare-cgroup-try",
            "--die-with-parent",
            "--new-session",
        ] {
            args.add([flag]);
        }
        args.add(["--hostname", "agent"]);
        args.add(["--cap-drop", "ALL"]);
        if around.user.is_some() {
            // Until our program has become the agent's user, in folders that are that user's.
            for capability in ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_DAC_READ_SEARCH"] {
                args.add(["--cap-add", capability]);
            }
        } else {
            let user = USER.to_string();
            args.add(["--unshare-user", "--disable-userns", "--uid", &user, "--gid", &user]);
        }
        let mounted = self.etc_mounts(around.grants);
        if mounted.is_some() {
            args.bind("--ro-bind", self.etc.folder(), Path::new(etc::ETC));
        }
        let is_mounted = |path: &&PathBuf| {
            mounted
                .as_ref()
                .is_none_or(|mounted| !path.starts_with(etc::ETC) || mounted.contains(path))
        };
        for path in around.grants.system.iter().filter(is_mounted) {
            match std::fs::read_link(path) {
                Ok(target) if is_system(path) => args.link(&target, path),
                Ok(_) | Err(_) => args.bind("--ro-bind", path, path),
            }
        }
        if mounted.is_none() {
            for (file, path) in self.etc.own() {
                args.bind("--ro-bind", &file, &path);
            }
        }
        args.add(["--proc", "/proc"]);
        for name in ["sys", "irq", "bus", "fs", "sysrq-trigger"] {
            let path = Path::new("/proc").join(name);
            args.bind("--ro-bind", &path, &path);
        }
        args.add(["--dev", "/dev"]);
        for (path, size) in [("/dev/shm", around.shm), ("/tmp", around.tmp)] {
            args.add(["--perms", "1777", "--size", &size.to_string(), "--tmpfs", path]);
        }
        args.add(["--dir", "/run"]);
        args.add(["--dir", "/var"]);
        args.add(["--symlink", "/tmp", "/var/tmp"]);
        for (link, target) in &around.grants.links {
            args.link(target, link);
        }
        for (path, at) in &around.grants.aliases {
            let is_in_system = around.grants.system.iter().any(|system| path.starts_with(system));
            if !is_in_system && !INSIDE.iter().any(|inside| path == Path::new(inside)) {
                args.link(&at.place(WORKSPACE), path);
            }
        }
        for path in around.grants.read.keys() {
            args.bind("--ro-bind", path, path);
        }
        // Terminals inside are of a kind of their own, made with its /dev.
        let terminals =
            |path: &&PathBuf| !["/dev/ptmx", "/dev/pts"].iter().any(|own| path.starts_with(own));
        for path in around.grants.write.keys().filter(terminals) {
            args.bind("--bind", path, path);
        }
        args.bind("--bind", Path::new(&around.folder.home_text()), Path::new(HOME));
        args.bind("--bind", Path::new(&around.folder.workspace_text()), Path::new(WORKSPACE));
        for cover in &around.grants.covers {
            if let Some((from, is_writable)) = self.blank.source(cover) {
                let how = if is_writable { "--bind" } else { "--ro-bind" };
                let to = cover.place(WORKSPACE);
                args.add([how, &from.to_string_lossy(), &to.to_string_lossy()]);
            }
        }
        args.add(["--remount-ro", "/dev"]);
        if is_root() && around.user.is_none() {
            args.add(["--remount-ro", "/proc"]);
        }
        args.add(["--remount-ro", "/"]);
        args.add(["--chdir", "/"]);
        args.add(["--"]);
        let program = format!("/proc/self/fd/{FIRST_ALONG}");
        args.add([program.as_str(), ENTER, &(FIRST_ALONG + 1).to_string()]);
        args.words
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Arguments, added in groups that belong together.
#[derive(Default)]
struct Arguments {
    words: Vec<String>,
    /// Folders that are there already.
    made: BTreeSet<PathBuf>,
    /// What of this machine is there already.
    mounted: BTreeSet<PathBuf>,
    /// Links that are there already.
    links: BTreeSet<PathBuf>,
}

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.words.extend(words.map(ToOwned::to_owned));
    }

    /// Makes the folders above a path; `bwrap` itself would make them for its own user alone.
    fn make_above(&mut self, path: &Path) {
        let above: Vec<&Path> =
            path.ancestors().skip(1).filter(|one| one.parent().is_some()).collect();
        for folder in above.into_iter().rev() {
            if self.made.insert(folder.to_owned()) {
                self.add(["--dir", &folder.to_string_lossy()]);
            }
        }
    }

    /// A file or folder of this machine, if it is there. Where a link was made it is found through that: `bwrap` cannot
    /// mount over a link.
    fn bind(&mut self, how: &str, from: &Path, to: &Path) {
        if from.exists() && !self.links.contains(to) {
            self.make_above(to);
            self.mounted.insert(to.to_owned());
            let how = format!("{how}-try");
            self.add([&how, &from.to_string_lossy(), &to.to_string_lossy()]);
        }
    }

    /// A link, where nothing is yet: `bwrap` makes none over what is there, and ends.
    fn link(&mut self, target: &Path, link: &Path) {
        let is_mounted = link.ancestors().any(|path| self.mounted.contains(path));
        if is_mounted || self.made.contains(link) || !self.links.insert(link.to_owned()) {
            return;
        }
        self.make_above(link);
        self.add(["--symlink", &target.to_string_lossy(), &link.to_string_lossy()]);
    }
}

impl Backend for Bubblewrap {
    fn kind(&self) -> BackendKind {
        BackendKind::Bubblewrap
    }

    fn places(&self, _: &Folder) -> Places {
        Places {
            workspace: WORKSPACE.to_owned(),
            home: HOME.to_owned(),
            tmp: "/tmp".to_owned(),
            env: Vec::new(),
        }
    }

    fn network(&self) -> Network {
        Network::Own
    }

    fn identify(&self, workspaces: &Workspaces, grants: &Grants) -> Identity {
        self.users.identify(workspaces.shared(), grants)
    }

    fn confine(&self, spec: Spec, around: &Around<'_>) -> Confined {
        let mut outer = Sandbox::default();
        if let Some(group) = around.group {
            outer.group(group);
        }
        if let Some(user) = around.user {
            outer.users(&[(0, 0), (USER, user)]).no_namespaces();
        } else if is_root() {
            outer.users(&[(0, 0)]).read_only(&DEVICES);
        }
        outer.keep();
        let mut rules = Rules {
            read: vec![Place::folder("/")],
            write: [WORKSPACE, HOME, "/tmp", "/dev/shm"].map(Place::folder).into(),
            devices: vec![Place::folder("/dev")],
            ..Rules::default()
        };
        let write = around.grants.write.keys();
        rules.write.extend(write.filter_map(|path| Place::of(path)));
        if spec.program == OWN_PROGRAM {
            // It comes along behind the launcher's program and the line, from a mount that is not inside.
            let along = format!("/proc/self/fd/{}", FIRST_ALONG + 2);
            rules.read.push(Place::file(along));
        }
        let mut inner = Sandbox::default();
        inner.listen(INSIDE_PORT);
        inner.file_limit(around.file);
        match around.user {
            Some(_) => inner.become_user(USER),
            None => inner.no_capabilities(),
        };
        inner.no_new_privileges();
        inner.landlock(self.landlock, &rules);
        inner.filter(&filter(Network::Own, Connecting::Process));
        inner.descriptor_limit(around.descriptors);
        Confined {
            spec: Spec {
                program: self.program.to_string_lossy().into_owned(),
                args: self.arguments(around),
                env: Vec::new(),
                cwd: "/".to_owned(),
            },
            sandbox: outer.into_bytes(),
            inner: Some(Inner { spec, sandbox: inner.into_bytes(), listens: true }),
            user: around.user,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_made_twice() {
        let root = tempfile::tempdir().unwrap();
        let (folder, file) = (root.path().join("folder"), root.path().join("folder/file"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&file, "text").unwrap();
        let link = root.path().join("link");
        let mut args = Arguments::default();
        args.bind("--ro-bind", &folder, &folder);
        args.link(Path::new("/elsewhere"), &file);
        args.link(&file, &link);
        args.link(&folder, &link);
        args.bind("--ro-bind", &file, &link);
        args.link(&file, root.path());
        let made = |flag: &str| args.words.iter().filter(|word| *word == flag).count();
        assert_eq!((made("--ro-bind-try"), made("--symlink")), (1, 1));
    }
}

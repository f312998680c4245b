//! Namespaces of its own for each agent process, made by `bwrap`: a root from an allow-list, fixed paths,
//! nobody else's processes, and a network in which nothing is but a door to our proxy.
//!
//! # How it works
//!
//! The supervisor starts `bwrap`, which makes the namespaces and executes our own program inside (as
//! `enter`). That one makes a listener on the new network's loopback and hands it out to the server: a
//! socket stays in the network that it was made in, so the server answers there without a helper that
//! copies bytes and without a socket in the file system. Then it puts up the inner wall and becomes the
//! agent. Nothing secret stands in the arguments of `bwrap`: the environment goes over the line.

use super::filter::{Connecting, Network, filter};
use super::grants::{ETC, SYSTEM};
use super::wall::{Place, Rules, Wall};
use super::{Around, Backend, INSIDE_PORT, Places};
use crate::config::BackendKind;
use crate::supervisor::{Confined, ENTER, FIRST_ALONG, Inner, OWN_PROGRAM, Spec};
use crate::workspace::Folder;
use std::path::{Path, PathBuf};

/// Where an agent finds its workspace: Claude names its transcripts by it, so it never changes.
pub(super) const WORKSPACE: &str = "/workspace";
/// Where it finds its HOME.
pub(super) const HOME: &str = "/home/agent";
/// Its user and group, whoever runs the server.
const USER: &str = "1000";

/// What is around every session.
pub(super) struct Bubblewrap {
    program: PathBuf,
    /// A folder with the few files of `/etc` that are ours.
    etc: PathBuf,
    landlock: u32,
}

impl Bubblewrap {
    /// With this `bwrap`; `folder` takes a few files that every session reads.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub(super) fn new(program: PathBuf, folder: &Path, landlock: u32) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let files = [
            (
                "passwd",
                "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000:agent:/home/agent:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
            ),
            ("group", "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n"),
            ("hosts", "127.0.0.1 localhost agent\n::1 localhost\n"),
            ("hostname", "agent\n"),
        ];
        for (name, text) in files {
            std::fs::write(folder.join(name), text)?;
        }
        Ok(Self { program, etc: folder.to_owned(), landlock })
    }

    fn arguments(&self, around: &Around<'_>) -> Vec<String> {
        let mut args = Arguments(Vec::new());
        for flag in [
            "--unshare-user",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-net",
            "--unshare-cgroup-try",
            "--disable-userns",
            "--die-with-parent",
            "--new-session",
        ] {
            args.add([flag]);
        }
        args.add(["--uid", USER]);
        args.add(["--gid", USER]);
        args.add(["--hostname", "agent"]);
        args.add(["--cap-drop", "ALL"]);
        for path in SYSTEM {
            match std::fs::read_link(path) {
                Ok(target) => args.add(["--symlink", &target.to_string_lossy(), path]),
                Err(_) => args.add(["--ro-bind-try", path, path]),
            }
        }
        for name in ETC {
            let path = format!("/etc/{name}");
            args.add(["--ro-bind-try", &path, &path]);
        }
        for name in ["passwd", "group", "hosts", "hostname"] {
            let path = self.etc.join(name);
            args.add(["--ro-bind", &path.to_string_lossy(), &format!("/etc/{name}")]);
        }
        args.add(["--proc", "/proc"]);
        // For a server of root an agent is root's user to the kernel, whatever it is called inside.
        for name in ["sys", "irq", "bus", "fs", "sysrq-trigger"] {
            let path = format!("/proc/{name}");
            args.add(["--ro-bind-try", &path, &path]);
        }
        args.add(["--dev", "/dev"]);
        args.add(["--perms", "1777", "--size", &around.tmp.to_string(), "--tmpfs", "/tmp"]);
        args.add(["--dir", "/run"]);
        args.add(["--dir", "/var"]);
        args.add(["--symlink", "/tmp", "/var/tmp"]);
        for (link, target) in &around.grants.links {
            args.add(["--symlink", &target.to_string_lossy(), &link.to_string_lossy()]);
        }
        for path in &around.grants.read {
            let path = path.to_string_lossy();
            args.add(["--ro-bind-try", &path, &path]);
        }
        // Terminals inside are of a kind of their own, made with its /dev.
        let terminals =
            |path: &&PathBuf| !["/dev/ptmx", "/dev/pts"].iter().any(|own| path.starts_with(own));
        for path in around.grants.write.iter().filter(terminals) {
            let path = path.to_string_lossy();
            args.add(["--bind-try", &path, &path]);
        }
        args.add(["--bind", &around.folder.home_text(), HOME]);
        args.add(["--bind", &around.folder.workspace_text(), WORKSPACE]);
        args.add(["--remount-ro", "/"]);
        args.add(["--chdir", "/"]);
        args.add(["--"]);
        let program = format!("/proc/self/fd/{FIRST_ALONG}");
        args.add([program.as_str(), ENTER, &(FIRST_ALONG + 1).to_string()]);
        args.0
    }
}

/// Arguments, added in groups that belong together.
struct Arguments(Vec<String>);

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(ToOwned::to_owned));
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

    fn confine(&self, spec: Spec, around: &Around<'_>) -> Confined {
        let mut outer = Wall::default();
        if let Some(group) = around.group {
            outer.group(group);
        }
        outer.keep();
        let mut rules = Rules {
            read: vec![Place::folder("/")],
            write: [WORKSPACE, HOME, "/tmp", "/dev"].map(Place::folder).into(),
            ..Rules::default()
        };
        let write = around.grants.write.iter();
        rules.write.extend(write.filter_map(|path| Place::of(path)));
        if spec.program == OWN_PROGRAM {
            // It comes along behind the launcher's program and the line, from a mount that is not inside.
            let along = format!("/proc/self/fd/{}", FIRST_ALONG + 2);
            rules.read.push(Place::file(along));
        }
        let mut inner = Wall::default();
        inner.listen(INSIDE_PORT);
        inner.file_limit(around.file);
        inner.no_privileges();
        inner.landlock(self.landlock, &rules);
        inner.filter(&filter(Network::Own, Connecting::Process));
        Confined {
            spec: Spec {
                program: self.program.to_string_lossy().into_owned(),
                args: self.arguments(around),
                env: Vec::new(),
                cwd: "/".to_owned(),
            },
            wall: outer.into_bytes(),
            inner: Some(Inner { spec, wall: inner.into_bytes(), listens: true }),
        }
    }
}

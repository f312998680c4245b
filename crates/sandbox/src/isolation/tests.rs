//! Both sandboxes around real processes.

use super::bubblewrap::Bubblewrap;
use super::kernel::Kernel;
use super::landlock::Landlock;
use super::*;
use crate::isolation::Uids;
use crate::process::{Ended, Launcher, Process};
use crate::supervisor::Word;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use users::Users;

struct Room {
    root: TempDir,
    folder: Folder,
    launcher: Launcher,
    backend: Box<dyn Backend>,
}

impl Room {
    fn new(make: impl FnOnce(&Path) -> Box<dyn Backend>) -> Self {
        let root = tempfile::tempdir().unwrap();
        // Agents that have users of their own pass it.
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let backend = make(&root.path().join("inside"));
        let folder = Folder::at(&root.path().join("work"), &root.path().join("home"));
        Self { folder, launcher: Launcher::start().unwrap(), backend, root }
    }

    fn bubblewrap() -> Self {
        Self::new(|inside| {
            Box::new(Bubblewrap::new("/usr/bin/bwrap".into(), inside, 7, Uids::TESTED).unwrap())
        })
    }

    fn landlock() -> Self {
        Self::new(|_| Box::new(Landlock::new(Kernel { landlock: 7, notifies: true }, Uids::TESTED)))
    }

    async fn start(&self, script: &str) -> Process {
        let places = self.backend.places(&self.folder);
        let spec = Spec {
            program: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![
                ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
                ("SECRET".to_owned(), "in the environment".to_owned()),
            ],
            cwd: places.workspace,
        };
        let grants = Grants::configured(&[], &[]);
        let around = Around {
            folder: &self.folder,
            grants: &grants,
            group: None,
            tmp: 1 << 20,
            shm: 1 << 20,
            file: None,
            descriptors: 1024,
            port: 1,
            user: Users::find(Uids::TESTED).identify(None, &grants).user(&self.folder),
        };
        prepare(&*self.backend, &self.launcher, &around).await.unwrap();
        let confined = self.backend.confine(spec, &around);
        self.launcher.spawn(&confined).await.unwrap()
    }

    async fn says(&self, script: &str) -> String {
        let mut process = self.start(script).await;
        let mut text = String::new();
        process.stdout.read_to_string(&mut text).await.unwrap();
        process.stderr.read_to_string(&mut text).await.unwrap();
        assert!(matches!(process.control.ended().await, Ended::Code(_)));
        text
    }
}

#[tokio::test]
async fn behind_both_sandboxes_a_process_has_its_folders_its_environment_and_its_exit_code() {
    for room in [Room::bubblewrap(), Room::landlock()] {
        let mut process =
            room.start("echo hello > file && cat file && echo \"$SECRET\"; exit 7").await;
        let mut text = String::new();
        process.stdout.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello\nin the environment\n");
        assert_eq!(process.control.ended().await, Ended::Code(7));
        assert_eq!(process.listener.is_some(), room.backend.network() == Network::Own);
        let written = std::fs::read_to_string(room.root.path().join("work/file"));
        assert_eq!(written.unwrap(), "hello\n");
    }
}

#[tokio::test]
async fn inside_of_bubblewrap_paths_and_user_are_always_the_same() {
    let room = Room::bubblewrap();
    let said = room.says("pwd; id -un; hostname; ls /").await;
    assert_eq!(
        said,
        "/workspace\nagent\nagent\nbin\ndev\netc\nhome\nlib\nlib64\nproc\nrun\nsbin\ntmp\nusr\nvar\nworkspace\n"
    );
}

#[tokio::test]
async fn inside_of_bubblewrap_etc_has_the_granted_files_as_they_are_and_nothing_else() {
    let room = Room::bubblewrap();
    let said = room.says("touch /etc/new 2>/dev/null || ls -A /etc").await;
    let granted = grants::etc().filter(|path| path.exists());
    let name = |path: PathBuf| {
        let below = path.strip_prefix(etc::ETC).ok()?;
        Some(below.components().next()?.as_os_str().to_string_lossy().into_owned())
    };
    let own = ["group", "hostname", "hosts", "passwd"].map(ToOwned::to_owned);
    let names: BTreeSet<String> = granted.filter_map(name).chain(own).collect();
    assert_eq!(said.lines().map(ToOwned::to_owned).collect::<BTreeSet<_>>(), names);
    for path in ["/etc/services", "/etc/ld.so.cache", "/etc/ssl/openssl.cnf"] {
        if let Ok(text) = std::fs::read(path) {
            let said = room.says(&format!("cat {path} | cksum")).await;
            let found = said.split(' ').nth(1).unwrap().trim().parse::<usize>();
            assert_eq!(found, Ok(text.len()), "{path}");
        }
    }
}

#[tokio::test]
async fn nothing_secret_stands_among_the_arguments_of_what_makes_the_namespaces() {
    let room = Room::bubblewrap();
    let process = room.start("sleep 60").await;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap();
    let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap();
    let line = std::fs::read_to_string(format!("/proc/{parent}/cmdline")).unwrap();
    assert!(line.contains("bwrap"), "{line}");
    assert!(!line.contains("in the environment"), "{line}");
}

#[tokio::test]
async fn sigterm_reaches_the_agent_behind_both_sandboxes() {
    for room in [Room::bubblewrap(), Room::landlock()] {
        let mut process = room
            .start("trap 'echo ending; exit 3' TERM; echo ready; while :; do sleep 0.01; done")
            .await;
        let mut ready = [0; 6];
        process.stdout.read_exact(&mut ready).await.unwrap();
        process.control.say(Word::Terminate);
        let mut text = String::new();
        process.stdout.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ending\n");
        assert_eq!(process.control.ended().await, Ended::Code(3));
    }
}

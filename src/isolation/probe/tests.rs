//! The attacks are real: where there is no wall, those that need one to be stopped succeed.

use super::super::none::NoWall;
use super::*;
use crate::config::{self, Config, DriverKind};

/// What works for any user on any machine as long as there is no wall.
#[rustfmt::skip]
const REAL: &[&str] = &[
    "files.append", "files.bind", "files.fifo", "files.host", "files.link", "files.list",
    "files.metadata", "files.mkdir", "files.move", "files.plant", "files.proc_root", "files.read",
    "files.rename", "files.reopen", "files.ssh", "files.stat", "files.symlink", "files.tmp",
    "files.truncate", "files.unlink", "files.up", "files.write", "peers.list", "peers.read",
    "peers.rename", "peers.signal", "peers.shm", "peers.unlink", "peers.watch", "peers.write",
    "privileges.suid", "processes.affinity", "processes.cmdline", "processes.list",
    "processes.pidfd", "processes.priority", "processes.prlimit", "processes.signal",
    "processes.sigqueue", "processes.tgkill", "tcp.bind", "tcp.listen", "tcp.loopback",
    "udp.connected", "udp.loopback", "unix.abstract", "unix.dgram", "unix.list", "unix.path",
    "unix.socketpair_dgram",
];

/// What works for root. The others need what a kernel or a machine may not have (modules, `kexec`, x32, SCTP,
/// SMC, IPv6, a disk), or are about what the server leaves in a process that it starts (`env.own`, `*.inherited`),
/// which is nothing with or without a wall.
#[rustfmt::skip]
const REAL_FOR_ROOT: &[&str] = &[
    "env.others", "env.victim", "memory.cwd", "memory.fd", "memory.maps", "memory.proc",
    "memory.ptrace", "memory.root", "memory.vm_readv", "peers.cwd", "peers.environ",
    "peers.ptrace", "files.mknod", "files.shadow", "files.usr", "chroot.escape", "mount.bind",
    "mount.tmpfs", "namespaces.mount", "namespaces.setns", "privileges.capabilities",
    "privileges.setuid", "raw.socket", "kernel.reboot",
];

async fn unconfined() -> Vec<Outcome> {
    let root = tempfile::tempdir().unwrap();
    let launcher = Launcher::start().unwrap();
    let config = Config {
        state_dir: root.path().join("state"),
        ..Config::default()
    };
    let agent = config::Agent::of(DriverKind::Command);
    let workspaces = Workspaces::new(&config, root.path(), &agent, &config.workspace).unwrap();
    let grants = Grants::default();
    let limits = SessionLimits::default();
    let probe = Probe {
        backend: &NoWall,
        launcher: &launcher,
        workspaces: &workspaces,
        state: root.path(),
        grants: &grants,
        groups: Limited::No("not asked for"),
        limits: &limits,
        port: 0,
    };
    let canaries = Canaries::new(root.path()).unwrap();
    let session = Session::new(&workspaces).unwrap();
    probe.aimed(&canaries, &session).await.unwrap()
}

#[tokio::test]
async fn without_a_wall_the_attacks_succeed() {
    let outcomes = unconfined().await;
    let succeeds = |name: &str| {
        let found = outcomes.iter().find(|outcome| outcome.name == name);
        found.is_some_and(|outcome| outcome.result == Try::Succeeded)
    };
    let for_root = if rustix::process::geteuid().is_root() {
        REAL_FOR_ROOT
    } else {
        &[]
    };
    let all = REAL.iter().chain(for_root);
    let stopped: Vec<_> = all.filter(|name| !succeeds(name)).collect();
    assert!(stopped.is_empty(), "{stopped:?} in {outcomes:#?}");
}

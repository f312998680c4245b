//! The attacks are real: where there is no sandbox, those that need one to be stopped succeed.

use super::super::kernel::Kernel;
use super::super::landlock::Landlock;
use super::super::none::NoSandbox;
use super::attacker::{ENDS_VICTIM, OPTIONAL_AIMS, write};
use super::*;
use crate::isolation::Uids;
use crate::process::Ended;
use crate::process::tests::shell;
use crate::workspace::WorkspaceSettings;
use std::os::unix::fs::PermissionsExt;
use tokio::io::AsyncReadExt;

/// What works for any user on any machine as long as there is no sandbox.
#[rustfmt::skip]
const REAL: &[&str] = &[
    "files.append", "files.attributes", "files.bind", "files.fifo", "files.host", "files.link", "files.list",
    "files.metadata", "files.mkdir", "files.move", "files.plant", "files.proc_root", "files.read",
    "files.rename", "files.reopen", "files.setid", "files.ssh", "files.stat", "files.symlink", "files.tmp",
    "files.truncate", "files.unlink", "files.up", "files.write", "peers.attributes", "peers.list", "peers.read",
    "own.folder", "own.read", "own.replace", "own.write",
    "peers.io_priority", "peers.priority", "peers.rename", "peers.signal", "peers.shm", "peers.unlink", "peers.watch", "peers.write",
    "privileges.suid", "processes.affinity", "processes.cmdline", "processes.times", "processes.list",
    "processes.pidfd", "processes.priority", "processes.prlimit", "processes.signal",
    "processes.sigqueue", "processes.tgkill", "tcp.bind", "tcp.listen", "tcp.loopback",
    "tcp.proxy_port", "udp.connected", "udp.loopback", "unix.abstract", "unix.dgram", "unix.list", "unix.path",
    "unix.socketpair_dgram",
];

/// What works for root. The others need what a kernel or a machine may not have (modules, `kexec`, x32, SCTP,
/// SMC, IPv6, a disk), try the launcher's program, which is sealed (`memory.program`), or are about what the server leaves in a process that it starts (`env.own`, `*.inherited`),
/// which is nothing with or without a sandbox.
#[rustfmt::skip]
const REAL_FOR_ROOT: &[&str] = &[
    "env.others", "env.victim", "memory.cwd", "memory.fd", "memory.maps", "memory.proc",
    "memory.ptrace", "memory.root", "memory.vm_readv", "peers.cwd", "peers.environ",
    "peers.ptrace", "files.dev", "files.devices", "files.mknod", "files.shadow", "files.usr", "chroot.escape", "mount.bind",
    "mount.tmpfs", "namespaces.mount", "namespaces.setns", "privileges.capabilities",
    "privileges.setuid", "raw.socket", "kernel.reboot", "kernel.accounting", "kernel.host_name",
    "memory.supervisor",
];

/// What a probe needs, in folders of its own.
struct Room {
    root: tempfile::TempDir,
    launcher: Launcher,
    workspaces: Workspaces,
    grants: Grants,
    limits: SandboxLimits,
}

impl Room {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // Agents that have users of their own pass it.
        let open = PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(root.path(), open).unwrap();
        let workspaces = Workspaces::new(WorkspaceSettings::tested(root.path()));
        Self {
            launcher: Launcher::start().unwrap(),
            workspaces,
            grants: Grants::default(),
            limits: SandboxLimits {
                pids: Some(1024),
                disk: Some(20 << 30),
                files: 8192,
                tmp: 1 << 30,
                shm: 256 << 20,
                ..SandboxLimits::default()
            },
            root,
        }
    }

    fn probe<'a>(&'a self, backend: &'a dyn Backend, when: When) -> Probe<'a> {
        Probe {
            identity: backend.identify(&self.workspaces, &self.grants),
            backend,
            is_aimed: backend.kind() != BackendKind::None,
            launcher: &self.launcher,
            workspaces: &self.workspaces,
            state: self.root.path(),
            grants: &self.grants,
            groups: Limited::No("not asked for"),
            limits: &self.limits,
            when,
            deadline: WHOLE,
        }
    }
}

async fn unconfined() -> Vec<Outcome> {
    let room = Room::new();
    let canaries = Canaries::new(room.root.path()).unwrap();
    let probe = Probe { is_aimed: true, ..room.probe(&NoSandbox, When::Doctor) };
    let session = Session::new(&probe, &canaries).await.unwrap();
    probe.attack(&canaries, &session).await.unwrap()
}

#[tokio::test]
async fn without_a_sandbox_the_attacks_succeed() {
    let outcomes = unconfined().await;
    let succeeds = |name: &str| {
        let found = outcomes.iter().find(|outcome| outcome.name == name);
        found.is_some_and(|outcome| outcome.result == Try::Succeeded)
    };
    let for_root = if rustix::process::geteuid().is_root() { REAL_FOR_ROOT } else { &[] };
    let all = REAL.iter().chain(for_root);
    let stopped: Vec<_> = all.filter(|name| !succeeds(name)).collect();
    assert!(stopped.is_empty(), "{stopped:?} in {outcomes:#?}");
}

/// What comes of a script of the shell that stands for the attacking program, where these aims were sent.
async fn findings_of(script: &str, aims: &[String]) -> Result<Vec<Outcome>, Failed> {
    let launcher = Launcher::start().unwrap();
    let mut attacker = launcher.spawn(&shell(script)).await.unwrap();
    attack_with(&mut attacker, aims).await
}

fn aims(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| format!("{key}=1")).collect()
}

#[tokio::test]
async fn a_probe_fails_where_the_attacking_program_did_not_get_the_aims_that_were_sent() {
    let script = "cat >/dev/null; echo 'tcp.bind stopped EACCES'; echo end";
    let failed = findings_of(script, &aims(&["proxy"])).await.unwrap_err();
    insta::assert_snapshot!(failed, @"the attacking program could not read its aims: it did not try to reach the proxy");
    assert_eq!(findings_of(script, &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_attack_lacks_an_aim_only_where_none_was_sent() {
    let lacking = |name: &str| {
        format!("cat >/dev/null; echo 'proxy reached'; echo '{name} skipped argument'; echo end")
    };
    let failed = findings_of(&lacking("files.read"), &aims(&["proxy"])).await.unwrap_err();
    insta::assert_snapshot!(failed, @"the attacking program did not get the aim of `files.read`");
    for (key, attacks) in OPTIONAL_AIMS {
        for name in attacks {
            let script = lacking(name);
            assert_eq!(findings_of(&script, &aims(&["proxy"])).await.unwrap().len(), 1, "{name}");
            let failed = findings_of(&script, &aims(&["proxy", key])).await.unwrap_err();
            assert!(matches!(failed, Failed::NoAim(lacks) if lacks == *name), "{name}");
        }
    }
}

#[tokio::test]
async fn a_probe_fails_where_the_attacking_program_has_closed_its_standard_input() {
    let launcher = Launcher::start().unwrap();
    let script = "exec 0<&-; echo closed; exec cat /dev/zero >/dev/null";
    let mut attacker = launcher.spawn(&shell(script)).await.unwrap();
    assert_eq!(first_line(&mut attacker).await.unwrap(), "closed");
    let failed = attack_with(&mut attacker, &aims(&["proxy"])).await.unwrap_err();
    assert!(matches!(failed, Failed::Unread(_)), "{failed}");
    end(attacker).await;
}

#[tokio::test]
async fn attacks_on_a_victim_that_has_ended_prove_nothing() {
    let room = Room::new();
    let canaries = Canaries::new(room.root.path()).unwrap();
    let probe = Probe { is_aimed: true, ..room.probe(&NoSandbox, When::Doctor) };
    let start = async || probe.start_victim(&canaries).await.unwrap().unwrap().0;
    let outcomes =
        |stopped: bool| [Outcome::of("memory.proc", stopped), Outcome::of(ENDS_VICTIM, stopped)];
    assert!(check_victim(end(start().await).await, &outcomes(true)).is_ok());

    let mut victim = start().await;
    victim.stdin = None;
    let mut rest = Vec::new();
    victim.stdout.read_to_end(&mut rest).await.unwrap();
    let ended = victim.control.ended().await;
    assert_eq!(ended, Ended::Code(0));
    assert!(matches!(check_victim(ended, &outcomes(true)), Err(Failed::NoVictim)));
    assert!(check_victim(ended, &outcomes(false)).is_ok());
}

#[test]
fn memory_is_refused_only_to_a_program_that_tried_to_take_it() {
    assert!(is_memory_refused("memory 0\nmemory 16\n").unwrap());
    assert!(is_memory_refused("memory 0\nmemory 3 ENOMEM\n").unwrap());
    assert!(!is_memory_refused("memory 0\nmemory 16\nmemory 20 end\n").unwrap());
    assert!(matches!(is_memory_refused(""), Err(Failed::Silent)));
}

#[tokio::test]
async fn all_of_a_probe_has_one_deadline() {
    let room = Room::new();
    let landlock = Landlock::new(Kernel::ask(&room.launcher).await, Uids::TESTED);
    let probe = Probe { deadline: Duration::ZERO, ..room.probe(&landlock, When::Start) };
    let failed = probe.run().await.map(drop).unwrap_err();
    insta::assert_snapshot!(failed, @"the attacks did not come to their end within 0 s");
}

#[tokio::test]
async fn the_attacking_program_says_that_its_aims_are_not_whole() {
    let launcher = Launcher::start().unwrap();
    let args = ["list", "aims=input", "only="].map(ToOwned::to_owned).to_vec();
    let answers = async |input: &[u8]| {
        let started = launcher.spawn(&Confined::from(program(args.clone(), "/".to_owned()))).await;
        let mut attacker = started.unwrap();
        write(&mut attacker, input).await.unwrap();
        said(attacker).await.unwrap()
    };
    assert_eq!(answers(b"peer_pid=1\0").await, "end\n");
    assert_eq!(answers(b"").await, "aims argument\n");
    assert_eq!(answers(b"peer_pid=1\0victim").await, "aims argument\n");
    assert_eq!(answers(&b"key=value\0".repeat(4000)).await, "aims EFBIG\n");
}

/// What this kernel's Landlock does not give, as the attacks that are made then find it.
async fn missing(room: &Room, kernel: Kernel, when: When) -> Vec<&'static str> {
    let findings = room.probe(&Landlock::new(kernel, Uids::TESTED), when).run().await.unwrap();
    let limits = [Guarantee::Pids, Guarantee::Memory];
    let missing =
        Guarantee::ALL.into_iter().filter(|one| !limits.contains(one) && !findings.holds(*one));
    missing.map(Guarantee::as_str).collect()
}

#[tokio::test]
async fn an_older_landlock_gives_less_and_the_attacks_of_a_start_find_it_out() {
    let room = Room::new();
    let mut lacks = String::new();
    let kernels = [false, true].map(|notifies| (1..=7).map(move |version| (version, notifies)));
    for (version, notifies) in kernels.into_iter().flatten() {
        // This kernel is asked for no more than that version knows.
        let kernel = Kernel { landlock: version, notifies };
        let missing = missing(&room, kernel, When::Start).await;
        assert_eq!(missing, self::missing(&room, kernel, When::Doctor).await, "{kernel:?}");
        let notified = if notifies { " with notifications" } else { "" };
        lacks.push_str(&format!("{version}{notified}: {}\n", missing.join(", ")));
    }
    if rustix::process::geteuid().is_root() {
        // Agents have users of their own, whom the kernel keeps from files and processes of others by itself.
        insta::assert_snapshot!(lacks, @r"
        1: processes, net.egress, net.loopback
        2: processes, net.egress, net.loopback
        3: processes, net.egress, net.loopback
        4: processes, net.egress, net.loopback
        5: processes, net.egress, net.loopback
        6: processes, net.egress, net.loopback
        7: processes, net.egress, net.loopback
        1 with notifications: processes
        2 with notifications: processes
        3 with notifications: processes
        4 with notifications: processes
        5 with notifications: processes
        6 with notifications: processes
        7 with notifications: processes
        ");
        return;
    }
    insta::assert_snapshot!(lacks, @r"
    1: fs.write, peer-sessions, processes, net.egress, net.loopback
    2: fs.write, peer-sessions, processes, net.egress, net.loopback
    3: peer-sessions, processes, net.egress, net.loopback
    4: peer-sessions, processes, net.egress, net.loopback
    5: peer-sessions, processes, net.egress, net.loopback
    6: processes, net.egress, net.loopback
    7: processes, net.egress, net.loopback
    1 with notifications: fs.write, peer-sessions, processes
    2 with notifications: fs.write, peer-sessions, processes
    3 with notifications: peer-sessions, processes
    4 with notifications: peer-sessions, processes
    5 with notifications: peer-sessions, processes
    6 with notifications: processes
    7 with notifications: processes
    ");
}

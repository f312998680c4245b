//! What each guarantee claims, line by line: the attacks that try a claim at every start, and the tests that try it
//! besides. The table of `docs/isolation.md` is made from this one.

use super::{ATTACKS, Guarantee};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// One claim of a guarantee.
struct Claim {
    guarantee: Guarantee,
    /// Readable after "an agent".
    words: &'static str,
    /// Tried at every start.
    attacks: &'static [&'static str],
    /// Files of tests that try it besides.
    tests: &'static [&'static str],
}

const fn claim(
    guarantee: Guarantee,
    words: &'static str,
    attacks: &'static [&'static str],
    tests: &'static [&'static str],
) -> Claim {
    assert!(!attacks.is_empty(), "a claim that nothing tries is no claim");
    Claim { guarantee, words, attacks, tests }
}

const INSIDE: &[&str] = &["walls/inside.rs"];
const NETWORKS: &[&str] = &["walls/networks.rs", "walls/egress.rs"];

#[rustfmt::skip]
const CLAIMS: &[Claim] = &[
    claim(Guarantee::Env, "has no variable that it was not given", &["env.own"], INSIDE),
    claim(Guarantee::Env, "reads no variable of the server", &["env.victim", "env.others"], INSIDE),
    claim(Guarantee::FsRead, "reads no file and lists no folder that was not granted",
        &["files.read", "files.up", "files.ssh", "files.host", "files.shadow", "files.tmp", "files.list"], INSIDE),
    claim(Guarantee::FsRead, "reaches none by a link, a descriptor, another process or a handle",
        &["files.proc_root", "files.inherited", "files.reopen", "files.link", "files.symlink", "files.handle"], &[]),
    claim(Guarantee::FsRead, "opens no disk and no device that it makes", &["files.mknod", "files.disk"], &[]),
    claim(Guarantee::FsRead, "reads no secret of the server's own where it lies in a granted folder", &["own.read"], &["walls/own.rs"]),
    claim(Guarantee::FsRead, "makes and enters no namespace, and mounts nothing",
        &["namespaces.user", "namespaces.clone", "namespaces.clone3", "namespaces.mount", "namespaces.setns",
          "mount.bind", "mount.tmpfs", "mount.fsopen", "mount.open_tree", "chroot.escape"], &[]),
    claim(Guarantee::FsRead, "gains no privileges", &["privileges.setuid", "privileges.suid", "privileges.capabilities"], &["walls/modes.rs"]),
    claim(Guarantee::FsWrite, "changes, makes, renames and removes nothing in a folder that was not granted",
        &["files.write", "files.append", "files.truncate", "files.rename", "files.unlink", "files.move",
          "files.mkdir", "files.fifo", "files.plant", "files.bind"], INSIDE),
    claim(Guarantee::FsWrite, "changes no program of the system, no device, and makes nothing in `/dev`",
        &["files.usr", "files.devices", "files.dev"], &["walls/modes.rs"]),
    claim(Guarantee::FsWrite, "leaves no file that gives the server's identity away", &["files.setid"], &["walls/modes.rs"]),
    claim(Guarantee::FsWrite, "changes and replaces no file of the server's own where it lies in a granted folder",
        &["own.write", "own.replace", "own.folder"], &["walls/own.rs"]),
    claim(Guarantee::PeerSessions, "reads and changes no file of another session",
        &["peers.read", "peers.list", "peers.write", "peers.rename", "peers.unlink"], INSIDE),
    claim(Guarantee::PeerSessions, "reads, signals and slows no process of another session",
        &["peers.environ", "peers.cwd", "peers.ptrace", "peers.signal", "peers.priority", "peers.io_priority"], &[]),
    claim(Guarantee::PeerSessions, "shares no memory and no key with another session", &["peers.shm", "peers.keyring"], &[]),
    claim(Guarantee::ServerMemory, "reads no memory and takes no open file of the server",
        &["memory.proc", "memory.vm_readv", "memory.ptrace", "memory.pidfd", "memory.root", "memory.cwd",
          "memory.fd", "memory.maps", "memory.inherited"], INSIDE),
    claim(Guarantee::ServerMemory, "uses no call and no setting that rules the kernel",
        &["kernel.bpf", "kernel.perf", "kernel.userfaultfd", "kernel.keyctl", "kernel.module", "kernel.kexec",
          "kernel.reboot", "kernel.log", "kernel.sysctl", "kernel.sysrq", "kernel.cgroup"], &[]),
    claim(Guarantee::ServerMemory, "calls the kernel by no other architecture, past the filter", &["kernel.arch", "kernel.x32"], &[]),
    claim(Guarantee::ServerMemory, "types into no terminal of the server", &["terminal.tiocsti"], &[]),
    claim(Guarantee::Processes, "sees no other process", &["processes.list", "processes.cmdline"], INSIDE),
    claim(Guarantee::Processes, "signals no other process, and sets no limit, priority or processor of one",
        &["processes.prlimit", "processes.priority", "processes.affinity", "processes.tgkill",
          "processes.sigqueue", "processes.pidfd", "processes.signal"], &[]),
    claim(Guarantee::NetEgress, "reaches no other machine past the proxy", &["net.other"], NETWORKS),
    claim(Guarantee::NetEgress, "connects in no way that the rules do not see",
        &["tcp.fastopen", "tcp.sendmsg_fastopen", "tcp.mptcp", "tcp.uring", "sctp.socket", "smc.ulp"], &["walls/connecting.rs"]),
    claim(Guarantee::NetEgress, "makes no raw packets", &["raw.socket", "packet.socket", "vsock.socket", "icmp.socket"], &[]),
    claim(Guarantee::NetLoopback, "connects to no port of this machine", &["tcp.loopback", "tcp.v6"], &["walls/egress.rs"]),
    claim(Guarantee::NetLoopback, "reaches the proxy's port at the proxy's address alone",
        &["tcp.proxy_port", "tcp.proxy_port_v6", "tcp.proxy_port_mapped", "tcp.swapped"], &["walls/connecting.rs", "walls/networks.rs"]),
    claim(Guarantee::NetLoopback, "sends no datagram to a port of this machine", &["udp.loopback", "udp.connected", "udp.v6"], &[]),
    claim(Guarantee::NetLoopback, "listens on no port of this machine", &["tcp.bind", "tcp.listen"], &[]),
    claim(Guarantee::UnixSockets, "reaches no unix socket of this machine",
        &["unix.abstract", "unix.path", "unix.dgram", "unix.socketpair_dgram"], &[]),
    claim(Guarantee::KillTree, "leaves no process behind", &["tree.survive"], &["walls/survivors.rs", "chaos.rs"]),
    claim(Guarantee::Pids, "has no more processes than `isolation.limits.pids`", &["limits.forks"], &["containers.rs"]),
    claim(Guarantee::Memory, "has no more memory than `isolation.limits.memory`", &["limits.memory"], &["containers.rs"]),
];

const BEGIN: &str = "<!-- made by `src/isolation/claims.rs` -->\n";
const END: &str = "<!-- end of claims -->";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The table for the page.
fn table() -> String {
    let mut table =
        "| guarantee | an agent | at every start | tests besides |\n|---|---|---|---|\n".to_owned();
    let list = |all: &[&str]| {
        let all: Vec<String> = all.iter().map(|one| format!("`{one}`")).collect();
        all.join(", ")
    };
    for Claim { guarantee, words, attacks, tests } in CLAIMS {
        let (attacks, tests) = (list(attacks), list(tests));
        writeln!(table, "| `{guarantee}` | {words} | {attacks} | {tests} |").unwrap();
    }
    table
}

#[test]
fn every_attack_on_a_guarantee_tries_one_claim_of_it_and_no_claim_names_another_attack() {
    let claimed: Vec<(&str, Guarantee)> = CLAIMS
        .iter()
        .flat_map(|claim| claim.attacks.iter().map(|&attack| (attack, claim.guarantee)))
        .collect();
    let once: BTreeMap<&str, Guarantee> = claimed.iter().copied().collect();
    assert_eq!(once.len(), claimed.len(), "an attack tries two claims");
    let made = ATTACKS.iter().filter_map(|attack| Some((attack.name, attack.guarantee?)));
    assert_eq!(once, made.collect());
}

#[test]
fn every_guarantee_but_the_watched_one_claims_something() {
    for guarantee in Guarantee::ALL.into_iter().filter(|one| *one != Guarantee::Disk) {
        assert!(CLAIMS.iter().any(|claim| claim.guarantee == guarantee), "{guarantee}");
    }
}

#[test]
fn every_file_of_tests_that_a_claim_names_is_there() {
    for file in CLAIMS.iter().flat_map(|claim| claim.tests) {
        assert!(path("tests/it").join(file).is_file(), "{file}");
    }
}

#[test]
fn the_page_has_the_claims() {
    let page = path("docs/isolation.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page has the place of the table");
    let (written, after) = rest.split_once(END).expect("the page has the end of the table");
    if std::env::var_os("PILOTHOUSE_WRITE_DOCS").is_some() {
        fs::write(&page, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
    } else {
        assert_eq!(written, table(), "write it anew: PILOTHOUSE_WRITE_DOCS=1");
    }
}

//! The attacks on a session's wall: which there are, and which guarantee each of them tries.
//!
//! The program that makes them is `launcher/attack.rs`; the table in `docs/isolation.md` is made from this one
//! and from what came of a run.
//!
//! # What counts for what
//!
//! Powers over mounts, namespaces and users count for `fs.read`: what the wall covers could be uncovered with
//! them. Doors into the kernel count for `server-memory`: who gets through one of them has it all. What is in
//! no guarantee is not promised by every backend, and shown all the same.

use super::Guarantee;

/// One attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attack {
    /// The name that the program prints.
    pub name: &'static str,
    /// What is in force only where this one fails; none where nothing is promised about it.
    pub guarantee: Option<Guarantee>,
    /// Whether it counts only where a session has namespaces of its own. Landlock has no say over modes.
    pub needs_namespaces: bool,
    /// What the agent tries to do, in plain words.
    pub what: &'static str,
}

const fn on(guarantee: Guarantee, name: &'static str, what: &'static str) -> Attack {
    Attack { name, guarantee: Some(guarantee), needs_namespaces: false, what }
}

const fn namespaced_on(guarantee: Guarantee, name: &'static str, what: &'static str) -> Attack {
    Attack { name, guarantee: Some(guarantee), needs_namespaces: true, what }
}

const fn shown(name: &'static str, what: &'static str) -> Attack {
    Attack { name, guarantee: None, needs_namespaces: false, what }
}

/// Every attack, in the order in which they are made.
pub const ATTACKS: &[Attack] = &[
    on(Guarantee::Env, "env.own", "find a variable that was not given to it"),
    on(Guarantee::Env, "env.victim", "read the server's environment in `/proc`"),
    on(
        Guarantee::Env,
        "env.others",
        "find the server's variables in the environment of any process",
    ),
    on(Guarantee::ServerMemory, "memory.proc", "read the server's memory in `/proc`"),
    on(
        Guarantee::ServerMemory,
        "memory.vm_readv",
        "read the server's memory with `process_vm_readv`",
    ),
    on(Guarantee::ServerMemory, "memory.ptrace", "trace the server as a debugger does"),
    on(
        Guarantee::ServerMemory,
        "memory.pidfd",
        "take an open file from the server with `pidfd_getfd`",
    ),
    on(Guarantee::ServerMemory, "memory.root", "read a file through the server's root in `/proc`"),
    on(Guarantee::ServerMemory, "memory.cwd", "open the server's working folder through `/proc`"),
    on(Guarantee::ServerMemory, "memory.fd", "see what files the server has open"),
    on(Guarantee::ServerMemory, "memory.maps", "see where what lies in the server's memory"),
    on(
        Guarantee::ServerMemory,
        "memory.inherited",
        "find a socket or a writable file that the server left open",
    ),
    on(Guarantee::PeerSessions, "peers.read", "read a file of another session"),
    on(Guarantee::PeerSessions, "peers.list", "list the folder of another session"),
    on(Guarantee::PeerSessions, "peers.write", "make a file in the folder of another session"),
    on(Guarantee::PeerSessions, "peers.rename", "rename a file of another session"),
    on(Guarantee::PeerSessions, "peers.unlink", "remove a file of another session"),
    // Landlock has no say over inotify; only names are told, not contents.
    shown("peers.watch", "watch which names come and go in the folder of another session"),
    on(Guarantee::PeerSessions, "peers.environ", "open the environment of another session's agent"),
    on(
        Guarantee::PeerSessions,
        "peers.cwd",
        "open the working folder of another session's agent through `/proc`",
    ),
    on(Guarantee::PeerSessions, "peers.ptrace", "trace another session's agent as a debugger does"),
    on(Guarantee::PeerSessions, "peers.signal", "signal another session's agent"),
    on(
        Guarantee::PeerSessions,
        "peers.priority",
        "set the priority of all processes of the user, with those of other sessions",
    ),
    on(Guarantee::PeerSessions, "peers.io_priority", "the same with their priority for disks"),
    on(
        Guarantee::PeerSessions,
        "peers.shm",
        "attach System V shared memory of a process outside of the session",
    ),
    on(
        Guarantee::PeerSessions,
        "peers.keyring",
        "read a key of a process outside of the session from the user's keyring",
    ),
    on(Guarantee::Processes, "processes.list", "find the server among all processes"),
    on(Guarantee::Processes, "processes.cmdline", "read the server's arguments"),
    on(
        Guarantee::Processes,
        "processes.prlimit",
        "look at a limit of the server, as who may also sets it",
    ),
    on(Guarantee::Processes, "processes.priority", "set the server's priority"),
    on(Guarantee::Processes, "processes.affinity", "set the processors that the server runs on"),
    on(Guarantee::FsRead, "files.read", "read a file that nobody granted"),
    on(Guarantee::FsRead, "files.up", "read it by going up from its own folder, past the root"),
    on(Guarantee::FsRead, "files.proc_root", "read it through another process's root in `/proc`"),
    on(Guarantee::FsRead, "files.inherited", "read it from a folder that was left open"),
    on(Guarantee::FsRead, "files.reopen", "open it for nothing, and then again through `/proc`"),
    on(Guarantee::FsRead, "files.ssh", "read a key in a folder like `~/.ssh`"),
    on(Guarantee::FsRead, "files.host", "read the host's `/etc/hostname`"),
    on(Guarantee::FsRead, "files.shadow", "open the host's `/etc/shadow`"),
    on(Guarantee::FsRead, "files.tmp", "read a file in the host's `/tmp`"),
    // Landlock has no say over `stat`, nor over `chmod` and `utimes` below.
    shown("files.stat", "see that a file is there, and its size"),
    on(Guarantee::FsRead, "files.list", "list a folder that nobody granted"),
    on(Guarantee::FsWrite, "files.write", "make a file in a folder that nobody granted"),
    on(Guarantee::FsWrite, "files.append", "open a file there to append to it"),
    on(Guarantee::FsWrite, "files.truncate", "cut a file there short"),
    on(Guarantee::FsWrite, "files.rename", "rename a file there"),
    on(Guarantee::FsWrite, "files.unlink", "remove a file there"),
    on(Guarantee::FsWrite, "files.move", "move a file of its own there"),
    on(Guarantee::FsWrite, "files.mkdir", "make a folder there"),
    on(Guarantee::FsWrite, "files.fifo", "make a named pipe there"),
    on(Guarantee::FsWrite, "files.plant", "make a symbolic link there"),
    on(Guarantee::FsWrite, "files.bind", "make a socket there"),
    shown("files.metadata", "change the mode and the times of a file there"),
    on(Guarantee::FsRead, "files.link", "read a file through a hard link in its own folder"),
    on(Guarantee::FsRead, "files.symlink", "read a file through a symbolic link in its own folder"),
    on(Guarantee::FsRead, "files.mknod", "make a device in its own folder and open it"),
    on(
        Guarantee::FsWrite,
        "files.setid",
        "make a file or folder with a set-user-ID or set-group-ID bit, in its own folder, by any call that sets modes",
    ),
    namespaced_on(
        Guarantee::FsWrite,
        "files.devices",
        "change the mode of a device, or of an entry of `/proc` that the whole machine shares",
    ),
    on(Guarantee::FsWrite, "files.dev", "make a file in `/dev`, which is memory"),
    on(Guarantee::FsWrite, "files.usr", "open a file of the system in `/usr` to write to it"),
    on(Guarantee::FsRead, "files.handle", "open a file by its handle, past all folders"),
    on(Guarantee::FsRead, "files.disk", "open a disk of the machine"),
    on(
        Guarantee::FsRead,
        "own.read",
        "read a secret of the server's own in a folder that it may change",
    ),
    on(
        Guarantee::FsWrite,
        "own.write",
        "open a file of the server's own there to append to it, by its name and by another",
    ),
    on(Guarantee::FsWrite, "own.replace", "put another file in its place"),
    on(Guarantee::FsWrite, "own.folder", "rename the folder that it lies in"),
    on(Guarantee::NetLoopback, "tcp.loopback", "connect to a port of the host's 127.0.0.1"),
    on(Guarantee::NetLoopback, "tcp.v6", "connect to a port of the host's ::1"),
    on(
        Guarantee::NetLoopback,
        "tcp.proxy_port",
        "connect to the proxy's port at another address of loopback (127.0.0.2)",
    ),
    on(Guarantee::NetLoopback, "tcp.proxy_port_v6", "connect to the proxy's port at ::1"),
    on(
        Guarantee::NetLoopback,
        "tcp.proxy_port_mapped",
        "connect to the proxy's port at ::ffff:127.0.0.2",
    ),
    on(
        Guarantee::NetLoopback,
        "tcp.swapped",
        "connect to the proxy, and write another address over its own meanwhile",
    ),
    on(
        Guarantee::NetEgress,
        "tcp.fastopen",
        "connect by sending (`MSG_FASTOPEN`), without `connect`",
    ),
    on(Guarantee::NetEgress, "tcp.sendmsg_fastopen", "the same with `sendmsg`"),
    on(
        Guarantee::NetEgress,
        "tcp.mptcp",
        "connect with Multipath TCP, which rules for TCP do not know",
    ),
    on(
        Guarantee::NetEgress,
        "tcp.uring",
        "make calls through a ring that no filter sees (`io_uring`)",
    ),
    on(Guarantee::NetLoopback, "tcp.bind", "listen on a port of the host"),
    on(Guarantee::NetLoopback, "tcp.listen", "listen on a port of the host without `bind`"),
    on(Guarantee::NetLoopback, "udp.loopback", "send a datagram to a port of the host's 127.0.0.1"),
    on(Guarantee::NetLoopback, "udp.connected", "the same from a connected socket"),
    on(Guarantee::NetLoopback, "udp.v6", "send a datagram to a port of the host's ::1"),
    on(Guarantee::NetEgress, "raw.socket", "make a socket for packets of any protocol above IP"),
    on(Guarantee::NetEgress, "packet.socket", "make a socket for frames of the network"),
    on(Guarantee::NetEgress, "vsock.socket", "make a socket to the machine below this virtual one"),
    on(Guarantee::NetEgress, "icmp.socket", "make a socket for pings"),
    on(
        Guarantee::NetEgress,
        "sctp.socket",
        "make a socket for SCTP, which rules for TCP do not know",
    ),
    on(
        Guarantee::NetEgress,
        "smc.ulp",
        "turn a TCP socket into one that rules for TCP do not know",
    ),
    on(Guarantee::NetEgress, "net.other", "connect to another machine"),
    on(Guarantee::UnixSockets, "unix.abstract", "connect to a socket by its abstract name"),
    on(Guarantee::UnixSockets, "unix.path", "connect to a socket by its path"),
    on(Guarantee::UnixSockets, "unix.dgram", "send a datagram to a socket by its path"),
    on(Guarantee::UnixSockets, "unix.socketpair_dgram", "the same from one end of a socket pair"),
    // The names stand in `/proc/net`; connecting is what is stopped.
    shown("unix.list", "see the names of the host's unix sockets"),
    on(Guarantee::FsRead, "namespaces.user", "make a user namespace, with all powers inside"),
    on(Guarantee::FsRead, "namespaces.clone", "the same with `clone`"),
    on(Guarantee::FsRead, "namespaces.clone3", "the same with `clone3`"),
    on(Guarantee::FsRead, "namespaces.mount", "make a mount namespace"),
    on(Guarantee::FsRead, "namespaces.setns", "enter the server's mount namespace"),
    on(Guarantee::FsRead, "mount.bind", "mount a folder elsewhere"),
    on(Guarantee::FsRead, "mount.tmpfs", "mount a file system in memory"),
    on(Guarantee::FsRead, "mount.fsopen", "prepare a mount with `fsopen`"),
    on(
        Guarantee::FsRead,
        "mount.open_tree",
        "copy all mounts with `open_tree`, without what covers them",
    ),
    on(Guarantee::FsRead, "chroot.escape", "change its root, the first half of the way out of one"),
    on(Guarantee::FsRead, "privileges.setuid", "become another user"),
    on(
        Guarantee::FsRead,
        "privileges.suid",
        "start a program that gives privileges (no_new_privs is not set)",
    ),
    on(Guarantee::FsRead, "privileges.capabilities", "have any capability"),
    on(Guarantee::ServerMemory, "kernel.bpf", "use `bpf`"),
    on(Guarantee::ServerMemory, "kernel.perf", "use `perf_event_open`"),
    on(Guarantee::ServerMemory, "kernel.userfaultfd", "hold up the kernel with `userfaultfd`"),
    on(Guarantee::ServerMemory, "kernel.keyctl", "store a key in the kernel"),
    on(Guarantee::ServerMemory, "kernel.module", "load a kernel module"),
    on(Guarantee::ServerMemory, "kernel.kexec", "load another kernel"),
    on(Guarantee::ServerMemory, "kernel.reboot", "restart the machine"),
    on(Guarantee::ServerMemory, "kernel.log", "read the kernel's log"),
    on(
        Guarantee::ServerMemory,
        "kernel.sysctl",
        "open a kernel setting that runs programs as root (`core_pattern`) to write to it",
    ),
    on(Guarantee::ServerMemory, "kernel.sysrq", "open `/proc/sysrq-trigger` to write to it"),
    on(Guarantee::ServerMemory, "kernel.cgroup", "open a control group to move processes into it"),
    on(Guarantee::ServerMemory, "kernel.arch", "call the kernel as a program of 32 bits"),
    on(Guarantee::ServerMemory, "kernel.x32", "call the kernel with the numbers of x32"),
    on(
        Guarantee::ServerMemory,
        "terminal.tiocsti",
        "type into the terminal that the server was started from",
    ),
    on(Guarantee::Processes, "processes.tgkill", "signal a thread of the server"),
    on(Guarantee::Processes, "processes.sigqueue", "queue a signal for the server"),
    on(Guarantee::Processes, "processes.pidfd", "signal the server through a descriptor"),
    on(Guarantee::Processes, "processes.signal", "end the server with a signal"),
    // These are runs of their own, which the server judges from outside.
    on(
        Guarantee::KillTree,
        "tree.survive",
        "outlive the end of its session: as a daemon, in a session of its own, as ever another process",
    ),
    on(Guarantee::Pids, "limits.forks", "start processes without end"),
    on(Guarantee::Memory, "limits.memory", "take memory without end"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What the server judges from outside, so that the program prints no such line.
    const JUDGED_OUTSIDE: [&str; 3] = ["tree.survive", "limits.forks", "limits.memory"];

    /// The names in the program's own list, in its order.
    fn printed() -> Vec<&'static str> {
        let source = include_str!("../../launcher/attack.rs");
        let (_, list) = source.split_once("const LIST").expect("the list");
        let (list, _) = list.split_once("];").expect("its end");
        // Every second piece between quotes is inside of them.
        list.split('"').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_program_makes_the_attacks_that_are_named_here_and_no_others() {
        let named: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
        assert_eq!(named, [printed(), JUDGED_OUTSIDE.to_vec()].concat());
    }

    #[test]
    fn every_attack_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
        assert_eq!(names.len(), ATTACKS.len());
    }

    #[test]
    fn every_guarantee_but_the_watched_one_is_attacked() {
        let attacked: BTreeSet<Guarantee> =
            ATTACKS.iter().filter_map(|attack| attack.guarantee).collect();
        let promised = Guarantee::ALL.into_iter().filter(|one| *one != Guarantee::Disk);
        assert_eq!(attacked, promised.collect());
    }
}

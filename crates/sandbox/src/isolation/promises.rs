//! The promises: what each guarantee claims, the attacks that try each claim, and what each backend gives.
//!
//! This is the only table. The probe, `doctor`, the messages of [`choose`](super::choose()) and the tables of
//! `docs/isolation.md` are made from it. The program that makes the attacks is `launcher/attack.rs`.
//!
//! # How it works
//!
//! A guarantee is a list of claims. A guarantee is in force where its attacks were made and none succeeded. Every
//! claim has an attack that is made at each start ([`check`] refuses to compile otherwise): one for each mechanism
//! that could fail. `doctor` and the tests make all attacks.
//!
//! Powers over mounts, namespaces and users count for `fs.read`: with them an agent could uncover what the sandbox
//! covers. Ways into the kernel count for `server-memory`: with one of them an agent controls the whole machine.

use super::Guarantee;
use super::Guarantee::{
    Disk, Env, FsRead, FsWrite, KillTree, Memory, NetEgress, NetLoopback, PeerSessions, Pids,
    Processes, ServerMemory, UnixSockets,
};
use crate::isolation::BackendKind;
use serde_json::{Map, Value, json};

/// One guarantee.
#[derive(Debug)]
pub(super) struct Promise {
    /// Which one.
    pub(super) guarantee: Guarantee,
    /// The end of a sentence that begins with "an agent".
    pub(super) summary: &'static str,
    /// Whether each backend gives it.
    pub(super) backends: Backends,
    /// What it consists of.
    pub(super) claims: &'static [Claim],
}

/// One fact that an attack can disprove.
#[derive(Debug)]
pub(super) struct Claim {
    /// The end of a sentence that begins with "an agent".
    pub(super) text: &'static str,
    /// What tries it.
    pub(super) attacks: &'static [Attack],
    /// Tests of the release binary that try it besides: functions below `tests/it`.
    pub(super) tests: &'static [&'static str],
}

/// One attack.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attack {
    /// Its name.
    pub(super) name: &'static str,
    /// What the agent tries to do.
    pub(super) what: &'static str,
    /// When it is made.
    pub(super) when: When,
}

/// When an attack is made. What is made at a start is also made by `doctor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// At each start of the server.
    Start,
    /// By `doctor`, and so by the tests.
    Doctor,
    /// By the claim's tests alone.
    Tests,
}

/// What each backend gives.
#[derive(Debug)]
pub(super) struct Backends {
    /// Namespaces.
    pub(super) bubblewrap: Given,
    /// Rules of the kernel on the process itself.
    pub(super) landlock: Given,
    /// A container.
    pub(super) container: Given,
    /// No sandbox.
    pub(super) none: Given,
}

/// Whether a backend gives a guarantee.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given {
    /// It does.
    Yes,
    /// It does where the kernel has what it takes; where that is missing these attacks succeed. None are named where
    /// no attack tells.
    If(&'static str, &'static [&'static str]),
    /// It does not, and why.
    No(&'static str),
}

impl Given {
    /// Why it is not given, where that is known.
    pub(super) const fn why_not(self) -> Option<&'static str> {
        match self {
            Self::Yes => None,
            Self::If(why, _) | Self::No(why) => Some(why),
        }
    }

    /// The same, where it explains that these attacks succeeded, and no others.
    pub(super) fn explain(self, succeeded: &[&str]) -> Option<&'static str> {
        match self {
            Self::If(_, attacks) if !attacks.is_empty() => {
                let is_explained = |name: &&str| attacks.contains(name);
                let all = !succeeded.is_empty() && succeeded.iter().all(is_explained);
                self.why_not().filter(|_| all)
            }
            Self::Yes | Self::If(..) | Self::No(_) => self.why_not(),
        }
    }

    /// Its word in a table.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::If(..) => "depends",
            Self::No(_) => "no",
        }
    }
}

impl Backends {
    /// What this backend gives. `auto` stands for the backend that it chooses.
    pub(super) const fn given(&self, kind: BackendKind) -> Given {
        match kind {
            BackendKind::Auto | BackendKind::Bubblewrap => self.bubblewrap,
            BackendKind::Landlock => self.landlock,
            BackendKind::Container => self.container,
            BackendKind::None => self.none,
        }
    }
}

impl Promise {
    /// The promise of a guarantee.
    pub(super) const fn of(guarantee: Guarantee) -> &'static Self {
        &PROMISES[guarantee as usize]
    }

    /// Its attacks.
    pub(super) fn attacks(&self) -> impl Iterator<Item = &'static Attack> {
        self.claims.iter().flat_map(|claim| claim.attacks)
    }
}

/// The names of the attacks that are made then.
pub(super) fn names(when: When) -> impl Iterator<Item = &'static str> {
    let all = PROMISES.iter().flat_map(Promise::attacks).chain(NOT_PROMISED);
    all.filter(move |attack| attack.when <= when).map(|attack| attack.name)
}

/// The table for machines.
pub fn promises_json() -> Value {
    let attacks = |attacks: &[Attack]| -> Vec<Value> {
        let each = attacks.iter().map(|attack| {
            let when = match attack.when {
                When::Start => "start",
                When::Doctor => "doctor",
                When::Tests => "tests",
            };
            json!({"name": attack.name, "what": attack.what, "when": when})
        });
        each.collect()
    };
    let promises = PROMISES.iter().map(|promise| {
        let kinds = [
            BackendKind::Bubblewrap,
            BackendKind::Landlock,
            BackendKind::Container,
            BackendKind::None,
        ];
        let backends: Map<String, Value> = kinds
            .into_iter()
            .map(|kind| {
                let given = promise.backends.given(kind);
                let told = json!({"gives": given.as_str(), "why": given.why_not()});
                (kind.as_str().to_owned(), told)
            })
            .collect();
        let claims = promise.claims.iter().map(|claim| {
            json!({"claim": claim.text, "attacks": attacks(claim.attacks), "tests": claim.tests})
        });
        json!({
            "guarantee": promise.guarantee.as_str(),
            "summary": promise.summary,
            "backends": backends,
            "claims": claims.collect::<Vec<_>>(),
        })
    });
    json!({"promised": promises.collect::<Vec<_>>(), "not_promised": attacks(NOT_PROMISED)})
}

const fn start(name: &'static str, what: &'static str) -> Attack {
    Attack { name, what, when: When::Start }
}

/// What an attack at the start tries by another way, past the same mechanism.
const fn besides(name: &'static str, what: &'static str) -> Attack {
    Attack { name, what, when: When::Doctor }
}

const fn tests(name: &'static str, what: &'static str) -> Attack {
    Attack { name, what, when: When::Tests }
}

/// Every sandbox gives it.
const SANDBOXED: Backends = Backends {
    bubblewrap: Given::Yes,
    landlock: Given::Yes,
    container: Given::Yes,
    none: Given::No("there is no sandbox"),
};

/// It does not need a sandbox.
const ALWAYS: Backends = Backends {
    bubblewrap: Given::Yes,
    landlock: Given::Yes,
    container: Given::Yes,
    none: Given::Yes,
};

/// Landlock rules signals and abstract sockets from its version 6.
const SCOPED: Backends = Backends {
    landlock: Given::If(
        "Landlock rules signals and abstract sockets since its version 6 (Linux 6.12)",
        &["peers.signal", "unix.abstract"],
    ),
    ..SANDBOXED
};

/// Landlock rules ports and no addresses, so a supervisor makes the connections.
const CONNECTED: Backends = Backends {
    landlock: Given::If(
        "Landlock rules TCP by port alone, so the proxy's port is open at every address; where the kernel \
         notifies supervisors of `connect` (seccomp, Linux 5.19; no other filter above with notifications, \
         `kernel.yama.ptrace_scope` below 2) they connect to the proxy's address alone",
        &["tcp.proxy_port", "tcp.proxy_port_v6", "tcp.proxy_port_mapped", "tcp.swapped"],
    ),
    ..SANDBOXED
};

const DELEGATED: Given =
    Given::If("control groups (version 2) must be delegated to the server", &[]);

/// Attacks that succeed in a root of their own because the agent is root to the kernel.
pub(super) const ATTACKS_OF_ROOT: &[&str] = &["files.devices", "files.dev"];

/// The kernel's limits.
const LIMITED: Backends = Backends {
    bubblewrap: DELEGATED,
    landlock: DELEGATED,
    container: Given::If(
        "an engine that runs without root makes no control groups of version 1",
        &[],
    ),
    none: DELEGATED,
};

/// Every guarantee, in the order of [`Guarantee::ALL`].
#[rustfmt::skip]
pub(super) const PROMISES: [Promise; Guarantee::ALL.len()] = [
    Promise {
        guarantee: Env,
        summary: "has the environment that it was given and nothing of the server's",
        backends: ALWAYS,
        claims: &[
            Claim {
                text: "has no variable that it was not given",
                attacks: &[
                    start("env.own", "find a variable that was not given to it"),
                ],
                tests: &[
                    "walls::inside::the_names_of_the_environment_are_these_alone",
                    "environment::the_environment_starts_empty",
                ],
            },
            Claim {
                text: "reads the server's variables in no process",
                attacks: &[
                    besides("env.victim", "read the server's environment in `/proc`"),
                    start("env.others", "find the server's variables in the environment of any process"),
                ],
                tests: &["walls::inside::a_secret_of_the_servers_environment_is_nowhere_in_the_agents"],
            },
        ],
    },
    Promise {
        guarantee: FsRead,
        summary: "reads nothing but its own folders, the system's programs, and what it was granted",
        backends: SANDBOXED,
        claims: &[
            Claim {
                text: "reads no file and lists no folder that it was not granted",
                attacks: &[
                    start("files.read", "read a file that nobody granted"),
                    besides("files.ssh", "read a key in a folder like `~/.ssh`"),
                    start("files.host", "read the host's `/etc/hostname`"),
                    besides("files.shadow", "open the host's `/etc/shadow`"),
                    besides("files.tmp", "read a file in the host's `/tmp`"),
                    start("files.list", "list a folder that nobody granted"),
                ],
                tests: &[
                    "walls::inside::the_machines_own_files_are_out_of_reach",
                    "walls::inside::the_servers_token_and_store_are_out_of_reach",
                    "walls::inside::what_was_granted_for_reading_is_read_and_not_changed_and_nothing_beside_it",
                ],
            },
            Claim {
                text: "reaches such a file by no other name, link, handle or open folder",
                attacks: &[
                    besides("files.up", "read it by going up from its own folder, past the root"),
                    start("files.proc_root", "read it through another process's root in `/proc`"),
                    start("files.inherited", "read it from a folder that was left open"),
                    start("files.reopen", "open it for nothing, and then again through `/proc`"),
                    start("files.link", "read a file through a hard link in its own folder"),
                    besides("files.symlink", "read a file through a symbolic link in its own folder"),
                    start("files.handle", "open a file by its handle, past all folders"),
                ],
                tests: &[
                    "walls::grants::what_an_agent_puts_in_the_place_of_a_grant_gives_the_next_one_nothing",
                    "walls::grants::a_program_that_an_agent_replaces_leads_the_next_one_nowhere_and_the_start_warns_of_it",
                    "walls::grants::an_agent_is_not_granted_what_lies_in_the_folder_of_another_one",
                ],
            },
            Claim {
                text: "reads no secret of the server's own files, also where they lie in a folder that it may read",
                attacks: &[
                    start("own.read", "read a secret of the server's own in a folder that it may change"),
                ],
                tests: &[
                    "walls::own::an_agent_in_the_servers_own_folder_reads_no_secret_and_works_in_the_rest",
                    "walls::own::a_folder_that_is_granted_shows_no_secret_of_the_servers",
                    "walls::own::landlock_does_not_serve_an_agent_in_the_servers_own_folder",
                ],
            },
            Claim {
                text: "opens no device that it was not granted",
                attacks: &[
                    start("files.mknod", "make a device in its own folder and open it"),
                    besides("files.disk", "open a disk of the machine"),
                ],
                tests: &[],
            },
            Claim {
                text: "makes and enters no namespace",
                attacks: &[
                    start("namespaces.user", "make a user namespace, with all powers inside"),
                    start("namespaces.clone", "the same with `clone`"),
                    start("namespaces.clone3", "the same with `clone3`"),
                    besides("namespaces.mount", "make a mount namespace"),
                    start("namespaces.setns", "enter the server's mount namespace"),
                ],
                tests: &[],
            },
            Claim {
                text: "mounts nothing and does not change its root",
                attacks: &[
                    start("mount.bind", "mount a folder elsewhere"),
                    besides("mount.tmpfs", "mount a file system in memory"),
                    start("mount.fsopen", "prepare a mount with `fsopen`"),
                    start("mount.open_tree", "copy all mounts with `open_tree`, without what covers them"),
                    start("chroot.escape", "change its root, the first half of the way out of one"),
                ],
                tests: &[],
            },
            Claim {
                text: "gains no privileges",
                attacks: &[
                    start("privileges.setuid", "become another user"),
                    start("privileges.suid", "start a program that gives privileges (no_new_privs is not set)"),
                    start("privileges.capabilities", "have any capability"),
                ],
                tests: &["walls::modes::each_session_of_a_root_server_has_a_user_of_its_own"],
            },
        ],
    },
    Promise {
        guarantee: FsWrite,
        summary: "changes nothing but its own folders and what it was granted",
        backends: Backends {
            landlock: Given::If(
                "Landlock rules the truncation of files since its version 3 (Linux 6.2), and no modes: an agent that is \
                 root may change those of devices; where the server is root, agents have users of their own unless \
                 something that they were granted, or a folder above it, is for root alone",
                &["files.truncate", "files.devices", "files.dev"],
            ),
            container: Given::If(
                "an agent that is root in a container may change the modes of entries of `/proc` that the whole machine \
                 shares; where the server is root, agents have users of their own unless something that they were \
                 granted is for root alone",
                ATTACKS_OF_ROOT,
            ),
            ..SANDBOXED
        },
        claims: &[
            Claim {
                text: "makes nothing outside of its folders",
                attacks: &[
                    start("files.write", "make a file in a folder that nobody granted"),
                    start("files.move", "move a file of its own there"),
                    besides("files.mkdir", "make a folder there"),
                    besides("files.fifo", "make a named pipe there"),
                    besides("files.plant", "make a symbolic link there"),
                    besides("files.bind", "make a socket there"),
                ],
                tests: &["walls::inside::what_was_granted_for_writing_is_changed_and_nothing_beside_it"],
            },
            Claim {
                text: "changes and removes nothing there",
                attacks: &[
                    start("files.append", "open a file there to append to it"),
                    start("files.truncate", "cut a file there short"),
                    besides("files.rename", "rename a file there"),
                    start("files.unlink", "remove a file there"),
                    besides("files.usr", "open a file of the system in `/usr` to write to it"),
                ],
                tests: &["walls::inside::the_machines_own_files_are_out_of_reach"],
            },
            Claim {
                text: "sets no attribute of a file there: access lists, attributes of users, flags",
                attacks: &[start("files.attributes", "set an attribute of a file there")],
                tests: &["walls::modes::where_landlock_stands_alone_programs_go_on_without_attributes"],
            },
            Claim {
                text: "neither changes, replaces nor removes a file of the server's own in a folder that it may change",
                attacks: &[
                    start(
                        "own.write",
                        "open a file of the server's own there to append to it, by its name and by another",
                    ),
                    start("own.replace", "put another file in its place"),
                    start("own.folder", "rename the folder that it lies in"),
                ],
                tests: &[
                    "walls::own::an_agent_in_the_servers_own_folder_cannot_change_its_files",
                    "walls::own::a_folder_above_a_file_of_the_servers_own_stays_in_its_place",
                    "walls::own::a_configuration_that_an_agent_made_is_not_read_at_the_next_start",
                ],
            },
            Claim {
                text: "makes no file that gives the server's identity to the user who starts it",
                attacks: &[
                    start(
                        "files.setid",
                        "make a file or folder with a set-user-ID or set-group-ID bit, in its own folder, by any call \
                         that sets modes",
                    ),
                ],
                tests: &["walls::modes::no_file_that_gives_the_servers_identity_away_is_left_in_a_workspace"],
            },
            Claim {
                text: "changes no device and no entry of `/proc` that the whole machine shares",
                attacks: &[
                    start(
                        "files.devices",
                        "change the mode of a device, or of an entry of `/proc` that the whole machine shares",
                    ),
                    start("files.dev", "make a file in `/dev`, which is memory"),
                ],
                tests: &[
                    "walls::modes::no_mode_of_a_device_or_of_an_entry_of_proc_can_be_changed",
                    "walls::modes::nothing_can_be_made_in_dev_and_its_shared_memory_is_bounded",
                ],
            },
        ],
    },
    Promise {
        guarantee: PeerSessions,
        summary: "reaches neither files nor processes of another session",
        backends: SCOPED,
        claims: &[
            Claim {
                text: "neither reads nor changes files of another session",
                attacks: &[
                    start("peers.read", "read a file of another session"),
                    besides("peers.list", "list the folder of another session"),
                    start("peers.write", "make a file in the folder of another session"),
                    besides("peers.rename", "rename a file of another session"),
                    start("peers.unlink", "remove a file of another session"),
                ],
                tests: &[
                    "walls::inside::another_sessions_files_are_out_of_reach_for_who_knows_their_path",
                    "walls::hostile::what_an_agent_leaves_is_run_by_nobody_and_found_by_no_later_session",
                ],
            },
            Claim {
                text: "reads no attribute of a file of another session",
                attacks: &[start("peers.attributes", "read an attribute of another session's file")],
                tests: &["walls::hostile::every_attack_from_a_turn_of_each_driver_ends_as_the_table_says"],
            },
            Claim {
                text: "reads nothing in another session's processes",
                attacks: &[
                    start("peers.environ", "open the environment of another session's agent"),
                    besides("peers.cwd", "open the working folder of another session's agent through `/proc`"),
                    start("peers.ptrace", "trace another session's agent as a debugger does"),
                ],
                tests: &[],
            },
            Claim {
                text: "neither signals another session's processes nor changes their priority",
                attacks: &[
                    start("peers.signal", "signal another session's agent"),
                    start("peers.priority", "set the priority of all processes of the user, with those of other sessions"),
                    start("peers.io_priority", "the same with their priority for disks"),
                ],
                tests: &[],
            },
            Claim {
                text: "shares neither memory nor keys with another session",
                attacks: &[
                    start("peers.shm", "attach System V shared memory of a process outside of the session"),
                    start("peers.keyring", "read a key of a process outside of the session from the user's keyring"),
                ],
                tests: &[],
            },
        ],
    },
    Promise {
        guarantee: ServerMemory,
        summary: "reaches nothing in the server's process, nor powers by which it could",
        backends: SCOPED,
        claims: &[
            Claim {
                text: "reads nothing of the memory of the server and of the process above it",
                attacks: &[
                    start("memory.proc", "read the server's memory in `/proc`"),
                    start("memory.vm_readv", "read the server's memory with `process_vm_readv`"),
                    start("memory.ptrace", "trace the server as a debugger does"),
                    start("memory.supervisor", "write to the memory of the process above it, or trace it"),
                    besides("memory.maps", "see where what lies in the server's memory"),
                ],
                tests: &[],
            },
            Claim {
                text: "gets no file and no folder that the server has open",
                attacks: &[
                    start("memory.pidfd", "take an open file from the server with `pidfd_getfd`"),
                    start("memory.root", "read a file through the server's root in `/proc`"),
                    besides("memory.cwd", "open the server's working folder through `/proc`"),
                    besides("memory.fd", "see what files the server has open"),
                    start("memory.inherited", "find a socket or a writable file that the server left open"),
                ],
                tests: &[],
            },
            Claim {
                text: "changes no program that runs outside of its session",
                attacks: &[
                    start("memory.program", "open the program of a process to write to it, through `/proc/PID/exe`"),
                ],
                tests: &[
                    "walls::grants::no_program_that_an_agent_may_have_made_runs_outside_of_a_sandbox",
                ],
            },
            Claim {
                text: "uses no part of the kernel that ordinary programs do not need",
                attacks: &[
                    start("kernel.bpf", "use `bpf`"),
                    besides("kernel.perf", "use `perf_event_open`"),
                    besides("kernel.userfaultfd", "hold up the kernel with `userfaultfd`"),
                    start("kernel.keyctl", "store a key in the kernel"),
                    besides("kernel.module", "load a kernel module"),
                    besides("kernel.kexec", "load another kernel"),
                    start("kernel.reboot", "restart the machine"),
                    besides("kernel.log", "read the kernel's log"),
                    besides("kernel.ports", "ask for the ports of devices with `iopl`"),
                    besides("kernel.accounting", "have the kernel account for processes with `acct`"),
                    besides("kernel.host_name", "give the machine another name"),
                ],
                tests: &[],
            },
            Claim {
                text: "changes no setting that the kernel acts on as root",
                attacks: &[
                    start("kernel.sysctl", "open a kernel setting that runs programs as root (`core_pattern`) to write to it"),
                    besides("kernel.helpers", "the same with other such settings (`modprobe`, `binfmt_misc`, `release_agent`)"),
                    besides("kernel.sysrq", "open `/proc/sysrq-trigger` to write to it"),
                    start("kernel.cgroup", "open a control group to move processes into it"),
                ],
                tests: &[],
            },
            Claim {
                text: "calls the kernel by no other numbers than the filter knows",
                attacks: &[
                    start("kernel.arch", "call the kernel as a program of 32 bits"),
                    start("kernel.x32", "call the kernel with the numbers of x32"),
                ],
                tests: &[],
            },
            Claim {
                text: "types into no terminal of the server",
                attacks: &[
                    start("terminal.tiocsti", "type into the terminal that the server was started from"),
                ],
                tests: &[],
            },
        ],
    },
    Promise {
        guarantee: Processes,
        summary: "neither sees nor signals the machine's other processes",
        backends: Backends {
            landlock: Given::No("Landlock does not restrict what /proc shows of other processes"),
            ..SANDBOXED
        },
        claims: &[
            Claim {
                text: "does not see the machine's other processes",
                attacks: &[
                    start("processes.list", "find the server among all processes"),
                    start("processes.cmdline", "read the server's arguments"),
                    besides("processes.times", "read how long another session's process has run"),
                ],
                tests: &["walls::inside::inside_of_bubblewrap_there_are_no_processes_but_its_own"],
            },
            Claim {
                text: "changes neither limits nor priorities of the machine's other processes",
                attacks: &[
                    start("processes.prlimit", "look at a limit of the server, as who may also sets it"),
                    start("processes.priority", "set the server's priority"),
                    besides("processes.affinity", "set the processors that the server runs on"),
                ],
                tests: &[],
            },
            Claim {
                text: "signals none of the machine's other processes",
                attacks: &[
                    besides("processes.tgkill", "signal a thread of the server"),
                    besides("processes.sigqueue", "queue a signal for the server"),
                    start("processes.pidfd", "signal the server through a descriptor"),
                    start("processes.signal", "end the server with a signal"),
                ],
                tests: &[],
            },
        ],
    },
    Promise {
        guarantee: NetEgress,
        summary: "reaches other machines through the proxy alone",
        backends: CONNECTED,
        claims: &[
            Claim {
                text: "makes no TCP connection to another machine",
                attacks: &[
                    start("tcp.fastopen", "connect by sending (`MSG_FASTOPEN`), without `connect`"),
                    besides("tcp.sendmsg_fastopen", "the same with `sendmsg`"),
                    start("tcp.mptcp", "connect with Multipath TCP, which rules for TCP do not know"),
                    start("tcp.uring", "make calls through a ring that no filter sees (`io_uring`)"),
                    besides("smc.ulp", "turn a TCP socket into one that rules for TCP do not know"),
                    tests("net.other", "connect to another machine"),
                ],
                tests: &[
                    "walls::networks::metadata_and_private_networks_are_not_reached_directly",
                    "walls::networks::under_landlock_no_address_but_the_proxys_is_reached_at_the_proxys_port",
                    "walls::networks::metadata_and_private_networks_are_not_reached_through_the_proxy",
                    "walls::networks::names_that_lead_there_are_not_reached_either",
                    "walls::egress::a_host_that_is_not_allowed_is_refused_with_the_key_that_allows_it",
                ],
            },
            Claim {
                text: "sends no packet past TCP",
                attacks: &[
                    start("raw.socket", "make a socket for packets of any protocol above IP"),
                    besides("packet.socket", "make a socket for frames of the network"),
                    start("vsock.socket", "make a socket to the machine below this virtual one"),
                    besides("icmp.socket", "make a socket for pings"),
                    besides("sctp.socket", "make a socket for SCTP, which rules for TCP do not know"),
                ],
                tests: &["walls::networks::metadata_and_private_networks_are_not_reached_directly"],
            },
        ],
    },
    Promise {
        guarantee: NetLoopback,
        summary: "reaches no port of this machine",
        backends: CONNECTED,
        claims: &[
            Claim {
                text: "connects to no port of this machine",
                attacks: &[
                    start("tcp.loopback", "connect to a port of the host's 127.0.0.1"),
                    besides("tcp.v6", "connect to a port of the host's ::1"),
                ],
                tests: &[
                    "walls::egress::a_port_of_the_machine_is_not_reached_past_the_proxy",
                    "walls::egress::the_servers_own_port_is_not_reached",
                ],
            },
            Claim {
                text: "connects to the proxy's port at the proxy's address alone",
                attacks: &[
                    start("tcp.proxy_port", "connect to the proxy's port at another address of loopback (127.0.0.2)"),
                    start("tcp.proxy_port_v6", "connect to the proxy's port at ::1"),
                    start("tcp.proxy_port_mapped", "connect to the proxy's port at ::ffff:127.0.0.2"),
                    start("tcp.swapped", "connect to the proxy, and write another address over its own meanwhile"),
                ],
                tests: &["walls::connecting::only_the_proxys_address_is_connected_to_in_both_of_its_spellings"],
            },
            Claim {
                text: "listens on no port of this machine",
                attacks: &[
                    start("tcp.bind", "listen on a port of the host"),
                    start("tcp.listen", "listen on a port of the host without `bind`"),
                ],
                tests: &[],
            },
            Claim {
                text: "sends no datagram to a port of this machine",
                attacks: &[
                    start("udp.loopback", "send a datagram to a port of the host's 127.0.0.1"),
                    besides("udp.connected", "the same from a connected socket"),
                    besides("udp.v6", "send a datagram to a port of the host's ::1"),
                ],
                tests: &[],
            },
        ],
    },
    Promise {
        guarantee: UnixSockets,
        summary: "reaches no unix socket of this machine",
        backends: SCOPED,
        claims: &[
            Claim {
                text: "connects to no unix socket, whether it has a path or an abstract name",
                attacks: &[
                    start("unix.abstract", "connect to a socket by its abstract name"),
                    start("unix.path", "connect to a socket by its path"),
                ],
                tests: &[],
            },
            Claim {
                text: "sends no datagram to a unix socket",
                attacks: &[
                    start("unix.dgram", "send a datagram to a socket by its path"),
                    start("unix.socketpair_dgram", "the same from one end of a socket pair"),
                ],
                tests: &[],
            },
        ],
    },
    Promise {
        guarantee: KillTree,
        summary: "leaves nothing behind when it was ended",
        backends: ALWAYS,
        claims: &[
            Claim {
                text: "leaves no process behind when it was ended",
                attacks: &[
                    start(
                        "tree.survive",
                        "outlive the end of its session: as a daemon, in a session of its own, as ever another process",
                    ),
                ],
                tests: &[
                    "walls::survivors::nothing_survives_a_cancel",
                    "walls::survivors::nothing_survives_a_turn_that_takes_too_long",
                    "walls::survivors::nothing_survives_the_end_of_a_kept_process_that_was_idle",
                    "walls::survivors::nothing_survives_sigterm_of_the_server",
                    "walls::survivors::nothing_survives_sigkill_of_the_server",
                ],
            },
        ],
    },
    Promise {
        guarantee: Pids,
        summary: "takes no more processes than `isolation.limits.pids` (control groups)",
        backends: LIMITED,
        claims: &[
            Claim {
                text: "has no more processes than `isolation.limits.pids`",
                attacks: &[start("limits.forks", "start processes without end")],
                tests: &["containers::limits_are_the_engines_and_hold"],
            },
        ],
    },
    Promise {
        guarantee: Memory,
        summary: "takes no more memory than `isolation.limits.memory` (control groups)",
        backends: LIMITED,
        claims: &[
            Claim {
                text: "has no more memory than `isolation.limits.memory`",
                attacks: &[start("limits.memory", "take memory without end")],
                tests: &["containers::limits_are_the_engines_and_hold"],
            },
        ],
    },
    Promise {
        guarantee: Disk,
        summary: "is ended when its folders have grown beyond `isolation.limits.disk` (watched)",
        backends: ALWAYS,
        claims: &[
            Claim {
                text: "is ended when its folders have grown beyond `isolation.limits.disk`",
                attacks: &[tests("limits.disk", "fill its folders, also where their modes hide what is inside")],
                tests: &[
                    "walls::limits::a_turn_that_writes_too_much_is_ended_and_told_which_key_allows_more",
                    "walls::limits::a_folder_without_permissions_counts_and_holes_do_not",
                    "walls::limits::no_file_grows_beyond_what_all_may_hold_together",
                ],
            },
        ],
    },
];

/// Attacks that belong to no guarantee, because not every backend stops them. The documentation shows what comes
/// of them.
#[rustfmt::skip]
pub(super) const NOT_PROMISED: &[Attack] = &[
    // Landlock does not control inotify; it tells names, not contents.
    besides("peers.watch", "watch which names come and go in the folder of another session"),
    // Landlock does not control `stat`, `chmod` and `utimes`.
    besides("files.stat", "see that a file is there, and its size"),
    besides("files.metadata", "change the mode and the times of a file there"),
    // `/proc/net` has the names; the sandbox stops connections.
    besides("unix.list", "see the names of the host's unix sockets"),
];

const _: () = check();

/// The table is in the order of the guarantees, and each claim has an attack that is made at each start. The disk
/// is watched, so only tests can try it.
const fn check() {
    let mut at = 0;
    while at < PROMISES.len() {
        let promise = &PROMISES[at];
        assert!(promise.guarantee as usize == at, "promises have the order of the guarantees");
        assert!(!promise.claims.is_empty(), "each promise has a claim");
        let mut claims = promise.claims;
        while let [claim, rest @ ..] = claims {
            let tried = has_attack(claim.attacks, When::Start);
            let watched =
                matches!(promise.guarantee, Disk) && has_attack(claim.attacks, When::Tests);
            assert!(tried || watched, "each claim has an attack at the start");
            let by_tests = has_attack(claim.attacks, When::Tests);
            assert!(!by_tests || !claim.tests.is_empty(), "what tests alone try has a test");
            claims = rest;
        }
        at += 1;
    }
}

/// Whether one of the attacks is made then.
const fn has_attack(mut attacks: &[Attack], when: When) -> bool {
    while let [attack, rest @ ..] = attacks {
        if attack.when as u8 == when as u8 {
            return true;
        }
        attacks = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What the server judges from outside, so that the program prints no such line.
    const JUDGED_OUTSIDE: [&str; 3] = ["tree.survive", "limits.forks", "limits.memory"];

    /// The names in the program's own list.
    fn printed() -> BTreeSet<&'static str> {
        let source = include_str!("../../../../launcher/attack.rs");
        let (_, list) = source.split_once("const LIST").expect("the list");
        let (list, _) = list.split_once("];").expect("its end");
        // Every second piece between quotes is inside of them.
        list.split('"').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_program_makes_the_attacks_that_are_named_here_and_no_others() {
        let named = names(When::Doctor).filter(|name| !JUDGED_OUTSIDE.contains(name));
        assert_eq!(named.collect::<BTreeSet<_>>(), printed());
    }

    #[test]
    fn every_attack_has_a_name_of_its_own() {
        let all: Vec<&str> = names(When::Tests).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn every_guarantee_has_the_promise_in_its_place() {
        for guarantee in Guarantee::ALL {
            assert_eq!(Promise::of(guarantee).guarantee, guarantee);
        }
    }
}

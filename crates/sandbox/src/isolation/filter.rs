//! The filter of system calls: what no agent needs, and what gets around the rest of the sandbox.
//!
//! # How it works
//!
//! A small program of the kernel's packet filter language looks at the number of each call, and at its
//! numeric arguments where that matters. Everything is allowed but what is named here; what is named
//! fails with "operation not permitted", so that programs can go on without it.
//!
//! # Pitfalls
//!
//! Other numbers of the same calls must be closed as well: those of 32 bit programs, and x32's. `clone3`
//! hides its flags in memory, so it does not exist here and libraries take `clone`. `io_uring` performs
//! calls that no filter sees. `openat2` has its mode in memory, so it does not exist here either, and libraries
//! take `openat`. The mode of `open` means something only where it makes a file; elsewhere the register holds
//! whatever was left in it. TCP can be opened without `connect`: by sending with `MSG_FASTOPEN`; and
//! Landlock knows plain TCP alone, so other protocols of the same family are closed. It rules ports
//! and no addresses, and no filter sees an address; so where the kernel can tell the supervisor of each `connect`,
//! that one makes the connection (`launcher/connect.rs`). Landlock does not control attributes of files either, and an
//! access list is an attribute that opens a file to other users; so no attribute can be read or set where Landlock
//! alone stands between an agent and the machine's files. The error is that of a file system without attributes, which
//! programs know.

use libc::c_long;

/// Whose network the agent is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A network of its own, where nobody else is.
    Own,
    /// The host's: only TCP, which Landlock restricts further, and no sockets in the file system.
    Shared,
}

/// Who performs `connect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connecting {
    /// The kernel, for the process itself.
    Process,
    /// The supervisor, which is notified of each call.
    Supervisor,
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const FAIL: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;

/// Where in `struct seccomp_data` the number, the architecture and the low half of an argument stand.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(at: u32) -> u32 {
    16 + at * 8
}

#[cfg(target_arch = "x86_64")]
const THIS_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const THIS_ARCHITECTURE: u32 = 0xc000_00b7;

/// Numbers from here on are x32's names for the same calls.
const X32: u32 = 0x4000_0000;

/// Namespaces of all kinds in the flags of `clone` and `unshare`.
const NAMESPACES: u32 = 0x7e02_0080;
const MSG_FASTOPEN: u32 = 0x2000_0000;
const TCP_ULP: u32 = 31;
/// Length of `struct sockaddr_nl`.
const NETLINK_ADDRESS: u32 = 12;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const SOCK_TYPE: u32 = 0xf;
/// `FS_IOC_SETFLAGS` and `FS_IOC_FSSETXATTR`, which change the project that a file counts for in quotas.
const SET_FLAGS: u32 = 0x4008_6602;
const SET_PROJECT: u32 = 0x401c_5820;
/// Set-user-ID and set-group-ID in a mode: whoever starts such a file gets the identity of its owner.
const SET_ID: u32 = 0o6000;
/// With these flags `open` makes a file, and its mode counts.
const CREATES: u32 = constant(libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY);

/// `open_tree` that also changes the mounts, since Linux 6.15.
const OPEN_TREE_ATTR: c_long = 467;

/// Calls that take a mode, and which argument it is.
const WITH_MODE: &[(c_long, u32)] = &[
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (libc::SYS_fchmodat2, 2),
    (libc::SYS_mkdirat, 2),
    (libc::SYS_mknodat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
];

/// Calls that take a mode where their flags say that they make a file, and which argument the flags are; the
/// mode is the next one.
const OPENING: &[(c_long, u32)] = &[
    (libc::SYS_openat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1),
];

/// Calls that fail whatever their arguments are.
const DENIED: &[c_long] = &[
    // Other people's keys, tracing of the kernel, what the kernel could be made to do.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    // Another root, other namespaces, files by handle.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    OPEN_TREE_ATTR,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    // Other processes' memory and descriptors, for debuggers that nobody runs here.
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Calls that no filter sees.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// What processes of one user share without a file.
const SHARED_MEMORY: &[c_long] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Attributes of files: access lists, what users attach to files, flags and projects. The last ones have these numbers
/// on every architecture, since Linux 6.13 (`setxattrat`, `getxattrat`, `listxattrat`, `removexattrat`) and 6.17
/// (`file_getattr`, `file_setattr`).
const ATTRIBUTES: &[c_long] = &[
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    463,
    464,
    465,
    466,
    468,
    FILE_SETATTR,
];

/// Sets the flags and the project of a file, since Linux 6.17.
const FILE_SETATTR: c_long = 469;

/// Calls whose first argument says whether the second one is a process, a group, or a user with all of its
/// processes; and what says that it is a process.
const OF_KINDS: &[(c_long, u32)] = &[(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)];

/// Calls that change another process of the same user, and which argument names it.
const OF_OTHERS: &[(c_long, u32)] = &[
    (libc::SYS_prlimit64, 0),
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setattr, 0),
];

/// The instructions so far.
#[derive(Default)]
struct Program(Vec<[u8; 8]>);

impl Program {
    fn push(&mut self, code: u16, yes: u8, no: u8, value: u32) {
        let [a, b] = code.to_ne_bytes();
        let [c, d, e, f] = value.to_ne_bytes();
        self.0.push([a, b, yes, no, c, d, e, f]);
    }

    fn fail(&mut self, error: i32) {
        self.push(RETURN, 0, 0, FAIL | error.unsigned_abs());
    }

    /// These instructions are for one call alone; afterwards the number is there again.
    fn call(&mut self, number: c_long, body: impl FnOnce(&mut Self)) {
        let mut inside = Self::default();
        body(&mut inside);
        inside.push(LOAD, 0, 0, NUMBER);
        let over = u8::try_from(inside.0.len()).expect("the rules of one call are few");
        let number = u32::try_from(number).expect("numbers of calls are small");
        self.push(EQUAL, 0, over, number);
        self.0.append(&mut inside.0);
    }

    /// Fails when the argument, masked, has this value.
    fn fail_if(&mut self, at: u32, mask: u32, value: u32) {
        self.push(LOAD, 0, 0, argument(at));
        self.push(AND, 0, 0, mask);
        self.push(EQUAL, 0, 1, value);
        self.fail(libc::EPERM);
    }

    /// Fails when any of these bits is set in the argument.
    fn fail_if_any(&mut self, at: u32, bits: u32) {
        self.push(LOAD, 0, 0, argument(at));
        self.push(ANY_BIT, 0, 1, bits);
        self.fail(libc::EPERM);
    }

    /// Fails unless the argument, masked, is one of these.
    fn fail_unless(&mut self, at: u32, mask: u32, values: &[u32]) {
        self.push(LOAD, 0, 0, argument(at));
        self.push(AND, 0, 0, mask);
        for (place, value) in values.iter().enumerate() {
            let over = u8::try_from(values.len() - place).expect("few values");
            self.push(EQUAL, over, 0, *value);
        }
        self.fail(libc::EPERM);
    }
}

const fn constant(value: i32) -> u32 {
    value.unsigned_abs()
}

/// The filter, as instructions of eight bytes.
pub(super) fn filter(network: Network, connecting: Connecting) -> Vec<u8> {
    let mut program = Program::default();
    program.push(LOAD, 0, 0, ARCHITECTURE);
    program.push(EQUAL, 1, 0, THIS_ARCHITECTURE);
    program.push(RETURN, 0, 0, KILL);
    program.push(LOAD, 0, 0, NUMBER);
    if cfg!(target_arch = "x86_64") {
        program.push(AT_LEAST, 0, 1, X32);
        program.fail(libc::ENOSYS);
    }
    modes(&mut program);
    program.call(libc::SYS_clone3, |call| call.fail(libc::ENOSYS));
    program.call(libc::SYS_clone, |call| call.fail_if_any(0, NAMESPACES));
    program.call(libc::SYS_unshare, |call| call.fail_if_any(0, NAMESPACES));
    program.call(libc::SYS_ioctl, |call| {
        // Typing on somebody's terminal.
        call.fail_if(1, u32::MAX, TIOCSTI);
        call.fail_if(1, u32::MAX, TIOCLINUX);
        // Counting its files for another project.
        call.fail_if(1, u32::MAX, SET_FLAGS);
        call.fail_if(1, u32::MAX, SET_PROJECT);
    });
    for (number, process) in OF_KINDS {
        program.call(*number, |call| call.fail_unless(0, u32::MAX, &[*process]));
    }
    sockets(&mut program, network);
    if connecting == Connecting::Supervisor {
        program.call(libc::SYS_connect, |call| call.push(RETURN, 0, 0, NOTIFY));
    }
    for number in DENIED {
        program.call(*number, |call| call.fail(libc::EPERM));
    }
    program.push(RETURN, 0, 0, ALLOW);
    program.0.concat()
}

/// No file that gives the identity of its owner away. These stand first because files are opened often.
fn modes(program: &mut Program) {
    for (number, flags) in OPENING {
        program.call(*number, |call| {
            call.push(LOAD, 0, 0, argument(*flags));
            call.push(ANY_BIT, 0, 3, CREATES);
            call.fail_if_any(flags + 1, SET_ID);
        });
    }
    for (number, mode) in WITH_MODE {
        program.call(*number, |call| call.fail_if_any(*mode, SET_ID));
    }
    program.call(libc::SYS_openat2, |call| call.fail(libc::ENOSYS));
}

fn sockets(program: &mut Program, network: Network) {
    let [inet, inet6, unix, netlink] =
        [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK].map(constant);
    let stream = constant(libc::SOCK_STREAM);
    let tcp = constant(libc::IPPROTO_TCP);
    match network {
        Network::Own => {
            // Families with ways out of any namespace, like those to the host of a virtual machine, are not here.
            program.call(libc::SYS_socket, |call| {
                call.fail_unless(0, u32::MAX, &[unix, inet, inet6, netlink]);
            });
            program.call(FILE_SETATTR, |call| call.fail(libc::EOPNOTSUPP));
        }
        Network::Shared => {
            program.call(libc::SYS_socket, |call| {
                call.fail_unless(0, u32::MAX, &[inet, inet6, netlink]);
                // Netlink tells addresses and routes, which libraries ask for; nothing else of it, and of the
                // others TCP alone.
                call.push(LOAD, 0, 0, argument(0));
                call.push(EQUAL, 0, 4, netlink);
                call.push(LOAD, 0, 0, argument(2));
                call.push(EQUAL, 1, 0, constant(libc::NETLINK_ROUTE));
                call.fail(libc::EPERM);
                call.push(RETURN, 0, 0, ALLOW);
                call.fail_unless(1, SOCK_TYPE, &[stream]);
                call.fail_unless(2, u32::MAX, &[0, tcp]);
            });
            program.call(libc::SYS_socketpair, |call| {
                // A pair of datagram sockets can still send to a path.
                call.fail_unless(1, SOCK_TYPE, &[stream]);
            });
            // An end of a pair of sockets could take a name that programs of the machine use. Landlock lets nobody bind
            // TCP, so all that is left to bind is netlink. The kind of the address is in memory, its length is not; so
            // names of unix sockets of the same length still pass.
            program.call(libc::SYS_bind, |call| {
                call.fail_unless(2, u32::MAX, &[NETLINK_ADDRESS]);
            });
            // Without `bind` it takes a port by itself, on all addresses.
            program.call(libc::SYS_listen, |call| call.fail(libc::EPERM));
            // Memory, queues and semaphores that all processes of a user share, whatever their sandbox.
            for number in SHARED_MEMORY {
                program.call(*number, |call| call.fail(libc::EPERM));
            }
            for number in ATTRIBUTES {
                program.call(*number, |call| call.fail(libc::EOPNOTSUPP));
            }
            // Limits, priority and cores of others; 0 is oneself.
            for (number, who) in OF_OTHERS {
                program.call(*number, |call| {
                    call.push(LOAD, 0, 0, argument(*who));
                    call.push(EQUAL, 1, 0, 0);
                    call.fail(libc::EPERM);
                });
            }
            program.call(libc::SYS_sendto, |call| call.fail_if_any(3, MSG_FASTOPEN));
            program.call(libc::SYS_sendmsg, |call| call.fail_if_any(2, MSG_FASTOPEN));
            program.call(libc::SYS_sendmmsg, |call| call.fail_if_any(3, MSG_FASTOPEN));
            program.call(libc::SYS_setsockopt, |call| {
                // Another protocol over the same socket.
                call.push(LOAD, 0, 0, argument(1));
                call.push(EQUAL, 0, 4, tcp);
                call.fail_if(2, u32::MAX, TCP_ULP);
            });
        }
    }
}

#[cfg(test)]
mod tests;

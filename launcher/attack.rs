//! The program that tries to break out of a session.
//!
//! The server starts it inside of a throw-away session and reads what it prints; a guarantee counts only
//! if its attacks failed. `crates/sandbox/src/isolation/promises.rs` says which attack belongs to which guarantee, and which
//! are made at a start.
//!
//! # How it works
//!
//! `attack list KEY=VALUE ...` makes the attacks of [`LIST`] in that order, all of them or those that
//! `only=A,B,...` names, each in a process of its own, so that neither a filter that kills nor a change of the own state spoils the next one. It prints a line each:
//!
//! * `NAME stopped WHY`: WHY is the errno's name, the name of a signal (`SIGSYS`), `DIFFERENT` (there is
//!   something, but not what was looked for), `TIMEOUT` (no answer in 200 ms), or `OWNNET` (it worked, in a
//!   network of the session's own);
//! * `NAME succeeded`;
//! * `NAME skipped WHY`: `argument` (its aim was not given), `terminal` (there is none), `architecture`; or
//!   it could not be tried and nothing is known: `folder` (the working folder is not writable), `fork`,
//!   `hung`, `crashed`.
//!
//! The last line is `end`. Without it the list is not whole.
//!
//! # Aims
//!
//! Each is an argument, or comes over standard input where the argument `aims=input` says so; there a NUL ends each,
//! and the attacks begin when standard input ends. Where it cannot be read, is longer than 32 KiB, has no aim or ends
//! within one, the only line is `aims WHY`.
//!
//! `marker=TEXT` is looked for wherever something is read. `names=A,B` are the variables that were given. `victim=PID address=HEX` is `attack victim` run
//! outside (`memory.rs`), `peer_pid=PID` a process of another session that has the marker as an argument.
//! `peer_file`, `outside_file`, `tmp` are files and `ssh` is a folder with a file `id`, all with the marker
//! in them. `peer_dir` and `outside_dir` are folders with these files: `unlink` (will be gone), `rename`,
//! and in the latter also `truncate` and `mode`. `peer_file` has the marker in its attribute `user.marker` too. `own_dir` is a folder that the session may change, with files that
//! stand for the server's own: `secret`, and `folder/config`. `host_file` is any file of the host; with `host_text` it
//! must hold that text to count. `tcp`, `tcp6`, `udp`, `udp6` are ports of loopback, `abstract` the name of a
//! listening socket, `socket` (stream) and `dgram` paths of sockets. `same` and `same6` are ports at 127.0.0.2 and
//! ::1 with the number of the proxy's port.
//!
//! `parent=PID` is the process above the session, where that is not the one that started this program.
//!
//! `proxy=PORT` is where a session may connect. Whether it can is told in the first line, which is about no attack:
//! `proxy reached`, or `proxy WHY`.
//!
//! # What it never does
//!
//! Where there is no wall all of this works, so all of it is harmless: it reads no more than it needs to find
//! the marker, writes to its own working folder and the folders that were given, undoes what it did, sends to
//! the ports and sockets that were given, and a signal to the victim alone, as the last thing.

use crate::sys::{
    Arguments, BLOCK, SIGCHLD, SIGKILL, TimeSpec, WNOHANG, block_signals, exit, fork, wait,
};

mod aim;
mod files;
mod kernel;
mod memory;
mod modes;
mod namespaces;
mod network;
mod processes;
mod tree;

use aim::{Aim, Text, same};

/// The name of an attack, and what makes it.
type Attack = (&'static str, fn(&Aim<'_>) -> Outcome);

/// Everything that is tried, in this order; the victim's end comes last.
const LIST: &[Attack] = &[
    ("env.own", memory::own_environment),
    ("env.victim", memory::environment_of_victim),
    ("env.others", processes::environments),
    ("memory.proc", memory::file_of_memory),
    ("memory.vm_readv", memory::read_of_memory),
    ("memory.ptrace", memory::trace),
    ("memory.pidfd", memory::descriptor),
    ("memory.root", memory::root),
    ("memory.cwd", memory::working_folder),
    ("memory.fd", memory::descriptor_link),
    ("memory.maps", memory::maps),
    ("memory.inherited", memory::inherited),
    ("memory.supervisor", memory::supervisor),
    ("memory.program", memory::running_program),
    ("peers.read", files::read_peer),
    ("peers.list", files::list_peer),
    ("peers.write", files::write_peer),
    ("peers.rename", files::rename_peer),
    ("peers.unlink", files::unlink_peer),
    ("peers.attributes", modes::attributes_of_peer),
    ("peers.watch", files::watch_peer),
    ("peers.environ", processes::peer_environment),
    ("peers.cwd", processes::peer_working_folder),
    ("peers.ptrace", processes::peer_trace),
    ("peers.signal", processes::peer_signal),
    ("peers.priority", processes::priority_of_user),
    ("peers.io_priority", processes::io_priority_of_user),
    ("peers.shm", memory::shared_memory),
    ("peers.keyring", memory::shared_keyring),
    ("processes.list", processes::list),
    ("processes.cmdline", processes::command_line),
    ("processes.times", processes::peer_times),
    ("processes.prlimit", processes::limits),
    ("processes.priority", processes::priority),
    ("processes.affinity", processes::affinity),
    ("files.read", files::read),
    ("files.up", files::read_upwards),
    ("files.proc_root", files::read_through_proc),
    ("files.inherited", files::read_through_inherited),
    ("files.reopen", files::read_reopened),
    ("files.ssh", files::read_ssh),
    ("files.host", files::read_host),
    ("files.shadow", files::read_shadow),
    ("files.tmp", files::read_tmp),
    ("files.stat", files::stat),
    ("files.list", files::list),
    ("files.write", files::write),
    ("files.append", files::append),
    ("files.truncate", files::truncate),
    ("files.rename", files::rename),
    ("files.unlink", files::unlink),
    ("files.move", files::move_there),
    ("files.mkdir", files::make_folder),
    ("files.fifo", files::make_fifo),
    ("files.plant", files::make_symlink),
    ("files.bind", files::make_socket),
    ("files.metadata", files::metadata),
    ("files.attributes", modes::attributes),
    ("files.link", files::hard_link),
    ("files.symlink", files::symlink),
    ("files.mknod", files::device),
    ("files.setid", modes::set_id),
    ("files.devices", modes::shared_modes),
    ("files.dev", files::memory_of_devices),
    ("files.usr", files::program),
    ("files.handle", files::handle),
    ("files.disk", files::disk),
    ("own.read", files::read_own),
    ("own.write", files::write_own),
    ("own.replace", files::replace_own),
    ("own.folder", files::move_own_folder),
    ("tcp.loopback", network::tcp),
    ("tcp.v6", network::tcp6),
    ("tcp.proxy_port", network::proxy_port),
    ("tcp.proxy_port_v6", network::proxy_port6),
    ("tcp.proxy_port_mapped", network::proxy_port_mapped),
    ("tcp.swapped", network::swapped),
    ("tcp.fastopen", network::fast_open),
    ("tcp.sendmsg_fastopen", network::fast_open_message),
    ("tcp.mptcp", network::multipath),
    ("tcp.uring", network::ring),
    ("tcp.bind", network::bind),
    ("tcp.listen", network::listen),
    ("udp.loopback", network::udp),
    ("udp.connected", network::udp_connected),
    ("udp.v6", network::udp6),
    ("raw.socket", network::raw),
    ("packet.socket", network::packet),
    ("vsock.socket", network::vsock),
    ("icmp.socket", network::icmp),
    ("sctp.socket", network::sctp),
    ("smc.ulp", network::smc),
    ("unix.abstract", network::unix_abstract),
    ("unix.path", network::unix_path),
    ("unix.dgram", network::unix_datagram),
    ("unix.socketpair_dgram", network::unix_pair),
    ("unix.list", network::unix_list),
    ("namespaces.user", namespaces::user),
    ("namespaces.clone", namespaces::clone),
    ("namespaces.clone3", namespaces::clone3),
    ("namespaces.mount", namespaces::mount),
    ("namespaces.setns", namespaces::enter_victim),
    ("mount.bind", namespaces::bind),
    ("mount.tmpfs", namespaces::tmpfs),
    ("mount.fsopen", namespaces::open_filesystem),
    ("mount.open_tree", namespaces::open_tree),
    ("chroot.escape", namespaces::chroot),
    ("privileges.setuid", kernel::user),
    ("privileges.suid", kernel::new_privileges),
    ("privileges.capabilities", kernel::capabilities),
    ("kernel.bpf", kernel::bpf),
    ("kernel.perf", kernel::perf),
    ("kernel.userfaultfd", kernel::page_faults),
    ("kernel.keyctl", kernel::keys),
    ("kernel.module", kernel::module),
    ("kernel.kexec", kernel::kexec),
    ("kernel.reboot", kernel::reboot),
    ("kernel.log", kernel::log),
    ("kernel.sysctl", kernel::setting),
    ("kernel.helpers", kernel::helpers),
    ("kernel.sysrq", kernel::sysrq),
    ("kernel.cgroup", kernel::control_group),
    ("kernel.ports", kernel::ports),
    ("kernel.accounting", kernel::accounting),
    ("kernel.host_name", kernel::host_name),
    ("kernel.arch", kernel::other_architecture),
    ("kernel.x32", kernel::x32),
    ("terminal.tiocsti", kernel::terminal),
    ("processes.tgkill", processes::signal_thread),
    ("processes.sigqueue", processes::signal_queue),
    ("processes.pidfd", processes::signal_descriptor),
    ("processes.signal", processes::signal),
];

/// The longest that one attack may take before it is ended.
const PATIENCE: i64 = 2;

/// Which attack this is.
pub(crate) fn attack(arguments: &Arguments) -> ! {
    match arguments.get(2) {
        Some(b"list") => match Aim::new(arguments) {
            Ok(aim) => list(&aim),
            Err(stop) => {
                let mut line = Text::new();
                line.push(b"aims ");
                word(&mut line, stop);
                line.say();
                exit(66)
            }
        },
        Some(b"victim") => memory::victim(
            arguments.text(3).unwrap_or_default(),
            arguments.get(4).is_some_and(|word| same(word, b"dumpable")),
        ),
        Some(b"survive") => tree::survive(),
        Some(b"forks") => tree::forks(arguments.number(3)),
        Some(b"memory") => tree::memory(arguments.number(3)),
        Some(b"disk") => tree::disk(
            arguments.number(3),
            arguments.text(4).unwrap_or_default(),
            arguments.number(5),
        ),
        _ => exit(64),
    }
}

/// How an attack ended where it did not succeed.
type Outcome = Result<(), Stop>;

/// Why an attack did not succeed: an errno, a signal above [`Stop::SIGNALS`], or one of the words.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stop(u8);

impl Stop {
    const EPERM: Self = Self(1);
    const ENOENT: Self = Self(2);
    const ESRCH: Self = Self(3);
    const EBADF: Self = Self(9);
    const EFBIG: Self = Self(27);
    /// A signal's number is added to this.
    const SIGNALS: u8 = 140;
    const DIFFERENT: Self = Self(220);
    const TIMEOUT: Self = Self(221);
    const OWN_NETWORK: Self = Self(222);
    /// From here on the attack was not tried, or not to its end.
    const ARGUMENT: Self = Self(240);
    const TERMINAL: Self = Self(241);
    #[cfg(not(target_arch = "x86_64"))]
    const ARCHITECTURE: Self = Self(242);
    const FOLDER: Self = Self(243);
    const FORK: Self = Self(244);
    const HUNG: Self = Self(245);
    const CRASHED: Self = Self(246);

    /// The errno that a system call returned.
    const fn errno(result: isize) -> Self {
        Self((-result) as u8)
    }
}

/// What a system call returned, or why not.
fn done(result: isize) -> Result<usize, Stop> {
    if result < 0 { Err(Stop::errno(result)) } else { Ok(result as usize) }
}

/// For attacks that cannot go through in earnest: this one error is the proof that they were allowed to.
fn reached(result: isize, proof: isize) -> Outcome {
    if result == proof { Ok(()) } else { done(result).map(|_| ()) }
}

/// Everything in turn.
fn list(aim: &Aim<'_>) -> ! {
    // Shared with the processes that try; one byte says how it ended.
    // SAFETY: the kernel chooses the place, so no memory in use is replaced.
    let page = unsafe { sys!(MMAP, 0, 4096, 3, 0x21, -1isize) };
    block_signals(BLOCK, 1u64 << (SIGCHLD - 1));
    if page <= 0 {
        exit(71);
    }
    if let Ok(port) = aim.port(b"proxy") {
        let mut line = Text::new();
        line.push(b"proxy ");
        match network::proxy(port) {
            Ok(()) => line.push(b"reached"),
            Err(stop) => word(&mut line, stop),
        }
        line.say();
    }
    let only = aim.text(b"only").ok();
    for (name, run) in LIST {
        let is_named = |names: &[u8]| {
            let mut names = names.split(|byte| *byte == b',');
            names.any(|one| same(one, name.as_bytes()))
        };
        if only.is_some_and(|names| !is_named(names)) {
            continue;
        }
        let stop = try_one(aim, *run, page as *mut u8);
        let mut line = Text::new();
        line.push(name.as_bytes());
        match stop {
            Ok(()) => line.push(b" succeeded"),
            // Where the kernel has no such entry, the processor itself ends the process.
            Err(Stop::CRASHED) if same(name.as_bytes(), b"kernel.arch") => {
                line.push(b" stopped SIGSEGV");
            }
            Err(stop) => {
                let skipped = stop.0 >= Stop::ARGUMENT.0;
                line.push(if skipped { b" skipped " } else { b" stopped " });
                word(&mut line, stop);
            }
        }
        line.say();
    }
    let mut line = Text::new();
    line.push(b"end");
    line.say();
    exit(0)
}

/// One attack in a process of its own.
fn try_one(aim: &Aim<'_>, run: fn(&Aim<'_>) -> Outcome, ending: *mut u8) -> Outcome {
    const SUCCEEDED: u8 = 255;
    // SAFETY: the page is ours and mapped for good; no other process that tries is alive.
    unsafe { ending.write_volatile(0) };
    let pid = fork();
    if pid == 0 {
        let byte = match run(aim) {
            Ok(()) => SUCCEEDED,
            Err(stop) => stop.0,
        };
        // SAFETY: as above.
        unsafe { ending.write_volatile(byte) };
        exit(0)
    }
    if pid < 0 {
        return Err(Stop::FORK);
    }
    let Some(status) = end_of(pid) else {
        return Err(Stop::HUNG);
    };
    // SAFETY: as above.
    match (unsafe { ending.read_volatile() }, status & 0x7f) {
        (SUCCEEDED, _) => Ok(()),
        // A filter kills with SIGSYS.
        (0, 31) => Err(Stop(Stop::SIGNALS + 31)),
        (0, _) => Err(Stop::CRASHED),
        (byte, _) => Err(Stop(byte)),
    }
}

/// Waits for a child with patience; then ends it. Its wait status, if it ended by itself.
fn end_of(pid: isize) -> Option<i32> {
    let children = 1u64 << (SIGCHLD - 1);
    let patience = TimeSpec { seconds: PATIENCE, nanoseconds: 0 };
    let mut status = 0i32;
    loop {
        let ended = wait(pid, Some(&mut status), WNOHANG);
        if ended == pid {
            return Some(status);
        }
        const EAGAIN: isize = -11;
        let (set, time) = (&raw const children, &raw const patience);
        // SAFETY: the set is a number of 64 bits, as its length says; set and time are on this stack.
        let heard = unsafe { sys!(RT_SIGTIMEDWAIT, set, 0, time, 8) };
        if ended < 0 || heard == EAGAIN {
            sys!(KILL, pid, SIGKILL);
            wait(pid, Some(&mut status), 0);
            return None;
        }
    }
}

/// The word for why: what `errno.h` calls it, or the bare number of a rare one.
fn word(line: &mut Text, stop: Stop) {
    let word: &[u8] = match stop {
        Stop::DIFFERENT => b"DIFFERENT",
        Stop::TIMEOUT => b"TIMEOUT",
        Stop::OWN_NETWORK => b"OWNNET",
        Stop::ARGUMENT => b"argument",
        Stop::TERMINAL => b"terminal",
        #[cfg(not(target_arch = "x86_64"))]
        Stop::ARCHITECTURE => b"architecture",
        Stop::FOLDER => b"folder",
        Stop::FORK => b"fork",
        Stop::HUNG => b"hung",
        Stop::CRASHED => b"crashed",
        Stop(number) => match number {
            1 => b"EPERM",
            2 => b"ENOENT",
            3 => b"ESRCH",
            4 => b"EINTR",
            5 => b"EIO",
            6 => b"ENXIO",
            8 => b"ENOEXEC",
            9 => b"EBADF",
            11 => b"EAGAIN",
            12 => b"ENOMEM",
            13 => b"EACCES",
            14 => b"EFAULT",
            16 => b"EBUSY",
            17 => b"EEXIST",
            18 => b"EXDEV",
            19 => b"ENODEV",
            20 => b"ENOTDIR",
            21 => b"EISDIR",
            22 => b"EINVAL",
            23 => b"ENFILE",
            24 => b"EMFILE",
            25 => b"ENOTTY",
            26 => b"ETXTBSY",
            27 => b"EFBIG",
            28 => b"ENOSPC",
            30 => b"EROFS",
            32 => b"EPIPE",
            36 => b"ENAMETOOLONG",
            38 => b"ENOSYS",
            39 => b"ENOTEMPTY",
            40 => b"ELOOP",
            75 => b"EOVERFLOW",
            88 => b"ENOTSOCK",
            90 => b"EMSGSIZE",
            91 => b"EPROTOTYPE",
            92 => b"ENOPROTOOPT",
            93 => b"EPROTONOSUPPORT",
            94 => b"ESOCKTNOSUPPORT",
            95 => b"EOPNOTSUPP",
            97 => b"EAFNOSUPPORT",
            98 => b"EADDRINUSE",
            99 => b"EADDRNOTAVAIL",
            100 => b"ENETDOWN",
            101 => b"ENETUNREACH",
            104 => b"ECONNRESET",
            107 => b"ENOTCONN",
            110 => b"ETIMEDOUT",
            111 => b"ECONNREFUSED",
            112 => b"EHOSTDOWN",
            113 => b"EHOSTUNREACH",
            115 => b"EINPROGRESS",
            116 => b"ESTALE",
            122 => b"EDQUOT",
            126 => b"ENOKEY",
            131 => b"ENOTRECOVERABLE",
            171 => b"SIGSYS",
            number => return line.number(usize::from(number)),
        },
    };
    line.push(word);
}

//! Privileges, and parts of the kernel that an agent has no use for.

use super::aim::{Aim, O_RDONLY, O_WRONLY, Text, close, open, opens, read};
use super::{Outcome, Stop, done, reached};
use crate::sys::{AT_FDCWD, EINVAL, call, number};
use core::ptr::null;

const EFAULT: isize = -14;

/// Becomes root; or, being root, another user.
pub(super) fn user(_: &Aim<'_>) -> Outcome {
    const NOBODY: usize = 65534;
    let user = if sys!(GETEUID) == 0 { NOBODY } else { 0 };
    let groups = [user as u32];
    // SAFETY: the kernel reads one number of a group.
    let set_groups = || unsafe { sys!(SETGROUPS, 1, groups.as_ptr()) };
    done(sys!(SETRESUID, user, user, user))
        .or_else(|stop| done(set_groups()).or(Err(stop)))
        .map(|_| ())
}

/// Whether programs with the set-user-id bit would still give privileges.
pub(super) fn new_privileges(_: &Aim<'_>) -> Outcome {
    const GET_NO_NEW_PRIVS: usize = 39;
    // SAFETY: with this option the call takes no address.
    match done(unsafe { sys!(PRCTL, GET_NO_NEW_PRIVS) })? {
        0 => Ok(()),
        _ => Err(Stop::EPERM),
    }
}

/// Whether we have any capability.
pub(super) fn capabilities(_: &Aim<'_>) -> Outcome {
    const VERSION_3: u64 = 0x2008_0522;
    let (header, mut sets) = (VERSION_3, [0u32; 6]);
    // SAFETY: the kernel reads a header of eight bytes, and for this version writes six numbers of 32 bits.
    done(unsafe { sys!(CAPGET, &raw const header, sets.as_mut_ptr()) })?;
    // Effective, permitted and inheritable, twice; what can only be inherited gives nothing.
    let [effective, permitted, _, effective_high, permitted_high, _] = sets;
    match effective | permitted | effective_high | permitted_high {
        0 => Err(Stop::EPERM),
        _ => Ok(()),
    }
}

/// Makes a map for programs in the kernel.
pub(super) fn bpf(_: &Aim<'_>) -> Outcome {
    const MAP_CREATE: usize = 0;
    const ARRAY: u32 = 2;
    let order = [ARRAY, 4, 4, 1, 0];
    // SAFETY: the kernel reads as many bytes as the order has.
    done(unsafe { sys!(BPF, MAP_CREATE, order.as_ptr(), size_of_val(&order)) }).map(close)
}

/// Counts events of our own process.
pub(super) fn perf(_: &Aim<'_>) -> Outcome {
    const SOFTWARE: u64 = 1;
    const SIZE: u64 = 64;
    /// Not running yet, and neither kernel nor hypervisor are counted.
    const HARMLESS: u64 = 1 | 1 << 5 | 1 << 6;
    let order = [SOFTWARE | SIZE << 32, 0, 0, 0, 0, HARMLESS, 0, 0];
    // SAFETY: the kernel reads as many bytes as the order itself says, which it has.
    done(unsafe { sys!(PERF_EVENT_OPEN, order.as_ptr(), 0, -1isize, -1isize, 0) }).map(close)
}

/// Would make the kernel wait for us in the middle of its work.
pub(super) fn page_faults(_: &Aim<'_>) -> Outcome {
    done(sys!(USERFAULTFD, 0)).map(close)
}

/// Stores a key in a keyring that is ours alone.
pub(super) fn keys(_: &Aim<'_>) -> Outcome {
    const JOIN: usize = 1;
    const SESSION_KEYRING: isize = -3;
    // SAFETY: the new keyring has no name.
    done(unsafe { sys!(KEYCTL, JOIN, null::<u8>()) })?;
    let (kind, name) = (c"user".as_ptr(), c"attack".as_ptr());
    // SAFETY: kind and name end with a NUL, and the key is one byte.
    done(unsafe { sys!(ADD_KEY, kind, name, b"x".as_ptr(), 1, SESSION_KEYRING) }).map(|_| ())
}

/// Offers a kernel module that is none.
pub(super) fn module(_: &Aim<'_>) -> Outcome {
    const ENOEXEC: isize = -8;
    let garbage = [0u8; 16];
    // SAFETY: the kernel reads as many bytes as the garbage has; the arguments end with a NUL.
    let offered = unsafe { sys!(INIT_MODULE, garbage.as_ptr(), garbage.len(), c"".as_ptr()) };
    reached(offered, ENOEXEC)
}

/// Asks for another kernel with flags that there are not.
pub(super) fn kexec(_: &Aim<'_>) -> Outcome {
    const NO_SUCH_FLAGS: usize = 0xdead;
    const TOO_MANY: usize = 1 << 20;
    // SAFETY: the kernel refuses the flags before it reads any segment.
    reached(unsafe { sys!(KEXEC_LOAD, 0, TOO_MANY, 0, NO_SUCH_FLAGS) }, EINVAL)
}

/// Asks for a restart without the magic numbers that it takes.
pub(super) fn reboot(_: &Aim<'_>) -> Outcome {
    // SAFETY: the kernel refuses a call without the magic numbers before it reads anything.
    reached(unsafe { sys!(REBOOT, 0, 0, 0, 0) }, EINVAL)
}

/// Reads one byte of the kernel's log.
pub(super) fn log(_: &Aim<'_>) -> Outcome {
    const READ_ALL: usize = 3;
    let mut byte = 0u8;
    // SAFETY: the kernel writes at most one byte.
    done(unsafe { sys!(SYSLOG, READ_ALL, &raw mut byte, 1) }).map(|_| ())
}

/// Opens a setting of the kernel that names a program which the kernel runs as root; writes nothing.
pub(super) fn setting(_: &Aim<'_>) -> Outcome {
    opens(c"/proc/sys/kernel/core_pattern", O_WRONLY)
}

/// Opens the other settings that name programs which the kernel runs as root; writes nothing.
pub(super) fn helpers(_: &Aim<'_>) -> Outcome {
    let mut last = Err(Stop::ENOENT);
    for path in [
        c"/proc/sys/kernel/modprobe",
        c"/proc/sys/kernel/hotplug",
        c"/proc/sys/kernel/poweroff_cmd",
        c"/proc/sys/fs/binfmt_misc/register",
        c"/sys/kernel/uevent_helper",
        c"/sys/fs/cgroup/release_agent",
        c"/sys/fs/cgroup/memory/release_agent",
        c"/sys/fs/cgroup/pids/release_agent",
        c"/sys/fs/cgroup/rdma/release_agent",
    ] {
        match opens(path, O_WRONLY) {
            Ok(()) => return Ok(()),
            Err(Stop::ENOENT) => {}
            Err(other) => last = Err(other),
        }
    }
    last
}

/// Asks for the ports of devices.
#[cfg(target_arch = "x86_64")]
pub(super) fn ports(_: &Aim<'_>) -> Outcome {
    done(sys!(IOPL, 3)).map(|_| ())
}

/// There are some on x86 alone.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn ports(_: &Aim<'_>) -> Outcome {
    Err(Stop::ARCHITECTURE)
}

/// Has the kernel write a line for each process to a file without a name.
pub(super) fn accounting(_: &Aim<'_>) -> Outcome {
    const ENOENT: isize = -2;
    // SAFETY: the path ends with a NUL.
    reached(unsafe { sys!(ACCT, c"".as_ptr()) }, ENOENT)
}

/// Gives the machine a name that is too long.
pub(super) fn host_name(_: &Aim<'_>) -> Outcome {
    const TOO_LONG: usize = 65;
    // SAFETY: the kernel refuses the length before it reads the name.
    reached(unsafe { sys!(SETHOSTNAME, c"".as_ptr(), TOO_LONG) }, EINVAL)
}

/// Opens the file that ends machines; writes nothing.
pub(super) fn sysrq(_: &Aim<'_>) -> Outcome {
    opens(c"/proc/sysrq-trigger", O_WRONLY)
}

/// Opens the door of a control group, our own or the root of them; goes through none.
pub(super) fn control_group(_: &Aim<'_>) -> Outcome {
    let mut stop = Stop::ENOENT;
    for root in [
        c"/sys/fs/cgroup",
        c"/sys/fs/cgroup/unified",
        c"/sys/fs/cgroup/pids",
        c"/sys/fs/cgroup/memory",
    ] {
        let mut path = Text::new();
        path.push(root.to_bytes());
        path.push(b"/cgroup.procs");
        match opens(path.as_c_str(), O_WRONLY) {
            Ok(()) => return Ok(()),
            Err(Stop::ENOENT) => {}
            Err(other) => stop = other,
        }
    }
    own_control_group().or(Err(stop))
}

/// The door of the control group that `/proc/self/cgroup` names, under version 2.
fn own_control_group() -> Outcome {
    let file = open(AT_FDCWD, c"/proc/self/cgroup", O_RDONLY)?;
    let mut buffer = [0u8; 4096];
    let text = read(file, &mut buffer)?;
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"));
    let mut path = Text::new();
    path.push(b"/sys/fs/cgroup");
    path.push(line.ok_or(Stop::ENOENT)?);
    path.push(b"/cgroup.procs");
    opens(path.as_c_str(), O_WRONLY)
}

/// Enters the kernel as a program of 32 bits, whose numbers a filter may not know.
#[cfg(target_arch = "x86_64")]
pub(super) fn other_architecture(_: &Aim<'_>) -> Outcome {
    const GETPID_32: isize = 20;
    let result: isize;
    // SAFETY: the call has no arguments; older kernels clear the registers that are named.
    unsafe {
        core::arch::asm!("int 0x80", inlateout("rax") GETPID_32 => result, lateout("r8") _,
            lateout("r9") _, lateout("r10") _, lateout("r11") _, lateout("rcx") _);
    }
    is_own(result as i32 as isize)
}

/// Enters the kernel with the numbers of x32.
#[cfg(target_arch = "x86_64")]
pub(super) fn x32(_: &Aim<'_>) -> Outcome {
    const X32: usize = 0x4000_0000;
    // SAFETY: the call takes no address, by whatever number.
    is_own(unsafe { call(number::GETPID.0 | X32, 0, 0, 0, 0, 0, 0) })
}

#[cfg(target_arch = "x86_64")]
fn is_own(pid: isize) -> Outcome {
    match done(pid)? as isize {
        pid if pid == sys!(GETPID) => Ok(()),
        _ => Err(Stop::DIFFERENT),
    }
}

/// There is one on x86 alone.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn other_architecture(_: &Aim<'_>) -> Outcome {
    Err(Stop::ARCHITECTURE)
}

/// There is one on x86 alone.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn x32(_: &Aim<'_>) -> Outcome {
    Err(Stop::ARCHITECTURE)
}

/// Types into the terminal from which the server was started. The letter is at no address, so that none
/// arrives; being told so means that one could.
pub(super) fn terminal(_: &Aim<'_>) -> Outcome {
    const TIOCSTI: usize = 0x5412;
    const ENOTTY: isize = -25;
    let own = open(AT_FDCWD, c"/dev/tty", O_RDONLY).unwrap_or(0);
    for terminal in [own, 0, 1, 2] {
        // SAFETY: the kernel reads no address of zero, and answers with an error.
        match unsafe { sys!(IOCTL, terminal, TIOCSTI, 0) } {
            ENOTTY => {}
            result => return reached(result, EFAULT),
        }
    }
    Err(Stop::TERMINAL)
}

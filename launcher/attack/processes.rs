//! Other processes: seen, signalled, slowed down. Those of other sessions too.

use super::aim::{Aim, O_RDONLY, decimal, entries, has_argument, may_be, open, opens, proc_path};
use super::memory::seize;
use super::{Outcome, Stop, done, reached};
use crate::sys::AT_FDCWD;

const SIGUSR1: usize = 10;
/// A user without processes: what is done to all of them is done to none, and the error tells that it was allowed.
const UNUSED_USER: usize = 0x7fff_fff0;
const ESRCH: isize = -3;

/// The marker in the environment of a process of another session.
pub(super) fn peer_environment(aim: &Aim<'_>) -> Outcome {
    let peer = aim.number(b"peer_pid")?;
    opens(proc_path(peer, b"environ").as_c_str(), O_RDONLY)?;
    may_be(peer, aim.marker()?)
}

/// The working folder of a process of another session.
pub(super) fn peer_working_folder(aim: &Aim<'_>) -> Outcome {
    let peer = aim.number(b"peer_pid")?;
    opens(proc_path(peer, b"cwd").as_c_str(), O_RDONLY)?;
    may_be(peer, aim.marker()?)
}

/// Traces a process of another session for a moment.
pub(super) fn peer_trace(aim: &Aim<'_>) -> Outcome {
    let peer = aim.number(b"peer_pid")?;
    may_be(peer, aim.marker()?)?;
    seize(peer, |_| Ok(()))
}

/// Whether a process of another session could be signalled.
pub(super) fn peer_signal(aim: &Aim<'_>) -> Outcome {
    let peer = aim.number(b"peer_pid")?;
    done(sys!(KILL, peer, 0))?;
    may_be(peer, aim.marker()?)
}

/// Sets the priority of all processes of a user, those of other sessions too.
pub(super) fn priority_of_user(aim: &Aim<'_>) -> Outcome {
    const USER: usize = 2;
    may_be(aim.number(b"peer_pid")?, aim.marker()?)?;
    reached(sys!(SETPRIORITY, USER, UNUSED_USER, 19), ESRCH)
}

/// The same with the priority for disks.
pub(super) fn io_priority_of_user(aim: &Aim<'_>) -> Outcome {
    const USER: usize = 3;
    /// Class "best effort", the lowest level.
    const LOWEST: usize = 2 << 13 | 7;
    may_be(aim.number(b"peer_pid")?, aim.marker()?)?;
    reached(sys!(IOPRIO_SET, USER, UNUSED_USER, LOWEST), ESRCH)
}

/// Looks for the victim among all processes.
pub(super) fn list(aim: &Aim<'_>) -> Outcome {
    let marker = aim.marker()?;
    let folder = open(AT_FDCWD, c"/proc", O_RDONLY)?;
    entries(folder, |name, _| match decimal(name.to_bytes()).unwrap_or(0) {
        0 => Err(Stop::DIFFERENT),
        pid => has_argument(pid, marker).or(Err(Stop::DIFFERENT)),
    })
}

/// Looks for the marker in the environment of every process, also of those that made the wall.
pub(super) fn environments(aim: &Aim<'_>) -> Outcome {
    let folder = open(AT_FDCWD, c"/proc", O_RDONLY)?;
    entries(folder, |name, _| match decimal(name.to_bytes()).unwrap_or(0) {
        0 => Err(Stop::DIFFERENT),
        pid => aim.marked(proc_path(pid, b"environ").as_c_str()).or(Err(Stop::DIFFERENT)),
    })
}

/// Reads the victim's command line.
pub(super) fn command_line(aim: &Aim<'_>) -> Outcome {
    has_argument(aim.number(b"victim")?, aim.marker()?)
}

/// Reads how long a process of another session has run: what it does shows in its times.
pub(super) fn peer_times(aim: &Aim<'_>) -> Outcome {
    let peer = aim.number(b"peer_pid")?;
    opens(proc_path(peer, b"stat").as_c_str(), O_RDONLY)?;
    may_be(peer, aim.marker()?)
}

/// Asks for a limit of the victim: who may, may also set it.
pub(super) fn limits(aim: &Aim<'_>) -> Outcome {
    const NOFILE: usize = 7;
    let victim = aim.number(b"victim")?;
    let mut limit = [0u64; 2];
    // SAFETY: the kernel writes a `struct rlimit64`, two numbers of 64 bits.
    done(unsafe { sys!(PRLIMIT64, victim, NOFILE, 0, limit.as_mut_ptr()) })?;
    may_be(victim, aim.marker()?)
}

/// Sets the victim's priority to what it is.
pub(super) fn priority(aim: &Aim<'_>) -> Outcome {
    const PROCESS: usize = 0;
    let victim = aim.number(b"victim")?;
    may_be(victim, aim.marker()?)?;
    // The system call tells 20 less the priority.
    let reversed = done(sys!(GETPRIORITY, PROCESS, victim))?;
    done(sys!(SETPRIORITY, PROCESS, victim, 20 - reversed as isize)).map(|_| ())
}

/// Sets the processors of the victim to what they are.
pub(super) fn affinity(aim: &Aim<'_>) -> Outcome {
    let victim = aim.number(b"victim")?;
    may_be(victim, aim.marker()?)?;
    let mut processors = [0u64; 128];
    let (most, set) = (size_of_val(&processors), processors.as_mut_ptr());
    // SAFETY: the kernel writes at most as many bytes as the set has.
    let size = done(unsafe { sys!(SCHED_GETAFFINITY, victim, most, set) })?;
    // SAFETY: the kernel reads as many bytes as it has written.
    done(unsafe { sys!(SCHED_SETAFFINITY, victim, size, processors.as_ptr()) }).map(|_| ())
}

/// Whether the victim could be signalled as a thread.
pub(super) fn signal_thread(aim: &Aim<'_>) -> Outcome {
    let victim = aim.number(b"victim")?;
    done(sys!(TGKILL, victim, victim, 0))?;
    may_be(victim, aim.marker()?)
}

/// Whether a signal could be queued for the victim.
pub(super) fn signal_queue(aim: &Aim<'_>) -> Outcome {
    let victim = aim.number(b"victim")?;
    // `SI_QUEUE` as the code: what programs may send themselves.
    let mut information = [0i32; 32];
    information[2] = -1;
    // SAFETY: `siginfo_t` is 128 bytes.
    done(unsafe { sys!(RT_SIGQUEUEINFO, victim, 0, information.as_ptr()) })?;
    may_be(victim, aim.marker()?)
}

/// Whether the victim could be signalled through a descriptor.
pub(super) fn signal_descriptor(aim: &Aim<'_>) -> Outcome {
    let victim = aim.number(b"victim")?;
    let process = done(sys!(PIDFD_OPEN, victim, 0))?;
    // SAFETY: there is no `siginfo_t`.
    done(unsafe { sys!(PIDFD_SEND_SIGNAL, process, 0, 0, 0) })?;
    may_be(victim, aim.marker()?)
}

/// Ends the victim.
pub(super) fn signal(aim: &Aim<'_>) -> Outcome {
    let victim = aim.number(b"victim")?;
    done(sys!(KILL, victim, 0))?;
    may_be(victim, aim.marker()?)?;
    done(sys!(KILL, victim, SIGUSR1)).map(|_| ())
}

//! The server's memory, environment and descriptors; and the victim that stands in for the server.

use super::aim::{
    Aim, O_RDONLY, O_WRONLY, Text, contains, holds, may_be, open, opens, pause, proc_path, same,
    seconds, wait_for,
};
use super::tree::survive;
use super::{Outcome, Stop, done};
use crate::sys::{AT_FDCWD, Attribute, IoVec, WNOHANG, exit, read, set_attribute, wait};
use core::ffi::CStr;
use core::ptr::null;

/// The longest marker.
const SECRET: usize = 128;

/// The victim's secret. The attacker is the same program at the same addresses, and leaves its own empty.
static mut SECRET_PLACE: [u8; SECRET] = [0; SECRET];

const USER_KEYRING: isize = -4;
const SESSION_KEYRING: isize = -3;

/// Stands in for the server: a secret in memory that nobody else shall read, in a process that cannot be
/// dumped (or can, to see that the attacks work). It also shares memory and a key as programs of one user
/// may. Prints where the secret is, and ends with its standard input, or after a minute. What comes over standard
/// input has it start processes that do not want to end, and wait with them.
pub(super) fn victim(marker: &'static CStr, dumpable: bool) -> ! {
    set_attribute(Attribute::DUMPABLE, usize::from(dumpable));
    let place = (&raw mut SECRET_PLACE).cast::<u8>();
    for (at, byte) in marker.to_bytes().iter().enumerate().take(SECRET) {
        // SAFETY: within the place; there is one thread.
        unsafe { place.add(at).write_volatile(*byte) };
    }
    share_memory(marker.to_bytes());
    let key = share_key(marker);
    let mut line = Text::new();
    for shift in (0..16).rev() {
        let digit = (place as usize >> (shift * 4) & 15) as u32;
        line.push(&[char::from_digit(digit, 16).unwrap_or('0') as u8]);
    }
    line.say();
    let end = seconds() + 60;
    let mut ignored = [0u8; 64];
    while seconds() < end {
        if wait_for(0, 1, 500).is_err() {
            continue;
        }
        if read(0, &mut ignored) <= 0 {
            break;
        }
        survive();
    }
    const REVOKE: usize = 3;
    // SAFETY: to revoke a key takes no address.
    unsafe { sys!(KEYCTL, REVOKE, key) };
    exit(0)
}

/// A segment of System V shared memory that is gone when its last user is.
fn share_memory(marker: &[u8]) {
    const REMOVE: usize = 0;
    let segment = sys!(SHMGET, 0, 4096, 0o600);
    // SAFETY: the kernel chooses the place, so no memory in use is replaced.
    let memory = unsafe { sys!(SHMAT, segment, 0, 0) };
    // SAFETY: to remove a segment takes no address; it goes when nothing has it attached.
    unsafe { sys!(SHMCTL, segment, REMOVE, 0) };
    if segment < 0 || memory <= 0 {
        return;
    }
    for (at, byte) in marker.iter().enumerate().take(SECRET) {
        // SAFETY: within the segment that was just attached.
        unsafe { (memory as *mut u8).add(at).write_volatile(*byte) };
    }
}

/// A key in the keyring of the user, for a minute.
fn share_key(marker: &CStr) -> isize {
    const SET_TIMEOUT: usize = 15;
    let kind = c"user".as_ptr();
    let (name, secret) = (marker.as_ptr(), marker.as_ptr());
    // SAFETY: kind and name end with a NUL, and the secret has as many bytes.
    let key = unsafe { sys!(ADD_KEY, kind, name, secret, marker.count_bytes(), USER_KEYRING) };
    // SAFETY: to set a time takes no address.
    unsafe { sys!(KEYCTL, SET_TIMEOUT, key, 60) };
    key
}

/// A variable in our own environment that was not given to us: one with the marker in it, or any whose name
/// is not in `names`, where the names are told.
pub(super) fn own_environment(aim: &Aim<'_>) -> Outcome {
    let marker = aim.marker()?;
    let names = aim.text(b"names").ok();
    let given = |variable: &[u8]| {
        let name = variable.split(|byte| *byte == b'=').next().unwrap_or_default();
        names.is_none_or(|names| names.split(|byte| *byte == b',').any(|one| same(one, name)))
    };
    let foreign = |variable: &[u8]| contains(variable, marker) || !given(variable);
    if aim.variables().any(foreign) { Ok(()) } else { Err(Stop::DIFFERENT) }
}

/// The marker in the victim's environment.
pub(super) fn environment_of_victim(aim: &Aim<'_>) -> Outcome {
    aim.marked(proc_path(aim.number(b"victim")?, b"environ").as_c_str())
}

/// Whether what was read from the victim is the secret.
fn is_secret(aim: &Aim<'_>, found: &[u8; SECRET]) -> Outcome {
    let marker = aim.marker()?;
    match found.get(..marker.len().min(SECRET)) {
        Some(beginning) if contains(marker, beginning) => Ok(()),
        _ => Err(Stop::DIFFERENT),
    }
}

/// Reads the victim's memory through `/proc/PID/mem`.
pub(super) fn file_of_memory(aim: &Aim<'_>) -> Outcome {
    let (victim, address) = (aim.number(b"victim")?, aim.hexadecimal(b"address")?);
    let file = open(AT_FDCWD, proc_path(victim, b"mem").as_c_str(), O_RDONLY)?;
    let mut found = [0u8; SECRET];
    // SAFETY: the kernel writes at most as many bytes as there is room for; `address` is a place in the file.
    done(unsafe { sys!(PREAD64, file, found.as_mut_ptr(), SECRET, address) })?;
    is_secret(aim, &found)
}

/// Reads the victim's memory with `process_vm_readv`.
pub(super) fn read_of_memory(aim: &Aim<'_>) -> Outcome {
    let (victim, address) = (aim.number(b"victim")?, aim.hexadecimal(b"address")?);
    let mut found = [0u8; SECRET];
    let here = IoVec { base: found.as_mut_ptr(), length: SECRET };
    let there = IoVec { base: address as *mut u8, length: SECRET };
    let (to, from) = (&raw const here, &raw const there);
    // SAFETY: `here` names our bytes with their length; `there` is an address of the victim alone.
    done(unsafe { sys!(PROCESS_VM_READV, victim, to, 1, from, 1, 0) })?;
    is_secret(aim, &found)
}

/// Traces the victim and reads a word of its memory.
pub(super) fn trace(aim: &Aim<'_>) -> Outcome {
    const PEEK: usize = 2;
    let (victim, address) = (aim.number(b"victim")?, aim.hexadecimal(b"address")?);
    let marker = aim.marker()?;
    seize(victim, |victim| {
        let mut word = [0u8; 8];
        // SAFETY: the kernel writes a word of eight bytes; `address` is one of the victim.
        done(unsafe { sys!(PTRACE, PEEK, victim, address, word.as_mut_ptr()) })?;
        let length = marker.len().min(word.len());
        match (word.get(..length), marker.get(..length)) {
            (Some(found), Some(expected)) if same(found, expected) => Ok(()),
            _ => Err(Stop::DIFFERENT),
        }
    })
}

/// Stops a process as its tracer, does something to it, and lets it go.
pub(super) fn seize(pid: usize, then: impl FnOnce(usize) -> Outcome) -> Outcome {
    const SEIZE: usize = 0x4206;
    const INTERRUPT: usize = 0x4207;
    const DETACH: usize = 17;
    const ALL_KINDS: usize = 0x4000_0000;
    // SAFETY: to seize a process takes no address.
    done(unsafe { sys!(PTRACE, SEIZE, pid, 0, 0) })?;
    // SAFETY: to interrupt it takes none either.
    unsafe { sys!(PTRACE, INTERRUPT, pid, 0, 0) };
    let mut stopped = Err(Stop::TIMEOUT);
    for _ in 0..200 {
        if wait(pid as isize, None, WNOHANG | ALL_KINDS) == pid as isize {
            stopped = then(pid);
            break;
        }
        pause(1);
    }
    // SAFETY: to let it go takes no address.
    unsafe { sys!(PTRACE, DETACH, pid, 0, 0) };
    stopped
}

/// Takes the victim's standard input from it.
pub(super) fn descriptor(aim: &Aim<'_>) -> Outcome {
    let victim = aim.number(b"victim")?;
    let process = done(sys!(PIDFD_OPEN, victim, 0))?;
    done(sys!(PIDFD_GETFD, process, 0, 0))?;
    may_be(victim, aim.marker()?)
}

/// Reads a file outside through the victim's root.
pub(super) fn root(aim: &Aim<'_>) -> Outcome {
    let mut path = proc_path(aim.number(b"victim")?, b"root");
    path.push(aim.text(b"outside_file")?);
    aim.marked(path.as_c_str())
}

/// Opens the victim's working folder.
pub(super) fn working_folder(aim: &Aim<'_>) -> Outcome {
    let victim = aim.number(b"victim")?;
    opens(proc_path(victim, b"cwd").as_c_str(), O_RDONLY)?;
    may_be(victim, aim.marker()?)
}

/// Reads where the victim's standard input leads.
pub(super) fn descriptor_link(aim: &Aim<'_>) -> Outcome {
    let victim = aim.number(b"victim")?;
    let mut target = [0u8; 64];
    let path = proc_path(victim, b"fd/0");
    let (from, to) = (path.as_ptr(), target.as_mut_ptr());
    // SAFETY: the path ends with a NUL, and the kernel writes at most as many bytes as the target has.
    done(unsafe { sys!(READLINKAT, AT_FDCWD, from, to, target.len()) })?;
    may_be(victim, aim.marker()?)
}

/// Opens the memory of the process above this one to write to it, or traces that process.
pub(super) fn supervisor(aim: &Aim<'_>) -> Outcome {
    let [parent, ..] = aim.others();
    match parent {
        0 => Err(Stop::ESRCH),
        pid => {
            opens(proc_path(pid, b"mem").as_c_str(), O_WRONLY).or_else(|_| seize(pid, |_| Ok(())))
        }
    }
}

/// Opens for writing what others run, and the memory that this program was started from: the next session runs it too.
pub(super) fn running_program(aim: &Aim<'_>) -> Outcome {
    /// What runs cannot be opened for writing, but it could be once it has ended.
    const ETXTBSY: Stop = Stop(26);
    let mut last = own_program();
    for pid in aim.others() {
        if last.is_ok() {
            break;
        }
        let path = proc_path(pid, b"exe");
        last = match opens(path.as_c_str(), O_WRONLY) {
            Err(ETXTBSY) if is_sealed(path.as_c_str()) == Ok(true) => Err(Stop::EPERM),
            Err(ETXTBSY) => Ok(()),
            other => other,
        };
    }
    last
}

/// The program of this process, where it is memory. A file in its place may be the session's own.
fn own_program() -> Outcome {
    match is_sealed(c"/proc/self/exe") {
        Ok(false) => Ok(()),
        Ok(true) => Err(Stop::EPERM),
        Err(_) => Err(Stop::DIFFERENT),
    }
}

/// Whether nobody can write to this memory any more; an error where it is a file.
fn is_sealed(path: &CStr) -> Result<bool, Stop> {
    const GET_SEALS: usize = 1034;
    const SEAL_WRITE: usize = 8;
    let file = open(AT_FDCWD, path, O_RDONLY)?;
    // SAFETY: to read the seals takes no address.
    let seals = done(unsafe { sys!(FCNTL, file, GET_SEALS) })?;
    Ok(seals & SEAL_WRITE != 0)
}

/// Reads where the victim's memory lies.
pub(super) fn maps(aim: &Aim<'_>) -> Outcome {
    let victim = aim.number(b"victim")?;
    let file = open(AT_FDCWD, proc_path(victim, b"maps").as_c_str(), O_RDONLY)?;
    holds(file, b"-")?;
    may_be(victim, aim.marker()?)
}

/// Looks for a socket, or something open to be written, that was left to us beside the standard streams.
pub(super) fn inherited(_: &Aim<'_>) -> Outcome {
    const GET_FLAGS: usize = 3;
    const WRITES: usize = 3;
    const SOL_SOCKET: usize = 1;
    const SO_TYPE: usize = 3;
    let mut last = Err(Stop::EBADF);
    for file in 3..1024 {
        // SAFETY: to read the flags takes no address.
        let Ok(flags) = done(unsafe { sys!(FCNTL, file, GET_FLAGS) }) else {
            continue;
        };
        let (mut kind, mut length) = (0i32, 4u32);
        let (to, size) = (&raw mut kind, &raw mut length);
        // SAFETY: the kernel writes a number of `length` bytes, which an `i32` has, and its length.
        let found = unsafe { sys!(GETSOCKOPT, file, SOL_SOCKET, SO_TYPE, to, size) };
        if found == 0 || flags & WRITES != 0 {
            return Ok(());
        }
        last = Err(Stop::DIFFERENT);
    }
    last
}

/// Attaches every segment of System V shared memory that there is, and looks for the victim's.
pub(super) fn shared_memory(aim: &Aim<'_>) -> Outcome {
    const STAT: usize = 13;
    const INFO: usize = 14;
    const READ_ONLY: usize = 0o10_000;
    let marker = aim.marker()?;
    aim.number(b"victim")?;
    let mut unread = [0u64; 64];
    // SAFETY: `struct shm_info` is at most 512 bytes.
    let highest = done(unsafe { sys!(SHMCTL, 0, INFO, unread.as_mut_ptr()) })?;
    let mut last = Err(Stop::DIFFERENT);
    for at in 0..=highest.min(1023) {
        // SAFETY: `struct shmid_ds` is at most 512 bytes.
        let segment = unsafe { sys!(SHMCTL, at, STAT, unread.as_mut_ptr()) };
        if segment < 0 {
            continue;
        }
        // SAFETY: the kernel chooses the place, so no memory in use is replaced.
        match done(unsafe { sys!(SHMAT, segment, 0, READ_ONLY) }) {
            // SAFETY: a segment has at least a page.
            Ok(memory) => unsafe {
                if starts_with(memory as *const u8, marker) {
                    return Ok(());
                }
            },
            Err(stop) => last = Err(stop),
        }
    }
    last
}

/// # Safety
///
/// A page must be readable there.
unsafe fn starts_with(memory: *const u8, marker: &[u8]) -> bool {
    // SAFETY: the caller vouches for the page.
    marker
        .iter()
        .enumerate()
        .take(SECRET)
        .all(|(at, byte)| unsafe { memory.add(at).read() } == *byte)
}

/// Reads the victim's key from the keyring of the user.
pub(super) fn shared_keyring(aim: &Aim<'_>) -> Outcome {
    const JOIN: usize = 1;
    const LINK: usize = 8;
    const SEARCH: usize = 10;
    const READ: usize = 11;
    let marker = aim.c_str(b"marker")?;
    aim.number(b"victim")?;
    // SAFETY: the new keyring has no name.
    done(unsafe { sys!(KEYCTL, JOIN, null::<u8>()) })?;
    // SAFETY: to link keyrings takes no address.
    unsafe { sys!(KEYCTL, LINK, USER_KEYRING, SESSION_KEYRING) };
    let (kind, name) = (c"user".as_ptr(), marker.as_ptr());
    // SAFETY: kind and name end with a NUL.
    let key = done(unsafe { sys!(KEYCTL, SEARCH, USER_KEYRING, kind, name, 0) })?;
    let mut found = [0u8; SECRET];
    // SAFETY: the kernel writes at most as many bytes as there is room for.
    done(unsafe { sys!(KEYCTL, READ, key, found.as_mut_ptr(), SECRET) })?;
    is_secret(aim, &found)
}

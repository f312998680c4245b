//! The wall that a process puts around itself before it becomes the agent: records, applied in order.
//!
//! The server decides, in `crates/sandbox/src/isolation/sandbox.rs`; here each record is one system call or two. A record is
//! a tag and a length in bytes (two numbers of 32 bits), then the payload, filled up to eight bytes. The
//! first one that fails ends it all: an agent without its whole wall does not begin.

use crate::sys::{
    AT_FDCWD, Attribute, CLOEXEC, EINVAL, SIGKILL, bind, exit, fork, limit, open, read,
    send_descriptor, set_attribute, wait, write,
};

/// Lowers a limit: the resource, soft and hard, as `setrlimit` numbers them. What is lower already stays.
const LIMIT: u32 = 1;
/// No capability is left, nor comes back: bounding set, ambient set and the three sets of the process. With a
/// number (64 bits) the process also becomes that user, of the group with that number; with a second number also
/// of that group. It is in no other.
const NO_CAPABILITIES: u32 = 2;
/// A Landlock rule set: `struct landlock_ruleset_attr` of as many bytes as this kernel knows.
const RULES: u32 = 3;
/// A rule on a path: access (64 bits), whether it may be missing (64 bits), the path with a NUL.
const PATH: u32 = 4;
/// A rule on a port: access and port, 64 bits each.
const PORT: u32 = 5;
/// The rule set comes into force.
const RESTRICT: u32 = 6;
/// A seccomp filter: instructions of eight bytes.
const FILTER: u32 = 7;
/// Listens on this port of loopback and hands the listener out over the line.
const LISTEN: u32 = 8;
/// No new privileges.
const NO_NEW_PRIVILEGES: u32 = 9;
/// Joins a control group: the path of its `cgroup.procs`, with a NUL.
const GROUP: u32 = 10;
/// The descriptors that came with the specification stay open when the program is executed.
const KEEP: u32 = 11;
/// A seccomp filter that notifies the supervisor of each `connect`: the proxy's port (64 bits), then instructions.
/// The descriptor for notifications is handed out over the line.
const CONNECT: u32 = 12;
/// A user namespace: the map of its users and groups, with a NUL.
const USERS: u32 = 20;
/// A mount namespace, whose changes are seen by nobody else.
const MOUNTS: u32 = 21;
/// A file is read-only in that mount namespace, so that its mode and owner stay: its path, with a NUL.
const READ_ONLY: u32 = 22;
/// No further user namespace can be made in this one.
const NO_NAMESPACES: u32 = 23;

/// Which record failed and why.
pub(crate) struct Failed {
    pub(crate) tag: u32,
    pub(crate) error: isize,
}

/// The version of Landlock that this kernel has; 0 where it has none.
pub(crate) fn version() -> usize {
    const CREATE_VERSION: usize = 1;
    // SAFETY: with this flag the call takes no address.
    unsafe { sys!(LANDLOCK_CREATE, 0, 0, CREATE_VERSION) }.max(0) as usize
}

/// One record and where the next one begins.
fn record(wall: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let tag = u32::from_ne_bytes(*wall.first_chunk()?);
    let length = u32::from_ne_bytes(*wall.get(4..)?.first_chunk()?) as usize;
    let payload = wall.get(8..)?.get(..length)?;
    let next = wall.get(8..)?.get(length.next_multiple_of(8)..).unwrap_or_default();
    Some((tag, payload, next))
}

/// The payload of the first record with this tag.
fn find(mut wall: &[u8], wanted: u32) -> Option<&[u8]> {
    while let Some((tag, payload, next)) = record(wall) {
        if tag == wanted {
            return Some(payload);
        }
        wall = next;
    }
    None
}

/// Whether the descriptors that came along stay open.
pub(crate) fn keeps(wall: &[u8]) -> bool {
    find(wall, KEEP).is_some()
}

/// The port to which the supervisor connects for the agent; none where it does not.
pub(crate) fn proxy_port(wall: &[u8]) -> Option<u16> {
    find(wall, CONNECT).map(|payload| word(payload, 0) as u16)
}

/// The user that the agent becomes; none where it stays who we are.
pub(crate) fn user(wall: &[u8]) -> Option<u64> {
    find(wall, NO_CAPABILITIES).filter(|payload| payload.len() >= 8).map(|payload| word(payload, 0))
}

/// Applies all records; `line` is where descriptors are handed out, or negative.
pub(crate) fn apply(mut wall: &[u8], line: i32) -> Result<(), Failed> {
    let mut rules = -1isize;
    while let Some((tag, payload, next)) = record(wall) {
        let error = one(tag, payload, &mut rules, line);
        if error < 0 {
            return Err(Failed { tag, error });
        }
        wall = next;
    }
    Ok(())
}

const ENOENT: isize = -2;

fn word(payload: &[u8], at: usize) -> u64 {
    payload
        .get(at * 8..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn one(tag: u32, payload: &[u8], rules: &mut isize, line: i32) -> isize {
    match tag {
        LIMIT => lower_limit(word(payload, 0), [word(payload, 1), word(payload, 2)]),
        NO_CAPABILITIES => no_capabilities(payload),
        RULES => {
            // SAFETY: the kernel reads as many bytes as the payload has.
            *rules = unsafe { sys!(LANDLOCK_CREATE, payload.as_ptr(), payload.len(), 0) };
            *rules
        }
        PATH => path(payload, *rules),
        PORT => {
            const RULE_NET_PORT: usize = 2;
            let rule = [word(payload, 0), word(payload, 1)];
            // SAFETY: the kernel reads two numbers of 64 bits, access and port.
            unsafe { sys!(LANDLOCK_ADD, *rules, RULE_NET_PORT, rule.as_ptr(), 0) }
        }
        RESTRICT => {
            let error = sys!(LANDLOCK_RESTRICT, *rules, 0);
            sys!(CLOSE, *rules);
            error
        }
        FILTER => filter(payload, 0),
        CONNECT => match payload.get(8..) {
            Some(instructions) => hand_out(notifying_filter(instructions), line),
            None => EINVAL,
        },
        LISTEN => listen(word(payload, 0) as u16, line),
        NO_NEW_PRIVILEGES => set_attribute(Attribute::NO_NEW_PRIVILEGES, 1),
        GROUP => write_file(payload, b"0"),
        KEEP => 0,
        USERS => users(payload),
        MOUNTS => mounts(),
        READ_ONLY => read_only(payload),
        NO_NAMESPACES => write_file(b"/proc/sys/user/max_user_namespaces\0", b"0"),
        _ => EINVAL,
    }
}

fn lower_limit(resource: u64, bounds: [u64; 2]) -> isize {
    let mut now = [0u64; 2];
    let error = limit(resource as usize, None, Some(&mut now));
    if error < 0 {
        return error;
    }
    let [soft, hard] = now;
    let [most_soft, most_hard] = bounds;
    limit(resource as usize, Some([soft.min(most_soft), hard.min(most_hard)]), None)
}

fn filter(instructions: &[u8], flags: usize) -> isize {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const u8,
    }
    let program =
        Program { length: (instructions.len() / 8) as u16, filter: instructions.as_ptr() };
    const SET_MODE_FILTER: usize = 1;
    // SAFETY: the program is on this stack, and names as many instructions of eight bytes as the slice has.
    unsafe { sys!(SECCOMP, SET_MODE_FILTER, flags, &raw const program) }
}

/// Puts up a filter and returns the descriptor for its notifications. Once the supervisor has a notification, only
/// the end of the caller takes it back, no signal (Linux 5.19).
pub(crate) fn notifying_filter(instructions: &[u8]) -> isize {
    const NEW_LISTENER: usize = 1 << 3;
    const WAIT_KILLABLE_RECV: usize = 1 << 5;
    filter(instructions, NEW_LISTENER | WAIT_KILLABLE_RECV)
}

/// Sends a descriptor over the line and closes it here; an error that stands for it is returned as it is.
///
/// The kernel refuses to send while more descriptors of this user are in flight than this process may open, whoever
/// has sent them. So the soft limit is raised to the hard one for this call.
fn hand_out(descriptor: isize, line: i32) -> isize {
    if descriptor < 0 {
        return descriptor;
    }
    const OPEN_FILES: usize = 7;
    let mut before = [0u64; 2];
    limit(OPEN_FILES, None, Some(&mut before));
    let [_, hard] = before;
    limit(OPEN_FILES, Some([hard; 2]), None);
    let sent = send_descriptor(line, b'L', descriptor as i32);
    limit(OPEN_FILES, Some(before), None);
    sys!(CLOSE, descriptor);
    sent
}

fn path(payload: &[u8], rules: isize) -> isize {
    const O_PATH: usize = 0o10_000_000;
    const RULE_PATH_BENEATH: usize = 1;
    #[repr(C, packed)]
    struct Beneath {
        access: u64,
        folder: i32,
    }
    let file = open(payload.get(16..).unwrap_or_default(), O_PATH);
    if file == ENOENT && word(payload, 1) != 0 {
        return 0;
    }
    if file < 0 {
        return file;
    }
    let rule = Beneath { access: word(payload, 0), folder: file as i32 };
    // SAFETY: the kernel reads one `struct landlock_path_beneath_attr`, which this is.
    let error = unsafe { sys!(LANDLOCK_ADD, rules, RULE_PATH_BENEATH, &raw const rule, 0) };
    sys!(CLOSE, file);
    error
}

/// Enters a user namespace. Its maps must be written from the one above, so a child stays there and writes them.
fn users(map: &[u8]) -> isize {
    const NEW_USER: usize = 0x1000_0000;
    let (mut begun, mut ended) = ([0i32; 2], 0i32);
    // SAFETY: the kernel writes two descriptors, and there are two places.
    let error = unsafe { sys!(PIPE2, begun.as_mut_ptr(), CLOEXEC) };
    if error < 0 {
        return error;
    }
    let this = sys!(GETPID);
    let child = fork();
    if child == 0 {
        sys!(CLOSE, begun[1]);
        // Without a byte there is no new namespace.
        if read(begun[0], &mut [0]) != 1 {
            exit(1)
        }
        let groups = write_file(&proc_file(this, b"gid_map"), map);
        let error = if groups < 0 { groups } else { write_file(&proc_file(this, b"uid_map"), map) };
        exit(if error < 0 { -error as usize } else { 0 })
    }
    let mut error = child.min(0);
    if error == 0 {
        error = sys!(UNSHARE, NEW_USER);
    }
    if error == 0 {
        error = write(begun[1], b"U").min(0);
    }
    sys!(CLOSE, begun[0]);
    sys!(CLOSE, begun[1]);
    if child > 0 {
        wait(child, Some(&mut ended), 0);
    }
    match (error, ended >> 8 & 0xff) {
        (0, 0) => 0,
        (0, failed) => -(failed as isize),
        (error, _) => error,
    }
}

/// `/proc/PID/NAME`, with a NUL.
fn proc_file(pid: isize, name: &[u8]) -> [u8; 40] {
    let mut path = [0u8; 40];
    let mut divisor = 1;
    while pid / divisor >= 10 {
        divisor *= 10;
    }
    let digits = core::iter::from_fn(|| {
        let digit = (divisor > 0).then(|| b'0' + (pid / divisor % 10) as u8);
        divisor /= 10;
        digit
    });
    let text = b"/proc/".iter().copied().chain(digits).chain([b'/']).chain(name.iter().copied());
    for (place, byte) in path.iter_mut().zip(text) {
        *place = byte;
    }
    path
}

/// Writes a file of the kernel's in one call; `path` and a map end with a NUL, which is not written.
fn write_file(path: &[u8], text: &[u8]) -> isize {
    const WRITE_ONLY: usize = 1;
    let file = open(path, WRITE_ONLY);
    if file < 0 {
        return file;
    }
    let error = write(file as i32, text.strip_suffix(b"\0").unwrap_or(text)).min(0);
    sys!(CLOSE, file);
    error
}

fn mounts() -> isize {
    const NEW_MOUNT: usize = 0x0002_0000;
    const RECURSIVE_SLAVE: usize = 0x4000 | 1 << 19;
    let error = sys!(UNSHARE, NEW_MOUNT);
    if error < 0 {
        return error;
    }
    // SAFETY: the path ends with a NUL; source, type and data are absent.
    unsafe { sys!(MOUNT, 0, c"/".as_ptr(), 0, RECURSIVE_SLAVE, 0) }
}

fn read_only(path: &[u8]) -> isize {
    const BIND: usize = 4096;
    // `struct mount_attr`: what is set (read-only), what is cleared, propagation, user namespace.
    let change = [1u64, 0, 0, 0];
    if path.last() != Some(&0) {
        return EINVAL;
    }
    // SAFETY: the path ends with a NUL; type and data are absent.
    let error = unsafe { sys!(MOUNT, path.as_ptr(), path.as_ptr(), 0, BIND, 0) };
    if error == ENOENT {
        return 0;
    }
    if error < 0 {
        return error;
    }
    // SAFETY: the path ends with a NUL, and the kernel reads as many bytes of the change as it has.
    unsafe {
        sys!(MOUNT_SETATTR, AT_FDCWD, path.as_ptr(), 0, change.as_ptr(), size_of_val(&change))
    }
}

/// An agent of root would own the system's files with all of root's powers otherwise.
fn no_capabilities(payload: &[u8]) -> isize {
    const CLEAR_ALL: usize = 4;
    /// NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each with its lock, and the lock of KEEP_CAPS.
    const SECUREBITS: usize = 0b1110_1111;
    // Who has no capability may not call these, and has nothing to lose either.
    for capability in 0..64usize {
        if set_attribute(Attribute::DROPPED_CAPABILITY, capability) == EINVAL {
            break;
        }
    }
    set_attribute(Attribute::SECURE_BITS, SECUREBITS);
    set_attribute(Attribute::AMBIENT_CAPABILITIES, CLEAR_ALL);
    if payload.len() >= 8 {
        let group = (payload.len() >= 16).then(|| word(payload, 1) as u32);
        let error = become_user(word(payload, 0), group);
        if error < 0 {
            return error;
        }
    }
    const VERSION_3: u64 = 0x2008_0522;
    let header = VERSION_3;
    let nothing = [0u32; 6];
    // SAFETY: the kernel reads a header of eight bytes, and for this version six numbers of 32 bits.
    unsafe { sys!(CAPSET, &raw const header, nothing.as_ptr()) }
}

/// The user's group has the user's number.
fn become_user(user: u64, further_group: Option<u32>) -> isize {
    let groups = further_group.as_slice();
    for error in [
        // SAFETY: the kernel reads as many numbers of groups as the slice has.
        unsafe { sys!(SETGROUPS, groups.len(), groups.as_ptr()) },
        sys!(SETRESGID, user, user, user),
        sys!(SETRESUID, user, user, user),
    ] {
        if error < 0 {
            return error;
        }
    }
    // The kernel has forgotten the signal that comes when the process above ends.
    set_attribute(Attribute::DEATH_SIGNAL, SIGKILL)
}

fn listen(port: u16, line: i32) -> isize {
    const AF_INET: usize = 2;
    const SOCK_STREAM: usize = 1;
    const LISTENERS: usize = 128;
    let socket = sys!(SOCKET, AF_INET, SOCK_STREAM | CLOEXEC, 0);
    if socket < 0 {
        return socket;
    }
    // In a container there were others before: their connections may linger, and the server may not yet have
    // closed their listener.
    const SOL_SOCKET: usize = 1;
    const REUSE_ADDRESS: usize = 2;
    const REUSE_PORT: usize = 15;
    let yes = 1i32;
    for option in [REUSE_ADDRESS, REUSE_PORT] {
        // SAFETY: the value is an `i32` of four bytes.
        unsafe { sys!(SETSOCKOPT, socket, SOL_SOCKET, option, &raw const yes, 4) };
    }
    let [high, low] = port.to_be_bytes();
    let address: [u8; 16] = [AF_INET as u8, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut error = bind(socket, &address);
    if error == 0 {
        error = sys!(LISTEN, socket, LISTENERS);
    }
    if error < 0 {
        sys!(CLOSE, socket);
        return error;
    }
    hand_out(socket, line)
}

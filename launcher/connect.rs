//! The connections of an agent, made by its supervisor.
//!
//! # How it works
//!
//! Landlock rules TCP by port alone, and a filter of system calls sees no addresses. So the agent's filter performs
//! no `connect`: the kernel stops the caller and notifies the supervisor (seccomp user notification). The supervisor
//! reads the address that the caller wants, and refuses every address but the proxy's. For the proxy's it makes a
//! connection of its own and puts it in the place of the caller's socket.
//!
//! Nothing is checked and then used: the supervisor connects to an address in its own memory. What it reads from
//! the caller, whose other threads may change it at any time, decides only between an error and that connection.
//!
//! # Pitfalls
//!
//! * `SECCOMP_USER_NOTIF_FLAG_CONTINUE` must never be the answer: the kernel would read the address again.
//! * The caller's socket is replaced, not connected: options that were set before are lost, so are registrations with
//!   `epoll`, and copies of the descriptor stay unconnected. `pidfd_getfd` would avoid that, but container engines
//!   deny it.
//! * A process that is not dumpable cannot connect, because its memory cannot be read.

use crate::children::{digits, text};
use crate::start::Start;
use crate::sys::{
    self, Attribute, CLOEXEC, Control, EINVAL, NONBLOCK, PollFd, SIGKILL, TimeSpec, exit, fork,
    open, poll, read, set_attribute, wait,
};
use crate::wall::{notifying_filter, proxy_port, user};

const AF_UNIX: usize = 1;
const AF_INET: usize = 2;
const AF_INET6: usize = 10;
const SOCK_STREAM: usize = 1;

const ENOENT: isize = -2;
const EBADF: isize = -9;
const EACCES: isize = -13;
const EFAULT: isize = -14;
const EINPROGRESS: isize = -115;

/// `ioctl`s of a descriptor for notifications, as `linux/seccomp.h` numbers them.
const RECEIVE: usize = 0xc050_2100;
const SEND: usize = 0xc018_2101;
const IS_VALID: usize = 0x4008_2102;
const ADD_DESCRIPTOR: usize = 0x4018_2103;
const SET_FLAGS: usize = 0x4008_2104;

/// `struct seccomp_notif`.
#[repr(C)]
struct Notification {
    id: u64,
    thread: u32,
    flags: u32,
    number: i32,
    architecture: u32,
    instruction: u64,
    arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct NotificationResponse {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct Added {
    id: u64,
    flags: u32,
    source: u32,
    place: u32,
    place_flags: u32,
}

/// What connects for an agent.
pub(crate) struct Connector {
    /// Where the kernel tells of callers; negative where there are none.
    pub(crate) notifications: i32,
    port: u16,
}

impl Connector {
    /// Starts the agent by `spawn`, and takes its notifications where its wall says that it has any.
    pub(crate) fn around(start: &mut Start, spawn: fn(&mut Start) -> isize) -> (isize, Self) {
        let Some(port) = proxy_port(start.wall) else {
            return (spawn(start), Self { notifications: -1, port: 0 });
        };
        let mut pair = [-1i32; 2];
        // SAFETY: the kernel writes two descriptors, and there are two places.
        let made =
            unsafe { sys!(SOCKETPAIR, AF_UNIX, SOCK_STREAM | CLOEXEC, 0, pair.as_mut_ptr()) };
        if made < 0 {
            return (made, Self { notifications: -1, port });
        }
        start.line = pair[1];
        let agent = spawn(start);
        // We read the memory of callers as their user: that needs no capability, which a container may not have.
        if let Some(user) = user(start.wall) {
            sys!(SETFSGID, user);
            sys!(SETFSUID, user);
        }
        let notifications = receive(pair[0]);
        // Callers wait for us, so we run where they ran (Linux 6.6; before that anywhere).
        const SYNC_WAKE_UP: usize = 1;
        // SAFETY: this `ioctl` takes flags and no address.
        unsafe { sys!(IOCTL, notifications, SET_FLAGS, SYNC_WAKE_UP) };
        for end in pair {
            sys!(CLOSE, end);
        }
        (agent, Self { notifications, port })
    }

    /// Answers a caller where a poll found one (`events`), or stops listening where nobody is left to call. A word
    /// on `control` ends the wait for a slow connection.
    pub(crate) fn answer(&mut self, events: i16, control: i32) {
        const READABLE: i16 = 1;
        if events == 0 {
            return;
        }
        if events & READABLE == 0 {
            sys!(CLOSE, self.notifications);
            self.notifications = -1;
            return;
        }
        let mut asked = Notification {
            id: 0,
            thread: 0,
            flags: 0,
            number: 0,
            architecture: 0,
            instruction: 0,
            arguments: [0; 6],
        };
        // SAFETY: the kernel writes one `struct seccomp_notif`, which this is; its size stands in the number.
        let received = unsafe { sys!(IOCTL, self.notifications, RECEIVE, &raw mut asked) };
        // The caller may have been killed meanwhile.
        if received < 0 {
            return;
        }
        let error = self.connect(&asked, control) as i32;
        let answer = NotificationResponse { id: asked.id, value: 0, error, flags: 0 };
        // SAFETY: the kernel reads one `struct seccomp_notif_resp`, which this is; its size stands in the number.
        unsafe { sys!(IOCTL, self.notifications, SEND, &raw const answer) };
    }

    /// Connects for a caller; what its `connect` returns.
    fn connect(&self, asked: &Notification, control: i32) -> isize {
        let thread = asked.thread as usize;
        let [descriptor, address, length, ..] = asked.arguments;
        // The kernel takes these two as numbers of 32 bits.
        let (descriptor, length) = (descriptor as u32 as usize, length as u32 as usize);
        let family = match self.family_of(thread, address as usize, length) {
            Ok(family) => family,
            Err(error) => return error,
        };
        let Some(flags) = flags_of(thread, descriptor) else { return EBADF };
        // SAFETY: the kernel reads the number of the notification, of 64 bits.
        let valid = unsafe { sys!(IOCTL, self.notifications, IS_VALID, &raw const asked.id) };
        // If the caller is gone, another process may have had its number meanwhile.
        if valid < 0 {
            return ENOENT;
        }
        let socket = sys!(SOCKET, family, SOCK_STREAM | NONBLOCK | CLOEXEC, 0);
        if socket < 0 {
            return socket;
        }
        let mut result = connect_to_proxy(socket, family, self.port, control);
        if result == 0 || result == EINPROGRESS {
            if flags & NONBLOCK == 0 {
                const SET_FLAGS: usize = 4;
                // SAFETY: `fcntl` takes no address to set the flags of a file.
                unsafe { sys!(FCNTL, socket, SET_FLAGS, 0) };
                // Where it is not there yet, the first read or write waits for it.
                result = 0;
            }
            const AT_THIS_PLACE: u32 = 1;
            let added = Added {
                id: asked.id,
                flags: AT_THIS_PLACE,
                source: socket as u32,
                place: descriptor as u32,
                place_flags: (flags & CLOEXEC) as u32,
            };
            // SAFETY: the kernel reads one `struct seccomp_notif_addfd`, which this is; its size stands in the number.
            let placed =
                unsafe { sys!(IOCTL, self.notifications, ADD_DESCRIPTOR, &raw const added) };
            result = result.min(placed.min(0));
        }
        sys!(CLOSE, socket);
        result
    }

    /// The family in which the caller names the proxy's address; for any other address an error.
    fn family_of(&self, thread: usize, address: usize, length: usize) -> Result<usize, isize> {
        /// The bytes of `sockaddr_in`, and those of `sockaddr_in6` that matter; of any address at most.
        const INET: usize = 16;
        const INET6: usize = 24;
        const ANY: usize = 128;
        const LOOPBACK: u32 = 0x7f00_0001;
        const MAPPED: u128 = 0xffff << 32 | LOOPBACK as u128;
        if !(INET..=ANY).contains(&length) {
            return Err(EINVAL);
        }
        let mut wanted = [0u8; INET6];
        read_memory(thread, address, &mut wanted, length.min(INET6))?;
        // Family, port, and the address of version 4; there version 6 has its flow, and the address follows.
        let [first, second, high, low, a, b, c, d, v6 @ ..] = wanted;
        if u16::from_be_bytes([high, low]) != self.port {
            return Err(EACCES);
        }
        match usize::from(u16::from_ne_bytes([first, second])) {
            AF_INET if u32::from_be_bytes([a, b, c, d]) == LOOPBACK => Ok(AF_INET),
            AF_INET6 if length >= INET6 && u128::from_be_bytes(v6) == MAPPED => Ok(AF_INET6),
            _ => Err(EACCES),
        }
    }
}

/// Connects a socket that never waits to the proxy; `EINPROGRESS` where that takes long, or a word came.
fn connect_to_proxy(socket: isize, family: usize, port: u16, control: i32) -> isize {
    let [high, low] = port.to_be_bytes();
    let mut address = [0u8; 28];
    (address[0], address[2], address[3]) = (family as u8, high, low);
    let begins = if family == AF_INET { 4 } else { 20 };
    if family == AF_INET6 {
        (address[18], address[19]) = (255, 255);
    }
    (address[begins], address[begins + 3]) = (127, 1);
    let (inet, _) = address.split_at(16);
    let begun = sys::connect(socket, if family == AF_INET { inet } else { &address });
    if begun != EINPROGRESS {
        return begun;
    }
    // On loopback it stands at once, unless the proxy's queue is full or the machine is at its end.
    let patience = TimeSpec { seconds: 0, nanoseconds: 50_000_000 };
    let mut waiting = [
        PollFd { fd: socket as i32, events: 4, revents: 0 },
        PollFd { fd: control, events: 1, revents: 0 },
    ];
    poll(&mut waiting, Some(patience));
    if waiting[0].revents == 0 {
        return EINPROGRESS;
    }
    const SOL_SOCKET: usize = 1;
    const SO_ERROR: usize = 4;
    let (mut error, mut size) = (0i32, 4u32);
    // SAFETY: the kernel writes an error of `size` bytes, which an `i32` has, and its size.
    unsafe { sys!(GETSOCKOPT, socket, SOL_SOCKET, SO_ERROR, &raw mut error, &raw mut size) };
    -error as isize
}

/// Reads so many bytes of a thread's memory.
fn read_memory(
    thread: usize,
    address: usize,
    to: &mut [u8; 24],
    count: usize,
) -> Result<(), isize> {
    let file = open_in_proc(thread, |path, end| text(path, end, b"/mem\0"));
    if file < 0 {
        return Err(EACCES);
    }
    let to = to.get_mut(..count).unwrap_or_default();
    // SAFETY: the kernel writes at most as many bytes as the slice has; `address` is a place in the file.
    let read = unsafe { sys!(PREAD64, file, to.as_mut_ptr(), to.len(), address) };
    sys!(CLOSE, file);
    if read == count as isize { Ok(()) } else { Err(EFAULT) }
}

/// The flags of a thread's descriptor; none where it is not open.
fn flags_of(thread: usize, descriptor: usize) -> Option<usize> {
    let file = open_in_proc(thread, |path, end| {
        let end = text(path, end, b"/fdinfo/");
        let end = digits(path, end, descriptor);
        text(path, end, b"\0")
    });
    if file < 0 {
        return None;
    }
    let mut said = [0u8; 64];
    let size = read(file as i32, &mut said).max(0) as usize;
    sys!(CLOSE, file);
    // "pos:", a number and the end of the line; then "flags:", a tab and an octal number.
    let mut lines = said.get(..size)?.split(|byte| *byte == b'\n');
    let digits = lines.nth(1)?.get(7..)?;
    Some(digits.iter().fold(0, |flags, digit| flags << 3 | usize::from(digit & 7)))
}

/// Opens `/proc/THREAD` and what is put behind it.
fn open_in_proc(thread: usize, rest: impl FnOnce(&mut [u8; 64], usize) -> usize) -> isize {
    let mut path = [0u8; 64];
    let end = text(&mut path, 0, b"/proc/");
    let end = digits(&mut path, end, thread);
    rest(&mut path, end);
    open(&path, 0)
}

/// The descriptor that lies ready in a socket; negative where there is none.
fn receive(socket: i32) -> i32 {
    const DONT_WAIT: usize = 0x40;
    let mut beside = Control::empty();
    let read = sys::receive(socket, &mut [0], &mut beside, DONT_WAIT);
    if read == 1 && beside.count() == 1 { beside.descriptors[0] } else { -1 }
}

/// Whether a supervisor can connect for an agent here: the kernel notifies, and the memory of a child can be read.
/// This process keeps the filter that it tries, which allows everything.
pub(crate) fn is_possible() -> bool {
    // Without privileges only who can gain none may have a filter.
    set_attribute(Attribute::NO_NEW_PRIVILEGES, 1);
    if notifying_filter(&[6, 0, 0, 0, 0, 0, 0xff, 0x7f]) < 0 {
        return false;
    }
    let child = fork();
    if child == 0 {
        set_attribute(Attribute::DEATH_SIGNAL, SIGKILL);
        poll(&mut [], None);
        exit(0)
    }
    if child < 0 {
        return false;
    }
    let memory = open_in_proc(child as usize, |path, end| text(path, end, b"/mem\0"));
    sys!(KILL, child, SIGKILL);
    wait(child, None, 0);
    memory >= 0
}

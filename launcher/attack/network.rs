//! Addresses and sockets. Only those that were given are ever sent anything.

use super::aim::{Aim, O_RDONLY, close, contains, open, same, wait_for};
use super::{Outcome, Stop, done};
use crate::sys::{self, AT_FDCWD, CLOEXEC, Control, IoVec, NONBLOCK, SIGKILL, exit, message};

const AF_UNIX: usize = 1;
const AF_INET: usize = 2;
const AF_INET6: usize = 10;
pub(super) const SOCK_STREAM: usize = 1;
const SOCK_DGRAM: usize = 2;
const SOCK_RAW: usize = 3;
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
/// Loopback as well, and not where the proxy listens.
const SECOND: [u8; 4] = [127, 0, 0, 2];
const POLLOUT: i16 = 4;
const POLLERR: i16 = 8;

const EINPROGRESS: Stop = Stop(115);

/// A socket that never waits.
fn socket(family: usize, kind: usize, protocol: usize) -> Result<usize, Stop> {
    done(sys!(SOCKET, family, kind | NONBLOCK | CLOEXEC, protocol))
}

/// `struct sockaddr_in`.
fn inet([a, b, c, d]: [u8; 4], port: u16) -> [u8; 16] {
    let [high, low] = port.to_be_bytes();
    [AF_INET as u8, 0, high, low, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// `struct sockaddr_in6` of loopback.
fn inet6(port: u16) -> [u8; 28] {
    let mut address = mapped([0, 0, 0, 1], port);
    (address[18], address[19]) = (0, 0);
    address
}

/// `struct sockaddr_in6` of an address of version 4 (`::ffff:A.B.C.D`).
fn mapped([a, b, c, d]: [u8; 4], port: u16) -> [u8; 28] {
    let [high, low] = port.to_be_bytes();
    let mut address = [0u8; 28];
    (address[0], address[2], address[3]) = (AF_INET6 as u8, high, low);
    (address[18], address[19]) = (255, 255);
    (address[20], address[21], address[22], address[23]) = (a, b, c, d);
    address
}

/// `struct sockaddr_un` and its length.
pub(super) fn unix_address(name: &[u8], is_abstract: bool) -> Result<([u8; 110], usize), Stop> {
    const ENAMETOOLONG: Stop = Stop(36);
    if name.len() > 106 {
        return Err(ENAMETOOLONG);
    }
    let mut address = [0u8; 110];
    address[0] = AF_UNIX as u8;
    let start = 2 + usize::from(is_abstract);
    for (place, byte) in address.iter_mut().skip(start).zip(name) {
        *place = *byte;
    }
    // A path's NUL belongs to it; that of an abstract name stands before it.
    Ok((address, name.len() + 3))
}

/// The error that a socket has met.
fn error_of(socket: usize) -> Outcome {
    const SOL_SOCKET: usize = 1;
    const SO_ERROR: usize = 4;
    let (mut error, mut length) = (0i32, 4u32);
    // SAFETY: the kernel writes an error of `length` bytes, which an `i32` has, and its length.
    let asked =
        unsafe { sys!(GETSOCKOPT, socket, SOL_SOCKET, SO_ERROR, &raw mut error, &raw mut length) };
    done(asked)?;
    if error == 0 { Ok(()) } else { Err(Stop(error as u8)) }
}

/// Waits until a connection stands or fails.
fn connected(socket: usize, begun: Result<usize, Stop>) -> Outcome {
    match begun {
        Err(EINPROGRESS) => {
            wait_for(socket, POLLOUT, 200)?;
            error_of(socket)
        }
        begun => begun.map(|_| ()),
    }
}

fn connect(socket: usize, address: &[u8]) -> Outcome {
    connected(socket, done(sys::connect(socket as isize, address)))
}

/// Connects to a port of the host's loopback.
pub(super) fn tcp(aim: &Aim<'_>) -> Outcome {
    let address = inet(LOOPBACK, aim.port(b"tcp")?);
    connect(socket(AF_INET, SOCK_STREAM, 0)?, &address)
}

/// The same over version 6.
pub(super) fn tcp6(aim: &Aim<'_>) -> Outcome {
    let address = inet6(aim.port(b"tcp6")?);
    connect(socket(AF_INET6, SOCK_STREAM, 0)?, &address)
}

/// Connects to where a session may: the proxy. This is no attack.
pub(super) fn proxy(port: u16) -> Outcome {
    let socket = socket(AF_INET, SOCK_STREAM, 0)?;
    let connection = connect(socket, &inet(LOOPBACK, port));
    // What is left open here is open in all attacks.
    close(socket);
    connection
}

/// Connects to the proxy's port at another address of loopback.
pub(super) fn proxy_port(aim: &Aim<'_>) -> Outcome {
    let address = inet(SECOND, aim.port(b"same")?);
    connect(socket(AF_INET, SOCK_STREAM, 0)?, &address)
}

/// The same over version 6.
pub(super) fn proxy_port6(aim: &Aim<'_>) -> Outcome {
    let address = inet6(aim.port(b"same6")?);
    connect(socket(AF_INET6, SOCK_STREAM, 0)?, &address)
}

/// The same with an address of version 4 in a socket of version 6.
pub(super) fn proxy_port_mapped(aim: &Aim<'_>) -> Outcome {
    let address = mapped(SECOND, aim.port(b"same")?);
    connect(socket(AF_INET6, SOCK_STREAM, 0)?, &address)
}

/// Connects to the proxy while another process writes the second address over the first: whoever checks an
/// address in our memory and lets the call go on is deceived.
pub(super) fn swapped(aim: &Aim<'_>) -> Outcome {
    const TRIES: usize = 32;
    const WRITES: usize = 100_000_000;
    let allowed = inet(LOOPBACK, aim.port(b"proxy")?);
    let other = inet(SECOND, aim.port(b"same")?);
    // SAFETY: the kernel chooses the place, so no memory in use is replaced.
    let page = done(unsafe { sys!(MMAP, 0, 4096, 3, 0x21, -1isize) })? as *mut u8;
    // Family, port and address are the first eight bytes, and are written at once.
    let [first, second] = [&allowed, &other]
        .map(|address| u64::from_ne_bytes(*address.first_chunk().unwrap_or(&[0; 8])));
    let words = page.cast::<u64>();
    // SAFETY: the page was just mapped; only this process and its child have it.
    unsafe { words.write_volatile(first) };
    let writer = done(sys::fork())?;
    if writer == 0 {
        for _ in 0..WRITES {
            // SAFETY: as above.
            unsafe {
                words.write_volatile(second);
                words.write_volatile(first);
            }
        }
        exit(0)
    }
    let mut last = Err(Stop::DIFFERENT);
    for _ in 0..TRIES {
        // SAFETY: the page has more than the 16 bytes of an address.
        last = unsafe { connects_elsewhere(page, &other) };
        if matches!(last, Ok(()) | Err(Stop::TIMEOUT)) {
            break;
        }
    }
    sys!(KILL, writer, SIGKILL);
    sys::wait(writer as isize, None, 0);
    last
}

/// Connects to the address at this place; whether it became a connection to that one.
///
/// # Safety
///
/// There must be an address of 16 bytes at this place, which others may change.
unsafe fn connects_elsewhere(address: *const u8, other: &[u8; 16]) -> Outcome {
    let socket = socket(AF_INET, SOCK_STREAM, 0)?;
    // SAFETY: the caller vouches for as many bytes.
    let connection =
        connected(socket, done(unsafe { sys!(CONNECT, socket, address, other.len()) }));
    let (mut peer, mut length) = ([0u8; 16], 16u32);
    // SAFETY: the kernel writes at most `length` bytes, which the peer has, and the length.
    let asked = unsafe { sys!(GETPEERNAME, socket, peer.as_mut_ptr(), &raw mut length) };
    close(socket);
    connection.and(done(asked))?;
    if same(&peer, other) { Ok(()) } else { Err(Stop::DIFFERENT) }
}

const FAST_OPEN: usize = 0x2000_0000;

/// Connects by sending, without `connect`.
pub(super) fn fast_open(aim: &Aim<'_>) -> Outcome {
    let address = inet(LOOPBACK, aim.port(b"tcp")?);
    let socket = socket(AF_INET, SOCK_STREAM, 0)?;
    let sent = send_to(socket, b"x", FAST_OPEN, &address);
    // What was sent may be on its way to nobody; only the connection counts.
    connected(socket, done(sent).and(Err(EINPROGRESS)))
}

/// The same with a message.
pub(super) fn fast_open_message(aim: &Aim<'_>) -> Outcome {
    let mut address = inet(LOOPBACK, aim.port(b"tcp")?);
    let socket = socket(AF_INET, SOCK_STREAM, 0)?;
    let mut byte = b'x';
    let mut vector = IoVec { base: &raw mut byte, length: 1 };
    let mut nothing = Control::empty();
    let mut header = message(&mut vector, &mut nothing, 0);
    header.name = address.as_mut_ptr();
    header.name_length = address.len() as u32;
    // SAFETY: the header names a byte and an address, each with its true length.
    let sent = unsafe { sys!(SENDMSG, socket, &raw const header, FAST_OPEN) };
    connected(socket, done(sent).and(Err(EINPROGRESS)))
}

/// Connects with a protocol beside TCP that ends at the same port.
pub(super) fn multipath(aim: &Aim<'_>) -> Outcome {
    const IPPROTO_MPTCP: usize = 262;
    let address = inet(LOOPBACK, aim.port(b"tcp")?);
    connect(socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP)?, &address)
}

/// A ring takes orders that filters of system calls do not see.
pub(super) fn ring(_: &Aim<'_>) -> Outcome {
    let mut parameters = [0u32; 64];
    // SAFETY: `struct io_uring_params` is 120 bytes.
    done(unsafe { sys!(IO_URING_SETUP, 1, parameters.as_mut_ptr()) }).map(close)
}

/// Whether this is the host's network: there the canary's port is taken.
fn is_hosts_network(aim: &Aim<'_>) -> Outcome {
    let Ok(port) = aim.port(b"tcp") else {
        return Ok(());
    };
    let address = inet(LOOPBACK, port);
    let Ok(socket) = socket(AF_INET, SOCK_STREAM, 0) else {
        return Ok(());
    };
    // Where not even this is allowed nothing is known, and the worse is taken for true.
    match done(sys::bind(socket as isize, &address)) {
        Ok(_) => Err(Stop::OWN_NETWORK),
        Err(_) => Ok(()),
    }
}

/// Listens where others can reach it.
pub(super) fn bind(aim: &Aim<'_>) -> Outcome {
    let address = inet([0; 4], 0);
    let socket = socket(AF_INET, SOCK_STREAM, 0)?;
    done(sys::bind(socket as isize, &address))?;
    done(sys!(LISTEN, socket, 1))?;
    // In a network of its own the kernel may have chosen just the canary's port.
    sys!(CLOSE, socket);
    is_hosts_network(aim)
}

/// Listens without `bind`, on whatever port the kernel finds.
pub(super) fn listen(aim: &Aim<'_>) -> Outcome {
    let socket = socket(AF_INET, SOCK_STREAM, 0)?;
    done(sys!(LISTEN, socket, 1))?;
    sys!(CLOSE, socket);
    is_hosts_network(aim)
}

/// Sends bytes to an address.
fn send_to(socket: usize, bytes: &[u8], flags: usize, address: &[u8]) -> isize {
    let (text, to) = (bytes.as_ptr(), address.as_ptr());
    // SAFETY: the kernel reads as many bytes as each slice has.
    unsafe { sys!(SENDTO, socket, text, bytes.len(), flags, to, address.len()) }
}

/// Sends a datagram and looks whether it came back as refused.
fn sends(aim: &Aim<'_>, family: usize, address: &[u8], option: (usize, usize)) -> Outcome {
    let marker = aim.marker()?;
    let socket = socket(family, SOCK_DGRAM, 0)?;
    // Without this only connected sockets hear of refusals.
    let yes = 1i32;
    // SAFETY: the value is an `i32` of four bytes.
    unsafe { sys!(SETSOCKOPT, socket, option.0, option.1, &raw const yes, 4) };
    done(send_to(socket, marker, 0, address))?;
    not_refused(socket)
}

/// On loopback the answer is there before `sendto` returns.
fn not_refused(socket: usize) -> Outcome {
    match wait_for(socket, 0, 2) {
        Ok(events) if events & POLLERR != 0 => error_of(socket),
        _ => Ok(()),
    }
}

/// A datagram to a port of the host's loopback.
pub(super) fn udp(aim: &Aim<'_>) -> Outcome {
    const IP_RECVERR: (usize, usize) = (0, 11);
    sends(aim, AF_INET, &inet(LOOPBACK, aim.port(b"udp")?), IP_RECVERR)
}

/// The same over version 6.
pub(super) fn udp6(aim: &Aim<'_>) -> Outcome {
    const IPV6_RECVERR: (usize, usize) = (41, 25);
    sends(aim, AF_INET6, &inet6(aim.port(b"udp6")?), IPV6_RECVERR)
}

/// The same from a connected socket, with an ordinary `write`.
pub(super) fn udp_connected(aim: &Aim<'_>) -> Outcome {
    let marker = aim.marker()?;
    let address = inet(LOOPBACK, aim.port(b"udp")?);
    let socket = socket(AF_INET, SOCK_DGRAM, 0)?;
    connect(socket, &address)?;
    done(sys::write(socket as i32, marker))?;
    not_refused(socket)
}

/// A socket for packets of any protocol above IP.
pub(super) fn raw(aim: &Aim<'_>) -> Outcome {
    const IPPROTO_ICMP: usize = 1;
    socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)?;
    is_hosts_network(aim)
}

/// A socket for frames.
pub(super) fn packet(aim: &Aim<'_>) -> Outcome {
    const AF_PACKET: usize = 17;
    socket(AF_PACKET, SOCK_DGRAM, 0)?;
    is_hosts_network(aim)
}

/// A socket to the machine below; it knows no network namespaces.
pub(super) fn vsock(_: &Aim<'_>) -> Outcome {
    const AF_VSOCK: usize = 40;
    socket(AF_VSOCK, SOCK_STREAM, 0).map(close)
}

/// A socket for pings.
pub(super) fn icmp(aim: &Aim<'_>) -> Outcome {
    const IPPROTO_ICMP: usize = 1;
    socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)?;
    is_hosts_network(aim)
}

/// A socket of a protocol that rules for TCP do not know.
pub(super) fn sctp(aim: &Aim<'_>) -> Outcome {
    const IPPROTO_SCTP: usize = 132;
    socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)?;
    is_hosts_network(aim)
}

/// Turns a socket of TCP into one that rules for TCP do not know.
pub(super) fn smc(_: &Aim<'_>) -> Outcome {
    const IPPROTO_TCP: usize = 6;
    const TCP_ULP: usize = 31;
    let socket = socket(AF_INET, SOCK_STREAM, 0)?;
    // SAFETY: the name has three bytes.
    done(unsafe { sys!(SETSOCKOPT, socket, IPPROTO_TCP, TCP_ULP, c"smc".as_ptr(), 3) }).map(|_| ())
}

/// Connects to a socket by its abstract name.
pub(super) fn unix_abstract(aim: &Aim<'_>) -> Outcome {
    let (address, length) = unix_address(aim.text(b"abstract")?, true)?;
    connect(socket(AF_UNIX, SOCK_STREAM, 0)?, address.get(..length).unwrap_or_default())
}

/// Connects to a socket by its path.
pub(super) fn unix_path(aim: &Aim<'_>) -> Outcome {
    let (address, length) = unix_address(aim.text(b"socket")?, false)?;
    connect(socket(AF_UNIX, SOCK_STREAM, 0)?, address.get(..length).unwrap_or_default())
}

/// A datagram to a socket by its path.
fn sends_to_path(aim: &Aim<'_>, socket: usize) -> Outcome {
    let marker = aim.marker()?;
    let (address, length) = unix_address(aim.text(b"dgram")?, false)?;
    const DONTWAIT: usize = 0x40;
    let address = address.get(..length).unwrap_or_default();
    done(send_to(socket, marker, DONTWAIT, address)).map(|_| ())
}

/// Sends a datagram to a socket by its path.
pub(super) fn unix_datagram(aim: &Aim<'_>) -> Outcome {
    aim.text(b"dgram")?;
    sends_to_path(aim, socket(AF_UNIX, SOCK_DGRAM, 0)?)
}

/// The same from one of a pair, where making single sockets is not allowed.
pub(super) fn unix_pair(aim: &Aim<'_>) -> Outcome {
    aim.text(b"dgram")?;
    let mut pair = [0i32; 2];
    // SAFETY: the kernel writes two descriptors, and there are two places.
    done(unsafe { sys!(SOCKETPAIR, AF_UNIX, SOCK_DGRAM | CLOEXEC, 0, pair.as_mut_ptr()) })?;
    sends_to_path(aim, pair[0] as usize)
}

/// Looks for the canary among the names of all sockets.
pub(super) fn unix_list(aim: &Aim<'_>) -> Outcome {
    let name = aim.text(b"abstract").or_else(|_| aim.text(b"socket"))?;
    let file = open(AT_FDCWD, c"/proc/self/net/unix", O_RDONLY)?;
    let mut buffer = [0u8; 8192];
    // The kernel ends each part at the end of a line.
    for _ in 0..256 {
        match done(sys::read(file as i32, &mut buffer))? {
            0 => break,
            size if contains(buffer.get(..size).unwrap_or_default(), name) => return Ok(()),
            _ => {}
        }
    }
    Err(Stop::DIFFERENT)
}

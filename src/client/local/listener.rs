//! Who listens on a port of this machine: the proof that a local address is a server of this user.
//!
//! The kernel lists every listening socket of the network namespace with the user that opened it
//! (`/proc/net/tcp`, proc(5)). No program of another user can take a port there in our name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The state of a socket that listens, as the kernel writes it.
const LISTEN: &str = "0A";

/// How often the kernel's list of locks is looked through for one that is not found: it is read in several parts, and a
/// lock that goes between two of them hides another one.
const LOOKS: usize = 3;

/// The user that may read and change everything of ours anyway.
const ROOT: u32 = 0;

/// Whether the port is listened on at a loopback or wildcard address, by this user or root, and by nobody else.
pub(super) fn is_ours(port: u16) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    owned(&read("/proc/net/tcp"), &read("/proc/net/tcp6"), port, ours)
}

/// The user that listens on a port.
pub(crate) fn find_owner(port: u16) -> Option<u32> {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let text = read("/proc/net/tcp") + &read("/proc/net/tcp6");
    text.lines().filter_map(listener).find(|(_, found, _)| *found == port).map(|(.., user)| user)
}

/// Whether this process holds the lock of a file. The kernel lists every lock with its process and the number of the file
/// (`/proc/locks`, proc(5)); to try the lock would be in the way of a server that starts now.
pub(super) fn holds_lock(pid: i32, file: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(file) else { return false };
    let is_listed = || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        locks.lines().any(|line| is_lock_of(line, pid, metadata.ino()))
    };
    (0..LOOKS).any(|_| is_listed())
}

/// Whether a line is that of a lock which is held: `1: FLOCK ADVISORY WRITE 710 08:01:12345 0 EOF`.
fn is_lock_of(line: &str, pid: i32, inode: u64) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", holder, place, ..] = fields[..] else { return false };
    let number = place.rsplit(':').next().and_then(|number| number.parse().ok());
    holder.parse() == Ok(pid) && number == Some(inode)
}

fn owned(tcp: &str, tcp6: &str, port: u16, ours: u32) -> bool {
    let lines = tcp.lines().chain(tcp6.lines());
    let mut owners = lines.filter_map(listener).filter(|(address, found, _)| {
        *found == port && (address.is_loopback() || address.is_unspecified())
    });
    let mut some = false;
    let all = owners.all(|(_, _, uid)| {
        some = true;
        uid == ours || uid == ROOT
    });
    some && all
}

/// Address, port and user of a line, if it is a socket that listens.
fn listener(line: &str) -> Option<(IpAddr, u16, u32)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((parse(address)?, port, fields.get(7)?.parse().ok()?))
}

/// An address in words of 32 bits, each in the byte order of the machine.
fn parse(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (place, at) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                place.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux on a little-endian machine writes it: 127.0.0.1:2222 of user 1000, 0.0.0.0:2223 of root.
    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 00000000:08AF 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0100007F:08B0 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 3 1 0 100 0 0 10 0";
    /// [::1]:2222 of user 1001.
    const TCP6: &str = "   0: 00000000000000000000000001000000:08AE 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 4 1 0 100 0 0 10 0";

    #[test]
    fn a_port_of_this_user_is_ours() {
        assert!(owned(TCP, "", 2222, 1000));
    }

    #[test]
    fn a_port_of_another_user_is_not_ours() {
        assert!(!owned(TCP, "", 2222, 1001));
    }

    #[test]
    fn a_port_of_root_is_trusted() {
        assert!(owned(TCP, "", 2223, 1000));
    }

    #[test]
    fn a_port_that_another_user_has_too_is_not_ours() {
        assert!(!owned(TCP, TCP6, 2222, 1000));
    }

    #[test]
    fn a_lock_is_held_by_its_process_alone_and_not_by_those_that_wait_for_it() {
        let held = "3: FLOCK  ADVISORY  WRITE 710 08:01:12345 0 EOF";
        assert!(is_lock_of(held, 710, 12345));
        assert!(!is_lock_of(held, 711, 12345) && !is_lock_of(held, 710, 1234));
        assert!(!is_lock_of("3: -> FLOCK  ADVISORY  WRITE 710 08:01:12345 0 EOF", 710, 12345));
    }

    #[test]
    fn a_connection_is_no_listener() {
        assert!(!owned(TCP, "", 2224, 1000));
    }

    #[test]
    fn a_port_that_this_process_listens_on_is_ours() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(is_ours(socket.local_addr().unwrap().port()));
    }
}

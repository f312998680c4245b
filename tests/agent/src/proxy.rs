//! Connections to the sandbox's proxy, in the ways of a hostile agent: it sends what it can and reads nothing.

use crate::usage;
use crate::voice::base64;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::env;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// Between two tries to send more.
const AGAIN: Duration = Duration::from_millis(10);
/// After so many tries in which no connection took a byte, none will.
const TRIES: usize = 50;
/// The most tries.
const MOST_TRIES: usize = 2000;

/// What is sent on each connection: a beginning, then so many bytes at most.
struct Attack {
    begin: String,
    more: usize,
}

/// Opens so many connections of this kind, and returns them when none of them takes any more. `target` is a host
/// that the proxy lets pass.
pub(crate) fn open(kind: &str, count: usize, target: &str) -> io::Result<Vec<TcpStream>> {
    let proxy = env::var("HTTP_PROXY").map_err(|_| usage("there is no HTTP_PROXY"))?;
    let found = proxy.strip_prefix("http://").and_then(|rest| rest.split_once('@'));
    let (user, address) = found.ok_or_else(|| usage("HTTP_PROXY has no user"))?;
    let address: SocketAddr = address.parse().map_err(|_| usage("HTTP_PROXY has no address"))?;
    let attack = attack(kind, user, target)?;
    let mut left = vec![(attack.begin.as_bytes(), attack.more); count];
    let piece = [b'x'; 16 * 1024];
    let mut sockets = Vec::new();
    let mut idle = 0;
    for _ in 0..MOST_TRIES {
        let mut is_idle = sockets.len() == count;
        if sockets.len() < count {
            sockets.push(narrow(address)?);
        }
        for (socket, (begin, more)) in sockets.iter_mut().zip(&mut left) {
            loop {
                let next = if begin.is_empty() { &piece[..piece.len().min(*more)] } else { *begin };
                if next.is_empty() {
                    break;
                }
                // The proxy may have closed it.
                let Some(written) = write(socket, next)? else { break };
                is_idle = false;
                if begin.is_empty() {
                    *more -= written;
                } else {
                    *begin = &begin[written..];
                }
            }
        }
        idle = if is_idle { idle + 1 } else { 0 };
        if idle == TRIES {
            break;
        }
        if sockets.len() == count {
            thread::sleep(AGAIN);
        }
    }
    Ok(sockets)
}

/// What was written; none where nothing can be, now or any more.
fn write(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<Option<usize>> {
    match socket.write(bytes) {
        Ok(written) => Ok(Some(written)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Ok(None),
            _ => Err(error),
        },
    }
}

/// A connection that takes few bytes without their being read.
fn narrow(address: SocketAddr) -> io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    set_socket_recv_buffer_size(&socket, 1)?;
    match connect(&socket, &address) {
        // One for which there is no room waits to be accepted.
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

fn attack(kind: &str, user: &str, target: &str) -> io::Result<Attack> {
    let token = user.split_once(':').map_or(user, |(_, token)| token);
    let credential =
        format!("Proxy-Authorization: Basic {}\r\nX-Api-Key: {token}\r\n", base64(user.as_bytes()));
    let long = format!("X: {}\r\n", "x".repeat(14_000));
    let many = (0..90).map(|number| format!("X-{number}: x\r\n")).collect::<String>();
    let head =
        |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: {target}\r\n{credential}{more}");
    let sized = "Content-Length: 1000000000000\r\n";
    let (begin, more) = match kind {
        "silent" => (String::new(), 0),
        "half-heads" => (head(&format!("GET http://{target}/"), &long), 0),
        "heads" => (head(&format!("GET http://{target}/"), &long) + "\r\n", 0),
        "many-headers" => (head(&format!("GET http://{target}/"), &many) + "\r\n", 0),
        "pipelines" => {
            let path = "x".repeat(3000);
            let one = head(&format!("GET http://refused.example/{path}"), "") + "\r\n";
            (one.repeat(60), 0)
        }
        "refusals" => {
            let name = ["x".repeat(60).as_str(); 4].join(".");
            (head(&format!("CONNECT {name}:443"), "") + "\r\n", 0)
        }
        "tunnels" => (head(&format!("CONNECT {target}"), "") + "\r\n", 64 * 1024),
        "early-bytes" => {
            (head(&format!("CONNECT {target}"), "") + "\r\n" + &"x".repeat(64 * 1024), 0)
        }
        "pages" => (head(&format!("GET http://{target}/"), "") + "\r\n", 0),
        "forwards" => (head(&format!("POST http://{target}/"), sized) + "\r\n", 1024 * 1024),
        "answers" => (head("GET /model/anthropic/v1/models", "") + "\r\n", 0),
        "uploads" => (head("POST /model/anthropic/v1/messages", sized) + "\r\n", 1024 * 1024),
        _ => return Err(usage("the script says `connect` with an unknown kind")),
    };
    Ok(Attack { begin, more })
}

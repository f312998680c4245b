//! One request as bytes on a socket of its own, which is closed at any moment.

use super::dice::Dice;
use super::requests::Request;
use crate::world::PATIENCE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How a caller leaves.
pub(super) struct Manner {
    /// How much of the request is sent, in 1/256.
    pub(super) sent: u64,
    /// How long the caller stays after that.
    pub(super) stay: Duration,
    /// Whether the connection is reset, not closed.
    pub(super) reset: bool,
}

impl Manner {
    /// Mostly a whole request and up to 20 ms; sometimes half a request, sometimes the patience for an answer.
    pub(super) fn by(dice: &mut Dice) -> Self {
        let sent = if dice.one_in(8) { dice.below(256) } else { 256 };
        // Small numbers are rolled more often: most operations take less than a millisecond.
        let micros = 1 << dice.below(15);
        let stay = Duration::from_micros(micros + dice.below(micros));
        let stay = if dice.one_in(6) { Duration::from_millis(300) } else { stay };
        Self { sent, stay: stay.min(Duration::from_millis(300)), reset: dice.one_in(3) }
    }

    /// The whole request, and the patience for its answer.
    pub(super) const fn of_a_friend() -> Self {
        Self { sent: 256, stay: Duration::from_secs(2), reset: false }
    }
}

/// Sends and leaves; what came until then. A server that is gone answers nothing.
pub(super) fn hang_up(address: SocketAddr, request: &Request, manner: &Manner) -> Vec<u8> {
    let mut came = Vec::new();
    let Ok(mut socket) = TcpStream::connect_timeout(&address, PATIENCE) else {
        return came;
    };
    let _ = socket.set_nodelay(true);
    let size = request.bytes.len() * usize::try_from(manner.sent).unwrap() / 256;
    if socket.write_all(&request.bytes[..size]).is_err() {
        return came;
    }
    let until = Instant::now() + manner.stay;
    let mut buffer = [0; 16 * 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait = Timespec::try_from(left).unwrap();
        let mut ready = [PollFd::new(&socket, PollFlags::IN)];
        if left.is_zero() || poll(&mut ready, Some(&wait)) == Ok(0) {
            break;
        }
        match socket.read(&mut buffer) {
            Ok(size @ 1..) => came.extend_from_slice(&buffer[..size]),
            Ok(0) | Err(_) => break,
        }
    }
    if manner.reset {
        set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    }
    came
}

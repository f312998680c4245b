//! Bytes both ways between two sockets, until both have ended or neither has said anything for long.
//!
//! A tunnel holds no bytes: what one side cannot take yet stays in the other side's socket.

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use std::io;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::Instant;

/// As much is passed on at a time.
const PIECE: usize = 16 * 1024;

/// Carries bytes. `early` came from the near side already; what is held because of them is dropped when they have
/// been passed on. Whoever is slow is waited for, and holds up the other side with it.
pub(super) async fn carry<T>(
    near: &TcpStream,
    far: &TcpStream,
    early: (Bytes, T),
    idle: Duration,
) -> io::Result<()> {
    let last = Last(Mutex::new(Instant::now()));
    let there = async {
        write(far, &early.0, &last).await?;
        drop(early);
        pass_all(near, far, &last).await
    };
    let both = async { tokio::try_join!(there, pass_all(far, near, &last)) };
    let silence = async {
        while last.get().elapsed() < idle {
            tokio::time::sleep_until(last.get() + idle).await;
        }
    };
    tokio::select! {
        carried = both => carried.map(|_| ()),
        () = silence => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// When somebody said something last.
struct Last(Mutex<Instant>);

impl Last {
    fn get(&self) -> Instant {
        *self.0.lock()
    }

    fn now(&self) {
        *self.0.lock() = Instant::now();
    }
}

async fn write(to: &TcpStream, mut bytes: &[u8], last: &Last) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        last.now();
    }
    Ok(())
}

/// Passes on all that one side says, and its end.
async fn pass_all(from: &TcpStream, to: &TcpStream, last: &Last) -> io::Result<()> {
    loop {
        from.readable().await?;
        to.writable().await?;
        match pass_on(from, to) {
            Ok(0) => return Ok(shutdown(to, Shutdown::Write)?),
            Ok(_) => last.now(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        consume_budget().await;
    }
}

/// Writes a piece of what has arrived and takes it from where it arrived; 0 at the end.
fn pass_on(from: &TcpStream, to: &TcpStream) -> io::Result<usize> {
    let mut piece = [0; PIECE];
    let (arrived, _) =
        from.try_io(Interest::READABLE, || Ok(recv(from, &mut piece, RecvFlags::PEEK)?))?;
    if arrived == 0 {
        return Ok(0);
    }
    let written = to.try_write(&piece[..arrived])?;
    let (taken, _) = recv(from, &mut piece[..written], RecvFlags::empty())?;
    debug_assert_eq!(taken, written, "nobody else reads from this socket");
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Two ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    #[tokio::test]
    async fn each_side_may_end_before_the_other() {
        let ((mut client, near), (far, mut server)) = (pair().await, pair().await);
        let early = (Bytes::from_static(b"hel"), ());
        let carried = carry(&near, &far, early, Duration::from_secs(60));
        let talk = async {
            client.write_all(b"lo").await.unwrap();
            client.shutdown().await.unwrap();
            let mut heard = String::new();
            server.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, "hello");
            server.write_all(b"bye").await.unwrap();
            server.shutdown().await.unwrap();
            let mut heard = String::new();
            client.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, "bye");
        };
        let (carried, ()) = tokio::join!(carried, talk);
        carried.unwrap();
    }

    #[tokio::test]
    async fn silence_on_both_sides_ends_it() {
        let ((mut client, near), (far, mut server)) = (pair().await, pair().await);
        let idle = Duration::from_millis(100);
        let began = Instant::now();
        let carried = carry(&near, &far, (Bytes::new(), ()), idle);
        let talk = async {
            tokio::time::sleep(idle / 2).await;
            client.write_all(b"x").await.unwrap();
            server.read_exact(&mut [0]).await.unwrap();
        };
        let (carried, ()) = tokio::join!(carried, talk);
        assert_eq!(carried.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= idle + idle / 2);
    }

    #[tokio::test]
    async fn more_than_the_sockets_hold_arrives_whole_on_both_sides() {
        const BYTES: usize = 16 * 1024 * 1024;
        let ((mut client, near), (far, mut server)) = (pair().await, pair().await);
        let carried = carry(&near, &far, (Bytes::new(), ()), Duration::from_secs(60));
        let all: Vec<u8> = (0..251).cycle().take(BYTES).collect();
        let talk = async |socket: &mut TcpStream| {
            let (mut reads, mut writes) = socket.split();
            let write = async {
                writes.write_all(&all).await.unwrap();
                writes.shutdown().await.unwrap();
            };
            let mut heard = Vec::new();
            let (_, read) = tokio::join!(write, reads.read_to_end(&mut heard));
            read.unwrap();
            assert!(heard == all);
        };
        let (carried, (), ()) = tokio::join!(carried, talk(&mut client), talk(&mut server));
        carried.unwrap();
    }

    #[tokio::test]
    async fn a_side_that_is_reset_ends_the_other() {
        let ((client, near), (far, mut server)) = (pair().await, pair().await);
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        let carried = carry(&near, &far, (Bytes::new(), ()), Duration::from_secs(60)).await;
        assert_eq!(carried.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        drop((near, far));
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    }
}

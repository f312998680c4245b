//! Bytes both ways between two sockets, until both have ended or neither has said anything for long.

use bytes::Bytes;
use parking_lot::Mutex;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// As much is under way in each direction.
const PIECE: usize = 16 * 1024;

/// Carries bytes; `early` came from the near side already. Whoever is slow is waited for, and holds up
/// the other side with it.
pub(super) async fn carry<N, F>(near: N, far: F, early: Bytes, idle: Duration) -> io::Result<()>
where
    N: AsyncRead + AsyncWrite,
    F: AsyncRead + AsyncWrite,
{
    let (near_reads, near_writes) = tokio::io::split(near);
    let (far_reads, far_writes) = tokio::io::split(far);
    let last = Last(Mutex::new(Instant::now()));
    let both = async {
        tokio::try_join!(
            copy(near_reads, far_writes, early, &last),
            copy(far_reads, near_writes, Bytes::new(), &last),
        )
    };
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

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    early: Bytes,
    last: &Last,
) -> io::Result<()> {
    to.write_all(&early).await?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        last.now();
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..read]).await?;
        last.now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    #[tokio::test]
    async fn each_side_may_end_before_the_other() {
        let (mut client, near) = duplex(64);
        let (far, mut server) = duplex(64);
        let early = Bytes::from_static(b"hel");
        let carried = carry(near, far, early, Duration::from_secs(60));
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
        let (mut client, near) = duplex(64);
        let (far, mut server) = duplex(64);
        let idle = Duration::from_millis(100);
        let began = Instant::now();
        let carried = carry(near, far, Bytes::new(), idle);
        let talk = async {
            tokio::time::sleep(idle / 2).await;
            client.write_all(b"x").await.unwrap();
            server.read_exact(&mut [0]).await.unwrap();
        };
        let (carried, ()) = tokio::join!(carried, talk);
        assert_eq!(carried.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= idle + idle / 2);
    }
}

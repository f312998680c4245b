//! The line to the program that begins inside of new namespaces: over it go what to become, who it is from
//! outside, and the listener that it made there.

use super::control::Leader;
use crate::supervisor::{Inner, Report};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, sockopt,
};
use rustix::process::{Pid, PidfdFlags};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// Most descriptors that go along with a specification.
const MOST_ALONG: usize = 4;

/// The near end of a line, and the far one until it is given away.
pub(super) struct Line {
    near: UnixStream,
    far: Option<OwnedFd>,
}

/// What became of the program inside.
pub(super) enum Entered {
    /// It is the agent now.
    Yes { leader: Leader, handed: Option<TcpListener> },
    /// It could not become it: the part of the sandbox, and the system's error number.
    No(u32, i32),
    /// It never began.
    Never,
}

/// The part of a sandbox, by its record in `launcher/wall.rs`.
pub(super) fn part(record: u32) -> &'static str {
    match record {
        1 => "a limit",
        2 => "giving up capabilities",
        3..=6 => "Landlock",
        7 | 12 => "the filter of system calls",
        20 => "a user namespace",
        21 | 22 => "the read-only devices",
        23 => "the limit of user namespaces",
        8 => "the listener of its network",
        9 => "giving up new privileges",
        10 => "its control group",
        _ => "an unknown part",
    }
}

/// Sends bytes with descriptors beside them; how many bytes went.
pub(super) async fn send_with(
    socket: &UnixStream,
    bytes: &[u8],
    along: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    socket
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_ALONG))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(along));
            let sent = rustix::net::sendmsg(
                socket,
                &[IoSlice::new(bytes)],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            );
            Ok(sent?)
        })
        .await
}

impl Line {
    pub(super) fn new() -> io::Result<Self> {
        let (near, far) = std::os::unix::net::UnixStream::pair()?;
        near.set_nonblocking(true)?;
        // Every message from inside tells who wrote it, by the number that it has out here.
        sockopt::set_socket_passcred(&near, true)?;
        Ok(Self { near: UnixStream::from_std(near)?, far: Some(far.into()) })
    }

    pub(super) fn far(&self) -> BorrowedFd<'_> {
        self.far.as_ref().expect("the far end is given away after it was sent").as_fd()
    }

    /// Tells the program inside what to become, and waits until it has.
    pub(super) async fn enter(&mut self, inner: &Inner) -> io::Result<Entered> {
        // The copy that went along is the only one now, so its end is seen.
        self.far = None;
        let bytes = match inner.spec.encode(&inner.sandbox) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Entered::No(0, error.raw_os_error().unwrap_or(22))),
        };
        // A program that ended already is told of by the end of the line.
        let _ = self.near.write_all(&bytes).await;
        let (mut read, mut handed, mut leader) = (Vec::new(), None, None);
        loop {
            let (size, pid, descriptor) = self.receive(&mut read).await?;
            handed = handed.or(descriptor);
            if let (None, Some(pid)) = (&leader, pid) {
                let handle = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                    Ok(handle) => Some(handle),
                    // It has ended already; how, its supervisor tells.
                    Err(rustix::io::Errno::SRCH) => None,
                    Err(error) => return Err(error.into()),
                };
                leader = Some(Leader { pid, handle });
            }
            if size == 0 {
                break;
            }
        }
        let mut rest = read.as_slice();
        while let Some((tag, after)) = rest.split_first() {
            if *tag == b'L' {
                rest = after;
                continue;
            }
            let Some((report, after)) = rest.split_first_chunk::<{ Report::SIZE }>() else {
                break;
            };
            if let Some(Report::NotStarted(part, number)) = Report::decode(*report) {
                return Ok(Entered::No(part, number));
            }
            rest = after;
        }
        Ok(match leader {
            Some(leader) if inner.listens == handed.is_some() => {
                Entered::Yes { leader, handed: handed.map(TcpListener::from) }
            }
            Some(_) | None => Entered::Never,
        })
    }

    async fn receive(&self, to: &mut Vec<u8>) -> io::Result<(usize, Option<Pid>, Option<OwnedFd>)> {
        let near = &self.near;
        near.async_io(Interest::READABLE, || {
            let mut bytes = [0u8; 64];
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(
                near,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            );
            let size = match received {
                Ok(message) => message.bytes,
                // A program that was killed with words unread.
                Err(rustix::io::Errno::CONNRESET) => 0,
                Err(error) => return Err(error.into()),
            };
            let (mut pid, mut descriptor) = (None, None);
            for message in ancillary.drain() {
                match message {
                    RecvAncillaryMessage::ScmRights(rights) => descriptor = rights.last(),
                    RecvAncillaryMessage::ScmCredentials(credentials) => {
                        pid = Some(credentials.pid);
                    }
                    _ => {}
                }
            }
            to.extend_from_slice(&bytes[..size]);
            Ok((size, pid.filter(|_| size > 0), descriptor))
        })
        .await
    }
}

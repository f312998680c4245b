//! The launcher: a small process that forks a supervisor for each agent.
//!
//! Forking the server would copy the page tables of all its memory and run code between `fork` and
//! `exec` in a process with many threads. The launcher has one thread and little memory, so its fork
//! is cheap and its child may go on running ordinary code: that child *is* the supervisor, and no
//! second start of a large binary is paid for.

use super::{Streams, supervise};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::WaitOptions;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The first argument by which this binary knows that it is the launcher.
pub const ARGUMENT: &str = "__launcher";

/// Descriptors that come with each order: control, stdin, stdout, stderr.
pub const DESCRIPTORS: usize = 4;

/// Runs the launcher: orders come on standard input, whose end is the end of the server.
///
/// # Errors
///
/// When the order socket breaks in another way than by its end.
pub fn run() -> io::Result<()> {
    let orders = io::stdin();
    // What a terminal sends to its foreground group is for the server, which then ends us.
    let _ = rustix::process::setsid();
    loop {
        let Some(received) = next_order(orders.as_fd())? else { return Ok(()) };
        // Supervisors that have ended.
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        if let Ok([control, stdin, stdout, stderr]) = <[OwnedFd; DESCRIPTORS]>::try_from(received) {
            fork_supervisor(UnixStream::from(control), Streams { stdin, stdout, stderr });
        }
    }
}

/// The descriptors of the next order; none when the server is gone.
fn next_order(orders: impl AsFd) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8; 1];
    let received = loop {
        let mut slices = [IoSliceMut::new(&mut byte)];
        match recvmsg(&orders, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::with_capacity(DESCRIPTORS);
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(Some(descriptors))
}

/// Forks; the child never returns from here. A fork that fails closes the control socket, which the
/// server takes as "not started".
fn fork_supervisor(control: UnixStream, streams: Streams) {
    #[expect(unsafe_code, reason = "the one fork of the house: a supervisor without the price of an exec")]
    // SAFETY: this process has exactly one thread, so no lock can be held by another one and the
    // child may allocate and run ordinary code.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        close_orders();
        let code = i32::from(supervise(control, streams).is_err());
        #[expect(unsafe_code, reason = "the child of a fork must not run the parent's exit handlers")]
        // SAFETY: `_exit` has no preconditions.
        unsafe {
            libc::_exit(code)
        }
    }
}

/// A supervisor must not keep the order socket open, nor hear orders.
fn close_orders() {
    if let Ok(null) = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

//! A socket as its connection sees it: which protocol is spoken, when it is read, and what came of that.

use super::requests::Class;
use super::transport::Transport;
use super::{Connection, Listener};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

/// Bytes of HTTP/2 that are read at a time of a connection whose requests may be refused.
const LITTLE: usize = 512;

/// How the preface of HTTP/2 begins; no method of HTTP/1.1 begins so.
const PREFACE: &[u8] = b"PRI ";

/// A socket that tells its connection of bytes that come.
pub(super) struct Socket {
    transport: Transport,
    socket: Arc<TcpStream>,
    connection: Arc<Connection>,
    listener: Arc<Listener>,
    /// How much of the preface of HTTP/2 has come; none where HTTP/1.1 is spoken.
    preface: Option<usize>,
    /// Whether the first bytes were looked at.
    was_looked_at: bool,
    /// Whether others had their turn before the next few bytes are read.
    has_yielded: bool,
    /// Not read before this.
    pause: Option<Pin<Box<OwnedNotified>>>,
}

impl Socket {
    /// That of a connection which was just accepted.
    pub(super) fn new(
        transport: Transport,
        socket: Arc<TcpStream>,
        connection: Arc<Connection>,
        listener: Arc<Listener>,
    ) -> Self {
        Self {
            transport,
            socket,
            connection,
            listener,
            preface: Some(0),
            was_looked_at: false,
            has_yielded: false,
            pause: None,
        }
    }

    /// Waits until a request that comes may find a place. A connection with a request is read in any case: its
    /// client may have to say that it has room for more of the answer.
    fn poll_unpaused(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.preface != Some(PREFACE.len()) || !self.connection.has_no_request() {
                break;
            }
            // A stranger may be a caller whose token has not come yet.
            let Some(caller) = self.connection.caller() else { break };
            if !self.listener.requests.are_full(&Class::Caller(caller.clone())) {
                break;
            }
            let Some(pause) = &mut self.pause else {
                // A place that is left between this and the next look wakes it too.
                let mut pause = Box::pin(self.listener.requests.place_left());
                pause.as_mut().enable();
                self.pause = Some(pause);
                continue;
            };
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        self.pause = None;
        Poll::Ready(())
    }

    /// Whether HTTP/1.1 is spoken, as far as the handshake or the first bytes tell, which are left where they are.
    fn poll_is_http1(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(agreed_http2) = self.transport.agreed_http2() {
            self.was_looked_at = true;
            return Poll::Ready(Ok(!agreed_http2));
        }
        let mut first = [0; PREFACE.len()];
        let mut first = ReadBuf::new(&mut first);
        let come = ready!(self.socket.poll_peek(context, &mut first))?;
        self.was_looked_at = true;
        Poll::Ready(Ok(come > 0 && !PREFACE.starts_with(first.filled())))
    }

    /// Whether little of HTTP/2 is read at a time: before a token was seen, and as long as what comes next would be
    /// refused. The tables of a connection grow with the requests that one reading brings, and stay.
    fn reads_little(&self) -> bool {
        self.preface.is_some()
            && self.connection.caller().is_none_or(|caller| {
                self.listener.requests.are_full(&Class::Caller(caller.clone()))
            })
    }

    /// Reads little, after all others had their turn, so that what came before is refused and gone.
    fn poll_read_little(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Hyper may ask several times in one turn of the connection.
        let others_first = self.connection.has_arriving() || {
            self.has_yielded = !self.has_yielded && self.preface == Some(PREFACE.len());
            self.has_yielded
        };
        if others_first {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut little = [0; LITTLE];
        let most = buffer.remaining().min(LITTLE);
        let mut little = ReadBuf::new(&mut little[..most]);
        let read = ready!(Pin::new(&mut self.transport).poll_read(context, &mut little));
        read.map_err(|error| self.fail(error))?;
        let come = little.filled();
        buffer.put_slice(come);
        self.note_begin(come)?;
        match come.len() {
            0 => self.note_end(),
            _ => self.connection.note_read(),
        }
        Poll::Ready(Ok(()))
    }

    /// Compares the first bytes with the preface of HTTP/2; an error where that finds no places.
    fn note_begin(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            match self.preface {
                Some(come) if come < PREFACE.len() => {
                    self.preface = (*byte == PREFACE[come]).then_some(come + 1);
                    if self.preface == Some(PREFACE.len()) {
                        return self.widen();
                    }
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Notes that the client sends no more. Over HTTP/1.1 it may still read.
    fn note_end(&self) {
        if self.preface.is_some() {
            self.connection.note_left();
        }
    }

    /// Notes that the connection is broken.
    fn fail(&self, error: io::Error) -> io::Error {
        self.connection.note_left();
        error
    }

    fn widen(&self) -> io::Result<()> {
        let connections = &self.listener.connections;
        if connections.widen(&self.connection, Instant::now()) {
            return Ok(());
        }
        if let Ok(peer) = self.socket.peer_addr() {
            connections.warn_of_http2(peer.ip());
        }
        Err(io::ErrorKind::QuotaExceeded.into())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.was_looked_at && ready!(this.poll_is_http1(context))? {
            // For hyper this is the end of what could be a preface. Where it has read the first bytes by themselves, it
            // makes its buffer twice as large to read the others.
            this.preface = None;
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_unpaused(context));
        if this.reads_little() {
            return this.poll_read_little(context, buffer);
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut this.transport).poll_read(context, buffer));
        read.map_err(|error| this.fail(error))?;
        match buffer.filled().len() > before {
            true => this.connection.note_read(),
            false => this.note_end(),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write(context, bytes));
        Poll::Ready(written.map_err(|error| self.fail(error)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.transport).poll_flush(context));
        Poll::Ready(flushed.map_err(|error| self.fail(error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write_vectored(context, slices));
        Poll::Ready(written.map_err(|error| self.fail(error)))
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }
}

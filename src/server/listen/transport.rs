//! The bytes of a connection: those of its TCP socket, or what TLS makes of them.

use crate::server::tls::{ServerTls, bound_buffer};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// How a handshake begins (RFC 8446, 5.1: the record of a handshake).
const HANDSHAKE: u8 = 0x16;

/// What a client is told that speaks no TLS. Bytes that it sent and nobody read would take the answer from it.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 53\r\nconnection: close\r\n\r\n\
    this server speaks TLS alone: use an https:// address";

/// Bytes of a request without TLS that are read before it is answered.
const PLAIN_REQUEST: usize = 4 * 1024;

/// A TCP socket that others look at too.
pub(super) struct SharedSocket(Arc<TcpStream>);

/// The bytes of a connection.
pub(super) enum Transport {
    /// As they come.
    Plain(SharedSocket),
    /// Inside of TLS.
    Tls(Box<TlsStream<SharedSocket>>),
}

impl Transport {
    /// Without TLS.
    pub(super) fn plain(socket: Arc<TcpStream>) -> Self {
        Self::Plain(SharedSocket(socket))
    }

    /// With TLS, once hands were shaken. A client that speaks none is told so.
    pub(super) async fn shake_hands(tls: &ServerTls, socket: Arc<TcpStream>) -> io::Result<Self> {
        let mut first = [0; 1];
        let come = socket.peek(&mut first).await?;
        let mut shared = SharedSocket(socket.clone());
        if come > 0 && first[0] != HANDSHAKE {
            let _ = socket.try_read(&mut [0; PLAIN_REQUEST]);
            shared.write_all(PLAIN).await?;
            shared.shutdown().await?;
            return Err(io::Error::other("it speaks no TLS"));
        }
        let stream = tls.acceptor().accept_with(shared, bound_buffer).await?;
        Ok(Self::Tls(Box::new(stream)))
    }

    /// Whether HTTP/2 was agreed on in the handshake; none without TLS.
    pub(super) fn agreed_http2(&self) -> Option<bool> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.get_ref().1.alpn_protocol() == Some(b"h2")),
        }
    }
}

impl AsyncRead for SharedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome.map(|_| ())),
            }
        }
    }
}

impl SharedSocket {
    /// Writes when the socket can take something.
    fn poll_writing(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl AsyncWrite for SharedSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |socket| socket.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Write)?))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |socket| socket.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// The same call to whichever it is.
macro_rules! of_either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Transport::Plain(socket) => {
                let $stream = Pin::new(socket);
                $call
            }
            Transport::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        of_either!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_either!(self, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

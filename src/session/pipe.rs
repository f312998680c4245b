//! Reading an agent's pipes. The bytes of a read belong to whoever reads; their buffer comes from a few
//! that all sessions share, because a pipe is read only when it has something.

use parking_lot::Mutex;
use std::io;
use std::ops::Deref;
use tokio::net::unix::pipe::Receiver;

/// What one read of a pipe brings at most.
const READ_BYTES: usize = 64 * 1024;

/// Buffers that are kept for the next read.
const KEPT: usize = 8;

/// Buffers that nobody uses.
static FREE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// What one read has brought.
pub(super) struct Chunk {
    buffer: Box<[u8]>,
    size: usize,
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.size]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut free = FREE.lock();
        if free.len() < KEPT {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// What is there to be read now, or the end of the pipe; none when there is nothing yet.
pub(super) fn try_read(pipe: &Receiver) -> Option<Option<Chunk>> {
    let buffer = FREE.lock().pop();
    let buffer = buffer.unwrap_or_else(|| vec![0; READ_BYTES].into_boxed_slice());
    let mut chunk = Chunk { buffer, size: 0 };
    match pipe.try_read(&mut chunk.buffer) {
        Ok(size) => {
            chunk.size = size;
            Some((size > 0).then_some(chunk))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(_) => Some(None),
    }
}

/// One read; none when the pipe has ended. Cancel-safe: nothing is read unless it is returned.
pub(super) async fn read(pipe: &Receiver) -> Option<Chunk> {
    loop {
        pipe.readable().await.ok()?;
        if let Some(read) = try_read(pipe) {
            return read;
        }
    }
}

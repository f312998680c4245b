//! What an agent is told on its standard input: whole pieces, in order, as fast as it reads them.
//!
//! # Pitfalls
//!
//! An agent may ask without end and never read an answer. The piece that is being written does not count
//! against the bound, so that a long prompt never keeps the agent from being heard; what waits behind it does.

use pilothouse_sandbox::process::Input;
use std::collections::VecDeque;
use std::io;

/// Short pieces are written together, up to this size.
const JOINED: usize = 16 * 1024;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Vec<u8>>,
    /// How much of the first piece is written.
    written: usize,
    /// Bytes of all pieces.
    bytes: usize,
    /// Whether the agent's input is closed when all is written.
    closes: bool,
}

impl Outbox {
    /// Whether all is written.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait behind the piece that is being written.
    pub(super) fn waiting(&self) -> usize {
        self.bytes - self.pieces.front().map_or(0, Vec::len)
    }

    /// Adds a piece.
    pub(super) fn push(&mut self, piece: Vec<u8>) {
        self.bytes += piece.len();
        // The first piece may be half written.
        let joins = self.pieces.len() > 1;
        match self.pieces.back_mut() {
            Some(last) if joins && last.len() + piece.len() <= JOINED => {
                last.extend_from_slice(&piece);
            }
            _ => self.pieces.push_back(piece),
        }
    }

    /// Whether nothing more is written than what waits.
    pub(super) fn is_closed(&self) -> bool {
        self.closes
    }

    /// Closes the agent's input once all is written.
    pub(super) fn close(&mut self) {
        self.closes = true;
    }

    /// Waits until something can be written. Cancel-safe.
    pub(super) async fn writable(&self, stdin: Option<&Input>) {
        match stdin {
            Some(stdin) if !self.is_empty() => stdin.writable().await,
            Some(_) | None => std::future::pending().await,
        }
    }

    /// Writes what the pipe takes now.
    pub(super) fn write(&mut self, stdin: &mut Option<Input>) {
        while let (Some(input), Some(piece)) = (stdin.as_mut(), self.pieces.front()) {
            match input.try_write(&piece[self.written..]) {
                Ok(size) => {
                    self.written += size;
                    if self.written >= piece.len() {
                        self.bytes -= piece.len();
                        self.written = 0;
                        self.pieces.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An agent that does not read its input may still answer.
                Err(_) => *stdin = None,
            }
        }
        if stdin.is_none() {
            *self = Self { closes: self.closes, ..Self::default() };
        } else if self.closes && self.is_empty() {
            *stdin = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::fs::File;
    use std::io::Read;

    #[tokio::test]
    async fn pieces_arrive_whole_and_in_order_however_full_the_pipe_is() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut stdin = Some(Input::Quiet(write));
        let mut outbox = Outbox::default();
        let pieces: Vec<String> =
            (0..9).map(|n| format!("{}\n", n.to_string().repeat(n * 10_000))).collect();
        for piece in &pieces {
            outbox.push(piece.clone().into_bytes());
            outbox.write(&mut stdin);
        }
        assert!(!outbox.is_empty() && outbox.waiting() > 0);
        outbox.close();
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            File::from(read).read_to_string(&mut text).unwrap();
            text
        });
        while let Some(input) = &stdin {
            input.writable().await;
            outbox.write(&mut stdin);
        }
        assert_eq!(reading.join().unwrap(), pieces.concat());
        assert_eq!((outbox.is_empty(), outbox.waiting()), (true, 0));
    }

    #[test]
    fn the_piece_that_is_being_written_does_not_count_as_waiting() {
        let mut outbox = Outbox::default();
        outbox.push(vec![0; 100_000]);
        assert_eq!(outbox.waiting(), 0);
        outbox.push(vec![0; 3]);
        outbox.push(vec![0; 4]);
        assert_eq!((outbox.waiting(), outbox.pieces.len()), (7, 2));
    }

    #[test]
    fn what_nobody_reads_any_more_is_dropped() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        drop(read);
        let mut stdin = Some(Input::Quiet(write));
        let mut outbox = Outbox::default();
        outbox.push(b"words\n".to_vec());
        outbox.write(&mut stdin);
        assert!(stdin.is_none() && outbox.is_empty());
    }
}

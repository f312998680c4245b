//! The words between the server and a supervisor, the process above each agent.
//!
//! Supervisors run `launcher/main.rs`, a small program of its own that this binary carries inside
//! ([`PROGRAM`]); how they work stands there. This file is what both sides must agree on:
//!
//! * an *order* to the launcher: one byte and four descriptors (control, stdin, stdout, stderr);
//! * server → supervisor, on the control socket: the [`Spec`], then [`Word`]s of one byte; the end of
//!   the socket means that the server is gone;
//! * supervisor → server: a [`Report`] of five bytes at a time.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The launcher, compiled by `build.rs`.
pub const PROGRAM: &[u8] = include_bytes!(env!("PILOTHOUSE_LAUNCHER"));

/// Descriptors that come with each order: control, stdin, stdout, stderr.
pub const DESCRIPTORS: usize = 4;

/// Longest specification in bytes; the kernel takes no longer arguments anyway.
pub const SPEC_LIMIT: usize = 8 * 1024 * 1024;

/// How long a supervisor goes on killing before it gives up and says so.
pub const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The program, an absolute path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// The folder it starts in.
    pub cwd: String,
}

/// What the server may tell a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    /// SIGTERM to the agent's process group.
    Terminate = b'T',
    /// SIGKILL to the whole tree.
    Kill = b'K',
}

/// What a supervisor tells the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The agent runs under this process id.
    Started(i32),
    /// The agent could not be started; the system's error number.
    NotStarted(i32),
    /// The agent exited by itself with this code, and nothing of its tree is left.
    Exited(i32),
    /// The agent was ended by this signal, and nothing of its tree is left.
    Signaled(i32),
    /// The tree could not be ended within [`KILL_DEADLINE`]; this many processes are left.
    Survivors(i32),
}

impl Spec {
    /// The specification as the supervisor reads it: four numbers of 32 bits (bytes of text, arguments,
    /// variables, 0), then the texts, each ended by a NUL: folder, program, arguments, variables.
    ///
    /// # Errors
    ///
    /// A text that holds a NUL, or more than [`SPEC_LIMIT`] bytes (then "argument list too long").
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0u8; 16];
        let mut text = |pieces: &[&str]| {
            for piece in pieces {
                if OsStr::new(piece).as_bytes().contains(&0) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "an argument or variable holds a NUL",
                    ));
                }
                bytes.extend_from_slice(piece.as_bytes());
            }
            bytes.push(0);
            Ok(())
        };
        text(&[&self.cwd])?;
        text(&[&self.program])?;
        self.args
            .iter()
            .try_for_each(|argument| text(&[argument]))?;
        self.env
            .iter()
            .try_for_each(|(name, value)| text(&[name, "=", value]))?;
        let size = bytes.len() - 16;
        if size > SPEC_LIMIT {
            return Err(rustix::io::Errno::TOOBIG.into());
        }
        for (place, number) in [size, self.args.len(), self.env.len()]
            .into_iter()
            .enumerate()
        {
            let number = u32::try_from(number).expect("the limit fits");
            bytes[place * 4..place * 4 + 4].copy_from_slice(&number.to_ne_bytes());
        }
        Ok(bytes)
    }
}

impl Report {
    /// The bytes of one report.
    pub const SIZE: usize = 5;

    /// Reads one report; none for bytes that no supervisor writes.
    pub fn decode(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let [tag, a, b, c, d] = bytes;
        let value = i32::from_le_bytes([a, b, c, d]);
        Some(match tag {
            b'S' => Self::Started(value),
            b'N' => Self::NotStarted(value),
            b'X' => Self::Exited(value),
            b'G' => Self::Signaled(value),
            b'L' => Self::Survivors(value),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_is_numbers_and_then_texts_that_end_with_nul() {
        let spec = Spec {
            program: "/p".to_owned(),
            args: vec!["a b".to_owned(), String::new()],
            env: vec![("K".to_owned(), "v=w".to_owned())],
            cwd: "/c".to_owned(),
        };
        let bytes = spec.encode().unwrap();
        assert_eq!(&bytes[16..], b"/c\0/p\0a b\0\0K=v=w\0");
        assert_eq!(bytes[..16], [17u32, 2, 1, 0].map(u32::to_ne_bytes).concat());
    }

    #[test]
    fn a_nul_inside_a_text_is_refused() {
        let spec = Spec {
            program: "/p".to_owned(),
            args: vec!["a\0b".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
        };
        assert_eq!(
            spec.encode().unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}

//! The words between the server and a supervisor, the process above each agent.
//!
//! Supervisors run `launcher/main.rs`, a small program of its own that this binary carries inside
//! ([`PROGRAM`]); how they work stands there. This file is what both sides must agree on:
//!
//! * an *order* to the launcher: one byte and four descriptors (control, stdin, stdout, stderr);
//! * server → supervisor, on the control socket: the [`Spec`] and its sandbox, perhaps with descriptors
//!   beside it, then [`Word`]s of one byte; the end of the socket means that the server is gone;
//! * supervisor → server: a [`Report`] of five bytes at a time;
//! * where the agent gets namespaces of its own, the *line*: a socket whose far end came along, over which
//!   the program inside ([`ENTER`]) reads the inner specification and answers with [`Report`]s.

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

/// The program of this server itself, whatever stands at its path by now.
pub const OWN_PROGRAM: &str = "(this program)";

/// The launcher's own program ([`PROGRAM`]), in another of its modes.
pub const LAUNCHER_PROGRAM: &str = "(the launcher)";

/// Where descriptors that come along begin in the process that is started.
pub const FIRST_ALONG: usize = 3;

/// The mode of [`PROGRAM`] that runs inside of new namespaces.
pub const ENTER: &str = "enter";

/// The mode of [`PROGRAM`] that runs inside of a container.
pub const SERVE: &str = "serve";

/// The mode of [`PROGRAM`] whose exit code is the version of Landlock (0 for none), and 64 more where supervisors can
/// connect for agents.
pub const ABI: &str = "abi";

/// The mode of [`PROGRAM`] that tries to break out.
pub const ATTACK: &str = "attack";

/// Something to start, and what is put around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confined {
    /// What the supervisor starts.
    pub spec: Spec,
    /// What that process applies to itself before, as `launcher/wall.rs` reads it; empty for nothing.
    pub sandbox: Vec<u8>,
    /// Where `spec` only makes the namespaces: what begins inside of them.
    pub inner: Option<Inner>,
    /// The user that its streams are given to, where that is not the server's.
    pub user: Option<u32>,
}

/// What begins inside of new namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inner {
    /// The agent, with paths as they are inside.
    pub spec: Spec,
    /// Its sandbox.
    pub sandbox: Vec<u8>,
    /// Whether the sandbox hands a listener out.
    pub listens: bool,
}

impl From<Spec> for Confined {
    fn from(spec: Spec) -> Self {
        Self { spec, ..Self::default() }
    }
}

/// What to start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// The agent runs under the first process id, below the second one.
    Started(i32, i32),
    /// The agent could not be started: the record of the sandbox that failed (0 for anything else), and the
    /// system's error number.
    NotStarted(u32, i32),
    /// The program inside of the new namespaces has begun.
    Entered,
    /// The agent exited by itself with this code, and nothing of its tree is left.
    Exited(i32),
    /// The agent was ended by this signal, and nothing of its tree is left.
    Signaled(i32),
    /// The tree could not be ended within [`KILL_DEADLINE`]; this many processes are left.
    Survivors(i32),
}

impl Spec {
    /// The specification as the supervisor reads it: four numbers of 32 bits (bytes of text, arguments,
    /// variables, bytes of the sandbox), the sandbox, then the texts, each ended by a NUL: folder, program,
    /// arguments, variables.
    ///
    /// # Errors
    ///
    /// A text that holds a NUL, or more than [`SPEC_LIMIT`] bytes (then "argument list too long").
    pub fn encode(&self, sandbox: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0u8; HEAD];
        bytes.extend_from_slice(sandbox);
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
        self.args.iter().try_for_each(|argument| text(&[argument]))?;
        self.env.iter().try_for_each(|(name, value)| text(&[name, "=", value]))?;
        let size = bytes.len() - HEAD - sandbox.len();
        if size > SPEC_LIMIT {
            return Err(rustix::io::Errno::TOOBIG.into());
        }
        for (place, number) in
            [size, self.args.len(), self.env.len(), sandbox.len()].into_iter().enumerate()
        {
            let number = u32::try_from(number).expect("the limit fits");
            bytes[place * 4..place * 4 + 4].copy_from_slice(&number.to_ne_bytes());
        }
        Ok(bytes)
    }
}

/// Bytes before the sandbox and the texts.
const HEAD: usize = 16;

impl Report {
    /// The bytes of one report.
    pub const SIZE: usize = 9;

    /// Reads one report; none for bytes that no supervisor writes.
    pub fn decode(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let [tag, a, b, c, d, e, f, g, h] = bytes;
        let value = i32::from_le_bytes([a, b, c, d]);
        Some(match tag {
            b'S' => Self::Started(value, i32::from_le_bytes([e, f, g, h])),
            b'N' => Self::NotStarted(value.cast_unsigned() >> 16, value & 0xffff),
            b'E' => Self::Entered,
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
        let bytes = spec.encode(&[]).unwrap();
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
        assert_eq!(spec.encode(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

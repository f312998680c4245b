//! The terminal while `watch` has it: another screen, keys without Enter, and everything back at the end, however it
//! comes.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use std::io::{self, Stdin, Write};
use tokio::io::unix::AsyncFd;

/// The other screen, without a cursor; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[H\u{1b}[2J";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PressedKey {
    Up,
    Down,
    Enter,
    Allow,
    Deny,
    Leave,
    Other,
}

/// The keys of the terminal. When it is dropped the terminal is as it was.
pub(super) struct Keyboard {
    stdin: AsyncFd<Stdin>,
    before: Termios,
    has_screen: bool,
    /// Bytes that were read and not taken yet.
    bytes: Vec<u8>,
}

impl Keyboard {
    /// Takes the terminal, and another screen of it.
    pub(super) fn take() -> io::Result<Self> {
        Self::open(true, ENTER)
    }

    /// Takes the keys alone, and shows `prompt`.
    pub(super) fn take_line(prompt: &str) -> io::Result<Self> {
        Self::open(false, prompt)
    }

    fn open(has_screen: bool, text: &str) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "it is unsound for types whose descriptor changes; that of standard input never does"
        )]
        let stdin = AsyncFd::new(io::stdin())?;
        let before = tcgetattr(stdin.get_ref())?;
        let mut wanted = before.clone();
        wanted
            .local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        // A read takes what is there and never waits.
        wanted.special_codes[SpecialCodeIndex::VMIN] = 0;
        wanted.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before is no answer to what is shown next.
        tcsetattr(stdin.get_ref(), OptionalActions::Flush, &wanted)?;
        let keyboard = Self { stdin, before, has_screen, bytes: Vec::new() };
        show(text)?;
        Ok(keyboard)
    }

    /// The next key; a terminal that is gone leaves. Dropping this loses none.
    pub(super) async fn next(&mut self) -> PressedKey {
        loop {
            if let Some((key, length)) = parse(&self.bytes) {
                self.bytes.drain(..length);
                return key;
            }
            let Ok(mut ready) = self.stdin.readable().await else { return PressedKey::Leave };
            let mut buffer = [0; 64];
            match rustix::io::read(ready.get_inner(), &mut buffer[..]) {
                Ok(0) if is_gone(ready.get_inner()) => return PressedKey::Leave,
                Ok(0) => ready.clear_ready(),
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(_) => return PressedKey::Leave,
            }
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // A terminal that is gone has neither screen nor mode.
        let _ = show(if self.has_screen { LEAVE } else { "\r\u{1b}[K" });
        let _ = tcsetattr(self.stdin.get_ref(), OptionalActions::Flush, &self.before);
    }
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Whether nobody is at the other end.
fn is_gone(stdin: &Stdin) -> bool {
    let mut fds = [PollFd::new(stdin, PollFlags::IN)];
    let polled = rustix::event::poll(&mut fds, Some(&Timespec::default()));
    polled.is_err()
        || fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

/// The first key of these bytes, and how many bytes it has; none where there are none.
fn parse(bytes: &[u8]) -> Option<(PressedKey, usize)> {
    let key = match bytes {
        [] => return None,
        [0x1b, b'[' | b'O', b'A', ..] => return Some((PressedKey::Up, 3)),
        [0x1b, b'[' | b'O', b'B', ..] => return Some((PressedKey::Down, 3)),
        // Any other sequence, to its last byte.
        [0x1b, b'[' | b'O', rest @ ..] => {
            let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
            return Some((PressedKey::Other, end.map_or(bytes.len(), |end| end + 3)));
        }
        [b'k', ..] => PressedKey::Up,
        [b'j', ..] => PressedKey::Down,
        [b'\r' | b'\n', ..] => PressedKey::Enter,
        [b'y' | b'Y', ..] => PressedKey::Allow,
        [b'n' | b'N', ..] => PressedKey::Deny,
        // Ctrl-C, Ctrl-D, Ctrl-Z and Escape.
        [b'q' | b'Q' | 3 | 4 | 26 | 0x1b, ..] => PressedKey::Leave,
        _ => PressedKey::Other,
    };
    Some((key, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_one_by_one_and_unknown_sequences_are_skipped() {
        let mut bytes = &b"\x1b[A\x1b[Bj\x1b[15~yn\rxq"[..];
        let mut keys = Vec::new();
        while let Some((key, length)) = parse(bytes) {
            keys.push(key);
            bytes = &bytes[length..];
        }
        let expected = [
            PressedKey::Up,
            PressedKey::Down,
            PressedKey::Down,
            PressedKey::Other,
            PressedKey::Allow,
            PressedKey::Deny,
            PressedKey::Enter,
            PressedKey::Other,
            PressedKey::Leave,
        ];
        assert_eq!(keys, expected);
    }
}

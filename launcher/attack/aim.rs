//! What the attacks aim at, and texts on the stack.

use super::{Outcome, Stop, done};
use crate::sys::{self, AT_FDCWD, Arguments, CLOEXEC, PollFd, TimeSpec};
use core::ffi::{CStr, c_char};

pub(super) const O_RDONLY: usize = 0;
pub(super) const O_WRONLY: usize = 1;
pub(super) const O_CREAT: usize = 0o100;
pub(super) const O_EXCL: usize = 0o200;
pub(super) const O_APPEND: usize = 0o2000;

/// The longest text of aims on standard input.
const INPUT: usize = 32 * 1024;

/// The aims that come over standard input.
static mut INPUT_PLACE: [u8; INPUT] = [0; INPUT];

/// The aims `KEY=VALUE`: the arguments, and with the argument `aims=input` also what is on standard input.
pub(super) struct Aim<'a> {
    arguments: &'a Arguments,
    /// Each ends with a NUL.
    input: &'static [u8],
    /// The process above the session's: `parent`, or the one that started this program; 0 where it cannot be seen.
    parent: usize,
}

impl<'a> Aim<'a> {
    /// Reads the aims; an error where standard input cannot be read to its end.
    pub(super) fn new(arguments: &'a Arguments) -> Result<Self, Stop> {
        let own = sys!(GETPPID) as usize;
        let mut aim = Self { arguments, input: &[], parent: own };
        if aim.text(b"aims").is_ok() {
            aim.input = read_input()?;
        }
        aim.parent = aim.number(b"parent").unwrap_or(own);
        Ok(aim)
    }

    /// The processes that may be outside of the sandbox: the one above the session, the first of this process
    /// namespace, and the victim.
    pub(super) fn others(&self) -> [usize; 3] {
        [self.parent, 1, self.number(b"victim").unwrap_or(1)]
    }

    /// The value of a key.
    pub(super) fn text(&self, key: &[u8]) -> Result<&'static [u8], Stop> {
        self.c_str(key).map(CStr::to_bytes)
    }

    /// The same with the NUL that follows it, as system calls take it.
    pub(super) fn c_str(&self, key: &[u8]) -> Result<&'static CStr, Stop> {
        let arguments = (3..).map_while(|at| self.arguments.text(at)).map(CStr::to_bytes_with_nul);
        let input = self.input.split_inclusive(|byte| *byte == 0);
        let value = |text: &'static [u8]| {
            let (name, rest) = text.split_at_checked(key.len())?;
            match rest.split_first() {
                Some((b'=', value)) if same(name, key) => CStr::from_bytes_with_nul(value).ok(),
                _ => None,
            }
        };
        arguments.chain(input).find_map(value).ok_or(Stop::ARGUMENT)
    }

    pub(super) fn marker(&self) -> Result<&'static [u8], Stop> {
        self.text(b"marker").and_then(
            |text| {
                if text.is_empty() { Err(Stop::ARGUMENT) } else { Ok(text) }
            },
        )
    }

    /// A decimal number above zero.
    pub(super) fn number(&self, key: &[u8]) -> Result<usize, Stop> {
        decimal(self.text(key)?).filter(|number| *number > 0).ok_or(Stop::ARGUMENT)
    }

    pub(super) fn hexadecimal(&self, key: &[u8]) -> Result<usize, Stop> {
        let mut number = 0usize;
        for &digit in self.text(key)? {
            let value = (digit as char).to_digit(16).ok_or(Stop::ARGUMENT)?;
            number = number << 4 | value as usize;
        }
        Ok(number)
    }

    pub(super) fn port(&self, key: &[u8]) -> Result<u16, Stop> {
        self.number(key).map(|number| number as u16)
    }

    /// The path of a key, and a name below it.
    pub(super) fn below(&self, key: &[u8], name: &[u8]) -> Result<Text, Stop> {
        let mut path = Text::new();
        path.push(self.text(key)?);
        path.push(b"/");
        path.push(name);
        Ok(path)
    }

    /// The environment of this very process.
    pub(super) fn variables(&self) -> impl Iterator<Item = &'static [u8]> {
        self.arguments.variables()
    }

    /// Whether the file at this path holds the marker.
    pub(super) fn marked(&self, path: &CStr) -> Outcome {
        let file = open(AT_FDCWD, path, O_RDONLY)?;
        let found = holds(file, self.marker()?);
        close(file);
        found
    }
}

/// All that comes over standard input until its end: at least one aim, and all of them whole.
fn read_input() -> Result<&'static [u8], Stop> {
    let place = &raw mut INPUT_PLACE;
    // SAFETY: there is one thread, and nothing else uses the place.
    let place = unsafe { &mut *place };
    let mut length = 0;
    loop {
        let rest = place.get_mut(length..).filter(|rest| !rest.is_empty()).ok_or(Stop::EFBIG)?;
        match done(sys::read(0, rest))? {
            0 => break,
            size => length += size,
        }
    }
    let input = place.get(..length).unwrap_or_default();
    if input.last() == Some(&0) { Ok(input) } else { Err(Stop::ARGUMENT) }
}

/// A text with a NUL behind it. What does not fit is left out, and then the path leads nowhere.
pub(super) struct Text {
    bytes: [u8; Self::SIZE],
    length: usize,
}

impl Text {
    const SIZE: usize = 1024;

    pub(super) const fn new() -> Self {
        Self { bytes: [0; Self::SIZE], length: 0 }
    }

    pub(super) fn push(&mut self, words: &[u8]) {
        for &byte in words {
            // The last byte stays a NUL.
            if let Some(place) =
                self.bytes.get_mut(..Self::SIZE - 1).and_then(|all| all.get_mut(self.length))
            {
                *place = byte;
                self.length += 1;
            }
        }
    }

    pub(super) fn number(&mut self, number: usize) {
        let mut divisor = 1;
        while number / divisor >= 10 {
            divisor *= 10;
        }
        while divisor > 0 {
            self.push(&[b'0' + (number / divisor % 10) as u8]);
            divisor /= 10;
        }
    }

    /// With the NUL behind it.
    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    pub(super) fn as_ptr(&self) -> *const c_char {
        self.as_c_str().as_ptr()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// To standard output, as a line.
    pub(super) fn say(&mut self) {
        self.push(b"\n");
        sys::write(1, self.bytes());
    }
}

/// `/proc/PID/NAME`.
pub(super) fn proc_path(pid: usize, name: &[u8]) -> Text {
    let mut path = Text::new();
    path.push(b"/proc/");
    path.number(pid);
    path.push(b"/");
    path.push(name);
    path
}

pub(super) fn decimal(digits: &[u8]) -> Option<usize> {
    let mut number = 0usize;
    for &digit in digits {
        let value = (digit as char).to_digit(10)?;
        number = number.wrapping_mul(10).wrapping_add(value as usize);
    }
    (!digits.is_empty()).then_some(number)
}

pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a == b)
}

pub(super) fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| same(window, part))
}

/// Opens without ever waiting for anything.
pub(super) fn open(folder: isize, path: &CStr, how: usize) -> Result<usize, Stop> {
    const O_NONBLOCK: usize = 0o4000;
    const O_NOCTTY: usize = 0o400;
    let how = CLOEXEC | O_NONBLOCK | O_NOCTTY | how;
    // SAFETY: the path ends with a NUL, and is borrowed for the call.
    done(unsafe { sys!(OPENAT, folder, path.as_ptr(), how, 0o600) })
}

pub(super) fn close(file: usize) {
    sys!(CLOSE, file);
}

/// Opens and closes again: that alone is the proof.
pub(super) fn opens(path: &CStr, how: usize) -> Outcome {
    open(AT_FDCWD, path, how).map(close)
}

/// Whether the beginning of an open file holds these words.
pub(super) fn holds(file: usize, words: &[u8]) -> Outcome {
    let mut buffer = [0u8; 8192];
    if contains(read(file, &mut buffer)?, words) { Ok(()) } else { Err(Stop::DIFFERENT) }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read(file: usize, buffer: &mut [u8]) -> Result<&[u8], Stop> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match done(sys::read(file as i32, rest)) {
            Ok(0) => break,
            Ok(size) => length += size,
            Err(stop) if length == 0 => return Err(stop),
            Err(_) => break,
        }
    }
    Ok(buffer.get(..length).unwrap_or_default())
}

/// Whether this process has the marker as an argument of its own. Our own has it within one.
pub(super) fn has_argument(pid: usize, marker: &[u8]) -> Outcome {
    let file = open(AT_FDCWD, proc_path(pid, b"cmdline").as_c_str(), O_RDONLY)?;
    let mut buffer = [0u8; 4096];
    let line = read(file, &mut buffer);
    close(file);
    let found = line?.split(|byte| *byte == 0).any(|argument| same(argument, marker));
    if found { Ok(()) } else { Err(Stop::DIFFERENT) }
}

/// Inside of a process namespace the same number may be another process, even our own; then all that can
/// be done to it proves nothing. Where nothing is to be seen in `/proc`, it may be the one.
pub(super) fn may_be(pid: usize, marker: &[u8]) -> Outcome {
    if pid == sys!(GETPID) as usize || pid == sys!(GETPPID) as usize || pid == 1 {
        return Err(Stop::ESRCH);
    }
    match has_argument(pid, marker) {
        Err(Stop::DIFFERENT) => Err(Stop::ESRCH),
        _ => Ok(()),
    }
}

/// Calls with every name in an open folder and its kind, until one succeeds; how the last one ended.
pub(super) fn entries(folder: usize, mut each: impl FnMut(&CStr, u8) -> Outcome) -> Outcome {
    let mut buffer = [0u64; 512];
    let mut last = Err(Stop::DIFFERENT);
    // Some thousand processes, at most.
    for _ in 0..1024 {
        let (to, most) = (buffer.as_mut_ptr(), size_of_val(&buffer));
        // SAFETY: the kernel writes at most as many bytes as the buffer has.
        let size = done(unsafe { sys!(GETDENTS64, folder, to, most) })?;
        let base = buffer.as_ptr().cast::<u8>();
        let mut at = 0;
        while at < size {
            // SAFETY: the kernel wrote whole entries: inode, offset, u16 length at 16, kind, name at 19.
            let (length, kind, name) = unsafe {
                let entry = base.add(at);
                (entry.add(16).cast::<u16>().read_unaligned(), entry.add(18).read(), entry.add(19))
            };
            // SAFETY: a name ends with a NUL, and the buffer does not change before the next call.
            let name = unsafe { CStr::from_ptr(name.cast()) };
            if !name.to_bytes().starts_with(b".") {
                last = each(name, kind);
                if last.is_ok() {
                    return last;
                }
            }
            at += usize::from(length);
        }
        if size == 0 {
            break;
        }
    }
    last
}

/// Waits for something on a descriptor, at most so long.
pub(super) fn wait_for(file: usize, events: i16, milliseconds: i64) -> Result<i16, Stop> {
    let mut waiting = [PollFd { fd: file as i32, events, revents: 0 }];
    let patience = TimeSpec { seconds: 0, nanoseconds: milliseconds * 1_000_000 };
    match done(sys::poll(&mut waiting, Some(patience)))? {
        0 => Err(Stop::TIMEOUT),
        _ => Ok(waiting[0].revents),
    }
}

/// Does nothing for so long.
pub(super) fn pause(milliseconds: i64) {
    sys::pause(TimeSpec {
        seconds: milliseconds / 1000,
        nanoseconds: milliseconds % 1000 * 1_000_000,
    });
}

/// Seconds of a clock that only runs forward.
pub(super) fn seconds() -> i64 {
    const MONOTONIC: usize = 1;
    let mut now = TimeSpec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the kernel writes one `struct timespec`, which this is.
    unsafe { sys!(CLOCK_GETTIME, MONOTONIC, &raw mut now) };
    now.seconds
}

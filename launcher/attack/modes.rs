//! Modes and attributes of files: what gives another identity or other rights.

use super::aim::{Aim, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY, close, contains, entries, open};
use super::files::{own, own_folder_is_writable, remove, remove_as};
use super::{Outcome, Stop, done};
use crate::sys::AT_FDCWD;
use core::ffi::CStr;

/// The value of an attribute, as the calls that name a folder take it.
#[repr(C)]
struct Attribute {
    value: *mut u8,
    size: u32,
    flags: u32,
}

/// Sets an attribute of a file outside, a canary, by every call that does: one of a user's, the access list that
/// stands for the mode 600, and no flags.
pub(super) fn attributes(aim: &Aim<'_>) -> Outcome {
    // Version 2; then tag, rights and no number for the owner, the group and the others.
    const LIST: [u32; 7] = [2, 6 << 16 | 1, u32::MAX, 4, u32::MAX, 32, u32::MAX];
    let file = aim.below(b"outside_dir", b"mode")?;
    let (path, name) = (file.as_ptr(), c"user.attack".as_ptr());
    let mut byte = b'x';
    let attribute = Attribute { value: &raw mut byte, size: 1, flags: 0 };
    let flags = [0u64; 3];
    // SAFETY: path and name end with a NUL, and each value has the length that is named.
    let ways: &[&dyn Fn() -> isize] = unsafe {
        &[
            &|| sys!(SETXATTR, path, name, b"x".as_ptr(), 1, 0),
            &|| sys!(LSETXATTR, path, name, b"x".as_ptr(), 1, 0),
            &|| sys!(SETXATTRAT, AT_FDCWD, path, 0, name, &raw const attribute, 16),
            &|| sys!(SETXATTR, path, c"system.posix_acl_access".as_ptr(), LIST.as_ptr(), 28, 0),
            &|| sys!(FILE_SETATTR, AT_FDCWD, path, flags.as_ptr(), 24, 0),
        ]
    };
    let mut last = Err(Stop::DIFFERENT);
    for way in ways {
        last = done(way()).map(|_| ());
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Reads the marker from an attribute of another session's file, by every call that names the file.
pub(super) fn attributes_of_peer(aim: &Aim<'_>) -> Outcome {
    let (path, name) = (aim.c_str(b"peer_file")?.as_ptr(), c"user.marker".as_ptr());
    let mut value = [0u8; 256];
    let to = value.as_mut_ptr();
    let attribute = Attribute { value: to, size: 256, flags: 0 };
    // SAFETY: path and name end with a NUL, and the value has room for 256 bytes.
    let ways: &[&dyn Fn() -> isize] = unsafe {
        &[
            &|| sys!(GETXATTR, path, name, to, 256),
            &|| sys!(LGETXATTR, path, name, to, 256),
            &|| sys!(GETXATTRAT, AT_FDCWD, path, 0, name, &raw const attribute, 16),
        ]
    };
    let mut last = Err(Stop::DIFFERENT);
    for way in ways {
        last = done(way()).map(|_| ());
        if last.is_ok() {
            break;
        }
    }
    last?;
    if contains(&value, aim.marker()?) { Ok(()) } else { Err(Stop::DIFFERENT) }
}

/// Makes a file or a folder of our own whose mode gives our identity to whoever starts it, by every call that
/// sets modes. What counts is the mode that is there afterwards; the last error is told.
pub(super) fn set_id(_: &Aim<'_>) -> Outcome {
    const SET_ID: usize = 0o6000;
    const MODE: usize = SET_ID | 0o711;
    const REGULAR: usize = 0o100_000;
    const O_TMPFILE: usize = 0o20_000_000;
    const O_DIRECTORY: usize = if cfg!(target_arch = "x86_64") { 0o200_000 } else { 0o40_000 };
    const REMOVE_FOLDER: usize = 0x200;
    own_folder_is_writable()?;
    let path = own(b"attack-setid");
    let (name, here) = (path.as_ptr(), c".".as_ptr());
    // Flags, mode and how paths are followed, as `openat2` takes them.
    let orders = |flags: usize| [flags as u64, MODE as u64, 0u64];
    let make = O_WRONLY | O_CREAT | O_EXCL;
    let nameless = O_TMPFILE | O_DIRECTORY | O_WRONLY;
    // SAFETY: the path ends with a NUL.
    let plain = || unsafe { sys!(OPENAT, AT_FDCWD, name, make, 0o711) };
    let changed = |change: &dyn Fn(usize) -> isize| match done(plain()) {
        Ok(file) => {
            let result = change(file);
            close(file);
            result
        }
        Err(Stop(number)) => -isize::from(number),
    };
    // SAFETY: the paths end with a NUL, and the orders of `openat2` are 24 bytes.
    let ways: &[&dyn Fn() -> isize] = unsafe {
        &[
            &|| changed(&|file| sys!(FCHMOD, file, MODE)),
            &|| changed(&|_| sys!(FCHMODAT, AT_FDCWD, name, MODE)),
            &|| changed(&|_| sys!(FCHMODAT2, AT_FDCWD, name, MODE, 0)),
            &|| sys!(OPENAT, AT_FDCWD, name, make, MODE),
            &|| sys!(OPENAT, AT_FDCWD, here, nameless, MODE),
            &|| sys!(OPENAT2, AT_FDCWD, name, orders(make).as_ptr(), 24),
            &|| sys!(OPENAT2, AT_FDCWD, here, orders(nameless).as_ptr(), 24),
            &|| sys!(MKDIRAT, AT_FDCWD, name, MODE),
            &|| sys!(MKNODAT, AT_FDCWD, name, REGULAR | MODE, 0),
            #[cfg(target_arch = "x86_64")]
            &|| changed(&|_| sys!(CHMOD, name, MODE)),
            #[cfg(target_arch = "x86_64")]
            &|| sys!(OPEN, name, make, MODE),
            #[cfg(target_arch = "x86_64")]
            &|| sys!(OPEN, here, nameless, MODE),
            #[cfg(target_arch = "x86_64")]
            &|| sys!(CREAT, name, MODE),
            #[cfg(target_arch = "x86_64")]
            &|| sys!(MKDIR, name, MODE),
            #[cfg(target_arch = "x86_64")]
            &|| sys!(MKNOD, name, REGULAR | MODE, 0),
        ]
    };
    let mut last = Err(Stop::DIFFERENT);
    for way in ways {
        let made = done(way());
        // A file without a name is at its descriptor, every other at its path.
        let has_bits_at =
            |folder, path| mode_at(folder, path).is_some_and(|mode| mode & SET_ID != 0);
        let has_bits = has_bits_at(AT_FDCWD, path.as_c_str())
            || made.is_ok_and(|file| file > 2 && has_bits_at(file as isize, c""));
        if let Ok(file) = made
            && file > 2
        {
            close(file);
        }
        remove(&path);
        remove_as(&path, REMOVE_FOLDER);
        if has_bits {
            return Ok(());
        }
        if let Err(stop) = made {
            last = Err(stop);
        }
    }
    last
}

/// Gives a device, or an entry of `/proc` that all of the machine shares, the mode that it has: who may do that
/// may give it any other.
pub(super) fn shared_modes(_: &Aim<'_>) -> Outcome {
    let mut last = Err(Stop::ENOENT);
    for device in
        [c"/dev/null", c"/dev/zero", c"/dev/full", c"/dev/random", c"/dev/urandom", c"/dev/tty"]
    {
        last = keeps_mode(AT_FDCWD, device);
        if last.is_ok() {
            return last;
        }
    }
    let folder = open(AT_FDCWD, c"/proc", O_RDONLY)?;
    let _ = entries(folder, |name, kind| {
        const LINK: u8 = 10;
        let is_process = name.to_bytes().first().is_some_and(u8::is_ascii_digit);
        if kind != LINK && !is_process {
            last = keeps_mode(folder as isize, name);
            return last;
        }
        Err(Stop::DIFFERENT)
    });
    last
}

/// Gives a file the mode that it has.
fn keeps_mode(folder: isize, name: &CStr) -> Outcome {
    let mode = mode_at(folder, name).ok_or(Stop::ENOENT)?;
    // SAFETY: the name ends with a NUL.
    done(unsafe { sys!(FCHMODAT, folder, name.as_ptr(), mode & 0o7777) }).map(|_| ())
}

/// The mode of a file, or of an open one where the path is empty.
fn mode_at(folder: isize, path: &CStr) -> Option<usize> {
    const EMPTY_PATH: usize = 0x1000;
    const MODE: usize = 2;
    // `struct statx`: the mode is the low half of the eighth word of 32 bits.
    let mut found = [0u32; 64];
    // SAFETY: the path ends with a NUL, and `struct statx` is 256 bytes.
    done(unsafe { sys!(STATX, folder, path.as_ptr(), EMPTY_PATH, MODE, found.as_mut_ptr()) })
        .ok()?;
    Some((found[7] & 0xffff) as usize)
}

//! Files and folders outside of the session.

use super::aim::{
    Aim, O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY, Text, close, contains, entries, holds,
    open, opens, proc_path,
};
use super::network::{SOCK_STREAM, unix_address};
use super::{Outcome, Stop, done};
use crate::sys::{self, AT_FDCWD};

/// Reads a file of another session.
pub(super) fn read_peer(aim: &Aim<'_>) -> Outcome {
    aim.marked(aim.text(b"peer_file")?.as_ptr())
}

/// Reads a file that no session may read.
pub(super) fn read(aim: &Aim<'_>) -> Outcome {
    aim.marked(aim.text(b"outside_file")?.as_ptr())
}

/// Reads the same by going up from the working folder, past the root.
pub(super) fn read_upwards(aim: &Aim<'_>) -> Outcome {
    let mut path = Text::new();
    for _ in 0..40 {
        path.push(b"../");
    }
    path.push(aim.text(b"outside_file")?);
    aim.marked(path.as_ptr())
}

/// Reads the same through the roots of other processes.
pub(super) fn read_through_proc(aim: &Aim<'_>) -> Outcome {
    let mut last = Err(Stop::ESRCH);
    for pid in aim.others() {
        let mut path = proc_path(pid, b"root");
        path.push(aim.text(b"outside_file")?);
        last = aim.marked(path.as_ptr());
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Reads the same from a folder that somebody left open for us.
pub(super) fn read_through_inherited(aim: &Aim<'_>) -> Outcome {
    let mut path = Text::new();
    for _ in 0..40 {
        path.push(b"../");
    }
    // Relative: an absolute path would not begin at the descriptor.
    path.push(aim.text(b"outside_file")?.get(1..).unwrap_or_default());
    let mut last = Err(Stop::EBADF);
    for folder in 0..1024 {
        last = match open(folder, path.as_ptr(), O_RDONLY) {
            Ok(file) => {
                let found = holds(file, aim.marker()?);
                close(file);
                found
            }
            Err(Stop::EBADF) => last,
            Err(stop) => Err(stop),
        };
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Reads the same by a descriptor that was opened for nothing, and then again through `/proc`.
pub(super) fn read_reopened(aim: &Aim<'_>) -> Outcome {
    const O_PATH: usize = 0o10_000_000;
    let file = open(AT_FDCWD, aim.text(b"outside_file")?.as_ptr(), O_PATH)?;
    let mut path = Text::new();
    path.push(b"/proc/self/fd/");
    path.number(file);
    aim.marked(path.as_ptr())
}

/// Reads a key of the user.
pub(super) fn read_ssh(aim: &Aim<'_>) -> Outcome {
    aim.marked(aim.below(b"ssh", b"id")?.as_ptr())
}

/// Reads a file of the host; its own one in the session does not count where its text is known.
pub(super) fn read_host(aim: &Aim<'_>) -> Outcome {
    let file = open(AT_FDCWD, aim.text(b"host_file")?.as_ptr(), O_RDONLY)?;
    match aim.text(b"host_text") {
        Ok(text) => holds(file, text),
        Err(_) => done(sys::read(file as i32, &mut [0])).map(|_| ()),
    }
}

/// Opens the passwords of the host, without reading them.
pub(super) fn read_shadow(_: &Aim<'_>) -> Outcome {
    opens(c"/etc/shadow".as_ptr().cast(), O_RDONLY)
}

/// Reads a file in the shared folder for temporary files.
pub(super) fn read_tmp(aim: &Aim<'_>) -> Outcome {
    aim.marked(aim.text(b"tmp")?.as_ptr())
}

/// Asks whether a file is there and how large.
pub(super) fn stat(aim: &Aim<'_>) -> Outcome {
    let mut unread = [0u64; 32];
    let path = aim.text(b"outside_file")?;
    // SAFETY: the path ends with a NUL, and `struct stat` is at most 256 bytes.
    done(unsafe { sys!(FSTATAT, AT_FDCWD, path.as_ptr(), unread.as_mut_ptr(), 0) }).map(|_| ())
}

/// Whether there is any name in a folder.
fn lists(path: *const u8) -> Outcome {
    let folder = open(AT_FDCWD, path, O_RDONLY)?;
    entries(folder, |_, _| Ok(()))
}

/// Lists the folder of another session.
pub(super) fn list_peer(aim: &Aim<'_>) -> Outcome {
    lists(aim.text(b"peer_dir")?.as_ptr())
}

/// Lists a folder outside.
pub(super) fn list(aim: &Aim<'_>) -> Outcome {
    lists(aim.text(b"outside_dir")?.as_ptr())
}

/// Watches the folder of another session for names that come and go.
pub(super) fn watch_peer(aim: &Aim<'_>) -> Outcome {
    const ALL_EVENTS: usize = 0xfff;
    let watcher = done(sys!(INOTIFY_INIT1, 0))?;
    let path = aim.text(b"peer_dir")?;
    // SAFETY: the path ends with a NUL.
    done(unsafe { sys!(INOTIFY_ADD_WATCH, watcher, path.as_ptr(), ALL_EVENTS) }).map(|_| ())
}

/// Makes a file and removes it.
fn creates(path: &Text) -> Outcome {
    let file = open(AT_FDCWD, path.as_ptr(), O_WRONLY | O_CREAT | O_EXCL)?;
    close(file);
    remove(path);
    Ok(())
}

fn remove(path: &Text) {
    remove_as(path, 0);
}

/// Removes what is at a path, by these flags.
fn remove_as(path: &Text, flags: usize) -> isize {
    // SAFETY: the path ends with a NUL.
    unsafe { sys!(UNLINKAT, AT_FDCWD, path.as_ptr(), flags) }
}

fn renames(from: &Text, to: &Text) -> Outcome {
    // SAFETY: both paths end with a NUL.
    done(unsafe { sys!(RENAMEAT2, AT_FDCWD, from.as_ptr(), AT_FDCWD, to.as_ptr(), 0) }).map(|_| ())
}

/// Makes a file in the folder of another session.
pub(super) fn write_peer(aim: &Aim<'_>) -> Outcome {
    creates(&aim.below(b"peer_dir", b"attack-write")?)
}

/// Makes a file in a folder outside.
pub(super) fn write(aim: &Aim<'_>) -> Outcome {
    creates(&aim.below(b"outside_dir", b"attack-write")?)
}

/// Renames a file there and back.
fn renames_in(aim: &Aim<'_>, folder: &[u8]) -> Outcome {
    let (from, to) = (aim.below(folder, b"rename")?, aim.below(folder, b"attack-rename")?);
    renames_and_back(&from, &to)
}

fn renames_and_back(from: &Text, to: &Text) -> Outcome {
    renames(from, to)?;
    let _ = renames(to, from);
    Ok(())
}

/// Renames a file in the folder of another session.
pub(super) fn rename_peer(aim: &Aim<'_>) -> Outcome {
    renames_in(aim, b"peer_dir")
}

/// Renames a file outside.
pub(super) fn rename(aim: &Aim<'_>) -> Outcome {
    renames_in(aim, b"outside_dir")
}

/// Removes a file of another session, a canary.
pub(super) fn unlink_peer(aim: &Aim<'_>) -> Outcome {
    let path = aim.below(b"peer_dir", b"unlink")?;
    done(remove_as(&path, 0)).map(|_| ())
}

/// Removes a file outside, a canary.
pub(super) fn unlink(aim: &Aim<'_>) -> Outcome {
    let path = aim.below(b"outside_dir", b"unlink")?;
    done(remove_as(&path, 0)).map(|_| ())
}

/// Opens a file outside to append to it, and writes nothing.
pub(super) fn append(aim: &Aim<'_>) -> Outcome {
    opens(aim.text(b"outside_file")?.as_ptr(), O_WRONLY | O_APPEND)
}

/// Cuts a file outside short, a canary.
pub(super) fn truncate(aim: &Aim<'_>) -> Outcome {
    let path = aim.below(b"outside_dir", b"truncate")?;
    // SAFETY: the path ends with a NUL.
    done(unsafe { sys!(TRUNCATE, path.as_ptr(), 0) }).map(|_| ())
}

/// A name in our own working folder, with nothing there.
fn own(name: &[u8]) -> Text {
    let mut path = Text::new();
    path.push(name);
    remove(&path);
    path
}

/// Moves a file of ours out.
pub(super) fn move_there(aim: &Aim<'_>) -> Outcome {
    let to = aim.below(b"outside_dir", b"attack-move")?;
    let from = own(b"attack-move");
    let file = open(AT_FDCWD, from.as_ptr(), O_WRONLY | O_CREAT | O_EXCL).or(Err(Stop::FOLDER))?;
    close(file);
    let moved = renames(&from, &to);
    remove(&from);
    if moved.is_ok() {
        remove(&to);
    }
    moved
}

/// Makes a folder outside and removes it.
pub(super) fn make_folder(aim: &Aim<'_>) -> Outcome {
    const REMOVE_FOLDER: usize = 0x200;
    let path = aim.below(b"outside_dir", b"attack-folder")?;
    // SAFETY: the path ends with a NUL.
    done(unsafe { sys!(MKDIRAT, AT_FDCWD, path.as_ptr(), 0o700) })?;
    remove_as(&path, REMOVE_FOLDER);
    Ok(())
}

/// Makes a named pipe outside and removes it.
pub(super) fn make_fifo(aim: &Aim<'_>) -> Outcome {
    const FIFO: usize = 0o010_000;
    let path = aim.below(b"outside_dir", b"attack-fifo")?;
    // SAFETY: the path ends with a NUL.
    done(unsafe { sys!(MKNODAT, AT_FDCWD, path.as_ptr(), FIFO | 0o600, 0) })?;
    remove(&path);
    Ok(())
}

/// Makes a symbolic link outside and removes it.
pub(super) fn make_symlink(aim: &Aim<'_>) -> Outcome {
    let path = aim.below(b"outside_dir", b"attack-plant")?;
    // SAFETY: both paths end with a NUL.
    done(unsafe { sys!(SYMLINKAT, c"nowhere".as_ptr(), AT_FDCWD, path.as_ptr()) })?;
    remove(&path);
    Ok(())
}

/// Makes a socket outside and removes it.
pub(super) fn make_socket(aim: &Aim<'_>) -> Outcome {
    const AF_UNIX: usize = 1;
    let path = aim.below(b"outside_dir", b"attack-bind")?;
    let socket = done(sys!(SOCKET, AF_UNIX, SOCK_STREAM, 0))?;
    let (address, length) = unix_address(path.bytes(), false)?;
    done(sys::bind(socket as isize, address.get(..length).unwrap_or_default()))?;
    remove(&path);
    Ok(())
}

/// Changes the mode and the times of a file outside, a canary.
pub(super) fn metadata(aim: &Aim<'_>) -> Outcome {
    let path = aim.below(b"outside_dir", b"mode")?;
    // SAFETY: the path ends with a NUL.
    let mode = done(unsafe { sys!(FCHMODAT, AT_FDCWD, path.as_ptr(), 0o640) });
    // SAFETY: the path ends with a NUL, and there are no times.
    let times = done(unsafe { sys!(UTIMENSAT, AT_FDCWD, path.as_ptr(), 0, 0) });
    mode.or(times).map(|_| ())
}

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
    let (path, name) = (aim.text(b"peer_file")?.as_ptr(), c"user.marker".as_ptr());
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

/// Whether our own working folder can be written; what needs it proves nothing otherwise.
fn own_folder_is_writable() -> Outcome {
    creates(&own(b"attack-own")).or(Err(Stop::FOLDER))
}

/// Makes a second name for a file outside in our own folder, and reads it there.
pub(super) fn hard_link(aim: &Aim<'_>) -> Outcome {
    let file = aim.text(b"outside_file")?;
    own_folder_is_writable()?;
    let link = own(b"attack-link");
    // SAFETY: both paths end with a NUL.
    done(unsafe { sys!(LINKAT, AT_FDCWD, file.as_ptr(), AT_FDCWD, link.as_ptr(), 0) })?;
    let found = aim.marked(link.as_ptr());
    remove(&link);
    found
}

/// Reads a file outside through a symbolic link in our own folder.
pub(super) fn symlink(aim: &Aim<'_>) -> Outcome {
    let file = aim.text(b"outside_file")?;
    own_folder_is_writable()?;
    let link = own(b"attack-symlink");
    // SAFETY: both paths end with a NUL.
    done(unsafe { sys!(SYMLINKAT, file.as_ptr(), AT_FDCWD, link.as_ptr()) })?;
    let found = aim.marked(link.as_ptr());
    remove(&link);
    found
}

/// Makes a device in our own folder (the one that swallows everything) and opens it.
pub(super) fn device(_: &Aim<'_>) -> Outcome {
    const CHARACTERS: usize = 0o020_000;
    const NULL_DEVICE: usize = 1 << 8 | 3;
    own_folder_is_writable()?;
    let path = own(b"attack-device");
    // SAFETY: the path ends with a NUL.
    done(unsafe { sys!(MKNODAT, AT_FDCWD, path.as_ptr(), CHARACTERS | 0o600, NULL_DEVICE) })?;
    let opened = opens(path.as_ptr(), O_WRONLY);
    remove(&path);
    opened
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
        let has_bits_at = |folder, path| {
            // SAFETY: both paths below end with a NUL.
            unsafe { mode_at(folder, path) }.is_some_and(|mode| mode & SET_ID != 0)
        };
        let has_bits = has_bits_at(AT_FDCWD, name)
            || made.is_ok_and(|file| file > 2 && has_bits_at(file as isize, c"".as_ptr().cast()));
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
        // SAFETY: the path ends with a NUL.
        last = unsafe { keeps_mode(AT_FDCWD, device.as_ptr().cast()) };
        if last.is_ok() {
            return last;
        }
    }
    let folder = open(AT_FDCWD, c"/proc".as_ptr().cast(), O_RDONLY)?;
    let _ = entries(folder, |name, kind| {
        const LINK: u8 = 10;
        // SAFETY: a name ends with a NUL.
        let is_process = unsafe { name.read().is_ascii_digit() };
        if kind != LINK && !is_process {
            // SAFETY: a name ends with a NUL.
            last = unsafe { keeps_mode(folder as isize, name) };
            return last;
        }
        Err(Stop::DIFFERENT)
    });
    last
}

/// # Safety
///
/// The name must end with a NUL.
unsafe fn keeps_mode(folder: isize, name: *const u8) -> Outcome {
    // SAFETY: the caller vouches for the name.
    let mode = unsafe { mode_at(folder, name) }.ok_or(Stop::ENOENT)?;
    // SAFETY: the caller vouches for the name.
    done(unsafe { sys!(FCHMODAT, folder, name, mode & 0o7777) }).map(|_| ())
}

/// Makes a file in `/dev`, which is memory that nobody counts.
pub(super) fn memory_of_devices(_: &Aim<'_>) -> Outcome {
    let mut path = Text::new();
    path.push(b"/dev/attack-memory");
    creates(&path)
}

/// The mode of a file, or of an open one where the path is empty.
///
/// # Safety
///
/// The path must end with a NUL.
unsafe fn mode_at(folder: isize, path: *const u8) -> Option<usize> {
    const EMPTY_PATH: usize = 0x1000;
    const MODE: usize = 2;
    // `struct statx`: the mode is the low half of the eighth word of 32 bits.
    let mut found = [0u32; 64];
    // SAFETY: the caller vouches for the path, and `struct statx` is 256 bytes.
    done(unsafe { sys!(STATX, folder, path, EMPTY_PATH, MODE, found.as_mut_ptr()) }).ok()?;
    Some((found[7] & 0xffff) as usize)
}

/// Opens a file of the system that everybody reads to write to it, and writes nothing.
pub(super) fn program(_: &Aim<'_>) -> Outcome {
    // No program: of one that runs at the moment the kernel says so before it asks the wall.
    match opens(c"/usr/lib/os-release".as_ptr().cast(), O_WRONLY) {
        Err(Stop::ENOENT) => opens(c"/usr/bin/env".as_ptr().cast(), O_WRONLY),
        opened => opened,
    }
}

/// A file's handle, as the kernel knows it: length, kind, bytes.
#[repr(C)]
struct Handle {
    length: u32,
    kind: i32,
    bytes: [u8; 128],
}

/// Opens by handle, past all folders.
///
/// # Safety
///
/// The path must end with a NUL.
unsafe fn opens_by_handle(path: *const u8) -> Result<usize, Stop> {
    let mut handle = Handle { length: 128, kind: 0, bytes: [0; 128] };
    let mut mount = [0i32; 2];
    let to = &raw mut handle;
    // SAFETY: the caller vouches for the path, and the handle says how many bytes it has.
    done(unsafe { sys!(NAME_TO_HANDLE_AT, AT_FDCWD, path, to, mount.as_mut_ptr(), 0) })?;
    // SAFETY: the kernel has just written the handle.
    done(unsafe { sys!(OPEN_BY_HANDLE_AT, AT_FDCWD, to, O_RDONLY) })
}

/// Opens a file outside by its handle, or our own folder: who may open by handle at all may guess others.
pub(super) fn handle(aim: &Aim<'_>) -> Outcome {
    let marker = aim.marker()?;
    let path = aim.text(b"outside_file")?.as_ptr();
    // SAFETY: an argument ends with a NUL.
    let there = unsafe { opens_by_handle(path) };
    if there.and_then(|file| holds(file, marker)).is_ok() {
        return Ok(());
    }
    // SAFETY: the path ends with a NUL.
    unsafe { opens_by_handle(c".".as_ptr().cast()) }.map(close)
}

/// Opens any disk to read it, and reads nothing.
pub(super) fn disk(_: &Aim<'_>) -> Outcome {
    const BLOCKS: u8 = 6;
    let folder = open(AT_FDCWD, c"/dev".as_ptr().cast(), O_RDONLY)?;
    let mut last = Err(Stop::ENOENT);
    let _ = entries(folder, |name, kind| {
        if kind == BLOCKS {
            last = open(folder as isize, name, O_RDONLY).map(close);
            return last;
        }
        Err(Stop::DIFFERENT)
    });
    last
}

/// Reads a secret of the server's in a folder that we may change.
pub(super) fn read_own(aim: &Aim<'_>) -> Outcome {
    aim.marked(aim.below(b"own_dir", b"secret")?.as_ptr())
}

/// Opens a file of the server's there to append to it, also by a second name, and writes nothing.
pub(super) fn write_own(aim: &Aim<'_>) -> Outcome {
    let path = aim.below(b"own_dir", b"folder/config")?;
    let opened = opens(path.as_ptr(), O_WRONLY | O_APPEND);
    if opened.is_ok() {
        return opened;
    }
    let link = aim.below(b"own_dir", b"attack-own")?;
    // SAFETY: both paths end with a NUL.
    done(unsafe { sys!(LINKAT, AT_FDCWD, path.as_ptr(), AT_FDCWD, link.as_ptr(), 0) })?;
    let opened = opens(link.as_ptr(), O_WRONLY | O_APPEND);
    remove(&link);
    opened
}

/// Puts another file in its place, and puts it back.
pub(super) fn replace_own(aim: &Aim<'_>) -> Outcome {
    renames_and_back(
        &aim.below(b"own_dir", b"folder/config")?,
        &aim.below(b"own_dir", b"folder/attack-own")?,
    )
}

/// Renames the folder that it lies in, and renames it back.
pub(super) fn move_own_folder(aim: &Aim<'_>) -> Outcome {
    renames_and_back(&aim.below(b"own_dir", b"folder")?, &aim.below(b"own_dir", b"attack-own")?)
}

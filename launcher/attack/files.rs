//! Files and folders outside of the session.

use super::aim::{
    Aim, O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY, Text, close, entries, holds, open, opens,
    proc_path,
};
use super::network::{SOCK_STREAM, unix_address};
use super::{Outcome, Stop, done};
use crate::sys::{self, AT_FDCWD};
use core::ffi::CStr;

/// Reads a file of another session.
pub(super) fn read_peer(aim: &Aim<'_>) -> Outcome {
    aim.marked(aim.c_str(b"peer_file")?)
}

/// Reads a file that no session may read.
pub(super) fn read(aim: &Aim<'_>) -> Outcome {
    aim.marked(aim.c_str(b"outside_file")?)
}

/// Reads the same by going up from the working folder, past the root.
pub(super) fn read_upwards(aim: &Aim<'_>) -> Outcome {
    let mut path = Text::new();
    for _ in 0..40 {
        path.push(b"../");
    }
    path.push(aim.text(b"outside_file")?);
    aim.marked(path.as_c_str())
}

/// Reads the same through the roots of other processes.
pub(super) fn read_through_proc(aim: &Aim<'_>) -> Outcome {
    let mut last = Err(Stop::ESRCH);
    for pid in aim.others() {
        let mut path = proc_path(pid, b"root");
        path.push(aim.text(b"outside_file")?);
        last = aim.marked(path.as_c_str());
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
        last = match open(folder, path.as_c_str(), O_RDONLY) {
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
    let file = open(AT_FDCWD, aim.c_str(b"outside_file")?, O_PATH)?;
    let mut path = Text::new();
    path.push(b"/proc/self/fd/");
    path.number(file);
    aim.marked(path.as_c_str())
}

/// Reads a key of the user.
pub(super) fn read_ssh(aim: &Aim<'_>) -> Outcome {
    aim.marked(aim.below(b"ssh", b"id")?.as_c_str())
}

/// Reads a file of the host; its own one in the session does not count where its text is known.
pub(super) fn read_host(aim: &Aim<'_>) -> Outcome {
    let file = open(AT_FDCWD, aim.c_str(b"host_file")?, O_RDONLY)?;
    match aim.text(b"host_text") {
        Ok(text) => holds(file, text),
        Err(_) => done(sys::read(file as i32, &mut [0])).map(|_| ()),
    }
}

/// Opens the passwords of the host, without reading them.
pub(super) fn read_shadow(_: &Aim<'_>) -> Outcome {
    opens(c"/etc/shadow", O_RDONLY)
}

/// Reads a file in the shared folder for temporary files.
pub(super) fn read_tmp(aim: &Aim<'_>) -> Outcome {
    aim.marked(aim.c_str(b"tmp")?)
}

/// Asks whether a file is there and how large.
pub(super) fn stat(aim: &Aim<'_>) -> Outcome {
    let mut unread = [0u64; 32];
    let path = aim.c_str(b"outside_file")?;
    // SAFETY: the path ends with a NUL, and `struct stat` is at most 256 bytes.
    done(unsafe { sys!(FSTATAT, AT_FDCWD, path.as_ptr(), unread.as_mut_ptr(), 0) }).map(|_| ())
}

/// Whether there is any name in a folder.
fn lists(path: &CStr) -> Outcome {
    let folder = open(AT_FDCWD, path, O_RDONLY)?;
    entries(folder, |_, _| Ok(()))
}

/// Lists the folder of another session.
pub(super) fn list_peer(aim: &Aim<'_>) -> Outcome {
    lists(aim.c_str(b"peer_dir")?)
}

/// Lists a folder outside.
pub(super) fn list(aim: &Aim<'_>) -> Outcome {
    lists(aim.c_str(b"outside_dir")?)
}

/// Watches the folder of another session for names that come and go.
pub(super) fn watch_peer(aim: &Aim<'_>) -> Outcome {
    const ALL_EVENTS: usize = 0xfff;
    let watcher = done(sys!(INOTIFY_INIT1, 0))?;
    let path = aim.c_str(b"peer_dir")?;
    // SAFETY: the path ends with a NUL.
    done(unsafe { sys!(INOTIFY_ADD_WATCH, watcher, path.as_ptr(), ALL_EVENTS) }).map(|_| ())
}

/// Makes a file and removes it.
fn creates(path: &Text) -> Outcome {
    let file = open(AT_FDCWD, path.as_c_str(), O_WRONLY | O_CREAT | O_EXCL)?;
    close(file);
    remove(path);
    Ok(())
}

pub(super) fn remove(path: &Text) {
    remove_as(path, 0);
}

/// Removes what is at a path, by these flags.
pub(super) fn remove_as(path: &Text, flags: usize) -> isize {
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
    opens(aim.c_str(b"outside_file")?, O_WRONLY | O_APPEND)
}

/// Cuts a file outside short, a canary.
pub(super) fn truncate(aim: &Aim<'_>) -> Outcome {
    let path = aim.below(b"outside_dir", b"truncate")?;
    // SAFETY: the path ends with a NUL.
    done(unsafe { sys!(TRUNCATE, path.as_ptr(), 0) }).map(|_| ())
}

/// A name in our own working folder, with nothing there.
pub(super) fn own(name: &[u8]) -> Text {
    let mut path = Text::new();
    path.push(name);
    remove(&path);
    path
}

/// Moves a file of ours out.
pub(super) fn move_there(aim: &Aim<'_>) -> Outcome {
    let to = aim.below(b"outside_dir", b"attack-move")?;
    let from = own(b"attack-move");
    let file =
        open(AT_FDCWD, from.as_c_str(), O_WRONLY | O_CREAT | O_EXCL).or(Err(Stop::FOLDER))?;
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

/// Whether our own working folder can be written; what needs it proves nothing otherwise.
pub(super) fn own_folder_is_writable() -> Outcome {
    creates(&own(b"attack-own")).or(Err(Stop::FOLDER))
}

/// Makes a second name for a file outside in our own folder, and reads it there.
pub(super) fn hard_link(aim: &Aim<'_>) -> Outcome {
    let file = aim.c_str(b"outside_file")?;
    own_folder_is_writable()?;
    let link = own(b"attack-link");
    // SAFETY: both paths end with a NUL.
    done(unsafe { sys!(LINKAT, AT_FDCWD, file.as_ptr(), AT_FDCWD, link.as_ptr(), 0) })?;
    let found = aim.marked(link.as_c_str());
    remove(&link);
    found
}

/// Reads a file outside through a symbolic link in our own folder.
pub(super) fn symlink(aim: &Aim<'_>) -> Outcome {
    let file = aim.c_str(b"outside_file")?;
    own_folder_is_writable()?;
    let link = own(b"attack-symlink");
    // SAFETY: both paths end with a NUL.
    done(unsafe { sys!(SYMLINKAT, file.as_ptr(), AT_FDCWD, link.as_ptr()) })?;
    let found = aim.marked(link.as_c_str());
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
    let opened = opens(path.as_c_str(), O_WRONLY);
    remove(&path);
    opened
}

/// Makes a file in `/dev`, which is memory that nobody counts.
pub(super) fn memory_of_devices(_: &Aim<'_>) -> Outcome {
    let mut path = Text::new();
    path.push(b"/dev/attack-memory");
    creates(&path)
}

/// Opens a file of the system that everybody reads to write to it, and writes nothing.
pub(super) fn program(_: &Aim<'_>) -> Outcome {
    // No program: of one that runs at the moment the kernel says so before it asks the wall.
    match opens(c"/usr/lib/os-release", O_WRONLY) {
        Err(Stop::ENOENT) => opens(c"/usr/bin/env", O_WRONLY),
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
fn opens_by_handle(path: &CStr) -> Result<usize, Stop> {
    let mut handle = Handle { length: 128, kind: 0, bytes: [0; 128] };
    let mut mount = [0i32; 2];
    let to = &raw mut handle;
    // SAFETY: the path ends with a NUL, and the handle says how many bytes it has.
    done(unsafe { sys!(NAME_TO_HANDLE_AT, AT_FDCWD, path.as_ptr(), to, mount.as_mut_ptr(), 0) })?;
    // SAFETY: the kernel has just written the handle.
    done(unsafe { sys!(OPEN_BY_HANDLE_AT, AT_FDCWD, to, O_RDONLY) })
}

/// Opens a file outside by its handle, or our own folder: who may open by handle at all may guess others.
pub(super) fn handle(aim: &Aim<'_>) -> Outcome {
    let marker = aim.marker()?;
    let there = opens_by_handle(aim.c_str(b"outside_file")?);
    if there.and_then(|file| holds(file, marker)).is_ok() {
        return Ok(());
    }
    opens_by_handle(c".").map(close)
}

/// Opens any disk to read it, and reads nothing.
pub(super) fn disk(_: &Aim<'_>) -> Outcome {
    const BLOCKS: u8 = 6;
    let folder = open(AT_FDCWD, c"/dev", O_RDONLY)?;
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
    aim.marked(aim.below(b"own_dir", b"secret")?.as_c_str())
}

/// Opens a file of the server's there to append to it, also by a second name, and writes nothing.
pub(super) fn write_own(aim: &Aim<'_>) -> Outcome {
    let path = aim.below(b"own_dir", b"folder/config")?;
    let opened = opens(path.as_c_str(), O_WRONLY | O_APPEND);
    if opened.is_ok() {
        return opened;
    }
    let link = aim.below(b"own_dir", b"attack-own")?;
    // SAFETY: both paths end with a NUL.
    done(unsafe { sys!(LINKAT, AT_FDCWD, path.as_ptr(), AT_FDCWD, link.as_ptr(), 0) })?;
    let opened = opens(link.as_c_str(), O_WRONLY | O_APPEND);
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

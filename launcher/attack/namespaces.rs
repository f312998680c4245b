//! New namespaces and mounts: with them could be uncovered what the wall covers.

use super::aim::{Aim, O_RDONLY, close, open, proc_path};
use super::{Outcome, Stop, done};
use crate::sys::{AT_FDCWD, SIGCHLD, exit, wait};
use core::ffi::CStr;

const NEW_USER: usize = 0x1000_0000;
const NEW_MOUNT: usize = 0x0002_0000;

/// A user namespace of our own: all powers within it.
pub(super) fn user(_: &Aim<'_>) -> Outcome {
    done(sys!(UNSHARE, NEW_USER)).map(|_| ())
}

/// The same for a child.
pub(super) fn clone(_: &Aim<'_>) -> Outcome {
    // SAFETY: the child has a copy of this process, and no address is passed.
    born(unsafe { sys!(CLONE, NEW_USER | SIGCHLD) })
}

/// The same with the newer call, whose flags no filter can see.
pub(super) fn clone3(_: &Aim<'_>) -> Outcome {
    let orders = [NEW_USER as u64, 0, 0, 0, SIGCHLD as u64, 0, 0, 0];
    // SAFETY: the kernel reads as many bytes as the orders have; the child has a copy of this process.
    born(unsafe { sys!(CLONE3, orders.as_ptr(), size_of_val(&orders)) })
}

/// The child of such a call ends at once.
fn born(pid: isize) -> Outcome {
    if pid == 0 {
        exit(0)
    }
    done(pid)?;
    wait(pid, None, 0);
    Ok(())
}

/// A mount namespace of our own.
pub(super) fn mount(_: &Aim<'_>) -> Outcome {
    done(sys!(UNSHARE, NEW_MOUNT)).map(|_| ())
}

/// Enters the victim's view of the file system.
pub(super) fn enter_victim(aim: &Aim<'_>) -> Outcome {
    let path = proc_path(aim.number(b"victim")?, b"ns/mnt");
    let namespace = open(AT_FDCWD, path.as_c_str(), O_RDONLY)?;
    done(sys!(SETNS, namespace, NEW_MOUNT)).map(|_| ())
}

/// Mounts onto a folder of our own and undoes it.
fn mounts(kind: &CStr, flags: usize) -> Outcome {
    const EEXIST: Stop = Stop(17);
    const DETACH: usize = 2;
    const REMOVE_FOLDER: usize = 0x200;
    let folder = c"attack-mount".as_ptr();
    // SAFETY: the path ends with a NUL.
    match done(unsafe { sys!(MKDIRAT, AT_FDCWD, folder, 0o700) }) {
        Ok(_) | Err(EEXIST) => {}
        Err(_) => return Err(Stop::FOLDER),
    }
    // SAFETY: path and kind end with a NUL, and there is no data.
    let mounted = done(unsafe { sys!(MOUNT, folder, folder, kind.as_ptr(), flags, 0) });
    if mounted.is_ok() {
        // SAFETY: the path ends with a NUL.
        unsafe { sys!(UMOUNT2, folder, DETACH) };
    }
    // SAFETY: the path ends with a NUL.
    unsafe { sys!(UNLINKAT, AT_FDCWD, folder, REMOVE_FOLDER) };
    mounted.map(|_| ())
}

/// Mounts a folder onto itself.
pub(super) fn bind(_: &Aim<'_>) -> Outcome {
    const BIND: usize = 4096;
    mounts(c"none", BIND)
}

/// Mounts a file system in memory.
pub(super) fn tmpfs(_: &Aim<'_>) -> Outcome {
    mounts(c"tmpfs", 0)
}

/// Prepares a file system with the newer calls.
pub(super) fn open_filesystem(_: &Aim<'_>) -> Outcome {
    // SAFETY: the kind ends with a NUL.
    done(unsafe { sys!(FSOPEN, c"tmpfs".as_ptr(), 0) }).map(close)
}

/// Takes a copy of the mounts below the root, without what covers them.
pub(super) fn open_tree(_: &Aim<'_>) -> Outcome {
    const COPY: usize = 1;
    // SAFETY: the path ends with a NUL.
    done(unsafe { sys!(OPEN_TREE, AT_FDCWD, c"/".as_ptr(), COPY) }).map(close)
}

/// Takes our own folder for the root; with a descriptor kept outside this is the way out of any root.
pub(super) fn chroot(_: &Aim<'_>) -> Outcome {
    // SAFETY: the path ends with a NUL.
    done(unsafe { sys!(CHROOT, c".".as_ptr()) }).map(|_| ())
}

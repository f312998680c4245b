//! New namespaces and mounts: with them could be uncovered what the wall covers.

use super::aim::{Aim, O_RDONLY, close, open, proc_path};
use super::{Outcome, Stop, done};
use crate::sys::{AT_FDCWD, SIGCHLD, exit};

const NEW_USER: usize = 0x1000_0000;
const NEW_MOUNT: usize = 0x0002_0000;

/// A user namespace of our own: all powers within it.
pub(super) fn user(_: &Aim<'_>) -> Outcome {
    done(sys!(UNSHARE, NEW_USER)).map(|_| ())
}

/// The same for a child.
pub(super) fn clone(_: &Aim<'_>) -> Outcome {
    born(sys!(CLONE, NEW_USER | SIGCHLD))
}

/// The same with the newer call, whose flags no filter can see.
pub(super) fn clone3(_: &Aim<'_>) -> Outcome {
    let orders = [NEW_USER as u64, 0, 0, 0, SIGCHLD as u64, 0, 0, 0];
    born(sys!(CLONE3, orders.as_ptr(), size_of_val(&orders)))
}

/// The child of such a call ends at once.
fn born(pid: isize) -> Outcome {
    if pid == 0 {
        exit(0)
    }
    done(pid)?;
    sys!(WAIT4, pid, 0, 0);
    Ok(())
}

/// A mount namespace of our own.
pub(super) fn mount(_: &Aim<'_>) -> Outcome {
    done(sys!(UNSHARE, NEW_MOUNT)).map(|_| ())
}

/// Enters the victim's view of the file system.
pub(super) fn enter_victim(aim: &Aim<'_>) -> Outcome {
    let path = proc_path(aim.number(b"victim")?, b"ns/mnt");
    let namespace = open(AT_FDCWD, path.as_ptr(), O_RDONLY)?;
    done(sys!(SETNS, namespace, NEW_MOUNT)).map(|_| ())
}

/// Mounts onto a folder of our own and undoes it.
fn mounts(kind: *const u8, flags: usize) -> Outcome {
    const EEXIST: Stop = Stop(17);
    const DETACH: usize = 2;
    const REMOVE_FOLDER: usize = 0x200;
    let folder = c"attack-mount".as_ptr();
    match done(sys!(MKDIRAT, AT_FDCWD, folder, 0o700)) {
        Ok(_) | Err(EEXIST) => {}
        Err(_) => return Err(Stop::FOLDER),
    }
    let mounted = done(sys!(MOUNT, folder, folder, kind, flags, 0));
    if mounted.is_ok() {
        sys!(UMOUNT2, folder, DETACH);
    }
    sys!(UNLINKAT, AT_FDCWD, folder, REMOVE_FOLDER);
    mounted.map(|_| ())
}

/// Mounts a folder onto itself.
pub(super) fn bind(_: &Aim<'_>) -> Outcome {
    const BIND: usize = 4096;
    mounts(c"none".as_ptr().cast(), BIND)
}

/// Mounts a file system in memory.
pub(super) fn tmpfs(_: &Aim<'_>) -> Outcome {
    mounts(c"tmpfs".as_ptr().cast(), 0)
}

/// Prepares a file system with the newer calls.
pub(super) fn open_filesystem(_: &Aim<'_>) -> Outcome {
    done(sys!(FSOPEN, c"tmpfs".as_ptr(), 0)).map(close)
}

/// Takes a copy of the mounts below the root, without what covers them.
pub(super) fn open_tree(_: &Aim<'_>) -> Outcome {
    const COPY: usize = 1;
    done(sys!(OPEN_TREE, AT_FDCWD, c"/".as_ptr(), COPY)).map(close)
}

/// Takes our own folder for the root; with a descriptor kept outside this is the way out of any root.
pub(super) fn chroot(_: &Aim<'_>) -> Outcome {
    done(sys!(CHROOT, c".".as_ptr())).map(|_| ())
}

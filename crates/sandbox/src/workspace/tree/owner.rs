//! Whose a tree is.

use super::{Deadline, Links, Walk, is_gone};
use rustix::fs::{AtFlags, Gid, Uid, chownat, fchown, fstat};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Gives a tree to a user, and to the group of the same number; the folder itself comes last, so that who finds it
/// given finds all of it given.
pub(in crate::workspace) fn give(
    folder: &OwnedFd,
    user: u32,
    deadline: &Deadline,
) -> io::Result<()> {
    let mut walk = Walk::new(folder.try_clone()?, Links::Keep)?;
    loop {
        deadline.check()?;
        let Some(entry) = walk.read() else {
            if walk.up()? {
                continue;
            }
            break;
        };
        let (name, kind) = entry?;
        match give_name(walk.at()?, &name, user) {
            Err(error) if is_gone(&error) => continue,
            given => given?,
        }
        if kind == rustix::fs::FileType::Directory {
            walk.down(&name)?;
        }
    }
    Ok(fchown(folder, Some(Uid::from_raw(user)), Some(Gid::from_raw(user)))?)
}

fn give_name(at: BorrowedFd<'_>, name: &CStr, user: u32) -> io::Result<()> {
    let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(user)));
    Ok(chownat(at, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives what the server has made in a folder to the owner of that folder, who may be an agent's user.
pub(in crate::workspace) fn inherit(at: BorrowedFd<'_>, made: impl AsFd) -> io::Result<()> {
    match stranger(at)? {
        Some(user) => Ok(fchown(made, Some(Uid::from_raw(user)), Some(Gid::from_raw(user)))?),
        None => Ok(()),
    }
}

/// The same for what has a name only.
pub(in crate::workspace) fn inherit_name(at: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    stranger(at)?.map_or(Ok(()), |user| give_name(at, name, user))
}

/// The owner of a folder, where that is not this process and this process may give files away.
fn stranger(folder: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    Ok(Some(fstat(folder)?.st_uid).filter(|user| *user != 0))
}

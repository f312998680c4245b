//! The folder that a container is started with: the launcher, its socket, and who its user is.

use super::super::covers::write_readable;
use super::{GROUP, HOME, LAUNCHER, PASSWD, SOCKET};
use crate::supervisor::PROGRAM;
use crate::workspace::remove_folder;
use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// A folder that is removed when dropped. What is mounted of it stays where it is mounted.
pub(super) struct Moment(pub(super) PathBuf);
impl Moment {
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(folder)?;
        let made = Self(folder.to_owned());
        let mut options = File::options();
        let launcher = options.write(true).create_new(true).mode(0o500);
        launcher.open(folder.join(LAUNCHER))?.write_all(PROGRAM)?;
        Ok(made)
    }

    /// Writes what programs inside ask for: who this user is.
    pub(super) fn introduce(&self, user: u32, group: u32) -> io::Result<()> {
        let passwd = format!(
            "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:{user}:{group}:agent:{HOME}:/bin/sh\n\
             nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        );
        write_readable(&self.0.join(PASSWD), &passwd)?;
        let groups = format!("root:x:0:\nagent:x:{group}:\nnogroup:x:65534:\n");
        write_readable(&self.0.join(GROUP), &groups)
    }

    pub(super) fn listen(&self) -> io::Result<UnixListener> {
        // By way of the descriptor, because the path of a socket must be short and this one may not be.
        let folder = File::open(&self.0)?;
        UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
    }

    /// Gives what the launcher inside uses to its user.
    pub(super) fn give(&self, user: u32) -> io::Result<()> {
        for path in [self.0.join(LAUNCHER), self.0.join(SOCKET), self.0.clone()] {
            chown(path, Some(user), Some(user))?;
        }
        Ok(())
    }
}
impl Drop for Moment {
    fn drop(&mut self) {
        let _ = remove_folder(&self.0);
    }
}

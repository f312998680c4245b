//! What a probe's attacks aim at: files, sockets and listeners of our own, gone when dropped.

use super::covers::OwnFile;
use super::{Exposed, Grants, cover};
use crate::workspace::remove_folder;
use std::fs::{File, Permissions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

/// Begins the name of the folder with the files that are attacked.
const OUTSIDE: &str = "probe-";

/// Beside the sockets, a folder with files that stand for the server's own.
const OWN: &str = "own";

/// The canaries.
pub(super) struct Canaries {
    pub(super) marker: String,
    /// What stands for the proxy, and its port at other addresses. No other canary has this number.
    pub(super) proxy: SamePort,
    pub(super) outside: PathBuf,
    pub(super) sockets: PathBuf,
    pub(super) tcp: TcpListener,
    /// None where the machine has no IPv6.
    pub(super) tcp6: Option<TcpListener>,
    pub(super) udp: UdpSocket,
    pub(super) udp6: Option<UdpSocket>,
    pub(super) abstract_name: String,
    pub(super) _listeners: (UnixListener, UnixListener, UnixDatagram),
    /// Locked for as long as the canaries are in use.
    _lock: File,
}

/// Listeners with one number: that of the only port that a session may connect to.
pub(super) struct SamePort {
    /// Where a session may connect: 127.0.0.1.
    pub(super) own: TcpListener,
    /// 127.0.0.2.
    _second: TcpListener,
    /// ::1; none where the machine has no IPv6.
    pub(super) v6: Option<TcpListener>,
}

impl SamePort {
    fn new() -> io::Result<Self> {
        /// The number that the system gives may be in use at the other addresses.
        const NUMBERS: usize = 64;
        const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
        let in_use = io::ErrorKind::AddrInUse;
        for _ in 0..NUMBERS {
            let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = port_of(&own);
            let second = TcpListener::bind((SECOND, port));
            let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
            if [&second, &v6].iter().any(|one| one.as_ref().is_err_and(|e| e.kind() == in_use)) {
                continue;
            }
            return Ok(Self { own, _second: second?, v6: v6.ok() });
        }
        Err(in_use.into())
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        remove(&self.outside, &self.sockets);
    }
}

impl Canaries {
    pub(super) fn new(state: &Path) -> io::Result<Self> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let marker = format!("pilothouse-canary-{id}");
        remove_left_overs(state);
        let outside = state.join(format!("{OUTSIDE}{id}"));
        std::fs::create_dir_all(outside.join("ssh"))?;
        let lock = File::open(&outside)?;
        lock.lock()?;
        let files = ["secret", "append", "unlink", "rename", "truncate", "mode", "tmp", "ssh/id"];
        for name in files {
            std::fs::write(outside.join(name), &marker)?;
        }
        let sockets = sockets_of(&id);
        std::fs::create_dir(&sockets)?;
        make_own(&sockets.join(OWN), &marker)?;
        std::fs::write(sockets.join("file"), &marker)?;
        let abstract_name = format!("pilothouse-{id}");
        let address = SocketAddr::from_abstract_name(abstract_name.as_bytes())?;
        let listeners = (
            UnixListener::bind_addr(&address)?,
            UnixListener::bind(sockets.join("stream"))?,
            UnixDatagram::bind(sockets.join("dgram"))?,
        );
        // First, so that the other listeners get other numbers.
        let proxy = SamePort::new()?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let udp6 = UdpSocket::bind("[::1]:0").ok();
        for socket in udp6.iter().chain([&udp]) {
            socket.set_nonblocking(true)?;
        }
        Ok(Self {
            marker,
            proxy,
            outside,
            sockets,
            tcp: TcpListener::bind("127.0.0.1:0")?,
            tcp6: TcpListener::bind("[::1]:0").ok(),
            udp,
            udp6,
            abstract_name,
            _listeners: listeners,
            _lock: lock,
        })
    }

    /// The folder that stands for one with files of the server's own, and what grants and covers it.
    pub(super) fn own(&self) -> Result<(PathBuf, Grants), Exposed> {
        // As it really is, because that is how it is granted.
        let folder = self.sockets.canonicalize().unwrap_or_else(|_| self.sockets.clone()).join(OWN);
        let mut grants = Grants::mounted(&[], std::slice::from_ref(&folder));
        let own = |name: &str, is_secret| OwnFile {
            path: folder.join(name),
            named_by: "a canary",
            is_secret,
            is_written: false,
        };
        let files = [own("secret", true), own("folder/config", false)];
        grants.covers = cover("probe", None, &grants, &files)?.covers;
        Ok((folder, grants))
    }
}

/// Files that everybody may change, so that nothing but a cover stops whoever tries.
fn make_own(folder: &Path, marker: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder.join("folder"))?;
    for name in ["secret", "folder/config"] {
        std::fs::write(folder.join(name), marker)?;
        std::fs::set_permissions(folder.join(name), Permissions::from_mode(0o666))?;
    }
    for path in [folder.to_owned(), folder.join("folder")] {
        std::fs::set_permissions(path, Permissions::from_mode(0o777))?;
    }
    Ok(())
}

/// Removes the canaries of probes that were killed.
fn remove_left_overs(state: &Path) {
    for entry in std::fs::read_dir(state).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(OUTSIDE));
        let Some(id) = id.filter(|id| uuid::Uuid::try_parse(id).is_ok()) else { continue };
        // Whoever uses them has locked them, `doctor` beside a server too.
        if File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            remove(&entry.path(), &sockets_of(id));
        }
    }
}

fn remove(outside: &Path, sockets: &Path) {
    // The folder that leads to the other one goes last.
    for folder in [sockets, outside] {
        if let Err(error) = remove_folder(folder) {
            tracing::warn!(%error, "what the isolation was tried on is left");
        }
    }
}

/// Paths of sockets are short, and the state folder may lie deep.
fn sockets_of(id: &str) -> PathBuf {
    std::env::temp_dir().join(format!("pilothouse-{}", id.get(..12).unwrap_or(id)))
}

pub(super) fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

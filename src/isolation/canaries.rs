//! What a probe's attacks aim at: files, sockets and listeners of our own, gone when dropped.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

/// The canaries.
pub(super) struct Canaries {
    pub(super) marker: String,
    pub(super) outside: PathBuf,
    pub(super) sockets: PathBuf,
    pub(super) tcp: TcpListener,
    /// None where the machine has no IPv6.
    pub(super) tcp6: Option<TcpListener>,
    pub(super) udp: UdpSocket,
    pub(super) udp6: Option<UdpSocket>,
    pub(super) abstract_name: String,
    pub(super) _listeners: (UnixListener, UnixListener, UnixDatagram),
}

impl Drop for Canaries {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.outside);
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}

impl Canaries {
    pub(super) fn new(state: &Path) -> io::Result<Self> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let marker = format!("pilothouse-canary-{id}");
        let outside = state.join(format!("probe-{id}"));
        std::fs::create_dir_all(outside.join("ssh"))?;
        let files = ["secret", "append", "unlink", "rename", "truncate", "mode", "tmp", "ssh/id"];
        for name in files {
            std::fs::write(outside.join(name), &marker)?;
        }
        // Paths of sockets are short, and the state folder may lie deep.
        let sockets = std::env::temp_dir().join(format!("pilothouse-{}", &id[..12]));
        std::fs::create_dir(&sockets)?;
        std::fs::write(sockets.join("file"), &marker)?;
        let abstract_name = format!("pilothouse-{id}");
        let address = SocketAddr::from_abstract_name(abstract_name.as_bytes())?;
        let listeners = (
            UnixListener::bind_addr(&address)?,
            UnixListener::bind(sockets.join("stream"))?,
            UnixDatagram::bind(sockets.join("dgram"))?,
        );
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let udp6 = UdpSocket::bind("[::1]:0").ok();
        for socket in udp6.iter().chain([&udp]) {
            socket.set_nonblocking(true)?;
        }
        Ok(Self {
            marker,
            outside,
            sockets,
            tcp: TcpListener::bind("127.0.0.1:0")?,
            tcp6: TcpListener::bind("[::1]:0").ok(),
            udp,
            udp6,
            abstract_name,
            _listeners: listeners,
        })
    }

    /// What every attack is told: what to look for, and which variables it was given.
    pub(super) fn common(&self) -> Vec<String> {
        vec![format!("marker={}", self.marker), "names=PATH".to_owned()]
    }
}

pub(super) fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

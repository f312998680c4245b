//! What a running server leaves in its state folder, so that client commands on this machine find it.

use super::Doors;
use crate::config::Config;
use serde_json::json;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

fn file(config: &Config) -> PathBuf {
    config.state_dir.join("server.json")
}

impl Doors {
    /// Leaves the address, and over TLS the certificate by which clients know this server, whatever its name. A state
    /// folder that cannot take it was refused before; a store in memory leaves nothing.
    pub fn leave_word(&self) {
        let config = &self.config;
        if config.store.path == Path::new("memory") {
            return;
        }
        let address = self.address;
        let loopback = if address.is_ipv4() {
            IpAddr::from(Ipv4Addr::LOCALHOST)
        } else {
            IpAddr::from(Ipv6Addr::LOCALHOST)
        };
        let host = if address.ip().is_unspecified() { loopback } else { address.ip() };
        let place = SocketAddr::new(host, address.port());
        let url = format!("{}://{place}", config.server.tls.scheme());
        let mut word = json!({"url": url, "pid": std::process::id()});
        if let Some(tls) = &self.tls {
            word["certificate"] = tls.fingerprint().into();
        }
        let file = file(config);
        let fresh = file.with_extension("json.new");
        // Renamed into place, so that nobody reads half of it.
        let written: io::Result<()> =
            std::fs::write(&fresh, word.to_string()).and_then(|()| std::fs::rename(&fresh, &file));
        if let Err(error) = written {
            tracing::warn!(%error, "client commands on this machine will have to be given --url");
        }
    }

    /// Takes it away again.
    pub fn remove_word(&self) {
        let _ = std::fs::remove_file(file(&self.config));
    }
}

//! Which server runs on this machine, by what it left in its state folder, and which servers are trusted over TLS.

use super::{ServerArgs, listener, parsed};
use crate::client::failure::Failure;
use crate::config::Config;
use crate::plain_file;
use pilothouse_a2a::client::ClientTls;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes of a file with certificates.
const LARGEST: u64 = 1 << 20;

/// What a running server leaves in its state folder.
#[derive(Debug, Deserialize)]
pub(super) struct RunningServer {
    pub(super) url: String,
    pid: i32,
    /// The SHA-256 of its certificate, where it speaks TLS.
    certificate: Option<String>,
}

impl RunningServer {
    /// Trusts it by the certificate that it told of, whatever its name.
    pub(super) fn know(&self, tls: ClientTls) -> ClientTls {
        match &self.certificate {
            Some(certificate) => tls.know(certificate),
            None => tls,
        }
    }
}

impl ServerArgs {
    /// Which servers are trusted, by options and variables.
    pub(super) fn tls(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<ClientTls, Failure> {
        let named = |option: &Option<PathBuf>, flag: &'static str, name: &'static str| {
            let by_option = option.clone().map(|path| (flag, path));
            by_option.or_else(|| Some((name, PathBuf::from(variable(name)?))))
        };
        let failure = |name: &str, path: &Path, why: &dyn fmt::Display| {
            Failure::usage(format!("`{name}`: {}: {why}", path.display()))
        };
        let read = |name: &str, path: &Path| {
            plain_file::read(path, LARGEST).map_err(|error| failure(name, path, &error))
        };
        let mut tls = ClientTls::default();
        if let Some((name, path)) = named(&self.ca, "--ca", "PILOTHOUSE_CA") {
            let trusting = tls.trust(&read(name, &path)?);
            tls = trusting.map_err(|error| failure(name, &path, &error))?;
        }
        let cert = named(&self.client_cert, "--client-cert", "PILOTHOUSE_CLIENT_CERT");
        if let Some((name, path)) = cert {
            let showing = tls.show(read(name, &path)?);
            tls = showing.map_err(|error| failure(name, &path, &error))?;
        }
        Ok(tls)
    }
}

/// Where the server of this configuration is, or would be.
pub(crate) fn address(config: &Config) -> String {
    running(config).unwrap_or_else(|| configured(config))
}

/// The address that a server which still runs left in the state folder.
pub(crate) fn running(config: &Config) -> Option<String> {
    Some(find_running(config)?.url.trim_end_matches('/').to_owned())
}

/// Trust in the server that runs with this configuration's state folder, where one does.
pub(crate) fn tls_of_running(config: &Config) -> ClientTls {
    find_running(config)
        .map_or_else(ClientTls::default, |running| running.know(ClientTls::default()))
}

/// What a server that still runs left there.
pub(super) fn find_running(config: &Config) -> Option<RunningServer> {
    let text = std::fs::read_to_string(config.state_dir.join("server.json")).ok()?;
    let running: RunningServer = serde_json::from_str(&text).ok()?;
    // A process that is gone holds no lock, and one that got its number holds another.
    let runs = listener::holds_lock(running.pid, &config.state_dir.join("lock"));
    (runs && parsed(&running.url).is_ok()).then_some(running)
}

/// The address that the configuration names.
pub(crate) fn configured(config: &Config) -> String {
    let host = match config.server.host.trim_matches(['[', ']']) {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("{}://{host}:{}", config.server.tls.scheme(), config.server.port)
}

//! TLS on the listener, as the configuration describes it.

use super::defaults::section;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

section! {
    /// Certificates of the server; plain HTTP where none is named.
    #[derive(Debug)]
    pub struct Tls {
        /// PEM file with the server's certificate and those of its issuers, its own first.
        pub cert: Option<PathBuf>,
        /// PEM file with the private key of that certificate.
        pub key: Option<PathBuf>,
        /// PEM file with the authorities of client certificates; set: every client must have one.
        pub client_ca: Option<PathBuf>,
    }
}

impl Tls {
    /// Whether TLS is spoken.
    pub fn is_on(&self) -> bool {
        self.cert.is_some()
    }

    /// The scheme of addresses.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }

    /// Each file with its key.
    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let Self { cert, key, client_ca } = self;
        let named = [
            ("server.tls.cert", cert),
            ("server.tls.key", key),
            ("server.tls.client_ca", client_ca),
        ];
        named.into_iter().filter_map(|(name, path)| Some((name, path.as_mut()?)))
    }
}

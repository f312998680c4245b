//! TLS on the listener: certificate, key and the authorities of clients, as they were read last.
//!
//! # How it works
//! All files are read at once and checked before they are used. A new handshake uses what was read last; connections that
//! are open keep what they began with. Sessions of TLS that clients resume are remembered with the files, so no client
//! resumes past an authority that was taken away.

use crate::config;
use crate::plain_file;
use parking_lot::RwLock;
use pilothouse_a2a::time::Timestamp;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use webpki::{EndEntityCert, KeyUsage};

/// A certificate that ends within this time is named at the start.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Bytes of a file that are read.
const LARGEST: u64 = 1 << 20;

/// The key that names the private key.
const KEY: &str = "server.tls.key";

/// Bytes that a connection encrypts before they are written.
const BUFFER: usize = 16 * 1024;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("`{key}`: {path} cannot be read: {source}")]
    Unreadable {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Everybody may read the private key.
    #[error(
        "`server.tls.key`: everybody on this machine can read {0}; take that away with `chmod o= FILE`"
    )]
    Open(PathBuf),
    /// There is no certificate in a file.
    #[error("`{key}`: {path} holds no certificate in a PEM block `CERTIFICATE`")]
    NoCertificate {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// There is no key in the file.
    #[error(
        "`server.tls.key`: {0} holds no private key in a PEM block `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`; a key with \
         a passphrase cannot be used: take it away with `openssl pkey -in FILE -out NEW`"
    )]
    NoKey(PathBuf),
    /// Certificate and key are not of one pair.
    #[error(
        "`server.tls.key`: {key} is not the key of the first certificate in {cert}; the server's own certificate must stand first, \
         before those of its issuers"
    )]
    Mismatch {
        /// The key.
        key: PathBuf,
        /// The certificates.
        cert: PathBuf,
    },
    /// The certificate's time is over.
    #[error("`server.tls.cert`: the certificate in {path} ended at {end}; renew it")]
    Expired {
        /// The file.
        path: PathBuf,
        /// Until when it was valid.
        end: Timestamp,
    },
    /// The certificate's time has not come.
    #[error(
        "`server.tls.cert`: the certificate in {path} is valid from {begin}; is this machine's clock right?"
    )]
    NotYet {
        /// The file.
        path: PathBuf,
        /// From when it is valid.
        begin: Timestamp,
    },
    /// The certificate is for something else.
    #[error(
        "`server.tls.cert`: the certificate in {0} is not for servers; its extended key usage must have `serverAuth`"
    )]
    NotForServers(PathBuf),
    /// The certificate is one of an authority.
    #[error(
        "`server.tls.cert`: the first certificate in {0} is that of an authority; name a certificate that it has issued"
    )]
    Authority(PathBuf),
    /// Something else.
    #[error("`{key}`: {path} cannot be used: {why}")]
    Unusable {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// The certificates in force.
pub struct ServerTls {
    current: RwLock<Arc<Certificates>>,
}

/// Files that were read and found good.
pub(super) struct Certificates {
    acceptor: TlsAcceptor,
    /// Of the server's own certificate.
    fingerprint: String,
    /// Of the contents of all files.
    digest: [u8; 32],
    ends: Option<Timestamp>,
}

impl ServerTls {
    /// Reads the files that the configuration names, if it does.
    pub fn load(config: &config::Tls) -> Result<Option<Self>, TlsError> {
        let read = Certificates::read(config)?;
        Ok(read.map(|read| Self { current: RwLock::new(Arc::new(read)) }))
    }

    /// What shakes hands with clients from now on.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().acceptor.clone()
    }

    /// Takes other files; whether anything in them differs.
    pub(super) fn replace(&self, new: Certificates) -> bool {
        let mut current = self.current.write();
        let is_changed = current.digest != new.digest;
        if is_changed {
            *current = Arc::new(new);
        }
        is_changed
    }

    /// The SHA-256 of the server's own certificate, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        self.current.read().fingerprint.clone()
    }

    /// Until when the certificate holds, for people.
    pub fn describe(&self) -> String {
        match (self.note(), self.current.read().ends) {
            (Some(note), _) => note,
            (None, Some(ends)) => format!("holds until {ends}"),
            (None, None) => "holds".to_owned(),
        }
    }

    /// The warning of a certificate that ends soon, for the start.
    pub fn note(&self) -> Option<String> {
        let ends = self.current.read().ends?;
        let left = ends.as_millisecond() - Timestamp::now().as_millisecond();
        (u128::from(left.max(0).unsigned_abs()) < SOON.as_millis()).then(|| {
            format!("the certificate in `server.tls.cert` ends at {ends}: renew it, then `pilothouse reload`")
        })
    }
}

impl Certificates {
    /// Reads the files and checks them; none where TLS is off.
    pub(super) fn read(config: &config::Tls) -> Result<Option<Self>, TlsError> {
        let (Some(cert), Some(key)) = (&config.cert, &config.key) else { return Ok(None) };
        let mut hasher = Sha256::new();
        let mut contents = |name, path: &Path| {
            let unreadable = |source| unreadable(name, path, source);
            let mut file = plain_file::open(path).map_err(unreadable)?;
            let is_open = file.metadata().map_err(unreadable)?.mode() & 0o004 != 0;
            if is_open && name == KEY {
                return Err(TlsError::Open(path.to_owned()));
            }
            let mut text = Vec::new();
            file.by_ref().take(LARGEST).read_to_end(&mut text).map_err(unreadable)?;
            hasher.update(text.len().to_le_bytes());
            hasher.update(&text);
            Ok::<_, TlsError>(text)
        };
        let chain = certificates("server.tls.cert", cert, &contents("server.tls.cert", cert)?)?;
        let private = PrivateKeyDer::from_pem_slice(&contents(KEY, key)?)
            .map_err(|_| TlsError::NoKey(key.clone()))?;
        let ends = check(&chain[0], cert)?;
        let fingerprint = Sha256::digest(&chain[0]);
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("server.tls.cert", cert, &error))?;
        let builder = match &config.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let name = "server.tls.client_ca";
                let mut roots = RootCertStore::empty();
                for authority in certificates(name, path, &contents(name, path)?)? {
                    roots.add(authority).map_err(|error| unusable(name, path, &error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                let verifier = verifier.map_err(|error| unusable(name, path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut server = builder.with_single_cert(chain, private).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { key: key.clone(), cert: cert.clone() }
            }
            other => unusable(KEY, key, &other),
        })?;
        server.alpn_protocols = [&b"h2"[..], b"http/1.1"].map(<[u8]>::to_vec).to_vec();
        Ok(Some(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            fingerprint: fingerprint.iter().map(|byte| format!("{byte:02x}")).collect(),
            digest: hasher.finalize().into(),
            ends,
        }))
    }
}

/// How much a connection encrypts before it is written.
pub(super) fn bound_buffer(connection: &mut rustls::ServerConnection) {
    connection.set_buffer_limit(Some(BUFFER));
}

fn unreadable(key: &'static str, path: &Path, source: io::Error) -> TlsError {
    TlsError::Unreadable { key, path: path.to_owned(), source }
}

/// All certificates of a file, at least one.
fn certificates(
    key: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = read.map_err(|error| unusable(key, path, &error))?;
    match found.is_empty() {
        true => Err(TlsError::NoCertificate { key, path: path.to_owned() }),
        false => Ok(found),
    }
}

fn unusable(key: &'static str, path: &Path, why: &dyn std::error::Error) -> TlsError {
    TlsError::Unusable { key, path: path.to_owned(), why: why.to_string() }
}

/// Whether a certificate may be shown now, and until when. Who issued it is for clients to judge: what does not depend on
/// that is checked first, so without any authority the answer of a good one is that its issuer is unknown.
fn check(certificate: &CertificateDer<'_>, path: &Path) -> Result<Option<Timestamp>, TlsError> {
    let at = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 1000);
        Timestamp::from_millisecond(seconds.saturating_mul(1000))
    };
    let verify = |time: UnixTime| -> Result<(), webpki::Error> {
        let algorithms = default_provider().signature_verification_algorithms.all;
        let entity = EndEntityCert::try_from(certificate)?;
        let usage = KeyUsage::server_auth();
        entity.verify_for_usage(algorithms, &[], &[], time, usage, None, None).map(|_| ())
    };
    let path = path.to_owned();
    match verify(UnixTime::now()) {
        Ok(()) | Err(webpki::Error::UnknownIssuer) => {}
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            return Err(TlsError::Expired { path, end: at(not_after) });
        }
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
            return Err(TlsError::NotYet { path, begin: at(not_before) });
        }
        Err(webpki::Error::RequiredEkuNotFoundContext(_)) => {
            return Err(TlsError::NotForServers(path));
        }
        Err(webpki::Error::CaUsedAsEndEntity) => return Err(TlsError::Authority(path)),
        Err(other) => return Err(unusable("server.tls.cert", &path, &other)),
    }
    // What is told of a time far away is the end of the certificate.
    let far = UnixTime::since_unix_epoch(Duration::from_secs(u64::from(u32::MAX) * 16));
    match verify(far) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Ok(Some(at(not_after))),
        _ => Ok(None),
    }
}

//! The network that the server itself is in: the proxy by which it reaches other machines, and the certificates that
//! it trusts beside those of the system.
//!
//! # How it works
//!
//! [`Network::of`] reads the variables that the operator gives to every program of such a network. Model routes and
//! repositories connect with a [`Connector`]; tunnels and forwarded requests ask [`Network::proxy`] (`reach.rs`).
//!
//! # Pitfalls
//!
//! A proxy resolves names itself. What `reach.rs` judges is what the name means here, so a rule `*` relies on the
//! proxy to refuse inner networks.

use super::route::BadVariable;
use super::upstream::UpstreamNames;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_native_certs::{CertificateResult, load_certs_from_paths};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_service::Service;

/// The longest head of a proxy's answer to `CONNECT`.
const LONGEST_HEAD: usize = 16 * 1024;

/// Variables that name a file of certificates.
const CERTIFICATE_FILES: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"];

/// The variable that names folders of certificates.
const CERTIFICATE_FOLDERS: &str = "SSL_CERT_DIR";

/// The proxy and the certificates of the network that the server is in.
#[derive(Default)]
pub struct Network {
    proxies: Option<Matcher>,
    certificates: Vec<Certificates>,
    notes: Vec<String>,
}

/// A file or a folder of certificates, and the variable that names it.
struct Certificates {
    variable: &'static str,
    path: PathBuf,
    is_folder: bool,
}

/// Why a proxy gave no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// It cannot be connected to.
    #[error("no connection to the proxy of this network: {0}")]
    Unreached(Box<dyn Error + Send + Sync>),
    /// It wants a name and a password, or others.
    #[error("the proxy of this network asks for another user name and password (407)")]
    Unauthorized,
    /// It does not want to connect.
    #[error("the proxy of this network refused the connection ({0})")]
    Refused(u16),
    /// It does not speak HTTP, or ended the connection.
    #[error("the proxy of this network gave no HTTP answer")]
    NoAnswer,
}

/// A way by which a destination is reached.
pub(super) struct Proxy(Intercept);

impl Network {
    /// The network that these variables describe, in either case: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`,
    /// `NO_PROXY`, `NODE_EXTRA_CA_CERTS`, `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    ///
    /// # Errors
    ///
    /// A proxy that cannot be used.
    pub fn of(variables: &BTreeMap<String, String>) -> Result<Self, BadVariable> {
        let get = |name: &str| {
            let text = variables.get(name).or_else(|| variables.get(&name.to_ascii_lowercase()));
            text.map(|text| text.trim()).filter(|text| !text.is_empty())
        };
        let mut network = Self::default();
        let all = get("ALL_PROXY").map(|text| ("ALL_PROXY", text));
        let https = get("HTTPS_PROXY").map(|text| ("HTTPS_PROXY", text)).or(all);
        let http = get("HTTP_PROXY").map(|text| ("HTTP_PROXY", text)).or(all);
        for (variable, text) in https.iter().chain(&http) {
            check_proxy(text).map_err(|what| BadVariable::new(variable, what))?;
        }
        if https.is_some() || http.is_some() {
            let text = |found: Option<(_, &str)>| found.map_or("", |(_, text)| text).to_owned();
            let exceptions = exceptions(get("NO_PROXY").unwrap_or_default());
            let matcher = Matcher::builder().https(text(https)).http(text(http)).no(exceptions);
            network.proxies = Some(matcher.build());
        }
        for variable in CERTIFICATE_FILES {
            network.certificates.extend(get(variable).map(|path| Certificates {
                variable,
                path: PathBuf::from(path),
                is_folder: false,
            }));
        }
        let folders = get(CERTIFICATE_FOLDERS).unwrap_or_default();
        let folders = std::env::split_paths(folders).filter(|path| !path.as_os_str().is_empty());
        network.certificates.extend(folders.map(|path| Certificates {
            variable: CERTIFICATE_FOLDERS,
            path,
            is_folder: true,
        }));
        network.notes = network.describe(https, http);
        Ok(network)
    }

    /// What the operator should know at the start.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether connections are made by a proxy, which resolves names itself.
    pub fn has_proxy(&self) -> bool {
        self.proxies.is_some()
    }

    fn describe(&self, https: Option<(&str, &str)>, http: Option<(&str, &str)>) -> Vec<String> {
        let mut notes = Vec::new();
        let shown = |what: &str, found: Option<(&str, &str)>| {
            let (variable, text) = found?;
            let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
            let host = host.trim_start_matches("http://").trim_end_matches('/');
            Some(format!("{what} by the proxy {host} ({variable})"))
        };
        let ways: Vec<_> =
            [shown("https", https), shown("http", http)].into_iter().flatten().collect();
        if !ways.is_empty() {
            notes.push(format!(
                "models and allowed hosts are reached through this network's proxy, except those of NO_PROXY: {}",
                ways.join(", ")
            ));
        }
        for certificates in &self.certificates {
            let loaded = certificates.load();
            if loaded.certs.is_empty() {
                let cause =
                    loaded.errors.first().map_or_else(String::new, |why| format!(": {why}"));
                notes.push(format!(
                    "no certificate could be read from {}, which {} names{cause}; it is not trusted",
                    certificates.path.display(),
                    certificates.variable
                ));
            }
        }
        notes
    }

    /// The proxy for this scheme, host and port; none where the destination is connected to itself.
    pub(super) fn proxy(&self, scheme: &str, host: &str, port: u16) -> Option<Proxy> {
        let proxies = self.proxies.as_ref()?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<IpAddr>().ok();
        // The loopback of the proxy is another one than ours.
        if address.is_some_and(|address| address.is_loopback())
            || bare.eq_ignore_ascii_case("localhost")
        {
            return None;
        }
        let host = match address {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            Some(IpAddr::V4(_)) | None => host.to_owned(),
        };
        let uri: Uri = format!("{scheme}://{host}:{port}/").parse().ok()?;
        proxies.intercept(&uri).map(Proxy)
    }

    /// The certificates of the system, and those that the operator names.
    pub(super) fn roots(&self) -> RootCertStore {
        let system = openssl_probe::probe();
        let file = system.cert_file.iter().map(|file| load_certs_from_paths(Some(file), None));
        let folders =
            system.cert_dir.iter().map(|folder| load_certs_from_paths(None, Some(folder)));
        let named = self.certificates.iter().map(Certificates::load);
        let mut roots = RootCertStore::empty();
        let mut all: Vec<_> =
            file.chain(folders).chain(named).flat_map(|found| found.certs).collect();
        all.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        all.dedup();
        roots.add_parsable_certificates(all);
        roots
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates: Vec<_> = self.certificates.iter().map(|one| &one.path).collect();
        out.debug_struct("Network")
            .field("proxies", &self.proxies)
            .field("certificates", &certificates)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    fn load(&self) -> CertificateResult {
        match self.is_folder {
            true => load_certs_from_paths(None, Some(&self.path)),
            false => load_certs_from_paths(Some(&self.path), None),
        }
    }
}

/// What is wrong with the address of a proxy.
fn check_proxy(text: &str) -> Result<(), &'static str> {
    if text.split_once("://").is_some_and(|(scheme, _)| !scheme.eq_ignore_ascii_case("http")) {
        return Err(
            "is not a proxy that is spoken to by http; give http://HOST:PORT, or unset it for Pilothouse",
        );
    }
    match Matcher::builder()
        .https(text.to_owned())
        .build()
        .intercept(&Uri::from_static("https://x/"))
    {
        Some(_) => Ok(()),
        None => Err(
            "is not the address of a proxy; give http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT",
        ),
    }
}

/// `NO_PROXY` with commas between names, as the matcher takes it: `*.example.com` is written as often as
/// `.example.com`, and some programs take spaces.
fn exceptions(text: &str) -> String {
    let names = text.split([',', ' ', ';']).filter(|name| !name.is_empty());
    let names: Vec<_> = names
        .map(|name| name.strip_prefix('*').filter(|rest| !rest.is_empty()).unwrap_or(name))
        .collect();
    names.join(",")
}

impl Proxy {
    /// Its host and port.
    pub(super) fn place(&self) -> (&str, u16) {
        let uri = self.0.uri();
        (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80))
    }

    /// What it is told about who asks.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let mut value = self.0.basic_auth()?.clone();
        value.set_sensitive(true);
        Some(value)
    }

    /// Has it connect to a destination, over a connection to it. No byte behind its answer is taken.
    pub(super) async fn tunnel(
        &self,
        mut stream: TcpStream,
        destination: &str,
    ) -> Result<TcpStream, ProxyError> {
        let mut request =
            format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n").into_bytes();
        if let Some(value) = self.0.basic_auth() {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let unreached = |error: io::Error| ProxyError::Unreached(error.into());
        stream.write_all(&request).await.map_err(unreached)?;
        match read_status(&mut stream).await.map_err(unreached)? {
            Some(200..=299) => Ok(stream),
            Some(407) => Err(ProxyError::Unauthorized),
            Some(status) => Err(ProxyError::Refused(status)),
            None => Err(ProxyError::NoAnswer),
        }
    }
}

/// The status of an answer, whose head is taken from the stream; none where it is no answer of HTTP.
async fn read_status(stream: &mut TcpStream) -> io::Result<Option<u16>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while head.len() < LONGEST_HEAD {
        let arrived = stream.peek(&mut piece).await?;
        if arrived == 0 {
            return Ok(None);
        }
        let before = head.len();
        head.extend_from_slice(&piece[..arrived]);
        let end = head.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let taken = end.map_or(arrived, |end| end - before);
        stream.read_exact(&mut piece[..taken]).await?;
        if end.is_some() {
            let first = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let first = String::from_utf8_lossy(first);
            let mut words = first.split(' ');
            let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
            return Ok(words.next().and_then(|word| word.parse().ok()).filter(|_| is_http));
        }
    }
    Ok(None)
}

/// Connects to upstreams, by the proxy where there is one for them.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) tcp: HttpConnector<UpstreamNames>,
    pub(super) network: Arc<Network>,
}

/// A connection to an upstream, or to a proxy that requests are given to as they are.
pub(super) struct Outgoing {
    io: TokioIo<TcpStream>,
    is_proxy: bool,
}

impl Service<Uri> for Connector {
    type Response = Outgoing;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_secure = uri.scheme_str() == Some("https");
        let (scheme, usual) = if is_secure { ("https", 443) } else { ("http", 80) };
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(usual);
        let Some(proxy) = self.network.proxy(scheme, host, port) else {
            let connecting = self.tcp.call(uri);
            return Box::pin(
                async move { Ok(Outgoing { io: connecting.await?, is_proxy: false }) },
            );
        };
        let destination = format!("{host}:{port}");
        let connecting = self.tcp.call(proxy.0.uri().clone());
        Box::pin(async move {
            let io = connecting.await.map_err(|why| ProxyError::Unreached(why.into()))?;
            if !is_secure {
                return Ok(Outgoing { io, is_proxy: true });
            }
            let stream = proxy.tunnel(io.into_inner(), &destination).await?;
            Ok(Outgoing { io: TokioIo::new(stream), is_proxy: false })
        })
    }
}

impl Connection for Outgoing {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_proxy)
    }
}

impl Read for Outgoing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Outgoing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(variables: &[(&str, &str)]) -> Result<Network, BadVariable> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Network::of(&variables.iter().map(owned).collect())
    }

    fn is_direct(network: &Network, host: &str) -> bool {
        network.proxy("https", host, 443).is_none()
    }

    #[test]
    fn no_proxy_is_read_in_every_spelling_that_is_in_use() {
        let exceptions = "corp.test, *.star.test .dot.test,10.0.0.0/8;fd00::1";
        let network =
            network(&[("https_proxy", "http://proxy.test:3128"), ("no_proxy", exceptions)])
                .unwrap();
        for host in ["corp.test", "a.corp.test", "a.star.test", "a.dot.test", "10.1.2.3", "fd00::1"]
        {
            assert!(is_direct(&network, host), "{host}");
        }
        for host in ["example.com", "notcorp.test", "11.1.2.3", "fd00::2"] {
            assert!(!is_direct(&network, host), "{host}");
        }
    }

    #[test]
    fn loopback_is_never_behind_the_proxy() {
        let network = network(&[("ALL_PROXY", "http://proxy.test:3128")]).unwrap();
        for host in ["127.0.0.1", "127.9.9.9", "localhost", "[::1]", "::1"] {
            assert!(is_direct(&network, host), "{host}");
        }
        assert!(!is_direct(&network, "example.com"));
        assert!(network.proxy("http", "example.com", 80).is_some());
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_and_its_password_is_not_told() {
        for address in
            ["socks5://user:hidden@proxy.test", "https://hidden.test:1", "http://hidden host"]
        {
            let error = network(&[("HTTPS_PROXY", address)]).unwrap_err().to_string();
            assert!(error.contains("HTTPS_PROXY") && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn the_start_names_the_proxy_without_its_password_and_certificates_that_are_not_there() {
        let network = network(&[
            ("HTTPS_PROXY", "http://user:hidden@proxy.test:3128"),
            ("NODE_EXTRA_CA_CERTS", "/nowhere/ca.pem"),
        ]);
        let network = network.unwrap();
        let notes = network.notes();
        assert!(notes[0].contains("proxy.test:3128 (HTTPS_PROXY)"), "{notes:?}");
        assert!(
            notes[1].contains("/nowhere/ca.pem, which NODE_EXTRA_CA_CERTS names: "),
            "{notes:?}"
        );
        assert!(!format!("{notes:?} {network:?}").contains("hidden"), "{notes:?} {network:?}");
    }
}

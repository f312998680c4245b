//! Who calls, what they may see, how often.
//!
//! Closed by default: a bearer token, compared in constant time; a `Host` that is ours, so that no web
//! page reaches the server by a name it made up; an `Origin` only where the operator listed it.

mod forwarded;
mod guesses;
mod rate;

pub use forwarded::Forwarded;

use crate::config::{self, ANYBODY, Config, OWNER};
use crate::store::Scope;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use guesses::Guesses;
use ipnet::IpNet;
use rate::Windows;
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use subtle::ConstantTimeEq;

/// Somebody who may call.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name by which tasks and sessions are told apart.
    pub name: Arc<str>,
}

impl Caller {
    /// What this caller may see of an agent.
    pub fn scope(&self, agent: &str) -> Scope {
        Scope { caller: self.name.clone(), agent: Arc::from(agent) }
    }
}

/// Who sends a request, and how it came here.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who calls and by which address, as far as trusted proxies tell.
    pub forwarded: Forwarded,
    /// The address of this machine that the connection was made to.
    pub local: IpAddr,
    /// The host that the client named, with its port; empty where it named none.
    pub host: String,
}

/// The guard at the door.
pub struct Access {
    tokens: Vec<(Arc<str>, [u8; 32])>,
    required: bool,
    hosts: Vec<String>,
    any_host: bool,
    origins: Vec<String>,
    proxies: Vec<IpNet>,
    requests: Windows<Arc<str>>,
    wrong: Windows<IpAddr>,
    /// Where a token can be guessed.
    guesses: Option<Guesses>,
    /// The keys of the tokens that can be guessed.
    weak: Vec<String>,
    warned_of_proxy: AtomicBool,
}

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The `Host` is not ours.
    #[error(
        "the host `{0}` is not served here; the server's operator can add it to `server.allowed_hosts`"
    )]
    Host(String),
    /// There are several hosts, or none that can be read.
    #[error("a request names one host, as `Host: NAME` or `Host: NAME:PORT`; send one such header")]
    UnclearHost,
    /// The `Origin` is not listed.
    #[error(
        "pages of `{0}` may not call; the server's operator can add it to `server.allowed_origins`"
    )]
    Origin(String),
    /// No token, or a wrong one.
    #[error(
        "a bearer token is needed: `Authorization: Bearer TOKEN`; ask the server's operator for one (`auth.token`, `auth.tokens`)"
    )]
    NoToken,
    /// A wrong token.
    #[error(
        "this bearer token is not valid; ask the server's operator for one (`auth.token`, `auth.tokens`)"
    )]
    WrongToken,
    /// Too many wrong tokens from one address.
    #[error(
        "too many wrong tokens from this address (`limits.wrong_tokens`); use a valid token, or try again in {0} s"
    )]
    Locked(u64),
    /// The token was not compared, because its address has tried wrong ones and too many tries wait.
    #[error(
        "this token was not compared: wrong tokens were tried from this address, and too many tries wait \
         (`limits.wrong_tokens_waiting`); try again in {0} s; the server's operator can make tokens of 128 bits or more"
    )]
    NotCompared(u64),
}

impl Access {
    /// The guard that the configuration describes; `token` is the one that `token()` found or made.
    pub fn new(config: &Config, token: &str) -> Self {
        let named = config.auth.tokens.iter().map(|(name, token)| (name.as_str(), token.as_str()));
        let tokens = [(OWNER, token)].into_iter().chain(named);
        let key = |name| match name {
            OWNER => "auth.token".to_owned(),
            other => format!("auth.tokens.{other}"),
        };
        let weak: Vec<_> = tokens
            .clone()
            .filter(|(_, token)| config.auth.required && guesses::is_weak(token))
            .map(|(name, _)| key(name))
            .collect();
        let guesses =
            || Guesses::new(config.limits.wrong_tokens_waiting, config.timeouts.wrong_token.get());
        let server = &config.server;
        let hosts: Vec<_> = ["localhost", &server.host]
            .into_iter()
            .chain(server.public_url.as_deref().and_then(host_of_url))
            .chain(server.allowed_hosts.iter().map(String::as_str))
            .map(bare_host)
            .collect();
        let keys = config.limits.rate_keys;
        Self {
            tokens: tokens.map(|(name, token)| (Arc::from(name), digest(token))).collect(),
            required: config.auth.required,
            any_host: hosts.iter().any(|host| host == "*"),
            hosts,
            origins: config
                .server
                .allowed_origins
                .iter()
                .map(|origin| origin.to_lowercase())
                .collect(),
            proxies: config
                .server
                .trusted_proxies
                .iter()
                .filter_map(|text| config::network(text))
                .collect(),
            requests: Windows::new(config.limits.rate, keys),
            wrong: Windows::new(config.limits.wrong_tokens, keys),
            guesses: (!weak.is_empty()).then(guesses),
            weak,
            warned_of_proxy: AtomicBool::new(false),
        }
    }

    /// Who a request comes from, and how: `peer` connected to `local`.
    pub fn arrive(
        &self,
        peer: IpAddr,
        local: IpAddr,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Arrival, Denied> {
        self.warn_of_proxy(peer, headers);
        let forwarded = forwarded::forwarded(&self.proxies, peer, headers);
        let host = match &forwarded.host {
            Some(host) => host.clone(),
            None => named_host(uri, headers)?,
        };
        Ok(Arrival { forwarded, local: local.to_canonical(), host })
    }

    /// Whether this address is in one of `server.trusted_proxies`.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        forwarded::is_trusted(&self.proxies, peer.to_canonical())
    }

    /// Warns once of a proxy on this machine that the configuration does not name: all of its clients
    /// count as one address, and cards have the wrong one.
    fn warn_of_proxy(&self, peer: IpAddr, headers: &HeaderMap) {
        let peer = peer.to_canonical();
        if !peer.is_loopback() || self.is_proxy(peer) {
            return;
        }
        let mut names = ["forwarded", "x-forwarded-for"].into_iter();
        let Some(name) = names.find(|name| headers.contains_key(*name)) else { return };
        if !self.warned_of_proxy.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a request from {peer} carries `{name}`, which is ignored: {peer} is not in `server.trusted_proxies`, so \
                 all clients of a proxy there count as one address; if it is your proxy, add it (this is said once)"
            );
        }
    }

    /// The warning of tokens that can be guessed, for the start.
    pub fn weak_note(&self) -> Option<String> {
        let names: Vec<_> = self.weak.iter().map(|key| format!("`{key}`")).collect();
        (!names.is_empty()).then(|| {
            format!(
                "warning: {} can be guessed (less than 128 bits), so tries after a wrong token are slowed, and while \
                 wrong tokens are tried from an address, valid callers at the same address can wait or be refused; leave \
                 `auth.token` out to have one made, or make one with `openssl rand -hex 32`",
                names.join(", ")
            )
        })
    }

    /// The caller whose valid token a request carries; anybody, where none is asked for. Where a token can be
    /// guessed, addresses that tried a wrong one learn nothing by this.
    pub fn recognize(&self, headers: &HeaderMap, arrival: &Arrival) -> Option<Caller> {
        if !self.required {
            return Some(Caller { name: Arc::from(ANYBODY) });
        }
        let may_compare = self.guesses.is_none() || self.count_wrong(arrival) == 0;
        bearer(headers).filter(|_| may_compare).and_then(|token| self.find_caller(token))
    }

    /// How many wrong tokens the address of a request has tried lately.
    fn count_wrong(&self, arrival: &Arrival) -> u32 {
        self.wrong.count(&origin(arrival.forwarded.client))
    }

    /// The caller that a token belongs to. Every token is compared, whichever fits: the time says nothing.
    fn find_caller(&self, token: &str) -> Option<Caller> {
        let given = digest(token);
        let mut found = None;
        for (name, known) in &self.tokens {
            if bool::from(known.ct_eq(&given)) {
                found = Some(name);
            }
        }
        found.map(|name| Caller { name: name.clone() })
    }

    /// Lets a request in, or says why not.
    pub async fn admit(&self, headers: &HeaderMap, arrival: &Arrival) -> Result<Caller, Denied> {
        self.check_host(arrival)?;
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or("?").to_lowercase();
            if !self.origins.contains(&origin) {
                return Err(Denied::Origin(origin));
            }
        }
        if !self.required {
            return Ok(Caller { name: Arc::from(ANYBODY) });
        }
        let Some(token) = bearer(headers) else {
            return Err(Denied::NoToken);
        };
        if let Some(guesses) = &self.guesses {
            guesses.wait(self.count_wrong(arrival)).await.map_err(Denied::NotCompared)?;
        }
        // From here on a valid token passes, whatever others at its address have tried.
        if let Some(caller) = self.find_caller(token) {
            return Ok(caller);
        }
        match self.wrong.take(origin(arrival.forwarded.client)) {
            Ok(()) => Err(Denied::WrongToken),
            Err(seconds) => Err(Denied::Locked(seconds)),
        }
    }

    /// Checks the host alone, for what is public.
    pub fn check_host(&self, arrival: &Arrival) -> Result<(), Denied> {
        let host = bare_host(&arrival.host);
        // No name server can point an address elsewhere. It must still be one by which a client reaches this
        // machine, because it stands on cards: loopback (also where a container's port is published), or the
        // address that this connection was made to.
        let is_ours = host.parse::<IpAddr>().is_ok_and(|address| {
            address.is_loopback() || address.is_unspecified() || address == arrival.local
        });
        if self.any_host || is_ours || self.hosts.contains(&host) {
            Ok(())
        } else {
            Err(Denied::Host(host))
        }
    }

    /// Counts a request of this caller that changes something; the seconds to wait when there were too many.
    ///
    /// # Errors
    ///
    /// The seconds after which it may be tried again.
    pub fn count_request(&self, caller: &Caller) -> Result<(), u64> {
        self.requests.take(caller.name.clone())
    }
}

/// The address by which clients are counted: of version 6 the network of 64 bits, which is one client's.
pub fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        address => address,
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The token of `Authorization: Bearer …`, the scheme in any case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The one host that a request names, in its target or its headers.
fn named_host(uri: &Uri, headers: &HeaderMap) -> Result<String, Denied> {
    let mut named = headers.get_all(header::HOST).iter();
    let (first, more) = (named.next(), named.next());
    let authority = uri.authority().map(Authority::as_str);
    let host = match (first, more, authority) {
        (None, _, None) => return Ok(String::new()),
        (None, _, Some(authority)) => authority,
        (Some(host), None, None) => host.to_str().map_err(|_| Denied::UnclearHost)?,
        (Some(host), None, Some(authority)) => {
            let same = host.to_str().is_ok_and(|host| bare_host(host) == bare_host(authority));
            if same { authority } else { return Err(Denied::UnclearHost) }
        }
        (Some(_), Some(_), _) => return Err(Denied::UnclearHost),
    };
    if host.is_empty() {
        return Ok(String::new());
    }
    forwarded::host(host).ok_or(Denied::UnclearHost)
}

/// A host without its port, in lower case; an address in its one spelling, without brackets.
fn bare_host(host: &str) -> String {
    let unbracketed = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.unwrap_or(host).parse::<IpAddr>()
    };
    let address = unbracketed(host).or_else(|_| unbracketed(without_port(host)));
    match address {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => without_port(host).to_lowercase(),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            name
        }
        _ => host,
    }
}

fn host_of_url(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    Some(without_port(rest.split('/').next()?))
}

/// A token and how it came about.
#[derive(Debug)]
pub enum Token {
    /// The configuration names it.
    Configured(String),
    /// It stood in the state folder.
    Kept(String),
    /// It was made just now; kept in this file, or nowhere.
    Made(String, Option<std::path::PathBuf>),
}

impl Token {
    /// The token itself.
    pub fn secret(&self) -> &str {
        match self {
            Self::Configured(token) | Self::Kept(token) | Self::Made(token, _) => token,
        }
    }

    /// The token of the configuration, else the one kept in `file`, else a new one that is kept there.
    pub fn find(configured: Option<&str>, file: Option<&Path>) -> io::Result<Self> {
        if let Some(token) = configured {
            return Ok(Self::Configured(token.to_owned()));
        }
        if let Some(file) = file
            && let Ok(kept) = std::fs::read_to_string(file)
            && !kept.trim().is_empty()
        {
            return Ok(Self::Kept(kept.trim().to_owned()));
        }
        let mut random = [0u8; 24];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(file) = file {
            let mut kept = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(file)?;
            // An empty file left by somebody else may be open to others.
            kept.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            kept.write_all(format!("{token}\n").as_bytes())?;
        }
        Ok(Self::Made(token, file.map(Path::to_path_buf)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_cut_off_a_host_and_an_address_of_version_6_is_left_whole() {
        assert_eq!(without_port("localhost:2222"), "localhost");
        assert_eq!(without_port("[::1]:2222"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("example.test"), "example.test");
    }

    #[test]
    fn a_host_is_compared_without_port_case_brackets_and_spelling() {
        for (text, bare) in [
            ("Agents.Example.COM:8443", "agents.example.com"),
            ("[2001:DB8::1]:2222", "2001:db8::1"),
            ("2001:db8:0::1", "2001:db8::1"),
            ("[::ffff:192.0.2.1]", "192.0.2.1"),
            ("192.0.2.1:80", "192.0.2.1"),
        ] {
            assert_eq!(bare_host(text), bare, "{text}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let named = |uri: &str, hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().unwrap());
            }
            named_host(&uri.parse().unwrap(), &headers)
        };
        assert_eq!(named("/", &["Example.test:1"]), Ok("example.test:1".to_owned()));
        assert_eq!(named("http://a.test/", &["a.test"]), Ok("a.test".to_owned()));
        assert_eq!(named("http://a.test/", &[]), Ok("a.test".to_owned()));
        assert_eq!(named("/", &[]), Ok(String::new()));
        for (uri, hosts) in [
            ("/", &["a.test", "a.test"][..]),
            ("http://b.test/", &["a.test"]),
            ("/", &["a.test/x"]),
            ("/", &["user@a.test"]),
            ("/", &["a.test:99999"]),
            ("/", &["a.test, b.test"]),
        ] {
            assert_eq!(named(uri, hosts), Err(Denied::UnclearHost), "{uri} {hosts:?}");
        }
    }

    #[test]
    fn addresses_of_one_network_of_version_6_are_one_origin() {
        let of = |text: &str| origin(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn the_scheme_of_a_token_may_stand_in_any_case() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "bEaReR  abc ".parse().unwrap());
        assert_eq!(bearer(&headers), Some("abc"));
        headers.insert(header::AUTHORIZATION, "Basic abc".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }
}

//! May this address be posted to? The one place that decides where the server connects on a caller's word.
//!
//! # How it works
//!
//! [`Guard::check_url`] judges what can be judged without the network: the scheme, and an address that is
//! written out, in every spelling that the URL parser takes. A name is judged by what it resolves to,
//! and at the moment of connecting: [`Guard::resolver`] is the resolver of the HTTP client, so the addresses
//! that were judged are the ones that are connected to, and a name that changes its mind between a check
//! and a connection gains nothing. [`Guard::admit`] does both, for a caller who wants to know beforehand.
//!
//! # Pitfalls
//!
//! An HTTP client asks no resolver about an address that is written out: [`Guard::check_url`] must stand
//! before every attempt. What is refused was never sent a packet.

mod range;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;

pub use range::inward;
pub use reqwest::Url;

/// The addresses of a name, on their way.
pub type LookupResult = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Who knows the addresses of names; tests bring their own.
pub trait Lookup: Send + Sync {
    /// All addresses of a name.
    fn lookup(&self, name: &str) -> LookupResult;
}

/// The system's own way to resolve names. It takes a thread for each, which nobody can call back: only so
/// many are asked for at a time, so that names that resolve slowly hold up each other and nothing else.
#[derive(Debug, Clone)]
pub struct System(Arc<Semaphore>);

/// The policy; clones share it.
#[derive(Clone)]
pub struct Guard(Arc<Policy>);

struct Policy {
    allow: Vec<IpNet>,
    lookup: Arc<dyn Lookup>,
}

/// How a connection is protected; what may be connected to without it is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain http: to the networks of `push.allow` alone.
    Plain,
    /// https: to public addresses as well.
    Secure,
}

/// Resolves for an HTTP client, and lets only permitted addresses through.
pub struct Resolver {
    guard: Guard,
    scheme: Scheme,
}

/// Why an address is not connected to. A name's addresses are not told: the server is nobody's way to
/// look into the operator's network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    /// It cannot be read.
    #[error("not an address that can be posted to ({0}); give an absolute https URL")]
    NotAnAddress(String),
    /// Neither http nor https.
    #[error("the scheme `{0}` is not posted to; give an https URL")]
    Scheme(String),
    /// It carries a name or a password.
    #[error("a user name or password in the URL is not sent; give them as `authentication`")]
    UserInfo,
    /// An address that is written out leads inward.
    #[error(
        "{address} is {kind} and is not posted to; give a public address; the server's operator can add it to `push.allow`"
    )]
    Inner {
        /// The address.
        address: IpAddr,
        /// What it is for.
        kind: &'static str,
    },
    /// A name leads inward, with at least one of its addresses.
    #[error(
        "`{0}` leads into a network that is not posted to; give a public name; the server's operator can add its network to `push.allow`"
    )]
    LeadsInward(String),
    /// Plain http to a place that is not the operator's own.
    #[error(
        "plain http to `{0}` can be read and changed on its way; give an https URL; the server's operator can add its network to `push.allow`"
    )]
    Plain(String),
    /// A name without an address.
    #[error("`{0}` cannot be resolved; check the name, or try again later")]
    Unresolved(String),
}

impl System {
    /// Asks for so many names at a time.
    pub fn new(at_a_time: usize) -> Self {
        let places = at_a_time.clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(places)))
    }
}

impl Lookup for System {
    fn lookup(&self, name: &str) -> LookupResult {
        let (name, places) = (name.to_owned(), self.0.clone());
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            // The place is free when the thread is, not when the caller has lost patience.
            let asked = tokio::spawn(async move {
                let found = tokio::net::lookup_host((name.as_str(), 0)).await;
                drop(place);
                found.map(|found| found.map(|address| address.ip()).collect())
            });
            asked.await.map_err(io::Error::other)?
        })
    }
}

impl Guard {
    /// The policy that only `allow` of the inner networks may be connected to.
    pub fn new(allow: Vec<IpNet>, lookup: Arc<dyn Lookup>) -> Self {
        Self(Arc::new(Policy { allow, lookup }))
    }

    /// Judges all of a URL but its name's addresses.
    pub fn check_url(&self, url: &str) -> Result<Url, AddressRefusal> {
        let url =
            Url::parse(url).map_err(|reason| AddressRefusal::NotAnAddress(reason.to_string()))?;
        let scheme = Scheme::of(&url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressRefusal::UserInfo);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(AddressRefusal::NotAnAddress("no host".to_owned()));
        }
        if let Some(address) = literal(&url) {
            self.judge(address, scheme, &address.to_string()).map_err(|refusal| {
                match (refusal, inward(address)) {
                    (AddressRefusal::LeadsInward(_), Some(kind)) => {
                        AddressRefusal::Inner { address, kind }
                    }
                    (other, _) => other,
                }
            })?;
        }
        Ok(url)
    }

    /// Judges a URL with the addresses that its name has now.
    pub async fn admit(&self, url: &str) -> Result<Url, AddressRefusal> {
        let url = self.check_url(url)?;
        if literal(&url).is_none()
            && let Some(name) = url.host_str()
        {
            self.resolve(name, Scheme::of(&url)?).await?;
        }
        Ok(url)
    }

    /// The addresses of a name, if all of them may be connected to.
    pub async fn resolve(&self, name: &str, scheme: Scheme) -> Result<Vec<IpAddr>, AddressRefusal> {
        let found = self.0.lookup.lookup(name).await.unwrap_or_default();
        if found.is_empty() {
            return Err(AddressRefusal::Unresolved(name.to_owned()));
        }
        for address in &found {
            self.judge(*address, scheme, name)?;
        }
        Ok(found)
    }

    /// The resolver of an HTTP client that connects by this scheme alone.
    pub fn resolver(&self, scheme: Scheme) -> Resolver {
        Resolver { guard: self.clone(), scheme }
    }

    fn judge(&self, address: IpAddr, scheme: Scheme, host: &str) -> Result<(), AddressRefusal> {
        let address = address.to_canonical();
        if self.0.allow.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        match (inward(address), scheme) {
            (Some(_), _) => Err(AddressRefusal::LeadsInward(host.to_owned())),
            (None, Scheme::Plain) => Err(AddressRefusal::Plain(host.to_owned())),
            (None, Scheme::Secure) => Ok(()),
        }
    }
}

/// The address that stands in a URL instead of a name; the parser has brought it to its one spelling.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

impl Scheme {
    /// The scheme of a URL.
    pub fn of(url: &Url) -> Result<Self, AddressRefusal> {
        match url.scheme() {
            "http" => Ok(Self::Plain),
            "https" => Ok(Self::Secure),
            other => Err(AddressRefusal::Scheme(other.chars().take(32).collect())),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, scheme) = (self.guard.clone(), self.scheme);
        Box::pin(async move {
            let found = guard.resolve(name.as_str(), scheme).await?;
            let addresses: Vec<_> =
                found.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Guard").field("allow", &self.0.allow).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

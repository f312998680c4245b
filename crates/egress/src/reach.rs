//! From a destination to a connection: resolve, judge every address, connect to one that was judged, or have the
//! proxy of this network connect.

use super::Core;
use super::network::{Proxy, ProxyError};
use super::policy::{Host, Policy, Target};
use crate::guard::inward;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// The next address is tried when one has not answered for so long.
const STAGGER: Duration = Duration::from_millis(250);

/// As many addresses of a name are tried.
const TRIED: usize = 8;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    /// It leads inward, with at least one address.
    #[error("it leads into an inner network")]
    Inner,
    /// It has no address.
    #[error("the name cannot be resolved")]
    Unresolved,
    /// Nobody answered.
    #[error("no connection: {0}")]
    Failed(#[source] io::Error),
    /// Nobody answered in time.
    #[error("no connection within {0:?}")]
    Late(Duration),
    /// The proxy of this network did not connect.
    #[error("{0}")]
    Proxy(#[source] ProxyError),
}

/// A connection to a destination, or to the proxy that forwards requests to it.
pub(super) struct Reached {
    pub(super) stream: TcpStream,
    /// The proxy, which is given requests with the whole URL.
    pub(super) proxy: Option<Proxy>,
}

impl Core {
    /// A connection to a destination that rules permit, for any bytes.
    pub(super) async fn reach(
        &self,
        policy: &Policy,
        target: &Target,
    ) -> Result<TcpStream, Unreached> {
        self.in_time(async {
            let Reached { stream, proxy } = self.approach(policy, target, "https").await?;
            match proxy {
                None => Ok(stream),
                Some(proxy) => {
                    let tunnel = proxy.tunnel(stream, &target.to_string()).await;
                    tunnel.map_err(Unreached::Proxy)
                }
            }
        })
        .await
    }

    /// A connection to a destination that rules permit, for a request of http.
    pub(super) async fn reach_for_request(
        &self,
        policy: &Policy,
        target: &Target,
    ) -> Result<Reached, Unreached> {
        self.in_time(self.approach(policy, target, "http")).await
    }

    async fn in_time<T>(
        &self,
        reaching: impl Future<Output = Result<T, Unreached>>,
    ) -> Result<T, Unreached> {
        let patience = self.times.connect;
        tokio::time::timeout(patience, reaching).await.map_err(|_| Unreached::Late(patience))?
    }

    /// A connection to a destination, or to the proxy for it. What the name means here is judged in both cases.
    async fn approach(
        &self,
        policy: &Policy,
        target: &Target,
        scheme: &str,
    ) -> Result<Reached, Unreached> {
        let proxy = self.network.proxy(scheme, &target.host.to_string(), target.port);
        let found = self.resolve(&target.host).await;
        let stream = match &proxy {
            None => connect(&found?, target.port).await.map_err(Unreached::Failed)?,
            Some(proxy) => {
                match found {
                    // Many such networks resolve no outside names. A rule that permits every host does not say
                    // that this one is outside.
                    Err(Unreached::Unresolved) if policy.names(target) => {}
                    found => drop(found?),
                }
                self.connect_to_proxy(proxy).await.map_err(Unreached::Proxy)?
            }
        };
        let _ = stream.set_nodelay(true);
        Ok(Reached { stream, proxy })
    }

    /// A connection to a proxy of the operator's, which may be in an inner network.
    async fn connect_to_proxy(&self, proxy: &Proxy) -> Result<TcpStream, ProxyError> {
        let (host, port) = proxy.place();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let unreached = |error: io::Error| ProxyError::Unreached(error.into());
        let addresses = match bare.parse() {
            Ok(address) => vec![address],
            Err(_) => self.lookup.lookup(bare).await.map_err(unreached)?,
        };
        connect(&addresses, port).await.map_err(unreached)
    }

    /// All addresses of a host, if every one of them may be connected to.
    async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, Unreached> {
        let found = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.lookup.lookup(name).await.unwrap_or_default(),
        };
        if found.is_empty() {
            return Err(Unreached::Unresolved);
        }
        let found: Vec<_> = found.iter().map(IpAddr::to_canonical).collect();
        if found.iter().all(|address| self.may_reach(*address)) {
            Ok(found)
        } else {
            Err(Unreached::Inner)
        }
    }

    /// Whether a session may be connected to this address.
    pub(super) fn may_reach(&self, address: IpAddr) -> bool {
        inward(address).is_none() || self.inner.iter().any(|network| network.contains(&address))
    }
}

/// The first that answers, each a moment after the one before it, or when that one has failed.
async fn connect(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut left = addresses.iter().take(TRIED);
    let mut trying = FuturesUnordered::new();
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = left.next() {
            trying.push(TcpStream::connect(SocketAddr::new(*address, port)));
        } else if trying.is_empty() {
            return Err(failed);
        }
        let more = left.len() > 0;
        tokio::select! {
            Some(tried) = trying.next() => match tried {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}

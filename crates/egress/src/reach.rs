//! From a destination to a connection: resolve, judge every address, connect to one that was judged.

use super::Core;
use super::policy::{Host, Target};
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
}

impl Core {
    /// A connection to a destination that rules permit.
    pub(super) async fn reach(&self, target: &Target) -> Result<TcpStream, Unreached> {
        let patience = self.times.connect;
        let reached = tokio::time::timeout(patience, async {
            let addresses = self.resolve(&target.host).await?;
            let reached = connect(&addresses, target.port).await;
            reached.map_err(Unreached::Failed)
        });
        let stream = reached.await.map_err(|_| Unreached::Late(patience))??;
        let _ = stream.set_nodelay(true);
        Ok(stream)
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

    fn may_reach(&self, address: IpAddr) -> bool {
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

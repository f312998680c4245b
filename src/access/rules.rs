//! What the configuration says of who may call: hosts, origins of web pages, proxies.

use super::{Arrival, Denied, bare_host, host_of_url};
use crate::config::{self, Config, Dashboard};
use ipnet::IpNet;
use std::net::IpAddr;

/// What the configuration says of who may call; replaced whole when it is read again.
pub(super) struct Rules {
    pub(super) required: bool,
    hosts: Vec<String>,
    any_host: bool,
    origins: Vec<String>,
    /// Whether a page of our own calls.
    has_page: bool,
    pub(super) proxies: Vec<IpNet>,
}

impl Rules {
    /// The rules of a configuration.
    pub(super) fn new(config: &Config) -> Self {
        let server = &config.server;
        let hosts: Vec<_> = ["localhost", &server.host]
            .into_iter()
            .chain(server.public_url.as_deref().and_then(host_of_url))
            .chain(server.allowed_hosts.iter().map(String::as_str))
            .map(bare_host)
            .collect();
        let origins = server.allowed_origins.iter().map(|origin| origin.to_lowercase());
        let proxies = server.trusted_proxies.iter();
        Self {
            required: config.auth.required,
            any_host: hosts.iter().any(|host| host == "*"),
            hosts,
            origins: origins.collect(),
            has_page: config.ui != Dashboard::Off,
            proxies: proxies.filter_map(|text| config::network(text)).collect(),
        }
    }

    /// Whether the operator lets pages of this origin call.
    pub(super) fn allows_origin(&self, origin: &str) -> bool {
        self.origins.contains(&origin.to_lowercase())
    }

    /// Whether a page of this origin is the one that is served at the address of this request, whose host is known to be ours.
    pub(super) fn is_own_page(&self, origin: &str, arrival: &Arrival) -> bool {
        let own = format!("{}://{}", arrival.forwarded.scheme, arrival.host);
        self.has_page && origin.eq_ignore_ascii_case(&own)
    }

    /// Refuses a host that is not served here.
    pub(super) fn check_host(&self, arrival: &Arrival) -> Result<(), Denied> {
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
}

//! What an address is for: the ranges that nobody from outside has business in.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

const PRIVATE: &str = "a private address";
const LINK_LOCAL: &str = "a link-local address";
const LOOPBACK: &str = "a loopback address";
const DOCUMENTATION: &str = "an address for documentation";
const RESERVED: &str = "a reserved address";
const EMBEDDED: &str = "an address that wraps an inner one";

/// By the registries of special-purpose addresses (RFC 6890 and what came after it).
const RANGES: [(&str, &str); 28] = [
    ("0.0.0.0/8", "an address without a host"),
    ("10.0.0.0/8", PRIVATE),
    ("100.64.0.0/10", "an address of a carrier's own network"),
    ("127.0.0.0/8", LOOPBACK),
    ("169.254.0.0/16", LINK_LOCAL),
    ("172.16.0.0/12", PRIVATE),
    ("192.0.0.0/24", RESERVED),
    ("192.0.2.0/24", DOCUMENTATION),
    ("192.88.99.0/24", RESERVED),
    ("192.168.0.0/16", PRIVATE),
    ("198.18.0.0/15", "an address for benchmarks"),
    ("198.51.100.0/24", DOCUMENTATION),
    ("203.0.113.0/24", DOCUMENTATION),
    ("224.0.0.0/4", "a multicast address"),
    ("255.255.255.255/32", "the broadcast address"),
    ("240.0.0.0/4", RESERVED),
    ("::/128", "an address without a host"),
    ("::1/128", LOOPBACK),
    ("64:ff9b:1::/48", "an address of a translator's own network"),
    ("100::/64", "an address that leads nowhere"),
    ("2001::/23", RESERVED),
    ("2001:db8::/32", DOCUMENTATION),
    ("3fff::/20", DOCUMENTATION),
    ("5f00::/16", RESERVED),
    ("fc00::/7", PRIVATE),
    ("fe80::/10", LINK_LOCAL),
    ("fec0::/10", PRIVATE),
    ("ff00::/8", "a multicast address"),
];

static NETWORKS: LazyLock<Vec<(IpNet, &str)>> = LazyLock::new(|| {
    RANGES
        .iter()
        .map(|(network, kind)| (network.parse().expect("a network of the table"), *kind))
        .collect()
});

/// What an inner address is; none for one that is public.
pub fn inward(address: IpAddr) -> Option<&'static str> {
    let address = address.to_canonical();
    let listed =
        NETWORKS.iter().find(|(network, _)| network.contains(&address)).map(|(_, kind)| *kind);
    listed.or_else(|| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => inward(IpAddr::V4(inner)).map(|_| EMBEDDED),
            // Nothing but 2000::/3 is given out to anybody.
            None => (address.segments()[0] & 0xe000 != 0x2000).then_some(RESERVED),
        },
    })
}

/// The IPv4 address that a transition mechanism would connect to.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let words = address.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match words {
        // IPv4-compatible, and NAT64 by its well-known prefix.
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        // ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => v4(high, low),
        _ => None,
    }
}

//! What may be reached: host rules, and the one spelling of a destination that they are compared with.
//!
//! A destination has exactly one spelling here. An address in any other (decimal, octal, hexadecimal,
//! shortened, an IPv4 address inside an IPv6 one) is refused rather than translated: two programs that
//! read it differently would be a way past the rules.

use super::provider::ProviderKind;
use super::route::{ModelRoute, Route};
use super::tools::Tool;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The ports that a rule without a port means.
const PORTS: [u16; 2] = [80, 443];

/// Longest name of a host, and longest label of one (RFC 1035, 2.3.4).
const NAME: (usize, usize) = (253, 63);

/// As much of a destination that cannot be read is shown.
const SHOWN: usize = 80;

/// What one agent's sessions may reach, and by which routes.
#[derive(Default)]
pub struct Policy {
    /// Hosts that may be reached.
    pub allow: Vec<HostRule>,
    /// Hosts about which a person is asked where no rule permits them.
    pub ask: Vec<HostRule>,
    /// Ways to a fixed upstream with a credential that stays in the server.
    pub routes: Vec<Route>,
    /// What the agent's CLI needs beside variables to find its routes.
    pub tool: Tool,
    /// The configuration's key that advice names, like `agents.claude.egress.allow`.
    pub key: String,
}

impl Policy {
    /// Nothing is reached; `key` is what advice names.
    pub fn nothing(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }
}

/// One line of an allow-list: `example.com`, `*.example.com` (what lies below it, not itself), an
/// address, `*` (any host); each with `:port` or without, which means 80 and 443.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRule {
    host: Pattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Exact(Host),
    Below(String),
}

/// A line that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{rule}` is not a host rule ({what}); write `example.com`, `*.example.com`, an address, or `*`, each with `:port` if it is not 80 or 443"
)]
pub struct BadRule {
    rule: String,
    what: String,
}

/// A host in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// Lower case, without a dot at its end.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Where a request wants to go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// A destination that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(pub(super) String);

impl Policy {
    /// Whether models are reached by routes alone, whose answers the proxy reads and counts.
    pub fn counts_all_models(&self) -> bool {
        self.allow.is_empty() && self.has_model_route()
    }

    /// Whether there is a route to a model.
    pub fn has_model_route(&self) -> bool {
        self.models().into_iter().any(ModelRoute::is_model)
    }

    /// Whether there is a route to this provider.
    pub fn has_route_to(&self, kind: ProviderKind) -> bool {
        self.models().into_iter().any(|route| route.leads_to(kind))
    }

    /// Takes the keys and addresses of models from a policy that was made of a newer environment, where processes
    /// that run by this one can go on: nothing else differs, and they have the same stand-ins. False where not.
    pub fn replace_keys(&self, newer: &Self) -> bool {
        let (own, others) = (self.models(), newer.models());
        let is_like = own.len() == others.len()
            && own.iter().zip(&others).all(|(own, other)| own.is_like(other))
            && self.allow == newer.allow
            && self.tool == newer.tool;
        if is_like {
            own.iter().zip(&others).for_each(|(own, other)| own.replace_secrets(other));
        }
        is_like
    }

    fn models(&self) -> Vec<&ModelRoute> {
        let models = self.routes.iter().filter_map(|route| match route {
            Route::Model(model) => Some(model),
            Route::Git(_) => None,
        });
        models.collect()
    }

    /// Whether a rule permits it.
    pub(super) fn permits(&self, target: &Target) -> bool {
        self.allow.iter().any(|rule| rule.matches(target))
    }

    /// Whether a rule permits an address `HOST:PORT`; not one that cannot be read.
    pub fn permits_address(&self, address: &str) -> bool {
        Target::parse(address, None).is_ok_and(|target| self.permits(&target))
    }

    /// Whether a person is to be asked about it.
    pub(super) fn asks_about(&self, target: &Target) -> bool {
        self.ask.iter().any(|rule| rule.matches(target))
    }

    /// Whether a rule permits it that names it, or a domain above it.
    pub(super) fn names(&self, target: &Target) -> bool {
        let rules = self.allow.iter().chain(&self.ask);
        let mut rules = rules.filter(|rule| rule.host != Pattern::Any);
        rules.any(|rule| rule.matches(target))
    }

    /// Whether a rule permits every host.
    pub fn permits_any_host(&self) -> bool {
        self.allow.iter().any(|rule| rule.host == Pattern::Any)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Policy")
            .field("allow", &self.allow)
            .field("ask", &self.ask)
            .field("routes", &self.routes)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl HostRule {
    fn matches(&self, target: &Target) -> bool {
        let port = match self.port {
            Some(port) => port == target.port,
            None => PORTS.contains(&target.port),
        };
        port && match (&self.host, &target.host) {
            (Pattern::Any, _) => true,
            (Pattern::Exact(host), wanted) => host == wanted,
            (Pattern::Below(suffix), Host::Name(name)) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|front| front.ends_with('.'))
            }
            (Pattern::Below(_), Host::Address(_)) => false,
        }
    }
}

impl FromStr for HostRule {
    type Err = BadRule;

    fn from_str(rule: &str) -> Result<Self, BadRule> {
        let bad = |what: &str| BadRule {
            rule: rule.chars().take(SHOWN).collect(),
            what: what.to_owned(),
        };
        let text = rule.trim();
        // An IPv6 address may stand without brackets where no port follows.
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            let host = Host::of_v6(address, text).map_err(|error| bad(&error.0))?;
            return Ok(Self { host: Pattern::Exact(host), port: None });
        }
        let (host, port) = split(text).map_err(|error| bad(&error.0))?;
        let host = match host.strip_prefix("*.") {
            _ if host == "*" => Pattern::Any,
            Some(below) => match Host::parse(below).map_err(|error| bad(&error.0))? {
                Host::Name(name) => Pattern::Below(name),
                Host::Address(_) => return Err(bad("an address has nothing below it")),
            },
            None => Pattern::Exact(Host::parse(host).map_err(|error| bad(&error.0))?),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Pattern::Any => out.write_str("*")?,
            Pattern::Exact(host) => write!(out, "{host}")?,
            Pattern::Below(suffix) => write!(out, "*.{suffix}")?,
        }
        self.port.map_or(Ok(()), |port| write!(out, ":{port}"))
    }
}

impl Host {
    /// Reads a host; an IPv6 address stands in brackets.
    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address = inside.parse::<Ipv6Addr>();
            let address = address.map_err(|_| Unreadable("not an IPv6 address".to_owned()))?;
            return Self::of_v6(address, inside);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= NAME.1
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        };
        if name.len() > NAME.0 || !name.split('.').all(label) {
            return Err(Unreadable("not the name of a host".to_owned()));
        }
        // Some resolvers take such a name for an address: `127.1`, `0x7f000001`, `2130706433`.
        let last = name.rsplit('.').next().unwrap_or_default();
        let number = last.bytes().all(|byte| byte.is_ascii_digit())
            || last
                .strip_prefix("0x")
                .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if number {
            return Err(Unreadable(
                "an address that is not written as four numbers with dots".to_owned(),
            ));
        }
        Ok(Self::Name(name))
    }

    fn of_v6(address: Ipv6Addr, text: &str) -> Result<Self, Unreadable> {
        if address.to_ipv4_mapped().is_some() {
            return Err(Unreadable("an IPv4 address inside an IPv6 one".to_owned()));
        }
        if !address.to_string().eq_ignore_ascii_case(text) {
            return Err(Unreadable(format!("an address that is written {address}")));
        }
        Ok(Self::Address(address.into()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(out),
            Self::Address(IpAddr::V6(address)) => write!(out, "[{address}]"),
        }
    }
}

impl Target {
    /// Reads `host:port`; without a port `default` stands in, where there is one.
    pub(super) fn parse(authority: &str, default: Option<u16>) -> Result<Self, Unreadable> {
        if authority.contains('@') {
            return Err(Unreadable("a user name in front of a host".to_owned()));
        }
        let (host, port) = split(authority)?;
        let port =
            port.or(default).ok_or_else(|| Unreadable("a host without a port".to_owned()))?;
        Ok(Self { host: Host::parse(host)?, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

/// A host and the port after it, if there is one.
fn split(text: &str) -> Result<(&str, Option<u16>), Unreadable> {
    let end = if text.starts_with('[') { text.find(']').map(|at| at + 1) } else { text.find(':') };
    let (host, rest) = text.split_at(end.unwrap_or(text.len()));
    if rest.is_empty() {
        return Ok((host, None));
    }
    let digits = rest.strip_prefix(':').unwrap_or_default();
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(port) if plain && port > 0 => Ok((host, Some(port))),
        _ => Err(Unreadable("not a port after the host".to_owned())),
    }
}

/// As much of what nobody could read as may be shown.
pub(super) fn excerpt(text: &str) -> String {
    let shown = text.chars().filter(|c| matches!(c, '!'..='~'));
    shown.take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> Policy {
        Policy {
            allow: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
            ..Policy::default()
        }
    }

    fn permitted(rules: &[&str], target: &str) -> bool {
        policy(rules).permits(&Target::parse(target, None).unwrap())
    }

    #[test]
    fn a_name_means_itself_alone_on_80_and_443() {
        let rules = ["example.com"];
        assert!(permitted(&rules, "example.com:443"));
        assert!(permitted(&rules, "EXAMPLE.com.:80"));
        assert!(!permitted(&rules, "example.com:22"));
        assert!(!permitted(&rules, "www.example.com:443"));
        assert!(!permitted(&rules, "notexample.com:443"));
        assert!(!permitted(&rules, "example.com.evil.test:443"));
    }

    #[test]
    fn a_star_in_front_means_what_lies_below_and_not_the_name_itself() {
        let rules = ["*.example.com"];
        assert!(permitted(&rules, "www.example.com:443"));
        assert!(permitted(&rules, "a.b.example.com:443"));
        assert!(!permitted(&rules, "example.com:443"));
        assert!(!permitted(&rules, "notexample.com:443"));
        assert!(!permitted(&rules, "1.2.3.4:443"));
    }

    #[test]
    fn a_port_means_that_port_alone() {
        assert!(permitted(&["example.com:8443"], "example.com:8443"));
        assert!(!permitted(&["example.com:8443"], "example.com:443"));
        assert!(permitted(&["*:22"], "example.com:22"));
        assert!(!permitted(&["*:22"], "example.com:443"));
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        assert!(permitted(&["192.0.2.1"], "192.0.2.1:443"));
        assert!(permitted(&["2001:DB8::1"], "[2001:db8::1]:443"));
        assert!(permitted(&["[2001:db8::1]:8443"], "[2001:db8::1]:8443"));
        assert!(!permitted(&["192.0.2.1"], "192.0.2.10:443"));
    }

    #[test]
    fn a_star_means_every_host_on_80_and_443() {
        assert!(permitted(&["*"], "example.com:443"));
        assert!(permitted(&["*"], "192.0.2.1:80"));
        assert!(!permitted(&["*"], "example.com:25"));
    }

    #[test]
    fn no_other_spelling_of_an_address_is_read() {
        for spelling in [
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0177.0.0.1",
            "127.1",
            "127.0.0.1.",
            "127.0.0.01",
            "0",
            "0x",
            "1.2.3.4.5",
            "a.0x7f",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:0:0:1]",
            "[::0001]",
            "[fe80::1%eth0]",
            "[127.0.0.1]",
            "::1",
        ] {
            let read = Target::parse(&format!("{spelling}:443"), None);
            assert!(read.is_err(), "{spelling}: {read:?}");
        }
    }

    #[test]
    fn odd_names_are_not_read() {
        let long = "a".repeat(64);
        for name in [
            "",
            ".",
            "a..b",
            ".a",
            "-a.test",
            "a-.test",
            "exämple.com",
            "a b",
            "a/b",
            "a%2eb",
            "user@example.com",
            "a\\b",
            "*",
            long.as_str(),
        ] {
            let read = Target::parse(&format!("{name}:443"), None);
            assert!(read.is_err(), "{name}: {read:?}");
        }
    }

    #[test]
    fn odd_ports_are_not_read() {
        for text in ["a.test:", "a.test:0", "a.test:65536", "a.test:+80", "a.test:80:80", "a.test"]
        {
            assert!(Target::parse(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrong_rule_says_what_is_wrong_and_what_to_write() {
        let wrong = |rule: &str| rule.parse::<HostRule>().unwrap_err().to_string();
        assert_eq!(
            wrong("https://example.com"),
            "`https://example.com` is not a host rule (not a port after the host); write `example.com`, `*.example.com`, an address, or `*`, each with `:port` if it is not 80 or 443"
        );
        assert!(wrong("*.10.0.0.1").contains("nothing below it"));
        assert!(wrong("a.*.test").contains("not the name of a host"));
    }

    #[test]
    fn a_rule_is_shown_as_it_is_written() {
        for rule in ["example.com", "*.example.com:8443", "*", "[2001:db8::1]:8443", "*:22"] {
            assert_eq!(rule.parse::<HostRule>().unwrap().to_string(), rule);
        }
    }
}

//! Proxies in front: who really calls, and by which address (`Forwarded` of RFC 7239, `X-Forwarded-*`).
//!
//! # How it works
//! Every proxy adds what it knows at the right end. So the list is walked from the right, as long as
//! the one who added an entry is a trusted proxy; the first address that is none is the client. Left of
//! it stands what the client itself may have written, and nothing of that is believed.
//!
//! `Forwarded` wins: where it is there, `X-Forwarded-*` is not read, so that a client cannot add by the
//! one what the proxy says by the other. What cannot be read is as if it were not there, all of it.

use axum::http::header::{self, HeaderMap};
use axum::http::uri::Authority;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Bytes of one of these headers that are read; a longer one counts as wrong.
const LENGTH: usize = 8 * 1024;
/// Entries of one header that are read; more count as wrong.
const ENTRIES: usize = 64;
/// The longest prefix of a path.
const PREFIX: usize = 256;

/// Who calls and by which address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// The client's address, as far back as it is known from trusted proxies.
    pub client: IpAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host that the client named, with its port unless that is the scheme's own; none when the
    /// request's own `Host` is the one.
    pub host: Option<String>,
    /// What the proxy took off the path: empty, or from a `/` to before the next.
    pub prefix: String,
}

/// One entry of `Forwarded`.
#[derive(Debug, Default)]
struct Element {
    client: Option<ForwardedClient>,
    scheme: Option<&'static str>,
    host: Option<String>,
}

/// Who asked a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ForwardedClient {
    Known(IpAddr),
    /// `unknown`, or a name that the proxy made up.
    Hidden,
}

impl Forwarded {
    /// A request that came straight from its client.
    pub fn direct(peer: IpAddr, scheme: &'static str) -> Self {
        Self { client: peer.to_canonical(), scheme, host: None, prefix: String::new() }
    }
}

/// Whether an address is in one of these networks.
pub(super) fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// What the headers of a request from `peer` say, where `peer` is in one of the `trusted` networks;
/// from anybody else, and where the headers are wrong, the direct values.
pub(super) fn forwarded(
    trusted: &[IpNet],
    (peer, scheme): (IpAddr, &'static str),
    headers: &HeaderMap,
) -> Forwarded {
    let direct = Forwarded::direct(peer, scheme);
    let trusts = |address| is_trusted(trusted, address);
    if !trusts(direct.client) {
        return direct;
    }
    let told = if headers.contains_key(header::FORWARDED) {
        by_standard(&direct, headers, trusts)
    } else {
        by_custom(&direct, headers, trusts)
    };
    told.unwrap_or(direct)
}

/// By `Forwarded`; none when it cannot be read.
fn by_standard(
    direct: &Forwarded,
    headers: &HeaderMap,
    trusts: impl Fn(IpAddr) -> bool,
) -> Option<Forwarded> {
    let elements = split(&joined(headers, "forwarded")?, ',')?;
    let elements: Vec<Element> =
        elements.iter().map(|text| element(text)).collect::<Option<_>>()?;
    let mut told = direct.clone();
    for element in elements.into_iter().rev() {
        // Farther left is nearer to the client, and by now known to be from a trusted proxy.
        told.scheme = element.scheme.unwrap_or(told.scheme);
        told.host = element.host.or(told.host);
        match element.client {
            Some(ForwardedClient::Known(client)) => told.client = client,
            Some(ForwardedClient::Hidden) | None => break,
        }
        if !trusts(told.client) {
            break;
        }
    }
    Some(told)
}

/// By `X-Forwarded-*`; none when one of them cannot be read.
fn by_custom(
    direct: &Forwarded,
    headers: &HeaderMap,
    trusts: impl Fn(IpAddr) -> bool,
) -> Option<Forwarded> {
    let list = |name| split(&joined(headers, name)?, ',');
    let mut told = direct.clone();
    // How many entries from the right were added by trusted proxies, beyond the first.
    let mut depth = 0;
    for (number, text) in list("x-forwarded-for")?.iter().rev().enumerate() {
        depth = number;
        match node(text)? {
            ForwardedClient::Known(client) => told.client = client,
            ForwardedClient::Hidden => break,
        }
        if !trusts(told.client) {
            break;
        }
    }
    // Proxies may each add an entry, or the first one alone: as deep as both the chain and the list go.
    let nearest = |name| {
        let values = list(name)?;
        let at = values.len().checked_sub(1 + depth.min(values.len().saturating_sub(1)));
        Some(at.map(|at| values[at].clone()))
    };
    if let Some(text) = nearest("x-forwarded-proto")? {
        told.scheme = scheme(&text)?;
    }
    let port = match nearest("x-forwarded-port")? {
        Some(text) => Some(text.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => None,
    };
    if let Some(text) = nearest("x-forwarded-host")? {
        let named = host(&text)?;
        let usual = if told.scheme == "https" { 443 } else { 80 };
        let has_port = named.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        told.host = Some(match port.filter(|port| !has_port && *port != usual) {
            Some(port) => format!("{named}:{port}"),
            None => named,
        });
    }
    if let Some(text) = nearest("x-forwarded-prefix")? {
        told.prefix = prefix(&text)?;
    }
    Some(told)
}

/// All lines of a header as one list; empty when it is not there, none when it cannot be text or is too long.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut all = String::new();
    for value in headers.get_all(name) {
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(value.to_str().ok()?);
        if all.len() > LENGTH {
            return None;
        }
    }
    Some(all)
}

/// The parts between separators that stand outside of quotes, trimmed; empty ones are left out.
fn split(text: &str, separator: char) -> Option<Vec<String>> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut quoted, mut escaped) = (false, false);
    for character in text.chars().chain([separator]) {
        if character == separator && !quoted {
            let whole = part.trim().to_owned();
            if !whole.is_empty() {
                parts.push(whole);
            }
            part.clear();
            continue;
        }
        match character {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && !escaped && character == '\\';
        part.push(character);
    }
    (!quoted && parts.len() <= ENTRIES).then_some(parts)
}

/// One entry of `Forwarded`: pairs with `;` between, each name once.
fn element(text: &str) -> Option<Element> {
    let mut element = Element::default();
    let mut seen = Vec::new();
    for pair in split(text, ';')? {
        let (name, value) = pair.split_once('=')?;
        let name = name.to_ascii_lowercase();
        let value = unquoted(value)?;
        match &*name {
            "for" => element.client = Some(node(&value)?),
            "proto" => element.scheme = Some(scheme(&value)?),
            "host" => element.host = Some(host(&value)?),
            _ if !name.is_empty() && name.bytes().all(is_token) => {}
            _ => return None,
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    Some(element)
}

/// A token, or what a quoted string means (RFC 9110, 5.6.4).
fn unquoted(value: &str) -> Option<String> {
    let Some(rest) = value.strip_prefix('"') else {
        let is_plain =
            !value.is_empty() && value.bytes().all(|byte| is_token(byte) || byte == b':');
        // A bare `host:port` or address is against the letter, and common.
        return is_plain.then(|| value.to_owned());
    };
    let inner = rest.strip_suffix('"')?;
    let mut plain = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.push(characters.next()?),
            '"' => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// An address with or without a port, or a word that hides one.
fn node(text: &str) -> Option<ForwardedClient> {
    let address = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6)
    };
    if let Some(address) = address.or_else(with_port).or_else(bracketed) {
        return Some(ForwardedClient::Known(address.to_canonical()));
    }
    let word = text.split(':').next()?;
    let hidden = word.eq_ignore_ascii_case("unknown")
        || (word.len() > 1 && word.starts_with('_') && word.bytes().all(is_token));
    hidden.then_some(ForwardedClient::Hidden)
}

fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| text.eq_ignore_ascii_case(known))
}

/// A host with or without a port, and nothing else that an address may hold.
pub(super) fn host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    let port_is_one =
        text.len() == authority.host().len() || authority.port_u16().is_some_and(|port| port > 0);
    (plain && port_is_one && !authority.host().is_empty()).then(|| text.to_ascii_lowercase())
}

/// A path that goes down alone; a `/` at its end is cut off.
fn prefix(text: &str) -> Option<String> {
    let good = text.starts_with('/')
        && text.len() <= PREFIX
        && !text.contains("//")
        && !text.split('/').any(|part| part == "." || part == "..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
    good.then(|| text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests;

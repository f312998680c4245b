//! Who calls, what they may see, how often.
//!
//! Closed by default: a bearer token, compared in constant time; a `Host` that is ours, so that no web
//! page reaches the server by a name it made up; an `Origin` only where the operator listed it, or of our own page.

mod caller;
mod denied;
mod forwarded;
mod grant;
mod guesses;
mod oidc;
mod rate;
mod rules;
mod secret;
mod tokens;

pub use caller::Caller;
pub use denied::Denied;
pub use forwarded::Forwarded;
pub use grant::Grant;
pub use oidc::Oidc;
pub use secret::{Token, new_link, new_secret};

use crate::config::{ANYBODY, Config, TokenScope};
use crate::store::{CallerFilter, Scope, TokenRow};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use guesses::Guesses;
use parking_lot::RwLock;
use rate::Windows;
use rules::Rules;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokens::TokenTable;

/// Who sends a request, and how it came here.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who calls and by which address, as far as trusted proxies tell.
    pub forwarded: Forwarded,
    /// The address of this machine that the connection was made to.
    pub local: IpAddr,
    /// The host that the client named, with its port; empty where it named none.
    pub host: String,
    /// Whose tasks an admin wants to list: a caller's name, or `*`.
    pub wanted: Option<String>,
}

/// The header by which an admin names the caller whose tasks, sessions and asks are listed; `*` for all. The member
/// `caller` of the query says the same.
pub const CALLER_HEADER: &str = "pilothouse-caller";

/// The guard at the door.
pub struct Access {
    tokens: RwLock<TokenTable>,
    rules: RwLock<Arc<Rules>>,
    wrong: Windows<IpAddr>,
    guesses: Guesses,
    requests: Windows<Arc<str>>,
    oidc: Option<Arc<Oidc>>,
    anybody: Arc<Grant>,
    warned_of_proxy: AtomicBool,
}

impl Access {
    /// The guard that the configuration describes; `token` is the one that `Token::find` found or made, `stored` are
    /// those of the store.
    pub fn new(config: &Config, token: &str, stored: &[TokenRow]) -> Self {
        let mut tokens = TokenTable::default();
        tokens.configure(config, token);
        stored.iter().for_each(|row| tokens.add(row));
        let limits = &config.limits;
        Self {
            tokens: RwLock::new(tokens),
            rules: RwLock::new(Arc::new(Rules::new(config))),
            wrong: Windows::new(limits.wrong_tokens, limits.rate_keys),
            guesses: Guesses::new(limits.wrong_tokens_waiting, config.timeouts.wrong_token.get()),
            requests: Windows::new(limits.rate, limits.rate_keys),
            oidc: Oidc::new(&config.auth.oidc).filter(|_| config.auth.required),
            anybody: Arc::new(Grant::of("none", &TokenScope::USUAL)),
            warned_of_proxy: AtomicBool::new(false),
        }
    }

    /// Takes the tokens, hosts, origins and proxies of a configuration that was read again.
    pub fn reload(&self, config: &Config, token: &str) {
        self.tokens.write().configure(config, token);
        *self.rules.write() = Arc::new(Rules::new(config));
    }

    /// The issuer whose tokens are accepted, where one is configured.
    pub fn oidc(&self) -> Option<&Arc<Oidc>> {
        self.oidc.as_ref()
    }

    /// The same for a token that looks like one of the issuer's.
    fn issuer_of(&self, token: &str) -> Option<&Oidc> {
        self.oidc.as_deref().filter(|_| Oidc::may_issue(token))
    }

    /// Lets a token of the store in, from now on.
    pub fn add_token(&self, row: &TokenRow) {
        self.tokens.write().add(row);
    }

    /// Lets a token of the store in no longer, and ends what its holders have open.
    pub fn revoke_token(&self, id: &str) {
        self.tokens.write().revoke(id);
    }

    /// What the token with this mark allows, where it still holds: for what its holder has begun before a restart.
    pub fn find_grant(&self, mark: &str) -> Option<Arc<Grant>> {
        if *mark == *self.anybody.mark {
            return (!self.rules().required).then(|| self.anybody.clone());
        }
        let found = self.tokens.read().find_grant(mark);
        found.or_else(|| self.oidc.as_ref()?.find_grant(mark))
    }

    /// The same for all tokens of the store that a caller has.
    pub fn revoke_caller(&self, caller: &str) {
        self.tokens.write().revoke_caller(caller);
    }

    /// Whoever holds a link that answers an ask of this scope: nothing else is allowed.
    pub fn link_holder(&self, scope: &Scope, arrival: &Arrival) -> Caller {
        let grant = Grant::of_link(&scope.agent);
        let mut caller = Caller::new(scope.caller.clone(), Arc::new(grant));
        caller.peer = Some(arrival.forwarded.client);
        caller
    }

    /// Refuses a link from an address that has tried too many wrong ones, before it is looked up.
    pub fn check_wrong_links(&self, arrival: &Arrival) -> Result<(), Denied> {
        self.wrong.check(&origin(arrival.forwarded.client)).map_err(Denied::Locked)
    }

    /// Counts a link that is not known like a wrong token.
    pub fn count_wrong_link(&self, arrival: &Arrival) -> Result<(), Denied> {
        self.wrong.take(origin(arrival.forwarded.client)).map_err(Denied::Locked)
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.read().clone()
    }

    /// Who calls where no token is asked for.
    fn anybody(&self) -> Caller {
        Caller::new(Arc::from(ANYBODY), self.anybody.clone())
    }

    /// Who a request comes from, and how: `peer` connected to `local` and spoke `scheme`.
    pub fn arrive(
        &self,
        (peer, local, scheme): (IpAddr, IpAddr, &'static str),
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Arrival, Denied> {
        self.warn_of_proxy(peer, headers);
        let forwarded = forwarded::forwarded(&self.rules().proxies, (peer, scheme), headers);
        let host = match &forwarded.host {
            Some(host) => host.clone(),
            None => named_host(uri, headers)?,
        };
        let wanted = caller::wanted_caller(uri, headers);
        Ok(Arrival { forwarded, local: local.to_canonical(), host, wanted })
    }

    /// Whether this address is in one of `server.trusted_proxies`.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        forwarded::is_trusted(&self.rules().proxies, peer.to_canonical())
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
        let tokens = self.tokens.read();
        let names: Vec<_> = tokens.weak().iter().map(|key| format!("`{key}`")).collect();
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
        if !self.rules().required {
            return Some(self.anybody());
        }
        let may_compare = !self.can_guess() || self.count_wrong(arrival) == 0;
        let token = bearer(headers)?;
        let known = may_compare.then(|| self.find(token)).flatten();
        let caller = known.or_else(|| self.issuer_of(token)?.recognize(token))?;
        caller.grant.check().is_ok().then_some(caller)
    }

    /// Whether a token can be guessed.
    fn can_guess(&self) -> bool {
        !self.tokens.read().weak().is_empty()
    }

    /// How many wrong tokens the address of a request has tried lately.
    fn count_wrong(&self, arrival: &Arrival) -> u32 {
        self.wrong.count(&origin(arrival.forwarded.client))
    }

    fn find(&self, token: &str) -> Option<Caller> {
        self.tokens.read().find(token)
    }

    /// Lets a request in, or says why not.
    pub async fn admit(&self, headers: &HeaderMap, arrival: &Arrival) -> Result<Caller, Denied> {
        let rules = self.rules();
        rules.check_host(arrival)?;
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or("?");
            if !rules.allows_origin(origin) && !rules.is_own_page(origin, arrival) {
                return Err(Denied::Origin(origin.to_lowercase()));
            }
        }
        let mut caller = match rules.required {
            true => self.identify(headers, arrival).await?,
            false => self.anybody(),
        };
        caller.peer = Some(arrival.forwarded.client);
        if let Some(wanted) = arrival.wanted.as_deref().filter(|wanted| **wanted != *caller.name) {
            if !caller.is_admin() {
                let token = caller.grant.id.clone();
                return Err(Denied::Scope { token, scope: TokenScope::Admin });
            }
            caller.listed = match wanted {
                "*" => CallerFilter::All,
                name => CallerFilter::One(Arc::from(name)),
            };
        }
        Ok(caller)
    }

    /// Who calls, by the token.
    async fn identify(&self, headers: &HeaderMap, arrival: &Arrival) -> Result<Caller, Denied> {
        let Some(token) = bearer(headers) else {
            return Err(Denied::NoToken);
        };
        if self.can_guess() {
            let wrong = self.count_wrong(arrival);
            self.guesses.wait(wrong).await.map_err(Denied::NotCompared)?;
        }
        // From here on a valid token passes, whatever others at its address have tried.
        if let Some(caller) = self.find(token) {
            return caller.grant.check().map(|()| caller);
        }
        let denied = match self.issuer_of(token) {
            Some(oidc) => match oidc.verify(token).await {
                Err(denied @ Denied::Issued(_)) => denied,
                other => return other,
            },
            None => Denied::WrongToken,
        };
        match self.wrong.take(origin(arrival.forwarded.client)) {
            Ok(()) => Err(denied),
            Err(seconds) => Err(Denied::Locked(seconds)),
        }
    }

    /// Whether pages of this origin may call.
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.rules().allows_origin(origin)
    }

    /// Checks the host alone, for what is public.
    pub fn check_host(&self, arrival: &Arrival) -> Result<(), Denied> {
        self.rules().check_host(arrival)
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

/// The hash by which a secret is known.
pub fn digest(token: &str) -> [u8; 32] {
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

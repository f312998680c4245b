//! Tokens that an identity provider has signed (OpenID Connect): who calls by them, and what they allow.
//!
//! # How it works
//! One task owns the issuer's keys ([`Oidc::run`]): it reads them after the start, now and then, and when a token names a key
//! that is not known, but never twice within `auth.oidc.retry`. A request only looks at what is there, or waits for the look that
//! it asked for. A token that was verified is remembered by its hash ([`KnownJwts`]), so its requests and streams share one grant.
//! All grants of a key's tokens, also of those that were forgotten, are revoked when the issuer withdraws the key.
//!
//! # Pitfalls
//! The algorithm is the key's: a public key never verifies a keyed hash, `none` is no algorithm, and keys of the kind `oct` are
//! passed over. A key that a token itself carries or names by address (`jwk`, `jku`, `x5u`) is not looked at.

mod known;

use super::{Caller, Denied, Grant, digest};
use crate::config::{self, JwtAlgorithm, TokenScope, is_issuer_url};
use futures_util::FutureExt;
use jsonwebtoken::errors::ErrorKind as JwtError;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use known::{KnownJwt, KnownJwts};
use pilothouse_a2a::time::Timestamp;
use pilothouse_egress::guard::{Guard, Scheme, System};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Keys of the issuer that are read.
const KEYS: usize = 64;

/// Bytes of a caller's name.
const NAME: usize = 200;

/// Agents that a token may name.
const AGENTS: usize = 64;

/// What the audit log calls a token of the issuer.
const ID: &str = "oidc";

/// The tokens of one issuer.
pub struct Oidc {
    config: config::Oidc,
    issuer: String,
    audience: String,
    keys: watch::Sender<Arc<KeySet>>,
    wanted: Notify,
    known: KnownJwts,
}

/// What the last look for keys came to.
#[derive(Default)]
struct KeySet {
    keys: Vec<IssuerKey>,
    /// When it ended; none before the first.
    looked: Option<Instant>,
    /// Why it brought nothing; the keys are those of the one before then.
    failure: Option<String>,
}

/// A key that can verify.
#[derive(Clone)]
struct IssuerKey {
    kid: Option<String>,
    thumbprint: Arc<str>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
    /// Revokes the grants of its tokens when the issuer withdraws it.
    withdrawn: CancellationToken,
}

/// Why a token was not verified.
enum Unverified {
    /// Its key is not known.
    UnknownKey,
    Denied(Denied),
}

impl Oidc {
    /// The issuer that the configuration names, if it does.
    pub(super) fn new(config: &config::Oidc) -> Option<Arc<Self>> {
        let (Some(issuer), Some(audience)) = (&config.issuer, &config.audience) else {
            return None;
        };
        Some(Arc::new(Self {
            config: config.clone(),
            issuer: issuer.clone(),
            audience: audience.clone(),
            keys: watch::Sender::new(Arc::default()),
            wanted: Notify::new(),
            known: KnownJwts::new(config.known),
        }))
    }

    /// The address of the discovery document.
    pub fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'))
    }

    /// Why the issuer's keys are not those of now; none where all is well.
    pub fn problem(&self) -> Option<String> {
        let keys = self.keys.borrow();
        match (&keys.failure, keys.keys.is_empty()) {
            (Some(failure), _) => Some(failure.clone()),
            (None, true) => Some("the keys were not read yet".to_owned()),
            (None, false) => None,
        }
    }

    /// Whether a token may be one of the issuer: three parts with dots in between.
    pub(super) fn may_issue(token: &str) -> bool {
        token.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// The caller of a token, as far as it can be told without asking the issuer.
    pub(super) fn recognize(&self, token: &str) -> Option<Caller> {
        let keys = self.keys.borrow().clone();
        self.verify_with(token, &keys).ok()
    }

    /// The caller of a token. Where its key is not known the issuer is asked, but not too often.
    pub(super) async fn verify(&self, token: &str) -> Result<Caller, Denied> {
        let mut seen = self.keys.subscribe();
        let mut keys = seen.borrow_and_update().clone();
        let mut has_asked = false;
        loop {
            match self.verify_with(token, &keys) {
                Ok(caller) => return Ok(caller),
                Err(Unverified::Denied(denied)) => return Err(denied),
                Err(Unverified::UnknownKey) => {}
            }
            let may_look = keys.looked.is_none_or(|at| at.elapsed() >= self.config.retry.get());
            if may_look && !has_asked {
                has_asked = true;
                self.ask_for_look(&keys);
                let patience = self.config.timeout.get();
                if let Ok(Ok(())) = tokio::time::timeout(patience, seen.changed()).await {
                    keys = seen.borrow_and_update().clone();
                    continue;
                }
            }
            return Err(match keys.keys.is_empty() {
                true => Denied::NoKeys(self.config.retry.get().as_secs().max(1)),
                false => Denied::Issued("none of the issuer's keys has its key id"),
            });
        }
    }

    /// Asks for a look for keys, unless one has ended since `seen`.
    fn ask_for_look(&self, seen: &Arc<KeySet>) {
        // As long as they are borrowed, `take` does not replace them.
        let keys = self.keys.borrow();
        if Arc::ptr_eq(&keys, seen) {
            self.wanted.notify_one();
        }
    }

    fn verify_with(&self, token: &str, keys: &KeySet) -> Result<Caller, Unverified> {
        let denied = |why| Err(Unverified::Denied(Denied::Issued(why)));
        if token.len() > self.config.token_size.as_usize() {
            return denied("it is longer than `auth.oidc.token_size`");
        }
        let hash = digest(token);
        if let Some(known) = self.known.find(&hash) {
            return known.admit().map_err(Unverified::Denied);
        }
        let Ok(header) = decode_header(token) else { return denied("its header cannot be read") };
        let mut allowed = self.config.algorithms.iter().map(|one| algorithm(*one));
        if header.crit.is_some() || !allowed.any(|one| one == header.alg) {
            return denied("its algorithm is not one of `auth.oidc.algorithms`");
        }
        let key = keys.find(&header).ok_or(Unverified::UnknownKey)?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = self.config.leeway.get().as_secs();
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        let claims = match decode::<Map<String, Value>>(token, &key.key, &validation) {
            Ok(token) => token.claims,
            Err(error) => return Err(Unverified::Denied(explain(error.kind()))),
        };
        let (caller, grant) = self.admit(&claims, key).map_err(Unverified::Denied)?;
        let grant = Arc::new(grant.with_fingerprint(&hash));
        self.known.add(hash, KnownJwt { caller, grant }).admit().map_err(Unverified::Denied)
    }

    /// Who the claims of a token name that was verified with this key, and what they allow.
    fn admit(
        &self,
        claims: &Map<String, Value>,
        key: &IssuerKey,
    ) -> Result<(Arc<str>, Grant), Denied> {
        let config = &self.config;
        let name = claims.get(&config.caller_claim).and_then(Value::as_str).unwrap_or_default();
        // `*` means all callers where an admin names one.
        let is_name = (1..=NAME).contains(&name.len()) && name != "*" && name.chars().all(is_shown);
        if !is_name {
            return Err(Denied::Issued("the claim `auth.oidc.caller_claim` names no caller in it"));
        }
        let mut scopes: HashSet<TokenScope> = config.default_scopes.iter().copied().collect();
        for word in words(claims.get(&config.scope_claim)) {
            scopes.extend(config.scopes.get(word).into_iter().flatten());
        }
        let agents: Vec<String> = match &config.agents_claim {
            None => Vec::new(),
            Some(claim) => {
                let named = words(claims.get(claim)).take(AGENTS).map(ToOwned::to_owned);
                let named: Vec<_> = named.collect();
                if named.is_empty() {
                    return Err(Denied::Issued(
                        "the claim `auth.oidc.agents_claim` names no agent in it",
                    ));
                }
                named
            }
        };
        let exp = claims.get("exp").and_then(Value::as_f64).unwrap_or_default();
        let end = (exp * 1000.0) as i64;
        let leeway = i64::try_from(config.leeway.get().as_millis()).unwrap_or_default();
        let expires = Timestamp::from_millisecond(end.saturating_add(leeway));
        let scopes: Vec<_> = scopes.into_iter().collect();
        let grant = Grant::of_issued(ID, &scopes, agents, expires, key.withdrawn.child_token());
        Ok((Arc::from(format!("{}{name}", config.caller_prefix)), grant))
    }

    /// What the token with this mark allows, where it is known and still holds.
    pub(super) fn find_grant(&self, mark: &str) -> Option<Arc<Grant>> {
        self.known.find_grant(mark)
    }

    /// Reads the issuer's keys until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let found = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                found = tokio::time::timeout(self.config.timeout.get(), self.read()) => found,
            };
            let found =
                found.unwrap_or_else(|_| Err("the issuer does not answer in time".to_owned()));
            let is_good = found.is_ok();
            self.take(found);
            let (refresh, retry) = (self.config.refresh.get(), self.config.retry.get());
            let usual = if is_good { refresh.max(retry) } else { retry };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(retry.min(usual)) => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.wanted.notified() => {}
                () = tokio::time::sleep(usual.saturating_sub(retry)) => {}
            }
        }
    }

    /// Takes what a look for keys came to.
    fn take(&self, found: Result<Vec<IssuerKey>, String>) {
        let before = self.keys.borrow().clone();
        let looked = Some(Instant::now());
        let new = match found {
            Ok(mut keys) => {
                let mut withdrawn: HashMap<_, _> = HashMap::new();
                for key in before.keys.iter().chain(&keys) {
                    withdrawn.entry(key.thumbprint.clone()).or_insert(key.withdrawn.clone());
                }
                for key in &mut keys {
                    key.withdrawn.clone_from(&withdrawn[&key.thumbprint]);
                }
                let kept: HashSet<_> = keys.iter().map(|key| &key.thumbprint).collect();
                let gone = before.keys.iter().filter(|key| !kept.contains(&key.thumbprint));
                gone.for_each(|key| key.withdrawn.cancel());
                self.known.forget_ended();
                KeySet { keys, looked, failure: None }
            }
            Err(why) => {
                if before.failure.as_ref() != Some(&why) {
                    tracing::warn!(
                        "`auth.oidc`: the keys of {} cannot be read: {why}",
                        self.issuer
                    );
                }
                KeySet { keys: before.keys.clone(), looked, failure: Some(why) }
            }
        };
        self.keys.send_modify(|keys| {
            *keys = Arc::new(new);
            // Whoever asked for a look until now has got it.
            let _ = self.wanted.notified().now_or_never();
        });
    }

    /// Reads the keys, once.
    async fn read(&self) -> Result<Vec<IssuerKey>, String> {
        let place = match &self.config.jwks {
            Some(place) => place.clone(),
            None => {
                let document = self.fetch(&self.discovery_url()).await?;
                let told = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
                if told != self.issuer {
                    let why = "its discovery document names another issuer than `auth.oidc.issuer`";
                    return Err(why.to_owned());
                }
                let place = document.get("jwks_uri").and_then(Value::as_str);
                let place = place.ok_or("its discovery document names no `jwks_uri`")?;
                place.to_owned()
            }
        };
        let set = self.fetch(&place).await?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or_else(|| format!("{place} is no JSON Web Key Set"))?;
        let keys: Vec<_> = keys.iter().take(KEYS).filter_map(IssuerKey::read).collect();
        match keys.is_empty() {
            true => Err(format!("{place} has no key that can verify a signature")),
            false => Ok(keys),
        }
    }

    /// Reads one JSON document. Where the issuer itself names it on another host, that must be a public one.
    async fn fetch(&self, place: &str) -> Result<Value, String> {
        let url = Url::parse(place).ok().filter(|_| is_issuer_url(place));
        let url = url.ok_or_else(|| format!("{place} is no https address"))?;
        let named = self.config.jwks.iter().chain([&self.issuer]);
        let is_named = named
            .filter_map(|named| Url::parse(named).ok())
            .any(|named| named.origin() == url.origin());
        let client = match is_named {
            true => usual(Client::builder(), &url),
            false => {
                let guard = Guard::new(Vec::new(), Arc::new(System::new(1)));
                guard.check_url(place).map_err(|refusal| refusal.to_string())?;
                usual(Client::builder(), &url)
                    .dns_resolver(guard.resolver(Scheme::Secure))
                    .no_proxy()
            }
        };
        let client = client.build().map_err(|error| innermost(&error))?;
        let told = |error: &reqwest::Error| format!("{place}: {}", innermost(error));
        let mut answer = client.get(url).send().await.map_err(|error| told(&error))?;
        if !answer.status().is_success() {
            return Err(format!("{place} answers {}", answer.status().as_u16()));
        }
        let most = self.config.document.as_usize();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| told(&error))? {
            if bytes.len() + chunk.len() > most {
                return Err(format!("{place} is larger than `auth.oidc.document`"));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes).map_err(|_| format!("{place} is no JSON"))
    }
}

impl KeySet {
    /// The key that a token names; where it names none, the only one of its algorithm.
    fn find(&self, header: &Header) -> Option<&IssuerKey> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.algorithms.contains(&header.alg) && (header.kid.is_none() || key.kid == header.kid)
        });
        let first = fitting.next();
        first.filter(|_| header.kid.is_some() || fitting.next().is_none())
    }
}

impl IssuerKey {
    /// Reads a key; none where it cannot verify, or is for something else.
    fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let usage = &jwk.common.public_key_use;
        if !matches!(usage, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => vec![
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
            _ => return None,
        };
        if let Some(named) = jwk.common.key_algorithm {
            // Both have the names of RFC 7518.
            algorithms.retain(|algorithm| format!("{algorithm:?}") == format!("{named:?}"));
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).ok()?;
        let (kid, thumbprint) = (jwk.common.key_id, Arc::from(thumbprint));
        let withdrawn = CancellationToken::new();
        Some(Self { kid, thumbprint, algorithms, key, withdrawn })
    }
}

/// The words of a claim, in a text or a list.
fn words(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let text = claim.and_then(Value::as_str).unwrap_or_default().split_whitespace();
    let list = claim.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    text.chain(list)
}

fn usual(builder: ClientBuilder, url: &Url) -> ClientBuilder {
    let builder = builder
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(Duration::from_secs(5))
        .user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")));
    // On this machine alone, where nobody needs to be trusted and no proxy leads.
    if url.scheme() == "http" { builder.tls_certs_only([]).no_proxy() } else { builder }
}

fn explain(kind: &JwtError) -> Denied {
    Denied::Issued(match kind {
        JwtError::ExpiredSignature => return Denied::Expired,
        JwtError::InvalidIssuer => "it is of another issuer than `auth.oidc.issuer`",
        JwtError::InvalidAudience => "it is for another audience than `auth.oidc.audience`",
        JwtError::ImmatureSignature => "its time has not begun (`nbf`)",
        JwtError::MissingRequiredClaim(_) => "it lacks one of the claims `exp`, `iss` and `aud`",
        JwtError::InvalidSignature => "its signature is wrong",
        _ => "it cannot be verified",
    })
}

/// What lies below an error of the client, which itself names the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(below) = cause.and_then(|cause| cause.source()) {
        cause = Some(below);
    }
    cause.map_or_else(|| "the attempt failed".to_owned(), ToString::to_string)
}

fn algorithm(named: JwtAlgorithm) -> Algorithm {
    match named {
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Rs384 => Algorithm::RS384,
        JwtAlgorithm::Rs512 => Algorithm::RS512,
        JwtAlgorithm::Ps256 => Algorithm::PS256,
        JwtAlgorithm::Ps384 => Algorithm::PS384,
        JwtAlgorithm::Ps512 => Algorithm::PS512,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::Es384 => Algorithm::ES384,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// Whether a name may have this character: nothing that is not seen, or that turns what is read.
fn is_shown(character: char) -> bool {
    character.is_alphanumeric() || character.is_ascii_graphic() || character == ' '
}

#[cfg(test)]
mod tests;

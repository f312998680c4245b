//! Tokens of an identity provider (OpenID Connect), as the configuration describes them.

use super::defaults::{KIB, seconds, section};
use super::{Age, Bytes, TokenScope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

section! {
    /// Which signed tokens of which issuer are accepted; none without an issuer.
    #[derive(Debug)]
    pub struct Oidc {
        /// The issuer, as its tokens name it.
        pub issuer: Option<String>,
        /// The audience that a token must be for: this server, as the issuer knows it.
        pub audience: Option<String>,
        /// Where the issuer's keys are; found by its discovery document when unset.
        pub jwks: Option<String>,
        /// Algorithms of signatures that are accepted.
        pub algorithms: Vec<JwtAlgorithm> =
            vec![JwtAlgorithm::Rs256, JwtAlgorithm::Ps256, JwtAlgorithm::Es256, JwtAlgorithm::EdDsa],
        /// The claim that is the caller's name.
        pub caller_claim: String = "sub".to_owned(),
        /// What is put before it.
        pub caller_prefix: String = "oidc:".to_owned(),
        /// The claim that lists what a token allows: words in a text, or a list.
        pub scope_claim: String = "scope".to_owned(),
        /// What each word of that claim allows here; others allow nothing.
        pub scopes: BTreeMap<String, Vec<TokenScope>>,
        /// What every token of this issuer and audience allows.
        pub default_scopes: Vec<TokenScope>,
        /// The claim that lists the agents that a token may be used with; all when unset.
        pub agents_claim: Option<String>,
        /// By how much the clocks may differ.
        pub leeway: Age = seconds(60),
        /// From one look for the issuer's keys to the next.
        pub refresh: Age = seconds(3600),
        /// Between two looks at least, also where a token names an unknown key or a look failed.
        pub retry: Age = seconds(30),
        /// For one look.
        pub timeout: Age = seconds(10),
        /// Bytes of one document of the issuer.
        pub document: Bytes = Bytes::new(256 * KIB),
        /// Bytes of one token.
        pub token_size: Bytes = Bytes::new(8 * KIB),
        /// Tokens that are remembered as verified.
        pub known: usize = 10_000,
    }
}

/// An algorithm of signatures with a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum JwtAlgorithm {
    /// RSA (PKCS #1) with SHA-256.
    Rs256,
    /// RSA (PKCS #1) with SHA-384.
    Rs384,
    /// RSA (PKCS #1) with SHA-512.
    Rs512,
    /// RSA (PSS) with SHA-256.
    Ps256,
    /// RSA (PSS) with SHA-384.
    Ps384,
    /// RSA (PSS) with SHA-512.
    Ps512,
    /// ECDSA with P-256.
    Es256,
    /// ECDSA with P-384.
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// Whether an address of the issuer may be asked: over TLS, or on this machine.
pub fn is_issuer_url(url: &str) -> bool {
    let rest = |scheme: &str| {
        let begins = url.get(..scheme.len())?.eq_ignore_ascii_case(scheme);
        begins.then(|| &url[scheme.len()..])
    };
    if let Some(rest) = rest("https://") {
        return !rest.is_empty() && !rest.starts_with('/') && !rest.contains('@');
    }
    let authority = rest("http://").and_then(|rest| rest.split(['/', '?', '#']).next());
    let Some(authority) = authority else { return false };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
    host == "localhost" || host.parse().is_ok_and(is_loopback)
}

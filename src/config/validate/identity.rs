//! What cannot be of certificates and identity providers.

use super::super::{Config, is_issuer_url};
use super::Found;

impl Config {
    /// What cannot be of TLS.
    pub(super) fn check_tls(&self, found: &mut Found) {
        let tls = &self.server.tls;
        let (cert, key) = ("server.tls.cert", "server.tls.key");
        let lone = match (&tls.cert, &tls.key, &tls.client_ca) {
            (Some(_), None, _) => Some((cert, key)),
            (None, Some(_), _) => Some((key, cert)),
            (None, None, Some(_)) => Some(("server.tls.client_ca", cert)),
            (Some(_), Some(_), _) | (None, None, None) => None,
        };
        if let Some((named, missing)) = lone {
            found.add(
                &[named, missing],
                format!(
                    "`{named}` is set and `{missing}` is not; TLS needs a certificate and its key"
                ),
            );
        }
    }

    /// What cannot be of an identity provider.
    pub(super) fn check_oidc(&self, found: &mut Found) {
        let oidc = &self.auth.oidc;
        let Some(issuer) = &oidc.issuer else { return };
        let key = |member: &str| format!("auth.oidc.{member}");
        for (member, url) in [("issuer", Some(issuer)), ("jwks", oidc.jwks.as_ref())] {
            if url.is_some_and(|url| !is_issuer_url(url)) {
                found.add(
                    &[&key(member)],
                    format!(
                        "`{}` must be an https address, or an http one on this machine",
                        key(member)
                    ),
                );
            }
        }
        if oidc.audience.as_ref().is_none_or(String::is_empty) {
            found.add(
                &[&key("audience")],
                "`auth.oidc.audience` is missing: without it a token that the issuer gave for another service would be accepted"
                    .to_owned(),
            );
        }
        if oidc.caller_prefix.is_empty() {
            found.add(
                &[&key("caller_prefix")],
                "`auth.oidc.caller_prefix` is empty, so the issuer could name the owner; write something like `oidc:`"
                    .to_owned(),
            );
        }
        if oidc.algorithms.is_empty() {
            let why = "`auth.oidc.algorithms` is empty, so no token could be verified";
            found.add(&[&key("algorithms")], why.to_owned());
        }
        if oidc.scopes.is_empty() && oidc.default_scopes.is_empty() {
            found.add(
                &[&key("scopes"), &key("default_scopes")],
                "no token of `auth.oidc.issuer` could do anything: say in `auth.oidc.scopes` what the words of its claim allow, or \
                 in `auth.oidc.default_scopes` what every token allows"
                    .to_owned(),
            );
        }
    }
}

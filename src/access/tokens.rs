//! Which token is whose. Those of the configuration are replaced whole when it is read again; those of the store come
//! and go one by one. A token that is no longer there ends for whoever was admitted by it.

use super::grant::Grant;
use super::guesses;
use super::{Caller, digest};
use crate::config::{Config, OWNER, TokenScope};
use crate::store::TokenRow;
use std::collections::HashMap;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// A token that is known.
#[derive(Debug, Clone)]
struct KnownToken {
    caller: Arc<str>,
    hash: [u8; 32],
    grant: Arc<Grant>,
}

/// All tokens that are known.
#[derive(Debug, Default)]
pub(super) struct TokenTable {
    configured: Vec<KnownToken>,
    /// By their hash: they are made at random, so nobody guesses one by the time that a comparison takes.
    stored: HashMap<[u8; 32], KnownToken>,
    /// The keys of the configured tokens that can be guessed.
    weak: Vec<String>,
}

impl TokenTable {
    /// Takes the tokens of a configuration in place of those before; `owner` is the token that `Token::find` found.
    pub(super) fn configure(&mut self, config: &Config, owner: &str) {
        let mut known = Vec::new();
        let mut weak = Vec::new();
        let mut add = |caller: &str, token: &str, grant: Grant| {
            let (hash, is_weak) = (digest(token), guesses::is_weak(token));
            if config.auth.required && is_weak {
                weak.push(grant.id.to_string());
            }
            let grant = if is_weak { grant } else { grant.with_fingerprint(&hash) };
            known.push(KnownToken { caller: Arc::from(caller), hash, grant: Arc::new(grant) });
        };
        add(OWNER, owner, Grant::of("auth.token", &[TokenScope::Admin]));
        for (name, token) in &config.auth.tokens {
            add(name, token.secret(), Grant::of_caller(name, token));
        }
        for old in std::mem::take(&mut self.configured) {
            let is_same = |new: &&mut KnownToken| {
                bool::from(new.hash.ct_eq(&old.hash)) && new.grant.is_same(&old.grant)
            };
            match known.iter_mut().find(is_same) {
                // Who was admitted by it stays admitted.
                Some(new) => new.grant = old.grant,
                None => old.grant.revoke(),
            }
        }
        (self.configured, self.weak) = (known, weak);
    }

    /// Takes a token of the store, unless it is revoked.
    pub(super) fn add(&mut self, row: &TokenRow) {
        if row.revoked.is_none() {
            let (caller, hash) = (row.caller.clone(), row.hash);
            let grant = Arc::new(Grant::of_row(row).with_fingerprint(&hash));
            // The store keeps no more than `limits.tokens`; here those that expired make room too.
            self.stored.retain(|_, known| known.grant.check().is_ok());
            self.stored.insert(hash, KnownToken { caller, hash, grant });
        }
    }

    /// Takes away a token of the store, and ends it for whoever was admitted by it.
    pub(super) fn revoke(&mut self, id: &str) {
        self.stored.retain(|_, known| {
            let is_other = *known.grant.id != *id;
            if !is_other {
                known.grant.revoke();
            }
            is_other
        });
    }

    /// Takes away all tokens of the store that a caller has.
    pub(super) fn revoke_caller(&mut self, caller: &str) {
        let of_caller = |known: &&KnownToken| *known.caller == *caller;
        let ids: Vec<_> =
            self.stored.values().filter(of_caller).map(|known| known.grant.id.clone()).collect();
        ids.iter().for_each(|id| self.revoke(id));
    }

    /// The caller that a token belongs to. Every configured token is compared, whichever fits: the time says nothing.
    pub(super) fn find(&self, token: &str) -> Option<Caller> {
        let given = digest(token);
        let mut found = self.stored.get(&given);
        for known in &self.configured {
            if bool::from(known.hash.ct_eq(&given)) {
                found = Some(known);
            }
        }
        found.map(|known| Caller::new(known.caller.clone(), known.grant.clone()))
    }

    /// What the token with this mark allows, where it still holds.
    pub(super) fn find_grant(&self, mark: &str) -> Option<Arc<Grant>> {
        let all = self.configured.iter().chain(self.stored.values());
        let mut grants = all.map(|known| &known.grant);
        grants.find(|grant| *grant.mark == *mark && grant.check().is_ok()).cloned()
    }

    /// The keys of the configured tokens that can be guessed.
    pub(super) fn weak(&self) -> &[String] {
        &self.weak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(tokens: &[(&str, &str)]) -> Config {
        let mut config = Config::default();
        for (name, token) in tokens {
            config.auth.tokens.insert((*name).to_owned(), (*token).into());
        }
        config
    }

    #[test]
    fn a_token_that_a_new_configuration_leaves_out_ends_and_one_that_it_keeps_goes_on() {
        let mut tokens = TokenTable::default();
        tokens.configure(&configured(&[("ann", "one"), ("bob", "two")]), "owner's");
        let (ann, bob) = (tokens.find("one").unwrap(), tokens.find("two").unwrap());
        tokens.configure(&configured(&[("ann", "one"), ("bob", "other")]), "owner's");
        assert!(ann.grant.check().is_ok() && bob.grant.check().is_err());
        assert!(tokens.find("two").is_none() && tokens.find("owner's").is_some());
        assert_eq!(&*tokens.find("other").unwrap().name, "bob");
    }

    #[test]
    fn a_mark_finds_its_own_token_as_long_as_it_holds_and_no_other_one_of_its_name() {
        let (long, other) =
            ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
        let mut tokens = TokenTable::default();
        tokens.configure(&configured(&[("ann", long), ("bob", "weak")]), "owner's");
        let marks = [long, "weak"].map(|token| tokens.find(token).unwrap().grant.mark.clone());
        assert_eq!(&*marks[1], "auth.tokens.bob");
        assert!(marks.iter().all(|mark| tokens.find_grant(mark).is_some()));
        // As after a restart with another token of the same name.
        let mut later = TokenTable::default();
        later.configure(&configured(&[("ann", other)]), "owner's");
        assert!(marks.iter().all(|mark| later.find_grant(mark).is_none()), "{marks:?}");
    }
}

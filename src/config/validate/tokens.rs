//! What cannot be of the tokens of callers.

use super::super::Config;
use super::{Found, SHORTEST_TOKEN, guess_among};
use std::collections::BTreeSet;

impl Config {
    pub(super) fn check_tokens(&self, found: &mut Found) {
        let all = self
            .auth
            .tokens
            .iter()
            .map(|(name, token)| (format!("auth.tokens.{name}"), token.secret()));
        let owner = self.auth.token.iter().map(|token| ("auth.token".to_owned(), token.as_str()));
        for (key, token) in owner.chain(all) {
            let is_short = (1..SHORTEST_TOKEN).contains(&token.chars().count());
            if is_short && self.auth.required && !self.is_loopback() {
                found.add(
                    &[&key, "server.host"],
                    format!(
                        "`{key}` has fewer than {SHORTEST_TOKEN} characters and `server.host` is {}: anyone who reaches \
                         this machine could guess it; make one with `openssl rand -hex 32`, or listen on 127.0.0.1",
                        self.server.host,
                    ),
                );
            }
        }
        let mut seen: BTreeSet<&str> = self.auth.token.as_deref().into_iter().collect();
        for (name, token) in &self.auth.tokens {
            let key = format!("auth.tokens.{name}");
            let agents = token.agents().iter();
            let unknown: Vec<_> = agents.filter(|name| !self.agents.contains_key(*name)).collect();
            if let Some(name) = unknown.first() {
                let names: Vec<_> = self.agents.keys().map(String::as_str).collect();
                found.add(
                    &[&key],
                    format!(
                        "`{key}.agents` names `{name}`, which is none of `agents`{}",
                        guess_among(&names, name)
                    ),
                );
            }
            if token.scopes().is_empty() {
                found.add(
                    &[&key],
                    format!(
                        "`{key}.scopes` is empty, so that caller could do nothing; name some of send, read, answer, admin, \
                         or leave it out"
                    ),
                );
            }
            let token = token.secret();
            if token.trim().is_empty() {
                found.add(
                    &[&key],
                    format!("`{key}` is empty; give that caller a token or leave it out"),
                );
            } else if !seen.insert(token) {
                found.add(
                    &[&key],
                    format!("`{key}` is the token of another caller too; give each its own"),
                );
            }
        }
    }
}

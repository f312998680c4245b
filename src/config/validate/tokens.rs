//! What cannot be of the tokens of callers.

use super::super::{Config, PLACES, TargetKind, fill_template};
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

impl Config {
    /// What cannot be of the targets of notifications.
    pub(super) fn check_notifications(&self, found: &mut Found) {
        for (name, target) in &self.notifications.targets {
            let key = |member: &str| format!("notifications.targets.{name}.{member}");
            let is_url = target.url.starts_with("http://") || target.url.starts_with("https://");
            if !is_url {
                found.add(
                    &[&key("url")],
                    format!("`{}` must begin with http:// or https://", key("url")),
                );
            }
            if target.links && self.server.public_url.is_none() {
                found.add(
                    &[&key("links"), "server.public_url"],
                    format!(
                        "`{}` needs `server.public_url`: the address that people open a link at",
                        key("links")
                    ),
                );
            }
            let Some(template) = &target.template else { continue };
            let values = PLACES.map(|place| (place, "x"));
            let is_json =
                serde_json::from_str::<serde_json::Value>(&fill_template(template, &values));
            if target.kind != TargetKind::Webhook || is_json.is_err() {
                found.add(
                    &[&key("template")],
                    format!(
                        "`{}` must be JSON with places like {{title}} inside of its texts, and is for `kind: webhook` alone",
                        key("template")
                    ),
                );
            }
        }
    }
}

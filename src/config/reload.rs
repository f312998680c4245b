//! The configuration, read again while the server runs: what of it comes into force, and what waits for the next start.

use super::tree::{leaves, to_json};
use super::{Config, Environment, Error, Flags, Loaded, load_trusted};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the configuration was read from at the start, to be read there again.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    /// The options of the command line.
    pub flags: Flags,
    /// The environment of the server.
    pub environment: Environment,
    /// The folder in which it was started.
    pub cwd: PathBuf,
}

impl ConfigSource {
    pub(super) fn new(flags: &Flags, environment: &Environment, cwd: &Path) -> Self {
        Self { flags: flags.clone(), environment: environment.clone(), cwd: cwd.to_owned() }
    }

    /// Reads it, as a start would. An empty file is one that is being saved: it would take every token away.
    pub fn read(&self) -> Result<Loaded, Error> {
        let loaded = load_trusted(&self.flags, &self.environment, &self.cwd)?;
        let file = loaded.config_file.as_ref().map(|file| self.cwd.join(file));
        let is_empty = |file: &PathBuf| {
            std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() == 0)
        };
        match file.filter(is_empty) {
            Some(file) => Err(Error::Empty(file)),
            None => Ok(loaded),
        }
    }
}

impl Config {
    /// This configuration with those values of a new one that come into force without a restart.
    pub fn reloaded_with(&self, new: &Self) -> Self {
        let mut config = self.clone();
        config.auth.token.clone_from(&new.auth.token);
        config.auth.tokens.clone_from(&new.auth.tokens);
        config.server.allowed_hosts.clone_from(&new.server.allowed_hosts);
        config.server.allowed_origins.clone_from(&new.server.allowed_origins);
        config.server.trusted_proxies.clone_from(&new.server.trusted_proxies);
        if self.server.tls.is_on() && new.server.tls.is_on() {
            config.server.tls.clone_from(&new.server.tls);
        }
        config.card.signing.clone_from(&new.card.signing);
        config.budgets = new.budgets;
        config.log.level.clone_from(&new.log.level);
        for (name, agent) in &mut config.agents {
            if let Some(new) = new.agents.get(name) {
                agent.asks = new.asks;
                agent.ask_rules.clone_from(&new.ask_rules);
                agent.budgets = new.budgets;
            }
        }
        config
    }

    /// The dotted keys in which another configuration differs.
    pub fn changed_keys(&self, other: &Self) -> Vec<String> {
        let [old, new] = [self, other].map(|config| {
            let tree = to_json(config);
            let leaf = |path: Vec<String>| {
                let value = path.iter().fold(&tree, |value, name| &value[name.as_str()]);
                (path.join("."), value.clone())
            };
            leaves(&tree).into_iter().map(leaf).collect::<BTreeMap<String, Value>>()
        });
        let mut keys: Vec<_> = old.keys().chain(new.keys()).cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| old.get(key) != new.get(key));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_into_force_and_what_waits_for_a_restart_are_told_apart() {
        let old = Config::default();
        let mut new = old.clone();
        new.auth.tokens.insert("ci".to_owned(), "abc".into());
        new.server.port = 1;
        new.agents.get_mut("claude").unwrap().asks = crate::config::AskPolicy::Deny;
        let merged = old.reloaded_with(&new);
        assert_eq!(
            old.changed_keys(&merged),
            ["agents.claude.asks", "auth.tokens", "auth.tokens.ci"]
        );
        assert_eq!(merged.changed_keys(&new), ["server.port"]);
    }
}

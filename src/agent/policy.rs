//! The rules of an agent for what is asked, which may be read again.

use super::Agent;
use crate::config;
use std::sync::Arc;

impl Agent {
    /// Its rules for asks, as they were read last.
    pub fn policy(&self) -> Arc<config::Agent> {
        self.policy.read().clone()
    }

    /// Takes the rules for asks of a configuration that was read again.
    pub fn set_policy(&self, config: &config::Agent) {
        *self.policy.write() = Arc::new(config.clone());
    }
}

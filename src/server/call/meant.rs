//! Which agent a call is meant for, and whether its caller waits.

use super::super::Doors;
use super::{Named, no_agent};
use crate::agent::Agent;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::Error;
use pilothouse_a2a::operation::SendMessageRequest;
use std::sync::Arc;

impl Doors {
    /// The agent that a call is meant for, by its path and by its tenant.
    pub(super) fn meant(
        &self,
        named: Option<&Named>,
        tenant: Option<&str>,
    ) -> Result<Arc<Agent>, Error> {
        let agents = &self.agents;
        let tenant = tenant.filter(|tenant| !tenant.is_empty());
        let name = match (named, tenant) {
            (Some(Named(name)), Some(tenant)) if **name != *tenant => {
                return Err(Error::invalid(
                    "tenant",
                    "the path names another agent; leave the tenant out, or name the same",
                ));
            }
            (Some(Named(name)), _) => &**name,
            (None, Some(tenant)) => tenant,
            (None, None) => return Ok(agents.default_one().clone()),
        };
        agents.get(name).cloned().ok_or_else(|| no_agent(name))
    }

    pub(super) fn waits(
        &self,
        dialect: Dialect,
        request: &SendMessageRequest,
        blocking: Option<bool>,
    ) -> bool {
        match dialect {
            Dialect::V1_0 => !request
                .configuration
                .as_ref()
                .is_some_and(|configuration| configuration.return_immediately),
            Dialect::V0_3 => blocking.unwrap_or(self.config.compat.v03.blocking_default),
            Dialect::V0_1 => true,
        }
    }
}

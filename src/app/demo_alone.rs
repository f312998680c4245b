//! First contact on a machine where no sandbox can be made: the demo agent is served alone and without one, so that a
//! newcomer gets an answer. It is this program itself and runs no tools. Other agents stay refused.

use super::Error;
use crate::agent::Agents;
use crate::config::{DriverKind, Loaded, Origin};
use pilothouse_sandbox::isolation::{self, BackendKind, Isolation, Kernel, When};
use pilothouse_sandbox::process::Launcher;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// What is served instead of what was configured.
pub(super) struct Replacement {
    pub(super) agents: Arc<Agents>,
    pub(super) isolation: Isolation,
    /// Why, and what changes it.
    pub(super) reason: String,
}

/// Whether nothing was configured that the demo agent could silently replace: the agent was chosen automatically, the
/// sandbox is the default one, and only this machine can connect.
pub(super) fn may_replace(loaded: &Loaded, agents: &Agents) -> bool {
    let config = &loaded.config;
    let is_default = |key: &str| {
        let mut origins = loaded.origins.iter().filter(|(name, _)| name.starts_with(key));
        origins.all(|(_, origin)| matches!(origin, Origin::Default))
    };
    let host = config.server.host.trim_matches(['[', ']']);
    let is_local =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_automatic =
        config.agent == "auto" || agents.default_one().config.driver == DriverKind::Demo;
    let is_first_contact = is_automatic && agents.iter().count() == 1;
    is_first_contact
        && is_local
        && is_default("isolation.backend")
        && is_default("isolation.require")
}

/// The demo agent, and no sandbox; the reason says what is missing.
pub(super) async fn replace(
    loaded: &mut Loaded,
    (launcher, kernel): (&Launcher, Kernel),
    cwd: &Path,
    why: &isolation::Error,
) -> Result<Replacement, Error> {
    "demo".clone_into(&mut loaded.config.agent);
    loaded.config.isolation.backend = BackendKind::None;
    let agents = Agents::resolve(loaded, cwd)?;
    let reason = format!(
        "only the demo agent, because no sandbox can be made for another one: {}; to run agents without a sandbox: \
         --isolation none",
        why.first_cause()
    );
    let settings = loaded.config.sandbox();
    let environment = agents.trusted(&loaded.agent_environment);
    let needs = agents.needs();
    let isolation =
        isolation::choose(&settings, launcher, kernel, &needs, &environment, 0, When::Start)
            .await?;
    Ok(Replacement { agents: Arc::new(agents), isolation, reason })
}

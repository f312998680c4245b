//! A server of its own on loopback that keeps nothing, in which `doctor` tries what only a session shows.

use crate::access::Token;
use crate::agent::Agent;
use crate::app::{App, Error, Running};
use crate::config::{Config, ConfigSource, Environment, Flags, Loaded, Tls, WorkspaceMode};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of the server; gone at the end.
struct StateFolder(PathBuf);

impl Drop for StateFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that runs for a trial.
pub(super) struct TrialServer {
    /// Its address, with a slash at the end.
    pub(super) url: String,
    /// Its token.
    pub(super) token: Option<String>,
    /// Its agents; the first one is the default.
    pub(super) agents: Vec<Arc<Agent>>,
    running: Running,
    _folder: StateFolder,
}

impl TrialServer {
    /// Starts it with this configuration, another address and other folders; `adjust` changes more of it.
    pub(super) async fn start(
        loaded: &Loaded,
        cwd: &Path,
        adjust: impl FnOnce(&mut Config),
    ) -> Result<Self, Error> {
        let mut loaded = loaded.clone();
        let folder = format!("doctor-{}", std::process::id());
        let folder = StateFolder(loaded.config.state_dir.join(folder));
        // Its folders are gone with it, so there is nothing to remember of them.
        loaded.record = None;
        let config = &mut loaded.config;
        config.state_dir.clone_from(&folder.0);
        // Not in a folder that is somebody's.
        (config.workspace.mode, config.workspace.path) =
            (WorkspaceMode::Session, folder.0.join("work"));
        for agent in config.agents.values_mut() {
            (agent.workspace.mode, agent.workspace.path, agent.warm) = (None, None, 0);
        }
        config.store.path = "memory".into();
        "off".clone_into(&mut config.audit);
        config.notifications.targets.clear();
        "127.0.0.1".clone_into(&mut config.server.host);
        config.server.tls = Tls::default();
        (config.server.port, config.log.console, config.log.path) = (0, false, None);
        (config.auth.required, config.auth.token) = (true, None);
        adjust(config);
        // Nothing reloads it.
        let (flags, environment) = (Flags::default(), Environment::default());
        let source = ConfigSource { flags, environment, cwd: cwd.to_owned() };
        let app = Box::pin(App::build(loaded, source)).await?;
        let mut agents = vec![app.agents().default_one().clone()];
        let others = app.agents().iter().filter(|agent| agent.key != agents[0].key);
        let others: Vec<_> = others.cloned().collect();
        agents.extend(others);
        Ok(Self {
            url: format!("{}/", app.url()),
            token: app.token.as_ref().map(|token| Token::secret(token).to_owned()),
            agents,
            running: app.spawn(),
            _folder: folder,
        })
    }

    /// Ends it, with its processes and folders.
    pub(super) async fn stop(self) {
        let _ = self.running.shut_down().await;
    }
}

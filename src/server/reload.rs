//! The configuration is read again while the server runs. A new one that cannot be used is refused whole.

use super::tls::Certificates;
use super::{Cards, Doors, TlsError};
use crate::access::Token;
use crate::agent::BuiltSetup;
use crate::config::{self, Config, ConfigSource, Loaded};
use crate::signing;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::sync::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// What it takes to read the configuration again.
pub struct Reloading {
    source: ConfigSource,
    /// The file in which a token was kept; none where the store is gone with the process, and the token that was made
    /// with it.
    token: Result<PathBuf, String>,
    /// What is in force.
    current: Mutex<Config>,
    /// Sets what the log shows; none where the process has no log of its own.
    log: OnceLock<SetLogFilter>,
}

/// Sets what the log shows from now on.
pub type SetLogFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// What came of it: names of keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Those whose new values are in force.
    pub applied: Vec<String>,
    /// Those whose new values wait for the next start.
    pub waiting: Vec<String>,
}

/// Why the new configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It cannot be read, or says what is not possible.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The key of the cards.
    #[error(transparent)]
    Signing(#[from] signing::Error),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What the log shows.
    #[error("`log.level`: {0}")]
    Log(#[from] ParseError),
    /// The kept token.
    #[error("cannot read the token in the state folder: {0}")]
    Token(#[source] io::Error),
    /// Reading it failed inside of the server.
    #[error("the configuration could not be read")]
    Failed,
}

impl Reloading {
    /// From where the configuration comes that is in force.
    pub fn new(source: ConfigSource, token: Result<PathBuf, String>, current: Config) -> Self {
        Self { source, token, current: Mutex::new(current), log: OnceLock::new() }
    }

    /// Has this set what the log shows.
    pub fn set_log_by(&self, set: SetLogFilter) {
        let _ = self.log.set(set);
    }

    /// The configuration that is in force.
    pub(super) async fn current(&self) -> Config {
        self.current.lock().await.clone()
    }
}

impl std::fmt::Display for Reloaded {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |keys: &[String]| match keys {
            [] => "nothing".to_owned(),
            keys => keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "),
        };
        write!(out, "the configuration was read again; changed: {}", list(&self.applied))?;
        match &self.waiting[..] {
            [] => Ok(()),
            waiting => write!(out, "; only a restart changes {}", list(waiting)),
        }
    }
}

impl Reloading {
    /// What is masked in transcripts: credentials of the configuration and of the server's environment.
    pub(super) fn secrets(&self, config: &Config) -> Vec<String> {
        config::find_secrets(config, &self.source.environment)
    }
}

impl Doors {
    /// Reads the configuration again, and puts into force what can be without a restart. Running turns go on.
    pub async fn reload(self: &Arc<Self>) -> Result<Reloaded, ReloadError> {
        let reloading = &self.reloading;
        // One at a time, so that the last one is in force.
        let mut current = reloading.current.lock().await;
        let source = reloading.source.clone();
        let read = self.operations.spawn_blocking(move || source.read()).await;
        let Loaded { config: new, agent_environment, .. } =
            read.map_err(|_| ReloadError::Failed)??;
        let merged = current.reloaded_with(&new);
        let cards = Cards::new(&merged)?;
        let token = match &reloading.token {
            Ok(file) => Token::find(merged.auth.token.as_deref(), Some(file.as_path()))
                .map_err(ReloadError::Token)?
                .secret()
                .to_owned(),
            Err(made) => merged.auth.token.clone().unwrap_or_else(|| made.clone()),
        };
        let certificates = match &self.tls {
            Some(tls) => Certificates::read(&merged.server.tls)?.map(|new| (tls, new)),
            None => None,
        };
        let log_filter = EnvFilter::builder().parse(&merged.log.level)?;
        // Nothing fails from here on.
        let mut reloaded =
            Reloaded { applied: current.changed_keys(&merged), waiting: merged.changed_keys(&new) };
        self.access.reload(&merged, &token);
        self.service.reload(&merged);
        let renewed = self.agents.reload(&merged, &agent_environment);
        // Files that are declared may have changed.
        self.agents.iter().filter_map(|agent| agent.setup.built()).for_each(BuiltSetup::request);
        reloaded.applied.extend(renewed.iter().map(|key| format!("agents.{key}.env")));
        if certificates.is_some_and(|(tls, new)| tls.replace(new)) {
            reloaded.applied.push("server.tls".to_owned());
            self.leave_word();
        }
        if current.log.level != merged.log.level
            && let Some(set) = reloading.log.get()
        {
            set(log_filter);
        }
        *self.cards.write() = Arc::new(cards);
        *current = merged;
        Ok(reloaded)
    }
}

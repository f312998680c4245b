//! What an agent is given of the operator's environment, and that it is replaced where a credential changes.
//!
//! # How it works
//!
//! Credentials stand in the environment of the server, which does not change, and in `.env`, which does. Before a turn
//! begins and before a key is sent to a model the file is looked at; a file that is another one, or was written, is
//! read again as the start has read it. Behind a sandbox a process holds stand-ins, so a new key is put into the
//! routes that it uses already. Any other change is for processes that begin later: one of before serves no further
//! turn.

use super::{Agent, Agents, CREDENTIALS, Error, Reach};
use crate::config::{Config, ConfigSource, Loaded};
use parking_lot::{Mutex, RwLock};
use pilothouse_egress::KeyWatch;
use pilothouse_sandbox::isolation::{BackendKind, Changeable};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an agent is given.
pub struct AgentEnvironment {
    /// Its environment where it has no sandbox.
    pub env: BTreeMap<String, String>,
    /// What it reaches behind a sandbox.
    pub reach: Reach,
    /// Its account at the model API: agents with the same credential share it.
    pub account: u64,
    /// Another one where processes of before cannot go on with this.
    pub generation: u64,
}

/// The file that is looked at, and how it is read.
pub(super) struct CredentialFile {
    path: PathBuf,
    source: ConfigSource,
    config: Config,
    seen: Mutex<Seen>,
}

/// What the last look has found.
#[derive(Default)]
struct Seen {
    identity: Option<FileIdentity>,
    /// When that could not be used, so that it is tried again.
    failed: Option<Instant>,
}

/// Between two tries to use a file that could not be used.
const AGAIN: Duration = Duration::from_secs(10);

/// Which file lies at a path, and when it was written: device, inode, length, and both times in nanoseconds.
type FileIdentity = (u64, u64, u64, [i64; 4]);

fn identity_of(path: &Path) -> Option<FileIdentity> {
    let found = path.metadata().ok()?;
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    Some((found.dev(), found.ino(), found.len(), times))
}

impl AgentEnvironment {
    pub(super) fn first(
        key: &str,
        env: BTreeMap<String, String>,
        reach: Reach,
    ) -> RwLock<Arc<Self>> {
        let account = account_of(key, &env);
        RwLock::new(Arc::new(Self { env, reach, account, generation: 0 }))
    }
}

/// The account behind an agent's credentials; its own where it has none that is known.
fn account_of(key: &str, env: &BTreeMap<String, String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let is_part = |name: &str| CREDENTIALS.contains(&name) || name == "ANTHROPIC_BASE_URL";
    if !env.keys().any(|name| CREDENTIALS.contains(&name.as_str())) {
        key.hash(&mut hasher);
    }
    env.iter().filter(|(name, _)| is_part(name)).for_each(|part| part.hash(&mut hasher));
    hasher.finish()
}

impl Agent {
    /// What it is given now.
    pub fn latest_env(&self) -> Arc<AgentEnvironment> {
        self.given.read().clone()
    }

    /// Its account at the model API.
    pub fn account(&self) -> u64 {
        self.given.read().account
    }

    /// Takes what this environment holds for it; whether that is something else than before.
    fn reload(
        &self,
        config: &Config,
        environment: &BTreeMap<String, String>,
    ) -> Result<bool, Error> {
        let env = self.config.select_env(environment);
        let mut given = self.given.write();
        if given.env == env {
            return Ok(false);
        }
        let reach = Reach::of(config, &self.key, &self.config, &env, given.reach.key.clone())
            .map_err(|cause| Error::Reach(self.key.to_string(), cause))?;
        let goes_on = config.isolation.backend != BackendKind::None
            && reach.env == given.reach.env
            && given.reach.policy.replace_keys(&reach.policy);
        let (reach, generation) = match goes_on {
            true => (given.reach.clone(), given.generation),
            false => (reach, given.generation + 1),
        };
        let account = account_of(&self.key, &env);
        *given = Arc::new(AgentEnvironment { env, reach, account, generation });
        Ok(true)
    }
}

impl CredentialFile {
    /// The `.env` file; none where agents could write it, nor one that would only be found and is not there now.
    pub(super) fn of(loaded: &Loaded, changeable: &Changeable) -> Option<Self> {
        let path = loaded.config.env_file.path.clone();
        let is_trusted = loaded.config.isolation.backend == BackendKind::None
            || !changeable.is_changeable(&path);
        let is_known = path.exists() || !loaded.found.env_file;
        (is_trusted && is_known).then(|| Self {
            // It may have changed since it was read, so the first look reads it.
            seen: Mutex::default(),
            path,
            source: loaded.source.clone(),
            config: loaded.config.clone(),
        })
    }

    /// Has the environment for agents used where the file is another one than it was, or could not be used before;
    /// `apply` says whether it was. Who looks meanwhile waits, and so never goes on with what is replaced.
    fn look(&self, apply: impl FnOnce(&BTreeMap<String, String>) -> bool) {
        let mut seen = self.seen.lock();
        let identity = identity_of(&self.path);
        let is_settled = seen.failed.is_none_or(|failed| failed.elapsed() < AGAIN);
        if seen.identity == identity && is_settled {
            return;
        }
        let read = self.source.read();
        if identity_of(&self.path) != identity {
            // It is being written: the next look reads it.
            return;
        }
        let is_used = match read {
            _ if identity.is_none() => {
                self.warn(&"it is not there any more");
                true
            }
            Ok(loaded) => apply(&loaded.agent_environment),
            Err(error) => {
                self.warn(&error);
                false
            }
        };
        *seen = Seen { identity, failed: (!is_used).then(Instant::now) };
    }

    fn warn(&self, why: &dyn Display) {
        let path = self.path.display();
        tracing::warn!(
            "{path} has changed and is not used: {why}; the credentials that it had before stay"
        );
    }
}

impl Agents {
    /// Gives agents what this environment holds for them, and says for which that is something else than before. Where
    /// it cannot be used for one, what that had before stays.
    pub fn reload(&self, config: &Config, environment: &BTreeMap<String, String>) -> Vec<Arc<str>> {
        self.reload_each(config, environment).0
    }

    /// The same; and whether it could be used for each.
    fn reload_each(
        &self,
        config: &Config,
        environment: &BTreeMap<String, String>,
    ) -> (Vec<Arc<str>>, bool) {
        let (mut changed, mut is_whole) = (Vec::new(), true);
        for agent in self.iter() {
            let key = &agent.key;
            match agent.reload(config, environment) {
                Ok(true) => {
                    tracing::info!(agent = %key, "`{key}` has other credentials now");
                    changed.push(key.clone());
                }
                Ok(false) => {}
                Err(error) => {
                    is_whole = false;
                    tracing::warn!(
                        agent = %key, %error,
                        "changed credentials cannot be used; those of before stay"
                    );
                }
            }
        }
        (changed, is_whole)
    }

    /// Looks whether the file with credentials has changed, and takes what it says then.
    pub fn look_at_credentials(&self) {
        let Some(file) = &self.credentials else { return };
        file.look(|environment| self.reload_each(&file.config, environment).1);
    }
}

impl KeyWatch for Agents {
    fn look(&self) {
        self.look_at_credentials();
    }
}

//! Retention: old tasks and ended sessions are removed by age, by number and by size; and so is what servers that
//! were killed left in our folders.
//!
//! # How it works
//!
//! A clone is looked at for unsaved work while messages may still come. Then a session that was not used meanwhile is
//! kept for its removal, so that no message takes it up; then its folders go, then its row. What
//! cannot be removed keeps its row, and the next sweep tries again. Folders of sessions that the store does not
//! know are those of a server that was killed between folder and row. They are listed once, before this server
//! makes a folder of its own, so no clock decides whether a folder is old.

use crate::agent::{Agents, list_latest_setups, list_setups};
use crate::config::{Config, Retention};
use crate::session::{KeptSession, KeptSessions, Sessions};
use crate::store::{self, Durability, Limits, SessionUse, Store, Write};
use pilothouse_a2a::time::Timestamp;
use pilothouse_sandbox::disk::off_worker;
use pilothouse_sandbox::workspace::{Workspaces, remove_left_over};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// From the start to the first sweep at most, so that a start is not slowed down by it.
const FIRST: Duration = Duration::from_secs(10);

/// The sweeps of a server.
pub struct Sweep {
    config: Arc<Config>,
    agents: Arc<Agents>,
    store: Store,
    sessions: Sessions,
    stop: CancellationToken,
    /// HOMEs of an earlier server, until the first sweep.
    homes: BTreeSet<Arc<str>>,
    /// Folders that an earlier server was making, until the first sweep.
    unfinished: BTreeSet<PathBuf>,
    /// What could not be removed, and why, so that it is said once.
    failures: HashMap<String, String>,
}

/// How much one sweep has removed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Swept {
    tasks: usize,
    sessions: usize,
    left_overs: usize,
}

impl Sweep {
    /// Looks what an earlier server has left; to be made before this one makes folders.
    pub fn new(
        config: Arc<Config>,
        agents: Arc<Agents>,
        store: Store,
        sessions: Sessions,
        stop: CancellationToken,
    ) -> Self {
        let (mut homes, mut unfinished) = (BTreeSet::new(), BTreeSet::new());
        for agent in agents.iter() {
            let left = agent.workspaces.left_overs();
            homes.extend(left.sessions);
            unfinished.extend(left.unfinished);
        }
        if config.store.path == Path::new("memory") {
            // This store knows no session of an earlier server; their folders are all that is left of them.
            homes.clear();
        }
        let failures = HashMap::new();
        Self { config, agents, store, sessions, stop, homes, unfinished, failures }
    }

    /// Sweeps now and then until the server stops.
    pub async fn run(mut self) {
        let every = self.config.sessions.sweep_every.get();
        let mut pause = every.min(FIRST);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = every,
            }
            match self.sweep().await {
                Ok(Swept { tasks: 0, sessions: 0, left_overs: 0 }) => {}
                Ok(Swept { tasks, sessions, left_overs }) => {
                    tracing::info!(
                        tasks,
                        sessions,
                        left_overs,
                        "old tasks and sessions were removed"
                    );
                }
                Err(error) => tracing::warn!(%error, "old tasks could not be removed"),
            }
        }
    }

    async fn sweep(&mut self) -> Result<Swept, store::Error> {
        let now = Timestamp::now().as_millisecond();
        let mut swept = Swept::default();
        let known = std::mem::take(&mut self.failures);
        let mut failures = Failures { known, new: HashMap::new() };
        let tasks = self.store.old_tasks(limits(&self.config.store.retention, now)).await?;
        self.store.remove_tasks(&tasks).await?;
        let asks = &self.config.asks;
        let ended = Write::AsksSwept { count: asks.kept, bytes: asks.kept_bytes.get() };
        self.store.commit(vec![ended], Durability::Written).await?;
        swept.tasks = tasks.len();
        let limits = limits(&self.config.sessions.retention, now);
        let mut kept = KeptSessions::new();
        for session in self.ended_sessions(limits).await? {
            let SessionUse { id, agent, .. } = &session;
            // What waits or asks goes on in these folders.
            if self.sessions.is_live(id) || self.store.has_unfinished(id).await? {
                continue;
            }
            if let Some(why) = self.find_reason_to_keep(&session).await {
                kept.insert(id.clone(), why);
            } else if !self.stop.is_cancelled()
                && let Some(_removal) = self.sessions.begin_unused_removal(&session).await?
                && failures.note(id, self.agents.folders_of(agent).remove(id, &self.stop).await)
            {
                self.store.remove_session(id).await?;
                swept.sessions += 1;
            }
            if self.stop.is_cancelled() {
                break;
            }
        }
        self.sessions.remember_kept(kept);
        swept.left_overs = self.remove_left_overs(&mut failures).await?;
        swept.left_overs += self.remove_setups(&mut failures).await?;
        self.failures = failures.new;
        Ok(swept)
    }

    /// Why a session that retention has come for is kept. Its clone is looked at once for each time that it was used; a
    /// look that failed is repeated by the next sweep.
    async fn find_reason_to_keep(&self, session: &SessionUse) -> Option<KeptSession> {
        session.checkout.as_ref()?;
        let known = self.sessions.kept().remove(&session.id);
        let known = known.filter(|known| known.used_ms == session.used_ms);
        if known.as_ref().is_some_and(|known| known.is_certain) {
            return known;
        }
        let agent = self.agents.get(&session.agent).unwrap_or(self.agents.default_one());
        let looking = self.sessions.find_unsaved_work(agent, session);
        let kept = self.stop.run_until_cancelled(looking).await??;
        if known.is_none_or(|known| known.reason != kept.reason) {
            let reason = &kept.reason;
            tracing::info!(session.id = %session.id, reason, "the session {} is kept although retention has come for it", session.id);
        }
        Some(kept)
    }

    /// Sessions that retention has come for. The last used ones stay longest.
    async fn ended_sessions(&self, limits: Limits) -> Result<Vec<SessionUse>, store::Error> {
        let (mut ended, mut count, mut bytes) = (Vec::new(), 0, 0u64);
        for session in self.store.sessions_by_use().await? {
            if self.stop.is_cancelled() {
                break;
            }
            let SessionUse { id, agent, used_ms, .. } = &session;
            let workspaces = self.agents.folders_of(agent);
            count += 1;
            let mut over =
                *used_ms < limits.oldest_ms || count > limits.count || bytes > limits.size;
            if !over {
                // Sizes are read from the disk, which may take its time.
                let size = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => break,
                    size = workspaces.size(id, None) => size,
                };
                match size {
                    Ok(size) => bytes = bytes.saturating_add(size.bytes),
                    Err(error) => {
                        tracing::warn!(session.id = %id, %error, "could not measure a session");
                    }
                }
                over = bytes > limits.size;
            }
            if over {
                ended.push(session);
            }
        }
        Ok(ended)
    }

    /// Removes revisions of set-ups that no session has and that no agent gives to new ones.
    async fn remove_setups(&self, failures: &mut Failures) -> Result<usize, store::Error> {
        let state = self.config.state_dir.clone();
        // Listed before it is asked what is in use, so that a revision that is new since then is not on the list.
        let list = move || (list_setups(&state), list_latest_setups(&state));
        let (listed, latest) = off_worker(list).await.unwrap_or_default();
        let mut in_use: HashSet<(String, String)> =
            self.store.setups_in_use().await?.into_iter().collect();
        // A command may have built it for the next start or reload.
        in_use.extend(latest);
        in_use.extend(self.agents.iter().flat_map(|agent| {
            let digests = agent.setup.in_use().into_iter();
            digests.map(|digest| (agent.key.to_string(), digest))
        }));
        let unused = listed.into_iter().filter_map(|(agent, name, folder)| {
            (!in_use.contains(&(agent, name))).then_some(folder)
        });
        let mut removed = 0;
        for folder in unused {
            let name = folder.display().to_string();
            let done = off_worker(move || std::fs::remove_dir_all(folder)).await.flatten();
            removed += usize::from(failures.note(&name, done));
        }
        Ok(removed)
    }

    /// Removes what servers that were killed left, and goes on with removals that were interrupted.
    async fn remove_left_overs(&mut self, failures: &mut Failures) -> Result<usize, store::Error> {
        let (agents, mut removed) = (self.agents.clone(), 0);
        let places: Vec<&Workspaces> = agents.iter().map(|agent| &agent.workspaces).collect();
        if !self.homes.is_empty() {
            let rows = self.store.sessions_by_use().await?;
            let known: HashSet<Arc<str>> = rows.into_iter().map(|row| row.id).collect();
            for id in std::mem::take(&mut self.homes).difference(&known.into_iter().collect()) {
                let Some(_removal) = self.sessions.begin_removal(id) else { continue };
                let mut done = true;
                for workspaces in &places {
                    done &= failures.note(id, workspaces.remove(id, &self.stop).await);
                }
                removed += usize::from(done);
            }
        }
        let mut folders = std::mem::take(&mut self.unfinished);
        for workspaces in &places {
            match workspaces.half_removed().await {
                Ok(found) => folders.extend(found),
                Err(error) => tracing::warn!(%error, "could not look for left folders"),
            }
        }
        for folder in folders {
            let name = folder.display().to_string();
            if failures.new.keys().any(|tried| name.ends_with(tried)) {
                continue;
            }
            let done = failures.note(&name, remove_left_over(&folder, &self.stop).await);
            removed += usize::from(done);
        }
        Ok(removed)
    }
}

/// What could not be removed by the last sweep and by this one.
struct Failures {
    known: HashMap<String, String>,
    new: HashMap<String, String>,
}

impl Failures {
    /// Whether it was removed; a new failure is logged.
    fn note(&mut self, what: &str, removed: io::Result<()>) -> bool {
        let Err(error) = removed else {
            return true;
        };
        if error.kind() == io::ErrorKind::Interrupted {
            return false;
        }
        let error = error.to_string();
        if self.known.get(what) != Some(&error) {
            tracing::warn!(
                left = what,
                error,
                "could not remove the folders of a session; each sweep tries again (is a part of them another user's?)"
            );
        }
        self.new.insert(what.to_owned(), error);
        false
    }
}

fn limits(retention: &Retention, now: i64) -> Limits {
    let age = i64::try_from(retention.age.get().as_millis()).unwrap_or(i64::MAX / 2);
    Limits {
        oldest_ms: now.saturating_sub(age),
        count: retention.count,
        size: retention.size.get(),
    }
}

//! Processes that are started ahead, each in a folder of its own, for the next new session of an agent.
//!
//! A warm process has served nobody; it becomes the process of exactly one session and is never given back.
//! It holds a place among the live processes, which it gives up when somebody waits for one.

use super::running::Running;
use super::{SessionDeps, start};
use crate::agent::Agent;
use crate::queue::Place;
use parking_lot::Mutex;
use pilothouse_agents::{Driver, Launch, Life, Setting, Turn};
use pilothouse_sandbox::workspace::Workspaces;
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// Between two tries to start one where that failed, or where there was no place.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// From the taking of one to the start of the next: the turn that took it needs the processor for so long, and then
/// waits for its model.
const PAUSE: Duration = Duration::from_millis(200);

/// A process that waits for its session.
pub(super) struct WarmProcess {
    /// The id of the session that it will be; names its folders.
    pub(super) session: Arc<str>,
    /// The set-up that its HOME began with.
    setup: Option<String>,
    /// The process.
    pub(super) running: Running,
}

/// The warm processes of all agents.
#[derive(Default)]
pub(super) struct Pool {
    ready: Mutex<HashMap<Arc<str>, VecDeque<WarmProcess>>>,
    taken: Notify,
}

impl Pool {
    /// A warm process of this agent, if one is there and lives.
    pub(super) fn take(&self, deps: &SessionDeps, agent: &Agent) -> Option<WarmProcess> {
        if agent.config.warm == 0 {
            return None;
        }
        let (mut found, generation) = (None, agent.latest_env().generation);
        let setup = agent.current_setup().map(|setup| setup.digest.clone());
        while let Some(mut warm) = self.pop(&agent.key) {
            let is_current = warm.running.generation == generation && warm.setup == setup;
            if is_current && warm.running.process.control.try_ended().is_none() {
                found = Some(warm);
                break;
            }
            remove_later(deps, agent, warm);
        }
        self.taken.notify_one();
        found
    }

    /// Gives up one, so that its place is free.
    pub(super) fn give_up(&self, deps: &SessionDeps) {
        let agents = deps.agents.iter();
        let found = agents
            .filter(|agent| agent.config.warm > 0)
            .find_map(|agent| self.pop(&agent.key).map(|warm| (agent, warm)));
        if let Some((agent, warm)) = found {
            remove_later(deps, agent, warm);
        }
    }

    fn pop(&self, agent: &str) -> Option<WarmProcess> {
        self.ready.lock().get_mut(agent)?.pop_front()
    }

    fn count(&self, agent: &str) -> usize {
        self.ready.lock().get(agent).map_or(0, VecDeque::len)
    }

    /// Keeps the pool full until the server stops; `place` gives a free place among the live processes, `starting`
    /// has those of starts.
    pub(super) async fn keep_full(
        &self,
        deps: &Arc<SessionDeps>,
        starting: &Arc<Semaphore>,
        place: impl Fn() -> Option<Place>,
    ) {
        let list = deps.config.state_dir.join("warm.json");
        let agents = deps.agents.iter().filter(|agent| agent.config.warm > 0).cloned();
        // A new session is set up before its agent starts, so a process that was started ahead would never be used.
        let (idle, agents): (Vec<_>, Vec<_>) = agents.partition(|agent| agent.needs_setup());
        for agent in idle {
            tracing::warn!(
                agent = %agent.key,
                "`agents.{}.warm` is without effect: a session script runs before the agent (`sessions.init`, \
                 `agents.{0}.init`), or a repository is cloned (`workspace.mode`)",
                agent.key
            );
        }
        remove_left_overs(deps, &list).await;
        if agents.is_empty() {
            return;
        }
        loop {
            let mut pause = None;
            for agent in &agents {
                while self.count(&agent.key) < agent.config.warm && pause.is_none() {
                    match start(deps, starting, agent, &place).await {
                        Some(warm) => {
                            let mut ready = self.ready.lock();
                            ready.entry(agent.key.clone()).or_default().push_back(warm);
                        }
                        None => pause = Some(AGAIN),
                    }
                }
            }
            self.write(&list).await;
            tokio::select! {
                biased;
                () = deps.stop.cancelled() => break,
                // The turn that took one comes first.
                () = self.taken.notified() => tokio::time::sleep(PAUSE).await,
                () = tokio::time::sleep(pause.unwrap_or(Duration::from_secs(60))) => {}
            }
        }
        let left: Vec<_> = self.ready.lock().drain().collect();
        for (agent, warm) in left {
            for warm in warm {
                // A stop does not keep these from their end.
                remove(deps.agents.folders_of(&agent), &warm.session, &CancellationToken::new())
                    .await;
            }
        }
        self.write(&list).await;
    }

    /// Leaves word of the folders, in case that the server is killed.
    async fn write(&self, list: &Path) {
        let ids = {
            let ready = self.ready.lock();
            let ids: Vec<_> = ready
                .iter()
                .flat_map(|(agent, warm)| warm.iter().map(move |warm| (&**agent, &*warm.session)))
                .collect();
            serde_json::json!(ids).to_string()
        };
        let _ = tokio::fs::write(list, ids).await;
    }
}

/// Ends a warm process and removes its folders, while the caller goes on: it may hold the map of sessions.
fn remove_later(deps: &SessionDeps, agent: &Agent, warm: WarmProcess) {
    let (workspaces, stop) = (agent.workspaces.clone(), deps.stop.clone());
    let WarmProcess { session, running, .. } = warm;
    drop(running);
    deps.actors.spawn(async move { remove(&workspaces, &session, &stop).await });
}

pub(super) async fn remove(workspaces: &Workspaces, session: &str, stop: &CancellationToken) {
    if let Err(error) = workspaces.remove(session, stop).await {
        tracing::warn!(session.id = session, %error, "could not remove the folders of a warm process; the next start tries again");
    }
}

/// The folders of warm processes of a server that was killed; those that became sessions stay.
async fn remove_left_overs(deps: &SessionDeps, list: &PathBuf) {
    let Ok(text) = std::fs::read_to_string(list) else {
        return;
    };
    let ids: Vec<(String, String)> = serde_json::from_str(&text).unwrap_or_default();
    let Ok(sessions) = deps.store.sessions_by_use().await else {
        return;
    };
    for (agent, id) in ids {
        let is_id = uuid::Uuid::parse_str(&id).is_ok();
        if is_id && !sessions.iter().any(|session| *session.id == *id) {
            remove(deps.agents.folders_of(&agent), &id, &deps.stop).await;
        }
    }
    let _ = std::fs::remove_file(list);
}

/// Starts a process in folders of its own. Where that fails, nothing of it is left.
async fn start(
    deps: &Arc<SessionDeps>,
    starting: &Arc<Semaphore>,
    agent: &Arc<Agent>,
    place: &impl Fn() -> Option<Place>,
) -> Option<WarmProcess> {
    // What it would begin with is still being built.
    let slot = Some(place()).filter(|_| agent.setup.is_ready())??;
    let permit = tokio::select! {
        biased;
        () = deps.stop.cancelled() => return None,
        permit = starting.clone().acquire_owned() => permit.ok()?,
    };
    let session: Arc<str> = Arc::from(uuid::Uuid::now_v7().to_string());
    let launch = |driver: &mut dyn Driver, setting: &Setting| {
        driver.launch(setting, &Turn::default()).map_err(|refusal| refusal.to_string())
    };
    let setup = agent.current_setup().map(|setup| setup.digest.clone());
    let started = start_in(deps, agent, &session, slot, launch).await;
    drop(permit);
    match started {
        Ok(running) => Some(WarmProcess { session, setup, running }),
        Err(error) => {
            tracing::warn!(agent = %agent.key, %error, "a warm process could not be started");
            // A stop does not keep these from their end.
            remove(&agent.workspaces, &session, &CancellationToken::new()).await;
            None
        }
    }
}

/// Starts a process in folders of its own, as `launch` describes it, and tells it the driver's first words.
pub(super) async fn start_in(
    deps: &Arc<SessionDeps>,
    agent: &Arc<Agent>,
    session: &str,
    slot: Place,
    launch: impl FnOnce(&mut dyn Driver, &Setting) -> Result<Launch, String>,
) -> Result<Running, String> {
    let setup = agent.current_setup();
    let workspaces = agent.workspaces_of(setup.as_deref());
    let folder = workspaces.folder(session).await.map_err(|error| error.to_string())?;
    let adapted = start::adapt_home(deps, setup.as_deref(), &folder).await;
    adapted.map_err(|error| error.to_string())?;
    let mut driver = agent.driver();
    let places = deps.isolation.places(&folder);
    let setting = Setting {
        workspace: places.workspace,
        home: places.home,
        new_conversation: uuid::Uuid::new_v4().to_string(),
        ..Setting::default()
    };
    let launch = launch(&mut *driver, &setting)?;
    if launch.life != Life::Session {
        return Err("its driver starts a process for each turn".to_owned());
    }
    let (mut supervisor, patience) = (None, deps.config.timeouts.start);
    let given = agent.latest_env();
    let policy = &given.reach.policy;
    let started =
        start::start_agent(deps, agent, &folder, policy, &mut supervisor, |places, door| {
            agent.spec(&given, &launch, places, door)
        });
    let started = tokio::select! {
        biased;
        () = deps.stop.cancelled() => Err("the server stops".to_owned()),
        started = tokio::time::timeout(patience.get(), started) => match started {
            Ok(started) => started.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not begin within {patience} (`timeouts.start`)")),
        },
    };
    if let Some(supervisor) = supervisor {
        supervisor.give_up().await;
    }
    let started = started?;
    let ahead = driver.ahead();
    let mut running = Running::new(started, driver, &launch, slot, &deps.config);
    running.generation = given.generation;
    running.write(ahead);
    Ok(running)
}

//! Asking an agent's CLI what it offers: a process of its own in folders of its own, without a model, after the start.

use super::SessionDeps;
use super::pipe::read;
use super::places::{Offer, ProcessPlaces};
use super::pool::{AGAIN, remove, start_in};
use super::running::Running;
use crate::agent::{Agent, KnownInventory};
use crate::queue::Place;
use crate::store::{Durability, Write};
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::Inventory;
use pilothouse_sandbox::disk::off_worker;
use pilothouse_sandbox::process::Ended;
use pilothouse_sandbox::supervisor::Word;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Bytes that a CLI may say before its answer.
const MOST_SAID: usize = 4 * 1024 * 1024;

/// Why a question has no answer.
enum Unanswered {
    /// A turn needed the place; the question is asked again.
    GaveWay,
    Failed(String),
}

impl From<String> for Unanswered {
    fn from(cause: String) -> Self {
        Self::Failed(cause)
    }
}

/// Asks the CLI of each agent that can say it, one after the other; what was said for the same version and set-up
/// counts. `starting` has the places of processes that start.
pub(super) async fn ask_all(
    deps: &Arc<SessionDeps>,
    starting: &Arc<Semaphore>,
    places: &ProcessPlaces,
) {
    // One whose set-up is not built yet is asked then.
    let can_say = |agent: &&Arc<Agent>| agent.asks_its_cli() && agent.setup.is_ready();
    for agent in deps.agents.iter().filter(can_say) {
        if deps.stop.run_until_cancelled(ask(deps, starting, agent, places)).await.is_none() {
            return;
        }
    }
}

/// Asks one CLI and tells the store and the operator what is new.
pub(super) async fn ask(
    deps: &Arc<SessionDeps>,
    starting: &Arc<Semaphore>,
    agent: &Arc<Agent>,
    places: &ProcessPlaces,
) {
    let asked = agent.clone();
    let fingerprint = off_worker(move || asked.fingerprint()).await.ok().flatten();
    if fingerprint.as_deref().is_some_and(|fingerprint| agent.offers.confirm(fingerprint)) {
        return;
    }
    let nobody = Arc::from("");
    loop {
        if let Some(slot) = places.try_take(&nobody)
            && !ask_once(deps, starting, agent, (places, slot), fingerprint.clone()).await
        {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Asks with one process; whether it gave way and the question is still open.
async fn ask_once(
    deps: &Arc<SessionDeps>,
    starting: &Arc<Semaphore>,
    agent: &Arc<Agent>,
    (places, slot): (&ProcessPlaces, Place),
    fingerprint: Option<String>,
) -> bool {
    let (deps, starting, agent) = (deps.clone(), starting.clone(), agent.clone());
    let offer = places.offer(false);
    let actors = deps.actors.clone();
    // Begun is finished: a stop ends the process and removes its folders.
    let asking = actors.spawn(async move {
        match inquire(&deps, &starting, &agent, slot, &offer).await {
            Ok(inventory) => keep(&deps, &agent, fingerprint, inventory).await,
            Err(Unanswered::GaveWay) => return true,
            Err(Unanswered::Failed(cause)) if deps.stop.is_cancelled() => agent.offers.fail(cause),
            Err(Unanswered::Failed(cause)) => {
                tracing::warn!(agent = %agent.key, "`{}` did not say which skills it has: {cause}; its card has the last known list", agent.key);
                agent.offers.fail(cause);
            }
        }
        false
    });
    asking.await.unwrap_or(false)
}

/// Keeps the answer and says what is new in it.
async fn keep(
    deps: &SessionDeps,
    agent: &Agent,
    fingerprint: Option<String>,
    inventory: Inventory,
) {
    let known = KnownInventory { fingerprint, asked: Timestamp::now(), inventory };
    let text = serde_json::to_string(&known).unwrap_or_default();
    let write = Write::Inventory { agent: agent.key.clone(), text };
    if let Err(error) = deps.store.commit(vec![write], Durability::Written).await {
        tracing::warn!(agent = %agent.key, %error, "what the CLI offers could not be stored; the next start asks again");
    }
    if agent.offers.replace(known) {
        if let Some(note) = agent.version_note() {
            tracing::info!(agent = %agent.key, "{note}");
        }
        for note in agent.offer_notes() {
            tracing::warn!(agent = %agent.key, "{note}");
        }
    }
}

/// Starts a process for the question, and ends it with its folders whatever it says.
async fn inquire(
    deps: &Arc<SessionDeps>,
    starting: &Arc<Semaphore>,
    agent: &Arc<Agent>,
    slot: Place,
    offer: &Offer,
) -> Result<Inventory, Unanswered> {
    let permit = tokio::select! {
        biased;
        () = deps.stop.cancelled() => return Err("the server stops".to_owned().into()),
        () = offer.await_wanted() => return Err(Unanswered::GaveWay),
        permit = starting.clone().acquire_owned() => permit.map_err(|error| error.to_string())?,
    };
    let session = uuid::Uuid::now_v7().to_string();
    let launch = |driver: &mut dyn pilothouse_agents::Driver, setting: &_| {
        driver.launch_inquiry(setting).ok_or_else(|| "its driver cannot ask".to_owned())
    };
    let started = start_in(deps, agent, &session, slot, launch).await;
    let answer = match started {
        Ok(mut running) => {
            let answer = listen(deps, &mut running, offer).await;
            running.end(Word::Terminate, deps.config.timeouts.terminate.get()).await;
            answer
        }
        Err(cause) => Err(cause.into()),
    };
    drop(permit);
    // A stop does not keep these from their end.
    remove(&agent.workspaces, &session, &CancellationToken::new()).await;
    answer
}

/// Waits for the answer, not longer than a process may take to begin.
async fn listen(
    deps: &SessionDeps,
    running: &mut Running,
    offer: &Offer,
) -> Result<Inventory, Unanswered> {
    let patience = deps.config.timeouts.start;
    let until = Instant::now() + patience.get();
    let mut cutter = running.cutter.take().ok_or_else(|| "its output has no lines".to_owned())?;
    let mut said = 0;
    loop {
        let heard = tokio::select! {
            biased;
            () = deps.stop.cancelled() => return Err("the server stops".to_owned().into()),
            () = offer.await_wanted() => return Err(Unanswered::GaveWay),
            () = sleep_until(until) => return Err(format!("it did not answer within {patience} (`timeouts.start`)").into()),
            heard = read(&running.process.stderr), if running.stderr_open => {
                running.keep_stderr(heard, deps.config.limits.stderr.as_usize());
                continue;
            }
            () = running.outbox.writable(running.process.stdin.as_ref()) => {
                running.flush();
                continue;
            }
            heard = read(&running.process.stdout) => heard,
        };
        let Some(chunk) = heard else {
            let words = running.exit(Ended::Unclear).stderr;
            let last = words.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
            return Err(format!("it ended without an answer{last}").into());
        };
        said += chunk.len();
        if said > MOST_SAID {
            return Err("it said much and did not answer".to_owned().into());
        }
        let mut lines = cutter.push(&chunk);
        let answer = lines.find_map(|line| running.driver.read_inventory(&line.ok()?));
        if let Some(answer) = answer {
            return answer.map_err(Unanswered::Failed);
        }
    }
}

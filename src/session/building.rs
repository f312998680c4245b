//! Builds the set-ups of agents that have a phase of their own, after the start and where it is wanted again.
//!
//! # How it works
//!
//! Two steps, each in a sandbox and folders of its own, as the agent's user and with the network of `egress.setup`: the
//! sources are fetched; then the script runs in a HOME with all that is declared. The server itself fetches nothing and
//! runs nothing of it. What it takes over it reads when the processes have ended. One agent builds one at a time.

use super::Sessions;
use super::inquiry;
use super::pool::remove;
use super::start::{DoorWords, start_script};
use crate::agent::{Agent, AgentEnvironment, FETCH, SetupPlan, SetupRevision};
use pilothouse_sandbox::disk::off_worker;
use pilothouse_sandbox::isolation::Places;
use pilothouse_sandbox::supervisor::Spec;
use pilothouse_sandbox::workspace::{Folder, InitFailed, Workspaces, hear_setup};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Refused hosts that an error names.
const MOST_REFUSED: usize = 8;

/// The bound of each step.
const BOUND: &str = "timeouts.setup";

impl Sessions {
    /// Builds the set-up of each agent where that is wanted, until the server stops.
    pub fn build_setups(&self) {
        for agent in self.deps.agents.iter().filter(|agent| agent.setup.built().is_some()) {
            let (sessions, agent) = (self.clone(), agent.clone());
            self.deps.actors.spawn(async move { sessions.keep_built(&agent).await });
        }
    }

    async fn keep_built(&self, agent: &Arc<Agent>) {
        let Some(built) = agent.setup.built() else { return };
        let deps = &self.deps;
        while deps.stop.run_until_cancelled(built.requested()).await.is_some() {
            let begun = Instant::now();
            let revision = self.build(agent).await.map_err(|why| built.plan.mask(&why));
            let key = &agent.key;
            match &revision {
                Err(_) if deps.stop.is_cancelled() => return,
                Err(why) => tracing::warn!(
                    agent = %key,
                    "the set-up of `{key}` could not be built: {why}; the next new session tries again"
                ),
                Ok(revision) => tracing::info!(
                    agent = %key,
                    duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                    "the set-up of `{key}` is built: revision {}",
                    revision.digest
                ),
            }
            let is_built = revision.is_ok();
            deps.telemetry.setup_built(key, is_built);
            built.settle(revision);
            if is_built && agent.asks_its_cli() {
                // What it offers depends on it.
                let asking = inquiry::ask(deps, &self.live.starting, agent, &self.live.places);
                deps.stop.run_until_cancelled(asking).await;
            }
        }
    }

    /// The revision of today, built where it is not there.
    async fn build(&self, agent: &Arc<Agent>) -> Result<SetupRevision, String> {
        let Some(built) = agent.setup.built() else { return Err("it is not built".to_owned()) };
        let locking = self.deps.stop.run_until_cancelled(built.plan.lock());
        let lock = locking.await.ok_or_else(stopping)?.map_err(|error| error.to_string())?;
        if let Some(there) = with_plan(agent, SetupPlan::find_built).await? {
            return Ok((*there).clone());
        }
        // Named as sessions are: what a killed server leaves of them is removed by the next one.
        let steps = [(); 2].map(|()| Arc::from(uuid::Uuid::now_v7().to_string()));
        let made = self.build_in(agent, &built.plan, &steps).await;
        for step in &steps {
            // A stop does not keep these from their end.
            remove(&agent.workspaces, step, &CancellationToken::new()).await;
            self.live.disk.forget(step);
        }
        drop(lock);
        made
    }

    /// Builds it in these folders.
    async fn build_in(
        &self,
        agent: &Arc<Agent>,
        plan: &SetupPlan,
        [first, second]: &[Arc<str>; 2],
    ) -> Result<SetupRevision, String> {
        let sources = plan.fetch_arguments();
        let mut fetched = None;
        if !sources.is_empty() {
            let spec = |_: &AgentEnvironment, places: &Places, door: DoorWords| {
                let args: Vec<&str> = sources.iter().map(String::as_str).collect();
                agent.clone_spec((FETCH, &args), places, door)
            };
            let step = ("the fetch of its sources", first);
            let workspaces = &agent.workspaces;
            let folder = workspaces.folder(first).await.map_err(|error| error.to_string())?;
            fetched = Some(self.run_step(agent, (&folder, workspaces), step, spec).await?);
        }
        let mut unfinished = with_plan(agent, move |plan| plan.compile(fetched.as_deref())).await?;
        let mut home = None;
        if plan.has_script() {
            let (script, extra) = (unfinished.script(), plan.script_env(&unfinished));
            let spec = |given: &AgentEnvironment, places: &Places, door: DoorWords| {
                let mut spec = agent.script_spec(given, &script, places, door, second, "");
                spec.env.retain(|(name, _)| !extra.iter().any(|(own, _)| own == name));
                spec.env.extend(extra.iter().cloned());
                spec
            };
            let workspaces = unfinished.seed(&agent.workspaces);
            let folder = workspaces.folder(second).await.map_err(|error| error.to_string())?;
            let step = ("its script", second);
            let places = self.deps.isolation.places(&folder);
            let left = self.run_step(agent, (&folder, &workspaces), step, spec).await?;
            home = Some((left, [places.home, places.workspace]));
        }
        with_plan(agent, move |plan| {
            if let Some((home, built_in)) = home {
                plan.take_home(&mut unfinished, &home, built_in)?;
            }
            plan.finish(unfinished)
        })
        .await
    }

    /// Runs a step to its end; the HOME that it leaves. None of its processes is there any more.
    async fn run_step(
        &self,
        agent: &Arc<Agent>,
        (folder, workspaces): (&Folder, &Workspaces),
        (name, session): (&str, &Arc<str>),
        spec: impl FnOnce(&AgentEnvironment, &Places, DoorWords) -> Spec,
    ) -> Result<PathBuf, String> {
        let deps = &self.deps;
        let given = agent.latest_env();
        let policy = &given.reach.setup;
        let starting =
            start_script(deps, agent, folder, policy, |places, door| spec(&given, places, door));
        let started = deps.stop.run_until_cancelled(starting).await.ok_or_else(stopping)?;
        let (mut process, confinement) = started?;
        let nobody = Arc::from("");
        let disk = self.live.disk.watch(workspaces, session, &nobody, true).fault(process.tree);
        let mut refused = Vec::new();
        let ended = {
            let hearing = hear_setup(&mut process, (deps.config.timeouts.setup.get(), BOUND));
            tokio::pin!(hearing, disk);
            loop {
                tokio::select! {
                    biased;
                    () = deps.stop.cancelled() => break Err(stopping()),
                    refusal = confinement.next_refusal() => refused.push(refusal.advice),
                    fault = &mut disk => break Err(format!("{name} was ended: {fault}")),
                    ended = &mut hearing => break ended.map_err(|failed| explain(name, &failed)),
                }
                refused.truncate(MOST_REFUSED);
            }
        };
        // What it has left running would write on.
        process.control.kill().await;
        ended.map_err(|why| match &refused[..] {
            [] => why,
            refused => format!("{why}; it was refused: {}", refused.join("; ")),
        })?;
        Ok(workspaces.above()[0].join(&**session))
    }
}

fn stopping() -> String {
    "the server stops".to_owned()
}

/// Why a step has failed.
fn explain(name: &str, failed: &InitFailed) -> String {
    let InitFailed { reason, is_not_found, output } = failed;
    let hint = match is_not_found {
        true => " (what it needs has to be on the PATH of the server, or in the image)",
        false => "",
    };
    match output.is_empty() {
        true => format!("{name} {reason}{hint}"),
        false => format!("{name} {reason}{hint}: {output}"),
    }
}

/// Does work with the plan of an agent on a thread that may wait.
async fn with_plan<T: Send + 'static>(
    agent: &Arc<Agent>,
    work: impl FnOnce(&SetupPlan) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let agent = agent.clone();
    let done = off_worker(move || match agent.setup.built() {
        Some(built) => work(&built.plan),
        None => Err("it is not built".to_owned()),
    });
    done.await.map_err(|error| error.to_string())?
}

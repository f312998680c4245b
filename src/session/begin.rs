//! From a turn to an agent that can be spoken to: all the gates between them.
//!
//! # How it works
//!
//! The gates are the same for each turn: a place among the turns of its caller, a turn in a shared folder, a place
//! among the live processes, the folder made and its script run, the process started or found warm. Each wait hears
//! a cancel of the turn and the server's stop, and one deadline covers all of them. A write that was begun is finished
//! first; meanwhile the inbox is served, and the next wait hears what came.

mod checkout;
mod included;
mod post_create;
mod setup;

use super::activity::{SessionState, WaitsFor};
use super::ending::{Cause, fault, fault_with};
use super::records::status;
use super::resources::{CurrentTurn, SessionResources};
use super::results::note_beginning;
use super::running::Running;
use super::start::{self, Confinement, DoorWords};
use super::turn_clock::TurnClock;
use super::{File, TurnPlaces};
use crate::config::AtAccountLimit;
use crate::queue::{FairQueue, Place};
use crate::repository::Base;
use crate::store::Durability;
use pilothouse_a2a::task::TaskState;
use pilothouse_agents::Setting;
use pilothouse_egress::Policy;
use pilothouse_sandbox::isolation::{Obstacle, Places};
use pilothouse_sandbox::process::{self, Process};
use pilothouse_sandbox::supervisor::{Spec, Word};
use pilothouse_sandbox::workspace::Folder;
use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The way of one turn to its agent.
pub(super) struct Begin<'a> {
    session: &'a mut SessionResources,
    turn: &'a mut CurrentTurn,
    /// Where the session's clone begins, once that is known.
    base: Option<Base>,
}

/// Why a turn did not reach its agent.
pub(super) enum NotStarted {
    /// Its task is over already.
    Over,
    /// Its task ends with this.
    Ended(Cause),
}

impl From<Cause> for NotStarted {
    fn from(cause: Cause) -> Self {
        Self::Ended(cause)
    }
}

fn no_files(error: &impl Display) -> Cause {
    fault(&format!("the files of the message could not be put into the workspace: {error}"))
}

impl<'a> Begin<'a> {
    pub(super) fn new(session: &'a mut SessionResources, turn: &'a mut CurrentTurn) -> Self {
        Self { session, turn, base: None }
    }

    /// All the gates between a turn and its agent.
    pub(super) async fn reach_agent(
        mut self,
        places: TurnPlaces,
        files: Vec<File>,
    ) -> Result<(), NotStarted> {
        self.session.deps.agents.look_at_credentials();
        if self
            .session
            .running
            .as_ref()
            .is_some_and(|running| running.is_outdated(&self.session.agent))
        {
            self.session.end_process(Word::Terminate).await;
        }
        let places = self.wait_for_account(places).await?;
        let TurnPlaces { mut waiting, turn, process: mut slot } = places;
        let live = self.session.live.clone();
        let mut has_waited = waiting.is_some();
        if has_waited && self.session.running.is_some() && live.places.is_wanted() {
            // Others come first; a session with many turns would keep its place for all of them.
            self.session.end_process(Word::Terminate).await;
        }
        let turn_place = match turn {
            Some(place) => place,
            None => self.wait_for_turn(&live.turns, WaitsFor::TurnsOfCaller).await?,
        };
        self.turn.places.push(turn_place);
        if let Some(shared) = self.session.agent.shared_turns.clone() {
            let place = self.wait_for_turn(&shared, WaitsFor::SharedFolder).await?;
            self.turn.places.push(place);
        }
        let is_other = |running: &Running| running.choice != self.turn.choice();
        if self.turn.fork.is_some() && self.session.running.is_some()
            || self.session.running.as_ref().is_some_and(is_other)
        {
            // A process that was started ahead knows nothing of what is forked or chosen.
            slot = Box::pin(self.session.give_up_process()).await;
        }
        if self.lacks_setup() {
            // Others have the place meanwhile.
            drop(slot.take());
            let entered = waiting.take().map_or_else(
                || live.waiting.enter(&self.turn.log.scope.caller).map_err(|full| fault(&full)),
                Ok,
            );
            let _waiting = entered?;
            if std::mem::take(&mut has_waited) {
                Box::pin(self.begin_work()).await?;
            }
            Box::pin(self.await_setup()).await?;
        }
        let mut fetching = None;
        if let Some(source) = self.source_of_clone() {
            // Others have the place meanwhile.
            drop(slot.take());
            fetching = Some(self.wait_to_fetch(&source, waiting.take()).await?);
            if std::mem::take(&mut has_waited) {
                Box::pin(self.begin_work()).await?;
            }
            self.base = Some(Box::pin(self.find_base(&source)).await?);
        }
        if self.session.running.is_none() && slot.is_none() {
            slot = Some(self.wait_for_process().await?);
        }
        drop((waiting, fetching));
        if has_waited {
            Box::pin(self.begin_work()).await?;
        }
        Box::pin(self.measure()).await?;
        match slot {
            Some(slot) if self.session.running.is_none() => {
                Box::pin(self.start(slot, files)).await?;
            }
            _ if files.is_empty() => {}
            _ => Box::pin(self.put_more_files(files)).await?,
        }
        // Before a process that is there already is told its prompt; `start` has looked before it made one.
        Ok(Box::pin(note_beginning(self.session, self.turn, false)).await?)
    }

    /// Waits for a place among the live processes, which is no part of the turn's time.
    async fn wait_for_process(&mut self) -> Result<Place, Cause> {
        let live = self.session.live.clone();
        live.make_room(&self.session.deps);
        let caller = self.turn.log.scope.caller.clone();
        let (clock, since) = (self.turn.clock.take(), Instant::now());
        let place = self.wait_for(WaitsFor::Process, live.places.take(&caller)).await;
        self.turn.clock = clock.map(|clock| clock.without(since.elapsed()));
        place
    }

    /// Waits for a place among turns. Meanwhile a warm process gives up its own place where that is
    /// wanted: two sessions that each hold what the other one needs would wait for ever.
    async fn wait_for_turn(&mut self, turns: &FairQueue, reason: WaitsFor) -> Result<Place, Cause> {
        let mut place = pin!(turns.request(&self.turn.log.scope.caller).place());
        if self.session.running.is_some() {
            let works = self.session.running.as_ref().is_some_and(Running::works_in_background);
            let offer = self.session.live.places.offer(works);
            let first = async {
                tokio::select! {
                    biased;
                    place = &mut place => Some(place),
                    () = offer.await_wanted() => None,
                }
            };
            if let Some(place) = self.wait_for(reason, first).await? {
                return Ok(place);
            }
            self.session.end_process(Word::Terminate).await;
        }
        self.wait_for(reason, place).await
    }

    /// Waits for something, unless the turn is interrupted or takes too long before.
    async fn wait<T>(&mut self, wait: impl Future<Output = T>) -> Result<T, Cause> {
        let deadline = self.deadline();
        self.session.inbox.wait_in_turn(deadline, wait).await
    }

    /// When the turn takes too long.
    fn deadline(&self) -> Option<Instant> {
        self.turn.clock.as_ref().map(TurnClock::deadline)
    }

    /// The same, and everybody may see for what.
    async fn wait_for<T>(
        &mut self,
        reason: WaitsFor,
        wait: impl Future<Output = T>,
    ) -> Result<T, Cause> {
        self.session.activity.enter(SessionState::Waiting(reason));
        let waited = self.wait(wait).await;
        self.session.activity.enter(SessionState::Starting);
        waited
    }

    /// Waits while the account at the model API is at its limit, where the operator wants that. A turn that may wait
    /// for hours holds neither a process nor a place among the running ones, and its clock has not begun.
    async fn wait_for_account(&mut self, places: TurnPlaces) -> Result<TurnPlaces, NotStarted> {
        let (deps, account) = (self.session.deps.clone(), self.session.agent.account());
        let limit = deps.limited.of(account);
        let waits = deps.config.limits.at_account_limit == AtAccountLimit::Wait;
        let Some(limit) = limit.filter(|_| waits) else {
            return Ok(places);
        };
        let waiting = match places.waiting {
            Some(waiting) => waiting,
            None => {
                let entered = self.session.live.waiting.enter(&self.turn.log.scope.caller);
                entered.map_err(|full| fault(&full))?
            }
        };
        drop((places.turn, places.process));
        let is_working = self.turn.clock.take().is_some();
        if self.session.running.is_some() {
            self.session.end_process(Word::Terminate).await;
        }
        if is_working {
            let data =
                serde_json::json!({"kind": "limit", "limit": limit.limit, "until": limit.until});
            self.turn.translator.status(&format!("{}; the turn waits", limit.words()), Some(data));
            self.show().await;
        }
        while let Some(left) = deps.limited.of(account).and_then(|limit| limit.seconds_left()) {
            // The wall clock may be set meanwhile.
            let wait = Duration::from_secs(left.min(60));
            self.wait_for(WaitsFor::ModelApi, tokio::time::sleep(wait)).await?;
        }
        if is_working {
            self.turn.start_clock(&deps);
        }
        let waiting = (!is_working).then_some(waiting);
        Ok(TurnPlaces { waiting, turn: None, process: None })
    }

    async fn begin_work(&mut self) -> Result<(), NotStarted> {
        let (log, store) = (&self.turn.log, &self.session.deps.store);
        let record = status(log, TaskState::Working, None, None);
        let stored = log.record(store, vec![record], Durability::Synced);
        let stored = self.session.inbox.serve_during(stored).await;
        if !stored.map_err(|error| fault(&error))? {
            return Err(NotStarted::Over);
        }
        self.turn.start_clock(&self.session.deps);
        Ok(())
    }

    /// Begins to count what the turn uses; while it waited, others may have reached its ceiling.
    async fn measure(&mut self) -> Result<(), Cause> {
        let (log, budgets) = (self.turn.log.clone(), self.session.deps.budgets.clone());
        let session = self.session.row.id.clone();
        let wished = self.turn.wishes.as_ref().map(|wishes| wishes.budget).unwrap_or_default();
        let meter = self.wait(budgets.meter(&log.scope, &session, log.n, wished)).await?;
        let meter = meter.map_err(|error| fault(&error))?;
        if let Some(exceeded) = meter.check() {
            return Err(Cause::Exceeded(exceeded));
        }
        self.turn.meter = Some(meter);
        Ok(())
    }

    /// Makes the folder ready and starts the process.
    pub(super) async fn start(&mut self, slot: Place, files: Vec<File>) -> Result<(), Cause> {
        let deps = self.session.deps.clone();
        let folder = self.make_folder().await?;
        // A folder is set up first; the copy of another session then replaces what the script has made in it.
        let is_fork = self.turn.fork.is_some();
        let is_empty = folder.is_new_and_empty() && !is_fork && !self.session.agent.needs_setup();
        self.set_up(&folder).await?;
        let choice = self.turn.choice();
        let mut driver = self.session.agent.driver_of(self.session.row.setup.as_deref(), &choice);
        let fork = self.turn.fork.as_ref().and_then(|fork| fork.conversation.as_deref());
        let pattern = fork.and_then(|conversation| driver.transcript(conversation));
        let forked = self.copy_fork(pattern, &folder).await?;
        if is_fork {
            // On a branch of its own.
            Box::pin(self.check_out(&folder)).await?;
            self.session.row.ready = true;
        }
        self.put_files(&folder, files).await?;
        // One that gets its prompt as an argument is at work as soon as it is there.
        Box::pin(note_beginning(self.session, self.turn, is_empty)).await?;
        let places = deps.isolation.places(&folder);
        let mut setting = Setting {
            workspace: places.workspace,
            home: places.home,
            resume: forked.clone().or_else(|| self.session.row.conversation.clone()),
            fork: forked.is_some(),
            new_conversation: uuid::Uuid::new_v4().to_string(),
        };
        if let Some(conversation) = &setting.resume
            && let Some(pattern) = driver.transcript(conversation)
            && !self.wait(folder.has(&pattern)).await?
        {
            self.lose_conversation();
            setting.resume = None;
        }
        let starting = self
            .wait_for(WaitsFor::Start, self.session.live.starting.clone().acquire_owned())
            .await?;
        let starting = starting.expect("the starts are never closed");
        let launch = driver.launch(&setting, &self.turn.prompt).map_err(|error| fault(&error))?;
        let agent = self.session.agent.clone();
        let given = agent.latest_env();
        let spec = |places: &Places, door: DoorWords| agent.spec(&given, &launch, places, door);
        let started = match self.start_process(&folder, &given.reach.policy, spec).await? {
            Ok(started) => started,
            Err(error @ process::Error::NotStarted { .. }) => {
                return Err(self.explain_not_started(&error));
            }
            Err(error) => return Err(fault(&error)),
        };
        let mut running = Running::new(started, driver, &launch, slot, &deps.config);
        running.is_new = true;
        running.generation = given.generation;
        running.choice = choice;
        running.starting = Some(starting);
        self.session.running = Some(running.of_session(&self.session.activity));
        Ok(())
    }

    /// Why the agent's program could not be run.
    fn explain_not_started(&self, error: &process::Error) -> Cause {
        let agent = &self.session.agent;
        if error.is_not_found() {
            let config = &self.session.deps.config;
            let obstacle = agent.find_obstacle(agent.program(), config);
            let is_sandboxed = self.session.deps.isolation.is_sandboxed();
            let obstacle = obstacle.unwrap_or_else(|| Obstacle::loader(is_sandboxed));
            return fault_with(&format!("{error}: {}", obstacle.reason), obstacle.hint);
        }
        if error.is_unknown_format() {
            let reason = "it is no program for this machine, or a script without a first line such as `#!/bin/sh`";
            let hint = "the operator must give the script that line, or install a program that this machine runs";
            return fault_with(&format!("{error}: {reason}"), hint);
        }
        let hint = "the operator must install the agent's program or correct `program` in its configuration";
        fault_with(error, hint)
    }

    /// The session's folder; whether it is ready stands in the row.
    async fn make_folder(&mut self) -> Result<Folder, Cause> {
        let deadline = self.deadline();
        let made = self.session.make_folder(deadline).await?;
        let folder = made.map_err(|error| fault(&error))?;
        if folder.is_new() {
            // Its folders were removed since it was set up, and are made by the set-up of today.
            self.session.row.ready = !self.session.agent.needs_setup();
            Box::pin(self.session.note_setup()).await;
            let agent = self.session.agent.clone();
            let setup = agent.find_setup(self.session.row.setup.as_deref());
            if let Some(setup) = setup.filter(|setup| setup.built_in.is_some()) {
                let deps = self.session.deps.clone();
                let adapted = Box::pin(start::adapt_home(&deps, Some(&setup), &folder)).await;
                adapted.map_err(|error| fault(&error))?;
            }
        }
        Ok(folder)
    }

    /// Makes the folder ready: the clone, what its `devcontainer.json` says, the session script. It is ready once all are done, so that a turn
    /// after a failure does it again.
    async fn set_up(&mut self, folder: &Folder) -> Result<(), Cause> {
        if !self.session.row.ready {
            Box::pin(self.check_out(folder)).await?;
            Box::pin(self.run_post_create(folder)).await?;
            self.run_script(folder).await?;
            self.session.row.ready = true;
        }
        Ok(())
    }

    /// Copies the workspace and the conversation of the session that this one is forked from; the
    /// conversation, where the CLI can go on from it.
    async fn copy_fork(
        &mut self,
        pattern: Option<String>,
        folder: &Folder,
    ) -> Result<Option<String>, Cause> {
        let Some(fork) = self.turn.fork.take() else {
            return Ok(None);
        };
        let workspaces = self.session.agent.workspaces.clone();
        let copied = self.wait(workspaces.fork(&fork.session, folder, pattern.as_deref())).await?;
        let has_transcript =
            copied.map_err(|error| fault(&format!("the session could not be copied: {error}")))?;
        self.session.row.ready = !self.session.agent.needs_setup();
        Ok(fork.conversation.filter(|_| has_transcript))
    }

    /// Puts the files of a message beside an agent that runs already.
    async fn put_more_files(&mut self, files: Vec<File>) -> Result<(), Cause> {
        let deadline = self.deadline();
        let made = self.session.make_folder(deadline).await?;
        let folder = made.map_err(|error| no_files(&error))?;
        self.put_files(&folder, files).await
    }

    /// Puts the files of a message where the agent was told they are.
    async fn put_files(&mut self, folder: &Folder, files: Vec<File>) -> Result<(), Cause> {
        if files.is_empty() {
            return Ok(());
        }
        let files = files.into_iter().map(|file| (file.name, file.bytes)).collect();
        let task = self.turn.log.id.clone();
        let put = self.wait(folder.put(task.as_str(), files)).await?;
        put.map_err(|error| no_files(&error))
    }

    /// Starts the agent's process. Where that fails, is interrupted or takes too long,
    /// nothing of it is left.
    async fn start_process(
        &mut self,
        folder: &Folder,
        policy: &Arc<Policy>,
        spec: impl FnOnce(&Places, DoorWords) -> Spec,
    ) -> Result<Result<(Process, Confinement), process::Error>, Cause> {
        let (deps, agent) = (self.session.deps.clone(), self.session.agent.clone());
        let mut supervisor = self.session.prepared.take();
        let patience = deps.config.timeouts.start;
        let starting = start::start_agent(&deps, &agent, folder, policy, &mut supervisor, spec);
        let started = self.wait(tokio::time::timeout(patience.get(), starting)).await;
        if let Some(supervisor) = supervisor {
            self.session.inbox.serve_during(supervisor.give_up()).await;
        }
        started?.map_err(|_| {
            let message = format!("the process did not begin within {patience} (`timeouts.start`)");
            let hint = "the operator must find what holds up the start of the sandbox, or raise `timeouts.start`";
            fault_with(&message, hint)
        })
    }

    /// Waits, visible in the task, before an overloaded model API is asked again.
    pub(super) async fn wait_again(&mut self, pause: Duration) -> Result<(), Cause> {
        let seconds = pause.as_secs_f32();
        self.turn.translator.status(
            &format!("the model API is overloaded; the message is given again in {seconds:.1} s"),
            Some(serde_json::json!({"kind": "retry", "delaySeconds": pause.as_secs()})),
        );
        self.show().await;
        self.wait_for(WaitsFor::ModelApi, tokio::time::sleep(pause)).await
    }

    /// The agent's conversation is gone, so that a new one begins.
    pub(super) fn lose_conversation(&mut self) {
        let lost = self.session.row.conversation.take();
        self.turn.translator.status(
            "the agent's transcript of this context is gone; a new conversation begins",
            Some(serde_json::json!({"kind": "conversation-lost", "sessionId": lost})),
        );
    }

    /// Stores what has gathered, and shows it.
    async fn show(&mut self) {
        let (deps, log) = (&self.session.deps, &self.turn.log);
        let records = self.turn.translator.take();
        let stored = log.record(&deps.store, records, Durability::Written);
        if let Err(error) = self.session.inbox.serve_during(stored).await {
            deps.telemetry.store_failed(log, &error);
        }
    }
}

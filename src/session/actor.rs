//! The actor of one session: it owns the process, the driver and the workspace, and runs one turn at
//! a time.
//!
//! # How it works
//!
//! Idle, it waits for an order, for the end of its process, or for the idle time to pass. A turn goes
//! through the same gates each time: a place among the live processes, a turn in a shared folder, the
//! folder made and its script run, the process started or found warm. Then one loop listens to
//! everything at once. What the agent says is translated, stored and shown batch by batch; while a
//! batch is being stored the agent's pipe fills, and that is the whole back-pressure.
//!
//! # Pitfalls
//!
//! Claude prints a second `result` after some interrupts; the driver tells it from the next turn's.
//! An agent may end its turn before it exits; a turn's process is ended before the next one starts.

use super::again::Again;
use super::conversation::{
    Conversation, Granted, Running, SCRATCH, drain_until_ended, read, stopped,
};
use super::inbox::{Heard, Inbox, Interruption};
use super::registry::Live;
use super::start;
use super::translate::{Facts, Translator, status};
use super::{Attach, File, Fork, House, Key, Order, Turn};
use crate::agent::Agent;
use crate::asks;
use crate::budget::Meter;
use crate::clock;
use crate::isolation::Places;
use crate::process::{self, Ended, Prepared, tree};
use crate::queue::{FairQueue, Place};
use crate::store::{AskRow, Durability, SessionRow, Write};
use crate::supervisor::{KILL_DEADLINE, Word};
use crate::task::{Record, TaskLog};
use crate::workspace::{self, Folder, InitFailed};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::lines::LineCutter;
use pilothouse_agents::{Life, Outcome, Output, Setting, Step};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How exactly the store knows when a session was last used; retention needs no more.
const NOTED_EVERY_MS: u64 = 60_000;

/// Between two tries to store the end of a task.
const END_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// One session's actor.
pub(super) struct Actor {
    house: Arc<House>,
    live: Arc<Live>,
    agent: Arc<Agent>,
    key: Key,
    session: SessionRow,
    inbox: Inbox,
    running: Option<Running>,
    prepared: Option<Prepared>,
    /// Its folders, where they were made just now.
    folder: Option<Folder>,
    /// What the store knows of the session: whether it is ready, and its conversation.
    noted: (bool, Option<String>),
    /// What the agent may do without asking again.
    granted: Granted,
    /// The session that this one begins as a copy of.
    fork: Option<Fork>,
    /// What the present turn uses.
    meter: Option<Meter>,
    /// Places of the present turn: among its caller's, and in a shared folder; held from its first gate
    /// to the end of its process.
    turn_places: Vec<Place>,
}

/// What came of giving a prompt to the agent once.
struct Try {
    /// None where a question is left that has to be answered first.
    outcome: Option<Outcome>,
    canceler: Option<oneshot::Sender<bool>>,
    /// Whether the agent said anything.
    heard: bool,
    /// Whether an overloaded model API refused it before anything was done.
    refused: bool,
}

/// Why a turn did not reach its agent.
enum NotStarted {
    Canceled(oneshot::Sender<bool>),
    /// It was canceled on its way here.
    Over,
    ServerStops,
    Failed(String, Option<String>),
}

impl NotStarted {
    /// What it means for the task; none where it is over, or still waits while the server stops.
    fn outcome(self, log: &TaskLog) -> Option<(Outcome, Option<oneshot::Sender<bool>>)> {
        match self {
            Self::Canceled(done) => Some((Outcome::Canceled, Some(done))),
            Self::Over => None,
            Self::ServerStops if log.state() == TaskState::Submitted => None,
            Self::ServerStops => Some((stopped(), None)),
            Self::Failed(message, hint) => Some((Outcome::Failed { message, hint }, None)),
        }
    }
}

/// The end of this task could not be stored: it is tried again until it can be, or the next start finds
/// the task and ends it.
async fn end_later(house: Arc<House>, log: Arc<TaskLog>) {
    loop {
        tokio::select! {
            biased;
            () = house.stop.cancelled() => return,
            () = tokio::time::sleep(END_AGAIN) => {}
        }
        let words = "the end of this task could not be stored when it came (was the disk full?); what it did is lost";
        let message = Message::new(Role::Agent, vec![Part::text(words)]);
        let record = status(&log, TaskState::Failed, Some(message), None);
        if log.record(&house.store, vec![record], Durability::Synced).await.is_ok() {
            return;
        }
    }
}

/// Puts the files of a message where the agent was told they are.
fn put_files(
    log: &TaskLog,
    folder: Result<Folder, workspace::Error>,
    files: &[File],
) -> Result<(), NotStarted> {
    if files.is_empty() {
        return Ok(());
    }
    let failed = |error: &dyn std::fmt::Display| {
        let message =
            format!("the files of the message could not be put into the workspace: {error}");
        NotStarted::Failed(message, None)
    };
    let folder = folder.map_err(|error| failed(&error))?;
    for file in files {
        folder.put(log.id.as_str(), &file.name, &file.bytes).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// A record that ends a task as canceled.
pub(super) fn canceled(log: &TaskLog, words: &str) -> Record {
    let message = Message::new(Role::Agent, vec![Part::text(words)]);
    status(log, TaskState::Canceled, Some(message), None)
}

impl Actor {
    pub(super) fn new(
        house: Arc<House>,
        live: Arc<Live>,
        agent: Arc<Agent>,
        key: Key,
        session: SessionRow,
        orders: mpsc::UnboundedReceiver<Order>,
        warm: Option<Running>,
    ) -> Self {
        let inbox = Inbox::new(orders, house.clone());
        let noted = (session.ready, session.conversation.clone());
        Self {
            house,
            live,
            agent,
            key,
            session,
            inbox,
            noted,
            running: warm,
            prepared: None,
            folder: None,
            granted: Granted::default(),
            fork: None,
            turn_places: Vec::new(),
            meter: None,
        }
    }

    /// The actor's life.
    pub(super) async fn run(mut self, soon: bool) {
        if soon {
            // The task is being stored at this moment; its folders and its supervisor are made meanwhile.
            self.folder = self.agent.workspaces.folder(&self.session.id).ok();
            if self.house.isolation.is_here() {
                self.prepared = self.house.launcher.prepare().await.ok();
            }
        }
        loop {
            let heard = if self.running.is_some() && !self.inbox.has_turns() {
                self.idle().await
            } else {
                if self.running.is_none()
                    && !self.inbox.has_turns()
                    && self.live.leave(&self.key, self.inbox.orders())
                {
                    return;
                }
                self.inbox.next().await
            };
            match heard {
                Heard::Turn(turn) => self.turn(*turn).await,
                Heard::Attach(attach) => self.attach(attach).await,
                Heard::Evict => self.end_process(Word::Terminate).await,
                Heard::Nudge => {}
                Heard::Stop => {
                    self.end_process(Word::Terminate).await;
                    return;
                }
            }
        }
    }

    /// Lends the conversation to a person at a terminal; turns wait meanwhile.
    async fn attach(&mut self, attach: Attach) {
        let Attach { ready, left } = attach;
        // Two processes on one conversation would go apart without a word.
        self.end_process(Word::Terminate).await;
        let spec = self
            .agent
            .workspaces
            .folder(&self.session.id)
            .map_err(|error| error.to_string())
            .and_then(|folder| {
                let conversation = self.session.conversation.as_deref();
                let conversation = conversation.ok_or("nothing was said in this session yet")?;
                // A person's terminal is outside of the wall, with the folders where they really lie.
                let setting = Setting {
                    workspace: folder.workspace_text(),
                    home: folder.home_text(),
                    resume: Some(conversation.to_owned()),
                    ..Setting::default()
                };
                let launch = self.agent.driver().terminal(&setting);
                let launch = launch.ok_or("this agent has no terminal of its own")?;
                Ok(self.agent.spec(&launch, &Places::real(&folder), None))
            });
        let lent = spec.is_ok();
        if ready.send(spec).is_ok() && lent {
            // Nothing runs that could be interrupted: this hears the stop, and cancels of what waits.
            let nothing = TaskId::new("");
            tokio::select! {
                biased;
                _ = left => {}
                _ = self.inbox.interruption(&nothing) => {}
            }
        }
    }

    /// Waits with a warm process.
    async fn idle(&mut self) -> Heard {
        if !self.live.idle(&self.key) {
            return self.inbox.next().await;
        }
        let offer = self.live.places.offer();
        let until = Instant::now() + self.house.config.processes.idle.get();
        loop {
            let running = self.running.as_mut().expect("an idle actor has a process");
            tokio::select! {
                biased;
                heard = self.inbox.next() => break heard,
                _ = running.process.control.ended() => {
                    self.live.cold(&self.key);
                    self.running = None;
                    break Heard::Nudge;
                }
                read = read(&running.process.stdout), if running.stdout_open => {
                    // What an agent says between turns is the session's, never the next task's.
                    self.overheard(read);
                }
                // Nobody waits for these words, but a full pipe would stop the process.
                read = read(&running.process.stderr), if running.stderr_open => {
                    running.stderr_open = read.is_ok_and(|size| size > 0);
                }
                refusal = running.held.refused() => {
                    let telemetry = &self.house.telemetry;
                    telemetry.egress_refused(None, &self.key.scope, &refusal).await;
                }
                () = offer.wanted() => {
                    self.live.cold(&self.key);
                    break Heard::Evict;
                }
                () = tokio::time::sleep_until(until) => {
                    self.live.cold(&self.key);
                    break Heard::Evict;
                }
            }
        }
    }

    fn overheard(&mut self, read: std::io::Result<usize>) {
        let Some(running) = &mut self.running else {
            return;
        };
        match read {
            Ok(0) | Err(_) => running.stdout_open = false,
            Ok(size) => {
                let raw = self.house.telemetry.raw();
                if let Some(cutter) = &mut running.cutter {
                    SCRATCH.with_borrow(|bytes| {
                        for line in cutter.push(&bytes[..size]).flatten() {
                            raw.line(&self.session.id, None, &line);
                            for step in running.driver.line(&line) {
                                // A request that nobody waits for is still answered, or the CLI would wait.
                                if let Step::Write(bytes) = step
                                    && let Some(stdin) = &mut running.process.stdin
                                {
                                    let _ = stdin.try_write(&bytes);
                                }
                            }
                        }
                    });
                }
            }
        }
    }

    // === a turn ===

    async fn turn(&mut self, mut turn: Turn) {
        let log = turn.log.clone();
        self.granted.passes.clear();
        if let Some(pass) = turn.pass.take() {
            let tool = pass.ask.get("tool").and_then(serde_json::Value::as_str);
            let granted = tool.filter(|_| pass.session).map(ToOwned::to_owned);
            self.granted.tools.extend(granted);
            self.granted.passes.push(pass);
        }
        self.fork = turn.fork.take();
        log.turn_begins();
        if log.state().is_terminal() {
            return;
        }
        let telemetry = self.house.telemetry.clone();
        telemetry.turn_begins(&log, &self.agent.name);
        let compares = self.agent.is_conversational();
        let mut translator =
            Translator::new(log.clone(), compares, self.house.config.limits.event.as_usize());
        let warm = self.running.is_some();
        let (outcome, canceler) = match self.reach_agent(turn, &mut translator).await {
            Ok(mut prompt) => match self.converse(&log, &mut prompt, warm, &mut translator).await {
                (Some(outcome), canceler) => (outcome, canceler),
                (None, _) => {
                    // A question is left; whoever answers it begins the next turn of this task.
                    telemetry.turn_ends(&log, translator.usage(), translator.elapsed());
                    self.note_usage().await;
                    // Not politely: a CLI that sees its host leave goes on without it for a while.
                    self.end_process(Word::Kill).await;
                    self.turn_places.clear();
                    self.note_use().await;
                    return;
                }
            },
            Err(not_started) => match not_started.outcome(&log) {
                Some(outcome) => outcome,
                // It is over, or has not begun: then it stays in the queue and runs after the next start.
                None => {
                    self.meter = None;
                    self.turn_places.clear();
                    return;
                }
            },
        };
        let keeps = self
            .running
            .as_ref()
            .is_some_and(|running| running.life == Life::Session && running.ended.is_none());
        if !keeps && outcome == Outcome::Canceled {
            // Canceled means that nothing of it is left.
            self.end_process(Word::Terminate).await;
        }
        let facts = Facts {
            conversation: self.session.conversation.clone(),
            isolation: self.agent.isolation(&self.house.isolation),
            at_proxy: self.running.as_mut().and_then(|running| running.held.spent()),
        };
        let stored = match &outcome {
            Outcome::Replied { text } if log.is_withheld() && self.fits_an_event(text) => {
                log.reply(&self.house.store, text).await.map(|()| true)
            }
            _ => {
                let ask = self.ending_ask(&log, &outcome);
                let records = translator.finish(outcome, &facts, ask.as_ref());
                let also = ask.iter().cloned().map(Box::new).map(Write::Ask);
                let also = also.chain(self.meter.iter().flat_map(Meter::writes));
                if let Some(ask) = &ask {
                    self.house.asks.add(ask.clone());
                }
                let also = also.collect();
                let stored = log.record_end(&self.house.store, also, records).await;
                if let Ok(true) = stored {
                    self.meter = None;
                }
                stored
            }
        };
        self.note_usage().await;
        log.reveal();
        if let Err(error) = &stored {
            telemetry.store_failed(&log, error);
            self.house.actors.spawn(end_later(self.house.clone(), log.clone()));
        }
        telemetry.turn_ends(&log, translator.usage(), translator.elapsed());
        if let Some(done) = canceler {
            let _ = done.send(stored.is_ok());
        }
        drop(log);
        if !keeps {
            self.leave_process().await;
        }
        self.turn_places.clear();
        self.note_use().await;
    }

    /// Stores what the turn used, where its end did not.
    async fn note_usage(&mut self) {
        let Some(meter) = self.meter.take() else {
            return;
        };
        let writes = meter.writes();
        if writes.is_empty() {
            return;
        }
        let noted = self.house.store.commit(writes, Durability::Written).await;
        if let Err(error) = noted {
            tracing::warn!(session.id = %self.session.id, %error, "could not note what a turn used");
        }
    }

    /// Whether a reply is short enough to be one event, its frame included.
    fn fits_an_event(&self, text: &str) -> bool {
        let escaped = serde_json::to_string(text).map_or(usize::MAX, |json| json.len());
        escaped.saturating_add(2048) <= self.house.config.limits.event.as_usize()
    }

    /// The ask of a turn that ends with a question.
    fn ending_ask(&self, log: &TaskLog, outcome: &Outcome) -> Option<AskRow> {
        let Outcome::InputRequired { question, data } = outcome else {
            return None;
        };
        let options = data.as_ref().and_then(|data| data.get("options"));
        let options = options.and_then(serde_json::Value::as_array);
        let options: Vec<_> = options
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_str)
            .map(|option| serde_json::json!({"id": option, "name": option}))
            .collect();
        let now = clock::now();
        Some(AskRow {
            id: Arc::from(uuid::Uuid::now_v7().to_string()),
            n: log.n,
            task: log.id.clone(),
            scope: log.scope.clone(),
            context_id: log.context_id.clone(),
            ask: serde_json::json!({"kind": "question", "text": question, "options": options}),
            ends_turn: true,
            created: now,
            deadline: asks::deadline(now, &self.house.config),
        })
    }

    /// Notes what the session has learned, and that it is in use, where the store does not know it yet.
    async fn note_use(&mut self) {
        let now = Timestamp::now();
        let learned =
            (self.session.ready, &self.session.conversation) != (self.noted.0, &self.noted.1);
        // In either direction: the wall clock may have been moved.
        let away = now.as_millisecond().abs_diff(self.session.used.as_millisecond());
        let long_ago = away > NOTED_EVERY_MS;
        if !learned && !long_ago {
            return;
        }
        self.noted = (self.session.ready, self.session.conversation.clone());
        self.session.used = now;
        let write = Write::SessionUsed {
            id: self.session.id.clone(),
            conversation: self.session.conversation.clone(),
            ready: self.session.ready,
            at: now,
        };
        if let Err(error) = self.house.store.commit(vec![write], Durability::Written).await {
            tracing::warn!(session.id = %self.session.id, %error, "could not note that a session was used");
        }
    }

    /// All the gates between a turn and its agent.
    async fn reach_agent(
        &mut self,
        turn: Turn,
        translator: &mut Translator,
    ) -> Result<pilothouse_agents::Turn, NotStarted> {
        let Turn { log, prompt, files, waiting, turn_place, slot, pass: _, fork: _ } = turn;
        let live = self.live.clone();
        let started = waiting.is_none();
        if !started && self.running.is_some() && live.places.is_wanted() {
            // Others come first; a session with many turns would keep its place for all of them.
            self.end_process(Word::Terminate).await;
        }
        let turn_place = match turn_place {
            Some(place) => place,
            None => self.wait_for_turn(&log, &live.turns).await?,
        };
        self.turn_places.push(turn_place);
        if let Some(shared) = self.agent.shared_turns.clone() {
            let place = self.wait_for_turn(&log, &shared).await?;
            self.turn_places.push(place);
        }
        let slot = if self.fork.is_some() && self.running.is_some() {
            // A process that was started ahead knows nothing of what is forked.
            self.give_up_process().await
        } else {
            slot
        };
        if self.running.is_none() {
            let slot = match slot {
                Some(slot) => slot,
                None => {
                    live.make_room(&self.house);
                    self.or_interrupted(&log, live.places.take(&log.scope.caller)).await?
                }
            };
            drop(waiting);
            if !started {
                self.working(&log).await?;
            }
            self.measure(&log).await?;
            self.start(&log, &prompt, &files, slot, translator).await?;
        } else {
            drop(waiting);
            if !started {
                self.working(&log).await?;
            }
            self.measure(&log).await?;
            let folder = self.agent.workspaces.folder(&self.session.id);
            put_files(&log, folder, &files)?;
        }
        Ok(prompt)
    }

    /// Begins to count what the turn uses; while it waited, others may have reached its ceiling.
    async fn measure(&mut self, log: &TaskLog) -> Result<(), NotStarted> {
        let meter = self
            .house
            .budgets
            .meter(&log.scope, &self.session.id, log.n)
            .await
            .map_err(|error| NotStarted::Failed(error.to_string(), None))?;
        if let Some(exceeded) = meter.check() {
            return Err(NotStarted::Failed(exceeded.to_string(), None));
        }
        self.meter = Some(meter);
        Ok(())
    }

    async fn working(&mut self, log: &TaskLog) -> Result<(), NotStarted> {
        let record = status(log, TaskState::Working, None, None);
        match log.record(&self.house.store, vec![record], Durability::Synced).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotStarted::Over),
            Err(error) => Err(NotStarted::Failed(error.to_string(), None)),
        }
    }

    /// Makes the folder ready and starts the process.
    async fn start(
        &mut self,
        log: &Arc<TaskLog>,
        prompt: &pilothouse_agents::Turn,
        files: &[File],
        slot: Place,
        translator: &mut Translator,
    ) -> Result<(), NotStarted> {
        let house = self.house.clone();
        let failed = |error: &dyn std::fmt::Display| NotStarted::Failed(error.to_string(), None);
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => {
                self.agent.workspaces.folder(&self.session.id).map_err(|error| failed(&error))?
            }
        };
        if !self.session.ready {
            self.set_up(log, &folder, translator).await?;
            self.session.ready = true;
        }
        let mut driver = self.agent.driver();
        let pattern =
            self.fork.as_ref().and_then(|fork| driver.transcript(fork.conversation.as_deref()?));
        let forked = self.copy_fork(pattern, &folder).await.map_err(|error| {
            let message = format!("the session could not be copied: {error}");
            NotStarted::Failed(message, None)
        })?;
        put_files(log, Ok(folder.clone()), files)?;
        let places = house.isolation.places(&folder);
        let mut setting = Setting {
            workspace: places.workspace,
            home: places.home,
            resume: forked.clone().or_else(|| self.session.conversation.clone()),
            fork: forked.is_some(),
            new_conversation: uuid::Uuid::new_v4().to_string(),
        };
        if let Some(conversation) = &setting.resume
            && let Some(pattern) = driver.transcript(conversation)
            && !folder.has(&pattern)
        {
            self.lose_conversation(translator);
            setting.resume = None;
        }
        let starting = self
            .or_interrupted(log, house.starting.clone().acquire_owned())
            .await?
            .expect("the starts are never closed");
        let launch = driver
            .launch(&setting, prompt)
            .map_err(|refusal| NotStarted::Failed(refusal.to_string(), None))?;
        let (agent, prepared) = (self.agent.clone(), self.prepared.take());
        let started =
            start::start(&house, &agent, &folder, &agent.reach.policy, prepared, |places, door| {
                agent.spec(&launch, places, door)
            });
        let (process, held) = match started.await {
            Ok(started) => started,
            Err(error @ process::Error::NotStarted { .. }) => {
                let hint = "the operator must install the agent's program or correct `program` in its configuration";
                return Err(NotStarted::Failed(error.to_string(), Some(hint.to_owned())));
            }
            Err(error) => return Err(failed(&error)),
        };
        let cutter = match launch.output {
            Output::Lines => Some(LineCutter::new(house.config.limits.line.as_usize())),
            Output::Bytes => None,
        };
        let mut running = Running::new(process, held, driver, launch.life, cutter, slot);
        running.starting = Some(starting);
        self.running = Some(running);
        Ok(())
    }

    /// Copies the workspace and the conversation of the session that this one is forked from; the
    /// conversation, where the CLI can go on from it.
    async fn copy_fork(
        &mut self,
        pattern: Option<String>,
        folder: &Folder,
    ) -> std::io::Result<Option<String>> {
        let Some(fork) = self.fork.take() else {
            return Ok(None);
        };
        let (workspaces, folder) = (self.agent.workspaces.clone(), folder.clone());
        let copied = tokio::task::spawn_blocking(move || {
            workspaces.fork(&fork.session, &folder, pattern.as_deref())
        });
        let has_transcript = copied.await.map_err(std::io::Error::other)??;
        Ok(fork.conversation.filter(|_| has_transcript))
    }

    /// Runs the session script, visible in the task.
    async fn set_up(
        &mut self,
        log: &Arc<TaskLog>,
        folder: &Folder,
        translator: &mut Translator,
    ) -> Result<(), NotStarted> {
        let (house, agent) = (self.house.clone(), self.agent.clone());
        let Some(script) = agent.workspaces.script() else {
            return Ok(());
        };
        // Where it lies on this machine is not the caller's business.
        let name = script.file_name().unwrap_or_default().to_string_lossy();
        translator.status(&format!("running {name}"), None);
        self.show(log, translator).await;
        let (session, context) = (self.session.id.clone(), self.key.context_id.clone());
        let run = async {
            let spec = |places: &Places, door: start::DoorWords| {
                agent.script_spec(script, places, door, &session, context.as_str())
            };
            let mut refused = Vec::new();
            let started =
                start::start(&house, &agent, folder, &agent.reach.setup, None, spec).await;
            let ended = match started {
                Ok((process, held)) => {
                    let hearing = agent.workspaces.hear_script(process);
                    tokio::pin!(hearing);
                    loop {
                        tokio::select! {
                            biased;
                            refusal = held.refused() => refused.push(refusal),
                            ended = &mut hearing => break ended,
                        }
                    }
                }
                Err(error) => Err(InitFailed { reason: error.to_string(), output: String::new() }),
            };
            (ended, refused)
        };
        let (ended, refused) = self.or_interrupted(log, run).await?;
        for refusal in &refused {
            translator.refused(refusal);
            house.telemetry.egress_refused(Some(log), &log.scope, refusal).await;
        }
        match ended {
            Ok(output) => {
                let data = serde_json::json!({"kind": "init-session", "output": output});
                translator.status("the session script has run", Some(data));
                self.show(log, translator).await;
                Ok(())
            }
            Err(InitFailed { reason, output }) => {
                let message = format!("the session script {name} {reason}: {output}");
                Err(NotStarted::Failed(
                    message,
                    Some("the operator must correct the script (`sessions.init`)".to_owned()),
                ))
            }
        }
    }

    async fn show(&mut self, log: &Arc<TaskLog>, translator: &mut Translator) {
        if let Err(error) =
            log.record(&self.house.store, translator.take(), Durability::Written).await
        {
            self.house.telemetry.store_failed(log, &error);
        }
    }

    /// Waits for a place among turns. Meanwhile a warm process gives up its own place where that is
    /// wanted: two sessions that each hold what the other one needs would wait for ever.
    async fn wait_for_turn(
        &mut self,
        log: &TaskLog,
        turns: &FairQueue,
    ) -> Result<Place, NotStarted> {
        let mut place = pin!(turns.request(&log.scope.caller).place());
        if self.running.is_some() {
            let offer = self.live.places.offer();
            let first = async {
                tokio::select! {
                    biased;
                    place = &mut place => Some(place),
                    () = offer.wanted() => None,
                }
            };
            if let Some(place) = self.or_interrupted(log, first).await? {
                return Ok(place);
            }
            self.end_process(Word::Terminate).await;
        }
        self.or_interrupted(log, place).await
    }

    /// Waits for something, unless the turn is interrupted first.
    async fn or_interrupted<T>(
        &mut self,
        log: &TaskLog,
        wait: impl Future<Output = T>,
    ) -> Result<T, NotStarted> {
        tokio::pin!(wait);
        loop {
            let interruption = tokio::select! {
                biased;
                interruption = self.inbox.interruption(&log.id) => interruption,
                done = &mut wait => return Ok(done),
            };
            match interruption {
                Interruption::Cancel(done) => return Err(NotStarted::Canceled(done)),
                Interruption::Stop => return Err(NotStarted::ServerStops),
                // What it would interrupt has not begun.
                Interruption::Steer => {}
                // Nothing was asked yet.
                Interruption::Answer(_, _, done) => {
                    let _ = done.send(false);
                }
            }
        }
    }

    /// Gives the prompt to the agent; again to a fresh process where the warm one had died before it
    /// heard of it, or where the CLI does not know the conversation any more.
    async fn converse(
        &mut self,
        log: &Arc<TaskLog>,
        prompt: &mut pilothouse_agents::Turn,
        warm: bool,
        translator: &mut Translator,
    ) -> (Option<Outcome>, Option<oneshot::Sender<bool>>) {
        let mut again = Again::new(&self.house.config);
        let mut fresh = false;
        loop {
            let tried = self.one_try(log, prompt, translator).await;
            let ended = self.running.as_ref().is_some_and(|running| running.ended.is_some());
            let failed = matches!(tried.outcome, Some(Outcome::Failed { .. }));
            let died_before = warm && !tried.heard && ended && failed;
            let lost = tried.outcome == Some(Outcome::ConversationLost);
            let restarts = !fresh && (died_before || lost);
            let pause = (tried.refused && failed).then(|| again.pause()).flatten();
            if tried.canceler.is_some() || (!restarts && pause.is_none()) {
                return (tried.outcome, tried.canceler);
            }
            if let Some(meter) = &mut self.meter {
                meter.again();
            }
            if let Some(pause) = pause {
                if let Err(not_started) = self.wait_again(log, pause, translator).await {
                    let (outcome, canceler) = not_started.outcome(log).unwrap_or((stopped(), None));
                    return (Some(outcome), canceler);
                }
                let lives = self.running.as_mut().is_some_and(|running| {
                    running.ended = running.ended.or_else(|| running.process.control.try_ended());
                    running.life == Life::Session && running.ended.is_none()
                });
                if lives {
                    continue;
                }
            } else if lost {
                self.lose_conversation(translator);
            }
            fresh = true;
            let Some(slot) = self.give_up_process().await else {
                return (tried.outcome, tried.canceler);
            };
            if let Err(not_started) = self.start(log, prompt, &[], slot, translator).await {
                let (outcome, canceler) = not_started.outcome(log).unwrap_or((stopped(), None));
                return (Some(outcome), canceler);
            }
        }
    }

    /// Waits, visible in the task, before an overloaded model API is asked again.
    async fn wait_again(
        &mut self,
        log: &Arc<TaskLog>,
        pause: std::time::Duration,
        translator: &mut Translator,
    ) -> Result<(), NotStarted> {
        let seconds = pause.as_secs_f32();
        translator.status(
            &format!("the model API is overloaded; the message is given again in {seconds:.1} s"),
            Some(serde_json::json!({"kind": "retry", "delaySeconds": pause.as_secs()})),
        );
        self.show(log, translator).await;
        self.or_interrupted(log, tokio::time::sleep(pause)).await
    }

    async fn one_try(
        &mut self,
        log: &Arc<TaskLog>,
        prompt: &pilothouse_agents::Turn,
        translator: &mut Translator,
    ) -> Try {
        let running = self.running.as_mut().expect("the process was just started or found");
        let mut conversation = Conversation::new(
            &self.house,
            &self.agent,
            &mut self.session,
            &mut self.inbox,
            running,
            log,
            translator,
            &mut self.granted,
            self.meter.as_mut().expect("it was made before the agent was reached"),
        );
        let outcome = conversation.run(prompt).await;
        let (canceler, heard) = (conversation.canceler.take(), conversation.heard);
        let (since, stopped) = (conversation.since, conversation.stopped);
        running.starting = None;
        let refused = !stopped && running.driver.may_repeat();
        if stopped && running.ended.is_none() && running.life == Life::Session {
            // The CLI has confirmed the interrupt; what the turn has left behind goes, or all of it does.
            let patience = self.house.config.timeouts.terminate.get();
            if !tree::end_since(running.process.pid, since, patience).await {
                self.end_process(Word::Kill).await;
            }
        }
        Try { outcome, canceler, heard, refused }
    }

    fn lose_conversation(&mut self, translator: &mut Translator) {
        let lost = self.session.conversation.take();
        translator.status(
            "the agent's transcript of this context is gone; a new conversation begins",
            Some(serde_json::json!({"kind": "conversation-lost", "sessionId": lost})),
        );
    }

    /// Ends the process but keeps its place.
    async fn give_up_process(&mut self) -> Option<Place> {
        let mut running = self.running.take()?;
        if running.ended.is_none() {
            running.process.control.say(Word::Kill);
            drain_until_ended(&mut running).await;
        }
        Some(running.slot)
    }

    /// Lets an agent that has finished its turn exit by itself for a while, then ends it.
    async fn leave_process(&mut self) {
        if let Some(running) = &mut self.running
            && running.ended.is_none()
        {
            running.process.stdin = None;
            let grace = self.house.config.timeouts.terminate.get();
            if tokio::time::timeout(grace, drain_until_ended(running)).await.is_ok() {
                running.ended = Some(Ended::Code(0));
            }
        }
        self.end_process(Word::Terminate).await;
    }

    /// Ends the process and its tree, and waits until they are gone.
    async fn end_process(&mut self, first: Word) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        self.live.cold(&self.key);
        if running.ended.is_some() {
            return;
        }
        if first == Word::Terminate {
            running.process.stdin = None;
        }
        running.process.control.say(first);
        let grace = self.house.config.timeouts.terminate.get();
        if tokio::time::timeout(grace, drain_until_ended(&mut running)).await.is_err() {
            running.process.control.say(Word::Kill);
            let _ =
                tokio::time::timeout(KILL_DEADLINE + grace, drain_until_ended(&mut running)).await;
        }
    }
}

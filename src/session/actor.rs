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
use super::conversation::{Conversation, Granted, stopped, timed_out};
use super::disk::DiskWatch;
use super::ending::end_failed;
use super::inbox::{Heard, Inbox, Interruption, answered_too_late};
use super::pipe::{is_open, read};
use super::registry::Live;
use super::running::Running;
use super::start::{self, DoorWords, Held};
use super::translate::{Facts, Translator, status};
use super::turn_clock::TurnClock;
use super::{Attach, File, Fork, House, Key, Order, Turn};
use crate::agent::Agent;
use crate::asks;
use crate::budget::Meter;
use crate::clock;
use crate::config::{Config, DriverKind};
use crate::egress::Policy;
use crate::isolation::Places;
use crate::process::{self, Prepared, Process};
use crate::queue::{FairQueue, Place};
use crate::store::{AskRow, Durability, SessionRow, Write};
use crate::supervisor::{Spec, Word};
use crate::task::{Record, TaskLog};
use crate::workspace::{Folder, InitFailed};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::{Outcome, Setting};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How exactly the store knows when a session was last used; retention needs no more.
const NOTED_EVERY_MS: u64 = 60_000;

/// One session's actor.
pub(super) struct Actor {
    house: Arc<House>,
    live: Arc<Live>,
    agent: Arc<Agent>,
    key: Key,
    session: SessionRow,
    inbox: Inbox,
    own_orders: mpsc::WeakUnboundedSender<Order>,
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
    /// Whether the session was new, so that it is not stored before its first turn comes.
    new: bool,
    /// What its folders may take up on the disk.
    disk: DiskWatch,
    /// What belongs to the present turn.
    present: Present,
}

/// What belongs to one turn, and is given up with it.
#[derive(Default)]
struct Present {
    /// Its task, until the end is stored.
    task: Option<TaskId>,
    /// When it has taken too long; none before it is `WORKING`.
    clock: Option<TurnClock>,
    /// Who cancels it, to be told when it is over.
    cancelers: Vec<oneshot::Sender<bool>>,
    /// Asks of it that are not open any more, to which an answer was on its way already.
    answered_late: Vec<Arc<str>>,
    /// What it uses.
    meter: Option<Meter>,
    /// Places of the present turn: among its caller's, and in a shared folder; held from its first gate
    /// to the end of its process.
    turn_places: Vec<Place>,
}

/// What came of giving a prompt to the agent once.
struct Try {
    /// None where a question is left that has to be answered first.
    outcome: Option<Outcome>,
    /// Whether the agent said anything.
    heard: bool,
    /// Whether an overloaded model API refused it before anything was done.
    refused: bool,
}

/// Why a turn did not reach its agent.
enum NotStarted {
    Canceled,
    /// It was canceled on its way here.
    Over,
    ServerStops,
    TimedOut,
    Failed(String, Option<String>),
}

impl NotStarted {
    /// What it means for the task; none where it is over, or still waits while the server stops.
    fn outcome(self, log: &TaskLog, config: &Config) -> Option<Outcome> {
        match self {
            Self::Canceled => Some(Outcome::Canceled),
            Self::Over => None,
            Self::ServerStops if log.state() == TaskState::Submitted => None,
            Self::ServerStops => Some(stopped()),
            Self::TimedOut => Some(timed_out(config)),
            Self::Failed(message, hint) => Some(Outcome::Failed { message, hint }),
        }
    }
}

/// Puts the files of a message where the agent was told they are.
async fn put_files(log: &TaskLog, folder: &Folder, files: Vec<File>) -> Result<(), NotStarted> {
    if files.is_empty() {
        return Ok(());
    }
    let files = files.into_iter().map(|file| (file.name, file.bytes)).collect();
    folder.put(log.id.as_str(), files).await.map_err(|error| no_files(&error))
}

fn no_files(error: &dyn std::fmt::Display) -> NotStarted {
    let message = format!("the files of the message could not be put into the workspace: {error}");
    NotStarted::Failed(message, None)
}

/// A record that ends a task as canceled.
pub(super) fn canceled(log: &TaskLog, words: &str) -> Record {
    let message = Message::new(Role::Agent, vec![Part::text(words)]);
    status(log, TaskState::Canceled, Some(message), None)
}

impl Actor {
    #[expect(clippy::too_many_arguments, reason = "the parts of a session that its actor owns")]
    pub(super) fn new(
        house: Arc<House>,
        live: Arc<Live>,
        agent: Arc<Agent>,
        session: SessionRow,
        orders: mpsc::UnboundedReceiver<Order>,
        own_orders: mpsc::WeakUnboundedSender<Order>,
        warm: Option<Running>,
        new: bool,
    ) -> Self {
        let inbox = Inbox::new(orders, house.clone());
        let noted = (session.ready, session.conversation.clone());
        let key = Key::of(&session);
        let disk = live.disk.watch(&agent.workspaces, &session.id, &key.scope.caller, new);
        Self {
            house,
            live,
            agent,
            key,
            session,
            inbox,
            own_orders,
            noted,
            running: warm,
            prepared: None,
            folder: None,
            granted: Granted::default(),
            fork: None,
            new,
            disk,
            present: Present::default(),
        }
    }

    /// The actor's life.
    pub(super) async fn run(mut self, soon: bool) {
        if soon {
            // The task is being stored at this moment; its folders and its supervisor are made meanwhile.
            self.folder = self.agent.workspaces.folder(&self.session.id).await.ok();
            if self.house.isolation.is_here() {
                let launcher = self.house.launcher.clone();
                self.prepared = self.serve_during(launcher.prepare()).await.ok();
            }
        }
        loop {
            let heard = if self.running.is_some() && !self.inbox.has_turns() {
                self.idle().await
            } else {
                if self.running.is_none() && !self.inbox.has_turns() {
                    // Before it leaves: its successor may begin at once.
                    self.live.disk.keep(&self.disk);
                    if self.live.leave(&self.key, self.inbox.orders()) {
                        return self.remove_unused().await;
                    }
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

    /// The first message of the session was refused after all: no session is stored, and nobody else would
    /// remove its folders.
    async fn remove_unused(self) {
        if !self.new || self.inbox.had_turn() {
            return;
        }
        let id = &self.session.id;
        if let Err(error) = self.agent.workspaces.remove(id, &self.house.stop).await {
            tracing::warn!(session.id = %id, %error, "could not remove the folders of a session that was not begun");
        }
    }

    /// Lends the conversation to a person at a terminal; turns wait meanwhile.
    async fn attach(&mut self, attach: Attach) {
        let Attach { ready, left } = attach;
        // Two processes on one conversation would go apart without a word.
        self.end_process(Word::Terminate).await;
        let folder = self.agent.workspaces.folder(&self.session.id).await;
        let folder = match folder.map_err(|error| error.to_string()) {
            // The person is the server's user; with the next turn all of it is the agent's again.
            Ok(folder) => {
                folder.give(None).await.map(|()| folder).map_err(|error| error.to_string())
            }
            Err(words) => Err(words),
        };
        let spec = folder.and_then(|folder| {
            // A person's terminal is outside of the wall, with the folders where they really lie.
            let setting = Setting {
                workspace: folder.workspace_text(),
                home: folder.home_text(),
                resume: self.session.conversation.clone(),
                ..Setting::default()
            };
            let launch = self.agent.driver().terminal(&setting);
            let launch = launch.ok_or(match self.agent.config.driver {
                DriverKind::Claude => "nothing was said in this session yet",
                DriverKind::Acp | DriverKind::Command | DriverKind::Demo => {
                    "this agent has no terminal of its own; go on with `pilothouse send --context`"
                }
            })?;
            Ok(self.agent.spec(&launch, &Places::real(&folder), None))
        });
        let lent = spec.is_ok();
        if ready.send(spec).is_ok() && lent {
            // Nothing runs that could be interrupted: this hears the stop, and cancels of what waits.
            tokio::select! {
                biased;
                _ = left => {}
                _ = self.inbox.interruption(None) => {}
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
        let most = self.house.config.limits.outbox.as_usize();
        let mut disk = match &self.running {
            Some(running) => Box::pin(self.disk.clone().fault(running.process.tree)),
            None => return Heard::Nudge,
        };
        loop {
            let running = self.running.as_mut().expect("an idle actor has a process");
            let roomy = running.outbox.waiting() <= most;
            running.update_line_place(&self.house.lines, &self.key.scope.caller);
            let (line_waits, line_until) = (running.line.is_requested(), running.line.until());
            tokio::select! {
                biased;
                heard = self.inbox.next() => break heard,
                _ = running.process.control.ended() => {
                    self.live.cold(&self.key);
                    self.running = None;
                    break Heard::Nudge;
                }
                // Before the pipes: an agent that never stops talking would keep its place for ever.
                () = offer.wanted() => {
                    self.live.cold(&self.key);
                    break Heard::Evict;
                }
                () = tokio::time::sleep_until(until) => {
                    self.live.cold(&self.key);
                    break Heard::Evict;
                }
                fault = &mut disk => {
                    let id = &self.session.id;
                    tracing::warn!(session.id = %id, %fault, "the process of the session {id} is ended between two turns");
                    self.live.cold(&self.key);
                    break Heard::Evict;
                }
                () = running.outbox.writable(running.process.stdin.as_ref()) => running.flush(),
                () = tokio::time::sleep_until(line_until.unwrap_or(until)), if line_until.is_some() => {
                    let id = &self.session.id;
                    tracing::warn!(session.id = %id, "the process of the session {id} is ended: it began a long line between two turns and did not end it (`timeouts.line`)");
                    self.live.cold(&self.key);
                    break Heard::Evict;
                }
                () = running.line.take(&self.house.config), if line_waits => {}
                read = read(&running.process.stdout), if running.stdout_open && roomy && !line_waits => {
                    // What an agent says between turns is the session's, never the next task's.
                    running.overhear(read, &self.session.id, &self.house);
                    tokio::task::yield_now().await;
                }
                // Nobody waits for these words, but a full pipe would stop the process.
                read = read(&running.process.stderr), if running.stderr_open => {
                    running.stderr_open = is_open(&read);
                    tokio::task::yield_now().await;
                }
                refusal = running.held.refused() => {
                    let telemetry = &self.house.telemetry;
                    telemetry.egress_refused(None, &self.key.scope, &refusal).await;
                }
            }
        }
    }

    /// Waits for something that comes to its end by itself, and serves all orders meanwhile.
    async fn serve_during<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let Present { task, cancelers, answered_late, .. } = &mut self.present;
        self.inbox.serve_during(task.as_ref(), cancelers, answered_late, wait).await
    }

    // === a turn ===

    /// One turn, and the end of all that belongs to it.
    async fn turn(&mut self, mut turn: Turn) {
        self.work(&mut turn).await;
        turn.ending.disarm();
        self.present = Present::default();
    }

    /// Brings a turn to its end.
    async fn work(&mut self, turn: &mut Turn) {
        let log = turn.log.clone();
        self.present.task = Some(log.id.clone());
        self.granted.passes.clear();
        if let Some(pass) = turn.pass.take() {
            let tool = pass.ask.get("tool").and_then(serde_json::Value::as_str);
            let granted = tool.filter(|_| pass.session).map(ToOwned::to_owned);
            self.granted.tools.extend(granted);
            self.granted.passes.push(pass);
        }
        self.fork = turn.fork.take();
        if turn.waiting.is_none() {
            self.start_clock();
        }
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
        let outcome = match self.reach_agent(turn, &mut translator).await {
            Ok(()) => self.converse(&log, &turn.prompt, warm, &mut translator).await,
            Err(not_started) => match not_started.outcome(&log, &self.house.config) {
                Some(outcome) => Some(outcome),
                // It is over, or has not begun: then it stays in the queue and runs after the next start.
                None => return,
            },
        };
        let Some(outcome) = outcome else {
            // A question is left; whoever answers it begins the next turn of this task.
            self.present.task = None;
            telemetry.turn_ends(&log, translator.usage(), translator.elapsed());
            self.note_usage().await;
            // Not politely: a CLI that sees its host leave goes on without it for a while.
            self.end_process(Word::Kill).await;
            self.note_use().await;
            return;
        };
        let keeps = self.running.as_ref().is_some_and(Running::can_go_on);
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
                let ask = self.ending_ask(&log, &outcome).map(Arc::new);
                let noted = ask.clone().map_or(Ok(()), |ask| self.house.asks.add(ask));
                let (outcome, ask) = match noted {
                    Ok(()) => (outcome, ask),
                    Err(full) => {
                        let (message, hint) = (full.to_string(), Some(full.hint()));
                        (Outcome::Failed { message, hint }, None)
                    }
                };
                let records = translator.finish(outcome, &facts, ask.as_deref());
                let also = ask.into_iter().map(Write::Ask);
                let also = also.chain(self.present.meter.iter().flat_map(Meter::writes));
                let also = also.collect();
                let stored = log.record_end(&self.house.store, also, records).await;
                if let Ok(true) = stored {
                    self.present.meter = None;
                }
                stored
            }
        };
        self.note_usage().await;
        log.reveal();
        if let Err(error) = &stored {
            telemetry.store_failed(&log, error);
            let words = "the end of this task could not be stored when it came (was the disk full?); what it did is lost";
            self.house.actors.spawn(end_failed(self.house.clone(), log.clone(), words));
        }
        telemetry.turn_ends(&log, translator.usage(), translator.elapsed());
        self.present.task = None;
        for done in self.present.cancelers.drain(..) {
            let _ = done.send(stored.is_ok());
        }
        drop(log);
        if !keeps {
            self.leave_process().await;
        }
        self.present.turn_places.clear();
        self.note_use().await;
    }

    /// The turn works from now on: it may not take longer than `timeouts.turn`, all of its waits together.
    fn start_clock(&mut self) {
        let config = &self.house.config;
        let clock =
            TurnClock::start(Instant::now(), config.timeouts.turn.get(), config.asks.pause.get());
        self.present.clock = Some(clock);
    }

    /// Stores what the turn used, where its end did not.
    async fn note_usage(&mut self) {
        let Some(meter) = self.present.meter.take() else {
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
        turn: &mut Turn,
        translator: &mut Translator,
    ) -> Result<(), NotStarted> {
        let (log, waiting) = (turn.log.clone(), turn.waiting.take());
        let (files, slot) = (std::mem::take(&mut turn.files), turn.slot.take());
        let live = self.live.clone();
        let started = waiting.is_none();
        if !started && self.running.is_some() && live.places.is_wanted() {
            // Others come first; a session with many turns would keep its place for all of them.
            self.end_process(Word::Terminate).await;
        }
        let turn_place = match turn.turn_place.take() {
            Some(place) => place,
            None => self.wait_for_turn(&log, &live.turns).await?,
        };
        self.present.turn_places.push(turn_place);
        if let Some(shared) = self.agent.shared_turns.clone() {
            let place = self.wait_for_turn(&log, &shared).await?;
            self.present.turn_places.push(place);
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
            self.start(&log, &turn.prompt, files, slot, translator).await?;
        } else {
            drop(waiting);
            if !started {
                self.working(&log).await?;
            }
            self.measure(&log).await?;
            if !files.is_empty() {
                let folder = self.agent.workspaces.folder(&self.session.id).await;
                let folder = folder.map_err(|error| no_files(&error))?;
                self.or_interrupted(&log, put_files(&log, &folder, files)).await??;
            }
        }
        Ok(())
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
        self.present.meter = Some(meter);
        Ok(())
    }

    async fn working(&mut self, log: &Arc<TaskLog>) -> Result<(), NotStarted> {
        let record = status(log, TaskState::Working, None, None);
        match log.record(&self.house.store, vec![record], Durability::Synced).await {
            Ok(true) => {
                self.start_clock();
                Ok(())
            }
            Ok(false) => Err(NotStarted::Over),
            Err(error) => Err(NotStarted::Failed(error.to_string(), None)),
        }
    }

    /// Makes the folder ready and starts the process.
    async fn start(
        &mut self,
        log: &Arc<TaskLog>,
        prompt: &pilothouse_agents::Turn,
        files: Vec<File>,
        slot: Place,
        translator: &mut Translator,
    ) -> Result<(), NotStarted> {
        let house = self.house.clone();
        let failed = |error: &dyn std::fmt::Display| NotStarted::Failed(error.to_string(), None);
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => {
                let made = self.agent.workspaces.folder(&self.session.id).await;
                made.map_err(|error| failed(&error))?
            }
        };
        if folder.is_new() {
            // Its folders were removed since the script ran.
            self.session.ready = self.agent.workspaces.script().is_none();
        }
        if !self.session.ready {
            self.set_up(log, &folder, translator).await?;
            self.session.ready = true;
        }
        let mut driver = self.agent.driver();
        let pattern =
            self.fork.as_ref().and_then(|fork| driver.transcript(fork.conversation.as_deref()?));
        let copied = self.copy_fork(log, pattern, &folder).await?;
        let forked = copied.map_err(|error| {
            let message = format!("the session could not be copied: {error}");
            NotStarted::Failed(message, None)
        })?;
        self.or_interrupted(log, put_files(log, &folder, files)).await??;
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
            && !folder.has(&pattern).await
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
        let (agent, policy) = (self.agent.clone(), self.agent.reach.policy.clone());
        let spec = |places: &Places, door: DoorWords| agent.spec(&launch, places, door);
        let started = match self.start_process(log, &folder, &policy, spec).await? {
            Ok(started) => started,
            Err(error @ process::Error::NotStarted { .. }) => {
                let hint = "the operator must install the agent's program or correct `program` in its configuration";
                return Err(NotStarted::Failed(error.to_string(), Some(hint.to_owned())));
            }
            Err(error) => return Err(failed(&error)),
        };
        let mut running = Running::new(started, driver, &launch, slot, &house.config);
        running.is_new = true;
        running.starting = Some(starting);
        self.running = Some(running);
        Ok(())
    }

    /// Starts a process, the agent's or the script's. Where that fails, is interrupted or takes too long,
    /// nothing of it is left.
    async fn start_process(
        &mut self,
        log: &TaskLog,
        folder: &Folder,
        policy: &Arc<Policy>,
        spec: impl FnOnce(&Places, DoorWords) -> Spec,
    ) -> Result<Result<(Process, Held), process::Error>, NotStarted> {
        let (house, agent) = (self.house.clone(), self.agent.clone());
        let mut supervisor = self.prepared.take();
        let patience = house.config.timeouts.start;
        let starting = start::start(&house, &agent, folder, policy, &mut supervisor, spec);
        let started =
            self.or_interrupted(log, tokio::time::timeout(patience.get(), starting)).await;
        if let Some(supervisor) = supervisor {
            self.serve_during(supervisor.give_up()).await;
        }
        started?.map_err(|_| {
            let message = format!("the process did not begin within {patience} (`timeouts.start`)");
            let hint = "the operator must find what holds up the start of the sandbox, or raise `timeouts.start`";
            NotStarted::Failed(message, Some(hint.to_owned()))
        })
    }

    /// Copies the workspace and the conversation of the session that this one is forked from; the
    /// conversation, where the CLI can go on from it.
    async fn copy_fork(
        &mut self,
        log: &TaskLog,
        pattern: Option<String>,
        folder: &Folder,
    ) -> Result<std::io::Result<Option<String>>, NotStarted> {
        let Some(fork) = self.fork.take() else {
            return Ok(Ok(None));
        };
        let workspaces = self.agent.workspaces.clone();
        let copy = workspaces.fork(&fork.session, folder, pattern.as_deref());
        let copied = self.or_interrupted(log, copy).await?;
        Ok(copied.map(|has_transcript| fork.conversation.filter(|_| has_transcript)))
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
        let spec = |places: &Places, door: DoorWords| {
            agent.script_spec(script, places, door, &session, context.as_str())
        };
        let (mut refused, mut too_large) = (Vec::new(), None);
        let started = self.start_process(log, folder, &agent.reach.setup, spec).await?;
        let ended = match started {
            Ok((mut process, held)) => {
                let disk = self.disk.clone().fault(process.tree);
                let run = async {
                    let hearing = agent.workspaces.hear_script(&mut process);
                    tokio::pin!(hearing, disk);
                    loop {
                        tokio::select! {
                            biased;
                            refusal = held.refused() => refused.push(refusal),
                            fault = &mut disk => {
                                let reason = "was ended".to_owned();
                                too_large = Some(fault);
                                break Err(InitFailed { reason, output: String::new() });
                            }
                            ended = &mut hearing => break ended,
                        }
                    }
                };
                let ended = self.or_interrupted(log, run).await;
                if !matches!(ended, Ok(Ok(_))) {
                    self.serve_during(process.control.kill()).await;
                }
                ended?
            }
            Err(error) => Err(InitFailed { reason: error.to_string(), output: String::new() }),
        };
        for refusal in &refused {
            translator.refused(refusal);
            house.telemetry.egress_refused(Some(log), &log.scope, refusal).await;
        }
        if let Some(fault) = too_large {
            let message = format!("the session script {name} was ended: {fault}");
            return Err(NotStarted::Failed(message, Some(fault.hint())));
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

    /// Waits for something, unless the turn is interrupted or takes too long before.
    async fn or_interrupted<T>(
        &mut self,
        log: &TaskLog,
        wait: impl Future<Output = T>,
    ) -> Result<T, NotStarted> {
        if !self.present.cancelers.is_empty() {
            return Err(NotStarted::Canceled);
        }
        let deadline = self.present.clock.as_ref().map(TurnClock::deadline);
        let timed_out = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(wait, timed_out);
        loop {
            let interruption = tokio::select! {
                biased;
                interruption = self.inbox.interruption(Some(&log.id)) => interruption,
                done = &mut wait => return Ok(done),
                () = &mut timed_out => return Err(NotStarted::TimedOut),
            };
            match interruption {
                Interruption::Cancel(done) => {
                    self.present.cancelers.push(done);
                    return Err(NotStarted::Canceled);
                }
                Interruption::Stop => return Err(NotStarted::ServerStops),
                // What it would interrupt has not begun.
                Interruption::Steer => {}
                Interruption::Answer(id, _, done) => {
                    let _ = done.send(answered_too_late(&mut self.present.answered_late, &id));
                }
            }
        }
    }

    /// Gives the prompt to the agent; again to a fresh process where the warm one had died before it
    /// heard of it, or where the CLI does not know the conversation any more.
    async fn converse(
        &mut self,
        log: &Arc<TaskLog>,
        prompt: &pilothouse_agents::Turn,
        warm: bool,
        translator: &mut Translator,
    ) -> Option<Outcome> {
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
            if !self.present.cancelers.is_empty() || (!restarts && pause.is_none()) {
                return tried.outcome;
            }
            if let Some(meter) = &mut self.present.meter {
                meter.again();
            }
            match self.reach_again(log, prompt, pause, lost, translator).await {
                Ok(true) => fresh = true,
                Ok(false) => {}
                Err(not_started) => {
                    let outcome = not_started.outcome(log, &self.house.config);
                    return outcome.or(tried.outcome);
                }
            }
        }
    }

    /// Makes the agent ready for the next try; whether its process is a fresh one.
    async fn reach_again(
        &mut self,
        log: &Arc<TaskLog>,
        prompt: &pilothouse_agents::Turn,
        pause: Option<std::time::Duration>,
        lost: bool,
        translator: &mut Translator,
    ) -> Result<bool, NotStarted> {
        if let Some(pause) = pause {
            self.wait_again(log, pause, translator).await?;
            let lives = self.running.as_mut().is_some_and(|running| {
                running.look();
                running.can_go_on()
            });
            if lives {
                return Ok(false);
            }
        } else if lost {
            self.lose_conversation(translator);
        }
        let slot = self.give_up_process().await.ok_or(NotStarted::Over)?;
        self.start(log, prompt, Vec::new(), slot, translator).await?;
        Ok(true)
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
        let Present { clock, cancelers, answered_late, meter, .. } = &mut self.present;
        let mut conversation = Conversation::new(
            &self.house,
            &self.agent,
            &mut self.session,
            &mut self.inbox,
            running,
            log,
            translator,
            &mut self.granted,
            meter.as_mut().expect("it was made before the agent was reached"),
            clock.as_mut().expect("it was started when the task became `WORKING`"),
            cancelers,
            answered_late,
            self.disk.clone(),
        );
        let outcome = conversation.run(prompt).await;
        let heard = conversation.heard;
        let (since, stopped) = (conversation.since, conversation.stopped);
        running.starting = None;
        running.is_new = false;
        let refused = !stopped && running.driver.may_repeat();
        if stopped && running.can_go_on() {
            // The CLI has confirmed the interrupt; what the turn has left behind goes, or all of it does.
            let patience = self.house.config.timeouts.terminate.get();
            let tree = running.process.tree;
            if !self.serve_during(tree.end_since(since, patience)).await {
                self.end_process(Word::Kill).await;
            }
        }
        Try { outcome, heard, refused }
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
            self.serve_during(running.process.control.kill()).await;
        }
        Some(running.slot)
    }

    /// Lets an agent that has finished its turn exit by itself for a while, then ends it.
    async fn leave_process(&mut self) {
        if let Some(mut running) = self.running.take_if(|running| running.ended.is_none()) {
            let stop = self.house.stop.clone();
            let grace = self.house.config.timeouts.terminate.get();
            self.serve_during(running.leave(grace, &stop)).await;
            self.running = Some(running);
        }
        self.end_process(Word::Terminate).await;
    }

    /// Ends the process and its tree, and waits until they are gone.
    async fn end_process(&mut self, first: Word) {
        if let Some(running) = self.running.take() {
            self.live.cold(&self.key);
            let grace = self.house.config.timeouts.terminate.get();
            self.serve_during(running.end(first, grace)).await;
        }
    }
}

impl Drop for Actor {
    /// An actor that fails leaves no handle behind, by which orders would go nowhere.
    fn drop(&mut self) {
        if let Some(own_orders) = self.own_orders.upgrade() {
            self.live.forget(&self.key, &own_orders);
        }
    }
}

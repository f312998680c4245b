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

use super::inbox::{Heard, Inbox, Interruption};
use super::registry::Live;
use super::translate::{Facts, Translator, status};
use super::{House, Key, Order, Turn};
use crate::config::AskPolicy;
use crate::process::{self, Ended, Prepared, Process};
use crate::store::{Durability, SessionRow, Write};
use crate::supervisor::{KILL_DEADLINE, Word};
use crate::task::{Record, TaskLog};
use crate::workspace::{Folder, InitFailed};
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::lines::LineCutter;
use pilothouse_agents::{Answer, Ask, AskKind, Driver, Exit, Life, Outcome, Output, Setting, Step};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

/// What one read of a pipe brings at most.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// Pipes are read when they have something, so a buffer per thread serves every session.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// One session's actor.
pub(super) struct Actor {
    house: Arc<House>,
    live: Arc<Live>,
    key: Key,
    session: SessionRow,
    inbox: Inbox,
    running: Option<Running>,
    prepared: Option<Prepared>,
    /// The turn in a shared folder, from its first gate to the end of its process.
    shared: Option<OwnedSemaphorePermit>,
}

/// A live process with its driver.
struct Running {
    process: Process,
    driver: Box<dyn Driver>,
    life: Life,
    cutter: Option<LineCutter>,
    outbox: Vec<u8>,
    close_input: bool,
    stderr: Vec<u8>,
    stdout_open: bool,
    stderr_open: bool,
    ended: Option<Ended>,
    _slot: OwnedSemaphorePermit,
}

/// How far the end of a turn has been driven.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ladder {
    Running,
    Interrupted,
    Terminated,
    Killed,
}

/// Why a turn is being ended before its agent ended it.
enum Cause {
    Canceled,
    TimedOut,
    ServerStops,
    Fault(String, Option<String>),
}

/// Something happened while a turn ran.
enum Happened {
    Output(std::io::Result<usize>),
    ErrorOutput(std::io::Result<usize>),
    Ended(Ended),
    Writable,
    Woke,
    Climb,
    Deadline,
    Heartbeat,
    Interrupted(Interruption),
}

/// Why a turn did not reach its agent.
enum NotStarted {
    Canceled(oneshot::Sender<bool>),
    ServerStops,
    Failed(String, Option<String>),
}

/// Counts a turn among those that wait, until it begins or is gone.
struct Waiting(Arc<Live>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.one_less_waiting();
    }
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
        key: Key,
        session: SessionRow,
        orders: mpsc::UnboundedReceiver<Order>,
    ) -> Self {
        let inbox = Inbox::new(orders, house.clone(), live.clone());
        Self { house, live, key, session, inbox, running: None, prepared: None, shared: None }
    }

    /// The actor's life.
    pub(super) async fn run(mut self, own_orders: mpsc::WeakUnboundedSender<Order>, soon: bool) {
        if soon {
            // The task is being stored at this moment; its folders and its supervisor are made meanwhile.
            let _ = self.house.workspaces.folder(&self.session.id);
            self.prepared = self.house.launcher.prepare().await.ok();
        }
        loop {
            let heard = if self.running.is_some() && !self.inbox.has_turns() {
                self.idle(&own_orders).await
            } else {
                if self.running.is_none() && !self.inbox.has_turns() && self.live.leave(&self.key, self.inbox.orders()) {
                    return;
                }
                self.inbox.next().await
            };
            match heard {
                Heard::Turn(turn) => self.turn(*turn).await,
                Heard::Evict => self.end_process(Word::Terminate).await,
                Heard::Nudge => {}
                Heard::Stop => {
                    self.end_process(Word::Terminate).await;
                    return;
                }
            }
        }
    }

    /// Waits with a warm process.
    async fn idle(&mut self, own_orders: &mpsc::WeakUnboundedSender<Order>) -> Heard {
        if !self.live.idle(&self.key) {
            return self.inbox.next().await;
        }
        if self.live.slots.wanted() {
            self.live.cold(&self.key);
            return Heard::Evict;
        }
        let Some(own_orders) = own_orders.upgrade() else { return Heard::Evict };
        let tick = self.live.slots.idles(own_orders);
        let until = Instant::now() + self.house.config.processes.idle.get();
        let heard = loop {
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
                () = tokio::time::sleep_until(until) => {
                    self.live.cold(&self.key);
                    break Heard::Evict;
                }
            }
        };
        self.live.slots.works(tick);
        heard
    }

    fn overheard(&mut self, read: std::io::Result<usize>) {
        let Some(running) = &mut self.running else { return };
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
                                    && let Some(stdin) = &running.process.stdin
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

    async fn turn(&mut self, turn: Turn) {
        let log = turn.log.clone();
        let waiting = (!turn.started).then(|| Waiting(self.live.clone()));
        if log.state().is_terminal() {
            return;
        }
        let telemetry = self.house.telemetry.clone();
        telemetry.turn_begins(&log, &self.house.agent.name);
        let compares = self.house.agent.is_conversational();
        let mut translator = Translator::new(log.clone(), compares);
        let (outcome, canceler) = match self.reach_agent(turn, waiting, &mut translator).await {
            Ok(prompt) => self.converse(&log, &prompt, &mut translator).await,
            Err(NotStarted::Canceled(done)) => (Outcome::Canceled, Some(done)),
            // It has not begun, so it stays in the queue and runs after the next start.
            Err(NotStarted::ServerStops) if log.state() == TaskState::Submitted => return,
            Err(NotStarted::ServerStops) => (stopped(), None),
            Err(NotStarted::Failed(message, hint)) => (Outcome::Failed { message, hint }, None),
        };
        let keeps = self.running.as_ref().is_some_and(|running| running.life == Life::Session && running.ended.is_none());
        if !keeps && outcome == Outcome::Canceled {
            // Canceled means that nothing of it is left.
            self.end_process(Word::Terminate).await;
        }
        let facts = Facts {
            conversation: self.session.conversation.clone(),
            isolation: self.house.agent.isolation(),
        };
        let records = translator.finish(outcome, &facts);
        let stored = log.record(&self.house.store, records, Durability::Synced).await;
        if let Err(error) = &stored {
            telemetry.store_failed(&log, error);
        }
        telemetry.turn_ends(&log, translator.usage(), translator.elapsed());
        if let Some(done) = canceler {
            let _ = done.send(stored.is_ok());
        }
        drop(log);
        if !keeps {
            self.leave_process().await;
        }
        self.shared = None;
        self.note_use().await;
    }

    async fn note_use(&mut self) {
        let write = Write::SessionUsed {
            id: self.session.id.clone(),
            conversation: self.session.conversation.clone(),
            ready: self.session.ready,
            at: Timestamp::now(),
        };
        if let Err(error) = self.house.store.commit(vec![write], Durability::Written).await {
            tracing::warn!(session.id = %self.session.id, %error, "could not note that a session was used");
        }
    }

    /// All the gates between a turn and its agent.
    async fn reach_agent(
        &mut self,
        turn: Turn,
        waiting: Option<Waiting>,
        translator: &mut Translator,
    ) -> Result<pilothouse_agents::Turn, NotStarted> {
        let Turn { log, prompt, slot, started } = turn;
        let house = self.house.clone();
        let live = self.live.clone();
        let shared = match &house.shared_turns {
            Some(turns) => Some(
                self.or_interrupted(&log, turns.clone().acquire_owned())
                    .await?
                    .expect("the turns of a folder are never closed"),
            ),
            None => None,
        };
        self.shared = shared;
        if self.running.is_none() {
            let slot = match slot {
                Some(slot) => slot,
                None => self.or_interrupted(&log, live.slots.take()).await?,
            };
            drop(waiting);
            if !started {
                self.working(&log).await?;
            }
            self.start(&log, &prompt, slot, translator).await?;
        } else if !started {
            drop(waiting);
            self.working(&log).await?;
        }
        Ok(prompt)
    }

    async fn working(&mut self, log: &TaskLog) -> Result<(), NotStarted> {
        let record = status(log, TaskState::Working, None, None);
        log.record(&self.house.store, vec![record], Durability::Synced)
            .await
            .map_err(|error| NotStarted::Failed(error.to_string(), None))
    }

    /// Makes the folder ready and starts the process.
    async fn start(
        &mut self,
        log: &Arc<TaskLog>,
        prompt: &pilothouse_agents::Turn,
        slot: OwnedSemaphorePermit,
        translator: &mut Translator,
    ) -> Result<(), NotStarted> {
        let house = self.house.clone();
        let failed = |error: &dyn std::fmt::Display| NotStarted::Failed(error.to_string(), None);
        let folder = house.workspaces.folder(&self.session.id).map_err(|error| failed(&error))?;
        if !self.session.ready {
            self.set_up(log, &folder, translator).await?;
            self.session.ready = true;
        }
        let mut driver = house.agent.driver();
        let mut setting = Setting {
            workspace: folder.workspace_text(),
            home: folder.home_text(),
            resume: self.session.conversation.clone(),
            new_conversation: uuid::Uuid::new_v4().to_string(),
        };
        if let Some(conversation) = &setting.resume
            && let Some(pattern) = driver.transcript(conversation)
            && !folder.has(&pattern)
        {
            translator.status(
                "the agent's transcript of this context is gone; a new conversation begins",
                Some(serde_json::json!({"kind": "conversation-lost", "sessionId": conversation})),
            );
            setting.resume = None;
            self.session.conversation = None;
        }
        let starting = self
            .or_interrupted(log, house.starting.clone().acquire_owned())
            .await?
            .expect("the starts are never closed");
        let launch = driver.launch(&setting, prompt).map_err(|refusal| NotStarted::Failed(refusal.to_string(), None))?;
        let spec = house.agent.spec(&launch, &folder);
        let started = match self.prepared.take() {
            Some(prepared) => prepared.start(&spec).await,
            None => house.launcher.spawn(&spec).await,
        };
        let process = match started {
            Ok(process) => process,
            Err(error @ process::Error::NotStarted { .. }) => {
                let hint = "the operator must install the agent's program or correct `program` in its configuration";
                return Err(NotStarted::Failed(error.to_string(), Some(hint.to_owned())));
            }
            Err(error) => return Err(failed(&error)),
        };
        drop(starting);
        let cutter = match launch.output {
            Output::Lines => Some(LineCutter::new(house.config.limits.line.as_usize())),
            Output::Bytes => None,
        };
        self.running = Some(Running {
            process,
            driver,
            life: launch.life,
            cutter,
            outbox: Vec::new(),
            close_input: false,
            stderr: Vec::new(),
            stdout_open: true,
            stderr_open: true,
            ended: None,
            _slot: slot,
        });
        Ok(())
    }

    /// Runs the session script, visible in the task.
    async fn set_up(&mut self, log: &Arc<TaskLog>, folder: &Folder, translator: &mut Translator) -> Result<(), NotStarted> {
        let house = self.house.clone();
        let Some(script) = house.workspaces.script() else { return Ok(()) };
        translator.status(&format!("running {}", script.display()), None);
        self.show(log, translator).await;
        let spec = house.agent.script_spec(script, folder, &self.session.id, self.key.context_id.as_str());
        let run = house.workspaces.run_script(&house.launcher, &spec);
        match self.or_interrupted(log, run).await? {
            Ok(output) => {
                let data = serde_json::json!({"kind": "init-session", "output": output});
                translator.status("the session script has run", Some(data));
                self.show(log, translator).await;
                Ok(())
            }
            Err(InitFailed { reason, output }) => {
                let message = format!("the session script {} {reason}: {output}", script.display());
                Err(NotStarted::Failed(message, Some("the operator must correct the script (`sessions.init`)".to_owned())))
            }
        }
    }

    async fn show(&mut self, log: &Arc<TaskLog>, translator: &mut Translator) {
        if let Err(error) = log.record(&self.house.store, translator.take(), Durability::Written).await {
            self.house.telemetry.store_failed(log, &error);
        }
    }

    /// Waits for something, unless the turn is interrupted first.
    async fn or_interrupted<T>(&mut self, log: &TaskLog, wait: impl Future<Output = T>) -> Result<T, NotStarted> {
        tokio::select! {
            biased;
            interruption = self.inbox.interruption(&log.id) => Err(match interruption {
                Interruption::Cancel(done) => NotStarted::Canceled(done),
                Interruption::Stop => NotStarted::ServerStops,
            }),
            done = wait => Ok(done),
        }
    }

    /// Gives the prompt to the agent and listens until the turn is over.
    async fn converse(
        &mut self,
        log: &Arc<TaskLog>,
        prompt: &pilothouse_agents::Turn,
        translator: &mut Translator,
    ) -> (Outcome, Option<oneshot::Sender<bool>>) {
        let running = self.running.as_mut().expect("the process was just started or found");
        let mut conversation = Conversation {
            house: &self.house,
            session: &mut self.session,
            inbox: &mut self.inbox,
            running,
            log,
            translator,
            ladder: Ladder::Running,
            climb_at: None,
            wake_at: None,
            deadline: Instant::now() + self.house.config.timeouts.turn.get(),
            spoke: Instant::now(),
            cause: None,
            canceler: None,
            outcome: None,
        };
        let steps = conversation.running.driver.begin(prompt);
        conversation.take(steps);
        let outcome = conversation.listen().await;
        let canceler = conversation.canceler.take();
        (outcome, canceler)
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
        let Some(mut running) = self.running.take() else { return };
        self.live.cold(&self.key);
        if running.ended.is_some() {
            return;
        }
        running.process.stdin = None;
        running.process.control.say(first);
        let grace = self.house.config.timeouts.terminate.get();
        if tokio::time::timeout(grace, drain_until_ended(&mut running)).await.is_err() {
            running.process.control.say(Word::Kill);
            let _ = tokio::time::timeout(KILL_DEADLINE + grace, drain_until_ended(&mut running)).await;
        }
    }
}

/// Reads and drops what a dying agent still says, so that no full pipe keeps it from dying.
async fn drain_until_ended(running: &mut Running) {
    loop {
        tokio::select! {
            _ = running.process.control.ended() => return,
            read = read(&running.process.stdout), if running.stdout_open => {
                running.stdout_open = read.is_ok_and(|size| size > 0);
            }
            read = read(&running.process.stderr), if running.stderr_open => {
                running.stderr_open = read.is_ok_and(|size| size > 0);
            }
        }
    }
}

/// One read into this thread's scratch buffer. Cancel-safe: nothing is read unless it is returned.
async fn read(pipe: &tokio::net::unix::pipe::Receiver) -> std::io::Result<usize> {
    loop {
        pipe.readable().await?;
        match SCRATCH.with_borrow_mut(|bytes| pipe.try_read(bytes)) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

fn stopped() -> Outcome {
    Outcome::Failed {
        message: "the server stopped while this task was running".to_owned(),
        hint: Some("send the message again in the same context to continue".to_owned()),
    }
}

// === one conversation ===

/// One turn while its agent has it.
struct Conversation<'a> {
    house: &'a Arc<House>,
    session: &'a mut SessionRow,
    inbox: &'a mut Inbox,
    running: &'a mut Running,
    log: &'a Arc<TaskLog>,
    translator: &'a mut Translator,
    ladder: Ladder,
    climb_at: Option<Instant>,
    wake_at: Option<Instant>,
    deadline: Instant,
    spoke: Instant,
    cause: Option<Cause>,
    canceler: Option<oneshot::Sender<bool>>,
    outcome: Option<Outcome>,
}

impl Conversation<'_> {
    async fn listen(&mut self) -> Outcome {
        loop {
            self.show().await;
            if let Some(outcome) = self.outcome.take() {
                return self.judge(outcome);
            }
            // Nothing of the tree is left then, so both pipes come to their end.
            if let Some(ended) = self.running.ended
                && !self.running.stdout_open
                && !self.running.stderr_open
            {
                let exit = self.exit(ended);
                let steps = self.running.driver.exit(&exit);
                self.take(steps);
                let silent = Outcome::Failed { message: "the agent ended without a word".to_owned(), hint: None };
                let outcome = self.outcome.take().unwrap_or(silent);
                self.show().await;
                return self.judge(outcome);
            }
            match self.happened().await {
                Happened::Output(read) => self.hear(read),
                Happened::ErrorOutput(read) => self.hear_error(read),
                Happened::Ended(ended) => self.running.ended = Some(ended),
                Happened::Writable => self.write(),
                Happened::Woke => {
                    self.wake_at = None;
                    let steps = self.running.driver.woke();
                    self.take(steps);
                }
                Happened::Climb => self.climb(),
                Happened::Deadline => self.stop(Cause::TimedOut),
                Happened::Heartbeat => {
                    let seconds = self.translator.elapsed().as_secs();
                    self.translator.status(&format!("still working after {seconds} s"), None);
                }
                Happened::Interrupted(Interruption::Cancel(done)) => {
                    self.canceler = Some(done);
                    self.stop(Cause::Canceled);
                }
                Happened::Interrupted(Interruption::Stop) => self.stop(Cause::ServerStops),
            }
        }
    }

    /// The next thing that happens. Every arm is cancel-safe.
    async fn happened(&mut self) -> Happened {
        let far = Instant::now() + Duration::from_secs(86_400);
        let stopping = self.cause.is_some();
        let heartbeat = self.spoke + self.house.config.timeouts.heartbeat.get();
        let running = &mut *self.running;
        let stdin = running.process.stdin.as_ref();
        tokio::select! {
            biased;
            interruption = self.inbox.interruption(&self.log.id), if !stopping => Happened::Interrupted(interruption),
            read = read(&running.process.stdout), if running.stdout_open => Happened::Output(read),
            read = read(&running.process.stderr), if running.stderr_open => Happened::ErrorOutput(read),
            ended = running.process.control.ended(), if running.ended.is_none() => Happened::Ended(ended),
            Ok(()) = async { stdin.expect("guarded").writable().await },
                if stdin.is_some() && !running.outbox.is_empty() => Happened::Writable,
            () = tokio::time::sleep_until(self.climb_at.unwrap_or(far)), if self.climb_at.is_some() => Happened::Climb,
            () = tokio::time::sleep_until(self.wake_at.unwrap_or(far)), if self.wake_at.is_some() => Happened::Woke,
            () = tokio::time::sleep_until(self.deadline), if !stopping => Happened::Deadline,
            () = tokio::time::sleep_until(heartbeat), if !stopping => Happened::Heartbeat,
        }
    }

    fn hear(&mut self, read: std::io::Result<usize>) {
        let size = match read {
            Ok(0) | Err(_) => {
                self.running.stdout_open = false;
                let rest = self.running.cutter.as_mut().and_then(LineCutter::finish);
                if let Some(line) = rest {
                    self.hear_line(&line);
                }
                return;
            }
            Ok(size) => size,
        };
        if self.running.cutter.is_some() {
            let mut cutter = self.running.cutter.take().expect("just seen");
            SCRATCH.with_borrow(|bytes| {
                for line in cutter.push(&bytes[..size]) {
                    match line {
                        Ok(line) => self.hear_line(&line),
                        Err(too_long) => self.stop(Cause::Fault(
                            format!("the agent wrote a line longer than {} bytes", too_long.limit),
                            Some("the operator can raise `limits.line`".to_owned()),
                        )),
                    }
                }
            });
            self.running.cutter = Some(cutter);
        } else {
            let steps = SCRATCH.with_borrow(|bytes| {
                self.house.telemetry.raw().line(&self.session.id, Some(&self.log.id), &bytes[..size]);
                self.running.driver.chunk(&bytes[..size])
            });
            self.take(steps);
        }
        let limit = self.house.config.limits.answer.as_usize();
        if self.translator.answer_bytes() > limit {
            self.stop(Cause::Fault(
                format!("the answer is longer than {limit} bytes"),
                Some("the operator can raise `limits.answer`".to_owned()),
            ));
        }
    }

    fn hear_line(&mut self, line: &[u8]) {
        self.house.telemetry.raw().line(&self.session.id, Some(&self.log.id), line);
        if self.outcome.is_some() {
            return;
        }
        let steps = self.running.driver.line(line);
        self.take(steps);
    }

    fn hear_error(&mut self, read: std::io::Result<usize>) {
        match read {
            Ok(0) | Err(_) => self.running.stderr_open = false,
            Ok(size) => {
                let kept = &mut self.running.stderr;
                SCRATCH.with_borrow(|bytes| kept.extend_from_slice(&bytes[..size]));
                let limit = self.house.config.limits.stderr.as_usize();
                if kept.len() > limit {
                    kept.drain(..kept.len() - limit);
                }
            }
        }
    }

    fn write(&mut self) {
        let running = &mut *self.running;
        let Some(stdin) = &running.process.stdin else { return };
        match stdin.try_write(&running.outbox) {
            Ok(size) => {
                running.outbox.drain(..size);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // An agent that does not read its input may still answer.
            Err(_) => {
                running.outbox.clear();
                running.process.stdin = None;
            }
        }
        if running.outbox.is_empty() && running.close_input {
            running.process.stdin = None;
        }
    }

    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.take_step(step);
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Say(event) => {
                self.house.telemetry.agent_says(self.log, &event);
                self.translator.say(event);
            }
            Step::Ask(ask) => self.answer(&ask),
            Step::Withdraw(_) | Step::Ready => {}
            Step::Conversation(id) => self.session.conversation = Some(id),
            Step::Write(bytes) => {
                self.running.outbox.extend_from_slice(&bytes);
                self.write();
            }
            Step::CloseInput => {
                self.running.close_input = true;
                if self.running.outbox.is_empty() {
                    self.running.process.stdin = None;
                }
            }
            Step::Wake(after) => self.wake_at = Some(Instant::now() + after),
            Step::End(outcome) => self.outcome = Some(outcome),
        }
    }

    /// Answers an ask by policy. This is the place where asks for people will branch off.
    fn answer(&mut self, ask: &Ask) {
        let allowed = self.house.agent.asks == AskPolicy::Allow && matches!(ask.kind, AskKind::Permission { .. });
        self.translator.asked(&ask.kind, allowed);
        let answer = if allowed {
            Answer::Allow { input: None }
        } else {
            let message = match &ask.kind {
                AskKind::Permission { tool, .. } => format!(
                    "{tool} was not allowed: nobody can be asked here, and the operator's policy is \
                     `agents.{}.asks: deny`. Continue without it, or say what you would have done.",
                    self.house.agent.key
                ),
                AskKind::Question { .. } => {
                    "nobody can be asked here; decide yourself, and say in your answer what you assumed".to_owned()
                }
            };
            Answer::Deny { message }
        };
        let steps = self.running.driver.answer(&ask.id, &answer);
        self.take(steps);
    }

    /// Begins to end the turn; the first cause stays.
    fn stop(&mut self, cause: Cause) {
        if self.cause.is_some() {
            return;
        }
        let polite = matches!(cause, Cause::Canceled | Cause::TimedOut | Cause::ServerStops);
        self.cause = Some(cause);
        if polite {
            let steps = self.running.driver.interrupt();
            if !steps.is_empty() {
                self.take(steps);
                self.ladder = Ladder::Interrupted;
                self.climb_at = Some(Instant::now() + self.house.config.timeouts.interrupt.get());
                return;
            }
        }
        self.climb();
    }

    /// The next rung: SIGTERM, then SIGKILL to the whole tree.
    fn climb(&mut self) {
        let control = &self.running.process.control;
        (self.ladder, self.climb_at) = if self.ladder < Ladder::Terminated {
            control.say(Word::Terminate);
            (Ladder::Terminated, Some(Instant::now() + self.house.config.timeouts.terminate.get()))
        } else {
            control.say(Word::Kill);
            (Ladder::Killed, None)
        };
    }

    /// What the agent said, against what was asked of it.
    fn judge(&mut self, outcome: Outcome) -> Outcome {
        match (self.cause.take(), outcome) {
            // It had finished before it heard of the cancel.
            (Some(Cause::Canceled), Outcome::Completed { answer }) if self.ladder <= Ladder::Interrupted => {
                Outcome::Completed { answer }
            }
            (Some(Cause::Canceled), _) => Outcome::Canceled,
            (Some(Cause::TimedOut), _) => Outcome::Failed {
                message: format!("the turn took longer than {}", self.house.config.timeouts.turn),
                hint: Some("the operator can raise `timeouts.turn` (`--timeout`)".to_owned()),
            },
            (Some(Cause::ServerStops), _) => stopped(),
            (Some(Cause::Fault(message, hint)), _) => Outcome::Failed { message, hint },
            (None, outcome) => outcome,
        }
    }

    fn exit(&self, ended: Ended) -> Exit {
        let stderr = String::from_utf8_lossy(&self.running.stderr).trim().to_owned();
        let (code, signal) = match ended {
            Ended::Code(code) => (Some(code), None),
            Ended::Signal(signal) => (None, Some(signal)),
            Ended::Unclear => (None, None),
        };
        Exit { code, signal, stderr }
    }

    async fn show(&mut self) {
        let records = self.translator.take();
        if records.is_empty() {
            return;
        }
        self.spoke = Instant::now();
        if let Err(error) = self.log.record(&self.house.store, records, Durability::Written).await {
            self.house.telemetry.store_failed(self.log, &error);
            let hint = "the operator must make room on the disk of `state_dir`".to_owned();
            self.stop(Cause::Fault(format!("the answer could not be stored: {error}"), Some(hint)));
        }
    }
}

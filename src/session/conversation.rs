//! One turn while its agent has it: a loop that listens to everything at once.
//!
//! # Pitfalls
//! Claude prints a second `result` after some interrupts; the driver tells it from the next turn's.
//! When the tree is gone both pipes come to their end, so what an agent said last is never cut off.

mod hosts;
mod judge;
mod steps;

use super::activity::{ActivitySender, SessionState, WaitsFor};
use super::disk::DiskFault;
use super::ending::{Cause, Ending, Measure, fault_with};
use super::failure::FailureCode;
use super::inbox::Inbox;
use super::limit::LimitReached;
use super::live::LiveSessions;
use super::long_line::{LinePlace, SHORT};
use super::model_calls::ModelCalls;
use super::pipe::read;
use super::questions::{Command, Questions};
use super::resources::{CurrentTurn, Learned, SessionResources, learned, session_used};
use super::running::Running;
use super::silence::Silence;
use super::translate::Translator;
use super::turn_clock::TurnClock;
use super::{Answer as PersonAnswer, Delivery, Interruption, SessionDeps, Wishes};
use crate::agent::{Agent, SessionStderr};
use crate::asks::RememberedDecision;
use crate::budget::Meter;
use crate::config::DriverKind;
use crate::store::{Durability, SessionRow, Write};
use crate::task::TaskLog;
use hosts::WaitingHosts;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::{Ask, Limit, Outcome, Timer, Turn as Prompt};
use pilothouse_egress::Refusal;
use pilothouse_sandbox::isolation::Obstacle;
use pilothouse_sandbox::process::Ended;
use pilothouse_sandbox::process::tree::Moment;
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// One turn while its agent has it.
pub(super) struct Conversation<'a> {
    deps: &'a Arc<SessionDeps>,
    live: &'a LiveSessions,
    agent: &'a Agent,
    row: &'a mut SessionRow,
    /// What the store knows of the session.
    noted: &'a mut Learned,
    activity: &'a ActivitySender,
    inbox: &'a mut Inbox,
    running: &'a mut Running,
    stderr: &'a mut SessionStderr,
    remembered: &'a mut Option<RememberedDecision>,
    /// What the agent asks and no policy has decided.
    undecided: Vec<Ask>,
    /// Connections that wait to be let through.
    hosts: WaitingHosts,
    /// Whether something was granted that may answer what is open.
    has_grant: bool,
    log: &'a Arc<TaskLog>,
    prompt: &'a Prompt,
    /// What its message wants beside its words.
    wishes: Option<&'a Wishes>,
    translator: &'a mut Translator,
    clock: &'a mut TurnClock,
    meter: &'a mut Meter,
    closing: &'a mut Vec<Write>,
    questions: Questions,
    ending: Ending,
    /// Ends when the session's folders do not let the turn go on.
    disk: Pin<Box<dyn Future<Output = DiskFault> + Send>>,
    /// When the driver wants to be woken, and what for.
    wakes: BTreeMap<Timer, Instant>,
    /// Until when it may hold a place among the starting ones.
    starts_until: Instant,
    /// When something was stored last.
    spoke: Instant,
    silence: Silence,
    /// The calls of models, where the agent tells of them.
    calls: Option<ModelCalls>,
    /// Whether the server stops, and it was heard.
    server_stops: bool,
    /// Whether the agent said anything in this turn.
    heard: bool,
    /// The limit of the account that its CLI has told of.
    limit: Option<Limit>,
    /// What began below the agent since this moment, began in this turn.
    since: Moment,
}

/// What has come of a conversation.
pub(super) struct Conversed {
    /// None where a question is left that has to be answered first, and the process is not waited for any longer.
    pub(super) outcome: Option<Outcome>,
    /// Whether the agent said anything.
    pub(super) heard: bool,
    /// Whether an overloaded model API refused the turn before anything was done.
    pub(super) refused: bool,
    /// Why another try is of no use, if it is.
    pub(super) limit: Option<LimitReached>,
    /// Why the turn fails, where it was ended for a reason of the server's.
    pub(super) failure: Option<FailureCode>,
    /// Where the turn was ended before its agent ended it: what began below the agent since, began in this turn.
    pub(super) stopped_since: Option<Moment>,
}

impl<'a> Conversation<'a> {
    /// Gives the turn's prompt to the agent and listens until the turn is over.
    pub(super) async fn run(
        session: &'a mut SessionResources,
        turn: &'a mut CurrentTurn,
    ) -> Conversed {
        let mut conversation = Self::new(session, turn);
        let outcome = conversation.listen().await;
        let Self { running, ending, heard, since, limit, deps, closing, calls, log, .. } =
            conversation;
        closing.extend(calls.and_then(|calls| calls.into_note(log.n)));
        running.starting = None;
        running.is_new = false;
        let stopped_since = ending.has_begun().then_some(since);
        let refused = stopped_since.is_none() && running.driver.may_repeat();
        let longest = deps.config.timeouts.retry_max.get();
        let Running { confinement, .. } = running;
        let (seen, is_carried) = (confinement.take_refusal(), confinement.carries_models());
        let limit = LimitReached::learn(limit, seen, is_carried, longest);
        let failure = ending.failure();
        Conversed { outcome, heard, refused, limit, failure, stopped_since }
    }

    fn new(session: &'a mut SessionResources, turn: &'a mut CurrentTurn) -> Self {
        let SessionResources {
            deps,
            live,
            agent,
            row,
            noted,
            activity,
            inbox,
            running,
            stderr,
            remembered,
            disk,
            ..
        } = session;
        let CurrentTurn { log, prompt, wishes, translator, clock, meter, closing, .. } = turn;
        let running = running.as_mut().expect("the process was just started or found");
        let tells_calls = agent.config.driver == DriverKind::Claude;
        Self {
            agent,
            row,
            noted,
            activity,
            inbox,
            stderr,
            remembered,
            undecided: Vec::new(),
            hosts: WaitingHosts::default(),
            has_grant: false,
            log,
            prompt,
            wishes: wishes.as_deref(),
            translator,
            clock: clock.as_mut().expect("it was started when the task became `WORKING`"),
            meter: meter.as_mut().expect("it was made before the agent was reached"),
            closing,
            questions: Questions::default(),
            ending: Ending::default(),
            disk: Box::pin(disk.clone().fault(running.process.tree)),
            wakes: BTreeMap::new(),
            starts_until: Instant::now() + deps.config.timeouts.start.get(),
            spoke: Instant::now(),
            silence: Silence::new(Instant::now()),
            calls: tells_calls.then(|| ModelCalls::new(Timestamp::now())),
            server_stops: false,
            heard: false,
            limit: None,
            since: Moment::now(),
            deps,
            live,
            running,
        }
    }

    async fn listen(&mut self) -> Option<Outcome> {
        let steps = self.running.driver.begin(self.prompt);
        self.take(steps);
        loop {
            self.hear_the_rest();
            self.judge_undecided().await;
            self.check_size();
            // What is said last is stored together with the end that follows it.
            if let Some(outcome) = self.ending.outcome.take() {
                return Some(self.finish(outcome));
            }
            if let Some(ended) = self.running.drained_end() {
                self.withdraw_hosts();
                // Where it died while a person was asked, the question is still theirs.
                let asks = self.questions.are_open() && !self.ending.has_begun();
                if asks && self.park().await {
                    return None;
                }
                return Some(self.hear_exit(ended));
            }
            self.note_state();
            self.show().await;
            self.running.update_line_place(&self.live.lines, &self.log.scope.caller);
            if self.hear_next().await.is_break() && self.park().await {
                return None;
            }
        }
    }

    /// The next thing that happens; whether the turn is left for a person's answer. Every arm is cancel-safe.
    async fn hear_next(&mut self) -> ControlFlow<()> {
        let (config, lively) = (&self.deps.config, !self.ending.has_begun());
        let far = Instant::now() + Duration::from_secs(86_400);
        let heartbeat = self.spoke + config.timeouts.heartbeat.get();
        let park = self.questions.park_at(config.asks.park.get());
        // Others of its subagents may go on, and would be lost with the process.
        let parks = park.is_some() && !self.running.works_in_background();
        let silent = self.silence.ends_at(config.timeouts.silence.get());
        let (roomy, unread) = (self.has_room(), !self.running.unread.is_empty());
        let (climb, wake) = (self.ending.climb_at(), self.wakes.values().min().copied());
        let gathers = self.translator.gathers_until().map(Instant::from_std);
        let (inbox, stops) = (&mut *self.inbox, self.server_stops);
        let interruption =
            async { if stops { inbox.order().await } else { inbox.interruption().await } };
        let running = &mut *self.running;
        if !roomy {
            running.line.pause(config);
        }
        let (line_waits, line_until) = (running.line.is_requested(), running.line.until());
        let hears = running.stdout_open && roomy && !unread && !line_waits;
        tokio::select! {
            biased;
            interruption = interruption => return self.obey(interruption),
            exceeded = self.meter.reached(), if lively => self.stop(Cause::Exceeded(exceeded)),
            question = running.confinement.next_question(), if lively => self.hosts.add(question),
            ask = self.hosts.abandoned() => self.withdraw(&ask),
            refusal = running.confinement.next_refusal() => self.hear_refusal(&refusal),
            fault = &mut self.disk, if lively => self.hear_disk(&fault),
            // Before the pipes: an agent that never stops talking would keep them from being heard. Waiting for a
            // person is nobody's working time.
            () = sleep_until(climb.unwrap_or(far)), if climb.is_some() => self.climb(),
            () = sleep_until(wake.unwrap_or(far)), if wake.is_some() => self.wake(),
            () = sleep_until(self.starts_until), if running.starting.is_some() => self.running.starting = None,
            () = sleep_until(self.clock.deadline()), if lively => self.stop(Cause::TimedOut),
            () = sleep_until(silent.unwrap_or(far)), if lively && silent.is_some() => self.stop(Cause::Silent),
            () = sleep_until(heartbeat), if lively && park.is_none() => self.beat(),
            () = sleep_until(park.unwrap_or(far)), if lively && parks => return ControlFlow::Break(()),
            () = sleep_until(gathers.unwrap_or(far)), if gathers.is_some() => {}
            () = std::future::ready(()), if unread && roomy => self.hear_unread(),
            () = sleep_until(line_until.unwrap_or(far)), if line_until.is_some() && lively => self.end_slow_line(),
            () = running.line.take(config), if line_waits => {}
            read = read(&running.process.stdout), if hears => self.hear_more(read),
            read = read(&running.process.stderr), if running.stderr_open => self.keep_stderr(read),
            ended = running.process.control.ended(), if running.ended.is_none() => self.running.ended = Some(ended),
            () = running.outbox.writable(running.process.stdin.as_ref()) => self.running.flush(),
        }
        ControlFlow::Continue(())
    }

    /// What others want of this turn; whether it is left for a person's answer.
    fn obey(&mut self, interruption: Interruption) -> ControlFlow<()> {
        let lively = !self.ending.has_begun();
        match interruption {
            Interruption::Cancel => self.stop(Cause::Canceled),
            Interruption::Steer => self.stop(Cause::Steered),
            Interruption::Answer(answer) => {
                let PersonAnswer { ask, decision, done } = *answer;
                let is_gone = self.running.look().is_some();
                // What the agent said before it ended: it may have withdrawn the question, or ended its turn.
                self.hear_the_rest();
                let lively = !self.ending.has_begun() && self.ending.outcome.is_none();
                if is_gone && lively && self.questions.forget(&ask) {
                    // Nobody is there to hear it; whoever answered resumes the conversation.
                    let _ = done.send(Delivery::Gone);
                    return ControlFlow::Break(());
                }
                let _ = done.send(self.answer_question(&ask, &decision));
            }
            Interruption::Park => {
                if lively && self.questions.are_open() {
                    return ControlFlow::Break(());
                }
            }
            Interruption::Stop => {
                self.server_stops = true;
                if lively && self.questions.are_open() {
                    return ControlFlow::Break(());
                }
                self.stop(Cause::ServerStops);
            }
        }
        ControlFlow::Continue(())
    }

    fn hear_refusal(&mut self, refusal: &Refusal) {
        self.translator.report_refusal(refusal);
        self.live.note_refusal(self.deps, Some(self.log), &self.log.scope, refusal);
    }

    fn hear_disk(&mut self, fault: &DiskFault) {
        self.disk = Box::pin(std::future::pending());
        self.stop(fault_with(fault, fault.hint()));
    }

    fn wake(&mut self) {
        let first = self.wakes.iter().min_by_key(|(_, at)| **at).map(|(timer, _)| *timer);
        if let Some(timer) = first {
            self.wakes.remove(&timer);
            let steps = self.running.driver.woke(timer);
            self.take(steps);
        }
    }

    /// Whether only the model can say something now: nobody is asked, nothing runs in the background, and no hook runs.
    fn awaits_model(&self) -> bool {
        let has_model = matches!(self.agent.config.driver, DriverKind::Claude | DriverKind::Acp);
        let is_at_work = self.running.works_in_background() || self.running.driver.runs_hooks();
        has_model && !self.questions.are_open() && !is_at_work
    }

    fn beat(&mut self) {
        let silence = self.silence.length(Instant::now());
        let (text, data) = match silence {
            Some(silence) => {
                let seconds = silence.as_secs();
                let data = json!({"kind": "silence", "seconds": seconds});
                (format!("no word from the model for {seconds} s"), Some(data))
            }
            None => {
                let seconds = self.translator.elapsed().as_secs();
                (format!("still working after {seconds} s"), None)
            }
        };
        self.translator.status(&text, data);
    }

    fn end_slow_line(&mut self) {
        self.running.line = LinePlace::None;
        let longest = self.deps.config.timeouts.line;
        let message = format!(
            "the agent began a line of more than {SHORT} bytes and did not end it within {longest}"
        );
        self.stop(fault_with(&message, "the server's operator can raise `timeouts.line`"));
    }

    // === questions ===

    fn carry_out(&mut self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            match command {
                Command::Tell(ask, answer) if WaitingHosts::is_about(&ask) => {
                    self.hosts.answer(&ask, &answer);
                }
                Command::Tell(ask, answer) => {
                    let steps = self.running.driver.answer(&ask, &answer);
                    self.take(steps);
                }
                Command::Close(id) => {
                    if self.deps.asks.remove(&id).is_none() {
                        self.inbox.expect_late_answer(id);
                    }
                }
            }
        }
    }

    /// Says whether a person is asked; meanwhile the turn's time stands still.
    fn note_state(&mut self) {
        let now = Instant::now();
        self.silence.note(self.awaits_model(), now);
        if self.questions.are_open() {
            self.activity.enter(SessionState::Waiting(WaitsFor::Answer));
            self.clock.pause(now);
            return;
        }
        let ends = self.ending.has_begun();
        self.activity.enter(if ends { SessionState::Ending } else { SessionState::Running });
        if self.clock.resume(now) {
            self.spoke = now;
        }
    }

    /// The process is not waited for any longer; the question stays the task's status. False where that could not
    /// be stored: then the turn is being ended, and its questions are closed.
    async fn park(&mut self) -> bool {
        self.questions.park(self.translator.take_all());
        self.show().await;
        !self.ending.has_begun()
    }

    // === the end ===

    /// Begins to end the turn; the first cause stays.
    fn stop(&mut self, cause: Cause) {
        if !self.ending.begin(cause) {
            return;
        }
        // Nobody needs to answer any more, and what was held back for the question is shown.
        let closed = self.questions.close_all();
        self.carry_out(closed);
        let polite = !self.ending.is_fault();
        let steps = if polite { self.running.driver.interrupt() } else { Vec::new() };
        if steps.is_empty() {
            return self.climb();
        }
        self.take(steps);
        self.ending.interrupt(Instant::now(), self.deps.config.timeouts.interrupt.get());
    }

    fn climb(&mut self) {
        let patience = self.deps.config.timeouts.terminate.get();
        match self.ending.climb(Instant::now(), patience, self.running.ended.is_some()) {
            Measure::Say(word) => self.running.process.control.say(word),
            Measure::Abandon => {
                tracing::warn!(task.id = %self.log.id, "the agent's process could not be ended; its task ends without it");
                self.running.ended.get_or_insert(Ended::Unclear);
                (self.running.stdout_open, self.running.stderr_open) = (false, false);
            }
        }
    }

    /// The process has ended, and everything it said was heard.
    fn hear_exit(&mut self, ended: Ended) -> Outcome {
        let exit = self.running.exit(ended);
        let steps = self.running.driver.exit(&exit);
        self.take(steps);
        let outcome = self.ending.outcome.take();
        let mut outcome = outcome.unwrap_or_else(|| Outcome::Failed {
            message: "the agent ended without a word".to_owned(),
            hint: None,
        });
        let of_sandbox = match ended {
            Ended::Code(126 | 127) => Some(Obstacle::COMMAND.to_owned()),
            Ended::Code(_) | Ended::Signal(_) | Ended::Unclear => {
                Obstacle::explain_missing_path(exit.last_words())
            }
        };
        if let Outcome::Failed { hint, .. } = &mut outcome
            && let Some(more) = of_sandbox.filter(|_| self.deps.isolation.is_sandboxed())
        {
            *hint = Some(hint.take().map(|hint| format!("{hint}; ")).unwrap_or_default() + &more);
        }
        self.finish(outcome)
    }

    /// The turn is over, and with it everything that was asked in it.
    fn finish(&mut self, outcome: Outcome) -> Outcome {
        let closed = self.questions.close_all();
        self.carry_out(closed);
        self.note_state();
        // What was held back for a question is stored with the end, and so is that nobody is asked any more.
        let (held, _) = self.questions.release(Vec::new());
        self.translator.put_back(held);
        self.closing.extend(self.questions.changes().1);
        self.ending.judge(outcome, &self.deps.config)
    }

    /// Stores what has gathered, and shows it.
    async fn show(&mut self) {
        let (mut records, shown) = self.questions.release(self.translator.take());
        if let Some(row) = shown {
            self.translator.pose(&row);
            records.append(&mut self.translator.take());
        }
        let (fresh, mut also) = self.questions.changes();
        if self.row.conversation != self.noted.1 {
            // After a crash the next turn goes on with it, whoever sends it.
            also.push(session_used(self.row, Timestamp::now()));
            *self.noted = learned(self.row);
        }
        if records.is_empty() && also.is_empty() {
            return;
        }
        self.spoke = Instant::now();
        let has_status = Self::has_status(&records);
        let stored = self.log.record_with(&self.deps.store, also, records, Durability::Written);
        if let Err(error) = stored.await {
            for row in &fresh {
                self.deps.asks.remove(&row.id);
            }
            self.deps.telemetry.store_failed(self.log, &error);
            let message = format!("the answer could not be stored: {error}");
            let hint = "the operator must make room on the disk of `state_dir`";
            self.stop(fault_with(&message, hint));
        } else {
            self.note_shown(&fresh, has_status);
        }
    }
}

//! One turn while its agent has it: a loop that listens to everything at once.
//!
//! # Pitfalls
//!
//! Claude prints a second `result` after some interrupts; the driver tells it from the next turn's.
//! When the tree is gone both pipes come to their end, so what an agent said last is never cut off.

use super::disk::{DiskFault, DiskWatch};
use super::inbox::{Inbox, Interruption, answered_too_late};
use super::long_line::{self, LinePlace, SHORT};
use super::pipe::{Chunk, read, try_read};
use super::running::Running;
use super::translate::Translator;
use super::turn_clock::TurnClock;
use super::{Delivery, House};
use crate::agent::Agent;
use crate::asks::{self, Decision, Pass};
use crate::budget::{Exceeded, Meter};
use crate::clock;
use crate::config::{AskPolicy, Config};
use crate::egress::Refusal;
use crate::process::Ended;
use crate::process::tree::Moment;
use crate::store::{AskRow, Durability, SessionRow, Write};
use crate::supervisor::{KILL_DEADLINE, Word};
use crate::task::{Record, TaskLog};
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::event::Event;
use pilothouse_agents::lines::LineCutter;
use pilothouse_agents::{Answer, Ask, AskKind, Outcome, Step};
use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Records that are stored at a time, and those that are held back while a question is shown. A record of a
/// line of some bytes takes more than a kilobyte until it is stored, so the agent has to wait for the store.
const HELD: usize = 512;

/// Bytes of records that are stored at a time, likewise.
const HELD_BYTES: usize = 128 * 1024;

/// How far the end of a turn has been driven.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ladder {
    Running,
    Interrupted,
    Terminated,
    Killed,
    /// Not even SIGKILL ended the tree or closed its pipes; it is not waited for any longer.
    Abandoned,
}

/// Why a turn is being ended before its agent ended it.
enum Cause {
    /// The caller wants something else, at once.
    Steered,
    Canceled,
    /// A ceiling is reached, by this turn or by those beside it.
    Exceeded(Exceeded),
    TimedOut,
    ServerStops,
    Fault(String, Option<String>),
}

/// Something happened while a turn ran.
enum Happened {
    Output(std::io::Result<Chunk>),
    /// The agent need not wait any longer.
    Unread,
    ErrorOutput(std::io::Result<Chunk>),
    Ended(Ended),
    Writable,
    Woke,
    Climb,
    Deadline,
    /// The process takes too long to get ready for others to wait for it.
    SlowStart,
    /// A long line has its place.
    LinePlace,
    /// A long line takes too long.
    SlowLine,
    Heartbeat,
    /// A person was waited for long enough.
    Park,
    Exceeded(Exceeded),
    /// A request of the agent did not get through its wall.
    Refused(Refusal),
    /// The session's folders are larger than they may be, or cannot be measured.
    Disk(DiskFault),
    Interrupted(Interruption),
}

/// One turn while its agent has it.
pub(super) struct Conversation<'a> {
    pub(super) house: &'a Arc<House>,
    pub(super) agent: &'a Agent,
    pub(super) session: &'a mut SessionRow,
    pub(super) inbox: &'a mut Inbox,
    pub(super) running: &'a mut Running,
    pub(super) log: &'a Arc<TaskLog>,
    pub(super) translator: &'a mut Translator,
    ladder: Ladder,
    climb_at: Option<Instant>,
    wake_at: Option<Instant>,
    /// When the turn has taken too long.
    clock: &'a mut TurnClock,
    /// Until when it may hold a place among the starting ones.
    starts_until: Instant,
    spoke: Instant,
    cause: Option<Cause>,
    /// Whether the server stops, and it was heard.
    server_stops: bool,
    /// Who cancels the task, to be told when it is over.
    cancelers: &'a mut Vec<oneshot::Sender<bool>>,
    outcome: Option<Outcome>,
    /// Whether the agent said anything in this turn.
    pub(super) heard: bool,
    /// What began below the agent since this moment, began in this turn.
    pub(super) since: Moment,
    /// Whether the turn was ended before its agent ended it.
    pub(super) stopped: bool,
    /// What a person has to answer, the first of them as the task's status.
    waiting: Vec<Waiting>,
    waiting_since: Instant,
    /// Asks that are not stored yet.
    fresh: Vec<Arc<AskRow>>,
    /// Asks that are not open any more.
    gone: Vec<Arc<str>>,
    /// Those of them to which an answer was on its way already.
    answered_late: &'a mut Vec<Arc<str>>,
    /// Whether the question is on its way to be shown.
    posing: bool,
    /// What was said while a question is shown, so that it stays the task's status.
    held: Vec<Record>,
    /// Bytes of output that these came from.
    held_bytes: usize,
    /// What was granted for the session, and what was decided while no process was there.
    pub(super) granted: &'a mut Granted,
    /// What the turn uses.
    meter: &'a mut Meter,
    /// Ends when the session's folders do not let it go on.
    disk: Pin<Box<dyn Future<Output = DiskFault> + Send>>,
}

/// An ask of the agent that waits for a person.
struct Waiting {
    /// The driver's id of it.
    ask: String,
    /// The tool that it is about, where it is about one.
    tool: Option<String>,
    row: Arc<AskRow>,
}

/// Answers that are known before the agent asks.
#[derive(Debug, Default)]
pub(super) struct Granted {
    /// Tools that may run in this session without being asked.
    pub(super) tools: HashSet<String>,
    /// What was decided about a call whose process is gone; it passes once.
    pub(super) passes: Vec<Pass>,
}

impl<'a> Conversation<'a> {
    #[expect(clippy::too_many_arguments, reason = "the parts of an actor that a turn borrows")]
    pub(super) fn new(
        house: &'a Arc<House>,
        agent: &'a Agent,
        session: &'a mut SessionRow,
        inbox: &'a mut Inbox,
        running: &'a mut Running,
        log: &'a Arc<TaskLog>,
        translator: &'a mut Translator,
        granted: &'a mut Granted,
        meter: &'a mut Meter,
        clock: &'a mut TurnClock,
        cancelers: &'a mut Vec<oneshot::Sender<bool>>,
        answered_late: &'a mut Vec<Arc<str>>,
        disk: DiskWatch,
    ) -> Self {
        let disk = Box::pin(disk.fault(running.process.tree));
        Self {
            house,
            agent,
            session,
            inbox,
            running,
            log,
            translator,
            ladder: Ladder::Running,
            climb_at: None,
            wake_at: None,
            clock,
            starts_until: Instant::now() + house.config.timeouts.start.get(),
            spoke: Instant::now(),
            cause: None,
            server_stops: false,
            cancelers,
            outcome: None,
            heard: false,
            since: Moment::now(),
            stopped: false,
            waiting: Vec::new(),
            waiting_since: Instant::now(),
            fresh: Vec::new(),
            gone: Vec::new(),
            answered_late,
            posing: false,
            held: Vec::new(),
            held_bytes: 0,
            granted,
            meter,
            disk,
        }
    }

    /// Gives the prompt to the agent and listens until the turn is over; none where a question is left
    /// that has to be answered first, and the process is not waited for any longer.
    pub(super) async fn run(&mut self, prompt: &pilothouse_agents::Turn) -> Option<Outcome> {
        let steps = self.running.driver.begin(prompt);
        self.take(steps);
        self.listen().await
    }

    async fn listen(&mut self) -> Option<Outcome> {
        loop {
            self.hear_the_rest();
            self.check_size();
            // What is said last is stored together with the end that follows it.
            if let Some(outcome) = self.outcome.take() {
                self.void();
                return Some(self.judge(outcome));
            }
            if let Some(ended) = self.running.ended
                && !self.running.stdout_open
                && !self.running.stderr_open
            {
                if !self.waiting.is_empty() && self.cause.is_none() {
                    // It died while a person was asked; the question is still theirs.
                    return self.parked().await;
                }
                let exit = self.running.exit(ended);
                let steps = self.running.driver.exit(&exit);
                self.take(steps);
                let silent = Outcome::Failed {
                    message: "the agent ended without a word".to_owned(),
                    hint: None,
                };
                let outcome = self.outcome.take().unwrap_or(silent);
                self.void();
                return Some(self.judge(outcome));
            }
            self.show().await;
            self.running.update_line_place(&self.house.lines, &self.log.scope.caller);
            match self.happened().await {
                Happened::Output(read) => self.hear(read),
                Happened::Unread => self.hear_unread(),
                Happened::ErrorOutput(read) => {
                    self.running.keep_stderr(read, self.house.config.limits.stderr.as_usize())
                }
                Happened::Ended(ended) => self.running.ended = Some(ended),
                Happened::Writable => self.running.flush(),
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
                Happened::SlowStart => self.running.starting = None,
                Happened::LinePlace => {}
                Happened::SlowLine => {
                    self.running.line = LinePlace::None;
                    self.stop(Cause::Fault(
                        format!("the agent began a line of more than {SHORT} bytes and did not end it within {}", self.house.config.timeouts.line),
                        Some("the server's operator can raise `timeouts.line`".to_owned()),
                    ));
                }
                Happened::Interrupted(Interruption::Cancel(done)) => {
                    self.cancelers.push(done);
                    if let Some(Cause::Steered) = self.cause {
                        self.cause = Some(Cause::Canceled);
                    }
                    self.stop(Cause::Canceled);
                }
                Happened::Interrupted(Interruption::Answer(id, decision, done)) => {
                    let is_gone = self.running.process.control.try_ended().is_some();
                    if is_gone && self.cause.is_none() {
                        // Nobody is there to hear it; whoever answered resumes the conversation.
                        self.waiting.retain(|one| one.row.id != id);
                        let _ = done.send(Delivery::Gone);
                        return self.parked().await;
                    }
                    let _ = done.send(self.answered(&id, &decision));
                }
                Happened::Interrupted(Interruption::Steer) => self.stop(Cause::Steered),
                Happened::Interrupted(Interruption::Stop) => {
                    self.server_stops = true;
                    if self.cause.is_none() && !self.waiting.is_empty() {
                        return self.parked().await;
                    }
                    self.stop(Cause::ServerStops);
                }
                Happened::Park => return self.parked().await,
                Happened::Exceeded(exceeded) => self.stop(Cause::Exceeded(exceeded)),
                Happened::Refused(refusal) => {
                    self.translator.refused(&refusal);
                    let telemetry = &self.house.telemetry;
                    let scope = &self.log.scope;
                    telemetry.egress_refused(Some(self.log), scope, &refusal).await;
                }
                Happened::Disk(fault) => {
                    self.disk = Box::pin(std::future::pending());
                    self.stop(Cause::Fault(fault.to_string(), Some(fault.hint())));
                }
            }
        }
    }

    /// When the tree is gone, what it has left in the pipes is read at once, up to their ends.
    fn hear_the_rest(&mut self) {
        let ended = self.running.look();
        if ended.is_some() || self.outcome.is_some() {
            self.hear_unread();
        }
        while self.running.ended.is_some() && self.running.stdout_open && self.outcome.is_none() {
            match try_read(&self.running.process.stdout) {
                Some(read) => self.hear(read),
                None => break,
            }
        }
        while self.running.ended.is_some() && self.running.stderr_open {
            match try_read(&self.running.process.stderr) {
                Some(read) => {
                    self.running.keep_stderr(read, self.house.config.limits.stderr.as_usize())
                }
                None => break,
            }
        }
    }

    /// The next thing that happens. Every arm is cancel-safe.
    async fn happened(&mut self) -> Happened {
        let far = Instant::now() + Duration::from_secs(86_400);
        let stopping = self.cause.is_some();
        let heartbeat = self.spoke + self.house.config.timeouts.heartbeat.get();
        let (asks, roomy) = (!self.waiting.is_empty(), self.is_roomy());
        let is_unread = !self.running.unread.is_empty();
        let park = self.waiting_since + self.house.config.asks.park.get();
        let stops = self.server_stops;
        let (inbox, task) = (&mut *self.inbox, Some(&self.log.id));
        let interruption =
            async { if stops { inbox.order(task).await } else { inbox.interruption(task).await } };
        let running = &mut *self.running;
        let (line_waits, line_until) = (running.line.is_requested(), running.line.until());
        tokio::select! {
            biased;
            interruption = interruption => Happened::Interrupted(interruption),
            exceeded = self.meter.reached(), if !stopping => Happened::Exceeded(exceeded),
            refusal = running.held.refused() => Happened::Refused(refusal),
            fault = &mut self.disk, if !stopping => Happened::Disk(fault),
            // Before the pipes: an agent that never stops talking would keep them from being heard. Waiting for a
            // person is nobody's working time.
            () = tokio::time::sleep_until(self.climb_at.unwrap_or(far)), if self.climb_at.is_some() => Happened::Climb,
            () = tokio::time::sleep_until(self.wake_at.unwrap_or(far)), if self.wake_at.is_some() => Happened::Woke,
            () = tokio::time::sleep_until(self.starts_until), if running.starting.is_some() => Happened::SlowStart,
            () = tokio::time::sleep_until(self.clock.deadline()), if !stopping => Happened::Deadline,
            () = tokio::time::sleep_until(heartbeat), if !stopping && !asks => Happened::Heartbeat,
            () = tokio::time::sleep_until(park), if !stopping && asks => Happened::Park,
            () = std::future::ready(()), if is_unread && roomy => Happened::Unread,
            () = tokio::time::sleep_until(line_until.unwrap_or(far)), if line_until.is_some() && !stopping => Happened::SlowLine,
            () = running.line.take(&self.house.config), if line_waits => Happened::LinePlace,
            read = read(&running.process.stdout), if running.stdout_open && roomy && !is_unread && !line_waits => Happened::Output(read),
            read = read(&running.process.stderr), if running.stderr_open => Happened::ErrorOutput(read),
            ended = running.process.control.ended(), if running.ended.is_none() => Happened::Ended(ended),
            () = running.outbox.writable(running.process.stdin.as_ref()) => Happened::Writable,
        }
    }

    fn hear(&mut self, read: std::io::Result<Chunk>) {
        let Some(chunk) = read.ok().filter(|chunk| !chunk.is_empty()) else {
            self.running.stdout_open = false;
            let rest = self.running.cutter.as_mut().and_then(LineCutter::finish);
            if let Some(line) = rest {
                self.hear_line(&line);
            }
            return;
        };
        self.heard = true;
        if !self.waiting.is_empty() {
            self.held_bytes += chunk.len();
        }
        if self.running.cutter.is_some() {
            self.hear_lines(&chunk);
        } else {
            self.house.telemetry.raw().line(&self.session.id, Some(&self.log.id), &chunk);
            let steps = self.running.driver.chunk(&chunk);
            self.take(steps);
        }
    }

    /// Ends a turn that says more than may be stored.
    fn check_size(&mut self) {
        let limits = &self.house.config.limits;
        let answer = (self.translator.answer_bytes(), limits.answer, "answer is", "limits.answer");
        let events = (
            self.translator.stored_bytes(),
            limits.turn_events,
            "events are",
            "limits.turn_events",
        );
        for (size, limit, what, key) in [answer, events] {
            if size > limit.as_usize() {
                self.stop(Cause::Fault(
                    format!("the turn's {what} larger than {limit}"),
                    Some(format!("the server's operator can raise `{key}`")),
                ));
            }
        }
    }

    fn hear_unread(&mut self) {
        let unread = std::mem::take(&mut self.running.unread);
        self.hear_lines(&unread);
    }

    /// Hears lines as long as there is room for what they bring; the rest is kept.
    fn hear_lines(&mut self, bytes: &[u8]) {
        let Some(mut cutter) = self.running.cutter.take() else {
            return;
        };
        let mut unread = Vec::new();
        let mut lines = cutter.push(bytes);
        loop {
            let Some(line) = lines.next() else {
                drop(lines);
                break;
            };
            match line {
                Ok(line) => self.hear_line(&line),
                Err(too_long) => self.stop(Cause::Fault(
                    format!("the agent wrote a line longer than {} bytes", too_long.limit),
                    Some("the server's operator can raise `limits.line`".to_owned()),
                )),
            }
            let waits = self.running.ended.is_none() && self.outcome.is_none() && !self.is_roomy();
            if waits {
                unread = lines.leave().to_vec();
                break;
            }
        }
        self.running.unread = unread;
        self.running.cutter = Some(cutter);
    }

    /// Whether what the agent says next has room; if not, the agent waits.
    fn is_roomy(&self) -> bool {
        let config = &self.house.config;
        let (gathered, gathered_bytes) = self.translator.gathered();
        self.waiting.len() < config.asks.per_turn
            && self.held.len() + gathered < HELD
            && gathered_bytes < HELD_BYTES
            && self.held_bytes <= config.asks.held.as_usize()
            && self.running.outbox.waiting() <= config.limits.outbox.as_usize()
    }

    fn hear_line(&mut self, line: &[u8]) {
        self.house.telemetry.raw().line(&self.session.id, Some(&self.log.id), line);
        if self.outcome.is_some() {
            // Said after the end of the turn: nobody's, but a request is still answered.
            self.running.answer_stray_line(line, &self.house.config);
            return;
        }
        if let Some((message, hint)) = long_line::fault(line, &self.house.config) {
            self.stop(Cause::Fault(message, Some(hint)));
            return;
        }
        let steps = self.running.driver.line(line);
        self.take(steps);
    }

    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.take_step(step);
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Say(event) => {
                self.log.reveal();
                self.house.telemetry.agent_says(self.log, &event);
                if let Event::Usage(usage) = &event {
                    // What it reaches is heard of where everything is, unless the turn ends with it.
                    let _ = self.meter.used(usage, self.running.held.proxied_tokens());
                }
                // A turn that is ended for a fault stores no more of what its agent goes on to say.
                if !matches!(self.cause, Some(Cause::Fault(..))) {
                    self.translator.say(event);
                }
            }
            Step::Ask(ask) => {
                self.log.reveal();
                self.answer(ask);
            }
            Step::Withdraw(id) => self.withdrawn(&id),
            Step::Ready => {
                // A process that was started for this turn: what it has now (MCP servers, say) is its own.
                self.running.starting = None;
                if std::mem::take(&mut self.running.is_new) {
                    self.since = Moment::now();
                }
            }
            Step::Conversation(id) => self.session.conversation = Some(id),
            Step::Write(bytes) => self.running.write(bytes),
            Step::CloseInput => {
                self.running.outbox.close();
                self.running.flush();
            }
            Step::Wake(after) => self.wake_at = Some(Instant::now() + after),
            Step::End(outcome) => self.outcome = Some(outcome),
        }
    }

    // === asks ===

    /// Answers an ask as it is known, or by policy, or asks a person.
    fn answer(&mut self, ask: Ask) {
        if self.cause.is_some() {
            let message = "the turn is being ended".to_owned();
            self.tell(&ask.id, &Answer::Deny { message });
            return;
        }
        if let Some(answer) = self.known(&ask.kind) {
            self.tell(&ask.id, &answer);
            return;
        }
        let policy = asks::policy(&self.agent.config, &self.log.scope.caller, &ask.kind);
        if policy == AskPolicy::Ask {
            self.ask(ask);
            return;
        }
        let allowed = policy == AskPolicy::Allow;
        self.translator.asked(&ask.kind, allowed);
        let answer = if allowed {
            Answer::Allow { input: None }
        } else {
            let message = match &ask.kind {
                AskKind::Permission { tool, .. } => format!(
                    "{tool} was not allowed: the operator's policy for this caller is to deny it (`agents.{}.asks`, \
                     `ask_rules`). Continue without it, or say what you would have done.",
                    self.agent.key
                ),
                AskKind::Question { .. } => {
                    "nobody can be asked here; decide yourself, and say in your answer what you assumed".to_owned()
                }
            };
            Answer::Deny { message }
        };
        self.tell(&ask.id, &answer);
    }

    /// An answer that was given already: for the session, or while the process was gone.
    fn known(&mut self, kind: &AskKind) -> Option<Answer> {
        let passes = &mut self.granted.passes;
        if !passes.is_empty() {
            let data = asks::data(kind.clone());
            if let Some(place) = passes.iter().position(|pass| asks::same(&pass.ask, &data)) {
                return Some(passes.remove(place).answer);
            }
        }
        match kind {
            AskKind::Permission { tool, .. } if self.granted.tools.contains(tool) => {
                Some(Answer::Allow { input: None })
            }
            _ => None,
        }
    }

    fn ask(&mut self, ask: Ask) {
        let now = clock::now();
        let tool = match &ask.kind {
            AskKind::Permission { tool, .. } => Some(tool.clone()),
            AskKind::Question { .. } => None,
        };
        let row = Arc::new(AskRow {
            id: Arc::from(uuid::Uuid::now_v7().to_string()),
            n: self.log.n,
            task: self.log.id.clone(),
            scope: self.log.scope.clone(),
            context_id: self.log.context_id.clone(),
            ask: asks::data(ask.kind),
            ends_turn: false,
            created: now,
            deadline: asks::deadline(now, &self.house.config),
        });
        // Known before it is shown: whoever sees it may answer at once.
        if let Err(full) = self.house.asks.add(row.clone()) {
            return self.stop(Cause::Fault(full.to_string(), Some(full.hint())));
        }
        self.fresh.push(row.clone());
        self.waiting.push(Waiting { ask: ask.id, tool, row });
        if self.waiting.len() == 1 {
            self.waiting_since = Instant::now();
            self.clock.pause(self.waiting_since);
            self.pose();
        }
    }

    /// The first question that waits is to be shown: after all that was said so far, so that it is the
    /// task's status.
    fn pose(&mut self) {
        self.posing = true;
    }

    /// A person has answered; the task is stored as working again.
    fn answered(&mut self, id: &str, decision: &Decision) -> Delivery {
        let Some(place) = self.waiting.iter().position(|one| *one.row.id == *id) else {
            return self.answered_too_late(id);
        };
        let Waiting { ask, tool, .. } = self.waiting.remove(place);
        self.tell(&ask, &decision.answer());
        if let (Decision::Allow { session: true, .. }, Some(tool)) = (decision, tool) {
            self.answer_the_same(&tool);
            self.granted.tools.insert(tool);
        }
        self.next_question();
        Delivery::Told
    }

    /// A person has answered what the agent had withdrawn meanwhile, or what another process asked.
    fn answered_too_late(&mut self, id: &str) -> Delivery {
        let delivery = answered_too_late(self.answered_late, id);
        if delivery == Delivery::Withdrawn && !self.waiting.is_empty() {
            // The answer has made the task `WORKING`.
            self.pose();
        }
        delivery
    }

    /// What waits already and is granted by now.
    fn answer_the_same(&mut self, granted: &str) {
        let waiting = std::mem::take(&mut self.waiting);
        for one in waiting {
            if one.tool.as_deref() == Some(granted) {
                self.drop_ask(&one.row);
                self.tell(&one.ask, &Answer::Allow { input: None });
            } else {
                self.waiting.push(one);
            }
        }
    }

    /// An ask is not open any more, stored or not.
    fn drop_ask(&mut self, row: &AskRow) {
        if self.house.asks.take(&row.id).is_none() {
            self.answered_late.push(row.id.clone());
        }
        self.fresh.retain(|fresh| fresh.id != row.id);
        self.gone.push(row.id.clone());
    }

    /// The agent does not want to know any more.
    fn withdrawn(&mut self, id: &str) {
        let Some(place) = self.waiting.iter().position(|one| one.ask == *id) else {
            return;
        };
        let Waiting { row, .. } = self.waiting.remove(place);
        self.drop_ask(&row);
        if place == 0 {
            self.next_question();
            if self.waiting.is_empty() && self.cause.is_none() {
                self.translator.status("the question was withdrawn", None);
            }
        }
    }

    /// The next question, or the turn goes on where it stood.
    fn next_question(&mut self) {
        if self.waiting.is_empty() {
            self.spoke = Instant::now();
            self.clock.resume(self.spoke);
        } else {
            self.pose();
        }
    }

    /// The turn is over, and with it whatever was asked in it.
    fn void(&mut self) {
        for Waiting { row, .. } in std::mem::take(&mut self.waiting) {
            self.drop_ask(&row);
        }
        self.clock.resume(Instant::now());
    }

    /// The process is not waited for any longer; the question stays the task's status.
    async fn parked(&mut self) -> Option<Outcome> {
        self.held.append(&mut self.translator.take_all());
        if !self.held.is_empty() && !self.waiting.is_empty() {
            for record in &mut self.held {
                if let Record::Status(update) = record {
                    update.status.state = TaskState::InputRequired;
                }
            }
            self.pose();
        }
        self.show().await;
        None
    }

    fn tell(&mut self, ask: &str, answer: &Answer) {
        let steps = self.running.driver.answer(ask, answer);
        self.take(steps);
    }

    /// Begins to end the turn; the first cause stays.
    fn stop(&mut self, cause: Cause) {
        if self.cause.is_some() {
            return;
        }
        self.stopped = true;
        // Nobody needs to answer any more, and what was held back for the question is shown.
        self.void();
        let polite = matches!(
            cause,
            Cause::Canceled
                | Cause::Steered
                | Cause::Exceeded(_)
                | Cause::TimedOut
                | Cause::ServerStops
        );
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

    /// The next rung: SIGTERM, then SIGKILL to the whole tree. What survives that, because its supervisor is
    /// gone or the kernel holds it, ends the turn as well.
    fn climb(&mut self) {
        let control = &self.running.process.control;
        let patience = self.house.config.timeouts.terminate.get();
        let (ladder, wait) = match self.ladder {
            Ladder::Running | Ladder::Interrupted => {
                control.say(Word::Terminate);
                (Ladder::Terminated, Some(patience))
            }
            Ladder::Terminated => {
                control.say(Word::Kill);
                // Where the tree is reported as gone, only its pipes are waited for.
                let kill =
                    if self.running.ended.is_some() { Duration::ZERO } else { KILL_DEADLINE };
                (Ladder::Killed, Some(kill + patience))
            }
            Ladder::Killed | Ladder::Abandoned => {
                tracing::warn!(task.id = %self.log.id, "the agent's process could not be ended; its task ends without it");
                self.running.ended.get_or_insert(Ended::Unclear);
                (self.running.stdout_open, self.running.stderr_open) = (false, false);
                (Ladder::Abandoned, None)
            }
        };
        (self.ladder, self.climb_at) = (ladder, wait.map(|wait| Instant::now() + wait));
    }

    /// What the agent said, against what was asked of it.
    fn judge(&mut self, outcome: Outcome) -> Outcome {
        match (self.cause.take(), outcome) {
            // It had finished before it heard of the cancel.
            (Some(Cause::Canceled), Outcome::Completed { answer })
                if self.ladder <= Ladder::Interrupted =>
            {
                Outcome::Completed { answer }
            }
            (Some(Cause::Canceled), _) => Outcome::Canceled,
            // What it was told instead is the next turn of the task.
            (Some(Cause::Steered), Outcome::Completed { answer }) => Outcome::Completed { answer },
            (Some(Cause::Steered), _) => Outcome::Completed { answer: None },
            // It had finished before it heard of the interrupt.
            (Some(Cause::Exceeded(_)), Outcome::Completed { answer })
                if self.ladder <= Ladder::Interrupted =>
            {
                Outcome::Completed { answer }
            }
            (Some(Cause::Exceeded(exceeded)), _) => {
                Outcome::Failed { message: exceeded.to_string(), hint: None }
            }
            (Some(Cause::TimedOut), _) => timed_out(&self.house.config),
            (Some(Cause::ServerStops), _) => stopped(),
            (Some(Cause::Fault(message, hint)), _) => Outcome::Failed { message, hint },
            (None, outcome) => outcome,
        }
    }

    async fn show(&mut self) {
        let mut records = std::mem::take(&mut self.held);
        records.append(&mut self.translator.take());
        if let (true, Some(Waiting { row, .. })) = (self.posing, self.waiting.first()) {
            self.translator.pose(&row.id, &row.ask, row.deadline);
            records.append(&mut self.translator.take());
        } else if !self.waiting.is_empty() {
            // Another ask is stored at once; what is said beside it waits.
            self.held = std::mem::take(&mut records);
        }
        self.posing = false;
        if self.held.is_empty() {
            self.held_bytes = 0;
        }
        let fresh = std::mem::take(&mut self.fresh);
        let mut also: Vec<Write> = fresh.iter().cloned().map(Write::Ask).collect();
        also.extend(self.gone.drain(..).map(|id| Write::AskGone { id }));
        if !fresh.is_empty() {
            // Whoever answers after a crash finds the conversation again.
            also.push(Write::SessionUsed {
                id: self.session.id.clone(),
                conversation: self.session.conversation.clone(),
                ready: self.session.ready,
                at: Timestamp::now(),
            });
        }
        if records.is_empty() && also.is_empty() {
            return;
        }
        self.spoke = Instant::now();
        let stored =
            self.log.record_with(&self.house.store, also, records, Durability::Written).await;
        if let Err(error) = stored {
            for row in &fresh {
                self.house.asks.take(&row.id);
            }
            self.house.telemetry.store_failed(self.log, &error);
            let hint = "the operator must make room on the disk of `state_dir`".to_owned();
            self.stop(Cause::Fault(format!("the answer could not be stored: {error}"), Some(hint)));
        }
    }
}

/// The turn took longer than it may, wherever it was.
pub(super) fn timed_out(config: &Config) -> Outcome {
    Outcome::Failed {
        message: format!("the turn took longer than {}", config.timeouts.turn),
        hint: Some("the server's operator can raise `timeouts.turn` (`--timeout`)".to_owned()),
    }
}

pub(super) fn stopped() -> Outcome {
    Outcome::Failed {
        message: "the server stopped while this task was running".to_owned(),
        hint: Some("send the message again in the same context to continue".to_owned()),
    }
}

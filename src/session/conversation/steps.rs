//! What the agent says: its output becomes lines, lines become steps, and the steps are done.

use super::Conversation;
use crate::asks;
use crate::changes::Change;
use crate::config::AskPolicy;
use crate::session::ending::fault_with;
use crate::session::long_line;
use crate::session::pipe::{Chunk, try_read};
use crate::session::questions::Command;
use crate::store::AskRow;
use crate::task::Record;
use pilothouse_agents::event::Event;
use pilothouse_agents::lines::LineCutter;
use pilothouse_agents::{Answer, Ask, Step};
use pilothouse_sandbox::process::tree::Moment;
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes of records that are stored at a time. A record takes several times as many until it is stored.
const GATHERED_BYTES: usize = 32 * 1024;

impl Conversation<'_> {
    /// Whether a status is among these records.
    pub(super) fn has_status(records: &[Record]) -> bool {
        records.iter().any(|record| matches!(record, Record::Status(_)))
    }

    /// Notes that these asks are shown; where a status is, the session's row is read again by those who show it.
    pub(super) fn note_shown(&self, asks: &[Arc<AskRow>], has_status: bool) {
        for row in asks {
            self.deps.asks.note_shown(row);
            self.deps.telemetry.asks(self.log, row);
        }
        if !has_status {
            return;
        }
        let session = Change::Session(self.row.scope.clone(), self.row.context_id.clone());
        self.deps.asks.changes().note(session);
    }

    /// When the tree is gone, what it has left in the pipes is read at once, up to their ends.
    pub(super) fn hear_the_rest(&mut self) {
        let has_ended = self.running.look().is_some();
        if has_ended || self.ending.outcome.is_some() {
            self.hear_unread();
        }
        while has_ended && self.running.stdout_open && self.ending.outcome.is_none() {
            match try_read(&self.running.process.stdout) {
                Some(read) => self.hear(read),
                None => break,
            }
        }
        while has_ended && self.running.stderr_open {
            match try_read(&self.running.process.stderr) {
                Some(read) => self.keep_stderr(read),
                None => break,
            }
        }
    }

    /// Hears what was read, and what is there behind it: most often nothing, or the end of what an agent says that is
    /// about to end.
    pub(super) fn hear_more(&mut self, read: Option<Chunk>) {
        self.hear(read);
        // Of a line that has become long no second piece is read without a place.
        self.running.update_line_place(&self.live.lines, &self.log.scope.caller);
        let running = &self.running;
        let hears =
            running.stdout_open && running.unread.is_empty() && !running.line.is_requested();
        if hears
            && self.ending.outcome.is_none()
            && self.has_room()
            && let Some(read) = try_read(&self.running.process.stdout)
        {
            self.hear(read);
        }
    }

    pub(super) fn hear(&mut self, read: Option<Chunk>) {
        let Some(chunk) = read else {
            self.running.stdout_open = false;
            self.translator.note_last();
            let rest = self.running.cutter.as_mut().and_then(LineCutter::finish);
            if let Some(line) = rest {
                self.hear_line(&line);
            }
            return;
        };
        self.heard = true;
        self.questions.count_output(chunk.len());
        if self.running.cutter.is_some() {
            self.hear_lines(&chunk);
        } else {
            self.deps.telemetry.raw().line(&self.row.id, Some(&self.log.id), &chunk);
            let steps = self.running.driver.chunk(&chunk);
            self.take(steps);
        }
    }

    pub(super) fn hear_unread(&mut self) {
        let unread = std::mem::take(&mut self.running.unread);
        self.hear_lines(&unread);
    }

    /// Hears lines as long as there is room for what they bring; the rest is kept.
    fn hear_lines(&mut self, bytes: &[u8]) {
        let Some(mut cutter) = self.running.cutter.take() else {
            return;
        };
        let mut lines = cutter.push(bytes);
        while let Some(line) = lines.next() {
            match line {
                Ok(line) => self.hear_line(&line),
                Err(too_long) => {
                    let hint = format!("the server's operator can raise `{}`", too_long.key());
                    self.stop(fault_with(&too_long, hint));
                }
            }
            let goes_on = self.running.ended.is_none() && self.ending.outcome.is_none();
            if goes_on && !self.has_room() {
                self.running.unread = lines.leave().to_vec();
                self.running.cutter = Some(cutter);
                return;
            }
        }
        drop(lines);
        self.running.cutter = Some(cutter);
    }

    /// Whether what the agent says next has room; if not, the agent waits.
    pub(super) fn has_room(&self) -> bool {
        let config = &self.deps.config;
        let (gathered, gathered_bytes) = self.translator.gathered();
        self.undecided.is_empty()
            && self.questions.have_room(&config.asks, gathered)
            && gathered_bytes < GATHERED_BYTES
            && self.running.outbox.waiting() <= config.limits.outbox.as_usize()
    }

    fn hear_line(&mut self, line: &[u8]) {
        self.deps.telemetry.raw().line(&self.row.id, Some(&self.log.id), line);
        if self.ending.outcome.is_some() {
            // Said after the end of the turn.
            self.running.answer_stray_line(line, &self.deps.config);
        } else if let Some(fault) = long_line::fault(line, &self.deps.config) {
            self.stop(fault);
        } else {
            let steps = self.running.driver.line(line);
            self.take(steps);
        }
    }

    pub(super) fn keep_stderr(&mut self, read: Option<Chunk>) {
        if let Some(log) = &self.agent.stderr_log {
            self.stderr.hear(log, read.as_deref(), &self.agent.key);
        }
        self.running.keep_stderr(read, self.deps.config.limits.stderr.as_usize());
    }

    /// Ends a turn that says more than may be stored.
    pub(super) fn check_size(&mut self) {
        let limits = &self.deps.config.limits;
        for (size, limit, what, key) in [
            (self.translator.answer_bytes(), limits.answer, "answer is", "limits.answer"),
            (
                self.translator.stored_bytes(),
                limits.turn_events,
                "events are",
                "limits.turn_events",
            ),
        ] {
            if size > limit.as_usize() {
                let message = format!("the turn's {what} larger than {limit}");
                self.stop(fault_with(&message, format!("the server's operator can raise `{key}`")));
            }
        }
    }

    pub(super) fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.take_step(step);
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Say(event) => {
                self.log.reveal();
                self.silence.hear(&event, Instant::now());
                if let Some(calls) = &mut self.calls {
                    calls.hear(&event);
                }
                self.deps.telemetry.agent_says(self.log, &event);
                if let Event::Usage(usage) = &event {
                    // What it reaches is heard of where everything is, unless the turn ends with it.
                    let _ = self.meter.used(usage, self.running.confinement.proxied_tokens());
                }
                if !self.ending.is_fault() {
                    self.translator.say(event);
                }
            }
            Step::Ask(ask) => {
                self.log.reveal();
                self.answer(ask);
            }
            Step::Withdraw(ask) => self.withdraw(&ask),
            Step::Ready => {
                // A process that was started for this turn: what it has now (MCP servers, say) is its own.
                self.running.starting = None;
                if std::mem::take(&mut self.running.is_new) {
                    self.since = Moment::now();
                }
            }
            Step::Conversation(id) => self.row.conversation = Some(id),
            Step::Write(bytes) => self.running.write(bytes),
            Step::CloseInput => self.running.close_input(),
            Step::Wake(timer, after) => {
                self.wakes.insert(timer, Instant::now() + after);
            }
            Step::Limited(limit) => self.limit = Some(limit),
            Step::WithinLimits => self.limit = None,
            Step::End(outcome) => self.ending.outcome = Some(outcome),
        }
    }

    /// Nobody needs the answer to an ask any more.
    pub(super) fn withdraw(&mut self, ask: &str) {
        self.undecided.retain(|undecided| undecided.id != *ask);
        let command = self.questions.withdraw(ask);
        let was_last = command.is_some() && !self.questions.are_open();
        self.carry_out(command);
        if was_last && !self.ending.has_begun() {
            self.translator.status("the question was withdrawn", None);
        }
    }

    /// The process has ended, and with it the connections that waited.
    pub(super) fn withdraw_hosts(&mut self) {
        for ask in self.hosts.take_all() {
            self.withdraw(&ask);
        }
    }

    /// Answers an ask by policy, or has it judged by what persons have said.
    fn answer(&mut self, ask: Ask) {
        let answer = if self.ending.has_begun() {
            Answer::Deny { message: "the turn is being ended".to_owned() }
        } else if asks::is_cut(&ask.kind) {
            self.translator.report_policy(&ask.kind, false);
            Answer::Deny { message: asks::TOO_LONG.to_owned() }
        } else {
            let policy = asks::policy(&self.agent.policy(), &self.log.scope.caller, &ask.kind);
            if policy == AskPolicy::Ask {
                self.undecided.push(ask);
                return;
            }
            let is_allowed = policy == AskPolicy::Allow;
            self.translator.report_policy(&ask.kind, is_allowed);
            self.deps.telemetry.decided(self.log, &ask.kind, is_allowed);
            match is_allowed {
                true => Answer::Allow { input: None },
                false => Answer::Deny { message: asks::denial(&ask.kind, &self.agent.key) },
            }
        };
        self.carry_out([Command::Tell(ask.id, answer)]);
    }
}

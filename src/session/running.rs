//! A live process of a session: with its driver, its pipes, and what is confinement as long as it lives.

use super::SessionDeps;
use super::activity::{ActivitySender, ProcessMark};
use super::long_line::{self, LinePlace, LineRoom};
use super::outbox::Outbox;
use super::pipe::{Chunk, read};
use super::start::Confinement;
use crate::agent::{Agent, LaunchChoice};
use crate::config::Config;
use crate::queue::Place;
use pilothouse_agents::lines::{LineBounds, LineCutter};
use pilothouse_agents::{Driver, Exit, Launch, Life, Output, Step};
use pilothouse_sandbox::process::{Ended, Process};
use pilothouse_sandbox::supervisor::{KILL_DEADLINE, Word};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// A live process with its driver.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) confinement: Confinement,
    pub(super) driver: Box<dyn Driver>,
    life: Life,
    /// Of what the agent was given when it was started.
    pub(super) generation: u64,
    /// How it was started, where that is not as configured.
    pub(super) choice: LaunchChoice,
    pub(super) cutter: Option<LineCutter>,
    pub(super) outbox: Outbox,
    /// Bytes that were read, and are not heard as long as the agent has to wait.
    pub(super) unread: Vec<u8>,
    stderr: Vec<u8>,
    pub(super) stdout_open: bool,
    pub(super) stderr_open: bool,
    pub(super) ended: Option<Ended>,
    /// The place among the live processes.
    pub(super) slot: Place,
    /// Whether the CLI has not understood its first words yet.
    pub(super) is_new: bool,
    /// The place among the starting ones, as long as it is new but not longer than `timeouts.start`.
    pub(super) starting: Option<OwnedSemaphorePermit>,
    /// The place of the line that is being read.
    pub(super) line: LinePlace,
    /// That its session has a process; none before it has a session.
    mark: Option<ProcessMark>,
}

impl Running {
    /// A process that was just started.
    pub(super) fn new(
        (process, confinement): (Process, Confinement),
        driver: Box<dyn Driver>,
        launch: &Launch,
        slot: Place,
        config: &Config,
    ) -> Self {
        let cutter = match launch.output {
            Output::Lines => Some(LineCutter::new(LineBounds {
                kept: config.limits.line.as_usize(),
                longest: config.limits.longest_line.as_usize(),
            })),
            Output::Bytes => None,
        };
        Self {
            process,
            confinement,
            driver,
            life: launch.life,
            generation: 0,
            choice: LaunchChoice::default(),
            cutter,
            outbox: Outbox::default(),
            unread: Vec::new(),
            stderr: Vec::new(),
            stdout_open: true,
            stderr_open: true,
            ended: None,
            slot,
            is_new: false,
            starting: None,
            line: LinePlace::default(),
            mark: None,
        }
    }

    /// The process is that of the session with this activity from now on.
    pub(super) fn of_session(mut self, activity: &ActivitySender) -> Self {
        self.mark = Some(activity.mark_process());
        self
    }

    /// Whether it can serve a further turn.
    pub(super) fn can_go_on(&self) -> bool {
        self.life == Life::Session && self.ended.is_none() && !self.outbox.is_closed()
    }

    /// Whether it was started with other credentials than its agent has now, and can be ended.
    pub(super) fn is_outdated(&self, agent: &Agent) -> bool {
        self.generation != agent.latest_env().generation && !self.works_in_background()
    }

    /// Whether the agent works in the background, between turns as well.
    pub(super) fn works_in_background(&self) -> bool {
        !self.driver.background().is_empty()
    }

    /// Looks whether it has ended.
    pub(super) fn look(&mut self) -> Option<Ended> {
        self.ended = self.ended.or_else(|| self.process.control.try_ended());
        self.ended
    }

    /// How it has ended, when everything that it said was read.
    pub(super) fn drained_end(&self) -> Option<Ended> {
        self.ended.filter(|_| !self.stdout_open && !self.stderr_open)
    }

    /// How it ended, for its driver.
    pub(super) fn exit(&self, ended: Ended) -> Exit {
        let stderr = String::from_utf8_lossy(&self.stderr).trim().to_owned();
        let (code, signal) = match ended {
            Ended::Code(code) => (Some(code), None),
            Ended::Signal(signal) => (None, Some(signal)),
            Ended::Unclear => (None, None),
        };
        Exit { code, signal, stderr }
    }

    /// Requests a place for the line that is being read, where it has become long, or gives it back.
    pub(super) fn update_line_place(&mut self, room: &LineRoom, caller: &Arc<str>) {
        let line_bytes = self.cutter.as_ref().map_or(0, LineCutter::begun);
        self.line.update(line_bytes, room, caller);
    }

    /// Everything that an agent is told goes this way, in whole pieces.
    pub(super) fn write(&mut self, bytes: Vec<u8>) {
        self.outbox.push(bytes);
        self.flush();
    }

    /// Closes the agent's input once everything is written.
    pub(super) fn close_input(&mut self) {
        self.outbox.close();
        self.flush();
    }

    /// Writes what the pipe takes now.
    pub(super) fn flush(&mut self) {
        self.outbox.write(&mut self.process.stdin);
    }

    /// Hears a line that belongs to no turn: a request in it is answered, or the CLI would wait.
    pub(super) fn answer_stray_line(&mut self, line: &[u8], config: &Config) {
        if long_line::fault(line, config).is_some() {
            return;
        }
        for step in self.driver.line(line) {
            if let Step::Write(bytes) = step {
                self.write(bytes);
            }
        }
    }

    /// Hears what the agent says between two turns.
    pub(super) fn overhear(&mut self, read: Option<Chunk>, session: &str, deps: &SessionDeps) {
        let Some(chunk) = read else {
            self.stdout_open = false;
            return;
        };
        let Some(mut cutter) = self.cutter.take() else {
            return;
        };
        for line in cutter.push(&chunk).flatten() {
            deps.telemetry.raw().line(session, None, &line);
            self.answer_stray_line(&line, &deps.config);
        }
        self.cutter = Some(cutter);
    }

    /// Keeps the end of what the agent writes to its standard error.
    pub(super) fn keep_stderr(&mut self, read: Option<Chunk>, limit: usize) {
        let Some(chunk) = read else {
            self.stderr_open = false;
            return;
        };
        self.stderr.extend_from_slice(&chunk);
        let excess = self.stderr.len().saturating_sub(limit);
        self.stderr.drain(..excess);
    }

    /// Lets an agent that has finished its turn exit by itself for a while.
    pub(super) async fn leave(&mut self, grace: Duration, stop: &CancellationToken) {
        self.process.stdin = None;
        tokio::select! {
            biased;
            () = self.drain_until_ended() => self.ended = Some(Ended::Code(0)),
            () = tokio::time::sleep(grace) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Ends the process and its tree, and waits until they are gone.
    pub(super) async fn end(mut self, first: Word, grace: Duration) {
        if self.ended.is_some() {
            return;
        }
        if first == Word::Terminate {
            self.process.stdin = None;
        }
        self.process.control.say(first);
        if tokio::time::timeout(grace, self.drain_until_ended()).await.is_err() {
            self.process.control.say(Word::Kill);
            let _ = tokio::time::timeout(KILL_DEADLINE + grace, self.drain_until_ended()).await;
        }
    }

    /// Reads and drops what a dying agent still says, so that no full pipe keeps it from dying.
    async fn drain_until_ended(&mut self) {
        loop {
            tokio::select! {
                _ = self.process.control.ended() => return,
                read = read(&self.process.stdout), if self.stdout_open => {
                    self.stdout_open = read.is_some();
                }
                read = read(&self.process.stderr), if self.stderr_open => {
                    self.stderr_open = read.is_some();
                }
            }
        }
    }
}

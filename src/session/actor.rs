//! The actor of one session: it owns the process, the driver and the workspace, and runs one turn at
//! a time.
//!
//! # How it works
//!
//! Idle, it waits for an order, for the end of its process, or for the idle time to pass. A turn goes through its
//! gates ([`Begin`]), then one loop listens to everything at once ([`converse`]). What the agent says is translated,
//! stored and shown batch by batch; while a batch is being stored the agent's pipe fills, and that is the whole
//! back-pressure.
//!
//! Most actors wait: a phase of a turn that takes much memory while it lasts lies on the heap by itself, or each
//! waiting actor would hold room for the largest of them.
//!
//! # Pitfalls
//!
//! An agent may end its turn before it exits; a turn's process is ended before the next one starts.

use super::activity::SessionState;
use super::begin::{Begin, NotStarted};
use super::end_guard::end_failed;
use super::ending::Cause;
use super::facts::TurnFacts;
use super::failure::FailureCode;
use super::pipe::read;
use super::publish::{finish_answered, publish_at_end};
use super::questions::ask_row;
use super::resources::{CurrentTurn, SessionResources};
use super::results;
use super::running::Running;
use super::schema::Schema;
use super::terminal::lend_conversation;
use super::translate::Translator;
use super::tries::converse;
use super::turn_clock::TurnClock;
use super::{File, IdleOrder, Order, Turn, TurnPlaces};
use crate::budget::Meter;
use crate::store::{self, Durability, TraceNote, TraceRow, Write};
use crate::telemetry::TurnEnd;
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::Outcome;
use pilothouse_egress::HostAnswer;
use pilothouse_sandbox::supervisor::Word;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// One session's actor.
pub(super) struct Actor {
    session: SessionResources,
    own_orders: mpsc::WeakUnboundedSender<Order>,
    /// Whether the session was new, so that it is not stored before its first turn comes.
    new: bool,
}

impl Actor {
    pub(super) fn new(
        session: SessionResources,
        own_orders: mpsc::WeakUnboundedSender<Order>,
        new: bool,
    ) -> Self {
        Self { session, own_orders, new }
    }

    /// The actor's life.
    pub(super) async fn run(mut self: Box<Self>, soon: bool) {
        if soon {
            Box::pin(self.session.prepare()).await;
        }
        loop {
            let session = &mut self.session;
            session.activity.end_turn(session.row.used);
            let order = if session.running.is_some() && !session.inbox.has_work() {
                Box::pin(self.idle()).await
            } else {
                if session.running.is_none() && !session.inbox.has_work() {
                    // Before it leaves: its successor may begin at once.
                    session.live.disk.keep(&session.disk);
                    let is_stored = !self.new || session.inbox.had_turn();
                    let row = is_stored.then_some(&session.row);
                    if session.live.leave(&session.key, session.inbox.orders(), row) {
                        return Box::pin(self.remove_unused()).await;
                    }
                }
                session.inbox.next().await
            };
            match order {
                IdleOrder::Turn(turn) => self.turn(*turn).await,
                IdleOrder::Attach(attach) => {
                    Box::pin(lend_conversation(&mut self.session, attach)).await;
                }
                IdleOrder::Evict => self.session.end_process(Word::Terminate).await,
                IdleOrder::Nudge => {}
                IdleOrder::Stop => return self.session.end_process(Word::Terminate).await,
            }
        }
    }

    /// The first message of the session was refused after all: no session is stored, and nobody else would
    /// remove its folders.
    async fn remove_unused(self: Box<Self>) {
        let SessionResources { deps, agent, row, inbox, .. } = &self.session;
        if !self.new || inbox.had_turn() {
            return;
        }
        if let Err(error) = agent.workspaces.remove(&row.id, &deps.stop).await {
            tracing::warn!(session.id = %row.id, %error, "could not remove the folders of a session that was not begun");
        }
    }

    /// Waits with a warm process.
    async fn idle(&mut self) -> IdleOrder {
        let SessionResources { deps, live, key, row, inbox, running: process, disk, .. } =
            &mut self.session;
        if !live.mark_idle(key) {
            return inbox.next().await;
        }
        let Some(running) = process else {
            return IdleOrder::Nudge;
        };
        let works = running.works_in_background();
        let offer = live.places.offer(works);
        let idle = deps.config.processes.idle.get();
        let mut until = Instant::now() + idle;
        let most = deps.config.limits.outbox.as_usize();
        let mut disk = Box::pin(disk.clone().fault(running.process.tree));
        loop {
            let roomy = running.outbox.waiting() <= most;
            running.update_line_place(&live.lines, &key.scope.caller);
            let (line_waits, line_until) = (running.line.is_requested(), running.line.until());
            tokio::select! {
                biased;
                order = inbox.next() => return order,
                _ = running.process.control.ended() => break,
                // Before the pipes: an agent that never stops talking would keep its place for ever.
                () = offer.await_wanted() => {
                    let lost = running.driver.background().join(", ");
                    if !lost.is_empty() {
                        tracing::warn!(session.id = %row.id, "the process of the session {} is ended, and with it `{lost}` in its background: others need its place (`processes.max`)", row.id);
                    }
                    return IdleOrder::Evict;
                }
                () = sleep_until(until) => {
                    if !running.works_in_background() {
                        return IdleOrder::Evict;
                    }
                    until = Instant::now() + idle;
                }
                fault = &mut disk => {
                    tracing::warn!(session.id = %row.id, %fault, "the process of the session {} is ended between two turns", row.id);
                    return IdleOrder::Evict;
                }
                () = running.outbox.writable(running.process.stdin.as_ref()) => running.flush(),
                () = sleep_until(line_until.unwrap_or(until)), if line_until.is_some() => {
                    tracing::warn!(session.id = %row.id, "the process of the session {} is ended: it began a long line between two turns and did not end it (`timeouts.line`)", row.id);
                    return IdleOrder::Evict;
                }
                () = running.line.take(&deps.config), if line_waits => {}
                read = read(&running.process.stdout), if running.stdout_open && roomy && !line_waits => {
                    // What an agent says between turns is the session's, never the next task's.
                    running.overhear(read, &row.id, deps);
                    tokio::task::yield_now().await;
                }
                // Nobody waits for these words, but a full pipe would stop the process.
                read = read(&running.process.stderr), if running.stderr_open => {
                    running.stderr_open = read.is_some();
                    tokio::task::yield_now().await;
                }
                // There is no task that could ask.
                question = running.confinement.next_question() => question.answer(HostAnswer::None),
                refusal = running.confinement.next_refusal() => {
                    live.note_refusal(deps, None, &key.scope, &refusal);
                }
            }
        }
        live.mark_busy(key);
        *process = None;
        IdleOrder::Nudge
    }

    // === a turn ===

    /// One turn, and the end of everything that belongs to it.
    async fn turn(&mut self, turn: Turn) {
        let Turn { log, prompt, files, origin, places, mut guard } = turn;
        self.session.inbox.begin_turn(log.id.clone());
        self.session.activity.begin_turn(log.id.clone());
        self.session.remembered = origin.remembered;
        log.turn_begins();
        if !log.state().is_terminal() {
            let deps = &self.session.deps;
            let schema = prompt.schema.clone().and_then(|schema| Schema::read(schema).ok());
            // The text of a pull request is made of the answer.
            let is_clone = self.session.agent.clone_source.is_some();
            let compares = self.session.agent.is_conversational() || schema.is_some() || is_clone;
            let translator = Translator::new(log.clone(), compares, &deps.config);
            let mut current = CurrentTurn {
                log,
                prompt,
                translator,
                clock: None,
                meter: None,
                started: None,
                failure: None,
                closing: Vec::new(),
                schema,
                wishes: origin.wishes,
                push_ask: None,
                is_push: false,
                fork: origin.fork,
                before: None,
                is_native: false,
                has_looked: false,
                _prompt_place: origin.prompt,
                places: Vec::new(),
            };
            if places.waiting.is_none() {
                current.start_clock(deps);
            }
            self.work(&mut current, places, files).await;
        }
        self.session.inbox.end_turn();
        self.session.finish_folder().await;
        guard.disarm();
    }

    /// Brings a turn to its end.
    async fn work(&mut self, turn: &mut CurrentTurn, places: TurnPlaces, files: Vec<File>) {
        let session = &mut self.session;
        session.deps.telemetry.turn_begins(&turn.log, &session.agent.key, &turn.prompt.text);
        let warm = session.running.is_some();
        if session.remembered.is_some()
            && let Some(outcome) = Box::pin(finish_answered(session, turn)).await
        {
            drop((places, files));
            session.activity.enter(SessionState::Ending);
            return Box::pin(self.end_turn(turn, outcome)).await;
        }
        let outcome = match Begin::new(session, turn).reach_agent(places, files).await {
            Ok(()) => {
                if !warm {
                    turn.started = Some(turn.translator.elapsed());
                }
                if let Some(running) = &session.running {
                    let begun = running.confinement.begin_turn(&session.deps.store, &turn.log);
                    turn.is_native = session.inbox.serve_during(begun).await;
                }
                Box::pin(converse(session, turn, warm)).await
            }
            Err(NotStarted::Over) => return,
            // It has not begun: it stays in the queue and runs after the next start.
            Err(NotStarted::Ended(Cause::ServerStops))
                if turn.log.state() == TaskState::Submitted =>
            {
                return;
            }
            Err(NotStarted::Ended(cause)) => {
                turn.failure = FailureCode::of_start(&cause);
                Some(cause.outcome(&session.deps.config))
            }
        };
        session.activity.enter(SessionState::Ending);
        match outcome {
            Some(outcome) => Box::pin(self.end_turn(turn, outcome)).await,
            None => Box::pin(self.park_turn(turn)).await,
        }
    }

    /// A question is left; whoever answers it begins the next turn of this task.
    async fn park_turn(&mut self, turn: &mut CurrentTurn) {
        let session = &mut self.session;
        session.inbox.end_turn();
        let parked = TraceRow { n: turn.log.n, at: Timestamp::now(), note: TraceNote::Parked };
        turn.closing.push(Write::Trace(Box::new(parked)));
        self.note_end(turn, "").await;
        // Not politely: a CLI that sees its host leave goes on without it for a while.
        self.session.end_process(Word::Kill).await;
        self.session.note_use().await;
    }

    async fn end_turn(&mut self, turn: &mut CurrentTurn, outcome: Outcome) {
        let session = &mut self.session;
        let keeps = session.running.as_ref().is_some_and(Running::can_go_on);
        if !keeps && outcome == Outcome::Canceled {
            // Canceled means that nothing of it is left.
            session.end_process(Word::Terminate).await;
        }
        results::gather(&mut self.session, turn, &outcome).await;
        let outcome = match self.session.agent.clone_source {
            Some(_) => Box::pin(publish_at_end(&mut self.session, turn, outcome)).await,
            None => outcome,
        };
        let words = last_words(&outcome);
        let stored = self.store_end(turn, outcome).await;
        self.note_end(turn, &words).await;
        turn.log.reveal();
        let failed = stored.as_ref().err().map(|error| {
            let deps = &self.session.deps;
            deps.telemetry.store_failed(&turn.log, error);
            let words = "the end of this task could not be stored when it came (was the disk full?); what it did is lost";
            deps.actors.spawn(end_failed(deps.clone(), turn.log.clone(), words))
        });
        for done in self.session.inbox.end_turn() {
            let _ = done.send(stored.is_ok());
        }
        if failed.is_some() {
            // It may take long until the next turn comes, and nobody would listen to the process meanwhile.
            self.session.end_process(Word::Terminate).await;
        } else if !keeps {
            self.session.leave_process().await;
        }
        turn.places.clear();
        if matches!(stored, Ok(true)) {
            self.session.note_learned().await;
        } else {
            self.session.note_use().await;
        }
        if let Some(failed) = failed {
            self.session.activity.enter(SessionState::Broken);
            let _ = self.session.inbox.serve_during(failed).await;
        }
    }

    /// Stores what the turn has come to, and shows it.
    async fn store_end(
        &mut self,
        turn: &mut CurrentTurn,
        outcome: Outcome,
    ) -> Result<bool, store::Error> {
        let use_ended = self.session.end_use();
        let SessionResources { deps, agent, row, running, .. } = &mut self.session;
        let log = &turn.log;
        if let Outcome::Replied { text } = &outcome
            && log.is_withheld()
            && fits_an_event(
                text,
                deps.config.limits.event.min(deps.config.streams.line).as_usize(),
            )
        {
            return log.reply(&deps.store, text, vec![use_ended]).await.map(|()| true);
        }
        let mut facts = TurnFacts {
            conversation: row.conversation.clone(),
            isolation: agent.isolation(&deps.isolation),
            setup: row.setup.clone(),
            at_proxy: running.as_mut().and_then(|running| running.confinement.take_spent()),
            failure: None,
            started: turn.started,
            chosen: turn.wishes.as_ref().map(|wishes| wishes.chosen.clone()),
            background: match (&outcome, &running) {
                (Outcome::Completed { .. }, Some(running)) => running.driver.background(),
                _ => Vec::new(),
            },
        };
        let folder = agent.workspaces.shown(&row.id).display().to_string();
        let ask = match turn.push_ask.take() {
            Some(ask) => Some(ask_row(log, ask, false, &deps.config)),
            None => ending_ask(&outcome, folder).map(|ask| ask_row(log, ask, true, &deps.config)),
        };
        let noted = ask.map(|ask| deps.asks.add(ask)).transpose();
        let (outcome, ask) = match noted {
            Ok(ask) => (outcome, ask),
            Err(full) => {
                let (message, hint) = (full.to_string(), Some(full.hint()));
                turn.failure = Some(FailureCode::Fault);
                (Outcome::Failed { message, hint }, None)
            }
        };
        turn.failure = FailureCode::of(&outcome, turn.failure);
        facts.failure = turn.failure;
        let records = turn.translator.finish(outcome, &facts, ask.as_deref());
        let used = turn.meter.iter().flat_map(Meter::writes);
        let closing = turn.closing.drain(..);
        let asked = ask.clone().into_iter().map(Write::Ask);
        let also = asked.chain(closing).chain(used).chain([use_ended]).collect();
        let stored = log.record_end(&deps.store, also, records).await;
        if let Ok(true) = stored {
            turn.meter = None;
            if log.state().is_terminal() {
                // A turn before it may have asked.
                deps.asks.forget(log.n);
            }
            if let Some(ask) = &ask {
                deps.asks.note_shown(ask);
                deps.telemetry.asks(log, ask);
            }
        } else if let Some(ask) = ask {
            // It was not shown, so nobody can answer it.
            deps.asks.remove(&ask.id);
        }
        stored
    }

    /// Notes the end of the turn, and what its end did not store: what it used, and which asks of earlier tries are
    /// closed.
    async fn note_end(&mut self, turn: &mut CurrentTurn, words: &str) {
        let used = turn.meter.take().map(|meter| meter.writes()).unwrap_or_default();
        let writes: Vec<_> = turn.closing.drain(..).chain(used).collect();
        let (deps, took) = (&self.session.deps, turn.translator.elapsed());
        if !writes.is_empty()
            && let Err(error) = deps.store.commit(writes, Durability::Written).await
        {
            tracing::warn!(session.id = %self.session.row.id, %error, "could not note what a turn used, and which of its asks are closed");
        }
        let translator = &turn.translator;
        let end = TurnEnd {
            state: turn.log.state(),
            usage: translator.usage(),
            took,
            waited: turn.clock.as_ref().map(TurnClock::waited).unwrap_or_default(),
            remark: translator.remark(),
            failure: turn.failure.map(FailureCode::word),
            words,
            is_native: turn.is_native,
        };
        // Its spans are read from the store.
        deps.telemetry.turn_ends(&turn.log, end);
    }
}

/// What an agent said at its end, or why it failed, for people.
fn last_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed { answer } => answer.clone().unwrap_or_default(),
        Outcome::Replied { text: words }
        | Outcome::AuthRequired { message: words }
        | Outcome::Rejected { message: words }
        | Outcome::Failed { message: words, .. } => words.clone(),
        Outcome::InputRequired { .. } | Outcome::Canceled | Outcome::ConversationLost => {
            String::new()
        }
    }
}

/// Whether a reply is short enough to be one event, its frame included.
fn fits_an_event(text: &str, limit: usize) -> bool {
    let escaped = serde_json::to_string(text).map_or(usize::MAX, |json| json.len());
    escaped.saturating_add(2048) <= limit
}

/// The ask of a turn that ends with a question.
fn ending_ask(outcome: &Outcome, folder: String) -> Option<Value> {
    let Outcome::InputRequired { question, data } = outcome else {
        return None;
    };
    let options = data.as_ref().and_then(|data| data.get("options"));
    let options = options.and_then(Value::as_array).into_iter().flatten();
    let options: Vec<_> = options
        .filter_map(Value::as_str)
        .map(|option| json!({"id": option, "name": option}))
        .collect();
    let why = "the agent has ended its turn with a question";
    Some(
        json!({"kind": "question", "text": question, "options": options, "why": why, "folder": folder}),
    )
}

impl Drop for Actor {
    /// An actor that fails leaves no handle behind, by which orders would go nowhere.
    fn drop(&mut self) {
        if let Some(own_orders) = self.own_orders.upgrade() {
            self.session.live.forget(&self.session.key, &own_orders);
        }
    }
}

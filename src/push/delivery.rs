//! The delivery of one task's events to one webhook: in order, each until it is taken or given up.

use super::SharedPush;
use super::post::{PostOutcome, Target};
use crate::clock;
use crate::config::PushEvents;
use crate::store::{self, Durability, Event, Kind, PushRow, PushState, Write};
use crate::task::{Extent, TaskLog, insert_generation, is_last, is_last_piece};
use bytes::Bytes;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::operation::{Operation, Reply};
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a wait is doubled at most; far beyond any bound, and no overflow.
const DOUBLINGS: u32 = 30;

/// A worker.
pub(super) struct Delivery {
    inner: Arc<SharedPush>,
    log: Arc<TaskLog>,
    row: PushRow,
    /// The state that was told last.
    told: Option<TaskState>,
    /// The last event that was counted, and how many changes there are with it (version 1.1).
    counted: Option<(u64, u64)>,
    /// Leave at once.
    quit: CancellationToken,
}

/// Whether there is a next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Next,
    Leave,
}

/// The worker has to leave.
struct Leave;

impl Delivery {
    pub(super) fn new(
        inner: Arc<SharedPush>,
        log: Arc<TaskLog>,
        row: PushRow,
        quit: CancellationToken,
    ) -> Self {
        Self { inner, log, row, told: None, counted: None, quit }
    }

    /// Delivers until all is delivered, until it is given up, or until the server stops.
    pub(super) async fn run(mut self) {
        let config = super::decode(&self.row).ok();
        let target = config.and_then(|config| Target::of(&config, self.row.dialect).ok());
        let Some(target) = target else {
            return self.end(PushState::GivenUp("the config cannot be read".to_owned())).await;
        };
        if self.first_word().await == Then::Leave {
            return;
        }
        self.remember_what_was_told().await;
        let mut cursor = self.log.follow(&self.inner.store, self.row.sent);
        let mut broken = 0;
        loop {
            let stop = self.inner.stop.clone();
            let next = tokio::select! {
                biased;
                () = self.quit.cancelled() => return,
                () = stop.cancelled() => return,
                next = cursor.next() => next,
            };
            match next {
                Ok(Some(events)) => {
                    broken = 0;
                    for event in events {
                        if self.deliver(&target, &event).await == Then::Leave {
                            return;
                        }
                    }
                }
                Ok(None) => return self.end(PushState::Done).await,
                // The log says it until a write succeeds again, and the server until it is repaired.
                Err(error) => {
                    if broken == 0 {
                        tracing::error!(task.id = %self.log.id, %error, "push notifications of task {} have to wait", self.log.id);
                    }
                    if self.rest(self.wait(broken)).await == Then::Leave {
                        return;
                    }
                    broken += 1;
                }
            }
        }
    }

    /// A task that nobody may see yet is not told of; one that turned out to be none never.
    async fn first_word(&self) -> Then {
        let stop = self.inner.stop.clone();
        tokio::select! {
            biased;
            () = self.quit.cancelled() => Then::Leave,
            () = stop.cancelled() => Then::Leave,
            word = self.log.first_word() => match word {
                Ok(Some(_)) => Then::Leave,
                Ok(None) | Err(_) => Then::Next,
            },
        }
    }

    /// States are told when they change; after a start the last one is read from the log.
    async fn remember_what_was_told(&mut self) {
        if self.row.sent > 0 {
            let before =
                self.log.snapshot_at(&self.inner.store, self.row.sent, Extent::MESSAGES).await;
            self.told = before.ok().map(|snapshot| snapshot.task.status.state);
        }
    }

    /// Posts an event until it is taken.
    async fn deliver(&mut self, target: &Target, event: &Event) -> Then {
        let body = match self.body_in_time(event).await {
            Ok(Some(body)) => body,
            Ok(None) => return Then::Next,
            Err(Leave) => return Then::Leave,
        };
        let begun = self.row.failing.take();
        let first = begun.unwrap_or_else(clock::now);
        let mut noted = begun.is_some();
        for failures in 0.. {
            let (reason, retry_after) = match self.attempt(target, body.clone()).await {
                None => return Then::Leave,
                Some(PostOutcome::Taken) => return self.taken(event.seq).await,
                Some(PostOutcome::Gone) => {
                    self.give_up(target, "it answers 410, gone").await;
                    return Then::Leave;
                }
                Some(PostOutcome::Failed { reason, retry_after }) => (reason, retry_after),
            };
            tracing::debug!(task.id = %self.log.id, push.id = %self.row.id, seq = event.seq, failures, reason, "an event was not taken");
            let left = self.left(first);
            if left.is_zero() {
                let after = self.inner.settings.give_up.get();
                self.give_up(target, &format!("not taken for {after:?}: {reason}")).await;
                return Then::Leave;
            }
            if !noted {
                noted = true;
                let (n, id) = self.key();
                self.write(Write::PushFailing { n, id, since: first }).await;
            }
            let longest = self.inner.settings.backoff_max.get();
            let wished = retry_after.unwrap_or_default().min(longest);
            let pause = self.wait(failures).max(wished).min(left);
            if self.rest(pause).await == Then::Leave || !self.is_wanted().await {
                return Then::Leave;
            }
        }
        Then::Leave
    }

    /// One attempt among those of all configs; none when the worker has to leave.
    async fn attempt(&self, target: &Target, body: Bytes) -> Option<PostOutcome> {
        let stop = self.inner.stop.clone();
        let _place = tokio::select! {
            biased;
            () = self.quit.cancelled() => return None,
            () = stop.cancelled() => return None,
            place = self.inner.posts.acquire() => place.ok()?,
        };
        // A stopping server lets the attempt finish: what was taken is noted and not sent again.
        tokio::select! {
            biased;
            () = self.quit.cancelled() => None,
            outcome = self.inner.poster.post(target, body) => {
                self.count(if matches!(outcome, PostOutcome::Taken) { "taken" } else { "failed" });
                Some(outcome)
            }
        }
    }

    fn count(&self, outcome: &'static str) {
        if let Some(telemetry) = self.inner.telemetry.get() {
            telemetry.pushed(outcome);
        }
    }

    async fn taken(&mut self, seq: u64) -> Then {
        self.row.sent = seq;
        let (n, id) = self.key();
        self.write(Write::PushSent { n, id, seq }).await;
        if self.inner.stop.is_cancelled() || self.quit.is_cancelled() {
            Then::Leave
        } else {
            Then::Next
        }
    }

    /// What is posted for an event, also when the store has to be waited for.
    async fn body_in_time(&mut self, event: &Event) -> Result<Option<Bytes>, Leave> {
        for failures in 0.. {
            match self.body(event).await {
                Ok(body) => return Ok(body),
                Err(error) => {
                    tracing::warn!(task.id = %self.log.id, push.id = %self.row.id, %error, "a push notification has to wait");
                }
            }
            let rested = self.rest(self.wait(failures)).await;
            if rested == Then::Leave || !self.is_wanted().await {
                return Err(Leave);
            }
        }
        Err(Leave)
    }

    /// What is posted for an event; nothing where the dialect is not told of it.
    async fn body(&mut self, event: &Event) -> Result<Option<Bytes>, store::Error> {
        if self.row.dialect == Dialect::V1_0 {
            let changes = self.count_changes(event).await?;
            let body = self.body_of_event(event).await?;
            return Ok(match changes {
                Some(changes) => body.map(|body| insert_generation(&body, changes)),
                None => body,
            });
        }
        let told = match event.kind {
            Kind::Task | Kind::Status => serde_json::from_slice::<StreamResponse>(&event.body).ok(),
            Kind::Artifact | Kind::Message => None,
        };
        let status = told.as_ref().and_then(StreamResponse::status);
        let Some(state) =
            status.map(|status| status.state).filter(|state| self.told != Some(*state))
        else {
            return Ok(None);
        };
        let limits = &self.inner.limits;
        let snapshot = self
            .log
            .snapshot_at(
                &self.inner.store,
                event.seq,
                Extent::of(limits.response.as_usize()).with_rest(),
            )
            .await?;
        self.told = Some(state);
        let task = snapshot.present(limits.inline_answer.as_usize()).task;
        let alias = self.row.alias.as_deref();
        let reply = Reply::Task(task);
        let body = self.row.dialect.encode_reply(Operation::GetTask, &reply, alias);
        Ok(Some(Bytes::from(body)))
    }

    /// How many changes there are with this event; none where generations are not told.
    async fn count_changes(&mut self, event: &Event) -> Result<Option<u64>, store::Error> {
        if !self.inner.tells_generations {
            return Ok(None);
        }
        let (seq, before) = match self.counted {
            Some(counted) => counted,
            None => {
                let sent = self.row.sent;
                let before = self.log.generation(&self.inner.store, sent).await?;
                (sent, u64::from(before.unsigned_abs()))
            }
        };
        let is_change = seq < event.seq && event.kind != Kind::Message;
        let changes = before + u64::from(is_change);
        self.counted = Some((event.seq, changes));
        Ok(Some(changes))
    }

    /// An event as a stream has it. Of artifacts that come in pieces the whole is told, of states their changes; a
    /// further question is one too.
    async fn body_of_event(&mut self, event: &Event) -> Result<Option<Bytes>, store::Error> {
        let whole = || Ok(Some(event.body.clone()));
        if self.inner.settings.events == PushEvents::All && event.kind != Kind::Message {
            return whole();
        }
        match event.kind {
            Kind::Message => Ok(None),
            Kind::Artifact if is_last_piece(event) => {
                let most = self.inner.limits.event.as_usize();
                let made = self.log.whole_artifact(&self.inner.store, event, most).await?;
                Ok(Some(made.event.body))
            }
            Kind::Artifact => {
                if is_last(event) {
                    whole()
                } else {
                    Ok(None)
                }
            }
            Kind::Task | Kind::Status => {
                let told = serde_json::from_slice::<StreamResponse>(&event.body).ok();
                let state =
                    told.as_ref().and_then(StreamResponse::status).map(|status| status.state);
                let is_new = state != self.told || state.is_some_and(TaskState::is_interrupted);
                self.told = state;
                if is_new { whole() } else { Ok(None) }
            }
        }
    }

    // === times ===

    /// From a failed attempt to the next: doubled each time, and a little less at random, so that many
    /// that failed together do not come back together.
    fn wait(&self, failures: u32) -> Duration {
        let settings = &self.inner.settings;
        let doubled = settings.backoff.get().saturating_mul(1 << failures.min(DOUBLINGS));
        let wait = doubled.min(settings.backoff_max.get());
        let random = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
        wait.mul_f64(1.0 - random / 4.0)
    }

    /// How long an event may still be tried that was first tried then.
    fn left(&self, first: Timestamp) -> Duration {
        let tried = clock::now().as_millisecond() - first.as_millisecond();
        let tried = Duration::from_millis(u64::try_from(tried).unwrap_or(0));
        self.inner.settings.give_up.get().saturating_sub(tried)
    }

    async fn rest(&self, pause: Duration) -> Then {
        let stop = self.inner.stop.clone();
        tokio::select! {
            biased;
            () = self.quit.cancelled() => Then::Leave,
            () = stop.cancelled() => Then::Leave,
            () = tokio::time::sleep(pause) => Then::Next,
        }
    }

    // === the row ===

    /// Whether the config is still there: it goes with its task, whoever removed that.
    async fn is_wanted(&self) -> bool {
        let (n, id) = self.key();
        let found = self.inner.store.push_config(&self.row.scope, n, &id).await;
        !found.is_ok_and(|row| row.is_none())
    }

    async fn give_up(&self, target: &Target, reason: &str) {
        tracing::warn!(task.id = %self.log.id, push.id = %self.row.id, push.host = target.host(), reason, "push notifications of task {} were given up", self.log.id);
        self.count("given_up");
        self.end(PushState::GivenUp(reason.to_owned())).await;
    }

    async fn end(&self, state: PushState) {
        let (n, id) = self.key();
        self.write(Write::PushEnded { n, id, state }).await;
    }

    fn key(&self) -> (i64, Arc<str>) {
        (self.row.n, self.row.id.clone())
    }

    /// What cannot be noted is done again after the next start; the delivery goes on.
    async fn write(&self, write: Write) {
        if let Err(error) = self.inner.store.commit(vec![write], Durability::Written).await {
            tracing::warn!(task.id = %self.log.id, push.id = %self.row.id, %error, "the delivery of push notifications could not be noted");
        }
    }
}

//! Answers to asks: to the process that waits for one, or by resuming the conversation that asked.

use super::send::refused;
use super::{Accepted, Client, Service, message};
use crate::access::Caller;
use crate::asks::{self, Answered, Decision, Pass};
use crate::backoff::Backoff;
use crate::config::AskTimeout;
use crate::session::{Delivery, Origin};
use crate::store::{self, AskRow, Durability, Scope, Write};
use crate::task::{Extent, Record, TaskLog};
use pilothouse_a2a::Metadata;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::event::TaskStatusUpdateEvent;
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::message::{Message, Part, PartContent, Role};
use pilothouse_a2a::task::{TaskState, TaskStatus};
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::Turn as Prompt;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries to end asks whose time is over, at first and at most.
const EXPIRE_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl Service {
    /// The open ask that a message answers: the one that it names, else the task's first one.
    pub(super) fn asked(
        &self,
        log: &TaskLog,
        message: &Message,
    ) -> Result<Option<Arc<AskRow>>, Error> {
        let named = asks::named(message);
        let asks = &self.asks;
        let is_asking = log.state() == TaskState::InputRequired;
        let found = match &named {
            // One of several is open before it is the task's status, and between the answers to two others.
            Some(id) => asks.find(log.n, Some(id)).filter(|ask| is_asking || !ask.ends_turn),
            None if is_asking => asks.find(log.n, None),
            None => None,
        };
        match (found, named) {
            (None, Some(_)) => Err(not_open_any_more()),
            (found, _) => Ok(found),
        }
    }

    /// The tasks that a message without a task may answer: those of its context that wait for its caller.
    pub(super) fn waiting_tasks(&self, scope: &Scope, message: &Message) -> Vec<TaskId> {
        let context = message.context_id.as_ref().filter(|_| self.config.asks.by_context);
        let is_plain = message.task_id.is_none() && message::fork_of(message).is_none();
        let context = context.filter(|_| is_plain);
        context.map(|context| self.asks.tasks_of(scope, context)).unwrap_or_default()
    }

    /// The task that a message without a task answers: the only one of its context that waits for its caller.
    pub(super) async fn find_waiting(
        &self,
        scope: &Scope,
        message: &Message,
    ) -> Result<Option<Arc<TaskLog>>, Error> {
        let waiting = self.waiting_tasks(scope, message);
        match waiting.as_slice() {
            [] => Ok(None),
            [task] => self.tasks.find(scope, task).await.map_err(store::Error::incident),
            several => Err(asks::refuse_several(several)),
        }
    }

    /// The open asks of these, oldest first, a page of them.
    pub fn asks(&self, clients: &[Client], after: Option<&str>, most: usize) -> asks::Page {
        let is_listed = |scope: &Scope| {
            clients
                .iter()
                .any(|client| client.agent.key == scope.agent && client.caller.lists(scope))
        };
        self.asks.page(is_listed, after, most, self.config.limits.response.as_usize())
    }

    /// An open ask of this caller; an admin has those of all callers.
    pub fn own_ask(&self, client: &Client, id: &str) -> Option<Arc<AskRow>> {
        let row = self.asks.get(id);
        row.filter(|row| row.scope.agent == client.agent.key && client.caller.sees(&row.scope))
    }

    /// Answers an ask by its id, with what a data part would hold.
    ///
    /// # Errors
    ///
    /// `TaskNotFound` for an ask that is not open or somebody else's; what is wrong with the answer.
    pub async fn answer_ask(
        &self,
        client: &Client,
        id: &str,
        given: Metadata,
    ) -> Result<Accepted, Error> {
        let row = self.own_ask(client, id);
        let row = row.ok_or_else(|| {
            Error::new(ErrorKind::TaskNotFound, "no such ask is open").with("askId", id)
        })?;
        let (log, _) = self.find(client, &row.task, false).await?;
        asks::check_size(given.as_json())?;
        let mut given = given;
        given.insert("askId", id);
        let mut message = Message::new(Role::User, vec![Part::of(PartContent::Data(given.into()))]);
        message.task_id = Some(log.id.clone());
        message.context_id = Some(log.context_id.clone());
        let told = self.prompt(&client.agent, &message, (&*client.caller.name, [].as_slice()))?;
        let accepted = self.continue_task(&client.caller, &log, message, told, None).await?;
        accepted.ok_or_else(not_open_any_more)
    }

    /// Carries out what was decided about an ask that did not end its turn.
    pub(super) async fn decided(
        &self,
        log: &Arc<TaskLog>,
        row: Arc<AskRow>,
        decision: Decision,
        message: Option<Message>,
        mut also: Vec<Write>,
        caller: Option<&Caller>,
    ) -> Result<Option<Accepted>, Error> {
        // One of several answers gets it.
        let Some(row) = self.asks.take(&row.id) else {
            return Err(not_open_any_more());
        };
        also.push(Write::AskTaken { id: row.id.clone() });
        let before = log.head();
        let refusal =
            message.as_ref().and_then(|message| asks::explain_refusal(&decision, message));
        let refusal = refusal.map(|words| Message::new(Role::Agent, vec![Part::text(words)]));
        let records = message.map(Record::Message).into_iter();
        let records = records.chain([state_record(log, TaskState::Working, refusal)]);
        let stored =
            log.record_with(&self.store, also, records.collect(), Durability::Synced).await;
        match stored {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                self.asks.restore(row);
                return Err(error.incident());
            }
        }
        match self.sessions.answer(log, &row.id, &decision).await {
            Delivery::Told | Delivery::Withdrawn => {}
            Delivery::Gone => self.resume(log, &row, &decision).await?,
        }
        let answered = Answered::new(&row, &decision);
        self.telemetry.answered(log, &answered, caller);
        let answered = Some(answered);
        Ok(Some(Accepted { log: log.clone(), before: Some(before), answered, setup: None }))
    }

    /// The process that asked is gone: the conversation is resumed with what was decided.
    async fn resume(
        &self,
        log: &Arc<TaskLog>,
        row: &Arc<AskRow>,
        decision: &Decision,
    ) -> Result<(), Error> {
        // The task is `WORKING` and has no turn: where none comes of this, it ends.
        let mut ending = self.sessions.end_guard(log.clone());
        let admitted = self.sessions.admit(&log.scope, log.context_id.clone(), true).await;
        let admission = match admitted {
            Ok(admission) => admission,
            Err(error) => {
                // It is asked again, with the same words.
                self.asks.restore(row.clone());
                let mut data = row.ask.clone();
                data["askId"] = (*row.id).into();
                let parts = vec![Part::text(asks::words(&row.ask)), Part::data(data)];
                let again = Message::new(Role::Agent, parts);
                let records = vec![state_record(log, TaskState::InputRequired, Some(again))];
                let also = vec![Write::Ask(row.clone())];
                let asked = log.record_with(&self.store, also, records, Durability::Synced).await;
                if !matches!(asked, Ok(true)) {
                    self.asks.take(&row.id);
                }
                asked.map_err(store::Error::incident)?;
                ending.disarm();
                return Err(refused(error));
            }
        };
        // A CLI writes its transcript late, so what the turn was about is told again.
        let about =
            log.snapshot_at(&self.store, 1, Extent::MESSAGES).await.ok().and_then(|snapshot| {
                let history = snapshot.task.history;
                let first = history.iter().find(|message| message.role == Role::User);
                first.map(Message::text_content)
            });
        let prompt = Prompt {
            text: match about {
                Some(about) => format!("{about}\n\n{}", decision.told(&row.ask)),
                None => decision.told(&row.ask),
            },
            message_id: pilothouse_a2a::id::MessageId::random().to_string(),
            task_id: log.id.to_string(),
            context_id: log.context_id.to_string(),
            ..Prompt::default()
        };
        let pass = Pass {
            ask: row.ask.clone(),
            answer: decision.answer(),
            session: matches!(decision, Decision::Allow { session: true, .. }),
        };
        // What else was asked then is asked again by the agent that goes on, if it still wants it.
        let void = self.asks.forget(log.n).into_iter();
        let void = void.map(|row| Write::AskGone { id: row.id.clone() });
        let writes: Vec<_> = void.chain(admission.write()).collect();
        if !writes.is_empty()
            && let Err(error) = self.store.commit(writes, Durability::Written).await
        {
            // The task is `WORKING` by now, so its turn has to come.
            tracing::warn!(task.id = %log.id, %error, "void asks could not be removed, or a new session noted");
        }
        log.turn_comes();
        ending.disarm();
        let origin = Origin { pass: Some(pass), ..Origin::default() };
        admission.submit(log.clone(), prompt, Vec::new(), origin);
        Ok(())
    }

    /// Decides about asks whose time is over, until the server stops.
    pub async fn expire_asks(&self) {
        let mut backoff = Backoff::new(EXPIRE_AGAIN.0, EXPIRE_AGAIN.1);
        loop {
            let due = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                due = self.asks.expired() => due,
            };
            let Err(error) = self.expire_all(due).await else {
                backoff.reset();
                continue;
            };
            // It stays due: without a pause a store that fails would be asked without end.
            let pause = backoff.pause();
            tracing::warn!(%error, ?pause, "asks whose time is over could not be ended; it is tried again");
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn expire_all(&self, due: Vec<Arc<AskRow>>) -> Result<(), Error> {
        let mut all = Ok(());
        for row in due {
            // Each is tried, whatever came of those before: they may be of different callers.
            all = all.and(self.expire(row).await);
        }
        all
    }

    async fn expire(&self, row: Arc<AskRow>) -> Result<(), Error> {
        let open = self.config.asks.timeout;
        let found = self.tasks.find(&row.scope, &row.task).await;
        let Some(log) =
            found.map_err(store::Error::incident)?.filter(|log| !log.state().is_terminal())
        else {
            self.asks.take(&row.id);
            return Ok(());
        };
        // A question that ended its turn has nobody who goes on without an answer.
        if row.ends_turn || self.config.asks.then == AskTimeout::Cancel {
            let words = format!("nobody answered within {open} (`asks.timeout`)");
            let message = Message::new(Role::Agent, vec![Part::text(words)]);
            let records = vec![state_record(&log, TaskState::Canceled, Some(message))];
            log.record(&self.store, records, Durability::Synced)
                .await
                .map_err(store::Error::incident)?;
            self.asks.forget(log.n);
            self.sessions.cancel(&log).await.map_err(store::Error::incident)?;
            let canceled = Answered { ask: row.id.clone(), decision: "cancel" };
            self.telemetry.answered(&log, &canceled, None);
            return Ok(());
        }
        let reason = format!("nobody answered within {open}.");
        self.decided(&log, row, Decision::Deny { reason }, None, Vec::new(), None).await.map(drop)
    }
}

fn state_record(log: &TaskLog, state: TaskState, message: Option<Message>) -> Record {
    let status = TaskStatus { state, message, timestamp: Some(Timestamp::now()) };
    let (id, context) = (log.id.clone(), log.context_id.clone());
    Record::Status(TaskStatusUpdateEvent::new(id, context, status))
}

pub(super) fn not_open_any_more() -> Error {
    Error::new(
        ErrorKind::UnsupportedOperation,
        "this ask is not open any more: it was answered, withdrawn, or its time is over",
    )
}

//! Answers to asks: to the process that waits for one, or by resuming the conversation that asked.

use super::send::refused;
use super::wishes::permit_wishes;
use super::{Accepted, Client, Service, message};
use crate::access::Caller;
use crate::asks::{self, Answered, Answering, Decision, RememberedDecision};
use crate::clock;
use crate::session::{Delivery, FailureCode, Origin, Wishes};
use crate::store::{
    self, AskAct, AskPage, AskRow, AskState, Durability, GrantWrite, Scope, TraceNote, TraceRow,
    Write,
};
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

/// What a message answers.
pub(super) enum Asked {
    /// No ask.
    Nothing,
    /// This open ask.
    Open(Arc<AskRow>),
    /// One that this caller has answered so before.
    Again(Accepted),
}

impl Service {
    /// What a message answers: the ask that it names, else the task's first one.
    pub(super) async fn asked(
        &self,
        log: &Arc<TaskLog>,
        message: &Message,
        caller: &Caller,
    ) -> Result<Asked, Error> {
        match (self.open_ask(log, message), asks::named(message)) {
            (Some(ask), _) => Ok(Asked::Open(ask)),
            (None, None) => Ok(Asked::Nothing),
            (None, Some(id)) => self.answered_before(log, &id, message, caller).await,
        }
    }

    /// The open ask that a message answers.
    pub(super) fn open_ask(&self, log: &TaskLog, message: &Message) -> Option<Arc<AskRow>> {
        let asks = &self.asks;
        let is_asking = log.state() == TaskState::InputRequired;
        match asks::named(message) {
            // One of several is open before it is the task's status, and between the answers to two others.
            Some(id) => asks.find(log.n, Some(&id)).filter(|ask| is_asking || !ask.ends_turn),
            None if is_asking => asks.find(log.n, None),
            None => None,
        }
    }

    /// An ask that is named and not open: the same answer again is no error; another one is told who answered what.
    async fn answered_before(
        &self,
        log: &Arc<TaskLog>,
        id: &str,
        message: &Message,
        caller: &Caller,
    ) -> Result<Asked, Error> {
        self.asks.await_answer(id).await;
        let found = self.store.ask(id).await.map_err(store::Error::incident)?;
        let row = found.filter(|row| row.n == log.n).ok_or_else(not_open_any_more)?;
        if row.state.is_open() {
            return Err(not_open_any_more());
        }
        let said = asks::decide(&row, message, self.config.asks.words).ok();
        accept_again(log, &row, (said.as_ref(), caller)).map(Asked::Again)
    }

    /// Keeps an ask that ended its turn for this answer, and adds what is stored of it; none where another answer was
    /// quicker.
    pub(super) fn begin_answer(
        &self,
        ask: &AskRow,
        said: &Decision,
        (act, also): (AskAct, &mut Vec<Write>),
    ) -> Option<(Answering, Answered)> {
        let answering = self.asks.begin_answer(&ask.id)?;
        let (id, state) = (ask.id.clone(), AskState::Answered);
        also.push(Write::AskTaken { id, state, act: Some(Arc::new(act)) });
        Some((answering, Answered::new(ask, said)))
    }

    /// Another answer was quicker: the same one is no error, and another one is told who answered what.
    pub(super) async fn answered_meanwhile(
        &self,
        log: &Arc<TaskLog>,
        row: &AskRow,
        (said, caller): (&Decision, Option<&Caller>),
    ) -> Result<Option<Accepted>, Error> {
        let row = self.find_ask(&row.id).await?;
        if row.state.is_open() {
            return Err(not_open_any_more());
        }
        let caller = caller.ok_or_else(|| ended(&row))?;
        accept_again(log, &row, (Some(said), caller)).map(Some)
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

    /// The open asks of these that stand so, oldest first, a page of them.
    pub fn asks(
        &self,
        clients: &[Client],
        states: &[AskState],
        after: Option<&str>,
        most: usize,
    ) -> asks::Page {
        let is_listed = |scope: &Scope| {
            clients
                .iter()
                .any(|client| client.agent.key == scope.agent && client.caller.lists(scope))
        };
        let bytes = self.config.limits.response.as_usize();
        self.asks.page(is_listed, states, after, (most, bytes))
    }

    /// An ask of this caller by its id or its short id, also after its end.
    ///
    /// # Errors
    ///
    /// `TaskNotFound` where there is none; when the store fails.
    pub async fn ask(&self, caller: &Caller, id: &str) -> Result<Arc<AskRow>, Error> {
        let row = self.find_ask(id).await?;
        let is_theirs = caller.sees(&row.scope) && caller.grant.serves(&row.scope.agent);
        if is_theirs { Ok(row) } else { Err(no_such_ask(id)) }
    }

    /// An ask by its id or its short id, whosever it is.
    async fn find_ask(&self, id: &str) -> Result<Arc<AskRow>, Error> {
        self.asks.await_answer(id).await;
        if let Some(row) = self.asks.get(id) {
            return Ok(row);
        }
        let row = self.store.ask(id).await.map_err(store::Error::incident)?;
        row.map(Arc::new).ok_or_else(|| no_such_ask(id))
    }

    /// A page of the asks that have ended and that a request of this client lists, newest first: of one agent or of all, of
    /// one state or of all.
    pub async fn ended_asks(
        &self,
        client: &Client,
        agent: Option<&Arc<str>>,
        state: Option<AskState>,
        (before, most): (Option<&str>, usize),
    ) -> Result<AskPage, Error> {
        let caller = &client.caller;
        let before = before.map(str::to_owned);
        let agents = match agent {
            Some(agent) if !caller.grant.serves(agent) => return Ok(AskPage::default()),
            Some(agent) => vec![agent.to_string()],
            None => caller.grant.agents().to_vec(),
        };
        let page = self.store.ended_asks(&caller.listed, agents, state, before, most).await;
        page.map_err(store::Error::incident)
    }

    /// Answers an ask of this client, with what a data part would hold.
    ///
    /// # Errors
    ///
    /// `AskNotOpen` for an ask that was answered differently or cannot be answered any more; what is wrong with the
    /// answer.
    pub async fn answer_ask(
        &self,
        client: &Client,
        row: &AskRow,
        given: Metadata,
    ) -> Result<Accepted, Error> {
        let (log, _) = self.find(client, &row.task, false).await?;
        asks::check_size(given.as_json())?;
        let mut given = given;
        given.insert("askId", &*row.id);
        let mut message = Message::new(Role::User, vec![Part::of(PartContent::Data(given.into()))]);
        message.task_id = Some(log.id.clone());
        message.context_id = Some(log.context_id.clone());
        let told = self.prompt(&client.agent, &message, (&*client.caller.name, [].as_slice()))?;
        let accepted = self.continue_task(client, &log, message, told, None).await?;
        accepted.ok_or_else(not_open_any_more)
    }

    /// Notes that a person claims an ask, or wants to be asked later: for so long, or as long as the configuration says.
    /// A process that waits for the answer to a deferred ask is ended; the answer resumes its conversation.
    ///
    /// # Errors
    ///
    /// `AskNotOpen` for an ask that cannot be answered any more; when the store fails.
    pub async fn mark_ask(
        &self,
        client: &Client,
        row: &Arc<AskRow>,
        (state, length): (AskState, Duration),
    ) -> Result<Arc<AskRow>, Error> {
        let config = &self.config.asks;
        let now = clock::now();
        let until = clock::after(now, length);
        let act = AskAct {
            by: client.caller.name.clone(),
            source: client.source.clone(),
            at: now,
            what: serde_json::Map::new(),
        };
        let mut marked = AskRow::clone(row);
        (marked.state, marked.until, marked.act) = (state, Some(until), Some(Arc::new(act)));
        if state == AskState::Deferred {
            // Who is asked again must have as much time as who is asked.
            marked.deadline = marked.deadline.max(clock::after(until, config.timeout.get()));
        }
        let marked = Arc::new(marked);
        let written =
            self.store.commit(vec![Write::AskMarked(marked.clone())], Durability::Synced).await;
        if matches!(written, Err(store::Error::Refused(_))) {
            return Err(ended(&*self.find_ask(&row.id).await?));
        }
        written.map_err(store::Error::incident)?;
        if !self.asks.update(marked.clone()) {
            // An answer or its expiry began meanwhile; where it is taken back, the mark holds.
            self.asks.await_answer(&row.id).await;
            if !self.asks.update(marked.clone()) {
                return Err(ended(&*self.find_ask(&row.id).await?));
            }
        }
        if state == AskState::Deferred && !row.ends_turn {
            let (log, _) = self.find(client, &row.task, false).await?;
            self.sessions.park(&log);
        }
        Ok(marked)
    }

    /// Carries out what was decided about an ask that did not end its turn.
    pub(super) async fn decided(
        &self,
        log: &Arc<TaskLog>,
        row: Arc<AskRow>,
        decision: Decision,
        message: Option<Message>,
        also: (Vec<Write>, (AskState, AskAct), Option<i32>),
        caller: Option<&Caller>,
    ) -> Result<Option<Accepted>, Error> {
        // One of several answers gets it.
        let Some(answering) = self.asks.begin_answer(&row.id) else {
            return self.answered_meanwhile(log, &row, (&decision, caller)).await;
        };
        self.carry_out_decision(log, answering, decision, message, also, caller).await
    }

    /// The same for an ask that is kept for this decision.
    pub(super) async fn carry_out_decision(
        &self,
        log: &Arc<TaskLog>,
        answering: Answering,
        decision: Decision,
        message: Option<Message>,
        (mut also, answer, expected): (Vec<Write>, (AskState, AskAct), Option<i32>),
        caller: Option<&Caller>,
    ) -> Result<Option<Accepted>, Error> {
        let row = answering.row().clone();
        let (state, act) = (answer.0, Arc::new(answer.1));
        if let Decision::Allow { grant: Some(offer), .. } = &decision {
            let bounds = &self.config.asks;
            also.push(Write::Grant(GrantWrite::New(
                Arc::new(offer.row(&row, &act, bounds)?),
                bounds.grants,
            )));
        }
        also.push(Write::AskTaken { id: row.id.clone(), state, act: Some(act) });
        let before = log.head();
        let refusal =
            message.as_ref().and_then(|message| asks::explain_refusal(&decision, message));
        let refusal = refusal.map(|words| Message {
            metadata: Some([("decision".to_owned(), "deny".into())].into_iter().collect()),
            ..Message::new(Role::Agent, vec![Part::text(words)])
        });
        let records = message.map(Record::Message).into_iter();
        let records = records.chain([state_record(log, TaskState::Working, refusal)]);
        let also = (also, expected);
        let stored = log.record_at(&self.store, also, records.collect(), Durability::Synced).await;
        // Where it could not be stored the ask is open as before.
        let is_stored = stored.map_err(store::Error::incident)?;
        let is_stored = self.check_taken(log, is_stored, expected).await?;
        answering.settle();
        if !is_stored {
            return Ok(None);
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
        let wishes = match self.permit_again(row) {
            Ok(wishes) => wishes,
            Err(refusal) => {
                self.end_refused(log, &refusal).await?;
                ending.disarm();
                return Ok(());
            }
        };
        let admitted = self.sessions.admit(&log.scope, log.context_id.clone(), true).await;
        let admission = match admitted {
            Ok(admission) => admission,
            Err(error) => {
                // It is asked again, with the same words.
                self.asks.restore(row.clone());
                let data = asks::render(row, clock::now());
                let parts = vec![Part::text(asks::words(&row.ask)), Part::data(data)];
                let again = Message::new(Role::Agent, parts);
                let records = vec![state_record(log, TaskState::InputRequired, Some(again))];
                // What the answer granted goes with it: the next answer may grant the same.
                let revoked = GrantWrite::Revoked { id: row.id.clone() };
                let also = vec![Write::Ask(row.clone()), Write::Grant(revoked)];
                let asked = log.record_with(&self.store, also, records, Durability::Synced).await;
                if !matches!(asked, Ok(true)) {
                    self.asks.remove(&row.id);
                }
                asked.map_err(store::Error::incident)?;
                ending.disarm();
                return Err(refused(error));
            }
        };
        let note = TraceRow { n: log.n, at: Timestamp::now(), note: TraceNote::Resumed };
        let noted = self.store.commit(vec![Write::Trace(Box::new(note))], Durability::Written);
        if let Err(error) = noted.await {
            tracing::warn!(task.id = %log.id, %error, "the trace of a task does not tell that it was resumed");
        }
        // A CLI writes its transcript late, so what the turn was about is told again.
        let first =
            log.snapshot_at(&self.store, 1, Extent::MESSAGES).await.ok().and_then(|snapshot| {
                let mut history = snapshot.task.history.into_iter();
                history.find(|message| message.role == Role::User)
            });
        let about = first.as_ref().map(Message::text_content);
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
        let (id, ask) = (row.id.clone(), row.ask.clone());
        let remembered = Some(RememberedDecision { id, ask, answer: decision.answer() });
        // What else was asked then is asked again by the agent that goes on, if it still wants it.
        let void = self.asks.forget(log.n).into_iter();
        let state = AskState::Withdrawn;
        let void = void.map(|row| Write::AskGone { id: row.id.clone(), state, act: None });
        let writes: Vec<_> = void.chain(admission.write()).collect();
        if !writes.is_empty()
            && let Err(error) = self.store.commit(writes, Durability::Written).await
        {
            // The task is `WORKING` by now, so its turn has to come.
            tracing::warn!(task.id = %log.id, %error, "void asks could not be removed, or a new session noted");
        }
        log.turn_comes();
        ending.disarm();
        let origin = Origin { remembered, wishes, ..Origin::default() };
        admission.submit(log.clone(), prompt, Vec::new(), origin);
        Ok(())
    }

    /// What the turn of an ask chose, which holds for the rest of the turn, where that is still permitted.
    fn permit_again(&self, row: &AskRow) -> Result<Option<Arc<Wishes>>, Error> {
        let sent = row.ask.get("wishes").zip(self.agents.get(&row.scope.agent));
        sent.map(|(sent, agent)| permit_wishes(agent, &sent.to_string()).map(Arc::new)).transpose()
    }

    /// Ends a task as failed whose turn cannot go on with what it chose.
    async fn end_refused(&self, log: &Arc<TaskLog>, refusal: &Error) -> Result<(), Error> {
        let words = format!(
            "the turn cannot go on as it began: {}\nsend the message again in the same context with another choice",
            refusal.message
        );
        let message = Message::new(Role::Agent, vec![Part::text(words)]);
        let state = AskState::Withdrawn;
        let void = self.asks.forget(log.n).into_iter();
        let void = void.map(|row| Write::AskGone { id: row.id.clone(), state, act: None });
        let mut record = state_record(log, TaskState::Failed, Some(message));
        if let Record::Status(update) = &mut record {
            let code = FailureCode::Start.word();
            update.metadata = Some([("failure".to_owned(), code.into())].into_iter().collect());
        }
        let ended = log.record_with(&self.store, void.collect(), vec![record], Durability::Synced);
        ended.await.map(drop).map_err(store::Error::incident)
    }
}

pub(super) fn state_record(log: &TaskLog, state: TaskState, message: Option<Message>) -> Record {
    let status = TaskStatus { state, message, timestamp: Some(Timestamp::now()) };
    let (id, context) = (log.id.clone(), log.context_id.clone());
    Record::Status(TaskStatusUpdateEvent::new(id, context, status))
}

/// The same answer again is taken, and does nothing; any other is refused.
fn accept_again(
    log: &Arc<TaskLog>,
    row: &AskRow,
    (said, caller): (Option<&Decision>, &Caller),
) -> Result<Accepted, Error> {
    let is_same = said.is_some_and(|said| said.is_stored(row, &caller.name));
    let answered = Answered::of(row).filter(|_| is_same).ok_or_else(|| ended(row))?;
    Ok(Accepted {
        log: log.clone(),
        before: Some(log.head()),
        answered: Some(answered),
        setup: None,
    })
}

fn no_such_ask(id: &str) -> Error {
    Error::new(ErrorKind::TaskNotFound, "no such ask").with("askId", id)
}

/// The answer is stored, or the task is over.
pub(super) fn settle((answering, answered): (Answering, Answered)) -> Answered {
    answering.settle();
    answered
}

/// What whoever answers an ask is told that has ended: who answered what, and what to do next.
fn ended(row: &AskRow) -> Error {
    let words = format!("{}; {}", asks::describe_end(row), asks::next_step(row));
    let error = Error::new(ErrorKind::AskNotOpen, words)
        .with("askId", &*row.id)
        .with("state", row.state.word());
    let Some(act) = &row.act else { return error };
    let decision = act.what.get("decision").and_then(serde_json::Value::as_str);
    error
        .with("by", &*act.by)
        .with("at", act.at.to_string())
        .with("decision", decision.unwrap_or_default())
}

pub(super) fn not_open_any_more() -> Error {
    Error::new(
        ErrorKind::UnsupportedOperation,
        "this ask is not open any more: it was answered, withdrawn, or its time is over",
    )
}

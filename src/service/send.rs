//! A message on its way to a task: a new one, or the next turn of one that is there.

use super::answer::{self, Asked};
use super::message::{self, Told};
use super::repeat::{self, Mark, Print, Repeat};
use super::scope::check_sender;
use super::{Client, RETRY_SECONDS, Service, beside, wishes};
use crate::agent::Agent;
use crate::asks::{self, Answered};
use crate::config::{AtAccountLimit, Replies};
use crate::limited::AccountLimit;
use crate::push::{self, Checked};
use crate::session::{Admission, NotAdmitted, Origin};
use crate::store::{self, AskState, Scope, TaskRow, Write};
use crate::task::{Record, TaskLog};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::event::TaskStatusUpdateEvent;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::operation::SendMessageRequest;
use pilothouse_a2a::task::{Task, TaskState, TaskStatus};
use pilothouse_a2a::time::Timestamp;
use std::sync::Arc;

/// What came beside a message.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    /// The task's id as a v0.1 client made it.
    pub alias: Option<&'a str>,
    /// `Idempotency-Key`.
    pub key: Option<&'a str>,
    /// The dialect, in which push notifications will be written too.
    pub dialect: Dialect,
    /// Whether the caller waits for what the agent says, by an answer or a stream.
    pub waits: bool,
}

/// A message that was taken, and from where on its task is new.
pub struct Accepted {
    /// The task.
    pub log: Arc<TaskLog>,
    /// The last sequence number before the message, where the task was there already.
    pub before: Option<u64>,
    /// The ask that the message answered.
    pub answered: Option<Answered>,
    /// The revision of the set-up of the session whose turn the message becomes, if it becomes one.
    pub setup: Option<String>,
}

/// How a new task is to be made.
struct New<'a> {
    alias: Option<&'a str>,
    key: Option<(String, Print)>,
    withheld: bool,
    /// What was sent, where no key says that.
    print: Option<Print>,
}

fn of_another_context(log: &TaskLog) -> Error {
    let id = &log.id;
    Error::invalid(
        "message.contextId",
        format!(
            "task `{id}` belongs to another context; leave contextId out or give the task's own"
        ),
    )
}

impl Service {
    /// Accepts a message. Whoever calls this sees it through on a task of its own (`Doors::run`): what is
    /// stored by then has to run.
    pub async fn accept(
        &self,
        client: &Client,
        request: SendMessageRequest,
        beside: Beside<'_>,
    ) -> Result<Accepted, Error> {
        check_sender(&client.caller)?;
        message::check_message(&request.message, beside.alias)?;
        self.take(client, request, beside).await
    }

    async fn take(
        &self,
        client: &Client,
        mut request: SendMessageRequest,
        beside: Beside<'_>,
    ) -> Result<Accepted, Error> {
        let mark = match beside.key {
            Some(key) => {
                message::check_id("Idempotency-Key", key)?;
                Mark::Key(key.to_owned())
            }
            None => Mark::Message(request.message.message_id.to_string()),
        };
        let print = repeat::print(&mut request, beside.key.is_none());
        let continues = request.message.task_id.is_some()
            || !self.waiting_tasks(&client.scope(), &request.message).is_empty();
        let first = match self.repeats.look(&client.scope(), mark, print, continues).await {
            Repeat::First(first) => first,
            Repeat::Of(log) => {
                return Ok(Accepted { log, before: None, answered: None, setup: None });
            }
        };
        let key = match beside.key {
            Some(key) => {
                if let Some(log) = self.keyed(client, key, &print).await? {
                    first.accepted(&log);
                    return Ok(Accepted { log, before: None, answered: None, setup: None });
                }
                Some((key.to_owned(), print))
            }
            None => None,
        };
        let print = key.is_none().then_some(print);
        let (accepted, hook) = self.accept_first(client, request, beside, key, print).await?;
        self.telemetry.accepted(&accepted.log, &client.caller);
        first.accepted(&accepted.log);
        if let Some(hook) = hook {
            let after = accepted.before.unwrap_or(0);
            self.push.attach(&accepted.log, hook, beside.dialect, beside.alias, after).await?;
        }
        Ok(accepted)
    }

    /// The task of an earlier send under this `Idempotency-Key`.
    async fn keyed(
        &self,
        client: &Client,
        key: &str,
        print: &Print,
    ) -> Result<Option<Arc<TaskLog>>, Error> {
        let scope = client.scope();
        let sent = self.store.task_by_key(&scope, key).await;
        let Some((sent, row)) = sent.map_err(store::Error::incident)? else {
            return Ok(None);
        };
        if sent != *print {
            let what = "was used for another message already; give each message a key of its own";
            return Err(Error::invalid("Idempotency-Key", what));
        }
        let tasks = &self.tasks;
        tasks.find(&scope, &row.id).await.map_err(store::Error::incident)
    }

    async fn accept_first(
        &self,
        client: &Client,
        request: SendMessageRequest,
        beside: Beside<'_>,
        key: Option<(String, Print)>,
        print: Option<Print>,
    ) -> Result<(Accepted, Option<Checked>), Error> {
        let SendMessageRequest { message, configuration, .. } = request;
        let configuration = configuration.unwrap_or_default();
        let hook = match configuration.task_push_notification_config {
            Some(mut config) => {
                config.id = config.id.or_else(|| push::default_id(beside.dialect));
                Some(self.push.check(&client.caller, config).await?)
            }
            None => None,
        };
        // v0.1 has no bare message.
        let withheld = client.agent.config.replies == Replies::Message
            && beside.waits
            && beside.dialect != Dialect::V0_1;
        let alias = beside.alias;
        let new = New { alias, key: key.clone(), withheld, print };
        let modes = &configuration.accepted_output_modes;
        beside::check_modes(&client.agent, modes)?;
        let told =
            self.prompt(&client.agent, &message, (&*client.caller.name, modes.as_slice()))?;
        let wanted = configuration.if_generation_match;
        let wanted = wanted.filter(|_| self.config.compat.v11 && message.task_id.is_some());
        let told = Told { wanted, ..told };
        let scope = client.scope();
        let continued = match (&message.task_id, alias) {
            (Some(id), _) => Some(self.find(client, id, false).await?.0),
            (None, Some(alias)) => {
                self.tasks.find_alias(&scope, alias).await.map_err(store::Error::incident)?
            }
            (None, None) => self.find_waiting(&scope, &message).await?,
        };
        self.check_scope(client, continued.as_deref(), &message)?;
        self.check_session_wishes(&scope, &told, (&message, continued.is_some())).await?;
        let same_context = |log: &TaskLog| {
            message.context_id.as_ref().is_none_or(|context| *context == log.context_id)
        };
        let accepted = match continued {
            // v0.3 does not say what a context beside a task means; there the task's own counts.
            Some(log)
                if message.task_id.is_some()
                    && beside.dialect == Dialect::V1_0
                    && !same_context(&log) =>
            {
                Err(of_another_context(&log))
            }
            Some(log) if message.task_id.is_some() => {
                let taken = self.continue_task(client, &log, message, told, key).await?;
                taken.ok_or_else(|| not_open(&log))
            }
            // The task that waits in the context, or that a v0.1 client names: where it is finished by now, a new one
            // begins in the same session.
            Some(log) => {
                let taken = self
                    .continue_task(client, &log, message.clone(), told.clone(), key.clone())
                    .await?;
                if let Some(accepted) = taken {
                    return Ok((accepted, hook));
                }
                let context = message.context_id.clone().unwrap_or_else(|| log.context_id.clone());
                self.new_task(client, message, told, Some(context), new).await
            }
            None => {
                let context = message.context_id.clone();
                self.new_task(client, message, told, context, new).await
            }
        };
        Ok((accepted?, hook))
    }

    async fn new_task(
        &self,
        client: &Client,
        mut message: Message,
        mut told: Told,
        context: Option<ContextId>,
        new: New<'_>,
    ) -> Result<Accepted, Error> {
        let New { alias, key, withheld, print } = new;
        let scope = client.scope();
        let fork = self.forked(&scope, &message, context.as_ref()).await?;
        let id = TaskId::random();
        let known = context.is_some();
        let context_id = context.unwrap_or_else(ContextId::random);
        message.task_id = Some(id.clone());
        message.context_id = Some(context_id.clone());
        told.belongs_to(&id, &context_id);
        self.within_limit(&client.agent)?;
        // Before a new session gets an actor, which makes folders.
        self.affordable(&scope, None, None).await?;
        self.hold_prompt(&scope.caller, &mut told)?;
        let admitted = self.sessions.admit(&scope, context_id.clone(), known).await;
        let mut admission = admitted.map_err(refused)?;
        let limit = self.wait_for_limit(&client.agent, &mut admission)?;
        if admission.write().is_none() {
            self.affordable(&scope, Some(&admission.session.id), None).await?;
        }
        let now = Timestamp::now();
        let row = TaskRow {
            n: self.store.new_task_number(),
            id: id.clone(),
            scope,
            context_id: context_id.clone(),
            session: admission.session.id.clone(),
            alias: alias.map(Arc::from),
            state: TaskState::Submitted,
            status_at: now,
            created: now,
            head: 0,
            print,
        };
        let status = TaskStatus {
            state: TaskState::Submitted,
            message: (!admission.starts_now()).then(|| self.queued(&row, limit.as_ref())),
            timestamp: Some(now),
        };
        let mut task = Task::new(id.clone(), context_id.clone(), status);
        task.history.push(message);
        let key = key.map(|key| key_of(&row.scope, key, row.n));
        let also = admission.write().into_iter().chain(key).chain(client.note_trace(row.n, now));
        let working = TaskStatus { state: TaskState::Working, message: None, timestamp: Some(now) };
        let records = if admission.starts_now() {
            vec![Record::Status(TaskStatusUpdateEvent::new(id, context_id, working))]
        } else {
            Vec::new()
        };
        let log = self
            .tasks
            .accept(row, task, also.collect(), records, withheld)
            .await
            .map_err(store::Error::incident)?;
        let origin = Origin { fork, ..told.take_origin() };
        let setup = admission.session.setup.clone();
        admission.submit(log.clone(), told.prompt, told.files, origin);
        Ok(Accepted { log, before: None, answered: None, setup })
    }

    /// The place of a task that cannot begin at once, for people.
    fn queued(&self, row: &TaskRow, limit: Option<&AccountLimit>) -> Message {
        let mut words = match self.asks.tasks_of(&row.scope, &row.context_id).first() {
            Some(task) => format!("waiting for task {task}, which waits for your answer"),
            None => {
                let place = self.sessions.position(&row.scope.caller);
                format!("waiting for its turn: number {place} in the queue")
            }
        };
        if let Some(limit) = limit {
            words = format!("{words}; {}", limit.words());
        }
        Message::new(Role::Agent, vec![Part::text(words)])
    }

    /// None where the task is over by now.
    pub(super) async fn continue_task(
        &self,
        client: &Client,
        log: &Arc<TaskLog>,
        mut message: Message,
        mut told: Told,
        key: Option<(String, Print)>,
    ) -> Result<Option<Accepted>, Error> {
        let asked = self.asked(log, &message, &client.caller).await?;
        if let Asked::Again(accepted) = asked {
            return Ok(Some(accepted));
        }
        if log.state().is_terminal() {
            return Ok(None);
        }
        let expected = told.wanted;
        self.check_generation(log, expected).await?;
        message.task_id = Some(log.id.clone());
        message.context_id = Some(log.context_id.clone());
        told.belongs_to(&log.id, &log.context_id);
        let mut also: Vec<Write> =
            key.map(|key| key_of(&log.scope, key, log.n)).into_iter().collect();
        let mut ended = None;
        if let Asked::Open(ask) = asked {
            let decision = asks::decide(&ask, &message, self.config.asks.words)?;
            let act = decision.act(&ask, &client.caller.name, &client.source);
            if !ask.ends_turn {
                wishes::refuse_in_answer(told.wishes.as_deref())?;
                let also = (also, (AskState::Answered, act), expected);
                let caller = Some(&client.caller);
                return self.decided(log, ask, decision, Some(message), also, caller).await;
            }
            if asks::named(&message).is_some() {
                told.prompt.text = decision.plain();
            }
            ended = Some((decision, ask, act));
        }
        let agent = self.agents.get(&log.scope.agent);
        if let Some(agent) = agent {
            self.within_limit(agent)?;
        }
        self.affordable(&log.scope, Some(&log.session), Some(log.n)).await?;
        self.hold_prompt(&log.scope.caller, &mut told)?;
        let admitted = self.sessions.admit(&log.scope, log.context_id.clone(), true).await;
        let mut admission = admitted.map_err(refused)?;
        if let Some(agent) = agent {
            self.wait_for_limit(agent, &mut admission)?;
        }
        also.extend(admission.write().into_iter().chain(client.note_trace_now(log.n)));
        let answering = match ended {
            Some((decision, ask, act)) => {
                match self.begin_answer(&ask, &decision, (act, &mut also)) {
                    None if asks::named(&message).is_some() => {
                        let said = (&decision, Some(&client.caller));
                        return self.answered_meanwhile(log, &ask, said).await;
                    }
                    // What does not name it is the next turn all the same.
                    answering => answering,
                }
            }
            None => None,
        };
        let (now, steers) = (admission.starts_now(), message::steers(&message));
        let records = |state: TaskState| records_of(log, message, state, now);
        let (before, setup) = (log.head(), admission.session.setup.clone());
        // Where nothing of the answer is stored the ask is open as before.
        let taken = self.take_message(log, (also, expected), records).await?;
        let answered = answering.map(answer::settle);
        if !taken {
            return Ok(None);
        }
        // The answer stands before what its turn does.
        answered.iter().for_each(|one| self.telemetry.answered(log, one, Some(&client.caller)));
        let origin = told.take_origin();
        admission.submit(log.clone(), told.prompt, told.files, origin);
        if steers {
            self.sessions.steer(log);
        }
        Ok(Some(Accepted { log: log.clone(), before: Some(before), answered, setup }))
    }
}

/// A further message of a task. What works or waits already goes on, and the message's turn comes behind.
fn records_of(log: &TaskLog, message: Message, state: TaskState, now: bool) -> Vec<Record> {
    let mut records = vec![Record::Message(message)];
    if state.is_interrupted() {
        let state = if now { TaskState::Working } else { TaskState::Submitted };
        let status = TaskStatus { state, message: None, timestamp: Some(Timestamp::now()) };
        let (id, context) = (log.id.clone(), log.context_id.clone());
        records.push(Record::Status(TaskStatusUpdateEvent::new(id, context, status)));
    }
    records
}

impl Service {
    /// Refuses a turn whose account at the model API is at its limit.
    fn within_limit(&self, agent: &Agent) -> Result<(), Error> {
        let limit = self.limited.of(agent.account());
        let refuses = self.config.limits.at_account_limit == AtAccountLimit::Refuse;
        let Some(limit) = limit.filter(|_| refuses) else {
            return Ok(());
        };
        let words = format!("{}; send the message again then", limit.words());
        let error = Error::new(ErrorKind::ResourceExhausted, words)
            .with("until", limit.until.to_string())
            .with("limit", limit.limit.clone().unwrap_or_default());
        Err(error.retry_after(limit.seconds_left().unwrap_or(1)))
    }

    /// Has a turn wait whose account at the model API is at its limit; the limit.
    fn wait_for_limit(
        &self,
        agent: &Agent,
        admission: &mut Admission,
    ) -> Result<Option<AccountLimit>, Error> {
        let waits = self.config.limits.at_account_limit == AtAccountLimit::Wait;
        let limit = self.limited.of(agent.account()).filter(|_| waits);
        if limit.is_some() {
            admission.wait().map_err(refused)?;
        }
        Ok(limit)
    }

    /// Refuses a turn that would start at its ceiling.
    async fn affordable(
        &self,
        scope: &Scope,
        session: Option<&str>,
        task: Option<i64>,
    ) -> Result<(), Error> {
        let budgets = &self.budgets;
        let may = budgets.may_start(scope, session, task).await;
        let Err(exceeded) = may.map_err(store::Error::incident)? else {
            return Ok(());
        };
        let error = Error::new(ErrorKind::ResourceExhausted, exceeded.to_string())
            .with("ceiling", exceeded.ceiling())
            .with("used", exceeded.used())
            .with("limit", exceeded.limit());
        Err(match exceeded.resets_in_seconds() {
            Some(seconds) => error.retry_after(seconds),
            None => error,
        })
    }
}

fn key_of(scope: &Scope, (key, print): (String, Print), n: i64) -> Write {
    Write::Key { scope: scope.clone(), key, print, n }
}

fn not_open(log: &TaskLog) -> Error {
    let state = log.state();
    let advice = "send without taskId, with the same contextId, to continue the conversation";
    Error::new(
        ErrorKind::UnsupportedOperation,
        format!("task `{}` is over ({}); {advice}", log.id, state.word()),
    )
    .with("taskId", log.id.as_str())
    .with("state", state.name())
}

pub(super) fn refused(refused: NotAdmitted) -> Error {
    match refused {
        NotAdmitted::Full { .. } | NotAdmitted::FullForCaller { .. } => {
            Error::new(ErrorKind::ResourceExhausted, refused.to_string()).retry_after(RETRY_SECONDS)
        }
        NotAdmitted::Stopping => {
            Error::new(ErrorKind::Unavailable, refused.to_string()).retry_after(RETRY_SECONDS)
        }
        NotAdmitted::NoAgent(_) => Error::new(ErrorKind::UnsupportedOperation, refused.to_string()),
        NotAdmitted::Store(error) => error.incident(),
    }
}

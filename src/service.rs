//! The operations, once, on v1.0 types. It knows no transport and no dialect.

mod message;
mod recover;
mod repeat;

use crate::access::Caller;
use crate::agent::Agent;
use crate::config::Replies;
use crate::push::{self, Checked, Push};
use crate::session::{Refused, Sessions};
use crate::store::{self, Filter, Place, Scope, TaskRow, Write};
use crate::task::{Cursor, Record, TaskLog};
use bytes::Bytes;
use message::Told;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::event::{StreamResponse, TaskStatusUpdateEvent};
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::message::Message;
use pilothouse_a2a::operation::{
    CancelTaskRequest, GetTaskRequest, ListTasksRequest, ListTasksResponse, Reply,
    SendMessageRequest,
};
use pilothouse_a2a::task::{Task, TaskState, TaskStatus};
use pilothouse_a2a::time::Timestamp;
use repeat::{Mark, Print, Repeat, Repeats};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Seconds after which a full queue is worth another try.
const RETRY_SECONDS: u64 = 5;

/// The operations.
#[derive(Clone)]
pub struct Service {
    sessions: Sessions,
    push: Push,
    repeats: Repeats,
}

/// What came beside a message.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    /// The task's id as a v0.1 client made it.
    pub alias: Option<&'a str>,
    /// `Idempotency-Key`.
    pub key: Option<&'a str>,
    /// The dialect, in which push notifications will be written too.
    pub dialect: Dialect,
}

/// Who calls which agent.
#[derive(Clone)]
pub struct Client {
    /// Who.
    pub caller: Caller,
    /// Which agent.
    pub agent: Arc<Agent>,
}

impl Client {
    /// What this client may see.
    pub fn scope(&self) -> Scope {
        self.caller.scope(&self.agent.key)
    }
}

/// A message that was taken, and from where on its task is new.
pub struct Accepted {
    /// The task.
    pub log: Arc<TaskLog>,
    /// The last sequence number before the message, where the task was there already.
    pub before: Option<u64>,
}

/// A task on its way: its log, where to begin to read, and what to show first.
pub struct Stream {
    /// What comes after `first`; nothing after a bare message.
    pub cursor: Option<Cursor>,
    /// The task as it stands, with its sequence number; none where the log's own first event is it.
    pub first: Option<(u64, Bytes)>,
}

/// How a new task is to be made.
struct New<'a> {
    alias: Option<&'a str>,
    key: Option<(String, Print)>,
    withheld: bool,
}

impl Service {
    /// The operations over these sessions.
    pub fn new(sessions: Sessions, push: Push) -> Self {
        Self {
            sessions,
            push,
            repeats: Repeats::default(),
        }
    }

    /// Push notifications.
    pub fn push(&self) -> &Push {
        &self.push
    }

    /// The sessions behind.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    fn store(&self) -> &store::Store {
        &self.sessions.house().store
    }

    // === sending ===

    /// Accepts a message.
    ///
    /// # Errors
    ///
    /// What is wrong with the message, who may not, or that there is no room.
    pub async fn accept(
        &self,
        client: &Client,
        request: SendMessageRequest,
        beside: Beside<'_>,
    ) -> Result<Accepted, Error> {
        message::check_message(&request.message, beside.alias)?;
        let mark = match beside.key {
            Some(key) => {
                message::check_id("Idempotency-Key", key)?;
                Mark::Key(key.to_owned())
            }
            None => Mark::Message(request.message.message_id.to_string()),
        };
        let print = repeat::print(&request, beside.key.is_none());
        let first = match self.repeats.look(&client.scope(), mark, print).await {
            Repeat::First(first) => first,
            Repeat::Of(log) => return Ok(Accepted { log, before: None }),
        };
        let key = match beside.key {
            Some(key) => {
                if let Some(log) = self.keyed(client, key, &print).await? {
                    first.accepted(&log);
                    return Ok(Accepted { log, before: None });
                }
                Some((key.to_owned(), print))
            }
            None => None,
        };
        let (accepted, hook) = self
            .accept_first(client, request, beside, key)
            .await?;
        first.accepted(&accepted.log);
        if let Some(hook) = hook {
            let after = accepted.before.unwrap_or(0);
            self.push
                .attach(&accepted.log, hook, beside.dialect, beside.alias, after)
                .await?;
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
        let sent = self.store().task_by_key(&scope, key).await;
        let Some((sent, row)) = sent.map_err(store_failed)? else {
            return Ok(None);
        };
        if sent != *print {
            let what = "was used for another message already; give each message a key of its own";
            return Err(Error::invalid("Idempotency-Key", what));
        }
        let tasks = &self.sessions.house().tasks;
        tasks.find(&scope, &row.id).await.map_err(store_failed)
    }

    async fn accept_first(
        &self,
        client: &Client,
        request: SendMessageRequest,
        beside: Beside<'_>,
        key: Option<(String, Print)>,
    ) -> Result<(Accepted, Option<Checked>), Error> {
        let house = self.sessions.house();
        let SendMessageRequest {
            message,
            configuration,
            ..
        } = request;
        let configuration = configuration.unwrap_or_default();
        let hook = match configuration.task_push_notification_config {
            Some(mut config) => {
                config.id = config.id.or_else(|| push::default_id(beside.dialect));
                Some(self.push.check(config).await?)
            }
            None => None,
        };
        let withheld =
            client.agent.config.replies == Replies::Message && !configuration.return_immediately;
        let alias = beside.alias;
        let new = New {
            alias,
            key: key.clone(),
            withheld,
        };
        let told = self.prompt(&client.agent, &message)?;
        let scope = client.scope();
        let continued = match (&message.task_id, alias) {
            (Some(id), _) => {
                let found = house.tasks.find(&scope, id).await.map_err(store_failed)?;
                Some(found.ok_or_else(|| Error::task_not_found(id.as_str()))?)
            }
            (None, Some(alias)) => house
                .tasks
                .find_alias(&scope, alias)
                .await
                .map_err(store_failed)?,
            (None, None) => None,
        };
        let same_context = |log: &TaskLog| {
            message
                .context_id
                .as_ref()
                .is_none_or(|context| *context == log.context_id)
        };
        let accepted = match continued {
            Some(log) if message.task_id.is_some() && !same_context(&log) => Err(Error::invalid(
                "message.contextId",
                format!(
                    "task `{}` belongs to another context; leave contextId out or give the task's own",
                    log.id
                ),
            )),
            Some(log) if message.task_id.is_some() => {
                let taken = self.continue_task(&log, message, told, key).await?;
                taken.ok_or_else(|| not_open(&log))
            }
            // A v0.1 client reuses its id: a finished task makes room for a new one in the same session.
            Some(log) => {
                let taken = self
                    .continue_task(&log, message.clone(), told.clone(), key.clone())
                    .await?;
                if let Some(accepted) = taken {
                    return Ok((accepted, hook));
                }
                let context = message
                    .context_id
                    .clone()
                    .unwrap_or_else(|| log.context_id.clone());
                self.new_task(client, message, told, Some(context), new)
                    .await
            }
            None => {
                let context = message.context_id.clone();
                self.new_task(client, message, told, context, new)
                    .await
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
        let New {
            alias,
            key,
            withheld,
        } = new;
        let house = self.sessions.house();
        let scope = client.scope();
        let id = TaskId::random();
        let known = context.is_some();
        let context_id = context.unwrap_or_else(ContextId::random);
        message.task_id = Some(id.clone());
        message.context_id = Some(context_id.clone());
        told.belongs_to(&id, &context_id);
        let admission = self
            .sessions
            .admit(&scope, context_id.clone(), known)
            .await
            .map_err(refused)?;
        let now = Timestamp::now();
        let row = TaskRow {
            n: self.store().new_task_number(),
            id: id.clone(),
            scope,
            context_id: context_id.clone(),
            session: admission.session.id.clone(),
            alias: alias.map(Arc::from),
            state: TaskState::Submitted,
            status_at: now,
            created: now,
            head: 0,
        };
        let status = TaskStatus {
            state: TaskState::Submitted,
            message: None,
            timestamp: Some(now),
        };
        let mut task = Task::new(id.clone(), context_id.clone(), status);
        task.history.push(message);
        let mut also = Vec::new();
        if admission.new {
            also.push(Write::Session(Box::new(admission.session.clone())));
        }
        also.extend(key.map(|key| key_of(&row.scope, key, row.n)));
        let working = TaskStatus {
            state: TaskState::Working,
            message: None,
            timestamp: Some(now),
        };
        let records = if admission.now {
            vec![Record::Status(TaskStatusUpdateEvent::new(
                id, context_id, working,
            ))]
        } else {
            Vec::new()
        };
        let log = house
            .tasks
            .accept(row, task, also, records, withheld)
            .await
            .map_err(store_failed)?;
        admission.submit(log.clone(), told.prompt, told.files);
        Ok(Accepted { log, before: None })
    }

    /// None where the task is over by now.
    async fn continue_task(
        &self,
        log: &Arc<TaskLog>,
        mut message: Message,
        mut told: Told,
        key: Option<(String, Print)>,
    ) -> Result<Option<Accepted>, Error> {
        if log.state().is_terminal() {
            return Ok(None);
        }
        message.task_id = Some(log.id.clone());
        message.context_id = Some(log.context_id.clone());
        told.belongs_to(&log.id, &log.context_id);
        let admission = self
            .sessions
            .admit(&log.scope, log.context_id.clone(), true)
            .await
            .map_err(refused)?;
        let now = admission.now;
        let records = |state: TaskState| {
            let mut records = vec![Record::Message(message)];
            // What works or waits already goes on; this message's turn comes behind.
            if state.is_interrupted() {
                let state = if now {
                    TaskState::Working
                } else {
                    TaskState::Submitted
                };
                let status = TaskStatus {
                    state,
                    message: None,
                    timestamp: Some(Timestamp::now()),
                };
                let (id, context) = (log.id.clone(), log.context_id.clone());
                records.push(Record::Status(TaskStatusUpdateEvent::new(
                    id, context, status,
                )));
            }
            records
        };
        let also = key.map(|key| key_of(&log.scope, key, log.n));
        let also = also.into_iter().collect();
        let before = log.head();
        let taken = log
            .take_message(self.store(), also, records)
            .await
            .map_err(store_failed)?;
        if !taken {
            return Ok(None);
        }
        admission.submit(log.clone(), told.prompt, told.files);
        Ok(Some(Accepted {
            log: log.clone(),
            before: Some(before),
        }))
    }

    /// Waits until an accepted task is over or asks, and shows it, or the message that needs no task.
    ///
    /// # Errors
    ///
    /// When the store fails, or the server stops first.
    pub async fn settle(&self, log: &Arc<TaskLog>, history: Option<i32>) -> Result<Reply, Error> {
        let settled = async {
            match log.first_word().await? {
                Some(message) => Ok(Some(message)),
                None => log.settled().await.map(|_| None),
            }
        };
        match self.unless_stopped(log, settled).await? {
            Some(message) => Ok(Reply::Message(message)),
            None => self.show(log, history).await.map(Reply::Task),
        }
    }

    /// What comes of waiting for a task, unless the server stops before its turn began.
    async fn unless_stopped<T>(
        &self,
        log: &Arc<TaskLog>,
        wait: impl Future<Output = Result<T, store::Error>>,
    ) -> Result<T, Error> {
        let stop = &self.sessions.house().stop;
        tokio::select! {
            biased;
            done = wait => done.map_err(store_failed),
            () = stopped_before_it_began(stop, log) => {
                let message = format!("the server is stopping; task `{}` is kept and runs after its next start", log.id);
                Err(Error::new(ErrorKind::Unavailable, message).with("taskId", log.id.as_str()).retry_after(RETRY_SECONDS))
            }
        }
    }

    /// A task as it stands.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn show(&self, log: &Arc<TaskLog>, history: Option<i32>) -> Result<Task, Error> {
        let limits = &self.sessions.house().config.limits;
        let snapshot = log
            .snapshot(self.store(), limits.response.as_usize())
            .await
            .map_err(store_failed)?;
        let mut task = snapshot.present(limits.inline_answer.as_usize()).task;
        task.trim_history(history);
        Ok(task)
    }

    /// The stream of a task that was just accepted or continued.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn follow(&self, accepted: &Accepted) -> Result<Stream, Error> {
        let log = &accepted.log;
        let limit = self.sessions.house().config.limits.event.as_usize();
        if let Some(message) = self.unless_stopped(log, log.first_word()).await? {
            return Ok(Stream {
                cursor: None,
                first: Some((1, encode(&StreamResponse::Message(message)))),
            });
        }
        match accepted.before {
            // The log's first event is the task as it was accepted.
            None if log.first_bytes() <= limit => Ok(Stream {
                cursor: Some(log.follow(self.store(), 0)),
                first: None,
            }),
            None => self.snapshot_stream(log, Some(1)).await,
            Some(seq) => self.snapshot_stream(log, Some(seq)).await,
        }
    }

    /// The snapshot at a place (or at the end), and a cursor from there. What would be too large for one
    /// event comes without its artifacts, which follow as updates, and without a history that is too long.
    async fn snapshot_stream(&self, log: &Arc<TaskLog>, at: Option<u64>) -> Result<Stream, Error> {
        let limits = &self.sessions.house().config.limits;
        let limit = limits.event.as_usize();
        if at == Some(0) {
            return self.beginning(log, limit).await;
        }
        let snapshot = match at {
            None => log.snapshot(self.store(), limit).await,
            Some(seq) => log.snapshot_at(self.store(), seq, limit).await,
        };
        let snapshot = snapshot.map_err(store_failed)?;
        let (seq, whole) = (snapshot.seq, !snapshot.truncated);
        let task = snapshot.present(limits.inline_answer.as_usize()).task;
        let body = encode(&StreamResponse::Task(task));
        if whole && body.len() <= limit {
            return Ok(Stream {
                cursor: Some(log.follow(self.store(), seq)),
                first: Some((seq, body)),
            });
        }
        self.beginning(log, limit).await
    }

    /// The log from its first event.
    async fn beginning(&self, log: &Arc<TaskLog>, limit: usize) -> Result<Stream, Error> {
        let mut task = log
            .snapshot_at(self.store(), 1, limit)
            .await
            .map_err(store_failed)?
            .task;
        let mut body = encode(&StreamResponse::Task(task.clone()));
        if body.len() <= limit {
            return Ok(Stream {
                cursor: Some(log.follow(self.store(), 0)),
                first: None,
            });
        }
        task.history.clear();
        body = encode(&StreamResponse::Task(task));
        Ok(Stream {
            cursor: Some(log.follow(self.store(), 1)),
            first: Some((1, body)),
        })
    }

    // === reading ===

    /// A task of this caller by its id, or by the id that a v0.1 client of its made; the flag tells.
    ///
    /// # Errors
    ///
    /// `TaskNotFound`, also for a task of somebody else.
    pub async fn find(
        &self,
        client: &Client,
        id: &TaskId,
        legacy: bool,
    ) -> Result<(Arc<TaskLog>, bool), Error> {
        let house = self.sessions.house();
        let scope = client.scope();
        if let Some(log) = house.tasks.find(&scope, id).await.map_err(store_failed)? {
            return Ok((log, false));
        }
        if legacy
            && let Some(log) = house
                .tasks
                .find_alias(&scope, id.as_str())
                .await
                .map_err(store_failed)?
        {
            return Ok((log, true));
        }
        Err(Error::task_not_found(id.as_str()))
    }

    /// `GetTask` (specification 3.1.3).
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn get(&self, log: &Arc<TaskLog>, request: &GetTaskRequest) -> Result<Task, Error> {
        self.show(log, request.history_length).await
    }

    /// `ListTasks` (specification 3.1.4).
    ///
    /// # Errors
    ///
    /// A page token that is none of ours, or a store that fails.
    pub async fn list(
        &self,
        client: &Client,
        request: ListTasksRequest,
    ) -> Result<ListTasksResponse, Error> {
        let house = self.sessions.house();
        let scope = client.scope();
        let page_size = request.page_size.unwrap_or(50);
        let from = match request.page_token.as_deref() {
            None | Some("") => None,
            Some(token) => Some(place_of(token).ok_or_else(|| {
                Error::invalid("pageToken", "not a token of this server; begin without one")
            })?),
        };
        let filter = Filter {
            context_id: request.context_id,
            state: (request.status != TaskState::Unspecified).then_some(request.status),
            since: request.status_timestamp_after,
        };
        let size = u32::try_from(page_size).unwrap_or(50);
        let page = self
            .store()
            .list(&scope, filter, from, size)
            .await
            .map_err(store_failed)?;
        let mut tasks = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            let Some(log) = house
                .tasks
                .find(&scope, &row.id)
                .await
                .map_err(store_failed)?
            else {
                continue;
            };
            if log.is_withheld() {
                continue;
            }
            let mut task = self.show(&log, request.history_length).await?;
            if !request.include_artifacts {
                task.artifacts.clear();
            }
            tasks.push(task);
        }
        Ok(ListTasksResponse {
            tasks,
            next_page_token: page.next.map(token_of).unwrap_or_default(),
            page_size,
            total_size: i32::try_from(page.total).unwrap_or(i32::MAX),
        })
    }

    /// `CancelTask` (specification 3.1.5); a task that is canceled already stays so.
    ///
    /// # Errors
    ///
    /// `TaskNotCancelable` when the task is over.
    pub async fn cancel(
        &self,
        log: &Arc<TaskLog>,
        _request: &CancelTaskRequest,
    ) -> Result<Task, Error> {
        if log.state() != TaskState::Canceled {
            if !log.state().is_terminal() {
                self.sessions.cancel(log).await.map_err(store_failed)?;
            }
            if log.state() != TaskState::Canceled {
                return Err(self.not_cancelable(log));
            }
        }
        self.show(log, None).await
    }

    /// What a cancel of a task that is over is answered.
    pub fn not_cancelable(&self, log: &TaskLog) -> Error {
        let state = log.state().name();
        Error::new(
            ErrorKind::TaskNotCancelable,
            format!("task `{}` is over ({state}) and cannot be canceled", log.id),
        )
        .with("taskId", log.id.as_str())
        .with("state", state)
    }

    /// `SubscribeToTask` (specification 3.1.6). After `Last-Event-ID` the task comes as it stood there,
    /// then each later event once, also when it is over by now.
    ///
    /// # Errors
    ///
    /// `UnsupportedOperation` when the task is over.
    pub async fn subscribe(
        &self,
        log: &Arc<TaskLog>,
        last_event: Option<u64>,
    ) -> Result<Stream, Error> {
        if log.state().is_terminal() && last_event.is_none() {
            return Err(Error::new(
                ErrorKind::UnsupportedOperation,
                format!("task `{}` is over; read it with GetTask", log.id),
            )
            .with("taskId", log.id.as_str()));
        }
        self.snapshot_stream(log, last_event).await
    }
}

/// Resolves when the server stops while the task still waits: nothing will happen to it here any more.
pub async fn stopped_before_it_began(stop: &CancellationToken, log: &TaskLog) {
    stop.cancelled().await;
    let state = log.state();
    if state != TaskState::Submitted && !state.is_interrupted() {
        std::future::pending::<()>().await;
    }
}

fn key_of(scope: &Scope, (key, print): (String, Print), n: i64) -> Write {
    Write::Key {
        scope: scope.clone(),
        key,
        print,
        n,
    }
}

// === errors ===

fn not_open(log: &TaskLog) -> Error {
    let state = log.state();
    let advice = "send without taskId, with the same contextId, to continue the conversation";
    Error::new(
        ErrorKind::UnsupportedOperation,
        format!("task `{}` is over ({}); {advice}", log.id, state.name()),
    )
    .with("taskId", log.id.as_str())
    .with("state", state.name())
}

fn refused(refused: Refused) -> Error {
    match refused {
        Refused::Full { .. } => {
            Error::new(ErrorKind::ResourceExhausted, refused.to_string()).retry_after(RETRY_SECONDS)
        }
        Refused::Stopping => {
            Error::new(ErrorKind::Unavailable, refused.to_string()).retry_after(RETRY_SECONDS)
        }
        Refused::NoAgent(_) => Error::new(ErrorKind::UnsupportedOperation, refused.to_string()),
        Refused::Store(error) => store_failed(error),
    }
}

/// The caller learns an incident's id, the operator the cause.
fn store_failed(error: store::Error) -> Error {
    let incident = uuid::Uuid::now_v7();
    tracing::error!(%incident, %error, "an operation failed");
    let message = if error.is_full() {
        format!("the server's disk is full; tell its operator (incident {incident})")
    } else {
        format!("the server failed; tell its operator (incident {incident})")
    };
    Error::new(ErrorKind::Internal, message).with("incident", incident.to_string())
}

fn token_of(place: Place) -> String {
    format!("{:x}.{:x}", place.status_ms, place.n)
}

fn place_of(token: &str) -> Option<Place> {
    let (at, n) = token.split_once('.')?;
    Some(Place {
        status_ms: i64::from_str_radix(at, 16).ok()?,
        n: i64::from_str_radix(n, 16).ok()?,
    })
}

fn encode(response: &StreamResponse) -> Bytes {
    Bytes::from(
        serde_json::to_vec(response).expect("an event has no maps with other keys than strings"),
    )
}

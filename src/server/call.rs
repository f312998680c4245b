//! An operation, whatever binding it came by: which agent is meant, what the service does, what is answered.

mod head;
mod meant;
mod scope;

pub(super) use head::{asked_extensions, check_version, known_part, version};

use super::answers::{AT_HAND, Room};
use super::door::{AuditEntry, CallContext};
use super::extensions::Activated;
use super::stream::{Ends, Manner};
use super::{Doors, card};
use crate::access::Caller;
use crate::agent::Agent;
use crate::asks;
use crate::config::AnswerForm;
use crate::push;
use crate::queue::Place;
use crate::service::{Accepted, Beside, Client, Stream};
use crate::task::TaskLog;
use axum::extract::Request;
use futures_util::future::BoxFuture;
use head::{asked_form, check_extensions, check_streaming, last_event};
use pilothouse_a2a::Method;
use pilothouse_a2a::dialect::{Decoded, Dialect};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::operation::{Call, GetTaskRequest, Operation, Reply, SendMessageRequest};
use pilothouse_a2a::task::{Task, TaskState, TaskStatus};
use scope::check_caller;
use std::sync::Arc;

/// The agent that a request's path names (`/agents/NAME/...`), taken off the path before it is routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named(pub(super) Arc<str>);

/// What an operation comes to, with the room that the binding's encoding of it takes.
pub(super) enum Done {
    /// One answer.
    Reply(Reply, Room),
    /// Events until an end; the room is for the first one.
    Stream(Stream, Manner, Room),
}

/// What came of a call, and how it is to be said.
pub(super) struct Performed {
    /// The answer.
    pub(super) outcome: Result<Done, Error>,
    /// The dialect to answer in.
    pub(super) dialect: Dialect,
    /// The id by which a v0.1 client knows the task.
    pub(super) alias: Option<String>,
}

/// What an operation comes to, or what its caller waits for after it.
enum Begun {
    /// What was done, and takes little memory.
    Replies(Reply),
    /// Something that is read when there is room for it; nothing was changed.
    Reads(Most, BoxFuture<'static, Result<Reply, Error>>),
    /// This task, which the operation has changed.
    Shows(Arc<TaskLog>, Option<i32>),
    /// The end of a turn of this task.
    Settles(Arc<TaskLog>, Option<i32>),
    /// The events of this task, from the end or after the one of this number.
    Subscribes(Arc<TaskLog>, Option<u64>, Manner),
    /// The events of a task that was just accepted.
    Streams(Accepted, Manner),
}

/// What an answer takes at most.
enum Most {
    /// So many bytes.
    Bytes(usize),
    /// As much as this task.
    Task(Arc<TaskLog>),
}

/// An operation on its way: what it needs, and what it learns.
struct Operating {
    doors: Arc<Doors>,
    context: Arc<CallContext>,
    entry: AuditEntry,
    dialect: Dialect,
    alias: Option<String>,
    /// The place of the body among the large ones, until what was made of it is stored.
    place: Option<Place>,
}

impl Doors {
    /// Counts a request of a caller that changes something.
    pub(super) fn count_request(&self, caller: &Caller) -> Result<(), Error> {
        self.access.count_request(caller).map_err(|seconds| {
            let limit = self.config.limits.rate;
            let message = format!(
                "more than {limit} requests a minute from one caller; try again in {seconds} s; the server's operator can raise \
                 `limits.rate`"
            );
            Error::new(ErrorKind::ResourceExhausted, message).retry_after(seconds)
        })
    }

    /// The agent that a request's path names, or the default one.
    pub(super) fn agent_at(&self, named: Option<&Named>) -> Option<&Arc<Agent>> {
        let agents = &self.agents;
        match named {
            Some(Named(name)) => agents.get(name),
            None => Some(agents.default_one()),
        }
    }

    /// The same for a whole request.
    pub(super) fn agent_of(&self, request: &Request) -> Option<&Arc<Agent>> {
        self.agent_at(request.extensions().get::<Named>())
    }

    /// Performs what a call asks for, to its end, and waits for what the caller waits for.
    pub(super) fn perform(
        self: &Arc<Self>,
        context: &Arc<CallContext>,
        method: Method,
        decoded: Decoded,
        place: Option<Place>,
        entry: &AuditEntry,
    ) -> impl Future<Output = Performed> + Send {
        let mut operating = Operating {
            doors: self.clone(),
            context: context.clone(),
            entry: entry.clone(),
            dialect: method.dialect,
            alias: None,
            place,
        };
        let operation = async move {
            // The token may have ended while the body came.
            let begun = match operating.context.caller.grant.check() {
                Ok(()) => operating.begin(method, decoded).await,
                Err(denied) => Err(denied.into()),
            };
            (begun, operating.dialect, operating.alias)
        };
        // It lies on the heap from here on, and what was decoded is not kept beside it.
        let operation = self.run(entry, operation);
        async move {
            let (begun, dialect, alias) = match operation.await {
                Ok(begun) => begun,
                Err(error) => (Err(error), method.dialect, None),
            };
            let mut outcome = match begun {
                Ok(begun) => self.finish(context, begun, entry).await,
                Err(error) => Err(error),
            };
            if let Ok(Done::Reply(reply, _)) = &mut outcome {
                Activated::of(context.headers()).extend_reply(reply);
            }
            Performed { outcome, dialect, alias }
        }
    }

    /// Waits for what the caller waits for, and makes the answer when there is room for it. A caller who
    /// hangs up ends this: only waiting is left, and a read that was begun keeps its room until its end.
    async fn finish(
        &self,
        context: &CallContext,
        begun: Begun,
        entry: &AuditEntry,
    ) -> Result<Done, Error> {
        let (service, caller) = (&self.service, &context.caller.name);
        let event = self.config.limits.event.as_usize();
        match begun {
            // Its room is as large as it is.
            Begun::Replies(reply) => Ok(Done::Reply(reply, self.answers.overdraw(caller, 0))),
            Begun::Reads(most, read) => {
                let room = match most {
                    Most::Bytes(most) => self.answers.reserve(caller, most).await?,
                    Most::Task(log) => self.reserve_for(caller, &log).await?,
                };
                context.caller.grant.check()?;
                let (reply, room) = self.read(entry, read, room).await?;
                Ok(Done::Reply(reply, room))
            }
            Begun::Shows(log, history) => Box::pin(self.show(caller, log, history, entry)).await,
            Begun::Settles(log, history) => {
                context.end_production();
                let settled = tokio::select! {
                    biased;
                    settled = service.settle(&log) => settled?,
                    denied = context.caller.grant.ended() => return Err(denied.into()),
                };
                match settled {
                    // It fits in an event, and is kept nowhere else.
                    Some(message) => {
                        let room = self.answers.overdraw(caller, event);
                        Ok(Done::Reply(Reply::Message(message), room))
                    }
                    None => Box::pin(self.show(caller, log, history, entry)).await,
                }
            }
            Begun::Subscribes(log, after, manner) => {
                let room = self.answers.reserve_piece(caller, event).await?;
                let service = service.clone();
                let read = async move { service.subscribe(&log, after).await };
                let (stream, mut room) = self.read(entry, read, room).await?;
                room.shrink(stream.size_of_first());
                Ok(Done::Stream(stream, manner, room))
            }
            Begun::Streams(accepted, manner) => {
                context.end_production();
                let first = tokio::select! {
                    biased;
                    first = service.await_first_word(&accepted.log) => first?,
                    denied = context.caller.grant.ended() => return Err(denied.into()),
                };
                // The stream itself waits for room and says so where there is none.
                let room = self.answers.reserve_piece(caller, event).await;
                let is_roomy = room.is_ok();
                let service = service.clone();
                let read = async move { service.follow(&accepted, first, is_roomy).await };
                let (stream, mut room) = self.read(entry, read, room.unwrap_or_default()).await?;
                room.shrink(stream.size_of_first());
                Ok(Done::Stream(stream, manner, room))
            }
        }
    }

    /// The task after an operation that has changed it: never refused, but shortened where there is no room.
    async fn show(
        &self,
        caller: &Arc<str>,
        log: Arc<TaskLog>,
        history: Option<i32>,
        entry: &AuditEntry,
    ) -> Result<Done, Error> {
        let (task, room) = match self.reserve_for(caller, &log).await {
            Ok(room) => {
                let service = self.service.clone();
                let read = async move { service.show(&log, history).await };
                self.read(entry, read, room).await?
            }
            Err(error) => (shorten(&log, &error), Room::default()),
        };
        Ok(Done::Reply(Reply::Task(task), room))
    }

    /// Reads to the end: a store that is asked answers whether or not the caller is there, and
    /// so long the room is taken.
    fn read<T, F>(
        &self,
        entry: &AuditEntry,
        read: F,
        room: Room,
    ) -> impl Future<Output = Result<(T, Room), Error>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let operation = self.run(entry, async move { Ok((read.await?, room)) });
        async move { operation.await? }
    }

    /// Room for the answer that shows this task. The task may leave memory during the wait, and then the
    /// answer takes more.
    async fn reserve_for(&self, caller: &Arc<str>, log: &TaskLog) -> Result<Room, Error> {
        let most = self.size_of(log);
        let room = self.answers.reserve(caller, most).await?;
        let now = self.size_of(log);
        if now <= most {
            return Ok(room);
        }
        // Two requests that each waited for more would wait for each other.
        drop(room);
        self.answers.reserve(caller, now).await
    }

    /// What the answer that shows this task takes at most.
    fn size_of(&self, log: &TaskLog) -> usize {
        let most = self.config.limits.response.as_usize();
        if log.is_at_hand() { most.min(AT_HAND) } else { most }
    }
}

impl Operating {
    async fn begin(&mut self, method: Method, decoded: Decoded) -> Result<Begun, Error> {
        let Decoded { call, client_task_id, blocking } = decoded;
        let doors = self.doors.clone();
        let context = self.context.clone();
        let agent = doors.meant(context.named(), call.tenant())?;
        let client = Client { caller: context.caller.clone(), agent, source: self.entry.source() };
        check_extensions(&client.agent, context.headers())?;
        check_caller(&client, &call)?;
        check_streaming(&doors.config, method.operation)?;
        let service = &doors.service;
        if !matches!(call, Call::SendMessage(_) | Call::SendStreamingMessage(_)) {
            self.place = None;
        }
        let response = doors.config.limits.response.as_usize();
        match call {
            Call::SendMessage(request) => {
                let configuration = request.configuration.as_ref();
                let history = configuration.and_then(|configuration| configuration.history_length);
                let wait = doors.waits(self.dialect, &request, blocking);
                self.alias = client_task_id;
                let accepted = self.send(&client, request, wait).await?;
                if wait {
                    return Ok(Begun::Settles(accepted.log, history));
                }
                Ok(Begun::Shows(accepted.log, history))
            }
            Call::SendStreamingMessage(request) => {
                self.alias = client_task_id;
                let manner = self.manner(Ends::WhenItAsks, asked_form(&request)?);
                let accepted = self.send(&client, request, true).await?;
                Ok(Begun::Streams(accepted, manner))
            }
            Call::GetTask(request) => {
                let log = self.find(&client, &request.id, method).await?;
                Ok(self.get(client, log, request))
            }
            Call::CancelTask(request) => {
                let log = self.find(&client, &request.id, method).await?;
                // v0.3 has no second cancel: a task that is canceled is over like any other.
                if self.dialect != Dialect::V1_0 && log.state() == TaskState::Canceled {
                    return Err(service.not_cancelable(&log));
                }
                service.cancel(&log, &request).await?;
                Ok(Begun::Shows(log, None))
            }
            Call::SubscribeToTask(request) => {
                let log = self.find(&client, &request.id, method).await?;
                let after = last_event(context.headers())?;
                service.check_subscription(&log, after)?;
                let ends = match self.dialect {
                    Dialect::V1_0 => Ends::WhenOver,
                    // Their clients close at `final: true`, which an asking task is.
                    Dialect::V0_3 | Dialect::V0_1 => Ends::WhenItAsks,
                };
                let manner = self.manner(ends, None);
                Ok(Begun::Subscribes(log, after, manner))
            }
            Call::ListTasks(request) => {
                let service = service.clone();
                let read = async move { service.list(&client, request).await.map(Reply::Tasks) };
                Ok(Begun::Reads(Most::Bytes(response), Box::pin(read)))
            }
            Call::CreateTaskPushNotificationConfig(mut config) => {
                let task = config.task_id.clone();
                let task = task.ok_or_else(|| Error::invalid("taskId", "is required"))?;
                doors.count_request(&client.caller)?;
                let log = self.find(&client, &task, method).await?;
                config.id = config.id.or_else(|| push::default_id(self.dialect));
                let alias = self.alias.as_deref();
                let push = service.push();
                let created = push.create(&client.caller, &log, config, self.dialect, alias);
                let config = created.await?;
                Ok(Begun::Replies(Reply::PushConfig(config)))
            }
            Call::GetTaskPushNotificationConfig(request) => {
                let log = self.find(&client, &request.task_id, method).await?;
                let push = service.push().clone();
                let read = async move { push.get(&log, &request.id).await.map(Reply::PushConfig) };
                Ok(Begun::Reads(Most::Bytes(AT_HAND), Box::pin(read)))
            }
            Call::ListTaskPushNotificationConfigs(request) => {
                let log = self.find(&client, &request.task_id, method).await?;
                let push = service.push().clone();
                let read = async move {
                    let token = request.page_token.as_deref();
                    push.list(&log, request.page_size, token).await.map(Reply::PushConfigs)
                };
                Ok(Begun::Reads(Most::Bytes(response), Box::pin(read)))
            }
            Call::DeleteTaskPushNotificationConfig(request) => {
                doors.count_request(&client.caller)?;
                let log = self.find(&client, &request.task_id, method).await?;
                service.push().delete(&log, &request.id).await?;
                Ok(Begun::Replies(Reply::Empty))
            }
            Call::GetExtendedAgentCard(_) => self.read_extended_card(client),
        }
    }

    fn read_extended_card(&self, client: Client) -> Result<Begun, Error> {
        let (doors, context) = (self.doors.clone(), self.context.clone());
        if !doors.config.auth.required {
            return Err(Error::new(
                ErrorKind::UnsupportedOperation,
                "this agent has no extended card; its public card is whole",
            ));
        }
        let read = async move {
            let card = card::extended(&doors, &client.agent, &context.base);
            Ok(Reply::Card(Box::new(card)))
        };
        Ok(Begun::Reads(Most::Bytes(AT_HAND), Box::pin(read)))
    }

    /// How a stream ends, and what it has, by the wish of its caller or the configuration.
    fn manner(&self, ends: Ends, answers: Option<AnswerForm>) -> Manner {
        let answers = answers.unwrap_or(self.doors.config.streams.answers);
        Manner { ends, answers, activated: Activated::of(self.context.headers()) }
    }

    fn get(&self, client: Client, log: Arc<TaskLog>, request: GetTaskRequest) -> Begun {
        let (most, service) = (Most::Task(log.clone()), self.doors.service.clone());
        let read = async move { service.get(&client, &log, &request).await.map(Reply::Task) };
        Begun::Reads(most, Box::pin(read))
    }

    async fn send(
        &mut self,
        client: &Client,
        request: SendMessageRequest,
        waits: bool,
    ) -> Result<Accepted, Error> {
        let doors = &self.doors;
        doors.count_request(&client.caller)?;
        let key = match self.context.headers().get("idempotency-key") {
            Some(key) => Some(key.to_str().map_err(|_| {
                Error::invalid("Idempotency-Key", "must be made of visible ASCII characters")
            })?),
            None => None,
        };
        let beside = Beside { alias: self.alias.as_deref(), key, dialect: self.dialect, waits };
        if let Some(id) = &request.message.task_id {
            self.entry.set_task_id(id);
        }
        if let Some(id) = asks::named(&request.message) {
            self.entry.set_ask(&id);
        }
        // On the heap, because an operation of any kind is as large as its largest part.
        let accepted = Box::pin(doors.service.accept(client, request, beside)).await?;
        self.place = None;
        self.entry.set_task(&accepted.log);
        self.entry.set_setup(accepted.setup.as_deref());
        if let Some(answered) = &accepted.answered {
            self.entry.set_decision(answered);
        }
        Ok(accepted)
    }

    /// The task, and the id by which a v0.1 client knows it; then the answer is in that dialect.
    async fn find(
        &mut self,
        client: &Client,
        id: &TaskId,
        method: Method,
    ) -> Result<Arc<TaskLog>, Error> {
        self.entry.set_task_id(id);
        let legacy = method.shared || method.dialect == Dialect::V0_1;
        let (log, by_alias) = self.doors.service.find(client, id, legacy).await?;
        self.entry.set_task(&log);
        if by_alias {
            self.alias = Some(id.to_string());
            self.dialect = Dialect::V0_1;
        }
        Ok(log)
    }
}

/// A task without its content, because there was no room for it; the metadata says so.
fn shorten(log: &TaskLog, error: &Error) -> Task {
    let status = TaskStatus::now(log.state());
    let mut task = Task::new(log.id.clone(), log.context_id.clone(), status);
    let why = format!("read it with GetTask: {}", error.message);
    let metadata = serde_json::Map::from_iter([("pilothouse.shortened".to_owned(), why.into())]);
    task.metadata = Some(metadata.into());
    task
}

/// No agent of this name is served.
pub(super) fn no_agent(name: &str) -> Error {
    let name = known_part(name);
    Error::invalid("tenant", format!("no agent `{name}` is served here"))
}

/// The one word for an operation in logs.
pub(super) fn word(operation: Operation) -> &'static str {
    operation.method()
}

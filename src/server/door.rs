//! The one frame around every call: its audit entry, and the end of its operation, whether or not its caller stays.
//!
//! # How it works
//!
//! A request's future is dropped when its caller hangs up. An operation that is under way then goes on on a tracked
//! task, and comes to its end whoever waits for it. What only waits (for the end of a turn, for the
//! next event) stays with the request. The entry in the audit log belongs to both; whoever of them is there
//! last writes it.

use super::Doors;
use super::call::{Named, known_part};
use super::listen::{Production, UnderWay};
use crate::access::{Arrival, Caller};
use crate::asks::Answered;
use crate::store::{AnswerSource, TraceContext};
use crate::task::TaskLog;
use crate::telemetry::Entry;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, Version};
use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use parking_lot::Mutex;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::time::Timestamp;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The outcome of a request whose caller hung up before it was answered.
const CALLER_LEFT: &str = "CALLER_LEFT";

/// The status that stands for it; no caller ever sees it (nginx writes the same).
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Who calls, and what came beside the body of the request.
pub(super) struct CallContext {
    /// Who.
    pub(super) caller: Caller,
    /// Method, address and headers (in gRPC the metadata).
    pub(super) parts: Parts,
    /// The address that the caller used, without a slash at its end.
    pub(super) base: String,
}

impl CallContext {
    /// The context of a request.
    pub(super) fn new(caller: Caller, mut parts: Parts, base: String) -> Self {
        if parts.version != Version::HTTP_2 {
            detach(&mut parts);
        }
        Self { caller, parts, base }
    }

    /// The headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Notes that the caller now waits for an agent, not for its answer to be made.
    pub(super) fn end_production(&self) {
        if let Some(production) = self.parts.extensions.get::<Arc<Production>>() {
            production.end();
        }
    }

    /// The agent that the path names.
    pub(super) fn named(&self) -> Option<&Named> {
        self.parts.extensions.get::<Named>()
    }
}

/// Copies the address and the headers out of the buffer into which they were read: a caller may wait as long as a turn
/// takes, and the connection could not use its buffer again.
fn detach(parts: &mut Parts) {
    if let Ok(uri) = Uri::try_from(parts.uri.to_string()) {
        parts.uri = uri;
    }
    for value in parts.headers.values_mut() {
        if let Ok(mut own) = HeaderValue::from_bytes(value.as_bytes()) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
}

/// What a client says that it is, as far as that is shown.
fn client_of(headers: &HeaderMap) -> Option<Arc<str>> {
    let name = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(Arc::from(known_part(name)))
}

/// The audit entry of one request, in the making; clones share it. It is written once: by
/// [`AuditEntry::write`], or, where the caller is gone, when the last clone is dropped.
#[derive(Clone)]
pub(super) struct AuditEntry(Arc<Inner>);

struct Inner {
    doors: Arc<Doors>,
    began: Instant,
    time: Timestamp,
    peer: IpAddr,
    binding: &'static str,
    /// What the client says that it is.
    client: Option<Arc<str>>,
    /// Where the request stands in a trace.
    trace: Option<TraceContext>,
    known: Mutex<Known>,
    /// The request's place among those under way: it is free when the operation has ended and its entry is noted,
    /// or a caller who asks and leaves at once could have any number of them.
    place: Option<UnderWay>,
}

/// What is known of the request so far.
#[derive(Default)]
struct Known {
    caller: Option<Arc<str>>,
    token: Option<Arc<str>>,
    owner: Option<Arc<str>>,
    subject: Option<String>,
    action: Option<String>,
    task: Option<String>,
    task_number: Option<i64>,
    context: Option<String>,
    ask: Option<String>,
    decision: Option<&'static str>,
    setup: Option<String>,
    /// The caller hung up before the whole request was there.
    left: bool,
    written: bool,
}

impl AuditEntry {
    /// The entry of a request of which nobody is known yet.
    pub(super) fn new(
        doors: &Arc<Doors>,
        headers: &HeaderMap,
        arrival: &Arrival,
        (place, binding): (Option<UnderWay>, &'static str),
    ) -> Self {
        Self(Arc::new(Inner {
            doors: doors.clone(),
            began: Instant::now(),
            time: Timestamp::now(),
            peer: arrival.forwarded.client,
            binding,
            client: client_of(headers),
            trace: doors.telemetry.begin_trace(headers),
            known: Mutex::default(),
            place,
        }))
    }

    /// Notes who calls.
    pub(super) fn set_caller(&self, caller: &Caller) {
        let mut known = self.0.known.lock();
        known.caller = Some(caller.name.clone());
        known.token = Some(caller.grant.id.clone());
    }

    /// Begins the entry of a request, with who calls as far as the guard lets it in.
    pub(super) async fn begin(
        doors: &Arc<Doors>,
        headers: &HeaderMap,
        arrival: Arrival,
        (place, binding): (Option<UnderWay>, &'static str),
    ) -> (Self, Result<Caller, Error>) {
        let entry = Self::new(doors, headers, &arrival, (place, binding));
        let admitted = doors.access.admit(headers, &arrival).await;
        let mut admitted = admitted.map_err(Error::from);
        if let Ok(caller) = &mut admitted {
            caller.trace = entry.0.trace;
            entry.set_caller(caller);
        }
        (entry, admitted)
    }

    /// From where the request comes.
    pub(super) fn source(&self) -> AnswerSource {
        AnswerSource {
            binding: Some(Arc::from(self.0.binding)),
            address: Some(Arc::from(self.0.peer.to_string())),
            client: self.0.client.clone(),
        }
    }

    /// Notes what is asked for, in the words of its binding.
    pub(super) fn set_action(&self, action: impl Into<String>) {
        self.0.known.lock().action = Some(action.into());
    }

    /// Whether this is what is asked for.
    pub(super) fn is_action(&self, action: &str) -> bool {
        self.0.known.lock().action.as_deref() == Some(action)
    }

    /// Notes the task, and whose it is where that is somebody else.
    pub(super) fn set_task(&self, log: &TaskLog) {
        self.set_owner(&log.scope.caller);
        self.set_task_id(&log.id);
        self.0.known.lock().task_number = Some(log.n);
        self.set_context(&log.context_id);
    }

    /// Notes the task that is asked for, whether or not it exists.
    pub(super) fn set_task_id(&self, id: &TaskId) {
        self.0.known.lock().task = Some(known_part(id.as_str()));
    }

    /// Notes what else an act of an admin is about: a token's id, say.
    pub(super) fn set_subject(&self, subject: &str) {
        self.0.known.lock().subject = Some(known_part(subject));
    }

    /// Notes whose task, session or ask it is, where an admin asks for that of another caller.
    pub(super) fn set_owner(&self, caller: &Arc<str>) {
        let mut known = self.0.known.lock();
        known.owner = Some(caller.clone()).filter(|caller| known.caller.as_ref() != Some(caller));
    }

    /// Notes the context.
    pub(super) fn set_context(&self, id: &ContextId) {
        self.0.known.lock().context = Some(id.to_string());
    }

    /// Notes the ask that a caller wants to answer, whether or not it is open.
    pub(super) fn set_ask(&self, id: &str) {
        self.0.known.lock().ask = Some(known_part(id));
    }

    /// Notes which ask was answered, and how.
    pub(super) fn set_decision(&self, answered: &Answered) {
        self.set_ask(&answered.ask);
        self.0.known.lock().decision = Some(answered.decision);
    }

    /// Notes what the session is set up with.
    pub(super) fn set_setup(&self, revision: Option<&str>) {
        self.0.known.lock().setup = revision.map(ToOwned::to_owned);
    }

    /// Notes that the caller has left, whatever it is answered now.
    pub(super) fn set_left(&self) {
        self.0.known.lock().left = true;
    }

    /// Writes what the request is answered.
    pub(super) async fn write(&self, outcome: &'static str, status: StatusCode) {
        let doors = &self.0.doors;
        if let Some(entry) = self.0.close(outcome, status.as_u16())
            && let Err(unsent) = doors.telemetry.note_request(&entry)
        {
            // A caller who leaves meanwhile does not take the entry along.
            let entry = self.clone();
            let send = async move {
                unsent.send().await;
                drop(entry);
            };
            let _ = doors.operations.spawn(send).await;
        }
    }
}

impl Inner {
    /// The whole entry, the first time that it is asked for.
    fn close(&self, outcome: &'static str, status: u16) -> Option<Entry> {
        let mut known = self.known.lock();
        if std::mem::replace(&mut known.written, true) {
            return None;
        }
        let (outcome, status) = match known.left {
            true => (CALLER_LEFT, CLIENT_CLOSED_REQUEST),
            false => (outcome, status),
        };
        Some(Entry {
            time: self.time,
            kind: "request",
            caller: known.caller.take().map(|caller| caller.to_string()),
            token: known.token.take().map(|token| token.to_string()),
            owner: known.owner.take().map(|owner| owner.to_string()),
            peer: self.peer.to_string(),
            action: known.action.take().unwrap_or_else(|| "POST".to_owned()),
            subject: known.subject.take(),
            task: known.task.take(),
            context: known.context.take(),
            ask: known.ask.take(),
            decision: known.decision.take(),
            setup: known.setup.take(),
            trace: self.trace,
            task_number: known.task_number,
            outcome,
            status,
            duration_ms: (self.began.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A full queue is waited for, and nobody is here who could.
        if let Some(entry) = self.close(CALLER_LEFT, CLIENT_CLOSED_REQUEST)
            && let Err(unsent) = self.doors.telemetry.note_request(&entry)
            && let Ok(runtime) = Handle::try_current()
        {
            let place = self.place.take();
            let send = async move {
                unsent.send().await;
                drop(place);
            };
            self.doors.operations.spawn_on(send, &runtime);
        }
    }
}

impl Doors {
    /// Runs an operation: once begun, it comes to its end, whether or not the future that waits for it is still
    /// there. A task of its own is made only where the caller leaves. The audit entry is not written before its
    /// end. The operation lies on the heap once: there may be thousands.
    pub(super) fn run<T, F>(
        &self,
        entry: &AuditEntry,
        operation: F,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let entry = entry.clone();
        let outcome = operation.map(|outcome| {
            drop(entry);
            outcome
        });
        let outcome = Operation::begin(&self.operations, outcome);
        async move {
            outcome.await.ok_or_else(|| {
                let message = "the operation failed inside of the server; tell its operator";
                Error::new(ErrorKind::Internal, message)
            })
        }
    }
}

/// An operation in the hands of its request, and tracked from its beginning: where the request is dropped, a task
/// of its own takes it over.
struct Operation<F: Future<Output: Send> + Send + 'static> {
    /// None when it has ended.
    operation: Option<Pin<Box<CatchUnwind<AssertUnwindSafe<F>>>>>,
    operations: TaskTracker,
    runtime: Handle,
    _tracked: TaskTrackerToken,
}

impl<F: Future<Output: Send> + Send + 'static> Operation<F> {
    fn begin(operations: &TaskTracker, operation: F) -> Self {
        Self {
            operation: Some(Box::pin(AssertUnwindSafe(operation).catch_unwind())),
            operations: operations.clone(),
            runtime: Handle::current(),
            _tracked: operations.token(),
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Operation<F> {
    /// None where it panics.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(operation) = &mut self.operation else {
            return Poll::Pending;
        };
        let outcome = ready!(operation.poll_unpin(task));
        self.operation = None;
        Poll::Ready(outcome.ok())
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Operation<F> {
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            self.operations.spawn_on(operation, &self.runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn an_operation_is_tracked_to_its_end() {
        let operations = TaskTracker::new();
        let operation = Operation::begin(&operations, async { 7 });
        assert_eq!(operations.len(), 1);
        assert_eq!(operation.now_or_never(), Some(Some(7)));
        assert!(operations.is_empty());
    }

    #[tokio::test]
    async fn an_operation_that_is_given_up_while_it_waits_comes_to_its_end() {
        let operations = TaskTracker::new();
        let (go, gone) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let operation = async move {
            gone.await.unwrap();
            done.send(7).unwrap();
        };
        assert!(Operation::begin(&operations, operation).now_or_never().is_none());
        assert_eq!(operations.len(), 1);
        go.send(()).unwrap();
        assert_eq!(is_done.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn an_operation_that_panics_has_no_outcome_whether_it_has_waited_or_not() {
        let operations = TaskTracker::new();
        for waits in [false, true] {
            let operation = async move {
                if waits {
                    tokio::task::yield_now().await;
                }
                panic!("on purpose");
            };
            assert_eq!(Operation::begin(&operations, operation).await, None::<()>);
        }
    }
}

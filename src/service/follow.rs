//! A task on its way to its reader: waited for, or event by event.

use super::{Accepted, RETRY_SECONDS, Service};
use crate::store;
use crate::task::{Cursor, Extent, TaskLog};
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::message::Message;
use pilothouse_a2a::task::TaskState;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Events in which a message is recorded and answers what its task has asked.
const MESSAGE_EVENTS: u64 = 2;

/// A task on its way: its log, where to begin to read, and what to show first.
pub struct Stream {
    /// What comes after `first`; nothing after a bare message.
    pub cursor: Option<Cursor>,
    /// The task as it stands, with its sequence number; none where the log's own first event is it.
    pub first: Option<(u64, Bytes)>,
}

impl Stream {
    /// Bytes of the first event, where it is not the log's own.
    pub fn size_of_first(&self) -> usize {
        self.first.as_ref().map_or(0, |(_, body)| body.len())
    }
}

impl Service {
    /// Waits until an accepted task is over or asks; the message that needs no task, if there is one.
    pub async fn settle(&self, log: &Arc<TaskLog>) -> Result<Option<Message>, Error> {
        let settled = async {
            match log.first_word().await? {
                Some(message) => Ok(Some(message)),
                None => log.settled().await.map(|_| None),
            }
        };
        self.unless_stopped(log, settled).await
    }

    /// Waits until an accepted task may be shown; the message that needs no task, if there is one.
    pub async fn await_first_word(&self, log: &Arc<TaskLog>) -> Result<Option<Message>, Error> {
        self.unless_stopped(log, log.first_word()).await
    }

    /// What comes of waiting for a task, unless the server stops before its turn began.
    async fn unless_stopped<T>(
        &self,
        log: &Arc<TaskLog>,
        wait: impl Future<Output = Result<T, store::Error>>,
    ) -> Result<T, Error> {
        let stop = &self.stop;
        tokio::select! {
            biased;
            done = wait => done.map_err(store::Error::incident),
            () = stopped_before_it_began(stop, log) => {
                let message = format!("the server is stopping; task `{}` is kept and runs after its next start", log.id);
                Err(Error::new(ErrorKind::Unavailable, message).with("taskId", log.id.as_str()).retry_after(RETRY_SECONDS))
            }
        }
    }

    /// The stream of a task that was just accepted or continued, or of the message that needs no task.
    /// Without room for a task of its own the stream begins with the events of the log.
    pub async fn follow(
        &self,
        accepted: &Accepted,
        message: Option<Message>,
        is_roomy: bool,
    ) -> Result<Stream, Error> {
        let log = &accepted.log;
        let limit = self.config.limits.event.as_usize();
        if let Some(message) = message {
            return Ok(Stream {
                cursor: None,
                first: Some((1, encode(&StreamResponse::Message(message)))),
            });
        }
        match accepted.before {
            // The log's first event is the task as it was accepted.
            None if log.first_bytes() <= limit => {
                Ok(Stream { cursor: Some(log.follow(&self.store, 0)), first: None })
            }
            seq if !is_roomy => {
                let seq = seq.unwrap_or(0);
                Ok(Stream { cursor: Some(log.follow(&self.store, seq)), first: None })
            }
            None => self.snapshot_stream(log, Some(1)).await,
            // A message and its status are the next two events. A task that is shown as it asked before would end clients
            // that look at its state.
            Some(seq) => self.snapshot_stream(log, Some(seq + MESSAGE_EVENTS)).await,
        }
    }

    /// The snapshot at a place (or at the end), and a cursor from there. What would be too large for one
    /// event comes without its artifacts, which follow as updates, and without a history that is too long.
    async fn snapshot_stream(&self, log: &Arc<TaskLog>, at: Option<u64>) -> Result<Stream, Error> {
        let limits = &self.config.limits;
        let limit = limits.event.as_usize();
        if at == Some(0) {
            return self.beginning(log, limit).await;
        }
        let snapshot = match at {
            None => log.snapshot(&self.store, Extent::of(limit)).await,
            Some(seq) => log.snapshot_at(&self.store, seq, Extent::of(limit)).await,
        };
        let snapshot = snapshot.map_err(store::Error::incident)?;
        let (seq, whole) = (snapshot.seq, !snapshot.truncated);
        let task = snapshot.present(limits.inline_answer.as_usize()).task;
        let body = encode(&StreamResponse::Task(task));
        if whole && body.len() <= limit {
            return Ok(Stream {
                cursor: Some(log.follow(&self.store, seq)),
                first: Some((seq, body)),
            });
        }
        self.beginning(log, limit).await
    }

    /// The log from its first event; its message is left out where it is too large for one.
    async fn beginning(&self, log: &Arc<TaskLog>, limit: usize) -> Result<Stream, Error> {
        let first = log.snapshot_at(&self.store, 1, Extent::of(limit)).await;
        let body = encode(&StreamResponse::Task(first.map_err(store::Error::incident)?.task));
        Ok(Stream { cursor: Some(log.follow(&self.store, 1)), first: Some((1, body)) })
    }

    /// Whether a task can be subscribed to: it is not over, or a client goes on after `Last-Event-ID`.
    ///
    /// # Errors
    ///
    /// `UnsupportedOperation` when the task is over.
    pub fn check_subscription(&self, log: &TaskLog, last_event: Option<u64>) -> Result<(), Error> {
        if log.state().is_terminal() && last_event.is_none() {
            return Err(Error::new(
                ErrorKind::UnsupportedOperation,
                format!("task `{}` is over; read it with GetTask", log.id),
            )
            .with("taskId", log.id.as_str()));
        }
        Ok(())
    }

    /// `SubscribeToTask` (specification 3.1.6). After `Last-Event-ID` the task comes as it stood there,
    /// then each later event once, also when it is over by now.
    pub async fn subscribe(
        &self,
        log: &Arc<TaskLog>,
        last_event: Option<u64>,
    ) -> Result<Stream, Error> {
        // The task may have ended while there was no room.
        self.check_subscription(log, last_event)?;
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

fn encode(response: &StreamResponse) -> Bytes {
    let body = serde_json::to_vec(response);
    let body = body.expect("an event has no maps with other keys than strings");
    Bytes::from(body.into_boxed_slice())
}

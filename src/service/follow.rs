//! A task on its way to its reader: waited for, or event by event.

use super::{Accepted, RETRY_SECONDS, Service};
use crate::store;
use crate::task::{Cursor, TaskLog};
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::operation::Reply;
use pilothouse_a2a::task::TaskState;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A task on its way: its log, where to begin to read, and what to show first.
pub struct Stream {
    /// What comes after `first`; nothing after a bare message.
    pub cursor: Option<Cursor>,
    /// The task as it stands, with its sequence number; none where the log's own first event is it.
    pub first: Option<(u64, Bytes)>,
}

impl Service {
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
            done = wait => done.map_err(store::Error::incident),
            () = stopped_before_it_began(stop, log) => {
                let message = format!("the server is stopping; task `{}` is kept and runs after its next start", log.id);
                Err(Error::new(ErrorKind::Unavailable, message).with("taskId", log.id.as_str()).retry_after(RETRY_SECONDS))
            }
        }
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
            None if log.first_bytes() <= limit => {
                Ok(Stream { cursor: Some(log.follow(self.store(), 0)), first: None })
            }
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
        let snapshot = snapshot.map_err(store::Error::incident)?;
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
        let mut task =
            log.snapshot_at(self.store(), 1, limit).await.map_err(store::Error::incident)?.task;
        let mut body = encode(&StreamResponse::Task(task.clone()));
        if body.len() <= limit {
            return Ok(Stream { cursor: Some(log.follow(self.store(), 0)), first: None });
        }
        task.history.clear();
        body = encode(&StreamResponse::Task(task));
        Ok(Stream { cursor: Some(log.follow(self.store(), 1)), first: Some((1, body)) })
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

fn encode(response: &StreamResponse) -> Bytes {
    Bytes::from(
        serde_json::to_vec(response).expect("an event has no maps with other keys than strings"),
    )
}

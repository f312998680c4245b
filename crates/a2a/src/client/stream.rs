//! A stream of events that survives its connection.
//!
//! # How it works
//! While the task is neither at its end nor waiting for somebody, a connection that ends is a
//! connection that broke: the stream subscribes to the task again, with the last event's id where
//! the server gave ids. A server without ids begins with the task as it stands, and so does the
//! stream. When the task ended in between, it is read once more and is the last event.

use super::error::ClientError;
use super::{Client, http};
use crate::error::ErrorKind;
use crate::event::StreamResponse;
use crate::id::TaskId;
use crate::{jsonrpc, sse};
use reqwest::Response;
use std::time::Duration;

/// The largest event that is read.
const MAX_EVENT: usize = 16 << 20;
/// Attempts without an event in between before the stream gives up.
const ATTEMPTS: u32 = 6;
/// Before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A cursor over the events of a task (or the one message that answers without a task).
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    state: StreamState,
    decoder: sse::Decoder,
    task: Option<TaskId>,
    /// The last event's id.
    seen: Option<u64>,
    /// The task waits for somebody: the server may end the stream.
    may_end: bool,
    /// Attempts since the last event.
    attempts: u32,
}

#[derive(Debug)]
enum StreamState {
    /// Events arrive.
    Open(Response),
    /// The connection broke; it is to be opened again.
    Broken,
    /// Nothing will follow.
    Ended,
}

impl EventStream {
    pub(super) fn new(
        client: Client,
        response: Response,
        from: Option<(TaskId, Option<u64>)>,
    ) -> Self {
        let (task, seen) = from.map_or((None, None), |(task, seen)| (Some(task), seen));
        Self {
            client,
            state: StreamState::Open(response),
            decoder: sse::Decoder::new(MAX_EVENT),
            task,
            seen,
            may_end: false,
            attempts: 0,
        }
    }

    /// The next event with its number, where the server numbers them; none after the last one. An
    /// error is the last item.
    pub async fn next(&mut self) -> Option<Result<(Option<u64>, StreamResponse), ClientError>> {
        loop {
            let step = match &mut self.state {
                StreamState::Ended => return None,
                StreamState::Broken => self.resume().await,
                StreamState::Open(response) if !http::is_stream(response) => self.single().await,
                StreamState::Open(_) => self.receive().await,
            };
            match step {
                Ok(Some(item)) => return Some(Ok(self.note(item))),
                Ok(None) => {}
                Err(error) => {
                    self.state = StreamState::Ended;
                    return Some(self.last(error).await);
                }
            }
        }
    }

    /// The last item: the task itself when it ended while we were away (a terminal task has no
    /// stream), else the error.
    async fn last(
        &mut self,
        error: ClientError,
    ) -> Result<(Option<u64>, StreamResponse), ClientError> {
        match &self.task {
            Some(task)
                if self.attempts > 0 && error.kind() == Some(ErrorKind::UnsupportedOperation) =>
            {
                let task = self.client.get(task, None).await?;
                Ok((None, StreamResponse::Task(task)))
            }
            _ => Err(error),
        }
    }

    /// The task, once an event named it.
    pub fn task_id(&self) -> Option<&TaskId> {
        self.task.as_ref()
    }

    /// Keeps what is needed to go on after this event.
    fn note(&mut self, item: (Option<u64>, StreamResponse)) -> (Option<u64>, StreamResponse) {
        let (number, event) = &item;
        if !matches!(event, StreamResponse::Task(_)) {
            // A task as it stands may be all that a new connection ever brings.
            self.attempts = 0;
        }
        self.seen = number.or(self.seen);
        if let Some(task) = event.task_id() {
            self.task = Some(task.clone());
        }
        if let Some(status) = event.status() {
            self.may_end = status.state.is_interrupted();
        }
        if event.ends_stream() {
            self.state = StreamState::Ended;
        }
        item
    }

    /// The next event of the open connection, or none when the state has changed.
    async fn receive(&mut self) -> Result<Option<(Option<u64>, StreamResponse)>, ClientError> {
        loop {
            if let Some(event) = self.decoder.next_event()? {
                let number = event.id.as_deref().and_then(|id| id.parse().ok());
                return Ok(Some((number, result(event.data.as_bytes())?)));
            }
            let StreamState::Open(response) = &mut self.state else {
                return Ok(None);
            };
            match response.chunk().await {
                Ok(Some(bytes)) => self.decoder.push(&bytes),
                Ok(None) if self.may_end => {
                    self.state = StreamState::Ended;
                    return Ok(None);
                }
                Ok(None) if self.task.is_none() => {
                    let told = "the stream ended before its first event";
                    return Err(ClientError::Protocol(told.into()));
                }
                Ok(None) => {
                    self.state = StreamState::Broken;
                    return Ok(None);
                }
                Err(cause) if self.task.is_none() => return Err(cause.into()),
                Err(_) => {
                    self.state = StreamState::Broken;
                    return Ok(None);
                }
            }
        }
    }

    /// An answer that is no stream: an error, or one event.
    async fn single(&mut self) -> Result<Option<(Option<u64>, StreamResponse)>, ClientError> {
        match std::mem::replace(&mut self.state, StreamState::Ended) {
            StreamState::Open(response) => {
                let body = http::body(response).await?;
                Ok(Some((None, result(&body)?)))
            }
            StreamState::Broken | StreamState::Ended => Ok(None),
        }
    }

    /// Subscribes again, after a pause that grows with every attempt in vain.
    async fn resume(&mut self) -> Result<Option<(Option<u64>, StreamResponse)>, ClientError> {
        let Some(task) = self.task.clone() else {
            self.state = StreamState::Ended;
            return Ok(None);
        };
        if self.attempts >= ATTEMPTS {
            let told = format!("the stream broke {ATTEMPTS} times without a new event");
            return Err(ClientError::Protocol(told));
        }
        if self.attempts > 0 {
            tokio::time::sleep(FIRST_PAUSE * (1 << (self.attempts - 1).min(ATTEMPTS))).await;
        }
        self.attempts += 1;
        match self.subscribe(&task).await {
            Ok(first) => Ok(first),
            Err(error) if error.is_passing() && self.attempts < ATTEMPTS => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn subscribe(
        &mut self,
        task: &TaskId,
    ) -> Result<Option<(Option<u64>, StreamResponse)>, ClientError> {
        let response = self.client.reopen(task, self.seen).await?;
        self.decoder = sse::Decoder::new(MAX_EVENT);
        let streams = http::is_stream(&response);
        self.state = StreamState::Open(response);
        if streams {
            // Its errors are not ours to judge here: `next` receives them.
            return Ok(None);
        }
        let answer = self.single().await;
        if answer.is_err() {
            self.state = StreamState::Broken;
        }
        answer
    }
}

/// The event inside of a response.
fn result(body: &[u8]) -> Result<StreamResponse, ClientError> {
    let response =
        jsonrpc::parse_response(body).map_err(|error| ClientError::Protocol(error.message))?;
    let result = response.outcome.map_err(ClientError::Rpc)?;
    serde_json::from_str(result.get())
        .map_err(|cause| ClientError::Protocol(format!("an event cannot be read: {cause}")))
}

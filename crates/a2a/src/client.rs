//! A client of other agents and of ourselves, over JSON-RPC v1.0.
//!
//! # How it works
//! A client has one endpoint. [`Client::discover`] learns it from the agent's card and gives the
//! token to no other host than the one it was meant for. Operations that stream return an
//! [`EventStream`], which subscribes again by itself when the connection breaks.

use crate::card::{AgentCard, JSONRPC};
use crate::id::TaskId;
use crate::jsonrpc::{self, Id};
use crate::operation::{
    CancelTaskRequest, GetTaskRequest, ListTasksRequest, ListTasksResponse, Operation,
    SendMessageRequest, SendMessageResponse, SubscribeToTaskRequest,
};
use crate::task::Task;
use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

mod error;
mod http;
mod stream;
mod tls;

pub use error::ClientError;
pub use http::{FetchedCard, card};
pub use stream::EventStream;
pub use tls::ClientTls;

/// Talks to one agent; cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    next_id: Arc<AtomicU64>,
}

impl Client {
    /// A client of the agent at `base_url`, whose card names the endpoint.
    ///
    /// # Errors
    /// When there is no card, when it offers no JSON-RPC in version 1, or when its endpoint lies on
    /// another host than the token was given for.
    pub async fn discover(
        base_url: &str,
        token: Option<String>,
        tls: &ClientTls,
    ) -> Result<Self, ClientError> {
        let fetched = card(base_url, token.as_deref(), Some("1.0"), tls).await?;
        let known: AgentCard = serde_json::from_value(fetched.card).map_err(|cause| {
            ClientError::Protocol(format!("the card at {} cannot be read: {cause}", fetched.url))
        })?;
        let interface = known.interface(JSONRPC, "1").ok_or_else(|| {
            ClientError::Protocol(format!("{} offers no JSON-RPC in A2A 1.0", fetched.url))
        })?;
        let endpoint = http::near(&fetched.url, &http::url(&interface.url)?, token.is_some())?;
        Self::at(endpoint, token.as_deref(), tls)
    }

    /// A client of the JSON-RPC endpoint at `endpoint_url`.
    ///
    /// # Errors
    /// When the url or the token cannot be used in a request.
    pub fn new(
        endpoint_url: &str,
        token: Option<String>,
        tls: &ClientTls,
    ) -> Result<Self, ClientError> {
        Self::at(http::url(endpoint_url)?, token.as_deref(), tls)
    }

    fn at(endpoint: Url, token: Option<&str>, tls: &ClientTls) -> Result<Self, ClientError> {
        let http = http::connector(&endpoint, token, tls)?;
        Ok(Self { http, endpoint, next_id: Arc::default() })
    }

    /// Where the requests go.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str()
    }

    /// Says something and waits for the answer, or for a task when `return_immediately` is set.
    pub async fn send(
        &self,
        request: &SendMessageRequest,
    ) -> Result<SendMessageResponse, ClientError> {
        self.call(Operation::SendMessage, request).await
    }

    /// Reads a task, with at most so many messages of its history.
    pub async fn get(&self, id: &TaskId, history_length: Option<i32>) -> Result<Task, ClientError> {
        let request = GetTaskRequest {
            tenant: None,
            id: id.clone(),
            history_length,
            current_generation: None,
        };
        self.call(Operation::GetTask, &request).await
    }

    /// Reads a page of tasks.
    pub async fn list(&self, request: &ListTasksRequest) -> Result<ListTasksResponse, ClientError> {
        self.call(Operation::ListTasks, request).await
    }

    /// Ends a task before its end.
    pub async fn cancel(&self, id: &TaskId) -> Result<Task, ClientError> {
        let request = CancelTaskRequest { tenant: None, id: id.clone(), metadata: None };
        self.call(Operation::CancelTask, &request).await
    }

    /// Says something and watches what happens.
    /// What breaks later is told by the stream.
    pub async fn stream(&self, request: &SendMessageRequest) -> Result<EventStream, ClientError> {
        let response = self.open(Operation::SendStreamingMessage, request, None).await?;
        Ok(EventStream::new(self.clone(), response, None))
    }

    /// Watches a task that runs already; `after` is the last event seen, to be told only of later
    /// ones.
    /// What breaks later is told by the stream.
    pub async fn subscribe(
        &self,
        id: &TaskId,
        after: Option<u64>,
    ) -> Result<EventStream, ClientError> {
        let response = self.reopen(id, after).await?;
        Ok(EventStream::new(self.clone(), response, Some((id.clone(), after))))
    }

    /// Calls an operation that answers once.
    pub async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        params: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self.request(operation, params)?.header(ACCEPT, "application/json");
        let body = http::body(request.send().await?).await?;
        let response =
            jsonrpc::parse_response(&body).map_err(|error| ClientError::Protocol(error.message))?;
        let result = response.outcome.map_err(ClientError::Rpc)?;
        serde_json::from_str(result.get()).map_err(|cause| {
            let name = operation.method();
            ClientError::Protocol(format!("the result of {name} cannot be read: {cause}"))
        })
    }

    /// Opens a subscription; the response may be a stream or an error.
    async fn reopen(
        &self,
        id: &TaskId,
        after: Option<u64>,
    ) -> Result<reqwest::Response, ClientError> {
        let request = SubscribeToTaskRequest { tenant: None, id: id.clone() };
        self.open(Operation::SubscribeToTask, &request, after).await
    }

    async fn open(
        &self,
        operation: Operation,
        params: &impl Serialize,
        after: Option<u64>,
    ) -> Result<reqwest::Response, ClientError> {
        let mut request = self.request(operation, params)?.header(ACCEPT, "text/event-stream");
        if let Some(seen) = after {
            request = request.header("last-event-id", seen);
        }
        http::stream_or_error(request.send().await?).await
    }

    fn request(
        &self,
        operation: Operation,
        params: &impl Serialize,
    ) -> Result<reqwest::RequestBuilder, ClientError> {
        let id = Id::from(self.next_id.fetch_add(1, Ordering::Relaxed) + 1);
        let body = jsonrpc::request_body(&id, operation.method(), params)
            .map_err(|error| ClientError::Protocol(error.message))?;
        let request = self.http.post(self.endpoint.clone());
        Ok(request.header(CONTENT_TYPE, "application/json").body(body))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The connector holds the token.
        out.debug_struct("Client").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

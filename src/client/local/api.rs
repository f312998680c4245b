//! Calls of the house's own API, for the server itself.

use super::super::exit;
use super::super::failure::Failure;
use super::{FOREVER, PATIENCE, Server, ServerArgs, body, escape};
use reqwest::Method;
use serde_json::Value;

impl ServerArgs {
    /// The caller that is named.
    pub(crate) fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }
}

impl Server {
    /// An address with the caller whose tasks, sessions and asks are listed.
    pub(super) fn with_caller(&self, address: &str) -> String {
        match &self.caller {
            None => address.to_owned(),
            Some(caller) => {
                let mark = if address.contains('?') { '&' } else { '?' };
                format!("{address}{mark}caller={}", escape(caller))
            }
        }
    }

    /// Whether what is listed may be of other callers.
    pub(in super::super) fn lists_callers(&self) -> bool {
        self.caller.is_some()
    }

    /// The same server, where the asks of all callers are listed.
    pub(in super::super) fn of_all_callers(&self) -> Self {
        Self { caller: Some("*".to_owned()), ..self.clone() }
    }

    /// Calls the house's own API of the server itself, not of one of its agents.
    pub(in super::super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let patience = if body.is_some() { FOREVER } else { PATIENCE };
        let response = self.answer(method, (&self.url, path), body, patience).await?;
        self.parse(response).await
    }

    /// Begins to read what may be long.
    pub(in super::super) async fn download(
        &self,
        path: &str,
    ) -> Result<reqwest::Response, Failure> {
        self.answer(Method::GET, (&self.base(), path), None, FOREVER).await
    }

    pub(super) async fn parse(&self, response: reqwest::Response) -> Result<Value, Failure> {
        let body = body(response).await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|_| Failure {
            code: exit::UNAVAILABLE,
            ..Failure::missing(format!("{} is no pilothouse", self.url))
        })
    }
}

/// Whether a path has a segment that leads out of its place: also an escaped one is none of a name, but a way up.
pub(super) fn leads_up(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// The message of an error as our server writes it.
pub(in super::super) fn told(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    value.pointer("/error/message")?.as_str().map(ToOwned::to_owned)
}

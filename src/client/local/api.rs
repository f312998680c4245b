//! Calls of the house's own API, for the server itself.

use super::super::exit;
use super::super::failure::Failure;
use super::{FOREVER, PATIENCE, Server, ServerArgs, body, escape, http, parsed};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use std::time::Duration;

/// How long the answer to something slow may take to begin: the server's own bounds (`timeouts.checkout`,
/// `timeouts.publish`) come first.
const SLOW: Duration = Duration::from_secs(1800);

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

    /// Posts to the house's own API, and waits for all of an answer that takes the server some time.
    pub(in super::super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let target = (&*self.base(), path);
        let response =
            self.answer_within(Method::POST, target, Some(body), (FOREVER, SLOW)).await?;
        self.parse(response).await
    }

    /// The same; the second time is that until the answer begins.
    pub(super) async fn answer_within(
        &self,
        method: Method,
        (base, path): (&str, &str),
        posted: Option<&Value>,
        (patience, until_answer): (Duration, Duration),
    ) -> Result<reqwest::Response, Failure> {
        if leads_up(path) {
            return Err(Failure::usage("a name with the part `.` or `..` leads to nothing here"));
        }
        let url = parsed(&self.with_caller(&format!("{base}{path}")))?;
        let mut request = http(&url, patience, &self.tls)?.request(method, url);
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.0))
                .map_err(|_| Failure::usage("the token has characters that no header can carry"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(posted) = posted {
            request = request.header(CONTENT_TYPE, "application/json").body(posted.to_string());
        }
        let response = tokio::time::timeout(until_answer, request.send())
            .await
            .map_err(|_| Failure::unreachable(&self.url, "it does not answer"))?
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(response);
        }
        let body = tokio::time::timeout(PATIENCE, body(response)).await;
        let told = body.ok().and_then(Result::ok).and_then(|body| told(&body));
        Err(match (status, told) {
            (401, _) => Failure::not_authorised(&self.url),
            // Without words of its own it is the token that is meant.
            (403, None) => Failure::not_authorised(&self.url),
            (403, Some(told)) => Failure::new(exit::NOT_AUTHORISED, told),
            (404, Some(told)) => Failure::missing(told),
            (404, None) => Failure::missing(format!("{} has no {path}", self.url)),
            (429, Some(told)) => Failure::new(exit::REFUSED_FOR_NOW, told),
            (400..=499, Some(told)) => Failure::usage(told),
            (_, told) => Failure::new(
                exit::UNAVAILABLE,
                told.unwrap_or_else(|| {
                    format!("{} answers {path} with HTTP status {status}", self.url)
                }),
            ),
        })
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

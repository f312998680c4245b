//! One attempt: a POST to a webhook, and what its answer means.

use bytes::Bytes;
use parking_lot::Mutex;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::push::TaskPushNotificationConfig;
use pilothouse_egress::guard::{Guard, Scheme, Url};
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use std::error::Error as _;
use std::time::Duration;

/// Longest URL that is taken, in bytes.
const URL_BYTES: usize = 2048;

/// Longest token, scheme and credentials, in bytes.
const SECRET_BYTES: usize = 8 * 1024;

/// As much of an answer is read, so that its connection can be used again; beyond it the connection is closed.
const ANSWER_BYTES: usize = 4 * 1024;

/// Idle connections that are kept to one webhook, and for how long.
const KEPT: (usize, Duration) = (4, Duration::from_secs(30));

const VERSION: HeaderName = HeaderName::from_static("a2a-version");
const TOKEN: HeaderName = HeaderName::from_static("x-a2a-notification-token");

/// The clients that all attempts share.
pub(super) struct Poster {
    guard: Guard,
    timeout: Duration,
    plain: Mutex<Option<Client>>,
    secure: Mutex<Option<Client>>,
}

/// Where a config's events go, and what goes with each of them. It holds secrets and shows none.
pub(super) struct Target {
    url: String,
    headers: HeaderMap,
}

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PostOutcome {
    /// The event was taken (2xx).
    Taken,
    /// The webhook is no more, and says so (410).
    Gone,
    /// It was not taken this time.
    Failed {
        /// Why; without the URL and what else is the caller's alone.
        reason: String,
        /// When the webhook wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl Target {
    /// What a config asks for, in the dialect of its registration.
    pub(super) fn of(
        config: &TaskPushNotificationConfig,
        dialect: Dialect,
    ) -> Result<Self, (&'static str, String)> {
        if config.url.len() > URL_BYTES {
            return Err(("url", format!("must have at most {URL_BYTES} bytes")));
        }
        let media_type = match dialect {
            Dialect::V1_0 => "application/a2a+json",
            Dialect::V0_3 | Dialect::V0_1 => "application/json",
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(VERSION, HeaderValue::from_static(dialect.version()));
        if let Some(token) = config.token.as_deref().filter(|token| !token.is_empty()) {
            headers.insert(TOKEN, secret("token", token.to_owned())?);
        }
        if let Some(authentication) = &config.authentication {
            let scheme = &authentication.scheme;
            if scheme.is_empty() || !scheme.chars().all(is_token_char) {
                let what = "must be the name of an HTTP authentication scheme, like `Bearer`";
                return Err(("authentication.scheme", what.to_owned()));
            }
            if let Some(credentials) =
                authentication.credentials.as_deref().filter(|credentials| !credentials.is_empty())
            {
                let value = format!("{scheme} {credentials}");
                headers.insert(AUTHORIZATION, secret("authentication.credentials", value)?);
            }
        }
        Ok(Self { url: config.url.clone(), headers })
    }

    /// Where a notification of the operator's goes: with these headers, and a bearer token where there is one.
    pub(super) fn of_notification(
        url: &str,
        token: Option<&str>,
        more: &[(&'static str, &str)],
    ) -> Result<Self, (&'static str, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in more {
            headers.insert(HeaderName::from_static(name), secret("header", (*value).to_owned())?);
        }
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, secret("token", format!("Bearer {token}"))?);
        }
        Ok(Self { url: url.to_owned(), headers })
    }

    /// The host alone, for the log.
    pub(super) fn host(&self) -> String {
        let url = Url::parse(&self.url).ok();
        url.and_then(|url| url.host_str().map(ToOwned::to_owned)).unwrap_or_default()
    }
}

/// A header's value that never shows in a log. What is no part of a header stays out of it, so that nobody
/// writes headers of his own.
fn secret(field: &'static str, text: String) -> Result<HeaderValue, (&'static str, String)> {
    if text.len() > SECRET_BYTES || text.chars().any(|c| !matches!(c, ' '..='~')) {
        let what = format!("must be printable ASCII of at most {SECRET_BYTES} bytes");
        return Err((field, what));
    }
    let mut value =
        HeaderValue::try_from(text).map_err(|_| (field, "must fit into a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// RFC 9110, 5.6.2.
fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

impl Poster {
    /// Posts to what this guard permits; one attempt takes `timeout` at most, resolution included.
    pub(super) fn new(guard: Guard, timeout: Duration) -> Self {
        Self { guard, timeout, plain: Mutex::default(), secure: Mutex::default() }
    }

    /// One attempt.
    pub(super) async fn post(&self, target: &Target, body: Bytes) -> PostOutcome {
        match tokio::time::timeout(self.timeout, self.try_post(target, body)).await {
            Ok(outcome) => outcome,
            Err(_) => failed(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn try_post(&self, target: &Target, body: Bytes) -> PostOutcome {
        // An address that is written out is judged here, a name where it is resolved.
        let url = match self.guard.check_url(&target.url) {
            Ok(url) => url,
            Err(refusal) => return failed(refusal.to_string()),
        };
        let client = match Scheme::of(&url)
            .map_err(|refusal| refusal.to_string())
            .and_then(|scheme| self.client(scheme))
        {
            Ok(client) => client,
            Err(reason) => return failed(reason),
        };
        let request = client.post(url).headers(target.headers.clone()).body(body);
        match request.send().await {
            Ok(response) => answered(response).await,
            Err(error) => failed(innermost(&error)),
        }
    }

    /// The client of a scheme; made when it is first needed, because the system's certificates are read then.
    fn client(&self, scheme: Scheme) -> Result<Client, String> {
        let kept = match scheme {
            Scheme::Plain => &self.plain,
            Scheme::Secure => &self.secure,
        };
        let mut kept = kept.lock();
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let builder = Client::builder()
            .dns_resolver(self.guard.resolver(scheme))
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(KEPT.0)
            .pool_idle_timeout(KEPT.1);
        let builder = match scheme {
            // It trusts nobody, and needs to trust nobody.
            Scheme::Plain => builder.tls_certs_only([]),
            Scheme::Secure => builder.https_only(true),
        };
        let client = builder.build().map_err(|error| {
            format!(
                "https cannot be spoken ({}); the operator must install CA certificates",
                innermost(&error)
            )
        })?;
        Ok(kept.insert(client).clone())
    }
}

async fn answered(response: Response) -> PostOutcome {
    let status = response.status();
    if status == StatusCode::GONE {
        return PostOutcome::Gone;
    }
    if status.is_success() {
        drain(response).await;
        return PostOutcome::Taken;
    }
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(pause);
    let reason = if status.is_redirection() {
        format!("it answers {}; redirects are not followed", status.as_u16())
    } else {
        format!("it answers {}", status.as_u16())
    };
    drain(response).await;
    PostOutcome::Failed { reason, retry_after }
}

/// Reads a short answer to its end; its words do not matter.
async fn drain(mut response: Response) {
    let mut read = 0;
    while read < ANSWER_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        read += chunk.len();
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn pause(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    let until = date.duration_since(jiff::Timestamp::now());
    Some(until.try_into().unwrap_or_default())
}

/// What lies below an error of the client, which itself names the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(below) = cause.and_then(|cause| cause.source()) {
        cause = Some(below);
    }
    cause.map_or_else(|| "the attempt failed".to_owned(), ToString::to_string)
}

fn failed(reason: String) -> PostOutcome {
    PostOutcome::Failed { reason, retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::push::AuthenticationInfo;

    fn config(token: &str, scheme: &str, credentials: &str) -> TaskPushNotificationConfig {
        TaskPushNotificationConfig {
            tenant: None,
            id: None,
            task_id: None,
            url: "https://hook.example.com/path?key=secret".to_owned(),
            token: Some(token.to_owned()),
            authentication: Some(AuthenticationInfo {
                scheme: scheme.to_owned(),
                credentials: Some(credentials.to_owned()),
            }),
        }
    }

    #[test]
    fn nobody_writes_headers_of_his_own() {
        let wrong = [
            (config("a\r\nHost: b", "Bearer", "c"), "token"),
            (config("a", "Bearer", "c\nX: y"), "authentication.credentials"),
            (config("a", "Bearer", "c\0"), "authentication.credentials"),
            (config("a", "Bearer x", "c"), "authentication.scheme"),
            (config("a", "Bearer:\r\n", "c"), "authentication.scheme"),
            (config("a", "", "c"), "authentication.scheme"),
            (config("ä", "Bearer", "c"), "token"),
        ];
        for (config, expected) in wrong {
            let (field, what) = Target::of(&config, Dialect::V1_0).err().unwrap();
            assert_eq!(field, expected);
            assert!(!what.contains("Host"), "{what}");
        }
    }

    #[test]
    fn headers_are_exactly_what_the_config_says() {
        let target = Target::of(&config("word", "Bearer", "c2VjcmV0"), Dialect::V0_3).unwrap();
        assert_eq!(target.headers[AUTHORIZATION], "Bearer c2VjcmV0");
        assert_eq!(target.headers[TOKEN], "word");
        assert_eq!(target.headers[VERSION], "0.3");
        assert_eq!(target.headers[CONTENT_TYPE], "application/json");
        assert!(target.headers[AUTHORIZATION].is_sensitive());
        assert_eq!(target.host(), "hook.example.com");
    }

    #[test]
    fn a_pause_is_read_in_seconds_and_as_a_date() {
        assert_eq!(pause("120"), Some(Duration::from_secs(120)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let far = pause("Tue, 31 Dec 2999 23:59:59 GMT").unwrap();
        assert!(far > Duration::from_secs(3600));
        assert_eq!(pause("soon"), None);
    }
}

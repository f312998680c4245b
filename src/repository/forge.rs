//! The pull or merge request of a pushed branch, by the API of what hosts the repository.
//!
//! # How it works
//!
//! The token is that of `egress.git`, and goes to the address of the API that the operator has configured. A request
//! for the branch that is open already is found first, so that a push can be repeated. What is read of an answer is
//! bounded, and its words are shown on one line.

use crate::config::{Age, Config, ForgeKind, GitCredential, network};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pilothouse_egress::GitRoute;
use pilothouse_egress::guard::{Guard, Scheme, System};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of an answer that are read: a pull request with all that belongs to it takes some ten kilobytes.
const LARGEST: usize = 1 << 20;

/// Characters of an answer's words that are shown.
const SHOWN: usize = 300;

/// What opens pull requests for a repository.
pub struct Forge {
    kind: ForgeKind,
    api: String,
    host: String,
    /// The path of the repository at its host, as `acme/shop`.
    project: String,
    token: HeaderValue,
    guard: Guard,
    patience: Age,
}

/// What a pull request is to be.
#[derive(Debug)]
pub struct RequestWish<'a> {
    /// The branch with the commits.
    pub branch: &'a str,
    /// The branch that they are for.
    pub base: &'a str,
    /// Its title.
    pub title: &'a str,
    /// Its text.
    pub body: &'a str,
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Its address for people.
    pub url: String,
    /// Whether it was opened just now.
    pub is_new: bool,
}

/// Why there is no pull request.
#[derive(Debug, thiserror::Error)]
pub enum NotRequested {
    /// It cannot be reached.
    #[error(
        "{host} could not be asked for a pull request: {why}; try again, or have the operator correct `egress.git` (`api`)"
    )]
    Unreachable {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// The token.
    #[error(
        "{host} refuses the token ({status}); the operator must give the entry of `egress.git` one that may open pull requests"
    )]
    Unauthorized {
        /// The host.
        host: String,
        /// The status of its answer.
        status: u16,
    },
    /// It was asked too often.
    #[error("{host} wants to be asked less often; try again later")]
    TooOften {
        /// The host.
        host: String,
        /// After so many seconds.
        seconds: u64,
    },
    /// It says no.
    #[error("{host} opens no pull request: {words}")]
    Refused {
        /// The host.
        host: String,
        /// What it said.
        words: String,
    },
}

impl Forge {
    /// What opens pull requests for the repository at this address, where the configuration says that.
    pub(super) fn of(config: &Config, url: &str) -> Option<Self> {
        let entries = config.egress.git.iter().filter_map(|entry| {
            let (host, path, user) = (&entry.host, &entry.path, Some(&*entry.user));
            let route = GitRoute::new(host, path, user, &entry.token).ok()?;
            Some((route.header_for(url)?.0, entry))
        });
        // The credential of the push and of the request are the same.
        let (_, entry) = entries.max_by_key(|(steps, _)| *steps)?;
        let GitCredential { host, token, forge, .. } = entry;
        let kind = (*forge)?;
        let token = match kind {
            ForgeKind::Github => format!("Bearer {token}"),
            ForgeKind::Gitlab => token.clone(),
            ForgeKind::Gitea => format!("token {token}"),
        };
        let mut token = HeaderValue::try_from(token).ok()?;
        token.set_sensitive(true);
        let (_, path) = url.split_once("://")?.1.split_once('/')?;
        let path = path.trim_matches('/');
        let allow = config.push.allow.iter().filter_map(|text| network(text)).collect();
        Some(Self {
            kind,
            api: entry.api_address(kind),
            host: host.clone(),
            project: path.strip_suffix(".git").unwrap_or(path).to_owned(),
            token,
            guard: Guard::new(allow, Arc::new(System::new(1))),
            patience: config.timeouts.publish,
        })
    }

    /// Opens a pull request, or finds the open one of this branch.
    ///
    /// # Errors
    ///
    /// When the forge cannot be asked, or says no.
    pub async fn open_request(&self, wish: &RequestWish<'_>) -> Result<PullRequest, NotRequested> {
        if let Some(url) = self.find_open(wish).await? {
            return Ok(PullRequest { url, is_new: false });
        }
        let RequestWish { branch, base, title, body } = wish;
        let (path, wanted) = match self.kind {
            ForgeKind::Github | ForgeKind::Gitea => {
                let wanted = json!({"title": title, "head": branch, "base": base, "body": body});
                (format!("/repos/{}/pulls", self.project), wanted)
            }
            ForgeKind::Gitlab => {
                let wanted = json!({
                    "title": title,
                    "source_branch": branch,
                    "target_branch": base,
                    "description": body,
                });
                (format!("/projects/{}/merge_requests", escape(&self.project)), wanted)
            }
        };
        let (status, answer) = self.ask(Method::POST, &path, Some(&wanted)).await?;
        match self.address_in(&answer).filter(|_| status.is_success()) {
            Some(url) => Ok(PullRequest { url, is_new: true }),
            None => Err(self.refused(status, &answer)),
        }
    }

    /// The address of the open pull request of this branch.
    async fn find_open(&self, wish: &RequestWish<'_>) -> Result<Option<String>, NotRequested> {
        let (branch, base) = (escape(wish.branch), escape(wish.base));
        let owner = self.project.split('/').next().unwrap_or_default();
        let path = match self.kind {
            ForgeKind::Github => {
                let head = escape(&format!("{owner}:{}", wish.branch));
                format!("/repos/{}/pulls?state=open&head={head}&base={base}", self.project)
            }
            ForgeKind::Gitlab => format!(
                "/projects/{}/merge_requests?state=opened&source_branch={branch}&target_branch={base}",
                escape(&self.project)
            ),
            ForgeKind::Gitea => format!("/repos/{}/pulls/{base}/{branch}", self.project),
        };
        let (status, answer) = self.ask(Method::GET, &path, None).await?;
        match (self.kind, status) {
            (ForgeKind::Gitea, StatusCode::NOT_FOUND) => Ok(None),
            (ForgeKind::Gitea, StatusCode::OK) if answer["state"] != "open" => Ok(None),
            (ForgeKind::Gitea, StatusCode::OK) => Ok(self.address_in(&answer)),
            (ForgeKind::Github | ForgeKind::Gitlab, StatusCode::OK) => {
                Ok(self.address_in(&answer[0]))
            }
            _ => Err(self.refused(status, &answer)),
        }
    }

    /// The address of a pull request for people.
    fn address_in(&self, request: &Value) -> Option<String> {
        let member = match self.kind {
            ForgeKind::Github | ForgeKind::Gitea => "html_url",
            ForgeKind::Gitlab => "web_url",
        };
        let url = request[member].as_str()?;
        let is_one = url.starts_with("https://") || url.starts_with("http://");
        let is_plain = !url.contains(|c: char| c.is_whitespace() || c.is_control());
        (is_one && is_plain && url.len() <= 2048).then(|| url.to_owned())
    }

    /// Asks the API once: the status of the answer, and what it says.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), NotRequested> {
        let asked = tokio::time::timeout(self.patience.get(), self.send(method, path, body)).await;
        let late = format!("it did not answer within {} (`timeouts.publish`)", self.patience);
        let (status, headers, answer) = asked
            .unwrap_or(Err(late))
            .map_err(|why| NotRequested::Unreachable { host: self.host.clone(), why })?;
        let host = || self.host.clone();
        match (status, wait_of(&headers)) {
            (StatusCode::TOO_MANY_REQUESTS, seconds) => {
                let seconds = seconds.unwrap_or(60);
                Err(NotRequested::TooOften { host: host(), seconds })
            }
            (StatusCode::FORBIDDEN, Some(seconds)) => {
                Err(NotRequested::TooOften { host: host(), seconds })
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                Err(NotRequested::Unauthorized { host: host(), status: status.as_u16() })
            }
            _ => Ok((status, answer)),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, HeaderMap, Value), String> {
        let told = |error: reqwest::Error| innermost(&error);
        let url = self.guard.check_url(&format!("{}{path}", self.api));
        let url = url.map_err(|refusal| refusal.to_string())?;
        let scheme = Scheme::of(&url).map_err(|refusal| refusal.to_string())?;
        let builder = Client::builder()
            .dns_resolver(self.guard.resolver(scheme))
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")));
        let builder = match scheme {
            Scheme::Plain => builder.tls_certs_only([]),
            Scheme::Secure => builder.https_only(true),
        };
        let client = builder.build().map_err(told)?;
        let (name, accept) = match self.kind {
            ForgeKind::Github => (AUTHORIZATION, "application/vnd.github+json"),
            ForgeKind::Gitlab => (HeaderName::from_static("private-token"), "application/json"),
            ForgeKind::Gitea => (AUTHORIZATION, "application/json"),
        };
        let mut request =
            client.request(method, url).header(name, self.token.clone()).header(ACCEPT, accept);
        if self.kind == ForgeKind::Github {
            request = request.header("x-github-api-version", "2022-11-28");
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let mut response = request.send().await.map_err(told)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(told)? {
            if answer.len() + piece.len() > LARGEST {
                return Err("its answer is too long".to_owned());
            }
            answer.extend_from_slice(&piece);
        }
        Ok((status, headers, serde_json::from_slice(&answer).unwrap_or_default()))
    }

    fn refused(&self, status: StatusCode, answer: &Value) -> NotRequested {
        let more = answer["errors"][0]["message"].as_str();
        let message = match &answer["message"] {
            Value::String(message) => message.clone(),
            Value::Null => answer["error"].as_str().unwrap_or_default().to_owned(),
            other => other.to_string(),
        };
        let words = [Some(status.as_str()), Some(&message), more].into_iter().flatten();
        let words: Vec<&str> = words.filter(|words| !words.is_empty()).collect();
        // It may repeat what it was sent.
        let token = self.token.to_str().unwrap_or_default().rsplit(' ').next().unwrap_or_default();
        let words = words.join(": ").replace(token, "(the token)");
        let words = words.replace(char::is_control, " ").chars().take(SHOWN).collect();
        NotRequested::Refused { host: self.host.clone(), words }
    }
}

/// How long a forge wants not to be asked.
fn wait_of(headers: &HeaderMap) -> Option<u64> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    if let Some(seconds) = number(RETRY_AFTER.as_str()) {
        return Some(seconds);
    }
    let is_spent = number("x-ratelimit-remaining") == Some(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    is_spent.then(|| {
        let until = number("x-ratelimit-reset").unwrap_or_default();
        until.saturating_sub(now.as_secs()).max(1)
    })
}

/// A name as one step of a path, or as a value of a query.
fn escape(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(next) = cause.and_then(|cause| cause.source()) {
        cause = Some(next);
    }
    cause.map_or_else(|| "it cannot be reached".to_owned(), ToString::to_string)
}

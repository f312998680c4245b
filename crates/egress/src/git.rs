//! Git over HTTPS with a credential that stays in the server.
//!
//! Inside, git is told by `insteadOf` to ask this proxy instead of the host ([`GitRoute::rewrites`]). Only
//! the requests of git's smart protocol are carried, only to repositories below the route's path, and the
//! credential is put in here.

use super::policy::Target;
use super::provider::secret;
use super::push_rule::{Judged, PushRule};
use super::refusal::Refusal;
use super::route::base_url;
use super::upstream::{ProxyResponse, Upstream, below, decoded, strip, text};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, COOKIE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};
use reqwest::Url;
use std::fmt;
use std::net::SocketAddr;

/// The services of git's smart protocol.
const SERVICES: [&str; 2] = ["git-upload-pack", "git-receive-pack"];

/// A way to the repositories of a host below a path. It holds a secret and shows none.
pub struct GitRoute {
    /// Lower case, with its port where that is not 443.
    host: String,
    /// The path's steps, without `.git` at the end of the last.
    path: Vec<String>,
    authorization: HeaderValue,
    upstream: Url,
}

/// A configured route that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`egress.git` {what}")]
pub struct BadGitRoute {
    what: String,
}

/// What a request wants of git.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'a> {
    /// One step of the protocol, with this repository.
    Step(Vec<&'a str>),
    /// Large files, which have a protocol of their own.
    Lfs,
    /// Anything else.
    Other,
}

impl GitRoute {
    /// A route to the repositories below `path` on `host` (`:port` if it is not 443), or to all of them where the
    /// path is empty. Most hosts take any user name with a token.
    ///
    /// # Errors
    ///
    /// When host, path or credential cannot be used: which key of `egress.git` to correct.
    pub fn new(
        host: &str,
        path: &str,
        user: Option<&str>,
        token: &str,
    ) -> Result<Self, BadGitRoute> {
        let bad = |what: String| BadGitRoute { what };
        let target = Target::parse(host, Some(443))
            .map_err(|error| bad(format!("names a host that is {error}; correct `host`")))?;
        let host = match target.port {
            443 => target.host.to_string(),
            _ => target.to_string(),
        };
        let steps = path.split('/').filter(|step| !step.is_empty());
        let path: Option<Vec<_>> = steps.map(step).collect();
        let path = path.ok_or_else(|| {
            bad("has a path that leads upwards or cannot be read; correct `path`".to_owned())
        })?;
        let user = user.unwrap_or("x-access-token");
        let pair = BASE64_STANDARD.encode(format!("{user}:{token}"));
        if token.is_empty() || user.contains(':') {
            return Err(bad("has no usable credential; set `token`".to_owned()));
        }
        let upstream = base_url(&format!("https://{host}")).map_err(|what| bad(what.to_owned()))?;
        Ok(Self {
            host,
            path,
            authorization: secret(&format!("Basic {pair}")).expect("base64 fits into a header"),
            upstream,
        })
    }

    /// The same route to another server than its host, as tests need it.
    #[cfg(test)]
    pub(super) fn with_upstream(mut self, upstream: &str) -> Result<Self, BadGitRoute> {
        let upstream = base_url(upstream);
        self.upstream = upstream.map_err(|what| BadGitRoute { what: what.to_owned() })?;
        Ok(self)
    }

    /// What git is to ask instead of what: pairs of a key and a value of its configuration.
    pub(super) fn rewrites(&self, port: u16, token: &str) -> Vec<(String, String)> {
        let path = self.path.join("/");
        let host = &self.host;
        let here = format!("http://session:{token}@127.0.0.1:{port}/git/{host}/{path}");
        let key = format!("url.{here}.insteadOf");
        let mut values = vec![format!("https://{host}/{path}")];
        // Submodules are often named like this, and there is no other way out for them.
        if !host.contains(':') {
            values.push(format!("git@{host}:{path}"));
            values.push(format!("ssh://git@{host}/{path}"));
        }
        values.into_iter().map(|value| (key.clone(), value)).collect()
    }

    /// The header by which the server itself reaches a repository at this address, and how many steps of the path
    /// the route has; none where the repository does not lie below it. Without encryption the credential goes to this
    /// machine alone.
    pub fn header_for(&self, url: &str) -> Option<(usize, String)> {
        let (host, steps) = steps_of(url).or_else(|| steps_on_loopback(url))?;
        let steps = self.fits(&host, &steps.iter().map(String::as_str).collect::<Vec<_>>())?;
        let authorization = self.authorization.to_str().ok()?;
        Some((steps, format!("Authorization: {authorization}")))
    }

    /// How many steps of the path it has, if the repository lies below it.
    fn fits(&self, host: &str, repository: &[&str]) -> Option<usize> {
        if !host.eq_ignore_ascii_case(&self.host) || repository.len() < self.path.len().max(1) {
            return None;
        }
        let mut steps = self.path.iter().zip(repository);
        let fits = steps.all(|(own, wanted)| step(wanted).is_some_and(|wanted| wanted == *own));
        fits.then_some(self.path.len())
    }
}

/// Host and steps of the path of a repository at an address of https, as they are compared.
pub(super) fn steps_of(url: &str) -> Option<(String, Vec<String>)> {
    let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
    let steps: Option<Vec<String>> =
        path.split('/').filter(|name| !name.is_empty()).map(step).collect();
    Some((host.strip_suffix(":443").unwrap_or(host).to_owned(), steps?))
}

/// The same of an address of http on this machine.
fn steps_on_loopback(url: &str) -> Option<(String, Vec<String>)> {
    let rest = url.strip_prefix("http://")?;
    let address: SocketAddr = rest.split('/').next()?.parse().ok()?;
    address.ip().is_loopback().then(|| steps_of(&format!("https://{rest}")))?
}

/// A step of a path as it is compared: decoded, without `.git`; none for one that is more than a step.
fn step(text: &str) -> Option<String> {
    let text = decoded(text)?;
    let odd = matches!(text.as_str(), "" | "." | "..")
        || text.chars().any(|c| c == '/' || c == '\\' || c.is_control());
    let bare = text.strip_suffix(".git").filter(|bare| !bare.is_empty());
    (!odd).then(|| bare.unwrap_or(&text).to_owned())
}

/// Whether a request belongs to a push.
fn is_push(path: &str, query: Option<&str>) -> bool {
    path.ends_with("/git-receive-pack") || query == Some("service=git-receive-pack")
}

fn wanted<'a>(method: &Method, path: &'a str, query: Option<&str>) -> Wanted<'a> {
    let path = path.trim_start_matches('/');
    if path.contains("/info/lfs/") {
        return Wanted::Lfs;
    }
    let service = |name: &str| SERVICES.contains(&name);
    let repository = match *method {
        Method::GET => {
            let asked = query.and_then(|query| query.strip_prefix("service="));
            let front = path.strip_suffix("/info/refs");
            front.filter(|_| asked.is_some_and(service))
        }
        Method::POST => {
            let split = path.rsplit_once('/');
            split.and_then(|(front, last)| (service(last) && query.is_none()).then_some(front))
        }
        _ => None,
    };
    repository.map_or(Wanted::Other, |repository| Wanted::Step(repository.split('/').collect()))
}

/// Reads a path as that of a repository, with each of its steps.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn read_path(method: &Method, path: &str, query: Option<&str>) {
    if let Wanted::Step(steps) = wanted(method, path, query) {
        for step in steps.into_iter().filter_map(step) {
            assert!(!step.contains('/') && step != ".." && !step.is_empty(), "{path}");
        }
    }
}

/// Sends a request on by the route that fits best; `path` is what follows the host.
pub(super) async fn forward<'a>(
    upstream: &Upstream,
    (routes, rule): (impl Iterator<Item = &'a GitRoute>, Option<&PushRule>),
    host: &str,
    path: &str,
    request: Request<Incoming>,
) -> Result<ProxyResponse, Refusal> {
    let refused = |what: &str| {
        let advice = format!("{host}{path} is not reached: {what}");
        Refusal::outside_route(host, advice)
    };
    let query = request.uri().query();
    let repository = match wanted(request.method(), path, query) {
        Wanted::Step(repository) => repository,
        Wanted::Lfs => {
            return Err(refused("large files (git LFS) are not carried by egress.git"));
        }
        Wanted::Other => return Err(refused("egress.git carries git's smart protocol alone")),
    };
    let steps: Option<Vec<String>> = repository.iter().map(|name| step(name)).collect();
    let steps = steps.ok_or_else(|| refused("this path cannot be read"))?;
    let rule = rule.filter(|_| is_push(path, query));
    if let Some(rule) = rule.filter(|rule| !rule.permits(host, &steps)) {
        return Err(refused(&rule.describe_refusal()));
    }
    let fitting = routes.filter_map(|route| Some((route.fits(host, &repository)?, route)));
    let best = fitting.max_by_key(|(steps, _)| *steps);
    let Some((_, route)) = best else {
        let what = "it is not below a path of egress.git; the server's operator can add it";
        return Err(refused(what));
    };
    let Some(url) = below(&route.upstream, path, query) else {
        return Err(refused("this path cannot be read"));
    };
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    let body = match rule.filter(|_| parts.method == Method::POST) {
        None => body.map_err(Into::into).boxed_unsync(),
        Some(_) if headers.contains_key(CONTENT_ENCODING) => {
            return Err(refused("a compressed push cannot be read"));
        }
        Some(rule) => match rule.judge(body).await {
            Judged::Passed(body) => body,
            Judged::Refused(answer) => return Ok(*answer),
        },
    };
    strip(&mut headers);
    headers.remove(COOKIE);
    headers.insert(AUTHORIZATION, route.authorization.clone());
    let answer = upstream.send(url, parts.method, headers, body).await;
    Ok(match answer {
        // Git would ask somebody for a password, and there is nobody.
        Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => {
            let line =
                format!("{host} refuses the credential of egress.git; the operator must renew it");
            upstream.complain(&line);
            text(StatusCode::FORBIDDEN, &line)
        }
        Ok(answer) => answer,
        Err(why) => {
            let line = format!("{host} could not be reached: {why}");
            upstream.complain(&line);
            text(StatusCode::BAD_GATEWAY, &line)
        }
    })
}

/// Asks git for what it was told.
pub(super) fn unauthenticated() -> ProxyResponse {
    let line = "the credential of this session is missing or no longer valid";
    let mut answer = text(StatusCode::UNAUTHORIZED, line);
    let realm = HeaderValue::from_static("Basic realm=\"pilothouse\"");
    answer.headers_mut().insert(WWW_AUTHENTICATE, realm);
    answer
}

impl fmt::Debug for GitRoute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("GitRoute")
            .field("host", &self.host)
            .field("path", &self.path.join("/"))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> GitRoute {
        GitRoute::new("Git.Example.com", path, None, "hidden").unwrap()
    }

    #[test]
    fn only_the_smart_protocol_is_known() {
        let get = |path, query| wanted(&Method::GET, path, query);
        let pack = Some("service=git-upload-pack");
        let step = Wanted::Step(vec!["team", "a.git"]);
        assert_eq!(get("/team/a.git/info/refs", pack), step);
        assert_eq!(wanted(&Method::POST, "/team/a.git/git-receive-pack", None), step);
        assert_eq!(get("/team/a.git/info/refs", None), Wanted::Other);
        assert_eq!(get("/team/a.git/HEAD", None), Wanted::Other);
        assert_eq!(get("/info/refs", pack), Wanted::Other);
        assert_eq!(get("/team/a.git/git-upload-pack", None), Wanted::Other);
        assert_eq!(get("/team/a.git/info/refs", Some("service=git-upload-archive")), Wanted::Other);
        assert_eq!(wanted(&Method::POST, "/team/a.git/info/lfs/objects/batch", None), Wanted::Lfs);
    }

    #[test]
    fn a_repository_fits_by_whole_steps() {
        let fits = |path: &str, wanted: &str| {
            let steps: Vec<_> = wanted.split('/').collect();
            route(path).fits("git.example.com", &steps)
        };
        assert_eq!(fits("team", "team/a.git"), Some(1));
        assert_eq!(fits("team", "team2/a.git"), None);
        assert_eq!(fits("team/a", "team/a.git"), Some(2));
        assert_eq!(fits("team/a.git", "team/a"), Some(2));
        assert_eq!(fits("team/a", "team/ab"), None);
        assert_eq!(fits("team/a", "team"), None);
        assert_eq!(fits("", "team/a"), Some(0));
        assert_eq!(fits("My%20Team", "My%20Team/a"), Some(1));
        assert_eq!(fits("team", "te%61m/a"), Some(1));
        assert_eq!(route("team").fits("other.test", &["team", "a"]), None);
    }

    #[test]
    fn git_is_told_to_ask_here() {
        let told = route("team").rewrites(8118, "TOKEN");
        let key = "url.http://session:TOKEN@127.0.0.1:8118/git/git.example.com/team.insteadOf";
        let values = [
            "https://git.example.com/team",
            "git@git.example.com:team",
            "ssh://git@git.example.com/team",
        ];
        let expected: Vec<_> = values.map(|value| (key.to_owned(), value.to_owned())).into();
        assert_eq!(told, expected);
    }

    #[test]
    fn the_servers_own_git_gets_the_credential_for_what_lies_below_the_path_alone() {
        let header = |url: &str| route("team").header_for(url);
        let (steps, header_text) = header("https://git.example.com/team/a.git").unwrap();
        assert_eq!(steps, 1);
        assert!(header_text.starts_with("Authorization: Basic "), "{header_text}");
        for url in [
            "https://git.example.com/team2/a",
            "https://git.example.com.evil.test/team/a",
            "http://git.example.com/team/a",
            "https://git.example.com/team/../other",
        ] {
            assert_eq!(header(url), None, "{url}");
        }
    }

    #[test]
    fn without_encryption_the_credential_goes_to_this_machine_alone() {
        let here = GitRoute::new("127.0.0.1:4000", "team", None, "hidden").unwrap();
        assert!(here.header_for("http://127.0.0.1:4000/team/a.git").is_some());
        assert!(here.header_for("http://127.0.0.1:4001/team/a.git").is_none());
        let away = GitRoute::new("192.0.2.1:4000", "team", None, "hidden").unwrap();
        assert!(away.header_for("http://192.0.2.1:4000/team/a.git").is_none());
        assert!(route("team").header_for("http://git.example.com/team/a.git").is_none());
    }

    #[test]
    fn a_wrong_route_says_what_to_correct() {
        let wrong = |host: &str, path: &str, token: &str| {
            GitRoute::new(host, path, None, token).unwrap_err().to_string()
        };
        assert!(wrong("https://a.test", "", "t").contains("correct `host`"));
        assert!(wrong("a.test", "../b", "t").contains("correct `path`"));
        assert!(wrong("a.test", "b", "").contains("set `token`"));
    }

    #[test]
    fn a_route_shows_no_secret() {
        let shown = format!("{:?}", route("team"));
        assert_eq!(shown, r#"GitRoute { host: "git.example.com", path: "team", .. }"#);
    }
}

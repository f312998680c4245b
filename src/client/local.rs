//! The server that a client command talks to: found by itself on this machine, or named.

mod api;
pub(crate) mod listener;
mod running;

use super::complete;
use super::failure::{Failure, causes, root_cause};
use crate::config::{Config, Environment, Flags, Loaded, load, load_named};
pub(super) use api::told;
use clap::Args;
use pilothouse_a2a::client::{Client, ClientError, ClientTls, card};
use reqwest::{Method, Url};
use running::find_running;
pub(crate) use running::{address, configured, running, tls_of_running};
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one answer of the house's own API may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one may take that is held open.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);
/// The largest answer of the house's own API that is read.
const MAX_BODY: usize = 16 << 20;

/// Which server, and who calls.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServerArgs {
    /// Address of the server (PILOTHOUSE_URL; else the one that runs on this machine)
    #[arg(long, value_name = "URL", help_heading = "Server", global = true)]
    pub(crate) url: Option<String>,
    /// Bearer token (PILOTHOUSE_TOKEN; else the one of this machine's configuration)
    #[arg(long, value_name = "TOKEN", help_heading = "Server", global = true)]
    token: Option<Secret>,
    /// Configuration file of the local server
    #[arg(long, value_name = "FILE", help_heading = "Server", global = true)]
    config: Option<PathBuf>,
    /// State folder of the local server
    #[arg(long, value_name = "DIR", help_heading = "Server", global = true)]
    state_dir: Option<PathBuf>,
    /// File with authorities that are trusted beside the system's, for https (PILOTHOUSE_CA)
    #[arg(long, value_name = "PEM", help_heading = "Server", global = true)]
    ca: Option<PathBuf>,
    /// File with a certificate and its key, for a server that asks for one (PILOTHOUSE_CLIENT_CERT)
    #[arg(long, value_name = "PEM", help_heading = "Server", global = true)]
    client_cert: Option<PathBuf>,
    /// For an admin: list what is of this caller, or of all (`*`)
    #[arg(long, value_name = "NAME", help_heading = "Server", global = true)]
    caller: Option<String>,
}

/// Which server, which of its agents, and who calls.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// One of several agents of the server, by its name
    #[arg(long, value_name = "NAME", help_heading = "Server", global = true, add = complete::agents())]
    agent: Option<String>,
}

/// A token that no debug output shows.
#[derive(Clone, PartialEq, Eq)]
struct Secret(String);

/// A server that may be called.
#[derive(Clone, Default)]
pub(crate) struct Server {
    /// Its address, without a slash at the end.
    pub(crate) url: String,
    token: Option<Secret>,
    /// One of its agents, where one was named.
    agent: Option<String>,
    /// The options that lead a further command to it.
    options: String,
    /// It is this machine's own, so its endpoint needs no card to be found.
    local: bool,
    /// This user runs it on this machine.
    ours: bool,
    /// Whose tasks, sessions and asks are listed, where that is not the own caller.
    caller: Option<String>,
    /// Which servers are trusted.
    pub(crate) tls: ClientTls,
}

impl ServerArgs {
    /// The flags of `serve` that tell where its state is.
    pub(crate) fn flags(&self) -> Flags {
        Flags { config: self.config.clone(), state_dir: self.state_dir.clone(), ..Flags::default() }
    }
}

impl Server {
    /// The named server, or the one of this machine.
    ///
    /// Which server that is and whether it is ours comes from options, variables and the state folder
    /// alone: another person may have written the working folder. A token that was not given goes only to
    /// a server that this user runs on this machine.
    pub(crate) fn find(
        args: &ServerArgs,
        environment: &Environment,
        cwd: &Path,
    ) -> Result<Self, Failure> {
        let loaded = load_named(&args.flags(), environment, cwd);
        let variable =
            |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let token = args.token.clone().or_else(|| variable("PILOTHOUSE_TOKEN").map(Secret));
        let named = args.url.clone().or_else(|| variable("PILOTHOUSE_URL"));
        let local = named.is_none();
        let url = match (named, &loaded) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Ok(loaded)) => address(&loaded.config),
            (None, Err(error)) => return Err(Failure::of_config(error)),
        };
        let ours = loaded.as_ref().is_ok_and(|loaded| is_ours(&url, &loaded.config));
        // A program of this user that only listens there gets no token.
        let kept = || {
            let loaded = loaded.as_ref().ok().filter(|_| ours)?;
            running(&loaded.config)?;
            // The server of this folder may have its token from the folder's files.
            let folder = load(&args.flags(), environment, cwd).ok();
            let token = folder.and_then(|folder| folder.config.auth.token);
            token.filter(|token| !token.is_empty()).map(Secret).or_else(|| kept_token(loaded))
        };
        let token = token.or_else(kept);
        let folder = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let options = options([
            ("--url", args.url.clone()),
            ("--config", folder(&args.config)),
            ("--state-dir", folder(&args.state_dir)),
            ("--ca", folder(&args.ca)),
            ("--client-cert", folder(&args.client_cert)),
            ("--caller", args.caller.clone()),
        ]);
        let caller = args.caller.clone();
        let mut tls = args.tls(variable)?;
        let running = loaded.as_ref().ok().filter(|_| ours && !tls.names_authorities());
        if let Some(running) = running.and_then(|loaded| find_running(&loaded.config)) {
            tls = running.know(tls);
        }
        Ok(Self { url, token, agent: None, options, local, ours, caller, tls })
    }

    /// The same, and the agent there that is named.
    pub(crate) fn find_agent(
        args: &AgentArgs,
        environment: &Environment,
        cwd: &Path,
    ) -> Result<Self, Failure> {
        let server = Self::find(&args.server, environment, cwd)?;
        Ok(match &args.agent {
            Some(name) => server.of_agent(name),
            None => server,
        })
    }

    /// The same server, and this agent there.
    fn of_agent(&self, name: &str) -> Self {
        let mut server = self.clone();
        server.options.push_str(&options([("--agent", Some(name.to_owned()))]));
        server.agent = Some(name.to_owned());
        server
    }

    /// The agents that a command may mean, with their names: the named one, else all that the server tells of.
    pub(super) async fn each_agent(&self) -> Vec<(String, Self)> {
        // An address with a path is that of one agent, or of no server of ours.
        let is_whole = parsed(&self.url).is_ok_and(|url| url.path() == "/");
        let names = match &self.agent {
            None if is_whole => self.names().await,
            _ => Vec::new(),
        };
        if names.len() < 2 {
            return vec![(String::new(), self.clone())];
        }
        names.into_iter().map(|name| (name.clone(), self.of_agent(&name))).collect()
    }

    /// The options that lead a further command to the same server and agent, each with a space before it.
    pub(super) fn options(&self) -> &str {
        &self.options
    }

    /// The address of the named agent, else of the server's own one, without a slash at the end.
    pub(super) fn base(&self) -> String {
        match &self.agent {
            Some(name) => format!("{}/agents/{}", self.url, escape(name)),
            None => self.url.clone(),
        }
    }

    /// A client of the agent.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let token = || self.token.as_ref().map(|token| token.0.clone());
        let base = self.base();
        let found = if self.local || self.agent.is_some() || self.caller.is_some() {
            Client::new(&self.with_caller(&format!("{base}/")), token(), &self.tls)
        } else {
            match Client::discover(&base, token(), &self.tls).await {
                // An endpoint of its own, without a card beside it.
                Err(ClientError::Http { status: 404 | 405, .. }) => {
                    Client::new(&base, token(), &self.tls)
                }
                other => other,
            }
        };
        found.map_err(|error| self.failure(&error))
    }

    /// Reads something of the house's own API.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.read(&self.base(), path).await
    }

    /// Reads something below `base`.
    async fn read(&self, base: &str, path: &str) -> Result<Value, Failure> {
        let response = self.answer(Method::GET, (base, path), None, PATIENCE).await?;
        self.parse(response).await
    }

    /// Posts to the house's own API; the answer stays open for as long as it is held.
    pub(super) async fn open(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<reqwest::Response, Failure> {
        self.answer(Method::POST, (&self.base(), path), Some(body), FOREVER).await
    }

    /// An answer that is none of refusal; what is posted may be answered for ever.
    async fn answer(
        &self,
        method: Method,
        (base, path): (&str, &str),
        posted: Option<&Value>,
        patience: Duration,
    ) -> Result<reqwest::Response, Failure> {
        self.answer_within(method, (base, path), posted, (patience, PATIENCE)).await
    }

    /// Whether this user runs it on this machine.
    pub(super) fn is_ours(&self) -> bool {
        self.ours
    }

    /// A failed request to this server as people read it.
    pub(super) fn failure(&self, error: &ClientError) -> Failure {
        Failure::of_client(error, &self.url)
    }

    /// A failure with what is known about the server's agents: what is missing may be the agent itself.
    pub(crate) async fn explain(&self, failure: Failure) -> Failure {
        if !failure.is_missing {
            return failure;
        }
        let Some(name) = &self.agent else { return failure };
        let found = card(&self.base(), None, None, &self.tls).await;
        if !found.is_err_and(|error| self.failure(&error).is_missing) {
            return failure;
        }
        let names = self.names().await;
        let advice = match names.is_empty() {
            true => "leave --agent out for its own one".to_owned(),
            false => format!("there are: {}", names.join(", ")),
        };
        Failure::usage(format!("the agent `{name}` is not served by {}; {advice}", self.url))
    }

    /// The names of all its agents, where it tells them to this caller.
    pub(super) async fn names(&self) -> Vec<String> {
        let told = self.read(&self.url, "/ready").await.unwrap_or_default();
        let names = told.get("agents").and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    }

    /// A connection that failed.
    pub(super) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::unreachable(&self.url, &root_cause(error))
    }
}

/// Options as they stand in a command, each with a space before it.
fn options<const N: usize>(named: [(&str, Option<String>); N]) -> String {
    let given = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.map(|(name, value)| format!(" {name} {}", shell_words::quote(&value))).collect()
}

/// One segment of a path: everything but letters, digits and `-._~` is escaped.
pub(super) fn escape(segment: &str) -> String {
    let each = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    segment.bytes().map(each).collect()
}

/// Reads an address.
pub(crate) fn parsed(text: &str) -> Result<Url, Failure> {
    let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.host().is_some();
    let url = Url::parse(text).ok().filter(is_http);
    url.ok_or_else(|| Failure::usage(format!("`{text}` is not an http or https url")))
}

/// Plain HTTP, without a token and without redirects.
pub(crate) fn http(
    to: &Url,
    patience: Duration,
    tls: &ClientTls,
) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(patience);
    builder = match to.scheme() {
        // Root certificates are not needed, and a small image may have none.
        "http" => builder.tls_certs_only([]),
        _ => tls.apply(builder).map_err(|error| Failure::usage(error.to_string()))?,
    };
    if is_loopback(to) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Failure::new(super::exit::UNAVAILABLE, causes(Some(&error))))
}

/// A body up to a limit.
pub(crate) async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = MAX_BODY.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    Ok(body)
}

/// The token that the local server asks for: configured, or made at its first start.
fn kept_token(loaded: &Loaded) -> Option<Secret> {
    let config = &loaded.config;
    let kept = || {
        std::fs::read_to_string(config.state_dir.join("token"))
            .ok()
            .map(|token| token.trim().to_owned())
    };
    config.auth.token.clone().or_else(kept).filter(|token| !token.is_empty()).map(Secret)
}

/// Whether an address is that of a server which this user runs on this machine: the one that runs with this state folder
/// (it left its address there and still holds the folder's lock), where one does, and in any case a listener of this user.
fn is_ours(url: &str, config: &Config) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let Some(port) = url.port_or_known_default().filter(|_| is_loopback(&url)) else {
        return false;
    };
    let of_running = |running: String| {
        Url::parse(&running).is_ok_and(|running| running.port_or_known_default() == Some(port))
    };
    running(config).is_none_or(of_running) && listener::is_ours(port)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

impl std::str::FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(crate::config::MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(args: &ServerArgs, variables: &[(&str, &str)], state: &Path) -> Server {
        let mut environment = Environment::default();
        let folder = state.display().to_string();
        for (name, value) in [("PILOTHOUSE_STATE_DIR", folder.as_str())].iter().chain(variables) {
            environment.variables.insert((*name).to_owned(), (*value).to_owned());
        }
        Server::find(args, &environment, state).unwrap()
    }

    fn token(server: &Server) -> Option<&str> {
        server.token.as_ref().map(|token| token.0.as_str())
    }

    /// A server of this user, as far as the kernel tells, and what it leaves in the state folder.
    fn running(state: &Path) -> ((std::net::TcpListener, std::fs::File), String) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let word = serde_json::json!({"url": url, "pid": std::process::id()});
        std::fs::write(state.join("server.json"), word.to_string()).unwrap();
        let lock = std::fs::File::create(state.join("lock")).unwrap();
        lock.lock().unwrap();
        std::fs::write(state.join("token"), "kept\n").unwrap();
        ((socket, lock), url)
    }

    #[test]
    fn the_running_server_is_found_by_its_state_folder() {
        let state = tempfile::tempdir().unwrap();
        let (_socket, url) = running(state.path());
        let server = found(&ServerArgs::default(), &[], state.path());
        assert_eq!((server.url.as_str(), token(&server)), (url.as_str(), Some("kept")));
    }

    #[test]
    fn a_server_that_is_gone_leaves_the_configured_address() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(
            state.path().join("server.json"),
            r#"{"url":"http://127.0.0.1:4321","pid":2147483647}"#,
        )
        .unwrap();
        let server =
            found(&ServerArgs::default(), &[("PORT", "5000"), ("HOST", "0.0.0.0")], state.path());
        assert_eq!(server.url, "http://127.0.0.1:5000");
    }

    #[test]
    fn what_is_named_wins() {
        let state = tempfile::tempdir().unwrap();
        let variables = [
            ("PILOTHOUSE_URL", "http://127.0.0.1:1/"),
            ("PILOTHOUSE_TOKEN", "v"),
            ("API_TOKEN", "c"),
        ];
        let server = found(&ServerArgs::default(), &variables, state.path());
        assert_eq!((server.url.as_str(), token(&server)), ("http://127.0.0.1:1", Some("v")));
        let args = ServerArgs {
            url: Some("http://127.0.0.1:2".to_owned()),
            token: Some(Secret("flag".to_owned())),
            ..ServerArgs::default()
        };
        let server = found(&args, &variables, state.path());
        assert_eq!((server.url.as_str(), token(&server)), ("http://127.0.0.1:2", Some("flag")));
    }

    fn token_for(url: &str, variables: &[(&str, &str)], state: &Path) -> Option<String> {
        let args = ServerArgs { url: Some(url.to_owned()), ..ServerArgs::default() };
        token(&found(&args, variables, state)).map(ToOwned::to_owned)
    }

    #[test]
    fn the_kept_token_goes_to_the_running_server_of_this_user_alone() {
        let state = tempfile::tempdir().unwrap();
        let ((socket, _lock), url) = running(state.path());
        assert_eq!(token_for(&url, &[], state.path()).as_deref(), Some("kept"));
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let other = format!("http://{}", other.local_addr().unwrap());
        assert_eq!(token_for(&other, &[], state.path()), None);
        assert_eq!(token_for("https://elsewhere.example", &[], state.path()), None);
        let public = [("PILOTHOUSE_SERVER_PUBLIC_URL", "https://agents.example/")];
        assert_eq!(token_for("https://agents.example/", &public, state.path()), None);
        drop(socket);
        assert_eq!(token_for(&url, &[], state.path()), None);
    }

    #[test]
    fn without_a_running_server_of_the_state_folder_no_listener_gets_the_kept_token() {
        let state = tempfile::tempdir().unwrap();
        let ((socket, lock), url) = running(state.path());
        let port = socket.local_addr().unwrap().port().to_string();
        let port = [("PORT", port.as_str())];
        assert_eq!(token_for(&url, &port, state.path()).as_deref(), Some("kept"));
        // The server was killed: its word is still there, and another program listens at its port.
        drop(lock);
        assert_eq!(token_for(&url, &port, state.path()), None);
        std::fs::remove_file(state.path().join("server.json")).unwrap();
        let server = found(&ServerArgs::default(), &port, state.path());
        assert_eq!((server.url, server.token), (url, None));
    }

    #[test]
    fn files_of_the_working_folder_name_no_server() {
        let (state, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (_socket, url) = running(state.path());
        let hostile = "http://192.0.2.1:80";
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            ".env",
            &format!("PILOTHOUSE_URL={hostile}\nHOST=192.0.2.1\nPILOTHOUSE_TOKEN=theirs\n"),
        );
        write(
            "pilothouse.yaml",
            "server: {host: 192.0.2.1, public_url: 'http://192.0.2.1'}\nstate_dir: ./theirs\n",
        );
        std::fs::create_dir(folder.path().join("theirs")).unwrap();
        let word = format!(r#"{{"url":"{hostile}","pid":{}}}"#, std::process::id());
        write("theirs/server.json", &word);
        let mut environment = Environment::default();
        let place = state.path().display().to_string();
        environment.variables.insert("PILOTHOUSE_STATE_DIR".to_owned(), place);
        let server = Server::find(&ServerArgs::default(), &environment, folder.path()).unwrap();
        assert_eq!((server.url.as_str(), token(&server)), (url.as_str(), Some("kept")));
        let args = ServerArgs { url: Some(hostile.to_owned()), ..ServerArgs::default() };
        let server = Server::find(&args, &environment, folder.path()).unwrap();
        assert_eq!(token(&server), None);
    }

    #[test]
    fn a_name_with_any_characters_stays_one_segment() {
        assert_eq!(escape("a/b ü"), "a%2Fb%20%C3%BC");
    }

    #[test]
    fn no_debug_output_shows_a_token() {
        assert_eq!(format!("{:?}", Secret("abc".to_owned())), "***");
    }
}

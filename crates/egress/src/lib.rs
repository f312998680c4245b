//! The way out of a sandboxed session: a proxy that lets through what its agent may reach, and adds the
//! credentials that no session is given.
//!
//! # How it works
//!
//! A session without a network of its own gets one address, 127.0.0.1 and a port, and an [`EgressCredential`].
//! Two listeners can serve the port. The session's own ([`EgressCredential::serve`]) lies inside its network
//! namespace, so every connection is this session's. The shared one ([`Egress::listen`]) serves all sessions that use
//! the network of the host, so each request carries the token of its credential.
//!
//! `CONNECT host:port` and `GET http://host/` are compared with the rules of the [`Policy`]. `/model/NAME/` and
//! `/git/HOST/` lead by a [`Route`] to a fixed upstream, where a credential of the operator replaces the session's
//! token. `/otlp/v1/` leads to the server itself, which takes what the exporters of a CLI send
//! ([`EgressCredential::receive_telemetry`]). A refusal goes to the session, and to [`EgressCredential::next_refusal`]. Where the policy says so (`ask`), the
//! connection waits instead, and whoever takes [`EgressCredential::next_question`] lets it through or not.
//!
//! A connection serves one request. From the first byte of the request to the last byte of the response it holds a
//! permit (`permits.rs`), which bounds the memory of all connections. A tunnel holds no bytes and needs no permit.
//!
//! Each session has its own connections to upstreams, and a request has a body only where its method has one. So an
//! upstream that loses count of requests cannot give one session the response to another.
//!
//! The proxy resolves a name, judges all of its addresses (`guard.rs`), and connects to one that it has judged. In a
//! network with a proxy of its own that proxy connects (`network.rs`).
//!
//! # Pitfalls
//!
//! A list of domains does not stop an agent from carrying data out: any host on the list that stores what it
//! receives is a way (`docs/egress.md`).

mod connection;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod git;
pub mod guard;
mod key;
mod model;
mod network;
mod no_answer;
mod permits;
mod policy;
mod provider;
mod proxy;
mod push_rule;
mod question;
mod reach;
mod refusal;
mod refusal_of_model;
mod route;
mod telemetry;
mod tools;
mod tunnel;
mod upstream;
mod usage;

pub use git::{BadGitRoute, GitRoute};
pub use key::{ChangingKey, KeyResult, KeySource, KeyWatch};
pub use network::Network;
pub use policy::{BadRule, HostRule, Policy};
pub use provider::ProviderKind;
pub use push_rule::PushRule;
pub use question::{HostAnswer, HostQuestion};
pub use refusal::{Reason, Refusal};
pub use refusal_of_model::ModelRefusal;
pub use route::{BadVariable, ModelRoute, Route, take_keys, take_keys_beside};
pub use telemetry::{TelemetryReceiver, TelemetrySignal};
pub use tools::{BadConfiguration, Tool};
pub use upstream::LOOKUPS as LOOKUPS_OF_UPSTREAMS;
pub use usage::Counted;

use crate::guard::Lookup;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use connection::{Connection, UnboundConnections};
use ipnet::IpNet;
use parking_lot::{Mutex, MutexGuard};
use permits::{RequestPermits, SessionPermits};
use question::HostQuestions;
use refusal::Refusals;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use upstream::Upstream;

/// The first pause after a connection could not be accepted, for example for want of descriptors. Each further
/// pause is twice as long, up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause between two tries to accept a connection.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Longest head of a request, and as much of a request or an answer is under way at each of its connections.
const BUFFER: usize = 16 * 1024;

/// The server's egress. Clones share it.
#[derive(Clone)]
pub struct Egress(Arc<Core>);

struct Core {
    inner: Vec<IpNet>,
    connections: usize,
    asking: (usize, Duration),
    places: RequestPermits,
    lookup: Arc<dyn Lookup>,
    network: Arc<Network>,
    watch: OnceLock<Arc<dyn KeyWatch>>,
    credentials: Mutex<HashMap<Digested, Weak<CredentialState>>>,
    upstreams: Arc<upstream::SharedUpstreams>,
    times: Times,
    tasks: TaskTracker,
    unbound: UnboundConnections,
    end: CancellationToken,
    _ends: DropGuard,
}

/// The hash of a token. Sessions choose what they present, but not its hash.
type Digested = [u8; 32];

/// The longest times of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Resolving a name and connecting.
    pub connect: Duration,
    /// Without a byte, in a tunnel or from an upstream: a model may think for minutes.
    pub idle: Duration,
    /// From a connection to its first byte, and from there to the end of its request's head.
    pub head: Duration,
}

/// How many connections and requests there may be at a time.
#[derive(Debug, Clone, Copy)]
pub struct EgressBounds {
    /// Connections of one credential.
    pub connections: usize,
    /// Requests of one credential that are never refused because of others.
    pub own_requests: usize,
    /// Further requests, of all credentials together.
    pub requests: usize,
    /// Connections of one credential that wait for a person's answer.
    pub asking: usize,
    /// How long one waits.
    pub ask_wait: Duration,
}

/// What all connections of a credential share.
struct CredentialState {
    token: String,
    policy: Arc<Policy>,
    connections: Arc<Semaphore>,
    places: SessionPermits,
    upstream: Upstream,
    refusals: Refusals,
    questions: HostQuestions,
    /// What may be pushed, where that is not everything.
    pushes: OnceLock<PushRule>,
    counted: Arc<Mutex<Counted>>,
    /// Who takes the telemetry of its CLI, where anybody does.
    telemetry: OnceLock<Arc<dyn TelemetryReceiver>>,
    end: CancellationToken,
}

/// What one process of a session reaches the network with. Dropping it makes its token invalid, ends its connections
/// and closes its listener.
pub struct EgressCredential {
    core: Arc<Core>,
    live: Arc<CredentialState>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(15 * 60),
            head: Duration::from_secs(10),
        }
    }
}

impl Egress {
    /// An egress that reaches public addresses and, of the inner networks, these.
    pub fn new(
        inner: Vec<IpNet>,
        bounds: EgressBounds,
        lookup: Arc<dyn Lookup>,
        network: Network,
        times: Times,
    ) -> Self {
        let (end, network) = (CancellationToken::new(), Arc::new(network));
        Self(Arc::new(Core {
            inner,
            connections: bounds.connections.clamp(1, Semaphore::MAX_PERMITS),
            asking: (bounds.asking, bounds.ask_wait),
            places: RequestPermits::new(bounds.own_requests, bounds.requests),
            lookup,
            network: network.clone(),
            watch: OnceLock::new(),
            credentials: Mutex::default(),
            upstreams: Arc::new(upstream::SharedUpstreams::new(network)),
            times,
            tasks: TaskTracker::new(),
            unbound: UnboundConnections::default(),
            _ends: end.clone().drop_guard(),
            end,
        }))
    }

    /// Has this look at the keys of models before they are sent; once.
    pub fn watch_keys(&self, watch: Arc<dyn KeyWatch>) {
        let _ = self.0.watch.set(watch);
    }

    /// Listens on a free port of 127.0.0.1 for all sessions that use the network of the host; returns the port.
    /// It ends with `stop`, or with the last clone of this.
    ///
    /// # Errors
    ///
    /// What the system says where no port can be opened.
    pub async fn listen(&self, tracker: &TaskTracker, stop: CancellationToken) -> io::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (core, end) = (Arc::downgrade(&self.0), self.0.end.clone());
        let connections = tracker.clone();
        tracker.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = end.cancelled() => return,
                    accepted = accept(&listener) => accepted,
                };
                let Some(core) = core.upgrade() else {
                    return;
                };
                let connection = Arc::new(Connection::shared(core.clone(), port));
                core.unbound.add(&connection);
                let stop = stop.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = connection.attend(accepted) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        });
        Ok(port)
    }

    /// A credential for one process of a session.
    ///
    /// # Panics
    ///
    /// When the system has no random bytes: nothing may be let out then.
    pub fn issue_credential(&self, policy: Arc<Policy>) -> EgressCredential {
        let mut random = [0; 32];
        getrandom::fill(&mut random).expect("the system gives random bytes");
        let token = format!("ph_{}", BASE64_URL_SAFE_NO_PAD.encode(random));
        let key = digest(&token);
        let Times { connect, idle, .. } = self.0.times;
        let live = Arc::new(CredentialState {
            token,
            policy,
            connections: Arc::new(Semaphore::new(self.0.connections)),
            places: self.0.places.share(),
            upstream: Upstream::new(connect, idle, self.0.upstreams.clone()),
            refusals: Refusals::default(),
            questions: HostQuestions::new(self.0.asking.0, self.0.asking.1),
            pushes: OnceLock::new(),
            counted: Arc::default(),
            telemetry: OnceLock::new(),
            end: CancellationToken::new(),
        });
        self.0.credentials().insert(key, Arc::downgrade(&live));
        EgressCredential { core: self.0.clone(), live }
    }

    /// Waits until no task of any credential is left.
    pub async fn ended(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Core {
    fn credentials(&self) -> MutexGuard<'_, HashMap<Digested, Weak<CredentialState>>> {
        self.credentials.lock()
    }

    /// The credential of a token, while it is valid.
    fn find(&self, token: &str) -> Option<Arc<CredentialState>> {
        let live = self.credentials().get(&digest(token)).and_then(Weak::upgrade)?;
        let same = live.token.as_bytes().ct_eq(token.as_bytes());
        bool::from(same).then_some(live)
    }
}

fn digest(token: &str) -> Digested {
    Sha256::digest(token).into()
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return socket,
            Err(error) => {
                tracing::warn!(%error, ?pause, "a connection of a session could not be accepted; it is tried again");
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
    }
}

impl EgressCredential {
    /// The token that the session presents in the place of every real credential.
    pub fn token(&self) -> &str {
        &self.live.token
    }

    /// Serves a listener that only this session can connect to, until this is dropped.
    pub fn serve(&self, listener: TcpListener) {
        let (core, live) = (self.core.clone(), self.live.clone());
        let end = live.end.clone();
        let port = listener.local_addr().map_or(0, |address| address.port());
        self.core.tasks.spawn(async move {
            let accepting = async {
                loop {
                    let permit = live.connections.clone().acquire_owned().await;
                    let permit = permit.expect("the semaphore is never closed");
                    let socket = accept(&listener).await;
                    let connection = Connection::own(core.clone(), port, live.clone(), permit);
                    core.tasks.spawn(Arc::new(connection).attend(socket));
                }
            };
            tokio::select! {
                () = accepting => {}
                () = end.cancelled() => {}
            }
        });
    }

    /// The environment variables with which a process reaches the network by this port of 127.0.0.1. They
    /// replace variables of the same name.
    pub fn env(&self, port: u16) -> Vec<(String, String)> {
        let token = self.token();
        let policy = &self.live.policy;
        let here = format!("http://127.0.0.1:{port}");
        let proxy = format!("http://session:{token}@127.0.0.1:{port}");
        let mut env = Vec::new();
        let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.to_owned()));
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            set(name, &proxy);
            set(&name.to_ascii_lowercase(), &proxy);
        }
        // The routes are on loopback, and so is what a session starts for itself.
        for name in ["NO_PROXY", "no_proxy"] {
            set(name, "127.0.0.1,localhost,::1");
        }
        // Node looks at the variables above only when it is told to.
        set("NODE_USE_ENV_PROXY", "1");
        let mut rewrites = Vec::new();
        let mut models = Vec::new();
        for route in &policy.routes {
            match route {
                Route::Model(route) => models.push(route),
                Route::Git(route) => rewrites.extend(route.rewrites(port, token)),
            }
        }
        let address = |provider: &provider::Provider| format!("{here}/model/{}", provider.name);
        for route in &models {
            env.extend(route.variables(&address(route.provider()), token));
        }
        env.extend(policy.tool.variable(models.into_iter(), address, token));
        if self.live.telemetry.get().is_some() {
            env.extend(telemetry::variables(&here, token));
        }
        if !rewrites.is_empty() {
            let mut set = |name: String, value: String| env.push((name, value));
            set("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned());
            set("GIT_CONFIG_COUNT".to_owned(), rewrites.len().to_string());
            for (number, (key, value)) in rewrites.into_iter().enumerate() {
                set(format!("GIT_CONFIG_KEY_{number}"), key);
                set(format!("GIT_CONFIG_VALUE_{number}"), value);
            }
        }
        env
    }

    /// From now on nothing else may be pushed. The first rule stays.
    pub fn limit_pushes(&self, rule: PushRule) {
        let _ = self.live.pushes.set(rule);
    }

    /// Has this take what the exporters of the process send, which its environment leads here. The first one stays.
    pub fn receive_telemetry(&self, receiver: Arc<dyn TelemetryReceiver>) {
        let _ = self.live.telemetry.set(receiver);
    }

    /// Waits for the next refusal. Each destination comes once. Cancel-safe.
    pub fn next_refusal(&self) -> impl Future<Output = Refusal> + Send + '_ {
        self.live.refusals.next()
    }

    /// Waits for the next connection about which a person is to be asked. Cancel-safe.
    pub fn next_question(&self) -> impl Future<Output = HostQuestion> + Send + '_ {
        self.live.questions.next()
    }

    /// What the responses of models through this credential have cost so far, in tokens.
    pub fn tokens(&self) -> Counted {
        *self.live.counted.lock()
    }

    /// Why the last request to a model was refused, if it was and this is asked for the first time.
    pub fn take_refusal(&self) -> Option<ModelRefusal> {
        self.live.counted.lock().refusal.take()
    }
}

impl Drop for EgressCredential {
    fn drop(&mut self) {
        self.core.credentials().remove(&digest(&self.live.token));
        self.live.end.cancel();
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Egress")
            .field("inner", &self.0.inner)
            .field("connections", &self.0.connections)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EgressCredential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EgressCredential")
            .field("policy", &self.live.policy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

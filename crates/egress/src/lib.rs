//! The way out of an isolated session: a proxy that lets through what its agent may reach, and puts in
//! the credentials that no session is given.
//!
//! # How it works
//!
//! A session that has no network of its own is given one address, 127.0.0.1 and a port, and a [`Pass`].
//! Behind the port either the session's own listener is served ([`Pass::serve`]), made inside its network
//! namespace, where whoever connects is this session; or the one that all sessions of the host share
//! ([`Egress::listen`]), where each request carries the token of its pass. There are three kinds of
//! requests: `CONNECT host:port` and `GET http://host/` are compared with the rules of the [`Policy`];
//! `/model/NAME/` and `/git/HOST/` lead by a route to a fixed upstream, with a credential of the operator's
//! in the place of the session's token. What is refused is told to the session, and to whoever reads
//! [`Pass::refused`].
//!
//! A connection takes one request. From its first byte to the end of its answer it holds a place
//! (`places.rs`), which bounds what the connections of all sessions take in memory; a tunnel holds no bytes,
//! so it needs none.
//!
//! Each session has connections of its own to upstreams, and a request has a body only where its method has one:
//! no upstream that loses count of requests can give one session the answer to another.
//!
//! A name is resolved here, all of its addresses are judged by `guard.rs`, and the connection goes to one
//! that was judged.
//!
//! # Pitfalls
//!
//! A list of domains does not stop whoever wants to carry data out: any host on it that stores what it is
//! sent is a way (`docs/egress.md`).

mod door;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod git;
pub mod guard;
mod model;
mod places;
mod policy;
mod provider;
mod proxy;
mod reach;
mod refusal;
mod route;
mod tools;
mod tunnel;
mod upstream;
mod usage;

pub use git::{BadGitRoute, GitRoute};
pub use policy::{BadRule, HostRule, Policy};
pub use provider::Kind;
pub use refusal::{Reason, Refusal};
pub use route::{BadVariable, ModelRoute, Route, take_keys};
pub use tools::{BadConfiguration, Tool};
pub use upstream::LOOKUPS as LOOKUPS_OF_UPSTREAMS;
pub use usage::Counted;

use crate::guard::Lookup;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use door::{Door, Lobby};
use ipnet::IpNet;
use parking_lot::{Mutex, MutexGuard};
use places::{Pool, Share};
use refusal::Refusals;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Weak};
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
    places: Pool,
    lookup: Arc<dyn Lookup>,
    passes: Mutex<HashMap<Digested, Weak<Live>>>,
    upstreams: Arc<upstream::Common>,
    times: Times,
    tasks: TaskTracker,
    lobby: Lobby,
    end: CancellationToken,
    _ends: DropGuard,
}

/// Tokens are looked up by what nobody can choose.
type Digested = [u8; 32];

/// How long what may take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Resolving a name and connecting.
    pub connect: Duration,
    /// Without a byte, in a tunnel or from an upstream: a model may think for minutes.
    pub idle: Duration,
    /// From a connection to its first byte, and from there to the end of its request's head.
    pub head: Duration,
}

/// How much there may be at a time.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections of one pass.
    pub connections: usize,
    /// Requests of one pass for which there is always a place.
    pub own_requests: usize,
    /// Further requests, of all passes together.
    pub requests: usize,
}

/// What all connections of a pass share.
struct Live {
    token: String,
    policy: Arc<Policy>,
    connections: Arc<Semaphore>,
    places: Share,
    upstream: Upstream,
    refusals: Refusals,
    counted: Arc<Mutex<Counted>>,
    end: CancellationToken,
}

/// The permission of one process of a session. When it is dropped its token is void, its connections end
/// and its listener closes.
pub struct Pass {
    core: Arc<Core>,
    live: Arc<Live>,
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
    /// An egress that leads into these inner networks alone.
    pub fn new(inner: Vec<IpNet>, bounds: Bounds, lookup: Arc<dyn Lookup>, times: Times) -> Self {
        let end = CancellationToken::new();
        Self(Arc::new(Core {
            inner,
            connections: bounds.connections.clamp(1, Semaphore::MAX_PERMITS),
            places: Pool::new(bounds.own_requests, bounds.requests),
            lookup,
            passes: Mutex::default(),
            upstreams: Arc::default(),
            times,
            tasks: TaskTracker::new(),
            lobby: Lobby::default(),
            _ends: end.clone().drop_guard(),
            end,
        }))
    }

    /// Listens on a free port of loopback for all sessions whose network is the host's; returns the port.
    /// It ends with `stop`, or with the last clone of this.
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
                let door = Arc::new(Door::shared(core.clone(), port));
                core.lobby.enter(&door);
                let stop = stop.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = door.attend(accepted) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        });
        Ok(port)
    }

    /// A pass for one process of a session.
    ///
    /// # Panics
    ///
    /// When the system has no random bytes: nothing may be let out then.
    pub fn pass(&self, policy: Arc<Policy>) -> Pass {
        let mut random = [0; 32];
        getrandom::fill(&mut random).expect("the system gives random bytes");
        let token = format!("ph_{}", BASE64_URL_SAFE_NO_PAD.encode(random));
        let key = digest(&token);
        let Times { connect, idle, .. } = self.0.times;
        let live = Arc::new(Live {
            token,
            policy,
            connections: Arc::new(Semaphore::new(self.0.connections)),
            places: self.0.places.share(),
            upstream: Upstream::new(connect, idle, self.0.upstreams.clone()),
            refusals: Refusals::default(),
            counted: Arc::default(),
            end: CancellationToken::new(),
        });
        self.0.passes().insert(key, Arc::downgrade(&live));
        Pass { core: self.0.clone(), live }
    }

    /// When no task of any pass is left.
    pub async fn ended(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Core {
    fn passes(&self) -> MutexGuard<'_, HashMap<Digested, Weak<Live>>> {
        self.passes.lock()
    }

    /// The pass of a token, while it is valid.
    fn find(&self, token: &str) -> Option<Arc<Live>> {
        let live = self.passes().get(&digest(token)).and_then(Weak::upgrade)?;
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

impl Pass {
    /// The token: what stands inside for every credential.
    pub fn token(&self) -> &str {
        &self.live.token
    }

    /// Serves a listener that only this session can connect to.
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
                    let door = Door::own(core.clone(), port, live.clone(), permit);
                    core.tasks.spawn(Arc::new(door).attend(socket));
                }
            };
            tokio::select! {
                () = accepting => {}
                () = end.cancelled() => {}
            }
        });
    }

    /// What a process needs in its environment to get out by this port of 127.0.0.1. The variables
    /// replace any of the same name.
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

    /// The next refusal. Each destination is told once; nothing is lost when the caller stops waiting.
    pub fn refused(&self) -> impl Future<Output = Refusal> + Send + '_ {
        self.live.refusals.next()
    }

    /// The tokens that answers of models through this pass have cost so far.
    pub fn tokens(&self) -> Counted {
        *self.live.counted.lock()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.core.passes().remove(&digest(&self.live.token));
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

impl fmt::Debug for Pass {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pass").field("policy", &self.live.policy).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

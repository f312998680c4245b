//! From configuration to a running server: everything that can fail happens in [`App::build`], before
//! the first request; [`App::spawn`] cannot fail.

mod demo_alone;
mod notes;
mod workspaces;
use crate::access::{Access, Token, new_link};
use crate::agent::{self, Agent, Agents};
use crate::allocator;
use crate::asks::Asks;
use crate::budget::Budgets;
use crate::config::{self, Config, ConfigSource, Loaded, Record};
use crate::descriptors;
use crate::limited::LimitedAccounts;
use crate::push::{Links, Push};
use crate::repository::MirrorError;
pub use crate::server::SetLogFilter;
use crate::server::{self, Answers, Bodies, Cards, Doors, Reloading, ServerTls, TlsError};
use crate::service::Service;
use crate::session::SessionDeps;
use crate::signing;
use crate::store::{self, Claim, Store};
use crate::sweep::Sweep;
use crate::task::Tasks;
use crate::telemetry::{Notice, Telemetry};
pub use notes::{describe_certificate, find_notes};
use parking_lot::RwLock;
use pilothouse_egress::guard;
use pilothouse_egress::{BadVariable, Egress, EgressBounds, Network, Times};
use pilothouse_sandbox::isolation::{self, BackendKind, Isolation, Kernel, When};
use pilothouse_sandbox::process::Launcher;
use pilothouse_sandbox::workspace;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
pub use workspaces::{WORKSPACES_NOTE, WorkspaceRoot, find_workspace_roots};

/// Why the server cannot start. Each says who can do what about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent.
    #[error(transparent)]
    Agent(#[from] agent::Error),
    /// The key of the cards.
    #[error(transparent)]
    Signing(#[from] signing::Error),
    /// The certificates of the server.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The wall.
    #[error(transparent)]
    Isolation(#[from] isolation::Error),
    /// The network that the server is in.
    #[error(transparent)]
    Network(#[from] BadVariable),
    /// Files of the server's own that agents could make.
    #[error(
        "cannot remember in {path} which files of the server's own are missing in folders where agents work: {source}; \
         name another state folder by `--state-dir` or PILOTHOUSE_STATE_DIR"
    )]
    Record {
        /// Where that would be.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The folders.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// The repository that the sessions of an agent begin as clones of.
    #[error("agent `{agent}`: {source}; {}", source.hint())]
    Repository {
        /// The agent.
        agent: String,
        /// Why not.
        source: MirrorError,
    },
    /// The address.
    #[error("cannot listen on {address}: {source}; {advice}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// Something of the system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// How long what waits for standard error may take at the end.
const TELEMETRY_PATIENCE: Duration = Duration::from_secs(2);

/// A server that could start.
pub struct App {
    listener: TcpListener,
    doors: Arc<Doors>,
    noticed: mpsc::Receiver<Notice>,
    stop: CancellationToken,
    /// Where it listens.
    pub address: SocketAddr,
    /// The bearer token and how it came about; none without authentication.
    pub token: Option<Token>,
    /// Why the default agent was chosen, where no one named it.
    pub reason: Option<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// A server that runs.
pub struct Running {
    doors: Arc<Doors>,
    stop: CancellationToken,
    background: TaskTracker,
}

impl App {
    /// Opens, checks and finds everything.
    pub async fn build(mut loaded: Loaded, source: ConfigSource) -> Result<Self, Error> {
        let started = loaded.config.clone();
        let launcher = Launcher::start().map_err(|source| Error::System {
            what: "cannot start the launcher of agents",
            source,
        })?;
        // The launcher is there already, so agents keep the limit that they would have without us.
        descriptors::raise().map_err(|source| Error::System {
            what: "cannot raise the limit of open descriptors",
            source,
        })?;
        let lowered = descriptors::fit(&mut loaded.config, descriptors::hard_limit());
        loaded.notes.extend(lowered);
        let actors = TaskTracker::new();
        // The kernel answers while the agents are looked up.
        let asked = launcher.clone();
        let asked = actors.spawn(async move { Kernel::ask(&asked).await });
        let mut agents = Arc::new(Agents::resolve(&loaded, &source.cwd)?);
        let mut config = Arc::new(loaded.config.clone());
        let mut reason = agents.default_one().reason.clone();
        let mut notes = std::mem::take(&mut loaded.notes);
        notes.extend(agents.iter().flat_map(|agent| agent.notes.iter().cloned()));
        let cards = Cards::new(&config)?;
        let tls = ServerTls::load(&config.server.tls)?;
        // The port is taken first: a second server on it must not even open the store.
        let listener = listen(&config).await?;
        let address = listener
            .local_addr()
            .map_err(|source| Error::System { what: "cannot read the address", source })?;
        let holder = format!("process {} on {address}", std::process::id());
        let claim = Claim::new(&config, &holder)?;
        for agent in agents.iter() {
            agent.workspaces.check()?;
            prepare_mirror(agent, &launcher).await?;
        }
        let stop = CancellationToken::new();
        for key in agents.iter().filter_map(|agent| agent.latest_env().reach.key.clone()) {
            key.bind(&launcher, &actors, &stop);
        }
        let network = Network::of(&loaded.agent_environment)?;
        notes.extend(find_notes(&config, &agents, &network, &source.cwd));
        let egress = way_out(&config, network, &agents);
        let door = stop.child_token();
        let port = match config.isolation.backend {
            BackendKind::None => 0,
            _ => egress.listen(&actors, door.clone()).await.map_err(|source| Error::System {
                what: "cannot listen on loopback for the requests of agents",
                source,
            })?,
        };
        let failed = |what| move |source: JoinError| Error::System { what, source: source.into() };
        let kernel =
            asked.await.map_err(failed("cannot ask the kernel what it offers for a sandbox"))?;
        // The store is opened while the sandbox is attacked.
        let opening = config.clone();
        let opening = actors.spawn_blocking(move || claim.open(&opening));
        let settings = config.sandbox();
        let choosing = async {
            let (needs, trusted) = (agents.needs(), agents.trusted(&loaded.agent_environment));
            isolation::choose(&settings, &launcher, kernel, &needs, &trusted, port, When::Start)
                .await
        };
        let (opened, chosen) = tokio::join!(opening, choosing);
        let store = opened.map_err(failed("cannot open the store"))??;
        notes.extend(store.note());
        let isolation = match chosen {
            Ok(isolation) => isolation,
            Err(error) if demo_alone::may_replace(&loaded, &agents) => {
                let place = (&launcher, kernel);
                let replaced = demo_alone::replace(&mut loaded, place, &source.cwd, &error).await?;
                (config, agents) = (Arc::new(loaded.config.clone()), replaced.agents);
                reason = Some(replaced.reason);
                replaced.isolation
            }
            Err(error) => return Err(error.into()),
        };
        let Loaded { record, named, .. } = &loaded;
        remember_missing(record.as_ref(), &agents, named)?;
        if isolation.proxy_port() != port {
            // Sessions have listeners of their own; nobody comes by this one.
            door.cancel();
        }
        for agent in agents.iter() {
            agent.check_sandbox(&isolation)?;
            notes.extend(agent.sandbox_note(&isolation));
            notes.extend(isolation.note(&agent.key));
        }
        // A target that is slow has its notifications wait with those that are on their way.
        let (notices, noticed) = mpsc::channel(config.notifications.pending.max(1));
        let notices = Some(notices).filter(|_| !config.notifications.targets.is_empty());
        let telemetry = Telemetry::new(&config, notices)
            .map_err(|source| Error::System { what: "cannot open a log", source })?;
        notes.extend(export_spans(&telemetry, &loaded, &store).err());
        let in_memory = config.store.path == Path::new("memory");
        let token_file = config.state_dir.join("token");
        let token = find_token(&config, (!in_memory).then_some(&*token_file))?;
        let (doors_stop, draining) = (CancellationToken::new(), CancellationToken::new());
        let deps = SessionDeps {
            tasks: Tasks::new(store.clone()),
            asks: Asks::load(&store, &config).await?,
            budgets: Budgets::new(&config, store.clone()),
            limited: LimitedAccounts::load(&config.state_dir, |key| {
                agents.get(key).map(|agent| agent.account())
            }),
            store: store.clone(),
            launcher,
            isolation: isolation.clone(),
            egress,
            agents: agents.clone(),
            telemetry: telemetry.clone(),
            actors,
            stop: stop.clone(),
            config: config.clone(),
        };
        for agent in agents.iter() {
            if let Some(text) = store.inventory(&agent.key).await?
                && let Ok(known) = serde_json::from_str(&text)
            {
                agent.offers.restore(known);
            }
            notes.extend(agent.version_note());
            notes.extend(agent.offer_notes());
        }
        notes.extend(deps.budgets.notes(agents.iter().map(|agent| &*agent.key)));
        let push = Push::new(&config, store.clone(), deps.tasks.clone(), stop.clone());
        let service = Arc::new(Service::new(deps, push.clone(), draining.clone()));
        let (failed, resumed) = service.recover().await?;
        if failed + resumed > 0 {
            notes.insert(0, format!("after the last end: {failed} running tasks were marked as failed, {resumed} waiting tasks go on"));
        }
        let secret = token.as_ref().map_or("", Token::secret);
        let kept = if in_memory { Err(secret.to_owned()) } else { Ok(token_file) };
        let access = Access::new(&config, secret, &store.tokens().await?);
        push.resume(&access).await?;
        notes.extend(access.weak_note());
        notes.extend(Cards::note_plain_http(&config));
        notes.extend(tls.as_ref().and_then(ServerTls::note));
        let doors = Doors {
            bodies: Bodies::new(config.limits.bodies.as_usize()),
            answers: Answers::new(&config, doors_stop.clone()),
            openapi: OnceLock::new(),
            live: OnceLock::new(),
            config,
            access,
            cards: RwLock::new(Arc::new(cards)),
            reloading: Reloading::new(source, kept, started),
            agents,
            service,
            store,
            isolation,
            telemetry,
            draining,
            stop: doors_stop,
            operations: TaskTracker::new(),
            tls,
            address,
            store_probed: tokio::sync::Mutex::default(),
        };
        let doors = Arc::new(doors);
        Ok(Self { listener, doors, noticed, stop, address, token, reason, notes })
    }

    /// Has this set what the log shows, when the configuration is read again.
    pub fn set_log_by(&self, set: SetLogFilter) {
        self.doors.reloading.set_log_by(set);
    }

    /// The agents that are served.
    pub fn agents(&self) -> &Agents {
        &self.doors.agents
    }

    /// The address that it is reached at, without a path.
    pub fn url(&self) -> String {
        format!("{}://{}", self.doors.config.server.tls.scheme(), self.address)
    }

    /// What it was started with.
    pub fn config(&self) -> &Config {
        &self.doors.config
    }

    /// The sandbox of its agents.
    pub fn isolation(&self) -> &Isolation {
        &self.doors.isolation
    }

    /// Starts to serve.
    pub fn spawn(self) -> Running {
        let Self { listener, doors, noticed, stop, .. } = self;
        let config = &doors.config;
        doors.leave_word();
        workspaces::note_workspace_roots(config);
        let (service, sessions) = (doors.service.clone(), doors.service.sessions().clone());
        // Before anything new is made.
        let (agents, store) = (doors.agents.clone(), doors.store.clone());
        let sweep = Sweep::new(config.clone(), agents, store, sessions.clone(), stop.clone());
        let background = TaskTracker::new();
        let (doors_stop, patience) = (doors.stop.clone(), config.timeouts.shutdown.get());
        background.spawn(server::serve(listener, doors.clone(), doors_stop, patience));
        sessions.build_setups();
        let asking = sessions.clone();
        background.spawn(async move { asking.ask_clis().await });
        background.spawn(async move { sessions.keep_warm().await });
        background.spawn(async move { service.expire_asks().await });
        background.spawn(sweep.run());
        if let Some(oidc) = doors.access.oidc() {
            background.spawn(oidc.clone().run(stop.clone()));
        }
        let base = config.server.public_url.as_deref().unwrap_or_default();
        let links = Links { base: base.trim_end_matches('/').to_owned(), make: new_link };
        let push = doors.service.push().clone();
        background.spawn(push.notify(config.notifications.clone(), links, noticed));
        background
            .spawn(stop.clone().run_until_cancelled_owned(allocator::give_back_now_and_then()));
        background.close();
        allocator::give_up_code();
        Running { doors, stop, background }
    }
}

/// Makes the folder of the mirror that an agent's sessions read, and looks at the repository.
async fn prepare_mirror(agent: &Agent, launcher: &Launcher) -> Result<(), Error> {
    let Some(source) = &agent.clone_source else { return Ok(()) };
    let what = "cannot make the mirror of a repository in the state folder";
    source.mirror.prepare().map_err(|source| Error::System { what, source })?;
    let failed = |source| Error::Repository { agent: agent.key.to_string(), source };
    source.check(launcher).await.map_err(failed)
}

impl Running {
    /// Reads the configuration again; what came of it, in words.
    pub async fn reload(&self) -> String {
        match self.doors.reload().await {
            Ok(reloaded) => reloaded.to_string(),
            Err(error) => format!("the configuration in force stays: {error}"),
        }
    }

    /// Waits until a drain has come to its end: it was asked for, and no turn runs any more or its time is over.
    pub async fn drained(&self) {
        self.doors.draining.cancelled().await;
        let patience = self.doors.config.timeouts.drain.get();
        let quiet = self.doors.service.sessions().until_quiet();
        let _ = tokio::time::timeout(patience, quiet).await;
    }

    /// Stops accepting, ends turns, lets streams write their last event, closes the store. Returns
    /// whether all of it was done within the time allowed.
    pub async fn shut_down(self) -> bool {
        let Self { doors, stop, background } = self;
        let Doors { config, service, operations, store, telemetry, .. } = &*doors;
        let flush = config.telemetry.flush.get();
        doors.stop.cancel();
        stop.cancel();
        operations.close();
        let in_time = tokio::time::timeout(config.timeouts.shutdown.get(), async {
            operations.wait().await;
            service.sessions().closed().await;
            background.wait().await;
            // What the last connections had begun.
            operations.wait().await;
            service.push().closed().await;
        })
        .await
        .is_ok();
        doors.remove_word();
        // They are read from the store.
        telemetry.flush_spans(flush).await;
        store.close().await;
        // A reader of standard error that has stopped does not keep the server.
        let _ = tokio::time::timeout(TELEMETRY_PATIENCE, telemetry.close()).await;
        in_time
    }
}

/// Sends spans to a collector, where the environment of the server names one.
fn export_spans(telemetry: &Telemetry, loaded: &Loaded, store: &Store) -> Result<(), String> {
    match config::Exporter::read(&loaded.agent_environment)? {
        Some(exporter) => telemetry.export(&loaded.config, exporter, store.clone()),
        None => Ok(()),
    }
}

/// The bearer token, where one is asked for; `file` keeps one that is made.
fn find_token(config: &Config, file: Option<&Path>) -> Result<Option<Token>, Error> {
    let what = "cannot keep the token in the state folder";
    let find = || Token::find(config.auth.token.as_deref(), file);
    let token = config.auth.required.then(find).transpose();
    token.map_err(|source| Error::System { what, source })
}

/// Writes down which files of the server's own agents could make, before the first of them starts: if one is there
/// at a later start, nobody knows who made it.
fn remember_missing(
    record: Option<&Record>,
    agents: &Agents,
    named: &[PathBuf],
) -> Result<(), Error> {
    let missing: Vec<PathBuf> =
        agents.iter().flat_map(|agent| agent.missing.iter().cloned()).collect();
    let failed = |path: String| move |source| Error::Record { path, source };
    match record {
        None if missing.is_empty() => Ok(()),
        None => Err(failed("the state folder".to_owned())(io::ErrorKind::NotFound.into())),
        Some(record) => {
            record.update(&missing, named).map_err(failed(record.path().display().to_string()))
        }
    }
}

/// The proxy of all agents.
fn way_out(config: &Config, network: Network, agents: &Arc<Agents>) -> Egress {
    let inner = config.egress.inner.iter();
    let inner = inner.filter_map(|text| config::network(text)).collect();
    let names = config.processes.max.max(1);
    let times = Times { head: config.timeouts.header.get(), ..Times::default() };
    let bounds = EgressBounds {
        connections: config.egress.connections,
        own_requests: config.egress.own_requests,
        requests: config.egress.requests,
        asking: config.egress.asking,
        ask_wait: config.egress.ask_wait.get(),
    };
    let lookup = Arc::new(guard::System::new(names));
    let egress = Egress::new(inner, bounds, lookup, network, times);
    egress.watch_keys(agents.clone());
    egress
}

/// Takes the address; a taken port gets a sentence of its own.
async fn listen(config: &Config) -> Result<TcpListener, Error> {
    let address = format!("{}:{}", bracketed(&config.server.host), config.server.port);
    bind(&address, config.limits.connections).await.map_err(|source| {
        let advice = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "stop what listens there, or choose another port with --port"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 are the system's; choose another with --port"
            }
            _ => "set `server.host` and `server.port` to an address of this machine",
        };
        Error::Listen { address, source, advice }
    })
}

/// Listens with room for as many callers at once as there may be connections.
async fn bind(address: &str, connections: usize) -> io::Result<TcpListener> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        let backlog = u32::try_from(connections).unwrap_or(u32::MAX);
        match socket.bind(address).and_then(|()| socket.listen(backlog)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

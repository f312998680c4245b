//! A container for each session, made by Docker or Podman and kept warm between its turns.
//!
//! # How it works
//!
//! The first process of a container is our launcher. It connects to a socket in a folder that is mounted into
//! the container, and takes its orders there as the launcher beside the server does: one byte and four
//! descriptors. So pipes, control sockets and supervisors are the same inside as outside, no command of the
//! engine is needed for a further process, and nothing secret stands in the engine's arguments. Once it has
//! connected, socket and folder are removed: there is one line into the container, and it is the server's.
//! When the server is gone that line ends, the launcher with it, and with the first process all others.
//!
//! Within the container each process puts up the same inner sandbox as under bubblewrap; the container has a
//! network with nothing in it, and the listener that leads to our proxy is made there and handed out.
//!
//! # Pitfalls
//!
//! Podman's monitor of a container is below its client, so below our supervisor. When the server is killed
//! the supervisor ends it, and Podman's own record of the container stays until the next start removes it.

use super::covers::{Blank, write_readable};
use super::filter::{Connecting, Network, filter};
use super::kernel::Kernel;
use super::sandbox::{Place, Rules, Sandbox};
use super::users::{Identity, Users};
use super::{Around, Backend, Grants, INSIDE_PORT, Pending, Places};
use crate::config::{self, BackendKind, Config, SessionLimits};
use crate::process::{Ended, Error, Launcher, Process, tree};
use crate::supervisor::{
    Confined, ENTER, FIRST_ALONG, Inner, LAUNCHER_PROGRAM, OWN_PROGRAM, PROGRAM, SERVE, Spec, Word,
};
use crate::workspace::{Folder, Workspaces, remove_folder};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where an agent finds its workspace, as under bubblewrap.
const WORKSPACE: &str = super::bubblewrap::WORKSPACE;
/// Where it finds its HOME.
const HOME: &str = super::bubblewrap::HOME;
/// Where the launcher and its socket are in a container.
const DOOR: &str = "/run/pilothouse";
/// The name of the socket, and of the launcher beside it.
const SOCKET: &str = "s";
const LAUNCHER: &str = "launcher";
/// Files of `/etc` inside that lie beside them.
const PASSWD: &str = "passwd";
const GROUP: &str = "group";
/// The file of `/etc` inside that names no name server.
const RESOLVER: &str = "resolv.conf";

/// The label by which containers are found; its value is the state folder of their server.
const LABEL: &str = "pilothouse.state";

/// How long a container may take to begin.
const BEGINNING: Duration = Duration::from_secs(60);
/// How long it may take to end, before it is removed by force.
const ENDING: Duration = Duration::from_secs(10);
/// Between two looks for containers that have begun while all are ended.
const LOOK: Duration = Duration::from_millis(50);
/// How long any other command of an engine may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Variables of the server's environment that its engine's client needs, and nothing else does.
const CLIENT: [&str; 11] = [
    "PATH",
    "HOME",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
];

/// Where an engine's client is looked for beside PATH.
const USUAL: &str = "/usr/local/bin:/usr/bin:/bin";

/// What is around every session.
pub(super) struct Containers {
    engine: Arc<Engine>,
    image: String,
    runtime: Option<String>,
    /// What the image sets for every process.
    env: Vec<(String, String)>,
    limits: SessionLimits,
    state: String,
    /// Where sockets are put for a moment, and a few files.
    folder: PathBuf,
    blank: Blank,
    users: Users,
    keeping: Arc<Keeping>,
    /// The version of Landlock inside, once a container was there to ask in.
    landlock: OnceLock<u32>,
}

/// A client of an engine.
struct Engine {
    kind: config::Engine,
    program: PathBuf,
    env: Vec<(String, String)>,
    users: UserMap,
}

/// Who a user inside of a container is outside.
#[derive(Debug, Clone, Copy)]
enum UserMap {
    /// The one of the same number.
    Same,
    /// The same, by this value of `--userns`.
    Namespace(&'static str),
    /// Root is whoever runs the engine, with no more rights than that.
    Engine,
}

impl UserMap {
    /// The user inside who is this one outside.
    fn inside(self, user: u32, group: u32) -> (u32, u32) {
        match self {
            Self::Same | Self::Namespace(_) => (user, group),
            Self::Engine => (0, 0),
        }
    }
}

/// The containers that there are.
struct Keeping {
    /// By the HOME of their session.
    map: Mutex<HashMap<String, Arc<Container>>>,
    places: Arc<Semaphore>,
    /// Sessions that wait for a place.
    waiting: AtomicUsize,
    idle: Duration,
    keepers: TaskTracker,
}

/// One container.
struct Container {
    launcher: Launcher,
    used: watch::Sender<Use>,
    /// Cancelled when it shall end: also when it is not known that all of a process's tree has, as when an
    /// agent has found a way to end its supervisor.
    end: CancellationToken,
    /// The user of its processes, where that is not the server's.
    user: Option<u32>,
}

/// How it is used.
#[derive(Debug, Clone, Copy)]
struct Use {
    /// Processes that were started in it and are held by somebody.
    inhabitants: usize,
    since: Instant,
}

/// A place in a container for one process; the container stays at least as long as this.
pub struct Room(Arc<Container>);

impl Room {
    /// What starts processes there.
    pub fn launcher(&self) -> &Launcher {
        &self.0.launcher
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.used.send_modify(|used| {
            used.inhabitants -= 1;
            used.since = Instant::now();
        });
    }
}

impl Container {
    fn enter(self: &Arc<Self>) -> Room {
        self.used.send_modify(|used| used.inhabitants += 1);
        Room(self.clone())
    }

    /// Since when nobody uses it.
    fn idle_since(&self) -> Option<Instant> {
        let used = *self.used.borrow();
        (used.inhabitants == 0).then_some(used.since)
    }
}

// === the engine ===

impl Engine {
    /// The engine that is configured, or the first that has the image.
    async fn find(
        config: &config::Container,
        image: &str,
        environment: &BTreeMap<String, String>,
        host: &Launcher,
    ) -> Result<(Self, Vec<(String, String)>), String> {
        let kinds: &[config::Engine] = match config.engine {
            config::Engine::Auto => &[config::Engine::Podman, config::Engine::Docker],
            config::Engine::Docker => &[config::Engine::Docker],
            config::Engine::Podman => &[config::Engine::Podman],
        };
        let mut causes = Vec::new();
        for &kind in kinds {
            match Self::with(kind, image, environment, host).await {
                Ok(found) => return Ok(found),
                Err(cause) => causes.push(cause),
            }
        }
        Err(causes.join("; "))
    }

    async fn with(
        kind: config::Engine,
        image: &str,
        environment: &BTreeMap<String, String>,
        host: &Launcher,
    ) -> Result<(Self, Vec<(String, String)>), String> {
        let name = name_of(kind);
        let path = environment.get("PATH").map_or("", String::as_str);
        let program = std::env::split_paths(path)
            .chain(std::env::split_paths(USUAL))
            .map(|folder| folder.join(name))
            .find(|candidate| candidate.is_absolute() && candidate.is_file())
            .ok_or_else(|| format!("the program `{name}` is not there; install it"))?;
        let mut env: Vec<(String, String)> = Vec::new();
        for one in CLIENT {
            if let Some(value) = environment.get(one) {
                env.push((one.to_owned(), value.clone()));
            }
        }
        if let (config::Engine::Docker, Some(address)) = (kind, environment.get("DOCKER_HOST"))
            && !address.starts_with("unix://")
        {
            return Err(format!(
                "`docker` is told by DOCKER_HOST ({address}) to use an engine that may be on another machine; a \
                 session's folders and its socket must be on this one"
            ));
        }
        let mut engine = Self { kind, program, env, users: UserMap::Same };
        let format = "{{json .Config.Env}}";
        let asked = ["image", "inspect", "--format", format, image];
        let told = engine.says(host, &asked).await.map_err(|words| {
            let lower = words.to_lowercase();
            if lower.contains("no such image") || lower.contains("image not known") {
                format!(
                    "{name} does not have the image `{image}`, and none is fetched while a caller waits: get it with \
                     `{name} pull {image}`, or build it, or correct `isolation.container.image`"
                )
            } else {
                format!("`{name} image inspect {image}` said: {words}")
            }
        })?;
        engine.users = engine.user_map(host).await?;
        Ok((engine, variables(&told)))
    }

    async fn user_map(&self, host: &Launcher) -> Result<UserMap, String> {
        match self.kind {
            config::Engine::Podman if is_root() => Ok(UserMap::Same),
            config::Engine::Podman => Ok(UserMap::Namespace("keep-id")),
            config::Engine::Docker | config::Engine::Auto => {
                let asked = ["info", "--format", "{{json .SecurityOptions}}"];
                let told = self.says(host, &asked).await;
                let told = told.map_err(|words| format!("`docker info` said: {words}"))?;
                Ok(if told.contains("name=rootless") {
                    UserMap::Engine
                } else if told.contains("name=userns") {
                    UserMap::Namespace("host")
                } else {
                    UserMap::Same
                })
            }
        }
    }

    fn spec(&self, args: Vec<String>) -> Spec {
        Spec {
            program: self.program.to_string_lossy().into_owned(),
            args,
            env: self.env.clone(),
            cwd: "/".to_owned(),
        }
    }

    /// What a command prints, or why it failed.
    async fn says(&self, host: &Launcher, args: &[&str]) -> Result<String, String> {
        let args = args.iter().map(|&word| word.to_owned()).collect();
        let heard = async {
            let started = host.spawn(&Confined::from(self.spec(args))).await;
            let mut process = started.map_err(|error| error.to_string())?;
            process.stdin = None;
            let printed = process.printed().await;
            match process.control.ended().await {
                Ended::Code(0) => Ok(printed),
                Ended::Code(_) | Ended::Signal(_) | Ended::Unclear => {
                    Err(process.last_words().await)
                }
            }
        };
        match tokio::time::timeout(ANSWER, heard).await {
            Ok(said) => said,
            Err(_) => Err(format!("nothing within {} s", ANSWER.as_secs())),
        }
    }

    /// Removes containers, whatever they do.
    async fn remove(&self, host: &Launcher, names: &[String]) {
        let mut args = vec!["rm", "-f"];
        args.extend(names.iter().map(String::as_str));
        if let Err(words) = self.says(host, &args).await {
            tracing::warn!("containers {} could not be removed: {words}", names.join(", "));
        }
    }

    /// Removes what servers that were killed have left of this state folder.
    async fn sweep(&self, host: &Launcher, state: &str) {
        let label = format!("label={LABEL}={state}");
        let asked = ["ps", "-a", "--filter", &label, "--format", "{{.Names}}"];
        let names = self.says(host, &asked).await.unwrap_or_default();
        let left: Vec<String> = names
            .split_whitespace()
            .filter(|name| !is_served(name))
            .map(ToOwned::to_owned)
            .collect();
        if !left.is_empty() {
            tracing::info!("removing containers of a server that was killed: {}", left.join(", "));
            self.remove(host, &left).await;
        }
    }
}

const fn name_of(kind: config::Engine) -> &'static str {
    match kind {
        config::Engine::Podman => "podman",
        config::Engine::Docker | config::Engine::Auto => "docker",
    }
}

/// The variables that an image sets, as the engine prints them.
fn variables(json: &str) -> Vec<(String, String)> {
    let list: Option<Vec<String>> = serde_json::from_str(json.trim()).unwrap_or_default();
    let split = |text: String| {
        let (name, value) = text.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    list.unwrap_or_default().into_iter().filter_map(split).collect()
}

/// A name that tells which server a container is of: its process and when that began.
fn new_name() -> String {
    let pid = std::process::id().cast_signed();
    let began = tree::began(pid).unwrap_or_default();
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("pilothouse-{pid}-{began}-{}", &id[..12])
}

/// Whether the server that a container is named after still runs.
fn is_served(name: &str) -> bool {
    let mut parts = name.split('-').skip(1);
    let mut number = || parts.next()?.parse::<i64>().ok();
    let (Some(pid), Some(began)) = (number(), number()) else {
        return false;
    };
    i32::try_from(pid).is_ok_and(|pid| tree::began(pid) == Some(began))
}

// === the folder of a container, for a moment ===

/// A folder that is removed when dropped. What is mounted of it stays where it is mounted.
struct Moment(PathBuf);

impl Moment {
    fn new(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(folder)?;
        let made = Self(folder.to_owned());
        let mut options = File::options();
        let launcher = options.write(true).create_new(true).mode(0o500);
        launcher.open(folder.join(LAUNCHER))?.write_all(PROGRAM)?;
        Ok(made)
    }

    /// Writes what programs inside ask for: who this user is.
    fn introduce(&self, user: u32, group: u32) -> io::Result<()> {
        let passwd = format!(
            "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:{user}:{group}:agent:{HOME}:/bin/sh\n\
             nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        );
        write_readable(&self.0.join(PASSWD), &passwd)?;
        let groups = format!("root:x:0:\nagent:x:{group}:\nnogroup:x:65534:\n");
        write_readable(&self.0.join(GROUP), &groups)
    }

    fn listen(&self) -> io::Result<UnixListener> {
        // By way of the descriptor, because the path of a socket must be short and this one may not be.
        let folder = File::open(&self.0)?;
        UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
    }

    /// Gives what the launcher inside uses to its user.
    fn give(&self, user: u32) -> io::Result<()> {
        for path in [self.0.join(LAUNCHER), self.0.join(SOCKET), self.0.clone()] {
            chown(path, Some(user), Some(user))?;
        }
        Ok(())
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        let _ = remove_folder(&self.0);
    }
}

// === all containers ===

impl Containers {
    /// With the engine and the image of the configuration.
    ///
    /// # Errors
    ///
    /// What the operator must set, install or fetch.
    pub(super) async fn new(
        config: &Config,
        environment: &BTreeMap<String, String>,
        host: &Launcher,
    ) -> Result<Self, String> {
        let wanted = &config.isolation;
        let image = wanted.container.image.clone().ok_or(
            "`isolation.container.image` is not set; name an image that has the agent's program",
        )?;
        let (engine, env) = Engine::find(&wanted.container, &image, environment, host).await?;
        let state = config.state_dir.to_string_lossy().into_owned();
        let folder = config.state_dir.join("container");
        let failed = |error: io::Error| format!("cannot write {}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(failed)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        // An engine puts the machine's name servers there, which nobody inside could ask anyway.
        write_readable(&folder.join(RESOLVER), "").map_err(failed)?;
        let blank = Blank::new(&folder).map_err(failed)?;
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("pilothouse-") && !is_served(&name) {
                let _ = remove_folder(&entry.path());
            }
        }
        engine.sweep(host, &state).await;
        let users = match engine.users {
            UserMap::Engine if is_root() => {
                Users::Root(format!("{} runs without root", name_of(engine.kind)))
            }
            UserMap::Engine | UserMap::Same | UserMap::Namespace(_) => Users::find(wanted.uids),
        };
        Ok(Self {
            engine: Arc::new(engine),
            image,
            runtime: wanted.container.runtime.clone(),
            env,
            limits: wanted.limits.clone(),
            state,
            folder,
            blank,
            users,
            keeping: Arc::new(Keeping {
                map: Mutex::default(),
                // The probe attacks one session from another.
                places: Arc::new(Semaphore::new(config.processes.max.max(2))),
                waiting: AtomicUsize::new(0),
                idle: config.processes.idle.get(),
                keepers: TaskTracker::new(),
            }),
            landlock: OnceLock::new(),
        })
    }

    /// The arguments that make the container of a session.
    fn arguments(&self, name: &str, door: &Path, around: &Around<'_>) -> io::Result<Vec<String>> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
        add(&["run", "--rm", "--pull", "never", "--name", name]);
        add(&["--label", &format!("{LABEL}={}", self.state)]);
        if let Some(runtime) = &self.runtime {
            add(&["--runtime", runtime]);
        }
        add(&["--network", "none", "--ipc", "private", "--read-only"]);
        add(&["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
        add(&["--hostname", "agent", "--workdir", "/", "--log-driver", "none"]);
        if let UserMap::Namespace(name) = self.engine.users {
            add(&["--userns", name]);
        }
        let (user, group) = self.user_inside(around);
        add(&["--user", &format!("{user}:{group}")]);
        // The launcher must be able to hand a listener out while agents have left all that they may in flight.
        let files = around.descriptors.saturating_mul(2);
        add(&["--ulimit", &format!("nofile={files}:{files}")]);
        if self.engine.kind == config::Engine::Podman {
            let processes = most_processes();
            add(&["--ulimit", &format!("nproc={processes}:{processes}")]);
        }
        if let Some(most) = self.limits.pids {
            add(&["--pids-limit", &most.to_string()]);
        }
        if let Some(most) = self.limits.memory {
            let most = most.get().to_string();
            add(&["--memory", &most, "--memory-swap", &most]);
        }
        if let Some(cores) = self.limits.cpu {
            add(&["--cpus", &cores.to_string()]);
        }
        let size = around.tmp;
        add(&["--shm-size", &around.shm.to_string()]);
        add(&["--tmpfs", &format!("/tmp:rw,exec,nosuid,nodev,size={size},mode=1777")]);
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut mounts = vec![
            (around.folder.workspace_text(), WORKSPACE.to_owned(), true),
            (around.folder.home_text(), HOME.to_owned(), true),
            (path(door.to_owned()), DOOR.to_owned(), false),
            (path(self.folder.join(RESOLVER)), format!("/etc/{RESOLVER}"), false),
        ];
        if user != 0 {
            let names = [PASSWD, GROUP].into_iter();
            mounts.extend(names.map(|name| (path(door.join(name)), format!("/etc/{name}"), false)));
        }
        let granted = [(&around.grants.read, false), (&around.grants.write, true)];
        for (paths, writable) in granted {
            for path in paths.keys() {
                let path = path.to_string_lossy().into_owned();
                mounts.push((path.clone(), path, writable));
            }
        }
        for cover in &around.grants.covers {
            if let Some((from, writable)) = self.blank.source(cover) {
                let to = cover.place(WORKSPACE).to_string_lossy().into_owned();
                mounts.push((from.to_string_lossy().into_owned(), to, writable));
            }
        }
        for (from, to, writable) in mounts {
            if [&from, &to].iter().any(|path| path.contains([',', '"', '\n'])) {
                return Err(io::Error::other(format!(
                    "{from} cannot be mounted into a container: the engine's arguments take no comma and no quote"
                )));
            }
            let end = if writable { "" } else { ",readonly" };
            add(&["--mount", &format!("type=bind,src={from},dst={to}{end}")]);
        }
        add(&["--entrypoint", &format!("{DOOR}/{LAUNCHER}")]);
        add(&[&self.image, SERVE, &format!("{DOOR}/{SOCKET}")]);
        Ok(args)
    }

    fn user_inside(&self, around: &Around<'_>) -> (u32, u32) {
        let own = || (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (user, group) = around.user.map_or_else(own, |user| (user, user));
        self.engine.users.inside(user, group)
    }

    /// All that the start of a session's container needs, so that nobody has to wait for its end.
    fn prepare(
        &self,
        host: &Launcher,
        around: &Around<'_>,
        place: OwnedSemaphorePermit,
    ) -> io::Result<Start> {
        let name = new_name();
        let door = Moment::new(&self.folder.join(&name))?;
        let (user, group) = self.user_inside(around);
        door.introduce(user, group)?;
        let listener = door.listen()?;
        if let Some(user) = around.user {
            door.give(user)?;
        }
        Ok(Start {
            keeping: self.keeping.clone(),
            engine: self.engine.clone(),
            host: host.clone(),
            key: around.folder.home_text(),
            args: self.arguments(&name, &door.0, around)?,
            user: around.user,
            listener,
            door,
            name,
            place,
        })
    }
}

/// A container that is to be started.
struct Start {
    keeping: Arc<Keeping>,
    engine: Arc<Engine>,
    host: Launcher,
    key: String,
    name: String,
    args: Vec<String>,
    user: Option<u32>,
    door: Moment,
    listener: UnixListener,
    place: OwnedSemaphorePermit,
}

impl Start {
    async fn run(self) -> Result<Room, Error> {
        let program = name_of(self.engine.kind);
        let failed = |words: String| Error::NotEntered { program: program.to_owned(), words };
        let spec = self.engine.spec(self.args);
        let mut client = self.host.spawn(&Confined::from(spec)).await?;
        client.stdin = None;
        let connected = tokio::select! {
            connected = tokio::time::timeout(BEGINNING, self.listener.accept()) => connected,
            _ = client.control.ended() => return Err(failed(client.last_words().await)),
        };
        let orders = match connected {
            Ok(connected) => connected.and_then(|(orders, _)| Ok((visible(&orders)?, orders))),
            Err(_) => Err(io::Error::other(format!("nothing within {} s", BEGINNING.as_secs()))),
        };
        let (pid, orders) = match orders {
            Ok(connected) => connected,
            Err(error) => {
                drop(client);
                self.engine.remove(&self.host, &[self.name]).await;
                return Err(failed(error.to_string()));
            }
        };
        drop(self.door);
        let (used, _) = watch::channel(Use { inhabitants: 0, since: Instant::now() });
        let end = CancellationToken::new();
        let container = Arc::new(Container {
            launcher: self.host.elsewhere(pid, orders, end.clone()),
            used,
            end,
            user: self.user,
        });
        let room = container.enter();
        let keeper = Keeper {
            keeping: self.keeping.clone(),
            engine: self.engine,
            host: self.host,
            key: self.key.clone(),
            name: self.name,
            container: container.clone(),
            client,
            _place: self.place,
        };
        if let Some(before) = self.keeping.map().insert(self.key, container) {
            before.end.cancel();
        }
        self.keeping.keepers.spawn(keeper.keep());
        Ok(room)
    }
}

/// The number that the other end of a connection has here. Without one nothing in its container could be told
/// apart, and nothing that a turn leaves behind could be ended.
fn visible(orders: &UnixStream) -> io::Result<u32> {
    let pid = orders.peer_cred()?.pid().unwrap_or_default();
    u32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or_else(|| {
        io::Error::other(
            "the processes of the container cannot be seen from here; a server in a container of its own needs the \
             machine's process numbers (`--pid host`)",
        )
    })
}

/// How many processes a user may have. Where any limit is named to Podman it sets this one too, to a number that a
/// server without CAP_SYS_RESOURCE may not set; Podman itself has no more than there are numbers of processes.
fn most_processes() -> u64 {
    let numbers = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let numbers = numbers.trim().parse().unwrap_or(u64::from(u16::MAX));
    let own = rustix::process::getrlimit(rustix::process::Resource::Nproc).maximum;
    own.unwrap_or(numbers).min(numbers)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Keeping {
    fn map(&self) -> MutexGuard<'_, HashMap<String, Arc<Container>>> {
        self.map.lock()
    }

    /// A place in the container of this session, if there is one for this user.
    fn enter(&self, key: &str, user: Option<u32>) -> Option<Room> {
        let map = self.map();
        let container = map.get(key).filter(|known| known.user == user)?;
        (!container.end.is_cancelled() && !container.launcher.is_gone()).then(|| container.enter())
    }

    /// Takes it out, if nobody is in it.
    fn retire(&self, key: &str, container: &Arc<Container>) -> bool {
        let mut map = self.map();
        let idle = container.idle_since().is_some();
        if idle && map.get(key).is_some_and(|known| Arc::ptr_eq(known, container)) {
            map.remove(key);
        }
        idle
    }

    /// A place for another container; who idles longest gives way.
    async fn place(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return place;
        }
        let _waiting = Waiting::new(&self.waiting);
        {
            let map = self.map();
            let idle = map.values().filter(|one| !one.end.is_cancelled());
            let idle = idle.filter_map(|one| Some((one.idle_since()?, one)));
            if let Some((_, longest)) = idle.min_by_key(|(since, _)| *since) {
                longest.end.cancel();
            }
        }
        let place = self.places.clone().acquire_owned().await;
        place.expect("the places are never closed")
    }
}

/// Somebody who waits, as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Looks after one container until it is gone.
struct Keeper {
    keeping: Arc<Keeping>,
    engine: Arc<Engine>,
    host: Launcher,
    key: String,
    name: String,
    container: Arc<Container>,
    client: Process,
    _place: OwnedSemaphorePermit,
}

impl Keeper {
    async fn keep(mut self) {
        self.watch().await;
        {
            let mut map = self.keeping.map();
            let own = map.get(&self.key);
            if own.is_some_and(|known| Arc::ptr_eq(known, &self.container)) {
                map.remove(&self.key);
            }
        }
        // Without orders its first process ends, and so does everything in it.
        self.container.launcher.dismiss();
        let ended = tokio::time::timeout(ENDING, self.client.control.ended()).await;
        if ended != Ok(Ended::Code(0)) {
            self.client.control.say(Word::Kill);
            self.engine.remove(&self.host, &[self.name]).await;
        }
    }

    /// Returns when it has ended, or shall.
    async fn watch(&mut self) {
        let mut uses = self.container.used.subscribe();
        loop {
            let now = *uses.borrow_and_update();
            let idle = now.inhabitants == 0;
            let is_wanted = self.keeping.waiting.load(Ordering::SeqCst) > 0;
            if idle && is_wanted && self.keeping.retire(&self.key, &self.container) {
                return;
            }
            tokio::select! {
                () = self.container.end.cancelled() => return,
                _ = self.client.control.ended() => return,
                _ = uses.changed() => {}
                () = tokio::time::sleep(self.keeping.idle.saturating_sub(now.since.elapsed())), if idle => {
                    if self.keeping.retire(&self.key, &self.container) {
                        return;
                    }
                }
            }
        }
    }
}

impl Backend for Containers {
    fn kind(&self) -> BackendKind {
        BackendKind::Container
    }

    fn places(&self, _: &Folder) -> Places {
        Places {
            workspace: WORKSPACE.to_owned(),
            home: HOME.to_owned(),
            tmp: "/tmp".to_owned(),
            env: self.env.clone(),
        }
    }

    fn network(&self) -> Network {
        Network::Own
    }

    fn identify(&self, workspaces: &Workspaces, grants: &Grants) -> Identity {
        self.users.identify(workspaces.shared(), grants)
    }

    fn confine(&self, spec: Spec, around: &Around<'_>) -> Confined {
        let mut rules = Rules {
            read: vec![Place::folder("/")],
            write: [WORKSPACE, HOME, "/tmp", "/dev/shm"].map(Place::folder).into(),
            devices: vec![Place::folder("/dev")],
            ..Rules::default()
        };
        rules.write.extend(around.grants.write.keys().map(Place::folder));
        if spec.program == OWN_PROGRAM {
            // It comes along behind the launcher's program, the line, and the launcher's program again.
            let along = format!("/proc/self/fd/{}", FIRST_ALONG + 3);
            rules.read.push(Place::file(along));
        }
        let mut outer = Sandbox::default();
        outer.keep();
        let mut inner = Sandbox::default();
        inner.listen(INSIDE_PORT);
        inner.file_limit(around.file);
        inner.no_capabilities().no_new_privileges();
        inner.landlock(self.landlock.get().copied().unwrap_or(0), &rules);
        inner.filter(&filter(Network::Own, Connecting::Process));
        inner.descriptor_limit(around.descriptors);
        Confined {
            spec: Spec {
                program: LAUNCHER_PROGRAM.to_owned(),
                args: vec![ENTER.to_owned(), (FIRST_ALONG + 1).to_string()],
                env: Vec::new(),
                cwd: "/".to_owned(),
            },
            sandbox: outer.into_bytes(),
            inner: Some(Inner { spec, sandbox: inner.into_bytes(), listens: true }),
            user: around.user,
        }
    }

    fn room<'a>(
        &'a self,
        host: &'a Launcher,
        around: &'a Around<'_>,
    ) -> Pending<'a, Result<Option<Room>, Error>> {
        Box::pin(async move {
            if let Some(room) = self.keeping.enter(&around.folder.home_text(), around.user) {
                return Ok(Some(room));
            }
            let place = self.keeping.place().await;
            // A client that is ended half way leaves a container that never began; so it is always heard out,
            // and who comes next finds the container idle.
            let start = self.prepare(host, around, place)?;
            let started = self.keeping.keepers.spawn(start.run()).await;
            let room = started.map_err(io::Error::other)??;
            if self.landlock.get().is_none() {
                let kernel = Kernel::ask(room.launcher()).await;
                let _ = self.landlock.set(kernel.landlock);
            }
            Ok(Some(room))
        })
    }

    fn clear(&self) -> Pending<'_, ()> {
        Box::pin(async {
            let keepers = &self.keeping.keepers;
            keepers.close();
            loop {
                let all: Vec<_> = self.keeping.map().drain().collect();
                for (_, container) in all {
                    container.end.cancel();
                }
                // One that is just being started shows when it has begun.
                let none_left = tokio::time::timeout(LOOK, keepers.wait()).await;
                if none_left.is_ok() {
                    break;
                }
            }
            keepers.reopen();
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_an_image_are_read_as_the_engine_prints_them() {
        let told = "[\"PATH=/usr/bin:/bin\",\"EMPTY=\",\"A=b=c\"]\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("PATH", "/usr/bin:/bin"), pair("EMPTY", ""), pair("A", "b=c")];
        assert_eq!(variables(told), expected);
        assert_eq!(variables("null"), []);
    }

    #[test]
    fn a_container_is_left_over_when_its_server_is_gone() {
        assert!(is_served(&new_name()));
        // The same number, but another process.
        let pid = std::process::id();
        assert!(!is_served(&format!("pilothouse-{pid}-1-abc")));
        assert!(!is_served("pilothouse-abc"));
        assert!(!is_served("other"));
    }
}

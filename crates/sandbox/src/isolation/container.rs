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

mod engine;
mod keeper;
mod mount;
mod start;

use super::covers::{Blank, write_readable};
use super::filter::{Connecting, Network, filter};
use super::kernel::Kernel;
use super::sandbox::{Place, Rules, Sandbox};
use super::users::{Identity, Users};
use super::{Around, Backend, Grants, INSIDE_PORT, Pending, Places};
use crate::isolation::{BackendKind, EngineKind, SandboxLimits, SandboxSettings};
use crate::process::{Error, Launcher};
use crate::supervisor::{
    Confined, ENTER, FIRST_ALONG, Inner, LAUNCHER_PROGRAM, OWN_PROGRAM, SERVE, Spec,
};
use crate::workspace::{Folder, Workspaces, remove_folder};
use engine::{Engine, UserMap, is_served, name_of, new_name};
use keeper::Keeping;
use mount::Moment;
use parking_lot::Mutex;
use start::{Start, most_processes};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

pub use keeper::Room;

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
    limits: SandboxLimits,
    state: String,
    /// Where sockets are put for a moment, and a few files.
    folder: PathBuf,
    blank: Blank,
    users: Users,
    keeping: Arc<Keeping>,
    /// The version of Landlock inside, once a container was there to ask in.
    landlock: OnceLock<u32>,
}

impl Containers {
    /// With the engine and the image that are set.
    ///
    /// # Errors
    ///
    /// What the operator must set, install or fetch.
    pub(super) async fn new(
        settings: &SandboxSettings,
        environment: &BTreeMap<String, String>,
        host: &Launcher,
    ) -> Result<Self, String> {
        let image = settings.container.image.clone().ok_or(
            "`isolation.container.image` is not set; name an image that has the agent's program",
        )?;
        let (engine, env) = Engine::find(&settings.container, &image, environment, host).await?;
        let state = settings.state_dir.to_string_lossy().into_owned();
        let folder = settings.state_dir.join("container");
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
            UserMap::Engine | UserMap::Same | UserMap::Namespace(_) => Users::find(settings.uids),
        };
        Ok(Self {
            engine: Arc::new(engine),
            image,
            runtime: settings.container.runtime.clone(),
            env,
            limits: settings.limits.clone(),
            state,
            folder,
            blank,
            users,
            keeping: Arc::new(Keeping {
                map: Mutex::default(),
                // The probe attacks one session from another.
                places: Arc::new(Semaphore::new(settings.container.most.max(2))),
                waiting: AtomicUsize::new(0),
                idle: settings.container.idle,
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
        if self.engine.kind == EngineKind::Podman {
            let processes = most_processes();
            add(&["--ulimit", &format!("nproc={processes}:{processes}")]);
        }
        if let Some(most) = self.limits.pids {
            add(&["--pids-limit", &most.to_string()]);
        }
        if let Some(most) = self.limits.memory {
            let most = most.to_string();
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

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
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

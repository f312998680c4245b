//! Describing a world before it starts: its configuration, files, environment and arguments.

use crate::world::{BOB, OWNER, PATIENCE, World, await_end};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A world that is being described.
pub(crate) struct Builder {
    root: TempDir,
    /// What the environment of every agent holds.
    pub(crate) marker: String,
    /// The configuration file.
    pub(crate) config: Value,
    text: Option<String>,
    pub(crate) args: Vec<String>,
    env: Vec<(String, String)>,
    program: PathBuf,
    /// What the server is started through.
    through: Vec<String>,
    /// Whether files of the working folder may weaken the sandbox.
    is_trusted: bool,
    /// How long anything may take.
    pub(crate) patience: Duration,
}

/// A server that did not start.
pub(crate) struct Failure {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// Its last words.
    pub(crate) stderr: String,
}

impl World {
    /// A world whose agent plays scripts, with an owner and a caller named bob.
    pub(crate) fn describe() -> Builder {
        Self::describe_in(&std::env::temp_dir())
    }

    /// The same, with all its files below this folder.
    pub(crate) fn describe_in(folder: &Path) -> Builder {
        let root = tempfile::Builder::new().prefix("pilothouse-it-").tempdir_in(folder).unwrap();
        // Agents of a root server may have users of their own, who pass it.
        fs::set_permissions(root.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let path = |name: &str| root.path().join(name);
        for folder in ["cwd", "home", "cues"] {
            fs::create_dir(path(folder)).unwrap();
        }
        let id = uuid::Uuid::new_v4().to_string();
        let config = json!({
            "server": {"port": 0},
            "state_dir": path("state"),
            "workspace": {"path": path("work")},
            "auth": {"token": OWNER, "tokens": {"bob": BOB}},
            "audit": path("audit.jsonl"),
            // Most tests are about something else; `walls` has those about this.
            "isolation": {"backend": "none"},
            "timeouts": {"terminate": "500ms", "interrupt": "2s", "shutdown": "10s"},
            "agent": "fake",
            "agents": {"fake": {
                "driver": "command",
                "program": fake_agent(),
                "args": ["--events"],
                "format": "events",
                // `results` has the tests about what this adds to each turn that changes files.
                "patch": "off",
                "env": {"set": {"PILOTHOUSE_TEST_WORLD": id, "FAKE_AGENT_CUES": path("cues")}},
            }},
        });
        Builder {
            root,
            marker: format!("PILOTHOUSE_TEST_WORLD={id}"),
            config,
            text: None,
            args: Vec::new(),
            env: Vec::new(),
            program: env!("CARGO_BIN_EXE_pilothouse").into(),
            through: Vec::new(),
            is_trusted: true,
            patience: PATIENCE,
        }
    }
}

impl Builder {
    /// Adds to the configuration; `null` takes a key away.
    pub(crate) fn config(mut self, more: Value) -> Self {
        merge(&mut self.config, more);
        self
    }

    /// Agents may read these besides what they may already.
    pub(crate) fn granted<const N: usize>(mut self, paths: [&Path; N]) -> Self {
        let mut read = self.config["isolation"]["read"].as_array().cloned().unwrap_or_default();
        read.extend(paths.map(|path| json!(path)));
        self.config["isolation"]["read"] = json!(read);
        self
    }

    /// Adds to the configuration of the fake agent.
    pub(crate) fn agent(self, more: Value) -> Self {
        self.config(json!({"agents": {"fake": more}}))
    }

    /// This text is the configuration file, instead of the usual one.
    pub(crate) fn config_text(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    /// Adds arguments of the command line.
    pub(crate) fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.args.extend(args.map(ToOwned::to_owned));
        self
    }

    /// Adds a variable of the server's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file in the server's working folder.
    pub(crate) fn file(self, name: &str, mode: u32, text: &str) -> Self {
        let path = self.cwd().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        self
    }

    /// The server is started by this command, which ends with the server in its own place: `exec "$@"`.
    pub(crate) fn through<const N: usize>(mut self, command: [&str; N]) -> Self {
        self.through = command.map(ToOwned::to_owned).into();
        self
    }

    /// Another server.
    pub(crate) fn program(mut self, program: &str) -> Self {
        self.program = program.into();
        self
    }

    /// Server and agent are copies in the world's own folder `bin`.
    pub(crate) fn copied(mut self) -> Self {
        let bin = self.path("bin");
        fs::create_dir(&bin).unwrap();
        let agent = PathBuf::from(fake_agent());
        for program in [&self.program, &agent] {
            copy_program(program, &bin);
        }
        self.program = bin.join("pilothouse");
        if self.config["agents"]["fake"]["program"] == fake_agent() {
            self.config["agents"]["fake"]["program"] = json!(bin.join("fake-agent"));
        }
        // Where programs have to be granted, this one is.
        let granted = self.config["isolation"]["read"].as_array_mut().into_iter().flatten();
        for path in granted.filter(|path| **path == fake_agent()) {
            *path = json!(bin.join("fake-agent"));
        }
        self
    }

    /// The world of an ordinary user, where the tests run as root: the one who owns nothing else.
    pub(crate) fn ordinary(self) -> Self {
        const NOBODY: u32 = 65534;
        if !rustix::process::geteuid().is_root() {
            return self;
        }
        let mut all = self.copied();
        if all.config["isolation"]["backend"] == "container" {
            for (name, value) in crate::containers::ordinary_environment() {
                all = all.env(name, &value);
            }
        }
        own(all.root.path(), NOBODY);
        let id = NOBODY.to_string();
        let become_nobody = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
        all.through.splice(..0, become_nobody.map(ToOwned::to_owned));
        all
    }

    /// The server may have this many open files.
    pub(crate) fn descriptors(self, most: u32) -> Self {
        self.limited(&format!("ulimit -n {most}"))
    }

    /// The server begins with this soft limit of open files, which is the one that its agents begin with.
    pub(crate) fn soft_descriptors(self, most: u32) -> Self {
        self.limited(&format!("ulimit -Sn {most}"))
    }

    fn limited(mut self, limit: &str) -> Self {
        let limited = format!("{limit}; exec \"$@\"");
        self.through.splice(..0, ["sh".to_owned(), "-c".to_owned(), limited, "sh".to_owned()]);
        self
    }

    /// Files of the working folder may not weaken the sandbox, as it is without a word of the operator's.
    pub(crate) fn untrusted(mut self) -> Self {
        self.is_trusted = false;
        self
    }

    /// Waits longer for everything.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A path below the world's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The folder that the server is started in.
    pub(crate) fn cwd(&self) -> PathBuf {
        self.path("cwd")
    }

    /// What the environment of every agent of this world holds.
    pub(crate) fn marker(&self) -> &str {
        &self.marker
    }

    /// Starts the server and waits until it serves.
    pub(crate) fn start(self) -> World {
        World::of(self)
    }

    /// Starts a server that must not start, and waits for its end.
    pub(crate) fn fails(&self) -> Failure {
        let mut child = self.spawn();
        let patience = self.patience;
        let ended = await_end(&mut child, patience);
        if ended.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let stderr = fs::read_to_string(self.path("stderr")).unwrap();
        let ended = ended.unwrap_or_else(|| {
            panic!("waited {patience:?} for the server to give up; it says:\n{stderr}")
        });
        Failure { code: ended.code(), stderr }
    }

    /// Writes the configuration file.
    pub(crate) fn write_config(&self) {
        let file = self.cwd().join("pilothouse.yaml");
        let pretty = serde_json::to_string_pretty(&self.config).unwrap();
        fs::write(file, self.text.as_ref().unwrap_or(&pretty)).unwrap();
    }

    /// Starts the server, whatever becomes of it.
    pub(crate) fn spawn(&self) -> Child {
        self.write_config();
        let output =
            |name: &str| File::options().create(true).append(true).open(self.path(name)).unwrap();
        let mut words = self.through.iter().map(OsStr::new).chain([self.program.as_os_str()]);
        Command::new(words.next().expect("the server is there"))
            .args(words)
            .args(&self.args)
            .current_dir(self.cwd())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            // Its configuration file is found there, and most tests say nothing of the sandbox.
            .env("PILOTHOUSE_TRUST_FOLDER", if self.is_trusted { "1" } else { "" })
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .unwrap()
    }
}

/// A folder and all in it belongs to this user.
fn own(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path(), user);
        }
    }
}

/// Objects are merged key by key, anything else is replaced, `null` removes.
pub(crate) fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                if value.is_null() {
                    old.remove(&key);
                } else {
                    merge(old.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (old, new) => *old = new,
    }
}

/// The scripted agent, built beside the server.
pub(crate) fn fake_agent() -> String {
    let folder = Path::new(env!("CARGO_BIN_EXE_pilothouse")).parent().unwrap();
    let program = folder.join("fake-agent");
    assert!(program.is_file(), "{} is missing; run: cargo build -p fake-agent", program.display());
    program.to_str().unwrap().to_owned()
}

/// Copies a program. A process of its own writes it: a program cannot be started while it is open for writing,
/// and what another thread of the tests starts meanwhile would have this one's open file for a moment.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

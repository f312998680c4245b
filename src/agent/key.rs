//! The command that prints an agent's key (`agents.*.key_command`): run outside of every sandbox.

use super::Error;
use super::resolve::find;
use super::served::Folders;
use crate::config;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use pilothouse_egress::{KeyResult, KeySource};
use pilothouse_sandbox::process::{Ended, Launcher, Process};
use pilothouse_sandbox::supervisor::{Confined, Spec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// More than this is no key.
const LONGEST: u64 = 64 * 1024;

const NOT_WELL: &str = "did not end well";

/// A command that prints a key. Agents with the same command share it, and with it a run that goes on.
pub struct KeyCommand {
    spec: Spec,
    patience: Duration,
    runner: OnceLock<KeyRunner>,
    current: Arc<Mutex<Option<Run>>>,
}

/// What commands are run with.
struct KeyRunner {
    launcher: Launcher,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A run that goes on, or whose key nobody has heard yet.
struct Run {
    begun: Instant,
    printed: Shared<BoxFuture<'static, Result<String, String>>>,
}

impl KeyCommand {
    /// The configured command. It runs in `/`, and neither its program nor a file that it names may be one that
    /// agents could have written.
    pub(super) fn of(
        key: &str,
        agent: &config::Agent,
        environment: &BTreeMap<String, String>,
        folders: &mut Folders,
        patience: Duration,
    ) -> Result<Option<Arc<Self>>, Error> {
        let Some((program, args)) = agent.key_command.split_first() else { return Ok(None) };
        let fail = |what: String| Error::KeyCommand { agent: key.to_owned(), what };
        let mut env = environment.clone();
        let path =
            env.get("PATH").map(|path| folders.changeable.trusted_path(path)).unwrap_or_default();
        env.insert("PATH".to_owned(), path.clone());
        let is_relative = program.contains('/') && !Path::new(program).is_absolute();
        let found = find(program, &path).filter(|_| !is_relative).ok_or_else(|| {
            fail(format!("`{program}` is no program on PATH; give its absolute path"))
        })?;
        let files = args.iter().map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(path) =
            files.chain([found.clone()]).find(|path| folders.changeable.is_changeable(path))
        {
            let path = path.display();
            return Err(fail(format!(
                "agents may change {path}, and it would run outside of the sandbox; move it to another folder"
            )));
        }
        let spec = Spec {
            program: found.to_string_lossy().into_owned(),
            args: args.to_vec(),
            env: env.into_iter().collect(),
            cwd: "/".to_owned(),
        };
        if let Some(command) = folders.key_commands.iter().find(|command| command.spec == spec) {
            return Ok(Some(command.clone()));
        }
        let (runner, current) = (OnceLock::new(), Arc::default());
        let command = Arc::new(Self { spec, patience, runner, current });
        folders.key_commands.push(command.clone());
        Ok(Some(command))
    }

    /// By this launcher it is run, on tasks of this tracker, until the server stops.
    pub fn bind(&self, launcher: &Launcher, tasks: &TaskTracker, stop: &CancellationToken) {
        let (launcher, tasks, stop) = (launcher.clone(), tasks.clone(), stop.clone());
        let _ = self.runner.set(KeyRunner { launcher, tasks, stop });
    }
}

impl KeySource for KeyCommand {
    fn read(&self) -> KeyResult {
        let Some(KeyRunner { launcher, tasks, stop }) = self.runner.get() else {
            return Box::pin(async { Err("was not started".to_owned()) });
        };
        let patience = self.patience;
        let begin = || {
            // Whoever waits for the key may leave; the command is run to its end.
            let ended =
                tasks.spawn(run(launcher.clone(), self.spec.clone(), patience, stop.clone()));
            let printed = async move { ended.await.unwrap_or_else(|_| Err(NOT_WELL.to_owned())) };
            Run { begun: Instant::now(), printed: printed.boxed().shared() }
        };
        let printed = {
            let mut current = self.current.lock();
            // One that has ended is of use for as long as a run may take.
            current.take_if(|run| run.printed.peek().is_some() && run.begun.elapsed() >= patience);
            current.get_or_insert_with(begin).printed.clone()
        };
        let current = self.current.clone();
        Box::pin(async move {
            let key = printed.clone().await;
            current.lock().take_if(|run| run.printed.ptr_eq(&printed));
            key
        })
    }
}

/// What the command prints within this time; afterwards nothing of it is left.
async fn run(
    launcher: Launcher,
    spec: Spec,
    patience: Duration,
    stop: CancellationToken,
) -> Result<String, String> {
    let started = launcher.spawn(&Confined::from(spec)).await;
    let mut process = started.map_err(|error| format!("could not be started: {error}"))?;
    let printed = tokio::select! {
        printed = hear(&mut process) => printed,
        () = tokio::time::sleep(patience) => Err(format!(
            "printed no key within {} s (`timeouts.key_command`)",
            patience.as_secs()
        )),
        () = stop.cancelled() => Err("was ended, because the server stops".to_owned()),
    };
    if printed.is_err() {
        process.control.kill().await;
    }
    printed
}

/// What the command prints. Its standard error is not told: it may hold what it was given.
async fn hear(process: &mut Process) -> Result<String, String> {
    process.stdin = None;
    let mut printed = Vec::new();
    let mut stdout = (&mut process.stdout).take(LONGEST);
    // A command that says much there would wait for its reader.
    let stderr = &mut process.stderr;
    let unheard = async {
        let _ = tokio::io::copy(stderr, &mut tokio::io::sink()).await;
        std::future::pending::<()>().await;
    };
    let read = tokio::select! {
        read = stdout.read_to_end(&mut printed) => read,
        () = unheard => return Err(NOT_WELL.to_owned()),
    };
    read.map_err(|error| format!("could not be read: {error}"))?;
    match process.control.ended().await {
        Ended::Code(0) => String::from_utf8(printed).map_err(|_| "printed no text".to_owned()),
        Ended::Code(code) => Err(format!("ended with exit code {code}")),
        Ended::Signal(signal) => Err(format!("was ended by signal {signal}")),
        Ended::Unclear => Err(NOT_WELL.to_owned()),
    }
}

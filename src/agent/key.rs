//! The command that prints an agent's key (`agents.*.key_command`): run outside of every sandbox.

use super::Error;
use super::resolve::find;
use crate::config;
use pilothouse_egress::{KeyResult, KeySource};
use pilothouse_sandbox::isolation::Changeable;
use pilothouse_sandbox::process::{Ended, Launcher};
use pilothouse_sandbox::supervisor::{Confined, Spec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// More than this is no key.
const LONGEST: u64 = 64 * 1024;

/// A command that prints a key.
pub struct KeyCommand {
    spec: Spec,
    patience: Duration,
    launcher: OnceLock<Launcher>,
}

impl KeyCommand {
    /// The configured command. It runs in `/`, and neither its program nor a file that it names may be one that
    /// agents could have written.
    pub(super) fn of(
        key: &str,
        agent: &config::Agent,
        environment: &BTreeMap<String, String>,
        changeable: &Changeable,
        patience: Duration,
    ) -> Result<Option<Arc<Self>>, Error> {
        let Some((program, args)) = agent.key_command.split_first() else { return Ok(None) };
        let fail = |what: String| Error::KeyCommand { agent: key.to_owned(), what };
        let mut env = environment.clone();
        let path = env.get("PATH").map(|path| changeable.trusted_path(path)).unwrap_or_default();
        env.insert("PATH".to_owned(), path.clone());
        let is_relative = program.contains('/') && !Path::new(program).is_absolute();
        let found = find(program, &path).filter(|_| !is_relative).ok_or_else(|| {
            fail(format!("`{program}` is no program on PATH; give its absolute path"))
        })?;
        let files = args.iter().map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(path) = files.chain([found.clone()]).find(|path| changeable.is_changeable(path))
        {
            let path = path.display();
            return Err(fail(format!(
                "agents may change {path}, and it would run outside of the sandbox; move it to another folder"
            )));
        }
        Ok(Some(Arc::new(Self {
            spec: Spec {
                program: found.to_string_lossy().into_owned(),
                args: args.to_vec(),
                env: env.into_iter().collect(),
                cwd: "/".to_owned(),
            },
            patience,
            launcher: OnceLock::new(),
        })))
    }

    /// By this launcher it is run.
    pub fn bind(&self, launcher: &Launcher) {
        let _ = self.launcher.set(launcher.clone());
    }
}

impl KeySource for KeyCommand {
    fn read(&self) -> KeyResult {
        let (launcher, spec, patience) =
            (self.launcher.get().cloned(), self.spec.clone(), self.patience);
        Box::pin(async move {
            let launcher = launcher.ok_or_else(|| "was not started".to_owned())?;
            let run = run(&launcher, spec);
            match tokio::time::timeout(patience, run).await {
                Ok(printed) => printed,
                Err(_) => Err(format!(
                    "printed no key within {} s (`timeouts.key_command`)",
                    patience.as_secs()
                )),
            }
        })
    }
}

/// What the command prints. Its standard error is not told: it may hold what it was given.
async fn run(launcher: &Launcher, spec: Spec) -> Result<String, String> {
    let started = launcher.spawn(&Confined::from(spec)).await;
    let mut process = started.map_err(|error| format!("could not be started: {error}"))?;
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
        () = unheard => return Err("did not end well".to_owned()),
    };
    read.map_err(|error| format!("could not be read: {error}"))?;
    match process.control.ended().await {
        Ended::Code(0) => String::from_utf8(printed).map_err(|_| "printed no text".to_owned()),
        Ended::Code(code) => Err(format!("ended with exit code {code}")),
        Ended::Signal(signal) => Err(format!("was ended by signal {signal}")),
        Ended::Unclear => Err("did not end well".to_owned()),
    }
}

//! The folders of a session: where it works, its own HOME, and the script that sets it up.

mod inside;

use crate::config::{self, Config, WorkspaceMode};
use crate::process::{Ended, Process};
use inside::Inside;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// What of a script's output is kept.
const SCRIPT_OUTPUT: usize = 16 * 1024;

/// Files that a fork may copy.
const FORKED_FILES: usize = 200_000;

/// Files that a defaults folder may bring; more is surely a mistake.
const DEFAULTS_FILES: usize = 10_000;

/// Where sessions work.
#[derive(Clone)]
pub struct Workspaces(Arc<Inner>);

struct Inner {
    mode: WorkspaceMode,
    root: PathBuf,
    homes: PathBuf,
    defaults: Option<PathBuf>,
    script: Option<PathBuf>,
    patience: Duration,
}

/// One session's folders; both exist.
#[derive(Debug, Clone)]
pub struct Folder {
    workspace: PathBuf,
    home: PathBuf,
}

/// A session script that did not succeed.
#[derive(Debug)]
pub struct InitFailed {
    /// How it ended, readable after its name.
    pub reason: String,
    /// Its last words.
    pub output: String,
}

/// Why the folders cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use the folder {path}: {source}; the operator must make it writable or set `{key}`"
)]
pub struct Error {
    path: String,
    key: &'static str,
    source: io::Error,
}

impl Workspaces {
    /// The folders that the configuration names for an agent.
    ///
    /// # Errors
    ///
    /// When the named script or defaults folder is not there.
    pub fn new(
        config: &Config,
        cwd: &Path,
        agent: &config::Agent,
        workspace: &config::Workspace,
    ) -> Result<Self, Error> {
        let root = cwd.join(&workspace.path);
        let homes = config.state_dir.join("sessions");
        let script = match (&agent.init, &config.sessions.init) {
            (Some(script), _) => Some(existing(&cwd.join(script), "agents.*.init")?),
            (None, Some(script)) => Some(existing(&cwd.join(script), "sessions.init")?),
            (None, None) => Some(cwd.join(".init-session.sh")).filter(|script| script.is_file()),
        };
        let defaults = agent
            .defaults_dir
            .as_ref()
            .map(|folder| existing(&cwd.join(folder), "agents.*.defaults_dir"))
            .transpose()?;
        let inner = Inner {
            mode: workspace.mode,
            root,
            homes,
            defaults,
            script,
            patience: config.timeouts.init.get(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Makes the folders and checks them for writing.
    ///
    /// # Errors
    ///
    /// When one cannot be made or written.
    pub fn check(&self) -> Result<(), Error> {
        writable(&self.0.root, "workspace.path")?;
        writable(&self.0.homes, "state_dir")
    }

    /// A session's folders, made where they are missing.
    ///
    /// A folder costs about 0.1 ms, so there are no more than needed: temporary files lie in HOME.
    ///
    /// # Errors
    ///
    /// When they cannot be made.
    pub fn folder(&self, session: &str) -> Result<Folder, Error> {
        let workspace = match self.0.mode {
            WorkspaceMode::Session => self.0.root.join(session),
            WorkspaceMode::Shared => self.0.root.clone(),
        };
        let home = self.0.homes.join(session);
        if make(&home, "state_dir")?
            && let Some(defaults) = &self.0.defaults
        {
            let mut left = DEFAULTS_FILES;
            copy(defaults, &home.join(".claude"), &mut left).map_err(|source| Error {
                path: defaults.display().to_string(),
                key: "agents.*.defaults_dir",
                source,
            })?;
        }
        make(&workspace, "workspace.path")?;
        Ok(Folder { workspace, home })
    }

    /// Copies another session's workspace into a new one's, and its transcript, whose place `pattern` tells.
    /// True where there was one.
    ///
    /// # Errors
    ///
    /// When something cannot be read or written, or there is too much of it.
    pub fn fork(&self, from: &str, to: &Folder, pattern: Option<&str>) -> io::Result<bool> {
        let mut left = FORKED_FILES;
        if self.0.mode == WorkspaceMode::Session {
            let source = Inside::open(&self.0.root.join(from))?;
            source.copy_to(&Inside::open(&to.workspace)?, &mut left)?;
        }
        let Some((before, after)) = pattern.and_then(|pattern| pattern.split_once("*/")) else {
            return Ok(false);
        };
        let home = Inside::open(&self.0.homes.join(from))?;
        let Some((name, folder)) = transcript(&home, before, after) else {
            return Ok(false);
        };
        let target = Inside::open(&to.home)?.make(&format!("{before}/{name}"))?;
        folder.copy_file(after, &target)?;
        Ok(true)
    }

    /// Removes a session's folders; a shared workspace stays.
    pub fn remove(&self, session: &str) {
        let _ = std::fs::remove_dir_all(self.0.homes.join(session));
        if self.0.mode == WorkspaceMode::Session {
            let _ = std::fs::remove_dir_all(self.0.root.join(session));
        }
    }

    /// Bytes that a session's own folders hold.
    pub fn size(&self, session: &str) -> u64 {
        let home = size_of(&self.0.homes.join(session));
        match self.0.mode {
            WorkspaceMode::Session => home.saturating_add(size_of(&self.0.root.join(session))),
            WorkspaceMode::Shared => home,
        }
    }

    /// The folder that a session works in, for people.
    pub fn shown(&self, session: &str) -> PathBuf {
        match self.0.mode {
            WorkspaceMode::Session => self.0.root.join(session),
            WorkspaceMode::Shared => self.0.root.clone(),
        }
    }

    /// The one folder of all sessions, where they share one.
    pub fn shared(&self) -> Option<&Path> {
        (self.0.mode == WorkspaceMode::Shared).then_some(self.0.root.as_path())
    }

    /// The session script, if there is one.
    pub fn script(&self) -> Option<&Path> {
        self.0.script.as_deref()
    }

    /// Hears the session script to its end. Where it fails or is not waited for, its process is still to be ended.
    ///
    /// # Errors
    ///
    /// When it fails or takes too long; with its last words.
    pub async fn hear_script(&self, process: &mut Process) -> Result<String, InitFailed> {
        let failed = |reason: String, output: String| InitFailed { reason, output };
        process.stdin = None;
        let mut output = Vec::new();
        // On the heap: this future is part of every turn's.
        let (mut first, mut second) = (vec![0u8; 4096], vec![0u8; 4096]);
        let (mut stdout_open, mut stderr_open, mut ended) = (true, true, None);
        let listening = async {
            while stdout_open || stderr_open || ended.is_none() {
                tokio::select! {
                    read = process.stdout.read(&mut first), if stdout_open => match read {
                        Ok(size) if size > 0 => output.extend_from_slice(&first[..size]),
                        _ => stdout_open = false,
                    },
                    read = process.stderr.read(&mut second), if stderr_open => match read {
                        Ok(size) if size > 0 => output.extend_from_slice(&second[..size]),
                        _ => stderr_open = false,
                    },
                    status = process.control.ended(), if ended.is_none() => ended = Some(status),
                }
                if output.len() > SCRIPT_OUTPUT {
                    output.drain(..output.len() - SCRIPT_OUTPUT);
                }
            }
        };
        let in_time = tokio::time::timeout(self.0.patience, listening).await.is_ok();
        let words = String::from_utf8_lossy(&output).trim().to_owned();
        match ended {
            Some(Ended::Code(0)) => Ok(words),
            Some(Ended::Code(code)) => Err(failed(format!("failed with exit code {code}"), words)),
            Some(Ended::Signal(signal)) => {
                Err(failed(format!("was ended by signal {signal}"), words))
            }
            Some(Ended::Unclear) => Err(failed("ended in an unclear way".to_owned(), words)),
            None if in_time => Err(failed("ended in an unclear way".to_owned(), words)),
            None => Err(failed(
                format!("took longer than {} s (`timeouts.init`)", self.0.patience.as_secs()),
                words,
            )),
        }
    }
}

impl Folder {
    /// These two, made where they are missing.
    #[cfg(test)]
    pub(crate) fn at(workspace: &Path, home: &Path) -> Self {
        std::fs::create_dir_all(workspace).unwrap();
        std::fs::create_dir_all(home).unwrap();
        Self { workspace: workspace.to_owned(), home: home.to_owned() }
    }

    /// Puts a file of the caller's into the workspace: `.a2a/TASK/NAME`, for the agent to read.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn put(&self, task: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = Inside::open(&self.workspace)?.make(&format!(".a2a/{task}"))?;
        folder.create(name)?.write_all(bytes)
    }

    /// The workspace, for a command line.
    pub fn workspace_text(&self) -> String {
        self.workspace.to_string_lossy().into_owned()
    }

    /// The HOME, for a command line.
    pub fn home_text(&self) -> String {
        self.home.to_string_lossy().into_owned()
    }

    /// Whether a file is in HOME; one component of the pattern may be `*`.
    pub fn has(&self, pattern: &str) -> bool {
        let Ok(home) = Inside::open(&self.home) else {
            return false;
        };
        match (pattern.split_once("*/"), pattern.rsplit_once('/')) {
            (Some((before, after)), _) => transcript(&home, before, after).is_some(),
            (None, Some((folder, name))) => {
                home.below(folder).is_ok_and(|folder| folder.file(name).is_ok())
            }
            (None, None) => home.file(pattern).is_ok(),
        }
    }
}

/// The folder that has this file, one of those in `before`, and its name.
fn transcript(home: &Inside, before: &str, file: &str) -> Option<(String, Inside)> {
    let place = home.below(before).ok()?;
    place.folders().ok()?.into_iter().find_map(|name| {
        let folder = place.below(&name).ok()?;
        folder.file(file).ok()?;
        Some((name, folder))
    })
}

/// Makes a folder for its owner alone; whether it is new.
fn make(folder: &Path, key: &'static str) -> Result<bool, Error> {
    let failed = |source| Error { path: folder.display().to_string(), key, source };
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().mode(0o700).recursive(true).create(folder).map_err(failed)?;
            Ok(true)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Bytes of all files below; links are not followed.
fn size_of(folder: &Path) -> u64 {
    let (mut size, mut folders) = (0u64, vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => size = size.saturating_add(metadata.len()),
                Err(_) => {}
            }
        }
    }
    size
}

fn writable(folder: &Path, key: &'static str) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|source| Error {
        path: folder.display().to_string(),
        key,
        source,
    })?;
    let probe = folder.join(format!(".pilothouse-{}", std::process::id()));
    std::fs::write(&probe, b"")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|source| Error { path: folder.display().to_string(), key, source })
}

fn existing(path: &Path, key: &'static str) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path).map_err(|source| Error {
        path: path.display().to_string(),
        key,
        source,
    })
}

/// Copies a folder; links are followed once and never out of a loop, because the number is bounded.
fn copy(from: &Path, to: &Path, left: &mut usize) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        // A mounted map of Kubernetes keeps its versions in `..data` and `..TIME`, beside links into them.
        let inner =
            |entry: &std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b"..");
        if entry.as_ref().is_ok_and(inner) {
            continue;
        }
        *left = left
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("more files than a defaults folder may have"))?;
        let (source, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if std::fs::metadata(&source)?.is_dir() {
            copy(&source, &target, left)?;
        } else {
            std::fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

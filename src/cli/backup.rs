//! `pilothouse backup` and `restore`: the state of a server as one file, made while it runs.
//!
//! # How it works
//! The file is a tar archive: a description, the store as of one moment, what else is in the state folder, the workspaces of
//! sessions, and at its end the SHA-256 of all that stands before. The store is copied first, so nothing of it is newer than a
//! folder that belongs to it. A restore reads the file twice: before anything is written its digest is checked.
//!
//! # Pitfalls
//! What agents write meanwhile is as it was when it was read; a file that becomes shorter is filled up with zeros. The archive
//! holds the server's token and everything that was said: it is readable for its owner alone.

mod restore;

pub(super) use restore::RestoreArgs;

use crate::app::{WORKSPACES_NOTE, WorkspaceRoot, find_workspace_roots};
use crate::client::exit;
use crate::client::failure::Failure;
use crate::config::{Config, Environment, Flags, load_trusted};
use crate::store::{self, StoreCopy};
use clap::Args;
use pilothouse_a2a::time::Timestamp;
use pilothouse_sandbox::workspace::append_folder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The first entry.
const DESCRIPTION: &str = "pilothouse-backup.json";

/// The store.
const STORE: &str = "store.db";

/// What else is in the state folder.
const STATE: &str = "state";

/// The workspaces of sessions, a folder for each root.
const WORKSPACES: &str = "workspaces";

/// The last entry.
const DIGEST: &str = "sha256";

/// The form of the archive.
const FORM: u32 = 1;

/// A block of the format of archives.
const BLOCK: usize = 512;

/// Where a restore unpacks, before everything is moved to its place.
const UNPACKED: &str = "restoring";

/// What the name of the store has at its end, until it is moved to its place.
const RESTORING: &str = ".restoring";

/// What is of a running server alone.
const PASSING: [&str; 7] = [
    "lock",
    "server.json",
    "server.json.new",
    WORKSPACES_NOTE,
    "workspaces.json.new",
    "inside",
    UNPACKED,
];

/// Where the state is.
#[derive(Debug, Clone, Args)]
struct StateArgs {
    /// Configuration file (./pilothouse.yaml)
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// Folder of the store, the token and the sessions' homes
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Use files of the working folder although they weaken the sandbox or the access check
    #[arg(long)]
    trust_folder: bool,
}

/// What is written, and where.
#[derive(Debug, Clone, Args)]
pub(super) struct BackupArgs {
    /// The file, which must not exist; `-` for standard output
    file: PathBuf,
    /// Leave out the files of sessions (`workspace.path`)
    #[arg(long)]
    without_workspaces: bool,
    #[command(flatten)]
    state: StateArgs,
}

/// What an archive says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct BackupDescription {
    form: u32,
    pilothouse: String,
    schema: i64,
    created: String,
    /// By the number of each folder below `workspaces`: the agents whose sessions work there.
    workspaces: Vec<Vec<String>>,
    /// Where these folders were.
    #[serde(default)]
    paths: Vec<PathBuf>,
}

impl StateArgs {
    fn load(&self, environment: &Environment, cwd: &Path) -> Result<Config, Failure> {
        let flags = Flags {
            config: self.config.clone(),
            state_dir: self.state_dir.clone(),
            trust_folder: self.trust_folder,
            ..Flags::default()
        };
        let loaded = load_trusted(&flags, environment, cwd);
        let config = loaded.map_err(|error| Failure::of_config(&error))?.config;
        match config.store.path == Path::new("memory") {
            true => Err(Failure::usage("`store.path` is `memory`: there is nothing to be kept")),
            false => Ok(config),
        }
    }
}

// === backup ===

impl BackupArgs {
    /// Writes the state into a file.
    pub(super) fn run(&self, environment: &Environment, cwd: &Path) -> Result<u8, Failure> {
        let config = self.state.load(environment, cwd)?;
        if self.file == Path::new("-") {
            let out = io::stdout();
            if out.is_terminal() {
                return Err(Failure::usage("standard output is a terminal; name a file"));
            }
            let (_, found) = write(&config, self, out.lock())?;
            found.iter().for_each(|line| eprintln!("pilothouse: {line}"));
            return Ok(0);
        }
        let failure = |error: io::Error| {
            let name = self.file.display();
            match error.kind() {
                io::ErrorKind::AlreadyExists => Failure::usage(format!(
                    "{name} exists, and a backup replaces nothing; name another file, or remove this one"
                )),
                _ => Failure::new(exit::UNAVAILABLE, format!("{name}: {error}")),
            }
        };
        let options = OpenOptions::new().create_new(true).write(true).mode(0o600).clone();
        let file = options.open(&self.file).map_err(failure)?;
        let written = write(&config, self, &file)
            .and_then(|written| file.sync_all().map_err(failure).map(|()| written));
        let (description, found) = written.inspect_err(|_| {
            // Half a backup is none.
            let _ = fs::remove_file(&self.file);
        })?;
        let size = file.metadata().map_err(failure)?.len();
        found.iter().for_each(|line| println!("{line}"));
        println!(
            "{}: {size} bytes, schema {}, with the server's token and all that was said; keep it where nobody else reads it",
            self.file.display(),
            description.schema
        );
        Ok(0)
    }
}

fn write(
    config: &Config,
    args: &BackupArgs,
    out: impl Write,
) -> Result<(BackupDescription, Vec<String>), Failure> {
    let copy = StoreCopy::take(config).map_err(|error| of_store(&error))?;
    let roots = match args.without_workspaces {
        true => Vec::new(),
        false => find_workspace_roots(config),
    };
    let found = describe_workspaces(&roots, &copy.sessions);
    // What is in the state folder is kept with it.
    let is_kept =
        |root: &WorkspaceRoot| root.path.is_dir() && !root.path.starts_with(&config.state_dir);
    let roots: Vec<_> = roots.into_iter().filter(is_kept).collect();
    let description = BackupDescription {
        form: FORM,
        pilothouse: env!("CARGO_PKG_VERSION").to_owned(),
        schema: copy.schema,
        created: Timestamp::now().to_string(),
        workspaces: roots.iter().map(|root| root.agents.clone()).collect(),
        paths: roots.iter().map(|root| root.path.clone()).collect(),
    };
    write_entries(config, &description, copy, &roots, out).map_err(|error| {
        Failure::new(exit::UNAVAILABLE, format!("cannot write the backup: {error}"))
    })?;
    Ok((description, found))
}

/// How many workspaces there are in each folder, and how many sessions have none there.
fn describe_workspaces(roots: &[WorkspaceRoot], sessions: &[(String, String)]) -> Vec<String> {
    let describe = |root: &WorkspaceRoot| {
        let is_here = |(_, agent): &&(String, String)| root.agents.contains(agent);
        let sessions = sessions.iter().filter(is_here);
        let (there, missing): (Vec<_>, Vec<_>) =
            sessions.partition(|(id, _)| root.path.join(id).is_dir());
        let path = root.path.display();
        let found = format!("{} workspaces in {path}", there.len());
        match missing.len() {
            0 => found,
            count => format!(
                "{found}; {count} sessions have none there: if the server was started with another `workspace.path`, \
                 their files are not in the backup"
            ),
        }
    };
    roots.iter().map(describe).collect()
}

fn write_entries(
    config: &Config,
    description: &BackupDescription,
    copy: StoreCopy,
    roots: &[WorkspaceRoot],
    out: impl Write,
) -> io::Result<()> {
    let mut out = HashingWriter { inner: BufWriter::new(out), hasher: Sha256::new() };
    let text = serde_json::to_vec_pretty(description).map_err(io::Error::other)?;
    append(&mut out, DESCRIPTION, text.len() as u64, &*text)?;
    let mut store = copy.file;
    store.rewind()?;
    append(&mut out, STORE, store.metadata()?.len(), &store)?;
    let store = find_store_name(config)?;
    for entry in fs::read_dir(&config.state_dir)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(ToOwned::to_owned) else { continue };
        if is_left_out(store.as_deref(), &name) {
            continue;
        }
        let (kind, path) = (entry.file_type()?, format!("{STATE}/{name}"));
        if kind.is_dir() {
            append_folder(&entry.path(), Path::new(&path), &mut out)?;
        } else if kind.is_file() {
            // Written anew or removed meanwhile, like an audit log that was full.
            let Ok(file) = File::open(entry.path()) else { continue };
            append(&mut out, &path, file.metadata()?.len(), &file)?;
        }
    }
    for (number, root) in roots.iter().enumerate() {
        append_folder(&root.path, &Path::new(WORKSPACES).join(number.to_string()), &mut out)?;
    }
    let HashingWriter { inner: mut out, hasher } = out;
    let digest = hex(&hasher.finalize());
    append(&mut out, DIGEST, digest.len() as u64, digest.as_bytes())?;
    out.write_all(&[0; 2 * BLOCK])?;
    out.flush()
}

/// The name in the state folder of the store, or of the folder there that holds it; none where it lies elsewhere.
fn find_store_name(config: &Config) -> io::Result<Option<String>> {
    let store = config.state_dir.join(&config.store.path);
    let (Some(parent), Some(name)) = (store.parent(), store.file_name()) else { return Ok(None) };
    let store = fs::canonicalize(parent)?.join(name);
    let inside = store.strip_prefix(fs::canonicalize(&config.state_dir)?).ok();
    let first = inside.and_then(|inside| inside.iter().next());
    Ok(first.map(|name| name.to_string_lossy().into_owned()))
}

/// Whether something of the state folder is not kept: what is of a running server alone, and the store's own files, of
/// which there is a copy.
fn is_left_out(store: Option<&str>, name: &str) -> bool {
    let is_of_store = store.and_then(|store| name.strip_prefix(store)).is_some_and(|rest| {
        let others = [".before-upgrade", ".before-upgrade.new", ".backup.new", RESTORING];
        ["", "-wal", "-shm"].contains(&rest) || others.contains(&rest)
    });
    PASSING.contains(&name) || is_of_store
}

/// Adds a file of this size: filled up where it has become shorter, cut off where it has become longer.
fn append(out: &mut impl Write, name: &str, size: u64, from: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o600);
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    header.set_mtime(u64::try_from(Timestamp::now().as_millisecond() / 1000).unwrap_or_default());
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    io::copy(&mut from.chain(io::repeat(0)).take(size), out)?;
    let filled = size.next_multiple_of(BLOCK as u64) - size;
    io::copy(&mut io::repeat(0).take(filled), out)?;
    Ok(())
}

/// Hashes what is written.
struct HashingWriter<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_store(error: &store::Error) -> Failure {
    Failure::new(exit::UNAVAILABLE, error.to_string())
}

//! `pilothouse restore`: an archive is checked, unpacked beside its place, and moved there.

use super::{
    BLOCK, BackupDescription, DESCRIPTION, DIGEST, FORM, RESTORING, STATE, STORE, StateArgs,
    UNPACKED, WORKSPACES, find_store_name, hex, is_left_out, of_store,
};
use crate::client::exit;
use crate::client::failure::{Failure, causes};
use crate::config::{Config, Environment, make_state_folder};
use crate::store::{self, Claim};
use clap::Args;
use pilothouse_sandbox::workspace::remove_folder;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Bytes of a description.
const DESCRIPTION_BYTES: u64 = 1 << 20;

/// What is brought back, and where.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    state: StateArgs,
}

impl RestoreArgs {
    /// Brings a backup back into an empty state folder.
    pub(in crate::cli) fn run(&self, environment: &Environment, cwd: &Path) -> Result<u8, Failure> {
        let config = self.state.load(environment, cwd)?;
        let broken = |error: io::Error| {
            Failure::new(exit::FAILED, format!("{}: {error}", self.file.display()))
        };
        let mut archive = BufReader::new(File::open(&self.file).map_err(broken)?);
        let description = check(&mut archive).map_err(broken)?;
        archive.rewind().map_err(broken)?;
        let roots = find_places(&config, &description)?;
        // A server that is started meanwhile finds the folder in use.
        check_empty(&config.state_dir, "the state folder")?;
        check_no_store(&config)?;
        let holder = format!("a restore by process {}", std::process::id());
        let claim = Claim::new(&config, &holder).map_err(|error| of_store(&error))?;
        for root in &roots {
            check_empty(root, "the folder of workspaces")?;
        }
        let places = RestorePlaces::of(&config, roots)?;
        let restored = places.unpack(archive).and_then(|()| {
            store::check_copy(&places.unpacked_store()).map_err(|error| of_store(&error))?;
            places.move_all().map_err(broken)
        });
        places.remove_unpacked();
        restored?;
        drop(claim);
        for (number, root) in places.roots.iter().enumerate() {
            println!("{}", describe_root(root, description.paths.get(number)));
        }
        println!(
            "restored into {} what pilothouse {} had at {}; start the server with `pilothouse serve`",
            config.state_dir.display(),
            description.pilothouse,
            description.created
        );
        Ok(0)
    }
}

/// Reads an archive to its end and compares its digest; what it says of itself.
fn check(archive: &mut impl Read) -> io::Result<BackupDescription> {
    // The reader of the format has one kind of error for an archive that ends too early, and for what is none.
    let unreadable =
        |error: io::Error| io::Error::other(format!("it is no backup, or not whole ({error})"));
    let hash = RefCell::new(Lagging::default());
    let mut description = None;
    let mut archive = tar::Archive::new(HashingReader { inner: archive, hash: &hash });
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.into_owned();
        if path == Path::new(DESCRIPTION) {
            let mut text = Vec::new();
            entry.by_ref().take(DESCRIPTION_BYTES).read_to_end(&mut text)?;
            description = Some(serde_json::from_slice::<BackupDescription>(&text)?);
        } else if path == Path::new(DIGEST) {
            let found = hash.borrow().digest();
            let mut told = String::new();
            entry.by_ref().take(BLOCK as u64).read_to_string(&mut told)?;
            if told != found {
                return Err(io::Error::other("its digest differs: it was changed or damaged"));
            }
            let description = description.ok_or_else(|| io::Error::other("it is no backup"))?;
            return match description.form {
                FORM => Ok(description),
                _ => Err(io::Error::other(
                    "a newer pilothouse wrote it; restore it with that version",
                )),
            };
        }
    }
    Err(io::Error::other("it has no end: the backup was interrupted, or it is none"))
}

/// Where workspaces are now, and what the operator has to know where they were elsewhere.
fn describe_root(root: &Path, before: Option<&PathBuf>) -> String {
    let workspaces = fs::read_dir(root).into_iter().flatten().count();
    let now = format!("{workspaces} workspaces are in {}", root.display());
    match before.filter(|before| *before != root) {
        None => now,
        Some(before) => format!(
            "{now}; they were in {}: start the server so that this is its `workspace.path`",
            before.display()
        ),
    }
}

/// Refuses a store that is there: it would be lost, and what its log has would be added to the one that is restored.
fn check_no_store(config: &Config) -> Result<(), Failure> {
    let store = config.state_dir.join(&config.store.path);
    let found = ["", "-wal", "-shm"].map(|end| append_to_name(&store, end));
    match found.iter().find(|file| fs::symlink_metadata(file).is_ok()) {
        None => Ok(()),
        Some(file) => Err(Failure::usage(format!(
            "the store is to be restored to {}, and {} exists; move it away, or set `store.path` to another file",
            store.display(),
            file.display()
        ))),
    }
}

fn append_to_name(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Where the workspaces of an archive go: where the configuration of today has those of their agents.
fn find_places(config: &Config, description: &BackupDescription) -> Result<Vec<PathBuf>, Failure> {
    let place = |agents: &Vec<String>| {
        let agent = agents.iter().find_map(|name| config.agents.get(name));
        let agent = agent.ok_or_else(|| {
            let names = agents.join(", ");
            Failure::usage(format!(
                "the backup has workspaces of agents that are not configured here: {names}; configure one of them"
            ))
        })?;
        Ok(config.workspace.of(&agent.workspace).path)
    };
    description.workspaces.iter().map(place).collect()
}

fn check_empty(folder: &Path, what: &str) -> Result<(), Failure> {
    let failure = |why: String| Failure::usage(format!("{what} {} {why}", folder.display()));
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failure(format!("cannot be read: {error}"))),
        Ok(mut entries) => match entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lock")) {
            false => Ok(()),
            true => Err(failure(
                "is not empty; a backup is restored into an empty one: move it away, or name another".to_owned(),
            )),
        },
    }
}

/// Where everything goes.
struct RestorePlaces<'a> {
    config: &'a Config,
    roots: Vec<PathBuf>,
    store: PathBuf,
    /// Its name in the state folder, where it lies there.
    store_name: Option<String>,
}

impl<'a> RestorePlaces<'a> {
    /// Makes the folder of the store.
    fn of(config: &'a Config, roots: Vec<PathBuf>) -> Result<Self, Failure> {
        let store = config.state_dir.join(&config.store.path);
        let made = store.parent().map_or(Ok(()), fs::create_dir_all);
        let store_name = made.and_then(|()| find_store_name(config)).map_err(|error| {
            Failure::new(exit::UNAVAILABLE, format!("{}: {error}", store.display()))
        })?;
        Ok(Self { config, roots, store, store_name })
    }

    fn unpacked(&self) -> PathBuf {
        self.config.state_dir.join(UNPACKED)
    }

    fn unpacked_store(&self) -> PathBuf {
        // Beside its place: it is moved there whole, also where that is on another disk than the state folder.
        append_to_name(&self.store, RESTORING)
    }

    /// The folder in which an entry is unpacked; none for one that belongs nowhere.
    fn find_folder(&self, path: &Path) -> Option<PathBuf> {
        let mut names = path.components().filter_map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        match (names.next()?, names.next()) {
            (STATE, Some(name)) => {
                (!is_left_out(self.store_name.as_deref(), name)).then(|| self.unpacked())
            }
            (WORKSPACES, Some(number)) => {
                Some(self.roots.get(number.parse::<usize>().ok()?)?.join(UNPACKED))
            }
            _ => None,
        }
    }

    /// Unpacks an archive that was checked.
    fn unpack(&self, archive: impl Read) -> Result<(), Failure> {
        let failure = |path: &Path, error: &io::Error| {
            let words = format!("cannot restore {}: {}", path.display(), causes(Some(error)));
            Failure::new(exit::UNAVAILABLE, words)
        };
        let unreadable = |error: io::Error| failure(Path::new("the backup"), &error);
        make_state_folder(&self.config.state_dir)
            .map_err(|error| failure(&self.config.state_dir, &error))?;
        let mut archive = tar::Archive::new(archive);
        archive.set_preserve_permissions(true);
        archive.set_preserve_ownerships(rustix::process::geteuid().is_root());
        let (mut folders, mut too_deep) = (Vec::new(), 0u64);
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let path = entry.path().map_err(unreadable)?.into_owned();
            if path == Path::new(STORE) {
                let store = self.unpacked_store();
                entry.unpack(&store).map_err(|error| failure(&store, &error))?;
            }
            let Some(place) = self.find_folder(&path) else { continue };
            let made = fs::create_dir_all(&place).and_then(|()| entry.unpack_in(&place));
            match made {
                Ok(true) => {}
                // An agent may make folders so deep that no path leads there; the others are restored all the same.
                Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                    too_deep += 1;
                    continue;
                }
                Ok(false) => {
                    let leads_out = io::Error::other("it leads out of its folder");
                    return Err(failure(&path, &leads_out));
                }
                Err(error) => return Err(failure(&path, &error)),
            }
            if entry.header().entry_type().is_dir() {
                let folder = place.join(&path);
                let mode = entry.header().mode().map_err(unreadable)?;
                // Whatever it allows in the end, now something is put into it.
                fs::set_permissions(&folder, Permissions::from_mode(mode | 0o700))
                    .map_err(|error| failure(&path, &error))?;
                folders.push((folder, mode));
            }
        }
        for (folder, mode) in folders.into_iter().rev() {
            fs::set_permissions(&folder, Permissions::from_mode(mode))
                .map_err(|error| failure(&folder, &error))?;
        }
        if too_deep > 0 {
            eprintln!("{too_deep} files and folders lie too deep for a path, and are not restored");
        }
        Ok(())
    }

    /// Moves what was unpacked to its place.
    fn move_all(&self) -> io::Result<()> {
        move_entries(&self.unpacked().join(STATE), &self.config.state_dir)?;
        for (number, root) in self.roots.iter().enumerate() {
            let from = root.join(UNPACKED).join(WORKSPACES).join(number.to_string());
            move_entries(&from, root)?;
        }
        // The last step: without it a server would begin with an empty store.
        fs::rename(self.unpacked_store(), &self.store)
    }

    fn remove_unpacked(&self) {
        // There is none where it was moved to its place.
        let _ = fs::remove_file(self.unpacked_store());
        let folders = self.roots.iter().map(|root| root.join(UNPACKED)).chain([self.unpacked()]);
        for folder in folders.filter(|folder| folder.exists()) {
            if let Err(error) = remove_folder(&folder) {
                eprintln!("pilothouse: {} is left: {error}", folder.display());
            }
        }
    }
}

fn move_entries(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Hashes what is read but for the last block: the header of an entry is read before the entry is known.
#[derive(Default)]
struct Lagging {
    hasher: Sha256,
    last: Vec<u8>,
}

impl Lagging {
    fn add(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        let before = self.last.len().saturating_sub(BLOCK);
        self.hasher.update(&self.last[..before]);
        self.last.drain(..before);
    }

    /// Of all but the last block.
    fn digest(&self) -> String {
        hex(&self.hasher.clone().finalize())
    }
}

struct HashingReader<'a, R> {
    inner: R,
    hash: &'a RefCell<Lagging>,
}

impl<R: Read> Read for HashingReader<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hash.borrow_mut().add(&bytes[..read]);
        Ok(read)
    }
}

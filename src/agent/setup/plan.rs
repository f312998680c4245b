//! How a set-up is built in a phase of its own: its key, what is fetched, what is compiled, and what the script leaves.

use super::compile::Compiler;
use super::tree::{RevisionTree, make_folder};
use super::{CLAUDE, HOME, REVISION, SetupRevision, begin_folder, keep, seed};
use crate::config::{self, Config, CopyLimits, DeclaredSource, DriverKind, SourceKind};
use pilothouse_sandbox::workspace::Workspaces;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The script, in the folder of a revision in the making.
const SCRIPT: &str = "script";
/// The files that it reads, likewise.
const FILES: &str = "files";
/// What was fetched, in the HOME of the sandbox that fetches.
const SOURCES: &str = "sources";
/// Between two looks whether another process has finished a build.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What fetches sources, in the sandbox.
pub const FETCH: &str = include_str!("fetch.sh");

/// How a set-up is built.
pub struct SetupPlan {
    key: String,
    agent: config::Agent,
    limits: CopyLimits,
    state_dir: PathBuf,
    folder: PathBuf,
    program: String,
    /// What only the script is given. No value of it may be in the result.
    secrets: Vec<(String, String)>,
}

/// A revision in the making, whose folder is gone with it unless it is kept.
pub struct UnfinishedSetup {
    folder: PathBuf,
    key: String,
    /// What the compiler has made of the declared things.
    revision: SetupRevision,
}

impl Drop for UnfinishedSetup {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl SetupPlan {
    /// That of an agent which declares something that has a phase of its own. `env` is what the agent is passed,
    /// `environment` what the server has.
    pub(super) fn of(
        config: &Config,
        (key, agent, program): (&str, &config::Agent, &Path),
        folder: &Path,
        (env, environment): (&BTreeMap<String, String>, &BTreeMap<String, String>),
    ) -> Result<Self, String> {
        Ok(Self {
            key: key.to_owned(),
            agent: agent.clone(),
            limits: config.sessions.copy.clone(),
            state_dir: config.state_dir.clone(),
            folder: folder.to_owned(),
            program: identify(config, program),
            secrets: take_secrets(key, agent, env, environment)?,
        })
    }

    /// The key of the set-up as its files are now. Reads the disk.
    ///
    /// # Errors
    ///
    /// What cannot be read, or is refused.
    pub fn find_key(&self) -> Result<String, String> {
        let unfinished = begin_folder(&self.state_dir, &self.folder)?;
        let digest = self.add_declared(&unfinished, None).map(|(_, key)| key);
        let _ = fs::remove_dir_all(&unfinished);
        digest
    }

    /// The revision of today, if it is built; then it is noted as the one that new sessions begin with.
    ///
    /// # Errors
    ///
    /// What cannot be read, or is refused.
    pub fn find_built(&self) -> Result<Option<SetupRevisionRef>, String> {
        let key = self.find_key()?;
        let built = self.read(&key);
        if built.is_some() {
            self.note_latest(&key)
                .map_err(|error| format!("{}: {error}", self.latest().display()))?;
        }
        Ok(built)
    }

    /// The revision of this key, if it is built.
    pub fn read(&self, key: &str) -> Option<SetupRevisionRef> {
        SetupRevision::read(&self.folder, key).map(Arc::new)
    }

    /// A file beside the folder of revisions.
    fn beside(&self, what: &str) -> PathBuf {
        self.folder.with_file_name(format!("{}.{what}", self.key))
    }

    fn latest(&self) -> PathBuf {
        self.beside("latest")
    }

    /// Notes which revision was built last. It has its name when it is whole.
    pub(super) fn note_latest(&self, digest: &str) -> io::Result<()> {
        let fresh = self.beside("latest.new");
        fs::write(&fresh, digest)?;
        fs::rename(fresh, self.latest())
    }

    /// Takes over a revision that another state folder of this disk has, by its folder; blocking.
    ///
    /// # Errors
    ///
    /// When it cannot be moved.
    pub fn adopt(&self, folder: &Path) -> Result<(), String> {
        let digest = folder.file_name().unwrap_or_default().to_string_lossy();
        let moved = fs::rename(folder, self.folder.join(&*digest));
        let moved = moved.and_then(|()| self.note_latest(&digest));
        moved.map_err(|error| format!("{}: {error}", self.folder.display()))
    }

    /// The revision that was built last.
    pub(super) fn read_latest(&self) -> Option<SetupRevisionRef> {
        let digest = fs::read_to_string(self.latest()).ok()?;
        let is_digest = digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| self.read(&digest)).flatten()
    }

    /// Waits until no other process builds set-ups of this agent; none may before what is returned is dropped.
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the file that says so cannot be made.
    pub async fn lock(&self) -> io::Result<File> {
        let file = File::create(self.beside("lock"))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOK_AGAIN).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// The arguments of [`FETCH`], where there is something to fetch.
    pub fn fetch_arguments(&self) -> Vec<String> {
        let sources = self.agent.setup.sources.iter();
        let words = sources.filter_map(|(name, source)| arguments_of(name, source));
        words.flatten().collect()
    }

    /// Compiles what is declared and what was fetched into the HOME of a session; blocking.
    ///
    /// # Errors
    ///
    /// What is missing, or is refused.
    pub fn compile(&self, fetched: Option<&Path>) -> Result<UnfinishedSetup, String> {
        let sources = fetched.map(|home| home.join(SOURCES));
        let folder = begin_folder(&self.state_dir, &self.folder)?;
        let made = self.find_key().and_then(|key| {
            let (revision, _) = self.add_declared(&folder, sources.as_deref())?;
            Ok((revision, key))
        });
        match made {
            Ok((revision, key)) => {
                let unfinished = UnfinishedSetup { folder, key, revision };
                if self.has_script() && self.agent.driver == DriverKind::Claude {
                    // The script may write there before the CLI does.
                    let made = make_folder(&unfinished.folder.join(CLAUDE));
                    made.map_err(|error| error.to_string())?;
                }
                Ok(unfinished)
            }
            Err(why) => {
                let _ = fs::remove_dir_all(&folder);
                Err(why)
            }
        }
    }

    /// Puts what is declared into a folder. Without sources it is what the key is made of.
    fn add_declared(
        &self,
        folder: &Path,
        sources: Option<&Path>,
    ) -> Result<(SetupRevision, String), String> {
        let names = (self.key.as_str(), &self.agent);
        let mut compiler = Compiler::begin(folder, &self.limits, names, sources)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        compiler.tree().refuse(&self.secrets);
        compiler.add_all()?;
        let setup = &self.agent.setup;
        if let Some(script) = &setup.script {
            let copied = compiler.tree().copy(script, SCRIPT);
            copied.map_err(|error| format!("`script`: {}: {error}", script.display()))?;
        }
        for path in &setup.files {
            let failed = |why: String| format!("`files`: {}: {why}", path.display());
            let Some(found) = compiler.find(path).map_err(failed)? else { continue };
            let tree = compiler.tree();
            let name = found.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| failed("it has no name".to_owned()))?;
            let place = format!("{FILES}/{name}");
            if tree.has(&place) {
                return Err(failed("another file has the same name".to_owned()));
            }
            tree.copy(&found, &place).map_err(|error| failed(error.to_string()))?;
        }
        let declared = json!([setup, self.program, env!("CARGO_PKG_VERSION")]).to_string();
        let key = compiler.digest(&declared)?;
        Ok((compiler.finish(key.clone())?, key))
    }

    /// What the script is given beside the agent's environment: its files and the secrets.
    pub fn script_env(&self, unfinished: &UnfinishedSetup) -> Vec<(String, String)> {
        let files = unfinished.folder.join(FILES).to_string_lossy().into_owned();
        let mut env = vec![("PILOTHOUSE_SETUP_FILES".to_owned(), files)];
        env.extend(self.secrets.iter().cloned());
        env
    }

    /// A text without the values that only the script is given.
    pub fn mask(&self, text: &str) -> String {
        let secrets = self.secrets.iter();
        secrets
            .fold(text.to_owned(), |text, (name, value)| text.replace(value, &format!("[{name}]")))
    }

    /// Whether there is a script.
    pub fn has_script(&self) -> bool {
        self.agent.setup.script.is_some()
    }

    /// Puts what the script has left in its HOME in the place of what it began with; blocking.
    ///
    /// # Errors
    ///
    /// What cannot be read, is too much, or holds a secret.
    pub fn take_home(
        &self,
        unfinished: &mut UnfinishedSetup,
        home: &Path,
        built_in: [String; 2],
    ) -> Result<(), String> {
        unfinished.revision.built_in = Some(built_in);
        let taken = (|| {
            match fs::remove_dir_all(unfinished.folder.join(HOME)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut tree = RevisionTree::over(&unfinished.folder, &self.limits);
            tree.refuse(&self.secrets);
            tree.copy_home(home, HOME)
        })();
        taken.map_err(|error| format!("what the script has left in HOME cannot be kept: {error}"))
    }

    /// Gives a revision its name; blocking.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn finish(&self, mut unfinished: UnfinishedSetup) -> Result<SetupRevision, String> {
        let finished = (|| {
            let mut revision = unfinished.revision.clone();
            revision.digest.clone_from(&unfinished.key);
            let text = serde_json::to_vec(&revision)?;
            fs::write(unfinished.folder.join(REVISION), text)?;
            let revision = keep(&unfinished.folder, &self.folder, revision)?;
            unfinished.folder = PathBuf::new();
            self.note_latest(&revision.digest)?;
            Ok(revision)
        })();
        finished.map_err(|error: io::Error| format!("{}: {error}", self.folder.display()))
    }
}

impl UnfinishedSetup {
    /// The script.
    pub fn script(&self) -> PathBuf {
        self.folder.join(SCRIPT)
    }

    /// Folders of a session whose HOME begins with what is declared.
    pub fn seed(&self, workspaces: &Workspaces) -> Workspaces {
        seed(workspaces, self.folder.join(HOME))
    }
}

/// A revision that several hold.
type SetupRevisionRef = Arc<SetupRevision>;

/// The words by which one source is fetched: name, kind, address, ref and hash.
fn arguments_of(name: &str, source: &DeclaredSource) -> Option<[String; 5]> {
    let kind = source.kind()?;
    let (address, reference) = match kind {
        SourceKind::Git(url, reference) => (url, reference),
        SourceKind::Npm(address) | SourceKind::Archive(address) | SourceKind::Url(address) => {
            (address, "")
        }
    };
    let hash = source.sha256.as_deref().unwrap_or_default().to_ascii_lowercase();
    Some([name, kind.key(), address, reference, &hash].map(ToOwned::to_owned))
}

/// What only the script is given.
fn take_secrets(
    key: &str,
    agent: &config::Agent,
    env: &BTreeMap<String, String>,
    environment: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, String> {
    let mut secrets = Vec::new();
    for name in &agent.setup.secrets {
        if env.contains_key(name) {
            return Err(format!(
                "`secrets` names {name}, which `agents.{key}.env` gives to the agent as well; take it out of one of them"
            ));
        }
        let Some(value) = environment.get(name).filter(|value| !value.is_empty()) else {
            return Err(format!(
                "`secrets` names {name}, which the server's environment does not have; set it there or in .env"
            ));
        };
        secrets.push((name.clone(), value.clone()));
    }
    Ok(secrets)
}

/// What tells one version of the agent's program from another.
fn identify(config: &Config, program: &Path) -> String {
    let image = config.isolation.container.image.as_deref().unwrap_or_default();
    let Ok(real) = fs::canonicalize(program) else {
        return format!("{} {image}", program.display());
    };
    let stamp = fs::metadata(&real).map(|found| (found.len(), found.mtime(), found.mtime_nsec()));
    format!("{} {:?} {image}", real.display(), stamp.ok())
}

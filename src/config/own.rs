//! The server's own files: what it reads or writes for itself, and what it would read if it were there.
//!
//! This is the one list of them. `isolation::covers` keeps agents from them, `own::Record` remembers which of
//! them an agent could have made.

use super::load::Loaded;
use pilothouse_sandbox::isolation::OwnFile;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The names that are looked for in the working folder.
pub(super) const CONFIG: &str = "pilothouse.yaml";
pub(super) const FORERUNNER_CONFIG: &str = ".claude-code-agent.yaml";
pub(super) const ENV_FILE: &str = ".env";
pub(super) const SESSION_SCRIPT: &str = ".init-session.sh";

/// What names the folder of the [`Record`].
const RECORD_FOLDER: &str =
    "the state folder that options and variables name (`--state-dir`, PILOTHOUSE_STATE_DIR)";

/// Makes the state folder where it is missing, for the server's user alone: whoever may pass it reads mirrors of
/// repositories. One that is there stays as the operator has it.
///
/// # Errors
///
/// When it cannot be made.
pub fn make_state_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(folder)
}

fn read(path: impl Into<PathBuf>, named_by: &'static str, is_secret: bool) -> OwnFile {
    OwnFile { path: path.into(), named_by, is_secret, is_written: false }
}

fn written(path: impl Into<PathBuf>, named_by: &'static str) -> OwnFile {
    OwnFile { path: path.into(), named_by, is_secret: true, is_written: true }
}

impl Loaded {
    /// All files of the server's own; `program` is the server itself. Some of them are not there.
    pub fn own_files(&self, cwd: &Path, program: Option<&Path>) -> Vec<OwnFile> {
        let config = &self.config;
        let file = self.config_file.as_ref().map(|path| cwd.join(path));
        // It may hold a secret in a comment, or one that a variable overrides.
        let configuration = |path: PathBuf| read(path, "the configuration file", true);
        let mut own = vec![
            configuration(cwd.join(CONFIG)),
            configuration(cwd.join(FORERUNNER_CONFIG)),
            read(cwd.join(ENV_FILE), "the environment file", true),
            read(cwd.join(SESSION_SCRIPT), "the session script", false),
            read(&config.env_file.path, "`env_file.path`", true),
            written(&config.state_dir, "`state_dir`"),
        ];
        own.extend(file.map(configuration));
        // It may lie elsewhere than the state folder of a file.
        let record = self.record.as_ref().and_then(|record| record.path().parent());
        own.extend(record.map(|path| written(path, RECORD_FOLDER)));
        let init = config.sessions.init.iter();
        own.extend(init.map(|path| read(path, "`sessions.init`", false)));
        let key = config.card.signing.key.iter();
        own.extend(key.map(|path| read(path, "`card.signing.key`", true)));
        let tls = &config.server.tls;
        let certificates = [
            (&tls.cert, "`server.tls.cert`", false),
            (&tls.key, "`server.tls.key`", true),
            (&tls.client_ca, "`server.tls.client_ca`", false),
        ];
        own.extend(certificates.into_iter().filter_map(|(path, named_by, is_secret)| {
            Some(read(path.as_ref()?, named_by, is_secret))
        }));
        for agent in config.agents.values() {
            let own_of_agent = [
                (agent.init.as_ref(), "`agents.*.init`"),
                (agent.defaults_dir.as_ref(), "`agents.*.defaults_dir`"),
            ];
            for (path, named_by) in own_of_agent {
                own.extend(path.map(|path| read(cwd.join(path), named_by, false)));
            }
            let declared = agent.setup.sources();
            own.extend(declared.map(|path| read(cwd.join(path), "`agents.*.setup`", false)));
            let skills = agent.skills_from.iter();
            own.extend(skills.map(|path| read(cwd.join(path), "`agents.*.skills_from`", false)));
        }
        own.extend(program.map(|path| read(path, "this program", false)));
        own.extend(config.log.path.iter().map(|path| written(path, "`log.path`")));
        own.extend(config.audit_path().map(|path| written(path, "`audit`")));
        if config.store.path.is_absolute() {
            // The database, what SQLite keeps beside it, and the copy from before an upgrade.
            own.extend(["", "-wal", "-shm", ".before-upgrade", ".backup.new"].map(|ending| {
                let mut path = config.store.path.clone().into_os_string();
                path.push(ending);
                written(path, "`store.path`")
            }));
        }
        own
    }

    /// Files of the server's own that are read in the working folder, that are not named by an option or a variable, and that
    /// an agent may have made: they were not there when agents could make files in that folder.
    pub fn unknown_files(&self, cwd: &Path) -> io::Result<Vec<PathBuf>> {
        let Some(record) = &self.record else { return Ok(Vec::new()) };
        let names = record.read()?;
        let is_unknown = |path: &PathBuf| {
            names.contains(path)
                && path.symlink_metadata().is_ok()
                && !self.named.contains(path)
                && self.reads(path, cwd)
        };
        Ok(found_in(cwd).into_iter().filter(is_unknown).collect())
    }

    /// Whether a file of the working folder is read.
    fn reads(&self, path: &Path, cwd: &Path) -> bool {
        // `.env` is also asked for the name of the configuration file, where nothing else names that.
        let env_file = &self.config.env_file.path;
        let env_file = path == env_file || self.found.config && *path == cwd.join(ENV_FILE);
        env_file
            || self.config_file.as_ref().is_some_and(|file| cwd.join(file) == path)
            || self.config.sessions.init.as_deref() == Some(path)
    }
}

/// The files that are read where they lie in the working folder.
pub(super) fn found_in(cwd: &Path) -> [PathBuf; 4] {
    [CONFIG, FORERUNNER_CONFIG, ENV_FILE, SESSION_SCRIPT].map(|name| cwd.join(name))
}

/// Which files were missing in folders where agents could make them. It lies where options and variables put the
/// state folder, so that no file that an agent made can say that it lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record(PathBuf);

impl Record {
    /// In this state folder.
    pub(super) fn new(state: &Path) -> Self {
        Self(state.join("missing-files.json"))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn read(&self) -> io::Result<BTreeSet<PathBuf>> {
        match std::fs::read(&self.0) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Adds the files that are missing, and takes out those that the operator has named.
    pub fn update(&self, missing: &[PathBuf], named: &[PathBuf]) -> io::Result<()> {
        if missing.is_empty() && !self.0.exists() {
            // Nothing to remember, and nothing to take out.
            return Ok(());
        }
        if let Some(folder) = self.0.parent() {
            make_state_folder(folder)?;
        }
        // Servers of several working folders may share a state folder that only a file moves their own out of.
        let lock = File::create(self.0.with_extension("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let before = self.read()?;
        let mut after = before.clone();
        after.retain(|file| !named.contains(file));
        after.extend(missing.iter().cloned());
        if after == before {
            return Ok(());
        }
        let fresh = self.0.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(&after)?)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, load};

    fn loaded(cwd: &Path, flags: &Flags) -> Loaded {
        let home = cwd.join("home").display().to_string();
        load(flags, &Environment::from([("HOME", home.as_str())]), cwd).unwrap()
    }

    #[test]
    fn a_configuration_file_is_secret_whatever_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(CONFIG);
        for text in
            ["server: {port: 1}", "# token: 0123456789abcdef", "auth: {token: 0123456789abcdef}"]
        {
            std::fs::write(&file, text).unwrap();
            let own = loaded(folder.path(), &Flags::default()).own_files(folder.path(), None);
            assert!(own.iter().find(|own| own.path == file).unwrap().is_secret, "{text}");
        }
    }

    #[test]
    fn the_folder_of_the_record_is_written_wherever_a_file_puts_the_state() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONFIG), "state_dir: elsewhere").unwrap();
        let loaded = loaded(folder.path(), &Flags::default());
        let own = loaded.own_files(folder.path(), None);
        let record = loaded.record.unwrap();
        let lies = |own: &OwnFile| record.path().starts_with(&own.path) && own.is_written;
        assert!(own.iter().any(lies));
    }

    #[test]
    fn a_file_that_is_not_read_stops_no_start() {
        let folder = tempfile::tempdir().unwrap();
        let cwd = folder.path();
        let record = loaded(cwd, &Flags::default()).record.unwrap();
        record.update(&found_in(cwd), &[]).unwrap();
        std::fs::write(cwd.join("other.yaml"), "env_file: {path: other.env}").unwrap();
        std::fs::write(cwd.join("other.env"), "").unwrap();
        let other = Flags { config: Some("other.yaml".into()), ..Flags::default() };
        for name in [CONFIG, FORERUNNER_CONFIG, ENV_FILE] {
            std::fs::write(cwd.join(name), "").unwrap();
            assert_eq!(loaded(cwd, &other).unknown_files(cwd).unwrap(), Vec::<PathBuf>::new());
        }
        let unknown = loaded(cwd, &Flags::default()).unknown_files(cwd).unwrap();
        assert_eq!(unknown, [cwd.join(CONFIG), cwd.join(ENV_FILE)]);
        std::fs::write(cwd.join(SESSION_SCRIPT), "").unwrap();
        assert_eq!(loaded(cwd, &other).unknown_files(cwd).unwrap(), [cwd.join(SESSION_SCRIPT)]);
    }

    #[test]
    fn what_several_servers_remember_at_once_is_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::new(folder.path());
        let files: Vec<PathBuf> = (0..16).map(|number| format!("/file-{number}").into()).collect();
        std::thread::scope(|scope| {
            for file in &files {
                let record = &record;
                scope.spawn(move || record.update(std::slice::from_ref(file), &[]).unwrap());
            }
        });
        assert_eq!(record.read().unwrap(), files.into_iter().collect());
    }

    #[test]
    fn a_file_that_agents_could_make_is_unknown_until_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let cwd = folder.path();
        let file = cwd.join(CONFIG);
        let record = loaded(cwd, &Flags::default()).record.unwrap();
        record.update(std::slice::from_ref(&file), &[]).unwrap();
        let unknown = |flags: &Flags| loaded(cwd, flags).unknown_files(cwd).unwrap();
        assert_eq!(unknown(&Flags::default()), Vec::<PathBuf>::new());
        // What the file says of the state folder does not move the record.
        std::fs::write(&file, "state_dir: elsewhere").unwrap();
        assert_eq!(unknown(&Flags::default()), std::slice::from_ref(&file));
        let named = Flags { config: Some(CONFIG.into()), ..Flags::default() };
        assert_eq!(unknown(&named), Vec::<PathBuf>::new());
        record.update(&[], &loaded(cwd, &named).named).unwrap();
        assert_eq!(unknown(&Flags::default()), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = loaded(folder.path(), &Flags::default());
        let record = loaded.record.clone().unwrap();
        std::fs::create_dir_all(record.path().parent().unwrap()).unwrap();
        std::fs::write(record.path(), "{").unwrap();
        assert!(loaded.unknown_files(folder.path()).is_err());
    }
}

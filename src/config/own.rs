//! The server's own files: what it reads or writes for itself, and what it would read if it were there.
//!
//! This is the one list of them. `isolation::covers` keeps agents from them, `own::Record` remembers which of
//! them an agent could have made.

use super::load::Loaded;
use super::origin::Origin;
use super::secrets::masked;
use super::tree::to_json;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The names that are looked for in the working folder.
pub(super) const CONFIG: &str = "pilothouse.yaml";
pub(super) const FORERUNNER_CONFIG: &str = ".claude-code-agent.yaml";
pub(super) const ENV_FILE: &str = ".env";
pub(super) const SESSION_SCRIPT: &str = ".init-session.sh";

/// A file or folder of the server's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFile {
    /// Where it is; absolute.
    pub path: PathBuf,
    /// What names it: a key in backquotes, or words.
    pub named_by: &'static str,
    /// Whether it may hold a secret, so that agents must not read it.
    pub is_secret: bool,
    /// Whether the server writes there. Such a file comes and goes, so it cannot be covered.
    pub is_written: bool,
}

impl OwnFile {
    fn read(path: impl Into<PathBuf>, named_by: &'static str, is_secret: bool) -> Self {
        Self { path: path.into(), named_by, is_secret, is_written: false }
    }

    fn written(path: impl Into<PathBuf>, named_by: &'static str) -> Self {
        Self { path: path.into(), named_by, is_secret: true, is_written: true }
    }
}

impl Loaded {
    /// All files of the server's own; `program` is the server itself. Some of them are not there.
    pub fn own_files(&self, cwd: &Path, program: Option<&Path>) -> Vec<OwnFile> {
        let config = &self.config;
        let read = self.config_file.as_ref().map(|path| cwd.join(path));
        // Nobody knows what stands in one that is not read.
        let configuration = |path: PathBuf| {
            let is_secret = read.as_ref() != Some(&path) || self.config_file_holds_a_secret();
            OwnFile::read(path, "the configuration file", is_secret)
        };
        let mut own = vec![
            configuration(cwd.join(CONFIG)),
            configuration(cwd.join(FORERUNNER_CONFIG)),
            OwnFile::read(cwd.join(ENV_FILE), "the environment file", true),
            OwnFile::read(cwd.join(SESSION_SCRIPT), "the session script", false),
            OwnFile::read(&config.env_file.path, "`env_file.path`", true),
            OwnFile::written(&config.state_dir, "`state_dir`"),
        ];
        own.extend(read.clone().map(configuration));
        let init = config.sessions.init.iter();
        own.extend(init.map(|path| OwnFile::read(path, "`sessions.init`", false)));
        let key = config.card.signing.key.iter();
        own.extend(key.map(|path| OwnFile::read(path, "`card.signing.key`", true)));
        for agent in config.agents.values() {
            let own_of_agent = [
                (agent.init.as_ref(), "`agents.*.init`"),
                (agent.defaults_dir.as_ref(), "`agents.*.defaults_dir`"),
            ];
            for (path, named_by) in own_of_agent {
                own.extend(path.map(|path| OwnFile::read(cwd.join(path), named_by, false)));
            }
            let skills = agent.skills_from.iter();
            own.extend(
                skills.map(|path| OwnFile::read(cwd.join(path), "`agents.*.skills_from`", false)),
            );
        }
        own.extend(program.map(|path| OwnFile::read(path, "this program", false)));
        own.extend(config.log.path.iter().map(|path| OwnFile::written(path, "`log.path`")));
        own.extend(config.audit_path().map(|path| OwnFile::written(path, "`audit`")));
        if config.store.path.is_absolute() {
            own.push(OwnFile::written(&config.store.path, "`store.path`"));
        }
        own
    }

    /// Whether a value that `config show` masks comes from the file.
    fn config_file_holds_a_secret(&self) -> bool {
        let tree = to_json(&self.config);
        self.origins.iter().any(|(key, origin)| {
            let value = key.split('.').try_fold(&tree, |node, name| node.get(name));
            let value = value.unwrap_or(&Value::Null);
            matches!(origin, Origin::File { .. }) && masked(key, value) != *value
        })
    }

    /// Files of the server's own in the working folder that are not named by an option or a variable, and that
    /// an agent may have made: they were not there when agents could make files in that folder.
    ///
    /// # Errors
    ///
    /// When the record of such files cannot be read.
    pub fn unknown_files(&self, cwd: &Path) -> io::Result<Vec<PathBuf>> {
        let Some(record) = &self.record else { return Ok(Vec::new()) };
        let names = record.read()?;
        let is_unknown = |path: &PathBuf| {
            names.contains(path) && path.symlink_metadata().is_ok() && !self.named.contains(path)
        };
        Ok(found_in(cwd).into_iter().filter(is_unknown).collect())
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
    ///
    /// # Errors
    ///
    /// When it cannot be read or written.
    pub fn update(&self, missing: &[PathBuf], named: &[PathBuf]) -> io::Result<()> {
        let before = self.read()?;
        let mut after = before.clone();
        after.retain(|file| !named.contains(file));
        after.extend(missing.iter().cloned());
        if after == before {
            return Ok(());
        }
        if let Some(folder) = self.0.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let fresh = self.0.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec_pretty(&after)?)?;
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
    fn a_configuration_file_with_a_token_is_secret_and_one_without_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(CONFIG);
        let is_secret = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let own = loaded(folder.path(), &Flags::default()).own_files(folder.path(), None);
            own.iter().find(|own| own.path == file).unwrap().is_secret
        };
        assert!(!is_secret("server: {port: 1}"));
        assert!(is_secret("auth: {token: 0123456789abcdef}"));
        assert!(is_secret("egress: {git: [{host: example.com, token: abc}]}"));
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

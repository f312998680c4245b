//! From defaults, file, environment, `.env` and flags to one configuration.
//!
//! Each layer is laid over the one before it, key by key, and each value keeps its origin.

use super::error::Error;
use super::layers::Layers;
use super::origin::Origin;
use super::own::{CONFIG, ENV_FILE, FORERUNNER_CONFIG, Record};
use super::paths::{make_absolute, utf8};
use super::trust::{self, Found};
use super::{Config, ConfigSource, aliases, derive, dotenv};
use crate::plain_file;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use super::environment::Environment;
pub use super::flags::Flags;

/// What names a file that lies in the working folder, where nothing else does.
const FOUND: &str = "the working directory";

/// Bytes of a configuration or `.env` file; it is held in memory, and nothing is configured yet.
const LARGEST: u64 = 1024 * 1024;

/// A configuration that is complete, possible, and knows where it comes from.
#[derive(Clone)]
pub struct Loaded {
    /// The values. Paths are absolute, except `store.path`, which belongs under `state_dir`.
    pub config: Config,
    /// Where each dotted key has its value from.
    pub origins: BTreeMap<String, Origin>,
    /// Keys whose value an option has added to: the value before, and where it comes from.
    pub extended: Vec<(String, serde_json::Value, Origin)>,
    /// What the operator should know at start, a sentence each.
    pub notes: Vec<String>,
    /// Environment and `.env` in their order; what `env.pass` and `env.presets` pick from.
    pub agent_environment: BTreeMap<String, String>,
    /// The names that `.env` sets.
    pub env_file_names: Vec<String>,
    /// The configuration file that was read, as it was named.
    pub config_file: Option<PathBuf>,
    /// Which files nobody named.
    pub found: Found,
    /// Files that options and variables name, absolute.
    pub named: Vec<PathBuf>,
    /// Whether the operator trusts the files of the working folder.
    pub is_trusted: bool,
    /// What is remembered of files that agents could make; none where only a file of the working folder says where
    /// the state folder is.
    pub record: Option<Record>,
    /// From where it was read.
    pub source: ConfigSource,
}

/// The variables are named and not shown: their values may be secret.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("config", &self.config)
            .field("origins", &self.origins)
            .field("notes", &self.notes)
            .field("agent_environment", &self.agent_environment.keys())
            .field("env_file_names", &self.env_file_names)
            .finish_non_exhaustive()
    }
}

/// Reads all layers; `cwd` is what relative paths are relative to.
pub fn load(flags: &Flags, environment: &Environment, cwd: &Path) -> Result<Loaded, Error> {
    read_layers(flags, environment, cwd, Folder::Read)
}

/// The same, and refuses what files in the working folder say against the operator: what `serve` starts with.
pub fn load_trusted(flags: &Flags, environment: &Environment, cwd: &Path) -> Result<Loaded, Error> {
    let loaded = load(flags, environment, cwd)?;
    loaded.check_folder(cwd)?;
    Ok(loaded)
}

/// Reads what options and variables name, and nothing that only lies in the working folder: for commands
/// that hold a secret, in a folder that another person may have written.
pub fn load_named(flags: &Flags, environment: &Environment, cwd: &Path) -> Result<Loaded, Error> {
    read_layers(flags, environment, cwd, Folder::Ignored)
}

/// Whether files count that are found in the working folder and named by nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folder {
    Read,
    Ignored,
}

fn read_layers(
    flags: &Flags,
    environment: &Environment,
    cwd: &Path,
    folder: Folder,
) -> Result<Loaded, Error> {
    let mut layers = Layers::default();
    for name in &environment.unreadable {
        layers.note(format!("the variable {name} is left out because it is not UTF-8"));
    }

    // The file may be named in `.env`, and the file may name another `.env`.
    let implied = (folder == Folder::Read).then_some(ENV_FILE);
    let named_env = environment.get("PILOTHOUSE_ENV_FILE_PATH");
    let first_env = named_env.or(implied);
    let first_env = first_env.map(|path| read_env_file(Path::new(path), cwd, false));
    let first_env = first_env.and_then(Result::ok).unwrap_or_default();
    let file = find_file(flags, environment, &first_env, cwd, folder, &mut layers)?;
    if let Some((path, named_by)) = &file {
        layers.file(path, &read(path, cwd, named_by.clone())?)?;
    }
    let config_file = file.map(|(path, _)| path);
    let names_config = |name: &str| environment.get(name).map(PathBuf::from);
    let named_config = flags
        .config
        .clone()
        .or_else(|| names_config("PILOTHOUSE_CONFIG"))
        .or_else(|| names_config("CLAUDE_CODE_AGENT_CONFIG"));
    let is_config_named = config_file.is_some() && config_file == named_config;

    layers.env_file_keys(environment)?;
    let is_env_named = named_env.is_some()
        || is_config_named && matches!(layers.origin("env_file.path"), Origin::File { .. });
    let found = Found { config: !is_config_named, env_file: !is_env_named };
    let settings = layers.config().env_file;
    let asked_for = !matches!(layers.origin("env_file.path"), Origin::Default);
    let env_file = if asked_for || folder == Folder::Read {
        read_env_file(&settings.path, cwd, asked_for)?
    } else {
        BTreeMap::new()
    };
    let mut sources = [
        (&environment.variables, Origin::Environment as fn(String) -> Origin),
        (&env_file, Origin::EnvFile as fn(String) -> Origin),
    ];
    if !settings.overrides {
        sources.reverse();
    }
    layers.order(settings.overrides);
    let mut agent_environment = BTreeMap::new();
    for (variables, origin) in sources {
        layers.variables(variables, origin)?;
        agent_environment.extend(variables.clone());
    }
    let differing = env_file
        .iter()
        .filter(|(name, value)| {
            environment.variables.get(*name).is_some_and(|other| other != *value)
        })
        .map(|(name, _)| name.as_str());
    layers.note_differing(differing, &settings);

    flags.lay_over(&mut layers)?;
    aliases::settle(&mut layers, flags)?;
    derive::lay_over(&mut layers, environment, cwd);
    let mut config = layers.config();
    make_absolute(&mut config, environment.get("HOME"), cwd)?;
    layers.validate(&config)?;
    let extended = std::mem::take(&mut layers.extended);
    let (origins, notes) = layers.finish(&config);
    Ok(Loaded {
        config,
        origins,
        extended,
        notes,
        agent_environment,
        env_file_names: env_file.into_keys().collect(),
        config_file,
        found,
        named: named_files(flags, environment, named_config, cwd),
        is_trusted: flags.trust_folder || is_set(environment, trust::VARIABLE),
        record: match folder {
            Folder::Read => named_state(flags, environment, cwd).map(|state| Record::new(&state)),
            Folder::Ignored => None,
        },
        source: ConfigSource::new(flags, environment, cwd),
    })
}

/// Whether a variable of the environment says yes.
fn is_set(environment: &Environment, name: &str) -> bool {
    environment.get(name).is_some_and(|text| !matches!(text, "0" | "false" | "no" | "off"))
}

/// The state folder, as options and variables have it.
fn named_state(flags: &Flags, environment: &Environment, cwd: &Path) -> Option<PathBuf> {
    let flags = Flags { state_dir: flags.state_dir.clone(), ..Flags::default() };
    let names = ["PILOTHOUSE_STATE_DIR", "XDG_STATE_HOME", "HOME"];
    let known = environment.variables.iter().filter(|(name, _)| names.contains(&name.as_str()));
    let variables = known.map(|(name, value)| (name.clone(), value.clone())).collect();
    let environment = Environment { variables, unreadable: Vec::new() };
    Some(load_named(&flags, &environment, cwd).ok()?.config.state_dir)
}

/// Files that options and variables of the environment name.
fn named_files(
    flags: &Flags,
    environment: &Environment,
    config: Option<PathBuf>,
    cwd: &Path,
) -> Vec<PathBuf> {
    let variables = ["PILOTHOUSE_ENV_FILE_PATH", "PILOTHOUSE_SESSIONS_INIT", "INIT_SESSION"];
    let variables = variables.into_iter().filter_map(|name| environment.get(name));
    let named = variables.map(PathBuf::from).chain(config).chain(flags.init_session.clone());
    // Without `.` in between, so that it is the path as it is looked for.
    named.map(|path| cwd.join(path).components().collect()).collect()
}

/// Reads one file over the defaults, without environment, `.env` and flags; gives the notes.
pub fn check(file: &Path) -> Result<Vec<String>, Error> {
    let mut layers = Layers::default();
    layers.file(file, &read(file, Path::new(""), "the command line".to_owned())?)?;
    aliases::settle(&mut layers, &Flags::default())?;
    derive::lay_over(&mut layers, &Environment::default(), Path::new(""));
    let config = layers.config();
    layers.validate(&config)?;
    Ok(layers.finish(&config).1)
}

/// The file to read and who named it; `pilothouse.yaml` wins over the forerunner's.
fn find_file(
    flags: &Flags,
    environment: &Environment,
    env_file: &BTreeMap<String, String>,
    cwd: &Path,
    folder: Folder,
    layers: &mut Layers,
) -> Result<Option<(PathBuf, String)>, Error> {
    let variable = |name: &str| {
        let inside = env_file.get(name).map(String::as_str).filter(|value| !value.is_empty());
        inside.or_else(|| environment.get(name)).map(|path| (PathBuf::from(path), name.to_owned()))
    };
    let present = |name: &str| {
        let counts = folder == Folder::Read && cwd.join(name).exists();
        counts.then(|| (PathBuf::from(name), FOUND.to_owned()))
    };
    let ours = flags
        .config
        .clone()
        .map(|path| (path, "--config".to_owned()))
        .or_else(|| variable("PILOTHOUSE_CONFIG"))
        .or_else(|| present(CONFIG));
    let theirs = variable("CLAUDE_CODE_AGENT_CONFIG").or_else(|| present(FORERUNNER_CONFIG));
    if let (Some((ours, _)), Some((theirs, _))) = (&ours, &theirs)
        && ours != theirs
    {
        layers.note(format!("`{}` is not read because `{}` is", theirs.display(), ours.display()));
    }
    let found = ours.or(theirs);
    if let Some((path, _)) = &found {
        utf8("the configuration file", path)?;
    }
    Ok(found)
}

fn read(path: &Path, cwd: &Path, named_by: String) -> Result<String, Error> {
    read_text(&cwd.join(path)).map_err(|cause| Error::Unreadable {
        path: path.to_owned(),
        named_by,
        cause,
    })
}

/// The text of a file. It is read again at a reload, so it is no pipe.
fn read_text(path: &Path) -> io::Result<String> {
    let bytes = plain_file::read(path, LARGEST)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The `.env` file; one that nobody asked for may be missing, or be a folder of that name.
fn read_env_file(
    path: &Path,
    cwd: &Path,
    asked_for: bool,
) -> Result<BTreeMap<String, String>, Error> {
    let named_by = if asked_for { "`env_file.path`" } else { FOUND };
    match read(path, cwd, named_by.to_owned()) {
        Ok(text) => dotenv::parse(&text, path),
        Err(Error::Unreadable { cause, .. })
            if !asked_for
                && matches!(
                    cause.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::IsADirectory
                ) =>
        {
            Ok(BTreeMap::new())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;

//! What a file that only lies in the working folder says against the sandbox or the access check. Another person
//! may have written that file, so `serve` asks for a word of the operator's own.

use super::isolation::{BackendKind, Isolation};
use super::load::Loaded;
use super::origin::Origin;
use super::tree::to_json;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;

/// The option by which the operator accepts them, and its variable.
const TRUST_FOLDER: &str = "--trust-folder";
pub(super) const VARIABLE: &str = "PILOTHOUSE_TRUST_FOLDER";

/// Words among an agent's arguments and modes by which it runs everything without asking.
const ASKS_NOBODY: [&str; 8] = [
    "bypassPermissions",
    "--dangerously-skip-permissions",
    "--allow-dangerously-skip-permissions",
    "--dangerously-bypass-approvals-and-sandbox",
    "--yolo",
    "yolo",
    "agent-full-access",
    "danger-full-access",
];

/// Variables that choose which program makes the sandbox, or which engine.
const CHOOSES_A_PROGRAM: [&str; 6] = [
    "PATH",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
];

/// Whether an agent with this argument or mode runs everything without asking.
pub fn asks_nobody(word: &str) -> bool {
    word.rsplit('=').any(|word| ASKS_NOBODY.contains(&word))
}

/// Which files were found in the working folder, and named by no option and no variable of the environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The configuration file.
    pub config: bool,
    /// The `.env` file.
    pub env_file: bool,
}

/// Why `serve` does not use the files of the working folder.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// They take something of the sandbox or of the access check away.
    #[error(
        "files that were found in the working folder weaken the sandbox or the access check:\n{}\nif you wrote \
         them, start with `{TRUST_FOLDER}` (or {VARIABLE}=1 in the environment), or name the file with `--config`",
        lines(.0)
    )]
    Weak(Vec<Weakness>),
    /// An agent may have made them.
    #[error(
        "an agent may have made {}: the file was not there when agents could write in that folder; read it, then \
         remove it or name it once (`--config`, `--init-session`, or PILOTHOUSE_ENV_FILE_PATH in the environment)",
        paths(.0)
    )]
    Unknown(Vec<PathBuf>),
    /// Nobody knows whether one has.
    #[error(
        "cannot read which files agents could make ({path}): {source}; correct or remove it, after a look at the \
         files in the working folder"
    )]
    Record {
        /// The record.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// A value that takes something of the sandbox or of the access check away.
#[derive(Debug, PartialEq, Eq)]
pub struct Weakness {
    /// A key, or a variable.
    key: String,
    /// None of a variable, which may hold a secret.
    value: Option<Value>,
    origin: Origin,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, origin } = self;
        match value {
            None => write!(f, "`{key}` ({origin})"),
            Some(Value::String(text)) => write!(f, "`{key}: {text}` ({origin})"),
            Some(value) => write!(f, "`{key}: {value}` ({origin})"),
        }
    }
}

fn lines(all: &[Weakness]) -> String {
    let lines: Vec<String> = all.iter().map(|one| format!("  {one}")).collect();
    lines.join("\n")
}

fn paths(all: &[PathBuf]) -> String {
    let all: Vec<String> = all.iter().map(|path| path.display().to_string()).collect();
    all.join(" and ")
}

impl Loaded {
    /// Refuses what files in the working folder say against the operator, who has not named them.
    ///
    /// # Errors
    ///
    /// The files, or their values, and what accepts them.
    pub fn check_folder(&self, cwd: &std::path::Path) -> Result<(), Distrust> {
        let unknown = self.unknown_files(cwd).map_err(|source| Distrust::Record {
            path: self.record.as_ref().map_or_else(PathBuf::new, |one| one.path().to_owned()),
            source,
        })?;
        if !unknown.is_empty() {
            return Err(Distrust::Unknown(unknown));
        }
        let weak = self.weaknesses();
        if weak.is_empty() || self.is_trusted { Ok(()) } else { Err(Distrust::Weak(weak)) }
    }

    /// The values of found files that weaken the sandbox or the access check.
    fn weaknesses(&self) -> Vec<Weakness> {
        let config = &self.config;
        let (isolation, egress, auth) = (&config.isolation, &config.egress, &config.auth);
        let is_any = |hosts: &[String]| hosts.iter().any(|host| host == "*");
        let required = Isolation::default().require;
        let mut weak = vec![
            ("isolation.backend".to_owned(), isolation.backend == BackendKind::None),
            (
                "isolation.require".to_owned(),
                required.iter().any(|one| !isolation.require.contains(one)),
            ),
            ("isolation.read".to_owned(), !isolation.read.is_empty()),
            ("isolation.write".to_owned(), !isolation.write.is_empty()),
            ("isolation.uids.count".to_owned(), isolation.uids.count == 0),
            ("egress.allow".to_owned(), is_any(&egress.allow)),
            ("egress.setup".to_owned(), is_any(&egress.setup)),
            ("egress.inner".to_owned(), !egress.inner.is_empty()),
            ("auth.required".to_owned(), !auth.required),
            ("auth.insecure".to_owned(), auth.insecure),
            ("server.host".to_owned(), !auth.required && !config.is_loopback()),
        ];
        for (name, agent) in &config.agents {
            let key = |rest: &str| format!("agents.{name}.{rest}");
            weak.extend([
                (key("permission_mode"), asks_nobody(&agent.permission_mode)),
                (key("mode"), agent.mode.as_deref().is_some_and(asks_nobody)),
                (key("args"), agent.args.iter().any(|word| asks_nobody(word))),
                (key("egress.allow"), agent.egress.allow.as_deref().is_some_and(is_any)),
            ]);
        }
        let tree = to_json(config);
        let weak = weak.into_iter().filter_map(|(key, is_weak)| {
            let origin = self.origins.get(&key)?;
            let is_found = match origin {
                Origin::File { .. } => self.found.config,
                Origin::EnvFile(_) => self.found.env_file,
                Origin::Default | Origin::Derived(_) | Origin::Environment(_) | Origin::Flag(_) => {
                    false
                }
            };
            let value = key.split('.').try_fold(&tree, |node, name| node.get(name))?.clone();
            let origin = origin.clone();
            (is_weak && is_found).then_some(Weakness { key, value: Some(value), origin })
        });
        let names = self.env_file_names.iter().filter(|_| self.found.env_file);
        let names = names.filter(|name| CHOOSES_A_PROGRAM.contains(&name.as_str()));
        let variables = names.map(|name| Weakness {
            key: name.clone(),
            value: None,
            origin: Origin::EnvFile(name.clone()),
        });
        weak.chain(variables).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, load};

    const WEAK: [&str; 13] = [
        "isolation: {backend: none}",
        "isolation: {require: [env]}",
        "isolation: {read: [/srv]}",
        "isolation: {write: [/srv]}",
        "isolation: {uids: {count: 0}}",
        "egress: {allow: ['*']}",
        "egress: {setup: ['*']}",
        "egress: {inner: [10.0.0.0/8]}",
        "auth: {required: false}",
        "auth: {insecure: true}",
        "agents: {claude: {permission_mode: bypassPermissions}}",
        "agents: {claude: {args: [--dangerously-skip-permissions]}}",
        "agents: {claude: {egress: {allow: ['*']}}}",
    ];

    fn check<const N: usize>(
        files: [(&str, &str); N],
        variables: &[(&str, &str)],
        flags: &Flags,
    ) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut environment = Environment::from([("HOME", "/nonexistent")]);
        for (name, value) in variables {
            environment.variables.insert((*name).to_owned(), (*value).to_owned());
        }
        let loaded = load(flags, &environment, folder.path()).unwrap();
        loaded.check_folder(folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_value_that_weakens_the_sandbox_is_refused_where_its_file_was_only_found() {
        for text in WEAK {
            let files = [("pilothouse.yaml", text)];
            let said = check(files, &[], &Flags::default()).unwrap_err();
            assert!(said.contains("(pilothouse.yaml:1)") && said.contains(TRUST_FOLDER), "{said}");
            let named = Flags { config: Some("pilothouse.yaml".into()), ..Flags::default() };
            assert_eq!(check(files, &[], &named), Ok(()), "{text}");
            assert_eq!(
                check(files, &[("PILOTHOUSE_CONFIG", "pilothouse.yaml")], &Flags::default()),
                Ok(())
            );
            let trusted = Flags { trust_folder: true, ..Flags::default() };
            assert_eq!(check(files, &[], &trusted), Ok(()), "{text}");
            assert_eq!(check(files, &[(VARIABLE, "1")], &Flags::default()), Ok(()), "{text}");
        }
    }

    #[test]
    fn an_environment_file_that_was_found_can_neither_weaken_the_sandbox_nor_trust_itself() {
        for more in ["", "PILOTHOUSE_TRUST_FOLDER=1\n"] {
            let text = format!(
                "{more}PILOTHOUSE_ISOLATION_BACKEND=none\nPILOTHOUSE_AUTH_REQUIRED=false\n"
            );
            let said = check([(".env", &text)], &[], &Flags::default()).unwrap_err();
            for line in [
                "  `isolation.backend: none` (.env PILOTHOUSE_ISOLATION_BACKEND)\n",
                "  `auth.required: false` (.env PILOTHOUSE_AUTH_REQUIRED)\n",
            ] {
                assert!(said.contains(line), "{said}");
            }
        }
    }

    #[test]
    fn an_environment_file_that_was_found_does_not_choose_the_program_that_makes_the_sandbox() {
        let files = [(".env", "PATH=/srv/evil\n")];
        let said = check(files, &[], &Flags::default()).unwrap_err();
        assert!(said.contains("`PATH` (.env PATH)") && !said.contains("/srv/evil"), "{said}");
        assert_eq!(
            check(files, &[("PILOTHOUSE_ENV_FILE_PATH", ".env")], &Flags::default()),
            Ok(())
        );
    }

    #[test]
    fn a_file_that_a_found_file_names_is_found_as_well() {
        let other = "isolation: {backend: none}";
        let files = [(".env", "PILOTHOUSE_CONFIG=other.yaml"), ("other.yaml", other)];
        assert!(check(files, &[], &Flags::default()).is_err());
        let env = "PILOTHOUSE_ISOLATION_BACKEND=none";
        let files = [("pilothouse.yaml", "env_file: {path: other.env}"), ("other.env", env)];
        assert!(check(files, &[], &Flags::default()).is_err());
    }

    #[test]
    fn what_the_operator_says_himself_is_not_asked_about() {
        let files = [("pilothouse.yaml", "server: {port: 1}"), (".env", "API_TOKEN=team-secret")];
        let flags = Flags { isolation: Some("none".to_owned()), no_auth: true, ..Flags::default() };
        assert_eq!(check(files, &[("PILOTHOUSE_ISOLATION_READ", "/srv")], &flags), Ok(()));
    }
}

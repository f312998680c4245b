//! What a file that only lies in the working folder may say: what names, bounds and describes, and paths below that
//! folder. Another person may have written it, so for all else `serve` asks for a word of the operator's own. What
//! is not in the list of [`Loaded::is_harmless`] is asked about, so a new key is asked about until it is put there.

use super::isolation::Isolation;
use super::load::Loaded;
use super::origin::Origin;
use super::secrets::masked;
use super::tree::to_json;
use super::{AskPolicy, Config, WorkspaceMode};
use pilothouse_sandbox::isolation::BackendKind;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};

/// The option by which the operator accepts them, and its variable.
const TRUST_FOLDER: &str = "--trust-folder";
pub(super) const VARIABLE: &str = "PILOTHOUSE_TRUST_FOLDER";

/// Words among an agent's arguments and modes by which it runs everything without asking.
const ASKS_NOBODY: [&str; 15] = [
    "bypassPermissions",
    "--dangerously-skip-permissions",
    "--allow-dangerously-skip-permissions",
    "--dangerously-bypass-approvals-and-sandbox",
    "--yolo",
    "yolo",
    "agent-full-access",
    "danger-full-access",
    "approval_policy=never",
    "--ask-for-approval=never",
    "--full-auto",
    "--allow-all-tools",
    "--allow-all",
    "--force",
    "-y",
];

/// Options of an agent whose value a found file may choose.
const HARMLESS_OPTIONS: [&str; 4] = ["--model", "--fallback-model", "--effort", "--max-turns"];

/// Variables that choose which program makes the sandbox, or which engine, or who reads what models are asked.
const RESERVED_VARIABLES: [&str; 13] = [
    "PATH",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Whether an agent with this argument or mode runs everything without asking.
pub fn asks_nobody(word: &str) -> bool {
    let plain: String = word.chars().filter(|c| !matches!(c, '"' | '\'' | ' ')).collect();
    let value = plain.rsplit('=').next().unwrap_or_default();
    // As JSON: `--settings={"permissions":{"defaultMode":"bypassPermissions"}}`.
    ASKS_NOBODY.iter().any(|&one| one == plain || one == value) || plain.contains(ASKS_NOBODY[0])
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
    /// They say what only the operator may say.
    #[error(
        "files that were found in the working folder say what could weaken the sandbox or the access check:\n{}\nif \
         you wrote them, start with `{TRUST_FOLDER}` (or {VARIABLE}=1 in the environment), or name {}",
        lines(.0),
        names(.0)
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

/// A value that could take something of the sandbox or of the access check away.
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

/// How the files are named in which these stand.
fn names(all: &[Weakness]) -> String {
    let config = all.iter().any(|one| matches!(one.origin, Origin::File { .. }));
    let config = config.then_some("the configuration file with `--config`");
    let env_file = all.iter().any(|one| matches!(one.origin, Origin::EnvFile(_)));
    let env_file = env_file.then_some("`.env` with PILOTHOUSE_ENV_FILE_PATH in the environment");
    let all: Vec<&str> = config.into_iter().chain(env_file).collect();
    all.join(" and ")
}

fn paths(all: &[PathBuf]) -> String {
    let all: Vec<String> = all.iter().map(|path| path.display().to_string()).collect();
    all.join(" and ")
}

impl Loaded {
    /// Refuses what files in the working folder say against the operator, who has not named them.
    pub fn check_folder(&self, cwd: &Path) -> Result<(), Distrust> {
        let unknown = self.unknown_files(cwd).map_err(|source| Distrust::Record {
            path: self.record.as_ref().map_or_else(PathBuf::new, |one| one.path().to_owned()),
            source,
        })?;
        if !unknown.is_empty() {
            return Err(Distrust::Unknown(unknown));
        }
        let weak = self.weaknesses(cwd);
        if weak.is_empty() || self.is_trusted { Ok(()) } else { Err(Distrust::Weak(weak)) }
    }

    /// Whether a value stands in a file that nobody named.
    pub fn is_found(&self, origin: &Origin) -> bool {
        match origin {
            Origin::File { .. } => self.found.config,
            Origin::EnvFile(_) => self.found.env_file,
            Origin::Default | Origin::Derived(_) | Origin::Environment(_) | Origin::Flag(_) => {
                false
            }
        }
    }

    /// The values of found files that only the operator may choose.
    fn weaknesses(&self, cwd: &Path) -> Vec<Weakness> {
        let tree = to_json(&self.config);
        let chosen = self.origins.iter().map(|(key, origin)| {
            let value = key.split('.').try_fold(&tree, |node, name| node.get(name));
            (key, value.cloned().unwrap_or(Value::Null), origin)
        });
        // Options were put behind what these files say.
        let extended =
            self.extended.iter().map(|(key, value, origin)| (key, value.clone(), origin));
        let weak = chosen.chain(extended).filter(|(key, value, origin)| {
            self.is_found(origin) && !self.is_harmless(key, value, cwd)
        });
        let weak = weak.map(|(key, value, origin)| Weakness {
            key: key.clone(),
            value: Some(masked(key, &value)),
            origin: origin.clone(),
        });
        let names = self.env_file_names.iter().filter(|_| self.found.env_file);
        let names = names.filter(|name| {
            let plain = name.to_ascii_uppercase();
            RESERVED_VARIABLES.contains(&plain.as_str())
        });
        let variables = names.map(|name| Weakness {
            key: name.clone(),
            value: None,
            origin: Origin::EnvFile(name.clone()),
        });
        weak.chain(variables).collect()
    }

    /// Whether a found file may give this key this value.
    fn is_harmless(&self, key: &str, value: &Value, cwd: &Path) -> bool {
        let config = &self.config;
        let text = value.as_str().unwrap_or_default();
        let is_inside = |path: &str| leads_inside(&cwd.join(path), cwd);
        let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        let key: Vec<&str> = key.split('.').collect();
        match key.as_slice() {
            ["server", "port"]
            | ["auth", "priorities", ..]
            | ["store", "retention", ..]
            | ["sessions", "retention" | "copy" | "sweep_every", ..]
            | ["workspace", "shared_turns"]
            | ["card", "default" | "max_age"]
            | ["card", "signing", "kid"]
            | ["asks" | "processes" | "limits" | "budgets" | "timeouts" | "compat" | "agent", ..]
            | ["isolation", "limits", ..]
            | ["egress", "connections" | "own_requests" | "requests"]
            | ["log", "level" | "format" | "console" | "max_size" | "keep" | "color"]
            | ["env_file", "override"] => true,
            ["push", name] => *name != "allow" || is_empty,
            // Whoever wrote the file knows such a token.
            ["auth", "token" | "tokens", ..] | ["server", "host"] => config.is_loopback(),
            ["auth", "required"] => config.auth.required,
            ["auth", "insecure"] => !config.auth.insecure,
            ["isolation", "backend"] => config.isolation.backend != BackendKind::None,
            ["isolation", "require"] => {
                let usual = Isolation::default().require;
                usual.iter().all(|one| config.isolation.require.contains(one))
            }
            ["workspace", "mode" | "path"] => leads_inside(&config.workspace.path, cwd),
            ["state_dir"] | ["sessions", "init"] | ["log", "path"] | ["env_file", "path"] => {
                is_empty || is_inside(text)
            }
            ["store", "path"] => is_inside(text),
            ["audit"] => matches!(text, "auto" | "stderr") || text != "off" && is_inside(text),
            ["agents", agent, rest @ ..] => self.is_harmless_of_agent(agent, rest, value, cwd),
            _ => is_empty,
        }
    }

    /// The same for a key of an agent.
    fn is_harmless_of_agent(&self, name: &str, key: &[&str], value: &Value, cwd: &Path) -> bool {
        let Some(agent) = self.config.agents.get(name) else { return false };
        let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        let is_inside = |path: &PathBuf| leads_inside(path, cwd);
        match key {
            [
                "serve" | "name" | "description" | "version" | "replies" | "driver" | "preset"
                | "auth_method" | "input" | "terminator" | "format" | "model" | "warm"
                | "disallowed_tools" | "max_retries" | "skills_source" | "background"
                | "background_grace" | "background_end" | "patch",
            ]
            | ["skills" | "extensions" | "budgets" | "results", ..]
            | ["workspace", "shared_turns"] => true,
            ["permission_mode"] => !asks_nobody(&agent.permission_mode),
            ["mode"] => !agent.mode.as_deref().is_some_and(asks_nobody),
            ["args"] => {
                let words = value.as_array().into_iter().flatten();
                are_harmless(words.map(|word| word.as_str().unwrap_or_default()))
            }
            ["asks"] => agent.asks != AskPolicy::Allow,
            ["ask_rules"] => agent.ask_rules.iter().all(|rule| rule.policy != AskPolicy::Allow),
            ["workspace", "mode" | "path"] => {
                let mode = agent.workspace.mode.unwrap_or(self.config.workspace.mode);
                let path = agent.workspace.path.as_ref().unwrap_or(&self.config.workspace.path);
                is_inside(path) || agent.workspace.path.is_none() && mode == WorkspaceMode::Session
            }
            ["init"] => agent.init.iter().all(is_inside),
            ["defaults_dir"] => agent.defaults_dir.iter().all(is_inside),
            ["skills_from"] => agent.skills_from.iter().all(is_inside),
            ["env", "presets"] => {
                let usual = Config::default();
                let usual = usual.agents.get(name).map(|agent| agent.env.presets.clone());
                let usual = usual.unwrap_or_default();
                let is_usual = |one: &String| usual.contains(one) || one == "proxy" || one == "ca";
                agent.env.presets.iter().all(is_usual)
            }
            _ => is_empty,
        }
    }
}

/// Whether arguments are nothing but options whose value may be chosen, each with its value.
fn are_harmless<'a>(words: impl Iterator<Item = &'a str>) -> bool {
    let mut is_value = false;
    for word in words {
        let (option, value) = word.split_once('=').map_or((word, None), |(a, b)| (a, Some(b)));
        if is_value {
            if word.starts_with('-') || word.contains('/') || asks_nobody(word) {
                return false;
            }
            is_value = false;
        } else if !HARMLESS_OPTIONS.contains(&option)
            || value.is_some_and(|value| value.contains('/') || asks_nobody(value))
        {
            return false;
        } else {
            is_value = value.is_none();
        }
    }
    true
}

/// Whether what lies at a path, or would be made there, really lies in a folder.
fn leads_inside(path: &Path, folder: &Path) -> bool {
    let plain = path.components().all(|part| part != std::path::Component::ParentDir);
    let real = path.ancestors().find(|above| above.symlink_metadata().is_ok());
    let real = real.and_then(|above| above.canonicalize().ok());
    let folder = folder.canonicalize();
    plain && folder.is_ok_and(|folder| real.is_some_and(|real| real.starts_with(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, load};

    const WEAK: &[&str] = &[
        "isolation: {backend: none}",
        "isolation: {require: [env]}",
        "isolation: {read: [/srv]}",
        "isolation: {write: [/srv]}",
        "isolation: {uids: {count: 0}}",
        "isolation: {uids: {first: 1000}}",
        "isolation: {container: {image: example.com/evil}}",
        "isolation: {container: {runtime: ./evil}}",
        "egress: {allow: ['*']}",
        "egress: {allow: ['*:443']}",
        "egress: {allow: ['*.com']}",
        "egress: {allow: [example.com]}",
        "egress: {setup: ['*']}",
        "egress: {inner: [10.0.0.0/8]}",
        "egress: {git: [{host: example.com, token: abc}]}",
        "auth: {required: false}",
        "auth: {insecure: true}",
        "{auth: {token: 0123456789abcdef}, server: {host: 0.0.0.0}}",
        "server: {host: 0.0.0.0}",
        "server: {trusted_proxies: [10.0.0.0/8]}",
        "server: {allowed_origins: ['https://example.com']}",
        "server: {allowed_hosts: [example.com]}",
        "server: {public_url: 'https://example.com'}",
        "push: {allow: [10.0.0.0/8]}",
        "workspace: {path: /}",
        "workspace: {mode: shared, path: /usr}",
        "workspace: {path: ../other}",
        "workspace: {path: link/below}",
        "state_dir: /srv/state",
        "store: {path: /srv/store.db}",
        "log: {path: /srv/log}",
        "audit: 'off'",
        "audit: /srv/audit",
        "sessions: {init: /etc/hostname}",
        "env_file: {path: /dev/null}",
        "agents: {claude: {permission_mode: bypassPermissions}}",
        "agents: {claude: {args: [--dangerously-skip-permissions]}}",
        "agents: {claude: {args: [/etc/hostname]}}",
        "agents: {claude: {args: [--model, /etc/hostname]}}",
        "agents: {claude: {args: [--model, a, --mcp-config, b]}}",
        "agents: {claude: {program: ./evil}}",
        "agents: {claude: {init: /etc/hostname}}",
        "agents: {claude: {defaults_dir: /etc}}",
        "agents: {claude: {skills_from: [/etc]}}",
        "agents: {claude: {workspace: {path: /usr}}}",
        "agents: {claude: {env: {set: {AWS_CONFIG_FILE: /etc/hostname}}}}",
        "agents: {claude: {env: {pass: ['*']}}}",
        "agents: {claude: {env: {pass: [DEPLOY_KEY]}}}",
        "agents: {claude: {env: {presets: [openai]}}}",
        "agents: {claude: {asks: allow}}",
        "agents: {claude: {ask_rules: [{tool: '*', policy: allow}]}}",
        "agents: {claude: {egress: {allow: ['*']}}}",
        "agents: {claude: {egress: {setup: [example.com]}}}",
        "agents: {codex: {preset: codex, mode: agent-full-access}}",
    ];

    const HARMLESS: &[&str] = &[
        "server: {port: 1}",
        "{server: {host: 127.0.0.1}, auth: {token: 0123456789abcdef}}",
        "isolation: {backend: landlock, limits: {pids: 10}}",
        "workspace: {mode: shared, path: .}",
        "{state_dir: state, audit: audit.jsonl, log: {path: log, level: debug}}",
        "limits: {rate: 1}",
        "budgets: {day: {cost_usd: 1}}",
        "agents: {claude: {name: writer, model: opus, args: [--model, opus], asks: deny}}",
        "agents: {codex: {preset: codex, description: writes}}",
        "sessions: {init: ./set-up.sh}",
        "push: {enabled: false, allow: []}",
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
        std::os::unix::fs::symlink("/usr", folder.path().join("link")).unwrap();
        let mut environment = Environment::from([("HOME", "/nonexistent")]);
        for (name, value) in variables {
            environment.variables.insert((*name).to_owned(), (*value).to_owned());
        }
        let loaded = load(flags, &environment, folder.path()).unwrap();
        loaded.check_folder(folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_value_that_weakens_the_sandbox_is_refused_where_its_file_was_only_found() {
        for &text in WEAK {
            let files = [("pilothouse.yaml", text)];
            let said = check(files, &[], &Flags::default()).expect_err(text);
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
    fn a_found_file_may_name_and_bound_and_keep_to_its_folder() {
        for &text in HARMLESS {
            assert_eq!(
                check([("pilothouse.yaml", text)], &[], &Flags::default()),
                Ok(()),
                "{text}"
            );
        }
    }

    #[test]
    fn arguments_behind_two_dashes_do_not_hide_those_of_a_found_file() {
        let flags = Flags { agent_args: vec!["--verbose".to_owned()], ..Flags::default() };
        let file = "agents: {claude: {args: [--dangerously-skip-permissions]}}";
        let said = check([("pilothouse.yaml", file)], &[], &flags).unwrap_err();
        assert!(
            said.contains("--dangerously-skip-permissions") && !said.contains("--verbose"),
            "{said}"
        );
        let file = "agents: {claude: {args: [--model, opus]}}";
        assert_eq!(check([("pilothouse.yaml", file)], &[], &flags), Ok(()));
    }

    #[test]
    fn every_spelling_of_a_mode_that_asks_nobody_is_known() {
        for word in [
            "sandbox_mode=\"danger-full-access\"",
            "sandbox_mode = 'danger-full-access'",
            "approval_policy=never",
            "approval_policy=\"never\"",
            "--ask-for-approval=never",
            "-y",
            "--yolo",
            "--full-auto",
            "--allow-all-tools",
            "--force",
            "--permission-mode=bypassPermissions",
            "{\"permissions\": {\"defaultMode\": \"bypassPermissions\"}}",
        ] {
            assert!(asks_nobody(word), "{word}");
        }
        for word in ["--model", "plan", "acceptEdits", "on-request", "workspace-write"] {
            assert!(!asks_nobody(word), "{word}");
        }
    }

    #[test]
    fn the_file_that_is_to_be_named_is_the_one_that_was_found() {
        let said = check([(".env", "HOST=0.0.0.0")], &[], &Flags::default()).unwrap_err();
        assert!(said.contains("PILOTHOUSE_ENV_FILE_PATH") && !said.contains("--config"), "{said}");
        let said = check([("pilothouse.yaml", WEAK[0])], &[], &Flags::default()).unwrap_err();
        assert!(!said.contains("PILOTHOUSE_ENV_FILE_PATH") && said.contains("--config"), "{said}");
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

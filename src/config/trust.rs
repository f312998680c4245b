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

/// Variables that choose which program makes the sandbox, or which engine, who reads what models are asked and gets
/// the operator's keys, or which file outside of the folder an agent may read.
const RESERVED_VARIABLES: [&str; 28] = [
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
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "ANTHROPIC_FOUNDRY_RESOURCE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CODEX_CONFIG",
    "OPENCODE_CONFIG",
    "OPENCODE_CONFIG_CONTENT",
    "OPENCODE_PERMISSION",
];

/// The same by what their names hold: the addresses of models, clouds and collectors, and what collectors get.
const RESERVED_PARTS: [&str; 4] =
    ["_BASE_URL", "_ENDPOINT_URL", "OTEL_EXPORTER_", "OTEL_INSTRUMENTATION_"];

/// Whether only the operator may set a variable for agents.
fn is_reserved(variable: &str) -> bool {
    let plain = variable.to_ascii_uppercase();
    RESERVED_VARIABLES.contains(&&*plain) || RESERVED_PARTS.iter().any(|part| plain.contains(part))
}

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
        let names = names.filter(|name| is_reserved(name));
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
            ["server", "port" | "grpc_reflection"]
            | ["auth", "priorities", ..]
            | ["store", "retention", ..]
            | ["sessions", "retention" | "copy" | "sweep_every", ..]
            | ["workspace", "shared_turns"]
            | ["card", "default" | "max_age" | "bindings" | "streaming" | "provider", ..]
            | ["streams", ..]
            | ["card", "signing", "kid"]
            | ["asks" | "processes" | "limits" | "budgets" | "timeouts" | "compat" | "agent", ..]
            | ["isolation", "limits", ..]
            | ["egress", "connections" | "own_requests" | "requests"]
            | ["log", "level" | "format" | "console" | "max_size" | "keep" | "color"]
            | ["env_file", "override"] => true,
            ["ui"] => true,
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
            ["workspace", "repository", "url"] => text.starts_with('/') && is_inside(text),
            ["state_dir"] | ["sessions", "init"] | ["log", "path"] | ["env_file", "path"] => {
                is_empty || is_inside(text)
            }
            ["store", "path"] => is_inside(text),
            ["metrics"] => text != "public" || config.is_loopback(),
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
                | "background_grace" | "background_end" | "documentation_url" | "icon_url"
                | "input_modes" | "output_modes" | "message_context" | "patch",
            ]
            | ["skills" | "extensions" | "budgets" | "results", ..]
            | ["workspace", "shared_turns"] => true,
            ["trust_project"] => !agent.trust_project,
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
mod tests;

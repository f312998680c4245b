//! The layers while they are laid over each other: a tree of values and the origin of each.
//!
//! The tree is JSON, so that one set of functions serves the file, the variables and the flags;
//! every value is checked against the type of its key as it comes in, so the tree can always be
//! turned into a [`Config`].

use super::environment::Environment;
use super::error::Error;
use super::guess::nearest;
use super::node::{Node, NodeKind};
use super::origin::Origin;
use super::renamed::{RENAMED, rename_keys, rename_variable};
use super::tree::{child, leaves, to_json, value_of, variable_of};
use super::yaml::Source;
use super::{Agent, Config, EnvFile, aliases, forerunner};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Values so far, and where they come from.
pub(super) struct Layers {
    tree: Value,
    origins: BTreeMap<String, Origin>,
    notes: Vec<String>,
    env_file_overrides: bool,
    /// Aliases in use: variable and key.
    used_aliases: Vec<(Origin, String)>,
    /// What waits until the agent that serves is known.
    pub(super) waiting: Vec<(Origin, aliases::DeferredAlias)>,
    /// Keys whose value a later layer has added to: the value before, and its origin.
    pub(super) extended: Vec<(String, Value, Origin)>,
}

impl Default for Layers {
    fn default() -> Self {
        Self {
            tree: to_json(&Config::default()),
            origins: BTreeMap::new(),
            notes: Vec::new(),
            env_file_overrides: true,
            used_aliases: Vec::new(),
            waiting: Vec::new(),
            extended: Vec::new(),
        }
    }
}

impl Layers {
    /// The values as they are now.
    pub(super) fn config(&self) -> Config {
        serde_json::from_value(self.tree.clone()).expect("every value was checked when it came in")
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// A key's origin; of a section, that of its keys that comes last.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// The same, also for a section with keys of the operator's own.
    fn find_origin(&self, key: &str) -> Origin {
        let prefix = format!("{key}.");
        let inside = self.origins.iter().filter(|(inside, _)| inside.starts_with(&prefix));
        let inside = inside.map(|(_, origin)| origin).max_by_key(|origin| self.rank(origin));
        self.origins.get(key).or(inside).cloned().unwrap_or(Origin::Default)
    }

    /// Whether the file says anything of an agent.
    pub(super) fn declared(&self, agent: &str) -> bool {
        let prefix = format!("agents.{agent}.");
        self.origins
            .iter()
            .any(|(key, origin)| key.starts_with(&prefix) && matches!(origin, Origin::File { .. }))
    }

    /// Whether `.env` comes after the environment.
    pub(super) fn order(&mut self, env_file_overrides: bool) {
        self.env_file_overrides = env_file_overrides;
    }

    /// How late a layer comes; the later one wins.
    pub(super) fn rank(&self, origin: &Origin) -> u8 {
        match origin {
            Origin::Default | Origin::Derived(_) => 0,
            Origin::File { .. } => 1,
            Origin::Environment(_) => {
                if self.env_file_overrides {
                    2
                } else {
                    3
                }
            }
            Origin::EnvFile(_) => {
                if self.env_file_overrides {
                    3
                } else {
                    2
                }
            }
            Origin::Flag(_) => 4,
        }
    }

    /// Sets a key whose value is known to have the right type.
    pub(super) fn set(&mut self, key: &str, value: Value, origin: Origin) {
        self.set_at(&key.split('.').collect::<Vec<_>>(), value, origin);
    }

    fn set_at(&mut self, path: &[&str], value: Value, origin: Origin) {
        let mut node = &mut self.tree;
        for name in path {
            node = child(node, name);
        }
        *node = value;
        self.origins.insert(path.join("."), origin);
    }

    /// Sets a key from the text of a variable.
    pub(super) fn set_text(
        &mut self,
        path: &[&str],
        text: &str,
        origin: Origin,
    ) -> Result<(), Error> {
        match value_of(path, text) {
            Ok(value) => {
                self.set_at(path, value, origin);
                Ok(())
            }
            Err(problem) => Err(Error::Value { origin, key: path.join("."), problem }),
        }
    }

    /// Sets a key by one of the forerunners' names.
    pub(super) fn set_alias(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), Error> {
        self.used_aliases.push((origin.clone(), key.to_owned()));
        self.set_text(&key.split('.').collect::<Vec<_>>(), text, origin)
    }

    /// Adds an agent of a new name before its keys are set.
    pub(super) fn add_agent(&mut self, name: &str, agent: &Agent) {
        let agents = child(&mut self.tree, "agents");
        if agents.get(name).is_none() {
            *child(agents, name) = to_json(agent);
        }
    }

    /// Lays a file over what is there.
    pub(super) fn file(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let tree = Source { path, text }.tree()?;
        let (text, warnings) = rename_keys(text, &tree, RENAMED);
        for (line, warning) in warnings {
            self.note(format!("{}:{line}: {warning}", path.display()));
        }
        let source = Source { path, text: &text };
        let tree = source.tree()?;
        if forerunner::is_its_file(path, &tree) {
            return forerunner::lay_over(self, source, &tree);
        }
        let known: Vec<String> =
            leaves(&self.tree).into_iter().map(|path| path.join(".")).collect();
        let typed: Config = source.typed(&tree, &known)?;
        for (name, agent) in &typed.agents {
            self.add_agent(name, &Agent::as_declared(agent));
        }
        self.overlay(&mut Vec::new(), &tree, tree.referenced.line(), &to_json(&typed), path);
        Ok(())
    }

    /// Takes from `typed` what the file speaks of.
    fn overlay(
        &mut self,
        path: &mut Vec<String>,
        node: &Node,
        line: u64,
        typed: &Value,
        file: &Path,
    ) {
        match (&node.value, typed) {
            (NodeKind::Map(entries), Value::Object(object)) => {
                for (key, value) in entries {
                    let Some(typed) = object.get(&key.value) else {
                        continue;
                    };
                    path.push(key.value.clone());
                    self.overlay(path, value, key.referenced.line(), typed, file);
                    path.pop();
                }
            }
            // `server:` with nothing but comments below it says nothing.
            (NodeKind::Null, Value::Object(_)) => {}
            (NodeKind::Null | NodeKind::Scalar | NodeKind::List(_) | NodeKind::Map(_), typed) => {
                let line = usize::try_from(line).unwrap_or(0);
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                self.set_at(&names, typed.clone(), Origin::File { path: file.to_owned(), line });
            }
        }
    }

    /// The two keys that are needed before `.env` can be read; `.env` itself cannot set them.
    pub(super) fn env_file_keys(&mut self, environment: &Environment) -> Result<(), Error> {
        for key in ["env_file.path", "env_file.override"] {
            let name = variable_of(key);
            if let Some(text) = environment.get(&name) {
                self.set_text(
                    &key.split('.').collect::<Vec<_>>(),
                    text,
                    Origin::Environment(name),
                )?;
            }
        }
        Ok(())
    }

    /// Lays variables over what is there: the forerunners' names first, then ours. An empty value
    /// counts as unset.
    pub(super) fn variables(
        &mut self,
        variables: &BTreeMap<String, String>,
        origin: fn(String) -> Origin,
    ) -> Result<(), Error> {
        aliases::lay_over(self, variables, origin)?;
        let by_variable: BTreeMap<String, Vec<String>> = leaves(&self.tree)
            .into_iter()
            .map(|path| (variable_of(&path.join(".")), path))
            .collect();
        for (name, text) in variables
            .iter()
            .filter(|(name, text)| name.starts_with("PILOTHOUSE_") && !text.is_empty())
        {
            if is_service_link(name, text) || aliases::OURS.contains(&name.as_str()) {
                continue;
            }
            let renamed = rename_variable(name, RENAMED);
            if let Some((_, warning)) = &renamed {
                self.note(warning.clone());
            }
            let name = renamed.as_ref().map_or(name, |(new, _)| new);
            if let Some(path) = by_variable.get(name) {
                if path[0] == "env_file" {
                    if let origin @ Origin::EnvFile(_) = origin(name.clone()) {
                        self.note(format!(
                            "{origin} has no effect there; set it in the environment or the file"
                        ));
                    }
                    continue;
                }
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                self.set_text(&path, text, origin(name.clone()))?;
            } else if let Some(path) = self.entry_of(name) {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                self.set_at(&path, text.as_str().into(), origin(name.clone()));
            } else {
                let guess = nearest(name, by_variable.keys().map(String::as_str))
                    .map_or_else(String::new, |guess| format!(": did you mean {guess}?"));
                self.note(format!("{} is not the name of any key{guess}", origin(name.clone())));
            }
        }
        Ok(())
    }

    /// The entry of a map of texts that a variable sets: `PILOTHOUSE_AGENTS_CLAUDE_ENV_SET_NAME`
    /// and `PILOTHOUSE_AUTH_TOKENS_NAME`, the caller's name in lower case.
    fn entry_of(&self, variable: &str) -> Option<Vec<String>> {
        let rest = |section: &str| {
            variable.strip_prefix(&variable_of(section)).filter(|rest| !rest.is_empty())
        };
        if let Some(caller) = rest("auth.tokens.") {
            return Some(
                ["auth", "tokens", &caller.to_ascii_lowercase()].map(str::to_owned).into(),
            );
        }
        self.tree["agents"].as_object()?.keys().find_map(|agent| {
            let name = rest(&format!("agents.{agent}.env.set."))?;
            Some(["agents", agent, "env", "set", name].map(str::to_owned).into())
        })
    }

    /// Names the values in which `.env` and the environment differ.
    pub(super) fn note_differing<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
        settings: &EnvFile,
    ) {
        let names: Vec<_> = names.collect();
        if !names.is_empty() {
            let (winner, loser) = if settings.overrides {
                (".env", "the environment")
            } else {
                ("the environment", ".env")
            };
            self.note(format!(
                "{winner} overrides {loser} for {}; `env_file.override: {}` gives the other order",
                names.join(", "),
                !settings.overrides,
            ));
        }
    }

    /// Refuses what is impossible, and says where each of the values comes from.
    pub(super) fn validate(&self, config: &Config) -> Result<(), Error> {
        config.validate().map_err(|mut problems| {
            for problem in &mut problems {
                problem.origins =
                    problem.keys.iter().map(|key| (key.clone(), self.find_origin(key))).collect();
            }
            Error::Impossible { problems }
        })
    }

    /// Origins of all keys, and the notes.
    pub(super) fn finish(mut self, config: &Config) -> (BTreeMap<String, Origin>, Vec<String>) {
        let origins = leaves(&to_json(config)).into_iter().map(|path| {
            let key = path.join(".");
            let origin = self.origin(&key);
            (key, origin)
        });
        let origins = origins.collect();
        if !self.used_aliases.is_empty() {
            let used: Vec<_> =
                self.used_aliases.iter().map(|(origin, key)| format!("{origin} → {key}")).collect();
            self.note(format!("older variable names in use: {}", used.join(", ")));
        }
        (origins, self.notes)
    }
}

/// Variables that Kubernetes sets for a Service named `pilothouse`.
fn is_service_link(name: &str, text: &str) -> bool {
    text.starts_with("tcp://")
        || text.starts_with("udp://")
        || name.contains("_SERVICE_")
        || name.contains("_TCP")
        || name.contains("_UDP")
}

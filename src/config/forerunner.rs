//! The forerunner's YAML file (`.claude-code-agent.yaml`), read as it stands.

use super::Age;
use super::error::Error;
use super::layers::Layers;
use super::node::{Node, NodeKind};
use super::origin::Origin;
use super::tree::to_json;
use super::yaml::Source;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_saphyr::Spanned;
use std::path::Path;

/// Its keys, each with what it takes; [`lay_over`] warns of all others.
#[derive(Deserialize, Serialize, Default)]
#[serde(default)]
struct File {
    server: Server,
    agent: Agent,
    logging: Logging,
    #[serde(rename = "claudeArgs")]
    claude_args: Option<Vec<String>>,
    otel: Otel,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(default)]
struct Server {
    host: Option<String>,
    port: Option<u16>,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Agent {
    name: Option<String>,
    workspace: Option<String>,
    timeout: Option<Age>,
    init_session: Option<String>,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(default)]
struct Logging {
    path: Option<String>,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(default)]
struct Otel {
    tracing: Tracing,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Tracing {
    enabled: bool,
    aggregate_spans: Value,
    input_mode: Value,
}

/// Our names of its keys.
const OURS: [(&str, &str); 8] = [
    ("server.host", "server.host"),
    ("server.port", "server.port"),
    ("agent.name", "agents.claude.name"),
    ("agent.workspace", "workspace.path"),
    ("agent.timeout", "timeouts.turn"),
    ("agent.initSession", "sessions.init"),
    ("logging.path", "log.path"),
    ("claudeArgs", "agents.claude.args"),
];

/// Whether a file is one of the forerunner's: by its name, or because all of its sections are its and some only
/// its. A file that has other sections as well (`auth`, `isolation`) is ours, and then a wrong key is an error: taken
/// for the forerunner's, all of them would be ignored.
pub(super) fn is_its_file(path: &Path, tree: &Node) -> bool {
    let by_name = path.file_name().is_some_and(|name| {
        name.to_string_lossy().trim_start_matches('.').starts_with("claude-code-agent")
    });
    let NodeKind::Map(entries) = &tree.value else {
        return by_name;
    };
    let is_only_its = |(key, value): &(Spanned<String>, Node)| {
        matches!(key.value.as_str(), "logging" | "claudeArgs" | "otel")
            || (key.value == "agent" && matches!(value.value, NodeKind::Map(_)))
    };
    by_name
        || (entries.iter().any(is_only_its)
            && entries.iter().all(|entry| is_only_its(entry) || entry.0.value == "server"))
}

/// Lays the file over what is there, under our names.
pub(super) fn lay_over(layers: &mut Layers, source: Source<'_>, tree: &Node) -> Result<(), Error> {
    let file = to_json(&source.typed::<File>(tree, &[])?);
    let value_of = |key: &str| file.pointer(&format!("/{}", key.replace('.', "/")));
    let mut places = Vec::new();
    lines(tree, String::new(), &mut places);
    for (key, line) in places {
        let ours = OURS.iter().find(|(theirs, _)| *theirs == key);
        match (value_of(&key), ours) {
            (Some(value), Some((_, ours))) if !value.is_null() && value != "" => {
                let origin = Origin::File { path: source.path.to_owned(), line };
                layers.set(ours, value.clone(), origin);
            }
            (Some(_), _) => {}
            (None, _) => layers.note(format!(
                "{}:{line}: `{key}` is not a key of that file's program and is ignored",
                source.path.display()
            )),
        }
    }
    if value_of("otel.tracing.enabled") == Some(&Value::Bool(true)) {
        layers.note(format!(
            "{}: `otel.tracing`: spans are sent where OTEL_EXPORTER_OTLP_ENDPOINT names a collector",
            source.path.display()
        ));
    }
    Ok(())
}

/// Each dotted key with its line.
fn lines(node: &Node, prefix: String, found: &mut Vec<(String, usize)>) {
    if let NodeKind::Map(entries) = &node.value {
        for (key, value) in entries {
            let dotted = if prefix.is_empty() {
                key.value.clone()
            } else {
                format!("{prefix}.{}", key.value)
            };
            found.push((dotted.clone(), usize::try_from(key.referenced.line()).unwrap_or(0)));
            lines(value, dotted, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, WorkspaceMode};

    fn read(text: &str) -> (Config, Vec<String>) {
        let mut layers = Layers::default();
        layers.file(Path::new("old.yaml"), text).unwrap();
        let config = layers.config();
        (config.clone(), layers.finish(&config).1)
    }

    #[test]
    fn every_key_of_the_forerunners_file_finds_its_place() {
        let (config, notes) = read(
            "server: {host: 0.0.0.0, port: 3000}\n\
             agent: {name: mine, workspace: /w, timeout: 60, initSession: ./i.sh}\n\
             logging: {path: /tmp/l.jsonl}\nclaudeArgs: [--model, haiku]\n\
             otel: {tracing: {enabled: false, aggregateSpans: false, inputMode: chained}}\n",
        );
        let claude = &config.agents["claude"];
        assert_eq!((config.server.host.as_str(), config.server.port), ("0.0.0.0", 3000));
        assert_eq!((claude.name.as_deref(), claude.args.len()), (Some("mine"), 2));
        assert_eq!(
            (config.workspace.mode, config.workspace.path.to_str()),
            (WorkspaceMode::Session, Some("/w"))
        );
        assert_eq!(config.timeouts.turn.to_string(), "1m");
        assert_eq!(config.sessions.init.unwrap().to_str(), Some("./i.sh"));
        assert_eq!(config.log.path.unwrap().to_str(), Some("/tmp/l.jsonl"));
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn a_file_that_sets_keys_of_ours_too_is_not_taken_for_the_forerunners() {
        let text = "auth: {token: abc}\nagent: {driver: command}\n";
        let error = Layers::default().file(Path::new("mine.yaml"), text).unwrap_err();
        assert!(error.to_string().contains("`agent` wants a text"), "{error}");
    }

    #[test]
    fn an_unknown_key_of_the_forerunners_file_is_a_warning() {
        let (_, notes) = read("logging:\n  path: null\n  colour: red\n");
        assert_eq!(
            notes,
            ["old.yaml:3: `logging.colour` is not a key of that file's program and is ignored"]
        );
    }
}

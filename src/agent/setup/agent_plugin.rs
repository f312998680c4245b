//! Agent Plugins 1.x, the format of several vendors, in the form of Claude Code: its manifest and its MCP servers.
//!
//! # Pitfalls
//!
//! The format replaces two placeholders, in arguments, values of variables and the working folder; Claude Code replaces
//! every `${NAME}` everywhere. What the two would understand differently is refused.

use serde_json::{Map, Value, json};
use std::path::Path;

/// Where such a plugin says what it is.
pub(super) const MANIFEST: &str = "plugin.json";
/// Where its MCP servers stand.
pub(super) const SERVERS: &str = "mcp.json";
/// Begins the name of its schema, before the version.
const SCHEMA: &str = "https://agent-plugins.org/schemas/";
/// The versions that are known.
const VERSION: &str = "1.";

/// Fields of the manifest that mean the same to Claude Code.
const KEPT: [&str; 8] =
    ["name", "version", "description", "author", "homepage", "repository", "license", "keywords"];
/// Fields that say nothing to Claude Code.
const OTHER: [&str; 2] = ["$schema", "extensions"];

/// The placeholders of the format, and those of Claude Code.
const PLACEHOLDERS: [(&str, &str); 2] =
    [("${PLUGIN_ROOT}", "${CLAUDE_PLUGIN_ROOT}"), ("${PLUGIN_DATA}", "${CLAUDE_PLUGIN_DATA}")];

/// Whether a manifest is one of this format.
pub(super) fn is_one(manifest: &Value) -> bool {
    manifest["$schema"].as_str().is_some_and(|schema| schema.starts_with(SCHEMA))
}

/// The manifest for Claude Code, and the fields that are left out.
pub(super) fn translate_manifest(manifest: &Value) -> Result<(Value, Vec<String>), String> {
    let schema = manifest["$schema"].as_str().unwrap_or_default();
    if !schema[SCHEMA.len()..].starts_with(VERSION) {
        return Err(format!("{MANIFEST} is of the schema {schema}; version {VERSION}x is known"));
    }
    let fields = manifest.as_object().cloned().unwrap_or_default();
    let (kept, other): (Map<_, _>, Map<_, _>) =
        fields.into_iter().partition(|(field, _)| KEPT.contains(&field.as_str()));
    let unknown = other.into_iter().map(|(field, _)| field);
    let unknown = unknown.filter(|field| !OTHER.contains(&field.as_str())).collect();
    Ok((Value::Object(kept), unknown))
}

/// The MCP servers in the form of a plugin of Claude Code.
pub(super) fn translate_servers(file: &Value) -> Result<Value, String> {
    let failed = |name: &str, why: &str| format!("{SERVERS}: `{name}` {why}");
    let Some(servers) = file["mcpServers"].as_object() else {
        return Err(format!("{SERVERS} holds no `mcpServers`"));
    };
    let mut translated = Map::new();
    for (name, server) in servers {
        let server = match server["type"].as_str().unwrap_or_default() {
            "stdio" => translate_program(server),
            "streamable-http" => translate_address(server, "http"),
            "sse" => translate_address(server, "sse"),
            _ => Err("has no known `type`: stdio, streamable-http or sse".to_owned()),
        };
        translated.insert(name.clone(), server.map_err(|why| failed(name, &why))?);
    }
    Ok(json!({ "mcpServers": translated }))
}

fn translate_program(server: &Value) -> Result<Value, String> {
    let command = server["command"].as_str().ok_or("has no `command`")?;
    refuse_variables(command)?;
    if Path::new(command).components().any(|part| part == std::path::Component::ParentDir) {
        return Err("has a `command` that leads out of the plugin".to_owned());
    }
    let command = match command.strip_prefix("./") {
        Some(inside) => format!("${{CLAUDE_PLUGIN_ROOT}}/{inside}"),
        None => command.to_owned(),
    };
    let texts = |value: &Value| -> Result<Vec<String>, String> {
        let texts = value.as_array().into_iter().flatten();
        texts.map(|text| replace(text.as_str().ok_or("has `args` that are no texts")?)).collect()
    };
    let mut args = texts(&server["args"])?;
    let mut env = Map::new();
    for (name, value) in server["env"].as_object().into_iter().flatten() {
        let value = value.as_str().ok_or("has `env` that is no text")?;
        env.insert(name.clone(), json!(replace(value)?));
    }
    let command = match server["cwd"].as_str() {
        None => command,
        Some(folder) => {
            let folder = match folder.strip_prefix("./") {
                Some(inside) => format!("${{CLAUDE_PLUGIN_ROOT}}/{inside}"),
                None => replace(folder)?,
            };
            let run = ["-c", "cd \"$0\" && exec \"$@\"", &folder, &command];
            args.splice(0..0, run.map(ToOwned::to_owned));
            "/bin/sh".to_owned()
        }
    };
    Ok(json!({"type": "stdio", "command": command, "args": args, "env": env}))
}

fn translate_address(server: &Value, kind: &str) -> Result<Value, String> {
    let url = server["url"].as_str().ok_or("has no `url`")?;
    refuse_variables(url)?;
    let headers = server["headers"].as_object().cloned().unwrap_or_default();
    for value in headers.values() {
        refuse_variables(value.as_str().ok_or("has `headers` that are no texts")?)?;
    }
    Ok(json!({"type": kind, "url": url, "headers": headers}))
}

/// A text with the placeholders of Claude Code.
fn replace(text: &str) -> Result<String, String> {
    let plain = PLACEHOLDERS.iter().fold(text.to_owned(), |text, (own, _)| text.replace(own, ""));
    refuse_variables(&plain)?;
    Ok(PLACEHOLDERS.iter().fold(text.to_owned(), |text, (own, other)| text.replace(own, other)))
}

/// The format leaves such a text as it is, and Claude Code would not.
fn refuse_variables(text: &str) -> Result<(), String> {
    match text.contains("${") {
        false => Ok(()),
        true => Err(format!(
            "holds `{text}`: Claude Code would replace what the format leaves as it is"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(server: Value) -> Result<Value, String> {
        let translated = translate_servers(&json!({"mcpServers": {"one": server}}))?;
        Ok(translated["mcpServers"]["one"].clone())
    }

    #[test]
    fn servers_are_translated_with_their_placeholders() {
        let server = json!({"type": "stdio", "command": "./bin/one", "cwd": "${PLUGIN_DATA}/x",
            "args": ["--root", "${PLUGIN_ROOT}"], "env": {"DATA": "${PLUGIN_DATA}"}});
        assert_eq!(
            servers(server).unwrap(),
            json!({"type": "stdio", "command": "/bin/sh", "env": {"DATA": "${CLAUDE_PLUGIN_DATA}"},
                "args": ["-c", "cd \"$0\" && exec \"$@\"", "${CLAUDE_PLUGIN_DATA}/x",
                    "${CLAUDE_PLUGIN_ROOT}/bin/one", "--root", "${CLAUDE_PLUGIN_ROOT}"]})
        );
        let server = json!({"type": "streamable-http", "url": "https://e.x/mcp"});
        let expected = json!({"type": "http", "url": "https://e.x/mcp", "headers": {}});
        assert_eq!(servers(server).unwrap(), expected);
    }

    #[test]
    fn what_claude_code_would_understand_differently_is_refused() {
        for (server, words) in [
            (json!({"type": "ws", "url": "ws://e.x"}), "no known `type`"),
            (json!({"type": "stdio", "command": "../x"}), "leads out"),
            (json!({"type": "stdio", "command": "x", "args": ["${HOME}"]}), "would replace"),
            (json!({"type": "sse", "url": "https://e.x/${KEY}"}), "would replace"),
            (
                json!({"type": "sse", "url": "https://e.x", "headers": {"A": "${PLUGIN_DATA}"}}),
                "would replace",
            ),
        ] {
            let error = servers(server.clone()).unwrap_err();
            assert!(error.contains(words), "{server}: {error}");
        }
    }

    #[test]
    fn unknown_fields_of_a_manifest_are_left_out_by_name_and_unknown_versions_are_refused() {
        let manifest = |version: &str| {
            json!({"$schema": format!("{SCHEMA}{version}/plugin.schema.json"), "name": "kit",
                "extensions": {}, "hooks": "x"})
        };
        let (translated, unknown) = translate_manifest(&manifest("1.0.0")).unwrap();
        assert_eq!((translated, unknown), (json!({"name": "kit"}), vec!["hooks".to_owned()]));
        assert!(translate_manifest(&manifest("2.0.0")).unwrap_err().contains("version 1.x"));
        assert!(!is_one(&json!({"name": "kit"})));
    }
}

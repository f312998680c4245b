//! Plugins of Claude Code as they lie in folders: found in a marketplace, named, and made loadable.

use super::agent_plugin;
use super::tree::RevisionTree;
use crate::plain_file;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Where a plugin says what it is.
const MANIFEST: &str = ".claude-plugin/plugin.json";
/// Where a marketplace says what it has.
const CATALOGUE: &str = ".claude-plugin/marketplace.json";
/// Where a plugin has its MCP servers.
const SERVERS: &str = ".mcp.json";
/// Bytes of such a file at most.
const LONGEST: u64 = 1024 * 1024;

/// Fields of an entry of a marketplace that are no fields of a plugin's manifest.
const OF_ENTRY: [&str; 5] = ["source", "strict", "category", "tags", "relevance"];

#[derive(Deserialize)]
struct Catalogue {
    plugins: Vec<Map<String, Value>>,
    #[serde(default)]
    metadata: CatalogueMetadata,
}

#[derive(Default, Deserialize)]
struct CatalogueMetadata {
    #[serde(rename = "pluginRoot")]
    plugin_root: Option<String>,
}

/// A plugin that was found.
pub(super) struct FoundPlugin {
    /// Its name.
    pub(super) name: String,
    folder: PathBuf,
    /// Its manifest, where its folder has none.
    manifest: Option<Value>,
    /// Its MCP servers in the form of Claude Code, where they have another one.
    servers: Option<Value>,
    /// Fields of its manifest that are left out.
    pub(super) left_out: Vec<String>,
}

/// The plugin in a folder.
pub(super) fn in_folder(folder: &Path) -> Result<FoundPlugin, String> {
    let manifest = folder.join(MANIFEST);
    if let Some(found) = in_other_format(folder)? {
        return Ok(found);
    }
    let (name, missing) = if manifest.is_file() {
        let manifest: Value = read(&manifest)?;
        (manifest["name"].as_str().unwrap_or_default().to_owned(), None)
    } else if folder.is_dir() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let has_parts = ["skills", "commands", "agents", "hooks", ".mcp.json"];
        if !has_parts.iter().any(|part| folder.join(part).exists()) {
            return Err(format!("{} holds no plugin (no {MANIFEST})", folder.display()));
        }
        let manifest = json!({ "name": name });
        (name, Some(manifest))
    } else {
        return Err(format!("{} is not there", folder.display()));
    };
    FoundPlugin::of(name, folder.to_owned(), missing)
}

/// The Agent Plugin in a folder, where it is one and has no manifest of Claude Code.
fn in_other_format(folder: &Path) -> Result<Option<FoundPlugin>, String> {
    let file = folder.join(agent_plugin::MANIFEST);
    if folder.join(MANIFEST).exists() || !file.is_file() {
        return Ok(None);
    }
    let manifest: Value = read(&file)?;
    if !agent_plugin::is_one(&manifest) {
        return Ok(None);
    }
    let (manifest, left_out) = agent_plugin::translate_manifest(&manifest)?;
    let name = manifest["name"].as_str().unwrap_or_default().to_owned();
    let file = folder.join(agent_plugin::SERVERS);
    let servers = match file.exists() {
        true => Some(agent_plugin::translate_servers(&read(&file)?)?),
        false => None,
    };
    let found = FoundPlugin::of(name, folder.to_owned(), Some(manifest))?;
    Ok(Some(FoundPlugin { servers, left_out, ..found }))
}

/// The plugin of this name in the marketplace that lies in a folder.
pub(super) fn in_marketplace(folder: &Path, name: &str) -> Result<FoundPlugin, String> {
    let catalogue: Catalogue = read(&folder.join(CATALOGUE))?;
    let is_it =
        |entry: &&Map<String, Value>| entry.get("name").and_then(Value::as_str) == Some(name);
    let Some(entry) = catalogue.plugins.iter().find(is_it) else {
        let names = catalogue.plugins.iter().filter_map(|entry| entry.get("name")?.as_str());
        let names: Vec<&str> = names.take(16).collect();
        return Err(format!("the marketplace has no plugin `{name}`; it has {}", names.join(", ")));
    };
    let Some(source) = entry.get("source").and_then(Value::as_str) else {
        return Err(format!(
            "the plugin `{name}` does not lie in the marketplace but elsewhere ({}); name that among `setup.sources`, and the plugin \
             `source:NAME`",
            entry.get("source").unwrap_or(&Value::Null)
        ));
    };
    let root = catalogue.metadata.plugin_root.unwrap_or_default();
    let inside = match source.strip_prefix("./") {
        Some(source) => folder.join(source),
        None => folder.join(root).join(source),
    };
    let real = |path: &Path| {
        fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let found = real(&inside)?;
    if !found.starts_with(real(folder)?) {
        return Err(format!("the source of the plugin `{name}` leads out of the marketplace"));
    }
    if let Some(plugin) = in_other_format(&found)? {
        return Ok(plugin);
    }
    let is_loadable = found.join(MANIFEST).is_file();
    let mut manifest = entry.clone();
    manifest.retain(|field, _| !OF_ENTRY.contains(&field.as_str()));
    FoundPlugin::of(name.to_owned(), found, (!is_loadable).then_some(Value::Object(manifest)))
}

impl FoundPlugin {
    fn of(name: String, folder: PathBuf, manifest: Option<Value>) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty()
            || name.len() > 64
            || name.starts_with('.')
            || !name.chars().all(is_plain)
        {
            return Err(format!(
                "a plugin cannot be called `{name}`: use letters, digits, `-`, `_` and `.`"
            ));
        }
        Ok(Self { name, folder, manifest, servers: None, left_out: Vec::new() })
    }

    /// Puts it into a revision; its folder there.
    pub(super) fn deliver(&self, tree: &mut RevisionTree) -> Result<String, String> {
        let place = format!("plugins/{}", self.name);
        if tree.has(&place) {
            return Err(format!("two plugins are called `{}`", self.name));
        }
        let copied = tree.copy(&self.folder, &place);
        copied.map_err(|error| format!("the plugin `{}`: {error}", self.name))?;
        for (file, text) in [(MANIFEST, &self.manifest), (SERVERS, &self.servers)] {
            if let Some(text) = text {
                let written = tree.write(&format!("{place}/{file}"), text.to_string().as_bytes());
                written.map_err(|error| error.to_string())?;
            }
        }
        Ok(place)
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, String> {
    let failed = |why: String| format!("{}: {why}", path.display());
    let text = plain_file::read(path, LONGEST).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))
}

//! The folders that hold the workspaces of sessions, noted in the state folder: a command that is run elsewhere, or with
//! other options than the server, finds them.

use crate::config::{Config, WorkspaceMode};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The note, a file of the state folder.
pub const WORKSPACES_NOTE: &str = "workspaces.json";

/// A folder that holds a workspace for each session of these agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceRoot {
    /// The folder.
    pub path: PathBuf,
    /// The names of the agents.
    pub agents: Vec<String>,
}

/// Notes the folders of this configuration. The note stays when the server stops.
pub(super) fn note_workspace_roots(config: &Config) {
    if config.store.path == Path::new("memory") {
        return;
    }
    let file = config.state_dir.join(WORKSPACES_NOTE);
    let fresh = file.with_extension("json.new");
    let written = serde_json::to_vec(&list_workspace_roots(config))
        .map_err(std::io::Error::from)
        // Renamed into place, so that nobody reads half of it.
        .and_then(|text| fs::write(&fresh, text))
        .and_then(|()| fs::rename(&fresh, &file));
    if let Err(error) = written {
        tracing::warn!(%error, "a backup will look for workspaces where its own configuration has them");
    }
}

/// The folders that the server of this state folder has noted; those of the configuration where it has noted none.
pub fn find_workspace_roots(config: &Config) -> Vec<WorkspaceRoot> {
    let noted = fs::read(config.state_dir.join(WORKSPACES_NOTE)).ok();
    let noted = noted.and_then(|text| serde_json::from_slice(&text).ok());
    noted.unwrap_or_else(|| list_workspace_roots(config))
}

fn list_workspace_roots(config: &Config) -> Vec<WorkspaceRoot> {
    let mut roots: Vec<WorkspaceRoot> = Vec::new();
    for (name, agent) in &config.agents {
        let workspace = config.workspace.of(&agent.workspace);
        match roots.iter_mut().find(|root| root.path == workspace.path) {
            _ if workspace.mode == WorkspaceMode::Shared => {}
            Some(root) => root.agents.push(name.clone()),
            None => {
                roots.push(WorkspaceRoot { path: workspace.path, agents: vec![name.clone()] });
            }
        }
    }
    roots
}

//! What the configuration means for the sandbox, which knows nothing of files and keys.

use super::own::SESSION_SCRIPT;
use super::{Agent, Bytes, Config, Isolation, Workspace, WorkspaceMode};
use pilothouse_sandbox::isolation::{
    BackendKind, ContainerSettings, SandboxLimits, SandboxSettings, Uids,
};
use pilothouse_sandbox::workspace::{self, CopyLimits, HomeDefaults, WorkspaceSettings, existing};
use std::path::Path;

impl Config {
    /// What is put around every agent.
    pub fn sandbox(&self) -> SandboxSettings {
        let Isolation { backend, require, limits, uids, container, .. } = self.isolation.clone();
        // Who asks for no sandbox has accepted that there is none, unless the file says what is required.
        let by_default = require == Isolation::default().require;
        SandboxSettings {
            backend,
            require: match backend {
                BackendKind::None if by_default => Vec::new(),
                _ => require,
            },
            limits: SandboxLimits {
                pids: limits.pids,
                memory: limits.memory.map(Bytes::get),
                cpu: limits.cpu,
                files: limits.files,
                disk: limits.disk.map(Bytes::get),
                tmp: limits.tmp.get(),
                shm: limits.shm.get(),
            },
            uids: Uids { first: uids.first, count: uids.count },
            container: ContainerSettings {
                engine: container.engine,
                image: container.image,
                runtime: container.runtime,
                most: self.processes.max,
                idle: self.processes.idle.get(),
            },
            state_dir: self.state_dir.clone(),
        }
    }

    /// Where the sessions of an agent work.
    ///
    /// # Errors
    ///
    /// When a file or folder that a key names is not there.
    pub fn workspaces(
        &self,
        cwd: &Path,
        agent: &Agent,
        workspace: &Workspace,
    ) -> Result<WorkspaceSettings, workspace::Error> {
        let script = match (&agent.init, &self.sessions.init) {
            (Some(script), _) => Some(existing(&cwd.join(script), "agents.*.init")?),
            (None, Some(script)) => Some(existing(&cwd.join(script), "sessions.init")?),
            (None, None) => Some(cwd.join(SESSION_SCRIPT)).filter(|script| script.is_file()),
        };
        let key = "agents.*.defaults_dir";
        let defaults = match &agent.defaults_dir {
            Some(folder) => {
                let folder = existing(&cwd.join(folder), key)?;
                Some(HomeDefaults { folder, below: ".claude", keeps_links: false, key })
            }
            None => None,
        };
        let template =
            workspace.template.as_ref().filter(|_| workspace.mode == WorkspaceMode::Copy);
        let template = template.map(|folder| existing(&cwd.join(folder), "workspace.template"));
        Ok(WorkspaceSettings {
            is_shared: workspace.mode == WorkspaceMode::Shared,
            root: cwd.join(&workspace.path),
            homes: self.state_dir.join("sessions"),
            defaults,
            script,
            template: template.transpose()?,
            copy: self.sessions.copy.plain(),
            group: self.isolation.uids.first,
        })
    }
}

impl super::CopyLimits {
    /// The same as the sandbox counts it.
    pub fn plain(&self) -> CopyLimits {
        CopyLimits { entries: self.entries, size: self.size.get(), depth: self.depth }
    }
}

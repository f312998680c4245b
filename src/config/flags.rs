//! What the command line says; the last word.

use super::LogFormat;
use super::error::Error;
use super::layers::Layers;
use super::origin::Origin;
use super::paths::utf8;
use std::path::PathBuf;

/// The options of `serve` that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--port`.
    pub port: Option<u16>,
    /// `--host`.
    pub host: Option<String>,
    /// `--workspace`: root of the sessions' folders.
    pub workspace: Option<PathBuf>,
    /// `--config`: the file, ours or the forerunner's.
    pub config: Option<PathBuf>,
    /// `--timeout`: seconds of one turn.
    pub timeout: Option<u64>,
    /// `--log-path`.
    pub log_path: Option<PathBuf>,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--agent-name`: the selected agent's name on its card.
    pub agent_name: Option<String>,
    /// `--init-session`.
    pub init_session: Option<PathBuf>,
    /// `--claude-defaults-dir`.
    pub claude_defaults_dir: Option<PathBuf>,
    /// `--agent`: the agent that serves.
    pub agent: Option<String>,
    /// `--isolation`: what makes the wall.
    pub isolation: Option<String>,
    /// `--no-auth`.
    pub no_auth: bool,
    /// `--insecure`.
    pub insecure: bool,
    /// `--trust-folder`: files of the working folder may weaken the sandbox.
    pub trust_folder: bool,
    /// What stands after `--`; appended to the arguments of the agent that serves.
    pub agent_args: Vec<String>,
}

impl Flags {
    /// Lays the command line over what is there.
    ///
    /// # Errors
    /// A value that its key cannot take and a path that is not UTF-8.
    pub(super) fn lay_over(&self, layers: &mut Layers) -> Result<(), Error> {
        let texts = [
            ("--host", "server.host", self.host.clone()),
            ("--port", "server.port", self.port.map(|port| port.to_string())),
            ("--timeout", "timeouts.turn", self.timeout.map(|seconds| seconds.to_string())),
            ("--log-level", "log.level", self.log_level.clone()),
            (
                "--log-format",
                "log.format",
                self.log_format.map(|format| format.as_str().to_owned()),
            ),
            ("--agent", "agent", self.agent.clone()),
            ("--isolation", "isolation.backend", self.isolation.clone()),
            ("--no-auth", "auth.required", self.no_auth.then(|| "false".to_owned())),
            ("--insecure", "auth.insecure", self.insecure.then(|| "true".to_owned())),
        ];
        let paths = [
            ("--workspace", "workspace.path", &self.workspace),
            ("--log-path", "log.path", &self.log_path),
            ("--state-dir", "state_dir", &self.state_dir),
            ("--init-session", "sessions.init", &self.init_session),
            ("--claude-defaults-dir", "agents.claude.defaults_dir", &self.claude_defaults_dir),
        ];
        let paths = paths
            .into_iter()
            .filter_map(|(flag, key, path)| Some((flag, key, path.as_ref()?)))
            .map(|(flag, key, path)| Ok((flag, key, Some(utf8(flag, path)?.to_owned()))))
            .collect::<Result<Vec<_>, Error>>()?;
        for (flag, key, text) in texts.into_iter().chain(paths) {
            if let Some(text) = text {
                layers.set_text(&key.split('.').collect::<Vec<_>>(), &text, Origin::Flag(flag))?;
            }
        }
        Ok(())
    }
}

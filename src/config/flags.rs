//! What the command line says; the last word.

use super::LogFormat;
use super::error::Error;
use super::layers::Layers;
use super::origin::Origin;
use super::paths::utf8;
use super::repository;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use pilothouse_sandbox::isolation::BackendKind;
use std::path::PathBuf;

/// The options of `serve`; what is said of each is its help.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// Port to listen on (2222)
    #[arg(short, long)]
    pub port: Option<u16>,
    /// Address to listen on (127.0.0.1)
    #[arg(short = 'H', long)]
    pub host: Option<String>,
    /// Folder that the sessions work in (./workspace)
    #[arg(short, long)]
    pub workspace: Option<PathBuf>,
    /// Repository that each session has a clone of: path or https address, perhaps with #REF
    #[arg(long, value_name = "PATH|URL[#REF]")]
    pub repo: Option<String>,
    /// Configuration file (./pilothouse.yaml)
    #[arg(short, long)]
    pub config: Option<PathBuf>,
    /// Seconds that one turn may take (3600)
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// JSONL file of every line that an agent writes
    #[arg(long, value_name = "FILE")]
    pub log_path: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter (info)
    #[arg(long)]
    pub log_level: Option<String>,
    /// pretty or json (pretty)
    #[arg(long, value_parser = log_format)]
    pub log_format: Option<LogFormat>,
    /// Folder of the store, the token and the sessions' homes
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Name on the agent's card
    #[arg(long, value_name = "NAME")]
    pub agent_name: Option<String>,
    /// Script that runs once in each new session's workspace (./.init-session.sh)
    #[arg(long, value_name = "FILE")]
    pub init_session: Option<PathBuf>,
    /// Folder that seeds each session's own .claude
    #[arg(long, value_name = "DIR")]
    pub claude_defaults_dir: Option<PathBuf>,
    /// Agent that serves: a name in `agents`, or auto (auto)
    #[arg(long)]
    pub agent: Option<String>,
    /// What makes the wall around agents: auto, bubblewrap, landlock, container, none (auto)
    #[arg(long, value_name = "BACKEND", add = ArgValueCandidates::new(list_backends))]
    pub isolation: Option<String>,
    /// Ask for no token; on a loopback address only
    #[arg(long)]
    pub no_auth: bool,
    /// With --no-auth: on any address
    #[arg(long)]
    pub insecure: bool,
    /// Use files of the working folder although they weaken the sandbox or the access check
    #[arg(long)]
    pub trust_folder: bool,
    /// Arguments for the agent's program
    #[arg(last = true, value_name = "AGENT_ARGS")]
    pub agent_args: Vec<String>,
}

impl Flags {
    /// Lays the command line over what is there.
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
        if let Some(repo) = &self.repo {
            repository::lay_over(repo, layers)?;
        }
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

/// What a shell completes.
fn list_backends() -> Vec<CompletionCandidate> {
    BackendKind::ALL.iter().map(|kind| CompletionCandidate::new(kind.as_str())).collect()
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err("pretty or json".to_owned()),
    }
}

//! `pilothouse setup`: the set-ups that are built once for all sessions, without a running server.

use super::trial::TrialServer;
use crate::agent::{Agent, Agents, BuiltSetup, SetupState, list_latest_setups, list_setups};
use crate::client::exit;
use crate::client::failure::{Failure, causes};
use crate::config::{self, Config, Environment, Loaded, load};
use crate::store::Claim;
use clap::{Args, Subcommand};
use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What to do with them.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum SetupCommand {
    /// Fetch the sources and run the script of each agent whose set-up is not built yet
    Build,
    /// List the revisions that are built, and what is to be built
    Show,
    /// Remove revisions that no session and no agent uses; a running server does it by itself
    Prune,
}

/// Which server they belong to.
#[derive(Debug, Clone, Args)]
pub(super) struct SetupArgs {
    #[command(subcommand)]
    command: SetupCommand,
    /// Configuration file (./pilothouse.yaml)
    #[arg(short, long, global = true)]
    config: Option<PathBuf>,
    /// Folder of the store, the token and the sessions' homes
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
    /// Use files of the working folder although they weaken the sandbox or the access check
    #[arg(long, global = true)]
    trust_folder: bool,
}

/// Does it; the exit code is 1 where a set-up could not be built.
pub(super) async fn run(
    args: SetupArgs,
    environment: &Environment,
    cwd: &Path,
) -> Result<u8, Failure> {
    let flags = config::Flags {
        config: args.config,
        state_dir: args.state_dir,
        trust_folder: args.trust_folder,
        ..Default::default()
    };
    let loaded = load(&flags, environment, cwd).map_err(|error| Failure::of_config(&error))?;
    loaded.check_folder(cwd).map_err(refused)?;
    if let SetupCommand::Prune = args.command {
        return prune(&loaded.config).await;
    }
    let agents = Agents::resolve(&loaded, cwd).map_err(refused)?;
    let said = match args.command {
        SetupCommand::Build => return build(&loaded, cwd, &agents).await,
        SetupCommand::Show | SetupCommand::Prune => describe(&loaded.config, &agents),
    };
    io::stdout().write_all(said.as_bytes())?;
    Ok(0)
}

/// What the configuration has to be corrected for.
fn refused(error: impl std::error::Error) -> Failure {
    Failure::new(exit::CONFIG, causes(Some(&error)))
}

fn usage(error: impl std::error::Error) -> Failure {
    Failure::usage(causes(Some(&error)))
}

fn failed(why: impl AsRef<str>) -> Failure {
    Failure::new(exit::FAILED, why)
}

/// Builds what is not built, in a server of its own.
async fn build(loaded: &Loaded, cwd: &Path, agents: &Agents) -> Result<u8, Failure> {
    let (mut server, mut code) = (None, 0);
    let built = agents.iter().filter_map(|agent| Some((agent, agent.setup.built()?)));
    for (agent, built) in built {
        let key = &agent.key;
        let plan = &built.plan;
        // A server may be building it now.
        let _lock = plan.lock().await?;
        let digest = plan.find_key().map_err(failed)?;
        if plan.read(&digest).is_some() {
            writeln!(io::stdout(), "{key}: revision {digest} is built")?;
            continue;
        }
        let server = match &server {
            Some(server) => server,
            None => server.insert(start(loaded, cwd).await?),
        };
        let there = server.agents.iter().find(|there| there.key == *key);
        let there = there.ok_or_else(|| failed(format!("`{key}` is not served")))?;
        match await_built(there).await {
            Ok(revision) => {
                plan.adopt(&revision).map_err(failed)?;
                writeln!(io::stdout(), "{key}: revision {digest} is built now")?;
            }
            Err(why) => {
                code = exit::FAILED;
                writeln!(io::stdout(), "{key}: could not be built: {why}")?;
            }
        }
    }
    if let Some(server) = server {
        server.stop().await;
    }
    Ok(code)
}

async fn start(loaded: &Loaded, cwd: &Path) -> Result<TrialServer, Failure> {
    TrialServer::start(loaded, cwd, |_| ()).await.map_err(|error| failed(causes(Some(&error))))
}

/// Waits until a server has built the set-up of an agent; the folder of the revision.
async fn await_built(agent: &Agent) -> Result<PathBuf, String> {
    let Some(built) = agent.setup.built() else { return Err("it is not built".to_owned()) };
    let mut state = built.subscribe();
    let settled = state.wait_for(|state| !state.is_building).await;
    let state = settled.map_err(|error| error.to_string())?;
    match (&state.failure, &state.current) {
        (None, Some(revision)) => Ok(revision.folder().to_owned()),
        (Some(why), _) => Err(why.clone()),
        (None, None) => Err("the server has stopped".to_owned()),
    }
}

/// All revisions on the disk, and what agents would have built.
fn describe(config: &Config, agents: &Agents) -> String {
    let mut said = String::new();
    for (key, revision, _) in list_setups(&config.state_dir) {
        let agent = agents.get(&key);
        let serves = agent.is_some_and(|agent| agent.setup.in_use().contains(&revision));
        let role = if serves { "of new sessions" } else { "of earlier sessions" };
        said.push_str(&format!("{key}: revision {revision}, {role}\n"));
    }
    let is_open = |built: &BuiltSetup| {
        let state: SetupState = built.subscribe().borrow().clone();
        state.is_building
    };
    for agent in agents.iter().filter(|agent| agent.setup.built().is_some_and(is_open)) {
        said.push_str(&format!("{}  is not built yet: pilothouse setup build\n", agent.key));
    }
    if said.is_empty() {
        said.push_str("no agent has a set-up\n");
    }
    said
}

/// Removes revisions that are in no use.
async fn prune(config: &Config) -> Result<u8, Failure> {
    let holder = format!("process {}, which removes old set-ups", std::process::id());
    let claim = Claim::new(config, &holder).map_err(usage)?;
    let store = claim.open(config).map_err(usage)?;
    let mut in_use: HashSet<(String, String)> =
        store.setups_in_use().await.map_err(usage)?.into_iter().collect();
    in_use.extend(list_latest_setups(&config.state_dir));
    let mut removed = 0;
    for (agent, revision, folder) in list_setups(&config.state_dir) {
        if !in_use.contains(&(agent, revision)) {
            std::fs::remove_dir_all(folder)?;
            removed += 1;
        }
    }
    let were = if removed == 1 { "revision was" } else { "revisions were" };
    writeln!(io::stdout(), "{removed} {were} removed")?;
    Ok(0)
}

//! What the operator should know of a configuration before the first turn; `doctor` lists the same.

use super::Error;
use crate::agent::{Agent, Agents};
use crate::config::{Config, DriverKind, WorkspaceMode};
use crate::server::ServerTls;
use pilothouse_egress::Network;
use pilothouse_sandbox::isolation::BackendKind;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What the configuration, the working folder and the network imply, a sentence each.
pub fn find_notes(config: &Config, agents: &Agents, network: &Network, cwd: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(describe_host_names(config));
    notes.extend(describe_state_folder(config));
    for agent in agents.iter() {
        notes.extend(describe_folder(config, agent, cwd));
        notes.extend(describe_relative_arguments(agent, cwd));
        notes.extend(agent.workspaces.note());
        let source = agent.clone_source.iter();
        notes.extend(source.map(|source| source.note(&agent.key, &agent.workspaces)));
    }
    if config.isolation.backend != BackendKind::None {
        notes.extend(network.notes().iter().cloned());
        let open = agents.iter().find(|agent| agent.latest_env().reach.policy.permits_any_host());
        notes.extend(open.filter(|_| network.has_proxy()).map(|agent| {
            format!(
                "`{}` may reach any public host, and this network's proxy resolves their names: see that the proxy \
                 refuses inner networks, or name hosts in `egress.allow`",
                agent.key
            )
        }));
    }
    let granted = &config.isolation;
    for (key, paths) in [("read", &granted.read), ("write", &granted.write)] {
        let missing = paths.iter().filter(|path| !path.exists());
        notes.extend(missing.map(|path| {
            format!("`isolation.{key}` grants {}, which does not exist", path.display())
        }));
    }
    notes
}

/// What is to be said of the server's certificate, where it has one.
pub fn describe_certificate(config: &Config) -> Result<Option<String>, Error> {
    Ok(ServerTls::load(&config.server.tls)?.map(|tls| tls.describe()))
}

/// A folder of the server's user that was made by hand, or by an earlier version.
fn describe_state_folder(config: &Config) -> Option<String> {
    let folder = &config.state_dir;
    let found = std::fs::metadata(folder).ok()?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    let mode = found.mode() & 0o777;
    (is_ours && mode & 0o007 != 0).then(|| {
        format!(
            "other users of this machine may enter the state folder {} (mode {mode:o}): `chmod 700 {}`",
            folder.display(),
            folder.display()
        )
    })
}

/// Other machines can connect, but no Host name except `localhost` is accepted.
fn describe_host_names(config: &Config) -> Option<String> {
    let server = &config.server;
    let host = server.host.trim_matches(['[', ']']);
    let is_open = host.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback());
    let has_names = !server.allowed_hosts.is_empty() || server.public_url.is_some();
    (is_open && !has_names).then(|| {
        "other machines reach this server by its IP address alone: a request with another Host name is refused until \
         `server.allowed_hosts` or `server.public_url` names it"
            .to_owned()
    })
}

/// A repository or a `.env` file where an agent works, or beside it.
fn describe_folder(config: &Config, agent: &Agent, cwd: &Path) -> Vec<String> {
    let Some(folder) = agent.workspaces.shared() else {
        let mode = config.workspace.of(&agent.config.workspace).mode;
        let is_blind = mode == WorkspaceMode::Session && agent.config.driver != DriverKind::Demo;
        let top = cwd.ancestors().find(|above| above.join(".git").exists()).filter(|_| is_blind);
        let words = |top: &Path| {
            let named = if top == cwd { ".".into() } else { top.to_string_lossy() };
            format!(
                "`{}` does not see the repository in this folder: each session begins in an empty folder below {}. To give \
                 each session a clone of it (of what is committed there): `--repo {named}`. To let all sessions work on the \
                 repository itself: AGENT_PROJECT={named} (`workspace.mode: shared`)",
                agent.key,
                agent.workspaces.root().display()
            )
        };
        return top.map(words).into_iter().collect();
    };
    let mut notes = Vec::new();
    if folder.join(".git").exists() {
        notes.push(format!(
            "`{}` can change the repository {}, its hooks and its configuration included: check .git/hooks and \
             .git/config before you run git there",
            agent.key,
            folder.display()
        ));
    }
    // An empty file stands over the server's own one.
    let is_own = folder == cwd && config.isolation.backend != BackendKind::None;
    if !is_own && folder.join(".env").exists() {
        notes.push(format!(
            "`{}` can read {}: move secrets out of the workspace",
            agent.key,
            folder.join(".env").display()
        ));
    }
    notes
}

/// Arguments that name files of the folder in which the server was started, while the agent works in another.
fn describe_relative_arguments(agent: &Agent, cwd: &Path) -> Vec<String> {
    let works_in = agent.workspaces.shared();
    if agent.config.driver == DriverKind::Demo || works_in == Some(cwd) {
        return Vec::new();
    }
    let is_misplaced = |argument: &&String| {
        let path = Path::new(argument);
        let is_in = |folder: &Path| folder.join(path).is_file();
        !argument.starts_with('-')
            && path.is_relative()
            && is_in(cwd)
            && !works_in.is_some_and(is_in)
    };
    let misplaced = agent.config.args.iter().filter(is_misplaced);
    let describe = |argument: &String| {
        format!(
            "`{}` is started in its session's folder, where `{argument}` does not exist: write {} instead",
            agent.key,
            cwd.join(argument).display()
        )
    };
    misplaced.map(describe).collect()
}

//! From the configuration to an agent: its program, its environment, what it may read, and what is to be said of it.

use super::environment::AgentEnvironment;
use super::key::KeyCommand;
use super::served::Folders;
use super::setup::{self, AgentSetup, SetupRevision};
use super::stderr_log::StderrLog;
use super::{
    Agent, CREDENTIALS, DEFAULT_PATH, DEMO_COMMAND, Error, Offers, Reach, credentials, shims,
};
use crate::config::{self, AskPolicy, Config, DriverKind};
use crate::skills;
use parking_lot::RwLock;
use pilothouse_sandbox::isolation::BackendKind;
use pilothouse_sandbox::isolation::{Exposed, Grants};
use pilothouse_sandbox::supervisor::OWN_PROGRAM;
use pilothouse_sandbox::workspace::{describe_missing_grants, find_projects};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Agent {
    pub(super) fn named(
        config: &Config,
        key: &str,
        environment: &BTreeMap<String, String>,
        folders: &mut Folders,
    ) -> Result<Self, Error> {
        let agent = config.agents.get(key).ok_or_else(|| Error::Unknown(key.to_owned()))?.clone();
        let path = environment.get("PATH").cloned().unwrap_or_else(|| DEFAULT_PATH.to_owned());
        let contained = config.isolation.backend == BackendKind::Container;
        let mut args = agent.args.clone();
        let program = find_program(key, &agent, (contained, &path), &mut args)?;
        let env = agent.select_env(environment);
        let mut notes = Vec::new();
        let patience = config.timeouts.key_command.get();
        let key_command = KeyCommand::of(key, &agent, environment, folders, patience)?;
        if agent.driver == DriverKind::Claude {
            notes.extend(credentials::notes(key, &env));
        }
        if agent.driver == DriverKind::Claude
            && key_command.is_none()
            && credential(&agent, environment).is_none()
        {
            notes.push(format!(
                "no credential for Claude Code is passed to it.{} Set ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN \
                 (`claude setup-token` prints it), or pass another by `agents.{key}.env.pass`",
                login_advice(environment)
            ));
        }
        notes.extend(describe_credentials(key, &agent, environment, &env));
        let is_wish = agent.permission_mode != "plan";
        let plans = !is_wish || agent.caller_may.permissions.iter().any(|mode| mode == "plan");
        if plans && agent.driver == DriverKind::Claude && agent.asks == AskPolicy::Allow {
            let what = match is_wish {
                true => "plans where a message wishes it (`caller_may.permissions`)",
                false => "plans first (`permission_mode: plan`)",
            };
            notes.push(format!(
                "`{key}` {what}, and `asks: allow` answers in the place of a person: \
                 commands and edits run while it plans, and its plan is approved. Set `agents.{key}.asks: ask` to \
                 decide yourself"
            ));
        }
        let name = agent.name.clone().unwrap_or_else(|| key.to_owned());
        let reach = Reach::of(config, key, &agent, &env, key_command)
            .map_err(|cause| Error::Reach(key.to_owned(), cause))?;
        notes.extend(reach.note_of_forge(config, key));
        let (mut workspaces, shared_turns) = folders.of(config, &agent)?;
        let declared = (key, &agent, program.as_path());
        let setup = AgentSetup::of(config, declared, (&env, environment), &reach, &mut notes)?;
        let current = setup.current();
        if setup.built().is_none() {
            current.iter().for_each(|setup| workspaces = setup.seed(&workspaces));
        }
        notes.extend(setup::describe_script(config, (key, &agent), workspaces.script(), &reach));
        let listed: Vec<(String, String)> = env.clone().into_iter().collect();
        let clone_source = folders.clone_source(config, (key, &agent), environment)?;
        notes.extend(credentials::check_settings(config, key, &agent, workspaces.shared())?);
        let projects = find_trusted_projects(key, &agent, workspaces.shared(), &mut notes);
        if let Some(path) = workspaces.shared() {
            notes.extend(describe_shared(config, key, path));
        }
        let found = skill_folders(&agent, current.as_deref());
        let mut found = skills::read(&found);
        found.left_out.extend(find_wrong_skills(&agent, workspaces.shared()));
        let mut grants = Grants::default();
        let mut changeable_part = None;
        let is_sandboxed = config.isolation.backend != BackendKind::None;
        if agent.driver != DriverKind::Demo && !contained {
            let search = search_path(agent.driver, &program, &path);
            changeable_part = grants.program(&program, &search, &folders.changeable);
            grants.path(&search, environment.get("HOME").map(Path::new));
            grants.arguments(&args);
        }
        let setups = setup::folder_of(config, key);
        grants.setup(&setups);
        if !contained {
            setup::grant_servers(&agent, &mut grants, &path, &folders.changeable);
        }
        grants.variables(&listed);
        workspaces.script().into_iter().for_each(|script| grants.script(script, contained));
        clone_source.iter().for_each(|source| source.grant(&mut grants));
        let granted = folders.grant(config, key, &workspaces, grants)?;
        if let Some(why) = granted.left_out.iter().find(|one| one.lies_there && one.path == program)
        {
            return Err(Exposed::program(key, why).into());
        }
        notes.extend(granted.left_out.iter().map(|why| format!("agents of `{key}`: {why}")));
        if is_sandboxed && !contained && agent.driver != DriverKind::Demo {
            notes.extend(shims::notes(key, &path, &env, &granted.grants));
        }
        if let Some(part) = changeable_part.as_ref().filter(|_| is_sandboxed) {
            notes.push(format!(
                "`{key}` runs {}, which agents may change, so what one session writes there runs in the next one; and \
                 no interpreter or file that it leads to outside of the system's folders is granted by it. Move it to a \
                 folder that agents only read, or name what it needs in `isolation.read`",
                part.display()
            ));
        }
        Ok(Self {
            key: Arc::from(key),
            missing: granted.missing,
            uncovered: granted.uncovered,
            projects,
            given: AgentEnvironment::first(key, env, reach),
            grants: granted.grants,
            changeable_part,
            found,
            offers: Offers::default(),
            setup,
            workspaces,
            clone_source,
            identity: identify(&config.git, &name),
            shared_turns,
            name,
            asks: agent.asks,
            stderr_log: (agent.driver == DriverKind::Claude).then(StderrLog::default),
            policy: RwLock::new(Arc::new(agent.clone())),
            config: agent,
            reason: None,
            notes,
            server_wait: config.timeouts.mcp.get(),
            program,
            args,
            path,
            contained,
            is_sandboxed,
            times: (config.timeouts.turn.get(), config.timeouts.terminate.get()),
        })
    }
}

/// What the operator should know of credentials that an agent has or does not have.
fn describe_credentials(
    key: &str,
    agent: &config::Agent,
    environment: &BTreeMap<String, String>,
    env: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if !agent.secrets_inside.is_empty() {
        notes.push(format!(
            "`{key}` has {} inside of its sandbox (`agents.{key}.secrets_inside`), and its card says so: its agent can \
             read what stands there, and send it to each host that it reaches",
            agent.secrets_inside.join(", ")
        ));
    }
    let held = config::held_back(environment, env);
    if !held.is_empty() {
        notes.push(format!(
            "held back from the agent: {} (pass one with `agents.{key}.env.pass: [NAME]`)",
            held.join(", ")
        ));
    }
    notes
}

/// What the operator should know of a workspace that all sessions share.
fn describe_shared(config: &Config, key: &str, path: &Path) -> impl Iterator<Item = String> {
    let shared = format!(
        "all sessions of `{key}` work in {} and see each other's files (`workspace.mode: shared`)",
        path.display()
    );
    let config::Isolation { backend, read, write, .. } = &config.isolation;
    let granted = [&read[..], &write[..]].concat();
    let missing = describe_missing_grants(path, &granted)
        .filter(|_| !matches!(backend, BackendKind::None | BackendKind::Container));
    [shared].into_iter().chain(missing)
}

/// The folders whose skills stand on its card: the named ones, and that from which its sessions begin.
fn skill_folders(agent: &config::Agent, setup: Option<&SetupRevision>) -> Vec<PathBuf> {
    let own = match setup {
        Some(setup) => setup.skills(),
        None => agent.defaults_dir.as_ref().map(|folder| folder.join("skills")),
    };
    let own = own.filter(|folder| folder.is_dir());
    agent.skills_from.iter().cloned().chain(own).collect()
}

/// The folders by which a shared project is known that the agent's CLI is to trust.
fn find_trusted_projects(
    key: &str,
    agent: &config::Agent,
    shared: Option<&Path>,
    notes: &mut Vec<String>,
) -> Vec<PathBuf> {
    if !agent.trust_project || agent.driver != DriverKind::Claude {
        return Vec::new();
    }
    if shared.is_none() {
        notes.push(format!(
            "`agents.{key}.trust_project` has no effect, because each session of `{key}` has a workspace of its own \
             (`workspace.mode: shared`)"
        ));
    }
    shared.map(find_projects).unwrap_or_default()
}

/// Where what an agent runs is looked for. What a CLI was installed with, its interpreter for one, lies beside it.
pub(super) fn search_path(driver: DriverKind, program: &Path, path: &str) -> String {
    let beside = program.parent().filter(|folder| folder.is_absolute());
    match (driver, beside) {
        (DriverKind::Claude | DriverKind::Acp, Some(beside)) => {
            format!("{}:{path}", beside.display())
        }
        _ => path.to_owned(),
    }
}

/// Skills of a shared workspace that Claude Code loads otherwise than their files say, if at all.
fn find_wrong_skills(agent: &config::Agent, shared: Option<&Path>) -> Vec<skills::LeftOut> {
    let shared = shared.filter(|_| agent.driver == DriverKind::Claude);
    let folder = shared.map(|shared| shared.join(".claude/skills"));
    let folder = folder.filter(|folder| folder.is_dir());
    skills::read(folder.as_slice()).left_out
}

/// Who an agent is to git: author and committer.
fn identify(git: &config::Git, name: &str) -> Vec<(String, String)> {
    let name = git.name.as_deref().unwrap_or(name);
    let roles = ["AUTHOR", "COMMITTER"].into_iter();
    let of_role = |role| {
        let values = [("NAME", name), ("EMAIL", git.email.as_str())];
        values.map(|(part, value)| (format!("GIT_{role}_{part}"), value.to_owned()))
    };
    roles.flat_map(of_role).collect()
}

/// The first credential that the agent would get.
pub(super) fn credential(
    agent: &config::Agent,
    environment: &BTreeMap<String, String>,
) -> Option<&'static str> {
    let passed = agent.select_env(environment);
    CREDENTIALS.into_iter().find(|&name| passed.get(name).is_some_and(|value| !value.is_empty()))
}
/// A login in the operator's own HOME does not reach a session; say how a key does.
pub(super) fn login_advice(environment: &BTreeMap<String, String>) -> &'static str {
    let folder = environment
        .get("CLAUDE_CONFIG_DIR")
        .map(PathBuf::from)
        .or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".claude")));
    if folder.is_some_and(|folder| folder.join(".credentials.json").exists()) {
        " (You are logged in with `claude`, but a login stays in your own HOME and sessions have their own: run \
         `claude setup-token` and set CLAUDE_CODE_OAUTH_TOKEN.)"
    } else {
        ""
    }
}
/// A program by its path or on PATH, as an absolute path to something that may be run.
pub fn find(program: &str, path: &str) -> Option<PathBuf> {
    let runs = |candidate: &Path| {
        candidate.is_file() && rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if program.contains('/') {
        let absolute = std::path::absolute(program).ok()?;
        return runs(&absolute).then_some(absolute);
    }
    std::env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_absolute() && runs(candidate))
}

/// The program of an agent, and what it is told first. A container's image has its own.
fn find_program(
    key: &str,
    agent: &config::Agent,
    (contained, path): (bool, &str),
    args: &mut Vec<String>,
) -> Result<PathBuf, Error> {
    let wanted = match (agent.driver, &agent.program) {
        (DriverKind::Demo, _) => {
            args.insert(0, DEMO_COMMAND.to_owned());
            return Ok(PathBuf::from(OWN_PROGRAM));
        }
        (_, Some(program)) => program.as_str(),
        (DriverKind::Claude, None) => "claude",
        (DriverKind::Acp | DriverKind::Command, None) => {
            return Err(Error::NoProgram(key.to_owned()));
        }
    };
    if contained {
        return Ok(PathBuf::from(wanted));
    }
    find(wanted, path).ok_or_else(|| {
        let (agent, program) = (key.to_owned(), wanted.to_owned());
        match wanted.contains('/') {
            true => Error::NotExecutable { agent, program },
            false => Error::ProgramNotFound { agent, program },
        }
    })
}

//! Starting a process of a session in its sandbox, and what is held as long as it lives.

use super::SessionDeps;
use crate::agent::{Agent, SetupRevision};
use crate::config::DriverKind;
use crate::repository::branch_of;
use crate::store::Store;
use crate::task::TaskLog;
use crate::telemetry::NativeReceiver;
use pilothouse_agents::claude::{STATE_FILE, telemetry_switches, trust_projects};
use pilothouse_egress::{
    Counted, EgressCredential, HostQuestion, ModelRefusal, Policy, PushRule, Refusal,
};
use pilothouse_sandbox::isolation::{Places, Surroundings};
use pilothouse_sandbox::process::{self, Prepared, Process};
use pilothouse_sandbox::supervisor::Spec;
use pilothouse_sandbox::workspace::Folder;
use std::io;
use std::sync::Arc;

/// Bytes of the file in which a CLI keeps its state, as far as it is kept.
pub(super) const LONGEST_STATE: u64 = 4 * 1024 * 1024;

/// What belongs to a running process; given up with it.
pub(super) struct Confinement {
    /// Its way out, where it has a sandbox.
    credential: Option<EgressCredential>,
    /// What its answers had cost when that was asked for last.
    counted: Counted,
    /// Whether the proxy sees every model that it can reach.
    is_counted: bool,
    /// Whether the proxy carries requests to models.
    carries_models: bool,
    /// Who takes what its CLI says of itself, where that goes to the operator's collector.
    native: Option<Arc<NativeReceiver>>,
    _surroundings: Surroundings,
}

/// How a process gets out, as its environment says it; none without a sandbox.
pub(super) type DoorWords = Option<Vec<(String, String)>>;

impl Confinement {
    /// The next of its requests that did not get through. Cancel-safe.
    pub(super) async fn next_refusal(&self) -> Refusal {
        match &self.credential {
            Some(credential) => credential.next_refusal().await,
            None => std::future::pending().await,
        }
    }

    /// The next of its connections about which a person is to be asked. Cancel-safe.
    pub(super) async fn next_question(&self) -> HostQuestion {
        match &self.credential {
            Some(credential) => credential.next_question().await,
            None => std::future::pending().await,
        }
    }

    /// Tokens of its answers since `take_spent` was asked for last; none where it may reach models that the
    /// proxy does not see.
    pub(super) fn proxied_tokens(&self) -> Option<u64> {
        let credential = self.credential.as_ref().filter(|_| self.is_counted)?;
        Some(credential.tokens().sum().saturating_sub(self.counted.sum()))
    }

    /// Whether the proxy sees how models answer its CLI.
    pub(super) fn carries_models(&self) -> bool {
        self.credential.is_some() && self.carries_models
    }

    /// Its CLI serves this task from now on. Whether it tells the operator's collector of its own work.
    pub(super) async fn begin_turn(&self, store: &Store, log: &TaskLog) -> bool {
        let Some(native) = &self.native else { return false };
        if let Err(error) = native.begin_turn(store, log).await {
            tracing::warn!(task.id = %log.id, %error, "what the CLI says of itself is not labelled with task {}", log.id);
        }
        true
    }

    /// Why its last request to a model was refused, if it was.
    pub(super) fn take_refusal(&self) -> Option<ModelRefusal> {
        self.credential.as_ref()?.take_refusal()
    }

    /// What its answers have cost since this was asked for last, as the proxy saw it.
    pub(super) fn take_spent(&mut self) -> Option<Counted> {
        let total = self.credential.as_ref()?.tokens();
        let before = std::mem::replace(&mut self.counted, total);
        (total.requests > before.requests).then(|| Counted {
            input: total.input.saturating_sub(before.input),
            output: total.output.saturating_sub(before.output),
            cache_read: total.cache_read.saturating_sub(before.cache_read),
            cache_write: total.cache_write.saturating_sub(before.cache_write),
            requests: total.requests.saturating_sub(before.requests),
            refusal: None,
        })
    }
}

/// Starts the agent itself, whose CLI is to trust what the operator wants it to. As [`start`] in all else.
///
/// # Errors
///
/// When the program cannot be run, or its sandbox cannot be made.
pub(super) async fn start_agent(
    deps: &SessionDeps,
    agent: &Agent,
    folder: &Folder,
    policy: &Arc<Policy>,
    supervisor: &mut Option<Prepared>,
    spec: impl FnOnce(&Places, DoorWords) -> Spec,
) -> Result<(Process, Confinement), process::Error> {
    let projects = agent.trusted_projects(&deps.isolation.places(folder));
    if !projects.is_empty() {
        // While no CLI of the session lives, which writes this file as well.
        let edit = move |state: &[u8]| trust_projects(state, &projects);
        folder.edit(STATE_FILE, LONGEST_STATE, edit).await?;
    }
    let is_claude = agent.config.driver == DriverKind::Claude;
    let native = is_claude.then(|| deps.telemetry.receive_native(&agent.key)).flatten();
    start(deps, agent, folder, (policy, native), supervisor, spec).await
}

/// Files of Claude Code below HOME in which it notes paths.
const PATH_FILES: [(&str, &str); 4] = [
    STATE_FILE,
    (".claude", "settings.json"),
    (".claude/plugins", "installed_plugins.json"),
    (".claude/plugins", "known_marketplaces.json"),
];

/// Gives a new HOME the paths of its own session where the script of the set-up has noted those that it knew.
///
/// # Errors
///
/// When one of the files cannot be read or written.
pub(super) async fn adapt_home(
    deps: &SessionDeps,
    setup: Option<&SetupRevision>,
    folder: &Folder,
) -> io::Result<()> {
    let Some(built_in) = setup.and_then(|setup| setup.built_in.clone()) else { return Ok(()) };
    let places = deps.isolation.places(folder);
    let own = [places.home, places.workspace];
    if own == built_in {
        return Ok(());
    }
    for file in PATH_FILES {
        let (old, new) = (built_in.clone(), own.clone());
        let replace = move |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok()?;
            let pairs = old.iter().zip(&new);
            let replaced = pairs.fold(text.to_owned(), |text, (old, new)| text.replace(old, new));
            (replaced != text).then(|| replaced.into_bytes())
        };
        folder.edit(file, LONGEST_STATE, replace).await?;
    }
    Ok(())
}

/// Starts a script of the server's own beside the agent, within `timeouts.start`. Dropping this ends the start.
///
/// # Errors
///
/// Why it has not begun, for people.
pub(super) async fn start_script(
    deps: &SessionDeps,
    agent: &Agent,
    folder: &Folder,
    policy: &Arc<Policy>,
    spec: impl FnOnce(&Places, DoorWords) -> Spec,
) -> Result<(Process, Confinement), String> {
    let (mut supervisor, patience) = (None, deps.config.timeouts.start);
    let starting = start(deps, agent, folder, (policy, None), &mut supervisor, spec);
    let started = tokio::time::timeout(patience.get(), starting).await;
    if let Some(supervisor) = supervisor {
        supervisor.give_up().await;
    }
    let started =
        started.map_err(|_| format!("it did not begin within {patience} (`timeouts.start`)"))?;
    started.map_err(|error| error.to_string())
}

/// Starts a process of this agent, with paths as it finds them and a way out by this policy. As long as it has
/// not begun, what starts it lies in `supervisor`: whoever stops waiting for this, and whoever gets an error,
/// gives that up. What its CLI says of itself is taken by `native`.
///
/// # Errors
///
/// When the program cannot be run, or its sandbox cannot be made.
async fn start(
    deps: &SessionDeps,
    agent: &Agent,
    folder: &Folder,
    (policy, native): (&Arc<Policy>, Option<Arc<NativeReceiver>>),
    supervisor: &mut Option<Prepared>,
    spec: impl FnOnce(&Places, DoorWords) -> Spec,
) -> Result<(Process, Confinement), process::Error> {
    let isolation = &deps.isolation;
    let credential = isolation.is_sandboxed().then(|| deps.egress.issue_credential(policy.clone()));
    let native = native.filter(|_| credential.is_some());
    if let (Some(credential), Some(native)) = (&credential, &native) {
        credential.receive_telemetry(native.clone());
    }
    let mut door = credential.as_ref().map(|credential| credential.env(isolation.proxy_port()));
    if let (Some(door), Some(native)) = (&mut door, &native) {
        door.extend(telemetry_switches(native.has_content()));
    }
    if let (Some(credential), Some(source)) = (&credential, &agent.clone_source) {
        let rule = PushRule::new(source.mirror.url(), &branch_of(&folder.session()));
        credential.limit_pushes(rule);
    }
    let spec = spec(&isolation.places(folder), door);
    let sandboxed =
        isolation.confine(&deps.launcher, spec, &agent.key, folder, &agent.grants).await?;
    if supervisor.is_none() {
        *supervisor = Some(sandboxed.launcher(&deps.launcher).prepare().await?);
    }
    let prepared = supervisor.as_mut().expect("it was just put there");
    let begun = prepared.begin(&sandboxed.confined).await?;
    let prepared = supervisor.take().expect("it has just begun");
    let mut process = prepared.into_process(begun)?;
    if let (Some(listener), Some(credential)) = (process.listener.take(), &credential) {
        listener.set_nonblocking(true)?;
        credential.serve(tokio::net::TcpListener::from_std(listener)?);
    }
    let confinement = Confinement {
        credential,
        counted: Counted::default(),
        is_counted: policy.counts_all_models(),
        carries_models: policy.has_model_route(),
        native,
        _surroundings: sandboxed.held,
    };
    Ok((process, confinement))
}

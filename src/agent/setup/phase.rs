//! What the new sessions of an agent are set up with: a revision that is there from the start, or one that is built in a
//! phase of its own, because something has to be fetched for it or a script has to run.
//!
//! # How it works
//!
//! Such a revision is named by its key, the digest of all that it is built from: the block, the files that it names,
//! the script, and the program of the agent. A folder of that name is whole, because it gets the name last; so it is
//! built once, whatever ends the server meanwhile. While another one is built, new sessions begin with the one of before.

use super::compile::check_variables;
use super::plan::SetupPlan;
use super::{SetupRevision, compile, find_notes, folder_of, foresee};
use crate::agent::{Agent, Error, Reach};
use crate::config::{self, Config};
use pilothouse_sandbox::workspace::Workspaces;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// What the new sessions of an agent are set up with.
pub struct AgentSetup {
    /// The folder with its revisions, those that earlier sessions began with included.
    pub(super) folder: PathBuf,
    current: CurrentSetup,
}

/// Where the revision for new sessions is.
enum CurrentSetup {
    /// It does not change while the server runs.
    Fixed(Option<Arc<SetupRevision>>),
    /// It is built, and may be built anew.
    Built(Box<BuiltSetup>),
}

/// A set-up that is built in a phase of its own.
pub struct BuiltSetup {
    /// How it is built.
    pub plan: SetupPlan,
    state: watch::Sender<SetupState>,
    requested: Notify,
}

/// How far the building has come.
#[derive(Clone, Default)]
pub struct SetupState {
    /// What new sessions begin with.
    pub current: Option<Arc<SetupRevision>>,
    /// What they began with before, in which a session may be beginning.
    previous: Option<Arc<SetupRevision>>,
    /// Whether one is being built.
    pub is_building: bool,
    /// Why the last try has failed.
    pub failure: Option<String>,
}

impl AgentSetup {
    /// That of an agent, from what it declares. `env` is what the agent is passed, `environment` what the server has;
    /// `notes` get what the operator should know.
    pub(in crate::agent) fn of(
        config: &Config,
        (key, agent, program): (&str, &config::Agent, &Path),
        (env, environment): (&BTreeMap<String, String>, &BTreeMap<String, String>),
        reach: &Reach,
        notes: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let failed = |what: String| Error::Setup { agent: key.to_owned(), what };
        let folder = folder_of(config, key);
        let fixed =
            |revision| Self { folder: folder.clone(), current: CurrentSetup::Fixed(revision) };
        if agent.setup.is_empty() {
            return Ok(fixed(None));
        }
        check_variables(key, agent, env).map_err(failed)?;
        notes.extend(find_notes(config, (key, agent), &reach.policy));
        if !agent.setup.has_phase() {
            let revision = compile(config, (key, agent), notes).map_err(failed)?;
            return Ok(fixed(Some(Arc::new(revision))));
        }
        notes.extend(foresee::describe_hosts(config, (key, agent), &reach.setup));
        let declared = (key, agent, program);
        let plan = SetupPlan::of(config, declared, &folder, (env, environment)).map_err(failed)?;
        let mut state =
            SetupState { current: plan.find_built().map_err(failed)?, ..SetupState::default() };
        if state.current.is_none() {
            state.is_building = true;
            state.current = plan.read_latest();
            notes.push(match &state.current {
                Some(old) => format!(
                    "the set-up of `{key}` has changed and is built in the background; until then new sessions begin \
                     with revision {}",
                    old.digest
                ),
                None => format!("the set-up of `{key}` is built in the background; sessions wait for it"),
            });
        }
        let requested = Notify::new();
        if state.is_building {
            requested.notify_one();
        }
        let built = BuiltSetup { plan, state: watch::Sender::new(state), requested };
        Ok(Self { folder, current: CurrentSetup::Built(Box::new(built)) })
    }

    /// What new sessions begin with; none where nothing is declared, or where it is not built yet.
    pub fn current(&self) -> Option<Arc<SetupRevision>> {
        match &self.current {
            CurrentSetup::Fixed(revision) => revision.clone(),
            CurrentSetup::Built(built) => built.state.borrow().current.clone(),
        }
    }

    /// The revision of this digest among all of the agent's, if it is still there.
    pub(in crate::agent) fn read(&self, digest: &str) -> Option<SetupRevision> {
        SetupRevision::read(&self.folder, digest)
    }

    /// The building of it, where it has a phase of its own.
    pub fn built(&self) -> Option<&BuiltSetup> {
        match &self.current {
            CurrentSetup::Fixed(_) => None,
            CurrentSetup::Built(built) => Some(built),
        }
    }

    /// Whether a session can begin now.
    pub fn is_ready(&self) -> bool {
        self.built().is_none_or(|built| built.state.borrow().current.is_some())
    }

    /// The digests of revisions in which sessions may begin.
    pub fn in_use(&self) -> Vec<String> {
        match &self.current {
            CurrentSetup::Fixed(revision) => {
                revision.iter().map(|revision| revision.digest.clone()).collect()
            }
            CurrentSetup::Built(built) => {
                let state = built.state.borrow();
                let all = state.current.iter().chain(&state.previous);
                all.map(|revision| revision.digest.clone()).collect()
            }
        }
    }
}

impl BuiltSetup {
    /// How far it has come, now and from now on.
    pub fn subscribe(&self) -> watch::Receiver<SetupState> {
        self.state.subscribe()
    }

    /// Has it built where it is not what is declared now, or has failed before.
    pub fn request(&self) {
        let asks = self.state.send_if_modified(|state| {
            let is_new = !state.is_building;
            (state.is_building, state.failure) = (true, None);
            is_new
        });
        if asks {
            self.requested.notify_one();
        }
    }

    /// Waits until somebody wants it to be built. Cancel-safe.
    pub async fn requested(&self) {
        self.requested.notified().await;
    }

    /// What a try has come to.
    pub fn settle(&self, built: Result<SetupRevision, String>) {
        self.state.send_modify(|state| {
            state.is_building = false;
            match built {
                Ok(revision) => {
                    let is_same = |current: &Arc<SetupRevision>| current.digest == revision.digest;
                    if !state.current.as_ref().is_some_and(is_same) {
                        state.previous = state.current.replace(Arc::new(revision));
                    }
                }
                Err(why) => state.failure = Some(why),
            }
        });
    }
}

impl Agent {
    /// What its new sessions begin with; none where nothing is declared, or where it is not built yet.
    pub fn current_setup(&self) -> Option<Arc<SetupRevision>> {
        self.setup.current()
    }

    /// The digest of what a session that begins now is set up with. Where the last try to build the one of today has
    /// failed, it is tried again, without waiting for it.
    pub fn choose_setup(&self) -> Option<String> {
        if let Some(built) = self.setup.built() {
            let has_failed = built.state.borrow().failure.is_some();
            if has_failed {
                built.request();
            }
        }
        self.setup.current().map(|setup| setup.digest.clone())
    }

    /// Folders of sessions that begin with this revision.
    pub fn workspaces_of(&self, setup: Option<&SetupRevision>) -> Workspaces {
        match setup.filter(|_| self.setup.built().is_some()) {
            Some(setup) => setup.seed(&self.workspaces),
            // They begin with it anyway.
            None => self.workspaces.clone(),
        }
    }
}

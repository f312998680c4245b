//! The clone that a new session begins with.
//!
//! # How it works
//!
//! The server brings the mirror up to date and finds the commit; meanwhile the turn holds no place among the processes. All else is done by a script in the session's sandbox
//! as the agent's user, because from its first moment the agent may write in that folder: the script makes a git
//! directory of the session's own, without hooks and without configuration of others, and names the mirror's objects in
//! it. A clone that is there already, because the session is a copy of another one, only gets a branch of its own.

use super::super::activity::WaitsFor;
use super::super::ending::{Cause, fault, fault_with};
use super::super::start::DoorWords;
use super::super::waiting::WaitingTurn;
use super::Begin;
use super::included::{self, IncludeList};
use super::setup::SetupStep;
use crate::plain_file;
use crate::queue::Place;
use crate::repository::{Base, CloneSource, INCLUDED, MirrorError, branch_of};
use crate::store::Checkout;
use pilothouse_egress::Policy;
use pilothouse_sandbox::disk;
use pilothouse_sandbox::isolation::Places;
use pilothouse_sandbox::workspace::{Folder, InitFailed};
use serde_json::json;
use std::borrow::Cow;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Makes the clone. Its last line is the commit that the session began at.
const SCRIPT: &str = include_str!("clone.sh");

/// Between two reports of how far a fetch has come.
const PROGRESS: Duration = Duration::from_secs(2);

impl Begin<'_> {
    /// Makes the session's clone, visible in the task, where its agent has a repository.
    pub(super) async fn check_out(&mut self, folder: &Folder) -> Result<(), Cause> {
        let agent = self.session.agent.clone();
        let Some(source) = &agent.clone_source else { return Ok(()) };
        let mirror = &source.mirror;
        let mut base = match self.base.take() {
            Some(base) => base,
            // Its folder was removed meanwhile.
            None => self.find_base(source).await?,
        };
        base.left_out.extend(self.bring_included(folder, source).await?.map(Cow::from));
        let branch = branch_of(&self.session.row.id);
        let objects = mirror.folder().to_string_lossy().into_owned();
        let name = base.name.as_deref().unwrap_or_default();
        let mut args = vec![objects.as_str(), &base.commit, &branch, name, mirror.url()];
        let shared: Vec<_> = source.shared().collect();
        let local = mirror.local().map(|local| local.to_string_lossy().into_owned());
        args.push(local.as_deref().unwrap_or_default());
        args.extend(shared.iter().map(|(_, path)| *path));
        // It has all that it needs, and what it runs is the repository's.
        let nothing = Policy::nothing("workspace.repository");
        let step = SetupStep {
            name: "the clone of the repository",
            policy: &Arc::new(nothing),
            spec: |places: &Places, door: DoorWords| {
                agent.clone_spec((SCRIPT, &args[..]), places, door)
            },
            patience: self.session.deps.config.timeouts.checkout.get(),
            key: "timeouts.checkout",
        };
        let ended = self.run_setup(folder, step).await?;
        let words = ended.map_err(|InitFailed { reason, is_not_found, output }| {
            let told = format!("the clone of the repository {} {reason}: {output}", mirror.name());
            let hint = match is_not_found {
                true => "the operator must give agents git: it has to be on the PATH of the server, or in the image",
                false => "the operator must make room on the disk, or raise `timeouts.checkout`",
            };
            fault_with(&told, hint)
        })?;
        // A session that is a copy began where the other one did.
        let began = words.lines().last().filter(|line| is_commit(line)).unwrap_or(&base.commit);
        let checkout = Checkout {
            repository: mirror.name().to_owned(),
            base: began.to_owned(),
            base_branch: base.name.clone(),
            branch,
        };
        self.tell(&checkout, &base);
        self.show().await;
        self.session.row.checkout = Some(checkout);
        self.session.note_use().await;
        Ok(())
    }

    /// Brings what `.worktreeinclude` of a repository on this machine lists to where the script finds it; what of that is
    /// left out. The copy of another session has what that one had.
    async fn bring_included(
        &mut self,
        folder: &Folder,
        source: &CloneSource,
    ) -> Result<Option<String>, Cause> {
        let Some(local) = source.mirror.local().filter(|_| self.turn.fork.is_none()) else {
            return Ok(None);
        };
        let path = local.join(INCLUDED);
        let read = disk::off_worker(move || plain_file::read(&path, included::LONGEST)).await;
        let id = self.session.row.id.clone();
        let failed = |why: String| {
            tracing::warn!(session.id = %id, "what `.worktreeinclude` lists is not copied: {why}");
            format!("not all that `.worktreeinclude` lists is copied: {why}")
        };
        let text = match read.map_err(io::Error::other).flatten() {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Ok(Some(failed(error.to_string()))),
        };
        let list = IncludeList::parse(&String::from_utf8_lossy(&text), &source.share);
        let unknown = list.unknown.first().map(|line| {
            failed(format!("`{line}` has a class (`[..]`) or a `\\`, which is not understood"))
        });
        let limits = self.session.agent.workspaces.copy_limits();
        let is_wanted = move |path: &[u8], is_folder: bool| list.wants(path, is_folder);
        let brought = self.wait(folder.bring(local, included::PLACE, limits, is_wanted)).await?;
        Ok(brought.err().map(|error| failed(error.to_string())).or(unknown))
    }

    /// What the session's folder will be a clone of, where it has to be made.
    pub(super) fn source_of_clone(&self) -> Option<CloneSource> {
        let is_made = self.session.row.ready && self.turn.fork.is_none();
        self.session
            .agent
            .clone_source
            .clone()
            .filter(|_| !is_made && self.session.running.is_none())
    }

    /// Waits for one of the places for turns that fetch this repository: upstream may hang, and those that wait for it
    /// are no more than these, and those in the queue.
    pub(super) async fn wait_to_fetch(
        &mut self,
        source: &CloneSource,
        waiting: Option<WaitingTurn>,
    ) -> Result<Place, Cause> {
        let caller = self.turn.log.scope.caller.clone();
        if let Some(place) = source.mirror.turns().try_take(&caller) {
            return Ok(place);
        }
        let _waiting = match waiting {
            Some(waiting) => waiting,
            None => self.session.live.waiting.enter(&caller).map_err(|full| fault(&full))?,
        };
        let place = source.mirror.turns().request(&caller).place();
        self.wait_for(WaitsFor::Repository, place).await
    }

    /// Finds the commit, and shows how far that has come.
    pub(super) async fn find_base(&mut self, source: &CloneSource) -> Result<Base, Cause> {
        self.turn.translator.status(&format!("fetching {}", source.mirror.name()), None);
        self.show().await;
        let deps = self.session.deps.clone();
        let (progress, mut said) = watch::channel(String::new());
        let wished = self.turn.wishes.as_ref().and_then(|wishes| wishes.reference.clone());
        let is_wished = wished.is_some();
        let reference = wished.or_else(|| source.reference.clone());
        let (reference, tasks) = (reference.as_deref(), (&deps.actors, &deps.stop));
        let finding = source.mirror.find_base(&deps.launcher, reference, &progress, tasks);
        let mut finding = pin!(finding);
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    found = &mut finding => Some(found),
                    () = tokio::time::sleep(PROGRESS) => None,
                }
            };
            if let Some(found) = self.wait(next).await? {
                return found.map_err(|error| match (&error, is_wished) {
                    (MirrorError::NoReference { .. }, true) => {
                        fault_with(&error, "begin a new context at a `ref` that is there")
                    }
                    _ => fault_with(&error, error.hint()),
                });
            }
            if said.has_changed().unwrap_or(false) {
                let words = said.borrow_and_update().clone();
                let data = json!({"kind": "fetch", "progress": words});
                self.turn
                    .translator
                    .status(&format!("fetching {}: {words}", source.mirror.name()), Some(data));
                self.show().await;
            }
        }
    }

    /// Shows what the session works on, and what of that is missing.
    fn tell(&mut self, checkout: &Checkout, base: &Base) {
        let Checkout { repository, base: commit, base_branch, branch } = checkout;
        let at = base_branch.as_deref().map(|name| format!("{name}, ")).unwrap_or_default();
        let short = commit.get(..12).unwrap_or(commit);
        let left_out = base.left_out.iter().map(|what| format!("; {what}")).collect::<String>();
        let words = format!("works on {repository} ({at}{short}) on the branch {branch}{left_out}");
        let mut data = json!(checkout);
        data["kind"] = json!("checkout");
        data["leftOut"] = json!(base.left_out);
        self.turn.translator.status(&words, Some(data));
    }
}

/// Whether it is the whole name of a commit.
fn is_commit(line: &str) -> bool {
    matches!(line.len(), 40 | 64) && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}

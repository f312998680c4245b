//! What a turn has changed in its workspace, as artifacts of its task: `changes`, `patch`, and files that the operator
//! wants.
//!
//! # How it works
//!
//! The server itself never runs git where an agent can write. It looks at the workspace before and after the turn,
//! without opening a file; where the looks differ, a script (`snapshot.sh`) runs git in the sandbox, as the agent's
//! user, with a git directory in the session's HOME. A snapshot at the end of a turn is the beginning of the next one.
//! An agent may spoil its own snapshots: then it spoils what is said of its own work.
//!
//! What has changed between two turns (by a person at a terminal, or by a command in the background) is said of the
//! next one, unless the server has begun the session's actor anew meanwhile.

mod changes;

use super::ending::Cause;
use super::resources::{CurrentTurn, SessionResources};
use super::{SessionDeps, Wishes, start};
use crate::agent::Agent;
use crate::config::{self, DriverKind};
use crate::store::{BASE_PATCH, ResultRow, TURN_PATCH, Write};
pub(super) use changes::fits;
use changes::{Change, ChangeKind, media_type, read_changes};
use pilothouse_a2a::id::{ArtifactId, TaskId};
use pilothouse_a2a::message::{Part, PartContent};
use pilothouse_a2a::task::Artifact;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::Outcome;
use pilothouse_egress::Policy;
use pilothouse_sandbox::process::Process;
use pilothouse_sandbox::workspace::{
    Folder, Look, LookBounds, SessionFiles, encode_path, hear_setup,
};
use serde_json::{Value, json};
use std::fmt::Display;
use std::sync::Arc;

/// What runs git in the sandbox.
const SCRIPT: &str = include_str!("results/snapshot.sh");

/// Where in HOME the script works.
const PLACE: &str = ".pilothouse-results";

/// Bytes of an event beside what it is about.
const FRAME: usize = 8 * 1024;

/// What an actor knows of its session's workspace.
#[derive(Default)]
pub(super) struct Snapshots {
    /// How it was at the last snapshot.
    look: Option<Look>,
    /// Whether there was no snapshot when one was wanted; the next actor tries again.
    has_given_up: bool,
}

impl Snapshots {
    /// Somebody else may have changed the workspace.
    pub(super) fn forget(&mut self) {
        self.look = None;
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
enum NoSnapshot {
    #[error(
        "there is no `git` in the sandbox; the operator can install it, or set `agents.*.patch: off`"
    )]
    NoGit,
    #[error(
        "the workspace is no git repository, and has more than {entries} files and folders or {bytes} (`limits.result_entries`, \
         `limits.snapshot`); the operator can raise these keys, or set `agents.*.patch: off`"
    )]
    TooLarge { entries: u64, bytes: config::Bytes },
    #[error("{0}")]
    Failed(String),
}

impl NoSnapshot {
    fn of(error: &impl Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What the results of a turn are made with.
struct Maker {
    deps: Arc<SessionDeps>,
    agent: Arc<Agent>,
    session: Arc<str>,
    task: TaskId,
    n: i64,
    /// What the turn's message wants beside its words.
    wishes: Option<Arc<Wishes>>,
}

/// Looks at the workspace before the agent is told its prompt; at one that is known to be empty without opening it.
/// What is there before the first turn is the session's base.
pub(super) async fn note_beginning(
    session: &mut SessionResources,
    turn: &mut CurrentTurn,
    is_empty: bool,
) -> Result<(), Cause> {
    let is_wanted = is_wanted(&session.agent.config, turn) && !session.snapshots.has_given_up;
    if !is_wanted || std::mem::replace(&mut turn.has_looked, true) {
        return Ok(());
    }
    let is_shared = session.agent.workspaces.shared().is_some();
    if let Some(known) = session.snapshots.look.as_ref().filter(|_| !is_shared) {
        turn.before = Some(known.clone());
        return Ok(());
    }
    if is_empty {
        turn.before = Some(Look::default());
        return Ok(());
    }
    let maker = Maker::new(session, turn);
    let deadline = turn.clock.as_ref().map(super::turn_clock::TurnClock::deadline);
    let look = session.inbox.wait_in_turn(deadline, maker.look()).await?;
    let Some(look) = look else { return Ok(()) };
    if !look.is_empty() && session.snapshots.look.as_ref() != Some(&look) {
        // Whoever stops waiting ends git with its process.
        let taking = maker.take_snapshot("begin", &look);
        if let Err(why) = session.inbox.wait_in_turn(deadline, taking).await? {
            give_up(session, turn, &why);
            return Ok(());
        }
    }
    turn.before = Some(look);
    Ok(())
}

/// Looks at the workspace when the agent has ended its turn, and gathers what has changed.
pub(super) async fn gather(
    session: &mut SessionResources,
    turn: &mut CurrentTurn,
    outcome: &Outcome,
) {
    let Some(before) = turn.before.take() else { return };
    let is_over = match outcome {
        Outcome::Completed { .. }
        | Outcome::InputRequired { .. }
        | Outcome::AuthRequired { .. }
        | Outcome::Rejected { .. }
        | Outcome::Failed { .. } => !session.deps.stop.is_cancelled(),
        // Whoever cancels does not wait; the next turn says what this one has left.
        Outcome::Replied { .. } | Outcome::Canceled | Outcome::ConversationLost => false,
    };
    if !is_over || turn.log.is_withheld() {
        return;
    }
    let maker = Maker::new(session, turn);
    // A turn that is canceled meanwhile has ended: what it has left is said of the next one.
    let looked = session.inbox.wait_in_turn(None, maker.look()).await;
    let Ok(Some(after)) = looked else { return };
    let tells_tools = matches!(session.agent.config.driver, DriverKind::Claude | DriverKind::Acp);
    let is_idle = after.is_cut && tells_tools && !turn.translator.has_called_tools();
    if (after == before && !after.is_cut) || is_idle {
        session.snapshots.look = Some(after);
        return;
    }
    let Ok(made) = session.inbox.wait_in_turn(None, maker.make(&after)).await else { return };
    match made {
        Ok((artifacts, writes)) => {
            session.snapshots.look = Some(after);
            turn.translator.add_results(artifacts);
            turn.closing.extend(writes);
        }
        Err(why) => give_up(session, turn, &why),
    }
}

fn is_wanted(agent: &config::Agent, turn: &CurrentTurn) -> bool {
    let wishes = turn.wishes.as_ref().is_some_and(|wishes| !wishes.results.is_empty());
    agent.patch == config::PatchMode::Auto || !agent.results.is_empty() || wishes
}

/// Says why this turn has no results, and those after it neither.
fn give_up(session: &mut SessionResources, turn: &mut CurrentTurn, why: &NoSnapshot) {
    session.snapshots = Snapshots { look: None, has_given_up: true };
    let reason = why.to_string();
    let line = format!("what is changed in the workspace is not shown: {reason}");
    let data = json!({"kind": "results", "state": "skipped", "reason": reason});
    turn.translator.status(&line, Some(data));
}

impl Maker {
    fn new(session: &SessionResources, turn: &CurrentTurn) -> Self {
        Self {
            deps: session.deps.clone(),
            agent: session.agent.clone(),
            session: session.row.id.clone(),
            task: turn.log.id.clone(),
            n: turn.log.n,
            wishes: turn.wishes.clone(),
        }
    }

    async fn files(&self) -> Option<SessionFiles> {
        self.agent.workspaces.files(&self.session).await.ok()
    }

    async fn look(&self) -> Option<Look> {
        let limits = &self.deps.config.limits;
        let bounds =
            LookBounds { entries: limits.result_entries, large: limits.snapshot_file.get() };
        self.files().await?.look(bounds).await.ok()
    }

    async fn take_snapshot(&self, mode: &str, look: &Look) -> Result<Folder, NoSnapshot> {
        let (entries, bytes) =
            (self.deps.config.limits.result_entries, self.deps.config.limits.snapshot);
        if !look.has_git && (look.is_cut || look.bytes > bytes.get()) {
            return Err(NoSnapshot::TooLarge { entries, bytes });
        }
        let folder = self.agent.workspaces.folder(&self.session).await;
        let folder = folder.map_err(|error| NoSnapshot::of(&error))?;
        let mut paths = b":/\0".to_vec();
        for path in &look.large {
            paths.extend_from_slice(b":(top,exclude,literal)");
            paths.extend_from_slice(path);
            paths.push(0);
        }
        let written = folder.write_home(PLACE, "paths", paths).await;
        written.map_err(|error| NoSnapshot::of(&error))?;
        let limits = &self.deps.config.limits;
        let most = [limits.patch.get().to_string(), limits.changes.to_string()];
        let [patch, changes] = &most;
        let args = ["-c", SCRIPT, "snapshot", mode, patch, changes];
        let policy = Arc::new(Policy::default());
        let spec = |places: &_, _| self.agent.own_spec("/bin/sh", &args, places);
        let started = start::start_script(&self.deps, &self.agent, &folder, &policy, spec).await;
        let (mut process, _confinement) = started.map_err(NoSnapshot::Failed)?;
        self.hear(&mut process).await?;
        Ok(folder)
    }

    /// Hears the script to its end, or ends it.
    async fn hear(&self, process: &mut Process) -> Result<(), NoSnapshot> {
        let patience = self.deps.config.timeouts.results;
        let failed = match hear_setup(process, (patience.get(), "timeouts.results")).await {
            Ok(_) => return Ok(()),
            Err(failed) if failed.is_not_found => return Err(NoSnapshot::NoGit),
            Err(failed) => format!(
                "git {}: {}; the operator can set `agents.*.patch: off`",
                failed.reason, failed.output
            ),
        };
        process.control.kill().await;
        Err(NoSnapshot::Failed(failed))
    }

    /// All results of a turn, and what is stored beside its events.
    async fn make(&self, look: &Look) -> Result<(Vec<Artifact>, Vec<Write>), NoSnapshot> {
        let folder = self.take_snapshot("end", look).await?;
        let limits = &self.deps.config.limits;
        let most = limits.patch.get();
        let read = async |name, most| folder.read_home(PLACE, name, most).await.unwrap_or_default();
        let of_lists = (limits.changes as u64).saturating_mul(5000);
        let raw = read("raw", of_lists).await;
        let changes = read_changes(&raw, &read("numbers", of_lists).await);
        let (mut artifacts, mut writes) = (Vec::new(), Vec::new());
        if changes.is_empty() {
            return Ok((artifacts, writes));
        }
        let files = self.files().await;
        if self.agent.config.patch == config::PatchMode::Auto {
            artifacts.push(self.render_changes(&changes, files.as_ref(), look).await);
            let turn = read(TURN_PATCH, most + 1).await;
            // None where the turn has begun where the session has.
            let base = folder.read_home(PLACE, BASE_PATCH, most + 1).await.ok();
            artifacts.extend(self.render_patches(&turn, base.as_deref()));
            for (name, patch) in
                [(BASE_PATCH, base.unwrap_or_else(|| turn.clone())), (TURN_PATCH, turn)]
            {
                let is_kept = patch.len() as u64 <= most;
                writes.push(self.write(name.to_owned(), is_kept.then_some(patch)));
            }
        }
        if let Some(files) = files {
            self.add_files(&changes, &files, (&mut artifacts, &mut writes)).await;
        }
        Ok((artifacts, writes))
    }

    fn artifact(&self, name: &str, parts: Vec<Part>, description: &str) -> Artifact {
        let id = ArtifactId::new(format!("{}-{name}", self.task));
        let mut artifact = Artifact::new(id, name, parts);
        artifact.description = Some(description.to_owned());
        artifact
    }

    /// Bytes that fit in an event, as they are.
    fn room(&self) -> usize {
        self.deps.config.limits.event.as_usize().saturating_sub(FRAME)
    }

    async fn render_changes(
        &self,
        changes: &[Change],
        files: Option<&SessionFiles>,
        look: &Look,
    ) -> Artifact {
        let (mut shown, mut room) = (Vec::new(), self.room() / 2);
        for change in changes.iter().take(self.deps.config.limits.changes) {
            let change = self.render_change(change, files).await;
            let size = change.to_string().len() + 1;
            if size > room {
                break;
            }
            room -= size;
            shown.push(change);
        }
        let large = look.large.iter().take(100).map(|path| String::from_utf8_lossy(path));
        let data = json!({
            "kind": "changes",
            "leftOut": changes.len() - shown.len(),
            "changes": shown,
            "tooLarge": large.collect::<Vec<_>>(),
        });
        self.artifact("changes", vec![Part::data(data)], "the files that this turn has changed")
    }

    async fn render_change(&self, change: &Change, files: Option<&SessionFiles>) -> Value {
        let mut shown = json!({
            "path": String::from_utf8_lossy(&change.path),
            "kind": change.kind.as_str(),
        });
        if change.is_repository {
            shown["isRepository"] = true.into();
            return shown;
        }
        if let Some((added, removed)) = change.lines {
            (shown["addedLines"], shown["removedLines"]) = (added.into(), removed.into());
        }
        if change.kind != ChangeKind::Deleted
            && let Some(files) = files
            && let Some(bytes) = files.size(&change.path).await
        {
            shown["bytes"] = bytes.into();
            shown["address"] = self.address_of_file(&change.path).into();
        }
        shown
    }

    fn address_of_file(&self, path: &[u8]) -> String {
        format!("/api/v1/sessions/{}/files/{}", self.session, encode_path(path))
    }

    /// The patches: in the artifact where they fit in an event, else by their addresses.
    fn render_patches(&self, turn: &[u8], base: Option<&[u8]>) -> Option<Artifact> {
        let limit = self.deps.config.limits.patch;
        let patches = [(TURN_PATCH, "turn", Some(turn)), (BASE_PATCH, "base", base)];
        let patches = patches.into_iter().filter_map(|(name, from, patch)| {
            Some((name, from, patch.filter(|patch| !patch.is_empty())?))
        });
        let (kept, large): (Vec<_>, Vec<_>) =
            patches.partition(|(.., patch)| patch.len() <= limit.as_usize());
        let encoded: usize = kept.iter().map(|(.., patch)| patch.len().div_ceil(3) * 4).sum();
        let mut description =
            "what has changed, for `git apply`: in this turn, and since the beginning of the session".to_owned();
        if !large.is_empty() {
            description.push_str(&format!(
                "; left out is what is larger than {limit}: the server's operator can raise `limits.patch`"
            ));
        }
        let parts = kept.into_iter().map(|(name, from, patch)| Part {
            content: match encoded <= self.room() {
                true => PartContent::Raw(patch.to_vec()),
                false => PartContent::Url(format!("/api/v1/tasks/{}/results/{name}", self.task)),
            },
            metadata: serde_json::from_value(json!({"from": from})).ok(),
            filename: Some(name.to_owned()),
            media_type: Some("text/x-diff".to_owned()),
        });
        let mut parts: Vec<_> = parts.collect();
        if parts.is_empty() && !large.is_empty() {
            parts.push(Part::text(description.clone()));
        }
        (!parts.is_empty()).then(|| self.artifact("patch", parts, &description))
    }

    fn write(&self, name: String, body: Option<Vec<u8>>) -> Write {
        let (session, at) = (self.session.clone(), Timestamp::now());
        Write::Result(Box::new(ResultRow { n: self.n, name, session, at, body }))
    }

    /// Changed files that the operator wants: small ones in their artifacts, larger ones by their addresses.
    async fn add_files(
        &self,
        changes: &[Change],
        files: &SessionFiles,
        (artifacts, writes): (&mut Vec<Artifact>, &mut Vec<Write>),
    ) {
        let limits = &self.deps.config.limits;
        let mut left = limits.result_files.as_usize();
        let wished = self.wishes.as_ref().map(|wishes| &*wishes.results).unwrap_or_default();
        let wanted = changes.iter().filter(|change| {
            change.kind != ChangeKind::Deleted
                && !change.is_repository
                && (fits(&self.agent.config.results, &change.path) || fits(wished, &change.path))
        });
        for change in wanted.take(limits.changes) {
            let Ok(file) = files.read(change.path.clone()).await else { continue };
            let path = String::from_utf8_lossy(&change.path).into_owned();
            let size = usize::try_from(file.bytes).unwrap_or(usize::MAX);
            let mut content = PartContent::Url(self.address_of_file(&change.path));
            if size <= limits.result_file.as_usize().min(left)
                && let Ok(bytes) = file.piece(0, size).await
            {
                left -= size;
                if bytes.len().div_ceil(3) * 4 <= self.room() {
                    content = PartContent::Raw(bytes);
                } else {
                    let name = format!("files/{path}");
                    let encoded = encode_path(name.as_bytes());
                    let address = format!("/api/v1/tasks/{}/results/{encoded}", self.task);
                    content = PartContent::Url(address);
                    writes.push(self.write(name, Some(bytes)));
                }
            }
            let part = Part {
                content,
                metadata: None,
                filename: Some(path.clone()),
                media_type: media_type(&change.path).map(ToOwned::to_owned),
            };
            let mut artifact = self.artifact("file", vec![part], "a file of this turn");
            artifact.artifact_id = ArtifactId::new(format!("{}-file-{path}", self.task));
            artifact.name = Some(path);
            artifacts.push(artifact);
        }
    }
}

//! Work in a session's clone that exists nowhere else, so that retention does not remove it.
//!
//! # How it works
//!
//! A git in the session's own sandbox looks, as the agent's user: what the agent has made of its clone may run anything.
//! So an agent can have its session kept, or lose its own work, and nothing else. What cannot be looked at is kept.

use super::start::{self, Confinement, DoorWords};
use super::{NoBundle, SessionDeps, Sessions};
use crate::agent::Agent;
use crate::repository::is_commit;
use crate::store::{Checkout, SessionRow, SessionUse};
use pilothouse_egress::Policy;
use pilothouse_sandbox::isolation::Places;
use pilothouse_sandbox::process::Process;
use pilothouse_sandbox::workspace::hear_setup;
use std::collections::HashMap;
use std::sync::Arc;

/// Counts it.
const SCRIPT: &str = include_str!("unsaved.sh");

/// Remembers what of it is saved elsewhere.
const SAVED: &str = include_str!("saved.sh");

/// Sessions that retention has kept, and what it has seen of each.
pub type KeptSessions = HashMap<Arc<str>, KeptSession>;

/// A session that retention has kept.
#[derive(Debug, Clone)]
pub struct KeptSession {
    /// When it had been used last.
    pub used_ms: i64,
    /// Why it is kept.
    pub reason: String,
    /// Whether its clone was looked at; a look that failed says nothing about the next one.
    pub is_certain: bool,
}

impl Sessions {
    /// Why a session must be kept; none where its clone has nothing that is nowhere else, or it is no clone. Dropping
    /// this ends the look.
    pub async fn find_unsaved_work(
        &self,
        agent: &Agent,
        session: &SessionUse,
    ) -> Option<KeptSession> {
        let checkout = session.checkout.as_ref()?;
        let looking = async {
            let _place = self.live.looks.acquire().await;
            look(&self.deps, agent, &session.id, checkout).await
        };
        let found = self.deps.stop.run_until_cancelled(looking).await;
        let found = found.unwrap_or_else(|| Err("the server stops".to_owned()));
        let (reason, is_certain) = match found {
            Ok((0, 0)) => return None,
            Ok((changed, commits)) => {
                let repository = &checkout.repository;
                let reason = format!(
                    "unsaved work: {changed} changed files, {commits} commits that are on no branch of {repository}"
                );
                (reason, true)
            }
            Err(why) => (format!("its clone could not be looked at: {why}"), false),
        };
        Some(KeptSession { used_ms: session.used_ms, reason, is_certain })
    }

    /// Remembers that a commit of a session's clone, with all that it follows, lies in a repository of its caller.
    ///
    /// # Errors
    ///
    /// Why that cannot be remembered, for people.
    pub async fn note_saved(
        &self,
        agent: &Agent,
        row: &SessionRow,
        commit: &str,
    ) -> Result<(), NoBundle> {
        let failed = |why: &str| NoBundle::Failed(why.to_owned());
        row.checkout.as_ref().ok_or_else(|| failed("the session is no clone of a repository"))?;
        if !is_commit(commit) {
            return Err(failed("`commit` is not the whole name of a commit"));
        }
        // The bundle that brought the commit may still hold its place.
        let _place = self.deps.wait_for_git(&self.live, &row.scope.caller).await?;
        run_git(&self.deps, agent, &row.id, (SAVED, &[commit])).await?;
        // The next sweep looks again.
        self.live.kept.lock().remove(&row.id);
        Ok(())
    }

    /// Why retention has kept a session that was not used since.
    pub fn why_kept(&self, row: &SessionRow) -> Option<String> {
        let kept = self.live.kept.lock();
        let kept = kept.get(&row.id).filter(|kept| kept.used_ms == row.used.as_millisecond())?;
        Some(kept.reason.clone())
    }

    /// The sessions that the last sweep has kept.
    pub fn kept(&self) -> KeptSessions {
        self.live.kept.lock().clone()
    }

    /// Remembers which sessions a sweep has kept.
    pub fn remember_kept(&self, kept: KeptSessions) {
        *self.live.kept.lock() = kept;
    }
}

/// Starts a script of the server's own in a session's clone, inside of its sandbox, from where nothing is reached.
pub(super) async fn start_git(
    deps: &SessionDeps,
    agent: &Agent,
    session: &str,
    script: (&str, &[&str]),
) -> Result<(Process, Confinement), String> {
    let folder = agent.workspaces.folder(session).await.map_err(|error| error.to_string())?;
    let spec = |places: &Places, door: DoorWords| agent.clone_spec(script, places, door);
    let nothing = Arc::new(Policy::nothing("workspace.repository"));
    start::start_script(deps, agent, &folder, &nothing, spec).await
}

/// Changed files, and commits.
async fn look(
    deps: &SessionDeps,
    agent: &Agent,
    session: &str,
    checkout: &Checkout,
) -> Result<(u64, u64), String> {
    if !agent.workspaces.shown(session).is_dir() {
        return Ok((0, 0));
    }
    let words = run_git(deps, agent, session, (SCRIPT, &[&checkout.base])).await?;
    let mut numbers = words.lines().last().unwrap_or_default().split(' ').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(changed)), Some(Ok(commits))) => Ok((changed, commits)),
        _ => Err("git said nothing that can be read".to_owned()),
    }
}

/// What such a script says.
async fn run_git(
    deps: &SessionDeps,
    agent: &Agent,
    session: &str,
    script: (&str, &[&str]),
) -> Result<String, String> {
    let (mut process, _confinement) = start_git(deps, agent, session, script).await?;
    let patience = deps.config.timeouts.checkout.get();
    let heard = hear_setup(&mut process, (patience, "timeouts.checkout")).await;
    if heard.is_err() {
        process.control.kill().await;
    }
    heard.map_err(|failed| format!("git {}: {}", failed.reason, failed.output))
}

#[cfg(test)]
mod tests {
    use super::SCRIPT;
    use std::path::Path;
    use std::process::{Command, Output};

    fn git(folder: &Path, args: &[&str]) -> String {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
        let done = Command::new("git").current_dir(folder).args(identity).args(args).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn count(folder: &Path, base: &str) -> Output {
        let script = ["-c", SCRIPT, "sh", base];
        Command::new("sh").current_dir(folder).args(script).output().unwrap()
    }

    #[test]
    fn a_clone_that_git_cannot_read_never_counts_as_one_without_work() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        git(folder, &["init", "--quiet"]);
        git(folder, &["commit", "--quiet", "--allow-empty", "-m", "first"]);
        let base = git(folder, &["rev-parse", "HEAD"]);
        assert_eq!(count(folder, &base).stdout, b"0 0\n");
        std::fs::write(folder.join("a"), "a").unwrap();
        std::fs::write(folder.join("b"), "b").unwrap();
        git(folder, &["config", "status.showUntrackedFiles", "no"]);
        assert_eq!(count(folder, &base).stdout, b"2 0\n");
        git(folder, &["add", "a"]);
        git(folder, &["stash", "--quiet"]);
        assert_eq!(count(folder, &base).stdout, b"1 1\n");
        std::fs::write(folder.join(".git/index"), "DIRC").unwrap();
        let failed = count(folder, &base);
        assert!(!failed.status.success(), "{failed:?}");
        assert_eq!(failed.stdout, b"");
    }
}

//! The push of a session's branch: what is left uncommitted becomes a commit, a person is asked, the server pushes and
//! opens a pull request.
//!
//! # How it works
//!
//! A git in the session's sandbox commits and makes a bundle, as the agent's user: the clone may be a trap. The server
//! pushes the bundle's commit from a repository of its own ([`crate::repository`]). Only the commit that was shown is
//! pushed. Each step can be repeated, so a push that failed in the middle is sent again.

mod at_end;

pub(super) use at_end::{finish_answered, publish_at_end};

use super::activity::SessionState;
use super::bundle::NoBundle;
use super::live::LiveSessions;
use super::unsaved::start_git;
use super::{SessionDeps, Sessions};
use crate::agent::Agent;
use crate::config::{Age, AskPolicy, Bytes, WorkspacePush, fill_places};
use crate::queue::Place;
use crate::repository::{
    CloneSource, NotPushed, NotRequested, PushFolder, RequestWish, ShownCommits,
};
use crate::store::{Checkout, SessionRow};
use pilothouse_sandbox::workspace::hear_setup;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// Commits, and says what the branch has.
const SCRIPT: &str = include_str!("publish.sh");

/// Notes in the clone that its branch is upstream, so that it counts as saved.
const NOTE: &str = r#"GIT_CONFIG_GLOBAL=/dev/null exec git -c core.hooksPath=/dev/null update-ref "refs/remotes/origin/$1" "$2""#;

/// Characters of a title: forges cut or refuse longer ones.
const TITLE: usize = 200;

/// Characters of the text of a pull request: GitHub refuses more than 65536.
const BODY: usize = 60_000;

/// What a push is about, for its texts.
#[derive(Debug, Clone, Default)]
pub struct PushAbout {
    /// The task.
    pub task: String,
    /// What the agent answered.
    pub answer: String,
    /// The address of the task.
    pub link: String,
}

/// What the caller wants of a push.
#[derive(Debug, Clone, Default)]
pub struct PushWish {
    /// The commit that the caller has seen.
    pub commit: Option<String>,
    /// The title of the pull request, instead of the configured one.
    pub title: Option<String>,
    /// Its text.
    pub body: Option<String>,
    /// The branch that it is for, instead of the one that the session began at.
    pub base: Option<String>,
    /// Whether it is opened, where that is not as configured.
    pub request: Option<bool>,
}

/// What a session's branch has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyBranch {
    /// The branch.
    pub branch: String,
    /// Its last commit.
    pub commit: String,
    /// How many commits are on no branch of the repository.
    pub count: u64,
    /// The first lines of the last ones.
    pub commits: Vec<String>,
    /// Whether the last commit was pushed before.
    is_pushed: bool,
}

/// What came of a push.
pub enum Publication {
    /// A person has to see it first.
    Ready(ReadyBranch),
    /// It is pushed.
    Done(PublishedBranch),
}

/// A branch that is pushed.
pub struct PublishedBranch {
    ready: ReadyBranch,
    repository: String,
    /// Whether the branch had the commit already.
    is_new: bool,
    /// The pull request, or why there is none.
    request: Result<Option<(String, bool)>, NotRequested>,
}

/// Why nothing is pushed.
#[derive(Debug, thiserror::Error)]
pub enum NotPublished {
    /// The session has no clone.
    #[error("the session is no clone of a repository")]
    NoClone,
    /// The operator does not want it.
    #[error("nothing is pushed here; the server's operator can change `workspace.push.policy`")]
    Denied,
    /// A turn runs.
    #[error("a turn of the session runs; wait for its end, or cancel it")]
    Busy,
    /// There is nothing.
    #[error(
        "nothing to push: the branch {0} has no commit that is on no branch of the repository, and nothing is changed"
    )]
    Nothing(String),
    /// Git in the sandbox failed.
    #[error("git {0}")]
    Git(String),
    /// Too many do that, or there is no bundle.
    #[error(transparent)]
    Bundle(#[from] NoBundle),
    /// The server stops.
    #[error("the server stops; push again when it is back")]
    Stopped,
    /// The push.
    #[error(transparent)]
    Push(#[from] NotPushed),
}

/// Pushes the branch of one session.
#[derive(Clone)]
pub(super) struct Publisher {
    deps: Arc<SessionDeps>,
    live: Arc<LiveSessions>,
    agent: Arc<Agent>,
    row: SessionRow,
}

impl ReadyBranch {
    /// The commits, one a line.
    fn describe(&self) -> String {
        let left_out = self.count.saturating_sub(self.commits.len() as u64);
        let mut text = self.commits.join("\n");
        if left_out > 0 {
            text.push_str(&format!("\n- and {left_out} more"));
        }
        text
    }

    /// What a program is told.
    pub fn render(&self) -> Value {
        json!({
            "branch": self.branch,
            "commit": self.commit,
            "count": self.count,
            "commits": self.commits,
        })
    }
}

impl PublishedBranch {
    /// What a program is told.
    pub fn render(&self) -> Value {
        let mut told = self.ready.render();
        told["repository"] = self.repository.as_str().into();
        told["pushed"] = self.is_new.into();
        if let Ok(Some((url, is_new))) = &self.request {
            told["pullRequest"] = json!({"url": url, "opened": is_new});
        }
        told
    }

    /// Why there is no pull request that was wanted.
    pub fn request_failure(&self) -> Option<&NotRequested> {
        self.request.as_ref().err()
    }

    /// The same in words.
    pub fn describe(&self) -> String {
        let ReadyBranch { branch, .. } = &self.ready;
        let words = format!("the branch {branch} is pushed to {}", self.repository);
        match &self.request {
            Ok(Some((url, true))) => format!("{words}; pull request: {url}"),
            Ok(Some((url, false))) => format!("{words}; its pull request is open already: {url}"),
            Ok(None) => words,
            Err(why) => format!("{words}, and has no pull request: {why}"),
        }
    }
}

impl Sessions {
    /// Pushes the branch of a session, or says what would be pushed where the caller has not seen it.
    ///
    /// # Errors
    ///
    /// Why nothing is pushed.
    pub async fn publish(
        &self,
        agent: &Arc<Agent>,
        row: &SessionRow,
        about: &PushAbout,
        wish: &PushWish,
    ) -> Result<Publication, NotPublished> {
        let key = super::SessionKey::of(row);
        let is_busy = self.live.map.lock().get(&key).is_some_and(|handle| {
            // One that waits for a person is in the middle of its work.
            let waits = matches!(handle.activity.borrow().state, SessionState::Waiting(_));
            waits || handle.is_busy()
        });
        if is_busy {
            return Err(NotPublished::Busy);
        }
        let publisher = Publisher::new(&self.deps, &self.live, agent, row.clone());
        let policy = publisher.source()?.push.policy;
        if policy == AskPolicy::Deny {
            return Err(NotPublished::Denied);
        }
        let place = self.live.bundles.try_take(&row.scope.caller).ok_or(NoBundle::Busy)?;
        let publishing = async {
            let _place = place;
            let ready = publisher.commit(about).await?;
            match &wish.commit {
                Some(commit) if *commit != ready.commit => {
                    Err(NotPushed::Changed { branch: ready.branch }.into())
                }
                None if policy == AskPolicy::Ask => Ok(Publication::Ready(ready)),
                Some(_) | None => publisher.push(ready, about, wish).await.map(Publication::Done),
            }
        };
        // What is ended in the middle can be repeated.
        let published = self.deps.stop.run_until_cancelled(publishing).await;
        published.unwrap_or(Err(NotPublished::Stopped))
    }
}

impl Publisher {
    fn new(
        deps: &Arc<SessionDeps>,
        live: &Arc<LiveSessions>,
        agent: &Arc<Agent>,
        row: SessionRow,
    ) -> Self {
        Self { deps: deps.clone(), live: live.clone(), agent: agent.clone(), row }
    }

    fn source(&self) -> Result<&CloneSource, NotPublished> {
        let source = self.agent.clone_source.as_ref().filter(|_| self.row.checkout.is_some());
        source.ok_or(NotPublished::NoClone)
    }

    fn checkout(&self) -> Result<&Checkout, NotPublished> {
        self.row.checkout.as_ref().ok_or(NotPublished::NoClone)
    }

    fn settings(&self) -> Result<&WorkspacePush, NotPublished> {
        Ok(&self.source()?.push)
    }

    /// A place among the gits, which a push holds to its end.
    async fn wait_for_place(&self) -> Result<Place, NotPublished> {
        Ok(self.deps.wait_for_git(&self.live, &self.row.scope.caller).await?)
    }

    /// Commits what is left uncommitted; what the branch has then.
    async fn commit(&self, about: &PushAbout) -> Result<ReadyBranch, NotPublished> {
        let Checkout { branch, base, .. } = self.checkout()?;
        let message = self.fill(&self.settings()?.message, about)?;
        let (task, session) = (one_line(&about.task), &self.row.id);
        let mut message = format!("{}\n\n", message.trim());
        if !task.is_empty() {
            message.push_str(&format!("Pilothouse-Task: {task}\n"));
        }
        message.push_str(&format!("Pilothouse-Session: {session}"));
        let words = self.run(SCRIPT, &[branch, base, &message]).await?;
        let mut lines: Vec<&str> = words.lines().collect();
        let last: Vec<&str> = lines.pop().unwrap_or_default().split(' ').collect();
        let is_id = |commit: &str| {
            matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let [commit, count, upstream] = last[..] else { return Err(unreadable()) };
        let count: u64 = count.parse().map_err(|_| unreadable())?;
        if !is_id(commit) {
            return Err(unreadable());
        }
        if count == 0 {
            return Err(NotPublished::Nothing(branch.clone()));
        }
        let lines = lines.into_iter().filter(|line| line.starts_with("- "));
        Ok(ReadyBranch {
            branch: branch.clone(),
            commit: commit.to_owned(),
            count,
            commits: lines.map(one_line).collect(),
            is_pushed: commit == upstream,
        })
    }

    /// Pushes this commit, and opens the pull request. Whoever calls this has a place among the gits.
    async fn push(
        &self,
        ready: ReadyBranch,
        about: &PushAbout,
        wish: &PushWish,
    ) -> Result<PublishedBranch, NotPublished> {
        let source = self.source()?;
        let mirror = source.mirror.clone();
        let failed = |error: std::io::Error| NotPublished::Git(format!("has no folder: {error}"));
        let folder = mirror.make_push_folder().map_err(failed)?;
        let failed =
            |words: String| NotPushed::Failed { repository: mirror.name().to_owned(), words };
        let late = |patience: Age, key: &str| {
            failed(format!("it took longer than {patience} (`timeouts.{key}`)"))
        };
        let patience = self.deps.config.timeouts.checkout;
        let bringing = self.bring_bundle(&folder, mirror.room());
        let brought = tokio::time::timeout(patience.get(), bringing).await;
        brought.map_err(|_| late(patience, "checkout"))??;
        self.complete(&folder, &ready.branch).await?;
        let ReadyBranch { branch, commit, .. } = &ready;
        let shown = ShownCommits { count: ready.count, lines: &ready.commits, one_line };
        let pushing = mirror.push(&self.deps.launcher, &folder, (branch, commit), &shown);
        let patience = self.deps.config.timeouts.publish;
        let pushed = tokio::time::timeout(patience.get(), pushing).await;
        let is_new = pushed.map_err(|_| late(patience, "publish"))??;
        if let Err(error) = self.run(NOTE, &[branch, commit]).await {
            tracing::warn!(session.id = %self.row.id, %error, "a session is not noted as pushed, so retention keeps it");
        }
        let request = self.request(branch, about, wish).await?;
        Ok(PublishedBranch { ready, repository: mirror.name().to_owned(), is_new, request })
    }

    async fn request(
        &self,
        branch: &str,
        about: &PushAbout,
        wish: &PushWish,
    ) -> Result<Result<Option<(String, bool)>, NotRequested>, NotPublished> {
        let (source, settings) = (self.source()?, self.settings()?);
        let base = wish.base.as_ref().or(self.checkout()?.base_branch.as_ref());
        let is_wanted = wish.request.unwrap_or(settings.request);
        let Some((forge, base)) = source.mirror.forge().zip(base).filter(|_| is_wanted) else {
            return Ok(Ok(None));
        };
        let text = |own: &Option<String>, template: &str| match own {
            Some(own) => Ok(own.clone()),
            None => self.fill(template, about),
        };
        let title = one_line(&text(&wish.title, &settings.title)?);
        let body: String = text(&wish.body, &settings.body)?.trim().chars().take(BODY).collect();
        let wish = RequestWish { branch, base, title: &title, body: &body };
        let opened = forge.open_request(&wish).await;
        Ok(opened.map(|request| Some((request.url, request.is_new))))
    }

    /// Has the sandbox's git make a bundle, into the folder of the push.
    async fn bring_bundle(&self, folder: &PushFolder, room: Bytes) -> Result<(), NotPublished> {
        let failed =
            |error: std::io::Error| NotPublished::Git(format!("could not be heard: {error}"));
        let sessions = Sessions { deps: self.deps.clone(), live: self.live.clone() };
        let mut bundle = sessions.make_bundle_of(&self.agent, &self.row).await?;
        let mut file = tokio::fs::File::create(folder.bundle()).await.map_err(failed)?;
        let mut written = 0u64;
        while let Some(piece) = bundle.next().await.map_err(NotPublished::Git)? {
            written += piece.len() as u64;
            if written > room.get() {
                return Err(NotPushed::TooLarge { most: self.deps.config.limits.repository }.into());
            }
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)
    }

    /// Makes the repository of the push, and brings the mirror up to date where the session follows what is newer.
    async fn complete(&self, folder: &PushFolder, branch: &str) -> Result<(), NotPublished> {
        let mirror = &self.source()?.mirror;
        let deps = &self.deps;
        mirror.prepare_push(&deps.launcher, folder, &self.checkout()?.base).await?;
        if mirror.has_prerequisites(&deps.launcher, folder).await? {
            return Ok(());
        }
        let refreshed = mirror.refresh(&deps.launcher, (&deps.actors, &deps.stop)).await;
        refreshed.map_err(NotPushed::Stale)?;
        if mirror.has_prerequisites(&deps.launcher, folder).await? {
            return Ok(());
        }
        let (repository, branch) = (mirror.name().to_owned(), branch.to_owned());
        Err(NotPushed::Foreign { repository, branch }.into())
    }

    /// Runs a script in the session's clone, inside of its sandbox; its words.
    async fn run(&self, script: &str, args: &[&str]) -> Result<String, NotPublished> {
        let started = start_git(&self.deps, &self.agent, &self.row.id, (script, args)).await;
        let (mut process, _confinement) = started.map_err(NotPublished::Git)?;
        let patience = self.deps.config.timeouts.checkout.get();
        let heard = hear_setup(&mut process, (patience, "timeouts.checkout")).await;
        if heard.is_err() {
            process.control.kill().await;
        }
        heard.map_err(|failed| NotPublished::Git(format!("{}: {}", failed.reason, failed.output)))
    }

    /// A template with what this push is about.
    fn fill(&self, template: &str, about: &PushAbout) -> Result<String, NotPublished> {
        let summary = about.answer.lines().map(one_line).find(|line| !line.is_empty());
        let summary = summary.unwrap_or_else(|| format!("Work of {}", self.agent.name));
        let values = [
            ("summary", &*summary),
            ("answer", &*about.answer),
            ("task", &*about.task),
            ("session", &*self.row.id),
            ("agent", &*self.agent.name),
            ("branch", &*self.checkout()?.branch),
            ("link", &*about.link),
        ];
        Ok(fill_places(template, &values, ToOwned::to_owned))
    }
}

fn unreadable() -> NotPublished {
    NotPublished::Git("said nothing that can be read".to_owned())
}

/// One line of at most the length of a title.
fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().chars().take(TITLE).collect()
}

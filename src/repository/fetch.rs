//! What is new upstream comes into a mirror: one fetch at a time, which counts for all that wait for it.

use super::git::remove_unfinished;
use super::{Base, GitRun, Mirror, MirrorError, is_commit};
use pilothouse_sandbox::disk;
use pilothouse_sandbox::process::Launcher;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{MutexGuard, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When the last fetch began, and what came of it.
pub(super) type LastFetch = Option<(Instant, Result<(), MirrorError>)>;

impl Mirror {
    /// Finds where a new clone begins, after a look at what is new upstream. Who looks meanwhile waits for that, and
    /// a look that began after the call counts for it too, also where it failed. `progress` is told how far a fetch has
    /// come. Dropping this ends the look, whose task (one of `tasks`) goes on until its git has gone.
    ///
    /// # Errors
    ///
    /// When git fails, there is too much of it, or the ref is not there.
    pub async fn find_base(
        self: &Arc<Self>,
        launcher: &Launcher,
        reference: Option<&str>,
        progress: &watch::Sender<String>,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Result<Base, MirrorError> {
        let quit = stop.child_token();
        let _leave = quit.clone().drop_guard();
        let run = GitRun { launcher: launcher.clone(), progress: progress.clone(), quit };
        let (mirror, reference) = (self.clone(), reference.map(ToOwned::to_owned));
        let looking = async move { mirror.look(&run, reference.as_deref()).await };
        let found = tasks.spawn(looking).await;
        found.unwrap_or_else(|_| Err(MirrorError::Ended(self.name().to_owned())))
    }

    /// Brings the mirror up to date. Dropping this ends it, like [`Mirror::find_base`].
    ///
    /// # Errors
    ///
    /// When git fails, or there is too much of it.
    pub async fn refresh(
        self: &Arc<Self>,
        launcher: &Launcher,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Result<(), MirrorError> {
        let quit = stop.child_token();
        let _leave = quit.clone().drop_guard();
        let progress = watch::Sender::new(String::new());
        let run = GitRun { launcher: launcher.clone(), progress, quit };
        let mirror = self.clone();
        let asked = Instant::now();
        let refreshing = async move {
            let fetched = mirror.lock(&run).await?;
            mirror.catch_up(&run, fetched, asked).await.map(drop)
        };
        let done = tasks.spawn(refreshing).await;
        done.unwrap_or_else(|_| Err(MirrorError::Ended(self.name().to_owned())))
    }

    async fn lock(&self, run: &GitRun) -> Result<MutexGuard<'_, LastFetch>, MirrorError> {
        let locked = run.quit.run_until_cancelled(self.fetched.lock()).await;
        locked.ok_or_else(|| MirrorError::Ended(self.name().to_owned()))
    }

    async fn look(&self, run: &GitRun, reference: Option<&str>) -> Result<Base, MirrorError> {
        let asked = Instant::now();
        let fetched = self.lock(run).await?;
        let commit = reference.filter(|name| is_commit(name));
        if commit.is_some()
            && let Some(base) = self.resolve(run, commit).await?
        {
            // It never means anything else.
            return Ok(base);
        }
        let _fetched = self.catch_up(run, fetched, asked).await?;
        let mut base = self.resolve(run, reference).await?;
        if let Some(commit) = commit.filter(|_| base.is_none()) {
            match self.fetch_in_time(run, Some(commit)).await {
                // A host gives it where it is reachable; what it says otherwise is not better than that it is not there.
                Ok(()) | Err(MirrorError::Failed { .. }) => {}
                Err(error) => return Err(error),
            }
            base = self.resolve(run, reference).await?;
        }
        base.ok_or_else(|| {
            let repository = self.name().to_owned();
            match reference {
                Some(reference) => {
                    MirrorError::NoReference { repository, reference: reference.to_owned() }
                }
                None => MirrorError::Empty(repository),
            }
        })
    }

    /// Fetches, unless a fetch that began after this time has come to its end.
    async fn catch_up<'a>(
        &self,
        run: &GitRun,
        mut fetched: MutexGuard<'a, LastFetch>,
        asked: Instant,
    ) -> Result<MutexGuard<'a, LastFetch>, MirrorError> {
        if fetched.as_ref().is_none_or(|(began, _)| *began < asked) {
            let began = Instant::now();
            let outcome = self.fetch_in_time(run, None).await;
            if run.quit.is_cancelled() {
                // Whoever waits still fetches anew.
                return Err(MirrorError::Ended(self.name().to_owned()));
            }
            *fetched = Some((began, outcome));
        }
        match &*fetched {
            Some((_, Err(error))) => Err(error.clone()),
            Some((_, Ok(()))) | None => Ok(fetched),
        }
    }

    /// Fetches within `timeouts.fetch`, one commit or everything; the git of a fetch that takes longer has gone when this
    /// answers.
    async fn fetch_in_time(&self, run: &GitRun, commit: Option<&str>) -> Result<(), MirrorError> {
        let quit = run.quit.child_token();
        let (launcher, progress) = (run.launcher.clone(), run.progress.clone());
        let run = GitRun { launcher, progress, quit: quit.clone() };
        let fetching = async {
            match commit {
                Some(commit) => self.fetch_commit(&run, commit).await,
                None => self.fetch(&run).await,
            }
        };
        let mut fetching = pin!(fetching);
        let outcome = tokio::select! {
            biased;
            outcome = &mut fetching => outcome,
            () = tokio::time::sleep(self.patience.get()) => {
                quit.cancel();
                let _ = fetching.await;
                let (repository, patience) = (self.name().to_owned(), self.patience);
                Err(MirrorError::TooLong { repository, patience })
            }
        };
        if outcome.is_err() {
            // A disk that is full would stay full.
            self.remove_unfinished().await;
        }
        outcome
    }

    /// Removes what an ended fetch left.
    async fn remove_unfinished(&self) {
        let folder = self.folder.clone();
        // As many folders as the mirror has; a panic in there leaves what it left.
        let _ = disk::off_worker(move || remove_unfinished(&folder)).await;
    }

    /// Brings everything over that is new.
    async fn fetch(&self, run: &GitRun) -> Result<(), MirrorError> {
        let folder = self.folder.to_string_lossy().into_owned();
        if !self.folder.join("HEAD").is_file() {
            let init = ["init", "--quiet", "--bare", "--template=", &folder];
            self.git(run, &init).await?;
        }
        self.remove_unfinished().await;
        // The branch's name, and whether there is anything at all.
        let heads = self.git(run, &["ls-remote", "--symref", "--", &self.url, "HEAD"]).await?;
        let mut wanted = vec!["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
        if heads.lines().any(|line| line.ends_with("\tHEAD") && !line.starts_with("ref:")) {
            wanted.push("+HEAD:refs/pilothouse/HEAD");
        }
        let fetch = [
            "fetch",
            "--prune",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--progress",
            "--",
            &self.url,
        ];
        let args: Vec<&str> = fetch.into_iter().chain(wanted).collect();
        self.git(run, &args).await?;
        let branch = heads
            .lines()
            .find_map(|line| line.strip_prefix("ref: refs/heads/")?.strip_suffix("\tHEAD"));
        let branch = branch.map(|branch| format!("refs/remotes/origin/{branch}"));
        match &branch {
            Some(branch) => {
                self.git(run, &["symbolic-ref", "refs/remotes/origin/HEAD", branch]).await?
            }
            None => self
                .git(run, &["symbolic-ref", "--delete", "refs/remotes/origin/HEAD"])
                .await
                .unwrap_or_default(),
        };
        self.git(run, &["pack-refs", "--all"]).await.map(drop)
    }

    /// Brings one commit over that no branch or tag leads to. No ref keeps it here: nothing is removed from the objects,
    /// and refs of wishes would only become more.
    async fn fetch_commit(&self, run: &GitRun, commit: &str) -> Result<(), MirrorError> {
        let fetch = ["fetch", "--no-tags", "--no-write-fetch-head", "--progress", "--"];
        let args: Vec<&str> = fetch.into_iter().chain([self.url.as_str(), commit]).collect();
        self.git(run, &args).await.map(drop)
    }
}

//! The mirror of a repository: what the clones of sessions borrow their objects from.
//!
//! # How it works
//!
//! There is one mirror for each address, a bare repository in the state folder. Only the server writes it, with a git
//! that reads no configuration but its own, runs no hook, asks nobody for a password and speaks one protocol. Sessions
//! read it: a clone names it in `objects/info/alternates` and has all else of its own, so it costs no second download,
//! and nothing that a session does to its clone reaches the mirror or another session.
//!
//! Branches lie in the mirror as `refs/remotes/origin/*`, as a clone has them, and packed in one file: a new clone
//! copies that file. Nothing is ever removed from the mirror's objects, because a clone may need what upstream has
//! forgotten.
//!
//! One git works in a mirror at a time. It belongs to a task of its own, which holds the mirror's lock until that git
//! has gone: whoever waits for it may leave at any moment, and then it is ended first.
//!
//! # Pitfalls
//!
//! The server runs git here and nowhere else. What an agent can write is looked at by a git inside of its sandbox.

mod check;
mod error;
mod forge;
mod git;
mod publish;

pub use error::MirrorError;
pub use forge::{NotRequested, PullRequest, RequestWish};
pub use publish::{NotPushed, PushFolder, ShownCommits};

use crate::config::{Age, Bytes, Config, RepositorySource, WorkspacePush};
use crate::queue::FairQueue;
use forge::Forge;
use git::{config_file, git_config, hear, own_environment, quote, remove_unfinished, settings};
use pilothouse_sandbox::disk;
use pilothouse_sandbox::isolation::{Grants, limit_files};
use pilothouse_sandbox::process::{Ended, Launcher};
use pilothouse_sandbox::supervisor::Spec;
use pilothouse_sandbox::workspace::Workspaces;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Characters of a session's id in the name of its branch: the end of a UUID is random.
const SHORT: usize = 8;

/// What the sessions of an agent begin as clones of.
#[derive(Clone)]
pub struct CloneSource {
    /// The mirror of the repository.
    pub mirror: Arc<Mirror>,
    /// The branch, tag or commit; what is checked out there when unset.
    pub reference: Option<String>,
    /// Folders of the repository, which is on this machine, that clones read by links.
    pub share: Vec<String>,
    /// How the server pushes what sessions have done.
    pub push: WorkspacePush,
}

/// A mirror.
pub struct Mirror {
    url: String,
    folder: PathBuf,
    git: Option<PathBuf>,
    env: Vec<(String, String)>,
    /// The folder of a repository on this machine.
    local: Option<PathBuf>,
    /// What opens pull requests for it.
    forge: Option<Forge>,
    most: Bytes,
    patience: Age,
    /// Places for turns that wait for a fetch (`limits.fetches`).
    turns: FairQueue,
    /// When the last fetch began that has come to its end, and whether it failed. Whoever fetches holds it.
    fetched: Mutex<Option<(Instant, Result<(), MirrorError>)>>,
}

/// How a git of the server's is run.
struct GitRun {
    launcher: Launcher,
    /// Told how far a fetch has come.
    progress: watch::Sender<String>,
    /// Ends it.
    quit: CancellationToken,
}

/// Where a new clone begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The commit.
    pub commit: String,
    /// The branch or tag that it was found by; none for a commit, or a HEAD that is on no branch.
    pub name: Option<String>,
    /// What of it a clone does not have, a sentence each.
    pub left_out: Vec<&'static str>,
}

/// The branch of a session's own.
pub fn branch_of(session: &str) -> String {
    format!("pilothouse/{}", &session[session.len().saturating_sub(SHORT)..])
}

impl CloneSource {
    /// What sessions read of the repository itself, each with its path in a clone.
    pub fn shared(&self) -> impl Iterator<Item = (PathBuf, &str)> {
        let local = self.mirror.local();
        let found =
            self.share.iter().filter_map(move |path| Some((local?.join(path), path.as_str())));
        found.filter(|(folder, _)| folder.exists())
    }

    /// What sessions read outside of their clones.
    pub fn grant(&self, grants: &mut Grants) {
        // The mirror is made before anything is started.
        grants.read.insert(self.mirror.folder().to_owned(), "`workspace.repository`");
        let shared = self.shared().map(|(path, _)| (path, "`workspace.repository.share`"));
        grants.read.extend(shared);
    }

    /// What the operator should know of the sessions of this agent.
    pub fn note(&self, agent: &str, workspaces: &Workspaces) -> String {
        let reference =
            self.reference.as_deref().map(|name| format!(" at {name}")).unwrap_or_default();
        format!(
            "each session of `{agent}` works in a clone of {}{reference}, on a branch of its own, below {}; what is not \
             committed there (changed files, ignored files such as .env) is not in it. To have agents work in one folder \
             as it is, set `workspace: {{mode: shared, path: FOLDER}}`",
            self.mirror.url(),
            workspaces.root().display()
        )
    }
}

impl Mirror {
    /// The mirror of the repository at this address, as the configuration has it; nothing is made yet.
    pub fn new(
        config: &Config,
        url: &str,
        git: Option<PathBuf>,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let name: String =
            Sha256::digest(url).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let folder = config.state_dir.join("repositories").join(format!("{name}.git"));
        let source = RepositorySource::parse(url);
        let (scheme, local) = match source {
            Ok(RepositorySource::Remote { scheme }) => (scheme, None),
            Ok(RepositorySource::Local(path)) => ("file", Some(path)),
            Err(_) => ("https", None),
        };
        let mut env = own_environment(&folder, scheme, environment);
        env.extend(git_config(&settings(config, url)));
        let (most, patience) = (config.limits.repository, config.timeouts.fetch);
        let fetches = config.limits.fetches;
        let turns = FairQueue::new(fetches, fetches.div_ceil(2), &config.auth.priorities);
        Self {
            url: url.to_owned(),
            folder,
            git,
            env,
            local,
            forge: Forge::of(config, url),
            most,
            patience,
            turns,
            fetched: Mutex::new(None),
        }
    }

    /// Where it is, for sessions to read.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The address or path of the repository.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder of a repository on this machine.
    pub fn local(&self) -> Option<&Path> {
        self.local.as_deref()
    }

    /// What opens pull requests for it.
    pub fn forge(&self) -> Option<&Forge> {
        self.forge.as_ref()
    }

    /// Places for turns that wait for a fetch.
    pub fn turns(&self) -> &FairQueue {
        &self.turns
    }

    /// A name for people: where it lies on this machine is not a caller's business.
    pub fn name(&self) -> &str {
        let last = self.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        last.strip_suffix(".git").filter(|name| !name.is_empty()).unwrap_or(last)
    }

    /// Makes its folder, which all that may pass the state folder can read.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        self.remove_push_folders()?;
        for folder in self.folder.ancestors().take(2) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        // Only such a file, or the command line, names what git works in though it is another user's.
        let mut text = String::new();
        for folder in self.local.iter().flat_map(|path| [path.clone(), path.join(".git")]) {
            text += &format!("[safe]\n\tdirectory = {}\n", quote(&folder.to_string_lossy()));
        }
        fs::write(config_file(&self.folder), text)
    }

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

    async fn look(&self, run: &GitRun, reference: Option<&str>) -> Result<Base, MirrorError> {
        let asked = Instant::now();
        let locked = run.quit.run_until_cancelled(self.fetched.lock()).await;
        let mut fetched = locked.ok_or_else(|| MirrorError::Ended(self.name().to_owned()))?;
        if let Some(commit) = reference.filter(|name| is_commit(name))
            && let Some(base) = self.resolve(run, Some(commit)).await?
        {
            // It never means anything else.
            return Ok(base);
        }
        if fetched.as_ref().is_none_or(|(began, _)| *began < asked) {
            let began = Instant::now();
            let outcome = self.fetch_in_time(run, reference).await;
            if run.quit.is_cancelled() {
                // Whoever waits still fetches anew.
                return Err(MirrorError::Ended(self.name().to_owned()));
            }
            if outcome.is_err() {
                // A disk that is full would stay full.
                remove_unfinished(&self.folder);
            }
            *fetched = Some((began, outcome));
        }
        if let Some((_, Err(error))) = &*fetched {
            return Err(error.clone());
        }
        let base = self.resolve(run, reference).await?;
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

    /// Fetches within `timeouts.fetch`; the git of a fetch that takes longer has gone when this answers.
    async fn fetch_in_time(
        &self,
        run: &GitRun,
        reference: Option<&str>,
    ) -> Result<(), MirrorError> {
        let quit = run.quit.child_token();
        let (launcher, progress) = (run.launcher.clone(), run.progress.clone());
        let run = GitRun { launcher, progress, quit: quit.clone() };
        let mut fetching = pin!(self.fetch(&run, reference));
        tokio::select! {
            biased;
            outcome = &mut fetching => return outcome,
            () = tokio::time::sleep(self.patience.get()) => quit.cancel(),
        }
        let _ = fetching.await;
        let (repository, patience) = (self.name().to_owned(), self.patience);
        Err(MirrorError::TooLong { repository, patience })
    }

    /// Brings everything over that is new.
    async fn fetch(&self, run: &GitRun, reference: Option<&str>) -> Result<(), MirrorError> {
        let folder = self.folder.to_string_lossy().into_owned();
        if !self.folder.join("HEAD").is_file() {
            let init = ["init", "--quiet", "--bare", "--template=", &folder];
            self.git(run, &init).await?;
        }
        let left = self.folder.clone();
        // As many folders as the mirror has; a panic in there leaves what it left.
        let _ = disk::off_worker(move || remove_unfinished(&left)).await;
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
        if let Some(commit) = reference.filter(|name| is_commit(name))
            && self.resolve(run, Some(commit)).await?.is_none()
        {
            // A host gives it where it is reachable; what it says otherwise is not better than that it is not there.
            let kept = format!("+{commit}:refs/pilothouse/commits/{commit}");
            let one = [
                "fetch",
                "--no-tags",
                "--no-write-fetch-head",
                "--progress",
                "--",
                &self.url,
                &kept,
            ];
            let _ = self.git(run, &one).await;
        }
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

    /// The commit that a name stands for, if it is here.
    async fn resolve(
        &self,
        run: &GitRun,
        reference: Option<&str>,
    ) -> Result<Option<Base>, MirrorError> {
        if !self.folder.join("HEAD").is_file() {
            return Ok(None);
        }
        let (candidates, mut name) = match reference {
            None => {
                let head = ["symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"];
                let head = self.git(run, &head).await.unwrap_or_default();
                let name = head.trim().strip_prefix("refs/remotes/origin/").map(ToOwned::to_owned);
                (vec!["refs/pilothouse/HEAD".to_owned()], name)
            }
            Some(name) if is_commit(name) => (vec![name.to_owned()], None),
            Some(name) => {
                let short = name.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/");
                let places =
                    ["refs/remotes/origin/", "refs/tags/"].map(|place| format!("{place}{short}"));
                (places.into(), Some(short.to_owned()))
            }
        };
        for candidate in candidates {
            let object = format!("{candidate}^{{commit}}");
            let parse = ["rev-parse", "--verify", "--quiet", "--end-of-options", &object];
            let Ok(commit) = self.git(run, &parse).await else { continue };
            if candidate.starts_with("refs/tags/") {
                // Nothing is merged into a tag.
                name = None;
            }
            let commit = commit.trim().to_owned();
            let left_out = self.find_left_out(run, &commit).await;
            return Ok(Some(Base { commit, name, left_out }));
        }
        Ok(None)
    }

    /// What a clone does not have of this commit.
    async fn find_left_out(&self, run: &GitRun, commit: &str) -> Vec<&'static str> {
        let mut left_out = Vec::new();
        let modules = format!("{commit}:.gitmodules");
        if self.git(run, &["cat-file", "-e", &modules]).await.is_ok() {
            left_out.push("submodules are not checked out: their folders are empty");
        }
        let attributes = format!("{commit}:.gitattributes");
        let attributes = self.git(run, &["cat-file", "blob", &attributes]).await;
        if attributes.is_ok_and(|text| text.contains("filter=lfs")) {
            left_out.push(
                "files of git LFS are not fetched: they are the pointers that the repository holds",
            );
        }
        left_out
    }

    /// What git prints. It has gone when this answers.
    async fn git(&self, run: &GitRun, args: &[&str]) -> Result<String, MirrorError> {
        let git = self.git.as_ref().ok_or(MirrorError::NoGit)?;
        let spec = Spec {
            program: git.to_string_lossy().into_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: self.env.clone(),
            cwd: self.folder.to_string_lossy().into_owned(),
        };
        let packs = self.folder.join("objects/pack");
        let left = self.most.get().saturating_sub(disk::in_place(|| size(&packs)));
        let (repository, most) = (self.name().to_owned(), self.most);
        let failed = |words: String| {
            let words = words.replace(&self.url, self.name());
            MirrorError::Failed { repository: repository.clone(), words }
        };
        // Nothing else writes what could be large.
        let largest = args.first().filter(|step| **step == "fetch").map(|_| left);
        let started = run.launcher.spawn(&limit_files(spec, largest)).await;
        let mut process = started.map_err(|error| failed(error.to_string()))?;
        let heard = run.quit.run_until_cancelled(hear(&mut process, &run.progress)).await;
        let Some(heard) = heard else {
            process.control.kill().await;
            return Err(MirrorError::Ended(repository));
        };
        let (ended, printed, words) = heard.map_err(|error| failed(error.to_string()))?;
        match ended {
            Ended::Code(0) => Ok(printed),
            // The git that writes the pack is ended at its bound, and the one above it only says that it is gone.
            _ if largest.is_some() && disk::in_place(|| size(&packs)) >= most.get() => {
                Err(MirrorError::TooLarge { repository, most })
            }
            Ended::Code(_) | Ended::Signal(_) | Ended::Unclear => Err(failed(words)),
        }
    }
}

/// Whether it is the whole name of a commit.
pub fn is_commit(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Bytes of the files in a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}

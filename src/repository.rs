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
mod fetch;
mod forge;
mod git;
mod publish;

pub use error::MirrorError;
pub use forge::{NotRequested, PullRequest, RequestWish};
pub use publish::{NotPushed, PushFolder, ShownCommits};

use crate::config::{Age, Bytes, Config, RepositorySource, WorkspacePush};
use crate::queue::FairQueue;
use fetch::LastFetch;
use forge::Forge;
use git::{config_file, git_config, hear, own_environment, quote, settings};
use pilothouse_sandbox::disk;
use pilothouse_sandbox::isolation::{Grants, limit_files};
use pilothouse_sandbox::process::{Ended, Launcher};
use pilothouse_sandbox::supervisor::Spec;
use pilothouse_sandbox::workspace::Workspaces;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

/// Characters of a session's id in the name of its branch: the end of a UUID is random.
const SHORT: usize = 8;

/// The list of ignored files that clones begin with, at the top of a working copy on this machine.
pub const INCLUDED: &str = ".worktreeinclude";

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
    fetched: Mutex<LastFetch>,
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
    pub left_out: Vec<Cow<'static, str>>,
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
        let has_list = self.mirror.local().is_some_and(|local| local.join(INCLUDED).is_file());
        let but =
            if has_list { ", but for ignored files that its .worktreeinclude lists" } else { "" };
        format!(
            "each session of `{agent}` works in a clone of {}{reference}, on a branch of its own, below {}; what is not \
             committed there (changed files, ignored files such as .env) is not in it{but}. To have agents work in one \
             folder as it is, set `workspace: {{mode: shared, path: FOLDER}}`",
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
    async fn find_left_out(&self, run: &GitRun, commit: &str) -> Vec<Cow<'static, str>> {
        let mut left_out = Vec::new();
        let modules = format!("{commit}:.gitmodules");
        if self.git(run, &["cat-file", "-e", &modules]).await.is_ok() {
            left_out.push("submodules are not checked out: their folders are empty".into());
        }
        let attributes = format!("{commit}:.gitattributes");
        let attributes = self.git(run, &["cat-file", "blob", &attributes]).await;
        if attributes.is_ok_and(|text| text.contains("filter=lfs")) {
            left_out.push(
                "files of git LFS are not fetched: they are the pointers that the repository holds"
                    .into(),
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

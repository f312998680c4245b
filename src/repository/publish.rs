//! The push of a session's branch to the repository that it is a clone of.
//!
//! # How it works
//!
//! The commits come as a bundle, which a git in the session's sandbox has made. The server fetches it into an empty
//! repository of its own, where git checks each object, and pushes that one branch from there, only forwards. So the
//! credential goes where the configuration says, whatever the agent has made of its clone, and no agent is near it.
//!
//! # Pitfalls
//!
//! A repository on this machine may be another user's, and git runs its hooks and settings at the receiving end; there
//! they are turned off.

use super::git::{config_file, hear};
use super::{Mirror, MirrorError, size};
use crate::config::Bytes;
use pilothouse_sandbox::isolation::limit_files;
use pilothouse_sandbox::process::{Ended, Launcher};
use pilothouse_sandbox::supervisor::Spec;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Receives a push without what the repository itself would run.
const RECEIVE: &str = "--receive-pack=git -c core.hooksPath=/dev/null -c core.alternateRefsCommand=true \
                       -c receive.denyCurrentBranch=refuse -c receive.autoGC=false receive-pack";

/// The ref of the commit that the session began at, in the repository of a push.
const BASE: &str = "refs/pilothouse/base";

/// A repository for one push, until this is dropped.
pub struct PushFolder {
    folder: PathBuf,
}

/// Why a branch was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum NotPushed {
    /// There is no git.
    #[error("the server has no git; the operator must install it")]
    NoGit,
    /// The branch is not what was to be pushed.
    #[error("the branch {branch} has changed since it was looked at; look at it again")]
    Changed {
        /// The branch.
        branch: String,
    },
    /// There are commits on the branch that the session does not have.
    #[error(
        "the branch {branch} of {repository} has commits that the session does not have; nothing is overwritten: have \
         the session fetch and merge them, or remove the branch there"
    )]
    Moved {
        /// The repository.
        repository: String,
        /// The branch.
        branch: String,
    },
    /// The branch follows commits that neither the bundle nor the repository has.
    #[error(
        "the branch {branch} follows commits that are on no branch of {repository}; have the session put its work on a \
         branch of the repository (`git rebase`)"
    )]
    Foreign {
        /// The repository.
        repository: String,
        /// The branch.
        branch: String,
    },
    /// The repository does not take it.
    #[error("{repository} does not take the branch: {words}")]
    Rejected {
        /// The repository.
        repository: String,
        /// What it said.
        words: String,
    },
    /// There is too much of it.
    #[error(
        "the commits of the session are larger than what is left of {most} (`limits.repository`); the operator can raise it"
    )]
    TooLarge {
        /// What is allowed.
        most: Bytes,
    },
    /// What the branch follows is newer than the mirror, which could not be brought up to date.
    #[error(transparent)]
    Stale(MirrorError),
    /// Git failed.
    #[error(
        "the branch could not be pushed to {repository}: {words}; the operator must see that the server reaches it \
         (address, network, a token in `egress.git` that may write, room on the disk)"
    )]
    Failed {
        /// The repository.
        repository: String,
        /// What git said.
        words: String,
    },
}

impl PushFolder {
    /// Where the bundle is put.
    pub fn bundle(&self) -> PathBuf {
        self.folder.join("bundle")
    }
}

/// What was shown of the commits that are pushed.
pub struct ShownCommits<'a> {
    /// How many they are.
    pub count: u64,
    /// The newest ones, a line each.
    pub lines: &'a [String],
    /// How a line is shown.
    pub one_line: fn(&str) -> String,
}

impl ShownCommits<'_> {
    /// Whether nothing is pushed that was not shown: `count` and `lines` are what git says of it here.
    fn holds(&self, count: &str, lines: &str) -> bool {
        let is_fewer = count.trim().parse().is_ok_and(|count: u64| count <= self.count);
        is_fewer && lines.lines().map(self.one_line).all(|line| self.lines.contains(&line))
    }
}

impl Drop for PushFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(path = %self.folder.display(), %error, "could not remove the folder of a push");
        }
    }
}

impl Mirror {
    /// Makes a folder for one push, which only the server reads.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn make_push_folder(&self) -> io::Result<PushFolder> {
        let folder = self.folder.with_extension(format!("push-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder)?;
        let folder = PushFolder { folder };
        fs::set_permissions(&folder.folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(folder)
    }

    /// Removes the folders of pushes that an ended server has left.
    pub(super) fn remove_push_folders(&self) -> io::Result<()> {
        let Some((parent, name)) = self.folder.parent().zip(self.folder.file_stem()) else {
            return Ok(());
        };
        let begin = format!("{}.push-", name.to_string_lossy());
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&begin) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// The bytes that a bundle may have.
    pub fn room(&self) -> Bytes {
        Bytes::new(self.most.get().saturating_sub(size(&self.folder.join("objects/pack"))))
    }

    /// Makes the repository of a push. `base` is the commit that the session began at.
    ///
    /// # Errors
    ///
    /// When git fails.
    pub async fn prepare_push(
        &self,
        launcher: &Launcher,
        folder: &PushFolder,
        base: &str,
    ) -> Result<(), NotPushed> {
        let path = &folder.folder;
        let own = path.to_string_lossy();
        let init = ["init", "--quiet", "--bare", "--template=", &own];
        self.push_step(launcher, path, &init).await?;
        let objects = format!("{}\n", self.folder.join("objects").display());
        let written = fs::write(path.join("objects/info/alternates"), objects);
        written.map_err(|error| self.failed(error.to_string()))?;
        // No ref of the mirror may lead to it any more.
        self.push_step(launcher, path, &["update-ref", BASE, base]).await.map(drop)
    }

    /// Whether the commits are here that those of the bundle follow. Where not, the session has fetched what is newer than
    /// the mirror.
    ///
    /// # Errors
    ///
    /// When git cannot be run.
    pub async fn has_prerequisites(
        &self,
        launcher: &Launcher,
        folder: &PushFolder,
    ) -> Result<bool, NotPushed> {
        let bundle = folder.bundle();
        let verify = ["bundle", "verify", "--quiet", &bundle.to_string_lossy()];
        let (ended, ..) = self.run_git(launcher, &folder.folder, &verify).await?;
        Ok(ended == Ended::Code(0))
    }

    /// Pushes this commit of a bundle to its branch. Whether the branch did not have it yet.
    ///
    /// # Errors
    ///
    /// When git fails, or the repository does not take it.
    pub async fn push(
        &self,
        launcher: &Launcher,
        folder: &PushFolder,
        (branch, commit): (&str, &str),
        shown: &ShownCommits<'_>,
    ) -> Result<bool, NotPushed> {
        let (path, name) = (&folder.folder, format!("refs/heads/{branch}"));
        let bundle = folder.bundle();
        let bundle = bundle.to_string_lossy();
        let refspec = format!("{name}:{name}");
        let fetch = ["-c", "fetch.fsckObjects=true", "fetch", "--quiet", "--no-tags"];
        let rest = ["--no-write-fetch-head", "--", &bundle, &refspec];
        let fetch: Vec<&str> = fetch.into_iter().chain(rest).collect();
        self.push_step(launcher, path, &fetch).await?;
        let parse = ["rev-parse", "--verify", "--quiet", "--end-of-options", &name];
        if self.push_step(launcher, path, &parse).await?.1.trim() != commit {
            return Err(NotPushed::Changed { branch: branch.to_owned() });
        }
        // The agent's own git has told them; what it can be made to hide stands in the bundle.
        let new = [commit, "--not", BASE, "--alternate-refs"];
        let count = ["rev-list", "--count"].into_iter().chain(new).collect::<Vec<_>>();
        let count = self.push_step(launcher, path, &count).await?.1;
        let log = ["log", "--format=- %h %<(200,trunc)%s", "--abbrev=12", "--max-count=20"];
        let log = log.into_iter().chain(new).collect::<Vec<_>>();
        let lines = self.push_step(launcher, path, &log).await?.1;
        if !shown.holds(&count, &lines) {
            return Err(NotPushed::Changed { branch: branch.to_owned() });
        }
        let mut push = vec!["push", "--porcelain", "--no-verify", "--recurse-submodules=no"];
        if self.local.is_some() {
            push.push(RECEIVE);
        }
        push.extend(["--", &self.url, &refspec]);
        let (ended, printed, words) = self.run_git(launcher, path, &push).await?;
        self.read_push(&printed, words, (branch, ended == Ended::Code(0)))
    }

    /// What git says of a push (`git push --porcelain`): a line for the ref, which begins with a flag.
    fn read_push(
        &self,
        printed: &str,
        words: String,
        (branch, is_well): (&str, bool),
    ) -> Result<bool, NotPushed> {
        let line = printed.lines().find(|line| line.contains(&format!("refs/heads/{branch}\t")));
        let (flag, summary) = line
            .and_then(|line| Some((line.chars().next()?, line.rsplit('\t').next()?)))
            .unwrap_or((' ', ""));
        let repository = self.name().to_owned();
        match flag {
            '!' if summary.contains("fetch first") || summary.contains("non-fast-forward") => {
                Err(NotPushed::Moved { repository, branch: branch.to_owned() })
            }
            '!' => {
                let words = match words.is_empty() {
                    true => summary.to_owned(),
                    false => format!("{summary}: {words}"),
                };
                Err(NotPushed::Rejected { repository, words: self.without_address(&words) })
            }
            _ if !is_well => Err(self.failed(words)),
            flag => Ok(flag != '='),
        }
    }

    /// A step that has to go well.
    async fn push_step(
        &self,
        launcher: &Launcher,
        folder: &Path,
        args: &[&str],
    ) -> Result<(Ended, String, String), NotPushed> {
        match self.run_git(launcher, folder, args).await? {
            done @ (Ended::Code(0), ..) => Ok(done),
            (.., words) => Err(self.failed(words)),
        }
    }

    /// How git ended in this folder, what it printed, and its last words.
    async fn run_git(
        &self,
        launcher: &Launcher,
        folder: &Path,
        args: &[&str],
    ) -> Result<(Ended, String, String), NotPushed> {
        let git = self.git.as_ref().ok_or(NotPushed::NoGit)?;
        let fetches = args.contains(&"fetch");
        let mut env = self.env.clone();
        for (name, value) in &mut env {
            match name.as_str() {
                "GIT_DIR" => *value = folder.to_string_lossy().into_owned(),
                "GIT_CONFIG_GLOBAL" => *value = config_file(&self.folder).display().to_string(),
                // A bundle is a file.
                "GIT_ALLOW_PROTOCOL" if fetches => "file".clone_into(value),
                _ => {}
            }
        }
        let spec = Spec {
            program: git.to_string_lossy().into_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env,
            cwd: folder.to_string_lossy().into_owned(),
        };
        let room = fetches.then(|| self.room().get());
        let failed = |error: &dyn std::fmt::Display| self.failed(error.to_string());
        let started = launcher.spawn(&limit_files(spec, room)).await;
        let mut process = started.map_err(|error| failed(&error))?;
        let (progress, _) = watch::channel(String::new());
        hear(&mut process, &progress).await.map_err(|error| failed(&error))
    }

    fn failed(&self, words: String) -> NotPushed {
        let words = self.without_address(&words);
        NotPushed::Failed { repository: self.name().to_owned(), words }
    }

    /// The same words without where it lies, which is not a caller's business.
    fn without_address(&self, words: &str) -> String {
        words.replace(&self.url, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::ShownCommits;

    #[test]
    fn nothing_is_pushed_beside_what_was_shown() {
        let lines = ["- 1 Mend a typo".to_owned(), "- 2 Add a test".to_owned()];
        let shown =
            ShownCommits { count: 2, lines: &lines, one_line: |line| line.trim().to_owned() };
        assert!(shown.holds("2\n", "- 1 Mend a typo   \n- 2 Add a test\n"));
        assert!(shown.holds("1", "- 1 Mend a typo"), "the other one was pushed before");
        assert!(!shown.holds("3", "- 1 Mend a typo"));
        assert!(!shown.holds("2", "- 1 Mend a typo\n- 2 Add a backdoor"));
        assert!(!shown.holds("", ""));
    }
}

//! What is wrong with a repository on this machine, found at the start instead of by the first session.

use super::{CloneSource, MirrorError, is_commit};
use pilothouse_sandbox::process::Launcher;
use tokio::sync::watch;

impl CloneSource {
    /// Looks whether clones can begin at the configured ref. A repository at an address is not looked at: its network may
    /// come later.
    ///
    /// # Errors
    ///
    /// When there is no git, or the repository is on this machine and does not have the ref.
    pub async fn check(&self, launcher: &Launcher) -> Result<(), MirrorError> {
        let mirror = &self.mirror;
        if mirror.git.is_none() {
            return Err(MirrorError::NoGit);
        }
        // Only a fetch tells whether a commit is there.
        let is_known = self.reference.as_deref().is_some_and(is_commit);
        if mirror.local.is_none() || is_known {
            return Ok(());
        }
        let late = |_| MirrorError::TooLong {
            repository: mirror.name().to_owned(),
            patience: mirror.patience,
        };
        tokio::time::timeout(mirror.patience.get(), self.find_ref(launcher)).await.map_err(late)?
    }

    async fn find_ref(&self, launcher: &Launcher) -> Result<(), MirrorError> {
        let mirror = &self.mirror;
        let wanted: Vec<String> = match &self.reference {
            None => vec!["HEAD".to_owned()],
            Some(name) => {
                let short = name.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/");
                ["refs/heads/", "refs/tags/"].map(|place| format!("{place}{short}")).into()
            }
        };
        let mut args = vec!["ls-remote", "--", &mirror.url];
        args.extend(wanted.iter().map(String::as_str));
        let (progress, _) = watch::channel(String::new());
        let found = mirror.git(launcher, &args, &progress).await?;
        let is_wanted = |line: &str| {
            line.split_once('\t').is_some_and(|(_, name)| wanted.iter().any(|one| one == name))
        };
        if found.lines().any(is_wanted) {
            return Ok(());
        }
        let repository = mirror.name().to_owned();
        Err(match &self.reference {
            None => MirrorError::Empty(repository),
            Some(name) => MirrorError::NoReference { repository, reference: name.clone() },
        })
    }
}

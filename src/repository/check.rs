//! What is wrong with a repository on this machine, found at the start instead of by the first session.

use super::{CloneSource, GitRun, MirrorError, is_commit};
use pilothouse_sandbox::process::Launcher;
use std::pin::pin;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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
        let (quit, progress) = (CancellationToken::new(), watch::Sender::new(String::new()));
        let run = GitRun { launcher: launcher.clone(), progress, quit: quit.clone() };
        let mut finding = pin!(self.find_ref(&run));
        tokio::select! {
            biased;
            found = &mut finding => return found,
            () = tokio::time::sleep(mirror.patience.get()) => quit.cancel(),
        }
        let _ = finding.await;
        Err(MirrorError::TooLong {
            repository: mirror.name().to_owned(),
            patience: mirror.patience,
        })
    }

    async fn find_ref(&self, run: &GitRun) -> Result<(), MirrorError> {
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
        let found = mirror.git(run, &args).await?;
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

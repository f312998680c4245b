//! The commits of a session's own branch, as a bundle that git fetches from.

use super::Sessions;
use super::start::Confinement;
use super::unsaved::start_git;
use crate::agent::Agent;
use crate::store::SessionRow;
use bytes::Bytes;
use pilothouse_sandbox::process::{Ended, Process};
use tokio::io::AsyncReadExt;

/// Makes it.
const SCRIPT: &str = include_str!("bundle.sh");

/// Bytes of one piece.
const PIECE: usize = 64 * 1024;

/// What is read of git's words on a failure.
const LAST_WORDS: u64 = 2048;

/// A bundle while git makes it. Dropping it ends that.
pub struct Bundle {
    process: Process,
    _confinement: Confinement,
    first: Option<Bytes>,
}

impl Sessions {
    /// Begins to make a bundle of what a session has committed on its branch since it began.
    ///
    /// # Errors
    ///
    /// Why there is none, for people.
    pub async fn make_bundle(&self, agent: &Agent, row: &SessionRow) -> Result<Bundle, String> {
        let checkout = row.checkout.as_ref().ok_or("the session is no clone of a repository")?;
        let args = [checkout.branch.as_str(), checkout.base.as_str()];
        let (process, confinement) =
            start_git(&self.deps, agent, &row.id, (SCRIPT, &args[..])).await?;
        let mut bundle = Bundle { process, _confinement: confinement, first: None };
        // Git says what is wrong before the first byte.
        bundle.first = bundle.next().await?;
        Ok(bundle)
    }
}

impl Bundle {
    /// The next piece; none at the end.
    ///
    /// # Errors
    ///
    /// What git said, where it has failed.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let mut piece = vec![0; PIECE];
        let read = self.process.stdout.read(&mut piece).await;
        let size = read.map_err(|error| format!("git could not be heard: {error}"))?;
        if size > 0 {
            piece.truncate(size);
            return Ok(Some(piece.into()));
        }
        if self.process.control.ended().await == Ended::Code(0) {
            return Ok(None);
        }
        let mut words = Vec::new();
        let _ = (&mut self.process.stderr).take(LAST_WORDS).read_to_end(&mut words).await;
        let words = String::from_utf8_lossy(&words);
        Err(format!("git could not bundle the branch: {}", words.trim()))
    }
}

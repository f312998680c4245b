//! The commits of a session's own branch, as a bundle that git fetches from.

use super::live::LiveSessions;
use super::start::Confinement;
use super::unsaved::start_git;
use super::{SessionDeps, Sessions};
use crate::agent::Agent;
use crate::config::Age;
use crate::queue::Place;
use crate::store::SessionRow;
use bytes::Bytes;
use pilothouse_sandbox::process::{Ended, Process};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

/// Makes it.
const SCRIPT: &str = include_str!("bundle.sh");

/// Bytes of one piece.
const PIECE: usize = 64 * 1024;

/// What is read of git's words on a failure.
const LAST_WORDS: usize = 2048;

/// A bundle while git makes it. Dropping it ends that.
pub struct Bundle {
    process: Process,
    _confinement: Confinement,
    _only: OnlyBundle,
    _place: Option<Place>,
    /// For one piece.
    patience: Age,
    /// The server's end, which no piece outlives.
    stop: CancellationToken,
    first: Option<Bytes>,
    /// What git has said so far.
    words: Vec<u8>,
    is_stderr_open: bool,
}

/// Why there is no bundle, for people.
#[derive(Debug, thiserror::Error)]
pub enum NoBundle {
    /// There are as many as there may be.
    #[error(
        "other bundles are being made, of this caller or of all together; try again later; the server's operator can raise \
         `limits.gits`, of which one caller has half"
    )]
    Busy,
    /// It cannot be made.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for NoBundle {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// The one bundle of a session, until this is dropped.
struct OnlyBundle {
    live: Arc<LiveSessions>,
    session: Arc<str>,
}

impl OnlyBundle {
    fn new(live: &Arc<LiveSessions>, session: &Arc<str>) -> Result<Self, String> {
        match live.bundled.lock().insert(session.clone()) {
            true => Ok(Self { live: live.clone(), session: session.clone() }),
            false => Err("a bundle of this session is being made already; wait for it".to_owned()),
        }
    }
}

impl Drop for OnlyBundle {
    fn drop(&mut self) {
        self.live.bundled.lock().remove(&self.session);
    }
}

impl SessionDeps {
    /// A place among the gits that callers have started (`limits.gits`), waited for at most as long as one of them may
    /// take.
    ///
    /// # Errors
    ///
    /// When there was none in that time, or the server stops.
    pub(super) async fn wait_for_git(
        &self,
        live: &LiveSessions,
        caller: &Arc<str>,
    ) -> Result<Place, NoBundle> {
        let place = live.bundles.request(caller).place();
        let place = self.stop.run_until_cancelled(place);
        let place = tokio::time::timeout(self.config.timeouts.checkout.get(), place).await;
        place.ok().flatten().ok_or(NoBundle::Busy)
    }
}

impl Sessions {
    /// Begins to make a bundle of what a session has committed on its branch since it began.
    ///
    /// # Errors
    ///
    /// Why there is none, for people.
    pub async fn make_bundle(&self, agent: &Agent, row: &SessionRow) -> Result<Bundle, NoBundle> {
        let place = self.live.bundles.try_take(&row.scope.caller).ok_or(NoBundle::Busy)?;
        let mut bundle = self.make_bundle_of(agent, row).await?;
        bundle._place = Some(place);
        Ok(bundle)
    }

    /// The same, for whoever has a place among the gits already.
    ///
    /// # Errors
    ///
    /// Why there is none, for people.
    pub(super) async fn make_bundle_of(
        &self,
        agent: &Agent,
        row: &SessionRow,
    ) -> Result<Bundle, NoBundle> {
        let checkout = row.checkout.as_ref();
        let checkout =
            checkout.ok_or_else(|| "the session is no clone of a repository".to_owned())?;
        let args = [checkout.branch.as_str(), checkout.base.as_str()];
        let only = OnlyBundle::new(&self.live, &row.id)?;
        let (process, confinement) =
            start_git(&self.deps, agent, &row.id, (SCRIPT, &args[..])).await?;
        let mut bundle = Bundle {
            process,
            _confinement: confinement,
            _only: only,
            _place: None,
            patience: self.deps.config.timeouts.checkout,
            stop: self.deps.stop.clone(),
            first: None,
            words: Vec::new(),
            is_stderr_open: true,
        };
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
        let (patience, stop) = (self.patience, self.stop.clone());
        let read =
            stop.run_until_cancelled(tokio::time::timeout(patience.get(), self.read())).await;
        let Some(read) = read else { return Err("the server stops".to_owned()) };
        read.unwrap_or_else(|_| {
            Err(format!(
                "git has said nothing for {patience} (`timeouts.checkout`); what the agent has made of its clone may hold it up"
            ))
        })
    }

    /// The next piece, while what git says besides is heard too: it waits where nobody reads that.
    async fn read(&mut self) -> Result<Option<Bytes>, String> {
        let (mut piece, mut said) = (vec![0; PIECE], vec![0; LAST_WORDS]);
        let mut is_stdout_open = true;
        while is_stdout_open || self.is_stderr_open {
            tokio::select! {
                read = self.process.stdout.read(&mut piece), if is_stdout_open => {
                    let size = read.map_err(|error| format!("git could not be heard: {error}"))?;
                    if size > 0 {
                        piece.truncate(size);
                        return Ok(Some(piece.into()));
                    }
                    is_stdout_open = false;
                }
                read = self.process.stderr.read(&mut said), if self.is_stderr_open => {
                    let size = read.unwrap_or(0);
                    self.is_stderr_open = size > 0;
                    let room = LAST_WORDS - self.words.len();
                    self.words.extend_from_slice(&said[..size.min(room)]);
                }
            }
        }
        if self.process.control.ended().await == Ended::Code(0) {
            return Ok(None);
        }
        let words = String::from_utf8_lossy(&self.words);
        Err(format!("git could not bundle the branch: {}", words.trim()))
    }
}

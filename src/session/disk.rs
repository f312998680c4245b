//! Watches what a session's folders take up on the disk (`isolation.limits.disk`): while its agent works, while
//! its script runs, and while a process waits for the next turn.
//!
//! # How it works
//!
//! The folders are measured every few seconds, and at once where a turn begins in a session whose folders were
//! there before. Files that have no name any more count as long as a process of the session holds them open.
//! What cannot be measured is not assumed to be small: it ends the turn too.

use crate::process::tree::Tree;
use crate::workspace::Workspaces;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Looks in a row that may miss something: an agent at work moves folders while they are read.
const MISSES: u32 = 3;

/// The watch over one session's folders; clones share when the next look is due.
#[derive(Clone)]
pub(super) struct DiskWatch(Arc<Inner>);

struct Inner {
    workspaces: Workspaces,
    session: Arc<str>,
    most: Option<u64>,
    next_look: Mutex<Instant>,
    has_warned: AtomicBool,
}

/// Why a session may not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskFault {
    /// The folders are too large.
    #[error(
        "the session's folders have grown to {0} bytes, more than they may hold (`isolation.limits.disk`)"
    )]
    TooLarge(u64),
    /// Nobody knows how large they are.
    #[error("the session's folders cannot be measured, which `isolation.limits.disk` needs: {0}")]
    Unmeasured(#[source] io::Error),
}

impl DiskFault {
    /// Who can do what about it.
    pub(super) fn hint(&self) -> String {
        let way = match self {
            Self::TooLarge(_) => "raise `isolation.limits.disk`",
            Self::Unmeasured(_) => "remove what cannot be measured",
        };
        format!("a new context begins with empty folders; the server's operator can {way}")
    }
}

impl DiskWatch {
    /// Watches the folders of a session. Those of a new one are not looked at at once.
    pub(super) fn new(
        workspaces: Workspaces,
        session: Arc<str>,
        most: Option<u64>,
        is_new: bool,
    ) -> Self {
        let now = Instant::now();
        let next_look = Mutex::new(if is_new { now + LOOK_AGAIN } else { now });
        let has_warned = AtomicBool::new(false);
        Self(Arc::new(Inner { workspaces, session, most, next_look, has_warned }))
    }

    /// Looks now and then, until the session may not go on. `tree` works in the folders. Cancel-safe.
    pub(super) async fn fault(self, tree: Tree) -> DiskFault {
        let Some(most) = self.0.most else {
            return std::future::pending().await;
        };
        let mut misses = 0;
        loop {
            let next_look = *self.0.next_look.lock();
            tokio::time::sleep_until(next_look).await;
            let measured = self.0.workspaces.size(&self.0.session, Some(tree)).await;
            *self.0.next_look.lock() = Instant::now() + LOOK_AGAIN;
            let error = match measured {
                Ok(size) if size.bytes > most => return DiskFault::TooLarge(size.bytes),
                Ok(size) => {
                    self.warn_of_closed(size.closed);
                    size.error
                }
                Err(error) => Some(error),
            };
            let Some(error) = error else {
                misses = 0;
                continue;
            };
            misses += 1;
            if misses >= MISSES || error.kind() == io::ErrorKind::TimedOut {
                return DiskFault::Unmeasured(error);
            }
        }
    }

    /// Processes may close themselves to their own user; many do for good reasons (`ssh-agent`).
    fn warn_of_closed(&self, closed: u64) {
        if closed > 0 && !self.0.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                session.id = %self.0.session,
                "the open files of {closed} processes of the session {} cannot be seen; `isolation.limits.disk` does \
                 not count those of them that were removed",
                self.0.session
            );
        }
    }
}

//! Tasks that were removed from the store, and are not to be found in memory either.

use super::{STRIPES, Tasks};
use crate::store::Error;
use pilothouse_a2a::id::TaskId;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

impl Tasks {
    /// Forgets a task that was removed from the store: whoever still holds its log finds nothing in it.
    pub async fn forget(&self, id: &TaskId) {
        let _one_at_a_time = self.lock_loading(id).await;
        let log = self.live().remove(id).and_then(|log| log.upgrade());
        if let Some(log) = log {
            let mut end = log.end();
            (end.folded, end.folded_bytes) = (None, usize::MAX);
            (end.recent, end.recent_bytes) = (VecDeque::new(), 0);
            end.broken = Some(Error::Closed);
            drop(end);
            log.head.send_modify(|_| {});
        }
    }

    /// The lock for cold reads of this task.
    pub(super) async fn lock_loading(&self, id: &TaskId) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let stripe = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0);
        self.loading[stripe].lock().await
    }
}

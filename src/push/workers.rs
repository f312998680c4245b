//! The workers of configs: each delivers what its config is told, until that is at its end or the token ends that
//! registered it.

use super::delivery::Delivery;
use super::{Key, Live, PushPlace, SharedPush};
use crate::access::{Access, Grant};
use crate::config::TokenScope;
use crate::store::{Durability, PushRow, PushState, Write};
use crate::task::TaskLog;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl SharedPush {
    /// Starts a config's worker, which leaves where the token that registered the config ends.
    pub(super) fn start(
        self: &Arc<Self>,
        log: Arc<TaskLog>,
        row: PushRow,
        place: PushPlace,
        grant: Option<Arc<Grant>>,
    ) {
        let key = (row.n, row.id.clone());
        let (quit, left) = (CancellationToken::new(), CancellationToken::new());
        let live = Live { quit: quit.clone(), left: left.clone(), grant: grant.clone() };
        let left = left.drop_guard();
        self.live().insert(key.clone(), live);
        let inner = self.clone();
        self.workers.spawn(async move {
            let delivery = Delivery::new(inner.clone(), log, row.clone(), quit.clone()).run();
            let mut delivery = pin!(delivery);
            let ended = async {
                match &grant {
                    Some(grant) => grant.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                denied = ended => {
                    quit.cancel();
                    delivery.await;
                    inner.end_with_token(&row, &denied.to_string()).await;
                }
                () = &mut delivery => {}
            }
            inner.live().remove(&key);
            drop((place, left));
        });
    }

    /// Ends a config's worker, if it has one, and what that is about to send. Answers what it would have ended with.
    pub(super) async fn quit(&self, key: &Key) -> Option<Arc<Grant>> {
        let (left, grant) = {
            let live = self.live();
            let worker = live.get(key)?;
            worker.quit.cancel();
            (worker.left.clone(), worker.grant.clone())
        };
        left.cancelled().await;
        grant
    }

    /// Gives a config up whose token has ended. Where that cannot be noted, the next start finds it again.
    pub(super) async fn end_with_token(&self, row: &PushRow, why: &str) {
        tracing::warn!(task.id = %row.task, push.id = %row.id, why, "push notifications of task {} ended with the token that registered them", row.task);
        let state = PushState::GivenUp(format!("the token that registered it has ended: {why}"));
        let write = Write::PushEnded { n: row.n, id: row.id.clone(), state };
        if let Err(error) = self.store.commit(vec![write], Durability::Written).await {
            tracing::warn!(task.id = %row.task, push.id = %row.id, %error, "the end of push notifications could not be noted");
        }
    }

    pub(super) fn is_live(&self, key: &Key) -> bool {
        self.live().contains_key(key)
    }

    fn live(&self) -> parking_lot::MutexGuard<'_, HashMap<Key, Live>> {
        self.live.lock()
    }
}

/// What the token with this mark allows, where it holds and still lets its holder read the task.
pub(super) fn find_grant(access: &Access, mark: &str, row: &PushRow) -> Option<Arc<Grant>> {
    let grant = access.find_grant(mark)?;
    (grant.has(TokenScope::Read) && grant.serves(&row.scope.agent)).then_some(grant)
}

//! Asks whose time is over: they are denied, or their task is canceled (`asks.then`).

use super::Service;
use super::answer::state_record;
use crate::asks::{Answered, Decision};
use crate::backoff::Backoff;
use crate::clock;
use crate::config::AskTimeout;
use crate::store::{self, AnswerSource, AskRow, AskState, Durability, Write};
use pilothouse_a2a::error::Error;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::TaskState;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries to end asks whose time is over, at first and at most.
const EXPIRE_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl Service {
    /// Decides about asks whose time is over, until the server stops.
    pub async fn expire_asks(&self) {
        let mut backoff = Backoff::new(EXPIRE_AGAIN.0, EXPIRE_AGAIN.1);
        loop {
            let due = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                due = self.asks.expired() => due,
            };
            let Err(error) = self.expire_all(due).await else {
                backoff.reset();
                continue;
            };
            // It stays due: without a pause a store that fails would be asked without end.
            let pause = backoff.pause();
            tracing::warn!(%error, ?pause, "asks whose time is over could not be ended; it is tried again");
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn expire_all(&self, due: Vec<Arc<AskRow>>) -> Result<(), Error> {
        let mut all = Ok(());
        for row in due {
            // Each is tried, whatever came of those before: they may be of different callers.
            all = all.and(self.expire(&row.id).await);
        }
        all
    }

    async fn expire(&self, id: &str) -> Result<(), Error> {
        // It may have been answered or deferred while those before it were expired.
        let Some(answering) = self.asks.begin_answer(id) else { return Ok(()) };
        let row = answering.row().clone();
        if row.deadline > clock::now() {
            return Ok(());
        }
        let open = self.config.asks.timeout;
        let found = self.tasks.find(&row.scope, &row.task).await;
        let Some(log) =
            found.map_err(store::Error::incident)?.filter(|log| !log.state().is_terminal())
        else {
            answering.settle();
            return Ok(());
        };
        // A question that ended its turn has nobody who goes on without an answer.
        if row.ends_turn || self.config.asks.then == AskTimeout::Cancel {
            let words = format!("nobody answered within {open} (`asks.timeout`)");
            let message = Message::new(Role::Agent, vec![Part::text(words)]);
            let records = vec![state_record(&log, TaskState::Canceled, Some(message))];
            let also =
                vec![Write::AskTaken { id: row.id.clone(), state: AskState::Expired, act: None }];
            let stored = log.record_with(&self.store, also, records, Durability::Synced).await;
            let is_stored = match stored {
                // It ended in another way.
                Err(store::Error::Refused(_)) => false,
                stored => stored.map_err(store::Error::incident)?,
            };
            answering.settle();
            if !is_stored {
                return Ok(());
            }
            self.asks.forget(log.n);
            self.sessions.cancel(&log).await.map_err(store::Error::incident)?;
            let canceled = Answered { ask: row.id.clone(), decision: "cancel" };
            self.telemetry.answered(&log, &canceled, None);
            return Ok(());
        }
        let reason = format!("nobody answered within {open}.");
        let decision = Decision::Deny { reason };
        let act = decision.act(&row, &Arc::from("the server"), &AnswerSource::default());
        let answer = (AskState::Expired, act);
        self.carry_out_decision(&log, answering, decision, None, (Vec::new(), answer, None), None)
            .await
            .map(drop)
    }
}

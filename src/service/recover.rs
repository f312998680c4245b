//! After a start: what was running has failed and says so; what waited runs.

use super::Service;
use crate::session::Origin;
use crate::store::{self, Durability, Write};
use crate::task::{Extent, Record, TaskLog};
use pilothouse_a2a::event::TaskStatusUpdateEvent;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::{TaskState, TaskStatus};
use pilothouse_a2a::time::Timestamp;
use std::sync::Arc;

impl Service {
    /// After a start: what was running has failed and says so; what waited runs.
    pub async fn recover(&self) -> Result<(usize, usize), store::Error> {
        let rows = self.store.unfinished().await?;
        let (mut failed, mut resumed) = (0, 0);
        for row in rows {
            let log = self.tasks.hold(&row);
            if !self.store.was_clean() {
                log.jump(store::JUMP);
            }
            if row.state == TaskState::Submitted
                && let Some(agent) = self.agents.get(&row.scope.agent)
            {
                let message = self.last_message(&log).await?;
                if let Some(message) = message
                    && let Ok(mut told) = self.prompt(agent, &message)
                {
                    told.belongs_to(&log.id, &log.context_id);
                    match self.sessions.admit(&row.scope, row.context_id.clone(), true).await {
                        Ok(mut admission) => {
                            admission.not_yet_started();
                            if let Some(session) = admission.write() {
                                self.store.commit(vec![session], Durability::Synced).await?;
                            }
                            // It was there before, so it is not refused now.
                            let prompt = told.is_long().then(|| {
                                Arc::new(self.prompts.overdraw(&row.scope.caller, told.size))
                            });
                            let origin = Origin { prompt, ..Origin::default() };
                            admission.submit(log, told.prompt, told.files, origin);
                            resumed += 1;
                            continue;
                        }
                        Err(refused) => {
                            tracing::warn!(task.id = %log.id, %refused, "a waiting task was not resumed");
                        }
                    }
                }
            }
            let words = if row.state == TaskState::Working {
                "the server ended while this task was running; its agent was stopped. Send the message again in the \
                 same context to continue"
            } else {
                "the server was restarted and could not take this task up again"
            };
            let status = TaskStatus {
                state: TaskState::Failed,
                message: Some(Message::new(Role::Agent, vec![Part::text(words)])),
                timestamp: Some(Timestamp::now()),
            };
            let update = TaskStatusUpdateEvent::new(log.id.clone(), log.context_id.clone(), status);
            let used = Write::SessionInUse { id: row.session.clone(), at: Timestamp::now() };
            let records = vec![Record::Status(update)];
            log.record_with(&self.store, vec![used], records, Durability::Synced).await?;
            failed += 1;
        }
        Ok((failed, resumed))
    }

    /// The newest message of the caller to a task.
    async fn last_message(&self, log: &Arc<TaskLog>) -> Result<Option<Message>, store::Error> {
        let snapshot = log.snapshot(&self.store, Extent::MESSAGES).await?;
        Ok(snapshot.task.history.into_iter().rfind(|message| message.role == Role::User))
    }
}

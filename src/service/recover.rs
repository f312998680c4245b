//! After a start: what was running has failed and says so; what waited runs.

use super::repeat::Mark;
use super::{Service, message};
use crate::session::{FailureCode, Fork, Origin};
use crate::store::{self, Durability, SessionRow, TaskRow, Write};
use crate::task::{Record, TaskLog, Waiting};
use pilothouse_a2a::event::TaskStatusUpdateEvent;
use pilothouse_a2a::id::ContextId;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::{TaskState, TaskStatus};
use pilothouse_a2a::time::Timestamp;
use serde_json::json;
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
            if row.state == TaskState::Submitted && self.take_up(&row, &log).await? {
                resumed += 1;
                continue;
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
            let (id, context) = (log.id.clone(), log.context_id.clone());
            let mut update = TaskStatusUpdateEvent::new(id, context, status);
            let metadata = json!({"failure": FailureCode::ServerStopped.word()});
            update.metadata = metadata.as_object().cloned().map(Into::into);
            let used = Write::SessionInUse { id: row.session.clone(), at: Timestamp::now() };
            let records = vec![Record::Status(update)];
            log.record_with(&self.store, vec![used], records, Durability::Synced).await?;
            failed += 1;
        }
        Ok((failed, resumed))
    }

    /// Hands the turns that waited to their session, in their order. False where one of them cannot be.
    async fn take_up(&self, row: &TaskRow, log: &Arc<TaskLog>) -> Result<bool, store::Error> {
        let Some(agent) = self.agents.get(&row.scope.agent) else { return Ok(false) };
        let Waiting { messages, has_begun } = log.waiting(&self.store).await?;
        let from = messages.first().filter(|_| !has_begun).and_then(message::fork_of);
        let mut fork = match from {
            Some(from) => match self.store.session(&row.scope, &ContextId::new(from)).await? {
                Some(SessionRow { id, conversation, .. }) => {
                    Some(Fork { session: id, conversation })
                }
                None => return Ok(false),
            },
            None => None,
        };
        let mut turns = Vec::new();
        for message in &messages {
            let beside = (&*row.scope.caller, [].as_slice());
            let Ok(mut told) = self.prompt(agent, message, beside) else { return Ok(false) };
            told.belongs_to(&log.id, &log.context_id);
            let admitted = self.sessions.admit(&row.scope, row.context_id.clone(), true).await;
            let mut admission = match admitted {
                Ok(admission) => admission,
                Err(refused) => {
                    tracing::warn!(task.id = %log.id, %refused, "a waiting task was not resumed");
                    return Ok(false);
                }
            };
            admission.not_yet_started();
            if let Some(session) = admission.write() {
                self.store.commit(vec![session], Durability::Synced).await?;
            }
            turns.push((told, admission));
        }
        // Before the first of them begins: its end is not the end of the task.
        turns.iter().for_each(|_| log.turn_comes());
        if let (Some(first), Some(print), false) = (messages.first(), row.print, has_begun) {
            // Its caller may have lost the answer with the server.
            let mark = Mark::Message(first.message_id.to_string());
            self.repeats.remember(&row.scope, mark, print, log);
        }
        let is_taken_up = !turns.is_empty();
        for (told, admission) in turns {
            // It was there before, so it is not refused now.
            let overdraw = || Arc::new(self.prompts.overdraw(&row.scope.caller, told.size));
            let prompt = told.is_long().then(overdraw);
            let (fork, wishes) = (fork.take(), told.wishes);
            let origin = Origin { prompt, fork, wishes, ..Origin::default() };
            admission.submit(log.clone(), told.prompt, told.files, origin);
        }
        Ok(is_taken_up)
    }
}

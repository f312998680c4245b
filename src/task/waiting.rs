//! What waits in a task's log: messages of the caller for which no turn has begun yet. The log is their queue, so
//! they survive the server.

use super::{CATCH_UP_BYTES, TaskLog};
use crate::store::{Error, EventsPart, Kind, Store};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::message::{Message, Role};
use pilothouse_a2a::task::TaskState;

/// Messages that wait for their turns.
#[derive(Debug, Default)]
pub struct Waiting {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether a turn of the task has begun before.
    pub has_begun: bool,
}

impl TaskLog {
    /// The messages that wait for their turns.
    pub async fn waiting(&self, store: &Store) -> Result<Waiting, Error> {
        let (mut waiting, mut after) = (Waiting::default(), 0);
        loop {
            let part = EventsPart {
                n: self.n,
                after,
                upto: self.head(),
                bytes: CATCH_UP_BYTES,
                without: Some(Kind::Artifact),
                largest: usize::MAX,
            };
            let events = store.events_in_part(part).await?;
            let Some(last) = events.last() else { return Ok(waiting) };
            after = last.seq;
            for event in events {
                match event.kind {
                    Kind::Message => waiting.push(serde_json::from_slice(&event.body).ok()),
                    Kind::Task | Kind::Status => {
                        waiting.note(serde_json::from_slice(&event.body).ok());
                    }
                    Kind::Artifact => {}
                }
            }
        }
    }
}

impl Waiting {
    fn push(&mut self, message: Option<Message>) {
        self.messages.extend(message.filter(|message| message.role == Role::User));
    }

    fn note(&mut self, response: Option<StreamResponse>) {
        match response {
            Some(StreamResponse::Task(task)) => {
                task.history.into_iter().for_each(|message| self.push(Some(message)));
            }
            // A turn that begins takes all that was said before it asked, or while it runs.
            Some(StreamResponse::StatusUpdate(update))
                if update.status.state != TaskState::Submitted =>
            {
                self.messages.clear();
                self.has_begun = true;
            }
            _ => {}
        }
    }
}

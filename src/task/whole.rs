//! The last update of an artifact that came in pieces, with the whole artifact in it.

use super::{ANSWER, TaskLog, encode, view};
use crate::store::{Error, Event, Kind, Store};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::id::ArtifactId;
use pilothouse_a2a::task::Artifact;

/// How the update of an artifact ends after which nothing of it follows.
const LAST: &[u8] = b"\"lastChunk\":true}}";

/// How the last update of an artifact ends of which others came before.
const LAST_PIECE: &[u8] = b"\"append\":true,\"lastChunk\":true}}";

/// Bytes of an update in which the ids stand.
const HEAD: usize = 2048;

/// Bytes of an update beside its artifact.
const FRAME: usize = 512;

/// The last update of an artifact.
pub struct WholeArtifact {
    /// The event with the whole artifact, in the place of its pieces.
    pub event: Event,
    /// Whether it is the beginning alone, since the whole would be too large.
    pub is_cut: bool,
}

/// Whether an event is the last update of an artifact.
pub fn is_last(event: &Event) -> bool {
    event.kind == Kind::Artifact && event.body.ends_with(LAST)
}

/// Whether an event is the last one of several updates of an artifact.
pub fn is_last_piece(event: &Event) -> bool {
    event.kind == Kind::Artifact && event.body.ends_with(LAST_PIECE)
}

/// Whether an update of an artifact is one of the answer.
pub fn is_of_answer(event: &Event) -> bool {
    let head = &event.body[..event.body.len().min(HEAD)];
    let head = String::from_utf8_lossy(head);
    let task = head.split('"').nth(5).unwrap_or_default();
    head.contains(&format!("\"artifactId\":\"{task}-{ANSWER}\""))
}

impl TaskLog {
    /// The last update of an artifact with all that its pieces hold, in an event of at most so many bytes.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn whole_artifact(
        &self,
        store: &Store,
        event: &Event,
        most: usize,
    ) -> Result<WholeArtifact, Error> {
        let as_it_is = || WholeArtifact { event: event.clone(), is_cut: true };
        let Ok(StreamResponse::ArtifactUpdate(mut update)) = serde_json::from_slice(&event.body)
        else {
            return Ok(as_it_is());
        };
        let id = update.artifact.artifact_id.clone();
        let most = most.saturating_sub(FRAME);
        let found = match self.artifact_at_hand(event.seq, &id) {
            Some(artifact) => Some((artifact, false)),
            None => view::fold_artifact(store, self, event.seq, id, most).await?,
        };
        let Some((artifact, is_cut)) = found else {
            return Ok(as_it_is());
        };
        update.artifact = artifact;
        update.append = false;
        let body = encode(&StreamResponse::ArtifactUpdate(update));
        Ok(WholeArtifact { event: Event { body, ..event.clone() }, is_cut })
    }
}

impl TaskLog {
    /// An artifact as it stood at a sequence number, where the task is at hand and none has changed since.
    fn artifact_at_hand(&self, seq: u64, id: &ArtifactId) -> Option<Artifact> {
        let end = self.end();
        let task = end.folded.as_ref()?;
        let mut later = end.recent.iter().filter(|event| event.seq > seq);
        let count = u64::try_from(later.clone().count()).ok()?;
        if end.seq != seq + count || later.any(|event| event.kind == Kind::Artifact) {
            return None;
        }
        task.artifacts.iter().find(|artifact| artifact.artifact_id == *id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::answer_id;
    use pilothouse_a2a::event::TaskArtifactUpdateEvent;
    use pilothouse_a2a::id::{ContextId, TaskId};
    use pilothouse_a2a::message::Part;

    fn event(id: ArtifactId, context: &str, append: bool, last: bool) -> Event {
        let artifact = Artifact::new(id, "", vec![Part::text("\"lastChunk\":true}}")]);
        let mut update =
            TaskArtifactUpdateEvent::new(TaskId::new("t-1"), ContextId::new(context), artifact);
        (update.append, update.last_chunk) = (append, last);
        let body = encode(&StreamResponse::ArtifactUpdate(update));
        Event { seq: 1, kind: Kind::Artifact, body }
    }

    #[test]
    fn the_last_update_is_known_by_its_end_whatever_its_text_says() {
        let id = || ArtifactId::new("a");
        for (append, last) in [(false, false), (true, false), (false, true), (true, true)] {
            let event = event(id(), "c", append, last);
            assert_eq!((is_last(&event), is_last_piece(&event)), (last, append && last));
        }
    }

    #[test]
    fn an_update_of_the_answer_is_known_by_its_id_whatever_its_context_is_called() {
        let context = "x\"artifactId\":\"t-1-answer\"".repeat(4);
        assert!(is_of_answer(&event(answer_id(&TaskId::new("t-1")), &context, true, true)));
        assert!(!is_of_answer(&event(
            ArtifactId::new("t-1-artifact-answer"),
            &context,
            true,
            true
        )));
    }
}

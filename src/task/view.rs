//! A task as a reader sees it: its events folded, its answer last.

use super::pieces::{PieceNumbers, address_of, join_pieces};
use super::{Snapshot, TaskLog, named};
use crate::store::{
    ArtifactEnds, Error, Event, EventsPart, Kind, ReadTransaction, Span, Store, TaskRow,
};
use pilothouse_a2a::event::{StreamResponse, TaskArtifactUpdateEvent};
use pilothouse_a2a::id::{ArtifactId, ContextId, MessageId, TaskId};
use pilothouse_a2a::message::{Message, Part, PartContent};
use pilothouse_a2a::task::{Artifact, Task, TaskState, TaskStatus};
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::io;

/// The name of the artifact that is the answer.
pub const ANSWER: &str = "answer";

/// What one read of the store brings while folding.
const READ_BYTES: usize = 256 * 1024;

/// The id of a task's answer artifact.
pub fn answer_id(task: &TaskId) -> ArtifactId {
    ArtifactId::new(format!("{task}-{ANSWER}"))
}

/// A completed turn's answer as a message of the history, where another turn's will take its place.
pub(super) fn answer_message(task: &Task, seq: u64) -> Option<Message> {
    let id = answer_id(&task.id);
    let answer = task.artifacts.iter().find(|artifact| artifact.artifact_id == id)?;
    let text = answer.parts.first().and_then(Part::as_text)?;
    let mut message = Message::agent_text(text);
    message.message_id = MessageId::new(format!("{id}-{seq}"));
    message.task_id = Some(task.id.clone());
    message.context_id = Some(task.context_id.clone());
    Some(message)
}

/// How much of a task is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of artifacts, from their beginning.
    pub artifacts: usize,
    /// Bytes of everything together; where that is less, the oldest messages are left out.
    pub total: usize,
    /// The newest messages, at most.
    pub messages: usize,
    /// Whether artifacts that do not fit are named, each with its address.
    pub names_rest: bool,
}

impl Extent {
    /// The last words of a task, whatever their size, and no artifacts.
    pub const MESSAGES: Self =
        Self { artifacts: 0, total: usize::MAX, messages: 4, names_rest: false };

    /// What fits in so many bytes. An eighth of them is kept for the status and the newest messages.
    pub fn of(total: usize) -> Self {
        Self { artifacts: total - total / 8, total, messages: usize::MAX, names_rest: false }
    }

    /// The same, with the names and addresses of the artifacts that do not fit.
    pub fn with_rest(self) -> Self {
        Self { names_rest: true, ..self }
    }
}

/// The newest messages that fit.
struct History {
    extent: Extent,
    messages: VecDeque<(usize, Message)>,
    size: usize,
}

impl History {
    fn push(&mut self, message: Message) {
        let size = weigh(&message);
        self.size = self.size.saturating_add(size);
        self.messages.push_back((size, message));
        self.shorten(self.extent.total);
    }

    fn shorten(&mut self, most: usize) {
        while self.size > most || self.messages.len() > self.extent.messages {
            match self.messages.pop_front() {
                Some((size, _)) => self.size -= size,
                None => break,
            }
        }
    }
}

/// What a value takes on the wire at most, in whichever binding: protobuf takes up to ten bytes more for
/// each value, older dialects some more for each part.
pub fn weigh(value: &impl Serialize) -> usize {
    const EACH: usize = 16;

    #[derive(Default)]
    struct Scale {
        weight: usize,
        quoted: bool,
        escaped: bool,
    }

    impl io::Write for Scale {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            for byte in bytes {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = self.quoted,
                    b'"' => self.quoted = !self.quoted,
                    b',' | b'[' | b'{' if !self.quoted => self.weight += EACH,
                    _ => {}
                }
            }
            self.weight += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut scale = Scale::default();
    match serde_json::to_writer(&mut scale, value) {
        Ok(()) => scale.weight,
        Err(_) => usize::MAX,
    }
}

/// What an artifact update adds to its task: text that continues text costs no more than itself.
fn weigh_update(update: &TaskArtifactUpdateEvent) -> usize {
    let artifact = &update.artifact;
    match artifact.parts.as_slice() {
        [part] if update.append && artifact.metadata.is_none() => match part.as_text() {
            Some(text) => weigh(&text),
            None => weigh(artifact),
        },
        _ => weigh(artifact),
    }
}

/// A task's events on their way to a task, as far as they fit; what is not shown is not kept.
struct Fold<'a> {
    n: i64,
    id: &'a TaskId,
    context: &'a ContextId,
    upto: u64,
    extent: Extent,
    task: Option<Task>,
    /// Where each artifact stands: there may be many thousands.
    places: HashMap<ArtifactId, usize>,
    history: History,
    after: u64,
    size: usize,
    truncated: bool,
    /// The first event of an artifact that did not fit.
    cut_at: Option<u64>,
    /// Of the artifacts only this one.
    only: Option<ArtifactId>,
}

/// Folds a task's events up to `seq`.
pub(super) async fn fold(
    store: &Store,
    log: &TaskLog,
    seq: u64,
    extent: Extent,
) -> Result<Snapshot, Error> {
    let mut fold = Fold::new((log.n, &log.id, &log.context_id), seq, extent);
    while let Some(part) = fold.next_part() {
        fold.add(store.events_in_part(part).await?);
    }
    let ends = match fold.rest() {
        Some(rest) => store.artifact_ends(rest).await?,
        None => Vec::new(),
    };
    fold.finish(&ends)
}

/// One artifact as it stood at `seq`, and whether this is its beginning alone.
pub(super) async fn fold_artifact(
    store: &Store,
    log: &TaskLog,
    seq: u64,
    id: ArtifactId,
    most: usize,
) -> Result<Option<(Artifact, bool)>, Error> {
    let extent = Extent { artifacts: most, total: most, messages: 0, names_rest: false };
    let mut fold = Fold::new((log.n, &log.id, &log.context_id), seq, extent);
    fold.only = Some(id);
    while let Some(part) = fold.next_part().filter(|_| !fold.truncated) {
        fold.add(store.events_in_part(part).await?);
    }
    let Some(mut artifact) = fold.task.and_then(|mut task| task.artifacts.pop()) else {
        return Ok(None);
    };
    join_pieces(&mut artifact.parts);
    if fold.truncated && artifact.artifact_id == answer_id(&log.id) {
        point_to_answer(&mut artifact, &log.id);
    } else if fold.truncated {
        point_to_artifact(&mut artifact, &log.id);
    }
    Ok(Some((artifact, fold.truncated)))
}

/// The same for a row that was read in these reads.
pub(super) fn fold_row(
    reads: &ReadTransaction<'_>,
    row: &TaskRow,
    seq: u64,
    extent: Extent,
) -> Result<Snapshot, Error> {
    let mut fold = Fold::new((row.n, &row.id, &row.context_id), seq, extent);
    while let Some(part) = fold.next_part() {
        fold.add(reads.events_in_part(&part)?);
    }
    let ends = fold.rest().map_or(Ok(Vec::new()), |rest| reads.artifact_ends(rest))?;
    fold.finish(&ends)
}

impl<'a> Fold<'a> {
    fn new((n, id, context): (i64, &'a TaskId, &'a ContextId), upto: u64, extent: Extent) -> Self {
        Self {
            n,
            id,
            context,
            upto,
            extent,
            task: None,
            places: HashMap::new(),
            history: History { extent, messages: VecDeque::new(), size: 0 },
            after: 0,
            size: 0,
            truncated: extent.artifacts == 0,
            cut_at: None,
            only: None,
        }
    }

    /// What is to be read next.
    fn next_part(&self) -> Option<EventsPart> {
        (self.after < self.upto).then_some(EventsPart {
            n: self.n,
            after: self.after,
            upto: self.upto,
            bytes: READ_BYTES,
            without: self.truncated.then_some(Kind::Artifact),
            largest: self.extent.total,
        })
    }

    /// Adds the events that were read; where there are none, there is nothing more.
    fn add(&mut self, events: Vec<Event>) {
        self.after = events.last().map_or(self.upto, |event| event.seq);
        for event in events {
            let was_whole = !self.truncated;
            self.add_event(&event);
            if was_whole && self.truncated {
                self.cut_at = Some(event.seq);
            }
        }
    }

    /// The updates of artifacts that did not fit, where they are to be named.
    fn rest(&self) -> Option<Span> {
        let cut_at = self.cut_at.filter(|_| self.extent.names_rest)?;
        Some(Span { n: self.n, after: cut_at - 1, upto: self.upto })
    }

    fn add_event(&mut self, event: &Event) {
        if event.kind == Kind::Message {
            if let Ok(message) = serde_json::from_slice::<Message>(&event.body) {
                self.history.push(message);
            }
            return;
        }
        match (&mut self.task, serde_json::from_slice::<StreamResponse>(&event.body)) {
            (slot, Ok(StreamResponse::Task(mut task))) => {
                std::mem::take(&mut task.history).into_iter().for_each(|it| self.history.push(it));
                let artifacts = task.artifacts.iter().enumerate();
                self.places = artifacts.map(|(at, it)| (it.artifact_id.clone(), at)).collect();
                *slot = Some(task);
            }
            (Some(_), Ok(StreamResponse::ArtifactUpdate(_))) if self.truncated => {}
            (Some(_), Ok(StreamResponse::ArtifactUpdate(update)))
                if self.only.as_ref().is_some_and(|id| *id != update.artifact.artifact_id) => {}
            (Some(task), Ok(StreamResponse::ArtifactUpdate(update))) => {
                self.size = self.size.saturating_add(weigh_update(&update));
                if self.size > self.extent.artifacts {
                    self.truncated = true;
                    return;
                }
                let place = *self
                    .places
                    .entry(update.artifact.artifact_id.clone())
                    .or_insert(task.artifacts.len());
                match task.artifacts.get_mut(place) {
                    Some(artifact) => artifact.apply(&update),
                    None => task.artifacts.push(update.artifact),
                }
            }
            (Some(task), Ok(response)) => task.apply(&response),
            // Its message is too large to be shown.
            (slot @ None, Err(_)) if event.kind == Kind::Task => {
                let status =
                    TaskStatus { state: TaskState::Submitted, message: None, timestamp: None };
                *slot = Some(Task::new(self.id.clone(), self.context.clone(), status));
            }
            // An artifact that is too large to be shown.
            (Some(_), Err(_)) if event.kind == Kind::Artifact => self.truncated = true,
            (None, _) | (_, Err(_)) => {}
        }
    }

    fn finish(mut self, rest: &[ArtifactEnds]) -> Result<Snapshot, Error> {
        let mut task = self.task.ok_or(Error::Closed)?;
        let room = self.extent.total / 16;
        self.size += named::add_named(&mut task, rest, room);
        let shown =
            self.size.min(self.extent.artifacts) + weigh(&task.status) + weigh(&task.metadata);
        self.history.shorten(self.extent.total.saturating_sub(shown));
        task.history = self.history.messages.into_iter().map(|(_, message)| message).collect();
        Ok(Snapshot { task, seq: self.after, truncated: self.truncated })
    }
}

impl Snapshot {
    /// The task in the order that readers are promised: the answer is the last artifact, and once the
    /// task is completed its text (up to `inline` bytes) is the agent's one message in the history.
    pub fn present(mut self, inline: usize) -> Self {
        let task = &mut self.task;
        let id = answer_id(&task.id);
        task.artifacts.iter_mut().for_each(|artifact| join_pieces(&mut artifact.parts));
        if let Some(place) = task.artifacts.iter().position(|artifact| artifact.artifact_id == id) {
            let answer = task.artifacts.remove(place);
            if task.status.state == TaskState::Completed {
                let text = match answer.parts.first().map(|part| &part.content) {
                    Some(PartContent::Text(text)) if text.len() <= inline && !self.truncated => {
                        text.clone()
                    }
                    _ => format!(
                        "The answer is too long for the history; it is the artifact `{id}`."
                    ),
                };
                let mut message = Message::agent_text(text);
                message.message_id = MessageId::new(id.as_str());
                message.task_id = Some(task.id.clone());
                message.context_id = Some(task.context_id.clone());
                task.history.push(message);
            }
            task.artifacts.push(answer);
        }
        if self.truncated {
            let answer = task.artifacts.iter_mut().find(|artifact| artifact.artifact_id == id);
            if let Some(artifact) = answer {
                point_to_answer(artifact, &task.id);
            }
        }
        self
    }
}

/// Says of the beginning of an answer where the whole is.
fn point_to_answer(artifact: &mut Artifact, task: &TaskId) {
    artifact.description =
        Some("the beginning of a longer answer; `whole` says where the rest is".to_owned());
    artifact.parts.push(Part {
        content: PartContent::Url(format!("/api/v1/tasks/{task}/answer")),
        filename: Some("answer.txt".to_owned()),
        media_type: Some("text/plain; charset=utf-8".to_owned()),
        metadata: None,
    });
}

/// Puts the address of an artifact in the place of its beginning.
pub(super) fn point_to_artifact(artifact: &mut Artifact, task: &TaskId) {
    let known = artifact.parts.last();
    let url = address_of(task, &artifact.artifact_id);
    artifact.parts = vec![Part {
        content: PartContent::Url(url),
        filename: known.and_then(|part| part.filename.clone()).or_else(|| artifact.name.clone()),
        media_type: known.and_then(|part| part.media_type.clone()),
        metadata: known.and_then(PieceNumbers::of).map(|numbers| numbers.to_size().into()),
    }];
}

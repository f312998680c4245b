//! Events that are too long for a line of a stream of server-sent events become several, or are cut where they cannot be
//! divided. The log has them as they are.

use crate::config::{AnswerForm, FileForm, Streams};
use crate::task::pieces::{PieceNumbers, address_of, address_of_part, point_to};
use crate::task::{measure, shorten_text, shorten_value, weigh};
use pilothouse_a2a::event::{StreamResponse, TaskArtifactUpdateEvent, TaskStatusUpdateEvent};
use pilothouse_a2a::message::{Message, Part, PartContent};
use pilothouse_a2a::task::{Artifact, Task};

/// What a line has beside an event of v1.0, in whichever dialect, without the envelope.
const FRAME: usize = 1024;

/// The least room that is left for a part.
const LEAST: usize = 1024;

/// Longest description of an artifact of which nothing else fits, in bytes.
const WORDS: usize = 256;

/// How lines of a stream are kept short.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    /// Bytes of a line.
    most: usize,
    files: FileForm,
    /// Whether artifacts are put together from several events.
    folds: bool,
}

impl Lines {
    /// Lines as the configuration has them.
    pub(super) fn of(streams: &Streams, answers: AnswerForm) -> Self {
        let folds = answers == AnswerForm::Whole;
        Self { most: streams.line.as_usize(), files: streams.files, folds }
    }

    /// Whether a line of so many bytes is too long.
    pub(super) fn is_too_long(self, size: usize) -> bool {
        size >= self.most
    }

    /// Bytes of an event that fit whatever the dialect.
    pub(super) fn room(self, envelope: usize) -> usize {
        self.most.saturating_sub(envelope + FRAME)
    }

    /// The event as events that fit each, in an envelope of so many bytes.
    pub(super) fn divide(
        self,
        event: StreamResponse,
        seq: u64,
        envelope: usize,
    ) -> Vec<StreamResponse> {
        let seq = (!matches!(event, StreamResponse::Task(_))).then_some(seq);
        let Self { files, folds, .. } = self;
        let division = Division { room: self.room(envelope), files, folds, seq };
        match event {
            StreamResponse::Task(task) => division.divide_task(task),
            StreamResponse::ArtifactUpdate(update) => division.divide_update(update),
            StreamResponse::StatusUpdate(update) => {
                vec![StreamResponse::StatusUpdate(division.shorten_status(update))]
            }
            // It was made to fit.
            StreamResponse::Message(message) => vec![StreamResponse::Message(message)],
        }
    }
}

/// The division of one event.
struct Division {
    /// Bytes of an event.
    room: usize,
    files: FileForm,
    folds: bool,
    /// The number of the event; none where what is in it lies in several.
    seq: Option<u64>,
}

impl Division {
    /// The task without its artifacts and with the newest messages that fit, then its artifacts.
    fn divide_task(&self, mut task: Task) -> Vec<StreamResponse> {
        let artifacts = std::mem::take(&mut task.artifacts);
        let mut history = std::mem::take(&mut task.history);
        if weigh_line(&task) > self.room {
            // The newest message is to fit beside it.
            let status = task.status.clone();
            let status =
                TaskStatusUpdateEvent::new(task.id.clone(), task.context_id.clone(), status);
            let half = Self { room: self.room / 2, ..*self };
            task.status = half.shorten_status(status).status;
        }
        let mut left = self.room.saturating_sub(weigh_line(&task));
        let fits = |message: &&Message| {
            let rest = left.checked_sub(weigh_line(message));
            left = rest.unwrap_or(left);
            rest.is_some()
        };
        let kept = history.iter().rev().take_while(fits).count();
        task.history = history.split_off(history.len() - kept);
        let (id, context) = (task.id.clone(), task.context_id.clone());
        let mut events = vec![StreamResponse::Task(task)];
        for artifact in artifacts {
            let update = TaskArtifactUpdateEvent::new(id.clone(), context.clone(), artifact);
            events.extend(self.divide_update(update));
        }
        events
    }

    /// Updates of one artifact that add up to this one.
    fn divide_update(&self, mut update: TaskArtifactUpdateEvent) -> Vec<StreamResponse> {
        let parts = std::mem::take(&mut update.artifact.parts);
        let mut frame = weigh_line(&update);
        if frame + LEAST > self.room {
            // An agent chooses these.
            let artifact = &mut update.artifact;
            artifact.metadata = None;
            for words in [&mut artifact.name, &mut artifact.description].into_iter().flatten() {
                *words = shorten_text(std::mem::take(words), WORDS);
            }
            frame = weigh_line(&update);
        }
        let room = self.room.saturating_sub(frame).max(LEAST);
        let (mut divided, mut some, mut size) = (Vec::new(), Vec::new(), 0);
        let count = parts.len();
        for (place, part) in parts.into_iter().enumerate() {
            let address = self.address(&update, place, count);
            for part in self.divide_part(part, address, &update, room) {
                let weight = weigh_line(&part);
                if size + weight > room && !some.is_empty() {
                    divided.push(std::mem::take(&mut some));
                    size = 0;
                }
                size += weight;
                some.push(part);
            }
        }
        divided.push(some);
        let count = divided.len();
        let last_chunk = update.last_chunk;
        let next = divided.into_iter().enumerate().map(|(at, parts)| {
            let mut next = update.clone();
            if at > 0 {
                let id = next.artifact.artifact_id;
                next.artifact = Artifact { name: None, ..Artifact::new(id, "", Vec::new()) };
                next.append = true;
            }
            next.artifact.parts = parts;
            next.last_chunk = last_chunk && at + 1 == count;
            StreamResponse::ArtifactUpdate(next)
        });
        next.collect()
    }

    /// The address of one of so many parts; none where it has none of its own.
    fn address(
        &self,
        update: &TaskArtifactUpdateEvent,
        place: usize,
        count: usize,
    ) -> Option<String> {
        let (task, id) = (&update.task_id, &update.artifact.artifact_id);
        match self.seq {
            Some(seq) if count == 1 || !self.folds => Some(address_of_part(task, id, seq, place)),
            None if count == 1 => Some(address_of(task, id)),
            Some(_) | None => None,
        }
    }

    /// Parts that each fit: pieces of a text or a file, or an address.
    fn divide_part(
        &self,
        part: Part,
        address: Option<String>,
        update: &TaskArtifactUpdateEvent,
        room: usize,
    ) -> Vec<Part> {
        if weigh_line(&part) <= room {
            return vec![part];
        }
        let of_all = || address_of(&update.task_id, &update.artifact.artifact_id);
        let count = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        match &part.content {
            PartContent::Text(text) => divide_text(text, &part, room),
            PartContent::Raw(bytes) => match (PieceNumbers::of(&part), address, self.files) {
                // It lay in a larger event than the line takes: the last part stands for the file.
                (Some(numbers), ..) if !numbers.is_last() => Vec::new(),
                (Some(numbers), address, _) => {
                    vec![point_to(&part, address.unwrap_or_else(of_all), numbers.bytes)]
                }
                (None, Some(address), FileForm::Address) => {
                    vec![point_to(&part, address, count(bytes.len()))]
                }
                (None, ..) => divide_file(bytes, &part, room),
            },
            PartContent::Data(data) => {
                let address = address.unwrap_or_else(of_all);
                let mut named = point_to(&part, address, count(data.text().len()));
                named.media_type.get_or_insert_with(|| "application/json".to_owned());
                vec![named]
            }
            PartContent::Url(_) => vec![part],
        }
    }

    /// The update with its texts and data cut until it fits.
    fn shorten_status(&self, mut update: TaskStatusUpdateEvent) -> TaskStatusUpdateEvent {
        let mut most = self.room;
        while weigh_line(&update) > self.room && most > LEAST {
            most = most / 4 * 3;
            let parts = update.status.message.iter_mut().flat_map(|message| &mut message.parts);
            for part in parts {
                part.content =
                    match std::mem::replace(&mut part.content, PartContent::Text(String::new())) {
                        PartContent::Text(text) => PartContent::Text(shorten_text(text, most)),
                        PartContent::Data(data) if measure(&data) > most => {
                            PartContent::Data(shorten_value(data.to_value(), most).into())
                        }
                        other => other,
                    };
            }
        }
        if weigh_line(&update) > self.room {
            update.metadata = None;
        }
        update
    }
}

/// Pieces of a text, each a text part of its own; a reader joins them as they are.
fn divide_text(text: &str, whole: &Part, room: usize) -> Vec<Part> {
    let frame = weigh_line(&Part { content: PartContent::Text(String::new()), ..whole.clone() });
    let room = room.saturating_sub(frame).max(LEAST / 2);
    let (mut pieces, mut begin, mut size) = (Vec::new(), 0, 0);
    for (at, character) in text.char_indices() {
        let width = width_of(character);
        if size + width > room {
            pieces.push(&text[begin..at]);
            (begin, size) = (at, 0);
        }
        size += width;
    }
    pieces.push(&text[begin..]);
    let piece = |piece: &str| Part {
        content: PartContent::Text(piece.to_owned()),
        metadata: None,
        filename: whole.filename.clone(),
        media_type: whole.media_type.clone(),
    };
    pieces.into_iter().map(piece).collect()
}

/// Numbered parts of a file.
fn divide_file(bytes: &[u8], whole: &Part, room: usize) -> Vec<Part> {
    let numbers =
        |piece, pieces| PieceNumbers { piece, pieces, bytes: bytes.len() as u64, appends: false };
    let piece = |bytes: &[u8], piece, pieces| Part {
        content: PartContent::Raw(bytes.to_vec()),
        metadata: Some(numbers(piece, pieces).to_metadata().into()),
        filename: whole.filename.clone(),
        media_type: whole.media_type.clone(),
    };
    let frame = weigh_line(&piece(b"", u64::MAX, u64::MAX));
    let longest = room.saturating_sub(frame).max(LEAST / 2) / 4 * 3;
    let chunks = bytes.chunks(longest);
    let count = chunks.len() as u64;
    chunks.zip(1..).map(|(bytes, at)| piece(bytes, at, count)).collect()
}

/// Bytes of a character in a line.
fn width_of(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' | '\u{85}' | '\u{2028}' | '\u{2029}' => 6,
        other => other.len_utf8(),
    }
}

/// What a value takes in a line at most, in whichever dialect.
fn weigh_line(value: &impl serde::Serialize) -> usize {
    struct Escapes(usize, [u8; 2]);
    impl std::io::Write for Escapes {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            for byte in bytes {
                match (self.1, byte) {
                    ([_, 0xc2], 0x85) => self.0 += 4,
                    ([0xe2, 0x80], 0xa8 | 0xa9) => self.0 += 3,
                    _ => {}
                }
                self.1 = [self.1[1], *byte];
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut escapes = Escapes(0, [0; 2]);
    match serde_json::to_writer(&mut escapes, value) {
        Ok(()) => weigh(value).saturating_add(escapes.0),
        Err(_) => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::dialect::Dialect;
    use pilothouse_a2a::sse;
    use pilothouse_a2a::task::{TaskState, TaskStatus};
    use serde_json::json;

    const MOST: usize = 8 * 1024;

    fn lines(files: FileForm) -> Lines {
        Lines { most: MOST, files, folds: false }
    }

    fn update(parts: Vec<Part>) -> StreamResponse {
        let artifact = Artifact::new("a".into(), "name", parts);
        let mut update = TaskArtifactUpdateEvent::new("t".into(), "c".into(), artifact);
        update.last_chunk = true;
        StreamResponse::ArtifactUpdate(update)
    }

    /// The longest line of these events, in any dialect.
    fn longest(events: &[StreamResponse]) -> usize {
        let dialects = [Dialect::V1_0, Dialect::V0_3, Dialect::V0_1];
        let encoded = dialects.iter().flat_map(|dialect| {
            events.iter().filter_map(|event| dialect.encode_event(event, Some("alias")))
        });
        encoded.map(|event| sse::frame(None, event).len()).max().unwrap()
    }

    fn artifact_of(events: &[StreamResponse]) -> Artifact {
        let mut task = Task::new("t".into(), "c".into(), TaskStatus::now(TaskState::Working));
        events.iter().for_each(|event| task.apply(event));
        task.artifacts.remove(0)
    }

    #[test]
    fn pieces_of_a_text_fit_in_every_dialect_and_add_up_to_it() {
        let text = "\u{1}\u{2028}\u{85}\"é".repeat(5000);
        let parts = vec![Part::text("first").named("x"), Part::text(text)];
        let events = lines(FileForm::Address).divide(update(parts.clone()), 1, 100);
        assert!(longest(&events) < MOST, "{}", longest(&events));
        assert_eq!(artifact_of(&events).parts, parts);
        let last: Vec<_> = events.iter().filter(|event| matches!(event, StreamResponse::ArtifactUpdate(update) if update.last_chunk)).collect();
        assert_eq!(last, [events.last().unwrap()]);
    }

    #[test]
    fn a_file_comes_by_its_address_or_in_numbered_parts() {
        let bytes = vec![7; 20_000];
        let parts =
            vec![Part::text("first"), Part::raw(bytes.clone()).named("f").typed("image/png")];
        let event = update(parts);
        let events = lines(FileForm::Address).divide(event.clone(), 5, 100);
        let text = serde_json::to_string(&artifact_of(&events).parts[1]).unwrap();
        insta::assert_snapshot!(text, @r#"{"url":"/api/v1/tasks/t/artifacts/a?event=5&part=1","metadata":{"bytes":20000},"filename":"f","mediaType":"image/png"}"#);
        let events = lines(FileForm::Pieces).divide(event, 5, 100);
        assert!(longest(&events) < MOST);
        let parts = artifact_of(&events).parts;
        let numbers: Vec<_> = parts.iter().filter_map(PieceNumbers::of).collect();
        assert_eq!(
            numbers.iter().map(|it| it.piece).collect::<Vec<_>>(),
            (1..=numbers.last().unwrap().pieces).collect::<Vec<_>>()
        );
        let joined: Vec<u8> = parts
            .into_iter()
            .flat_map(|part| match part.content {
                PartContent::Raw(bytes) => bytes,
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(joined, bytes);
    }

    #[test]
    fn a_part_without_an_address_of_its_own_comes_in_numbered_parts() {
        let parts = vec![Part::raw(vec![1; 20_000]), Part::raw(vec![2; 20_000])];
        let event = update(parts.clone());
        let folded = Lines { folds: true, ..lines(FileForm::Address) };
        let mut task = Task::new("t".into(), "c".into(), TaskStatus::now(TaskState::Working));
        task.apply(&event);
        for (lines, event) in
            [(folded, event.clone()), (lines(FileForm::Address), StreamResponse::Task(task))]
        {
            let events = lines.divide(event, 5, 0);
            assert!(longest(&events) < MOST);
            let mut found = artifact_of(&events).parts;
            crate::task::pieces::join_pieces(&mut found);
            assert_eq!(found, parts);
        }
        let stored = artifact_of(&lines(FileForm::Address).divide(event, 5, 0));
        let is_address = |part: &Part| matches!(part.content, PartContent::Url(_));
        assert!(stored.parts.iter().all(is_address));
    }

    #[test]
    fn what_cannot_be_divided_is_cut_or_comes_by_its_address() {
        let data = json!({"text": "x".repeat(20_000), "list": vec![1; 9000]});
        let mut message = Message::new(
            pilothouse_a2a::message::Role::Agent,
            vec![Part::text("words ".repeat(4000)), Part::data(data.clone())],
        );
        message.task_id = Some("t".into());
        let status =
            TaskStatus { message: Some(message.clone()), ..TaskStatus::now(TaskState::Working) };
        let event = TaskStatusUpdateEvent::new("t".into(), "c".into(), status.clone());
        let events = lines(FileForm::Address).divide(StreamResponse::StatusUpdate(event), 1, 100);
        assert!(longest(&events) < MOST);
        let events = lines(FileForm::Address).divide(update(vec![Part::data(data)]), 1, 100);
        assert!(matches!(artifact_of(&events).parts[0].content, PartContent::Url(_)));
        let mut task = Task::new("t".into(), "c".into(), status);
        task.history = vec![message.clone(), message, Message::user_text("last")];
        task.artifacts = vec![artifact_of(&events)];
        let events = lines(FileForm::Address).divide(StreamResponse::Task(task), 1, 100);
        assert!(longest(&events) < MOST);
        let StreamResponse::Task(task) = &events[0] else { panic!("{events:?}") };
        assert_eq!(task.history.last().unwrap().text_content(), "last");
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn an_artifact_of_which_nothing_fits_keeps_the_beginning_of_its_words() {
        let mut artifact = Artifact::new("a".into(), "n".repeat(50_000), vec![Part::text("text")]);
        artifact.description = Some("d".repeat(50_000));
        let update = TaskArtifactUpdateEvent::new("t".into(), "c".into(), artifact);
        let events = lines(FileForm::Address).divide(StreamResponse::ArtifactUpdate(update), 1, 0);
        assert!(longest(&events) < MOST);
        assert_eq!(artifact_of(&events).parts, [Part::text("text")]);
    }
}

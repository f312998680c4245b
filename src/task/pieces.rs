//! Files that are larger than one event. In the log they lie in numbered parts of one artifact, in events of their own;
//! readers are given the whole, or its address.

use crate::store::{Event, Kind};
use memchr::memmem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::id::{ArtifactId, TaskId};
use pilothouse_a2a::message::{Part, PartContent};
use serde_json::{Map, Value};

/// Bytes at the end of an event in which the numbers of its part stand.
const TAIL: usize = 8 * 1024;

/// Stands there in no event but those of numbered parts, and those with data that only looks like it.
const NUMBERED: &[u8] = b"\"pieces\":";

/// What is escaped in a name of an address.
const IN_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Which part of a file a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceNumbers {
    /// The number of the part, from 1.
    pub piece: u64,
    /// How many there are.
    pub pieces: u64,
    /// The bytes of the whole.
    pub bytes: u64,
    /// Whether the whole is added to an artifact that has content already.
    pub appends: bool,
}

impl PieceNumbers {
    /// The numbers of a part, where it has any.
    pub fn of(part: &Part) -> Option<Self> {
        let PartContent::Raw(_) = &part.content else { return None };
        let metadata = part.metadata.as_ref()?;
        let number = |name: &str| metadata.get(name)?.as_u64().filter(|number| *number > 0);
        Some(Self {
            piece: number("piece")?,
            pieces: number("pieces")?,
            bytes: number("bytes")?,
            appends: metadata.get("appends") == Some(Value::Bool(true)),
        })
    }

    /// The metadata of the part.
    pub fn to_metadata(self) -> Map<String, Value> {
        let numbers = [("piece", self.piece), ("pieces", self.pieces), ("bytes", self.bytes)];
        let mut metadata: Map<_, _> =
            numbers.map(|(name, number)| (name.to_owned(), number.into())).into_iter().collect();
        if self.appends {
            metadata.insert("appends".to_owned(), true.into());
        }
        metadata
    }

    /// The metadata of the whole.
    pub fn to_size(self) -> Map<String, Value> {
        Map::from_iter([("bytes".to_owned(), self.bytes.into())])
    }

    /// Whether it is the last part.
    pub fn is_last(self) -> bool {
        self.piece == self.pieces
    }
}

/// Joins the numbered parts of each file among these parts; those that are not complete stay as they are.
pub fn join_pieces(parts: &mut Vec<Part>) {
    let mut at = 0;
    while at < parts.len() {
        if let Some(count) = count_whole(&parts[at..]) {
            let rest: Vec<_> = parts.drain(at + 1..at + count).collect();
            let first = &mut parts[at];
            first.metadata = None;
            if let PartContent::Raw(whole) = &mut first.content {
                rest.iter().for_each(|part| whole.extend_from_slice(raw_of(part)));
            }
        }
        at += 1;
    }
}

/// How many numbered parts make the file with which these parts begin; none where it is not complete.
fn count_whole(parts: &[Part]) -> Option<usize> {
    let first = PieceNumbers::of(parts.first()?).filter(|numbers| numbers.piece == 1)?;
    let count = usize::try_from(first.pieces).ok().filter(|count| *count <= parts.len())?;
    let expected = (1..).map(|piece| Some(PieceNumbers { piece, ..first }));
    let found = parts[..count].iter().map(PieceNumbers::of);
    found.zip(expected).all(|(found, expected)| found == expected).then_some(count)
}

fn raw_of(part: &Part) -> &[u8] {
    match &part.content {
        PartContent::Raw(bytes) => bytes,
        PartContent::Text(_) | PartContent::Url(_) | PartContent::Data(_) => &[],
    }
}

/// The address of an artifact of a task.
pub fn address_of(task: &TaskId, artifact: &ArtifactId) -> String {
    let artifact = percent_encode(artifact.as_str().as_bytes(), IN_NAMES);
    format!("/api/v1/tasks/{task}/artifacts/{artifact}")
}

/// The address of a part of one update of an artifact; of numbered parts, where it is the last one, that of the whole.
pub fn address_of_part(task: &TaskId, artifact: &ArtifactId, seq: u64, part: usize) -> String {
    format!("{}?event={seq}&part={part}", address_of(task, artifact))
}

/// The part with an address in the place of its content.
pub fn point_to(part: &Part, url: String, bytes: u64) -> Part {
    let size = Map::from_iter([("bytes".to_owned(), bytes.into())]);
    Part {
        content: PartContent::Url(url),
        metadata: Some(size.into()),
        filename: part.filename.clone(),
        media_type: part.media_type.clone(),
    }
}

/// What of an event a reader is shown who gets the addresses of files that lie in several events.
pub enum Addressed {
    /// The event, which has no numbered part.
    AsItIs,
    /// Nothing: it has a numbered part before the last one.
    Hidden,
    /// The event with the address of the file, of which it has the last part.
    Address(Event),
}

/// Gives an event of a file that lies in several the address of the whole.
pub fn address_file(event: &Event) -> Addressed {
    if event.kind != Kind::Artifact {
        return Addressed::AsItIs;
    }
    let tail = &event.body[event.body.len().saturating_sub(TAIL)..];
    if memmem::find(tail, NUMBERED).is_none() {
        return Addressed::AsItIs;
    }
    let Ok(StreamResponse::ArtifactUpdate(mut update)) = serde_json::from_slice(&event.body) else {
        return Addressed::AsItIs;
    };
    let [part] = update.artifact.parts.as_mut_slice() else { return Addressed::AsItIs };
    let Some(numbers) = PieceNumbers::of(part) else { return Addressed::AsItIs };
    if !numbers.is_last() {
        return Addressed::Hidden;
    }
    let url = address_of_part(&update.task_id, &update.artifact.artifact_id, event.seq, 0);
    *part = point_to(part, url, numbers.bytes);
    update.append = numbers.appends;
    let body = super::encode(&StreamResponse::ArtifactUpdate(update));
    Addressed::Address(Event { body, ..event.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::event::TaskArtifactUpdateEvent;
    use pilothouse_a2a::task::Artifact;

    fn piece(piece: u64, pieces: u64, bytes: &[u8]) -> Part {
        let numbers = PieceNumbers { piece, pieces, bytes: 9, appends: false };
        Part { metadata: Some(numbers.to_metadata().into()), ..Part::raw(bytes).named("a.bin") }
    }

    fn event(parts: Vec<Part>) -> Event {
        let artifact = Artifact::new("a/b".into(), "a", parts);
        let mut update = TaskArtifactUpdateEvent::new("t".into(), "c".into(), artifact);
        update.append = true;
        let body = super::super::encode(&StreamResponse::ArtifactUpdate(update));
        Event { seq: 7, kind: Kind::Artifact, body }
    }

    #[test]
    fn numbered_parts_become_one_file_and_incomplete_ones_stay() {
        let other = Part::raw(b"other");
        let mut parts = vec![
            other.clone(),
            piece(1, 3, b"abc"),
            piece(2, 3, b"def"),
            piece(3, 3, b"ghi"),
            piece(1, 2, b"x"),
            other.clone(),
        ];
        join_pieces(&mut parts);
        let whole = Part::raw(b"abcdefghi").named("a.bin");
        assert_eq!(parts, [other.clone(), whole, piece(1, 2, b"x"), other]);
    }

    #[test]
    fn the_last_part_of_a_file_becomes_the_address_of_the_whole() {
        assert!(matches!(address_file(&event(vec![piece(1, 2, b"a")])), Addressed::Hidden));
        let Addressed::Address(event) = address_file(&event(vec![piece(2, 2, b"b")])) else {
            panic!("no address")
        };
        let update = serde_json::from_slice::<Value>(&event.body).unwrap();
        insta::assert_snapshot!(update["artifactUpdate"], @r#"{"taskId":"t","contextId":"c","artifact":{"artifactId":"a/b","name":"a","parts":[{"url":"/api/v1/tasks/t/artifacts/a%2Fb?event=7&part=0","metadata":{"bytes":9},"filename":"a.bin"}]}}"#);
    }

    #[test]
    fn what_only_looks_like_a_numbered_part_is_shown_as_it_is() {
        let data = Part::data(serde_json::json!({"piece": 1, "pieces": 2}));
        for part in [Part::text("\"pieces\":"), data, Part::raw(b"x")] {
            assert!(matches!(address_file(&event(vec![part])), Addressed::AsItIs));
        }
    }
}

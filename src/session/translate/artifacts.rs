//! Artifacts of a turn: those that agents give, and files that tools have produced.

use super::{Translator, bounded, decode_base64, named, one_line};
use pilothouse_a2a::id::ArtifactId;
use pilothouse_a2a::message::{Part, PartContent};
use pilothouse_a2a::task::Artifact;
use pilothouse_agents::event::{self, Content};
use pilothouse_agents::lines::is_shortened;
use serde_json::{Map, Value, json};

/// Bytes of a file's event beside its bytes and its name, about.
const FRAME: usize = 1024;

impl Translator {
    /// An artifact of the agent's; text and files come in as many updates as they need.
    pub(super) fn artifact(&mut self, artifact: event::Artifact) {
        self.flush();
        let event::Artifact { id, name, description, content, append, last } = artifact;
        let prefix = &self.log.id;
        let id = match (id, &name) {
            (Some(id), _) => ArtifactId::new(format!("{prefix}-artifact-{id}")),
            (None, Some(name)) => ArtifactId::new(format!("{prefix}-artifact-{name}")),
            (None, None) => ArtifactId::random(),
        };
        let part = match content {
            Content::Text(text) => {
                self.report_cut(&text);
                return self.text_artifact(id, name, description, &text, append, last);
            }
            Content::Raw { base64, .. } if is_shortened(&base64) => {
                let reason = "is larger than what is kept of a line (`limits.line`)";
                return self.leave_out(name.as_deref(), reason);
            }
            Content::Raw { base64, filename, media_type } => match decode_base64(&base64) {
                Some(bytes) => {
                    Part { content: PartContent::Raw(bytes), metadata: None, filename, media_type }
                }
                None => return self.leave_out(name.as_deref(), "is not valid base64"),
            },
            Content::Url { url, filename, media_type } => {
                Part { content: PartContent::Url(url), metadata: None, filename, media_type }
            }
            Content::Data(data) => Part::data(data),
        };
        // A file has an event for itself, or several.
        let size = bounded::size(&part);
        match &part.content {
            PartContent::Raw(bytes) if size > 2 * self.data_limit() => {
                let pieces = self.pieces_of(bytes, &part);
                return self.file_artifact((id, name, description), pieces, append, last);
            }
            PartContent::Raw(_) => {}
            PartContent::Text(_) | PartContent::Url(_) | PartContent::Data(_) => {
                if size > self.data_limit() {
                    let reason = "is larger than one event may be (`limits.event`)";
                    return self.leave_out(name.as_deref(), reason);
                }
            }
        }
        let made = named(Artifact::new(id, String::new(), vec![part]), name, description);
        self.push_artifact(made, append, last);
    }

    /// A file of a tool becomes an artifact of its own, as long as those of the turn have room.
    pub(super) fn tool_file(&mut self, call: &str, base64: String, media_type: Option<String>) {
        self.tool_files += 1;
        let kind = media_type.as_deref().and_then(|kind| kind.split(['/', '+', ';']).nth(1));
        let end = kind.map(|kind| format!(".{kind}")).unwrap_or_default();
        let name = format!("{}-{}{end}", one_line(call), self.tool_files);
        let size = base64.len();
        if !is_shortened(&base64) {
            if size > self.tool_file_room {
                return self.leave_out(
                    Some(&name),
                    "has no room among those of the turn (`limits.tool_files`)",
                );
            }
            self.tool_file_room -= size;
        }
        let content = Content::Raw { base64, filename: Some(name.clone()), media_type };
        let description = Some(format!("a file that the tool call {} produced", one_line(call)));
        let (id, name) = (None, Some(name));
        let file = event::Artifact { id, name, description, content, append: false, last: true };
        self.artifact(file);
    }

    /// A file in pieces that have an event each. Each says which one it is, so that whoever reads them can put them
    /// together.
    fn pieces_of(&self, bytes: &[u8], whole: &Part) -> Vec<Part> {
        // Of three bytes each four characters are made, and a frame stands around them.
        let longest = (2 * self.data_limit()).saturating_sub(FRAME) / 4 * 3;
        let pieces = bytes.chunks(longest.max(3));
        let count = pieces.len();
        let numbers = |at: usize| -> Map<String, Value> {
            let numbers = [("piece", at + 1), ("pieces", count), ("bytes", bytes.len())];
            numbers.map(|(name, number)| (name.to_owned(), number.into())).into_iter().collect()
        };
        let piece = |(at, piece): (usize, &[u8])| Part {
            content: PartContent::Raw(piece.to_vec()),
            metadata: Some(numbers(at).into()),
            filename: whole.filename.clone(),
            media_type: whole.media_type.clone(),
        };
        pieces.enumerate().map(piece).collect()
    }

    fn file_artifact(
        &mut self,
        (id, name, description): (ArtifactId, Option<String>, Option<String>),
        pieces: Vec<Part>,
        append: bool,
        last: bool,
    ) {
        let count = pieces.len();
        for (at, piece) in pieces.into_iter().enumerate() {
            let made = Artifact::new(id.clone(), String::new(), vec![piece]);
            let made = named(made, name.clone(), description.clone());
            self.push_artifact(made, append || at > 0, last && at + 1 == count);
        }
    }

    /// Text comes in as many updates as it needs.
    fn text_artifact(
        &mut self,
        id: ArtifactId,
        name: Option<String>,
        description: Option<String>,
        text: &str,
        mut append: bool,
        last: bool,
    ) {
        let mut rest = text;
        loop {
            let most = self.piece_limit().min(rest.len());
            let (piece, more) = rest.split_at(rest.floor_char_boundary(most));
            let made = Artifact::new(id.clone(), String::new(), vec![Part::text(piece)]);
            let made = named(made, name.clone(), description.clone());
            self.push_artifact(made, append, last && more.is_empty());
            if more.is_empty() {
                return;
            }
            (append, rest) = (true, more);
        }
    }

    fn leave_out(&mut self, name: Option<&str>, reason: &str) {
        let name = name.unwrap_or("without a name");
        let data = json!({"kind": "left-out", "name": name});
        self.status(&format!("the artifact {name} {reason} and is left out"), Some(data));
    }
}

//! Artifacts of a turn: those that agents give, and files that tools have produced.

use super::{Translator, bounded, decode_base64, named, one_line};
use crate::task::pieces::PieceNumbers;
use pilothouse_a2a::id::ArtifactId;
use pilothouse_a2a::message::{Part, PartContent};
use pilothouse_a2a::task::Artifact;
use pilothouse_agents::event::{self, Content};
use pilothouse_agents::lines::is_shortened;
use serde_json::{Value, json};

/// Bytes of a file's event beside its bytes and its name, about.
const FRAME: usize = 2048;

/// Longest address of a file, in bytes.
const LONGEST_URL: usize = 8 * 1024;

/// Longest name and longest media type of a file, in bytes.
const LONGEST_NAME: usize = 512;

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
                Some(bytes) => Part {
                    content: PartContent::Raw(bytes),
                    metadata: None,
                    filename: filename.map(bound_name),
                    media_type: media_type.map(bound_name),
                },
                None => return self.leave_out(name.as_deref(), "is not valid base64"),
            },
            Content::Url { url, .. } if url.len() > LONGEST_URL => {
                let reason = "has a longer address than 8 KiB; a file itself goes in `raw`";
                return self.leave_out(name.as_deref(), reason);
            }
            Content::Url { url, filename, media_type } => {
                Part { content: PartContent::Url(url), metadata: None, filename, media_type }
            }
            Content::Data(data) => self.data_part(data, name.as_deref()),
        };
        // A file has an event for itself, or several.
        if let PartContent::Raw(bytes) = &part.content
            && bounded::size(&part) > 2 * self.data_limit()
        {
            let pieces = self.pieces_of(bytes, &part, append);
            return self.file_artifact((id, name, description), pieces, append, last);
        }
        let made = named(Artifact::new(id, String::new(), vec![part]), name, description);
        self.push_artifact(made, append, last);
    }

    /// Data that is larger than one event becomes a file.
    fn data_part(&self, data: Value, name: Option<&str>) -> Part {
        let part = Part::data(data);
        if bounded::size(&part) <= self.data_limit() {
            return part;
        }
        let PartContent::Data(data) = part.content else { return part };
        let name = bound_name(format!("{}.json", name.unwrap_or("data")));
        Part::raw(data.text()).named(name).typed("application/json")
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
    fn pieces_of(&self, bytes: &[u8], whole: &Part, appends: bool) -> Vec<Part> {
        // Of three bytes each four characters are made, and a frame stands around them.
        let frame = FRAME + 2 * bounded::size(&(&whole.filename, &whole.media_type));
        let longest = (2 * self.data_limit()).min(self.line_limit).saturating_sub(frame) / 4 * 3;
        let pieces = bytes.chunks(longest.max(3));
        let (count, size) = (pieces.len() as u64, bytes.len() as u64);
        let piece = |(bytes, piece): (&[u8], u64)| Part {
            content: PartContent::Raw(bytes.to_vec()),
            metadata: Some(
                PieceNumbers { piece, pieces: count, bytes: size, appends }.to_metadata().into(),
            ),
            filename: whole.filename.clone(),
            media_type: whole.media_type.clone(),
        };
        pieces.zip(1..).map(piece).collect()
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

fn bound_name(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(LONGEST_NAME));
    name
}

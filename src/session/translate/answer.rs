//! The answer of a turn on its way to records: its text becomes pieces, the last of which says so.

use super::{ANSWER, COMPARED, Translator, answer_id};
use pilothouse_a2a::id::ArtifactId;
use pilothouse_a2a::message::Part;
use pilothouse_a2a::task::Artifact;
use serde_json::json;
use std::time::{Duration, Instant};

/// The clock of the pieces of one answer.
pub(super) struct Gather {
    /// How long pieces are gathered; nothing is where this is no time.
    window: Duration,
    /// Until when what was said since the last piece is gathered.
    until: Option<Instant>,
    /// Whether nothing can follow but the end of the turn.
    is_last: bool,
}

impl Gather {
    pub(super) fn new(window: Duration) -> Self {
        Self { window, until: None, is_last: false }
    }

    /// A piece becomes an event now.
    pub(super) fn note_piece(&mut self) {
        if !self.window.is_zero() {
            self.until = Some(Instant::now() + self.window);
        }
    }

    /// What was said last waits a moment for the end of the turn, to be one event and one write with it.
    fn note_last(&mut self) {
        if !std::mem::replace(&mut self.is_last, true) {
            self.note_piece();
        }
    }

    /// Until when this text is gathered further; it is due where there is no such time.
    pub(super) fn wait(&self, text: &str) -> Option<Instant> {
        let may_wait = self.is_last || !text.contains('\n');
        self.until.filter(|until| may_wait && Instant::now() < *until)
    }
}

impl Translator {
    pub(super) fn take_text(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        self.flush_thought();
        if std::mem::take(&mut self.new_paragraph) && self.streamed_bytes > 0 {
            self.push_text("\n\n");
        }
        self.push_text(&text);
    }

    pub(super) fn push_text(&mut self, mut text: &str) {
        self.streamed_bytes += text.len();
        if let Some(streamed) = &mut self.streamed
            && streamed.len() < COMPARED
        {
            streamed.push_str(text);
        }
        let piece = self.piece_limit();
        while self.text.len() + text.len() > piece {
            let cut = text.floor_char_boundary(piece - self.text.len());
            self.text.push_str(&text[..cut]);
            text = &text[cut..];
            self.flush_text();
        }
        self.text.push_str(text);
    }

    /// The agent says nothing more: its process is about to end.
    pub(in crate::session) fn note_last(&mut self) {
        self.gather.note_last();
    }

    /// Until when the text that has gathered may gather further.
    pub(in crate::session) fn gathers_until(&self) -> Option<Instant> {
        (!self.text.is_empty()).then(|| self.gather.wait(&self.text)).flatten()
    }

    pub(super) fn flush_text(&mut self) {
        self.flush_piece(false);
    }

    fn flush_piece(&mut self, last: bool) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            let append = std::mem::replace(&mut self.answer_begun, true);
            self.answer(text, append, last);
        }
    }

    /// What is left of the answer is its last piece, and nothing more of any artifact comes.
    pub(super) fn close_artifacts(&mut self) {
        self.flush_piece(true);
        for id in std::mem::take(&mut self.unfinished) {
            let artifact = Artifact { name: None, ..Artifact::new(id, "", vec![Part::text("")]) };
            let update = self.artifact_update(artifact, true, true);
            self.out.push(update);
        }
    }

    /// Notes whether more of an artifact may come.
    pub(super) fn note_piece(&mut self, id: &ArtifactId, last: bool) {
        match self.unfinished.iter().position(|known| known == id) {
            Some(at) if last => drop(self.unfinished.swap_remove(at)),
            None if !last => self.unfinished.push(id.clone()),
            Some(_) | None => {}
        }
    }

    fn answer(&mut self, text: String, append: bool, last: bool) {
        let mut artifact = Artifact::new(answer_id(&self.log.id), ANSWER, vec![Part::text(text)]);
        if append {
            artifact.name = None;
        }
        self.note_piece(&artifact.artifact_id, last);
        self.pieces += 1;
        self.gather.note_piece();
        let update = self.artifact_update(artifact, append, last);
        self.out.push(update);
    }

    /// Where the CLI's own answer is not what streamed, it replaces that; the narration stays as data.
    pub(in crate::session) fn replace_if_different(&mut self, answer: &str) {
        let same = self.streamed.as_deref().is_some_and(|streamed| {
            streamed == answer
                || (self.streamed_bytes > streamed.len() && self.streamed_bytes == answer.len())
        });
        if same || (answer.is_empty() && !self.answer_begun && self.text.is_empty()) {
            return;
        }
        self.flush();
        if self.answer_begun
            && let Some(narration) = self.streamed.take()
        {
            self.status(
                "the narration of this turn",
                Some(json!({"kind": "narration", "text": narration})),
            );
        }
        let mut append = false;
        let mut rest = answer;
        loop {
            let cut = rest.floor_char_boundary(self.piece_limit().min(rest.len()));
            let (piece, more) = rest.split_at(cut);
            self.answer(piece.to_owned(), append, more.is_empty());
            if more.is_empty() {
                return;
            }
            (append, rest) = (true, more);
        }
    }
}

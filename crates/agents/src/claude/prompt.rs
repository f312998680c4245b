//! What is written to Claude Code: prompts, answers to its requests, and the guard against commands.

use crate::{Step, Turn};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Media types of images that the model reads; others stay files.
pub const IMAGE_TYPES: &[&str] = &["image/png", "image/jpeg", "image/gif", "image/webp"];

/// An id for the message of a turn, in the form of a UUID (version 8: of our own making). `salt`
/// tells apart equal messages of one conversation.
pub(super) fn message_uuid(turn: &Turn, salt: impl Hash) -> String {
    let half = |part: u8| {
        let mut hasher = DefaultHasher::new();
        (part, &turn.task_id, &turn.message_id, &turn.text, &salt).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    let bits = (half(0) << 64) | half(1);
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x8 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The content of a user message: plain text, or blocks where there are images.
pub(super) fn content(turn: &Turn) -> Value {
    let text = match &turn.command {
        Some(command) => format!("/{command} {}", turn.text).trim_end().to_owned(),
        None => guarded(&turn.text),
    };
    let mut blocks: Vec<Value> = images(turn)
        .map(|(media_type, data)| {
            json!({ "type": "image", "source": { "type": "base64", "media_type": media_type, "data": data } })
        })
        .collect();
    if blocks.is_empty() {
        return Value::String(text);
    }
    if !text.trim().is_empty() {
        // The CLI looks for a command in the last block.
        let place = if turn.command.is_some() { blocks.len() } else { 0 };
        blocks.insert(place, json!({ "type": "text", "text": text }));
    }
    Value::Array(blocks)
}

/// Whether there is an image that the model reads.
pub(super) fn has_images(turn: &Turn) -> bool {
    images(turn).next().is_some()
}

fn images(turn: &Turn) -> impl Iterator<Item = &(String, String)> {
    turn.images.iter().filter(|(media_type, _)| IMAGE_TYPES.contains(&media_type.as_str()))
}

/// The text with a newline before a leading slash: then the CLI takes it for words, not a command.
///
/// Claude Code 2.1.329 looks at the very first character only. What a reader does not see before the slash is
/// passed over here, in case that another version trims it.
fn guarded(text: &str) -> String {
    let is_visible = |c: char| c.is_ascii_graphic() || c.is_alphanumeric();
    if text.trim_start_matches(|c| !is_visible(c)).starts_with('/') {
        format!("\n{text}")
    } else {
        text.to_owned()
    }
}

/// A message as a line on standard input.
pub(super) fn write(message: &Value) -> Step {
    Step::Write(format!("{message}\n").into_bytes())
}

/// The answer to a control request.
pub(super) fn respond(request: &str, response: &Value) -> Step {
    write(&json!({
        "type": "control_response",
        "response": { "subtype": "success", "request_id": request, "response": response },
    }))
}

/// A refusal of a control request that we do not serve.
pub(super) fn refuse(request: &str, error: &str) -> Step {
    write(&json!({
        "type": "control_response",
        "response": { "subtype": "error", "request_id": request, "error": error },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(text: &str) -> Turn {
        Turn { text: text.to_owned(), ..Turn::default() }
    }

    #[test]
    fn a_leading_slash_never_runs_a_command() {
        for (text, sent) in [
            ("/cost", "\n/cost"),
            (" \u{feff}/cost", "\n \u{feff}/cost"),
            ("\u{200b}\u{e0020}\0/cost", "\n\u{200b}\u{e0020}\0/cost"),
            ("a /b", "a /b"),
        ] {
            assert_eq!(content(&turn(text)), sent);
        }
    }

    #[test]
    fn images_are_blocks_behind_the_text_and_other_files_are_left_out() {
        let image = |kind: &str| (kind.to_owned(), "AA==".to_owned());
        let images = vec![image("image/png"), image("image/tiff")];
        let source = json!({ "type": "base64", "media_type": "image/png", "data": "AA==" });
        let expected =
            json!([{ "type": "text", "text": "\n/look" }, { "type": "image", "source": source }]);
        assert_eq!(content(&Turn { images, ..turn("/look") }), expected);
    }

    #[test]
    fn a_command_comes_last_with_its_arguments() {
        let command = |text: &str| Turn { command: Some("review".to_owned()), ..turn(text) };
        assert_eq!(content(&command("the\n/diff")), "/review the\n/diff");
        assert_eq!(content(&command("")), "/review");
        let images = vec![("image/png".to_owned(), "AA==".to_owned())];
        let blocks = content(&Turn { images, ..command("this") });
        assert_eq!(blocks[1], json!({ "type": "text", "text": "/review this" }));
    }

    #[test]
    fn message_ids_are_uuids_and_differ() {
        let (first, second) = (message_uuid(&turn("same"), 1), message_uuid(&turn("same"), 2));
        assert_ne!(first, second);
        assert_eq!(first.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!((&first[14..15], "89ab".contains(&first[19..20])), ("8", true));
    }
}

//! The prompt of a turn as content blocks, and the guard against an agent's own commands.

use crate::Turn;
use serde_json::{Value, json};

/// Not white space for any agent that trims, and not a letter for any model that reads.
const ZERO_WIDTH_SPACE: char = '\u{200b}';

/// The blocks of a prompt: the text, then the images.
pub(super) fn blocks(turn: &Turn) -> Value {
    let text = (!turn.text.trim().is_empty() || turn.images.is_empty())
        .then(|| json!({ "type": "text", "text": guarded(&turn.text) }));
    let images = turn
        .images
        .iter()
        .map(|(media_type, data)| json!({ "type": "image", "mimeType": media_type, "data": data }));
    text.into_iter().chain(images).collect()
}

/// The text with a zero-width space before a leading slash: then it is words, not a command.
fn guarded(text: &str) -> String {
    let invisible = |c: char| c.is_whitespace() || c == '\u{feff}';
    if text.trim_start_matches(invisible).starts_with('/') {
        format!("{ZERO_WIDTH_SPACE}{text}")
    } else {
        text.to_owned()
    }
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
            ("/status", "\u{200b}/status"),
            (" \u{feff}/status", "\u{200b} \u{feff}/status"),
            ("a /b", "a /b"),
        ] {
            assert_eq!(blocks(&turn(text))[0]["text"], sent);
        }
    }

    #[test]
    fn images_are_blocks_behind_the_text() {
        let prompt =
            Turn { images: vec![("image/png".to_owned(), "AA==".to_owned())], ..turn("look") };
        let image = json!({ "type": "image", "mimeType": "image/png", "data": "AA==" });
        assert_eq!(blocks(&prompt), json!([{ "type": "text", "text": "look" }, image]));
        let alone = Turn { text: String::new(), ..prompt };
        assert_eq!(blocks(&alone), json!([image]));
    }
}

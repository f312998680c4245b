//! What a caller says beside the words of a message, for programs: who calls, with what metadata, and what is wanted.

use crate::agent::Agent;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::message::{Message, Part, PartContent};
use serde_json::json;

/// Bytes of this description at most: the environment of a process holds no longer variable.
const MOST: usize = 64 * 1024;

/// What came beside the words, as JSON. Metadata that is too long is left out, and `cut` says so.
pub(super) fn describe(caller: &str, message: &Message, modes: &[String]) -> String {
    let mut told = json!({"caller": caller});
    let lists = [
        ("extensions", json!(message.extensions)),
        ("referenceTaskIds", json!(message.reference_task_ids)),
        ("acceptedOutputModes", json!(modes)),
    ];
    for (name, list) in lists {
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            told[name] = list;
        }
    }
    if let Some(metadata) = &message.metadata {
        told["metadata"] = metadata.to_map().into();
    }
    let text = told.to_string();
    if text.len() <= MOST {
        return text;
    }
    json!({"caller": caller, "cut": true}).to_string()
}

/// Refuses a message whose sender takes nothing that the agent gives (specification 3.2.2).
pub(super) fn check_modes(agent: &Agent, wanted: &[String]) -> Result<(), Error> {
    let given = &agent.config.output_modes;
    let fits = |wanted: &String| given.iter().any(|given| is_same_type(wanted, given));
    if wanted.is_empty() || given.is_empty() || wanted.iter().any(fits) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ContentTypeNotSupported,
        format!(
            "this agent gives {}, and `acceptedOutputModes` names none of these",
            given.join(", ")
        ),
    ))
}

/// Whether two media types, or words of older clients for them, may mean the same; `*` stands for any.
fn is_same_type(wanted: &str, given: &str) -> bool {
    let parts = |text: &str| {
        let plain = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        plain.split_once('/').map(|(kind, rest)| (kind.to_owned(), rest.to_owned()))
    };
    let (Some(wanted), Some(given)) = (parts(wanted), parts(given)) else {
        // `text` and `file` of the first versions.
        return true;
    };
    let meets = |one: &str, other: &str| one == "*" || other == "*" || one == other;
    meets(&wanted.0, &given.0) && meets(&wanted.1, &given.1)
}

/// The bytes and the media type of a `data:` URL (RFC 2397); none where it is broken.
pub(super) fn read_data_url(url: &str) -> Option<(Vec<u8>, String)> {
    let (head, data) = url.get(5..)?.split_once(',')?;
    let (media_type, is_base64) = match head.strip_suffix(";base64") {
        Some(media_type) => (media_type, true),
        None => (head, false),
    };
    let media_type = if media_type.is_empty() { "text/plain" } else { media_type };
    let bytes = unescape(data)?;
    let bytes = if is_base64 { decode(bytes)? } else { bytes };
    Some((bytes, media_type.to_owned()))
}

/// Base64 as it may come: padded or not, of either alphabet.
fn decode(base64: Vec<u8>) -> Option<Vec<u8>> {
    let text = String::from_utf8(base64).ok()?;
    let part = serde_json::from_value::<Part>(json!({"raw": text})).ok()?;
    match part.content {
        PartContent::Raw(bytes) => Some(bytes),
        PartContent::Text(_) | PartContent::Url(_) | PartContent::Data(_) => None,
    }
}

/// Text without its percent escapes, as bytes.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_is_its_bytes_and_its_type() {
        let read =
            |url| read_data_url(url).map(|(bytes, kind)| (String::from_utf8(bytes).unwrap(), kind));
        let text = |bytes: &str, kind: &str| Some((bytes.to_owned(), kind.to_owned()));
        assert_eq!(read("data:,a%20b"), text("a b", "text/plain"));
        assert_eq!(read("data:image/png;base64,aGk="), text("hi", "image/png"));
        assert_eq!(
            read("data:text/csv;charset=utf-8,a%2Cb"),
            text("a,b", "text/csv;charset=utf-8")
        );
        for broken in ["data:", "data:text/plain", "data:;base64,%", "data:;base64,a", "data:,%zz"]
        {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    #[test]
    fn media_types_meet_by_wildcards_parameters_and_older_words() {
        for (wanted, given, meets) in [
            ("text/plain", "text/plain", true),
            ("Text/Plain; charset=utf-8", "text/plain", true),
            ("text/*", "text/plain", true),
            ("*/*", "image/png", true),
            ("text", "text/plain", true),
            ("image/png", "text/plain", false),
        ] {
            assert_eq!(is_same_type(wanted, given), meets, "{wanted}");
        }
    }
}

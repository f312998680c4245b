//! What the spans of a task need beside its events: under which trace a message came, and what no event tells.

use pilothouse_a2a::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Characters of a `traceparent` of version 00.
const TRACEPARENT: usize = 55;

/// Where a request stands in its caller's trace, and the span that the server makes for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceContext {
    /// The caller's trace, and the span in it that the request belongs to; none where the caller named none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<TraceParent>,
    /// The span of the request.
    pub span: SpanId,
}

/// A place in a trace, as a `traceparent` header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether the caller records its trace.
    pub sampled: bool,
}

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceId(pub [u8; 16]);

/// The id of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpanId(pub [u8; 8]);

/// A call of a model within a turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelCall {
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub began_ms: i64,
    /// When its last words came.
    pub ended_ms: i64,
    /// The model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Input tokens, without those read from or written to a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Input tokens read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<u64>,
    /// Input tokens written to a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
}

/// Something that no event of a task tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum TraceNote {
    /// A message was accepted.
    Message(TraceContext),
    /// A turn has left its process while its task asks.
    Parked,
    /// The conversation goes on with an answer that came after its process was gone.
    Resumed,
    /// The calls of models of a turn that has ended.
    Calls {
        /// In the order of their beginnings.
        calls: Vec<ModelCall>,
    },
}

/// A note, and when it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceRow {
    /// The number of the task.
    pub n: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub note: TraceNote,
}

impl TraceParent {
    /// Reads a `traceparent` header. What is not valid names no trace.
    pub fn parse(header: &str) -> Option<Self> {
        let fields = header.get(..TRACEPARENT)?;
        // A later version may have more behind a further dash.
        let rest = &header[TRACEPARENT..];
        let (version, fields) = fields.split_once('-')?;
        let version = parse_hex::<1>(version)?[0];
        if version == u8::MAX || !(rest.is_empty() || version > 0 && rest.starts_with('-')) {
            return None;
        }
        let (trace, fields) = fields.split_once('-')?;
        let (span, flags) = fields.split_once('-')?;
        let (trace, span) = (TraceId(parse_hex(trace)?), SpanId(parse_hex(span)?));
        let is_named = trace.0 != [0; 16] && span.0 != [0; 8];
        let sampled = parse_hex::<1>(flags)?[0] & 1 == 1;
        is_named.then_some(Self { trace, span, sampled })
    }
}

/// Bytes of their lower-case hexadecimal digits.
fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    if text.len() != 2 * N || !text.bytes().all(is_hex) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! hexadecimal {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                parse_hex(&text).map(Self).ok_or("must be hexadecimal digits")
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                to_hex(&id.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(&to_hex(&self.0))
            }
        }
    };
}
hexadecimal!(TraceId);
hexadecimal!(SpanId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_recommendation_says() {
        let known = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(known).unwrap();
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((parent.span.to_string().as_str(), parent.sampled), ("00f067aa0ba902b7", true));
        let later = format!("01{}-more", &known[2..]);
        assert_eq!(TraceParent::parse(&later), Some(parent));
        let unsampled = format!("{}00", &known[..53]);
        assert!(!TraceParent::parse(&unsampled).unwrap().sampled);
        for wrong in [
            "",
            "00",
            &known.to_uppercase(),
            &format!("ff{}", &known[2..]),
            &format!("{known}-more"),
            &known.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &known.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &known.replace("4bf", "\u{e4}b"),
            &known.replace("-01", "-0g"),
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let parent = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let context = TraceContext { parent, span: SpanId([7; 8]) };
        for note in [TraceNote::Message(context), TraceNote::Parked] {
            let text = serde_json::to_string(&note).unwrap();
            assert_eq!(serde_json::from_str::<TraceNote>(&text).unwrap(), note, "{text}");
        }
    }
}
